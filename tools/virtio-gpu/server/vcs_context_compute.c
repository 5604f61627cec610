// SPDX-License-Identifier: MIT
/*
 * COMPUTE context: executes the requests of virtio_gpu_compute.h
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_gpu_compute.h>

#include "vcs_context_compute.h"
#include "vcs_log.h"
#include "vcs_resources.h"
#include "vcs_shmem.h"
#include "vcs_table.h"

/**
 * struct resource - memory that the guest has registered
 * @base: what every resource has
 * @buf: the backend's object over it, NULL for the shared blob
 */
struct resource {
	struct vcs_resource base;
	struct vcs_buffer *buf;
};

struct program {
	struct vcs_node node;
	struct vcs_program *prog;
};

struct vcs_compute {
	struct vcs_context base;
	struct vcs_backend *be;
	struct vcs_device_info info;
	struct vcs_resources resources;
	struct vcs_table programs;
	struct vcs_shmem shmem;
};

_Static_assert(sizeof(struct virtio_gpu_compute_shmem) ==
	       sizeof(struct vcs_shmem_head) &&
	       sizeof(struct virtio_gpu_compute_req) ==
	       sizeof(struct vcs_req) &&
	       sizeof(struct virtio_gpu_compute_rsp) == sizeof(struct vcs_rsp),
	       "the framing is that of vcs_shmem.h");

static struct vcs_compute *to_compute(struct vcs_context *ctx)
{
	return (struct vcs_compute *)ctx;
}

static void free_resource(struct vcs_compute *ctx, struct resource *res)
{
	if (res->buf)
		ctx->be->ops->release(ctx->be, res->buf);
	if (res->base.win.addr == ctx->shmem.addr)
		ctx->shmem.addr = NULL;
	vcs_resources_free(&ctx->resources, &res->base);
}

static void destroy(struct vcs_context *base)
{
	struct vcs_compute *ctx = to_compute(base);
	struct resource *res;
	struct program *prog;

	while ((prog = vcs_table_pop(&ctx->programs))) {
		ctx->be->ops->release_program(ctx->be, prog->prog);
		free(prog);
	}
	while ((res = vcs_resources_pop(&ctx->resources)))
		free_resource(ctx, res);
	free(ctx);
}

static int check_resource(struct vcs_context *base,
			  const struct vcs_resource_info *info)
{
	struct vcs_compute *ctx = to_compute(base);
	int ret;

	ret = vcs_resources_check(&ctx->resources, info->res_id, info->size);
	if (ret)
		return ret;
	if (info->flags & VGPU_RES_BLOB) {
		if ((info->flags & VGPU_RES_RDONLY) ||
		    info->blob_id != VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID ||
		    info->size < VIRTIO_GPU_COMPUTE_SHMEM_MIN_SIZE)
			return -EINVAL;
		if (ctx->shmem.addr)
			return -EEXIST;
	} else if (info->size > ctx->info.max_alloc) {
		return -E2BIG;
	}
	return 0;
}

static int add_resource(struct vcs_context *base,
			const struct vcs_resource_info *info,
			const struct vcs_window *win)
{
	struct vcs_compute *ctx = to_compute(base);
	struct resource *res;
	int ret;

	res = calloc(1, sizeof(*res));
	if (!res)
		return -ENOMEM;
	if (info->flags & VGPU_RES_BLOB) {
		vcs_shmem_init(&ctx->shmem, win, 0);
	} else {
		ret = ctx->be->ops->import(ctx->be, win, &res->buf);
		if (ret) {
			free(res);
			return ret;
		}
	}
	vcs_resources_add(&ctx->resources, &res->base, info->res_id, win);
	return 0;
}

static int remove_resource(struct vcs_context *base, uint32_t res_id)
{
	struct vcs_compute *ctx = to_compute(base);
	struct resource *res = vcs_resources_remove(&ctx->resources, res_id);

	if (!res)
		return -ENOENT;
	free_resource(ctx, res);
	return 0;
}

/* Requests: each one answers, whatever happens */

/* Is a request of @len bytes @need bytes, padded to a multiple of 8? */
static bool is_padded(uint32_t len, uint64_t need)
{
	return len == ((need + 7) & ~7ULL);
}

static void do_nop(const struct virtio_gpu_compute_req *req, uint32_t len,
		   const struct vcs_slot *slot)
{
	vcs_respond(slot, len == sizeof(*req) ? 0 : -EBADMSG);
}

static void do_query(struct vcs_compute *ctx,
		     const struct virtio_gpu_compute_req *req, uint32_t len,
		     const struct vcs_slot *slot)
{
	const struct vcs_device_info *info = &ctx->info;
	struct virtio_gpu_compute_query_rsp rsp = {
		.compute_units = htole32(info->compute_units),
		.max_clock_mhz = htole32(info->max_clock_mhz),
		.max_work_group = htole32(info->max_work_group),
		.max_work_item = {
			htole32(info->max_work_item[0]),
			htole32(info->max_work_item[1]),
			htole32(info->max_work_item[2]),
		},
		.offset_align = htole32(info->offset_align),
		.global_mem = htole64(info->global_mem),
		.max_alloc = htole64(info->max_alloc),
		.local_mem = htole64(info->local_mem),
	};

	if (len != sizeof(*req)) {
		vcs_respond(slot, -EBADMSG);
		return;
	}
	_Static_assert(sizeof(rsp.device) == sizeof(info->device) &&
		       sizeof(rsp.platform) == sizeof(info->platform),
		       "names of one size on both sides");
	memcpy(rsp.device, info->device, sizeof(rsp.device));
	memcpy(rsp.platform, info->platform, sizeof(rsp.platform));
	snprintf(rsp.backend, sizeof(rsp.backend), "%s", ctx->be->ops->name);
	vcs_respond_with(slot, 0, &rsp, sizeof(rsp), NULL, 0);
}

static int add_program(struct vcs_compute *ctx, uint32_t id, const char *source,
		       size_t source_len, const char *options,
		       struct vcs_build_log *log)
{
	struct program *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	p->node.id = id;
	ret = ctx->be->ops->build(ctx->be, source, source_len, options,
				  &p->prog, log);
	if (ret) {
		free(p);
		return ret;
	}
	vcs_table_add(&ctx->programs, &p->node);
	vcs_stats_set(&ctx->resources.stats->programs, ctx->programs.count);
	return 0;
}

static int build(struct vcs_compute *ctx,
		 const struct virtio_gpu_compute_build *req, uint32_t len,
		 struct vcs_build_log *log)
{
	uint32_t source_len, options_len, id;
	char *options;
	int ret;

	if (len < sizeof(*req))
		return -EBADMSG;
	id = le32toh(req->program_id);
	source_len = le32toh(req->source_len);
	options_len = le32toh(req->options_len);
	if (!is_padded(len, sizeof(*req) + (uint64_t)source_len + options_len))
		return -EBADMSG;
	if (req->reserved || !id || !source_len)
		return -EINVAL;
	if (vcs_table_find(&ctx->programs, id))
		return -EEXIST;
	if (ctx->programs.count >= ctx->resources.limits->max_programs) {
		vcs_log_guest("there are %u programs; raise --max-programs",
			      ctx->programs.count);
		return -E2BIG;
	}
	if (memchr(req->data + source_len, 0, options_len))
		return -EINVAL;

	options = strndup((const char *)req->data + source_len, options_len);
	if (!options)
		return -ENOMEM;
	ret = add_program(ctx, id, (const char *)req->data, source_len, options,
			  log);
	free(options);
	return ret;
}

static void do_build(struct vcs_compute *ctx,
		     const struct virtio_gpu_compute_req *req, uint32_t len,
		     const struct vcs_slot *slot)
{
	struct virtio_gpu_compute_build_rsp rsp = { 0 };
	struct vcs_build_log log = { 0 };
	int ret;

	ret = build(ctx, (const void *)req, len, &log);
	rsp.log_len = htole32((uint32_t)log.len);
	vcs_respond_with(slot, ret, &rsp, sizeof(rsp), log.text, log.len);
	free(log.text);
}

static int get_buffer_arg(struct vcs_compute *ctx, uint32_t res_id,
			  struct vcs_arg *arg)
{
	struct resource *res = vcs_resources_find(&ctx->resources, res_id);

	if (!res)
		return -ENOENT;
	/* The shared blob is no memory of kernels. */
	if (!res->buf || arg->offset >= res->base.win.size ||
	    arg->offset % ctx->info.offset_align)
		return -EINVAL;
	if (!arg->size)
		arg->size = res->base.win.size - arg->offset;
	if (arg->size > res->base.win.size - arg->offset)
		return -EINVAL;
	arg->type = VCS_ARG_BUFFER;
	arg->buffer = res->buf;
	return 0;
}

static int get_arg(struct vcs_compute *ctx,
		   const struct virtio_gpu_compute_arg *wire,
		   const uint8_t *data, uint32_t data_len, struct vcs_arg *arg)
{
	uint32_t type = le32toh(wire->type);
	uint32_t res_id = le32toh(wire->res_id);

	memset(arg, 0, sizeof(*arg));
	arg->offset = le64toh(wire->offset);
	arg->size = le64toh(wire->size);

	if (type == VIRTIO_GPU_COMPUTE_ARG_RESOURCE)
		return get_buffer_arg(ctx, res_id, arg);
	if (res_id || !arg->size)
		return -EINVAL;

	switch (type) {
	case VIRTIO_GPU_COMPUTE_ARG_BYTES:
		if (arg->offset > data_len ||
		    arg->size > data_len - arg->offset)
			return -EINVAL;
		arg->type = VCS_ARG_BYTES;
		arg->data = data + arg->offset;
		return 0;
	case VIRTIO_GPU_COMPUTE_ARG_LOCAL:
		if (arg->offset || arg->size > ctx->info.local_mem)
			return -EINVAL;
		arg->type = VCS_ARG_LOCAL;
		return 0;
	}
	return -EINVAL;
}

static int get_range(struct vcs_compute *ctx,
		     const struct virtio_gpu_compute_launch *req,
		     struct vcs_launch *launch)
{
	bool choose = !req->local[0] && !req->local[1] && !req->local[2];
	size_t items = 1, group = 1;
	uint32_t i;

	launch->work_dim = le32toh(req->work_dim);
	if (launch->work_dim < 1 || launch->work_dim > 3)
		return -EINVAL;

	for (i = 0; i < 3; i++) {
		uint64_t global = le64toh(req->global[i]);
		uint64_t local = le64toh(req->local[i]);

		if (i >= launch->work_dim) {
			if (global != 1 || local > 1)
				return -EINVAL;
			continue;
		}
		if (!global || global > SIZE_MAX ||
		    __builtin_mul_overflow(items, (size_t)global, &items))
			return -EINVAL;
		launch->global[i] = (size_t)global;
		if (choose)
			continue;
		if (!local || local > ctx->info.max_work_item[i] ||
		    global % local)
			return -EINVAL;
		launch->local[i] = (size_t)local;
		/* Cannot overflow: each is at most 32 bits, checked in turn. */
		group *= launch->local[i];
		if (group > ctx->info.max_work_group)
			return -EINVAL;
	}
	return 0;
}

static int launch(struct vcs_compute *ctx,
		  const struct virtio_gpu_compute_launch *req, uint32_t len,
		  struct vcs_launch_result *result)
{
	struct vcs_arg args[VIRTIO_GPU_COMPUTE_MAX_ARGS];
	struct vcs_launch launch = { .args = args };
	uint32_t nr_args, data_len, i;
	const uint8_t *data;
	struct program *p;
	int ret;

	if (len < sizeof(*req))
		return -EBADMSG;
	nr_args = le32toh(req->nr_args);
	data_len = le32toh(req->data_len);
	if (nr_args > VIRTIO_GPU_COMPUTE_MAX_ARGS)
		return -E2BIG;
	if (!is_padded(len, sizeof(*req) +
		       (uint64_t)nr_args * sizeof(req->args[0]) + data_len))
		return -EBADMSG;
	if (!req->kernel[0] || !memchr(req->kernel, 0, sizeof(req->kernel)))
		return -EINVAL;
	ret = get_range(ctx, req, &launch);
	if (ret)
		return ret;
	p = vcs_table_find(&ctx->programs, le32toh(req->program_id));
	if (!p)
		return -ENOENT;

	data = (const uint8_t *)&req->args[nr_args];
	for (i = 0; i < nr_args; i++) {
		ret = get_arg(ctx, &req->args[i], data, data_len, &args[i]);
		if (ret)
			return ret;
	}
	launch.kernel = req->kernel;
	launch.nr_args = nr_args;
	return ctx->be->ops->launch(ctx->be, p->prog, &launch, result);
}

static void do_launch(struct vcs_compute *ctx,
		      const struct virtio_gpu_compute_req *req, uint32_t len,
		      const struct vcs_slot *slot)
{
	struct vcs_launch_result result = { 0 };
	struct virtio_gpu_compute_launch_rsp rsp;
	int ret;

	ret = launch(ctx, (const void *)req, len, &result);
	if (ret) {
		vcs_respond(slot, ret);
		return;
	}
	rsp.device_ns = htole64(result.device_ns);
	rsp.copied = htole64(result.copied);
	vcs_respond_with(slot, 0, &rsp, sizeof(rsp), NULL, 0);
}

static int release_program(struct vcs_compute *ctx,
			   const struct virtio_gpu_compute_release *req,
			   uint32_t len)
{
	struct program *p;

	if (len != sizeof(*req))
		return -EBADMSG;
	if (req->reserved)
		return -EINVAL;
	p = vcs_table_remove(&ctx->programs, le32toh(req->program_id));
	if (!p)
		return -ENOENT;
	ctx->be->ops->release_program(ctx->be, p->prog);
	free(p);
	vcs_stats_set(&ctx->resources.stats->programs, ctx->programs.count);
	return 0;
}

static void execute(void *arg, const struct vcs_req *hdr, uint32_t len,
		    const struct vcs_slot *slot)
{
	const struct virtio_gpu_compute_req *req = (const void *)hdr;
	struct vcs_compute *ctx = arg;

	switch (le32toh(req->cmd)) {
	case VIRTIO_GPU_COMPUTE_NOP:
		do_nop(req, len, slot);
		break;
	case VIRTIO_GPU_COMPUTE_QUERY:
		do_query(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_COMPUTE_BUILD:
		do_build(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_COMPUTE_LAUNCH:
		do_launch(ctx, req, len, slot);
		break;
	case VIRTIO_GPU_COMPUTE_RELEASE:
		vcs_respond(slot, release_program(ctx, (const void *)req, len));
		break;
	default:
		vcs_respond(slot, -EOPNOTSUPP);
		break;
	}
}

static int submit(struct vcs_context *base, const uint8_t *payload, size_t len)
{
	struct vcs_compute *ctx = to_compute(base);

	if (!ctx->shmem.addr)
		return -EINVAL;
	vcs_shmem_execute(&ctx->shmem, ctx->resources.stats, payload, len,
			  execute, ctx);
	return 0;
}

static const struct vcs_context_ops compute_ops = {
	.check_resource = check_resource,
	.add_resource = add_resource,
	.remove_resource = remove_resource,
	.submit = submit,
	.destroy = destroy,
};

struct vcs_context *vcs_compute_create(struct vcs_backend *be,
				       const struct vcs_limits *limits,
				       struct vcs_stats *stats,
				       struct vcs_map_budget *budget)
{
	struct vcs_compute *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->base.ops = &compute_ops;
	ctx->be = be;
	vcs_resources_init(&ctx->resources, limits, stats, budget);
	if (be->ops->query(be, &ctx->info)) {
		free(ctx);
		return NULL;
	}
	return &ctx->base;
}
