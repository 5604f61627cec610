/* SPDX-License-Identifier: MIT */
/* The kinds of memory that a program may have */
#ifndef TESTS_MEMORY_H
#define TESTS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_kind {
	MEMORY_ANON,		/* private, of small pages */
	MEMORY_SCATTERED,	/* the same, no page next to its neighbour */
	MEMORY_THP,		/* private, of huge pages */
	MEMORY_SHARED_ANON,
	MEMORY_MEMFD,
	MEMORY_TMPFS,		/* file on tmpfs, mapped shared */
	MEMORY_TMPFS_RDONLY,	/* the same, opened and mapped read-only */
	MEMORY_EXT4_RDONLY,	/* file on a disk, likewise */
	MEMORY_PRIVATE_FILE,	/* file on tmpfs, mapped private */
	MEMORY_HUGETLB,
};

/**
 * struct memory - some memory of a kind
 * @addr: start
 * @size: in bytes
 * @rdonly: the program may not write it
 * @fd: its file, or -1
 *
 * All of it holds memory_byte(i, 0).
 */
struct memory {
	uint8_t *addr;
	size_t size;
	bool rdonly;
	int fd;
};

/* 0, or a negative errno; -ENOENT: the system lacks what the kind needs. */
int memory_get(enum memory_kind kind, struct memory *mem);

/* A pattern without a short period; @seed makes another one. */
static inline uint8_t memory_byte(size_t i, unsigned int seed)
{
	return i * 31 + (i >> 8) * 17 + (i >> 12) * 59 + seed;
}

/* Guest-physical address of the page at @addr, 0 if it is not present. */
uint64_t memory_physical(const void *addr);

/* Pages of the system that are pinned, or -1. */
int64_t memory_pinned(void);

/* Waits up to @ms for memory_pinned() to be @pages; returns what it is. */
int64_t memory_wait_pinned(int64_t pages, int ms);

#endif /* TESTS_MEMORY_H */
