/* SPDX-License-Identifier: MIT */
/*
 * The signals that the server waits for
 */
#ifndef VCS_SIGNALS_H
#define VCS_SIGNALS_H

/*
 * Have SIGCHLD, SIGINT, SIGTERM and SIGUSR1 read from a descriptor instead of
 * delivered. Returns it, not blocking, or a negative errno.
 */
int vcs_signals_block(void);

/*
 * Wait until @fd is readable, for @timeout_ms (-1: for ever) from the last
 * SIGCHLD or SIGUSR1 on. Returns 1, 0 after that time, -ECANCELED when there is
 * another signal in @signals, or the error of poll().
 */
int vcs_signals_wait(int signals, int fd, int timeout_ms);

#endif /* VCS_SIGNALS_H */
