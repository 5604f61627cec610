// SPDX-License-Identifier: MIT
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>

#include "rocm_client.h"
#include "rocm_transcript.h"

/* Pages of the protocol, and of the machines that have such GPUs. */
#define PAGE		4096ULL
#define RENDER_FIRST	128

/* An emulated machine takes its time; a hang is longer than this. */
#define TIMEOUT_MS	60000

const struct rocm_layout rocm_layouts[2] = {
	[ROCM_2025] = {
		.name = "2025",
		.shmem_pages = 25,
		.mem_size = 80,
		.mem_blob_id = 64,
		.mem_type = 72,
		.mem_res_id = 76,
		.mem_rsp_size = 24,
		.queue_rsp_size = 96,
		.blob_ioctl_size = 64,
	},
	[ROCM_2026] = {
		.name = "2026",
		.shmem_pages = 80,
		.mem_size = 312,
		.mem_blob_id = 296,
		.mem_type = 304,
		.mem_res_id = 308,
		.mem_rsp_size = 320,
		.queue_rsp_size = 168,
		.blob_ioctl_size = 72,
	},
};

void rocm_put32(void *at, uint32_t off, uint32_t value)
{
	value = htole32(value);
	memcpy((uint8_t *)at + off, &value, sizeof(value));
}

void rocm_put64(void *at, uint32_t off, uint64_t value)
{
	value = htole64(value);
	memcpy((uint8_t *)at + off, &value, sizeof(value));
}

uint32_t rocm_get32(const void *at, uint32_t off)
{
	uint32_t value;

	memcpy(&value, (const uint8_t *)at + off, sizeof(value));
	return le32toh(value);
}

uint64_t rocm_get64(const void *at, uint32_t off)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)at + off, sizeof(value));
	return le64toh(value);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Returns 0 or a negative errno. */
static int do_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret == -1 && errno == EINTR);

	return ret ? -errno : 0;
}

/*
 * The device
 */

static int check_capset(int fd)
{
	uint8_t capset[24] = { 0 };
	struct drm_virtgpu_get_caps caps = {
		.cap_set_id = ROCM_CAPSET,
		.addr = (uintptr_t)capset,
		.size = sizeof(capset),
	};
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps);

	if (ret)
		return ret;
	return rocm_get32(capset, 16) == ROCM_CONTEXT_TYPE ? 0 : -ENODEV;
}

static int find_device(struct rocm_client *c)
{
	int i;

	for (i = 0; i < ROCM_MAX_NODES; i++) {
		snprintf(c->node, sizeof(c->node), "/dev/dri/renderD%d",
			 RENDER_FIRST + i);
		c->fd = open(c->node, O_RDWR | O_CLOEXEC);
		if (c->fd < 0)
			continue;
		if (!check_capset(c->fd))
			return 0;
		close(c->fd);
	}
	c->fd = -1;
	return -ENODEV;
}

static int init_context(struct rocm_client *c)
{
	struct drm_virtgpu_context_set_param params[] = {
		{ VIRTGPU_CONTEXT_PARAM_CAPSET_ID, ROCM_CAPSET },
		{ VIRTGPU_CONTEXT_PARAM_NUM_RINGS, ROCM_NUM_RINGS },
	};
	struct drm_virtgpu_context_init init = {
		.num_params = 2,
		.ctx_set_params = (uintptr_t)params,
	};

	return do_ioctl(c->fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);
}

/* With the size that the clients' headers have, not that of ours. */
static int create_blob(struct rocm_client *c,
		       struct drm_virtgpu_resource_create_blob *blob)
{
	uint8_t arg[128] = { 0 };
	int ret;

	if (c->blob_ioctl_size > sizeof(arg))
		return -EINVAL;
	memcpy(arg, blob, sizeof(*blob));
	ret = do_ioctl(c->fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE,
				   DRM_COMMAND_BASE +
				   DRM_VIRTGPU_RESOURCE_CREATE_BLOB,
				   c->blob_ioctl_size), arg);
	memcpy(blob, arg, sizeof(*blob));
	return ret;
}

/* A blob of the host, mapped at @fixed or anywhere. */
static void *map_blob(struct rocm_client *c, uint64_t blob_id, uint64_t size,
		      void *fixed, uint32_t *bo_handle, uint32_t *res_id)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = blob_id,
		.size = size,
	};
	struct drm_virtgpu_map map = { 0 };
	void *addr;
	int ret;

	ret = create_blob(c, &blob);
	if (ret) {
		errno = -ret;
		return MAP_FAILED;
	}
	*bo_handle = blob.bo_handle;
	*res_id = blob.res_handle;

	map.handle = blob.bo_handle;
	ret = do_ioctl(c->fd, DRM_IOCTL_VIRTGPU_MAP, &map);
	if (!ret) {
		addr = mmap(fixed, size, PROT_READ | PROT_WRITE, MAP_SHARED |
			    (fixed ? MAP_FIXED : 0), c->fd, map.offset);
		ret = addr == MAP_FAILED ? -errno : 0;
	}
	if (ret) {
		rocm_gem_close(c, *bo_handle);
		errno = -ret;
		return MAP_FAILED;
	}
	return addr;
}

static int map_shmem(struct rocm_client *c)
{
	uint32_t bo_handle;
	void *shmem;

	c->shmem_size = c->layout->shmem_pages * PAGE;
	shmem = map_blob(c, 0, c->shmem_size, NULL, &bo_handle,
			 &c->shmem_res_id);
	if (shmem == MAP_FAILED)
		return -errno;
	c->shmem = shmem;

	c->rsp_base = rocm_get32(c->shmem, ROCM_RSP_MEM_OFFSET);
	if (c->rsp_base < ROCM_SHMEM_HEADER || c->rsp_base >= c->shmem_size)
		return -EPROTO;
	rocm_transcript_line(c->transcript, "shmem %u %u", c->shmem_res_id,
			     c->shmem_size);
	return 0;
}

int rocm_open(struct rocm_client *c, enum rocm_gen gen)
{
	int ret;

	*c = (struct rocm_client){
		.layout = &rocm_layouts[gen],
		.blob_ioctl_size = rocm_layouts[gen].blob_ioctl_size,
		.timeout_ms = TIMEOUT_MS,
		.fd = -1,
	};
	LIST_INIT(&c->regs);

	ret = find_device(c);
	if (ret)
		return ret;
	c->transcript = rocm_transcript_new(c->layout->name);
	ret = init_context(c);
	if (!ret)
		ret = map_shmem(c);
	if (ret)
		rocm_close(c);
	return ret;
}

void rocm_close(struct rocm_client *c)
{
	struct rocm_reg *reg;

	if (!c->layout)
		return;
	if (c->shmem)
		munmap(c->shmem, c->shmem_size);
	if (c->reserved)
		munmap((void *)(uintptr_t)c->vm_start, c->vm_size);
	else if (c->doorbells)
		munmap(c->doorbells, ROCM_DOORBELLS_SIZE);
	if (c->fd >= 0)
		close(c->fd);
	while ((reg = LIST_FIRST(&c->regs))) {
		LIST_REMOVE(reg, link);
		free(reg);
	}
	rocm_transcript_end(c->transcript);
	memset(c, 0, sizeof(*c));
}

void rocm_forget(const struct rocm_client *c)
{
	if (c->shmem)
		munmap(c->shmem, c->shmem_size);
	if (c->reserved)
		munmap((void *)(uintptr_t)c->vm_start, c->vm_size);
	else if (c->doorbells)
		munmap(c->doorbells, ROCM_DOORBELLS_SIZE);
	close(c->fd);
}

/*
 * Requests and their answers
 */

uint32_t rocm_rsp_area(const struct rocm_client *c)
{
	return c->shmem_size - c->rsp_base;
}

uint32_t rocm_alloc_rsp(struct rocm_client *c, uint32_t size)
{
	uint32_t off = c->rsp_next;

	/* Nothing tracks what is in use: one answer is waited for at a time. */
	size = (size + 7) & ~7U;
	if (off + size > rocm_rsp_area(c))
		off = 0;
	c->rsp_next = off + size;
	return off;
}

void *rocm_rsp_at(struct rocm_client *c, uint32_t rsp_off)
{
	return c->shmem + c->rsp_base + rsp_off;
}

static int wait_fence(struct rocm_client *c, int fence_fd)
{
	struct pollfd pfd = { .fd = fence_fd, .events = POLLIN };
	int64_t end = now_ms() + c->timeout_ms, left;
	int ret;

	do {
		left = end - now_ms();
		ret = poll(&pfd, 1, left > 0 ? left : 0);
	} while (ret < 0 && errno == EINTR);

	if (ret < 0)
		return -errno;
	return ret ? 0 : -ETIME;
}

/* The released clients do this without an end. */
static int wait_seqno(struct rocm_client *c, uint32_t seqno)
{
	const uint32_t *at = (const uint32_t *)(c->shmem + ROCM_SEQNO);
	int64_t end = now_ms() + c->timeout_ms;

	while ((int32_t)(le32toh(__atomic_load_n(at, __ATOMIC_ACQUIRE)) -
			 seqno) < 0) {
		if (now_ms() > end)
			return -ETIME;
		sched_yield();
	}
	return 0;
}

static int submit(struct rocm_client *c, const void *cmd, uint32_t size)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = VIRTGPU_EXECBUF_FENCE_FD_OUT |
			 VIRTGPU_EXECBUF_RING_IDX,
		.size = size,
		.command = (uintptr_t)cmd,
		.fence_fd = -1,
		.ring_idx = 0,
	};
	int ret = do_ioctl(c->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);

	if (ret)
		return ret;
	ret = wait_fence(c, exec.fence_fd);
	close(exec.fence_fd);
	return ret;
}

int rocm_exchange(struct rocm_client *c, const void *cmd, uint32_t size)
{
	bool header = size >= ROCM_REQ_HEADER, room = false;
	uint32_t off = 0, capacity = 0, len;
	int ret;

	if (header) {
		off = rocm_get32(cmd, ROCM_REQ_RSP_OFF);
		room = off <= rocm_rsp_area(c) - ROCM_RSP_HEADER;
	}
	if (room) {
		capacity = rocm_get32(rocm_rsp_at(c, off), ROCM_RSP_LEN);
		rocm_transcript_line(c->transcript, "room %u %u", off,
				     capacity);
	}
	rocm_transcript_req(c->transcript, cmd, size);

	ret = submit(c, cmd, size);
	if (!ret && header)
		ret = wait_seqno(c, rocm_get32(cmd, ROCM_REQ_SEQNO));

	if (ret || !room) {
		rocm_transcript_line(c->transcript, ret ? "late" : "none");
		return ret;
	}
	len = rocm_get32(rocm_rsp_at(c, off), ROCM_RSP_LEN);
	if (len > capacity)
		len = capacity;
	if (len > rocm_rsp_area(c) - off)
		len = rocm_rsp_area(c) - off;
	rocm_transcript_rsp(c->transcript, cmd, size, rocm_rsp_at(c, off), len);
	return 0;
}

static uint32_t rsp_size(const struct rocm_client *c, enum rocm_cmd cmd)
{
	switch (cmd) {
	case ROCM_QUERY:
		return ROCM_QUERY_RSP_SIZE;
	case ROCM_EVENT:
		return ROCM_EVENT_RSP_SIZE;
	case ROCM_MEMORY:
		return c->layout->mem_rsp_size;
	case ROCM_QUEUE:
		return c->layout->queue_rsp_size;
	default:
		return ROCM_RSP_HEADER;
	}
}

int rocm_call(struct rocm_client *c, enum rocm_cmd cmd, struct rocm_req *req,
	      struct rocm_rsp *rsp)
{
	uint32_t size = (req->size + 7) & ~7U, off;
	uint8_t *room;
	int ret;

	if (!rsp->capacity)
		rsp->capacity = rsp_size(c, cmd);
	if (size > sizeof(req->bytes) || size < ROCM_REQ_HEADER ||
	    rsp->capacity > sizeof(rsp->bytes) ||
	    rsp->capacity < ROCM_RSP_HEADER)
		return -EINVAL;

	off = rocm_alloc_rsp(c, rsp->capacity);
	room = rocm_rsp_at(c, off);
	memset(room, 0, rsp->capacity);
	rocm_put32(room, ROCM_RSP_LEN, rsp->capacity);

	rocm_put32(req->bytes, ROCM_REQ_CMD, cmd);
	rocm_put32(req->bytes, ROCM_REQ_LEN, size);
	rocm_put32(req->bytes, ROCM_REQ_SEQNO, ++c->seqno);
	rocm_put32(req->bytes, ROCM_REQ_RSP_OFF, off);

	if (req->host_va)
		rocm_transcript_uses(c->transcript, req->host_va,
				     rocm_get64(req->bytes, req->host_va));
	ret = rocm_exchange(c, req->bytes, size);
	if (ret)
		return ret;

	memcpy(rsp->bytes, room, rsp->capacity);
	/* Whether a cut answer tells what it has or would have is open. */
	rsp->len = rocm_get32(rsp->bytes, ROCM_RSP_LEN);
	if (rsp->len > rsp->capacity)
		rsp->len = rsp->capacity;
	if (rsp->len < ROCM_RSP_HEADER)
		return -EPROTO;
	ret = (int32_t)rocm_get32(rsp->bytes, ROCM_RSP_RET);
	return ret > 0 || ret < -4095 ? -EPROTO : ret;
}

/*
 * Queries
 */

int rocm_query(struct rocm_client *c, uint32_t type, uint64_t arg,
	       struct rocm_rsp *rsp)
{
	struct rocm_req req = { .size = ROCM_QUERY_SIZE };

	rocm_put32(req.bytes, ROCM_QUERY_TYPE, type);
	rocm_put64(req.bytes, ROCM_QUERY_ARGS, arg);
	return rocm_call(c, ROCM_QUERY, &req, rsp);
}

int rocm_query_list(struct rocm_client *c, uint32_t type, uint32_t node,
		    uint32_t count, uint32_t size, struct rocm_rsp *rsp)
{
	struct rocm_req req = { .size = ROCM_QUERY_SIZE };

	if (count > (sizeof(rsp->bytes) - ROCM_QUERY_RSP_SIZE) / size)
		return -EINVAL;
	rocm_put32(req.bytes, ROCM_QUERY_TYPE, type);
	rocm_put32(req.bytes, ROCM_QUERY_NODE, node);
	rocm_put32(req.bytes, type == ROCM_QUERY_NODE_CACHE_PROP ?
		   ROCM_QUERY_CACHES : ROCM_QUERY_COUNT, count);
	rsp->capacity = (ROCM_QUERY_RSP_SIZE + count * size + 7) & ~7U;
	return rocm_call(c, ROCM_QUERY, &req, rsp);
}

int rocm_open_kfd(struct rocm_client *c)
{
	struct rocm_rsp rsp = { 0 };
	void *heap = malloc(1);
	int ret;

	ret = rocm_query(c, ROCM_QUERY_OPEN_KFD, (uintptr_t)heap, &rsp);
	free(heap);
	if (ret)
		return ret;
	c->vm_start = rocm_get64(rsp.bytes, 8);
	c->vm_size = rocm_get64(rsp.bytes, 16);
	rocm_transcript_know(c->transcript, c->seqno, 8, c->vm_start,
			     c->vm_size);
	return rsp.len < 24 || !c->vm_start || !c->vm_size ? -EPROTO : 0;
}

int rocm_reserve(struct rocm_client *c)
{
	/* The clients take it whatever is there; -EEXIST: something is. */
	void *addr = mmap((void *)(uintptr_t)c->vm_start, c->vm_size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			  MAP_FIXED_NOREPLACE, -1, 0);

	if (addr == MAP_FAILED)
		return -errno;
	c->reserved = true;
	return 0;
}

int rocm_start(struct rocm_client *c, enum rocm_gen gen)
{
	int ret = rocm_open(c, gen);

	if (ret)
		return ret;
	ret = rocm_open_kfd(c);
	if (!ret)
		ret = rocm_reserve(c);
	if (ret)
		rocm_close(c);
	return ret;
}

/*
 * HsaSystemProperties starts with NumNodes, HsaNodeProperties with NumCPUCores
 * and NumFComputeCores, of 32 bits each, in all releases.
 */
int rocm_gpu_node(struct rocm_client *c, uint32_t *node)
{
	struct rocm_rsp rsp = { 0 };
	uint32_t i, nr;
	int ret;

	ret = rocm_query(c, ROCM_QUERY_GET_SYS_PROP, 0, &rsp);
	if (ret)
		return ret;
	nr = rocm_get32(rsp.bytes, ROCM_QUERY_RSP_UNION);
	for (i = 0; i < nr && i < 64; i++) {
		rsp.capacity = 0;
		ret = rocm_query(c, ROCM_QUERY_GET_NODE_PROP, i, &rsp);
		if (ret)
			return ret;
		if (rocm_get32(rsp.bytes, ROCM_QUERY_RSP_UNION + 4)) {
			*node = i;
			return 0;
		}
	}
	return -ENODEV;
}

/*
 * Memory
 */

void rocm_memory_req(struct rocm_client *c, struct rocm_req *req,
		     enum rocm_memory type, uint32_t res_id)
{
	memset(req, 0, sizeof(*req));
	req->size = c->layout->mem_size;
	rocm_put32(req->bytes, c->layout->mem_type, type);
	rocm_put32(req->bytes, c->layout->mem_res_id, res_id);
}

int rocm_memory(struct rocm_client *c, struct rocm_req *req,
		struct rocm_rsp *rsp)
{
	memset(rsp, 0, sizeof(*rsp));
	return rocm_call(c, ROCM_MEMORY, req, rsp);
}

int rocm_gem_close(struct rocm_client *c, uint32_t bo_handle)
{
	struct drm_gem_close args = { .handle = bo_handle };

	return do_ioctl(c->fd, DRM_IOCTL_GEM_CLOSE, &args);
}

static int close_resource(struct rocm_client *c, uint32_t bo_handle,
			  uint32_t res_id)
{
	rocm_transcript_line(c->transcript, "close %u", res_id);
	return rocm_gem_close(c, bo_handle);
}

int rocm_alloc(struct rocm_client *c, uint32_t node, uint32_t flags,
	       uint64_t size, struct rocm_buf *buf)
{
	struct rocm_req req;
	struct rocm_rsp rsp;
	void *addr;
	int ret;

	*buf = (struct rocm_buf){ .size = size };
	rocm_memory_req(c, &req, ROCM_MEMORY_ALLOC, 0);
	rocm_put32(req.bytes, ROCM_ALLOC_NODE, node);
	rocm_put32(req.bytes, ROCM_ALLOC_FLAGS, flags);
	rocm_put64(req.bytes, ROCM_ALLOC_BYTES, size);
	rocm_put64(req.bytes, c->layout->mem_blob_id, ++c->blob_id);
	ret = rocm_memory(c, &req, &rsp);
	if (ret)
		return ret;
	buf->handle = rocm_get64(rsp.bytes, ROCM_MEM_RSP_HANDLE);
	rocm_transcript_know(c->transcript, c->seqno, ROCM_MEM_RSP_HANDLE,
			     buf->handle, size);
	if (buf->handle < c->vm_start || size > c->vm_size ||
	    buf->handle - c->vm_start > c->vm_size - size)
		return -EPROTO;
	if (!(flags & ROCM_FLAG_HOST_ACCESS))
		return 0;

	addr = map_blob(c, c->blob_id, size,
			c->reserved ? (void *)(uintptr_t)buf->handle : NULL,
			&buf->bo_handle, &buf->res_id);
	if (addr == MAP_FAILED)
		return -errno;
	buf->addr = addr;
	rocm_transcript_line(c->transcript, "blob %u %llu %llu", buf->res_id,
			     (unsigned long long)size,
			     (unsigned long long)c->blob_id);
	return 0;
}

int rocm_buf_command(struct rocm_client *c, enum rocm_memory type,
		     const struct rocm_buf *buf)
{
	struct rocm_req req;
	struct rocm_rsp rsp;

	rocm_memory_req(c, &req, type, buf->res_id);
	rocm_put64(req.bytes, ROCM_MAP_VA, buf->handle);
	rocm_put64(req.bytes, ROCM_MAP_BYTES, buf->size);
	req.host_va = ROCM_MAP_VA;
	return rocm_memory(c, &req, &rsp);
}

int rocm_free(struct rocm_client *c, struct rocm_buf *buf)
{
	int ret = rocm_buf_command(c, ROCM_MEMORY_FREE, buf), err = 0;

	if (buf->bo_handle) {
		/* The range stays taken. */
		if (c->reserved &&
		    mmap(buf->addr, buf->size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			 MAP_FIXED, -1, 0) == MAP_FAILED)
			return -errno;
		if (!c->reserved)
			munmap(buf->addr, buf->size);
		err = close_resource(c, buf->bo_handle, buf->res_id);
	}
	return ret ? ret : err;
}

struct rocm_reg rocm_buf_reg(const struct rocm_buf *buf)
{
	return (struct rocm_reg){
		.base = (uintptr_t)buf->addr,
		.size = buf->size,
		.bo_handle = buf->bo_handle,
		.res_id = buf->res_id,
		.handle = buf->handle,
		.gpu_va = buf->handle,
	};
}

int rocm_avail(struct rocm_client *c, uint32_t node, uint64_t *avail)
{
	struct rocm_req req;
	struct rocm_rsp rsp;
	int ret;

	rocm_memory_req(c, &req, ROCM_MEMORY_AVAIL, 0);
	rocm_put32(req.bytes, ROCM_ALLOC_NODE, node);
	ret = rocm_memory(c, &req, &rsp);
	*avail = rocm_get64(rsp.bytes, ROCM_MEM_RSP_HANDLE);
	return ret;
}

int rocm_create_userptr(struct rocm_client *c, struct rocm_reg *reg,
			uint32_t blob_flags)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST,
		.blob_flags = blob_flags,
		.size = reg->size,
		.blob_id = ++c->blob_id,
		.userptr = reg->base,
	};
	struct drm_virtgpu_resource_info info = { 0 };
	int ret;

	ret = create_blob(c, &blob);
	if (ret)
		return ret;
	reg->bo_handle = blob.bo_handle;

	info.bo_handle = blob.bo_handle;
	ret = do_ioctl(c->fd, DRM_IOCTL_VIRTGPU_RESOURCE_INFO, &info);
	if (!ret && info.res_handle != blob.res_handle)
		ret = -EPROTO;
	if (ret) {
		rocm_gem_close(c, reg->bo_handle);
		return ret;
	}
	reg->res_id = info.res_handle;
	rocm_transcript_line(c->transcript, "userptr %u %llu %x", reg->res_id,
			     (unsigned long long)reg->size, blob_flags);
	return 0;
}

int rocm_map_userptr(struct rocm_client *c, struct rocm_reg *reg)
{
	struct rocm_req req;
	struct rocm_rsp rsp;
	int ret;

	rocm_memory_req(c, &req, ROCM_MEMORY_MAP_USERPTR, reg->res_id);
	ret = rocm_memory(c, &req, &rsp);
	if (ret)
		return ret;
	reg->handle = rocm_get64(rsp.bytes, ROCM_MEM_RSP_HANDLE);
	reg->npfns = rocm_get32(rsp.bytes, ROCM_MEM_RSP_NPFNS);
	rocm_transcript_know(c->transcript, c->seqno, ROCM_MEM_RSP_HANDLE,
			     reg->handle, reg->size);
	/* To the clients this is a failure, whatever ret says. */
	return reg->handle ? 0 : -EIO;
}

int rocm_reg_mem(struct rocm_client *c, const struct rocm_reg *reg,
		 uint64_t va, uint64_t size)
{
	struct rocm_req req;
	struct rocm_rsp rsp;

	rocm_memory_req(c, &req, ROCM_MEMORY_REG_MEM_WITH_FLAG, reg->res_id);
	rocm_put64(req.bytes, ROCM_REG_VA, va);
	rocm_put64(req.bytes, ROCM_REG_BYTES, size);
	rocm_put32(req.bytes, ROCM_REG_FLAGS, ROCM_FLAG_HOST_ACCESS);
	/* Recorded as the host's address only if it is one. */
	if (va - reg->handle < reg->size)
		req.host_va = ROCM_REG_VA;
	return rocm_memory(c, &req, &rsp);
}

int rocm_register(struct rocm_client *c, const void *addr, uint64_t size,
		  uint32_t blob_flags, struct rocm_reg **out)
{
	uintptr_t start = (uintptr_t)addr, base = start & ~(PAGE - 1);
	uint64_t end = (start + size + PAGE - 1) & ~(PAGE - 1);
	struct rocm_reg *reg;
	int ret;

	if (!size || start + size < start || end < start)
		return -EINVAL;
	/* What the host gave is no user memory. */
	if (start + size > c->vm_start && start < c->vm_start + c->vm_size)
		return -EINVAL;

	LIST_FOREACH(reg, &c->regs, link) {
		if (base < reg->base || end > reg->base + reg->size)
			continue;
		reg->count++;
		*out = reg;
		return 0;
	}

	reg = calloc(1, sizeof(*reg));
	if (!reg)
		return -ENOMEM;
	reg->base = base;
	reg->size = end - base;
	reg->count = 1;
	ret = rocm_create_userptr(c, reg, VIRTGPU_BLOB_FLAG_USE_USERPTR |
				  blob_flags);
	if (ret) {
		free(reg);
		return ret;
	}
	ret = rocm_map_userptr(c, reg);
	if (!ret)
		ret = rocm_reg_mem(c, reg, reg->handle, size);
	if (ret) {
		close_resource(c, reg->bo_handle, reg->res_id);
		free(reg);
		return ret;
	}
	LIST_INSERT_HEAD(&c->regs, reg, link);
	*out = reg;
	return 0;
}

int rocm_deregister(struct rocm_client *c, struct rocm_reg *reg)
{
	int ret;

	if (--reg->count)
		return 0;
	/* No DEREG: this has to do. */
	ret = close_resource(c, reg->bo_handle, reg->res_id);
	LIST_REMOVE(reg, link);
	free(reg);
	return ret;
}

int rocm_map(struct rocm_client *c, struct rocm_reg *reg,
	     const uint32_t *nodes, uint32_t nr_nodes)
{
	struct rocm_req req;
	struct rocm_rsp rsp;
	uint32_t i;
	int ret;

	rocm_memory_req(c, &req, ROCM_MEMORY_MAP_TO_GPU_NODES, reg->res_id);
	if (nr_nodes > (sizeof(req.bytes) - req.size) / 4)
		return -EINVAL;
	rocm_put64(req.bytes, ROCM_MAP_VA, reg->handle);
	rocm_put64(req.bytes, ROCM_MAP_BYTES, reg->size);
	rocm_put64(req.bytes, ROCM_MAP_NR_NODES, nr_nodes);
	for (i = 0; i < nr_nodes; i++) {
		rocm_put32(req.bytes, req.size, nodes[i]);
		req.size += 4;
	}
	req.host_va = ROCM_MAP_VA;
	ret = rocm_memory(c, &req, &rsp);
	if (ret)
		return ret;

	/* Where there is none, the handle is the address. */
	reg->gpu_va = rocm_get64(rsp.bytes, ROCM_MEM_RSP_HANDLE);
	if (reg->gpu_va)
		rocm_transcript_know(c->transcript, c->seqno,
				     ROCM_MEM_RSP_HANDLE, reg->gpu_va,
				     reg->size);
	else
		reg->gpu_va = reg->handle;
	return 0;
}

int rocm_unmap(struct rocm_client *c, struct rocm_reg *reg)
{
	(void)c;
	reg->gpu_va = 0;
	return 0;
}

uint64_t rocm_gpu_va(const struct rocm_reg *reg, const void *addr)
{
	return reg->gpu_va + ((uintptr_t)addr - reg->base);
}

/*
 * Events and queues
 */

int rocm_event(struct rocm_client *c, uint32_t type, uint64_t id,
	       struct rocm_rsp *rsp)
{
	struct rocm_req req = { .size = ROCM_EVENT_SIZE };
	uint32_t off;

	for (off = ROCM_EVENT_UNION; off < ROCM_EVENT_TYPE; off += 8)
		rocm_put64(req.bytes, off, id);
	rocm_put32(req.bytes, ROCM_EVENT_TYPE, type);
	return rocm_call(c, ROCM_EVENT, &req, rsp);
}

int rocm_queue(struct rocm_client *c, uint32_t type, uint64_t id,
	       struct rocm_rsp *rsp)
{
	struct rocm_req req = { .size = ROCM_QUEUE_SIZE };

	rocm_put32(req.bytes, ROCM_QUEUE_TYPE, type);
	rocm_put32(req.bytes, ROCM_QUEUE_PERCENT, 100);
	rocm_put64(req.bytes, ROCM_QUEUE_ADDRESS, id);
	rocm_put64(req.bytes, ROCM_QUEUE_BYTES, PAGE);
	rocm_put64(req.bytes, ROCM_QUEUE_EVENT, id);
	rocm_put64(req.bytes, ROCM_QUEUE_RESOURCE, id);
	rocm_put64(req.bytes, ROCM_QUEUE_WPTR, id);
	rocm_put64(req.bytes, ROCM_QUEUE_RPTR, id);
	return rocm_call(c, ROCM_QUEUE, &req, rsp);
}

int rocm_event_create(struct rocm_client *c, uint32_t node, uint32_t *id)
{
	struct rocm_req req = { .size = ROCM_EVENT_SIZE };
	struct rocm_rsp rsp = { 0 };
	int ret;

	rocm_put32(req.bytes, ROCM_EVENT_CREATE_TYPE, 0);
	rocm_put32(req.bytes, ROCM_EVENT_CREATE_NODE, node);
	rocm_put32(req.bytes, ROCM_EVENT_TYPE, ROCM_EVENT_CREATE);
	rocm_put64(req.bytes, ROCM_EVENT_BLOB_ID, ++c->blob_id);
	ret = rocm_call(c, ROCM_EVENT, &req, &rsp);
	*id = rocm_get32(rsp.bytes, ROCM_EVENT_RSP_ID);
	if (!ret)
		rocm_transcript_know(c->transcript, c->seqno,
				     ROCM_EVENT_RSP_ID, *id, 1);
	return ret;
}

int rocm_event_command(struct rocm_client *c, enum rocm_event type,
		       uint32_t id)
{
	struct rocm_req req = {
		.size = ROCM_EVENT_SIZE,
		.host_va = ROCM_EVENT_ID,
	};
	struct rocm_rsp rsp = { 0 };

	rocm_put32(req.bytes, ROCM_EVENT_ID, id);
	rocm_put32(req.bytes, ROCM_EVENT_TYPE, type);
	return rocm_call(c, ROCM_EVENT, &req, &rsp);
}

int rocm_queue_command(struct rocm_client *c,
		       const struct rocm_queue_args *args,
		       struct rocm_rsp *rsp)
{
	struct rocm_req req = { .size = ROCM_QUEUE_SIZE };

	rocm_put32(req.bytes, ROCM_QUEUE_TYPE, ROCM_QUEUE_CREATE);
	rocm_put32(req.bytes, ROCM_QUEUE_NODE, args->node);
	rocm_put32(req.bytes, ROCM_QUEUE_QTYPE, args->type);
	rocm_put32(req.bytes, ROCM_QUEUE_PERCENT, args->percent);
	rocm_put64(req.bytes, ROCM_QUEUE_PRIORITY, args->priority);
	rocm_put64(req.bytes, ROCM_QUEUE_ADDRESS, args->ring);
	rocm_put64(req.bytes, ROCM_QUEUE_BYTES, args->size);
	rocm_put64(req.bytes, ROCM_QUEUE_WPTR, args->wptr);
	rocm_put64(req.bytes, ROCM_QUEUE_RPTR, args->rptr);
	rocm_put64(req.bytes, ROCM_QUEUE_BLOB_ID, args->blob_id);
	rocm_put64(req.bytes, ROCM_QUEUE_DOORBELL, args->doorbells_blob_id);
	rocm_put32(req.bytes, ROCM_QUEUE_RES_ID, args->ptr_res_id);
	rocm_put32(req.bytes, ROCM_QUEUE_MEM_RES, args->ring_res_id);
	rsp->capacity = 0;
	rocm_transcript_uses(c->transcript, ROCM_QUEUE_ADDRESS, args->ring);
	rocm_transcript_uses(c->transcript, ROCM_QUEUE_WPTR, args->wptr);
	rocm_transcript_uses(c->transcript, ROCM_QUEUE_RPTR, args->rptr);
	return rocm_call(c, ROCM_QUEUE, &req, rsp);
}

struct rocm_queue_args rocm_queue_args(struct rocm_client *c, uint32_t node,
				       const struct rocm_reg *reg,
				       const void *ring, uint64_t size,
				       const void *ptrs)
{
	return (struct rocm_queue_args){
		.node = node,
		.type = ROCM_QUEUE_COMPUTE_AQL,
		.percent = 100,
		.ring = rocm_gpu_va(reg, ring),
		.size = size,
		.wptr = rocm_gpu_va(reg, ptrs),
		.rptr = rocm_gpu_va(reg, ptrs) + 8,
		.ring_res_id = reg->res_id,
		.ptr_res_id = reg->res_id,
		.blob_id = ++c->blob_id,
		.doorbells_blob_id = c->doorbells ? 0 : ++c->blob_id,
	};
}

/* Where the clients have it: at the address that the host has, too. */
static int map_doorbells(struct rocm_client *c, uint64_t blob_id, uint64_t va)
{
	uint32_t bo_handle;
	void *addr;

	if (va < c->vm_start || va % PAGE ||
	    va - c->vm_start > c->vm_size - ROCM_DOORBELLS_SIZE)
		return -EPROTO;
	/* Without a range of its own the client is beside one that has it. */
	addr = map_blob(c, blob_id, ROCM_DOORBELLS_SIZE,
			c->reserved ? (void *)(uintptr_t)va : NULL, &bo_handle,
			&c->doorbells_res_id);
	if (addr == MAP_FAILED)
		return -errno;
	c->doorbells = addr;
	rocm_transcript_line(c->transcript, "blob %u %u %llu",
			     c->doorbells_res_id, ROCM_DOORBELLS_SIZE,
			     (unsigned long long)blob_id);
	return 0;
}

int rocm_queue_create(struct rocm_client *c, uint32_t node,
		      const struct rocm_reg *reg, void *ring, uint64_t size,
		      uint64_t *ptrs, struct rocm_queue *q)
{
	struct rocm_queue_args args = rocm_queue_args(c, node, reg, ring, size,
						      ptrs);
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_id = args.blob_id,
		.size = args.size,
	};
	struct rocm_rsp rsp;
	uint64_t offset;
	int ret;

	ret = rocm_queue_command(c, &args, &rsp);
	if (ret)
		return ret;
	*q = (struct rocm_queue){
		.ring = ring,
		.nr_packets = size / ROCM_AQL_SIZE,
		.wptr = &ptrs[0],
		.rptr = &ptrs[1],
		.id = rocm_get64(rsp.bytes, ROCM_QUEUE_RSP_ID),
		.c = c,
		.mem_base = reg->base,
		.mem_res_id = reg->res_id,
	};
	offset = rocm_get64(rsp.bytes, ROCM_QUEUE_RSP_OFFSET);
	if (!q->id || offset % 8 || offset > ROCM_DOORBELLS_SIZE - 8)
		return -EPROTO;

	ret = create_blob(c, &blob);
	if (ret)
		return ret;
	q->bo_handle = blob.bo_handle;
	q->res_id = blob.res_handle;
	rocm_transcript_line(c->transcript, "blob %u %llu %llu", q->res_id,
			     (unsigned long long)args.size,
			     (unsigned long long)args.blob_id);
	if (!c->doorbells)
		ret = map_doorbells(c, args.doorbells_blob_id,
				    rocm_get64(rsp.bytes,
					       ROCM_QUEUE_RSP_DOORBELL) -
				    offset);
	if (ret) {
		rocm_gem_close(c, q->bo_handle);
		return ret;
	}
	q->doorbell = (uint64_t *)(c->doorbells + offset);
	return 0;
}

int rocm_queue_close(struct rocm_client *c, struct rocm_queue *q)
{
	return close_resource(c, q->bo_handle, q->res_id);
}

int rocm_queue_destroy(struct rocm_client *c, const struct rocm_queue *q)
{
	struct rocm_req req = { .size = ROCM_QUEUE_SIZE };
	struct rocm_rsp rsp = { 0 };

	rocm_put32(req.bytes, ROCM_QUEUE_TYPE, ROCM_QUEUE_DESTROY);
	rocm_put64(req.bytes, ROCM_QUEUE_ID, q->id);
	rocm_put32(req.bytes, ROCM_QUEUE_RES_ID, q->res_id);
	return rocm_call(c, ROCM_QUEUE, &req, &rsp);
}

int rocm_queue_update(struct rocm_client *c, const struct rocm_queue *q,
		      uint32_t percent)
{
	struct rocm_req req = { .size = ROCM_QUEUE_SIZE };
	struct rocm_rsp rsp = { 0 };

	rocm_put32(req.bytes, ROCM_QUEUE_TYPE, ROCM_QUEUE_UPDATE);
	rocm_put32(req.bytes, ROCM_QUEUE_NEW_PERCENT, percent);
	rocm_put32(req.bytes, ROCM_QUEUE_RES_ID, q->res_id);
	return rocm_call(c, ROCM_QUEUE, &req, &rsp);
}

/* Of 64 bits that the GPU reads or writes as well. */
static uint64_t load(const void *at)
{
	return le64toh(__atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE));
}

static void store(void *at, uint64_t value)
{
	__atomic_store_n((uint64_t *)at, htole64(value), __ATOMIC_RELEASE);
}

int rocm_queue_barrier(struct rocm_queue *q, const uint64_t *deps,
		       unsigned int nr_deps, uint64_t completion)
{
	struct rocm_transcript *t = q->c->transcript;
	uint64_t index = load(q->wptr);
	uint8_t *packet, said[ROCM_AQL_SIZE];
	unsigned int i;
	uint64_t header;

	if (nr_deps > ROCM_AQL_NR_DEPS)
		return -EINVAL;
	if (index - load(q->rptr) >= q->nr_packets)
		return -EAGAIN;
	packet = q->ring + index % q->nr_packets * ROCM_AQL_SIZE;
	memset(packet + 8, 0, ROCM_AQL_SIZE - 8);
	for (i = 0; i < nr_deps; i++) {
		rocm_put64(packet, ROCM_AQL_DEP_SIGNAL + 8 * i, deps[i]);
		rocm_transcript_uses(t, ROCM_AQL_DEP_SIGNAL + 8 * i, deps[i]);
	}
	rocm_put64(packet, ROCM_AQL_COMPLETION, completion);
	rocm_transcript_uses(t, ROCM_AQL_COMPLETION, completion);
	/* The header is what makes it a packet. */
	header = ROCM_AQL_BARRIER_AND | ROCM_AQL_BARRIER |
		 ROCM_AQL_SYSTEM_FENCES;
	memcpy(said, packet, sizeof(said));
	rocm_put64(said, 0, header);
	rocm_transcript_memory(t, q->mem_res_id,
			       (uintptr_t)packet - q->mem_base, said,
			       sizeof(said));
	store(packet, header);
	store(q->wptr, index + 1);
	rocm_put64(said, 0, index + 1);
	rocm_transcript_memory(t, q->mem_res_id,
			       (uintptr_t)q->wptr - q->mem_base, said, 8);
	return 0;
}

/* By the index of the last packet, as HSA has it. */
void rocm_queue_ring(struct rocm_queue *q)
{
	uint64_t last = load(q->wptr) - 1;

	rocm_transcript_line(q->c->transcript, "doorbell %u %u %llu",
			     q->c->doorbells_res_id,
			     (unsigned int)((uint8_t *)q->doorbell -
					    q->c->doorbells),
			     (unsigned long long)last);
	store(q->doorbell, last);
}

uint64_t rocm_queue_done(const struct rocm_queue *q)
{
	return load(q->rptr);
}

void rocm_signal_init(void *signal, int64_t value)
{
	memset(signal, 0, ROCM_SIGNAL_SIZE);
	rocm_put64(signal, ROCM_SIGNAL_KIND, ROCM_SIGNAL_USER);
	store((uint8_t *)signal + ROCM_SIGNAL_VALUE, value);
}

int64_t rocm_signal_value(const void *signal)
{
	return load((const uint8_t *)signal + ROCM_SIGNAL_VALUE);
}

int rocm_signal_wait(const void *signal, int64_t value, int ms)
{
	int64_t end = now_ms() + ms;

	while (rocm_signal_value(signal) != value) {
		if (now_ms() > end)
			return -ETIME;
		sched_yield();
	}
	return 0;
}

/*
 * The GPU's side
 */

/*
 * The sim backend's extension, as virtio_gpu_rocm.h has it: no client of AMD's
 * knows it. A fill stores the lowest byte of @value, a checksum is that of
 * rocm_checksum().
 */
static int sim_access(struct rocm_client *c, uint32_t op, uint32_t node,
		      uint64_t gpu_va, uint64_t size, uint64_t value,
		      uint64_t *result)
{
	struct rocm_req req = { .size = 48, .host_va = 24 };
	struct rocm_rsp rsp = { .capacity = 16 };
	int ret;

	rocm_put32(req.bytes, 16, op);
	rocm_put32(req.bytes, 20, node);
	rocm_put64(req.bytes, 24, gpu_va);
	rocm_put64(req.bytes, 32, size);
	rocm_put64(req.bytes, 40, value);
	ret = rocm_call(c, ROCM_SIM_ACCESS, &req, &rsp);
	if (!ret && rsp.len < 16)
		ret = -EPROTO;
	if (result)
		*result = rocm_get64(rsp.bytes, 8);
	return ret;
}

int rocm_gpu_fill(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		  uint64_t size, uint8_t value)
{
	return sim_access(c, ROCM_SIM_FILL, node, gpu_va, size, value, NULL);
}

int rocm_gpu_checksum(struct rocm_client *c, uint32_t node, uint64_t gpu_va,
		      uint64_t size, uint64_t *sum)
{
	return sim_access(c, ROCM_SIM_CHECKSUM, node, gpu_va, size, 0, sum);
}

/* Of each byte, and of where it stands. */
uint64_t rocm_checksum(const void *addr, uint64_t size)
{
	const uint8_t *bytes = addr;
	uint64_t sum = 0, i;

	for (i = 0; i < size; i++)
		sum += (i + 1) * bytes[i];
	return sum;
}
