/* SPDX-License-Identifier: MIT */
/*
 * The processes of a context: worker and, where programs are compiled, helper
 */
#ifndef VCS_CHILDREN_H
#define VCS_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "vcs_config.h"
#include "vcs_stats.h"

/*
 * What a worker does in its sandbox. @sock is the descriptor it was started
 * with, @compiler its end of the helper's pair or -1, @stats what it counts. The
 * return value, 0 or a negative errno, becomes the exit status 0 or 1.
 */
typedef int (*vcs_worker_fn)(int sock, int compiler,
			     const struct vcs_config *cfg,
			     struct vcs_stats *stats);

/**
 * struct vcs_children - a context's processes
 * @worker: pid, 0 once it was reaped
 * @helper: pid, 0 once it was reaped, or if there is none
 * @pidfd: of the worker, or -1
 * @stats: what the worker counts
 * @name: their directory below cfg->scratch, and part of their cgroup's
 */
struct vcs_children {
	pid_t worker;
	pid_t helper;
	int pidfd;
	struct vcs_stats *stats;
	char name[32];
};

/*
 * Start them, the helper first. @sock stays the caller's, @role is what their
 * messages call them. Returns 0 or a negative errno; nothing is left then.
 */
int vcs_children_start(struct vcs_children *c, const struct vcs_config *cfg,
		       int sock, vcs_worker_fn worker, const char *role);

/* SIGKILL to those that were not reaped, and to what the helper has started. */
void vcs_children_kill(const struct vcs_children *c);

/* After all were reaped: closes @pidfd, unmaps @stats, removes cgroup and directory. */
void vcs_children_cleanup(struct vcs_children *c, const struct vcs_config *cfg);

/*
 * All of it: kill, wait, clean up. @status gets the worker's wait status and may
 * be NULL.
 */
void vcs_children_stop(struct vcs_children *c, const struct vcs_config *cfg,
		       int *status);

/**
 * vcs_kill_strays() - kill what other processes have left to this subreaper
 * @keep: tells which children are to live; NULL: none
 * @arg: for it
 *
 * Nothing is reaped, and children of strays are children of this process only
 * then. Does nothing on a kernel that does not tell its children.
 *
 * Returns: how many were sent SIGKILL
 */
unsigned int vcs_kill_strays(bool (*keep)(const void *arg, pid_t pid),
			     const void *arg);

#endif /* VCS_CHILDREN_H */
