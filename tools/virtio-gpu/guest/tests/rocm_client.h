/* SPDX-License-Identifier: MIT */
/*
 * The guest's side of the ROCM context, as two generations of ROCr's libhsakmt
 * speak it, for tests: everything that goes over the wire is at hand, and an
 * answer that does not come is an error, not a hang.
 */
#ifndef TESTS_ROCM_CLIENT_H
#define TESTS_ROCM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#define ROCM_CAPSET		8
#define ROCM_CONTEXT_TYPE	1	/* of the capset */
#define ROCM_NUM_RINGS		64
#define ROCM_MAX_NODES		10	/* render nodes that are looked at */

#define ROCM_SEQNO		0	/* words of the shared blob */
#define ROCM_RSP_MEM_OFFSET	4
#define ROCM_ASYNC_ERROR	8
#define ROCM_GLOBAL_FAULTS	12
#define ROCM_SHMEM_HEADER	16

#define ROCM_REQ_CMD		0	/* header of a request */
#define ROCM_REQ_LEN		4
#define ROCM_REQ_SEQNO		8
#define ROCM_REQ_RSP_OFF	12
#define ROCM_REQ_HEADER		16

#define ROCM_RSP_LEN		0	/* header of a response */
#define ROCM_RSP_RET		4
#define ROCM_RSP_HEADER		8

enum rocm_cmd {
	ROCM_NOP = 1,
	ROCM_QUERY = 2,
	ROCM_EVENT = 3,
	ROCM_MEMORY = 4,
	ROCM_QUEUE = 5,
	ROCM_GL_INTER = 6,
	ROCM_SIM_ACCESS = 0x10000,	/* not of ROCr: see sim_access() */
};

enum rocm_sim_op {
	ROCM_SIM_CHECKSUM = 0,
	ROCM_SIM_FILL = 1,
};

enum rocm_query {
	ROCM_QUERY_GPU_INFO = 0,
	ROCM_QUERY_OPEN_KFD = 1,
	ROCM_QUERY_GET_VER = 2,
	ROCM_QUERY_REL_SYS_PROP = 3,
	ROCM_QUERY_GET_SYS_PROP = 4,
	ROCM_QUERY_GET_NODE_PROP = 5,
	ROCM_QUERY_XNACK = 6,
	ROCM_QUERY_RUNTIME_ENABLE = 7,
	ROCM_QUERY_RUNTIME_DISABLE = 8,
	ROCM_QUERY_NODE_MEM_PROP = 9,
	ROCM_QUERY_NODE_CACHE_PROP = 10,
	ROCM_QUERY_NODE_IO_LINK = 11,
	ROCM_QUERY_CLOCK_COUNTERS = 12,
	ROCM_QUERY_POINTER_INFO = 13,
	ROCM_QUERY_TILE_CONFIG = 14,
	ROCM_QUERY_NANO_TIME = 15,
	ROCM_QUERY_RUNTIME_CAPS = 16,
	ROCM_QUERY_AMDGPU_HANDLE = 17,
	ROCM_QUERY_DRM_WRITE_READ = 18,
	ROCM_QUERY_SET_XNACK = 19,
	ROCM_QUERY_LAST = 22,
};

enum rocm_memory {
	ROCM_MEMORY_ALLOC = 0,
	ROCM_MEMORY_MAP_TO_GPU_NODES = 1,
	ROCM_MEMORY_FREE = 2,
	ROCM_MEMORY_UNMAP = 3,
	ROCM_MEMORY_AVAIL = 4,
	ROCM_MEMORY_MAP_MEM_TO_GPU = 5,
	ROCM_MEMORY_REG_MEM_WITH_FLAG = 6,
	ROCM_MEMORY_DEREG = 7,
	ROCM_MEMORY_MAP_USERPTR = 8,
	ROCM_MEMORY_LAST = 20,
};

/* QUERY: the same in both generations. */
#define ROCM_QUERY_SIZE		128
#define ROCM_QUERY_INFO		16	/* struct drm_amdgpu_info */
#define ROCM_QUERY_TYPE		48
#define ROCM_QUERY_ARGS		56
#define ROCM_QUERY_RSP_SIZE	424
#define ROCM_QUERY_RSP_UNION	8

/* EVENT: the same, too. */
#define ROCM_EVENT_SIZE		104
#define ROCM_EVENT_UNION	16
#define ROCM_EVENT_TYPE		80
#define ROCM_EVENT_BLOB_ID	88
#define ROCM_EVENT_RES_ID	96
#define ROCM_EVENT_RSP_SIZE	80

/* QUEUE: the request is the same, the response is not. */
#define ROCM_QUEUE_SIZE		136
#define ROCM_QUEUE_NODE		16
#define ROCM_QUEUE_QTYPE	20
#define ROCM_QUEUE_PERCENT	24
#define ROCM_QUEUE_PRIORITY	32
#define ROCM_QUEUE_SDMA_ENGINE	44
#define ROCM_QUEUE_ADDRESS	48
#define ROCM_QUEUE_BYTES	56
#define ROCM_QUEUE_EVENT	64
#define ROCM_QUEUE_RESOURCE	72
#define ROCM_QUEUE_WPTR		80
#define ROCM_QUEUE_RPTR		88
#define ROCM_QUEUE_BLOB_ID	96
#define ROCM_QUEUE_RW_BLOB	104
#define ROCM_QUEUE_DOORBELL	112
#define ROCM_QUEUE_RES_ID	120
#define ROCM_QUEUE_TYPE		124
#define ROCM_QUEUE_MEM_RES	128

/* MEMORY: arguments from 16 on; what follows them is in struct rocm_layout. */
#define ROCM_ALLOC_NODE		16
#define ROCM_ALLOC_FLAGS	20
#define ROCM_ALLOC_BYTES	24
#define ROCM_ALLOC_VA		32
#define ROCM_ALLOC_ALIGN	40	/* 2026 */
#define ROCM_REG_VA		16
#define ROCM_REG_BYTES		24
#define ROCM_REG_FLAGS		32
#define ROCM_MAP_VA		16
#define ROCM_MAP_BYTES		24
#define ROCM_MAP_FLAGS		40
#define ROCM_MAP_NR_NODES	48
#define ROCM_MEM_RSP_HANDLE	8	/* or address, of 64 bits */
#define ROCM_MEM_RSP_NPFNS	16

/* HsaMemFlags, the bits that are used here. */
#define ROCM_FLAG_NONPAGED	(1u << 0)
#define ROCM_FLAG_HOST_ACCESS	(1u << 6)

enum rocm_gen { ROCM_2025, ROCM_2026 };

/**
 * struct rocm_layout - where the generations differ
 * @name: "2025" or "2026"
 * @shmem_pages: pages of 4 KiB of the shared blob
 * @mem_size: MEMORY request without payload, and so where its payload is
 * @mem_blob_id: offsets in it
 * @mem_type: likewise
 * @mem_res_id: likewise
 * @mem_rsp_size: its response
 * @queue_rsp_size: response to QUEUE
 * @blob_ioctl_size: of the argument of RESOURCE_CREATE_BLOB
 */
struct rocm_layout {
	const char *name;
	uint32_t shmem_pages;
	uint32_t mem_size;
	uint32_t mem_blob_id;
	uint32_t mem_type;
	uint32_t mem_res_id;
	uint32_t mem_rsp_size;
	uint32_t queue_rsp_size;
	uint32_t blob_ioctl_size;
};

extern const struct rocm_layout rocm_layouts[2];

/* Enough for any request and response that is sent here. */
#define ROCM_MAX_REQ		1024
#define ROCM_MAX_RSP		8192

/* Zeroed by whoever declares it; fields are set and read by offset. */
struct rocm_req {
	uint8_t bytes[ROCM_MAX_REQ];
	uint32_t size;		/* with payload, before it is aligned */
	uint32_t host_va;	/* offset of an address the host gave, or 0 */
};

struct rocm_rsp {
	uint8_t bytes[ROCM_MAX_RSP];
	uint32_t capacity;	/* what the host is told */
	uint32_t len;		/* valid bytes of it */
};

void rocm_put32(void *at, uint32_t off, uint32_t value);
void rocm_put64(void *at, uint32_t off, uint64_t value);
uint32_t rocm_get32(const void *at, uint32_t off);
uint64_t rocm_get64(const void *at, uint32_t off);

/**
 * struct rocm_reg - memory that is registered
 * @base: first page
 * @size: of the blob, in whole pages
 * @bo_handle: GEM handle
 * @res_id: resource
 * @handle: what the host calls it (MAP_USERPTR)
 * @npfns: likewise
 * @gpu_va: where the GPU has @base, once it is mapped
 * @count: how often it was registered
 */
struct rocm_reg {
	LIST_ENTRY(rocm_reg) link;
	uintptr_t base;
	uint64_t size;
	uint32_t bo_handle;
	uint32_t res_id;
	uint64_t handle;
	uint32_t npfns;
	uint64_t gpu_va;
	unsigned int count;
};

/**
 * struct rocm_buf - memory that the host gave
 * @handle: its address, for the GPU and here
 * @size: in bytes
 * @bo_handle: GEM handle, 0 if it is not for the CPU
 * @res_id: resource, likewise
 */
struct rocm_buf {
	uint64_t handle;
	uint64_t size;
	uint32_t bo_handle;
	uint32_t res_id;
};

struct rocm_transcript;

/**
 * struct rocm_client - a program that uses the GPU
 * @layout: of its generation
 * @blob_ioctl_size: @layout's, to be changed by whoever wants another
 * @timeout_ms: for the fence, and again for seqno; likewise
 * @fd: render node
 * @node: its path
 * @shmem: shared blob, NULL before it is mapped
 * @shmem_size: its bytes
 * @shmem_res_id: its resource
 * @rsp_base: first byte of it that responses may use
 * @rsp_next: where the next one goes, from @rsp_base on
 * @seqno: of the last request
 * @blob_id: the last one used
 * @vm_start: range that OPEN_KFD gave
 * @vm_size: its bytes
 * @reserved: it is
 * @regs: registrations
 * @transcript: NULL when none is wanted
 */
struct rocm_client {
	const struct rocm_layout *layout;
	uint32_t blob_ioctl_size;
	int timeout_ms;
	int fd;
	char node[64];
	uint8_t *shmem;
	uint32_t shmem_size;
	uint32_t shmem_res_id;
	uint32_t rsp_base;
	uint32_t rsp_next;
	uint32_t seqno;
	uint64_t blob_id;
	uint64_t vm_start;
	uint64_t vm_size;
	bool reserved;
	LIST_HEAD(, rocm_reg) regs;
	struct rocm_transcript *transcript;
};

/*
 * Functions return 0 or a negative errno, the host's or their own: -ETIME when
 * an answer does not come, -EPROTO when it is none.
 */

/* Finds the device, makes a context on it, and maps the shared blob. */
int rocm_open(struct rocm_client *c, enum rocm_gen gen);

/* Undoes everything; a client that was never opened, but zeroed, is fine. */
void rocm_close(struct rocm_client *c);

/* After fork(), of what the parent goes on with; @c is not touched. */
void rocm_forget(const struct rocm_client *c);

/*
 * Submits @cmd as it is, on ring 0, and waits for the fence, then for the seqno
 * in its header, if there is room for one.
 */
int rocm_exchange(struct rocm_client *c, const void *cmd, uint32_t size);

/* Room for a response of @size; returns rsp_off, which is from rsp_base on. */
uint32_t rocm_alloc_rsp(struct rocm_client *c, uint32_t size);

/* Bytes of the shared blob that are for responses. */
uint32_t rocm_rsp_area(const struct rocm_client *c);

void *rocm_rsp_at(struct rocm_client *c, uint32_t rsp_off);

/*
 * Sends the request, its header filled in here, waits, and copies the answer.
 * Where rsp->capacity is 0, it is the size that responses of @cmd have.
 */
int rocm_call(struct rocm_client *c, enum rocm_cmd cmd, struct rocm_req *req,
	      struct rocm_rsp *rsp);

/* A query; @arg, if any, is the first of its arguments. */
int rocm_query(struct rocm_client *c, uint32_t type, uint64_t arg,
	       struct rocm_rsp *rsp);

/* OPEN_KFD, without and with the range reserved as the client does it. */
int rocm_open_kfd(struct rocm_client *c);
int rocm_reserve(struct rocm_client *c);

/* rocm_open(), rocm_open_kfd() and rocm_reserve(). */
int rocm_start(struct rocm_client *c, enum rocm_gen gen);

/* The first node with a GPU. */
int rocm_gpu_node(struct rocm_client *c, uint32_t *node);

/* An empty MEMORY request of the client's generation. */
void rocm_memory_req(struct rocm_client *c, struct rocm_req *req,
		     enum rocm_memory type, uint32_t res_id);
int rocm_memory(struct rocm_client *c, struct rocm_req *req,
		struct rocm_rsp *rsp);

/* Memory of the host, mapped at buf->handle if it is for the CPU. */
int rocm_alloc(struct rocm_client *c, uint32_t node, uint32_t flags,
	       uint64_t size, struct rocm_buf *buf);
int rocm_free(struct rocm_client *c, struct rocm_buf *buf);
/*
 * MAP_MEM_TO_GPU, UNMAP or FREE. What these take is not described; it is sent
 * as MAP_TO_GPU_NODES has it.
 */
int rocm_buf_command(struct rocm_client *c, enum rocm_memory type,
		     const struct rocm_buf *buf);
int rocm_avail(struct rocm_client *c, uint32_t node, uint64_t *avail);

/* The ioctl only; base and size of @reg are what is registered. */
int rocm_create_userptr(struct rocm_client *c, struct rocm_reg *reg,
			uint32_t blob_flags);
int rocm_gem_close(struct rocm_client *c, uint32_t bo_handle);

/* The commands one by one, on @reg, which only the ioctl need have seen. */
int rocm_map_userptr(struct rocm_client *c, struct rocm_reg *reg);
int rocm_reg_mem(struct rocm_client *c, const struct rocm_reg *reg,
		 uint64_t va, uint64_t size);

/*
 * Any memory, as the client does it: in whole pages, and inside an existing
 * registration counted only. @blob_flags is what is set beside USE_USERPTR.
 */
int rocm_register(struct rocm_client *c, const void *addr, uint64_t size,
		  uint32_t blob_flags, struct rocm_reg **reg);
int rocm_deregister(struct rocm_client *c, struct rocm_reg *reg);

int rocm_map(struct rocm_client *c, struct rocm_reg *reg,
	     const uint32_t *nodes, uint32_t nr_nodes);
/* A no-op, as it is in the client, where nothing is sent for userptrs. */
int rocm_unmap(struct rocm_client *c, struct rocm_reg *reg);

/* Where the GPU has @addr, which must be in @reg. */
uint64_t rocm_gpu_va(const struct rocm_reg *reg, const void *addr);

int rocm_event(struct rocm_client *c, uint32_t type, uint64_t id,
	       struct rocm_rsp *rsp);
int rocm_queue(struct rocm_client *c, uint32_t type, uint64_t id,
	       struct rocm_rsp *rsp);

/* The sim backend's extension: what the GPU itself would do with its memory. */
int rocm_gpu_fill(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		  uint64_t size, uint8_t value);
int rocm_gpu_checksum(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		      uint64_t size, uint64_t *sum);

/* The same sum, of memory here. */
uint64_t rocm_checksum(const void *addr, uint64_t size);

#endif /* TESTS_ROCM_CLIENT_H */
