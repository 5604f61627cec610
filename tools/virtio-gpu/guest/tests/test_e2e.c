// SPDX-License-Identifier: MIT
/*
 * vgpu-test-e2e: from a program in the VM to the host's compute process and
 * back. Runs in the VM as root; tests/agent beside the VM answers for the host.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "kselftest_harness.h"

#include "host.h"
#include "kernels.h"
#include "memory.h"
#include "vgpu.h"

#define PAGE	4096UL

/* What the host must have let go of, in milliseconds after it could. */
#define RELEASE_MS	5000

static const char source[] =
	/* Says what it has read: no constant and no copy of its input does. */
	"kernel void answer(global const uchar *in, global uchar *out)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	out[i] = in[i] ^ (uchar)(i * 7 + 13);\n"
	"}\n"
	KERNEL_FILL KERNEL_SPIN;

static uint8_t answer_byte(const uint8_t *in, size_t i)
{
	return in[i] ^ (uint8_t)(i * 7 + 13);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void *pages(size_t size)
{
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (addr == MAP_FAILED)
		abort();
	return addr;
}

/* A context, and the program above once a kernel of it is needed. */
struct session {
	struct vgpu_ctx *ctx;
	struct vgpu_program *prog;
	struct vgpu_error err;
};

static int session_open(struct session *s)
{
	int ret = vgpu_open(NULL, "e2e", &s->ctx, &s->err);

	if (ret)
		printf("# %s\n", s->err.message);
	return ret;
}

static int start(struct session *s, const char *kernel, size_t items,
		 const struct vgpu_arg *args, unsigned int nr_args,
		 struct vgpu_job **job)
{
	int ret;

	/* The host's compiler takes most of a short test's time. */
	if (!s->prog) {
		ret = vgpu_build(s->ctx, source, NULL, NULL, &s->prog, &s->err);
		if (ret)
			return ret;
	}
	return vgpu_launch(s->prog, kernel, &VGPU_RANGE_1D(items), args,
			   nr_args, job, &s->err);
}

static int run(struct session *s, const char *kernel, size_t items,
	       const struct vgpu_arg *args, unsigned int nr_args)
{
	struct vgpu_result result;
	struct vgpu_job *job;
	int ret = start(s, kernel, items, args, nr_args, &job);

	if (ret)
		return ret;
	ret = vgpu_wait(job, 60000, &result, &s->err);
	vgpu_job_free(job);
	if (!ret && result.copied) {
		printf("# the host copied %llu bytes\n",
		       (unsigned long long)result.copied);
		ret = -EPROTO;
	}
	return ret;
}

static int fill(struct session *s, struct vgpu_mem *mem, size_t size,
		uint32_t seed)
{
	struct vgpu_arg args[] = { VGPU_MEM(mem), VGPU_VALUE(seed) };

	return run(s, "fill", size, args, 2);
}

/* Starts the kernel that spins on @word and waits until it does. */
static int spin(struct session *s, struct vgpu_mem *mem, atomic_int *word,
		struct vgpu_job **job)
{
	struct vgpu_arg args[] = { VGPU_MEM(mem) };
	int ret = start(s, "spin", 1, args, 1, job);
	double end = now() + 20;

	while (!ret && !atomic_load(&word[1]))
		if (now() > end)
			ret = -ETIME;
	return ret;
}

/* The first byte of @got that is not memory_byte(), or @size. */
static size_t wrong_byte(const uint8_t *got, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size && got[i] == memory_byte(i, seed); i++)
		;
	return i;
}

/*
 * Every kind of memory
 */
FIXTURE(memory) {
	struct session s;
	struct memory mem;
	struct vgpu_mem *reg;
	int64_t pinned;
};

FIXTURE_VARIANT(memory) {
	enum memory_kind kind;
};

#define MEMORY(name, kind_)				\
	FIXTURE_VARIANT_ADD(memory, name) { .kind = kind_ }

MEMORY(anonymous, MEMORY_ANON);
MEMORY(scattered, MEMORY_SCATTERED);
MEMORY(thp, MEMORY_THP);
MEMORY(shared_anonymous, MEMORY_SHARED_ANON);
MEMORY(memfd, MEMORY_MEMFD);
MEMORY(tmpfs, MEMORY_TMPFS);
MEMORY(tmpfs_rdonly, MEMORY_TMPFS_RDONLY);
MEMORY(ext4_rdonly, MEMORY_EXT4_RDONLY);
MEMORY(private_file, MEMORY_PRIVATE_FILE);
MEMORY(hugetlb, MEMORY_HUGETLB);

FIXTURE_SETUP(memory)
{
	int ret = memory_get(variant->kind, &self->mem);

	if (ret == -ENOENT)
		SKIP(return, "this system has none");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, session_open(&self->s));
	self->pinned = memory_pinned();
	ASSERT_LE(0, self->pinned);
	ASSERT_EQ(0, vgpu_register(self->s.ctx, self->mem.addr, self->mem.size,
				   self->mem.rdonly ? VGPU_RDONLY : 0,
				   &self->reg, &self->s.err))
		TH_LOG("%s", self->s.err.message);
}

FIXTURE_TEARDOWN(memory)
{
	if (!self->s.ctx)
		return;
	if (self->reg)
		EXPECT_EQ(0, vgpu_unregister(self->reg, &self->s.err));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	vgpu_close(self->s.ctx);
}

TEST_F(memory, host_reads_what_the_guest_wrote)
{
	size_t size = self->mem.size, i;
	uint8_t *out = pages(size);
	struct vgpu_mem *out_reg;

	ASSERT_EQ(0, vgpu_register(self->s.ctx, out, size, 0, &out_reg,
				   &self->s.err));
	struct vgpu_arg args[] = { VGPU_MEM(self->reg), VGPU_MEM(out_reg) };

	ASSERT_EQ(0, run(&self->s, "answer", size, args, 2))
		TH_LOG("%s", self->s.err.message);
	for (i = 0; i < size && out[i] == answer_byte(self->mem.addr, i); i++)
		;
	EXPECT_EQ(size, i);
	EXPECT_EQ(size, wrong_byte(self->mem.addr, size, 0));

	/* Once more after a change, with the same registration. */
	if (!self->mem.rdonly) {
		for (i = 0; i < size; i++)
			self->mem.addr[i] = memory_byte(i, 101);
		ASSERT_EQ(0, run(&self->s, "answer", size, args, 2));
		for (i = 0; i < size &&
		     out[i] == answer_byte(self->mem.addr, i); i++)
			;
		EXPECT_EQ(size, i);
	}
	EXPECT_EQ(0, vgpu_unregister(out_reg, &self->s.err));
}

TEST_F(memory, guest_reads_what_the_host_wrote)
{
	size_t size = self->mem.size;
	uint8_t *file;

	if (self->mem.rdonly) {
		/* Then the host cannot have written it. */
		EXPECT_GT(0, fill(&self->s, self->reg, size, 7));
		EXPECT_EQ(size, wrong_byte(self->mem.addr, size, 0));
		return;
	}

	ASSERT_EQ(0, fill(&self->s, self->reg, size, 7))
		TH_LOG("%s", self->s.err.message);
	EXPECT_EQ(size, wrong_byte(self->mem.addr, size, 7));
	ASSERT_EQ(0, fill(&self->s, self->reg, size, 8));
	EXPECT_EQ(size, wrong_byte(self->mem.addr, size, 8));

	/* The file has it too where the mapping is the file. */
	if (self->mem.fd >= 0) {
		file = malloc(size);
		ASSERT_EQ(size, pread(self->mem.fd, file, size, 0));
		EXPECT_EQ(size, wrong_byte(file, size, variant->kind ==
					   MEMORY_PRIVATE_FILE ? 0 : 8));
		free(file);
	}
}

/* The guest-physical address of what the worker has at @va. */
static uint64_t mapped_page(const struct host_map *maps, int nr, uint64_t va,
			    bool *writable)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (va < maps[i].start || va >= maps[i].end)
			continue;
		*writable = maps[i].writable;
		return maps[i].guest + (va - maps[i].start);
	}
	return UINT64_MAX;
}

/* Pages from @va of the worker that are those of @mem, in their order. */
static size_t same_pages(const struct host_map *maps, int nr, uint64_t va,
			 const struct memory *mem)
{
	bool writable = false;
	size_t n;

	for (n = 0; n < mem->size / PAGE; n++)
		if (mapped_page(maps, nr, va + n * PAGE, &writable) !=
		    memory_physical(mem->addr + n * PAGE) ||
		    writable == mem->rdonly)
			break;
	return n;
}

TEST_F(memory, worker_maps_the_same_physical_pages)
{
	pid_t workers[HOST_MAX_PIDS];
	struct host_map *maps;
	size_t i, best = 0;
	uint64_t first, va;
	int nr, m;

	if (host_ping())
		SKIP(return, "no agent on the host");
	ASSERT_EQ(1, host_workers(workers));
	nr = host_maps(workers[0], &maps);
	ASSERT_LT(0, nr);

	/* All pages are present: read-only ones have been pinned, not read. */
	for (i = 0; i < self->mem.size; i += PAGE)
		*(volatile uint8_t *)(self->mem.addr + i);
	first = memory_physical(self->mem.addr);
	ASSERT_NE(0, first);
	/* Above, the offset in the memory's file is not the address. */
	ASSERT_GT(2ULL << 30, first);

	for (m = 0; m < nr; m++) {
		if (first < maps[m].guest || first - maps[m].guest >=
		    maps[m].end - maps[m].start)
			continue;
		va = maps[m].start + (first - maps[m].guest);
		i = same_pages(maps, nr, va, &self->mem);
		if (i > best)
			best = i;
	}
	EXPECT_EQ(self->mem.size / PAGE, best);
	free(maps);
}

TEST_F(memory, every_page_is_pinned_once)
{
	EXPECT_EQ(self->pinned + (int64_t)(self->mem.size / PAGE),
		  memory_pinned());
	ASSERT_EQ(0, vgpu_unregister(self->reg, &self->s.err));
	self->reg = NULL;
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
}

/*
 * One context
 */
FIXTURE(context) {
	struct session s;
	atomic_int *buf;	/* one page, registered */
	struct vgpu_mem *reg;
	int64_t pinned;		/* without it */
};

FIXTURE_SETUP(context)
{
	self->pinned = memory_pinned();
	ASSERT_LE(0, self->pinned);
	ASSERT_EQ(0, session_open(&self->s));
	self->buf = pages(PAGE);
	ASSERT_EQ(0, vgpu_register(self->s.ctx, self->buf, PAGE, 0, &self->reg,
				   &self->s.err))
		TH_LOG("%s", self->s.err.message);
}

FIXTURE_TEARDOWN(context)
{
	/* Ends what still spins, should a test have failed. */
	if (self->buf)
		atomic_store(&self->buf[0], 1);
	vgpu_close(self->s.ctx);
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
}

/* A new context computes. */
#define EXPECT_COMPUTES() \
do { \
	struct session s_ = { 0 }; \
	struct vgpu_mem *reg_; \
	uint8_t *buf_ = pages(PAGE); \
	ASSERT_EQ(0, session_open(&s_)); \
	ASSERT_EQ(0, vgpu_register(s_.ctx, buf_, PAGE, 0, &reg_, &s_.err)); \
	EXPECT_EQ(0, fill(&s_, reg_, PAGE, 3)); \
	EXPECT_EQ(PAGE, wrong_byte(buf_, PAGE, 3)); \
	vgpu_close(s_.ctx); \
	munmap(buf_, PAGE); \
} while (0)

TEST_F(context, query_tells_the_device)
{
	struct vgpu_info info = { 0 };

	ASSERT_EQ(0, vgpu_query(self->s.ctx, &info, &self->s.err));
	EXPECT_LT(0, info.compute_units);
	EXPECT_LT(0, info.max_work_group);
	EXPECT_LT(0, info.max_work_item[0]);
	EXPECT_LT(0, info.offset_align);
	EXPECT_EQ(0, PAGE % info.offset_align);
	EXPECT_LE(PAGE, info.max_alloc);
	EXPECT_LE(info.max_alloc, info.global_mem);
	EXPECT_LT(0, info.local_mem);
	EXPECT_NE('\0', info.device[0]);
	EXPECT_NE('\0', info.platform[0]);
	EXPECT_NE('\0', info.backend[0]);
	TH_LOG("%s, %s, backend %s", info.device, info.platform, info.backend);
}

/* Both sides see each other's stores while the kernel runs. */
TEST_F(context, memory_is_shared_while_a_kernel_runs)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	EXPECT_EQ(-ETIME, vgpu_wait(job, 0, NULL, &self->s.err));
	EXPECT_EQ(-ETIME, vgpu_wait(job, 50, NULL, &self->s.err));
	EXPECT_EQ(0, atomic_load(&self->buf[2]));
	atomic_store(&self->buf[0], 1);
	EXPECT_EQ(0, vgpu_wait(job, 20000, NULL, &self->s.err));
	EXPECT_EQ(1, atomic_load(&self->buf[2]));
	vgpu_job_free(job);
}

TEST_F(context, jobs_run_in_the_order_of_launches)
{
	struct vgpu_job *job[20];
	uint32_t seed;
	int i;

	for (i = 0; i < 20; i++) {
		seed = i;
		struct vgpu_arg args[] = {
			VGPU_MEM(self->reg), VGPU_VALUE(seed),
		};

		ASSERT_EQ(0, start(&self->s, "fill", PAGE, args, 2, &job[i]));
	}
	/* Only the last is waited for; the others are finished then. */
	EXPECT_EQ(0, vgpu_wait(job[19], 20000, NULL, &self->s.err));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, vgpu_wait(job[i], 0, NULL, &self->s.err));
		vgpu_job_free(job[i]);
	}
	EXPECT_EQ(PAGE, wrong_byte((uint8_t *)self->buf, PAGE, 19));
}

TEST_F(context, job_fd_polls_readable_at_the_end)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	struct pollfd pfd = { .fd = vgpu_job_fd(job), .events = POLLIN };

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	atomic_store(&self->buf[0], 1);
	EXPECT_EQ(1, poll(&pfd, 1, 20000));
	vgpu_job_free(job);
}

/* Responses of abandoned jobs keep their room until the host has written. */
TEST_F(context, abandoned_jobs_finish)
{
	struct vgpu_job *job;
	int i;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	vgpu_job_free(job);
	for (i = 0; i < 30; i++) {
		uint32_t seed = i;
		struct vgpu_arg args[] = {
			VGPU_MEM_AT(self->reg, 1024, 1024), VGPU_VALUE(seed),
		};

		ASSERT_EQ(0, start(&self->s, "fill", 1024, args, 2, &job));
		vgpu_job_free(job);
	}
	atomic_store(&self->buf[0], 1);
	EXPECT_EQ(0, fill(&self->s, self->reg, PAGE, 77));
	EXPECT_EQ(PAGE, wrong_byte((uint8_t *)self->buf, PAGE, 77));
}

TEST_F(context, build_log_tells_the_error)
{
	struct vgpu_program *prog;
	char *log;

	EXPECT_EQ(-ENOEXEC, vgpu_build(self->s.ctx, "kernel void f() { nonsense; }",
				       NULL, &log, &prog, &self->s.err));
	ASSERT_NE(NULL, log);
	EXPECT_NE(NULL, strstr(log, "nonsense")) TH_LOG("log: %s", log);
	free(log);
	/* And nothing else is the worse for it. */
	EXPECT_EQ(0, fill(&self->s, self->reg, PAGE, 1));
}

TEST_F(context, build_options_count)
{
	struct vgpu_program *prog;
	struct vgpu_arg args[] = { VGPU_MEM(self->reg) };
	struct vgpu_job *job;
	char *log;

	ASSERT_EQ(0, vgpu_build(self->s.ctx,
				"kernel void f(global int *x) { *x = VALUE; }",
				"-DVALUE=4711", &log, &prog, &self->s.err))
		TH_LOG("%s", self->s.err.message);
	free(log);
	ASSERT_EQ(0, vgpu_launch(prog, "f", &VGPU_RANGE_1D(1), args, 1, &job,
				 &self->s.err));
	EXPECT_EQ(0, vgpu_wait(job, 20000, NULL, &self->s.err));
	EXPECT_EQ(4711, atomic_load(&self->buf[0]));
	vgpu_job_free(job);
	EXPECT_EQ(0, vgpu_release_program(prog, &self->s.err));
}

TEST_F(context, bad_launches_are_errors_of_the_job_only)
{
	uint32_t seed = 1;
	struct vgpu_arg good[] = { VGPU_MEM(self->reg), VGPU_VALUE(seed) };
	struct vgpu_arg beyond[] = {
		VGPU_MEM_AT(self->reg, PAGE, 0), VGPU_VALUE(seed),
	};
	struct vgpu_job *job;

	ASSERT_EQ(0, start(&self->s, "no_such_kernel", 1, good, 2, &job));
	EXPECT_EQ(-ENOENT, vgpu_wait(job, 20000, NULL, &self->s.err));
	EXPECT_NE(NULL, strstr(self->s.err.message, "no_such_kernel"));
	vgpu_job_free(job);

	ASSERT_EQ(0, start(&self->s, "fill", 1, good, 1, &job));
	EXPECT_EQ(-EINVAL, vgpu_wait(job, 20000, NULL, &self->s.err));
	vgpu_job_free(job);

	ASSERT_EQ(0, start(&self->s, "fill", 1, beyond, 2, &job));
	EXPECT_EQ(-EINVAL, vgpu_wait(job, 20000, NULL, &self->s.err));
	vgpu_job_free(job);

	EXPECT_EQ(0, fill(&self->s, self->reg, PAGE, 9));
	EXPECT_EQ(PAGE, wrong_byte((uint8_t *)self->buf, PAGE, 9));
}

TEST_F(context, bad_registrations_are_refused)
{
	uint8_t *buf = pages(2 * PAGE);
	struct vgpu_mem *mem;

	EXPECT_EQ(-EINVAL, vgpu_register(self->s.ctx, buf + 1, PAGE, 0, &mem,
					 &self->s.err));
	EXPECT_EQ(-EINVAL, vgpu_register(self->s.ctx, buf, 100, 0, &mem,
					 &self->s.err));
	EXPECT_EQ(-EINVAL, vgpu_register(self->s.ctx, buf, 0, 0, &mem,
					 &self->s.err));
	EXPECT_EQ(-EINVAL, vgpu_register(self->s.ctx, buf, PAGE, 0x80, &mem,
					 &self->s.err));
	ASSERT_EQ(0, munmap(buf + PAGE, PAGE));
	EXPECT_EQ(-EFAULT, vgpu_register(self->s.ctx, buf, 2 * PAGE, 0, &mem,
					 &self->s.err));
	ASSERT_EQ(0, mprotect(buf, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, vgpu_register(self->s.ctx, buf, PAGE, 0, &mem,
					 &self->s.err));
	EXPECT_EQ(EFAULT, self->s.err.code);
	/* Only the page of the fixture is pinned. */
	EXPECT_EQ(self->pinned + 1, memory_pinned());
}

#define NR_THREADS	4
#define NR_LAUNCHES	25

struct thread {
	struct session *s;
	pthread_t thread;
	int failures;
};

static void *launch_many(void *arg)
{
	struct thread *t = arg;
	/* With an error message of its own. */
	struct session s = *t->s;
	uint8_t *buf = pages(PAGE);
	struct vgpu_mem *mem;
	int i;

	if (vgpu_register(s.ctx, buf, PAGE, 0, &mem, &s.err)) {
		t->failures++;
		return NULL;
	}
	for (i = 0; i < NR_LAUNCHES; i++)
		if (fill(&s, mem, PAGE, i) ||
		    wrong_byte(buf, PAGE, i) != PAGE)
			t->failures++;
	if (vgpu_unregister(mem, &s.err))
		t->failures++;
	munmap(buf, PAGE);
	return NULL;
}

TEST_F(context, threads_share_a_context)
{
	struct thread threads[NR_THREADS] = { 0 };
	int i;

	ASSERT_EQ(0, fill(&self->s, self->reg, PAGE, 0));
	for (i = 0; i < NR_THREADS; i++) {
		threads[i].s = &self->s;
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL,
					    launch_many, &threads[i]));
	}
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		EXPECT_EQ(0, threads[i].failures);
	}
}

/*
 * Lifetime
 */
TEST_F(context, five_hundred_registrations_leave_nothing)
{
	int fds[2] = { 0 }, mappings[2] = { 0 }, agent, i;
	pid_t workers[HOST_MAX_PIDS];
	uint8_t *buf = pages(16 * PAGE);
	struct vgpu_mem *mem;

	agent = !host_ping();
	if (agent) {
		ASSERT_EQ(1, host_workers(workers));
		ASSERT_EQ(0, host_counts(workers[0], &fds[0], &mappings[0]));
	}
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, vgpu_register(self->s.ctx, buf, 16 * PAGE,
					   i % 2 ? VGPU_RDONLY : 0, &mem,
					   &self->s.err))
			TH_LOG("%d: %s", i, self->s.err.message);
		ASSERT_EQ(0, vgpu_unregister(mem, &self->s.err));
	}
	EXPECT_EQ(self->pinned + 1,
		  memory_wait_pinned(self->pinned + 1, RELEASE_MS));
	if (!agent)
		SKIP(return, "no agent on the host");
	ASSERT_EQ(0, host_counts(workers[0], &fds[1], &mappings[1]));
	EXPECT_EQ(fds[0], fds[1]);
	EXPECT_EQ(mappings[0], mappings[1]);
}

/* The pages stay what the host uses, whatever the addresses become. */
TEST_F(context, munmap_while_registered)
{
	size_t size = 8 * PAGE, i;
	uint8_t *buf = pages(size), *out = pages(size), *again;
	struct vgpu_mem *mem, *out_mem;

	for (i = 0; i < size; i++)
		buf[i] = memory_byte(i, 5);
	ASSERT_EQ(0, vgpu_register(self->s.ctx, buf, size, 0, &mem,
				   &self->s.err));
	ASSERT_EQ(0, vgpu_register(self->s.ctx, out, size, 0, &out_mem,
				   &self->s.err));
	ASSERT_EQ(0, munmap(buf, size));
	again = mmap(buf, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		     MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
	ASSERT_EQ(buf, again);

	struct vgpu_arg args[] = { VGPU_MEM(mem), VGPU_MEM(out_mem) };

	/* The old pages are still there ... */
	ASSERT_EQ(0, run(&self->s, "answer", size, args, 2));
	for (i = 0; i < size; i++)
		if (out[i] != (uint8_t)(memory_byte(i, 5) ^
					(uint8_t)(i * 7 + 13)))
			break;
	EXPECT_EQ(size, i);
	/* ... and the new ones are not the host's. */
	ASSERT_EQ(0, fill(&self->s, mem, size, 6));
	for (i = 0; i < size && !again[i]; i++)
		;
	EXPECT_EQ(size, i);
	EXPECT_EQ(self->pinned + 17, memory_pinned());
}

TEST_F(context, unregister_while_a_kernel_uses_it)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	ASSERT_EQ(0, vgpu_unregister(self->reg, &self->s.err));
	/* The host uses the page: it stays pinned, however long that takes. */
	EXPECT_EQ(self->pinned + 1, memory_wait_pinned(self->pinned, 500));
	atomic_store(&self->buf[0], 1);
	EXPECT_EQ(0, vgpu_wait(job, 20000, NULL, &self->s.err));
	EXPECT_EQ(1, atomic_load(&self->buf[2]));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	vgpu_job_free(job);
}

TEST_F(context, close_while_a_kernel_runs)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	vgpu_close(self->s.ctx);
	self->s.ctx = NULL;
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(0, atomic_load(&self->buf[2]));
	EXPECT_COMPUTES();
}

TEST_F(context, release_in_another_order)
{
	uint8_t *buf = pages(PAGE);
	struct vgpu_mem *mem;

	/* Program, then memory, then a kernel of neither. */
	ASSERT_EQ(0, vgpu_register(self->s.ctx, buf, PAGE, 0, &mem,
				   &self->s.err));
	ASSERT_EQ(0, fill(&self->s, self->reg, PAGE, 1));
	ASSERT_EQ(0, vgpu_release_program(self->s.prog, &self->s.err));
	ASSERT_EQ(0, vgpu_unregister(self->reg, &self->s.err));
	self->s.prog = NULL;
	EXPECT_EQ(0, fill(&self->s, mem, PAGE, 4));
	EXPECT_EQ(PAGE, wrong_byte(buf, PAGE, 4));
}

/* After fork() the pinned pages are the parent's, as before. */
TEST_F(context, fork_keeps_the_memory)
{
	size_t size = 4 * PAGE, i;
	uint8_t *buf = pages(size);
	struct vgpu_mem *mem;
	int status, go[2];
	char c = 0;
	pid_t pid;

	for (i = 0; i < size; i++)
		buf[i] = memory_byte(i, 20);
	ASSERT_EQ(0, vgpu_register(self->s.ctx, buf, size, 0, &mem,
				   &self->s.err));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The child has what was there at the fork. */
		if (read(go[0], &c, 1) != 1 ||
		    wrong_byte(buf, size, 20) != size)
			_exit(1);
		memset(buf, 0, size);
		_exit(0);
	}

	ASSERT_EQ(0, fill(&self->s, mem, size, 21));
	EXPECT_EQ(size, wrong_byte(buf, size, 21));
	ASSERT_EQ(1, write(go[1], &c, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(size, wrong_byte(buf, size, 21));
	ASSERT_EQ(0, fill(&self->s, mem, size, 22));
	EXPECT_EQ(size, wrong_byte(buf, size, 22));
}

/*
 * Read-only
 */
TEST_F(context, rdonly_kernel_that_writes_loses_its_context_only)
{
	struct session other = { 0 };
	struct memory mem;
	struct vgpu_mem *reg;
	uint8_t *file;

	ASSERT_EQ(0, memory_get(MEMORY_TMPFS_RDONLY, &mem));
	ASSERT_EQ(0, session_open(&other));
	ASSERT_EQ(0, vgpu_register(other.ctx, mem.addr, mem.size, VGPU_RDONLY,
				   &reg, &other.err))
		TH_LOG("%s", other.err.message);

	EXPECT_EQ(-EIO, fill(&other, reg, mem.size, 9));
	TH_LOG("%s", other.err.message);
	EXPECT_EQ(mem.size, wrong_byte(mem.addr, mem.size, 0));
	file = malloc(mem.size);
	ASSERT_EQ(mem.size, pread(mem.fd, file, mem.size, 0));
	EXPECT_EQ(mem.size, wrong_byte(file, mem.size, 0));
	free(file);

	/* Lost for good, and nobody else is. */
	EXPECT_EQ(-EIO, vgpu_query(other.ctx, &(struct vgpu_info){ 0 },
				   &other.err));
	EXPECT_EQ(0, fill(&self->s, self->reg, PAGE, 2));
	EXPECT_COMPUTES();
	vgpu_close(other.ctx);
}

#ifdef __x86_64__
/* On a CPU a kernel is a program: it asks for memory, 64 MiB at a time. */
static const char eat_source[] =
	"__attribute__((noinline)) long map_more(void)\n"
	"{\n"
	"	long ret = 9; /* mmap, private, anonymous, writable */\n"
	"	__asm__ volatile(\"mov $0x22, %%r10d\\n\\tmov $-1, %%r8\\n\\t\"\n"
	"			 \"xor %%r9d, %%r9d\\n\\tsyscall\" : \"+a\"(ret)\n"
	"		: \"D\"(0L), \"S\"(64L << 20), \"d\"(3L)\n"
	"		: \"r8\", \"r9\", \"r10\", \"rcx\", \"r11\", \"memory\");\n"
	"	return ret;\n"
	"}\n"
	"kernel void eat(global long *p)\n"
	"{\n"
	"	long n = 0, ret;\n"
	"	do {\n"
	"		ret = map_more();\n"
	"	} while (ret > 0 && ++n < 256);\n"
	"	p[0] = n;\n"
	"	p[1] = ret;\n"
	"}\n";

TEST_F(context, kernel_that_hoards_memory_is_stopped)
{
	struct vgpu_arg args[] = { VGPU_MEM(self->reg) };
	long *p = (long *)self->buf;

	ASSERT_EQ(0, vgpu_build(self->s.ctx, eat_source, NULL, NULL,
				&self->s.prog, &self->s.err));
	ASSERT_EQ(0, run(&self->s, "eat", 1, args, 1));
	/* 4 GiB and something for each CPU, of which the driver has some. */
	EXPECT_LT(48, p[0]);
	EXPECT_GT(256, p[0]);
	EXPECT_EQ(-ENOMEM, p[1]);
	/* And lives on. */
	EXPECT_EQ(0, run(&self->s, "eat", 1, args, 1));
	EXPECT_EQ(0, p[0]);
}
#endif

/*
 * Several contexts
 */
#define NR_CONTEXTS	8

TEST_F_TIMEOUT(context, many_contexts, 120)
{
	struct session s[NR_CONTEXTS] = { 0 };
	struct vgpu_mem *mem[NR_CONTEXTS];
	uint8_t *buf[NR_CONTEXTS];
	pid_t workers[HOST_MAX_PIDS];
	int i;

	for (i = 0; i < NR_CONTEXTS; i++) {
		ASSERT_EQ(0, session_open(&s[i])) TH_LOG("context %d", i);
		buf[i] = pages(PAGE);
		ASSERT_EQ(0, vgpu_register(s[i].ctx, buf[i], PAGE, 0, &mem[i],
					   &s[i].err));
	}
	if (!host_ping())
		EXPECT_EQ(NR_CONTEXTS + 1, host_workers(workers));
	for (i = 0; i < NR_CONTEXTS; i++)
		EXPECT_EQ(0, fill(&s[i], mem[i], PAGE, i));
	for (i = 0; i < NR_CONTEXTS; i++)
		EXPECT_EQ(PAGE, wrong_byte(buf[i], PAGE, i));
	for (i = 0; i < NR_CONTEXTS; i++)
		vgpu_close(s[i].ctx);
}

/* One context spins, another one computes meanwhile. */
TEST_F(context, contexts_do_not_wait_for_each_other)
{
	struct vgpu_job *job;

	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));
	EXPECT_COMPUTES();
	EXPECT_EQ(-ETIME, vgpu_wait(job, 0, NULL, &self->s.err));
	atomic_store(&self->buf[0], 1);
	EXPECT_EQ(0, vgpu_wait(job, 20000, NULL, &self->s.err));
	vgpu_job_free(job);
}

TEST_F(context, memory_of_another_context_is_unknown)
{
	struct session other = { 0 };
	int ret;

	ASSERT_EQ(0, session_open(&other));
	/* The kernel names resources by global ids; the host knows whose. */
	ret = fill(&other, self->reg, PAGE, 1);
	EXPECT_EQ(-ENOENT, ret) TH_LOG("%s", other.err.message);
	EXPECT_EQ(0, atomic_load(&self->buf[0]));
	vgpu_close(other.ctx);
}

/*
 * Deaths
 */
TEST_F(context, worker_killed_in_mid_computation)
{
	pid_t workers[HOST_MAX_PIDS];
	struct vgpu_job *job;
	double killed;

	if (host_ping())
		SKIP(return, "no agent on the host");
	ASSERT_EQ(1, host_workers(workers));
	ASSERT_EQ(0, spin(&self->s, self->reg, self->buf, &job));

	ASSERT_EQ(0, host_kill(workers[0]));
	killed = now();
	EXPECT_EQ(-EIO, vgpu_wait(job, 20000, NULL, &self->s.err));
	EXPECT_GT(1.0, now() - killed);
	TH_LOG("after %.0f ms: %s", (now() - killed) * 1e3,
	       self->s.err.message);
	vgpu_job_free(job);

	/* The memory stays registered until the program gives it up. */
	EXPECT_EQ(self->pinned + 1, memory_pinned());
	EXPECT_EQ(0, vgpu_unregister(self->reg, &self->s.err));
	EXPECT_EQ(self->pinned, memory_wait_pinned(self->pinned, RELEASE_MS));
	EXPECT_EQ(-EIO, vgpu_register(self->s.ctx, self->buf, PAGE, 0,
				      &self->reg, &self->s.err));
	EXPECT_COMPUTES();
	EXPECT_EQ(0, host_workers(workers));
}

/* @word tells that the kernel spins; never returns. */
static void spin_for_ever(atomic_int *word)
{
	struct session s = { 0 };
	struct vgpu_mem *mem, *big;
	struct vgpu_job *job;

	if (session_open(&s) ||
	    vgpu_register(s.ctx, word, PAGE, 0, &mem, &s.err) ||
	    vgpu_register(s.ctx, pages(1024 * PAGE), 1024 * PAGE, 0, &big,
			  &s.err) ||
	    spin(&s, mem, word, &job))
		_exit(1);
	for (;;)
		pause();
}

TEST(program_killed_in_mid_computation)
{
	atomic_int *word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[HOST_MAX_PIDS];
	int64_t pinned = memory_pinned();
	int status, before = 0, after, tries;
	double end = now() + 30;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, word);
	if (!host_ping())
		before = host_processes(pids);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		spin_for_ever(word);

	while (!atomic_load(&word[1])) {
		ASSERT_GT(end, now());
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	}
	EXPECT_EQ(pinned + 1025, memory_pinned());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));

	EXPECT_EQ(pinned, memory_wait_pinned(pinned, RELEASE_MS));
	/* The host's processes for it have ended, too. */
	if (!before)
		SKIP(return, "no agent on the host");
	for (tries = 0; tries < 50; tries++) {
		after = host_processes(pids);
		if (after == before)
			break;
	}
	EXPECT_EQ(before, after);
	EXPECT_COMPUTES();
}

TEST_HARNESS_MAIN
