// SPDX-License-Identifier: MIT
/*
 * Runs a fuzz target over files, a line of TAP for each: a bad one ends the
 * process
 */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

/* No target takes more. */
static uint8_t data[2 << 20];

static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	return LLVMFuzzerTestOneInput(data, n);
}

int main(int argc, char **argv)
{
	const char *name;
	int i;

	printf("1..%d\n", argc - 1);
	for (i = 1; i < argc; i++) {
		if (replay(argv[i]))
			return 1;
		name = strrchr(argv[i], '/');
		printf("ok %d - replay %s\n", i, name ? name + 1 : argv[i]);
		fflush(stdout);
	}
	return argc == 1;
}
