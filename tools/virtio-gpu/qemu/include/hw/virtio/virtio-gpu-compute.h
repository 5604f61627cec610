/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu contexts that compute on guest memory in processes of their own,
 * for the devices that have such contexts
 */
#ifndef HW_VIRTIO_GPU_COMPUTE_H
#define HW_VIRTIO_GPU_COMPUTE_H

#include "chardev/char-fe.h"

struct VirtIOGPU;
struct virtio_gpu_ctrl_command;

typedef struct VirtIOGPUCompute VirtIOGPUCompute;

struct virtio_gpu_compute_conf {
    CharBackend chr;            /* to the spawner of vgpu-compute-server */
    uint32_t max_contexts;
    uint32_t job_timeout_ms;
    uint32_t kill_timeout_ms;
    char *kfd_proc_dir;         /* NULL for the default */

    /* no properties, but what else there is on the device */
    bool shared;                /* another renderer */
    bool shared_blobs;          /* which takes blobs of guest memory */
};

/* Defaults of the properties. */
#define VIRTIO_GPU_COMPUTE_MAX_CONTEXTS     64
/* As long as amdgpu grants a compute job of a virtual function. */
#define VIRTIO_GPU_COMPUTE_JOB_TIMEOUT_MS   (60 * 1000)
/*
 * Killing a process and freeing its memory takes milliseconds. One that waits
 * in a GPU driver dies when the driver gives up: 10 s is what amdgpu grants a
 * compute job.
 */
#define VIRTIO_GPU_COMPUTE_KILL_TIMEOUT_MS  (10 * 1000)

/* Where AMD's driver has a directory for each process, called after its PID. */
#define VIRTIO_GPU_COMPUTE_KFD_PROC_DIR     "/sys/devices/virtual/kfd/kfd/proc"

/**
 * virtio_gpu_compute_new() - prepare for compute contexts
 * @g: the device that has them
 * @conf: its properties, when it is realized
 *
 * Returns: what the other functions take. Properties of @g are read from it, so
 *          virtio_gpu_compute_free() is for the instance_finalize of @g.
 */
VirtIOGPUCompute *virtio_gpu_compute_new(struct VirtIOGPU *g,
                                         struct virtio_gpu_compute_conf *conf);
void virtio_gpu_compute_free(VirtIOGPUCompute *s);

/**
 * virtio_gpu_compute_realize() - connect to the server, offer what it has
 * @s: the compute part of a device
 * @errp: set if guest RAM or the server are not what is needed
 *
 * To be called before virtio_gpu_device_realize(): sets configuration flags.
 *
 * Returns: false on error
 */
bool virtio_gpu_compute_realize(VirtIOGPUCompute *s, Error **errp);
void virtio_gpu_compute_unrealize(VirtIOGPUCompute *s);

/**
 * virtio_gpu_compute_reset() - drop all commands, contexts and resources
 * @s: the compute part of a device
 *
 * To be called after virtio_gpu_reset(). Waits until no worker lives.
 */
void virtio_gpu_compute_reset(VirtIOGPUCompute *s);

/**
 * virtio_gpu_compute_process_cmd() - process a command
 * @s: the compute part of a device
 * @cmd: the command, with cmd_hdr filled in
 *
 * Commands are answered in any order but that of virtio_gpu_order_cmd().
 *
 * Returns: false if it is for the device to process, as there is nothing in it
 *          about contexts, capsets, blobs or resources of @s
 */
bool virtio_gpu_compute_process_cmd(VirtIOGPUCompute *s,
                                    struct virtio_gpu_ctrl_command *cmd);

#endif
