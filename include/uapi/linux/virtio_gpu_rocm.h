/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR MIT) */
/*
 * Wire format of the virtio-gpu ROCM context.
 *
 * A guest's ROCr runtime with its virtio backend is the client, and this is
 * what it sends and takes: two generations of it have been released, called
 * 2025 and 2026 here. Every number below is as released ROCr clients have it,
 * unless a comment says otherwise; none can change.
 *
 * A context created with VIRTIO_GPU_CAPSET_ROCM takes requests in the payload
 * of VIRTIO_GPU_CMD_SUBMIT_3D (DRM_IOCTL_VIRTGPU_EXECBUFFER) and writes
 * responses into a blob that guest and host share. The client waits for the
 * fence and then for @seqno of the blob, so a request that is not answered
 * hangs the guest's program.
 *
 * All fields are little endian, all sizes and offsets are in bytes. Addresses
 * are those of the GPU, inside the range that OPEN_KFD names; handles mean
 * nothing but what the host has given them out for.
 */
#ifndef _LINUX_VIRTIO_GPU_ROCM_H
#define _LINUX_VIRTIO_GPU_ROCM_H

#include <linux/types.h>

/*
 * What the clients look for. Not assigned by the virtio specification; a
 * downstream renderer has another context under this number, so a host offers
 * one or the other.
 */
#ifndef VIRTIO_GPU_CAPSET_ROCM
#define VIRTIO_GPU_CAPSET_ROCM		8
#endif

/* The version of the capset that the clients ask for. */
#define VIRTIO_GPU_ROCM_CAPSET_VERSION	0

/* @context_type: the clients take no other. */
#define VIRTIO_GPU_ROCM_CONTEXT_TYPE	1

/**
 * struct virtio_gpu_rocm_capset - answer to GET_CAPSET
 * @wire_format_version: 1; the clients do not look at it
 * @version_major: of the host's implementation, likewise
 * @version_minor: likewise
 * @version_patchlevel: likewise
 * @context_type: VIRTIO_GPU_ROCM_CONTEXT_TYPE
 * @pad: 0
 */
struct virtio_gpu_rocm_capset {
	__le32 wire_format_version;
	__le32 version_major;
	__le32 version_minor;
	__le32 version_patchlevel;
	__le32 context_type;
	__le32 pad;
};

/*
 * The shared blob: VIRTGPU_BLOB_MEM_HOST3D, VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
 * blob_id VIRTIO_GPU_ROCM_SHMEM_BLOB_ID, one per context. The clients make one
 * of 25 (2025) or 80 (2026) pages. The minimum is the host's.
 */
#define VIRTIO_GPU_ROCM_SHMEM_BLOB_ID	0
#define VIRTIO_GPU_ROCM_SHMEM_MIN_SIZE	4096

/**
 * struct virtio_gpu_rocm_shmem - start of the shared blob
 * @seqno: seqno of the last request that was answered; written by the host
 *	after the response, with release semantics
 * @rsp_mem_offset: where responses begin; written by the host when the blob is
 *	created
 * @async_error: 0, or the errno of the last failure that no response could
 *	carry, EIO of a queue that has stopped; the clients do not look at it
 * @global_faults: 0
 */
struct virtio_gpu_rocm_shmem {
	__le32 seqno;
	__le32 rsp_mem_offset;
	__le32 async_error;
	__le32 global_faults;
};

enum virtio_gpu_rocm_cmd {
	VIRTIO_GPU_ROCM_NOP = 1,
	VIRTIO_GPU_ROCM_QUERY = 2,
	VIRTIO_GPU_ROCM_EVENT = 3,
	VIRTIO_GPU_ROCM_MEMORY = 4,
	VIRTIO_GPU_ROCM_QUEUE = 5,
	VIRTIO_GPU_ROCM_GL_INTER = 6,
	/*
	 * No client sends it: see struct virtio_gpu_rocm_sim_access. Far from
	 * what clients may come to send.
	 */
	VIRTIO_GPU_ROCM_SIM_ACCESS = 0x10000,
};

/**
 * struct virtio_gpu_rocm_req - start of every request
 * @cmd: enum virtio_gpu_rocm_cmd
 * @len: size of the request with this header, a multiple of 8
 * @seqno: what the host writes to @seqno of the shared blob when answered
 * @rsp_off: where the response goes, from @rsp_mem_offset of the shared blob
 *	on; a multiple of 8
 */
struct virtio_gpu_rocm_req {
	__le32 cmd;
	__le32 len;
	__le32 seqno;
	__le32 rsp_off;
};

/**
 * struct virtio_gpu_rocm_rsp - start of every response
 * @len: the guest stores the room it has, header included, before it submits;
 *	the host stores how much it wrote, never more than that
 * @ret: 0 or a negative errno (Linux numbers)
 *
 * Clients look at what follows without looking at @ret first. So a response
 * with an error is as long as any, and the rest of it is 0.
 */
struct virtio_gpu_rocm_rsp {
	__le32 len;
	__le32 ret;
};

/* NOP: the headers alone. */

enum virtio_gpu_rocm_query_type {
	VIRTIO_GPU_ROCM_QUERY_GPU_INFO = 0,
	VIRTIO_GPU_ROCM_QUERY_OPEN_KFD = 1,
	VIRTIO_GPU_ROCM_QUERY_VERSION = 2,
	VIRTIO_GPU_ROCM_QUERY_RELEASE_SYSTEM = 3,
	VIRTIO_GPU_ROCM_QUERY_SYSTEM = 4,
	VIRTIO_GPU_ROCM_QUERY_NODE = 5,
	VIRTIO_GPU_ROCM_QUERY_XNACK = 6,
	VIRTIO_GPU_ROCM_QUERY_RUNTIME_ENABLE = 7,
	VIRTIO_GPU_ROCM_QUERY_RUNTIME_DISABLE = 8,
	VIRTIO_GPU_ROCM_QUERY_MEMORY = 9,
	VIRTIO_GPU_ROCM_QUERY_CACHE = 10,
	VIRTIO_GPU_ROCM_QUERY_IO_LINK = 11,
	VIRTIO_GPU_ROCM_QUERY_CLOCKS = 12,
	VIRTIO_GPU_ROCM_QUERY_POINTER = 13,
	VIRTIO_GPU_ROCM_QUERY_TILE_CONFIG = 14,
	VIRTIO_GPU_ROCM_QUERY_NANO_TIME = 15,
	VIRTIO_GPU_ROCM_QUERY_RUNTIME_CAPS = 16,
	/* Since 2026. */
	VIRTIO_GPU_ROCM_QUERY_DEVICE_HANDLE = 17,
	VIRTIO_GPU_ROCM_QUERY_DRM_WRITE_READ = 18,
	VIRTIO_GPU_ROCM_QUERY_SET_XNACK = 19,
	VIRTIO_GPU_ROCM_QUERY_SPM_ACQUIRE = 20,
	VIRTIO_GPU_ROCM_QUERY_SPM_RELEASE = 21,
	VIRTIO_GPU_ROCM_QUERY_SPM_SET_DST_BUFFER = 22,
};

/**
 * struct virtio_gpu_rocm_query - QUERY
 * @hdr: header
 * @drm_info: a struct drm_amdgpu_info, unused
 * @type: enum virtio_gpu_rocm_query_type
 * @pad: 0
 * @cur_vm_start: OPEN_KFD: an address of the guest's heap; means nothing here
 * @node: NODE, CLOCKS, DEVICE_HANDLE: which node
 * @list: MEMORY, IO_LINK: which node, and how many structures there is room for
 * @cache: CACHE: the same
 * @args: all that these are in
 * @payload: DRM_WRITE_READ only
 */
struct virtio_gpu_rocm_query {
	struct virtio_gpu_rocm_req hdr;
	__u8 drm_info[32];
	__le32 type;
	__le32 pad;
	union {
		__le64 cur_vm_start;
		__le32 node;
		struct {
			__le32 node;
			__le32 count;
		} list;
		struct {
			__le32 node;
			__le32 processor;
			__le32 count;
			__le32 pad;
		} cache;
		__u8 args[72];
	};
	__u8 payload[];
};

/**
 * struct virtio_gpu_rocm_query_rsp - answer to QUERY
 * @hdr: header
 * @vm: OPEN_KFD: the range of addresses that is the GPU's; the client maps all
 *	of it, with nothing behind it and in place of what was there
 * @version: VERSION: of KFD
 * @system: SYSTEM
 * @device: DEVICE_HANDLE: opaque, not 0
 * @xnack: XNACK: 0, off
 * @caps: RUNTIME_CAPS
 * @nano_time: NANO_TIME
 * @data: GPU_INFO, NODE, CLOCKS: a structure
 * @payload: MEMORY, CACHE, IO_LINK: structures
 */
struct virtio_gpu_rocm_query_rsp {
	struct virtio_gpu_rocm_rsp hdr;
	union {
		struct {
			__le64 start;
			__le64 size;
		} vm;
		struct {
			__le32 major;
			__le32 minor;
		} version;
		struct {
			__le32 num_nodes;
			__le32 platform_oem;
			__le32 platform_id;
			__le32 platform_rev;
		} system;
		struct {
			__le64 handle;
			__le64 fd;
		} device;
		__le32 xnack;
		__le32 caps;
		__le64 nano_time;
		__u8 data[416];
	};
	__u8 payload[];
};

/*
 * Structures of the thunk ride the wire as they are in the client's headers
 * (hsakmttypes.h, packed to 4 bytes) and have grown with them. The room for a
 * response tells what a client knows.
 *
 * A node begins with one of two heads and goes on with the same fields, of which
 * later clients know more. Clients have used the virtio backend with the newer
 * head only; the older is that of ROCm 6.2.
 */

/**
 * struct virtio_gpu_rocm_node_head - start of a node's properties
 * @num_cpu_cores: CPU cores
 * @num_fcompute_cores: SIMDs
 * @num_neural_cores: NPUs
 * @num_memory_banks: for MEMORY
 * @num_caches: for CACHE
 * @num_io_links: for IO_LINK
 * @ccompute_id_lo: first CPU core's id
 * @fcompute_id_lo: first SIMD's id
 * @capability: VIRTIO_GPU_ROCM_CAP_*
 * @capability2: none defined
 * @max_waves_per_simd: waves of a SIMD
 * @lds_size_in_kb: local memory of a work-group
 * @gds_size_in_kb: global data share
 * @wave_front_size: work-items of a wave
 * @num_shader_banks: shader arrays of all engines
 * @num_arrays: shader arrays of an engine
 * @num_cu_per_array: compute units of a shader array
 * @num_simd_per_cu: SIMDs of a compute unit
 * @max_slots_scratch_cu: waves of a compute unit that may have scratch memory
 * @engine_id: gfx version and firmware, VIRTIO_GPU_ROCM_ENGINE()
 * @override_engine_id: 0, or what to take for @engine_id
 */
struct virtio_gpu_rocm_node_head {
	__le32 num_cpu_cores;
	__le32 num_fcompute_cores;
	__le32 num_neural_cores;
	__le32 num_memory_banks;
	__le32 num_caches;
	__le32 num_io_links;
	__le32 ccompute_id_lo;
	__le32 fcompute_id_lo;
	__le32 capability;
	__le32 capability2;
	__le32 max_waves_per_simd;
	__le32 lds_size_in_kb;
	__le32 gds_size_in_kb;
	__le32 wave_front_size;
	__le32 num_shader_banks;
	__le32 num_arrays;
	__le32 num_cu_per_array;
	__le32 num_simd_per_cu;
	__le32 max_slots_scratch_cu;
	__le32 engine_id;
	__le32 override_engine_id;
};

/* Without @num_neural_cores, @capability2 and @override_engine_id. */
struct virtio_gpu_rocm_node_old_head {
	__le32 num_cpu_cores;
	__le32 num_fcompute_cores;
	__le32 num_memory_banks;
	__le32 num_caches;
	__le32 num_io_links;
	__le32 ccompute_id_lo;
	__le32 fcompute_id_lo;
	__le32 capability;
	__le32 max_waves_per_simd;
	__le32 lds_size_in_kb;
	__le32 gds_size_in_kb;
	__le32 wave_front_size;
	__le32 num_shader_banks;
	__le32 num_arrays;
	__le32 num_cu_per_array;
	__le32 num_simd_per_cu;
	__le32 max_slots_scratch_cu;
	__le32 engine_id;
};

/**
 * struct virtio_gpu_rocm_node_tail - what follows either head
 * @vendor_id: PCI
 * @device_id: PCI
 * @location_id: PCI bus, device and function
 * @local_mem_size: memory of the GPU
 * @max_engine_clock_mhz_fcompute: of the GPU
 * @max_engine_clock_mhz_ccompute: of the CPU
 * @drm_render_minor: of the host's render node; of no use to a guest
 * @marketing_name: UTF-16, NUL-terminated
 * @amd_name: ASCII, NUL-terminated
 * @ucode_engine_versions: firmware
 * @debug_properties: watchpoints
 * @hive_id: of linked GPUs
 * @num_sdma_engines: for PCIe
 * @num_sdma_xgmi_engines: for links
 * @num_sdma_queues_per_engine: queues
 * @num_cp_queues: compute queues
 * @num_gws: barriers
 * @integrated: not a card
 * @domain: PCI
 * @unique_id: of the GPU
 * @vgpr_size_per_cu: registers
 * @sgpr_size_per_cu: registers
 * @num_xcc: partitions
 * @kfd_gpu_id: KFD's id of the GPU
 * @family_id: of amdgpu; clients of 2025 end here
 * @cwsr_size: memory to save the waves in
 * @ctl_stack_size: part of it
 * @luid_low: of Windows
 * @luid_high: of Windows
 * @wall_clock_khz: of the GPU's counter
 * @fabric_handle_supported: 0
 */
struct virtio_gpu_rocm_node_tail {
	__le16 vendor_id;
	__le16 device_id;
	__le32 location_id;
	__le64 local_mem_size;
	__le32 max_engine_clock_mhz_fcompute;
	__le32 max_engine_clock_mhz_ccompute;
	__le32 drm_render_minor;
	__le16 marketing_name[64];
	__u8 amd_name[64];
	__le32 ucode_engine_versions;
	__le64 debug_properties;
	__le64 hive_id;
	__le32 num_sdma_engines;
	__le32 num_sdma_xgmi_engines;
	__u8 num_sdma_queues_per_engine;
	__u8 num_cp_queues;
	__u8 num_gws;
	__u8 integrated;
	__le32 domain;
	__le64 unique_id;
	__le32 vgpr_size_per_cu;
	__le32 sgpr_size_per_cu;
	__le32 num_xcc;
	__le32 kfd_gpu_id;
	__le32 family_id;
	__le32 cwsr_size;
	__le32 ctl_stack_size;
	__le32 luid_low;
	__le32 luid_high;
	__le64 wall_clock_khz;
	__le32 fabric_handle_supported;
} __attribute__((packed));

/* Of both structures: ROCm 6.2, the least with the newer head. */
#define VIRTIO_GPU_ROCM_NODE_OLD_SIZE	356
#define VIRTIO_GPU_ROCM_NODE_SIZE	368

#define VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT	12	/* two bits: the type */
#define VIRTIO_GPU_ROCM_ENGINE(major, minor, stepping) \
	((major) << 10 | (minor) << 16 | (__u32)(stepping) << 24)

enum virtio_gpu_rocm_heap {
	VIRTIO_GPU_ROCM_HEAP_SYSTEM = 0,
	VIRTIO_GPU_ROCM_HEAP_FB_PUBLIC = 1,	/* the GPU's, seen by the CPU */
	VIRTIO_GPU_ROCM_HEAP_FB_PRIVATE = 2,
	VIRTIO_GPU_ROCM_HEAP_GDS = 3,
	VIRTIO_GPU_ROCM_HEAP_LDS = 4,
	VIRTIO_GPU_ROCM_HEAP_SCRATCH = 5,
};

/**
 * struct virtio_gpu_rocm_memory_bank - one of MEMORY
 * @heap_type: enum virtio_gpu_rocm_heap
 * @size: in bytes
 * @flags: none used
 * @width: of the interface, in bits
 * @memory_clock_max: in MHz
 * @virtual_base: where it is seen, or 0
 */
struct virtio_gpu_rocm_memory_bank {
	__le32 heap_type;
	__le64 size;
	__le32 flags;
	__le32 width;
	__le32 memory_clock_max;
	__le64 virtual_base;
} __attribute__((packed));

#define VIRTIO_GPU_ROCM_CACHE_DATA		(1 << 0)
#define VIRTIO_GPU_ROCM_CACHE_INSTRUCTION	(1 << 1)
#define VIRTIO_GPU_ROCM_CACHE_CPU		(1 << 2)
#define VIRTIO_GPU_ROCM_CACHE_HSACU		(1 << 3)

/**
 * struct virtio_gpu_rocm_cache - one of CACHE
 * @processor_id_low: first processor that has it
 * @level: 1, 2, 3
 * @size: in KiB
 * @line_size: in bytes
 * @lines_per_tag: or 0
 * @associativity: or 0
 * @latency: in ns, or 0
 * @type: VIRTIO_GPU_ROCM_CACHE_*
 * @sibling_map: which processors share it
 * @persisting_size_max: 0; clients that do not know it have arrays of
 *	structures without it
 */
struct virtio_gpu_rocm_cache {
	__le32 processor_id_low;
	__le32 level;
	__le32 size;
	__le32 line_size;
	__le32 lines_per_tag;
	__le32 associativity;
	__le32 latency;
	__le32 type;
	__le32 sibling_map[256];
	__le32 persisting_size_max;
};

#define VIRTIO_GPU_ROCM_CACHE_OLD_SIZE	1056

#define VIRTIO_GPU_ROCM_IO_LINK_PCIE	2

/**
 * struct virtio_gpu_rocm_io_link - one of IO_LINK
 * @type: VIRTIO_GPU_ROCM_IO_LINK_PCIE
 * @version_major: or 0
 * @version_minor: or 0
 * @node_from: this node
 * @node_to: the other
 * @weight: distance
 * @min_latency: in ns, or 0
 * @max_latency: in ns, or 0
 * @min_bandwidth: in MB/s, or 0
 * @max_bandwidth: in MB/s, or 0
 * @rec_transfer_size: or 0
 * @rec_sdma_eng_id_mask: or 0; not in the older structure
 * @flags: 0
 */
struct virtio_gpu_rocm_io_link {
	__le32 type;
	__le32 version_major;
	__le32 version_minor;
	__le32 node_from;
	__le32 node_to;
	__le32 weight;
	__le32 min_latency;
	__le32 max_latency;
	__le32 min_bandwidth;
	__le32 max_bandwidth;
	__le32 rec_transfer_size;
	__le32 rec_sdma_eng_id_mask;
	__le32 flags;
};

/* That of ROCm 6.2, with @flags in the place of @rec_sdma_eng_id_mask. */
#define VIRTIO_GPU_ROCM_IO_LINK_OLD_SIZE	48

/**
 * struct virtio_gpu_rocm_clocks - answer to CLOCKS
 * @gpu: the GPU's counter
 * @cpu: the CPU's
 * @system: of the system
 * @system_frequency_hz: of @system
 */
struct virtio_gpu_rocm_clocks {
	__le64 gpu;
	__le64 cpu;
	__le64 system;
	__le64 system_frequency_hz;
};

/* Answer to GPU_INFO, of the first GPU: libdrm's struct amdgpu_gpu_info. */
struct virtio_gpu_rocm_gpu_info {
	__le32 asic_id;
	__le32 chip_rev;
	__le32 chip_external_rev;
	__le32 family_id;
	__le64 ids_flags;
	__le64 max_engine_clk;
	__le64 max_memory_clk;
	__le32 num_shader_engines;
	__le32 num_shader_arrays_per_engine;
	__le32 avail_quad_shader_pipes;
	__le32 max_quad_shader_pipes;
	__le32 cache_entries_per_quad_pipe;
	__le32 num_hw_gfx_contexts;
	__le32 rb_pipes;
	__le32 enabled_rb_pipes_mask;
	__le32 gpu_counter_freq;
	__le32 backend_disable[4];
	__le32 mc_arb_ramcfg;
	__le32 gb_addr_cfg;
	__le32 gb_tile_mode[32];
	__le32 gb_macro_tile_mode[16];
	__le32 pa_sc_raster_cfg[4];
	__le32 pa_sc_raster_cfg1[4];
	__le32 cu_active_number;
	__le32 cu_ao_mask;
	__le32 cu_bitmap[4][4];
	__le32 vram_type;
	__le32 vram_bit_width;
	__le32 ce_ram_size;
	__le32 vce_harvest_config;
	__le32 pci_rev_id;
};

enum virtio_gpu_rocm_event_type {
	VIRTIO_GPU_ROCM_EVENT_CREATE = 0,
	VIRTIO_GPU_ROCM_EVENT_DESTROY = 1,
	VIRTIO_GPU_ROCM_EVENT_SET = 2,
	VIRTIO_GPU_ROCM_EVENT_RESET = 3,
	VIRTIO_GPU_ROCM_EVENT_QUERY_STATE = 4,
	VIRTIO_GPU_ROCM_EVENT_WAIT_ON_MULTI = 5,
	VIRTIO_GPU_ROCM_EVENT_SET_TRAP = 6,
};

/**
 * struct virtio_gpu_rocm_hsa_event - the thunk's HsaEvent
 * @id: opaque, not 0
 * @type: 0, a signal, is the only one
 * @data: what has happened; 0
 * @hw_data1: 0
 * @hw_data2: where the GPU would signal it: 0, nowhere
 * @hw_data3: 0
 */
struct virtio_gpu_rocm_hsa_event {
	__le32 id;
	__le32 type;
	__u8 data[20];
	__le64 hw_data1;
	__le64 hw_data2;
	__le32 hw_data3;
} __attribute__((packed));

/**
 * struct virtio_gpu_rocm_event - EVENT
 * @hdr: header
 * @create: CREATE: @user_data is for who waits, and means nothing here
 * @event: SET, RESET, QUERY_STATE, DESTROY: its @id, as CREATE gave it.
 *	QUERY_STATE: -ETIMEDOUT if it is not signaled; resets it unless it was
 *	created with @manual_reset
 * @trap: SET_TRAP: a trap handler and its buffer, both in memory that the node
 *	has mapped at the same addresses or with size 0, and the node
 * @args: all that these are in
 * @type: enum virtio_gpu_rocm_event_type
 * @sync_shmem_res_id: unused
 * @blob_id: CREATE: of the event's blob, VIRTGPU_BLOB_MEM_HOST3D of the size of
 *	struct virtio_gpu_rocm_event_rsp without its header, rounded to pages,
 *	and not mappable, which the client makes next; the event ends with it
 * @res_id: of that blob, or 0
 * @pad: 0
 */
struct virtio_gpu_rocm_event {
	struct virtio_gpu_rocm_req hdr;
	union {
		struct {
			__le32 type;
			__le32 node;
			__le64 user_data;
			__le64 user_data_size;
			__u8 manual_reset;
			__u8 signaled;
			__u8 pad[6];
		} create;
		struct virtio_gpu_rocm_hsa_event event;
		struct {
			__le64 handler;
			__le64 handler_size;
			__le64 buffer;
			__le64 buffer_size;
			__le32 node;
			__le32 pad;
		} trap;
		__u8 args[64];
	};
	__le32 type;
	__le32 sync_shmem_res_id;
	__le64 blob_id;
	__le32 res_id;
	__le32 pad;
};

/**
 * struct virtio_gpu_rocm_event_rsp - answer to EVENT
 * @hdr: header
 * @event: CREATE: the new one
 * @event_handle: CREATE: its @id
 * @bo_handle: 0
 * @res_id: 0
 * @pad: 0
 */
struct virtio_gpu_rocm_event_rsp {
	struct virtio_gpu_rocm_rsp hdr;
	struct virtio_gpu_rocm_hsa_event event;
	__le64 event_handle;
	__le64 bo_handle;
	__le32 res_id;
	__le32 pad;
};

enum virtio_gpu_rocm_memory_type {
	VIRTIO_GPU_ROCM_MEMORY_ALLOC = 0,
	VIRTIO_GPU_ROCM_MEMORY_MAP_TO_NODES = 1,
	VIRTIO_GPU_ROCM_MEMORY_FREE = 2,
	VIRTIO_GPU_ROCM_MEMORY_UNMAP = 3,
	VIRTIO_GPU_ROCM_MEMORY_AVAIL = 4,
	VIRTIO_GPU_ROCM_MEMORY_MAP_TO_GPU = 5,
	VIRTIO_GPU_ROCM_MEMORY_REGISTER = 6,
	VIRTIO_GPU_ROCM_MEMORY_DEREGISTER = 7,
	VIRTIO_GPU_ROCM_MEMORY_MAP_USERPTR = 8,
	/* 9 to 20: sharing, SVM attributes and the like. */
};

/* Of @flags (HsaMemFlags), those that matter here. */
#define VIRTIO_GPU_ROCM_MEM_READ_ONLY		(1u << 3)
#define VIRTIO_GPU_ROCM_MEM_HOST_ACCESS		(1u << 6)
#define VIRTIO_GPU_ROCM_MEM_GDS			(1u << 8)
#define VIRTIO_GPU_ROCM_MEM_SCRATCH		(1u << 9)
#define VIRTIO_GPU_ROCM_MEM_FIXED_ADDRESS	(1u << 15)
#define VIRTIO_GPU_ROCM_MEM_NO_ADDRESS		(1u << 18)
#define VIRTIO_GPU_ROCM_MEM_ONLY_ADDRESS	(1u << 19)

/**
 * union virtio_gpu_rocm_memory_args - arguments of MEMORY
 * @node: AVAIL: which node
 * @addr: FREE, UNMAP, DEREGISTER: what to act on; DEREGISTER looks at @res_id
 *	first, since clients send an address of the guest with it
 * @alloc: ALLOC: @addr is 0, @align 0 or a power of two, not there in 2025
 * @map_nodes: MAP_TO_NODES: the ids of @num_nodes nodes are in the payload
 * @map_gpu: MAP_TO_GPU: to all GPUs; @create_bo is for scratch memory
 * @reg: REGISTER: @size is the program's own, not rounded to pages
 */
union virtio_gpu_rocm_memory_args {
	__le32 node;
	__le64 addr;
	struct {
		__le32 node;
		__le32 flags;
		__le64 size;
		__le64 addr;
		__le64 align;
	} alloc;
	struct {
		__le64 addr;
		__le64 size;
		__le64 alternate_vagpu;
		__le32 flags;
		__le32 pad;
		__le64 num_nodes;
		__le64 node_array;
	} map_nodes;
	struct {
		__le64 addr;
		__le64 size;
		__u8 create_bo;
		__u8 pad[7];
	} map_gpu;
	struct {
		__le64 addr;
		__le64 size;
		__le32 flags;
		__le32 pad;
	} reg;
};

/**
 * struct virtio_gpu_rocm_memory_2025 - MEMORY of the first generation
 * @hdr: header
 * @args: arguments
 * @blob_id: ALLOC: of the blob that the client makes for it next
 * @type: enum virtio_gpu_rocm_memory_type
 * @res_id: a resource, or 0 for what @args says
 * @payload: MAP_TO_NODES: the nodes' ids, padded to a multiple of 8
 */
struct virtio_gpu_rocm_memory_2025 {
	struct virtio_gpu_rocm_req hdr;
	union virtio_gpu_rocm_memory_args args;
	__le64 blob_id;
	__le32 type;
	__le32 res_id;
	__le32 payload[];
};

/*
 * The same of the second generation. A request that is long enough for it is
 * one: no other could have so many nodes.
 */
struct virtio_gpu_rocm_memory {
	struct virtio_gpu_rocm_req hdr;
	union {
		union virtio_gpu_rocm_memory_args args;
		__u8 room[280];
	};
	__le64 blob_id;
	__le32 type;
	__le32 res_id;
	__le32 payload[];
};

/**
 * struct virtio_gpu_rocm_memory_rsp - answer to MEMORY
 * @hdr: header
 * @handle: ALLOC, MAP_USERPTR: the memory's address, 0 after an error
 * @alternate_vagpu: MAP_TO_NODES, MAP_TO_GPU: where the GPU sees @addr
 * @available: AVAIL: bytes
 * @npfns: MAP_USERPTR: pages of 4096 bytes
 * @pad: 0
 */
struct virtio_gpu_rocm_memory_rsp {
	struct virtio_gpu_rocm_rsp hdr;
	union {
		__le64 handle;
		__le64 alternate_vagpu;
		__le64 available;
	};
	__le32 npfns;
	__le32 pad;
};

/* It ends there, or 0 follows up to: */
#define VIRTIO_GPU_ROCM_MEMORY_RSP_SIZE		320
#define VIRTIO_GPU_ROCM_MEMORY_RSP_SIZE_2025	24

enum virtio_gpu_rocm_queue_type {
	VIRTIO_GPU_ROCM_QUEUE_CREATE = 0,
	VIRTIO_GPU_ROCM_QUEUE_DESTROY = 1,
	/* Since 2026. */
	VIRTIO_GPU_ROCM_QUEUE_UPDATE = 2,
	VIRTIO_GPU_ROCM_QUEUE_GET_INFO = 3,
	VIRTIO_GPU_ROCM_QUEUE_SET_CU_MASK = 4,
	VIRTIO_GPU_ROCM_QUEUE_ALLOC_GWS = 5,
};

/* HSA_QUEUE_COMPUTE_AQL; others have read and write pointers of their own. */
#define VIRTIO_GPU_ROCM_QUEUE_COMPUTE_AQL	21

/* Of doorbells: what the clients map. */
#define VIRTIO_GPU_ROCM_DOORBELL_SIZE	8192

/**
 * struct virtio_gpu_rocm_queue - QUEUE
 * @hdr: header
 * @queue_id: DESTROY: opaque, as CREATE gave it, where @res_id is 0
 * @create: CREATE: @type is VIRTIO_GPU_ROCM_QUEUE_COMPUTE_AQL; @addr, @size: the
 *	packets; @write_ptr, @read_ptr: where their indices are; @event and
 *	@queue_resource mean nothing here
 * @update: UPDATE: @queue_id means nothing here; the others as of @create
 * @blob_id: CREATE: of the queue's blob, VIRTGPU_BLOB_MEM_HOST3D of the size of
 *	@create and not mappable, which the client makes next; the queue ends
 *	with it, which is all that released clients do to destroy one
 * @rw_ptr_blob_id: CREATE: of a blob of both indices, for other types of queues
 * @doorbell_blob_id: CREATE: of a mappable blob of VIRTIO_GPU_ROCM_DOORBELL_SIZE,
 *	with the doorbells of all queues of this node; 0: there is one
 * @res_id: CREATE: that @write_ptr and @read_ptr are in, DESTROY, UPDATE: the
 *	queue's
 * @type: enum virtio_gpu_rocm_queue_type
 * @queue_mem_res_id: CREATE, UPDATE: that @addr is in
 * @pad: 0
 */
struct virtio_gpu_rocm_queue {
	struct virtio_gpu_rocm_req hdr;
	union {
		__le64 queue_id;
		struct {
			__le32 node;
			__le32 type;
			__le32 percentage;
			__le32 pad;
			__le64 priority;
			__le32 pad1;
			__le32 sdma_engine;
			__le64 addr;
			__le64 size;
			__le64 event;
			__le64 queue_resource;
			__le64 write_ptr;
			__le64 read_ptr;
		} create;
		struct {
			__le64 queue_id;
			__le32 percentage;
			__le32 pad;
			__le64 priority;
			__le64 addr;
			__le64 size;
		} update;
	};
	__le64 blob_id;
	__le64 rw_ptr_blob_id;
	__le64 doorbell_blob_id;
	__le32 res_id;
	__le32 type;
	__le32 queue_mem_res_id;
	__le32 pad;
};

/**
 * struct virtio_gpu_rocm_queue_rsp - answer to QUEUE
 * @hdr: header
 * @queue_id: CREATE: opaque, not 0
 * @doorbell: 0: it has been a pointer of the host
 * @write_ptr: 0, likewise
 * @read_ptr: 0, likewise
 * @error_reason: 0, likewise
 * @host_doorbell: CREATE: address of the queue's doorbell. The client has the
 *	blob of @doorbell_blob_id at @host_doorbell - @host_doorbell_offset, in
 *	the range of OPEN_KFD
 * @host_doorbell_offset: CREATE: where in the blob it is
 * @host_write_offset: 0: of other types of queues
 * @host_read_offset: 0, likewise
 * @host_rw_handle: 0, likewise
 * @queue_handle: CREATE: @queue_id
 */
struct virtio_gpu_rocm_queue_rsp {
	struct virtio_gpu_rocm_rsp hdr;
	__le64 queue_id;
	__le64 doorbell;
	__le64 write_ptr;
	__le64 read_ptr;
	__le64 error_reason;
	__le64 host_doorbell;
	__le64 host_doorbell_offset;
	__le64 host_write_offset;
	__le64 host_read_offset;
	__le64 host_rw_handle;
	__le64 queue_handle;
};

/* It ends there (2025), or 0 follows up to: */
#define VIRTIO_GPU_ROCM_QUEUE_RSP_SIZE		168

enum virtio_gpu_rocm_sim_op {
	VIRTIO_GPU_ROCM_SIM_CHECKSUM = 0,
	VIRTIO_GPU_ROCM_SIM_FILL = 1,
};

/**
 * struct virtio_gpu_rocm_sim_access - SIM_ACCESS: what a kernel would do
 * @hdr: header
 * @op: enum virtio_gpu_rocm_sim_op
 * @node: the GPU that does it
 * @addr: where, in memory that is mapped to @node
 * @size: bytes, not 0, all in one such memory
 * @value: FILL: the lowest byte is stored to each of them
 *
 * A host that simulates a GPU has it, others answer -EOPNOTSUPP. -EFAULT: not
 * mapped to @node; -EACCES: FILL of what is mapped read-only.
 */
struct virtio_gpu_rocm_sim_access {
	struct virtio_gpu_rocm_req hdr;
	__le32 op;
	__le32 node;
	__le64 addr;
	__le64 size;
	__le64 value;
};

/**
 * struct virtio_gpu_rocm_sim_access_rsp - answer to SIM_ACCESS
 * @hdr: header
 * @checksum: CHECKSUM: the sum of (i + 1) * byte i, for i from 0, modulo 2^64
 */
struct virtio_gpu_rocm_sim_access_rsp {
	struct virtio_gpu_rocm_rsp hdr;
	__le64 checksum;
};

#endif /* _LINUX_VIRTIO_GPU_ROCM_H */
