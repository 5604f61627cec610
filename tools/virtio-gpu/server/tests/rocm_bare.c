// SPDX-License-Identifier: MIT
/*
 * A ROCM context without worker and server, on the simulation
 */
#include <endian.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rocm_bare.h"
#include "vcs_log.h"
#include "vcs_thunk_sim.h"

/* Mappings that the context may make. */
#define MAPPINGS	50000

struct vcs_map_budget budget;
struct vcs_context *ctx;
struct vcs_limits limits;
struct vcs_stats stats;
struct vcs_thunk *thunk;
uint8_t *shm;
uint32_t seqno;

const struct vcs_thunk_ops *sim_ops;
struct vcs_thunk_ops ops;
int fail;
uint64_t elsewhere;
char calls[64];
int memory_left = -1;

void *__wrap_calloc(size_t n, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *));
void *__real_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *));

static bool is_out_of_memory(void)
{
	if (memory_left < 0)
		return false;
	return !memory_left || !memory_left--;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out_of_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_tsearch(const void *key, void **root, int (*cmp)(const void *,
							      const void *))
{
	return is_out_of_memory() ? NULL : __real_tsearch(key, root, cmp);
}

void called(char what)
{
	size_t n = strlen(calls);

	if (n < sizeof(calls) - 1)
		calls[n] = what;
}

bool bare_open(void)
{
	static const struct vcs_limits defaults = VCS_LIMITS_DEFAULT;

	vcs_log_set_level(VCS_LOG_ERROR);
	seqno = 0;
	shm = NULL;
	fail = 0;
	elsewhere = 0;
	memset(calls, 0, sizeof(calls));
	limits = defaults;
	memset(&stats, 0, sizeof(stats));
	budget = (struct vcs_map_budget) { .left = MAPPINGS, .limit = 65530 };
	thunk = vcs_thunk_sim_open();
	if (!thunk)
		return false;
	sim_ops = thunk->ops;
	ops = *sim_ops;
	thunk->ops = &ops;
	return true;
}

void bare_close(void)
{
	memory_left = -1;
	ctx->ops->destroy(ctx);
	assert_int_equal(budget.left, MAPPINGS);
	thunk->ops = &ops;
	thunk->ops->close(thunk);
}

int make_memfd(size_t size, bool rdonly)
{
	char path[64];
	int fd, ro;

	fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (!rdonly)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	close(fd);
	return ro;
}

int add_from(uint32_t res_id, uint32_t flags, uint64_t blob_id, size_t size,
	     int fd, uint8_t **addr)
{
	const struct vcs_resource_info info = {
		.res_id = res_id,
		.flags = flags,
		.blob_id = blob_id,
		.size = size,
	};
	const struct vgpu_run run = { .length = size };
	struct vcs_window win = { 0 };
	int ret;

	ret = ctx->ops->check_resource(ctx, &info);
	if (!ret)
		ret = ctx->ops->init_window(ctx, &info, &win);
	if (!ret)
		ret = vcs_window_append(&win, &run, 1, &fd, 1, &budget);
	if (!ret)
		ret = vcs_window_finish(&win);
	if (!ret)
		ret = ctx->ops->add_resource(ctx, &info, &win);
	if (ret)
		vcs_window_unmap(&win, &budget);
	else if (addr)
		*addr = win.addr;
	return ret;
}

int add(uint32_t res_id, uint32_t flags, uint64_t blob_id, size_t size,
	uint8_t **addr)
{
	int fd = make_memfd(size, flags & VGPU_RES_RDONLY);
	int ret;

	ret = add_from(res_id, flags, blob_id, size, fd, addr);
	close(fd);
	return ret;
}

const uint8_t *rsp(void)
{
	return shm + RSP_AT;
}

void set_room(uint32_t room)
{
	memset(shm + RSP_AT, 0xee, SHM_SIZE - RSP_AT);
	room = htole32(room);
	memcpy(shm + RSP_AT, &room, sizeof(room));
}

int submit(struct rocm_req req)
{
	uint32_t len;

	rocm_set32(&req, 8, ++seqno);
	rocm_set32(&req, 12, RSP_OFF);
	set_room(req.room);
	assert_int_equal(ctx->ops->submit(ctx, req.data, req.len), 0);
	assert_int_equal(rocm_get32(shm, 0), seqno);
	assert_int_equal(rocm_get32(shm, 8), 0);
	len = rocm_get32(rsp(), 0);
	assert_true(len >= 8 && len <= req.room);
	assert_int_equal(rsp()[len], 0xee);
	return (int)rocm_get32(rsp(), 4);
}

void expect_zeros(uint32_t len)
{
	uint32_t i;

	assert_int_equal(rocm_get32(rsp(), 0), len);
	for (i = 8; i < len; i++)
		assert_int_equal(rsp()[i], 0);
}
