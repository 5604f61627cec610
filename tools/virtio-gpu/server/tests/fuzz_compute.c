// SPDX-License-Identifier: MIT
/*
 * Fuzz target: submissions of a hostile guest
 *
 * The input is what a guest controls: the first RSP_BYTES are the shared blob
 * from its response area on, the rest is one submission. A mock backend stands
 * in for the device, with two resources and a program, so that launches get
 * past the look-ups. What must hold for any input: no sanitizer report, the
 * submission is taken, and nothing is written outside the blob.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/virtio_gpu_compute.h>

#include "fuzz.h"
#include "mock.h"
#include "vcs_context_compute.h"
#include "vcs_log.h"

#define SHM_SIZE	8192
#define RSP_BYTES	64

static void add(struct vcs_context *ctx, uint32_t id, uint32_t flags,
		size_t size, uint8_t **addr)
{
	const struct vcs_resource_info info = {
		.res_id = id,
		.flags = flags,
		.size = size,
	};
	struct vcs_window win = {
		.size = size,
		.filled = size,
		.rdonly = flags & VGPU_RES_RDONLY,
	};

	win.addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (win.addr == MAP_FAILED ||
	    ctx->ops->add_resource(ctx, &info, &win))
		abort();
	if (addr)
		*addr = win.addr;
}

static void add_program(struct vcs_context *ctx)
{
	struct {
		struct virtio_gpu_compute_build req;
		uint8_t source[8];
	} build = {
		.req = {
			.hdr = {
				.cmd = VIRTIO_GPU_COMPUTE_BUILD,
				.len = sizeof(build),
				.rsp_off = sizeof(struct virtio_gpu_compute_shmem),
			},
			.program_id = 1,
			.source_len = 8,
		},
		.source = "source",
	};

	if (ctx->ops->submit(ctx, (const uint8_t *)&build, sizeof(build)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vcs_map_budget budget = { 0 };
	struct vcs_context *ctx;
	uint8_t *shm, *payload;
	const struct vcs_limits limits = VCS_LIMITS_DEFAULT;
	struct vcs_stats stats = { 0 };
	struct mock mock;

	if (size < RSP_BYTES || size > RSP_BYTES + VGPU_PROTO_MAX_SUBMIT)
		return 0;
	vcs_log_set_level(VCS_LOG_ERROR);
	mock_init(&mock);
	mock.log = "a build log";
	ctx = vcs_compute_create(&mock.base, &limits, &stats, &budget);
	if (!ctx)
		abort();
	add(ctx, 1, 0, 16384, NULL);
	add(ctx, 2, VGPU_RES_RDONLY, 4096, NULL);
	add(ctx, 3, VGPU_RES_BLOB, SHM_SIZE, &shm);
	memset(shm + 16, 0, 8);
	shm[16] = 16;
	add_program(ctx);

	memcpy(shm + sizeof(struct virtio_gpu_compute_shmem), data, RSP_BYTES);
	data += RSP_BYTES;
	size -= RSP_BYTES;
	/* As large as it is, so that a read beyond it is seen. */
	payload = malloc(size ? size : 1);
	if (!payload)
		abort();
	memcpy(payload, data, size);
	if (ctx->ops->submit(ctx, payload, size))
		abort();
	free(payload);
	ctx->ops->destroy(ctx);
	if (mock.buffers || mock.programs)
		abort();
	return 0;
}
