// SPDX-License-Identifier: MIT
/*
 * Prints the frequency of this machine's time-stamp counter in kHz, for the VM
 * runner: QEMU gives an emulated CPU the same one.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define MEASURE_NS	100000000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Both at one time, or nearly: of several tries the quickest. */
static uint64_t read_both(uint64_t *ns)
{
	uint64_t before, tsc, took, best = UINT64_MAX, best_tsc = 0;
	int i;

	for (i = 0; i < 100; i++) {
		before = now_ns();
		tsc = __rdtsc();
		took = now_ns() - before;
		if (took < best) {
			best = took;
			best_tsc = tsc;
			*ns = before + took / 2;
		}
	}
	return best_tsc;
}

int main(void)
{
	struct timespec pause = { .tv_nsec = MEASURE_NS };
	uint64_t from_ns, to_ns, from, to;

	from = read_both(&from_ns);
	nanosleep(&pause, NULL);
	to = read_both(&to_ns);
	printf("%llu\n", (unsigned long long)((double)(to - from) * 1e6 /
					      (double)(to_ns - from_ns)));
	return 0;
}
