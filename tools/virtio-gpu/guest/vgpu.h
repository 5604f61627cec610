/* SPDX-License-Identifier: MIT */
/*
 * vgpu - let the host of a virtual machine compute on a program's own memory
 *
 * A small library over the virtio-gpu driver's ioctls. A context is one open
 * render node with one process of the host behind it. Memory of the calling
 * program (malloc, mmap of a file) is registered with it, without a copy:
 * the kernel pins its pages and the host maps those pages. Kernels in OpenCL C
 * are then built and launched over registered memory.
 *
 *	struct vgpu_error err;
 *	struct vgpu_ctx *ctx;
 *	struct vgpu_mem *mem;
 *	struct vgpu_program *prog;
 *	struct vgpu_job *job;
 *	int ret;
 *
 *	ret = vgpu_open(NULL, "example", &ctx, &err);
 *	ret = vgpu_register(ctx, buf, size, 0, &mem, &err);
 *	ret = vgpu_build(ctx, source, NULL, NULL, &prog, &err);
 *	ret = vgpu_launch(prog, "twice", &VGPU_RANGE_1D(size / 4),
 *			  (struct vgpu_arg[]){ VGPU_MEM(mem) }, 1, &job, &err);
 *	ret = vgpu_wait(job, -1, NULL, &err);
 *	vgpu_close(ctx);
 *
 * Rules for all functions:
 *
 * - They return 0 or a negative errno. The last argument, which may be NULL,
 *   then holds a sentence for people. There is no other state to ask, and the
 *   library prints nothing.
 * - Any number of threads may use one context. An object (memory, program, job)
 *   must not be used any more by one thread while another gives it up.
 * - -EIO means that the device failed or that the process behind the context
 *   died. The context is lost then; close it and open a new one.
 * - After fork() only the parent may use the context.
 */
#ifndef VGPU_H
#define VGPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vgpu_ctx;
struct vgpu_mem;
struct vgpu_program;
struct vgpu_job;

/**
 * struct vgpu_error - why a call failed; untouched by a call that does not
 * @code: the positive errno
 * @message: one sentence, NUL-terminated, without a newline
 */
struct vgpu_error {
	int code;
	char message[256];
};

/**
 * vgpu_open() - open a context on a virtio-gpu device that offers COMPUTE
 * @node: path of the render node, or NULL for the first of /dev/dri/renderD*
 *	that has the driver virtio_gpu, the capset COMPUTE and takes user memory
 * @name: name of the context, shown in messages of the host
 * @ctx: the new context
 * @err: reason of a failure, or NULL
 *
 * Return: 0, or
 * -ENODEV: there is no such device;
 * -EOPNOTSUPP: the device or the kernel lacks what is needed, named in @err;
 * -EPROTO: the host speaks another version;
 * -EIO: the host could not make the context;
 * or what open(2), the ioctls or mmap(2) return.
 */
int vgpu_open(const char *node, const char *name, struct vgpu_ctx **ctx,
	      struct vgpu_error *err);

/**
 * vgpu_close() - give up a context and all that belongs to it
 * @ctx: the context, or NULL
 *
 * Every memory registration, program and job of the context ends and must not
 * be used again. Jobs that run are killed. Pages are unpinned once the host
 * cannot reach them any more, which may be shortly after this returns.
 */
void vgpu_close(struct vgpu_ctx *ctx);

/**
 * vgpu_node() - path of the render node a context is open on
 * @ctx: the context
 */
const char *vgpu_node(const struct vgpu_ctx *ctx);

/**
 * vgpu_fd() - file descriptor of the render node, which stays the library's
 * @ctx: the context
 */
int vgpu_fd(const struct vgpu_ctx *ctx);

/**
 * struct vgpu_info - what the host computes with
 * @compute_units: parallel compute units
 * @max_clock_mhz: highest clock frequency in MHz, 0 if unknown
 * @max_work_group: most work-items in one work-group
 * @max_work_item: most work-items of a work-group in each dimension
 * @offset_align: in bytes; the offset of a memory argument must be a multiple
 * @global_mem: device memory in bytes
 * @max_alloc: largest registration in bytes that a kernel can be given
 * @local_mem: local memory of one work-group in bytes
 * @device: name of the device
 * @platform: name and version of what drives it
 * @backend: the server's backend, as "opencl"
 *
 * All as the host reports it (QUERY).
 */
struct vgpu_info {
	uint32_t compute_units;
	uint32_t max_clock_mhz;
	uint32_t max_work_group;
	uint32_t max_work_item[3];
	uint32_t offset_align;
	uint64_t global_mem;
	uint64_t max_alloc;
	uint64_t local_mem;
	char device[128];
	char platform[128];
	char backend[32];
};

/**
 * vgpu_query() - ask the host what it computes with
 * @ctx: the context
 * @info: the answer
 * @err: reason of a failure, or NULL
 *
 * Return: 0, -EAGAIN (see vgpu_launch()), or -EIO.
 */
int vgpu_query(struct vgpu_ctx *ctx, struct vgpu_info *info,
	       struct vgpu_error *err);

/* The host may read the memory, not write it; the program may do as its
 * mapping allows. Needed where the program itself may not write.
 */
#define VGPU_RDONLY	(1u << 0)

/**
 * vgpu_register() - let the host use memory of this program
 * @ctx: the context
 * @addr: start, a multiple of the page size
 * @size: in bytes, a multiple of the page size
 * @flags: 0 or VGPU_RDONLY
 * @mem: the registration
 * @err: reason of a failure, or NULL
 *
 * The pages behind the addresses are pinned now and are what the host uses
 * until vgpu_unregister(), even if the program unmaps or remaps the addresses.
 * A MAP_PRIVATE file mapping is copied by the kernel first; MAP_SHARED is not.
 *
 * Return: 0, or
 * -EINVAL: @addr or @size is not aligned, or 0, or @flags has unknown bits;
 * -EFAULT: nothing is mapped there, or it may not be written and VGPU_RDONLY is
 *	not given, or it may not be pinned (a writable shared mapping of a file
 *	on a disk, secret memory, device memory);
 * -ENOMEM: more than RLIMIT_MEMLOCK allows, or out of memory;
 * -EPERM: RLIMIT_MEMLOCK is 0;
 * -E2BIG: more pieces than the device takes;
 * -EOPNOTSUPP: the device has no read-only registrations;
 * -EIO: the device refused, or the context is lost.
 */
int vgpu_register(struct vgpu_ctx *ctx, void *addr, size_t size,
		  unsigned int flags, struct vgpu_mem **mem,
		  struct vgpu_error *err);

/**
 * vgpu_unregister() - end a registration
 * @mem: the registration; gone when this returns, whatever it returns
 * @err: reason of a failure, or NULL
 *
 * Jobs that use it finish first. The pages are unpinned once the host cannot
 * reach them any more, which may be shortly after this returns.
 *
 * Return: 0, or what DRM_IOCTL_GEM_CLOSE returns.
 */
int vgpu_unregister(struct vgpu_mem *mem, struct vgpu_error *err);

/**
 * vgpu_mem_res_id() - the virtio-gpu resource id of a registration
 * @mem: the registration
 */
uint32_t vgpu_mem_res_id(const struct vgpu_mem *mem);

/**
 * vgpu_build() - compile a program
 * @ctx: the context
 * @source: OpenCL C source
 * @options: options of the OpenCL compiler, or NULL
 * @log: NULL, or where to store the compiler's messages (also on success, if
 *	there are any; else NULL), up to VGPU_LOG_MAX bytes, to be freed by the
 *	caller
 * @prog: the program
 * @err: reason of a failure, or NULL
 *
 * Waits for the host's compiler.
 *
 * Return: 0, or
 * -ENOEXEC: the source has errors, see @log;
 * -EINVAL: the compiler does not know @options, or @source is empty;
 * -E2BIG: @source and @options are larger than the host takes, or the context
 *	has as many programs as it allows;
 * -ETIMEDOUT: the compiler took too long;
 * -EAGAIN: see vgpu_launch();
 * -ENOMEM, or -EIO.
 */
int vgpu_build(struct vgpu_ctx *ctx, const char *source, const char *options,
	       char **log, struct vgpu_program **prog, struct vgpu_error *err);

#define VGPU_LOG_MAX	16384

/**
 * vgpu_release_program() - forget a program
 * @prog: the program; gone when this returns, whatever it returns
 * @err: reason of a failure, or NULL
 *
 * Jobs launched from it finish first; waits for that.
 *
 * Return: 0, -EAGAIN (see vgpu_launch()), or -EIO.
 */
int vgpu_release_program(struct vgpu_program *prog, struct vgpu_error *err);

/**
 * struct vgpu_range - the ND-range of a launch
 * @dim: dimensions, 1 to 3
 * @global: work-items in each dimension, 1 in those above @dim
 * @local: work-items of a work-group; all 0 lets the host choose
 */
struct vgpu_range {
	uint32_t dim;
	uint64_t global[3];
	uint64_t local[3];
};

#define VGPU_RANGE_1D(x) \
	((struct vgpu_range){ 1, { (x), 1, 1 }, { 0, 0, 0 } })
#define VGPU_RANGE_2D(x, y) \
	((struct vgpu_range){ 2, { (x), (y), 1 }, { 0, 0, 0 } })

/**
 * struct vgpu_arg - one argument of a kernel
 * @mem: a global or constant pointer into this registration; else NULL
 * @value: a value that is passed in the command; else NULL
 * @offset: with @mem: where the pointer points, in bytes, a multiple of
 *	&vgpu_info.offset_align
 * @size: with @mem: bytes the kernel uses from there, 0 for all up to the end;
 *	with @value: its size in bytes; with neither: bytes of local memory
 *
 * Made by VGPU_MEM(), VGPU_MEM_AT(), VGPU_VALUE() and VGPU_LOCAL().
 */
struct vgpu_arg {
	const struct vgpu_mem *mem;
	const void *value;
	uint64_t offset;
	uint64_t size;
};

#define VGPU_MEM(m)		((struct vgpu_arg){ .mem = (m) })
#define VGPU_MEM_AT(m, off, n) \
	((struct vgpu_arg){ .mem = (m), .offset = (off), .size = (n) })
#define VGPU_VALUE(v)		\
	((struct vgpu_arg){ .value = &(v), .size = sizeof(v) })
#define VGPU_LOCAL(n)		((struct vgpu_arg){ .size = (n) })

/**
 * vgpu_launch() - run a kernel over an ND-range
 * @prog: the program it is in
 * @kernel: its name
 * @range: the ND-range
 * @args: its arguments in order; values are read before this returns
 * @nr_args: how many
 * @job: the running job, to be given up with vgpu_job_free()
 * @err: reason of a failure, or NULL
 *
 * Returns at once. Jobs of a context run one after another in the order of the
 * calls. What is wrong with the name, the range or an argument is only known
 * to the host and is what vgpu_wait() returns.
 *
 * Return: 0, or
 * -E2BIG: @kernel or the arguments are longer than the protocol allows;
 * -EAGAIN: too many jobs are not finished or not freed;
 * -ENOMEM, or what DRM_IOCTL_VIRTGPU_EXECBUFFER returns.
 */
int vgpu_launch(struct vgpu_program *prog, const char *kernel,
		const struct vgpu_range *range, const struct vgpu_arg *args,
		unsigned int nr_args, struct vgpu_job **job,
		struct vgpu_error *err);

/**
 * struct vgpu_result - what the host says about a finished job
 * @device_ns: nanoseconds the kernel ran, by the host's clock
 * @copied: bytes the host copied to or from registered memory for it
 */
struct vgpu_result {
	uint64_t device_ns;
	uint64_t copied;
};

/**
 * vgpu_wait() - wait until a job is finished
 * @job: the job; stays the caller's, and may be waited for again
 * @timeout_ms: milliseconds to wait, 0 to look only, -1 without a limit
 * @result: what the host says about it, or NULL
 * @err: reason of a failure, or NULL
 *
 * Return: 0 when it has finished well, or
 * -ETIME: it has not finished yet;
 * -ENOENT: the program has no kernel of this name;
 * -EINVAL: the range or the arguments do not fit the kernel or the memory;
 * -EOPNOTSUPP: the kernel has arguments that cannot be passed (images);
 * -EIO: the context is lost.
 */
int vgpu_wait(struct vgpu_job *job, int timeout_ms, struct vgpu_result *result,
	      struct vgpu_error *err);

/**
 * vgpu_job_fd() - a sync_file that polls readable when the job is finished
 * @job: the job, which owns the descriptor
 */
int vgpu_job_fd(const struct vgpu_job *job);

/**
 * vgpu_job_free() - give up a job
 * @job: the job, or NULL; if it is running it runs on, unobserved
 */
void vgpu_job_free(struct vgpu_job *job);

/**
 * struct vgpu_stats - what has gone through a context so far
 * @registered: bytes of memory that were registered
 * @commands: bytes of commands (program sources, arguments), which the kernel
 *	does copy to the device
 * @responses: bytes of responses read from the memory shared with the host
 * @copied: sum of &vgpu_result.copied of all jobs that were waited for
 */
struct vgpu_stats {
	uint64_t registered;
	uint64_t commands;
	uint64_t responses;
	uint64_t copied;
};

/**
 * vgpu_stats() - count what has gone through a context
 * @ctx: the context
 * @stats: the counts
 */
void vgpu_stats(struct vgpu_ctx *ctx, struct vgpu_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* VGPU_H */
