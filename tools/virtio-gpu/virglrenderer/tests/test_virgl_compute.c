/* SPDX-License-Identifier: MIT */
/*
 * Compute contexts, with a server that a thread of the test plays.  Its workers are child
 * processes that only wait to be killed: the thread answers for them.
 */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <virglrenderer.h>

#include "compute/compute_proto.h"
#include "drm/drm-uapi/virtgpu_drm.h"
#include "util/macros.h"

#define PAGE_SIZE (size_t)sysconf(_SC_PAGESIZE)

/* Long enough for a sanitized build on a busy machine. */
#define TIMEOUT_MS 20000

/* fences are retired by the threads of contexts */
#define ASYNC (VIRGL_RENDERER_THREAD_SYNC | VIRGL_RENDERER_ASYNC_FENCE_CB)

#define MAX_WORKERS 4
#define MAX_RUNS 8192
#define MAX_MAP_FDS 64

/* The server */

struct worker {
   uint64_t serial;
   int sock;
   pid_t pid;
   uint64_t map_serial;    /* of the RES_MAP whose fragments come */
   uint64_t submit_serial; /* of the SUBMIT whose fragments come */
   uint32_t submit_len;
};

/* what all fragments of a RES_MAP repeat */
struct map {
   uint32_t res_id;
   uint32_t flags;
   uint64_t blob_id;
   uint64_t size;
};

static struct {
   pthread_t thread;
   int control;
   int wake_fd;
   atomic_bool stop;

   /* what it does */
   uint32_t version;
   uint32_t capset_id;
   uint32_t nr_capsets;
   atomic_uint ready_status;
   atomic_bool ready_without_pidfd;
   atomic_uint ready_flags;
   atomic_bool deaf;            /* does not read what is for workers */
   atomic_uint map_status;
   atomic_uint unmap_status;
   atomic_uint unmap_delay_ms;
   atomic_uint submit_delay_ms;
   atomic_bool hold_submits;    /* does not answer them for now */
   atomic_int breach;           /* enum breach, in the next answer */

   /* what it has seen; after an answer that is for the test's thread to look at */
   atomic_uint nr_answers;
   struct vgpu_msg_ctx_create create;
   atomic_uint nr_kills;
   atomic_uint nr_maps;
   atomic_uint nr_unmaps;
   atomic_uint nr_unmaps_answered;
   atomic_uint nr_submits;
   atomic_uint nr_fragments;
   atomic_uint last_submit_len;
   atomic_uint last_submit_sum;
   struct map map; /* of its last message */
   struct vgpu_run runs[MAX_RUNS];
   ino_t run_inodes[MAX_RUNS];
   uint32_t nr_runs;
   uint32_t map_messages;
   int map_fd; /* the last one's first */

   struct worker workers[MAX_WORKERS];
   uint32_t nr_workers;
   uint64_t held[64];
   uint32_t nr_held;
} server;

enum breach {
   BREACH_NONE,
   BREACH_SERIAL,
   BREACH_TYPE,
   BREACH_SIZE,
   BREACH_SHORT,
   BREACH_FLAGS,
   BREACH_DOORBELLS,
   BREACH_FD,
   BREACH_UNASKED,
   BREACH_EOF,
   BREACH_COUNT,
};

static void
send_answer(int sock, void *msg, size_t size, int fd)
{
   union {
      char buf[CMSG_SPACE(sizeof(int))];
      struct cmsghdr align;
   } control;
   struct iovec iov = { .iov_base = msg, .iov_len = size };
   struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

   if (fd >= 0) {
      memset(&control, 0, sizeof(control));
      mh.msg_control = control.buf;
      mh.msg_controllen = sizeof(control.buf);
      struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN(sizeof(int));
      memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
   }
   server.nr_answers++;
   (void)!sendmsg(sock, &mh, MSG_NOSIGNAL);
}

static void
send_done(struct worker *w, uint32_t type, uint64_t serial, uint32_t status, int fd)
{
   struct vgpu_msg_done done = {
      .hdr = { .type = type, .size = sizeof(done), .serial = serial },
      .status = status,
      .flags = type == VGPU_MSG_CTX_READY ? server.ready_flags : 0,
   };
   size_t size = sizeof(done);

   switch (type == VGPU_MSG_DONE ? atomic_exchange(&server.breach, BREACH_NONE) : 0) {
   case BREACH_SERIAL:
      done.hdr.serial++;
      break;
   case BREACH_TYPE:
      done.hdr.type = VGPU_MSG_CTX_READY;
      break;
   case BREACH_SIZE:
      done.hdr.size++;
      break;
   case BREACH_SHORT:
      size -= 4;
      break;
   case BREACH_FLAGS:
      done.hdr.flags = VGPU_MSG_F_MORE;
      break;
   case BREACH_DOORBELLS: /* nobody has asked for them */
      done.flags = VGPU_DONE_DOORBELLS;
      break;
   case BREACH_FD:
      fd = server.wake_fd;
      break;
   case BREACH_UNASKED:
      send_answer(w->sock, &done, size, fd);
      break;
   case BREACH_EOF:
      shutdown(w->sock, SHUT_RDWR);
      return;
   default:
      break;
   }
   send_answer(w->sock, &done, size, fd);
}

static ssize_t
recv_msg(int sock, void *buf, size_t size, int *fds, size_t *nr_fds)
{
   union {
      char buf[CMSG_SPACE(sizeof(int) * VGPU_PROTO_MAX_FDS)];
      struct cmsghdr align;
   } control;
   struct iovec iov = { .iov_base = buf, .iov_len = size };
   struct msghdr mh = {
      .msg_iov = &iov,
      .msg_iovlen = 1,
      .msg_control = control.buf,
      .msg_controllen = sizeof(control.buf),
   };
   const ssize_t len = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);

   *nr_fds = 0;
   struct cmsghdr *cmsg = len > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
   if (cmsg) {
      *nr_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      memcpy(fds, CMSG_DATA(cmsg), *nr_fds * sizeof(int));
   }
   ck_assert(!(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
   return len;
}

static void
serve_hello(const struct vgpu_msg_hello *hello)
{
   struct vgpu_msg_hello answer = {
      .hdr = {
         .type = VGPU_MSG_HELLO,
         .size = sizeof(answer) + server.nr_capsets * sizeof(struct vgpu_msg_capset),
         .serial = hello->hdr.serial,
      },
      .version = server.version,
      .nr_capsets = server.nr_capsets,
      .backend = "test",
   };
   struct vgpu_msg_capset capset = {
      .id = server.capset_id,
      .max_version = 1,
      .size = 56,
      .data = "capset of the test",
   };

   ck_assert_uint_eq(hello->version, VGPU_PROTO_VERSION);
   ck_assert_uint_eq(hello->nr_capsets, 0);
   send_answer(server.control, &answer, sizeof(answer), -1);
   if (server.nr_capsets)
      send_answer(server.control, &capset, sizeof(capset), -1);
}

static void
serve_create(const struct vgpu_msg_ctx_create *create, int sock)
{
   struct worker *w = &server.workers[server.nr_workers++];

   ck_assert_uint_le(server.nr_workers, MAX_WORKERS);
   server.create = *create;
   *w = (struct worker){ .serial = create->hdr.serial, .sock = sock };
   w->pid = fork();
   if (!w->pid) {
      while (true)
         pause();
   }

   const int pidfd = syscall(SYS_pidfd_open, w->pid, 0);
   send_done(w, VGPU_MSG_CTX_READY, create->hdr.serial, server.ready_status,
             server.ready_status || server.ready_without_pidfd ? -1 : pidfd);
   close(pidfd);
}

static bool
serve_control(void)
{
   union {
      struct vgpu_msg_hdr hdr;
      struct vgpu_msg_hello hello;
      struct vgpu_msg_ctx_create create;
   } msg;
   int fds[VGPU_PROTO_MAX_FDS];
   size_t nr_fds;

   /* messages are small enough to come in one piece, and one by one if that is asked for */
   ssize_t len = recv_msg(server.control, &msg.hdr, sizeof(msg.hdr), fds, &nr_fds);
   if (len <= 0)
      return false;
   ck_assert_int_eq(len, sizeof(msg.hdr));
   ck_assert_uint_le(msg.hdr.size, sizeof(msg));
   if (msg.hdr.size > sizeof(msg.hdr))
      ck_assert_int_eq(recv(server.control, &msg.hdr + 1, msg.hdr.size - sizeof(msg.hdr),
                            MSG_WAITALL),
                       msg.hdr.size - sizeof(msg.hdr));
   ck_assert_uint_eq(nr_fds, msg.hdr.type == VGPU_MSG_CTX_CREATE);

   switch (msg.hdr.type) {
   case VGPU_MSG_HELLO:
      serve_hello(&msg.hello);
      break;
   case VGPU_MSG_CTX_CREATE:
      serve_create(&msg.create, fds[0]);
      break;
   case VGPU_MSG_CTX_KILL:
      server.nr_kills++;
      break;
   default:
      ck_abort_msg("control message %u", msg.hdr.type);
   }
   return true;
}

static void
serve_map(struct worker *w, const struct vgpu_msg_res_map *map, const int *fds, size_t nr_fds)
{
   if (w->map_serial != map->hdr.serial) {
      w->map_serial = map->hdr.serial;
      server.nr_runs = 0;
      server.map_messages = 0;
      if (server.map_fd >= 0)
         close(server.map_fd);
      server.map_fd = dup(fds[0]);
   }
   server.map = (struct map){
      .res_id = map->res_id,
      .flags = map->flags,
      .blob_id = map->blob_id,
      .size = map->size,
   };
   server.map_messages++;

   ck_assert_uint_eq(map->hdr.size, sizeof(*map) + map->nr_runs * sizeof(map->runs[0]));
   ck_assert_uint_le(server.nr_runs + map->nr_runs, MAX_RUNS);
   for (uint32_t i = 0; i < map->nr_runs; i++) {
      struct stat st;

      ck_assert_uint_lt(map->runs[i].fd, nr_fds);
      ck_assert_int_eq(fstat(fds[map->runs[i].fd], &st), 0);
      server.run_inodes[server.nr_runs] = st.st_ino;
      server.runs[server.nr_runs++] = map->runs[i];
   }
   if (map->hdr.flags & VGPU_MSG_F_MORE)
      return;

   server.nr_maps++;
   send_done(w, VGPU_MSG_DONE, map->hdr.serial, server.map_status, -1);
}

static void
serve_submit(struct worker *w, const struct vgpu_msg_submit *submit)
{
   const uint32_t len = submit->hdr.size - sizeof(*submit);

   if (w->submit_serial != submit->hdr.serial) {
      w->submit_serial = submit->hdr.serial;
      w->submit_len = 0;
      server.last_submit_sum = 0;
   }
   for (uint32_t i = 0; i < len; i++)
      server.last_submit_sum += submit->payload[i] * (w->submit_len + i + 1);
   w->submit_len += len;
   server.nr_fragments++;
   if (submit->hdr.flags & VGPU_MSG_F_MORE)
      return;

   ck_assert_uint_eq(w->submit_len, submit->total);
   usleep(server.submit_delay_ms * 1000);
   server.last_submit_len = w->submit_len;
   server.nr_submits++;
   if (server.hold_submits)
      server.held[server.nr_held++ % ARRAY_SIZE(server.held)] = submit->hdr.serial;
   else
      send_done(w, VGPU_MSG_DONE, submit->hdr.serial, 0, -1);
}

static void
serve_worker(struct worker *w)
{
   static union {
      struct vgpu_msg_hdr hdr;
      struct vgpu_msg_res_map map;
      struct vgpu_msg_res_unmap unmap;
      struct vgpu_msg_submit submit;
      uint8_t buf[VGPU_PROTO_MAX_MSG];
   } msg;
   int fds[VGPU_PROTO_MAX_FDS];
   size_t nr_fds;

   const ssize_t len = recv_msg(w->sock, &msg, sizeof(msg), fds, &nr_fds);
   if (len <= 0) {
      close(w->sock);
      w->sock = -1;
      return;
   }
   ck_assert_uint_eq(msg.hdr.size, len);
   ck_assert_uint_eq(msg.hdr.reserved, 0);

   switch (msg.hdr.type) {
   case VGPU_MSG_RES_MAP:
      serve_map(w, &msg.map, fds, nr_fds);
      break;
   case VGPU_MSG_RES_UNMAP:
      server.nr_unmaps++;
      usleep(server.unmap_delay_ms * 1000);
      server.nr_unmaps_answered++;
      send_done(w, VGPU_MSG_DONE, msg.hdr.serial, server.unmap_status, -1);
      break;
   case VGPU_MSG_SUBMIT:
      serve_submit(w, &msg.submit);
      break;
   default:
      ck_abort_msg("message %u to a worker", msg.hdr.type);
   }
   while (nr_fds)
      close(fds[--nr_fds]);
}

static void *
server_thread(UNUSED void *arg)
{
   while (!server.stop) {
      struct pollfd pfds[2 + MAX_WORKERS] = {
         { .fd = server.wake_fd, .events = POLLIN },
         { .fd = server.control, .events = POLLIN },
      };
      const uint32_t count = server.nr_workers;
      uint64_t value;

      for (uint32_t i = 0; i < count; i++) {
         pfds[2 + i].fd = server.deaf ? -1 : server.workers[i].sock;
         pfds[2 + i].events = POLLIN;
      }
      poll(pfds, 2 + count, -1);

      if (pfds[0].revents) {
         (void)!read(server.wake_fd, &value, sizeof(value));
         if (!server.hold_submits) {
            for (uint32_t i = 0; i < server.nr_held; i++)
               send_done(&server.workers[0], VGPU_MSG_DONE, server.held[i], 0, -1);
            server.nr_held = 0;
         }
      }
      if (pfds[1].revents && !serve_control())
         break;
      for (uint32_t i = 0; i < count; i++) {
         if (pfds[2 + i].fd >= 0 && pfds[2 + i].revents && !server.deaf)
            serve_worker(&server.workers[i]);
      }
   }
   return NULL;
}

static void
server_wake(void)
{
   const uint64_t value = 1;

   ck_assert_int_eq(write(server.wake_fd, &value, sizeof(value)), sizeof(value));
}

/* Keeps what is for workers from them for now, or lets them have it. */
static void
server_set_deaf(bool deaf)
{
   server.deaf = deaf;
   server_wake();
}

static void
server_release_submits(void)
{
   server.hold_submits = false;
   server_wake();
}

static bool
worker_is_dead(uint32_t i)
{
   siginfo_t info = { 0 };

   return waitid(P_PID, server.workers[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
          info.si_pid;
}

/* The VMM */

static struct {
   atomic_uint nr_fences;
   atomic_ullong last_fence;
   atomic_uint last_ring;
   atomic_uint last_ctx;
   bool fences_mean_death; /* of worker N - 1 for context N */
   bool no_server;

   /* the guest's RAM */
   uint8_t *ram;
   size_t ram_size;
   int ram_fd;
   int ram_fd_rdonly;

   /* how resolve_mem answers */
   uint32_t flags;
   bool wrong_mode;
   uint32_t blob_flags; /* of the last call */
   size_t max_piece;
   int64_t skew;
   int error;
   int other_fds[16];
   uint32_t nr_other_fds;
   uint32_t nr_calls;
} vmm;

static void
write_context_fence(void *cookie, uint32_t ctx_id, uint32_t ring_idx, uint64_t fence_id)
{
   ck_assert_ptr_eq(cookie, &vmm);
   /* in their order */
   ck_assert_uint_gt(fence_id, vmm.last_fence);
   if (vmm.fences_mean_death)
      ck_assert(worker_is_dead(ctx_id - 1));
   vmm.last_fence = fence_id;
   vmm.last_ring = ring_idx;
   vmm.last_ctx = ctx_id;
   vmm.nr_fences++;
}

static int
get_server_fd(void *cookie)
{
   int socks[2];

   ck_assert_ptr_eq(cookie, &vmm);
   if (vmm.no_server)
      return -1;
   ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
   server.control = socks[1];
   server.wake_fd = eventfd(0, EFD_CLOEXEC);
   ck_assert_int_eq(pthread_create(&server.thread, NULL, server_thread, NULL), 0);
   return socks[0];
}

static int
resolve_mem(void *cookie,
            uint32_t res_handle,
            uint32_t blob_flags,
            const struct iovec *iov,
            struct virgl_renderer_compute_mem *mem)
{
   const uint8_t *addr = iov->iov_base;

   ck_assert_ptr_eq(cookie, &vmm);
   ck_assert_uint_ne(res_handle, 0);
   vmm.nr_calls++;
   vmm.blob_flags = blob_flags;
   if (vmm.error)
      return vmm.error;

   ck_assert(addr >= vmm.ram && addr + iov->iov_len <= vmm.ram + vmm.ram_size);
   const bool rdonly = blob_flags & VIRGL_RENDERER_BLOB_FLAG_USERPTR_RDONLY;
   mem->fd = rdonly != vmm.wrong_mode ? vmm.ram_fd_rdonly : vmm.ram_fd;
   if (vmm.nr_other_fds)
      mem->fd = vmm.other_fds[vmm.nr_calls % vmm.nr_other_fds];
   mem->flags = vmm.flags;
   mem->offset = addr - vmm.ram + vmm.skew;
   mem->length = MIN2(iov->iov_len, vmm.max_piece);
   return 0;
}

static struct virgl_renderer_callbacks callbacks = {
   .version = 3,
   .write_context_fence = write_context_fence,
};

static struct virgl_renderer_compute_callbacks compute_callbacks = {
   .version = 1,
   .get_server_fd = get_server_fd,
   .resolve_mem = resolve_mem,
};

static int
init_with(int flags, uint32_t timeout_ms)
{
   ck_assert_int_eq(virgl_renderer_init(&vmm, VIRGL_RENDERER_NO_VIRGL | flags, &callbacks), 0);
   return virgl_renderer_compute_init(&compute_callbacks, timeout_ms);
}

static void
init(int flags, uint32_t timeout_ms)
{
   ck_assert_int_eq(init_with(flags, timeout_ms), 0);
}

static void
setup(void)
{
   char path[64];

   memset(&server, 0, sizeof(server));
   memset(&vmm, 0, sizeof(vmm));
   server.version = VGPU_PROTO_VERSION;
   server.capset_id = VIRTGPU_DRM_CAPSET_COMPUTE;
   server.nr_capsets = 1;
   server.map_fd = -1;
   vmm.max_piece = SIZE_MAX;
   vmm.ram_size = 8192 * PAGE_SIZE;
   vmm.ram_fd = memfd_create("ram", MFD_CLOEXEC);
   ck_assert_int_eq(ftruncate(vmm.ram_fd, vmm.ram_size), 0);
   snprintf(path, sizeof(path), "/proc/self/fd/%d", vmm.ram_fd);
   vmm.ram_fd_rdonly = open(path, O_RDONLY | O_CLOEXEC);
   ck_assert_int_ge(vmm.ram_fd_rdonly, 0);
   vmm.ram = mmap(NULL, vmm.ram_size, PROT_READ | PROT_WRITE, MAP_SHARED, vmm.ram_fd, 0);
   ck_assert_ptr_ne(vmm.ram, MAP_FAILED);
}

static void
teardown(void)
{
   virgl_renderer_cleanup(NULL);
   if (server.wake_fd) {
      server.stop = true;
      server_wake();
      pthread_join(server.thread, NULL);
      close(server.wake_fd);
      close(server.control);
   }
   for (uint32_t i = 0; i < server.nr_workers; i++) {
      if (server.workers[i].sock >= 0)
         close(server.workers[i].sock);
      kill(server.workers[i].pid, SIGKILL);
      waitpid(server.workers[i].pid, NULL, 0);
   }
   if (server.map_fd >= 0)
      close(server.map_fd);
   munmap(vmm.ram, vmm.ram_size);
   close(vmm.ram_fd);
   close(vmm.ram_fd_rdonly);
}

static int64_t
now_ms(void)
{
   struct timespec ts;

   clock_gettime(CLOCK_MONOTONIC, &ts);
   return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for what another thread does. */
#define WAIT_FOR(condition)                                                  \
   do {                                                                      \
      const int64_t end_ = now_ms() + TIMEOUT_MS;                            \
      while (!(condition)) {                                                 \
         ck_assert_msg(now_ms() < end_, "%s did not happen", #condition);    \
         usleep(1000);                                                       \
      }                                                                      \
   } while (0)

static void
context_create(uint32_t ctx_id)
{
   ck_assert_int_eq(virgl_renderer_context_create_with_flags(
                       ctx_id, VIRTGPU_DRM_CAPSET_COMPUTE, 4, "test"), 0);
   ck_assert_uint_gt(server.nr_answers, 0);
}

static int
create_host_blob(uint32_t ctx_id, uint32_t res_id, uint64_t size)
{
   const struct virgl_renderer_resource_create_blob_args args = {
      .res_handle = res_id,
      .ctx_id = ctx_id,
      .blob_mem = VIRGL_RENDERER_BLOB_MEM_HOST3D,
      .blob_flags = VIRGL_RENDERER_BLOB_FLAG_USE_MAPPABLE,
      .size = size,
   };

   const int ret = virgl_renderer_resource_create_blob(&args);
   ck_assert_uint_gt(server.nr_answers, 0);
   return ret;
}

static int
create_guest_blob(uint32_t ctx_id, uint32_t res_id, uint32_t blob_mem, uint32_t flags,
                  uint64_t size, const struct iovec *iovs, uint32_t num_iovs)
{
   const struct virgl_renderer_resource_create_blob_args args = {
      .res_handle = res_id,
      .ctx_id = ctx_id,
      .blob_mem = blob_mem,
      .blob_flags = VIRGL_RENDERER_BLOB_FLAG_USE_USERPTR | flags,
      .blob_id = blob_mem == VIRGL_RENDERER_BLOB_MEM_GUEST ? 0 : 77,
      .size = size,
      .iovecs = iovs,
      .num_iovs = num_iovs,
   };

   const int ret = virgl_renderer_resource_create_blob(&args);
   ck_assert_uint_gt(server.nr_answers, 0);
   return ret;
}

static int
create_userptr(uint32_t ctx_id, uint32_t res_id, uint64_t size, const struct iovec *iovs,
               uint32_t num_iovs)
{
   return create_guest_blob(ctx_id, res_id, VIRGL_RENDERER_BLOB_MEM_HOST3D_GUEST, 0, size,
                            iovs, num_iovs);
}

static struct iovec
pages(size_t first, size_t count)
{
   return (struct iovec){ vmm.ram + first * PAGE_SIZE, count * PAGE_SIZE };
}

static int
submit(uint32_t ctx_id, uint32_t value)
{
   return virgl_renderer_submit_cmd(&value, ctx_id, 1);
}

static void
fence(uint32_t ctx_id, uint32_t ring_idx, uint64_t fence_id)
{
   ck_assert_int_eq(virgl_renderer_context_create_fence(ctx_id, 0, ring_idx, fence_id), 0);
}

/* a ring that no guest can name */
#define VMM_RING 256

static int
begin_detach(uint32_t ctx_id, uint32_t res_id, uint64_t fence_id)
{
   return virgl_renderer_compute_begin_detach(ctx_id, res_id, VMM_RING, fence_id);
}

/* Tests */

START_TEST(compute_init_errors)
{
   struct virgl_renderer_compute_callbacks cbs = compute_callbacks;

   ck_assert_int_eq(virgl_renderer_compute_init(&cbs, 0), -EINVAL);

   vmm.no_server = true;
   ck_assert_int_eq(init_with(0, 0), -ENODEV);
   ck_assert_int_eq(virgl_renderer_compute_init(NULL, 0), -EINVAL);
   cbs.version = 2;
   ck_assert_int_eq(virgl_renderer_compute_init(&cbs, 0), -EINVAL);
   cbs = compute_callbacks;
   cbs.resolve_mem = NULL;
   ck_assert_int_eq(virgl_renderer_compute_init(&cbs, 0), -EINVAL);
   cbs = compute_callbacks;
   cbs.get_server_fd = NULL;
   ck_assert_int_eq(virgl_renderer_compute_init(&cbs, 0), -EINVAL);

   vmm.no_server = false;
   ck_assert_int_eq(virgl_renderer_compute_init(&compute_callbacks, 0), 0);
   ck_assert_int_eq(virgl_renderer_compute_init(&compute_callbacks, 0), -EBUSY);
}
END_TEST

START_TEST(compute_init_other_version)
{
   server.version = VGPU_PROTO_VERSION + 1;
   server.nr_capsets = 0;
   ck_assert_int_eq(init_with(0, 0), -EPROTO);
}
END_TEST

START_TEST(compute_init_without_capset)
{
   server.nr_capsets = 0;
   ck_assert_int_eq(init_with(0, 0), -EPROTO);
}
END_TEST

START_TEST(compute_capset)
{
   uint32_t max_ver = 9, max_size = 9;
   char caps[56] = "";

   virgl_renderer_get_cap_set(VIRTGPU_DRM_CAPSET_COMPUTE, &max_ver, &max_size);
   ck_assert_uint_eq(max_size, 0);
   init(0, 0);
   virgl_renderer_get_cap_set(VIRTGPU_DRM_CAPSET_COMPUTE, &max_ver, &max_size);
   ck_assert_uint_eq(max_ver, 1);
   ck_assert_uint_eq(max_size, sizeof(caps));
   virgl_renderer_fill_caps(VIRTGPU_DRM_CAPSET_COMPUTE, 1, caps);
   ck_assert_str_eq(caps, "capset of the test");
   virgl_renderer_cleanup(NULL);
   virgl_renderer_get_cap_set(VIRTGPU_DRM_CAPSET_COMPUTE, &max_ver, &max_size);
   ck_assert_uint_eq(max_size, 0);
}
END_TEST

START_TEST(compute_context_of_other_capset)
{
   server.capset_id = 13;
   init(0, 0);
   ck_assert_int_ne(virgl_renderer_context_create_with_flags(
                       1, VIRTGPU_DRM_CAPSET_COMPUTE, 0, NULL), 0);
   ck_assert_uint_eq(server.nr_workers, 0);
}
END_TEST

START_TEST(compute_context)
{
   init(0, 0);
   context_create(5);
   ck_assert_uint_eq(server.create.ctx_id, 5);
   ck_assert_uint_eq(server.create.capset_id, VIRTGPU_DRM_CAPSET_COMPUTE);
   ck_assert_str_eq(server.create.name, "test");
   ck_assert(!worker_is_dead(0));

   /* what such a context does not have */
   struct iovec iov = pages(0, 1);
   ck_assert_int_eq(create_userptr(5, 1, PAGE_SIZE, &iov, 1), 0);
   ck_assert_int_ne(virgl_renderer_transfer_write_iov(1, 5, 0, 0, 0, NULL, 0, &iov, 1), 0);
   ck_assert_int_ne(virgl_renderer_transfer_read_iov(1, 5, 0, 0, 0, NULL, 0, &iov, 1), 0);

   virgl_renderer_context_destroy(5);
   ck_assert(worker_is_dead(0));
   WAIT_FOR(server.nr_kills == 1);
}
END_TEST

START_TEST(compute_context_refused)
{
   init(0, 0);
   server.ready_status = EMFILE;
   ck_assert_int_ne(virgl_renderer_context_create_with_flags(
                       1, VIRTGPU_DRM_CAPSET_COMPUTE, 0, NULL), 0);
   server.ready_status = 0;
   server.ready_without_pidfd = true;
   ck_assert_int_ne(virgl_renderer_context_create_with_flags(
                       1, VIRTGPU_DRM_CAPSET_COMPUTE, 0, NULL), 0);
   server.ready_without_pidfd = false;
   server.ready_flags = VGPU_DONE_DOORBELLS;
   ck_assert_int_ne(virgl_renderer_context_create_with_flags(
                       1, VIRTGPU_DRM_CAPSET_COMPUTE, 0, NULL), 0);
   server.ready_flags = 0;
   context_create(1);
}
END_TEST

START_TEST(compute_host_blob)
{
   uint32_t map_info, fd_type;
   uint64_t size;
   uint8_t *map, *theirs;
   int fd;

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_host_blob(1, 10, 2 * PAGE_SIZE), 0);
   ck_assert_uint_eq(server.map.res_id, 10);
   ck_assert_uint_eq(server.map.flags, VGPU_RES_BLOB);
   ck_assert_uint_eq(server.map.size, 2 * PAGE_SIZE);
   ck_assert_uint_eq(server.nr_runs, 1);
   ck_assert_uint_eq(server.runs[0].length, 2 * PAGE_SIZE);
   ck_assert_int_eq(fcntl(server.map_fd, F_GET_SEALS),
                    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);

   ck_assert_int_eq(virgl_renderer_resource_get_map_info(10, &map_info), 0);
   ck_assert_uint_eq(map_info, VIRGL_RENDERER_MAP_CACHE_CACHED);
   ck_assert_int_eq(virgl_renderer_resource_map(10, (void **)&map, &size), 0);
   ck_assert_uint_eq(size, 2 * PAGE_SIZE);
   theirs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, server.map_fd, 0);
   ck_assert_ptr_ne(theirs, MAP_FAILED);
   theirs[PAGE_SIZE] = 42;
   ck_assert_uint_eq(map[PAGE_SIZE], 42);
   munmap(theirs, size);
   ck_assert_int_eq(virgl_renderer_resource_unmap(10), 0);
   ck_assert_int_eq(virgl_renderer_resource_export_blob(10, &fd_type, &fd), 0);
   ck_assert_uint_eq(fd_type, VIRGL_RENDERER_BLOB_FD_TYPE_SHM);
   close(fd);

   virgl_renderer_ctx_attach_resource(1, 10);
   ck_assert_uint_eq(server.nr_maps, 1);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);

   ck_assert_int_eq(create_host_blob(1, 10, 100), -EINVAL);
   ck_assert_int_eq(create_host_blob(1, 10, UINT64_MAX - PAGE_SIZE + 1), -EINVAL);
   ck_assert_int_eq(create_host_blob(2, 10, PAGE_SIZE), -EINVAL);
   ck_assert_uint_eq(server.nr_maps, 1);
}
END_TEST

START_TEST(compute_guest_blob)
{
   /* the second and the third are neighbours */
   struct iovec iovs[] = { pages(7, 2), pages(1, 1), pages(2, 3), pages(0, 1) };
   struct stat st;

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, 7 * PAGE_SIZE, iovs, 4), 0);
   ck_assert_uint_eq(server.map.res_id, 10);
   ck_assert_uint_eq(server.map.flags, 0);
   ck_assert_uint_eq(server.map.blob_id, 77);
   ck_assert_uint_eq(server.map.size, 7 * PAGE_SIZE);
   ck_assert_uint_eq(server.nr_runs, 3);
   ck_assert_uint_eq(server.runs[0].offset, 7 * PAGE_SIZE);
   ck_assert_uint_eq(server.runs[0].length, 2 * PAGE_SIZE);
   ck_assert_uint_eq(server.runs[1].offset, 1 * PAGE_SIZE);
   ck_assert_uint_eq(server.runs[1].length, 4 * PAGE_SIZE);
   ck_assert_uint_eq(server.runs[2].offset, 0);
   ck_assert_uint_eq(server.runs[2].length, PAGE_SIZE);
   fstat(vmm.ram_fd, &st);
   ck_assert_uint_eq(server.run_inodes[0], st.st_ino);

   /* Linux attaches it as well */
   virgl_renderer_ctx_attach_resource(1, 10);
   ck_assert_uint_eq(server.nr_maps, 1);
   virgl_renderer_ctx_detach_resource(1, 10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
}
END_TEST

START_TEST(compute_guest_blob_of_many_pieces)
{
   struct iovec *iovs = calloc(4000, sizeof(*iovs));

   init(0, 0);
   context_create(1);
   for (uint32_t i = 0; i < 4000; i++)
      iovs[i] = pages(2 * (3999 - i), 1);
   ck_assert_int_eq(create_userptr(1, 10, 4000 * PAGE_SIZE, iovs, 4000), 0);
   ck_assert_uint_eq(server.nr_runs, 4000);
   ck_assert_uint_gt(server.map_messages, 1);
   for (uint32_t i = 0; i < 4000; i++)
      ck_assert_uint_eq(server.runs[i].offset, 2 * (3999 - i) * PAGE_SIZE);
   free(iovs);

   /* one iovec, a page at a time */
   struct iovec iov = pages(0, 3);
   vmm.max_piece = PAGE_SIZE;
   vmm.nr_calls = 0;
   ck_assert_int_eq(create_userptr(1, 11, 3 * PAGE_SIZE, &iov, 1), 0);
   ck_assert_uint_eq(vmm.nr_calls, 3);
   ck_assert_uint_eq(server.nr_runs, 1);
   ck_assert_uint_eq(server.runs[0].length, 3 * PAGE_SIZE);
}
END_TEST

START_TEST(compute_guest_blob_of_many_files)
{
   struct iovec iov = pages(0, 48);
   struct stat st;

   init(0, 0);
   context_create(1);
   vmm.max_piece = PAGE_SIZE;
   vmm.nr_other_fds = ARRAY_SIZE(vmm.other_fds);
   for (uint32_t i = 0; i < vmm.nr_other_fds; i++)
      vmm.other_fds[i] = memfd_create("ram", MFD_CLOEXEC);
   ck_assert_int_eq(create_userptr(1, 10, 48 * PAGE_SIZE, &iov, 1), 0);
   ck_assert_uint_eq(server.nr_runs, 48);
   ck_assert_uint_eq(server.map_messages, 6);
   for (uint32_t i = 0; i < 48; i++) {
      fstat(vmm.other_fds[(i + 1) % vmm.nr_other_fds], &st);
      ck_assert_uint_eq(server.run_inodes[i], st.st_ino);
   }
   for (uint32_t i = 0; i < vmm.nr_other_fds; i++)
      close(vmm.other_fds[i]);
}
END_TEST

START_TEST(compute_guest_blob_rdonly)
{
   const uint32_t rdonly = VIRGL_RENDERER_BLOB_FLAG_USERPTR_RDONLY;
   const uint32_t mem = VIRGL_RENDERER_BLOB_MEM_HOST3D_GUEST;
   struct iovec iov = pages(0, 1);

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_guest_blob(1, 10, mem, rdonly, PAGE_SIZE, &iov, 1), 0);
   ck_assert_uint_eq(vmm.blob_flags, VIRGL_RENDERER_BLOB_FLAG_USE_USERPTR | rdonly);
   ck_assert_uint_eq(server.map.flags, VGPU_RES_RDONLY);
   ck_assert_int_eq(fcntl(server.map_fd, F_GETFL) & O_ACCMODE, O_RDONLY);

   /* a descriptor that can write */
   vmm.wrong_mode = true;
   ck_assert_int_eq(create_guest_blob(1, 11, mem, rdonly, PAGE_SIZE, &iov, 1), -EINVAL);
   /* one that cannot, for a resource that is written */
   ck_assert_int_eq(create_guest_blob(1, 11, mem, 0, PAGE_SIZE, &iov, 1), -EINVAL);
   ck_assert_uint_eq(server.nr_maps, 1);
}
END_TEST

START_TEST(compute_guest_blob_refused)
{
   struct iovec iovs[2] = { pages(0, 1), pages(1, 1) };
   struct iovec odd = { vmm.ram, PAGE_SIZE + 8 };

   init(0, 0);
   context_create(1);
   /* less, more, not a multiple of pages, nothing */
   ck_assert_int_eq(create_userptr(1, 10, 3 * PAGE_SIZE, iovs, 2), -EINVAL);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, iovs, 2), -EINVAL);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE + 8, &odd, 1), -EINVAL);
   ck_assert_int_eq(create_userptr(1, 10, 0, NULL, 0), -EINVAL);
   iovs[1].iov_len = 0;
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, iovs, 2), -EINVAL);
   iovs[1].iov_len = PAGE_SIZE;
   /* not at pages of the file */
   vmm.skew = 8;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -EINVAL);
   vmm.skew = 0;
   vmm.max_piece = 0;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -EINVAL);
   vmm.max_piece = SIZE_MAX;
   vmm.flags = 1u << 31;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -EINVAL);
   vmm.flags = 0;
   vmm.error = -EOPNOTSUPP;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -EOPNOTSUPP);
   vmm.error = 0;
   ck_assert_uint_eq(server.nr_maps, 0);

   /* by the worker */
   server.map_status = E2BIG;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -E2BIG);
   ck_assert_int_eq(create_host_blob(1, 10, PAGE_SIZE), -E2BIG);
   server.map_status = 0x80000000;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), -EIO);
   server.map_status = 0;
   ck_assert_int_eq(create_userptr(1, 10, 2 * PAGE_SIZE, iovs, 2), 0);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
   ck_assert(!worker_is_dead(0));
}
END_TEST

START_TEST(compute_attach)
{
   struct iovec iov = pages(4, 2);
   struct iovec *detached;
   int num_detached;

   init(0, 0);
   context_create(1);
   context_create(2);
   ck_assert_int_eq(create_guest_blob(0, 10, VIRGL_RENDERER_BLOB_MEM_GUEST, 0, 2 * PAGE_SIZE,
                                      &iov, 1), 0);
   ck_assert_uint_eq(server.nr_maps, 0);
   virgl_renderer_ctx_attach_resource(1, 10);
   WAIT_FOR(server.nr_maps == 1);
   ck_assert_uint_eq(server.map.blob_id, 0);
   ck_assert_uint_eq(server.runs[0].offset, 4 * PAGE_SIZE);
   virgl_renderer_ctx_attach_resource(1, 10);
   virgl_renderer_ctx_attach_resource(2, 10);
   WAIT_FOR(server.nr_maps == 2);

   virgl_renderer_ctx_detach_resource(1, 10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);
   virgl_renderer_ctx_detach_resource(1, 10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
   virgl_renderer_ctx_attach_resource(1, 10);

   /* the guest takes its memory back without unref */
   virgl_renderer_resource_detach_iov(10, &detached, &num_detached);
   ck_assert_ptr_eq(detached, &iov);
   ck_assert_uint_eq(server.nr_maps, 3);
   ck_assert_uint_eq(server.nr_unmaps_answered, 3);
   virgl_renderer_ctx_attach_resource(1, 10);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_maps, 3);
   ck_assert(!worker_is_dead(0));
   ck_assert(!worker_is_dead(1));
}
END_TEST

START_TEST(compute_attach_rdonly)
{
   const uint32_t rdonly = VIRGL_RENDERER_BLOB_FLAG_USERPTR_RDONLY;
   struct iovec iov = pages(4, 1);

   init(0, 0);
   context_create(1);
   context_create(2);
   context_create(3);
   /* of no context, and of another one */
   ck_assert_int_eq(create_guest_blob(0, 10, VIRGL_RENDERER_BLOB_MEM_GUEST, rdonly, PAGE_SIZE,
                                      &iov, 1), 0);
   ck_assert_int_eq(create_guest_blob(1, 11, VIRGL_RENDERER_BLOB_MEM_HOST3D_GUEST, rdonly,
                                      PAGE_SIZE, &iov, 1), 0);
   for (uint32_t res_id = 10; res_id <= 11; res_id++) {
      server.map.flags = 0;
      virgl_renderer_ctx_attach_resource(2, res_id);
      WAIT_FOR(server.nr_maps == res_id - 8);
      ck_assert_uint_eq(vmm.blob_flags, VIRGL_RENDERER_BLOB_FLAG_USE_USERPTR | rdonly);
      ck_assert_uint_eq(server.map.flags, VGPU_RES_RDONLY);
      ck_assert_int_eq(fcntl(server.map_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
   }

   /* a descriptor that can write */
   vmm.wrong_mode = true;
   virgl_renderer_ctx_attach_resource(3, 10);
   WAIT_FOR(worker_is_dead(2));
   virgl_renderer_ctx_attach_resource(1, 10);
   WAIT_FOR(worker_is_dead(0));
   ck_assert_uint_eq(server.nr_maps, 3);
   ck_assert(!worker_is_dead(1));
}
END_TEST

START_TEST(compute_attach_failed)
{
   struct iovec iov = pages(0, 2);
   const uint32_t mem = VIRGL_RENDERER_BLOB_MEM_GUEST;

   init(0, 0);
   context_create(1);
   context_create(2);
   context_create(3);
   ck_assert_int_eq(create_guest_blob(0, 10, mem, 0, 2 * PAGE_SIZE, &iov, 1), 0);
   server.map_status = ENOMEM;
   virgl_renderer_ctx_attach_resource(1, 10);
   WAIT_FOR(worker_is_dead(0));
   server.map_status = 0;

   /* the VMM cannot resolve it, or the iovecs are not the resource */
   vmm.error = -ENOENT;
   virgl_renderer_ctx_attach_resource(2, 10);
   WAIT_FOR(worker_is_dead(1));
   vmm.error = 0;
   ck_assert_int_eq(create_guest_blob(0, 11, mem, 0, PAGE_SIZE, &iov, 1), 0);
   virgl_renderer_ctx_attach_resource(3, 11);
   WAIT_FOR(worker_is_dead(2));

   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 0);
   ck_assert_int_ne(submit(1, 1), 0);
}
END_TEST

static void
check_fences(int flags)
{
   const bool async = flags & VIRGL_RENDERER_ASYNC_FENCE_CB;
   uint32_t *big = malloc(200000);
   uint32_t sum = 0;

   init(flags, 0);
   context_create(1);
   server.hold_submits = true;
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 3, 100);
   ck_assert_int_eq(submit(1, 2), 0);
   ck_assert_int_eq(submit(1, 3), 0);
   fence(1, 5, 101);
   WAIT_FOR(server.nr_submits == 3);
   usleep(20000);
   if (!async)
      virgl_renderer_poll();
   ck_assert_uint_eq(vmm.nr_fences, 0);

   server_release_submits();
   if (!async) {
      struct pollfd pfd = { virgl_renderer_context_get_poll_fd(1), POLLIN, 0 };
      const int64_t end = now_ms() + TIMEOUT_MS;

      while (vmm.nr_fences < 2) {
         ck_assert_int_eq(poll(&pfd, 1, TIMEOUT_MS), 1);
         virgl_renderer_context_poll(1);
         ck_assert(now_ms() < end);
      }
      ck_assert_int_eq(poll(&pfd, 1, 0), 0);
   }
   WAIT_FOR(vmm.nr_fences == 2);
   ck_assert_uint_eq(vmm.last_fence, 101);
   ck_assert_uint_eq(vmm.last_ring, 5);
   ck_assert_uint_eq(vmm.last_ctx, 1);

   /* nothing is before this one */
   fence(1, 0, 102);
   if (!async)
      WAIT_FOR((virgl_renderer_poll(), vmm.nr_fences == 3));
   WAIT_FOR(vmm.nr_fences == 3);

   for (uint32_t i = 0; i < 50000; i++)
      big[i] = rand();
   for (uint32_t i = 0; i < 200000; i++)
      sum += ((uint8_t *)big)[i] * (i + 1);
   server.nr_fragments = 0;
   ck_assert_int_eq(virgl_renderer_submit_cmd(big, 1, 50000), 0);
   WAIT_FOR(server.nr_submits == 4);
   ck_assert_uint_eq(server.last_submit_len, 200000);
   ck_assert_uint_eq(server.last_submit_sum, sum);
   ck_assert_uint_eq(server.nr_fragments, 4);
   free(big);

   ck_assert_int_eq(virgl_renderer_submit_cmd(&sum, 1, 0), 0);
   ck_assert_int_ne(virgl_renderer_submit_cmd(vmm.ram, 1, VGPU_PROTO_MAX_SUBMIT / 4 + 1), 0);
}

START_TEST(compute_fences_async)
{
   check_fences(ASYNC);
}
END_TEST

START_TEST(compute_fences_poll_fd)
{
   check_fences(VIRGL_RENDERER_THREAD_SYNC);
}
END_TEST

START_TEST(compute_fences_poll)
{
   check_fences(0);
}
END_TEST

START_TEST(compute_worker_does_not_read)
{
   uint32_t count = 0;
   int ret;

   init(ASYNC, 0);
   context_create(1);
   server_set_deaf(true);

   /* nothing here waits; what a guest can make us keep is bounded */
   const int64_t start = now_ms();
   while (!(ret = virgl_renderer_submit_cmd(vmm.ram, 1, 64 * 1024))) {
      fence(1, 0, ++count);
      ck_assert_uint_le(count, 100);
   }
   ck_assert_int_eq(ret, -ENOMEM);
   ck_assert_uint_gt(count, 16);
   ck_assert_int_lt(now_ms() - start, TIMEOUT_MS);
   ck_assert_uint_eq(vmm.nr_fences, 0);

   server_set_deaf(false);
   WAIT_FOR(vmm.nr_fences == count);
   ck_assert_uint_eq(server.nr_submits, count);
   ck_assert_int_eq(submit(1, 1), 0);
}
END_TEST

START_TEST(compute_unref_waits)
{
   struct iovec iov = pages(0, 1);

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.unmap_delay_ms = 100;
   ck_assert_int_eq(submit(1, 1), 0);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);
}
END_TEST

START_TEST(compute_unmap_failed)
{
   struct iovec iov = pages(0, 1);

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.unmap_status = EBUSY;
   virgl_renderer_resource_unref(10);
   ck_assert(worker_is_dead(0));
}
END_TEST

START_TEST(compute_begin_detach)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server_set_deaf(true);
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 1);
   ck_assert_int_eq(begin_detach(1, 10, 2), 0);
   ck_assert_int_eq(submit(1, 2), 0);
   fence(1, 0, 3);
   usleep(20000);
   ck_assert_uint_eq(vmm.nr_fences, 0);
   server_set_deaf(false);
   WAIT_FOR(vmm.nr_fences == 3);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);

   /* it does not wait for what has been submitted since, nor ask for anything again */
   server.hold_submits = true;
   ck_assert_int_eq(submit(1, 3), 0);
   virgl_renderer_ctx_detach_resource(1, 10);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
   server_release_submits();

   /* the ids can be used again */
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   ck_assert_int_eq(begin_detach(1, 10, 4), 0);
   WAIT_FOR(vmm.nr_fences == 4);
   ck_assert_uint_eq(vmm.last_ring, VMM_RING);
   ck_assert_uint_eq(vmm.last_ctx, 1);
   virgl_renderer_ctx_detach_resource(1, 10);
   virgl_renderer_ctx_attach_resource(1, 10);
   WAIT_FOR(server.nr_maps == 3);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 3);
   ck_assert(!worker_is_dead(0));
}
END_TEST

START_TEST(compute_begin_detach_while_a_submission_runs)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.submit_delay_ms = 50;
   for (uint32_t i = 0; i < 4; i++)
      ck_assert_int_eq(submit(1, i), 0);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   for (uint32_t i = 0; i < 20; i++)
      ck_assert_int_eq(submit(1, i), 0);
   WAIT_FOR(vmm.nr_fences == 1);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);
   ck_assert_uint_ge(server.nr_submits, 4);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_lt(server.nr_submits, 24);
   ck_assert_uint_eq(server.nr_unmaps, 1);
}
END_TEST

START_TEST(compute_begin_detach_and_wait)
{
   struct iovec iov = pages(0, 1);

   /* a VMM that does not wait for the fence has to wait for the worker */
   init(_i, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.unmap_delay_ms = 100;
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   virgl_renderer_ctx_detach_resource(1, 10);
   ck_assert_uint_eq(server.nr_unmaps_answered, 1);
   WAIT_FOR((virgl_renderer_poll(), vmm.nr_fences == 1));
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
}
END_TEST

START_TEST(compute_begin_detach_all_contexts)
{
   struct iovec iov = pages(0, 1);
   struct iovec *detached;
   int num_detached;

   init(ASYNC, 0);
   context_create(1);
   context_create(2);
   ck_assert_int_eq(create_guest_blob(0, 10, VIRGL_RENDERER_BLOB_MEM_GUEST, 0, PAGE_SIZE,
                                      &iov, 1), 0);
   virgl_renderer_ctx_attach_resource(1, 10);
   virgl_renderer_ctx_attach_resource(2, 10);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   WAIT_FOR(vmm.nr_fences == 1);
   ck_assert_int_eq(begin_detach(2, 10, 2), 0);
   WAIT_FOR(vmm.nr_fences == 2);
   server_set_deaf(true);
   virgl_renderer_resource_detach_iov(10, &detached, &num_detached);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 2);
}
END_TEST

START_TEST(compute_begin_detach_twice)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server_set_deaf(true);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   ck_assert_int_eq(begin_detach(1, 10, 2), 0);
   server_set_deaf(false);
   WAIT_FOR(vmm.nr_fences == 2);
   ck_assert_int_eq(begin_detach(1, 10, 3), 0);
   WAIT_FOR(vmm.nr_fences == 3);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 1);
}
END_TEST

START_TEST(compute_begin_detach_of_unknown)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   ck_assert_int_eq(begin_detach(1, 10, 1), -EINVAL);
   ck_assert_int_eq(begin_detach(0, 10, 1), -EINVAL);
   context_create(1);
   context_create(2);
   ck_assert_int_eq(create_userptr(2, 10, PAGE_SIZE, &iov, 1), 0);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   ck_assert_int_eq(begin_detach(1, 77, 2), 0);
   ck_assert_int_eq(begin_detach(1, 0, 3), 0);
   WAIT_FOR(vmm.nr_fences == 3);
   ck_assert_uint_eq(server.nr_unmaps, 0);
   virgl_renderer_context_destroy(1);
   ck_assert_int_eq(begin_detach(1, 10, 4), -EINVAL);
   ck_assert_uint_eq(vmm.nr_fences, 3);
}
END_TEST

START_TEST(compute_begin_detach_and_attach)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   WAIT_FOR(vmm.nr_fences == 1);
   virgl_renderer_ctx_attach_resource(1, 10);
   WAIT_FOR(worker_is_dead(0));
   ck_assert_int_ne(submit(1, 1), 0);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_maps, 1);
}
END_TEST

START_TEST(compute_begin_detach_and_destroy)
{
   struct iovec iov = pages(0, 1);

   init(_i, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server_set_deaf(true);
   ck_assert_int_eq(submit(1, 1), 0);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   virgl_renderer_context_destroy(1);
   ck_assert_uint_eq(vmm.nr_fences, 1);
   ck_assert(worker_is_dead(0));
   virgl_renderer_ctx_detach_resource(1, 10);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 0);
}
END_TEST

START_TEST(compute_begin_detach_and_reset)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server_set_deaf(true);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   virgl_renderer_reset();
   ck_assert_uint_eq(vmm.nr_fences, 1);
   ck_assert(worker_is_dead(0));
}
END_TEST

static void
check_begin_detach_loses(int timeout_ms, uint32_t unmap_status, bool kill_it, bool hang)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, timeout_ms);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.unmap_status = unmap_status;
   if (hang)
      server_set_deaf(true);
   ck_assert_int_eq(begin_detach(1, 10, 1), 0);
   if (kill_it)
      kill(server.workers[0].pid, SIGKILL);
   WAIT_FOR(vmm.nr_fences == 1);
   ck_assert(worker_is_dead(0));
   virgl_renderer_ctx_detach_resource(1, 10);

   /* nothing is to be done any more */
   ck_assert_int_eq(begin_detach(1, 10, 2), 0);
   WAIT_FOR(vmm.nr_fences == 2);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, !hang);
}

START_TEST(compute_begin_detach_and_worker_dies)
{
   check_begin_detach_loses(0, 0, true, true);
}
END_TEST

START_TEST(compute_begin_detach_and_worker_hangs)
{
   check_begin_detach_loses(100, 0, false, true);
}
END_TEST

START_TEST(compute_begin_detach_fails)
{
   check_begin_detach_loses(0, EBUSY, false, false);
}
END_TEST

START_TEST(compute_begin_detach_of_lost_context)
{
   struct iovec iovs[] = { pages(0, 1), pages(1, 1) };

   init(ASYNC, 0);
   vmm.fences_mean_death = true;
   ck_assert_int_eq(create_guest_blob(0, 20, VIRGL_RENDERER_BLOB_MEM_GUEST, 0, PAGE_SIZE,
                                      &iovs[1], 1), 0);
   for (uint32_t i = 1; i <= MAX_WORKERS; i++) {
      vmm.error = 0;
      context_create(i);
      ck_assert_int_eq(create_userptr(i, i, PAGE_SIZE, &iovs[0], 1), 0);
      vmm.error = -ENOENT;
      virgl_renderer_ctx_attach_resource(i, 20);
      /* all has been answered, but that does not mean that it is over */
      ck_assert_int_eq(begin_detach(i, i, i), 0);
      WAIT_FOR(vmm.nr_fences == i);
      virgl_renderer_resource_unref(i);
   }
   ck_assert_uint_eq(server.nr_unmaps, 0);
}
END_TEST

START_TEST(compute_worker_died)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   context_create(2);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.hold_submits = true;
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 1);
   WAIT_FOR(server.nr_submits == 1);
   kill(server.workers[0].pid, SIGKILL);
   WAIT_FOR(vmm.nr_fences == 1);
   server.hold_submits = false;

   ck_assert_int_ne(submit(1, 1), 0);
   fence(1, 0, 2);
   WAIT_FOR(vmm.nr_fences == 2);
   ck_assert_int_ne(create_userptr(1, 11, PAGE_SIZE, &iov, 1), 0);
   virgl_renderer_ctx_attach_resource(1, 10);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 0);

   /* others are not concerned */
   ck_assert_int_eq(create_userptr(2, 12, PAGE_SIZE, &iov, 1), 0);
   ck_assert_int_eq(submit(2, 1), 0);
   fence(2, 0, 3);
   WAIT_FOR(vmm.nr_fences == 3);

   /* the id can be used again */
   virgl_renderer_context_destroy(1);
   context_create(1);
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 4);
   WAIT_FOR(vmm.nr_fences == 4);
}
END_TEST

START_TEST(compute_worker_breaks_protocol)
{
   struct iovec iov = pages(0, 1);

   init(ASYNC, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.breach = _i;
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 1);
   WAIT_FOR(worker_is_dead(0));
   WAIT_FOR(vmm.nr_fences == 1);
   ck_assert_int_ne(submit(1, 1), 0);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 0);
}
END_TEST

START_TEST(compute_worker_breaks_protocol_while_we_wait)
{
   struct iovec iov = pages(0, 1);

   init(0, 0);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.breach = _i;
   virgl_renderer_resource_unref(10);
   if (_i != BREACH_UNASKED)
      ck_assert(worker_is_dead(0));
   WAIT_FOR(worker_is_dead(0));
   ck_assert_int_ne(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
}
END_TEST

START_TEST(compute_worker_hangs)
{
   init(ASYNC, 100);
   context_create(1);
   usleep(200 * 1000);
   ck_assert(!worker_is_dead(0));
   server.hold_submits = true;
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 1);
   WAIT_FOR(vmm.nr_fences == 1);
   ck_assert(worker_is_dead(0));
}
END_TEST

START_TEST(compute_worker_hangs_while_we_wait)
{
   struct iovec iov = pages(0, 1);

   init(0, 200);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server_set_deaf(true);
   const int64_t start = now_ms();
   virgl_renderer_resource_unref(10);
   ck_assert_int_ge(now_ms() - start, 199);
   ck_assert(worker_is_dead(0));
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), -EIO);
}
END_TEST

START_TEST(compute_worker_is_slow_while_we_wait)
{
   struct iovec iov = pages(0, 1);

   /* it answers each request in time, but that would be a long wait */
   init(0, 500);
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.submit_delay_ms = 100;
   for (uint32_t i = 0; i < 20; i++)
      ck_assert_int_eq(submit(1, 1), 0);
   virgl_renderer_resource_unref(10);
   ck_assert_uint_eq(server.nr_unmaps, 0);
   ck_assert(worker_is_dead(0));
}
END_TEST

START_TEST(compute_destroy_with_work)
{
   struct iovec iov = pages(0, 1);

   init(_i, 0);
   context_create(1);
   context_create(2);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
   server.hold_submits = true;
   ck_assert_int_eq(submit(1, 1), 0);
   fence(1, 0, 1);
   virgl_renderer_context_destroy(1);
   ck_assert(worker_is_dead(0));
   ck_assert_uint_eq(vmm.nr_fences, 1);

   ck_assert_int_eq(submit(2, 1), 0);
   virgl_renderer_reset();
   ck_assert(worker_is_dead(1));
   context_create(1);
   ck_assert_int_eq(create_userptr(1, 10, PAGE_SIZE, &iov, 1), 0);
}
END_TEST

START_TEST(compute_server_gone)
{
   init(0, 0);
   context_create(1);
   shutdown(server.control, SHUT_RDWR);
   ck_assert_int_ne(virgl_renderer_context_create_with_flags(
                       2, VIRTGPU_DRM_CAPSET_COMPUTE, 0, NULL), 0);
   /* we kill it by ourselves */
   virgl_renderer_context_destroy(1);
   ck_assert(worker_is_dead(0));
}
END_TEST

static Suite *
virgl_init_suite(void)
{
   Suite *s = suite_create("virgl_compute");
   TCase *tc = tcase_create("compute");

   tcase_add_checked_fixture(tc, setup, teardown);
   tcase_set_timeout(tc, 60);
   tcase_add_test(tc, compute_init_errors);
   tcase_add_test(tc, compute_init_other_version);
   tcase_add_test(tc, compute_init_without_capset);
   tcase_add_test(tc, compute_capset);
   tcase_add_test(tc, compute_context_of_other_capset);
   tcase_add_test(tc, compute_context);
   tcase_add_test(tc, compute_context_refused);
   tcase_add_test(tc, compute_host_blob);
   tcase_add_test(tc, compute_guest_blob);
   tcase_add_test(tc, compute_guest_blob_of_many_pieces);
   tcase_add_test(tc, compute_guest_blob_of_many_files);
   tcase_add_test(tc, compute_guest_blob_rdonly);
   tcase_add_test(tc, compute_guest_blob_refused);
   tcase_add_test(tc, compute_attach);
   tcase_add_test(tc, compute_attach_rdonly);
   tcase_add_test(tc, compute_attach_failed);
   tcase_add_test(tc, compute_fences_async);
   tcase_add_test(tc, compute_fences_poll_fd);
   tcase_add_test(tc, compute_fences_poll);
   tcase_add_test(tc, compute_worker_does_not_read);
   tcase_add_test(tc, compute_unref_waits);
   tcase_add_test(tc, compute_unmap_failed);
   tcase_add_test(tc, compute_begin_detach);
   tcase_add_test(tc, compute_begin_detach_while_a_submission_runs);
   tcase_add_loop_test(tc, compute_begin_detach_and_wait, 0, 1);
   tcase_add_loop_test(tc, compute_begin_detach_and_wait, ASYNC, ASYNC + 1);
   tcase_add_test(tc, compute_begin_detach_all_contexts);
   tcase_add_test(tc, compute_begin_detach_twice);
   tcase_add_test(tc, compute_begin_detach_of_unknown);
   tcase_add_test(tc, compute_begin_detach_and_attach);
   tcase_add_loop_test(tc, compute_begin_detach_and_destroy, 0, 1);
   tcase_add_loop_test(tc, compute_begin_detach_and_destroy, ASYNC, ASYNC + 1);
   tcase_add_test(tc, compute_begin_detach_and_reset);
   tcase_add_test(tc, compute_begin_detach_and_worker_dies);
   tcase_add_test(tc, compute_begin_detach_and_worker_hangs);
   tcase_add_test(tc, compute_begin_detach_fails);
   tcase_add_test(tc, compute_begin_detach_of_lost_context);
   tcase_add_test(tc, compute_worker_died);
   tcase_add_loop_test(tc, compute_worker_breaks_protocol, 1, BREACH_COUNT);
   tcase_add_loop_test(tc, compute_worker_breaks_protocol_while_we_wait, 1, BREACH_COUNT);
   tcase_add_test(tc, compute_worker_hangs);
   tcase_add_test(tc, compute_worker_hangs_while_we_wait);
   tcase_add_test(tc, compute_worker_is_slow_while_we_wait);
   tcase_add_loop_test(tc, compute_destroy_with_work, 0, 1);
   tcase_add_loop_test(tc, compute_destroy_with_work, ASYNC, ASYNC + 1);
   tcase_add_test(tc, compute_server_gone);

   suite_add_tcase(s, tc);
   return s;
}

int
main(void)
{
   SRunner *sr = srunner_create(virgl_init_suite());

   srunner_run_all(sr, CK_NORMAL);
   const int nr_failed = srunner_ntests_failed(sr);
   srunner_free(sr);

   return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
