// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation and every copy from and to the program fails once, in each
 * call of a registration's life. Whatever fails, the caller is told or does not
 * notice, and no pin, no charge and no handle stays behind.
 */
#include <poll.h>

#include "virtgpu_compute.h"

#define DEBUGFS		"/sys/kernel/debug/"

/* Never touched before a registration: the pages come while they are pinned. */
#define NR_FRESH	16

/* So many that their entries take more than a slab has. */
#define NR_SCATTERED	600

/* More than the ring has room for. */
#define NR_OBJECTS	300

/* Requests of one submission, more than a slab has. */
#define NR_REQUESTS	1024

/* Once in a while a slab is filled, so a pass may have points of its own. */
#define CLEAN_PASSES	3

/* No call has that many. */
#define MAX_POINTS	5000

/* Any allocation may fail, at once and silently. */
static const struct {
	const char *file;
	const char *value;
} settings[] = {
	{ "failslab/ignore-gfp-wait", "N" },
	{ "failslab/verbose", "0" },
	{ "failslab/times", "-1" },
	{ "failslab/probability", "0" },
	{ "failslab/task-filter", "Y" },
	{ "failslab/require-start", "0" },
	{ "failslab/require-end", "0xffffffffffffffff" },
	{ "fail_page_alloc/ignore-gfp-wait", "N" },
	{ "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ "fail_page_alloc/min-order", "0" },
	{ "fail_page_alloc/verbose", "0" },
	{ "fail_page_alloc/times", "-1" },
	{ "fail_usercopy/verbose", "0" },
	{ "fail_usercopy/times", "-1" },
};

struct faults {
	struct virtgpu dev;
	char saved[ARRAY_SIZE(settings)][32];
};

static int write_debugfs(const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	return write_file(path, value);
}

static bool read_debugfs(const char *name, char *text, int len)
{
	char path[PATH_MAX];
	FILE *file;
	bool ok;

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	ok = fgets(text, len, file);
	fclose(file);
	return ok;
}

static void faults_setup(struct __test_metadata *_metadata,
			 struct faults *faults)
{
	size_t i;

	if (access("/proc/self/fail-nth", F_OK))
		SKIP(return, "no CONFIG_FAULT_INJECTION");
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		if (!read_debugfs(settings[i].file, faults->saved[i],
				  sizeof(faults->saved[i])))
			SKIP(return, "no " DEBUGFS "%s", settings[i].file);
	}
	virtgpu_setup(_metadata, &faults->dev);
}

/* The last step of a setup: there is no teardown after one that skips. */
static void faults_allow(struct __test_metadata *_metadata)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		ASSERT_EQ(0, write_debugfs(settings[i].file,
					   settings[i].value));
}

static void faults_teardown(struct __test_metadata *_metadata,
			    struct faults *faults)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		EXPECT_EQ(0, write_debugfs(settings[i].file, faults->saved[i]));
	virtgpu_teardown(_metadata, &faults->dev);
}

/* All passes over one call, of which the n-th fails at its n-th point. */
struct sweep {
	const char *name;
	int fail_nth;		/* /proc/self/fail-nth */
	unsigned int nth;
	bool hit;		/* the last pass met its point */
	unsigned int clean;	/* passes in a row that did not */
	unsigned int points;
	unsigned int refused;
};

static void sweep_begin(struct __test_metadata *_metadata, struct sweep *sweep,
			const char *name)
{
	memset(sweep, 0, sizeof(*sweep));
	sweep->name = name;
	sweep->fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, sweep->fail_nth);
}

static bool sweep_next(struct __test_metadata *_metadata, struct sweep *sweep)
{
	if (sweep->clean == CLEAN_PASSES) {
		TH_LOG("%s: %u failure points, %u reported", sweep->name,
		       sweep->points, sweep->refused);
		EXPECT_LT(0, sweep->points);
		return false;
	}
	sweep->nth++;
	ASSERT_GT(MAX_POINTS, sweep->nth);
	return true;
}

static void sweep_arm(struct __test_metadata *_metadata, struct sweep *sweep)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", sweep->nth);

	ASSERT_EQ(len, pwrite(sweep->fail_nth, text, len, 0));
}

/* Reading and writing copy, so either may be what fails: then it did not yet. */
static void sweep_disarm(struct __test_metadata *_metadata, struct sweep *sweep)
{
	char text[16] = "";
	ssize_t len;

	len = pread(sweep->fail_nth, text, sizeof(text) - 1, 0);
	ASSERT_TRUE(len > 0 || errno == EFAULT);
	sweep->hit = len > 0 && !atoi(text);
	len = pwrite(sweep->fail_nth, "0", 1, 0);
	ASSERT_TRUE(len == 1 || errno == EFAULT);
}

/* A call may fail if something in it did, and then it says what. */
static void sweep_result(struct __test_metadata *_metadata, struct sweep *sweep,
			 int ret)
{
	sweep->clean = sweep->hit ? 0 : sweep->clean + 1;
	sweep->points += sweep->hit;
	sweep->refused += !!ret;
	ASSERT_TRUE(!ret || (sweep->hit && (ret == -ENOMEM || ret == -EFAULT))) {
		TH_LOG("%s: returned %d, failure point %u %s", sweep->name, ret,
		       sweep->nth, sweep->hit ? "was met" : "was not met");
	}
}

/*
 * From now on every slab allocation in and below this function fails, too, of
 * tasks that say so.
 */
static void fail_below(struct __test_metadata *_metadata, const char *function)
{
	unsigned long start = 0, next = 0;
	char line[256], name[128], text[32];
	FILE *symbols;

	symbols = fopen("/proc/kallsyms", "re");
	ASSERT_NE(NULL, symbols);
	while (next <= start && fgets(line, sizeof(line), symbols)) {
		if (sscanf(line, "%lx %*c %127s", &next, name) == 2 &&
		    !strcmp(name, function))
			start = next;
		if (!start)
			next = 0;
	}
	fclose(symbols);
	ASSERT_NE(0, start) {
		TH_LOG("%s() is not in /proc/kallsyms", function);
	}

	snprintf(text, sizeof(text), "%#lx", start);
	ASSERT_EQ(0, write_debugfs("failslab/require-start", text));
	snprintf(text, sizeof(text), "%#lx", next);
	ASSERT_EQ(0, write_debugfs("failslab/require-end", text));
	ASSERT_EQ(0, write_debugfs("failslab/probability", "100"));
}

static void fail_in_queueing(struct __test_metadata *_metadata)
{
	fail_below(_metadata, "virtio_gpu_queue_fenced_ctrl_buffer");
	ASSERT_EQ(0, write_file("/proc/self/make-it-fail", "1"));
}

/*
 * The user who registers is limited to exactly what he registers, so the first
 * charge that stays behind is the last thing he gets. Root looks at counters.
 */
static void regain_root(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, setresuid(0, 0, 0));
}

static void drop_root(struct __test_metadata *_metadata, size_t limit)
{
	struct rlimit memlock = { .rlim_cur = limit, .rlim_max = limit };

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &memlock));
	ASSERT_EQ(0, setresuid(UNPRIVILEGED_UID, UNPRIVILEGED_UID, 0));
}

static void check_pins(struct __test_metadata *_metadata,
		       const struct faults *faults, size_t size)
{
	long want = faults->dev.pins + size / PAGE_SIZE, kb = size / 1024;

	regain_root(_metadata);
	ASSERT_EQ(want, pins_settle(want));
	ASSERT_EQ(kb, vmpin_settle_kb(getpid(), kb));
}

/* The number that the next file gets. */
static int free_fd(int any)
{
	int fd = dup(any);

	close(fd);
	return fd;
}

FIXTURE(registration)
{
	struct faults faults;
	size_t size;
	char *buf;
	__u32 handle;		/* what each registration gets */
};

FIXTURE_VARIANT(registration)
{
	struct virtgpu_way way;
	bool scattered;
};

FIXTURE_VARIANT_ADD(registration, guest)
{
	.way = WAY_GUEST,
};

FIXTURE_VARIANT_ADD(registration, guest_scattered)
{
	.way = WAY_GUEST,
	.scattered = true,
};

FIXTURE_VARIANT_ADD(registration, guest_rdonly)
{
	.way = WAY_GUEST_RDONLY,
};

FIXTURE_VARIANT_ADD(registration, guest_rdonly_scattered)
{
	.way = WAY_GUEST_RDONLY,
	.scattered = true,
};

FIXTURE_VARIANT_ADD(registration, host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(registration, host3d_guest_scattered)
{
	.way = WAY_HOST3D_GUEST,
	.scattered = true,
};

FIXTURE_VARIANT_ADD(registration, host3d_guest_rdonly)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
};

FIXTURE_VARIANT_ADD(registration, host3d_guest_rdonly_scattered)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
	.scattered = true,
};

FIXTURE_SETUP(registration)
{
	faults_setup(_metadata, &self->faults);
	if (_metadata->exit_code)
		return;
	if (!virtgpu_offers(&self->faults.dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->size = (variant->scattered ? NR_SCATTERED : NR_FRESH) * PAGE_SIZE;
	if (variant->scattered) {
		self->buf = map_scattered(_metadata, self->size);
	} else {
		self->buf = map_anon(self->size);
		ASSERT_NE(MAP_FAILED, self->buf);
	}
	ASSERT_EQ(0, virtgpu_userptr(self->faults.dev.fd, &variant->way,
				     self->buf, self->size, &self->handle));
	ASSERT_EQ(0, virtgpu_gem_close(self->faults.dev.fd, self->handle));
	faults_allow(_metadata);
}

FIXTURE_TEARDOWN_PARENT(registration)
{
	faults_teardown(_metadata, &self->faults);
}

static void sweep_registrations(struct __test_metadata *_metadata,
				FIXTURE_DATA(registration) *self,
				const FIXTURE_VARIANT(registration) *variant,
				const char *name)
{
	int fd = self->faults.dev.fd, ret, closed;
	struct sweep sweep;
	__u32 handle;

	sweep_begin(_metadata, &sweep, name);
	while (sweep_next(_metadata, &sweep)) {
		if (!variant->scattered)
			ASSERT_EQ(0, madvise(self->buf, self->size,
					     MADV_DONTNEED));
		drop_root(_metadata, self->size);
		sweep_arm(_metadata, &sweep);
		ret = virtgpu_userptr(fd, &variant->way, self->buf, self->size,
				      &handle);
		sweep_disarm(_metadata, &sweep);
		sweep_result(_metadata, &sweep, ret);
		if (!ret)
			ASSERT_EQ(self->handle, handle);

		/* DRM copies the handle out when it is there already. */
		closed = virtgpu_gem_close(fd, self->handle);
		if (ret != -EFAULT)
			ASSERT_EQ(ret ? -EINVAL : 0, closed);
		check_pins(_metadata, &self->faults, 0);
	}
}

TEST_F_TIMEOUT(registration, create, 600)
{
	sweep_registrations(_metadata, self, variant, "register");
}

/* The same, and there is nothing either for what queueing a command takes. */
TEST_F_TIMEOUT(registration, create_not_queued, 600)
{
	fail_in_queueing(_metadata);
	sweep_registrations(_metadata, self, variant, "register, not queued");
}

TEST_F_TIMEOUT(registration, info_and_wait, 600)
{
	struct drm_virtgpu_resource_info info = {};
	int fd = self->faults.dev.fd, ret;
	struct sweep sweep;
	__u32 handle;

	sweep_begin(_metadata, &sweep, "info and wait");
	ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf, self->size,
				     &handle));
	while (sweep_next(_metadata, &sweep)) {
		info.bo_handle = handle;
		sweep_arm(_metadata, &sweep);
		ret = virtgpu_resource_info(fd, &info) ?:
		      virtgpu_wait(fd, handle, 0);
		sweep_disarm(_metadata, &sweep);
		sweep_result(_metadata, &sweep, ret);
		check_pins(_metadata, &self->faults, self->size);
	}
}

TEST_F_TIMEOUT(registration, gem_close, 600)
{
	int fd = self->faults.dev.fd, ret;
	struct sweep sweep;
	__u32 handle;

	sweep_begin(_metadata, &sweep, "gem_close");
	while (sweep_next(_metadata, &sweep)) {
		drop_root(_metadata, self->size);
		ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,
					     self->size, &handle));
		ASSERT_EQ(self->handle, handle);
		sweep_arm(_metadata, &sweep);
		ret = virtgpu_gem_close(fd, handle);
		sweep_disarm(_metadata, &sweep);
		sweep_result(_metadata, &sweep, ret);
		if (ret)
			ASSERT_EQ(0, virtgpu_gem_close(fd, handle));
		check_pins(_metadata, &self->faults, 0);
	}
}

TEST_F_TIMEOUT(registration, file_close, 600)
{
	struct sweep sweep;
	__u32 handle;
	int fd, ret;

	sweep_begin(_metadata, &sweep, "close");
	while (sweep_next(_metadata, &sweep)) {
		fd = virtgpu_open_context(self->faults.dev.capset);
		ASSERT_LE(0, fd);
		drop_root(_metadata, self->size);
		ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,
					     self->size, &handle));
		sweep_arm(_metadata, &sweep);
		ret = close(fd) ? -errno : 0;
		sweep_disarm(_metadata, &sweep);
		sweep_result(_metadata, &sweep, ret);
		check_pins(_metadata, &self->faults, 0);
	}
}

/* What does not depend on the way that memory is registered. */
FIXTURE(device)
{
	struct faults faults;
};

FIXTURE_SETUP(device)
{
	faults_setup(_metadata, &self->faults);
	if (_metadata->exit_code)
		return;
	faults_allow(_metadata);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	faults_teardown(_metadata, &self->faults);
}

TEST_F_TIMEOUT(device, open_and_init, 600)
{
	char link[32], path[PATH_MAX] = "";
	struct sweep sweep;
	int fd, lowest, ret;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", self->faults.dev.fd);
	ASSERT_LT(0, readlink(link, path, sizeof(path) - 1));
	sweep_begin(_metadata, &sweep, "open and init");
	lowest = free_fd(self->faults.dev.fd);
	while (sweep_next(_metadata, &sweep)) {
		sweep_arm(_metadata, &sweep);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ret = fd < 0 ? -errno : 0;
		if (!ret && self->faults.dev.capset)
			ret = virtgpu_context_init(fd, self->faults.dev.capset);
		sweep_disarm(_metadata, &sweep);
		sweep_result(_metadata, &sweep, ret);
		if (fd >= 0)
			ASSERT_EQ(0, close(fd));
		ASSERT_EQ(lowest, free_fd(self->faults.dev.fd));
	}
}

/* The worker that tells the device gets no indirect table, for none of them. */
TEST_F_TIMEOUT(device, release_of_many, 600)
{
	const struct virtgpu_way way = WAY_GUEST;
	char *buf = map_anon(PAGE_SIZE);
	char left[32];
	__u32 handle;
	int i;

	ASSERT_NE(MAP_FAILED, buf);
	for (i = 0; i < NR_OBJECTS; i++)
		ASSERT_EQ(0, virtgpu_userptr(self->faults.dev.fd, &way, buf,
					     PAGE_SIZE, &handle));
	ASSERT_EQ(0, write_debugfs("failslab/times", "1000000"));
	fail_below(_metadata, "virtio_gpu_userptr_unref_work");
	ASSERT_EQ(0, write_debugfs("failslab/task-filter", "N"));
	ASSERT_EQ(0, close(self->faults.dev.fd));
	check_pins(_metadata, &self->faults, 0);
	ASSERT_TRUE(read_debugfs("failslab/times", left, sizeof(left)));
	EXPECT_GE(1000000 - NR_OBJECTS, atoi(left));
}

FIXTURE(submission)
{
	struct faults faults;
	struct compute compute;
};

FIXTURE_SETUP(submission)
{
	faults_setup(_metadata, &self->faults);
	if (_metadata->exit_code)
		return;
	if (self->faults.dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	ASSERT_EQ(0, compute_open(&self->compute));
	faults_allow(_metadata);
}

FIXTURE_TEARDOWN_PARENT(submission)
{
	faults_teardown(_metadata, &self->faults);
}

static int submit_nops(struct compute *c, __u32 count)
{
	static struct virtio_gpu_compute_req req[NR_REQUESTS];
	struct drm_virtgpu_execbuffer cmd = {
		.flags = VIRTGPU_EXECBUF_RING_IDX |
			 VIRTGPU_EXECBUF_FENCE_FD_OUT,
		.size = count * sizeof(*req),
		.command = (uintptr_t)req,
		.bo_handles = (uintptr_t)&c->flag_handle,
		.num_bo_handles = 1,
	};
	__u32 i;

	for (i = 0; i < count; i++) {
		c->rsp_off = c->shmem->rsp_offset;
		compute_header(c, &req[i], VIRTIO_GPU_COMPUTE_NOP, sizeof(*req),
			       sizeof(struct virtio_gpu_compute_rsp));
	}
	return virtgpu_ioctl(c->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &cmd);
}

/* Each submission names a registration, and gets a file for its fence. */
static void sweep_submissions(struct __test_metadata *_metadata,
			      const struct faults *faults, struct compute *c,
			      __u32 count, const char *name)
{
	struct pollfd fence = { .events = POLLIN };
	struct sweep sweep;
	int ret;

	sweep_begin(_metadata, &sweep, name);
	fence.fd = free_fd(c->fd);
	while (sweep_next(_metadata, &sweep)) {
		sweep_arm(_metadata, &sweep);
		ret = submit_nops(c, count);
		sweep_disarm(_metadata, &sweep);
		/* A list that cannot be allocated names what is not there. */
		sweep_result(_metadata, &sweep,
			     ret == -ENOENT ? -ENOMEM : ret);

		/* If only its number is lost, the file is there even so. */
		ASSERT_EQ(1, poll(&fence, 1, SETTLE_MS));
		ASSERT_TRUE(fence.revents == POLLIN ||
			    (ret && fence.revents == POLLNVAL));
		close(fence.fd);
		ASSERT_EQ(fence.fd, free_fd(c->fd));
		ASSERT_EQ(0, virtgpu_wait(c->fd, c->flag_handle, 0));
		check_pins(_metadata, faults, PAGE_SIZE);
	}
}

TEST_F_TIMEOUT(submission, execbuffer, 600)
{
	sweep_submissions(_metadata, &self->faults, &self->compute, 1,
			  "execbuffer");
}

TEST_F_TIMEOUT(submission, execbuffer_long, 600)
{
	sweep_submissions(_metadata, &self->faults, &self->compute, NR_REQUESTS,
			  "execbuffer, long");
}

/* The same, and there is nothing either for what queueing a command takes. */
TEST_F_TIMEOUT(submission, execbuffer_long_not_queued, 600)
{
	fail_in_queueing(_metadata);
	sweep_submissions(_metadata, &self->faults, &self->compute, NR_REQUESTS,
			  "execbuffer, long, not queued");
}

TEST_HARNESS_MAIN
