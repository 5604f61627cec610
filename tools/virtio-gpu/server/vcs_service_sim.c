// SPDX-License-Identifier: MIT
/*
 * ROCM contexts on a simulated GPU
 */
#include <errno.h>
#include <stdio.h>

#include "vcs_service.h"
#include "vcs_service_rocm.h"
#include "vcs_thunk_sim.h"

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

static int worker(int sock, int compiler, const struct vcs_config *cfg,
		  struct vcs_stats *stats)
{
	struct vcs_thunk *thunk;
	int ret;

	(void)compiler;
	thunk = vcs_thunk_sim_open();
	if (!thunk)
		return -ENOMEM;
	ret = vcs_service_rocm_serve(sock, thunk, cfg, stats);
	thunk->ops->close(thunk);
	return ret;
}

const struct vcs_service vcs_service_sim = {
	.name = "sim",
	.probe = probe,
	.get_capset = vcs_service_rocm_get_capset,
	.worker = worker,
	.cmd_name = vcs_service_rocm_cmd_name,
};
