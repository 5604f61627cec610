// SPDX-License-Identifier: MIT
/*
 * vgpu-rocm-check: every check passes on a thunk that is right, and fails on one
 * that is not
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "faulty_thunk.h"
#include "vcs_check.h"
#include "vcs_sandbox.h"

#define MIB	(1UL << 20)

#define OK	VCS_CHECK_OK
#define FAILED	VCS_CHECK_FAILED
#define SKIPPED	VCS_CHECK_SKIPPED

static struct vcs_check_env env;
static char output[64 * 1024];
static char kfd_proc[] = "/tmp/test_rocm_check.XXXXXX";

/* Workers are never root. */
static int confine(void)
{
	const struct vcs_config cfg = {
		.sandbox = true,
		.drop = !geteuid(),
		.uid = 65534,
		.gid = 65534,
	};

	return vcs_sandbox_enter(&cfg, VCS_ROLE_WORKER, "/sys");
}

static int no_sandbox(void)
{
	return -EPERM;
}

static int setup(void **state)
{
	(void)state;
	env = (struct vcs_check_env) {
		.open = faulty_thunk_open,
		.confine = confine,
		.limit_ms = 60000,
		.answer_ms = 5000,
		.settle_ms = 50,
		.timing_size = 4 * MIB,
	};
	faulty_thunk_fault = FAULT_NONE;
	faulty_thunk_kfd_proc = NULL;
	return 0;
}

/* What is printed is in output. */
static enum vcs_check_result run(const char *name)
{
	const struct vcs_check *check = vcs_checks;
	enum vcs_check_result result;
	FILE *f;

	while (check->name && strcmp(check->name, name))
		check++;
	assert_non_null(check->name);
	memset(output, 0, sizeof(output));
	f = fmemopen(output, sizeof(output) - 1, "w");
	assert_non_null(f);
	result = vcs_check_run(check, &env, 7, f);
	fclose(f);
	return result;
}

static void expect_text(const char *text)
{
	if (!strstr(output, text)) {
		print_error("no '%s' in:\n%s", text, output);
		fail();
	}
}

static void expect(const char *name, enum vcs_check_result result,
		   const char *text)
{
	char line[64];

	if (run(name) != result) {
		print_error("%s with fault %d:\n%s", name, faulty_thunk_fault,
			    output);
		fail();
	}
	snprintf(line, sizeof(line), "%sok 7 - %s: ",
		 result == FAILED ? "not " : "", name);
	expect_text(line);
	expect_text(text);
	assert_int_equal(!!strstr(output, " # SKIP "), result == SKIPPED);
}

/* A list of faults, and what is said of each. */
struct expectation {
	const char *check;
	enum fault fault;
	const char *text;
};

static void expect_all(const struct expectation *e, size_t nr)
{
	size_t i;

	/* Some of them are no answer. */
	env.answer_ms = 400;
	for (i = 0; i < nr; i++) {
		faulty_thunk_fault = e[i].fault;
		expect(e[i].check, FAILED, e[i].text);
	}
}

#define EXPECT_ALL(list) expect_all(list, sizeof(list) / sizeof((list)[0]))

static void all_pass(void **state)
{
	const struct vcs_check *c;

	(void)state;
	for (c = vcs_checks; c->name; c++)
		if (strcmp(c->name, "process"))
			expect(c->name, OK, "");
	expect("process", SKIPPED, "no KFD");
}

/* What a real thunk may have or not. */
static void differences_pass(void **state)
{
	(void)state;
	faulty_thunk_fault = NO_QUEUES;
	expect("register", OK, "is a simulation");
	expect("nodes", OK, "nothing was written");
	expect("queue", SKIPPED, "ENOSYS");
	expect("doorbell", SKIPPED, "ENOSYS");
	faulty_thunk_fault = NO_READ_ONLY;
	expect("read-only", OK, "EOPNOTSUPP");
	faulty_thunk_fault = NO_SVM;
	expect("register", OK, "at other addresses");
	expect("large", OK, "");
	expect("release", OK, "nothing was written");
}

/* Not seen is not right. */
static void without_accesses(void **state)
{
	(void)state;
	faulty_thunk_fault = NO_ACCESS;
	expect("register", OK, "not seen to access it");
	expect("read-only", SKIPPED, "no way to have this GPU access");
	expect("release", SKIPPED, "no way to have this GPU access");
	expect("nodes", SKIPPED, "no way to have this GPU access");
}

static void library(void **state)
{
	static const struct expectation list[] = {
		{ "library", FAULT_OPEN, "does not open (ENODEV)" },
		{ "library", FAULT_OPEN_AGAIN, "opened again: a library" },
		{ "library", FAULT_VERSION, "version: EIO" },
		{ "library", FAULT_OTHER_VERSION, "KFD's is 1.x" },
		{ "register", FAULT_OPEN, "cannot be opened: a library" },
	};

	(void)state;
	EXPECT_ALL(list);
}

static void topology(void **state)
{
	static const struct expectation list[] = {
		{ "topology", FAULT_NO_SYSTEM, "system(): EIO" },
		{ "topology", FAULT_NO_GPU, "none of 1 nodes" },
		{ "topology", FAULT_MANY_NODES, "4294967295 nodes" },
		{ "topology", FAULT_ONE_NODE_MORE, "2 nodes, and one more" },
		{ "topology", FAULT_ONE_BANK_MORE, "1 banks, and one more" },
		{ "topology", FAULT_NO_BANK, "bank 1 of 3: EIO" },
		{ "topology", FAULT_CACHE_LEVEL, "of level 0" },
		{ "topology", FAULT_LINK_TO_NOWHERE, "to 2, of 2 nodes" },
		{ "topology", FAULT_NO_GFX_ID, "no gfx id" },
		{ "topology", FAULT_OLD_DOORBELLS, "no doorbells" },
		{ "topology", FAULT_OTHER_DEVICE, "amdgpu says device" },
		{ "topology", FAULT_NO_INFO, "amdgpu's info: EACCES" },
	};

	(void)state;
	EXPECT_ALL(list);
}

static void memory(void **state)
{
	static const struct expectation list[] = {
		{ "register", FAULT_REGISTER, "registering memory: ENOMEM" },
		{ "register", FAULT_MAP, "to the GPU: EIO" },
		{ "register", FAULT_MAP_NOTHING, "" },
		{ "register", FAULT_MAP_AGAIN, "to the GPU: EIO" },
		{ "register", FAULT_MAPS_COUNTED, "memory: EEXIST" },
		{ "register", FAULT_UNMAP, "from the GPU: EIO" },
		{ "register", FAULT_NOT_DEREGISTERED, "memory: EEXIST" },
		{ "register", FAULT_FIRST_PAGE, "" },
		{ "scattered", FAULT_FIRST_PAGE, "" },
		{ "large", FAULT_32_BITS, "" },
		{ "large", FAULT_REGISTER_LARGE, "ENOMEM" },
		{ "overlap", FAULT_REGISTER, "registering: ENOMEM" },
		{ "overlap", FAULT_OVERLAP, "success, not EEXIST" },
		{ "overlap", FAULT_ROUNDED_UP, "a neighbour: EEXIST" },
		{ "overlap", FAULT_NOT_DEREGISTERED, "deregistered: EEXIST" },
	};

	(void)state;
	EXPECT_ALL(list);
}

static void sandbox(void **state)
{
	(void)state;
	expect("sandbox", OK, "has accessed it");
	faulty_thunk_fault = FAULT_REGISTER_BY_SOCKET;
	expect("register", OK, "");
	expect("sandbox", FAILED, "registering memory: EACCES");
	faulty_thunk_fault = FAULT_NONE;
	env.confine = no_sandbox;
	expect("sandbox", FAILED, "");
	env.confine = NULL;
	expect("sandbox", SKIPPED, "as root there is none");
}

/* The simulation of an access tells what was wrong. */
static void accesses(void **state)
{
	static const struct expectation list[] = {
		{ "read-only", FAULT_READ_ONLY_EPERM, "EPERM, neither" },
		{ "read-only", FAULT_READ_ONLY_UNREADABLE, "reading at" },
		{ "read-only", FAULT_READ_ONLY_WRITTEN, "GPU has written" },
		{ "read-only", FAULT_READ_ONLY_UNMAPPED, "registered read-only, but" },
		{ "nodes", FAULT_MAP, "to all 1 GPUs: EIO" },
		{ "nodes", FAULT_MAP_AGAIN, "mapping once more: EIO" },
		{ "nodes", FAULT_BAD_NODE, "node 0: success, not EINVAL" },
		{ "nodes", FAULT_PARTLY_MAPPED, "GPU has written" },
		{ "release", FAULT_REGISTER, "not got so far" },
		{ "release", FAULT_KEPT, "GPU has written" },
	};

	(void)state;
	EXPECT_ALL(list);
}

static void queues(void **state)
{
	static const struct expectation list[] = {
		{ "queue", FAULT_CREATE_QUEUE, "a queue: ENOSPC" },
		{ "queue", FAULT_REGISTER, "registering memory: ENOMEM" },
		{ "queue", FAULT_DESTROY_QUEUE, "destroying a queue: EIO" },
		{ "queue", FAULT_QUEUE_ON_CPU, "a queue of node 0: success" },
		{ "queue", FAULT_DESTROYED_TWICE, "destroyed twice" },
		{ "queue", FAULT_DEAF, "has read 0 packets of 64" },
		{ "queue", FAULT_STALLS, "and goes on no more" },
		{ "queue", FAULT_NO_READ_INDEX, "has read 0 packets of 64" },
		{ "queue", FAULT_WAITS_FOR_NOTHING, "signal is not 0" },
		{ "queue", FAULT_WAITS_FOR_EVER, "signal has become 0" },
		{ "doorbell", FAULT_DEAF, "one queue: 64 of 64" },
		{ "doorbell", FAULT_DEAF_LATER, "after some time: 3 of 3" },
		{ "doorbell", FAULT_CREATE_QUEUE, "a queue: ENOSPC" },
		{ "doorbell", FAULT_CROSSED_DOORBELLS, "another queue: 64" },
		{ "register", FAULT_CREATE_QUEUE, "a queue: ENOSPC" },
		{ "register", FAULT_DEAF, "a packet is not completed" },
		{ "register", FAULT_DESTROY_QUEUE, "a queue: EIO" },
		{ "register", FAULT_WAITS_FOR_NOTHING, "and has not" },
		{ "register", FAULT_WAITS_FOR_EVER, "that it waits for" },
	};

	(void)state;
	expect("queue", OK, "packets");
	expect("doorbell", OK, "");
	EXPECT_ALL(list);
}

static void clocks(void **state)
{
	static const struct expectation list[] = {
		{ "clocks", FAULT_CLOCKS, "node 1: EIO" },
		{ "clocks", FAULT_CLOCK_STANDS, "a clock stands still" },
		{ "clocks", FAULT_CLOCK_OF_NOBODY, "success, not EINVAL" },
	};

	(void)state;
	EXPECT_ALL(list);
}

static void empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[512];

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			rmdir(path);
	}
	if (d)
		closedir(d);
}

static int make_kfd_proc(void **state)
{
	setup(state);
	strcpy(strrchr(kfd_proc, '.'), ".XXXXXX");
	if (!mkdtemp(kfd_proc))
		return -1;
	faulty_thunk_kfd_proc = kfd_proc;
	env.kfd_proc = kfd_proc;
	return 0;
}

static int remove_kfd_proc(void **state)
{
	(void)state;
	empty(kfd_proc);
	return rmdir(kfd_proc);
}

static void process(void **state)
{
	(void)state;
	expect("process", OK, "gone after");
	env.limit_ms = 3000;
	faulty_thunk_fault = FAULT_PROCESS_STAYS;
	expect("process", FAILED, "is still there");
	empty(kfd_proc);
	faulty_thunk_fault = FAULT_NO_PROCESS;
	expect("process", FAILED, "is this a PID namespace?");
	env.kfd_proc = "/nowhere";
	expect("process", SKIPPED, "no /nowhere");
}

static void timing(void **state)
{
	static const struct expectation list[] = {
		{ "timing", FAULT_REGISTER, "registering memory: ENOMEM" },
		{ "timing", FAULT_MAP, "to the GPU: EIO" },
		{ "timing", FAULT_UNMAP, "from the GPU: EIO" },
	};

	(void)state;
	expect("timing", OK, "4 MiB, in one piece, in ms per GiB: window ");
	EXPECT_ALL(list);
}

/* The report goes on, whatever the library does. */
static void any_library(void **state)
{
	const char *p;
	int n = 0;

	(void)state;
	faulty_thunk_fault = FAULT_CRASH;
	expect("register", FAILED, "# killed by SIGSEGV (");
	faulty_thunk_fault = FAULT_EXIT;
	expect("register", FAILED, "in the middle, with exit code 0");
	/* In a part of the check. */
	faulty_thunk_fault = FAULT_CRASH;
	expect("release", FAILED, "not got so far");
	env.limit_ms = 500;
	faulty_thunk_fault = FAULT_HANG;
	expect("register", FAILED, "# not done after 0.5 seconds");
	expect("release", FAILED, "not got so far");
	faulty_thunk_fault = FAULT_NOISE;
	expect("register", FAILED, "# (more is not shown)");
	for (p = output; (p = strstr(p, "# noise\n")); p++)
		n++;
	assert_int_equal(n, 200);
}

/* Nothing of a check is left. */
static int ends_in_child;
static enum vcs_check_result leave_a_process(const struct vcs_check_env *e)
{
	(void)e;
	if (!fork()) {
		pause();
		_exit(1);
	}
	printf("a line\nwithout an end\tand \x01");
	return ends_in_child ? VCS_CHECK_FAILED : VCS_CHECK_OK;
}

static void what_is_left(void **state)
{
	const struct vcs_check check = {
		.name = "left",
		.what = "over",
		.run = leave_a_process,
	};
	FILE *f = fmemopen(output, sizeof(output) - 1, "w");
	int status;

	(void)state;
	memset(output, 0, sizeof(output));
	assert_int_equal(vcs_check_run(&check, &env, 1, f), VCS_CHECK_OK);
	vcs_check_skip(&check, 2, "of a reason", f);
	fclose(f);
	assert_string_equal(output, "# a line\n# without an end?and ?\n"
			    "ok 1 - left: over\n"
			    "ok 2 - left: over # SKIP of a reason\n");
	/* It is not ours to wait for, so it is only seen not to be a child. */
	assert_int_equal(waitpid(-1, &status, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* --- the program ----------------------------------------------------------- */

static int program_with(const char *vars, const char *args)
{
	const char *path = getenv("VCS_ROCM_CHECK");
	char cmd[1024];
	size_t len;
	FILE *f;

	if (!path)
		fail_msg("VCS_ROCM_CHECK is not set");
	snprintf(cmd, sizeof(cmd), "%s %s %s 2>&1", vars, path, args);
	f = popen(cmd, "r");
	assert_non_null(f);
	len = fread(output, 1, sizeof(output) - 1, f);
	output[len] = '\0';
	return WEXITSTATUS(pclose(f));
}

static int program(const char *args)
{
	return program_with("", args);
}

/* The library that is played beside the program, as @vars want it. */
static int on_fake(const char *vars, const char *args)
{
	const char *path = getenv("VCS_ROCM_CHECK");
	char all[768];

	assert_non_null(path);
	snprintf(all, sizeof(all), "LD_LIBRARY_PATH=%.*s/fake %s",
		 (int)(strrchr(path, '/') - path), path, vars);
	return program_with(all, args);
}

static void options(void **state)
{
	(void)state;
	assert_int_equal(program("--list"), 0);
	expect_text("read-only  read-only memory");
	assert_int_equal(program("--help"), 0);
	expect_text("Usage: vgpu-rocm-check");
	assert_int_equal(program("--test=nothing"), 2);
	expect_text("--test=nothing: there is no such check");
	assert_int_equal(program("--backend=none"), 2);
	expect_text("--backend=none: there is no such backend");
	assert_int_equal(program("--timeout=0"), 2);
	expect_text("expected a number from 1 to 3600");
	assert_int_equal(program("--timing-size=1x"), 2);
	expect_text("expected a number from 1 to");
	assert_int_equal(program("--frob"), 2);
	expect_text("unknown option --frob");
	assert_int_equal(program("--test"), 2);
	expect_text("--test needs a value");
	assert_int_equal(program("frob"), 2);
	expect_text("unexpected argument frob");
}

static void report(void **state)
{
	(void)state;
	assert_int_equal(program("--backend=sim --test=library --test=overlap "
				 "--test=process --timeout=10"), 0);
	expect_text("# vgpu-rocm-check --backend=sim\n# kernel: Linux ");
	expect_text("\n# time limit of a check: 10 s\n1..3\n# sim, ");
	expect_text("\nok 1 - library: ");
	expect_text("\nok 2 - overlap: ");
	expect_text("\nok 3 - process: ");
	expect_text("\n# 2 passed, 0 failed, 1 skipped\n");
	assert_int_equal(program("--backend=sim --no-faults --test=nodes "
				 "--test=read-only --test=release --test=clocks"),
			 0);
	expect_text("\nok 2 - read-only: read-only memory is not written # SKIP --no-faults\n");
	expect_text("\n# 1 passed, 0 failed, 3 skipped\n");
	/* What has not been checked is not right. */
	assert_int_equal(program("--backend=sim --test=process"), 1);
	expect_text("\n# 0 passed, 0 failed, 1 skipped\n");
	assert_int_equal(program("--backend=sim --timing-size=4"), 0);
	expect_text("\n1..15\n");
	expect_text("4 MiB, in one piece");
}

/* What the default backend finds where there is no GPU, or no library. */
static void without_gpu(void **state)
{
	(void)state;
	if (access("/dev/kfd", F_OK)) {
		assert_int_equal(program("--test=library --test=clocks"), 1);
		expect_text("# vgpu-rocm-check --backend=hsakmt\n");
		expect_text("/dev/kfd: No such file or directory\n");
		expect_text("\nnot ok 1 - library: ");
		expect_text("\nok 2 - clocks: clocks go on # SKIP the library");
	}
	assert_int_equal(on_fake("FAKE_HSAKMT_RELEASE=node-372",
				 "--test=library"), 1);
	expect_text("of 372 bytes, which no release known here has");
}

static void on_libhsakmt(void **state)
{
	(void)state;
	assert_int_equal(on_fake("", "--timing-size=4"), 0);
	expect_text("/fake/libhsakmt.so.1\n# hsakmt, interface of KFD 1.");
	expect_text("\n# node 1 has accessed it by packets of a queue\nok 3");
	expect_text(" 0 failed, ");
	assert_int_equal(on_fake("FAKE_HSAKMT_SVM=0", "--test=register "
				 "--test=read-only --test=release"), 0);
	expect_text("read-only memory is refused (EOPNOTSUPP)");
	expect_text(" 0 failed, ");
}

/* That of the library's own. */
static void faults_of_libhsakmt(void **state)
{
	static const struct {
		const char *vars;
		const char *test;
		const char *text;
	} list[] = {
		{ "FAKE_HSAKMT_FAIL=OpenKFD", "library", " (E" },
		{ "FAKE_HSAKMT_FAIL=GetVersion", "library", "version: EIO" },
		{ "FAKE_HSAKMT_FAIL=AcquireSystemProperties", "topology",
		  "cannot be opened" },
		{ "FAKE_HSAKMT_FAIL=RegisterMemoryWithFlags:2=6", "register",
		  "registering memory: ENOMEM" },
		{ "FAKE_HSAKMT_FAIL=MapMemoryToGPUNodes:2", "register",
		  "to the GPU: EIO" },
		{ "FAKE_HSAKMT_FAIL=UnmapMemoryToGPU", "register",
		  "from the GPU: EIO" },
		{ "FAKE_HSAKMT_FAIL=CreateQueue", "queue", "a queue: EIO" },
		{ "FAKE_HSAKMT_FAIL=DestroyQueue", "queue",
		  "destroying a queue: EIO" },
		{ "FAKE_HSAKMT_FAIL=GetClockCounters", "clocks", "EIO" },
	};
	char args[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		snprintf(args, sizeof(args), "--test=%s", list[i].test);
		assert_int_equal(on_fake(list[i].vars, args), 1);
		expect_text("\nnot ok 1 - ");
		expect_text(list[i].text);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(all_pass),
		T(differences_pass),
		T(without_accesses),
		T(library),
		T(topology),
		T(memory),
		T(sandbox),
		T(accesses),
		T(queues),
		T(clocks),
		cmocka_unit_test_setup_teardown(process, make_kfd_proc,
						remove_kfd_proc),
		T(timing),
		T(any_library),
		T(what_is_left),
		T(options),
		T(report),
		T(without_gpu),
		T(on_libhsakmt),
		T(faults_of_libhsakmt),
	};

	return cmocka_run_group_tests_name("rocm_check", tests, NULL, NULL);
}
