/* SPDX-License-Identifier: MIT */
/*
 * Find out about devices, in processes that are set up like workers
 */
#ifndef VCS_PROBE_H
#define VCS_PROBE_H

#include <stddef.h>

#include "vcs_backend.h"
#include "vcs_children.h"
#include "vcs_config.h"

/*
 * Have @worker, which sends @size bytes and ends, find out something in a process
 * of its own; they are then in @report. Returns 0, or -ETIMEDOUT: it has sent
 * nothing in @timeout_ms milliseconds; -EIO: it has died of @signal before; -ECHILD:
 * no worker can be had, as it has logged; -ECANCELED when the signalfd @signals has
 * one that is not SIGCHLD, or another negative errno.
 */
int vcs_probe_child(const struct vcs_config *cfg, int signals,
		    vcs_worker_fn worker, void *report, size_t size,
		    int timeout_ms, int *signal);

/*
 * Which device works on windows themselves? Try the devices that match cfg->device, in a sandboxed worker each, until one
 * passes; sets cfg->device_index, cfg->cpu and @info. The refused ones are
 * logged with the reason. Returns 0; -ENODEV when there is no device, -ENXIO
 * when all are refused, -ECANCELED when the signalfd @signals has one that is
 * not SIGCHLD, -ECHILD when no worker can be had, as it has logged, or another
 * negative errno.
 */
int vcs_probe(struct vcs_config *cfg, int signals,
	      struct vcs_device_info *info);

#endif /* VCS_PROBE_H */
