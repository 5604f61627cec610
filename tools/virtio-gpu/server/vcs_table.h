/* SPDX-License-Identifier: MIT */
/*
 * Objects of a context by the id that the guest uses for them
 */
#ifndef VCS_TABLE_H
#define VCS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define VCS_TABLE_BUCKETS	256

/* First member of what is in a table. */
struct vcs_node {
	struct vcs_node *next;
	uint32_t id;
};

/* Empty when zeroed. */
struct vcs_table {
	struct vcs_node *buckets[VCS_TABLE_BUCKETS];
	unsigned int count;
};

static inline struct vcs_node **vcs_table_slot(struct vcs_table *t, uint32_t id)
{
	struct vcs_node **slot = &t->buckets[id % VCS_TABLE_BUCKETS];

	while (*slot && (*slot)->id != id)
		slot = &(*slot)->next;
	return slot;
}

static inline void *vcs_table_find(struct vcs_table *t, uint32_t id)
{
	return *vcs_table_slot(t, id);
}

/* The id must not be in use. */
static inline void vcs_table_add(struct vcs_table *t, struct vcs_node *node)
{
	struct vcs_node **slot = vcs_table_slot(t, node->id);

	node->next = NULL;
	*slot = node;
	t->count++;
}

/* Returns NULL if there is none of that id. */
static inline void *vcs_table_remove(struct vcs_table *t, uint32_t id)
{
	struct vcs_node **slot = vcs_table_slot(t, id);
	struct vcs_node *node = *slot;

	if (node) {
		*slot = node->next;
		t->count--;
	}
	return node;
}

/* Removes and returns any one, NULL when the table is empty. */
static inline void *vcs_table_pop(struct vcs_table *t)
{
	size_t i;

	for (i = 0; i < VCS_TABLE_BUCKETS; i++)
		if (t->buckets[i])
			return vcs_table_remove(t, t->buckets[i]->id);
	return NULL;
}

#endif /* VCS_TABLE_H */
