/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu device that computes on guest memory in processes of its own
 */
#ifndef HW_VIRTIO_GPU_COMPUTE_H
#define HW_VIRTIO_GPU_COMPUTE_H

#include "chardev/char-fe.h"
#include "hw/virtio/virtio-gpu.h"
#include "hw/virtio/virtio-gpu-compute-proto.h"

#define TYPE_VIRTIO_GPU_COMPUTE "virtio-gpu-compute-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOGPUCompute, VIRTIO_GPU_COMPUTE)

typedef struct ComputeContext ComputeContext;
typedef struct ComputeResource ComputeResource;

struct VirtIOGPUCompute {
    VirtIOGPU parent_obj;

    /* properties */
    CharBackend chr;            /* to the spawner of vgpu-compute-server */
    uint32_t max_contexts;
    uint32_t job_timeout_ms;
    uint32_t kill_timeout_ms;

    /* what the server said */
    struct vgpu_msg_capset capsets[VGPU_PROTO_MAX_CAPSETS];
    uint32_t nr_capsets;
    bool server_gone;

    void *hostmem_ptr;
    MemoryRegion hostmem_ram;

    GArray *ram_files;          /* of ComputeRamFile */
    uint64_t last_serial;       /* of messages to the server */

    QTAILQ_HEAD(, ComputeContext) contexts;
    uint32_t nr_contexts;

    QTAILQ_HEAD(, ComputeResource) resources;
    GHashTable *resource_ids;   /* those that the guest has not unref'd */
    uint32_t nr_resources;
    uint64_t nr_runs;           /* of all resources */
    uint32_t nr_mapped;         /* blobs in hostmem */

    VMChangeStateEntry *vm_state;
    bool flush_answers;
    bool in_use;                /* migration and RAM discard are blocked */
    bool in_use_error_reported;
    Error *in_use_blocker;
};

#endif
