/* SPDX-License-Identifier: MIT */
/*
 * Which files a worker and a compile helper can open
 */
#ifndef VCS_LANDLOCK_H
#define VCS_LANDLOCK_H

#include <stdbool.h>

/* Does this kernel have it, as of 5.19 or later? */
bool vcs_landlock_available(void);

/*
 * Leave what drivers need to read, and the private directory @dir; a @compiler
 * may write there and run system programs, and with a @gpu all device nodes can
 * be opened. Needs PR_SET_NO_NEW_PRIVS. Returns 0, also on a kernel without
 * Landlock, or a negative errno.
 */
int vcs_landlock_enter(const char *dir, bool compiler, bool gpu);

#endif /* VCS_LANDLOCK_H */
