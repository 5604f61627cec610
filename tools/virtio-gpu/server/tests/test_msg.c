// SPDX-License-Identifier: MIT
/*
 * Messages with QEMU: whole ones come through, broken ones are recognised
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_msg.h"

static struct vcs_msg msg;
static int pair[2];

static int packet(void **state)
{
	(void)state;
	memset(&msg, 0, sizeof(msg));
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int stream(void **state)
{
	(void)state;
	memset(&msg, 0, sizeof(msg));
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static int end(void **state)
{
	(void)state;
	vcs_msg_close_fds(&msg);
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void send_fds(const void *data, size_t len, int nr_fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * 16)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[16], i;

	if (nr_fds) {
		struct cmsghdr *cmsg;

		for (i = 0; i < nr_fds; i++)
			fds[i] = STDERR_FILENO;
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nr_fds);
		cmsg = CMSG_FIRSTHDR(&mh);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nr_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * (size_t)nr_fds);
	}
	assert_int_equal(sendmsg(pair[0], &mh, 0), len);
}

static int nr_open(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void packet_with_descriptors(void **state)
{
	char data[100] = "data";
	int before = nr_open();

	(void)state;
	send_fds(data, sizeof(data), VGPU_PROTO_MAX_FDS);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), 1);
	assert_int_equal(msg.len, sizeof(data));
	assert_memory_equal(msg.data, data, sizeof(data));
	assert_int_equal(msg.nr_fds, VGPU_PROTO_MAX_FDS);
	assert_int_equal(nr_open(), before + VGPU_PROTO_MAX_FDS);
	assert_int_equal(fcntl(msg.fds[0], F_GETFD), FD_CLOEXEC);
	vcs_msg_close_fds(&msg);
	assert_int_equal(nr_open(), before);
}

static void packet_end(void **state)
{
	(void)state;
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), 0);
}

static void packet_too_many_descriptors(void **state)
{
	int before = nr_open();

	(void)state;
	send_fds("x", 1, VGPU_PROTO_MAX_FDS + 1);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), -EBADMSG);
	send_fds("x", 1, 16);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), -EBADMSG);
	assert_int_equal(msg.nr_fds, 0);
	assert_int_equal(nr_open(), before);
}

static void packet_too_long(void **state)
{
	char *data = calloc(1, VGPU_PROTO_MAX_MSG + 1);

	(void)state;
	send_fds(data, VGPU_PROTO_MAX_MSG + 1, 1);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), -EBADMSG);
	assert_int_equal(msg.nr_fds, 0);
	send_fds(data, VGPU_PROTO_MAX_MSG, 0);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), 1);
	free(data);
}

static struct vgpu_msg_ctx_create ctx_create(void)
{
	return (struct vgpu_msg_ctx_create) {
		.hdr = {
			.type = VGPU_MSG_CTX_CREATE,
			.size = sizeof(struct vgpu_msg_ctx_create),
			.serial = 9,
		},
		.ctx_id = 1,
		.capset_id = 12,
		.name = "name",
	};
}

static void stream_in_pieces(void **state)
{
	struct vgpu_msg_ctx_create m = ctx_create();
	const char *p = (const char *)&m;
	size_t i;

	(void)state;
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), -EAGAIN);
	for (i = 0; i < sizeof(m) - 1; i++) {
		send_fds(p + i, 1, !i);
		assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), -EAGAIN);
	}
	send_fds(p + i, 1, 0);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), 1);
	assert_memory_equal(msg.data, &m, sizeof(m));
	assert_int_equal(msg.nr_fds, 1);
	assert_int_equal(vcs_msg_check_control(&msg), 0);
}

static void stream_of_two(void **state)
{
	struct vgpu_msg_ctx_create m[2] = { ctx_create(), ctx_create() };

	(void)state;
	m[1].hdr.serial = 10;
	send_fds(&m[0], sizeof(m[0]), 1);
	send_fds(&m[1], sizeof(m[1]), 1);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), 1);
	assert_int_equal(msg.hdr.serial, 9);
	assert_int_equal(msg.nr_fds, 1);
	vcs_msg_close_fds(&msg);
	msg.len = 0;
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), 1);
	assert_int_equal(msg.hdr.serial, 10);
	assert_int_equal(msg.nr_fds, 1);
}

static void stream_end(void **state)
{
	(void)state;
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), 0);
}

static void stream_end_in_a_message(void **state)
{
	struct vgpu_msg_ctx_create m = ctx_create();

	(void)state;
	send_fds(&m, sizeof(m) - 1, 0);
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), -EBADMSG);
}

static void stream_bad_size(void **state)
{
	struct vgpu_msg_hdr hdr = { .type = VGPU_MSG_CTX_KILL };

	(void)state;
	hdr.size = sizeof(hdr) - 1;
	send_fds(&hdr, sizeof(hdr), 0);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), -EBADMSG);
	msg.len = 0;
	hdr.size = VGPU_PROTO_MAX_MSG + 1;
	send_fds(&hdr, sizeof(hdr), 0);
	assert_int_equal(vcs_msg_recv_stream(pair[1], &msg), -EBADMSG);
}

/* Puts a message into @msg as if it had been received. */
static void put(const void *data, size_t len, unsigned int nr_fds)
{
	memset(&msg, 0, sizeof(msg));
	memcpy(msg.data, data, len);
	msg.len = len;
	/* Only counted by what is tested here. */
	msg.nr_fds = nr_fds;
}

static int check(int (*fn)(const struct vcs_msg *), const void *data,
		 size_t len, unsigned int nr_fds)
{
	int ret;

	put(data, len, nr_fds);
	ret = fn(&msg);
	msg.nr_fds = 0;
	return ret;
}

static void header_form(void **state)
{
	struct vgpu_msg_hdr hdr = {
		.type = VGPU_MSG_CTX_KILL,
		.size = sizeof(hdr),
	};
	const struct vgpu_msg_hdr good = hdr;

	(void)state;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0), 0);
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr) - 1,
			       0), -EBADMSG);
	assert_int_equal(check(vcs_msg_check_control, &hdr, 0, 0), -EBADMSG);
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 1),
			 -EBADMSG);
	hdr.size++;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr = good;
	hdr.reserved = 1;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr = good;
	hdr.flags = VGPU_MSG_F_MORE;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	/* Of HELLO only. */
	hdr.flags = VGPU_MSG_F_DOORBELLS;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr = good;
	/* Of the other connection, the other direction, or of nobody. */
	hdr.type = VGPU_MSG_RES_UNMAP;
	assert_int_equal(check(vcs_msg_check_control, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr.type = VGPU_MSG_DONE;
	assert_int_equal(check(vcs_msg_check_context, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr.type = VGPU_MSG_CTX_KILL;
	assert_int_equal(check(vcs_msg_check_context, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
	hdr.type = 0;
	assert_int_equal(check(vcs_msg_check_context, &hdr, sizeof(hdr), 0),
			 -EBADMSG);
}

static void hello_form(void **state)
{
	struct vgpu_msg_hello m = {
		.hdr = { .type = VGPU_MSG_HELLO, .size = sizeof(m) },
	};

	(void)state;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0), 0);
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 1),
			 -EBADMSG);
	m.hdr.flags = VGPU_MSG_F_DOORBELLS;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0), 0);
	m.hdr.flags = VGPU_MSG_F_DOORBELLS << 1;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0),
			 -EBADMSG);
	m.hdr.flags = 0;
	m.nr_capsets = 1;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0),
			 -EBADMSG);
}

static void ctx_create_form(void **state)
{
	struct vgpu_msg_ctx_create m = ctx_create();

	(void)state;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 1), 0);
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0),
			 -EBADMSG);
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 2),
			 -EBADMSG);
	memset(m.name, 'x', sizeof(m.name));
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 1),
			 -EBADMSG);
}

static void res_map_form(void **state)
{
	struct {
		struct vgpu_msg_res_map map;
		struct vgpu_run runs[3];
		char more[8];
	} m = {
		.map.hdr.type = VGPU_MSG_RES_MAP,
		.map.nr_runs = 3,
	};
	const size_t len = sizeof(m.map) + sizeof(m.runs);

	(void)state;
	m.map.hdr.size = (uint32_t)len;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), 0);
	m.map.hdr.flags = VGPU_MSG_F_MORE;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), 0);
	m.map.hdr.flags = VGPU_MSG_F_MORE << 1;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	m.map.hdr.flags = 0;

	m.map.nr_runs = 2;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	m.map.nr_runs = 4;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	/* 24 bytes each: wraps to 3 in 32 bits of bytes. */
	m.map.nr_runs = 3 + (1U << 29);
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	m.map.nr_runs = 3;

	m.map.hdr.size = (uint32_t)len + 8;
	assert_int_equal(check(vcs_msg_check_context, &m, len + 8, 1),
			 -EBADMSG);
	m.map.hdr.size = (uint32_t)len;
	m.map.reserved = 1;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	m.map.reserved = 0;
	m.map.flags = 1U << 2;
	assert_int_equal(check(vcs_msg_check_context, &m, len, 1), -EBADMSG);
	m.map.flags = 0;

	m.map.hdr.size = sizeof(m.map) - 8;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m.map) - 8, 1),
			 -EBADMSG);
}

static void res_unmap_form(void **state)
{
	struct vgpu_msg_res_unmap m = {
		.hdr = { .type = VGPU_MSG_RES_UNMAP, .size = sizeof(m) },
		.res_id = 1,
	};

	(void)state;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0), 0);
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 1),
			 -EBADMSG);
	m.hdr.flags = VGPU_MSG_F_MORE;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0),
			 -EBADMSG);
	m.hdr.flags = 0;
	m.reserved = 1;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0),
			 -EBADMSG);
}

static void submit_form(void **state)
{
	struct {
		struct vgpu_msg_submit submit;
		char payload[16];
	} m = {
		.submit.hdr = { .type = VGPU_MSG_SUBMIT, .size = sizeof(m) },
	};

	(void)state;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0), 0);
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 1),
			 -EBADMSG);
	m.submit.hdr.size = sizeof(m.submit);
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m.submit), 0),
			 0);
	m.submit.hdr.size = sizeof(m.submit) - 4;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m.submit) - 4,
			       0), -EBADMSG);
}

static void doorbell_form(void **state)
{
	const struct vgpu_msg_doorbell good = {
		.hdr = {
			.type = VGPU_MSG_DOORBELL,
			.size = sizeof(good),
		},
		.res_id = 1,
		.offset = 16,
		.size = 8,
		.value = UINT64_MAX,
	};
	static const struct {
		uint32_t size, offset;
		int ret;
	} stores[] = {
		{ 8, 0, 0 }, { 8, 8184, 0 }, { 4, 4, 0 }, { 4, 8, 0 },
		{ 8, 0xfffffff8, 0 }, { 8, 4, -EBADMSG }, { 4, 2, -EBADMSG },
		{ 8, 1, -EBADMSG }, { 0, 0, -EBADMSG }, { 2, 0, -EBADMSG },
		{ 16, 0, -EBADMSG }, { UINT32_MAX, 0, -EBADMSG },
	};
	struct vgpu_msg_doorbell m;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		m = good;
		m.size = stores[i].size;
		m.offset = stores[i].offset;
		assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0),
				 stores[i].ret);
	}
	m = good;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 1),
			 -EBADMSG);
	m.reserved = 1;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0),
			 -EBADMSG);
	m = good;
	m.hdr.flags = VGPU_MSG_F_MORE;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m), 0),
			 -EBADMSG);
	m = good;
	m.hdr.size -= 8;
	assert_int_equal(check(vcs_msg_check_context, &m, sizeof(m) - 8, 0),
			 -EBADMSG);
	/* Not on the control connection. */
	m = good;
	assert_int_equal(check(vcs_msg_check_control, &m, sizeof(m), 0),
			 -EBADMSG);
}

static void done_carries_status_and_descriptor(void **state)
{
	struct vgpu_msg_done *done = (void *)msg.data;

	(void)state;
	assert_int_equal(vcs_msg_send_done(pair[0], VGPU_MSG_DONE, 77, -E2BIG,
					   0, -1), 0);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), 1);
	assert_int_equal(msg.len, sizeof(*done));
	assert_int_equal(done->hdr.size, sizeof(*done));
	assert_int_equal(done->hdr.type, VGPU_MSG_DONE);
	assert_int_equal(done->hdr.serial, 77);
	assert_int_equal(done->status, E2BIG);
	assert_int_equal(done->flags, 0);
	assert_int_equal(msg.nr_fds, 0);

	assert_int_equal(vcs_msg_send_done(pair[0], VGPU_MSG_CTX_READY, 78, 0,
					   VGPU_DONE_DOORBELLS, STDERR_FILENO),
			 0);
	assert_int_equal(vcs_msg_recv_packet(pair[1], &msg), 1);
	assert_int_equal(done->status, 0);
	assert_int_equal(done->flags, VGPU_DONE_DOORBELLS);
	assert_int_equal(msg.nr_fds, 1);

	/* Nobody there: an error, no signal. */
	shutdown(pair[1], SHUT_RDWR);
	assert_int_equal(vcs_msg_send_done(pair[0], VGPU_MSG_DONE, 1, 0, 0,
					   -1),
			 -EPIPE);
}

int main(void)
{
#define PACKET(f) cmocka_unit_test_setup_teardown(f, packet, end)
#define STREAM(f) cmocka_unit_test_setup_teardown(f, stream, end)
	const struct CMUnitTest tests[] = {
		PACKET(packet_with_descriptors),
		PACKET(packet_end),
		PACKET(packet_too_many_descriptors),
		PACKET(packet_too_long),
		STREAM(stream_in_pieces),
		STREAM(stream_of_two),
		STREAM(stream_end),
		STREAM(stream_end_in_a_message),
		STREAM(stream_bad_size),
		cmocka_unit_test(header_form),
		cmocka_unit_test(hello_form),
		cmocka_unit_test(ctx_create_form),
		cmocka_unit_test(res_map_form),
		cmocka_unit_test(res_unmap_form),
		cmocka_unit_test(submit_form),
		cmocka_unit_test(doorbell_form),
		PACKET(done_carries_status_and_descriptor),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
