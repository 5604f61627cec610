// SPDX-License-Identifier: MIT
/*
 * OpenCL backend: windows as CL_MEM_USE_HOST_PTR buffers
 *
 * OpenCL allows an implementation to copy such a buffer, and calls its memory
 * undefined for the host while the device has it. So a buffer is mapped for the
 * host all the time but during a launch that uses it: the unmapping shows the
 * guest's writes to the device, the mapping shows the device's to the guest. On
 * devices that share the host's caches both cost nothing; on others they are
 * the cache maintenance. A device whose mapping is not at the window's own
 * address copies, and its buffers are refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_backend_opencl.h"
#include "vcs_compiler.h"
#include "vcs_log.h"
#include "vcs_opencl.h"

struct vcs_backend_opencl {
	struct vcs_backend base;
	struct vcs_opencl cl;
	cl_command_queue queue;
	int compiler;
	int build_timeout_ms;
};

/**
 * struct vcs_buffer - a window that kernels can use
 * @mem: the buffer
 * @addr: the window
 * @size: the window's size
 * @map_flags: how the host maps it
 * @mapped: the host has it mapped
 */
struct vcs_buffer {
	cl_mem mem;
	void *addr;
	size_t size;
	cl_map_flags map_flags;
	int mapped;
};

struct vcs_program {
	cl_program prog;
	struct vcs_kernel *kernels;
	uint32_t nr_kernels;
};

static struct vcs_backend_opencl *to_opencl(struct vcs_backend *be)
{
	return (struct vcs_backend_opencl *)be;
}

static int query(struct vcs_backend *be, struct vcs_device_info *info)
{
	return vcs_opencl_info(&to_opencl(be)->cl, info);
}

static int map_for_host(struct vcs_backend_opencl *be, struct vcs_buffer *buf)
{
	cl_int err;
	void *addr;

	addr = clEnqueueMapBuffer(be->queue, buf->mem, CL_TRUE, buf->map_flags,
				  0, buf->size, 0, NULL, NULL, &err);
	if (err) {
		vcs_log_guest("clEnqueueMapBuffer: error %d", err);
		return vcs_opencl_errno(err);
	}
	if (addr != buf->addr) {
		vcs_err("the device copies: a window is not mapped in place");
		clEnqueueUnmapMemObject(be->queue, buf->mem, addr, 0, NULL,
					NULL);
		return -EIO;
	}
	buf->mapped = 1;
	return 0;
}

static int unmap_for_device(struct vcs_backend_opencl *be,
			    struct vcs_buffer *buf)
{
	cl_int err;

	if (!buf->mapped)
		return 0;
	err = clEnqueueUnmapMemObject(be->queue, buf->mem, buf->addr, 0, NULL,
				      NULL);
	if (err)
		return vcs_opencl_errno(err);
	buf->mapped = 0;
	return 0;
}

static void release(struct vcs_backend *base, struct vcs_buffer *buf)
{
	struct vcs_backend_opencl *be = to_opencl(base);

	unmap_for_device(be, buf);
	clFinish(be->queue);
	clReleaseMemObject(buf->mem);
	free(buf);
}

static int import(struct vcs_backend *base, const struct vcs_window *win,
		  struct vcs_buffer **out)
{
	struct vcs_backend_opencl *be = to_opencl(base);
	struct vcs_buffer *buf;
	cl_int err;
	int ret;

	buf = calloc(1, sizeof(*buf));
	if (!buf)
		return -ENOMEM;
	buf->addr = win->addr;
	buf->size = win->size;
	/*
	 * Nothing may be written back to a read-only window: "invalidate" says
	 * that the host is not interested in what the device has.
	 */
	buf->map_flags = win->rdonly ? CL_MAP_WRITE_INVALIDATE_REGION :
				       CL_MAP_READ | CL_MAP_WRITE;
	buf->mem = clCreateBuffer(be->cl.context, CL_MEM_USE_HOST_PTR |
				  (win->rdonly ? CL_MEM_READ_ONLY :
						 CL_MEM_READ_WRITE),
				  win->size, win->addr, &err);
	if (err) {
		vcs_log_guest("clCreateBuffer over %zu bytes: error %d",
			      win->size, err);
		ret = vcs_opencl_errno(err);
		goto err_free;
	}
	ret = map_for_host(be, buf);
	if (ret)
		goto err_release;
	*out = buf;
	return 0;

err_release:
	clReleaseMemObject(buf->mem);
err_free:
	free(buf);
	return ret;
}

static void release_program(struct vcs_backend *base, struct vcs_program *prog)
{
	(void)base;
	clReleaseProgram(prog->prog);
	free(prog->kernels);
	free(prog);
}

static int build(struct vcs_backend *base, const char *source,
		 size_t source_len, const char *options,
		 struct vcs_program **out, struct vcs_build_log *log)
{
	struct vcs_backend_opencl *be = to_opencl(base);
	const unsigned char *binary;
	struct vcs_program *prog;
	struct vcs_compiled c;
	cl_int status, err;
	int ret;

	ret = vcs_compile(be->compiler, be->build_timeout_ms, source,
			  source_len, options, &c, log);
	if (ret)
		return ret;
	prog = calloc(1, sizeof(*prog));
	if (!prog) {
		ret = -ENOMEM;
		goto out_free;
	}
	binary = c.binary;
	prog->prog = clCreateProgramWithBinary(be->cl.context, 1,
					       &be->cl.device, &c.binary_len,
					       &binary, &status, &err);
	if (err) {
		vcs_log_guest("clCreateProgramWithBinary: error %d", err);
		ret = -EIO;
		goto err_prog;
	}
	err = clBuildProgram(prog->prog, 1, &be->cl.device, NULL, NULL, NULL);
	if (err) {
		vcs_log_guest("clBuildProgram of a binary: error %d", err);
		ret = -EIO;
		goto err_release;
	}
	prog->kernels = c.kernels;
	prog->nr_kernels = c.nr_kernels;
	c.kernels = NULL;
	*out = prog;
	goto out_free;

err_release:
	clReleaseProgram(prog->prog);
err_prog:
	free(prog);
out_free:
	vcs_compiled_free(&c);
	return ret;
}

static const struct vcs_kernel *find_kernel(const struct vcs_program *prog,
					    const char *name)
{
	uint32_t i;

	for (i = 0; i < prog->nr_kernels; i++)
		if (!strcmp(prog->kernels[i].name, name))
			return &prog->kernels[i];
	return NULL;
}

/* All of a buffer, or a sub-buffer that the caller releases after the launch. */
static int get_mem(const struct vcs_arg *arg, cl_mem *mem, cl_mem *sub)
{
	cl_buffer_region region = { arg->offset, arg->size };
	cl_int err;

	if (!arg->offset && arg->size == arg->buffer->size) {
		*mem = arg->buffer->mem;
		return 0;
	}
	*sub = clCreateSubBuffer(arg->buffer->mem, 0,
				 CL_BUFFER_CREATE_TYPE_REGION, &region, &err);
	*mem = *sub;
	return vcs_opencl_errno(err);
}

static int set_arg(cl_kernel kernel, cl_uint index, const struct vcs_arg *arg,
		   enum vcs_kernel_arg kind, cl_mem *sub)
{
	static const enum vcs_kernel_arg wants[] = {
		[VCS_ARG_BUFFER] = VCS_KERNEL_ARG_BUFFER,
		[VCS_ARG_BYTES] = VCS_KERNEL_ARG_VALUE,
		[VCS_ARG_LOCAL] = VCS_KERNEL_ARG_LOCAL,
	};
	const void *value = NULL;
	size_t size = arg->size;
	cl_mem mem;
	int ret;

	if (kind == VCS_KERNEL_ARG_OTHER)
		return -EOPNOTSUPP;
	/*
	 * The bytes of a value in the place of a buffer would be taken for a
	 * pointer to one.
	 */
	if (kind != wants[arg->type])
		return -EINVAL;

	if (arg->type == VCS_ARG_BUFFER) {
		ret = get_mem(arg, &mem, sub);
		if (ret)
			return ret;
		value = &mem;
		size = sizeof(mem);
	} else if (arg->type == VCS_ARG_BYTES) {
		value = arg->data;
	}
	return vcs_opencl_errno(clSetKernelArg(kernel, index, size, value));
}

static int run(struct vcs_backend_opencl *be, cl_kernel kernel,
	       const struct vcs_launch *launch,
	       struct vcs_launch_result *result)
{
	const size_t *local = launch->local[0] ? launch->local : NULL;
	cl_ulong start = 0, end = 0;
	cl_int err, status = 0;
	cl_event event;

	err = clEnqueueNDRangeKernel(be->queue, kernel, launch->work_dim, NULL,
				     launch->global, local, 0, NULL, &event);
	if (err)
		return vcs_opencl_errno(err);
	err = clWaitForEvents(1, &event);
	if (!err)
		err = clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS,
				     sizeof(status), &status, NULL);
	if (!err && !status)
		err = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START,
					      sizeof(start), &start, NULL);
	if (!err && !status)
		err = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END,
					      sizeof(end), &end, NULL);
	clReleaseEvent(event);
	if (err || status < 0)
		return -EIO;
	result->device_ns = end - start;
	return 0;
}

static int launch(struct vcs_backend *base, struct vcs_program *prog,
		  const struct vcs_launch *launch,
		  struct vcs_launch_result *result)
{
	struct vcs_backend_opencl *be = to_opencl(base);
	cl_mem sub[VCS_KERNEL_ARGS] = { 0 };
	const struct vcs_kernel *info;
	cl_kernel kernel;
	uint32_t i;
	cl_int err;
	int ret, ret2;

	info = find_kernel(prog, launch->kernel);
	if (!info)
		return -ENOENT;
	if (launch->nr_args > VCS_KERNEL_ARGS ||
	    launch->nr_args != info->nr_args)
		return -EINVAL;
	kernel = clCreateKernel(prog->prog, launch->kernel, &err);
	if (err)
		return vcs_opencl_errno(err);

	ret = 0;
	for (i = 0; i < launch->nr_args && !ret; i++)
		ret = set_arg(kernel, i, &launch->args[i], info->args[i],
			      &sub[i]);
	for (i = 0; i < launch->nr_args && !ret; i++)
		if (launch->args[i].type == VCS_ARG_BUFFER)
			ret = unmap_for_device(be, launch->args[i].buffer);
	if (!ret)
		ret = run(be, kernel, launch, result);

	/* Also after an error: what was unmapped is the host's again. */
	for (i = 0; i < launch->nr_args; i++) {
		struct vcs_buffer *buf = launch->args[i].buffer;

		if (launch->args[i].type != VCS_ARG_BUFFER || buf->mapped)
			continue;
		ret2 = map_for_host(be, buf);
		if (!ret)
			ret = ret2;
	}
	for (i = 0; i < launch->nr_args; i++)
		if (sub[i])
			clReleaseMemObject(sub[i]);
	clReleaseKernel(kernel);
	return ret;
}

static const struct vcs_backend_ops opencl_ops = {
	.name = "opencl",
	.query = query,
	.import = import,
	.release = release,
	.build = build,
	.release_program = release_program,
	.launch = launch,
};

int vcs_backend_opencl_open(const struct vcs_config *cfg, int compiler,
			    struct vcs_backend **out)
{
	struct vcs_backend_opencl *be;
	cl_int err;
	int ret;

	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	be->base.ops = &opencl_ops;
	be->compiler = compiler;
	be->build_timeout_ms = cfg->build_timeout_ms;
	ret = vcs_opencl_open(&be->cl, cfg->device, cfg->device_index);
	if (ret)
		goto err_free;
	be->queue = clCreateCommandQueue(be->cl.context, be->cl.device,
					 CL_QUEUE_PROFILING_ENABLE, &err);
	if (err) {
		vcs_err("clCreateCommandQueue: error %d", err);
		ret = -EIO;
		goto err_close;
	}
	*out = &be->base;
	return 0;

err_close:
	vcs_opencl_close(&be->cl);
err_free:
	free(be);
	return ret;
}

void vcs_backend_opencl_close(struct vcs_backend *base)
{
	struct vcs_backend_opencl *be = to_opencl(base);

	clReleaseCommandQueue(be->queue);
	vcs_opencl_close(&be->cl);
	free(be);
}
