/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The least of a COMPUTE context: kernels that write and read the memory of a
 * test, and such that keep the context's worker busy, or kill it. The worker
 * answers in order, so a registration behind a running kernel waits for as long
 * as a test wants.
 */
#ifndef __SELFTEST_VIRTGPU_COMPUTE_H
#define __SELFTEST_VIRTGPU_COMPUTE_H

#include <poll.h>
#include <stddef.h>

#include <linux/virtio_gpu_compute.h>

#include "virtgpu_utils.h"

#define COMPUTE_SHMEM_SIZE	(64 * 1024)
#define COMPUTE_PROGRAM		1
#define COMPUTE_MAX_ARGS	2

struct compute {
	int fd;
	struct virtio_gpu_compute_shmem *shmem;
	__u32 shmem_handle;
	__u32 seqno;
	__u32 rsp_off;	/* where the next response goes */

	/* A page of ours that the kernels see. */
	__u32 *flag;
	__u32 flag_handle;
	__u32 flag_res;
	bool list_flag;		/* name it as used by each submission */
};

/*
 * spin: *flag becomes 1, and then the kernel spins until we make it 2.
 * crash: writes where nothing is mapped.
 * fill: does what fill() of virtgpu_utils.h does.
 */
static const char compute_source[] =
	"kernel void spin(global volatile uint *flag)\n"
	"{\n"
	"	*flag = 1;\n"
	"	while (*flag == 1)\n"
	"		;\n"
	"}\n"
	"kernel void crash(global volatile uint *flag)\n"
	"{\n"
	"	flag[1UL << 45] = 1;\n"
	"}\n"
	"kernel void fill(global ulong *words)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	words[i] = i * 0x9e3779b97f4a7c15UL;\n"
	"}\n"
	"kernel void copy(global ulong *to, global const ulong *from)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	to[i] = from[i];\n"
	"}\n";

struct compute_launch {
	struct virtio_gpu_compute_launch req;
	struct virtio_gpu_compute_arg args[COMPUTE_MAX_ARGS];
};

/* @fence, if not NULL, becomes readable when all is answered, or never will be. */
static inline int compute_submit(struct compute *c, void *req, __u32 size,
				 int *fence)
{
	struct drm_virtgpu_execbuffer cmd = {
		.flags = VIRTGPU_EXECBUF_RING_IDX,
		.size = size,
		.command = (uintptr_t)req,
	};
	int ret;

	if (c->list_flag) {
		cmd.bo_handles = (uintptr_t)&c->flag_handle;
		cmd.num_bo_handles = 1;
	}
	if (fence)
		cmd.flags |= VIRTGPU_EXECBUF_FENCE_FD_OUT;
	ret = virtgpu_ioctl(c->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &cmd);
	if (fence)
		*fence = cmd.fence_fd;
	return ret;
}

/* Fills in the header and makes room for a response of @room bytes. */
static inline struct virtio_gpu_compute_rsp *
compute_header(struct compute *c, struct virtio_gpu_compute_req *hdr,
	       __u32 cmd, __u32 len, __u32 room)
{
	struct virtio_gpu_compute_rsp *rsp;

	hdr->cmd = cmd;
	hdr->len = len;
	hdr->seqno = ++c->seqno;
	hdr->rsp_off = c->rsp_off;
	rsp = (void *)((char *)c->shmem + c->rsp_off);
	rsp->len = room;
	rsp->ret = 0;
	c->rsp_off += (room + 7) & ~7;
	return rsp;
}

/* Submits one request and waits; -EIO if the context is lost meanwhile. */
static inline int compute_execute(struct compute *c, void *req, __u32 size,
				  struct virtio_gpu_compute_rsp *rsp)
{
	struct pollfd fence = { .events = POLLIN };
	int ret;

	ret = compute_submit(c, req, size, &fence.fd);
	if (ret)
		return ret;
	ret = poll(&fence, 1, SETTLE_MS);
	close(fence.fd);
	if (ret != 1)
		return -ETIMEDOUT;
	if (__atomic_load_n(&c->shmem->seqno, __ATOMIC_ACQUIRE) != c->seqno)
		return -EIO;
	return (__s32)rsp->ret;
}

static inline int compute_build(struct compute *c)
{
	struct virtio_gpu_compute_rsp *rsp;
	union {
		struct virtio_gpu_compute_build req;
		char room[sizeof(struct virtio_gpu_compute_build) +
			  ((sizeof(compute_source) + 6) & ~7)];
	} cmd = {};

	rsp = compute_header(c, &cmd.req.hdr, VIRTIO_GPU_COMPUTE_BUILD,
			     sizeof(cmd),
			     sizeof(struct virtio_gpu_compute_build_rsp));
	cmd.req.program_id = COMPUTE_PROGRAM;
	cmd.req.source_len = strlen(compute_source);
	memcpy(cmd.req.data, compute_source, strlen(compute_source));
	return compute_execute(c, &cmd, sizeof(cmd), rsp);
}

/* Prepares @items work-items of @kernel, whose arguments are in @cmd->args. */
static inline struct virtio_gpu_compute_rsp *
compute_prepare(struct compute *c, struct compute_launch *cmd,
		const char *kernel, __u64 items, __u32 nr_args)
{
	__u32 i;

	cmd->req.program_id = COMPUTE_PROGRAM;
	cmd->req.work_dim = 1;
	cmd->req.nr_args = nr_args;
	cmd->req.global[0] = items;
	cmd->req.global[1] = 1;
	cmd->req.global[2] = 1;
	memcpy(cmd->req.kernel, kernel, strlen(kernel));
	for (i = 0; i < nr_args; i++)
		cmd->args[i].type = VIRTIO_GPU_COMPUTE_ARG_RESOURCE;
	return compute_header(c, &cmd->req.hdr, VIRTIO_GPU_COMPUTE_LAUNCH,
			      offsetof(struct compute_launch, args[nr_args]),
			      sizeof(struct virtio_gpu_compute_launch_rsp));
}

/* Starts @kernel on the flag and does not wait for it. */
static inline int compute_start(struct compute *c, const char *kernel)
{
	struct compute_launch cmd = { .args[0].res_id = c->flag_res };

	compute_prepare(c, &cmd, kernel, 1, 1);
	return compute_submit(c, &cmd, cmd.req.hdr.len, NULL);
}

/* Runs @kernel over @size bytes and waits for its end. */
static inline int compute_run(struct compute *c, struct compute_launch *cmd,
			      const char *kernel, __u64 size,
			      __u32 nr_args)
{
	struct virtio_gpu_compute_rsp *rsp;

	rsp = compute_prepare(c, cmd, kernel, size / sizeof(__u64), nr_args);
	return compute_execute(c, cmd, cmd->req.hdr.len, rsp);
}

/* The device does what fill() does, from @offset into resource @res on. */
static inline int compute_fill(struct compute *c, __u32 res, __u64 offset,
			       __u64 size)
{
	struct compute_launch cmd = {
		.args[0] = { .res_id = res, .offset = offset, .size = size },
	};

	return compute_run(c, &cmd, "fill", size, 1);
}

/* The device copies the first @size bytes of one resource to another. */
static inline int compute_copy(struct compute *c, __u32 to, __u32 from,
			       __u64 size)
{
	struct compute_launch cmd = {
		.args[0] = { .res_id = to, .size = size },
		.args[1] = { .res_id = from, .size = size },
	};

	return compute_run(c, &cmd, "copy", size, 2);
}

/* Registers memory and asks for the name that requests know it by. */
static inline int compute_register(struct compute *c,
				   const struct virtgpu_way *way,
				   const void *addr, __u64 size,
				   __u32 *handle, __u32 *res)
{
	struct drm_virtgpu_resource_info info = {};
	int ret;

	ret = virtgpu_userptr(c->fd, way, addr, size, handle);
	if (ret)
		return ret;
	info.bo_handle = *handle;
	ret = virtgpu_resource_info(c->fd, &info);
	*res = info.res_handle;
	return ret;
}

/* Opens a COMPUTE context of its own and builds the program in it. */
static inline int compute_open(struct compute *c)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID,
		.size = COMPUTE_SHMEM_SIZE,
	};
	__u64 offset;
	void *map;
	int ret;

	memset(c, 0, sizeof(*c));
	c->fd = virtgpu_open_context(VIRTIO_GPU_CAPSET_COMPUTE);
	if (c->fd < 0)
		return c->fd;
	ret = virtgpu_create_blob(c->fd, &blob) ?:
	      virtgpu_map(c->fd, blob.bo_handle, &offset);
	if (ret)
		return ret;
	map = mmap(NULL, COMPUTE_SHMEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   c->fd, offset);
	if (map == MAP_FAILED)
		return -errno;
	c->shmem = map;
	c->shmem_handle = blob.bo_handle;
	c->rsp_off = c->shmem->rsp_offset;

	/* Shared, so that a child's kernel can be let go by its parent. */
	map = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	c->flag = map;
	return compute_register(c, &way, map, PAGE_SIZE, &c->flag_handle,
				&c->flag_res) ?:
	       compute_build(c);
}

/* Drops the context; the mapping alone would keep the file. */
static inline int compute_close(struct compute *c)
{
	munmap(c->shmem, COMPUTE_SHMEM_SIZE);
	return close(c->fd) ? -errno : 0;
}

/* Returns once the worker is busy in a kernel, and stays so. */
static inline int compute_start_spinning(struct compute *c)
{
	unsigned int ms;
	int ret;

	__atomic_store_n(c->flag, 0, __ATOMIC_RELAXED);
	ret = compute_start(c, "spin");
	if (ret)
		return ret;
	for (ms = 0; __atomic_load_n(c->flag, __ATOMIC_RELAXED) != 1; ms += 5) {
		if (ms > 30000)
			return -ETIMEDOUT;
		sleep_ms(5);
	}
	return 0;
}

static inline void compute_stop_spinning(struct compute *c)
{
	__atomic_store_n(c->flag, 2, __ATOMIC_RELAXED);
}

/* Forks a child that registers behind the spinning kernel, as user @uid. */
static inline pid_t start_waiting(struct __test_metadata *_metadata,
				  struct compute *compute,
				  const struct virtgpu_way *way, char *buf,
				  size_t size, uid_t uid)
{
	__u32 handle;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, setresuid(uid, uid, uid));
		_exit(-virtgpu_userptr(compute->fd, way, buf, size, &handle));
	}
	EXPECT_TRUE(settles_in_ioctl(pid));
	return pid;
}

/* The worker dies of a wild write, with its context, after this returns. */
static inline int compute_crash(struct compute *c)
{
	return compute_start(c, "crash");
}

#endif /* __SELFTEST_VIRTGPU_COMPUTE_H */
