// SPDX-License-Identifier: MIT
/*
 * A libhsakmt.so.1 for tests: the calls that the server makes, on a simulated GPU
 *
 * It refuses what AMD's refuses, and its structures have the sizes of the release
 * that it plays. With LD_LIBRARY_PATH=build/server/fake in front of them, server,
 * vgpu-rocm-check and vm/run --backend hsakmt use it. A thread is the GPU: it
 * looks at the doorbells and takes the packets of queues. What it does is set by
 * the environment when it is loaded:
 *
 *   FAKE_HSAKMT_RELEASE  which release it is, see releases[]; "6.2" by default
 *   FAKE_HSAKMT_SVM      0: GPUs without SVM: a window has to be writable, and
 *                        unmapping it from the GPU takes access away. Release 5.2
 *                        does not use it where GPUs have it
 *   FAKE_HSAKMT_VA       bytes from a window's address to the one where a GPU
 *                        without SVM has it; 0 by default
 *   FAKE_HSAKMT_NODES    how many nodes it tells of, 2 by default: all but the first
 *                        are GPUs, and they are one
 *   FAKE_HSAKMT_EMPTY    1: nodes have no caches, links and memory banks
 *   FAKE_HSAKMT_DOORBELL type of the GPU's doorbells, 2 by default
 *   FAKE_HSAKMT_LOG      1: a line on stderr, of one write(2), for each call
 *   FAKE_HSAKMT_FAIL     calls that fail, without "hsaKmt" and separated by
 *                        commas: NAME[:WHICH][=STATUS], WHICH from 1 on or 0 for
 *                        all, STATUS a number of HSAKMT_STATUS, 1 by default.
 *                        A call to map has mapped all the same, as one that fails
 *                        half-way has. "Doorbell" is no call: a queue is made
 *                        that has none.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_hsakmt.h"
#include "vcs_thunk_sim.h"

#define API __attribute__((visibility("default")))

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23	/* Linux 5.14 */
#endif

#define MAX_QUEUES	64
#define NO_DOORBELL	UINT64_MAX

/* Of HSA_CAPABILITY: SVMAPISupported. */
#define CAP_SVM		(1U << 27)
#define CAP_DOORBELL	(3U << VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT)

/* How often the GPU looks at its doorbells, in nanoseconds. */
#define LOOKS_EVERY	200000L

/**
 * struct release - what has changed between releases of the library
 * @name: of ROCm
 * @node: size of HsaNodeProperties, of which
 * @override: there is an OverrideEngineId
 * @npu: there are NumNeuralCores and Capability2
 * @partitions: there are NumXcc, KFDGpuID and FamilyID, where 5.2 has 12 bytes
 *	for later use
 * @cache: size of HsaCacheProperties
 * @link: size of HsaIoLinkProperties
 * @hole: four bytes of HsaNodeProperties, the last but four, are not written
 *
 * As hsakmttypes.h of the tags rocm-*, and of rocm-systems for 7.1 and later, has
 * them.
 */
struct release {
	const char *name;
	uint16_t node;
	bool override;
	bool npu;
	bool partitions;
	uint16_t cache;
	uint16_t link;
	bool hole;
};

static const struct release releases[] = {
	{ "5.2", 356, false, false, false, 1056, 48, false },
	{ "6.2", 356, false, false, true, 1056, 48, false },
	{ "6.3-early", 360, true, false, true, 1056, 48, false },
	{ "6.3", 360, true, false, true, 1056, 52, false },
	{ "7.0", 368, true, true, true, 1056, 52, false },
	{ "cwsr", 376, true, true, true, 1056, 52, false },
	{ "luid", 384, true, true, true, 1056, 52, false },
	{ "wallclock", 392, true, true, true, 1060, 52, false },
	{ "fabric", 396, true, true, true, 1060, 52, false },
	/* None that there has been. */
	{ "node-372", 372, true, true, true, 1056, 52, false },
	{ "cache-1064", 356, false, false, true, 1064, 48, false },
	{ "link-56", 356, false, false, true, 1056, 56, false },
	{ "hole", 376, true, true, true, 1056, 52, true },
	/* A size that there has been, of other fields. */
	{ "order", 360, false, false, true, 1056, 52, false },
};

/* How often each was called, by its name. */
static struct call {
	const char *name;
	unsigned int times;
} calls[64];

static const struct release *release;
static bool svm, uses_svm, log_calls, empty;
static uint64_t va_offset;
static uint32_t nr_nodes, doorbell_type;
static char *failures;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vcs_thunk *sim;
static bool has_system;
static pthread_t gpu;
static bool has_gpu;
static _Atomic bool gpu_ends;
static _Atomic uint64_t *doorbells;
static struct queue {
	uint64_t id;		/* of the simulation's, 0: free */
	struct vcs_thunk_queue params;
} queues[MAX_QUEUES];

/* What is mapped without SVM, and how often: each time has to be undone. */
static struct mapped {
	void *addr;
	unsigned int times;
} mapped[64];

__attribute__((constructor)) static void set_up(void)
{
	const char *name = getenv("FAKE_HSAKMT_RELEASE");
	const char *s;
	size_t i;

	for (i = 0; i < sizeof(releases) / sizeof(releases[0]); i++)
		if (!strcmp(releases[i].name, name ? name : "6.2"))
			release = &releases[i];
	if (!release) {
		fprintf(stderr, "fake_hsakmt: no release %s\n", name);
		abort();
	}
	s = getenv("FAKE_HSAKMT_SVM");
	svm = !s || strcmp(s, "0");
	uses_svm = svm && release->partitions;
	s = getenv("FAKE_HSAKMT_VA");
	va_offset = s ? strtoull(s, NULL, 0) : 0;
	s = getenv("FAKE_HSAKMT_NODES");
	nr_nodes = s ? (uint32_t)strtoul(s, NULL, 0) : 2;
	s = getenv("FAKE_HSAKMT_EMPTY");
	empty = s && strcmp(s, "0");
	s = getenv("FAKE_HSAKMT_DOORBELL");
	doorbell_type = s ? (uint32_t)strtoul(s, NULL, 0) : 2;
	s = getenv("FAKE_HSAKMT_LOG");
	log_calls = s && strcmp(s, "0");
	/* The environment may change under us. */
	s = getenv("FAKE_HSAKMT_FAIL");
	failures = s ? strdup(s) : NULL;
}

__attribute__((destructor)) static void tear_down(void)
{
	free(failures);
}

/* Which call of that name this is. */
static unsigned int count(const char *name)
{
	struct call *c;

	for (c = calls; c->name && strcmp(c->name, name); c++)
		if (c == &calls[sizeof(calls) / sizeof(calls[0]) - 1])
			abort();
	c->name = name;
	return ++c->times;
}

/* What the environment wants of this call. */
static HSAKMT_STATUS failure(const char *name)
{
	unsigned int which = count(name);
	const char *s = failures;
	size_t len = strlen(name);

	while (s && *s) {
		if (!strncmp(s, name, len) && strchr(":=,", s[len])) {
			unsigned long wanted = 1, status = HSAKMT_STATUS_ERROR;
			char *end = (char *)s + len;

			if (*end == ':')
				wanted = strtoul(end + 1, &end, 0);
			if (*end == '=')
				status = strtoul(end + 1, &end, 0);
			if (!wanted || wanted == which)
				return status;
		}
		s = strchr(s, ',');
		s += !!s;
	}
	return HSAKMT_STATUS_SUCCESS;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n, len;

	if (!log_calls)
		return;
	n = snprintf(line, sizeof(line), "fake_hsakmt: hsaKmt");
	va_start(ap, fmt);
	len = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	n = len < (int)sizeof(line) - n ? n + len : (int)sizeof(line) - 1;
	line[n - 1] = '\n';
	if (write(STDERR_FILENO, line, n) != n)
		abort();
}

/*
 * Start of a call: say it, with arguments whose format ends in a space for the
 * newline, and fail if so wanted.
 */
#define ENTER(name, fmt, ...) \
	do { \
		HSAKMT_STATUS status_; \
		say(name fmt " ", ##__VA_ARGS__); \
		status_ = failure(name); \
		if (status_ != HSAKMT_STATUS_SUCCESS) \
			return status_; \
		if (!sim) \
			return HSAKMT_STATUS_KERNEL_IO_CHANNEL_NOT_OPENED; \
	} while (0)

static HSAKMT_STATUS to_status(int err)
{
	switch (err) {
	case 0:
		return HSAKMT_STATUS_SUCCESS;
	case -EINVAL:
		return HSAKMT_STATUS_INVALID_PARAMETER;
	case -ENOMEM:
		return HSAKMT_STATUS_NO_MEMORY;
	case -EEXIST:
		return HSAKMT_STATUS_MEMORY_ALREADY_REGISTERED;
	}
	return HSAKMT_STATUS_ERROR;
}

/* A structure is written a field after the other, packed to four bytes. */

static void put(char **p, uint64_t value, size_t size)
{
	memcpy(*p, &value, size);	/* both are little endian */
	*p += size;
}

#define PUT32(value)	put(&p, value, 4)

static void *gpu_runs(void *arg)
{
	const struct timespec pause = { .tv_nsec = LOOKS_EVERY };
	int wait, error = 0;
	unsigned int i;

	(void)arg;
	while (!atomic_load(&gpu_ends)) {
		pthread_mutex_lock(&lock);
		for (i = 0; i < MAX_QUEUES; i++) {
			uint64_t value = atomic_exchange(&doorbells[i],
							 NO_DOORBELL);

			if (value != NO_DOORBELL && queues[i].id)
				sim->ops->ring_doorbell(sim, queues[i].id,
							value);
		}
		wait = sim->ops->run(sim, &error);
		pthread_mutex_unlock(&lock);
		if (wait)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

static void stop_gpu(void)
{
	if (!has_gpu)
		return;
	atomic_store(&gpu_ends, true);
	pthread_join(gpu, NULL);
	has_gpu = false;
}

API HSAKMT_STATUS hsaKmtOpenKFD(void)
{
	HSAKMT_STATUS status;

	say("OpenKFD ");
	status = failure("OpenKFD");
	if (status != HSAKMT_STATUS_SUCCESS)
		return status;
	if (sim)
		return HSAKMT_STATUS_KERNEL_ALREADY_OPENED;
	sim = vcs_thunk_sim_open();
	return sim ? HSAKMT_STATUS_SUCCESS : HSAKMT_STATUS_NO_MEMORY;
}

API HSAKMT_STATUS hsaKmtCloseKFD(void)
{
	ENTER("CloseKFD", "");
	stop_gpu();
	sim->ops->close(sim);
	sim = NULL;
	has_system = false;
	memset(mapped, 0, sizeof(mapped));
	if (doorbells)
		munmap(doorbells, MAX_QUEUES * sizeof(*doorbells));
	doorbells = NULL;
	memset(queues, 0, sizeof(queues));
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtGetVersion(HsaVersionInfo *info)
{
	uint32_t major = 0, minor = 0;
	int ret;

	ENTER("GetVersion", "");
	ret = sim->ops->version(sim, &major, &minor);
	info->KernelInterfaceMajorVersion = major;
	info->KernelInterfaceMinorVersion = minor;
	return to_status(ret);
}

API HSAKMT_STATUS hsaKmtAcquireSystemProperties(HsaSystemProperties *props)
{
	struct vcs_thunk_system sys = {};
	int ret;

	ENTER("AcquireSystemProperties", "");
	ret = sim->ops->system(sim, &sys);
	props->NumNodes = nr_nodes;
	props->PlatformOem = sys.platform_oem;
	props->PlatformId = sys.platform_id;
	props->PlatformRev = sys.platform_rev;
	has_system = !ret;
	return to_status(ret);
}

API HSAKMT_STATUS hsaKmtReleaseSystemProperties(void)
{
	ENTER("ReleaseSystemProperties", "");
	has_system = false;
	return HSAKMT_STATUS_SUCCESS;
}

/* The simulation's node. */
static uint32_t to_node(uint32_t id)
{
	return id && id < nr_nodes ? 1 : id ? UINT32_MAX : 0;
}

/* The node of a call about nodes. */
static HSAKMT_STATUS get_node(uint32_t id, struct vcs_thunk_node *node)
{
	if (!has_system)
		return HSAKMT_STATUS_ERROR;
	memset(node, 0, sizeof(*node));
	return sim->ops->node(sim, to_node(id), node) ? HSAKMT_STATUS_INVALID_NODE_UNIT :
					       HSAKMT_STATUS_SUCCESS;
}

static void put_names(char **p, const struct vcs_thunk_node *node)
{
	size_t i;

	for (i = 0; i < sizeof(node->marketing_name); i++)
		put(p, (uint8_t)node->marketing_name[i], 2);
	for (i = 0; i < sizeof(node->amd_name); i++)
		put(p, (uint8_t)node->amd_name[i], 1);
}

API HSAKMT_STATUS hsaKmtGetNodeProperties(HSAuint32 id, HsaNodeProperties *props)
{
	struct vcs_thunk_node node;
	char all[512] = {};
	HSAKMT_STATUS status;
	uint32_t cap;
	size_t size;
	char *p = all;

	ENTER("GetNodeProperties", " %u", id);
	status = get_node(id, &node);
	if (status != HSAKMT_STATUS_SUCCESS)
		return status;
	if (empty) {
		node.num_memory_banks = 0;
		node.num_caches = 0;
		node.num_io_links = 0;
	}

	cap = node.capability & ~CAP_SVM;
	if (svm && node.num_fcompute_cores)
		cap |= CAP_SVM;
	if (node.num_fcompute_cores)
		cap = (cap & ~CAP_DOORBELL) |
		      doorbell_type << VIRTIO_GPU_ROCM_CAP_DOORBELL_SHIFT;

	PUT32(node.num_cpu_cores);
	PUT32(node.num_fcompute_cores);
	if (release->npu)
		PUT32(node.num_neural_cores);
	PUT32(node.num_memory_banks);
	PUT32(node.num_caches);
	PUT32(node.num_io_links);
	PUT32(node.ccompute_id_lo);
	PUT32(node.fcompute_id_lo);
	PUT32(cap);
	if (release->npu)
		PUT32(node.capability2);
	PUT32(node.max_waves_per_simd);
	PUT32(node.lds_size_in_kb);
	PUT32(node.gds_size_in_kb);
	PUT32(node.wave_front_size);
	PUT32(node.num_shader_banks);
	PUT32(node.num_arrays);
	PUT32(node.num_cu_per_array);
	PUT32(node.num_simd_per_cu);
	PUT32(node.max_slots_scratch_cu);
	PUT32(node.engine_id);
	if (release->override)
		PUT32(node.override_engine_id);
	put(&p, node.vendor_id, 2);
	put(&p, node.device_id, 2);
	PUT32(node.location_id);
	put(&p, node.local_mem_size, 8);
	PUT32(node.max_engine_clock_mhz_fcompute);
	PUT32(node.max_engine_clock_mhz_ccompute);
	PUT32(128);				/* DrmRenderMinor */
	put_names(&p, &node);
	PUT32(node.ucode_engine_versions);
	put(&p, node.debug_properties, 8);
	put(&p, node.hive_id, 8);
	PUT32(node.num_sdma_engines);
	PUT32(node.num_sdma_xgmi_engines);
	put(&p, node.num_sdma_queues_per_engine, 1);
	put(&p, node.num_cp_queues, 1);
	put(&p, node.num_gws, 1);
	put(&p, node.integrated, 1);
	PUT32(node.domain);
	put(&p, node.unique_id, 8);
	PUT32(node.vgpr_size_per_cu);
	PUT32(node.sgpr_size_per_cu);
	PUT32(release->partitions ? node.num_xcc : 0);
	PUT32(release->partitions ? node.kfd_gpu_id : 0);
	PUT32(release->partitions ? node.family_id : 0);
	/* What the release does not have is cut off here. */
	PUT32(node.cwsr_size);
	PUT32(node.ctl_stack_size);
	put(&p, 0, 8);				/* LuidLowPart, LuidHighPart */
	put(&p, node.wall_clock_khz, 8);
	PUT32(0);				/* FabricHandleSupported */
	/* Up to the hole, and behind it. */
	size = release->hole ? release->node - 8U : release->node;
	memcpy(props, all, size);
	if (release->hole)
		memcpy((char *)props + size + 4, all + size + 4, 4);
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtGetNodeMemoryProperties(HSAuint32 id, HSAuint32 nr,
						HsaMemoryProperties *props)
{
	struct vcs_thunk_node node;
	struct vcs_thunk_bank bank;
	HSAKMT_STATUS status;
	char *p = (char *)props;
	uint32_t i;

	ENTER("GetNodeMemoryProperties", " %u", id);
	status = get_node(id, &node);
	if (status != HSAKMT_STATUS_SUCCESS)
		return status;
	for (i = 0; i < nr; i++) {
		memset(&bank, 0, sizeof(bank));
		/* More than there are: zeroed. */
		if (i < node.num_memory_banks && sim->ops->bank(sim, to_node(id), i, &bank))
			return HSAKMT_STATUS_ERROR;
		PUT32(bank.heap_type);
		put(&p, bank.size, 8);
		PUT32(bank.flags);
		PUT32(bank.width);
		PUT32(bank.memory_clock_max);
		put(&p, bank.virtual_base, 8);
	}
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtGetNodeCacheProperties(HSAuint32 id, HSAuint32 processor,
					       HSAuint32 nr,
					       HsaCacheProperties *props)
{
	struct vcs_thunk_cache cache;
	struct vcs_thunk_node node;
	HSAKMT_STATUS status;
	char *p = (char *)props;
	uint32_t i, sibling;

	(void)processor;
	ENTER("GetNodeCacheProperties", " %u", id);
	status = get_node(id, &node);
	if (status != HSAKMT_STATUS_SUCCESS)
		return status;
	if (nr > node.num_caches)
		return HSAKMT_STATUS_INVALID_PARAMETER;
	for (i = 0; i < nr; i++) {
		char *end = p + release->cache;

		memset(&cache, 0, sizeof(cache));
		if (sim->ops->cache(sim, to_node(id), i, &cache))
			return HSAKMT_STATUS_ERROR;
		PUT32(cache.processor_id_low);
		PUT32(cache.level);
		PUT32(cache.size);
		PUT32(cache.line_size);
		PUT32(cache.lines_per_tag);
		PUT32(cache.associativity);
		PUT32(cache.latency);
		PUT32(cache.type);
		for (sibling = 0; sibling < HSA_CPU_SIBLINGS; sibling++)
			PUT32(sibling < cache.siblings);
		while (p < end)
			PUT32(0);
	}
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtGetNodeIoLinkProperties(HSAuint32 id, HSAuint32 nr,
						HsaIoLinkProperties *props)
{
	struct vcs_thunk_io_link link;
	struct vcs_thunk_node node;
	HSAKMT_STATUS status;
	char *p = (char *)props;
	uint32_t i;

	ENTER("GetNodeIoLinkProperties", " %u", id);
	status = get_node(id, &node);
	if (status != HSAKMT_STATUS_SUCCESS)
		return status;
	if (nr > node.num_io_links)
		return HSAKMT_STATUS_INVALID_PARAMETER;
	for (i = 0; i < nr; i++) {
		char *end = p + release->link;

		memset(&link, 0, sizeof(link));
		if (sim->ops->io_link(sim, to_node(id), i, &link))
			return HSAKMT_STATUS_ERROR;
		PUT32(link.type);
		PUT32(link.version_major);
		PUT32(link.version_minor);
		PUT32(link.node_from);
		PUT32(link.node_to);
		PUT32(link.weight);
		PUT32(link.min_latency);
		PUT32(link.max_latency);
		PUT32(link.min_bandwidth);
		PUT32(link.max_bandwidth);
		PUT32(link.rec_transfer_size);
		if (release->link > 48)
			PUT32(link.rec_sdma_eng_id_mask);
		PUT32(link.flags);
		while (p < end)
			PUT32(0);
	}
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtGetClockCounters(HSAuint32 id, HsaClockCounters *counters)
{
	struct vcs_thunk_clocks clocks = {};
	int ret;

	ENTER("GetClockCounters", " %u", id);
	ret = sim->ops->clocks(sim, to_node(id), &clocks);
	counters->GPUClockCounter = clocks.gpu;
	counters->CPUClockCounter = clocks.cpu;
	counters->SystemClockCounter = clocks.system;
	counters->SystemClockFrequencyHz = clocks.system_frequency_hz;
	return to_status(ret);
}

API HSAKMT_STATUS hsaKmtRuntimeEnable(void *debug, bool setup_ttmp)
{
	(void)debug;
	ENTER("RuntimeEnable", " %d", setup_ttmp);
	return to_status(sim->ops->runtime_enable(sim, setup_ttmp));
}

API HSAKMT_STATUS hsaKmtRuntimeDisable(void)
{
	ENTER("RuntimeDisable", "");
	return to_status(sim->ops->runtime_disable(sim));
}

/* Since ROCm 5.7: not in all headers. */
API HSAKMT_STATUS hsaKmtGetRuntimeCapabilities(HSAuint32 *caps);
API HSAKMT_STATUS hsaKmtGetRuntimeCapabilities(HSAuint32 *caps)
{
	uint32_t c = 0;
	int ret;

	ENTER("GetRuntimeCapabilities", "");
	ret = sim->ops->runtime_caps(sim, &c);
	*caps = c;
	return to_status(ret);
}

API HSAKMT_STATUS hsaKmtSetTrapHandler(HSAuint32 id, void *handler,
				       HSAuint64 handler_size, void *buffer,
				       HSAuint64 buffer_size)
{
	const struct vcs_thunk_trap trap = {
		.handler = (uintptr_t)handler,
		.handler_size = handler_size,
		.buffer = (uintptr_t)buffer,
		.buffer_size = buffer_size,
	};

	ENTER("SetTrapHandler", " %u", id);
	return to_status(sim->ops->set_trap(sim, to_node(id), &trap));
}

/* Since ROCm 5.3: not in all headers. */
API HSAKMT_STATUS hsaKmtAvailableMemory(HSAuint32 id, HSAuint64 *bytes);
API HSAKMT_STATUS hsaKmtAvailableMemory(HSAuint32 id, HSAuint64 *bytes)
{
	uint64_t n = 0;
	int ret;

	ENTER("AvailableMemory", " %u", id);
	ret = sim->ops->available(sim, to_node(id), &n);
	*bytes = n;
	return to_status(ret);
}

/* Since ROCm 5.6: not in all headers. There is nothing to export. */
API HSAKMT_STATUS hsaKmtExportDMABufHandle(void *addr, HSAuint64 size, int *fd,
					   HSAuint64 *offset);
API HSAKMT_STATUS hsaKmtExportDMABufHandle(void *addr, HSAuint64 size, int *fd,
					   HSAuint64 *offset)
{
	(void)size;
	(void)fd;
	(void)offset;
	ENTER("ExportDMABufHandle", " %p", addr);
	return HSAKMT_STATUS_NOT_SUPPORTED;
}

/*
 * May the process write there? What the GPU asks of the VMA under SVM. Maps the
 * first page and changes nothing.
 */
static bool is_writable(void *addr)
{
	return !madvise(addr, sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE);
}

API HSAKMT_STATUS hsaKmtRegisterMemoryWithFlags(void *addr, HSAuint64 size,
						HsaMemFlags flags)
{
	HSAKMT_STATUS status;

	ENTER("RegisterMemoryWithFlags", " %p %llu %#x", addr,
	      (unsigned long long)size, flags.Value);
	/* As the library: anything else it would have to allocate itself. */
	if (!flags.ui32.HostAccess || flags.ui32.NonPaged)
		return HSAKMT_STATUS_NOT_SUPPORTED;
	if (!addr || !size)
		return HSAKMT_STATUS_INVALID_PARAMETER;
	/* KFD finds VMAs when the range is registered under SVM. */
	pthread_mutex_lock(&lock);
	status = to_status(sim->ops->register_memory(sim, addr, size,
						     !is_writable(addr)));
	pthread_mutex_unlock(&lock);
	return status;
}

static struct mapped *find_mapped(void *addr)
{
	size_t i;

	for (i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++)
		if (mapped[i].times && mapped[i].addr == addr)
			return &mapped[i];
	for (i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++)
		if (!mapped[i].times) {
			mapped[i].addr = addr;
			return &mapped[i];
		}
	abort();
}

/* What is mapped stays, which is not told; and so does its registration. */
API HSAKMT_STATUS hsaKmtDeregisterMemory(void *addr)
{
	ENTER("DeregisterMemory", " %p", addr);
	pthread_mutex_lock(&lock);
	if (uses_svm || !find_mapped(addr)->times)
		sim->ops->deregister(sim, addr);
	pthread_mutex_unlock(&lock);
	return HSAKMT_STATUS_SUCCESS;
}

API HSAKMT_STATUS hsaKmtMapMemoryToGPUNodes(void *addr, HSAuint64 size,
					    HSAuint64 *alternate,
					    HsaMemMapFlags flags, HSAuint64 nr,
					    HSAuint32 *nodes)
{
	HSAKMT_STATUS status;
	uint32_t ids[64];
	uint64_t gpu_addr, i;
	int ret;

	say("MapMemoryToGPUNodes %p %llu %#x %llu ", addr,
	    (unsigned long long)size, flags.Value, (unsigned long long)nr);
	status = failure("MapMemoryToGPUNodes");
	if (!sim)
		return HSAKMT_STATUS_KERNEL_IO_CHANNEL_NOT_OPENED;
	/* Without SVM, KFD asks for pages that can be written. */
	if (!uses_svm && !is_writable(addr))
		return HSAKMT_STATUS_ERROR;
	for (i = 0; i < nr && i < 64; i++)
		ids[i] = to_node(nodes[i]);
	pthread_mutex_lock(&lock);
	ret = sim->ops->map_to_nodes(sim, addr, ids, (uint32_t)i, &gpu_addr);
	if (!ret && !uses_svm)
		find_mapped(addr)->times++;
	pthread_mutex_unlock(&lock);
	if (ret)
		return to_status(ret);
	*alternate = uses_svm ? 0 : gpu_addr + va_offset;
	return status;
}

/* Under SVM it is the end of the mapping in the process that ends it. */
API HSAKMT_STATUS hsaKmtUnmapMemoryToGPU(void *addr)
{
	int ret = 0;

	ENTER("UnmapMemoryToGPU", " %p", addr);
	if (!uses_svm) {
		struct mapped *m;

		pthread_mutex_lock(&lock);
		m = find_mapped(addr);
		if (!m->times)
			ret = -EINVAL;
		else if (!--m->times)
			ret = sim->ops->unmap(sim, addr);
		pthread_mutex_unlock(&lock);
	}
	return to_status(ret);
}

static int start_gpu(void)
{
	size_t i;

	if (!doorbells) {
		void *p = mmap(NULL, MAX_QUEUES * sizeof(*doorbells),
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return -ENOMEM;
		doorbells = p;
		for (i = 0; i < MAX_QUEUES; i++)
			atomic_store(&doorbells[i], NO_DOORBELL);
	}
	if (!has_gpu) {
		atomic_store(&gpu_ends, false);
		if (pthread_create(&gpu, NULL, gpu_runs, NULL))
			return -ENOMEM;
		has_gpu = true;
	}
	return 0;
}

API HSAKMT_STATUS hsaKmtCreateQueue(HSAuint32 node, HSA_QUEUE_TYPE type,
				    HSAuint32 percentage,
				    HSA_QUEUE_PRIORITY priority, void *ring,
				    HSAuint64 ring_size, HsaEvent *event,
				    HsaQueueResource *res)
{
	const struct vcs_thunk_queue params = {
		.node = to_node(node),
		.percentage = percentage,
		.priority = priority,
		.ring = (uintptr_t)ring,
		.ring_size = ring_size,
		.write_ptr = res->QueueWptrValue,
		.read_ptr = res->QueueRptrValue,
	};
	unsigned int slot;
	uint64_t id = 0;
	int ret;

	(void)event;
	ENTER("CreateQueue", " %u %d %u %d %p %llu", node, (int)type, percentage,
	      (int)priority, ring, (unsigned long long)ring_size);
	if (type != HSA_QUEUE_COMPUTE_AQL || !ring || !params.write_ptr ||
	    !params.read_ptr)
		return HSAKMT_STATUS_INVALID_PARAMETER;
	for (slot = 0; slot < MAX_QUEUES && queues[slot].id; slot++)
		;
	if (slot == MAX_QUEUES)
		return HSAKMT_STATUS_OUT_OF_RESOURCES;
	ret = start_gpu();
	if (ret)
		return to_status(ret);
	pthread_mutex_lock(&lock);
	ret = sim->ops->create_queue(sim, &params, &id);
	if (!ret) {
		queues[slot].id = id;
		queues[slot].params = params;
	}
	pthread_mutex_unlock(&lock);
	if (ret)
		return to_status(ret);
	/* Not that of the simulation: nobody is to take one for the other. */
	res->QueueId = 1000 + slot;
	res->QueueDoorBell = failure("Doorbell") ? 0 :
			     (uintptr_t)&doorbells[slot];
	return HSAKMT_STATUS_SUCCESS;
}

static struct queue *to_queue(HSA_QUEUEID id)
{
	return id >= 1000 && id < 1000 + MAX_QUEUES && queues[id - 1000].id ?
	       &queues[id - 1000] : NULL;
}

API HSAKMT_STATUS hsaKmtUpdateQueue(HSA_QUEUEID id, HSAuint32 percentage,
				    HSA_QUEUE_PRIORITY priority, void *ring,
				    HSAuint64 ring_size, HsaEvent *event)
{
	struct queue *queue;
	int ret;

	(void)event;
	ENTER("UpdateQueue", " %llu %u %d %p %llu", (unsigned long long)id,
	      percentage, (int)priority, ring,
	      (unsigned long long)ring_size);
	queue = to_queue(id);
	if (!queue)
		return HSAKMT_STATUS_INVALID_HANDLE;
	queue->params.percentage = percentage;
	queue->params.priority = priority;
	queue->params.ring = (uintptr_t)ring;
	queue->params.ring_size = ring_size;
	pthread_mutex_lock(&lock);
	ret = sim->ops->update_queue(sim, queue->id, &queue->params);
	pthread_mutex_unlock(&lock);
	return to_status(ret);
}

API HSAKMT_STATUS hsaKmtDestroyQueue(HSA_QUEUEID id)
{
	struct queue *queue;
	int ret;

	ENTER("DestroyQueue", " %llu", (unsigned long long)id);
	queue = to_queue(id);
	if (!queue)
		return HSAKMT_STATUS_INVALID_HANDLE;
	pthread_mutex_lock(&lock);
	ret = sim->ops->destroy_queue(sim, queue->id);
	queue->id = 0;
	pthread_mutex_unlock(&lock);
	return to_status(ret);
}
