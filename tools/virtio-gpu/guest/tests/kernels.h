/* SPDX-License-Identifier: MIT */
/* Kernels that several tests build, each a string of its source */
#ifndef TESTS_KERNELS_H
#define TESTS_KERNELS_H

/* Writes memory_byte(i, seed) of memory.h. */
#define KERNEL_FILL							\
	"kernel void fill(global uchar *out, uint seed)\n"		\
	"{\n"								\
	"	size_t i = get_global_id(0);\n"				\
	"	out[i] = i * 31 + (i >> 8) * 17 + (i >> 12) * 59 + seed;\n" \
	"}\n"

/* Runs until word 0 is set, having set word 1; at its end it sets word 2. */
#define KERNEL_SPIN							\
	"kernel void spin(global volatile int *word)\n"			\
	"{\n"								\
	"	word[1] = 1;\n"						\
	"	while (!atomic_or(&word[0], 0))\n"			\
	"		;\n"						\
	"	word[2] = 1;\n"						\
	"}\n"

#endif /* TESTS_KERNELS_H */
