/* SPDX-License-Identifier: MIT */
/*
 * What a ROCM context asks of the thunk, AMD's libhsakmt or what stands in for it
 *
 * A thunk lives in a worker process, which is one GPU address space. What it
 * knows as memory are ranges of that process, at addresses that the context has
 * chosen; the GPU uses the same ones. Numbers are in host byte order and nothing
 * here has a form on the wire.
 */
#ifndef VCS_THUNK_H
#define VCS_THUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A system has more nodes only if somebody wants to break something. */
#define VCS_THUNK_MAX_NODES	64

/**
 * struct vcs_thunk_system - the system
 * @num_nodes: nodes, VCS_THUNK_MAX_NODES at most
 * @platform_oem: or 0
 * @platform_id: or 0
 * @platform_rev: or 0
 */
struct vcs_thunk_system {
	uint32_t num_nodes;
	uint32_t platform_oem;
	uint32_t platform_id;
	uint32_t platform_rev;
};

/*
 * Fields of struct virtio_gpu_rocm_node_head and of struct
 * virtio_gpu_rocm_node_tail.
 */
struct vcs_thunk_node {
	uint32_t num_cpu_cores;
	uint32_t num_fcompute_cores;
	uint32_t num_neural_cores;
	uint32_t num_memory_banks;
	uint32_t num_caches;
	uint32_t num_io_links;
	uint32_t ccompute_id_lo;
	uint32_t fcompute_id_lo;
	uint32_t capability;
	uint32_t capability2;
	uint32_t max_waves_per_simd;
	uint32_t lds_size_in_kb;
	uint32_t gds_size_in_kb;
	uint32_t wave_front_size;
	uint32_t num_shader_banks;
	uint32_t num_arrays;
	uint32_t num_cu_per_array;
	uint32_t num_simd_per_cu;
	uint32_t max_slots_scratch_cu;
	uint32_t engine_id;
	uint32_t override_engine_id;
	uint16_t vendor_id;
	uint16_t device_id;
	uint32_t location_id;
	uint64_t local_mem_size;
	uint32_t max_engine_clock_mhz_fcompute;
	uint32_t max_engine_clock_mhz_ccompute;
	char marketing_name[64];	/* ASCII */
	char amd_name[64];
	uint32_t ucode_engine_versions;
	uint64_t debug_properties;
	uint64_t hive_id;
	uint32_t num_sdma_engines;
	uint32_t num_sdma_xgmi_engines;
	uint8_t num_sdma_queues_per_engine;
	uint8_t num_cp_queues;
	uint8_t num_gws;
	uint8_t integrated;
	uint32_t domain;
	uint64_t unique_id;
	uint32_t vgpr_size_per_cu;
	uint32_t sgpr_size_per_cu;
	uint32_t num_xcc;
	uint32_t kfd_gpu_id;
	uint32_t family_id;
	uint32_t cwsr_size;
	uint32_t ctl_stack_size;
	uint64_t wall_clock_khz;
};

/* Fields of struct virtio_gpu_rocm_memory_bank. */
struct vcs_thunk_bank {
	uint32_t heap_type;
	uint64_t size;
	uint32_t flags;
	uint32_t width;
	uint32_t memory_clock_max;
	uint64_t virtual_base;
};

/* Fields of struct virtio_gpu_rocm_cache. */
struct vcs_thunk_cache {
	uint32_t processor_id_low;
	uint32_t level;
	uint32_t size;
	uint32_t line_size;
	uint32_t lines_per_tag;
	uint32_t associativity;
	uint32_t latency;
	uint32_t type;
	uint32_t siblings;	/* from processor_id_low on */
};

/* Fields of struct virtio_gpu_rocm_io_link. */
struct vcs_thunk_io_link {
	uint32_t type;
	uint32_t version_major;
	uint32_t version_minor;
	uint32_t node_from;
	uint32_t node_to;
	uint32_t weight;
	uint32_t min_latency;
	uint32_t max_latency;
	uint32_t min_bandwidth;
	uint32_t max_bandwidth;
	uint32_t rec_transfer_size;
	uint32_t rec_sdma_eng_id_mask;
	uint32_t flags;
};

/* What of struct virtio_gpu_rocm_gpu_info is not 0. */
struct vcs_thunk_gpu_info {
	uint32_t asic_id;
	uint32_t chip_rev;
	uint32_t chip_external_rev;
	uint32_t family_id;
	uint64_t max_engine_clk;
	uint64_t max_memory_clk;
	uint32_t num_shader_engines;
	uint32_t num_shader_arrays_per_engine;
	uint32_t rb_pipes;
	uint32_t gpu_counter_freq;
	uint32_t cu_active_number;
	uint32_t cu_mask;	/* of each shader array */
	uint32_t vram_type;
	uint32_t vram_bit_width;
	uint32_t pci_rev_id;
};

struct vcs_thunk_clocks {
	uint64_t gpu;
	uint64_t cpu;
	uint64_t system;
	uint64_t system_frequency_hz;
};

/* A trap handler and its buffer, in memory of the GPU; sizes may be 0. */
struct vcs_thunk_trap {
	uint64_t handler;
	uint64_t handler_size;
	uint64_t buffer;
	uint64_t buffer_size;
};

/**
 * struct vcs_thunk_access - what a simulated GPU does
 * @node: the GPU
 * @fill: store @value, or read into @checksum
 * @value: of each byte
 * @addr: where
 * @size: bytes, not 0
 * @checksum: as of struct virtio_gpu_rocm_sim_access_rsp
 */
struct vcs_thunk_access {
	uint32_t node;
	bool fill;
	uint8_t value;
	uint64_t addr;
	uint64_t size;
	uint64_t checksum;
};

/**
 * struct vcs_thunk_queue - a queue of AQL packets
 * @node: the GPU
 * @percentage: of its time that the queue may have, 0 to 100
 * @priority: HSA_QUEUE_PRIORITY, -3 to 3
 * @ring: address of the packets
 * @ring_size: bytes of them, a power of two
 * @write_ptr: address of the index of the next packet to be written
 * @read_ptr: address of the index of the next packet to be read
 *
 * All addresses are in memory that is registered and mapped to @node.
 */
struct vcs_thunk_queue {
	uint32_t node;
	uint32_t percentage;
	int32_t priority;
	uint64_t ring;
	uint64_t ring_size;
	uint64_t write_ptr;
	uint64_t read_ptr;
};

struct vcs_thunk;

/*
 * All functions that return int return 0 or a negative errno; -EINVAL for a
 * node that there is not or that is of the wrong kind, and for an index that is
 * not below the number that the node has. Pointers to what is returned point to
 * zeroed memory.
 */
struct vcs_thunk_ops {
	const char *name;

	void (*close)(struct vcs_thunk *t);

	/* Topology: it does not change. */
	int (*version)(struct vcs_thunk *t, uint32_t *major, uint32_t *minor);
	int (*system)(struct vcs_thunk *t, struct vcs_thunk_system *sys);
	int (*node)(struct vcs_thunk *t, uint32_t node,
		    struct vcs_thunk_node *props);
	int (*bank)(struct vcs_thunk *t, uint32_t node, uint32_t index,
		    struct vcs_thunk_bank *bank);
	int (*cache)(struct vcs_thunk *t, uint32_t node, uint32_t index,
		     struct vcs_thunk_cache *cache);
	int (*io_link)(struct vcs_thunk *t, uint32_t node, uint32_t index,
		       struct vcs_thunk_io_link *link);
	int (*gpu_info)(struct vcs_thunk *t, uint32_t node,
			struct vcs_thunk_gpu_info *info);

	int (*clocks)(struct vcs_thunk *t, uint32_t node,
		      struct vcs_thunk_clocks *clocks);
	int (*runtime_enable)(struct vcs_thunk *t, bool setup_ttmp);
	int (*runtime_disable)(struct vcs_thunk *t);
	int (*runtime_caps)(struct vcs_thunk *t, uint32_t *caps);
	int (*set_trap)(struct vcs_thunk *t, uint32_t node,
			const struct vcs_thunk_trap *trap);

	/*
	 * Take @size bytes of a node's memory for an allocation, or give them
	 * back. What holds the data is a range that is registered.
	 */
	int (*alloc)(struct vcs_thunk *t, uint32_t node, uint64_t size);
	void (*free)(struct vcs_thunk *t, uint32_t node, uint64_t size);
	int (*available)(struct vcs_thunk *t, uint32_t node, uint64_t *bytes);

	/*
	 * Make a range known, not yet accessible. -EEXIST: some of it is known;
	 * -EOPNOTSUPP: @rdonly, and this GPU would write all the same.
	 */
	int (*register_memory)(struct vcs_thunk *t, void *addr, uint64_t size,
			       bool rdonly);

	/*
	 * Undo it for the range that begins at @addr. Where the thunk cannot
	 * take access away, unmapping the range from the process does, which is
	 * what follows.
	 */
	void (*deregister)(struct vcs_thunk *t, void *addr);

	/*
	 * Let nodes access a registered range, all of it. They add up; after an
	 * error they are those of before. The GPU has it at @gpu_addr; without
	 * SVM that may not be @addr.
	 */
	int (*map_to_nodes)(struct vcs_thunk *t, void *addr,
			    const uint32_t *nodes, uint32_t nr_nodes,
			    uint64_t *gpu_addr);

	/* Of all nodes; what is not mapped stays so. */
	int (*unmap)(struct vcs_thunk *t, void *addr);

	/*
	 * The memory of a queue stays registered and mapped until the queue is
	 * destroyed. After an error of destroy_queue() it is taken away all the
	 * same.
	 */
	int (*create_queue)(struct vcs_thunk *t,
			    const struct vcs_thunk_queue *queue, uint64_t *id);
	int (*destroy_queue)(struct vcs_thunk *t, uint64_t id);

	/*
	 * Change @percentage, @priority, @ring and @ring_size; the rest of
	 * @queue is as it was. NULL: a queue does not change.
	 */
	int (*update_queue)(struct vcs_thunk *t, uint64_t id,
			    const struct vcs_thunk_queue *queue);

	/* The guest has stored @value to the doorbell of the queue. */
	void (*ring_doorbell)(struct vcs_thunk *t, uint64_t id, uint64_t value);

	/* The following are NULL unless the GPU is simulated. */

	/*
	 * Take packets from queues, a bounded number. Returns after how many
	 * milliseconds it wants to be called again, or -1: only when another
	 * function has been called. @error is the errno of a queue that has
	 * stopped since the last call, or 0.
	 */
	int (*run)(struct vcs_thunk *t, int *error);

	int (*access)(struct vcs_thunk *t, struct vcs_thunk_access *access);
};

struct vcs_thunk {
	const struct vcs_thunk_ops *ops;
};

#endif /* VCS_THUNK_H */
