// SPDX-License-Identifier: MIT
/*
 * Worker: one context's connection with QEMU
 *
 * Requests are executed one after another and answered in order, a submission
 * when its kernels have finished. So a resource that is unmapped is never in
 * use, by construction.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcs_context.h"
#include "vcs_log.h"
#include "vcs_msg.h"
#include "vcs_worker.h"

/**
 * struct request - a request whose fragments come one by one
 * @more: the next message belongs to it
 * @error: it has failed; what is still to come is dropped
 * @hdr: type and serial of its first fragment
 * @info: RES_MAP: what all fragments repeat
 * @win: RES_MAP: the window, mapped so far
 * @nr_runs: RES_MAP: runs so far
 * @total: SUBMIT: bytes that all fragments add up to
 * @len: SUBMIT: bytes so far
 */
struct request {
	bool more;
	int error;
	struct vgpu_msg_hdr hdr;
	struct vcs_resource_info info;
	struct vcs_window win;
	uint64_t nr_runs;
	uint32_t total;
	uint32_t len;
};

struct worker {
	int sock;
	struct vcs_context *ctx;
	struct vcs_map_budget *budget;
	struct request req;
	struct vcs_msg msg;
	uint8_t payload[VGPU_PROTO_MAX_SUBMIT] __attribute__((aligned(8)));
};

static int done(struct worker *w, int error, uint32_t flags)
{
	return vcs_msg_send_done(w->sock, VGPU_MSG_DONE, w->req.hdr.serial,
				 error, flags, -1);
}

static int begin_res_map(struct worker *w)
{
	const struct vgpu_msg_res_map *map = &w->msg.res_map;
	struct request *req = &w->req;
	int ret;

	req->info = (struct vcs_resource_info) {
		.res_id = map->res_id,
		.flags = map->flags,
		.blob_id = map->blob_id,
		.size = map->size,
	};
	req->nr_runs = 0;
	ret = w->ctx->ops->check_resource(w->ctx, &req->info);
	if (ret)
		return ret;
	if (w->ctx->ops->init_window)
		return w->ctx->ops->init_window(w->ctx, &req->info, &req->win);
	return vcs_window_init(&req->win, map->size,
			       map->flags & VGPU_RES_RDONLY);
}

static int end_res_map(struct worker *w)
{
	struct request *req = &w->req;
	int ret;

	if ((req->info.flags & VGPU_RES_BLOB) && req->nr_runs != 1)
		return -EINVAL;
	ret = vcs_window_finish(&req->win);
	if (ret)
		return ret;
	ret = w->ctx->ops->add_resource(w->ctx, &req->info, &req->win);
	if (!ret)
		memset(&req->win, 0, sizeof(req->win));
	return ret;
}

static bool is_doorbells(const struct worker *w)
{
	const struct vcs_context_ops *ops = w->ctx->ops;

	return ops->is_doorbells &&
	       ops->is_doorbells(w->ctx, w->req.info.res_id);
}

/* Every fragment is mapped as it comes, so its descriptors are closed at once. */
static int do_res_map(struct worker *w, bool first)
{
	const struct vgpu_msg_res_map *map = &w->msg.res_map;
	struct request *req = &w->req;

	if (first)
		req->error = begin_res_map(w);
	else if (map->res_id != req->info.res_id ||
		 map->flags != req->info.flags ||
		 map->blob_id != req->info.blob_id ||
		 map->size != req->info.size)
		return -EBADMSG;

	if (!req->error)
		req->error = vcs_window_append(&req->win, map->runs,
					       map->nr_runs, w->msg.fds,
					       w->msg.nr_fds, w->budget);
	vcs_msg_close_fds(&w->msg);
	req->nr_runs += map->nr_runs;

	if (!req->more && !req->error)
		req->error = end_res_map(w);
	if (req->error) {
		/* Not only at the end: there may be no other fragment. */
		vcs_window_unmap(&req->win, w->budget);
	}
	if (req->more)
		return 0;
	if (req->error)
		vcs_log_guest("resource %u of %llu bytes refused: %s",
			      req->info.res_id,
			      (unsigned long long)req->info.size,
			      strerror(-req->error));
	return done(w, req->error, !req->error && is_doorbells(w) ?
		    VGPU_DONE_DOORBELLS : 0);
}

static int do_submit(struct worker *w, bool first)
{
	const struct vgpu_msg_submit *submit = &w->msg.submit;
	size_t len = w->msg.len - sizeof(*submit);
	struct request *req = &w->req;

	if (first) {
		req->total = submit->total;
		req->len = 0;
		req->error = req->total > sizeof(w->payload) ? -E2BIG : 0;
	} else if (submit->total != req->total) {
		return -EBADMSG;
	}
	if (len > req->total - req->len)
		return -EBADMSG;
	if (!req->error)
		memcpy(w->payload + req->len, submit->payload, len);
	req->len += (uint32_t)len;

	if (req->more)
		return 0;
	if (req->len != req->total)
		return -EBADMSG;
	if (!req->error)
		req->error = w->ctx->ops->submit(w->ctx, w->payload,
						  req->len);
	return done(w, req->error, 0);
}

/* Not answered: a store of the guest does not wait. */
static int do_doorbell(struct worker *w)
{
	const struct vgpu_msg_doorbell *msg = &w->msg.doorbell;
	const struct vcs_doorbell bell = {
		.res_id = msg->res_id,
		.offset = msg->offset,
		.size = msg->size,
		.value = msg->value,
	};

	if (!w->ctx->ops->doorbell)
		return -EBADMSG;
	return w->ctx->ops->doorbell(w->ctx, &bell);
}

static int do_message(struct worker *w)
{
	const struct vgpu_msg_hdr *hdr = &w->msg.hdr;
	struct request *req = &w->req;
	bool first = !req->more;
	int ret;

	ret = vcs_msg_check_context(&w->msg);
	if (ret)
		return ret;
	if (first)
		req->hdr = *hdr;
	else if (hdr->type != req->hdr.type || hdr->serial != req->hdr.serial)
		return -EBADMSG;
	req->more = hdr->flags & VGPU_MSG_F_MORE;

	switch (hdr->type) {
	case VGPU_MSG_RES_MAP:
		return do_res_map(w, first);
	case VGPU_MSG_SUBMIT:
		return do_submit(w, first);
	case VGPU_MSG_DOORBELL:
		return do_doorbell(w);
	default:	/* RES_UNMAP, as checked */
		ret = w->ctx->ops->remove_resource(w->ctx,
						   w->msg.res_unmap.res_id);
		return done(w, ret, 0);
	}
}

/* What QEMU says comes first: a context that is busy with itself is no deaf one. */
static int wait_for_message(struct worker *w)
{
	struct pollfd pfd = { .fd = w->sock, .events = POLLIN };
	int n;

	if (!w->ctx->ops->run)
		return 0;
	do {
		n = poll(&pfd, 1, w->ctx->ops->run(w->ctx));
	} while (!n || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int vcs_worker_serve(int sock, struct vcs_context *ctx,
		     struct vcs_map_budget *budget)
{
	struct worker *w;
	int ret;

	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->sock = sock;
	w->ctx = ctx;
	w->budget = budget;

	while (!(ret = wait_for_message(w)) &&
	       (ret = vcs_msg_recv_packet(sock, &w->msg)) > 0) {
		ret = do_message(w);
		vcs_msg_close_fds(&w->msg);
		if (ret)
			break;
	}
	/* QEMU may close it while an answer is under way. */
	if (ret == -EPIPE || ret == -ECONNRESET)
		ret = 0;
	if (ret)
		vcs_err("connection with QEMU: %s", strerror(-ret));

	vcs_window_unmap(&w->req.win, budget);
	free(w);
	return ret;
}
