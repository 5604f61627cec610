// SPDX-License-Identifier: MIT
/*
 * The thunk over libhsakmt
 */
#include <amdgpu_drm.h>
#include <dlfcn.h>
#include <errno.h>
#include <search.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_hsakmt.h"
#include "vcs_thunk_hsakmt.h"
#include "vcs_thunk_sim.h"

#define CPU	0
#define GPU	1
#define NR(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE	4096

/* The file that is libhsakmt.so.1, or NULL for what the system has. */
static const char *library;

void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);

void *__wrap_dlopen(const char *name, int flags)
{
	assert_string_equal(name, "libhsakmt.so.1");
	return __real_dlopen(library ? library : name, flags);
}

/* A function that the library does not have, or NULL. */
static const char *missing;

void *__real_dlsym(void *handle, const char *name);
void *__wrap_dlsym(void *handle, const char *name);

void *__wrap_dlsym(void *handle, const char *name)
{
	return missing && !strcmp(name, missing) ? NULL :
	       __real_dlsym(handle, name);
}

/* Allocations until one fails; 0: none does. */
static unsigned int allocations;

static int is_last(void)
{
	return allocations && !--allocations;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return is_last() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	return is_last() ? NULL : __real_calloc(n, size);
}

void *__real_tsearch(const void *key, void **root,
		     int (*compare)(const void *, const void *));
void *__wrap_tsearch(const void *key, void **root,
		     int (*compare)(const void *, const void *));

void *__wrap_tsearch(const void *key, void **root,
		     int (*compare)(const void *, const void *))
{
	return is_last() ? NULL : __real_tsearch(key, root, compare);
}

/*
 * Where releases have a field of HsaNodeProperties, in bytes: counted in their
 * hsakmttypes.h, not taken from the table under test.
 */
static const struct layout {
	size_t size;
	size_t num_caches;
	size_t capability;
	size_t engine_id;
	size_t vendor_id;
	size_t local_mem_size;
	size_t render_minor;
	size_t marketing_name;
	size_t amd_name;
	size_t family_id;
} layouts[] = {
	{ 356, 12, 28, 68, 72, 80, 96, 100, 228, 352 },
	{ 360, 12, 28, 68, 76, 84, 100, 104, 232, 356 },
	{ 364, 16, 32, 72, 80, 88, 104, 108, 236, 360 },
	{ 368, 16, 32, 76, 84, 92, 108, 112, 240, 364 },
	{ 376, 16, 32, 76, 84, 92, 108, 112, 240, 364 },
	{ 384, 16, 32, 76, 84, 92, 108, 112, 240, 364 },
	{ 392, 16, 32, 76, 84, 92, 108, 112, 240, 364 },
	{ 396, 16, 32, 76, 84, 92, 108, 112, 240, 364 },
};

static void put32(uint8_t *data, size_t offset, uint32_t value)
{
	memcpy(data + offset, &value, sizeof(value));
}

static void make_node(uint8_t *data, const struct layout *l)
{
	memset(data, 0, l->size);
	put32(data, 4, 160);	/* NumFComputeCores */
	put32(data, l->num_caches, 7);
	put32(data, l->capability, 0x2000);
	put32(data, l->engine_id, 0x03010a00);
	put32(data, l->vendor_id, 0x73bf1002);
	put32(data, l->local_mem_size, 0x40000000);
	put32(data, l->local_mem_size + 4, 3);
	put32(data, l->render_minor, 129);
	put32(data, l->marketing_name, 'G' | 0x20ac << 16);
	put32(data, l->marketing_name + 4, 'X');
	memcpy(data + l->amd_name, "gfx1030", 8);
	put32(data, l->family_id, 143);
	if (l->size >= 376) {
		put32(data, 368, 4711);
		put32(data, 372, 815);
	}
	if (l->size >= 392)
		put32(data, 384, 100000);
}

static void test_node_of_each_release(void **state)
{
	struct vcs_thunk_node n;
	uint8_t data[512];
	int32_t minor;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		const struct layout *l = &layouts[i];

		make_node(data, l);
		minor = 0;
		assert_int_equal(vcs_hsakmt_convert_node(data, l->size, &n,
							 &minor), 0);
		assert_int_equal(n.num_fcompute_cores, 160);
		assert_int_equal(n.num_caches, 7);
		assert_int_equal(n.capability, 0x2000);
		assert_int_equal(n.engine_id, 0x03010a00);
		assert_int_equal(n.vendor_id, 0x1002);
		assert_int_equal(n.device_id, 0x73bf);
		assert_int_equal(n.local_mem_size, 0x340000000);
		assert_int_equal(minor, 129);
		assert_string_equal(n.marketing_name, "G?X");
		assert_string_equal(n.amd_name, "gfx1030");
		assert_int_equal(n.family_id, 143);
		assert_int_equal(n.cwsr_size, l->size >= 376 ? 4711 : 0);
		assert_int_equal(n.ctl_stack_size, l->size >= 376 ? 815 : 0);
		assert_int_equal(n.wall_clock_khz, l->size >= 392 ? 100000 : 0);
	}
}

/* The installed header is one of them. */
static void test_node_of_the_header(void **state)
{
	HsaNodeProperties p = {
		.NumFComputeCores = 1, .NumMemoryBanks = 2, .NumIOLinks = 3,
		.MaxWavesPerSIMD = 4, .NumSIMDPerCU = 5, .VendorId = 0x1002,
		.DeviceId = 6, .LocationId = 7, .DrmRenderMinor = 8,
		.AMDName = "gfx900", .HiveID = 9, .NumSdmaXgmiEngines = 10,
		.NumCpQueues = 11, .Domain = 12, .UniqueID = 13,
		.SGPRSizePerCU = 14,
	};
	struct vcs_thunk_node n;
	int32_t minor = 0;

	(void)state;
	assert_int_equal(vcs_hsakmt_convert_node(&p, sizeof(p), &n, &minor), 0);
	assert_int_equal(n.num_fcompute_cores, 1);
	assert_int_equal(n.num_memory_banks, 2);
	assert_int_equal(n.num_io_links, 3);
	assert_int_equal(n.max_waves_per_simd, 4);
	assert_int_equal(n.num_simd_per_cu, 5);
	assert_int_equal(n.vendor_id, 0x1002);
	assert_int_equal(n.device_id, 6);
	assert_int_equal(n.location_id, 7);
	assert_int_equal(minor, 8);
	assert_string_equal(n.amd_name, "gfx900");
	assert_int_equal(n.hive_id, 9);
	assert_int_equal(n.num_sdma_xgmi_engines, 10);
	assert_int_equal(n.num_cp_queues, 11);
	assert_int_equal(n.domain, 12);
	assert_int_equal(n.unique_id, 13);
	assert_int_equal(n.sgpr_size_per_cu, 14);
}

static void test_node_unknown(void **state)
{
	struct vcs_thunk_node n;
	uint8_t data[512];
	int32_t minor;
	size_t size, i, known = 0;

	(void)state;
	for (size = 0; size < sizeof(data); size++) {
		make_node(data, &layouts[0]);
		if (vcs_hsakmt_convert_node(data, size, &n, &minor) != -EPROTO)
			known++;
	}
	assert_int_equal(known, sizeof(layouts) / sizeof(layouts[0]));
	/* A name that is none. */
	make_node(data, &layouts[0]);
	data[layouts[0].amd_name + 2] = 7;
	assert_int_equal(vcs_hsakmt_convert_node(data, layouts[0].size, &n,
						 &minor), -EBADMSG);
	memset(data + layouts[0].amd_name, 'x', 64);
	assert_int_equal(vcs_hsakmt_convert_node(data, layouts[0].size, &n,
						 &minor), -EBADMSG);
	/* The fields of one release in the size of another. */
	for (i = 1; i < 4; i++) {
		memset(data, 0, sizeof(data));
		make_node(data, &layouts[i - 1]);
		assert_int_equal(vcs_hsakmt_convert_node(data, layouts[i].size,
							 &n, &minor), -EBADMSG);
	}
}

static void test_errors(void **state)
{
	static const struct {
		int status;
		int error;
	} errors[] = {
		{ HSAKMT_STATUS_SUCCESS, 0 },
		{ HSAKMT_STATUS_ERROR, -EIO },
		{ HSAKMT_STATUS_DRIVER_MISMATCH, -EPROTO },
		{ HSAKMT_STATUS_INVALID_PARAMETER, -EINVAL },
		{ HSAKMT_STATUS_INVALID_HANDLE, -ENOENT },
		{ HSAKMT_STATUS_INVALID_NODE_UNIT, -EINVAL },
		{ HSAKMT_STATUS_NO_MEMORY, -ENOMEM },
		{ HSAKMT_STATUS_BUFFER_TOO_SMALL, -ENOSPC },
		{ HSAKMT_STATUS_NOT_IMPLEMENTED, -EOPNOTSUPP },
		{ HSAKMT_STATUS_NOT_SUPPORTED, -EOPNOTSUPP },
		{ HSAKMT_STATUS_UNAVAILABLE, -EBUSY },
		{ HSAKMT_STATUS_OUT_OF_RESOURCES, -ENOSPC },
		{ HSAKMT_STATUS_KERNEL_IO_CHANNEL_NOT_OPENED, -ENODEV },
		{ HSAKMT_STATUS_KERNEL_COMMUNICATION_ERROR, -EIO },
		{ HSAKMT_STATUS_KERNEL_ALREADY_OPENED, -EBUSY },
		{ HSAKMT_STATUS_HSAMMU_UNAVAILABLE, -ENODEV },
		{ HSAKMT_STATUS_WAIT_FAILURE, -EIO },
		{ HSAKMT_STATUS_WAIT_TIMEOUT, -ETIMEDOUT },
		{ HSAKMT_STATUS_MEMORY_ALREADY_REGISTERED, -EEXIST },
		{ HSAKMT_STATUS_MEMORY_NOT_REGISTERED, -ENOENT },
		{ HSAKMT_STATUS_MEMORY_ALIGNMENT, -EINVAL },
		{ 12345, -EIO },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		assert_int_equal(vcs_hsakmt_error((HSAKMT_STATUS)
						  errors[i].status),
				 errors[i].error);
}

/*
 * The render node of a GPU: its driver's name, NULL for none that can be opened.
 * amdgpu's answers with a multiple of 1000 in each field, or an errno.
 */
static const char *render_driver;
static int version_error, info_error;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

/* Of opening /dev/kfd: 0, or -1 for what the machine says. */
static int kfd_error = -1;

/* Nobody here makes a file. */
int __wrap_open(const char *path, int flags, ...)
{
	if (!strcmp(path, "/dev/kfd") && kfd_error >= 0) {
		errno = kfd_error;
		return kfd_error ? -1 : __real_open("/dev/null", flags);
	}
	if (strcmp(path, "/dev/dri/renderD128"))
		return __real_open(path, flags);
	if (!render_driver) {
		errno = EACCES;
		return -1;
	}
	return __real_open("/dev/null", flags);
}

static void answer(struct drm_amdgpu_info_device *dev)
{
	dev->device_id = 1000;
	dev->chip_rev = 2000;
	dev->external_rev = 3000;
	dev->pci_rev = 4000;
	dev->family = 5000;
	dev->num_shader_engines = 6000;
	dev->num_shader_arrays_per_engine = 7000;
	dev->gpu_counter_freq = 8000;
	dev->max_engine_clock = 9000;
	dev->max_memory_clock = 10000;
	dev->cu_active_number = 11000;
	dev->cu_bitmap[0][0] = 12000;
	dev->num_rb_pipes = 13000;
	dev->vram_type = 14000;
	dev->vram_bit_width = 15000;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct drm_amdgpu_info *info = arg;
	struct drm_version *version = arg;

	assert_true(fd >= 0);
	if (request == DRM_IOCTL_VERSION) {
		errno = version_error;
		assert_true(version->name_len > strlen(render_driver));
		memcpy(version->name, render_driver, strlen(render_driver));
		return version_error ? -1 : 0;
	}
	/* Of no other driver's. */
	assert_int_equal(request, DRM_IOCTL_AMDGPU_INFO);
	assert_string_equal(render_driver, "amdgpu");
	assert_int_equal(info->query, AMDGPU_INFO_DEV_INFO);
	assert_int_equal(info->return_size,
			 sizeof(struct drm_amdgpu_info_device));
	errno = info_error;
	if (!info_error)
		answer((void *)(uintptr_t)info->return_pointer);
	return info_error ? -1 : 0;
}

static char why[512];

/*
 * Open the library that is played, with these variables, "NAME=VALUE" separated
 * by spaces and without "FAKE_HSAKMT_": they count until it is closed.
 */
static int open_fake(struct vcs_thunk **thunk, const char *variables)
{
	static const char * const names[] = {
		"RELEASE", "SVM", "VA", "NODES", "EMPTY", "DOORBELL", "LOG",
		"FAIL",
	};
	static char path[4096];
	char text[256], *word, *rest, name[64];
	const char *dir = getenv("VCS_FAKE");
	size_t i;

	for (i = 0; i < NR(names); i++) {
		snprintf(name, sizeof(name), "FAKE_HSAKMT_%s", names[i]);
		unsetenv(name);
	}
	snprintf(text, sizeof(text), "%s", variables);
	for (word = strtok_r(text, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '=');

		assert_non_null(equals);
		*equals = '\0';
		snprintf(name, sizeof(name), "FAKE_HSAKMT_%s", word);
		assert_int_equal(setenv(name, equals + 1, 1), 0);
	}
	assert_non_null(dir);
	snprintf(path, sizeof(path), "%.4000s/libhsakmt.so.1", dir);
	library = path;
	*thunk = NULL;
	memset(why, 'x', sizeof(why));
	return vcs_thunk_hsakmt_open(thunk, why, sizeof(why));
}

static struct vcs_thunk *fake(const char *variables)
{
	struct vcs_thunk *t;

	if (open_fake(&t, variables))
		fail_msg("%s: %.*s", variables, (int)sizeof(why), why);
	return t;
}

static void close_thunk(struct vcs_thunk *t)
{
	t->ops->close(t);
}

static void *map_pages(size_t n)
{
	void *addr = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	return addr;
}

/* Loading */

static void test_no_library(void **state)
{
	struct vcs_thunk *t;

	(void)state;
	library = "/nonexistent/libhsakmt.so.1";
	assert_int_equal(vcs_thunk_hsakmt_open(&t, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/libhsakmt.so.1"));
	assert_non_null(strstr(why, "install the package libhsakmt1, "));
}

static void test_another_library(void **state)
{
	struct vcs_thunk *t;

	(void)state;
	library = "libm.so.6";
	assert_int_equal(vcs_thunk_hsakmt_open(&t, why, sizeof(why)), -EPROTO);
	assert_non_null(strstr(why, "libhsakmt.so.1 has no hsaKmtOpenKFD;"));
}

/* The oldest ones lack what is not needed. */
static void test_functions_that_are_missing(void **state)
{
	uint8_t *mem = map_pages(1);
	struct vcs_thunk *t;
	uint64_t bytes;
	uint32_t caps = 7;

	(void)state;
	missing = "hsaKmtRuntimeDisable";
	assert_int_equal(open_fake(&t, ""), -EPROTO);
	assert_non_null(strstr(why, "has no hsaKmtRuntimeDisable;"));
	missing = "hsaKmtGetRuntimeCapabilities";
	t = fake("");
	assert_int_equal(t->ops->runtime_caps(t, &caps), 0);
	assert_int_equal(caps, 0);
	close_thunk(t);
	missing = "hsaKmtAvailableMemory";
	t = fake("");
	assert_int_equal(t->ops->available(t, GPU, &bytes), 0);
	assert_true(bytes);
	close_thunk(t);
	/* Before 5.6 SVM is not used for memory that is registered. */
	missing = "hsaKmtExportDMABufHandle";
	t = fake("");
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true),
			 -EOPNOTSUPP);
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, false), 0);
	close_thunk(t);
	missing = NULL;
	munmap(mem, PAGE);
}

static void test_kfd(void **state)
{
	static const struct {
		int errno_of_kfd;
		int error;
		const char *says;
	} cases[] = {
		{ ENOENT, -ENODEV, "there is no /dev/kfd: " },
		{ ENODEV, -ENODEV, "there is no /dev/kfd: " },
		{ ENXIO, -ENODEV, "there is no /dev/kfd: " },
		{ EACCES, -EACCES, "the groups render and video" },
		{ EPERM, -EACCES, "the groups render and video" },
		{ EMFILE, -EMFILE, "cannot open /dev/kfd: " },
		/* Not for us. */
		{ 0, -ENODEV, "libhsakmt cannot open KFD: " },
	};
	struct vcs_thunk *t;
	size_t i;

	(void)state;
	for (i = 0; i < NR(cases); i++) {
		kfd_error = cases[i].errno_of_kfd;
		assert_int_equal(open_fake(&t, "FAIL=OpenKFD=20"),
				 cases[i].error);
		if (!strstr(why, cases[i].says))
			fail_msg("'%s' is not in: %s", cases[i].says, why);
	}
	kfd_error = -1;
}

/* Topology */

/* What @a and @b have of a node, by what the release has. */
static void expect_node(const struct vcs_thunk_node *is,
			struct vcs_thunk_node should, const char *release)
{
	if (!strcmp(release, "5.2")) {
		should.kfd_gpu_id = should.num_fcompute_cores ? GPU + 1 : 0;
		should.family_id = 0;
	}
	if (strcmp(release, "wallclock") && strcmp(release, "fabric"))
		should.wall_clock_khz = 0;
	assert_memory_equal(is, &should, sizeof(should));
}

static void test_releases(void **state)
{
	static const char * const releases[] = {
		"5.2", "6.2", "6.3-early", "6.3", "7.0", "cwsr", "luid",
		"wallclock", "fabric",
	};
	struct vcs_thunk *sim = vcs_thunk_sim_open(), *t;
	struct vcs_thunk_io_link link, sim_link;
	struct vcs_thunk_cache cache, sim_cache;
	struct vcs_thunk_bank bank, sim_bank;
	struct vcs_thunk_node node, sim_node;
	struct vcs_thunk_system sys;
	char text[64];
	uint32_t n, k;
	size_t i;

	(void)state;
	assert_non_null(sim);
	for (i = 0; i < NR(releases); i++) {
		snprintf(text, sizeof(text), "RELEASE=%s", releases[i]);
		t = fake(text);
		assert_int_equal(t->ops->system(t, &sys), 0);
		assert_int_equal(sys.num_nodes, 2);
		for (n = 0; n < sys.num_nodes; n++) {
			memset(&sim_node, 0, sizeof(sim_node));
			assert_int_equal(t->ops->node(t, n, &node), 0);
			assert_int_equal(sim->ops->node(sim, n, &sim_node), 0);
			expect_node(&node, sim_node, releases[i]);
			for (k = 0; k < node.num_memory_banks; k++) {
				assert_int_equal(t->ops->bank(t, n, k, &bank),
						 0);
				assert_int_equal(sim->ops->bank(sim, n, k,
								&sim_bank), 0);
				assert_memory_equal(&bank, &sim_bank,
						    sizeof(bank));
			}
			assert_int_equal(t->ops->bank(t, n, k, &bank), -EINVAL);
			for (k = 0; k < node.num_caches; k++) {
				assert_int_equal(t->ops->cache(t, n, k, &cache),
						 0);
				assert_int_equal(sim->ops->cache(sim, n, k,
								 &sim_cache),
						 0);
				assert_memory_equal(&cache, &sim_cache,
						    sizeof(cache));
			}
			assert_int_equal(t->ops->cache(t, n, k, &cache),
					 -EINVAL);
			for (k = 0; k < node.num_io_links; k++) {
				assert_int_equal(t->ops->io_link(t, n, k,
								 &link), 0);
				assert_int_equal(sim->ops->io_link(sim, n, k,
								   &sim_link),
						 0);
				assert_memory_equal(&link, &sim_link,
						    sizeof(link));
			}
			assert_int_equal(t->ops->io_link(t, n, k, &link),
					 -EINVAL);
		}
		assert_int_equal(t->ops->node(t, n, &node), -EINVAL);
		assert_int_equal(t->ops->bank(t, n, 0, &bank), -EINVAL);
		assert_int_equal(t->ops->cache(t, n, 0, &cache), -EINVAL);
		assert_int_equal(t->ops->io_link(t, n, 0, &link), -EINVAL);
		close_thunk(t);
	}
	close_thunk(sim);
}

static void test_unknown_releases(void **state)
{
	static const struct {
		const char *variables;
		const char *says;
	} cases[] = {
		{ "RELEASE=node-372", "has HsaNodeProperties of 372 bytes, " },
		{ "RELEASE=cache-1064",
		  "has HsaCacheProperties of 1064 bytes, " },
		{ "RELEASE=link-56", "has HsaIoLinkProperties of 56 bytes, " },
		{ "RELEASE=hole", "has HsaNodeProperties of 0 bytes, " },
		{ "RELEASE=order", "/fake/libhsakmt.so.1 does not have its "
		  "node properties where its release has them" },
	};
	struct vcs_thunk *t;
	size_t i;

	(void)state;
	for (i = 0; i < NR(cases); i++) {
		assert_int_equal(open_fake(&t, cases[i].variables), -EPROTO);
		assert_null(t);
		assert_non_null(strstr(why, "/fake/libhsakmt.so.1 "));
		if (!strstr(why, cases[i].says))
			fail_msg("'%s' is not in: %s", cases[i].says, why);
	}
}

static void test_systems(void **state)
{
	struct vcs_thunk_gpu_info info;
	struct vcs_thunk_io_link link;
	struct vcs_thunk_cache cache;
	struct vcs_thunk_bank bank;
	struct vcs_thunk *t;

	(void)state;
	assert_int_equal(open_fake(&t, "NODES=1"), -ENODEV);
	assert_non_null(strstr(why, "no GPU"));
	assert_int_equal(open_fake(&t, "NODES=65"), -E2BIG);
	assert_non_null(strstr(why, "65 nodes, and 64 are possible"));
	close_thunk(fake("NODES=64"));
	/* Nothing to measure. */
	t = fake("EMPTY=1");
	assert_int_equal(t->ops->cache(t, GPU, 0, &cache), -EINVAL);
	assert_int_equal(t->ops->io_link(t, GPU, 0, &link), -EINVAL);
	assert_int_equal(t->ops->bank(t, GPU, 0, &bank), -EINVAL);
	assert_int_equal(t->ops->gpu_info(t, GPU, &info), 0);
	assert_int_equal(info.max_memory_clk, 0);
	close_thunk(t);
}

/* Each call of each function in turn, until there is none that fails. */
static void test_calls_that_fail_at_the_start(void **state)
{
	static const struct {
		const char *name;
		unsigned int calls;
	} functions[] = {
		{ "AcquireSystemProperties", 1 },
		/* Twice for each of two nodes, to see what it writes. */
		{ "GetNodeProperties", 4 },
		/* And once for the list. */
		{ "GetNodeMemoryProperties", 6 },
		{ "GetNodeCacheProperties", 6 },
		{ "GetNodeIoLinkProperties", 6 },
	};
	struct vcs_thunk *t;
	unsigned int n;
	char text[64];
	size_t i;

	(void)state;
	for (i = 0; i < NR(functions); i++) {
		for (n = 1; n <= functions[i].calls; n++) {
			snprintf(text, sizeof(text), "FAIL=%s:%u=6",
				 functions[i].name, n);
			assert_int_equal(open_fake(&t, text), -ENOMEM);
			assert_null(t);
			assert_non_null(strstr(why, "libhsakmt does not "
					       "describe "));
			assert_non_null(strstr(why, ": Cannot allocate "
					       "memory"));
		}
		snprintf(text, sizeof(text), "FAIL=%s:%u", functions[i].name, n);
		close_thunk(fake(text));
	}
	/* Somebody else in the process has opened it: not so here. */
	assert_int_equal(open_fake(&t, "FAIL=OpenKFD=22"), -ENODEV);
	/* The library tells less than it could. */
	close_thunk(fake("FAIL=AvailableMemory:0,ReleaseSystemProperties"));
}

static void test_no_memory_at_the_start(void **state)
{
	struct vcs_thunk *t = NULL;
	unsigned int n;
	int ret;

	(void)state;
	for (n = 1; n < 100; n++) {
		/* The names of variables are set before. */
		close_thunk(fake(""));
		allocations = n;
		ret = vcs_thunk_hsakmt_open(&t, why, sizeof(why));
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_true(*why);
		assert_int_equal(allocations, 0);
	}
	allocations = 0;
	/* One of the thunk, and some of each node. */
	assert_in_range(n, 10, 50);
	close_thunk(t);
}

/* Memory */

static void test_memory(void **state)
{
	struct vcs_thunk *t = fake("");
	const struct vcs_thunk_ops *ops = t->ops;
	const uint32_t gpu = GPU, cpu = CPU, none = 7;
	uint8_t *mem = map_pages(4);
	uint64_t addr = 0;

	(void)state;
	assert_int_equal(ops->register_memory(t, mem, 0, false), -EINVAL);
	assert_int_equal(ops->register_memory(t, mem, UINT64_MAX, false),
			 -EINVAL);
	assert_int_equal(ops->register_memory(t, mem, 2 * PAGE, false), 0);
	/* The same, in it, over its end. */
	assert_int_equal(ops->register_memory(t, mem, 2 * PAGE, false),
			 -EEXIST);
	assert_int_equal(ops->register_memory(t, mem + PAGE, PAGE, false),
			 -EEXIST);
	assert_int_equal(ops->register_memory(t, mem + PAGE, 3 * PAGE, false),
			 -EEXIST);
	assert_int_equal(ops->register_memory(t, mem + 2 * PAGE, PAGE, false),
			 0);

	assert_int_equal(ops->map_to_nodes(t, mem, &cpu, 1, &addr), -EINVAL);
	assert_int_equal(ops->map_to_nodes(t, mem, &none, 1, &addr), -EINVAL);
	assert_int_equal(ops->map_to_nodes(t, mem + PAGE, &gpu, 1, &addr),
			 -EINVAL);
	assert_int_equal(ops->map_to_nodes(t, mem, NULL, 0, &addr), 0);
	assert_int_equal(addr, (uintptr_t)mem);
	addr = 0;
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(addr, (uintptr_t)mem);
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(ops->unmap(t, mem), 0);
	assert_int_equal(ops->unmap(t, mem), 0);
	assert_int_equal(ops->unmap(t, mem + PAGE), -EINVAL);

	ops->deregister(t, mem + PAGE);
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), -EEXIST);
	ops->deregister(t, mem);
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), 0);
	/* Some of it stays until it is closed. */
	close_thunk(t);
	munmap(mem, 4 * PAGE);
}

/* Without SVM: the GPU has it elsewhere, and writes what it wants. */
static void test_memory_without_svm(void **state)
{
	struct vcs_thunk *t = fake("SVM=0 VA=0x100000");
	const struct vcs_thunk_ops *ops = t->ops;
	uint8_t *mem = map_pages(1);
	const uint32_t gpu = GPU;
	uint64_t addr = 0;

	(void)state;
	assert_int_equal(ops->register_memory(t, mem, PAGE, true), -EOPNOTSUPP);
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), 0);
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(addr, (uintptr_t)mem + 0x100000);
	/* However often: once is enough to take it away, and all that was. */
	addr = 0;
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(addr, (uintptr_t)mem + 0x100000);
	assert_int_equal(ops->unmap(t, mem), 0);
	ops->deregister(t, mem);
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), 0);
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(ops->unmap(t, mem), 0);
	ops->deregister(t, mem);
	close_thunk(t);

	/* As the library lets its user choose. */
	setenv("HSA_USE_SVM", "0", 1);
	t = fake("");
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true),
			 -EOPNOTSUPP);
	close_thunk(t);
	setenv("HSA_USE_SVM", "1", 1);
	t = fake("");
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true), 0);
	close_thunk(t);
	unsetenv("HSA_USE_SVM");
	munmap(mem, PAGE);
}

/* May this process write there? */
static int is_writable(void *addr)
{
	int pair[2];
	ssize_t n;

	assert_int_equal(pipe(pair), 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	n = read(pair[0], addr, 1);
	close(pair[0]);
	close(pair[1]);
	return n == 1;
}

/* What is not to be written is not writable while the GPU has it. */
static void test_memory_read_only(void **state)
{
	struct vcs_thunk *t = fake("FAIL=RegisterMemoryWithFlags:2");
	uint8_t *mem = map_pages(1), *gap = map_pages(2);
	const uint32_t gpu = GPU;
	uint64_t addr;

	(void)state;
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true), 0);
	assert_false(is_writable(mem));
	t->ops->deregister(t, mem);
	assert_true(is_writable(mem));
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true), -EIO);
	assert_true(is_writable(mem));
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, false), 0);
	assert_true(is_writable(mem));
	close_thunk(t);
	/* SVM was not used, for whatever reason: nobody is to write there. */
	t = fake("RELEASE=5.2 VA=0x10000");
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, false), 0);
	assert_int_equal(t->ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(addr, (uintptr_t)mem + 0x10000);
	assert_int_equal(t->ops->unmap(t, mem), 0);
	t->ops->deregister(t, mem);
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, true), 0);
	assert_int_equal(t->ops->map_to_nodes(t, mem, &gpu, 1, &addr),
			 -EIO);
	/* Even if KFD would let it. */
	assert_int_equal(mprotect(mem, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(t->ops->map_to_nodes(t, mem, &gpu, 1, &addr),
			 -EOPNOTSUPP);
	/* A hole cannot be protected. */
	assert_int_equal(munmap(gap + PAGE, PAGE), 0);
	assert_int_equal(t->ops->register_memory(t, gap, 2 * PAGE, true),
			 -ENOMEM);
	close_thunk(t);
	munmap(mem, PAGE);
	munmap(gap, PAGE);
}

static void test_memory_calls_that_fail(void **state)
{
	struct vcs_thunk *t = fake("SVM=0 FAIL=RegisterMemoryWithFlags=6,"
				   "MapMemoryToGPUNodes=13,UnmapMemoryToGPU:2,"
				   "DeregisterMemory");
	const struct vcs_thunk_ops *ops = t->ops;
	uint8_t *mem = map_pages(1);
	const uint32_t gpu = GPU;
	unsigned int n;
	uint64_t addr;

	(void)state;
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), -ENOMEM);
	assert_int_equal(ops->register_memory(t, mem, PAGE, false), 0);
	/* It is unmapped, which is the first time of that. */
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), -ENOSPC);
	/* Nothing to do: no call. */
	assert_int_equal(ops->unmap(t, mem), 0);
	assert_int_equal(ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	assert_int_equal(ops->unmap(t, mem), -EIO);
	assert_int_equal(ops->unmap(t, mem), 0);
	/* Fails, and is over all the same. */
	ops->deregister(t, mem);
	for (n = 1; n <= 2; n++) {
		allocations = n;
		assert_int_equal(ops->register_memory(t, mem + PAGE, PAGE,
						      false), -ENOMEM);
	}
	close_thunk(t);
	munmap(mem, PAGE);
}

static void test_allocations(void **state)
{
	struct vcs_thunk *t = fake(""), *sim = vcs_thunk_sim_open();
	uint64_t bytes, all[2];
	uint32_t n;

	(void)state;
	for (n = 0; n < 2; n++) {
		assert_int_equal(sim->ops->available(sim, n, &all[n]), 0);
		assert_int_equal(t->ops->available(t, n, &bytes), 0);
		assert_int_equal(bytes, all[n]);
		assert_int_equal(t->ops->alloc(t, n, all[n] + 1), -ENOMEM);
		assert_int_equal(t->ops->alloc(t, n, all[n] - PAGE), 0);
		assert_int_equal(t->ops->alloc(t, n, PAGE + 1), -ENOMEM);
		assert_int_equal(t->ops->available(t, n, &bytes), 0);
		assert_int_equal(bytes, PAGE);
		t->ops->free(t, n, all[n] - PAGE);
		assert_int_equal(t->ops->alloc(t, n, all[n]), 0);
	}
	assert_int_equal(t->ops->alloc(t, n, 1), -EINVAL);
	assert_int_equal(t->ops->available(t, n, &bytes), -EINVAL);
	close_thunk(t);
	/* What its banks add up to, where KFD does not tell. */
	t = fake("FAIL=AvailableMemory:0");
	assert_int_equal(t->ops->available(t, GPU, &bytes), 0);
	assert_int_equal(bytes, all[GPU]);
	close_thunk(t);
	close_thunk(sim);
}

/* Queues */

/* A ring, and a page of AMD's description of the queue and a signal. */
#define RING_SIZE	4096
#define WRITE_PTR	56
#define READ_PTR	128
#define READ_PTR_OFFSET	136
#define SIGNAL		1024
#define BARRIER_AND	3

static struct vcs_thunk_queue make_queue(struct vcs_thunk *t, uint8_t *mem)
{
	const uint32_t gpu = GPU;
	uint64_t addr;
	size_t i;

	for (i = 0; i < RING_SIZE; i += 64)
		mem[i] = 1;	/* invalid */
	*(uint32_t *)(mem + PAGE + READ_PTR_OFFSET) = READ_PTR;
	assert_int_equal(t->ops->register_memory(t, mem, 2 * PAGE, false), 0);
	assert_int_equal(t->ops->map_to_nodes(t, mem, &gpu, 1, &addr), 0);
	return (struct vcs_thunk_queue) {
		.node = GPU,
		.percentage = 100,
		.ring = (uintptr_t)mem,
		.ring_size = RING_SIZE,
		.write_ptr = (uintptr_t)mem + PAGE + WRITE_PTR,
		.read_ptr = (uintptr_t)mem + PAGE + READ_PTR,
	};
}

static void test_queue(void **state)
{
	struct vcs_thunk *t = fake("");
	uint8_t *mem = map_pages(2);
	struct vcs_thunk_queue q = make_queue(t, mem);
	_Atomic int64_t *signal = (void *)(mem + PAGE + SIGNAL + 8);
	uint64_t id[2];
	int i;

	(void)state;
	assert_int_equal(t->ops->create_queue(t, &q, &id[0]), 0);
	assert_int_equal(t->ops->create_queue(t, &q, &id[1]), 0);
	assert_int_not_equal(id[0], id[1]);
	*(uint64_t *)(mem + PAGE + SIGNAL) = 1;
	*signal = 1;
	*(uint64_t *)(mem + 56) = (uintptr_t)mem + PAGE + SIGNAL;
	*(uint64_t *)mem = BARRIER_AND;
	*(uint64_t *)(mem + PAGE + WRITE_PTR) = 1;
	/* Nobody's. */
	t->ops->ring_doorbell(t, id[0] + id[1], 0);
	t->ops->ring_doorbell(t, id[0], 0);
	for (i = 0; *signal && i < 60000; i++)
		usleep(1000);
	assert_int_equal(*signal, 0);

	q.percentage = 50;
	assert_int_equal(t->ops->update_queue(t, id[0], &q), 0);
	assert_int_equal(t->ops->update_queue(t, id[0] + id[1], &q), -EINVAL);
	assert_int_equal(t->ops->destroy_queue(t, id[0]), 0);
	assert_int_equal(t->ops->destroy_queue(t, id[0]), -EINVAL);
	t->ops->ring_doorbell(t, id[0], 1);
	/* The other one is destroyed with all. */
	close_thunk(t);
	munmap(mem, 2 * PAGE);
}

static void test_queue_calls_that_fail(void **state)
{
	struct vcs_thunk *t = fake("FAIL=CreateQueue=13,Doorbell,DestroyQueue:2,"
				   "UpdateQueue=3");
	uint8_t *mem = map_pages(2);
	struct vcs_thunk_queue q = make_queue(t, mem);
	uint64_t id = 0;

	(void)state;
	q.node = CPU;
	assert_int_equal(t->ops->create_queue(t, &q, &id), -EINVAL);
	q.node = 9;
	assert_int_equal(t->ops->create_queue(t, &q, &id), -EINVAL);
	q.node = GPU;
	assert_int_equal(t->ops->create_queue(t, &q, &id), -ENOSPC);
	/* Without a doorbell: destroyed, the first time of that. */
	assert_int_equal(t->ops->create_queue(t, &q, &id), -EIO);
	allocations = 1;
	assert_int_equal(t->ops->create_queue(t, &q, &id), -ENOMEM);
	assert_int_equal(t->ops->create_queue(t, &q, &id), 0);
	assert_int_equal(t->ops->update_queue(t, id, &q), -EINVAL);
	assert_int_equal(t->ops->update_queue(t, id, &q), 0);
	/* Fails, and is over all the same. */
	assert_int_equal(t->ops->destroy_queue(t, id), -EIO);
	assert_int_equal(t->ops->destroy_queue(t, id), -EINVAL);
	close_thunk(t);

	/* Doorbells of 32 bits. */
	t = fake("DOORBELL=1");
	q = make_queue(t, mem);
	assert_int_equal(t->ops->create_queue(t, &q, &id), -EOPNOTSUPP);
	close_thunk(t);
	munmap(mem, 2 * PAGE);
}

/* The rest */

static void test_questions(void **state)
{
	struct vcs_thunk *t = fake("");
	const struct vcs_thunk_trap trap = { 0 };
	struct vcs_thunk_gpu_info info;
	struct vcs_thunk_clocks c;
	uint32_t major, minor, caps = 7;

	(void)state;
	assert_string_equal(t->ops->name, "hsakmt");
	/* Nobody can ask what it does. */
	assert_null(t->ops->access);
	assert_null(t->ops->run);
	assert_int_equal(t->ops->version(t, &major, &minor), 0);
	assert_int_equal(major, 1);
	assert_int_equal(t->ops->clocks(t, GPU, &c), 0);
	assert_true(c.gpu && c.cpu && c.system);
	assert_int_equal(c.system_frequency_hz, 1000000000);
	assert_int_equal(t->ops->clocks(t, CPU, &c), 0);
	assert_int_equal(t->ops->clocks(t, 2, &c), -EINVAL);
	assert_int_equal(t->ops->gpu_info(t, CPU, &info), -EINVAL);
	assert_int_equal(t->ops->gpu_info(t, 2, &info), -EINVAL);
	assert_int_equal(t->ops->runtime_enable(t, true), 0);
	assert_int_equal(t->ops->runtime_caps(t, &caps), 0);
	assert_int_equal(caps, 0);
	assert_int_equal(t->ops->runtime_disable(t), 0);
	assert_int_equal(t->ops->set_trap(t, GPU, &trap), 0);
	assert_int_equal(t->ops->set_trap(t, CPU, &trap), -EINVAL);
	assert_int_equal(t->ops->set_trap(t, 2, &trap), -EINVAL);
	close_thunk(t);

	t = fake("FAIL=GetVersion,GetClockCounters,RuntimeEnable=12,"
		 "RuntimeDisable=11,GetRuntimeCapabilities,SetTrapHandler=10");
	assert_int_equal(t->ops->version(t, &major, &minor), -EIO);
	assert_int_equal(t->ops->clocks(t, GPU, &c), -EIO);
	assert_int_equal(t->ops->runtime_enable(t, false), -EBUSY);
	assert_int_equal(t->ops->runtime_disable(t), -EOPNOTSUPP);
	assert_int_equal(t->ops->runtime_caps(t, &caps), -EIO);
	assert_int_equal(t->ops->set_trap(t, GPU, &trap), -EOPNOTSUPP);
	close_thunk(t);
}

static void test_gpu_info(void **state)
{
	static const struct vcs_thunk_gpu_info should = {
		.asic_id = 1000, .chip_rev = 2000, .chip_external_rev = 3000,
		.pci_rev_id = 4000, .family_id = 5000,
		.num_shader_engines = 6000,
		.num_shader_arrays_per_engine = 7000, .gpu_counter_freq = 8000,
		.max_engine_clk = 9000, .max_memory_clk = 10000,
		.cu_active_number = 11000, .cu_mask = 12000, .rb_pipes = 13000,
		.vram_type = 14000, .vram_bit_width = 15000,
	};
	struct vcs_thunk_gpu_info is;
	struct vcs_thunk *t;

	(void)state;
	render_driver = "amdgpu";
	t = fake("");
	assert_int_equal(t->ops->gpu_info(t, GPU, &is), 0);
	assert_memory_equal(&is, &should, sizeof(is));
	close_thunk(t);
	render_driver = NULL;
}

/* It is of another driver, cannot be asked or is not there. */
static void test_gpu_info_of_the_node(void **state)
{
	static const struct {
		const char *driver;
		int version_error;
		int info_error;
	} cases[] = {
		{ NULL, 0, 0 }, { "i915", 0, 0 }, { "amdgpu", ENOTTY, 0 },
		{ "amdgpu", 0, EINVAL },
	};
	struct vcs_thunk_gpu_info is, should = { 0 };
	struct vcs_thunk *sim = vcs_thunk_sim_open(), *t;
	size_t i;

	(void)state;
	assert_int_equal(sim->ops->gpu_info(sim, GPU, &should), 0);
	/* Nodes do not tell. */
	should.vram_type = 0;
	for (i = 0; i < NR(cases); i++) {
		render_driver = cases[i].driver;
		version_error = cases[i].version_error;
		info_error = cases[i].info_error;
		t = fake("RELEASE=wallclock");
		memset(&is, 0, sizeof(is));
		assert_int_equal(t->ops->gpu_info(t, GPU, &is), 0);
		assert_memory_equal(&is, &should, sizeof(is));
		close_thunk(t);
	}
	render_driver = NULL;
	version_error = 0;
	info_error = 0;
	close_thunk(sim);
}

/* What it is told to log while this is its standard error. */
struct log {
	int fd;
	int saved;
	char text[65536];
};

static void log_begin(struct log *log)
{
	log->fd = memfd_create("log", 0);
	log->saved = dup(STDERR_FILENO);
	assert_true(log->fd >= 0 && dup2(log->fd, STDERR_FILENO) >= 0);
}

static void log_end(struct log *log)
{
	ssize_t len;

	assert_true(dup2(log->saved, STDERR_FILENO) >= 0);
	close(log->saved);
	len = pread(log->fd, log->text, sizeof(log->text) - 1, 0);
	close(log->fd);
	assert_true(len > 0);
	log->text[len] = '\0';
}

/* Nodes add up, and those that have it are named again. */
static void test_nodes_add_up(void **state)
{
	static const struct {
		uint32_t node;
		int error;
		int calls;	/* with so many nodes, or 0 */
	} cases[] = {
		{ 3, 0, 1 }, { 1, 0, 2 }, { 3, 0, 0 },
		/* Those of before have it still. */
		{ 2, -EIO, 3 }, { 1, 0, 0 }, { 2, 0, 3 }, { 2, 0, 0 },
	};
	static struct log log;
	uint8_t *mem = map_pages(1);
	char line[128], *at;
	struct vcs_thunk *t;
	uint64_t addr;
	size_t i;

	(void)state;
	log_begin(&log);
	t = fake("LOG=1 NODES=4 FAIL=MapMemoryToGPUNodes:3");
	assert_int_equal(t->ops->register_memory(t, mem, PAGE, false), 0);
	for (i = 0; i < NR(cases); i++) {
		addr = 0;
		assert_int_equal(t->ops->map_to_nodes(t, mem, &cases[i].node, 1,
						      &addr), cases[i].error);
		assert_int_equal(addr, cases[i].error ? 0 : (uintptr_t)mem);
	}
	assert_int_equal(t->ops->unmap(t, mem), 0);
	assert_int_equal(t->ops->map_to_nodes(t, mem, &cases[0].node, 1, &addr),
			 0);
	close_thunk(t);
	log_end(&log);

	at = log.text;
	for (i = 0; i <= NR(cases); i++) {
		int calls = i < NR(cases) ? cases[i].calls : 1;

		if (!calls)
			continue;
		at = strstr(at, "MapMemoryToGPUNodes ");
		assert_non_null(at);
		snprintf(line, sizeof(line), "MapMemoryToGPUNodes %p %d 0 %d\n",
			 (void *)mem, PAGE, calls);
		assert_memory_equal(at, line, strlen(line));
		at++;
	}
	assert_null(strstr(at, "MapMemoryToGPUNodes "));
	munmap(mem, PAGE);
}

/* The calls of a life, in their order, each once. */
static void test_order_of_calls(void **state)
{
	static const char * const calls[] = {
		"RegisterMemoryWithFlags 0x", "MapMemoryToGPUNodes 0x",
		"CreateQueue 1 21 ", "DestroyQueue ", "UnmapMemoryToGPU 0x",
		"DeregisterMemory 0x", "ReleaseSystemProperties", "CloseKFD",
	};
	static struct log log;
	char name[64], *at;
	uint8_t *mem = map_pages(2);
	struct vcs_thunk_queue q;
	struct vcs_thunk *t;
	uint64_t id;
	size_t i;

	(void)state;
	log_begin(&log);
	t = fake("LOG=1");
	q = make_queue(t, mem);
	assert_int_equal(t->ops->create_queue(t, &q, &id), 0);
	assert_int_equal(t->ops->destroy_queue(t, id), 0);
	assert_int_equal(t->ops->unmap(t, mem), 0);
	t->ops->deregister(t, mem);
	close_thunk(t);
	log_end(&log);

	at = strstr(log.text, "fake_hsakmt: hsaKmtOpenKFD");
	assert_ptr_equal(at, log.text);
	for (i = 0; i < NR(calls); i++) {
		snprintf(name, sizeof(name), "fake_hsakmt: hsaKmt%s", calls[i]);
		at = strstr(at, name);
		if (!at)
			fail_msg("no %s in %s", name, log.text);
		at++;
		assert_null(strstr(at, name));
	}
	/* HostAccess and nothing else. */
	snprintf(name, sizeof(name), "Flags %p %d 0x40\n", (void *)mem,
		 2 * PAGE);
	assert_non_null(strstr(log.text, name));
	munmap(mem, 2 * PAGE);
}

/* The library of the package libhsakmt1, on a machine without a GPU. */
static void test_no_kfd(void **state)
{
	struct vcs_thunk *thunk = NULL;
	int ret;

	(void)state;
	library = NULL;
	if (!access("/dev/kfd", F_OK)) {
		print_message("# skipped: there is a /dev/kfd\n");
		skip();
	}
	ret = vcs_thunk_hsakmt_open(&thunk, why, sizeof(why));
	assert_null(thunk);
	if (ret == -ENOENT) {
		assert_non_null(strstr(why, "package libhsakmt1"));
		print_message("# skipped: %s\n", why);
		skip();
	}
	assert_int_equal(ret, -ENODEV);
	assert_non_null(strstr(why, "there is no /dev/kfd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_of_each_release),
		cmocka_unit_test(test_node_of_the_header),
		cmocka_unit_test(test_node_unknown),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_no_library),
		cmocka_unit_test(test_another_library),
		cmocka_unit_test(test_functions_that_are_missing),
		cmocka_unit_test(test_kfd),
		cmocka_unit_test(test_no_kfd),
		cmocka_unit_test(test_releases),
		cmocka_unit_test(test_unknown_releases),
		cmocka_unit_test(test_systems),
		cmocka_unit_test(test_calls_that_fail_at_the_start),
		cmocka_unit_test(test_no_memory_at_the_start),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_without_svm),
		cmocka_unit_test(test_memory_read_only),
		cmocka_unit_test(test_memory_calls_that_fail),
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_queue_calls_that_fail),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_gpu_info),
		cmocka_unit_test(test_gpu_info_of_the_node),
		cmocka_unit_test(test_nodes_add_up),
		cmocka_unit_test(test_order_of_calls),
	};

	return cmocka_run_group_tests_name("hsakmt", tests, NULL, NULL);
}
