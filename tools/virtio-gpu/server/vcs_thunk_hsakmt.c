// SPDX-License-Identifier: MIT
/*
 * A thunk that is AMD's libhsakmt, and the GPUs of this machine
 *
 * With SVM a GPU uses the process's own page tables: what is registered has one
 * address for both, a mapping that is read-only is so for the GPU, and only
 * munmap() takes access away (hsaKmtUnmapMemoryToGPU() does nothing). Without it
 * the library makes a "userptr" object with addresses of its own, which the GPU
 * always may write.
 */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_amdgpu.h"
#include "vcs_arena.h"
#include "vcs_hsakmt.h"
#include "vcs_log.h"
#include "vcs_range.h"
#include "vcs_thunk_hsakmt.h"

#define KFD		"/dev/kfd"

/* HSA_CAPABILITY's SVMAPISupported, and DoorbellType 2: 64 bits. */
#define CAP_SVM		(1U << 27)
#define CAP_DOORBELL	(3U << VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT)
#define CAP_DOORBELL_64	(2U << VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT)

/* Structures that grow at their end get this much room, in bytes. */
#define ROOM		256

/**
 * struct node - what the library said when it was opened
 * @props: properties
 * @banks: memory banks
 * @caches: caches
 * @io_links: links
 * @info: of a GPU
 * @capacity: bytes that may be allocated
 * @used: bytes that are
 */
struct node {
	struct vcs_thunk_node props;
	struct vcs_thunk_bank *banks;
	struct vcs_thunk_cache *caches;
	struct vcs_thunk_io_link *io_links;
	struct vcs_thunk_gpu_info info;
	uint64_t capacity;
	uint64_t used;
};

/**
 * struct range - what is registered
 * @at: where, in this process
 * @rdonly: the GPU must not write
 * @nodes: that it is mapped to, a bit each
 * @gpu_addr: where they have it
 * @userptr: they do not have it by SVM
 */
struct range {
	struct vcs_range at;
	bool rdonly;
	uint64_t nodes;
	uint64_t gpu_addr;
	bool userptr;
};

_Static_assert(VCS_THUNK_MAX_NODES <= 64, "a bit for each node");

/**
 * struct queue - a queue
 * @next: in the list
 * @id: what the context knows it as
 * @handle: what the library does
 * @doorbell: where its GPU listens
 */
struct queue {
	struct queue *next;
	uint64_t id;
	HSA_QUEUEID handle;
	_Atomic uint64_t *doorbell;
};

/**
 * struct hsakmt - the thunk
 * @base: what the context sees
 * @lib: the library
 * @sys: the system
 * @nodes: its nodes, @sys.num_nodes
 * @acquired: the library has the topology
 * @svm: every GPU uses the process's page tables
 * @ranges: tree of what is registered
 * @queues: list of queues
 * @last_id: of the last queue
 */
struct hsakmt {
	struct vcs_thunk base;
	struct vcs_hsakmt lib;
	struct vcs_thunk_system sys;
	struct node nodes[VCS_THUNK_MAX_NODES];
	bool acquired;
	bool svm;
	void *ranges;
	struct queue *queues;
	uint64_t last_id;
};

static struct hsakmt *to_hsakmt(struct vcs_thunk *t)
{
	return (struct hsakmt *)t;
}

static struct node *find_node(struct vcs_thunk *t, uint32_t node)
{
	struct hsakmt *h = to_hsakmt(t);

	return node < h->sys.num_nodes ? &h->nodes[node] : NULL;
}

static bool is_gpu(const struct node *node)
{
	return node && node->props.num_fcompute_cores;
}

/* Topology */

static int hsakmt_version(struct vcs_thunk *t, uint32_t *major, uint32_t *minor)
{
	union {
		HsaVersionInfo info;
		uint8_t room[ROOM];
	} v = { 0 };
	int ret;

	ret = vcs_hsakmt_error(to_hsakmt(t)->lib.GetVersion(&v.info));
	*major = v.info.KernelInterfaceMajorVersion;
	*minor = v.info.KernelInterfaceMinorVersion;
	return ret;
}

static int hsakmt_system(struct vcs_thunk *t, struct vcs_thunk_system *sys)
{
	*sys = to_hsakmt(t)->sys;
	return 0;
}

static int hsakmt_node(struct vcs_thunk *t, uint32_t node,
		       struct vcs_thunk_node *props)
{
	const struct node *n = find_node(t, node);

	if (!n)
		return -EINVAL;
	*props = n->props;
	return 0;
}

static int hsakmt_bank(struct vcs_thunk *t, uint32_t node, uint32_t index,
		       struct vcs_thunk_bank *bank)
{
	const struct node *n = find_node(t, node);

	if (!n || index >= n->props.num_memory_banks)
		return -EINVAL;
	*bank = n->banks[index];
	return 0;
}

static int hsakmt_cache(struct vcs_thunk *t, uint32_t node, uint32_t index,
			struct vcs_thunk_cache *cache)
{
	const struct node *n = find_node(t, node);

	if (!n || index >= n->props.num_caches)
		return -EINVAL;
	*cache = n->caches[index];
	return 0;
}

static int hsakmt_io_link(struct vcs_thunk *t, uint32_t node, uint32_t index,
			  struct vcs_thunk_io_link *link)
{
	const struct node *n = find_node(t, node);

	if (!n || index >= n->props.num_io_links)
		return -EINVAL;
	*link = n->io_links[index];
	return 0;
}

/* The bank of GPU memory, or the first one. */
static const struct vcs_thunk_bank *main_bank(const struct node *n)
{
	static const struct vcs_thunk_bank none;
	uint32_t i;

	for (i = 0; i < n->props.num_memory_banks; i++)
		if (n->banks[i].heap_type == VIRTIO_GPU_ROCM_HEAP_FB_PUBLIC ||
		    n->banks[i].heap_type == VIRTIO_GPU_ROCM_HEAP_FB_PRIVATE)
			return &n->banks[i];
	return n->props.num_memory_banks ? &n->banks[0] : &none;
}

/* What a node's properties tell of it, if amdgpu does not. */
static struct vcs_thunk_gpu_info guess_gpu_info(const struct node *n)
{
	const struct vcs_thunk_bank *bank = main_bank(n);
	uint32_t arrays = n->props.num_arrays ? n->props.num_arrays : 1;
	uint32_t cus = n->props.num_cu_per_array < 32 ?
		       n->props.num_cu_per_array : 32;

	return (struct vcs_thunk_gpu_info) {
		.asic_id = n->props.device_id,
		.chip_rev = n->props.capability >> 22 & 0xf,	/* ASICRevision */
		.family_id = n->props.family_id,
		/* Both in kHz. */
		.max_engine_clk =
			n->props.max_engine_clock_mhz_fcompute * 1000ULL,
		.max_memory_clk = bank->memory_clock_max * 1000ULL,
		/* Banks are shader arrays, of all engines. */
		.num_shader_engines = n->props.num_shader_banks / arrays,
		.num_shader_arrays_per_engine = arrays,
		.gpu_counter_freq = (uint32_t)n->props.wall_clock_khz,
		.cu_active_number = n->props.num_simd_per_cu ?
			n->props.num_fcompute_cores / n->props.num_simd_per_cu :
			0,
		.cu_mask = (uint32_t)((1ULL << cus) - 1),
		.vram_bit_width = bank->width,
	};
}

static int hsakmt_gpu_info(struct vcs_thunk *t, uint32_t node,
			   struct vcs_thunk_gpu_info *info)
{
	const struct node *n = find_node(t, node);

	if (!is_gpu(n))
		return -EINVAL;
	*info = n->info;
	return 0;
}

static int hsakmt_clocks(struct vcs_thunk *t, uint32_t node,
			 struct vcs_thunk_clocks *clocks)
{
	union {
		HsaClockCounters counters;
		uint8_t room[ROOM];
	} c = { 0 };
	int ret;

	if (!find_node(t, node))
		return -EINVAL;
	ret = vcs_hsakmt_error(to_hsakmt(t)->lib.GetClockCounters(node,
								  &c.counters));
	clocks->gpu = c.counters.GPUClockCounter;
	clocks->cpu = c.counters.CPUClockCounter;
	clocks->system = c.counters.SystemClockCounter;
	clocks->system_frequency_hz = c.counters.SystemClockFrequencyHz;
	return ret;
}

static int hsakmt_runtime_enable(struct vcs_thunk *t, bool setup_ttmp)
{
	/* The debugger's structure would be in the guest. */
	return vcs_hsakmt_error(to_hsakmt(t)->lib.RuntimeEnable(NULL,
								setup_ttmp));
}

static int hsakmt_runtime_disable(struct vcs_thunk *t)
{
	return vcs_hsakmt_error(to_hsakmt(t)->lib.RuntimeDisable());
}

static int hsakmt_runtime_caps(struct vcs_thunk *t, uint32_t *caps)
{
	struct hsakmt *h = to_hsakmt(t);

	*caps = 0;
	if (!h->lib.GetRuntimeCapabilities)
		return 0;
	return vcs_hsakmt_error(h->lib.GetRuntimeCapabilities(caps));
}

static int hsakmt_set_trap(struct vcs_thunk *t, uint32_t node,
			   const struct vcs_thunk_trap *trap)
{
	if (!is_gpu(find_node(t, node)))
		return -EINVAL;
	return vcs_hsakmt_error(to_hsakmt(t)->lib.SetTrapHandler(node,
			(void *)(uintptr_t)trap->handler, trap->handler_size,
			(void *)(uintptr_t)trap->buffer, trap->buffer_size));
}

/* Memory */

/*
 * The data is in memory of the host's, which a GPU reaches as well as its own if
 * not as fast, and which QEMU can map for the guest. So this only counts: a guest
 * sees the sizes that it expects of its GPU.
 */
static int hsakmt_alloc(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	struct node *n = find_node(t, node);

	if (!n)
		return -EINVAL;
	if (size > n->capacity - n->used)
		return -ENOMEM;
	n->used += size;
	return 0;
}

static void hsakmt_free(struct vcs_thunk *t, uint32_t node, uint64_t size)
{
	to_hsakmt(t)->nodes[node].used -= size;
}

static int hsakmt_available(struct vcs_thunk *t, uint32_t node, uint64_t *bytes)
{
	const struct node *n = find_node(t, node);

	if (!n)
		return -EINVAL;
	*bytes = n->capacity - n->used;
	return 0;
}

/*
 * A range's memory stays as it is mapped where that is read-only; what is
 * writable is not for a GPU that must not write.
 */
static int protect(const struct range *r, bool begin)
{
	void *addr = (void *)(uintptr_t)r->at.addr;

	if (!r->rdonly)
		return 0;
	if (begin)
		return mprotect(addr, r->at.size, PROT_READ) ? -errno : 0;
	/* Fails for what cannot be written, which is right. */
	mprotect(addr, r->at.size, PROT_READ | PROT_WRITE);
	return 0;
}

static int hsakmt_register(struct vcs_thunk *t, void *addr, uint64_t size,
			   bool rdonly)
{
	struct hsakmt *h = to_hsakmt(t);
	/*
	 * The library takes nothing else than ordinary memory of the CPU's. It
	 * looks at ReadOnly nowhere.
	 */
	HsaMemFlags flags = { .ui32 = { .HostAccess = 1 } };
	struct range *r;
	int ret;

	if (!size || (uintptr_t)addr + size < size)
		return -EINVAL;
	if (rdonly && !h->svm)
		return -EOPNOTSUPP;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->at.addr = (uintptr_t)addr;
	r->at.size = size;
	r->rdonly = rdonly;
	/* It would count up, and not mind that the ranges differ. */
	ret = vcs_range_find(&h->ranges, r->at.addr, size) ? -EEXIST : 0;
	if (!ret && !tsearch(r, &h->ranges, vcs_range_compare))
		ret = -ENOMEM;
	if (ret) {
		free(r);
		return ret;
	}
	ret = protect(r, true);
	if (!ret)
		ret = vcs_hsakmt_error(h->lib.RegisterMemoryWithFlags(addr, size,
								      flags));
	if (ret) {
		protect(r, false);
		tdelete(r, &h->ranges, vcs_range_compare);
		free(r);
	}
	return ret;
}

static void hsakmt_deregister(struct vcs_thunk *t, void *addr)
{
	struct hsakmt *h = to_hsakmt(t);
	struct range *r = vcs_range_find_start(&h->ranges, addr);
	int ret;

	if (!r)
		return;
	ret = vcs_hsakmt_error(h->lib.DeregisterMemory(addr));
	if (ret)
		vcs_err("cannot deregister memory: %s, unmapping it from the process",
			strerror(-ret));
	/*
	 * With SVM the GPU can write again from here on, until the range is
	 * unmapped from the process: what was writable is the guest's own.
	 */
	protect(r, false);
	tdelete(r, &h->ranges, vcs_range_compare);
	free(r);
}

/*
 * With SVM a call has all nodes, those that have the range already among them.
 * Without, the library gives what it calls a userptr to all GPUs at once, counts
 * how often it is asked to, and wants to be asked as often to undo it: so it is
 * asked once.
 */
static int hsakmt_map(struct vcs_thunk *t, void *addr, const uint32_t *ids,
		      uint32_t nr_nodes, uint64_t *gpu_addr)
{
	HSAuint32 list[VCS_THUNK_MAX_NODES];
	const HsaMemMapFlags flags = { 0 };
	struct hsakmt *h = to_hsakmt(t);
	HSAuint64 alternate = 0, n = 0;
	struct range *r;
	uint64_t nodes;
	uint32_t i;
	int ret;

	r = vcs_range_find_start(&h->ranges, addr);
	if (!r)
		return -EINVAL;
	nodes = r->nodes;
	for (i = 0; i < nr_nodes; i++) {
		if (!is_gpu(find_node(t, ids[i])))
			return -EINVAL;
		nodes |= 1ULL << ids[i];
	}
	if (nodes == r->nodes || (r->nodes && r->userptr))
		goto out;
	for (i = 0; i < h->sys.num_nodes; i++)
		if (nodes & (1ULL << i))
			list[n++] = i;
	ret = vcs_hsakmt_error(h->lib.MapMemoryToGPUNodes(addr, r->at.size,
							  &alternate, flags, n,
							  list));
	if (ret) {
		/*
		 * It may be mapped to some. With SVM that ends when the range is
		 * unmapped from the process, as with everything else; who had it
		 * before has it still.
		 */
		if (!r->nodes)
			h->lib.UnmapMemoryToGPU(addr);
		return ret;
	}
	/* Also with SVM: the library tries that first and gives up if it fails. */
	r->userptr = !h->svm || (alternate && alternate != r->at.addr);
	r->gpu_addr = alternate ? alternate : r->at.addr;
	/* KFD does not give such GPUs what cannot be written, and nor do we. */
	if (r->rdonly && r->userptr) {
		h->lib.UnmapMemoryToGPU(addr);
		r->nodes = 0;
		return -EOPNOTSUPP;
	}
out:
	r->nodes = nodes;
	*gpu_addr = nodes ? r->gpu_addr : r->at.addr;
	return 0;
}

static int hsakmt_unmap(struct vcs_thunk *t, void *addr)
{
	struct hsakmt *h = to_hsakmt(t);
	struct range *r = vcs_range_find_start(&h->ranges, addr);
	int ret;

	if (!r)
		return -EINVAL;
	if (!r->nodes)
		return 0;
	ret = vcs_hsakmt_error(h->lib.UnmapMemoryToGPU(addr));
	if (!ret)
		r->nodes = 0;
	return ret;
}

/* Queues */

static int hsakmt_create_queue(struct vcs_thunk *t,
			       const struct vcs_thunk_queue *queue,
			       uint64_t *id)
{
	/* What the library reads has to be 0, what it writes needs room. */
	union {
		HsaQueueResource res;
		uint8_t room[ROOM];
	} q = { 0 };
	const struct node *n = find_node(t, queue->node);
	struct hsakmt *h = to_hsakmt(t);
	struct queue *entry;
	int ret;

	if (!is_gpu(n))
		return -EINVAL;
	/* What clients store has 64 bits. */
	if ((n->props.capability & CAP_DOORBELL) != CAP_DOORBELL_64)
		return -EOPNOTSUPP;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	q.res.QueueWptrValue = queue->write_ptr;
	q.res.QueueRptrValue = queue->read_ptr;
	ret = vcs_hsakmt_error(h->lib.CreateQueue(queue->node,
			HSA_QUEUE_COMPUTE_AQL, queue->percentage,
			(HSA_QUEUE_PRIORITY)queue->priority,
			(void *)(uintptr_t)queue->ring, queue->ring_size, NULL,
			&q.res));
	if (!ret && (!q.res.QueueDoorBell || q.res.QueueDoorBell % 8)) {
		h->lib.DestroyQueue(q.res.QueueId);
		ret = -EIO;
	}
	if (ret) {
		free(entry);
		return ret;
	}
	entry->id = ++h->last_id;
	entry->handle = q.res.QueueId;
	entry->doorbell = (_Atomic uint64_t *)(uintptr_t)q.res.QueueDoorBell;
	entry->next = h->queues;
	h->queues = entry;
	*id = entry->id;
	return 0;
}

/* What points to the queue in the list. */
static struct queue **find_queue(struct hsakmt *h, uint64_t id)
{
	struct queue **p = &h->queues;

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

static int hsakmt_destroy_queue(struct vcs_thunk *t, uint64_t id)
{
	struct hsakmt *h = to_hsakmt(t);
	struct queue **p = find_queue(h, id), *queue = *p;
	int ret;

	if (!queue)
		return -EINVAL;
	*p = queue->next;
	ret = vcs_hsakmt_error(h->lib.DestroyQueue(queue->handle));
	free(queue);
	return ret;
}

static int hsakmt_update_queue(struct vcs_thunk *t, uint64_t id,
			       const struct vcs_thunk_queue *queue)
{
	struct hsakmt *h = to_hsakmt(t);
	const struct queue *entry = *find_queue(h, id);

	if (!entry)
		return -EINVAL;
	return vcs_hsakmt_error(h->lib.UpdateQueue(entry->handle,
			queue->percentage, (HSA_QUEUE_PRIORITY)queue->priority,
			(void *)(uintptr_t)queue->ring, queue->ring_size, NULL));
}

/* After all that the guest has stored before, which is in the same memory. */
static void hsakmt_ring_doorbell(struct vcs_thunk *t, uint64_t id,
				 uint64_t value)
{
	const struct queue *queue = *find_queue(to_hsakmt(t), id);

	if (queue)
		atomic_store_explicit(queue->doorbell, value,
				      memory_order_release);
}

/* Opening and closing */

static void hsakmt_close(struct vcs_thunk *t)
{
	struct hsakmt *h = to_hsakmt(t);
	uint32_t i;

	while (h->queues)
		hsakmt_destroy_queue(t, h->queues->id);
	tdestroy(h->ranges, free);
	if (h->acquired)
		h->lib.ReleaseSystemProperties();
	h->lib.CloseKFD();
	for (i = 0; i < VCS_THUNK_MAX_NODES; i++) {
		free(h->nodes[i].banks);
		free(h->nodes[i].caches);
		free(h->nodes[i].io_links);
	}
	vcs_hsakmt_unload(&h->lib);
	free(h);
}

static const struct vcs_thunk_ops hsakmt_ops = {
	.name = "hsakmt",
	.close = hsakmt_close,
	.version = hsakmt_version,
	.system = hsakmt_system,
	.node = hsakmt_node,
	.bank = hsakmt_bank,
	.cache = hsakmt_cache,
	.io_link = hsakmt_io_link,
	.gpu_info = hsakmt_gpu_info,
	.clocks = hsakmt_clocks,
	.runtime_enable = hsakmt_runtime_enable,
	.runtime_disable = hsakmt_runtime_disable,
	.runtime_caps = hsakmt_runtime_caps,
	.set_trap = hsakmt_set_trap,
	.alloc = hsakmt_alloc,
	.free = hsakmt_free,
	.available = hsakmt_available,
	.register_memory = hsakmt_register,
	.deregister = hsakmt_deregister,
	.map_to_nodes = hsakmt_map,
	.unmap = hsakmt_unmap,
	.create_queue = hsakmt_create_queue,
	.destroy_queue = hsakmt_destroy_queue,
	.update_queue = hsakmt_update_queue,
	.ring_doorbell = hsakmt_ring_doorbell,
};

/* The library does not say what was wrong with the device. */
static int explain_kfd(int error, char *why, size_t size)
{
	int fd = open(KFD, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return vcs_explain(why, size, error, "libhsakmt cannot open KFD: %s",
			       strerror(-error));
	}
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return vcs_explain(why, size, -ENODEV,
			       "there is no " KFD ": this machine has no AMD GPU that computes, or its driver amdgpu is not loaded");
	case EACCES:
	case EPERM:
		return vcs_explain(why, size, -EACCES,
			       "the workers' user must not open " KFD ": add it to the groups render and video, or name another one with --user");
	}
	return vcs_explain(why, size, -errno, "cannot open " KFD ": %s",
		       strerror(errno));
}

/* What is an address of this process means nothing to a guest. */
static uint32_t drop_private_banks(struct vcs_thunk_bank *banks, uint32_t count)
{
	uint32_t i, n = 0;

	for (i = 0; i < count; i++)
		if (banks[i].heap_type <= VIRTIO_GPU_ROCM_HEAP_SCRATCH)
			banks[n++] = banks[i];
	return n;
}

static uint64_t capacity(const struct hsakmt *h, uint32_t node)
{
	const struct node *n = &h->nodes[node];
	HSAuint64 bytes;
	uint32_t i;

	if (is_gpu(n) && h->lib.AvailableMemory &&
	    h->lib.AvailableMemory(node, &bytes) == HSAKMT_STATUS_SUCCESS)
		return bytes;
	bytes = 0;
	for (i = 0; i < n->props.num_memory_banks; i++)
		if (n->banks[i].heap_type <= VIRTIO_GPU_ROCM_HEAP_FB_PRIVATE)
			bytes += n->banks[i].size;
	return bytes;
}

static int read_node(struct hsakmt *h, uint32_t node, char *why, size_t size)
{
	struct node *n = &h->nodes[node];
	struct vcs_thunk_node *props = &n->props;
	int32_t render_minor;
	int ret;

	ret = vcs_hsakmt_node(&h->lib, node, props, &render_minor, why, size);
	if (!ret)
		ret = vcs_hsakmt_banks(&h->lib, node, props->num_memory_banks,
				       &n->banks, why, size);
	if (!ret)
		ret = vcs_hsakmt_caches(&h->lib, node, props->num_caches,
					&n->caches, why, size);
	if (!ret)
		ret = vcs_hsakmt_io_links(&h->lib, node, props->num_io_links,
					  &n->io_links, why, size);
	if (ret)
		return *why ? ret :
		       vcs_explain(why, size, ret,
			       "libhsakmt does not describe node %u: %s", node,
			       strerror(-ret));
	props->num_memory_banks = drop_private_banks(n->banks,
						     props->num_memory_banks);
	n->capacity = capacity(h, node);
	if (!is_gpu(n))
		return 0;
	h->svm &= !!(props->capability & CAP_SVM);
	/* The guest's pages are pinned: no SVM there. */
	props->capability &= ~CAP_SVM;
	/* Clients know a GPU by it. 5.2 does not tell, and nothing takes it. */
	if (!props->kfd_gpu_id)
		props->kfd_gpu_id = node + 1;
	if (!props->num_xcc)
		props->num_xcc = 1;
	if (vcs_amdgpu_info(render_minor, &n->info))
		n->info = guess_gpu_info(n);
	return 0;
}

static int read_topology(struct hsakmt *h, char *why, size_t size)
{
	const char *use_svm = getenv("HSA_USE_SVM");
	union {
		HsaSystemProperties props;
		uint8_t room[ROOM];
	} s = { 0 };
	uint32_t i, gpus = 0;
	int ret;

	ret = vcs_hsakmt_error(h->lib.AcquireSystemProperties(&s.props));
	if (ret)
		return vcs_explain(why, size, ret,
			       "libhsakmt does not describe this system: %s; the workers' user needs access to the render nodes in /dev/dri",
			       strerror(-ret));
	h->acquired = true;
	h->sys = (struct vcs_thunk_system) {
		.num_nodes = s.props.NumNodes,
		.platform_oem = s.props.PlatformOem,
		.platform_id = s.props.PlatformId,
		.platform_rev = s.props.PlatformRev,
	};
	if (h->sys.num_nodes > VCS_THUNK_MAX_NODES)
		return vcs_explain(why, size, -E2BIG,
			       "this system has %u nodes, and %u are possible",
			       h->sys.num_nodes, VCS_THUNK_MAX_NODES);
	/* As the library reads it. */
	h->svm = h->lib.uses_svm && (!use_svm || strcmp(use_svm, "0"));
	for (i = 0; i < h->sys.num_nodes; i++) {
		ret = read_node(h, i, why, size);
		if (ret)
			return ret;
		gpus += is_gpu(&h->nodes[i]);
	}
	if (!gpus)
		return vcs_explain(why, size, -ENODEV,
			       "KFD has no GPU for the workers' user");
	return 0;
}

static int open_kfd(struct vcs_thunk **thunk, char *why, size_t size)
{
	struct hsakmt *h = calloc(1, sizeof(*h));
	HSAKMT_STATUS status;
	int ret;

	if (!h)
		return vcs_explain(why, size, -ENOMEM, "no memory for a thunk");
	h->base.ops = &hsakmt_ops;
	ret = vcs_hsakmt_load(&h->lib, why, size);
	if (ret) {
		free(h);
		return ret;
	}
	status = h->lib.OpenKFD();
	/* It counts. */
	if (status != HSAKMT_STATUS_SUCCESS &&
	    status != HSAKMT_STATUS_KERNEL_ALREADY_OPENED) {
		ret = explain_kfd(vcs_hsakmt_error(status), why, size);
		vcs_hsakmt_unload(&h->lib);
		free(h);
		return ret;
	}
	ret = read_topology(h, why, size);
	if (ret) {
		hsakmt_close(&h->base);
		return ret;
	}
	*thunk = &h->base;
	return 0;
}

/*
 * The library looks for free addresses, the arena's are fixed and the guest's
 * choice as little as ours: so they are taken until it has found others.
 */
int vcs_thunk_hsakmt_open(struct vcs_thunk **thunk, char *why, size_t size)
{
	struct vcs_arena arena;
	int ret;

	ret = vcs_arena_init(&arena);
	if (ret)
		return vcs_explain(why, size, ret,
				   "the addresses of the GPU are in use: %s",
				   strerror(-ret));
	ret = open_kfd(thunk, why, size);
	vcs_arena_destroy(&arena);
	return ret;
}
