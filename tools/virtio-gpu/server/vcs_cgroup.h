/* SPDX-License-Identifier: MIT */
/*
 * A control group (v2) for the processes of each context
 *
 * Where the server was given a cgroup to make others in (--cgroup). Limits of a
 * process (vcs_sandbox.c) hold in any case, but know nothing of several
 * processes, of memory that is shared or of page tables.
 *
 * What is charged here is what these processes are the first to touch: their own
 * memory, page tables also for guest memory, what a compiler writes to a tmpfs.
 * Guest memory itself was zeroed by the guest before it could be registered, and
 * is charged to QEMU.
 */
#ifndef VCS_CGROUP_H
#define VCS_CGROUP_H

#include <stdbool.h>

#include "vcs_config.h"

/* Unless told otherwise: a builder and a worker at their own limits. */
#define VCS_MEMORY_MAX		(8ULL << 30)
/* Each of three processes may have a driver with threads for every CPU. */
#define VCS_PIDS_MAX		1024

/*
 * All of them do nothing without cfg->cgroup. @name is the context's, as of
 * vcs_children.
 */

/* Have the controllers in there. 0, or a negative errno after a message. */
int vcs_cgroup_setup(const struct vcs_config *cfg);

/* Make the context's cgroup, with its limits. 0 or a negative errno. */
int vcs_cgroup_create(const struct vcs_config *cfg, const char *name);

/* Move this process, which has one thread, into it. */
int vcs_cgroup_join(const struct vcs_config *cfg, const char *name);

/* Was a process in it killed because of its limit? */
bool vcs_cgroup_out_of_memory(const struct vcs_config *cfg, const char *name);

/* Kill what is left in it, and remove it. */
void vcs_cgroup_destroy(const struct vcs_config *cfg, const char *name);

#endif /* VCS_CGROUP_H */
