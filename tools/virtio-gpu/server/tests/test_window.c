// SPDX-License-Identifier: MIT
/*
 * Runs of guest memory become one window, or nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_log.h"
#include "vcs_window.h"

#define PAGES	64

static struct vcs_map_budget budget;
static size_t page;
static int fd, rdonly_fd;
static uint8_t *mem;

static int setup(void **state)
{
	char path[64];
	size_t i;

	(void)state;
	vcs_log_set_level(VCS_LOG_ERROR);
	page = (size_t)sysconf(_SC_PAGESIZE);
	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)(PAGES * page)), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rdonly_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(rdonly_fd >= 0);
	mem = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   0);
	assert_ptr_not_equal(mem, MAP_FAILED);
	for (i = 0; i < PAGES; i++)
		memset(mem + i * page, (int)i, page);
	assert_int_equal(vcs_map_budget_init(&budget), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(mem, PAGES * page);
	close(fd);
	close(rdonly_fd);
	return 0;
}

/* Mappings of this process that touch the range. */
static size_t count_maps(const void *start, size_t len)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long a, b;
	char line[512];
	size_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &a, &b) == 2 &&
		    a < (unsigned long)start + len && b > (unsigned long)start)
			n++;
	fclose(f);
	return n;
}

static struct vgpu_run run_at(size_t first, size_t n)
{
	return (struct vgpu_run) { .offset = first * page, .length = n * page };
}

static void shuffled_runs_in_their_order(void **state)
{
	struct vgpu_run runs[PAGES];
	struct vcs_window win;
	size_t left, i;

	(void)state;
	left = budget.left;
	for (i = 0; i < PAGES; i++)
		runs[i] = run_at(i * 37 % PAGES, 1);
	assert_int_equal(vcs_window_init(&win, PAGES * page, false), 0);
	/* In two fragments. */
	assert_int_equal(vcs_window_append(&win, runs, 10, &fd, 1, &budget), 0);
	assert_int_equal(vcs_window_finish(&win), -EINVAL);
	assert_int_equal(vcs_window_append(&win, runs + 10, PAGES - 10, &fd, 1,
					   &budget), 0);
	assert_int_equal(vcs_window_finish(&win), 0);
	for (i = 0; i < PAGES; i++) {
		assert_int_equal(win.addr[i * page], i * 37 % PAGES);
		assert_int_equal(win.addr[i * page + page - 1],
				 i * 37 % PAGES);
	}
	/* It is the memory, not a copy. */
	win.addr[5 * page] = 200;
	assert_int_equal(mem[5 * 37 % PAGES * page], 200);
	mem[5 * 37 % PAGES * page] = 5 * 37 % PAGES;
	assert_int_equal(win.addr[5 * page], 5 * 37 % PAGES);

	assert_int_equal(budget.left, left - win.nr_maps);
	vcs_window_unmap(&win, &budget);
	assert_int_equal(budget.left, left);
}

static void neighbours_are_one_mapping(void **state)
{
	struct vgpu_run runs[] = {
		run_at(0, 2), run_at(2, 1), run_at(3, 5),
		run_at(20, 1), run_at(19, 1),
	};
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 10 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, runs, 5, &fd, 1, &budget), 0);
	assert_int_equal(win.nr_maps, 3);
	assert_int_equal(count_maps(win.addr, win.size), 3);
	vcs_window_unmap(&win, &budget);
}

/* The count that the budget is charged is never below the kernel's. */
static void charged_for_at_least_what_the_kernel_has(void **state)
{
	struct vgpu_run runs[PAGES];
	struct vcs_window win;
	unsigned int round;
	size_t i;

	(void)state;
	srand(1);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < PAGES; i++)
			runs[i] = run_at((size_t)rand() % 8, 1);
		assert_int_equal(vcs_window_init(&win, PAGES * page, false), 0);
		assert_int_equal(vcs_window_append(&win, runs, PAGES, &fd, 1,
						   &budget), 0);
		assert_true(win.nr_maps >= count_maps(win.addr, win.size));
		vcs_window_unmap(&win, &budget);
	}
}

static void several_descriptors(void **state)
{
	int fds[VGPU_PROTO_MAX_FDS];
	struct vgpu_run runs[VGPU_PROTO_MAX_FDS];
	struct vcs_window win;
	uint32_t i;

	(void)state;
	for (i = 0; i < VGPU_PROTO_MAX_FDS; i++) {
		fds[i] = memfd_create("part", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fds[i], (off_t)page), 0);
		assert_int_equal(pwrite(fds[i], &i, 1, 0), 1);
		runs[i] = run_at(0, 1);
		runs[i].fd = i;
	}
	assert_int_equal(vcs_window_init(&win, VGPU_PROTO_MAX_FDS * page,
					 false), 0);
	assert_int_equal(vcs_window_append(&win, runs, VGPU_PROTO_MAX_FDS, fds,
					   VGPU_PROTO_MAX_FDS, &budget), 0);
	for (i = 0; i < VGPU_PROTO_MAX_FDS; i++) {
		/* A mapping needs no descriptor. */
		close(fds[i]);
		assert_int_equal(win.addr[i * page], i);
	}
	vcs_window_unmap(&win, &budget);
}

/* As often as the guest likes: it is the guest's memory. */
static void overlapping_runs_are_the_same_memory(void **state)
{
	const struct vgpu_run runs[] = {
		run_at(3, 2), run_at(3, 1), run_at(4, 2), run_at(3, 2),
	};
	static const size_t pages[] = { 3, 4, 3, 4, 5, 3, 4 };
	size_t i, left = budget.left;
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 7 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, runs, 4, &fd, 1, &budget), 0);
	assert_int_equal(vcs_window_finish(&win), 0);
	for (i = 0; i < 7; i++)
		assert_int_equal(win.addr[i * page], pages[i]);
	win.addr[0] = 99;
	assert_int_equal(win.addr[2 * page], 99);
	assert_int_equal(win.addr[5 * page], 99);
	win.addr[5 * page] = 3;
	assert_int_equal(mem[3 * page], 3);
	vcs_window_unmap(&win, &budget);
	assert_int_equal(budget.left, left);
}

static void bad_sizes(void **state)
{
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 0, false), -EINVAL);
	assert_int_equal(vcs_window_init(&win, page + 1, false), -EINVAL);
	assert_int_equal(vcs_window_init(&win, page - 1, false), -EINVAL);
	assert_int_equal(vcs_window_init(&win, UINT64_MAX - page + 1, false),
			 -E2BIG);
	/* More address space than there is. */
	assert_int_equal(vcs_window_init(&win, 1ULL << 62, false), -ENOMEM);
	vcs_window_unmap(&win, &budget);
}

/* Sparse: two pages of it are touched. */
static void windows_may_be_beyond_4_gib(void **state)
{
	const uint64_t size = (4ULL << 30) + 2 * page;
	struct vgpu_run run = { .length = size };
	struct vcs_window win;
	uint8_t byte = 0;
	int big;

	(void)state;
	big = memfd_create("big", MFD_CLOEXEC);
	assert_int_equal(ftruncate(big, (off_t)size), 0);
	assert_int_equal(vcs_window_init(&win, size, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &big, 1, &budget), 0);
	assert_int_equal(vcs_window_finish(&win), 0);
	assert_true(win.size == size);
	win.addr[size - 1] = 77;
	assert_int_equal(pread(big, &byte, 1, (off_t)size - 1), 1);
	assert_int_equal(byte, 77);
	vcs_window_unmap(&win, &budget);

	/* In the file, beyond what 32 bits say. */
	run.offset = 4ULL << 30;
	run.length = 2 * page;
	assert_int_equal(vcs_window_init(&win, 2 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &big, 1, &budget), 0);
	assert_int_equal(win.addr[2 * page - 1], 77);
	vcs_window_unmap(&win, &budget);
	close(big);
}

static void huge_pages_are_refused(void **state)
{
	const struct vgpu_run run = run_at(0, 1);
	struct vcs_window win;
	int huge;

	(void)state;
	huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (huge < 0)
		skip();
	/* None has to be free for that. */
	assert_int_equal(ftruncate(huge, 1L << 30), 0);
	assert_int_equal(vcs_window_init(&win, page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &huge, 1, &budget),
			 -EOPNOTSUPP);
	vcs_window_unmap(&win, &budget);
	close(huge);
}

static void bad_runs_map_nothing(void **state)
{
	const struct vgpu_run bad[] = {
		{ .fd = 1, .length = page },
		{ .fd = UINT32_MAX, .length = page },
		{ .reserved = 1, .length = page },
		{ .length = 0 },
		{ .length = page / 2 },
		{ .length = page, .offset = 1 },
		{ .length = page, .offset = page - 1 },
		/* Over the window, over the file, over everything. */
		{ .length = 5 * page },
		{ .length = page, .offset = PAGES * page },
		{ .length = 2 * page, .offset = (PAGES - 1) * page },
		{ .length = page, .offset = UINT64_MAX - page + 1 },
		{ .length = UINT64_MAX - page + 1, .offset = page },
	};
	struct vgpu_run runs[2];
	struct vcs_window win;
	size_t i, left = budget.left;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		/* Behind a good one, which must not be mapped either. */
		runs[0] = run_at(0, 1);
		runs[1] = bad[i];
		assert_int_equal(vcs_window_init(&win, 4 * page, false), 0);
		assert_int_equal(vcs_window_append(&win, runs, 2, &fd, 1,
						   &budget), -EINVAL);
		assert_int_equal(win.filled, 0);
		assert_int_equal(count_maps(win.addr, win.size), 1);
		vcs_window_unmap(&win, &budget);
	}
	assert_int_equal(budget.left, left);
}

static void lengths_must_add_up(void **state)
{
	const struct vgpu_run run = run_at(0, 3);
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 4 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1, &budget), 0);
	assert_int_equal(vcs_window_finish(&win), -EINVAL);
	assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1, &budget),
			 -EINVAL);
	vcs_window_unmap(&win, &budget);
}

static void access_modes_must_match(void **state)
{
	const struct vgpu_run run = run_at(0, 1);
	struct vcs_window win;
	int dir, wronly;
	char path[64];

	(void)state;
	assert_int_equal(vcs_window_init(&win, page, true), 0);
	/* A writable descriptor behind a read-only window. */
	assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1, &budget),
			 -EINVAL);
	vcs_window_unmap(&win, &budget);

	assert_int_equal(vcs_window_init(&win, page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &rdonly_fd, 1,
					   &budget), -EINVAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wronly = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(vcs_window_append(&win, &run, 1, &wronly, 1, &budget),
			 -EINVAL);
	close(wronly);
	/* Not memory at all, or no descriptor. */
	dir = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_int_equal(vcs_window_append(&win, &run, 1, &dir, 1, &budget),
			 -EINVAL);
	close(dir);
	assert_int_equal(vcs_window_append(&win, &run, 1, &dir, 1, &budget),
			 -EBADF);
	vcs_window_unmap(&win, &budget);
}

static void read_only_cannot_be_widened(void **state)
{
	const struct vgpu_run run = run_at(7, 1);
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, page, true), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &rdonly_fd, 1,
					   &budget), 0);
	assert_int_equal(vcs_window_finish(&win), 0);
	assert_int_equal(win.addr[0], 7);
	assert_int_equal(mprotect(win.addr, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	vcs_window_unmap(&win, &budget);
}

/* Runs @fn in a child; the signal that ended it, 0 for none. */
static int dies_of(void (*fn)(struct vcs_window *), struct vcs_window *win)
{
	int status;
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* The sanitizer would report it and exit. */
		signal(SIGSEGV, SIG_DFL);
		fn(win);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_first(struct vcs_window *win)
{
	*(volatile uint8_t *)win->addr;
}

static void touch_last(struct vcs_window *win)
{
	*(volatile uint8_t *)(win->addr + win->size - 1);
}

static void unfilled_part_is_not_accessible(void **state)
{
	const struct vgpu_run run = run_at(0, 1);
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 2 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1, &budget), 0);
	assert_int_equal(dies_of(touch_first, &win), 0);
	assert_int_equal(dies_of(touch_last, &win), SIGSEGV);
	vcs_window_unmap(&win, &budget);
}

static void a_fork_does_not_take_it_along(void **state)
{
	const struct vgpu_run run = run_at(0, 1);
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, page, false), 0);
	assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1, &budget), 0);
	assert_int_equal(vcs_window_finish(&win), 0);
	assert_int_equal(dies_of(touch_first, &win), SIGSEGV);
	vcs_window_unmap(&win, &budget);
}

static void limit_is_checked_before_the_first_mapping(void **state)
{
	struct vcs_map_budget small = { .left = 3, .limit = 65530 };
	const struct vgpu_run runs[] = {
		run_at(0, 1), run_at(2, 1), run_at(4, 1), run_at(6, 1),
	};
	struct vcs_window win;

	(void)state;
	assert_int_equal(vcs_window_init(&win, 4 * page, false), 0);
	assert_int_equal(vcs_window_append(&win, runs, 4, &fd, 1, &small),
			 -E2BIG);
	assert_int_equal(small.left, 3);
	assert_int_equal(win.filled, 0);
	assert_int_equal(count_maps(win.addr, win.size), 1);
	/* Exactly what is left is fine. */
	assert_int_equal(vcs_window_append(&win, runs, 3, &fd, 1, &small), 0);
	assert_int_equal(small.left, 0);
	assert_int_equal(vcs_window_append(&win, runs + 3, 1, &fd, 1, &small),
			 -E2BIG);
	vcs_window_unmap(&win, &small);
	assert_int_equal(small.left, 3);
}

/* A range that somebody has reserved stays so, and costs one mapping more. */
static void reservations_stay(void **state)
{
	struct vgpu_run runs[] = { run_at(3, 1), run_at(9, 1) };
	struct vcs_map_budget small = { .left = 2, .limit = 10 };
	struct vcs_window win;
	uint8_t *range;

	(void)state;
	range = mmap(NULL, 6 * page, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(range, MAP_FAILED);
	assert_int_equal(vcs_window_init_at(&win, range, page + 1, false),
			 -EINVAL);
	assert_int_equal(vcs_window_init_at(&win, range, 0, false), -EINVAL);
	assert_int_equal(vcs_window_init_at(&win, range + page, 2 * page,
					    false), 0);
	assert_int_equal(vcs_window_append(&win, runs, 2, &fd, 1, &small),
			 -E2BIG);
	small.left = 4;
	assert_int_equal(vcs_window_append(&win, runs, 1, &fd, 1, &small), 0);
	assert_int_equal(small.left, 2);
	assert_int_equal(vcs_window_append(&win, runs + 1, 1, &fd, 1, &small),
			 0);
	assert_int_equal(small.left, 1);
	assert_int_equal(vcs_window_finish(&win), 0);
	assert_ptr_equal(win.addr, range + page);
	assert_int_equal(win.addr[0], 3);
	assert_int_equal(win.addr[page], 9);
	assert_true(count_maps(range, 6 * page) <= 4);
	vcs_window_unmap(&win, &small);
	assert_int_equal(small.left, 4);
	/* Nothing is behind it, and nobody else can have it. */
	assert_int_equal(count_maps(range, 6 * page), 1);
	assert_ptr_equal(mmap(range + page, page, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			      -1, 0), MAP_FAILED);
	munmap(range, 6 * page);
}

static void budget_leaves_room_for_others(void **state)
{
	(void)state;
	assert_true(budget.limit > budget.left);
	assert_true(budget.limit - budget.left >= 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shuffled_runs_in_their_order),
		cmocka_unit_test(neighbours_are_one_mapping),
		cmocka_unit_test(charged_for_at_least_what_the_kernel_has),
		cmocka_unit_test(several_descriptors),
		cmocka_unit_test(overlapping_runs_are_the_same_memory),
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test(windows_may_be_beyond_4_gib),
		cmocka_unit_test(huge_pages_are_refused),
		cmocka_unit_test(bad_runs_map_nothing),
		cmocka_unit_test(lengths_must_add_up),
		cmocka_unit_test(access_modes_must_match),
		cmocka_unit_test(read_only_cannot_be_widened),
		cmocka_unit_test(unfilled_part_is_not_accessible),
		cmocka_unit_test(a_fork_does_not_take_it_along),
		cmocka_unit_test(limit_is_checked_before_the_first_mapping),
		cmocka_unit_test(reservations_stay),
		cmocka_unit_test(budget_leaves_room_for_others),
	};

	return cmocka_run_group_tests_name("window", tests, setup, teardown);
}
