// SPDX-License-Identifier: MIT
/*
 * A thunk without a GPU: one node with a CPU, one with a card of the gfx1030 kind
 *
 * It takes registrations and mappings as a real one does, computes nothing, and
 * on request reads or writes what is mapped, by the GPU's addresses. So it shows
 * that a guest's memory is where the GPU would look for it. Queues are those of
 * vcs_sim_aql.h.
 */
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_range.h"
#include "vcs_sim_aql.h"
#include "vcs_thunk_sim.h"

#define KIB	1024ULL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

enum {
	NODE_CPU,
	NODE_GPU,
	NR_NODES,
};

/* What a runtime may allocate and a guest register by default. */
#define SYSTEM_MEMORY	(256 * GIB)
#define LOCAL_MEMORY	(16 * GIB)

/* Of the kernel's KFD that has all that is answered here. */
#define KFD_MAJOR	1
#define KFD_MINOR	17

/* amdgpu's numbers: the family of gfx10.3, GDDR6. */
#define FAMILY_NV	143
#define VRAM_GDDR6	9

#define NR_ENGINES	4U
#define NR_ARRAYS	2U	/* of an engine */
#define NR_CUS		10U	/* of an array */
#define NR_SIMDS	2U	/* of a compute unit */
#define COUNTER_KHZ	100000U

/* Where waves see their local and private memory (KFD's apertures). */
#define LDS_BASE	(1ULL << 48)
#define SCRATCH_BASE	(2ULL << 48)

/**
 * struct range - what is registered
 * @at: where, in this process and for the GPU
 * @rdonly: the GPU must not write
 * @nodes: that it is mapped to, a bit each
 */
struct range {
	struct vcs_range at;
	bool rdonly;
	uint32_t nodes;
};

/* Packets of a queue before others, and QEMU, have a turn: microseconds. */
#define MAX_IN_A_ROW	16

/* How long until memory that is waited for is looked at again, in ms. */
#define MIN_WAIT	1
#define MAX_WAIT	16

/**
 * struct queue - a queue
 * @next: in the list
 * @rung: it may have something to do
 * @aql: its packets
 */
struct queue {
	struct queue *next;
	bool rung;
	struct vcs_aql_queue aql;
};

/**
 * struct sim - the thunk
 * @base: what users see
 * @ranges: tree of ranges
 * @used: memory that was allocated of each node
 * @runtime: it is enabled
 * @queues: queues
 * @last_id: of the queue that was created last
 * @wait: how long it was waited last, in ms
 */
struct sim {
	struct vcs_thunk base;
	void *ranges;
	uint64_t used[NR_NODES];
	bool runtime;
	struct queue *queues;
	uint64_t last_id;
	int wait;
};

static const uint64_t memory[NR_NODES] = {
	[NODE_CPU] = SYSTEM_MEMORY,
	[NODE_GPU] = LOCAL_MEMORY,
};

static const struct vcs_thunk_bank cpu_banks[] = {
	{
		.heap_type = VIRTIO_GPU_ROCM_HEAP_SYSTEM,
		.size = SYSTEM_MEMORY,
		.width = 64,
		.memory_clock_max = 3200,
	},
};

static const struct vcs_thunk_bank gpu_banks[] = {
	{
		.heap_type = VIRTIO_GPU_ROCM_HEAP_FB_PUBLIC,
		.size = LOCAL_MEMORY,
		.width = 256,
		.memory_clock_max = 1000,
	}, {
		.heap_type = VIRTIO_GPU_ROCM_HEAP_LDS,
		.size = 64 * KIB,
		.virtual_base = LDS_BASE,
	}, {
		.heap_type = VIRTIO_GPU_ROCM_HEAP_SCRATCH,
		.size = 4 * GIB,
		.virtual_base = SCRATCH_BASE,
	},
};

#define CPU_CACHE	(VIRTIO_GPU_ROCM_CACHE_DATA | VIRTIO_GPU_ROCM_CACHE_CPU)
#define GPU_CACHE	(VIRTIO_GPU_ROCM_CACHE_DATA | \
			 VIRTIO_GPU_ROCM_CACHE_HSACU)

static const struct vcs_thunk_cache cpu_caches[] = {
	{ .level = 1, .size = 32, .line_size = 64, .lines_per_tag = 1,
	  .associativity = 8, .type = CPU_CACHE, .siblings = 1 },
	{ .level = 2, .size = 512, .line_size = 64, .lines_per_tag = 1,
	  .associativity = 8, .type = CPU_CACHE, .siblings = 1 },
};

static const struct vcs_thunk_cache gpu_caches[] = {
	{ .level = 1, .size = 16, .line_size = 128, .lines_per_tag = 1,
	  .associativity = 16, .type = GPU_CACHE, .siblings = 1 },
	{ .level = 2, .size = 4096, .line_size = 128, .lines_per_tag = 1,
	  .associativity = 16, .type = GPU_CACHE, .siblings = 80 },
};

static const struct vcs_thunk_io_link links[NR_NODES] = {
	[NODE_CPU] = {
		.type = VIRTIO_GPU_ROCM_IO_LINK_PCIE,
		.node_from = NODE_CPU,
		.node_to = NODE_GPU,
		.weight = 20,
		.max_bandwidth = 31508,
		.min_bandwidth = 312,
	},
	[NODE_GPU] = {
		.type = VIRTIO_GPU_ROCM_IO_LINK_PCIE,
		.node_from = NODE_GPU,
		.node_to = NODE_CPU,
		.weight = 20,
		.max_bandwidth = 31508,
		.min_bandwidth = 312,
	},
};

static const struct vcs_thunk_node nodes[NR_NODES] = {
	[NODE_CPU] = {
		.num_cpu_cores = 1,
		.num_memory_banks = 1,
		.num_caches = 2,
		.num_io_links = 1,
		.max_engine_clock_mhz_ccompute = 3000,
		.marketing_name = "simulated CPU",
	},
	[NODE_GPU] = {
		.num_fcompute_cores = NR_ENGINES * NR_ARRAYS * NR_CUS * NR_SIMDS,
		.num_memory_banks = 3,
		.num_caches = 2,
		.num_io_links = 1,
		.fcompute_id_lo = 0x80001000,
		.capability = 2 << VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT,
		.max_waves_per_simd = 16,
		.lds_size_in_kb = 64,
		.wave_front_size = 32,
		.num_shader_banks = NR_ENGINES * NR_ARRAYS,
		.num_arrays = NR_ARRAYS,
		.num_cu_per_array = NR_CUS,
		.num_simd_per_cu = NR_SIMDS,
		.max_slots_scratch_cu = 32,
		.engine_id = VIRTIO_GPU_ROCM_ENGINE(10, 3, 0),
		.vendor_id = 0x1002,
		.device_id = 0x73bf,
		.location_id = 0x100,
		.local_mem_size = LOCAL_MEMORY,
		.max_engine_clock_mhz_fcompute = 2250,
		.max_engine_clock_mhz_ccompute = 3000,
		.marketing_name = "simulated GPU",
		.amd_name = "gfx1030",
		.num_sdma_engines = 2,
		.num_sdma_queues_per_engine = 8,
		.num_cp_queues = 24,
		.unique_id = 1,
		.vgpr_size_per_cu = 512 * KIB,
		.sgpr_size_per_cu = 16 * KIB,
		.num_xcc = 1,
		.kfd_gpu_id = 1,
		.family_id = FAMILY_NV,
		.wall_clock_khz = COUNTER_KHZ,
	},
};

static struct sim *to_sim(struct vcs_thunk *t)
{
	return (struct sim *)t;
}

static void remove_queue(struct queue **slot)
{
	struct queue *q = *slot;

	*slot = q->next;
	free(q);
}

static void sim_close(struct vcs_thunk *t)
{
	struct sim *sim = to_sim(t);

	while (sim->queues)
		remove_queue(&sim->queues);
	tdestroy(sim->ranges, free);
	free(sim);
}

static int sim_version(struct vcs_thunk *t, uint32_t *major, uint32_t *minor)
{
	(void)t;
	*major = KFD_MAJOR;
	*minor = KFD_MINOR;
	return 0;
}

static int sim_system(struct vcs_thunk *t, struct vcs_thunk_system *sys)
{
	(void)t;
	sys->num_nodes = NR_NODES;
	return 0;
}

static int sim_node(struct vcs_thunk *t, uint32_t node,
		    struct vcs_thunk_node *props)
{
	(void)t;
	if (node >= NR_NODES)
		return -EINVAL;
	*props = nodes[node];
	return 0;
}

static int sim_bank(struct vcs_thunk *t, uint32_t node, uint32_t index,
		    struct vcs_thunk_bank *bank)
{
	(void)t;
	if (node >= NR_NODES || index >= nodes[node].num_memory_banks)
		return -EINVAL;
	*bank = node == NODE_CPU ? cpu_banks[index] : gpu_banks[index];
	return 0;
}

static int sim_cache(struct vcs_thunk *t, uint32_t node, uint32_t index,
		     struct vcs_thunk_cache *cache)
{
	(void)t;
	if (node >= NR_NODES || index >= nodes[node].num_caches)
		return -EINVAL;
	*cache = node == NODE_CPU ? cpu_caches[index] : gpu_caches[index];
	cache->processor_id_low = node == NODE_CPU ?
				  nodes[node].ccompute_id_lo :
				  nodes[node].fcompute_id_lo;
	return 0;
}

static int sim_io_link(struct vcs_thunk *t, uint32_t node, uint32_t index,
		       struct vcs_thunk_io_link *link)
{
	(void)t;
	if (node >= NR_NODES || index >= nodes[node].num_io_links)
		return -EINVAL;
	*link = links[node];
	return 0;
}

static int sim_gpu_info(struct vcs_thunk *t, uint32_t node,
			struct vcs_thunk_gpu_info *info)
{
	(void)t;
	if (node != NODE_GPU)
		return -EINVAL;
	*info = (struct vcs_thunk_gpu_info) {
		.asic_id = nodes[node].device_id,
		.family_id = FAMILY_NV,
		/* Both in kHz. */
		.max_engine_clk =
			nodes[node].max_engine_clock_mhz_fcompute * 1000ULL,
		.max_memory_clk = gpu_banks[0].memory_clock_max * 1000ULL,
		.num_shader_engines = NR_ENGINES,
		.num_shader_arrays_per_engine = NR_ARRAYS,
		.gpu_counter_freq = COUNTER_KHZ,
		.cu_active_number = NR_ENGINES * NR_ARRAYS * NR_CUS,
		.cu_mask = (1U << NR_CUS) - 1,
		.vram_type = VRAM_GDDR6,
		.vram_bit_width = gpu_banks[0].width,
	};
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The GPU's counter at that time. */
static uint64_t to_counter(uint64_t ns)
{
	return ns / (1000000 / COUNTER_KHZ);
}

static int sim_clocks(struct vcs_thunk *t, uint32_t node,
		      struct vcs_thunk_clocks *clocks)
{
	uint64_t ns = now_ns();

	(void)t;
	if (node >= NR_NODES)
		return -EINVAL;
	if (node == NODE_GPU)
		clocks->gpu = to_counter(ns);
	clocks->cpu = ns;
	clocks->system = ns;
	clocks->system_frequency_hz = 1000000000;
	return 0;
}

static int sim_runtime_enable(struct vcs_thunk *t, bool setup_ttmp)
{
	(void)setup_ttmp;
	if (to_sim(t)->runtime)
		return -EBUSY;
	to_sim(t)->runtime = true;
	return 0;
}

static int sim_runtime_disable(struct vcs_thunk *t)
{
	if (!to_sim(t)->runtime)
		return -EINVAL;
	to_sim(t)->runtime = false;
	return 0;
}

static int sim_runtime_caps(struct vcs_thunk *t, uint32_t *caps)
{
	(void)t;
	*caps = 0;
	return 0;
}

static int sim_set_trap(struct vcs_thunk *t, uint32_t node,
			const struct vcs_thunk_trap *trap)
{
	(void)t;
	(void)trap;
	return node == NODE_GPU ? 0 : -EINVAL;
}

static int sim_alloc(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	struct sim *sim = to_sim(t);

	if (node >= NR_NODES)
		return -EINVAL;
	if (size > memory[node] - sim->used[node])
		return -ENOMEM;
	sim->used[node] += size;
	return 0;
}

static void sim_free(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	to_sim(t)->used[node] -= size;
}

static int sim_available(struct vcs_thunk *t, uint32_t node, uint64_t *bytes)
{
	if (node >= NR_NODES)
		return -EINVAL;
	*bytes = memory[node] - to_sim(t)->used[node];
	return 0;
}

static int sim_register(struct vcs_thunk *t, void *addr, uint64_t size,
			bool rdonly)
{
	struct sim *sim = to_sim(t);
	struct range *r;

	if (!size || (uintptr_t)addr + size < size)
		return -EINVAL;
	if (vcs_range_find(&sim->ranges, (uintptr_t)addr, size))
		return -EEXIST;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->at.addr = (uintptr_t)addr;
	r->at.size = size;
	r->rdonly = rdonly;
	if (!tsearch(r, &sim->ranges, vcs_range_compare)) {
		free(r);
		return -ENOMEM;
	}
	return 0;
}

static void sim_deregister(struct vcs_thunk *t, void *addr)
{
	struct sim *sim = to_sim(t);
	struct range *r = vcs_range_find_start(&sim->ranges, addr);

	if (!r)
		return;
	tdelete(r, &sim->ranges, vcs_range_compare);
	free(r);
}

static int sim_map(struct vcs_thunk *t, void *addr, const uint32_t *ids,
		   uint32_t nr_nodes, uint64_t *gpu_addr)
{
	struct range *r = vcs_range_find_start(&to_sim(t)->ranges, addr);
	uint32_t i;

	if (!r)
		return -EINVAL;
	for (i = 0; i < nr_nodes; i++)
		if (ids[i] != NODE_GPU)
			return -EINVAL;
	if (nr_nodes)
		r->nodes |= 1U << NODE_GPU;
	*gpu_addr = r->at.addr;
	return 0;
}

static int sim_unmap(struct vcs_thunk *t, void *addr)
{
	struct range *r = vcs_range_find_start(&to_sim(t)->ranges, addr);

	if (!r)
		return -EINVAL;
	r->nodes = 0;
	return 0;
}

static uint64_t checksum(const uint8_t *p, uint64_t size)
{
	uint64_t sum = 0, i;

	for (i = 0; i < size; i++)
		sum += (i + 1) * p[i];
	return sum;
}

/* What has all of it and is mapped to the node. */
static const struct range *find_mapped(const struct sim *sim, uint32_t node,
				       uint64_t addr, uint64_t size)
{
	const struct range *r = vcs_range_find(&sim->ranges, addr, size);

	return r && (r->nodes & (1U << node)) && addr >= r->at.addr &&
	       addr + size <= r->at.addr + r->at.size ? r : NULL;
}

static int sim_access(struct vcs_thunk *t, struct vcs_thunk_access *access)
{
	const struct range *r;
	uint8_t *p;

	if (!access->size || access->node != NODE_GPU)
		return -EINVAL;
	r = find_mapped(to_sim(t), access->node, access->addr, access->size);
	if (!r)
		return -EFAULT;
	if (access->fill && r->rdonly)
		return -EACCES;
	p = (uint8_t *)(uintptr_t)access->addr;
	if (access->fill)
		memset(p, access->value, access->size);
	else
		access->checksum = checksum(p, access->size);
	return 0;
}

static void *access_of_queue(void *arg, uint32_t node, uint64_t addr,
			     uint64_t size, bool write)
{
	const struct range *r = find_mapped(arg, node, addr, size);

	return r && !(write && r->rdonly) ? (void *)(uintptr_t)addr : NULL;
}

/* Where it is in the list; NULL is there if it is not. */
static struct queue **find_queue(struct sim *sim, uint64_t id)
{
	struct queue **slot = &sim->queues;

	while (*slot && (*slot)->aql.id != id)
		slot = &(*slot)->next;
	return slot;
}

static int sim_create_queue(struct vcs_thunk *t,
			    const struct vcs_thunk_queue *params, uint64_t *id)
{
	struct sim *sim = to_sim(t);
	struct queue *q;

	if (params->node != NODE_GPU)
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->aql.params = *params;
	q->aql.id = ++sim->last_id;
	q->next = sim->queues;
	sim->queues = q;
	*id = q->aql.id;
	return 0;
}

static int sim_destroy_queue(struct vcs_thunk *t, uint64_t id)
{
	struct queue **slot = find_queue(to_sim(t), id);

	if (!*slot)
		return -EINVAL;
	remove_queue(slot);
	return 0;
}

static int sim_update_queue(struct vcs_thunk *t, uint64_t id,
			    const struct vcs_thunk_queue *params)
{
	struct queue *q = *find_queue(to_sim(t), id);

	if (!q)
		return -EINVAL;
	q->aql.params = *params;
	q->aql.seen = 0;
	q->rung = true;
	return 0;
}

/* The indices are in memory: what is stored says no more than that. */
static void sim_ring_doorbell(struct vcs_thunk *t, uint64_t id, uint64_t value)
{
	struct queue *q = *find_queue(to_sim(t), id);

	(void)value;
	if (q)
		q->rung = true;
}

static int sim_run(struct vcs_thunk *t, int *error)
{
	struct sim *sim = to_sim(t);
	const struct vcs_aql_memory mem = {
		.access = access_of_queue,
		.arg = sim,
	};
	uint64_t now = to_counter(now_ns());
	bool busy = false, waiting = false;
	struct queue *q;

	for (q = sim->queues; q; q = q->next) {
		uint64_t read = q->aql.read;

		if (!q->rung)
			continue;
		switch (vcs_aql_run(&q->aql, &mem, now, MAX_IN_A_ROW)) {
		case VCS_AQL_STOPPED:
			*error = -EIO;
			/* fall through */
		case VCS_AQL_IDLE:
			q->rung = false;
			break;
		case VCS_AQL_WAITING:
			waiting = true;
			break;
		case VCS_AQL_BUSY:
			busy = true;
			break;
		}
		/* Who waits long can wait longer. */
		if (q->aql.read != read)
			sim->wait = 0;
	}
	if (busy)
		return 0;
	if (!waiting)
		return -1;
	sim->wait = sim->wait ? 2 * sim->wait : MIN_WAIT;
	if (sim->wait > MAX_WAIT)
		sim->wait = MAX_WAIT;
	return sim->wait;
}

static const struct vcs_thunk_ops sim_ops = {
	.name = "sim",
	.close = sim_close,
	.version = sim_version,
	.system = sim_system,
	.node = sim_node,
	.bank = sim_bank,
	.cache = sim_cache,
	.io_link = sim_io_link,
	.gpu_info = sim_gpu_info,
	.clocks = sim_clocks,
	.runtime_enable = sim_runtime_enable,
	.runtime_disable = sim_runtime_disable,
	.runtime_caps = sim_runtime_caps,
	.set_trap = sim_set_trap,
	.alloc = sim_alloc,
	.free = sim_free,
	.available = sim_available,
	.register_memory = sim_register,
	.deregister = sim_deregister,
	.map_to_nodes = sim_map,
	.unmap = sim_unmap,
	.create_queue = sim_create_queue,
	.destroy_queue = sim_destroy_queue,
	.update_queue = sim_update_queue,
	.ring_doorbell = sim_ring_doorbell,
	.run = sim_run,
	.access = sim_access,
};

struct vcs_thunk *vcs_thunk_sim_open(void)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		return NULL;
	sim->base.ops = &sim_ops;
	return &sim->base;
}
