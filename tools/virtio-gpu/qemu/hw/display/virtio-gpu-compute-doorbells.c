/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute: doorbells
 *
 * A blob may be registers of a GPU that only the worker can map: the kernel
 * gives them to nobody else. Where the guest maps such a blob, hostmem traps.
 * Stores go to the worker, which repeats them; loads are 0.
 *
 * This changes the memory topology, as other blobs do not: see
 * compute_hostmem_fill(). But there is one for each queue, not for each buffer.
 */

#include "qemu/osdep.h"
#include "virtio-gpu-compute-int.h"
#include "trace.h"

#define TYPE_VIRTIO_GPU_COMPUTE_DOORBELLS "virtio-gpu-compute-doorbells"
OBJECT_DECLARE_SIMPLE_TYPE(ComputeDoorbells, VIRTIO_GPU_COMPUTE_DOORBELLS)

/* It lives as long as anybody has a reference of the region. */
struct ComputeDoorbells {
    Object parent_obj;

    MemoryRegion region;
    ComputeResource *res;       /* NULL if it is not mapped any more */
};

static uint64_t compute_doorbells_read(void *opaque, hwaddr offset,
                                       unsigned size)
{
    return 0;
}

/*
 * Called by a vCPU, and when the guest has the device write answers there. The
 * caller has the big lock; a doorbell is queued or sent, and nothing is waited
 * for. A worker that is gone or has let go of the resource does not hear it.
 */
static void compute_doorbells_write(void *opaque, hwaddr offset,
                                    uint64_t value, unsigned size)
{
    ComputeDoorbells *d = opaque;
    ComputeMapping *m = d->res ? QTAILQ_FIRST(&d->res->mappings) : NULL;

    if (m && !m->unmapping) {
        trace_virtio_gpu_compute_doorbell(d->res->id, offset, value);
        compute_ctx_doorbell(m->ctx, d->res->id, offset, value, size);
    }
}

/* Other sizes are logged as errors of the guest, and have no effect. */
static const MemoryRegionOps compute_doorbells_ops = {
    .read = compute_doorbells_read,
    .write = compute_doorbells_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 4,
    .valid.max_access_size = 8,
    .impl.min_access_size = 4,
    .impl.max_access_size = 8,
};

void compute_doorbells_map(VirtIOGPUCompute *s, ComputeResource *res,
                           uint64_t offset)
{
    ComputeDoorbells *d;

    d = VIRTIO_GPU_COMPUTE_DOORBELLS(
        object_new(TYPE_VIRTIO_GPU_COMPUTE_DOORBELLS));
    object_property_add_child(OBJECT(s->g), "doorbells[*]", OBJECT(d));
    object_unref(OBJECT(d));
    memory_region_init_io(&d->region, OBJECT(d), &compute_doorbells_ops, d,
                          "virtio-gpu-compute-doorbells", res->size);
    d->res = res;
    res->doorbells = d;
    /* above the RAM that hostmem is otherwise */
    memory_region_add_subregion(&VIRTIO_GPU_BASE(s->g)->hostmem, offset,
                                &d->region);
}

void compute_doorbells_unmap(VirtIOGPUCompute *s, ComputeResource *res)
{
    ComputeDoorbells *d = res->doorbells;

    res->doorbells = NULL;
    d->res = NULL;
    memory_region_del_subregion(&VIRTIO_GPU_BASE(s->g)->hostmem, &d->region);
    object_unparent(OBJECT(d));
}

static const TypeInfo compute_doorbells_types[] = {
    {
        .name = TYPE_VIRTIO_GPU_COMPUTE_DOORBELLS,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(ComputeDoorbells),
    },
};

DEFINE_TYPES(compute_doorbells_types)
