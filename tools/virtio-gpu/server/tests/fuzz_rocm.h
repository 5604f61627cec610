/* SPDX-License-Identifier: MIT */
/* What the inputs of fuzz_rocm consist of: steps, each with bytes behind it */
#ifndef TESTS_FUZZ_ROCM_H
#define TESTS_FUZZ_ROCM_H

#include <stdint.h>

#define FUZZ_PAGE	4096

/* A size is of less pages than that, their number in two bytes. */
#define FUZZ_PAGES	4096
#define FUZZ_PAGES_LOW	16	/* of the first byte, the second counts these */

/* So many answers are kept, and so much of each. */
#define FUZZ_ANSWERS	256
#define FUZZ_ANSWER	64

enum {
	STEP_SUBMIT,	/* @arg: room for the first response, in units of 8 */
	STEP_USERPTR,	/* @arg: resource; bytes: low pages, read-only, high pages */
	STEP_BLOB,	/* @arg: resource; bytes: blob_id, low pages, high pages */
	STEP_REMOVE,	/* @arg: resource */
	STEP_WRITE,	/* @arg: where in the shared blob, in units of 64 */
	/*
	 * @arg: where in the next submission or what is written to memory, in
	 * units of 8, there are 64 bits of an earlier answer; one byte: which submission, from 0 on; another:
	 * where in it, in units of 8; 64 bits: what is added
	 */
	STEP_VAR,
	/* @arg: where in the guest's memory, in units of 64; STEP_VAR, too */
	STEP_MEMORY,
	/* @arg: resource; two bytes: offset in units of 4; another: 0 is 4 bytes */
	STEP_DOORBELL,
	NR_STEPS,
};

/**
 * struct fuzz_step - a step
 * @type: STEP_*
 * @arg: see there
 * @len: bytes that follow, little endian
 */
struct fuzz_step {
	uint8_t type;
	uint8_t arg;
	uint8_t len[2];
};

#endif /* TESTS_FUZZ_ROCM_H */
