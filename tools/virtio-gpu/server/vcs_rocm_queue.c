// SPDX-License-Identifier: MIT
/*
 * QUEUE requests of the ROCM context, and its doorbells
 *
 * A queue is of AQL packets in memory that the guest has allocated or registered
 * and mapped to the GPU, as are its indices. It ends with its blob, or when the
 * memory goes: what the GPU reads is there as long as it may read it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_rocm.h"

/* What KFD allows: of percent of the GPU's time, and of priorities. */
#define MAX_PERCENTAGE	100
#define MIN_PRIORITY	(-3)
#define MAX_PRIORITY	3

/* KFD's least; the GPU has addresses of packets without their lowest bits. */
#define MIN_RING_SIZE	1024
#define MAX_RING_SIZE	(1ULL << 30)
#define RING_ALIGN	256

_Static_assert(VCS_ROCM_MAX_QUEUES <= VCS_ROCM_NR_DOORBELLS,
	       "each queue of a node has a doorbell");

/**
 * struct vcs_rocm_queue - a queue
 * @blob: announced by CREATE
 * @next: in the context's list, while @live
 * @live: the thunk has it
 * @id: what the thunk calls it, while @live
 * @params: what the thunk knows of it
 * @ring: memory with the packets, while @live
 * @indices: memory with both indices, likewise
 * @bells: with its doorbell, NULL if their blob is gone, or the queue not @live
 * @slot: its doorbell's number there
 */
struct vcs_rocm_queue {
	struct vcs_rocm_blob blob;
	struct vcs_rocm_queue *next;
	bool live;
	uint64_t id;
	struct vcs_thunk_queue params;
	const struct vcs_rocm_memory *ring;
	const struct vcs_rocm_memory *indices;
	struct vcs_rocm_doorbells *bells;
	uint32_t slot;
};

static void stop(struct vcs_rocm *ctx, struct vcs_rocm_queue *q)
{
	struct vcs_rocm_queue **slot = &ctx->queues;
	int ret;

	if (!q->live)
		return;
	ret = ctx->thunk->ops->destroy_queue(ctx->thunk, q->id);
	if (ret)
		vcs_err("cannot destroy a queue, taking its memory away: %s",
			strerror(-ret));
	while (*slot != q)
		slot = &(*slot)->next;
	*slot = q->next;
	if (q->bells)
		q->bells->queues[q->slot] = NULL;
	q->bells = NULL;
	q->live = false;
}

bool vcs_rocm_has_queue(const struct vcs_rocm *ctx,
			const struct vcs_rocm_memory *mem)
{
	const struct vcs_rocm_queue *q;

	for (q = ctx->queues; q; q = q->next)
		if (q->ring == mem || q->indices == mem)
			return true;
	return false;
}

void vcs_rocm_stop_queues(struct vcs_rocm *ctx,
			  const struct vcs_rocm_memory *mem)
{
	struct vcs_rocm_queue *q, *next;

	for (q = ctx->queues; q; q = next) {
		next = q->next;
		if (!mem || q->ring == mem || q->indices == mem)
			stop(ctx, q);
	}
}

void vcs_rocm_free_queue(struct vcs_rocm *ctx, struct vcs_rocm_queue *q)
{
	stop(ctx, q);
	vcs_table_remove(&ctx->blobs, q->blob.node.id);
	ctx->nr_queues--;
	free(q);
}

void vcs_rocm_free_doorbells(struct vcs_rocm *ctx,
			     struct vcs_rocm_doorbells *bells)
{
	size_t i;

	for (i = 0; i < VCS_ROCM_NR_DOORBELLS; i++)
		if (bells->queues[i])
			bells->queues[i]->bells = NULL;
	ctx->doorbells[bells->gpu] = NULL;
	vcs_table_remove(&ctx->blobs, bells->blob.node.id);
	vcs_arena_free(&ctx->arena, bells->block);
	free(bells);
}

int vcs_rocm_ring(struct vcs_rocm *ctx, const struct vcs_doorbell *bell)
{
	const struct vcs_rocm_resource *res;
	const struct vcs_rocm_doorbells *bells;
	const struct vcs_rocm_queue *q;

	res = vcs_resources_find(&ctx->resources, bell->res_id);
	if (!res || !res->blob || res->blob->type != VCS_ROCM_DOORBELLS ||
	    bell->offset > VIRTIO_GPU_ROCM_DOORBELL_SIZE - bell->size)
		return -EBADMSG;
	bells = (const struct vcs_rocm_doorbells *)res->blob;
	q = bells->queues[bell->offset / 8];
	/* One that nobody listens to, or its upper half. */
	if (!q || bell->offset % 8)
		return 0;
	ctx->thunk->ops->ring_doorbell(ctx->thunk, q->id, bell->value);
	return 0;
}

/* CREATE and UPDATE */

static int check_share(uint32_t percentage, int64_t priority)
{
	return percentage > MAX_PERCENTAGE || priority < MIN_PRIORITY ||
	       priority > MAX_PRIORITY ? -EINVAL : 0;
}

static int check_ring(uint64_t addr, uint64_t size)
{
	return addr % RING_ALIGN || size & (size - 1) || size < MIN_RING_SIZE ||
	       size > MAX_RING_SIZE ? -EINVAL : 0;
}

/* Memory of that resource, which the GPU writes to where it is for the guest. */
static int find(const struct vcs_rocm *ctx, uint32_t node, uint32_t res_id,
		uint64_t addr, uint64_t size,
		const struct vcs_rocm_memory **found)
{
	const struct vcs_rocm_memory *mem;

	mem = vcs_rocm_find_mapped(ctx, node, addr, size);
	if (!mem)
		return -EFAULT;
	if (mem->blob.res->base.node.id != res_id)
		return -EINVAL;
	if (mem->rdonly)
		return -EACCES;
	*found = mem;
	return 0;
}

static int find_indices(const struct vcs_rocm *ctx, uint32_t res_id,
			struct vcs_rocm_queue *q)
{
	const struct vcs_thunk_queue *p = &q->params;
	const struct vcs_rocm_memory *same;
	int ret;

	if (p->write_ptr % 8 || p->read_ptr % 8)
		return -EINVAL;
	ret = find(ctx, p->node, res_id, p->write_ptr, 8, &q->indices);
	return ret ? ret : find(ctx, p->node, res_id, p->read_ptr, 8, &same);
}

/* The doorbells of the node, made if this request announces their blob. */
static int get_doorbells(struct vcs_rocm *ctx, uint32_t node, uint64_t blob_id,
			 struct vcs_rocm_doorbells **bells)
{
	int ret;

	*bells = ctx->doorbells[node];
	if (!blob_id)
		return *bells ? 0 : -ENOENT;
	if (*bells)
		return -EEXIST;
	ret = vcs_rocm_check_blob_id(ctx, blob_id);
	if (ret)
		return ret;
	*bells = calloc(1, sizeof(**bells));
	if (!*bells)
		return -ENOMEM;
	(*bells)->gpu = node;
	(*bells)->block = vcs_arena_alloc(&ctx->arena,
					  VIRTIO_GPU_ROCM_DOORBELL_SIZE, 1);
	if (!(*bells)->block) {
		free(*bells);
		return -ENOMEM;
	}
	vcs_rocm_announce(ctx, &(*bells)->blob, VCS_ROCM_DOORBELLS, blob_id,
			  VIRTIO_GPU_ROCM_DOORBELL_SIZE);
	ctx->doorbells[node] = *bells;
	return 0;
}

/* There are as many as queues. */
static uint32_t find_slot(const struct vcs_rocm_doorbells *bells)
{
	uint32_t i = 0;

	while (bells->queues[i])
		i++;
	return i;
}

static int check_create(struct vcs_rocm *ctx,
			const struct virtio_gpu_rocm_queue *req)
{
	int ret;

	if (!ctx->has_doorbells || !ctx->thunk->ops->create_queue ||
	    le32toh(req->create.type) != VIRTIO_GPU_ROCM_QUEUE_COMPUTE_AQL)
		return -EOPNOTSUPP;
	if (!vcs_rocm_is_gpu(ctx, le32toh(req->create.node)))
		return -EINVAL;
	ret = check_share(le32toh(req->create.percentage),
			  (int64_t)le64toh(req->create.priority));
	if (!ret)
		ret = check_ring(le64toh(req->create.addr),
				 le64toh(req->create.size));
	if (!ret)
		ret = vcs_rocm_check_blob_id(ctx, le64toh(req->blob_id));
	if (ret)
		return ret;
	if (ctx->nr_queues >= VCS_ROCM_MAX_QUEUES) {
		vcs_log_guest("there are %u queues", ctx->nr_queues);
		return -E2BIG;
	}
	return 0;
}

/* What is in the request, looked up. */
static int fill(const struct vcs_rocm *ctx,
		const struct virtio_gpu_rocm_queue *req,
		struct vcs_rocm_queue *q)
{
	int ret;

	q->params = (struct vcs_thunk_queue) {
		.node = le32toh(req->create.node),
		.percentage = le32toh(req->create.percentage),
		.priority = (int32_t)le64toh(req->create.priority),
		.ring = le64toh(req->create.addr),
		.ring_size = le64toh(req->create.size),
		.write_ptr = le64toh(req->create.write_ptr),
		.read_ptr = le64toh(req->create.read_ptr),
	};
	ret = find(ctx, q->params.node, le32toh(req->queue_mem_res_id),
		   q->params.ring, q->params.ring_size, &q->ring);
	return ret ? ret : find_indices(ctx, le32toh(req->res_id), q);
}

static int add(struct vcs_rocm *ctx, const struct virtio_gpu_rocm_queue *req,
	       struct vcs_rocm_queue *q)
{
	uint64_t doorbell_blob_id = le64toh(req->doorbell_blob_id);
	struct vcs_rocm_doorbells *bells;
	int ret;

	ret = fill(ctx, req, q);
	if (ret)
		return ret;
	/* Both are announced by this request. */
	if (doorbell_blob_id == le64toh(req->blob_id))
		return -EEXIST;
	ret = get_doorbells(ctx, q->params.node, doorbell_blob_id, &bells);
	if (ret)
		return ret;
	ret = ctx->thunk->ops->create_queue(ctx->thunk, &q->params, &q->id);
	if (ret) {
		if (doorbell_blob_id)
			vcs_rocm_free_doorbells(ctx, bells);
		return ret;
	}
	vcs_rocm_announce(ctx, &q->blob, VCS_ROCM_QUEUE, le64toh(req->blob_id),
			  q->params.ring_size);
	ctx->nr_queues++;
	q->live = true;
	q->next = ctx->queues;
	ctx->queues = q;
	q->bells = bells;
	q->slot = find_slot(bells);
	bells->queues[q->slot] = q;
	return 0;
}

static int do_create(struct vcs_rocm *ctx,
		     const struct virtio_gpu_rocm_queue *req,
		     struct virtio_gpu_rocm_queue_rsp *rsp)
{
	struct vcs_rocm_queue *q;
	uint64_t offset;
	int ret;

	ret = check_create(ctx, req);
	if (ret)
		return ret;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	ret = add(ctx, req, q);
	if (ret) {
		free(q);
		return ret;
	}
	offset = q->slot * 8;
	/* What the guest calls its blob is as good an id as any, and no pointer. */
	rsp->queue_id = htole64(q->blob.node.id);
	rsp->queue_handle = htole64(q->blob.node.id);
	rsp->host_doorbell = htole64(q->bells->block->at.addr + offset);
	rsp->host_doorbell_offset = htole64(offset);
	return 0;
}

/*
 * Clients that send more than CREATE name the queue by its resource; what they
 * have for an id then is a pointer of theirs.
 */
static int find_queue(struct vcs_rocm *ctx, uint32_t res_id, uint64_t queue_id,
		      struct vcs_rocm_queue **q)
{
	const struct vcs_rocm_resource *res;
	struct vcs_rocm_blob *blob = NULL;

	if (res_id) {
		res = vcs_resources_find(&ctx->resources, res_id);
		if (res && (!res->blob || res->blob->type != VCS_ROCM_QUEUE))
			return -EINVAL;
		blob = res ? res->blob : NULL;
	} else if (queue_id <= UINT32_MAX) {
		blob = vcs_table_find(&ctx->blobs, (uint32_t)queue_id);
	}
	if (!blob || blob->type != VCS_ROCM_QUEUE)
		return -ENOENT;
	*q = (struct vcs_rocm_queue *)blob;
	/* One that has ended without its blob is there to be destroyed. */
	return (*q)->live || !blob->res ? 0 : -ENOENT;
}

static int do_destroy(struct vcs_rocm *ctx,
		      const struct virtio_gpu_rocm_queue *req)
{
	struct vcs_rocm_queue *q;
	int ret;

	ret = find_queue(ctx, le32toh(req->res_id), le64toh(req->queue_id), &q);
	if (ret)
		return ret;
	if (q->blob.res)
		stop(ctx, q);
	else
		vcs_rocm_free_queue(ctx, q);
	return 0;
}

static int do_update(struct vcs_rocm *ctx,
		     const struct virtio_gpu_rocm_queue *req)
{
	const struct vcs_rocm_memory *ring;
	struct vcs_thunk_queue params;
	struct vcs_rocm_queue *q;
	int ret;

	if (!ctx->thunk->ops->update_queue)
		return -EOPNOTSUPP;
	ret = find_queue(ctx, le32toh(req->res_id), 0, &q);
	if (ret)
		return ret;
	params = q->params;
	params.percentage = le32toh(req->update.percentage);
	params.priority = (int32_t)le64toh(req->update.priority);
	params.ring = le64toh(req->update.addr);
	params.ring_size = le64toh(req->update.size);
	ret = check_share(params.percentage,
			  (int64_t)le64toh(req->update.priority));
	if (!ret)
		ret = check_ring(params.ring, params.ring_size);
	if (!ret)
		ret = find(ctx, params.node, le32toh(req->queue_mem_res_id),
			   params.ring, params.ring_size, &ring);
	if (!ret)
		ret = ctx->thunk->ops->update_queue(ctx->thunk, q->id, &params);
	if (ret)
		return ret;
	q->params = params;
	q->ring = ring;
	return 0;
}

static int execute(struct vcs_rocm *ctx,
		   const struct virtio_gpu_rocm_queue *req,
		   struct virtio_gpu_rocm_queue_rsp *rsp)
{
	switch (le32toh(req->type)) {
	case VIRTIO_GPU_ROCM_QUEUE_CREATE:
		return do_create(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_QUEUE_DESTROY:
		return do_destroy(ctx, req);
	case VIRTIO_GPU_ROCM_QUEUE_UPDATE:
		return do_update(ctx, req);
	}
	/* What there is to know of a queue are pointers of the host. */
	return -EOPNOTSUPP;
}

void vcs_rocm_queue(struct vcs_rocm *ctx, const struct vcs_req *hdr,
		    uint32_t len, const struct vcs_slot *slot)
{
	const struct virtio_gpu_rocm_queue *req = (const void *)hdr;
	union {
		struct virtio_gpu_rocm_queue_rsp rsp;
		uint8_t data[VIRTIO_GPU_ROCM_QUEUE_RSP_SIZE];
	} out = { 0 };
	uint32_t type = UINT32_MAX;
	int ret = -EBADMSG;

	if (len >= sizeof(*req)) {
		type = le32toh(req->type);
		ret = execute(ctx, req, &out.rsp);
	}
	if (ret)
		vcs_rocm_log("QUEUE", type, ret);
	vcs_respond_with(slot, ret, &out, sizeof(out), NULL, 0);
}
