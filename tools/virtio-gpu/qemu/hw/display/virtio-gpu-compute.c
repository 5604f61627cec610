/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute
 *
 * Contexts live in worker processes of vgpu-compute-server, one each. This
 * checks what the guest wants, hands it on and answers when the worker has. See
 * docs/system/devices/virtio-gpu-compute.rst.
 *
 * The rule that everything here serves: the guest may reuse memory as soon as
 * RESOURCE_UNREF, CTX_DETACH_RESOURCE or a reset has been answered, so that is
 * not before no worker can access it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/memfd.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-gpu-bswap.h"
#include "migration/blocker.h"
#include "system/runstate.h"
#include "virtio-gpu-compute-int.h"
#include "trace.h"

/* Bounds on what a guest can make QEMU keep. */
#define COMPUTE_MAX_RESOURCES   65536
#define COMPUTE_MAX_RUNS        (1024 * 1024)   /* 32 MiB of ComputeRun */
/* Each takes a mapping of QEMU's address space. */
#define COMPUTE_MAX_MAPPED      256

/* Answers */

static uint32_t G_GNUC_PRINTF(3, 4)
compute_refuse(const struct virtio_gpu_ctrl_command *cmd, uint32_t type,
               const char *fmt, ...)
{
    if (qemu_loglevel_mask(LOG_GUEST_ERROR)) {
        g_autofree char *why = NULL;
        va_list ap;

        va_start(ap, fmt);
        why = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        qemu_log("virtio-gpu-compute: command 0x%x refused: %s\n",
                 cmd->cmd_hdr.type, why);
    }
    return type;
}

static uint32_t compute_response_type(uint32_t status)
{
    switch (status) {
    case 0:
        return VIRTIO_GPU_RESP_OK_NODATA;
    case ENOMEM:
    case ENOSPC:
    case E2BIG:
        return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
    case EINVAL:
        return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
    default:
        return VIRTIO_GPU_RESP_ERR_UNSPEC;
    }
}

static uint64_t compute_defer(VirtIOGPU *g, struct virtio_gpu_ctrl_command *cmd)
{
    return cmd->serial ?: virtio_gpu_defer_cmd(g, cmd);
}

void compute_answer(VirtIOGPUCompute *s, uint64_t serial, uint32_t type)
{
    struct virtio_gpu_ctrl_command *cmd;

    cmd = serial && s->g ? virtio_gpu_find_deferred(s->g, serial) : NULL;
    if (cmd) {
        virtio_gpu_ctrl_response_nodata(s->g, cmd, type);
        virtio_gpu_free_deferred(s->g, cmd);
    }
}

static void compute_free(VirtIOGPUCompute *s)
{
    g_clear_pointer(&s->vm_state, qemu_del_vm_change_state_handler);
    compute_ram_files_free(s->ram_files);
    g_hash_table_unref(s->resource_ids);
    g_clear_pointer(&s->greeting, g_byte_array_unref);
    if (s->kfd_proc >= 0) {
        close(s->kfd_proc);
    }
    g_free(s);
}

/* As long as workers may access guest RAM it must stay where it is. */

static bool compute_acquire(VirtIOGPUCompute *s)
{
    Error *err = NULL;

    if (s->in_use) {
        return true;
    }

    error_setg(&s->in_use_blocker,
               "virtio-gpu-compute: the guest is using contexts on this host");
    if (migrate_add_blocker(&s->in_use_blocker, &err) < 0) {
        goto fail;
    }
    if (ram_block_discard_disable(true)) {
        error_setg(&err, "a device that discards guest RAM is in use, "
                   "such as virtio-mem");
        migrate_del_blocker(&s->in_use_blocker);
        goto fail;
    }
    s->in_use = true;
    return true;

fail:
    if (!s->in_use_error_reported) {
        error_prepend(&err, "virtio-gpu-compute: contexts are refused: ");
        warn_report_err(err);
        s->in_use_error_reported = true;
    } else {
        error_free(err);
    }
    return false;
}

void compute_release(VirtIOGPUCompute *s)
{
    if (s->in_use && !s->nr_contexts && !s->nr_resources) {
        ram_block_discard_disable(false);
        migrate_del_blocker(&s->in_use_blocker);
        s->in_use = false;
        s->in_use_error_reported = false;
        if (!s->g) {
            compute_free(s);
        }
    }
}

/* Blobs in hostmem */

#define TYPE_VIRTIO_GPU_COMPUTE_HOSTMEM "virtio-gpu-compute-hostmem"
OBJECT_DECLARE_SIMPLE_TYPE(ComputeHostmem, VIRTIO_GPU_COMPUTE_HOSTMEM)

/*
 * Lives as long as anybody has a reference of the region, which may be longer
 * than the device, and even its part of the memory of a virtio-pci proxy.
 */
struct ComputeHostmem {
    Object parent_obj;

    MemoryRegion ram;
    void *ptr;
    uint64_t size;
};

static void compute_hostmem_finalize(Object *obj)
{
    ComputeHostmem *h = VIRTIO_GPU_COMPUTE_HOSTMEM(obj);

    munmap(h->ptr, h->size);
}

static const TypeInfo compute_hostmem_types[] = {
    {
        .name = TYPE_VIRTIO_GPU_COMPUTE_HOSTMEM,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(ComputeHostmem),
        .instance_finalize = compute_hostmem_finalize,
    },
};

DEFINE_TYPES(compute_hostmem_types)

/*
 * All of hostmem is one RAM region for as long as the device lives, and blobs
 * are mapped over their part of it: mapping one changes no memory topology.
 * That would take a memory slot of the accelerator for each, and under TCG a
 * vCPU could for a moment take one region for another (its TLB has indices of
 * sections) and lose a notification. What is no blob is private memory.
 */
static bool compute_hostmem_fill(ComputeHostmem *h, uint64_t offset,
                                 uint64_t size)
{
    return mmap((uint8_t *)h->ptr + offset, size,
                PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                -1, 0) != MAP_FAILED;
}

static bool compute_hostmem_init(VirtIOGPUCompute *s, Error **errp)
{
    VirtIOGPUBase *b = VIRTIO_GPU_BASE(s->g);
    uint64_t size = b->conf.hostmem;
    ComputeHostmem *h;
    void *ptr;

    ptr = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
               MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot reserve %" PRIu64 " bytes of "
                         "address space: use a smaller hostmem=", size);
        return false;
    }
    h = VIRTIO_GPU_COMPUTE_HOSTMEM(object_new(TYPE_VIRTIO_GPU_COMPUTE_HOSTMEM));
    h->ptr = ptr;
    h->size = size;
    if (!compute_hostmem_fill(h, 0, size)) {
        error_setg_errno(errp, errno, "cannot map hostmem=%" PRIu64, size);
        object_unref(OBJECT(h));
        return false;
    }
    object_property_add_child(OBJECT(s->g), "compute-hostmem", OBJECT(h));
    object_unref(OBJECT(h));
    memory_region_init_ram_ptr(&h->ram, OBJECT(h), "virtio-gpu-compute-hostmem",
                               size, ptr);
    /* below the blobs that another renderer maps there */
    memory_region_add_subregion_overlap(&b->hostmem, 0, &h->ram, -1);
    s->hostmem = h;
    return true;
}

static void compute_hostmem_exit(VirtIOGPUCompute *s)
{
    memory_region_del_subregion(&VIRTIO_GPU_BASE(s->g)->hostmem,
                                &s->hostmem->ram);
    object_unparent(OBJECT(s->hostmem));
    s->hostmem = NULL;
}

static bool compute_blob_map(VirtIOGPUCompute *s, ComputeResource *res,
                             uint64_t offset)
{
    if (res->trapped) {
        compute_doorbells_map(s, res, offset);
    } else if (mmap((uint8_t *)s->hostmem->ptr + offset, res->size,
                    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, res->fd,
                    0) == MAP_FAILED) {
        return false;
    }
    res->mapped = true;
    res->map_offset = offset;
    s->nr_mapped++;
    return true;
}

static void compute_blob_unmap(VirtIOGPUCompute *s, ComputeResource *res)
{
    if (res->trapped) {
        compute_doorbells_unmap(s, res);
    } else if (!compute_hostmem_fill(s->hostmem, res->map_offset,
                                     res->size)) {
        /* the guest keeps a blob that nobody else uses: no harm but memory */
        warn_report_once("virtio-gpu-compute: cannot unmap a blob: %s",
                         strerror(errno));
    }
    res->mapped = false;
    s->nr_mapped--;
}

/* Resources */

static ComputeMapping *compute_mapping_find(ComputeResource *res,
                                            ComputeContext *ctx)
{
    ComputeMapping *m;

    QTAILQ_FOREACH(m, &res->mappings, next_of_res) {
        if (m->ctx == ctx && !m->unmapping) {
            return m;
        }
    }
    return NULL;
}

static void compute_resource_map(ComputeResource *res, ComputeContext *ctx,
                                 uint64_t cmd)
{
    ComputeMapping *m = g_new0(ComputeMapping, 1);
    ComputeRequest *req = g_new0(ComputeRequest, 1);

    m->ctx = ctx;
    m->res = res;
    QTAILQ_INSERT_TAIL(&ctx->mappings, m, next_of_ctx);
    QTAILQ_INSERT_TAIL(&res->mappings, m, next_of_res);

    req->type = VGPU_MSG_RES_MAP;
    req->cmd = cmd;
    req->mapping = m;
    req->total = res->runs->len;
    compute_ctx_request(ctx, req);
}

static void compute_resource_unmap(ComputeMapping *m, uint64_t cmd)
{
    ComputeRequest *req = g_new0(ComputeRequest, 1);

    m->unmapping = true;
    req->type = VGPU_MSG_RES_UNMAP;
    req->cmd = cmd;
    req->mapping = m;
    compute_ctx_request(m->ctx, req);
}

static void compute_resource_drop_runs(VirtIOGPUCompute *s,
                                       ComputeResource *res)
{
    if (res->runs) {
        s->nr_runs -= res->runs->len;
        compute_runs_free(res->runs);
        res->runs = NULL;
    }
}

static void compute_resource_free(VirtIOGPUCompute *s, ComputeResource *res)
{
    trace_virtio_gpu_compute_res_free(res->id);
    if (!res->unrefd) {
        g_hash_table_remove(s->resource_ids, GUINT_TO_POINTER(res->id));
    }
    QTAILQ_REMOVE(&s->resources, res, next);
    s->nr_resources--;
    compute_resource_drop_runs(s, res);
    if (res->fd >= 0) {
        if (s->g) {
            s->g->hostmem -= res->size;
        }
        close(res->fd);
    } else {
        s->nr_bytes -= res->size;
    }
    g_array_unref(res->waiting);
    g_free(res);
    compute_release(s);
}

/* An unref'd resource lives until nobody has access to its memory. */
static void compute_resource_check_gone(VirtIOGPUCompute *s,
                                        ComputeResource *res)
{
    if (res->unrefd && QTAILQ_EMPTY(&res->mappings)) {
        if (res->shared && s->g) {
            /* to be processed again, not by us this time */
            virtio_gpu_resume_deferred(s->g, res->unref_cmd);
        } else {
            compute_answer(s, res->unref_cmd, VIRTIO_GPU_RESP_OK_NODATA);
        }
        compute_resource_free(s, res);
    }
}

static void compute_resource_unref(VirtIOGPUCompute *s, ComputeResource *res,
                                   uint64_t cmd)
{
    ComputeMapping *m;

    g_hash_table_remove(s->resource_ids, GUINT_TO_POINTER(res->id));
    res->unrefd = true;
    res->unref_cmd = cmd;
    if (res->mapped) {
        compute_blob_unmap(s, res);
    }
    QTAILQ_FOREACH(m, &res->mappings, next_of_res) {
        if (!m->unmapping) {
            compute_resource_unmap(m, 0);
        }
    }
    compute_resource_check_gone(s, res);
}

static ComputeResource *compute_resource_find(VirtIOGPUCompute *s, uint32_t id)
{
    ComputeResource *res;

    res = g_hash_table_lookup(s->resource_ids, GUINT_TO_POINTER(id));
    if (res && res->shared && !virtio_gpu_find_resource(s->g, id)) {
        /* the other renderer has refused it */
        compute_resource_unref(s, res, 0);
        return NULL;
    }
    return res;
}

/*
 * Commands on a resource have to keep their order: those that cannot be
 * processed before an earlier one has been answered wait at the resource.
 */
static uint32_t compute_resource_wait(VirtIOGPUCompute *s, ComputeResource *res,
                                      struct virtio_gpu_ctrl_command *cmd)
{
    uint64_t serial = compute_defer(s->g, cmd);

    g_array_append_val(res->waiting, serial);
    return 0;
}

/* @res may be freed */
static void compute_resource_redo_waiting(VirtIOGPUCompute *s,
                                          ComputeResource *res)
{
    VirtIOGPU *g = s->g;
    g_autoptr(GArray) waiting = res->waiting;
    struct virtio_gpu_ctrl_command *cmd;
    uint64_t serial;
    guint i;

    res->waiting = g_array_new(false, false, sizeof(uint64_t));
    for (i = 0; i < waiting->len; i++) {
        serial = g_array_index(waiting, uint64_t, i);
        cmd = g ? virtio_gpu_find_deferred(g, serial) : NULL;
        if (!cmd) {
            continue;
        }
        if (!virtio_gpu_compute_process_cmd(s, cmd)) {
            /* it was about @res, which is no resource any more */
            virtio_gpu_ctrl_response_nodata(g, cmd,
                compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                               "the resource could not be made"));
        }
        /* compute_answer() frees it, others leave that to the caller */
        cmd = virtio_gpu_find_deferred(g, serial);
        if (cmd && cmd->finished) {
            virtio_gpu_free_deferred(g, cmd);
        }
    }
}

static void compute_resource_created(VirtIOGPUCompute *s, ComputeResource *res,
                                     bool success)
{
    res->creating = false;
    /* belongs to its context, which has it now and is not given it again */
    compute_resource_drop_runs(s, res);
    if (!success) {
        /* those that wait will not find it */
        g_hash_table_remove(s->resource_ids, GUINT_TO_POINTER(res->id));
        res->unrefd = true;
        compute_resource_redo_waiting(s, res);
        compute_resource_check_gone(s, res);
        return;
    }
    compute_resource_redo_waiting(s, res);
}

void compute_mapping_free(VirtIOGPUCompute *s, ComputeMapping *m)
{
    ComputeResource *res = m->res;

    QTAILQ_REMOVE(&m->ctx->mappings, m, next_of_ctx);
    QTAILQ_REMOVE(&res->mappings, m, next_of_res);
    g_free(m);
    if (res->creating) {
        compute_resource_created(s, res, false);
    } else {
        compute_resource_check_gone(s, res);
    }
}

void compute_request_done(ComputeContext *ctx, ComputeRequest *req,
                          uint32_t status)
{
    ComputeMapping *m = req->mapping;

    compute_answer(ctx->s, req->cmd, compute_response_type(status));
    switch (req->type) {
    case VGPU_MSG_RES_MAP:
        if (!status) {
            if (m->res->creating) {
                compute_resource_created(ctx->s, m->res, true);
            }
            break;
        }
        /*
         * The guest has seen an error if it created the resource. It does not
         * look for one if it attached it: don't let it go on without.
         */
        if (!m->res->creating) {
            compute_ctx_kill(ctx);
            break;
        }
        /* fall through */
    case VGPU_MSG_RES_UNMAP:
        compute_mapping_free(ctx->s, m);
        break;
    default:
        break;
    }
}

void compute_request_lost(ComputeContext *ctx, ComputeRequest *req)
{
    /* what is to be unmapped is unmapped by the worker's death */
    compute_answer(ctx->s, req->cmd,
                   req->type == VGPU_MSG_RES_UNMAP ?
                   VIRTIO_GPU_RESP_OK_NODATA : VIRTIO_GPU_RESP_ERR_UNSPEC);
}

/*
 * Commands. Each function returns the type of the response, or 0 if it has sent
 * one or there will be one later, or COMPUTE_PASS_ON.
 */

/* The device's other renderer processes and answers the command. */
#define COMPUTE_PASS_ON UINT32_MAX

/* Guest memory is read once: the header is in cmd->cmd_hdr already. */
#define COMPUTE_FILL_CMD(cmd, out)                                          \
    (iov_to_buf((cmd)->elem.out_sg, (cmd)->elem.out_num, 0,                 \
                &(out), sizeof(out)) == sizeof(out))

#define COMPUTE_REFUSE_SHORT(cmd)                                           \
    compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "too short")

/* Contexts are few: the list is as good as anything. */
static ComputeContext *compute_ctx_find(VirtIOGPUCompute *s, uint32_t id)
{
    ComputeContext *ctx;

    QTAILQ_FOREACH(ctx, &s->contexts, next) {
        if (ctx->id == id && !ctx->destroyed) {
            return ctx;
        }
    }
    return NULL;
}

static uint32_t compute_refuse_ctx(const struct virtio_gpu_ctrl_command *cmd,
                                   const ComputeContext *ctx)
{
    if (!ctx) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID,
                              "no context %" PRIu32, cmd->cmd_hdr.ctx_id);
    }
    return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_UNSPEC,
                          "context %" PRIu32 " is lost", ctx->id);
}

static bool compute_ctx_usable(const ComputeContext *ctx)
{
    return ctx && ctx->state != COMPUTE_CTX_LOST && !ctx->killed;
}

static uint32_t compute_refuse_res(const struct virtio_gpu_ctrl_command *cmd,
                                   uint32_t id)
{
    return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                          "no resource %" PRIu32 " for that", id);
}

static const struct vgpu_msg_capset *
compute_capset_find(const VirtIOGPUCompute *s, uint32_t id)
{
    uint32_t i;

    for (i = 0; i < s->nr_capsets; i++) {
        if (s->capsets[i].id == id) {
            return &s->capsets[i];
        }
    }
    return NULL;
}

static uint32_t compute_cmd_get_capset_info(VirtIOGPUCompute *s,
                                            struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_get_capset_info info;
    struct virtio_gpu_resp_capset_info resp = {};
    const struct vgpu_msg_capset *capset;

    if (!COMPUTE_FILL_CMD(cmd, info)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    info.capset_index = le32_to_cpu(info.capset_index) - s->first_capset;
    if (info.capset_index >= s->nr_capsets) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "no such capset");
    }

    capset = &s->capsets[info.capset_index];
    resp.hdr.type = VIRTIO_GPU_RESP_OK_CAPSET_INFO;
    resp.capset_id = cpu_to_le32(capset->id);
    resp.capset_max_version = cpu_to_le32(capset->max_version);
    resp.capset_max_size = cpu_to_le32(capset->size);
    virtio_gpu_ctrl_response(s->g, cmd, &resp.hdr, sizeof(resp));
    return 0;
}

static uint32_t compute_cmd_get_capset(VirtIOGPUCompute *s,
                                       struct virtio_gpu_ctrl_command *cmd)
{
    g_autofree struct virtio_gpu_resp_capset *resp = NULL;
    const struct vgpu_msg_capset *capset;
    struct virtio_gpu_get_capset get;

    if (!COMPUTE_FILL_CMD(cmd, get)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    capset = compute_capset_find(s, le32_to_cpu(get.capset_id));
    if (!capset || le32_to_cpu(get.capset_version) > capset->max_version) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "no capset %" PRIu32 " version %" PRIu32,
                              le32_to_cpu(get.capset_id),
                              le32_to_cpu(get.capset_version));
    }

    resp = g_malloc0(sizeof(*resp) + capset->size);
    resp->hdr.type = VIRTIO_GPU_RESP_OK_CAPSET;
    memcpy(resp->capset_data, capset->data, capset->size);
    virtio_gpu_ctrl_response(s->g, cmd, &resp->hdr,
                             sizeof(*resp) + capset->size);
    return 0;
}

static uint32_t compute_cmd_ctx_create(VirtIOGPUCompute *s,
                                       struct virtio_gpu_ctrl_command *cmd)
{
    uint32_t id = cmd->cmd_hdr.ctx_id;
    struct virtio_gpu_ctx_create create;
    g_autofree char *name = NULL;
    ComputeContext *ctx;
    Error *err = NULL;
    uint32_t capset_id;

    if (!COMPUTE_FILL_CMD(cmd, create)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    if (!id || compute_ctx_find(s, id)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID,
                              "context %" PRIu32 " cannot be made", id);
    }
    capset_id = le32_to_cpu(create.context_init);
    if (!compute_capset_find(s, capset_id)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "no capset %" PRIu32 " for contexts", capset_id);
    }
    if (s->nr_contexts >= s->conf->max_contexts) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
                              "more than %" PRIu32 " contexts",
                              s->conf->max_contexts);
    }
    if (!compute_acquire(s)) {
        return VIRTIO_GPU_RESP_ERR_UNSPEC;
    }

    name = g_strndup(create.debug_name,
                     MIN(le32_to_cpu(create.nlen), sizeof(create.debug_name)));
    trace_virtio_gpu_cmd_ctx_create(id, name);
    ctx = compute_ctx_new(s, id, capset_id, name, &err);
    if (!ctx) {
        warn_report_once("virtio-gpu-compute: %s", error_get_pretty(err));
        error_free(err);
        compute_release(s);
        return VIRTIO_GPU_RESP_ERR_UNSPEC;
    }
    ctx->create_cmd = compute_defer(s->g, cmd);
    return 0;
}

static uint32_t compute_cmd_ctx_destroy(VirtIOGPUCompute *s,
                                        struct virtio_gpu_ctrl_command *cmd)
{
    ComputeContext *ctx = compute_ctx_find(s, cmd->cmd_hdr.ctx_id);

    if (!ctx) {
        return compute_refuse_ctx(cmd, ctx);
    }
    trace_virtio_gpu_cmd_ctx_destroy(ctx->id);
    ctx->destroyed = true;
    ctx->destroy_cmd = compute_defer(s->g, cmd);
    compute_ctx_kill(ctx);
    if (ctx->state != COMPUTE_CTX_RUNNING) {
        compute_ctx_gone(ctx);
    }
    return 0;
}

static uint32_t compute_cmd_attach(VirtIOGPUCompute *s,
                                   struct virtio_gpu_ctrl_command *cmd)
{
    ComputeContext *ctx = compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
    struct virtio_gpu_ctx_resource attach;
    ComputeResource *res;
    uint32_t id;

    if (!COMPUTE_FILL_CMD(cmd, attach)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    id = le32_to_cpu(attach.resource_id);
    trace_virtio_gpu_cmd_ctx_res_attach(cmd->cmd_hdr.ctx_id, id);
    if (!compute_ctx_usable(ctx)) {
        return compute_refuse_ctx(cmd, ctx);
    }
    res = compute_resource_find(s, id);
    if (!res) {
        /* Linux attaches 2D resources, too; workers have no use for them */
        return virtio_gpu_find_resource(s->g, id) ?
               VIRTIO_GPU_RESP_OK_NODATA : compute_refuse_res(cmd, id);
    }
    if (res->creating) {
        return compute_resource_wait(s, res, cmd);
    }
    if (compute_mapping_find(res, ctx)) {
        return VIRTIO_GPU_RESP_OK_NODATA;
    }
    if (res->blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "resource %" PRIu32 " is of another context", id);
    }
    compute_resource_map(res, ctx, compute_defer(s->g, cmd));
    return 0;
}

static uint32_t compute_cmd_detach(VirtIOGPUCompute *s,
                                   struct virtio_gpu_ctrl_command *cmd)
{
    ComputeContext *ctx = compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
    struct virtio_gpu_ctx_resource detach;
    ComputeResource *res;
    ComputeMapping *m;
    uint32_t id;

    if (!COMPUTE_FILL_CMD(cmd, detach)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    id = le32_to_cpu(detach.resource_id);
    trace_virtio_gpu_cmd_ctx_res_detach(cmd->cmd_hdr.ctx_id, id);
    if (!ctx) {
        return compute_refuse_ctx(cmd, ctx);
    }
    res = compute_resource_find(s, id);
    if (!res) {
        return virtio_gpu_find_resource(s->g, id) ?
               VIRTIO_GPU_RESP_OK_NODATA : compute_refuse_res(cmd, id);
    }
    if (res->creating) {
        return compute_resource_wait(s, res, cmd);
    }
    m = compute_mapping_find(res, ctx);
    if (!m) {
        return VIRTIO_GPU_RESP_OK_NODATA;
    }
    compute_resource_unmap(m, compute_defer(s->g, cmd));
    return 0;
}

/* Returns: false if @blob is not a combination that there is */
static bool compute_blob_valid(VirtIOGPUCompute *s,
                               const struct virtio_gpu_resource_create_blob *b)
{
    uint32_t userptr = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR |
                       VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY;
    uint32_t flags = b->blob_flags;

    if (flags & userptr) {
        return virtio_vdev_has_feature(VIRTIO_DEVICE(s->g),
                                       VIRTIO_GPU_F_RESOURCE_USERPTR) &&
               flags & VIRTIO_GPU_BLOB_FLAG_USE_USERPTR &&
               !(flags & ~userptr) &&
               ((b->blob_mem == VIRTIO_GPU_BLOB_MEM_GUEST && !b->blob_id) ||
                b->blob_mem == VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST);
    }

    if (flags & ~(VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE |
                  VIRTIO_GPU_BLOB_FLAG_USE_SHAREABLE)) {
        return false;
    }
    switch (b->blob_mem) {
    case VIRTIO_GPU_BLOB_MEM_GUEST:
    case VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST:
        return true;
    case VIRTIO_GPU_BLOB_MEM_HOST3D:
        return !b->nr_entries;
    default:
        return false;
    }
}

static GArray *
compute_blob_runs(VirtIOGPUCompute *s, struct virtio_gpu_ctrl_command *cmd,
                  const struct virtio_gpu_resource_create_blob *b,
                  bool readonly, uint32_t *type)
{
    g_autofree struct virtio_gpu_mem_entry *entries = NULL;
    size_t size = b->nr_entries * sizeof(*entries);
    const char *why;
    GArray *runs;

    *type = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
    if (s->nr_runs + b->nr_entries > COMPUTE_MAX_RUNS) {
        compute_refuse(cmd, *type, "too many entries of all resources");
        return NULL;
    }
    *type = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
    if (b->nr_entries > COMPUTE_MAX_ENTRIES) {
        compute_refuse(cmd, *type, "%" PRIu32 " entries, more than %d",
                       b->nr_entries, COMPUTE_MAX_ENTRIES);
        return NULL;
    }
    entries = g_malloc(size);
    if (iov_to_buf(cmd->elem.out_sg, cmd->elem.out_num, sizeof(*b),
                   entries, size) != size) {
        compute_refuse(cmd, *type, "less than %" PRIu32 " entries",
                       b->nr_entries);
        return NULL;
    }
    runs = compute_map_entries(VIRTIO_DEVICE(s->g)->dma_as, s->ram_files,
                               entries, b->nr_entries, b->size, readonly, &why);
    if (!runs) {
        compute_refuse(cmd, *type, "%s", why);
    }
    return runs;
}

/*
 * QEMU makes the memory itself and seals it: a file that a worker could shrink
 * would be a SIGBUS for the virtual machine.
 */
static int compute_blob_memfd(VirtIOGPUCompute *s,
                              struct virtio_gpu_ctrl_command *cmd,
                              uint64_t size, uint32_t *type)
{
    VirtIOGPU *g = s->g;
    int fd = -1;

    *type = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
    if (size <= g->conf_max_hostmem &&
        g->hostmem <= g->conf_max_hostmem - size) {
        fd = qemu_memfd_create("virtio-gpu-blob", size, false, 0,
                               F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, NULL);
    }
    if (fd < 0) {
        compute_refuse(cmd, *type, "no memory for a blob of %" PRIu64 " bytes",
                       size);
    }
    return fd;
}

/* Is the blob, one without a context, for contexts of either renderer? */
static bool compute_blob_shared(VirtIOGPUCompute *s,
                                const struct virtio_gpu_resource_create_blob *b)
{
    return s->conf->shared_blobs &&
           b->blob_mem == VIRTIO_GPU_BLOB_MEM_GUEST &&
           !(b->blob_flags & (VIRTIO_GPU_BLOB_FLAG_USE_USERPTR |
                              VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY));
}

static uint32_t
compute_blob_create(VirtIOGPUCompute *s, struct virtio_gpu_ctrl_command *cmd,
                    const struct virtio_gpu_resource_create_blob *b)
{
    ComputeContext *ctx = NULL;
    ComputeResource *res;
    GArray *runs = NULL;
    bool readonly;
    uint32_t type;
    int fd = -1;

    if (!compute_blob_valid(s, b)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "blob_mem 0x%x with flags 0x%x", b->blob_mem,
                              b->blob_flags);
    }
    if (!b->size || b->size & (qemu_real_host_page_size() - 1)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "size 0x%" PRIx64, b->size);
    }
    if (b->blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST) {
        ctx = compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
        if (!compute_ctx_usable(ctx)) {
            return compute_refuse_ctx(cmd, ctx);
        }
    }
    if (s->nr_resources >= COMPUTE_MAX_RESOURCES) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
                              "more than %d resources", COMPUTE_MAX_RESOURCES);
    }

    readonly = b->blob_flags & VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY;
    if (b->blob_mem == VIRTIO_GPU_BLOB_MEM_HOST3D) {
        ComputeRun run = { .length = b->size };

        fd = compute_blob_memfd(s, cmd, b->size, &type);
        if (fd < 0) {
            return type;
        }
        run.fd = fd;
        runs = g_array_new(false, false, sizeof(ComputeRun));
        g_array_append_val(runs, run);
        s->g->hostmem += b->size;
    } else {
        runs = compute_blob_runs(s, cmd, b, readonly, &type);
        if (!runs) {
            return type;
        }
    }

    res = g_new0(ComputeResource, 1);
    res->id = b->resource_id;
    res->blob_mem = b->blob_mem;
    res->blob_id = b->blob_id;
    res->size = b->size;
    res->mappable = b->blob_flags & VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE;
    res->readonly = readonly;
    res->shared = compute_blob_shared(s, b);
    res->runs = runs;
    res->fd = fd;
    res->waiting = g_array_new(false, false, sizeof(uint64_t));
    QTAILQ_INIT(&res->mappings);
    QTAILQ_INSERT_TAIL(&s->resources, res, next);
    g_hash_table_insert(s->resource_ids, GUINT_TO_POINTER(res->id), res);
    s->nr_resources++;
    s->nr_runs += runs->len;
    s->nr_bytes += fd < 0 ? res->size : 0;
    trace_virtio_gpu_compute_res_create(res->id, res->size, runs->len,
                                        res->readonly);

    if (!compute_acquire(s)) {
        compute_resource_free(s, res);
        return VIRTIO_GPU_RESP_ERR_UNSPEC;
    }
    if (!ctx) {
        return VIRTIO_GPU_RESP_OK_NODATA;
    }
    res->creating = true;
    compute_resource_map(res, ctx, compute_defer(s->g, cmd));
    return 0;
}

static uint32_t compute_cmd_create_blob(VirtIOGPUCompute *s,
                                        struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_resource_create_blob blob;

    if (!COMPUTE_FILL_CMD(cmd, blob)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    virtio_gpu_create_blob_bswap(&blob);
    trace_virtio_gpu_cmd_res_create_blob(blob.resource_id, blob.size);
    if (!blob.resource_id || compute_resource_find(s, blob.resource_id) ||
        virtio_gpu_find_resource(s->g, blob.resource_id)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                              "resource %" PRIu32 " cannot be made",
                              blob.resource_id);
    }
    if (compute_blob_shared(s, &blob)) {
        /* what workers cannot map, as parts of pages, may do for the other */
        compute_blob_create(s, cmd, &blob);
        return COMPUTE_PASS_ON;
    }
    return compute_blob_create(s, cmd, &blob);
}

static uint32_t compute_cmd_map_blob(VirtIOGPUCompute *s,
                                     struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_base_conf *conf = &VIRTIO_GPU_BASE(s->g)->conf;
    struct virtio_gpu_resource_map_blob map;
    struct virtio_gpu_resp_map_info resp = {};
    ComputeResource *res, *other;

    if (!COMPUTE_FILL_CMD(cmd, map)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    virtio_gpu_map_blob_bswap(&map);
    trace_virtio_gpu_compute_map_blob(map.resource_id, map.offset);
    res = compute_resource_find(s, map.resource_id);
    if (!res || res->fd < 0) {
        return compute_refuse_res(cmd, map.resource_id);
    }
    if (res->creating) {
        return compute_resource_wait(s, res, cmd);
    }
    if (!res->mappable || res->mapped ||
        map.offset & (qemu_real_host_page_size() - 1) ||
        res->size > conf->hostmem || map.offset > conf->hostmem - res->size) {
        goto invalid;
    }
    QTAILQ_FOREACH(other, &s->resources, next) {
        if (other->mapped && map.offset < other->map_offset + other->size &&
            other->map_offset < map.offset + res->size) {
            goto invalid;
        }
    }
    if (s->nr_mapped >= COMPUTE_MAX_MAPPED ||
        !compute_blob_map(s, res, map.offset)) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
                              "cannot map another blob");
    }

    resp.hdr.type = VIRTIO_GPU_RESP_OK_MAP_INFO;
    resp.map_info = cpu_to_le32(res->trapped ? VIRTIO_GPU_MAP_CACHE_UNCACHED
                                             : VIRTIO_GPU_MAP_CACHE_CACHED);
    virtio_gpu_ctrl_response(s->g, cmd, &resp.hdr, sizeof(resp));
    return 0;

invalid:
    return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                          "resource %" PRIu32 " cannot be mapped at 0x%" PRIx64,
                          map.resource_id, map.offset);
}

static uint32_t compute_cmd_unmap_blob(VirtIOGPUCompute *s,
                                       struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_resource_unmap_blob unmap;
    ComputeResource *res;

    if (!COMPUTE_FILL_CMD(cmd, unmap)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    virtio_gpu_unmap_blob_bswap(&unmap);
    trace_virtio_gpu_compute_unmap_blob(unmap.resource_id);
    res = compute_resource_find(s, unmap.resource_id);
    if (!res || res->fd < 0) {
        return compute_refuse_res(cmd, unmap.resource_id);
    }
    if (res->creating) {
        return compute_resource_wait(s, res, cmd);
    }
    if (!res->mapped) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "resource %" PRIu32 " is not mapped", res->id);
    }
    compute_blob_unmap(s, res);
    return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t compute_cmd_submit(VirtIOGPUCompute *s,
                                   struct virtio_gpu_ctrl_command *cmd)
{
    ComputeContext *ctx = compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
    struct virtio_gpu_cmd_submit submit;
    ComputeRequest *req;
    uint32_t size;

    if (!COMPUTE_FILL_CMD(cmd, submit)) {
        return COMPUTE_REFUSE_SHORT(cmd);
    }
    size = le32_to_cpu(submit.size);
    trace_virtio_gpu_cmd_ctx_submit(cmd->cmd_hdr.ctx_id, size);
    if (!compute_ctx_usable(ctx)) {
        return compute_refuse_ctx(cmd, ctx);
    }
    if (size > VGPU_PROTO_MAX_SUBMIT ||
        iov_size(cmd->elem.out_sg, cmd->elem.out_num) - sizeof(submit) < size) {
        return compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                              "submission of %" PRIu32 " bytes", size);
    }

    req = g_new0(ComputeRequest, 1);
    req->type = VGPU_MSG_SUBMIT;
    req->cmd = compute_defer(s->g, cmd);
    if (cmd->cmd_hdr.flags & VIRTIO_GPU_FLAG_INFO_RING_IDX) {
        req->ring_idx = cmd->cmd_hdr.ring_idx;
    }
    req->total = size;
    compute_ctx_request(ctx, req);
    return 0;
}

static uint32_t compute_cmd_unref(VirtIOGPUCompute *s,
                                  struct virtio_gpu_ctrl_command *cmd,
                                  ComputeResource *res)
{
    trace_virtio_gpu_cmd_res_unref(res->id);
    if (res->creating) {
        return compute_resource_wait(s, res, cmd);
    }
    if (res->shared && QTAILQ_EMPTY(&res->mappings)) {
        compute_resource_unref(s, res, 0);
        return COMPUTE_PASS_ON;
    }
    compute_resource_unref(s, res, compute_defer(s->g, cmd));
    return 0;
}

/* For commands on resources, which begin all alike. */
static ComputeResource *
compute_cmd_resource(VirtIOGPUCompute *s,
                     const struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_resource_unref any;

    return COMPUTE_FILL_CMD(cmd, any) ?
           compute_resource_find(s, le32_to_cpu(any.resource_id)) : NULL;
}

/*
 * On a device that has another renderer: is the command about a context, a
 * capset or a resource of ours? One that is too short for that is not.
 */
static bool compute_concerns(VirtIOGPUCompute *s,
                             const struct virtio_gpu_ctrl_command *cmd)
{
    struct virtio_gpu_resource_create_blob blob;
    struct virtio_gpu_get_capset_info info;
    struct virtio_gpu_ctx_create create;
    struct virtio_gpu_get_capset get;
    ComputeResource *res;

    switch (cmd->cmd_hdr.type) {
    case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
        return COMPUTE_FILL_CMD(cmd, info) &&
               le32_to_cpu(info.capset_index) - s->first_capset < s->nr_capsets;
    case VIRTIO_GPU_CMD_GET_CAPSET:
        return COMPUTE_FILL_CMD(cmd, get) &&
               compute_capset_find(s, le32_to_cpu(get.capset_id));
    case VIRTIO_GPU_CMD_CTX_CREATE:
        return COMPUTE_FILL_CMD(cmd, create) &&
               (compute_capset_find(s, le32_to_cpu(create.context_init)) ||
                compute_ctx_find(s, cmd->cmd_hdr.ctx_id));
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
        if (!COMPUTE_FILL_CMD(cmd, blob)) {
            return false;
        }
        virtio_gpu_create_blob_bswap(&blob);
        return blob.blob_mem == VIRTIO_GPU_BLOB_MEM_GUEST ||
               blob.blob_flags & VIRTIO_GPU_BLOB_FLAG_USE_USERPTR ||
               compute_resource_find(s, blob.resource_id) ||
               compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
    case VIRTIO_GPU_CMD_RESOURCE_UNREF:
        return compute_cmd_resource(s, cmd);
    case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
    case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
    case VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING:
    case VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
        res = compute_cmd_resource(s, cmd);
        return res && !res->shared;
    case VIRTIO_GPU_CMD_CTX_DESTROY:
    case VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE:
    case VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE:
    case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D:
    case VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D:
    case VIRTIO_GPU_CMD_SUBMIT_3D:
        return compute_ctx_find(s, cmd->cmd_hdr.ctx_id);
    default:
        return false;
    }
}

bool virtio_gpu_compute_process_cmd(VirtIOGPUCompute *s,
                                    struct virtio_gpu_ctrl_command *cmd)
{
    ComputeResource *res;
    uint32_t type;

    if (s->conf->shared && !compute_concerns(s, cmd)) {
        return false;
    }

    switch (cmd->cmd_hdr.type) {
    case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
        type = compute_cmd_get_capset_info(s, cmd);
        break;
    case VIRTIO_GPU_CMD_GET_CAPSET:
        type = compute_cmd_get_capset(s, cmd);
        break;
    case VIRTIO_GPU_CMD_CTX_CREATE:
        type = compute_cmd_ctx_create(s, cmd);
        break;
    case VIRTIO_GPU_CMD_CTX_DESTROY:
        type = compute_cmd_ctx_destroy(s, cmd);
        break;
    case VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE:
        type = compute_cmd_attach(s, cmd);
        break;
    case VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE:
        type = compute_cmd_detach(s, cmd);
        break;
    case VIRTIO_GPU_CMD_SUBMIT_3D:
        type = compute_cmd_submit(s, cmd);
        break;
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
        type = compute_cmd_create_blob(s, cmd);
        break;
    case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
        type = compute_cmd_map_blob(s, cmd);
        break;
    case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
        type = compute_cmd_unmap_blob(s, cmd);
        break;
    case VIRTIO_GPU_CMD_RESOURCE_UNREF:
        res = compute_cmd_resource(s, cmd);
        if (!res) {
            return false;
        }
        type = compute_cmd_unref(s, cmd, res);
        break;
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
    case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
        res = compute_cmd_resource(s, cmd);
        if (!res) {
            return false;
        }
        type = compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                              "resource %" PRIu32 " is in use", res->id);
        break;
    default:
        if (!s->conf->shared) {
            return false;
        }
        type = compute_refuse(cmd, VIRTIO_GPU_RESP_ERR_UNSPEC,
                              "not for a compute context or its resources");
        break;
    }
    if (type == COMPUTE_PASS_ON) {
        return false;
    }
    if (type) {
        virtio_gpu_ctrl_response_nodata(s->g, cmd, type);
    }
    return true;
}

/* Life of the device */

/*
 * The guest takes all memory back right after this: no worker may live. Nothing
 * but waiting helps here; nothing else in this device waits.
 */
void virtio_gpu_compute_reset(VirtIOGPUCompute *s)
{
    ComputeContext *ctx, *next_ctx;
    ComputeResource *res, *next_res;
    bool all_dead = true;
    int64_t deadline;

    virtio_gpu_drop_cmds(s->g);
    QTAILQ_FOREACH(ctx, &s->contexts, next) {
        compute_ctx_kill(ctx);
    }
    deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
               s->conf->kill_timeout_ms;
    QTAILQ_FOREACH_SAFE(ctx, &s->contexts, next, next_ctx) {
        ctx->destroyed = true;
        ctx->destroy_cmd = 0;
        if (ctx->state != COMPUTE_CTX_RUNNING ||
            compute_ctx_wait(ctx, deadline)) {
            compute_ctx_gone(ctx);
        } else {
            all_dead = false;
        }
    }
    QTAILQ_FOREACH_SAFE(res, &s->resources, next, next_res) {
        if (!res->unrefd) {
            compute_resource_unref(s, res, 0);
        }
    }

    if (!all_dead) {
        error_report("virtio-gpu-compute: a worker did not die within %" PRIu32
                     " ms, or AMD's driver has not done with it, and guest "
                     "memory may still be written to: "
                     "stopping the virtual machine", s->conf->kill_timeout_ms);
        vm_stop(RUN_STATE_INTERNAL_ERROR);
    }
}

/* A system reset would allow it to go on, with a worker that still lives. */
static void compute_vm_state_change(void *opaque, bool running, RunState state)
{
    VirtIOGPUCompute *s = opaque;
    ComputeContext *ctx;

    if (!running) {
        return;
    }
    QTAILQ_FOREACH(ctx, &s->contexts, next) {
        if (ctx->destroyed && !ctx->destroy_cmd) {
            error_report("virtio-gpu-compute: a worker still lives: "
                         "stopping the virtual machine");
            qemu_system_vmstop_request_prepare();
            qemu_system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
            return;
        }
    }
}

VirtIOGPUCompute *virtio_gpu_compute_new(VirtIOGPU *g,
                                         struct virtio_gpu_compute_conf *conf)
{
    VirtIOGPUCompute *s = g_new0(VirtIOGPUCompute, 1);

    s->g = g;
    s->conf = conf;
    s->kfd_proc = -1;
    s->ram_files = g_array_new(false, false, sizeof(ComputeRamFile));
    s->resource_ids = g_hash_table_new(NULL, NULL);
    QTAILQ_INIT(&s->contexts);
    QTAILQ_INIT(&s->resources);
    object_property_add_uint32_ptr(OBJECT(g), "contexts", &s->nr_contexts,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint32_ptr(OBJECT(g), "resources", &s->nr_resources,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(OBJECT(g), "registered-bytes", &s->nr_bytes,
                                   OBJ_PROP_FLAG_READ);
    return s;
}

void virtio_gpu_compute_free(VirtIOGPUCompute *s)
{
    s->g = NULL;
    s->conf = NULL;
    /* not if the device has been unplugged and workers of it still live */
    if (!s->in_use) {
        compute_free(s);
    }
}

/* Behind those of another renderer, if there is one. */
static bool compute_capsets_add(VirtIOGPUCompute *s, Error **errp)
{
    GArray *others = s->conf->shared ? s->g->capset_ids : NULL;
    guint i;

    s->first_capset = others ? others->len : 0;
    for (i = 0; i < s->first_capset; i++) {
        if (compute_capset_find(s, g_array_index(others, uint32_t, i))) {
            error_setg(errp, "vgpu-compute-server offers capset %" PRIu32
                       ", which virglrenderer has: change its --backend",
                       g_array_index(others, uint32_t, i));
            return false;
        }
    }
    VIRTIO_GPU_BASE(s->g)->virtio_config.num_capsets =
        cpu_to_le32(s->first_capset + s->nr_capsets);
    return true;
}

bool virtio_gpu_compute_realize(VirtIOGPUCompute *s, Error **errp)
{
    VirtIOGPUBase *b = VIRTIO_GPU_BASE(s->g);

    if (!virtio_gpu_hostmem_enabled(b->conf)) {
        error_setg(errp, "hostmem= is missing: contexts need memory that they "
                   "share with the guest, use hostmem=256M");
        return false;
    }
    if (ram_block_discard_is_required()) {
        error_setg(errp, "virtio-gpu-compute shares guest RAM with other "
                   "processes: remove devices that discard it, such as "
                   "virtio-mem");
        return false;
    }
    if (!compute_ram_check(s->ram_files, errp) ||
        !compute_server_hello(s, errp) ||
        !compute_kfd_open(s, errp) ||
        !compute_capsets_add(s, errp) ||
        !compute_hostmem_init(s, errp)) {
        return false;
    }

    b->conf.flags |= BIT(VIRTIO_GPU_FLAG_COMPUTE_ENABLED) |
                     BIT(VIRTIO_GPU_FLAG_BLOB_ENABLED) |
                     BIT(VIRTIO_GPU_FLAG_CONTEXT_INIT_ENABLED) |
                     BIT(VIRTIO_GPU_FLAG_RESOURCE_USERPTR_ENABLED);
    s->vm_state = qemu_add_vm_change_state_handler(compute_vm_state_change, s);
    return true;
}

void virtio_gpu_compute_unrealize(VirtIOGPUCompute *s)
{
    virtio_gpu_compute_reset(s);
    compute_hostmem_exit(s);
    qemu_chr_fe_set_handlers(&s->conf->chr, NULL, NULL, NULL, NULL, NULL, NULL,
                             false);
}
