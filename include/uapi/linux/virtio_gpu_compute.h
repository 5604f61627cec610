/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR MIT) */
/*
 * Wire format of the virtio-gpu COMPUTE context.
 *
 * A context created with VIRTIO_GPU_CAPSET_COMPUTE takes requests in the
 * payload of VIRTIO_GPU_CMD_SUBMIT_3D (DRM_IOCTL_VIRTGPU_EXECBUFFER) and writes
 * responses into a blob that guest and host share. One submission holds one or
 * more requests back to back; its fence signals when all of them are answered.
 *
 * All fields are little endian, all sizes and offsets are in bytes.
 * Documentation/gpu/virtio-gpu-compute.rst tells each command with its errors.
 */
#ifndef _LINUX_VIRTIO_GPU_COMPUTE_H
#define _LINUX_VIRTIO_GPU_COMPUTE_H

#include <linux/types.h>

/*
 * Provisional until assigned. Avoids 1-6, which the virtio specification has
 * assigned, and 7-11, which native contexts and proposals use.
 */
#ifndef VIRTIO_GPU_CAPSET_COMPUTE
#define VIRTIO_GPU_CAPSET_COMPUTE	12
#endif

#define VIRTIO_GPU_COMPUTE_WIRE_VERSION	1

/* Upper bounds of this version; a host may offer less in its capset. */
#define VIRTIO_GPU_COMPUTE_MAX_SUBMIT	(1024 * 1024)	/* one submission */
#define VIRTIO_GPU_COMPUTE_MAX_ARGS	64		/* of one kernel */
#define VIRTIO_GPU_COMPUTE_MAX_NAME	128		/* of a kernel, with its NUL */

/**
 * struct virtio_gpu_compute_capset - answer to GET_CAPSET
 * @wire_version: VIRTIO_GPU_COMPUTE_WIRE_VERSION
 * @max_submit: largest submission the host takes
 * @max_args: most arguments of one launch
 * @max_programs: most programs of one context at a time
 * @max_resources: most resources of one context at a time
 * @flags: none defined, 0
 * @backend: name of the host's backend ("opencl"), NUL-terminated
 */
struct virtio_gpu_compute_capset {
	__le32 wire_version;
	__le32 max_submit;
	__le32 max_args;
	__le32 max_programs;
	__le32 max_resources;
	__le32 flags;
	char backend[32];
};

/*
 * The shared blob: VIRTGPU_BLOB_MEM_HOST3D, VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
 * blob_id VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID, one per context, created before the
 * first submission.
 */
#define VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID	0
#define VIRTIO_GPU_COMPUTE_SHMEM_MIN_SIZE	4096

/**
 * struct virtio_gpu_compute_shmem - start of the shared blob
 * @seqno: seqno of the last request that was answered; written by the host
 *	after the response, with release semantics
 * @rsp_offset: first byte of the blob that responses may use; written by the
 *	host when the blob is created
 * @async_error: 0, or the errno of the last failure that no response could
 *	carry (a request without room for its header, a response outside the
 *	blob); the host never clears it
 * @reserved: 0
 */
struct virtio_gpu_compute_shmem {
	__le32 seqno;
	__le32 rsp_offset;
	__le32 async_error;
	__le32 reserved;
};

enum virtio_gpu_compute_cmd {
	VIRTIO_GPU_COMPUTE_NOP = 1,
	VIRTIO_GPU_COMPUTE_QUERY = 2,
	VIRTIO_GPU_COMPUTE_BUILD = 3,
	VIRTIO_GPU_COMPUTE_LAUNCH = 4,
	VIRTIO_GPU_COMPUTE_RELEASE = 5,
};

/**
 * struct virtio_gpu_compute_req - start of every request
 * @cmd: enum virtio_gpu_compute_cmd
 * @len: size of the request with this header, a multiple of 8
 * @seqno: what the host writes to @seqno of the shared blob when answered
 * @rsp_off: where in the shared blob the response goes, a multiple of 8
 */
struct virtio_gpu_compute_req {
	__le32 cmd;
	__le32 len;
	__le32 seqno;
	__le32 rsp_off;
};

/**
 * struct virtio_gpu_compute_rsp - start of every response
 * @len: the guest stores the room it has at @rsp_off, header included, before
 *	it submits; the host stores how much it wrote, never more than that
 * @ret: 0 or a negative errno (Linux numbers)
 */
struct virtio_gpu_compute_rsp {
	__le32 len;
	__le32 ret;
};

/* NOP: struct virtio_gpu_compute_req, struct virtio_gpu_compute_rsp. */

/**
 * struct virtio_gpu_compute_query_rsp - QUERY, whose request is the bare header
 * @hdr: header
 * @compute_units: parallel compute units
 * @max_clock_mhz: highest clock frequency in MHz, 0 if unknown
 * @max_work_group: most work-items in one work-group
 * @max_work_item: most work-items of a work-group in each dimension
 * @offset_align: what a resource argument's offset must be a multiple of
 * @reserved: 0
 * @global_mem: device memory
 * @max_alloc: largest resource a kernel can be given
 * @local_mem: local memory of one work-group
 * @device: device name, NUL-terminated
 * @platform: platform name and version, NUL-terminated
 * @backend: backend name, NUL-terminated
 */
struct virtio_gpu_compute_query_rsp {
	struct virtio_gpu_compute_rsp hdr;
	__le32 compute_units;
	__le32 max_clock_mhz;
	__le32 max_work_group;
	__le32 max_work_item[3];
	__le32 offset_align;
	__le32 reserved;
	__le64 global_mem;
	__le64 max_alloc;
	__le64 local_mem;
	char device[128];
	char platform[128];
	char backend[32];
};

/**
 * struct virtio_gpu_compute_build - BUILD: compile OpenCL C source
 * @hdr: header
 * @program_id: chosen by the guest, not 0, not in use in this context
 * @source_len: length of the source at @data, no NUL needed
 * @options_len: length of the build options that follow the source
 * @reserved: 0
 * @data: source, then options, then padding to a multiple of 8
 */
struct virtio_gpu_compute_build {
	struct virtio_gpu_compute_req hdr;
	__le32 program_id;
	__le32 source_len;
	__le32 options_len;
	__le32 reserved;
	__u8 data[];
};

/**
 * struct virtio_gpu_compute_build_rsp - answer to BUILD
 * @hdr: header; @ret is -ENOEXEC when the compiler refused the source
 * @log_len: length of the whole build log, which may be more than fits
 * @reserved: 0
 * @log: as much of the build log as the response has room for, no NUL
 */
struct virtio_gpu_compute_build_rsp {
	struct virtio_gpu_compute_rsp hdr;
	__le32 log_len;
	__le32 reserved;
	__u8 log[];
};

enum virtio_gpu_compute_arg_type {
	VIRTIO_GPU_COMPUTE_ARG_RESOURCE = 1,	/* a global or constant pointer */
	VIRTIO_GPU_COMPUTE_ARG_BYTES = 2,	/* a value, inline */
	VIRTIO_GPU_COMPUTE_ARG_LOCAL = 3,	/* local memory */
};

/**
 * struct virtio_gpu_compute_arg - one kernel argument
 * @type: enum virtio_gpu_compute_arg_type
 * @res_id: RESOURCE: the virtio-gpu resource id; else 0
 * @offset: RESOURCE: where in the resource the argument starts;
 *	BYTES: where in @data of the launch the value stands; LOCAL: 0
 * @size: RESOURCE: bytes the kernel may use, 0 for all up to the end;
 *	BYTES, LOCAL: the size
 */
struct virtio_gpu_compute_arg {
	__le32 type;
	__le32 res_id;
	__le64 offset;
	__le64 size;
};

/**
 * struct virtio_gpu_compute_launch - LAUNCH: run a kernel over an ND-range
 * @hdr: header
 * @program_id: a program that was built
 * @work_dim: 1 to 3
 * @nr_args: number of @args, equal to the kernel's own
 * @data_len: size of the inline values that follow @args
 * @global: work-items in each dimension, 1 in those above @work_dim
 * @local: work-items of a work-group; all 0 lets the host choose
 * @kernel: name of the kernel, NUL-terminated
 * @args: the arguments in order, then @data_len bytes of values, then padding
 *	to a multiple of 8
 */
struct virtio_gpu_compute_launch {
	struct virtio_gpu_compute_req hdr;
	__le32 program_id;
	__le32 work_dim;
	__le32 nr_args;
	__le32 data_len;
	__le64 global[3];
	__le64 local[3];
	char kernel[VIRTIO_GPU_COMPUTE_MAX_NAME];
	struct virtio_gpu_compute_arg args[];
};

/**
 * struct virtio_gpu_compute_launch_rsp - answer to LAUNCH, sent at its end
 * @hdr: header
 * @device_ns: nanoseconds the kernel ran on the device, by the host's clock
 * @copied: bytes the host copied to or from resources for it; 0 with a backend
 *	that works on the window itself
 */
struct virtio_gpu_compute_launch_rsp {
	struct virtio_gpu_compute_rsp hdr;
	__le64 device_ns;
	__le64 copied;
};

/**
 * struct virtio_gpu_compute_release - RELEASE: forget a program
 * @hdr: header
 * @program_id: a program that was built
 * @reserved: 0
 */
struct virtio_gpu_compute_release {
	struct virtio_gpu_compute_req hdr;
	__le32 program_id;
	__le32 reserved;
};

#endif /* _LINUX_VIRTIO_GPU_COMPUTE_H */
