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

enum rocm_event {
	ROCM_EVENT_CREATE = 0,
	ROCM_EVENT_DESTROY = 1,
	ROCM_EVENT_SET = 2,
	ROCM_EVENT_RESET = 3,
	ROCM_EVENT_QUERY_STATE = 4,
	ROCM_EVENT_WAIT_ON_MULTI = 5,
	ROCM_EVENT_SET_TRAP = 6,
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
#define ROCM_QUERY_NODE		56
#define ROCM_QUERY_COUNT	60	/* of NODE_MEM_PROP and NODE_IO_LINK */
#define ROCM_QUERY_CACHES	64	/* the same of NODE_CACHE_PROP */
#define ROCM_QUERY_RSP_SIZE	424
#define ROCM_QUERY_RSP_UNION	8

/* HsaNodeProperties: how much there is of what, 32 bits each, in the response. */
#define ROCM_NODE_RSP_BANKS	20
#define ROCM_NODE_RSP_CACHES	24
#define ROCM_NODE_RSP_LINKS	28

/* The structures of lists, as of August 2025. */
#define ROCM_BANK_SIZE		32
#define ROCM_CACHE_SIZE		1056
#define ROCM_LINK_SIZE		52

/* EVENT: the same, too. */
#define ROCM_EVENT_SIZE		104
#define ROCM_EVENT_UNION	16
#define ROCM_EVENT_TRAP_NODE	48	/* of SET_TRAP */
#define ROCM_EVENT_TYPE		80
#define ROCM_EVENT_BLOB_ID	88
#define ROCM_EVENT_RES_ID	96
#define ROCM_EVENT_RSP_SIZE	80
#define ROCM_EVENT_ID		16	/* HsaEvent's, of all but CREATE */
#define ROCM_EVENT_CREATE_TYPE	16	/* HSA_EVENTTYPE_SIGNAL is 0 */
#define ROCM_EVENT_CREATE_NODE	20
#define ROCM_EVENT_RSP_ID	8

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
#define ROCM_QUEUE_ID		16	/* DESTROY */
#define ROCM_QUEUE_NEW_PERCENT	24	/* UPDATE, which names the queue by RES_ID */
#define ROCM_QUEUE_RSP_ID	8
#define ROCM_QUEUE_RSP_DOORBELL	48	/* address, and where that is in the blob */
#define ROCM_QUEUE_RSP_OFFSET	56

enum rocm_queue_type {
	ROCM_QUEUE_CREATE = 0,
	ROCM_QUEUE_DESTROY = 1,
	ROCM_QUEUE_UPDATE = 2,	/* since 2026 */
};

#define ROCM_QUEUE_COMPUTE_AQL	21	/* HSA_QUEUE_COMPUTE_AQL */
#define ROCM_DOORBELLS_SIZE	8192

/* A barrier-AND packet of AQL (HSA's specification, 2.9.7). */
#define ROCM_AQL_SIZE		64
#define ROCM_AQL_BARRIER_AND	3	/* type: lowest byte of the header */
#define ROCM_AQL_BARRIER	(1u << 8)
#define ROCM_AQL_SYSTEM_FENCES	(2u << 9 | 2u << 11)
#define ROCM_AQL_DEP_SIGNAL	8
#define ROCM_AQL_NR_DEPS	5
#define ROCM_AQL_COMPLETION	56

/* amd_signal_t, which a completion signal of a packet is the address of. */
#define ROCM_SIGNAL_SIZE	64
#define ROCM_SIGNAL_KIND	0
#define ROCM_SIGNAL_USER	1	/* AMD_SIGNAL_KIND_USER */
#define ROCM_SIGNAL_VALUE	8

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
 * @handle: its address, for the GPU and for clients here
 * @addr: where it is here, NULL if it is not for the CPU; beside a client that
 *	has reserved the range this is not @handle
 * @size: in bytes
 * @bo_handle: GEM handle, 0 if it is not for the CPU
 * @res_id: resource, likewise
 */
struct rocm_buf {
	uint64_t handle;
	uint8_t *addr;
	uint64_t size;
	uint32_t bo_handle;
	uint32_t res_id;
};

/**
 * struct rocm_queue_args - what QUEUE CREATE says
 * @node: with the GPU
 * @type: ROCM_QUEUE_COMPUTE_AQL
 * @percent: of the GPU, 100
 * @priority: from -3 to 3
 * @ring: GPU's address of the packets
 * @size: of all of them, in bytes, a power of two
 * @wptr: GPU's address of the index of the next packet, of 64 bits
 * @rptr: that of the first one that is not done
 * @ring_res_id: resource that @ring is in
 * @ptr_res_id: resource that @wptr and @rptr are in
 * @blob_id: of the blob that is the queue
 * @doorbells_blob_id: of the doorbells' blob, 0 if it has been made
 */
struct rocm_queue_args {
	uint32_t node;
	uint32_t type;
	uint32_t percent;
	int64_t priority;
	uint64_t ring;
	uint64_t size;
	uint64_t wptr;
	uint64_t rptr;
	uint32_t ring_res_id;
	uint32_t ptr_res_id;
	uint64_t blob_id;
	uint64_t doorbells_blob_id;
};

/**
 * struct rocm_queue - a queue of AQL packets
 * @ring: its packets
 * @nr_packets: how many there is room for, a power of two
 * @wptr: index of the next one
 * @rptr: index of the first one that is not done, which the GPU writes
 * @id: what the host calls it
 * @bo_handle: GEM handle of the blob that it is
 * @res_id: its resource
 * @doorbell: its register
 * @c: whose it is
 * @mem_base: where the memory begins that all of it is in
 * @mem_res_id: resource of that
 */
struct rocm_queue {
	uint8_t *ring;
	uint32_t nr_packets;
	uint64_t *wptr;
	uint64_t *rptr;
	uint64_t id;
	uint32_t bo_handle;
	uint32_t res_id;
	uint64_t *doorbell;
	struct rocm_client *c;
	uintptr_t mem_base;
	uint32_t mem_res_id;
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
 * @doorbells: their blob, NULL before there is a queue
 * @doorbells_res_id: its resource
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
	uint8_t *doorbells;
	uint32_t doorbells_res_id;
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

/*
 * NODE_MEM_PROP, NODE_CACHE_PROP or NODE_IO_LINK: @count structures of @size
 * bytes, which follow a response as it is otherwise.
 */
int rocm_query_list(struct rocm_client *c, uint32_t type, uint32_t node,
		    uint32_t count, uint32_t size, struct rocm_rsp *rsp);

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

/* Memory of the host, mapped at buf->addr if it is for the CPU. */
int rocm_alloc(struct rocm_client *c, uint32_t node, uint32_t flags,
	       uint64_t size, struct rocm_buf *buf);
int rocm_free(struct rocm_client *c, struct rocm_buf *buf);
/*
 * MAP_MEM_TO_GPU, UNMAP or FREE. What these take is not described; it is sent
 * as MAP_TO_GPU_NODES has it.
 */
int rocm_buf_command(struct rocm_client *c, enum rocm_memory type,
		     const struct rocm_buf *buf);
/* It as what a queue may be in. */
struct rocm_reg rocm_buf_reg(const struct rocm_buf *buf);
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

/* An event of signals, and what is said about one. */
int rocm_event_create(struct rocm_client *c, uint32_t node, uint32_t *id);
int rocm_event_command(struct rocm_client *c, enum rocm_event type,
		       uint32_t id);

/* The command alone. */
int rocm_queue_command(struct rocm_client *c,
		       const struct rocm_queue_args *args,
		       struct rocm_rsp *rsp);

/*
 * What a queue of @size bytes at @ring wants, with both indices at @ptrs, 64
 * bits each; all of it must be in @reg, which is mapped to @node. Its blob_ids
 * are new, and that of the doorbells is set where there are none.
 */
struct rocm_queue_args rocm_queue_args(struct rocm_client *c, uint32_t node,
				       const struct rocm_reg *reg,
				       const void *ring, uint64_t size,
				       const void *ptrs);

/* The command, the queue's blob, and that of the doorbells where there is none. */
int rocm_queue_create(struct rocm_client *c, uint32_t node,
		      const struct rocm_reg *reg, void *ring, uint64_t size,
		      uint64_t *ptrs, struct rocm_queue *q);

/* The blob is closed, which is all that the clients do. */
int rocm_queue_close(struct rocm_client *c, struct rocm_queue *q);

/* The command, which they have and do not use. */
int rocm_queue_destroy(struct rocm_client *c, const struct rocm_queue *q);

/* UPDATE, of the percentage and with no ring: what is good is refused. */
int rocm_queue_update(struct rocm_client *c, const struct rocm_queue *q,
		      uint32_t percent);

/*
 * A packet that is done when all of @deps, GPU's addresses of signals, are 0,
 * and takes 1 from the signal at @completion then, if that is not 0. Nobody is
 * told yet. Returns -EAGAIN if the ring is full.
 */
int rocm_queue_barrier(struct rocm_queue *q, const uint64_t *deps,
		       unsigned int nr_deps, uint64_t completion);

/* The doorbell: all packets up to now are to be done. */
void rocm_queue_ring(struct rocm_queue *q);

/* How many packets are done. */
uint64_t rocm_queue_done(const struct rocm_queue *q);

/* A signal, which is ROCM_SIGNAL_SIZE bytes here. */
void rocm_signal_init(void *signal, int64_t value);
int64_t rocm_signal_value(const void *signal);

/* Until @signal is @value: 0, or -ETIME after @ms. */
int rocm_signal_wait(const void *signal, int64_t value, int ms);

/* The sim backend's extension: what the GPU itself would do with its memory. */
int rocm_gpu_fill(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		  uint64_t size, uint8_t value);
int rocm_gpu_checksum(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		      uint64_t size, uint64_t *sum);

/* The same sum, of memory here. */
uint64_t rocm_checksum(const void *addr, uint64_t size);

#endif /* TESTS_ROCM_CLIENT_H */
