// SPDX-License-Identifier: MIT
/*
 * What a worker and a compile helper may do
 *
 * Both work on what a guest wrote: with an OpenCL driver for the CPU a kernel is
 * native code in the worker, and compilers have bugs. So neither is ever root or
 * has capabilities, and a system call filter takes away what would let a worker
 * outlive its death (when its pidfd signals, nobody may have its windows), reach
 * other processes, or gain rights.
 *
 * The filter is a list of what is denied, because an OpenCL driver's needs
 * differ from device to device. Denied calls fail, they do not kill: drivers
 * try things and have a way without.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcs_landlock.h"
#include "vcs_log.h"
#include "vcs_sandbox.h"

/* Descriptors of a driver: device nodes, buffers it exports to itself. */
#define VCS_MAX_FILES		512
/* One file: programs are three orders smaller. Also bounds a log on stderr. */
#define VCS_MAX_FILE_SIZE	(256UL << 20)
/* Writable private memory of a builder. */
#define VCS_MAX_BUILDER_DATA	(4UL << 30)

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
	if (!ret && role == VCS_ROLE_BUILDER)
		ret = set_limit(RLIMIT_DATA, VCS_MAX_BUILDER_DATA);
#endif
	return ret;
}

#define DENY(call)	{ SCMP_SYS(call), EPERM }

struct denied {
	int call;
	int error;
};

/* Nobody needs these. */
static const struct denied denied[] = {
	/* Other processes. */
	DENY(ptrace), DENY(process_vm_readv), DENY(process_vm_writev),
	DENY(process_madvise), DENY(process_mrelease), DENY(pidfd_getfd),
	DENY(pidfd_send_signal), DENY(kcmp), DENY(tkill), DENY(migrate_pages),
	DENY(move_pages),
	/* Out of the group that the spawner kills. */
	DENY(setsid), DENY(setpgid),
	/* Names, mounts, users. */
	DENY(unshare), DENY(setns), DENY(mount), DENY(umount2),
	DENY(pivot_root), DENY(chroot), DENY(open_tree), DENY(move_mount),
	DENY(fsopen), DENY(fsconfig), DENY(fsmount), DENY(fspick),
	DENY(mount_setattr), DENY(name_to_handle_at), DENY(open_by_handle_at),
	DENY(sethostname), DENY(setdomainname),
	/* Large parts of the kernel, and calls that would pass this filter by. */
	DENY(bpf), DENY(perf_event_open), DENY(userfaultfd),
	{ SCMP_SYS(io_uring_setup), ENOSYS }, DENY(io_uring_enter),
	DENY(io_uring_register), DENY(add_key), DENY(request_key), DENY(keyctl),
	DENY(init_module), DENY(finit_module), DENY(delete_module),
	DENY(kexec_load), DENY(kexec_file_load), DENY(reboot), DENY(swapon),
	DENY(swapoff), DENY(acct), DENY(quotactl), DENY(syslog),
	DENY(settimeofday), DENY(clock_settime), DENY(clock_adjtime),
	DENY(adjtimex), DENY(vhangup), DENY(iopl), DENY(ioperm),
	DENY(modify_ldt), DENY(lookup_dcookie), DENY(nfsservctl),
	/* Networks and services of the host. */
	{ SCMP_SYS(socket), EACCES }, DENY(connect), DENY(bind), DENY(listen),
};

/* A worker besides makes no process and no file, and changes none's name. */
static const struct denied denied_worker[] = {
	DENY(fork), DENY(vfork), DENY(execve), DENY(execveat),
	/* Its flags are behind a pointer: let glibc fall back to clone(). */
	{ SCMP_SYS(clone3), ENOSYS },
	{ SCMP_SYS(creat), EACCES },
	{ SCMP_SYS(openat2), ENOSYS },
	/* Drivers make sure of a whole path, from the root on. */
	{ SCMP_SYS(mkdir), EEXIST }, { SCMP_SYS(mkdirat), EEXIST },
	{ SCMP_SYS(mknod), EACCES }, { SCMP_SYS(mknodat), EACCES },
	{ SCMP_SYS(rename), EACCES }, { SCMP_SYS(renameat), EACCES },
	{ SCMP_SYS(renameat2), EACCES },
	{ SCMP_SYS(unlink), EACCES }, { SCMP_SYS(unlinkat), EACCES },
	{ SCMP_SYS(rmdir), EACCES },
	{ SCMP_SYS(link), EACCES }, { SCMP_SYS(linkat), EACCES },
	{ SCMP_SYS(symlink), EACCES }, { SCMP_SYS(symlinkat), EACCES },
	{ SCMP_SYS(chmod), EACCES }, { SCMP_SYS(fchmod), EACCES },
	{ SCMP_SYS(fchmodat), EACCES },
	{ SCMP_SYS(chown), EACCES }, { SCMP_SYS(fchown), EACCES },
	{ SCMP_SYS(lchown), EACCES }, { SCMP_SYS(fchownat), EACCES },
	{ SCMP_SYS(truncate), EACCES },
};

static int add_denied(scmp_filter_ctx filter, const struct denied *list,
		      size_t n)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(filter,
				       SCMP_ACT_ERRNO((uint32_t)list[i].error),
				       list[i].call, 0);
	return ret;
}

/*
 * Code of the guest runs here: what names a process names this one, and what
 * vcs_sandbox_detach() and vcs_sandbox_enter() have set stays set.
 */
static int add_self_only(scmp_filter_ctx filter)
{
	static const int calls[] = {
		SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(rt_sigqueueinfo),
		SCMP_SYS(rt_tgsigqueueinfo),
	};
	static const int options[] = {
		PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER,
	};
	scmp_datum_t pid = (scmp_datum_t)getpid();
	int ret = 0;
	size_t i;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]) && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i],
				       1, SCMP_A0(SCMP_CMP_NE, pid, 0));
	/* 0 is the caller; glibc uses nothing else. */
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
				       SCMP_SYS(prlimit64), 1,
				       SCMP_A0(SCMP_CMP_NE, 0, 0));
	for (i = 0; i < sizeof(options) / sizeof(options[0]) && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
				       SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ,
					       (scmp_datum_t)options[i], 0));
	return ret;
}

/* No process, no file. */
static int add_worker_rules(scmp_filter_ctx filter)
{
	int ret;

	ret = add_denied(filter, denied_worker,
			 sizeof(denied_worker) / sizeof(denied_worker[0]));
	/* Threads are fine. */
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
				       SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ,
					       CLONE_THREAD, 0));
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES),
				       SCMP_SYS(open), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ,
					       O_CREAT, O_CREAT));
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES),
				       SCMP_SYS(openat), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ,
					       O_CREAT, O_CREAT));
	return ret;
}

static int add_rules(scmp_filter_ctx filter, enum vcs_role role)
{
	int ret;

	/* Calls of another ABI (i386, x32) have other numbers: none of them. */
	ret = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
			       SCMP_ACT_KILL_PROCESS);
	/* A tree of about a hundred rules instead of a list. */
	if (!ret)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);

	if (!ret && role != VCS_ROLE_BUILDER) {
		ret = add_denied(filter, denied,
				 sizeof(denied) / sizeof(denied[0]));
		/* Asking only: flags of it weaken address randomisation. */
		if (!ret)
			ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
					       SCMP_SYS(personality), 1,
					       SCMP_A0(SCMP_CMP_NE,
						       0xffffffff, 0));
	}
	if (!ret && role == VCS_ROLE_WORKER)
		ret = add_worker_rules(filter);
	if (!ret && role != VCS_ROLE_COMPILER)
		ret = add_self_only(filter);
	return ret;
}

static int filter_syscalls(enum vcs_role role)
{
	scmp_filter_ctx filter;
	int ret;

	filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return -ENOMEM;
	ret = add_rules(filter, role);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
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
	if (!ret && role != VCS_ROLE_BUILDER)
		ret = vcs_landlock_enter(dir, role == VCS_ROLE_COMPILER);
	if (!ret)
		ret = filter_syscalls(role);
	if (ret)
		vcs_err("cannot enter the sandbox: %s", strerror(-ret));
	return ret;
}
