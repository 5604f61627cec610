// SPDX-License-Identifier: MIT
/*
 * A control group (v2) for the processes of each context
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vcs_cgroup.h"
#include "vcs_log.h"

/* How long what was killed may take to be gone, in milliseconds. */
#define VCS_CGROUP_GONE_MS	1000

/* @name NULL: cfg->cgroup itself; @file NULL: the directory. */
static void make_path(const struct vcs_config *cfg, const char *name,
		      const char *file, char path[PATH_MAX])
{
	char dir[64] = "";

	/* Several servers may share the cgroup. */
	if (name)
		snprintf(dir, sizeof(dir), "/vgpu-%d-%s", cfg->server, name);
	snprintf(path, PATH_MAX, "%.*s%s%s%s", PATH_MAX / 2, cfg->cgroup, dir,
		 file ? "/" : "", file ? file : "");
}

static int write_file(const struct vcs_config *cfg, const char *name,
		      const char *file, const char *text)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	make_path(cfg, name, file, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int write_number(const struct vcs_config *cfg, const char *name,
			const char *file, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return write_file(cfg, name, file, text);
}

/* The files are small. */
static int read_file(const struct vcs_config *cfg, const char *name,
		     const char *file, char *text, size_t size)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	make_path(cfg, name, file, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

int vcs_cgroup_setup(const struct vcs_config *cfg)
{
	int ret;

	if (!cfg->cgroup)
		return 0;
	ret = write_file(cfg, NULL, "cgroup.subtree_control", "+memory");
	if (ret == -EBUSY)
		vcs_err("--cgroup=%s: there are processes in it; the server belongs into one below it (systemd: DelegateSubgroup=)",
			cfg->cgroup);
	else if (ret == -ENOENT || ret == -EINVAL)
		vcs_err("--cgroup=%s: not a cgroup v2 with the controller memory",
			cfg->cgroup);
	else if (ret)
		vcs_err("--cgroup=%s: %s; it has to be delegated to the server (systemd: Delegate=)",
			cfg->cgroup, strerror(-ret));
	if (!ret && write_file(cfg, NULL, "cgroup.subtree_control", "+pids"))
		vcs_warn("--cgroup=%s: has no controller pids, processes are not limited",
			 cfg->cgroup);
	return ret;
}

/* A file that is not there belongs to what the kernel or the cgroup has not. */
static int write_limit(const struct vcs_config *cfg, const char *name,
		       const char *file, uint64_t number)
{
	int ret = write_number(cfg, name, file, number);

	return ret == -ENOENT ? 0 : ret;
}

static int create(const struct vcs_config *cfg, const char *name)
{
	char path[PATH_MAX];
	int ret;

	make_path(cfg, name, NULL, path);
	/* Of a server that was killed, and whose pid we have. */
	if (rmdir(path) && errno != ENOENT)
		return -errno;
	if (mkdir(path, 0755))
		return -errno;
	ret = write_number(cfg, name, "memory.max", cfg->memory_max);
	/* More memory than that is not to be had on a disk. */
	if (!ret)
		ret = write_limit(cfg, name, "memory.swap.max", 0);
	if (!ret)
		ret = write_limit(cfg, name, "pids.max", cfg->pids_max);
	if (ret)
		rmdir(path);
	return ret;
}

int vcs_cgroup_create(const struct vcs_config *cfg, const char *name)
{
	int ret;

	if (!cfg->cgroup)
		return 0;
	ret = create(cfg, name);
	if (ret)
		vcs_log_guest("cannot make a cgroup in %s: %s", cfg->cgroup,
			      strerror(-ret));
	return ret;
}

int vcs_cgroup_join(const struct vcs_config *cfg, const char *name)
{
	return cfg->cgroup ? write_file(cfg, name, "cgroup.procs", "0") : 0;
}

bool vcs_cgroup_out_of_memory(const struct vcs_config *cfg, const char *name)
{
	char text[512], *kills;
	unsigned long n;

	if (!cfg->cgroup ||
	    read_file(cfg, name, "memory.events", text, sizeof(text)))
		return false;
	kills = strstr(text, "oom_kill ");
	return kills && sscanf(kills, "oom_kill %lu", &n) == 1 && n;
}

void vcs_cgroup_destroy(const struct vcs_config *cfg, const char *name)
{
	char path[PATH_MAX];
	int i, ret;

	if (!cfg->cgroup)
		return;
	/* From Linux 5.14 on; else there is vcs_children_kill(). */
	write_file(cfg, name, "cgroup.kill", "1");
	make_path(cfg, name, NULL, path);
	for (i = 0; i < VCS_CGROUP_GONE_MS; i++) {
		ret = rmdir(path) ? errno : 0;
		if (ret != EBUSY)
			break;
		usleep(1000);
	}
	if (ret)
		vcs_warn("cannot remove %s: %s", path, strerror(ret));
}
