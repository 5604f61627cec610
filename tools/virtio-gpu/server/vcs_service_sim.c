// SPDX-License-Identifier: MIT
/*
 * ROCM contexts on a simulated GPU
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_context_rocm.h"
#include "vcs_service.h"
#include "vcs_thunk_sim.h"
#include "vcs_worker.h"

static int probe(struct vcs_config *cfg, int signals,
		 struct vcs_service_info *info)
{
	(void)signals;
	/* No driver: no device node, and no memory but the process's own. */
	cfg->cpu = true;
	snprintf(info->device, sizeof(info->device), VCS_SIM_DEVICE);
	info->warning = "there is no GPU: programs find one and register memory with it, but it runs no kernel";
	return 0;
}

static void get_capset(const struct vcs_config *cfg,
		       struct vgpu_msg_capset *capset)
{
	const struct virtio_gpu_rocm_capset data = {
		.wire_format_version = 1,
		.version_major = 1,
		.context_type = VIRTIO_GPU_ROCM_CONTEXT_TYPE,
	};

	(void)cfg;
	capset->id = VIRTIO_GPU_CAPSET_ROCM;
	capset->max_version = VIRTIO_GPU_ROCM_CAPSET_VERSION;
	capset->size = sizeof(data);
	memcpy(capset->data, &data, sizeof(data));
}

static int worker(int sock, int compiler, const struct vcs_config *cfg,
		  struct vcs_stats *stats)
{
	struct vcs_map_budget budget;
	struct vcs_context *ctx;
	struct vcs_thunk *thunk;
	int ret;

	(void)compiler;
	thunk = vcs_thunk_sim_open();
	if (!thunk)
		return -ENOMEM;
	ret = vcs_map_budget_init(&budget);
	if (ret)
		goto out;
	ctx = vcs_rocm_create(thunk, &cfg->limits, cfg->doorbells, stats,
			      &budget);
	if (!ctx) {
		ret = -EIO;
		goto out;
	}
	ret = vcs_worker_serve(sock, ctx, &budget);
	ctx->ops->destroy(ctx);
out:
	thunk->ops->close(thunk);
	return ret;
}

static const char *cmd_name(uint64_t cmd)
{
	switch (cmd) {
	case VIRTIO_GPU_ROCM_MEMORY:
		return "MEMORY";
	case VIRTIO_GPU_ROCM_SIM_ACCESS:
		return "SIM_ACCESS";
	}
	return NULL;
}

const struct vcs_service vcs_service_sim = {
	.name = "sim",
	.probe = probe,
	.get_capset = get_capset,
	.worker = worker,
	.cmd_name = cmd_name,
};
