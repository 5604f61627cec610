/* SPDX-License-Identifier: MIT */
/*
 * A thunk that is AMD's libhsakmt, and the GPUs of this machine
 */
#ifndef VCS_THUNK_HSAKMT_H
#define VCS_THUNK_HSAKMT_H

#include <stddef.h>

#include "vcs_thunk.h"

/*
 * Open KFD. In a process that has no other thunk, and before its arena: the
 * library reserves addresses of its own, which will not be the arena's.
 *
 * Returns 0; -ENOENT: there is no library; -EPROTO: not one that is known;
 * -ENODEV: there is no KFD or no GPU; -EACCES: this user must not use it; or
 * another negative errno. @why is one sentence, which says what to do.
 */
int vcs_thunk_hsakmt_open(struct vcs_thunk **thunk, char *why, size_t size);

#endif /* VCS_THUNK_HSAKMT_H */
