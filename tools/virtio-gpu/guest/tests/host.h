/* SPDX-License-Identifier: MIT */
/*
 * Questions to the host of this VM, answered by tests/agent over the directory
 * that both share
 */
#ifndef TESTS_HOST_H
#define TESTS_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOST_DIR	"/mnt"
#define HOST_MAX_PIDS	64

/**
 * struct host_map - a worker's mapping of memory of this VM
 * @start: first address in the worker
 * @end: behind the last
 * @guest: guest-physical address of @start
 * @writable: mapped for writing
 */
struct host_map {
	uint64_t start;
	uint64_t end;
	uint64_t guest;
	bool writable;
};

/* All return a negative errno on failure; -ENOENT: there is no agent. */

int host_ping(void);

/* Pids of the compute server's processes; returns how many. */
int host_processes(pid_t pids[HOST_MAX_PIDS]);

/* Pids of the workers that map memory of this VM; returns how many. */
int host_workers(pid_t pids[HOST_MAX_PIDS]);

/* What a worker maps, in the order of its addresses; returns how many. */
int host_maps(pid_t pid, struct host_map **maps);

int host_counts(pid_t pid, int *fds, int *mappings);

int host_kill(pid_t pid);

/* A new ext4 file system in the file HOST_DIR/@name. */
int host_ext4(const char *name, int mib);

/* QEMU's trace events whose names match @glob, from now on or no more. */
int host_trace(const char *glob, bool on);

#endif /* TESTS_HOST_H */
