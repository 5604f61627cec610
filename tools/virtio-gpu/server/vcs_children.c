// SPDX-License-Identifier: MIT
/*
 * The processes of a context: worker and, where programs are compiled, helper
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vcs_cgroup.h"
#include "vcs_children.h"
#include "vcs_compiler.h"
#include "vcs_log.h"
#include "vcs_sandbox.h"
#include "vcs_scratch.h"

/*
 * Where drivers keep caches and temporary files. The helper writes there, the
 * worker only reads; see vcs_compiler.c for what they share.
 */
static int set_directory(const struct vcs_config *cfg, const char *name,
			 char dir[PATH_MAX])
{
	static const char * const variables[] = {
		"POCL_CACHE_DIR", "TMPDIR", "HOME", "XDG_CACHE_HOME",
	};
	size_t i;

	snprintf(dir, PATH_MAX, "%.*s/%s", PATH_MAX / 2, cfg->scratch, name);
	for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (setenv(variables[i], dir, 1))
			return -errno;
	umask(077);
	return chdir("/") ? -errno : 0;
}

static void set_role(const char *role, const char *what)
{
	char line[96];

	snprintf(line, sizeof(line), "%s, %s", role, what);
	vcs_log_set_role(line);
}

/*
 * _exit() in both: there is nothing to flush, and handlers of exit() that
 * drivers have registered are code of theirs with guest memory still mapped.
 */
static void __attribute__((noreturn))
helper_main(const struct vcs_config *cfg, const char *name, const char *role,
	    pid_t parent, int compiler)
{
	char dir[PATH_MAX];
	int ret;

	set_role(role, "compiler");
	ret = vcs_cgroup_join(cfg, name);
	if (!ret)
		ret = vcs_sandbox_detach(parent, &compiler, 1);
	if (!ret)
		ret = set_directory(cfg, name, dir);
	if (!ret)
		ret = vcs_sandbox_enter(cfg, VCS_ROLE_COMPILER, dir);
	if (!ret)
		ret = vcs_compiler_main(compiler, cfg, dir);
	if (ret && ret != -EPIPE)
		vcs_err("ends: %s", strerror(-ret));
	_exit(ret ? 1 : 0);
}

static void __attribute__((noreturn))
worker_main(const struct vcs_config *cfg, const char *name, const char *role,
	    pid_t parent, int sock, int compiler, vcs_worker_fn worker,
	    struct vcs_stats *stats)
{
	const int keep[] = { sock, compiler };
	char dir[PATH_MAX];
	int ret;

	set_role(role, "worker");
	ret = vcs_cgroup_join(cfg, name);
	if (!ret)
		ret = vcs_sandbox_detach(parent, keep, compiler < 0 ? 1 : 2);
	if (!ret)
		ret = set_directory(cfg, name, dir);
	if (!ret)
		ret = vcs_sandbox_enter(cfg, VCS_ROLE_WORKER, dir);
	if (!ret)
		ret = worker(sock, compiler, cfg, stats);
	if (ret)
		vcs_err("ends: %s", strerror(-ret));
	_exit(ret ? 1 : 0);
}

/* Shared with no process but the one that is forked after inherit_stats(). */
static struct vcs_stats *create_stats(void)
{
	void *addr = mmap(NULL, sizeof(struct vcs_stats),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (addr == MAP_FAILED)
		return NULL;
	if (madvise(addr, sizeof(struct vcs_stats), MADV_DONTFORK)) {
		munmap(addr, sizeof(struct vcs_stats));
		return NULL;
	}
	return addr;
}

static int inherit_stats(struct vcs_stats *stats, bool inherit)
{
	return madvise(stats, sizeof(*stats),
		       inherit ? MADV_DOFORK : MADV_DONTFORK) ? -errno : 0;
}

static void close_pair(const int pair[2])
{
	if (pair[0] < 0)
		return;
	close(pair[0]);
	close(pair[1]);
}

/* @pair gets the worker's end and the helper's. */
static int start_helper(struct vcs_children *c, const struct vcs_config *cfg,
			const char *role, pid_t self, int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		pair[0] = -1;
		return -errno;
	}
	c->helper = fork();
	if (!c->helper)
		helper_main(cfg, c->name, role, self, pair[1]);
	if (c->helper < 0) {
		c->helper = 0;
		return -errno;
	}
	return 0;
}

int vcs_children_start(struct vcs_children *c, const struct vcs_config *cfg,
		       int sock, vcs_worker_fn worker, const char *role)
{
	static unsigned int count;
	int pair[2] = { -1, -1 };
	pid_t self = getpid();
	int ret;

	memset(c, 0, sizeof(*c));
	c->pidfd = -1;
	snprintf(c->name, sizeof(c->name), "%u", count++);
	ret = vcs_scratch_create_ctx(cfg, c->name);
	if (ret)
		return ret;
	ret = vcs_cgroup_create(cfg, c->name);
	if (ret)
		goto err_scratch;
	c->stats = create_stats();
	if (!c->stats) {
		ret = -ENOMEM;
		goto err_cgroup;
	}

	if (cfg->compiler) {
		ret = start_helper(c, cfg, role, self, pair);
		if (ret)
			goto err_pair;
	}
	ret = inherit_stats(c->stats, true);
	if (ret)
		goto err_pair;
	c->worker = fork();
	if (!c->worker)
		worker_main(cfg, c->name, role, self, sock, pair[0], worker,
			    c->stats);
	if (c->worker < 0) {
		ret = -errno;
		c->worker = 0;
		goto err_pair;
	}
	ret = inherit_stats(c->stats, false);
	if (ret)
		goto err_pair;
	c->pidfd = (int)syscall(SYS_pidfd_open, c->worker, 0);
	if (c->pidfd < 0) {
		ret = -errno;
		goto err_pair;
	}
	close_pair(pair);
	return 0;

err_pair:
	close_pair(pair);
	vcs_children_stop(c, cfg, NULL);
	return ret;
err_cgroup:
	vcs_cgroup_destroy(cfg, c->name);
err_scratch:
	vcs_scratch_destroy_ctx(cfg, c->name);
	return ret;
}

void vcs_children_kill(const struct vcs_children *c)
{
	if (c->worker)
		kill(c->worker, SIGKILL);
	/* Before it has made its group it has started nothing. */
	if (c->helper && kill(-c->helper, SIGKILL))
		kill(c->helper, SIGKILL);
}

void vcs_children_cleanup(struct vcs_children *c, const struct vcs_config *cfg)
{
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->pidfd = -1;
	munmap(c->stats, sizeof(*c->stats));
	c->stats = NULL;
	vcs_cgroup_destroy(cfg, c->name);
	vcs_scratch_destroy_ctx(cfg, c->name);
}

static void reap(pid_t *pid, int *status)
{
	int st;

	if (!*pid)
		return;
	while (waitpid(*pid, &st, 0) < 0 && errno == EINTR)
		;
	*pid = 0;
	if (status)
		*status = st;
}

void vcs_children_stop(struct vcs_children *c, const struct vcs_config *cfg,
		       int *status)
{
	vcs_children_kill(c);
	reap(&c->worker, status);
	reap(&c->helper, NULL);
	vcs_children_cleanup(c, cfg);
}

unsigned int vcs_kill_strays(bool (*keep)(const void *arg, pid_t pid),
			     const void *arg)
{
	unsigned int n = 0;
	char path[64];
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fscanf(f, "%d", &pid) == 1) {
		if (keep && keep(arg, pid))
			continue;
		kill(pid, SIGKILL);
		n++;
	}
	fclose(f);
	return n;
}
