// SPDX-License-Identifier: MIT
/*
 * The tests' side of the protocol: a server, contexts, requests
 */
#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "send.h"

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static const char *server_path(void)
{
	const char *path = getenv("VCS_SERVER");

	assert_non_null(path);
	return path;
}

int run_server(char *const argv[], char *err, size_t err_size)
{
	size_t len = 0;
	int out[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(out[1], STDERR_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execv(server_path(), argv);
		_exit(127);
	}
	close(out[1]);
	while (len < err_size - 1 &&
	       (n = read(out[0], err + len, err_size - 1 - len)) > 0)
		len += (size_t)n;
	err[len] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void read_exactly(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&pfd, 1, TIMEOUT_MS), 1);
		n = read(fd, p, len);
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

void server_greet(struct server *s, const char *opt1, uint32_t flags)
{
	const char *option = "--backend=", *backend = "opencl";
	struct vgpu_msg_hello hello = {
		.hdr = {
			.type = VGPU_MSG_HELLO,
			.size = sizeof(hello),
			.flags = flags,
			.serial = 42,
		},
		.version = VGPU_PROTO_VERSION,
	};

	if (opt1 && !strncmp(opt1, option, strlen(option)))
		backend = opt1 + strlen(option);
	send_msg(s->control, &hello, sizeof(hello), NULL, 0);
	read_exactly(s->control, &hello, sizeof(hello));
	assert_int_equal(hello.hdr.type, VGPU_MSG_HELLO);
	assert_int_equal(hello.hdr.serial, 42);
	assert_int_equal(hello.version, VGPU_PROTO_VERSION);
	assert_int_equal(hello.nr_capsets, 1);
	assert_int_equal(hello.hdr.size, sizeof(hello) + sizeof(s->offered));
	assert_string_equal(hello.backend, backend);
	read_exactly(s->control, &s->offered, sizeof(s->offered));
	if (strcmp(backend, "opencl"))
		return;
	assert_int_equal(s->offered.id, VIRTIO_GPU_CAPSET_COMPUTE);
	assert_int_equal(s->offered.size, sizeof(s->capset));
	memcpy(&s->capset, s->offered.data, sizeof(s->capset));
}

void server_spawn(struct server *s, const char *opt1, const char *opt2)
{
	char fd_opt[32];
	int pair[2];

	memset(s, 0, sizeof(*s));
	s->log = -1;
	strcpy(s->tmp, "/tmp/vgpu-test-XXXXXX");
	assert_non_null(mkdtemp(s->tmp));
	/* Workers of a server that is root pass through it. */
	assert_int_equal(chmod(s->tmp, 0711), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		char *argv[] = {
			(char *)"vgpu-compute-server", fd_opt, (char *)opt1,
			(char *)opt2, NULL,
		};
		int fd = dup(pair[1]);

		snprintf(fd_opt, sizeof(fd_opt), "--fd=%d", fd);
		setenv("TMPDIR", s->tmp, 1);
		execv(server_path(), argv);
		_exit(127);
	}
	close(pair[1]);
	s->control = pair[0];
}

void server_start(struct server *s, const char *opt1, const char *opt2)
{
	server_spawn(s, opt1, opt2);
	server_greet(s, opt1, VGPU_MSG_F_DOORBELLS);
}

void server_start_logging(struct server *s, const char *opt1, const char *opt2)
{
	int log = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);

	assert_true(log >= 0 && saved >= 0);
	/* Several processes write, each where the one before has ended. */
	assert_int_equal(fcntl(log, F_SETFL, O_APPEND), 0);
	assert_true(dup2(log, STDERR_FILENO) >= 0);
	server_spawn(s, opt1, opt2);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	s->log = log;
	server_greet(s, opt1, VGPU_MSG_F_DOORBELLS);
}

char *server_said(struct server *s, const char *text)
{
	char *said = NULL;
	struct stat st;
	int i;

	for (i = 0; i < TIMEOUT_MS / 10; i++) {
		assert_int_equal(fstat(s->log, &st), 0);
		free(said);
		said = calloc(1, (size_t)st.st_size + 1);
		assert_non_null(said);
		assert_int_equal(pread(s->log, said, (size_t)st.st_size, 0),
				 st.st_size);
		if (strstr(said, text))
			return said;
		usleep(10000);
	}
	fail_msg("'%s' is not in: %s", text, said);
	return said;
}

int server_stop(struct server *s)
{
	int status;

	if (s->control >= 0)
		close(s->control);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	/* It has removed all it made there. */
	assert_int_equal(rmdir(s->tmp), 0);
	if (s->log >= 0)
		close(s->log);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void send_msg(int sock, void *msg, size_t size, const int *fds, int nr_fds)
{
	assert_int_equal(send_with_fds(sock, msg, size, fds,
				       (unsigned int)nr_fds, 0), size);
}

static struct vgpu_msg_done recv_any_done(int sock, uint32_t type,
					  uint64_t serial, int *fd)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	struct vgpu_msg_done done;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = &done, .iov_len = sizeof(done) };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;

	assert_int_equal(poll(&pfd, 1, TIMEOUT_MS), 1);
	assert_int_equal(recvmsg(sock, &mh, MSG_CMSG_CLOEXEC), sizeof(done));
	assert_int_equal(done.hdr.type, type);
	assert_int_equal(done.hdr.size, sizeof(done));
	assert_int_equal(done.hdr.serial, serial);
	cmsg = CMSG_FIRSTHDR(&mh);
	assert_int_equal(cmsg != NULL, fd && !done.status);
	if (cmsg)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return done;
}

uint32_t recv_done(int sock, uint32_t type, uint64_t serial, int *fd)
{
	struct vgpu_msg_done done = recv_any_done(sock, type, serial, fd);

	assert_int_equal(done.flags, 0);
	return done.status;
}

uint32_t recv_done_flags(int sock, uint64_t serial, uint32_t *flags)
{
	struct vgpu_msg_done done = recv_any_done(sock, VGPU_MSG_DONE, serial,
						  NULL);

	*flags = done.flags;
	return done.status;
}

void expect_eof(int sock)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	char c;

	assert_int_equal(poll(&pfd, 1, TIMEOUT_MS), 1);
	assert_true(recv(sock, &c, 1, 0) <= 0);
}

void expect_dead(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, TIMEOUT_MS), 1);
}

int list_children(pid_t parent, pid_t *pids, int max)
{
	struct dirent *de;
	int n = 0;
	DIR *dir;

	dir = opendir("/proc");
	assert_non_null(dir);
	while ((de = readdir(dir))) {
		char path[300], state;
		int pid, ppid;
		FILE *f;

		if (!isdigit((unsigned char)de->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", de->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%d (%*[^)]) %c %d", &pid, &state, &ppid) == 3 &&
		    ppid == parent) {
			if (n < max)
				pids[n] = pid;
			n++;
		}
		fclose(f);
	}
	closedir(dir);
	return n;
}

int count_children(pid_t parent)
{
	return list_children(parent, NULL, 0);
}

void wait_for_children(pid_t parent, int want)
{
	int i;

	for (i = 0; i < TIMEOUT_MS / 10; i++) {
		if (count_children(parent) == want)
			return;
		usleep(10000);
	}
	assert_int_equal(count_children(parent), want);
}

/* A field of /proc/PID/status as text. */
void proc_status(pid_t pid, const char *field, char *value, size_t size)
{
	char path[64], line[256];
	size_t len = strlen(field);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	assert_non_null(f);
	value[0] = '\0';
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			snprintf(value, size, "%s",
				 line + len + 1 + strspn(line + len + 1, "\t "));
	fclose(f);
	value[strcspn(value, "\n")] = '\0';
	assert_true(value[0]);
}

pid_t pid_of(int pidfd)
{
	char path[64];
	int pid = 0;
	char line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Pid: %d", &pid);
	fclose(f);
	assert_true(pid > 0);
	return pid;
}

static uint64_t next_serial(void)
{
	static uint64_t serial = 100;

	return ++serial;
}

uint32_t ctx_create_named(struct server *s, struct ctx *c, uint32_t capset,
			  const char *name)
{
	struct vgpu_msg_ctx_create create = {
		.hdr = {
			.type = VGPU_MSG_CTX_CREATE,
			.size = sizeof(create),
			.serial = next_serial(),
		},
		.ctx_id = 7,
		.capset_id = capset,
	};
	int pair[2];

	strncpy(create.name, name, sizeof(create.name) - 1);
	memset(c, 0, sizeof(*c));
	c->serial = create.hdr.serial;
	c->pidfd = -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    pair), 0);
	send_msg(s->control, &create, sizeof(create), &pair[1], 1);
	close(pair[1]);
	c->sock = pair[0];
	return recv_done(c->sock, VGPU_MSG_CTX_READY, c->serial, &c->pidfd);
}

uint32_t ctx_create_status(struct server *s, struct ctx *c, uint32_t capset)
{
	return ctx_create_named(s, c, capset, "test");
}

static uint32_t map_runs(struct ctx *c, uint32_t res_id, uint32_t flags,
			 uint64_t blob_id, const struct vgpu_run *runs,
			 uint32_t nr_runs, uint64_t size, int fd,
			 uint32_t *done_flags)
{
	struct {
		struct vgpu_msg_res_map map;
		struct vgpu_run runs[2048];
	} msg = {
		.map = {
			.hdr = {
				.type = VGPU_MSG_RES_MAP,
				.serial = next_serial(),
			},
			.res_id = res_id,
			.flags = flags,
			.blob_id = blob_id,
			.size = size,
		},
	};

	while (nr_runs) {
		uint32_t n = nr_runs < 2048 ? nr_runs : 2048;

		nr_runs -= n;
		msg.map.hdr.size = (uint32_t)(sizeof(msg.map) +
					      n * sizeof(runs[0]));
		msg.map.hdr.flags = nr_runs ? VGPU_MSG_F_MORE : 0;
		msg.map.nr_runs = n;
		memcpy(msg.runs, runs, n * sizeof(runs[0]));
		runs += n;
		send_msg(c->sock, &msg, msg.map.hdr.size, &fd, 1);
	}
	return recv_done_flags(c->sock, msg.map.hdr.serial, done_flags);
}

uint32_t map_blob(struct ctx *c, uint32_t res_id, uint64_t blob_id, size_t size,
		  uint8_t **addr)
{
	uint32_t flags, status;

	status = map_blob_flags(c, res_id, blob_id, size, addr, &flags);
	assert_int_equal(flags, 0);
	return status;
}

uint32_t map_blob_flags(struct ctx *c, uint32_t res_id, uint64_t blob_id,
			size_t size, uint8_t **addr, uint32_t *flags)
{
	const struct vgpu_run run = { .length = size };
	uint32_t status;
	int fd;

	fd = memfd_create("blob", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (addr) {
		*addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			     0);
		assert_ptr_not_equal(*addr, MAP_FAILED);
	}
	status = map_runs(c, res_id, VGPU_RES_BLOB, blob_id, &run, 1, size, fd,
			  flags);
	close(fd);
	return status;
}

void ctx_create(struct server *s, struct ctx *c)
{
	assert_int_equal(ctx_create_status(s, c, s->offered.id), 0);
	assert_int_equal(map_blob(c, SHM_RES_ID, 0, SHM_SIZE, &c->shm), 0);
}

void ctx_close(struct ctx *c)
{
	close(c->sock);
	if (c->pidfd >= 0) {
		expect_dead(c->pidfd);
		close(c->pidfd);
	}
	if (c->shm)
		munmap(c->shm, SHM_SIZE);
	memset(c, 0, sizeof(*c));
}

void memory_create(struct memory *m, size_t pages)
{
	char path[64];

	m->pages = pages;
	m->fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(m->fd, (off_t)(pages * page_size())), 0);
	/* As QEMU's: only root, or its owner by chmod, opens it again. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
	m->rdonly_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(m->rdonly_fd >= 0);
	assert_int_equal(fchmod(m->fd, 0400), 0);
	m->addr = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE,
		       MAP_SHARED, m->fd, 0);
	assert_ptr_not_equal(m->addr, MAP_FAILED);
}

void memory_destroy(struct memory *m)
{
	munmap(m->addr, m->pages * page_size());
	close(m->fd);
	close(m->rdonly_fd);
}

/* Backwards: no page of the resource has its neighbour behind it. */
static size_t shuffled(const struct memory *m, size_t i)
{
	return m->pages - 1 - i;
}

uint8_t *memory_page(const struct memory *m, size_t i)
{
	return m->addr + shuffled(m, i) * page_size();
}

size_t count_ram(pid_t pid)
{
	char path[64], line[512];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "r");
	/* Of a process that has given up its rights only root sees it. */
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "memfd:ram"))
			n++;
	fclose(f);
	return n;
}

uint32_t map_memory(struct ctx *c, uint32_t res_id, const struct memory *m,
		    bool rdonly)
{
	struct vgpu_run *runs = calloc(m->pages, sizeof(*runs));
	uint32_t flags, status;
	size_t i;

	assert_non_null(runs);
	for (i = 0; i < m->pages; i++) {
		runs[i].offset = shuffled(m, i) * page_size();
		runs[i].length = page_size();
	}
	status = map_runs(c, res_id, rdonly ? VGPU_RES_RDONLY : 0, 0, runs,
			  (uint32_t)m->pages, m->pages * page_size(),
			  rdonly ? m->rdonly_fd : m->fd, &flags);
	assert_int_equal(flags, 0);
	free(runs);
	return status;
}

void send_doorbell(struct ctx *c, uint32_t res_id, uint32_t offset,
		   uint64_t value)
{
	struct vgpu_msg_doorbell msg = {
		.hdr = {
			.type = VGPU_MSG_DOORBELL,
			.size = sizeof(msg),
			.serial = next_serial(),
		},
		.res_id = res_id,
		.offset = offset,
		.size = 8,
		.value = value,
	};

	send_msg(c->sock, &msg, sizeof(msg), NULL, 0);
}

uint32_t unmap(struct ctx *c, uint32_t res_id)
{
	struct vgpu_msg_res_unmap msg = {
		.hdr = {
			.type = VGPU_MSG_RES_UNMAP,
			.size = sizeof(msg),
			.serial = next_serial(),
		},
		.res_id = res_id,
	};

	send_msg(c->sock, &msg, sizeof(msg), NULL, 0);
	return recv_done(c->sock, VGPU_MSG_DONE, msg.hdr.serial, NULL);
}

static uint64_t send_submit(struct ctx *c, const void *payload, uint32_t len)
{
	struct {
		struct vgpu_msg_submit submit;
		uint8_t payload[4096];
	} msg = {
		.submit = {
			.hdr = {
				.type = VGPU_MSG_SUBMIT,
				.serial = next_serial(),
			},
			.total = len,
		},
	};

	do {
		uint32_t n = len < sizeof(msg.payload) ? len :
			     (uint32_t)sizeof(msg.payload);

		memcpy(msg.payload, payload, n);
		payload = (const uint8_t *)payload + n;
		len -= n;
		msg.submit.hdr.size = (uint32_t)sizeof(msg.submit) + n;
		msg.submit.hdr.flags = len ? VGPU_MSG_F_MORE : 0;
		send_msg(c->sock, &msg, msg.submit.hdr.size, NULL, 0);
	} while (len);
	return msg.submit.hdr.serial;
}

uint32_t submit(struct ctx *c, const void *payload, uint32_t len)
{
	uint64_t serial = send_submit(c, payload, len);

	return recv_done(c->sock, VGPU_MSG_DONE, serial, NULL);
}

static void prepare(struct ctx *c, void *req, uint32_t len, uint32_t cmd)
{
	struct virtio_gpu_compute_rsp *rsp = (void *)(c->shm + RSP_OFF);
	struct virtio_gpu_compute_req *hdr = req;

	hdr->cmd = htole32(cmd);
	hdr->len = htole32(len);
	hdr->seqno = htole32(++c->seqno);
	hdr->rsp_off = htole32(RSP_OFF);
	memset(rsp, 0xee, RSP_ROOM);
	rsp->len = htole32(RSP_ROOM);
}

const void *response(const struct ctx *c)
{
	return c->shm + RSP_OFF;
}

int32_t request(struct ctx *c, void *req, uint32_t len, uint32_t cmd)
{
	const struct virtio_gpu_compute_shmem *shm = (const void *)c->shm;
	const struct virtio_gpu_compute_rsp *rsp = response(c);

	prepare(c, req, len, cmd);
	assert_int_equal(submit(c, req, len), 0);
	assert_int_equal(le32toh(shm->seqno), c->seqno);
	return (int32_t)le32toh(rsp->ret);
}

int32_t build(struct ctx *c, uint32_t program_id, const char *source,
	      const char *options)
{
	size_t source_len = strlen(source), options_len = strlen(options);
	struct virtio_gpu_compute_build *req;
	size_t len = (sizeof(*req) + source_len + options_len + 7) & ~7UL;
	int32_t ret;

	req = calloc(1, len);
	assert_non_null(req);
	req->program_id = htole32(program_id);
	req->source_len = htole32((uint32_t)source_len);
	req->options_len = htole32((uint32_t)options_len);
	memcpy(req->data, source, source_len);
	memcpy(req->data + source_len, options, options_len);
	ret = request(c, req, (uint32_t)len, VIRTIO_GPU_COMPUTE_BUILD);
	free(req);
	return ret;
}

struct virtio_gpu_compute_arg arg_res(uint32_t res_id, uint64_t offset,
				      uint64_t size)
{
	return (struct virtio_gpu_compute_arg) {
		.type = htole32(VIRTIO_GPU_COMPUTE_ARG_RESOURCE),
		.res_id = htole32(res_id),
		.offset = htole64(offset),
		.size = htole64(size),
	};
}

struct launch_msg {
	struct virtio_gpu_compute_launch req;
	uint8_t rest[1024];
};

static uint32_t fill_launch(struct launch_msg *msg, uint32_t program_id,
			    const char *kernel, size_t global,
			    const struct virtio_gpu_compute_arg *res,
			    uint32_t nr_res, const uint32_t *value)
{
	size_t len = sizeof(msg->req) + nr_res * sizeof(*res);
	struct virtio_gpu_compute_arg *args = (void *)msg->rest;

	memset(msg, 0, sizeof(*msg));
	msg->req.program_id = htole32(program_id);
	msg->req.work_dim = htole32(1);
	msg->req.nr_args = htole32(nr_res + !!value);
	msg->req.global[0] = htole64(global);
	msg->req.global[1] = msg->req.global[2] = htole64(1);
	strncpy(msg->req.kernel, kernel, sizeof(msg->req.kernel) - 1);
	if (nr_res)
		memcpy(args, res, nr_res * sizeof(*res));
	if (value) {
		args[nr_res].type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES);
		args[nr_res].size = htole64(sizeof(*value));
		memcpy(&args[nr_res + 1], value, sizeof(*value));
		msg->req.data_len = htole32(sizeof(*value));
		len += sizeof(*args) + 8;
	}
	return (uint32_t)len;
}

int32_t launch(struct ctx *c, uint32_t program_id, const char *kernel,
	       size_t global, const struct virtio_gpu_compute_arg *res,
	       uint32_t nr_res, const uint32_t *value)
{
	struct launch_msg msg;
	uint32_t len = fill_launch(&msg, program_id, kernel, global, res,
				   nr_res, value);

	return request(c, &msg, len, VIRTIO_GPU_COMPUTE_LAUNCH);
}

void launch_async(struct ctx *c, uint32_t program_id, const char *kernel,
		  size_t global, const struct virtio_gpu_compute_arg *res,
		  uint32_t nr_res, const uint32_t *value)
{
	struct launch_msg msg;
	uint32_t len = fill_launch(&msg, program_id, kernel, global, res,
				   nr_res, value);

	prepare(c, &msg, len, VIRTIO_GPU_COMPUTE_LAUNCH);
	send_submit(c, &msg, len);
}
