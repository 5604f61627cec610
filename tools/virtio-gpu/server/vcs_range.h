/* SPDX-License-Identifier: MIT */
/*
 * Ranges of addresses in a tree of tsearch(3), none of which overlap
 */
#ifndef VCS_RANGE_H
#define VCS_RANGE_H

#include <search.h>
#include <stdint.h>

/**
 * struct vcs_range - what an element of the tree begins with
 * @addr: where it is
 * @size: bytes, not 0; its end is no more than UINT64_MAX
 */
struct vcs_range {
	uint64_t addr;
	uint64_t size;
};

/* For tsearch() and so on: ranges that overlap are equal, so the tree has one. */
static inline int vcs_range_compare(const void *pa, const void *pb)
{
	const struct vcs_range *a = pa, *b = pb;

	if (a->addr + a->size <= b->addr)
		return -1;
	if (b->addr + b->size <= a->addr)
		return 1;
	return 0;
}

/* An element with some of @size bytes at @addr, or NULL. */
static inline void *vcs_range_find(void *const *tree, uint64_t addr,
				   uint64_t size)
{
	const struct vcs_range key = { .addr = addr, .size = size };
	void *const *found;

	if (addr + size < addr)
		return NULL;
	found = tfind(&key, tree, vcs_range_compare);
	return found ? *found : NULL;
}

/* The element that begins there, or NULL. */
static inline void *vcs_range_find_start(void *const *tree, const void *addr)
{
	struct vcs_range *r = vcs_range_find(tree, (uintptr_t)addr, 1);

	return r && r->addr == (uintptr_t)addr ? r : NULL;
}

#endif /* VCS_RANGE_H */
