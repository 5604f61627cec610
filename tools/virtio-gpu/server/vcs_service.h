/* SPDX-License-Identifier: MIT */
/*
 * What --backend names: a kind of context that this server has, and all that
 * the spawner needs to know of it
 */
#ifndef VCS_SERVICE_H
#define VCS_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "hw/virtio/virtio-gpu-compute-proto.h"

#include "vcs_children.h"
#include "vcs_config.h"

/**
 * struct vcs_service_info - what is found out when the server starts
 * @device: what contexts compute on, NUL-terminated
 * @warning: for who has started the server, or NULL
 */
struct vcs_service_info {
	char device[128];
	const char *warning;
};

/**
 * struct vcs_service - a kind of context
 * @name: in --backend, and told to QEMU
 * @compiles: a context has a compile helper
 * @has_devices: --device chooses one
 * @probe: settle @cfg and find out @info. Returns 0, -ECANCELED when a signal
 *	came first, or another error, which it has explained.
 * @get_capset: what the guest is told; zeroed before
 * @worker: what the process of a context does
 * @cmd_name: of what it may execute for long, or NULL
 */
struct vcs_service {
	const char *name;
	bool compiles;
	bool has_devices;
	int (*probe)(struct vcs_config *cfg, int signals,
		     struct vcs_service_info *info);
	void (*get_capset)(const struct vcs_config *cfg,
			   struct vgpu_msg_capset *capset);
	vcs_worker_fn worker;
	const char *(*cmd_name)(uint64_t cmd);
};

extern const struct vcs_service vcs_service_hsakmt;
extern const struct vcs_service vcs_service_opencl;
extern const struct vcs_service vcs_service_sim;

/* NULL for an unknown name. */
const struct vcs_service *vcs_service_find(const char *name);

#endif /* VCS_SERVICE_H */
