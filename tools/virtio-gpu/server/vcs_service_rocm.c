// SPDX-License-Identifier: MIT
/*
 * What the services with ROCM contexts have in common
 */
#include <errno.h>
#include <string.h>

#include <linux/virtio_gpu_rocm.h>

#include "hw/virtio/virtio-gpu-compute-proto.h"

#include "vcs_context_rocm.h"
#include "vcs_service_rocm.h"
#include "vcs_worker.h"

void vcs_service_rocm_get_capset(const struct vcs_config *cfg,
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

int vcs_service_rocm_serve(int sock, struct vcs_thunk *thunk,
			   const struct vcs_config *cfg, struct vcs_stats *stats)
{
	struct vcs_map_budget budget;
	struct vcs_context *ctx;
	int ret;

	ret = vcs_map_budget_init(&budget);
	if (ret)
		return ret;
	ctx = vcs_rocm_create(thunk, &cfg->limits, cfg->doorbells, stats,
			      &budget);
	if (!ctx)
		return -EIO;
	ret = vcs_worker_serve(sock, ctx, &budget);
	ctx->ops->destroy(ctx);
	return ret;
}

const char *vcs_service_rocm_cmd_name(uint64_t cmd)
{
	switch (cmd) {
	case VIRTIO_GPU_ROCM_MEMORY:
		return "MEMORY";
	case VIRTIO_GPU_ROCM_QUEUE:
		return "QUEUE";
	case VIRTIO_GPU_ROCM_SIM_ACCESS:
		return "SIM_ACCESS";
	}
	return NULL;
}
