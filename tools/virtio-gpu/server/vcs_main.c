// SPDX-License-Identifier: MIT
/*
 * vgpu-compute-server: options, the socket, the life of the server
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vcs_cgroup.h"
#include "vcs_compiler.h"
#include "vcs_config.h"
#include "vcs_landlock.h"
#include "vcs_log.h"
#include "vcs_scratch.h"
#include "vcs_service.h"
#include "vcs_signals.h"
#include "vcs_spawner.h"

#define VCS_VERSION		"0.1"

/* Exit status. */
#define VCS_EXIT_FAILURE	1	/* it did not work */
#define VCS_EXIT_USAGE		2	/* the command line is wrong */

/* An hour: longer is no limit. */
#define VCS_MAX_BUILD_TIMEOUT	3600
/* More resources or programs would be slow to find. */
#define VCS_MAX_COUNT		65536

struct options {
	const char *socket_path;
	const char *user;
	int fd;
};

static const char help[] =
"Usage: vgpu-compute-server --socket-path=PATH|--fd=N [OPTION]...\n"
"\n"
"Computes for the virtio-gpu-compute-pci device of one QEMU, and ends with it.\n"
"\n"
"  --socket-path=PATH     listen on this unix socket, which is removed at the end\n"
"  --fd=N                 use this inherited unix socket, listening or connected\n"
"  --backend=NAME         compute API: opencl (default); hsakmt: what ROCm programs\n"
"                         look for, on AMD GPUs; or sim: the same on a simulated\n"
"                         GPU that computes nothing\n"
"  --device=TEXT          only OpenCL devices whose 'platform: device' contains\n"
"                         TEXT\n"
"  --user=NAME            user of the workers when started as root (default\n"
"                         nobody); needs access to the device's nodes\n"
"  --build-timeout=SEC    how long a guest's program may take to compile\n"
"                         (default 30)\n"
"  --max-resources=N      resources of one context (default 16384)\n"
"  --max-registered=SIZE  guest memory that they may be, if a page is counted as\n"
"                         often as it is registered; with K, M, G or T (default\n"
"                         256G)\n"
"  --max-programs=N       programs of one context (default 256)\n"
"  --cgroup=DIR           limit each context by a cgroup (v2) of its own in DIR,\n"
"                         which is the server's to change and has no processes\n"
"  --memory-max=SIZE      memory of a context's processes (default 8G), in it\n"
"  --pids-max=N           processes and threads of a context (default 1024)\n"
"  --sandbox=on|off       off: let drivers make any system call and open any\n"
"                         file of the workers' user, to find out what one needs;\n"
"                         guests can as well, if their kernels run on a CPU or\n"
"                         find a bug, and can keep memory that was taken back\n"
"  --log-level=LEVEL      error, warn, info (default) or debug\n"
"  --help, --version      tell and exit\n"
"\n"
"SIGUSR1 has it show its limits and what each context has and does.\n";

/* One sentence and the way out. */
static void __attribute__((noreturn, format(printf, 1, 2)))
usage_error(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vcs_err("%s", text);
	exit(VCS_EXIT_USAGE);
}

static int parse_number(const char *option, const char *text, long min,
			long max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max)
		usage_error("%s=%s: expected a number from %ld to %ld", option,
			    text, min, max);
	return (int)n;
}

static uint64_t parse_size(const char *option, const char *text)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (errno || *text < '0' || *text > '9' || *end || !n ||
	    n > UINT64_MAX >> shift)
		usage_error("%s=%s: expected a size in bytes, or with K, M, G or T behind it",
			    option, text);
	return (uint64_t)n << shift;
}

static void parse_options(int argc, char **argv, struct options *opt,
			  struct vcs_config *cfg)
{
	enum {
		SOCKET_PATH = 256, FD, BACKEND, DEVICE, USER, BUILD_TIMEOUT,
		MAX_RESOURCES, MAX_REGISTERED, MAX_PROGRAMS, CGROUP,
		MEMORY_MAX, PIDS_MAX, SANDBOX, LOG_LEVEL, HELP, VERSION,
	};
	static const struct option longopts[] = {
		{ "socket-path", required_argument, NULL, SOCKET_PATH },
		{ "fd", required_argument, NULL, FD },
		{ "backend", required_argument, NULL, BACKEND },
		{ "device", required_argument, NULL, DEVICE },
		{ "user", required_argument, NULL, USER },
		{ "build-timeout", required_argument, NULL, BUILD_TIMEOUT },
		{ "max-resources", required_argument, NULL, MAX_RESOURCES },
		{ "max-registered", required_argument, NULL, MAX_REGISTERED },
		{ "max-programs", required_argument, NULL, MAX_PROGRAMS },
		{ "cgroup", required_argument, NULL, CGROUP },
		{ "memory-max", required_argument, NULL, MEMORY_MAX },
		{ "pids-max", required_argument, NULL, PIDS_MAX },
		{ "sandbox", required_argument, NULL, SANDBOX },
		{ "log-level", required_argument, NULL, LOG_LEVEL },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ }
	};
	int c, level;

	/* getopt's own messages do not look like ours. */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longopts, NULL)) != -1) {
		switch (c) {
		case SOCKET_PATH:
			opt->socket_path = optarg;
			break;
		case FD:
			opt->fd = parse_number("--fd", optarg, 0, INT_MAX);
			break;
		case BACKEND:
			cfg->service = vcs_service_find(optarg);
			if (!cfg->service)
				usage_error("--backend=%s: there are 'opencl', 'hsakmt' and 'sim'",
					    optarg);
			break;
		case DEVICE:
			cfg->device = optarg;
			break;
		case USER:
			opt->user = optarg;
			break;
		case BUILD_TIMEOUT:
			cfg->build_timeout_ms = 1000 *
				parse_number("--build-timeout", optarg, 1,
					     VCS_MAX_BUILD_TIMEOUT);
			break;
		case MAX_RESOURCES:
			cfg->limits.max_resources = (uint32_t)
				parse_number("--max-resources", optarg, 1,
					     VCS_MAX_COUNT);
			break;
		case MAX_REGISTERED:
			cfg->limits.max_registered =
				parse_size("--max-registered", optarg);
			break;
		case MAX_PROGRAMS:
			cfg->limits.max_programs = (uint32_t)
				parse_number("--max-programs", optarg, 1,
					     VCS_MAX_COUNT);
			break;
		case CGROUP:
			if (optarg[0] != '/')
				usage_error("--cgroup=%s: expected an absolute path",
					    optarg);
			cfg->cgroup = optarg;
			break;
		case MEMORY_MAX:
			cfg->memory_max = parse_size("--memory-max", optarg);
			break;
		case PIDS_MAX:
			cfg->pids_max = (unsigned int)
				parse_number("--pids-max", optarg, 1, INT_MAX);
			break;
		case SANDBOX:
			if (strcmp(optarg, "on") && strcmp(optarg, "off"))
				usage_error("--sandbox=%s: expected on or off",
					    optarg);
			cfg->sandbox = !strcmp(optarg, "on");
			break;
		case LOG_LEVEL:
			level = vcs_log_level_parse(optarg);
			if (level < 0)
				usage_error("--log-level=%s: expected error, warn, info or debug",
					    optarg);
			vcs_log_set_level((enum vcs_log_level)level);
			break;
		case HELP:
			fputs(help, stdout);
			exit(EXIT_SUCCESS);
		case VERSION:
			puts("vgpu-compute-server " VCS_VERSION);
			exit(EXIT_SUCCESS);
		case ':':
			usage_error("%s needs a value; see --help",
				    argv[optind - 1]);
		default:
			usage_error("unknown option %s; see --help",
				    argv[optind - 1]);
		}
	}
	if (optind < argc)
		usage_error("unexpected argument '%s'; see --help",
			    argv[optind]);
	if (cfg->device && !cfg->service->has_devices)
		usage_error("--device=%s: --backend=%s has one device",
			    cfg->device, cfg->service->name);
	cfg->compiler = cfg->service->compiles;
	if (!opt->socket_path == (opt->fd < 0))
		usage_error("expected either --socket-path=PATH or --fd=N; see --help");
}

/* Whom the workers become. */
static void choose_user(const struct options *opt, struct vcs_config *cfg)
{
	const char *name = opt->user ? opt->user : "nobody";
	struct passwd *pw;

	if (geteuid() && !opt->user) {
		cfg->uid = geteuid();
		return;
	}
	errno = 0;
	pw = getpwnam(name);
	if (!pw)
		usage_error("--user=%s: %s", name,
			    errno ? strerror(errno) : "there is no such user");
	if (!pw->pw_uid)
		usage_error("--user=%s: workers run code of the guest, name an unprivileged user",
			    name);
	if (geteuid()) {
		if (pw->pw_uid != geteuid())
			usage_error("--user=%s: only root can start workers of another user",
				    name);
		cfg->uid = geteuid();
		return;
	}
	cfg->drop = true;
	cfg->uid = pw->pw_uid;
	cfg->gid = pw->pw_gid;
	cfg->nr_groups = VCS_MAX_GROUPS;
	if (getgrouplist(name, pw->pw_gid, cfg->groups, &cfg->nr_groups) < 0)
		usage_error("--user=%s: the user is in more than %d groups, name another",
			    name, VCS_MAX_GROUPS);
}

static bool is_socket(int fd, bool *listening)
{
	int domain, value;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	    domain != AF_UNIX)
		return false;
	len = sizeof(value);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) ||
	    value != SOCK_STREAM)
		return false;
	len = sizeof(value);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len))
		return false;
	*listening = value;
	return true;
}

/* A socket file that nobody listens on is left from a server that was killed. */
static bool is_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int listen_on(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, ret;

	/* Its length was checked. */
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (is_stale(&addr))
		unlink(path);
	/* Who may connect may compute: the server's own user. */
	mask = umask(077);
	ret = bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (ret) {
		ret = -errno;
		goto err;
	}
	if (listen(fd, 1)) {
		ret = -errno;
		unlink(path);
		goto err;
	}
	return fd;
err:
	close(fd);
	return ret;
}

/* The one connection, -ECANCELED when a signal came first. */
static int accept_one(int fd, int signals)
{
	int conn, ret;

	for (;;) {
		ret = vcs_signals_wait(signals, fd, -1);
		if (ret < 0)
			return ret;
		conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (conn >= 0 || (errno != EINTR && errno != ECONNABORTED))
			return conn < 0 ? -errno : conn;
	}
}

/* From the probe to QEMU's end. */
static int run(const struct options *opt, struct vcs_config *cfg, int signals)
{
	bool listening = false;
	struct vcs_service_info info = { 0 };
	int fd = opt->fd, conn, ret;

	ret = cfg->service->probe(cfg, signals, &info);
	if (ret)
		return ret == -ECANCELED ? 0 : ret;

	if (opt->socket_path) {
		fd = listen_on(opt->socket_path);
		if (fd < 0) {
			vcs_err("--socket-path=%s: %s", opt->socket_path,
				strerror(-fd));
			return fd;
		}
		listening = true;
	} else {
		is_socket(fd, &listening);
	}

	vcs_info("%s on '%s', %s%s", cfg->service->name, info.device,
		 opt->socket_path ? "waiting for QEMU on " : "for QEMU",
		 opt->socket_path ? opt->socket_path : "");
	if (!cfg->sandbox)
		vcs_warn("--sandbox=off: only for guests that may do what the user of the workers may");
	else if (!vcs_landlock_available())
		vcs_warn("this kernel has no Landlock (5.19): guests can read what every user of the host can");
	if (info.warning)
		vcs_warn("%s", info.warning);

	conn = fd;
	if (listening) {
		conn = accept_one(fd, signals);
		close(fd);
	}
	if (conn >= 0) {
		ret = vcs_spawner_run(conn, signals, cfg);
		close(conn);
	} else if (conn != -ECANCELED) {
		ret = conn;
		vcs_err("cannot accept a connection: %s", strerror(-ret));
	}
	if (opt->socket_path)
		unlink(opt->socket_path);
	return ret;
}

int main(int argc, char **argv)
{
	struct options opt = { .fd = -1 };
	struct vcs_config cfg = {
		.service = &vcs_service_opencl,
		.sandbox = true,
		.build_timeout_ms = VCS_BUILD_TIMEOUT_MS,
		.limits = VCS_LIMITS_DEFAULT,
		.memory_max = VCS_MEMORY_MAX,
		.pids_max = VCS_PIDS_MAX,
		.server = getpid(),
	};
	int signals, ret;
	bool listening;

	parse_options(argc, argv, &opt, &cfg);
	choose_user(&opt, &cfg);
	if (opt.fd >= 0 && !is_socket(opt.fd, &listening))
		usage_error("--fd=%d: not an open unix stream socket", opt.fd);
	if (opt.socket_path && (!opt.socket_path[0] ||
	    strlen(opt.socket_path) >=
	    sizeof(((struct sockaddr_un *)NULL)->sun_path)))
		usage_error("--socket-path=%s: a path of 1 to %zu bytes is possible",
			    opt.socket_path,
			    sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);

	/* What a killed helper leaves behind comes to us to be reaped. */
	signals = vcs_signals_block();
	ret = signals < 0 ? signals : 0;
	if (!ret && prctl(PR_SET_CHILD_SUBREAPER, 1))
		ret = -errno;
	if (ret) {
		vcs_err("cannot start: %s", strerror(-ret));
		return VCS_EXIT_FAILURE;
	}
	if (vcs_cgroup_setup(&cfg))
		return VCS_EXIT_FAILURE;
	ret = vcs_scratch_create(&cfg);
	if (ret) {
		vcs_err("cannot make a directory in $TMPDIR or /tmp: %s",
			strerror(-ret));
		return VCS_EXIT_FAILURE;
	}
	ret = run(&opt, &cfg, signals);
	vcs_scratch_destroy(&cfg);
	return ret ? VCS_EXIT_FAILURE : EXIT_SUCCESS;
}
