/* SPDX-License-Identifier: MIT */
/*
 * The tests' side of a ROCM context of a server under test
 */
#ifndef TESTS_ROCM_CTX_H
#define TESTS_ROCM_CTX_H

#include "client.h"
#include "rocm_req.h"

/* The node that is a GPU, of the simulation and of what plays libhsakmt. */
#define ROCM_GPU	1

/* Submits, checks seqno; ret of the response. */
int rocm(struct ctx *c, struct rocm_req req);
/* 64 bits of that response. */
uint64_t rocm_value(const struct ctx *c, size_t at);
/*
 * As the client does it when memory has been made a resource: @size bytes of it
 * are registered and the GPU's from then on, at the address that is returned.
 */
uint64_t rocm_lock(struct ctx *c, enum rocm_generation gen, uint32_t res_id,
		   uint64_t size);

#endif /* TESTS_ROCM_CTX_H */
