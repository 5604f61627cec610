// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "rocm_client.h"
#include "rocm_transcript.h"

struct known {
	uint64_t value;
	uint64_t size;
	uint32_t seqno;
	uint32_t off;
};

struct rocm_transcript {
	FILE *out;		/* into @text */
	char *text;
	size_t len;
	struct known *known;
	size_t nr_known;
};

/* What differs from run to run: addresses, ids, clocks, and what memory holds. */
static const struct mask {
	uint32_t cmd;
	uint32_t type;
	uint32_t first;
	uint32_t end;
} masks[] = {
	{ ROCM_QUERY, ROCM_QUERY_OPEN_KFD, 8, 16 },
	{ ROCM_QUERY, ROCM_QUERY_CLOCK_COUNTERS, 8, 40 },
	{ ROCM_QUERY, ROCM_QUERY_NANO_TIME, 8, 16 },
	{ ROCM_QUERY, ROCM_QUERY_AMDGPU_HANDLE, 8, 16 },
	{ ROCM_MEMORY, ROCM_MEMORY_ALLOC, 8, 16 },
	{ ROCM_MEMORY, ROCM_MEMORY_MAP_TO_GPU_NODES, 8, 16 },
	{ ROCM_MEMORY, ROCM_MEMORY_AVAIL, 8, 16 },
	{ ROCM_MEMORY, ROCM_MEMORY_MAP_MEM_TO_GPU, 8, 16 },
	{ ROCM_MEMORY, ROCM_MEMORY_MAP_USERPTR, 8, 20 },
	{ ROCM_EVENT, ROCM_EVENT_CREATE, 8, 12 },
	{ ROCM_EVENT, ROCM_EVENT_CREATE, 56, 64 },
	{ ROCM_QUEUE, ROCM_QUEUE_CREATE, 8, 16 },
	{ ROCM_QUEUE, ROCM_QUEUE_CREATE, 48, 56 },
	{ ROCM_QUEUE, ROCM_QUEUE_CREATE, 88, 96 },
	{ ROCM_SIM_ACCESS, UINT32_MAX, 8, 16 },
};

struct rocm_transcript *rocm_transcript_new(const char *context)
{
	struct rocm_transcript *t;

	if (!getenv("VGPU_ROCM_TRANSCRIPT"))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->out = open_memstream(&t->text, &t->len);
	if (!t->out)
		abort();
	fprintf(t->out, "context %s\n", context);
	return t;
}

void rocm_transcript_end(struct rocm_transcript *t)
{
	size_t done = 0;
	ssize_t ret;
	int fd;

	if (!t)
		return;
	fprintf(t->out, "end\n");
	fclose(t->out);

	/* Other processes' contexts end in the same file, whole as well. */
	fd = open(getenv("VGPU_ROCM_TRANSCRIPT"),
		  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || flock(fd, LOCK_EX))
		perror(getenv("VGPU_ROCM_TRANSCRIPT"));
	while (fd >= 0 && done < t->len) {
		ret = write(fd, t->text + done, t->len - done);
		if (ret <= 0)
			break;
		done += ret;
	}
	if (fd >= 0)
		close(fd);

	free(t->text);
	free(t->known);
	free(t);
}

void rocm_transcript_line(struct rocm_transcript *t, const char *fmt, ...)
{
	va_list ap;

	if (!t)
		return;
	va_start(ap, fmt);
	vfprintf(t->out, fmt, ap);
	va_end(ap);
	fputc('\n', t->out);
}

void rocm_transcript_know(struct rocm_transcript *t, uint32_t seqno,
			  uint32_t off, uint64_t value, uint64_t size)
{
	if (!t)
		return;
	t->known = realloc(t->known, (t->nr_known + 1) * sizeof(*t->known));
	if (!t->known)
		abort();
	t->known[t->nr_known++] = (struct known){ value, size, seqno, off };
}

void rocm_transcript_uses(struct rocm_transcript *t, uint32_t off,
			  uint64_t value)
{
	size_t i;

	if (!t)
		return;
	/* The newest: an address may have been given up and given again. */
	for (i = t->nr_known; i--;) {
		const struct known *k = &t->known[i];

		if (value - k->value >= k->size)
			continue;
		rocm_transcript_line(t, "var %u %u %u %llu", off, k->seqno,
				     k->off,
				     (unsigned long long)(value - k->value));
		return;
	}
}

static bool masked(uint32_t cmd, uint32_t type, uint32_t off)
{
	size_t i;

	for (i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
		if (masks[i].cmd == cmd && masks[i].type == type &&
		    off >= masks[i].first && off < masks[i].end)
			return true;
	return false;
}

/* Those of the answer to @cmd and @type, or of what is no answer: 0. */
static void put_bytes(struct rocm_transcript *t, const char *what,
		      const uint8_t *bytes, uint32_t size, uint32_t cmd,
		      uint32_t type)
{
	uint32_t i, end = size;

	while (end && !bytes[end - 1] && !masked(cmd, type, end - 1))
		end--;
	fprintf(t->out, end ? "%s %u " : "%s %u", what, size);
	for (i = 0; i < end; i++) {
		if (masked(cmd, type, i))
			fputs("..", t->out);
		else
			fprintf(t->out, "%02x", bytes[i]);
	}
	fputc('\n', t->out);
}

void rocm_transcript_req(struct rocm_transcript *t, const void *req,
			 uint32_t size)
{
	if (t)
		put_bytes(t, "req", req, size, 0, 0);
}

void rocm_transcript_memory(struct rocm_transcript *t, uint32_t res_id,
			    uint64_t off, const void *bytes, uint32_t size)
{
	char what[64];

	if (!t)
		return;
	snprintf(what, sizeof(what), "memory %u %llu", res_id,
		 (unsigned long long)off);
	put_bytes(t, what, bytes, size, 0, 0);
}

static uint32_t type_of(const void *req, uint32_t size)
{
	uint32_t off = 0;

	switch (rocm_get32(req, ROCM_REQ_CMD)) {
	case ROCM_QUERY:
		off = ROCM_QUERY_TYPE;
		break;
	case ROCM_EVENT:
		off = ROCM_EVENT_TYPE;
		break;
	case ROCM_QUEUE:
		off = ROCM_QUEUE_TYPE;
		break;
	case ROCM_MEMORY:
		off = size < rocm_layouts[ROCM_2026].mem_size ?
		      rocm_layouts[ROCM_2025].mem_type :
		      rocm_layouts[ROCM_2026].mem_type;
		break;
	}
	return off && off + 4 <= size ? rocm_get32(req, off) : UINT32_MAX;
}

void rocm_transcript_rsp(struct rocm_transcript *t, const void *req,
			 uint32_t size, const void *rsp, uint32_t len)
{
	if (t)
		put_bytes(t, "rsp", rsp, len, rocm_get32(req, ROCM_REQ_CMD),
			  type_of(req, size));
}
