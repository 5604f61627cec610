/* SPDX-License-Identifier: MIT */
/*
 * Resources of a context: their limits, their windows, and how many there are
 */
#ifndef VCS_RESOURCES_H
#define VCS_RESOURCES_H

#include <stdint.h>

#include "vcs_limits.h"
#include "vcs_stats.h"
#include "vcs_table.h"
#include "vcs_window.h"

/**
 * struct vcs_resource - first member of what a context knows of a resource
 * @node: in the context's table, by virtio-gpu resource id
 * @win: its memory
 */
struct vcs_resource {
	struct vcs_node node;
	struct vcs_window win;
};

/**
 * struct vcs_resources - those of one context
 * @limits: that they keep
 * @stats: that count them
 * @budget: that windows give their mappings back to
 * @table: the resources
 * @bytes: of all of them
 * @mappings: of all of them
 */
struct vcs_resources {
	const struct vcs_limits *limits;
	struct vcs_stats *stats;
	struct vcs_map_budget *budget;
	struct vcs_table table;
	uint64_t bytes;
	uint64_t mappings;
};

void vcs_resources_init(struct vcs_resources *r, const struct vcs_limits *limits,
			struct vcs_stats *stats, struct vcs_map_budget *budget);

/* May there be one more? 0, -EINVAL, -EEXIST or -E2BIG, which is logged. */
int vcs_resources_check(struct vcs_resources *r, uint32_t res_id,
			uint64_t size);

/* NULL if there is none of that id. */
void *vcs_resources_find(struct vcs_resources *r, uint32_t res_id);

/* @res was calloc()ed; it and the window are the table's from now on. */
void vcs_resources_add(struct vcs_resources *r, struct vcs_resource *res,
		       uint32_t res_id, const struct vcs_window *win);

/*
 * Out of the table, but mapped until vcs_resources_free(): NULL if there is
 * none of that id, or none at all.
 */
void *vcs_resources_remove(struct vcs_resources *r, uint32_t res_id);
void *vcs_resources_pop(struct vcs_resources *r);

/* Unmaps and frees what was removed. */
void vcs_resources_free(struct vcs_resources *r, struct vcs_resource *res);

#endif /* VCS_RESOURCES_H */
