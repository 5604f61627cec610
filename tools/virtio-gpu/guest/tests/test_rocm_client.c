// SPDX-License-Identifier: MIT
/*
 * Unit tests of the ROCM client on the host: open() and ioctl() are replaced by
 * a small virtio-gpu whose host answers as each test wants. What is asserted of
 * the wire is written in numbers, not in the client's own names for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>

#include "rocm_client.h"

#define VM_START	0x200000000000
#define VM_SIZE		0x40000000
#define HANDLE		0x7000000000	/* of resource 0 */
#define HANDLE_STEP	0x100000000
#define TIMEOUT_MS	30

/* The device and its host: what they are, and what they were asked. */
static struct {
	int node;			/* minor of the one with a capset */
	uint32_t context_type;
	uint32_t rsp_mem_offset;
	bool fence;			/* signals */
	bool answer;			/* seqno advances */
	uint32_t len;			/* of answers, 0 for all of the room */
	int ret;
	bool no_handle;
	bool no_alternate;
	bool alloc_outside;
	uint64_t queue_id;
	uint64_t doorbells;		/* where the host has them */
	uint64_t doorbell;		/* where one is in them */
	bool no_queue_blob;

	int open_files;
	int last_minor;
	int inits;
	uint8_t *shmem;
	uint32_t shmem_size;
	uint32_t resources;
	uint32_t closed;
	unsigned int nr_closed;
	unsigned long blob_request;	/* the ioctl's number */
	struct drm_virtgpu_resource_create_blob blob;
	uint8_t req[1024];		/* the last request */
	uint32_t size;
	uint32_t capacity;
	unsigned int nr_reqs;
} dev;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

/* Files of the device, each by its minor. */
static int minors[1024];

int __wrap_open(const char *path, int flags, ...)
{
	int fd;

	if (strncmp(path, "/dev/dri/renderD", 16))
		return __real_open(path, flags, 0600);
	dev.last_minor = atoi(path + 16);
	if (dev.last_minor == 128) {
		errno = ENOENT;
		return -1;
	}
	fd = memfd_create("node", MFD_CLOEXEC);
	assert_true(fd >= 0 && fd < 1024);
	minors[fd] = dev.last_minor;
	dev.open_files++;
	return fd;
}

int __wrap_close(int fd)
{
	if (fd >= 0 && fd < 1024 && minors[fd]) {
		minors[fd] = 0;
		dev.open_files--;
	}
	return __real_close(fd);
}

static int fails(int code)
{
	errno = code;
	return code ? -1 : 0;
}

static int get_caps(int fd, struct drm_virtgpu_get_caps *args)
{
	uint32_t capset[6] = { 1, 2, 3, 4, dev.context_type, 0 };

	assert_int_equal(args->cap_set_id, 8);
	assert_int_equal(args->cap_set_ver, 0);
	assert_int_equal(args->size, 24);
	if (minors[fd] != dev.node)
		return fails(EINVAL);
	memcpy((void *)(uintptr_t)args->addr, capset, sizeof(capset));
	return 0;
}

static int context_init(struct drm_virtgpu_context_init *args)
{
	struct drm_virtgpu_context_set_param *params =
		(void *)(uintptr_t)args->ctx_set_params;

	assert_int_equal(args->num_params, 2);
	assert_int_equal(params[0].param, VIRTGPU_CONTEXT_PARAM_CAPSET_ID);
	assert_int_equal(params[0].value, 8);
	assert_int_equal(params[1].param, VIRTGPU_CONTEXT_PARAM_NUM_RINGS);
	assert_int_equal(params[1].value, 64);
	dev.inits++;
	return 0;
}

static int create_blob(int fd, struct drm_virtgpu_resource_create_blob *args)
{
	dev.blob = *args;
	if (dev.no_queue_blob && dev.shmem)
		return fails(ENOMEM);
	args->bo_handle = ++dev.resources;
	args->res_handle = 1000 + dev.resources;
	if (dev.shmem || args->blob_mem != VIRTGPU_BLOB_MEM_HOST3D)
		return 0;

	assert_int_equal(args->blob_flags, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	assert_int_equal(args->blob_id, 0);
	assert_int_equal(ftruncate(fd, args->size), 0);
	dev.shmem_size = args->size;
	dev.shmem = mmap(NULL, args->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
	assert_ptr_not_equal(dev.shmem, MAP_FAILED);
	rocm_put32(dev.shmem, 4, dev.rsp_mem_offset);
	return 0;
}

/* What the host adds to the length and the result of an answer. */
static void answer_body(uint8_t *rsp, uint32_t capacity)
{
	uint32_t cmd = rocm_get32(dev.req, 0), len = rocm_get32(dev.req, 4);
	uint32_t type, res_id;

	if (cmd == 2 && rocm_get32(dev.req, 48) == 1) {
		rocm_put64(rsp, 8, VM_START);
		rocm_put64(rsp, 16, VM_SIZE);
		return;
	}
	if (cmd == 2 && rocm_get32(dev.req, 48) == 4) {
		rocm_put32(rsp, 8, 2);
		return;
	}
	if (cmd == 2 && rocm_get32(dev.req, 48) == 5) {
		rocm_put32(rsp, 12, rocm_get32(dev.req, 56) ? 32 : 0);
		return;
	}
	if (cmd == 0x10000) {
		rocm_put64(rsp, 8, 4711);
		return;
	}
	if (cmd == 3 && rocm_get32(dev.req, 80) == 0) {
		rocm_put32(rsp, 8, 33);
		return;
	}
	if (cmd == 5 && rocm_get32(dev.req, 124) == 0) {
		assert_true(capacity >= 96);
		rocm_put64(rsp, 8, dev.queue_id);
		rocm_put64(rsp, 48, dev.doorbells + dev.doorbell);
		rocm_put64(rsp, 56, dev.doorbell);
		return;
	}
	if (cmd != 4)
		return;

	type = rocm_get32(dev.req, len >= 312 ? 304 : 72);
	res_id = rocm_get32(dev.req, len >= 312 ? 308 : 76);
	assert_true(capacity >= 24);
	if (type == 0)
		rocm_put64(rsp, 8, dev.alloc_outside ? 4096 : VM_START + 65536);
	if (type == 8 && !dev.no_handle) {
		rocm_put64(rsp, 8, HANDLE + res_id * HANDLE_STEP);
		rocm_put32(rsp, 16, 3);
	}
	if (type == 1 && !dev.no_alternate)
		rocm_put64(rsp, 8, rocm_get64(dev.req, 16) + HANDLE_STEP / 2);
}

static void answer(void)
{
	uint8_t *rsp = dev.shmem + dev.rsp_mem_offset + rocm_get32(dev.req, 12);

	assert_in_range(rocm_get32(dev.req, 12), 0,
			dev.shmem_size - dev.rsp_mem_offset - 8);
	dev.capacity = rocm_get32(rsp, 0);
	answer_body(rsp, dev.capacity);
	rocm_put32(rsp, 0, dev.len ? dev.len : dev.capacity);
	rocm_put32(rsp, 4, dev.ret);
	rocm_put32(dev.shmem, 0, rocm_get32(dev.req, 8));
}

static int execbuffer(struct drm_virtgpu_execbuffer *args)
{
	assert_int_equal(args->flags, VIRTGPU_EXECBUF_FENCE_FD_OUT |
			 VIRTGPU_EXECBUF_RING_IDX);
	assert_int_equal(args->ring_idx, 0);
	assert_int_equal(args->num_bo_handles, 0);
	assert_true(args->size <= sizeof(dev.req));
	memcpy(dev.req, (void *)(uintptr_t)args->command, args->size);
	dev.size = args->size;
	dev.nr_reqs++;
	if (dev.answer && args->size >= 16)
		answer();
	args->fence_fd = eventfd(dev.fence, EFD_CLOEXEC);
	return 0;
}

static int resource_info(struct drm_virtgpu_resource_info *args)
{
	args->res_handle = 1000 + args->bo_handle;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	assert_true(minors[fd]);
	switch (_IOC_NR(request)) {
	case DRM_COMMAND_BASE + DRM_VIRTGPU_GET_CAPS:
		return get_caps(fd, arg);
	case DRM_COMMAND_BASE + DRM_VIRTGPU_CONTEXT_INIT:
		return context_init(arg);
	case DRM_COMMAND_BASE + DRM_VIRTGPU_RESOURCE_CREATE_BLOB:
		dev.blob_request = request;
		return create_blob(fd, arg);
	case DRM_COMMAND_BASE + DRM_VIRTGPU_MAP:
		((struct drm_virtgpu_map *)arg)->offset = 0;
		return 0;
	case DRM_COMMAND_BASE + DRM_VIRTGPU_RESOURCE_INFO:
		return resource_info(arg);
	case DRM_COMMAND_BASE + DRM_VIRTGPU_EXECBUFFER:
		return execbuffer(arg);
	case _IOC_NR(DRM_IOCTL_GEM_CLOSE):
		dev.closed = ((struct drm_gem_close *)arg)->handle;
		dev.nr_closed++;
		return 0;
	}
	fail_msg("ioctl 0x%lx", request);
	return -1;
}

static int good_device(void **state)
{
	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.node = 130;
	dev.context_type = 1;
	dev.rsp_mem_offset = 16;
	dev.fence = dev.answer = true;
	dev.queue_id = 0x7700000001;
	dev.doorbells = VM_START + 0x20000;
	dev.doorbell = 0x808;
	return 0;
}

static void drop_shmem(void)
{
	if (dev.shmem)
		munmap(dev.shmem, dev.shmem_size);
	dev.shmem = NULL;
}

static int drop_device(void **state)
{
	(void)state;
	drop_shmem();
	return dev.open_files;
}

static struct rocm_client client;
static struct rocm_client *const c = &client;

static void start(enum rocm_gen gen)
{
	assert_int_equal(rocm_start(c, gen), 0);
	c->timeout_ms = TIMEOUT_MS;
}

static void stop(void)
{
	rocm_close(c);
	drop_shmem();
}

static void finds_the_device(void **state)
{
	(void)state;
	assert_int_equal(rocm_open(c, ROCM_2025), 0);
	assert_string_equal(c->node, "/dev/dri/renderD130");
	assert_int_equal(dev.inits, 1);
	assert_int_equal(dev.open_files, 1);
	stop();
	assert_int_equal(dev.open_files, 0);

	/* The tenth node is the last that is looked at. */
	dev.node = 137;
	assert_int_equal(rocm_open(c, ROCM_2025), 0);
	stop();
	dev.node = 138;
	assert_int_equal(rocm_open(c, ROCM_2025), -ENODEV);
	assert_int_equal(dev.last_minor, 137);
	dev.node = 130;
	dev.context_type = 2;
	assert_int_equal(rocm_open(c, ROCM_2025), -ENODEV);
	assert_int_equal(dev.inits, 2);
	rocm_close(c);
}

static void shared_blob_of_each_generation(void **state)
{
	(void)state;
	assert_int_equal(rocm_open(c, ROCM_2025), 0);
	assert_int_equal(dev.shmem_size, 25 * 4096);
	assert_int_equal(dev.blob_request, 0xC040644A);
	assert_int_equal(rocm_rsp_area(c), 25 * 4096 - 16);
	stop();
	assert_int_equal(rocm_open(c, ROCM_2026), 0);
	assert_int_equal(dev.shmem_size, 80 * 4096);
	assert_int_equal(dev.blob_request, 0xC048644A);
	stop();

	dev.rsp_mem_offset = 8;
	assert_int_equal(rocm_open(c, ROCM_2025), -EPROTO);
	drop_shmem();
	dev.rsp_mem_offset = 25 * 4096;
	assert_int_equal(rocm_open(c, ROCM_2025), -EPROTO);
}

static void requests_are_framed(void **state)
{
	struct rocm_rsp rsp = { 0 };

	(void)state;
	start(ROCM_2026);
	/* OPEN_KFD */
	assert_int_equal(dev.size, 128);
	assert_int_equal(rocm_get32(dev.req, 0), 2);
	assert_int_equal(rocm_get32(dev.req, 4), 128);
	assert_int_equal(rocm_get32(dev.req, 8), 1);
	assert_int_equal(rocm_get32(dev.req, 12), 0);
	assert_int_equal(rocm_get32(dev.req, 48), 1);
	assert_int_not_equal(rocm_get64(dev.req, 56), 0);
	assert_int_equal(dev.capacity, 424);
	assert_int_equal(c->vm_start, VM_START);
	assert_int_equal(c->vm_size, VM_SIZE);

	assert_int_equal(rocm_query(c, 12, 1, &rsp), 0);
	assert_int_equal(rocm_get32(dev.req, 8), 2);
	assert_int_equal(rocm_get32(dev.req, 12), 424);
	assert_int_equal(rocm_get32(dev.req, 48), 12);
	assert_int_equal(rocm_get64(dev.req, 56), 1);
	assert_int_equal(rsp.len, 424);

	rsp.capacity = 0;
	assert_int_equal(rocm_event(c, 3, 5, &rsp), 0);
	assert_int_equal(dev.size, 104);
	assert_int_equal(rocm_get32(dev.req, 0), 3);
	assert_int_equal(rocm_get64(dev.req, 72), 5);
	assert_int_equal(rocm_get32(dev.req, 80), 3);
	assert_int_equal(dev.capacity, 80);

	rsp.capacity = 0;
	assert_int_equal(rocm_queue(c, 2, 5, &rsp), 0);
	assert_int_equal(dev.size, 136);
	assert_int_equal(rocm_get32(dev.req, 0), 5);
	assert_int_equal(rocm_get64(dev.req, 64), 5);
	assert_int_equal(rocm_get32(dev.req, 124), 2);
	assert_int_equal(dev.capacity, 168);
	stop();

	start(ROCM_2025);
	rsp.capacity = 0;
	assert_int_equal(rocm_queue(c, 2, 5, &rsp), 0);
	assert_int_equal(dev.size, 136);
	assert_int_equal(dev.capacity, 96);
	stop();
}

static void the_range_is_reserved_once(void **state)
{
	struct rocm_client other;
	uint8_t resident;

	(void)state;
	start(ROCM_2025);
	assert_int_equal(mincore((void *)VM_START, 4096, &resident), 0);
	other = *c;
	assert_int_equal(rocm_reserve(&other), -EEXIST);
	stop();
	assert_int_equal(mincore((void *)VM_START, 4096, &resident), -1);
}

static void a_node_with_a_gpu(void **state)
{
	uint32_t node;

	(void)state;
	start(ROCM_2025);
	assert_int_equal(rocm_gpu_node(c, &node), 0);
	assert_int_equal(node, 1);
	stop();
}

/* What a MEMORY request is in each generation. */
static const struct {
	enum rocm_gen gen;
	uint32_t size, type, res_id, blob_id, capacity;
} mem[] = {
	{ ROCM_2025, 80, 72, 76, 64, 24 },
	{ ROCM_2026, 312, 304, 308, 296, 320 },
};

static void memory_requests_of_each_generation(void **state)
{
	static const uint32_t nodes[] = { 1, 7, 9 };
	const char *addr = (const char *)0x10000000;
	struct rocm_reg *reg;
	uint64_t avail;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		start(mem[i].gen);
		assert_int_equal(rocm_register(c, addr + 123, 5000, 0, &reg),
				 0);
		/* REG_MEM_WITH_FLAG is the last. */
		assert_int_equal(dev.size, mem[i].size);
		assert_int_equal(rocm_get32(dev.req, 0), 4);
		assert_int_equal(rocm_get32(dev.req, mem[i].type), 6);
		assert_int_equal(rocm_get32(dev.req, mem[i].res_id),
				 reg->res_id);
		assert_int_equal(rocm_get64(dev.req, 16), reg->handle);
		assert_int_equal(rocm_get64(dev.req, 24), 5000);
		assert_int_equal(dev.capacity, mem[i].capacity);
		assert_int_equal(reg->handle,
				 HANDLE + reg->res_id * HANDLE_STEP);
		assert_int_equal(reg->npfns, 3);

		assert_int_equal(rocm_map(c, reg, nodes, 3), 0);
		assert_int_equal(dev.size, mem[i].size + 16);
		assert_int_equal(rocm_get32(dev.req, 4), mem[i].size + 16);
		assert_int_equal(rocm_get32(dev.req, mem[i].type), 1);
		assert_int_equal(rocm_get64(dev.req, 16), reg->handle);
		assert_int_equal(rocm_get64(dev.req, 24), 8192);
		assert_int_equal(rocm_get64(dev.req, 48), 3);
		assert_int_equal(rocm_get32(dev.req, mem[i].size + 4), 7);
		assert_int_equal(rocm_get32(dev.req, mem[i].size + 8), 9);
		assert_int_equal(rocm_gpu_va(reg, addr + 123),
				 reg->handle + HANDLE_STEP / 2 + 123);

		dev.no_alternate = true;
		assert_int_equal(rocm_map(c, reg, nodes, 1), 0);
		assert_int_equal(dev.size, mem[i].size + 8);
		assert_int_equal(rocm_gpu_va(reg, addr), reg->handle);
		dev.no_alternate = false;

		assert_int_equal(rocm_avail(c, 1, &avail), 0);
		assert_int_equal(rocm_get32(dev.req, mem[i].type), 4);
		assert_int_equal(rocm_get32(dev.req, 16), 1);
		stop();
	}
}

static void memory_of_the_host(void **state)
{
	const uint32_t flags = ROCM_FLAG_NONPAGED | ROCM_FLAG_HOST_ACCESS;
	struct rocm_buf buf;
	uint64_t blob_id;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		start(mem[i].gen);
		blob_id = c->blob_id;
		assert_int_equal(rocm_alloc(c, 1, flags, 8192, &buf), 0);
		assert_int_equal(rocm_get32(dev.req, mem[i].type), 0);
		assert_int_equal(rocm_get32(dev.req, 16), 1);
		assert_int_equal(rocm_get32(dev.req, 20), 0x41);
		assert_int_equal(rocm_get64(dev.req, 24), 8192);
		assert_int_equal(rocm_get64(dev.req, mem[i].blob_id),
				 blob_id + 1);
		assert_int_equal(dev.blob.blob_mem, VIRTGPU_BLOB_MEM_HOST3D);
		assert_int_equal(dev.blob.blob_id, blob_id + 1);
		/* The fake's blobs are one memory: the shared one. */
		*(volatile uint8_t *)(buf.handle + 4711) = 5;
		assert_int_equal(dev.shmem[4711], 5);
		assert_int_equal(rocm_free(c, &buf), 0);
		assert_int_equal(dev.nr_closed, i + 1);
		assert_int_equal(rocm_get32(dev.req, mem[i].type), 2);
		assert_int_equal(rocm_get64(dev.req, 16), VM_START + 65536);

		dev.alloc_outside = true;
		assert_int_equal(rocm_alloc(c, 1, flags, 8192, &buf), -EPROTO);
		dev.alloc_outside = false;
		stop();
	}
}

static void registrations_are_whole_pages(void **state)
{
	const char *addr = (const char *)0x10000000;
	struct rocm_reg *reg;

	(void)state;
	start(ROCM_2026);
	assert_int_equal(rocm_register(c, addr + 4095, 2, 0x10, &reg), 0);
	assert_int_equal(dev.blob_request, 0xC048644A);
	assert_int_equal(dev.blob.blob_mem, VIRTGPU_BLOB_MEM_HOST3D_GUEST);
	assert_int_equal(dev.blob.blob_flags, 0x18);
	assert_int_equal(dev.blob.userptr, (uintptr_t)addr);
	assert_int_equal(dev.blob.size, 8192);
	assert_int_not_equal(dev.blob.blob_id, 0);
	stop();

	start(ROCM_2025);
	assert_int_equal(rocm_register(c, addr, 5ULL << 30, 0, &reg), 0);
	assert_int_equal(dev.blob_request, 0xC040644A);
	assert_int_equal(dev.blob.blob_flags, 0x8);
	assert_int_equal(dev.blob.size, 5ULL << 30);
	assert_int_equal(rocm_get64(dev.req, 24), 5ULL << 30);

	assert_int_equal(rocm_register(c, addr, 0, 0, &reg), -EINVAL);
	assert_int_equal(rocm_register(c, addr, UINT64_MAX, 0, &reg), -EINVAL);
	assert_int_equal(rocm_register(c, (void *)(VM_START - 1), 2, 0, &reg),
			 -EINVAL);
	stop();
}

static void registrations_inside_one_are_counted(void **state)
{
	const char *addr = (const char *)0x10000000;
	struct rocm_reg *one, *same, *other;
	uint64_t blob_id;
	unsigned int reqs;

	(void)state;
	start(ROCM_2025);
	assert_int_equal(rocm_register(c, addr, 65536, 0, &one), 0);
	blob_id = dev.blob.blob_id;
	reqs = dev.nr_reqs;
	assert_int_equal(rocm_register(c, addr + 4096, 100, 0, &same), 0);
	assert_ptr_equal(one, same);
	assert_int_equal(dev.nr_reqs, reqs);
	/* Only in part inside: one of its own. */
	assert_int_equal(rocm_register(c, addr + 4096, 65536, 0, &other), 0);
	assert_ptr_not_equal(one, other);
	assert_int_not_equal(dev.blob.blob_id, blob_id);

	reqs = dev.nr_reqs;
	assert_int_equal(rocm_unmap(c, one), 0);
	assert_int_equal(rocm_deregister(c, one), 0);
	assert_int_equal(dev.nr_closed, 0);
	assert_int_equal(rocm_deregister(c, one), 0);
	assert_int_equal(dev.nr_closed, 1);
	assert_int_equal(dev.closed, 2);
	assert_int_equal(dev.nr_reqs, reqs);
	stop();
}

static void a_refused_registration_is_closed(void **state)
{
	const char *addr = (const char *)0x10000000;
	struct rocm_reg *reg;

	(void)state;
	start(ROCM_2026);
	dev.no_handle = true;
	assert_int_equal(rocm_register(c, addr, 4096, 0, &reg), -EIO);
	assert_int_equal(dev.nr_closed, 1);
	dev.no_handle = false;
	dev.ret = -ENOMEM;
	assert_int_equal(rocm_register(c, addr, 4096, 0, &reg), -ENOMEM);
	assert_int_equal(dev.nr_closed, 2);
	dev.ret = 0;
	assert_int_equal(rocm_register(c, addr, 4096, 0, &reg), 0);
	stop();
}

static void lists_say_how_many(void **state)
{
	struct rocm_rsp rsp = { 0 };

	(void)state;
	start(ROCM_2025);
	assert_int_equal(rocm_query_list(c, 9, 1, 3, 32, &rsp), 0);
	assert_int_equal(dev.size, 128);
	assert_int_equal(rocm_get32(dev.req, 48), 9);
	assert_int_equal(rocm_get32(dev.req, 56), 1);
	assert_int_equal(rocm_get32(dev.req, 60), 3);
	assert_int_equal(dev.capacity, 424 + 3 * 32);
	assert_int_equal(rocm_query_list(c, 11, 0, 1, 52, &rsp), 0);
	assert_int_equal(rocm_get32(dev.req, 60), 1);
	assert_int_equal(dev.capacity, 424 + 56);
	/* Of caches it stands behind a processor's id. */
	assert_int_equal(rocm_query_list(c, 10, 0, 2, 1056, &rsp), 0);
	assert_int_equal(rocm_get64(dev.req, 56), 0);
	assert_int_equal(rocm_get32(dev.req, 64), 2);
	assert_int_equal(dev.capacity, 424 + 2 * 1056);
	assert_int_equal(rocm_query_list(c, 10, 0, 8, 1056, &rsp), -EINVAL);
	stop();
}

static void events(void **state)
{
	uint32_t id;

	(void)state;
	start(ROCM_2026);
	assert_int_equal(rocm_event_create(c, 1, &id), 0);
	assert_int_equal(id, 33);
	assert_int_equal(dev.size, 104);
	assert_int_equal(rocm_get32(dev.req, 16), 0);
	assert_int_equal(rocm_get32(dev.req, 20), 1);
	assert_int_equal(rocm_get32(dev.req, 80), 0);
	assert_int_equal(rocm_get64(dev.req, 88), c->blob_id);
	assert_int_equal(rocm_event_command(c, ROCM_EVENT_QUERY_STATE, id), 0);
	assert_int_equal(rocm_get32(dev.req, 16), 33);
	assert_int_equal(rocm_get32(dev.req, 80), 4);
	stop();
}

/* Memory for four packets, and the indices. */
static _Alignas(64) uint8_t ring[4 * 64];
static uint64_t ptrs[2];

static int create_queue(struct rocm_reg *reg, struct rocm_queue *q)
{
	/* From a page on that both are in, or so it says. */
	*reg = (struct rocm_reg){ .res_id = 1234, .gpu_va = HANDLE };
	memset(ring, 0xee, sizeof(ring));
	memset(ptrs, 0, sizeof(ptrs));
	return rocm_queue_create(c, 1, reg, ring, sizeof(ring), ptrs, q);
}

static void queues_of_each_generation(void **state)
{
	struct rocm_queue q, other;
	struct rocm_reg reg;
	uint64_t blob_id;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		start(mem[i].gen);
		blob_id = c->blob_id;
		assert_int_equal(create_queue(&reg, &q), 0);
		assert_int_equal(dev.size, 136);
		assert_int_equal(dev.capacity, i ? 168 : 96);
		assert_int_equal(rocm_get32(dev.req, 0), 5);
		assert_int_equal(rocm_get32(dev.req, 16), 1);
		assert_int_equal(rocm_get32(dev.req, 20), 21);
		assert_int_equal(rocm_get32(dev.req, 24), 100);
		assert_int_equal(rocm_get64(dev.req, 32), 0);
		assert_int_equal(rocm_get64(dev.req, 48),
				 HANDLE + (uintptr_t)ring);
		assert_int_equal(rocm_get64(dev.req, 56), 256);
		assert_int_equal(rocm_get64(dev.req, 80),
				 HANDLE + (uintptr_t)ptrs);
		assert_int_equal(rocm_get64(dev.req, 88),
				 HANDLE + (uintptr_t)ptrs + 8);
		assert_int_equal(rocm_get64(dev.req, 96), blob_id + 1);
		assert_int_equal(rocm_get64(dev.req, 112), blob_id + 2);
		assert_int_equal(rocm_get32(dev.req, 120), 1234);
		assert_int_equal(rocm_get32(dev.req, 124), 0);
		assert_int_equal(rocm_get32(dev.req, 128), 1234);
		/* The doorbells' blob is the last. */
		assert_int_equal(dev.blob.blob_mem, VIRTGPU_BLOB_MEM_HOST3D);
		assert_int_equal(dev.blob.blob_flags,
				 VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
		assert_int_equal(dev.blob.blob_id, blob_id + 2);
		assert_int_equal(dev.blob.size, 8192);
		assert_int_equal(q.id, 0x7700000001);
		assert_int_equal(q.nr_packets, 4);
		assert_ptr_equal(q.doorbell, (void *)(VM_START + 0x20808));

		/* There is one now: only the queue's, which is not mappable. */
		assert_int_equal(create_queue(&reg, &other), 0);
		assert_int_equal(rocm_get64(dev.req, 112), 0);
		assert_int_equal(dev.blob.blob_id, blob_id + 3);
		assert_int_equal(dev.blob.blob_flags, 0);
		assert_int_equal(dev.blob.size, 256);

		assert_int_equal(rocm_queue_destroy(c, &other), 0);
		assert_int_equal(rocm_get32(dev.req, 124), 1);
		assert_int_equal(rocm_get64(dev.req, 16), other.id);
		assert_int_equal(rocm_get32(dev.req, 120), other.res_id);
		assert_int_equal(rocm_queue_update(c, &q, 101), 0);
		assert_int_equal(rocm_get32(dev.req, 124), 2);
		assert_int_equal(rocm_get32(dev.req, 24), 101);
		assert_int_equal(rocm_get32(dev.req, 120), q.res_id);
		dev.nr_closed = 0;
		assert_int_equal(rocm_queue_close(c, &q), 0);
		assert_int_equal(dev.nr_closed, 1);
		assert_int_equal(dev.closed, q.bo_handle);
		stop();
	}
}

static void bad_answers_to_queues(void **state)
{
	struct rocm_queue q;
	struct rocm_reg reg;

	(void)state;
	start(ROCM_2026);
	dev.ret = -EFAULT;
	assert_int_equal(create_queue(&reg, &q), -EFAULT);
	dev.ret = 0;
	dev.queue_id = 0;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	dev.queue_id = 1;
	dev.doorbell = 8192;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	dev.doorbell = 4;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	dev.doorbell = 8184;
	dev.no_queue_blob = true;
	assert_int_equal(create_queue(&reg, &q), -ENOMEM);
	dev.no_queue_blob = false;
	assert_int_equal(dev.nr_closed, 0);
	/* Doorbells that are not in the range. */
	dev.doorbells = VM_START + VM_SIZE - 4096;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	dev.doorbells = VM_START - 8192;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	dev.doorbells = VM_START + 8;
	assert_int_equal(create_queue(&reg, &q), -EPROTO);
	assert_int_equal(dev.nr_closed, 3);
	assert_null(c->doorbells);
	dev.doorbells = VM_START + VM_SIZE - 8192;
	assert_int_equal(create_queue(&reg, &q), 0);
	stop();
}

/* Of two in a process, only one has the range. */
static void doorbells_beside_the_range(void **state)
{
	struct rocm_queue q;
	struct rocm_reg reg;

	(void)state;
	assert_int_equal(rocm_open(c, ROCM_2025), 0);
	assert_int_equal(rocm_open_kfd(c), 0);
	assert_int_equal(create_queue(&reg, &q), 0);
	assert_ptr_not_equal(q.doorbell, (void *)(VM_START + 0x20808));
	rocm_queue_ring(&q);
	assert_int_equal(rocm_get64(dev.shmem, 0x808), UINT64_MAX);
	stop();
}

static void packets(void **state)
{
	static const uint64_t deps[6] = { 11, 12, 13, 14, 15, 16 };
	struct rocm_queue q;
	struct rocm_reg reg;
	int i;

	(void)state;
	start(ROCM_2026);
	assert_int_equal(create_queue(&reg, &q), 0);
	assert_int_equal(rocm_queue_barrier(&q, deps, 5, 4711), 0);
	assert_int_equal(rocm_get32(ring, 0), 0x1503);
	assert_int_equal(rocm_get32(ring, 4), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(rocm_get64(ring, 8 + 8 * i), 11 + i);
	assert_int_equal(rocm_get64(ring, 48), 0);
	assert_int_equal(rocm_get64(ring, 56), 4711);
	assert_int_equal(ptrs[0], 1);
	assert_int_equal(ring[64], 0xee);
	assert_int_equal(rocm_queue_barrier(&q, deps, 6, 0), -EINVAL);

	assert_int_equal(rocm_queue_barrier(&q, NULL, 0, 5), 0);
	assert_int_equal(rocm_get64(ring, 64 + 8), 0);
	/* The fake's blobs are one memory. */
	assert_int_equal(rocm_get64(dev.shmem, 0x808), 0);
	rocm_queue_ring(&q);
	assert_int_equal(rocm_get64(dev.shmem, 0x808), 1);

	/* Four at once, and around. */
	assert_int_equal(rocm_queue_barrier(&q, NULL, 0, 6), 0);
	assert_int_equal(rocm_queue_barrier(&q, NULL, 0, 7), 0);
	assert_int_equal(rocm_queue_barrier(&q, NULL, 0, 8), -EAGAIN);
	assert_int_equal(ptrs[0], 4);
	ptrs[1] = 3;
	assert_int_equal(rocm_queue_done(&q), 3);
	assert_int_equal(rocm_queue_barrier(&q, NULL, 0, 8), 0);
	assert_int_equal(rocm_get64(ring, 56), 8);
	rocm_queue_ring(&q);
	assert_int_equal(rocm_get64(dev.shmem, 0x808), 4);
	stop();
}

static void signals(void **state)
{
	_Alignas(64) uint8_t signal[64];

	(void)state;
	memset(signal, 0xee, sizeof(signal));
	rocm_signal_init(signal, -2);
	assert_int_equal(rocm_get64(signal, 0), 1);
	assert_int_equal(rocm_signal_value(signal), -2);
	/* No event: the GPU has nobody to tell. */
	assert_int_equal(rocm_get64(signal, 16), 0);
	assert_int_equal(rocm_signal_wait(signal, -2, 0), 0);
	assert_int_equal(rocm_signal_wait(signal, 0, TIMEOUT_MS), -ETIME);
}

static void room_for_answers_wraps(void **state)
{
	uint32_t area = 25 * 4096 - 16, next = 0, i;
	struct rocm_rsp rsp = { 0 };

	(void)state;
	assert_int_equal(rocm_open(c, ROCM_2025), 0);
	for (i = 0; i < 3 * (area / 424); i++) {
		rsp.capacity = 0;
		assert_int_equal(rocm_query(c, 2, 0, &rsp), 0);
		assert_int_equal(rocm_get32(dev.req, 12), next);
		next = next + 2 * 424 > area ? 0 : next + 424;
	}

	/* Rounded, to the last byte, and over it. */
	c->rsp_next = area - 16;
	assert_int_equal(rocm_alloc_rsp(c, 12), area - 16);
	assert_int_equal(rocm_alloc_rsp(c, 8), 0);
	c->rsp_next = area - 16;
	assert_int_equal(rocm_alloc_rsp(c, 17), 0);
	assert_int_equal(rocm_alloc_rsp(c, 8), 24);
	stop();
}

static void no_answer_is_a_time_out(void **state)
{
	struct rocm_rsp rsp = { 0 };

	(void)state;
	start(ROCM_2025);
	dev.answer = false;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -ETIME);
	dev.fence = false;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -ETIME);
	dev.answer = dev.fence = true;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), 0);
	stop();
}

static void answers_are_checked(void **state)
{
	struct rocm_rsp rsp = { 0 };

	(void)state;
	start(ROCM_2025);
	dev.ret = -ENOENT;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -ENOENT);
	dev.ret = 5;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -EPROTO);
	dev.ret = -70000;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -EPROTO);
	dev.ret = 0;
	dev.len = 4;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), -EPROTO);
	dev.len = 1 << 20;
	assert_int_equal(rocm_query(c, 2, 0, &rsp), 0);
	assert_int_equal(rsp.len, 424);
	dev.len = 8;
	assert_int_equal(rocm_open_kfd(c), -EPROTO);
	stop();
}

static void headerless_submissions_end_with_the_fence(void **state)
{
	uint32_t words[2] = { 1, 16 };

	(void)state;
	start(ROCM_2025);
	assert_int_equal(rocm_exchange(c, words, 8), 0);
	assert_int_equal(dev.size, 8);
	dev.fence = false;
	assert_int_equal(rocm_exchange(c, words, 8), -ETIME);
	stop();
}

static void the_gpus_side(void **state)
{
	uint64_t sum = 0;

	(void)state;
	start(ROCM_2026);
	assert_int_equal(rocm_gpu_checksum(c, 1, HANDLE, 4096, &sum), 0);
	assert_int_equal(sum, 4711);
	assert_int_equal(dev.capacity, 16);
	assert_int_equal(rocm_gpu_fill(c, 1, HANDLE, 4096, 0x17), 0);
	assert_int_equal(rocm_checksum("", 0), 0);
	assert_int_equal(rocm_checksum("\x03\x02\xff", 3), 3 + 4 + 765);
	stop();
}

#define Z8	"0000000000000000"
#define Z16	Z8 Z8

/* A transcript of the smallest whole use; addresses of ours are cut out. */
static void transcript_tells_what_was_said(void **state)
{
	char path[] = "/tmp/rocm-transcript-XXXXXX", text[4096];
	struct rocm_reg *reg;
	ssize_t len;
	int fd;

	(void)state;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	setenv("VGPU_ROCM_TRANSCRIPT", path, 1);
	start(ROCM_2025);
	assert_int_equal(rocm_register(c, (void *)0x10000001, 1, 0, &reg), 0);
	assert_int_equal(rocm_map(c, reg, (uint32_t[]){ 1 }, 1), 0);
	assert_int_equal(rocm_gpu_fill(c, 1, reg->gpu_va + 2, 3, 5), 0);
	assert_int_equal(rocm_deregister(c, reg), 0);
	dev.answer = false;
	assert_int_equal(rocm_avail(c, 1, (uint64_t[]){ 0 }), -ETIME);
	stop();
	unsetenv("VGPU_ROCM_TRANSCRIPT");
	unlink(path);

	len = read(fd, text, sizeof(text) - 1);
	assert_true(len > 0);
	text[len] = '\0';
	__real_close(fd);
	/* The heap pointer of OPEN_KFD. */
	memset(strstr(text, "0200000080000000") + 2 * 56, '-', 12);
	assert_string_equal(text,
		"context 2025\n"
		"shmem 1001 102400\n"
		"room 0 424\n"
		"req 128 02000000800000000100000000000000" Z16 Z16 "01000000"
		"00000000------------\n"
		"rsp 424 a801000000000000................00000040\n"
		"userptr 1002 4096 8\n"
		"room 424 24\n"
		"req 80 040000005000000002000000a8010000" Z16 Z16 Z16 Z8
		"08000000ea03\n"
		"rsp 24 1800000000000000........................\n"
		"var 16 2 8 0\n"
		"room 448 24\n"
		"req 80 040000005000000003000000c0010000" "000000005a040000"
		"0100000000000000" "40000000" "00000000" Z16 Z16
		"06000000ea03\n"
		"rsp 24 18\n"
		"var 16 2 8 0\n"
		"room 472 24\n"
		"req 88 040000005800000004000000d8010000" "000000005a040000"
		"0010000000000000" Z16 "0100000000000000" Z16
		"01000000ea03000001\n"
		"rsp 24 1800000000000000................\n"
		"var 24 4 8 2\n"
		"room 496 16\n"
		"req 48 000001003000000005000000f0010000" "0100000001000000"
		"020000805a040000" "0300000000000000" "05\n"
		"rsp 16 1000000000000000................\n"
		"close 1002\n"
		"room 512 24\n"
		"req 80 04000000500000000600000000020000" "01000000" "00000000"
		Z16 Z16 Z16 "04\n"
		"late\n"
		"end\n");
}

/* What a queue is told outside of requests. */
static void transcript_of_a_queue(void **state)
{
	char path[] = "/tmp/rocm-transcript-XXXXXX", text[4096], want[512];
	const uint64_t dep = 0x1234;
	struct rocm_queue q;
	struct rocm_reg reg;
	uint32_t event;
	ssize_t len;
	char *at;
	int fd;

	(void)state;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	setenv("VGPU_ROCM_TRANSCRIPT", path, 1);
	start(ROCM_2025);
	assert_int_equal(rocm_event_create(c, 1, &event), 0);
	assert_int_equal(rocm_event_command(c, ROCM_EVENT_SET, event), 0);
	assert_int_equal(create_queue(&reg, &q), 0);
	assert_int_equal(rocm_queue_barrier(&q, &dep, 1, 0), 0);
	rocm_queue_ring(&q);
	stop();
	unsetenv("VGPU_ROCM_TRANSCRIPT");
	unlink(path);

	len = read(fd, text, sizeof(text) - 1);
	assert_true(len > 0);
	text[len] = '\0';
	__real_close(fd);
	/* The event's id, where HsaEvent and the handle have it. */
	at = strstr(text, "\nvar 16 2 8 0\n");
	assert_non_null(at);
	snprintf(want, sizeof(want),
		 "blob 1002 256 %llu\nblob 1003 8192 %llu\n"
		 "memory 1234 %llu 64 03150000000000003412\n"
		 "memory 1234 %llu 8 01\n"
		 "doorbell 1003 2056 0\nend\n",
		 2ULL, 3ULL, (unsigned long long)(uintptr_t)ring,
		 (unsigned long long)(uintptr_t)ptrs);
	at = strstr(text, "blob ");
	assert_non_null(at);
	assert_string_equal(at, want);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, good_device, drop_device)
	const struct CMUnitTest tests[] = {
		TEST(finds_the_device),
		TEST(shared_blob_of_each_generation),
		TEST(requests_are_framed),
		TEST(the_range_is_reserved_once),
		TEST(a_node_with_a_gpu),
		TEST(memory_requests_of_each_generation),
		TEST(memory_of_the_host),
		TEST(registrations_are_whole_pages),
		TEST(registrations_inside_one_are_counted),
		TEST(a_refused_registration_is_closed),
		TEST(lists_say_how_many),
		TEST(events),
		TEST(queues_of_each_generation),
		TEST(bad_answers_to_queues),
		TEST(doorbells_beside_the_range),
		TEST(packets),
		TEST(signals),
		TEST(room_for_answers_wraps),
		TEST(no_answer_is_a_time_out),
		TEST(answers_are_checked),
		TEST(headerless_submissions_end_with_the_fence),
		TEST(the_gpus_side),
		TEST(transcript_tells_what_was_said),
		TEST(transcript_of_a_queue),
	};

	unsetenv("VGPU_ROCM_TRANSCRIPT");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
