// SPDX-License-Identifier: MIT
/*
 * Private directories: one for the server, one below it for each context
 *
 * What is in a context's directory was written by processes that are not
 * trusted, and the server may be root when it removes them: so it goes by
 * descriptors, never by paths below the directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vcs_log.h"
#include "vcs_scratch.h"

/* No compiler nests deeper; each level holds a descriptor. */
#define VCS_MAX_DEPTH	64

int vcs_scratch_create(struct vcs_config *cfg)
{
	const char *tmp = getenv("TMPDIR");
	int n;

	if (!tmp || tmp[0] != '/')
		tmp = "/tmp";
	n = snprintf(cfg->scratch, sizeof(cfg->scratch),
		     "%s/vgpu-compute-XXXXXX", tmp);
	/* Leave room for the names of contexts and of PoCL's cache. */
	if (n < 0 || (size_t)n > sizeof(cfg->scratch) / 2)
		return -ENAMETOOLONG;
	if (!mkdtemp(cfg->scratch))
		return -errno;
	/* Workers pass through it to their own and list nothing. */
	if (cfg->drop && chmod(cfg->scratch, 0711)) {
		int err = errno;

		rmdir(cfg->scratch);
		return -err;
	}
	return 0;
}

void vcs_scratch_destroy(const struct vcs_config *cfg)
{
	int ret = vcs_remove_files(cfg->scratch, NULL);

	if (ret)
		vcs_warn("cannot remove %s: %s", cfg->scratch, strerror(-ret));
}

static void ctx_path(const struct vcs_config *cfg, const char *name,
		     char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%.*s/%.*s", PATH_MAX / 2, cfg->scratch,
		 NAME_MAX, name);
}

int vcs_scratch_create_ctx(const struct vcs_config *cfg, const char *name)
{
	char path[PATH_MAX];
	int err;

	ctx_path(cfg, name, path);
	if (mkdir(path, 0700))
		return -errno;
	if (cfg->drop && chown(path, cfg->uid, cfg->gid)) {
		err = errno;
		rmdir(path);
		return -err;
	}
	return 0;
}

void vcs_scratch_destroy_ctx(const struct vcs_config *cfg, const char *name)
{
	char path[PATH_MAX];
	int ret;

	ctx_path(cfg, name, path);
	ret = vcs_remove_files(path, NULL);
	if (ret)
		vcs_warn("cannot remove %s: %s", path, strerror(-ret));
}

static int remove_below(int fd, bool (*match)(const char *name),
			unsigned int depth)
{
	struct dirent *de;
	int ret = 0, err;
	DIR *dir;

	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	while ((de = readdir(dir))) {
		const char *name = de->d_name;
		struct stat st;

		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		err = 0;
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
			err = -errno;
		} else if (S_ISDIR(st.st_mode)) {
			int sub = openat(fd, name, O_RDONLY | O_DIRECTORY |
					 O_NOFOLLOW | O_CLOEXEC);

			if (sub < 0)
				err = -errno;
			else if (depth == VCS_MAX_DEPTH)
				err = close(sub) ? -errno : -ELOOP;
			else
				err = remove_below(sub, match, depth + 1);
			if (!err && !match && unlinkat(fd, name, AT_REMOVEDIR))
				err = -errno;
		} else if ((!match || match(name)) && unlinkat(fd, name, 0)) {
			err = -errno;
		}
		if (!ret)
			ret = err;
	}
	closedir(dir);
	return ret;
}

int vcs_remove_files(const char *path, bool (*match)(const char *name))
{
	int fd, ret;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = remove_below(fd, match, 0);
	if (!ret && !match && rmdir(path))
		ret = -errno;
	return ret;
}
