/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the virtio-gpu userptr tests share: one thin wrapper per ioctl, which
 * returns 0 or a negative errno, and the counters that tell whether pages are
 * pinned.
 */
#ifndef __SELFTEST_VIRTGPU_UTILS_H
#define __SELFTEST_VIRTGPU_UTILS_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <drm/drm.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_mode.h>
#include <drm/virtgpu_drm.h>
#include <linux/userfaultfd.h>

#include "kselftest_harness.h"

/* An emulated machine with KASAN takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

/* Headers of a kernel without it; the tests prove that it says so. */
#ifndef VIRTGPU_BLOB_FLAG_USERPTR_RDONLY
#define VIRTGPU_BLOB_FLAG_USERPTR_RDONLY	0x0010
#define VIRTGPU_RESOURCE_USERPTR_RDONLY		0x0004
#endif

#define DRM_RENDER_MINOR_FIRST	128
#define DRM_RENDER_MINOR_LAST	191

/* Any user without privileges; "nobody" on most systems. */
#define UNPRIVILEGED_UID	65534

/* Longest that the device and the driver's worker may take to let pages go. */
#define SETTLE_MS		60000

/* Longest that a killed process may take to be gone. */
#define KILL_MS			10000

static size_t PAGE_SIZE;

static void __attribute__((constructor)) virtgpu_init_page_size(void)
{
	PAGE_SIZE = sysconf(_SC_PAGESIZE);
}

/* The four ways to register memory, a fixture variant each. */
struct virtgpu_way {
	__u32 blob_mem;
	__u32 blob_flags;
	__u32 needs;
};

#define WAY_GUEST {							\
	.blob_mem = VIRTGPU_BLOB_MEM_GUEST,				\
	.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR,			\
	.needs = VIRTGPU_RESOURCE_USERPTR_GUEST,			\
}

#define WAY_GUEST_RDONLY {						\
	.blob_mem = VIRTGPU_BLOB_MEM_GUEST,				\
	.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR |			\
		      VIRTGPU_BLOB_FLAG_USERPTR_RDONLY,			\
	.needs = VIRTGPU_RESOURCE_USERPTR_GUEST |			\
		 VIRTGPU_RESOURCE_USERPTR_RDONLY,			\
}

#define WAY_HOST3D_GUEST {						\
	.blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST,			\
	.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR,			\
	.needs = VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST,			\
}

#define WAY_HOST3D_GUEST_RDONLY {					\
	.blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST,			\
	.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR |			\
		      VIRTGPU_BLOB_FLAG_USERPTR_RDONLY,			\
	.needs = VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST |		\
		 VIRTGPU_RESOURCE_USERPTR_RDONLY,			\
}

/* For a fixture whose variants have nothing but the way. */
#define FIXTURE_VARIANT_ADD_WAYS(fixture)				\
	FIXTURE_VARIANT_ADD(fixture, guest) {				\
		.way = WAY_GUEST,					\
	};								\
	FIXTURE_VARIANT_ADD(fixture, guest_rdonly) {			\
		.way = WAY_GUEST_RDONLY,				\
	};								\
	FIXTURE_VARIANT_ADD(fixture, host3d_guest) {			\
		.way = WAY_HOST3D_GUEST,				\
	};								\
	FIXTURE_VARIANT_ADD(fixture, host3d_guest_rdonly) {		\
		.way = WAY_HOST3D_GUEST_RDONLY,				\
	}

static __maybe_unused const struct virtgpu_way virtgpu_ways[] = {
	WAY_GUEST, WAY_GUEST_RDONLY, WAY_HOST3D_GUEST, WAY_HOST3D_GUEST_RDONLY,
};

static inline bool virtgpu_way_is_rdonly(const struct virtgpu_way *way)
{
	return way->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY;
}

static inline int virtgpu_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	/* The driver returns exactly 0; anything else is a bug to be seen. */
	return ret == -1 ? -errno : ret;
}

static inline bool virtgpu_is_virtio(int fd)
{
	char name[16] = {};
	struct drm_version version = {
		.name = name,
		.name_len = sizeof(name) - 1,
	};

	return !virtgpu_ioctl(fd, DRM_IOCTL_VERSION, &version) &&
	       !strcmp(name, "virtio_gpu");
}

/* Opens the first virtio-gpu render node. */
static inline int virtgpu_open(void)
{
	char path[64];
	int minor, fd;

	for (minor = DRM_RENDER_MINOR_FIRST; minor <= DRM_RENDER_MINOR_LAST;
	     minor++) {
		snprintf(path, sizeof(path), "/dev/dri/renderD%d", minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (virtgpu_is_virtio(fd))
			return fd;
		close(fd);
	}
	return -ENODEV;
}

/* Where the device of @fd is in sysfs: PATH_MAX bytes, its bus's name last. */
static inline bool virtgpu_sysfs_dir(int fd, char *path)
{
	char link[64];
	struct stat st;

	if (fstat(fd, &st))
		return false;
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/device",
		 major(st.st_rdev), minor(st.st_rdev));
	return realpath(link, path);
}

/* Opens the primary node of the device whose render node is @render. */
static inline int virtgpu_open_primary(int render)
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	int fd = -ENODEV;
	DIR *dir;

	if (fstat(render, &st))
		return -errno;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device/drm",
		 major(st.st_rdev), minor(st.st_rdev));
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, "card", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/dri/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
		break;
	}
	closedir(dir);
	return fd;
}

static inline int virtgpu_getparam(int fd, __u64 param, int *value)
{
	struct drm_virtgpu_getparam cmd = {
		.param = param,
		.value = (uintptr_t)value,
	};

	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &cmd);
}

static inline int virtgpu_context_init(int fd, __u64 capset)
{
	struct drm_virtgpu_context_set_param params[] = {
		{ VIRTGPU_CONTEXT_PARAM_CAPSET_ID, capset },
		{ VIRTGPU_CONTEXT_PARAM_NUM_RINGS, 1 },
	};
	struct drm_virtgpu_context_init cmd = {
		.num_params = ARRAY_SIZE(params),
		.ctx_set_params = (uintptr_t)params,
	};

	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &cmd);
}

static inline int virtgpu_create_blob(int fd,
				      struct drm_virtgpu_resource_create_blob *cmd)
{
	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, cmd);
}

/* Registers @size bytes at @addr in the given way. */
static inline int virtgpu_userptr(int fd, const struct virtgpu_way *way,
				  const void *addr, __u64 size,
				  __u32 *handle)
{
	struct drm_virtgpu_resource_create_blob cmd = {
		.blob_mem = way->blob_mem,
		.blob_flags = way->blob_flags,
		.size = size,
		.userptr = (uintptr_t)addr,
	};
	int ret = virtgpu_create_blob(fd, &cmd);

	*handle = cmd.bo_handle;
	return ret;
}

static inline int virtgpu_gem_close(int fd, __u32 handle)
{
	struct drm_gem_close cmd = { .handle = handle };

	return virtgpu_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &cmd);
}

static inline int virtgpu_resource_info(int fd,
					struct drm_virtgpu_resource_info *cmd)
{
	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_INFO, cmd);
}

static inline int virtgpu_map(int fd, __u32 handle, __u64 *offset)
{
	struct drm_virtgpu_map cmd = { .handle = handle };
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &cmd);

	*offset = cmd.offset;
	return ret;
}

static inline int virtgpu_wait(int fd, __u32 handle, __u32 flags)
{
	struct drm_virtgpu_3d_wait cmd = { .handle = handle, .flags = flags };

	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_WAIT, &cmd);
}

static inline int virtgpu_transfer_to_host(int fd, __u32 handle)
{
	struct drm_virtgpu_3d_transfer_to_host cmd = {
		.bo_handle = handle,
		.box = { .w = 1, .h = 1, .d = 1 },
	};

	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &cmd);
}

static inline int virtgpu_transfer_from_host(int fd, __u32 handle)
{
	struct drm_virtgpu_3d_transfer_from_host cmd = {
		.bo_handle = handle,
		.box = { .w = 1, .h = 1, .d = 1 },
	};

	return virtgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST, &cmd);
}

static inline int virtgpu_prime_export(int fd, __u32 handle, int *dmabuf)
{
	struct drm_prime_handle cmd = {
		.handle = handle,
		.flags = DRM_CLOEXEC | DRM_RDWR,
	};
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &cmd);

	*dmabuf = cmd.fd;
	return ret;
}

static inline int virtgpu_prime_import(int fd, int dmabuf, __u32 *handle)
{
	struct drm_prime_handle cmd = { .fd = dmabuf };
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &cmd);

	*handle = cmd.handle;
	return ret;
}

static inline int virtgpu_flink(int fd, __u32 handle, __u32 *name)
{
	struct drm_gem_flink cmd = { .handle = handle };
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_GEM_FLINK, &cmd);

	*name = cmd.name;
	return ret;
}

static inline int virtgpu_gem_open(int fd, __u32 name, __u32 *handle)
{
	struct drm_gem_open cmd = { .name = name };
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_GEM_OPEN, &cmd);

	*handle = cmd.handle;
	return ret;
}

/* Lets the DRM master @master admit @fd to what only such clients may do. */
static inline int virtgpu_authenticate(int master, int fd)
{
	struct drm_auth auth = {};
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_GET_MAGIC, &auth);

	return ret ?: virtgpu_ioctl(master, DRM_IOCTL_AUTH_MAGIC, &auth);
}

static inline int virtgpu_addfb2(int fd, __u32 handle, __u32 *fb)
{
	struct drm_mode_fb_cmd2 cmd = {
		.width = 32,
		.height = 32,
		.pixel_format = DRM_FORMAT_XRGB8888,
		.handles = { handle },
		.pitches = { 32 * 4 },
	};
	int ret = virtgpu_ioctl(fd, DRM_IOCTL_MODE_ADDFB2, &cmd);

	*fb = cmd.fb_id;
	return ret;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = {
		.tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000L,
	};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len;
	int err = 0;

	if (fd < 0)
		return -errno;
	len = write(fd, text, strlen(text));
	if (len != (ssize_t)strlen(text))
		err = len < 0 ? -errno : -EIO;
	close(fd);
	return err;
}

/* Reads the only, or the first, line of a file, without its end. */
static inline bool read_line(const char *path, char *line, size_t len)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(line, len, file);
	fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok;
}

/* Reads the number after @key in a file of "key value" lines; -1 if none. */
static inline long read_value(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long value = -1;
	FILE *file;

	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, len) && isspace(line[len])) {
			value = strtol(line + len, NULL, 10);
			break;
		}
	}
	fclose(file);
	return value;
}

/*
 * Pages that are pinned now by anybody, -1 on failure. The kernel keeps these
 * counters per CPU; stat_refresh folds them, which only root may ask for.
 */
static inline long pins_held(void)
{
	long acquired, released;
	FILE *refresh;

	refresh = fopen("/proc/sys/vm/stat_refresh", "re");
	if (!refresh)
		return -1;
	fgetc(refresh);
	fclose(refresh);

	acquired = read_value("/proc/vmstat", "nr_foll_pin_acquired");
	released = read_value("/proc/vmstat", "nr_foll_pin_released");
	if (acquired < 0 || released < 0)
		return -1;
	return acquired - released;
}

/*
 * Waits until @want pages are pinned and returns how many are: pages are let
 * go when the device has answered, after the ioctl or close() has returned.
 */
static inline long pins_settle(long want)
{
	unsigned int ms;
	long held;

	for (ms = 0; (held = pins_held()) != want && ms < SETTLE_MS; ms += 5)
		sleep_ms(5);
	return held;
}

/* KiB that @pid has pinned, by the kernel's own statistic. */
static inline long vmpin_kb(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return read_value(path, "VmPin:");
}

static inline long vmpin_settle_kb(pid_t pid, long want)
{
	unsigned int ms;
	long held;

	for (ms = 0; (held = vmpin_kb(pid)) != want && ms < SETTLE_MS; ms += 5)
		sleep_ms(5);
	return held;
}

/* What the kernel says of each of @pages mapped pages. */
static inline bool read_pagemap(const void *addr, size_t pages, __u64 *entries)
{
	ssize_t len = pages * sizeof(*entries);
	bool ok;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ok = pread(fd, entries, len,
		   (uintptr_t)addr / PAGE_SIZE * sizeof(*entries)) == len;
	close(fd);
	return ok;
}

/* Page frames of @pages mapped pages, each 0 where none is present. */
static inline bool read_pfns(const void *addr, size_t pages, __u64 *pfns)
{
	bool ok = read_pagemap(addr, pages, pfns);
	size_t i;

	for (i = 0; ok && i < pages; i++)
		pfns[i] = pfns[i] >> 63 ? pfns[i] & ((1ULL << 55) - 1) : 0;
	return ok;
}

/* Page frame of the page that @addr maps, 0 if none is present. */
static inline __u64 pfn_of(const void *addr)
{
	__u64 pfn;

	return read_pfns(addr, 1, &pfn) ? pfn : 0;
}

/*
 * Counts the physically contiguous runs in @size mapped bytes, up to @most; how
 * many bytes these are is returned in @covered. 0 if a page is missing.
 */
static inline size_t count_runs(const void *addr, size_t size, size_t most,
				size_t *covered)
{
	size_t i, pages = size / PAGE_SIZE, runs = 0;
	__u64 *pfns = malloc(pages * sizeof(*pfns));

	*covered = 0;
	if (pfns && read_pfns(addr, pages, pfns)) {
		for (i = 0; i < pages && pfns[i]; i++) {
			if (i && pfns[i] == pfns[i - 1] + 1)
				continue;
			if (runs == most)
				break;
			runs++;
		}
		if (i < pages && !pfns[i])
			runs = 0;
		*covered = i * PAGE_SIZE;
	}
	free(pfns);
	return runs;
}

/* Physically contiguous runs in @size mapped bytes, 0 if a page is missing. */
static inline size_t physical_runs(const void *addr, size_t size)
{
	size_t covered;

	return count_runs(addr, size, SIZE_MAX, &covered);
}

/* How many bytes from @addr on are @runs runs; @size is enough for that. */
static inline size_t size_of_runs(const void *addr, size_t size, size_t runs)
{
	size_t covered;

	return count_runs(addr, size, runs, &covered) == runs ? covered : 0;
}

/* From now on this process is a user without privileges, so limited. */
static inline int become_user(size_t pages)
{
	struct rlimit limit = {
		.rlim_cur = pages * PAGE_SIZE,
		.rlim_max = pages * PAGE_SIZE,
	};

	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    setresgid(UNPRIVILEGED_UID, UNPRIVILEGED_UID, UNPRIVILEGED_UID) ||
	    setresuid(UNPRIVILEGED_UID, UNPRIVILEGED_UID, UNPRIVILEGED_UID))
		return -errno;

	/* A new user's process has lost it. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : 0;
}

/* With KASAN and so on; it looks for lost memory by itself. */
static inline bool is_debug_kernel(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

/* Emulated, a debug kernel takes twenty times as long: then less is enough. */
static inline int rounds_of(int rounds)
{
	return is_debug_kernel() ? rounds / 4 : rounds;
}

static inline void *map_anon(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/*
 * Memory whose neighbours are hardly ever physical neighbours: even pages are
 * touched first, so the odd ones come from elsewhere.
 */
static inline char *map_scattered(struct __test_metadata *_metadata,
				  size_t size)
{
	char *buf = map_anon(size);
	size_t first, i;

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, madvise(buf, size, MADV_NOHUGEPAGE));
	for (first = 0; first < 2; first++)
		for (i = first; i < size / PAGE_SIZE; i += 2)
			buf[i * PAGE_SIZE] = 1;
	ASSERT_LT(size / PAGE_SIZE * 9 / 10, physical_runs(buf, size)) {
		TH_LOG("the pages are not scattered");
	}
	return buf;
}

/* A pattern that differs from page to page. */
static inline void fill(void *addr, size_t size)
{
	__u64 *words = addr;
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		words[i] = i * 0x9e3779b97f4a7c15ULL;
}

static inline bool is_filled(const void *addr, size_t size)
{
	const __u64 *words = addr;
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		if (words[i] != i * 0x9e3779b97f4a7c15ULL)
			return false;
	return true;
}

/*
 * A device, opened; the part of every fixture that each test begins with. A
 * test fails if it leaves a page pinned after its process is gone, which is
 * looked at from the parent: no test has to be trusted to clean up.
 */
struct virtgpu {
	int fd;
	__u32 offers;	/* VIRTGPU_RESOURCE_USERPTR_* */
	__u64 capset;	/* of the context; 0 if it has none */
	long pins;		/* pinned before the test */
};

/* A context of the kind that computes; 0 where the device has none. */
static inline __u64 virtgpu_pick_capset(int fd)
{
	static const __u64 capsets[] = { 12 /* COMPUTE */, 8 /* ROCM */ };
	int mask = 0;
	size_t i;

	if (virtgpu_getparam(fd, VIRTGPU_PARAM_SUPPORTED_CAPSET_IDs, &mask))
		return 0;
	for (i = 0; i < ARRAY_SIZE(capsets); i++)
		if (mask & (1 << capsets[i]))
			return capsets[i];
	return 0;
}

/* Another file of the same kind as @dev->fd, with a context of its own. */
static inline int virtgpu_open_context(__u64 capset)
{
	int fd = virtgpu_open();
	int ret;

	if (fd < 0 || !capset)
		return fd;
	ret = virtgpu_context_init(fd, capset);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

static inline void virtgpu_setup(struct __test_metadata *_metadata,
				 struct virtgpu *dev)
{
	int offers;

	if (geteuid())
		SKIP(return, "needs root: pin counters, page frames");
	dev->fd = virtgpu_open();
	if (dev->fd < 0)
		SKIP(return, "no virtio-gpu device");
	if (virtgpu_getparam(dev->fd, VIRTGPU_PARAM_RESOURCE_USERPTR, &offers))
		SKIP(return, "the driver has no userptr");
	if (!offers)
		SKIP(return, "the device has no blob resources");
	dev->offers = offers;
	dev->capset = virtgpu_pick_capset(dev->fd);
	if (dev->capset)
		ASSERT_EQ(0, virtgpu_context_init(dev->fd, dev->capset));
	dev->pins = pins_held();
	ASSERT_LE(0, dev->pins);
}

static inline void virtgpu_teardown(struct __test_metadata *_metadata,
				    struct virtgpu *dev)
{
	EXPECT_EQ(dev->pins, pins_settle(dev->pins));
}

static inline bool virtgpu_offers(const struct virtgpu *dev,
				  const struct virtgpu_way *way)
{
	return (dev->offers & way->needs) == way->needs;
}

/* @err where the device offers @way, else what tells that it does not. */
static inline int virtgpu_expected(const struct virtgpu *dev,
				   const struct virtgpu_way *way, int err)
{
	return virtgpu_offers(dev, way) ? err : -EOPNOTSUPP;
}

/* True when @pid sleeps in the kernel in the ioctl, as opposed to anywhere. */
static inline bool is_in_ioctl(pid_t pid)
{
	char path[64], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	return atoi(text) == __NR_ioctl && text[0] != 'r';
}

/* True once @pid has been asleep in an ioctl for a moment. */
static inline bool settles_in_ioctl(pid_t pid)
{
	unsigned int ms, seen = 0;

	for (ms = 0; ms < SETTLE_MS && seen < 20; ms += 5) {
		seen = is_in_ioctl(pid) ? seen + 1 : 0;
		sleep_ms(5);
	}
	return seen == 20;
}

/* Kills @pid and waits for its end; false if it cannot be killed. */
static inline bool dies_when_killed(pid_t pid)
{
	unsigned int ms;
	int status;

	if (kill(pid, SIGKILL))
		return false;
	for (ms = 0; ms < KILL_MS; ms += 5) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) &&
			       WTERMSIG(status) == SIGKILL;
		sleep_ms(5);
	}
	return false;
}

/* Page faults in @size bytes at @addr wait for who reads the file returned. */
static inline int userfaultfd_register(void *addr, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		.range.start = (uintptr_t)addr,
		.range.len = size,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/*
 * A user can make a page fault last for ever. Forks a child whose registration
 * meets one in the middle of @buf: it blocks nobody but itself, and it can be
 * killed though the one who should answer, which is us with @uffd, lives on.
 */
static inline pid_t start_blocked_in_pin(struct __test_metadata *_metadata,
					 const struct virtgpu *dev,
					 const struct virtgpu_way *way,
					 char *buf, size_t size, int *uffd)
{
	int ready[2], pidfd;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd, faults;
		__u32 handle;

		fd = virtgpu_open_context(dev->capset);
		ASSERT_LE(0, fd);

		/* The first half is there and gets pinned. */
		ASSERT_EQ(0, madvise(buf + size / 2, size / 2, MADV_DONTNEED));
		faults = userfaultfd_register(buf + size / 2, size / 2);
		ASSERT_LE(0, faults);
		ASSERT_EQ(sizeof(faults), write(ready[1], &faults,
						sizeof(faults)));
		_exit(-virtgpu_userptr(fd, way, buf, size, &handle));
	}
	ASSERT_EQ(sizeof(*uffd), read(ready[0], uffd, sizeof(*uffd)));

	/* We hold it too, so that its last close is not what ends the fault. */
	pidfd = syscall(__NR_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	*uffd = syscall(__NR_pidfd_getfd, pidfd, *uffd, 0);
	ASSERT_LE(0, *uffd);
	close(pidfd);
	close(ready[0]);
	close(ready[1]);
	EXPECT_TRUE(settles_in_ioctl(pid));
	return pid;
}

/* Lets the child of start_blocked_in_pin() go on. */
static inline int answer_faults(int uffd, char *buf, size_t size)
{
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)buf + size / 2,
		.range.len = size / 2,
	};

	return ioctl(uffd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

/* A blob as ever, mappable: a context that computes has only the host's. */
static inline __u32 virtgpu_plain_blob_mem(const struct virtgpu *dev)
{
	return dev->capset ? VIRTGPU_BLOB_MEM_HOST3D : VIRTGPU_BLOB_MEM_GUEST;
}

#endif /* __SELFTEST_VIRTGPU_UTILS_H */
