// SPDX-License-Identifier: MIT
/*
 * Sending descriptors, well or badly
 */
#include <string.h>
#include <sys/socket.h>

#include "send.h"

ssize_t send_with_fds(int sock, const void *data, size_t len, const int *fds,
		      unsigned int nr_fds, int flags)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * SEND_MAX_FDS)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		struct cmsghdr *cmsg = &control.align;

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nr_fds);
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
	}
	return sendmsg(sock, &mh, flags | MSG_NOSIGNAL);
}
