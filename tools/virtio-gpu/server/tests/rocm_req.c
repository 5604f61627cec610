// SPDX-License-Identifier: MIT
/*
 * Requests of the ROCM context as clients of either generation form them
 */
#include <endian.h>
#include <string.h>

#include "rocm_req.h"

void rocm_set32(struct rocm_req *req, size_t offset, uint32_t value)
{
	value = htole32(value);
	memcpy(req->data + offset, &value, sizeof(value));
}

void rocm_set64(struct rocm_req *req, size_t offset, uint64_t value)
{
	value = htole64(value);
	memcpy(req->data + offset, &value, sizeof(value));
}

uint32_t rocm_get32(const void *data, size_t offset)
{
	uint32_t value;

	memcpy(&value, (const uint8_t *)data + offset, sizeof(value));
	return le32toh(value);
}

uint64_t rocm_get64(const void *data, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)data + offset, sizeof(value));
	return le64toh(value);
}

static struct rocm_req begin(uint32_t cmd, uint32_t len, uint32_t room)
{
	struct rocm_req req = { .gen = ROCM_2026, .len = len, .room = room };

	rocm_set32(&req, 0, cmd);
	rocm_set32(&req, 4, len);
	return req;
}

struct rocm_req rocm_nop(void)
{
	return begin(1, 16, 8);
}

struct rocm_req rocm_query(uint32_t type, uint32_t node)
{
	struct rocm_req req = begin(2, 128, 424);

	rocm_set32(&req, 48, type);
	rocm_set32(&req, 56, node);
	return req;
}

struct rocm_req rocm_query_list(uint32_t type, uint32_t node, uint32_t count,
				uint32_t size)
{
	struct rocm_req req = rocm_query(type, node);

	/* A cache's processor is before the count. */
	rocm_set32(&req, type == 10 ? 64 : 60, count);
	req.room = (424 + count * size + 7) & ~7U;
	return req;
}

struct rocm_req rocm_memory(enum rocm_generation gen, uint32_t type)
{
	struct rocm_req req;

	req = gen == ROCM_2025 ? begin(4, 80, 24) : begin(4, 312, 320);
	req.gen = gen;
	rocm_set32(&req, gen == ROCM_2025 ? 72 : 304, type);
	return req;
}

static void set_res_id(struct rocm_req *req, uint32_t res_id)
{
	rocm_set32(req, req->gen == ROCM_2025 ? 76 : 308, res_id);
}

struct rocm_req rocm_map_userptr(enum rocm_generation gen, uint32_t res_id)
{
	struct rocm_req req = rocm_memory(gen, 8);

	set_res_id(&req, res_id);
	return req;
}

struct rocm_req rocm_register(enum rocm_generation gen, uint32_t res_id,
			      uint64_t addr, uint64_t size, uint32_t flags)
{
	struct rocm_req req = rocm_memory(gen, 6);

	set_res_id(&req, res_id);
	rocm_set64(&req, 16, addr);
	rocm_set64(&req, 24, size);
	rocm_set32(&req, 32, flags);
	return req;
}

struct rocm_req rocm_map_nodes(enum rocm_generation gen, uint32_t res_id,
			       uint64_t addr, uint64_t size,
			       const uint32_t *nodes, uint32_t nr_nodes)
{
	struct rocm_req req = rocm_memory(gen, 1);
	uint32_t i;

	set_res_id(&req, res_id);
	rocm_set64(&req, 16, addr);
	rocm_set64(&req, 24, size);
	rocm_set64(&req, 48, nr_nodes);
	for (i = 0; i < nr_nodes && req.len + 4 * i < ROCM_REQ_MAX; i++)
		rocm_set32(&req, req.len + 4 * i, nodes[i]);
	req.len = (req.len + 4 * i + 7) & ~7U;
	rocm_set32(&req, 4, req.len);
	return req;
}

struct rocm_req rocm_alloc(enum rocm_generation gen, uint32_t node,
			   uint64_t size, uint32_t blob_id)
{
	struct rocm_req req = rocm_memory(gen, 0);

	rocm_set32(&req, 16, node);
	/* Clients have host access unless asked for something else. */
	rocm_set32(&req, 20, 1 << 6);
	rocm_set64(&req, 24, size);
	rocm_set64(&req, gen == ROCM_2025 ? 64 : 296, blob_id);
	return req;
}

struct rocm_req rocm_memory_at(enum rocm_generation gen, uint32_t type,
			       uint32_t res_id, uint64_t addr)
{
	struct rocm_req req = rocm_memory(gen, type);

	set_res_id(&req, res_id);
	rocm_set64(&req, 16, addr);
	return req;
}

struct rocm_req rocm_queue(enum rocm_generation gen, uint32_t type,
			   uint32_t res_id, uint64_t queue_id)
{
	struct rocm_req req = begin(5, 136, gen == ROCM_2025 ? 96 : 168);

	req.gen = gen;
	rocm_set64(&req, 16, queue_id);
	rocm_set32(&req, 120, res_id);
	rocm_set32(&req, 124, type);
	return req;
}

struct rocm_req rocm_create_queue(enum rocm_generation gen,
				  const struct rocm_queue *queue)
{
	struct rocm_req req = rocm_queue(gen, 0, queue->res_id, 0);

	rocm_set32(&req, 16, queue->node);
	rocm_set32(&req, 20, 21);
	rocm_set32(&req, 24, queue->percentage);
	rocm_set64(&req, 32, (uint64_t)queue->priority);
	/* No SDMA engine, and pointers of the guest's. */
	rocm_set32(&req, 44, UINT32_MAX);
	rocm_set64(&req, 48, queue->addr);
	rocm_set64(&req, 56, queue->size);
	rocm_set64(&req, 64, 0x7fff12345678);
	rocm_set64(&req, 72, 0x7fff87654321);
	rocm_set64(&req, 80, queue->write_ptr);
	rocm_set64(&req, 88, queue->read_ptr);
	rocm_set64(&req, 96, queue->blob_id);
	rocm_set64(&req, 112, queue->doorbell_blob_id);
	rocm_set32(&req, 128, queue->mem_res_id);
	return req;
}

struct rocm_req rocm_update_queue(uint32_t res_id,
				  const struct rocm_queue *queue)
{
	/* It names the queue by a pointer of the guest's, too. */
	struct rocm_req req = rocm_queue(ROCM_2026, 2, res_id, 0x7fff12345678);

	rocm_set32(&req, 24, queue->percentage);
	rocm_set64(&req, 32, (uint64_t)queue->priority);
	rocm_set64(&req, 40, queue->addr);
	rocm_set64(&req, 48, queue->size);
	rocm_set32(&req, 128, queue->mem_res_id);
	return req;
}

struct rocm_req rocm_event(uint32_t type, uint32_t res_id, uint64_t id)
{
	struct rocm_req req = begin(3, 104, 80);

	rocm_set64(&req, 16, id);
	rocm_set32(&req, 80, type);
	rocm_set32(&req, 96, res_id);
	return req;
}

struct rocm_req rocm_create_event(uint32_t type, bool manual_reset,
				  bool signaled, uint64_t blob_id)
{
	struct rocm_req req = rocm_event(0, 0, 0);

	rocm_set32(&req, 16, type);
	rocm_set32(&req, 20, 1);
	/* A pointer of the guest's. */
	rocm_set64(&req, 24, 0x7fff12345678);
	rocm_set64(&req, 32, 8);
	req.data[40] = manual_reset;
	req.data[41] = signaled;
	rocm_set64(&req, 88, blob_id);
	return req;
}

struct rocm_req rocm_set_trap(uint32_t node, uint64_t handler,
			      uint64_t handler_size)
{
	struct rocm_req req = begin(3, 104, 80);

	rocm_set64(&req, 16, handler);
	rocm_set64(&req, 24, handler_size);
	rocm_set32(&req, 48, node);
	rocm_set32(&req, 80, 6);
	return req;
}

struct rocm_req rocm_access(bool fill, uint32_t node, uint64_t addr,
			    uint64_t size, uint8_t value)
{
	struct rocm_req req = begin(0x10000, 48, 16);

	rocm_set32(&req, 16, fill);
	rocm_set32(&req, 20, node);
	rocm_set64(&req, 24, addr);
	rocm_set64(&req, 32, size);
	rocm_set64(&req, 40, value);
	return req;
}

uint64_t rocm_checksum(const uint8_t *p, size_t size)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < size; i++)
		sum += (i + 1) * p[i];
	return sum;
}
