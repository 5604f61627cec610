// SPDX-License-Identifier: MIT
#include <string.h>

#include "demo-reference.h"

/* Red, green and blue for what a byte probably is. */
static const uint8_t *colour(uint8_t byte)
{
	static const uint8_t nothing[] = { 8, 8, 16 };
	static const uint8_t ones[] = { 255, 255, 255 };
	static const uint8_t text[] = { 40, 120, 255 };
	static const uint8_t small[] = { 40, 220, 110 };
	static const uint8_t rest[] = { 255, 96, 24 };

	switch (byte) {
	case 0x00:
		return nothing;
	case 0xff:
		return ones;
	case '\t': case '\n': case '\r': case 0x20 ... 0x7e:
		return text;
	case 0x01 ... 0x08: case 0x0b ... 0x0c: case 0x0e ... 0x1f:
		return small;
	default:
		return rest;
	}
}

void reference_draw(const uint8_t *file, uint64_t size, uint32_t side,
		    uint8_t *picture)
{
	uint64_t pixels = (uint64_t)side * side;
	uint64_t d;

	for (d = 0; d < pixels; d++) {
		uint64_t first = d * size / pixels;
		uint64_t end = (d + 1) * size / pixels;
		uint32_t sum[3] = { 0 };
		uint32_t x = 0, y = 0, s, left = d;
		uint64_t i;
		int c;

		if (end == first)
			end++;
		for (i = first; i < end; i++)
			for (c = 0; c < 3; c++)
				sum[c] += colour(file[i])[c];

		/* The usual walk down the four quarters of a Hilbert curve. */
		for (s = 1; s < side; s *= 2, left /= 4) {
			uint32_t right = left / 2 & 1;
			uint32_t upper = (left ^ right) & 1;

			if (!upper) {
				uint32_t t = x;

				x = right ? s - 1 - y : y;
				y = right ? s - 1 - t : t;
			}
			x += s * right;
			y += s * upper;
		}
		for (c = 0; c < 3; c++)
			picture[3 * ((uint64_t)y * side + x) + c] =
				sum[c] / (end - first);
	}
}

static uint32_t clamp(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

void reference_smooth(const uint8_t *in, uint32_t width, uint32_t height,
		      uint8_t *out)
{
	static const uint32_t weight[5] = { 1, 4, 6, 4, 1 };
	uint64_t stride = 3ULL * width;
	uint32_t x, y, i, c;

	for (y = 0; y < height; y++) {
		const uint8_t *rows[5];

		for (i = 0; i < 5; i++)
			rows[i] = in + stride * clamp((int64_t)y + i - 2, 0,
						      height - 1);
		for (x = 0; x < width; x++) {
			uint64_t columns[5];

			for (i = 0; i < 5; i++)
				columns[i] = 3ULL * clamp((int64_t)x + i - 2, 0,
							  width - 1);
			for (c = 0; c < 3; c++) {
				uint32_t sum = 0, j;

				for (i = 0; i < 5; i++)
					for (j = 0; j < 5; j++)
						sum += weight[i] * weight[j] *
						       rows[i][columns[j] + c];
				out[stride * y + 3ULL * x + c] = sum / 256;
			}
		}
	}
}

void reference_histogram(const uint8_t *file, uint64_t size,
			 uint32_t counts[256])
{
	uint64_t i;

	memset(counts, 0, 256 * sizeof(counts[0]));
	for (i = 0; i < size; i++)
		counts[file[i]]++;
}
