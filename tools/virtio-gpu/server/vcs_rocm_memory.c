// SPDX-License-Identifier: MIT
/*
 * MEMORY requests of the ROCM context
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_rocm.h"

/* What there is no memory for here, or no way to show it to the guest. */
#define UNSUPPORTED	(VIRTIO_GPU_ROCM_MEM_GDS | \
			 VIRTIO_GPU_ROCM_MEM_SCRATCH | \
			 VIRTIO_GPU_ROCM_MEM_FIXED_ADDRESS | \
			 VIRTIO_GPU_ROCM_MEM_NO_ADDRESS | \
			 VIRTIO_GPU_ROCM_MEM_ONLY_ADDRESS)

_Static_assert(sizeof(struct virtio_gpu_rocm_memory_2025) == 80 &&
	       offsetof(struct virtio_gpu_rocm_memory_2025, blob_id) == 64 &&
	       sizeof(struct virtio_gpu_rocm_memory) == 312 &&
	       offsetof(struct virtio_gpu_rocm_memory, blob_id) == 296 &&
	       offsetof(struct virtio_gpu_rocm_memory,
			args.map_nodes.num_nodes) == 48,
	       "as the clients send it");

/**
 * struct request - a request of either generation
 * @args: arguments
 * @blob_id: of ALLOC
 * @type: enum virtio_gpu_rocm_memory_type
 * @res_id: a resource or 0
 * @payload: what follows
 * @payload_len: bytes of it
 * @has_align: ALLOC has an alignment
 */
struct request {
	const union virtio_gpu_rocm_memory_args *args;
	uint64_t blob_id;
	uint32_t type;
	uint32_t res_id;
	const uint32_t *payload;
	uint32_t payload_len;
	bool has_align;
};

static int parse(const void *data, uint32_t len, struct request *req)
{
	const struct virtio_gpu_rocm_memory_2025 *old = data;
	const struct virtio_gpu_rocm_memory *new = data;

	memset(req, 0, sizeof(*req));
	req->type = UINT32_MAX;
	if (len >= sizeof(*new)) {
		req->args = &new->args;
		req->blob_id = le64toh(new->blob_id);
		req->type = le32toh(new->type);
		req->res_id = le32toh(new->res_id);
		req->payload = new->payload;
		req->payload_len = len - (uint32_t)sizeof(*new);
		req->has_align = true;
	} else if (len >= sizeof(*old)) {
		req->args = &old->args;
		req->blob_id = le64toh(old->blob_id);
		req->type = le32toh(old->type);
		req->res_id = le32toh(old->res_id);
		req->payload = old->payload;
		req->payload_len = len - (uint32_t)sizeof(*old);
	} else {
		return -EBADMSG;
	}
	return 0;
}

/*
 * Some clients name the resource as well as its address, some do not: what is
 * named must fit.
 */
static int find(const struct vcs_rocm *ctx, const struct request *req,
		uint64_t addr, uint64_t size, struct vcs_rocm_memory **mem)
{
	*mem = vcs_rocm_find(ctx, addr, size);
	if (!*mem)
		return -ENOENT;
	if (req->res_id && (!(*mem)->blob.res ||
			    (*mem)->blob.res->base.node.id != req->res_id))
		return -EINVAL;
	return 0;
}

static int check_alloc(struct vcs_rocm *ctx, const struct request *req,
		       uint64_t align)
{
	uint32_t flags = le32toh(req->args->alloc.flags);
	uint64_t size = le64toh(req->args->alloc.size);
	int ret;

	if (!size)
		return -EINVAL;
	if (align & (align - 1) || align > VCS_ARENA_MAX_ALIGN)
		return -EINVAL;
	ret = vcs_rocm_check_blob_id(ctx, req->blob_id);
	if (ret)
		return ret;
	if ((flags & UNSUPPORTED) || req->args->alloc.addr)
		return -EOPNOTSUPP;
	if (size > VCS_ARENA_SIZE)
		return -ENOMEM;
	if (ctx->nr_allocs >= ctx->resources.limits->max_resources) {
		vcs_log_guest("there are %u allocations; raise --max-resources",
			      ctx->nr_allocs);
		return -E2BIG;
	}
	return 0;
}

static int do_alloc(struct vcs_rocm *ctx, const struct request *req,
		    struct virtio_gpu_rocm_memory_rsp *rsp)
{
	struct vcs_rocm_memory *mem;
	uint64_t align, size;
	int ret;

	align = req->has_align ? le64toh(req->args->alloc.align) : 0;
	ret = check_alloc(ctx, req, align);
	if (ret)
		return ret;
	size = vcs_rocm_page_align(le64toh(req->args->alloc.size));
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	mem->allocated = true;
	mem->home = le32toh(req->args->alloc.node);
	mem->rdonly = le32toh(req->args->alloc.flags) &
		      VIRTIO_GPU_ROCM_MEM_READ_ONLY;
	ret = ctx->thunk->ops->alloc(ctx->thunk, mem->home, size);
	if (ret)
		goto err;
	mem->block = vcs_arena_alloc(&ctx->arena, size, align);
	if (!mem->block) {
		ctx->thunk->ops->free(ctx->thunk, mem->home, size);
		ret = -ENOMEM;
		goto err;
	}
	mem->block->owner = mem;
	vcs_rocm_announce(ctx, &mem->blob, VCS_ROCM_MEMORY, req->blob_id, size);
	ctx->nr_allocs++;
	rsp->handle = htole64(mem->block->at.addr);
	return 0;
err:
	free(mem);
	return ret;
}

/* Its addresses stay while the guest has the blob. */
static int do_free(struct vcs_rocm *ctx, const struct request *req)
{
	uint64_t addr = le64toh(req->args->addr);
	struct vcs_rocm_memory *mem;
	int ret;

	ret = find(ctx, req, addr, 1, &mem);
	if (ret)
		return ret;
	if (!mem->allocated || addr != mem->block->at.addr)
		return -EINVAL;
	if (vcs_rocm_has_queue(ctx, mem))
		return -EBUSY;
	if (mem->blob.res)
		vcs_rocm_revoke(ctx, mem);
	else
		vcs_rocm_free(ctx, mem);
	return 0;
}

static int map(struct vcs_rocm *ctx, const struct request *req, uint64_t addr,
	       uint64_t size, const uint32_t *nodes, uint32_t nr_nodes,
	       struct virtio_gpu_rocm_memory_rsp *rsp)
{
	const struct vcs_thunk_ops *ops = ctx->thunk->ops;
	struct vcs_rocm_memory *mem;
	uint64_t gpu_addr;
	uint32_t i;
	void *start;
	int ret;

	if (!size)
		return -EINVAL;
	ret = find(ctx, req, addr, size, &mem);
	if (ret)
		return ret;
	if (!mem->registered)
		return -EINVAL;
	start = mem->blob.res->base.win.addr;
	ret = ops->map_to_nodes(ctx->thunk, start, nodes, nr_nodes, &gpu_addr);
	if (ret)
		return ret;
	/* Queues are where both have the same addresses. */
	if (gpu_addr != (uintptr_t)start)
		vcs_rocm_stop_queues(ctx, mem);
	/* The client has put addresses of ALLOC to use before it maps them. */
	if (mem->allocated && gpu_addr != (uintptr_t)start) {
		ops->unmap(ctx->thunk, start);
		mem->nodes = 0;
		return -EOPNOTSUPP;
	}
	for (i = 0; i < nr_nodes; i++)
		mem->nodes |= 1ULL << nodes[i];
	mem->gpu_addr = gpu_addr;
	rsp->alternate_vagpu = htole64(gpu_addr + (addr - (uintptr_t)start));
	return 0;
}

static int do_map_nodes(struct vcs_rocm *ctx, const struct request *req,
			struct virtio_gpu_rocm_memory_rsp *rsp)
{
	uint64_t nr_nodes = le64toh(req->args->map_nodes.num_nodes);
	uint32_t nodes[VCS_THUNK_MAX_NODES], i;

	if (!nr_nodes || nr_nodes > ctx->sys.num_nodes)
		return -EINVAL;
	if (nr_nodes * sizeof(nodes[0]) > req->payload_len)
		return -EBADMSG;
	for (i = 0; i < nr_nodes; i++) {
		nodes[i] = le32toh(req->payload[i]);
		if (nodes[i] >= ctx->sys.num_nodes)
			return -EINVAL;
	}
	return map(ctx, req, le64toh(req->args->map_nodes.addr),
		   le64toh(req->args->map_nodes.size), nodes,
		   (uint32_t)nr_nodes, rsp);
}

static int do_map_gpu(struct vcs_rocm *ctx, const struct request *req,
		      struct virtio_gpu_rocm_memory_rsp *rsp)
{
	if (req->args->map_gpu.create_bo)
		return -EOPNOTSUPP;
	return map(ctx, req, le64toh(req->args->map_gpu.addr),
		   le64toh(req->args->map_gpu.size), ctx->gpus, ctx->nr_gpus,
		   rsp);
}

static int do_unmap(struct vcs_rocm *ctx, const struct request *req)
{
	struct vcs_rocm_memory *mem;
	int ret;

	ret = find(ctx, req, le64toh(req->args->addr), 1, &mem);
	if (ret)
		return ret;
	/* What is not registered is not mapped. */
	if (!mem->registered)
		return 0;
	if (vcs_rocm_has_queue(ctx, mem))
		return -EBUSY;
	ret = ctx->thunk->ops->unmap(ctx->thunk, mem->blob.res->base.win.addr);
	if (!ret)
		mem->nodes = 0;
	return ret;
}

static int do_avail(struct vcs_rocm *ctx, const struct request *req,
		    struct virtio_gpu_rocm_memory_rsp *rsp)
{
	uint64_t bytes = 0;
	int ret;

	ret = ctx->thunk->ops->available(ctx->thunk, le32toh(req->args->node),
					 &bytes);
	rsp->available = htole64(bytes);
	return ret;
}

/* The whole pages: the client maps as much, and adds its offset in the first. */
static int do_register(struct vcs_rocm *ctx, const struct request *req)
{
	uint64_t size = le64toh(req->args->reg.size);
	const struct vcs_window *win;
	struct vcs_rocm_memory *mem;
	bool rdonly;
	int ret;

	if (!size)
		return -EINVAL;
	ret = find(ctx, req, le64toh(req->args->reg.addr), size, &mem);
	if (ret)
		return ret;
	if (mem->allocated)
		return -EINVAL;
	if (mem->registered)
		return -EEXIST;
	win = &mem->blob.res->base.win;
	rdonly = win->rdonly || (le32toh(req->args->reg.flags) &
				 VIRTIO_GPU_ROCM_MEM_READ_ONLY);
	ret = ctx->thunk->ops->register_memory(ctx->thunk, win->addr, win->size,
					       rdonly);
	if (ret)
		return ret;
	mem->registered = true;
	mem->rdonly = rdonly;
	return 0;
}

static int find_resource(struct vcs_rocm *ctx, const struct request *req,
			 struct vcs_rocm_memory **mem)
{
	const struct vcs_rocm_resource *res;

	res = vcs_resources_find(&ctx->resources, req->res_id);
	if (!res)
		return -ENOENT;
	/* The shared blob and what is none are no memory of a GPU. */
	if (!res->blob || res->blob->type != VCS_ROCM_MEMORY)
		return -EINVAL;
	*mem = (struct vcs_rocm_memory *)res->blob;
	return 0;
}

/* The address that clients send beside a resource is the guest's own. */
static int do_deregister(struct vcs_rocm *ctx, const struct request *req)
{
	struct vcs_rocm_memory *mem;
	int ret;

	if (req->res_id)
		ret = find_resource(ctx, req, &mem);
	else
		ret = find(ctx, req, le64toh(req->args->addr), 1, &mem);
	if (ret)
		return ret;
	if (mem->allocated || !mem->registered)
		return -EINVAL;
	if (vcs_rocm_has_queue(ctx, mem))
		return -EBUSY;
	vcs_rocm_revoke(ctx, mem);
	return 0;
}

static int do_map_userptr(struct vcs_rocm *ctx, const struct request *req,
			  struct virtio_gpu_rocm_memory_rsp *rsp)
{
	struct vcs_rocm_memory *mem;
	int ret;

	ret = find_resource(ctx, req, &mem);
	if (ret)
		return ret;
	rsp->handle = htole64(mem->block->at.addr);
	rsp->npfns = htole32((uint32_t)(mem->block->at.size / 4096));
	return 0;
}

static int execute(struct vcs_rocm *ctx, const struct request *req,
		   struct virtio_gpu_rocm_memory_rsp *rsp)
{
	switch (req->type) {
	case VIRTIO_GPU_ROCM_MEMORY_ALLOC:
		return do_alloc(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_MEMORY_MAP_TO_NODES:
		return do_map_nodes(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_MEMORY_FREE:
		return do_free(ctx, req);
	case VIRTIO_GPU_ROCM_MEMORY_UNMAP:
		return do_unmap(ctx, req);
	case VIRTIO_GPU_ROCM_MEMORY_AVAIL:
		return do_avail(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_MEMORY_MAP_TO_GPU:
		return do_map_gpu(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_MEMORY_REGISTER:
		return do_register(ctx, req);
	case VIRTIO_GPU_ROCM_MEMORY_DEREGISTER:
		return do_deregister(ctx, req);
	case VIRTIO_GPU_ROCM_MEMORY_MAP_USERPTR:
		return do_map_userptr(ctx, req, rsp);
	}
	return -EOPNOTSUPP;
}

void vcs_rocm_memory(struct vcs_rocm *ctx, const struct vcs_req *hdr,
		     uint32_t len, const struct vcs_slot *slot)
{
	union {
		struct virtio_gpu_rocm_memory_rsp rsp;
		uint8_t data[VIRTIO_GPU_ROCM_MEMORY_RSP_SIZE];
	} out = { 0 };
	size_t out_len = VIRTIO_GPU_ROCM_MEMORY_RSP_SIZE_2025;
	struct request req;
	int ret;

	if (len >= sizeof(struct virtio_gpu_rocm_memory))
		out_len = sizeof(out);
	ret = parse(hdr, len, &req);
	if (!ret)
		ret = execute(ctx, &req, &out.rsp);
	if (ret)
		vcs_rocm_log("MEMORY", req.type, ret);
	vcs_respond_with(slot, ret, &out, out_len, NULL, 0);
}
