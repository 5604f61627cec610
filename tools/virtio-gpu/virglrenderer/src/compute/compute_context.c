/* SPDX-License-Identifier: MIT */
/*
 * A context and its worker process
 *
 * Requests to a worker are queued, sent as its socket has room, and answered in their
 * order.  A thread of each context does that, and watches the worker.  What the VMM calls
 * only queues, except where its caller has to know the outcome:
 *
 *  - Creation of a blob succeeds when the worker has mapped it.
 *  - The guest may reuse memory when detach_resource or destroy has returned.  So they
 *    return when the worker has unmapped it, or is dead, and not before, whatever happens.
 *    After compute_context_begin_detach() that is the case already when its fence is retired.
 *
 * Such a caller does the thread's work until then, with the mutex held.  It does not wait for
 * the thread, which may itself be in a fence callback that waits for the VMM.  Only destroy
 * joins it at the end.
 *
 * A worker may do what it likes with memory that it has mapped, but only as long as it
 * lives: whatever goes wrong with one ends in a kill.
 */

#include "compute_context.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/anon_file.h"
#include "util/hash_table.h"
#include "util/list.h"
#include "util/macros.h"
#include "util/u_thread.h"

#include "compute_memory.h"
#include "virgl_context.h"

/* How long the server may take to start a worker, which it does before anything else. */
#define COMPUTE_START_TIMEOUT_MS 10000

/* Killing a process takes milliseconds, unless it waits in a GPU driver. */
#define COMPUTE_DEATH_WARNING_MS 10000

/* Descriptors in flight count against the VMM's RLIMIT_NOFILE. */
#define COMPUTE_MAX_MAPS_SENT 8

/* What a guest can make us keep for a worker that does not read. */
#define COMPUTE_MAX_QUEUED (16 * 1024 * 1024)

struct compute_request {
   struct list_head head;
   uint32_t type; /* enum vgpu_msg_type */
   uint64_t serial;

   /* RES_MAP, RES_UNMAP */
   uint32_t res_id;
   uint32_t map_flags;
   uint64_t blob_id;
   struct compute_memory *mem;
   bool is_attach; /* nobody waits for the outcome */

   uint32_t total; /* runs of RES_MAP, bytes of SUBMIT */
   uint32_t sent;  /* of total */
   size_t queued_size;
   uint8_t payload[];
};

struct compute_fence {
   struct list_head head;
   uint32_t ring_idx;
   uint64_t fence_id;
   uint64_t serial; /* of the last request before it, UINT64_MAX: retired by death */
};

struct compute_resource {
   uint64_t unmap_serial; /* of its RES_UNMAP, 0: not queued yet */
};

struct compute_context {
   struct virgl_context base;

   uint64_t serial; /* its name towards the server */
   int sock;
   int pidfd;

   /*
    * What the worker has mapped or been asked to map, until it is detached: compute_resource
    * by res_id; only the VMM's thread looks here.
    */
   struct hash_table *resources;

   thrd_t thread;
   int wake_fd;  /* to the thread: look again */
   int fence_fd; /* to the VMM: there are signaled fences */

   /* protects all below */
   mtx_t mutex;
   bool stop;
   bool killed;  /* and to die soon */
   bool lost;    /* dead: it has no access to memory any more */
   bool blocked; /* sock has no room */

   uint64_t last_serial;
   uint64_t done_serial; /* of the last request that was answered */
   size_t queued_size;
   uint32_t nr_maps_sent;
   struct list_head queue;
   struct list_head sent;
   int64_t deadline; /* when the worker has to have answered, of now_ms(), or 0 */

   /* the one request whose outcome the VMM's thread waits for */
   uint64_t awaited_serial;
   int awaited_result;
   bool awaited_done;

   struct list_head fences;
   struct list_head signaled;

   /* the message that is being sent */
   uint64_t buf[VGPU_PROTO_MAX_MSG / sizeof(uint64_t)];
};

static struct compute_context *
compute_context(struct virgl_context *base)
{
   return (struct compute_context *)base;
}

static int64_t
now_ms(void)
{
   struct timespec ts;

   clock_gettime(CLOCK_MONOTONIC, &ts);
   return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t
new_deadline(void)
{
   return compute_renderer.timeout_ms ? now_ms() + compute_renderer.timeout_ms : 0;
}

static int
pidfd_signal(int pidfd, int sig)
{
   return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

static bool
is_readable(int fd)
{
   struct pollfd pfd = {
      .fd = fd,
      .events = POLLIN,
   };

   return poll(&pfd, 1, 0) > 0;
}

static void
compute_context_wake(struct compute_context *ctx)
{
   write_eventfd(ctx->wake_fd, 1);
}

/* Fences */

static void
compute_context_signal_fences(struct compute_context *ctx)
{
   list_for_each_entry_safe (struct compute_fence, fence, &ctx->fences, head) {
      if (!ctx->lost && fence->serial > ctx->done_serial)
         break;
      list_del(&fence->head);
      list_addtail(&fence->head, &ctx->signaled);
   }
}

/* Called with the mutex, which is released meanwhile: callbacks may wait for the VMM. */
static void
compute_context_retire_signaled(struct compute_context *ctx)
{
   while (!list_is_empty(&ctx->signaled)) {
      struct list_head fences;

      list_inithead(&fences);
      list_splice(&ctx->signaled, &fences);
      list_inithead(&ctx->signaled);
      mtx_unlock(&ctx->mutex);
      list_for_each_entry_safe (struct compute_fence, fence, &fences, head) {
         ctx->base.fence_retire(&ctx->base, fence->ring_idx, fence->fence_id);
         free(fence);
      }
      mtx_lock(&ctx->mutex);
   }
}

/* The life of a worker; all with the mutex */

static void
compute_request_destroy(struct compute_context *ctx, struct compute_request *req)
{
   list_del(&req->head);
   compute_memory_destroy(req->mem);
   ctx->queued_size -= req->queued_size;
   free(req);
}

static void
compute_context_answer(struct compute_context *ctx, uint64_t serial, int result)
{
   if (serial == ctx->awaited_serial) {
      ctx->awaited_result = result;
      ctx->awaited_done = true;
   }
}

static void
compute_context_kill(struct compute_context *ctx, const char *why)
{
   if (ctx->killed || ctx->lost)
      return;

   if (why)
      virgl_error("compute: context %u is lost: %s\n", ctx->base.ctx_id, why);
   ctx->killed = true;
   ctx->deadline = 0;
   /* First, so that the server does not take it for a crash. */
   compute_server_kill_context(&compute_renderer.server, ctx->serial);
   /* It may be slow, or gone.  We may lack the permission. */
   pidfd_signal(ctx->pidfd, SIGKILL);
}

static void
compute_context_gone(struct compute_context *ctx)
{
   if (!ctx->killed)
      virgl_error("compute: context %u is lost: its worker has died\n", ctx->base.ctx_id);
   ctx->killed = true;
   ctx->lost = true;
   ctx->deadline = 0;

   list_for_each_entry_safe (struct compute_request, req, &ctx->sent, head) {
      compute_context_answer(ctx, req->serial, -EIO);
      compute_request_destroy(ctx, req);
   }
   list_for_each_entry_safe (struct compute_request, req, &ctx->queue, head) {
      compute_context_answer(ctx, req->serial, -EIO);
      compute_request_destroy(ctx, req);
   }
   compute_context_signal_fences(ctx);
}

/* Each function sends one message.  Returns what compute_send() does. */

static int
compute_context_send_map(struct compute_context *ctx, struct compute_request *req)
{
   struct vgpu_msg_res_map *msg = (struct vgpu_msg_res_map *)ctx->buf;
   const uint32_t max_runs = (sizeof(ctx->buf) - sizeof(*msg)) / sizeof(msg->runs[0]);
   const struct compute_memory *mem = req->mem;
   uint32_t fd_index[VGPU_PROTO_MAX_FDS];
   int fds[VGPU_PROTO_MAX_FDS];
   uint32_t nr_fds = 0;
   uint32_t i;

   for (i = 0; i < max_runs && req->sent + i < req->total; i++) {
      const struct compute_run *run = &mem->runs[req->sent + i];
      uint32_t k = 0;

      while (k < nr_fds && fd_index[k] != run->fd)
         k++;
      if (k == VGPU_PROTO_MAX_FDS)
         break;
      if (k == nr_fds) {
         fd_index[k] = run->fd;
         fds[k] = mem->fds[run->fd];
         nr_fds++;
      }
      msg->runs[i] = (struct vgpu_run){
         .fd = k,
         .offset = run->offset,
         .length = run->length,
      };
   }

   msg->hdr = (struct vgpu_msg_hdr){
      .type = req->type,
      .size = sizeof(*msg) + i * sizeof(msg->runs[0]),
      .flags = req->sent + i < req->total ? VGPU_MSG_F_MORE : 0,
      .serial = req->serial,
   };
   msg->res_id = req->res_id;
   msg->flags = req->map_flags;
   msg->blob_id = req->blob_id;
   msg->size = mem->size;
   msg->nr_runs = i;
   msg->reserved = 0;

   const int ret = compute_send(ctx->sock, &msg->hdr, fds, nr_fds);
   if (ret >= 0)
      req->sent += i;
   return ret;
}

static int
compute_context_send_unmap(struct compute_context *ctx, struct compute_request *req)
{
   const struct vgpu_msg_res_unmap msg = {
      .hdr = {
         .type = req->type,
         .size = sizeof(msg),
         .serial = req->serial,
      },
      .res_id = req->res_id,
   };

   return compute_send(ctx->sock, &msg.hdr, NULL, 0);
}

static int
compute_context_send_submit(struct compute_context *ctx, struct compute_request *req)
{
   struct vgpu_msg_submit *msg = (struct vgpu_msg_submit *)ctx->buf;
   const uint32_t len = MIN2(sizeof(ctx->buf) - sizeof(*msg), req->total - req->sent);

   msg->hdr = (struct vgpu_msg_hdr){
      .type = req->type,
      .size = sizeof(*msg) + len,
      .flags = req->sent + len < req->total ? VGPU_MSG_F_MORE : 0,
      .serial = req->serial,
   };
   msg->ring_idx = 0;
   msg->total = req->total;
   memcpy(msg->payload, req->payload + req->sent, len);

   const int ret = compute_send(ctx->sock, &msg->hdr, NULL, 0);
   if (ret >= 0)
      req->sent += len;
   return ret;
}

static int
compute_context_send_request(struct compute_context *ctx, struct compute_request *req)
{
   switch (req->type) {
   case VGPU_MSG_RES_MAP:
      return compute_context_send_map(ctx, req);
   case VGPU_MSG_SUBMIT:
      return compute_context_send_submit(ctx, req);
   default:
      return compute_context_send_unmap(ctx, req);
   }
}

static void
compute_context_send_queue(struct compute_context *ctx)
{
   ctx->blocked = false;

   while (!ctx->killed && !list_is_empty(&ctx->queue)) {
      struct compute_request *req =
         list_first_entry(&ctx->queue, struct compute_request, head);

      if (req->type == VGPU_MSG_RES_MAP && ctx->nr_maps_sent >= COMPUTE_MAX_MAPS_SENT)
         return;

      const int ret = compute_context_send_request(ctx, req);
      if (ret == -EAGAIN) {
         ctx->blocked = true;
         return;
      }
      if (ret < 0) {
         compute_context_kill(ctx, strerror(-ret));
         return;
      }
      if (req->sent < req->total)
         continue;

      list_del(&req->head);
      list_addtail(&req->head, &ctx->sent);
      ctx->nr_maps_sent += req->type == VGPU_MSG_RES_MAP;
      /* What is left of it is small. */
      compute_memory_destroy(req->mem);
      req->mem = NULL;
   }
}

static void
compute_context_done(struct compute_context *ctx, const struct vgpu_msg_done *msg)
{
   struct compute_request *req = NULL;

   if (!list_is_empty(&ctx->sent))
      req = list_first_entry(&ctx->sent, struct compute_request, head);
   if (!req || msg->hdr.type != VGPU_MSG_DONE || msg->hdr.serial != req->serial) {
      compute_context_kill(ctx, "its worker sent an unexpected message");
      return;
   }

   switch (req->type) {
   case VGPU_MSG_RES_MAP:
      ctx->nr_maps_sent--;
      /* The guest does not look for an error there: don't let it go on without. */
      if (msg->status && req->is_attach) {
         compute_context_kill(ctx, "its worker cannot map a resource");
         return;
      }
      break;
   case VGPU_MSG_RES_UNMAP:
      /* Memory that cannot be unmapped is in use as long as the worker lives. */
      if (msg->status) {
         compute_context_kill(ctx, "its worker cannot unmap a resource");
         return;
      }
      break;
   default:
      break;
   }
   ctx->done_serial = req->serial;
   compute_context_signal_fences(ctx);

   /* An errno of this machine, or nothing that a caller should see. */
   compute_context_answer(ctx, req->serial,
                          msg->status < 4096 ? -(int)msg->status : -EIO);
   compute_request_destroy(ctx, req);
   if (list_is_empty(&ctx->sent) && list_is_empty(&ctx->queue))
      ctx->deadline = 0;
   else
      ctx->deadline = new_deadline();
}

/*
 * Takes one message, and the descriptor that it may come with if fd is not NULL.
 *
 * Returns 0, or a negative errno: -EAGAIN if there is none, -ECONNRESET at the end,
 * -EBADMSG if it is not as it should be.
 */
static int
compute_context_recv(struct compute_context *ctx, struct vgpu_msg_done *done, int *fd)
{
   union {
      char buf[CMSG_SPACE(sizeof(int) * VGPU_PROTO_MAX_FDS)];
      struct cmsghdr align;
   } control;
   struct iovec iov = {
      .iov_base = done,
      .iov_len = sizeof(*done),
   };
   struct msghdr msg = {
      .msg_iov = &iov,
      .msg_iovlen = 1,
      .msg_control = control.buf,
      .msg_controllen = sizeof(control.buf),
   };
   int fds[VGPU_PROTO_MAX_FDS];
   size_t nr_fds = 0;
   ssize_t len;

   do {
      len = recvmsg(ctx->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
   } while (len < 0 && errno == EINTR);
   if (len <= 0)
      return len ? -errno : -ECONNRESET;

   for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
      if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
         nr_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
         memcpy(fds, CMSG_DATA(cmsg), nr_fds * sizeof(int));
      }
   }

   /* Our HELLO has no VGPU_MSG_F_DOORBELLS: there is nothing to be said with done->flags. */
   if (len == sizeof(*done) && done->hdr.size == sizeof(*done) && !done->hdr.flags &&
       !done->flags && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
       nr_fds <= (fd ? 1 : 0)) {
      if (nr_fds)
         *fd = fds[0];
      return 0;
   }

   for (size_t i = 0; i < nr_fds; i++)
      close(fds[i]);
   return -EBADMSG;
}

static void
compute_context_receive(struct compute_context *ctx)
{
   struct vgpu_msg_done msg;

   while (!ctx->killed) {
      const int ret = compute_context_recv(ctx, &msg, NULL);

      if (!ret) {
         compute_context_done(ctx, &msg);
         continue;
      }
      if (ret == -ECONNRESET)
         compute_context_kill(ctx, "its worker has closed the connection");
      else if (ret == -EBADMSG)
         compute_context_kill(ctx, "its worker sent an invalid message");
      else if (ret != -EAGAIN)
         compute_context_kill(ctx, strerror(-ret));
      return;
   }
}

/* All that can be done without waiting. */
static void
compute_context_process(struct compute_context *ctx)
{
   if (ctx->lost)
      return;

   /* Before the messages: what a worker has finished before its death is finished. */
   const bool dead = is_readable(ctx->pidfd);

   compute_context_receive(ctx);
   if (dead) {
      compute_context_gone(ctx);
      return;
   }

   if (ctx->deadline && now_ms() >= ctx->deadline)
      compute_context_kill(ctx, "its worker does not answer");
   compute_context_send_queue(ctx);
}

/* Returns how many of pfds to poll for something to process. */
static int
compute_context_get_pollfds(const struct compute_context *ctx, struct pollfd pfds[static 2])
{
   if (ctx->lost)
      return 0;

   pfds[0] = (struct pollfd){
      .fd = ctx->pidfd,
      .events = POLLIN,
   };
   pfds[1] = (struct pollfd){
      .fd = ctx->sock,
      .events = POLLIN | (ctx->blocked ? POLLOUT : 0),
   };
   return ctx->killed ? 1 : 2;
}

static int
poll_timeout(int64_t deadline)
{
   if (!deadline)
      return -1;

   return CLAMP(deadline - now_ms(), 0, INT32_MAX);
}

/* Until the worker has answered the awaited request, or for its death. */
static void
compute_context_wait(struct compute_context *ctx, const bool *done)
{
   /* whatever the worker does meanwhile */
   const int64_t deadline = new_deadline();
   int64_t death_deadline = 0;

   compute_context_process(ctx);
   while (!*done) {
      struct pollfd pfds[2];
      const int count = compute_context_get_pollfds(ctx, pfds);
      int64_t next = deadline;

      if (ctx->killed) {
         if (!death_deadline)
            death_deadline = now_ms() + COMPUTE_DEATH_WARNING_MS;
         next = death_deadline;
      } else if (ctx->deadline && ctx->deadline < next) {
         next = ctx->deadline;
      }

      const int ret = poll(pfds, count, poll_timeout(next));
      if (!ret && ctx->killed) {
         /* Better no virtual machine than one with two users of the same memory. */
         virgl_error("compute: the worker of context %u does not die and may still write "
                     "to guest memory: waiting\n", ctx->base.ctx_id);
         death_deadline = INT64_MAX;
      } else if (!ret && deadline && now_ms() >= deadline) {
         compute_context_kill(ctx, "its worker does not answer");
      }
      compute_context_process(ctx);
   }

   if (!list_is_empty(&ctx->signaled))
      compute_context_wake(ctx);
}

static int
compute_context_thread(void *arg)
{
   struct compute_context *ctx = arg;
   const bool async = compute_renderer.flags & VIRGL_RENDERER_ASYNC_FENCE_CB;

   u_thread_setname("vgpu-compute");

   mtx_lock(&ctx->mutex);
   while (true) {
      struct pollfd pfds[3];

      flush_eventfd(ctx->wake_fd);
      compute_context_process(ctx);
      if (async)
         compute_context_retire_signaled(ctx);
      else if (!list_is_empty(&ctx->signaled))
         write_eventfd(ctx->fence_fd, 1);
      if (ctx->stop)
         break;

      const int count = compute_context_get_pollfds(ctx, pfds);
      pfds[count] = (struct pollfd){
         .fd = ctx->wake_fd,
         .events = POLLIN,
      };
      const int timeout = poll_timeout(ctx->deadline);
      mtx_unlock(&ctx->mutex);
      poll(pfds, count + 1, timeout);
      mtx_lock(&ctx->mutex);
   }
   mtx_unlock(&ctx->mutex);

   return 0;
}

/* What the VMM's thread asks for */

static struct compute_request *
compute_request_create(uint32_t type, size_t payload_size)
{
   struct compute_request *req = calloc(1, sizeof(*req) + payload_size);

   if (!req)
      return NULL;
   req->type = type;
   req->queued_size = sizeof(*req) + payload_size;
   return req;
}

static void
compute_context_queue(struct compute_context *ctx, struct compute_request *req)
{
   const bool was_idle = list_is_empty(&ctx->queue) && list_is_empty(&ctx->sent);

   req->serial = ++ctx->last_serial;
   ctx->queued_size += req->queued_size;
   list_addtail(&req->head, &ctx->queue);
   if (was_idle)
      ctx->deadline = new_deadline();
   compute_context_send_queue(ctx);
   /* It waits for room, and for an answer. */
   if (was_idle || ctx->blocked)
      compute_context_wake(ctx);
}

/* Waits for the outcome of a request that has been queued and not been answered. */
static int
compute_context_await(struct compute_context *ctx, uint64_t serial)
{
   ctx->awaited_done = false;
   ctx->awaited_serial = serial;
   compute_context_wait(ctx, &ctx->awaited_done);
   ctx->awaited_serial = 0;
   return ctx->awaited_result;
}

static struct compute_resource *
compute_context_find_resource(struct compute_context *ctx, uint32_t res_id)
{
   /* The table cannot be asked for 0, which no resource has. */
   const struct hash_entry *entry =
      res_id ? _mesa_hash_table_search(ctx->resources, (void *)(uintptr_t)res_id) : NULL;

   return entry ? entry->data : NULL;
}

static void
compute_resource_destroy(struct hash_entry *entry)
{
   free(entry->data);
}

static void
compute_context_forget_resource(struct compute_context *ctx, uint32_t res_id)
{
   free(compute_context_find_resource(ctx, res_id));
   _mesa_hash_table_remove_key(ctx->resources, (void *)(uintptr_t)res_id);
}

/* Takes mem.  Returns 0 or a negative errno. */
static int
compute_context_map(struct compute_context *ctx,
                    uint32_t res_id,
                    uint64_t blob_id,
                    uint32_t map_flags,
                    struct compute_memory *mem,
                    bool is_attach)
{
   struct compute_request *req = compute_request_create(VGPU_MSG_RES_MAP, 0);
   struct compute_resource *resource = calloc(1, sizeof(*resource));
   int ret = 0;

   if (!req || !resource ||
       !_mesa_hash_table_insert(ctx->resources, (void *)(uintptr_t)res_id, resource)) {
      compute_memory_destroy(mem);
      free(resource);
      free(req);
      return -ENOMEM;
   }
   req->res_id = res_id;
   req->blob_id = blob_id;
   req->map_flags = map_flags | (mem->rdonly ? VGPU_RES_RDONLY : 0);
   req->mem = mem;
   req->total = mem->nr_runs;
   req->queued_size += mem->nr_runs * sizeof(mem->runs[0]);
   req->is_attach = is_attach;

   mtx_lock(&ctx->mutex);
   if (ctx->killed) {
      compute_memory_destroy(mem);
      free(req);
      ret = -EIO;
   } else {
      compute_context_queue(ctx, req);
      if (!is_attach)
         ret = compute_context_await(ctx, ctx->last_serial);
   }
   mtx_unlock(&ctx->mutex);

   if (ret)
      compute_context_forget_resource(ctx, res_id);
   return ret;
}

static void
compute_context_attach_resource(struct virgl_context *base, struct virgl_resource *res)
{
   struct compute_context *ctx = compute_context(base);
   const struct compute_resource *resource = compute_context_find_resource(ctx, res->res_id);
   struct compute_memory *mem;
   int ret;

   /* Linux attaches what a context has created as well. */
   if (resource && !resource->unmap_serial)
      return;

   /* And all else that the same program has: a worker has no use for it. */
   if (res->pipe_resource || res->fd_type != VIRGL_RESOURCE_FD_INVALID || !res->iov)
      return;

   /* What is being detached is the worker's no longer. */
   ret = resource ? -EBUSY : 0;
   if (!ret)
      ret = compute_memory_from_iov(&mem, res->res_id, res->blob_flags, res->iov,
                                    res->iov_count, res->map_size,
                                    compute_renderer.cbs->resolve_mem);
   if (!ret)
      ret = compute_context_map(ctx, res->res_id, 0, 0, mem, true);
   if (!ret)
      return;

   virgl_error("compute: resource %u: %s\n", res->res_id, strerror(-ret));
   compute_context_kill_worker(base);
}

/* Called with the mutex.  Returns 0 or a negative errno. */
static int
compute_context_queue_unmap(struct compute_context *ctx,
                            uint32_t res_id,
                            struct compute_resource *resource)
{
   struct compute_request *req = compute_request_create(VGPU_MSG_RES_UNMAP, 0);

   if (!req)
      return -ENOMEM;
   req->res_id = res_id;
   compute_context_queue(ctx, req);
   resource->unmap_serial = ctx->last_serial;
   return 0;
}

static void
compute_context_detach_resource(struct virgl_context *base, struct virgl_resource *res)
{
   struct compute_context *ctx = compute_context(base);
   struct compute_resource *resource = compute_context_find_resource(ctx, res->res_id);
   int ret = 0;

   if (!resource)
      return;

   mtx_lock(&ctx->mutex);
   if (!ctx->lost) {
      if (!resource->unmap_serial)
         ret = compute_context_queue_unmap(ctx, res->res_id, resource);
      if (ret) {
         compute_context_kill(ctx, strerror(-ret));
         compute_context_wait(ctx, &ctx->lost);
      } else if (resource->unmap_serial > ctx->done_serial) {
         compute_context_await(ctx, resource->unmap_serial);
      }
   }
   mtx_unlock(&ctx->mutex);

   compute_context_forget_resource(ctx, res->res_id);
}

static enum virgl_resource_fd_type
compute_context_export_opaque_handle(UNUSED struct virgl_context *base,
                                     UNUSED struct virgl_resource *res,
                                     UNUSED int *out_fd)
{
   /* our resources have descriptors, or belong to the guest */
   return VIRGL_RESOURCE_FD_INVALID;
}

static int
compute_context_transfer_3d(struct virgl_context *base,
                            struct virgl_resource *res,
                            UNUSED const struct vrend_transfer_info *info,
                            UNUSED int transfer_mode)
{
   virgl_error("compute: no transfers for context %u and resource %u\n", base->ctx_id,
               res->res_id);
   return -EINVAL;
}

static int
compute_context_get_blob(UNUSED struct virgl_context *base,
                         UNUSED uint32_t res_id,
                         UNUSED uint64_t blob_id,
                         UNUSED uint64_t blob_size,
                         UNUSED uint32_t blob_flags,
                         struct virgl_context_blob *blob)
{
   /* finish_blob knows more, and can fail without leaving anything behind */
   *blob = (struct virgl_context_blob){
      .type = VIRGL_RESOURCE_FD_INVALID,
      .map_info = VIRGL_RENDERER_MAP_CACHE_CACHED,
   };
   return 0;
}

/*
 * Memory that the worker shares with the guest: we make it, and seal it.  A file that a
 * worker could shrink would be a SIGBUS for the VMM and its guest.
 */
static int
compute_context_finish_host_blob(struct compute_context *ctx,
                                 struct virgl_resource *res,
                                 const struct virgl_renderer_resource_create_blob_args *args)
{
   struct compute_memory *mem;
   int ret;

   if (!(args->blob_flags & VIRGL_RENDERER_BLOB_FLAG_USE_MAPPABLE) || args->size > INT64_MAX)
      return -EINVAL;

   const int fd = os_create_anonymous_file(args->size, "virgl-compute-blob");
   if (fd < 0)
      return -ENOMEM;
   if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)) {
      ret = -errno;
      goto fail;
   }

   ret = compute_memory_from_fd(&mem, fd, args->size);
   if (ret)
      goto fail;
   ret = compute_context_map(ctx, res->res_id, args->blob_id, VGPU_RES_BLOB, mem, false);
   if (ret)
      goto fail;

   res->fd_type = VIRGL_RESOURCE_FD_SHM;
   res->fd = fd;
   return 0;

fail:
   close(fd);
   return ret;
}

static int
compute_context_finish_guest_blob(struct compute_context *ctx,
                                  struct virgl_resource *res,
                                  const struct virgl_renderer_resource_create_blob_args *args)
{
   struct compute_memory *mem;
   int ret;

   ret = compute_memory_from_iov(&mem, res->res_id, args->blob_flags, args->iovecs,
                                 args->num_iovs, args->size, compute_renderer.cbs->resolve_mem);
   if (ret)
      return ret;

   return compute_context_map(ctx, res->res_id, args->blob_id, 0, mem, false);
}

static int
compute_context_finish_blob(struct virgl_context *base,
                            struct virgl_resource *res,
                            const struct virgl_renderer_resource_create_blob_args *args)
{
   struct compute_context *ctx = compute_context(base);

   if (args->size & (sysconf(_SC_PAGESIZE) - 1))
      return -EINVAL;

   return args->blob_mem == VIRGL_RENDERER_BLOB_MEM_HOST3D
             ? compute_context_finish_host_blob(ctx, res, args)
             : compute_context_finish_guest_blob(ctx, res, args);
}

static int
compute_context_submit_cmd(struct virgl_context *base, const void *buffer, size_t size)
{
   struct compute_context *ctx = compute_context(base);
   struct compute_request *req;
   int ret = 0;

   if (!size)
      return 0;
   if (size > VGPU_PROTO_MAX_SUBMIT)
      return -EINVAL;

   req = compute_request_create(VGPU_MSG_SUBMIT, size);
   if (!req)
      return -ENOMEM;
   memcpy(req->payload, buffer, size);
   req->total = size;

   mtx_lock(&ctx->mutex);
   if (ctx->killed) {
      ret = -EIO;
   } else if (ctx->queued_size + req->queued_size > COMPUTE_MAX_QUEUED) {
      ret = -ENOMEM;
   } else {
      compute_context_queue(ctx, req);
   }
   mtx_unlock(&ctx->mutex);

   if (ret)
      free(req);
   return ret;
}

static int
compute_context_get_fencing_fd(struct virgl_context *base)
{
   return compute_context(base)->fence_fd;
}

static void
compute_context_retire_fences(struct virgl_context *base)
{
   struct compute_context *ctx = compute_context(base);

   assert(!(compute_renderer.flags & VIRGL_RENDERER_ASYNC_FENCE_CB));

   mtx_lock(&ctx->mutex);
   compute_context_retire_signaled(ctx);
   flush_eventfd(ctx->fence_fd);
   mtx_unlock(&ctx->mutex);
}

static struct compute_fence *
compute_fence_create(uint32_t ring_idx, uint64_t fence_id)
{
   struct compute_fence *fence = calloc(1, sizeof(*fence));

   if (!fence)
      return NULL;
   fence->ring_idx = ring_idx;
   fence->fence_id = fence_id;
   return fence;
}

/* Called with the mutex. */
static void
compute_context_add_fence(struct compute_context *ctx, struct compute_fence *fence)
{
   /* A worker that is dying has its memory until it is dead. */
   fence->serial = ctx->killed ? UINT64_MAX : ctx->last_serial;
   list_addtail(&fence->head, &ctx->fences);
   compute_context_signal_fences(ctx);
   if (!list_is_empty(&ctx->signaled))
      compute_context_wake(ctx);
}

static int
compute_context_submit_fence(struct virgl_context *base,
                             UNUSED uint32_t flags,
                             uint32_t ring_idx,
                             uint64_t fence_id)
{
   struct compute_context *ctx = compute_context(base);
   struct compute_fence *fence = compute_fence_create(ring_idx, fence_id);

   if (!fence)
      return -ENOMEM;

   mtx_lock(&ctx->mutex);
   compute_context_add_fence(ctx, fence);
   mtx_unlock(&ctx->mutex);

   return 0;
}

int
compute_context_begin_detach(struct virgl_context *base,
                             uint32_t res_id,
                             uint32_t ring_idx,
                             uint64_t fence_id)
{
   struct compute_context *ctx = compute_context(base);
   struct compute_resource *resource = compute_context_find_resource(ctx, res_id);
   struct compute_fence *fence = compute_fence_create(ring_idx, fence_id);
   int ret = 0;

   if (!fence)
      return -ENOMEM;

   mtx_lock(&ctx->mutex);
   if (resource && !resource->unmap_serial && !ctx->killed)
      ret = compute_context_queue_unmap(ctx, res_id, resource);
   if (!ret)
      compute_context_add_fence(ctx, fence);
   mtx_unlock(&ctx->mutex);

   if (ret)
      free(fence);
   return ret;
}

static int
compute_context_get_device_fd(UNUSED struct virgl_context *base)
{
   return -ENODEV;
}

static void *
compute_context_resource_map(UNUSED struct virgl_context *base,
                             struct virgl_resource *res,
                             void *addr,
                             int32_t prot,
                             int32_t flags)
{
   if (res->fd_type != VIRGL_RESOURCE_FD_SHM)
      return MAP_FAILED;

   return mmap(addr, res->map_size, prot, flags, res->fd, 0);
}

void
compute_context_kill_worker(struct virgl_context *base)
{
   struct compute_context *ctx = compute_context(base);

   mtx_lock(&ctx->mutex);
   compute_context_kill(ctx, NULL);
   mtx_unlock(&ctx->mutex);
}

/* Undoes what compute_context_create() has done so far. */
static void
compute_context_free(struct compute_context *ctx)
{
   if (ctx->sock >= 0)
      close(ctx->sock);
   if (ctx->pidfd >= 0)
      close(ctx->pidfd);
   if (ctx->wake_fd >= 0)
      close(ctx->wake_fd);
   if (ctx->fence_fd >= 0)
      close(ctx->fence_fd);
   if (ctx->resources)
      _mesa_hash_table_destroy(ctx->resources, compute_resource_destroy);
   mtx_destroy(&ctx->mutex);
   free(ctx);
}

static void
compute_context_destroy(struct virgl_context *base)
{
   struct compute_context *ctx = compute_context(base);

   mtx_lock(&ctx->mutex);
   compute_context_kill(ctx, NULL);
   compute_context_wait(ctx, &ctx->lost);
   ctx->stop = true;
   compute_context_wake(ctx);
   mtx_unlock(&ctx->mutex);

   /* It retires what is left: the guest waits for that. */
   thrd_join(ctx->thread, NULL);
   mtx_lock(&ctx->mutex);
   compute_context_retire_signaled(ctx);
   mtx_unlock(&ctx->mutex);

   compute_context_free(ctx);
}

static void
compute_context_init_base(struct compute_context *ctx)
{
   ctx->base.destroy = compute_context_destroy;
   ctx->base.attach_resource = compute_context_attach_resource;
   ctx->base.detach_resource = compute_context_detach_resource;
   ctx->base.export_opaque_handle = compute_context_export_opaque_handle;
   ctx->base.transfer_3d = compute_context_transfer_3d;
   ctx->base.get_blob = compute_context_get_blob;
   ctx->base.finish_blob = compute_context_finish_blob;
   ctx->base.submit_cmd = compute_context_submit_cmd;

   ctx->base.get_fencing_fd = compute_context_get_fencing_fd;
   ctx->base.retire_fences = compute_context_retire_fences;
   ctx->base.submit_fence = compute_context_submit_fence;

   ctx->base.get_device_fd = compute_context_get_device_fd;
   ctx->base.resource_map = compute_context_resource_map;
}

/* The server starts the worker at once; nothing is sent to one that we could not watch. */
static int
compute_context_wait_ready(struct compute_context *ctx)
{
   const int64_t deadline = now_ms() + COMPUTE_START_TIMEOUT_MS;
   struct pollfd pfd = {
      .fd = ctx->sock,
      .events = POLLIN,
   };
   struct vgpu_msg_done msg;
   int ret;

   do {
      ret = poll(&pfd, 1, poll_timeout(deadline));
   } while (ret < 0 && errno == EINTR);
   if (ret <= 0)
      return ret ? -errno : -ETIMEDOUT;

   ret = compute_context_recv(ctx, &msg, &ctx->pidfd);
   if (ret)
      return ret;
   if (msg.hdr.type != VGPU_MSG_CTX_READY || msg.hdr.serial != ctx->serial)
      return -EBADMSG;
   if (msg.status)
      return msg.status < 4096 ? -(int)msg.status : -EIO;

   /* Signal 0 tells a pidfd from other descriptors. */
   if (ctx->pidfd < 0 ||
       (pidfd_signal(ctx->pidfd, 0) && errno != EPERM && errno != ESRCH))
      return -EBADMSG;

   return 0;
}

struct virgl_context *
compute_context_create(uint32_t ctx_id,
                       uint32_t capset_id,
                       size_t debug_len,
                       const char *debug_name)
{
   struct compute_context *ctx;
   int ret;

   ctx = calloc(1, sizeof(*ctx));
   if (!ctx)
      return NULL;
   compute_context_init_base(ctx);
   ctx->base.ctx_id = ctx_id;
   ctx->sock = -1;
   ctx->pidfd = -1;
   ctx->wake_fd = create_eventfd(0);
   ctx->fence_fd = create_eventfd(0);
   ctx->resources = _mesa_hash_table_create_u32_keys(NULL);
   mtx_init(&ctx->mutex, mtx_plain);
   list_inithead(&ctx->queue);
   list_inithead(&ctx->sent);
   list_inithead(&ctx->fences);
   list_inithead(&ctx->signaled);
   if (ctx->wake_fd < 0 || ctx->fence_fd < 0 || !ctx->resources) {
      ret = -ENOMEM;
      goto fail;
   }

   ret = compute_server_create_context(&compute_renderer.server, ctx_id, capset_id,
                                       debug_len, debug_name, &ctx->serial);
   if (ret < 0)
      goto fail;
   ctx->sock = ret;

   ret = compute_context_wait_ready(ctx);
   if (ret)
      goto fail_kill;

   ctx->thread = u_thread_create(compute_context_thread, ctx);
   if (!ctx->thread) {
      ret = -EAGAIN;
      goto fail_kill;
   }

   return &ctx->base;

fail_kill:
   /* It has no memory of the guest yet, so there is nothing to wait for. */
   compute_server_kill_context(&compute_renderer.server, ctx->serial);
fail:
   virgl_error("compute: cannot start a worker for context %u: %s\n", ctx_id, strerror(-ret));
   compute_context_free(ctx);
   return NULL;
}
