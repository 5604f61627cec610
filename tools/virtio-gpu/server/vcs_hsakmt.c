// SPDX-License-Identifier: MIT
/*
 * libhsakmt: AMD's library for KFD, loaded when it is asked for
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_gpu_rocm.h>

#include "vcs_hsakmt.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Since its first release, whatever else changed. */
#define LIBRARY		"libhsakmt.so.1"

/* Of the devices that this is about. */
#define VENDOR_AMD	0x1002

/* More than the library writes, by far: so it is seen how much that is. */
#define ROOM		16384
/* What it has not written is another byte in each of two calls. */
#define FILL_1		0x5a
#define FILL_2		0xa5

/*
 * The sizes of structures that releases have had, in bytes (4-byte packing, see
 * hsakmttypes.h). HsaNodeProperties: 356 from before 5.2 to 6.2; its source has
 * 360 from August 2024 on, 364 from November 2024, 368 from February 2025, and
 * the others since December 2025. After 6.2 AMD's packages have the library inside
 * of their runtime only; who builds it as one of its own can.
 */
static const size_t node_sizes[] = { 356, 360, 364, 368, 376, 384, 392, 396 };
#define BANK_SIZE	32
#define CACHE_SIZE	1056
#define CACHE_NEW_SIZE	1060	/* one more number at the end */
#define IO_LINK_SIZE	48
#define IO_LINK_NEW_SIZE 52	/* 6.3: RecSdmaEngIdMask before Flags */

#define HEADER_NODE_SIZE	sizeof(HsaNodeProperties)
_Static_assert(HEADER_NODE_SIZE == 356 || HEADER_NODE_SIZE == 360 ||
	       HEADER_NODE_SIZE == 364 || HEADER_NODE_SIZE == 368 ||
	       HEADER_NODE_SIZE == 376 || HEADER_NODE_SIZE == 384 ||
	       HEADER_NODE_SIZE == 392 || HEADER_NODE_SIZE == 396,
	       "a release that is known here");
_Static_assert(sizeof(HsaMemoryProperties) == BANK_SIZE &&
	       (sizeof(HsaCacheProperties) == CACHE_SIZE ||
		sizeof(HsaCacheProperties) == CACHE_NEW_SIZE) &&
	       (sizeof(HsaIoLinkProperties) == IO_LINK_SIZE ||
		sizeof(HsaIoLinkProperties) == IO_LINK_NEW_SIZE),
	       "a release that is known here");

int vcs_explain(char *why, size_t size, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return error;
}

int vcs_hsakmt_load(struct vcs_hsakmt *lib, char *why, size_t size)
{
	char path[PATH_MAX];
	Dl_info info;

	memset(lib, 0, sizeof(*lib));
	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle) {
		snprintf(path, sizeof(path), "%s", dlerror());
		return vcs_explain(why, size, -ENOENT,
			       "%s cannot be loaded (%s); install the package libhsakmt1, or that of ROCm 5.2 to 6.2",
			       LIBRARY, path);
	}
#define FIND(name) \
	do { \
		*(void **)&lib->name = dlsym(lib->handle, "hsaKmt" #name); \
		if (!lib->name) { \
			vcs_hsakmt_unload(lib); \
			return vcs_explain(why, size, -EPROTO, \
				       "%s has no hsaKmt%s; install the package libhsakmt1, or that of ROCm 5.2 to 6.2", \
				       LIBRARY, #name); \
		} \
	} while (0);
	VCS_HSAKMT_REQUIRED(FIND)
#undef FIND
	*(void **)&lib->AvailableMemory =
		dlsym(lib->handle, "hsaKmtAvailableMemory");
	*(void **)&lib->GetRuntimeCapabilities =
		dlsym(lib->handle, "hsaKmtGetRuntimeCapabilities");
	/* Nothing tells, but this came with it. */
	lib->uses_svm = dlsym(lib->handle, "hsaKmtExportDMABufHandle");

	/* The name of the file has its version. */
	snprintf(lib->path, sizeof(lib->path), LIBRARY);
	if (dladdr(*(void **)&lib->OpenKFD, &info) && info.dli_fname)
		snprintf(lib->path, sizeof(lib->path), "%s",
			 realpath(info.dli_fname, path) ? path :
			 info.dli_fname);
	return 0;
}

void vcs_hsakmt_unload(struct vcs_hsakmt *lib)
{
	dlclose(lib->handle);
	memset(lib, 0, sizeof(*lib));
}

int vcs_hsakmt_error(HSAKMT_STATUS status)
{
	switch (status) {
	case HSAKMT_STATUS_SUCCESS:
		return 0;
	case HSAKMT_STATUS_DRIVER_MISMATCH:
		return -EPROTO;
	case HSAKMT_STATUS_INVALID_PARAMETER:
	case HSAKMT_STATUS_INVALID_NODE_UNIT:
	case HSAKMT_STATUS_MEMORY_ALIGNMENT:
		return -EINVAL;
	case HSAKMT_STATUS_INVALID_HANDLE:
	case HSAKMT_STATUS_MEMORY_NOT_REGISTERED:
		return -ENOENT;
	case HSAKMT_STATUS_NO_MEMORY:
		return -ENOMEM;
	case HSAKMT_STATUS_BUFFER_TOO_SMALL:
	case HSAKMT_STATUS_OUT_OF_RESOURCES:
		return -ENOSPC;
	case HSAKMT_STATUS_NOT_IMPLEMENTED:
	case HSAKMT_STATUS_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case HSAKMT_STATUS_UNAVAILABLE:
	case HSAKMT_STATUS_KERNEL_ALREADY_OPENED:
		return -EBUSY;
	case HSAKMT_STATUS_KERNEL_IO_CHANNEL_NOT_OPENED:
	case HSAKMT_STATUS_HSAMMU_UNAVAILABLE:
		return -ENODEV;
	case HSAKMT_STATUS_WAIT_TIMEOUT:
		return -ETIMEDOUT;
	case HSAKMT_STATUS_MEMORY_ALREADY_REGISTERED:
		return -EEXIST;
	default:
		return -EIO;
	}
}

/* Structures */

/**
 * struct getter - a function that writes structures of unknown size
 * @lib: the library
 * @node: of which node
 * @get: writes @count of them
 * @name: of the structure
 */
struct getter {
	const struct vcs_hsakmt *lib;
	uint32_t node;
	HSAKMT_STATUS (*get)(const struct getter *g, uint32_t count, void *to);
	const char *name;
};

static HSAKMT_STATUS get_node(const struct getter *g, uint32_t count, void *to)
{
	(void)count;
	return g->lib->GetNodeProperties(g->node, to);
}

static HSAKMT_STATUS get_banks(const struct getter *g, uint32_t count, void *to)
{
	return g->lib->GetNodeMemoryProperties(g->node, count, to);
}

/* It has a parameter for one processor and does not look at it. */
static HSAKMT_STATUS get_caches(const struct getter *g, uint32_t count, void *to)
{
	return g->lib->GetNodeCacheProperties(g->node, 0, count, to);
}

static HSAKMT_STATUS get_io_links(const struct getter *g, uint32_t count,
				  void *to)
{
	return g->lib->GetNodeIoLinkProperties(g->node, count, to);
}

/*
 * One structure into @data, of ROOM bytes, and its size: up to there it writes
 * each byte, and none behind. 0, or the library's error.
 */
static int measure(const struct getter *g, uint8_t *data, size_t *size)
{
	uint8_t *other = malloc(ROOM);
	size_t i = 0;
	int ret;

	if (!other)
		return -ENOMEM;
	memset(data, FILL_1, ROOM);
	memset(other, FILL_2, ROOM);
	ret = vcs_hsakmt_error(g->get(g, 1, data));
	if (!ret)
		ret = vcs_hsakmt_error(g->get(g, 1, other));
	if (!ret) {
		while (i < ROOM && data[i] == other[i])
			i++;
		*size = i;
		while (i < ROOM && data[i] == FILL_1 && other[i] == FILL_2)
			i++;
		/* A hole would make it another structure. */
		if (i < ROOM)
			*size = 0;
	}
	free(other);
	return ret;
}

static int unknown_size(const struct getter *g, size_t found, char *why,
			size_t size)
{
	return vcs_explain(why, size, -EPROTO,
		       "%s has %s of %zu bytes, which no release known here has; install the package libhsakmt1, or that of ROCm 5.2 to 6.2",
		       g->lib->path, g->name, found);
}

/*
 * @count structures of one of two sizes, malloc()ed, or NULL for none; the size
 * found to @elem.
 */
static int get_list(const struct getter *g, uint32_t count, size_t old_size,
		    size_t new_size, uint8_t **list, size_t *elem, char *why,
		    size_t size)
{
	uint8_t *data;
	int ret;

	*list = NULL;
	*elem = old_size;
	/* The library asserts that there are some. */
	if (!count)
		return 0;
	data = malloc(ROOM);
	if (!data)
		return -ENOMEM;
	ret = measure(g, data, elem);
	free(data);
	if (ret)
		return ret;
	if (*elem != old_size && *elem != new_size)
		return unknown_size(g, *elem, why, size);

	data = calloc(count, *elem);
	if (!data)
		return -ENOMEM;
	ret = vcs_hsakmt_error(g->get(g, count, data));
	if (ret)
		free(data);
	else
		*list = data;
	return ret;
}

static uint32_t get32(const uint8_t *data, size_t index)
{
	uint32_t value;

	memcpy(&value, data + index * sizeof(value), sizeof(value));
	return value;
}

/**
 * struct field - a field of HsaNodeProperties, in the order of its fields
 * @since: the least size of the structure that has it, 0: all do
 * @size: bytes
 * @to: where it goes in struct vcs_thunk_node, or NOWHERE, or a place that is
 *	not just bytes
 */
struct field {
	uint16_t since;
	uint16_t size;
	uint16_t to;
};

#define NOWHERE		0xffff
#define RENDER_MINOR	0xfffe
#define MARKETING_NAME	0xfffd

#define SIZEOF(member)	sizeof(((struct vcs_thunk_node *)NULL)->member)
#define SINCE(release, member) \
	{ release, SIZEOF(member), offsetof(struct vcs_thunk_node, member) }
#define FIELD(member)	SINCE(0, member)

/* What a release has added is where it is here; what follows has moved. */
static const struct field node_fields[] = {
	FIELD(num_cpu_cores), FIELD(num_fcompute_cores),
	SINCE(364, num_neural_cores), FIELD(num_memory_banks),
	FIELD(num_caches), FIELD(num_io_links), FIELD(ccompute_id_lo),
	FIELD(fcompute_id_lo), FIELD(capability), SINCE(368, capability2),
	FIELD(max_waves_per_simd), FIELD(lds_size_in_kb), FIELD(gds_size_in_kb),
	FIELD(wave_front_size), FIELD(num_shader_banks), FIELD(num_arrays),
	FIELD(num_cu_per_array), FIELD(num_simd_per_cu),
	FIELD(max_slots_scratch_cu), FIELD(engine_id),
	SINCE(360, override_engine_id), FIELD(vendor_id), FIELD(device_id),
	FIELD(location_id), FIELD(local_mem_size),
	FIELD(max_engine_clock_mhz_fcompute),
	FIELD(max_engine_clock_mhz_ccompute), { 0, 4, RENDER_MINOR },
	{ 0, 128, MARKETING_NAME }, FIELD(amd_name),
	FIELD(ucode_engine_versions), FIELD(debug_properties), FIELD(hive_id),
	FIELD(num_sdma_engines), FIELD(num_sdma_xgmi_engines),
	FIELD(num_sdma_queues_per_engine), FIELD(num_cp_queues), FIELD(num_gws),
	FIELD(integrated), FIELD(domain), FIELD(unique_id),
	FIELD(vgpr_size_per_cu), FIELD(sgpr_size_per_cu),
	/* Reserved and 0 in 5.2. */
	FIELD(num_xcc), FIELD(kfd_gpu_id), FIELD(family_id),
	SINCE(376, cwsr_size), SINCE(376, ctl_stack_size),
	{ 384, 8, NOWHERE /* LuidLowPart, LuidHighPart: of Windows */ },
	SINCE(392, wall_clock_khz),
	{ 396, 4, NOWHERE /* FabricHandleSupported */ },
};

/* UTF-16 there. */
static void convert_name(char *to, const uint8_t *from, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && (from[2 * i] || from[2 * i + 1]); i++)
		to[i] = !from[2 * i + 1] && from[2 * i] >= ' ' &&
			from[2 * i] <= '~' ? (char)from[2 * i] : '?';
	to[i] = '\0';
}

static bool is_name(const char *name)
{
	size_t i, len = strnlen(name, SIZEOF(amd_name));

	for (i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~')
			return false;
	return len && len < SIZEOF(amd_name);
}

int vcs_hsakmt_convert_node(const void *data, size_t size,
			    struct vcs_thunk_node *props, int32_t *render_minor)
{
	const uint8_t *from = data;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(node_sizes) && size != node_sizes[i]; i++)
		;
	if (i == ARRAY_SIZE(node_sizes))
		return -EPROTO;
	memset(props, 0, sizeof(*props));
	for (i = 0; i < ARRAY_SIZE(node_fields); i++) {
		const struct field *f = &node_fields[i];

		if (f->since > size)
			continue;
		if (f->to == RENDER_MINOR)
			memcpy(render_minor, from, sizeof(*render_minor));
		else if (f->to == MARKETING_NAME)
			convert_name(props->marketing_name, from,
				     sizeof(props->marketing_name));
		else if (f->to != NOWHERE)
			memcpy((uint8_t *)props + f->to, from, f->size);
		from += f->size;
	}
	/*
	 * A development version has had fields of a later release elsewhere, in
	 * a structure of the same size: what can be told from others must be
	 * where it is expected.
	 */
	if (props->num_fcompute_cores && (props->vendor_id != VENDOR_AMD ||
					  !is_name(props->amd_name)))
		return -EBADMSG;
	props->amd_name[sizeof(props->amd_name) - 1] = '\0';
	return 0;
}

int vcs_hsakmt_node(const struct vcs_hsakmt *lib, uint32_t node,
		    struct vcs_thunk_node *props, int32_t *render_minor,
		    char *why, size_t size)
{
	const struct getter getter = {
		.lib = lib, .node = node, .get = get_node,
		.name = "HsaNodeProperties",
	};
	uint8_t *data = malloc(ROOM);
	size_t found;
	int ret;

	*why = '\0';
	if (!data)
		return -ENOMEM;
	ret = measure(&getter, data, &found);
	if (!ret)
		ret = vcs_hsakmt_convert_node(data, found, props, render_minor);
	free(data);
	if (ret == -EBADMSG)
		return vcs_explain(why, size, -EPROTO,
			       "%s does not have its node properties where its release has them; install the package libhsakmt1, or that of ROCm 5.2 to 6.2",
			       lib->path);
	return ret == -EPROTO ? unknown_size(&getter, found, why, size) : ret;
}

int vcs_hsakmt_banks(const struct vcs_hsakmt *lib, uint32_t node, uint32_t count,
		     struct vcs_thunk_bank **banks, char *why, size_t size)
{
	const struct getter getter = {
		.lib = lib, .node = node, .get = get_banks,
		.name = "HsaMemoryProperties",
	};
	size_t elem;
	uint8_t *list;
	uint32_t i;
	int ret;

	*why = '\0';
	ret = get_list(&getter, count, BANK_SIZE, BANK_SIZE, &list, &elem, why,
		       size);
	if (ret)
		return ret;
	*banks = calloc(count ? count : 1, sizeof(**banks));
	for (i = 0; i < count && *banks; i++) {
		const uint8_t *from = list + i * elem;
		struct vcs_thunk_bank *to = &(*banks)[i];

		to->heap_type = get32(from, 0);
		to->size = get32(from, 1) | (uint64_t)get32(from, 2) << 32;
		to->flags = get32(from, 3);
		to->width = get32(from, 4);
		to->memory_clock_max = get32(from, 5);
		to->virtual_base = get32(from, 6) |
				   (uint64_t)get32(from, 7) << 32;
	}
	free(list);
	return *banks ? 0 : -ENOMEM;
}

int vcs_hsakmt_caches(const struct vcs_hsakmt *lib, uint32_t node,
		      uint32_t count, struct vcs_thunk_cache **caches, char *why,
		      size_t size)
{
	const struct getter getter = {
		.lib = lib, .node = node, .get = get_caches,
		.name = "HsaCacheProperties",
	};
	uint32_t i, k;
	uint8_t *list;
	size_t elem;
	int ret;

	*why = '\0';
	ret = get_list(&getter, count, CACHE_SIZE, CACHE_NEW_SIZE, &list, &elem,
		       why, size);
	if (ret)
		return ret;
	*caches = calloc(count ? count : 1, sizeof(**caches));
	for (i = 0; i < count && *caches; i++) {
		const uint8_t *from = list + i * elem;
		struct vcs_thunk_cache *to = &(*caches)[i];

		to->processor_id_low = get32(from, 0);
		to->level = get32(from, 1);
		to->size = get32(from, 2);
		to->line_size = get32(from, 3);
		to->lines_per_tag = get32(from, 4);
		to->associativity = get32(from, 5);
		to->latency = get32(from, 6);
		to->type = get32(from, 7);
		for (k = 0; k < HSA_CPU_SIBLINGS; k++)
			to->siblings += get32(from, 8 + k) != 0;
	}
	free(list);
	return *caches ? 0 : -ENOMEM;
}

int vcs_hsakmt_io_links(const struct vcs_hsakmt *lib, uint32_t node,
			uint32_t count, struct vcs_thunk_io_link **links,
			char *why, size_t size)
{
	const struct getter getter = {
		.lib = lib, .node = node, .get = get_io_links,
		.name = "HsaIoLinkProperties",
	};
	uint8_t *list;
	size_t elem;
	uint32_t i;
	int ret;

	*why = '\0';
	ret = get_list(&getter, count, IO_LINK_SIZE, IO_LINK_NEW_SIZE, &list,
		       &elem, why, size);
	if (ret)
		return ret;
	*links = calloc(count ? count : 1, sizeof(**links));
	for (i = 0; i < count && *links; i++) {
		const uint8_t *from = list + i * elem;
		struct vcs_thunk_io_link *to = &(*links)[i];

		to->type = get32(from, 0);
		to->version_major = get32(from, 1);
		to->version_minor = get32(from, 2);
		to->node_from = get32(from, 3);
		to->node_to = get32(from, 4);
		to->weight = get32(from, 5);
		to->min_latency = get32(from, 6);
		to->max_latency = get32(from, 7);
		to->min_bandwidth = get32(from, 8);
		to->max_bandwidth = get32(from, 9);
		to->rec_transfer_size = get32(from, 10);
		if (elem == IO_LINK_NEW_SIZE)
			to->rec_sdma_eng_id_mask = get32(from, 11);
		to->flags = get32(from, elem / 4 - 1);
	}
	free(list);
	return *links ? 0 : -ENOMEM;
}
