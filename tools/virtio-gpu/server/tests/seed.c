// SPDX-License-Identifier: MIT
/* Of a transcript, an input for fuzz_rocm */
#include <errno.h>
#include <string.h>

#include <linux/virtio_gpu_rocm.h>

#include "fuzz_rocm.h"
#include "transcript.h"

/**
 * struct seed - an input that is being made
 * @data: of SEED_MAX bytes
 * @len: how much of it there is
 * @capacity: of the room for the next answer
 * @nr: submissions so far
 * @seqnos: their seqnos
 */
struct seed {
	uint8_t *data;
	size_t len;
	uint64_t capacity;
	uint32_t nr;
	uint32_t seqnos[FUZZ_ANSWERS];
};

static int add(struct seed *s, uint8_t type, uint64_t arg, const uint8_t *data,
	       size_t len)
{
	const struct fuzz_step step = {
		.type = type,
		.arg = (uint8_t)arg,
		.len = { (uint8_t)len, (uint8_t)(len >> 8) },
	};

	if (arg > UINT8_MAX)
		return -EINVAL;
	if (len > SEED_MAX - sizeof(step) ||
	    s->len > SEED_MAX - sizeof(step) - len)
		return -E2BIG;
	memcpy(s->data + s->len, &step, sizeof(step));
	if (len)
		memcpy(s->data + s->len + sizeof(step), data, len);
	s->len += sizeof(step) + len;
	return 0;
}

/* As a step says it, in two bytes. */
static int pages(uint64_t size, uint8_t *low, uint8_t *high)
{
	uint64_t n = size / FUZZ_PAGE;

	if (size % FUZZ_PAGE || n >= FUZZ_PAGES)
		return -EINVAL;
	*low = n % FUZZ_PAGES_LOW;
	*high = (uint8_t)(n / FUZZ_PAGES_LOW);
	return 0;
}

static int add_userptr(struct seed *s, const struct transcript_line *line)
{
	uint8_t data[3] = { 0, !!(line->arg[2] & TRANSCRIPT_RDONLY) };
	int ret = pages(line->arg[1], &data[0], &data[2]);

	return ret ? ret : add(s, STEP_USERPTR, line->arg[0], data,
			       sizeof(data));
}

static int add_blob(struct seed *s, const struct transcript_line *line)
{
	uint8_t data[3] = { (uint8_t)line->arg[2] };
	int ret = pages(line->arg[1], &data[1], &data[2]);

	if (!ret && line->arg[2] > UINT8_MAX)
		ret = -EINVAL;
	return ret ? ret : add(s, STEP_BLOB, line->arg[0], data, sizeof(data));
}

static int add_var(struct seed *s, const struct transcript_line *line)
{
	uint8_t data[10];
	uint32_t i;

	for (i = s->nr; i--;)
		if (s->seqnos[i] == line->arg[1])
			break;
	if (i == UINT32_MAX || line->arg[0] % 8 || line->arg[2] % 8)
		return -EINVAL;
	data[0] = (uint8_t)i;
	data[1] = (uint8_t)(line->arg[2] / 8);
	for (i = 0; i < 8; i++)
		data[2 + i] = (uint8_t)(line->arg[3] >> 8 * i);
	return add(s, STEP_VAR, line->arg[0] / 8, data, sizeof(data));
}

/* In fuzz_rocm all memory is the same. */
static int add_memory(struct seed *s, const struct transcript_line *line)
{
	if (line->arg[1] % 64)
		return -EINVAL;
	return add(s, STEP_MEMORY, line->arg[1] / 64, line->bytes,
		   line->arg[2]);
}

static int add_doorbell(struct seed *s, const struct transcript_line *line)
{
	const uint8_t data[] = {
		(uint8_t)(line->arg[1] / 4), (uint8_t)(line->arg[1] / 1024), 1,
	};

	if (line->arg[1] % 8 || line->arg[1] >= VIRTIO_GPU_ROCM_DOORBELL_SIZE)
		return -EINVAL;
	return add(s, STEP_DOORBELL, line->arg[0], data, sizeof(data));
}

/* Each answer in the same place, which is smaller than a guest's. */
static int add_submit(struct seed *s, struct transcript_line *line)
{
	struct { uint32_t cmd, len, seqno, rsp_off; } req;

	if (s->nr == FUZZ_ANSWERS)
		return -E2BIG;
	s->seqnos[s->nr] = 0;
	if (line->arg[0] >= sizeof(req)) {
		memcpy(&req, line->bytes, sizeof(req));
		req.rsp_off = 0;
		s->seqnos[s->nr] = req.seqno;
		memcpy(line->bytes, &req, sizeof(req));
	}
	s->nr++;
	return add(s, STEP_SUBMIT, s->capacity / 8 > UINT8_MAX ? UINT8_MAX :
		   s->capacity / 8, line->bytes, line->arg[0]);
}

int transcript_seed(FILE *f, uint64_t gen, uint8_t seed[SEED_MAX])
{
	struct seed s = { .data = seed };
	struct transcript_line line;
	bool within = false;
	int ret;

	while ((ret = transcript_read(f, &line)) > 0) {
		if (line.op == TRANSCRIPT_CONTEXT)
			within = line.arg[0] == gen;
		if (!within)
			continue;
		ret = 0;
		switch (line.op) {
		case TRANSCRIPT_USERPTR:
			ret = add_userptr(&s, &line);
			break;
		case TRANSCRIPT_BLOB:
			ret = add_blob(&s, &line);
			break;
		case TRANSCRIPT_CLOSE:
			ret = add(&s, STEP_REMOVE, line.arg[0], NULL, 0);
			break;
		case TRANSCRIPT_VAR:
			ret = add_var(&s, &line);
			break;
		case TRANSCRIPT_ROOM:
			s.capacity = line.arg[1];
			break;
		case TRANSCRIPT_REQ:
			ret = add_submit(&s, &line);
			break;
		case TRANSCRIPT_MEMORY:
			ret = add_memory(&s, &line);
			break;
		case TRANSCRIPT_DOORBELL:
			ret = add_doorbell(&s, &line);
			break;
		case TRANSCRIPT_END:
			return (int)s.len;
		default:
			break;
		}
		if (ret)
			return ret;
	}
	return ret ? ret : -ENOENT;
}
