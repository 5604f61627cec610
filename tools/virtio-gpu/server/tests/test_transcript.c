// SPDX-License-Identifier: MIT
/*
 * What clients of the ROCM context have said to the server in a VM, said again:
 * the answers are those that were recorded, as far as they are the same each
 * time
 *
 * VCS_TESTS is this directory. Where the client or what the server answers has
 * changed on purpose, transcripts/session is recorded again, in DIR:
 *
 *   vm/run --backend sim --share DIR -- env VGPU_ROCM_TRANSCRIPT=/mnt/session \
 *	vgpu-rocm-conformance -t session
 *
 * and then `make seeds` here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "rocm_req.h"
#include "transcript.h"

#define CAPSET		8
#define RSP_BASE	16

/* In a context of a transcript. */
#define MAX_RESOURCES	16
#define MAX_VARS	8
#define MAX_ANSWERS	1024

/* Of an answer, what later requests repeat is at its beginning. */
#define KEPT		64

/**
 * struct resource - memory of the "guest"
 * @res_id: resource, 0: none
 * @mem: it, if it is not a blob
 * @blob: NULL, or where the blob is
 * @size: its bytes
 */
struct resource {
	uint32_t res_id;
	struct memory mem;
	uint8_t *blob;
	size_t size;
};

/**
 * struct replay - a context that is being replayed
 * @ctx: the context; its shared blob is not there but in @shm
 * @shm: shared blob
 * @shm_size: its bytes
 * @resources: what there is
 * @vars: VAR lines for the next request
 * @nr_vars: how many
 * @off: where the next answer goes
 * @capacity: the room for it
 * @seqno: of the last request
 * @answers: by seqno
 * @requests: how many there were
 */
struct replay {
	struct ctx ctx;
	uint8_t *shm;
	size_t shm_size;
	struct resource resources[MAX_RESOURCES];
	uint64_t vars[MAX_VARS][4];
	unsigned int nr_vars;
	size_t off;
	uint32_t capacity;
	uint32_t seqno;
	uint8_t answers[MAX_ANSWERS][KEPT];
	unsigned int requests;
};

static FILE *open_test_file(const char *name)
{
	const char *dir = getenv("VCS_TESTS");
	char path[512];
	FILE *f;

	assert_non_null(dir);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		print_error("%s: %s\n", path, strerror(errno));
	assert_non_null(f);
	return f;
}

static struct resource *find(struct replay *r, uint64_t res_id)
{
	size_t i;

	for (i = 0; i < MAX_RESOURCES; i++)
		if (r->resources[i].res_id == res_id)
			return &r->resources[i];
	fail_msg("resource %u", (unsigned int)res_id);
	return NULL;
}

static void drop(struct resource *res)
{
	if (res->blob)
		munmap(res->blob, res->size);
	else
		memory_destroy(&res->mem);
	memset(res, 0, sizeof(*res));
}

static void add(struct replay *r, const struct transcript_line *line)
{
	struct resource *res = find(r, 0);
	uint32_t res_id = (uint32_t)line->arg[0], flags;

	res->size = line->arg[1];
	if (line->op == TRANSCRIPT_BLOB) {
		assert_int_equal(map_blob_flags(&r->ctx, res_id, line->arg[2],
						res->size, &res->blob, &flags),
				 0);
	} else {
		memory_create(&res->mem, res->size / page_size());
		assert_int_equal(map_memory(&r->ctx, res_id, &res->mem,
					    line->arg[2] & TRANSCRIPT_RDONLY),
				 0);
	}
	res->res_id = res_id;
}

static void add_shmem(struct replay *r, const struct transcript_line *line)
{
	r->shm_size = line->arg[1];
	assert_int_equal(map_blob(&r->ctx, (uint32_t)line->arg[0], 0,
				  r->shm_size, &r->shm), 0);
	assert_int_equal(rocm_get32(r->shm, 4), RSP_BASE);
}

/* What earlier answers have said this time, in the @size bytes of the line. */
static void put_vars(struct replay *r, struct transcript_line *line,
		     uint64_t size)
{
	unsigned int i;
	uint64_t value;

	for (i = 0; i < r->nr_vars; i++) {
		const uint64_t *var = r->vars[i];

		assert_in_range(var[0], 0, size - sizeof(value));
		assert_in_range(var[1], 0, MAX_ANSWERS - 1);
		assert_in_range(var[2], 0, KEPT - sizeof(value));
		value = rocm_get64(r->answers[var[1]], var[2]) + var[3];
		memcpy(line->bytes + var[0], &value, sizeof(value));
	}
	r->nr_vars = 0;
}

/* All of @size bytes of the resource at @off, which are in one page. */
static uint8_t *memory_at(struct replay *r, const struct transcript_line *line,
			  uint64_t size)
{
	const uint64_t off = line->arg[1], in_page = off % page_size();
	struct resource *res = find(r, line->arg[0]);

	assert_in_range(size, 1, page_size() - in_page);
	assert_in_range(off + size, size, res->size);
	return res->blob ? res->blob + off :
	       memory_page(&res->mem, off / page_size()) + in_page;
}

static void wait_for(struct replay *r, const struct transcript_line *line)
{
	const uint64_t *at = (void *)memory_at(r, line, sizeof(*at));
	int ms;

	for (ms = 0; ms < TIMEOUT_MS; ms++) {
		if (__atomic_load_n(at, __ATOMIC_ACQUIRE) == line->arg[2])
			return;
		usleep(1000);
	}
	fail_msg("what is waited for does not come");
}

static void request_again(struct replay *r, struct transcript_line *line)
{
	put_vars(r, line, line->arg[0]);
	/* The client's submission may end within the header. */
	r->seqno = line->arg[0] < 16 ? 0 : rocm_get32(line->bytes, 8);
	assert_in_range(r->seqno, 0, MAX_ANSWERS - 1);
	if (r->seqno) {
		assert_in_range(r->off + r->capacity, 8, r->shm_size);
		memset(r->shm + r->off, 0xee, r->capacity);
		memcpy(r->shm + r->off, &r->capacity, sizeof(r->capacity));
	}
	assert_int_equal(submit(&r->ctx, line->bytes, (uint32_t)line->arg[0]),
			 0);
	if (r->seqno)
		assert_int_equal(rocm_get32(r->shm, 0), r->seqno);
	r->requests++;
}

static void check_answer(struct replay *r, const struct transcript_line *line,
			 unsigned int nr)
{
	uint32_t len = rocm_get32(r->shm, r->off), i;
	const uint8_t *rsp = r->shm + r->off;

	if (len > r->capacity)
		len = r->capacity;
	memcpy(r->answers[r->seqno], rsp, len < KEPT ? len : KEPT);
	if (transcript_same(line, rsp, len))
		return;
	for (i = 0; i < len && i < line->arg[0]; i++)
		if (!line->varies[i] && rsp[i] != line->bytes[i])
			print_error("line %u: byte %u is %02x, was %02x\n", nr,
				    i, rsp[i], line->bytes[i]);
	fail_msg("line %u: an answer of %u bytes, was one of %u", nr, len,
		 (unsigned int)line->arg[0]);
}

static void end(struct replay *r)
{
	size_t i;

	ctx_close(&r->ctx);
	munmap(r->shm, r->shm_size);
	for (i = 0; i < MAX_RESOURCES; i++)
		if (r->resources[i].res_id)
			drop(&r->resources[i]);
}

static void step(struct server *s, struct replay *r,
		 struct transcript_line *line, unsigned int nr)
{
	switch (line->op) {
	case TRANSCRIPT_CONTEXT:
		memset(r, 0, sizeof(*r));
		assert_int_equal(ctx_create_status(s, &r->ctx, CAPSET), 0);
		break;
	case TRANSCRIPT_SHMEM:
		add_shmem(r, line);
		break;
	case TRANSCRIPT_USERPTR:
	case TRANSCRIPT_BLOB:
		add(r, line);
		break;
	case TRANSCRIPT_CLOSE:
		assert_int_equal(unmap(&r->ctx, (uint32_t)line->arg[0]), 0);
		drop(find(r, line->arg[0]));
		break;
	case TRANSCRIPT_VAR:
		assert_in_range(r->nr_vars, 0, MAX_VARS - 1);
		memcpy(r->vars[r->nr_vars++], line->arg, sizeof(line->arg));
		break;
	case TRANSCRIPT_ROOM:
		r->off = RSP_BASE + line->arg[0];
		r->capacity = (uint32_t)line->arg[1];
		break;
	case TRANSCRIPT_REQ:
		request_again(r, line);
		break;
	case TRANSCRIPT_RSP:
		check_answer(r, line, nr);
		break;
	case TRANSCRIPT_NONE:
		break;
	case TRANSCRIPT_MEMORY:
		put_vars(r, line, line->arg[2]);
		memcpy(memory_at(r, line, line->arg[2]), line->bytes,
		       line->arg[2]);
		break;
	case TRANSCRIPT_DOORBELL:
		send_doorbell(&r->ctx, (uint32_t)line->arg[0],
			      (uint32_t)line->arg[1], line->arg[2]);
		break;
	case TRANSCRIPT_WAIT:
		wait_for(r, line);
		break;
	case TRANSCRIPT_END:
		end(r);
		break;
	default:
		fail_msg("line %u: nothing to replay", nr);
	}
}

/* The context of @gen; nothing of the others. */
static void replay(uint64_t gen)
{
	FILE *f = open_test_file("transcripts/session");
	struct transcript_line line;
	bool within = false;
	struct server server;
	unsigned int nr = 0;
	struct replay *r;
	int ret;

	r = calloc(1, sizeof(*r));
	assert_non_null(r);
	server_start(&server, "--backend=sim", NULL);
	while ((ret = transcript_read(f, &line)) > 0) {
		nr++;
		if (line.op == TRANSCRIPT_CONTEXT)
			within = line.arg[0] == gen;
		if (within)
			step(&server, r, &line, nr);
	}
	if (ret)
		fail_msg("line %u cannot be read", nr + 1);
	/* Or there was not much to see. */
	assert_true(r->requests > 40);
	fclose(f);
	free(r);
	assert_int_equal(server_stop(&server), 0);
}

static void session_of_2025(void **state)
{
	(void)state;
	replay(2025);
}

static void session_of_2026(void **state)
{
	(void)state;
	replay(2026);
}

static void seed_is_up_to_date(uint64_t gen, const char *name)
{
	static uint8_t seed[SEED_MAX], now[SEED_MAX + 1];
	FILE *f = open_test_file("transcripts/session");
	int len = transcript_seed(f, gen, seed);

	assert_true(len > 0);
	fclose(f);
	f = open_test_file(name);
	assert_int_equal(fread(now, 1, sizeof(now), f), len);
	fclose(f);
	assert_memory_equal(seed, now, len);
}

/* If not: make seeds */
static void seeds_are_up_to_date(void **state)
{
	(void)state;
	seed_is_up_to_date(2025, "corpus/rocm/session-2025");
	seed_is_up_to_date(2026, "corpus/rocm/session-2026");
}

/* The first line of @text. */
static int parse(const char *text, struct transcript_line *line)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int ret;

	assert_non_null(f);
	ret = transcript_read(f, line);
	fclose(f);
	return ret;
}

static void lines_are_read(void **state)
{
	static struct transcript_line line;

	(void)state;
	assert_int_equal(parse("userptr 7 4096 18\n", &line), 1);
	assert_int_equal(line.op, TRANSCRIPT_USERPTR);
	assert_int_equal(line.arg[0], 7);
	assert_int_equal(line.arg[1], 4096);
	assert_int_equal(line.arg[2], 0x18);
	assert_int_equal(parse("var 16 2 8 18446744073709551615", &line), 1);
	assert_int_equal(line.op, TRANSCRIPT_VAR);
	assert_int_equal(line.arg[3], UINT64_MAX);
	assert_int_equal(parse("none\n", &line), 1);
	assert_int_equal(line.op, TRANSCRIPT_NONE);
	assert_int_equal(parse("memory 3 64 2 0a\n", &line), 1);
	assert_int_equal(line.op, TRANSCRIPT_MEMORY);
	assert_int_equal(line.arg[1], 64);
	assert_memory_equal(line.bytes, "\x0a\0", 2);
	assert_int_equal(parse("rsp 0 \n", &line), 1);
	assert_true(transcript_same(&line, "", 0));

	assert_int_equal(parse("rsp 6 01a0..00\n", &line), 1);
	assert_int_equal(line.op, TRANSCRIPT_RSP);
	assert_true(transcript_same(&line, "\x01\xa0\x77\0\0\0", 6));
	assert_true(transcript_same(&line, "\x01\xa0\x78\0\0\0", 6));
	assert_false(transcript_same(&line, "\x01\xa1\x77\0\0\0", 6));
	assert_false(transcript_same(&line, "\x01\xa0\x77\0\0\1", 6));
	assert_false(transcript_same(&line, "\x01\xa0\x77\0\0", 5));
	assert_false(transcript_same(&line, "\x01\xa0\x77\0\0\0\0", 7));
}

static void bad_lines_are_refused(void **state)
{
	static const char *const bad[] = {
		"\n", "unknown 1\n", "close\n", "close \n", "close x\n",
		"close 1 2\n", "close 18446744073709551616\n", "none 1\n",
		"req 1 0\n", "req 1 0102\n", "req 1 0g\n", "req 1 ..\n",
		"req 1 01 02\n", "req 8193 \n", "rsp 2 01.\n",
		"memory 1 0 1 0102\n", "memory 1 0 8193\n", "wait 1 2\n",
	};
	static struct transcript_line line;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i], &line) != -EINVAL)
			fail_msg("%s", bad[i]);
	}
}

static int seed_of(const char *text)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	static uint8_t seed[SEED_MAX];
	int len;

	assert_non_null(f);
	len = transcript_seed(f, 2026, seed);
	fclose(f);
	return len;
}

static void seeds_of_bad_transcripts(void **state)
{
	char many[4096] = "context 2026\n";
	unsigned int i;

	(void)state;
	assert_int_equal(seed_of("context 2026\nend\n"), 0);
	assert_int_equal(seed_of("context 2025\nend\n"), -ENOENT);
	assert_int_equal(seed_of("context 2026\nclose 5\n"), -ENOENT);
	assert_int_equal(seed_of("context 2026\nwhat\n"), -EINVAL);
	/* What an input has no room for. */
	assert_int_equal(seed_of("context 2026\nclose 256\nend\n"), -EINVAL);
	assert_int_equal(seed_of("context 2026\nuserptr 1 4095 8\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\nuserptr 1 16777216 8\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\nblob 1 4096 256\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\nvar 8 1 8 0\nend\n"), -EINVAL);
	assert_int_equal(seed_of("context 2026\nmemory 1 8 8 01\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\nmemory 1 16384 8 01\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\ndoorbell 1 2 8\nend\n"),
			 -EINVAL);
	assert_int_equal(seed_of("context 2026\ndoorbell 1 8192 8\nend\n"),
			 -EINVAL);
	/* Two of half of it, with their headers. */
	assert_int_equal(seed_of("context 2026\nreq 8192 \nreq 8184 \nend\n"),
			 SEED_MAX);
	assert_int_equal(seed_of("context 2026\nreq 8192 \nreq 8185 \nend\n"),
			 -E2BIG);
	for (i = 0; i < 257; i++)
		strcat(many, "req 1 \n");
	strcat(many, "end\n");
	assert_int_equal(seed_of(many), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read),
		cmocka_unit_test(bad_lines_are_refused),
		cmocka_unit_test(seeds_of_bad_transcripts),
		cmocka_unit_test(session_of_2025),
		cmocka_unit_test(session_of_2026),
		cmocka_unit_test(seeds_are_up_to_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
