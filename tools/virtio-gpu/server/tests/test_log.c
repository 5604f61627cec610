// SPDX-License-Identifier: MIT
/*
 * Lines of the log
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_log.h"

static int saved, log_fd;
static char said[65536];

static int setup(void **state)
{
	(void)state;
	vcs_log_set_level(VCS_LOG_INFO);
	saved = dup(STDERR_FILENO);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	return dup2(log_fd, STDERR_FILENO) < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(log_fd);
	return dup2(saved, STDERR_FILENO) < 0 || close(saved);
}

/* What was logged so far. */
static const char *read_log(void)
{
	ssize_t n = pread(log_fd, said, sizeof(said) - 1, 0);

	assert_true(n >= 0);
	said[n] = '\0';
	return said;
}

static void levels_are_kept(void **state)
{
	(void)state;
	assert_int_equal(vcs_log_level_parse("error"), VCS_LOG_ERROR);
	assert_int_equal(vcs_log_level_parse("debug"), VCS_LOG_DEBUG);
	assert_int_equal(vcs_log_level_parse("loud"), -1);
	vcs_log_set_level(VCS_LOG_ERROR);
	vcs_err("one");
	vcs_warn("two");
	vcs_info("three");
	vcs_log_guest("four");
	vcs_log(VCS_LOG_ANSWER, "five");
	assert_string_equal(read_log(), "vgpu-compute-server: error: one\n"
			    "vgpu-compute-server: five\n");
}

static void a_message_is_one_line_of_text(void **state)
{
	(void)state;
	vcs_info("a\nb\tc\x1b[31m\x7f\x9b\xc2\x9b~ %s", "\r\n");
	assert_string_equal(read_log(),
			    "vgpu-compute-server: a?b?c?[31m????~ ??\n");
}

static void long_messages_are_cut(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	vcs_info("%s", text);
	assert_true(strlen(read_log()) < 1100);
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void guests_do_not_fill_the_disk(void **state)
{
	const char *line;
	int i, lines = 0;

	(void)state;
	for (i = 0; i < 10 * VCS_LOG_GUEST_LINES; i++)
		vcs_log_limited(i % 2 ? VCS_LOG_INFO : VCS_LOG_WARN, "bad");
	/* What is not the guest's doing is shown all the same. */
	vcs_info("good");
	for (line = read_log(); (line = strchr(line, '\n')); line++)
		lines++;
	assert_int_equal(lines, VCS_LOG_GUEST_LINES + 1);
	assert_non_null(strstr(said, "not shown for a minute"));
	assert_non_null(strstr(said, "good"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(levels_are_kept),
		T(a_message_is_one_line_of_text),
		T(long_messages_are_cut),
		T(guests_do_not_fill_the_disk),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
