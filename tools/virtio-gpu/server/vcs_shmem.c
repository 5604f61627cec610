// SPDX-License-Identifier: MIT
/*
 * Requests in a submission, responses in the blob that guest and host share
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vcs_shmem.h"

static struct vcs_shmem_head *head(const struct vcs_shmem *shm)
{
	return (void *)shm->addr;
}

void vcs_shmem_init(struct vcs_shmem *shm, const struct vcs_window *win,
		    uint32_t rsp_base)
{
	shm->addr = win->addr;
	shm->size = win->size;
	shm->rsp_base = rsp_base;
	head(shm)->seqno = 0;
	head(shm)->async_error = 0;
	head(shm)->reserved = 0;
	head(shm)->rsp_offset = htole32(sizeof(struct vcs_shmem_head));
}

int vcs_shmem_set_error(const struct vcs_shmem *shm, int error)
{
	__atomic_store_n(&head(shm)->async_error, htole32((uint32_t)-error),
			 __ATOMIC_RELEASE);
	return error;
}

/* After the response: whoever sees the number sees the response. */
static void advance(const struct vcs_shmem *shm, const struct vcs_req *req)
{
	__atomic_store_n(&head(shm)->seqno, req->seqno, __ATOMIC_RELEASE);
}

/* Checks the place and the room that the guest says it has there. */
static int find_slot(const struct vcs_shmem *shm, const struct vcs_req *req,
		     struct vcs_slot *slot)
{
	uint64_t off = (uint64_t)le32toh(req->rsp_off) + shm->rsp_base;
	const struct vcs_rsp *rsp;

	if (off % 8 || off < sizeof(struct vcs_shmem_head) ||
	    off > shm->size - sizeof(*rsp))
		return -EINVAL;
	slot->addr = shm->addr + off;
	rsp = (const void *)slot->addr;
	slot->room = le32toh(__atomic_load_n(&rsp->len, __ATOMIC_RELAXED));
	if (slot->room < sizeof(*rsp) || slot->room > shm->size - off)
		return -EINVAL;
	return 0;
}

void vcs_respond_with(const struct vcs_slot *slot, int ret, void *rsp,
		      size_t len, const void *tail, size_t tail_len)
{
	struct vcs_rsp *hdr = rsp;

	if (len > slot->room)
		len = slot->room;
	if (tail_len > slot->room - len)
		tail_len = slot->room - len;
	hdr->len = htole32((uint32_t)(len + tail_len));
	hdr->ret = htole32((uint32_t)ret);
	memcpy(slot->addr, rsp, len);
	if (tail_len)
		memcpy(slot->addr + len, tail, tail_len);
}

void vcs_respond(const struct vcs_slot *slot, int ret)
{
	struct vcs_rsp rsp;

	vcs_respond_with(slot, ret, &rsp, sizeof(rsp), NULL, 0);
}

int vcs_shmem_execute(const struct vcs_shmem *shm, struct vcs_stats *stats,
		      const uint8_t *payload, size_t len,
		      vcs_execute_fn execute, void *arg)
{
	int error = 0;

	vcs_stats_add(&stats->submissions, 1);
	while (len) {
		const struct vcs_req *req = (const void *)payload;
		struct vcs_slot slot;
		uint32_t req_len;
		bool whole;

		if (len < sizeof(*req))
			return vcs_shmem_set_error(shm, -EBADMSG);
		req_len = le32toh(req->len);
		whole = req_len >= sizeof(*req) && !(req_len % 8) &&
			req_len <= len;
		if (find_slot(shm, req, &slot)) {
			error = vcs_shmem_set_error(shm, -EINVAL);
		} else if (whole) {
			vcs_stats_set(&stats->since, vcs_stats_now());
			vcs_stats_set(&stats->cmd, le32toh(req->cmd));
			execute(arg, req, req_len, &slot);
			vcs_stats_set(&stats->cmd, 0);
		} else {
			vcs_respond(&slot, -EBADMSG);
		}

		/* Where the next one would start is anybody's guess. */
		if (!whole)
			error = vcs_shmem_set_error(shm, -EBADMSG);
		advance(shm, req);
		if (!whole)
			break;
		payload += req_len;
		len -= req_len;
	}
	return error;
}
