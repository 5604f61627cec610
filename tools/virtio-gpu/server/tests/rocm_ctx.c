// SPDX-License-Identifier: MIT
/*
 * The tests' side of a ROCM context of a server under test
 */
#include <string.h>

#include "rocm_ctx.h"

int rocm(struct ctx *c, struct rocm_req req)
{
	rocm_set32(&req, 8, ++c->seqno);
	rocm_set32(&req, 12, RSP_OFF - 16);
	memset(c->shm + RSP_OFF, 0xee, RSP_ROOM);
	memcpy(c->shm + RSP_OFF, &req.room, sizeof(req.room));
	assert_int_equal(submit(c, req.data, req.len), 0);
	assert_int_equal(rocm_get32(c->shm, 0), c->seqno);
	return (int)rocm_get32(c->shm + RSP_OFF, 4);
}

uint64_t rocm_value(const struct ctx *c, size_t at)
{
	return rocm_get64(c->shm + RSP_OFF, at);
}

uint64_t rocm_lock(struct ctx *c, enum rocm_generation gen, uint32_t res_id,
		   uint64_t size)
{
	const uint32_t gpu = ROCM_GPU;
	uint64_t addr;

	assert_int_equal(rocm(c, rocm_map_userptr(gen, res_id)), 0);
	addr = rocm_value(c, 8);
	assert_true(addr);
	assert_int_equal(rocm(c, rocm_register(gen, res_id, addr, size, 0)),
			 0);
	assert_int_equal(rocm(c, rocm_map_nodes(gen, res_id, addr, size, &gpu,
						1)), 0);
	return addr;
}
