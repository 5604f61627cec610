/* SPDX-License-Identifier: MIT */
/*
 * A ROCM context without worker and server, on the simulation, in tests that have
 * its thunk and its memory fail
 *
 * They are linked with --wrap=calloc and --wrap=tsearch.
 */
#ifndef TESTS_ROCM_BARE_H
#define TESTS_ROCM_BARE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "rocm_req.h"
#include "vcs_context_rocm.h"
#include "vcs_thunk.h"

#define PAGE		4096UL
#define SHM_SIZE	(80 * 4096U)
#define SHM_ID		100
/* From the begin of the blob, and from that of responses. */
#define RSP_AT		528U
#define RSP_OFF		(RSP_AT - 16)

#define CPU		0
#define GPU		1

#define NR(a)		(sizeof(a) / sizeof((a)[0]))

extern struct vcs_map_budget budget;
extern struct vcs_context *ctx;
extern struct vcs_limits limits;
extern struct vcs_stats stats;
extern struct vcs_thunk *thunk;
extern uint8_t *shm;
extern uint32_t seqno;

/* The thunk's functions: the simulation's, and what a test has in their place. */
extern const struct vcs_thunk_ops *sim_ops;
extern struct vcs_thunk_ops ops;
/* For those: what they return, where the GPU has memory, who was called. */
extern int fail;
extern uint64_t elsewhere;
extern char calls[64];
void called(char what);

/* How many of the server's allocations may succeed, or -1. */
extern int memory_left;

/* All of the above as at first, and a thunk; false: out of memory. */
bool bare_open(void);
/* The context, and all is given back. */
void bare_close(void);

/* "Guest" memory as QEMU hands it over. */
int make_memfd(size_t size, bool rdonly);
/* A resource, as the worker adds it; @addr, or NULL, is where it is mapped. */
int add_from(uint32_t res_id, uint32_t flags, uint64_t blob_id, size_t size,
	     int fd, uint8_t **addr);
/* The same with memory of its own. */
int add(uint32_t res_id, uint32_t flags, uint64_t blob_id, size_t size,
	uint8_t **addr);

/* Submits and returns ret; the seqno has advanced, and no more was written. */
int submit(struct rocm_req req);
/* Its response, and the room for it. */
const uint8_t *rsp(void);
void set_room(uint32_t room);
/* All of a response but its header is 0. */
void expect_zeros(uint32_t len);

#endif /* TESTS_ROCM_BARE_H */
