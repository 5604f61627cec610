// SPDX-License-Identifier: MIT
/*
 * Requests of the COMPUTE context: good ones reach the backend, bad ones get
 * their error, and every one is answered
 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_gpu_compute.h>

#include "mock.h"
#include "vcs_context_compute.h"
#include "vcs_log.h"

#define SHM_SIZE	8192U
#define SHM_ID		100
#define RSP_OFF		512U

static struct vcs_map_budget budget;
static struct vcs_context *ctx;
static const struct vcs_limits defaults = VCS_LIMITS_DEFAULT;
static struct vcs_limits limits;
static struct vcs_stats stats;
static struct mock mock;
static uint8_t *shm;
static uint32_t seqno;

/* A window of anonymous memory in place of a guest's. */
static struct vcs_window make_window(size_t size, bool rdonly)
{
	struct vcs_window win = { .size = size, .filled = size,
				  .rdonly = rdonly };

	win.addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(win.addr, MAP_FAILED);
	return win;
}

static int check(uint32_t res_id, uint32_t flags, uint64_t blob_id,
		 uint64_t size)
{
	const struct vcs_resource_info info = {
		.res_id = res_id,
		.flags = flags,
		.blob_id = blob_id,
		.size = size,
	};

	return ctx->ops->check_resource(ctx, &info);
}

static int add(uint32_t res_id, uint32_t flags, size_t size)
{
	const struct vcs_resource_info info = {
		.res_id = res_id,
		.flags = flags,
		.size = size,
	};
	struct vcs_window win;
	int ret;

	ret = check(res_id, flags, 0, size);
	if (ret)
		return ret;
	win = make_window(size, flags & VGPU_RES_RDONLY);
	ret = ctx->ops->add_resource(ctx, &info, &win);
	if (ret)
		vcs_window_unmap(&win, &budget);
	else if (flags & VGPU_RES_BLOB)
		shm = win.addr;
	return ret;
}

static int setup_bare(void **state)
{
	(void)state;
	vcs_log_set_level(VCS_LOG_ERROR);
	mock_init(&mock);
	seqno = 0;
	shm = NULL;
	limits = defaults;
	memset(&stats, 0, sizeof(stats));
	ctx = vcs_compute_create(&mock.base, &limits, &stats, &budget);
	return !ctx;
}

static int setup(void **state)
{
	return setup_bare(state) || add(SHM_ID, VGPU_RES_BLOB, SHM_SIZE);
}

static int teardown(void **state)
{
	(void)state;
	ctx->ops->destroy(ctx);
	assert_int_equal(mock.buffers, 0);
	assert_int_equal(mock.programs, 0);
	return 0;
}

static struct virtio_gpu_compute_shmem *head(void)
{
	return (void *)shm;
}

static const void *rsp(void)
{
	return shm + RSP_OFF;
}

static void set_header(void *p, uint32_t cmd, uint32_t len)
{
	struct virtio_gpu_compute_req *req = p;

	req->cmd = htole32(cmd);
	req->len = htole32(len);
	req->seqno = htole32(++seqno);
	req->rsp_off = htole32(RSP_OFF);
}

static void set_room(uint32_t room)
{
	memset(shm + RSP_OFF, 0xee, SHM_SIZE - RSP_OFF);
	((struct virtio_gpu_compute_rsp *)(shm + RSP_OFF))->len = htole32(room);
}

/* A request as it is, its answer; the room is all that there is. */
static int submit(const void *p, size_t len)
{
	const struct virtio_gpu_compute_rsp *r = rsp();

	set_room(SHM_SIZE - RSP_OFF);
	assert_int_equal(ctx->ops->submit(ctx, p, len), 0);
	assert_int_equal(le32toh(head()->seqno), seqno);
	return (int32_t)le32toh(r->ret);
}

static int request(void *p, uint32_t cmd, size_t len)
{
	set_header(p, cmd, (uint32_t)len);
	return submit(p, len);
}

/* Framing */

static void shared_blob_is_initialised(void **state)
{
	(void)state;
	assert_int_equal(head()->seqno, 0);
	assert_int_equal(le32toh(head()->rsp_offset), sizeof(*head()));
	assert_int_equal(head()->async_error, 0);
}

static void no_shared_blob_no_submission(void **state)
{
	struct virtio_gpu_compute_req req;

	(void)state;
	set_header(&req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req));
	assert_int_equal(ctx->ops->submit(ctx, (void *)&req, sizeof(req)),
			 -EINVAL);
}

static void nop_is_answered(void **state)
{
	const struct virtio_gpu_compute_rsp *r = rsp();
	struct virtio_gpu_compute_req req;

	(void)state;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req)), 0);
	assert_int_equal(le32toh(r->len), sizeof(*r));
	/* Nothing behind it. */
	assert_int_equal(shm[RSP_OFF + sizeof(*r)], 0xee);
	assert_int_equal(head()->async_error, 0);
}

static void empty_submission(void **state)
{
	(void)state;
	assert_int_equal(ctx->ops->submit(ctx, NULL, 0), 0);
	assert_int_equal(head()->async_error, 0);
}

static void unknown_commands(void **state)
{
	struct virtio_gpu_compute_req req;

	(void)state;
	assert_int_equal(request(&req, 0, sizeof(req)), -EOPNOTSUPP);
	assert_int_equal(request(&req, 6, sizeof(req)), -EOPNOTSUPP);
	assert_int_equal(request(&req, UINT32_MAX, sizeof(req)), -EOPNOTSUPP);
	assert_int_equal(head()->async_error, 0);
}

static void several_requests_in_one_submission(void **state)
{
	struct virtio_gpu_compute_req reqs[3];

	(void)state;
	set_header(&reqs[0], VIRTIO_GPU_COMPUTE_NOP, sizeof(reqs[0]));
	/* An error in between stops nothing. */
	set_header(&reqs[1], 77, sizeof(reqs[0]));
	reqs[1].rsp_off = htole32(RSP_OFF + 8);
	set_header(&reqs[2], VIRTIO_GPU_COMPUTE_NOP, sizeof(reqs[0]));
	reqs[2].rsp_off = htole32(RSP_OFF + 16);
	memset(shm + RSP_OFF, 0, 24);
	shm[RSP_OFF] = shm[RSP_OFF + 8] = shm[RSP_OFF + 16] = 8;
	assert_int_equal(ctx->ops->submit(ctx, (void *)reqs, sizeof(reqs)),
			 0);
	assert_int_equal(le32toh(head()->seqno), 3);
	assert_int_equal(*(int32_t *)(shm + RSP_OFF + 4), 0);
	assert_int_equal((int32_t)le32toh(*(uint32_t *)(shm + RSP_OFF + 12)),
			 -EOPNOTSUPP);
	assert_int_equal(*(int32_t *)(shm + RSP_OFF + 20), 0);
}

static void broken_lengths(void **state)
{
	static const uint32_t lens[] = {
		0, 8, 15, 17, 20, 24, 32, 0x80000010, UINT32_MAX, 0xfffffff8,
	};
	struct virtio_gpu_compute_req req[2];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		head()->async_error = 0;
		set_header(&req[0], VIRTIO_GPU_COMPUTE_NOP, lens[i]);
		/* One header, or one and a half. */
		assert_int_equal(submit(req, sizeof(req[0])), -EBADMSG);
		assert_int_equal(le32toh(head()->async_error), EBADMSG);
	}
}

static void rest_of_a_broken_submission_is_dropped(void **state)
{
	struct virtio_gpu_compute_req req[2];

	(void)state;
	set_header(&req[0], VIRTIO_GPU_COMPUTE_NOP, 12);
	set_header(&req[1], VIRTIO_GPU_COMPUTE_NOP, sizeof(req[1]));
	set_room(8);
	ctx->ops->submit(ctx, (void *)req, sizeof(req));
	assert_int_equal(le32toh(head()->seqno), 1);
}

static void no_room_for_a_header(void **state)
{
	struct virtio_gpu_compute_req req[2];

	(void)state;
	set_header(&req[0], VIRTIO_GPU_COMPUTE_NOP, sizeof(req[0]));
	set_room(8);
	ctx->ops->submit(ctx, (void *)req, sizeof(req[0]) + 8);
	/* The first was answered. */
	assert_int_equal(le32toh(head()->seqno), 1);
	assert_int_equal(le32toh(head()->async_error), EBADMSG);
}

static void responses_outside_of_the_blob(void **state)
{
	static const uint32_t offs[] = {
		0, 8, RSP_OFF + 1, RSP_OFF + 4, SHM_SIZE - 4, SHM_SIZE,
		SHM_SIZE + 8, 0x80000000, UINT32_MAX, 0xfffffff8,
	};
	struct virtio_gpu_compute_release req = { .program_id = htole32(1) };
	uint8_t before[SHM_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		memset(shm + 16, 0xee, SHM_SIZE - 16);
		head()->async_error = 0;
		set_header(&req, VIRTIO_GPU_COMPUTE_RELEASE, sizeof(req));
		req.hdr.rsp_off = htole32(offs[i]);
		memcpy(before, shm, SHM_SIZE);
		assert_int_equal(ctx->ops->submit(ctx, (void *)&req,
						   sizeof(req)), 0);
		assert_int_equal(le32toh(head()->async_error), EINVAL);
		assert_int_equal(le32toh(head()->seqno), seqno);
		assert_memory_equal(shm + 16, before + 16, SHM_SIZE - 16);
	}
}

static void rooms_that_are_none(void **state)
{
	static const uint32_t rooms[] = {
		0, 1, 7, SHM_SIZE - RSP_OFF + 1, SHM_SIZE, UINT32_MAX,
	};
	struct virtio_gpu_compute_req req;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		head()->async_error = 0;
		set_header(&req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req));
		set_room(rooms[i]);
		ctx->ops->submit(ctx, (void *)&req, sizeof(req));
		assert_int_equal(le32toh(head()->async_error), EINVAL);
		assert_int_equal(le32toh(head()->seqno), seqno);
		assert_int_equal(shm[RSP_OFF + 4], 0xee);
	}
}

static void responses_are_cut_to_their_room(void **state)
{
	const struct virtio_gpu_compute_rsp *r = rsp();
	struct virtio_gpu_compute_req req;
	uint32_t room;

	(void)state;
	for (room = 8; room <= sizeof(struct virtio_gpu_compute_query_rsp) + 8;
	     room += 4) {
		set_header(&req, VIRTIO_GPU_COMPUTE_QUERY, sizeof(req));
		set_room(room);
		ctx->ops->submit(ctx, (void *)&req, sizeof(req));
		assert_int_equal(r->ret, 0);
		assert_true(le32toh(r->len) <= room);
		assert_int_equal(le32toh(r->len),
				 room < sizeof(struct virtio_gpu_compute_query_rsp) ?
				 room : sizeof(struct virtio_gpu_compute_query_rsp));
		assert_int_equal(shm[RSP_OFF + le32toh(r->len)], 0xee);
	}
}

/* Up to the last byte of the blob. */
static void response_at_the_end(void **state)
{
	struct virtio_gpu_compute_req req;

	(void)state;
	set_header(&req, VIRTIO_GPU_COMPUTE_QUERY, sizeof(req));
	req.rsp_off = htole32(SHM_SIZE - 8);
	*(uint32_t *)(shm + SHM_SIZE - 8) = htole32(8);
	*(uint32_t *)(shm + SHM_SIZE - 4) = 1;
	ctx->ops->submit(ctx, (void *)&req, sizeof(req));
	assert_int_equal(*(uint32_t *)(shm + SHM_SIZE - 4), 0);
	assert_int_equal(head()->async_error, 0);
}

/* Commands */

static void query(void **state)
{
	const struct virtio_gpu_compute_query_rsp *r = rsp();
	struct virtio_gpu_compute_req req[2];

	(void)state;
	assert_int_equal(request(req, VIRTIO_GPU_COMPUTE_QUERY, sizeof(req[0])),
			 0);
	assert_int_equal(le32toh(r->hdr.len), sizeof(*r));
	assert_int_equal(le32toh(r->compute_units), 4);
	assert_int_equal(le32toh(r->max_work_item[2]), 64);
	assert_int_equal(le32toh(r->offset_align), MOCK_OFFSET_ALIGN);
	assert_int_equal(le32toh(r->reserved), 0);
	assert_int_equal(le64toh(r->max_alloc), MOCK_MAX_ALLOC);
	assert_int_equal(le64toh(r->local_mem), MOCK_LOCAL_MEM);
	assert_string_equal(r->device, "mock device");
	assert_string_equal(r->platform, "mock platform");
	assert_string_equal(r->backend, "mock");
	assert_int_equal(request(req, VIRTIO_GPU_COMPUTE_QUERY, sizeof(req)),
			 -EBADMSG);
	assert_int_equal(request(req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req)),
			 -EBADMSG);
}

struct build_req {
	struct virtio_gpu_compute_build b;
	char data[64];
};

static size_t fill_build(struct build_req *req, uint32_t id, const char *source,
			 const char *options)
{
	size_t s = strlen(source), o = strlen(options);

	memset(req, 0, sizeof(*req));
	req->b.program_id = htole32(id);
	req->b.source_len = htole32((uint32_t)s);
	req->b.options_len = htole32((uint32_t)o);
	memcpy(req->b.data, source, s);
	memcpy(req->b.data + s, options, o);
	return (sizeof(req->b) + s + o + 7) & ~7UL;
}

static int build(uint32_t id)
{
	struct build_req req;
	size_t len = fill_build(&req, id, "source", "-DX");

	return request(&req, VIRTIO_GPU_COMPUTE_BUILD, len);
}

static void build_passes_source_and_options(void **state)
{
	(void)state;
	assert_int_equal(build(5), 0);
	assert_int_equal(mock.source_len, 6);
	assert_memory_equal(mock.source, "source", 6);
	assert_string_equal(mock.options, "-DX");
	assert_int_equal(mock.programs, 1);
}

static void build_without_options(void **state)
{
	struct build_req req;
	size_t len = fill_build(&req, 1, "x", "");

	(void)state;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len), 0);
	assert_string_equal(mock.options, "");
}

static void build_log_is_returned(void **state)
{
	const struct virtio_gpu_compute_build_rsp *r = rsp();
	struct build_req req;
	size_t len;

	(void)state;
	mock.fail = -ENOEXEC;
	mock.log = "line 1: no";
	assert_int_equal(build(1), -ENOEXEC);
	assert_int_equal(le32toh(r->log_len), 10);
	assert_int_equal(le32toh(r->hdr.len), sizeof(*r) + 10);
	assert_memory_equal(r->log, "line 1: no", 10);

	/* What fits of it, and how long it is. */
	len = fill_build(&req, 1, "source", "");
	set_header(&req, VIRTIO_GPU_COMPUTE_BUILD, (uint32_t)len);
	set_room(sizeof(*r) + 4);
	ctx->ops->submit(ctx, (void *)&req, len);
	assert_int_equal(le32toh(r->log_len), 10);
	assert_int_equal(le32toh(r->hdr.len), sizeof(*r) + 4);
	assert_memory_equal(r->log, "line\xee\xee", 6);
	assert_int_equal(mock.programs, 0);

	/* The id was not taken. */
	mock.fail = 0;
	assert_int_equal(build(1), 0);
}

static void bad_builds(void **state)
{
	struct build_req req;
	size_t len;

	(void)state;
	len = fill_build(&req, 0, "source", "");
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len), -EINVAL);
	len = fill_build(&req, 1, "", "-DX");
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len), -EINVAL);
	len = fill_build(&req, 1, "source", "-DX");
	req.b.reserved = 1;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len), -EINVAL);
	len = fill_build(&req, 1, "source", "-DX");
	req.b.data[7] = 0;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len), -EINVAL);

	/* Lengths that do not add up, and one that wraps. */
	len = fill_build(&req, 1, "source", "-DX");
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len + 8),
			 -EBADMSG);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len - 8),
			 -EBADMSG);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, 24), -EBADMSG);
	req.b.source_len = htole32(UINT32_MAX);
	req.b.options_len = htole32(10);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_BUILD, len),
			 -EBADMSG);
	assert_int_equal(mock.programs, 0);

	assert_int_equal(build(1), 0);
	assert_int_equal(build(1), -EEXIST);
	assert_int_equal(mock.programs, 1);
}

static void programs_are_limited(void **state)
{
	struct virtio_gpu_compute_release req = { .program_id = htole32(7) };
	uint32_t i;

	(void)state;
	for (i = 1; i <= VCS_MAX_PROGRAMS; i++)
		assert_int_equal(build(i), 0);
	assert_int_equal(build(i), -E2BIG);
	assert_int_equal(mock.programs, VCS_MAX_PROGRAMS);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_RELEASE, sizeof(req)),
			 0);
	assert_int_equal(build(i), 0);
	assert_int_equal(build(7), -E2BIG);
}

static void release(void **state)
{
	struct virtio_gpu_compute_release req = { .program_id = htole32(1) };

	(void)state;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_RELEASE, sizeof(req)),
			 -ENOENT);
	assert_int_equal(build(1), 0);
	req.reserved = 1;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_RELEASE, sizeof(req)),
			 -EINVAL);
	req.reserved = 0;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_RELEASE, 16),
			 -EBADMSG);
	assert_int_equal(mock.programs, 1);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_RELEASE, sizeof(req)),
			 0);
	assert_int_equal(mock.programs, 0);
	assert_int_equal(build(1), 0);
}

struct launch_req {
	struct virtio_gpu_compute_launch l;
	struct virtio_gpu_compute_arg args[3];
	uint8_t data[24];
};

#define RES_SIZE	(4 * 4096U)

/* One that works: program 1, a resource, a value, local memory. */
static struct launch_req good_launch(void)
{
	struct launch_req req = {
		.l = {
			.program_id = htole32(1),
			.work_dim = htole32(2),
			.nr_args = htole32(3),
			.data_len = htole32(20),
			.global = { htole64(64), htole64(32), htole64(1) },
			.local = { htole64(8), htole64(4), htole64(1) },
			.kernel = "kernel",
		},
		.args = {
			{
				.type = htole32(VIRTIO_GPU_COMPUTE_ARG_RESOURCE),
				.res_id = htole32(7),
				.offset = htole64(256),
				.size = htole64(1000),
			},
			{
				.type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES),
				.offset = htole64(4),
				.size = htole64(16),
			},
			{
				.type = htole32(VIRTIO_GPU_COMPUTE_ARG_LOCAL),
				.size = htole64(512),
			},
		},
		.data = { 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
			  14, 15, 16 },
	};

	return req;
}

static int launch(struct launch_req *req)
{
	return request(req, VIRTIO_GPU_COMPUTE_LAUNCH, sizeof(*req));
}

static int setup_launch(void **state)
{
	return setup(state) || add(7, 0, RES_SIZE) || build(1);
}

static void launch_passes_everything(void **state)
{
	const struct virtio_gpu_compute_launch_rsp *r = rsp();
	struct launch_req req = good_launch();

	(void)state;
	assert_int_equal(launch(&req), 0);
	assert_int_equal(le32toh(r->hdr.len), sizeof(*r));
	assert_int_equal(le64toh(r->device_ns), 1234567890123ULL);
	assert_int_equal(le64toh(r->copied), 0);
	assert_string_equal(mock.kernel, "kernel");
	assert_int_equal(mock.launch.work_dim, 2);
	assert_int_equal(mock.launch.global[0], 64);
	assert_int_equal(mock.launch.global[1], 32);
	assert_int_equal(mock.launch.local[0], 8);
	assert_int_equal(mock.launch.local[1], 4);
	assert_int_equal(mock.launch.nr_args, 3);
	assert_int_equal(mock.args[0].type, VCS_ARG_BUFFER);
	assert_ptr_equal(mock.args[0].buffer, mock.last_buffer);
	assert_int_equal(mock.args[0].offset, 256);
	assert_int_equal(mock.args[0].size, 1000);
	assert_int_equal(mock.args[1].type, VCS_ARG_BYTES);
	assert_int_equal(mock.args[1].size, 16);
	assert_memory_equal(mock.values[1], req.data + 4, 16);
	assert_int_equal(mock.args[2].type, VCS_ARG_LOCAL);
	assert_int_equal(mock.args[2].size, 512);
}

static void launch_size_0_is_the_rest(void **state)
{
	struct launch_req req = good_launch();

	(void)state;
	req.args[0].size = 0;
	assert_int_equal(launch(&req), 0);
	assert_int_equal(mock.args[0].size, RES_SIZE - 256);
	req.args[0].offset = 0;
	assert_int_equal(launch(&req), 0);
	assert_int_equal(mock.args[0].size, RES_SIZE);
}

static void launch_local_0_lets_the_device_choose(void **state)
{
	struct launch_req req = good_launch();

	(void)state;
	memset(req.l.local, 0, sizeof(req.l.local));
	assert_int_equal(launch(&req), 0);
	assert_int_equal(mock.launch.local[0], 0);
	assert_int_equal(mock.launch.local[1], 0);
}

static void launch_errors_of_the_backend_come_back(void **state)
{
	const struct virtio_gpu_compute_rsp *r = rsp();
	struct launch_req req = good_launch();

	(void)state;
	mock.fail = -EIO;
	assert_int_equal(launch(&req), -EIO);
	assert_int_equal(le32toh(r->len), sizeof(*r));
}

static void launch_of_what_is_not_there(void **state)
{
	struct launch_req req = good_launch();

	(void)state;
	req.l.program_id = htole32(2);
	assert_int_equal(launch(&req), -ENOENT);
	req = good_launch();
	req.args[0].res_id = htole32(8);
	assert_int_equal(launch(&req), -ENOENT);
	req = good_launch();
	assert_int_equal(ctx->ops->remove_resource(ctx, 7), 0);
	assert_int_equal(launch(&req), -ENOENT);
	assert_int_equal(mock.launches, 0);
}

static void launch_bad_form(void **state)
{
	struct launch_req req = good_launch();

	(void)state;
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_LAUNCH,
				 sizeof(req) - 8), -EBADMSG);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_LAUNCH,
				 sizeof(req.l) - 8), -EBADMSG);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_LAUNCH, 16),
			 -EBADMSG);
	req.l.data_len = htole32(25);
	assert_int_equal(launch(&req), -EBADMSG);
	req.l.data_len = htole32(UINT32_MAX);
	assert_int_equal(launch(&req), -EBADMSG);
	req = good_launch();
	req.l.nr_args = htole32(2);
	assert_int_equal(launch(&req), -EBADMSG);
	req.l.nr_args = htole32(VIRTIO_GPU_COMPUTE_MAX_ARGS + 1);
	assert_int_equal(launch(&req), -E2BIG);
	req.l.nr_args = htole32(UINT32_MAX);
	assert_int_equal(launch(&req), -E2BIG);
	req = good_launch();
	memset(req.l.kernel, 'k', sizeof(req.l.kernel));
	assert_int_equal(launch(&req), -EINVAL);
	req.l.kernel[0] = 0;
	assert_int_equal(launch(&req), -EINVAL);
	assert_int_equal(mock.launches, 0);
}

static void launch_bad_ranges(void **state)
{
	static const struct {
		uint32_t dim;
		uint64_t global[3], local[3];
	} bad[] = {
		{ 0, { 1, 1, 1 }, { 0 } },
		{ 4, { 1, 1, 1 }, { 0 } },
		{ UINT32_MAX, { 1, 1, 1 }, { 0 } },
		{ 1, { 0, 1, 1 }, { 0 } },
		{ 2, { 1, 0, 1 }, { 0 } },
		{ 1, { 8, 2, 1 }, { 0 } },
		{ 2, { 8, 2, 0 }, { 0 } },
		/* Their product wraps. */
		{ 2, { 1ULL << 63, 2, 1 }, { 0 } },
		{ 3, { 1ULL << 32, 1ULL << 31, 2 }, { 0 } },
		/* Local sizes: of some dimensions only, too large, no divisor. */
		{ 2, { 8, 8, 1 }, { 8, 0, 1 } },
		{ 2, { 8, 8, 1 }, { 0, 8, 1 } },
		{ 1, { 8, 1, 1 }, { 8, 2, 1 } },
		{ 1, { 1024, 1, 1 }, { 512, 1, 1 } },
		{ 2, { 64, 64, 1 }, { 64, 64, 1 } },
		{ 3, { 128, 128, 128 }, { 1, 1, 128 } },
		{ 1, { 9, 1, 1 }, { 8, 1, 1 } },
		{ 1, { 8, 1, 1 }, { UINT64_MAX, 1, 1 } },
		{ 3, { 1ULL << 20, 1ULL << 20, 1 },
		  { 1ULL << 20, 1ULL << 20, 1 } },
	};
	struct launch_req req;
	size_t i, d;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		req = good_launch();
		req.l.work_dim = htole32(bad[i].dim);
		for (d = 0; d < 3; d++) {
			req.l.global[d] = htole64(bad[i].global[d]);
			req.l.local[d] = htole64(bad[i].local[d]);
		}
		assert_int_equal(launch(&req), -EINVAL);
	}
	assert_int_equal(mock.launches, 0);
}

static void launch_bad_arguments(void **state)
{
	static const struct virtio_gpu_compute_arg bad[] = {
		{ .type = 0, .size = 4 },
		{ .type = 4, .size = 4 },
		{ .type = UINT32_MAX, .size = 4 },
		/* Resource 7 is of RES_SIZE, aligned to MOCK_OFFSET_ALIGN. */
		{ .type = 1, .res_id = 7, .offset = 64 },
		{ .type = 1, .res_id = 7, .offset = RES_SIZE },
		{ .type = 1, .res_id = 7, .offset = 1ULL << 63 },
		{ .type = 1, .res_id = 7, .size = RES_SIZE + 1 },
		{ .type = 1, .res_id = 7, .offset = 128, .size = RES_SIZE },
		{ .type = 1, .res_id = 7, .offset = 128, .size = UINT64_MAX },
		/* Not memory of kernels. */
		{ .type = 1, .res_id = SHM_ID },
		/* The inline values are 20 bytes. */
		{ .type = 2, .size = 0 },
		{ .type = 2, .size = 21 },
		{ .type = 2, .offset = 20, .size = 1 },
		{ .type = 2, .offset = 21, .size = 1 },
		{ .type = 2, .offset = UINT64_MAX, .size = 2 },
		{ .type = 2, .offset = 4, .size = UINT64_MAX - 2 },
		{ .type = 2, .res_id = 7, .size = 4 },
		{ .type = 3, .size = 0 },
		{ .type = 3, .size = MOCK_LOCAL_MEM + 1 },
		{ .type = 3, .offset = 1, .size = 4 },
		{ .type = 3, .res_id = 7, .size = 4 },
	};
	struct launch_req req;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		req = good_launch();
		req.args[1].type = htole32(bad[i].type);
		req.args[1].res_id = htole32(bad[i].res_id);
		req.args[1].offset = htole64(bad[i].offset);
		req.args[1].size = htole64(bad[i].size);
		assert_int_equal(launch(&req), -EINVAL);
	}
	assert_int_equal(mock.launches, 0);
}

/* Resources */

static void resources_come_and_go(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0, 4096), 0);
	assert_false(mock.rdonly);
	assert_int_equal(add(2, VGPU_RES_RDONLY, 4096), 0);
	assert_true(mock.rdonly);
	assert_int_equal(mock.buffers, 2);
	assert_int_equal(add(1, 0, 4096), -EEXIST);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1), 0);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1), -ENOENT);
	assert_int_equal(mock.buffers, 1);
	assert_int_equal(add(1, 0, 4096), 0);
}

static void bad_resources(void **state)
{
	(void)state;
	assert_int_equal(add(0, 0, 4096), -EINVAL);
	assert_int_equal(add(1, 0, MOCK_MAX_ALLOC + 4096), -E2BIG);
	/* A second shared blob, one that is read-only, small, or unknown. */
	assert_int_equal(add(1, VGPU_RES_BLOB, SHM_SIZE), -EEXIST);
	assert_int_equal(add(1, VGPU_RES_BLOB | VGPU_RES_RDONLY, SHM_SIZE),
			 -EINVAL);
	assert_int_equal(check(1, VGPU_RES_BLOB, 0, 2048), -EINVAL);
	assert_int_equal(check(1, VGPU_RES_BLOB, 1, SHM_SIZE), -EINVAL);
	/* The id of a guest's blob means nothing to us. */
	assert_int_equal(check(1, 0, 5, 4096), 0);
	mock.fail = -ENOMEM;
	assert_int_equal(add(1, 0, 4096), -ENOMEM);
	mock.fail = 0;
	assert_int_equal(add(1, 0, 4096), 0);
	assert_int_equal(mock.imports, 1);
}

static void resources_are_limited(void **state)
{
	uint32_t i;

	(void)state;
	/* The shared blob counts. */
	for (i = 1; i < VCS_MAX_RESOURCES; i++)
		assert_int_equal(add(1000 + i, 0, 4096), 0);
	assert_int_equal(add(1000 + i, 0, 4096), -E2BIG);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1001), 0);
	assert_int_equal(add(1000 + i, 0, 4096), 0);
	assert_int_equal(add(1001, 0, 4096), -E2BIG);
}

static void registered_memory_is_limited(void **state)
{
	(void)state;
	limits.max_registered = SHM_SIZE + 3 * 4096;
	assert_int_equal(add(1, 0, 4 * 4096), -E2BIG);
	assert_int_equal(add(1, 0, 3 * 4096), 0);
	assert_int_equal(add(2, 0, 4096), -E2BIG);
	assert_int_equal(ctx->ops->remove_resource(ctx, 1), 0);
	assert_int_equal(add(2, 0, 4096), 0);
	assert_int_equal(add(3, 0, 2 * 4096), 0);
	assert_int_equal(add(4, 0, 4096), -E2BIG);
	/* Sizes that would wrap a sum. */
	assert_int_equal(check(5, VGPU_RES_BLOB, 0, -(uint64_t)SHM_SIZE),
			 -E2BIG);
	assert_int_equal(stats.bytes, limits.max_registered);
	assert_int_equal(stats.max_bytes, limits.max_registered);
	assert_int_equal(stats.resources, 3);
}

static void shared_blob_can_be_replaced(void **state)
{
	struct virtio_gpu_compute_req req;

	(void)state;
	assert_int_equal(ctx->ops->remove_resource(ctx, SHM_ID), 0);
	set_header(&req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req));
	assert_int_equal(ctx->ops->submit(ctx, (void *)&req, sizeof(req)),
			 -EINVAL);
	assert_int_equal(add(SHM_ID + 1, VGPU_RES_BLOB, SHM_SIZE), 0);
	assert_int_equal(request(&req, VIRTIO_GPU_COMPUTE_NOP, sizeof(req)), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define L(f) cmocka_unit_test_setup_teardown(f, setup_launch, teardown)
	const struct CMUnitTest tests[] = {
		T(shared_blob_is_initialised),
		cmocka_unit_test_setup_teardown(no_shared_blob_no_submission,
						setup_bare, teardown),
		T(nop_is_answered),
		T(empty_submission),
		T(unknown_commands),
		T(several_requests_in_one_submission),
		T(broken_lengths),
		T(rest_of_a_broken_submission_is_dropped),
		T(no_room_for_a_header),
		T(responses_outside_of_the_blob),
		T(rooms_that_are_none),
		T(responses_are_cut_to_their_room),
		T(response_at_the_end),
		T(query),
		T(build_passes_source_and_options),
		T(build_without_options),
		T(build_log_is_returned),
		T(bad_builds),
		T(programs_are_limited),
		T(release),
		L(launch_passes_everything),
		L(launch_size_0_is_the_rest),
		L(launch_local_0_lets_the_device_choose),
		L(launch_errors_of_the_backend_come_back),
		L(launch_of_what_is_not_there),
		L(launch_bad_form),
		L(launch_bad_ranges),
		L(launch_bad_arguments),
		T(resources_come_and_go),
		T(bad_resources),
		T(resources_are_limited),
		T(registered_memory_is_limited),
		T(shared_blob_can_be_replaced),
	};

	return cmocka_run_group_tests_name("compute", tests, NULL, NULL);
}
