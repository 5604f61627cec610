// SPDX-License-Identifier: MIT
/*
 * Requests of the ROCM context: both generations of clients get what they look
 * for, bad requests their error, every one is answered, and closing a blob takes
 * all of it away
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rocm_bare.h"
#include "vcs_arena.h"
#include "vcs_log.h"
#include "vcs_thunk_sim.h"

static int my_register(struct vcs_thunk *t, void *addr, uint64_t size,
		       bool rdonly)
{
	called(rdonly ? 'R' : 'r');
	return fail ? fail : sim_ops->register_memory(t, addr, size, rdonly);
}

static void my_deregister(struct vcs_thunk *t, void *addr)
{
	called('d');
	/* The window is still there: the GPU may be at it. */
	(void)*(volatile uint8_t *)addr;
	sim_ops->deregister(t, addr);
}

static int my_map(struct vcs_thunk *t, void *addr, const uint32_t *nodes,
		  uint32_t nr_nodes, uint64_t *gpu_addr)
{
	int ret;

	called('m');
	if (fail)
		return fail;
	ret = sim_ops->map_to_nodes(t, addr, nodes, nr_nodes, gpu_addr);
	if (!ret)
		*gpu_addr += elsewhere;
	return ret;
}

static int my_unmap(struct vcs_thunk *t, void *addr)
{
	called('u');
	return fail ? fail : sim_ops->unmap(t, addr);
}

static int my_alloc(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	called('a');
	return fail ? fail : sim_ops->alloc(t, node, size);
}

static void my_free(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	called('f');
	sim_ops->free(t, node, size);
}

static int setup_bare(void **state)
{
	(void)state;
	if (!bare_open())
		return -1;
	ops.register_memory = my_register;
	ops.deregister = my_deregister;
	ops.map_to_nodes = my_map;
	ops.unmap = my_unmap;
	ops.alloc = my_alloc;
	ops.free = my_free;
	ctx = vcs_rocm_create(thunk, &limits, true, &stats, &budget);
	return !ctx;
}

static int setup(void **state)
{
	return setup_bare(state) ||
	       add(SHM_ID, VGPU_RES_BLOB, 0, SHM_SIZE, &shm);
}

static int teardown(void **state)
{
	(void)state;
	fail = 0;
	bare_close();
	return 0;
}


/* Framing */

static void shared_blob_is_initialised(void **state)
{
	(void)state;
	assert_int_equal(rocm_get32(shm, 0), 0);
	assert_int_equal(rocm_get32(shm, 4), 16);
	assert_int_equal(rocm_get32(shm, 8), 0);
	assert_int_equal(rocm_get32(shm, 12), 0);
}

static void no_shared_blob_no_submission(void **state)
{
	struct rocm_req req = rocm_nop();

	(void)state;
	assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), -EINVAL);
}

static void nop_is_answered(void **state)
{
	(void)state;
	assert_int_equal(submit(rocm_nop()), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 8);
	assert_int_equal(stats.submissions, 1);
	assert_int_equal(stats.cmd, 0);
}

/* Of what clients send, and of nobody. */
static void unknown_commands(void **state)
{
	static const uint32_t cmds[] = { 0, 6, 7, 0xffff, 0x10001, UINT32_MAX };
	struct rocm_req req;
	size_t i;

	(void)state;
	for (i = 0; i < NR(cmds); i++) {
		req = rocm_nop();
		rocm_set32(&req, 0, cmds[i]);
		assert_int_equal(submit(req), -EOPNOTSUPP);
	}
}

static void commands_in_one_submission(void **state)
{
	struct rocm_req req = rocm_nop();
	uint8_t payload[48];
	uint32_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		rocm_set32(&req, 0, i == 1 ? 77 : 1);
		rocm_set32(&req, 8, i + 1);
		rocm_set32(&req, 12, RSP_OFF + 8 * i);
		memcpy(payload + 16 * i, req.data, 16);
	}
	set_room(8);
	shm[RSP_AT + 8] = shm[RSP_AT + 16] = 8;
	memset(shm + RSP_AT + 9, 0, 3);
	memset(shm + RSP_AT + 17, 0, 3);
	assert_int_equal(ctx->ops->submit(ctx, payload, 48), 0);
	assert_int_equal(rocm_get32(shm, 0), 3);
	assert_int_equal(rocm_get32(rsp(), 4), 0);
	assert_int_equal((int)rocm_get32(rsp(), 12), -EOPNOTSUPP);
	assert_int_equal(rocm_get32(rsp(), 20), 0);
}

/* Too long for what came, too short for what it is, not a multiple of 8. */
static void broken_lengths(void **state)
{
	static const uint32_t lens[] = { 0, 8, 15, 17, 20, 24, 0x80000010,
					 UINT32_MAX, 0xfffffff8 };
	struct rocm_req req;
	size_t i;

	(void)state;
	for (i = 0; i < NR(lens); i++) {
		req = rocm_nop();
		rocm_set32(&req, 4, lens[i]);
		rocm_set32(&req, 8, ++seqno);
		rocm_set32(&req, 12, RSP_OFF);
		memset(shm + 8, 0, 4);
		set_room(8);
		assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
		assert_int_equal((int)rocm_get32(rsp(), 4), -EBADMSG);
		assert_int_equal(rocm_get32(shm, 0), seqno);
		assert_int_equal(rocm_get32(shm, 8), EBADMSG);
	}
	/* Not even a header. */
	memset(shm + 8, 0, 4);
	assert_int_equal(ctx->ops->submit(ctx, req.data, 8), 0);
	assert_int_equal(rocm_get32(shm, 8), EBADMSG);
}

static void requests_shorter_than_their_type(void **state)
{
	static const struct {
		uint32_t cmd, len, room;
	} shorter[] = {
		{ 2, 120, 424 }, { 2, 16, 424 }, { 3, 96, 80 }, { 3, 16, 80 },
		{ 4, 72, 24 }, { 4, 16, 24 }, { 5, 128, 96 }, { 5, 16, 168 },
		{ 0x10000, 40, 16 }, { 0x10000, 56, 16 },
	};
	struct rocm_req req;
	size_t i;

	(void)state;
	for (i = 0; i < NR(shorter); i++) {
		req = rocm_nop();
		req.len = shorter[i].len;
		req.room = shorter[i].room;
		rocm_set32(&req, 0, shorter[i].cmd);
		rocm_set32(&req, 4, req.len);
		assert_int_equal(submit(req), -EBADMSG);
		expect_zeros(req.room);
	}
}

/* Offsets count from where responses begin: 0 is one, the end is 16 before. */
static void places_of_responses(void **state)
{
	static const uint32_t good[] = { 0, 8, SHM_SIZE - 16 - 8 };
	static const uint32_t bad[] = {
		1, 4, SHM_SIZE - 16, SHM_SIZE - 8, SHM_SIZE, 0x80000000,
		UINT32_MAX, 0xfffffff8, 0xfffffff0, 0xffffffe8,
	};
	struct rocm_req req;
	uint8_t before[SHM_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < NR(good); i++) {
		req = rocm_nop();
		rocm_set32(&req, 8, ++seqno);
		rocm_set32(&req, 12, good[i]);
		memset(shm + 16 + good[i], 0xff, 8);
		memcpy(shm + 16 + good[i], "\x08\0\0\0", 4);
		assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
		assert_int_equal(rocm_get32(shm, 16 + good[i] + 4), 0);
		assert_int_equal(rocm_get32(shm, 8), 0);
		assert_int_equal(rocm_get32(shm, 0), seqno);
	}
	for (i = 0; i < NR(bad); i++) {
		memset(shm + 8, 0, 4);
		memset(shm + 16, 8, SHM_SIZE - 16);
		memcpy(before, shm, SHM_SIZE);
		req = rocm_nop();
		rocm_set32(&req, 8, ++seqno);
		rocm_set32(&req, 12, bad[i]);
		assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
		assert_int_equal(rocm_get32(shm, 0), seqno);
		assert_int_equal(rocm_get32(shm, 8), EINVAL);
		assert_memory_equal(shm + 16, before + 16, SHM_SIZE - 16);
	}
}

static void rooms_that_are_none(void **state)
{
	static const uint32_t rooms[] = {
		0, 1, 7, SHM_SIZE - RSP_AT + 1, SHM_SIZE, UINT32_MAX,
	};
	struct rocm_req req = rocm_nop();
	size_t i;

	(void)state;
	for (i = 0; i < NR(rooms); i++) {
		memset(shm + 8, 0, 4);
		rocm_set32(&req, 8, ++seqno);
		rocm_set32(&req, 12, RSP_OFF);
		set_room(rooms[i]);
		assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
		assert_int_equal(rocm_get32(shm, 0), seqno);
		assert_int_equal(rocm_get32(shm, 8), EINVAL);
		assert_int_equal(rsp()[4], 0xee);
	}
}

/* Any room will do, and no more than it is written. */
static void responses_are_cut_to_their_room(void **state)
{
	struct rocm_req req;
	uint32_t room;

	(void)state;
	for (room = 8; room <= 440; room += 4) {
		req = rocm_query(5, GPU);
		req.room = room;
		assert_int_equal(submit(req), 0);
		assert_int_equal(rocm_get32(rsp(), 0), room < 424 ? room : 424);
		req = rocm_memory(ROCM_2026, 4);
		req.room = room;
		assert_int_equal(submit(req), 0);
		assert_int_equal(rocm_get32(rsp(), 0), room < 320 ? room : 320);
	}
}

/* Queries */

static void open_kfd(void **state)
{
	uint64_t start, size;
	struct rocm_req req;

	(void)state;
	req = rocm_query(1, 0);
	rocm_set64(&req, 56, 0x555555560000);
	assert_int_equal(submit(req), 0);
	start = rocm_get64(rsp(), 8);
	size = rocm_get64(rsp(), 16);
	/* Pages, and a user's address with 47 bits. */
	assert_true(start && size);
	assert_int_equal(start % 65536, 0);
	assert_int_equal(size % 65536, 0);
	assert_true(start + size <= 0x7ffffffff000);
	/* The same again, whatever the guest says. */
	rocm_set64(&req, 56, UINT64_MAX);
	assert_int_equal(submit(req), 0);
	assert_int_equal(rocm_get64(rsp(), 8), start);
	assert_int_equal(rocm_get64(rsp(), 16), size);
	/* It is reserved here. */
	assert_ptr_equal(mmap((void *)(uintptr_t)start, PAGE, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			      -1, 0), MAP_FAILED);
}

static void system_and_version(void **state)
{
	(void)state;
	assert_int_equal(submit(rocm_query(2, 0)), 0);
	assert_int_equal(rocm_get32(rsp(), 8), 1);
	assert_int_equal(submit(rocm_query(4, 0)), 0);
	assert_int_equal(rocm_get32(rsp(), 8), 2);
	assert_int_equal(submit(rocm_query(3, 0)), 0);
	assert_int_equal(submit(rocm_query(6, 0)), 0);
	assert_int_equal(rocm_get32(rsp(), 8), 0);
	assert_int_equal(submit(rocm_query(16, 0)), 0);
	assert_int_equal(rocm_get32(rsp(), 8), 0);
}

static void runtime_is_enabled_once(void **state)
{
	(void)state;
	assert_int_equal(submit(rocm_query(8, 0)), -EINVAL);
	assert_int_equal(submit(rocm_query(7, 0)), 0);
	assert_int_equal(submit(rocm_query(7, 0)), -EBUSY);
	assert_int_equal(submit(rocm_query(8, 0)), 0);
	assert_int_equal(submit(rocm_query(7, 0x01000000)), 0);
}

/* HsaNodeProperties as clients with the virtio backend have it. */
static void nodes(void **state)
{
	const uint8_t *p = rsp() + 8;

	(void)state;
	assert_int_equal(submit(rocm_query(5, CPU)), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 424);
	assert_true(rocm_get32(p, 0) > 0);
	assert_int_equal(rocm_get32(p, 4), 0);
	assert_int_equal(rocm_get32(p, 12), 1);		/* memory banks */
	assert_int_equal(rocm_get32(p, 20), 1);		/* links */

	assert_int_equal(submit(rocm_query(5, GPU)), 0);
	assert_int_equal(rocm_get32(p, 0), 0);
	assert_int_equal(rocm_get32(p, 4), 160);	/* SIMDs */
	assert_int_equal(rocm_get32(p, 12), 3);
	assert_int_equal(rocm_get32(p, 16), 2);		/* caches */
	assert_int_equal(rocm_get32(p, 32) >> 12 & 3, 2); /* doorbell */
	assert_int_equal(rocm_get32(p, 36), 0);
	assert_int_equal(rocm_get32(p, 52), 32);	/* wave */
	/* Engines * arrays * compute units * SIMDs. */
	assert_int_equal(rocm_get32(p, 56) * rocm_get32(p, 64) *
			 rocm_get32(p, 68), 160);
	/* gfx10.3.0 */
	assert_int_equal(rocm_get32(p, 76) >> 10 & 63, 10);
	assert_int_equal(rocm_get32(p, 76) >> 16 & 255, 3);
	assert_int_equal(rocm_get32(p, 76) >> 24, 0);
	assert_int_equal(rocm_get32(p, 84) & 0xffff, 0x1002);
	assert_int_equal(rocm_get64(p, 92), 16ULL << 30);
	assert_memory_equal(p + 112, "s\0i\0m\0", 6);
	assert_string_equal((const char *)p + 240, "gfx1030");
	assert_int_equal(rocm_get32(p, 360), 1);	/* KFD's id */
	assert_int_equal(rocm_get32(p, 364), 143);	/* family */
	/* Clients since. */
	assert_int_equal(rocm_get64(p, 384), 100000);	/* clock */
	assert_int_equal(rocm_get64(p, 392), 0);
}

/* That of ROCm 6.2, should one ask for it: its fields are elsewhere. */
static void nodes_of_an_old_client(void **state)
{
	struct rocm_req req = rocm_query(5, GPU);
	const uint8_t *p = rsp() + 8;

	(void)state;
	req.room = 368;
	assert_int_equal(submit(req), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 368);
	assert_int_equal(rocm_get32(p, 4), 160);
	assert_int_equal(rocm_get32(p, 8), 3);
	assert_int_equal(rocm_get32(p, 28) >> 12 & 3, 2);
	assert_int_equal(rocm_get32(p, 68) >> 10 & 63, 10);
	assert_int_equal(rocm_get64(p, 80), 16ULL << 30);
	assert_string_equal((const char *)p + 228, "gfx1030");
	assert_int_equal(rocm_get32(p, 352), 143);
	/* One that has the newer head and ends with it. */
	req.room = 376;
	assert_int_equal(submit(req), 0);
	assert_string_equal((const char *)p + 240, "gfx1030");
	assert_int_equal(rocm_get32(p, 364), 143);
}

static void bad_nodes(void **state)
{
	static const uint32_t types[] = { 5, 9, 10, 11, 12, 17 };
	static const uint32_t bad[] = { 2, 64, 0x7fffffff, UINT32_MAX };
	size_t i, k;

	(void)state;
	for (i = 0; i < NR(types); i++) {
		for (k = 0; k < NR(bad); k++) {
			assert_int_equal(submit(rocm_query(types[i], bad[k])),
					 -EINVAL);
			expect_zeros(424);
		}
	}
	assert_int_equal(submit(rocm_query(17, CPU)), -EINVAL);
}

static void memory_banks(void **state)
{
	const uint8_t *p = rsp() + 424;

	(void)state;
	assert_int_equal(submit(rocm_query_list(9, CPU, 1, 32)), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 424 + 32);
	assert_int_equal(rocm_get32(p, 0), 0);
	assert_int_equal(rocm_get64(p, 4), 256ULL << 30);
	assert_int_equal(submit(rocm_query_list(9, GPU, 3, 32)), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 424 + 3 * 32);
	assert_int_equal(rocm_get32(p, 0), 1);
	assert_int_equal(rocm_get64(p, 4), 16ULL << 30);
	assert_int_equal(rocm_get32(p, 16), 256);
	assert_int_equal(rocm_get32(p + 32, 0), 4);
	assert_int_equal(rocm_get64(p + 32, 24), 1ULL << 48);
	assert_int_equal(rocm_get32(p + 64, 0), 5);
}

/* Both sizes of an element, told by the room for all of them. */
static void caches(void **state)
{
	static const uint32_t sizes[] = { 1056, 1060 };
	uint32_t n, s, i;

	(void)state;
	for (s = 0; s < NR(sizes); s++) {
		for (n = 1; n <= 2; n++) {
			assert_int_equal(submit(rocm_query_list(10, GPU, n,
								sizes[s])), 0);
			assert_int_equal(rocm_get32(rsp(), 0),
					 424 + n * sizes[s]);
			for (i = 0; i < n; i++) {
				const uint8_t *p = rsp() + 424 + i * sizes[s];

				assert_int_equal(rocm_get32(p, 4), i + 1);
				assert_int_equal(rocm_get32(p, 12), 128);
				assert_int_equal(rocm_get32(p, 28), 9);
				assert_int_equal(rocm_get32(p, 32), 1);
			}
		}
	}
	assert_int_equal(submit(rocm_query_list(10, CPU, 2, 1056)), 0);
	assert_int_equal(rocm_get32(rsp(), 424 + 28), 5);
}

static void io_links(void **state)
{
	static const uint32_t sizes[] = { 48, 52 };
	const uint8_t *p = rsp() + 424;
	uint32_t s;

	(void)state;
	for (s = 0; s < NR(sizes); s++) {
		assert_int_equal(submit(rocm_query_list(11, CPU, 1, sizes[s])),
				 0);
		assert_int_equal(rocm_get32(rsp(), 0), 424 + sizes[s]);
		assert_int_equal(rocm_get32(p, 0), 2);
		assert_int_equal(rocm_get32(p, 12), CPU);
		assert_int_equal(rocm_get32(p, 16), GPU);
		assert_int_equal(rocm_get32(p, sizes[s] - 4), 0);
		assert_int_equal(submit(rocm_query_list(11, GPU, 1, sizes[s])),
				 0);
		assert_int_equal(rocm_get32(p, 12), GPU);
		assert_int_equal(rocm_get32(p, 16), CPU);
	}
}

/* More than there are, more than fit, none. */
static void lists_are_bounded(void **state)
{
	static const uint32_t counts[] = { 3, 1000, 0x10000000, UINT32_MAX };
	static const uint32_t types[] = { 9, 10, 11 };
	struct rocm_req req;
	size_t i, k;

	(void)state;
	for (i = 0; i < NR(types); i++) {
		for (k = 0; k < NR(counts); k++) {
			req = rocm_query_list(types[i], CPU, counts[k], 0);
			assert_int_equal(submit(req), 0);
			assert_int_equal(rocm_get32(rsp(), 0), 424);
			req.room = SHM_SIZE - RSP_AT - 8;
			assert_int_equal(submit(req), 0);
			req.room = 8;
			assert_int_equal(submit(req), 0);
			/* One byte less than one. */
			req.room = 424 + 31;
			assert_int_equal(submit(req), 0);
			assert_int_equal(rocm_get32(rsp(), 0), 424);
		}
		assert_int_equal(submit(rocm_query_list(types[i], CPU, 0, 0)),
				 0);
		assert_int_equal(rocm_get32(rsp(), 0), 424);
	}
	/* Those that there are, where more were asked for. */
	assert_int_equal(submit(rocm_query_list(9, CPU, 5, 32)), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 424 + 32);
	/* Room for one and a half. */
	req = rocm_query_list(10, CPU, 2, 0);
	req.room = 424 + 1500;
	assert_int_equal(submit(req), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 424 + 1056);
}

static void gpu_info(void **state)
{
	const uint8_t *p = rsp() + 8;

	(void)state;
	assert_int_equal(submit(rocm_query(0, 0)), 0);
	assert_int_equal(rocm_get32(p, 0), 0x73bf);
	assert_int_equal(rocm_get32(p, 12), 143);
	assert_int_equal(rocm_get64(p, 24), 2250000);
	assert_int_equal(rocm_get32(p, 40), 4);
	assert_int_equal(rocm_get32(p, 44), 2);
	assert_int_equal(rocm_get32(p, 72), 100000);
	assert_int_equal(rocm_get32(p, 324), 80);
	assert_int_equal(rocm_get32(p, 332), 0x3ff);
	assert_int_equal(rocm_get32(p, 332 + 3 * 16 + 4), 0x3ff);
	assert_int_equal(rocm_get32(p, 332 + 8), 0);
	assert_int_equal(rocm_get32(p, 396), 9);
	assert_int_equal(rocm_get32(p, 400), 256);
}

static void clocks_go_on(void **state)
{
	uint64_t gpu, sys, nano;

	(void)state;
	assert_int_equal(submit(rocm_query(12, GPU)), 0);
	gpu = rocm_get64(rsp(), 8);
	sys = rocm_get64(rsp(), 24);
	assert_true(gpu && sys);
	assert_int_equal(rocm_get64(rsp(), 32), 1000000000);
	usleep(1000);
	assert_int_equal(submit(rocm_query(12, GPU)), 0);
	assert_true(rocm_get64(rsp(), 8) > gpu);
	assert_true(rocm_get64(rsp(), 24) > sys);
	assert_int_equal(submit(rocm_query(12, CPU)), 0);
	assert_int_equal(rocm_get64(rsp(), 8), 0);
	assert_int_equal(submit(rocm_query(15, 0)), 0);
	nano = rocm_get64(rsp(), 8);
	assert_true(nano > sys);
	assert_int_equal(rocm_get64(rsp(), 16), 0);
}

/* No handle, pointer or descriptor of this process. */
static void device_handles_are_ids(void **state)
{
	(void)state;
	assert_int_equal(submit(rocm_query(17, GPU)), 0);
	assert_int_equal(rocm_get64(rsp(), 8), 2);
	assert_int_equal(rocm_get64(rsp(), 16), 2);
}

static void queries_that_there_are_not(void **state)
{
	static const uint32_t types[] = {
		13, 14, 18, 19, 20, 21, 22, 23, 0x80000000, UINT32_MAX,
	};
	size_t i;

	(void)state;
	for (i = 0; i < NR(types); i++) {
		assert_int_equal(submit(rocm_query(types[i], GPU)),
				 -EOPNOTSUPP);
		expect_zeros(424);
	}
}

/* What a thunk may answer. */
static int two_hundred_nodes(struct vcs_thunk *t, struct vcs_thunk_system *sys)
{
	(void)t;
	sys->num_nodes = 200;
	return fail;
}

static int bad_node(struct vcs_thunk *t, uint32_t node,
		    struct vcs_thunk_node *props)
{
	int ret = sim_ops->node(t, node, props);

	return fail ? fail : ret;
}

static int no_gpu(struct vcs_thunk *t, uint32_t node,
		  struct vcs_thunk_node *props)
{
	int ret = sim_ops->node(t, node, props);

	props->num_fcompute_cores = 0;
	return ret;
}

static int failing_query(struct vcs_thunk *t, uint32_t node, uint32_t index,
			 struct vcs_thunk_bank *bank)
{
	sim_ops->bank(t, node, index, bank);
	return index ? fail : 0;
}

static int failing_info(struct vcs_thunk *t, uint32_t node,
			struct vcs_thunk_gpu_info *info)
{
	(void)t;
	(void)node;
	info->asic_id = 1;
	return fail;
}

static void thunks_that_fail(void **state)
{
	struct vcs_context *other;

	(void)state;
	ops.gpu_info = failing_info;
	ops.bank = failing_query;
	fail = -EIO;
	assert_int_equal(submit(rocm_query(0, 0)), -EIO);
	expect_zeros(424);
	assert_int_equal(submit(rocm_query_list(9, GPU, 3, 32)), -EIO);
	expect_zeros(424);

	/* A context of another thunk, where that has to answer first. */
	vcs_log_set_level(VCS_LOG_ANSWER);
	ctx->ops->destroy(ctx);
	ops.system = two_hundred_nodes;
	assert_null(vcs_rocm_create(thunk, &limits, true, &stats, &budget));
	fail = 0;
	assert_null(vcs_rocm_create(thunk, &limits, true, &stats, &budget));
	ops.system = sim_ops->system;
	ops.node = bad_node;
	fail = -EIO;
	assert_null(vcs_rocm_create(thunk, &limits, true, &stats, &budget));
	ops.node = no_gpu;
	fail = 0;
	ctx = vcs_rocm_create(thunk, &limits, true, &stats, &budget);
	assert_non_null(ctx);
	/* The addresses are taken. */
	other = vcs_rocm_create(thunk, &limits, true, &stats, &budget);
	assert_null(other);
	assert_int_equal(add(SHM_ID, VGPU_RES_BLOB, 0, SHM_SIZE, &shm), 0);
	assert_int_equal(submit(rocm_query(0, 0)), -ENODEV);
	assert_int_equal(submit(rocm_query(17, GPU)), -EINVAL);
}

/* Memory of the guest */

static const uint32_t gpu_only[] = { GPU };

static int map_nodes(enum rocm_generation gen, uint32_t res_id, uint64_t addr,
		     uint64_t size)
{
	return submit(rocm_map_nodes(gen, res_id, addr, size, gpu_only, 1));
}

/* Resource to address. */
static uint64_t userptr(enum rocm_generation gen, uint32_t res_id)
{
	assert_int_equal(submit(rocm_map_userptr(gen, res_id)), 0);
	return rocm_get64(rsp(), 8);
}

static int checksum(uint64_t addr, uint64_t size, uint64_t *sum)
{
	int ret = submit(rocm_access(false, GPU, addr, size, 0));

	*sum = rocm_get64(rsp(), 8);
	return ret;
}

static int fill(uint64_t addr, uint64_t size, uint8_t value)
{
	return submit(rocm_access(true, GPU, addr, size, value));
}

/* The whole way, as a client of each generation goes it. */
static void registered_memory_is_the_gpus(void **state)
{
	enum rocm_generation gen;
	uint64_t addr, sum;
	uint8_t *mem;
	int fd;

	(void)state;
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		fd = make_memfd(3 * PAGE, false);
		mem = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd, 0);
		memset(mem, 1, 3 * PAGE);
		strcpy((char *)mem + 5000, "what the guest wrote");
		assert_int_equal(add_from(1, 0, 7, 3 * PAGE, fd, NULL), 0);
		addr = userptr(gen, 1);
		assert_int_equal(rocm_get32(rsp(), 16), 3);
		assert_int_equal(rocm_get32(rsp(), 0),
				 gen == ROCM_2025 ? 24 : 320);
		/* The program's size is none of pages. */
		assert_int_equal(submit(rocm_register(gen, 1, addr, 9999, 0)),
				 0);
		assert_int_equal(checksum(addr, 1, &sum), -EFAULT);
		assert_int_equal(map_nodes(gen, 1, addr, 3 * PAGE), 0);
		assert_int_equal(rocm_get64(rsp(), 8), addr);

		assert_int_equal(checksum(addr, 3 * PAGE, &sum), 0);
		assert_int_equal(sum, rocm_checksum(mem, 3 * PAGE));
		assert_int_equal(checksum(addr + 5001, 13, &sum), 0);
		assert_int_equal(sum, rocm_checksum(mem + 5001, 13));
		assert_int_equal(fill(addr + 4095, 2, 0x77), 0);
		assert_int_equal(mem[4094], 1);
		assert_int_equal(mem[4095], 0x77);
		assert_int_equal(mem[4096], 0x77);
		assert_int_equal(mem[4097], 1);
		/* Not beyond. */
		assert_int_equal(fill(addr, 3 * PAGE + 1, 0), -EFAULT);
		assert_int_equal(fill(addr - 1, 2, 0), -EFAULT);
		assert_int_equal(fill(addr, UINT64_MAX, 0), -EFAULT);
		assert_int_equal(fill(UINT64_MAX, 2, 0), -EFAULT);
		assert_int_equal(fill(addr, 0, 0), -EINVAL);

		assert_int_equal(ctx->ops->remove_resource(ctx, 1), 0);
		assert_int_equal(checksum(addr, 1, &sum), -EFAULT);
		munmap(mem, 3 * PAGE);
		close(fd);
	}
	assert_string_equal(calls, "rmudrmud");
}

/* The first clients named no resource, and an address inside of the page. */
static void clients_without_resource_ids(void **state)
{
	uint64_t addr;

	(void)state;
	assert_int_equal(add(1, 0, 7, 2 * PAGE, NULL), 0);
	addr = userptr(ROCM_2025, 1);
	assert_int_equal(submit(rocm_register(ROCM_2025, 0, addr + 24, PAGE,
					      0)), 0);
	assert_int_equal(map_nodes(ROCM_2025, 0, addr + 24, PAGE), 0);
	assert_int_equal(rocm_get64(rsp(), 8), addr + 24);
	assert_int_equal(fill(addr + 24, PAGE, 1), 0);
}

static void map_to_all_gpus(void **state)
{
	struct rocm_req req;
	uint64_t addr;

	(void)state;
	assert_int_equal(add(1, 0, 7, 2 * PAGE, NULL), 0);
	addr = userptr(ROCM_2026, 1);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, addr, PAGE, 0)), 0);
	req = rocm_memory_at(ROCM_2026, 5, 0, addr + 8);
	rocm_set64(&req, 24, 100);
	assert_int_equal(submit(req), 0);
	assert_int_equal(rocm_get64(rsp(), 8), addr + 8);
	assert_int_equal(fill(addr, 1, 1), 0);
	/* Scratch memory. */
	req.data[32] = 1;
	assert_int_equal(submit(req), -EOPNOTSUPP);

	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, addr)), 0);
	assert_int_equal(fill(addr, 1, 1), -EFAULT);
	/* Again, and after it is mapped again. */
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 3, 0, addr)), 0);
	assert_int_equal(map_nodes(ROCM_2026, 1, addr, 1), 0);
	assert_int_equal(fill(addr, 1, 1), 0);
	assert_string_equal(calls, "rmuum");
}

static void read_only_is_kept(void **state)
{
	uint64_t a, b, sum;

	(void)state;
	/* By the guest's kernel, and by its program. */
	assert_int_equal(add(1, VGPU_RES_RDONLY, 7, PAGE, NULL), 0);
	assert_int_equal(add(2, 0, 8, PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	b = userptr(ROCM_2026, 2);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	assert_int_equal(submit(rocm_register(ROCM_2026, 2, b, PAGE, 8)), 0);
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), 0);
	assert_int_equal(map_nodes(ROCM_2026, 2, b, PAGE), 0);
	assert_int_equal(checksum(a, PAGE, &sum), 0);
	assert_int_equal(checksum(b, PAGE, &sum), 0);
	assert_int_equal(fill(a, 1, 1), -EACCES);
	assert_int_equal(fill(b, 1, 1), -EACCES);
	assert_string_equal(calls, "RRmm");
}

static void bad_registrations(void **state)
{
	uint64_t a, b;

	(void)state;
	assert_int_equal(add(1, 0, 7, 2 * PAGE, NULL), 0);
	assert_int_equal(add(2, 0, 8, 2 * PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	b = userptr(ROCM_2026, 2);
	assert_int_not_equal(a, b);
	assert_int_equal(userptr(ROCM_2025, 1), a);
	/* No such resource; the shared blob. */
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, 3)), -ENOENT);
	expect_zeros(320);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2025, 0)), -ENOENT);
	expect_zeros(24);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2025, UINT32_MAX)),
			 -ENOENT);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, SHM_ID)), -EINVAL);
	/* Somebody else's address, none's, the guest's own, too long. */
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, b, PAGE, 0)),
			 -EINVAL);
	assert_int_equal(submit(rocm_register(ROCM_2026, SHM_ID, a, PAGE, 0)),
			 -EINVAL);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, b + 2 * PAGE, 1,
					      0)), -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, 0x7f0012345000,
					      PAGE, 0)), -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, 0, PAGE, 0)),
			 -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, 2 * PAGE + 1,
					      0)), -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, UINT64_MAX, 0)),
			 -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, 0, 0)), -EINVAL);
	assert_string_equal(calls, "");
	/* What the thunk says; then twice. */
	fail = -ENOMEM;
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)),
			 -ENOMEM);
	fail = 0;
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)),
			 -EEXIST);
	assert_string_equal(calls, "rr");
}

static void bad_mappings(void **state)
{
	static const uint32_t bad[][2] = {
		{ CPU, GPU }, { GPU, CPU }, { GPU, 2 }, { UINT32_MAX, GPU },
	};
	enum rocm_generation gen;
	struct rocm_req req;
	uint64_t a;
	size_t i;

	(void)state;
	assert_int_equal(add(1, 0, 7, 2 * PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	/* Not registered. */
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), -EINVAL);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		for (i = 0; i < NR(bad); i++)
			assert_int_equal(submit(rocm_map_nodes(gen, 1, a, PAGE,
							       bad[i], 2)),
					 -EINVAL);
		/* Number of nodes: none, more than there are or than came. */
		req = rocm_map_nodes(gen, 1, a, PAGE, gpu_only, 1);
		rocm_set64(&req, 48, 0);
		assert_int_equal(submit(req), -EINVAL);
		rocm_set64(&req, 48, 3);
		assert_int_equal(submit(req), -EINVAL);
		rocm_set64(&req, 48, UINT64_MAX);
		assert_int_equal(submit(req), -EINVAL);
		rocm_set64(&req, 48, (1ULL << 62) + 1);
		assert_int_equal(submit(req), -EINVAL);
		req = rocm_map_nodes(gen, 1, a, PAGE, gpu_only, 0);
		rocm_set64(&req, 48, 1);
		assert_int_equal(submit(req), -EBADMSG);
		expect_zeros(gen == ROCM_2025 ? 24 : 320);

		assert_int_equal(map_nodes(gen, 2, a, PAGE), -EINVAL);
		assert_int_equal(map_nodes(gen, SHM_ID, a, PAGE), -EINVAL);
		assert_int_equal(map_nodes(gen, 1, a, 0), -EINVAL);
		assert_int_equal(map_nodes(gen, 1, a, 2 * PAGE + 1), -ENOENT);
		assert_int_equal(map_nodes(gen, 1, a + 1, 2 * PAGE), -ENOENT);
		assert_int_equal(map_nodes(gen, 1, 0xdead0000, 1), -ENOENT);
		assert_int_equal(submit(rocm_memory_at(gen, 3, 0, a - 1)),
				 -ENOENT);
		assert_int_equal(submit(rocm_memory_at(gen, 3, 2, a)), -EINVAL);
		assert_int_equal(submit(rocm_memory_at(gen, 5, 0, a)), -EINVAL);
	}
	fail = -ENOMEM;
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), -ENOMEM);
	expect_zeros(320);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, a)), -ENOMEM);
	fail = 0;
	/* Both nodes are this one. */
	assert_int_equal(submit(rocm_map_nodes(ROCM_2026, 1, a, PAGE,
					       (uint32_t[]){ GPU, GPU }, 2)),
			 0);
}

static void deregistered_memory_is_not_the_gpus(void **state)
{
	uint64_t a;

	(void)state;
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, 1, 0)), -EINVAL);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), 0);
	/* The address is the guest's own, and means nothing. */
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, 1,
					       0x7fffdeadbeef)), 0);
	assert_int_equal(fill(a, 1, 1), -EFAULT);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, 1, 0)), -EINVAL);
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), -EINVAL);
	/* By address, and with a thunk that does not let go. */
	assert_int_equal(submit(rocm_register(ROCM_2025, 1, a, PAGE, 0)), 0);
	fail = -EIO;
	vcs_log_set_level(VCS_LOG_ANSWER);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 7, 0, a)), 0);
	fail = 0;
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 7, 0, a)), -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 7, 2, a)), -ENOENT);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 7, SHM_ID, a)),
			 -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 7, 0, 1)), -ENOENT);
	assert_string_equal(calls, "rmudrud");
}

/* Memory of ALLOC */

static uint64_t alloc(enum rocm_generation gen, uint32_t node, uint64_t size,
		      uint32_t blob_id)
{
	assert_int_equal(submit(rocm_alloc(gen, node, size, blob_id)), 0);
	return rocm_get64(rsp(), 8);
}

static uint64_t avail(uint32_t node)
{
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 4, 0, node)), 0);
	return rocm_get64(rsp(), 8);
}

static void allocated_memory_is_where_it_says(void **state)
{
	enum rocm_generation gen;
	uint64_t addr, sum;
	uint8_t *mem;

	(void)state;
	assert_int_equal(avail(GPU), 16ULL << 30);
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		/* Rounded to pages. */
		addr = alloc(gen, GPU, 2 * PAGE + 1, 5);
		assert_int_equal(addr % PAGE, 0);
		assert_int_equal(avail(GPU), (16ULL << 30) - 3 * PAGE);
		/* No blob, no memory. */
		assert_int_equal(map_nodes(gen, 0, addr, PAGE), -EINVAL);
		assert_int_equal(add(9, VGPU_RES_BLOB, 5, 3 * PAGE, &mem), 0);
		assert_ptr_equal(mem, (void *)(uintptr_t)addr);
		assert_int_equal(fill(addr, 1, 1), -EFAULT);
		assert_int_equal(map_nodes(gen, 0, addr, 2 * PAGE + 1), 0);
		assert_int_equal(rocm_get64(rsp(), 8), addr);
		assert_int_equal(fill(addr, 3 * PAGE, 9), 0);
		assert_int_equal(mem[3 * PAGE - 1], 9);
		assert_int_equal(userptr(gen, 9), addr);
		/* Closing the blob frees it. */
		assert_int_equal(ctx->ops->remove_resource(ctx, 9), 0);
		assert_int_equal(checksum(addr, 1, &sum), -EFAULT);
		assert_int_equal(map_nodes(gen, 0, addr, PAGE), -ENOENT);
		assert_int_equal(avail(GPU), 16ULL << 30);
	}
	assert_string_equal(calls, "armudfarmudf");
}

/* As without SVM. ALLOC has already said where its memory is. */
static void the_gpu_may_have_it_elsewhere(void **state)
{
	uint64_t addr, sum;

	(void)state;
	elsewhere = 16 * PAGE;
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	addr = userptr(ROCM_2026, 1);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, addr, PAGE, 0)), 0);
	assert_int_equal(map_nodes(ROCM_2026, 1, addr + 8, 100), 0);
	assert_int_equal(rocm_get64(rsp(), 8), addr + 8 + 16 * PAGE);
	addr = alloc(ROCM_2026, GPU, PAGE, 5);
	assert_int_equal(add(2, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(map_nodes(ROCM_2026, 2, addr, PAGE), -EOPNOTSUPP);
	assert_int_equal(rocm_get64(rsp(), 8), 0);
	assert_int_equal(checksum(addr, 1, &sum), -EFAULT);
	assert_string_equal(calls, "rmarmu");
}

static void allocations_end_without_a_blob(void **state)
{
	uint64_t addr;

	(void)state;
	addr = alloc(ROCM_2026, CPU, PAGE, 5);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, addr)), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, addr)),
			 -ENOENT);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, PAGE, NULL), -ENOENT);
	/* And are left for the end. */
	alloc(ROCM_2026, GPU, PAGE, 6);
	assert_string_equal(calls, "afa");
}

/* The addresses stay as long as the guest may have the blob mapped. */
static void freed_before_the_blob_is_closed(void **state)
{
	uint64_t addr;

	(void)state;
	addr = alloc(ROCM_2026, GPU, PAGE, 5);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(map_nodes(ROCM_2026, 0, addr, PAGE), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, addr + 1)),
			 -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 8, addr)),
			 -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 9, addr)), 0);
	assert_int_equal(fill(addr, 1, 1), -EFAULT);
	assert_int_equal(map_nodes(ROCM_2026, 0, addr, PAGE), -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, addr)), 0);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, 5)), -EEXIST);
	assert_int_equal(ctx->ops->remove_resource(ctx, 9), 0);
	alloc(ROCM_2026, GPU, PAGE, 5);
	assert_string_equal(calls, "armudfa");
}

static void allocations_are_aligned(void **state)
{
	struct rocm_req req;
	uint64_t align;

	(void)state;
	for (align = 1; align <= 1 << 30; align <<= 3) {
		req = rocm_alloc(ROCM_2026, GPU, PAGE, (uint32_t)align);
		rocm_set64(&req, 40, align);
		assert_int_equal(submit(req), 0);
		assert_int_equal(rocm_get64(rsp(), 8) % align, 0);
	}
	req = rocm_alloc(ROCM_2026, GPU, PAGE, 99);
	rocm_set64(&req, 40, 3);
	assert_int_equal(submit(req), -EINVAL);
	rocm_set64(&req, 40, 1ULL << 31);
	assert_int_equal(submit(req), -EINVAL);
	rocm_set64(&req, 40, 1ULL << 63);
	assert_int_equal(submit(req), -EINVAL);
	/* What is there in 2025 is no alignment. */
	req = rocm_alloc(ROCM_2025, GPU, PAGE, 99);
	rocm_set64(&req, 40, 3);
	assert_int_equal(submit(req), 0);
}

static void bad_allocations(void **state)
{
	static const uint32_t flags[] = { 8, 9, 15, 18, 19 };
	struct rocm_req req;
	uint64_t a;
	size_t i;

	(void)state;
	for (i = 0; i < NR(flags); i++) {
		req = rocm_alloc(ROCM_2026, GPU, PAGE, 5);
		rocm_set32(&req, 20, 1U << flags[i]);
		assert_int_equal(submit(req), -EOPNOTSUPP);
	}
	req = rocm_alloc(ROCM_2026, GPU, PAGE, 5);
	rocm_set64(&req, 32, VCS_ARENA_START);
	assert_int_equal(submit(req), -EOPNOTSUPP);
	req = rocm_alloc(ROCM_2026, GPU, PAGE, 5);
	rocm_set64(&req, 296, 1ULL << 32);
	assert_int_equal(submit(req), -EINVAL);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, 0)), -EINVAL);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, 0, 5)), -EINVAL);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, 2, PAGE, 5)), -EINVAL);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, UINT64_MAX, 5)),
			 -ENOMEM);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, 1ULL << 63, 5)),
			 -ENOMEM);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, (16ULL << 30) + 1,
					   5)), -ENOMEM);
	a = alloc(ROCM_2026, GPU, 16ULL << 30, 5);
	assert_int_equal(avail(GPU), 0);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, 1, 6)), -ENOMEM);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, CPU, 1, 5)), -EEXIST);
	/* It is none of the guest's own memory, and that none of this. */
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, 0, a)), -EINVAL);
	assert_int_equal(submit(rocm_register(ROCM_2026, 0, a, PAGE, 0)),
			 -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, SHM_ID, a)),
			 -EINVAL);
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0,
					       userptr(ROCM_2026, 1))),
			 -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, 0)), -ENOENT);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 4, 0, 2)), -EINVAL);
	expect_zeros(320);
}

/* More than there are addresses, on a machine that has the memory. */
static int endless(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	(void)t;
	(void)node;
	(void)size;
	return 0;
}

static void nothing_to_free(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	(void)t;
	(void)node;
	(void)size;
	called('f');
}

static void addresses_run_out(void **state)
{
	(void)state;
	ops.alloc = endless;
	ops.free = nothing_to_free;
	alloc(ROCM_2026, GPU, VCS_ARENA_SIZE, 5);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, 1, 6)), -ENOMEM);
	expect_zeros(320);
	assert_string_equal(calls, "f");
	assert_int_equal(add(1, 0, 7, PAGE, NULL), -ENOMEM);
}

static void allocations_are_limited(void **state)
{
	uint32_t i;

	(void)state;
	limits.max_resources = 4;
	for (i = 1; i <= 4; i++)
		alloc(ROCM_2026, GPU, PAGE, i);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, 5)), -E2BIG);
	/* The shared blob is a resource. */
	for (i = 1; i <= 3; i++)
		assert_int_equal(add(i, VGPU_RES_BLOB, i, PAGE, NULL), 0);
	assert_int_equal(add(4, VGPU_RES_BLOB, 4, PAGE, NULL), -E2BIG);
}

static void memory_requests_that_there_are_not(void **state)
{
	enum rocm_generation gen;
	uint32_t type;

	(void)state;
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		for (type = 9; type <= 21; type++) {
			assert_int_equal(submit(rocm_memory(gen, type)),
					 -EOPNOTSUPP);
			expect_zeros(gen == ROCM_2025 ? 24 : 320);
		}
		assert_int_equal(submit(rocm_memory(gen, UINT32_MAX)),
				 -EOPNOTSUPP);
	}
}

/* Events */

static void trap_handlers(void **state)
{
	struct rocm_req req;
	uint64_t a, b;

	(void)state;
	a = alloc(ROCM_2026, CPU, 2 * PAGE, 5);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), -EFAULT);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, 2 * PAGE, NULL), 0);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), -EFAULT);
	assert_int_equal(map_nodes(ROCM_2026, 9, a, 2 * PAGE), 0);
	b = alloc(ROCM_2026, CPU, PAGE, 6);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), 0);
	assert_int_equal(rocm_get32(rsp(), 0), 80);
	assert_int_equal(submit(rocm_set_trap(GPU, 0, 0)), 0);
	assert_int_equal(submit(rocm_set_trap(CPU, a, PAGE)), -EINVAL);
	assert_int_equal(submit(rocm_set_trap(7, a, PAGE)), -EINVAL);
	assert_int_equal(submit(rocm_set_trap(GPU, a, 2 * PAGE + 1)), -EFAULT);
	assert_int_equal(submit(rocm_set_trap(GPU, b, 1)), -EFAULT);
	assert_int_equal(submit(rocm_set_trap(GPU, 0x7fff12345678, 1)),
			 -EFAULT);
	assert_int_equal(submit(rocm_set_trap(GPU, a, 0)), -EFAULT);
	req = rocm_set_trap(GPU, a, PAGE);
	rocm_set64(&req, 32, a + PAGE);
	rocm_set64(&req, 40, PAGE);
	assert_int_equal(submit(req), 0);
	rocm_set64(&req, 40, PAGE + 1);
	assert_int_equal(submit(req), -EFAULT);
	expect_zeros(80);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 9, a)), 0);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), -EFAULT);
	/* Where the GPU has it somewhere else, there is none. */
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	elsewhere = 16 * PAGE;
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), 0);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), -EFAULT);
	elsewhere = 0;
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), 0);
	assert_int_equal(submit(rocm_set_trap(GPU, a, PAGE)), 0);
	assert_int_equal(submit(rocm_set_trap(64, a, PAGE)), -EINVAL);
	assert_int_equal(submit(rocm_set_trap(64, 0, 0)), -EINVAL);
}

enum { CREATE, DESTROY, SET, RESET, QUERY_STATE };

static int event(uint32_t type, uint32_t id)
{
	return submit(rocm_event(type, 0, id));
}

/* Of either kind, and made in either state. */
static void events_have_a_state(void **state)
{
	uint32_t manual, signaled, id;

	(void)state;
	for (manual = 0; manual < 2; manual++) {
		for (signaled = 0; signaled < 2; signaled++) {
			assert_int_equal(submit(rocm_create_event(0, manual,
								  signaled,
								  5)), 0);
			assert_int_equal(rocm_get32(rsp(), 0), 80);
			id = rocm_get32(rsp(), 8);
			assert_int_not_equal(id, 0);
			assert_int_equal(rocm_get32(rsp(), 12), 0);
			/* Nothing but the id again, which is no pointer. */
			assert_int_equal(rocm_get64(rsp(), 36), 0);
			assert_int_equal(rocm_get64(rsp(), 44), 0);
			assert_int_equal(rocm_get64(rsp(), 56), id);
			assert_int_equal(rocm_get64(rsp(), 64), 0);
			assert_int_equal(event(QUERY_STATE, id),
					 signaled ? 0 : -ETIMEDOUT);
			assert_int_equal(event(QUERY_STATE, id),
					 signaled && manual ? 0 : -ETIMEDOUT);
			assert_int_equal(event(SET, id), 0);
			assert_int_equal(event(RESET, id), 0);
			assert_int_equal(event(QUERY_STATE, id), -ETIMEDOUT);
			assert_int_equal(event(SET, id), 0);
			assert_int_equal(event(SET, id), 0);
			assert_int_equal(event(QUERY_STATE, id), 0);
			assert_int_equal(event(QUERY_STATE, id),
					 manual ? 0 : -ETIMEDOUT);
			assert_int_equal(event(DESTROY, id), 0);
			assert_int_equal(event(DESTROY, id), -ENOENT);
			assert_int_equal(event(SET, id), -ENOENT);
			assert_int_equal(event(RESET, id), -ENOENT);
			assert_int_equal(event(QUERY_STATE, id), -ENOENT);
			expect_zeros(80);
		}
	}
}

/* The released clients only close it. */
static void an_event_ends_with_its_blob(void **state)
{
	uint32_t id;

	(void)state;
	assert_int_equal(submit(rocm_create_event(0, false, false, 5)), 0);
	id = rocm_get32(rsp(), 8);
	/* It names a resource when there is one. */
	assert_int_equal(submit(rocm_event(SET, 9, id)), -EINVAL);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, 2 * PAGE, NULL), -EINVAL);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(add(8, VGPU_RES_BLOB, 5, PAGE, NULL), -EEXIST);
	assert_int_equal(submit(rocm_event(SET, 9, id)), 0);
	assert_int_equal(submit(rocm_event(SET, SHM_ID, id)), -EINVAL);
	assert_int_equal(submit(rocm_event(SET, 8, id)), -EINVAL);
	/* It is no memory, and nothing is left mapped. */
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, 9)), -EINVAL);
	assert_int_equal(stats.bytes, SHM_SIZE);
	assert_int_equal(submit(rocm_event(QUERY_STATE, 9, id)), 0);
	assert_int_equal(ctx->ops->remove_resource(ctx, 9), 0);
	assert_int_equal(submit(rocm_event(SET, 0, id)), -ENOENT);
	/* Destroyed before: the id is in use as long as the blob. */
	assert_int_equal(submit(rocm_create_event(0, false, false, 5)), 0);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_event(DESTROY, 9, id)), 0);
	assert_int_equal(submit(rocm_event(DESTROY, 9, id)), -ENOENT);
	assert_int_equal(submit(rocm_create_event(0, false, false, 5)),
			 -EEXIST);
	assert_int_equal(ctx->ops->remove_resource(ctx, 9), 0);
	/* With and without a blob, these are left for the end. */
	assert_int_equal(submit(rocm_create_event(0, false, false, 5)), 0);
	assert_int_equal(add(9, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_create_event(0, false, false, 6)), 0);
}

static void bad_events(void **state)
{
	uint32_t type;

	(void)state;
	/* Waits, and what nobody knows. */
	for (type = 5; type < 10; type++) {
		if (type == 6)
			continue;
		assert_int_equal(event(type, 5), -EOPNOTSUPP);
		expect_zeros(80);
	}
	assert_int_equal(event(UINT32_MAX, 5), -EOPNOTSUPP);
	/* Of memory, of a node; of no blob, of one that is something else. */
	assert_int_equal(submit(rocm_create_event(8, false, false, 5)),
			 -EOPNOTSUPP);
	assert_int_equal(submit(rocm_create_event(UINT32_MAX, false, false,
						  5)), -EOPNOTSUPP);
	assert_int_equal(submit(rocm_create_event(0, false, false, 0)),
			 -EINVAL);
	assert_int_equal(submit(rocm_create_event(0, false, false,
						  1ULL << 32)), -EINVAL);
	alloc(ROCM_2026, GPU, PAGE, 5);
	assert_int_equal(submit(rocm_create_event(0, false, false, 5)),
			 -EEXIST);
	expect_zeros(80);
	for (type = DESTROY; type <= QUERY_STATE; type++) {
		assert_int_equal(event(type, 5), -ENOENT);
		assert_int_equal(event(type, 0), -ENOENT);
		/* A pointer of the guest's. */
		assert_int_equal(submit(rocm_event(type, 0, 0x7fff12345678)),
				 -ENOENT);
	}
	assert_int_equal(submit(rocm_create_event(0, false, false, 6)), 0);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, 6)), -EEXIST);
}

static void events_are_limited(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 1; i <= 4096; i++)
		assert_int_equal(submit(rocm_create_event(0, false, false,
							  1000 + i)), 0);
	assert_int_equal(submit(rocm_create_event(0, false, false, 999)),
			 -E2BIG);
	assert_int_equal(event(DESTROY, 1007), 0);
	assert_int_equal(submit(rocm_create_event(0, false, false, 999)), 0);
	assert_int_equal(submit(rocm_create_event(0, false, false, 998)),
			 -E2BIG);
}

/* The extension */

static void access_is_for_simulated_gpus(void **state)
{
	struct rocm_req req;
	uint64_t a;

	(void)state;
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)), 0);
	assert_int_equal(map_nodes(ROCM_2026, 1, a, PAGE), 0);
	assert_int_equal(submit(rocm_access(true, CPU, a, 1, 0)), -EINVAL);
	assert_int_equal(submit(rocm_access(true, 40, a, 1, 0)), -EINVAL);
	req = rocm_access(true, GPU, a, 1, 0);
	rocm_set32(&req, 16, 2);
	assert_int_equal(submit(req), -EINVAL);
	ops.access = NULL;
	assert_int_equal(submit(rocm_access(true, GPU, a, 1, 0)), -EOPNOTSUPP);
}

/* Resources */

static void bad_resources(void **state)
{
	(void)state;
	assert_int_equal(add(0, 0, 7, PAGE, NULL), -EINVAL);
	assert_int_equal(add(SHM_ID, 0, 7, PAGE, NULL), -EEXIST);
	assert_int_equal(add(1, 0, 7, PAGE + 1, NULL), -EINVAL);
	assert_int_equal(add(1, 0, 7, 0, NULL), -EINVAL);
	/* The shared blob: a second, small, or read-only one. */
	assert_int_equal(add(1, VGPU_RES_BLOB, 0, SHM_SIZE, NULL), -EEXIST);
	assert_int_equal(add(1, VGPU_RES_BLOB, 0, 2048, NULL), -EINVAL);
	assert_int_equal(add(1, VGPU_RES_BLOB | VGPU_RES_RDONLY, 0, SHM_SIZE,
			     NULL), -EINVAL);
	/* Of an allocation: none, of another size, read-only, a second. */
	assert_int_equal(add(1, VGPU_RES_BLOB, 5, PAGE, NULL), -ENOENT);
	assert_int_equal(add(1, VGPU_RES_BLOB, UINT64_MAX, PAGE, NULL),
			 -ENOENT);
	alloc(ROCM_2026, GPU, 2 * PAGE, 5);
	assert_int_equal(add(1, VGPU_RES_BLOB, 5, PAGE, NULL), -EINVAL);
	assert_int_equal(add(1, VGPU_RES_BLOB, 5, 3 * PAGE, NULL), -EINVAL);
	assert_int_equal(add(1, VGPU_RES_BLOB, (1ULL << 32) + 5, 2 * PAGE,
			     NULL), -ENOENT);
	assert_int_equal(add(1, VGPU_RES_BLOB | VGPU_RES_RDONLY, 5, 2 * PAGE,
			     NULL), -EINVAL);
	fail = -EIO;
	assert_int_equal(add(1, VGPU_RES_BLOB, 5, 2 * PAGE, NULL), -EIO);
	fail = 0;
	assert_int_equal(add(1, VGPU_RES_BLOB, 5, 2 * PAGE, NULL), 0);
	assert_int_equal(add(2, VGPU_RES_BLOB, 5, 2 * PAGE, NULL), -EEXIST);
	/* The guest's own with the same blob_id is something else. */
	assert_int_equal(add(2, 0, 5, 2 * PAGE, NULL), 0);
	assert_int_equal(ctx->ops->remove_resource(ctx, 3), -ENOENT);
}

/* What was begun leaves neither addresses nor mappings. */
static void windows_that_are_not_finished(void **state)
{
	const struct vcs_resource_info info = { .res_id = 1, .size = 4 * PAGE };
	const struct vgpu_run run = { .length = PAGE };
	struct vcs_window win;
	uint64_t first = 0, addr;
	size_t left = budget.left;
	int fd, i;

	(void)state;
	fd = make_memfd(PAGE, false);
	for (i = 0; i < 5; i++) {
		assert_int_equal(ctx->ops->check_resource(ctx, &info), 0);
		assert_int_equal(ctx->ops->init_window(ctx, &info, &win), 0);
		assert_int_equal(vcs_window_append(&win, &run, 1, &fd, 1,
						   &budget), 0);
		if (!first)
			first = (uintptr_t)win.addr;
		vcs_window_unmap(&win, &budget);
		assert_int_equal(budget.left, left);
	}
	close(fd);
	/* Nobody is behind such an address. */
	assert_int_equal(submit(rocm_register(ROCM_2026, 0, first, 1, 0)),
			 -ENOENT);
	addr = (uintptr_t)win.addr;
	assert_int_equal(submit(rocm_register(ROCM_2026, 0, addr, 1, 0)),
			 -ENOENT);
}

static void large_memory_is_aligned(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	assert_int_equal(add(2, 0, 7, 2UL << 20, NULL), 0);
	assert_int_equal(userptr(ROCM_2026, 1) % PAGE, 0);
	assert_int_equal(userptr(ROCM_2026, 2) % (2UL << 20), 0);
	/* In more than 32 bits; there are no pages behind it. */
	assert_int_equal(add(3, 0, 7, 5UL << 30, NULL), 0);
	assert_int_equal(userptr(ROCM_2026, 3) % (2UL << 20), 0);
	assert_int_equal(rocm_get32(rsp(), 16), (5UL << 30) / PAGE);
	assert_int_equal(submit(rocm_register(ROCM_2026, 3,
					      rocm_get64(rsp(), 8),
					      (5UL << 30) - 7, 0)), 0);
	assert_int_equal(stats.bytes, SHM_SIZE + PAGE + (2UL << 20) +
			 (5UL << 30));
}

static void registered_memory_is_limited(void **state)
{
	(void)state;
	limits.max_registered = SHM_SIZE + 2 * PAGE;
	assert_int_equal(add(1, 0, 7, 3 * PAGE, NULL), -E2BIG);
	assert_int_equal(add(1, 0, 7, 2 * PAGE, NULL), 0);
	alloc(ROCM_2026, GPU, PAGE, 5);
	assert_int_equal(add(2, VGPU_RES_BLOB, 5, PAGE, NULL), -E2BIG);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1), 0);
	assert_int_equal(add(2, VGPU_RES_BLOB, 5, PAGE, NULL), 0);
	assert_int_equal(stats.resources, 2);
	assert_int_equal(stats.max_bytes, limits.max_registered);
	/* Mappings: a window in the reservation splits it. */
	budget.left = 1;
	assert_int_equal(add(3, 0, 7, PAGE, NULL), -E2BIG);
	budget.left = 2;
	assert_int_equal(add(3, 0, 7, PAGE, NULL), 0);
	assert_int_equal(budget.left, 0);
	budget.left = 50000 - 5;
}

static void many_registrations(void **state)
{
	uint64_t addr, last = 0;
	uint32_t i;

	(void)state;
	for (i = 1; i < 4000; i++) {
		assert_int_equal(add(1000 + i, 0, i, PAGE, NULL), 0);
		addr = userptr(ROCM_2025, 1000 + i);
		assert_true(addr > last);
		last = addr;
		assert_int_equal(submit(rocm_register(ROCM_2025, 1000 + i, addr,
						      1, 0)), 0);
		assert_int_equal(map_nodes(ROCM_2025, 1000 + i, addr, PAGE), 0);
	}
	for (i = 1; i < 4000; i += 2)
		assert_int_equal(ctx->ops->remove_resource(ctx, 1000 + i), 0);
	assert_int_equal(fill(last, 1, 1), -EFAULT);
	assert_int_equal(fill(last - PAGE, 1, 1), 0);
}

/* A GPU address of before is nobody's. */
static void addresses_of_the_past(void **state)
{
	uint64_t a, b;

	(void)state;
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	a = userptr(ROCM_2026, 1);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1), 0);
	assert_int_equal(add(1, 0, 7, PAGE, NULL), 0);
	b = userptr(ROCM_2026, 1);
	assert_int_not_equal(a, b);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, a, PAGE, 0)),
			 -ENOENT);
	assert_int_equal(submit(rocm_register(ROCM_2026, 1, b, PAGE, 0)), 0);
}

/*
 * Each step fails until it has enough memory, which is @need allocations, and
 * leaves nothing behind that would have it fail then.
 */
#define STARVE(need, step)						\
	do {								\
		int left_;						\
									\
		for (left_ = 0; left_ < (need); left_++) {		\
			memory_left = left_;				\
			assert_int_equal(step, -ENOMEM);		\
		}							\
		memory_left = need;					\
		assert_int_equal(step, 0);				\
		memory_left = -1;					\
	} while (0)

static void out_of_memory(void **state)
{
	uint64_t addr;
	int i;

	(void)state;
	/* A block and its place in the tree, both structures. */
	STARVE(4, add(1, 0, 7, PAGE, NULL));
	addr = userptr(ROCM_2026, 1);
	STARVE(2, submit(rocm_register(ROCM_2026, 1, addr, 1, 0)));
	STARVE(3, submit(rocm_alloc(ROCM_2026, GPU, PAGE, 5)));
	assert_int_equal(avail(GPU), (16ULL << 30) - PAGE);
	STARVE(3, add(2, VGPU_RES_BLOB, 5, PAGE, NULL));
	STARVE(1, submit(rocm_query_list(9, GPU, 3, 32)));
	STARVE(1, submit(rocm_create_event(0, false, false, 6)));
	STARVE(1, add(3, VGPU_RES_BLOB, 6, PAGE, NULL));
	ctx->ops->destroy(ctx);
	memory_left = 0;
	ctx = vcs_rocm_create(thunk, &limits, true, &stats, &budget);
	assert_null(ctx);
	assert_null(vcs_thunk_sim_open());
	memory_left = -1;
	ctx = vcs_rocm_create(thunk, &limits, true, &stats, &budget);
	assert_non_null(ctx);
	for (i = 0; i < 2; i++) {
		memory_left = i ? -1 : 0;
		assert_int_equal(add(SHM_ID, VGPU_RES_BLOB, 0, SHM_SIZE, &shm),
				 i ? 0 : -ENOMEM);
	}
}

/* What the context does not ask of it. */
static void the_thunk_itself(void **state)
{
	static uint8_t mem[2];
	const uint32_t gpu = GPU;
	struct vcs_thunk_io_link link;
	struct vcs_thunk_cache cache;
	struct vcs_thunk_bank bank;
	uint32_t node, index;
	uint64_t addr;

	(void)state;
	for (node = 0; node < 4; node++) {
		index = node < 2 ? 3 : 0;
		assert_int_equal(sim_ops->bank(thunk, node, index, &bank),
				 -EINVAL);
		assert_int_equal(sim_ops->cache(thunk, node, index, &cache),
				 -EINVAL);
		assert_int_equal(sim_ops->io_link(thunk, node, index, &link),
				 -EINVAL);
	}
	assert_int_equal(sim_ops->gpu_info(thunk, CPU,
					   &(struct vcs_thunk_gpu_info) { 0 }),
			 -EINVAL);
	assert_int_equal(sim_ops->register_memory(thunk, mem, 0, false),
			 -EINVAL);
	assert_int_equal(sim_ops->register_memory(thunk, mem, SIZE_MAX, false),
			 -EINVAL);
	assert_int_equal(sim_ops->register_memory(thunk, mem, 2, false), 0);
	assert_int_equal(sim_ops->register_memory(thunk, mem + 1, 1, false),
			 -EEXIST);
	/* By what is inside of it, or not there. */
	assert_int_equal(sim_ops->map_to_nodes(thunk, mem + 1, &gpu, 1,
					       &addr), -EINVAL);
	assert_int_equal(sim_ops->unmap(thunk, mem + 1), -EINVAL);
	sim_ops->deregister(thunk, mem + 1);
	assert_int_equal(sim_ops->map_to_nodes(thunk, mem, &gpu, 0, &addr),
			 0);
	assert_int_equal(sim_ops->unmap(thunk, mem), 0);
	sim_ops->deregister(thunk, mem);
	assert_int_equal(sim_ops->unmap(thunk, mem), -EINVAL);
	/* Left to the end. */
	assert_int_equal(sim_ops->register_memory(thunk, mem, 2, false), 0);
}

static void shared_blob_can_be_replaced(void **state)
{
	struct rocm_req req = rocm_nop();

	(void)state;
	assert_int_equal(ctx->ops->remove_resource(ctx, SHM_ID), 0);
	assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), -EINVAL);
	assert_int_equal(add(SHM_ID + 1, VGPU_RES_BLOB, 0, 25 * PAGE, &shm), 0);
	rocm_set32(&req, 8, 1);
	memcpy(shm + 16, "\x08\0\0\0", 4);
	assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
	assert_int_equal(rocm_get32(shm, 0), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(shared_blob_is_initialised),
		cmocka_unit_test_setup_teardown(no_shared_blob_no_submission,
						setup_bare, teardown),
		T(nop_is_answered),
		T(unknown_commands),
		T(commands_in_one_submission),
		T(broken_lengths),
		T(requests_shorter_than_their_type),
		T(places_of_responses),
		T(rooms_that_are_none),
		T(responses_are_cut_to_their_room),
		T(open_kfd),
		T(system_and_version),
		T(runtime_is_enabled_once),
		T(nodes),
		T(nodes_of_an_old_client),
		T(bad_nodes),
		T(memory_banks),
		T(caches),
		T(io_links),
		T(lists_are_bounded),
		T(gpu_info),
		T(clocks_go_on),
		T(device_handles_are_ids),
		T(queries_that_there_are_not),
		T(thunks_that_fail),
		T(registered_memory_is_the_gpus),
		T(clients_without_resource_ids),
		T(map_to_all_gpus),
		T(read_only_is_kept),
		T(bad_registrations),
		T(bad_mappings),
		T(deregistered_memory_is_not_the_gpus),
		T(allocated_memory_is_where_it_says),
		T(the_gpu_may_have_it_elsewhere),
		T(allocations_end_without_a_blob),
		T(freed_before_the_blob_is_closed),
		T(allocations_are_aligned),
		T(bad_allocations),
		T(addresses_run_out),
		T(allocations_are_limited),
		T(memory_requests_that_there_are_not),
		T(trap_handlers),
		T(events_have_a_state),
		T(an_event_ends_with_its_blob),
		T(bad_events),
		T(events_are_limited),
		T(access_is_for_simulated_gpus),
		T(bad_resources),
		T(windows_that_are_not_finished),
		T(large_memory_is_aligned),
		T(registered_memory_is_limited),
		T(many_registrations),
		T(addresses_of_the_past),
		T(out_of_memory),
		T(the_thunk_itself),
		T(shared_blob_can_be_replaced),
	};

	return cmocka_run_group_tests_name("rocm", tests, NULL, NULL);
}
