/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute: what its commands (virtio-gpu-compute.c) and its contexts
 * (virtio-gpu-compute-ctx.c) share
 */
#ifndef HW_DISPLAY_VIRTIO_GPU_COMPUTE_INT_H
#define HW_DISPLAY_VIRTIO_GPU_COMPUTE_INT_H

#include "exec/memory.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio-gpu.h"
#include "hw/virtio/virtio-gpu-compute.h"
#include "hw/virtio/virtio-gpu-compute-proto.h"
#include "virtio-gpu-compute-mem.h"

typedef struct ComputeContext ComputeContext;
typedef struct ComputeDoorbells ComputeDoorbells;
typedef struct ComputeHostmem ComputeHostmem;
typedef struct ComputeResource ComputeResource;

struct VirtIOGPUCompute {
    VirtIOGPU *g;               /* NULL when the device is no more */
    struct virtio_gpu_compute_conf *conf;

    /* what the server said */
    struct vgpu_msg_capset capsets[VGPU_PROTO_MAX_CAPSETS];
    uint32_t nr_capsets;
    uint32_t first_capset;      /* index of capsets[0] among the device's */
    bool server_gone;
    uint64_t hello_serial;
    GByteArray *greeting;       /* NULL, or of a server that is back */

    ComputeHostmem *hostmem;

    int kfd_proc;               /* directory of KFD's processes, or -1 */
    GArray *ram_files;          /* of ComputeRamFile */
    uint64_t last_serial;       /* of messages to the server */

    QTAILQ_HEAD(, ComputeContext) contexts;
    uint32_t nr_contexts;

    QTAILQ_HEAD(, ComputeResource) resources;
    GHashTable *resource_ids;   /* those that the guest has not unref'd */
    uint32_t nr_resources;
    uint64_t nr_runs;           /* of all resources */
    uint64_t nr_bytes;          /* of guest memory, of all resources */
    uint32_t nr_mapped;         /* blobs in hostmem */

    VMChangeStateEntry *vm_state;
    bool in_use;                /* migration and RAM discard are blocked */
    bool in_use_error_reported;
    Error *in_use_blocker;
};

/* A resource that a context's worker has mapped, is mapping or unmapping. */
typedef struct ComputeMapping {
    ComputeContext *ctx;
    ComputeResource *res;
    bool unmapping;
    QTAILQ_ENTRY(ComputeMapping) next_of_ctx;
    QTAILQ_ENTRY(ComputeMapping) next_of_res;
} ComputeMapping;

struct ComputeResource {
    uint32_t id;
    uint32_t blob_mem;
    uint64_t blob_id;
    uint64_t size;
    bool readonly;
    bool mappable;              /* if the guest wants to map it */
    bool creating;              /* until the worker has answered RES_MAP */
    bool shared;                /* the device's other renderer has it, too */
    bool unrefd;                /* id is not in use any more */
    uint64_t unref_cmd;         /* serial of the command to answer, or 0 */
    GArray *runs;               /* NULL once they cannot be needed again */

    /* memory that QEMU made, VIRTIO_GPU_BLOB_MEM_HOST3D */
    int fd;                     /* -1 if there is none */
    bool mapped;                /* into hostmem */
    uint64_t map_offset;        /* where there */
    bool trapped;               /* it is doorbells: fd is only its size */
    ComputeDoorbells *doorbells; /* NULL if it is not mapped */

    GArray *waiting;            /* serials of commands, in their order */
    QTAILQ_HEAD(, ComputeMapping) mappings;
    QTAILQ_ENTRY(ComputeResource) next;
};

/* What a worker is asked to do. */
typedef struct ComputeRequest {
    enum vgpu_msg_type type;
    uint64_t serial;
    uint64_t cmd;               /* serial of the command to answer, or 0 */
    ComputeMapping *mapping;    /* RES_MAP, RES_UNMAP */
    uint32_t ring_idx;          /* SUBMIT */
    uint32_t total;             /* runs of RES_MAP, bytes of SUBMIT */
    uint32_t sent;              /* of total */
    struct {                    /* DOORBELL, as in the message */
        uint32_t res_id;
        uint32_t offset;
        uint32_t size;
        uint64_t value;
    } doorbell;
    QTAILQ_ENTRY(ComputeRequest) next;
} ComputeRequest;

enum compute_ctx_state {
    COMPUTE_CTX_STARTING,       /* nothing is sent before CTX_READY */
    COMPUTE_CTX_RUNNING,
    COMPUTE_CTX_LOST,           /* the worker is dead, the id still in use */
};

struct ComputeContext {
    VirtIOGPUCompute *s;
    uint32_t id;
    uint64_t serial;            /* names it towards the spawner */
    enum compute_ctx_state state;
    bool killed;
    bool destroyed;             /* id is not in use any more */
    int sock;
    int pidfd;                  /* of the worker, -1 before CTX_READY */
    bool blocked;               /* sock cannot be written to */
    uint64_t create_cmd;        /* serials of the commands to answer, or 0 */
    uint64_t destroy_cmd;
    uint32_t nr_maps;           /* RES_MAP requests in sent */
    uint32_t nr_doorbells;      /* DOORBELL requests in queue */
    QEMUTimer *watchdog;        /* NULL when lost */

    /* if there is a directory of KFD's processes */
    int kfd_pid;                /* of the worker, -1 if it has none any more */
    ino_t kfd_inode;            /* of its directory there, 0 before its death */
    QEMUTimer *kfd_timer;       /* NULL unless KFD is waited for */
    uint32_t kfd_wait_ms;       /* before the next look */
    uint32_t kfd_waited_ms;     /* all in all */

    QTAILQ_HEAD(, ComputeRequest) queue;
    QTAILQ_HEAD(, ComputeRequest) sent;
    QTAILQ_HEAD(, ComputeMapping) mappings;
    QTAILQ_ENTRY(ComputeContext) next;
};

/* virtio-gpu-compute-ctx.c */

/**
 * compute_server_hello() - shake hands with the server
 * @s: the device; capsets are filled in
 * @errp: set if there is no server that QEMU can use
 *
 * Returns: false on error
 */
bool compute_server_hello(VirtIOGPUCompute *s, Error **errp);

/**
 * compute_ctx_new() - have a worker process started
 * @s: the device
 * @id: of the context
 * @capset_id: what the context speaks
 * @name: of the context, for messages
 * @errp: set on error
 *
 * Returns: the context, or NULL
 */
ComputeContext *compute_ctx_new(VirtIOGPUCompute *s, uint32_t id,
                                uint32_t capset_id, const char *name,
                                Error **errp);

/**
 * compute_ctx_request() - ask a context's worker for something
 * @ctx: the context, not lost
 * @req: allocated, with type and what belongs to it; owned by @ctx from now on
 *
 * compute_request_done() or compute_request_lost() follows.
 */
void compute_ctx_request(ComputeContext *ctx, ComputeRequest *req);

/**
 * compute_ctx_doorbell() - tell a context's worker of a store to a doorbell
 * @ctx: the context; nothing happens if it has no worker, or none any more
 * @res_id: the resource
 * @offset: in it, a multiple of @size
 * @value: what was stored
 * @size: of the store, 4 or 8
 *
 * A store to the same register that the worker has not been told of is
 * forgotten where nothing came between, or there are many. @ctx is killed if
 * there are too many of different ones.
 */
void compute_ctx_doorbell(ComputeContext *ctx, uint32_t res_id,
                          uint32_t offset, uint64_t value, uint32_t size);

/**
 * compute_ctx_kill() - kill a context's worker
 * @ctx: the context
 *
 * compute_ctx_gone() follows when it is dead. A context that is starting has
 * no memory that a worker could use: the caller need not wait there.
 */
void compute_ctx_kill(ComputeContext *ctx);

/**
 * compute_ctx_gone() - clean up after a worker
 * @ctx: the context, its worker cannot access memory any more; freed if it is
 *       destroyed
 */
void compute_ctx_gone(ComputeContext *ctx);

/**
 * compute_ctx_wait() - wait for the end of a killed worker
 * @ctx: the context
 * @deadline: in ms of QEMU_CLOCK_REALTIME
 *
 * Returns: whether it is dead, and KFD has done with it
 */
bool compute_ctx_wait(ComputeContext *ctx, int64_t deadline);

/* virtio-gpu-compute-kfd.c */

/**
 * compute_kfd_open() - look for AMD's driver
 * @s: the device; what the server has told to probe for GPUs is loaded
 * @errp: set if it is there and cannot be watched
 *
 * Returns: false on error
 */
bool compute_kfd_open(VirtIOGPUCompute *s, Error **errp);

/**
 * compute_kfd_init() - remember who a worker is
 * @ctx: the context, the worker has no memory yet
 * @pidfd: of the worker
 *
 * Returns: false if that cannot be told
 */
bool compute_kfd_init(ComputeContext *ctx, int pidfd);

/**
 * compute_kfd_busy() - may a GPU still access what a dead worker had?
 * @ctx: the context
 *
 * Returns: whether KFD has its process
 */
bool compute_kfd_busy(ComputeContext *ctx);

/**
 * compute_kfd_wait() - wait until KFD has done with a dead worker
 * @ctx: the context
 * @deadline: in ms of QEMU_CLOCK_REALTIME
 *
 * Returns: whether it has
 */
bool compute_kfd_wait(ComputeContext *ctx, int64_t deadline);

/**
 * compute_kfd_watch() - compute_ctx_gone() when KFD has done with a dead worker
 * @ctx: the context, may be freed
 */
void compute_kfd_watch(ComputeContext *ctx);

/* virtio-gpu-compute-doorbells.c */

/**
 * compute_doorbells_map() - show doorbells in hostmem
 * @s: the device
 * @res: a resource that is doorbells and not mapped
 * @offset: in hostmem
 */
void compute_doorbells_map(VirtIOGPUCompute *s, ComputeResource *res,
                           uint64_t offset);

/**
 * compute_doorbells_unmap() - take doorbells out of hostmem
 * @s: the device
 * @res: the resource, mapped; what is stored from now on does not reach it
 */
void compute_doorbells_unmap(VirtIOGPUCompute *s, ComputeResource *res);

/* virtio-gpu-compute.c, called by virtio-gpu-compute-ctx.c */

/**
 * compute_answer() - answer a deferred command
 * @s: the device
 * @cmd: its serial; 0 and those that a reset has dropped are ignored
 * @type: of the response, without data
 *
 * It is freed.
 */
void compute_answer(VirtIOGPUCompute *s, uint64_t cmd, uint32_t type);

/**
 * compute_request_done() - a worker has answered
 * @ctx: the context
 * @req: the request, freed by the caller
 * @status: 0 or an errno
 */
void compute_request_done(ComputeContext *ctx, ComputeRequest *req,
                          uint32_t status);

/**
 * compute_request_lost() - a worker has died before it answered
 * @ctx: the context
 * @req: the request, freed by the caller
 */
void compute_request_lost(ComputeContext *ctx, ComputeRequest *req);

/**
 * compute_mapping_free() - a worker has no access to a resource any more
 * @s: the device
 * @m: the mapping
 */
void compute_mapping_free(VirtIOGPUCompute *s, ComputeMapping *m);

/**
 * compute_release() - allow migration if nothing is in use any more
 * @s: the device, freed if it is no more
 */
void compute_release(VirtIOGPUCompute *s);

#endif
