// SPDX-License-Identifier: MIT
/*
 * Messages to stderr
 *
 * A line is built whole and written with one write(2), because several
 * processes share the descriptor.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vcs_log.h"

static const char * const level_names[] = {
	[VCS_LOG_ERROR] = "error",
	[VCS_LOG_WARN] = "warn",
	[VCS_LOG_INFO] = "info",
	[VCS_LOG_DEBUG] = "debug",
};

static enum vcs_log_level max_level = VCS_LOG_INFO;
static char role[96];
static unsigned int guest_lines;
static time_t guest_since;

int vcs_log_level_parse(const char *name)
{
	size_t i;

	for (i = VCS_LOG_ERROR;
	     i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (!strcmp(name, level_names[i]))
			return (int)i;
	return -1;
}

void vcs_log_set_level(enum vcs_log_level level)
{
	max_level = level;
}

bool vcs_log_enabled(enum vcs_log_level level)
{
	return level <= max_level;
}

void vcs_log_set_role(const char *name)
{
	snprintf(role, sizeof(role), "%s: ", name);
}

static void vlog(enum vcs_log_level level, const char *fmt, va_list ap)
{
	char line[1024];
	size_t len, i;
	int n;

	if (level > max_level)
		return;

	n = snprintf(line, sizeof(line), "vgpu-compute-server: %s%s", role,
		     level == VCS_LOG_ERROR ? "error: " :
		     level == VCS_LOG_WARN ? "warning: " : "");
	len = (size_t)n;
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;

	/*
	 * Names and build logs come from guests: no terminal escapes. Terminals
	 * have more of them above ASCII.
	 */
	for (i = 0; i < len; i++)
		if (line[i] < ' ' || line[i] > '~')
			line[i] = '?';
	line[len++] = '\n';
	/* There is nobody to tell when stderr is gone. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

void vcs_log(enum vcs_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(level, fmt, ap);
	va_end(ap);
}

void vcs_log_limited(enum vcs_log_level level, const char *fmt, ...)
{
	struct timespec now;
	va_list ap;

	if (level > max_level)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!guest_lines || now.tv_sec - guest_since >= VCS_LOG_GUEST_TIME) {
		guest_since = now.tv_sec;
		guest_lines = 0;
	}
	if (guest_lines >= VCS_LOG_GUEST_LINES)
		return;
	if (++guest_lines == VCS_LOG_GUEST_LINES) {
		vcs_warn("more messages that a guest causes follow and are not shown for a minute");
		return;
	}
	va_start(ap, fmt);
	vlog(level, fmt, ap);
	va_end(ap);
}
