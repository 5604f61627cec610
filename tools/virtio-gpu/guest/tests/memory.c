// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "memory.h"

/* 257 pages, a prime number, and no huge page. */
#define SMALL_SIZE	(257 * 4096)
#define HUGE_PAGE	(2UL * 1024 * 1024)
#define HUGE_SIZE	(2 * HUGE_PAGE)

static void fill(struct memory *mem)
{
	size_t i;

	for (i = 0; i < mem->size; i++)
		mem->addr[i] = memory_byte(i, 0);
}

static int map(struct memory *mem, int prot, int flags)
{
	mem->addr = mmap(NULL, mem->size, prot, flags, mem->fd, 0);
	return mem->addr == MAP_FAILED ? -errno : 0;
}

/* Swaps pages by mremap() until no two that were neighbours are. */
static int scatter(struct memory *mem)
{
	size_t page = sysconf(_SC_PAGESIZE), n = mem->size / page, i;
	uint8_t *from = mem->addr;

	mem->addr = mmap(NULL, mem->size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem->addr == MAP_FAILED)
		return -errno;
	/* n is a prime number: each page is taken once. */
	for (i = 0; i < n; i++)
		if (mremap(from + i * 7 % n * page, page, page,
			   MREMAP_MAYMOVE | MREMAP_FIXED,
			   mem->addr + i * page) == MAP_FAILED)
			return -errno;
	return 0;
}

static int get_anon(struct memory *mem)
{
	int ret = map(mem, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS);

	if (ret)
		return ret;
	return madvise(mem->addr, mem->size, MADV_NOHUGEPAGE) ? -errno : 0;
}

static int get_thp(struct memory *mem)
{
	size_t i;
	int ret;

	mem->size = HUGE_SIZE + HUGE_PAGE;
	ret = map(mem, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	if (ret)
		return ret;
	mem->addr += -(uintptr_t)mem->addr % HUGE_PAGE;
	mem->size = HUGE_SIZE;
	if (madvise(mem->addr, mem->size, MADV_HUGEPAGE))
		return -errno;

	/* A huge page lies at a multiple of its size and in one piece. */
	memset(mem->addr, 1, mem->size);
	for (i = 0; i < mem->size; i += HUGE_PAGE)
		if (memory_physical(mem->addr + i) % HUGE_PAGE ||
		    memory_physical(mem->addr + i + HUGE_PAGE - 4096) !=
		    memory_physical(mem->addr + i) + HUGE_PAGE - 4096)
			return -ENOENT;
	return 0;
}

static int get_memfd(struct memory *mem)
{
	mem->fd = memfd_create("e2e", MFD_CLOEXEC);
	if (mem->fd < 0 || ftruncate(mem->fd, mem->size))
		return -errno;
	return map(mem, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static int write_file(struct memory *mem, const char *path)
{
	struct memory copy = { .size = mem->size };
	ssize_t ret;

	copy.addr = malloc(copy.size);
	if (!copy.addr)
		return -ENOMEM;
	fill(&copy);
	mem->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (mem->fd < 0)
		return -errno;
	ret = write(mem->fd, copy.addr, copy.size);
	free(copy.addr);
	if (ret != (ssize_t)mem->size || fsync(mem->fd))
		return -EIO;
	return 0;
}

/* The file again, as a program that may not write it would have it. */
static int map_rdonly(struct memory *mem, const char *path)
{
	close(mem->fd);
	mem->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (mem->fd < 0)
		return -errno;
	mem->rdonly = true;
	return map(mem, PROT_READ, MAP_SHARED);
}

static int get_tmpfs(struct memory *mem, int prot, int flags)
{
	static const char path[] = "/dev/shm/e2e";
	int ret = write_file(mem, path);

	if (ret)
		return ret;
	ret = prot & PROT_WRITE ? map(mem, prot, flags) : map_rdonly(mem, path);
	unlink(path);
	return ret;
}

static int mount_ext4(const char *image, const char *dir)
{
	struct loop_config config = { 0 };
	char device[32];
	int ctl, loop, n, ret;

	ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (ctl < 0)
		return -errno;
	n = ioctl(ctl, LOOP_CTL_GET_FREE);
	close(ctl);
	snprintf(device, sizeof(device), "/dev/loop%d", n);
	loop = open(device, O_RDWR | O_CLOEXEC);
	if (loop < 0)
		return -errno;

	config.fd = open(image, O_RDWR | O_CLOEXEC);
	ret = ioctl(loop, LOOP_CONFIGURE, &config) ? -errno : 0;
	close(config.fd);
	/* Nobody else may have it open for writing while it is mounted. */
	close(loop);
	if (ret)
		return ret;
	ret = mount(device, dir, "ext4", 0, NULL) ? -errno : 0;

	/* It goes with the mount. */
	loop = open(device, O_RDONLY | O_CLOEXEC);
	if (loop < 0 || ioctl(loop, LOOP_CLR_FD))
		ret = ret ?: -errno;
	close(loop);
	return ret;
}

/* On a loop device over a file system that the agent makes. */
static int get_ext4(struct memory *mem)
{
	char dir[] = "/tmp/e2e-XXXXXX";
	char image[32], path[64];
	int ret;

	snprintf(image, sizeof(image), "ext4-%d", (int)getpid());
	ret = host_ext4(image, 16);
	if (ret)
		return ret;
	if (!mkdtemp(dir))
		return -errno;
	snprintf(path, sizeof(path), HOST_DIR "/%s", image);
	ret = mount_ext4(path, dir);
	if (ret)
		return ret;

	snprintf(path, sizeof(path), "%s/file", dir);
	ret = write_file(mem, path);
	if (!ret)
		ret = map_rdonly(mem, path);
	/* Goes with its last user: the mapping. */
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return ret;
}

static int get_hugetlb(struct memory *mem)
{
	int ret;

	mem->size = HUGE_SIZE;
	ret = map(mem, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
	return ret == -ENOMEM ? -ENOENT : ret;
}

int memory_get(enum memory_kind kind, struct memory *mem)
{
	int ret = -EINVAL;

	*mem = (struct memory){ .size = SMALL_SIZE, .fd = -1 };
	switch (kind) {
	case MEMORY_ANON:
		ret = get_anon(mem);
		break;
	case MEMORY_SCATTERED:
		ret = get_anon(mem);
		if (!ret) {
			memset(mem->addr, 1, mem->size);
			ret = scatter(mem);
		}
		break;
	case MEMORY_THP:
		ret = get_thp(mem);
		break;
	case MEMORY_SHARED_ANON:
		ret = map(mem, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS);
		break;
	case MEMORY_MEMFD:
		ret = get_memfd(mem);
		break;
	case MEMORY_TMPFS:
		ret = get_tmpfs(mem, PROT_READ | PROT_WRITE, MAP_SHARED);
		break;
	case MEMORY_TMPFS_RDONLY:
		ret = get_tmpfs(mem, PROT_READ, MAP_SHARED);
		break;
	case MEMORY_EXT4_RDONLY:
		ret = get_ext4(mem);
		break;
	case MEMORY_PRIVATE_FILE:
		ret = get_tmpfs(mem, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		break;
	case MEMORY_HUGETLB:
		ret = get_hugetlb(mem);
		break;
	}
	if (!ret && !mem->rdonly)
		fill(mem);
	return ret;
}

uint64_t memory_physical(const void *addr)
{
	uint64_t page = sysconf(_SC_PAGESIZE), entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	/* Present is bit 63, the page frame number bits 0 to 54. */
	if (fd >= 0 &&
	    pread(fd, &entry, 8, (uintptr_t)addr / page * 8) != 8)
		entry = 0;
	close(fd);
	if (!(entry >> 63))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * page;
}

static int64_t counter(const char *key)
{
	FILE *file = fopen("/proc/vmstat", "r");
	int64_t value = -1;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			value = strtoll(line + strlen(key), NULL, 10);
	if (file)
		fclose(file);
	return value;
}

int64_t memory_pinned(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	int64_t acquired, released;
	char c;

	/* Reading it adds up what each CPU has counted for itself. */
	if (fd < 0 || read(fd, &c, 1) < 0)
		return -1;
	close(fd);
	acquired = counter("nr_foll_pin_acquired ");
	released = counter("nr_foll_pin_released ");
	return acquired < 0 || released < 0 ? -1 : acquired - released;
}

int64_t memory_wait_pinned(int64_t pages, int ms)
{
	int64_t now = memory_pinned();

	while (now != pages && ms > 0) {
		nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
		ms -= 10;
		now = memory_pinned();
	}
	return now;
}
