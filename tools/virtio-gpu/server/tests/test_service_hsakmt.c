// SPDX-License-Identifier: MIT
/*
 * The server with --backend=hsakmt as who starts it and QEMU see it: AMD's library
 * where there is no GPU for it, and tests/fake_hsakmt.c in its place
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rocm_ctx.h"

#define HSAKMT	"--backend=hsakmt"
#define CAPSET	8
#define NR(a)	(sizeof(a) / sizeof((a)[0]))

/* A server takes the environment as it is when it starts. */
static void set_fake(const char *variable, const char *value)
{
	static const char * const all[] = {
		"RELEASE", "SVM", "VA", "FAIL",
	};
	char name[64];
	size_t i;

	for (i = 0; i < NR(all); i++) {
		snprintf(name, sizeof(name), "FAKE_HSAKMT_%s", all[i]);
		unsetenv(name);
	}
	assert_non_null(getenv("VCS_FAKE"));
	assert_int_equal(setenv("LD_LIBRARY_PATH", getenv("VCS_FAKE"), 1), 0);
	if (variable)
		assert_int_equal(setenv(variable, value, 1), 0);
}

/* It says one sentence, with what to do instead, and does not begin to serve. */
static void expect_refusal(const char *what)
{
	char err[4096];
	char *argv[] = {
		(char *)"vgpu-compute-server", (char *)HSAKMT,
		(char *)"--socket-path=/tmp/vgpu-test-hsakmt", NULL,
	};

	assert_int_equal(run_server(argv, err, sizeof(err)), 1);
	if (!strstr(err, what))
		fail_msg("'%s' is not in: %s", what, err);
	assert_non_null(strstr(err, "--backend=opencl"));
	assert_non_null(strstr(err, "--backend=sim"));
	assert_ptr_equal(strchr(err, '\n'), err + strlen(err) - 1);
	assert_int_equal(access("/tmp/vgpu-test-hsakmt", F_OK), -1);
}

static void amds_library_without_kfd(void **state)
{
	void *lib;

	(void)state;
	if (!access("/dev/kfd", F_OK)) {
		print_message("# there is a /dev/kfd\n");
		skip();
	}
	set_fake(NULL, NULL);
	unsetenv("LD_LIBRARY_PATH");
	lib = dlopen("libhsakmt.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		print_message("# there is no libhsakmt.so.1\n");
		skip();
	}
	dlclose(lib);
	expect_refusal("there is no /dev/kfd: ");
}

static void libraries_that_do_not_do(void **state)
{
	static const struct {
		const char *variable;
		const char *value;
		const char *says;
	} cases[] = {
		{ "FAKE_HSAKMT_RELEASE", "node-372",
		  "HsaNodeProperties of 372 bytes" },
		{ "FAKE_HSAKMT_RELEASE", "cache-1064",
		  "HsaCacheProperties of 1064 bytes" },
		{ "FAKE_HSAKMT_RELEASE", "link-56",
		  "HsaIoLinkProperties of 56 bytes" },
		{ "FAKE_HSAKMT_FAIL", "AcquireSystemProperties",
		  "does not describe this system" },
		{ "FAKE_HSAKMT_FAIL", "GetNodeProperties:0",
		  "does not describe node 0" },
		/* As of an APU. */
		{ "FAKE_HSAKMT_FAIL", "RegisterMemoryWithFlags=11",
		  "does not take memory of a file, page by page: Operation not supported" },
		{ "FAKE_HSAKMT_FAIL", "MapMemoryToGPUNodes",
		  "does not map memory of a file" },
		{ "FAKE_HSAKMT_FAIL", "UnmapMemoryToGPU",
		  "does not unmap memory of a file" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < NR(cases); i++) {
		set_fake(cases[i].variable, cases[i].value);
		expect_refusal(cases[i].says);
	}
	if (access("/dev/kfd", F_OK)) {
		set_fake("FAKE_HSAKMT_FAIL", "OpenKFD=20");
		expect_refusal("there is no /dev/kfd: ");
	}
}

/* Both generations, on each release of the library. */
static void memory_of_a_guest(void **state)
{
	static const char * const releases[] = {
		"5.2", "6.2", "6.3-early", "6.3", "7.0", "cwsr", "luid",
		"wallclock", "fabric",
	};
	enum rocm_generation gen;
	struct memory m;
	struct server s;
	struct ctx c;
	size_t i;

	(void)state;
	memory_create(&m, 64);
	for (i = 0; i < NR(releases); i++) {
		set_fake("FAKE_HSAKMT_RELEASE", releases[i]);
		server_start(&s, HSAKMT, NULL);
		assert_int_equal(s.offered.id, CAPSET);
		assert_int_equal(s.offered.size, 24);
		for (gen = ROCM_2025; gen <= ROCM_2026; gen++) {
			ctx_create(&s, &c);
			assert_int_equal(map_memory(&c, 1, &m, false), 0);
			rocm_lock(&c, gen, 1, 64 * page_size());
			assert_int_equal(unmap(&c, 1), 0);
			/*
			 * The same again: nothing is left of the first. But
			 * 5.2 does not use SVM, and all that it has is written.
			 */
			assert_int_equal(map_memory(&c, 1, &m, i), 0);
			rocm_lock(&c, gen, 1, 64 * page_size());
			/* There is nothing that could simulate. */
			assert_int_equal(rocm(&c, rocm_access(false, ROCM_GPU,
							      0, 1, 0)),
					 -EOPNOTSUPP);
			ctx_close(&c);
		}
		assert_int_equal(server_stop(&s), 0);
	}
	memory_destroy(&m);
}

/* Whoever starts it is told, and what can be written works. */
static void no_read_only_memory(void **state)
{
	static const char * const variables[][2] = {
		{ "FAKE_HSAKMT_SVM", "0" },
		{ "FAKE_HSAKMT_FAIL", "RegisterMemoryWithFlags:2" },
		{ "FAKE_HSAKMT_FAIL", "MapMemoryToGPUNodes:2" },
		{ "FAKE_HSAKMT_RELEASE", "5.2" },
	};
	struct server s;
	size_t i;

	(void)state;
	for (i = 0; i < NR(variables); i++) {
		set_fake(variables[i][0], variables[i][1]);
		server_start_logging(&s, HSAKMT, NULL);
		free(server_said(&s, "hsakmt on 'simulated GPU'"));
		free(server_said(&s, "memory that programs may only read is refused"));
		assert_int_equal(server_stop(&s), 0);
	}
	set_fake("FAKE_HSAKMT_SVM", "0");
	setenv("FAKE_HSAKMT_VA", "0x100000", 1);
	server_start_logging(&s, HSAKMT, NULL);
	free(server_said(&s, "but not allocate any or make queues"));
	assert_int_equal(server_stop(&s), 0);
}

static void read_only_needs_svm(void **state)
{
	uint64_t addr;
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 4);
	set_fake("FAKE_HSAKMT_SVM", "0");
	server_start(&s, HSAKMT, NULL);
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, true), 0);
	assert_int_equal(rocm(&c, rocm_map_userptr(ROCM_2026, 1)), 0);
	addr = rocm_value(&c, 8);
	assert_int_equal(rocm(&c, rocm_register(ROCM_2026, 1, addr,
						page_size(), 0)), -EOPNOTSUPP);
	/* What is writable is. */
	assert_int_equal(map_memory(&c, 2, &m, false), 0);
	rocm_lock(&c, ROCM_2026, 2, 4 * page_size());
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

/* The worker, the context and other memory outlive each call that fails. */
static void calls_that_fail(void **state)
{
	static const struct {
		const char *fail;
		int reg;
		int map;
	} cases[] = {
		{ "RegisterMemoryWithFlags:3=6", -ENOMEM, -EINVAL },
		{ "MapMemoryToGPUNodes:3", 0, -EIO },
		{ "UnmapMemoryToGPU:3", 0, 0 },
		{ "DeregisterMemory:3", 0, 0 },
	};
	const uint32_t gpu = ROCM_GPU;
	size_t i, k, size = 4 * page_size();
	uint64_t addr;
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 4);
	for (i = 0; i < NR(cases); i++) {
		set_fake("FAKE_HSAKMT_FAIL", cases[i].fail);
		server_start(&s, HSAKMT, NULL);
		ctx_create(&s, &c);
		/* As often as the server has tried it, in another process. */
		for (k = 0; k < 2; k++) {
			assert_int_equal(map_memory(&c, 1, &m, false), 0);
			rocm_lock(&c, ROCM_2026, 1, size);
			assert_int_equal(unmap(&c, 1), 0);
		}
		assert_int_equal(map_memory(&c, 1, &m, false), 0);
		assert_int_equal(rocm(&c, rocm_map_userptr(ROCM_2026, 1)), 0);
		addr = rocm_value(&c, 8);
		assert_int_equal(rocm(&c, rocm_register(ROCM_2026, 1, addr,
							size, 0)),
				 cases[i].reg);
		assert_int_equal(rocm(&c, rocm_map_nodes(ROCM_2026, 1, addr,
							 size, &gpu, 1)),
				 cases[i].map);
		/* Whatever failed: the memory is no longer in the worker. */
		assert_int_equal(unmap(&c, 1), 0);
		assert_int_equal(count_ram(pid_of(c.pidfd)), 0);
		assert_int_equal(map_memory(&c, 2, &m, false), 0);
		rocm_lock(&c, ROCM_2026, 2, size);
		assert_int_equal(unmap(&c, 2), 0);
		ctx_close(&c);
		assert_int_equal(server_stop(&s), 0);
	}
	memory_destroy(&m);
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(amds_library_without_kfd),
		T(libraries_that_do_not_do),
		T(memory_of_a_guest),
		T(no_read_only_memory),
		T(read_only_needs_svm),
		T(calls_that_fail),
	};

	return cmocka_run_group_tests_name("service_hsakmt", tests, NULL, NULL);
}
