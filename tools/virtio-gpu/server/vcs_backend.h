/* SPDX-License-Identifier: MIT */
/*
 * What a context asks of a compute API
 *
 * A backend lives in a worker process and works on windows: memory that is
 * registered with it is the memory that kernels use. It copies nothing.
 */
#ifndef VCS_BACKEND_H
#define VCS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vcs_window.h"

struct vcs_backend;
struct vcs_buffer;
struct vcs_program;

/**
 * struct vcs_device_info - the device, in the units of the QUERY response
 * @compute_units: parallel compute units
 * @max_clock_mhz: highest clock, 0 if unknown
 * @max_work_group: most work-items in one work-group
 * @max_work_item: most work-items of a work-group in each dimension
 * @offset_align: what the offset of a buffer argument must be a multiple of
 * @global_mem: bytes of device memory
 * @max_alloc: bytes of the largest buffer
 * @local_mem: bytes of local memory of one work-group
 * @is_cpu: kernels are native code in the process of the backend
 * @device: name, NUL-terminated
 * @platform: name and version, NUL-terminated
 */
struct vcs_device_info {
	uint32_t compute_units;
	uint32_t max_clock_mhz;
	uint32_t max_work_group;
	uint32_t max_work_item[3];
	uint32_t offset_align;
	uint64_t global_mem;
	uint64_t max_alloc;
	uint64_t local_mem;
	bool is_cpu;
	char device[128];
	char platform[128];
};

enum vcs_arg_type {
	VCS_ARG_BUFFER,
	VCS_ARG_BYTES,
	VCS_ARG_LOCAL,
};

/**
 * struct vcs_arg - one kernel argument
 * @type: which of the other fields count
 * @buffer: BUFFER: memory that was imported
 * @offset: BUFFER: first byte, a multiple of the device's offset_align
 * @data: BYTES: the value
 * @size: BUFFER: bytes from @offset on, inside the buffer; BYTES, LOCAL: bytes
 */
struct vcs_arg {
	enum vcs_arg_type type;
	struct vcs_buffer *buffer;
	uint64_t offset;
	const void *data;
	uint64_t size;
};

/**
 * struct vcs_launch - one ND-range
 * @kernel: name, NUL-terminated
 * @work_dim: 1 to 3
 * @global: work-items in each of @work_dim dimensions, not 0
 * @local: work-items of a work-group, or all 0 for the device's choice
 * @nr_args: number of @args
 * @args: arguments in order
 */
struct vcs_launch {
	const char *kernel;
	uint32_t work_dim;
	size_t global[3];
	size_t local[3];
	uint32_t nr_args;
	const struct vcs_arg *args;
};

/**
 * struct vcs_launch_result - what a launch took
 * @device_ns: nanoseconds on the device, by its own clock
 * @copied: bytes copied between window and device
 */
struct vcs_launch_result {
	uint64_t device_ns;
	uint64_t copied;
};

/**
 * struct vcs_build_log - what the compiler said
 * @text: malloc()ed, or NULL; the caller frees it
 * @len: bytes in @text, which has no NUL
 */
struct vcs_build_log {
	char *text;
	size_t len;
};

/* All functions return 0 or a negative errno. */
struct vcs_backend_ops {
	const char *name;

	int (*query)(struct vcs_backend *be, struct vcs_device_info *info);

	/*
	 * Make the window usable by kernels. -E2BIG: larger than the device
	 * takes; -ENOMEM; -EIO: the device would not work on the window itself.
	 */
	int (*import)(struct vcs_backend *be, const struct vcs_window *win,
		      struct vcs_buffer **buf);

	/* The device has no access to the window any more when it returns. */
	void (*release)(struct vcs_backend *be, struct vcs_buffer *buf);

	/*
	 * Compile OpenCL C; @options is NUL-terminated. -ENOEXEC: refused, see
	 * @log; -EINVAL: bad options; -EIO, -ETIMEDOUT: the compiler crashed or
	 * did not end; -E2BIG: the program is larger than the server takes;
	 * -ENOMEM. @log may be set after an error, too.
	 */
	int (*build)(struct vcs_backend *be, const char *source,
		     size_t source_len, const char *options,
		     struct vcs_program **prog, struct vcs_build_log *log);

	void (*release_program)(struct vcs_backend *be,
				struct vcs_program *prog);

	/*
	 * Run to the end. -ENOENT: no such kernel; -EINVAL: arguments or sizes
	 * that do not fit it; -EOPNOTSUPP: a kernel with arguments that this
	 * protocol has no type for; -ENOMEM; -EIO: it failed on the device.
	 */
	int (*launch)(struct vcs_backend *be, struct vcs_program *prog,
		      const struct vcs_launch *launch,
		      struct vcs_launch_result *result);
};

struct vcs_backend {
	const struct vcs_backend_ops *ops;
};

#endif /* VCS_BACKEND_H */
