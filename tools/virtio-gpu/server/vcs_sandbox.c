// SPDX-License-Identifier: MIT
/*
 * What a worker and a compile helper may do
 *
 * Both work on what a guest wrote: with an OpenCL driver for the CPU a kernel is
 * native code in the worker, and compilers have bugs. So neither is ever root or
 * has capabilities, and what they can ask of the kernel (vcs_seccomp.c) and of
 * its files (vcs_landlock.c) is what they need.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vcs_landlock.h"
#include "vcs_log.h"
#include "vcs_sandbox.h"
#include "vcs_seccomp.h"

/* Descriptors of a driver: device nodes, buffers it exports to itself. */
#define VCS_MAX_FILES		512
/* One file: programs are three orders smaller. Also bounds a log on stderr. */
#define VCS_MAX_FILE_SIZE	(256UL << 20)
/*
 * Writable private memory of a builder, and of a worker that computes itself:
 * that much, and the stack of a thread for each CPU.
 */
#define VCS_MAX_DATA		(4UL << 30)
#define VCS_MAX_DATA_PER_CPU	(16UL << 20)

#if defined(__SANITIZE_ADDRESS__)
#define VCS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VCS_ASAN 1
#endif
#endif

static int move_fds(const int *keep, unsigned int nr_keep)
{
	unsigned int first = STDERR_FILENO + 1, i;
	int fd;

	/* Keep them where they are and close the gaps: @keep is tiny. */
	for (;;) {
		unsigned int next = ~0U;

		for (i = 0; i < nr_keep; i++)
			if ((unsigned int)keep[i] >= first &&
			    (unsigned int)keep[i] < next)
				next = (unsigned int)keep[i];
		if (next > first &&
		    syscall(SYS_close_range, first, next - 1, 0))
			return -errno;
		if (next == ~0U)
			break;
		first = next + 1;
	}

	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return -errno;
	close(fd);
	return 0;
}

int vcs_sandbox_detach(pid_t parent, const int *keep, unsigned int nr_keep)
{
	sigset_t none;

	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	/* Is for the server, and whoever sends it by name sends it to all. */
	signal(SIGUSR1, SIG_IGN);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL))
		return -errno;

	/* A session of its own: no terminal, and a group to kill as a whole. */
	if (setsid() < 0)
		return -errno;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	/* The parent may have died before. */
	if (getppid() != parent)
		return -ESRCH;
	return move_fds(keep, nr_keep);
}

static int drop_user(const struct vcs_config *cfg)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
	int cap;

	if (cfg->drop) {
		/* Until the kernel knows no such capability. */
		for (cap = 0; !prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); cap++)
			;
		if (errno != EINVAL)
			return -errno;
		if (setgroups((size_t)cfg->nr_groups, cfg->groups) ||
		    setresgid(cfg->gid, cfg->gid, cfg->gid) ||
		    setresuid(cfg->uid, cfg->uid, cfg->uid))
			return -errno;
	}
	if (!getuid() || !geteuid())
		return -EPERM;

	/* Also those that a file or the parent gave to a user. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) &&
	    errno != EINVAL)
		return -errno;
	memset(none, 0, sizeof(none));
	if (syscall(SYS_capset, &hdr, none))
		return -errno;
	return 0;
}

static int set_limit(int resource, rlim_t limit)
{
	struct rlimit rl;

	if (getrlimit(resource, &rl))
		return -errno;
	if (rl.rlim_max < limit)
		limit = rl.rlim_max;
	rl.rlim_cur = limit;
	rl.rlim_max = limit;
	return setrlimit(resource, &rl) ? -errno : 0;
}

/*
 * Not limited: RLIMIT_NPROC counts all processes of the user, so one context
 * could starve another; RLIMIT_AS breaks drivers that reserve address space.
 */
static int set_limits(enum vcs_role role, const struct vcs_config *cfg)
{
	int ret;

	/* A write beyond RLIMIT_FSIZE is an error, not the end. */
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	/* A core would be guest memory in a file. */
	ret = set_limit(RLIMIT_CORE, 0);
	if (!ret)
		ret = set_limit(RLIMIT_NOFILE, VCS_MAX_FILES);
	if (!ret)
		ret = set_limit(RLIMIT_FSIZE, VCS_MAX_FILE_SIZE);
	/* Ends what a builder that ran out of time may have left behind. */
	if (!ret && role == VCS_ROLE_BUILDER)
		ret = set_limit(RLIMIT_CPU,
				2 * (rlim_t)cfg->build_timeout_ms / 1000 + 1);
#ifndef VCS_ASAN
	/* The sanitizer's shadow alone is larger. */
	if (!ret && (role == VCS_ROLE_BUILDER || cfg->cpu))
		ret = set_limit(RLIMIT_DATA, VCS_MAX_DATA +
				VCS_MAX_DATA_PER_CPU * (rlim_t)get_nprocs());
#endif
	return ret;
}

int vcs_sandbox_enter(const struct vcs_config *cfg, enum vcs_role role,
		      const char *dir)
{
	int ret;

	ret = role == VCS_ROLE_BUILDER ? 0 : drop_user(cfg);
	if (ret) {
		vcs_err("cannot become an unprivileged user: %s; start the server as one, or name another with --user",
			strerror(-ret));
		return ret;
	}
	/* Changing the user has cleared the signal and set the other. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = -errno;
	if (!ret)
		ret = set_limits(role, cfg);
	if (!ret && cfg->sandbox && role != VCS_ROLE_BUILDER)
		ret = vcs_landlock_enter(dir, role == VCS_ROLE_COMPILER,
					 !cfg->cpu);
	if (!ret && cfg->sandbox)
		ret = vcs_seccomp_enter(role, !cfg->cpu);
	if (ret)
		vcs_err("cannot enter the sandbox: %s", strerror(-ret));
	return ret;
}
