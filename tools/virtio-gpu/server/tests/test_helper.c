// SPDX-License-Identifier: MIT
/*
 * The compile helper, with a compiler that the test plays
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcs_compiler.h"
#include "vcs_log.h"
#include "vcs_opencl.h"
#include "vcs_scratch.h"

/* A compiler that starts a process, which starts another, and then does @end. */
enum end { END_WELL, END_CRASH, END_NEVER };

static struct shared {
	enum end end;
	pid_t strays[2];
} *shared;

int __wrap_vcs_opencl_open(struct vcs_opencl *cl, const char *match,
			   unsigned int index);
void __wrap_vcs_opencl_close(struct vcs_opencl *cl);
cl_program __wrap_clCreateProgramWithSource(cl_context context, cl_uint n,
					    const char **source,
					    const size_t *len, cl_int *err);
cl_int __wrap_clBuildProgram(cl_program prog, cl_uint n,
			     const cl_device_id *dev, const char *options,
			     void (*notify)(cl_program, void *), void *data);
cl_int __wrap_clGetProgramBuildInfo(cl_program prog, cl_device_id dev,
				    cl_program_build_info what, size_t size,
				    void *value, size_t *ret);
cl_int __wrap_clReleaseProgram(cl_program prog);

int __wrap_vcs_opencl_open(struct vcs_opencl *cl, const char *match,
			   unsigned int index)
{
	(void)cl;
	(void)match;
	(void)index;
	return 0;
}

void __wrap_vcs_opencl_close(struct vcs_opencl *cl)
{
	(void)cl;
}

cl_program __wrap_clCreateProgramWithSource(cl_context context, cl_uint n,
					    const char **source,
					    const size_t *len, cl_int *err)
{
	(void)context;
	(void)n;
	(void)source;
	(void)len;
	*err = 0;
	return NULL;
}

cl_int __wrap_clBuildProgram(cl_program prog, cl_uint n,
			     const cl_device_id *dev, const char *options,
			     void (*notify)(cl_program, void *), void *data)
{
	(void)prog;
	(void)n;
	(void)dev;
	(void)options;
	(void)notify;
	(void)data;
	if (!fork()) {
		shared->strays[0] = getpid();
		if (!fork())
			__atomic_store_n(&shared->strays[1], getpid(),
					 __ATOMIC_RELEASE);
		for (;;)
			pause();
	}
	while (!__atomic_load_n(&shared->strays[1], __ATOMIC_ACQUIRE))
		usleep(1000);
	if (shared->end == END_CRASH)
		raise(SIGKILL);
	while (shared->end == END_NEVER)
		pause();
	return CL_BUILD_PROGRAM_FAILURE;
}

cl_int __wrap_clGetProgramBuildInfo(cl_program prog, cl_device_id dev,
				    cl_program_build_info what, size_t size,
				    void *value, size_t *ret)
{
	(void)prog;
	(void)dev;
	(void)what;
	(void)size;
	(void)value;
	(void)ret;
	return CL_INVALID_PROGRAM;
}

cl_int __wrap_clReleaseProgram(cl_program prog)
{
	(void)prog;
	return 0;
}

static void strays_die_with_their_builder(void **state)
{
	static const struct { enum end end; int ret; } ends[] = {
		{ END_WELL, -ENOEXEC }, { END_CRASH, -EIO },
		{ END_NEVER, -ETIMEDOUT },
	};
	const struct vcs_config cfg = { .build_timeout_ms = 1000 };
	static const char source[] = "source";
	struct vcs_build_log log;
	struct vcs_compiled compiled;
	char dir[] = "/tmp/vgpu-compiler-XXXXXX";
	int pair[2], status;
	pid_t pid;
	size_t i;

	(void)state;
	if (access("/proc/thread-self/children", F_OK))
		skip();
	assert_non_null(mkdtemp(dir));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		_exit(vcs_compiler_main(pair[1], &cfg, dir) ? 1 : 0);
	}
	close(pair[1]);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		shared->end = ends[i].end;
		shared->strays[1] = 0;
		assert_int_equal(vcs_compile(pair[0], 10000, source,
					     strlen(source), "", &compiled,
					     &log), ends[i].ret);
		free(log.text);
		/* Dead and reaped before the worker has its answer. */
		assert_int_equal(kill(shared->strays[0], 0), -1);
		assert_int_equal(errno, ESRCH);
		assert_int_equal(kill(shared->strays[1], 0), -1);
		assert_int_equal(errno, ESRCH);
	}
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(shared, sizeof(*shared));
	assert_int_equal(vcs_remove_files(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strays_die_with_their_builder),
	};

	vcs_log_set_level(VCS_LOG_ERROR);
	return cmocka_run_group_tests_name("helper", tests, NULL, NULL);
}
