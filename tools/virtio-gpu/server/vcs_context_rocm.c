// SPDX-License-Identifier: MIT
/*
 * ROCM context: answers the requests of virtio_gpu_rocm.h
 *
 * A resource becomes the GPU's in steps that the guest asks for one by one, and
 * ends in one: the client closes the blob and says nothing else.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcs_context_rocm.h"
#include "vcs_log.h"
#include "vcs_rocm.h"

/* Larger memory begins where a large page can. */
#define LARGE_PAGE	(2ULL << 20)

_Static_assert(sizeof(struct virtio_gpu_rocm_shmem) ==
	       sizeof(struct vcs_shmem_head) &&
	       sizeof(struct virtio_gpu_rocm_req) == sizeof(struct vcs_req) &&
	       sizeof(struct virtio_gpu_rocm_rsp) == sizeof(struct vcs_rsp),
	       "the framing is that of vcs_shmem.h");
_Static_assert(sizeof(struct virtio_gpu_rocm_event) == 104 &&
	       offsetof(struct virtio_gpu_rocm_event, trap.node) == 48 &&
	       offsetof(struct virtio_gpu_rocm_event, type) == 80,
	       "as the clients send it");
_Static_assert(sizeof(struct virtio_gpu_rocm_queue) == 136 &&
	       offsetof(struct virtio_gpu_rocm_queue, create.read_ptr) == 88 &&
	       offsetof(struct virtio_gpu_rocm_queue, update.size) == 48 &&
	       offsetof(struct virtio_gpu_rocm_queue, type) == 124,
	       "as the clients send it");
_Static_assert(sizeof(struct virtio_gpu_rocm_event_rsp) == 80 &&
	       sizeof(struct virtio_gpu_rocm_queue_rsp) == 96,
	       "as the clients take it");

static struct vcs_rocm *to_rocm(struct vcs_context *ctx)
{
	return (struct vcs_rocm *)ctx;
}

/* Resources */

struct vcs_rocm_memory *vcs_rocm_find(const struct vcs_rocm *ctx, uint64_t addr,
				      uint64_t size)
{
	const struct vcs_block *block = vcs_arena_find(&ctx->arena, addr, size);

	return block ? block->owner : NULL;
}

bool vcs_rocm_is_gpu(const struct vcs_rocm *ctx, uint32_t node)
{
	uint32_t i;

	for (i = 0; i < ctx->nr_gpus; i++)
		if (ctx->gpus[i] == node)
			return true;
	return false;
}

struct vcs_rocm_memory *vcs_rocm_find_mapped(const struct vcs_rocm *ctx,
					     uint32_t gpu, uint64_t addr,
					     uint64_t size)
{
	struct vcs_rocm_memory *mem = vcs_rocm_find(ctx, addr, size);

	return mem && (mem->nodes & (1ULL << gpu)) &&
	       mem->gpu_addr == mem->block->at.addr ? mem : NULL;
}

void vcs_rocm_revoke(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem)
{
	const struct vcs_thunk_ops *ops = ctx->thunk->ops;
	void *addr;

	if (!mem->registered)
		return;
	addr = mem->blob.res->base.win.addr;
	if (ops->unmap(ctx->thunk, addr))
		vcs_err("cannot unmap memory from the GPU, unmapping it from the process");
	ops->deregister(ctx->thunk, addr);
	mem->registered = false;
	mem->nodes = 0;
}

void vcs_rocm_free(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem)
{
	if (mem->allocated) {
		vcs_table_remove(&ctx->blobs, mem->blob.node.id);
		ctx->nr_allocs--;
		ctx->thunk->ops->free(ctx->thunk, mem->home, mem->block->at.size);
	}
	vcs_arena_free(&ctx->arena, mem->block);
	free(mem);
}

uint64_t vcs_rocm_page_align(uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) & ~(page - 1);
}

int vcs_rocm_check_blob_id(struct vcs_rocm *ctx, uint64_t blob_id)
{
	if (!blob_id || blob_id > UINT32_MAX)
		return -EINVAL;
	return vcs_table_find(&ctx->blobs, (uint32_t)blob_id) ? -EEXIST : 0;
}

void vcs_rocm_announce(struct vcs_rocm *ctx, struct vcs_rocm_blob *blob,
		       enum vcs_rocm_blob_type type, uint64_t blob_id,
		       uint64_t size)
{
	blob->node.id = (uint32_t)blob_id;
	blob->type = type;
	blob->size = vcs_rocm_page_align(size);
	vcs_table_add(&ctx->blobs, &blob->node);
}

static void free_blob(struct vcs_rocm *ctx, struct vcs_rocm_blob *blob)
{
	switch (blob->type) {
	case VCS_ROCM_MEMORY:
		vcs_rocm_free(ctx, (struct vcs_rocm_memory *)blob);
		break;
	case VCS_ROCM_QUEUE:
		vcs_rocm_free_queue(ctx, (struct vcs_rocm_queue *)blob);
		break;
	case VCS_ROCM_DOORBELLS:
		vcs_rocm_free_doorbells(ctx, (struct vcs_rocm_doorbells *)blob);
		break;
	case VCS_ROCM_EVENT:
		vcs_rocm_free_event(ctx, (struct vcs_rocm_event *)blob);
		break;
	}
}

/*
 * Queues in the memory end first, then the thunk lets go of it, then the pages
 * are unmapped, which revokes.
 */
static void free_resource(struct vcs_rocm *ctx, struct vcs_rocm_resource *res)
{
	struct vcs_rocm_blob *blob = res->blob;

	if (!blob) {
		ctx->shmem.addr = NULL;
	} else if (blob->type == VCS_ROCM_MEMORY) {
		vcs_rocm_stop_queues(ctx, (struct vcs_rocm_memory *)blob);
		vcs_rocm_revoke(ctx, (struct vcs_rocm_memory *)blob);
	}
	vcs_resources_free(&ctx->resources, &res->base);
	if (blob)
		free_blob(ctx, blob);
}

/* Of a window that was begun and did not become a resource. */
static void drop_begun(struct vcs_rocm *ctx)
{
	if (ctx->begun)
		vcs_arena_free(&ctx->arena, ctx->begun);
	ctx->begun = NULL;
}

static void destroy(struct vcs_context *base)
{
	struct vcs_rocm *ctx = to_rocm(base);
	struct vcs_rocm_resource *res;
	struct vcs_rocm_blob *blob;

	vcs_rocm_stop_queues(ctx, NULL);
	while ((res = vcs_resources_pop(&ctx->resources)))
		free_resource(ctx, res);
	while ((blob = vcs_table_pop(&ctx->blobs)))
		free_blob(ctx, blob);
	drop_begun(ctx);
	vcs_arena_destroy(&ctx->arena);
	free(ctx);
}

static bool is_shmem(const struct vcs_resource_info *info)
{
	return (info->flags & VGPU_RES_BLOB) &&
	       info->blob_id == VIRTIO_GPU_ROCM_SHMEM_BLOB_ID;
}

/* What a request has announced; NULL: nothing, or not a blob. */
static struct vcs_rocm_blob *find_blob(struct vcs_rocm *ctx,
				       const struct vcs_resource_info *info)
{
	if (!(info->flags & VGPU_RES_BLOB) || info->blob_id > UINT32_MAX)
		return NULL;
	return vcs_table_find(&ctx->blobs, (uint32_t)info->blob_id);
}

/* What stands for something that is no memory is not kept mapped. */
static bool is_token(const struct vcs_rocm_blob *blob)
{
	return blob && blob->type != VCS_ROCM_MEMORY;
}

static int check_resource(struct vcs_context *base,
			  const struct vcs_resource_info *info)
{
	struct vcs_rocm *ctx = to_rocm(base);
	const struct vcs_rocm_blob *blob = find_blob(ctx, info);
	int ret;

	ret = vcs_resources_check(&ctx->resources, info->res_id,
				  is_token(blob) ? 0 : info->size);
	if (ret)
		return ret;
	if (!(info->flags & VGPU_RES_BLOB))
		return 0;
	if (info->flags & VGPU_RES_RDONLY)
		return -EINVAL;
	if (is_shmem(info)) {
		if (info->size < VIRTIO_GPU_ROCM_SHMEM_MIN_SIZE)
			return -EINVAL;
		return ctx->shmem.addr ? -EEXIST : 0;
	}
	if (!blob)
		return -ENOENT;
	if (blob->res)
		return -EEXIST;
	return info->size == blob->size ? 0 : -EINVAL;
}

static int init_window(struct vcs_context *base,
		       const struct vcs_resource_info *info,
		       struct vcs_window *win)
{
	struct vcs_rocm *ctx = to_rocm(base);
	const struct vcs_rocm_blob *blob;
	const struct vcs_block *block;

	drop_begun(ctx);
	blob = find_blob(ctx, info);
	if (is_shmem(info) || is_token(blob))
		return vcs_window_init(win, info->size, false);
	if (blob) {
		block = ((const struct vcs_rocm_memory *)blob)->block;
	} else {
		ctx->begun = vcs_arena_alloc(&ctx->arena, info->size,
					     info->size < LARGE_PAGE ? 1 :
					     LARGE_PAGE);
		if (!ctx->begun)
			return info->size ? -ENOMEM : -EINVAL;
		block = ctx->begun;
	}
	return vcs_window_init_at(win, (void *)(uintptr_t)block->at.addr,
				  info->size, info->flags & VGPU_RES_RDONLY);
}

/* The blob of an ALLOC: the GPU's from the beginning, if not mapped yet. */
static int add_allocated(struct vcs_rocm *ctx, struct vcs_rocm_memory *mem,
			 const struct vcs_window *win)
{
	int ret;

	ret = ctx->thunk->ops->register_memory(ctx->thunk, win->addr, win->size,
					       mem->rdonly);
	if (!ret)
		mem->registered = true;
	return ret;
}

static struct vcs_rocm_blob *add_userptr(struct vcs_rocm *ctx)
{
	struct vcs_rocm_memory *mem = calloc(1, sizeof(*mem));

	if (!mem)
		return NULL;
	mem->blob.type = VCS_ROCM_MEMORY;
	mem->blob.size = ctx->begun->at.size;
	mem->block = ctx->begun;
	mem->block->owner = mem;
	ctx->begun = NULL;
	return &mem->blob;
}

static int add_resource(struct vcs_context *base,
			const struct vcs_resource_info *info,
			const struct vcs_window *win)
{
	struct vcs_rocm *ctx = to_rocm(base);
	struct vcs_rocm_blob *blob = NULL;
	struct vcs_rocm_resource *res;
	struct vcs_window kept = *win;
	int ret = 0;

	res = calloc(1, sizeof(*res));
	if (!res)
		return -ENOMEM;
	if (is_shmem(info)) {
		vcs_shmem_init(&ctx->shmem, win,
			       sizeof(struct virtio_gpu_rocm_shmem));
	} else {
		blob = find_blob(ctx, info);
		if (!blob) {
			blob = add_userptr(ctx);
			ret = blob ? 0 : -ENOMEM;
		} else if (!is_token(blob)) {
			ret = add_allocated(ctx, (struct vcs_rocm_memory *)blob,
					    win);
		}
		if (ret) {
			free(res);
			return ret;
		}
		res->blob = blob;
		blob->res = res;
	}
	if (is_token(blob))
		vcs_window_unmap(&kept, ctx->resources.budget);
	vcs_resources_add(&ctx->resources, &res->base, info->res_id, &kept);
	return 0;
}

static bool is_doorbells(struct vcs_context *base, uint32_t res_id)
{
	struct vcs_rocm *ctx = to_rocm(base);
	const struct vcs_rocm_resource *res;

	res = vcs_resources_find(&ctx->resources, res_id);
	return res && res->blob && res->blob->type == VCS_ROCM_DOORBELLS;
}

static int doorbell(struct vcs_context *base, const struct vcs_doorbell *bell)
{
	return vcs_rocm_ring(to_rocm(base), bell);
}

static int remove_resource(struct vcs_context *base, uint32_t res_id)
{
	struct vcs_rocm *ctx = to_rocm(base);
	struct vcs_rocm_resource *res;

	res = vcs_resources_remove(&ctx->resources, res_id);
	if (!res)
		return -ENOENT;
	free_resource(ctx, res);
	return 0;
}

/* Requests */

void vcs_rocm_log(const char *what, uint32_t type, int error)
{
	vcs_log_guest("%s of type %u refused: %s", what, type,
		      strerror(-error));
}

static int sim_access(struct vcs_rocm *ctx,
		      const struct virtio_gpu_rocm_sim_access *req,
		      uint32_t len, uint64_t *checksum)
{
	struct vcs_thunk_access access;
	uint32_t op;
	int ret;

	if (!ctx->thunk->ops->access)
		return -EOPNOTSUPP;
	if (len != sizeof(*req))
		return -EBADMSG;
	op = le32toh(req->op);
	if (op > VIRTIO_GPU_ROCM_SIM_FILL)
		return -EINVAL;
	access = (struct vcs_thunk_access) {
		.node = le32toh(req->node),
		.fill = op == VIRTIO_GPU_ROCM_SIM_FILL,
		.value = (uint8_t)le64toh(req->value),
		.addr = le64toh(req->addr),
		.size = le64toh(req->size),
	};
	ret = ctx->thunk->ops->access(ctx->thunk, &access);
	*checksum = access.checksum;
	return ret;
}

static void do_sim_access(struct vcs_rocm *ctx, const struct vcs_req *req,
			  uint32_t len, const struct vcs_slot *slot)
{
	struct virtio_gpu_rocm_sim_access_rsp rsp = { 0 };
	uint64_t checksum = 0;
	int ret;

	ret = sim_access(ctx, (const void *)req, len, &checksum);
	rsp.checksum = htole64(checksum);
	vcs_respond_with(slot, ret, &rsp, sizeof(rsp), NULL, 0);
}

static void execute(void *arg, const struct vcs_req *req, uint32_t len,
		    const struct vcs_slot *slot)
{
	uint32_t cmd = le32toh(req->cmd);
	struct vcs_rocm *ctx = arg;

	switch (cmd) {
	case VIRTIO_GPU_ROCM_NOP:
		vcs_respond(slot, 0);
		break;
	case VIRTIO_GPU_ROCM_QUERY:
		vcs_rocm_query(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_ROCM_EVENT:
		vcs_rocm_event(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_ROCM_MEMORY:
		vcs_rocm_memory(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_ROCM_QUEUE:
		vcs_rocm_queue(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_ROCM_SIM_ACCESS:
		do_sim_access(ctx, req, len, slot);
		break;
	default:
		vcs_log_guest("command %u refused: %s", cmd,
			      strerror(EOPNOTSUPP));
		vcs_respond(slot, -EOPNOTSUPP);
		break;
	}
}

static int submit(struct vcs_context *base, const uint8_t *payload, size_t len)
{
	struct vcs_rocm *ctx = to_rocm(base);
	int ret;

	if (!ctx->shmem.addr)
		return -EINVAL;
	ret = vcs_shmem_execute(&ctx->shmem, ctx->resources.stats, payload, len,
				execute, ctx);
	if (ret)
		vcs_log_guest("submission of %zu bytes: %s", len,
			      ret == -EINVAL ? "a response has no place" :
			      "its lengths are wrong");
	return 0;
}

static int run(struct vcs_context *base)
{
	struct vcs_rocm *ctx = to_rocm(base);
	int error = 0, ms;

	if (!ctx->thunk->ops->run)
		return -1;
	ms = ctx->thunk->ops->run(ctx->thunk, &error);
	if (error && ctx->shmem.addr)
		vcs_shmem_set_error(&ctx->shmem, error);
	return ms;
}

static const struct vcs_context_ops rocm_ops = {
	.check_resource = check_resource,
	.init_window = init_window,
	.add_resource = add_resource,
	.remove_resource = remove_resource,
	.submit = submit,
	.is_doorbells = is_doorbells,
	.doorbell = doorbell,
	.run = run,
	.destroy = destroy,
};

static int find_nodes(struct vcs_rocm *ctx)
{
	const struct vcs_thunk_ops *ops = ctx->thunk->ops;
	uint32_t i;
	int ret;

	ret = ops->system(ctx->thunk, &ctx->sys);
	if (ret)
		return ret;
	if (ctx->sys.num_nodes > VCS_THUNK_MAX_NODES)
		return -E2BIG;
	for (i = 0; i < ctx->sys.num_nodes; i++) {
		struct vcs_thunk_node node = { 0 };

		ret = ops->node(ctx->thunk, i, &node);
		if (ret)
			return ret;
		if (node.num_fcompute_cores)
			ctx->gpus[ctx->nr_gpus++] = i;
	}
	return 0;
}

struct vcs_context *vcs_rocm_create(struct vcs_thunk *thunk,
				    const struct vcs_limits *limits,
				    bool doorbells, struct vcs_stats *stats,
				    struct vcs_map_budget *budget)
{
	struct vcs_rocm *ctx = calloc(1, sizeof(*ctx));
	int ret;

	if (!ctx)
		return NULL;
	ctx->base.ops = &rocm_ops;
	ctx->thunk = thunk;
	ctx->has_doorbells = doorbells;
	vcs_resources_init(&ctx->resources, limits, stats, budget);
	ret = find_nodes(ctx);
	if (ret) {
		vcs_err("the %s thunk does not tell its nodes: %s",
			thunk->ops->name, strerror(-ret));
		goto err;
	}
	ret = vcs_arena_init(&ctx->arena);
	if (ret) {
		vcs_err("cannot reserve the GPU's addresses: %s",
			strerror(-ret));
		goto err;
	}
	return &ctx->base;
err:
	free(ctx);
	return NULL;
}
