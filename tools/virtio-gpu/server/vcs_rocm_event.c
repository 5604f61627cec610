// SPDX-License-Identifier: MIT
/*
 * EVENT requests of the ROCM context
 *
 * Events are flags that the guest sets and asks for. The GPU has no way to
 * signal them, and the clients none to wait for them: they look at the memory of
 * a signal instead.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_rocm.h"

/* HSA_EVENTTYPE_SIGNAL; others are of what happens to nodes and memory. */
#define TYPE_SIGNAL	0

/* What the clients keep of an event, and make a blob of. */
#define BLOB_SIZE	(sizeof(struct virtio_gpu_rocm_event_rsp) - \
			 sizeof(struct virtio_gpu_rocm_rsp))

/**
 * struct vcs_rocm_event - an event
 * @blob: announced by CREATE
 * @destroyed: only the blob is left of it
 * @manual_reset: it stays signaled when it was asked for
 * @signaled: its state
 */
struct vcs_rocm_event {
	struct vcs_rocm_blob blob;
	bool destroyed;
	bool manual_reset;
	bool signaled;
};

void vcs_rocm_free_event(struct vcs_rocm *ctx, struct vcs_rocm_event *event)
{
	vcs_table_remove(&ctx->blobs, event->blob.node.id);
	ctx->nr_events--;
	free(event);
}

static int do_create(struct vcs_rocm *ctx,
		     const struct virtio_gpu_rocm_event *req,
		     struct virtio_gpu_rocm_event_rsp *rsp)
{
	uint64_t blob_id = le64toh(req->blob_id);
	struct vcs_rocm_event *event;
	int ret;

	if (le32toh(req->create.type) != TYPE_SIGNAL)
		return -EOPNOTSUPP;
	ret = vcs_rocm_check_blob_id(ctx, blob_id);
	if (ret)
		return ret;
	if (ctx->nr_events >= VCS_ROCM_MAX_EVENTS) {
		vcs_log_guest("there are %u events", ctx->nr_events);
		return -E2BIG;
	}
	event = calloc(1, sizeof(*event));
	if (!event)
		return -ENOMEM;
	event->manual_reset = req->create.manual_reset;
	event->signaled = req->create.signaled;
	vcs_rocm_announce(ctx, &event->blob, VCS_ROCM_EVENT, blob_id,
			  BLOB_SIZE);
	ctx->nr_events++;
	/* As with queues: an id, and no pointer. */
	rsp->event.id = htole32(event->blob.node.id);
	rsp->event_handle = htole64(event->blob.node.id);
	return 0;
}

/* Clients name the resource as well: what is named must fit. */
static int find(struct vcs_rocm *ctx, const struct virtio_gpu_rocm_event *req,
		struct vcs_rocm_event **event)
{
	uint32_t res_id = le32toh(req->res_id);
	struct vcs_rocm_blob *blob;

	blob = vcs_table_find(&ctx->blobs, le32toh(req->event.id));
	if (!blob || blob->type != VCS_ROCM_EVENT)
		return -ENOENT;
	*event = (struct vcs_rocm_event *)blob;
	if ((*event)->destroyed)
		return -ENOENT;
	if (res_id && (!blob->res || blob->res->base.node.id != res_id))
		return -EINVAL;
	return 0;
}

static int query_state(struct vcs_rocm_event *event)
{
	if (!event->signaled)
		return -ETIMEDOUT;
	event->signaled = event->manual_reset;
	return 0;
}

/*
 * What the trap handler is or uses must be there for the GPU to see. A guest that
 * takes it away later has a handler that faults, as without a VM: the addresses
 * are those of its context alone.
 */
static bool is_trap_memory(const struct vcs_rocm *ctx, uint32_t node,
			   uint64_t addr, uint64_t size)
{
	if (!size)
		return !addr;
	return vcs_rocm_find_mapped(ctx, node, addr, size);
}

static int set_trap(struct vcs_rocm *ctx,
		    const struct virtio_gpu_rocm_event *req)
{
	const struct vcs_thunk_trap trap = {
		.handler = le64toh(req->trap.handler),
		.handler_size = le64toh(req->trap.handler_size),
		.buffer = le64toh(req->trap.buffer),
		.buffer_size = le64toh(req->trap.buffer_size),
	};
	uint32_t node = le32toh(req->trap.node);

	if (!vcs_rocm_is_gpu(ctx, node))
		return -EINVAL;
	if (!is_trap_memory(ctx, node, trap.handler, trap.handler_size) ||
	    !is_trap_memory(ctx, node, trap.buffer, trap.buffer_size))
		return -EFAULT;
	return ctx->thunk->ops->set_trap(ctx->thunk, node, &trap);
}

static int execute(struct vcs_rocm *ctx,
		   const struct virtio_gpu_rocm_event *req,
		   struct virtio_gpu_rocm_event_rsp *rsp)
{
	uint32_t type = le32toh(req->type);
	struct vcs_rocm_event *event;
	int ret;

	switch (type) {
	case VIRTIO_GPU_ROCM_EVENT_CREATE:
		return do_create(ctx, req, rsp);
	case VIRTIO_GPU_ROCM_EVENT_SET_TRAP:
		return set_trap(ctx, req);
	case VIRTIO_GPU_ROCM_EVENT_DESTROY:
	case VIRTIO_GPU_ROCM_EVENT_SET:
	case VIRTIO_GPU_ROCM_EVENT_RESET:
	case VIRTIO_GPU_ROCM_EVENT_QUERY_STATE:
		break;
	default:
		/* Nor can the clients wait. */
		return -EOPNOTSUPP;
	}
	ret = find(ctx, req, &event);
	if (ret)
		return ret;
	if (type == VIRTIO_GPU_ROCM_EVENT_QUERY_STATE)
		return query_state(event);
	if (type != VIRTIO_GPU_ROCM_EVENT_DESTROY)
		event->signaled = type == VIRTIO_GPU_ROCM_EVENT_SET;
	else if (event->blob.res)
		event->destroyed = true;
	else
		vcs_rocm_free_event(ctx, event);
	return 0;
}

void vcs_rocm_event(struct vcs_rocm *ctx, const struct vcs_req *hdr,
		    uint32_t len, const struct vcs_slot *slot)
{
	const struct virtio_gpu_rocm_event *req = (const void *)hdr;
	struct virtio_gpu_rocm_event_rsp rsp = { 0 };
	uint32_t type = UINT32_MAX;
	int ret = -EBADMSG;

	if (len >= sizeof(*req)) {
		type = le32toh(req->type);
		ret = execute(ctx, req, &rsp);
	}
	/* That it is not signaled is an answer. */
	if (ret && ret != -ETIMEDOUT)
		vcs_rocm_log("EVENT", type, ret);
	vcs_respond_with(slot, ret, &rsp, sizeof(rsp), NULL, 0);
}
