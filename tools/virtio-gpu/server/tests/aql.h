/* SPDX-License-Identifier: MIT */
/*
 * Where things are in AMD's description of a queue, amd_queue_t, as tests lay it
 * out: from its begin, in bytes; signals, of 64 bytes each, are behind it
 */
#ifndef TESTS_AQL_H
#define TESTS_AQL_H

#define WRITE_PTR	56
#define READ_PTR	128
#define READ_PTR_OFFSET	136
#define INACTIVE	192
#define SIGNAL(n)	(1024 + 64 * (size_t)(n))

/* Type of a packet that nobody has written yet. */
#define INVALID		1

/* Of a context, and bytes of the doorbells of a GPU. */
#define MAX_QUEUES	1024U
#define DOORBELLS	8192U

#endif /* TESTS_AQL_H */
