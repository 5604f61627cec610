// SPDX-License-Identifier: MIT
/*
 * Spawner: QEMU's control connection, and the processes of its contexts
 *
 * The spawner is the trusted process: it loads no compute API, maps no guest
 * memory and reads nothing that a guest wrote but names; what workers count it
 * only prints. It makes a context's processes, hands the worker's pidfd to QEMU,
 * and cleans up after them.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vcs_cgroup.h"
#include "vcs_children.h"
#include "vcs_log.h"
#include "vcs_msg.h"
#include "vcs_service.h"
#include "vcs_spawner.h"

/* A context costs up to two processes and three descriptors here. */
#define VCS_MAX_CONTEXTS	256

/**
 * struct context - a context's processes
 * @next: in the spawner's list
 * @serial: what QEMU calls it
 * @role: what messages call it
 * @since: when it was made
 * @killed: because QEMU or this server said so
 * @children: its processes
 */
struct context {
	struct context *next;
	uint64_t serial;
	char role[80];
	uint64_t since;
	bool killed;
	struct vcs_children children;
};

struct spawner {
	struct vcs_config *cfg;
	int control;
	int signals;
	bool greeted;
	bool stop;
	uint32_t capset_id;
	unsigned int nr_contexts;
	struct context *contexts;
	struct vcs_msg msg;
};

/* For %llu: uint64_t is another type. */
static unsigned long long ull(uint64_t n)
{
	return n;
}

static struct context *find_context(struct spawner *s, uint64_t serial)
{
	struct context *ctx;

	for (ctx = s->contexts; ctx; ctx = ctx->next)
		if (ctx->serial == serial)
			return ctx;
	return NULL;
}

static int do_hello(struct spawner *s)
{
	struct {
		struct vgpu_msg_hello hello;
		struct vgpu_msg_capset capset;
	} answer = {
		.hello = {
			.hdr = {
				.type = VGPU_MSG_HELLO,
				.serial = s->msg.hdr.serial,
			},
			.version = VGPU_PROTO_VERSION,
		},
	};
	size_t size = sizeof(answer.hello);

	_Static_assert(sizeof(answer) == sizeof(answer.hello) +
		       sizeof(answer.capset), "no gap before the capset");

	snprintf(answer.hello.backend, sizeof(answer.hello.backend), "%s",
		 s->cfg->service->name);
	if (s->msg.hello.version == VGPU_PROTO_VERSION) {
		s->cfg->service->get_capset(s->cfg, &answer.capset);
		s->capset_id = answer.capset.id;
		answer.hello.nr_capsets = 1;
		s->cfg->doorbells = s->msg.hdr.flags & VGPU_MSG_F_DOORBELLS;
		size = sizeof(answer);
		s->greeted = true;
	} else {
		vcs_err("QEMU speaks version %u of the protocol, this server version %u; install the one that belongs to it",
			s->msg.hello.version, VGPU_PROTO_VERSION);
	}
	answer.hello.hdr.size = (uint32_t)size;
	return vcs_msg_send_stream(s->control, &answer, size);
}

/* The guest's name for it is text to others: nothing that ends the quotes. */
static void set_role(struct context *ctx, uint32_t ctx_id, const char *name)
{
	char *c;

	c = ctx->role + snprintf(ctx->role, sizeof(ctx->role), "context %u '",
				 ctx_id);
	snprintf(c, sizeof(ctx->role) - (size_t)(c - ctx->role), "%.*s'", 40,
		 name);
	for (; c[0] && c[1]; c++)
		if (*c < ' ' || *c > '~' || *c == '\'')
			*c = '?';
}

static void kill_context(struct context *ctx)
{
	ctx->killed = true;
	vcs_children_kill(&ctx->children);
}

static int start_context(struct spawner *s, int sock, struct context **out)
{
	const struct vgpu_msg_ctx_create *create = &s->msg.ctx_create;
	struct context *ctx;
	int ret;

	if (create->capset_id != s->capset_id)
		return -EINVAL;
	if (find_context(s, create->hdr.serial))
		return -EEXIST;
	if (s->nr_contexts >= VCS_MAX_CONTEXTS)
		return -EMFILE;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->serial = create->hdr.serial;
	ctx->since = vcs_stats_now();
	set_role(ctx, create->ctx_id, create->name);
	ret = vcs_children_start(&ctx->children, s->cfg, sock,
				 s->cfg->service->worker, ctx->role);
	if (ret) {
		free(ctx);
		return ret;
	}
	ctx->next = s->contexts;
	s->contexts = ctx;
	s->nr_contexts++;
	vcs_log_limited(VCS_LOG_INFO, "%s: begins, capset %u, pid %d",
			ctx->role, create->capset_id, ctx->children.worker);
	*out = ctx;
	return 0;
}

static void do_ctx_create(struct spawner *s)
{
	uint64_t serial = s->msg.hdr.serial;
	struct context *ctx = NULL;
	int sock = s->msg.fds[0];
	int error, ret;

	error = start_context(s, sock, &ctx);
	if (error)
		vcs_log_guest("context %u refused: %s",
			      s->msg.ctx_create.ctx_id, strerror(-error));
	ret = vcs_msg_send_done(sock, VGPU_MSG_CTX_READY, serial, error, 0,
				error ? -1 : ctx->children.pidfd);
	if (ret) {
		vcs_warn("context %u: cannot answer: %s",
			 s->msg.ctx_create.ctx_id, strerror(-ret));
		if (ctx)
			kill_context(ctx);
	}
	/* Its copy is QEMU's from now on. */
	if (ctx) {
		close(ctx->children.pidfd);
		ctx->children.pidfd = -1;
	}
}

static int do_message(struct spawner *s)
{
	struct context *ctx;
	int ret;

	ret = vcs_msg_check_control(&s->msg);
	if (ret)
		return ret;
	if (s->msg.hdr.type == VGPU_MSG_HELLO)
		return s->greeted ? -EBADMSG : do_hello(s);
	if (!s->greeted)
		return -EBADMSG;

	if (s->msg.hdr.type == VGPU_MSG_CTX_CREATE) {
		do_ctx_create(s);
	} else {	/* CTX_KILL, as checked */
		ctx = find_context(s, s->msg.hdr.serial);
		if (ctx)
			kill_context(ctx);
	}
	return 0;
}

/* Returns 0, 1 at the end of the connection, or an error. */
static int do_control(struct spawner *s)
{
	int ret;

	for (;;) {
		ret = vcs_msg_recv_stream(s->control, &s->msg);
		if (ret == -EAGAIN)
			return 0;
		if (ret == -ECONNRESET)
			return 1;
		if (ret <= 0)
			return ret ? ret : 1;
		ret = do_message(s);
		vcs_msg_close_fds(&s->msg);
		s->msg.len = 0;
		if (ret)
			return ret;
	}
}

static void log_worker_end(const struct spawner *s, const struct context *ctx,
			   int status)
{
	const struct vcs_stats *stats = ctx->children.stats;
	enum vcs_log_level level = VCS_LOG_WARN;
	const char *why = "its worker failed", *what = "";

	/* QEMU may kill what it has seen die, which is not why it died. */
	if (ctx->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		level = VCS_LOG_INFO;
		why = "it was killed";
	} else if (WIFSIGNALED(status) &&
		   vcs_cgroup_out_of_memory(s->cfg, ctx->children.name)) {
		why = "it was out of memory, see --memory-max";
	} else if (WIFSIGNALED(status)) {
		why = "its worker died: ";
		what = strsignal(WTERMSIG(status));
	} else if (!WEXITSTATUS(status)) {
		level = VCS_LOG_INFO;
		why = "it was closed";
	}
	vcs_log_limited(level, "%s: ends after %llu s, %s%s; pid %d, at most %llu bytes, %llu submissions",
			ctx->role, ull(vcs_stats_now() - ctx->since), why, what,
			ctx->children.worker,
			ull(vcs_stats_get(&stats->max_bytes)),
			ull(vcs_stats_get(&stats->submissions)));
}

static void log_helper_end(const struct context *ctx, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		vcs_log_guest("%s: compiler died: %s", ctx->role,
			      strsignal(WTERMSIG(status)));
	else
		vcs_dbg("%s: compiler ended, status 0x%x", ctx->role,
			(unsigned int)status);
}

static void log_context(const struct spawner *s, const struct context *ctx)
{
	const struct vcs_stats *stats = ctx->children.stats;
	uint64_t now = vcs_stats_now();
	uint64_t cmd = vcs_stats_get(&stats->cmd);
	const char *name = s->cfg->service->cmd_name(cmd);
	char does[64] = "idle";

	if (!ctx->children.worker)
		snprintf(does, sizeof(does), "ending");
	else if (cmd)
		snprintf(does, sizeof(does), "executes %s for %llu s",
			 name ? name : "a request",
			 ull(now - vcs_stats_get(&stats->since)));
	vcs_log(VCS_LOG_ANSWER, "%s: pid %d, %llu s, %llu resources of %llu bytes in %llu of %llu mappings, %llu programs, %llu submissions, %s",
		ctx->role, ctx->children.worker, ull(now - ctx->since),
		ull(vcs_stats_get(&stats->resources)),
		ull(vcs_stats_get(&stats->bytes)),
		ull(vcs_stats_get(&stats->mappings)),
		ull(vcs_stats_get(&stats->max_mappings)),
		ull(vcs_stats_get(&stats->programs)),
		ull(vcs_stats_get(&stats->submissions)), does);
}

static void log_state(const struct spawner *s)
{
	const struct vcs_limits *limits = &s->cfg->limits;
	const struct context *ctx;
	char programs[64] = "";

	if (s->cfg->service->compiles)
		snprintf(programs, sizeof(programs),
			 " and %u programs, and compile for %d s",
			 limits->max_programs, s->cfg->build_timeout_ms / 1000);
	vcs_log(VCS_LOG_ANSWER, "%u of %u contexts; each may have %u resources of %llu bytes%s",
		s->nr_contexts, VCS_MAX_CONTEXTS, limits->max_resources,
		ull(limits->max_registered), programs);
	if (s->cfg->cgroup)
		vcs_log(VCS_LOG_ANSWER, "each context has a cgroup in %s, with %llu bytes of memory and %u processes",
			s->cfg->cgroup, ull(s->cfg->memory_max),
			s->cfg->pids_max);
	for (ctx = s->contexts; ctx; ctx = ctx->next)
		log_context(s, ctx);
}

static bool is_of_a_context(const void *arg, pid_t pid)
{
	const struct spawner *s = arg;
	const struct context *ctx;

	for (ctx = s->contexts; ctx; ctx = ctx->next)
		if (pid == ctx->children.worker || pid == ctx->children.helper)
			return true;
	return false;
}

static void reaped(struct spawner *s, pid_t pid, int status)
{
	struct context **slot, *ctx;

	for (slot = &s->contexts; (ctx = *slot); slot = &ctx->next) {
		if (pid == ctx->children.worker) {
			log_worker_end(s, ctx, status);
			ctx->children.worker = 0;
			/* The helper has nobody left to work for. */
			vcs_children_kill(&ctx->children);
		} else if (pid == ctx->children.helper) {
			ctx->children.helper = 0;
			log_helper_end(ctx, status);
		} else {
			continue;
		}
		if (!ctx->children.worker && !ctx->children.helper) {
			*slot = ctx->next;
			s->nr_contexts--;
			vcs_children_cleanup(&ctx->children, s->cfg);
			free(ctx);
		}
		return;
	}
	/* Else one that a process has left behind. */
}

static void do_signals(struct spawner *s)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	while (read(s->signals, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo == SIGUSR1)
			log_state(s);
		else if (si.ssi_signo != SIGCHLD)
			s->stop = true;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		reaped(s, pid, status);
	/* The server is the subreaper of all: what they leave, it has now. */
	vcs_kill_strays(is_of_a_context, s);
}

static void stop_all(struct spawner *s)
{
	struct context *ctx;
	int status;
	pid_t pid;

	for (ctx = s->contexts; ctx; ctx = ctx->next)
		kill_context(ctx);
	/* Until there is no child left, adopted ones included. */
	for (;;) {
		vcs_kill_strays(is_of_a_context, s);
		pid = waitpid(-1, &status, 0);
		if (pid > 0)
			reaped(s, pid, status);
		else if (errno != EINTR)
			return;
	}
}

static int serve(struct spawner *s)
{
	struct pollfd pfd[2] = {
		{ .fd = s->control, .events = POLLIN },
		{ .fd = s->signals, .events = POLLIN },
	};
	int ret;

	while (!s->stop) {
		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		/*
		 * Always what QEMU has said first: a worker that it has killed is
		 * one that was killed, though both are seen at the same time.
		 */
		ret = do_control(s);
		if (pfd[1].revents)
			do_signals(s);
		if (ret)
			return ret < 0 ? ret : 0;
	}
	return 0;
}

int vcs_spawner_run(int control, int signals, struct vcs_config *cfg)
{
	struct spawner *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->cfg = cfg;
	s->control = control;
	s->signals = signals;
	ret = serve(s);
	if (ret)
		vcs_err("control connection with QEMU: %s", strerror(-ret));
	stop_all(s);
	vcs_msg_close_fds(&s->msg);
	free(s);
	return ret;
}
