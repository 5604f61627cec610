// SPDX-License-Identifier: MIT
/*
 * OpenCL: choosing and describing a device, errors
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_opencl.h"

/* More than any machine has; what is beyond is not looked at. */
#define VCS_MAX_PLATFORMS	32
#define VCS_MAX_DEVICES		64

int vcs_opencl_errno(cl_int err)
{
	switch (err) {
	case CL_SUCCESS:
		return 0;
	case CL_OUT_OF_HOST_MEMORY:
	case CL_OUT_OF_RESOURCES:
	case CL_MEM_OBJECT_ALLOCATION_FAILURE:
		return -ENOMEM;
	case CL_INVALID_BUFFER_SIZE:
		return -E2BIG;
	case CL_BUILD_PROGRAM_FAILURE:
	case CL_COMPILE_PROGRAM_FAILURE:
	case CL_LINK_PROGRAM_FAILURE:
		return -ENOEXEC;
	case CL_INVALID_KERNEL_NAME:
		return -ENOENT;
	case CL_INVALID_BUILD_OPTIONS:
	case CL_INVALID_COMPILER_OPTIONS:
	case CL_INVALID_VALUE:
	case CL_INVALID_ARG_INDEX:
	case CL_INVALID_ARG_VALUE:
	case CL_INVALID_ARG_SIZE:
	case CL_INVALID_KERNEL_ARGS:
	case CL_INVALID_MEM_OBJECT:
	case CL_INVALID_WORK_DIMENSION:
	case CL_INVALID_WORK_GROUP_SIZE:
	case CL_INVALID_WORK_ITEM_SIZE:
	case CL_INVALID_GLOBAL_WORK_SIZE:
	case CL_INVALID_GLOBAL_OFFSET:
	case CL_MISALIGNED_SUB_BUFFER_OFFSET:
		return -EINVAL;
	}
	return -EIO;
}

/* More than the strings of any driver. */
#define VCS_NAME_SIZE		1024

static void platform_string(cl_platform_id platform, cl_platform_info what,
			    char name[VCS_NAME_SIZE])
{
	if (clGetPlatformInfo(platform, what, VCS_NAME_SIZE, name, NULL))
		name[0] = '\0';
	name[VCS_NAME_SIZE - 1] = '\0';
}

static void device_name(cl_device_id device, char name[VCS_NAME_SIZE])
{
	if (clGetDeviceInfo(device, CL_DEVICE_NAME, VCS_NAME_SIZE, name, NULL))
		name[0] = '\0';
	name[VCS_NAME_SIZE - 1] = '\0';
}

/* Like strscpy(): @dst holds what fits, always NUL-terminated. */
static void copy_string(char *dst, const char *src, size_t size)
{
	size_t len = strnlen(src, size - 1);

	memcpy(dst, src, len);
	dst[len] = '\0';
}

static bool matches(cl_platform_id platform, cl_device_id device,
		    const char *match)
{
	char platform_name[VCS_NAME_SIZE], dev_name[VCS_NAME_SIZE];
	char name[2 * VCS_NAME_SIZE + 2];

	if (!match)
		return true;
	platform_string(platform, CL_PLATFORM_NAME, platform_name);
	device_name(device, dev_name);
	snprintf(name, sizeof(name), "%s: %s", platform_name, dev_name);
	return strcasestr(name, match);
}

static int find_device(struct vcs_opencl *cl, const char *match,
		       unsigned int index)
{
	static const cl_device_type order[] = {
		CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR |
		CL_DEVICE_TYPE_CUSTOM,
		CL_DEVICE_TYPE_CPU,
	};
	cl_platform_id platforms[VCS_MAX_PLATFORMS];
	cl_device_id devices[VCS_MAX_DEVICES];
	cl_uint nr_platforms, nr_devices;
	cl_uint t, p, d;

	/* Without any ICD the loader says CL_PLATFORM_NOT_FOUND_KHR. */
	if (clGetPlatformIDs(VCS_MAX_PLATFORMS, platforms, &nr_platforms))
		return -ENODEV;
	if (nr_platforms > VCS_MAX_PLATFORMS)
		nr_platforms = VCS_MAX_PLATFORMS;

	for (t = 0; t < sizeof(order) / sizeof(order[0]); t++) {
		for (p = 0; p < nr_platforms; p++) {
			if (clGetDeviceIDs(platforms[p], order[t],
					   VCS_MAX_DEVICES, devices,
					   &nr_devices))
				continue;
			if (nr_devices > VCS_MAX_DEVICES)
				nr_devices = VCS_MAX_DEVICES;
			for (d = 0; d < nr_devices; d++) {
				if (!matches(platforms[p], devices[d], match))
					continue;
				if (index--)
					continue;
				cl->platform = platforms[p];
				cl->device = devices[d];
				return 0;
			}
		}
	}
	return -ENODEV;
}

int vcs_opencl_open(struct vcs_opencl *cl, const char *match,
		    unsigned int index)
{
	cl_int err;
	int ret;

	memset(cl, 0, sizeof(*cl));
	ret = find_device(cl, match, index);
	if (ret)
		return ret;
	cl->context = clCreateContext(NULL, 1, &cl->device, NULL, NULL, &err);
	if (err) {
		vcs_err("clCreateContext: error %d", err);
		return -EIO;
	}
	return 0;
}

void vcs_opencl_close(struct vcs_opencl *cl)
{
	if (cl->context)
		clReleaseContext(cl->context);
	memset(cl, 0, sizeof(*cl));
}

int vcs_opencl_info(const struct vcs_opencl *cl, struct vcs_device_info *info)
{
	size_t max_work_item[3] = { 0 }, max_work_group = 0;
	cl_uint units = 0, mhz = 0, dims = 0, align_bits = 0;
	cl_ulong global_mem = 0, max_alloc = 0, local_mem = 0;
	cl_device_id dev = cl->device;
	cl_device_type type = 0;
	char name[VCS_NAME_SIZE];
	size_t len;
	cl_int err;
	int i;

	memset(info, 0, sizeof(*info));
	err = clGetDeviceInfo(dev, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(units),
			      &units, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_MAX_CLOCK_FREQUENCY, sizeof(mhz),
			       &mhz, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_MAX_WORK_GROUP_SIZE,
			       sizeof(max_work_group), &max_work_group, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_MAX_WORK_ITEM_DIMENSIONS,
			       sizeof(dims), &dims, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_MEM_BASE_ADDR_ALIGN,
			       sizeof(align_bits), &align_bits, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_GLOBAL_MEM_SIZE,
			       sizeof(global_mem), &global_mem, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_MAX_MEM_ALLOC_SIZE,
			       sizeof(max_alloc), &max_alloc, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_LOCAL_MEM_SIZE,
			       sizeof(local_mem), &local_mem, NULL);
	err |= clGetDeviceInfo(dev, CL_DEVICE_TYPE, sizeof(type), &type, NULL);
	/* Exactly three in the wire format; more dimensions are not offered. */
	if (!err && dims == 3)
		err = clGetDeviceInfo(dev, CL_DEVICE_MAX_WORK_ITEM_SIZES,
				      sizeof(max_work_item), max_work_item,
				      NULL);
	if (err || dims != 3) {
		vcs_err("clGetDeviceInfo fails");
		return -EIO;
	}

	info->compute_units = units;
	info->max_clock_mhz = mhz;
	info->max_work_group = (uint32_t)max_work_group;
	for (i = 0; i < 3; i++)
		info->max_work_item[i] = max_work_item[i] > UINT32_MAX ?
			UINT32_MAX : (uint32_t)max_work_item[i];
	info->offset_align = align_bits >= 8 ? align_bits / 8 : 1;
	info->global_mem = global_mem;
	info->max_alloc = max_alloc;
	info->local_mem = local_mem;
	info->is_cpu = type & CL_DEVICE_TYPE_CPU;

	device_name(dev, name);
	copy_string(info->device, name, sizeof(info->device));
	platform_string(cl->platform, CL_PLATFORM_NAME, name);
	copy_string(info->platform, name, sizeof(info->platform) - 1);
	len = strlen(info->platform);
	info->platform[len++] = ' ';
	platform_string(cl->platform, CL_PLATFORM_VERSION, name);
	copy_string(info->platform + len, name, sizeof(info->platform) - len);
	return 0;
}
