// SPDX-License-Identifier: MIT
/*
 * usage: seeds TRANSCRIPT GENERATION FILE
 *
 * The inputs for fuzz_rocm that transcripts make: make seeds
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transcript.h"

static uint8_t seed[SEED_MAX];

int main(int argc, char **argv)
{
	FILE *in, *out;
	int len;

	if (argc != 4)
		return 2;
	in = fopen(argv[1], "r");
	if (!in) {
		perror(argv[1]);
		return 1;
	}
	len = transcript_seed(in, strtoull(argv[2], NULL, 10), seed);
	fclose(in);
	if (len < 0) {
		fprintf(stderr, "%s: %s: %s\n", argv[1], argv[2],
			strerror(-len));
		return 1;
	}
	out = fopen(argv[3], "wb");
	if (!out || fwrite(seed, 1, (size_t)len, out) != (size_t)len ||
	    fclose(out)) {
		perror(argv[3]);
		return 1;
	}
	return 0;
}
