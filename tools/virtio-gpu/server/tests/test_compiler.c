// SPDX-License-Identifier: MIT
/*
 * The worker's side of the compile helper, with a helper that lies
 *
 * What comes from there was made by a compiler that had a guest's source.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_compiler.h"
#include "vcs_log.h"
#include "vcs_msg.h"

#define SOURCE	"source"
#define OPTIONS	"-Dx"

/* What vcs_compiler.c has in a memfd; the kernels, the log, the binary follow. */
struct result {
	int32_t status;
	uint32_t nr_kernels;
	uint64_t log_len;
	uint64_t binary_len;
};

/**
 * struct answer - what the helper says
 * @silent: nothing, until the other end is closed
 * @len: bytes of the status that are sent
 * @status: of the helper
 * @fd: the memfd, or -1
 */
static struct answer {
	bool silent;
	size_t len;
	int32_t status;
	int fd;
} answer;

static int pair[2];
static pthread_t thread;
static struct vcs_compiled compiled;
static struct vcs_build_log build_log;

static void *helper(void *arg)
{
	struct { uint32_t source_len, options_len; } req;
	char text[sizeof(SOURCE OPTIONS) - 1];

	(void)arg;
	if (recv(pair[1], &req, sizeof(req), MSG_WAITALL) != sizeof(req) ||
	    req.source_len != strlen(SOURCE) ||
	    req.options_len != strlen(OPTIONS) ||
	    recv(pair[1], text, sizeof(text), MSG_WAITALL) != sizeof(text) ||
	    memcmp(text, SOURCE OPTIONS, sizeof(text)))
		abort();
	if (answer.silent)
		return (void *)recv(pair[1], text, 1, 0);
	if (answer.len)
		vcs_msg_send_fd(pair[1], &answer.status, answer.len, answer.fd);
	shutdown(pair[1], SHUT_RDWR);
	return NULL;
}

static int compile(int timeout_ms)
{
	int ret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	assert_int_equal(pthread_create(&thread, NULL, helper, NULL), 0);
	ret = vcs_compile(pair[0], timeout_ms, SOURCE, strlen(SOURCE), OPTIONS,
			  &compiled, &build_log);
	close(pair[0]);
	pthread_join(thread, NULL);
	close(pair[1]);
	return ret;
}

/* A memfd with this head and @len bytes behind it, at its end. */
static int make_result(const struct result *r, size_t len)
{
	int fd = memfd_create("result", MFD_CLOEXEC);

	assert_int_equal(write(fd, r, sizeof(*r)), sizeof(*r));
	assert_int_equal(ftruncate(fd, (off_t)(sizeof(*r) + len)), 0);
	assert_true(lseek(fd, 0, SEEK_END) > 0);
	return fd;
}

static int compile_result(const struct result *r, size_t len)
{
	int ret;

	answer = (struct answer){ .len = sizeof(answer.status) };
	answer.fd = make_result(r, len);
	ret = compile(1000);
	close(answer.fd);
	free(build_log.text);
	memset(&build_log, 0, sizeof(build_log));
	return ret;
}

static void the_largest_and_one_more(void **state)
{
	struct result kernels = { .nr_kernels = 1024, .binary_len = 1 };
	struct result log = { .log_len = 1 << 20, .binary_len = 1 };
	struct result binary = { .binary_len = 64 << 20 };
	size_t len = 1024 * sizeof(struct vcs_kernel);

	(void)state;
	assert_int_equal(compile_result(&kernels, len + 1), 0);
	assert_int_equal(compiled.nr_kernels, 1024);
	vcs_compiled_free(&compiled);
	kernels.nr_kernels++;
	assert_int_equal(compile_result(&kernels, 2 * len), -EIO);
	kernels.nr_kernels = UINT32_MAX;
	assert_int_equal(compile_result(&kernels, len), -EIO);

	assert_int_equal(compile_result(&log, log.log_len + 1), 0);
	vcs_compiled_free(&compiled);
	log.log_len++;
	assert_int_equal(compile_result(&log, log.log_len + 1), -EIO);
	log.log_len = UINT64_MAX;
	assert_int_equal(compile_result(&log, 1), -EIO);

	assert_int_equal(compile_result(&binary, binary.binary_len), 0);
	assert_int_equal(compiled.binary_len, binary.binary_len);
	vcs_compiled_free(&compiled);
	binary.binary_len++;
	assert_int_equal(compile_result(&binary, binary.binary_len), -EIO);
	binary.binary_len = UINT64_MAX;
	assert_int_equal(compile_result(&binary, 1), -EIO);
}

static void results_that_end_early(void **state)
{
	const struct result r = {
		.nr_kernels = 2, .log_len = 3, .binary_len = 4,
	};
	size_t len = 2 * sizeof(struct vcs_kernel) + 3 + 4;
	int fd;

	(void)state;
	assert_int_equal(compile_result(&r, len), 0);
	vcs_compiled_free(&compiled);
	assert_int_equal(compile_result(&r, len - 1), -EIO);
	assert_int_equal(compile_result(&r, len - 5), -EIO);
	assert_int_equal(compile_result(&r, sizeof(struct vcs_kernel)), -EIO);

	fd = memfd_create("result", MFD_CLOEXEC);
	assert_int_equal(write(fd, &r, sizeof(r) - 1), sizeof(r) - 1);
	answer = (struct answer){ .len = sizeof(answer.status), .fd = fd };
	assert_int_equal(compile(1000), -EIO);
	close(fd);
}

static void names_end(void **state)
{
	struct result r = { .nr_kernels = 1, .binary_len = 1 };
	struct vcs_kernel k;
	int fd;

	(void)state;
	memset(&k, 'k', sizeof(k));
	fd = make_result(&r, sizeof(k) + 1);
	assert_int_equal(pwrite(fd, &k, sizeof(k), sizeof(r)), sizeof(k));
	answer = (struct answer){ .len = sizeof(answer.status), .fd = fd };
	assert_int_equal(compile(1000), 0);
	close(fd);
	assert_int_equal(strnlen(compiled.kernels[0].name, VCS_KERNEL_NAME),
			 VCS_KERNEL_NAME - 1);
	vcs_compiled_free(&compiled);
	free(build_log.text);
}

static void statuses_come_through(void **state)
{
	struct result r = { .status = -ENOEXEC, .log_len = 3 };

	(void)state;
	assert_int_equal(compile_result(&r, 3), -ENOEXEC);
	/* No success, and no error. */
	r.status = 1;
	assert_int_equal(compile_result(&r, 3), -EIO);
	answer = (struct answer){ .len = sizeof(answer.status), .fd = -1 };
	answer.status = -ETIMEDOUT;
	assert_int_equal(compile(1000), -ETIMEDOUT);
	answer.status = 1;
	assert_int_equal(compile(1000), -EIO);
	/* Success without a result, half an answer, none. */
	answer.status = 0;
	assert_int_equal(compile(1000), -EIO);
	answer.len = 1;
	assert_int_equal(compile(1000), -EIO);
	answer.len = 0;
	assert_int_equal(compile(1000), -EIO);
}

/* The worker has a time limit of its own. */
static void a_helper_that_says_nothing(void **state)
{
	(void)state;
	answer = (struct answer){ .silent = true };
	/* Its slack is five seconds. */
	assert_int_equal(compile(-4500), -ETIMEDOUT);
}

static int quiet(void **state)
{
	(void)state;
	vcs_log_set_level(VCS_LOG_ERROR);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_largest_and_one_more),
		cmocka_unit_test(results_that_end_early),
		cmocka_unit_test(names_end),
		cmocka_unit_test(statuses_come_through),
		cmocka_unit_test(a_helper_that_says_nothing),
	};

	return cmocka_run_group_tests_name("compiler", tests, quiet, NULL);
}
