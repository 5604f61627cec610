/* SPDX-License-Identifier: MIT */
/*
 * Reads what the guest's ROCM client has recorded; the format is described in
 * guest/tests/rocm_transcript.h
 */
#ifndef TESTS_TRANSCRIPT_H
#define TESTS_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Of one request or answer; none that is worth replaying is longer. */
#define TRANSCRIPT_MAX	8192

enum transcript_op {
	TRANSCRIPT_CONTEXT,	/* generation */
	TRANSCRIPT_SHMEM,	/* resource, size */
	TRANSCRIPT_USERPTR,	/* resource, size, flags */
	TRANSCRIPT_BLOB,	/* resource, size, blob_id */
	TRANSCRIPT_CLOSE,	/* resource */
	TRANSCRIPT_VAR,		/* offset, seqno, offset there, what to add */
	TRANSCRIPT_ROOM,	/* offset, capacity */
	TRANSCRIPT_REQ,		/* size, bytes */
	TRANSCRIPT_RSP,		/* length, bytes */
	TRANSCRIPT_NONE,
	TRANSCRIPT_LATE,
	TRANSCRIPT_MEMORY,	/* resource, offset, size, bytes */
	TRANSCRIPT_DOORBELL,	/* resource, offset, value */
	TRANSCRIPT_WAIT,	/* resource, offset, value */
	TRANSCRIPT_END,
	TRANSCRIPT_NR_OPS,
};

#define TRANSCRIPT_RDONLY	0x10	/* of a userptr's flags */

/**
 * struct transcript_line - a line
 * @op: its first word
 * @arg: the numbers behind it, as above
 * @bytes: REQ, RSP, MEMORY: all of them
 * @varies: RSP: those that may be others
 */
struct transcript_line {
	enum transcript_op op;
	uint64_t arg[4];
	uint8_t bytes[TRANSCRIPT_MAX];
	bool varies[TRANSCRIPT_MAX];
};

/* The next line of @f. Returns 1, 0 at the end, or -EINVAL. */
int transcript_read(FILE *f, struct transcript_line *line);

/* The answer @rsp of @len bytes is the one that @line is. */
bool transcript_same(const struct transcript_line *line, const void *rsp,
		     uint32_t len);

/* Of an input for fuzz_rocm, which libFuzzer would cut at this length. */
#define SEED_MAX	16384

/*
 * The context of generation @gen as an input for fuzz_rocm; its length, or
 * -EINVAL, -E2BIG if it is too long, -ENOENT if there is none.
 */
int transcript_seed(FILE *f, uint64_t gen, uint8_t seed[SEED_MAX]);

#endif /* TESTS_TRANSCRIPT_H */
