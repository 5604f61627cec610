/* SPDX-License-Identifier: MIT */
/*
 * For the checks: windows as workers make them, and a GPU that is seen to access
 * them
 *
 * A GPU without a program can still be told to access memory: packets of its
 * queues name signals, which it counts down and waits for. Their addresses are
 * ours to choose, so the accesses are to where a check wants them. They are seen
 * in the file that a window is of, by another mapping of it.
 */
#ifndef VCS_CHECK_GPU_H
#define VCS_CHECK_GPU_H

#include "vcs_arena.h"
#include "vcs_check.h"
#include "vcs_window.h"

/* What an access is of: an amd_signal_t, 64 bytes at a multiple of that. */
#define VCS_CHECK_SIGNAL_SIZE	64

enum vcs_check_layout {
	VCS_CHECK_PLAIN,	/* the file */
	VCS_CHECK_SHUFFLED,	/* its pages, in an order that has no neighbours */
	VCS_CHECK_REPEATED,	/* the file, again and again */
};

/**
 * struct vcs_check_mem - a memfd, and a window of it in the arena
 * @fd: the memfd
 * @view: all of it, elsewhere
 * @file_size: bytes of it
 * @layout: of the window
 * @block: the window's range
 * @win: the window
 * @gpu: where the GPU has the window
 */
struct vcs_check_mem {
	int fd;
	uint8_t *view;
	uint64_t file_size;
	enum vcs_check_layout layout;
	struct vcs_block *block;
	struct vcs_window win;
	uint64_t gpu;
};

/**
 * struct vcs_check_queue - a queue of AQL packets
 * @mem: ring, indices, a page of signals
 * @id: of the thunk
 * @next: index of the next packet
 */
struct vcs_check_queue {
	struct vcs_check_mem mem;
	uint64_t id;
	uint64_t next;
};

/* Packets of a queue. */
#define VCS_CHECK_PACKETS	64

enum vcs_check_method {
	VCS_CHECK_QUEUE,
	VCS_CHECK_SIMULATION,	/* asked what the GPU would do */
	VCS_CHECK_NONE,
};

/**
 * struct vcs_check_gpu - an open thunk
 * @env: of the check
 * @thunk: the thunk
 * @arena: the GPU's addresses
 * @budget: mappings
 * @num_nodes: nodes of the system
 * @gpus: those that are GPUs
 * @nr_gpus: how many, not 0
 * @node: the one that accesses
 * @method: how
 * @queue: VCS_CHECK_QUEUE: through which
 */
struct vcs_check_gpu {
	const struct vcs_check_env *env;
	struct vcs_thunk *thunk;
	struct vcs_arena arena;
	struct vcs_map_budget budget;
	uint32_t num_nodes;
	uint32_t gpus[VCS_THUNK_MAX_NODES];
	uint32_t nr_gpus;
	uint32_t node;
	enum vcs_check_method method;
	struct vcs_check_queue queue;
};

/* All of these print what is wrong, and then return false. */

/* Open the thunk and find its GPUs. */
bool vcs_check_open(const struct vcs_check_env *env, struct vcs_check_gpu *g);
void vcs_check_close(struct vcs_check_gpu *g);

/* Find out how this GPU can be made to access memory, and that it does. */
bool vcs_check_access_init(struct vcs_check_gpu *g, uint32_t node);
bool vcs_check_access_end(struct vcs_check_gpu *g);

bool vcs_check_file(struct vcs_check_mem *mem, uint64_t size);
bool vcs_check_window(struct vcs_check_gpu *g, struct vcs_check_mem *mem,
		      uint64_t size, enum vcs_check_layout layout, bool rdonly);
bool vcs_check_register(struct vcs_check_gpu *g, struct vcs_check_mem *mem);
bool vcs_check_map(struct vcs_check_gpu *g, struct vcs_check_mem *mem);
/* All of that, of a file of @size bytes. */
bool vcs_check_mem(struct vcs_check_gpu *g, struct vcs_check_mem *mem,
		   uint64_t size, enum vcs_check_layout layout);
/* From the GPU, then from the process. */
bool vcs_check_unmap(struct vcs_check_gpu *g, struct vcs_check_mem *mem);
void vcs_check_mem_free(struct vcs_check_gpu *g, struct vcs_check_mem *mem);
bool vcs_check_release(struct vcs_check_gpu *g, struct vcs_check_mem *mem);

/* Where @offset of the window is seen. */
uint8_t *vcs_check_view(const struct vcs_check_mem *mem, uint64_t offset);

/* The GPU writes there, and reads what is there. Nothing: VCS_CHECK_NONE. */
bool vcs_check_write(struct vcs_check_gpu *g, const struct vcs_check_mem *mem,
		     uint64_t offset);
bool vcs_check_read(struct vcs_check_gpu *g, const struct vcs_check_mem *mem,
		    uint64_t offset);

/*
 * Have the GPU write to where it must not, and wait until it would have. May not
 * return. vcs_check_untouched() finds out what has come of it.
 */
void vcs_check_try_write(struct vcs_check_gpu *g, uint64_t gpu_addr);
void vcs_check_prepare(struct vcs_check_mem *mem, uint64_t offset);
bool vcs_check_untouched(const struct vcs_check_mem *mem, uint64_t offset);

/* A queue; -EOPNOTSUPP or -ENOSYS: there are none. */
int vcs_check_queue_init(struct vcs_check_gpu *g, struct vcs_check_queue *q);
bool vcs_check_queue_end(struct vcs_check_gpu *g, struct vcs_check_queue *q);

/*
 * A barrier packet, which waits for the signal at @dep to be 0 and counts the one
 * at @completion down; 0: none. Rings the doorbell if @ring.
 */
bool vcs_check_barrier(struct vcs_check_gpu *g, struct vcs_check_queue *q,
		       uint64_t dep, uint64_t completion, bool ring);
uint64_t vcs_check_read_index(const struct vcs_check_queue *q);
const int64_t *vcs_check_read_ptr(const struct vcs_check_queue *q);

/* Signal @nr of the queue's own page: its address and its value. */
uint64_t vcs_check_signal(const struct vcs_check_queue *q, unsigned int nr);
int64_t *vcs_check_value(const struct vcs_check_queue *q, unsigned int nr);
bool vcs_check_wait(struct vcs_check_gpu *g, const int64_t *value, int64_t want,
		    unsigned int ms);

#endif /* VCS_CHECK_GPU_H */
