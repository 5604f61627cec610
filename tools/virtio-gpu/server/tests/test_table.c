// SPDX-License-Identifier: MIT
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vcs_table.h"

static void finds_what_was_added(void **state)
{
	/* The first three share a bucket. */
	struct vcs_node a = { .id = 1 }, b = { .id = 1 + VCS_TABLE_BUCKETS };
	struct vcs_node c = { .id = 1 + 2 * VCS_TABLE_BUCKETS };
	struct vcs_node d = { .id = UINT32_MAX };
	struct vcs_table t = { 0 };

	(void)state;
	assert_null(vcs_table_find(&t, 1));
	vcs_table_add(&t, &a);
	vcs_table_add(&t, &b);
	vcs_table_add(&t, &c);
	vcs_table_add(&t, &d);
	assert_int_equal(t.count, 4);
	assert_ptr_equal(vcs_table_find(&t, a.id), &a);
	assert_ptr_equal(vcs_table_find(&t, b.id), &b);
	assert_ptr_equal(vcs_table_find(&t, c.id), &c);
	assert_ptr_equal(vcs_table_find(&t, d.id), &d);
	assert_null(vcs_table_find(&t, 2));

	/* From the middle of a bucket. */
	assert_ptr_equal(vcs_table_remove(&t, b.id), &b);
	assert_null(vcs_table_remove(&t, b.id));
	assert_null(vcs_table_find(&t, b.id));
	assert_ptr_equal(vcs_table_find(&t, c.id), &c);
	assert_int_equal(t.count, 3);
}

static void pop_empties_it(void **state)
{
	struct vcs_node nodes[1000] = { 0 };
	struct vcs_table t = { 0 };
	uint32_t i;

	(void)state;
	for (i = 0; i < 1000; i++) {
		nodes[i].id = i * 7;
		vcs_table_add(&t, &nodes[i]);
	}
	for (i = 0; i < 1000; i++)
		assert_non_null(vcs_table_pop(&t));
	assert_null(vcs_table_pop(&t));
	assert_int_equal(t.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_added),
		cmocka_unit_test(pop_empties_it),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
