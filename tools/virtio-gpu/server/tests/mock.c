// SPDX-License-Identifier: MIT
/*
 * A backend that computes nothing and remembers what it was asked for
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mock.h"

struct vcs_buffer {
	uint8_t *addr;
	size_t size;
};

struct vcs_program {
	int unused;
};

static struct mock *to_mock(struct vcs_backend *be)
{
	return (struct mock *)be;
}

static int mock_query(struct vcs_backend *be, struct vcs_device_info *info)
{
	(void)be;
	*info = (struct vcs_device_info) {
		.compute_units = 4,
		.max_clock_mhz = 1000,
		.max_work_group = MOCK_MAX_WORK_GROUP,
		.max_work_item = { 256, 256, 64 },
		.offset_align = MOCK_OFFSET_ALIGN,
		.global_mem = 1ULL << 34,
		.max_alloc = MOCK_MAX_ALLOC,
		.local_mem = MOCK_LOCAL_MEM,
		.device = "mock device",
		.platform = "mock platform",
	};
	return 0;
}

static int mock_import(struct vcs_backend *be, const struct vcs_window *win,
		       struct vcs_buffer **buf)
{
	struct mock *m = to_mock(be);

	if (m->fail)
		return m->fail;
	*buf = calloc(1, sizeof(**buf));
	(*buf)->addr = win->addr;
	(*buf)->size = win->size;
	m->last_buffer = *buf;
	m->rdonly = win->rdonly;
	m->addr = win->addr;
	m->imports++;
	m->buffers++;
	return 0;
}

static void mock_release(struct vcs_backend *be, struct vcs_buffer *buf)
{
	/* The window must still be there: the device may be using it. */
	(void)*(volatile uint8_t *)(buf->addr + buf->size - 1);
	to_mock(be)->buffers--;
	free(buf);
}

static int mock_build(struct vcs_backend *be, const char *source,
		      size_t source_len, const char *options,
		      struct vcs_program **prog, struct vcs_build_log *log)
{
	struct mock *m = to_mock(be);

	m->source_len = source_len;
	memcpy(m->source, source, source_len < sizeof(m->source) ?
	       source_len : sizeof(m->source));
	snprintf(m->options, sizeof(m->options), "%s", options);
	if (m->log) {
		log->text = strdup(m->log);
		log->len = strlen(m->log);
	}
	if (m->fail)
		return m->fail;
	*prog = calloc(1, sizeof(**prog));
	m->programs++;
	return 0;
}

static void mock_release_program(struct vcs_backend *be,
				 struct vcs_program *prog)
{
	to_mock(be)->programs--;
	free(prog);
}

static int mock_launch(struct vcs_backend *be, struct vcs_program *prog,
		       const struct vcs_launch *launch,
		       struct vcs_launch_result *result)
{
	struct mock *m = to_mock(be);
	uint32_t i;

	(void)prog;
	m->launches++;
	m->launch = *launch;
	snprintf(m->kernel, sizeof(m->kernel), "%s", launch->kernel);
	for (i = 0; i < launch->nr_args; i++) {
		m->args[i] = launch->args[i];
		if (launch->args[i].type == VCS_ARG_BYTES)
			memcpy(m->values[i], launch->args[i].data,
			       launch->args[i].size < 64 ?
			       launch->args[i].size : 64);
	}
	if (m->fail)
		return m->fail;
	result->device_ns = 1234567890123ULL;
	return 0;
}

static const struct vcs_backend_ops mock_ops = {
	.name = "mock",
	.query = mock_query,
	.import = mock_import,
	.release = mock_release,
	.build = mock_build,
	.release_program = mock_release_program,
	.launch = mock_launch,
};

void mock_init(struct mock *m)
{
	memset(m, 0, sizeof(*m));
	m->base.ops = &mock_ops;
}
