/* SPDX-License-Identifier: MIT */
/*
 * Compile helper: OpenCL C is built in a process that has no guest memory
 */
#ifndef VCS_COMPILER_H
#define VCS_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#include "vcs_backend.h"
#include "vcs_config.h"

/* Most arguments of a kernel that are described; a launch takes as many. */
#define VCS_KERNEL_ARGS		64
/* With its NUL; a kernel with a longer name cannot be launched. */
#define VCS_KERNEL_NAME		128

/* How long a compile may take unless configured otherwise, in milliseconds. */
#define VCS_BUILD_TIMEOUT_MS	30000

enum vcs_kernel_arg {
	VCS_KERNEL_ARG_OTHER,		/* an image, a sampler, a pipe */
	VCS_KERNEL_ARG_BUFFER,
	VCS_KERNEL_ARG_LOCAL,
	VCS_KERNEL_ARG_VALUE,
};

/**
 * struct vcs_kernel - a kernel of a program
 * @name: name, NUL-terminated
 * @nr_args: its arguments; those from VCS_KERNEL_ARGS on are not in @args
 * @args: enum vcs_kernel_arg each
 *
 * The worker cannot ask OpenCL for the kinds: drivers have them only for
 * programs built from source. It needs them, because clSetKernelArg() takes the
 * bytes of a buffer argument for an object of its own process.
 */
struct vcs_kernel {
	char name[VCS_KERNEL_NAME];
	uint32_t nr_args;
	uint8_t args[VCS_KERNEL_ARGS];
};

/**
 * struct vcs_compiled - a compiled program
 * @kernels: its kernels
 * @nr_kernels: number of @kernels
 * @binary: device binary for clCreateProgramWithBinary()
 * @binary_len: bytes of @binary
 */
struct vcs_compiled {
	struct vcs_kernel *kernels;
	uint32_t nr_kernels;
	uint8_t *binary;
	size_t binary_len;
};

void vcs_compiled_free(struct vcs_compiled *c);

/*
 * The helper's main loop on its end of the pair, a SOCK_STREAM, in its private
 * directory @dir. Returns when the worker has closed the other end.
 */
int vcs_compiler_main(int sock, const struct vcs_config *cfg, const char *dir);

/*
 * The worker's side: compile and wait. Errors as of struct vcs_backend_ops's
 * build; after -EIO for a helper that is gone every later call fails likewise.
 */
int vcs_compile(int sock, int timeout_ms, const char *source, size_t source_len,
		const char *options, struct vcs_compiled *c,
		struct vcs_build_log *log);

#endif /* VCS_COMPILER_H */
