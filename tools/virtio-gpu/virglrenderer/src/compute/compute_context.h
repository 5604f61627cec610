/* SPDX-License-Identifier: MIT */

#ifndef COMPUTE_CONTEXT_H
#define COMPUTE_CONTEXT_H

#include "compute_renderer.h"
#include "compute_server.h"

struct compute_renderer {
   const struct compute_renderer_cbs *cbs;
   uint32_t flags;
   uint32_t timeout_ms;

   struct compute_server server;
};

extern struct compute_renderer compute_renderer;

/* kill the worker without waiting for its death */
void
compute_context_kill_worker(struct virgl_context *base);

#endif /* COMPUTE_CONTEXT_H */
