// SPDX-License-Identifier: MIT
/*
 * Unit tests of the library on the host: open() and ioctl() are replaced by a
 * small virtio-gpu that answers as each test wants, a fence is an eventfd.
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
#include <linux/virtio_gpu_compute.h>

#include "vgpu.h"

#define NODE		"/dev/dri/renderD130"
#define MAX_JOBS	4096

/* The device: what it is, and what it was asked. */
static struct {
	const char *driver;		/* of NODE */
	int open_errno;
	uint64_t missing_param;		/* is 0 */
	uint64_t unknown_param;		/* is EINVAL */
	int userptr;
	int caps_errno, init_errno, blob_errno, exec_errno;
	uint32_t wire_version;
	uint32_t rsp_offset;

	bool answer;			/* at once, with what follows */
	int ret;
	uint32_t len;			/* of answers, 0 for all of the room */
	uint8_t fill;			/* what they hold */
	uint32_t log_len;

	int open_files;
	uint8_t *shmem;
	struct virtio_gpu_compute_req last;
	struct drm_virtgpu_resource_create_blob last_blob;
	uint32_t handles;
	uint32_t closed_handle;
	int fence[MAX_JOBS];
	struct virtio_gpu_compute_req req[MAX_JOBS];
	unsigned int nr_jobs;
} dev;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

static int dev_fd = -1;

int __wrap_open(const char *path, int flags, ...)
{
	if (strncmp(path, "/dev/dri/", 9))
		return __real_open(path, flags);
	/* One that is not ours comes before it. */
	if (strcmp(path, NODE) && strcmp(path, "/dev/dri/renderD128")) {
		errno = ENOENT;
		return -1;
	}
	if (!strcmp(path, NODE) && dev.open_errno) {
		errno = dev.open_errno;
		return -1;
	}
	dev_fd = memfd_create(path, MFD_CLOEXEC);
	dev.open_files++;
	return dev_fd;
}

int __wrap_close(int fd)
{
	if (fd == dev_fd) {
		dev.open_files--;
		dev_fd = -1;
	}
	return __real_close(fd);
}

static bool is_node(int fd)
{
	char link[64], path[128] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, path, sizeof(path) - 1) > 0 &&
	       strstr(path, NODE);
}

static int fails(int code)
{
	errno = code;
	return code ? -1 : 0;
}

static int get_param(struct drm_virtgpu_getparam *args)
{
	int *value = (int *)(uintptr_t)args->value;

	if (args->param == dev.unknown_param)
		return fails(EINVAL);
	*value = args->param == VIRTGPU_PARAM_RESOURCE_USERPTR ? dev.userptr :
		 args->param != dev.missing_param;
	return 0;
}

static int get_caps(struct drm_virtgpu_get_caps *args)
{
	struct virtio_gpu_compute_capset capset = {
		.wire_version = dev.wire_version,
		.max_submit = 65536,
		.max_args = 8,
	};

	if (args->cap_set_id != VIRTIO_GPU_CAPSET_COMPUTE)
		return fails(EINVAL);
	memcpy((void *)(uintptr_t)args->addr, &capset, sizeof(capset));
	return fails(dev.caps_errno);
}

static int create_blob(int fd, struct drm_virtgpu_resource_create_blob *args)
{
	if (args->blob_mem == VIRTGPU_BLOB_MEM_HOST3D) {
		assert_int_equal(args->blob_flags,
				 VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
		assert_int_equal(ftruncate(fd, args->size), 0);
		dev.shmem = mmap(NULL, args->size, PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);
		assert_ptr_not_equal(dev.shmem, MAP_FAILED);
		((struct virtio_gpu_compute_shmem *)dev.shmem)->rsp_offset =
			dev.rsp_offset;
	} else if (dev.blob_errno) {
		return fails(dev.blob_errno);
	}
	args->bo_handle = ++dev.handles;
	args->res_handle = 1000 + dev.handles;
	dev.last_blob = *args;
	return 0;
}

/* What the host does with request @i, with its fence. */
static void answer(unsigned int i)
{
	struct virtio_gpu_compute_shmem *shmem = (void *)dev.shmem;
	struct virtio_gpu_compute_rsp *rsp =
		(void *)(dev.shmem + dev.req[i].rsp_off);
	uint32_t room = rsp->len;

	if (dev.req[i].cmd == VIRTIO_GPU_COMPUTE_BUILD) {
		struct virtio_gpu_compute_build_rsp *build = (void *)rsp;

		memset(build->log, 'x', room - sizeof(*build));
		build->log_len = dev.log_len;
	} else {
		memset(rsp, dev.fill, room);
	}
	rsp->len = dev.len ? dev.len : room;
	rsp->ret = dev.ret;
	shmem->seqno = dev.req[i].seqno;
	assert_int_equal(eventfd_write(dev.fence[i], 1), 0);
}

static int execbuffer(struct drm_virtgpu_execbuffer *args)
{
	struct virtio_gpu_compute_req *req = (void *)(uintptr_t)args->command;
	unsigned int i = dev.nr_jobs;

	if (dev.exec_errno)
		return fails(dev.exec_errno);
	assert_true(i < MAX_JOBS);
	assert_int_equal(args->size, req->len);
	assert_int_equal(req->len % 8, 0);
	assert_int_equal(req->rsp_off % 8, 0);
	dev.last = dev.req[i] = *req;
	/* The library closes its descriptor; ours signals it. */
	args->fence_fd = eventfd(0, EFD_CLOEXEC);
	dev.fence[i] = dup(args->fence_fd);
	dev.nr_jobs++;
	if (dev.answer)
		answer(i);
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct drm_version *version = arg;

	switch (request) {
	case DRM_IOCTL_VERSION:
		strcpy(version->name, is_node(fd) ? dev.driver : "vgem");
		return 0;
	case DRM_IOCTL_VIRTGPU_GETPARAM:
		return get_param(arg);
	case DRM_IOCTL_VIRTGPU_GET_CAPS:
		return get_caps(arg);
	case DRM_IOCTL_VIRTGPU_CONTEXT_INIT:
		return fails(dev.init_errno);
	case DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB:
		return create_blob(fd, arg);
	case DRM_IOCTL_VIRTGPU_MAP:
		((struct drm_virtgpu_map *)arg)->offset = 0;
		return 0;
	case DRM_IOCTL_VIRTGPU_EXECBUFFER:
		return execbuffer(arg);
	case DRM_IOCTL_GEM_CLOSE:
		dev.closed_handle = ((struct drm_gem_close *)arg)->handle;
		return 0;
	}
	fail_msg("ioctl 0x%lx", request);
	return -1;
}

static int good_device(void **state)
{
	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.driver = "virtio_gpu";
	dev.userptr = VIRTGPU_RESOURCE_USERPTR_GUEST |
		      VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST |
		      VIRTGPU_RESOURCE_USERPTR_RDONLY;
	dev.wire_version = VIRTIO_GPU_COMPUTE_WIRE_VERSION;
	dev.rsp_offset = sizeof(struct virtio_gpu_compute_shmem);
	dev.answer = true;
	return 0;
}

static int drop_device(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < dev.nr_jobs; i++)
		close(dev.fence[i]);
	if (dev.shmem)
		munmap(dev.shmem, 128 * 1024);
	return dev.open_files;
}

static struct vgpu_error err;

static struct vgpu_ctx *open_good(void)
{
	struct vgpu_ctx *ctx;

	assert_int_equal(vgpu_open(NULL, "unit", &ctx, &err), 0);
	return ctx;
}

static struct vgpu_program *build_good(struct vgpu_ctx *ctx)
{
	struct vgpu_program *prog;

	assert_int_equal(vgpu_build(ctx, "source", NULL, NULL, &prog, &err), 0);
	return prog;
}

static struct vgpu_job *launch_good(struct vgpu_program *prog)
{
	struct vgpu_job *job;

	assert_int_equal(vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), NULL, 0,
				     &job, &err), 0);
	return job;
}

static void refuses(int code, const char *text)
{
	struct vgpu_ctx *ctx;

	assert_int_equal(vgpu_open(NULL, "unit", &ctx, &err), -code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.message, text));
	assert_int_equal(dev.open_files, 0);
	/* Also without a place for the reason. */
	assert_int_equal(vgpu_open(NULL, NULL, &ctx, NULL), -code);
}

static void opens_the_node_of_the_driver(void **state)
{
	struct vgpu_ctx *ctx = open_good();

	(void)state;
	assert_string_equal(vgpu_node(ctx), NODE);
	vgpu_close(ctx);
}

static void names_what_is_missing(void **state)
{
	(void)state;
	dev.driver = "amdgpu";
	refuses(ENODEV, "no virtio-gpu device");
	good_device(NULL);
	dev.open_errno = EACCES;
	refuses(EACCES, "Permission denied");
	good_device(NULL);
	dev.missing_param = VIRTGPU_PARAM_HOST_VISIBLE;
	refuses(EOPNOTSUPP, "hostmem");
	good_device(NULL);
	dev.missing_param = VIRTGPU_PARAM_CONTEXT_INIT;
	refuses(EOPNOTSUPP, "context types");
	good_device(NULL);
	dev.unknown_param = VIRTGPU_PARAM_RESOURCE_USERPTR;
	refuses(EOPNOTSUPP, "this kernel");
	good_device(NULL);
	dev.userptr = VIRTGPU_RESOURCE_USERPTR_GUEST;
	refuses(EOPNOTSUPP, "F_RESOURCE_USERPTR");
	good_device(NULL);
	dev.caps_errno = EINVAL;
	refuses(EOPNOTSUPP, "COMPUTE");
	good_device(NULL);
	dev.caps_errno = EBUSY;
	refuses(EBUSY, "capset");
	good_device(NULL);
	dev.wire_version = 2;
	refuses(EPROTO, "version 2");
	good_device(NULL);
	dev.init_errno = ENOMEM;
	refuses(ENOMEM, "context");
}

static void refuses_a_host_that_gives_no_room(void **state)
{
	struct vgpu_ctx *ctx;

	(void)state;
	dev.rsp_offset = 0;
	assert_int_equal(vgpu_open(NULL, NULL, &ctx, &err), -EPROTO);
}

static void registers_what_it_is_given(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_stats stats;
	struct vgpu_mem *mem;

	(void)state;
	assert_int_equal(vgpu_register(ctx, (void *)0x10000, 8192, VGPU_RDONLY,
				       &mem, &err), 0);
	assert_int_equal(dev.last_blob.blob_mem, VIRTGPU_BLOB_MEM_HOST3D_GUEST);
	assert_int_equal(dev.last_blob.blob_flags,
			 VIRTGPU_BLOB_FLAG_USE_USERPTR |
			 VIRTGPU_BLOB_FLAG_USERPTR_RDONLY);
	assert_int_equal(dev.last_blob.userptr, 0x10000);
	assert_int_equal(dev.last_blob.size, 8192);
	assert_int_equal(vgpu_mem_res_id(mem), dev.last_blob.res_handle);
	assert_int_equal(vgpu_unregister(mem, &err), 0);
	assert_int_equal(dev.closed_handle, dev.last_blob.bo_handle);

	vgpu_stats(ctx, &stats);
	assert_int_equal(stats.registered, 8192);
	vgpu_close(ctx);
}

static void register_errors_have_a_reason(void **state)
{
	static const int codes[] = {
		EINVAL, EFAULT, ENOMEM, EPERM, E2BIG, EIO, EOPNOTSUPP,
	};
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_mem *mem;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		dev.blob_errno = codes[i];
		assert_int_equal(vgpu_register(ctx, NULL, 1, 0, &mem, &err),
				 -codes[i]);
		assert_int_equal(err.code, codes[i]);
	}
	assert_int_equal(vgpu_register(ctx, NULL, 1, 2, &mem, &err), -EINVAL);
	vgpu_close(ctx);
}

static void rdonly_needs_the_device(void **state)
{
	struct vgpu_ctx *ctx;
	struct vgpu_mem *mem;

	(void)state;
	dev.userptr &= ~VIRTGPU_RESOURCE_USERPTR_RDONLY;
	ctx = open_good();
	assert_int_equal(vgpu_register(ctx, NULL, 4096, VGPU_RDONLY, &mem,
				       &err), -EOPNOTSUPP);
	vgpu_close(ctx);
}

static void response_room_is_not_reused_while_the_host_may_write(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	struct vgpu_job *job;
	uint32_t first, second;

	(void)state;
	dev.answer = false;
	job = launch_good(prog);
	first = dev.last.rsp_off;
	vgpu_job_free(job);		/* runs on */
	job = launch_good(prog);
	second = dev.last.rsp_off;
	assert_int_not_equal(first, second);

	answer(dev.nr_jobs - 2);	/* the first */
	vgpu_job_free(launch_good(prog));
	assert_int_equal(dev.last.rsp_off, first);

	/* One that has finished keeps its room until it is given up. */
	answer(dev.nr_jobs - 2);
	assert_int_equal(vgpu_wait(job, 0, NULL, &err), 0);
	vgpu_job_free(launch_good(prog));
	assert_int_not_equal(dev.last.rsp_off, second);
	vgpu_job_free(job);
	vgpu_job_free(launch_good(prog));
	assert_int_equal(dev.last.rsp_off, second);
	vgpu_close(ctx);
}

static void too_many_jobs_is_an_error_until_some_are_freed(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	struct vgpu_job *jobs[MAX_JOBS];
	unsigned int n = 0;
	int ret;

	(void)state;
	do {
		ret = vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), NULL, 0,
				  &jobs[n], &err);
	} while (!ret && ++n < MAX_JOBS - 10);
	assert_int_equal(ret, -EAGAIN);
	assert_true(n > 1000);
	vgpu_job_free(jobs[n / 2]);
	jobs[n / 2] = launch_good(prog);
	vgpu_close(ctx);
}

static void requests_are_numbered_also_after_a_failed_one(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	struct vgpu_job *job;
	uint32_t seqno = dev.last.seqno, off;

	(void)state;
	off = dev.last.rsp_off;
	dev.exec_errno = ENOMEM;
	assert_int_equal(vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), NULL, 0,
				     &job, &err), -ENOMEM);
	dev.exec_errno = 0;
	vgpu_job_free(launch_good(prog));
	assert_int_equal(dev.last.seqno, seqno + 1);
	assert_int_equal(dev.last.rsp_off, off);
	vgpu_close(ctx);
}

static void fence_without_an_answer_is_a_lost_context(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	struct vgpu_job *job;

	(void)state;
	dev.answer = false;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, 0, NULL, &err), -ETIME);
	assert_int_equal(eventfd_write(dev.fence[dev.nr_jobs - 1], 1), 0);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EIO);
	assert_non_null(strstr(err.message, "context is lost"));
	((struct virtio_gpu_compute_shmem *)dev.shmem)->async_error = EINVAL;
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EIO);
	assert_non_null(strstr(err.message, "Invalid argument"));
	vgpu_job_free(job);
	vgpu_close(ctx);
}

static void answers_are_checked(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	struct vgpu_result result;
	struct vgpu_stats stats;
	struct vgpu_info info;
	struct vgpu_job *job;

	(void)state;
	dev.fill = 1;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, &result, &err), 0);
	assert_int_equal(vgpu_wait(job, -1, &result, &err), 0);
	assert_int_equal(result.copied, 0x0101010101010101);
	vgpu_stats(ctx, &stats);
	assert_int_equal(stats.copied, 0x0101010101010101);
	vgpu_job_free(job);

	dev.len = 4;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EPROTO);
	vgpu_job_free(job);
	dev.len = 1 << 20;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EPROTO);
	vgpu_job_free(job);
	dev.len = sizeof(struct virtio_gpu_compute_rsp);
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EPROTO);
	vgpu_job_free(job);

	dev.ret = -ENOENT;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -ENOENT);
	vgpu_job_free(job);
	dev.ret = 5;
	job = launch_good(prog);
	assert_int_equal(vgpu_wait(job, -1, NULL, &err), -EPROTO);
	vgpu_job_free(job);

	/* Names without an end are ended. */
	dev.ret = dev.len = 0;
	dev.fill = 'n';
	assert_int_equal(vgpu_query(ctx, &info, &err), 0);
	assert_int_equal(strlen(info.device), sizeof(info.device) - 1);
	assert_int_equal(strlen(info.backend), sizeof(info.backend) - 1);
	vgpu_close(ctx);
}

static void build_log_is_what_the_host_wrote(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog;
	char *log;

	(void)state;
	dev.ret = -ENOEXEC;
	dev.log_len = 7;
	assert_int_equal(vgpu_build(ctx, "s", "-o", &log, &prog, &err),
			 -ENOEXEC);
	assert_string_equal(log, "xxxxxxx");
	free(log);
	/* Longer than the room, or than what was written. */
	dev.log_len = 1 << 30;
	assert_int_equal(vgpu_build(ctx, "s", NULL, &log, &prog, &err),
			 -ENOEXEC);
	assert_int_equal(strlen(log), VGPU_LOG_MAX);
	free(log);
	dev.len = sizeof(struct virtio_gpu_compute_build_rsp) + 3;
	assert_int_equal(vgpu_build(ctx, "s", NULL, &log, &prog, &err),
			 -ENOEXEC);
	assert_string_equal(log, "xxx");
	free(log);
	dev.len = sizeof(struct virtio_gpu_compute_rsp);
	assert_int_equal(vgpu_build(ctx, "s", NULL, &log, &prog, &err),
			 -ENOEXEC);
	assert_null(log);
	vgpu_close(ctx);
}

static void too_large_requests_are_not_sent(void **state)
{
	struct vgpu_ctx *ctx = open_good();
	struct vgpu_program *prog = build_good(ctx);
	unsigned int sent = dev.nr_jobs;
	struct vgpu_arg args[9] = { 0 };
	char name[200], *big = malloc(70000);
	struct vgpu_job *job;

	(void)state;
	memset(name, 'k', sizeof(name));
	name[199] = '\0';
	memset(big, 'k', 70000);
	big[69999] = '\0';
	assert_int_equal(vgpu_build(ctx, big, NULL, NULL, &prog, &err), -E2BIG);
	assert_int_equal(vgpu_launch(prog, name, &VGPU_RANGE_1D(1), NULL, 0,
				     &job, &err), -E2BIG);
	assert_int_equal(vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), args, 9,
				     &job, &err), -E2BIG);
	args[0].value = args[1].value = big;
	args[0].size = args[1].size = 40000;
	assert_int_equal(vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), args, 2,
				     &job, &err), -E2BIG);
	args[0].size = UINT64_MAX - 3;
	assert_int_equal(vgpu_launch(prog, "k", &VGPU_RANGE_1D(1), args, 1,
				     &job, &err), -E2BIG);
	assert_int_equal(dev.nr_jobs, sent);
	free(big);
	vgpu_close(ctx);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, good_device, drop_device)
	const struct CMUnitTest tests[] = {
		TEST(opens_the_node_of_the_driver),
		TEST(names_what_is_missing),
		TEST(refuses_a_host_that_gives_no_room),
		TEST(registers_what_it_is_given),
		TEST(register_errors_have_a_reason),
		TEST(rdonly_needs_the_device),
		TEST(response_room_is_not_reused_while_the_host_may_write),
		TEST(too_many_jobs_is_an_error_until_some_are_freed),
		TEST(requests_are_numbered_also_after_a_failed_one),
		TEST(fence_without_an_answer_is_a_lost_context),
		TEST(answers_are_checked),
		TEST(build_log_is_what_the_host_wrote),
		TEST(too_large_requests_are_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
