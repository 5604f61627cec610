/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute: contexts
 *
 * Each context has a worker process of its own, and a socket pair of its own to
 * it. Requests are sent in their order and answered in their order. Nothing
 * here blocks: what does not fit into the socket waits in the queue, and the
 * payload of a submission waits in guest memory. Doorbells are requests without
 * an answer.
 *
 * A worker may do what it likes with the memory that it has mapped, but only as
 * long as it lives. So whatever goes wrong with one ends in a kill, and the
 * guest is not told that memory is free until the worker's pidfd has signalled,
 * and AMD's driver has done with it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "chardev/char.h"
#include "system/runstate.h"
#include "virtio-gpu-compute-int.h"
#include "trace.h"

#include <poll.h>
#include <sys/syscall.h>

/*
 * RES_MAP requests that may be under way in one context. Descriptors in flight
 * count against RLIMIT_NOFILE; 64 contexts with one each of these and the usual
 * single RAM file stay below the usual 1024.
 */
#define COMPUTE_MAX_MAPS_SENT   8

/*
 * DOORBELL requests that may wait in one context. As many as KFD has queues for
 * a process (KFD_MAX_NUM_OF_QUEUES_PER_PROCESS), each with its register.
 */
#define COMPUTE_MAX_DOORBELLS   1024

/* Messages taken from one worker at a time: one for each command there is. */
#define COMPUTE_MAX_READS       VIRTQUEUE_MAX_SIZE

static int pidfd_signal(int pidfd, int sig)
{
    return syscall(__NR_pidfd_send_signal, pidfd, sig, NULL, 0);
}

/* Control connection: the chardev, to the spawner */

static bool compute_hello_read(VirtIOGPUCompute *s, void *buf, int len,
                               Error **errp)
{
    if (qemu_chr_fe_read_all(&s->conf->chr, buf, len) != len) {
        error_setg(errp, "vgpu-compute-server closed chardev '%s' without an "
                   "answer: see its messages", s->conf->chr.chr->label);
        return false;
    }
    return true;
}

static bool compute_capset_valid(const VirtIOGPUCompute *s, uint32_t i)
{
    const struct vgpu_msg_capset *c = &s->capsets[i];
    uint32_t k;

    for (k = 0; k < i; k++) {
        if (s->capsets[k].id == c->id) {
            return false;
        }
    }
    /* guests keep the ids in a bit mask of 64 bits */
    return c->id && c->id < 64 && c->size && c->size <= sizeof(c->data);
}

/* The first part of the answer to HELLO. Returns: whether capsets follow */
static bool compute_hello_valid(VirtIOGPUCompute *s,
                                const struct vgpu_msg_hello *answer,
                                Error **errp)
{
    if (answer->hdr.type != VGPU_MSG_HELLO ||
        answer->hdr.serial != s->hello_serial) {
        goto invalid;
    }
    if (answer->version != VGPU_PROTO_VERSION) {
        error_setg(errp, "vgpu-compute-server speaks version %" PRIu32 " of "
                   "the protocol, QEMU speaks version %d: update the older one",
                   answer->version, VGPU_PROTO_VERSION);
        return false;
    }
    if (answer->nr_capsets > VGPU_PROTO_MAX_CAPSETS ||
        answer->hdr.size != sizeof(*answer) +
                            answer->nr_capsets * sizeof(s->capsets[0]) ||
        !memchr(answer->backend, '\0', sizeof(answer->backend))) {
        goto invalid;
    }
    if (!answer->nr_capsets) {
        error_setg(errp, "vgpu-compute-server offers no capset: change its "
                   "--backend");
        return false;
    }
    return true;

invalid:
    error_setg(errp, "what listens at chardev '%s' is not vgpu-compute-server",
               s->conf->chr.chr->label);
    return false;
}

static struct vgpu_msg_hello compute_hello(VirtIOGPUCompute *s)
{
    s->hello_serial = ++s->last_serial;
    return (struct vgpu_msg_hello) {
        .hdr.type = VGPU_MSG_HELLO,
        .hdr.size = sizeof(struct vgpu_msg_hello),
        .hdr.flags = VGPU_MSG_F_DOORBELLS,
        .hdr.serial = s->hello_serial,
        .version = VGPU_PROTO_VERSION,
    };
}

/* No new contexts can be made, unless the chardev connects again. */
static void compute_server_lost(VirtIOGPUCompute *s, const char *why)
{
    if (!runstate_check(RUN_STATE_SHUTDOWN)) {
        warn_report("vgpu-compute-server %s: no new contexts can be made", why);
    }
    s->server_gone = true;
}

/*
 * A server that a chardev has connected to again is asked as the first one was,
 * but not waited for: s->greeting is what has come of its answer.
 *
 * Returns: how much of it is missing, as far as that is known
 */
static guint compute_greeting_left(VirtIOGPUCompute *s)
{
    const struct vgpu_msg_hello *answer = (void *)s->greeting->data;

    return (s->greeting->len < sizeof(*answer) ? sizeof(*answer)
                                               : answer->hdr.size) -
           s->greeting->len;
}

/* Is it what the guest knows? It cannot be told of other capsets. */
static bool compute_greeting_familiar(VirtIOGPUCompute *s)
{
    const struct vgpu_msg_hello *answer = (void *)s->greeting->data;

    return answer->nr_capsets == s->nr_capsets &&
           !memcmp(answer->capsets, s->capsets,
                   s->nr_capsets * sizeof(s->capsets[0]));
}

static void compute_greeting_received(VirtIOGPUCompute *s)
{
    Error *err = NULL;

    if (s->greeting->len == sizeof(struct vgpu_msg_hello) &&
        !compute_hello_valid(s, (void *)s->greeting->data, &err)) {
        warn_report_err(err);
    } else if (compute_greeting_left(s)) {
        return;
    } else if (!compute_greeting_familiar(s)) {
        warn_report("vgpu-compute-server does not offer the capsets that it "
                    "did before");
    } else if (!compute_kfd_open(s, &err)) {
        warn_report_err(err);
    } else {
        info_report("vgpu-compute-server is back");
        s->server_gone = false;
    }
    g_clear_pointer(&s->greeting, g_byte_array_unref);
    if (s->server_gone) {
        qemu_chr_fe_disconnect(&s->conf->chr);
    }
}

static int compute_chr_can_read(void *opaque)
{
    VirtIOGPUCompute *s = opaque;

    return s->greeting ? compute_greeting_left(s) : 1;
}

static void compute_chr_read(void *opaque, const uint8_t *buf, int size)
{
    VirtIOGPUCompute *s = opaque;

    if (s->greeting) {
        g_byte_array_append(s->greeting, buf, size);
        compute_greeting_received(s);
        return;
    }
    if (!s->server_gone) {
        compute_server_lost(s, "sent an unexpected message");
    }
    qemu_chr_fe_disconnect(&s->conf->chr);
}

static void compute_chr_event(void *opaque, QEMUChrEvent event)
{
    VirtIOGPUCompute *s = opaque;
    struct vgpu_msg_hello hello;

    switch (event) {
    case CHR_EVENT_CLOSED:
        /* its workers die with it, and their pidfds tell */
        if (!s->server_gone) {
            compute_server_lost(s, "is gone");
        }
        g_clear_pointer(&s->greeting, g_byte_array_unref);
        break;
    case CHR_EVENT_OPENED:
        /* reconnect-ms= of the chardev */
        if (s->server_gone) {
            hello = compute_hello(s);
            s->greeting = g_byte_array_new();
            if (qemu_chr_fe_write(&s->conf->chr, (uint8_t *)&hello,
                                  sizeof(hello)) != sizeof(hello)) {
                qemu_chr_fe_disconnect(&s->conf->chr);
            }
        }
        break;
    default:
        break;
    }
}

bool compute_server_hello(VirtIOGPUCompute *s, Error **errp)
{
    struct vgpu_msg_hello hello = compute_hello(s);
    struct vgpu_msg_hello answer;
    uint32_t i;

    if (!qemu_chr_fe_backend_connected(&s->conf->chr)) {
        error_setg(errp, "chardev= is missing: start vgpu-compute-server and "
                   "use -chardev socket,id=vgpu,path=<its socket> with "
                   "chardev=vgpu");
        return false;
    }
    if (!qemu_chr_has_feature(s->conf->chr.chr, QEMU_CHAR_FEATURE_FD_PASS)) {
        error_setg(errp, "chardev '%s' cannot pass file descriptors: use "
                   "-chardev socket,path=<socket of vgpu-compute-server>",
                   s->conf->chr.chr->label);
        return false;
    }
    if (qemu_chr_fe_wait_connected(&s->conf->chr, errp) < 0) {
        return false;
    }

    if (qemu_chr_fe_write_all(&s->conf->chr, (uint8_t *)&hello,
                              sizeof(hello)) != sizeof(hello)) {
        error_setg(errp, "cannot write to chardev '%s': is "
                   "vgpu-compute-server listening there?",
                   s->conf->chr.chr->label);
        return false;
    }
    if (!compute_hello_read(s, &answer, sizeof(answer), errp) ||
        !compute_hello_valid(s, &answer, errp) ||
        !compute_hello_read(s, s->capsets,
                            answer.nr_capsets * sizeof(s->capsets[0]), errp)) {
        return false;
    }
    for (i = 0; i < answer.nr_capsets; i++) {
        if (!compute_capset_valid(s, i)) {
            error_setg(errp, "vgpu-compute-server offers a capset that is "
                       "none");
            return false;
        }
    }
    s->nr_capsets = answer.nr_capsets;
    trace_virtio_gpu_compute_hello(answer.backend, s->nr_capsets);

    qemu_chr_fe_set_handlers(&s->conf->chr, compute_chr_can_read,
                             compute_chr_read, compute_chr_event, NULL, s,
                             NULL, true);
    return true;
}

/*
 * Never blocks: the spawner takes few and small messages, one that does not
 * read them has a problem that waiting would not solve.
 */
static bool compute_server_send(VirtIOGPUCompute *s, const void *msg, int len,
                                int fd)
{
    int ret;

    if (s->server_gone) {
        return false;
    }
    if (fd >= 0 && qemu_chr_fe_set_msgfds(&s->conf->chr, &fd, 1) < 0) {
        return false;
    }
    ret = qemu_chr_fe_write(&s->conf->chr, msg, len);
    if (ret == len) {
        return true;
    }
    qemu_chr_fe_set_msgfds(&s->conf->chr, NULL, 0);
    if (ret > 0) {
        /* what follows would not be understood */
        compute_server_lost(s, "does not read its messages");
        qemu_chr_fe_disconnect(&s->conf->chr);
    }
    return false;
}

/* Watchdog */

/*
 * Requests of a context are served one after another, so what counts is the
 * time since it was last idle or has answered.
 */
static void compute_ctx_watch(ComputeContext *ctx)
{
    uint32_t ms = ctx->s->conf->job_timeout_ms;
    bool idle = ctx->state == COMPUTE_CTX_RUNNING &&
                QTAILQ_EMPTY(&ctx->queue) && QTAILQ_EMPTY(&ctx->sent);

    if (!ms || idle || ctx->killed) {
        timer_del(ctx->watchdog);
    } else {
        timer_mod(ctx->watchdog, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms);
    }
}

static void compute_ctx_timed_out(void *opaque)
{
    ComputeContext *ctx = opaque;

    qemu_log_mask(LOG_GUEST_ERROR, "virtio-gpu-compute: context %" PRIu32
                  " has not answered for %" PRIu32 " ms and is killed\n",
                  ctx->id, ctx->s->conf->job_timeout_ms);
    compute_ctx_kill(ctx);
    if (ctx->state == COMPUTE_CTX_STARTING) {
        compute_ctx_gone(ctx);
    }
}

/* Sending to a worker */

/* Returns: 1, 0 if there is no room now, -1 if the connection is of no use */
static int compute_ctx_sendmsg(ComputeContext *ctx, struct vgpu_msg_hdr *hdr,
                               const int *fds, uint32_t nr_fds)
{
    char control[CMSG_SPACE(sizeof(int) * VGPU_PROTO_MAX_FDS)]
        QEMU_ALIGNED(__alignof__(struct cmsghdr)) = {};
    struct iovec iov = { .iov_base = hdr, .iov_len = hdr->size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t ret;

    if (nr_fds) {
        struct cmsghdr *cmsg = (struct cmsghdr *)control;

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nr_fds);
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
    }

    ret = RETRY_ON_EINTR(sendmsg(ctx->sock, &msg,
                                 MSG_DONTWAIT | MSG_NOSIGNAL));
    if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    if (ret < 0) {
        trace_virtio_gpu_compute_ctx_broken(ctx->id, strerror(errno));
    }
    return ret < 0 ? -1 : 1;
}

/* Each function sends as much as fits into one message, or returns as above. */

static int compute_ctx_send_map(ComputeContext *ctx, ComputeRequest *req,
                                struct vgpu_msg_res_map *msg)
{
    const uint32_t max_runs = (VGPU_PROTO_MAX_MSG - sizeof(*msg)) /
                              sizeof(msg->runs[0]);
    ComputeResource *res = req->mapping->res;
    uint32_t i, k, nr_fds = 0;
    int fds[VGPU_PROTO_MAX_FDS];
    int ret;

    for (i = 0; i < max_runs && req->sent + i < req->total; i++) {
        ComputeRun *run = &g_array_index(res->runs, ComputeRun, req->sent + i);

        k = 0;
        while (k < nr_fds && fds[k] != run->fd) {
            k++;
        }
        if (k == VGPU_PROTO_MAX_FDS) {
            break;
        }
        if (k == nr_fds) {
            fds[nr_fds++] = run->fd;
        }
        msg->runs[i] = (struct vgpu_run) {
            .fd = k,
            .offset = run->offset,
            .length = run->length,
        };
    }

    msg->hdr.size = sizeof(*msg) + i * sizeof(msg->runs[0]);
    msg->hdr.flags = req->sent + i < req->total ? VGPU_MSG_F_MORE : 0;
    msg->res_id = res->id;
    msg->flags = (res->readonly ? VGPU_RES_RDONLY : 0) |
                 (res->fd >= 0 ? VGPU_RES_BLOB : 0);
    msg->blob_id = res->blob_id;
    msg->size = res->size;
    msg->nr_runs = i;
    msg->reserved = 0;
    ret = compute_ctx_sendmsg(ctx, &msg->hdr, fds, nr_fds);
    if (ret > 0) {
        req->sent += i;
    }
    return ret;
}

static int compute_ctx_send_unmap(ComputeContext *ctx, ComputeRequest *req,
                                  struct vgpu_msg_res_unmap *msg)
{
    msg->hdr.size = sizeof(*msg);
    msg->hdr.flags = 0;
    msg->res_id = req->mapping->res->id;
    msg->reserved = 0;
    return compute_ctx_sendmsg(ctx, &msg->hdr, NULL, 0);
}

static int compute_ctx_send_submit(ComputeContext *ctx, ComputeRequest *req,
                                   struct vgpu_msg_submit *msg)
{
    uint32_t len = MIN(VGPU_PROTO_MAX_MSG - sizeof(*msg),
                       req->total - req->sent);
    struct virtio_gpu_ctrl_command *cmd;
    int ret;

    cmd = virtio_gpu_find_deferred(ctx->s->g, req->cmd);
    if (!cmd) {
        /* dropped by a reset, which kills the worker as well */
        return -1;
    }
    if (iov_to_buf(cmd->elem.out_sg, cmd->elem.out_num,
                   sizeof(struct virtio_gpu_cmd_submit) + req->sent,
                   msg->payload, len) != len) {
        return -1;
    }

    msg->hdr.size = sizeof(*msg) + len;
    msg->hdr.flags = req->sent + len < req->total ? VGPU_MSG_F_MORE : 0;
    msg->ring_idx = req->ring_idx;
    msg->total = req->total;
    ret = compute_ctx_sendmsg(ctx, &msg->hdr, NULL, 0);
    if (ret > 0) {
        req->sent += len;
    }
    return ret;
}

static int compute_ctx_send_doorbell(ComputeContext *ctx, ComputeRequest *req,
                                     struct vgpu_msg_doorbell *msg)
{
    msg->hdr.size = sizeof(*msg);
    msg->hdr.flags = 0;
    msg->res_id = req->doorbell.res_id;
    msg->offset = req->doorbell.offset;
    msg->size = req->doorbell.size;
    msg->reserved = 0;
    msg->value = req->doorbell.value;
    return compute_ctx_sendmsg(ctx, &msg->hdr, NULL, 0);
}

static int compute_ctx_send(ComputeContext *ctx, ComputeRequest *req,
                            void *buf)
{
    struct vgpu_msg_hdr *hdr = buf;

    hdr->type = req->type;
    hdr->reserved = 0;
    hdr->serial = req->serial;
    switch (req->type) {
    case VGPU_MSG_RES_MAP:
        return compute_ctx_send_map(ctx, req, buf);
    case VGPU_MSG_RES_UNMAP:
        return compute_ctx_send_unmap(ctx, req, buf);
    case VGPU_MSG_SUBMIT:
        return compute_ctx_send_submit(ctx, req, buf);
    case VGPU_MSG_DOORBELL:
        return compute_ctx_send_doorbell(ctx, req, buf);
    default:
        g_assert_not_reached();
    }
}

static void compute_ctx_readable(void *opaque);
static void compute_ctx_writable(void *opaque);

static void compute_ctx_send_queue(ComputeContext *ctx)
{
    g_autofree uint8_t *buf = NULL;
    bool blocked = false;
    ComputeRequest *req;
    int ret;

    if (ctx->state != COMPUTE_CTX_RUNNING || ctx->killed) {
        return;
    }

    while ((req = QTAILQ_FIRST(&ctx->queue))) {
        if (req->type == VGPU_MSG_RES_MAP &&
            ctx->nr_maps >= COMPUTE_MAX_MAPS_SENT) {
            break;
        }
        if (!buf) {
            buf = g_malloc(VGPU_PROTO_MAX_MSG);
        }
        ret = compute_ctx_send(ctx, req, buf);
        if (ret < 0) {
            compute_ctx_kill(ctx);
            return;
        }
        if (!ret) {
            blocked = true;
            break;
        }
        if (req->sent < req->total) {
            continue;
        }
        trace_virtio_gpu_compute_request(ctx->id, req->serial, req->type);
        QTAILQ_REMOVE(&ctx->queue, req, next);
        if (req->type == VGPU_MSG_DOORBELL) {
            /* not answered: that it is taken is all that tells of a worker */
            ctx->nr_doorbells--;
            g_free(req);
            if (QTAILQ_EMPTY(&ctx->sent)) {
                compute_ctx_watch(ctx);
            }
            continue;
        }
        QTAILQ_INSERT_TAIL(&ctx->sent, req, next);
        ctx->nr_maps += req->type == VGPU_MSG_RES_MAP;
    }

    if (blocked != ctx->blocked) {
        ctx->blocked = blocked;
        qemu_set_fd_handler(ctx->sock, compute_ctx_readable,
                            blocked ? compute_ctx_writable : NULL, ctx);
    }
}

static void compute_ctx_writable(void *opaque)
{
    compute_ctx_send_queue(opaque);
}

void compute_ctx_request(ComputeContext *ctx, ComputeRequest *req)
{
    bool idle = QTAILQ_EMPTY(&ctx->queue) && QTAILQ_EMPTY(&ctx->sent);

    req->serial = ++ctx->s->last_serial;
    QTAILQ_INSERT_TAIL(&ctx->queue, req, next);
    if (idle) {
        compute_ctx_watch(ctx);
    }
    compute_ctx_send_queue(ctx);
}

static bool compute_is_doorbell(const ComputeRequest *req, uint32_t res_id,
                                uint32_t offset, uint32_t size)
{
    return req->type == VGPU_MSG_DOORBELL && req->doorbell.res_id == res_id &&
           req->doorbell.offset == offset && req->doorbell.size == size;
}

void compute_ctx_doorbell(ComputeContext *ctx, uint32_t res_id,
                          uint32_t offset, uint64_t value, uint32_t size)
{
    ComputeRequest *req = QTAILQ_LAST(&ctx->queue);

    if (ctx->state != COMPUTE_CTX_RUNNING || ctx->killed) {
        return;
    }
    if (req && compute_is_doorbell(req, res_id, offset, size)) {
        req->doorbell.value = value;
        return;
    }
    if (ctx->nr_doorbells >= COMPUTE_MAX_DOORBELLS) {
        while (req && !compute_is_doorbell(req, res_id, offset, size)) {
            req = QTAILQ_PREV(req, next);
        }
        if (!req) {
            qemu_log_mask(LOG_GUEST_ERROR, "virtio-gpu-compute: context %"
                          PRIu32 " has stored to more than %d doorbells that "
                          "its worker does not look at: it is killed\n",
                          ctx->id, COMPUTE_MAX_DOORBELLS);
            compute_ctx_kill(ctx);
            return;
        }
        QTAILQ_REMOVE(&ctx->queue, req, next);
    } else {
        req = g_new0(ComputeRequest, 1);
        req->type = VGPU_MSG_DOORBELL;
        req->doorbell.res_id = res_id;
        req->doorbell.offset = offset;
        req->doorbell.size = size;
        ctx->nr_doorbells++;
    }
    req->doorbell.value = value;
    compute_ctx_request(ctx, req);
}

/* Receiving from a worker */

static void compute_ctx_died(void *opaque)
{
    ComputeContext *ctx = opaque;

    /* what it had finished is finished */
    if (!ctx->killed) {
        compute_ctx_readable(ctx);
    }
    trace_virtio_gpu_compute_ctx_died(ctx->id, ctx->killed);
    if (!compute_kfd_busy(ctx)) {
        compute_ctx_gone(ctx);
        return;
    }
    /* if it has not been: nothing is asked of it any more */
    compute_ctx_kill(ctx);
    qemu_set_fd_handler(ctx->pidfd, NULL, NULL, NULL);
    compute_kfd_watch(ctx);
}

/* Takes @fd. Returns: false if the context is gone */
static bool compute_ctx_ready(ComputeContext *ctx,
                              const struct vgpu_msg_done *msg, int fd)
{
    bool valid = msg->hdr.type == VGPU_MSG_CTX_READY &&
                 msg->hdr.serial == ctx->serial && !msg->flags;

    /* signal 0 tells a pidfd from other descriptors */
    if (valid && !msg->status && fd >= 0 &&
        (!pidfd_signal(fd, 0) || errno == EPERM || errno == ESRCH) &&
        compute_kfd_init(ctx, fd)) {
        trace_virtio_gpu_compute_ctx_ready(ctx->id);
        ctx->state = COMPUTE_CTX_RUNNING;
        ctx->pidfd = fd;
        qemu_set_fd_handler(fd, compute_ctx_died, NULL, ctx);
        compute_answer(ctx->s, ctx->create_cmd, VIRTIO_GPU_RESP_OK_NODATA);
        ctx->create_cmd = 0;
        compute_ctx_watch(ctx);
        compute_ctx_send_queue(ctx);
        return true;
    }

    if (valid && msg->status) {
        warn_report_once("vgpu-compute-server cannot start a worker: %s",
                         strerror(msg->status));
    } else {
        warn_report_once("vgpu-compute-server did not answer as it should: "
                         "context %" PRIu32 " is lost", ctx->id);
    }
    if (fd >= 0) {
        close(fd);
    }
    compute_ctx_kill(ctx);
    compute_ctx_gone(ctx);
    return false;
}

/* Is that what a worker may say of what it was asked? */
static bool compute_done_flags_valid(const ComputeRequest *req,
                                     const struct vgpu_msg_done *msg)
{
    ComputeResource *res = req->mapping ? req->mapping->res : NULL;

    if (!msg->flags) {
        return true;
    }
    return msg->flags == VGPU_DONE_DOORBELLS && !msg->status &&
           req->type == VGPU_MSG_RES_MAP && res->fd >= 0 &&
           /* offsets in messages have 32 bits */
           res->size <= UINT32_MAX;
}

static void compute_ctx_done(ComputeContext *ctx,
                             const struct vgpu_msg_done *msg)
{
    ComputeRequest *req = QTAILQ_FIRST(&ctx->sent);

    if (msg->hdr.type != VGPU_MSG_DONE || !req ||
        msg->hdr.serial != req->serial || !compute_done_flags_valid(req, msg) ||
        /* memory that cannot be unmapped is in use as long as it lives */
        (msg->status && req->type == VGPU_MSG_RES_UNMAP)) {
        trace_virtio_gpu_compute_ctx_broken(ctx->id, "unexpected message");
        compute_ctx_kill(ctx);
        return;
    }

    trace_virtio_gpu_compute_done(ctx->id, req->serial, msg->status);
    QTAILQ_REMOVE(&ctx->sent, req, next);
    ctx->nr_maps -= req->type == VGPU_MSG_RES_MAP;
    compute_ctx_watch(ctx);
    if (msg->flags) {
        /* before a MAP_BLOB that waits is processed */
        req->mapping->res->trapped = true;
    }
    compute_request_done(ctx, req, msg->status);
    g_free(req);
}

/*
 * Returns: as recvmsg(); *@fd is the descriptor that came with the message.
 * Messages that are not as they should be have size 0, as the end has.
 */
static ssize_t compute_ctx_recvmsg(ComputeContext *ctx,
                                   struct vgpu_msg_done *done, int *fd)
{
    char control[CMSG_SPACE(sizeof(int) * VGPU_PROTO_MAX_FDS)]
        QEMU_ALIGNED(__alignof__(struct cmsghdr));
    struct iovec iov = { .iov_base = done, .iov_len = sizeof(*done) };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg;
    int fds[VGPU_PROTO_MAX_FDS];
    size_t i, nr_fds = 0;
    ssize_t ret;

    *fd = -1;
    ret = RETRY_ON_EINTR(recvmsg(ctx->sock, &msg,
                                 MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (ret < 0) {
        return ret;
    }

    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            nr_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(cmsg), nr_fds * sizeof(int));
        }
    }
    if (ret == sizeof(*done) && done->hdr.size == sizeof(*done) &&
        !done->hdr.flags && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
        nr_fds <= (ctx->state == COMPUTE_CTX_STARTING)) {
        *fd = nr_fds ? fds[0] : -1;
        return ret;
    }
    for (i = 0; i < nr_fds; i++) {
        close(fds[i]);
    }
    return 0;
}

static void compute_ctx_readable(void *opaque)
{
    ComputeContext *ctx = opaque;
    struct vgpu_msg_done msg;
    ssize_t len;
    int i, fd;

    for (i = 0; i < COMPUTE_MAX_READS && !ctx->killed; i++) {
        len = compute_ctx_recvmsg(ctx, &msg, &fd);
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (ctx->state == COMPUTE_CTX_STARTING) {
            if (len <= 0) {
                memset(&msg, 0, sizeof(msg));
            }
            if (!compute_ctx_ready(ctx, &msg, fd)) {
                return;
            }
        } else if (len > 0) {
            compute_ctx_done(ctx, &msg);
        } else {
            trace_virtio_gpu_compute_ctx_broken(ctx->id, "end of file");
            compute_ctx_kill(ctx);
        }
    }
    compute_ctx_send_queue(ctx);
}

/* Life and death */

ComputeContext *compute_ctx_new(VirtIOGPUCompute *s, uint32_t id,
                                uint32_t capset_id, const char *name,
                                Error **errp)
{
    struct vgpu_msg_ctx_create msg = {
        .hdr.type = VGPU_MSG_CTX_CREATE,
        .hdr.size = sizeof(msg),
        .hdr.serial = ++s->last_serial,
        .ctx_id = id,
        .capset_id = capset_id,
    };
    ComputeContext *ctx;
    int sndbuf = 4 * VGPU_PROTO_MAX_MSG;
    int sv[2];
    bool sent;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
        error_setg_errno(errp, errno, "cannot make a socket pair");
        return NULL;
    }
    pstrcpy(msg.name, sizeof(msg.name), name);
    sent = compute_server_send(s, &msg, sizeof(msg), sv[1]);
    close(sv[1]);
    if (!sent) {
        close(sv[0]);
        error_setg(errp, "vgpu-compute-server cannot be reached");
        return NULL;
    }
    /* at least one message has to fit, however small the default is */
    setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));

    ctx = g_new0(ComputeContext, 1);
    ctx->s = s;
    ctx->id = id;
    ctx->serial = msg.hdr.serial;
    ctx->state = COMPUTE_CTX_STARTING;
    ctx->sock = sv[0];
    ctx->pidfd = -1;
    QTAILQ_INIT(&ctx->queue);
    QTAILQ_INIT(&ctx->sent);
    QTAILQ_INIT(&ctx->mappings);
    QTAILQ_INSERT_TAIL(&s->contexts, ctx, next);
    s->nr_contexts++;
    qemu_set_fd_handler(ctx->sock, compute_ctx_readable, NULL, ctx);
    ctx->watchdog = timer_new_ms(QEMU_CLOCK_REALTIME, compute_ctx_timed_out,
                                 ctx);
    compute_ctx_watch(ctx);
    return ctx;
}

void compute_ctx_kill(ComputeContext *ctx)
{
    struct vgpu_msg_hdr msg = {
        .type = VGPU_MSG_CTX_KILL,
        .size = sizeof(msg),
        .serial = ctx->serial,
    };

    if (ctx->killed || ctx->state == COMPUTE_CTX_LOST) {
        return;
    }
    trace_virtio_gpu_compute_ctx_kill(ctx->id);
    ctx->killed = true;
    timer_del(ctx->watchdog);
    qemu_set_fd_handler(ctx->sock, NULL, NULL, NULL);
    if (ctx->pidfd >= 0) {
        pidfd_signal(ctx->pidfd, SIGKILL);
    }
    /* QEMU may lack the permission or the pidfd */
    compute_server_send(ctx->s, &msg, sizeof(msg), -1);
}

bool compute_ctx_wait(ComputeContext *ctx, int64_t deadline)
{
    struct pollfd pfd = { .fd = ctx->pidfd, .events = POLLIN };
    int64_t left;
    int ret;

    do {
        left = deadline - qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
        ret = poll(&pfd, 1, MAX(left, 0));
    } while (ret < 0 && errno == EINTR);
    return ret > 0 && compute_kfd_wait(ctx, deadline);
}

void compute_ctx_gone(ComputeContext *ctx)
{
    VirtIOGPUCompute *s = ctx->s;
    ComputeRequest *req;
    ComputeMapping *m;

    if (ctx->state != COMPUTE_CTX_LOST) {
        ctx->state = COMPUTE_CTX_LOST;
        g_clear_pointer(&ctx->watchdog, timer_free);
        g_clear_pointer(&ctx->kfd_timer, timer_free);
        qemu_set_fd_handler(ctx->sock, NULL, NULL, NULL);
        close(ctx->sock);
        if (ctx->pidfd >= 0) {
            qemu_set_fd_handler(ctx->pidfd, NULL, NULL, NULL);
            close(ctx->pidfd);
        }
        compute_answer(s, ctx->create_cmd, VIRTIO_GPU_RESP_ERR_UNSPEC);
        while ((req = QTAILQ_FIRST(&ctx->sent))) {
            QTAILQ_REMOVE(&ctx->sent, req, next);
            compute_request_lost(ctx, req);
            g_free(req);
        }
        while ((req = QTAILQ_FIRST(&ctx->queue))) {
            QTAILQ_REMOVE(&ctx->queue, req, next);
            compute_request_lost(ctx, req);
            g_free(req);
        }
        while ((m = QTAILQ_FIRST(&ctx->mappings))) {
            compute_mapping_free(s, m);
        }
    }

    if (ctx->destroyed) {
        compute_answer(s, ctx->destroy_cmd, VIRTIO_GPU_RESP_OK_NODATA);
        QTAILQ_REMOVE(&s->contexts, ctx, next);
        s->nr_contexts--;
        g_free(ctx);
        compute_release(s);
    }
}
