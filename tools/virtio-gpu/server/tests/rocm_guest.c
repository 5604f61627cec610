// SPDX-License-Identifier: MIT
/*
 * A guest's program with a queue, in the tests of whole servers
 */
#include <unistd.h>

#include "rocm_guest.h"

void store(uint8_t *mem, size_t at, uint64_t v)
{
	__atomic_store_n((uint64_t *)(mem + at), v, __ATOMIC_RELEASE);
}

uint64_t load(const uint8_t *mem, size_t at)
{
	return __atomic_load_n((const uint64_t *)(mem + at), __ATOMIC_ACQUIRE);
}

uint64_t lock(struct ctx *c, enum rocm_generation gen, uint32_t res_id,
	      const struct memory *m, bool rdonly)
{
	assert_int_equal(map_memory(c, res_id, m, rdonly), 0);
	return rocm_lock(c, gen, res_id, m->pages * page_size());
}

void guest_begin(struct server *s, struct guest *g, enum rocm_generation gen)
{
	size_t i;

	ctx_create(s, &g->c);
	memory_create(&g->mem, 2);
	g->ring = memory_page(&g->mem, 0);
	g->desc = memory_page(&g->mem, 1);
	for (i = 0; i < NR_PACKETS; i++)
		g->ring[64 * i] = INVALID;
	g->addr = lock(&g->c, gen, MEMORY, &g->mem, false);
	store(g->desc, READ_PTR_OFFSET, READ_PTR);
	store(g->desc, INACTIVE, g->addr + page_size() + SIGNAL(0));
}

void guest_end(struct guest *g)
{
	ctx_close(&g->c);
	memory_destroy(&g->mem);
}

struct rocm_queue queue(const struct guest *g)
{
	return (struct rocm_queue) {
		.node = ROCM_GPU,
		.percentage = 100,
		.addr = g->addr,
		.size = RING_SIZE,
		.write_ptr = g->addr + page_size() + WRITE_PTR,
		.read_ptr = g->addr + page_size() + READ_PTR,
		.blob_id = QUEUE,
		.doorbell_blob_id = BELLS,
		.res_id = MEMORY,
		.mem_res_id = MEMORY,
	};
}

void make_queue(struct guest *g, enum rocm_generation gen)
{
	const struct rocm_queue q = queue(g);
	uint32_t flags;

	assert_int_equal(rocm(&g->c, rocm_create_queue(gen, &q)), 0);
	assert_int_equal(rocm_value(&g->c, 56), 0);
	assert_int_equal(map_blob_flags(&g->c, BELLS, BELLS, DOORBELLS, NULL,
					&flags), 0);
	assert_int_equal(flags, VGPU_DONE_DOORBELLS);
	/* Nothing to map, and no doorbells. */
	assert_int_equal(map_blob(&g->c, QUEUE, QUEUE, RING_SIZE, NULL), 0);
}

uint64_t signal_addr(const struct guest *g, unsigned int n)
{
	return g->addr + page_size() + SIGNAL(n);
}

void put_signal(struct guest *g, unsigned int n, int64_t v)
{
	store(g->desc, SIGNAL(n), 1);
	store(g->desc, SIGNAL(n) + 8, (uint64_t)v);
}

void put_packet(struct guest *g, uint8_t type, uint64_t dep,
		uint64_t completion)
{
	uint64_t index = load(g->desc, WRITE_PTR);
	uint8_t *p = g->ring + index % NR_PACKETS * 64;

	store(p, 8, dep);
	store(p, 56, completion);
	store(p, 0, type);
	store(g->desc, WRITE_PTR, index + 1);
}

void ring(struct guest *g)
{
	send_doorbell(&g->c, BELLS, 0, load(g->desc, WRITE_PTR) - 1);
}

void wait_for_signal(const struct guest *g, unsigned int n, int64_t v)
{
	int i;

	for (i = 0; i < TIMEOUT_MS; i++) {
		if ((int64_t)load(g->desc, SIGNAL(n) + 8) == v)
			return;
		usleep(1000);
	}
	assert_int_equal((int64_t)load(g->desc, SIGNAL(n) + 8), v);
}
