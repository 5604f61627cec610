// SPDX-License-Identifier: MIT
/*
 * The worker's loop: fragments, their errors, answers in order
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "client.h"
#include "mock.h"
#include "vcs_context_compute.h"
#include "vcs_log.h"
#include "vcs_worker.h"

static pthread_t thread;
static struct mock mock;
static const struct vcs_limits limits = VCS_LIMITS_DEFAULT;
static struct vcs_stats stats;
static int sock, server_sock, served;
static struct memory mem;

/* A context that has doorbells, as COMPUTE has not. */
#define BELLS	5
static bool has_doorbells;
static struct vcs_context_ops bell_ops;
static struct vcs_doorbell rung[4];
static unsigned int nr_rung;
/* What it does by itself: when it wants to be called again, how often it was. */
static int run_again;
static unsigned int nr_runs;

static bool is_doorbells(struct vcs_context *ctx, uint32_t res_id)
{
	(void)ctx;
	return res_id == BELLS;
}

static int doorbell(struct vcs_context *ctx, const struct vcs_doorbell *bell)
{
	(void)ctx;
	if (bell->res_id != BELLS)
		return -EBADMSG;
	rung[nr_rung++ % 4] = *bell;
	return 0;
}

static int run(struct vcs_context *ctx)
{
	(void)ctx;
	__atomic_add_fetch(&nr_runs, 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&run_again, __ATOMIC_RELAXED);
}

static unsigned int runs(void)
{
	return __atomic_load_n(&nr_runs, __ATOMIC_RELAXED);
}

static void *serve(void *arg)
{
	struct vcs_map_budget budget;
	struct vcs_context *ctx;

	(void)arg;
	served = vcs_map_budget_init(&budget);
	ctx = vcs_compute_create(&mock.base, &limits, &stats, &budget);
	if (has_doorbells) {
		bell_ops = *ctx->ops;
		bell_ops.is_doorbells = is_doorbells;
		bell_ops.doorbell = doorbell;
		bell_ops.run = run;
		ctx->ops = &bell_ops;
	}
	if (!served && ctx)
		served = vcs_worker_serve(server_sock, ctx, &budget);
	ctx->ops->destroy(ctx);
	close(server_sock);
	return NULL;
}

static int start(bool bells)
{
	int pair[2];

	/* What is provoked here need not be read. */
	vcs_log_set_level(VCS_LOG_ERROR);
	has_doorbells = bells;
	nr_rung = 0;
	nr_runs = 0;
	run_again = -1;
	mock_init(&mock);
	memory_create(&mem, 8);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    pair), 0);
	sock = pair[0];
	server_sock = pair[1];
	return pthread_create(&thread, NULL, serve, NULL);
}

static int setup(void **state)
{
	(void)state;
	return start(false);
}

static int setup_with_doorbells(void **state)
{
	(void)state;
	return start(true);
}

/* Closes the connection, returns what the loop returned. */
static int finish(void)
{
	close(sock);
	pthread_join(thread, NULL);
	assert_int_equal(mock.buffers, 0);
	memory_destroy(&mem);
	return served;
}

static void send_map(uint64_t serial, uint32_t res_id, uint32_t flags,
		     uint64_t size, uint32_t nr_runs, size_t first, bool more)
{
	struct {
		struct vgpu_msg_res_map map;
		struct vgpu_run runs[8];
	} msg = {
		.map = {
			.hdr = {
				.type = VGPU_MSG_RES_MAP,
				.size = (uint32_t)(sizeof(msg.map) +
					nr_runs * sizeof(msg.runs[0])),
				.flags = more ? VGPU_MSG_F_MORE : 0,
				.serial = serial,
			},
			.res_id = res_id,
			.flags = flags,
			.size = size,
			.nr_runs = nr_runs,
		},
	};
	uint32_t i;

	for (i = 0; i < nr_runs; i++) {
		msg.runs[i].offset = (first + i) * page_size();
		msg.runs[i].length = page_size();
	}
	send_msg(sock, &msg, msg.map.hdr.size,
		 flags & VGPU_RES_RDONLY ? &mem.rdonly_fd : &mem.fd, 1);
}

static void send_submit(uint64_t serial, uint32_t total, size_t len, bool more)
{
	struct {
		struct vgpu_msg_submit submit;
		uint8_t payload[VGPU_PROTO_MAX_MSG -
				sizeof(struct vgpu_msg_submit)];
	} msg = {
		.submit = {
			.hdr = {
				.type = VGPU_MSG_SUBMIT,
				.size = (uint32_t)(sizeof(msg.submit) + len),
				.flags = more ? VGPU_MSG_F_MORE : 0,
				.serial = serial,
			},
			.total = total,
		},
	};

	send_msg(sock, &msg, msg.submit.hdr.size, NULL, 0);
}

static uint32_t done(uint64_t serial)
{
	return recv_done(sock, VGPU_MSG_DONE, serial, NULL);
}

static void nothing_comes(void)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, 50), 0);
}

static void fragments_are_answered_once(void **state)
{
	static const uint8_t pages[] = { 4, 5, 0, 1 };
	size_t i;

	(void)state;
	for (i = 0; i < 8; i++)
		mem.addr[i * page_size()] = (uint8_t)i;
	send_map(1, 1, 0, 4 * page_size(), 2, 4, true);
	nothing_comes();
	send_map(1, 1, 0, 4 * page_size(), 0, 0, true);
	send_map(1, 1, 0, 4 * page_size(), 2, 0, false);
	assert_int_equal(done(1), 0);
	assert_int_equal(mock.imports, 1);
	/* The worker waits: its window is ours to read. */
	for (i = 0; i < 4; i++)
		assert_int_equal(mock.addr[i * page_size()], pages[i]);
	assert_int_equal(finish(), 0);
}

static void answers_come_in_order(void **state)
{
	struct vgpu_msg_res_unmap unmap_msg = {
		.hdr = {
			.type = VGPU_MSG_RES_UNMAP,
			.size = sizeof(unmap_msg),
			.serial = 3,
		},
		.res_id = 1,
	};

	(void)state;
	send_map(1, 1, 0, page_size(), 1, 0, false);
	send_map(2, 2, VGPU_RES_RDONLY, page_size(), 1, 0, false);
	send_msg(sock, &unmap_msg, sizeof(unmap_msg), NULL, 0);
	unmap_msg.hdr.serial = 4;
	send_msg(sock, &unmap_msg, sizeof(unmap_msg), NULL, 0);
	assert_int_equal(done(1), 0);
	assert_int_equal(done(2), 0);
	assert_int_equal(done(3), 0);
	assert_int_equal(done(4), ENOENT);
	assert_int_equal(finish(), 0);
}

static void an_error_waits_for_the_last_fragment(void **state)
{
	(void)state;
	send_map(1, 0, 0, 4 * page_size(), 2, 0, true);
	/* Beyond the file. */
	send_map(1, 0, 0, 4 * page_size(), 2, 7, true);
	nothing_comes();
	send_map(1, 0, 0, 4 * page_size(), 0, 0, false);
	assert_int_equal(done(1), EINVAL);

	send_map(2, 1, 0, 4 * page_size(), 2, 0, true);
	send_map(2, 1, 0, 4 * page_size(), 2, 7, true);
	send_map(2, 1, 0, 4 * page_size(), 2, 0, false);
	assert_int_equal(done(2), EINVAL);

	/* Too few, too many. */
	send_map(3, 1, 0, 4 * page_size(), 3, 0, false);
	assert_int_equal(done(3), EINVAL);
	send_map(4, 1, 0, 4 * page_size(), 5, 0, false);
	assert_int_equal(done(4), EINVAL);

	/* A failed one takes nothing. */
	send_map(5, 1, 0, 4 * page_size(), 4, 0, false);
	assert_int_equal(done(5), 0);
	assert_int_equal(mock.imports, 1);
	assert_int_equal(finish(), 0);
}

static void a_blob_is_one_run(void **state)
{
	(void)state;
	send_map(1, 1, VGPU_RES_BLOB, 2 * page_size(), 2, 0, false);
	assert_int_equal(done(1), EINVAL);
	send_map(2, 1, VGPU_RES_BLOB, page_size(), 1, 0, false);
	assert_int_equal(done(2), 0);
	assert_int_equal(mock.imports, 0);
	assert_int_equal(finish(), 0);
}

static void refused_by_the_backend(void **state)
{
	(void)state;
	mock.fail = -ENOMEM;
	send_map(1, 1, 0, page_size(), 1, 0, false);
	assert_int_equal(done(1), ENOMEM);
	assert_int_equal(finish(), 0);
}

static void submissions_add_up(void **state)
{
	uint32_t left;

	(void)state;
	send_map(1, 1, VGPU_RES_BLOB, page_size(), 1, 0, false);
	assert_int_equal(done(1), 0);
	send_submit(2, 100, 60, true);
	nothing_comes();
	send_submit(2, 100, 40, false);
	assert_int_equal(done(2), 0);
	send_submit(3, 0, 0, false);
	assert_int_equal(done(3), 0);

	/* The largest, and one more. */
	for (left = VGPU_PROTO_MAX_SUBMIT; left > 32768; left -= 32768)
		send_submit(4, VGPU_PROTO_MAX_SUBMIT, 32768, true);
	send_submit(4, VGPU_PROTO_MAX_SUBMIT, 32768, false);
	assert_int_equal(done(4), 0);
	send_submit(5, VGPU_PROTO_MAX_SUBMIT + 1, 32768, true);
	for (left = VGPU_PROTO_MAX_SUBMIT - 32768; left > 32768; left -= 32768)
		send_submit(5, VGPU_PROTO_MAX_SUBMIT + 1, 32768, true);
	send_submit(5, VGPU_PROTO_MAX_SUBMIT + 1, 32769, false);
	assert_int_equal(done(5), E2BIG);
	assert_int_equal(finish(), 0);
}

static void submission_without_a_shared_blob(void **state)
{
	(void)state;
	send_submit(1, 16, 16, false);
	assert_int_equal(done(1), EINVAL);
	assert_int_equal(finish(), 0);
}

static void broken(void)
{
	expect_eof(sock);
	assert_int_equal(finish(), -EBADMSG);
}

static void fragment_of_another_type(void **state)
{
	(void)state;
	send_map(1, 1, 0, 4 * page_size(), 2, 0, true);
	send_submit(1, 8, 8, false);
	broken();
}

static void fragment_of_another_serial(void **state)
{
	(void)state;
	send_map(1, 1, 0, 4 * page_size(), 2, 0, true);
	send_map(2, 1, 0, 4 * page_size(), 2, 2, false);
	broken();
}

static void fragment_that_differs(void **state)
{
	(void)state;
	send_map(1, 1, 0, 4 * page_size(), 2, 0, true);
	send_map(1, 1, 0, 8 * page_size(), 2, 2, false);
	broken();
}

static void submission_that_differs(void **state)
{
	(void)state;
	send_submit(1, 16, 8, true);
	send_submit(1, 24, 8, false);
	broken();
}

static void submission_longer_than_it_says(void **state)
{
	(void)state;
	send_submit(1, 16, 8, true);
	send_submit(1, 16, 16, false);
	broken();
}

static void submission_shorter_than_it_says(void **state)
{
	(void)state;
	send_submit(1, 16, 8, false);
	broken();
}

static void end_in_the_middle_unmaps(void **state)
{
	(void)state;
	send_map(1, 1, 0, page_size(), 1, 0, false);
	assert_int_equal(done(1), 0);
	send_map(2, 2, 0, 4 * page_size(), 2, 0, true);
	assert_int_equal(finish(), 0);
}

static void ring(uint32_t res_id, uint32_t offset, uint64_t value)
{
	struct vgpu_msg_doorbell msg = {
		.hdr = {
			.type = VGPU_MSG_DOORBELL,
			.size = sizeof(msg),
			.serial = 99,
		},
		.res_id = res_id,
		.offset = offset,
		.size = 8,
		.value = value,
	};

	send_msg(sock, &msg, sizeof(msg), NULL, 0);
}

/* QEMU is told which they are; what it sends then is not answered. */
static void doorbells_are_rung(void **state)
{
	uint32_t flags;

	(void)state;
	send_map(1, BELLS - 1, 0, page_size(), 1, 0, false);
	assert_int_equal(done(1), 0);
	send_map(2, BELLS, 0, page_size(), 1, 0, false);
	assert_int_equal(recv_done_flags(sock, 2, &flags), 0);
	assert_int_equal(flags, VGPU_DONE_DOORBELLS);
	/* Not of one that is refused. */
	send_map(3, BELLS, 0, page_size(), 1, 0, false);
	assert_int_equal(done(3), EEXIST);
	ring(BELLS, 16, 1ULL << 40);
	ring(BELLS, 4088, 2);
	nothing_comes();
	/* The answer is behind both. */
	send_submit(4, 16, 16, false);
	assert_int_equal(done(4), EINVAL);
	assert_int_equal(nr_rung, 2);
	assert_int_equal(rung[0].res_id, BELLS);
	assert_int_equal(rung[0].offset, 16);
	assert_int_equal(rung[0].size, 8);
	assert_int_equal(rung[0].value, 1ULL << 40);
	assert_int_equal(rung[1].offset, 4088);
	assert_int_equal(finish(), 0);
}

/* Between requests, as often as it wants; a busy one is no deaf one. */
static void contexts_work_by_themselves(void **state)
{
	unsigned int before;
	int i;

	(void)state;
	/* Not without a reason. */
	send_map(1, 1, 0, page_size(), 1, 0, false);
	assert_int_equal(done(1), 0);
	nothing_comes();
	assert_in_range(runs(), 1, 2);
	/* The next request has it say something else. */
	__atomic_store_n(&run_again, 1, __ATOMIC_RELAXED);
	ring(BELLS, 0, 1);
	for (i = 0; i < TIMEOUT_MS && runs() < 10; i++)
		usleep(1000);
	assert_true(runs() >= 10);
	__atomic_store_n(&run_again, 0, __ATOMIC_RELAXED);
	for (i = 2; i < 20; i++) {
		before = runs();
		send_map((uint64_t)i, (uint32_t)i * 10, 0, page_size(), 1, 0,
			 false);
		assert_int_equal(done((uint64_t)i), 0);
		while (runs() == before)
			usleep(1000);
	}
	/* The end is a message, too. */
	assert_int_equal(finish(), 0);
}

static void doorbell_of_what_is_none(void **state)
{
	(void)state;
	ring(BELLS + 1, 0, 1);
	broken();
}

static void doorbell_where_there_are_none(void **state)
{
	(void)state;
	ring(BELLS, 0, 1);
	broken();
}

static void doorbell_between_fragments(void **state)
{
	(void)state;
	send_map(1, 1, 0, 4 * page_size(), 2, 0, true);
	ring(BELLS, 0, 1);
	expect_eof(sock);
	assert_int_equal(finish(), -EBADMSG);
	assert_int_equal(nr_rung, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
#define D(f) cmocka_unit_test_setup(f, setup_with_doorbells)
	const struct CMUnitTest tests[] = {
		T(fragments_are_answered_once),
		T(answers_come_in_order),
		T(an_error_waits_for_the_last_fragment),
		T(a_blob_is_one_run),
		T(refused_by_the_backend),
		T(submissions_add_up),
		T(submission_without_a_shared_blob),
		T(fragment_of_another_type),
		T(fragment_of_another_serial),
		T(fragment_that_differs),
		T(submission_that_differs),
		T(submission_longer_than_it_says),
		T(submission_shorter_than_it_says),
		T(end_in_the_middle_unmaps),
		D(doorbells_are_rung),
		D(contexts_work_by_themselves),
		D(doorbell_of_what_is_none),
		T(doorbell_where_there_are_none),
		D(doorbell_between_fragments),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
