/* SPDX-License-Identifier: MIT */
/*
 * The simulated thunk with one fault
 */
#ifndef FAULTY_THUNK_H
#define FAULTY_THUNK_H

#include "vcs_thunk.h"

enum fault {
	FAULT_NONE,

	/* None, but not like the simulation either. */
	NO_ACCESS,		/* neither queues nor a simulated GPU's accesses */
	NO_QUEUES,
	NO_READ_ONLY,
	NO_SVM,			/* memory is at other addresses */

	/* To open. */
	FAULT_OPEN,
	FAULT_OPEN_AGAIN,
	FAULT_VERSION,
	FAULT_OTHER_VERSION,

	/* Topology. */
	FAULT_NO_SYSTEM,
	FAULT_NO_GPU,
	FAULT_MANY_NODES,
	FAULT_ONE_NODE_MORE,
	FAULT_ONE_BANK_MORE,
	FAULT_NO_BANK,
	FAULT_CACHE_LEVEL,
	FAULT_LINK_TO_NOWHERE,
	FAULT_NO_GFX_ID,
	FAULT_OLD_DOORBELLS,
	FAULT_OTHER_DEVICE,
	FAULT_NO_INFO,

	/* Memory. */
	FAULT_REGISTER,
	FAULT_REGISTER_BY_SOCKET,	/* not for a worker */
	FAULT_REGISTER_LARGE,	/* of a GiB and more */
	FAULT_MAP,
	FAULT_MAP_NOTHING,
	FAULT_MAP_AGAIN,
	FAULT_MAPS_COUNTED,	/* and unmapped as often */
	FAULT_UNMAP,
	FAULT_NOT_DEREGISTERED,
	FAULT_FIRST_PAGE,
	FAULT_32_BITS,
	FAULT_OVERLAP,
	FAULT_ROUNDED_UP,
	FAULT_READ_ONLY_EPERM,
	FAULT_READ_ONLY_UNMAPPED,
	FAULT_READ_ONLY_UNREADABLE,
	FAULT_READ_ONLY_WRITTEN,
	FAULT_BAD_NODE,
	FAULT_PARTLY_MAPPED,
	FAULT_KEPT,		/* the GPU still has it when it was given back */

	/* Queues. */
	FAULT_CREATE_QUEUE,
	FAULT_DESTROY_QUEUE,
	FAULT_QUEUE_ON_CPU,
	FAULT_DESTROYED_TWICE,
	FAULT_DEAF,		/* doorbells do nothing */
	FAULT_DEAF_LATER,	/* after some rings */
	FAULT_STALLS,		/* likewise */
	FAULT_NO_READ_INDEX,
	FAULT_WAITS_FOR_NOTHING,
	FAULT_WAITS_FOR_EVER,
	FAULT_CROSSED_DOORBELLS,

	/* Clocks and KFD. */
	FAULT_CLOCKS,
	FAULT_CLOCK_STANDS,
	FAULT_CLOCK_OF_NOBODY,
	FAULT_NO_PROCESS,
	FAULT_PROCESS_STAYS,

	/* Of any library. */
	FAULT_CRASH,
	FAULT_HANG,
	FAULT_EXIT,
	FAULT_NOISE,
};

extern enum fault faulty_thunk_fault;

/* Where KFD would show its processes, or NULL. */
extern const char *faulty_thunk_kfd_proc;

int faulty_thunk_open(struct vcs_thunk **thunk, char *why, size_t size);

#endif /* FAULTY_THUNK_H */
