// SPDX-License-Identifier: MIT
/*
 * ROCM contexts on AMD GPUs
 *
 * The library is loaded once, by the server: from then on it is in every worker,
 * which need not be able to open it. KFD is opened by each worker for itself, for
 * an address space of the GPU belongs to the process that has opened it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vcs_arena.h"
#include "vcs_hsakmt.h"
#include "vcs_log.h"
#include "vcs_probe.h"
#include "vcs_service.h"
#include "vcs_service_rocm.h"
#include "vcs_thunk_hsakmt.h"
#include "vcs_window.h"

/* Opening KFD and reading what machine this is: a second on large ones. */
#define PROBE_TIMEOUT_MS	60000

/* Pages of the window that is tried, which are in reverse order. */
#define PROBE_PAGES	16

/* What to do about it, whatever it is. */
#define INSTEAD "; without an AMD GPU there are --backend=opencl, which computes, and --backend=sim, which does not"

/* What a probing worker sends. */
struct report {
	int status;
	bool rdonly;		/* the GPUs have memory that they cannot write */
	bool elsewhere;		/* they have it at other addresses */
	char why[256];		/* of an error, one sentence's beginning */
	char device[128];
};

/* The first GPU, and how many there are; which ones to @gpus. */
static int describe(struct vcs_thunk *thunk, uint32_t *gpus, uint32_t *nr_gpus,
		    char *device, size_t size)
{
	struct vcs_thunk_node node, first = { 0 };
	struct vcs_thunk_system sys = { 0 };
	uint32_t i, n = 0;
	int ret;

	ret = thunk->ops->system(thunk, &sys);
	for (i = 0; i < sys.num_nodes && !ret; i++) {
		memset(&node, 0, sizeof(node));
		ret = thunk->ops->node(thunk, i, &node);
		if (ret || !node.num_fcompute_cores)
			continue;
		if (!n)
			first = node;
		gpus[n++] = i;
	}
	if (ret)
		return ret;
	if (!n)
		return -ENODEV;
	*nr_gpus = n;
	snprintf(device, size, "%.63s", first.marketing_name[0] ?
		 first.marketing_name : first.amd_name);
	if (n > 1)
		snprintf(device + strlen(device), size - strlen(device),
			 " and %u more", n - 1);
	return 0;
}

/* Pages of a file, as a guest's memory is. */
static int make_window(struct vcs_window *win, const struct vcs_block *block,
		       int fd, struct vcs_map_budget *budget)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), i;
	struct vgpu_run runs[PROBE_PAGES];
	int ret;

	for (i = 0; i < PROBE_PAGES; i++)
		runs[i] = (struct vgpu_run) {
			.offset = (PROBE_PAGES - 1 - i) * page,
			.length = page,
		};
	ret = vcs_window_init_at(win, (void *)(uintptr_t)block->at.addr,
				 block->at.size, false);
	if (!ret)
		ret = vcs_window_append(win, runs, PROBE_PAGES, &fd, 1, budget);
	return ret ? ret : vcs_window_finish(win);
}

/*
 * All that a context does with memory, once; @what is what has failed, @addr
 * where the GPU had it.
 */
static int try_window(struct vcs_thunk *thunk, const uint32_t *gpus,
		      uint32_t nr_gpus, const struct vcs_window *win, bool rdonly,
		      uint64_t *addr, const char **what)
{
	int ret;

	*what = "take";
	ret = thunk->ops->register_memory(thunk, win->addr, win->size, rdonly);
	if (ret)
		return ret;
	*what = "map";
	ret = thunk->ops->map_to_nodes(thunk, win->addr, gpus, nr_gpus, addr);
	if (!ret) {
		*what = "unmap";
		ret = thunk->ops->unmap(thunk, win->addr);
	}
	thunk->ops->deregister(thunk, win->addr);
	return ret;
}

/*
 * Not every GPU that KFD has takes memory that it did not allocate itself: an
 * APU does not, and no property tells. What is made here ends with the process.
 */
static int try_memory(struct vcs_thunk *thunk, const uint32_t *gpus,
		      uint32_t nr_gpus, struct report *r)
{
	size_t size = PROBE_PAGES * (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("vgpu-probe", MFD_CLOEXEC), ret;
	struct vcs_map_budget budget;
	struct vcs_window win = { 0 };
	struct vcs_block *block;
	struct vcs_arena arena;
	const char *what;
	uint64_t addr;

	ret = fd < 0 || ftruncate(fd, (off_t)size) ? -errno : 0;
	if (!ret)
		ret = vcs_map_budget_init(&budget);
	if (!ret)
		ret = vcs_arena_init(&arena);
	if (ret)
		return vcs_explain(r->why, sizeof(r->why), ret,
				   "there is no memory to try the GPU with: %s",
				   strerror(-ret));
	block = vcs_arena_alloc(&arena, size, 1);
	ret = block ? make_window(&win, block, fd, &budget) : -ENOMEM;
	if (ret)
		return vcs_explain(r->why, sizeof(r->why), ret,
				   "cannot map memory to try the GPU with: %s",
				   strerror(-ret));
	ret = try_window(thunk, gpus, nr_gpus, &win, false, &addr,
			 &what);
	if (ret)
		return vcs_explain(r->why, sizeof(r->why), ret,
				   "the GPU's driver does not %s memory of a file, page by page: %s",
				   what, strerror(-ret));
	r->elsewhere = addr != block->at.addr;
	r->rdonly = !try_window(thunk, gpus, nr_gpus, &win, true, &addr, &what);
	return 0;
}

static int probe_worker(int sock, int compiler, const struct vcs_config *cfg,
			struct vcs_stats *stats)
{
	uint32_t gpus[VCS_THUNK_MAX_NODES], nr_gpus;
	struct report r = { 0 };
	struct vcs_thunk *thunk;

	(void)compiler;
	(void)cfg;
	(void)stats;
	r.status = vcs_thunk_hsakmt_open(&thunk, r.why, sizeof(r.why));
	if (!r.status) {
		r.status = describe(thunk, gpus, &nr_gpus, r.device,
				    sizeof(r.device));
		if (r.status == -ENODEV)
			snprintf(r.why, sizeof(r.why), "KFD has no GPU");
		else if (r.status)
			snprintf(r.why, sizeof(r.why),
				 "the GPU does not describe itself: %s",
				 strerror(-r.status));
		else
			r.status = try_memory(thunk, gpus, nr_gpus, &r);
		thunk->ops->close(thunk);
	}
	return send(sock, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r) ? 0 :
	       -errno;
}

static int probe(struct vcs_config *cfg, int signals,
		 struct vcs_service_info *info)
{
	struct vcs_hsakmt lib;
	struct report r;
	int ret, signal;

	/* Stays loaded, see above. */
	ret = vcs_hsakmt_load(&lib, r.why, sizeof(r.why));
	if (ret) {
		vcs_err("%s" INSTEAD, r.why);
		return ret;
	}
	ret = vcs_probe_child(cfg, signals, probe_worker, &r, sizeof(r),
			      PROBE_TIMEOUT_MS, &signal);
	switch (ret) {
	case 0:
		break;
	case -ETIMEDOUT:
		vcs_err("%s does not come back from opening KFD" INSTEAD,
			lib.path);
		return ret;
	case -EIO:
		vcs_err("%s crashes: %s" INSTEAD, lib.path, strsignal(signal));
		return ret;
	case -ECHILD:
		vcs_err("cannot probe for GPUs: no worker can be started");
		return ret;
	case -ECANCELED:
		return ret;
	default:
		vcs_err("cannot probe for GPUs: %s", strerror(-ret));
		return ret;
	}
	/* Its other end is ours, but the library's process. */
	r.why[sizeof(r.why) - 1] = '\0';
	r.device[sizeof(r.device) - 1] = '\0';
	if (r.status) {
		vcs_err("%s" INSTEAD, r.why);
		return r.status;
	}
	snprintf(info->device, sizeof(info->device), "%s", r.device);
	if (r.elsewhere)
		info->warning = "a GPU, KFD or libhsakmt (before 5.6) has no SVM: programs can register memory that they may write, but not allocate any or make queues";
	else if (!r.rdonly)
		info->warning = "a GPU, KFD or libhsakmt (before 5.6) has no SVM: memory that programs may only read is refused";
	return 0;
}

static int worker(int sock, int compiler, const struct vcs_config *cfg,
		  struct vcs_stats *stats)
{
	struct vcs_thunk *thunk;
	char why[256];
	int ret;

	(void)compiler;
	ret = vcs_thunk_hsakmt_open(&thunk, why, sizeof(why));
	if (ret) {
		vcs_err("%s", why);
		return ret;
	}
	ret = vcs_service_rocm_serve(sock, thunk, cfg, stats);
	thunk->ops->close(thunk);
	return ret;
}

const struct vcs_service vcs_service_hsakmt = {
	.name = "hsakmt",
	.probe = probe,
	.get_capset = vcs_service_rocm_get_capset,
	.worker = worker,
	.cmd_name = vcs_service_rocm_cmd_name,
};
