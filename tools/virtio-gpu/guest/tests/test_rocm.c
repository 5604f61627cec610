// SPDX-License-Identifier: MIT
/*
 * vgpu-rocm-conformance: what a guest's ROCr does with a ROCM context, and what
 * no released one would, in both generations of its protocol. Runs in the VM as
 * root, against any backend. What the GPU does with data is asked of sim by an
 * extension; of others, by packets whose signals are in that data.
 *
 * VGPU_ROCM_TRANSCRIPT=FILE   what is said is recorded, see rocm_transcript.h;
 *                             -t session is for replay by the server's tests
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>

#include "kselftest_harness.h"

#include "memory.h"
#include "rocm_client.h"
#include "rocm_transcript.h"

#define PAGE		4096UL
#define MIB		(1UL << 20)
#define HUGE_PAGE	(2 * MIB)

/* What the host must have let go of, in milliseconds after it could. */
#define RELEASE_MS	5000

/* For an answer, so that a test ends by itself if there is none. */
#define ANSWER_MS	20000

/* Of Linux 6.1, and newer than the C library may be. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

/* Of an answer to the GPU's side that is not the expected one. */
#define WRONG_DATA	(-EILSEQ)

static uint8_t *pages(size_t size)
{
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (addr == MAP_FAILED)
		abort();
	return addr;
}

static void fill(uint8_t *addr, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size; i++)
		addr[i] = memory_byte(i, seed);
}

static void sleep_ms(int ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/*
 * The GPU's side. By the extension if there is one, else by a queue of the
 * client's own, in memory of the host.
 */

#define PROBE_RING	PAGE		/* behind a page of indices and a signal */
#define PROBE_SIGNAL	256

/* In which nothing may happen that must not; of probes there are many. */
#define QUIET_MS	20
#define PROBE_QUIET_MS	5

struct probe {
	const struct rocm_client *c;
	struct rocm_buf buf;
	struct rocm_queue q;
	struct probe *next;
};

/* The client's queue; NULL if it cannot be made. */
static struct probe *probe(struct rocm_client *c, uint32_t node)
{
	static struct probe *probes;
	struct rocm_reg reg;
	struct probe *p;

	for (p = probes; p; p = p->next)
		if (p->c == c)
			return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	if (rocm_alloc(c, node, ROCM_FLAG_NONPAGED | ROCM_FLAG_HOST_ACCESS,
		       PAGE + PROBE_RING, &p->buf) ||
	    rocm_buf_command(c, ROCM_MEMORY_MAP_MEM_TO_GPU, &p->buf))
		goto err;
	memset(p->buf.addr, 0, p->buf.size);
	reg = rocm_buf_reg(&p->buf);
	if (rocm_queue_create(c, node, &reg, p->buf.addr + PAGE, PROBE_RING,
			      (uint64_t *)p->buf.addr, &p->q))
		goto err;
	p->c = c;
	p->next = probes;
	probes = p;
	return p;
err:
	free(p);
	return NULL;
}

/* There is SIM_ACCESS; this does not change. */
static bool has_access(struct rocm_client *c, uint32_t node)
{
	static int has = -1;
	uint64_t sum;

	if (has < 0)
		has = rocm_gpu_checksum(c, node, 0, 1, &sum) != -EOPNOTSUPP;
	return has;
}

/*
 * A packet completes a signal at @signal, which the GPU has at @va: what is
 * there for the program is one less then. Nothing else changes.
 */
static int gpu_decrements(struct rocm_client *c, uint32_t node, uint8_t *signal,
			  uint64_t va)
{
	struct probe *p = probe(c, node);
	uint8_t saved[ROCM_SIGNAL_SIZE];
	int ret;

	if (!p)
		return -ENODEV;
	memcpy(saved, signal, sizeof(saved));
	rocm_signal_init(signal, 0x123456789);
	ret = rocm_queue_barrier(&p->q, NULL, 0, va);
	if (!ret) {
		rocm_queue_ring(&p->q);
		ret = rocm_signal_wait(signal, 0x123456788, ANSWER_MS);
	}
	memcpy(signal, saved, sizeof(saved));
	return ret;
}

/* A packet waits for a signal at @va, which @clear makes 0. */
static int gpu_waits(struct rocm_client *c, uint32_t node, uint64_t va,
		     void (*clear)(void *arg), void *arg)
{
	struct probe *p = probe(c, node);
	uint8_t *done;
	int ret;

	if (!p)
		return -ENODEV;
	done = p->buf.addr + PROBE_SIGNAL;
	rocm_signal_init(done, 1);
	ret = rocm_queue_barrier(&p->q, &va, 1, p->buf.handle + PROBE_SIGNAL);
	if (ret)
		return ret;
	rocm_queue_ring(&p->q);
	if (!rocm_signal_wait(done, 0, PROBE_QUIET_MS))
		ret = WRONG_DATA;
	clear(arg);
	return ret ? ret : rocm_signal_wait(done, 0, ANSWER_MS);
}

static void clear_signal(void *signal)
{
	rocm_signal_init(signal, 0);
}

static int gpu_waits_for(struct rocm_client *c, uint32_t node, uint8_t *signal,
			 uint64_t va)
{
	uint8_t saved[ROCM_SIGNAL_SIZE];
	int ret;

	memcpy(saved, signal, sizeof(saved));
	rocm_signal_init(signal, 1);
	ret = gpu_waits(c, node, va, clear_signal, signal);
	memcpy(signal, saved, sizeof(saved));
	return ret;
}

/*
 * In the pages of @size bytes at @addr: at the start of the first, of the last,
 * and of some between, and at the end.
 */
#define PROBED_PAGES	4

static int gpu_probes(struct rocm_client *c, uint32_t node,
		      const struct rocm_reg *reg, const void *addr, size_t size,
		      int (*f)(struct rocm_client *c, uint32_t node,
			       uint8_t *signal, uint64_t va))
{
	uint8_t *first = (uint8_t *)((uintptr_t)addr & ~(PAGE - 1)), *signal;
	size_t nr = ((uint8_t *)addr + size - first + PAGE - 1) / PAGE, i;
	size_t probes = nr < PROBED_PAGES ? nr : PROBED_PAGES;
	int ret = 0;

	for (i = 0; i < probes && !ret; i++) {
		signal = first + (probes > 1 ? i * (nr - 1) / (probes - 1) : 0) *
			 PAGE;
		ret = f(c, node, signal, rocm_gpu_va(reg, signal));
	}
	signal = first + nr * PAGE - ROCM_SIGNAL_SIZE;
	return ret ? ret : f(c, node, signal, rocm_gpu_va(reg, signal));
}

/* The GPU reads @size bytes at @addr of @reg: 0 if their sum is @sum. */
static int gpu_reads(struct rocm_client *c, uint32_t node,
		     const struct rocm_reg *reg, const void *addr, size_t size,
		     uint64_t sum)
{
	uint64_t got = 0;
	int ret;

	if (!has_access(c, node))
		return gpu_probes(c, node, reg, addr, size, gpu_waits_for);
	ret = rocm_gpu_checksum(c, node, rocm_gpu_va(reg, addr), size, &got);
	if (!ret && got != sum)
		ret = WRONG_DATA;
	return ret;
}

static bool is_filled(const uint8_t *addr, size_t size, uint8_t value)
{
	size_t i;

	for (i = 0; i < size && addr[i] == value; i++)
		;
	return i == size;
}

/*
 * The GPU writes @value everywhere; 0 if that is what is here then. Packets only
 * show that it could: the value is the program's then.
 */
static int gpu_writes(struct rocm_client *c, uint32_t node,
		      const struct rocm_reg *reg, uint8_t *addr, size_t size,
		      uint8_t value)
{
	int ret;

	if (!has_access(c, node)) {
		ret = gpu_probes(c, node, reg, addr, size, gpu_decrements);
		memset(addr, value, size);
		return ret;
	}
	ret = rocm_gpu_fill(c, node, rocm_gpu_va(reg, addr), size, value);
	if (!ret && !is_filled(addr, size, value))
		ret = WRONG_DATA;
	return ret;
}

/*
 * The GPU cannot get at @size bytes at @va, which were those of @res_id: 0 if it
 * says so. A packet that tries might take the whole context with it, but there is
 * no place for a queue's packets either.
 */
static int gpu_refuses(struct rocm_client *c, uint32_t node, uint32_t res_id,
		       uint64_t va, uint64_t size)
{
	const uint64_t ring_size = 1024;
	struct rocm_queue_args args;
	struct rocm_reg reg;
	struct rocm_rsp rsp;
	struct probe *p;
	uint64_t sum;
	int ret;

	if (has_access(c, node)) {
		ret = rocm_gpu_checksum(c, node, va, size, &sum);
		return ret && ret != -ETIME && ret != -EPROTO ? 0 : WRONG_DATA;
	}
	p = probe(c, node);
	if (!p)
		return -ENODEV;
	reg = rocm_buf_reg(&p->buf);
	args = rocm_queue_args(c, node, &reg, p->buf.addr + PAGE, ring_size,
			       p->buf.addr);
	/* Nothing is wrong with it but doorbells that there are already. */
	args.doorbells_blob_id = ++c->blob_id;
	ret = rocm_queue_command(c, &args, &rsp);
	if (ret != -EEXIST)
		return WRONG_DATA;
	/* Around the last byte, wherever that is. */
	args.ring = (size - 1 > UINT64_MAX - va ? UINT64_MAX :
		     va + size - 1) & ~(ring_size - 1);
	args.ring_res_id = res_id;
	ret = rocm_queue_command(c, &args, &rsp);
	return ret == -EFAULT || ret == -EINVAL ? 0 : WRONG_DATA;
}

/* Both directions. */
static int shared(struct rocm_client *c, uint32_t node,
		  const struct rocm_reg *reg, uint8_t *addr, size_t size,
		  unsigned int seed)
{
	int ret;

	fill(addr, size, seed);
	ret = gpu_reads(c, node, reg, addr, size, rocm_checksum(addr, size));
	if (!ret)
		ret = gpu_writes(c, node, reg, addr, size,
				 0x80 + seed);
	return ret;
}

static int register_and_map(struct rocm_client *c, uint32_t node,
			    const void *addr, size_t size,
			    struct rocm_reg **reg)
{
	int ret = rocm_register(c, addr, size, 0, reg);

	return ret ? ret : rocm_map(c, *reg, &node, 1);
}

static int nop(struct rocm_client *c)
{
	struct rocm_req req = { .size = ROCM_REQ_HEADER };
	struct rocm_rsp rsp = { 0 };

	return rocm_call(c, ROCM_NOP, &req, &rsp);
}

/* Everything that a program needs still works. */
static int usable(struct rocm_client *c, uint32_t node)
{
	uint8_t *buf = pages(2 * PAGE);
	struct rocm_reg *reg;
	int ret;

	ret = nop(c);
	if (!ret)
		ret = register_and_map(c, node, buf, 2 * PAGE, &reg);
	if (!ret) {
		ret = shared(c, node, reg, buf, 2 * PAGE, 99);
		ret = rocm_deregister(c, reg) ?: ret;
	}
	munmap(buf, 2 * PAGE);
	return ret;
}

/* An answer that says no. */
#define EXPECT_REFUSED(ret_) \
do { \
	int r_ = (ret_); \
	EXPECT_TRUE(r_ < 0 && r_ >= -4095 && r_ != -ETIME && r_ != -EPROTO) { \
		TH_LOG("%s: %d", #ret_, r_); \
	} \
} while (0)

/* An answer, whatever it says. */
#define EXPECT_ANSWERED(ret_) \
do { \
	int r_ = (ret_); \
	EXPECT_TRUE(r_ <= 0 && r_ >= -4095 && r_ != -ETIME && r_ != -EPROTO) { \
		TH_LOG("%s: %d", #ret_, r_); \
	} \
} while (0)

FIXTURE(rocm) {
	struct rocm_client c;
	uint32_t node;
	int64_t pinned;
};

FIXTURE_VARIANT(rocm) {
	enum rocm_gen gen;
};

FIXTURE_VARIANT_ADD(rocm, of_2025) { .gen = ROCM_2025 };
FIXTURE_VARIANT_ADD(rocm, of_2026) { .gen = ROCM_2026 };

static int start(struct rocm_client *c, enum rocm_gen gen, uint32_t *node)
{
	int ret = rocm_start(c, gen);

	if (ret)
		return ret;
	c->timeout_ms = ANSWER_MS;
	return rocm_gpu_node(c, node);
}

FIXTURE_SETUP(rocm)
{
	self->pinned = memory_pinned();
	ASSERT_LE(0, self->pinned);
	ASSERT_EQ(0, start(&self->c, variant->gen, &self->node));
}

FIXTURE_TEARDOWN(rocm)
{
	rocm_close(&self->c);
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
}

/*
 * The context
 */
TEST_F(rocm, smallest)
{
	uint8_t *buf = pages(2 * MIB);
	struct rocm_reg *reg;

	ASSERT_EQ(0, rocm_register(&self->c, buf, 2 * MIB, 0, &reg));
	EXPECT_EQ(self->pinned + (int64_t)(2 * MIB / PAGE), memory_pinned());
	ASSERT_EQ(0, rocm_map(&self->c, reg, &self->node, 1));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, 2 * MIB, 1));
	/* Once more, with the same registration. */
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, 2 * MIB, 2));
	EXPECT_EQ(0, rocm_unmap(&self->c, reg));
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, rocm_get32(self->c.shmem, ROCM_ASYNC_ERROR));
}

TEST_F(rocm, shared_memory_starts_as_described)
{
	struct rocm_client fresh = { 0 };

	ASSERT_EQ(0, rocm_open(&fresh, variant->gen));
	EXPECT_EQ(0, rocm_get32(fresh.shmem, ROCM_SEQNO));
	EXPECT_EQ(16, rocm_get32(fresh.shmem, ROCM_RSP_MEM_OFFSET));
	EXPECT_EQ(0, rocm_get32(fresh.shmem, ROCM_ASYNC_ERROR));
	EXPECT_EQ(0, rocm_get32(fresh.shmem, ROCM_GLOBAL_FAULTS));
	fresh.timeout_ms = ANSWER_MS;
	/* The first answer is at rsp_off 0, right behind that. */
	EXPECT_EQ(0, nop(&fresh));
	EXPECT_EQ(1, rocm_get32(fresh.shmem, ROCM_SEQNO));
	EXPECT_EQ(16, rocm_get32(fresh.shmem, ROCM_RSP_MEM_OFFSET));
	EXPECT_EQ(8, rocm_get32(fresh.shmem, 16));
	rocm_close(&fresh);
}

/* Twice around the room for answers. */
TEST_F(rocm, answers_wrap)
{
	struct rocm_rsp rsp = { 0 };
	uint32_t i;

	for (i = 0; i < 2 * rocm_rsp_area(&self->c) / ROCM_QUERY_RSP_SIZE + 3;
	     i++) {
		rsp.capacity = 0;
		ASSERT_EQ(0, rocm_query(&self->c, ROCM_QUERY_GET_VER, 0, &rsp));
		ASSERT_EQ(self->c.seqno,
			  rocm_get32(self->c.shmem, ROCM_SEQNO));
	}
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* OPEN_KFD's range: of whole pages, and where no program has anything. */
TEST_F(rocm, range_is_free)
{
	uint64_t first = self->c.vm_start, end = first + self->c.vm_size;
	unsigned long from, to;
	char line[256];
	FILE *maps;

	EXPECT_EQ(0, first % PAGE);
	EXPECT_EQ(0, end % PAGE);
	ASSERT_LT(first, end);
	EXPECT_GE(1ULL << 47, end);

	/* Only the client's own reservation; rocm_reserve() found it free. */
	maps = fopen("/proc/self/maps", "r");
	ASSERT_NE(NULL, maps);
	while (fgets(line, sizeof(line), maps)) {
		ASSERT_EQ(2, sscanf(line, "%lx-%lx", &from, &to));
		if (to <= first || from >= end)
			continue;
		EXPECT_LE(first, from) {
			TH_LOG("%s", line);
		}
		EXPECT_GE(end, to) {
			TH_LOG("%s", line);
		}
	}
	fclose(maps);

	/* Asked again, nothing moves. */
	EXPECT_ANSWERED(rocm_open_kfd(&self->c));
	if (self->c.vm_start)
		EXPECT_EQ(first, self->c.vm_start);
	self->c.vm_start = first;
	self->c.vm_size = end - first;
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* What rocminfo and hsa_amd_memory_lock() ask besides. */
TEST_F(rocm, questions)
{
	static const uint32_t plain[] = {
		ROCM_QUERY_GET_VER, ROCM_QUERY_REL_SYS_PROP,
		ROCM_QUERY_GET_SYS_PROP, ROCM_QUERY_RUNTIME_ENABLE,
		ROCM_QUERY_RUNTIME_CAPS, ROCM_QUERY_RUNTIME_DISABLE,
	};
	static const uint32_t of_node[] = {
		ROCM_QUERY_CLOCK_COUNTERS, ROCM_QUERY_AMDGPU_HANDLE,
	};
	/* Of these it is not described how many items are asked for where. */
	static const uint32_t of_items[] = {
		ROCM_QUERY_GPU_INFO, ROCM_QUERY_NODE_MEM_PROP,
		ROCM_QUERY_NODE_CACHE_PROP, ROCM_QUERY_NODE_IO_LINK,
	};
	const uint64_t one_item = 1ULL << 32 | self->node;
	struct rocm_rsp rsp = { 0 };
	uint32_t i, cpus = 0, gpus = 0;
	uint64_t avail = 0;

	for (i = 0; i < ARRAY_SIZE(plain); i++) {
		rsp.capacity = 0;
		EXPECT_EQ(0, rocm_query(&self->c, plain[i], 0, &rsp)) {
			TH_LOG("query %u", plain[i]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(of_node); i++) {
		rsp.capacity = 0;
		EXPECT_EQ(0, rocm_query(&self->c, of_node[i], self->node,
					&rsp)) {
			TH_LOG("query %u", of_node[i]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(of_items); i++) {
		rsp.capacity = ROCM_QUERY_RSP_SIZE + 2048;
		EXPECT_ANSWERED(rocm_query(&self->c, of_items[i], one_item,
					   &rsp));
	}

	/* One node of CPUs, one with a GPU. */
	rsp.capacity = 0;
	ASSERT_EQ(0, rocm_query(&self->c, ROCM_QUERY_GET_SYS_PROP, 0, &rsp));
	ASSERT_EQ(2, rocm_get32(rsp.bytes, ROCM_QUERY_RSP_UNION));
	for (i = 0; i < 2; i++) {
		rsp.capacity = 0;
		ASSERT_EQ(0, rocm_query(&self->c, ROCM_QUERY_GET_NODE_PROP, i,
					&rsp));
		cpus += !!rocm_get32(rsp.bytes, ROCM_QUERY_RSP_UNION);
		gpus += !!rocm_get32(rsp.bytes, ROCM_QUERY_RSP_UNION + 4);
	}
	EXPECT_EQ(1, cpus);
	EXPECT_EQ(1, gpus);

	EXPECT_EQ(0, rocm_avail(&self->c, self->node, &avail));
	EXPECT_LT(0, avail);
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, unknown_nodes)
{
	static const uint32_t nodes[] = { 2, 99, 0x7fffffff, UINT32_MAX };
	static const uint32_t queries[] = {
		ROCM_QUERY_GET_NODE_PROP, ROCM_QUERY_NODE_MEM_PROP,
		ROCM_QUERY_NODE_CACHE_PROP, ROCM_QUERY_NODE_IO_LINK,
		ROCM_QUERY_CLOCK_COUNTERS, ROCM_QUERY_AMDGPU_HANDLE,
	};
	uint8_t *buf = pages(PAGE);
	struct rocm_rsp rsp = { 0 };
	struct rocm_reg *reg;
	struct rocm_buf host;
	uint64_t avail;
	size_t i, n;

	ASSERT_EQ(0, rocm_register(&self->c, buf, PAGE, 0, &reg));
	for (n = 0; n < ARRAY_SIZE(nodes); n++) {
		for (i = 0; i < ARRAY_SIZE(queries); i++) {
			rsp.capacity = 0;
			EXPECT_REFUSED(rocm_query(&self->c, queries[i],
						  nodes[n], &rsp));
		}
		EXPECT_REFUSED(rocm_map(&self->c, reg, &nodes[n], 1));
		EXPECT_REFUSED(rocm_map(&self->c, reg, (uint32_t[]){
				self->node, nodes[n] }, 2));
		EXPECT_REFUSED(rocm_avail(&self->c, nodes[n], &avail));
		EXPECT_REFUSED(rocm_alloc(&self->c, nodes[n],
					  ROCM_FLAG_NONPAGED, PAGE, &host));
	}
	ASSERT_EQ(0, rocm_map(&self->c, reg, &self->node, 1));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, PAGE, 3));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Memory that the host gives: at the same address here and for the GPU. */
TEST_F(rocm, memory_of_the_host)
{
	const uint32_t flags = ROCM_FLAG_NONPAGED | ROCM_FLAG_HOST_ACCESS;
	struct rocm_buf buf;
	struct rocm_reg reg;
	int i;

	/* Again: what was freed is there to be had. */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, rocm_alloc(&self->c, self->node, flags, MIB,
					&buf));
		EXPECT_EQ(0, buf.handle % PAGE);
		EXPECT_EQ(buf.handle, (uintptr_t)buf.addr);
		EXPECT_EQ(0, rocm_buf_command(&self->c,
					      ROCM_MEMORY_MAP_MEM_TO_GPU,
					      &buf));
		reg = rocm_buf_reg(&buf);
		EXPECT_EQ(0, shared(&self->c, self->node, &reg, buf.addr, MIB,
				    i));
		EXPECT_EQ(0, rocm_buf_command(&self->c, ROCM_MEMORY_UNMAP,
					      &buf));
		EXPECT_EQ(0, rocm_free(&self->c, &buf));
		EXPECT_EQ(0, gpu_refuses(&self->c, self->node, buf.res_id,
					 buf.handle, PAGE));
		EXPECT_REFUSED(rocm_buf_command(&self->c, ROCM_MEMORY_FREE,
						&buf));
	}
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/*
 * Registrations
 */
/*
 * The first clients of 2025 name no resource, and send the address and the size
 * of the program's memory inside its pages.
 */
TEST_F(rocm, memory_inside_its_pages_without_a_resource)
{
	uint8_t *buf = pages(2 * PAGE);
	struct rocm_reg reg = { .base = (uintptr_t)buf, .size = 2 * PAGE };
	struct rocm_reg part;

	ASSERT_EQ(0, rocm_create_userptr(&self->c, &reg,
					 VIRTGPU_BLOB_FLAG_USE_USERPTR));
	ASSERT_EQ(0, rocm_map_userptr(&self->c, &reg));
	part = reg;
	part.res_id = 0;
	part.handle += 24;
	part.size = PAGE + 100;
	EXPECT_EQ(0, rocm_reg_mem(&self->c, &part, part.handle, part.size));
	ASSERT_EQ(0, rocm_map(&self->c, &part, &self->node, 1));
	EXPECT_EQ(part.handle, part.gpu_va);
	reg.gpu_va = reg.handle;
	EXPECT_EQ(0, shared(&self->c, self->node, &reg, buf + 24, PAGE + 100,
			    5));
	EXPECT_EQ(0, rocm_gem_close(&self->c,
				    reg.bo_handle));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
}

TEST_F(rocm, sizes_that_are_multiples_of_nothing)
{
	static const struct {
		size_t off, size;
	} parts[] = {
		{ 0, 1 }, { 1, 1 }, { 4095, 1 }, { 4095, 2 }, { 1, 4096 },
		{ 0, 4097 }, { 123, 5000 }, { 777, 3 * 4096 + 5 },
		{ 8191, 50001 },
	};
	uint8_t *buf = pages(16 * PAGE), *copy = malloc(16 * PAGE);
	struct rocm_reg *reg;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		fill(buf, 16 * PAGE, i);
		memcpy(copy, buf, 16 * PAGE);
		ASSERT_EQ(0, register_and_map(&self->c, self->node,
					      buf + parts[i].off,
					      parts[i].size, &reg));
		EXPECT_EQ(self->pinned + (int64_t)(reg->size / PAGE),
			  memory_pinned());
		EXPECT_EQ(0, gpu_reads(&self->c, self->node, reg,
				       buf + parts[i].off, parts[i].size,
				       rocm_checksum(buf + parts[i].off,
						     parts[i].size)));
		EXPECT_EQ(0, gpu_writes(&self->c, self->node, reg,
					buf + parts[i].off, parts[i].size,
					0x5a));
		/* No byte beside it. */
		memcpy(copy + parts[i].off, buf + parts[i].off, parts[i].size);
		for (n = 0; n < 16 * PAGE && buf[n] == copy[n]; n++)
			;
		EXPECT_EQ(16 * PAGE, n) {
			TH_LOG("part %zu", i);
		}
		EXPECT_EQ(0, rocm_deregister(&self->c, reg));
		EXPECT_EQ(self->pinned,
			  memory_wait_pinned(self->pinned, RELEASE_MS));
	}
	free(copy);
}

/* What only a client in its opt-in SVM mode would pass. */
TEST_F(rocm, unaligned_is_refused)
{
	uint8_t *buf = pages(4 * PAGE);
	struct rocm_reg reg = { .base = (uintptr_t)buf + 8, .size = PAGE };

	EXPECT_EQ(-EINVAL, rocm_create_userptr(&self->c, &reg, 0x8));
	reg = (struct rocm_reg){ .base = (uintptr_t)buf, .size = 5000 };
	EXPECT_EQ(-EINVAL, rocm_create_userptr(&self->c, &reg, 0x8));
	reg.size = PAGE;
	EXPECT_EQ(-EINVAL, rocm_create_userptr(&self->c, &reg, 0x20));
	EXPECT_EQ(-EINVAL, rocm_create_userptr(&self->c, &reg, 0x28));
	EXPECT_EQ(self->pinned, memory_pinned());
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, sizes_of_the_ioctl)
{
	static const uint32_t sizes[] = { 56, 64, 72 };
	uint8_t *buf = pages(PAGE);
	struct rocm_reg *reg;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->c.blob_ioctl_size = sizes[i];
		ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, PAGE,
					      &reg));
		EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, PAGE, i));
		EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	}
}

/* The resource says what is registered, not an address or a second time. */
TEST_F(rocm, commands_of_a_registration)
{
	uint8_t *buf = pages(2 * PAGE);
	struct rocm_reg reg = { .base = (uintptr_t)buf, .size = 2 * PAGE };
	uint64_t handle;
	int ret;

	ASSERT_EQ(0, rocm_create_userptr(&self->c, &reg, 0x8));
	ASSERT_EQ(0, rocm_map_userptr(&self->c, &reg));
	handle = reg.handle;
	ret = rocm_map_userptr(&self->c, &reg);
	EXPECT_ANSWERED(ret);
	if (!ret)
		EXPECT_EQ(handle, reg.handle);
	reg.handle = handle;

	EXPECT_EQ(0, rocm_reg_mem(&self->c, &reg, reg.handle, 2 * PAGE));
	EXPECT_ANSWERED(rocm_reg_mem(&self->c, &reg, reg.base, 2 * PAGE));
	/* Maps are repeated by clients that do not keep books. */
	ASSERT_EQ(0, rocm_map(&self->c, &reg, &self->node, 1));
	handle = reg.gpu_va;
	ASSERT_EQ(0, rocm_map(&self->c, &reg, &self->node, 1));
	EXPECT_EQ(handle, reg.gpu_va);
	EXPECT_EQ(0, shared(&self->c, self->node, &reg, buf, 2 * PAGE, 4));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, reg.res_id,
				 reg.gpu_va, 2 * PAGE + 1));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, reg.res_id,
				 reg.gpu_va + 2 * PAGE, 1));
	EXPECT_EQ(0, rocm_gem_close(&self->c, reg.bo_handle));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
}

TEST_F(rocm, overlapping)
{
	uint8_t *buf = pages(24 * PAGE);
	struct rocm_reg *one, *inside, *two;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, 16 * PAGE,
				      &one));
	/* Inside: nothing new for the host, and one more to be given up. */
	ASSERT_EQ(0, rocm_register(&self->c, buf + 5000, 7000, 0, &inside));
	EXPECT_EQ(one, inside);
	EXPECT_EQ(self->pinned + 16, memory_pinned());

	/* Beyond its end: the pages are registered twice. */
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf + 8 * PAGE,
				      16 * PAGE, &two));
	EXPECT_NE(one, two);
	EXPECT_EQ(self->pinned + 32, memory_pinned());
	EXPECT_EQ(0, shared(&self->c, self->node, one, buf, 16 * PAGE, 5));
	EXPECT_EQ(0, shared(&self->c, self->node, two, buf + 8 * PAGE,
			    16 * PAGE, 6));
	EXPECT_EQ(0, gpu_reads(&self->c, self->node, one, buf + 8 * PAGE,
			       8 * PAGE, rocm_checksum(buf + 8 * PAGE,
						       8 * PAGE)));

	EXPECT_EQ(0, rocm_deregister(&self->c, inside));
	EXPECT_EQ(0, shared(&self->c, self->node, one, buf, 16 * PAGE, 7));
	EXPECT_EQ(0, rocm_deregister(&self->c, one));
	EXPECT_EQ(self->pinned + 16,
		  memory_wait_pinned(self->pinned + 16, RELEASE_MS));
	EXPECT_EQ(0, shared(&self->c, self->node, two, buf + 8 * PAGE,
			    16 * PAGE, 8));
	EXPECT_EQ(0, rocm_deregister(&self->c, two));
}

TEST_F_TIMEOUT(rocm, four_thousand, 600)
{
	const int nr = 4000;
	struct rocm_reg *reg[nr];
	uint8_t *buf = pages(nr * PAGE);
	int i;

	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, register_and_map(&self->c, self->node,
					      buf + i * PAGE, PAGE, &reg[i])) {
			TH_LOG("registration %d", i);
		}
	}
	EXPECT_EQ(self->pinned + nr, memory_pinned());
	for (i = 0; i < nr; i += 37) {
		EXPECT_EQ(0, shared(&self->c, self->node, reg[i],
				    buf + i * PAGE, PAGE, i));
	}
	/* The second half first. */
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(0, rocm_deregister(&self->c,
					     reg[(i + nr / 2) % nr]));
	}
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/*
 * More than 32 bits: the VM has not so much memory, but a huge page of a file
 * may be mapped, and pinned, any number of times. 2560 runs are few enough for
 * one command.
 */
static uint8_t *huge_page_many_times(size_t size)
{
	uint64_t first;
	uint8_t *addr;
	size_t off;
	int fd;

	fd = memfd_create("huge", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, HUGE_PAGE))
		abort();
	addr = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		abort();
	addr += -(uintptr_t)addr % HUGE_PAGE;
	for (off = 0; off < size; off += HUGE_PAGE) {
		if (mmap(addr + off, HUGE_PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			abort();
		if (off)
			continue;
		memset(addr, 1, HUGE_PAGE);
		madvise(addr, HUGE_PAGE, MADV_COLLAPSE);
	}
	close(fd);

	first = memory_physical(addr);
	for (off = 0; off < HUGE_PAGE; off += PAGE)
		if (!first || memory_physical(addr + off) != first + off)
			return NULL;
	return addr;
}

TEST_F_TIMEOUT(rocm, five_gib, 600)
{
	const size_t size = 5UL << 30, four = 4UL << 30;
	uint8_t *buf = huge_page_many_times(size);
	struct rocm_reg *reg;

	if (!buf)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf + 77,
				      size - 100, &reg));
	EXPECT_EQ(size, reg->size);
	EXPECT_EQ(self->pinned + (int64_t)(size / PAGE), memory_pinned());

	/* At both sides of 32 bits, and at the end; each is the same page. */
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf + four - PAGE,
			    2 * PAGE, 1));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf + four + 9, 5001,
			    2));
	EXPECT_TRUE(is_filled(buf + 9, 5001, 0x80 + 2));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf + size - PAGE, PAGE,
			    3));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, reg->res_id,
				 rocm_gpu_va(reg, buf + size - PAGE),
				 PAGE + 1));
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned,
		  memory_wait_pinned(self->pinned, 4 * RELEASE_MS));
}

/* The same in numbers: what is larger by 32 bits is something else. */
TEST_F(rocm, sizes_above_32_bits_are_not_cut)
{
	const uint64_t more = 1ULL << 32;
	uint8_t *buf = pages(4 * PAGE);
	struct rocm_reg *reg, wrong;
	struct rocm_buf host;
	int ret;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, 4 * PAGE,
				      &reg));
	EXPECT_REFUSED(rocm_reg_mem(&self->c, reg, reg->base,
				    4 * PAGE + more));
	wrong = *reg;
	wrong.size += more;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	wrong.size = UINT64_MAX - PAGE + 1;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	wrong = *reg;
	wrong.handle += more;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, reg->res_id,
				 reg->gpu_va, PAGE + more));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, reg->res_id,
				 reg->gpu_va, UINT64_MAX));

	/* May be too much, but is not 4 KiB. */
	ret = rocm_alloc(&self->c, self->node, ROCM_FLAG_NONPAGED, more + PAGE,
			 &host);
	EXPECT_ANSWERED(ret);
	if (!ret)
		EXPECT_EQ(0, rocm_free(&self->c, &host));
	EXPECT_REFUSED(rocm_alloc(&self->c, self->node, ROCM_FLAG_NONPAGED,
				  -PAGE, &host));
	EXPECT_REFUSED(rocm_alloc(&self->c, self->node, ROCM_FLAG_NONPAGED, 0,
				  &host));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, 4 * PAGE, 9));
}

/* What the mapping cannot store: in the last page of the file, @bytes. */
static void store_in_file(const struct memory *mem,
			  const uint8_t bytes[ROCM_SIGNAL_SIZE])
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, bytes, ROCM_SIGNAL_SIZE, mem->size - PAGE) !=
	    ROCM_SIGNAL_SIZE)
		abort();
	close(fd);
}

static void clear_in_file(void *mem)
{
	uint8_t signal[ROCM_SIGNAL_SIZE];

	rocm_signal_init(signal, 0);
	store_in_file(mem, signal);
}

/* The GPU sees what the file has, and does not change it. */
static int gpu_only_reads(struct rocm_client *c, uint32_t node,
			  const struct rocm_reg *reg, struct memory *mem)
{
	const uint8_t *signal = mem->addr + mem->size - PAGE;
	uint8_t saved[ROCM_SIGNAL_SIZE];
	int ret;

	if (!has_access(c, node)) {
		memcpy(saved, signal, sizeof(saved));
		ret = gpu_waits(c, node, rocm_gpu_va(reg, signal),
				clear_in_file, mem);
		store_in_file(mem, saved);
		return ret;
	}
	ret = gpu_reads(c, node, reg, mem->addr, mem->size,
			rocm_checksum(mem->addr, mem->size));
	if (!ret && rocm_gpu_fill(c, node, reg->gpu_va, mem->size, 1) !=
	    -EACCES)
		ret = WRONG_DATA;
	return ret;
}

/*
 * A file that may only be read. The released clients ask for writing always, so
 * they get EFAULT; with the flag it can be read, and no more.
 */
TEST_F(rocm, rdonly_file)
{
	struct rocm_reg *reg;
	struct memory mem;
	uint8_t *file;
	size_t i;

	ASSERT_EQ(0, memory_get(MEMORY_TMPFS_RDONLY, &mem));
	EXPECT_EQ(-EFAULT, rocm_register(&self->c, mem.addr, mem.size, 0,
					 &reg));
	EXPECT_EQ(self->pinned, memory_pinned());

	ASSERT_EQ(0, rocm_register(&self->c, mem.addr, mem.size,
				   VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, &reg));
	ASSERT_EQ(0, rocm_map(&self->c, reg, &self->node, 1));
	EXPECT_EQ(0, gpu_only_reads(&self->c, self->node, reg, &mem));
	file = malloc(mem.size);
	ASSERT_EQ(mem.size, pread(mem.fd, file, mem.size, 0));
	for (i = 0; i < mem.size && file[i] == memory_byte(i, 0); i++)
		;
	EXPECT_EQ(mem.size, i);
	free(file);
	EXPECT_EQ(0, usable(&self->c, self->node));
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
}

/*
 * Ends of registrations
 */

/* No UNMAP, no DEREG: the handle is closed, and everything is undone. */
TEST_F(rocm, deregister_by_handle_close)
{
	uint8_t *buf = pages(64 * PAGE);
	struct rocm_reg *reg, old;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, 64 * PAGE,
				      &reg));
	ASSERT_EQ(0, shared(&self->c, self->node, reg, buf, 64 * PAGE, 10));
	old = *reg;
	ASSERT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, gpu_refuses(&self->c, self->node, old.res_id, old.gpu_va,
				 PAGE));
	EXPECT_REFUSED(rocm_map(&self->c, &old, &self->node, 1));
	EXPECT_REFUSED(rocm_reg_mem(&self->c, &old, old.base, PAGE));
	EXPECT_REFUSED(rocm_map_userptr(&self->c, &old));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/*
 * The GPU has the old pages of @reg, whose sum was @sum, and not those at @buf
 * now. At the end of the old ones there is a signal that is 0.
 */
static int gpu_has_old_pages(struct rocm_client *c, uint32_t node,
			     const struct rocm_reg *reg, const uint8_t *buf,
			     size_t size, uint64_t sum)
{
	struct probe *p;
	uint8_t *done;
	uint64_t va;
	int ret;

	if (has_access(c, node)) {
		ret = gpu_reads(c, node, reg, buf, size, sum);
		if (!ret)
			ret = rocm_gpu_fill(c, node, reg->gpu_va, size, 0xff);
		/* What it was, for the next time. */
		if (!ret)
			ret = rocm_gpu_fill(c, node, reg->gpu_va, size, 0);
		return ret;
	}
	p = probe(c, node);
	if (!p)
		return -ENODEV;
	/* It takes 1 from whatever is in the second page. */
	done = p->buf.addr + PROBE_SIGNAL;
	va = rocm_gpu_va(reg, buf + size - ROCM_SIGNAL_SIZE);
	rocm_signal_init(done, 1);
	ret = rocm_queue_barrier(&p->q, &va, 1, rocm_gpu_va(reg, buf + PAGE));
	if (!ret)
		ret = rocm_queue_barrier(&p->q, NULL, 0,
					 p->buf.handle + PROBE_SIGNAL);
	if (ret)
		return ret;
	rocm_queue_ring(&p->q);
	return rocm_signal_wait(done, 0, ANSWER_MS);
}

/*
 * free() does not deregister. The old pages stay, and the client takes the
 * address for them when it is registered again; only the last deregister ends
 * that.
 */
TEST_F(rocm, free_without_deregister)
{
	size_t size = 8 * PAGE;
	uint8_t *buf = pages(size);
	struct rocm_reg *reg, *again;

	/* In a signal's place, nowhere to tell it. */
	memset(buf, 0, size);
	buf[5] = 11;
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, size, &reg));
	ASSERT_EQ(0, munmap(buf, size));
	ASSERT_EQ(buf, mmap(buf, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			    MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0));
	memset(buf, 0x77, size);

	EXPECT_EQ(0, gpu_has_old_pages(&self->c, self->node, reg, buf, size,
				       6 * 11));
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, size,
				      &again));
	EXPECT_EQ(reg, again);
	EXPECT_EQ(self->pinned + 8, memory_pinned());
	EXPECT_EQ(0, gpu_has_old_pages(&self->c, self->node, again, buf, size,
				       0));
	EXPECT_TRUE(is_filled(buf, size, 0x77));

	EXPECT_EQ(0, rocm_deregister(&self->c, again));
	EXPECT_EQ(self->pinned + 8, memory_pinned());
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, size, &reg));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, size, 12));
}

/* In a child: registers 1024 pages, and says so. */
static int child_registers(const struct rocm_client *parent, enum rocm_gen gen,
			   atomic_int *ready)
{
	struct rocm_client c = { 0 };
	uint8_t *buf = pages(1024 * PAGE);
	struct rocm_reg *reg;
	uint32_t node;

	rocm_forget(parent);
	if (start(&c, gen, &node) ||
	    register_and_map(&c, node, buf, 1024 * PAGE, &reg) ||
	    shared(&c, node, reg, buf, 1024 * PAGE, 13))
		return 1;
	atomic_store(ready, 1);
	return 0;
}

static atomic_int *shared_word(void)
{
	void *addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		abort();
	return addr;
}

TEST_F(rocm, exit_without_deregister)
{
	atomic_int *ready = shared_word();
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(child_registers(&self->c, variant->gen, ready));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, atomic_load(ready));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, killed)
{
	atomic_int *ready = shared_word();
	int status, ms;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (child_registers(&self->c, variant->gen, ready))
			_exit(1);
		for (;;)
			pause();
	}
	for (ms = 0; !atomic_load(ready) && ms < ANSWER_MS; ms += 10) {
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		sleep_ms(10);
	}
	EXPECT_EQ(self->pinned + 1024, memory_pinned());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Wherever it was, and not once only. */
TEST_F(rocm, killed_while_it_registers)
{
	struct rocm_client c = { 0 };
	struct rocm_reg *reg;
	uint32_t node;
	int i, status;
	uint8_t *buf;
	pid_t pid;

	for (i = 0; i < 10; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			rocm_forget(&self->c);
			buf = pages(16 * PAGE);
			if (start(&c, variant->gen, &node))
				_exit(1);
			while (!register_and_map(&c, node, buf, 16 * PAGE,
						 &reg) &&
			       !rocm_deregister(&c, reg))
				;
			_exit(1);
		}
		sleep_ms(50 + 17 * i);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/*
 * Several contexts
 */

/* Its own pages at @buf, which are the parent's address; see the test. */
static int other_process(const struct rocm_client *parent, enum rocm_gen gen,
			 uint8_t *buf, size_t size, int in, int out)
{
	struct rocm_client c = { 0 };
	struct rocm_reg *reg;
	uint32_t node;
	char byte = 0;

	rocm_forget(parent);
	fill(buf, size, 2);
	if (start(&c, gen, &node) ||
	    register_and_map(&c, node, buf, size, &reg))
		return 1;
	if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
		return 2;
	/* The parent's GPU has written there meanwhile. */
	if (gpu_reads(&c, node, reg, buf, size, rocm_checksum(buf, size)))
		return 3;
	if (buf[5] != memory_byte(5, 2))
		return 4;
	if (gpu_writes(&c, node, reg, buf, size, 22))
		return 5;
	if (rocm_deregister(&c, reg))
		return 6;
	rocm_close(&c);
	return 0;
}

TEST_F(rocm, two_processes_have_the_same_addresses)
{
	size_t size = 32 * PAGE;
	uint8_t *buf = pages(size);
	int to[2], from[2], status;
	struct rocm_reg *reg;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(to[1]);
		_exit(other_process(&self->c, variant->gen, buf, size, to[0],
				    from[1]));
	}
	close(from[1]);
	fill(buf, size, 1);
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, size, &reg));
	ASSERT_EQ(1, read(from[0], &byte, 1));

	EXPECT_EQ(0, gpu_reads(&self->c, self->node, reg, buf, size,
			       rocm_checksum(buf, size)));
	EXPECT_EQ(0, gpu_writes(&self->c, self->node, reg, buf, size, 11));
	EXPECT_EQ(self->pinned + 64, memory_pinned());
	ASSERT_EQ(1, write(to[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	EXPECT_TRUE(is_filled(buf, size, 11));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, size, 3));
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
}

/* The kernel names resources by global ids; the host knows whose. */
TEST_F(rocm, memory_of_another_context_is_unknown)
{
	struct rocm_client other = { 0 };
	uint8_t *buf = pages(PAGE);
	struct rocm_reg *reg, copy;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, PAGE, &reg));
	/* One address space: its range is reserved already. */
	ASSERT_EQ(0, rocm_open(&other, variant->gen));
	other.timeout_ms = ANSWER_MS;
	ASSERT_EQ(0, rocm_open_kfd(&other));

	copy = *reg;
	EXPECT_REFUSED(rocm_map(&other, &copy, &self->node, 1));
	EXPECT_REFUSED(rocm_reg_mem(&other, &copy, copy.handle, PAGE));
	EXPECT_REFUSED(rocm_map_userptr(&other, &copy));
	EXPECT_EQ(0, gpu_refuses(&other, self->node, reg->res_id, reg->gpu_va,
				 PAGE));
	EXPECT_EQ(0, usable(&other, self->node));
	rocm_close(&other);
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, PAGE, 14));
}

/*
 * Queues and events
 */

#define RING		PAGE
#define RING_PACKETS	(int)(RING / ROCM_AQL_SIZE)
#define QUEUE_PAGES	2		/* indices, and a ring behind them */

static int make_queue(struct rocm_client *c, uint32_t node,
		      const struct rocm_reg *reg, uint8_t *mem,
		      struct rocm_queue *q)
{
	memset(mem, 0, QUEUE_PAGES * PAGE);
	return rocm_queue_create(c, node, reg, mem + PAGE, RING,
				 (uint64_t *)mem, q);
}

static uint8_t *signal_at(uint8_t *signals, int i)
{
	return signals + i * ROCM_SIGNAL_SIZE;
}

static void init_signals(uint8_t *signals, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		rocm_signal_init(signal_at(signals, i), 1);
}

/* What is done has all before it done; the last is looked at first. */
static bool in_order(uint8_t *signals, int nr)
{
	while (nr && rocm_signal_value(signal_at(signals, nr - 1)))
		nr--;
	while (nr && !rocm_signal_value(signal_at(signals, nr - 1)))
		nr--;
	return !nr;
}

/* A packet, when there is room for it, and the doorbell. */
static int put_packet(struct rocm_queue *q, const uint64_t *deps,
		      unsigned int nr_deps, uint64_t completion)
{
	int ret, ms;

	for (ms = 0; ms < ANSWER_MS; ms++) {
		ret = rocm_queue_barrier(q, deps, nr_deps, completion);
		if (ret != -EAGAIN)
			break;
		sleep_ms(1);
	}
	if (!ret)
		rocm_queue_ring(q);
	return ret;
}

TEST_F(rocm, packets_are_done_in_order)
{
	const int nr = 1000;
	uint8_t *mem = pages((QUEUE_PAGES + 16) * PAGE);
	uint8_t *signals = mem + QUEUE_PAGES * PAGE;
	struct rocm_reg *reg;
	struct rocm_queue q;
	int i;

	init_signals(signals, nr);
	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      (QUEUE_PAGES + 16) * PAGE, &reg));
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &q));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, put_packet(&q, NULL, 0,
					rocm_gpu_va(reg, signal_at(signals,
								   i)))) {
			TH_LOG("packet %d", i);
		}
		if (i % 50 == 0)
			EXPECT_TRUE(in_order(signals, nr));
	}
	EXPECT_EQ(0, rocm_signal_wait(signal_at(signals, nr - 1), 0,
				      ANSWER_MS));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, rocm_signal_value(signal_at(signals, i))) {
			TH_LOG("packet %d", i);
		}
	EXPECT_EQ(nr, rocm_queue_done(&q));

	/* By one doorbell for all that fit, and without a signal. */
	for (i = 0; i < RING_PACKETS; i++)
		ASSERT_EQ(0, rocm_queue_barrier(&q, NULL, 0, 0));
	rocm_queue_ring(&q);
	for (i = 0; i < ANSWER_MS &&
	     rocm_queue_done(&q) < (uint64_t)nr + RING_PACKETS; i++)
		sleep_ms(1);
	EXPECT_EQ(nr + RING_PACKETS, rocm_queue_done(&q));
	EXPECT_EQ(0, rocm_queue_close(&self->c, &q));
	EXPECT_EQ(0, rocm_get32(self->c.shmem, ROCM_ASYNC_ERROR));
}

TEST_F(rocm, queue_in_memory_of_the_host)
{
	struct rocm_queue q;
	struct rocm_buf buf;
	struct rocm_reg reg;
	uint8_t *signal;
	int i;

	ASSERT_EQ(0, rocm_alloc(&self->c, self->node, ROCM_FLAG_NONPAGED |
				ROCM_FLAG_HOST_ACCESS, 4 * PAGE, &buf));
	reg = rocm_buf_reg(&buf);
	/* Not before the GPU has it. */
	EXPECT_EQ(-EFAULT, make_queue(&self->c, self->node, &reg, buf.addr,
				      &q));
	ASSERT_EQ(0, rocm_buf_command(&self->c, ROCM_MEMORY_MAP_MEM_TO_GPU,
				      &buf));
	ASSERT_EQ(0, make_queue(&self->c, self->node, &reg, buf.addr, &q));
	signal = buf.addr + 3 * PAGE;
	for (i = 0; i < 100; i++) {
		rocm_signal_init(signal, 2);
		ASSERT_EQ(0, put_packet(&q, NULL, 0, rocm_gpu_va(&reg,
								 signal)));
		ASSERT_EQ(0, rocm_signal_wait(signal, 1, ANSWER_MS));
	}
	EXPECT_EQ(0, rocm_queue_close(&self->c, &q));
	EXPECT_EQ(0, rocm_free(&self->c, &buf));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Two that wait for each other's packets, twenty times. */
TEST_F(rocm, two_queues)
{
	const int nr = 20;
	size_t size = (2 * QUEUE_PAGES + 2) * PAGE;
	uint8_t *mem = pages(size), *a = mem + 2 * QUEUE_PAGES * PAGE;
	uint8_t *b = a + PAGE;
	struct rocm_queue one, two;
	struct rocm_reg *reg;
	uint64_t dep;
	int i;

	init_signals(a, nr + 1);
	init_signals(b, nr);
	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem, size, &reg));
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &one));
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg,
				mem + QUEUE_PAGES * PAGE, &two));
	EXPECT_NE(one.id, two.id);
	EXPECT_NE(one.doorbell, two.doorbell);
	for (i = 0; i < nr; i++) {
		dep = rocm_gpu_va(reg, signal_at(b, i));
		ASSERT_EQ(0, put_packet(&two, &dep, 1,
					rocm_gpu_va(reg, signal_at(a, i + 1))));
		dep = rocm_gpu_va(reg, signal_at(a, i));
		ASSERT_EQ(0, put_packet(&one, &dep, 1,
					rocm_gpu_va(reg, signal_at(b, i))));
	}
	sleep_ms(QUIET_MS);
	EXPECT_EQ(1, rocm_signal_value(signal_at(b, 0)));
	EXPECT_EQ(0, rocm_queue_done(&one));
	EXPECT_EQ(0, rocm_queue_done(&two));
	rocm_signal_init(signal_at(a, 0), 0);
	EXPECT_EQ(0, rocm_signal_wait(signal_at(a, nr), 0, ANSWER_MS));
	EXPECT_TRUE(in_order(a, nr + 1));
	EXPECT_TRUE(in_order(b, nr));

	/* One goes, the other stays. */
	EXPECT_EQ(0, rocm_queue_close(&self->c, &one));
	rocm_signal_init(a, 1);
	ASSERT_EQ(0, put_packet(&two, NULL, 0, rocm_gpu_va(reg, a)));
	EXPECT_EQ(0, rocm_signal_wait(a, 0, ANSWER_MS));
	EXPECT_EQ(0, rocm_queue_close(&self->c, &two));
}

/* A queue whose packets wait for what never comes. */
static int make_stuck_queue(struct rocm_client *c, uint32_t node,
			    const struct rocm_reg *reg, uint8_t *mem,
			    struct rocm_queue *q)
{
	uint8_t *signals = mem + QUEUE_PAGES * PAGE;
	uint64_t dep = rocm_gpu_va(reg, signals);
	int ret, i;

	init_signals(signals, 2);
	ret = make_queue(c, node, reg, mem, q);
	for (i = 0; i < 10 && !ret; i++)
		ret = put_packet(q, &dep, 1,
				 rocm_gpu_va(reg, signal_at(signals, 1)));
	return ret;
}

#define STUCK_PAGES	(QUEUE_PAGES + 1)

/*
 * Closed, and the host has heard of it, which the kernel does not wait for: it
 * no longer tells what is wrong with an update.
 */
static int close_queue(struct rocm_client *c, struct rocm_queue *q)
{
	int ret = rocm_queue_close(c, q), ms;

	for (ms = 0; !ret && ms < RELEASE_MS; ms++) {
		ret = rocm_queue_update(c, q, 101);
		if (ret != -EINVAL)
			break;
		ret = 0;
		sleep_ms(1);
	}
	return ret == -ENOENT ? 0 : ret ? ret : -ETIME;
}

TEST_F(rocm, queue_closed_with_packets_pending)
{
	uint8_t *mem = pages(STUCK_PAGES * PAGE);
	uint8_t *signals = mem + QUEUE_PAGES * PAGE;
	struct rocm_queue q;
	struct rocm_reg *reg;
	int i;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      STUCK_PAGES * PAGE, &reg));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, make_stuck_queue(&self->c, self->node, reg, mem,
					      &q));
		ASSERT_EQ(0, close_queue(&self->c, &q));
		/* Nobody is there to see it, or to hear the doorbell. */
		rocm_signal_init(signals, 0);
		rocm_queue_ring(&q);
		ASSERT_EQ(0, nop(&self->c));
		sleep_ms(QUIET_MS);
		EXPECT_EQ(1, rocm_signal_value(signal_at(signals, 1)));
		EXPECT_EQ(0, rocm_queue_done(&q));
	}
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, queue_destroyed_by_a_command)
{
	uint8_t *mem = pages(STUCK_PAGES * PAGE);
	struct rocm_queue q, unknown;
	struct rocm_reg *reg;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      STUCK_PAGES * PAGE, &reg));
	ASSERT_EQ(0, make_stuck_queue(&self->c, self->node, reg, mem, &q));
	unknown = q;
	unknown.res_id = reg->res_id;
	EXPECT_REFUSED(rocm_queue_destroy(&self->c, &unknown));
	unknown.res_id = INT32_MAX;
	EXPECT_REFUSED(rocm_queue_destroy(&self->c, &unknown));
	EXPECT_EQ(0, rocm_queue_destroy(&self->c, &q));
	EXPECT_REFUSED(rocm_queue_destroy(&self->c, &q));
	rocm_queue_ring(&q);
	EXPECT_EQ(0, close_queue(&self->c, &q));
	EXPECT_REFUSED(rocm_queue_destroy(&self->c, &q));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/*
 * A packet whose signal is not to be written, or nowhere, ends its queue. What a
 * GPU does then is its own affair: this is sim's.
 */
TEST_F(rocm, packets_without_access)
{
	uint8_t *mem = pages(STUCK_PAGES * PAGE);
	uint8_t *signal = mem + QUEUE_PAGES * PAGE;
	struct rocm_queue q, again;
	struct rocm_reg *reg, *file;
	struct memory rdonly;
	uint64_t nowhere[3];
	size_t i;

	if (!has_access(&self->c, self->node))
		SKIP(return, "no SIM_ACCESS: a GPU that is real may take the context with it");
	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      STUCK_PAGES * PAGE, &reg));
	ASSERT_EQ(0, memory_get(MEMORY_TMPFS_RDONLY, &rdonly));
	ASSERT_EQ(0, rocm_register(&self->c, rdonly.addr, rdonly.size,
				   VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, &file));
	ASSERT_EQ(0, rocm_map(&self->c, file, &self->node, 1));

	nowhere[0] = file->gpu_va;
	nowhere[1] = (uintptr_t)signal;
	nowhere[2] = UINT64_MAX - 63;
	for (i = 0; i < ARRAY_SIZE(nowhere); i++) {
		ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &q));
		rocm_signal_init(signal, 1);
		ASSERT_EQ(0, put_packet(&q, NULL, 0, nowhere[i]));
		ASSERT_EQ(0, put_packet(&q, NULL, 0, rocm_gpu_va(reg, signal)));
		ASSERT_EQ(0, nop(&self->c));
		sleep_ms(QUIET_MS);
		EXPECT_EQ(1, rocm_signal_value(signal));
		EXPECT_EQ(EIO, rocm_get32(self->c.shmem, ROCM_ASYNC_ERROR));
		ASSERT_EQ(0, rocm_queue_close(&self->c, &q));
	}
	for (i = 0; i < rdonly.size &&
	     rdonly.addr[i] == memory_byte(i, 0); i++)
		;
	EXPECT_EQ(rdonly.size, i);

	/* The next one is none the worse. */
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &again));
	ASSERT_EQ(0, put_packet(&again, NULL, 0, rocm_gpu_va(reg, signal)));
	EXPECT_EQ(0, rocm_signal_wait(signal, 0, ANSWER_MS));
	EXPECT_EQ(0, rocm_queue_close(&self->c, &again));
}

/* What the GPU reads packets from is deregistered: the queue goes first. */
TEST_F(rocm, memory_of_a_queue_is_deregistered)
{
	uint8_t *mem = pages(STUCK_PAGES * PAGE);
	struct rocm_queue q;
	struct rocm_reg *reg;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      STUCK_PAGES * PAGE, &reg));
	ASSERT_EQ(0, make_stuck_queue(&self->c, self->node, reg, mem, &q));
	EXPECT_EQ(0, rocm_deregister(&self->c, reg));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	rocm_queue_ring(&q);
	EXPECT_EQ(0, usable(&self->c, self->node));
	EXPECT_EQ(0, rocm_queue_close(&self->c, &q));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, killed_with_a_queue)
{
	atomic_int *ready = shared_word();
	struct rocm_client c = { 0 };
	struct rocm_reg *reg;
	struct rocm_queue q;
	int status, ms;
	uint32_t node;
	uint8_t *mem;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		rocm_forget(&self->c);
		mem = pages(STUCK_PAGES * PAGE);
		if (start(&c, variant->gen, &node) ||
		    register_and_map(&c, node, mem, STUCK_PAGES * PAGE, &reg) ||
		    make_stuck_queue(&c, node, reg, mem, &q))
			_exit(1);
		atomic_store(ready, 1);
		for (;;)
			rocm_queue_ring(&q);
	}
	for (ms = 0; !atomic_load(ready) && ms < ANSWER_MS; ms += 10) {
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		sleep_ms(10);
	}
	EXPECT_EQ(self->pinned + STUCK_PAGES, memory_pinned());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Whatever is stored, and wherever: a doorbell that nobody has is no harm. */
TEST_F(rocm, doorbells)
{
	uint8_t *mem = pages((QUEUE_PAGES + 1) * PAGE);
	uint8_t *signal = mem + QUEUE_PAGES * PAGE;
	struct rocm_client other = { 0 };
	struct rocm_reg *reg, *beside;
	struct rocm_queue q, theirs;
	uint8_t *buf = pages((QUEUE_PAGES + 1) * PAGE);
	size_t i;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      (QUEUE_PAGES + 1) * PAGE, &reg));
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &q));
	for (i = 0; i < ROCM_DOORBELLS_SIZE; i += 8) {
		*(volatile uint64_t *)(self->c.doorbells + i) = i % 16 ? i :
								UINT64_MAX;
		EXPECT_EQ(0, *(volatile uint64_t *)(self->c.doorbells + i));
	}
	for (i = 0; i < 64; i += 4)
		*(volatile uint32_t *)(self->c.doorbells + i) = UINT32_MAX;
	for (i = 0; i < 16; i++)
		*(volatile uint8_t *)(self->c.doorbells + i) = 1;
	ASSERT_EQ(0, nop(&self->c));
	EXPECT_EQ(0, rocm_queue_done(&q));

	/* Another context has its own. */
	ASSERT_EQ(0, rocm_open(&other, variant->gen));
	other.timeout_ms = ANSWER_MS;
	ASSERT_EQ(0, rocm_open_kfd(&other));
	ASSERT_EQ(0, register_and_map(&other, self->node, buf,
				      (QUEUE_PAGES + 1) * PAGE, &beside));
	ASSERT_EQ(0, make_queue(&other, self->node, beside, buf, &theirs));
	rocm_signal_init(signal, 1);
	rocm_signal_init(buf + QUEUE_PAGES * PAGE, 1);
	ASSERT_EQ(0, rocm_queue_barrier(&q, NULL, 0,
					rocm_gpu_va(reg, signal)));
	ASSERT_EQ(0, put_packet(&theirs, NULL, 0,
				rocm_gpu_va(beside, buf + QUEUE_PAGES * PAGE)));
	EXPECT_EQ(0, rocm_signal_wait(buf + QUEUE_PAGES * PAGE, 0, ANSWER_MS));
	EXPECT_EQ(1, rocm_signal_value(signal));
	rocm_queue_ring(&q);
	EXPECT_EQ(0, rocm_signal_wait(signal, 0, ANSWER_MS));
	rocm_close(&other);
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, queues_that_are_refused)
{
	uint8_t *mem = pages((QUEUE_PAGES + 1) * PAGE), *unmapped = pages(PAGE);
	struct rocm_reg *reg, *file, *none;
	struct rocm_queue_args good, args;
	struct memory rdonly;
	struct rocm_rsp rsp;
	struct rocm_queue q;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      (QUEUE_PAGES + 1) * PAGE, &reg));
	ASSERT_EQ(0, rocm_register(&self->c, unmapped, PAGE, 0, &none));
	ASSERT_EQ(0, memory_get(MEMORY_TMPFS_RDONLY, &rdonly));
	ASSERT_EQ(0, rocm_register(&self->c, rdonly.addr, rdonly.size,
				   VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, &file));
	ASSERT_EQ(0, rocm_map(&self->c, file, &self->node, 1));

#define EXPECT_QUEUE(ret_, change_) \
do { \
	args = rocm_queue_args(&self->c, self->node, reg, mem + PAGE, RING, \
			       mem); \
	change_; \
	EXPECT_EQ(ret_, rocm_queue_command(&self->c, &args, &rsp)) { \
		TH_LOG("%s", #change_); \
	} \
} while (0)
	EXPECT_QUEUE(-ENOENT, args.doorbells_blob_id = 0);
	EXPECT_QUEUE(-EINVAL, args.node = 0);
	EXPECT_QUEUE(-EINVAL, args.node = 99);
	EXPECT_QUEUE(-EINVAL, args.node = UINT32_MAX);
	EXPECT_QUEUE(-EOPNOTSUPP, args.type = 1);
	EXPECT_QUEUE(-EINVAL, args.percent = 101);
	EXPECT_QUEUE(-EINVAL, args.percent = UINT32_MAX);
	EXPECT_QUEUE(-EINVAL, args.priority = 4);
	EXPECT_QUEUE(-EINVAL, args.priority = -4);
	EXPECT_QUEUE(-EINVAL, args.priority = 1LL << 32);
	EXPECT_QUEUE(-EINVAL, args.size = 0);
	EXPECT_QUEUE(-EINVAL, args.size = ROCM_AQL_SIZE);
	EXPECT_QUEUE(-EINVAL, args.size = 3 * 1024);
	EXPECT_QUEUE(-EINVAL, args.size = 1ULL << 63);
	EXPECT_QUEUE(-EFAULT, args.size = 4 * PAGE);
	EXPECT_QUEUE(-EINVAL, args.ring += 8);
	EXPECT_QUEUE(-EINVAL, args.wptr += 4);
	EXPECT_QUEUE(-EINVAL, args.rptr += 1);
	/* Not mapped, by nobody or not yet. */
	EXPECT_QUEUE(-EFAULT, args.ring = 0);
	EXPECT_QUEUE(-EFAULT, args.ring = (uintptr_t)mem);
	EXPECT_QUEUE(-EFAULT, args.ring = -PAGE);
	EXPECT_QUEUE(-EFAULT, args.wptr = (uintptr_t)mem);
	EXPECT_QUEUE(-EFAULT, args.rptr = -8);
	EXPECT_QUEUE(-EFAULT, args.ring = none->handle;
		     args.ring_res_id = none->res_id);
	EXPECT_QUEUE(-EFAULT, args.wptr = none->handle;
		     args.rptr = none->handle + 8;
		     args.ptr_res_id = none->res_id);
	/* Not to be written. */
	EXPECT_QUEUE(-EACCES, args.ring = file->gpu_va;
		     args.ring_res_id = file->res_id);
	EXPECT_QUEUE(-EACCES, args.wptr = file->gpu_va;
		     args.rptr = file->gpu_va + 8;
		     args.ptr_res_id = file->res_id);
	/* Of another resource. */
	EXPECT_QUEUE(-EINVAL, args.ring_res_id = none->res_id);
	EXPECT_QUEUE(-EINVAL, args.ring_res_id = 0);
	EXPECT_QUEUE(-EINVAL, args.ptr_res_id = INT32_MAX);
	EXPECT_QUEUE(-EINVAL, args.rptr = file->gpu_va);
	/* Blobs that nobody can make. */
	EXPECT_QUEUE(-EINVAL, args.blob_id = 0);
	EXPECT_QUEUE(-EINVAL, args.blob_id = 1ULL << 32);
	EXPECT_QUEUE(-EINVAL, args.doorbells_blob_id = 1ULL << 32);
	EXPECT_QUEUE(-EEXIST, args.doorbells_blob_id = args.blob_id);

	/* Nothing of this is in the way of one that is good, */
	good = rocm_queue_args(&self->c, self->node, reg, mem + PAGE, RING,
			       mem);
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &q));
	/* after which there are doorbells. */
	EXPECT_QUEUE(-EEXIST, args.doorbells_blob_id = good.blob_id);
	rocm_signal_init(mem + QUEUE_PAGES * PAGE, 1);
	ASSERT_EQ(0, put_packet(&q, NULL, 0,
				rocm_gpu_va(reg, mem + QUEUE_PAGES * PAGE)));
	EXPECT_EQ(0, rocm_signal_wait(mem + QUEUE_PAGES * PAGE, 0, ANSWER_MS));
	EXPECT_EQ(0, rocm_queue_close(&self->c, &q));
}

/*
 * There is an end to them, of the context's or of the GPU's, and what is closed
 * counts no more.
 */
TEST_F(rocm, too_many_queues)
{
	const int enough = 2000;
	uint8_t *mem = pages(QUEUE_PAGES * PAGE);
	struct rocm_queue q[enough];
	struct rocm_reg *reg;
	int nr, ret = 0, i;

	ASSERT_EQ(0, register_and_map(&self->c, self->node, mem,
				      QUEUE_PAGES * PAGE, &reg));
	for (nr = 0; nr < enough; nr++) {
		ret = make_queue(&self->c, self->node, reg, mem, &q[nr]);
		if (ret)
			break;
	}
	EXPECT_TRUE(ret == -E2BIG || ret == -ENOSPC) {
		TH_LOG("%d after %d", ret, nr);
	}
	/* Those of a GPU's runtime, at least: eight to compute, some to copy. */
	ASSERT_LE(16, nr);
	EXPECT_EQ(0, close_queue(&self->c, &q[3]));
	ASSERT_EQ(0, make_queue(&self->c, self->node, reg, mem, &q[3]));
	EXPECT_EQ(ret, make_queue(&self->c, self->node, reg, mem, &q[nr]));
	for (i = 0; i < nr; i++)
		EXPECT_EQ(0, rocm_queue_close(&self->c, &q[i]));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Made and unmade; who waits for one is told that this is not to be had. */
TEST_F(rocm, events)
{
	struct rocm_rsp rsp = { 0 };
	uint32_t one, two;

	ASSERT_EQ(0, rocm_event_create(&self->c, self->node, &one));
	ASSERT_EQ(0, rocm_event_create(&self->c, self->node, &two));
	EXPECT_NE(0, one);
	EXPECT_NE(0, two);
	EXPECT_NE(one, two);
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_SET, one));
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_QUERY_STATE,
					one));
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_RESET, one));
	EXPECT_REFUSED(rocm_event(&self->c, ROCM_EVENT_WAIT_ON_MULTI, one,
				  &rsp));
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_DESTROY, one));
	EXPECT_REFUSED(rocm_event_command(&self->c, ROCM_EVENT_SET, one));
	EXPECT_REFUSED(rocm_event_command(&self->c, ROCM_EVENT_DESTROY, one));
	EXPECT_REFUSED(rocm_event_command(&self->c, ROCM_EVENT_SET, 0));
	EXPECT_REFUSED(rocm_event_command(&self->c, ROCM_EVENT_SET,
					  UINT32_MAX));
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_SET, two));
	EXPECT_EQ(0, rocm_event_command(&self->c, ROCM_EVENT_DESTROY, two));
}

/*
 * A packet's signals in memory of the program: what a GPU does that has nothing
 * to be asked by. In the first page, the last, and between.
 */
TEST_F(rocm, signals_inside_memory)
{
	uint8_t *buf = pages(40 * PAGE), *copy = malloc(40 * PAGE);
	struct rocm_reg *reg;

	fill(buf, 40 * PAGE, 17);
	memcpy(copy, buf, 40 * PAGE);
	ASSERT_EQ(0, register_and_map(&self->c, self->node, buf, 40 * PAGE,
				      &reg));
	EXPECT_EQ(0, gpu_probes(&self->c, self->node, reg, buf, 40 * PAGE,
				gpu_decrements));
	EXPECT_EQ(0, gpu_probes(&self->c, self->node, reg, buf, 40 * PAGE,
				gpu_waits_for));
	EXPECT_EQ(0, gpu_probes(&self->c, self->node, reg, buf + 7 * PAGE + 5,
				1, gpu_decrements));
	EXPECT_EQ(0, memcmp(buf, copy, 40 * PAGE));
	free(copy);
}

/*
 * What no client sends
 */

/* Where the answers to these go, and what is looked at there. */
#define RAW_OFF		256
#define RAW_ROOM	1024

/*
 * Sends @req as if it were @len long, in a submission of @size, for an answer
 * of @capacity bytes at RAW_OFF. Returns what the answer says, or 1 if it says
 * nothing but seqno has advanced.
 */
static int raw(struct rocm_client *c, struct rocm_req *req, uint32_t cmd,
	       uint32_t len, uint32_t size, uint32_t capacity)
{
	uint8_t *room = rocm_rsp_at(c, RAW_OFF);
	int ret;

	memset(room, 0xee, RAW_ROOM);
	rocm_put32(room, ROCM_RSP_LEN, capacity);
	rocm_put32(room, ROCM_RSP_RET, 1);
	rocm_put32(req->bytes, ROCM_REQ_CMD, cmd);
	rocm_put32(req->bytes, ROCM_REQ_LEN, len);
	rocm_put32(req->bytes, ROCM_REQ_SEQNO, ++c->seqno);
	rocm_put32(req->bytes, ROCM_REQ_RSP_OFF, RAW_OFF);
	ret = rocm_exchange(c, req->bytes, size);
	return ret ? ret : (int32_t)rocm_get32(room, ROCM_RSP_RET);
}

static int raw_whole(struct rocm_client *c, struct rocm_req *req, uint32_t cmd,
		     uint32_t size)
{
	return raw(c, req, cmd, size, size, RAW_ROOM);
}

TEST_F(rocm, unknown_command)
{
	static const uint32_t cmds[] = {
		0, 7, 0xfff, 0x7fffffff, UINT32_MAX,
	};
	struct rocm_req req = { 0 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		EXPECT_REFUSED(raw_whole(&self->c, &req, cmds[i], 16));
		EXPECT_REFUSED(raw_whole(&self->c, &req, cmds[i], 512));
	}
	EXPECT_ANSWERED(raw_whole(&self->c, &req, ROCM_GL_INTER, 16));
	EXPECT_ANSWERED(raw_whole(&self->c, &req, ROCM_GL_INTER, 512));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, unknown_type)
{
	struct rocm_rsp rsp = { 0 };
	struct rocm_req req;
	uint32_t type;

	for (type = 0; type < 64; type++) {
		/* How many arguments they have is not known of all. */
		rsp.capacity = 0;
		if (type > ROCM_QUERY_LAST ||
		    type == ROCM_QUERY_DRM_WRITE_READ)
			EXPECT_REFUSED(rocm_query(&self->c, type, 0, &rsp));
		else if (type != ROCM_QUERY_OPEN_KFD)
			EXPECT_ANSWERED(rocm_query(&self->c, type, 0, &rsp));

		rocm_memory_req(&self->c, &req, type, 0);
		if (type > ROCM_MEMORY_LAST)
			EXPECT_REFUSED(rocm_memory(&self->c, &req, &rsp));
		else
			EXPECT_ANSWERED(rocm_memory(&self->c, &req, &rsp));
	}
	rsp.capacity = 0;
	EXPECT_REFUSED(rocm_query(&self->c, UINT32_MAX, 0, &rsp));
	rocm_memory_req(&self->c, &req, UINT32_MAX, 0);
	EXPECT_REFUSED(rocm_memory(&self->c, &req, &rsp));
	rsp.capacity = 0;
	EXPECT_REFUSED(rocm_event(&self->c, UINT32_MAX, 0, &rsp));
	rsp.capacity = 0;
	EXPECT_REFUSED(rocm_queue(&self->c, UINT32_MAX, 0, &rsp));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Ids that are pointers in the client, and waits: nobody follows, or waits. */
TEST_F(rocm, ids_are_opaque)
{
	static const uint64_t ids[] = {
		0, 1, 8, 0x4141414141414141, UINT64_MAX,
	};
	struct rocm_rsp rsp = { 0 };
	uint32_t type;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ids) + 1; i++) {
		uint64_t id = i < ARRAY_SIZE(ids) ? ids[i] :
			      (uintptr_t)self->c.shmem;

		for (type = 0; type < 16; type++) {
			rsp.capacity = 0;
			EXPECT_ANSWERED(rocm_event(&self->c, type, id, &rsp));
			rsp.capacity = 0;
			EXPECT_ANSWERED(rocm_queue(&self->c, type, id, &rsp));
		}
	}
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, bad_length)
{
	static const struct {
		uint32_t len, size;
	} bad[] = {
		{ 0, 16 }, { 8, 16 }, { 12, 16 }, { 15, 16 }, { 20, 24 },
		{ 17, 32 }, { 24, 16 }, { 0x10000, 16 }, { 0xfffffff8, 16 },
		{ UINT32_MAX, 16 }, { 0, 128 }, { 136, 128 }, { 127, 128 },
		{ 0x80000000, 128 },
	};
	static const uint32_t cmds[] = {
		ROCM_NOP, ROCM_QUERY, ROCM_EVENT, ROCM_MEMORY, ROCM_QUEUE,
	};
	struct rocm_req req = { 0 };
	size_t i, n;

	for (n = 0; n < ARRAY_SIZE(cmds); n++)
		for (i = 0; i < ARRAY_SIZE(bad); i++)
			EXPECT_REFUSED(raw(&self->c, &req, cmds[n], bad[i].len,
					   bad[i].size, RAW_ROOM));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Whole, but with less than the command has. */
TEST_F(rocm, short_request)
{
	static const struct {
		uint32_t cmd, size;
	} bad[] = {
		{ ROCM_QUERY, 16 }, { ROCM_QUERY, 48 }, { ROCM_QUERY, 120 },
		{ ROCM_EVENT, 16 }, { ROCM_EVENT, 80 }, { ROCM_EVENT, 96 },
		{ ROCM_MEMORY, 16 }, { ROCM_MEMORY, 64 }, { ROCM_MEMORY, 72 },
		{ ROCM_QUEUE, 16 }, { ROCM_QUEUE, 120 }, { ROCM_QUEUE, 128 },
	};
	struct rocm_req req = { 0 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&req, 0, sizeof(req));
		/* One that would work, behind the end if it is at 48. */
		if (bad[i].cmd == ROCM_QUERY)
			rocm_put32(req.bytes, ROCM_QUERY_TYPE,
				   ROCM_QUERY_GET_VER);
		EXPECT_REFUSED(raw_whole(&self->c, &req, bad[i].cmd,
					 bad[i].size));
	}
	memset(&req, 0, sizeof(req));
	/* Between the generations: of 2025, with a payload that it has not. */
	for (i = 80; i <= 320; i += 8)
		EXPECT_ANSWERED(raw_whole(&self->c, &req, ROCM_MEMORY, i));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Nothing says where to answer, or which seqno: the fence is all there is. */
TEST_F(rocm, truncated_header)
{
	uint32_t words[4] = { ROCM_NOP, 16, 0, 0 }, size;

	for (size = 4; size < 16; size += 4)
		EXPECT_EQ(0, rocm_exchange(&self->c, words, size));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* After a good request, in the same submission. */
TEST_F(rocm, junk_behind_a_request)
{
	struct rocm_req req = { 0 };

	memset(req.bytes + 16, 0xff, 16);
	rocm_put32(req.bytes, 16 + ROCM_REQ_SEQNO, self->c.seqno + 1);
	EXPECT_ANSWERED(raw(&self->c, &req, ROCM_NOP, 16, 32, RAW_ROOM));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, large_request)
{
	const uint32_t size = 256 * 1024;
	uint8_t *req = pages(size);

	rocm_put32(rocm_rsp_at(&self->c, RAW_OFF), ROCM_RSP_LEN, RAW_ROOM);
	rocm_put32(req, ROCM_REQ_CMD, ROCM_MEMORY);
	rocm_put32(req, ROCM_REQ_LEN, size);
	rocm_put32(req, ROCM_REQ_SEQNO, ++self->c.seqno);
	rocm_put32(req, ROCM_REQ_RSP_OFF, RAW_OFF);
	EXPECT_EQ(0, rocm_exchange(&self->c, req, size));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* A NOP that wants its answer at @off. */
static int nop_at(struct rocm_client *c, uint32_t off)
{
	uint8_t req[ROCM_REQ_HEADER];

	rocm_put32(req, ROCM_REQ_CMD, ROCM_NOP);
	rocm_put32(req, ROCM_REQ_LEN, sizeof(req));
	rocm_put32(req, ROCM_REQ_SEQNO, ++c->seqno);
	rocm_put32(req, ROCM_REQ_RSP_OFF, off);
	return rocm_exchange(c, req, sizeof(req));
}

TEST_F(rocm, answer_outside_the_shared_memory)
{
	const uint32_t area = rocm_rsp_area(&self->c);
	const uint32_t offs[] = {
		area, area - 4, area + 16, 0x80000000, 0xfffffff8,
		/* The start of the shared memory, if the sum wraps. */
		-16U, -8U,
		/* Places for nobody. */
		RAW_OFF + 4, RAW_OFF + 1,
	};
	size_t i;

	/* Answered as far as it can be: seqno advances. */
	for (i = 0; i < ARRAY_SIZE(offs); i++) {
		EXPECT_EQ(0, nop_at(&self->c, offs[i])) {
			TH_LOG("rsp_off 0x%x", offs[i]);
		}
		EXPECT_EQ(16, rocm_get32(self->c.shmem, ROCM_RSP_MEM_OFFSET));
		EXPECT_EQ(0, rocm_get32(self->c.shmem, ROCM_GLOBAL_FAULTS));
	}
	EXPECT_EQ(0, usable(&self->c, self->node));

	/* The last place that is one. */
	rocm_put32(rocm_rsp_at(&self->c, area - 8), ROCM_RSP_LEN, 8);
	rocm_put32(rocm_rsp_at(&self->c, area - 8), ROCM_RSP_RET, 1);
	EXPECT_EQ(0, nop_at(&self->c, area - 8));
	EXPECT_EQ(0, rocm_get32(rocm_rsp_at(&self->c, area - 8),
				ROCM_RSP_RET));
	/* Room there that reaches beyond. */
	rocm_put32(rocm_rsp_at(&self->c, area - 8), ROCM_RSP_LEN, 424);
	EXPECT_EQ(0, nop_at(&self->c, area - 8));
	rocm_put32(rocm_rsp_at(&self->c, area - 8), ROCM_RSP_LEN, UINT32_MAX);
	EXPECT_EQ(0, nop_at(&self->c, area - 8));
	EXPECT_EQ(0, usable(&self->c, self->node));
}

TEST_F(rocm, capacity_is_respected)
{
	static const uint32_t capacities[] = {
		0, 4, 7, 8, 12, 16, 20, 24, 100, 400,
	};
	const uint8_t *room = rocm_rsp_at(&self->c, RAW_OFF);
	struct rocm_req req = { 0 };
	size_t i, n;
	int ret;

	for (i = 0; i < ARRAY_SIZE(capacities); i++) {
		memset(&req, 0, sizeof(req));
		rocm_put32(req.bytes, ROCM_QUERY_TYPE,
			   ROCM_QUERY_GET_NODE_PROP);
		rocm_put64(req.bytes, ROCM_QUERY_ARGS, self->node);
		ret = raw(&self->c, &req, ROCM_QUERY, ROCM_QUERY_SIZE,
			  ROCM_QUERY_SIZE, capacities[i]);
		/* Cut or refused, but with room for ret it is told. */
		if (capacities[i] >= ROCM_RSP_HEADER)
			EXPECT_ANSWERED(ret);
		else
			EXPECT_EQ(1, ret);
		n = capacities[i] < 8 ? 8 : capacities[i];
		for (; n < RAW_ROOM && room[n] == 0xee; n++)
			;
		EXPECT_EQ(RAW_ROOM, n) {
			TH_LOG("capacity %u", capacities[i]);
		}
	}
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* In the words of each generation: what is no registration of ours. */
TEST_F(rocm, unknown_resources)
{
	const uint32_t ids[] = {
		0, 0x7fffffff, UINT32_MAX, self->c.shmem_res_id,
	};
	struct rocm_reg reg = { .size = PAGE };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		reg.res_id = ids[i];
		reg.handle = self->c.vm_start;
		EXPECT_REFUSED(rocm_map(&self->c, &reg, &self->node, 1));
		EXPECT_REFUSED(rocm_reg_mem(&self->c, &reg, reg.handle, PAGE));
		EXPECT_REFUSED(rocm_map_userptr(&self->c, &reg));
	}
	EXPECT_EQ(0, usable(&self->c, self->node));
}

/* Counts that the payload does not hold, those included that wrap. */
TEST_F(rocm, number_of_nodes)
{
	static const uint64_t counts[] = {
		3, 178, 1000, 1ULL << 30, (1ULL << 30) + 1, (1ULL << 32) + 1,
		1ULL << 61, (1ULL << 61) + 1, 1ULL << 62, (1ULL << 62) + 1,
		1ULL << 63, UINT64_MAX,
	};
	uint8_t *buf = pages(PAGE);
	struct rocm_reg *reg;
	struct rocm_req req;
	struct rocm_rsp rsp;
	size_t i;

	ASSERT_EQ(0, rocm_register(&self->c, buf, PAGE, 0, &reg));
	for (i = 0; i <= ARRAY_SIZE(counts); i++) {
		rocm_memory_req(&self->c, &req, ROCM_MEMORY_MAP_TO_GPU_NODES,
				reg->res_id);
		rocm_put64(req.bytes, ROCM_MAP_VA, reg->handle);
		rocm_put64(req.bytes, ROCM_MAP_BYTES, reg->size);
		rocm_put32(req.bytes, req.size, self->node);
		req.size += 4;
		if (i == ARRAY_SIZE(counts)) {
			EXPECT_ANSWERED(rocm_memory(&self->c, &req, &rsp));
			break;
		}
		rocm_put64(req.bytes, ROCM_MAP_NR_NODES, counts[i]);
		EXPECT_REFUSED(rocm_memory(&self->c, &req, &rsp));
	}
	ASSERT_EQ(0, rocm_map(&self->c, reg, &self->node, 1));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, PAGE, 15));
}

/* Maps of what the registration is not. */
TEST_F(rocm, maps_beside_the_registration)
{
	uint8_t *buf = pages(4 * PAGE);
	struct rocm_reg *reg, wrong;

	ASSERT_EQ(0, rocm_register(&self->c, buf, 4 * PAGE, 0, &reg));
	wrong = *reg;
	wrong.size += PAGE;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	wrong = *reg;
	wrong.handle += PAGE;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	wrong.handle = reg->handle - PAGE;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	wrong.handle = UINT64_MAX - PAGE + 1;
	EXPECT_REFUSED(rocm_map(&self->c, &wrong, &self->node, 1));
	EXPECT_REFUSED(rocm_reg_mem(&self->c, reg, reg->base, 4 * PAGE + 1));

	ASSERT_EQ(0, rocm_map(&self->c, reg, &self->node, 1));
	EXPECT_EQ(0, shared(&self->c, self->node, reg, buf, 4 * PAGE, 16));
}

/*
 * What is recorded: once through all of it, each time the same. Of the answers
 * only clocks, addresses and what memory holds may differ.
 */

/* What @node has. */
static int describe_node(struct rocm_client *c, uint32_t node)
{
	struct rocm_rsp props = { 0 }, rsp = { 0 };
	int ret;

	ret = rocm_query(c, ROCM_QUERY_GET_NODE_PROP, node, &props);
	if (!ret)
		ret = rocm_query_list(c, ROCM_QUERY_NODE_MEM_PROP, node,
				      rocm_get32(props.bytes,
						 ROCM_NODE_RSP_BANKS),
				      ROCM_BANK_SIZE, &rsp);
	if (!ret)
		ret = rocm_query_list(c, ROCM_QUERY_NODE_CACHE_PROP, node,
				      rocm_get32(props.bytes,
						 ROCM_NODE_RSP_CACHES),
				      ROCM_CACHE_SIZE, &rsp);
	if (!ret)
		ret = rocm_query_list(c, ROCM_QUERY_NODE_IO_LINK, node,
				      rocm_get32(props.bytes,
						 ROCM_NODE_RSP_LINKS),
				      ROCM_LINK_SIZE, &rsp);
	rsp.capacity = 0;
	return ret ? ret : rocm_query(c, ROCM_QUERY_CLOCK_COUNTERS, node, &rsp);
}

/* No trap handler: of size 0, and nowhere. */
static int no_trap_handler(struct rocm_client *c, uint32_t node)
{
	struct rocm_req req = { .size = ROCM_EVENT_SIZE };
	struct rocm_rsp rsp = { 0 };

	rocm_put32(req.bytes, ROCM_EVENT_TRAP_NODE, node);
	rocm_put32(req.bytes, ROCM_EVENT_TYPE, ROCM_EVENT_SET_TRAP);
	return rocm_call(c, ROCM_EVENT, &req, &rsp);
}

/* Memory of the host, with a blob and without one. */
static int use_memory_of_the_host(struct rocm_client *c, uint32_t node)
{
	struct rocm_buf buf;
	struct rocm_reg reg;
	uint64_t avail;
	int ret;

	ret = rocm_avail(c, node, &avail);
	if (!ret)
		ret = rocm_alloc(c, node, ROCM_FLAG_NONPAGED |
				 ROCM_FLAG_HOST_ACCESS, 16 * PAGE, &buf);
	if (!ret)
		ret = rocm_buf_command(c, ROCM_MEMORY_MAP_MEM_TO_GPU, &buf);
	if (ret)
		return ret;
	reg = rocm_buf_reg(&buf);
	ret = shared(c, node, &reg, buf.addr, buf.size, 1);
	if (!ret)
		ret = rocm_buf_command(c, ROCM_MEMORY_UNMAP, &buf);
	if (!ret)
		ret = rocm_free(c, &buf);

	if (!ret)
		ret = rocm_alloc(c, node, ROCM_FLAG_NONPAGED, MIB, &buf);
	return ret ? ret : rocm_free(c, &buf);
}

/* What the program stores, or waits for, in memory that it has registered. */
static void say_memory(struct rocm_client *c, const struct rocm_reg *reg,
		       const uint8_t *at, uint32_t size)
{
	rocm_transcript_memory(c->transcript, reg->res_id,
			       (uintptr_t)at - reg->base, at, size);
}

static int say_wait(struct rocm_client *c, const struct rocm_reg *reg,
		    const uint8_t *signal, int64_t value)
{
	rocm_transcript_line(c->transcript, "wait %u %llu %llu", reg->res_id,
			     (unsigned long long)((uintptr_t)signal +
						  ROCM_SIGNAL_VALUE -
						  reg->base),
			     (unsigned long long)value);
	return rocm_signal_wait(signal, value, ANSWER_MS);
}

/* At the start of @mem: packets that wait, one by one and for the program. */
static int use_a_queue(struct rocm_client *c, uint32_t node,
		       const struct rocm_reg *reg, uint8_t *mem)
{
	uint8_t *signals = mem + QUEUE_PAGES * PAGE;
	struct rocm_queue q;
	uint64_t dep;
	int ret, i;

	memset(mem, 0, QUEUE_PAGES * PAGE);
	say_memory(c, reg, mem, 16);
	init_signals(signals, 4);
	for (i = 0; i < 4; i++)
		say_memory(c, reg, signal_at(signals, i), ROCM_SIGNAL_SIZE);
	ret = make_queue(c, node, reg, mem, &q);
	for (i = 0; i < 3 && !ret; i++) {
		dep = rocm_gpu_va(reg, signal_at(signals, i));
		ret = put_packet(&q, &dep, 1, rocm_gpu_va(reg,
						signal_at(signals, i + 1)));
	}
	if (ret)
		return ret;
	rocm_signal_init(signals, 0);
	say_memory(c, reg, signals, ROCM_SIGNAL_SIZE);
	ret = say_wait(c, reg, signal_at(signals, 3), 0);
	return ret ? ret : rocm_queue_close(c, &q);
}

static int use_an_event(struct rocm_client *c, uint32_t node)
{
	uint32_t id;
	int ret;

	ret = rocm_event_create(c, node, &id);
	if (!ret)
		ret = rocm_event_command(c, ROCM_EVENT_SET, id);
	if (!ret)
		ret = rocm_event_command(c, ROCM_EVENT_QUERY_STATE, id);
	if (!ret)
		ret = rocm_event_command(c, ROCM_EVENT_RESET, id);
	return ret ? ret : rocm_event_command(c, ROCM_EVENT_DESTROY, id);
}

TEST_F(rocm, session)
{
	static const uint32_t plain[] = {
		ROCM_QUERY_GPU_INFO, ROCM_QUERY_GET_VER, ROCM_QUERY_XNACK,
		ROCM_QUERY_RUNTIME_ENABLE, ROCM_QUERY_RUNTIME_CAPS,
		ROCM_QUERY_NANO_TIME,
	};
	struct rocm_client *c = &self->c;
	struct rocm_rsp rsp = { 0 };
	struct rocm_req req = { 0 };
	struct rocm_reg *reg, *inside, *part, *file, unknown;
	uint32_t words[2] = { ROCM_NOP, 8 };
	uint8_t *buf = pages(2 * MIB + 2 * PAGE);
	struct memory mem;
	size_t i;

	/* A runtime looks around. */
	for (i = 0; i < ARRAY_SIZE(plain); i++) {
		rsp.capacity = 0;
		EXPECT_EQ(0, rocm_query(c, plain[i], 0, &rsp)) {
			TH_LOG("query %u", plain[i]);
		}
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, describe_node(c, i));
	rsp.capacity = 0;
	EXPECT_EQ(0, rocm_query(c, ROCM_QUERY_AMDGPU_HANDLE, self->node, &rsp));
	EXPECT_EQ(0, no_trap_handler(c, self->node));
	EXPECT_EQ(0, use_memory_of_the_host(c, self->node));

	/* A program locks memory: whole, inside that, inside pages, a file. */
	ASSERT_EQ(0, register_and_map(c, self->node, buf, 2 * MIB, &reg));
	ASSERT_EQ(0, rocm_register(c, buf + PAGE, MIB, 0, &inside));
	EXPECT_EQ(0, shared(c, self->node, reg, buf, 2 * MIB, 1));
	EXPECT_EQ(0, use_an_event(c, self->node));
	EXPECT_EQ(0, use_a_queue(c, self->node, reg, buf));
	ASSERT_EQ(0, register_and_map(c, self->node, buf + 2 * MIB - 5000,
				      10000, &part));
	EXPECT_EQ(0, shared(c, self->node, part, buf + 2 * MIB - 5000, 5000,
			    2));
	EXPECT_EQ(0, rocm_deregister(c, inside));
	EXPECT_EQ(0, rocm_deregister(c, part));
	ASSERT_EQ(0, memory_get(MEMORY_TMPFS_RDONLY, &mem));
	ASSERT_EQ(0, rocm_register(c, mem.addr, mem.size,
				   VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, &file));
	ASSERT_EQ(0, rocm_map(c, file, &self->node, 1));
	EXPECT_EQ(0, gpu_only_reads(c, self->node, file, &mem));

	/* What is refused. */
	unknown = *reg;
	unknown.res_id = INT32_MAX;
	EXPECT_REFUSED(rocm_map(c, &unknown, &self->node, 1));
	EXPECT_REFUSED(rocm_map(c, reg, (uint32_t[]){ self->node, 99 }, 2));
	EXPECT_REFUSED(rocm_reg_mem(c, reg, reg->handle, 2 * MIB + 1));
	rsp.capacity = 0;
	EXPECT_REFUSED(rocm_query(c, 63, 0, &rsp));
	rocm_memory_req(c, &req, 63, reg->res_id);
	EXPECT_REFUSED(rocm_memory(c, &req, &rsp));
	EXPECT_REFUSED(raw_whole(c, &req, 7, 16));
	EXPECT_REFUSED(raw(c, &req, ROCM_QUERY, 136, 128, RAW_ROOM));
	EXPECT_EQ(1, raw(c, &req, ROCM_NOP, 16, 16, 0));
	EXPECT_EQ(0, rocm_exchange(c, words, sizeof(words)));

	/* It ends, with one registration for the host to undo. */
	EXPECT_EQ(0, rocm_deregister(c, reg));
	rsp.capacity = 0;
	EXPECT_EQ(0, rocm_query(c, ROCM_QUERY_RUNTIME_DISABLE, 0, &rsp));
	rsp.capacity = 0;
	EXPECT_EQ(0, rocm_query(c, ROCM_QUERY_REL_SYS_PROP, 0, &rsp));
	EXPECT_EQ(0, nop(c));
}

TEST_HARNESS_MAIN
