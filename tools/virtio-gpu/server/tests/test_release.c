// SPDX-License-Identifier: MIT
/*
 * What a worker asks of libhsakmt and of the kernel before a guest's memory is
 * given back, in what order and how often, as strace sees it
 *
 * With SVM, unmapping the memory from the process is what takes it from the GPU,
 * and the guest reuses it when it is told: so munmap() comes last, and the answer
 * after it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rocm_ctx.h"

#define PAGES	8

static char trace_path[] = "/tmp/vgpu-trace-XXXXXX";
static bool can_trace;

static void set_path(const char *variable, const char *dir, const char *file)
{
	char path[512];

	assert_non_null(getenv(dir));
	snprintf(path, sizeof(path), "%s%s", getenv(dir), file);
	assert_int_equal(setenv(variable, path, 1), 0);
}

static int set_up(void **state)
{
	int fd = mkstemp(trace_path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	can_trace = !system("strace -o /dev/null true 2>/dev/null");
	set_path("VCS_SERVER", "VCS_TESTS", "/traced-server");
	set_path("LD_LIBRARY_PATH", "VCS_FAKE", "");
	setenv("VCS_TRACE", trace_path, 1);
	setenv("FAKE_HSAKMT_LOG", "1", 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(trace_path);
}

static char *read_trace(void)
{
	FILE *f = fopen(trace_path, "r");
	char *text;
	long size;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size = ftell(f);
	assert_true(size >= 0);
	rewind(f);
	text = calloc(1, (size_t)size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)size, f), size);
	fclose(f);
	return text;
}

/* Until the process has ended, which is the last that is said of it. */
static char *wait_for_trace(pid_t pid)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	char end[64], *text;
	int ms;

	/* It fills pids up to five places. */
	snprintf(end, sizeof(end), "%-5d +++ ", pid);
	for (ms = 0; ms < TIMEOUT_MS; ms += 20) {
		text = read_trace();
		if (strstr(text, end))
			return text;
		free(text);
		nanosleep(&pause, NULL);
	}
	fail_msg("strace does not say that process %d has ended", pid);
	return NULL;
}

/* The one place after @from where @what is said of @pid. */
static const char *once(const char *text, const char *from, pid_t pid,
			const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static const char *once(const char *text, const char *from, pid_t pid,
			const char *fmt, ...)
{
	const char *line, *found = NULL;
	char who[32], what[256];
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	len = (size_t)snprintf(who, sizeof(who), "%d ", pid);
	for (line = text; *line; line += strcspn(line, "\n"),
				 line += *line == '\n') {
		const char *end = line + strcspn(line, "\n");
		const char *p;

		if (strncmp(line, who, len))
			continue;
		p = line + len + strspn(line + len, " ");
		if ((size_t)(end - p) < strlen(what) ||
		    strncmp(p, what, strlen(what)))
			continue;
		if (found)
			fail_msg("twice: %s", what);
		found = line;
	}
	if (!found)
		fail_msg("not once: %s", what);
	if (found <= from)
		fail_msg("too early: %s", what);
	return found;
}

/* Does the process do that between two places? */
static bool between(const char *from, const char *to, pid_t pid,
		    const char *what)
{
	char call[64];
	const char *p;

	snprintf(call, sizeof(call), "\n%d ", pid);
	for (p = strstr(from, call); p && p < to; p = strstr(p + 1, call)) {
		const char *name = p + strlen(call);

		name += strspn(name, " ");
		if (!strncmp(name, what, strlen(what)))
			return true;
	}
	return false;
}

static void released_in_order_and_once(void **state)
{
	size_t size = PAGES * page_size();
	const char *p, *begin, *unmapped;
	uint64_t addr, start;
	struct memory m;
	struct server s;
	struct ctx c;
	char *text;
	pid_t pid;

	(void)state;
	if (!can_trace) {
		print_message("# strace is not there or must not trace\n");
		skip();
	}
	memory_create(&m, PAGES);
	server_start(&s, "--backend=hsakmt", NULL);
	ctx_create(&s, &c);
	pid = pid_of(c.pidfd);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	addr = rocm_lock(&c, ROCM_2026, 1, size);
	/* As the client ends it: it closes the handle and says nothing. */
	assert_int_equal(unmap(&c, 1), 0);
	/* The worker lives: nothing of this is the end of the process. */
	assert_int_equal(rocm(&c, rocm_nop()), 0);
	ctx_close(&c);
	memory_destroy(&m);
	assert_int_equal(server_stop(&s), 0);

	text = wait_for_trace(pid);
	start = addr;
#define CALL	"write(2, \"fake_hsakmt: hsaKmt%s 0x%llx"
#define AT(call) call, (unsigned long long)start
	begin = once(text, text, pid, CALL " %zu 0x40",
		     AT("RegisterMemoryWithFlags"), size);
	p = once(text, begin, pid, CALL " %zu 0 1", AT("MapMemoryToGPUNodes"),
		 size);
	p = once(text, p, pid, CALL, AT("UnmapMemoryToGPU"));
	begin = p;
	p = once(text, p, pid, CALL, AT("DeregisterMemory"));
	unmapped = once(text, p, pid, "munmap(0x%llx, %zu)",
			(unsigned long long)start, size);
	/* After which its answer is the first thing that is said. */
	assert_false(between(begin, unmapped, pid, "sendmsg("));
	p = strstr(unmapped, "sendmsg(");
	assert_non_null(p);
	assert_false(between(unmapped, p, pid, "recvmsg("));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(released_in_order_and_once),
	};

	return cmocka_run_group_tests_name("release", tests, set_up, tear_down);
}
