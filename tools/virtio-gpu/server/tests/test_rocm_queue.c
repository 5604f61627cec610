// SPDX-License-Identifier: MIT
/*
 * Queues of the ROCM context: what makes one and what refuses it, their
 * doorbells, how they end, and what a simulated GPU does with their packets
 */
#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "aql.h"
#include "rocm_bare.h"
#include "vcs_log.h"

/* Blobs, whose resources have the same ids. */
enum {
	RING = 1,
	DESC,
	QUEUE,
	BELLS,
	OTHER,
	SPARE,
};

#define RING_SIZE	PAGE
#define NR_PACKETS	(RING_SIZE / 64)
#define REASON		0	/* signal of INACTIVE */

/* Types of packets, with the bit for what was before. */
#define DISPATCH	0x0102
#define BARRIER_AND	0x0103
#define BARRIER_OR	0x0105

static struct vcs_thunk_queue seen;

/* Memory of the queue, here and for the GPU. */
static uint8_t *ring, *desc;
static uint64_t ring_addr, desc_addr;

static void my_deregister(struct vcs_thunk *t, void *addr)
{
	called('d');
	sim_ops->deregister(t, addr);
}

static int my_map(struct vcs_thunk *t, void *addr, const uint32_t *nodes,
		  uint32_t nr_nodes, uint64_t *gpu_addr)
{
	int ret = sim_ops->map_to_nodes(t, addr, nodes, nr_nodes, gpu_addr);

	*gpu_addr += elsewhere;
	return ret;
}

static int my_unmap(struct vcs_thunk *t, void *addr)
{
	called('u');
	return sim_ops->unmap(t, addr);
}

static int my_create(struct vcs_thunk *t, const struct vcs_thunk_queue *queue,
		     uint64_t *id)
{
	called('c');
	seen = *queue;
	return fail ? fail : sim_ops->create_queue(t, queue, id);
}

static int my_destroy(struct vcs_thunk *t, uint64_t id)
{
	int ret = sim_ops->destroy_queue(t, id);

	called('x');
	/* The memory is still there: the GPU may be at it. */
	(void)*(volatile uint8_t *)(uintptr_t)seen.ring;
	(void)*(volatile uint8_t *)(uintptr_t)seen.read_ptr;
	return fail ? fail : ret;
}

static int my_update(struct vcs_thunk *t, uint64_t id,
		     const struct vcs_thunk_queue *queue)
{
	called('U');
	seen = *queue;
	return fail ? fail : sim_ops->update_queue(t, id, queue);
}

static void my_ring(struct vcs_thunk *t, uint64_t id, uint64_t value)
{
	called('r');
	sim_ops->ring_doorbell(t, id, value);
}

static int add_blob(uint32_t id, size_t size)
{
	return add(id, VGPU_RES_BLOB, id, size, NULL);
}

static int remove_blob(uint32_t id)
{
	return ctx->ops->remove_resource(ctx, id);
}

static int map_gpu(uint32_t res_id, uint64_t addr)
{
	const uint32_t gpu = GPU;

	return submit(rocm_map_nodes(ROCM_2026, res_id, addr, 1, &gpu, 1));
}

/* Memory of ALLOC, in its blob, mapped to the GPU. */
static uint64_t alloc(uint32_t id, size_t size, uint8_t **mem)
{
	uint64_t addr;

	assert_int_equal(submit(rocm_alloc(ROCM_2026, CPU, size, id)), 0);
	addr = rocm_get64(rsp(), 8);
	assert_int_equal(add(id, VGPU_RES_BLOB, id, size, mem), 0);
	assert_int_equal(map_gpu(id, addr), 0);
	return addr;
}

static void put32(uint8_t *mem, size_t at, uint32_t value)
{
	value = htole32(value);
	memcpy(mem + at, &value, sizeof(value));
}

static void put64(uint8_t *mem, size_t at, uint64_t value)
{
	value = htole64(value);
	memcpy(mem + at, &value, sizeof(value));
}

static int make_context(bool doorbells)
{
	if (!bare_open())
		return -1;
	vcs_log_set_level(VCS_LOG_ANSWER);
	ops.deregister = my_deregister;
	ops.map_to_nodes = my_map;
	ops.unmap = my_unmap;
	ops.create_queue = my_create;
	ops.destroy_queue = my_destroy;
	ops.update_queue = my_update;
	ops.ring_doorbell = my_ring;
	ctx = vcs_rocm_create(thunk, &limits, doorbells, &stats, &budget);
	if (!ctx)
		return -1;
	if (add(SHM_ID, VGPU_RES_BLOB, 0, SHM_SIZE, &shm))
		return -1;
	ring_addr = alloc(RING, RING_SIZE, &ring);
	desc_addr = alloc(DESC, PAGE, &desc);
	put32(desc, READ_PTR_OFFSET, READ_PTR);
	put64(desc, INACTIVE, desc_addr + SIGNAL(REASON));
	return 0;
}

static int setup(void **state)
{
	size_t i;

	(void)state;
	if (make_context(true))
		return -1;
	/* As who makes a queue does it. */
	for (i = 0; i < NR_PACKETS; i++)
		ring[64 * i] = INVALID;
	return 0;
}

static int setup_without_doorbells(void **state)
{
	(void)state;
	return make_context(false);
}

static int teardown(void **state)
{
	(void)state;
	bare_close();
	return 0;
}

/* The queue that most tests are about. */
static struct rocm_queue queue(void)
{
	return (struct rocm_queue) {
		.node = GPU,
		.percentage = 100,
		.addr = ring_addr,
		.size = RING_SIZE,
		.write_ptr = desc_addr + WRITE_PTR,
		.read_ptr = desc_addr + READ_PTR,
		.blob_id = QUEUE,
		.doorbell_blob_id = BELLS,
		.res_id = DESC,
		.mem_res_id = RING,
	};
}

static int create(const struct rocm_queue *q)
{
	return submit(rocm_create_queue(ROCM_2026, q));
}

/* With both blobs. */
static void make_queue(void)
{
	const struct rocm_queue q = queue();

	assert_int_equal(create(&q), 0);
	assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), 0);
}

static int ring_at(uint32_t res_id, uint32_t offset, uint32_t size,
		   uint64_t value)
{
	const struct vcs_doorbell bell = {
		.res_id = res_id,
		.offset = offset,
		.size = size,
		.value = value,
	};

	return ctx->ops->doorbell(ctx, &bell);
}

/* Making and ending */

static void a_queue_is_made(void **state)
{
	static const char * const both[] = { "cx", "cxcx" };
	const struct rocm_queue q = queue();
	enum rocm_generation gen;
	uint64_t doorbell;
	size_t left = budget.left;
	uint64_t bytes = stats.bytes;

	(void)state;
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		assert_int_equal(submit(rocm_create_queue(gen, &q)), 0);
		assert_int_equal(rocm_get32(rsp(), 0),
				 gen == ROCM_2025 ? 96 : 168);
		assert_int_equal(seen.node, GPU);
		assert_int_equal(seen.percentage, 100);
		assert_int_equal(seen.priority, 0);
		assert_int_equal(seen.ring, ring_addr);
		assert_int_equal(seen.ring_size, RING_SIZE);
		assert_int_equal(seen.write_ptr, q.write_ptr);
		assert_int_equal(seen.read_ptr, q.read_ptr);
		/* An id, twice, and no pointer of the host. */
		assert_true(rocm_get64(rsp(), 8));
		assert_true(rocm_get64(rsp(), 8) <= UINT32_MAX);
		assert_int_equal(rocm_get64(rsp(), 88), rocm_get64(rsp(), 8));
		assert_int_equal(rocm_get64(rsp(), 16), 0);
		assert_int_equal(rocm_get64(rsp(), 40), 0);
		assert_int_equal(rocm_get64(rsp(), 80), 0);
		/* Where the client is to have the doorbells: nothing is there. */
		assert_int_equal(rocm_get64(rsp(), 56), 0);
		doorbell = rocm_get64(rsp(), 48);
		assert_int_equal(doorbell % PAGE, 0);
		assert_int_equal(map_gpu(0, doorbell), -ENOENT);

		assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
		assert_true(ctx->ops->is_doorbells(ctx, BELLS));
		assert_int_equal(add_blob(QUEUE, RING_SIZE), 0);
		assert_false(ctx->ops->is_doorbells(ctx, QUEUE));
		assert_false(ctx->ops->is_doorbells(ctx, RING));
		assert_false(ctx->ops->is_doorbells(ctx, SHM_ID));
		assert_false(ctx->ops->is_doorbells(ctx, SPARE));
		/* Neither is kept mapped. */
		assert_int_equal(budget.left, left);
		assert_int_equal(stats.bytes, bytes);
		assert_int_equal(remove_blob(QUEUE), 0);
		assert_string_equal(calls, both[gen]);
		assert_int_equal(remove_blob(BELLS), 0);
	}
}

/* Of which nothing is left: the same is made afterwards. */
static void refusals(void **state)
{
	static const struct {
		size_t offset;
		unsigned int size;
		uint64_t value;
		int error;
	} bad[] = {
		/* A node without a GPU, or none. */
		{ 16, 4, CPU, -EINVAL },
		{ 16, 4, 2, -EINVAL },
		{ 16, 4, 64, -EINVAL },
		{ 16, 4, UINT32_MAX, -EINVAL },
		/* PM4, SDMA, and others that bring indices of their own. */
		{ 20, 4, 1, -EOPNOTSUPP },
		{ 20, 4, 2, -EOPNOTSUPP },
		{ 20, 4, 0, -EOPNOTSUPP },
		{ 20, 4, UINT32_MAX, -EOPNOTSUPP },
		{ 24, 4, 101, -EINVAL },
		{ 24, 4, UINT32_MAX, -EINVAL },
		{ 32, 8, 4, -EINVAL },
		{ 32, 8, (uint64_t)-4, -EINVAL },
		{ 32, 8, INT64_MAX, -EINVAL },
		{ 32, 8, 1ULL << 32, -EINVAL },
		/* Sizes: none, no power of two, too small or large. */
		{ 56, 8, 0, -EINVAL },
		{ 56, 8, 3 * 1024, -EINVAL },
		{ 56, 8, 512, -EINVAL },
		{ 56, 8, 1ULL << 31, -EINVAL },
		{ 56, 8, 1ULL << 63, -EINVAL },
		{ 56, 8, UINT64_MAX, -EINVAL },
		/* More than the memory has. */
		{ 56, 8, 2 * RING_SIZE, -EFAULT },
		/* Nobody's addresses. */
		{ 48, 8, 0, -EFAULT },
		{ 48, 8, 0x7fff12345600, -EFAULT },
		{ 48, 8, ~0xffULL, -EFAULT },
		{ 80, 8, 0, -EFAULT },
		{ 80, 8, ~7ULL, -EFAULT },
		{ 88, 8, 0, -EFAULT },
		/* Blobs that cannot be. */
		{ 96, 8, 0, -EINVAL },
		{ 96, 8, 1ULL << 32, -EINVAL },
		{ 96, 8, UINT64_MAX, -EINVAL },
		{ 112, 8, 1ULL << 32, -EINVAL },
		/* Announced before, or twice here. */
		{ 96, 8, RING, -EEXIST },
		{ 112, 8, DESC, -EEXIST },
		{ 112, 8, QUEUE, -EEXIST },
		/* Nobody has announced doorbells. */
		{ 112, 8, 0, -ENOENT },
		/* Resources that are something else, or not there. */
		{ 120, 4, RING, -EINVAL },
		{ 120, 4, SHM_ID, -EINVAL },
		{ 120, 4, 0, -EINVAL },
		{ 120, 4, SPARE, -EINVAL },
		{ 128, 4, DESC, -EINVAL },
		{ 128, 4, 0, -EINVAL },
	};
	struct rocm_queue q = queue();
	enum rocm_generation gen;
	struct rocm_req req;
	size_t i;

	(void)state;
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		for (i = 0; i < NR(bad); i++) {
			req = rocm_create_queue(gen, &q);
			if (bad[i].size == 4)
				rocm_set32(&req, bad[i].offset,
					   (uint32_t)bad[i].value);
			else
				rocm_set64(&req, bad[i].offset, bad[i].value);
			assert_int_equal(submit(req), bad[i].error);
			expect_zeros(gen == ROCM_2025 ? 96 : 168);
		}
		/* Alignment: of packets, and of indices. */
		q.addr += 64;
		q.size /= 2;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EINVAL);
		q = queue();
		q.write_ptr += 4;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EINVAL);
		q = queue();
		q.read_ptr++;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EINVAL);
		/* An index beyond the end, and one somewhere else. */
		q = queue();
		q.write_ptr = desc_addr + PAGE;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EFAULT);
		q.write_ptr = ring_addr;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EINVAL);
		q = queue();
		q.read_ptr = ring_addr;
		assert_int_equal(submit(rocm_create_queue(gen, &q)), -EINVAL);
		q = queue();
	}
	assert_string_equal(calls, "");
	assert_int_equal(add_blob(QUEUE, RING_SIZE), -ENOENT);
	assert_int_equal(add_blob(BELLS, DOORBELLS), -ENOENT);
	make_queue();
	assert_string_equal(calls, "c");
}

/* Memory that the GPU has not, must not write, or has somewhere else. */
static void memory_that_is_no_use(void **state)
{
	struct rocm_queue q = queue();
	struct rocm_req req;
	uint64_t addr;

	(void)state;
	/* Not mapped. */
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, ring_addr)), 0);
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(map_gpu(RING, ring_addr), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, desc_addr)), 0);
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(map_gpu(DESC, desc_addr), 0);
	/* Allocated, without a blob yet. */
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, RING_SIZE, OTHER)),
			 0);
	q.addr = rocm_get64(rsp(), 8);
	q.mem_res_id = OTHER;
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(add_blob(OTHER, RING_SIZE), 0);
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(map_gpu(OTHER, q.addr), 0);
	assert_int_equal(create(&q), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0,
					   rocm_get64(rsp(), 8))), 0);
	assert_int_equal(remove_blob(OTHER), 0);
	/* Read-only: allocated so, and registered so. */
	req = rocm_alloc(ROCM_2026, GPU, RING_SIZE, OTHER);
	rocm_set32(&req, 20, 1 << 6 | 1 << 3);
	assert_int_equal(submit(req), 0);
	q.addr = rocm_get64(rsp(), 8);
	q.doorbell_blob_id = 0;
	assert_int_equal(add_blob(OTHER, RING_SIZE), 0);
	assert_int_equal(map_gpu(OTHER, q.addr), 0);
	assert_int_equal(create(&q), -EACCES);
	assert_int_equal(add(SPARE, 0, 7, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, SPARE)), 0);
	addr = rocm_get64(rsp(), 8);
	assert_int_equal(submit(rocm_register(ROCM_2026, SPARE, addr, PAGE,
					      1 << 3)), 0);
	assert_int_equal(map_gpu(SPARE, addr), 0);
	q = queue();
	q.doorbell_blob_id = 0;
	q.res_id = SPARE;
	q.write_ptr = addr;
	q.read_ptr = addr + 8;
	assert_int_equal(create(&q), -EACCES);
	/* The guest's own is fine, unless the GPU has it elsewhere. */
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, SPARE, 0)), 0);
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(submit(rocm_register(ROCM_2026, SPARE, addr, PAGE, 0)),
			 0);
	elsewhere = 16 * PAGE;
	assert_int_equal(map_gpu(SPARE, addr), 0);
	assert_int_equal(create(&q), -EFAULT);
	elsewhere = 0;
	assert_int_equal(map_gpu(SPARE, addr), 0);
	assert_int_equal(create(&q), 0);
}

static void blobs_of_a_queue(void **state)
{
	const struct rocm_queue q = queue();

	(void)state;
	assert_int_equal(create(&q), 0);
	/* The guest's own with the same blob_id is something else. */
	assert_int_equal(add(OTHER, 0, QUEUE, PAGE, NULL), 0);
	/* Not of that size, or read-only. */
	assert_int_equal(add_blob(QUEUE, RING_SIZE * 2), -EINVAL);
	assert_int_equal(add_blob(BELLS, PAGE), -EINVAL);
	assert_int_equal(add_blob(BELLS, DOORBELLS * 2), -EINVAL);
	assert_int_equal(add(BELLS, VGPU_RES_BLOB | VGPU_RES_RDONLY, BELLS,
			     DOORBELLS, NULL), -EINVAL);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), 0);
	assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
	/* Twice. */
	assert_int_equal(add(SPARE, VGPU_RES_BLOB, QUEUE, RING_SIZE, NULL),
			 -EEXIST);
	assert_int_equal(add(SPARE, VGPU_RES_BLOB, BELLS, DOORBELLS, NULL),
			 -EEXIST);
	/* They are no memory. */
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, QUEUE)), -EINVAL);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, BELLS)), -EINVAL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, BELLS, 0)),
			 -EINVAL);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, QUEUE)),
			 -EEXIST);
	assert_int_equal(submit(rocm_alloc(ROCM_2026, GPU, PAGE, BELLS)),
			 -EEXIST);
}

/* What the size of a page rounds. */
static void a_small_queue_has_a_page_for_a_blob(void **state)
{
	struct rocm_queue q = queue();

	(void)state;
	q.size = 1024;
	q.addr += 256;
	assert_int_equal(create(&q), 0);
	assert_int_equal(add_blob(QUEUE, PAGE), 0);
}

static void doorbells_of_a_node(void **state)
{
	struct rocm_queue q = queue();
	uint64_t first;

	(void)state;
	assert_int_equal(create(&q), 0);
	first = rocm_get64(rsp(), 48);
	/* There are some, whether or not they have a blob yet. */
	q.blob_id = OTHER;
	q.doorbell_blob_id = SPARE;
	assert_int_equal(create(&q), -EEXIST);
	assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
	assert_int_equal(create(&q), -EEXIST);
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	assert_int_equal(rocm_get64(rsp(), 48), first + 8);
	assert_int_equal(rocm_get64(rsp(), 56), 8);
	/* One that has ended leaves its doorbell to the next. */
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, QUEUE)), 0);
	q.blob_id = QUEUE;
	assert_int_equal(create(&q), 0);
	assert_int_equal(rocm_get64(rsp(), 56), 0);
	/* Queues without doorbells live on, and the next brings new ones. */
	assert_int_equal(remove_blob(BELLS), 0);
	q.blob_id = 77;
	assert_int_equal(create(&q), -ENOENT);
	q.doorbell_blob_id = SPARE;
	assert_int_equal(create(&q), 0);
	assert_int_equal(rocm_get64(rsp(), 56), 0);
	assert_int_equal(add_blob(SPARE, DOORBELLS), 0);
	assert_string_equal(calls, "ccxcc");
	assert_int_equal(ring_at(SPARE, 0, 8, 0), 0);
	assert_int_equal(ring_at(SPARE, 8, 8, 0), 0);
	assert_string_equal(calls, "ccxccr");
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, QUEUE)), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, OTHER)), 0);
	assert_string_equal(calls, "ccxccrxx");
}

static void doorbells_that_nobody_has(void **state)
{
	(void)state;
	make_queue();
	/* Of the guest's doing. */
	assert_int_equal(ring_at(BELLS, 0, 8, 1), 0);
	assert_int_equal(ring_at(BELLS, 0, 4, 1), 0);
	assert_string_equal(calls, "crr");
	assert_int_equal(ring_at(BELLS, 4, 4, 1), 0);
	assert_int_equal(ring_at(BELLS, 8, 8, 1), 0);
	assert_int_equal(ring_at(BELLS, DOORBELLS - 8, 8, 1), 0);
	assert_int_equal(ring_at(BELLS, DOORBELLS - 4, 4, 1), 0);
	/* QEMU has shown no such register. */
	assert_int_equal(ring_at(BELLS, DOORBELLS, 8, 1), -EBADMSG);
	assert_int_equal(ring_at(BELLS, DOORBELLS, 4, 1), -EBADMSG);
	assert_int_equal(ring_at(BELLS, 0xfffffff8, 8, 1), -EBADMSG);
	assert_int_equal(ring_at(QUEUE, 0, 8, 1), -EBADMSG);
	assert_int_equal(ring_at(RING, 0, 8, 1), -EBADMSG);
	assert_int_equal(ring_at(SHM_ID, 0, 8, 1), -EBADMSG);
	assert_int_equal(ring_at(SPARE, 0, 8, 1), -EBADMSG);
	assert_int_equal(remove_blob(QUEUE), 0);
	assert_int_equal(ring_at(BELLS, 0, 8, 1), 0);
	assert_int_equal(remove_blob(BELLS), 0);
	assert_int_equal(ring_at(BELLS, 0, 8, 1), -EBADMSG);
	assert_string_equal(calls, "crrx");
}

/* Where the guest would ring in vain, there is no queue. */
static void no_queue_without_doorbells(void **state)
{
	const struct rocm_queue q = queue();

	(void)state;
	assert_int_equal(create(&q), -EOPNOTSUPP);
	expect_zeros(168);
	assert_string_equal(calls, "");
}

static void a_thunk_without_queues(void **state)
{
	const struct rocm_queue q = queue();

	(void)state;
	ops.create_queue = NULL;
	assert_int_equal(create(&q), -EOPNOTSUPP);
	ops.create_queue = my_create;
	make_queue();
	ops.update_queue = NULL;
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), -EOPNOTSUPP);
	ops.run = NULL;
	assert_int_equal(ctx->ops->run(ctx), -1);
}

static void requests_that_there_are_not(void **state)
{
	enum rocm_generation gen;
	uint32_t type;

	(void)state;
	make_queue();
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		for (type = 3; type < 8; type++) {
			assert_int_equal(submit(rocm_queue(gen, type, QUEUE,
							   QUEUE)),
					 -EOPNOTSUPP);
			expect_zeros(gen == ROCM_2025 ? 96 : 168);
		}
		assert_int_equal(submit(rocm_queue(gen, UINT32_MAX, 0, 0)),
				 -EOPNOTSUPP);
	}
}

static void queues_are_destroyed(void **state)
{
	struct rocm_queue q = queue();
	uint64_t id;

	(void)state;
	/* By id, before there is a blob; then there can be none. */
	assert_int_equal(create(&q), 0);
	id = rocm_get64(rsp(), 8);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id + 1)), -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id + (1ULL << 32))),
			 -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, 0x7fff12345678)),
			 -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, BELLS)), -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, RING)), -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id)), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id)), -ENOENT);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), -ENOENT);
	assert_string_equal(calls, "cx");
	/* By resource: its id means nothing then. */
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, RING, id)), -EINVAL);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, SHM_ID, id)),
			 -EINVAL);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, SPARE, id)), -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, QUEUE,
					   0x7fff12345678)), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, QUEUE, 0)), -ENOENT);
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), -ENOENT);
	/* Its blob_id is in use until the blob is closed. */
	assert_int_equal(create(&q), -EEXIST);
	assert_int_equal(remove_blob(QUEUE), 0);
	assert_int_equal(create(&q), 0);
	assert_string_equal(calls, "cxcxc");
}

/* What the guest asks for one by one. */
static void memory_of_a_queue_stays(void **state)
{
	struct rocm_queue q = queue();
	uint64_t addr;

	(void)state;
	make_queue();
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, ring_addr)),
			 -EBUSY);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, ring_addr)),
			 -EBUSY);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 3, 0, desc_addr)),
			 -EBUSY);
	assert_int_equal(submit(rocm_memory_at(ROCM_2025, 2, 0, desc_addr)),
			 -EBUSY);
	assert_string_equal(calls, "c");
	assert_int_equal(remove_blob(QUEUE), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, ring_addr)), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 2, 0, ring_addr)), 0);
	assert_string_equal(calls, "cxuud");
	/* Memory of the guest's own. */
	assert_int_equal(add(SPARE, 0, 7, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, SPARE)), 0);
	addr = rocm_get64(rsp(), 8);
	assert_int_equal(submit(rocm_register(ROCM_2026, SPARE, addr, PAGE, 0)),
			 0);
	assert_int_equal(map_gpu(SPARE, addr), 0);
	q.addr = addr;
	q.size = PAGE / 2;
	q.mem_res_id = SPARE;
	q.res_id = SPARE;
	q.write_ptr = addr + PAGE - 16;
	q.read_ptr = addr + PAGE - 8;
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, SPARE, 0)),
			 -EBUSY);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, QUEUE)), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 7, SPARE, 0)), 0);
	assert_string_equal(calls, "cxuudcxud");
}

/* Closing its blob is not to be refused: the queue ends first. */
static void memory_takes_its_queues_along(void **state)
{
	struct rocm_queue q = queue();

	(void)state;
	make_queue();
	q.blob_id = OTHER;
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	assert_int_equal(remove_blob(RING), 0);
	assert_string_equal(calls, "ccxxud");
	assert_int_equal(ring_at(BELLS, 0, 8, 1), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, QUEUE, 0)), -ENOENT);
	assert_int_equal(remove_blob(QUEUE), 0);
	assert_int_equal(remove_blob(BELLS), 0);
	/* The indices likewise. */
	ring_addr = alloc(RING, RING_SIZE, &ring);
	make_queue();
	assert_int_equal(remove_blob(DESC), 0);
	assert_string_equal(calls, "ccxxudcxud");
}

/* Without a blob to close, it is forgotten by whoever asks for that. */
static void queues_without_memory_or_blob(void **state)
{
	struct rocm_queue q = queue();
	uint64_t id;
	uint32_t i;

	(void)state;
	assert_int_equal(create(&q), 0);
	id = rocm_get64(rsp(), 8);
	assert_int_equal(remove_blob(RING), 0);
	assert_string_equal(calls, "cxud");
	/* Its place is not free yet: the blob may still come. */
	q.addr = ring_addr = alloc(RING, RING_SIZE, &ring);
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), -EEXIST);
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id)), 0);
	assert_string_equal(calls, "cxud");
	assert_int_equal(submit(rocm_queue(ROCM_2025, 1, 0, id)), -ENOENT);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), -ENOENT);
	for (i = 0; i < MAX_QUEUES; i++) {
		q.blob_id = i ? 1000 + i : QUEUE;
		assert_int_equal(create(&q), 0);
	}
	/* The blob that comes is one of a queue that has ended. */
	assert_int_equal(remove_blob(RING), 0);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, QUEUE, 0)), -ENOENT);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, QUEUE)), -ENOENT);
	assert_int_equal(remove_blob(QUEUE), 0);
}

/* A GPU that has it somewhere else now reads no queue there. */
static void memory_that_moves(void **state)
{
	struct rocm_queue q = queue();
	uint64_t addr;

	(void)state;
	/* Of ALLOC: it stays where it was, or the GPU has it no more. */
	make_queue();
	elsewhere = 16 * PAGE;
	assert_int_equal(map_gpu(RING, ring_addr), -EOPNOTSUPP);
	assert_string_equal(calls, "cxu");
	elsewhere = 0;
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, QUEUE, 0)), -ENOENT);
	assert_int_equal(remove_blob(QUEUE), 0);
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), -EFAULT);
	assert_int_equal(map_gpu(RING, ring_addr), 0);
	assert_int_equal(create(&q), 0);
	/* The guest's own is mapped all the same. */
	assert_int_equal(add(SPARE, 0, 7, PAGE, NULL), 0);
	assert_int_equal(submit(rocm_map_userptr(ROCM_2026, SPARE)), 0);
	addr = rocm_get64(rsp(), 8);
	assert_int_equal(submit(rocm_register(ROCM_2026, SPARE, addr, PAGE, 0)),
			 0);
	assert_int_equal(map_gpu(SPARE, addr), 0);
	q.res_id = SPARE;
	q.write_ptr = addr;
	q.read_ptr = addr + 8;
	q.blob_id = OTHER;
	assert_int_equal(create(&q), 0);
	assert_string_equal(calls, "cxucc");
	elsewhere = 16 * PAGE;
	assert_int_equal(map_gpu(SPARE, addr), 0);
	assert_string_equal(calls, "cxuccx");
	elsewhere = 0;
}

/* With a queue that has its blob and one that has none. */
static void a_context_ends_queues_first(void **state)
{
	struct rocm_queue q = queue();

	(void)state;
	make_queue();
	q.blob_id = OTHER;
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	ctx->ops->destroy(ctx);
	assert_string_equal(calls, "ccxxudud");
	assert_int_equal(budget.left, 50000);
	thunk->ops = sim_ops;
	thunk->ops->close(thunk);
	assert_int_equal(make_context(true), 0);
}

static void queues_are_limited(void **state)
{
	struct rocm_queue q = queue();
	uint32_t i;

	(void)state;
	for (i = 0; i < MAX_QUEUES; i++) {
		q.blob_id = 1000 + i;
		assert_int_equal(create(&q), 0);
		assert_int_equal(rocm_get64(rsp(), 56), 8 * i);
		q.doorbell_blob_id = 0;
	}
	q.blob_id++;
	assert_int_equal(create(&q), -E2BIG);
	/* One that has ended counts as long as its blob is there. */
	assert_int_equal(add_blob(1005, RING_SIZE), 0);
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 1005, 0)), 0);
	assert_int_equal(create(&q), -E2BIG);
	assert_int_equal(remove_blob(1005), 0);
	assert_int_equal(create(&q), 0);
	assert_int_equal(rocm_get64(rsp(), 56), 8 * 5);
	/* All of them wait, for what the same packet waits for. */
	put64(desc, SIGNAL(1) + 8, 1);
	put64(ring, 8, desc_addr + SIGNAL(1));
	ring[0] = (uint8_t)BARRIER_AND;
	put64(desc, WRITE_PTR, 1);
	assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
	for (i = 0; i < MAX_QUEUES; i++)
		assert_int_equal(ring_at(BELLS, 8 * i, 8, 0), 0);
	assert_true(ctx->ops->run(ctx) > 0);
}

static void queues_are_updated(void **state)
{
	static const struct {
		uint32_t percentage;
		int64_t priority;
		uint64_t addr, size;
		uint32_t res_id;
		int error;
	} bad[] = {
		{ 101, 0, 0, RING_SIZE, RING, -EINVAL },
		{ 50, 4, 0, RING_SIZE, RING, -EINVAL },
		{ 50, 1LL << 32, 0, RING_SIZE, RING, -EINVAL },
		{ 50, 0, 64, 1024, RING, -EINVAL },
		{ 50, 0, 0, 3000, RING, -EINVAL },
		{ 50, 0, 0, 2 * RING_SIZE, RING, -EFAULT },
		{ 50, 0, 0, RING_SIZE, DESC, -EINVAL },
		{ 50, 0, 0, RING_SIZE, 0, -EINVAL },
	};
	struct rocm_queue q = queue();
	uint64_t addr;
	size_t i;

	(void)state;
	make_queue();
	q.percentage = 50;
	q.priority = -3;
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), 0);
	assert_int_equal(seen.percentage, 50);
	assert_int_equal(seen.priority, -3);
	assert_int_equal(seen.ring, ring_addr);
	assert_int_equal(seen.node, GPU);
	assert_int_equal(seen.read_ptr, q.read_ptr);
	for (i = 0; i < NR(bad); i++) {
		q.percentage = bad[i].percentage;
		q.priority = bad[i].priority;
		q.addr = ring_addr + bad[i].addr;
		q.size = bad[i].size;
		q.mem_res_id = bad[i].res_id;
		assert_int_equal(submit(rocm_update_queue(QUEUE, &q)),
				 bad[i].error);
	}
	q = queue();
	assert_int_equal(submit(rocm_update_queue(0, &q)), -ENOENT);
	assert_int_equal(submit(rocm_update_queue(SPARE, &q)), -ENOENT);
	assert_int_equal(submit(rocm_update_queue(RING, &q)), -EINVAL);
	assert_string_equal(calls, "cU");
	/* To other packets, which have to stay then. */
	addr = alloc(OTHER, 2 * RING_SIZE, NULL);
	q.addr = addr;
	q.size = 2 * RING_SIZE;
	q.mem_res_id = OTHER;
	fail = -EIO;
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), -EIO);
	fail = 0;
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, addr)), 0);
	assert_int_equal(map_gpu(OTHER, addr), 0);
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), 0);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, addr)),
			 -EBUSY);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, ring_addr)), 0);
	assert_string_equal(calls, "cUUuUu");
}

static void thunks_that_fail(void **state)
{
	const struct rocm_queue q = queue();

	(void)state;
	fail = -ENOSPC;
	assert_int_equal(create(&q), -ENOSPC);
	expect_zeros(168);
	assert_int_equal(add_blob(QUEUE, RING_SIZE), -ENOENT);
	assert_int_equal(add_blob(BELLS, DOORBELLS), -ENOENT);
	fail = 0;
	make_queue();
	/* It is gone all the same. */
	fail = -EIO;
	assert_int_equal(remove_blob(RING), 0);
	assert_string_equal(calls, "ccxud");
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
	struct rocm_queue q = queue();

	(void)state;
	/* The queue, the doorbells, their block and its place, the thunk's. */
	STARVE(5, create(&q));
	STARVE(1, add_blob(QUEUE, RING_SIZE));
	STARVE(1, add_blob(BELLS, DOORBELLS));
	q.blob_id = OTHER;
	q.doorbell_blob_id = 0;
	STARVE(2, create(&q));
}

/* Packets */

static void put_signal(unsigned int n, int64_t value)
{
	memset(desc + SIGNAL(n), 0, 64);
	put64(desc, SIGNAL(n), 1);
	put64(desc, SIGNAL(n) + 8, (uint64_t)value);
}

static int64_t signal_value(unsigned int n)
{
	return (int64_t)rocm_get64(desc, SIGNAL(n) + 8);
}

static uint64_t signal_addr(unsigned int n)
{
	return desc_addr + SIGNAL(n);
}

static uint64_t read_index(void)
{
	return rocm_get64(desc, READ_PTR);
}

/* Puts a packet behind the last one; the header comes with valid(). */
static uint8_t *put_packet(const uint64_t *deps, size_t nr_deps,
			   uint64_t completion)
{
	uint64_t index = rocm_get64(desc, WRITE_PTR);
	uint8_t *p = ring + index % NR_PACKETS * 64;
	size_t i;

	put64(desc, WRITE_PTR, index + 1);
	assert_int_equal(p[0], INVALID);
	memset(p + 2, 0, 62);
	for (i = 0; i < nr_deps; i++)
		put64(p, 8 + 8 * i, deps[i]);
	put64(p, 56, completion);
	return p;
}

static void valid(uint8_t *p, uint16_t header)
{
	p[0] = (uint8_t)header;
	p[1] = (uint8_t)(header >> 8);
}

/* The doorbell of the queue of make_queue(); what the context wants to wait. */
static int ring_and_run(void)
{
	assert_int_equal(ring_at(BELLS, 0, 8, rocm_get64(desc, WRITE_PTR) - 1),
			 0);
	return ctx->ops->run(ctx);
}

static void barriers_complete(void **state)
{
	uint64_t gpu_before, gpu_after;
	uint8_t *p;

	(void)state;
	make_queue();
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(ring_and_run(), -1);
	put_signal(1, 5);
	p = put_packet(NULL, 0, signal_addr(1));
	valid(p, BARRIER_AND);
	/* Nothing happens until it rings. */
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(signal_value(1), 5);
	assert_int_equal(submit(rocm_query(12, GPU)), 0);
	gpu_before = rocm_get64(rsp(), 8);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(signal_value(1), 4);
	assert_int_equal(read_index(), 1);
	assert_int_equal(p[0], INVALID);
	assert_int_equal(submit(rocm_query(12, GPU)), 0);
	gpu_after = rocm_get64(rsp(), 8);
	assert_in_range(rocm_get64(desc, SIGNAL(1) + 32), gpu_before,
			gpu_after);
	assert_in_range(rocm_get64(desc, SIGNAL(1) + 40), gpu_before,
			gpu_after);
	/* With an event behind the signal, and without a signal. */
	put64(desc, SIGNAL(1) + 16, desc_addr + 3000);
	put32(desc, SIGNAL(1) + 24, 77);
	valid(put_packet(NULL, 0, signal_addr(1)), BARRIER_OR);
	valid(put_packet(NULL, 0, 0), BARRIER_AND);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(signal_value(1), 3);
	assert_int_equal(rocm_get64(desc, 3000), 77);
	assert_int_equal(read_index(), 3);
	/* Below 0, too. */
	put_signal(2, 0);
	valid(put_packet(NULL, 0, signal_addr(2)), BARRIER_AND);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(signal_value(2), -1);
}

static void barriers_wait_for_all(void **state)
{
	const uint64_t deps[] = { signal_addr(1), 0, signal_addr(2), 0,
				  signal_addr(3) };
	int ms, last = 0, i;

	(void)state;
	make_queue();
	put_signal(1, 1);
	put_signal(2, 0);
	put_signal(3, -1);
	put_signal(4, 1);
	valid(put_packet(deps, 5, signal_addr(4)), BARRIER_AND);
	/* It looks again, later each time, but not much. */
	ms = ring_and_run();
	assert_true(ms > 0);
	for (i = 0; i < 20; i++) {
		last = ms;
		ms = ctx->ops->run(ctx);
		assert_true(ms >= last && ms <= 100);
	}
	assert_int_equal(ms, last);
	/* Each has to have been 0, not all at a time. */
	put_signal(1, 0);
	assert_true(ctx->ops->run(ctx) > 0);
	put_signal(1, 1);
	put_signal(2, 1);
	put_signal(3, 0);
	assert_int_equal(signal_value(4), 1);
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(signal_value(4), 0);
	/* And that again for the next packet. */
	valid(put_packet(deps, 5, signal_addr(4)), BARRIER_AND);
	assert_true(ring_and_run() > 0);
	assert_int_equal(signal_value(4), 0);
}

static void barriers_wait_for_any(void **state)
{
	const uint64_t deps[] = { 0, signal_addr(1), signal_addr(2) };

	(void)state;
	make_queue();
	put_signal(1, 1);
	put_signal(2, 2);
	put_signal(4, 1);
	valid(put_packet(deps, 3, signal_addr(4)), BARRIER_OR);
	assert_true(ring_and_run() > 0);
	assert_int_equal(signal_value(4), 1);
	put_signal(2, 0);
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(signal_value(4), 0);
}

/* One waits for what another completes, whichever is looked at first. */
static void queues_wait_for_each_other(void **state)
{
	struct rocm_queue q = queue();
	uint8_t *ring2, *desc2;
	uint64_t desc2_addr, dep;
	int i;

	(void)state;
	make_queue();
	q.addr = alloc(OTHER, RING_SIZE, &ring2);
	desc2_addr = alloc(SPARE, PAGE, &desc2);
	q.mem_res_id = OTHER;
	q.res_id = SPARE;
	q.write_ptr = desc2_addr + WRITE_PTR;
	q.read_ptr = desc2_addr + READ_PTR;
	q.blob_id = 77;
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	for (i = 0; i < 2; i++) {
		put_signal(1, 1);
		put_signal(2, 1);
		put_signal(3, 1);
		/* First: on 1 sets 2. Second: at once 1, then on 2 sets 3. */
		dep = signal_addr(1);
		valid(put_packet(&dep, 1, signal_addr(2)), BARRIER_AND);
		assert_true(ring_and_run() > 0);
		memset(ring2 + 128 * i, 0, 128);
		put64(ring2, 128 * i + 56, signal_addr(1));
		ring2[128 * i] = 3;
		put64(ring2, 128 * i + 64 + 8, signal_addr(2));
		put64(ring2, 128 * i + 64 + 56, signal_addr(3));
		ring2[128 * i + 64] = 3;
		put64(desc2, WRITE_PTR, 2 * i + 2);
		assert_int_equal(ring_at(BELLS, 8, 8, 1), 0);
		while (ctx->ops->run(ctx) >= 0)
			;
		assert_int_equal(signal_value(3), 0);
		assert_int_equal(rocm_get64(desc2, READ_PTR), 2 * i + 2);
	}
}

static void packets_become_valid_later(void **state)
{
	uint8_t *first, *second;

	(void)state;
	make_queue();
	put_signal(1, 2);
	first = put_packet(NULL, 0, signal_addr(1));
	second = put_packet(NULL, 0, signal_addr(1));
	valid(second, BARRIER_AND);
	/* Nobody looks at it again until whoever was slower rings, too. */
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(read_index(), 0);
	valid(first, BARRIER_AND);
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(read_index(), 0);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(read_index(), 2);
	assert_int_equal(signal_value(1), 0);
	/* An index that has gone back, or far ahead: no packet. */
	put64(desc, WRITE_PTR, 1);
	assert_int_equal(ring_and_run(), -1);
	put64(desc, WRITE_PTR, (uint64_t)-5);
	assert_int_equal(ring_and_run(), -1);
	put64(desc, WRITE_PTR, INT64_MAX);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(read_index(), 2);
}

/* A guest cannot keep the worker: not all at a time; and the ring goes round. */
static void work_is_done_in_pieces(void **state)
{
	unsigned int round, i, n;

	(void)state;
	make_queue();
	for (round = 1; round <= 3; round++) {
		put_signal(1, NR_PACKETS);
		for (i = 0; i < NR_PACKETS; i++)
			valid(put_packet(NULL, 0, signal_addr(1)), BARRIER_AND);
		n = 1;
		for (i = ring_and_run() == 0; i; n++)
			i = ctx->ops->run(ctx) == 0;
		assert_true(n >= 4);
		assert_int_equal(signal_value(1), 0);
		assert_int_equal(read_index(), round * NR_PACKETS);
	}
}

static void stopped_with(uint32_t reason)
{
	assert_int_equal(signal_value(REASON), reason);
	assert_int_equal(rocm_get32(shm, 8), EIO);
	put32(shm, 8, 0);
}

/* The queue has stopped; another one goes on, and it is made again. */
static void stops_at(uint16_t header, const uint64_t *deps, size_t nr_deps,
		     uint64_t completion, uint32_t reason, uint64_t taken)
{
	uint8_t *p;

	put64(desc, WRITE_PTR, 0);
	put64(desc, READ_PTR, 0);
	put_signal(REASON, 0);
	make_queue();
	p = put_packet(deps, nr_deps, completion);
	valid(p, header);
	assert_int_equal(ring_and_run(), -1);
	stopped_with(reason);
	assert_int_equal(read_index(), taken);
	/* Nothing brings it back. */
	valid(put_packet(NULL, 0, 0), BARRIER_AND);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(read_index(), taken);
	assert_int_equal(remove_blob(QUEUE), 0);
	assert_int_equal(remove_blob(BELLS), 0);
	p[0] = INVALID;
	ring[64] = INVALID;
}

static void packets_that_stop_the_queue(void **state)
{
	static const uint16_t formats[] = { 4, 6, 7, 0x80, 0xff, 0x1ff };
	uint64_t bad[6], dep;
	size_t i;

	(void)state;
	put_signal(1, 0);
	/* Kernels, and what is AMD's own. */
	stops_at(DISPATCH, NULL, 0, signal_addr(1), 0x80000000, 0);
	stops_at(0, NULL, 0, signal_addr(1), 256, 0);
	for (i = 0; i < NR(formats); i++)
		stops_at(formats[i], NULL, 0, 0, 32, 0);
	assert_int_equal(signal_value(1), 0);

	/* Signals that are nobody's, beyond an end, at no place for one. */
	bad[0] = 8;
	bad[1] = ~7ULL;
	bad[2] = desc_addr + PAGE - 56;
	bad[3] = signal_addr(1) + 4;
	bad[4] = (uintptr_t)&limits & ~7ULL;
	bad[5] = alloc(OTHER, PAGE, NULL);
	assert_int_equal(submit(rocm_memory_at(ROCM_2026, 3, 0, bad[5])), 0);
	for (i = 0; i < NR(bad); i++) {
		stops_at(BARRIER_AND, &bad[i], 1, 0, 0x20000000, 0);
		stops_at(BARRIER_OR, &bad[i], 1, 0, 0x20000000, 0);
		/* The packet was taken when that is seen. */
		stops_at(BARRIER_AND, NULL, 0, bad[i], 0x20000000, 1);
		/* The same of where an event would be told, in 8 bytes. */
		put64(desc, SIGNAL(1) + 16, i == 2 ? bad[i] + 56 : bad[i]);
		stops_at(BARRIER_AND, NULL, 0, signal_addr(1), 0x20000000, 1);
		assert_int_equal(signal_value(1), 0);
		put64(desc, SIGNAL(1) + 16, 0);
	}
	/* One is enough. */
	dep = bad[0];
	stops_at(BARRIER_OR, (uint64_t[]){ 0, 0, 0, 0, dep }, 5, 0, 0x20000000,
		 0);
}

/* To be waited for, but not to be changed. */
static void read_only_signals(void **state)
{
	struct rocm_req req;
	uint8_t *mem;
	uint64_t addr;

	(void)state;
	req = rocm_alloc(ROCM_2026, CPU, PAGE, OTHER);
	rocm_set32(&req, 20, 1 << 6 | 1 << 3);
	assert_int_equal(submit(req), 0);
	addr = rocm_get64(rsp(), 8);
	assert_int_equal(add(OTHER, VGPU_RES_BLOB, OTHER, PAGE, &mem), 0);
	assert_int_equal(map_gpu(OTHER, addr), 0);
	put_signal(1, 1);
	make_queue();
	valid(put_packet(&addr, 1, signal_addr(1)), BARRIER_AND);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(signal_value(1), 0);
	valid(put_packet(NULL, 0, addr), BARRIER_AND);
	assert_int_equal(ring_and_run(), -1);
	stopped_with(0x20000000);
	assert_int_equal(rocm_get64(mem, 8), 0);
}

/* Nobody who could be told is there to be told. */
static void reasons_that_nobody_hears(void **state)
{
	static const struct {
		size_t at;
		uint64_t value;
	} cases[] = {
		{ READ_PTR_OFFSET, 0 },
		{ READ_PTR_OFFSET, 64 },
		{ INACTIVE, 0 },
		{ INACTIVE, 64 },
		{ INACTIVE, 1025 },
	};
	struct rocm_queue q = queue();
	size_t i;

	(void)state;
	for (i = 0; i < NR(cases); i++) {
		put32(desc, READ_PTR_OFFSET, READ_PTR);
		put64(desc, INACTIVE, desc_addr + SIGNAL(REASON));
		put64(desc, cases[i].at, cases[i].value);
		put64(desc, WRITE_PTR, 0);
		put_signal(REASON, 0);
		make_queue();
		valid(put_packet(NULL, 0, 0), DISPATCH);
		assert_int_equal(ring_and_run(), -1);
		stopped_with(0);
		assert_int_equal(remove_blob(QUEUE), 0);
		assert_int_equal(remove_blob(BELLS), 0);
		ring[0] = INVALID;
	}
	/* Indices that are in no description: at the begin of their memory. */
	q.read_ptr = desc_addr;
	put64(desc, WRITE_PTR, 0);
	assert_int_equal(create(&q), 0);
	assert_int_equal(add_blob(BELLS, DOORBELLS), 0);
	valid(put_packet(NULL, 0, 0), DISPATCH);
	assert_int_equal(ring_and_run(), -1);
	stopped_with(0);
	/* Nor a blob for the error. */
	assert_int_equal(submit(rocm_queue(ROCM_2026, 1, 0, QUEUE)), 0);
	q.doorbell_blob_id = 0;
	assert_int_equal(create(&q), 0);
	assert_int_equal(ctx->ops->remove_resource(ctx, SHM_ID), 0);
	assert_int_equal(ring_and_run(), -1);
}

/* Its share of the GPU is nothing until it is updated. */
static void suspended_queues(void **state)
{
	struct rocm_queue q = queue();

	(void)state;
	make_queue();
	put_signal(1, 1);
	valid(put_packet(NULL, 0, signal_addr(1)), BARRIER_AND);
	q.percentage = 0;
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), 0);
	assert_int_equal(ring_and_run(), -1);
	assert_int_equal(signal_value(1), 1);
	q.percentage = 1;
	assert_int_equal(submit(rocm_update_queue(QUEUE, &q)), 0);
	assert_int_equal(ctx->ops->run(ctx), -1);
	assert_int_equal(signal_value(1), 0);
}

/* What the context does not ask of it. */
static void the_thunk_itself(void **state)
{
	struct vcs_thunk_queue q = { .node = CPU, .ring_size = 1024 };
	uint64_t id;
	int error = 0;

	(void)state;
	assert_int_equal(sim_ops->create_queue(thunk, &q, &id), -EINVAL);
	assert_int_equal(sim_ops->destroy_queue(thunk, 1), -EINVAL);
	assert_int_equal(sim_ops->update_queue(thunk, 1, &q), -EINVAL);
	sim_ops->ring_doorbell(thunk, 1, 0);
	assert_int_equal(sim_ops->run(thunk, &error), -1);
	assert_int_equal(error, 0);
	/* Memory that has gone; left to the end. */
	q.node = GPU;
	q.percentage = 1;
	assert_int_equal(sim_ops->create_queue(thunk, &q, &id), 0);
	sim_ops->ring_doorbell(thunk, id, 0);
	assert_int_equal(sim_ops->run(thunk, &error), -1);
	assert_int_equal(error, -EIO);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_queue_is_made),
		T(refusals),
		T(memory_that_is_no_use),
		T(blobs_of_a_queue),
		T(a_small_queue_has_a_page_for_a_blob),
		T(doorbells_of_a_node),
		T(doorbells_that_nobody_has),
		cmocka_unit_test_setup_teardown(no_queue_without_doorbells,
						setup_without_doorbells,
						teardown),
		T(a_thunk_without_queues),
		T(requests_that_there_are_not),
		T(queues_are_destroyed),
		T(memory_of_a_queue_stays),
		T(memory_takes_its_queues_along),
		T(queues_without_memory_or_blob),
		T(memory_that_moves),
		T(a_context_ends_queues_first),
		T(queues_are_limited),
		T(queues_are_updated),
		T(thunks_that_fail),
		T(out_of_memory),
		T(barriers_complete),
		T(barriers_wait_for_all),
		T(barriers_wait_for_any),
		T(queues_wait_for_each_other),
		T(packets_become_valid_later),
		T(work_is_done_in_pieces),
		T(packets_that_stop_the_queue),
		T(read_only_signals),
		T(reasons_that_nobody_hears),
		T(suspended_queues),
		T(the_thunk_itself),
	};

	return cmocka_run_group_tests_name("rocm_queue", tests, NULL, NULL);
}
