// SPDX-License-Identifier: MIT
/*
 * Queues, doorbells and events of the server with --backend=sim as QEMU sees
 * them: real processes, guest memory, no GPU
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rocm_guest.h"

#define SIM		"--backend=sim"
#define GPU		ROCM_GPU
#define NR(a)		(sizeof(a) / sizeof((a)[0]))

static struct server server;

static int start(void **state)
{
	(void)state;
	server_start(&server, SIM, NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	return server_stop(&server);
}

static void packets_are_taken(void **state)
{
	enum rocm_generation gen;
	struct guest g;
	int i, round;

	(void)state;
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		guest_begin(&server, &g, gen);
		make_queue(&g, gen);
		/* More than fit into the ring at once. */
		for (round = 1; round <= 4; round++) {
			put_signal(&g, 1, NR_PACKETS - 1);
			for (i = 0; i < (int)NR_PACKETS - 1; i++)
				put_packet(&g, BARRIER_AND, 0,
					   signal_addr(&g, 1));
			ring(&g);
			wait_for_signal(&g, 1, 0);
			assert_int_equal(load(g.desc, READ_PTR),
					 round * (int)(NR_PACKETS - 1));
		}
		assert_int_equal(unmap(&g.c, QUEUE), 0);
		assert_int_equal(unmap(&g.c, BELLS), 0);
		assert_int_equal(unmap(&g.c, MEMORY), 0);
		guest_end(&g);
	}
}

/* Whoever rings last is no bottleneck: the worker answers while a packet waits. */
static void a_wait_blocks_nobody(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&server, &g, ROCM_2026);
	make_queue(&g, ROCM_2026);
	put_signal(&g, 1, 1);
	put_signal(&g, 2, 1);
	put_packet(&g, BARRIER_AND, signal_addr(&g, 1), signal_addr(&g, 2));
	ring(&g);
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	usleep(50000);
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	assert_int_equal(load(g.desc, SIGNAL(2) + 8), 1);
	/* Nobody rings for that. */
	store(g.desc, SIGNAL(1) + 8, 0);
	wait_for_signal(&g, 2, 0);
	/* And ends while one waits. */
	put_packet(&g, BARRIER_AND, signal_addr(&g, 2), 0);
	put_packet(&g, BARRIER_AND, signal_addr(&g, 0), 0);
	put_signal(&g, 2, 1);
	ring(&g);
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	guest_end(&g);
}

static void refusals(void **state)
{
	static const struct {
		size_t offset;
		uint64_t value;
		int error;
	} bad[] = {
		{ 16, 0, -EINVAL },		/* node */
		{ 20, 2, -EOPNOTSUPP },		/* type */
		{ 24, 101, -EINVAL },		/* percentage */
		{ 48, 0x10000, -EFAULT },	/* packets */
		{ 56, 3000, -EINVAL },		/* their size */
		{ 80, 8, -EFAULT },		/* indices */
		{ 88, 12, -EINVAL },
		{ 96, 0, -EINVAL },		/* blobs */
		{ 96, BELLS, -EEXIST },
		{ 112, 0, -ENOENT },
		{ 120, SPARE, -EINVAL },	/* resources */
		{ 128, SHM_RES_ID, -EINVAL },
	};
	struct rocm_queue q;
	enum rocm_generation gen;
	struct rocm_req req;
	struct memory ro;
	struct guest g;
	uint32_t i;

	(void)state;
	memory_create(&ro, 2);
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		guest_begin(&server, &g, gen);
		q = queue(&g);
		for (i = 0; i < NR(bad); i++) {
			req = rocm_create_queue(gen, &q);
			if (bad[i].offset < 32 || bad[i].offset > 112)
				rocm_set32(&req, bad[i].offset,
					   (uint32_t)bad[i].value);
			else
				rocm_set64(&req, bad[i].offset, bad[i].value);
			assert_int_equal(rocm(&g.c, req), bad[i].error);
		}
		q.addr = lock(&g.c, gen, SPARE, &ro, true);
		q.mem_res_id = SPARE;
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -EACCES);
		/* Of what was not announced. */
		assert_int_equal(map_blob(&g.c, QUEUE, QUEUE, RING_SIZE, NULL),
				 ENOENT);
		assert_int_equal(map_blob(&g.c, BELLS, BELLS, DOORBELLS, NULL),
				 ENOENT);
		make_queue(&g, gen);
		q = queue(&g);
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -EEXIST);
		assert_int_equal(rocm(&g.c, rocm_memory_at(gen, 7, MEMORY, 0)),
				 -EBUSY);
		/* As many as there are doorbells. */
		q.doorbell_blob_id = 0;
		for (i = 1; i < MAX_QUEUES; i++) {
			q.blob_id = 1000 + i;
			assert_int_equal(rocm(&g.c, rocm_create_queue(gen,
								      &q)), 0);
		}
		q.blob_id++;
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -E2BIG);
		assert_int_equal(rocm(&g.c, rocm_queue(gen, 1, 0, 1007)), 0);
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)), 0);
		guest_end(&g);
	}
	memory_destroy(&ro);
}

/* What is still in flight reaches nothing. */
static void memory_is_let_go(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&server, &g, ROCM_2026);
	make_queue(&g, ROCM_2026);
	put_signal(&g, 1, 1);
	put_packet(&g, BARRIER_AND, signal_addr(&g, 1), signal_addr(&g, 1));
	ring(&g);
	assert_int_equal(unmap(&g.c, MEMORY), 0);
	store(g.desc, SIGNAL(1) + 8, 0);
	ring(&g);
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	usleep(50000);
	assert_int_equal(load(g.desc, SIGNAL(1) + 8), 0);
	assert_int_equal(load(g.desc, READ_PTR), 0);
	assert_int_equal(unmap(&g.c, BELLS), 0);
	assert_int_equal(unmap(&g.c, QUEUE), 0);
	guest_end(&g);
}

static void two_contexts_have_queues(void **state)
{
	struct guest g[2];
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		guest_begin(&server, &g[i], i ? ROCM_2026 : ROCM_2025);
		make_queue(&g[i], i ? ROCM_2026 : ROCM_2025);
		put_signal(&g[i], 1, 1);
		put_packet(&g[i], BARRIER_AND, 0, signal_addr(&g[i], 1));
	}
	/* Of the same addresses, and yet not the same. */
	assert_int_equal(g[0].addr, g[1].addr);
	ring(&g[1]);
	wait_for_signal(&g[1], 1, 0);
	assert_int_equal(load(g[0].desc, SIGNAL(1) + 8), 1);
	ring(&g[0]);
	wait_for_signal(&g[0], 1, 0);
	guest_end(&g[0]);
	put_signal(&g[1], 1, 1);
	put_packet(&g[1], BARRIER_AND, 0, signal_addr(&g[1], 1));
	ring(&g[1]);
	wait_for_signal(&g[1], 1, 0);
	guest_end(&g[1]);
}

static void a_killed_worker_takes_its_queues_along(void **state)
{
	struct guest victim, other;

	(void)state;
	guest_begin(&server, &other, ROCM_2026);
	guest_begin(&server, &victim, ROCM_2026);
	make_queue(&other, ROCM_2026);
	make_queue(&victim, ROCM_2026);
	put_signal(&victim, 1, 1);
	put_packet(&victim, BARRIER_AND, signal_addr(&victim, 1),
		   signal_addr(&victim, 1));
	ring(&victim);
	assert_int_equal(rocm(&victim.c, rocm_nop()), 0);
	assert_int_equal(kill(pid_of(victim.c.pidfd), SIGKILL), 0);
	expect_eof(victim.c.sock);
	expect_dead(victim.c.pidfd);
	store(victim.desc, SIGNAL(1) + 8, 0);
	put_signal(&other, 1, 1);
	put_packet(&other, BARRIER_AND, 0, signal_addr(&other, 1));
	ring(&other);
	wait_for_signal(&other, 1, 0);
	assert_int_equal(load(victim.desc, SIGNAL(1) + 8), 0);
	guest_end(&victim);
	guest_end(&other);
}

/* How often its worker sleeps. */
static long sleeps(const struct guest *g)
{
	char switches[32];

	proc_status(pid_of(g->c.pidfd), "voluntary_ctxt_switches", switches,
		    sizeof(switches));
	return strtol(switches, NULL, 10);
}

/* A queue that waits in vain keeps nobody, and is no work worth mentioning. */
static void waiting_is_cheap(void **state)
{
	struct guest g;
	long before;

	(void)state;
	guest_begin(&server, &g, ROCM_2026);
	make_queue(&g, ROCM_2026);
	put_signal(&g, 1, 1);
	put_packet(&g, BARRIER_AND, signal_addr(&g, 1), 0);
	ring(&g);
	usleep(100000);
	before = sleeps(&g);
	usleep(500000);
	/* It does sleep, some ten milliseconds each time. */
	assert_in_range(sleeps(&g) - before, 1, 100);
	guest_end(&g);
}

/* One whose next packet is not there yet is none at all. */
static void a_packet_that_does_not_come(void **state)
{
	struct guest g;
	long before;

	(void)state;
	guest_begin(&server, &g, ROCM_2026);
	make_queue(&g, ROCM_2026);
	put_signal(&g, 1, 1);
	put_packet(&g, INVALID, 0, signal_addr(&g, 1));
	ring(&g);
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	usleep(100000);
	before = sleeps(&g);
	usleep(200000);
	assert_int_equal(sleeps(&g), before);
	/* It comes, and says so. */
	store(g.ring, 0, BARRIER_AND);
	ring(&g);
	wait_for_signal(&g, 1, 0);
	guest_end(&g);
}

static void a_kernel_stops_the_queue(void **state)
{
	struct server s;
	struct guest g;
	char *said;

	(void)state;
	server_start_logging(&s, SIM, NULL);
	guest_begin(&s, &g, ROCM_2026);
	make_queue(&g, ROCM_2026);
	put_packet(&g, BARRIER_AND, 0, 0);
	put_packet(&g, DISPATCH, 0, 0);
	ring(&g);
	wait_for_signal(&g, 0, 0x80000000);
	said = server_said(&s, " stops at packet 1: there is no GPU to execute a kernel");
	free(said);
	/* The answer comes behind it. */
	assert_int_equal(rocm(&g.c, rocm_nop()), 0);
	assert_int_equal(rocm_get32(g.c.shm, 8), EIO);
	guest_end(&g);
	assert_int_equal(server_stop(&s), 0);
}

/* Another QEMU, or one whose device has no place to show them. */
static void without_doorbells_there_are_no_queues(void **state)
{
	enum rocm_generation gen;
	struct rocm_queue q;
	struct server s;
	struct guest g;

	(void)state;
	server_spawn(&s, SIM, NULL);
	server_greet(&s, SIM, 0);
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		guest_begin(&s, &g, gen);
		q = queue(&g);
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -EOPNOTSUPP);
		assert_int_equal(map_blob(&g.c, BELLS, BELLS, DOORBELLS, NULL),
				 ENOENT);
		/* Who rings all the same is not talked to any more. */
		send_doorbell(&g.c, MEMORY, 0, 1);
		expect_eof(g.c.sock);
		guest_end(&g);
	}
	assert_int_equal(server_stop(&s), 0);
}

static void doorbells_that_nobody_was_shown(void **state)
{
	static const struct {
		uint32_t res_id, offset;
	} bad[] = {
		{ MEMORY, 0 }, { QUEUE, 0 }, { SPARE, 0 }, { SHM_RES_ID, 0 },
		{ BELLS, DOORBELLS }, { BELLS, 4 },
	};
	struct guest g, other;
	size_t i;

	(void)state;
	guest_begin(&server, &other, ROCM_2025);
	make_queue(&other, ROCM_2025);
	for (i = 0; i < NR(bad); i++) {
		guest_begin(&server, &g, ROCM_2025);
		make_queue(&g, ROCM_2025);
		send_doorbell(&g.c, BELLS, DOORBELLS - 8, 1);
		assert_int_equal(rocm(&g.c, rocm_nop()), 0);
		send_doorbell(&g.c, bad[i].res_id, bad[i].offset, 1);
		expect_eof(g.c.sock);
		guest_end(&g);
	}
	put_signal(&other, 1, 1);
	put_packet(&other, BARRIER_AND, 0, signal_addr(&other, 1));
	ring(&other);
	wait_for_signal(&other, 1, 0);
	guest_end(&other);
}

static void events(void **state)
{
	struct ctx c;
	uint32_t id;

	(void)state;
	ctx_create(&server, &c);
	assert_int_equal(rocm(&c, rocm_create_event(0, false, false, 7)), 0);
	id = (uint32_t)rocm_value(&c, 8);
	assert_int_equal(map_blob(&c, SPARE, 7, page_size(), NULL), 0);
	assert_int_equal(rocm(&c, rocm_event(4, SPARE, id)), -ETIMEDOUT);
	assert_int_equal(rocm(&c, rocm_event(2, SPARE, id)), 0);
	assert_int_equal(rocm(&c, rocm_event(4, SPARE, id)), 0);
	assert_int_equal(rocm(&c, rocm_event(4, SPARE, id)), -ETIMEDOUT);
	/* The clients do not wait, and cannot. */
	assert_int_equal(rocm(&c, rocm_event(5, SPARE, id)), -EOPNOTSUPP);
	assert_int_equal(unmap(&c, SPARE), 0);
	assert_int_equal(rocm(&c, rocm_event(2, 0, id)), -ENOENT);
	ctx_close(&c);
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(packets_are_taken),
		T(a_wait_blocks_nobody),
		T(refusals),
		T(memory_is_let_go),
		T(two_contexts_have_queues),
		T(a_killed_worker_takes_its_queues_along),
		T(waiting_is_cheap),
		T(a_packet_that_does_not_come),
		T(a_kernel_stops_the_queue),
		T(without_doorbells_there_are_no_queues),
		T(doorbells_that_nobody_was_shown),
		T(events),
	};

	return cmocka_run_group_tests_name("sim_queue", tests, start, stop);
}
