// SPDX-License-Identifier: MIT
/*
 * Which files a worker and a compile helper can open
 *
 * Both work on what a guest wrote, as native code even, and results go back to
 * the guest: a file of the host that they can read, the guest can read. Files
 * that are readable for every user are no secret on the host, but no business of
 * a guest's either. C's #include alone would show them in a build log.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcs_landlock.h"
#include "vcs_log.h"

#define READ	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE	(READ | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define PROGRAM	(READ | LANDLOCK_ACCESS_FS_EXECUTE)
/*
 * The second version of the interface is the first that lets a compiler rename
 * its output into another directory (REFER), and this all that it knows.
 */
#define ABI	2
#define ALL	((LANDLOCK_ACCESS_FS_REFER << 1) - 1)
/* What can be allowed for a path that is not a directory. */
#define ON_FILE	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE | \
		 LANDLOCK_ACCESS_FS_WRITE_FILE)

static const struct path {
	const char *path;
	uint64_t access;
} system_paths[] = {
	/* Libraries of drivers, compilers and their headers. */
	{ "/usr", PROGRAM }, { "/lib", PROGRAM }, { "/lib64", PROGRAM },
	{ "/bin", PROGRAM }, { "/opt", PROGRAM },
	{ "/etc/OpenCL", READ }, { "/etc/alternatives", READ },
	{ "/etc/ld.so.cache", READ }, { "/etc/ld.so.conf", READ },
	{ "/etc/ld.so.conf.d", READ },
	/* The machine; of processes only the own one. */
	{ "/sys", READ }, { "/proc/self", READ }, { "/proc/cpuinfo", READ },
	{ "/proc/meminfo", READ }, { "/proc/stat", READ },
	{ "/proc/sys", READ }, { "/proc/filesystems", READ },
	{ "/dev/null", WRITE }, { "/dev/zero", READ }, { "/dev/urandom", READ },
}, gpu_paths[] = {
	/* Permissions say which. */
	{ "/dev", WRITE },
	{ "/proc/driver", READ }, { "/proc/modules", READ },
};

static int create_ruleset(const struct landlock_ruleset_attr *attr,
			  size_t size, uint32_t flags)
{
	return (int)syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

bool vcs_landlock_available(void)
{
	return create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= ABI;
}

/* A path that is not there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	struct stat st;
	int fd, ret = 0;

	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		ret = -errno;
		vcs_err("cannot open %s as the workers' user: %s", path,
			strerror(errno));
		return ret;
	}
	if (fstat(fd, &st)) {
		ret = -errno;
	} else {
		if (!S_ISDIR(st.st_mode))
			rule.allowed_access &= ON_FILE;
		rule.parent_fd = fd;
		if (syscall(SYS_landlock_add_rule, ruleset,
			    LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			ret = -errno;
	}
	close(fd);
	return ret;
}

static int allow_all(int ruleset, const struct path *paths, size_t n)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < n && !ret; i++)
		ret = allow(ruleset, paths[i].path, paths[i].access);
	return ret;
}

int vcs_landlock_enter(const char *dir, bool compiler, bool gpu)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = ALL };
	const char *vendors = getenv("OCL_ICD_VENDORS");
	int ruleset, ret;

	if (!vcs_landlock_available())
		return 0;
	ruleset = create_ruleset(&attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -errno;
	ret = allow_all(ruleset, system_paths,
			sizeof(system_paths) / sizeof(system_paths[0]));
	if (!ret && gpu)
		ret = allow_all(ruleset, gpu_paths,
				sizeof(gpu_paths) / sizeof(gpu_paths[0]));
	/* Where the administrator says that drivers are registered. */
	if (!ret && vendors && vendors[0] == '/')
		ret = allow(ruleset, vendors, READ);
	if (!ret)
		ret = allow(ruleset, dir, compiler ?
			    ALL & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE : READ);
	if (!ret && syscall(SYS_landlock_restrict_self, ruleset, 0))
		ret = -errno;
	close(ruleset);
	return ret;
}
