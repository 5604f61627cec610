/* SPDX-License-Identifier: MIT */

#include "compute_renderer.h"

#include <string.h>

#include "virtgpu_drm.h"

#include "compute_context.h"
#include "virgl_context.h"

struct compute_renderer compute_renderer;

int
compute_renderer_init(const struct compute_renderer_cbs *cbs,
                      uint32_t flags,
                      uint32_t timeout_ms)
{
   const int fd = cbs->get_server_fd();
   if (fd < 0) {
      virgl_error("compute: there is no connection with vgpu-compute-server\n");
      return -ENODEV;
   }

   const int ret = compute_server_init(&compute_renderer.server, fd);
   if (ret)
      return ret;

   compute_renderer.cbs = cbs;
   compute_renderer.flags = flags;
   compute_renderer.timeout_ms = timeout_ms;
   return 0;
}

void
compute_renderer_fini(void)
{
   compute_server_fini(&compute_renderer.server);
   memset(&compute_renderer, 0, sizeof(compute_renderer));
}

size_t
compute_renderer_get_capset(uint32_t set, uint32_t *max_ver, void *caps)
{
   const struct vgpu_msg_capset *capset =
      compute_server_find_capset(&compute_renderer.server, set);

   if (!capset)
      return 0;

   if (max_ver)
      *max_ver = capset->max_version;
   if (caps)
      memcpy(caps, capset->data, capset->size);
   return capset->size;
}

static bool
prepare_reset(struct virgl_context *ctx, UNUSED void *data)
{
   if (ctx->capset_id == VIRTGPU_DRM_CAPSET_COMPUTE)
      compute_context_kill_worker(ctx);
   return true;
}

void
compute_renderer_prepare_reset(void)
{
   const struct virgl_context_foreach_args args = {
      .callback = prepare_reset,
   };

   virgl_context_foreach(&args);
}

static bool
detach_resource(struct virgl_context *ctx, void *data)
{
   if (ctx->capset_id == VIRTGPU_DRM_CAPSET_COMPUTE)
      ctx->detach_resource(ctx, data);
   return true;
}

void
compute_renderer_detach_iov(struct virgl_resource *res)
{
   const struct virgl_context_foreach_args args = {
      .callback = detach_resource,
      .data = res,
   };

   virgl_context_foreach(&args);
}
