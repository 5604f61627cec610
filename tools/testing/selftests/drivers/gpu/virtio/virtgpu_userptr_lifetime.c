// SPDX-License-Identifier: GPL-2.0
/*
 * How long pages stay pinned: until the object is released, in whatever order
 * its owner lets go of it, and however its owner dies. Every test is followed
 * by a look at the pin counters, which must be where they were.
 */
#include <sys/time.h>

#include "virtgpu_compute.h"

#define NR_PAGES	16

FIXTURE(lifetime)
{
	struct virtgpu dev;
	size_t size;
	long held;		/* pins while one registration lives */
	char *buf;
};

FIXTURE_VARIANT(lifetime)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(lifetime);

FIXTURE_SETUP(lifetime)
{
	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->size = NR_PAGES * PAGE_SIZE;
	self->held = self->dev.pins + NR_PAGES;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(lifetime)
{
	virtgpu_teardown(_metadata, &self->dev);
}

#define test_register(fd, handle)					\
	ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,	\
				     self->size, handle))

TEST_F(lifetime, gem_close)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	EXPECT_EQ(self->held, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_EQ(-EINVAL, virtgpu_gem_close(self->dev.fd, handle));
}

TEST_F(lifetime, file_close)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* Unmapping changes nothing: the device has the pages, not the addresses. */
TEST_F(lifetime, munmap_first)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, munmap(self->buf, self->size));
	EXPECT_EQ(self->held, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_F(lifetime, munmap_then_file_close)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, munmap(self->buf, self->size));
	EXPECT_EQ(self->held, pins_held());
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* The address may be used again meanwhile, for other pages. */
TEST_F(lifetime, mapped_anew)
{
	__u32 old, new;

	test_register(self->dev.fd, &old);
	ASSERT_EQ(self->buf, mmap(self->buf, self->size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				  -1, 0));
	fill(self->buf, self->size);
	test_register(self->dev.fd, &new);
	EXPECT_EQ(self->held + NR_PAGES, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, old));
	EXPECT_EQ(self->held, pins_settle(self->held));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, new));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_TRUE(is_filled(self->buf, self->size));
}

/* Nothing takes a registered page from its owner. */
TEST_F(lifetime, pages_stay_in_place)
{
	__u64 first = pfn_of(self->buf);
	__u64 last = pfn_of(self->buf + self->size - PAGE_SIZE);
	__u32 handle;

	ASSERT_NE(0, first);
	ASSERT_NE(0, last);
	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, madvise(self->buf, self->size, MADV_PAGEOUT));
	ASSERT_EQ(0, write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_TRUE(is_filled(self->buf, self->size));
	EXPECT_EQ(first, pfn_of(self->buf));
	EXPECT_EQ(last, pfn_of(self->buf + self->size - PAGE_SIZE));
}

/* Nor does fork() make the parent the one who gets the copy. */
TEST_F(lifetime, pages_stay_with_the_parent)
{
	__u64 first = pfn_of(self->buf);
	__u32 handle;
	int status;
	pid_t pid;

	ASSERT_NE(0, first);
	test_register(self->dev.fd, &handle);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		pause();
		_exit(0);
	}
	self->buf[0]++;
	EXPECT_EQ(first, pfn_of(self->buf));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->held, pins_held());
}

TEST_F(lifetime, exit)
{
	__u32 handle;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = virtgpu_open_context(self->dev.capset);

		ASSERT_LE(0, fd);
		test_register(fd, &handle);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* The one who registered dies; the file that is left holds the pages. */
TEST_F(lifetime, file_outlives_the_process)
{
	__u32 handle;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		test_register(self->dev.fd, &handle);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->held, pins_held());
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* A child that has the file keeps the pages of its parent, which is gone. */
TEST_F(lifetime, child_outlives_the_parent)
{
	int ready[2], status;
	__u32 handle;
	pid_t parent, child;

	ASSERT_EQ(0, pipe(ready));
	parent = fork();
	ASSERT_LE(0, parent);
	if (!parent) {
		test_register(self->dev.fd, &handle);
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			ASSERT_EQ(0, close(ready[1]));
			pause();
			_exit(0);
		}
		ASSERT_EQ(sizeof(child), write(ready[1], &child,
					       sizeof(child)));
		_exit(0);
	}
	ASSERT_EQ(parent, waitpid(parent, &status, 0));
	ASSERT_EQ(sizeof(child), read(ready[0], &child, sizeof(child)));
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->held, pins_held());
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* Many objects, released by the end of the file all at once. */
TEST_F(lifetime, many_at_once)
{
	int i, n = rounds_of(500);
	__u32 handle;

	for (i = 0; i < n; i++)
		test_register(self->dev.fd, &handle);
	EXPECT_EQ(self->dev.pins + n * NR_PAGES, pins_held());
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_F_TIMEOUT(lifetime, again_and_again, 900)
{
	int i, n = rounds_of(300);
	__u32 handle;

	for (i = 0; i < n; i++) {
		test_register(self->dev.fd, &handle);
		ASSERT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	}
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/*
 * An error path that leaks can be looped until memory is gone. A debug kernel
 * is slow and its KASAN holds freed memory back, but kmemleak looks there for
 * what was lost. There is a hole in the memory at @buf.
 */
static void fail_and_lose_nothing(struct __test_metadata *_metadata,
				  const struct virtgpu *dev,
				  const struct virtgpu_way *way, char *buf,
				  size_t size, int times)
{
	long before, after;
	__u32 handle;
	int i;

	if (is_debug_kernel())
		times = 100;
	before = read_value("/proc/meminfo", "MemAvailable:");
	for (i = 0; i < times; i++)
		ASSERT_EQ(-EFAULT, virtgpu_userptr(dev->fd, way, buf, size,
						   &handle));
	EXPECT_EQ(dev->pins, pins_held());
	after = read_value("/proc/meminfo", "MemAvailable:");
	EXPECT_LT(is_debug_kernel() ? 0 : before - after, 6 * 1024);
}

/* A leaked list of the pages alone would be 8 MiB. */
TEST_F_TIMEOUT(lifetime, failing_again_and_again, 900)
{
	size_t size = 4 << 20;
	char *buf = map_anon(size);

	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, size);
	ASSERT_EQ(0, munmap(buf + size - PAGE_SIZE, PAGE_SIZE));
	fail_and_lose_nothing(_metadata, &self->dev, &variant->way, buf, size,
			      1000);
}

/* A page each would be 80 MiB, an object 10 MiB or more. */
TEST_F_TIMEOUT(lifetime, failing_early_again_and_again, 900)
{
	ASSERT_EQ(0, munmap(self->buf + PAGE_SIZE, PAGE_SIZE));
	fail_and_lose_nothing(_metadata, &self->dev, &variant->way, self->buf,
			      self->size, 20000);
}

/*
 * Killed at some point: before, in, or after the ioctl, one does not know. All
 * that counts is that it dies and leaves nothing.
 */
TEST_F_TIMEOUT(lifetime, killed_at_any_point, 900)
{
	int ready[2], status;
	int i, n = rounds_of(100);
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	for (i = 0; i < n; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			int fd = virtgpu_open_context(self->dev.capset);
			__u32 handle;

			ASSERT_LE(0, fd);
			ASSERT_EQ(1, write(ready[1], "", 1));
			for (;;) {
				test_register(fd, &handle);
				ASSERT_EQ(0, virtgpu_gem_close(fd, handle));
			}
		}
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		usleep(i * 97 % 5000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_F(lifetime, killed_afterwards)
{
	__u32 handle;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = virtgpu_open_context(self->dev.capset);

		ASSERT_LE(0, fd);
		test_register(fd, &handle);
		pause();
		_exit(0);
	}
	EXPECT_EQ(self->held, pins_settle(self->held));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_F(lifetime, killed_while_pinning)
{
	__u32 handle;
	int uffd;
	pid_t pid;

	pid = start_blocked_in_pin(_metadata, &self->dev, &variant->way,
				   self->buf, self->size, &uffd);

	/* Others are not held up. */
	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));

	EXPECT_TRUE(dies_when_killed(pid));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	close(uffd);
}

/* And when the fault is answered at last, all is as it should be. */
TEST_F(lifetime, delayed_while_pinning)
{
	int uffd, status;
	pid_t pid;

	pid = start_blocked_in_pin(_metadata, &self->dev, &variant->way,
				   self->buf, self->size, &uffd);
	ASSERT_EQ(0, answer_faults(uffd, self->buf, self->size));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Nor are two such ones in each other's way, or in that of a close. */
TEST_F(lifetime, two_blocked_while_pinning)
{
	pid_t first, second;
	int uffd[2];

	first = start_blocked_in_pin(_metadata, &self->dev, &variant->way,
				     self->buf, self->size, &uffd[0]);
	second = start_blocked_in_pin(_metadata, &self->dev, &variant->way,
				      self->buf, self->size, &uffd[1]);
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_TRUE(dies_when_killed(second));
	EXPECT_TRUE(dies_when_killed(first));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/*
 * A device that does not answer for long. Its worker does one thing after the
 * other, so it is kept busy by a kernel that spins until it is told to stop.
 */
FIXTURE(busy)
{
	struct virtgpu dev;
	struct compute compute;
	size_t size;
	char *buf;
};

FIXTURE_VARIANT(busy)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD(busy, host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(busy, host3d_guest_rdonly)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
};

FIXTURE_SETUP(busy)
{
	virtgpu_setup(_metadata, &self->dev);
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	ASSERT_TRUE(virtgpu_offers(&self->dev, &variant->way));
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
	ASSERT_EQ(0, compute_open(&self->compute));
}

FIXTURE_TEARDOWN_PARENT(busy)
{
	virtgpu_teardown(_metadata, &self->dev);
}

TEST_F_TIMEOUT(busy, registration_waits_for_the_answer, 300)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	pid = start_waiting(_metadata, &self->compute, &variant->way, self->buf,
			    self->size, 0);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	compute_stop_spinning(&self->compute);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	/* Registered through our file, so it lives on. One is the flag's. */
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
}

/*
 * The pages may be let go only when the device has answered, not when the
 * waiter is gone; and the file is open all the time.
 */
TEST_F_TIMEOUT(busy, killed_while_waiting, 300)
{
	pid_t pid;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	pid = start_waiting(_metadata, &self->compute, &variant->way, self->buf,
			    self->size, 0);
	EXPECT_TRUE(dies_when_killed(pid));
	sleep_ms(200);
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(self->dev.pins + 1, pins_settle(self->dev.pins + 1));
}

/*
 * What a killed program is still charged for is on its way back, so the next
 * one of its user waits for that and is not refused.
 */
TEST_F_TIMEOUT(busy, killed_at_the_limit_while_waiting, 300)
{
	struct rlimit limit = {
		.rlim_cur = self->size,
		.rlim_max = self->size,
	};
	pid_t killed, next;
	__u32 handle;
	int status;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	killed = start_waiting(_metadata, &self->compute, &variant->way,
			       self->buf, self->size, UNPRIVILEGED_UID);
	EXPECT_TRUE(dies_when_killed(killed));

	next = fork();
	ASSERT_LE(0, next);
	if (!next) {
		ASSERT_EQ(0, setresuid(UNPRIVILEGED_UID, UNPRIVILEGED_UID,
				       UNPRIVILEGED_UID));
		_exit(-virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
				       self->size, &handle));
	}
	EXPECT_TRUE(settles_in_ioctl(next));
	compute_stop_spinning(&self->compute);
	ASSERT_EQ(next, waitpid(next, &status, 0));
	EXPECT_EQ(0, status);
}

/* Killed with the only file: the device drops the context and all in it. */
TEST_F_TIMEOUT(busy, killed_with_the_context_while_waiting, 300)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	EXPECT_EQ(0, compute_close(&self->compute));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct compute compute;
		__u32 handle;

		ASSERT_EQ(0, compute_open(&compute));
		ASSERT_EQ(0, compute_start_spinning(&compute));
		ASSERT_EQ(1, write(ready[1], "", 1));
		virtgpu_userptr(compute.fd, &variant->way, self->buf,
				self->size, &handle);
		_exit(1);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_TRUE(settles_in_ioctl(pid));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_TRUE(dies_when_killed(pid));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

static void on_alarm(int signal)
{
}

/* A signal that does not kill does not disturb. */
TEST_F_TIMEOUT(busy, signals_do_not_interrupt, 300)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = {
		.it_interval.tv_usec = 20000,
		.it_value.tv_usec = 20000,
	};
	__u32 handle;
	pid_t pid;
	int status;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		sleep_ms(500);
		compute_stop_spinning(&self->compute);
		_exit(0);
	}
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	EXPECT_EQ(0, virtgpu_userptr(self->compute.fd, &variant->way, self->buf,
				     self->size, &handle));
	timer.it_value.tv_usec = 0;
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

/* A released page stays pinned as long as the device may still use it. */
TEST_F_TIMEOUT(busy, release_waits_for_the_device, 300)
{
	__u32 handle;

	ASSERT_EQ(0, virtgpu_userptr(self->compute.fd, &variant->way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd, handle));
	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd,
				       self->compute.flag_handle));
	sleep_ms(200);
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* An object that a submission names is busy until that is done. */
TEST_F_TIMEOUT(busy, named_by_a_submission, 300)
{
	self->compute.list_flag = true;
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(-EBUSY, virtgpu_wait(self->compute.fd,
				       self->compute.flag_handle,
				       VIRTGPU_WAIT_NOWAIT));
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(0, virtgpu_wait(self->compute.fd, self->compute.flag_handle,
				  0));
	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd,
				       self->compute.flag_handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* And it lives that long, even without its handle. */
TEST_F_TIMEOUT(busy, released_while_named_by_a_submission, 300)
{
	self->compute.list_flag = true;
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd,
				       self->compute.flag_handle));
	sleep_ms(200);
	EXPECT_EQ(self->dev.pins + 1, pins_held());
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* Closing the file ends the kernel, so nobody has to wait for it. */
TEST_F_TIMEOUT(busy, closed_while_computing, 300)
{
	__u32 handle;

	ASSERT_EQ(0, virtgpu_userptr(self->compute.fd, &variant->way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(0, compute_close(&self->compute));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* One context's work holds up no other. */
TEST_F_TIMEOUT(busy, other_contexts_go_on, 300)
{
	__u32 handle;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
				     self->size, &handle));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(self->dev.pins + 1, pins_settle(self->dev.pins + 1));
	compute_stop_spinning(&self->compute);
}

/*
 * Behind the spinning kernel, as many submissions as the control queue takes;
 * the child that is returned waits for room for one more.
 */
static pid_t fill_queue(struct __test_metadata *_metadata,
			struct compute *compute)
{
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		while (!compute_start(compute, "fill"))
			;
		_exit(1);
	}
	ASSERT_TRUE(settles_in_ioctl(pid));
	return pid;
}

/* What else waits for room: each is run by a child, to be killed in it. */
struct full_queue {
	struct compute *compute;
	int other_fd;	/* of another context */
	int dmabuf;
};

static int make_context(const struct full_queue *q)
{
	return virtgpu_open_context(VIRTIO_GPU_CAPSET_COMPUTE);
}

static int attach_resource(const struct full_queue *q)
{
	__u32 handle;

	return virtgpu_prime_import(q->other_fd, q->dmabuf, &handle);
}

static int transfer_to_host(const struct full_queue *q)
{
	return virtgpu_transfer_to_host(q->compute->fd,
					q->compute->shmem_handle);
}

static int transfer_from_host(const struct full_queue *q)
{
	return virtgpu_transfer_from_host(q->compute->fd,
					  q->compute->shmem_handle);
}

static int (*const needs_room[])(const struct full_queue *) = {
	make_context, attach_resource, transfer_to_host, transfer_from_host,
};

/* Who waits for room can be killed, and what was not sent is not kept. */
TEST_F_TIMEOUT(busy, killed_while_the_queue_is_full, 300)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_SHAREABLE,
		.size = PAGE_SIZE,
	};
	struct full_queue q = {
		.compute = &self->compute,
		.other_fd = self->dev.fd,
	};
	pid_t submits, registers, pid;
	size_t i;

	ASSERT_EQ(0, virtgpu_create_blob(self->compute.fd, &blob));
	ASSERT_EQ(0, virtgpu_prime_export(self->compute.fd, blob.bo_handle,
					  &q.dmabuf));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	submits = fill_queue(_metadata, &self->compute);
	registers = start_waiting(_metadata, &self->compute, &variant->way,
				  self->buf, self->size, 0);
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
	for (i = 0; i < ARRAY_SIZE(needs_room); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(!!needs_room[i](&q));
		EXPECT_TRUE(settles_in_ioctl(pid));
		EXPECT_TRUE(dies_when_killed(pid)) {
			TH_LOG("needs_room[%zu]", i);
		}
	}
	EXPECT_TRUE(dies_when_killed(registers));
	EXPECT_EQ(self->dev.pins + 1, pins_settle(self->dev.pins + 1));
	EXPECT_TRUE(dies_when_killed(submits));
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(0, compute_fill(&self->compute, self->compute.flag_res, 0,
				  PAGE_SIZE));
	/* nor did the file forget that it has its own */
	EXPECT_EQ(0, attach_resource(&q));
}

/*
 * Nobody waits for room to let go. What is let go then does so in order: the
 * next context, which has the same number, is not destroyed in place of it.
 */
TEST_F_TIMEOUT(busy, closed_while_the_queue_is_full, 300)
{
	struct compute next;
	pid_t submits, opens;
	__u32 handle;
	int status;

	ASSERT_EQ(0, virtgpu_userptr(self->compute.fd, &variant->way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	submits = fill_queue(_metadata, &self->compute);
	EXPECT_TRUE(dies_when_killed(submits));

	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd, handle));
	EXPECT_EQ(0, close(self->dev.fd));
	opens = fork();
	ASSERT_LE(0, opens);
	if (!opens)
		_exit(compute_open(&next) ||
		      compute_fill(&next, next.flag_res, 0, PAGE_SIZE));
	EXPECT_TRUE(settles_in_ioctl(opens));
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());

	compute_stop_spinning(&self->compute);
	ASSERT_EQ(opens, waitpid(opens, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->dev.pins + 1, pins_settle(self->dev.pins + 1));
}

TEST_HARNESS_MAIN
