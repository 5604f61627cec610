/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute device: a virtio-gpu without GL that only computes
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-gpu.h"
#include "hw/virtio/virtio-gpu-bswap.h"

static void compute_device_process_cmd(VirtIOGPU *g,
                                       struct virtio_gpu_ctrl_command *cmd)
{
    VirtIOGPUComputeDevice *d = VIRTIO_GPU_COMPUTE_DEVICE(g);

    VIRTIO_GPU_FILL_CMD(cmd->cmd_hdr);
    virtio_gpu_ctrl_hdr_bswap(&cmd->cmd_hdr);
    virtio_gpu_order_cmd(g, cmd);
    if (virtio_gpu_compute_process_cmd(d->compute, cmd)) {
        return;
    }

    switch (cmd->cmd_hdr.type) {
    case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
    case VIRTIO_GPU_CMD_GET_EDID:
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
    case VIRTIO_GPU_CMD_RESOURCE_UNREF:
    case VIRTIO_GPU_CMD_SET_SCANOUT:
    case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
    case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
    case VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING:
    case VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
        virtio_gpu_simple_dispatch_cmd(g, cmd);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR,
                      "virtio-gpu-compute: command 0x%x is unknown\n",
                      cmd->cmd_hdr.type);
        virtio_gpu_ctrl_response_nodata(g, cmd, VIRTIO_GPU_RESP_ERR_UNSPEC);
        break;
    }
}

static void compute_device_reset(VirtIODevice *vdev)
{
    /* may release the big lock, so commands may come in until it returns */
    virtio_gpu_reset(vdev);
    virtio_gpu_compute_reset(VIRTIO_GPU_COMPUTE_DEVICE(vdev)->compute);
}

static void compute_device_realize(DeviceState *qdev, Error **errp)
{
    ERRP_GUARD();
    VirtIOGPUComputeDevice *d = VIRTIO_GPU_COMPUTE_DEVICE(qdev);

    if (!virtio_gpu_compute_realize(d->compute, errp)) {
        return;
    }
    virtio_gpu_device_realize(qdev, errp);
    if (*errp) {
        virtio_gpu_compute_unrealize(d->compute);
    }
}

static void compute_device_unrealize(DeviceState *qdev)
{
    virtio_gpu_compute_unrealize(VIRTIO_GPU_COMPUTE_DEVICE(qdev)->compute);
    virtio_gpu_device_unrealize(qdev);
}

static void compute_device_instance_init(Object *obj)
{
    VirtIOGPUComputeDevice *d = VIRTIO_GPU_COMPUTE_DEVICE(obj);

    d->compute = virtio_gpu_compute_new(VIRTIO_GPU(d), &d->compute_conf);
}

static void compute_device_instance_finalize(Object *obj)
{
    virtio_gpu_compute_free(VIRTIO_GPU_COMPUTE_DEVICE(obj)->compute);
}

static const Property compute_device_properties[] = {
    DEFINE_PROP_CHR("chardev", VirtIOGPUComputeDevice, compute_conf.chr),
    DEFINE_PROP_UINT32("max-contexts", VirtIOGPUComputeDevice,
                       compute_conf.max_contexts,
                       VIRTIO_GPU_COMPUTE_MAX_CONTEXTS),
    DEFINE_PROP_UINT32("job-timeout-ms", VirtIOGPUComputeDevice,
                       compute_conf.job_timeout_ms,
                       VIRTIO_GPU_COMPUTE_JOB_TIMEOUT_MS),
    DEFINE_PROP_UINT32("x-kill-timeout-ms", VirtIOGPUComputeDevice,
                       compute_conf.kill_timeout_ms,
                       VIRTIO_GPU_COMPUTE_KILL_TIMEOUT_MS),
    DEFINE_PROP_STRING("x-kfd-proc-dir", VirtIOGPUComputeDevice,
                       compute_conf.kfd_proc_dir),
};

static void compute_device_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);
    VirtIOGPUClass *vgc = VIRTIO_GPU_CLASS(klass);

    vgc->process_cmd = compute_device_process_cmd;
    vdc->realize = compute_device_realize;
    vdc->unrealize = compute_device_unrealize;
    vdc->reset = compute_device_reset;
    device_class_set_props(dc, compute_device_properties);
}

static const TypeInfo compute_device_types[] = {
    {
        .name = TYPE_VIRTIO_GPU_COMPUTE_DEVICE,
        .parent = TYPE_VIRTIO_GPU,
        .instance_size = sizeof(VirtIOGPUComputeDevice),
        .instance_init = compute_device_instance_init,
        .instance_finalize = compute_device_instance_finalize,
        .class_init = compute_device_class_init,
    },
};

DEFINE_TYPES(compute_device_types)

module_obj(TYPE_VIRTIO_GPU_COMPUTE_DEVICE);
module_kconfig(VIRTIO_GPU);
module_dep("hw-display-virtio-gpu");
