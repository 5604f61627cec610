/* SPDX-License-Identifier: MIT */
/*
 * A backend that computes nothing and remembers what it was asked for
 */
#ifndef TESTS_MOCK_H
#define TESTS_MOCK_H

#include "vcs_backend.h"

#define MOCK_OFFSET_ALIGN	128
#define MOCK_MAX_ALLOC		(1ULL << 30)
#define MOCK_LOCAL_MEM		32768
#define MOCK_MAX_WORK_GROUP	256
#define MOCK_MAX_ARGS		64

/**
 * struct mock - the backend and what happened
 * @base: the backend
 * @fail: what import, build and launch return
 * @log: build log
 * @buffers: imported and not released
 * @programs: built and not released
 * @last_buffer: of the last import
 * @imports: number of imports
 * @rdonly: of the last import
 * @addr: likewise
 * @source: of the last build, with its length
 * @source_len: bytes in @source
 * @options: of the last build
 * @launches: number of launches
 * @kernel: of the last launch
 * @launch: the last launch, its pointers replaced by those below
 * @args: of the last launch
 * @values: their values
 */
struct mock {
	struct vcs_backend base;
	int fail;
	const char *log;
	int buffers;
	int programs;
	struct vcs_buffer *last_buffer;
	int imports;
	bool rdonly;
	const uint8_t *addr;
	char source[256];
	size_t source_len;
	char options[256];
	int launches;
	char kernel[128];
	struct vcs_launch launch;
	struct vcs_arg args[MOCK_MAX_ARGS];
	uint8_t values[MOCK_MAX_ARGS][64];
};

void mock_init(struct mock *m);

#endif /* TESTS_MOCK_H */
