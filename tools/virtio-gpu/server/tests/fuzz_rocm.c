// SPDX-License-Identifier: MIT
/*
 * Fuzz target: what a hostile guest does with a ROCM context
 *
 * The input is a list of steps, each struct step and its bytes: submissions,
 * blobs that come and go, writes to the shared blob. The simulated GPU is behind
 * the context, so memory can get as far as being used. What must hold for any
 * input: no sanitizer report, every submission is taken, and no mapping is left.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_gpu_rocm.h>

#include "fuzz.h"
#include "vcs_context_rocm.h"
#include "vcs_log.h"
#include "vcs_thunk_sim.h"

#define PAGE		4096
#define SHM_ID		255
#define SHM_SIZE	(4 * PAGE)
#define RAM_SIZE	(16 * PAGE)
#define MAPS		1000

enum {
	STEP_SUBMIT,	/* @arg: room for the first response, in units of 8 */
	STEP_USERPTR,	/* @arg: resource; one byte: pages; another: read-only */
	STEP_BLOB,	/* @arg: resource; one byte: blob_id; another: pages */
	STEP_REMOVE,	/* @arg: resource */
	STEP_WRITE,	/* @arg: where in the shared blob, in units of 64 */
	NR_STEPS,
};

struct step {
	uint8_t type;
	uint8_t arg;
	uint8_t len[2];
};

static int ram = -1, ram_rdonly = -1;

static void open_files(void)
{
	char path[64];

	ram = memfd_create("ram", MFD_CLOEXEC);
	if (ram < 0 || ftruncate(ram, RAM_SIZE))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ram);
	ram_rdonly = open(path, O_RDONLY | O_CLOEXEC);
	if (ram_rdonly < 0)
		abort();
}

/* Refused inputs are what this is about. */
void vcs_log(enum vcs_log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

void vcs_log_limited(enum vcs_log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

/* As the worker does it; the address, or NULL if it is refused. */
static uint8_t *add(struct vcs_context *ctx, struct vcs_map_budget *budget,
		    const struct vcs_resource_info *info)
{
	const struct vgpu_run run = { .length = info->size };
	const int *fd = info->flags & VGPU_RES_RDONLY ? &ram_rdonly : &ram;
	struct vcs_window win = { 0 };

	if (!ctx->ops->check_resource(ctx, info) &&
	    !ctx->ops->init_window(ctx, info, &win) &&
	    !vcs_window_append(&win, &run, 1, fd, 1, budget) &&
	    !vcs_window_finish(&win) &&
	    !ctx->ops->add_resource(ctx, info, &win))
		return win.addr;
	vcs_window_unmap(&win, budget);
	return NULL;
}

static void submit(struct vcs_context *ctx, uint8_t *shm, uint8_t arg,
		   const uint8_t *data, size_t len)
{
	struct virtio_gpu_rocm_req req;
	const uint32_t room = arg * 8;
	uint8_t *payload;

	if (len >= sizeof(req)) {
		memcpy(&req, data, sizeof(req));
		if (req.rsp_off % 8 == 0 && req.rsp_off <= SHM_SIZE - 24)
			memcpy(shm + 16 + req.rsp_off, &room, sizeof(room));
	}
	/* As large as it is, so that a read beyond it is seen. */
	payload = malloc(len ? len : 1);
	if (!payload)
		abort();
	memcpy(payload, data, len);
	if (ctx->ops->submit(ctx, payload, len))
		abort();
	free(payload);
}

static void do_step(struct vcs_context *ctx, struct vcs_map_budget *budget,
		    uint8_t *shm, const struct step *step, const uint8_t *data,
		    size_t len)
{
	struct vcs_resource_info info = { .res_id = step->arg };
	size_t at = step->arg * 64;

	switch (step->type % NR_STEPS) {
	case STEP_SUBMIT:
		submit(ctx, shm, step->arg, data, len);
		break;
	case STEP_USERPTR:
		info.size = (len > 0 ? data[0] % 16 : 1) * PAGE;
		info.flags = len > 1 && data[1] & 1 ? VGPU_RES_RDONLY : 0;
		info.blob_id = 1;
		add(ctx, budget, &info);
		break;
	case STEP_BLOB:
		info.size = (len > 1 ? data[1] % 16 : 1) * PAGE;
		info.flags = VGPU_RES_BLOB;
		info.blob_id = len > 0 ? data[0] : 1;
		add(ctx, budget, &info);
		break;
	case STEP_REMOVE:
		if (step->arg != SHM_ID)
			ctx->ops->remove_resource(ctx, step->arg);
		break;
	case STEP_WRITE:
		if (at >= SHM_SIZE)
			break;
		memcpy(shm + at, data, len < SHM_SIZE - at ? len :
		       SHM_SIZE - at);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vcs_limits limits = {
		.max_resources = 16,
		.max_registered = 64 * PAGE,
	};
	const struct vcs_resource_info info = {
		.res_id = SHM_ID,
		.flags = VGPU_RES_BLOB,
		.size = SHM_SIZE,
	};
	struct vcs_map_budget budget = { .left = MAPS, .limit = MAPS };
	struct vcs_stats stats = { 0 };
	struct vcs_context *ctx;
	struct vcs_thunk *thunk;
	struct step step;
	uint8_t *shm;
	size_t len;

	if (ram < 0)
		open_files();
	thunk = vcs_thunk_sim_open();
	ctx = thunk ? vcs_rocm_create(thunk, &limits, true, &stats, &budget) :
	      NULL;
	shm = ctx ? add(ctx, &budget, &info) : NULL;
	if (!shm)
		abort();
	while (size >= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		data += sizeof(step);
		size -= sizeof(step);
		len = step.len[0] | (size_t)step.len[1] << 8;
		if (len > size)
			len = size;
		do_step(ctx, &budget, shm, &step, data, len);
		data += len;
		size -= len;
	}
	ctx->ops->destroy(ctx);
	thunk->ops->close(thunk);
	if (budget.left != MAPS)
		abort();
	return 0;
}
