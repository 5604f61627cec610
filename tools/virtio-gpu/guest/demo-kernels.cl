/* SPDX-License-Identifier: MIT */
/*
 * What vgpu-demo lets the host compute. demo-reference.c says the same in plain
 * C; all arithmetic is in integers, so that both agree to the last byte.
 */

/* A colour for what a byte probably is. */
static uint3 colour(uchar byte)
{
	if (byte == 0)
		return (uint3)(8, 8, 16);	/* nothing */
	if (byte == 0xff)
		return (uint3)(255, 255, 255);
	if (byte == '\t' || byte == '\n' || byte == '\r' ||
	    (byte >= 0x20 && byte < 0x7f))
		return (uint3)(40, 120, 255);	/* text */
	if (byte < 0x20)
		return (uint3)(40, 220, 110);	/* small numbers */
	return (uint3)(255, 96, 24);		/* all the rest */
}

/* The point at distance @d of a Hilbert curve through a square of @side. */
static uint2 hilbert(uint side, uint d)
{
	uint x = 0, y = 0;

	for (uint s = 1; s < side; s *= 2) {
		uint rx = 1 & (d / 2);
		uint ry = 1 & (d ^ rx);

		if (ry == 0) {
			uint t;

			if (rx == 1) {
				x = s - 1 - x;
				y = s - 1 - y;
			}
			t = x;
			x = y;
			y = t;
		}
		x += s * rx;
		y += s * ry;
		d /= 4;
	}
	return (uint2)(x, y);
}

/*
 * Draws a file as a square: the file lies along a Hilbert curve, so that what
 * is near in the file is near in the picture, and each pixel is the mean colour
 * of its bytes. One work-item for each of the side * side pixels.
 */
kernel void draw(global const uchar *file, ulong size, uint side,
		 global uchar *picture)
{
	uint d = get_global_id(0);
	ulong pixels = (ulong)side * side;
	ulong first = d * size / pixels;
	ulong end = max((d + 1) * size / pixels, first + 1);
	uint2 at = hilbert(side, d);
	uint n = end - first;
	uint3 sum = 0;

	for (ulong i = first; i < end; i++)
		sum += colour(file[i]);

	picture += 3 * ((ulong)at.y * side + at.x);
	picture[0] = sum.x / n;
	picture[1] = sum.y / n;
	picture[2] = sum.z / n;
}

/*
 * An image filter, smoothing: each pixel becomes the Gaussian mean of the 5 by 5
 * pixels around it, which takes the noise out. Pixels are 3 bytes, the first one
 * is at byte @start of @in; those beyond an edge are as the edge. One work-item
 * for each pixel.
 */
kernel void smooth(global const uchar *in, ulong start, uint width,
		    uint height, global uchar *out)
{
	const uint weight[5] = { 1, 4, 6, 4, 1 };	/* adds up to 16 */
	int x = get_global_id(0), y = get_global_id(1);

	in += start;
	for (int c = 0; c < 3; c++) {
		uint sum = 0;

		for (int dy = -2; dy <= 2; dy++) {
			for (int dx = -2; dx <= 2; dx++) {
				int nx = clamp(x + dx, 0, (int)width - 1);
				int ny = clamp(y + dy, 0, (int)height - 1);

				sum += weight[dy + 2] * weight[dx + 2] *
				       in[3 * ((ulong)ny * width + nx) + c];
			}
		}
		out[3 * ((ulong)y * width + x) + c] = sum / 256;
	}
}

/*
 * Counts each byte value. @part is local memory for 256 counters, which is
 * added to @counts once for each work-group.
 */
kernel void histogram(global const uchar *file, ulong size,
		      global uint *counts, local uint *part)
{
	for (uint i = get_local_id(0); i < 256; i += get_local_size(0))
		part[i] = 0;
	barrier(CLK_LOCAL_MEM_FENCE);

	for (ulong i = get_global_id(0); i < size; i += get_global_size(0))
		atomic_inc(&part[file[i]]);
	barrier(CLK_LOCAL_MEM_FENCE);

	for (uint i = get_local_id(0); i < 256; i += get_local_size(0))
		atomic_add(&counts[i], part[i]);
}
