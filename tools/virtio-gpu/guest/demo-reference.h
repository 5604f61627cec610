/* SPDX-License-Identifier: MIT */
/* What demo-kernels.cl computes, in plain C, to verify it by. */
#ifndef DEMO_REFERENCE_H
#define DEMO_REFERENCE_H

#include <stdint.h>

/* The file drawn as a square of @side (a power of 2), 3 bytes a pixel. */
void reference_draw(const uint8_t *file, uint64_t size, uint32_t side,
		    uint8_t *picture);

/* @in smoothed, both @width by @height pixels of 3 bytes. */
void reference_smooth(const uint8_t *in, uint32_t width, uint32_t height,
		      uint8_t *out);

/* How often each byte value stands in the file. */
void reference_histogram(const uint8_t *file, uint64_t size,
			 uint32_t counts[256]);

#endif /* DEMO_REFERENCE_H */
