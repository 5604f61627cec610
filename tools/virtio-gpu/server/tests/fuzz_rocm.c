// SPDX-License-Identifier: MIT
/*
 * Fuzz target: what a hostile guest does with a ROCM context
 *
 * The input is a list of steps, each struct fuzz_step and its bytes:
 * submissions, blobs that come and go, doorbells, writes to the shared blob and
 * to the guest's memory, which all windows are the begin of. The simulated GPU
 * is behind the context, so memory can get as far as being used, and packets as
 * far as being taken. What must hold for any input: no sanitizer report, every
 * submission is taken, and no mapping is left.
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
#include "fuzz_rocm.h"
#include "vcs_context_rocm.h"
#include "vcs_log.h"
#include "vcs_thunk_sim.h"

#define PAGE		FUZZ_PAGE
#define SHM_ID		255
#define SHM_SIZE	(4 * PAGE)
#define RAM_SIZE	(FUZZ_PAGES * PAGE)
#define MAPS		1000

/* Packets can write packets: there may be no end. */
#define MAX_TURNS	16

/* Addresses in one submission that earlier answers gave. */
#define MAX_VARS	8

struct var {
	uint8_t at;		/* in units of 8 */
	uint8_t answer;
	uint8_t from;		/* in units of 8 */
	uint64_t more;
};

/**
 * struct run - an input that is being run
 * @ctx: the context
 * @budget: of its mappings
 * @shm: its shared blob
 * @answers: of the submissions
 * @nr: of the next submission
 * @vars: of the next submission
 * @nr_vars: how many
 */
struct run {
	struct vcs_context *ctx;
	struct vcs_map_budget budget;
	uint8_t *shm;
	uint8_t answers[FUZZ_ANSWERS][FUZZ_ANSWER];
	uint8_t nr;
	struct var vars[MAX_VARS];
	unsigned int nr_vars;
};

static int ram = -1, ram_rdonly = -1;
static uint8_t *ram_addr;

static void open_files(void)
{
	char path[64];

	ram = memfd_create("ram", MFD_CLOEXEC);
	if (ram < 0 || ftruncate(ram, RAM_SIZE))
		abort();
	ram_addr = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram,
			0);
	if (ram_addr == MAP_FAILED)
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
static uint8_t *add(struct run *run, const struct vcs_resource_info *info)
{
	const struct vgpu_run runs = { .length = info->size };
	const int *fd = info->flags & VGPU_RES_RDONLY ? &ram_rdonly : &ram;
	struct vcs_context *ctx = run->ctx;
	struct vcs_window win = { 0 };

	if (!ctx->ops->check_resource(ctx, info) &&
	    !ctx->ops->init_window(ctx, info, &win) &&
	    !vcs_window_append(&win, &runs, 1, fd, 1, &run->budget) &&
	    !vcs_window_finish(&win) &&
	    !ctx->ops->add_resource(ctx, info, &win)) {
		/* No guest's own memory, and not what it talks by. */
		if (ctx->ops->is_doorbells(ctx, info->res_id) &&
		    (!info->blob_id || !(info->flags & VGPU_RES_BLOB)))
			abort();
		return win.addr;
	}
	vcs_window_unmap(&win, &run->budget);
	return NULL;
}

/* What earlier answers said, where the steps before want it. */
static void put_vars(struct run *run, uint8_t *payload, size_t len)
{
	const struct var *var;
	uint64_t value;

	for (var = run->vars; var < run->vars + run->nr_vars; var++) {
		if (var->at * 8U + sizeof(value) > len)
			continue;
		memcpy(&value, run->answers[var->answer] +
		       var->from % (FUZZ_ANSWER / 8) * 8, sizeof(value));
		value += var->more;
		memcpy(payload + var->at * 8U, &value, sizeof(value));
	}
	run->nr_vars = 0;
}

static void submit(struct run *run, uint8_t arg, const uint8_t *data,
		   size_t len)
{
	struct virtio_gpu_rocm_req req = { .rsp_off = UINT32_MAX };
	const uint32_t room = arg * 8;
	uint8_t *payload;
	bool answer;

	/* As large as it is, so that a read beyond it is seen. */
	payload = malloc(len ? len : 1);
	if (!payload)
		abort();
	memcpy(payload, data, len);
	put_vars(run, payload, len);
	if (len >= sizeof(req))
		memcpy(&req, payload, sizeof(req));
	answer = req.rsp_off % 8 == 0 && req.rsp_off <= SHM_SIZE - 24;
	if (answer)
		memcpy(run->shm + 16 + req.rsp_off, &room, sizeof(room));
	if (run->ctx->ops->submit(run->ctx, payload, len))
		abort();
	free(payload);
	if (answer && req.rsp_off <= SHM_SIZE - 16 - FUZZ_ANSWER)
		memcpy(run->answers[run->nr], run->shm + 16 + req.rsp_off,
		       FUZZ_ANSWER);
	run->nr++;
}

static void write_memory(struct run *run, size_t at, const uint8_t *data,
			 size_t len)
{
	if (len > RAM_SIZE - at)
		len = RAM_SIZE - at;
	memcpy(ram_addr + at, data, len);
	put_vars(run, ram_addr + at, len);
}

static void ring_doorbell(struct run *run, uint8_t arg, const uint8_t *data,
			  size_t len)
{
	struct vcs_doorbell bell = { .res_id = arg, .size = 8 };

	if (len < 3)
		return;
	if (!data[2])
		bell.size = 4;
	bell.offset = (data[0] | (uint32_t)data[1] << 8) * 4;
	bell.offset -= bell.offset % bell.size;
	bell.value = bell.offset;
	run->ctx->ops->doorbell(run->ctx, &bell);
}

static uint64_t size_of(const uint8_t *low, const uint8_t *high)
{
	return ((low ? *low % FUZZ_PAGES_LOW : 1U) +
		(high ? *high * FUZZ_PAGES_LOW : 0U)) * (uint64_t)PAGE;
}

static void add_var(struct run *run, uint8_t arg, const uint8_t *data,
		    size_t len)
{
	struct var *var = &run->vars[run->nr_vars];

	if (len < 10 || run->nr_vars == MAX_VARS)
		return;
	*var = (struct var){ .at = arg, .answer = data[0], .from = data[1] };
	memcpy(&var->more, data + 2, sizeof(var->more));
	run->nr_vars++;
}

static void do_step(struct run *run, const struct fuzz_step *step,
		    const uint8_t *data, size_t len)
{
	struct vcs_resource_info info = { .res_id = step->arg };
	size_t at = step->arg * 64;
	unsigned int turns;

	switch (step->type % NR_STEPS) {
	case STEP_SUBMIT:
		submit(run, step->arg, data, len);
		break;
	case STEP_USERPTR:
		info.size = size_of(len > 0 ? data : NULL,
				    len > 2 ? data + 2 : NULL);
		info.flags = len > 1 && data[1] & 1 ? VGPU_RES_RDONLY : 0;
		info.blob_id = 1;
		add(run, &info);
		break;
	case STEP_BLOB:
		info.size = size_of(len > 1 ? data + 1 : NULL,
				    len > 2 ? data + 2 : NULL);
		info.flags = VGPU_RES_BLOB;
		info.blob_id = len > 0 ? data[0] : 1;
		add(run, &info);
		break;
	case STEP_REMOVE:
		if (step->arg != SHM_ID)
			run->ctx->ops->remove_resource(run->ctx, step->arg);
		break;
	case STEP_WRITE:
		if (at >= SHM_SIZE)
			break;
		memcpy(run->shm + at, data, len < SHM_SIZE - at ? len :
		       SHM_SIZE - at);
		break;
	case STEP_VAR:
		add_var(run, step->arg, data, len);
		break;
	case STEP_MEMORY:
		write_memory(run, at, data, len);
		break;
	case STEP_DOORBELL:
		ring_doorbell(run, step->arg, data, len);
		break;
	}
	/* As the worker does before the next message. */
	for (turns = 0; turns < MAX_TURNS; turns++)
		if (run->ctx->ops->run(run->ctx))
			break;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vcs_limits limits = {
		.max_resources = 16,
		.max_registered = 1024 * PAGE,
	};
	const struct vcs_resource_info info = {
		.res_id = SHM_ID,
		.flags = VGPU_RES_BLOB,
		.size = SHM_SIZE,
	};
	struct run run = { .budget = { .left = MAPS, .limit = MAPS } };
	struct vcs_stats stats = { 0 };
	struct vcs_thunk *thunk;
	struct fuzz_step step;
	size_t len;

	if (ram < 0)
		open_files();
	/* What the input before has left there is none of this one. */
	if (fallocate(ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      RAM_SIZE))
		abort();
	thunk = vcs_thunk_sim_open();
	run.ctx = thunk ? vcs_rocm_create(thunk, &limits, true, &stats,
					  &run.budget) : NULL;
	run.shm = run.ctx ? add(&run, &info) : NULL;
	if (!run.shm)
		abort();
	while (size >= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		data += sizeof(step);
		size -= sizeof(step);
		len = step.len[0] | (size_t)step.len[1] << 8;
		if (len > size)
			len = size;
		do_step(&run, &step, data, len);
		data += len;
		size -= len;
	}
	run.ctx->ops->destroy(run.ctx);
	thunk->ops->close(thunk);
	if (run.budget.left != MAPS)
		abort();
	return 0;
}
