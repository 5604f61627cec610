// SPDX-License-Identifier: MIT
/*
 * The guest's side of the virtio-gpu COMPUTE context, see vgpu.h for its users
 * and linux/virtio_gpu_compute.h for what goes over the wire.
 *
 * Each request is one submission with one fence. Its response has room of its
 * own in the blob that guest and host share, and keeps it until the job is
 * given up *and* the fence has signalled: the host may write there until then.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>
#include <linux/virtio_gpu_compute.h>

#include "vgpu.h"

/* DRM gives render nodes the minors 128 to 191. */
#define RENDER_FIRST		128
#define RENDER_LAST		191

/* Enough for seven builds at a time, or two thousand launches. */
#define SHMEM_SIZE		(128 * 1024)
#define SLOT_SIZE		64
#define NR_SLOTS		(SHMEM_SIZE / SLOT_SIZE)

struct vgpu_mem {
	LIST_ENTRY(vgpu_mem) link;
	struct vgpu_ctx *ctx;
	uint32_t handle;
	uint32_t res_id;
};

struct vgpu_program {
	LIST_ENTRY(vgpu_program) link;
	struct vgpu_ctx *ctx;
	uint32_t id;
};

struct vgpu_job {
	LIST_ENTRY(vgpu_job) link;
	struct vgpu_ctx *ctx;
	int fence_fd;
	uint32_t seqno;
	uint32_t rsp_off;
	uint32_t rsp_size;	/* room there */
	bool abandoned;		/* given up, perhaps while running */
	bool counted;		/* in stats.copied */
	char what[VIRTIO_GPU_COMPUTE_MAX_NAME];	/* for messages */
};

struct vgpu_ctx {
	int fd;
	char node[64];
	int userptr;		/* VIRTGPU_PARAM_RESOURCE_USERPTR */
	struct virtio_gpu_compute_capset capset;
	void *shmem;
	uint32_t rsp_offset;

	pthread_mutex_t lock;	/* of all below */
	uint32_t seqno;
	uint32_t program_id;
	struct vgpu_stats stats;
	LIST_HEAD(, vgpu_mem) mems;
	LIST_HEAD(, vgpu_program) programs;
	LIST_HEAD(, vgpu_job) jobs;
	bool slot_used[NR_SLOTS];
};

/* Fills in @err and returns -@code. %m in @fmt is the text of @code. */
static __attribute__((format(printf, 3, 4)))
int fail(struct vgpu_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = code;
		errno = code;
		va_start(ap, fmt);
		vsnprintf(err->message, sizeof(err->message), fmt, ap);
		va_end(ap);
	}
	return -code;
}

/* ioctl(2), restarted when a signal came. Returns 0 or a negative errno. */
static int vgpu_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret == -1 && errno == EINTR);

	return ret ? -errno : 0;
}

static int get_param(int fd, uint64_t param, int *value)
{
	struct drm_virtgpu_getparam args = {
		.param = param,
		.value = (uintptr_t)value,
	};

	*value = 0;
	return vgpu_ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &args);
}

static bool is_virtio_gpu(int fd)
{
	char name[16] = "";
	struct drm_version version = {
		.name = name,
		.name_len = sizeof(name) - 1,
	};

	return vgpu_ioctl(fd, DRM_IOCTL_VERSION, &version) == 0 &&
	       strcmp(name, "virtio_gpu") == 0;
}

static int check_device(struct vgpu_ctx *ctx, struct vgpu_error *err)
{
	static const struct {
		uint64_t param;
		const char *missing;
	} needed[] = {
		{ VIRTGPU_PARAM_3D_FEATURES, "rendering contexts" },
		{ VIRTGPU_PARAM_RESOURCE_BLOB, "blob resources" },
		{ VIRTGPU_PARAM_HOST_VISIBLE,
		  "host-visible memory (QEMU: hostmem=)" },
		{ VIRTGPU_PARAM_CONTEXT_INIT, "context types" },
	};
	struct drm_virtgpu_get_caps caps = {
		.cap_set_id = VIRTIO_GPU_CAPSET_COMPUTE,
		.addr = (uintptr_t)&ctx->capset,
		.size = sizeof(ctx->capset),
	};
	unsigned int i;
	int value, ret;

	for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		ret = get_param(ctx->fd, needed[i].param, &value);
		if (ret || !value)
			return fail(err, EOPNOTSUPP,
				    "%s: the device has no %s", ctx->node,
				    needed[i].missing);
	}

	ret = get_param(ctx->fd, VIRTGPU_PARAM_RESOURCE_USERPTR,
			&ctx->userptr);
	if (ret == -EINVAL)
		return fail(err, EOPNOTSUPP,
			    "%s: this kernel's virtio-gpu driver cannot register user memory",
			    ctx->node);
	if (ret || !(ctx->userptr & VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST))
		return fail(err, EOPNOTSUPP,
			    "%s: the device takes no user memory (VIRTIO_GPU_F_RESOURCE_USERPTR)",
			    ctx->node);

	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps);
	if (ret == -EINVAL || ret == -ENOSYS)
		return fail(err, EOPNOTSUPP,
			    "%s: the device has no COMPUTE contexts",
			    ctx->node);
	if (ret)
		return fail(err, -ret, "%s: cannot read the capset: %m",
			    ctx->node);
	if (le32toh(ctx->capset.wire_version) != VIRTIO_GPU_COMPUTE_WIRE_VERSION)
		return fail(err, EPROTO,
			    "%s: the host speaks version %u of COMPUTE, this library version %u",
			    ctx->node, le32toh(ctx->capset.wire_version),
			    VIRTIO_GPU_COMPUTE_WIRE_VERSION);

	return 0;
}

static int init_context(struct vgpu_ctx *ctx, const char *name,
			struct vgpu_error *err)
{
	struct drm_virtgpu_context_set_param params[] = {
		{ VIRTGPU_CONTEXT_PARAM_CAPSET_ID, VIRTIO_GPU_CAPSET_COMPUTE },
		{ VIRTGPU_CONTEXT_PARAM_NUM_RINGS, 1 },
		{ VIRTGPU_CONTEXT_PARAM_DEBUG_NAME, (uintptr_t)name },
	};
	struct drm_virtgpu_context_init init = {
		.num_params = name ? 3 : 2,
		.ctx_set_params = (uintptr_t)params,
	};
	int ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);

	if (ret)
		return fail(err, -ret, "%s: cannot make a COMPUTE context: %m",
			    ctx->node);
	return 0;
}

static int map_shmem(struct vgpu_ctx *ctx, struct vgpu_error *err)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID,
		.size = SHMEM_SIZE,
	};
	struct virtio_gpu_compute_shmem *shmem;
	struct drm_virtgpu_map map = { 0 };
	int ret;

	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB,
			 &blob);
	if (ret)
		return fail(err, -ret,
			    "%s: cannot create the memory for responses: %m",
			    ctx->node);

	/* The handle lives as long as the file. */
	map.handle = blob.bo_handle;
	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_MAP, &map);
	if (ret)
		return fail(err, -ret,
			    "%s: cannot map the memory for responses: %m",
			    ctx->node);

	/*
	 * Making a context and a blob are commands that the driver does not
	 * wait for; mapping the blob is the first one that reports a failure.
	 */
	shmem = mmap(NULL, SHMEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     ctx->fd, map.offset);
	if (shmem == MAP_FAILED)
		return fail(err, EIO,
			    "%s: the host could not start the context (its messages tell why)",
			    ctx->node);
	ctx->shmem = shmem;

	ctx->rsp_offset = le32toh(shmem->rsp_offset);
	if (ctx->rsp_offset < sizeof(*shmem) ||
	    ctx->rsp_offset > VIRTIO_GPU_COMPUTE_SHMEM_MIN_SIZE)
		return fail(err, EPROTO,
			    "%s: the host wants responses at %u of their memory",
			    ctx->node, ctx->rsp_offset);
	return 0;
}

static int open_node(const char *node, const char *name, struct vgpu_ctx **out,
		     struct vgpu_error *err)
{
	struct vgpu_ctx *ctx;
	int ret;

	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return fail(err, ENOMEM, "%s: %m", node);

	LIST_INIT(&ctx->mems);
	LIST_INIT(&ctx->programs);
	LIST_INIT(&ctx->jobs);
	pthread_mutex_init(&ctx->lock, NULL);
	snprintf(ctx->node, sizeof(ctx->node), "%s", node);

	ctx->fd = open(node, O_RDWR | O_CLOEXEC);
	if (ctx->fd < 0) {
		ret = fail(err, errno, "%s: %m", node);
		goto err_close;
	}
	if (!is_virtio_gpu(ctx->fd)) {
		ret = fail(err, ENODEV, "%s: not a virtio-gpu device", node);
		goto err_close;
	}
	ret = check_device(ctx, err);
	if (ret)
		goto err_close;
	ret = init_context(ctx, name, err);
	if (ret)
		goto err_close;
	ret = map_shmem(ctx, err);
	if (ret)
		goto err_close;

	*out = ctx;
	return 0;

err_close:
	vgpu_close(ctx);
	return ret;
}

int vgpu_open(const char *node, const char *name, struct vgpu_ctx **ctx,
	      struct vgpu_error *err)
{
	struct vgpu_error reason;
	char path[32];
	int minor, ret;

	if (node)
		return open_node(node, name, ctx, err);

	ret = fail(err, ENODEV, "no virtio-gpu device in /dev/dri");
	for (minor = RENDER_FIRST; minor <= RENDER_LAST; minor++) {
		snprintf(path, sizeof(path), "/dev/dri/renderD%d", minor);
		if (!open_node(path, name, ctx, &reason))
			return 0;
		/* What a gap or another driver's node says helps nobody. */
		if (reason.code != ENOENT && reason.code != ENODEV) {
			ret = -reason.code;
			if (err)
				*err = reason;
		}
	}

	return ret;
}

void vgpu_close(struct vgpu_ctx *ctx)
{
	struct vgpu_program *prog;
	struct vgpu_job *job;
	struct vgpu_mem *mem;

	if (!ctx)
		return;

	/* Closing the file undoes everything that the kernel and host hold. */
	if (ctx->shmem)
		munmap(ctx->shmem, SHMEM_SIZE);
	if (ctx->fd >= 0)
		close(ctx->fd);

	while ((job = LIST_FIRST(&ctx->jobs))) {
		LIST_REMOVE(job, link);
		close(job->fence_fd);
		free(job);
	}
	while ((prog = LIST_FIRST(&ctx->programs))) {
		LIST_REMOVE(prog, link);
		free(prog);
	}
	while ((mem = LIST_FIRST(&ctx->mems))) {
		LIST_REMOVE(mem, link);
		free(mem);
	}
	pthread_mutex_destroy(&ctx->lock);
	free(ctx);
}

const char *vgpu_node(const struct vgpu_ctx *ctx)
{
	return ctx->node;
}

int vgpu_fd(const struct vgpu_ctx *ctx)
{
	return ctx->fd;
}

void vgpu_stats(struct vgpu_ctx *ctx, struct vgpu_stats *stats)
{
	pthread_mutex_lock(&ctx->lock);
	*stats = ctx->stats;
	pthread_mutex_unlock(&ctx->lock);
}

/* Memory */

static int register_failed(struct vgpu_ctx *ctx, int ret, const void *addr,
			   size_t size, struct vgpu_error *err)
{
	const char *why;

	switch (ret) {
	case -EINVAL:
		why = "address and size must be multiples of the page size, the size not 0";
		break;
	case -EFAULT:
		why = "nothing is mapped there, it may not be written, or its pages may not be pinned";
		break;
	case -ENOMEM:
		why = "more than RLIMIT_MEMLOCK (ulimit -l) allows, or out of memory";
		break;
	case -EPERM:
		why = "this user may lock no memory (ulimit -l)";
		break;
	case -E2BIG:
		why = "in more pieces than the device takes";
		break;
	case -EIO:
		why = "the host refused it, or the context is lost";
		break;
	default:
		why = strerror(-ret);
	}

	return fail(err, -ret, "%s: cannot register %zu bytes at %p: %s",
		    ctx->node, size, addr, why);
}

int vgpu_register(struct vgpu_ctx *ctx, void *addr, size_t size,
		  unsigned int flags, struct vgpu_mem **out,
		  struct vgpu_error *err)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR,
		.size = size,
		.userptr = (uintptr_t)addr,
	};
	struct vgpu_mem *mem;
	int ret;

	if (flags & ~VGPU_RDONLY)
		return fail(err, EINVAL, "unknown flags 0x%x for a registration",
			    flags & ~VGPU_RDONLY);
	if (flags & VGPU_RDONLY) {
		if (!(ctx->userptr & VIRTGPU_RESOURCE_USERPTR_RDONLY))
			return fail(err, EOPNOTSUPP,
				    "%s: the device has no read-only registrations",
				    ctx->node);
		blob.blob_flags |= VIRTGPU_BLOB_FLAG_USERPTR_RDONLY;
	}

	mem = malloc(sizeof(*mem));
	if (!mem)
		return fail(err, ENOMEM, "%m");

	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB,
			 &blob);
	if (ret) {
		free(mem);
		return register_failed(ctx, ret, addr, size, err);
	}

	mem->ctx = ctx;
	mem->handle = blob.bo_handle;
	mem->res_id = blob.res_handle;

	pthread_mutex_lock(&ctx->lock);
	ctx->stats.registered += size;
	LIST_INSERT_HEAD(&ctx->mems, mem, link);
	pthread_mutex_unlock(&ctx->lock);

	*out = mem;
	return 0;
}

int vgpu_unregister(struct vgpu_mem *mem, struct vgpu_error *err)
{
	struct drm_gem_close args = { .handle = mem->handle };
	struct vgpu_ctx *ctx = mem->ctx;
	int ret;

	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_GEM_CLOSE, &args);

	pthread_mutex_lock(&ctx->lock);
	LIST_REMOVE(mem, link);
	pthread_mutex_unlock(&ctx->lock);
	free(mem);

	if (ret)
		return fail(err, -ret, "%s: cannot end a registration: %m",
			    ctx->node);
	return 0;
}

uint32_t vgpu_mem_res_id(const struct vgpu_mem *mem)
{
	return mem->res_id;
}

/* Requests and their responses */

static void *rsp_at(const struct vgpu_job *job)
{
	return (char *)job->ctx->shmem + job->rsp_off;
}

static bool fence_signalled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static void job_destroy_locked(struct vgpu_job *job)
{
	uint32_t first = job->rsp_off / SLOT_SIZE;

	memset(&job->ctx->slot_used[first], false, job->rsp_size / SLOT_SIZE);
	LIST_REMOVE(job, link);
	close(job->fence_fd);
	free(job);
}

/* Frees the abandoned jobs whose responses the host no longer writes. */
static void reap_jobs_locked(struct vgpu_ctx *ctx)
{
	struct vgpu_job *job, *next;

	for (job = LIST_FIRST(&ctx->jobs); job; job = next) {
		next = LIST_NEXT(job, link);
		if (job->abandoned && fence_signalled(job->fence_fd))
			job_destroy_locked(job);
	}
}

/* First fit; @size is a multiple of SLOT_SIZE. Returns 0 if nothing is free. */
static uint32_t alloc_slots_locked(struct vgpu_ctx *ctx, uint32_t size)
{
	uint32_t i, run = 0, nr = size / SLOT_SIZE;

	for (i = (ctx->rsp_offset + SLOT_SIZE - 1) / SLOT_SIZE; i < NR_SLOTS; i++) {
		run = ctx->slot_used[i] ? 0 : run + 1;
		if (run == nr) {
			memset(&ctx->slot_used[i + 1 - nr], true, nr);
			return (i + 1 - nr) * SLOT_SIZE;
		}
	}
	return 0;
}

/*
 * Sends the request @req, whose header is filled in here, as one submission.
 * @len is its size, a multiple of 8, @rsp_size what its response may take.
 */
static int submit(struct vgpu_ctx *ctx, uint32_t cmd,
		  struct virtio_gpu_compute_req *req, uint32_t len,
		  uint32_t rsp_size, const char *what, struct vgpu_job **out,
		  struct vgpu_error *err)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = VIRTGPU_EXECBUF_FENCE_FD_OUT | VIRTGPU_EXECBUF_RING_IDX,
		.size = len,
		.command = (uintptr_t)req,
		.fence_fd = -1,
		.ring_idx = 0,
	};
	struct virtio_gpu_compute_rsp *rsp;
	struct vgpu_job *job;
	int ret;

	job = calloc(1, sizeof(*job));
	if (!job)
		return fail(err, ENOMEM, "%s: %m", what);
	job->ctx = ctx;
	job->rsp_size = (rsp_size + SLOT_SIZE - 1) / SLOT_SIZE * SLOT_SIZE;
	snprintf(job->what, sizeof(job->what), "%s", what);

	/* Held over the ioctl: requests reach the host in the order of seqno. */
	pthread_mutex_lock(&ctx->lock);

	reap_jobs_locked(ctx);
	job->rsp_off = alloc_slots_locked(ctx, job->rsp_size);
	if (!job->rsp_off) {
		ret = fail(err, EAGAIN,
			   "%s: too many jobs are not finished or not freed",
			   what);
		goto err_free;
	}

	job->seqno = ctx->seqno + 1;
	rsp = rsp_at(job);
	rsp->len = htole32(job->rsp_size);
	rsp->ret = 0;

	req->cmd = htole32(cmd);
	req->len = htole32(len);
	req->seqno = htole32(job->seqno);
	req->rsp_off = htole32(job->rsp_off);

	ret = vgpu_ioctl(ctx->fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);
	if (ret) {
		ret = fail(err, -ret, "%s: cannot submit: %m", what);
		goto err_slots;
	}

	job->fence_fd = exec.fence_fd;
	ctx->seqno = job->seqno;
	ctx->stats.commands += len;
	LIST_INSERT_HEAD(&ctx->jobs, job, link);
	pthread_mutex_unlock(&ctx->lock);

	*out = job;
	return 0;

err_slots:
	memset(&ctx->slot_used[job->rsp_off / SLOT_SIZE], false,
	       job->rsp_size / SLOT_SIZE);
err_free:
	pthread_mutex_unlock(&ctx->lock);
	free(job);
	return ret;
}

/*
 * After the fence: was the request answered, and how? @rsp gets a copy of up to
 * @size bytes of the response, as the host may still write to the memory.
 * Returns the bytes copied, or a negative errno when there is no answer.
 */
static int read_response(struct vgpu_job *job, void *rsp, uint32_t size,
			 struct vgpu_error *err)
{
	struct virtio_gpu_compute_shmem *shmem = job->ctx->shmem;
	struct virtio_gpu_compute_rsp hdr;
	uint32_t seqno, async_error, len;

	seqno = le32toh(__atomic_load_n(&shmem->seqno, __ATOMIC_ACQUIRE));
	if ((int32_t)(seqno - job->seqno) < 0) {
		async_error = le32toh(shmem->async_error);
		if (async_error)
			return fail(err, EIO,
				    "%s: the host could not answer: %s",
				    job->what, strerror(async_error));
		return fail(err, EIO,
			    "%s: the context is lost: the host's process for it died or was stopped",
			    job->what);
	}

	memcpy(&hdr, rsp_at(job), sizeof(hdr));
	len = le32toh(hdr.len);
	if (len < sizeof(hdr) || len > job->rsp_size)
		return fail(err, EPROTO, "%s: malformed answer of the host",
			    job->what);
	if (len > size)
		len = size;
	memcpy(rsp, rsp_at(job), len);
	memcpy(rsp, &hdr, sizeof(hdr));
	return len;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int wait_fence(struct vgpu_job *job, int timeout_ms,
		      struct vgpu_error *err)
{
	struct pollfd pfd = { .fd = job->fence_fd, .events = POLLIN };
	int64_t deadline = now_ms() + timeout_ms, left = timeout_ms;
	int ret;

	for (;;) {
		ret = poll(&pfd, 1, left);
		if (ret == 1)
			return 0;
		if (ret == 0)
			return fail(err, ETIME, "%s: not finished yet",
				    job->what);
		if (errno != EINTR)
			return fail(err, errno, "%s: cannot wait: %m",
				    job->what);
		if (timeout_ms >= 0) {
			left = deadline - now_ms();
			if (left < 0)
				left = 0;
		}
	}
}

/*
 * Waits for a request and copies its response to @rsp, @min bytes at least if
 * the request succeeded, @size at most.
 */
static int wait_response(struct vgpu_job *job, int timeout_ms, void *rsp,
			 uint32_t min, uint32_t size, struct vgpu_error *err)
{
	struct virtio_gpu_compute_rsp *hdr = rsp;
	int len, ret;

	ret = wait_fence(job, timeout_ms, err);
	if (ret)
		return ret;

	memset(rsp, 0, min);
	len = read_response(job, rsp, size, err);
	if (len < 0)
		return len;

	pthread_mutex_lock(&job->ctx->lock);
	job->ctx->stats.responses += len;
	pthread_mutex_unlock(&job->ctx->lock);

	ret = (int32_t)le32toh(hdr->ret);
	if (ret > 0 || ret < -4095 || (ret == 0 && len < (int)min))
		return fail(err, EPROTO, "%s: malformed answer of the host",
			    job->what);
	if (ret)
		return fail(err, -ret, "%s: the host says: %m", job->what);
	return 0;
}

int vgpu_query(struct vgpu_ctx *ctx, struct vgpu_info *info,
	       struct vgpu_error *err)
{
	struct virtio_gpu_compute_query_rsp rsp;
	struct virtio_gpu_compute_req req;
	struct vgpu_job *job;
	int i, ret;

	ret = submit(ctx, VIRTIO_GPU_COMPUTE_QUERY, &req, sizeof(req),
		     sizeof(rsp), "query", &job, err);
	if (ret)
		return ret;
	ret = wait_response(job, -1, &rsp, sizeof(rsp), sizeof(rsp), err);
	vgpu_job_free(job);
	if (ret)
		return ret;

	info->compute_units = le32toh(rsp.compute_units);
	info->max_clock_mhz = le32toh(rsp.max_clock_mhz);
	info->max_work_group = le32toh(rsp.max_work_group);
	for (i = 0; i < 3; i++)
		info->max_work_item[i] = le32toh(rsp.max_work_item[i]);
	info->offset_align = le32toh(rsp.offset_align);
	info->global_mem = le64toh(rsp.global_mem);
	info->max_alloc = le64toh(rsp.max_alloc);
	info->local_mem = le64toh(rsp.local_mem);
	snprintf(info->device, sizeof(info->device), "%.*s",
		 (int)sizeof(rsp.device), rsp.device);
	snprintf(info->platform, sizeof(info->platform), "%.*s",
		 (int)sizeof(rsp.platform), rsp.platform);
	snprintf(info->backend, sizeof(info->backend), "%.*s",
		 (int)sizeof(rsp.backend), rsp.backend);
	return 0;
}

/* Programs */

/* The log of @rsp, of which @job's response holds as much as has room. */
static char *build_log(struct vgpu_job *job,
		       const struct virtio_gpu_compute_build_rsp *rsp)
{
	uint32_t written = le32toh(rsp->hdr.len) - sizeof(*rsp);
	uint32_t len = le32toh(rsp->log_len);

	if (le32toh(rsp->hdr.len) <= sizeof(*rsp) || !len)
		return NULL;
	if (len > written)
		len = written;
	if (len > VGPU_LOG_MAX)
		len = VGPU_LOG_MAX;
	return strndup((char *)rsp_at(job) + sizeof(*rsp), len);
}

int vgpu_build(struct vgpu_ctx *ctx, const char *source, const char *options,
	       char **log, struct vgpu_program **out, struct vgpu_error *err)
{
	size_t source_len = strlen(source);
	size_t options_len = options ? strlen(options) : 0;
	size_t len = sizeof(struct virtio_gpu_compute_build);
	struct virtio_gpu_compute_build_rsp rsp;
	struct virtio_gpu_compute_build *req;
	struct vgpu_program *prog;
	struct vgpu_job *job;
	int ret;

	if (log)
		*log = NULL;

	len = (len + source_len + options_len + 7) & ~(size_t)7;
	if (len > le32toh(ctx->capset.max_submit))
		return fail(err, E2BIG,
			    "build: source and options are larger than the %u bytes that the host takes",
			    le32toh(ctx->capset.max_submit));

	prog = calloc(1, sizeof(*prog));
	req = calloc(1, len);
	if (!prog || !req) {
		ret = fail(err, ENOMEM, "build: %m");
		goto out_free;
	}

	pthread_mutex_lock(&ctx->lock);
	prog->id = ++ctx->program_id;
	pthread_mutex_unlock(&ctx->lock);
	prog->ctx = ctx;

	req->program_id = htole32(prog->id);
	req->source_len = htole32(source_len);
	req->options_len = htole32(options_len);
	memcpy(req->data, source, source_len);
	if (options)
		memcpy(req->data + source_len, options, options_len);

	ret = submit(ctx, VIRTIO_GPU_COMPUTE_BUILD, &req->hdr, len,
		     sizeof(rsp) + VGPU_LOG_MAX, "build", &job, err);
	if (ret)
		goto out_free;
	ret = wait_response(job, -1, &rsp, sizeof(rsp), sizeof(rsp), err);
	if (ret == -ENOEXEC)
		fail(err, ENOEXEC, "build: the source has errors");
	if (log && (!ret || ret == -ENOEXEC))
		*log = build_log(job, &rsp);
	vgpu_job_free(job);
	if (ret)
		goto out_free;

	pthread_mutex_lock(&ctx->lock);
	LIST_INSERT_HEAD(&ctx->programs, prog, link);
	pthread_mutex_unlock(&ctx->lock);

	*out = prog;
	free(req);
	return 0;

out_free:
	free(req);
	free(prog);
	return ret;
}

int vgpu_release_program(struct vgpu_program *prog, struct vgpu_error *err)
{
	struct virtio_gpu_compute_release req = {
		.program_id = htole32(prog->id),
	};
	struct virtio_gpu_compute_rsp rsp;
	struct vgpu_ctx *ctx = prog->ctx;
	struct vgpu_job *job;
	int ret;

	pthread_mutex_lock(&ctx->lock);
	LIST_REMOVE(prog, link);
	pthread_mutex_unlock(&ctx->lock);
	free(prog);

	ret = submit(ctx, VIRTIO_GPU_COMPUTE_RELEASE, &req.hdr, sizeof(req),
		     sizeof(rsp), "release", &job, err);
	if (ret)
		return ret;
	ret = wait_response(job, -1, &rsp, sizeof(rsp), sizeof(rsp), err);
	vgpu_job_free(job);
	return ret;
}

/* Jobs */

int vgpu_launch(struct vgpu_program *prog, const char *kernel,
		const struct vgpu_range *range, const struct vgpu_arg *args,
		unsigned int nr_args, struct vgpu_job **job,
		struct vgpu_error *err)
{
	struct vgpu_ctx *ctx = prog->ctx;
	struct virtio_gpu_compute_launch *req;
	size_t data_len = 0, len;
	unsigned int i;
	uint8_t *data;
	int ret;

	if (strlen(kernel) >= sizeof(req->kernel))
		return fail(err, E2BIG,
			    "launch: the name of a kernel has at most %zu bytes",
			    sizeof(req->kernel) - 1);
	if (nr_args > le32toh(ctx->capset.max_args))
		return fail(err, E2BIG, "%s: more than %u arguments", kernel,
			    le32toh(ctx->capset.max_args));

	for (i = 0; i < nr_args; i++) {
		/* Before the sum, which could wrap. */
		if (args[i].value &&
		    args[i].size > le32toh(ctx->capset.max_submit))
			return fail(err, E2BIG,
				    "%s: argument %u is too large for a value",
				    kernel, i);
		if (args[i].value)
			data_len += (args[i].size + 7) & ~7ULL;
	}

	len = sizeof(*req) + nr_args * sizeof(req->args[0]) + data_len;
	if (len > le32toh(ctx->capset.max_submit))
		return fail(err, E2BIG,
			    "%s: the arguments are larger than the %u bytes that the host takes",
			    kernel, le32toh(ctx->capset.max_submit));

	req = calloc(1, len);
	if (!req)
		return fail(err, ENOMEM, "%s: %m", kernel);

	req->program_id = htole32(prog->id);
	req->work_dim = htole32(range->dim);
	req->nr_args = htole32(nr_args);
	req->data_len = htole32(data_len);
	for (i = 0; i < 3; i++) {
		req->global[i] = htole64(range->global[i]);
		req->local[i] = htole64(range->local[i]);
	}
	strcpy(req->kernel, kernel);

	data = (uint8_t *)&req->args[nr_args];
	data_len = 0;
	for (i = 0; i < nr_args; i++) {
		struct virtio_gpu_compute_arg *arg = &req->args[i];

		arg->size = htole64(args[i].size);
		if (args[i].mem) {
			arg->type = htole32(VIRTIO_GPU_COMPUTE_ARG_RESOURCE);
			arg->res_id = htole32(args[i].mem->res_id);
			arg->offset = htole64(args[i].offset);
		} else if (args[i].value) {
			arg->type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES);
			arg->offset = htole64(data_len);
			memcpy(data + data_len, args[i].value, args[i].size);
			data_len += (args[i].size + 7) & ~7ULL;
		} else {
			arg->type = htole32(VIRTIO_GPU_COMPUTE_ARG_LOCAL);
		}
	}

	ret = submit(ctx, VIRTIO_GPU_COMPUTE_LAUNCH, &req->hdr, len,
		     sizeof(struct virtio_gpu_compute_launch_rsp), kernel, job,
		     err);
	free(req);
	return ret;
}

int vgpu_wait(struct vgpu_job *job, int timeout_ms, struct vgpu_result *result,
	      struct vgpu_error *err)
{
	struct virtio_gpu_compute_launch_rsp rsp;
	int ret;

	ret = wait_response(job, timeout_ms, &rsp, sizeof(rsp), sizeof(rsp),
			    err);
	if (ret)
		return ret;

	pthread_mutex_lock(&job->ctx->lock);
	if (!job->counted)
		job->ctx->stats.copied += le64toh(rsp.copied);
	job->counted = true;
	pthread_mutex_unlock(&job->ctx->lock);

	if (result) {
		result->device_ns = le64toh(rsp.device_ns);
		result->copied = le64toh(rsp.copied);
	}
	return 0;
}

int vgpu_job_fd(const struct vgpu_job *job)
{
	return job->fence_fd;
}

void vgpu_job_free(struct vgpu_job *job)
{
	struct vgpu_ctx *ctx;

	if (!job)
		return;

	ctx = job->ctx;
	pthread_mutex_lock(&ctx->lock);
	job->abandoned = true;
	reap_jobs_locked(ctx);
	pthread_mutex_unlock(&ctx->lock);
}
