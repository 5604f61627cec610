/* SPDX-License-Identifier: MIT */
/*
 * What a worker and a compile helper may do
 */
#ifndef VCS_SANDBOX_H
#define VCS_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "vcs_config.h"

enum vcs_role {
	VCS_ROLE_WORKER,	/* guest memory; makes no process and no file */
	VCS_ROLE_COMPILER,	/* compile helper: starts and ends builders */
	VCS_ROLE_BUILDER,	/* its child, one per build: may run the linker */
};

/*
 * Close every descriptor but stderr and the @nr_keep ones in @keep, point stdin
 * and stdout to /dev/null, and die with @parent. The first thing after fork().
 */
int vcs_sandbox_detach(pid_t parent, const int *keep, unsigned int nr_keep);

/*
 * Give up for good what @role does not need. To be called while the process has
 * a single thread and before code of the guest runs in it. A builder adds to what
 * its parent gave up. @dir is the private directory. Nothing is undone after an
 * error: the caller exits.
 */
int vcs_sandbox_enter(const struct vcs_config *cfg, enum vcs_role role,
		      const char *dir);

#endif /* VCS_SANDBOX_H */
