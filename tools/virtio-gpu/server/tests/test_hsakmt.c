// SPDX-License-Identifier: MIT
/*
 * The thunk over libhsakmt
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_hsakmt.h"
#include "vcs_thunk_hsakmt.h"

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

/* The library of the package libhsakmt1, on a machine without a GPU. */
static void test_no_kfd(void **state)
{
	struct vcs_thunk *thunk = NULL;
	char why[512];
	int ret;

	(void)state;
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
		cmocka_unit_test(test_no_kfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
