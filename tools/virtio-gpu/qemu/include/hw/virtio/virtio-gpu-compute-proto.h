/* SPDX-License-Identifier: MIT */
/*
 * Messages between virtio-gpu-compute-pci and vgpu-compute-server
 *
 * Both sides run on one machine, so fields are in host byte order, and errors
 * are that machine's errno numbers, positive.
 *
 * Two kinds of connection:
 *
 * control: the device's chardev, a stream socket to the spawner. QEMU sends
 *   HELLO once and reads its answer, then CTX_CREATE and CTX_KILL, which are
 *   not answered there. End of file on it ends the spawner and every worker.
 *
 * context: a SOCK_SEQPACKET pair that QEMU makes for each context; one end
 *   goes to the spawner with CTX_CREATE and on to the worker. The first message
 *   on it is the spawner's CTX_READY. After that each request of QEMU is
 *   answered with one DONE of the same serial, in the order of the requests;
 *   DOORBELL is none, and not answered. End of file ends the worker.
 *
 * What a worker sends is not trusted: QEMU drops a context whose worker breaks
 * this protocol.
 */
#ifndef HW_VIRTIO_GPU_COMPUTE_PROTO_H
#define HW_VIRTIO_GPU_COMPUTE_PROTO_H

#include <stdint.h>

#define VGPU_PROTO_VERSION      2
/* Largest message on either connection, header included. */
#define VGPU_PROTO_MAX_MSG      65536
/* Most descriptors that one message carries. */
#define VGPU_PROTO_MAX_FDS      8
/* Most capsets that a HELLO answer reports, and the largest one's size. */
#define VGPU_PROTO_MAX_CAPSETS  4
#define VGPU_PROTO_MAX_CAPSET   1024
/* Most bytes that the fragments of one SUBMIT add up to. */
#define VGPU_PROTO_MAX_SUBMIT   (1024 * 1024)

enum vgpu_msg_type {
    /* control */
    VGPU_MSG_HELLO = 1,         /* vgpu_msg_hello, both ways */
    VGPU_MSG_CTX_CREATE = 2,    /* vgpu_msg_ctx_create, one descriptor */
    VGPU_MSG_CTX_KILL = 3,      /* header only; serial names the context */
    /* context, to the worker */
    VGPU_MSG_RES_MAP = 16,      /* vgpu_msg_res_map, descriptors */
    VGPU_MSG_RES_UNMAP = 17,    /* vgpu_msg_res_unmap */
    VGPU_MSG_SUBMIT = 18,       /* vgpu_msg_submit */
    VGPU_MSG_DOORBELL = 19,     /* vgpu_msg_doorbell */
    /* context, to QEMU */
    VGPU_MSG_CTX_READY = 32,    /* vgpu_msg_done, one descriptor if status 0 */
    VGPU_MSG_DONE = 33,         /* vgpu_msg_done */
};

/*
 * More fragments of this request follow: the next message on the connection has
 * the same type and serial. Only RES_MAP (run list) and SUBMIT (payload) are
 * split; only the last fragment is answered.
 */
#define VGPU_MSG_F_MORE         (1u << 0)
/* HELLO of QEMU: it shows doorbells to the guest, and sends DOORBELL. */
#define VGPU_MSG_F_DOORBELLS    (1u << 1)

struct vgpu_msg_hdr {
    uint32_t type;              /* enum vgpu_msg_type */
    uint32_t size;              /* of the message, header included */
    uint32_t flags;             /* VGPU_MSG_F_* */
    uint32_t reserved;          /* 0 */
    uint64_t serial;            /* chosen by QEMU, never used twice */
};

struct vgpu_msg_capset {
    uint32_t id;                /* VIRTIO_GPU_CAPSET_* */
    uint32_t max_version;
    uint32_t size;              /* of data in use */
    uint32_t reserved;          /* 0 */
    uint8_t data[VGPU_PROTO_MAX_CAPSET];
};

/*
 * QEMU sends it with nr_capsets 0 and no capsets; the spawner answers with the
 * same serial and nr_capsets elements. A spawner that does not speak QEMU's
 * version answers with its own version and no capsets.
 */
struct vgpu_msg_hello {
    struct vgpu_msg_hdr hdr;
    uint32_t version;           /* VGPU_PROTO_VERSION */
    uint32_t nr_capsets;
    char backend[32];           /* NUL-terminated */
    struct vgpu_msg_capset capsets[];
};

/*
 * The descriptor is the worker's end of the context's socket pair. serial names
 * the context in CTX_KILL; the ids of the guest are for messages only.
 */
struct vgpu_msg_ctx_create {
    struct vgpu_msg_hdr hdr;
    uint32_t ctx_id;
    uint32_t capset_id;
    char name[64];              /* the guest's debug name, NUL-terminated */
};

/* One piece of guest memory: length bytes at offset of descriptor fd. */
struct vgpu_run {
    uint32_t fd;                /* index among this message's descriptors */
    uint32_t reserved;          /* 0 */
    uint64_t offset;            /* multiple of the host's page size */
    uint64_t length;            /* likewise, not 0 */
};

/* The window is mapped PROT_READ; every descriptor is open O_RDONLY. */
#define VGPU_RES_RDONLY         (1u << 0)
/* Memory that QEMU made for the guest to map, not guest memory: one run. */
#define VGPU_RES_BLOB           (1u << 1)

/*
 * Map the runs, one after another, into one window and register it. All
 * fragments repeat res_id, flags, blob_id and size; the lengths of all runs add
 * up to size. The worker closes the descriptors once the runs are mapped.
 */
struct vgpu_msg_res_map {
    struct vgpu_msg_hdr hdr;
    uint32_t res_id;            /* not 0, not in use in this context */
    uint32_t flags;             /* VGPU_RES_* */
    uint64_t blob_id;           /* as the guest named it */
    uint64_t size;              /* of the window, multiple of the page size */
    uint32_t nr_runs;           /* in this fragment */
    uint32_t reserved;          /* 0 */
    struct vgpu_run runs[];
};

/* Answered when nothing of this context can access the memory any more. */
struct vgpu_msg_res_unmap {
    struct vgpu_msg_hdr hdr;
    uint32_t res_id;
    uint32_t reserved;          /* 0 */
};

/*
 * The guest has stored to a doorbell, a register of a resource that is one: see
 * VGPU_DONE_DOORBELLS. Of several stores to the same register QEMU may send
 * only the last. This is the one request that is not answered.
 */
struct vgpu_msg_doorbell {
    struct vgpu_msg_hdr hdr;
    uint32_t res_id;
    uint32_t offset;            /* in the resource, a multiple of size */
    uint32_t size;              /* of the store, 4 or 8 */
    uint32_t reserved;          /* 0 */
    uint64_t value;
};

/* Answered when the whole submission has been executed: that is its fence. */
struct vgpu_msg_submit {
    struct vgpu_msg_hdr hdr;
    uint32_t ring_idx;
    uint32_t total;             /* of all fragments' payload */
    uint8_t payload[];
};

/*
 * RES_MAP of a VGPU_RES_BLOB: it is no memory but a page of doorbells. The
 * worker has let go of the descriptor; where the guest maps the blob, QEMU
 * shows it registers that read as 0 and sends stores as DOORBELL. Never said to
 * a QEMU that did not set VGPU_MSG_F_DOORBELLS.
 */
#define VGPU_DONE_DOORBELLS     (1u << 0)

struct vgpu_msg_done {
    struct vgpu_msg_hdr hdr;
    uint32_t status;            /* 0 or an errno */
    uint32_t flags;             /* VGPU_DONE_* */
};

#endif /* HW_VIRTIO_GPU_COMPUTE_PROTO_H */
