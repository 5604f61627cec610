/* SPDX-License-Identifier: MIT */
/*
 * Inside of the ROCM context
 *
 * No pointer of the guest is followed, and none of the host is sent: addresses
 * on the wire are looked up in the arena, ids in tables.
 */
#ifndef VCS_ROCM_H
#define VCS_ROCM_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_arena.h"
#include "vcs_context.h"
#include "vcs_resources.h"
#include "vcs_shmem.h"
#include "vcs_table.h"
#include "vcs_thunk.h"

struct vcs_rocm_memory;

/**
 * struct vcs_rocm_resource - a blob of the guest
 * @base: what every resource has
 * @mem: what it is for the GPU, NULL for the shared blob
 */
struct vcs_rocm_resource {
	struct vcs_resource base;
	struct vcs_rocm_memory *mem;
};

/**
 * struct vcs_rocm_memory - memory that the GPU may be given
 * @node: ALLOC: in the context's table, by blob_id
 * @block: its addresses; their owner is this
 * @res: its resource, NULL between ALLOC and the blob
 * @allocated: by ALLOC, else it is the guest's own
 * @home: ALLOC: node that it was taken from
 * @rdonly: ALLOC: the GPU must not write
 * @registered: the thunk knows it
 *
 * The released clients send ALLOC and make its blob when that has succeeded, and
 * free both by closing the blob. So a blob of an unknown blob_id is an error.
 */
struct vcs_rocm_memory {
	struct vcs_node node;
	struct vcs_block *block;
	struct vcs_rocm_resource *res;
	bool allocated;
	uint32_t home;
	bool rdonly;
	bool registered;
};

/**
 * struct vcs_rocm - the context
 * @base: what the worker sees
 * @thunk: what it works on
 * @has_doorbells: QEMU shows them to the guest
 * @sys: the thunk's nodes
 * @gpus: those that are GPUs
 * @nr_gpus: number of @gpus
 * @resources: blobs of the guest
 * @shmem: the shared one
 * @arena: addresses
 * @allocs: memory of ALLOC, by blob_id
 * @begun: addresses of the window that is being filled, if they are its own
 */
struct vcs_rocm {
	struct vcs_context base;
	struct vcs_thunk *thunk;
	bool has_doorbells;
	struct vcs_thunk_system sys;
	uint32_t gpus[VCS_THUNK_MAX_NODES];
	uint32_t nr_gpus;
	struct vcs_resources resources;
	struct vcs_shmem shmem;
	struct vcs_arena arena;
	struct vcs_table allocs;
	struct vcs_block *begun;
};

/* Requests, of any length; all are answered. */
void vcs_rocm_query(struct vcs_rocm *ctx, const struct vcs_req *req,
		    uint32_t len, const struct vcs_slot *slot);
void vcs_rocm_memory(struct vcs_rocm *ctx, const struct vcs_req *req,
		     uint32_t len, const struct vcs_slot *slot);

/* Tell of an error in the log: @what is the request's name. */
void vcs_rocm_log(const char *what, uint32_t type, int error);

/* What has all of @size bytes at @addr, or NULL. */
struct vcs_rocm_memory *vcs_rocm_find(const struct vcs_rocm *ctx, uint64_t addr,
				      uint64_t size);

/* Take it from the GPU. */
void vcs_rocm_revoke(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem);

/* Forget it, when its window is gone. */
void vcs_rocm_free(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem);

#endif /* VCS_ROCM_H */
