// SPDX-License-Identifier: MIT
/*
 * COMPUTE contexts on OpenCL
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/virtio_gpu_compute.h>

#include "vcs_backend_opencl.h"
#include "vcs_context_compute.h"
#include "vcs_log.h"
#include "vcs_probe.h"
#include "vcs_service.h"
#include "vcs_worker.h"

static void explain_probe(const struct vcs_config *cfg, int error)
{
	if (error == -ENODEV && cfg->device)
		vcs_err("no OpenCL device matches --device=%s", cfg->device);
	else if (error == -ENODEV)
		vcs_err("no OpenCL device; install the package pocl-opencl-icd, or a driver for yours");
	else if (error == -ENXIO)
		vcs_err("every OpenCL device was refused, see --log-level=warn for the reasons; the package pocl-opencl-icd has one that works");
	else if (error == -ECHILD)
		vcs_err("cannot probe for devices: no worker can be started");
	else
		vcs_err("cannot probe for devices: %s", strerror(-error));
}

static int probe(struct vcs_config *cfg, int signals,
		 struct vcs_service_info *info)
{
	struct vcs_device_info dev;
	int ret;

	ret = vcs_probe(cfg, signals, &dev);
	if (ret) {
		if (ret != -ECANCELED)
			explain_probe(cfg, ret);
		return ret;
	}
	snprintf(info->device, sizeof(info->device), "%s", dev.device);
	if (dev.is_cpu)
		info->warning = "on a CPU, kernels are native code of the worker: the host is protected from the guest, but a guest's users are not from each other's kernels";
	return 0;
}

static void get_capset(const struct vcs_config *cfg,
		       struct vgpu_msg_capset *capset)
{
	const struct virtio_gpu_compute_capset data = {
		.wire_version = VIRTIO_GPU_COMPUTE_WIRE_VERSION,
		.max_submit = VIRTIO_GPU_COMPUTE_MAX_SUBMIT,
		.max_args = VIRTIO_GPU_COMPUTE_MAX_ARGS,
		.max_programs = cfg->limits.max_programs,
		.max_resources = cfg->limits.max_resources,
		.backend = "opencl",
	};

	capset->id = VIRTIO_GPU_CAPSET_COMPUTE;
	capset->max_version = VIRTIO_GPU_COMPUTE_WIRE_VERSION;
	capset->size = sizeof(data);
	memcpy(capset->data, &data, sizeof(data));
}

static int worker(int sock, int compiler, const struct vcs_config *cfg,
		  struct vcs_stats *stats)
{
	struct vcs_map_budget budget;
	struct vcs_context *ctx;
	struct vcs_backend *be;
	int ret;

	ret = vcs_backend_opencl_open(cfg, compiler, &be);
	if (ret)
		return ret;
	ret = vcs_map_budget_init(&budget);
	if (ret)
		goto out;
	ctx = vcs_compute_create(be, &cfg->limits, stats, &budget);
	if (!ctx) {
		ret = -EIO;
		goto out;
	}
	ret = vcs_worker_serve(sock, ctx, &budget);
	ctx->ops->destroy(ctx);
out:
	vcs_backend_opencl_close(be);
	return ret;
}

static const char *cmd_name(uint64_t cmd)
{
	switch (cmd) {
	case VIRTIO_GPU_COMPUTE_BUILD:
		return "BUILD";
	case VIRTIO_GPU_COMPUTE_LAUNCH:
		return "LAUNCH";
	}
	return NULL;
}

const struct vcs_service vcs_service_opencl = {
	.name = "opencl",
	.compiles = true,
	.has_devices = true,
	.probe = probe,
	.get_capset = get_capset,
	.worker = worker,
	.cmd_name = cmd_name,
};
