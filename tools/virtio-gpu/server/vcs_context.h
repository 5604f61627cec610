/* SPDX-License-Identifier: MIT */
/*
 * What a worker asks of its context, whatever its type
 */
#ifndef VCS_CONTEXT_H
#define VCS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vcs_window.h"

struct vcs_context;

/**
 * struct vcs_resource_info - a resource, as RES_MAP names it
 * @res_id: virtio-gpu resource id
 * @flags: VGPU_RES_*
 * @blob_id: as the guest named it
 * @size: of its window
 */
struct vcs_resource_info {
	uint32_t res_id;
	uint32_t flags;
	uint64_t blob_id;
	uint64_t size;
};

/**
 * struct vcs_doorbell - a store of the guest to a doorbell
 * @res_id: virtio-gpu resource id
 * @offset: in the resource, a multiple of @size
 * @size: of the store, 4 or 8
 * @value: what was stored
 */
struct vcs_doorbell {
	uint32_t res_id;
	uint32_t offset;
	uint32_t size;
	uint64_t value;
};

/* All functions that return int return 0 or a negative errno. */
struct vcs_context_ops {
	/* May this resource be added? -EINVAL, -EEXIST or -E2BIG if not. */
	int (*check_resource)(struct vcs_context *ctx,
			      const struct vcs_resource_info *info);

	/*
	 * Reserve the window of a resource that check_resource() has allowed.
	 * NULL: it may be anywhere.
	 */
	int (*init_window)(struct vcs_context *ctx,
			   const struct vcs_resource_info *info,
			   struct vcs_window *win);

	/*
	 * Add the resource whose window is complete; the window is the context's
	 * if it returns 0. After an error, or if nothing is added before the next
	 * init_window(), it is unmapped by the caller.
	 */
	int (*add_resource)(struct vcs_context *ctx,
			    const struct vcs_resource_info *info,
			    const struct vcs_window *win);

	/*
	 * Take a resource away and unmap it: nothing of this process can access
	 * its memory when this returns. -ENOENT: there is none.
	 */
	int (*remove_resource)(struct vcs_context *ctx, uint32_t res_id);

	/*
	 * Execute a submission. What is wrong with it is told in the shared
	 * blob; the return value is -EINVAL when there is no such blob yet, else
	 * 0. @payload is the process's own memory, aligned to 8.
	 */
	int (*submit)(struct vcs_context *ctx, const uint8_t *payload,
		      size_t len);

	/*
	 * Is this resource, which was just added, no memory but doorbells? NULL:
	 * none ever is.
	 */
	bool (*is_doorbells)(struct vcs_context *ctx, uint32_t res_id);

	/*
	 * The guest has rung one. -EBADMSG: only somebody who does not keep
	 * track of what is_doorbells() has said sends it.
	 */
	int (*doorbell)(struct vcs_context *ctx,
			const struct vcs_doorbell *bell);

	/*
	 * Do what is due without a request, a bounded piece of it. Returns after
	 * how many milliseconds it wants to be called again, or -1: only when
	 * another function has been called. NULL: there is nothing to do.
	 */
	int (*run)(struct vcs_context *ctx);

	/* Drops everything that the context has. */
	void (*destroy)(struct vcs_context *ctx);
};

struct vcs_context {
	const struct vcs_context_ops *ops;
};

#endif /* VCS_CONTEXT_H */
