// SPDX-License-Identifier: MIT
/*
 * What is written to the files of a cgroup, in a directory that is none
 *
 * tests/vm_cgroup.c has the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_cgroup.h"
#include "vcs_children.h"
#include "vcs_log.h"
#include "vcs_scratch.h"

#define MAX	12345678901ULL

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
int __wrap_rmdir(const char *path);

static const char *files;
static int busy;
static bool make_fifo;
static char dir[64], sub[128];
static struct vcs_config cfg;

static void make_file(const char *parent, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void expect_file(const char *parent, const char *name, const char *want)
{
	char path[256], text[256] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	assert_string_equal(text, want);
}

/* The files that the kernel puts there: those of @files. */
int __wrap_mkdir(const char *path, mode_t mode)
{
	const char *f;

	if (__real_mkdir(path, mode))
		return -1;
	for (f = files; *f; f += strlen(f) + 1)
		make_file(path, f, "");
	if (make_fifo) {
		char fifo[256];

		snprintf(fifo, sizeof(fifo), "%s/cgroup.procs", path);
		return mkfifo(fifo, 0600);
	}
	return 0;
}

/* They do not make the directory full; processes do. */
int __wrap_rmdir(const char *path)
{
	char file[256];
	const char *f;

	if (!access(path, F_OK) && busy) {
		busy--;
		errno = EBUSY;
		return -1;
	}
	for (f = files; *f; f += strlen(f) + 1) {
		snprintf(file, sizeof(file), "%s/%s", path, f);
		unlink(file);
	}
	return __real_rmdir(path);
}

static int setup(void **state)
{
	(void)state;
	vcs_log_set_level(VCS_LOG_ERROR);
	strcpy(dir, "/tmp/vgpu-cgroup-XXXXXX");
	assert_non_null(mkdtemp(dir));
	files = "memory.max\0memory.swap.max\0pids.max\0memory.events\0cgroup.procs\0cgroup.kill\0";
	busy = 0;
	cfg = (struct vcs_config) {
		.cgroup = dir,
		.memory_max = MAX,
		.pids_max = 99,
		.server = 42,
	};
	snprintf(sub, sizeof(sub), "%s/vgpu-42-7", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return vcs_remove_files(dir, NULL);
}

static void nothing_without_the_option(void **state)
{
	(void)state;
	cfg.cgroup = NULL;
	assert_int_equal(vcs_cgroup_setup(&cfg), 0);
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	assert_int_equal(vcs_cgroup_join(&cfg, "7"), 0);
	assert_false(vcs_cgroup_out_of_memory(&cfg, "7"));
	vcs_cgroup_destroy(&cfg, "7");
	assert_int_equal(access(sub, F_OK), -1);
}

static void controllers_are_needed(void **state)
{
	(void)state;
	vcs_log_set_level(VCS_LOG_ERROR);
	vcs_log_set_level(VCS_LOG_ANSWER);
	assert_int_equal(vcs_cgroup_setup(&cfg), -ENOENT);
	make_file(dir, "cgroup.subtree_control", "");
	assert_int_equal(vcs_cgroup_setup(&cfg), 0);
	/* One after another: one of them may not be there. */
	expect_file(dir, "cgroup.subtree_control", "+pidsry");
}

static void limits_are_set_before_somebody_joins(void **state)
{
	(void)state;
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	expect_file(sub, "memory.max", "12345678901");
	expect_file(sub, "memory.swap.max", "0");
	expect_file(sub, "pids.max", "99");
	expect_file(sub, "cgroup.procs", "");
	assert_int_equal(vcs_cgroup_join(&cfg, "7"), 0);
	expect_file(sub, "cgroup.procs", "0");
	assert_int_equal(vcs_cgroup_join(&cfg, "8"), -ENOENT);
}

static void what_the_kernel_does_not_have(void **state)
{
	(void)state;
	files = "memory.max\0cgroup.procs\0";
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	expect_file(sub, "memory.max", "12345678901");
	vcs_cgroup_destroy(&cfg, "7");
	/* But memory it is about. */
	files = "cgroup.procs\0";
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), -ENOENT);
	assert_int_equal(access(sub, F_OK), -1);
}

static void leftovers_are_taken_over(void **state)
{
	(void)state;
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	make_file(sub, "memory.events", "oom_kill 3\n");
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	assert_false(vcs_cgroup_out_of_memory(&cfg, "7"));
	busy = 1;
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), -EBUSY);
}

static void out_of_memory_is_seen(void **state)
{
	(void)state;
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	assert_false(vcs_cgroup_out_of_memory(&cfg, "7"));
	make_file(sub, "memory.events",
		  "low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 1\n");
	assert_false(vcs_cgroup_out_of_memory(&cfg, "7"));
	make_file(sub, "memory.events",
		  "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n");
	assert_true(vcs_cgroup_out_of_memory(&cfg, "7"));
	vcs_cgroup_destroy(&cfg, "7");
	assert_false(vcs_cgroup_out_of_memory(&cfg, "7"));
}

static void the_end_waits_for_processes(void **state)
{
	(void)state;
	assert_int_equal(vcs_cgroup_create(&cfg, "7"), 0);
	busy = 20;
	vcs_cgroup_destroy(&cfg, "7");
	assert_int_equal(busy, 0);
	assert_int_equal(access(sub, F_OK), -1);
}

static int report(int sock, int compiler, const struct vcs_config *config,
		  struct vcs_stats *stats)
{
	char c;

	(void)compiler;
	(void)config;
	vcs_stats_set(&stats->resources, 5);
	return send(sock, "w", 1, 0) == 1 && recv(sock, &c, 1, 0) == 0 ? 0 :
	       -errno;
}

/* Before the worker does anything; what it counts is seen here. */
static void both_processes_of_a_context_join(void **state)
{
	char path[256], joined[3] = "";
	struct pollfd pfd = { .events = POLLIN };
	struct vcs_children c;
	int pair[2], fifo;

	(void)state;
	files = "memory.max\0";
	strcpy(cfg.scratch, dir);
	cfg.compiler = true;
	cfg.build_timeout_ms = 1000;
	cfg.drop = !geteuid();
	cfg.uid = cfg.gid = cfg.drop ? 65534 : geteuid();
	assert_int_equal(chmod(dir, 0711), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    pair), 0);
	make_fifo = true;
	assert_int_equal(vcs_children_start(&c, &cfg, pair[1], report, "test"),
			 0);
	make_fifo = false;
	close(pair[1]);
	snprintf(path, sizeof(path), "%s/vgpu-42-%s/cgroup.procs", dir, c.name);
	/* Neither goes on before there is somebody to read it. */
	pfd.fd = pair[0];
	assert_int_equal(poll(&pfd, 1, 200), 0);
	fifo = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fifo >= 0);
	assert_int_equal(read(fifo, joined, 1), 1);
	assert_int_equal(read(fifo, joined + 1, 1), 1);
	assert_string_equal(joined, "00");
	assert_int_equal(recv(pair[0], joined, 1, 0), 1);
	assert_int_equal(vcs_stats_get(&c.stats->resources), 5);
	close(fifo);
	close(pair[0]);
	unlink(path);
	vcs_children_stop(&c, &cfg, NULL);
	snprintf(path, sizeof(path), "%s/vgpu-42-%s", dir, c.name);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_without_the_option),
		T(controllers_are_needed),
		T(limits_are_set_before_somebody_joins),
		T(what_the_kernel_does_not_have),
		T(leftovers_are_taken_over),
		T(out_of_memory_is_seen),
		T(the_end_waits_for_processes),
		T(both_processes_of_a_context_join),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
