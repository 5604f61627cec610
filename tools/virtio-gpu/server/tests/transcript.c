// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transcript.h"

/* What follows the word: d, x: a number; b: bytes, as many as it says. */
static const struct {
	const char *word;
	const char *args;
} ops[TRANSCRIPT_NR_OPS] = {
	[TRANSCRIPT_CONTEXT] = { "context", "d" },
	[TRANSCRIPT_SHMEM] = { "shmem", "dd" },
	[TRANSCRIPT_USERPTR] = { "userptr", "ddx" },
	[TRANSCRIPT_BLOB] = { "blob", "ddd" },
	[TRANSCRIPT_CLOSE] = { "close", "d" },
	[TRANSCRIPT_VAR] = { "var", "dddd" },
	[TRANSCRIPT_ROOM] = { "room", "dd" },
	[TRANSCRIPT_REQ] = { "req", "db" },
	[TRANSCRIPT_RSP] = { "rsp", "db" },
	[TRANSCRIPT_NONE] = { "none", "" },
	[TRANSCRIPT_LATE] = { "late", "" },
	[TRANSCRIPT_MEMORY] = { "memory", "dddb" },
	[TRANSCRIPT_DOORBELL] = { "doorbell", "ddd" },
	[TRANSCRIPT_WAIT] = { "wait", "ddd" },
	[TRANSCRIPT_END] = { "end", "" },
};

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Two characters a byte; what is not there is 0. */
static int read_bytes(const char *text, uint64_t size,
		      struct transcript_line *line)
{
	size_t i;

	if (size > TRANSCRIPT_MAX)
		return -EINVAL;
	for (i = 0; text[2 * i]; i++) {
		int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);

		if (i == size)
			return -EINVAL;
		if (line->op == TRANSCRIPT_RSP && !strncmp(text + 2 * i, "..", 2))
			line->varies[i] = true;
		else if (high >= 0 && low >= 0)
			line->bytes[i] = (uint8_t)(high << 4 | low);
		else
			return -EINVAL;
	}
	return 0;
}

static int read_args(char **rest, struct transcript_line *line)
{
	const char *args = ops[line->op].args;
	char *word, *end;
	size_t i;

	for (i = 0; args[i]; i++) {
		word = strsep(rest, " ");
		if (args[i] == 'b')
			return read_bytes(word ? word : "", line->arg[i - 1],
					  line) ||
			       *rest ? -EINVAL : 0;
		if (!word || !*word)
			return -EINVAL;
		errno = 0;
		line->arg[i] = strtoull(word, &end, args[i] == 'x' ? 16 : 10);
		if (*end || errno)
			return -EINVAL;
	}
	return *rest ? -EINVAL : 0;
}

int transcript_read(FILE *f, struct transcript_line *line)
{
	char *text = NULL, *rest, *word;
	size_t room = 0;
	ssize_t len;
	int ret = -EINVAL, op;

	len = getline(&text, &room, f);
	if (len <= 0) {
		free(text);
		return 0;
	}
	if (text[len - 1] == '\n')
		text[len - 1] = '\0';

	memset(line, 0, sizeof(*line));
	rest = text;
	word = strsep(&rest, " ");
	for (op = 0; op < TRANSCRIPT_NR_OPS; op++) {
		if (strcmp(word, ops[op].word))
			continue;
		line->op = op;
		ret = read_args(&rest, line);
		break;
	}
	free(text);
	return ret ? ret : 1;
}

bool transcript_same(const struct transcript_line *line, const void *rsp,
		     uint32_t len)
{
	const uint8_t *bytes = rsp;
	uint32_t i;

	if (len != line->arg[0])
		return false;
	for (i = 0; i < len; i++)
		if (!line->varies[i] && bytes[i] != line->bytes[i])
			return false;
	return true;
}
