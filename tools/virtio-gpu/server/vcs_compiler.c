// SPDX-License-Identifier: MIT
/*
 * Compile helper: OpenCL C is built in a process that has no guest memory
 *
 * Drivers run programs to compile (PoCL runs ld), and whoever forks while it
 * has guest memory mapped hands it to the child. So a context has a second
 * process, the helper, which is there before any window and never gets one. For
 * each build it forks a builder: a compiler that crashes, hangs or is taken
 * over by its input ends with that build.
 *
 *   worker --- request ---> helper --- fork ---> builder
 *   worker <-- status, memfd -- helper <-- memfd, exit --/
 *
 * The worker then only loads a binary. PoCL would still compile at the first
 * launch, to specialise the kernel for its work-group size, if it found the
 * program's bitcode in its cache directory, which helper and worker share: so
 * the helper removes the bitcode, the worker cannot write it there, and PoCL
 * takes the kernel for any size that is in the binary.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vcs_children.h"
#include "vcs_compiler.h"
#include "vcs_log.h"
#include "vcs_msg.h"
#include "vcs_opencl.h"
#include "vcs_sandbox.h"
#include "vcs_scratch.h"

/* What the worker accepts of a builder, which may be in the guest's hands. */
#define VCS_MAX_KERNELS		1024
#define VCS_MAX_LOG		(1UL << 20)
#define VCS_MAX_BINARY		(64UL << 20)

/* A compiler leaves none or one; one that goes on forking is not waited for. */
#define VCS_MAX_STRAYS		4096

/* How much longer the worker waits than the helper, in milliseconds. */
#define VCS_HELPER_SLACK_MS	5000

/* Request: this, the source, the options. */
struct compile_req {
	uint32_t source_len;
	uint32_t options_len;
};

/* Answer; @status 0 comes with the builder's memfd. */
struct compile_rsp {
	int32_t status;
};

/* The memfd: this, the kernels, the log, the binary. */
struct compile_result {
	int32_t status;
	uint32_t nr_kernels;
	uint64_t log_len;
	uint64_t binary_len;
};

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* 0, or -EPIPE when there is less. */
static int read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Builder */

static int describe_arg(cl_kernel kernel, cl_uint index, uint8_t *kind)
{
	cl_kernel_arg_address_qualifier address;
	cl_kernel_arg_access_qualifier access;
	char type[256] = "";
	cl_int err;

	err = clGetKernelArgInfo(kernel, index, CL_KERNEL_ARG_ADDRESS_QUALIFIER,
				 sizeof(address), &address, NULL);
	if (!err)
		err = clGetKernelArgInfo(kernel, index,
					 CL_KERNEL_ARG_ACCESS_QUALIFIER,
					 sizeof(access), &access, NULL);
	if (err)
		return vcs_opencl_errno(err);
	/* A name that does not fit is a struct's. */
	err = clGetKernelArgInfo(kernel, index, CL_KERNEL_ARG_TYPE_NAME,
				 sizeof(type) - 1, type, NULL);
	if (err && err != CL_INVALID_VALUE)
		return vcs_opencl_errno(err);

	if (access != CL_KERNEL_ARG_ACCESS_NONE || !strcmp(type, "sampler_t") ||
	    !strcmp(type, "queue_t"))
		*kind = VCS_KERNEL_ARG_OTHER;
	else if (address == CL_KERNEL_ARG_ADDRESS_GLOBAL ||
		 address == CL_KERNEL_ARG_ADDRESS_CONSTANT)
		*kind = VCS_KERNEL_ARG_BUFFER;
	else if (address == CL_KERNEL_ARG_ADDRESS_LOCAL)
		*kind = VCS_KERNEL_ARG_LOCAL;
	else
		*kind = VCS_KERNEL_ARG_VALUE;
	return 0;
}

static int describe_kernel(cl_kernel kernel, struct vcs_kernel *k)
{
	cl_uint i, nr_args;
	cl_int err;
	int ret = 0;

	memset(k, 0, sizeof(*k));
	/* A longer name leaves it empty, and no launch can name it. */
	err = clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME,
			      sizeof(k->name) - 1, k->name, NULL);
	if (err == CL_INVALID_VALUE)
		k->name[0] = '\0';
	else if (err)
		return vcs_opencl_errno(err);
	err = clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof(nr_args),
			      &nr_args, NULL);
	if (err)
		return vcs_opencl_errno(err);
	k->nr_args = nr_args;
	for (i = 0; i < nr_args && i < VCS_KERNEL_ARGS && !ret; i++)
		ret = describe_arg(kernel, i, &k->args[i]);
	return ret;
}

static int describe_kernels(cl_program prog, struct vcs_compiled *c)
{
	cl_kernel *kernels;
	cl_uint n, i;
	int ret = 0;

	if (clCreateKernelsInProgram(prog, 0, NULL, &n))
		return -EIO;
	if (n > VCS_MAX_KERNELS)
		return -E2BIG;
	if (!n)
		return 0;

	kernels = calloc(n, sizeof(*kernels));
	c->kernels = calloc(n, sizeof(*c->kernels));
	if (!kernels || !c->kernels) {
		free(kernels);
		return -ENOMEM;
	}
	if (clCreateKernelsInProgram(prog, n, kernels, NULL)) {
		free(kernels);
		return -EIO;
	}
	c->nr_kernels = n;
	for (i = 0; i < n; i++) {
		if (!ret)
			ret = describe_kernel(kernels[i], &c->kernels[i]);
		clReleaseKernel(kernels[i]);
	}
	free(kernels);
	return ret;
}

static int get_binary(cl_program prog, struct vcs_compiled *c)
{
	unsigned char *binary;
	size_t len = 0;
	cl_int err;

	err = clGetProgramInfo(prog, CL_PROGRAM_BINARY_SIZES, sizeof(len), &len,
			       NULL);
	if (err || !len)
		return -EIO;
	if (len > VCS_MAX_BINARY)
		return -E2BIG;
	binary = malloc(len);
	if (!binary)
		return -ENOMEM;
	c->binary = binary;
	c->binary_len = len;
	err = clGetProgramInfo(prog, CL_PROGRAM_BINARIES, sizeof(binary),
			       &binary, NULL);
	return vcs_opencl_errno(err);
}

static int get_log(cl_program prog, cl_device_id dev, struct vcs_build_log *log)
{
	size_t len = 0;

	if (clGetProgramBuildInfo(prog, dev, CL_PROGRAM_BUILD_LOG, 0, NULL,
				  &len) || len <= 1)
		return 0;
	log->text = malloc(len);
	if (!log->text)
		return -ENOMEM;
	if (clGetProgramBuildInfo(prog, dev, CL_PROGRAM_BUILD_LOG, len,
				  log->text, NULL)) {
		free(log->text);
		log->text = NULL;
		return 0;
	}
	log->len = strnlen(log->text, len);
	if (log->len > VCS_MAX_LOG)
		log->len = VCS_MAX_LOG;
	return 0;
}

static int build(const struct vcs_config *cfg, const char *source,
		 size_t source_len, const char *options, struct vcs_compiled *c,
		 struct vcs_build_log *log)
{
	static const char arg_info[] = " -cl-kernel-arg-info";
	struct vcs_opencl cl;
	cl_program prog;
	char *opts;
	cl_int err;
	int ret;

	opts = malloc(strlen(options) + sizeof(arg_info));
	if (!opts)
		return -ENOMEM;
	strcpy(opts, options);
	strcat(opts, arg_info);

	ret = vcs_opencl_open(&cl, cfg->device, cfg->device_index);
	if (ret)
		goto out_free;
	prog = clCreateProgramWithSource(cl.context, 1, &source, &source_len,
					 &err);
	if (err) {
		ret = vcs_opencl_errno(err);
		goto out_close;
	}
	err = clBuildProgram(prog, 1, &cl.device, opts, NULL, NULL);
	ret = get_log(prog, cl.device, log);
	if (err)
		ret = vcs_opencl_errno(err);
	if (!ret)
		ret = describe_kernels(prog, c);
	if (!ret)
		ret = get_binary(prog, c);
	clReleaseProgram(prog);
out_close:
	vcs_opencl_close(&cl);
out_free:
	free(opts);
	return ret;
}

static int write_result(int fd, int status, const struct vcs_compiled *c,
			const struct vcs_build_log *log)
{
	struct compile_result result = {
		.status = status,
		.log_len = log->len,
	};
	int ret;

	if (!status) {
		result.nr_kernels = c->nr_kernels;
		result.binary_len = c->binary_len;
	}
	ret = write_all(fd, &result, sizeof(result));
	if (!ret)
		ret = write_all(fd, c->kernels,
				result.nr_kernels * sizeof(*c->kernels));
	if (!ret)
		ret = write_all(fd, log->text, log->len);
	if (!ret)
		ret = write_all(fd, c->binary, result.binary_len);
	return ret;
}

static void __attribute__((noreturn))
builder_main(const struct vcs_config *cfg, const char *dir, pid_t parent,
	     int memfd, const char *source, size_t source_len,
	     const char *options)
{
	struct vcs_build_log log = { 0 };
	struct vcs_compiled c = { 0 };
	int ret;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	if (vcs_sandbox_enter(cfg, VCS_ROLE_BUILDER, dir))
		_exit(1);
	/* Compilers also talk to stderr; what matters is in the build log. */
	if (!vcs_log_enabled(VCS_LOG_DEBUG))
		dup2(STDOUT_FILENO, STDERR_FILENO);
	ret = build(cfg, source, source_len, options, &c, &log);
	ret = write_result(memfd, ret, &c, &log);
	if (ret)
		vcs_err("cannot hand a program over: %s", strerror(-ret));
	_exit(ret ? 1 : 0);
}

/* Helper */

static bool is_bitcode(const char *name)
{
	size_t len = strlen(name);

	return len > 3 && !strcmp(name + len - 3, ".bc");
}

/* 0: it has ended well; -EIO: it has crashed; -ETIMEDOUT; -EPIPE: no worker. */
static int wait_builder(int sock, pid_t pid, int timeout_ms)
{
	struct pollfd pfd[2] = {
		{ .events = POLLIN },
		{ .fd = sock, .events = POLLRDHUP },
	};
	int ret = 0, status;

	pfd[0].fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pfd[0].fd < 0) {
		ret = -errno;
	} else {
		int n = poll(pfd, 2, timeout_ms);

		if (n < 0)
			ret = -errno;
		else if (!n)
			ret = -ETIMEDOUT;
		else if (!pfd[0].revents)
			ret = -EPIPE;
		close(pfd[0].fd);
	}
	if (ret)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	if (ret)
		return ret;
	if (WIFSIGNALED(status))
		vcs_log_guest("a builder died of signal %d (%s)",
			      WTERMSIG(status), strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

/*
 * What a builder has started and left behind would have the context's directory
 * for as long as there is the context. The helper is their subreaper: when one
 * is dead its children are the helper's. Not every kernel has the file, and a
 * builder in a guest's hands may fork faster; the group dies with the helper.
 */
static void end_strays(void)
{
	unsigned int tries, n;

	for (tries = 0; tries < VCS_MAX_STRAYS; tries++) {
		n = vcs_kill_strays(NULL, NULL);
		if (!n)
			return;
		while (n--)
			waitpid(-1, NULL, 0);
	}
}

static int serve_one(int sock, const struct vcs_config *cfg, const char *dir,
		     const struct compile_req *req)
{
	pid_t pid, self = getpid();
	struct compile_rsp rsp = { 0 };
	char *source, *options;
	int memfd, ret;

	/* With a NUL each; the source's own is only for debuggers. */
	source = calloc(1, (size_t)req->source_len + 1);
	options = calloc(1, (size_t)req->options_len + 1);
	memfd = memfd_create("vgpu-program", MFD_CLOEXEC);
	if (!source || !options || memfd < 0) {
		ret = -EPIPE;
		goto out;
	}
	ret = read_all(sock, source, req->source_len);
	if (!ret)
		ret = read_all(sock, options, req->options_len);
	if (ret)
		goto out;

	pid = fork();
	if (!pid) {
		close(sock);
		builder_main(cfg, dir, self, memfd, source, req->source_len,
			     options);
	}
	ret = pid < 0 ? -errno :
	      wait_builder(sock, pid, cfg->build_timeout_ms);
	end_strays();
	/* What is left behind would make the worker compile: see above. */
	if (vcs_remove_files(dir, is_bitcode) && !ret)
		ret = -EIO;
	if (ret != -EPIPE) {
		rsp.status = ret;
		ret = vcs_msg_send_fd(sock, &rsp, sizeof(rsp),
				      ret ? -1 : memfd);
	}
out:
	if (memfd >= 0)
		close(memfd);
	free(options);
	free(source);
	return ret;
}

int vcs_compiler_main(int sock, const struct vcs_config *cfg, const char *dir)
{
	struct compile_req req;
	int ret;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		return -errno;
	for (;;) {
		ret = read_all(sock, &req, sizeof(req));
		if (ret == -EPIPE)
			return 0;
		if (ret)
			return ret;
		ret = serve_one(sock, cfg, dir, &req);
		if (ret)
			return ret;
	}
}

/* Worker */

void vcs_compiled_free(struct vcs_compiled *c)
{
	free(c->kernels);
	free(c->binary);
	memset(c, 0, sizeof(*c));
}

static int recv_rsp(int sock, int timeout_ms, int *fd)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	struct compile_rsp rsp;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = &rsp, .iov_len = sizeof(rsp) };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;
	int n;

	n = poll(&pfd, 1, timeout_ms);
	if (!n) {
		/* An answer now would be taken for the next one's. */
		shutdown(sock, SHUT_RDWR);
		return -ETIMEDOUT;
	}
	if (n < 0)
		return -EIO;
	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(rsp))
		return -EIO;
	if (rsp.status)
		return rsp.status < 0 ? rsp.status : -EIO;
	cmsg = CMSG_FIRSTHDR(&mh);
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET ||
	    cmsg->cmsg_type != SCM_RIGHTS ||
	    cmsg->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EIO;
	memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return 0;
}

/* Everything is checked: the builder may have been taken over. */
static int read_result(int fd, struct vcs_compiled *c,
		       struct vcs_build_log *log)
{
	struct compile_result r;
	uint32_t i;

	/* The builder has shared its file offset, and left it at the end. */
	if (lseek(fd, 0, SEEK_SET) || read_all(fd, &r, sizeof(r)))
		return -EIO;
	if (r.status > 0 || r.nr_kernels > VCS_MAX_KERNELS ||
	    r.log_len > VCS_MAX_LOG || r.binary_len > VCS_MAX_BINARY)
		return -EIO;

	c->kernels = calloc(r.nr_kernels + 1, sizeof(*c->kernels));
	c->binary = malloc(r.binary_len + 1);
	log->text = malloc(r.log_len + 1);
	if (!c->kernels || !c->binary || !log->text)
		return -ENOMEM;
	if (read_all(fd, c->kernels, r.nr_kernels * sizeof(*c->kernels)) ||
	    read_all(fd, log->text, r.log_len) ||
	    read_all(fd, c->binary, r.binary_len))
		return -EIO;
	log->len = r.log_len;
	c->nr_kernels = r.nr_kernels;
	c->binary_len = r.binary_len;
	for (i = 0; i < c->nr_kernels; i++)
		c->kernels[i].name[VCS_KERNEL_NAME - 1] = '\0';
	return r.status;
}

int vcs_compile(int sock, int timeout_ms, const char *source, size_t source_len,
		const char *options, struct vcs_compiled *c,
		struct vcs_build_log *log)
{
	struct compile_req req = {
		.source_len = (uint32_t)source_len,
		.options_len = (uint32_t)strlen(options),
	};
	int fd, ret;

	memset(c, 0, sizeof(*c));
	memset(log, 0, sizeof(*log));
	if (write_all(sock, &req, sizeof(req)) ||
	    write_all(sock, source, source_len) ||
	    write_all(sock, options, req.options_len))
		return -EIO;
	ret = recv_rsp(sock, timeout_ms + VCS_HELPER_SLACK_MS, &fd);
	if (ret == -ETIMEDOUT)
		vcs_log_guest("a build took longer than %d s",
			      timeout_ms / 1000);
	if (ret)
		return ret;
	ret = read_result(fd, c, log);
	close(fd);
	if (ret)
		vcs_compiled_free(c);
	return ret;
}
