/* SPDX-License-Identifier: MIT */
/*
 * What every process of the server knows; settled before the first context
 */
#ifndef VCS_CONFIG_H
#define VCS_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vcs_limits.h"

/* Groups of the workers' user that are kept; a user is rarely in more. */
#define VCS_MAX_GROUPS		64

struct vcs_service;

/**
 * struct vcs_config - options and what follows from them
 * @service: --backend
 * @compiler: a context has a compile helper
 * @device: --device, or NULL
 * @device_index: the device among those that match, settled by the probe
 * @cpu: it is one, whose driver needs no device node, settled by the probe
 * @sandbox: not --sandbox=off
 * @drop: the server was started as root: workers become @uid and @gid
 * @uid: workers' user
 * @gid: workers' group
 * @nr_groups: number of @groups
 * @groups: workers' supplementary groups (a GPU's device nodes need one)
 * @scratch: directory that the server made for the workers' private ones
 * @build_timeout_ms: how long a compile may take, in milliseconds
 * @limits: of each context
 * @doorbells: QEMU shows doorbells to the guest, settled by its HELLO
 * @cgroup: --cgroup, or NULL
 * @memory_max: bytes of a context's cgroup
 * @pids_max: processes and threads of a context's cgroup
 * @server: pid
 */
struct vcs_config {
	const struct vcs_service *service;
	bool compiler;
	const char *device;
	unsigned int device_index;
	bool cpu;
	bool sandbox;
	bool drop;
	uid_t uid;
	gid_t gid;
	int nr_groups;
	gid_t groups[VCS_MAX_GROUPS];
	char scratch[PATH_MAX];
	int build_timeout_ms;
	struct vcs_limits limits;
	bool doorbells;
	const char *cgroup;
	uint64_t memory_max;
	unsigned int pids_max;
	pid_t server;
};

#endif /* VCS_CONFIG_H */
