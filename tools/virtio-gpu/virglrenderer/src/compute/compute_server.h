/* SPDX-License-Identifier: MIT */
/*
 * Control connection with vgpu-compute-server: handshake, start and end of workers
 */

#ifndef COMPUTE_SERVER_H
#define COMPUTE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "c11/threads.h"

#include "compute_proto.h"

struct compute_server {
   int fd;

   /* The threads of contexts kill workers, too. */
   mtx_t mutex;
   uint64_t last_serial;
   bool gone;

   uint32_t nr_capsets;
   struct vgpu_msg_capset capsets[VGPU_PROTO_MAX_CAPSETS];
};

/**
 * Shake hands over fd, a connected stream socket, which belongs to the server from now on,
 * also after an error.
 *
 * Returns 0 or a negative errno.
 */
int
compute_server_init(struct compute_server *server, int fd);

/**
 * Ends the server and all its workers.
 */
void
compute_server_fini(struct compute_server *server);

/**
 * Returns NULL if the server does not have that capset.
 */
const struct vgpu_msg_capset *
compute_server_find_capset(const struct compute_server *server, uint32_t id);

/**
 * Have a worker started.
 *
 * Returns the socket on which CTX_READY with serial will come, or a negative errno.
 */
int
compute_server_create_context(struct compute_server *server,
                              uint32_t ctx_id,
                              uint32_t capset_id,
                              size_t name_len,
                              const char *name,
                              uint64_t *serial);

/**
 * Have a worker killed.  Does not wait for its death.
 */
void
compute_server_kill_context(struct compute_server *server, uint64_t serial);

/**
 * Send one message with its descriptors, without waiting for room.
 *
 * Returns what sendmsg() does, or a negative errno.
 */
int
compute_send(int sock, const struct vgpu_msg_hdr *msg, const int *fds, uint32_t nr_fds);

#endif /* COMPUTE_SERVER_H */
