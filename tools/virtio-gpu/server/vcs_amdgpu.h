/* SPDX-License-Identifier: MIT */
/*
 * What amdgpu says of a GPU, and KFD does not
 */
#ifndef VCS_AMDGPU_H
#define VCS_AMDGPU_H

#include <stdint.h>

#include "vcs_thunk.h"

/*
 * Ask the GPU of /dev/dri/renderD@minor. Returns 0; -ENODEV: it is not
 * amdgpu's; or another negative errno. @info is as it was then.
 */
int vcs_amdgpu_info(int32_t minor, struct vcs_thunk_gpu_info *info);

#endif /* VCS_AMDGPU_H */
