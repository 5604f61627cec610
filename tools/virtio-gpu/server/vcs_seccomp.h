/* SPDX-License-Identifier: MIT */
/*
 * Which system calls a worker and a compile helper can make
 */
#ifndef VCS_SECCOMP_H
#define VCS_SECCOMP_H

#include <stdbool.h>

#include "vcs_sandbox.h"

/*
 * Have this process make only the system calls that @role needs from now on; a
 * builder adds to what its helper has. @gpu: the compute API drives a device.
 * Returns 0 or a negative errno, and then the process has to end.
 */
int vcs_seccomp_enter(enum vcs_role role, bool gpu);

#endif /* VCS_SECCOMP_H */
