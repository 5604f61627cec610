// SPDX-License-Identifier: MIT
/*
 * Messages with QEMU: receiving with descriptors, form checks, answers
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vcs_msg.h"

/* Room for one descriptor more than allowed, to notice that there is one. */
#define VCS_CMSG_FDS	(VGPU_PROTO_MAX_FDS + 1)

void vcs_msg_close_fds(struct vcs_msg *msg)
{
	while (msg->nr_fds)
		close(msg->fds[--msg->nr_fds]);
}

/* Move the descriptors of @mh to @msg; those that do not fit are closed. */
static int take_fds(struct msghdr *mh, struct vcs_msg *msg)
{
	struct cmsghdr *cmsg;
	int ret = 0;

	for (cmsg = CMSG_FIRSTHDR(mh); cmsg; cmsg = CMSG_NXTHDR(mh, cmsg)) {
		const unsigned char *p = CMSG_DATA(cmsg);
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (; n; n--, p += sizeof(int)) {
			int fd;

			memcpy(&fd, p, sizeof(fd));
			if (msg->nr_fds < VGPU_PROTO_MAX_FDS) {
				msg->fds[msg->nr_fds++] = fd;
			} else {
				close(fd);
				ret = -EBADMSG;
			}
		}
	}
	return ret;
}

static ssize_t recv_some(int sock, struct vcs_msg *msg, size_t want, int flags)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * VCS_CMSG_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {
		.iov_base = msg->data + msg->len,
		.iov_len = want,
	};
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	do {
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | flags);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (take_fds(&mh, msg) || (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EBADMSG;
	msg->len += (size_t)n;
	return n;
}

int vcs_msg_recv_packet(int sock, struct vcs_msg *msg)
{
	ssize_t n;

	msg->len = 0;
	msg->nr_fds = 0;
	n = recv_some(sock, msg, sizeof(msg->data), 0);
	if (n < 0) {
		vcs_msg_close_fds(msg);
		return (int)n;
	}
	return n > 0;
}

int vcs_msg_recv_stream(int sock, struct vcs_msg *msg)
{
	for (;;) {
		size_t want = sizeof(msg->hdr);
		ssize_t n;

		if (msg->len >= sizeof(msg->hdr)) {
			if (msg->hdr.size < sizeof(msg->hdr) ||
			    msg->hdr.size > sizeof(msg->data))
				return -EBADMSG;
			want = msg->hdr.size;
			if (msg->len == want)
				return 1;
		}
		n = recv_some(sock, msg, want - msg->len, MSG_DONTWAIT);
		if (n == -EWOULDBLOCK)
			return -EAGAIN;
		if (n <= 0)
			return n || !msg->len ? (int)n : -EBADMSG;
	}
}

static int check_hdr(const struct vcs_msg *msg, uint32_t flags)
{
	if (msg->len < sizeof(msg->hdr) || msg->hdr.size != msg->len ||
	    msg->hdr.reserved || (msg->hdr.flags & ~flags))
		return -EBADMSG;
	return 0;
}

static int check_size(const struct vcs_msg *msg, size_t size, unsigned int fds)
{
	return msg->len == size && msg->nr_fds == fds ? 0 : -EBADMSG;
}

int vcs_msg_check_control(const struct vcs_msg *msg)
{
	if (check_hdr(msg, VGPU_MSG_F_DOORBELLS))
		return -EBADMSG;
	if (msg->hdr.flags && msg->hdr.type != VGPU_MSG_HELLO)
		return -EBADMSG;

	switch (msg->hdr.type) {
	case VGPU_MSG_HELLO:
		if (check_size(msg, sizeof(msg->hello), 0) ||
		    msg->hello.nr_capsets)
			return -EBADMSG;
		return 0;
	case VGPU_MSG_CTX_CREATE:
		if (check_size(msg, sizeof(msg->ctx_create), 1) ||
		    !memchr(msg->ctx_create.name, 0,
			    sizeof(msg->ctx_create.name)))
			return -EBADMSG;
		return 0;
	case VGPU_MSG_CTX_KILL:
		return check_size(msg, sizeof(msg->hdr), 0);
	}
	return -EBADMSG;
}

static int check_res_map(const struct vcs_msg *msg)
{
	const struct vgpu_msg_res_map *map = &msg->res_map;
	size_t nr_runs;

	if (msg->len < sizeof(*map) || map->reserved ||
	    (map->flags & ~(VGPU_RES_RDONLY | VGPU_RES_BLOB)))
		return -EBADMSG;
	nr_runs = (msg->len - sizeof(*map)) / sizeof(map->runs[0]);
	return nr_runs == map->nr_runs &&
	       msg->len == sizeof(*map) + nr_runs * sizeof(map->runs[0]) ?
	       0 : -EBADMSG;
}

static int check_doorbell(const struct vcs_msg *msg)
{
	const struct vgpu_msg_doorbell *bell = &msg->doorbell;

	if (check_size(msg, sizeof(*bell), 0) || bell->hdr.flags ||
	    bell->reserved)
		return -EBADMSG;
	if ((bell->size != 4 && bell->size != 8) || bell->offset % bell->size)
		return -EBADMSG;
	return 0;
}

int vcs_msg_check_context(const struct vcs_msg *msg)
{
	if (check_hdr(msg, VGPU_MSG_F_MORE))
		return -EBADMSG;

	switch (msg->hdr.type) {
	case VGPU_MSG_RES_MAP:
		return check_res_map(msg);
	case VGPU_MSG_RES_UNMAP:
		if (msg->hdr.flags || msg->res_unmap.reserved)
			return -EBADMSG;
		return check_size(msg, sizeof(msg->res_unmap), 0);
	case VGPU_MSG_SUBMIT:
		return msg->len >= sizeof(msg->submit) && !msg->nr_fds ?
		       0 : -EBADMSG;
	case VGPU_MSG_DOORBELL:
		return check_doorbell(msg);
	}
	return -EBADMSG;
}

int vcs_msg_send_fd(int sock, const void *data, size_t len, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&mh);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do {
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EPIPE;
}

int vcs_msg_send_done(int sock, uint32_t type, uint64_t serial, int error,
		      uint32_t flags, int fd)
{
	struct vgpu_msg_done done = {
		.hdr = {
			.type = type,
			.size = sizeof(done),
			.serial = serial,
		},
		.status = (uint32_t)-error,
		.flags = flags,
	};

	return vcs_msg_send_fd(sock, &done, sizeof(done), fd);
}

int vcs_msg_send_stream(int sock, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = send(sock, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
