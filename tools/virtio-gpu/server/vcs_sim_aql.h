/* SPDX-License-Identifier: MIT */
/*
 * Packets of a queue, as a simulated GPU takes them
 *
 * The formats are those of the HSA system architecture (AQL), and AMD's where it
 * leaves them open. Barriers are what they say. There is nobody who could
 * execute a kernel: a dispatch stops its queue, as an exception in the kernel
 * would.
 */
#ifndef VCS_SIM_AQL_H
#define VCS_SIM_AQL_H

#include <stdbool.h>
#include <stdint.h>

#include "vcs_thunk.h"

/**
 * struct vcs_aql_memory - memory as the GPU sees it
 * @access: all of @size bytes at @addr, to be written if @write; NULL: they are
 *	not the GPU's
 * @arg: for it
 */
struct vcs_aql_memory {
	void *(*access)(void *arg, uint32_t node, uint64_t addr, uint64_t size,
			bool write);
	void *arg;
};

/**
 * struct vcs_aql_queue - a queue
 * @params: as it was created, or updated since
 * @id: for the log
 * @read: index of the next packet
 * @seen: which signals that the next packet waits for have been 0, a bit each
 * @stopped: it will take no packet any more
 */
struct vcs_aql_queue {
	struct vcs_thunk_queue params;
	uint64_t id;
	uint64_t read;
	uint8_t seen;
	bool stopped;
};

enum vcs_aql_state {
	VCS_AQL_IDLE,		/* nothing to do until the doorbell rings */
	VCS_AQL_WAITING,	/* for memory to change */
	VCS_AQL_BUSY,		/* there may be more packets */
	VCS_AQL_STOPPED,	/* just now, by an error */
};

/*
 * Take up to @max packets. @now, of the GPU's counter, is when they begin and
 * end.
 */
enum vcs_aql_state vcs_aql_run(struct vcs_aql_queue *q,
			       const struct vcs_aql_memory *mem, uint64_t now,
			       unsigned int max);

#endif /* VCS_SIM_AQL_H */
