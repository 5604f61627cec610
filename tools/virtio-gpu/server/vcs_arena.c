// SPDX-License-Identifier: MIT
/*
 * Arena: the addresses that a GPU and its guest program share
 */
#include <errno.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vcs_arena.h"

#define ARENA_END	(VCS_ARENA_START + VCS_ARENA_SIZE)

int vcs_arena_init(struct vcs_arena *arena)
{
	void *want = (void *)(uintptr_t)VCS_ARENA_START, *addr;

	addr = mmap(want, VCS_ARENA_SIZE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
		    MAP_FIXED_NOREPLACE, -1, 0);
	if (addr == MAP_FAILED)
		return -errno;
	/* For kernels before 4.17 it is a hint. */
	if (addr != want) {
		munmap(addr, VCS_ARENA_SIZE);
		return -EEXIST;
	}
	arena->blocks = NULL;
	arena->next = VCS_ARENA_START;
	return 0;
}

void vcs_arena_destroy(struct vcs_arena *arena)
{
	tdestroy(arena->blocks, free);
	munmap((void *)(uintptr_t)VCS_ARENA_START, VCS_ARENA_SIZE);
}

/* From @addr on, without turning round at the end. */
static bool find_free(const struct vcs_arena *arena, struct vcs_block *block,
		      uint64_t addr, uint64_t align)
{
	const struct vcs_block *other;

	for (;;) {
		addr = (addr + align - 1) & ~(align - 1);
		if (addr > ARENA_END || block->at.size > ARENA_END - addr)
			return false;
		block->at.addr = addr;
		other = vcs_range_find(&arena->blocks, addr, block->at.size);
		if (!other)
			return true;
		addr = other->at.addr + other->at.size;
	}
}

struct vcs_block *vcs_arena_alloc(struct vcs_arena *arena, uint64_t size,
				  uint64_t align)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct vcs_block *block;

	if (!size || size > VCS_ARENA_SIZE)
		return NULL;
	if (align < page)
		align = page;
	block = calloc(1, sizeof(*block));
	if (!block)
		return NULL;
	block->at.size = (size + page - 1) & ~(page - 1);
	if (!find_free(arena, block, arena->next, align) &&
	    !find_free(arena, block, VCS_ARENA_START, align))
		goto err;
	if (!tsearch(block, &arena->blocks, vcs_range_compare))
		goto err;
	arena->next = block->at.addr + block->at.size;
	return block;
err:
	free(block);
	return NULL;
}

void vcs_arena_free(struct vcs_arena *arena, struct vcs_block *block)
{
	tdelete(block, &arena->blocks, vcs_range_compare);
	free(block);
}

struct vcs_block *vcs_arena_find(const struct vcs_arena *arena, uint64_t addr,
				 uint64_t size)
{
	struct vcs_block *block;

	if (addr < VCS_ARENA_START || addr >= ARENA_END)
		return NULL;
	block = vcs_range_find(&arena->blocks, addr, 1);
	if (!block || size > block->at.addr + block->at.size - addr)
		return NULL;
	return block;
}
