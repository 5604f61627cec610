/* SPDX-License-Identifier: MIT */

#include "compute_server.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/macros.h"
#include "virgl_util.h"

/* The server may be looking for a device, which takes some drivers seconds. */
#define COMPUTE_HELLO_TIMEOUT_MS 30000

int
compute_send(int sock, const struct vgpu_msg_hdr *hdr, const int *fds, uint32_t nr_fds)
{
   union {
      char buf[CMSG_SPACE(sizeof(int) * VGPU_PROTO_MAX_FDS)];
      struct cmsghdr align;
   } control;
   struct iovec iov = {
      .iov_base = (void *)hdr,
      .iov_len = hdr->size,
   };
   struct msghdr msg = {
      .msg_iov = &iov,
      .msg_iovlen = 1,
   };
   ssize_t ret;

   if (nr_fds) {
      memset(&control, 0, sizeof(control));
      msg.msg_control = control.buf;
      msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);

      struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
      memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nr_fds);
   }

   do {
      ret = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
   } while (ret < 0 && errno == EINTR);

   return ret < 0 ? -errno : (int)ret;
}

static int
compute_server_send(struct compute_server *server, const struct vgpu_msg_hdr *msg, int fd)
{
   int ret = -EPIPE;

   mtx_lock(&server->mutex);
   if (!server->gone) {
      /* Messages are few and small: waiting would not help one that does not read them. */
      ret = compute_send(server->fd, msg, &fd, fd >= 0);
      if (ret != (int)msg->size) {
         virgl_error("compute: vgpu-compute-server cannot be reached: %s\n",
                     ret < 0 ? strerror(-ret) : "it does not read its messages");
         /* It would not understand what follows half a message. */
         if (ret != -EAGAIN && ret != -ETOOMANYREFS)
            server->gone = true;
         ret = ret < 0 ? ret : -EPIPE;
      }
   }
   mtx_unlock(&server->mutex);

   return ret < 0 ? ret : 0;
}

static int
compute_server_read(struct compute_server *server, void *buf, size_t size)
{
   struct pollfd pfd = {
      .fd = server->fd,
      .events = POLLIN,
   };
   uint8_t *p = buf;

   while (size) {
      int ret = poll(&pfd, 1, COMPUTE_HELLO_TIMEOUT_MS);
      if (ret < 0 && errno == EINTR)
         continue;
      if (ret <= 0)
         return ret ? -errno : -ETIMEDOUT;

      ssize_t len = recv(server->fd, p, size, MSG_DONTWAIT);
      if (len < 0 && (errno == EINTR || errno == EAGAIN))
         continue;
      if (len <= 0)
         return len ? -errno : -ECONNRESET;

      p += len;
      size -= len;
   }

   return 0;
}

static bool
compute_capsets_are_valid(const struct compute_server *server)
{
   for (uint32_t i = 0; i < server->nr_capsets; i++) {
      const struct vgpu_msg_capset *capset = &server->capsets[i];

      if (compute_server_find_capset(server, capset->id) != capset ||
          !capset->size || capset->size > sizeof(capset->data))
         return false;
   }

   return true;
}

static int
compute_server_hello(struct compute_server *server)
{
   struct vgpu_msg_hello hello = {
      .hdr = {
         .type = VGPU_MSG_HELLO,
         .size = sizeof(hello),
         .serial = ++server->last_serial,
      },
      .version = VGPU_PROTO_VERSION,
   };
   struct vgpu_msg_hello answer;
   int ret;

   ret = compute_server_send(server, &hello.hdr, -1);
   if (!ret)
      ret = compute_server_read(server, &answer, sizeof(answer));
   if (ret)
      return ret;

   if (answer.hdr.type != VGPU_MSG_HELLO || answer.hdr.serial != hello.hdr.serial)
      return -EPROTO;
   if (answer.version != VGPU_PROTO_VERSION) {
      virgl_error("compute: vgpu-compute-server speaks version %" PRIu32
                  " of the protocol, not %d\n", answer.version, VGPU_PROTO_VERSION);
      return -EPROTO;
   }
   if (!answer.nr_capsets || answer.nr_capsets > VGPU_PROTO_MAX_CAPSETS ||
       answer.hdr.size != sizeof(answer) + answer.nr_capsets * sizeof(server->capsets[0]))
      return -EPROTO;

   ret = compute_server_read(server, server->capsets,
                             answer.nr_capsets * sizeof(server->capsets[0]));
   if (ret)
      return ret;

   server->nr_capsets = answer.nr_capsets;
   if (!compute_capsets_are_valid(server))
      return -EPROTO;

   return 0;
}

int
compute_server_init(struct compute_server *server, int fd)
{
   memset(server, 0, sizeof(*server));
   server->fd = fd;
   mtx_init(&server->mutex, mtx_plain);

   const int ret = compute_server_hello(server);
   if (ret) {
      virgl_error("compute: no handshake with vgpu-compute-server: %s\n", strerror(-ret));
      compute_server_fini(server);
   }

   return ret;
}

void
compute_server_fini(struct compute_server *server)
{
   close(server->fd);
   mtx_destroy(&server->mutex);
   memset(server, 0, sizeof(*server));
}

const struct vgpu_msg_capset *
compute_server_find_capset(const struct compute_server *server, uint32_t id)
{
   for (uint32_t i = 0; i < server->nr_capsets; i++) {
      if (server->capsets[i].id == id)
         return &server->capsets[i];
   }

   return NULL;
}

int
compute_server_create_context(struct compute_server *server,
                              uint32_t ctx_id,
                              uint32_t capset_id,
                              size_t name_len,
                              const char *name,
                              uint64_t *serial)
{
   struct vgpu_msg_ctx_create msg = {
      .hdr = {
         .type = VGPU_MSG_CTX_CREATE,
         .size = sizeof(msg),
      },
      .ctx_id = ctx_id,
      .capset_id = capset_id,
   };
   /* At least one message has to fit, however small the default is. */
   const int sndbuf = 4 * VGPU_PROTO_MAX_MSG;
   int socks[2];
   int ret;

   if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
      return -errno;
   setsockopt(socks[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));

   if (name)
      memcpy(msg.name, name, MIN2(name_len, sizeof(msg.name) - 1));
   mtx_lock(&server->mutex);
   msg.hdr.serial = ++server->last_serial;
   mtx_unlock(&server->mutex);

   ret = compute_server_send(server, &msg.hdr, socks[1]);
   close(socks[1]);
   if (ret) {
      close(socks[0]);
      return ret;
   }

   *serial = msg.hdr.serial;
   return socks[0];
}

void
compute_server_kill_context(struct compute_server *server, uint64_t serial)
{
   const struct vgpu_msg_hdr msg = {
      .type = VGPU_MSG_CTX_KILL,
      .size = sizeof(msg),
      .serial = serial,
   };

   compute_server_send(server, &msg, -1);
}
