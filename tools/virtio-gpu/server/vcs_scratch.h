/* SPDX-License-Identifier: MIT */
/*
 * Private directories: one for the server, one below it for each context
 */
#ifndef VCS_SCRATCH_H
#define VCS_SCRATCH_H

#include <stdbool.h>

#include "vcs_config.h"

/* Make cfg->scratch below $TMPDIR or /tmp. */
int vcs_scratch_create(struct vcs_config *cfg);
void vcs_scratch_destroy(const struct vcs_config *cfg);

/* A directory below it that belongs to the workers' user. */
int vcs_scratch_create_ctx(const struct vcs_config *cfg, const char *name);
void vcs_scratch_destroy_ctx(const struct vcs_config *cfg, const char *name);

/*
 * Remove the files below @path that @match selects; with @match NULL all of
 * them, the directories and @path itself. Follows no symbolic link. Returns 0
 * or the first error.
 */
int vcs_remove_files(const char *path, bool (*match)(const char *name));

#endif /* VCS_SCRATCH_H */
