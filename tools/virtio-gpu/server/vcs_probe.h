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
 * passes; sets cfg->device_index and @info. The refused ones are logged with
 * the reason. Returns 0; -ENODEV when there is no device, -ENXIO when all are
 * refused, or another negative errno.
 */
int vcs_probe(struct vcs_config *cfg, struct vcs_device_info *info);

#endif /* VCS_PROBE_H */
