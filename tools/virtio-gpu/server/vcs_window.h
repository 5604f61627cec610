/* SPDX-License-Identifier: MIT */
/*
 * Window: scattered pieces of guest memory as one contiguous range
 */
#ifndef VCS_WINDOW_H
#define VCS_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/virtio/virtio-gpu-compute-proto.h"

/**
 * struct vcs_map_budget - how many mappings the process may still make
 * @left: mappings that windows may still take
 * @limit: vm.max_map_count, for messages
 *
 * The kernel fails mmap() with ENOMEM at vm.max_map_count mappings, wherever
 * that happens: in a window, in malloc() or in the compute driver. So windows
 * have a share of their own and are refused before the first mmap() of a
 * fragment that would exceed it.
 */
struct vcs_map_budget {
	size_t left;
	size_t limit;
};

/**
 * struct vcs_window - one contiguous range, filled run by run
 * @addr: start of the range
 * @size: bytes, a multiple of the page size
 * @filled: bytes mapped so far, from @addr on
 * @nr_maps: mappings taken from the budget
 * @rdonly: mapped PROT_READ
 * @reserved: the range was reserved before, and stays so
 */
struct vcs_window {
	uint8_t *addr;
	size_t size;
	size_t filled;
	size_t nr_maps;
	bool rdonly;
	bool reserved;
};

/* The share that windows get of what this process has not mapped yet. */
int vcs_map_budget_init(struct vcs_map_budget *budget);

/*
 * Reserve @size bytes of address space. Returns 0, -EINVAL for a size that is 0
 * or not a multiple of the page size, -E2BIG for one that no process can have,
 * or -ENOMEM.
 */
int vcs_window_init(struct vcs_window *win, uint64_t size, bool rdonly);

/*
 * The same in a range that is reserved, with a mapping of PROT_NONE. -EINVAL or
 * 0.
 */
int vcs_window_init_at(struct vcs_window *win, void *addr, uint64_t size,
		       bool rdonly);

/*
 * Append @nr_runs runs over @fds, which stay the caller's. Nothing is mapped
 * unless all of them are valid. Returns 0, -EINVAL for a run that is not page
 * aligned, not in its file, over the window's size or whose descriptor has the
 * wrong kind or access mode, -EOPNOTSUPP for one of huge pages, -E2BIG when the
 * mappings do not suffice, or the error of mmap(). After an error the window can
 * only be unmapped.
 */
int vcs_window_append(struct vcs_window *win, const struct vgpu_run *runs,
		      uint32_t nr_runs, const int *fds, unsigned int nr_fds,
		      struct vcs_map_budget *budget);

/* All runs are there: 0, or -EINVAL when they do not add up to the size. */
int vcs_window_finish(struct vcs_window *win);

/*
 * Gives the address space, if it was not reserved before, and the mappings back;
 * a zeroed window is fine.
 */
void vcs_window_unmap(struct vcs_window *win, struct vcs_map_budget *budget);

#endif /* VCS_WINDOW_H */
