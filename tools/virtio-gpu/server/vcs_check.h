/* SPDX-License-Identifier: MIT */
/*
 * Checks of a thunk on a real host, for vgpu-rocm-check: each in a process of its
 * own, so that a thunk that crashes or hangs fails one check
 */
#ifndef VCS_CHECK_H
#define VCS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vcs_thunk.h"

/* Exit codes that nobody else uses: a library may call exit(0) or exit(1). */
enum vcs_check_result {
	VCS_CHECK_OK = 40,
	VCS_CHECK_FAILED = 41,
	VCS_CHECK_SKIPPED = 42,
};

/**
 * struct vcs_check_env - what is checked, and how patiently
 * @open: the thunk; after an error, the reason is in @why
 * @kfd_proc: directory with an entry for each process that KFD knows, by its pid;
 *	NULL: this thunk has no KFD
 * @confine: enter the sandbox of a worker, for good; 0 or a negative errno, which
 *	it has explained. NULL: this user cannot
 * @limit_ms: a check that takes longer has failed
 * @answer_ms: how long a GPU may take to do what it was told
 * @settle_ms: a GPU that has not done a thing by then will not do it
 * @timing_size: bytes that are registered to take the time, whole pages
 */
struct vcs_check_env {
	int (*open)(struct vcs_thunk **thunk, char *why, size_t size);
	const char *kfd_proc;
	int (*confine)(void);
	unsigned int limit_ms;
	unsigned int answer_ms;
	unsigned int settle_ms;
	uint64_t timing_size;
};

/**
 * struct vcs_check - a check
 * @name: one word
 * @what: what holds when it passes
 * @run: does it; prints what it finds to stdout, a line each
 * @faults: the GPU is told to access what it must not; some end that by a reset
 */
struct vcs_check {
	const char *name;
	const char *what;
	enum vcs_check_result (*run)(const struct vcs_check_env *env);
	bool faults;
};

/* In the order in which they make sense; ends with a NULL name. */
extern const struct vcs_check vcs_checks[];

/*
 * Run one in a child process; print its lines to @out as diagnostics, then its
 * TAP result with @number.
 */
enum vcs_check_result vcs_check_run(const struct vcs_check *check,
				    const struct vcs_check_env *env,
				    unsigned int number, FILE *out);

/* The TAP result of a check that was not run. */
void vcs_check_skip(const struct vcs_check *check, unsigned int number,
		    const char *why, FILE *out);

/* For checks: print why, and return the result. */
enum vcs_check_result vcs_check_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
enum vcs_check_result vcs_check_skipped(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/*
 * For checks: @run in a child of the check's, whose GPU may be lost by it. The
 * wait status, or -ETIMEDOUT when it was killed after @limit_ms.
 */
int vcs_check_part(enum vcs_check_result (*run)(const struct vcs_check_env *env,
						void *data),
		   const struct vcs_check_env *env, void *data,
		   unsigned int limit_ms);

/* "EINVAL" of -EINVAL or EINVAL; "success" of 0. */
const char *vcs_check_errno(int err);

/* Milliseconds of a clock that does not jump. */
uint64_t vcs_check_now(void);

#endif /* VCS_CHECK_H */
