// SPDX-License-Identifier: MIT
/*
 * Which system calls a worker and a compile helper can make
 *
 * A list of what is allowed, because it is what stands between a guest and the
 * host's kernel, and because a worker's death has to be the end of it: when its
 * pidfd signals, nobody may have its windows.
 *
 *                                     worker          helper, builder
 *   own memory, threads, time         yes, no mremap  yes
 *   memory without a limit            with a GPU      yes
 *   files, as Landlock lets them      read            make and change
 *   processes                         no              yes
 *   signals                           to itself       builder: to itself
 *   sockets                           those it has    those it has
 *   ioctl of devices                  with a GPU      with a GPU
 *
 * What is not listed fails with ENOSYS, as on a kernel that does not have it:
 * libraries try what is newer and have a way without. What a driver tries and no
 * kernel lacks fails as if a right were missing. Nothing kills.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vcs_seccomp.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define CALL(name)	SCMP_SYS(name)

/* Every way to a namespace of one's own. */
#define NAMESPACES	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | \
			 CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
			 CLONE_NEWNET)

/*
 * Nothing here makes anything that outlives the process, or names another one
 * but to ask. Threads set their affinity: drivers for CPUs do.
 */
static const int allowed[] = {
	/* Memory. */
	CALL(brk), CALL(munmap), CALL(mprotect), CALL(madvise), CALL(mincore),
	CALL(msync), CALL(mlock), CALL(mlock2), CALL(munlock),
	CALL(membarrier), CALL(mbind), CALL(get_mempolicy),
	CALL(set_mempolicy),
	/* Files. */
	CALL(read), CALL(pread64), CALL(readv), CALL(preadv), CALL(write),
	CALL(pwrite64), CALL(writev), CALL(pwritev), CALL(lseek), CALL(close),
	CALL(close_range), CALL(dup), CALL(dup2), CALL(dup3), CALL(fcntl),
	CALL(flock), CALL(ftruncate), CALL(fadvise64), CALL(readahead),
	CALL(stat), CALL(lstat), CALL(fstat), CALL(newfstatat), CALL(statx),
	CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
	CALL(readlinkat), CALL(getdents), CALL(getdents64), CALL(getcwd),
	CALL(statfs), CALL(fstatfs),
	/* Events, and the sockets that are there. */
	CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6),
	CALL(epoll_create), CALL(epoll_create1), CALL(epoll_ctl),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(eventfd), CALL(eventfd2),
	CALL(timerfd_create), CALL(timerfd_settime), CALL(timerfd_gettime),
	CALL(pipe), CALL(pipe2), CALL(sendto), CALL(sendmsg), CALL(recvfrom),
	CALL(recvmsg), CALL(shutdown), CALL(getsockopt), CALL(getsockname),
	CALL(getpeername),
	/* Threads. */
	CALL(futex), CALL(futex_waitv), CALL(set_robust_list),
	CALL(get_robust_list), CALL(rseq), CALL(set_tid_address),
	CALL(arch_prctl), CALL(sched_yield), CALL(sched_getaffinity),
	CALL(sched_setaffinity), CALL(sched_getparam),
	CALL(sched_getscheduler), CALL(sched_get_priority_max),
	CALL(sched_get_priority_min), CALL(getpriority), CALL(exit),
	CALL(exit_group), CALL(restart_syscall),
	/* Signals: to whom is said by self_only(). */
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn),
	CALL(rt_sigpending), CALL(rt_sigtimedwait), CALL(rt_sigsuspend),
	CALL(sigaltstack), CALL(pause), CALL(kill), CALL(tgkill),
	CALL(rt_sigqueueinfo), CALL(rt_tgsigqueueinfo),
	/* Time. */
	CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep),
	CALL(nanosleep), CALL(gettimeofday), CALL(time), CALL(times),
	CALL(alarm), CALL(getitimer), CALL(setitimer), CALL(timer_create),
	CALL(timer_settime), CALL(timer_gettime), CALL(timer_getoverrun),
	CALL(timer_delete),
	/* Who and where am I? */
	CALL(getpid), CALL(gettid), CALL(getppid), CALL(getpgrp),
	CALL(getpgid), CALL(getsid), CALL(getuid), CALL(geteuid),
	CALL(getresuid), CALL(getgid), CALL(getegid), CALL(getresgid),
	CALL(getgroups), CALL(capget), CALL(getrlimit), CALL(prlimit64),
	CALL(getrusage), CALL(getcpu), CALL(uname), CALL(sysinfo),
	CALL(getrandom),
};

/* To compile; vcs_compiler.c has a builder add its own filter. */
static const int allowed_compiler[] = {
	CALL(mmap), CALL(mremap), CALL(memfd_create), CALL(fork), CALL(vfork),
	CALL(execve), CALL(wait4), CALL(waitid), CALL(pidfd_open),
	CALL(seccomp), CALL(prctl), CALL(open), CALL(openat), CALL(creat),
	CALL(mkdir), CALL(mkdirat), CALL(rename), CALL(renameat),
	CALL(renameat2), CALL(link), CALL(linkat), CALL(symlink),
	CALL(symlinkat), CALL(unlink), CALL(unlinkat), CALL(rmdir),
	CALL(chmod), CALL(fchmod), CALL(fchmodat), CALL(truncate),
	CALL(fallocate), CALL(fsync), CALL(fdatasync), CALL(utimensat),
	CALL(umask), CALL(chdir), CALL(fchdir), CALL(sendfile),
	CALL(copy_file_range),
};

/* What a thread of a worker says of itself, or asks. */
static const int worker_prctl[] = {
	PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_GET_PDEATHSIG,
	PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ,
	PR_GET_TIMERSLACK, PR_SET_TIMERSLACK, PR_GET_THP_DISABLE,
	PR_SET_THP_DISABLE,
#ifdef PR_SET_VMA
	PR_SET_VMA,
#endif
};

/* Tried by drivers, and older than they are. */
static const struct refused {
	int call;
	int error;
} refused[] = {
	{ CALL(socket), EACCES }, { CALL(connect), EACCES },
	{ CALL(setsid), EPERM }, { CALL(setpgid), EPERM },
	{ CALL(setuid), EPERM }, { CALL(chroot), EPERM },
};

static const struct refused refused_worker[] = {
	{ CALL(fork), EPERM }, { CALL(vfork), EPERM },
	{ CALL(execve), EPERM }, { CALL(execveat), EPERM },
	{ CALL(creat), EACCES }, { CALL(mknod), EACCES },
	{ CALL(mknodat), EACCES },
	/* Drivers make sure of a whole path, from the root on. */
	{ CALL(mkdir), EEXIST }, { CALL(mkdirat), EEXIST },
	{ CALL(rename), EACCES }, { CALL(renameat), EACCES },
	{ CALL(renameat2), EACCES }, { CALL(unlink), EACCES },
	{ CALL(unlinkat), EACCES }, { CALL(rmdir), EACCES },
	{ CALL(link), EACCES }, { CALL(linkat), EACCES },
	{ CALL(symlink), EACCES }, { CALL(symlinkat), EACCES },
	{ CALL(chmod), EPERM }, { CALL(fchmod), EPERM },
	{ CALL(fchmodat), EPERM }, { CALL(chown), EPERM },
	{ CALL(fchown), EPERM }, { CALL(lchown), EPERM },
	{ CALL(fchownat), EPERM }, { CALL(truncate), EACCES },
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return ret;
}

static int allow_if(scmp_filter_ctx filter, int call, struct scmp_arg_cmp cmp)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, cmp);
}

static int refuse(scmp_filter_ctx filter, const struct refused *list, size_t n)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(filter,
				       SCMP_ACT_ERRNO((uint32_t)list[i].error),
				       list[i].call, 0);
	return ret;
}

static int refuse_if(scmp_filter_ctx filter, int error, int call,
		     struct scmp_arg_cmp cmp)
{
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), call,
				1, cmp);
}

/*
 * Files without a name and shared memory, which is one, are in no limit of a
 * process: RLIMIT_DATA is for what is private. GPU drivers need both.
 */
static int memory_rules(scmp_filter_ctx filter, bool gpu)
{
	static const int calls[] = { CALL(mmap), CALL(memfd_create) };
	int ret;

	if (gpu)
		return allow(filter, calls, ARRAY_SIZE(calls));
	ret = allow_if(filter, CALL(mmap),
		       SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, 0));
	if (!ret)
		ret = allow_if(filter, CALL(mmap),
			       SCMP_A3(SCMP_CMP_MASKED_EQ,
				       MAP_ANONYMOUS | MAP_TYPE,
				       MAP_ANONYMOUS | MAP_PRIVATE));
	return ret;
}

/* No process; no file, with a name or (O_TMPFILE) without. */
static int worker_rules(scmp_filter_ctx filter, bool gpu)
{
	const scmp_datum_t make = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);
	int ret;
	size_t i;

	ret = refuse(filter, refused_worker, ARRAY_SIZE(refused_worker));
	if (!ret)
		ret = memory_rules(filter, gpu);
	if (!ret)
		ret = allow_if(filter, CALL(clone),
			       SCMP_A0(SCMP_CMP_MASKED_EQ,
				       CLONE_THREAD | NAMESPACES,
				       CLONE_THREAD));
	if (!ret)
		ret = refuse_if(filter, EPERM, CALL(clone),
				SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (!ret)
		ret = allow_if(filter, CALL(open),
			       SCMP_A1(SCMP_CMP_MASKED_EQ, make, 0));
	if (!ret)
		ret = refuse_if(filter, EACCES, CALL(open),
				SCMP_A1(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
	if (!ret)
		ret = allow_if(filter, CALL(openat),
			       SCMP_A2(SCMP_CMP_MASKED_EQ, make, 0));
	if (!ret)
		ret = refuse_if(filter, EACCES, CALL(openat),
				SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
	for (i = 0; i < ARRAY_SIZE(worker_prctl) && !ret; i++)
		ret = allow_if(filter, CALL(prctl),
			       SCMP_A0(SCMP_CMP_EQ,
				       (scmp_datum_t)worker_prctl[i]));
	return ret;
}

static int compiler_rules(scmp_filter_ctx filter)
{
	int ret;

	ret = allow(filter, allowed_compiler, ARRAY_SIZE(allowed_compiler));
	if (!ret)
		ret = allow_if(filter, CALL(clone),
			       SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
	return ret;
}

static int listed_only(scmp_filter_ctx filter, enum vcs_role role, bool gpu)
{
	int ret;

	ret = allow(filter, allowed, ARRAY_SIZE(allowed));
	if (!ret)
		ret = refuse(filter, refused, ARRAY_SIZE(refused));
	/* Asking only: flags of it weaken address randomisation. */
	if (!ret)
		ret = allow_if(filter, CALL(personality),
			       SCMP_A0(SCMP_CMP_EQ, 0xffffffff));
	/* Else of a terminal, which stdio asks whether it has one. */
	if (!ret)
		ret = gpu ? allow(filter, (const int []){ CALL(ioctl) }, 1) :
		      allow_if(filter, CALL(ioctl),
			       SCMP_A1(SCMP_CMP_EQ, TCGETS));
	if (!ret)
		ret = role == VCS_ROLE_WORKER ? worker_rules(filter, gpu) :
		      compiler_rules(filter);
	return ret;
}

/*
 * Code of the guest runs here: what names a process names this one, and what
 * vcs_sandbox_detach() and vcs_sandbox_enter() have set stays set.
 */
static int self_only(scmp_filter_ctx filter)
{
	static const int calls[] = {
		CALL(kill), CALL(tgkill), CALL(rt_sigqueueinfo),
		CALL(rt_tgsigqueueinfo),
	};
	static const int options[] = {
		PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER,
	};
	scmp_datum_t pid = (scmp_datum_t)getpid();
	int ret = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls) && !ret; i++)
		ret = refuse_if(filter, EPERM, calls[i],
				SCMP_A0(SCMP_CMP_NE, pid));
	/* 0 is the caller; glibc uses nothing else. */
	if (!ret)
		ret = refuse_if(filter, EPERM, CALL(prlimit64),
				SCMP_A0(SCMP_CMP_NE, 0));
	for (i = 0; i < ARRAY_SIZE(options) && !ret; i++)
		ret = refuse_if(filter, EPERM, CALL(prctl),
				SCMP_A0(SCMP_CMP_EQ,
					(scmp_datum_t)options[i]));
	return ret;
}

static scmp_filter_ctx filter_new(uint32_t otherwise)
{
	scmp_filter_ctx filter = seccomp_init(otherwise);

	/*
	 * Calls of another ABI (i386, x32) have other numbers: none of them. And
	 * a tree of about two hundred rules instead of a list.
	 */
	if (filter && (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
					SCMP_ACT_KILL_PROCESS) ||
		       seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2))) {
		seccomp_release(filter);
		filter = NULL;
	}
	return filter;
}

int vcs_seccomp_enter(enum vcs_role role, bool gpu)
{
	scmp_filter_ctx filter;
	int ret = 0;

	if (role != VCS_ROLE_COMPILER) {
		filter = filter_new(SCMP_ACT_ALLOW);
		if (!filter)
			return -ENOMEM;
		ret = self_only(filter);
		if (!ret)
			ret = seccomp_load(filter);
		seccomp_release(filter);
	}
	if (!ret && role != VCS_ROLE_BUILDER) {
		filter = filter_new(SCMP_ACT_ERRNO(ENOSYS));
		if (!filter)
			return -ENOMEM;
		ret = listed_only(filter, role, gpu);
		if (!ret)
			ret = seccomp_load(filter);
		seccomp_release(filter);
	}
	return ret;
}
