/* SPDX-License-Identifier: MIT */
/*
 * Requests in a submission, responses in the blob that guest and host share
 *
 * The wire formats of contexts have this in common. A request is in memory of
 * this process and does not change while it is looked at. The shared blob does:
 * the guest may write it at any time, so nothing is read there but the room for
 * a response, and that once.
 */
#ifndef VCS_SHMEM_H
#define VCS_SHMEM_H

#include <stddef.h>
#include <stdint.h>

#include "vcs_stats.h"
#include "vcs_window.h"

/**
 * struct vcs_shmem_head - start of the shared blob, little endian
 * @seqno: of the last request that was answered
 * @rsp_offset: first byte that responses may use
 * @async_error: errno of the last failure that no response could carry
 * @reserved: 0
 */
struct vcs_shmem_head {
	uint32_t seqno;
	uint32_t rsp_offset;
	uint32_t async_error;
	uint32_t reserved;
};

/**
 * struct vcs_req - start of every request, little endian
 * @cmd: which one
 * @len: of the request, a multiple of 8
 * @seqno: written to the shared blob when it is answered
 * @rsp_off: where its response goes, a multiple of 8
 */
struct vcs_req {
	uint32_t cmd;
	uint32_t len;
	uint32_t seqno;
	uint32_t rsp_off;
};

/**
 * struct vcs_rsp - start of every response, little endian
 * @len: the room there is, by the guest; what was written, by the host
 * @ret: 0 or a negative errno
 */
struct vcs_rsp {
	uint32_t len;
	uint32_t ret;
};

/**
 * struct vcs_shmem - the shared blob; there is none when zeroed
 * @addr: its window
 * @size: its size
 * @rsp_base: what @rsp_off of a request counts from
 */
struct vcs_shmem {
	uint8_t *addr;
	size_t size;
	uint32_t rsp_base;
};

/**
 * struct vcs_slot - where the response to the current request goes
 * @addr: in the shared blob
 * @room: bytes there, a header's at least
 */
struct vcs_slot {
	uint8_t *addr;
	uint32_t room;
};

/* Answers a whole request of @len bytes, whatever happens. */
typedef void (*vcs_execute_fn)(void *arg, const struct vcs_req *req,
			       uint32_t len, const struct vcs_slot *slot);

/* Begin with a blob that is larger than its head. */
void vcs_shmem_init(struct vcs_shmem *shm, const struct vcs_window *win,
		    uint32_t rsp_base);

/*
 * Have @execute answer one request of @payload after the other; @payload is
 * aligned to 8. Returns 0 or the error that was told in async_error.
 */
int vcs_shmem_execute(const struct vcs_shmem *shm, struct vcs_stats *stats,
		      const uint8_t *payload, size_t len,
		      vcs_execute_fn execute, void *arg);

/* Tell of an error, negative, that no response can carry; returns it. */
int vcs_shmem_set_error(const struct vcs_shmem *shm, int error);

/* Write what fits of @rsp, which starts with its header, and of @tail. */
void vcs_respond_with(const struct vcs_slot *slot, int ret, void *rsp,
		      size_t len, const void *tail, size_t tail_len);

/* Nothing but a header. */
void vcs_respond(const struct vcs_slot *slot, int ret);

#endif /* VCS_SHMEM_H */
