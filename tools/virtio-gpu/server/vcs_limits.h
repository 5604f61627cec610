/* SPDX-License-Identifier: MIT */
/*
 * What one context may have. Who sets up a host may want other numbers; limits
 * that are the same for all stand where they are used. All of them are in
 * Documentation/gpu/virtio-gpu-compute.rst.
 */
#ifndef VCS_LIMITS_H
#define VCS_LIMITS_H

#include <stdint.h>

/* A worker's own memory for a resource or program is a few KiB at least. */
#define VCS_MAX_RESOURCES	16384
#define VCS_MAX_PROGRAMS	256
/*
 * The memory is the guest's, but page tables for it are the host's: half a GiB
 * for this, and a page can be registered any number of times.
 */
#define VCS_MAX_REGISTERED	(256ULL << 30)

/**
 * struct vcs_limits - of a context
 * @max_resources: resources at a time, the shared blob included
 * @max_programs: programs at a time
 * @max_registered: bytes of all resources
 */
struct vcs_limits {
	uint32_t max_resources;
	uint32_t max_programs;
	uint64_t max_registered;
};

#define VCS_LIMITS_DEFAULT {				\
	.max_resources = VCS_MAX_RESOURCES,		\
	.max_programs = VCS_MAX_PROGRAMS,		\
	.max_registered = VCS_MAX_REGISTERED,		\
}

#endif /* VCS_LIMITS_H */
