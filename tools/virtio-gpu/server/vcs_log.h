/* SPDX-License-Identifier: MIT */
/*
 * One line per message on stderr, prefixed with the process's role.
 */
#ifndef VCS_LOG_H
#define VCS_LOG_H

#include <stdbool.h>

enum vcs_log_level {
	VCS_LOG_ANSWER,		/* somebody has asked: always shown */
	VCS_LOG_ERROR,
	VCS_LOG_WARN,
	VCS_LOG_INFO,
	VCS_LOG_DEBUG,
};

/* Level by name ("error", "warn", "info", "debug"), -1 for an unknown one. */
int vcs_log_level_parse(const char *name);
void vcs_log_set_level(enum vcs_log_level level);
bool vcs_log_enabled(enum vcs_log_level level);

/* What this process is, in every line from now on; copied. */
void vcs_log_set_role(const char *role);

void vcs_log(enum vcs_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * What a guest can provoke at will: a process prints at most
 * VCS_LOG_GUEST_LINES such lines in VCS_LOG_GUEST_TIME seconds, then says that
 * it stops.
 */
#define VCS_LOG_GUEST_LINES	32
#define VCS_LOG_GUEST_TIME	60
void vcs_log_limited(enum vcs_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define vcs_log_guest(...)	vcs_log_limited(VCS_LOG_WARN, __VA_ARGS__)

#define vcs_err(...)	vcs_log(VCS_LOG_ERROR, __VA_ARGS__)
#define vcs_warn(...)	vcs_log(VCS_LOG_WARN, __VA_ARGS__)
#define vcs_info(...)	vcs_log(VCS_LOG_INFO, __VA_ARGS__)
#define vcs_dbg(...)	vcs_log(VCS_LOG_DEBUG, __VA_ARGS__)

#endif /* VCS_LOG_H */
