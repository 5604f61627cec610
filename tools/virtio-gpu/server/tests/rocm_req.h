/* SPDX-License-Identifier: MIT */
/*
 * Requests of the ROCM context as clients of either generation form them
 *
 * By offsets, not by the structures of the header: what is wrong there is not
 * wrong here as well.
 */
#ifndef TESTS_ROCM_REQ_H
#define TESTS_ROCM_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request has up to this many bytes here. */
#define ROCM_REQ_MAX	512

enum rocm_generation {
	ROCM_2025,
	ROCM_2026,
};

/**
 * struct rocm_req - a request
 * @gen: of the client
 * @len: bytes
 * @room: what the client of this generation has for the response
 * @data: header and the rest, 0 where nothing was set
 */
struct rocm_req {
	enum rocm_generation gen;
	uint32_t len;
	uint32_t room;
	uint8_t data[ROCM_REQ_MAX] __attribute__((aligned(8)));
};

void rocm_set32(struct rocm_req *req, size_t offset, uint32_t value);
void rocm_set64(struct rocm_req *req, size_t offset, uint64_t value);
uint32_t rocm_get32(const void *data, size_t offset);
uint64_t rocm_get64(const void *data, size_t offset);

/* Seqno and the place of the response are set by who submits it. */
struct rocm_req rocm_nop(void);
struct rocm_req rocm_query(uint32_t type, uint32_t node);
/* With room for @count structures of @size bytes. */
struct rocm_req rocm_query_list(uint32_t type, uint32_t node, uint32_t count,
				uint32_t size);
struct rocm_req rocm_memory(enum rocm_generation gen, uint32_t type);
struct rocm_req rocm_map_userptr(enum rocm_generation gen, uint32_t res_id);
struct rocm_req rocm_register(enum rocm_generation gen, uint32_t res_id,
			      uint64_t addr, uint64_t size, uint32_t flags);
struct rocm_req rocm_map_nodes(enum rocm_generation gen, uint32_t res_id,
			       uint64_t addr, uint64_t size,
			       const uint32_t *nodes, uint32_t nr_nodes);
struct rocm_req rocm_alloc(enum rocm_generation gen, uint32_t node,
			   uint64_t size, uint32_t blob_id);
/* FREE, UNMAP, DEREGISTER, AVAIL */
struct rocm_req rocm_memory_at(enum rocm_generation gen, uint32_t type,
			       uint32_t res_id, uint64_t addr);

/**
 * struct rocm_queue - what CREATE of a queue says
 * @node: the GPU
 * @percentage: 0 to 100
 * @priority: -3 to 3
 * @addr: of the packets
 * @size: bytes of them
 * @write_ptr: address of an index
 * @read_ptr: likewise
 * @blob_id: of the queue
 * @doorbell_blob_id: or 0
 * @res_id: with the indices
 * @mem_res_id: with the packets
 */
struct rocm_queue {
	uint32_t node;
	uint32_t percentage;
	int64_t priority;
	uint64_t addr;
	uint64_t size;
	uint64_t write_ptr;
	uint64_t read_ptr;
	uint64_t blob_id;
	uint64_t doorbell_blob_id;
	uint32_t res_id;
	uint32_t mem_res_id;
};

struct rocm_req rocm_create_queue(enum rocm_generation gen,
				  const struct rocm_queue *queue);
/* What it has of percentage, priority, packets and @mem_res_id. */
struct rocm_req rocm_update_queue(uint32_t res_id,
				  const struct rocm_queue *queue);
/* DESTROY, or those that there are not. */
struct rocm_req rocm_queue(enum rocm_generation gen, uint32_t type,
			   uint32_t res_id, uint64_t queue_id);
struct rocm_req rocm_create_event(uint32_t type, bool manual_reset,
				  bool signaled, uint64_t blob_id);
/* What there is to do with an event. */
struct rocm_req rocm_event(uint32_t type, uint32_t res_id, uint64_t id);
struct rocm_req rocm_set_trap(uint32_t node, uint64_t handler,
			      uint64_t handler_size);
struct rocm_req rocm_access(bool fill, uint32_t node, uint64_t addr,
			    uint64_t size, uint8_t value);

/* What CHECKSUM is. */
uint64_t rocm_checksum(const uint8_t *p, size_t size);

#endif /* TESTS_ROCM_REQ_H */
