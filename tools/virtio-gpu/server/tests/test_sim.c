// SPDX-License-Identifier: MIT
/*
 * The server with --backend=sim as QEMU sees it: real processes, no GPU
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rocm_ctx.h"

#define SIM	"--backend=sim"
#define CAPSET	8
#define GPU	ROCM_GPU

static struct server server;
static const uint32_t gpu_only[] = { GPU };

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

static int read_gpu(struct ctx *c, uint64_t addr, uint64_t size)
{
	return rocm(c, rocm_access(false, GPU, addr, size, 0));
}

static int write_gpu(struct ctx *c, uint64_t addr, uint64_t size, uint8_t v)
{
	return rocm(c, rocm_access(true, GPU, addr, size, v));
}

static void capset_is_what_clients_look_for(void **state)
{
	struct ctx c;

	(void)state;
	assert_int_equal(server.offered.id, CAPSET);
	assert_int_equal(server.offered.size, 24);
	assert_int_equal(server.offered.max_version, 0);
	assert_int_equal(rocm_get32(server.offered.data, 16), 1);
	/* And nothing else. */
	assert_int_equal(ctx_create_status(&server, &c,
					   VIRTIO_GPU_CAPSET_COMPUTE), EINVAL);
	ctx_close(&c);
	assert_int_equal(ctx_create_status(&server, &c, 0), EINVAL);
	ctx_close(&c);
}

static void a_context_is_one_process(void **state)
{
	char seccomp[16], privs[16];
	struct ctx c;

	(void)state;
	wait_for_children(server.pid, 0);
	ctx_create(&server, &c);
	assert_int_equal(count_children(server.pid), 1);
	/* It has to have come so far to answer. */
	assert_int_equal(rocm(&c, rocm_nop()), 0);
	proc_status(pid_of(c.pidfd), "Seccomp", seccomp, sizeof(seccomp));
	assert_string_equal(seccomp, "2");
	proc_status(pid_of(c.pidfd), "NoNewPrivs", privs, sizeof(privs));
	assert_string_equal(privs, "1");
	ctx_close(&c);
	wait_for_children(server.pid, 0);
}

/* Pages of a file in another order are one range for the GPU. */
static void the_gpu_sees_the_memory_itself(void **state)
{
	size_t size = 64 * page_size(), i;
	enum rocm_generation gen;
	struct memory m;
	uint8_t *copy;
	uint64_t addr;
	struct ctx c;

	(void)state;
	copy = malloc(size);
	assert_non_null(copy);
	memory_create(&m, 64);
	for (i = 0; i < 64; i++)
		memset(memory_page(&m, i), (int)i + 1, page_size());
	for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
		ctx_create(&server, &c);
		assert_int_equal(rocm(&c, rocm_query(1, 0)), 0);
		assert_int_equal(map_memory(&c, 1, &m, false), 0);
		addr = rocm_lock(&c, gen, 1, size - 5);
		/* The GPU has it nowhere else. */
		assert_int_equal(rocm_value(&c, 8), addr);
		for (i = 0; i < 64; i++)
			memcpy(copy + i * page_size(), memory_page(&m, i),
			       page_size());
		assert_int_equal(read_gpu(&c, addr, size), 0);
		assert_int_equal(rocm_value(&c, 8), rocm_checksum(copy, size));
		/* Over a page's end, which is elsewhere in the guest. */
		assert_int_equal(write_gpu(&c, addr + 5 * page_size() - 1, 2,
					   0xa0), 0);
		assert_int_equal(memory_page(&m, 4)[page_size() - 1], 0xa0);
		assert_int_equal(memory_page(&m, 5)[0], 0xa0);
		assert_int_equal(memory_page(&m, 5)[1], 6);
		assert_int_equal(unmap(&c, 1), 0);
		assert_int_equal(read_gpu(&c, addr, 1), -EFAULT);
		assert_int_equal(unmap(&c, 1), ENOENT);
		ctx_close(&c);
	}
	memory_destroy(&m);
	free(copy);
}

static void read_only_memory(void **state)
{
	struct memory m;
	uint64_t addr;
	struct ctx c;

	(void)state;
	memory_create(&m, 2);
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &m, true), 0);
	addr = rocm_lock(&c, ROCM_2026, 1, 100);
	assert_int_equal(read_gpu(&c, addr, 100), 0);
	assert_int_equal(write_gpu(&c, addr, 1, 1), -EACCES);
	ctx_close(&c);
	memory_destroy(&m);
}

/* Each is an address space of its own. */
static void two_contexts_have_the_same_addresses(void **state)
{
	struct memory m[2];
	uint64_t addr[2];
	struct ctx c[2];
	uint8_t *blob[2];
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		memory_create(&m[i], 3);
		ctx_create(&server, &c[i]);
		assert_int_equal(map_memory(&c[i], 1, &m[i], false), 0);
		addr[i] = rocm_lock(&c[i], ROCM_2026, 1, 3 * page_size());
	}
	assert_int_equal(addr[0], addr[1]);
	for (i = 0; i < 2; i++)
		assert_int_equal(write_gpu(&c[i], addr[i], 1, (uint8_t)i + 1),
				 0);
	assert_int_equal(memory_page(&m[0], 0)[0], 1);
	assert_int_equal(memory_page(&m[1], 0)[0], 2);
	/* Also what is allocated. */
	for (i = 0; i < 2; i++) {
		assert_int_equal(rocm(&c[i], rocm_alloc(ROCM_2026, GPU,
							page_size(), 9)), 0);
		addr[i] = rocm_value(&c[i], 8);
		assert_int_equal(map_blob(&c[i], 2, 9, page_size(), &blob[i]),
				 0);
		assert_int_equal(rocm(&c[i], rocm_map_nodes(ROCM_2026, 0,
							    addr[i],
							    page_size(),
							    gpu_only, 1)), 0);
		assert_int_equal(write_gpu(&c[i], addr[i], 9, (uint8_t)i + 3),
				 0);
	}
	assert_int_equal(addr[0], addr[1]);
	assert_int_equal(blob[0][8], 3);
	assert_int_equal(blob[1][8], 4);
	/* The end of one is none of the other. */
	ctx_close(&c[0]);
	assert_int_equal(write_gpu(&c[1], addr[1], 9, 7), 0);
	assert_int_equal(blob[1][0], 7);
	ctx_close(&c[1]);
	for (i = 0; i < 2; i++) {
		munmap(blob[i], page_size());
		memory_destroy(&m[i]);
	}
}

static void closing_leaves_nothing_mapped(void **state)
{
	struct memory m;
	struct ctx c;
	uint32_t i;

	(void)state;
	memory_create(&m, 8);
	ctx_create(&server, &c);
	for (i = 1; i <= 50; i++) {
		assert_int_equal(map_memory(&c, i, &m, i % 2), 0);
		if (i % 3)
			rocm_lock(&c, ROCM_2025, i, 8 * page_size());
	}
	if (!geteuid())
		assert_int_equal(count_ram(pid_of(c.pidfd)), 50 * 8);
	for (i = 1; i <= 50; i++)
		assert_int_equal(unmap(&c, i), 0);
	assert_int_equal(count_ram(pid_of(c.pidfd)), 0);
	ctx_close(&c);
	memory_destroy(&m);
}

static void a_killed_worker_ends_that_context_only(void **state)
{
	struct ctx victim, other;
	struct memory m;
	uint64_t addr;

	(void)state;
	memory_create(&m, 2);
	ctx_create(&server, &other);
	ctx_create(&server, &victim);
	assert_int_equal(map_memory(&victim, 1, &m, false), 0);
	assert_int_equal(map_memory(&other, 1, &m, false), 0);
	rocm_lock(&victim, ROCM_2026, 1, 1);
	addr = rocm_lock(&other, ROCM_2026, 1, 1);
	assert_int_equal(kill(pid_of(victim.pidfd), SIGKILL), 0);
	expect_eof(victim.sock);
	expect_dead(victim.pidfd);
	assert_int_equal(write_gpu(&other, addr, 2 * page_size(), 5), 0);
	ctx_close(&victim);
	ctx_close(&other);
	memory_destroy(&m);
}

/* More mappings than a process has. */
static void refused_resources_leave_nothing(void **state)
{
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 70000);
	server_start_logging(&s, SIM, NULL);
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), E2BIG);
	free(server_said(&s, "raise the sysctl vm.max_map_count (now "));
	assert_int_equal(count_ram(pid_of(c.pidfd)), 0);
	memory_destroy(&m);
	assert_int_equal(map_blob(&c, 1, 77, page_size(), NULL), ENOENT);
	memory_create(&m, 2000);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	rocm_lock(&c, ROCM_2026, 1, 2000 * page_size());
	ctx_close(&c);
	memory_destroy(&m);
	assert_int_equal(server_stop(&s), 0);
}

static void bad_requests_are_logged(void **state)
{
	static const char header[8] = { 4 };
	struct server s;
	struct ctx c;
	int i;

	(void)state;
	server_start_logging(&s, SIM, NULL);
	free(server_said(&s, "sim on 'gfx1030 (simulated)', for QEMU"));
	free(server_said(&s, "there is no GPU"));
	ctx_create(&s, &c);
	free(server_said(&s, "context 7 'test': begins, capset 8, pid "));
	assert_int_equal(rocm(&c, rocm_memory(ROCM_2025, 20)), -EOPNOTSUPP);
	free(server_said(&s, "MEMORY of type 20 refused: "));
	assert_int_equal(rocm(&c, rocm_query(5, 9)), -EINVAL);
	free(server_said(&s, "QUERY of type 5 refused: "));
	assert_int_equal(rocm(&c, rocm_set_trap(GPU, 1, 1)), -EFAULT);
	free(server_said(&s, "EVENT of type 6 refused: "));
	assert_int_equal(submit(&c, header, sizeof(header)), 0);
	free(server_said(&s, "submission of 8 bytes: "));
	/* Not all of them. */
	for (i = 0; i < 100; i++)
		assert_int_equal(rocm(&c, rocm_query(5, 9)), -EINVAL);
	ctx_close(&c);
	free(server_said(&s, ", 104 submissions\n"));
	assert_int_equal(server_stop(&s), 0);
}

static void sigusr1_shows_what_there_is(void **state)
{
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 3);
	server_start_logging(&s, SIM, "--max-registered=1M");
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	rocm_lock(&c, ROCM_2026, 1, 1);
	assert_int_equal(kill(s.pid, SIGUSR1), 0);
	/* No programs: it has none. */
	free(server_said(&s, ": 1 of 256 contexts; each may have 16384 resources of 1048576 bytes\n"));
	free(server_said(&s, " 2 resources of 77824 bytes in 5 of "));
	free(server_said(&s, " 3 submissions, idle\n"));
	ctx_close(&c);
	memory_destroy(&m);
	memory_create(&m, 256);
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), E2BIG);
	free(server_said(&s, "raise --max-registered"));
	ctx_close(&c);
	memory_destroy(&m);
	assert_int_equal(server_stop(&s), 0);
}

static void command_lines(void **state)
{
	static const struct {
		const char *option;
		const char *says;
	} cases[] = {
		{ "--device=gfx1030", "--backend=sim has one device" },
		{ "--backend=simple", "'opencl', 'hsakmt' and 'sim'" },
	};
	char err[4096];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *argv[] = {
			(char *)"vgpu-compute-server", (char *)SIM,
			(char *)cases[i].option, (char *)"--fd=0", NULL,
		};

		assert_int_equal(run_server(argv, err, sizeof(err)), 2);
		assert_non_null(strstr(err, cases[i].says));
		assert_ptr_equal(strchr(err, '\n'), err + strlen(err) - 1);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(capset_is_what_clients_look_for),
		T(a_context_is_one_process),
		T(the_gpu_sees_the_memory_itself),
		T(read_only_memory),
		T(two_contexts_have_the_same_addresses),
		T(closing_leaves_nothing_mapped),
		T(a_killed_worker_ends_that_context_only),
		T(refused_resources_leave_nothing),
		T(bad_requests_are_logged),
		T(sigusr1_shows_what_there_is),
		T(command_lines),
	};

	return cmocka_run_group_tests_name("sim", tests, start, stop);
}
