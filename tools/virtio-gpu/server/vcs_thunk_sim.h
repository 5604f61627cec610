/* SPDX-License-Identifier: MIT */
/*
 * A thunk without a GPU
 */
#ifndef VCS_THUNK_SIM_H
#define VCS_THUNK_SIM_H

#include "vcs_thunk.h"

/* What it calls its GPU. */
#define VCS_SIM_DEVICE	"gfx1030 (simulated)"

/* NULL when out of memory. */
struct vcs_thunk *vcs_thunk_sim_open(void);

#endif /* VCS_THUNK_SIM_H */
