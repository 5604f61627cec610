// SPDX-License-Identifier: MIT
/*
 * vgpu-rocm-check: does this host's GPU do for ROCM contexts what they need?
 *
 * For people who have an AMD GPU: needs no VM and no server, and prints a report
 * that says what was found, to be sent to those who have none.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vcs_check.h"
#include "vcs_log.h"
#include "vcs_sandbox.h"
#include "vcs_thunk_hsakmt.h"
#include "vcs_thunk_sim.h"

#define KFD_PROC	"/sys/devices/virtual/kfd/kfd/proc"

#define MIB		(1UL << 20)

/* Exit status. */
#define EXIT_FAILED	1	/* a check, or all of them were skipped */
#define EXIT_USAGE	2

/* Default of --timeout, in seconds. */
#define TIMEOUT		60
#define MAX_TIMEOUT	3600

/* Default of --timing-size, in MiB. */
#define TIMING_SIZE	1024
#define MAX_TIMING_SIZE	(1024 * 1024)

/* A GPU does the least of things in microseconds; it may have been asleep. */
#define ANSWER_MS	5000
#define SETTLE_MS	500
#define SIM_SETTLE_MS	50

/* Of a thunk; the rest is as in struct vcs_check_env. */
struct backend {
	const char *name;
	const char *kfd_proc;
	unsigned int settle_ms;
	int (*open)(struct vcs_thunk **thunk, char *why, size_t size);
};

static int open_sim(struct vcs_thunk **thunk, char *why, size_t size)
{
	*thunk = vcs_thunk_sim_open();
	if (*thunk)
		return 0;
	snprintf(why, size, "out of memory");
	return -ENOMEM;
}

/* The first is the default. */
static const struct backend backends[] = {
	{
		.name = "hsakmt",
		.kfd_proc = KFD_PROC,
		.settle_ms = SETTLE_MS,
		.open = vcs_thunk_hsakmt_open,
	},
	{ .name = "sim", .settle_ms = SIM_SETTLE_MS, .open = open_sim },
};

#define NR_BACKENDS	(sizeof(backends) / sizeof(backends[0]))

/* That of a worker with a GPU, which has no files of its own but in @dir. */
static int confine(void)
{
	const struct vcs_config cfg = { .sandbox = true };

	return vcs_sandbox_enter(&cfg, VCS_ROLE_WORKER, "/sys");
}

static const char help[] =
"Usage: vgpu-rocm-check [OPTION]...\n"
"\n"
"Checks if the GPU and its thunk library do what virtio-gpu's ROCM contexts need\n"
"of them, and prints a report in TAP. Run it as the user of the server's workers,\n"
"on the host. The last three checks have the GPU access what it must not, which\n"
"some GPUs end by a reset: not when others use it, or see their desktop by it.\n"
"\n"
"  --backend=NAME     hsakmt (default): AMD's libhsakmt, on the GPUs of this host;\n"
"                     sim: a simulated GPU, to check the checks\n"
"  --list             list the checks and exit\n"
"  --test=NAME        run this one only; may be repeated\n"
"  --no-faults        without those three\n"
"  --timeout=SEC      how long a check may take (default 60)\n"
"  --timing-size=MIB  how much memory the time is taken of (default 1024, or a\n"
"                     quarter of what is free)\n"
"  --help             tell and exit\n"
"\n"
"Exit status: 0 if all that could be checked holds, 1 if something does not or\n"
"nothing was checked, 2 for a wrong option.\n";

static void __attribute__((noreturn, format(printf, 1, 2)))
usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("vgpu-rocm-check: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_USAGE);
}

static const struct backend *find_backend(const char *name)
{
	unsigned int i;

	for (i = 0; i < NR_BACKENDS; i++)
		if (!strcmp(backends[i].name, name))
			return &backends[i];
	usage_error("--backend=%s: there is no such backend", name);
}

static unsigned int find_check(const char *name)
{
	unsigned int i;

	for (i = 0; vcs_checks[i].name; i++)
		if (!strcmp(vcs_checks[i].name, name))
			return i;
	usage_error("--test=%s: there is no such check; --list lists them", name);
}

static unsigned int parse_number(const char *option, const char *text,
				 unsigned long max)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || !n || n > max)
		usage_error("%s=%s: expected a number from 1 to %lu", option,
			    text, max);
	return (unsigned int)n;
}

static void list(void)
{
	unsigned int i;

	for (i = 0; vcs_checks[i].name; i++)
		printf("%-10s %s\n", vcs_checks[i].name, vcs_checks[i].what);
	exit(EXIT_SUCCESS);
}

/* A quarter of what is free, whole MiB. */
static uint64_t default_size(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0, size = TIMING_SIZE * MIB;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	if (kib && kib * 1024 / 4 < size)
		size = kib * 1024 / 4;
	return size < MIB ? MIB : size & ~(MIB - 1);
}

/* The first line of a file. */
static void print_file(const char *what, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[256];

	if (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		printf("# %s: %s\n", what, line);
	} else {
		printf("# %s: no %s\n", what, path);
	}
	if (f)
		fclose(f);
}

static void print_host(const struct backend *backend,
		       const struct vcs_check_env *env)
{
	struct utsname u;
	struct rlimit r;

	printf("# vgpu-rocm-check --backend=%s\n", backend->name);
	if (!uname(&u))
		printf("# kernel: %s %s %s\n", u.sysname, u.release, u.machine);
	if (!getrlimit(RLIMIT_MEMLOCK, &r) && r.rlim_cur != RLIM_INFINITY)
		printf("# memlock: %llu KiB\n",
		       (unsigned long long)r.rlim_cur / 1024);
	print_file("vm.max_map_count", "/proc/sys/vm/max_map_count");
	print_file("huge pages of memfds",
		   "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	if (backend->kfd_proc) {
		print_file("amdgpu", "/sys/module/amdgpu/version");
		printf("# /dev/kfd: %s\n",
		       access("/dev/kfd", R_OK | W_OK) ? strerror(errno) :
							 "accessible");
	}
	printf("# time limit of a check: %u s\n", env->limit_ms / 1000);
}

static int run(const bool *chosen, bool faults, const struct vcs_check_env *env)
{
	unsigned int i, nr = 0, count[3] = { 0 };
	bool no_library = false;

	for (i = 0; vcs_checks[i].name; i++)
		nr += chosen[i];
	printf("1..%u\n", nr);
	for (i = 0, nr = 0; vcs_checks[i].name; i++) {
		enum vcs_check_result result = VCS_CHECK_SKIPPED;

		if (!chosen[i])
			continue;
		if (no_library)
			vcs_check_skip(&vcs_checks[i], ++nr,
				       "the library cannot be used", stdout);
		else if (vcs_checks[i].faults && !faults)
			vcs_check_skip(&vcs_checks[i], ++nr, "--no-faults",
				       stdout);
		else
			result = vcs_check_run(&vcs_checks[i], env, ++nr,
					       stdout);
		count[result - VCS_CHECK_OK]++;
		/* The first one: what is wrong need not be told many times. */
		no_library |= !i && result == VCS_CHECK_FAILED;
	}
	printf("# %u passed, %u failed, %u skipped\n", count[0], count[1],
	       count[2]);
	return count[1] || !count[0] ? EXIT_FAILED : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	enum { BACKEND = 256, LIST, TEST, NO_FAULTS, TIMEOUT_OPT, SIZE, HELP };
	static const struct option longopts[] = {
		{ "backend", required_argument, NULL, BACKEND },
		{ "list", no_argument, NULL, LIST },
		{ "test", required_argument, NULL, TEST },
		{ "no-faults", no_argument, NULL, NO_FAULTS },
		{ "timeout", required_argument, NULL, TIMEOUT_OPT },
		{ "timing-size", required_argument, NULL, SIZE },
		{ "help", no_argument, NULL, HELP },
		{ }
	};
	const struct backend *backend = &backends[0];
	struct vcs_check_env env = {
		.confine = geteuid() ? confine : NULL,
		.limit_ms = TIMEOUT * 1000,
		.answer_ms = ANSWER_MS,
		.timing_size = default_size(),
	};
	bool chosen[64] = { false }, any = false, faults = true;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longopts, NULL)) != -1) {
		switch (c) {
		case BACKEND:
			backend = find_backend(optarg);
			break;
		case LIST:
			list();
			break;
		case TEST:
			chosen[find_check(optarg)] = any = true;
			break;
		case NO_FAULTS:
			faults = false;
			break;
		case TIMEOUT_OPT:
			env.limit_ms = 1000 * parse_number("--timeout", optarg,
							   MAX_TIMEOUT);
			break;
		case SIZE:
			env.timing_size = MIB * parse_number("--timing-size",
							     optarg,
							     MAX_TIMING_SIZE);
			break;
		case HELP:
			fputs(help, stdout);
			return EXIT_SUCCESS;
		case ':':
			usage_error("%s needs a value", argv[optind - 1]);
		default:
			usage_error("unknown option %s; see --help",
				    argv[optind - 1]);
		}
	}
	if (optind < argc)
		usage_error("unexpected argument %s", argv[optind]);
	for (c = 0; !any && vcs_checks[c].name; c++)
		chosen[c] = true;
	env.open = backend->open;
	env.settle_ms = backend->settle_ms;
	env.kfd_proc = backend->kfd_proc;
	print_host(backend, &env);
	return run(chosen, faults, &env);
}
