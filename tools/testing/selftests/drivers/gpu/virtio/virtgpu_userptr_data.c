// SPDX-License-Identifier: GPL-2.0
/*
 * The device has the memory itself, not a copy: what either side writes is what
 * everybody reads, whatever kind of memory it is, and it stays so when the
 * device has given it back.
 */
#include <linux/memfd.h>
#include <linux/mman.h>
#include <sys/mount.h>
#include <sys/swap.h>

#include "virtgpu_compute.h"

#define NR_PAGES	16
#define HUGE_SIZE	(2UL << 20)

/* What memory consists of before somebody fills it. */
#define UNTOUCHED	0x5a

#define TMPFS_FILE	"/dev/shm/virtgpu_userptr_data"

/* A kind of memory, a fixture variant each. */
struct kind {
	const char *name;
	int flags;		/* of mmap() */
	int (*open)(void);	/* a new file to be mapped */
	bool thp;		/* one transparent huge page */
	bool hugetlb;		/* a page from the pool */
};

struct memory {
	char *buf;
	size_t size;
	int fd;			/* of the file, -1 if there is none */
};

static int open_memfd(void)
{
	return memfd_create("virtgpu", MFD_CLOEXEC);
}

static int open_hugetlb_memfd(void)
{
	return memfd_create("virtgpu", MFD_CLOEXEC | MFD_HUGETLB |
				       MFD_HUGE_2MB);
}

static int open_tmpfs(void)
{
	return open(TMPFS_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

#define KIND_ANONYMOUS {						\
	.name = "anonymous memory",					\
	.flags = MAP_PRIVATE | MAP_ANONYMOUS,				\
}

#define KIND_THP {							\
	.name = "transparent huge pages",				\
	.flags = MAP_PRIVATE | MAP_ANONYMOUS,				\
	.thp = true,							\
}

#define KIND_HUGETLB {							\
	.name = "huge pages of 2 MiB",					\
	.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, \
	.hugetlb = true,						\
}

#define KIND_SHARED_ANONYMOUS {						\
	.name = "shared anonymous memory",				\
	.flags = MAP_SHARED | MAP_ANONYMOUS,				\
}

#define KIND_MEMFD {							\
	.name = "memfd",						\
	.flags = MAP_SHARED,						\
	.open = open_memfd,						\
}

#define KIND_TMPFS {							\
	.name = "tmpfs at /dev/shm",					\
	.flags = MAP_SHARED,						\
	.open = open_tmpfs,						\
}

#define KIND_HUGETLB_MEMFD {						\
	.name = "memfd with huge pages of 2 MiB",			\
	.flags = MAP_SHARED,						\
	.open = open_hugetlb_memfd,					\
	.hugetlb = true,						\
}

static void *map_thp(size_t size)
{
	char *buf = map_anon(2 * size);

	if (buf == MAP_FAILED)
		return buf;
	buf = (char *)(((uintptr_t)buf + size - 1) & ~(size - 1));
	memset(buf, 0, size);
	return madvise(buf, size, MADV_COLLAPSE) ? MAP_FAILED : buf;
}

/* The file that shared anonymous memory is, too. */
static int open_mapping(const void *addr, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (long)addr, (long)addr + size);
	return open(path, O_RDWR | O_CLOEXEC);
}

static bool map_memory(struct memory *mem, const struct kind *kind)
{
	mem->fd = -1;
	mem->size = kind->thp || kind->hugetlb ? HUGE_SIZE :
						 NR_PAGES * PAGE_SIZE;
	if (kind->open) {
		mem->fd = kind->open();
		if (mem->fd < 0 || ftruncate(mem->fd, mem->size))
			return false;
	}
	mem->buf = kind->thp ? map_thp(mem->size) :
			       mmap(NULL, mem->size, PROT_READ | PROT_WRITE,
				    kind->flags, mem->fd, 0);
	if (mem->buf == MAP_FAILED)
		return false;
	if (kind->flags & MAP_SHARED && !kind->open)
		mem->fd = open_mapping(mem->buf, mem->size);
	memset(mem->buf, UNTOUCHED, mem->size);
	return true;
}

static bool is_untouched(const char *addr, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (addr[i] != UNTOUCHED)
			return false;
	return true;
}

/* Two pages: a fork() copies what is pinned. */
static long hugetlb_reserve(void)
{
	long before = read_value("/proc/meminfo", "HugePages_Total:");
	char text[32];

	snprintf(text, sizeof(text), "%ld", before + 2);
	write_file("/proc/sys/vm/nr_hugepages", text);
	return before;
}

static int hugetlb_restore(long before)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", before);
	return write_file("/proc/sys/vm/nr_hugepages", text);
}

/* What the fixtures with a context begin with. */
struct test {
	struct virtgpu dev;
	struct compute compute;
	struct memory mem;
	long hugepages;		/* in the pool before */
};

static bool setup(struct __test_metadata *_metadata, struct test *t,
		  const struct kind *kind)
{
	virtgpu_setup(_metadata, &t->dev);
	if (t->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return false, "the device does not compute");
	ASSERT_EQ(0, compute_open(&t->compute));
	if (kind->hugetlb)
		t->hugepages = hugetlb_reserve();
	if (map_memory(&t->mem, kind))
		return true;
	if (kind->hugetlb)
		hugetlb_restore(t->hugepages);
	SKIP(return false, "no %s", kind->name);
}

static void teardown(struct __test_metadata *_metadata, struct test *t,
		     const struct kind *kind)
{
	virtgpu_teardown(_metadata, &t->dev);
	if (kind->hugetlb)
		EXPECT_EQ(0, hugetlb_restore(t->hugepages));
	if (kind->open == open_tmpfs)
		EXPECT_EQ(0, unlink(TMPFS_FILE));
}

static void register_memory(struct __test_metadata *_metadata, struct test *t,
			    const struct virtgpu_way *way, __u32 *handle,
			    __u32 *res)
{
	ASSERT_EQ(0, compute_register(&t->compute, way, t->mem.buf,
				      t->mem.size, handle, res));
}

/* Ends the registration, and waits until the device has let go. */
static void release(struct __test_metadata *_metadata, struct test *t,
		    __u32 handle)
{
	/* One is the flag's. */
	ASSERT_EQ(0, virtgpu_gem_close(t->compute.fd, handle));
	ASSERT_EQ(t->dev.pins + 1, pins_settle(t->dev.pins + 1));
}

/* Lets the device copy all of @res to memory where we can look at it. */
static void expect_device_sees_fill(struct __test_metadata *_metadata,
				    struct test *t, __u32 res)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	void *copy = map_anon(t->mem.size);
	__u32 handle, copy_res;

	ASSERT_NE(MAP_FAILED, copy);
	ASSERT_EQ(0, compute_register(&t->compute, &way, copy, t->mem.size,
				      &handle, &copy_res));
	EXPECT_EQ(0, compute_copy(&t->compute, copy_res, res, t->mem.size));
	EXPECT_TRUE(is_filled(copy, t->mem.size));
	ASSERT_EQ(0, virtgpu_gem_close(t->compute.fd, handle));
	munmap(copy, t->mem.size);
}

FIXTURE(data)
{
	struct test t;
};

FIXTURE_VARIANT(data)
{
	struct kind kind;
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD(data, anonymous)
{
	.kind = KIND_ANONYMOUS,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, anonymous_as_guest_blob)
{
	.kind = KIND_ANONYMOUS,
	.way = WAY_GUEST,
};

FIXTURE_VARIANT_ADD(data, thp)
{
	.kind = KIND_THP,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, hugetlb)
{
	.kind = KIND_HUGETLB,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, shared_anonymous)
{
	.kind = KIND_SHARED_ANONYMOUS,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, memfd)
{
	.kind = KIND_MEMFD,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, tmpfs)
{
	.kind = KIND_TMPFS,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(data, hugetlb_memfd)
{
	.kind = KIND_HUGETLB_MEMFD,
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_SETUP(data)
{
	setup(_metadata, &self->t, &variant->kind);
}

FIXTURE_TEARDOWN_PARENT(data)
{
	teardown(_metadata, &self->t, &variant->kind);
}

/* After a fork() nobody has a copy in place of the pages that the device has. */
TEST_F(data, device_writes)
{
	bool shared = variant->kind.flags & MAP_SHARED;
	struct memory *mem = &self->t.mem;
	int go[2], status;
	__u32 handle, res;
	char byte;
	pid_t pid;

	register_memory(_metadata, &self->t, &variant->way, &handle, &res);
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(go[1]);
		ASSERT_EQ(1, read(go[0], &byte, 1));
		_exit(shared ? !is_filled(mem->buf, mem->size) :
			       !is_untouched(mem->buf, mem->size));
	}
	EXPECT_TRUE(is_untouched(mem->buf, mem->size));
	EXPECT_EQ(0, compute_fill(&self->t.compute, res, 0, mem->size));
	EXPECT_TRUE(is_filled(mem->buf, mem->size));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	release(_metadata, &self->t, handle);
	EXPECT_TRUE(is_filled(mem->buf, mem->size));
}

TEST_F(data, device_reads)
{
	struct memory *mem = &self->t.mem;
	__u32 handle, res;

	register_memory(_metadata, &self->t, &variant->way, &handle, &res);
	fill(mem->buf, mem->size);
	expect_device_sees_fill(_metadata, &self->t, res);
}

/*
 * Not a byte beside what the kernel writes is touched, nor beside what is
 * registered, which may be a part of a huge page.
 */
TEST_F(data, device_writes_a_part)
{
	struct memory *mem = &self->t.mem;
	char *buf = mem->buf + PAGE_SIZE;
	size_t size = mem->size - 2 * PAGE_SIZE;
	size_t from = PAGE_SIZE / 2, to = size - PAGE_SIZE - 8;
	__u32 handle, res;

	ASSERT_EQ(0, compute_register(&self->t.compute, &variant->way, buf,
				      size, &handle, &res));
	EXPECT_EQ(0, compute_fill(&self->t.compute, res, from, to - from));
	EXPECT_TRUE(is_untouched(buf, from));
	EXPECT_TRUE(is_filled(buf + from, to - from));
	EXPECT_TRUE(is_untouched(buf + to, size - to));

	EXPECT_EQ(0, compute_fill(&self->t.compute, res, 0, size));
	EXPECT_TRUE(is_untouched(mem->buf, PAGE_SIZE));
	EXPECT_TRUE(is_filled(buf, size));
	EXPECT_TRUE(is_untouched(buf + size, PAGE_SIZE));
	EXPECT_EQ(-EINVAL, compute_fill(&self->t.compute, res, PAGE_SIZE, size));
}

/* The device may read it, and loses its context when it writes it. */
TEST_F(data, read_only)
{
	struct memory *mem = &self->t.mem;
	struct virtgpu_way rdonly = variant->way;
	__u32 handle, res;

	rdonly.blob_flags |= VIRTGPU_BLOB_FLAG_USERPTR_RDONLY;
	fill(mem->buf, mem->size);
	ASSERT_EQ(0, mprotect(mem->buf, mem->size, PROT_READ));
	register_memory(_metadata, &self->t, &rdonly, &handle, &res);
	expect_device_sees_fill(_metadata, &self->t, res);
	EXPECT_EQ(-EIO, compute_fill(&self->t.compute, res, PAGE_SIZE,
				     PAGE_SIZE));
	EXPECT_TRUE(is_filled(mem->buf, mem->size));
}

/*
 * Memory that is shared: everybody who has it sees the same.
 */
FIXTURE(shared)
{
	struct test t;
	char *alias;		/* another mapping of it */
	__u32 handle;
	__u32 res;
};

FIXTURE_VARIANT(shared)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(shared, anonymous)
{
	.kind = KIND_SHARED_ANONYMOUS,
};

FIXTURE_VARIANT_ADD(shared, memfd)
{
	.kind = KIND_MEMFD,
};

FIXTURE_VARIANT_ADD(shared, tmpfs)
{
	.kind = KIND_TMPFS,
};

FIXTURE_VARIANT_ADD(shared, hugetlb_memfd)
{
	.kind = KIND_HUGETLB_MEMFD,
};

FIXTURE_SETUP(shared)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	struct memory *mem = &self->t.mem;

	if (!setup(_metadata, &self->t, &variant->kind))
		return;
	self->alias = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   mem->fd, 0);
	ASSERT_NE(MAP_FAILED, self->alias);
	register_memory(_metadata, &self->t, &way, &self->handle, &self->res);
}

FIXTURE_TEARDOWN_PARENT(shared)
{
	teardown(_metadata, &self->t, &variant->kind);
}

static bool file_is_filled(const struct memory *mem)
{
	void *copy = malloc(mem->size);
	bool ok;

	ok = copy && pread(mem->fd, copy, mem->size, 0) == mem->size &&
	     is_filled(copy, mem->size);
	free(copy);
	return ok;
}

TEST_F(shared, device_writes)
{
	struct memory *mem = &self->t.mem;

	EXPECT_FALSE(file_is_filled(mem));
	EXPECT_EQ(0, compute_fill(&self->t.compute, self->res, 0, mem->size));
	EXPECT_TRUE(is_filled(self->alias, mem->size));
	EXPECT_TRUE(file_is_filled(mem));
}

TEST_F(shared, others_write)
{
	struct memory *mem = &self->t.mem;
	int status;
	pid_t pid;

	fill(self->alias, mem->size);
	expect_device_sees_fill(_metadata, &self->t, self->res);

	memset(mem->buf, UNTOUCHED, mem->size);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fill(mem->buf, mem->size);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	expect_device_sees_fill(_metadata, &self->t, self->res);
}

TEST_F(shared, file_is_written)
{
	struct memory *mem = &self->t.mem;
	void *copy = malloc(mem->size);
	ssize_t len;

	ASSERT_NE(NULL, copy);
	fill(copy, mem->size);
	len = pwrite(mem->fd, copy, mem->size, 0);
	if (len < 0 && errno == EINVAL)
		SKIP(return, "the file system has no write()");
	ASSERT_EQ(mem->size, len);
	expect_device_sees_fill(_metadata, &self->t, self->res);
}

/*
 * Who may only read a file cannot have the device write it, but loses the
 * context. Others go on.
 */
TEST_F(shared, file_that_one_may_only_read)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST_RDONLY;
	struct memory *mem = &self->t.mem;
	struct compute loser;
	__u32 handle, res;
	char path[32];
	void *buf;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	buf = mmap(NULL, mem->size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, compute_open(&loser));
	ASSERT_EQ(0, compute_register(&loser, &way, buf, mem->size, &handle,
				      &res));
	EXPECT_EQ(-EIO, compute_fill(&loser, res, 0, PAGE_SIZE));
	EXPECT_TRUE(is_untouched(buf, mem->size));

	EXPECT_EQ(0, compute_fill(&self->t.compute, self->res, 0, mem->size));
	EXPECT_TRUE(is_filled(buf, mem->size));
	EXPECT_TRUE(file_is_filled(mem));
}

/*
 * What was registered is swapped out and in like any other memory, afterwards.
 */
FIXTURE(swapped)
{
	struct test t;
	int zram;		/* number of the swap device */
};

FIXTURE_VARIANT(swapped)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(swapped, anonymous)
{
	.kind = KIND_ANONYMOUS,
};

FIXTURE_VARIANT_ADD(swapped, shared_anonymous)
{
	.kind = KIND_SHARED_ANONYMOUS,
};

FIXTURE_VARIANT_ADD(swapped, memfd)
{
	.kind = KIND_MEMFD,
};

FIXTURE_VARIANT_ADD(swapped, tmpfs)
{
	.kind = KIND_TMPFS,
};

/* A new zram device; -1 if there is no zram. */
static int zram_add(void)
{
	int number = -1;
	FILE *file;

	file = fopen("/sys/class/zram-control/hot_add", "re");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &number) != 1)
		number = -1;
	fclose(file);
	return number;
}

static int zram_remove(int number)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", number);
	return write_file("/sys/class/zram-control/hot_remove", text);
}

/* What mkswap does. */
static int make_swap(const char *path, size_t size)
{
	__u32 info[] = { 1 /* version */, size / PAGE_SIZE - 1 /* last page */ };
	char header[PAGE_SIZE];
	int fd, err = 0;

	memset(header, 0, sizeof(header));
	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + sizeof(header) - 10, "SWAPSPACE2", 10);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, header, sizeof(header)) != sizeof(header))
		err = -EIO;
	return close(fd) ? -errno : err;
}

static int swap_start(int zram)
{
	size_t size = 16 << 20;
	char path[64], text[32];
	int ret;

	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", zram);
	snprintf(text, sizeof(text), "%zu", size);
	ret = write_file(path, text);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/zram%d", zram);
	ret = make_swap(path, size);
	if (ret)
		return ret;
	return swapon(path, 0) ? -errno : 0;
}

static int swap_stop(int zram)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/zram%d", zram);
	return swapoff(path) ? -errno : zram_remove(zram);
}

FIXTURE_SETUP(swapped)
{
	int ret;

	if (!setup(_metadata, &self->t, &variant->kind))
		return;
	self->zram = zram_add();
	if (self->zram < 0)
		SKIP(return, "no zram");
	ret = swap_start(self->zram);
	if (ret) {
		zram_remove(self->zram);
		ASSERT_EQ(0, ret);
	}
}

FIXTURE_TEARDOWN_PARENT(swapped)
{
	teardown(_metadata, &self->t, &variant->kind);
	EXPECT_EQ(0, swap_stop(self->zram));
}

static size_t resident_pages(const struct memory *mem)
{
	unsigned char vec[NR_PAGES];
	size_t i, pages = 0;

	if (mincore(mem->buf, mem->size, vec))
		return -1;
	for (i = 0; i < NR_PAGES; i++)
		pages += vec[i] & 1;
	return pages;
}

/*
 * Swaps all of it out. MADV_PAGEOUT passes over a page in another processor's
 * batch of pages that are to join the LRU lists, and over one that is not
 * mapped: drop_caches empties the batches, populating maps.
 */
static bool swap_out(const struct memory *mem)
{
	unsigned int ms;

	for (ms = 0; ms < SETTLE_MS; ms += 5) {
		if (write_file("/proc/sys/vm/drop_caches", "1") ||
		    madvise(mem->buf, mem->size, MADV_PAGEOUT))
			return false;
		if (!resident_pages(mem))
			return true;
		sleep_ms(5);
		madvise(mem->buf, mem->size, MADV_POPULATE_READ);
	}
	return false;
}

/* What the device has stays where it is. */
TEST_F(swapped, after_the_device_wrote)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	struct memory *mem = &self->t.mem;
	__u32 handle, res;

	register_memory(_metadata, &self->t, &way, &handle, &res);
	ASSERT_EQ(0, madvise(mem->buf, mem->size, MADV_PAGEOUT));
	EXPECT_EQ(NR_PAGES, resident_pages(mem));
	EXPECT_EQ(0, compute_fill(&self->t.compute, res, 0, mem->size));
	release(_metadata, &self->t, handle);
	ASSERT_TRUE(swap_out(mem));
	EXPECT_TRUE(is_filled(mem->buf, mem->size));
}

TEST_F(swapped, before_it_is_registered)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	struct memory *mem = &self->t.mem;
	__u32 handle, res;

	fill(mem->buf, mem->size);
	ASSERT_TRUE(swap_out(mem));
	register_memory(_metadata, &self->t, &way, &handle, &res);
	expect_device_sees_fill(_metadata, &self->t, res);
}

/* A file that only the device ever wrote to. */
FIXTURE(file)
{
	struct virtgpu dev;
};

FIXTURE_SETUP(file)
{
	virtgpu_setup(_metadata, &self->dev);
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
}

FIXTURE_TEARDOWN_PARENT(file)
{
	virtgpu_teardown(_metadata, &self->dev);
	unlink(TMPFS_FILE);
}

TEST_F(file, is_opened_anew)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	struct memory mem = { .size = NR_PAGES * PAGE_SIZE };
	struct compute compute;
	__u32 handle, res;

	mem.fd = open_tmpfs();
	if (mem.fd < 0)
		SKIP(return, "no tmpfs at /dev/shm");
	ASSERT_EQ(0, ftruncate(mem.fd, mem.size));
	mem.buf = mmap(NULL, mem.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       mem.fd, 0);
	ASSERT_NE(MAP_FAILED, mem.buf);
	ASSERT_EQ(0, close(mem.fd));
	ASSERT_EQ(0, compute_open(&compute));
	ASSERT_EQ(0, compute_register(&compute, &way, mem.buf, mem.size,
				      &handle, &res));
	ASSERT_EQ(0, munmap(mem.buf, mem.size));
	EXPECT_EQ(0, compute_fill(&compute, res, 0, mem.size));
	ASSERT_EQ(0, compute_close(&compute));
	ASSERT_EQ(self->dev.pins, pins_settle(self->dev.pins));

	sync();
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
	mem.fd = open(TMPFS_FILE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, mem.fd);
	EXPECT_TRUE(file_is_filled(&mem));
	mem.buf = mmap(NULL, mem.size, PROT_READ, MAP_SHARED, mem.fd, 0);
	ASSERT_NE(MAP_FAILED, mem.buf);
	EXPECT_TRUE(is_filled(mem.buf, mem.size));
}

/*
 * Pages that the device could write are given back dirty, or what it wrote
 * could be thrown away; others are not, or a file that nobody may write would
 * be written back. A probe looks at how the driver gives them back.
 */
#define TRACEFS		"/sys/kernel/tracing"
#define TRACE		TRACEFS "/instances/virtgpu"
#define PROBE								\
	"p:virtgpu/unpin unpin_user_page_range_dirty_lock pages=$arg2:u64 dirty=$arg3:u8"

FIXTURE(dirty)
{
	struct virtgpu dev;
	bool mounted;		/* tracefs, by us */
	size_t size;
	char *buf;
};

FIXTURE_VARIANT(dirty)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(dirty);

static int probe_start(void)
{
	int ret;

	ret = write_file(TRACEFS "/kprobe_events", PROBE);
	if (ret)
		return ret;
	if (mkdir(TRACE, 0700))
		return -errno;
	return write_file(TRACE "/events/virtgpu/unpin/enable", "1");
}

static int probe_stop(void)
{
	int ret;

	ret = rmdir(TRACE) ? -errno : 0;
	return write_file(TRACEFS "/kprobe_events", "-:virtgpu/unpin") ?: ret;
}

/* Pages that were given back so since probe_start(). */
static long pages_given_back(bool dirty)
{
	unsigned long pages, sum = 0;
	char line[256], *event;
	unsigned int is_dirty;
	FILE *file;

	file = fopen(TRACE "/trace", "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		event = strstr(line, "pages=");
		if (event && sscanf(event, "pages=%lu dirty=%u", &pages,
				    &is_dirty) == 2 && is_dirty == dirty)
			sum += pages;
	}
	fclose(file);
	return sum;
}

FIXTURE_SETUP(dirty)
{
	int ret;

	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);

	self->mounted = !mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	if (access(TRACEFS "/kprobe_events", W_OK)) {
		if (self->mounted)
			umount(TRACEFS);
		SKIP(return, "no CONFIG_KPROBE_EVENTS");
	}
	ret = probe_start();
	if (ret) {
		probe_stop();
		ASSERT_EQ(0, ret);
	}
}

FIXTURE_TEARDOWN_PARENT(dirty)
{
	virtgpu_teardown(_metadata, &self->dev);
	EXPECT_EQ(0, probe_stop());
	if (self->mounted)
		EXPECT_EQ(0, umount(TRACEFS));
}

static void expect_given_back(struct __test_metadata *_metadata,
			      const struct virtgpu *dev, long dirty, long clean)
{
	ASSERT_EQ(dev->pins, pins_settle(dev->pins));
	EXPECT_EQ(dirty, pages_given_back(true));
	EXPECT_EQ(clean, pages_given_back(false));
}

TEST_F(dirty, released)
{
	long dirty = virtgpu_way_is_rdonly(&variant->way) ? 0 : NR_PAGES;
	__u32 handle;

	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
				     self->size, &handle));
	EXPECT_EQ(0, pages_given_back(true));
	EXPECT_EQ(0, pages_given_back(false));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	expect_given_back(_metadata, &self->dev, dirty, NR_PAGES - dirty);
}

TEST_F(dirty, file_closed)
{
	long dirty = virtgpu_way_is_rdonly(&variant->way) ? 0 : NR_PAGES;
	__u32 handle;

	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, munmap(self->buf, self->size));
	EXPECT_EQ(0, close(self->dev.fd));
	expect_given_back(_metadata, &self->dev, dirty, NR_PAGES - dirty);
}

/* The device never had those before the hole. */
TEST_F(dirty, a_hole)
{
	__u32 handle;

	ASSERT_EQ(0, munmap(self->buf + self->size / 2, PAGE_SIZE));
	ASSERT_EQ(-EFAULT, virtgpu_userptr(self->dev.fd, &variant->way,
					   self->buf, self->size, &handle));
	expect_given_back(_metadata, &self->dev, 0, NR_PAGES / 2);
}

TEST_HARNESS_MAIN
