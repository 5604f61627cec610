// SPDX-License-Identifier: MIT
/*
 * vgpu-demo FILE DIR - the host of this VM computes on this program's memory
 *
 * FILE is mapped MAP_SHARED and read-only, so what the host reads is the page
 * cache; the results are in memory from malloc. The host draws the file as a
 * picture (or takes the pixels, if FILE is a picture in PPM format), smooths
 * the picture and counts the byte values. The CPU then computes the same and
 * compares. DIR gets the picture as demo.png and the report as report.txt.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <png.h>

#include "demo-reference.h"
#include "vgpu.h"

/* Side of the square that a file is drawn as. */
#define SIDE		1024
/* What the output holds before the host writes it: no result looks like it. */
#define POISON		0xa5
/* Work-groups and work-items of a group that share the counting of bytes. */
#define COUNT_GROUPS	64
#define COUNT_ITEMS	64
/* Unpinning follows the end of a registration, in this time at most. */
#define UNPIN_SECONDS	5.0

static const char kernels[] =
#include "demo-kernels.cl.h"
	;

struct demo {
	FILE *report;
	struct vgpu_ctx *ctx;
	struct vgpu_info info;
	struct vgpu_program *prog;

	const char *path;
	const uint8_t *file;	/* mapped, size rounded up to pages */
	uint64_t file_size;
	size_t file_span;
	struct vgpu_mem *file_mem;

	bool is_ppm;
	uint64_t pixels_at;	/* where in a PPM file they start */
	uint32_t width, height;
	size_t picture_size;

	/* One allocation: picture drawn, picture smoothed, counts. */
	uint8_t *out;
	size_t out_span;
	struct vgpu_mem *out_mem;
	uint8_t *drawn, *smoothed;
	uint32_t *counts;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static __attribute__((noreturn, format(printf, 1, 2)))
void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("vgpu-demo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* One line of the report, also to stdout. */
static __attribute__((format(printf, 2, 3)))
void say(struct demo *demo, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	puts(line);
	fprintf(demo->report, "%s\n", line);
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* The number after @key at the start of a line of the file @path, or -1. */
static int64_t read_counter(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	size_t len = strlen(key);
	int64_t value = -1;
	char line[256];

	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, len))
			value = strtoll(line + len, NULL, 10);
	fclose(file);
	return value;
}

/* Pages of the whole system that are pinned now, for any user of pins. */
static int64_t pinned_pages(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	int64_t acquired, released;
	char buf[1];

	/* Reading it adds up what the CPUs count each; only root may. */
	if (fd >= 0) {
		if (read(fd, buf, sizeof(buf)) < 0)
			die("/proc/sys/vm/stat_refresh: %s", strerror(errno));
		close(fd);
	}

	acquired = read_counter("/proc/vmstat", "nr_foll_pin_acquired ");
	released = read_counter("/proc/vmstat", "nr_foll_pin_released ");
	if (acquired < 0 || released < 0)
		die("/proc/vmstat has no nr_foll_pin counters");
	return acquired - released;
}

/* A count of the driver for all registrations of the device, or -1. */
static int64_t driver_counter(struct demo *demo, const char *key)
{
	struct stat st;
	char path[128];

	if (fstat(vgpu_fd(demo->ctx), &st))
		return -1;
	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/dri/%u/virtio-gpu-userptr",
		 minor(st.st_rdev));
	return read_counter(path, key);
}

/* The next number of a PPM header at *@at, which is behind it afterwards. */
static uint32_t ppm_number(struct demo *demo, uint64_t *at)
{
	uint32_t value = 0;

	while (*at < demo->file_size && strchr(" \t\r\n#", demo->file[*at])) {
		if (demo->file[*at] == '#')
			while (*at < demo->file_size && demo->file[*at] != '\n')
				++*at;
		else
			++*at;
	}
	while (*at < demo->file_size && demo->file[*at] >= '0' &&
	       demo->file[*at] <= '9' && value < 100000)
		value = value * 10 + demo->file[(*at)++] - '0';
	return value;
}

static void read_ppm_header(struct demo *demo)
{
	uint64_t at = 2;
	uint32_t maximum;

	demo->width = ppm_number(demo, &at);
	demo->height = ppm_number(demo, &at);
	maximum = ppm_number(demo, &at);
	demo->pixels_at = at + 1;

	if (!demo->width || !demo->height || demo->width > 65535 ||
	    demo->height > 65535 || maximum != 255 ||
	    demo->pixels_at + 3ULL * demo->width * demo->height >
	    demo->file_size)
		die("%s: not a PPM picture of 8 bits a colour", demo->path);
}

static void map_file(struct demo *demo)
{
	struct stat st;
	int fd = open(demo->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", demo->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size)
		die("%s: not a regular file with something in it", demo->path);
	if (st.st_size > UINT32_MAX)
		die("%s: larger than the 4 GiB that 32-bit counters can count",
		    demo->path);

	demo->file_size = st.st_size;
	demo->file_span = round_up(st.st_size, sysconf(_SC_PAGESIZE));
	demo->file = mmap(NULL, demo->file_span, PROT_READ, MAP_SHARED, fd, 0);
	if (demo->file == MAP_FAILED)
		die("%s: cannot map it: %s", demo->path, strerror(errno));
	close(fd);

	demo->width = demo->height = SIDE;
	demo->is_ppm = demo->file_size > 3 && !memcmp(demo->file, "P6", 2) &&
		       strchr(" \t\r\n", demo->file[2]);
	if (demo->is_ppm)
		read_ppm_header(demo);
	demo->picture_size = 3UL * demo->width * demo->height;
}

static void allocate_output(struct demo *demo)
{
	size_t align = sysconf(_SC_PAGESIZE);
	size_t picture_span;

	/* Each part starts where a kernel may be given a pointer to. */
	if (align < demo->info.offset_align)
		align = demo->info.offset_align;
	picture_span = round_up(demo->picture_size, align);
	demo->out_span = 2 * picture_span + align;
	demo->out = aligned_alloc(align, demo->out_span);
	if (!demo->out)
		die("no memory for the output");

	memset(demo->out, POISON, demo->out_span);
	demo->drawn = demo->out;
	demo->smoothed = demo->out + picture_span;
	demo->counts = (uint32_t *)(demo->out + 2 * picture_span);
	/* The host adds to the zeros that it finds here. */
	memset(demo->counts, 0, 256 * sizeof(demo->counts[0]));
}

/* Launches, waits, reports. */
static void run(struct demo *demo, const char *kernel, struct vgpu_range range,
		const struct vgpu_arg *args, unsigned int nr_args)
{
	struct vgpu_result result;
	struct vgpu_error err;
	struct vgpu_job *job;
	double start = now();

	if (vgpu_launch(demo->prog, kernel, &range, args, nr_args, &job, &err) ||
	    vgpu_wait(job, -1, &result, &err))
		die("%s", err.message);
	say(demo, "  %-10s %9.1f ms, of that %.1f ms in the kernel", kernel,
	    (now() - start) * 1e3, result.device_ns / 1e6);
	vgpu_job_free(job);
}

static struct vgpu_arg out_arg(struct demo *demo, const void *part, size_t size)
{
	return VGPU_MEM_AT(demo->out_mem, (const uint8_t *)part - demo->out,
			   size);
}

static void compute(struct demo *demo)
{
	uint32_t side = SIDE, width = demo->width, height = demo->height;
	uint64_t size = demo->file_size, start = 0;
	struct vgpu_arg file = VGPU_MEM(demo->file_mem);
	struct vgpu_arg drawn = out_arg(demo, demo->drawn, demo->picture_size);
	struct vgpu_arg smoothed = out_arg(demo, demo->smoothed,
					   demo->picture_size);
	struct vgpu_arg counts = out_arg(demo, demo->counts,
					 256 * sizeof(uint32_t));
	struct vgpu_range range;

	if (demo->is_ppm) {
		drawn = file;
		start = demo->pixels_at;
	} else {
		struct vgpu_arg args[] = {
			file, VGPU_VALUE(size), VGPU_VALUE(side), drawn,
		};

		run(demo, "draw", VGPU_RANGE_1D(SIDE * SIDE), args, 4);
	}

	{
		struct vgpu_arg args[] = {
			drawn, VGPU_VALUE(start), VGPU_VALUE(width),
			VGPU_VALUE(height), smoothed,
		};

		run(demo, "smooth", VGPU_RANGE_2D(width, height), args, 5);
	}

	{
		struct vgpu_arg args[] = {
			file, VGPU_VALUE(size), counts,
			VGPU_LOCAL(256 * sizeof(uint32_t)),
		};

		range = VGPU_RANGE_1D(COUNT_GROUPS * COUNT_ITEMS);
		range.local[0] = COUNT_ITEMS;
		range.local[1] = range.local[2] = 1;
		run(demo, "histogram", range, args, 4);
	}
}

static bool same(struct demo *demo, const char *what, const void *got,
		 const void *want, size_t size)
{
	const uint8_t *a = got, *b = want;
	size_t i, wrong = 0, first = 0;

	for (i = 0; i < size; i++)
		if (a[i] != b[i] && !wrong++)
			first = i;
	if (wrong)
		say(demo, "  %s: %zu of %zu bytes differ, the first is %zu",
		    what, wrong, size, first);
	return !wrong;
}

static bool verify(struct demo *demo)
{
	const uint8_t *pixels = demo->file + demo->pixels_at;
	uint8_t *want = malloc(demo->picture_size);
	uint32_t counts[256];
	bool ok = true;

	if (!want)
		die("no memory to verify with");

	if (!demo->is_ppm) {
		reference_draw(demo->file, demo->file_size, SIDE, want);
		ok &= same(demo, "draw", demo->drawn, want, demo->picture_size);
		pixels = demo->drawn;
	}
	reference_smooth(pixels, demo->width, demo->height, want);
	ok &= same(demo, "smooth", demo->smoothed, want, demo->picture_size);
	reference_histogram(demo->file, demo->file_size, counts);
	ok &= same(demo, "histogram", demo->counts, counts, sizeof(counts));

	free(want);
	return ok;
}

static void write_png(struct demo *demo, const char *dir)
{
	png_image image = {
		.version = PNG_IMAGE_VERSION,
		.width = demo->width,
		.height = demo->height,
		.format = PNG_FORMAT_RGB,
	};
	char path[4096];

	snprintf(path, sizeof(path), "%s/demo.png", dir);
	if (!png_image_write_to_file(&image, path, 0, demo->smoothed, 0, NULL))
		die("%s: %s", path, image.message);
}

static const char *mib(uint64_t bytes, char text[32])
{
	snprintf(text, 32, "%.1f MiB", bytes / 1048576.0);
	return text;
}

int main(int argc, char **argv)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int64_t before, during, after, driver_pages, entries;
	double start, registered, closed, unpinned;
	struct demo demo = { 0 };
	struct vgpu_stats stats;
	struct vgpu_error err;
	uint64_t pages;
	bool verified, counted, unpinned_all;
	char path[4096], *log, a[32], b[32];

	if (argc != 3) {
		fprintf(stderr, "usage: vgpu-demo FILE DIR\n"
			"The host computes on FILE; DIR gets demo.png and report.txt.\n");
		return 2;
	}
	demo.path = argv[1];
	snprintf(path, sizeof(path), "%s/report.txt", argv[2]);
	demo.report = fopen(path, "w");
	if (!demo.report)
		die("%s: %s", path, strerror(errno));

	if (vgpu_open(NULL, "vgpu-demo", &demo.ctx, &err) ||
	    vgpu_query(demo.ctx, &demo.info, &err))
		die("%s", err.message);
	map_file(&demo);
	allocate_output(&demo);

	say(&demo, "device      %s, %u compute units", demo.info.device,
	    demo.info.compute_units);
	say(&demo, "through     %s, backend %s, %s", demo.info.platform,
	    demo.info.backend, vgpu_node(demo.ctx));
	say(&demo, "input       %s, %" PRIu64 " bytes, mapped shared and read-only",
	    demo.path, demo.file_size);
	say(&demo, "output      %zu bytes of malloc", demo.out_span);

	/* Register. */
	before = pinned_pages();
	start = now();
	if (vgpu_register(demo.ctx, (void *)demo.file, demo.file_span,
			  VGPU_RDONLY, &demo.file_mem, &err) ||
	    vgpu_register(demo.ctx, demo.out, demo.out_span, 0, &demo.out_mem,
			  &err))
		die("%s", err.message);
	registered = now() - start;
	during = pinned_pages() - before;
	driver_pages = driver_counter(&demo, "pages: ");
	entries = driver_counter(&demo, "entries: ");

	vgpu_stats(demo.ctx, &stats);
	pages = stats.registered / page;
	counted = (uint64_t)during == pages;
	say(&demo, "registered  %" PRIu64 " bytes: input %s read-only, output %s read-write",
	    stats.registered, mib(demo.file_span, a), mib(demo.out_span, b));
	say(&demo, "pinned      %" PRId64 " pages more than before, %" PRIu64 " expected",
	    during, pages);
	if (driver_pages >= 0)
		say(&demo, "driver      %" PRId64 " pages in %" PRId64 " entries (runs of neighbouring pages)",
		    driver_pages, entries);
	else
		say(&demo, "driver      does not show its counts (debugfs)");

	/* Compute. */
	say(&demo, "times");
	say(&demo, "  %-10s %9.1f ms", "register", registered * 1e3);
	start = now();
	if (vgpu_build(demo.ctx, kernels, NULL, &log, &demo.prog, &err))
		die("%s\n%s", err.message, log ? log : "");
	free(log);
	say(&demo, "  %-10s %9.1f ms", "build", (now() - start) * 1e3);
	compute(&demo);

	/* Release. The pages come back when the host has let go of them. */
	vgpu_stats(demo.ctx, &stats);
	start = now();
	if (vgpu_unregister(demo.file_mem, &err) ||
	    vgpu_unregister(demo.out_mem, &err))
		die("%s", err.message);
	closed = now() - start;
	do {
		after = pinned_pages() - before;
		unpinned = now() - start;
	} while (after != 0 && unpinned < UNPIN_SECONDS);
	unpinned_all = after == 0;
	say(&demo, "  %-10s %9.1f ms, %.1f ms until the pages were unpinned",
	    "release", closed * 1e3, unpinned * 1e3);

	/* Verify. */
	say(&demo, "copied      %" PRIu64 " bytes of registered memory (%" PRIu64
	    " bytes of commands and %" PRIu64 " of answers went between)",
	    stats.copied, stats.commands, stats.responses);
	start = now();
	verified = verify(&demo);
	say(&demo, "verified    %s, on this CPU, in %.1f ms",
	    verified ? "every byte of the results is right" : "NO",
	    (now() - start) * 1e3);
	say(&demo, "unpinned    %s", unpinned_all ? "all pages" : "NOT all pages");

	write_png(&demo, argv[2]);
	say(&demo, "picture     %s/demo.png, %u by %u pixels", argv[2],
	    demo.width, demo.height);

	vgpu_close(demo.ctx);
	free(demo.out);

	if (!verified || !counted || !unpinned_all || stats.copied) {
		say(&demo, "FAILED");
		return 1;
	}
	say(&demo, "PASSED: nothing copied, all verified");
	if (fclose(demo.report))
		die("%s: %s", path, strerror(errno));
	return 0;
}
