/* SPDX-License-Identifier: MIT */
/*
 * The tests' side of the protocol: a server, contexts, requests
 *
 * Every function asserts what it relies on, so that a test reads as what it is
 * about.
 */
#ifndef TESTS_CLIENT_H
#define TESTS_CLIENT_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>
#include <cmocka.h>

#include <linux/virtio_gpu_compute.h>

#include "hw/virtio/virtio-gpu-compute-proto.h"

/* How long anything may take that a sanitized server does, in milliseconds. */
#define TIMEOUT_MS	60000

/**
 * struct server - a vgpu-compute-server under test
 * @pid: the process
 * @control: its control connection
 * @log: its standard error if it was started logging
 * @tmp: its TMPDIR, made for it
 * @offered: what it reported
 * @capset: the same, if it computes
 */
struct server {
	pid_t pid;
	int control;
	int log;
	char tmp[64];
	struct vgpu_msg_capset offered;
	struct virtio_gpu_compute_capset capset;
};

/**
 * struct ctx - a context of it
 * @serial: its name
 * @sock: QEMU's end of its connection
 * @pidfd: of its worker
 * @shm: its shared blob, or NULL
 * @seqno: of the last request
 */
struct ctx {
	uint64_t serial;
	int sock;
	int pidfd;
	uint8_t *shm;
	uint32_t seqno;
};

#define SHM_SIZE	65536
#define SHM_RES_ID	1000
/* Where responses go, and how much room there is. */
#define RSP_OFF		64
#define RSP_ROOM	(SHM_SIZE - RSP_OFF)

/**
 * struct memory - "guest" memory: a memfd, shuffled into a resource
 * @fd: read-write
 * @rdonly_fd: another descriptor of it, O_RDONLY
 * @addr: mapped in its own order
 * @pages: size
 */
struct memory {
	int fd;
	int rdonly_fd;
	uint8_t *addr;
	size_t pages;
};

size_t page_size(void);

/* Exit status of the server when run with these arguments, and its stderr. */
int run_server(char *const argv[], char *err, size_t err_size);

/* Started with --fd, not greeted. */
void server_spawn(struct server *s, const char *opt1, const char *opt2);
/* With these flags of HELLO. @opt1 says which backend, if it is not opencl. */
void server_greet(struct server *s, const char *opt1, uint32_t flags);
/* Started with --fd and up to two more options, greeted as by QEMU. */
void server_start(struct server *s, const char *opt1, const char *opt2);
/* The same, with what it says kept. */
void server_start_logging(struct server *s, const char *opt1, const char *opt2);
/* Waits until it has said @text; returns all it has said, for the caller to free. */
char *server_said(struct server *s, const char *text);
/* Ends the connection; the server's exit status. Checks that nothing is left. */
int server_stop(struct server *s);

void send_msg(int sock, void *msg, size_t size, const int *fds, int nr_fds);
/* Next message on a context's connection; its status. */
uint32_t recv_done(int sock, uint32_t type, uint64_t serial, int *fd);
/* The same of a request that may be told flags (VGPU_DONE_*). */
uint32_t recv_done_flags(int sock, uint64_t serial, uint32_t *flags);
/* The connection has ended. */
void expect_eof(int sock);
/* A process is dead. */
void expect_dead(int pidfd);

/* Processes whose parent is @parent, and how many; @pids may be NULL. */
int list_children(pid_t parent, pid_t *pids, int max);
int count_children(pid_t parent);
/* Until there are that many. */
void wait_for_children(pid_t parent, int want);
pid_t pid_of(int pidfd);
/* A field of /proc/PID/status. */
void proc_status(pid_t pid, const char *field, char *value, size_t size);

uint32_t ctx_create_status(struct server *s, struct ctx *c, uint32_t capset);
uint32_t ctx_create_named(struct server *s, struct ctx *c, uint32_t capset,
			  const char *name);
/* With its shared blob. */
void ctx_create(struct server *s, struct ctx *c);
void ctx_close(struct ctx *c);

void memory_create(struct memory *m, size_t pages);
void memory_destroy(struct memory *m);
/* Page @i of the resource in the memory. */
uint8_t *memory_page(const struct memory *m, size_t i);
uint32_t map_memory(struct ctx *c, uint32_t res_id, const struct memory *m,
		    bool rdonly);
/* Mappings of "guest" memory in a process; 0 for who must not look. */
size_t count_ram(pid_t pid);
/* Memory as QEMU makes it for a blob, mapped at @addr unless that is NULL. */
uint32_t map_blob(struct ctx *c, uint32_t res_id, uint64_t blob_id, size_t size,
		  uint8_t **addr);
/* The same where DONE may have flags. */
uint32_t map_blob_flags(struct ctx *c, uint32_t res_id, uint64_t blob_id,
			size_t size, uint8_t **addr, uint32_t *flags);
/* A store to a doorbell, which is not answered. */
void send_doorbell(struct ctx *c, uint32_t res_id, uint32_t offset,
		   uint64_t value);
uint32_t unmap(struct ctx *c, uint32_t res_id);

uint32_t submit(struct ctx *c, const void *payload, uint32_t len);
/* Fills the header, submits, checks seqno; ret of the response. */
int32_t request(struct ctx *c, void *req, uint32_t len, uint32_t cmd);
const void *response(const struct ctx *c);

int32_t build(struct ctx *c, uint32_t program_id, const char *source,
	      const char *options);
struct virtio_gpu_compute_arg arg_res(uint32_t res_id, uint64_t offset,
				      uint64_t size);
/* One-dimensional; @value is the last argument if not NULL. */
int32_t launch(struct ctx *c, uint32_t program_id, const char *kernel,
	       size_t global, const struct virtio_gpu_compute_arg *res,
	       uint32_t nr_res, const uint32_t *value);
/* The same without waiting for the answer. */
void launch_async(struct ctx *c, uint32_t program_id, const char *kernel,
		  size_t global, const struct virtio_gpu_compute_arg *res,
		  uint32_t nr_res, const uint32_t *value);

#endif /* TESTS_CLIENT_H */
