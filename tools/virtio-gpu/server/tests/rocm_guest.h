/* SPDX-License-Identifier: MIT */
/*
 * A guest's program with a queue, in the tests of whole servers
 */
#ifndef TESTS_ROCM_GUEST_H
#define TESTS_ROCM_GUEST_H

#include "aql.h"
#include "rocm_ctx.h"

#define RING_SIZE	4096U
#define NR_PACKETS	(RING_SIZE / 64)

/* Resources; blobs have the same ids. */
enum {
	MEMORY = 1,
	QUEUE,
	BELLS,
	SECOND,
	SPARE,
};

#define DISPATCH	2
#define BARRIER_AND	3

/**
 * struct guest - a context and a queue's memory
 * @c: the context
 * @mem: memory of two pages, resource MEMORY
 * @addr: where the GPU has it
 * @ring: packets
 * @desc: description and signals
 *
 * The memory has all that a queue needs: a page of packets and one with AMD's
 * description of a queue and signals. They are no neighbours.
 */
struct guest {
	struct ctx c;
	struct memory mem;
	uint64_t addr;
	uint8_t *ring;
	uint8_t *desc;
};

void store(uint8_t *mem, size_t at, uint64_t v);
uint64_t load(const uint8_t *mem, size_t at);

/* Memory as resource @res_id, the GPU's, writable or not. */
uint64_t lock(struct ctx *c, enum rocm_generation gen, uint32_t res_id,
	      const struct memory *m, bool rdonly);

void guest_begin(struct server *s, struct guest *g, enum rocm_generation gen);
void guest_end(struct guest *g);

/* What its queue is to be. */
struct rocm_queue queue(const struct guest *g);
/* As the clients do it; the doorbell is the first one. */
void make_queue(struct guest *g, enum rocm_generation gen);

/* Signal @n is @v; the packet waits for @dep and counts @completion down. */
uint64_t signal_addr(const struct guest *g, unsigned int n);
void put_signal(struct guest *g, unsigned int n, int64_t v);
void put_packet(struct guest *g, uint8_t type, uint64_t dep,
		uint64_t completion);
/* For all packets so far. */
void ring(struct guest *g);
void wait_for_signal(const struct guest *g, unsigned int n, int64_t v);

#endif /* TESTS_ROCM_GUEST_H */
