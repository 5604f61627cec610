// SPDX-License-Identifier: MIT
/*
 * vgpu-scattered-test: a gigabyte of single pages, registered. Runs in the VM;
 * vm/test-lock looks at QEMU's trace of it, if tests/agent is beside the VM.
 */
#include <sys/mman.h>

#include "kselftest_harness.h"

#include "host.h"
#include "kernels.h"
#include "memory.h"
#include "vgpu.h"

#define PAGE		4096UL
#define TOTAL		(1UL << 30)

/* What one command carries, if no page is next to its neighbour. */
#define PIECE		(16384 * PAGE)
#define NR_PIECES	(TOTAL / PIECE)

/* A mapping of the worker for each page: vm.max_map_count allows 65530. */
#define PER_CONTEXT	3
#define NR_CONTEXTS	((NR_PIECES + PER_CONTEXT - 1) / PER_CONTEXT)

/* Even pages are touched first, so the odd ones come from elsewhere. */
static uint8_t *map_scattered(size_t size)
{
	uint8_t *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t first, i;

	if (addr == MAP_FAILED || madvise(addr, size, MADV_NOHUGEPAGE))
		return NULL;
	for (first = 0; first < 2; first++)
		for (i = first; i < size / PAGE; i += 2)
			addr[i * PAGE] = 1;
	return addr;
}

/* QEMU's locks and commands; whether anybody looks is not this test's matter. */
static void trace(bool on)
{
	if (host_ping())
		return;
	host_trace("qemu_mutex_*", on);
	host_trace("virtio_gpu_*", on);
}

static int fill(struct vgpu_ctx *ctx, struct vgpu_mem *mem, uint32_t seed,
		struct vgpu_error *err)
{
	struct vgpu_arg args[] = { VGPU_MEM(mem), VGPU_VALUE(seed) };
	struct vgpu_program *prog;
	struct vgpu_result result;
	struct vgpu_job *job;
	int ret;

	ret = vgpu_build(ctx, KERNEL_FILL, NULL, NULL, &prog, err);
	if (ret)
		return ret;
	ret = vgpu_launch(prog, "fill", &VGPU_RANGE_1D(PIECE), args, 2, &job,
			  err);
	if (ret)
		return ret;
	ret = vgpu_wait(job, 60000, &result, err);
	vgpu_job_free(job);
	if (!ret)
		ret = vgpu_release_program(prog, err);
	return ret ? ret : result.copied ? -EPROTO : 0;
}

FIXTURE(scattered) {
	struct vgpu_ctx *ctx[NR_CONTEXTS];
	struct vgpu_error err;
};

FIXTURE_SETUP(scattered)
{
	size_t i;

	for (i = 0; i < NR_CONTEXTS; i++)
		ASSERT_EQ(0, vgpu_open(NULL, "scattered", &self->ctx[i],
				       &self->err)) {
			TH_LOG("%s", self->err.message);
		}
}

FIXTURE_TEARDOWN(scattered)
{
	size_t i;

	for (i = 0; i < NR_CONTEXTS; i++)
		vgpu_close(self->ctx[i]);
}

TEST_F_TIMEOUT(scattered, a_gigabyte, 300)
{
	struct vgpu_mem *mem[NR_PIECES];
	uint8_t *addr, *last;
	size_t i, wrong;

	addr = map_scattered(TOTAL);
	ASSERT_NE(NULL, addr);
	trace(true);
	for (i = 0; i < NR_PIECES; i++)
		ASSERT_EQ(0, vgpu_register(self->ctx[i / PER_CONTEXT],
					   addr + i * PIECE, PIECE, 0, &mem[i],
					   &self->err)) {
			TH_LOG("piece %zu: %s", i, self->err.message);
		}
	trace(false);

	last = addr + TOTAL - PIECE;
	EXPECT_EQ(0, fill(self->ctx[NR_CONTEXTS - 1], mem[NR_PIECES - 1], 3,
			  &self->err)) {
		TH_LOG("%s", self->err.message);
	}
	for (i = wrong = 0; i < PIECE; i++)
		wrong += last[i] != memory_byte(i, 3);
	EXPECT_EQ(0, wrong);

	for (i = 0; i < NR_PIECES; i++)
		EXPECT_EQ(0, vgpu_unregister(mem[i], &self->err));
	munmap(addr, TOTAL);
}

TEST_HARNESS_MAIN
