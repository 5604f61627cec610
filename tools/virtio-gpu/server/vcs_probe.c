// SPDX-License-Identifier: MIT
/*
 * Which device works on windows themselves?
 *
 * OpenCL lets a driver copy CL_MEM_USE_HOST_PTR memory, and some drivers take
 * only anonymous memory or only what is one mapping. No query tells, so each
 * device has to show it: in a process set up like a worker it builds and runs a
 * kernel over windows whose pages are shuffled, and what it computes has to be
 * there in another mapping of the same memory. The same run shows that it works
 * in the sandbox at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vcs_backend_opencl.h"
#include "vcs_children.h"
#include "vcs_log.h"
#include "vcs_probe.h"
#include "vcs_signals.h"

/* Pages of each window; enough for every page to have odd neighbours. */
#define VCS_PROBE_PAGES		256
/* Prime to VCS_PROBE_PAGES, so that multiples of it are a shuffle. */
#define VCS_PROBE_STRIDE	37
/* Starting a driver and building once; a loaded machine needs many seconds. */
#define VCS_PROBE_TIMEOUT_MS	120000
#define VCS_PROBE_BUILD_MS	60000

/* More than a machine has. */
#define VCS_PROBE_DEVICES	64

static const char probe_source[] =
	"__kernel void probe(__global const uint *in, __global uint *out,\n"
	"                    uint add)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	out[i] = in[i] * 3u + add;\n"
	"}\n";

/* What a probing worker sends. */
struct report {
	int status;
	char reason[256];
	struct vcs_device_info info;
};

static int fail(struct report *r, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct report *r, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
	va_end(ap);
	return status;
}

/* Page @i of a window is this page of its file. */
static size_t shuffled(size_t i)
{
	return i * VCS_PROBE_STRIDE % VCS_PROBE_PAGES;
}

/*
 * @fd is open read-write. A read-only window is mapped from a descriptor that
 * is opened anew, as QEMU's are.
 */
static int make_window(struct vcs_window *win, int fd, bool rdonly,
		       struct vcs_map_budget *budget)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct vgpu_run runs[VCS_PROBE_PAGES];
	char path[64];
	size_t i;
	int ret;

	for (i = 0; i < VCS_PROBE_PAGES; i++)
		runs[i] = (struct vgpu_run) {
			.offset = shuffled(i) * page,
			.length = page,
		};
	ret = vcs_window_init(win, VCS_PROBE_PAGES * page, rdonly);
	if (ret)
		return ret;
	if (!rdonly) {
		ret = vcs_window_append(win, runs, VCS_PROBE_PAGES, &fd, 1,
					budget);
	} else {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		ret = vcs_window_append(win, runs, VCS_PROBE_PAGES, &fd, 1,
					budget);
		close(fd);
	}
	return ret ? ret : vcs_window_finish(win);
}

/* Memory behind a window, as a guest sees it: in the file's own order. */
static uint32_t *map_memory(int *fd)
{
	size_t size = VCS_PROBE_PAGES * (size_t)sysconf(_SC_PAGESIZE);
	void *addr;

	*fd = memfd_create("vgpu-probe", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)size))
		return NULL;
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return addr == MAP_FAILED ? NULL : addr;
}

/* Run the kernel over new input and look for its output in the memory. */
static int check_once(struct vcs_backend *be, struct vcs_program *prog,
		      struct vcs_buffer *in, struct vcs_buffer *out,
		      uint32_t *in_mem, const uint32_t *out_mem, uint32_t add,
		      struct report *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = VCS_PROBE_PAGES * page, words = page / sizeof(uint32_t);
	const struct vcs_arg args[] = {
		{ .type = VCS_ARG_BUFFER, .buffer = in, .size = size },
		{ .type = VCS_ARG_BUFFER, .buffer = out, .size = size },
		{ .type = VCS_ARG_BYTES, .data = &add, .size = sizeof(add) },
	};
	const struct vcs_launch launch = {
		.kernel = "probe",
		.work_dim = 1,
		.global = { VCS_PROBE_PAGES * words },
		.nr_args = 3,
		.args = args,
	};
	struct vcs_launch_result result;
	size_t i;
	int ret;

	/* Window word w is memory word w of page shuffled(w / words). */
	for (i = 0; i < VCS_PROBE_PAGES * words; i++)
		in_mem[i] = (uint32_t)i ^ (add << 16);
	ret = be->ops->launch(be, prog, &launch, &result);
	if (ret)
		return fail(r, ret, "a kernel over windows fails: %s",
			    strerror(-ret));
	/* Both windows are shuffled alike, so pages correspond. */
	for (i = 0; i < VCS_PROBE_PAGES * words; i++)
		if (out_mem[i] != (((uint32_t)i ^ (add << 16)) * 3u + add))
			return fail(r, -EIO, "it copies memory: a kernel's result is not where the guest would see it");
	return 0;
}

static int probe_windows(struct vcs_backend *be, struct report *r)
{
	struct vcs_window win_in = { 0 }, win_out = { 0 };
	struct vcs_buffer *in = NULL, *out = NULL;
	struct vcs_program *prog = NULL;
	struct vcs_build_log log = { 0 };
	struct vcs_map_budget budget;
	uint32_t *in_mem, *out_mem;
	int in_fd, out_fd, ret;

	in_mem = map_memory(&in_fd);
	out_mem = map_memory(&out_fd);
	ret = vcs_map_budget_init(&budget);
	if (!ret && (!in_mem || !out_mem))
		ret = -ENOMEM;
	if (!ret)
		ret = make_window(&win_in, in_fd, true, &budget);
	if (!ret)
		ret = make_window(&win_out, out_fd, false, &budget);
	if (ret)
		return fail(r, ret, "cannot make a window: %s", strerror(-ret));

	ret = be->ops->import(be, &win_in, &in);
	if (ret)
		return fail(r, ret, "it refuses read-only scattered memory: %s",
			    strerror(-ret));
	ret = be->ops->import(be, &win_out, &out);
	if (ret)
		return fail(r, ret, "it refuses scattered memory: %s",
			    strerror(-ret));
	ret = be->ops->build(be, probe_source, sizeof(probe_source) - 1, "",
			     &prog, &log);
	if (ret)
		return fail(r, ret, "it cannot build a kernel: %s: %.*s",
			    strerror(-ret), (int)log.len,
			    log.text ? log.text : "");

	/* Twice: a driver that copies could do so at the first use only. */
	ret = check_once(be, prog, in, out, in_mem, out_mem, 1, r);
	if (!ret)
		ret = check_once(be, prog, in, out, in_mem, out_mem, 2, r);
	/* The process ends now, and all this with it. */
	return ret;
}

static int probe_worker(int sock, int compiler, const struct vcs_config *cfg,
			struct vcs_stats *stats)
{
	struct report r = { 0 };
	struct vcs_backend *be;

	(void)stats;
	r.status = vcs_backend_opencl_open(cfg, compiler, &be);
	if (r.status) {
		fail(&r, r.status, "its driver fails: %s", strerror(-r.status));
	} else {
		r.status = be->ops->query(be, &r.info);
		if (r.status)
			fail(&r, r.status, "it does not describe itself");
		else
			r.status = probe_windows(be, &r);
	}
	return send(sock, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r) ? 0 :
	       -errno;
}

int vcs_probe_child(const struct vcs_config *cfg, int signals,
		    vcs_worker_fn worker, void *report, size_t size,
		    int timeout_ms, int *signal)
{
	struct vcs_children c;
	int pair[2], ret, n, status;
	ssize_t len = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = vcs_children_start(&c, cfg, pair[1], worker, "probe");
	close(pair[1]);
	if (ret) {
		close(pair[0]);
		return ret;
	}
	n = vcs_signals_wait(signals, pair[0], timeout_ms);
	if (n > 0)
		len = recv(pair[0], report, size, MSG_DONTWAIT);
	/* It may be about to die of what it has not told: let it. */
	if (n > 0 && len != (ssize_t)size)
		waitid(P_PID, (id_t)c.worker, NULL, WEXITED | WNOWAIT);
	vcs_children_stop(&c, cfg, &status);
	close(pair[0]);
	if (n < 0)
		return n;
	if (len == (ssize_t)size)
		return 0;
	if (!n)
		return -ETIMEDOUT;
	/* Not the device's fault: it would be the same with the next one. */
	if (!WIFSIGNALED(status))
		return -ECHILD;
	*signal = WTERMSIG(status);
	return -EIO;
}

static int probe_one(const struct vcs_config *cfg, int signals,
		     struct report *r)
{
	int ret, signal;

	ret = vcs_probe_child(cfg, signals, probe_worker, r, sizeof(*r),
			      VCS_PROBE_TIMEOUT_MS, &signal);
	if (ret != -ETIMEDOUT && ret != -EIO)
		return ret;
	memset(r, 0, sizeof(*r));
	if (ret == -ETIMEDOUT)
		r->status = fail(r, ret, "its driver hangs");
	else
		r->status = fail(r, ret, "its driver crashes: %s",
				 strsignal(signal));
	return 0;
}

int vcs_probe(struct vcs_config *cfg, int signals,
	      struct vcs_device_info *info)
{
	struct vcs_config probe_cfg = *cfg;
	unsigned int index;
	struct report r;
	int ret;

	/* The configured time is for what guests compile. */
	probe_cfg.build_timeout_ms = VCS_PROBE_BUILD_MS;
	/* A driver that crashes when it is loaded does so with every device. */
	for (index = 0; index < VCS_PROBE_DEVICES; index++) {
		probe_cfg.device_index = index;
		ret = probe_one(&probe_cfg, signals, &r);
		if (ret)
			return ret;
		if (!r.status) {
			cfg->device_index = index;
			/* Without device nodes others may not be counted. */
			cfg->cpu = r.info.is_cpu && !index;
			*info = r.info;
			return 0;
		}
		if (r.status == -ENODEV)
			return index ? -ENXIO : -ENODEV;
		/* Both ends are ours, but what is in between a driver's. */
		r.reason[sizeof(r.reason) - 1] = '\0';
		r.info.device[sizeof(r.info.device) - 1] = '\0';
		vcs_warn("device %u '%s' refused: %s", index, r.info.device,
			 r.reason);
	}
	return -ENXIO;
}
