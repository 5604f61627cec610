// SPDX-License-Identifier: MIT
/*
 * The GPU's addresses: given out once, and again as late as possible
 */
#include <errno.h>
#include <search.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "vcs_arena.h"

#define PAGE	4096ULL
#define TIB	(1ULL << 40)
#define END	(VCS_ARENA_START + VCS_ARENA_SIZE)

static struct vcs_arena arena;

/* The linker has the server's calls come here. */
void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd,
		  off_t offset);
void *__real_mmap(void *addr, size_t size, int prot, int flags, int fd,
		  off_t offset);
void *__wrap_calloc(size_t n, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *));
void *__real_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *));

static bool old_kernel, no_memory, no_node;

void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd,
		  off_t offset)
{
	if (old_kernel)
		flags &= ~MAP_FIXED_NOREPLACE;
	return __real_mmap(addr, size, prot, flags, fd, offset);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

void *__wrap_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *))
{
	return no_node ? NULL : __real_tsearch(key, root, cmp);
}

static int setup(void **state)
{
	(void)state;
	return vcs_arena_init(&arena);
}

static int teardown(void **state)
{
	(void)state;
	vcs_arena_destroy(&arena);
	return 0;
}

static void is_reserved(void **state)
{
	struct vcs_arena other;

	(void)state;
	assert_int_equal(vcs_arena_init(&other), -EEXIST);
	assert_ptr_equal(mmap((void *)(uintptr_t)VCS_ARENA_START, PAGE,
			      PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
			      MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
	vcs_arena_destroy(&arena);
	assert_int_equal(vcs_arena_init(&arena), 0);
}

static void something_is_there(void **state)
{
	void *last = (void *)(uintptr_t)(END - PAGE);

	(void)state;
	vcs_arena_destroy(&arena);
	assert_ptr_equal(mmap(last, PAGE, PROT_NONE, MAP_PRIVATE |
			      MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			 last);
	assert_int_equal(vcs_arena_init(&arena), -EEXIST);
	munmap(last, PAGE);
	assert_int_equal(vcs_arena_init(&arena), 0);
}

/* It takes the address for a hint: good, unless something is there. */
static void kernels_that_do_not_know_the_flag(void **state)
{
	void *first = (void *)(uintptr_t)VCS_ARENA_START;

	(void)state;
	vcs_arena_destroy(&arena);
	assert_ptr_equal(mmap(first, PAGE, PROT_NONE, MAP_PRIVATE |
			      MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			 first);
	old_kernel = true;
	assert_int_equal(vcs_arena_init(&arena), -EEXIST);
	munmap(first, PAGE);
	assert_int_equal(vcs_arena_init(&arena), 0);
	old_kernel = false;
}

static void out_of_memory(void **state)
{
	(void)state;
	no_memory = true;
	assert_null(vcs_arena_alloc(&arena, PAGE, 1));
	no_memory = false;
	no_node = true;
	assert_null(vcs_arena_alloc(&arena, PAGE, 1));
	no_node = false;
	assert_null(vcs_arena_find(&arena, VCS_ARENA_START, 1));
	assert_int_equal(vcs_arena_alloc(&arena, PAGE, 1)->at.addr,
			 VCS_ARENA_START);
}

static void blocks_are_whole_pages(void **state)
{
	struct vcs_block *a, *b;

	(void)state;
	a = vcs_arena_alloc(&arena, 1, 1);
	b = vcs_arena_alloc(&arena, PAGE + 1, 8);
	assert_int_equal(a->at.addr, VCS_ARENA_START);
	assert_int_equal(a->at.size, PAGE);
	assert_int_equal(b->at.addr, VCS_ARENA_START + PAGE);
	assert_int_equal(b->at.size, 2 * PAGE);
	assert_null(vcs_arena_alloc(&arena, 0, 1));
}

static void blocks_are_aligned(void **state)
{
	uint64_t align;

	(void)state;
	for (align = 1; align <= VCS_ARENA_MAX_ALIGN; align <<= 1) {
		struct vcs_block *b = vcs_arena_alloc(&arena, PAGE, align);

		assert_non_null(b);
		assert_int_equal(b->at.addr % align, 0);
	}
}

static void found_by_what_is_inside(void **state)
{
	struct vcs_block *a, *b;

	(void)state;
	a = vcs_arena_alloc(&arena, 2 * PAGE, 1);
	b = vcs_arena_alloc(&arena, PAGE, 1);
	assert_ptr_equal(vcs_arena_find(&arena, a->at.addr, 2 * PAGE), a);
	assert_ptr_equal(vcs_arena_find(&arena, a->at.addr + 5, 2 * PAGE - 5), a);
	assert_ptr_equal(vcs_arena_find(&arena, b->at.addr - 1, 1), a);
	assert_ptr_equal(vcs_arena_find(&arena, b->at.addr, 1), b);
	/* Over its end, also so far that it is in front of its begin. */
	assert_null(vcs_arena_find(&arena, b->at.addr - 1, 2));
	assert_null(vcs_arena_find(&arena, a->at.addr + 5, UINT64_MAX - 4));
	assert_null(vcs_arena_find(&arena, b->at.addr + PAGE, 1));
	assert_null(vcs_arena_find(&arena, VCS_ARENA_START - 1, 1));
	assert_null(vcs_arena_find(&arena, END - 1, 1));
	assert_null(vcs_arena_find(&arena, END, 1));
	assert_null(vcs_arena_find(&arena, UINT64_MAX, 1));
	assert_null(vcs_arena_find(&arena, 0, 1));
	vcs_arena_free(&arena, a);
	assert_null(vcs_arena_find(&arena, VCS_ARENA_START, 1));
}

static void addresses_come_again_late(void **state)
{
	struct vcs_block *a, *b, *c;
	uint64_t addr;

	(void)state;
	a = vcs_arena_alloc(&arena, TIB, 1);
	addr = a->at.addr;
	vcs_arena_free(&arena, a);
	b = vcs_arena_alloc(&arena, TIB, 1);
	assert_int_equal(b->at.addr, addr + TIB);
	/* Round the end, between what is in use. */
	c = vcs_arena_alloc(&arena, VCS_ARENA_SIZE - 2 * TIB, 1);
	assert_int_equal(c->at.addr, addr + 2 * TIB);
	assert_null(vcs_arena_alloc(&arena, TIB + 1, 1));
	a = vcs_arena_alloc(&arena, TIB, 1);
	assert_int_equal(a->at.addr, addr);
	assert_null(vcs_arena_alloc(&arena, 1, 1));
	vcs_arena_free(&arena, b);
	b = vcs_arena_alloc(&arena, PAGE, VCS_ARENA_MAX_ALIGN);
	assert_int_equal(b->at.addr, addr + TIB);
}

static void too_large(void **state)
{
	(void)state;
	assert_null(vcs_arena_alloc(&arena, VCS_ARENA_SIZE + 1, 1));
	assert_null(vcs_arena_alloc(&arena, UINT64_MAX, 1));
	assert_non_null(vcs_arena_alloc(&arena, VCS_ARENA_SIZE, 1));
	assert_null(vcs_arena_alloc(&arena, 1, 1));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(is_reserved),
		T(something_is_there),
		T(kernels_that_do_not_know_the_flag),
		T(out_of_memory),
		T(blocks_are_whole_pages),
		T(blocks_are_aligned),
		T(found_by_what_is_inside),
		T(addresses_come_again_late),
		T(too_large),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
