// SPDX-License-Identifier: GPL-2.0
/*
 * RLIMIT_MEMLOCK: pinned pages are charged to the user, to the page, and
 * neither exec, nor fork, nor passing the file on gets round it.
 */
#include <sys/socket.h>

#include "virtgpu_utils.h"

#define LIMIT_PAGES	8

/* Re-executes the test program as one that only registers: see main(). */
#define ARG_REGISTER	"--register"

FIXTURE(memlock)
{
	struct virtgpu dev;
	char *buf;
};

FIXTURE_VARIANT(memlock)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(memlock);

FIXTURE_SETUP(memlock)
{
	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->buf = map_anon(2 * LIMIT_PAGES * PAGE_SIZE);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, 2 * LIMIT_PAGES * PAGE_SIZE);
}

FIXTURE_TEARDOWN_PARENT(memlock)
{
	virtgpu_teardown(_metadata, &self->dev);
}

#define test_register(ret, page, pages, handle)				\
	ASSERT_EQ(ret, virtgpu_userptr(self->dev.fd, &variant->way,	\
				       self->buf + (page) * PAGE_SIZE,	\
				       (pages) * PAGE_SIZE, handle))
#define test_release(handle) \
	ASSERT_EQ(0, virtgpu_gem_close(self->dev.fd, handle))

TEST_F(memlock, limit_is_exact)
{
	__u32 all, first, second, none;

	ASSERT_EQ(0, become_user(LIMIT_PAGES));

	test_register(-ENOMEM, 0, LIMIT_PAGES + 1, &none);
	EXPECT_EQ(0, none);
	test_register(0, 0, LIMIT_PAGES, &all);
	test_register(-ENOMEM, LIMIT_PAGES, 1, &none);
	test_release(all);

	test_register(0, 0, LIMIT_PAGES - 1, &first);
	test_register(-ENOMEM, LIMIT_PAGES, 2, &none);
	test_register(0, LIMIT_PAGES, 1, &second);
	test_register(-ENOMEM, LIMIT_PAGES, 1, &none);
	test_release(first);
	test_register(0, 0, LIMIT_PAGES - 1, &first);
	test_release(first);
	test_release(second);
}

/* The same page twice is two pins, and pays twice. */
TEST_F(memlock, each_registration_pays)
{
	__u32 handles[LIMIT_PAGES], none;
	size_t i;

	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	for (i = 0; i < LIMIT_PAGES; i++)
		test_register(0, 0, 1, &handles[i]);
	test_register(-ENOMEM, 0, 1, &none);
	for (i = 0; i < LIMIT_PAGES; i++)
		test_release(handles[i]);
}

TEST_F(memlock, limit_zero_is_no_privilege)
{
	__u32 none;

	ASSERT_EQ(0, become_user(0));
	test_register(-EPERM, 0, 1, &none);
	EXPECT_EQ(0, none);
}

TEST_F(memlock, privileged_user_is_not_limited)
{
	struct rlimit limit = {};
	__u32 handle;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	test_register(0, 0, 2 * LIMIT_PAGES, &handle);
	test_release(handle);
}

/* A failed registration gives back what it was charged. */
TEST_F(memlock, failure_costs_nothing)
{
	__u32 handle;
	int i;

	ASSERT_EQ(0, munmap(self->buf + LIMIT_PAGES * PAGE_SIZE,
			    LIMIT_PAGES * PAGE_SIZE));
	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	for (i = 0; i < 100; i++)
		test_register(-EFAULT, 1, LIMIT_PAGES, &handle);
	test_register(0, 0, LIMIT_PAGES, &handle);
	test_release(handle);
}

/*
 * As much as the limit allows, over and over: pages are let go behind
 * GEM_CLOSE, and that must not look like too little memory to the next call.
 */
TEST_F_TIMEOUT(memlock, at_the_limit_again_and_again, 900)
{
	__u32 handle;
	int i;

	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	for (i = 0; i < 300; i++) {
		test_register(0, 0, LIMIT_PAGES, &handle);
		test_release(handle);
	}
}

/* The same when it is the file that is closed. */
TEST_F_TIMEOUT(memlock, at_the_limit_after_close, 900)
{
	__u32 handle;
	int fds[16], i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = virtgpu_open_context(self->dev.capset);
		ASSERT_LE(0, fds[i]);
	}
	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		ASSERT_EQ(0, virtgpu_userptr(fds[i], &variant->way, self->buf,
					     LIMIT_PAGES * PAGE_SIZE, &handle));
		ASSERT_EQ(0, close(fds[i]));
	}
}

/* And when the process that had it all is killed. */
TEST_F_TIMEOUT(memlock, at_the_limit_after_kill, 300)
{
	int fds[16], ready[2], status, i;
	__u32 handle;
	char byte;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = virtgpu_open_context(self->dev.capset);
		ASSERT_LE(0, fds[i]);
	}
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			ASSERT_EQ(0, virtgpu_userptr(fds[i], &variant->way,
						     self->buf, LIMIT_PAGES *
						     PAGE_SIZE, &handle));
			ASSERT_EQ(1, write(ready[1], "", 1));
			pause();
		}
		ASSERT_EQ(0, close(fds[i]));
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
	}
}

/* All processes of a user pay into one account. */
TEST_F(memlock, fork_does_not_help)
{
	__u32 handle;
	int status;
	pid_t pid;

	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	test_register(0, 0, LIMIT_PAGES, &handle);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		test_register(-ENOMEM, LIMIT_PAGES, 1, &handle);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	test_release(handle);
}

/*
 * Each exec has a new address space, but the file of old, with all that was
 * registered by it. The child executes itself until it is refused and says how
 * often it was not.
 */
TEST_F(memlock, exec_does_not_help)
{
	char fd[16], mem[16], flags[16];
	char *argv[] = { "virtgpu", ARG_REGISTER, fd, mem, flags, "0", NULL };
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, fcntl(self->dev.fd, F_SETFD, 0));
		ASSERT_EQ(0, become_user(LIMIT_PAGES));
		snprintf(fd, sizeof(fd), "%d", self->dev.fd);
		snprintf(mem, sizeof(mem), "%u", variant->way.blob_mem);
		snprintf(flags, sizeof(flags), "%u", variant->way.blob_flags);
		execv("/proc/self/exe", argv);
		_exit(255);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(LIMIT_PAGES, WEXITSTATUS(status));

	/* Pinned by process images that are gone, through our file. */
	EXPECT_EQ(self->dev.pins + LIMIT_PAGES, pins_held());
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

static int register_and_exec(char **argv)
{
	const struct virtgpu_way way = {
		.blob_mem = atoi(argv[3]),
		.blob_flags = atoi(argv[4]),
	};
	int done = atoi(argv[5]);
	char *page = map_anon(PAGE_SIZE);
	char next[16];
	__u32 handle;
	int ret;

	if (page == MAP_FAILED)
		return 254;
	*page = 1;
	ret = virtgpu_userptr(atoi(argv[2]), &way, page, PAGE_SIZE, &handle);
	if (ret == -ENOMEM || done > 100)
		return done;
	if (ret)
		return 253;
	snprintf(next, sizeof(next), "%d", done + 1);
	argv[5] = next;
	execv("/proc/self/exe", argv);
	return 252;
}

static int send_fd(int sock, int fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static int recv_fd(int sock)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		return -EBADF;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/*
 * Processes that register, pass the file on and die: what they pinned lives as
 * long as the file does, and so does the charge to their user.
 */
TEST_F(memlock, passing_the_file_does_not_help)
{
	int registered = 0, status, sock[2], fd, i;
	__u32 handle;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(0, send_fd(sock[0], self->dev.fd));
	ASSERT_EQ(0, close(self->dev.fd));
	for (i = 0; i < 2 * LIMIT_PAGES; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			int ret;

			ASSERT_EQ(0, become_user(LIMIT_PAGES));
			fd = recv_fd(sock[1]);
			ret = virtgpu_userptr(fd, &variant->way, self->buf,
					      PAGE_SIZE, &handle);
			if (send_fd(sock[0], fd))
				_exit(2);
			_exit(ret == -ENOMEM ? 1 : ret ? 3 : 0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		ASSERT_GE(1, WEXITSTATUS(status));
		registered += !WEXITSTATUS(status);
	}
	EXPECT_EQ(LIMIT_PAGES, registered);
	EXPECT_EQ(self->dev.pins + LIMIT_PAGES, pins_held());

	/* Root takes the file, and closing it gives the user the pages back. */
	fd = recv_fd(sock[1]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(fd));
	fd = virtgpu_open_context(self->dev.capset);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	EXPECT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,
				     LIMIT_PAGES * PAGE_SIZE, &handle));
}

/* Who pays is who registers, whoever releases. */
TEST_F(memlock, released_by_another_user)
{
	__u32 handle, none;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, become_user(LIMIT_PAGES));
		test_register(0, 0, LIMIT_PAGES, &handle);
		test_register(-ENOMEM, 0, 1, &none);
		_exit(handle);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	handle = WEXITSTATUS(status);
	test_release(handle);

	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	test_register(0, 0, LIMIT_PAGES, &handle);
	test_register(-ENOMEM, 0, 1, &none);
	test_release(handle);
}

/* The statistic that an administrator sees. */
TEST_F(memlock, vmpin_tells)
{
	long before = vmpin_kb(getpid()), page_kb = PAGE_SIZE / 1024;
	__u32 first, second;

	ASSERT_EQ(0, before);
	test_register(0, 0, 3, &first);
	EXPECT_EQ(3 * page_kb, vmpin_kb(getpid()));
	test_register(0, 2, 5, &second);
	EXPECT_EQ(8 * page_kb, vmpin_kb(getpid()));
	test_release(first);
	EXPECT_EQ(5 * page_kb, vmpin_settle_kb(getpid(), 5 * page_kb));
	test_release(second);
	EXPECT_EQ(0, vmpin_settle_kb(getpid(), 0));
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], ARG_REGISTER))
		return register_and_exec(argv);
	return test_harness_run(argc, argv);
}
