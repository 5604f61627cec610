// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of registered memory from outside: fdinfo of the file,
 * debugfs of the device, and the trace events, which also tell in what order
 * things happen.
 */
#include "virtgpu_compute.h"

#define NR_PAGES	16
#define TRACING		"/sys/kernel/tracing/"
#define EVENTS		TRACING "events/virtio_gpu/"

FIXTURE(stats)
{
	struct virtgpu dev;
	size_t size;
	char *buf;
};

FIXTURE_VARIANT(stats)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(stats);

FIXTURE_SETUP(stats)
{
	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(stats)
{
	virtgpu_teardown(_metadata, &self->dev);
}

#define test_register(fd, handle)					\
	ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,	\
				     self->size, handle))

/* KiB that fdinfo of @fd has after @key, which is "drm-<key>-userptr:". */
static long fdinfo_kb(int fd, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return read_value(path, key);
}

#define test_fdinfo(fd, pages)						\
	do {								\
		long _kb = (pages) * (PAGE_SIZE / 1024);		\
		int _fd = fd;						\
									\
		EXPECT_EQ(_kb, fdinfo_kb(_fd, "drm-total-userptr:"));	\
		EXPECT_EQ(_kb, fdinfo_kb(_fd, "drm-resident-userptr:"));	\
		EXPECT_EQ(0, fdinfo_kb(_fd, "drm-shared-userptr:"));	\
	} while (0)

TEST_F(stats, fdinfo)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = virtgpu_plain_blob_mem(&self->dev),
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = self->size,
	};
	__u32 first, second;
	int other;

	test_fdinfo(self->dev.fd, 0);
	test_register(self->dev.fd, &first);
	test_fdinfo(self->dev.fd, NR_PAGES);
	test_register(self->dev.fd, &second);
	test_fdinfo(self->dev.fd, 2 * NR_PAGES);

	/* It is this file's, and other blobs are something else. */
	other = virtgpu_open_context(self->dev.capset);
	ASSERT_LE(0, other);
	test_fdinfo(other, 0);
	ASSERT_EQ(0, virtgpu_create_blob(self->dev.fd, &blob));
	test_fdinfo(self->dev.fd, 2 * NR_PAGES);

	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, first));
	test_fdinfo(self->dev.fd, NR_PAGES);
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, second));
	test_fdinfo(self->dev.fd, 0);
}

/* The directory of the device in debugfs is named by its render minor. */
static long debugfs_value(int fd, const char *key)
{
	char path[64];
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/dri/%u/virtio-gpu-userptr",
		 minor(st.st_rdev));
	return read_value(path, key);
}

static long debugfs_settle(int fd, const char *key, long want)
{
	unsigned int ms;
	long value;

	for (ms = 0; (value = debugfs_value(fd, key)) != want && ms < SETTLE_MS;
	     ms += 5)
		sleep_ms(5);
	return value;
}

/* Shows everybody's, also what a file has closed and the device still has. */
TEST_F(stats, debugfs)
{
	long objects = debugfs_value(self->dev.fd, "userptrs:");
	long pages = debugfs_value(self->dev.fd, "pages:");
	long entries = debugfs_value(self->dev.fd, "entries:");
	size_t runs = physical_runs(self->buf, self->size);
	__u32 handle;
	int other;

	if (objects < 0)
		SKIP(return, "no debugfs");
	test_register(self->dev.fd, &handle);
	EXPECT_EQ(objects + 1, debugfs_value(self->dev.fd, "userptrs:"));
	EXPECT_EQ(pages + NR_PAGES, debugfs_value(self->dev.fd, "pages:"));
	/* An IOMMU may make one of several runs. */
	EXPECT_LT(entries, debugfs_value(self->dev.fd, "entries:"));
	EXPECT_GE(entries + (long)runs,
		  debugfs_value(self->dev.fd, "entries:"));

	other = virtgpu_open_context(self->dev.capset);
	ASSERT_LE(0, other);
	test_register(other, &handle);
	EXPECT_EQ(objects + 2, debugfs_value(self->dev.fd, "userptrs:"));
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(objects + 1,
		  debugfs_settle(self->dev.fd, "userptrs:", objects + 1));
	EXPECT_EQ(pages + NR_PAGES, debugfs_value(self->dev.fd, "pages:"));
}

/* Switches all userptr events of the kernel's trace on or off. */
static int trace_userptrs(const char *on)
{
	return write_file(EVENTS "virtio_gpu_userptr_create/enable", on) ?:
	       write_file(EVENTS "virtio_gpu_userptr_answer/enable", on) ?:
	       write_file(EVENTS "virtio_gpu_userptr_release/enable", on) ?:
	       write_file(TRACING "trace", "\n");
}

/*
 * What the trace says of resource @id, an event a letter: create, answer,
 * release; in capitals, an answer that is an error.
 */
static void read_trace(__u32 id, char *letters, size_t len)
{
	char line[512], wanted[32];
	FILE *trace = fopen(TRACING "trace", "re");
	size_t n = 0;
	char *event;

	snprintf(wanted, sizeof(wanted), " resource_id=%u ", id);
	while (trace && n < len - 1 && fgets(line, sizeof(line), trace)) {
		event = strstr(line, "virtio_gpu_userptr_");
		if (!event || !strstr(event, wanted))
			continue;
		letters[n] = event[strlen("virtio_gpu_userptr_")];
		if (letters[n] == 'a' && !strstr(event, "resp=0x1100"))
			letters[n] = 'A';
		n++;
	}
	letters[n] = 0;
	if (trace)
		fclose(trace);
}

/* Waits until the trace of resource @id has @nr events. */
static void settle_trace(__u32 id, size_t nr, char *letters, size_t len)
{
	unsigned int ms;

	for (ms = 0; ms < SETTLE_MS; ms += 5) {
		read_trace(id, letters, len);
		if (strlen(letters) >= nr)
			break;
		sleep_ms(5);
	}
}

/*
 * The pages go back after the device's answer to the second command, its
 * release: pages that go back earlier may be somebody else's when it writes.
 */
TEST_F(stats, trace_of_a_life)
{
	struct drm_virtgpu_resource_info info = {};
	char letters[16];

	if (access(EVENTS, F_OK))
		SKIP(return, "the kernel has no trace events");
	ASSERT_EQ(0, trace_userptrs("1"));
	test_register(self->dev.fd, &info.bo_handle);
	ASSERT_EQ(0, virtgpu_resource_info(self->dev.fd, &info));
	read_trace(info.res_handle, letters, sizeof(letters));
	EXPECT_STREQ("ca", letters);

	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, info.bo_handle));
	settle_trace(info.res_handle, 4, letters, sizeof(letters));
	EXPECT_STREQ("caar", letters);
	EXPECT_EQ(0, trace_userptrs("0"));
}

/* In particular, pages of a worker that is busy stay until it is not. */
TEST_F_TIMEOUT(stats, trace_of_a_late_answer, 300)
{
	struct drm_virtgpu_resource_info info = {};
	struct compute compute;
	char letters[16];

	if (access(EVENTS, F_OK))
		SKIP(return, "the kernel has no trace events");
	if (variant->way.blob_mem != VIRTGPU_BLOB_MEM_HOST3D_GUEST)
		SKIP(return, "only blobs of a context wait for its worker");
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	ASSERT_EQ(0, compute_open(&compute));
	ASSERT_EQ(0, trace_userptrs("1"));
	test_register(compute.fd, &info.bo_handle);
	ASSERT_EQ(0, virtgpu_resource_info(compute.fd, &info));
	ASSERT_EQ(0, compute_start_spinning(&compute));
	EXPECT_EQ(0, virtgpu_gem_close(compute.fd, info.bo_handle));
	sleep_ms(200);
	read_trace(info.res_handle, letters, sizeof(letters));
	EXPECT_STREQ("ca", letters);
	compute_stop_spinning(&compute);
	settle_trace(info.res_handle, 4, letters, sizeof(letters));
	EXPECT_STREQ("caar", letters);
	EXPECT_EQ(0, trace_userptrs("0"));
}

TEST_HARNESS_MAIN
