/* SPDX-License-Identifier: MIT */
/*
 * Arena: the addresses that a GPU and its guest program share
 */
#ifndef VCS_ARENA_H
#define VCS_ARENA_H

#include <stdint.h>

#include "vcs_range.h"

/*
 * Where it is. A client maps the whole range into the guest's program, in place
 * of what is there, and takes every address outside of it for the program's own:
 * so it must be user addresses, and such as no program has anything at. With 47
 * bits of them (x86-64; most others have 48) that is the middle. Below are
 * programs linked to a fixed address, their heap and what asks for low memory;
 * the kernel loads other programs at two thirds, 0x555555554000, and libraries,
 * stacks and mmap() from the top down, over dozens of TiB. The tools that lay
 * out an address space of their own are elsewhere, too: the heaps of Go
 * (0xc000000000), of sanitizers (from 0x500000000000) and their shadows
 * (AddressSanitizer's end at 0x10007fff8000). More than 47 bits are given out
 * to who asks for them only. A guest with less has its mmap() fail.
 *
 * It is the same in each worker. A worker is an address space of its own, and
 * its GPU address space likewise: contexts know nothing of each other.
 */
#define VCS_ARENA_START		0x200000000000ULL
#define VCS_ARENA_SIZE		0x080000000000ULL

/* Larger is of no use to a GPU. */
#define VCS_ARENA_MAX_ALIGN	(1ULL << 30)

/**
 * struct vcs_arena - the range, and what in it is in use
 * @blocks: tree of blocks
 * @next: where the next one is looked for
 *
 * Nothing is behind it but where a window is. Addresses are used again as late
 * as possible: who uses one that is no longer theirs meets nobody else's memory.
 */
struct vcs_arena {
	void *blocks;
	uint64_t next;
};

/**
 * struct vcs_block - what of it is in use
 * @at: where
 * @owner: for who has it
 */
struct vcs_block {
	struct vcs_range at;
	void *owner;
};

/* Take the range. -EEXIST: this process has something there. */
int vcs_arena_init(struct vcs_arena *arena);

/* Give it back, with all blocks. */
void vcs_arena_destroy(struct vcs_arena *arena);

/*
 * A block of @size bytes at a multiple of @align, which is a power of two; whole
 * pages in both cases. NULL: there is no room or no memory.
 */
struct vcs_block *vcs_arena_alloc(struct vcs_arena *arena, uint64_t size,
				  uint64_t align);
void vcs_arena_free(struct vcs_arena *arena, struct vcs_block *block);

/* The block that has all of @size bytes at @addr, or NULL. */
struct vcs_block *vcs_arena_find(const struct vcs_arena *arena, uint64_t addr,
				 uint64_t size);

#endif /* VCS_ARENA_H */
