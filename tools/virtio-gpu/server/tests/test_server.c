// SPDX-License-Identifier: MIT
/*
 * The server as QEMU sees it: real processes, real OpenCL
 */
#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "vcs_landlock.h"
#include "vcs_scratch.h"

static const char source[] =
	"__kernel void scale(__global const uint *in, __global uint *out,\n"
	"                    uint n)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	out[i] = in[i] * n;\n"
	"}\n"
	"__kernel void sum(__global const uint *in, __global uint *out,\n"
	"                  __local uint *tmp)\n"
	"{\n"
	"	size_t l = get_local_id(0);\n"
	"	tmp[l] = in[get_global_id(0)];\n"
	"	barrier(CLK_LOCAL_MEM_FENCE);\n"
	"	if (!l) {\n"
	"		uint s = 0;\n"
	"		for (uint i = 0; i < get_local_size(0); i++)\n"
	"			s += tmp[i];\n"
	"		out[get_group_id(0)] = s;\n"
	"	}\n"
	"}\n"
	"__kernel void spin(volatile __global uint *p)\n"
	"{\n"
	"	while (!p[0])\n"
	"		p[1]++;\n"
	"}\n";

/*
 * System calls from OpenCL C: what a hostile kernel on a CPU can do. PoCL 6
 * has assembly only in functions that are not inlined.
 */
static const char attack_source[] =
	"__attribute__((noinline)) long call(__global long *p)\n"
	"{\n"
	"	long ret = p[0];\n"
	"	__asm__ volatile(\"mov %4, %%r10\\n\\t\"\n"
	"			 \"xor %%r8d, %%r8d\\n\\txor %%r9d, %%r9d\\n\\t\"\n"
	"			 \"syscall\" : \"+a\"(ret)\n"
	"		: \"D\"(p[1]), \"S\"(p[2]), \"d\"(p[3]), \"r\"(p[4])\n"
	"		: \"r8\", \"r9\", \"r10\", \"rcx\", \"r11\", \"memory\");\n"
	"	return ret;\n"
	"}\n"
	"__kernel void attack(__global long *p)\n"
	"{\n"
	"	p[0] = call(p);\n"
	"}\n"
	"__kernel void attack_path(__global long *p, __global char *path)\n"
	"{\n"
	"	p[1] = (long)path;\n"
	"	p[0] = call(p);\n"
	"}\n"
	"__kernel void attack_at(__global long *p, __global char *path)\n"
	"{\n"
	"	p[2] = (long)path;\n"
	"	p[0] = call(p);\n"
	"}\n";

static struct server server;

static int start(void **state)
{
	(void)state;
	server_start(&server, NULL, NULL);
	return 0;
}

/* A zombie that nobody reaps has done all it will. */
static void wait_until_gone(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (i = 0; i < TIMEOUT_MS / 10; i++) {
		f = fopen(path, "r");
		if (!f)
			return;
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(f);
		if (state == 'Z')
			return;
		usleep(10000);
	}
	fail_msg("process %d is still there", pid);
}

static void computes_on_the_memory_itself(void **state)
{
	size_t words = page_size() / sizeof(uint32_t), i, w;
	struct virtio_gpu_compute_arg res[2];
	struct memory in, out;
	uint32_t n = 3;
	struct ctx c;

	(void)state;
	memory_create(&in, 64);
	memory_create(&out, 64);
	for (i = 0; i < 64; i++)
		for (w = 0; w < words; w++)
			((uint32_t *)memory_page(&in, i))[w] =
				(uint32_t)(i * words + w);

	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &in, true), 0);
	assert_int_equal(map_memory(&c, 2, &out, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);
	res[0] = arg_res(1, 0, 0);
	res[1] = arg_res(2, 0, 0);
	assert_int_equal(launch(&c, 1, "scale", 64 * words, res, 2, &n), 0);
	for (i = 0; i < 64; i++)
		for (w = 0; w < words; w++)
			assert_int_equal(((uint32_t *)memory_page(&out, i))[w],
					 (uint32_t)(i * words + w) * 3);

	/* What the guest writes between launches is seen, too. */
	((uint32_t *)memory_page(&in, 5))[7] = 1000;
	n = 7;
	assert_int_equal(launch(&c, 1, "scale", 64 * words, res, 2, &n), 0);
	assert_int_equal(((uint32_t *)memory_page(&out, 5))[7], 7000);

	assert_int_equal(unmap(&c, 1), 0);
	assert_int_equal(launch(&c, 1, "scale", 64 * words, res, 2, &n),
			 -ENOENT);
	assert_int_equal(unmap(&c, 2), 0);
	assert_int_equal(unmap(&c, 2), ENOENT);
	ctx_close(&c);
	memory_destroy(&in);
	memory_destroy(&out);
}

static void reports_time_and_no_copy(void **state)
{
	const struct virtio_gpu_compute_launch_rsp *rsp;
	struct virtio_gpu_compute_arg res[2];
	struct memory m;
	uint32_t n = 1;
	struct ctx c;

	(void)state;
	memory_create(&m, 4);
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);
	res[0] = arg_res(1, 0, 0);
	res[1] = arg_res(1, 0, 0);
	assert_int_equal(launch(&c, 1, "scale", 64, res, 2, &n), 0);
	rsp = response(&c);
	assert_int_equal(le32toh(rsp->hdr.len), sizeof(*rsp));
	assert_true(le64toh(rsp->device_ns) > 0);
	assert_int_equal(le64toh(rsp->copied), 0);
	ctx_close(&c);
	memory_destroy(&m);
}

static void offsets_select_a_part(void **state)
{
	struct virtio_gpu_compute_arg res[2];
	struct memory m;
	uint32_t n = 2, *in, *out;
	struct ctx c;

	(void)state;
	memory_create(&m, 2);
	in = (uint32_t *)memory_page(&m, 0);
	out = (uint32_t *)memory_page(&m, 1);
	in[0] = 21;
	out[0] = 5;
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);
	res[0] = arg_res(1, 0, page_size());
	res[1] = arg_res(1, page_size(), page_size() / 2);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 2, &n), 0);
	assert_int_equal(out[0], 42);
	assert_int_equal(in[0], 21);

	/* Not where the device's alignment wants it. */
	res[1] = arg_res(1, 4, 0);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 2, &n), -EINVAL);
	ctx_close(&c);
	memory_destroy(&m);
}

/* PoCL has one kernel binary for every work-group size: also with barriers. */
static void work_groups_of_any_size(void **state)
{
	static const uint32_t sizes[] = { 1, 8, 13, 64, 0 };
	struct {
		struct virtio_gpu_compute_launch req;
		struct virtio_gpu_compute_arg args[3];
	} msg;
	struct memory in, out;
	uint32_t *data, *sums;
	size_t s, i, j;
	struct ctx c;

	(void)state;
	memory_create(&in, 1);
	memory_create(&out, 1);
	data = (uint32_t *)memory_page(&in, 0);
	sums = (uint32_t *)memory_page(&out, 0);
	for (i = 0; i < 832; i++)
		data[i] = (uint32_t)(i * i);
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &in, true), 0);
	assert_int_equal(map_memory(&c, 2, &out, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);

	for (s = 0; sizes[s]; s++) {
		memset(&msg, 0, sizeof(msg));
		msg.req.program_id = htole32(1);
		msg.req.work_dim = htole32(1);
		msg.req.nr_args = htole32(3);
		msg.req.global[0] = htole64(832);
		msg.req.global[1] = msg.req.global[2] = htole64(1);
		msg.req.local[0] = htole64(sizes[s]);
		msg.req.local[1] = msg.req.local[2] = htole64(1);
		strcpy(msg.req.kernel, "sum");
		msg.args[0] = arg_res(1, 0, 0);
		msg.args[1] = arg_res(2, 0, 0);
		msg.args[2].type = htole32(VIRTIO_GPU_COMPUTE_ARG_LOCAL);
		msg.args[2].size = htole64(4 * sizes[s]);
		assert_int_equal(request(&c, &msg, sizeof(msg),
					 VIRTIO_GPU_COMPUTE_LAUNCH), 0);
		for (i = 0; i < 832 / sizes[s]; i++) {
			uint32_t want = 0;

			for (j = 0; j < sizes[s]; j++)
				want += data[i * sizes[s] + j];
			assert_int_equal(sums[i], want);
		}
	}
	ctx_close(&c);
	memory_destroy(&in);
	memory_destroy(&out);
}

static void query_describes_the_device(void **state)
{
	const struct virtio_gpu_compute_query_rsp *rsp;
	struct virtio_gpu_compute_req req;
	struct ctx c;

	(void)state;
	ctx_create(&server, &c);
	assert_int_equal(request(&c, &req, sizeof(req),
				 VIRTIO_GPU_COMPUTE_QUERY), 0);
	rsp = response(&c);
	assert_int_equal(le32toh(rsp->hdr.len), sizeof(*rsp));
	assert_true(le32toh(rsp->compute_units) > 0);
	assert_true(le32toh(rsp->max_work_group) > 0);
	assert_true(le64toh(rsp->max_alloc) > 0);
	assert_true(rsp->device[0] && memchr(rsp->device, 0, 128));
	assert_true(rsp->platform[0] && memchr(rsp->platform, 0, 128));
	assert_string_equal(rsp->backend, "opencl");
	ctx_close(&c);
}

static void build_log_comes_back(void **state)
{
	const struct virtio_gpu_compute_build_rsp *rsp;
	struct ctx c;

	(void)state;
	ctx_create(&server, &c);
	assert_int_equal(build(&c, 1, "__kernel void f() { nonsense; }", ""),
			 -ENOEXEC);
	rsp = response(&c);
	assert_true(le32toh(rsp->log_len) > 0);
	assert_int_equal(le32toh(rsp->hdr.len),
			 sizeof(*rsp) + le32toh(rsp->log_len));
	assert_non_null(memmem(rsp->log, le32toh(rsp->log_len), "nonsense", 8));
	/* The id is free, and the context works. */
	assert_int_equal(build(&c, 1, source, ""), 0);
	assert_int_equal(build(&c, 1, source, ""), -EEXIST);
	assert_int_equal(build(&c, 2, source, "-no-such-option"), -EINVAL);
	assert_int_equal(build(&c, 2, source, "-DX=1 -cl-fast-relaxed-math"),
			 0);
	ctx_close(&c);
}

/* A value where a buffer belongs would be a pointer of the guest's choice. */
static void arguments_must_fit_the_kernel(void **state)
{
	struct {
		struct virtio_gpu_compute_launch req;
		struct virtio_gpu_compute_arg arg;
		uint64_t value;
	} pointer = {
		.req = {
			.program_id = htole32(1),
			.work_dim = htole32(1),
			.nr_args = htole32(1),
			.data_len = htole32(8),
			.global = { htole64(1), htole64(1), htole64(1) },
			.kernel = "spin",
		},
	};
	struct virtio_gpu_compute_arg res[3];
	uint32_t n = 1;
	struct memory m;
	struct ctx c;

	(void)state;
	memory_create(&m, 1);
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);
	res[0] = res[1] = res[2] = arg_res(1, 0, 0);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 3, NULL), -EINVAL);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 1, NULL), -EINVAL);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 1, &n), -EINVAL);
	assert_int_equal(launch(&c, 1, "spin", 1, NULL, 0, &n), -EINVAL);
	/* Of a pointer's size. */
	pointer.arg.type = htole32(VIRTIO_GPU_COMPUTE_ARG_BYTES);
	pointer.arg.size = htole64(8);
	pointer.value = 0x12345678;
	assert_int_equal(request(&c, &pointer, sizeof(pointer),
				 VIRTIO_GPU_COMPUTE_LAUNCH), -EINVAL);
	assert_int_equal(launch(&c, 1, "nothing", 1, res, 2, &n), -ENOENT);
	res[1].type = htole32(VIRTIO_GPU_COMPUTE_ARG_LOCAL);
	res[1].res_id = 0;
	res[1].size = htole64(64);
	assert_int_equal(launch(&c, 1, "scale", 1, res, 2, &n), -EINVAL);
	assert_int_equal(build(&c, 2, "__kernel void f(read_only image2d_t i,"
			       " __global uint *o) { o[0] = 1; }", ""), 0);
	res[1] = res[0];
	assert_int_equal(launch(&c, 2, "f", 1, res, 2, NULL), -EOPNOTSUPP);
	ctx_close(&c);
	memory_destroy(&m);
}

static void writing_read_only_memory_ends_that_context_only(void **state)
{
	struct virtio_gpu_compute_arg res[2];
	struct ctx victim, other;
	uint32_t n = 1;
	struct memory m;

	(void)state;
	memory_create(&m, 1);
	m.addr[0] = 77;
	ctx_create(&server, &other);
	assert_int_equal(build(&other, 1, source, ""), 0);
	ctx_create(&server, &victim);
	assert_int_equal(map_memory(&victim, 1, &m, true), 0);
	assert_int_equal(build(&victim, 1, source, ""), 0);
	res[0] = res[1] = arg_res(1, 0, 0);
	launch_async(&victim, 1, "scale", 1, res, 2, &n);
	expect_eof(victim.sock);
	expect_dead(victim.pidfd);
	assert_int_equal(m.addr[0], 77);

	assert_int_equal(map_memory(&other, 1, &m, false), 0);
	n = 2;
	assert_int_equal(launch(&other, 1, "scale", 1, res, 2, &n), 0);
	assert_int_equal(m.addr[0], 154);
	ctx_close(&victim);
	ctx_close(&other);
	memory_destroy(&m);
}

static void an_aborted_kernel_ends_that_context_only(void **state)
{
	struct virtio_gpu_compute_arg res = arg_res(1, 0, 0);
	struct ctx c, other;
	struct memory m;

	(void)state;
	memory_create(&m, 1);
	ctx_create(&server, &other);
	ctx_create(&server, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(build(&c, 1, "__kernel void f(__global uint *p)"
			       " { p[0] = 5; __builtin_trap(); }", ""), 0);
	launch_async(&c, 1, "f", 1, &res, 1, NULL);
	expect_eof(c.sock);
	expect_dead(c.pidfd);
	ctx_close(&c);
	assert_int_equal(map_memory(&other, 1, &m, false), 0);
	assert_int_equal(unmap(&other, 1), 0);
	ctx_close(&other);
	memory_destroy(&m);
}

static void workers_have_no_rights(void **state)
{
	unsigned int ruid, euid, suid, fsuid;
	char value[128];
	struct ctx c;
	pid_t pid;

	(void)state;
	ctx_create(&server, &c);
	pid = pid_of(c.pidfd);
	proc_status(pid, "Uid", value, sizeof(value));
	assert_int_equal(sscanf(value, "%u %u %u %u", &ruid, &euid, &suid,
				&fsuid), 4);
	assert_true(ruid && euid && suid && fsuid);
	proc_status(pid, "Gid", value, sizeof(value));
	assert_int_equal(sscanf(value, "%u %u %u %u", &ruid, &euid, &suid,
				&fsuid), 4);
	assert_true(ruid && euid && suid && fsuid);
	proc_status(pid, "CapPrm", value, sizeof(value));
	assert_int_equal(strtoull(value, NULL, 16), 0);
	proc_status(pid, "CapEff", value, sizeof(value));
	assert_int_equal(strtoull(value, NULL, 16), 0);
	proc_status(pid, "CapInh", value, sizeof(value));
	assert_int_equal(strtoull(value, NULL, 16), 0);
	if (!geteuid()) {
		proc_status(pid, "CapBnd", value, sizeof(value));
		assert_int_equal(strtoull(value, NULL, 16), 0);
	}
	proc_status(pid, "NoNewPrivs", value, sizeof(value));
	assert_string_equal(value, "1");
	proc_status(pid, "Seccomp", value, sizeof(value));
	assert_string_equal(value, "2");
	ctx_close(&c);
}

/* More resources than a worker can have descriptors (512). */
static void windows_keep_no_descriptor(void **state)
{
	struct memory m;
	struct ctx c;
	uint32_t i;

	(void)state;
	memory_create(&m, 8);
	ctx_create(&server, &c);
	for (i = 1; i <= 600; i++) {
		assert_int_equal(map_memory(&c, i, &m, i % 2), 0);
		/* Nor do those that are refused. */
		assert_int_equal(map_memory(&c, i, &m, false), EEXIST);
	}
	ctx_close(&c);
	memory_destroy(&m);
}

struct attack {
	struct ctx c;
	struct memory args;
	struct memory text;
};

static void attack_begin_on(struct server *s, struct attack *a)
{
	memory_create(&a->args, 1);
	memory_create(&a->text, 1);
	ctx_create(s, &a->c);
	assert_int_equal(build(&a->c, 1, attack_source, ""), 0);
	assert_int_equal(map_memory(&a->c, 1, &a->args, false), 0);
	assert_int_equal(map_memory(&a->c, 2, &a->text, false), 0);
}

static void attack_free(struct attack *a)
{
	ctx_close(&a->c);
	memory_destroy(&a->args);
	memory_destroy(&a->text);
}

/* One context for all tests that it survives: a build takes seconds. */
static struct attack attacker;

static void attack_begin(struct attack *a)
{
	if (!attacker.c.sock)
		attack_begin_on(&server, &attacker);
	*a = attacker;
}

static void attack_end(struct attack *a)
{
	attacker.c.seqno = a->c.seqno;
	unmap(&a->c, 3);
}

static int stop(void **state)
{
	(void)state;
	if (attacker.c.sock)
		attack_free(&attacker);
	assert_int_equal(server_stop(&server), 0);
	return 0;
}

/* What the kernel says to this call of the worker. */
static long attack(struct attack *a, const char *kernel, long nr, long x,
		   long y, long z, const char *text)
{
	struct virtio_gpu_compute_arg res[2];
	long *p = (long *)a->args.addr;

	p[0] = nr;
	p[1] = x;
	p[2] = y;
	p[3] = z;
	if (text)
		strcpy((char *)a->text.addr, text);
	res[0] = arg_res(1, 0, 0);
	res[1] = arg_res(2, 0, 0);
	assert_int_equal(launch(&a->c, 1, kernel, 1, res, text ? 2 : 1, NULL),
			 0);
	return p[0];
}

static void kernels_cannot_make_processes(void **state)
{
	struct attack a;
	long pid;

	(void)state;
	attack_begin(&a);
	pid = pid_of(a.c.pidfd);
	/* The attack as such works. */
	assert_int_equal(attack(&a, "attack", SYS_getpid, 0, 0, 0, NULL), pid);
	assert_int_equal(attack(&a, "attack", SYS_fork, 0, 0, 0, NULL), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_vfork, 0, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_clone, SIGCHLD, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_clone, 0x4100 | SIGCHLD, 0, 0,
				NULL), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_clone3, 0, 0, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack_path", SYS_execve, 0, 0, 0,
				"/usr/bin/ld"), -EPERM);
	assert_int_equal(attack(&a, "attack_at", SYS_execveat, -100, 0, 0,
				"/usr/bin/ld"), -EPERM);
	attack_end(&a);
}

static void kernels_cannot_reach_other_processes(void **state)
{
	struct attack a;
	long self, spawner = server.pid;

	(void)state;
	attack_begin(&a);
	self = pid_of(a.c.pidfd);
	assert_int_equal(attack(&a, "attack", SYS_kill, self, 0, 0, NULL), 0);
	assert_int_equal(attack(&a, "attack", SYS_kill, spawner, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_kill, -1, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_kill, 0, 0, 0, NULL), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_tgkill, spawner, spawner, 0,
				NULL), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_tkill, spawner, 0, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_ptrace, 16, spawner, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_process_vm_readv, spawner, 0,
				0, NULL), -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_pidfd_getfd, 0, 0, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_prlimit64, spawner, 0, 0,
				NULL), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_socket, AF_INET, SOCK_STREAM,
				0, NULL), -EACCES);
	assert_int_equal(attack(&a, "attack", SYS_socket, AF_UNIX, SOCK_STREAM,
				0, NULL), -EACCES);
	attack_end(&a);
}

static void kernels_cannot_undo_the_sandbox(void **state)
{
	struct attack a;

	(void)state;
	attack_begin(&a);
	/* PR_SET_PDEATHSIG 0, PR_SET_DUMPABLE 1 */
	assert_int_equal(attack(&a, "attack", SYS_prctl, 1, 0, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_prctl, 4, 1, 0, NULL),
			 -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_setuid, 0, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_setsid, 0, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_personality, 0x0040000, 0, 0,
				NULL), -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_io_uring_setup, 1, 0, 0,
				NULL), -ENOSYS);
	assert_int_equal(attack(&a, "attack", SYS_unshare, 0x10000000, 0, 0,
				NULL), -ENOSYS);
	assert_int_equal(attack(&a, "attack_path", SYS_open, 0,
				O_CREAT | O_RDWR, 0600, "/tmp/vgpu-attack"),
			 -EACCES);
	assert_int_equal(attack(&a, "attack_at", SYS_openat, AT_FDCWD, 0,
				O_CREAT | O_RDWR, "/tmp/vgpu-attack"), -EACCES);
	assert_int_equal(attack(&a, "attack_path", SYS_open, 0,
				O_TMPFILE | O_RDWR, 0600, "/tmp"), -ENOSYS);
	assert_int_equal(attack(&a, "attack_path", SYS_unlink, 0, 0, 0,
				"/tmp/vgpu-attack"), -EACCES);
	assert_int_equal(access("/tmp/vgpu-attack", F_OK), -1);
	attack_end(&a);
}

/* What there is of the memfd @name in a worker's address space. */
static size_t mapped_bytes(pid_t pid, const char *name, const char *prot,
			   unsigned long *start, unsigned long *end)
{
	char path[64], line[512];
	size_t bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		char perms[5];

		if (!strstr(line, name))
			continue;
		print_message("# %s", line);
		assert_int_equal(sscanf(line, "%lx-%lx %4s", start, end, perms),
				 3);
		if (!strcmp(perms, prot))
			bytes += *end - *start;
	}
	fclose(f);
	return bytes;
}

/* Of the guest's memory: what is registered, and no way to more. */
static void workers_have_registered_pages_only(void **state)
{
	size_t page = page_size();
	unsigned long start, end;
	struct memory m, ro, rest;
	char path[300], target[256];
	struct dirent *de;
	struct ctx c;
	int nr = 0;
	pid_t pid;
	DIR *dir;

	(void)state;
	/* A worker's maps are root's to read. */
	if (geteuid())
		skip();
	memory_create(&m, 8);
	memory_create(&ro, 4);
	memory_create(&rest, 2);
	ctx_create(&server, &c);
	pid = pid_of(c.pidfd);
	/* Some that was there, and is no more. */
	assert_int_equal(map_memory(&c, 3, &rest, false), 0);
	assert_int_equal(mapped_bytes(pid, "memfd:ram", "rw-s", &start, &end),
			 2 * page);
	assert_int_equal(unmap(&c, 3), 0);
	assert_int_equal(mapped_bytes(pid, "memfd:ram", "rw-s", &start, &end),
			 0);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(map_memory(&c, 2, &ro, true), 0);
	assert_int_equal(mapped_bytes(pid, "memfd:ram", "rw-s", &start, &end),
			 8 * page);
	assert_int_equal(mapped_bytes(pid, "memfd:ram", "r--s", &start, &end),
			 4 * page);

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((de = readdir(dir))) {
		ssize_t len;

		if (de->d_name[0] == '.')
			continue;
		len = readlinkat(dirfd(dir), de->d_name, target,
				 sizeof(target) - 1);
		assert_true(len > 0);
		target[len] = '\0';
		print_message("# fd %s: %s\n", de->d_name, target);
		nr++;
		assert_null(strstr(target, "memfd:"));
		/* Standard error is the server's. */
		assert_true(!strcmp(target, "/dev/null") ||
			    !strncmp(target, "socket:", 7) ||
			    !strcmp(de->d_name, "2"));
	}
	closedir(dir);
	/* Those of stdio, QEMU's and the compile helper's sockets. */
	assert_int_equal(nr, 5);

	ctx_close(&c);
	memory_destroy(&m);
	memory_destroy(&ro);
	memory_destroy(&rest);
}

static void guests_cannot_read_files_of_the_host(void **state)
{
	const struct virtio_gpu_compute_build_rsp *rsp;
	struct attack a;
	struct ctx c;
	long fd;

	(void)state;
	if (!vcs_landlock_available())
		skip();
	ctx_create(&server, &c);
	assert_int_equal(build(&c, 1, "#include \"/etc/passwd\"\n", ""),
			 -ENOEXEC);
	rsp = response(&c);
	assert_null(memmem(rsp->log, le32toh(rsp->log_len), "root:", 5));
	ctx_close(&c);

	attack_begin(&a);
	assert_int_equal(attack(&a, "attack_path", SYS_open, 0, 0, 0,
				"/etc/passwd"), -EACCES);
	assert_int_equal(attack(&a, "attack_path", SYS_open, 0, 0, 0,
				"/proc/1/cmdline"), -EACCES);
	assert_int_equal(attack(&a, "attack_path", SYS_open, 0, 0, 0, "/tmp"),
			 -EACCES);
	/* Libraries have to be. */
	fd = attack(&a, "attack_path", SYS_open, 0, 0, 0, "/usr/lib");
	assert_true(fd >= 0);
	attack_end(&a);
}

/* On resource 3, what @nr says to (address, x, y, z). */
static long attack_window(struct attack *a, long nr, long x, long y, long z)
{
	struct virtio_gpu_compute_arg res[2];
	long *p = (long *)a->args.addr;

	p[0] = nr;
	p[2] = x;
	p[3] = y;
	p[4] = z;
	res[0] = arg_res(1, 0, 0);
	res[1] = arg_res(3, 0, 0);
	assert_int_equal(launch(&a->c, 1, "attack_path", 1, res, 2, NULL), 0);
	return p[0];
}

/* Their neighbours in RAM are somebody else's. */
static void kernels_cannot_grow_or_reopen_a_window(void **state)
{
	long page = (long)page_size(), fd;
	unsigned long start, end;
	struct memory m;
	struct attack a;
	char path[64];

	(void)state;
	attack_begin(&a);
	memory_create(&m, 1);
	/* There is more of the file. */
	assert_int_equal(ftruncate(m.fd, 4 * page), 0);
	assert_int_equal(map_memory(&a.c, 3, &m, false), 0);
	/* MREMAP_MAYMOVE */
	assert_int_equal(attack_window(&a, SYS_mremap, page, 2 * page, 1),
			 -ENOSYS);
	/* Without that it had to be where something else is. */
	assert_int_equal(attack_window(&a, SYS_mremap, page, 2 * page, 0),
			 -ENOSYS);
	assert_int_equal(attack_window(&a, SYS_remap_file_pages, page, 0, 1),
			 -ENOSYS);

	if (!geteuid()) {
		mapped_bytes(pid_of(a.c.pidfd), "memfd:ram", "rw-s", &start,
			     &end);
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
			 start, end);
		assert_int_equal(attack(&a, "attack_path", SYS_open, 0, O_RDWR,
					0, path), -EPERM);
	}
	/* Writes read-only memory, where the kernel lets it. */
	fd = attack(&a, "attack_path", SYS_open, 0, O_RDWR, 0,
		    "/proc/self/mem");
	if (vcs_landlock_available())
		assert_int_equal(fd, -EACCES);
	assert_int_equal(attack(&a, "attack_path", SYS_chmod, 0, 0600, 0,
				"/proc/self/fd/0"), -EPERM);
	assert_int_equal(attack(&a, "attack", SYS_fchmod, 0, 0600, 0, NULL),
			 -EPERM);
	attack_end(&a);
	memory_destroy(&m);
}

/* Of what no limit of a process counts. */
static void kernels_cannot_hoard_memory(void **state)
{
	long *flags, size = (long)page_size();
	struct attack a;

	(void)state;
	attack_begin(&a);
	flags = (long *)a.args.addr + 4;
	*flags = MAP_PRIVATE | MAP_ANONYMOUS;
	assert_true(attack(&a, "attack", SYS_mmap, 0, size, PROT_READ, NULL) >
		    0);
	*flags = MAP_SHARED | MAP_ANONYMOUS;
	assert_int_equal(attack(&a, "attack", SYS_mmap, 0, size, PROT_READ,
				NULL), -ENOSYS);
	*flags = MAP_SHARED_VALIDATE | MAP_ANONYMOUS;
	assert_int_equal(attack(&a, "attack", SYS_mmap, 0, size, PROT_READ,
				NULL), -ENOSYS);
	assert_int_equal(attack(&a, "attack_path", SYS_memfd_create, 0, 0, 0,
				"hoard"), -ENOSYS);
	attack_end(&a);
}

/* The limit of private memory, which a server with a sanitizer has not. */
static void workers_that_hoard_get_enomem(void **state)
{
	const char *sanitized = getenv("VCS_SERVER");
	const char *plain = getenv("VCS_PLAIN_SERVER");
	char path[4096];
	struct server s;
	struct attack a;
	long *flags;

	(void)state;
	if (!plain)
		skip();
	snprintf(path, sizeof(path), "%s", sanitized);
	setenv("VCS_SERVER", plain, 1);
	server_start(&s, "--log-level=error", NULL);
	setenv("VCS_SERVER", path, 1);
	attack_begin_on(&s, &a);
	flags = (long *)a.args.addr + 4;
	*flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	assert_true(attack(&a, "attack", SYS_mmap, 0, 1L << 30,
			   PROT_READ | PROT_WRITE, NULL) > 0);
	assert_int_equal(attack(&a, "attack", SYS_mmap, 0,
				(4L << 30) + (16L << 20) * get_nprocs(),
				PROT_READ | PROT_WRITE, NULL), -ENOMEM);
	assert_int_equal(build(&a.c, 2, source, ""), 0);
	attack_free(&a);
	assert_int_equal(server_stop(&s), 0);
}

/* What there is to be denied, and the way out for drivers that need it. */
static void without_a_sandbox(void **state)
{
	char value[32];
	struct server s;
	struct attack a;
	long fd;

	(void)state;
	server_start(&s, "--sandbox=off", "--log-level=error");
	attack_begin_on(&s, &a);
	fd = attack(&a, "attack", SYS_socket, AF_UNIX, SOCK_STREAM, 0, NULL);
	assert_true(fd >= 0);
	assert_int_equal(attack(&a, "attack", SYS_personality, 0x0040000, 0, 0,
				NULL), 0);
	fd = attack(&a, "attack_path", SYS_open, 0, O_RDONLY, 0, "/etc/passwd");
	assert_true(fd >= 0);
	proc_status(pid_of(a.c.pidfd), "Seccomp", value, sizeof(value));
	assert_string_equal(value, "0");
	/* Still nobody. */
	assert_int_equal(attack(&a, "attack", SYS_setuid, 0, 0, 0, NULL),
			 -EPERM);
	proc_status(pid_of(a.c.pidfd), "NoNewPrivs", value, sizeof(value));
	assert_string_equal(value, "1");
	attack_free(&a);
	assert_int_equal(server_stop(&s), 0);
}

static void kernels_cannot_make_a_window_writable(void **state)
{
	struct memory m;
	struct attack a;

	(void)state;
	attack_begin(&a);
	memory_create(&m, 1);
	assert_int_equal(map_memory(&a.c, 3, &m, true), 0);
	assert_int_equal(attack_window(&a, SYS_mprotect, (long)page_size(),
				       PROT_READ | PROT_WRITE, 0), -EACCES);
	attack_end(&a);
	memory_destroy(&m);
}

/* A context whose worker is in a kernel that does not end. */
static void ctx_create_endless(struct server *s, struct ctx *c,
			       struct memory *m)
{
	volatile uint32_t *p;
	struct virtio_gpu_compute_arg res = arg_res(1, 0, 0);

	memory_create(m, 1);
	p = (volatile uint32_t *)m->addr;
	ctx_create(s, c);
	assert_int_equal(map_memory(c, 1, m, false), 0);
	assert_int_equal(build(c, 1, source, ""), 0);
	launch_async(c, 1, "spin", 1, &res, 1, NULL);
	while (!p[1])
		usleep(1000);
}

/* Nobody writes it any more. */
static void expect_quiet(const struct memory *m)
{
	volatile uint32_t *p = (volatile uint32_t *)m->addr;
	uint32_t last = p[1];

	usleep(20000);
	assert_int_equal(p[1], last);
}

static void killed_worker_in_mid_computation(void **state)
{
	struct ctx c, other;
	struct memory m;

	(void)state;
	ctx_create_endless(&server, &c, &m);
	assert_int_equal(syscall(SYS_pidfd_send_signal, c.pidfd, SIGKILL, NULL,
				 0), 0);
	expect_dead(c.pidfd);
	expect_quiet(&m);
	expect_eof(c.sock);
	ctx_close(&c);

	ctx_create(&server, &other);
	assert_int_equal(build(&other, 1, source, ""), 0);
	ctx_close(&other);
	memory_destroy(&m);
}

static void ctx_kill_ends_a_context(void **state)
{
	struct vgpu_msg_hdr kill_msg = {
		.type = VGPU_MSG_CTX_KILL,
		.size = sizeof(kill_msg),
	};
	struct ctx c, other;
	struct memory m;

	(void)state;
	ctx_create_endless(&server, &c, &m);
	ctx_create(&server, &other);
	kill_msg.serial = c.serial;
	send_msg(server.control, &kill_msg, sizeof(kill_msg), NULL, 0);
	expect_dead(c.pidfd);
	expect_quiet(&m);
	memory_destroy(&m);
	/* A context that is gone, or never was. */
	send_msg(server.control, &kill_msg, sizeof(kill_msg), NULL, 0);
	kill_msg.serial = 1;
	send_msg(server.control, &kill_msg, sizeof(kill_msg), NULL, 0);
	ctx_close(&c);
	assert_int_equal(build(&other, 1, source, ""), 0);
	ctx_close(&other);
}

/* Entries of a directory, and of all directories in it. */
static int count_entries(const char *path)
{
	struct dirent *de;
	int n = 0;
	DIR *dir;

	dir = opendir(path);
	assert_non_null(dir);
	while ((de = readdir(dir)))
		n += strcmp(de->d_name, ".") && strcmp(de->d_name, "..");
	closedir(dir);
	return n;
}

static int count_entries_below(const char *path)
{
	struct dirent *de;
	char sub[512];
	int n = 0;
	DIR *dir;

	dir = opendir(path);
	assert_non_null(dir);
	while ((de = readdir(dir))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name);
		n += count_entries(sub);
	}
	closedir(dir);
	return n;
}

static void processes_and_directories_are_back_to_their_count(void **state)
{
	struct ctx c[4];
	int i;

	(void)state;
	wait_for_children(server.pid, 0);
	for (i = 0; i < 4; i++)
		ctx_create(&server, &c[i]);
	assert_int_equal(count_children(server.pid), 8);
	for (i = 0; i < 4; i++)
		ctx_close(&c[i]);
	wait_for_children(server.pid, 0);
	/* tmp holds the server's directory, and that nothing. */
	assert_int_equal(count_entries(server.tmp), 1);
	assert_int_equal(count_entries_below(server.tmp), 0);
}

static void refused_resources_leave_nothing(void **state)
{
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 70000);
	server_start_logging(&s, NULL, NULL);
	ctx_create(&s, &c);
	/* More mappings than a process has; all but the first page scattered. */
	assert_int_equal(map_memory(&c, 1, &m, false), E2BIG);
	free(server_said(&s, "raise the sysctl vm.max_map_count (now "));
	memory_destroy(&m);

	memory_create(&m, 4000);
	assert_int_equal(map_memory(&c, 0, &m, false), EINVAL);
	assert_int_equal(map_memory(&c, SHM_RES_ID, &m, false), EEXIST);
	/* In two fragments, and the id is free. */
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(unmap(&c, 1), 0);
	memory_destroy(&m);
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
}

static void a_context_is_a_line_at_both_ends(void **state)
{
	struct vgpu_msg_hdr kill_msg = {
		.type = VGPU_MSG_CTX_KILL,
		.size = sizeof(kill_msg),
	};
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 3);
	server_start_logging(&s, NULL, NULL);
	ctx_create(&s, &c);
	free(server_said(&s, "context 7 'test': begins, capset 12, pid "));
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(map_memory(&c, 2, &m, true), 0);
	assert_int_equal(unmap(&c, 1), 0);
	assert_int_equal(build(&c, 1, "", ""), -EINVAL);
	ctx_close(&c);
	/* The shared blob and both: 16 + 3 + 3 pages. */
	free(server_said(&s, " s, it was closed; pid "));
	free(server_said(&s, ", at most 90112 bytes, 1 submissions\n"));

	ctx_create(&s, &c);
	kill_msg.serial = c.serial;
	send_msg(s.control, &kill_msg, sizeof(kill_msg), NULL, 0);
	/* It would end by itself if its connection did. */
	free(server_said(&s, " s, it was killed; pid "));
	ctx_close(&c);

	ctx_create(&s, &c);
	assert_int_equal(kill(pid_of(c.pidfd), SIGKILL), 0);
	ctx_close(&c);
	free(server_said(&s, " s, its worker died: Killed; pid "));
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

/* Both are there to be seen when the server looks. */
static void a_kill_is_heard_before_the_death_is_seen(void **state)
{
	struct vgpu_msg_hdr kill_msg = {
		.type = VGPU_MSG_CTX_KILL,
		.size = sizeof(kill_msg),
	};
	struct server s;
	struct ctx c;
	int status;

	(void)state;
	server_start_logging(&s, NULL, NULL);
	ctx_create(&s, &c);
	assert_int_equal(kill(s.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(s.pid, &status, WUNTRACED), s.pid);
	kill_msg.serial = c.serial;
	send_msg(s.control, &kill_msg, sizeof(kill_msg), NULL, 0);
	assert_int_equal(kill(pid_of(c.pidfd), SIGKILL), 0);
	expect_dead(c.pidfd);
	assert_int_equal(kill(s.pid, SIGCONT), 0);
	ctx_close(&c);
	free(server_said(&s, " s, it was killed; pid "));
	assert_int_equal(server_stop(&s), 0);
}

/*
 * QEMU kills also what has died by itself, until the GPU has done with it. That
 * is taken, once seen or not, and does not hide why the worker died.
 */
static void a_kill_of_a_dead_worker_is_taken(void **state)
{
	struct vgpu_msg_hdr kill_msg = {
		.type = VGPU_MSG_CTX_KILL,
		.size = sizeof(kill_msg),
	};
	struct server s;
	struct ctx c;
	int status;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		server_start_logging(&s, NULL, NULL);
		ctx_create(&s, &c);
		kill_msg.serial = c.serial;
		if (!i) {
			/* Both are there to be seen: the kill is heard first. */
			assert_int_equal(kill(s.pid, SIGSTOP), 0);
			assert_int_equal(waitpid(s.pid, &status, WUNTRACED),
					 s.pid);
		}
		/* LLVM handles others, and goes on. */
		assert_int_equal(kill(pid_of(c.pidfd), SIGALRM), 0);
		expect_dead(c.pidfd);
		if (i)
			wait_for_children(s.pid, 0);
		send_msg(s.control, &kill_msg, sizeof(kill_msg), NULL, 0);
		if (!i)
			assert_int_equal(kill(s.pid, SIGCONT), 0);
		ctx_close(&c);
		free(server_said(&s, " s, its worker died: Alarm clock; pid "));
		ctx_create(&s, &c);
		ctx_close(&c);
		assert_int_equal(server_stop(&s), 0);
	}
}

/* Also of a worker that answers nobody, and whatever the log level is. */
static void sigusr1_shows_what_there_is(void **state)
{
	struct virtio_gpu_compute_arg res;
	struct ctx busy, idle;
	volatile uint32_t *p;
	struct memory m;
	struct server s;
	pid_t processes[8];
	char line[128];
	int n;

	(void)state;
	memory_create(&m, 3);
	p = (volatile uint32_t *)m.addr;
	server_start_logging(&s, "--log-level=error", "--max-registered=1M");
	assert_int_equal(kill(s.pid, SIGUSR1), 0);
	free(server_said(&s, ": 0 of 256 contexts; each may have 16384 resources of 1048576 bytes and 256 programs, and compile for 30 s"));
	ctx_create(&s, &busy);
	ctx_create(&s, &idle);
	assert_int_equal(map_memory(&busy, 1, &m, false), 0);
	assert_int_equal(build(&busy, 1, source, ""), 0);
	/* Page 2 of the resource is the first of the memory. */
	res = arg_res(1, 2 * page_size(), 0);
	launch_async(&busy, 1, "spin", 1, &res, 1, NULL);
	while (!p[1])
		usleep(1000);
	assert_int_equal(kill(s.pid, SIGUSR1), 0);
	free(server_said(&s, ": 2 of 256 contexts; each may have "));
	snprintf(line, sizeof(line), "context 7 'test': pid %d, ",
		 pid_of(busy.pidfd));
	free(server_said(&s, line));
	free(server_said(&s, " 2 resources of 77824 bytes in 4 of "));
	free(server_said(&s, " 1 programs, 2 submissions, executes LAUNCH for "));
	snprintf(line, sizeof(line), "context 7 'test': pid %d, ",
		 pid_of(idle.pidfd));
	free(server_said(&s, line));
	free(server_said(&s, " 0 programs, 0 submissions, idle\n"));

	/* Sent to all processes of that name, it ends none. */
	n = list_children(s.pid, processes, 8);
	assert_int_equal(n, 4);
	while (n--)
		assert_int_equal(kill(processes[n], SIGUSR1), 0);
	assert_int_equal(build(&idle, 1, source, ""), 0);
	p[0] = 1;
	ctx_close(&busy);
	ctx_close(&idle);
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

/* What was released can be had again. */
static void limits_are_options(void **state)
{
	struct virtio_gpu_compute_release release = { .program_id = htole32(1) };
	struct memory m;
	struct server s;
	struct ctx c;

	(void)state;
	memory_create(&m, 1);
	server_start_logging(&s, "--max-resources=3", "--max-programs=1");
	assert_int_equal(le32toh(s.capset.max_resources), 3);
	assert_int_equal(le32toh(s.capset.max_programs), 1);
	/* With the shared blob. */
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(map_memory(&c, 2, &m, false), 0);
	assert_int_equal(map_memory(&c, 3, &m, false), E2BIG);
	free(server_said(&s, "raise --max-resources"));
	assert_int_equal(unmap(&c, 1), 0);
	assert_int_equal(map_memory(&c, 3, &m, false), 0);
	assert_int_equal(build(&c, 1, source, ""), 0);
	assert_int_equal(build(&c, 2, source, ""), -E2BIG);
	free(server_said(&s, "raise --max-programs"));
	assert_int_equal(request(&c, &release, sizeof(release),
				 VIRTIO_GPU_COMPUTE_RELEASE), 0);
	assert_int_equal(build(&c, 2, source, ""), 0);
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);

	/* All but one page of it beside the shared blob. */
	memory_create(&m, 3);
	server_start_logging(&s, "--max-registered=76K", NULL);
	ctx_create(&s, &c);
	assert_int_equal(map_memory(&c, 1, &m, false), 0);
	assert_int_equal(map_memory(&c, 2, &m, false), E2BIG);
	free(server_said(&s, "raise --max-registered"));
	assert_int_equal(unmap(&c, 1), 0);
	assert_int_equal(map_memory(&c, 2, &m, true), 0);
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
	memory_destroy(&m);
}

static void names_forge_no_lines(void **state)
{
	static const char begin[] = "vgpu-compute-server: ";
	struct server s;
	char *said, *c;
	struct ctx ctx;

	(void)state;
	server_start_logging(&s, NULL, NULL);
	assert_int_equal(ctx_create_named(&s, &ctx, VIRTIO_GPU_CAPSET_COMPUTE,
					  "a\nvgpu\x1b[2J\x9b\xc2\x9b\r': b\x7f"),
			 0);
	assert_int_equal(kill(s.pid, SIGUSR1), 0);
	ctx_close(&ctx);
	said = server_said(&s, "it was closed");
	assert_non_null(strstr(said, "'a?vgpu?[2J?????: b?': begins"));
	assert_int_equal(strncmp(said, begin, strlen(begin)), 0);
	for (c = said; *c; c++) {
		if (*c == '\n')
			assert_true(!c[1] || !strncmp(c + 1, begin,
						      strlen(begin)));
		else
			assert_in_range(*c, ' ', '~');
	}
	free(said);
	assert_int_equal(server_stop(&s), 0);
}

static void broken_message_ends_its_context_only(void **state)
{
	struct vgpu_msg_hdr bad = { .type = 99, .size = sizeof(bad) };
	struct ctx c, other;

	(void)state;
	ctx_create(&server, &other);
	ctx_create(&server, &c);
	send_msg(c.sock, &bad, sizeof(bad), NULL, 0);
	expect_eof(c.sock);
	expect_dead(c.pidfd);
	ctx_close(&c);
	assert_int_equal(build(&other, 1, source, ""), 0);
	ctx_close(&other);
}

static void unknown_capset_is_refused(void **state)
{
	struct ctx c;

	(void)state;
	assert_int_equal(ctx_create_status(&server, &c, 8), EINVAL);
	expect_eof(c.sock);
	ctx_close(&c);
}

static void builders_may_crash_or_hang(void **state)
{
	char endless[2048];
	struct server s;
	struct ctx c;
	size_t len;
	int i;

	(void)state;
	server_start(&s, "--build-timeout=10", "--log-level=error");
	ctx_create(&s, &c);
	assert_int_equal(build(&c, 1, "#pragma clang __debug crash\n", ""),
			 -EIO);
	/* 2^40 tokens */
	for (len = 0, i = 1; i <= 40; i++)
		len += (size_t)sprintf(endless + len, "#define A%d A%d A%d\n",
				       i, i - 1, i - 1);
	sprintf(endless + len, "#define A0 + 0\n#if 0 A40\n#endif\n");
	assert_int_equal(build(&c, 1, endless, ""), -ETIMEDOUT);
	assert_int_equal(build(&c, 1, source, ""), 0);
	ctx_close(&c);
	assert_int_equal(server_stop(&s), 0);
}

/* Contexts of @s are gone when it is. */
static void ends_with_everything(struct server *s, int sig, int want)
{
	struct memory m;
	struct ctx c;

	ctx_create_endless(s, &c, &m);
	if (sig) {
		assert_int_equal(kill(s->pid, sig), 0);
	} else {
		close(s->control);
		s->control = -1;
	}
	expect_dead(c.pidfd);
	assert_int_equal(server_stop(s), want);
	ctx_close(&c);
	memory_destroy(&m);
}

static void end_of_control_ends_everything(void **state)
{
	struct server s;

	(void)state;
	server_start(&s, "--log-level=error", NULL);
	ends_with_everything(&s, 0, 0);
	server_start(&s, "--log-level=error", NULL);
	ends_with_everything(&s, SIGTERM, 0);
	server_start(&s, "--log-level=error", NULL);
	ends_with_everything(&s, SIGINT, 0);
}

/* The process that keeps the connections dies, at any time. */
static void a_killed_qemu_ends_everything(void **state)
{
	struct server s;
	struct memory m;
	struct ctx c;
	int status;
	pid_t pid;

	(void)state;
	server_start(&s, "--log-level=error", NULL);
	ctx_create_endless(&s, &c, &m);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	close(s.control);
	s.control = -1;
	close(c.sock);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	expect_dead(c.pidfd);
	expect_quiet(&m);
	assert_int_equal(server_stop(&s), 0);
	close(c.pidfd);
	munmap(c.shm, SHM_SIZE);
	memory_destroy(&m);
}

/* A child that is no context's: what some process has left to the server. */
static void strays_do_not_keep_the_server(void **state)
{
	char *path = strdup(getenv("VCS_SERVER"));
	char script[] = "/tmp/vgpu-test-XXXXXX";
	int fd = mkstemp(script);
	struct server s;
	int stray = 0;
	FILE *f;

	(void)state;
	assert_non_null(path);
	assert_true(fd >= 0);
	/* Its own name becomes a file with the child's pid. */
	assert_true(dprintf(fd, "#!/bin/sh\nsleep 1000 &\necho $! >'%s.pid'\n"
			    "mv '%s.pid' '%s'\nexec '%s' \"$@\"\n",
			    script, script, script, path) > 0);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	setenv("VCS_SERVER", script, 1);
	server_start(&s, "--log-level=error", NULL);
	setenv("VCS_SERVER", path, 1);
	free(path);

	f = fopen(script, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &stray), 1);
	fclose(f);
	unlink(script);
	assert_int_equal(server_stop(&s), 0);
	wait_until_gone(stray);
}

static void workers_die_with_a_killed_server(void **state)
{
	pid_t processes[8];
	struct ctx c, idle;
	struct server s;
	struct memory m;
	int status, i, n;

	(void)state;
	server_start(&s, "--log-level=error", NULL);
	ctx_create_endless(&s, &c, &m);
	ctx_create(&s, &idle);
	/* Compile helpers, too. */
	n = list_children(s.pid, processes, 8);
	assert_int_equal(n, 4);
	kill(s.pid, SIGKILL);
	expect_dead(c.pidfd);
	expect_dead(idle.pidfd);
	expect_quiet(&m);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	for (i = 0; i < n; i++)
		wait_until_gone(processes[i]);
	close(s.control);
	ctx_close(&c);
	ctx_close(&idle);
	memory_destroy(&m);
	/* Nobody was left to remove it. */
	assert_int_equal(vcs_remove_files(s.tmp, NULL), 0);
}

static void broken_control_message_ends_the_server(void **state)
{
	struct vgpu_msg_hdr bad = { .type = 99, .size = sizeof(bad) };
	struct server s;

	(void)state;
	server_start(&s, "--log-level=error", NULL);
	send_msg(s.control, &bad, sizeof(bad), NULL, 0);
	expect_eof(s.control);
	assert_int_equal(server_stop(&s), 1);
}

static void other_protocol_versions_are_told(void **state)
{
	struct vgpu_msg_hello hello = {
		.hdr = {
			.type = VGPU_MSG_HELLO,
			.size = sizeof(hello),
			.serial = 5,
		},
		.version = VGPU_PROTO_VERSION + 1,
	};
	struct server s;

	(void)state;
	server_spawn(&s, "--log-level=error", NULL);
	send_msg(s.control, &hello, sizeof(hello), NULL, 0);
	assert_int_equal(recv(s.control, &hello, sizeof(hello), MSG_WAITALL),
			 sizeof(hello));
	assert_int_equal(hello.hdr.size, sizeof(hello));
	assert_int_equal(hello.hdr.serial, 5);
	assert_int_equal(hello.version, VGPU_PROTO_VERSION);
	assert_int_equal(hello.nr_capsets, 0);
	assert_int_equal(server_stop(&s), 0);
}

static void capset_tells_the_limits(void **state)
{
	(void)state;
	assert_int_equal(le32toh(server.capset.wire_version),
			 VIRTIO_GPU_COMPUTE_WIRE_VERSION);
	assert_int_equal(le32toh(server.capset.max_submit),
			 VIRTIO_GPU_COMPUTE_MAX_SUBMIT);
	assert_int_equal(le32toh(server.capset.max_args),
			 VIRTIO_GPU_COMPUTE_MAX_ARGS);
	assert_true(le32toh(server.capset.max_programs) > 0);
	assert_true(le32toh(server.capset.max_resources) > 0);
	assert_string_equal(server.capset.backend, "opencl");
}

static void bad_command_lines_are_one_sentence(void **state)
{
	static const struct {
		const char *args[3];
		const char *says;
		int status;
	} cases[] = {
		{ { NULL }, "--socket-path=PATH or --fd=N", 2 },
		{ { "--socket-path=/tmp/x", "--fd=0" }, "either", 2 },
		{ { "--fd=notanumber" }, "--fd=notanumber", 2 },
		{ { "--fd=1000" }, "--fd=1000", 2 },
		{ { "--fd=-1" }, "--fd=-1", 2 },
		{ { "--socket-path=" }, "--socket-path", 2 },
		{ { "--socket-path=/no/such/directory/s" },
		  "--socket-path=/no/such/directory/s", 1 },
		{ { "--socket-path" }, "--socket-path needs a value", 2 },
		{ { "--backend=cuda" }, "'opencl'", 2 },
		{ { "--nonsense" }, "--nonsense", 2 },
		{ { "extra" }, "'extra'", 2 },
		{ { "--log-level=loud", "--fd=0" }, "--log-level=loud", 2 },
		{ { "--sandbox=maybe", "--fd=0" }, "--sandbox=maybe", 2 },
		{ { "--max-resources=0", "--fd=0" }, "--max-resources=0", 2 },
		{ { "--max-programs=65537", "--fd=0" }, "--max-programs=65537",
		  2 },
		{ { "--max-registered=", "--fd=0" }, "--max-registered=", 2 },
		{ { "--max-registered=0", "--fd=0" }, "--max-registered=0", 2 },
		{ { "--max-registered=-1", "--fd=0" }, "--max-registered=-1",
		  2 },
		{ { "--max-registered=1P", "--fd=0" }, "--max-registered=1P",
		  2 },
		{ { "--max-registered=1MB", "--fd=0" }, "--max-registered=1MB",
		  2 },
		{ { "--max-registered=16777216T", "--fd=0" }, "16777216T", 2 },
		{ { "--cgroup=here", "--fd=0" }, "--cgroup=here", 2 },
		{ { "--cgroup=/tmp", "--socket-path=/tmp/x" }, "--cgroup=/tmp",
		  1 },
		{ { "--memory-max=much", "--fd=0" }, "--memory-max=much", 2 },
		{ { "--pids-max=0", "--fd=0" }, "--pids-max=0", 2 },
		{ { "--build-timeout=0", "--fd=0" }, "--build-timeout=0", 2 },
		{ { "--user=root", "--socket-path=/tmp/x" }, "--user=root", 2 },
		{ { "--user=no-such-user", "--socket-path=/tmp/x" },
		  "no such user", 2 },
		{ { "--device=no-such-device", "--socket-path=/tmp/x" },
		  "--device=no-such-device", 1 },
	};
	char err[4096], *argv[5];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		argv[0] = (char *)"vgpu-compute-server";
		memcpy(&argv[1], cases[i].args, sizeof(cases[i].args));
		argv[4] = NULL;
		assert_int_equal(run_server(argv, err, sizeof(err)),
				 cases[i].status);
		assert_non_null(strstr(err, cases[i].says));
		/* One line, and it ends. */
		assert_ptr_equal(strchr(err, '\n'), err + strlen(err) - 1);
	}
}

static void no_driver_names_the_package(void **state)
{
	char *argv[] = {
		(char *)"vgpu-compute-server", (char *)"--socket-path=/tmp/x",
		NULL,
	};
	char err[4096];

	(void)state;
	setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
	assert_int_equal(run_server(argv, err, sizeof(err)), 1);
	unsetenv("OCL_ICD_VENDORS");
	assert_non_null(strstr(err, "pocl-opencl-icd"));
}

/* Before it has a socket: while it tries devices. */
static void can_be_ended_while_it_starts(void **state)
{
	struct server s;

	(void)state;
	server_spawn(&s, "--log-level=error", NULL);
	/* Its directory is the first thing that it makes. */
	while (!count_entries(s.tmp))
		usleep(1000);
	assert_int_equal(kill(s.pid, SIGTERM), 0);
	assert_int_equal(server_stop(&s), 0);
}

/* A directory that only root can enter: once, not for each device there is. */
static void says_why_no_worker_can_be_had(void **state)
{
	char *argv[] = {
		(char *)"vgpu-compute-server", (char *)"--socket-path=/tmp/x",
		NULL,
	};
	char err[4096], dir[] = "/tmp/vgpu-test-XXXXXX";

	(void)state;
	if (geteuid() || !vcs_landlock_available())
		skip();
	assert_non_null(mkdtemp(dir));
	setenv("TMPDIR", dir, 1);
	assert_int_equal(run_server(argv, err, sizeof(err)), 1);
	unsetenv("TMPDIR");
	assert_int_equal(rmdir(dir), 0);
	assert_non_null(strstr(err, dir));
	assert_non_null(strstr(err, "no worker can be started"));
}

static void help_and_version(void **state)
{
	char *argv[] = { (char *)"vgpu-compute-server", NULL, NULL };
	char out[4096];

	(void)state;
	argv[1] = (char *)"--help";
	assert_int_equal(run_server(argv, out, sizeof(out)), 0);
	assert_non_null(strstr(out, "--socket-path=PATH"));
	assert_non_null(strstr(out, "SIGUSR1"));
	argv[1] = (char *)"--version";
	assert_int_equal(run_server(argv, out, sizeof(out)), 0);
	assert_non_null(strstr(out, "vgpu-compute-server "));
}

static void wait_for_path(const char *path)
{
	int i;

	for (i = 0; i < TIMEOUT_MS / 10 && access(path, F_OK); i++)
		usleep(10000);
	assert_int_equal(access(path, F_OK), 0);
}

static void listens_once_and_removes_its_socket(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/vgpu-test-XXXXXX", option[128];
	struct stat st;
	int fd, stale, status;
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	/* Left by a server that was killed: taken over. */
	stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&addr, sizeof(addr)),
			 0);
	close(stale);
	assert_int_equal(stat(addr.sun_path, &st), 0);

	pid = fork();
	if (!pid) {
		snprintf(option, sizeof(option), "--socket-path=%s",
			 addr.sun_path);
		execl(getenv("VCS_SERVER"), "vgpu-compute-server", option,
		      "--log-level=error", NULL);
		_exit(127);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		usleep(10000);
	wait_for_path(addr.sun_path);
	assert_int_equal(stat(addr.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);

	/* One VM: the second is not served. */
	stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (!connect(stale, (struct sockaddr *)&addr, sizeof(addr))) {
		close(stale);
		stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		usleep(10000);
	}
	assert_int_equal(errno, ECONNREFUSED);
	close(stale);

	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	/* The socket is gone, too. */
	assert_int_equal(rmdir(dir), 0);
}

/* With an argument only the tests that match that pattern. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capset_tells_the_limits),
		cmocka_unit_test(computes_on_the_memory_itself),
		cmocka_unit_test(reports_time_and_no_copy),
		cmocka_unit_test(offsets_select_a_part),
		cmocka_unit_test(work_groups_of_any_size),
		cmocka_unit_test(query_describes_the_device),
		cmocka_unit_test(build_log_comes_back),
		cmocka_unit_test(arguments_must_fit_the_kernel),
		cmocka_unit_test(refused_resources_leave_nothing),
		cmocka_unit_test(windows_keep_no_descriptor),
		cmocka_unit_test(writing_read_only_memory_ends_that_context_only),
		cmocka_unit_test(an_aborted_kernel_ends_that_context_only),
		cmocka_unit_test(killed_worker_in_mid_computation),
		cmocka_unit_test(ctx_kill_ends_a_context),
		cmocka_unit_test(processes_and_directories_are_back_to_their_count),
		cmocka_unit_test(a_context_is_a_line_at_both_ends),
		cmocka_unit_test(a_kill_is_heard_before_the_death_is_seen),
		cmocka_unit_test(a_kill_of_a_dead_worker_is_taken),
		cmocka_unit_test(sigusr1_shows_what_there_is),
		cmocka_unit_test(limits_are_options),
		cmocka_unit_test(names_forge_no_lines),
		cmocka_unit_test(broken_message_ends_its_context_only),
		cmocka_unit_test(unknown_capset_is_refused),
		cmocka_unit_test(workers_have_no_rights),
		cmocka_unit_test(workers_have_registered_pages_only),
#ifdef __x86_64__
		/* The attack is in its assembly. */
		cmocka_unit_test(kernels_cannot_make_processes),
		cmocka_unit_test(kernels_cannot_reach_other_processes),
		cmocka_unit_test(kernels_cannot_undo_the_sandbox),
		cmocka_unit_test(guests_cannot_read_files_of_the_host),
		cmocka_unit_test(kernels_cannot_make_a_window_writable),
		cmocka_unit_test(kernels_cannot_grow_or_reopen_a_window),
		cmocka_unit_test(kernels_cannot_hoard_memory),
		cmocka_unit_test(workers_that_hoard_get_enomem),
		cmocka_unit_test(without_a_sandbox),
#endif
		cmocka_unit_test(builders_may_crash_or_hang),
		cmocka_unit_test(end_of_control_ends_everything),
		cmocka_unit_test(a_killed_qemu_ends_everything),
		cmocka_unit_test(strays_do_not_keep_the_server),
		cmocka_unit_test(workers_die_with_a_killed_server),
		cmocka_unit_test(broken_control_message_ends_the_server),
		cmocka_unit_test(other_protocol_versions_are_told),
		cmocka_unit_test(bad_command_lines_are_one_sentence),
		cmocka_unit_test(no_driver_names_the_package),
		cmocka_unit_test(can_be_ended_while_it_starts),
		cmocka_unit_test(says_why_no_worker_can_be_had),
		cmocka_unit_test(help_and_version),
		cmocka_unit_test(listens_once_and_removes_its_socket),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("server", tests, start, stop);
}
