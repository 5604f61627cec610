// SPDX-License-Identifier: MIT
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#define ASK_TIMEOUT_MS	20000
#define ASK_POLL_MS	10

/*
 * The answer to @question without its first line, to be freed; NULL with errno
 * set if there is none or if it is an error.
 */
static char *ask(const char *question)
{
	static int serial;
	char path[3][64];
	char *line = NULL, *text = NULL;
	size_t size = 0;
	FILE *file;
	int i;

	serial++;
	for (i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), HOST_DIR "/%d-%d.%s",
			 (int)getpid(), serial,
			 ((const char *[]){ "ask", "req", "rsp" })[i]);

	file = fopen(path[0], "w");
	if (!file)
		return NULL;
	fprintf(file, "%s\n", question);
	if (fclose(file) || rename(path[0], path[1]))
		return NULL;

	for (i = 0; access(path[2], R_OK); i++) {
		if (i == ASK_TIMEOUT_MS / ASK_POLL_MS) {
			unlink(path[1]);
			errno = ENOENT;
			return NULL;
		}
		nanosleep(&(struct timespec){ 0, ASK_POLL_MS * 1000000 }, NULL);
	}

	file = fopen(path[2], "r");
	if (!file)
		return NULL;
	if (getline(&line, &size, file) < 0 || strcmp(line, "ok\n")) {
		printf("# %s: the host says: %s", question, line ? line : "\n");
		errno = EREMOTEIO;
	} else if (getdelim(&text, &size, '\0', file) < 0) {
		text = strdup("");
	}
	fclose(file);
	unlink(path[2]);
	free(line);
	return text;
}

static int ask_nothing(const char *question)
{
	char *answer = ask(question);

	if (!answer)
		return -errno;
	free(answer);
	return 0;
}

static int ask_pids(const char *question, pid_t pids[HOST_MAX_PIDS])
{
	char *answer = ask(question), *at, *end;
	int n = 0;

	if (!answer)
		return -errno;
	for (at = answer; n < HOST_MAX_PIDS; at = end) {
		pids[n] = strtol(at, &end, 10);
		if (end == at)
			break;
		n++;
	}
	free(answer);
	return n;
}

int host_ping(void)
{
	/* Without the agent the first question would wait for long. */
	return access(HOST_DIR "/agent", F_OK) ? -ENOENT : ask_nothing("ping");
}

int host_processes(pid_t pids[HOST_MAX_PIDS])
{
	return ask_pids("processes", pids);
}

int host_workers(pid_t pids[HOST_MAX_PIDS])
{
	return ask_pids("workers", pids);
}

int host_maps(pid_t pid, struct host_map **maps)
{
	char question[64], perms[8], *answer, *at;
	int n = 0, len;

	snprintf(question, sizeof(question), "maps %d", (int)pid);
	answer = ask(question);
	if (!answer)
		return -errno;

	*maps = NULL;
	for (at = answer; *at; at += len) {
		struct host_map map;

		if (sscanf(at, "%" SCNx64 " %" SCNx64 " %7s %" SCNx64 "\n%n",
			   &map.start, &map.end, perms, &map.guest, &len) != 4)
			break;
		map.writable = perms[1] == 'w';
		*maps = realloc(*maps, (n + 1) * sizeof(map));
		if (!*maps)
			abort();
		(*maps)[n++] = map;
	}
	free(answer);
	return n;
}

int host_counts(pid_t pid, int *fds, int *mappings)
{
	char question[64], *answer;
	int ret;

	snprintf(question, sizeof(question), "counts %d", (int)pid);
	answer = ask(question);
	if (!answer)
		return -errno;
	ret = sscanf(answer, "%d %d", fds, mappings) == 2 ? 0 : -EPROTO;
	free(answer);
	return ret;
}

int host_kill(pid_t pid)
{
	char question[64];

	snprintf(question, sizeof(question), "kill %d", (int)pid);
	return ask_nothing(question);
}

int host_ext4(const char *name, int mib)
{
	char question[64];

	snprintf(question, sizeof(question), "ext4 %s %d", name, mib);
	return ask_nothing(question);
}

int host_trace(const char *glob, bool on)
{
	char question[64];

	snprintf(question, sizeof(question), "trace %s %s", glob,
		 on ? "true" : "false");
	return ask_nothing(question);
}
