// SPDX-License-Identifier: MIT
/*
 * Fuzz target: what QEMU sends to the spawner
 *
 * The input is a list of chunks of a stream, each two bytes (how long it is, how
 * many descriptors come with it) and its bytes. What must hold for any input: no
 * sanitizer report, messages come whole, and no descriptor is kept.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "send.h"
#include "vcs_msg.h"

static void send_chunk(int sock, const uint8_t *data, size_t len,
		       unsigned int nr_fds)
{
	int fds[VGPU_PROTO_MAX_FDS + 1];
	unsigned int i;

	for (i = 0; i < nr_fds; i++)
		fds[i] = sock;
	if (send_with_fds(sock, data, len, fds, nr_fds, 0) != (ssize_t)len)
		abort();
}

/* Returns false when the spawner would end. */
static bool receive(int sock, struct vcs_msg *msg)
{
	int ret;

	for (;;) {
		ret = vcs_msg_recv_stream(sock, msg);
		if (ret == -EAGAIN)
			return true;
		if (ret <= 0)
			return false;
		if (msg->len != msg->hdr.size)
			abort();
		ret = vcs_msg_check_control(msg);
		vcs_msg_close_fds(msg);
		msg->len = 0;
		if (ret)
			return false;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vcs_msg msg;
	int pair[2], before, after;

	before = dup(STDERR_FILENO);
	close(before);
	memset(&msg, 0, sizeof(msg));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       pair))
		abort();
	while (size > 2) {
		unsigned int nr_fds = data[1] % (VGPU_PROTO_MAX_FDS + 2);
		size_t len = data[0] + 1U;

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		send_chunk(pair[0], data, len, nr_fds);
		data += len;
		size -= len;
		if (!receive(pair[1], &msg))
			break;
	}
	close(pair[0]);
	close(pair[1]);
	vcs_msg_close_fds(&msg);
	after = dup(STDERR_FILENO);
	close(after);
	if (after != before)
		abort();
	return 0;
}
