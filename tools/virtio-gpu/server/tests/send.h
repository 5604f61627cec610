/* SPDX-License-Identifier: MIT */
/*
 * Sending descriptors, well or badly
 */
#ifndef TESTS_SEND_H
#define TESTS_SEND_H

#include <stddef.h>
#include <sys/types.h>

/* Most descriptors: more than the protocol allows. */
#define SEND_MAX_FDS	16

/* sendmsg() of @len bytes with @nr_fds descriptors, and what that returns. */
ssize_t send_with_fds(int sock, const void *data, size_t len, const int *fds,
		      unsigned int nr_fds, int flags);

#endif /* TESTS_SEND_H */
