// SPDX-License-Identifier: MIT
/*
 * The kinds of contexts that this server has
 */
#include <stddef.h>
#include <string.h>

#include "vcs_service.h"

static const struct vcs_service * const services[] = {
	&vcs_service_opencl,
	&vcs_service_hsakmt,
	&vcs_service_sim,
};

const struct vcs_service *vcs_service_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (!strcmp(name, services[i]->name))
			return services[i];
	return NULL;
}
