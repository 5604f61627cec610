/* SPDX-License-Identifier: MIT */
/*
 * What a client of the ROCM context sends and gets, for the host's tests to
 * replay. VGPU_ROCM_TRANSCRIPT=FILE asks for it: each context adds its part to
 * the end of FILE when it is closed.
 *
 * A line each, of words with a space between them; numbers are decimal, but
 * FLAGS and BYTES are hexadecimal:
 *
 *   context NAME              a new one, of the generation "2025" or "2026"
 *   shmem RES SIZE            the shared blob
 *   userptr RES SIZE FLAGS    user memory is registered, the ioctl's flags
 *   blob RES SIZE ID          a HOST3D blob with this blob_id
 *   close RES                 its handle is closed
 *   var OFF SEQNO FROM ADD    the 64 bits at OFF of the next request are those
 *                             at FROM of the answer to SEQNO, plus ADD
 *   room OFF CAPACITY         where the next request wants its answer, OFF from
 *                             the start of the room for answers, and what the
 *                             guest has put into the answer's len before
 *   req SIZE BYTES            the submission; what is missing at its end is 0
 *   rsp LEN BYTES             the answer, as far as there was room; likewise;
 *                             ".." is a byte that differs from run to run
 *   none                      instead: there is nowhere to look for an answer
 *   late                      instead: seqno did not get there
 *   memory RES OFF SIZE BYTES what the program stores at OFF of the resource,
 *                             with a var as in a request
 *   doorbell RES OFF VALUE    64 bits that it stores to a doorbell
 *   wait RES OFF VALUE        it goes on when there are these 64 bits
 *   end                       the context is closed
 *
 * RES is what the kernel called the resource, and what requests call it.
 */
#ifndef TESTS_ROCM_TRANSCRIPT_H
#define TESTS_ROCM_TRANSCRIPT_H

#include <stddef.h>
#include <stdint.h>

struct rocm_client;
struct rocm_transcript;

/* NULL if none is wanted; all others do nothing then. */
struct rocm_transcript *rocm_transcript_new(const char *context);
void rocm_transcript_end(struct rocm_transcript *t);

__attribute__((format(printf, 2, 3)))
void rocm_transcript_line(struct rocm_transcript *t, const char *fmt, ...);

/* @value, and what follows up to @size, is what the answer to @seqno said. */
void rocm_transcript_know(struct rocm_transcript *t, uint32_t seqno,
			  uint32_t off, uint64_t value, uint64_t size);

/* The next request, or memory, has such an address at @off. */
void rocm_transcript_uses(struct rocm_transcript *t, uint32_t off,
			  uint64_t value);

void rocm_transcript_req(struct rocm_transcript *t, const void *req,
			 uint32_t size);

/* @size bytes at @off of the resource. */
void rocm_transcript_memory(struct rocm_transcript *t, uint32_t res_id,
			    uint64_t off, const void *bytes, uint32_t size);

/* The answer to @req. */
void rocm_transcript_rsp(struct rocm_transcript *t, const void *req,
			 uint32_t size, const void *rsp, uint32_t len);

#endif /* TESTS_ROCM_TRANSCRIPT_H */
