// SPDX-License-Identifier: MIT
/*
 * Checks of a thunk: a process for each, and what is reported of it
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vcs_check.h"

/* Of one check; more is a library that prints in a loop. */
#define MAX_LINES	200

/* To die of SIGKILL, once the kernel lets it. */
#define KILL_MS		5000

/* Why a check was skipped: from its process. */
static char (*skip_why)[256];

/**
 * struct lines - what a check prints, as diagnostics
 * @out: where to
 * @fd: where from
 * @text: begin of a line
 * @len: bytes of it
 * @nr: lines so far
 */
struct lines {
	FILE *out;
	int fd;
	char text[512];
	size_t len;
	unsigned int nr;
};

uint64_t vcs_check_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

const char *vcs_check_errno(int err)
{
	const char *name;

	if (!err)
		return "success";
	name = strerrorname_np(abs(err));
	return name ? name : "an unknown error";
}

enum vcs_check_result vcs_check_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	return VCS_CHECK_FAILED;
}

enum vcs_check_result vcs_check_skipped(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(*skip_why, sizeof(*skip_why), fmt, ap);
	va_end(ap);
	return VCS_CHECK_SKIPPED;
}

static void end_line(struct lines *l)
{
	if (l->nr++ < MAX_LINES)
		fprintf(l->out, "# %.*s\n", (int)l->len, l->text);
	else if (l->nr == MAX_LINES + 1)
		fprintf(l->out, "# (more is not shown)\n");
	l->len = 0;
}

/* What is there; true: there may be more. */
static bool read_lines(struct lines *l)
{
	char buf[1024];
	ssize_t n, i;

	n = read(l->fd, buf, sizeof(buf));
	if (n <= 0)
		return n < 0 && errno == EINTR;
	for (i = 0; i < n; i++) {
		if (buf[i] == '\n' || l->len == sizeof(l->text))
			end_line(l);
		if (buf[i] != '\n')
			l->text[l->len++] = isprint((unsigned char)buf[i]) ?
					    buf[i] : '?';
	}
	return true;
}

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Time left, for poll(). */
static int left(uint64_t end)
{
	uint64_t now = vcs_check_now();

	return now < end ? (int)(end - now) : 0;
}

/* Until the process is dead, or it is late: false. */
static bool wait_dead(int pidfd, struct lines *l, unsigned int ms)
{
	uint64_t end = vcs_check_now() + ms;
	struct pollfd p[2] = {
		{ .fd = pidfd, .events = POLLIN },
		{ .fd = l ? l->fd : -1, .events = POLLIN },
	};

	for (;;) {
		int n = poll(p, 2, left(end));

		if (n < 0 && errno != EINTR)
			return false;
		if (n <= 0) {
			if (!left(end))
				return false;
			continue;
		}
		if (p[1].revents && !read_lines(l))
			p[1].fd = -1;
		if (p[0].revents)
			return true;
		if (!left(end))
			return false;
	}
}

int vcs_check_part(enum vcs_check_result (*run)(const struct vcs_check_env *env,
						void *data),
		   const struct vcs_check_env *env, void *data,
		   unsigned int limit_ms)
{
	bool dead = false;
	int pidfd, status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		enum vcs_check_result result;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		result = run(env, data);
		fflush(stdout);
		_exit(result);
	}
	pidfd = pidfd_of(pid);
	if (pidfd >= 0) {
		dead = wait_dead(pidfd, NULL, limit_ms);
		close(pidfd);
	}
	if (!dead)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return dead ? status : -ETIMEDOUT;
}

static void __attribute__((noreturn))
child(const struct vcs_check *check, const struct vcs_check_env *env, int fd)
{
	enum vcs_check_result result;

	/* Whatever it starts ends with it, and it with us. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(VCS_CHECK_FAILED);
	setvbuf(stdout, NULL, _IOLBF, 0);
	result = check->run(env);
	fflush(stdout);
	_exit(result);
}

static enum vcs_check_result judge(int status, FILE *out)
{
	if (WIFSIGNALED(status)) {
		fprintf(out, "# killed by SIG%s (%s)\n",
			sigabbrev_np(WTERMSIG(status)),
			strsignal(WTERMSIG(status)));
		return VCS_CHECK_FAILED;
	}
	switch (WEXITSTATUS(status)) {
	case VCS_CHECK_OK:
	case VCS_CHECK_FAILED:
	case VCS_CHECK_SKIPPED:
		return (enum vcs_check_result)WEXITSTATUS(status);
	}
	fprintf(out, "# the process has ended in the middle, with exit code %d\n",
		WEXITSTATUS(status));
	return VCS_CHECK_FAILED;
}

static enum vcs_check_result watch(pid_t pid, struct lines *l,
				   const struct vcs_check_env *env)
{
	int pidfd = pidfd_of(pid), status = 0;
	bool in_time, dead;

	if (pidfd < 0) {
		fprintf(l->out, "# pidfd_open: %s\n", strerror(errno));
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return VCS_CHECK_FAILED;
	}
	in_time = wait_dead(pidfd, l, env->limit_ms);
	/* What it has left behind, too: the group is there until waitpid(). */
	if (kill(-pid, SIGKILL))
		kill(pid, SIGKILL);
	dead = in_time || wait_dead(pidfd, l, KILL_MS);
	close(pidfd);
	if (dead)
		waitpid(pid, &status, 0);
	while (read_lines(l))
		;
	if (l->len)
		end_line(l);
	if (!in_time)
		fprintf(l->out, "# not done after %g seconds\n",
			env->limit_ms / 1000.0);
	if (!dead)
		fprintf(l->out, "# and does not die: it hangs in the kernel, see dmesg; pid %d\n",
			pid);
	return in_time ? judge(status, l->out) : VCS_CHECK_FAILED;
}

static void print_result(const struct vcs_check *check, unsigned int number,
			 enum vcs_check_result result, const char *why, FILE *out)
{
	fprintf(out, "%sok %u - %s: %s", result == VCS_CHECK_FAILED ? "not " : "",
		number, check->name, check->what);
	if (result == VCS_CHECK_SKIPPED)
		fprintf(out, " # SKIP %s", why);
	fprintf(out, "\n");
	fflush(out);
}

enum vcs_check_result vcs_check_run(const struct vcs_check *check,
				    const struct vcs_check_env *env,
				    unsigned int number, FILE *out)
{
	enum vcs_check_result result = VCS_CHECK_FAILED;
	struct lines l = { .out = out };
	int fds[2];
	pid_t pid;

	skip_why = mmap(NULL, sizeof(*skip_why), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (skip_why == MAP_FAILED || pipe2(fds, O_CLOEXEC)) {
		fprintf(out, "# cannot begin: %s\n", strerror(errno));
		goto out;
	}
	/* Only ours: who writes may wait for us. */
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	fflush(out);
	pid = fork();
	if (!pid)
		child(check, env, fds[1]);
	close(fds[1]);
	l.fd = fds[0];
	if (pid > 0) {
		/* By both, so that it is done whoever runs first. */
		setpgid(pid, pid);
		result = watch(pid, &l, env);
	} else {
		fprintf(out, "# cannot fork: %s\n", strerror(errno));
	}
	close(fds[0]);
out:
	print_result(check, number, result,
		     skip_why == MAP_FAILED ? "" : *skip_why, out);
	if (skip_why != MAP_FAILED)
		munmap(skip_why, sizeof(*skip_why));
	return result;
}

void vcs_check_skip(const struct vcs_check *check, unsigned int number,
		    const char *why, FILE *out)
{
	print_result(check, number, VCS_CHECK_SKIPPED, why, out);
}
