/* SPDX-License-Identifier: MIT */
/*
 * Spawner: QEMU's control connection, and the processes of its contexts
 */
#ifndef VCS_SPAWNER_H
#define VCS_SPAWNER_H

#include "vcs_config.h"

/*
 * Serve QEMU on @control until it closes it, or until @signals, a signalfd for
 * vcs_signals_block(), has SIGINT or SIGTERM; SIGUSR1 there has it tell what it
 * has. What QEMU says of itself goes to @cfg. No process of a context is left
 * when it returns: 0, or a negative errno when the connection broke.
 */
int vcs_spawner_run(int control, int signals, struct vcs_config *cfg);

#endif /* VCS_SPAWNER_H */
