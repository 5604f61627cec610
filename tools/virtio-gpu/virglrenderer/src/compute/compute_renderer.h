/* SPDX-License-Identifier: MIT */
/*
 * Contexts that compute on memory of the guest, in worker processes of vgpu-compute-server
 */

#ifndef COMPUTE_RENDERER_H
#define COMPUTE_RENDERER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virgl_util.h"

struct iovec;
struct virgl_context;
struct virgl_resource;

struct compute_renderer_cbs {
   int (*get_server_fd)(void);
   int (*resolve_mem)(uint32_t res_id,
                      uint32_t blob_flags,
                      const struct iovec *iov,
                      struct virgl_renderer_compute_mem *mem);
};

#ifdef ENABLE_COMPUTE

/* flags are those of virgl_renderer_init() */
int
compute_renderer_init(const struct compute_renderer_cbs *cbs,
                      uint32_t flags,
                      uint32_t timeout_ms);

void
compute_renderer_fini(void);

/* kill all workers at once: what follows destroys their contexts one by one */
void
compute_renderer_prepare_reset(void);

/* returns the size of the capset, 0 if there is none; caps may be NULL */
size_t
compute_renderer_get_capset(uint32_t set, uint32_t *max_ver, void *caps);

/* the guest takes the memory of a resource back */
void
compute_renderer_detach_iov(struct virgl_resource *res);

struct virgl_context *
compute_context_create(uint32_t ctx_id,
                       uint32_t capset_id,
                       size_t debug_len,
                       const char *debug_name);

/* start what detach_resource waits for; the fence is retired when it is done */
int
compute_context_begin_detach(struct virgl_context *base,
                             uint32_t res_id,
                             uint32_t ring_idx,
                             uint64_t fence_id);

#else /* ENABLE_COMPUTE */

static inline int
compute_renderer_init(UNUSED const struct compute_renderer_cbs *cbs,
                      UNUSED uint32_t flags,
                      UNUSED uint32_t timeout_ms)
{
   virgl_error("Compute support was not enabled in virglrenderer\n");
   return -ENOTSUP;
}

static inline void
compute_renderer_fini(void)
{
}

static inline void
compute_renderer_prepare_reset(void)
{
}

static inline size_t
compute_renderer_get_capset(UNUSED uint32_t set, UNUSED uint32_t *max_ver, UNUSED void *caps)
{
   return 0;
}

static inline void
compute_renderer_detach_iov(UNUSED struct virgl_resource *res)
{
}

static inline struct virgl_context *
compute_context_create(UNUSED uint32_t ctx_id,
                       UNUSED uint32_t capset_id,
                       UNUSED size_t debug_len,
                       UNUSED const char *debug_name)
{
   return NULL;
}

static inline int
compute_context_begin_detach(UNUSED struct virgl_context *base,
                             UNUSED uint32_t res_id,
                             UNUSED uint32_t ring_idx,
                             UNUSED uint64_t fence_id)
{
   return -EINVAL;
}

#endif /* ENABLE_COMPUTE */

#endif /* COMPUTE_RENDERER_H */
