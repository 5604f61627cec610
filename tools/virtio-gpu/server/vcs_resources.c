// SPDX-License-Identifier: MIT
/*
 * Resources of a context: their limits, their windows, and how many there are
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_resources.h"

void vcs_resources_init(struct vcs_resources *r, const struct vcs_limits *limits,
			struct vcs_stats *stats, struct vcs_map_budget *budget)
{
	memset(r, 0, sizeof(*r));
	r->limits = limits;
	r->stats = stats;
	r->budget = budget;
	vcs_stats_set(&stats->max_mappings, budget->left);
}

int vcs_resources_check(struct vcs_resources *r, uint32_t res_id,
			uint64_t size)
{
	if (!res_id)
		return -EINVAL;
	if (vcs_table_find(&r->table, res_id))
		return -EEXIST;
	if (r->table.count >= r->limits->max_resources) {
		vcs_log_guest("there are %u resources; raise --max-resources",
			      r->table.count);
		return -E2BIG;
	}
	if (size > r->limits->max_registered - r->bytes) {
		vcs_log_guest("%llu bytes are registered; raise --max-registered",
			      (unsigned long long)r->bytes);
		return -E2BIG;
	}
	return 0;
}

static void count(struct vcs_resources *r)
{
	struct vcs_stats *stats = r->stats;

	vcs_stats_set(&stats->resources, r->table.count);
	vcs_stats_set(&stats->bytes, r->bytes);
	vcs_stats_set(&stats->mappings, r->mappings);
	if (r->bytes > stats->max_bytes)
		vcs_stats_set(&stats->max_bytes, r->bytes);
}

void *vcs_resources_find(struct vcs_resources *r, uint32_t res_id)
{
	return vcs_table_find(&r->table, res_id);
}

void vcs_resources_add(struct vcs_resources *r, struct vcs_resource *res,
		       uint32_t res_id, const struct vcs_window *win)
{
	res->node.id = res_id;
	res->win = *win;
	vcs_table_add(&r->table, &res->node);
	r->bytes += win->size;
	r->mappings += win->nr_maps;
	count(r);
}

void *vcs_resources_remove(struct vcs_resources *r, uint32_t res_id)
{
	return vcs_table_remove(&r->table, res_id);
}

void *vcs_resources_pop(struct vcs_resources *r)
{
	return vcs_table_pop(&r->table);
}

void vcs_resources_free(struct vcs_resources *r, struct vcs_resource *res)
{
	r->bytes -= res->win.size;
	r->mappings -= res->win.nr_maps;
	vcs_window_unmap(&res->win, r->budget);
	free(res);
	count(r);
}
