/* SPDX-License-Identifier: MIT */
/*
 * What a worker counts, in a page that the spawner reads
 *
 * No question has to reach the worker, which may be in a kernel that never ends,
 * and what it had is still there when it is dead. The numbers are the word of a
 * process that is not trusted: they are for people to read.
 */
#ifndef VCS_STATS_H
#define VCS_STATS_H

#include <stdint.h>
#include <time.h>

/**
 * struct vcs_stats - written by the worker alone
 * @resources: registered now
 * @bytes: of them
 * @mappings: of them
 * @max_mappings: that they may have
 * @programs: built and not released
 * @max_bytes: highest @bytes so far
 * @submissions: executed so far
 * @cmd: request that is executed now, 0 for none
 * @since: when that was begun, as of vcs_stats_now()
 */
struct vcs_stats {
	uint64_t resources;
	uint64_t bytes;
	uint64_t mappings;
	uint64_t max_mappings;
	uint64_t programs;
	uint64_t max_bytes;
	uint64_t submissions;
	uint64_t cmd;
	uint64_t since;
};

static inline void vcs_stats_set(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}

/* @value may be negative, as an unsigned number. */
static inline void vcs_stats_add(uint64_t *field, uint64_t value)
{
	__atomic_fetch_add(field, value, __ATOMIC_RELAXED);
}

static inline uint64_t vcs_stats_get(const uint64_t *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/* Seconds. */
static inline uint64_t vcs_stats_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

#endif /* VCS_STATS_H */
