/* SPDX-License-Identifier: MIT */
/*
 * Which device works on windows themselves?
 */
#ifndef VCS_PROBE_H
#define VCS_PROBE_H

#include "vcs_backend.h"
#include "vcs_config.h"

/*
 * Try the devices that match cfg->device, in a sandboxed worker each, until one
 * passes; sets cfg->device_index, cfg->cpu and @info. The refused ones are
 * logged with the reason. Returns 0; -ENODEV when there is no device, -ENXIO
 * when all are refused, -ECANCELED when the signalfd @signals has one that is
 * not SIGCHLD, -ECHILD when no worker can be had, as it has logged, or another
 * negative errno.
 */
int vcs_probe(struct vcs_config *cfg, int signals,
	      struct vcs_device_info *info);

#endif /* VCS_PROBE_H */
