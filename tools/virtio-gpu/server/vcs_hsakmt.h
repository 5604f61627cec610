/* SPDX-License-Identifier: MIT */
/*
 * libhsakmt: AMD's library for KFD, loaded when it is asked for
 *
 * A host without an AMD GPU does not have it. Releases differ in what their
 * structures have, and none of them tells: so how many bytes it writes is
 * measured, and what is in them is converted by field.
 */
#ifndef VCS_HSAKMT_H
#define VCS_HSAKMT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of 5.7 and later: not declared there. */
struct kfd_ioctl_dbg_trap_args;

#if __has_include(<hsakmt/hsakmt.h>)
#include <hsakmt/hsakmt.h>
#else
#include <hsakmt.h>
#endif

#include "vcs_thunk.h"

/* What every release since 5.2 has. */
#define VCS_HSAKMT_REQUIRED(f) \
	f(OpenKFD) f(CloseKFD) f(GetVersion) f(AcquireSystemProperties) \
	f(ReleaseSystemProperties) f(GetNodeProperties) \
	f(GetNodeMemoryProperties) f(GetNodeCacheProperties) \
	f(GetNodeIoLinkProperties) f(GetClockCounters) \
	f(RegisterMemoryWithFlags) f(DeregisterMemory) \
	f(MapMemoryToGPUNodes) f(UnmapMemoryToGPU) f(CreateQueue) \
	f(UpdateQueue) f(DestroyQueue) f(SetTrapHandler) f(RuntimeEnable) \
	f(RuntimeDisable)

/**
 * struct vcs_hsakmt - the library
 * @handle: of dlopen()
 * @path: of the file
 * @uses_svm: for memory that is registered, where KFD has it: since 5.6
 * @OpenKFD: hsaKmtOpenKFD() and so on
 * @AvailableMemory: since 5.3, or NULL
 * @GetRuntimeCapabilities: since 5.7, or NULL
 */
struct vcs_hsakmt {
	void *handle;
	char path[PATH_MAX];
	bool uses_svm;
#define VCS_HSAKMT_FUNCTION(name) __typeof__(&hsaKmt##name) name;
	VCS_HSAKMT_REQUIRED(VCS_HSAKMT_FUNCTION)
#undef VCS_HSAKMT_FUNCTION
	/* Not in every header. */
	HSAKMT_STATUS (*AvailableMemory)(HSAuint32 node, HSAuint64 *bytes);
	HSAKMT_STATUS (*GetRuntimeCapabilities)(HSAuint32 *caps);
};

/*
 * Load it. Returns 0, -ENOENT if it is not there, or -EPROTO if it lacks a
 * function; @why then says so in one sentence.
 */
int vcs_hsakmt_load(struct vcs_hsakmt *lib, char *why, size_t size);
void vcs_hsakmt_unload(struct vcs_hsakmt *lib);

/* A sentence into @why; returns @error. */
int vcs_explain(char *why, size_t size, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A negative errno, or 0. */
int vcs_hsakmt_error(HSAKMT_STATUS status);

/*
 * Topology, once it is acquired. -EPROTO: the library's structure is not one
 * that is known here, as @why says; else the library's error, and @why is empty.
 *
 * The lists have as many elements as the library says that there are; they are
 * calloc()ed.
 */
int vcs_hsakmt_node(const struct vcs_hsakmt *lib, uint32_t node,
		    struct vcs_thunk_node *props, int32_t *render_minor,
		    char *why, size_t size);
int vcs_hsakmt_banks(const struct vcs_hsakmt *lib, uint32_t node, uint32_t count,
		     struct vcs_thunk_bank **banks, char *why, size_t size);
int vcs_hsakmt_caches(const struct vcs_hsakmt *lib, uint32_t node,
		      uint32_t count, struct vcs_thunk_cache **caches, char *why,
		      size_t size);
int vcs_hsakmt_io_links(const struct vcs_hsakmt *lib, uint32_t node,
			uint32_t count, struct vcs_thunk_io_link **links,
			char *why, size_t size);

/*
 * Convert HsaNodeProperties of @size bytes. -EPROTO: no release has this size;
 * -EBADMSG: this one's fields are elsewhere.
 */
int vcs_hsakmt_convert_node(const void *data, size_t size,
			    struct vcs_thunk_node *props, int32_t *render_minor);

#endif /* VCS_HSAKMT_H */
