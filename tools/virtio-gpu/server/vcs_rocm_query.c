// SPDX-License-Identifier: MIT
/*
 * QUERY requests of the ROCM context
 *
 * Every structure is put together field by field, in the layout that the client
 * has room for.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_rocm.h"

_Static_assert(sizeof(struct virtio_gpu_rocm_query) == 128 &&
	       offsetof(struct virtio_gpu_rocm_query, type) == 48 &&
	       offsetof(struct virtio_gpu_rocm_query, args) == 56,
	       "as the clients send it");
_Static_assert(sizeof(struct virtio_gpu_rocm_query_rsp) == 424 &&
	       offsetof(struct virtio_gpu_rocm_query_rsp, data) == 8 &&
	       sizeof(struct virtio_gpu_rocm_gpu_info) == 416,
	       "as the clients have room for it");
_Static_assert(sizeof(struct virtio_gpu_rocm_node_old_head) +
	       offsetof(struct virtio_gpu_rocm_node_tail, cwsr_size) ==
	       VIRTIO_GPU_ROCM_NODE_OLD_SIZE &&
	       sizeof(struct virtio_gpu_rocm_node_head) +
	       offsetof(struct virtio_gpu_rocm_node_tail, cwsr_size) ==
	       VIRTIO_GPU_ROCM_NODE_SIZE,
	       "the sizes of HsaNodeProperties");
_Static_assert(sizeof(struct virtio_gpu_rocm_memory_bank) == 32 &&
	       offsetof(struct virtio_gpu_rocm_cache, persisting_size_max) ==
	       VIRTIO_GPU_ROCM_CACHE_OLD_SIZE &&
	       sizeof(struct virtio_gpu_rocm_io_link) ==
	       VIRTIO_GPU_ROCM_IO_LINK_OLD_SIZE + 4,
	       "the sizes of what is in lists");

/**
 * struct answer - what is to be sent
 * @rsp: the response
 * @list: what follows it, calloc()ed, or NULL
 * @list_len: bytes of @list
 */
struct answer {
	struct virtio_gpu_rocm_query_rsp rsp;
	void *list;
	size_t list_len;
};

static void fill_head(struct virtio_gpu_rocm_node_head *w,
		      const struct vcs_thunk_node *n)
{
	*w = (struct virtio_gpu_rocm_node_head) {
		.num_cpu_cores = htole32(n->num_cpu_cores),
		.num_fcompute_cores = htole32(n->num_fcompute_cores),
		.num_neural_cores = htole32(n->num_neural_cores),
		.num_memory_banks = htole32(n->num_memory_banks),
		.num_caches = htole32(n->num_caches),
		.num_io_links = htole32(n->num_io_links),
		.ccompute_id_lo = htole32(n->ccompute_id_lo),
		.fcompute_id_lo = htole32(n->fcompute_id_lo),
		.capability = htole32(n->capability),
		.capability2 = htole32(n->capability2),
		.max_waves_per_simd = htole32(n->max_waves_per_simd),
		.lds_size_in_kb = htole32(n->lds_size_in_kb),
		.gds_size_in_kb = htole32(n->gds_size_in_kb),
		.wave_front_size = htole32(n->wave_front_size),
		.num_shader_banks = htole32(n->num_shader_banks),
		.num_arrays = htole32(n->num_arrays),
		.num_cu_per_array = htole32(n->num_cu_per_array),
		.num_simd_per_cu = htole32(n->num_simd_per_cu),
		.max_slots_scratch_cu = htole32(n->max_slots_scratch_cu),
		.engine_id = htole32(n->engine_id),
		.override_engine_id = htole32(n->override_engine_id),
	};
}

static void fill_old_head(struct virtio_gpu_rocm_node_old_head *w,
			  const struct vcs_thunk_node *n)
{
	*w = (struct virtio_gpu_rocm_node_old_head) {
		.num_cpu_cores = htole32(n->num_cpu_cores),
		.num_fcompute_cores = htole32(n->num_fcompute_cores),
		.num_memory_banks = htole32(n->num_memory_banks),
		.num_caches = htole32(n->num_caches),
		.num_io_links = htole32(n->num_io_links),
		.ccompute_id_lo = htole32(n->ccompute_id_lo),
		.fcompute_id_lo = htole32(n->fcompute_id_lo),
		.capability = htole32(n->capability),
		.max_waves_per_simd = htole32(n->max_waves_per_simd),
		.lds_size_in_kb = htole32(n->lds_size_in_kb),
		.gds_size_in_kb = htole32(n->gds_size_in_kb),
		.wave_front_size = htole32(n->wave_front_size),
		.num_shader_banks = htole32(n->num_shader_banks),
		.num_arrays = htole32(n->num_arrays),
		.num_cu_per_array = htole32(n->num_cu_per_array),
		.num_simd_per_cu = htole32(n->num_simd_per_cu),
		.max_slots_scratch_cu = htole32(n->max_slots_scratch_cu),
		.engine_id = htole32(n->engine_id),
	};
}

static void fill_tail(struct virtio_gpu_rocm_node_tail *w,
		      const struct vcs_thunk_node *n)
{
	size_t i;

	*w = (struct virtio_gpu_rocm_node_tail) {
		.vendor_id = htole16(n->vendor_id),
		.device_id = htole16(n->device_id),
		.location_id = htole32(n->location_id),
		.local_mem_size = htole64(n->local_mem_size),
		.max_engine_clock_mhz_fcompute =
			htole32(n->max_engine_clock_mhz_fcompute),
		.max_engine_clock_mhz_ccompute =
			htole32(n->max_engine_clock_mhz_ccompute),
		.ucode_engine_versions = htole32(n->ucode_engine_versions),
		.debug_properties = htole64(n->debug_properties),
		.hive_id = htole64(n->hive_id),
		.num_sdma_engines = htole32(n->num_sdma_engines),
		.num_sdma_xgmi_engines = htole32(n->num_sdma_xgmi_engines),
		.num_sdma_queues_per_engine = n->num_sdma_queues_per_engine,
		.num_cp_queues = n->num_cp_queues,
		.num_gws = n->num_gws,
		.integrated = n->integrated,
		.domain = htole32(n->domain),
		.unique_id = htole64(n->unique_id),
		.vgpr_size_per_cu = htole32(n->vgpr_size_per_cu),
		.sgpr_size_per_cu = htole32(n->sgpr_size_per_cu),
		.num_xcc = htole32(n->num_xcc),
		.kfd_gpu_id = htole32(n->kfd_gpu_id),
		.family_id = htole32(n->family_id),
		.cwsr_size = htole32(n->cwsr_size),
		.ctl_stack_size = htole32(n->ctl_stack_size),
		.wall_clock_khz = htole64(n->wall_clock_khz),
	};
	for (i = 0; i < 63; i++) {
		w->marketing_name[i] = htole16((uint8_t)n->marketing_name[i]);
		w->amd_name[i] = (uint8_t)n->amd_name[i];
	}
}

/* Room for a response, without what stands before the structure. */
static size_t room_for_data(const struct vcs_slot *slot)
{
	return slot->room - sizeof(struct virtio_gpu_rocm_rsp);
}

static int query_node(struct vcs_rocm *ctx,
		      const struct virtio_gpu_rocm_query *req,
		      const struct vcs_slot *slot, struct answer *a)
{
	struct vcs_thunk_node node = { 0 };
	struct virtio_gpu_rocm_node_old_head *old = (void *)a->rsp.data;
	struct virtio_gpu_rocm_node_head *head = (void *)a->rsp.data;
	int ret;

	ret = ctx->thunk->ops->node(ctx->thunk, le32toh(req->node), &node);
	if (ret)
		return ret;
	if (room_for_data(slot) < VIRTIO_GPU_ROCM_NODE_SIZE) {
		fill_old_head(old, &node);
		fill_tail((void *)(old + 1), &node);
	} else {
		fill_head(head, &node);
		fill_tail((void *)(head + 1), &node);
	}
	return 0;
}

static int query_gpu_info(struct vcs_rocm *ctx, struct answer *a)
{
	struct virtio_gpu_rocm_gpu_info *w = (void *)a->rsp.data;
	struct vcs_thunk_gpu_info info = { 0 };
	uint32_t i, k;
	int ret;

	if (!ctx->nr_gpus)
		return -ENODEV;
	ret = ctx->thunk->ops->gpu_info(ctx->thunk, ctx->gpus[0], &info);
	if (ret)
		return ret;
	*w = (struct virtio_gpu_rocm_gpu_info) {
		.asic_id = htole32(info.asic_id),
		.chip_rev = htole32(info.chip_rev),
		.chip_external_rev = htole32(info.chip_external_rev),
		.family_id = htole32(info.family_id),
		.max_engine_clk = htole64(info.max_engine_clk),
		.max_memory_clk = htole64(info.max_memory_clk),
		.num_shader_engines = htole32(info.num_shader_engines),
		.num_shader_arrays_per_engine =
			htole32(info.num_shader_arrays_per_engine),
		.rb_pipes = htole32(info.rb_pipes),
		.gpu_counter_freq = htole32(info.gpu_counter_freq),
		.cu_active_number = htole32(info.cu_active_number),
		.vram_type = htole32(info.vram_type),
		.vram_bit_width = htole32(info.vram_bit_width),
		.pci_rev_id = htole32(info.pci_rev_id),
	};
	for (i = 0; i < 4 && i < info.num_shader_engines; i++)
		for (k = 0; k < 4 && k < info.num_shader_arrays_per_engine; k++)
			w->cu_bitmap[i][k] = htole32(info.cu_mask);
	return 0;
}

static int query_clocks(struct vcs_rocm *ctx, uint32_t node, struct answer *a)
{
	struct virtio_gpu_rocm_clocks *w = (void *)a->rsp.data;
	struct vcs_thunk_clocks clocks = { 0 };
	int ret;

	ret = ctx->thunk->ops->clocks(ctx->thunk, node, &clocks);
	w->gpu = htole64(clocks.gpu);
	w->cpu = htole64(clocks.cpu);
	w->system = htole64(clocks.system);
	w->system_frequency_hz = htole64(clocks.system_frequency_hz);
	return ret;
}

static int query_nano_time(struct vcs_rocm *ctx, struct answer *a)
{
	struct vcs_thunk_clocks clocks = { 0 };
	int ret;

	ret = ctx->thunk->ops->clocks(ctx->thunk, 0, &clocks);
	a->rsp.nano_time = htole64(clocks.system);
	return ret;
}

static int query_version(struct vcs_rocm *ctx, struct answer *a)
{
	uint32_t major = 0, minor = 0;
	int ret;

	ret = ctx->thunk->ops->version(ctx->thunk, &major, &minor);
	a->rsp.version.major = htole32(major);
	a->rsp.version.minor = htole32(minor);
	return ret;
}

static int query_runtime_caps(struct vcs_rocm *ctx, struct answer *a)
{
	uint32_t caps = 0;
	int ret;

	ret = ctx->thunk->ops->runtime_caps(ctx->thunk, &caps);
	a->rsp.caps = htole32(caps);
	return ret;
}

/* No handle of the host's, and no descriptor: what clients give back is this. */
static int query_device(struct vcs_rocm *ctx,
			const struct virtio_gpu_rocm_query *req,
			struct answer *a)
{
	uint32_t node = le32toh(req->node), i;

	for (i = 0; i < ctx->nr_gpus; i++) {
		if (ctx->gpus[i] != node)
			continue;
		a->rsp.device.handle = htole64(node + 1);
		a->rsp.device.fd = htole64(node + 1);
		return 0;
	}
	return -EINVAL;
}

/* Lists: element @index of node @node into @to, which is zeroed. */
typedef int (*fill_fn)(struct vcs_rocm *ctx, uint32_t node, uint32_t index,
		       void *to, size_t size);

static int fill_bank(struct vcs_rocm *ctx, uint32_t node, uint32_t index,
		     void *to, size_t size)
{
	struct virtio_gpu_rocm_memory_bank *w = to;
	struct vcs_thunk_bank bank = { 0 };
	int ret;

	(void)size;
	ret = ctx->thunk->ops->bank(ctx->thunk, node, index, &bank);
	w->heap_type = htole32(bank.heap_type);
	w->size = htole64(bank.size);
	w->flags = htole32(bank.flags);
	w->width = htole32(bank.width);
	w->memory_clock_max = htole32(bank.memory_clock_max);
	w->virtual_base = htole64(bank.virtual_base);
	return ret;
}

static int fill_cache(struct vcs_rocm *ctx, uint32_t node, uint32_t index,
		      void *to, size_t size)
{
	struct virtio_gpu_rocm_cache w = { 0 };
	struct vcs_thunk_cache cache = { 0 };
	uint32_t i;
	int ret;

	ret = ctx->thunk->ops->cache(ctx->thunk, node, index, &cache);
	w.processor_id_low = htole32(cache.processor_id_low);
	w.level = htole32(cache.level);
	w.size = htole32(cache.size);
	w.line_size = htole32(cache.line_size);
	w.lines_per_tag = htole32(cache.lines_per_tag);
	w.associativity = htole32(cache.associativity);
	w.latency = htole32(cache.latency);
	w.type = htole32(cache.type);
	for (i = 0; i < 256 && i < cache.siblings; i++)
		w.sibling_map[i] = htole32(1);
	memcpy(to, &w, size);
	return ret;
}

static int fill_io_link(struct vcs_rocm *ctx, uint32_t node, uint32_t index,
			void *to, size_t size)
{
	struct vcs_thunk_io_link link = { 0 };
	struct virtio_gpu_rocm_io_link w;
	int ret;

	ret = ctx->thunk->ops->io_link(ctx->thunk, node, index, &link);
	w = (struct virtio_gpu_rocm_io_link) {
		.type = htole32(link.type),
		.version_major = htole32(link.version_major),
		.version_minor = htole32(link.version_minor),
		.node_from = htole32(link.node_from),
		.node_to = htole32(link.node_to),
		.weight = htole32(link.weight),
		.min_latency = htole32(link.min_latency),
		.max_latency = htole32(link.max_latency),
		.min_bandwidth = htole32(link.min_bandwidth),
		.max_bandwidth = htole32(link.max_bandwidth),
		.rec_transfer_size = htole32(link.rec_transfer_size),
		.rec_sdma_eng_id_mask = htole32(link.rec_sdma_eng_id_mask),
		.flags = htole32(link.flags),
	};
	if (size < sizeof(w))
		w.rec_sdma_eng_id_mask = w.flags;
	memcpy(to, &w, size);
	return ret;
}

/*
 * @count elements of the client's, of the new size or the old: whichever it has
 * room for. (It rounds the room up to a multiple of 8, which the old sizes are.)
 * There are @there; those that are not are left as they were.
 */
static int query_list(struct vcs_rocm *ctx, uint32_t node, uint32_t count,
		      uint32_t there, size_t new_size, size_t old_size,
		      fill_fn fill, const struct vcs_slot *slot,
		      struct answer *a)
{
	size_t room, size, i, n;
	int ret = 0;

	room = slot->room < sizeof(a->rsp) ? 0 : slot->room - sizeof(a->rsp);
	size = count && room / count >= new_size ? new_size : old_size;
	n = room / size;
	if (n > count)
		n = count;
	if (n > there)
		n = there;
	if (!n)
		return 0;
	a->list = calloc(n, size);
	if (!a->list)
		return -ENOMEM;
	for (i = 0; i < n && !ret; i++)
		ret = fill(ctx, node, (uint32_t)i,
			   (uint8_t *)a->list + i * size, size);
	a->list_len = n * size;
	return ret;
}

static int query_lists(struct vcs_rocm *ctx, uint32_t type,
		       const struct virtio_gpu_rocm_query *req,
		       const struct vcs_slot *slot, struct answer *a)
{
	uint32_t node = le32toh(req->node);
	struct vcs_thunk_node props = { 0 };
	int ret;

	ret = ctx->thunk->ops->node(ctx->thunk, node, &props);
	if (ret)
		return ret;
	switch (type) {
	case VIRTIO_GPU_ROCM_QUERY_MEMORY:
		return query_list(ctx, node, le32toh(req->list.count),
				  props.num_memory_banks,
				  sizeof(struct virtio_gpu_rocm_memory_bank),
				  sizeof(struct virtio_gpu_rocm_memory_bank),
				  fill_bank, slot, a);
	case VIRTIO_GPU_ROCM_QUERY_CACHE:
		return query_list(ctx, node, le32toh(req->cache.count),
				  props.num_caches,
				  sizeof(struct virtio_gpu_rocm_cache),
				  VIRTIO_GPU_ROCM_CACHE_OLD_SIZE, fill_cache,
				  slot, a);
	default:	/* IO_LINK */
		return query_list(ctx, node, le32toh(req->list.count),
				  props.num_io_links,
				  sizeof(struct virtio_gpu_rocm_io_link),
				  VIRTIO_GPU_ROCM_IO_LINK_OLD_SIZE,
				  fill_io_link, slot, a);
	}
}

static int query(struct vcs_rocm *ctx, uint32_t type,
		 const struct virtio_gpu_rocm_query *req,
		 const struct vcs_slot *slot, struct answer *a)
{
	const struct vcs_thunk_ops *ops = ctx->thunk->ops;

	switch (type) {
	case VIRTIO_GPU_ROCM_QUERY_GPU_INFO:
		return query_gpu_info(ctx, a);
	case VIRTIO_GPU_ROCM_QUERY_OPEN_KFD:
		a->rsp.vm.start = htole64(VCS_ARENA_START);
		a->rsp.vm.size = htole64(VCS_ARENA_SIZE);
		return 0;
	case VIRTIO_GPU_ROCM_QUERY_VERSION:
		return query_version(ctx, a);
	case VIRTIO_GPU_ROCM_QUERY_RELEASE_SYSTEM:
		return 0;
	case VIRTIO_GPU_ROCM_QUERY_SYSTEM:
		a->rsp.system.num_nodes = htole32(ctx->sys.num_nodes);
		a->rsp.system.platform_oem = htole32(ctx->sys.platform_oem);
		a->rsp.system.platform_id = htole32(ctx->sys.platform_id);
		a->rsp.system.platform_rev = htole32(ctx->sys.platform_rev);
		return 0;
	case VIRTIO_GPU_ROCM_QUERY_NODE:
		return query_node(ctx, req, slot, a);
	case VIRTIO_GPU_ROCM_QUERY_XNACK:
		/* Off: what is registered is pinned. */
		return 0;
	case VIRTIO_GPU_ROCM_QUERY_RUNTIME_ENABLE:
		/* As the clients place the flag. */
		return ops->runtime_enable(ctx->thunk, req->args[3]);
	case VIRTIO_GPU_ROCM_QUERY_RUNTIME_DISABLE:
		return ops->runtime_disable(ctx->thunk);
	case VIRTIO_GPU_ROCM_QUERY_MEMORY:
	case VIRTIO_GPU_ROCM_QUERY_CACHE:
	case VIRTIO_GPU_ROCM_QUERY_IO_LINK:
		return query_lists(ctx, type, req, slot, a);
	case VIRTIO_GPU_ROCM_QUERY_CLOCKS:
		return query_clocks(ctx, le32toh(req->node), a);
	case VIRTIO_GPU_ROCM_QUERY_NANO_TIME:
		return query_nano_time(ctx, a);
	case VIRTIO_GPU_ROCM_QUERY_RUNTIME_CAPS:
		return query_runtime_caps(ctx, a);
	case VIRTIO_GPU_ROCM_QUERY_DEVICE_HANDLE:
		return query_device(ctx, req, a);
	}
	return -EOPNOTSUPP;
}

void vcs_rocm_query(struct vcs_rocm *ctx, const struct vcs_req *hdr,
		    uint32_t len, const struct vcs_slot *slot)
{
	const struct virtio_gpu_rocm_query *req = (const void *)hdr;
	struct answer a = { 0 };
	uint32_t type = UINT32_MAX;
	int ret = -EBADMSG;

	if (len >= sizeof(*req)) {
		type = le32toh(req->type);
		ret = query(ctx, type, req, slot, &a);
	}
	if (ret) {
		vcs_rocm_log("QUERY", type, ret);
		memset(&a.rsp, 0, sizeof(a.rsp));
		a.list_len = 0;
	}
	vcs_respond_with(slot, ret, &a.rsp, sizeof(a.rsp), a.list, a.list_len);
	free(a.list);
}
