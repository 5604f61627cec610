// SPDX-License-Identifier: MIT
/*
 * What amdgpu says of a GPU, and KFD does not
 */
#include <amdgpu_drm.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vcs_amdgpu.h"

/* The numbers of a driver's own ioctls are others' too. */
static int is_amdgpu(int fd)
{
	char name[16] = "";
	struct drm_version version = {
		.name = name,
		.name_len = sizeof(name) - 1,
	};

	if (ioctl(fd, DRM_IOCTL_VERSION, &version))
		return -errno;
	return strcmp(name, "amdgpu") ? -ENODEV : 0;
}

int vcs_amdgpu_info(int32_t minor, struct vcs_thunk_gpu_info *info)
{
	/* An older kernel writes less of it. */
	struct drm_amdgpu_info_device dev = { 0 };
	struct drm_amdgpu_info request = {
		.return_pointer = (uintptr_t)&dev,
		.return_size = sizeof(dev),
		.query = AMDGPU_INFO_DEV_INFO,
	};
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/dev/dri/renderD%d", minor);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = is_amdgpu(fd);
	if (!ret && ioctl(fd, DRM_IOCTL_AMDGPU_INFO, &request))
		ret = -errno;
	close(fd);
	if (ret)
		return ret;
	*info = (struct vcs_thunk_gpu_info) {
		.asic_id = dev.device_id,
		.chip_rev = dev.chip_rev,
		.chip_external_rev = dev.external_rev,
		.family_id = dev.family,
		.max_engine_clk = dev.max_engine_clock,
		.max_memory_clk = dev.max_memory_clock,
		.num_shader_engines = dev.num_shader_engines,
		.num_shader_arrays_per_engine = dev.num_shader_arrays_per_engine,
		.rb_pipes = dev.num_rb_pipes,
		.gpu_counter_freq = dev.gpu_counter_freq,
		.cu_active_number = dev.cu_active_number,
		.cu_mask = dev.cu_bitmap[0][0],
		.vram_type = dev.vram_type,
		.vram_bit_width = dev.vram_bit_width,
		.pci_rev_id = dev.pci_rev,
	};
	return 0;
}
