// SPDX-License-Identifier: MIT
/*
 * Fuzz target: what QEMU sends to a worker
 *
 * The input is a list of packets, each struct packet and its bytes. A worker
 * serves them with a mock backend for the device. What must hold for any input:
 * no sanitizer report, it comes to an end, and it keeps no resource, program or
 * descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "mock.h"
#include "send.h"
#include "vcs_context_compute.h"
#include "vcs_log.h"
#include "vcs_worker.h"

/* All of its answers fit into the socket: nobody reads them. */
#define MAX_PACKETS	64
#define RAM_SIZE	(16 * 4096)

/**
 * struct packet - what stands before the bytes of a message
 * @nr_fds: descriptors, one more than is allowed at most
 * @fds: a bit for each: 1 if it is open for reading only
 * @len: bytes that follow, little endian
 * @flags: see below
 */
struct packet {
	uint8_t nr_fds;
	uint8_t fds;
	uint8_t len[2];
	uint8_t flags;
};

/* The message's size is what it says; otherwise it says what its size is. */
#define PACKET_SIZE_AS_IS	(1 << 0)
/* The descriptors are of something that cannot be mapped. */
#define PACKET_OTHER_FDS	(1 << 1)

static int ram = -1, ram_rdonly = -1, other = -1;

static void open_files(void)
{
	char path[64];

	ram = memfd_create("ram", MFD_CLOEXEC);
	if (ram < 0 || ftruncate(ram, RAM_SIZE))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ram);
	ram_rdonly = open(path, O_RDONLY | O_CLOEXEC);
	other = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (ram_rdonly < 0 || other < 0)
		abort();
}

/* Broken connections are what this is about. */
void vcs_log(enum vcs_log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

void vcs_log_limited(enum vcs_log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

/* Returns false when there is no room for more. */
static bool send_packet(int sock, const struct packet *p, uint8_t *msg,
			size_t len)
{
	unsigned int i, nr = p->nr_fds % (VGPU_PROTO_MAX_FDS + 2);
	int fds[VGPU_PROTO_MAX_FDS + 1];
	struct vgpu_msg_hdr hdr;

	if (len >= sizeof(hdr) && !(p->flags & PACKET_SIZE_AS_IS)) {
		memcpy(&hdr, msg, sizeof(hdr));
		hdr.size = (uint32_t)len;
		memcpy(msg, &hdr, sizeof(hdr));
	}
	for (i = 0; i < nr; i++)
		fds[i] = p->flags & PACKET_OTHER_FDS ? other :
			 p->fds & (1 << (i % 8)) ? ram_rdonly : ram;
	return send_with_fds(sock, msg, len, fds, nr, MSG_DONTWAIT) >= 0;
}

/* A context whose resources of odd ids are doorbells. */
static bool is_doorbells(struct vcs_context *ctx, uint32_t res_id)
{
	(void)ctx;
	return res_id & 1;
}

static int doorbell(struct vcs_context *ctx, const struct vcs_doorbell *bell)
{
	(void)ctx;
	if ((bell->size != 4 && bell->size != 8) || bell->offset % bell->size)
		abort();
	return bell->res_id & 1 ? 0 : -EBADMSG;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t msg[VGPU_PROTO_MAX_MSG + 1];
	int pair[2], before, after, n;
	struct packet p;
	const struct vcs_limits limits = VCS_LIMITS_DEFAULT;
	struct vcs_stats stats = { 0 };
	struct vcs_map_budget budget;
	struct vcs_context_ops ops;
	struct vcs_context *ctx;
	struct mock mock;

	if (ram < 0)
		open_files();
	before = dup(other);
	close(before);
	mock_init(&mock);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	for (n = 0; n < MAX_PACKETS && size >= sizeof(p); n++) {
		size_t len;

		memcpy(&p, data, sizeof(p));
		data += sizeof(p);
		size -= sizeof(p);
		len = p.len[0] | (size_t)p.len[1] << 8;
		if (len > size)
			len = size;
		memcpy(msg, data, len);
		data += len;
		size -= len;
		if (!send_packet(pair[0], &p, msg, len))
			break;
	}
	shutdown(pair[0], SHUT_WR);
	if (vcs_map_budget_init(&budget))
		abort();
	ctx = vcs_compute_create(&mock.base, &limits, &stats, &budget);
	if (!ctx)
		abort();
	ops = *ctx->ops;
	ops.is_doorbells = is_doorbells;
	ops.doorbell = doorbell;
	ctx->ops = &ops;
	vcs_worker_serve(pair[1], ctx, &budget);
	ctx->ops->destroy(ctx);
	close(pair[0]);
	close(pair[1]);
	after = dup(other);
	close(after);
	if (mock.buffers || mock.programs || after != before)
		abort();
	return 0;
}
