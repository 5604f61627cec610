// SPDX-License-Identifier: MIT
/*
 * Window: scattered pieces of guest memory as one contiguous range
 *
 * The address space is reserved first, with PROT_NONE, so that a partly filled
 * window has nothing behind the part that is filled. Runs then replace the
 * reservation from its start on. One munmap() of the whole range takes both
 * away, so there is a single way to undo a window at every stage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "vcs_log.h"
#include "vcs_window.h"

/*
 * Mappings left to everything else in the process: threads' stacks, arenas of
 * malloc() and kernel objects of the driver, two to five each.
 */
#define VCS_MAP_RESERVE		4096

/* The default of the kernel, should the sysctl be unreadable. */
#define VCS_MAX_MAP_COUNT	65530

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t read_max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	size_t n = VCS_MAX_MAP_COUNT;

	if (!f)
		return n;
	if (fscanf(f, "%zu", &n) != 1)
		n = VCS_MAX_MAP_COUNT;
	fclose(f);
	return n;
}

static int count_maps(size_t *count)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int c;

	if (!f)
		return -errno;
	*count = 0;
	while ((c = getc(f)) != EOF)
		if (c == '\n')
			++*count;
	fclose(f);
	return 0;
}

int vcs_map_budget_init(struct vcs_map_budget *budget)
{
	size_t used = 0;
	int ret;

	ret = count_maps(&used);
	if (ret)
		return ret;
	used += VCS_MAP_RESERVE;
	budget->limit = read_max_map_count();
	budget->left = budget->limit > used ? budget->limit - used : 0;
	return 0;
}

int vcs_window_init(struct vcs_window *win, uint64_t size, bool rdonly)
{
	void *addr;

	memset(win, 0, sizeof(*win));
	if (!size || size % page_size())
		return -EINVAL;
	if (size > SIZE_MAX / 2)
		return -E2BIG;

	addr = mmap(NULL, size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return -errno;
	win->addr = addr;
	win->size = size;
	win->rdonly = rdonly;
	return 0;
}

int vcs_window_init_at(struct vcs_window *win, void *addr, uint64_t size,
		       bool rdonly)
{
	memset(win, 0, sizeof(*win));
	if (!size || size % page_size())
		return -EINVAL;
	win->addr = addr;
	win->size = size;
	win->rdonly = rdonly;
	win->reserved = true;
	return 0;
}

static int check_fd(const struct vcs_window *win, int fd, struct stat *st)
{
	int flags = fcntl(fd, F_GETFL);
	struct statfs fs;

	if (flags < 0 || fstat(fd, st) || fstatfs(fd, &fs))
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	/* mmap() would round a run up, over its neighbours. */
	if (fs.f_type == HUGETLBFS_MAGIC)
		return -EOPNOTSUPP;
	/*
	 * A read-only window from a descriptor that could write is no
	 * protection: mprotect() would widen it.
	 */
	if ((flags & O_ACCMODE) != (win->rdonly ? O_RDONLY : O_RDWR))
		return -EINVAL;
	return 0;
}

/*
 * Runs from @runs on that go on where the one before ends, in the file and so
 * in the window: the kernel makes one mapping of them.
 */
static uint32_t count_neighbours(const struct vgpu_run *runs, uint32_t nr_runs,
				 uint64_t *length)
{
	uint32_t n;

	*length = runs[0].length;
	for (n = 1; n < nr_runs; n++) {
		if (runs[n].fd != runs[0].fd ||
		    runs[n].offset != runs[0].offset + *length)
			break;
		*length += runs[n].length;
	}
	return n;
}

static int check_runs(const struct vcs_window *win, const struct vgpu_run *runs,
		      uint32_t nr_runs, const struct stat *st,
		      unsigned int nr_fds)
{
	size_t left = win->size - win->filled;
	size_t page = page_size();
	uint32_t i;

	for (i = 0; i < nr_runs; i++) {
		const struct vgpu_run *run = &runs[i];
		uint64_t end;

		if (run->fd >= nr_fds || run->reserved || !run->length ||
		    run->length % page || run->offset % page ||
		    run->length > left)
			return -EINVAL;
		/* Past the end of the file there is only SIGBUS. */
		if (__builtin_add_overflow(run->offset, run->length, &end) ||
		    end > (uint64_t)st[run->fd].st_size)
			return -EINVAL;
		left -= run->length;
	}
	return 0;
}

int vcs_window_append(struct vcs_window *win, const struct vgpu_run *runs,
		      uint32_t nr_runs, const int *fds, unsigned int nr_fds,
		      struct vcs_map_budget *budget)
{
	int prot = win->rdonly ? PROT_READ : PROT_READ | PROT_WRITE;
	struct stat st[VGPU_PROTO_MAX_FDS];
	size_t nr_maps = 0, split;
	uint64_t length;
	uint32_t i;
	int ret;

	if (nr_fds > VGPU_PROTO_MAX_FDS)
		return -EINVAL;
	for (i = 0; i < nr_fds; i++) {
		ret = check_fd(win, fds[i], &st[i]);
		if (ret)
			return ret;
	}
	ret = check_runs(win, runs, nr_runs, st, nr_fds);
	if (ret)
		return ret;

	for (i = 0; i < nr_runs;
	     i += count_neighbours(runs + i, nr_runs - i, &length))
		nr_maps++;
	/* It splits the reservation in two. */
	split = win->reserved && !win->filled && nr_maps;
	if (nr_maps + split > budget->left) {
		vcs_log_guest("a resource needs %zu more mappings, %zu are left; raise the sysctl vm.max_map_count (now %zu)",
			      nr_maps + split, budget->left, budget->limit);
		return -E2BIG;
	}
	win->nr_maps += split;
	budget->left -= split;

	for (i = 0; i < nr_runs;) {
		const struct vgpu_run *run = &runs[i];

		i += count_neighbours(run, nr_runs - i, &length);
		if (mmap(win->addr + win->filled, length, prot,
			 MAP_SHARED | MAP_FIXED, fds[run->fd],
			 (off_t)run->offset) == MAP_FAILED)
			return -errno;
		win->nr_maps++;
		budget->left--;
		win->filled += length;
	}
	return 0;
}

int vcs_window_finish(struct vcs_window *win)
{
	if (win->filled != win->size)
		return -EINVAL;
	/*
	 * No process has guest memory but this one. The sandbox denies fork();
	 * should one ever happen, it does not take the window along.
	 */
	if (madvise(win->addr, win->size, MADV_DONTFORK))
		return -errno;
	return 0;
}

static bool reserve(const struct vcs_window *win)
{
	void *addr = mmap(win->addr, win->size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			  MAP_FIXED_NOREPLACE, -1, 0);

	return addr == win->addr;
}

void vcs_window_unmap(struct vcs_window *win, struct vcs_map_budget *budget)
{
	if (!win->addr)
		return;
	/*
	 * It can fail only when it would split a mapping at the limit, and a
	 * whole window splits none. If it did, the memory would be accessible
	 * after we have answered that it is not.
	 *
	 * A reservation is put back at once: the kernel gives such addresses to
	 * nobody who does not ask for them, and a library that does has to be
	 * noticed.
	 */
	if (munmap(win->addr, win->size) || (win->reserved && !reserve(win))) {
		vcs_err("cannot unmap a window: %s", strerror(errno));
		_exit(1);
	}
	budget->left += win->nr_maps;
	memset(win, 0, sizeof(*win));
}
