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

struct vcs_rocm_blob;

/* Queues of a context, live or not: as many as KFD gives a process. */
#define VCS_ROCM_MAX_QUEUES	1024

/* Events likewise: as many as KFD has for signals. */
#define VCS_ROCM_MAX_EVENTS	4096

/* Registers of 64 bits, as GPUs of the doorbell type 2 have them. */
#define VCS_ROCM_NR_DOORBELLS	(VIRTIO_GPU_ROCM_DOORBELL_SIZE / 8)

/**
 * struct vcs_rocm_resource - a blob of the guest
 * @base: what every resource has
 * @blob: what it stands for, NULL for the shared blob
 */
struct vcs_rocm_resource {
	struct vcs_resource base;
	struct vcs_rocm_blob *blob;
};

enum vcs_rocm_blob_type {
	VCS_ROCM_MEMORY,
	VCS_ROCM_QUEUE,
	VCS_ROCM_DOORBELLS,
	VCS_ROCM_EVENT,
};

/**
 * struct vcs_rocm_blob - first member of what a blob stands for
 * @node: in the context's table, by blob_id, if a request has announced it
 * @type: what it is
 * @size: of the blob
 * @res: its resource, NULL between the request and the blob
 *
 * The released clients have a request make something, make its blob when that
 * has succeeded, and end both by closing the blob. So a blob of an unknown
 * blob_id is an error.
 */
struct vcs_rocm_blob {
	struct vcs_node node;
	enum vcs_rocm_blob_type type;
	uint64_t size;
	struct vcs_rocm_resource *res;
};

/**
 * struct vcs_rocm_memory - memory that the GPU may be given
 * @blob: announced by ALLOC, else it is the guest's own
 * @block: its addresses; their owner is this
 * @allocated: by ALLOC
 * @home: ALLOC: node that it was taken from
 * @rdonly: the GPU must not write
 * @registered: the thunk knows it
 * @nodes: that it is mapped to, a bit each
 * @gpu_addr: where those have it
 */
struct vcs_rocm_memory {
	struct vcs_rocm_blob blob;
	struct vcs_block *block;
	bool allocated;
	uint32_t home;
	bool rdonly;
	bool registered;
	uint64_t nodes;
	uint64_t gpu_addr;
};

struct vcs_rocm_event;
struct vcs_rocm_queue;

/**
 * struct vcs_rocm_doorbells - the doorbells of a node
 * @blob: announced by the CREATE of a queue
 * @gpu: the node
 * @block: addresses that the guest shall have it at; nothing is there here
 * @queues: by their doorbell
 */
struct vcs_rocm_doorbells {
	struct vcs_rocm_blob blob;
	uint32_t gpu;
	struct vcs_block *block;
	struct vcs_rocm_queue *queues[VCS_ROCM_NR_DOORBELLS];
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
 * @blobs: those that were announced, by blob_id
 * @nr_allocs: memory of ALLOC among them
 * @nr_queues: queues among them
 * @nr_events: events among them
 * @queues: those that the thunk has
 * @doorbells: of each node, or NULL
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
	struct vcs_table blobs;
	uint32_t nr_allocs;
	uint32_t nr_queues;
	uint32_t nr_events;
	struct vcs_rocm_queue *queues;
	struct vcs_rocm_doorbells *doorbells[VCS_THUNK_MAX_NODES];
	struct vcs_block *begun;
};

/* Requests, of any length; all are answered. */
void vcs_rocm_query(struct vcs_rocm *ctx, const struct vcs_req *req,
		    uint32_t len, const struct vcs_slot *slot);
void vcs_rocm_memory(struct vcs_rocm *ctx, const struct vcs_req *req,
		     uint32_t len, const struct vcs_slot *slot);
void vcs_rocm_queue(struct vcs_rocm *ctx, const struct vcs_req *req,
		    uint32_t len, const struct vcs_slot *slot);
void vcs_rocm_event(struct vcs_rocm *ctx, const struct vcs_req *req,
		    uint32_t len, const struct vcs_slot *slot);

/* Tell of an error in the log: @what is the request's name. */
void vcs_rocm_log(const char *what, uint32_t type, int error);

/* What has all of @size bytes at @addr, or NULL. */
struct vcs_rocm_memory *vcs_rocm_find(const struct vcs_rocm *ctx, uint64_t addr,
				      uint64_t size);

/* Is this node a GPU? */
bool vcs_rocm_is_gpu(const struct vcs_rocm *ctx, uint32_t node);

/* What vcs_rocm_find() finds, if that GPU has it, and at the same addresses. */
struct vcs_rocm_memory *vcs_rocm_find_mapped(const struct vcs_rocm *ctx,
					     uint32_t gpu, uint64_t addr,
					     uint64_t size);

/* Take it from the GPU. */
void vcs_rocm_revoke(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem);

/* Forget it, when its window is gone. */
void vcs_rocm_free(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem);

/*
 * May @blob_id be announced? Clients make blobs with 32 bits of it. -EINVAL if
 * it is none, -EEXIST if it has been.
 */
int vcs_rocm_check_blob_id(struct vcs_rocm *ctx, uint64_t blob_id);

/* Announce a blob of @size bytes, which become whole pages. */
void vcs_rocm_announce(struct vcs_rocm *ctx, struct vcs_rocm_blob *blob,
		       enum vcs_rocm_blob_type type, uint64_t blob_id,
		       uint64_t size);

/* Whole pages. */
uint64_t vcs_rocm_page_align(uint64_t size);

/* Is there a queue in this memory? */
bool vcs_rocm_has_queue(const struct vcs_rocm *ctx,
			const struct vcs_rocm_memory *mem);

/* Take the queues that are in this memory from the GPU, or all (NULL). */
void vcs_rocm_stop_queues(struct vcs_rocm *ctx,
			  const struct vcs_rocm_memory *mem);

/* Forget them, when their blob is gone; a queue is taken from the GPU first. */
void vcs_rocm_free_queue(struct vcs_rocm *ctx, struct vcs_rocm_queue *queue);
void vcs_rocm_free_doorbells(struct vcs_rocm *ctx,
			     struct vcs_rocm_doorbells *bells);
void vcs_rocm_free_event(struct vcs_rocm *ctx, struct vcs_rocm_event *event);

/* The guest has stored to a doorbell. -EBADMSG: there can be none. */
int vcs_rocm_ring(struct vcs_rocm *ctx, const struct vcs_doorbell *bell);

#endif /* VCS_ROCM_H */
