// SPDX-License-Identifier: MIT
/*
 * Limits of a context's cgroup, by a kernel's: root, with cgroup2 mounted and
 * its controllers free; TAP on stdout
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vcs_cgroup.h"

#define DIR	"/sys/fs/cgroup/vgpu-test"
#define LIMIT	(32UL << 20)

static int count, failed;

static void check(int ok, const char *what)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++count, what);
	failed += !ok;
}

/* The wait status of a child that has joined and touched so much memory. */
static int touch(const struct vcs_config *cfg, const char *name, size_t size)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		char *p;

		if (vcs_cgroup_join(cfg, name))
			_exit(2);
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			_exit(3);
		memset(p, 1, size);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

/* A child that has joined and stays. */
static pid_t stay(const struct vcs_config *cfg, const char *name)
{
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		c = !vcs_cgroup_join(cfg, name);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	if (read(ready[0], &c, 1) != 1 || !c)
		return -1;
	return pid;
}

int main(void)
{
	struct vcs_config cfg = {
		.cgroup = DIR,
		.memory_max = LIMIT,
		.pids_max = 10,
		.server = getpid(),
	};
	FILE *f = fopen("/sys/fs/cgroup/cgroup.subtree_control", "w");
	char path[128];
	int status;
	pid_t pid;

	puts("1..11");
	snprintf(path, sizeof(path), DIR "/vgpu-%d-1", cfg.server);
	check(f && fputs("+memory", f) >= 0 && !fclose(f) && !mkdir(DIR, 0755),
	      "a cgroup to make others in");
	check(!vcs_cgroup_setup(&cfg), "has its controllers");
	check(!vcs_cgroup_create(&cfg, "1") && !vcs_cgroup_create(&cfg, "2"),
	      "cgroups are made");
	status = touch(&cfg, "1", LIMIT / 2);
	check(WIFEXITED(status) && !WEXITSTATUS(status), "half is fine");
	check(!vcs_cgroup_out_of_memory(&cfg, "1"), "and no end");
	status = touch(&cfg, "1", 2 * LIMIT);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "twice is killed");
	check(vcs_cgroup_out_of_memory(&cfg, "1"), "and seen");
	check(!vcs_cgroup_out_of_memory(&cfg, "2"), "in this one only");
	pid = stay(&cfg, "1");
	check(pid > 0, "another joins");
	vcs_cgroup_destroy(&cfg, "1");
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      access(path, F_OK), "and dies with it");
	vcs_cgroup_destroy(&cfg, "2");
	check(!rmdir(DIR), "nothing is left");
	return failed != 0;
}
