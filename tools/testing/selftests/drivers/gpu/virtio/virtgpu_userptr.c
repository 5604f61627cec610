// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory can be registered: every kind of mapping, in each of the four
 * ways (GUEST or HOST3D_GUEST, read-write or read-only). On a device that does
 * not offer a way the same tests prove that it says so.
 */
#include <linux/kernel-page-flags.h>
#include <linux/loop.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <spawn.h>
#include <sys/swap.h>

#include "virtgpu_utils.h"

#define NR_PAGES	16

/* What one command takes. */
#define MAX_ENTRIES	16384

/*
 * What a test has changed in the machine. The parent undoes it, the last first,
 * however the test has ended.
 */
struct undo {
	struct setting {
		char path[96];
		char value[32];
	} files[4];
	unsigned int nr_files;
	char swap[32];
};

FIXTURE(memory)
{
	struct virtgpu dev;
	size_t size;
	struct undo undo;
};

FIXTURE_VARIANT(memory)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(memory);

FIXTURE_SETUP(memory)
{
	self->size = NR_PAGES * PAGE_SIZE;
	virtgpu_setup(_metadata, &self->dev);
}

/* True as soon as @cond is. */
#define settles(cond)							\
({									\
	unsigned int _ms;						\
	bool _ok;							\
									\
	for (_ms = 0; !(_ok = (cond)) && _ms < SETTLE_MS; _ms += 5)	\
		sleep_ms(5);						\
	_ok;								\
})

static void undo_all(struct __test_metadata *_metadata, struct undo *undo)
{
	if (undo->swap[0])
		EXPECT_EQ(0, swapoff(undo->swap));
	while (undo->nr_files) {
		struct setting *file = &undo->files[--undo->nr_files];

		EXPECT_TRUE(settles(!write_file(file->path, file->value))) {
			TH_LOG("cannot restore %s", file->path);
		}
	}
}

FIXTURE_TEARDOWN_PARENT(memory)
{
	virtgpu_teardown(_metadata, &self->dev);
	undo_all(_metadata, &self->undo);
}

static void undo_later(struct __test_metadata *_metadata, struct undo *undo,
		       const char *path, const char *value)
{
	struct setting *file = &undo->files[undo->nr_files];

	ASSERT_GT(ARRAY_SIZE(undo->files), undo->nr_files);
	ASSERT_GT(sizeof(file->path),
		  snprintf(file->path, sizeof(file->path), "%s", path));
	ASSERT_GT(sizeof(file->value),
		  snprintf(file->value, sizeof(file->value), "%s", value));
	undo->nr_files++;
}

/* Changes a setting for the time of the test; false if there is no such. */
static bool set_knob(struct __test_metadata *_metadata, struct undo *undo,
		     const char *path, const char *value)
{
	char text[128], *old;

	if (!read_line(path, text, sizeof(text)))
		return false;
	/* Where a choice is listed, what is chosen stands in brackets. */
	old = strchr(text, '[');
	old = old ? old + 1 : text;
	old[strcspn(old, "]")] = 0;
	undo_later(_metadata, undo, path, old);
	ASSERT_EQ(0, write_file(path, value));
	return true;
}

/*
 * Registers: exactly these pages are pinned now, and they are charged to the
 * process. Returns the handle, 0 where the device does not offer the way.
 */
#define test_register(addr, size) \
	check_register(_metadata, &self->dev, &variant->way, addr, size)

static __u32 check_register(struct __test_metadata *_metadata,
			    const struct virtgpu *dev,
			    const struct virtgpu_way *way,
			    const void *addr, size_t size)
{
	long pages = size / PAGE_SIZE, vmpin = vmpin_kb(getpid());
	struct drm_virtgpu_resource_info info = {};
	__u32 handle;

	ASSERT_LE(0, vmpin);
	ASSERT_EQ(virtgpu_expected(dev, way, 0),
		  virtgpu_userptr(dev->fd, way, addr, size, &handle));
	if (!virtgpu_offers(dev, way)) {
		EXPECT_EQ(0, handle);
		EXPECT_EQ(dev->pins, pins_held());
		return 0;
	}

	EXPECT_NE(0, handle);
	EXPECT_EQ(dev->pins + pages, pins_held());
	EXPECT_EQ(vmpin + (long)(size / 1024), vmpin_kb(getpid()));

	info.bo_handle = handle;
	EXPECT_EQ(0, virtgpu_resource_info(dev->fd, &info));
	EXPECT_NE(0, info.res_handle);
	EXPECT_EQ(size, info.size);
	EXPECT_EQ(way->blob_mem, info.blob_mem);
	return handle;
}

/* Releases what test_register() registered: nothing is pinned any more. */
#define test_release(handle, size) \
	check_release(_metadata, &self->dev, handle, size)

static void check_release(struct __test_metadata *_metadata,
			  const struct virtgpu *dev, __u32 handle, size_t size)
{
	long vmpin = vmpin_kb(getpid()) - (long)(size / 1024);

	if (!handle)
		return;
	EXPECT_EQ(0, virtgpu_gem_close(dev->fd, handle));
	EXPECT_EQ(dev->pins, pins_settle(dev->pins));
	EXPECT_EQ(vmpin, vmpin_settle_kb(getpid(), vmpin));
}

#define test_registers(addr, size) \
	check_registers(_metadata, &self->dev, &variant->way, addr, size)

static void check_registers(struct __test_metadata *_metadata,
			    const struct virtgpu *dev,
			    const struct virtgpu_way *way,
			    const void *addr, size_t size)
{
	__u32 handle = check_register(_metadata, dev, way, addr, size);

	check_release(_metadata, dev, handle, size);
}

/* As above, and the process still sees the same physical pages afterwards. */
#define test_registers_in_place(addr, size) \
	check_registers_in_place(_metadata, &self->dev, &variant->way, addr, \
				 size)

static void check_registers_in_place(struct __test_metadata *_metadata,
				     const struct virtgpu *dev,
				     const struct virtgpu_way *way,
				     const void *addr, size_t size)
{
	size_t pages = size / PAGE_SIZE;
	__u64 *pfns = calloc(2 * pages, sizeof(*pfns));

	ASSERT_NE(NULL, pfns);
	ASSERT_TRUE(read_pfns(addr, pages, pfns));
	ASSERT_NE(0, pfns[0]);
	check_registers(_metadata, dev, way, addr, size);
	ASSERT_TRUE(read_pfns(addr, pages, pfns + pages));
	EXPECT_EQ(0, memcmp(pfns, pfns + pages, pages * sizeof(*pfns)));
	free(pfns);
}

/* Is refused with @err, and leaves nothing pinned. */
#define test_err_registers(err, addr, size) \
	check_err_registers(_metadata, &self->dev, &variant->way, err, addr, \
			    size)

static void check_err_registers(struct __test_metadata *_metadata,
				const struct virtgpu *dev,
				const struct virtgpu_way *way, int err,
				const void *addr, size_t size)
{
	__u32 handle;

	EXPECT_EQ(virtgpu_expected(dev, way, err),
		  virtgpu_userptr(dev->fd, way, addr, size, &handle));
	EXPECT_EQ(0, handle);
	EXPECT_EQ(dev->pins, pins_held());
}

/* How many pages two mappings have in common, each at the same place. */
static size_t common_pages(const void *one, const void *other, size_t size)
{
	size_t i, nr = 0;

	for (i = 0; i < size; i += PAGE_SIZE) {
		__u64 pfn = pfn_of((const char *)one + i);

		nr += pfn && pfn == pfn_of((const char *)other + i);
	}
	return nr;
}

/* One of KPF_*, which the kernel shows for each of its pages. */
static bool page_has_flag(__u64 pfn, unsigned int flag)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags = 0;

	if (fd < 0)
		return false;
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) !=
	    sizeof(flags))
		flags = 0;
	close(fd);
	return flags >> flag & 1;
}

TEST_F(memory, anonymous)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	test_registers_in_place(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

TEST_F(memory, anonymous_never_touched)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	test_registers(buf, self->size);
}

TEST_F(memory, one_page)
{
	void *buf = map_anon(PAGE_SIZE);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, PAGE_SIZE);
	test_registers_in_place(buf, PAGE_SIZE);
}

/* A read-only pin of a page of zeroes must not pin the zero page. */
TEST_F(memory, zero_page)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, madvise(buf, self->size, MADV_POPULATE_READ));
	ASSERT_TRUE(page_has_flag(pfn_of(buf), KPF_ZERO_PAGE));
	test_registers(buf, self->size);
	EXPECT_EQ(!virtgpu_offers(&self->dev, &variant->way),
		  page_has_flag(pfn_of(buf), KPF_ZERO_PAGE));
}

static char *map_anon_aligned(struct __test_metadata *_metadata, size_t size,
			      size_t align)
{
	char *buf = map_anon(size + align);

	ASSERT_NE(MAP_FAILED, buf);
	return (char *)(((uintptr_t)buf + align - 1) & ~(align - 1));
}

TEST_F(memory, transparent_huge_pages)
{
	size_t huge = 2 << 20, size = 2 * huge;
	char *buf = map_anon_aligned(_metadata, size, huge);

	if (madvise(buf, size, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	fill(buf, size);
	ASSERT_EQ(0, madvise(buf, size, MADV_COLLAPSE));
	ASSERT_GE(2, physical_runs(buf, size));
	test_registers_in_place(buf, size);
	EXPECT_TRUE(is_filled(buf, size));

	/* And a part of one, which begins and ends within. */
	test_registers_in_place(buf + huge / 2, huge);
}

/* Smaller ones, of several pages but less than a page table maps. */
TEST_F(memory, multi_size_huge_pages)
{
	size_t huge = 64 << 10, size = 4 * huge, i;
	char *buf = map_anon_aligned(_metadata, size, huge);

	if (!set_knob(_metadata, &self->undo,
		      "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled",
		      "always"))
		SKIP(return, "no transparent huge pages of 64 KiB");
	fill(buf, size);
	for (i = 0; i < size; i += huge) {
		ASSERT_TRUE(page_has_flag(pfn_of(buf + i), KPF_COMPOUND_HEAD));
		ASSERT_EQ(1, physical_runs(buf + i, huge));
	}
	test_registers_in_place(buf, size);
	EXPECT_TRUE(is_filled(buf, size));

	test_registers_in_place(buf + huge / 2, huge);
}

static int make_memfd(struct __test_metadata *_metadata, unsigned int flags,
		      size_t size)
{
	int fd = memfd_create("virtgpu", MFD_CLOEXEC | flags);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, size));
	return fd;
}

/* Its pages are present, but no private copies were made of them yet. */
static void *map_file(struct __test_metadata *_metadata, int fd, int prot,
		      int flags, size_t size)
{
	void *buf = mmap(NULL, size, prot, flags, fd, 0);

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, madvise(buf, size, MADV_POPULATE_READ));
	return buf;
}

/* @huge is a MAP_HUGE_* and MFD_HUGE_* at once. The pool of them is left alone. */
static void *map_hugetlb(struct __test_metadata *_metadata, struct undo *undo,
			 unsigned int huge, size_t size, bool shared)
{
	unsigned int shift = huge >> MAP_HUGE_SHIFT;
	char path[96], nr[16];
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_overcommit_hugepages",
		 1UL << (shift - 10));
	snprintf(nr, sizeof(nr), "%zu", size >> shift);
	if (!set_knob(_metadata, undo, path, nr))
		return MAP_FAILED;
	if (!shared)
		return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			    MAP_ANONYMOUS | MAP_HUGETLB | huge, -1, 0);
	fd = make_memfd(_metadata, MFD_HUGETLB | huge, size);
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

TEST_F(memory, hugetlb)
{
	size_t size = 2 * (2 << 20);
	void *buf = map_hugetlb(_metadata, &self->undo, MAP_HUGE_2MB, size,
				false);

	if (buf == MAP_FAILED)
		SKIP(return, "no huge pages of 2 MiB to be had");
	fill(buf, size);
	test_registers_in_place(buf, size);
	EXPECT_TRUE(is_filled(buf, size));
}

TEST_F(memory, hugetlb_memfd)
{
	size_t size = 2 * (2 << 20);
	void *buf = map_hugetlb(_metadata, &self->undo, MAP_HUGE_2MB, size,
				true);

	if (buf == MAP_FAILED)
		SKIP(return, "no huge pages of 2 MiB to be had");
	fill(buf, size);
	test_registers_in_place(buf, size);
	EXPECT_TRUE(is_filled(buf, size));
}

TEST_F(memory, hugetlb_gigantic)
{
	size_t size = 1 << 30;
	void *buf = map_hugetlb(_metadata, &self->undo, MAP_HUGE_1GB, size,
				false);

	if (buf == MAP_FAILED)
		SKIP(return, "no huge page of 1 GiB to be had");
	fill(buf, self->size);
	ASSERT_EQ(1, physical_runs(buf, size));
	test_registers_in_place(buf, size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

TEST_F(memory, memfd)
{
	int fd = make_memfd(_metadata, 0, self->size);
	void *buf = map_file(_metadata, fd, PROT_READ | PROT_WRITE, MAP_SHARED,
			     self->size);

	fill(buf, self->size);
	test_registers_in_place(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

static int add_seals(int fd, int seals)
{
	return fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

TEST_F(memory, memfd_sealed_size)
{
	int fd = make_memfd(_metadata, MFD_ALLOW_SEALING, self->size);
	void *buf = map_file(_metadata, fd, PROT_READ | PROT_WRITE, MAP_SHARED,
			     self->size);

	fill(buf, self->size);
	ASSERT_EQ(0, add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW));
	test_registers_in_place(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

TEST_F(memory, shared_anonymous)
{
	void *buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	test_registers_in_place(buf, self->size);
}

TEST_F(memory, stack)
{
	char buf[8 * 4096] __attribute__((aligned(4096)));

	if (PAGE_SIZE != 4096)
		SKIP(return, "pages are not 4 KiB");
	fill(buf, sizeof(buf));
	test_registers_in_place(buf, sizeof(buf));
	EXPECT_TRUE(is_filled(buf, sizeof(buf)));
}

/* The first half is private, the second shared. */
static void *map_neighbours(struct __test_metadata *_metadata, size_t size)
{
	char *buf = map_anon(size);

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_NE(MAP_FAILED,
		  mmap(buf + size / 2, size / 2, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill(buf, size);
	return buf;
}

/* One registration may span mappings of different kinds. */
TEST_F(memory, neighbouring_mappings)
{
	void *buf = map_neighbours(_metadata, self->size);

	test_registers_in_place(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

/* Registering twice, or parts that overlap, is nothing special. */
TEST_F(memory, registered_twice)
{
	long pages = self->size / PAGE_SIZE;
	void *buf = map_anon(self->size);
	__u32 first, second;

	ASSERT_NE(MAP_FAILED, buf);
	if (!virtgpu_offers(&self->dev, &variant->way)) {
		test_err_registers(-EOPNOTSUPP, buf, self->size);
		return;
	}
	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way, buf,
				     self->size, &first));
	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way,
				     buf + self->size / 2, self->size / 2,
				     &second));
	EXPECT_EQ(self->dev.pins + pages + pages / 2, pins_held());

	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, first));
	EXPECT_EQ(self->dev.pins + pages / 2,
		  pins_settle(self->dev.pins + pages / 2));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, second));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* Read-only memory can be registered read-only, and no other way. */
#define test_rdonly_memory(addr, size) \
	check_rdonly_memory(_metadata, &self->dev, &variant->way, addr, size)

static void check_rdonly_memory(struct __test_metadata *_metadata,
				const struct virtgpu *dev,
				const struct virtgpu_way *way,
				const void *addr, size_t size)
{
	if (virtgpu_way_is_rdonly(way))
		check_registers_in_place(_metadata, dev, way, addr, size);
	else
		check_err_registers(_metadata, dev, way, -EFAULT, addr, size);
}

TEST_F(memory, prot_read_anonymous)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	ASSERT_EQ(0, mprotect(buf, self->size, PROT_READ));
	test_rdonly_memory(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

/* One registration, so the half that may be written does not help. */
TEST_F(memory, half_prot_read)
{
	char *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	ASSERT_EQ(0, mprotect(buf + self->size / 2, self->size / 2, PROT_READ));
	test_rdonly_memory(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

/* A mapping from before the seal may still be written. */
TEST_F(memory, memfd_sealed_future_write)
{
	int fd = make_memfd(_metadata, MFD_ALLOW_SEALING, self->size);
	void *before, *after;

	before = map_file(_metadata, fd, PROT_READ | PROT_WRITE, MAP_SHARED,
			  self->size);
	fill(before, self->size);
	ASSERT_EQ(0, add_seals(fd, F_SEAL_FUTURE_WRITE));
	after = map_file(_metadata, fd, PROT_READ, MAP_SHARED, self->size);
	test_registers_in_place(before, self->size);
	test_rdonly_memory(after, self->size);
	EXPECT_TRUE(is_filled(after, self->size));
}

TEST_F(memory, memfd_sealed_write)
{
	int fd = make_memfd(_metadata, MFD_ALLOW_SEALING, self->size);
	void *buf;

	buf = map_file(_metadata, fd, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->size);
	fill(buf, self->size);
	munmap(buf, self->size);
	ASSERT_EQ(0, add_seals(fd, F_SEAL_WRITE));
	buf = map_file(_metadata, fd, PROT_READ, MAP_SHARED, self->size);
	test_rdonly_memory(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

/*
 * The device could write what has been sealed: not before the pages are back.
 * To the kernel each pin looks like one for writing.
 */
TEST_F(memory, memfd_sealed_while_registered)
{
	int fd = make_memfd(_metadata, MFD_ALLOW_SEALING, self->size);
	void *buf = map_file(_metadata, fd, PROT_READ | PROT_WRITE, MAP_SHARED,
			     self->size);
	__u32 handle = test_register(buf, self->size);

	munmap(buf, self->size);
	if (handle)
		EXPECT_EQ(-EBUSY, add_seals(fd, F_SEAL_WRITE));
	test_release(handle, self->size);
	EXPECT_EQ(0, add_seals(fd, F_SEAL_WRITE));
}

/* An open file system that is mounted nowhere. */
static int mount_detached(const char *type, const char *source)
{
	int fs, mnt = -1, err;

	fs = syscall(__NR_fsopen, type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	if (source && syscall(__NR_fsconfig, fs, FSCONFIG_SET_STRING, "source",
			      source, 0))
		goto out;
	if (syscall(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		goto out;
	mnt = syscall(__NR_fsmount, fs, FSMOUNT_CLOEXEC, 0);
out:
	err = mnt < 0 ? -errno : mnt;
	close(fs);
	return err;
}

/* Makes a file of the pattern in the file system @mnt. */
static int make_file(struct __test_metadata *_metadata, int mnt, size_t size)
{
	char *pattern = map_anon(size);
	int fd;

	ASSERT_NE(MAP_FAILED, pattern);
	fill(pattern, size);
	fd = openat(mnt, "file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(size, write(fd, pattern, size));
	ASSERT_EQ(0, fsync(fd));
	munmap(pattern, size);
	return fd;
}

static int make_tmpfs_file(struct __test_metadata *_metadata, size_t size)
{
	int mnt = mount_detached("tmpfs", NULL);

	ASSERT_LE(0, mnt);
	return make_file(_metadata, mnt, size);
}

/* The same file, which can then not be written through this file descriptor. */
static int reopen_rdonly(struct __test_metadata *_metadata, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	return fd;
}

/*
 * Shared, the page cache itself is handed over, which is how a model file gets
 * to the device: its pages are those of another mapping, before and afterwards.
 * Of a private mapping, the kernel makes the copies that a write would make:
 * also for reading, since the pages have to stay what the program sees.
 */
#define test_file(fd, prot, flags) \
	check_file(_metadata, &self->dev, &variant->way, fd, prot, flags, \
		   self->size)

static void check_file(struct __test_metadata *_metadata,
		       const struct virtgpu *dev, const struct virtgpu_way *way,
		       int fd, int prot, int flags, size_t size)
{
	void *other = map_file(_metadata, fd, PROT_READ, MAP_SHARED, size);
	void *buf = map_file(_metadata, fd, prot, flags, size);
	bool may = prot & PROT_WRITE || virtgpu_way_is_rdonly(way);
	size_t common = NR_PAGES;

	ASSERT_EQ(NR_PAGES, common_pages(buf, other, size));
	if (may)
		check_registers(_metadata, dev, way, buf, size);
	else
		check_err_registers(_metadata, dev, way, -EFAULT, buf, size);
	if (may && virtgpu_offers(dev, way) && flags == MAP_PRIVATE)
		common = 0;
	EXPECT_EQ(common, common_pages(buf, other, size));
	EXPECT_TRUE(is_filled(buf, size));
}

TEST_F(memory, tmpfs_file)
{
	int fd = make_tmpfs_file(_metadata, self->size);

	test_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
}

TEST_F(memory, prot_read_tmpfs_file)
{
	int fd = make_tmpfs_file(_metadata, self->size);

	fd = reopen_rdonly(_metadata, fd);
	test_file(fd, PROT_READ, MAP_SHARED);
}

TEST_F(memory, private_file)
{
	int fd = make_tmpfs_file(_metadata, self->size);

	test_file(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

TEST_F(memory, prot_read_private_file)
{
	int fd = make_tmpfs_file(_metadata, self->size);

	fd = reopen_rdonly(_metadata, fd);
	test_file(fd, PROT_READ, MAP_PRIVATE);
}

/* A private mapping, too; what registers it is what runs from the page. */
TEST_F(memory, program_text)
{
	void *text = (void *)((uintptr_t)check_register & ~(PAGE_SIZE - 1));
	__u64 pfn = pfn_of(text);
	char *copy = map_anon(PAGE_SIZE);

	ASSERT_NE(MAP_FAILED, copy);
	ASSERT_NE(0, pfn);
	memcpy(copy, text, PAGE_SIZE);
	if (virtgpu_way_is_rdonly(&variant->way))
		test_registers(text, PAGE_SIZE);
	else
		test_err_registers(-EFAULT, text, PAGE_SIZE);
	if (virtgpu_way_is_rdonly(&variant->way) &&
	    virtgpu_offers(&self->dev, &variant->way))
		EXPECT_NE(pfn, pfn_of(text));
	EXPECT_EQ(0, memcmp(copy, text, PAGE_SIZE));
}

/* A loop device over a memfd, gone with the last file that has it open. */
static int make_disk(struct __test_metadata *_metadata, size_t size,
		     char *path, size_t path_len)
{
	struct loop_config config = {
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	int control, number, disk;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, control) {
		TH_LOG("CONFIG_BLK_DEV_LOOP is missing");
	}
	number = ioctl(control, LOOP_CTL_GET_FREE);
	ASSERT_LE(0, number);
	close(control);

	config.fd = memfd_create("virtgpu-disk", MFD_CLOEXEC);
	ASSERT_LE(0, config.fd);
	ASSERT_EQ(0, ftruncate(config.fd, size));
	snprintf(path, path_len, "/dev/loop%d", number);
	disk = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, disk);
	ASSERT_EQ(0, ioctl(disk, LOOP_CONFIGURE, &config));
	close(config.fd);
	return disk;
}

/* mke2fs, from e2fsprogs or busybox. */
static int make_ext_fs(char *disk)
{
	char *argv[] = { "mke2fs", "-F", disk, NULL };
	posix_spawn_file_actions_t quiet;
	int status, err;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	err = posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (err)
		return -err;
	if (waitpid(pid, &status, 0) != pid || status)
		return -EIO;
	return 0;
}

/* A file on ext4, of the pattern. */
static int make_ext4_file(struct __test_metadata *_metadata, size_t size)
{
	int disk, writable, mnt;
	char path[32];

	writable = make_disk(_metadata, 8 << 20, path, sizeof(path));
	if (make_ext_fs(path))
		return -1;
	/* A disk may not be mounted while somebody has it open for writing. */
	disk = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, disk);
	close(writable);
	mnt = mount_detached("ext4", path);
	ASSERT_LE(0, mnt);
	close(disk);
	return make_file(_metadata, mnt, size);
}

/*
 * The file system would not learn of what the device writes, so these pages
 * may not be pinned for writing: neither before nor after a first fault.
 */
TEST_F(memory, ext4_file)
{
	int fd = make_ext4_file(_metadata, self->size);
	void *buf;

	if (fd < 0)
		SKIP(return, "no mke2fs");
	buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, buf);
	if (virtgpu_way_is_rdonly(&variant->way)) {
		test_registers(buf, self->size);
	} else {
		test_err_registers(-EFAULT, buf, self->size);
		ASSERT_EQ(0, madvise(buf, self->size, MADV_POPULATE_WRITE));
		test_err_registers(-EFAULT, buf, self->size);
	}
	EXPECT_TRUE(is_filled(buf, self->size));
}

TEST_F(memory, prot_read_ext4_file)
{
	int fd = make_ext4_file(_metadata, self->size);

	if (fd < 0)
		SKIP(return, "no mke2fs");
	fd = reopen_rdonly(_metadata, fd);
	test_file(fd, PROT_READ, MAP_SHARED);
}

TEST_F(memory, private_ext4_file)
{
	int fd = make_ext4_file(_metadata, self->size);

	if (fd < 0)
		SKIP(return, "no mke2fs");
	test_file(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

TEST_F(memory, block_device)
{
	char path[32];
	int disk = make_disk(_metadata, self->size, path, sizeof(path));
	void *buf;

	buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, disk,
		   0);
	ASSERT_NE(MAP_FAILED, buf);
	if (virtgpu_way_is_rdonly(&variant->way))
		test_registers(buf, self->size);
	else
		test_err_registers(-EFAULT, buf, self->size);
}

/* Past the end of a file there is nothing, though a mapping reaches there. */
TEST_F(memory, beyond_end_of_file)
{
	int fd = make_memfd(_metadata, 0, self->size - PAGE_SIZE);
	void *buf;

	buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, buf);
	test_err_registers(-EFAULT, buf, self->size);
}

TEST_F(memory, nothing_mapped)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, munmap(buf, self->size));
	test_err_registers(-EFAULT, buf, self->size);
	test_err_registers(-EFAULT, NULL, self->size);
}

/* The pages before the hole were pinned already and are let go again. */
TEST_F(memory, a_hole)
{
	char *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	ASSERT_EQ(0, munmap(buf + self->size / 2, PAGE_SIZE));
	test_err_registers(-EFAULT, buf, self->size);
}

/* The same far behind: in the last page of many batches. */
TEST_F(memory, a_hole_far_behind)
{
	size_t size = 16 << 20;
	char *buf = map_anon(size);

	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, munmap(buf + size - PAGE_SIZE, PAGE_SIZE));
	test_err_registers(-EFAULT, buf, size);
}

TEST_F(memory, prot_none)
{
	void *buf = mmap(NULL, self->size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, buf);
	test_err_registers(-EFAULT, buf, self->size);
}

TEST_F(memory, kernel_addresses)
{
	test_err_registers(-EFAULT, (void *)(LONG_MAX & ~(PAGE_SIZE - 1)),
			   self->size);
	test_err_registers(-EFAULT, (void *)(uintptr_t)LONG_MIN, self->size);
	test_err_registers(-EFAULT, (void *)-(2 * self->size), self->size);
}

/* The page that no address of a program follows. */
static void *map_last_page(void)
{
	unsigned int bit, guard;
	void *at, *page;

	for (bit = sizeof(long) * 8 - 1; bit > 20; bit--) {
		/* x86 leaves the very last one alone. */
		for (guard = 0; guard < 2; guard++) {
			at = (void *)((1UL << bit) - (1 + guard) * PAGE_SIZE);
			page = mmap(at, PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS |
				    MAP_FIXED_NOREPLACE, -1, 0);
			if (page != MAP_FAILED)
				return page;
		}
	}
	return NULL;
}

TEST_F(memory, end_of_address_space)
{
	char *page = map_last_page();

	ASSERT_NE(NULL, page);
	fill(page, PAGE_SIZE);
	test_registers_in_place(page, PAGE_SIZE);
	EXPECT_TRUE(is_filled(page, PAGE_SIZE));
	test_err_registers(-EFAULT, page, 2 * PAGE_SIZE);
	test_err_registers(-EFAULT, page + PAGE_SIZE, PAGE_SIZE);
}

TEST_F(memory, secret)
{
	int fd = syscall(__NR_memfd_secret, O_CLOEXEC);
	void *buf;

	if (fd < 0 && errno == ENOSYS)
		SKIP(return, "no memfd_secret()");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, self->size));
	buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, buf);
	test_err_registers(-EFAULT, buf, self->size);
	fill(buf, self->size);
	test_err_registers(-EFAULT, buf, self->size);
}

/* Memory of the device: what a mapped blob is. */
TEST_F(memory, mapped_blob)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = virtgpu_plain_blob_mem(&self->dev),
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = self->size,
	};
	__u64 offset;
	void *buf;

	ASSERT_EQ(0, virtgpu_create_blob(self->dev.fd, &blob));
	ASSERT_EQ(0, virtgpu_map(self->dev.fd, blob.bo_handle, &offset));
	buf = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->dev.fd, offset);
	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	test_err_registers(-EFAULT, buf, self->size);
}

/* Pages that are there do not fault: nobody has to answer. */
TEST_F(memory, userfaultfd)
{
	void *buf = map_anon(self->size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	ASSERT_LE(0, userfaultfd_register(buf, self->size));
	test_registers_in_place(buf, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

TEST_F(memory, advice_while_registered)
{
	void *buf = map_anon(self->size);
	__u32 handle;
	__u64 pfn;

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	pfn = pfn_of(buf);
	handle = test_register(buf, self->size);
	EXPECT_EQ(0, madvise(buf, self->size, MADV_DONTFORK));
	EXPECT_EQ(0, madvise(buf, self->size, MADV_COLD));
	EXPECT_EQ(pfn, pfn_of(buf));
	EXPECT_TRUE(is_filled(buf, self->size));
	test_release(handle, self->size);
}

/* The program gets new pages, the device keeps the old ones. */
TEST_F(memory, dontneed_while_registered)
{
	__u64 old[NR_PAGES], new[NR_PAGES];
	void *buf = map_anon(self->size);
	__u32 handle;
	size_t i, j;

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	ASSERT_TRUE(read_pfns(buf, NR_PAGES, old));
	handle = test_register(buf, self->size);
	if (!handle)
		return;
	ASSERT_EQ(0, madvise(buf, self->size, MADV_DONTNEED));
	EXPECT_EQ(self->dev.pins + NR_PAGES, pins_held());
	EXPECT_EQ(0, pfn_of(buf));

	fill(buf, self->size);
	ASSERT_TRUE(read_pfns(buf, NR_PAGES, new));
	for (i = 0; i < NR_PAGES; i++) {
		for (j = 0; j < NR_PAGES; j++)
			EXPECT_NE(old[i], new[j]);
		EXPECT_TRUE(page_has_flag(old[i], KPF_ANON));
	}
	test_release(handle, self->size);
	EXPECT_TRUE(is_filled(buf, self->size));
}

/* Pages that others have as well must not be written, nor change under us. */
TEST_F(memory, merged_by_ksm)
{
	char *buf = map_anon(2 * self->size), *twin = buf + self->size;
	size_t common = 0;

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	fill(twin, self->size);
	if (!set_knob(_metadata, &self->undo, "/sys/kernel/mm/ksm/run", "1"))
		SKIP(return, "no KSM");
	ASSERT_EQ(0, madvise(buf, 2 * self->size, MADV_MERGEABLE));
	ASSERT_TRUE(settles(common_pages(buf, twin, self->size) == NR_PAGES)) {
		TH_LOG("KSM did not merge");
	}
	ASSERT_TRUE(page_has_flag(pfn_of(buf), KPF_KSM));
	ASSERT_EQ(0, write_file("/sys/kernel/mm/ksm/run", "0"));

	test_registers(buf, self->size);
	if (!virtgpu_offers(&self->dev, &variant->way))
		common = NR_PAGES;
	EXPECT_EQ(common, common_pages(buf, twin, self->size));
	EXPECT_TRUE(is_filled(buf, self->size));
	EXPECT_TRUE(is_filled(twin, self->size));
}

#define ZRAM_CONTROL	"/sys/class/zram-control"

/* A signature is all that the kernel needs of mkswap. */
static void make_swap(struct __test_metadata *_metadata, const char *path,
		      __u32 pages)
{
	/* The header begins behind the boot sector: version, last page. */
	const __u32 info[] = { 1, pages - 1 };
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(info), pwrite(fd, info, sizeof(info), 1024));
	ASSERT_EQ(10, pwrite(fd, "SWAPSPACE2", 10, PAGE_SIZE - 10));
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, close(fd));
}

static bool swap_to_zram(struct __test_metadata *_metadata, struct undo *undo)
{
	char path[96], size[32], number[16];
	const __u32 pages = 1024;

	if (!read_line(ZRAM_CONTROL "/hot_add", number, sizeof(number)))
		return false;
	undo_later(_metadata, undo, ZRAM_CONTROL "/hot_remove", number);
	snprintf(path, sizeof(path), "/sys/block/zram%s/disksize", number);
	snprintf(size, sizeof(size), "%zu", pages * PAGE_SIZE);
	ASSERT_EQ(0, write_file(path, size));

	snprintf(undo->swap, sizeof(undo->swap), "/dev/zram%s", number);
	make_swap(_metadata, undo->swap, pages);
	ASSERT_EQ(0, swapon(undo->swap, 0));
	return true;
}

static size_t swapped_pages(const void *addr, size_t size)
{
	size_t i, pages = size / PAGE_SIZE, nr = 0;
	__u64 *entries = malloc(pages * sizeof(*entries));

	if (entries && read_pagemap(addr, pages, entries))
		for (i = 0; i < pages; i++)
			nr += entries[i] >> 62 & 1;
	free(entries);
	return nr;
}

/* Asks for it again as long as needed: what is in use stays in memory. */
static bool swap_out(void *buf, size_t size)
{
	return !madvise(buf, size, MADV_PAGEOUT) &&
	       swapped_pages(buf, size) == size / PAGE_SIZE;
}

TEST_F(memory, swapped_out)
{
	void *buf = map_anon(self->size);
	__u32 handle;

	ASSERT_NE(MAP_FAILED, buf);
	if (!swap_to_zram(_metadata, &self->undo))
		SKIP(return, "no zram");
	fill(buf, self->size);
	ASSERT_TRUE(settles(swap_out(buf, self->size)));

	handle = test_register(buf, self->size);
	if (handle) {
		EXPECT_EQ(0, madvise(buf, self->size, MADV_PAGEOUT));
		EXPECT_EQ(0, swapped_pages(buf, self->size));
	}
	EXPECT_TRUE(is_filled(buf, self->size));
	test_release(handle, self->size);
}

#define BLOCKS	"/sys/devices/system/memory"

/* Memory is taken offline and online in blocks; 0 where it is not. */
static size_t pages_per_block(void)
{
	char text[32];

	if (!read_line(BLOCKS "/block_size_bytes", text, sizeof(text)))
		return 0;
	return strtoul(text, NULL, 16) / PAGE_SIZE;
}

/*
 * A block that is not in use at all, or -1: about one that has what cannot be
 * moved the kernel would complain.
 */
static int find_free_block(struct __test_metadata *_metadata, size_t pages)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	size_t len = pages * sizeof(__u64), i = 0;
	__u64 *flags = malloc(len);
	int block;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, flags);
	for (block = 0; pread(fd, flags, len, block * len) == len; block++) {
		for (i = 0; i < pages && flags[i] >> KPF_BUDDY & 1; i++)
			;
		if (i == pages)
			break;
	}
	free(flags);
	close(fd);
	return i == pages ? block : -1;
}

/* From here on, a block of memory takes only what can be moved out of it. */
static bool online_movable(struct __test_metadata *_metadata,
			   struct undo *undo)
{
	size_t pages = pages_per_block();
	int block = pages ? find_free_block(_metadata, pages) : -1;
	char path[96];

	if (block < 0)
		return false;
	snprintf(path, sizeof(path), BLOCKS "/memory%d/state", block);
	if (write_file(path, "offline"))
		return false;
	undo_later(_metadata, undo, path, "online");
	ASSERT_EQ(0, write_file(path, "online_movable"));
	undo_later(_metadata, undo, path, "offline");
	return true;
}

/* How many pages are in blocks like that. */
static size_t movable_pages(struct __test_metadata *_metadata, const char *buf,
			    size_t size)
{
	char path[96], text[32];
	size_t i, nr = 0;

	for (i = 0; i < size; i += PAGE_SIZE) {
		snprintf(path, sizeof(path), BLOCKS "/memory%llu/valid_zones",
			 pfn_of(buf + i) / pages_per_block());
		ASSERT_TRUE(read_line(path, text, sizeof(text)));
		nr += !strcmp(text, "Movable");
	}
	return nr;
}

/* What is pinned for long must not keep memory from being unplugged. */
TEST_F(memory, movable_zone)
{
	size_t movable;
	void *buf;

	if (!online_movable(_metadata, &self->undo))
		SKIP(return, "no free memory that can be taken offline");
	buf = map_neighbours(_metadata, self->size);
	ASSERT_EQ(NR_PAGES, movable_pages(_metadata, buf, self->size));
	test_registers(buf, self->size);
	movable = virtgpu_offers(&self->dev, &variant->way) ? 0 : NR_PAGES;
	EXPECT_EQ(movable, movable_pages(_metadata, buf, self->size));
	EXPECT_TRUE(is_filled(buf, self->size));
}

/* More pieces than a command can name are refused, before the device sees it. */
TEST_F_TIMEOUT(memory, more_entries_than_a_command_takes, 900)
{
	size_t size = MAX_ENTRIES * PAGE_SIZE / 8 * 9, most = MAX_ENTRIES;
	char *buf = map_scattered(_metadata, size);

	/* The queue of a device without contexts is too short for that. */
	if (!self->dev.capset)
		most /= 2;
	test_registers(buf, size_of_runs(buf, size, most));
	test_err_registers(-E2BIG, buf,
			   size_of_runs(buf, size, MAX_ENTRIES + 1));
}

/* It is the pieces that count, not the bytes. */
TEST_F_TIMEOUT(memory, more_pages_than_entries, 900)
{
	size_t size = 2 * MAX_ENTRIES * PAGE_SIZE;
	char *buf = map_anon(size);

	ASSERT_NE(MAP_FAILED, buf);
	if (madvise(buf, size, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(buf, 0xa5, size);
	ASSERT_GT(MAX_ENTRIES, physical_runs(buf, size));
	test_registers(buf, size);
}

/* A page count that overflows 32 bits must not become a small one. */
TEST_F(memory, more_pages_than_32_bits)
{
	__u64 size = (1ULL << 32) * PAGE_SIZE + PAGE_SIZE;
	void *buf = map_anon(PAGE_SIZE);
	__u32 handle;
	int ret;

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, PAGE_SIZE);
	ret = virtgpu_userptr(self->dev.fd, &variant->way, buf, size, &handle);
	EXPECT_TRUE(ret == virtgpu_expected(&self->dev, &variant->way,
					    -EFAULT) ||
		    ret == virtgpu_expected(&self->dev, &variant->way,
					    -E2BIG)) {
		TH_LOG("returned %d", ret);
	}
	EXPECT_EQ(0, handle);
}

TEST_HARNESS_MAIN
