// SPDX-License-Identifier: MIT
/*
 * vgpu-gl-test: contexts of virglrenderer and COMPUTE contexts on one device.
 * Runs in the VM, whose GPU is virtio-gpu-gl-pci,compute= (vm/run --gl); with
 * VGPU_NO_COMPUTE=1 one without compute=, where GL has to be the same.
 *
 * GL without GL: its command stream is that of virglrenderer's protocol
 * (src/virgl_protocol.h there), written by hand.
 */
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>
#include <linux/virtio_gpu_compute.h>

#include "kselftest_harness.h"

#include "kernels.h"
#include "memory.h"
#include "vgpu.h"

#define PAGE		4096UL

/* For what must happen, and for what must not happen. */
#define SOON_MS		20000
#define NEVER_MS	500

/* virglrenderer's protocol */
#define VIRGL_CMD(cmd, obj, len)	((cmd) | (obj) << 8 | (len) << 16)
#define VIRGL_CREATE_OBJECT		1
#define VIRGL_SET_FRAMEBUFFER_STATE	5
#define VIRGL_CLEAR			7
#define VIRGL_BLIT			16
#define VIRGL_PIPE_RESOURCE_CREATE	48
#define VIRGL_OBJECT_SURFACE		8
#define VIRGL_CLEAR_COLOR0		(1u << 2)
#define VIRGL_BLIT_RGBA			0xfu
#define VIRGL_BLIT_LINEAR		(1u << 8)
#define VIRGL_FORMAT_R8G8B8A8_UNORM	67
#define VIRGL_TEXTURE_2D		2
#define VIRGL_BIND_RENDER_TARGET	(1u << 1)
#define VIRGL_BIND_SAMPLER_VIEW		(1u << 3)
#define VIRGL_FORMAT_R8_UNORM		64
#define VIRGL_BUFFER			0
#define VIRGL_BIND_VERTEX_BUFFER	(1u << 4)
#define VIRGL_MAP_PERSISTENT_COHERENT	(1u << 1 | 1u << 2)
#define VIRGL_CAPSET			1
#define VIRGL2_CAPSET			2
/* capability_bits of union virgl_caps, in words */
#define VIRGL_CAPABILITY_BITS		(392 / 4)
#define VIRGL_CAP_ARB_BUFFER_STORAGE	(1u << 31)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Does the fence signal within @ms? */
static bool signals(int fence, int ms)
{
	struct pollfd pfd = { .fd = fence, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1;
}

static bool compute_wanted(void)
{
	return !getenv("VGPU_NO_COMPUTE");
}

static int get_param(int fd, uint64_t param)
{
	int value = 0;
	struct drm_virtgpu_getparam get = {
		.param = param,
		.value = (uintptr_t)&value,
	};

	return ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &get) ? -errno : value;
}

/* The first render node of the driver. */
static int open_node(void)
{
	char path[32], name[16] = "";
	struct drm_version version = { .name = name, .name_len = sizeof(name) };
	int i, fd;

	for (i = 128; i < 144; i++) {
		snprintf(path, sizeof(path), "/dev/dri/renderD%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		version.name_len = sizeof(name);
		if (!ioctl(fd, DRM_IOCTL_VERSION, &version) &&
		    !strncmp(name, "virtio_gpu", sizeof(name)))
			return fd;
		close(fd);
	}
	return -1;
}

/*
 * GL
 */
struct texture {
	uint32_t bo;
	uint32_t res_id;
	uint32_t width;
	uint32_t height;
	uint32_t *pixels;	/* what the host wrote on read_texture() */
};

/* An open node with a context of virglrenderer, and what it draws to. */
struct gl {
	int fd;
	struct texture target;
};

static int make_texture(int fd, struct texture *t, uint32_t width,
			uint32_t height, size_t backing)
{
	struct drm_virtgpu_resource_create create = {
		.target = VIRGL_TEXTURE_2D,
		.format = VIRGL_FORMAT_R8G8B8A8_UNORM,
		.bind = VIRGL_BIND_RENDER_TARGET | VIRGL_BIND_SAMPLER_VIEW,
		.width = width,
		.height = height,
		.depth = 1,
		.array_size = 1,
		.size = backing,
	};
	struct drm_virtgpu_map map = { 0 };

	if (ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create))
		return -errno;
	t->bo = create.bo_handle;
	t->res_id = create.res_handle;
	t->width = width;
	t->height = height;
	map.handle = t->bo;
	if (ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &map))
		return -errno;
	t->pixels = mmap(NULL, backing, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 map.offset);
	return t->pixels == MAP_FAILED ? -errno : 0;
}

/* Returns the fence, on the timeline of all contexts, or a negative errno. */
static int submit(int fd, const void *cmd, size_t size, int in_fence)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = VIRTGPU_EXECBUF_FENCE_FD_OUT |
			 (in_fence < 0 ? 0 : VIRTGPU_EXECBUF_FENCE_FD_IN),
		.size = size,
		.command = (uintptr_t)cmd,
		.fence_fd = in_fence,
	};

	if (ioctl(fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec))
		return -errno;
	return exec.fence_fd;
}

/* Fills the target with 0xAABBGGRR; returns as submit(). */
static int clear(struct gl *gl, uint32_t colour, int in_fence)
{
	uint32_t cmd[32], *c = cmd;
	int i;

	*c++ = VIRGL_CMD(VIRGL_SET_FRAMEBUFFER_STATE, 0, 3);
	*c++ = 1;
	*c++ = 0;
	*c++ = 1;	/* the surface that gl_open() made */
	*c++ = VIRGL_CMD(VIRGL_CLEAR, 0, 8);
	*c++ = VIRGL_CLEAR_COLOR0;
	for (i = 0; i < 4; i++) {
		float f = (colour >> 8 * i & 0xff) / 255.0f;

		memcpy(c++, &f, sizeof(f));
	}
	*c++ = 0;	/* depth, a double */
	*c++ = 0;
	*c++ = 0;	/* stencil */
	return submit(gl->fd, cmd, (c - cmd) * sizeof(*cmd), in_fence);
}

/* Copies all of @src to all of @dst @times times, with a linear filter. */
static int blit(struct gl *gl, const struct texture *dst,
		const struct texture *src, int times)
{
	uint32_t cmd[22 * 64], *c = cmd;

	while (times--) {
		*c++ = VIRGL_CMD(VIRGL_BLIT, 0, 21);
		*c++ = VIRGL_BLIT_RGBA | VIRGL_BLIT_LINEAR;
		*c++ = 0;	/* scissor */
		*c++ = 0;
		*c++ = dst->res_id;
		*c++ = 0;
		*c++ = VIRGL_FORMAT_R8G8B8A8_UNORM;
		*c++ = 0;
		*c++ = 0;
		*c++ = 0;
		*c++ = dst->width;
		*c++ = dst->height;
		*c++ = 1;
		*c++ = src->res_id;
		*c++ = 0;
		*c++ = VIRGL_FORMAT_R8G8B8A8_UNORM;
		*c++ = 0;
		*c++ = 0;
		*c++ = 0;
		*c++ = src->width;
		*c++ = src->height;
		*c++ = 1;
	}
	return submit(gl->fd, cmd, (c - cmd) * sizeof(*cmd), -1);
}

/* Asks for the pixels, which come when the host has drawn them. */
static int read_texture(struct gl *gl, struct texture *t)
{
	struct drm_virtgpu_3d_transfer_from_host transfer = {
		.bo_handle = t->bo,
		.box = { .w = t->width, .h = t->height, .d = 1 },
	};

	return ioctl(gl->fd, DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST, &transfer) ?
	       -errno : 0;
}

static int wait_texture(struct gl *gl, struct texture *t)
{
	struct drm_virtgpu_3d_wait wait = { .handle = t->bo };

	return ioctl(gl->fd, DRM_IOCTL_VIRTGPU_WAIT, &wait) ? -errno : 0;
}

/* Pixels that are not of that colour. */
static size_t wrong_pixels(const struct texture *t, uint32_t colour)
{
	size_t i, wrong = 0;

	for (i = 0; i < (size_t)t->width * t->height; i++)
		wrong += ((volatile uint32_t *)t->pixels)[i] != colour;
	return wrong;
}

/* Clears, reads back; returns wrong_pixels(), or a negative errno. */
static int64_t draw(struct gl *gl, uint32_t colour)
{
	int fence = clear(gl, colour, -1);
	int ret;

	if (fence < 0)
		return fence;
	ret = signals(fence, SOON_MS) ? 0 : -ETIME;
	close(fence);
	if (!ret)
		ret = read_texture(gl, &gl->target);
	if (!ret)
		ret = wait_texture(gl, &gl->target);
	return ret ?: (int64_t)wrong_pixels(&gl->target, colour);
}

static int gl_open(struct gl *gl)
{
	uint32_t cmd[6];
	int ret, fence;

	gl->fd = open_node();
	if (gl->fd < 0)
		return -ENODEV;
	ret = make_texture(gl->fd, &gl->target, 128, 64, 128 * 64 * 4);
	if (ret)
		return ret;
	cmd[0] = VIRGL_CMD(VIRGL_CREATE_OBJECT, VIRGL_OBJECT_SURFACE, 5);
	cmd[1] = 1;
	cmd[2] = gl->target.res_id;
	cmd[3] = VIRGL_FORMAT_R8G8B8A8_UNORM;
	cmd[4] = 0;
	cmd[5] = 0;
	fence = submit(gl->fd, cmd, sizeof(cmd), -1);
	if (fence < 0)
		return fence;
	close(fence);
	return 0;
}

static void gl_close(struct gl *gl)
{
	munmap(gl->target.pixels, gl->target.width * gl->target.height * 4);
	close(gl->fd);
}

/*
 * Compute
 */
static const char source[] = KERNEL_FILL KERNEL_SPIN;

#define DATA_SIZE	(64 * PAGE)

struct compute {
	struct vgpu_ctx *ctx;
	struct vgpu_program *prog;
	atomic_int *word;	/* of spin */
	struct vgpu_mem *word_mem;
	uint8_t *data;
	struct vgpu_mem *data_mem;
	struct vgpu_error err;
};

static int compute_open(struct compute *c)
{
	int ret;

	c->word = aligned_alloc(PAGE, PAGE);
	c->data = aligned_alloc(PAGE, DATA_SIZE);
	if (!c->word || !c->data)
		return -ENOMEM;
	memset(c->word, 0, PAGE);
	memset(c->data, 0, DATA_SIZE);
	ret = vgpu_open(NULL, "gl-test", &c->ctx, &c->err);
	if (!ret)
		ret = vgpu_build(c->ctx, source, NULL, NULL, &c->prog, &c->err);
	if (!ret)
		ret = vgpu_register(c->ctx, c->word, PAGE, 0, &c->word_mem,
				    &c->err);
	if (!ret)
		ret = vgpu_register(c->ctx, c->data, DATA_SIZE, 0, &c->data_mem,
				    &c->err);
	if (ret)
		printf("# %s\n", c->err.message);
	return ret;
}

static void compute_close(struct compute *c)
{
	vgpu_close(c->ctx);
	free(c->word);
	free(c->data);
}

static int start_fill(struct compute *c, uint32_t seed, struct vgpu_job **job)
{
	struct vgpu_arg args[] = { VGPU_MEM(c->data_mem), VGPU_VALUE(seed) };

	return vgpu_launch(c->prog, "fill", &VGPU_RANGE_1D(DATA_SIZE), args, 2,
			   job, &c->err);
}

/* Returns how many bytes are wrong then, or a negative errno. */
static int64_t fill(struct compute *c, uint32_t seed)
{
	struct vgpu_job *job;
	size_t i, wrong = 0;
	int ret;

	ret = start_fill(c, seed, &job);
	if (ret)
		return ret;
	ret = vgpu_wait(job, SOON_MS, NULL, &c->err);
	vgpu_job_free(job);
	for (i = 0; !ret && i < DATA_SIZE; i++)
		wrong += c->data[i] != memory_byte(i, seed);
	return ret ?: (int64_t)wrong;
}

/* Starts a kernel that runs until spin_end(). */
static int spin(struct compute *c, struct vgpu_job **job)
{
	struct vgpu_arg args[] = { VGPU_MEM(c->word_mem) };
	double end = now() + SOON_MS / 1e3;
	int ret;

	ret = vgpu_launch(c->prog, "spin", &VGPU_RANGE_1D(1), args, 1, job,
			  &c->err);
	while (!ret && !atomic_load(&c->word[1]))
		if (now() > end)
			ret = -ETIME;
	return ret;
}

static void spin_end(struct compute *c)
{
	atomic_store(&c->word[0], 1);
}

/*
 * The library's fences are of rings. This one is on the timeline of all
 * contexts: an empty submission, finished after what was launched before.
 */
static int compute_fence(struct compute *c, int in_fence)
{
	return submit(vgpu_fd(c->ctx), NULL, 0, in_fence);
}

/*
 * A COMPUTE context without the library, which knows no resources but those
 * that it has registered itself.
 */
struct wire {
	int fd;
	struct virtio_gpu_compute_shmem *shmem;
	uint32_t seqno;
};

#define WIRE_SHMEM_SIZE	(8 * PAGE)

/* Returns what the response says, or 1 if there is none. */
static int wire_request(struct wire *w, struct virtio_gpu_compute_req *req,
			uint32_t cmd, uint32_t len)
{
	uint32_t off = le32toh(w->shmem->rsp_offset);
	struct virtio_gpu_compute_rsp *rsp;
	int fence;

	rsp = (void *)((char *)w->shmem + off);
	rsp->len = htole32(WIRE_SHMEM_SIZE - off);
	req->cmd = htole32(cmd);
	req->len = htole32(len);
	req->seqno = htole32(++w->seqno);
	req->rsp_off = htole32(off);
	fence = submit(w->fd, req, len, -1);
	if (fence < 0)
		return fence;
	if (!signals(fence, SOON_MS) ||
	    le32toh(__atomic_load_n(&w->shmem->seqno, __ATOMIC_ACQUIRE)) !=
	    w->seqno)
		return 1;
	close(fence);
	return (int32_t)le32toh(rsp->ret);
}

static int wire_open(struct wire *w)
{
	struct drm_virtgpu_context_set_param param = {
		VIRTGPU_CONTEXT_PARAM_CAPSET_ID, VIRTIO_GPU_CAPSET_COMPUTE
	};
	struct drm_virtgpu_context_init init = {
		.num_params = 1,
		.ctx_set_params = (uintptr_t)&param,
	};
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID,
		.size = WIRE_SHMEM_SIZE,
	};
	union {
		struct virtio_gpu_compute_build build;
		uint8_t bytes[2048];
	} req = {
		.build.program_id = htole32(1),
		.build.source_len = htole32(strlen(source)),
	};
	struct drm_virtgpu_map map = { 0 };

	w->seqno = 0;
	w->fd = open_node();
	if (w->fd < 0 || ioctl(w->fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init) ||
	    ioctl(w->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &blob))
		return -errno;
	map.handle = blob.bo_handle;
	if (ioctl(w->fd, DRM_IOCTL_VIRTGPU_MAP, &map))
		return -errno;
	w->shmem = mmap(NULL, WIRE_SHMEM_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED, w->fd, map.offset);
	if (w->shmem == MAP_FAILED)
		return -errno;
	memcpy(req.build.data, source, strlen(source));
	return wire_request(w, &req.build.hdr, VIRTIO_GPU_COMPUTE_BUILD,
			    (sizeof(req.build) + strlen(source) + 7) & ~7UL);
}

static void wire_close(struct wire *w)
{
	munmap(w->shmem, WIRE_SHMEM_SIZE);
	close(w->fd);
}

static int wire_fill(struct wire *w, uint32_t res_id, uint64_t size,
		     uint32_t seed)
{
	struct {
		struct virtio_gpu_compute_launch launch;
		struct virtio_gpu_compute_arg args[2];
		uint32_t seed;
		uint32_t pad;
	} req = {
		.launch = {
			.program_id = htole32(1),
			.work_dim = htole32(1),
			.nr_args = htole32(2),
			.data_len = htole32(8),
			.global = { htole64(size), htole64(1), htole64(1) },
			.kernel = "fill",
		},
		.args = {
			{ .type = htole32(VIRTIO_GPU_COMPUTE_ARG_RESOURCE),
			  .res_id = htole32(res_id) },
			{ .type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES),
			  .size = htole64(sizeof(seed)) },
		},
		.seed = htole32(seed),
	};

	return wire_request(w, &req.launch.hdr, VIRTIO_GPU_COMPUTE_LAUNCH,
			    sizeof(req));
}

/* How often the kernel said that the device has refused a command. */
static int refused_commands(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char line[8192];
	ssize_t len;
	int nr = 0;

	if (fd < 0)
		return -errno;
	while ((len = read(fd, line, sizeof(line) - 1)) > 0) {
		line[len] = '\0';
		nr += strstr(line, "*ERROR* response") != NULL;
	}
	close(fd);
	return nr;
}

/*
 * GL alone, with or without compute=
 */
FIXTURE(gl) {
	struct gl gl;
};

FIXTURE_SETUP(gl)
{
	ASSERT_EQ(0, gl_open(&self->gl));
}

FIXTURE_TEARDOWN(gl)
{
	gl_close(&self->gl);
}

TEST_F(gl, draws)
{
	EXPECT_EQ(0, draw(&self->gl, 0xff3366cc));
	EXPECT_EQ(0, draw(&self->gl, 0x80402010));
}

TEST_F(gl, capsets_are_those_of_virglrenderer_then_those_of_the_server)
{
	int ids = get_param(self->gl.fd, VIRTGPU_PARAM_SUPPORTED_CAPSET_IDs);

	EXPECT_LE(0, ids);
	EXPECT_TRUE(ids & 1 << VIRGL_CAPSET);
	EXPECT_EQ(compute_wanted(), !!(ids & 1 << VIRTIO_GPU_CAPSET_COMPUTE));
}

TEST_F(gl, caps_of_virglrenderer)
{
	uint32_t data[77] = { 0 };	/* a virgl_caps_v1 */
	struct drm_virtgpu_get_caps caps = {
		.cap_set_id = VIRGL_CAPSET,
		.cap_set_ver = 1,
		.addr = (uintptr_t)data,
		.size = sizeof(data),
	};

	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps));
	EXPECT_NE(0, data[0]);		/* max_version */
}

/* What Mesa goes by when it makes buffers that stay mapped. */
TEST_F(gl, buffers_that_stay_mapped_are_offered_only_where_they_work)
{
	uint32_t caps[VIRGL_CAPABILITY_BITS + 1] = { 0 };
	struct drm_virtgpu_get_caps get = {
		.cap_set_id = VIRGL2_CAPSET,
		.cap_set_ver = 2,
		.addr = (uintptr_t)caps,
		.size = sizeof(caps),
	};
	uint32_t cmd[] = {
		VIRGL_CMD(VIRGL_PIPE_RESOURCE_CREATE, 0, 11),
		VIRGL_BUFFER, VIRGL_FORMAT_R8_UNORM, VIRGL_BIND_VERTEX_BUFFER,
		PAGE, 1, 1, 1, 0, 0, VIRGL_MAP_PERSISTENT_COHERENT,
		1,	/* blob_id */
	};
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = PAGE,
		.blob_id = 1,
		.cmd = (uintptr_t)cmd,
		.cmd_size = sizeof(cmd),
	};
	struct drm_virtgpu_map map = { 0 };
	char *addr;

	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &get));
	if (get_param(self->gl.fd, VIRTGPU_PARAM_RESOURCE_BLOB) != 1 ||
	    get_param(self->gl.fd, VIRTGPU_PARAM_HOST_VISIBLE) != 1 ||
	    !(caps[VIRGL_CAPABILITY_BITS] & VIRGL_CAP_ARB_BUFFER_STORAGE))
		SKIP(return, "they are not offered");

	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB,
			   &blob));
	map.handle = blob.bo_handle;
	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_MAP, &map));
	addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->gl.fd, map.offset);
	ASSERT_NE(MAP_FAILED, addr);
	memset(addr, 0x5a, PAGE);
	EXPECT_EQ(0x5a, addr[PAGE - 1]);
	EXPECT_EQ(0, munmap(addr, PAGE));
	EXPECT_EQ(0, draw(&self->gl, 0xff5a5a5a));
}

TEST_F(gl, features_are_as_before_without_compute)
{
	if (compute_wanted())
		SKIP(return, "the device has compute=");
	EXPECT_GE(0, get_param(self->gl.fd, VIRTGPU_PARAM_RESOURCE_USERPTR));
	/* blob=on is what would give it blobs */
	EXPECT_EQ(0, get_param(self->gl.fd, VIRTGPU_PARAM_RESOURCE_BLOB));
}

TEST_F(gl, a_program_without_gl_or_compute_goes_on)
{
	struct gl other;

	ASSERT_EQ(0, gl_open(&other));
	EXPECT_EQ(0, draw(&other, 0xff0000ff));
	gl_close(&other);
	EXPECT_EQ(0, draw(&self->gl, 0xff00ff00));
}

/*
 * Both
 */
FIXTURE(both) {
	struct gl gl;
	struct compute c;
};

FIXTURE_SETUP(both)
{
	if (!compute_wanted())
		SKIP(return, "the device has no compute=");
	ASSERT_EQ(0, gl_open(&self->gl));
	ASSERT_EQ(0, compute_open(&self->c));
}

FIXTURE_TEARDOWN(both)
{
	if (!compute_wanted())
		return;
	compute_close(&self->c);
	gl_close(&self->gl);
}

/* Each round checks what it did; a process of its own for each. */
static int rounds(struct gl *gl, struct compute *c, int nr)
{
	int i;

	for (i = 1; i <= nr; i++)
		if (gl ? draw(gl, 0x01020304 * i) : fill(c, i))
			return i;
	return 0;
}

TEST_F_TIMEOUT(both, gl_and_compute_at_once, 120)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct compute c = { 0 };

		_exit(compute_open(&c) || rounds(NULL, &c, 60));
	}
	EXPECT_EQ(0, rounds(&self->gl, NULL, 60));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(both, gl_draws_while_a_kernel_runs)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->c, &job));
	EXPECT_EQ(0, rounds(&self->gl, NULL, 10));
	EXPECT_EQ(-ETIME, vgpu_wait(job, 0, NULL, NULL));
	spin_end(&self->c);
	EXPECT_EQ(0, vgpu_wait(job, SOON_MS, NULL, NULL));
}

/* One timeline: the fence of GL is later, though what it is of ends earlier. */
TEST_F(both, a_later_fence_of_gl_waits_for_an_earlier_one_of_compute)
{
	const uint32_t colour = 0xff112233;
	struct vgpu_job *job;
	int compute, gl;
	double end;

	ASSERT_EQ(0, spin(&self->c, &job));
	compute = compute_fence(&self->c, -1);
	ASSERT_LE(0, compute);
	gl = clear(&self->gl, colour, -1);
	ASSERT_LE(0, gl);
	ASSERT_EQ(0, read_texture(&self->gl, &self->gl.target));

	for (end = now() + SOON_MS / 1e3; now() < end; )
		if (!wrong_pixels(&self->gl.target, colour))
			break;
	EXPECT_EQ(0, wrong_pixels(&self->gl.target, colour));
	EXPECT_FALSE(signals(gl, NEVER_MS));
	EXPECT_FALSE(signals(compute, 0));

	spin_end(&self->c);
	EXPECT_TRUE(signals(gl, SOON_MS));
	EXPECT_TRUE(signals(compute, 0));
	EXPECT_EQ(1, atomic_load(&self->c.word[2]));
	close(gl);
	close(compute);
}

/* The other way round, with something that takes GL its time. */
TEST_F_TIMEOUT(both, a_later_fence_of_compute_waits_for_an_earlier_one_of_gl,
	       120)
{
	struct texture from, to;
	int compute, gl, times;
	struct vgpu_job *job;
	double start, took;

	ASSERT_EQ(0, make_texture(self->gl.fd, &from, 2048, 2048, PAGE));
	ASSERT_EQ(0, make_texture(self->gl.fd, &to, 4096, 4096, PAGE));
	for (times = 1; times < 64; times *= 2) {
		start = now();
		gl = blit(&self->gl, &to, &from, times);
		ASSERT_LE(0, gl);
		ASSERT_TRUE(signals(gl, SOON_MS));
		close(gl);
		took = now() - start;
		if (took > 0.8)
			break;
	}
	TH_LOG("%d blits take %.0f ms", times, took * 1e3);
	if (times == 64)
		SKIP(return, "nothing is slow enough here to be late");

	gl = blit(&self->gl, &to, &from, times);
	ASSERT_LE(0, gl);
	compute = compute_fence(&self->c, -1);
	ASSERT_LE(0, compute);
	/* behind it in the same context: when this one is done, that one is */
	ASSERT_EQ(0, start_fill(&self->c, 1, &job));
	ASSERT_EQ(0, vgpu_wait(job, SOON_MS, NULL, NULL));
	ASSERT_FALSE(signals(gl, 0));
	EXPECT_FALSE(signals(compute, 0));
	EXPECT_TRUE(signals(compute, SOON_MS));
	EXPECT_TRUE(signals(gl, 0));
	close(gl);
	close(compute);
}

TEST_F(both, rings_wait_for_nobody)
{
	struct compute other;
	struct vgpu_job *job;
	int compute, gl;

	ASSERT_EQ(0, compute_open(&other));
	ASSERT_EQ(0, spin(&self->c, &job));
	compute = compute_fence(&self->c, -1);
	ASSERT_LE(0, compute);
	gl = clear(&self->gl, 0xffffffff, -1);
	ASSERT_LE(0, gl);

	/* fences of another context's ring, earlier ones being pending */
	EXPECT_EQ(0, fill(&other, 7));
	EXPECT_FALSE(signals(compute, 0));
	EXPECT_FALSE(signals(gl, 0));

	spin_end(&self->c);
	EXPECT_TRUE(signals(gl, SOON_MS));
	close(gl);
	close(compute);
	compute_close(&other);
}

struct drawing {
	struct gl *gl;
	int in_fence;
	atomic_int submitted;
	int fence;
};

static void *draw_behind(void *arg)
{
	struct drawing *d = arg;

	/* waits for the fence before it sends anything */
	d->fence = clear(d->gl, 0xffaabbcc, d->in_fence);
	atomic_store(&d->submitted, 1);
	return NULL;
}

TEST_F(both, gl_waits_for_a_fence_of_a_ring)
{
	struct drawing d = { .gl = &self->gl };
	struct vgpu_job *job;
	pthread_t thread;

	ASSERT_EQ(0, spin(&self->c, &job));
	d.in_fence = dup(vgpu_job_fd(job));
	ASSERT_LE(0, d.in_fence);
	ASSERT_EQ(0, pthread_create(&thread, NULL, draw_behind, &d));
	usleep(NEVER_MS * 1000);
	EXPECT_EQ(0, atomic_load(&d.submitted));
	spin_end(&self->c);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(1, atomic_load(&self->c.word[2]));
	ASSERT_LE(0, d.fence);
	EXPECT_TRUE(signals(d.fence, SOON_MS));
	close(d.fence);
}

TEST_F(both, compute_waits_for_a_fence_of_gl)
{
	int gl, compute;

	gl = clear(&self->gl, 0xff445566, -1);
	ASSERT_LE(0, gl);
	compute = compute_fence(&self->c, gl);
	ASSERT_LE(0, compute);
	EXPECT_TRUE(signals(compute, SOON_MS));
	close(compute);
	EXPECT_EQ(0, fill(&self->c, 3));
}

TEST_F(both, gl_draws_when_a_worker_has_died)
{
	const uint32_t seed = 1;
	struct vgpu_mem *mem;
	struct vgpu_job *job;
	struct compute next;
	void *page;
	int gl;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, vgpu_register(self->c.ctx, page, PAGE, VGPU_RDONLY, &mem,
				   NULL));
	/* writes what may only be read */
	ASSERT_EQ(0, vgpu_launch(self->c.prog, "fill", &VGPU_RANGE_1D(PAGE),
				 (struct vgpu_arg[]){ VGPU_MEM(mem),
						      VGPU_VALUE(seed) },
				 2, &job, NULL));
	gl = clear(&self->gl, 0xff010101, -1);
	ASSERT_LE(0, gl);
	EXPECT_TRUE(signals(gl, SOON_MS));
	close(gl);
	EXPECT_EQ(-EIO, vgpu_wait(job, SOON_MS, NULL, NULL));
	EXPECT_EQ(0, draw(&self->gl, 0xff778899));

	/* and another one computes */
	ASSERT_EQ(0, compute_open(&next));
	EXPECT_EQ(0, fill(&next, 9));
	compute_close(&next);
	munmap(page, PAGE);
}

/*
 * Memory of the guest's kernel, which is of no context: here a program with GL
 * makes it and hands it to one that computes.
 */
TEST_F(both, a_blob_of_guest_memory_is_for_contexts_of_both)
{
	const size_t size = 16 * PAGE;
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE |
			      VIRTGPU_BLOB_FLAG_USE_SHAREABLE,
		.size = size,
	};
	struct drm_prime_handle prime = { .flags = DRM_CLOEXEC | DRM_RDWR };
	struct drm_gem_close gem_close = { 0 };
	int refused = refused_commands();
	struct drm_virtgpu_map map = { 0 };
	struct wire w;
	uint8_t *addr;
	size_t i;

	ASSERT_LE(0, refused);
	ASSERT_EQ(0, wire_open(&w));
	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB,
			   &blob));
	map.handle = blob.bo_handle;
	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_VIRTGPU_MAP, &map));
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->gl.fd, map.offset);
	ASSERT_NE(MAP_FAILED, addr);
	/* unknown there as long as it is not attached */
	EXPECT_EQ(-ENOENT, wire_fill(&w, blob.res_handle, size, 1));

	prime.handle = blob.bo_handle;
	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime));
	ASSERT_EQ(0, ioctl(w.fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime));
	close(prime.fd);
	EXPECT_EQ(0, draw(&self->gl, 0xff102030));
	ASSERT_EQ(0, wire_fill(&w, blob.res_handle, size, 5));
	for (i = 0; i < size && addr[i] == memory_byte(i, 5); i++)
		;
	EXPECT_EQ(size, i);

	gem_close.handle = prime.handle;
	ASSERT_EQ(0, ioctl(w.fd, DRM_IOCTL_GEM_CLOSE, &gem_close));
	EXPECT_EQ(-ENOENT, wire_fill(&w, blob.res_handle, size, 1));
	munmap(addr, size);
	gem_close.handle = blob.bo_handle;
	ASSERT_EQ(0, ioctl(self->gl.fd, DRM_IOCTL_GEM_CLOSE, &gem_close));
	EXPECT_EQ(0, draw(&self->gl, 0xff302010));
	wire_close(&w);
	EXPECT_EQ(refused, refused_commands());
}

TEST_F_TIMEOUT(both, nothing_of_one_is_known_to_the_other, 120)
{
	struct gl other;
	int i;

	/* ids of contexts and resources are given to both in turn */
	for (i = 0; i < 8; i++) {
		struct compute c;

		ASSERT_EQ(0, gl_open(&other));
		ASSERT_EQ(0, compute_open(&c));
		EXPECT_EQ(0, draw(&other, 0xff000000 + i));
		EXPECT_EQ(0, fill(&c, i));
		if (i % 2) {
			compute_close(&c);
			EXPECT_EQ(0, draw(&other, 0xff000100 + i));
			gl_close(&other);
		} else {
			gl_close(&other);
			EXPECT_EQ(0, fill(&c, 100 + i));
			compute_close(&c);
		}
	}
	EXPECT_EQ(0, draw(&self->gl, 0xff123456));
	EXPECT_EQ(0, fill(&self->c, 42));
}

TEST_HARNESS_MAIN
