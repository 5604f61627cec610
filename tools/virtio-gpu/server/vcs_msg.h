/* SPDX-License-Identifier: MIT */
/*
 * Messages with QEMU: receiving with descriptors, form checks, answers
 */
#ifndef VCS_MSG_H
#define VCS_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "hw/virtio/virtio-gpu-compute-proto.h"

/**
 * struct vcs_msg - one message as it came
 * @len: bytes received
 * @nr_fds: descriptors received; whoever holds the message closes them
 * @fds: the descriptors, close-on-exec
 * @data: the bytes
 */
struct vcs_msg {
	size_t len;
	unsigned int nr_fds;
	int fds[VGPU_PROTO_MAX_FDS];
	union {
		uint8_t data[VGPU_PROTO_MAX_MSG];
		struct vgpu_msg_hdr hdr;
		struct vgpu_msg_hello hello;
		struct vgpu_msg_ctx_create ctx_create;
		struct vgpu_msg_res_map res_map;
		struct vgpu_msg_res_unmap res_unmap;
		struct vgpu_msg_submit submit;
		struct vgpu_msg_doorbell doorbell;
	};
};

/* Closes what descriptors are left in @msg. */
void vcs_msg_close_fds(struct vcs_msg *msg);

/*
 * Next message of a context's connection (SOCK_SEQPACKET). Returns 1, 0 at the
 * end of the connection, -EBADMSG for a message with more bytes or descriptors
 * than the protocol allows, or the error of recvmsg().
 */
int vcs_msg_recv_packet(int sock, struct vcs_msg *msg);

/*
 * Next bytes of the control connection (SOCK_STREAM, not blocking). @msg keeps
 * what has come of a message between calls; it is zeroed for a new message.
 * Returns 1 when it is complete, 0 at the end of the connection, -EAGAIN when
 * there is more to come, -EBADMSG or the error of recvmsg().
 */
int vcs_msg_recv_stream(int sock, struct vcs_msg *msg);

/*
 * Form of a message, -EBADMSG if it is broken: known type and flags, the sizes
 * fit, reserved fields 0, descriptors only where they belong. A sender that
 * breaks it is not worth talking to. Values are checked where they are used.
 */
int vcs_msg_check_control(const struct vcs_msg *msg);
int vcs_msg_check_context(const struct vcs_msg *msg);

/*
 * One message of @len bytes, with descriptor @fd or without (-1). Returns 0, the
 * error of sendmsg(), or -EPIPE if not all of it went.
 */
int vcs_msg_send_fd(int sock, const void *data, size_t len, int fd);

/*
 * VGPU_MSG_CTX_READY or VGPU_MSG_DONE; @error is 0 or negative, @flags are
 * VGPU_DONE_*, @fd may be -1.
 */
int vcs_msg_send_done(int sock, uint32_t type, uint64_t serial, int error,
		      uint32_t flags, int fd);

/* All @len bytes over a blocking stream. */
int vcs_msg_send_stream(int sock, const void *data, size_t len);

#endif /* VCS_MSG_H */
