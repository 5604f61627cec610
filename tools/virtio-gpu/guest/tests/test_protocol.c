// SPDX-License-Identifier: MIT
/*
 * vgpu-test-protocol: what the host answers to each request of the COMPUTE
 * context, above all to malformed ones. Without the library, whose requests are
 * all well-formed: through the driver's ioctls and the shared memory alone.
 */
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>
#include <linux/virtio_gpu_compute.h>

#include "kselftest_harness.h"

#include "vgpu.h"

#define PAGE		4096UL
#define SHMEM_SIZE	(16 * PAGE)
/* Where responses go here, and the room they have. */
#define RSP_OFF		PAGE
#define RSP_ROOM	1024
#define FENCE_MS	20000

/* A request larger than any here. */
union request {
	struct virtio_gpu_compute_req hdr;
	struct virtio_gpu_compute_build build;
	struct virtio_gpu_compute_launch launch;
	struct virtio_gpu_compute_release release;
	uint8_t bytes[2048];
};

static const char source[] =
	"kernel void set(global int *out, int value, local int *part)\n"
	"{\n"
	"	part[0] = value;\n"
	"	out[get_global_id(0)] = part[0];\n"
	"}\n";

struct context {
	int fd;
	struct virtio_gpu_compute_shmem *shmem;
	uint32_t seqno;
	int32_t *buf;		/* one page, registered */
	uint32_t res_id;
	uint32_t shmem_res_id;
};

/* The render node the library finds, opened anew. */
static int open_node(void)
{
	struct vgpu_error err;
	struct vgpu_ctx *ctx;
	int fd;

	if (vgpu_open(NULL, NULL, &ctx, &err)) {
		printf("# %s\n", err.message);
		return -1;
	}
	fd = open(vgpu_node(ctx), O_RDWR | O_CLOEXEC);
	vgpu_close(ctx);
	return fd;
}

static int init_context(int fd)
{
	struct drm_virtgpu_context_set_param params[] = {
		{ VIRTGPU_CONTEXT_PARAM_CAPSET_ID, VIRTIO_GPU_CAPSET_COMPUTE },
		{ VIRTGPU_CONTEXT_PARAM_NUM_RINGS, 64 },
	};
	struct drm_virtgpu_context_init init = {
		.num_params = 2,
		.ctx_set_params = (uintptr_t)params,
	};

	return ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);
}

static void *map_shmem(int fd, size_t size, uint32_t *res_id)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID,
		.size = size,
	};
	struct drm_virtgpu_map map = { 0 };

	if (ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &blob))
		return MAP_FAILED;
	*res_id = blob.res_handle;
	map.handle = blob.bo_handle;
	if (ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &map))
		return MAP_FAILED;
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    map.offset);
}

/* Submits and waits for the fence; 0, or a negative errno. */
static int submit(int fd, const void *cmd, size_t size, uint32_t ring)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = VIRTGPU_EXECBUF_FENCE_FD_OUT | VIRTGPU_EXECBUF_RING_IDX,
		.size = size,
		.command = (uintptr_t)cmd,
		.fence_fd = -1,
		.ring_idx = ring,
	};
	struct pollfd pfd = { .events = POLLIN };
	int ret;

	if (ioctl(fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec))
		return -errno;
	pfd.fd = exec.fence_fd;
	ret = poll(&pfd, 1, FENCE_MS) == 1 ? 0 : -ETIME;
	close(exec.fence_fd);
	return ret;
}

static struct virtio_gpu_compute_rsp *rsp_at(struct context *c,
					     uint32_t off)
{
	return (void *)((uint8_t *)c->shmem + off);
}

/*
 * Sends the request, whose seqno and rsp_off are filled in here, with
 * @room for the response. Returns what the response says, or 1 when there is
 * none.
 */
static int request_room(struct context *c, union request *req,
			uint32_t cmd, uint32_t len, uint32_t room)
{
	struct virtio_gpu_compute_rsp *rsp = rsp_at(c, RSP_OFF);

	memset(rsp, 0xee, RSP_ROOM);
	rsp->len = htole32(room);
	req->hdr.cmd = htole32(cmd);
	req->hdr.len = htole32(len);
	req->hdr.seqno = htole32(++c->seqno);
	req->hdr.rsp_off = htole32(RSP_OFF);
	if (submit(c->fd, req, len, 0) ||
	    le32toh(__atomic_load_n(&c->shmem->seqno, __ATOMIC_ACQUIRE)) !=
	    c->seqno)
		return 1;
	return le32toh(rsp->ret);
}

static int request(struct context *c, union request *req,
		   uint32_t cmd, uint32_t len)
{
	return request_room(c, req, cmd, len, RSP_ROOM);
}

static int nop(struct context *c)
{
	union request req = { 0 };

	return request(c, &req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req.hdr));
}

static uint32_t align8(uint32_t n)
{
	return (n + 7) & ~7U;
}

static uint32_t fill_build(union request *req, uint32_t id, const char *text,
			   const char *options)
{
	memset(req, 0, sizeof(*req));
	req->build.program_id = htole32(id);
	req->build.source_len = htole32(strlen(text));
	req->build.options_len = htole32(strlen(options));
	strcpy((char *)req->build.data, text);
	strcpy((char *)req->build.data + strlen(text), options);
	return align8(sizeof(req->build) + strlen(text) + strlen(options));
}

static int build(struct context *c, uint32_t id, const char *text)
{
	union request req;
	uint32_t len = fill_build(&req, id, text, "");

	return request(c, &req, VIRTIO_GPU_COMPUTE_BUILD, len);
}

static int release(struct context *c, uint32_t id)
{
	union request req = { .release.program_id = htole32(id) };

	return request(c, &req, VIRTIO_GPU_COMPUTE_RELEASE,
		       sizeof(req.release));
}

/* A launch of "set" of program 1 that works, over 16 items in groups of 4. */
static uint32_t fill_launch(struct context *c, union request *req)
{
	struct virtio_gpu_compute_launch *launch = &req->launch;
	int32_t value = htole32(4711);
	int i;

	memset(req, 0, sizeof(*req));
	launch->program_id = htole32(1);
	launch->work_dim = htole32(1);
	launch->nr_args = htole32(3);
	launch->data_len = htole32(8);
	for (i = 0; i < 3; i++)
		launch->global[i] = launch->local[i] = htole64(1);
	launch->global[0] = htole64(16);
	launch->local[0] = htole64(4);
	strcpy(launch->kernel, "set");
	launch->args[0].type = htole32(VIRTIO_GPU_COMPUTE_ARG_RESOURCE);
	launch->args[0].res_id = htole32(c->res_id);
	launch->args[1].type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES);
	launch->args[1].size = htole64(sizeof(value));
	launch->args[2].type = htole32(VIRTIO_GPU_COMPUTE_ARG_LOCAL);
	launch->args[2].size = htole64(sizeof(value));
	memcpy(&launch->args[3], &value, sizeof(value));
	return sizeof(*launch) + 3 * sizeof(launch->args[0]) + 8;
}

static int launch(struct context *c, union request *req,
		  uint32_t len)
{
	memset(c->buf, 0, PAGE);
	return request(c, req, VIRTIO_GPU_COMPUTE_LAUNCH, len);
}

static bool untouched(const int32_t *buf)
{
	size_t i;

	for (i = 0; i < PAGE / sizeof(*buf) && !buf[i]; i++)
		;
	return i == PAGE / sizeof(*buf);
}

static int open_context(struct context *c)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR,
		.size = PAGE,
	};

	c->seqno = 0;
	c->fd = open_node();
	if (c->fd < 0 || init_context(c->fd))
		return -1;
	c->shmem = map_shmem(c->fd, SHMEM_SIZE, &c->shmem_res_id);
	if (c->shmem == MAP_FAILED)
		return -1;

	c->buf = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->buf == MAP_FAILED)
		return -1;
	blob.userptr = (uintptr_t)c->buf;
	if (ioctl(c->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &blob))
		return -1;
	c->res_id = blob.res_handle;
	return 0;
}

FIXTURE(protocol) {
	struct context c;
};

FIXTURE_SETUP(protocol)
{
	ASSERT_EQ(0, open_context(&self->c));
}

FIXTURE_TEARDOWN(protocol)
{
	close(self->c.fd);
}

TEST_F(protocol, shared_memory_starts_as_specified)
{
	EXPECT_EQ(0, self->c.shmem->seqno);
	EXPECT_LE(sizeof(*self->c.shmem), le32toh(self->c.shmem->rsp_offset));
	EXPECT_GE(VIRTIO_GPU_COMPUTE_SHMEM_MIN_SIZE,
		  le32toh(self->c.shmem->rsp_offset));
	EXPECT_EQ(0, le32toh(self->c.shmem->rsp_offset) % 8);
	EXPECT_EQ(0, self->c.shmem->async_error);
	EXPECT_EQ(0, self->c.shmem->reserved);
}

TEST_F(protocol, capset)
{
	struct virtio_gpu_compute_capset capset;
	struct drm_virtgpu_get_caps caps = {
		.cap_set_id = VIRTIO_GPU_CAPSET_COMPUTE,
		.addr = (uintptr_t)&capset,
		.size = sizeof(capset),
	};

	ASSERT_EQ(0, ioctl(self->c.fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps));
	EXPECT_EQ(VIRTIO_GPU_COMPUTE_WIRE_VERSION,
		  le32toh(capset.wire_version));
	EXPECT_LE(PAGE, le32toh(capset.max_submit));
	EXPECT_GE(VIRTIO_GPU_COMPUTE_MAX_SUBMIT, le32toh(capset.max_submit));
	EXPECT_LT(0, le32toh(capset.max_args));
	EXPECT_GE(VIRTIO_GPU_COMPUTE_MAX_ARGS, le32toh(capset.max_args));
	EXPECT_LT(0, le32toh(capset.max_programs));
	EXPECT_LT(0, le32toh(capset.max_resources));
	EXPECT_EQ(0, capset.flags);
	EXPECT_NE('\0', capset.backend[0]);
	EXPECT_EQ('\0', capset.backend[sizeof(capset.backend) - 1]);
}

TEST_F(protocol, nop_answers_with_its_size)
{
	EXPECT_EQ(0, nop(&self->c));
	EXPECT_EQ(sizeof(struct virtio_gpu_compute_rsp),
		  le32toh(rsp_at(&self->c, RSP_OFF)->len));
}

TEST_F(protocol, each_ring_carries_submissions)
{
	union request req = { 0 };
	uint32_t ring;

	for (ring = 0; ring < 64; ring += 21) {
		req.hdr.cmd = htole32(VIRTIO_GPU_COMPUTE_NOP);
		req.hdr.len = htole32(sizeof(req.hdr));
		req.hdr.seqno = htole32(++self->c.seqno);
		req.hdr.rsp_off = htole32(RSP_OFF);
		rsp_at(&self->c, RSP_OFF)->len = htole32(RSP_ROOM);
		ASSERT_EQ(0, submit(self->c.fd, &req, sizeof(req.hdr), ring));
		EXPECT_EQ(self->c.seqno, le32toh(self->c.shmem->seqno));
	}
}

TEST_F(protocol, requests_back_to_back)
{
	struct virtio_gpu_compute_req req[5];
	uint32_t i;

	for (i = 0; i < 5; i++) {
		req[i].cmd = htole32(VIRTIO_GPU_COMPUTE_NOP);
		req[i].len = htole32(sizeof(req[i]));
		req[i].seqno = htole32(100 + i);
		req[i].rsp_off = htole32(RSP_OFF + 8 * i);
		rsp_at(&self->c, RSP_OFF + 8 * i)->len = htole32(8);
		rsp_at(&self->c, RSP_OFF + 8 * i)->ret = htole32(77);
	}
	req[2].cmd = htole32(4444);

	ASSERT_EQ(0, submit(self->c.fd, req, sizeof(req), 0));
	EXPECT_EQ(104, le32toh(self->c.shmem->seqno));
	/* An error of one does not keep the others from being answered. */
	for (i = 0; i < 5; i++)
		EXPECT_EQ(i == 2 ? -EOPNOTSUPP : 0,
			  (int)le32toh(rsp_at(&self->c, RSP_OFF + 8 * i)->ret));
}

TEST_F(protocol, unknown_command)
{
	union request req = { 0 };

	EXPECT_EQ(-EOPNOTSUPP, request(&self->c, &req, 0, sizeof(req.hdr)));
	EXPECT_EQ(-EOPNOTSUPP, request(&self->c, &req, 6, sizeof(req.hdr)));
	EXPECT_EQ(-EOPNOTSUPP, request(&self->c, &req, UINT32_MAX, 1024));
	EXPECT_EQ(0, nop(&self->c));
}

/* Sends a bare header that says it is @len, in a submission of @size. */
static int send_len(struct context *c, uint32_t len, size_t size)
{
	union request req = {
		.hdr.cmd = htole32(VIRTIO_GPU_COMPUTE_NOP),
		.hdr.len = htole32(len),
		.hdr.seqno = htole32(++c->seqno),
		.hdr.rsp_off = htole32(RSP_OFF),
	};

	rsp_at(c, RSP_OFF)->len = htole32(RSP_ROOM);
	rsp_at(c, RSP_OFF)->ret = htole32(77);
	if (submit(c->fd, &req, size, 0))
		return 1;
	if (le32toh(c->shmem->seqno) != c->seqno)
		return 2;
	return le32toh(rsp_at(c, RSP_OFF)->ret);
}

TEST_F(protocol, bad_length)
{
	EXPECT_EQ(0, self->c.shmem->async_error);
	EXPECT_EQ(-EBADMSG, send_len(&self->c, 0, 16));
	/* What follows it in the submission, if anything, is lost. */
	EXPECT_EQ(EBADMSG, le32toh(self->c.shmem->async_error));
	EXPECT_EQ(-EBADMSG, send_len(&self->c, 8, 16));
	EXPECT_EQ(-EBADMSG, send_len(&self->c, 20, 24));
	EXPECT_EQ(-EBADMSG, send_len(&self->c, 24, 16));
	EXPECT_EQ(-EBADMSG, send_len(&self->c, 0xfffffff8, 16));
	EXPECT_EQ(0, nop(&self->c));
}

/* No room for a header: nothing says where to answer, or which seqno. */
TEST_F(protocol, truncated_header)
{
	uint32_t words[4] = { htole32(VIRTIO_GPU_COMPUTE_NOP), htole32(16) };

	EXPECT_EQ(0, self->c.shmem->async_error);
	EXPECT_EQ(0, submit(self->c.fd, words, 8, 0));
	EXPECT_EQ(EBADMSG, le32toh(self->c.shmem->async_error));
	EXPECT_EQ(0, nop(&self->c));
	/* Never cleared. */
	EXPECT_EQ(EBADMSG, le32toh(self->c.shmem->async_error));
}

/* Sends a NOP that wants its response at @off. */
static int send_rsp_off(struct context *c, uint32_t off)
{
	struct virtio_gpu_compute_req req = {
		.cmd = htole32(VIRTIO_GPU_COMPUTE_NOP),
		.len = htole32(sizeof(req)),
		.seqno = htole32(++c->seqno),
		.rsp_off = htole32(off),
	};

	if (submit(c->fd, &req, sizeof(req), 0))
		return 1;
	return le32toh(c->shmem->seqno) == c->seqno ? 0 : 2;
}

TEST_F(protocol, response_outside_the_shared_memory)
{
	/* Answered as far as it can be: seqno moves, async_error tells. */
	EXPECT_EQ(0, send_rsp_off(&self->c, SHMEM_SIZE));
	EXPECT_EQ(EINVAL, le32toh(self->c.shmem->async_error));
	EXPECT_EQ(0, send_rsp_off(&self->c, SHMEM_SIZE - 4));
	EXPECT_EQ(0, send_rsp_off(&self->c, 0xfffffff8));
	/* Its first bytes are the host's; odd places are for nobody. */
	EXPECT_EQ(0, send_rsp_off(&self->c, 0));
	EXPECT_EQ(0, send_rsp_off(&self->c, 8));
	EXPECT_EQ(0, send_rsp_off(&self->c, RSP_OFF + 4));
	EXPECT_EQ(0, nop(&self->c));
}

TEST_F(protocol, response_room_is_respected)
{
	union request req = { 0 };
	uint8_t *rsp = (uint8_t *)rsp_at(&self->c, RSP_OFF);
	size_t i;

	EXPECT_EQ(0, request_room(&self->c, &req, VIRTIO_GPU_COMPUTE_QUERY,
				  sizeof(req.hdr), 24));
	EXPECT_EQ(24, le32toh(rsp_at(&self->c, RSP_OFF)->len));
	for (i = 24; i < RSP_ROOM && rsp[i] == 0xee; i++)
		;
	EXPECT_EQ(RSP_ROOM, i);

	/* A room that reaches beyond the end, or that holds no header. */
	EXPECT_EQ(0, self->c.shmem->async_error);
	rsp_at(&self->c, SHMEM_SIZE - 8)->len = htole32(16);
	EXPECT_EQ(0, send_rsp_off(&self->c, SHMEM_SIZE - 8));
	EXPECT_EQ(EINVAL, le32toh(self->c.shmem->async_error));
	rsp_at(&self->c, RSP_OFF)->len = htole32(7);
	EXPECT_EQ(0, send_rsp_off(&self->c, RSP_OFF));
	EXPECT_EQ(7, le32toh(rsp_at(&self->c, RSP_OFF)->len));
	EXPECT_EQ(0, nop(&self->c));
}

TEST_F(protocol, query)
{
	union request req = { 0 };
	struct virtio_gpu_compute_query_rsp *rsp =
		(void *)rsp_at(&self->c, RSP_OFF);

	EXPECT_EQ(0, request(&self->c, &req, VIRTIO_GPU_COMPUTE_QUERY,
			     sizeof(req.hdr)));
	EXPECT_EQ(sizeof(*rsp), le32toh(rsp->hdr.len));
	EXPECT_EQ(0, rsp->reserved);
	EXPECT_EQ('\0', rsp->device[sizeof(rsp->device) - 1]);
	EXPECT_EQ('\0', rsp->platform[sizeof(rsp->platform) - 1]);
	EXPECT_EQ('\0', rsp->backend[sizeof(rsp->backend) - 1]);
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_QUERY,
				    24));
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_NOP,
				    24));
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_RELEASE,
				    16));
}

TEST_F(protocol, build_and_release)
{
	EXPECT_EQ(0, build(&self->c, 1, source));
	EXPECT_EQ(-EEXIST, build(&self->c, 1, source));
	EXPECT_EQ(0, release(&self->c, 1));
	EXPECT_EQ(-ENOENT, release(&self->c, 1));
	EXPECT_EQ(-ENOENT, release(&self->c, 0));
	EXPECT_EQ(0, build(&self->c, 1, source));
	EXPECT_EQ(0, build(&self->c, UINT32_MAX, source));
}

TEST_F(protocol, build_refused)
{
	struct virtio_gpu_compute_build_rsp *rsp =
		(void *)rsp_at(&self->c, RSP_OFF);
	union request req;
	uint32_t len, log;

	EXPECT_EQ(-EINVAL, build(&self->c, 0, source));
	EXPECT_EQ(-ENOEXEC, build(&self->c, 1, "kernel void f() { wrong; }"));
	log = le32toh(rsp->log_len);
	EXPECT_LT(0, log);
	EXPECT_EQ(0, rsp->reserved);
	/* The id is free. */
	EXPECT_EQ(0, build(&self->c, 1, source));

	/* As much of the log as has room, and its whole length. */
	len = fill_build(&req, 2, "kernel void f() { wrong; }", "");
	EXPECT_EQ(-ENOEXEC, request_room(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD,
					 len, sizeof(*rsp) + 5));
	EXPECT_EQ(sizeof(*rsp) + 5, le32toh(rsp->hdr.len));
	EXPECT_LT(5, le32toh(rsp->log_len));
	EXPECT_EQ(0xee, rsp->log[5]);

	/* Lengths that do not fit the request. */
	len = fill_build(&req, 3, source, "");
	req.build.source_len = htole32(len);
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD,
				    len));
	req.build.source_len = htole32(UINT32_MAX);
	req.build.options_len = htole32(strlen(source) + 1);
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD,
				    len));
	EXPECT_EQ(-EBADMSG, request(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD,
				    sizeof(req.build) - 8));
	len = fill_build(&req, 3, "", "");
	EXPECT_EQ(-EINVAL, request(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD,
				   len));
	len = fill_build(&req, 3, source, "");
	req.build.reserved = htole32(1);
	EXPECT_EQ(-EINVAL, request(&self->c, &req, VIRTIO_GPU_COMPUTE_BUILD, len));
	EXPECT_EQ(0, nop(&self->c));
}

TEST_F(protocol, launch_sets_what_it_is_told)
{
	struct virtio_gpu_compute_launch_rsp *rsp =
		(void *)rsp_at(&self->c, RSP_OFF);
	union request req;
	uint32_t len = fill_launch(&self->c, &req);
	int i;

	ASSERT_EQ(0, build(&self->c, 1, source));
	ASSERT_EQ(0, launch(&self->c, &req, len));
	for (i = 0; i < 16; i++)
		EXPECT_EQ(4711, self->c.buf[i]);
	EXPECT_EQ(0, self->c.buf[16]);
	EXPECT_EQ(sizeof(*rsp), le32toh(rsp->hdr.len));
	EXPECT_EQ(0, le64toh(rsp->copied));

	/* At an offset. */
	req.launch.args[0].offset = htole64(PAGE / 2);
	req.launch.args[0].size = htole64(64);
	ASSERT_EQ(0, launch(&self->c, &req, len));
	EXPECT_EQ(0, self->c.buf[PAGE / 8 - 1]);
	EXPECT_EQ(4711, self->c.buf[PAGE / 8]);
	EXPECT_EQ(4711, self->c.buf[PAGE / 8 + 15]);
	EXPECT_EQ(0, self->c.buf[PAGE / 8 + 16]);

	/* With groups of the host's choice. */
	req.launch.args[0].offset = req.launch.args[0].size = 0;
	for (i = 0; i < 3; i++)
		req.launch.local[i] = 0;
	EXPECT_EQ(0, launch(&self->c, &req, len));
	EXPECT_EQ(4711, self->c.buf[15]);
}

/* One field of a good launch that makes it a bad one. */
FIXTURE(launch) {
	struct context c;
};

FIXTURE_VARIANT(launch) {
	size_t offset;		/* of the field in the request */
	size_t size;		/* 4 or 8 */
	uint64_t value;
	int ret;
};

#define FIELD(field) offsetof(struct virtio_gpu_compute_launch, field), \
	sizeof(((struct virtio_gpu_compute_launch *)0)->field)
#define LAUNCH(name, field, value, ret) \
	FIXTURE_VARIANT_ADD(launch, name) { FIELD(field), value, ret }

LAUNCH(no_such_program, program_id, 2, -ENOENT);
LAUNCH(program_zero, program_id, 0, -ENOENT);
LAUNCH(no_such_kernel, kernel[0], 'x', -ENOENT);
LAUNCH(no_name, kernel[0], 0, -EINVAL);
LAUNCH(no_dimension, work_dim, 0, -EINVAL);
LAUNCH(four_dimensions, work_dim, 4, -EINVAL);
LAUNCH(items_above_the_dimension, global[1], 2, -EINVAL);
LAUNCH(no_items, global[0], 0, -EINVAL);
LAUNCH(group_does_not_divide, local[0], 3, -EINVAL);
LAUNCH(group_partly_zero, local[0], 0, -EINVAL);
LAUNCH(group_too_large, local[0], 1ULL << 40, -EINVAL);
LAUNCH(less_arguments_than_sent, nr_args, 2, -EBADMSG);
LAUNCH(more_arguments_than_sent, nr_args, 64, -EBADMSG);
LAUNCH(too_many_arguments, nr_args, UINT32_MAX, -E2BIG);
LAUNCH(more_data_than_sent, data_len, 1024, -EBADMSG);
LAUNCH(data_length_wraps, data_len, UINT32_MAX, -EBADMSG);
LAUNCH(argument_of_no_type, args[0].type, 0, -EINVAL);
LAUNCH(argument_of_unknown_type, args[0].type, 4, -EINVAL);
LAUNCH(no_such_resource, args[0].res_id, 0x7fffffff, -ENOENT);
LAUNCH(resource_zero, args[0].res_id, 0, -ENOENT);
LAUNCH(offset_at_the_end, args[0].offset, 4096, -EINVAL);
LAUNCH(offset_wraps, args[0].offset, UINT64_MAX - 127, -EINVAL);
LAUNCH(offset_misaligned, args[0].offset, 1, -EINVAL);
LAUNCH(larger_than_the_resource, args[0].size, 4097, -EINVAL);
LAUNCH(size_wraps, args[0].size, UINT64_MAX, -EINVAL);
LAUNCH(resource_of_a_value, args[1].res_id, 1, -EINVAL);
LAUNCH(value_outside_the_data, args[1].offset, 8, -EINVAL);
LAUNCH(value_offset_wraps, args[1].offset, UINT64_MAX, -EINVAL);
LAUNCH(value_too_large, args[1].size, 8, -EINVAL);
LAUNCH(value_too_small, args[1].size, 2, -EINVAL);
LAUNCH(value_of_no_size, args[1].size, 0, -EINVAL);
LAUNCH(local_of_no_size, args[2].size, 0, -EINVAL);
LAUNCH(local_at_an_offset, args[2].offset, 8, -EINVAL);
LAUNCH(resource_of_local_memory, args[2].res_id, 1, -EINVAL);
LAUNCH(local_too_large, args[2].size, 1ULL << 50, -EINVAL);

FIXTURE_SETUP(launch)
{
	ASSERT_EQ(0, open_context(&self->c));
	ASSERT_EQ(0, build(&self->c, 1, source));
}

FIXTURE_TEARDOWN(launch)
{
	close(self->c.fd);
}

TEST_F(launch, is_refused)
{
	union request req;
	uint32_t len = fill_launch(&self->c, &req);
	uint64_t le = htole64(variant->value);

	memcpy(req.bytes + variant->offset, &le, variant->size);
	EXPECT_EQ(variant->ret, launch(&self->c, &req, len));
	EXPECT_TRUE(untouched(self->c.buf));

	/* The context is as before. */
	len = fill_launch(&self->c, &req);
	EXPECT_EQ(0, launch(&self->c, &req, len));
	EXPECT_EQ(4711, self->c.buf[0]);
}

/* Every kind of argument in the place of every other one. */
TEST_F(protocol, argument_of_the_wrong_kind)
{
	union request good, req;
	uint32_t len = fill_launch(&self->c, &good);
	int i, j;

	ASSERT_EQ(0, build(&self->c, 1, source));
	for (i = 0; i < 3; i++) {
		for (j = 0; j < 3; j++) {
			req = good;
			req.launch.args[i] = good.launch.args[j];
			/* The data has 8 bytes: as many as a pointer. */
			if (j == 1)
				req.launch.args[i].size = htole64(8);
			if (i != j)
				EXPECT_EQ(-EINVAL, launch(&self->c, &req, len))
					TH_LOG("%d for %d", j, i);
			EXPECT_TRUE(untouched(self->c.buf));
		}
	}
	EXPECT_EQ(0, launch(&self->c, &good, len));
}

TEST_F(protocol, number_of_arguments)
{
	union request req;

	ASSERT_EQ(0, build(&self->c, 1, source));
	fill_launch(&self->c, &req);
	req.launch.nr_args = htole32(2);
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, sizeof(req.launch) +
				  2 * sizeof(req.launch.args[0]) + 8));
	req.launch.nr_args = 0;
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, sizeof(req.launch) + 8));
	fill_launch(&self->c, &req);
	req.launch.args[3] = req.launch.args[2];
	req.launch.nr_args = htole32(4);
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, sizeof(req.launch) +
				  4 * sizeof(req.launch.args[0]) + 8));
	EXPECT_TRUE(untouched(self->c.buf));
}

TEST_F(protocol, more_items_than_64_bits_count)
{
	union request req;
	uint32_t len = fill_launch(&self->c, &req);
	int i;

	ASSERT_EQ(0, build(&self->c, 1, source));
	req.launch.work_dim = htole32(3);
	for (i = 0; i < 3; i++)
		req.launch.global[i] = htole64(1ULL << 32);
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, len));
	EXPECT_TRUE(untouched(self->c.buf));
}

/* The memory that responses go to is no memory for kernels. */
TEST_F(protocol, shared_memory_is_no_argument)
{
	union request req;
	uint32_t len = fill_launch(&self->c, &req);

	ASSERT_EQ(0, build(&self->c, 1, source));
	req.launch.args[0].res_id = htole32(self->c.shmem_res_id);
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, len));
}

TEST_F(protocol, launch_with_an_unterminated_name)
{
	union request req;
	uint32_t len = fill_launch(&self->c, &req);

	ASSERT_EQ(0, build(&self->c, 1, source));
	memset(req.launch.kernel, 'a', sizeof(req.launch.kernel));
	EXPECT_EQ(-EINVAL, launch(&self->c, &req, len));
	EXPECT_TRUE(untouched(self->c.buf));
	len = fill_launch(&self->c, &req);
	EXPECT_EQ(-EBADMSG, launch(&self->c, &req, len - 8));
	EXPECT_EQ(-EBADMSG, launch(&self->c, &req, sizeof(req.launch) - 8));
	EXPECT_EQ(0, nop(&self->c));
}

TEST_F(protocol, second_shared_memory_is_refused)
{
	uint32_t res_id;

	EXPECT_EQ(MAP_FAILED, map_shmem(self->c.fd, SHMEM_SIZE, &res_id));
	EXPECT_EQ(0, nop(&self->c));
}

/* Submitting before the shared memory exists harms nobody. */
TEST_F(protocol, submission_without_shared_memory)
{
	union request req = {
		.hdr.cmd = htole32(VIRTIO_GPU_COMPUTE_NOP),
		.hdr.len = htole32(sizeof(req.hdr)),
	};
	int fd = open_node();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, init_context(fd));
	EXPECT_EQ(0, submit(fd, &req, sizeof(req.hdr), 0));
	close(fd);
	EXPECT_EQ(0, nop(&self->c));
}

TEST_F(protocol, submission_beyond_the_limit)
{
	size_t size = 4 * VIRTIO_GPU_COMPUTE_MAX_SUBMIT;
	uint8_t *big = calloc(1, size);

	ASSERT_NE(NULL, big);
	/* The fence signals; what else happens is the context's own loss. */
	EXPECT_EQ(0, submit(self->c.fd, big, size, 0));
	free(big);
	close(self->c.fd);
	ASSERT_EQ(0, open_context(&self->c));
	EXPECT_EQ(0, nop(&self->c));
}

TEST_HARNESS_MAIN
