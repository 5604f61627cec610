// SPDX-License-Identifier: MIT
/*
 * Queues, and other things that are not just memory, of the server with
 * --backend=hsakmt as QEMU sees it, on a library that plays AMD's
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rocm_guest.h"

#define HSAKMT	"--backend=hsakmt"
#define CAPSET	8
#define GPU	ROCM_GPU
#define NR(a)	(sizeof(a) / sizeof((a)[0]))

static const uint32_t gpu_only[] = { GPU };

/*
 * What is played, from the next server on: "NAME=VALUE" separated by spaces and
 * without "FAKE_HSAKMT_".
 */
static void play(const char *variables)
{
	static const char * const names[] = {
		"RELEASE", "SVM", "VA", "NODES", "DOORBELL", "FAIL",
	};
	char text[256], name[64], *word, *rest;
	size_t i;

	for (i = 0; i < NR(names); i++) {
		snprintf(name, sizeof(name), "FAKE_HSAKMT_%s", names[i]);
		unsetenv(name);
	}
	assert_non_null(getenv("VCS_FAKE"));
	setenv("LD_LIBRARY_PATH", getenv("VCS_FAKE"), 1);
	snprintf(text, sizeof(text), "%s", variables);
	for (word = strtok_r(text, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '=');

		assert_non_null(equals);
		*equals = '\0';
		snprintf(name, sizeof(name), "FAKE_HSAKMT_%s", word);
		setenv(name, equals + 1, 1);
	}
}

static void start(struct server *s, const char *variables)
{
	play(variables);
	server_start(s, HSAKMT, NULL);
}

/* The GPU takes a packet of the guest's memory and counts a signal there. */
static void expect_work(struct guest *g)
{
	uint64_t before = load(g->desc, READ_PTR);

	put_signal(g, 1, 1);
	put_packet(g, BARRIER_AND, 0, signal_addr(g, 1));
	ring(g);
	wait_for_signal(g, 1, 0);
	assert_int_equal(load(g->desc, READ_PTR), before + 1);
}

/* Whatever the release: both generations of clients, in their own structures. */
static void releases(void **state)
{
	static const char * const names[] = {
		"RELEASE=5.2", "RELEASE=6.2", "RELEASE=6.3", "RELEASE=7.0",
		"RELEASE=fabric",
	};
	enum rocm_generation gen;
	struct rocm_req req;
	struct server s;
	struct guest g;
	size_t i;

	(void)state;
	for (i = 0; i < NR(names); i++) {
		start(&s, names[i]);
		assert_int_equal(s.offered.id, CAPSET);
		assert_int_equal(s.offered.size, 24);
		assert_int_equal(rocm_get32(s.offered.data, 16), 1);
		for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
			guest_begin(&s, &g, gen);
			/* HsaNodeProperties of 356 and of 368 bytes. */
			req = rocm_query(5, GPU);
			req.room = gen == ROCM_2025 ? 8 + 356 : 8 + 368;
			assert_int_equal(rocm(&g.c, req), 0);
			assert_int_equal(rocm_get32(g.c.shm + RSP_OFF, 8 + 4),
					 160);
			/* Behind EngineId, 1002:73bf. */
			assert_int_equal(rocm_get32(g.c.shm + RSP_OFF, 8 +
					 (gen == ROCM_2025 ? 72 : 84)),
					 0x73bf1002);
			/* What SVM is to the host is none of the guest's. */
			assert_int_equal(rocm_get32(g.c.shm + RSP_OFF, 8 +
					 (gen == ROCM_2025 ? 28 : 32)),
					 2 << 12);
			make_queue(&g, gen);
			expect_work(&g);
			assert_int_equal(unmap(&g.c, QUEUE), 0);
			assert_int_equal(unmap(&g.c, BELLS), 0);
			assert_int_equal(unmap(&g.c, MEMORY), 0);
			/* That was all of it. */
			assert_int_equal(rocm(&g.c, rocm_memory_at(gen, 3, 0,
								   g.addr)),
					 -ENOENT);
			guest_end(&g);
		}
		assert_int_equal(server_stop(&s), 0);
	}
}

/* The sandbox is that of workers which use a GPU. */
static void a_worker_is_in_its_sandbox(void **state)
{
	char value[16];
	struct server s;
	struct ctx c;

	(void)state;
	start(&s, "");
	ctx_create(&s, &c);
	assert_int_equal(count_children(s.pid), 1);
	assert_int_equal(rocm(&c, rocm_nop()), 0);
	proc_status(pid_of(c.pidfd), "Seccomp", value, sizeof(value));
	assert_string_equal(value, "2");
	proc_status(pid_of(c.pidfd), "NoNewPrivs", value, sizeof(value));
	assert_string_equal(value, "1");
	/* Nobody can ask what a real GPU does. */
	assert_int_equal(rocm(&c, rocm_access(false, GPU, 0, 1, 0)),
			 -EOPNOTSUPP);
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
}

static void a_queue_in_read_only_memory(void **state)
{
	enum rocm_generation gen;
	struct rocm_queue q;
	struct memory m;
	struct server s;
	struct guest g;

	(void)state;
	memory_create(&m, 2);
	start(&s, "SVM=1");
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		guest_begin(&s, &g, gen);
		q = queue(&g);
		q.addr = lock(&g.c, gen, SPARE, &m, true);
		q.mem_res_id = SPARE;
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -EACCES);
		guest_end(&g);
	}
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

/* Clients add the difference; what they allocate cannot be elsewhere. */
static void a_gpu_with_other_addresses(void **state)
{
	enum rocm_generation gen;
	struct memory m;
	struct server s;
	uint64_t addr;
	struct ctx c;

	(void)state;
	memory_create(&m, 2);
	start(&s, "SVM=0 VA=0x40000000");
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		ctx_create(&s, &c);
		assert_int_equal(map_memory(&c, 1, &m, false), 0);
		addr = rocm_lock(&c, gen, 1, 2 * page_size());
		assert_int_equal(rocm_value(&c, 8), addr + 0x40000000);
		assert_int_equal(rocm(&c, rocm_alloc(gen, GPU, page_size(),
						     9)), 0);
		addr = rocm_value(&c, 8);
		assert_int_equal(map_blob(&c, 2, 9, page_size(), NULL), 0);
		assert_int_equal(rocm(&c, rocm_map_nodes(gen, 0, addr,
							 page_size(), gpu_only,
							 1)), -EOPNOTSUPP);
		ctx_close(&c);
	}
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

static void two_contexts_have_the_same_addresses(void **state)
{
	struct guest g[2];
	struct server s;
	int i;

	(void)state;
	start(&s, "");
	for (i = 0; i < 2; i++) {
		guest_begin(&s, &g[i], i ? ROCM_2026 : ROCM_2025);
		make_queue(&g[i], i ? ROCM_2026 : ROCM_2025);
	}
	assert_int_equal(g[0].addr, g[1].addr);
	for (i = 0; i < 2; i++)
		expect_work(&g[i]);
	assert_int_equal(kill(pid_of(g[0].c.pidfd), SIGKILL), 0);
	expect_eof(g[0].c.sock);
	expect_dead(g[0].c.pidfd);
	expect_work(&g[1]);
	for (i = 0; i < 2; i++)
		guest_end(&g[i]);
	assert_int_equal(server_stop(&s), 0);
}

/* An errno for the guest, and the context goes on. */
static void calls_that_fail(void **state)
{
	enum rocm_generation gen;
	struct rocm_queue q;
	struct server s;
	struct guest g;

	(void)state;
	start(&s, "FAIL=CreateQueue=13,Doorbell,DestroyQueue:2,"
		  "GetClockCounters,SetTrapHandler=11");
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		guest_begin(&s, &g, gen);
		assert_int_equal(rocm(&g.c, rocm_query(12, GPU)), -EIO);
		assert_int_equal(rocm(&g.c, rocm_query(12, GPU)), 0);
		assert_int_equal(rocm(&g.c, rocm_set_trap(GPU, 0, 0)),
				 -EOPNOTSUPP);
		q = queue(&g);
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)),
				 -ENOSPC);
		assert_int_equal(rocm(&g.c, rocm_create_queue(gen, &q)), -EIO);
		make_queue(&g, gen);
		expect_work(&g);
		/* Its end fails, and is the end. */
		assert_int_equal(unmap(&g.c, QUEUE), 0);
		assert_int_equal(unmap(&g.c, BELLS), 0);
		make_queue(&g, gen);
		guest_end(&g);
	}
	assert_int_equal(server_stop(&s), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(releases),
		T(a_worker_is_in_its_sandbox),
		T(a_queue_in_read_only_memory),
		T(a_gpu_with_other_addresses),
		T(two_contexts_have_the_same_addresses),
		T(calls_that_fail),
	};

	return cmocka_run_group_tests_name("hsakmt_queue", tests, NULL, NULL);
}
