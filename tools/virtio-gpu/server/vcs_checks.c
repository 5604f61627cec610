// SPDX-License-Identifier: MIT
/*
 * What has to hold of a thunk, for guests' memory to be where their GPU looks for
 * it, as long as it may and no longer
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_check_gpu.h"

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define GIB	(1UL << 30)

/* KFD takes a process down when its address space goes, not in exit(). */
#define KFD_EXIT_MS	10000

#define NS_PER_MS	1000000.0

static enum vcs_check_result result(bool ok)
{
	return ok ? VCS_CHECK_OK : VCS_CHECK_FAILED;
}

/* Which file a library is: its name tells the release. */
static void print_library(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[4096 + 128], *path;
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		path = strchr(line, '/');
		if (path && strstr(path, name)) {
			path[strcspn(path, "\n")] = '\0';
			printf("library %s\n", path);
			found = true;
		}
	}
	if (f)
		fclose(f);
}

static enum vcs_check_result check_library(const struct vcs_check_env *env)
{
	char why[256] = "";
	uint32_t major = 0, minor = 0;
	struct vcs_thunk *t;
	int ret;

	ret = env->open(&t, why, sizeof(why));
	if (ret)
		return vcs_check_fail("%s (%s)", why, vcs_check_errno(ret));
	print_library("libhsakmt");
	ret = t->ops->version(t, &major, &minor);
	if (ret)
		return vcs_check_fail("version: %s", vcs_check_errno(ret));
	printf("%s, interface of KFD %u.%u\n", t->ops->name, major, minor);
	if (major != 1)
		return vcs_check_fail("KFD's is 1.x");
	t->ops->close(t);
	/* A second time: what was closed is closed. */
	ret = env->open(&t, why, sizeof(why));
	if (ret)
		return vcs_check_fail("opened again: %s (%s)", why,
				      vcs_check_errno(ret));
	t->ops->close(t);
	return VCS_CHECK_OK;
}

/* --- topology -------------------------------------------------------------- */

static enum vcs_check_result
check_gpu_node(struct vcs_check_gpu *g, uint32_t id,
	       const struct vcs_thunk_node *n, uint64_t local)
{
	struct vcs_thunk_gpu_info info = { 0 };
	uint64_t available = 0;
	uint32_t cus;
	int ret;

	printf("node %u: gfx%u%x%x, device %04x:%04x, %s, %llu MiB, KFD's id %u\n",
	       id, n->engine_id >> 10 & 0x3f, n->engine_id >> 16 & 0xff,
	       n->engine_id >> 24, n->vendor_id, n->device_id,
	       n->marketing_name, (unsigned long long)local / MIB,
	       n->kfd_gpu_id);
	if (!(n->engine_id >> 10 & 0x3f))
		return vcs_check_fail("node %u has no gfx id", id);
	if ((n->capability >> VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT & 3) != 2)
		return vcs_check_fail("node %u has no doorbells of 64 bits", id);
	if (n->wave_front_size != 32 && n->wave_front_size != 64)
		return vcs_check_fail("node %u has waves of %u", id,
				      n->wave_front_size);
	if (!n->num_simd_per_cu || !n->num_cu_per_array || !n->num_arrays)
		return vcs_check_fail("node %u has no compute units", id);
	if (!local && !n->integrated && !n->num_cpu_cores)
		return vcs_check_fail("node %u has no memory", id);
	ret = g->thunk->ops->available(g->thunk, id, &available);
	if (ret)
		return vcs_check_fail("node %u: available memory: %s", id,
				      vcs_check_errno(ret));
	ret = g->thunk->ops->gpu_info(g->thunk, id, &info);
	if (ret)
		return vcs_check_fail("node %u: amdgpu's info: %s", id,
				      vcs_check_errno(ret));
	if (info.asic_id != n->device_id)
		return vcs_check_fail("node %u: amdgpu says device %04x", id,
				      info.asic_id);
	cus = n->num_fcompute_cores / n->num_simd_per_cu;
	if (info.cu_active_number != cus)
		printf("node %u: %u compute units, amdgpu says %u\n", id, cus,
		       info.cu_active_number);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_node(struct vcs_check_gpu *g, uint32_t id)
{
	const struct vcs_thunk_ops *ops = g->thunk->ops;
	struct vcs_thunk_io_link link = { 0 };
	struct vcs_thunk_cache cache = { 0 };
	struct vcs_thunk_bank bank = { 0 };
	struct vcs_thunk_node n = { 0 };
	uint64_t local = 0;
	uint32_t i;
	int ret;

	ret = ops->node(g->thunk, id, &n);
	if (ret)
		return vcs_check_fail("node %u: %s", id, vcs_check_errno(ret));
	for (i = 0; i < n.num_memory_banks; i++) {
		ret = ops->bank(g->thunk, id, i, &bank);
		if (ret)
			return vcs_check_fail("node %u: bank %u of %u: %s", id,
					      i, n.num_memory_banks,
					      vcs_check_errno(ret));
		if (bank.heap_type == VIRTIO_GPU_ROCM_HEAP_FB_PUBLIC ||
		    bank.heap_type == VIRTIO_GPU_ROCM_HEAP_FB_PRIVATE)
			local += bank.size;
	}
	if (ops->bank(g->thunk, id, i, &bank) != -EINVAL)
		return vcs_check_fail("node %u: has %u banks, and one more", id,
				      i);
	for (i = 0; i < n.num_caches; i++) {
		ret = ops->cache(g->thunk, id, i, &cache);
		if (ret)
			return vcs_check_fail("node %u: cache %u of %u: %s", id,
					      i, n.num_caches,
					      vcs_check_errno(ret));
		if (!cache.level || cache.level > 4)
			return vcs_check_fail("node %u: cache %u is of level %u",
					      id, i, cache.level);
	}
	for (i = 0; i < n.num_io_links; i++) {
		ret = ops->io_link(g->thunk, id, i, &link);
		if (ret)
			return vcs_check_fail("node %u: link %u of %u: %s", id,
					      i, n.num_io_links,
					      vcs_check_errno(ret));
		if (link.node_from != id || link.node_to == id ||
		    link.node_to >= g->num_nodes)
			return vcs_check_fail("node %u: link %u is from %u to %u, of %u nodes",
					      id, i, link.node_from,
					      link.node_to, g->num_nodes);
	}
	if (n.num_fcompute_cores)
		return check_gpu_node(g, id, &n, local);
	printf("node %u: %u CPUs, %u banks\n", id, n.num_cpu_cores,
	       n.num_memory_banks);
	if (!n.num_cpu_cores)
		return vcs_check_fail("node %u has neither CPU nor GPU", id);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_topology(const struct vcs_check_env *env)
{
	struct vcs_thunk_node n = { 0 };
	struct vcs_check_gpu g;
	enum vcs_check_result ret;
	uint32_t i;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	for (i = 0; i < g.num_nodes; i++) {
		ret = check_node(&g, i);
		if (ret != VCS_CHECK_OK)
			return ret;
	}
	if (g.thunk->ops->node(g.thunk, g.num_nodes, &n) != -EINVAL)
		return vcs_check_fail("there are %u nodes, and one more",
				      g.num_nodes);
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* --- memory ---------------------------------------------------------------- */

/* What was seen, so that a pass does not say more. */
static void print_method(const struct vcs_check_gpu *g)
{
	switch (g->method) {
	case VCS_CHECK_QUEUE:
		printf("node %u%s has accessed it by packets of a queue\n",
		       g->node, g->thunk->ops->run ? ", a simulation," : "");
		break;
	case VCS_CHECK_SIMULATION:
		printf("node %u is a simulation, which has accessed it\n",
		       g->node);
		break;
	case VCS_CHECK_NONE:
		printf("node %u has no queues here: not seen to access it\n",
		       g->node);
		break;
	}
}

/*
 * Twice at the same address, by each GPU, at both ends of a window. It is mapped
 * twice as well, since libraries count that, and unmapped once.
 */
static bool register_once(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	uint64_t size = 2 * MIB + 3 * PAGE;
	uint64_t last = size - VCS_CHECK_SIGNAL_SIZE;

	return vcs_check_window(g, mem, size, VCS_CHECK_PLAIN, false) &&
	       vcs_check_register(g, mem) && vcs_check_map(g, mem) &&
	       vcs_check_map(g, mem) && vcs_check_write(g, mem, 0) &&
	       vcs_check_write(g, mem, last) &&
	       vcs_check_read(g, mem, PAGE) && vcs_check_read(g, mem, last) &&
	       vcs_check_unmap(g, mem);
}

static enum vcs_check_result check_register(const struct vcs_check_env *env)
{
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	uint32_t i;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	for (i = 0; i < g.nr_gpus; i++) {
		if (!vcs_check_access_init(&g, g.gpus[i]) ||
		    !vcs_check_file(&mem, 2 * MIB + 3 * PAGE) ||
		    !register_once(&g, &mem) || !register_once(&g, &mem))
			return VCS_CHECK_FAILED;
		print_method(&g);
		if (mem.gpu != mem.block->at.addr)
			printf("node %u has memory at other addresses (no SVM): 0x%llx for 0x%llx\n",
			       g.node, (unsigned long long)mem.gpu,
			       (unsigned long long)mem.block->at.addr);
		vcs_check_mem_free(&g, &mem);
		if (!vcs_check_access_end(&g))
			return VCS_CHECK_FAILED;
	}
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* The same and a queue by a process that may do no more than a worker. */
static enum vcs_check_result check_sandbox(const struct vcs_check_env *env)
{
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;

	if (!env->confine)
		return vcs_check_skipped("as root there is none: run it as the user of the workers");
	if (env->confine() || !vcs_check_open(env, &g) ||
	    !vcs_check_access_init(&g, g.node) ||
	    !vcs_check_file(&mem, 2 * MIB + 3 * PAGE) ||
	    !register_once(&g, &mem))
		return VCS_CHECK_FAILED;
	print_method(&g);
	vcs_check_mem_free(&g, &mem);
	if (!vcs_check_access_end(&g))
		return VCS_CHECK_FAILED;
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* 16 MiB, no page of it next to its neighbour. */
static enum vcs_check_result check_scattered(const struct vcs_check_env *env)
{
	const uint64_t size = 16 * MIB, step = 37 * PAGE;
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	uint64_t offset;

	if (!vcs_check_open(env, &g) || !vcs_check_access_init(&g, g.node) ||
	    !vcs_check_mem(&g, &mem, size, VCS_CHECK_SHUFFLED))
		return VCS_CHECK_FAILED;
	for (offset = 0; offset < size; offset += step)
		if (!vcs_check_write(&g, &mem, offset))
			return VCS_CHECK_FAILED;
	if (!vcs_check_write(&g, &mem, size - VCS_CHECK_SIGNAL_SIZE) ||
	    !vcs_check_read(&g, &mem, size / 2) ||
	    !vcs_check_read(&g, &mem, size - PAGE))
		return VCS_CHECK_FAILED;
	printf("%llu mappings in one window\n",
	       (unsigned long long)(size / PAGE));
	print_method(&g);
	if (!vcs_check_release(&g, &mem) || !vcs_check_access_end(&g))
		return VCS_CHECK_FAILED;
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* Above 32 bits, no multiple of anything; of a file that is repeated in it. */
static enum vcs_check_result check_large(const struct vcs_check_env *env)
{
	const uint64_t size = 5 * GIB + PAGE;
	const uint64_t offsets[] = {
		0, 4 * GIB - VCS_CHECK_SIGNAL_SIZE, 4 * GIB, 4 * GIB + PAGE,
		5 * GIB + PAGE - VCS_CHECK_SIGNAL_SIZE,
	};
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	unsigned int i;

	if (!vcs_check_open(env, &g) || !vcs_check_access_init(&g, g.node) ||
	    !vcs_check_file(&mem, 64 * MIB) ||
	    !vcs_check_window(&g, &mem, size, VCS_CHECK_REPEATED, false) ||
	    !vcs_check_register(&g, &mem) || !vcs_check_map(&g, &mem))
		return VCS_CHECK_FAILED;
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		if (!vcs_check_write(&g, &mem, offsets[i]) ||
		    !vcs_check_read(&g, &mem, offsets[i]))
			return VCS_CHECK_FAILED;
	print_method(&g);
	if (!vcs_check_release(&g, &mem) || !vcs_check_access_end(&g))
		return VCS_CHECK_FAILED;
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_overlap(const struct vcs_check_env *env)
{
	/* From the begin of what is registered, in pages. */
	static const struct { long at; long pages; const char *what; } over[] = {
		{ 0, 4, "the same" }, { 1, 2, "a part" }, { 0, 1, "the begin" },
		{ 3, 1, "the end" }, { 3, 2, "over the end" },
		{ -1, 2, "over the begin" }, { -1, 6, "more than all" },
	};
	const struct vcs_thunk_ops *ops;
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	uint8_t *start;
	unsigned int i;
	int ret;

	if (!vcs_check_open(env, &g) || !vcs_check_file(&mem, 6 * PAGE) ||
	    !vcs_check_window(&g, &mem, 6 * PAGE, VCS_CHECK_PLAIN, false))
		return VCS_CHECK_FAILED;
	ops = g.thunk->ops;
	start = mem.win.addr + PAGE;
	ret = ops->register_memory(g.thunk, start, 4 * PAGE, false);
	if (ret)
		return vcs_check_fail("registering: %s", vcs_check_errno(ret));
	for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		ret = ops->register_memory(g.thunk,
					   start + over[i].at * (long)PAGE,
					   (uint64_t)over[i].pages * PAGE,
					   false);
		if (ret != -EEXIST)
			return vcs_check_fail("registering %s of what is registered: %s, not EEXIST",
					      over[i].what,
					      vcs_check_errno(ret));
	}
	/* Neighbours are none of it; and when it is gone, it is gone. */
	ret = ops->register_memory(g.thunk, start - PAGE, PAGE, false);
	if (!ret)
		ret = ops->register_memory(g.thunk, start + 4 * PAGE, PAGE,
					   false);
	if (ret)
		return vcs_check_fail("registering a neighbour: %s",
				      vcs_check_errno(ret));
	ops->deregister(g.thunk, start - PAGE);
	ops->deregister(g.thunk, start);
	ops->deregister(g.thunk, start + 4 * PAGE);
	ret = ops->register_memory(g.thunk, mem.win.addr, 6 * PAGE, false);
	if (ret)
		return vcs_check_fail("registering what was deregistered: %s",
				      vcs_check_errno(ret));
	ops->deregister(g.thunk, mem.win.addr);
	vcs_check_mem_free(&g, &mem);
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* --- what a GPU must not do ------------------------------------------------ */

enum stage {
	BEGUN,
	UNSUPPORTED,	/* the check cannot be made here */
	REFUSED,	/* the thunk does not do it, as it may */
	ARMED,		/* the GPU is about to be told to write */
};

/**
 * struct trial - an access that must fail, in a process that may end by it
 * @mem: what must not be written
 * @stage: how far it has got, in memory of both processes
 * @bad_node: a node that memory cannot be mapped to
 */
struct trial {
	struct vcs_check_mem mem;
	enum stage *stage;
	uint32_t bad_node;
};

static void *shared_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED) {
		printf("mmap: %s\n", strerror(errno));
		return NULL;
	}
	return page;
}

static bool passed(int status)
{
	return status >= 0 && WIFEXITED(status) &&
	       WEXITSTATUS(status) == VCS_CHECK_OK;
}

static enum vcs_check_result
try(const struct vcs_check_env *env, struct trial *t, uint64_t size,
    enum vcs_check_result (*run)(const struct vcs_check_env *env, void *data))
{
	int status;

	if (!vcs_check_file(&t->mem, size))
		return VCS_CHECK_FAILED;
	t->stage = shared_page();
	if (!t->stage)
		return VCS_CHECK_FAILED;
	vcs_check_prepare(&t->mem, 0);
	/* Leave time for what is behind us. */
	status = vcs_check_part(run, env, t, env->limit_ms * 3 / 4);
	switch (*t->stage) {
	case BEGUN:
		return vcs_check_fail("it has not got so far that the GPU writes");
	case UNSUPPORTED:
		return vcs_check_skipped("there is no way to have this GPU access memory");
	case REFUSED:
		return result(passed(status));
	case ARMED:
		break;
	}
	if (!vcs_check_untouched(&t->mem, 0))
		return vcs_check_fail("the GPU has written to it");
	if (status < 0)
		printf("the process hung after the GPU's fault\n");
	else if (WIFSIGNALED(status))
		printf("the process was killed after the GPU's fault: SIG%s\n",
		       sigabbrev_np(WTERMSIG(status)));
	else
		printf("nothing was written\n");
	munmap(t->stage, PAGE);
	munmap(t->mem.view, t->mem.file_size);
	close(t->mem.fd);
	return VCS_CHECK_OK;
}

static enum vcs_check_result
read_only(const struct vcs_check_env *env, void *data)
{
	struct trial *t = data;
	struct vcs_check_gpu g;
	int ret;

	if (!vcs_check_open(env, &g) || !vcs_check_access_init(&g, g.node) ||
	    !vcs_check_window(&g, &t->mem, PAGE, VCS_CHECK_PLAIN, true))
		return VCS_CHECK_FAILED;
	ret = g.thunk->ops->register_memory(g.thunk, t->mem.win.addr,
					    t->mem.win.size, true);
	if (!ret) {
		ret = g.thunk->ops->map_to_nodes(g.thunk, t->mem.win.addr,
						 &g.node, 1, &t->mem.gpu);
		if (ret)
			return vcs_check_fail("registered read-only, but mapping: %s",
					      vcs_check_errno(ret));
	}
	if (ret == -EOPNOTSUPP) {
		*t->stage = REFUSED;
		printf("read-only memory is refused (EOPNOTSUPP), as it is without SVM\n");
		return VCS_CHECK_OK;
	}
	if (ret)
		return vcs_check_fail("registering read-only memory: %s, neither success nor EOPNOTSUPP",
				      vcs_check_errno(ret));
	if (g.method == VCS_CHECK_NONE) {
		*t->stage = UNSUPPORTED;
		return VCS_CHECK_SKIPPED;
	}
	if (!vcs_check_read(&g, &t->mem, 0))
		return VCS_CHECK_FAILED;
	print_method(&g);
	vcs_check_prepare(&t->mem, 0);
	*t->stage = ARMED;
	vcs_check_try_write(&g, t->mem.gpu);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_read_only(const struct vcs_check_env *env)
{
	struct trial t = { 0 };

	return try(env, &t, PAGE, read_only);
}

/* As a worker ends it: the thunk, then the window. */
static enum vcs_check_result
released(const struct vcs_check_env *env, void *data)
{
	struct trial *t = data;
	struct vcs_check_gpu g;
	uint64_t gpu;

	if (!vcs_check_open(env, &g) || !vcs_check_access_init(&g, g.node))
		return VCS_CHECK_FAILED;
	if (g.method == VCS_CHECK_NONE) {
		*t->stage = UNSUPPORTED;
		return VCS_CHECK_SKIPPED;
	}
	if (!vcs_check_window(&g, &t->mem, 2 * MIB, VCS_CHECK_PLAIN, false) ||
	    !vcs_check_register(&g, &t->mem) || !vcs_check_map(&g, &t->mem) ||
	    !vcs_check_map(&g, &t->mem) || !vcs_check_write(&g, &t->mem, 0))
		return VCS_CHECK_FAILED;
	print_method(&g);
	gpu = t->mem.gpu;
	if (!vcs_check_unmap(&g, &t->mem))
		return VCS_CHECK_FAILED;
	vcs_check_prepare(&t->mem, 0);
	*t->stage = ARMED;
	vcs_check_try_write(&g, gpu);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_release(const struct vcs_check_env *env)
{
	struct trial t = { 0 };

	return try(env, &t, 2 * MIB, released);
}

static enum vcs_check_result
bad_node(const struct vcs_check_env *env, void *data)
{
	struct trial *t = data;
	uint32_t nodes[VCS_THUNK_MAX_NODES + 1];
	struct vcs_check_gpu g;
	uint64_t gpu = 0;
	int ret;

	if (!vcs_check_open(env, &g) || !vcs_check_access_init(&g, g.node))
		return VCS_CHECK_FAILED;
	if (!vcs_check_window(&g, &t->mem, 2 * MIB, VCS_CHECK_PLAIN, false) ||
	    !vcs_check_register(&g, &t->mem))
		return VCS_CHECK_FAILED;
	/* Where it would be, without SVM an address that the GPU has not. */
	t->mem.gpu = (uintptr_t)t->mem.win.addr;
	memcpy(nodes, g.gpus, g.nr_gpus * sizeof(nodes[0]));
	nodes[g.nr_gpus] = t->bad_node;
	ret = g.thunk->ops->map_to_nodes(g.thunk, t->mem.win.addr, nodes,
					 g.nr_gpus + 1, &gpu);
	if (ret != -EINVAL)
		return vcs_check_fail("mapping to GPUs and node %u: %s, not EINVAL",
				      t->bad_node, vcs_check_errno(ret));
	if (g.method == VCS_CHECK_NONE) {
		*t->stage = UNSUPPORTED;
		return VCS_CHECK_SKIPPED;
	}
	*t->stage = ARMED;
	vcs_check_try_write(&g, t->mem.gpu);
	return VCS_CHECK_OK;
}

/* The first node that is no GPU, or none. */
static uint32_t find_cpu(const struct vcs_check_gpu *g)
{
	uint32_t id, i = 0;

	for (id = 0; id < g->num_nodes; id++) {
		if (i == g->nr_gpus || g->gpus[i] != id)
			return id;
		i++;
	}
	return id;
}

static enum vcs_check_result
all_nodes(const struct vcs_check_env *env, void *data)
{
	uint32_t *cpu = data;
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	uint64_t gpu = 0;
	uint32_t i;
	int ret;

	if (!vcs_check_open(env, &g) || !vcs_check_file(&mem, 2 * MIB) ||
	    !vcs_check_window(&g, &mem, 2 * MIB, VCS_CHECK_PLAIN, false) ||
	    !vcs_check_register(&g, &mem))
		return VCS_CHECK_FAILED;
	ret = g.thunk->ops->map_to_nodes(g.thunk, mem.win.addr, g.gpus,
					 g.nr_gpus, &mem.gpu);
	if (ret)
		return vcs_check_fail("mapping to all %u GPUs: %s", g.nr_gpus,
				      vcs_check_errno(ret));
	for (i = 0; i < g.nr_gpus; i++) {
		if (!vcs_check_access_init(&g, g.gpus[i]) ||
		    !vcs_check_write(&g, &mem, i * PAGE) ||
		    !vcs_check_access_end(&g))
			return VCS_CHECK_FAILED;
	}
	/* Those that are mapped already stay so. */
	ret = g.thunk->ops->map_to_nodes(g.thunk, mem.win.addr, g.gpus, 1,
					 &gpu);
	if (ret || gpu != mem.gpu)
		return vcs_check_fail("mapping once more: %s, at 0x%llx instead of 0x%llx",
				      vcs_check_errno(ret),
				      (unsigned long long)gpu,
				      (unsigned long long)mem.gpu);
	printf("mapped to %u of %u nodes\n", g.nr_gpus, g.num_nodes);
	*cpu = find_cpu(&g);
	if (!vcs_check_release(&g, &mem))
		return VCS_CHECK_FAILED;
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* To a CPU and, where the thunk may not look at what it is given, to none. */
static enum vcs_check_result check_nodes(const struct vcs_check_env *env)
{
	struct trial t = { 0 };
	uint32_t *cpu = shared_page();
	enum vcs_check_result ret;

	if (!cpu || !passed(vcs_check_part(all_nodes, env, cpu,
					   env->limit_ms / 2)))
		return VCS_CHECK_FAILED;
	t.bad_node = *cpu;
	munmap(cpu, PAGE);
	ret = try(env, &t, 2 * MIB, bad_node);
	if (ret == VCS_CHECK_FAILED)
		return ret;
	t.bad_node = VCS_THUNK_MAX_NODES;
	return try(env, &t, 2 * MIB, bad_node);
}

/* --- queues ---------------------------------------------------------------- */

static enum vcs_check_result refused_queue(struct vcs_check_gpu *g,
					   const struct vcs_check_queue *q)
{
	const struct vcs_thunk_queue bad = {
		.node = find_cpu(g),
		.percentage = 100,
		.ring = q->mem.gpu,
		.ring_size = PAGE,
		.write_ptr = q->mem.gpu + PAGE,
		.read_ptr = q->mem.gpu + PAGE + 64,
	};
	uint64_t id;
	int ret;

	ret = g->thunk->ops->create_queue(g->thunk, &bad, &id);
	if (ret != -EINVAL)
		return vcs_check_fail("a queue of node %u: %s, not EINVAL",
				      bad.node, vcs_check_errno(ret));
	return VCS_CHECK_OK;
}

/* A packet that waits holds back those behind it, and nothing else does. */
static bool check_dependency(struct vcs_check_gpu *g, struct vcs_check_queue *q)
{
	int64_t *dep = vcs_check_value(q, 1), *first = vcs_check_value(q, 2);
	int64_t *second = vcs_check_value(q, 3);

	*dep = 1;
	*first = 1;
	*second = 1;
	if (!vcs_check_barrier(g, q, vcs_check_signal(q, 1),
			       vcs_check_signal(q, 2), true) ||
	    !vcs_check_barrier(g, q, 0, vcs_check_signal(q, 3), true))
		return false;
	if (vcs_check_wait(g, first, 0, 20) || vcs_check_wait(g, second, 0, 0)) {
		printf("a packet is done whose signal is not 0, or one behind it\n");
		return false;
	}
	__atomic_store_n(dep, 0, __ATOMIC_RELEASE);
	if (!vcs_check_wait(g, first, 0, g->env->answer_ms) ||
	    !vcs_check_wait(g, second, 0, g->env->answer_ms)) {
		printf("a packet is not done whose signal has become 0, or not the one behind it\n");
		return false;
	}
	return true;
}

/* Three times around the ring. */
static bool check_ring(struct vcs_check_gpu *g, struct vcs_check_queue *q)
{
	int64_t *count = vcs_check_value(q, 4);
	const unsigned int nr = 3 * VCS_CHECK_PACKETS;
	unsigned int i;

	*count = nr;
	for (i = 0; i < nr; i++)
		if (!vcs_check_barrier(g, q, 0, vcs_check_signal(q, 4), true))
			return false;
	if (!vcs_check_wait(g, count, 0, g->env->answer_ms)) {
		printf("%lld of %u packets are not done\n", (long long)*count,
		       nr);
		return false;
	}
	/* It may be a moment later. */
	if (!vcs_check_wait(g, vcs_check_read_ptr(q), (int64_t)q->next,
			    g->env->answer_ms)) {
		printf("all %llu packets are done, but the read index is %llu\n",
		       (unsigned long long)q->next,
		       (unsigned long long)vcs_check_read_index(q));
		return false;
	}
	return true;
}

static enum vcs_check_result no_queues(int ret)
{
	if (ret == -EOPNOTSUPP || ret == -ENOSYS)
		return vcs_check_skipped("this thunk has no queues here (%s)",
					 vcs_check_errno(ret));
	return vcs_check_fail("creating a queue: %s", vcs_check_errno(ret));
}

static enum vcs_check_result check_queue(const struct vcs_check_env *env)
{
	struct vcs_check_queue q;
	struct vcs_check_gpu g;
	enum vcs_check_result refused;
	uint32_t i;
	int ret;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	for (i = 0; i < g.nr_gpus; i++) {
		g.node = g.gpus[i];
		ret = vcs_check_queue_init(&g, &q);
		if (ret)
			return no_queues(ret);
		if (!check_ring(&g, &q) || !check_dependency(&g, &q))
			return VCS_CHECK_FAILED;
		refused = refused_queue(&g, &q);
		if (refused != VCS_CHECK_OK)
			return refused;
		ret = g.thunk->ops->destroy_queue(g.thunk, q.id);
		if (ret)
			return vcs_check_fail("destroying a queue: %s",
					      vcs_check_errno(ret));
		if (!g.thunk->ops->destroy_queue(g.thunk, q.id))
			return vcs_check_fail("a queue is destroyed twice");
		if (!vcs_check_release(&g, &q.mem))
			return VCS_CHECK_FAILED;
		printf("node %u: %llu packets\n", g.node,
		       (unsigned long long)q.next);
	}
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* @nr packets of a queue, and its doorbell once. */
static bool ring_once(struct vcs_check_gpu *g, struct vcs_check_queue *q,
		      unsigned int nr, const char *what)
{
	int64_t *count = vcs_check_value(q, 0);
	unsigned int i;

	*count = nr;
	for (i = 0; i < nr; i++)
		if (!vcs_check_barrier(g, q, 0, vcs_check_signal(q, 0),
				       i == nr - 1))
			return false;
	if (vcs_check_wait(g, count, 0, g->env->answer_ms))
		return true;
	printf("%s: %lld of %u packets are not done\n", what,
	       (long long)*count, nr);
	return false;
}

static enum vcs_check_result check_doorbell(const struct vcs_check_env *env)
{
	struct vcs_check_queue q[2];
	struct vcs_check_gpu g;
	int ret, i;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	for (i = 0; i < 2; i++) {
		ret = vcs_check_queue_init(&g, &q[i]);
		if (ret)
			return no_queues(ret);
	}
	if (!ring_once(&g, &q[0], VCS_CHECK_PACKETS, "one queue") ||
	    !ring_once(&g, &q[1], VCS_CHECK_PACKETS, "another queue"))
		return VCS_CHECK_FAILED;
	if (vcs_check_read_index(&q[0]) > VCS_CHECK_PACKETS)
		return vcs_check_fail("a queue has read what is not there");
	/* Idle queues are what doorbells are for. */
	for (i = 0; i < 3; i++) {
		usleep(100000);
		if (!ring_once(&g, &q[i % 2], 3, "after some time"))
			return VCS_CHECK_FAILED;
	}
	for (i = 0; i < 2; i++)
		if (!vcs_check_queue_end(&g, &q[i]))
			return VCS_CHECK_FAILED;
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* --- the rest -------------------------------------------------------------- */

static enum vcs_check_result check_clocks(const struct vcs_check_env *env)
{
	struct vcs_thunk_clocks a, b;
	struct vcs_check_gpu g;
	uint64_t start, ms;
	uint32_t i;
	int ret;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	for (i = 0; i < g.nr_gpus; i++) {
		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		start = vcs_check_now();
		ret = g.thunk->ops->clocks(g.thunk, g.gpus[i], &a);
		usleep(20000);
		if (!ret)
			ret = g.thunk->ops->clocks(g.thunk, g.gpus[i], &b);
		ms = vcs_check_now() - start;
		if (ret)
			return vcs_check_fail("clocks of node %u: %s",
					      g.gpus[i], vcs_check_errno(ret));
		printf("node %u: in %llu ms the GPU's counter went on by %lld, the CPU's by %lld, the system's by %lld at %llu Hz\n",
		       g.gpus[i], (unsigned long long)ms,
		       (long long)(b.gpu - a.gpu), (long long)(b.cpu - a.cpu),
		       (long long)(b.system - a.system),
		       (unsigned long long)b.system_frequency_hz);
		if (b.gpu <= a.gpu || b.cpu <= a.cpu || b.system <= a.system)
			return vcs_check_fail("a clock stands still");
		if (!b.system_frequency_hz)
			return vcs_check_fail("the system's clock has no frequency");
	}
	ret = g.thunk->ops->clocks(g.thunk, g.num_nodes, &a);
	if (ret != -EINVAL)
		return vcs_check_fail("clocks of node %u of %u: %s, not EINVAL",
				      g.num_nodes, g.num_nodes,
				      vcs_check_errno(ret));
	vcs_check_close(&g);
	return VCS_CHECK_OK;
}

/* Has the thunk open, tells its pid, and waits to be killed. */
static enum vcs_check_result
wait_to_be_killed(const struct vcs_check_env *env, void *data)
{
	volatile pid_t *pid = data;
	struct vcs_check_gpu g;
	struct vcs_check_mem mem;
	char path[4096];

	if (!vcs_check_open(env, &g) ||
	    !vcs_check_mem(&g, &mem, 2 * MIB, VCS_CHECK_PLAIN))
		return VCS_CHECK_FAILED;
	snprintf(path, sizeof(path), "%s/%d", env->kfd_proc, getpid());
	if (access(path, F_OK))
		return vcs_check_fail("no %s although the process uses KFD; is this a PID namespace?",
				      path);
	*pid = getpid();
	raise(SIGKILL);
	return VCS_CHECK_FAILED;
}

static enum vcs_check_result check_process(const struct vcs_check_env *env)
{
	uint64_t start, ms;
	char path[4096];
	pid_t *pid;
	int status;

	if (!env->kfd_proc)
		return vcs_check_skipped("this thunk has no KFD");
	if (access(env->kfd_proc, F_OK))
		return vcs_check_skipped("no %s", env->kfd_proc);
	pid = shared_page();
	if (!pid)
		return VCS_CHECK_FAILED;
	status = vcs_check_part(wait_to_be_killed, env, pid, env->limit_ms / 2);
	start = vcs_check_now();
	if (!*pid)
		return VCS_CHECK_FAILED;
	if (status < 0 || !WIFSIGNALED(status))
		return vcs_check_fail("the process was not killed");
	snprintf(path, sizeof(path), "%s/%d", env->kfd_proc, *pid);
	munmap(pid, PAGE);
	do {
		ms = vcs_check_now() - start;
		if (access(path, F_OK)) {
			printf("KFD's part of a killed process was gone after %llu ms\n",
			       (unsigned long long)ms);
			return VCS_CHECK_OK;
		}
		usleep(1000);
	} while (ms < KFD_EXIT_MS && ms < env->limit_ms / 2);
	return vcs_check_fail("%s is still there %llu ms after the process was killed",
			      path, (unsigned long long)ms);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1000 + (double)now.tv_nsec / NS_PER_MS;
}

static enum vcs_check_result
take_time(struct vcs_check_gpu *g, uint64_t size,
	  enum vcs_check_layout layout, const char *what)
{
	double t[6], gib = (double)size / (double)GIB;
	struct vcs_check_mem mem;
	uint64_t i;
	int ret;

	if (!vcs_check_file(&mem, size))
		return VCS_CHECK_FAILED;
	/* Pages that are there, as a guest's that are pinned. */
	for (i = 0; i < size; i += PAGE)
		mem.view[i] = 1;
	t[0] = now_ms();
	if (!vcs_check_window(g, &mem, size, layout, false))
		return VCS_CHECK_FAILED;
	t[1] = now_ms();
	if (!vcs_check_register(g, &mem))
		return VCS_CHECK_FAILED;
	t[2] = now_ms();
	if (!vcs_check_map(g, &mem))
		return VCS_CHECK_FAILED;
	t[3] = now_ms();
	ret = g->thunk->ops->unmap(g->thunk, mem.win.addr);
	if (ret)
		return vcs_check_fail("unmapping memory from the GPU: %s",
				      vcs_check_errno(ret));
	g->thunk->ops->deregister(g->thunk, mem.win.addr);
	t[4] = now_ms();
	vcs_window_unmap(&mem.win, &g->budget);
	t[5] = now_ms();
	vcs_check_mem_free(g, &mem);
	printf("%llu MiB, %s, in ms per GiB: window %.2f, register %.2f, map %.2f, unmap and deregister %.2f, munmap %.2f\n",
	       (unsigned long long)size / MIB, what, (t[1] - t[0]) / gib,
	       (t[2] - t[1]) / gib, (t[3] - t[2]) / gib, (t[4] - t[3]) / gib,
	       (t[5] - t[4]) / gib);
	return VCS_CHECK_OK;
}

static enum vcs_check_result check_timing(const struct vcs_check_env *env)
{
	struct vcs_check_gpu g;
	enum vcs_check_result ret;

	if (!vcs_check_open(env, &g))
		return VCS_CHECK_FAILED;
	ret = take_time(&g, env->timing_size, VCS_CHECK_PLAIN, "in one piece");
	if (ret == VCS_CHECK_OK)
		ret = take_time(&g, 64 * MIB, VCS_CHECK_SHUFFLED,
				"in pieces of 4 KiB");
	vcs_check_close(&g);
	return ret;
}

#define CHECK(n, w, f)	{ .name = n, .what = w, .run = f }
#define FAULTS(n, w, f)	{ .name = n, .what = w, .run = f, .faults = true }

const struct vcs_check vcs_checks[] = {
	CHECK("library", "the library opens, closes and opens", check_library),
	CHECK("topology", "nodes, banks, caches and links fit together",
	      check_topology),
	CHECK("register", "a window is registered, accessed and given back, twice",
	      check_register),
	CHECK("sandbox", "the same, as a worker that may do little else",
	      check_sandbox),
	CHECK("scattered", "a window of many mappings", check_scattered),
	CHECK("large", "a window of more than 4 GiB", check_large),
	CHECK("overlap", "what is registered is not registered again",
	      check_overlap),
	CHECK("queue", "packets, their order and their signals", check_queue),
	CHECK("doorbell", "doorbells of two queues, each its own",
	      check_doorbell),
	CHECK("clocks", "clocks go on", check_clocks),
	CHECK("process", "KFD lets go of a process that was killed",
	      check_process),
	CHECK("timing", "how long registering takes", check_timing),
	/* Last, in case that the GPU needs time to recover. */
	FAULTS("read-only", "read-only memory is not written", check_read_only),
	FAULTS("nodes", "mapping to all GPUs, and to a node that is none",
	       check_nodes),
	FAULTS("release", "memory that was given back is not written",
	       check_release),
	{ }
};
