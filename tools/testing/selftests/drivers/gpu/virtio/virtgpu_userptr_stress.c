// SPDX-License-Identifier: GPL-2.0
/*
 * Many at once: memory is registered and released while it is unmapped, mapped
 * anew, protected, paged out, compacted, forked, while its owners are killed,
 * and while there is too little of it. What one call returns depends on who was
 * first. What is checked is that it is nothing undocumented, and that in the
 * end nothing is left: no pin, no VmPin, and no charge to the user.
 *
 * VIRTGPU_STRESS_SEED brings back the decisions of a run, though not the
 * scheduler's.
 */
#include <pthread.h>
#include <sys/mount.h>
#include <sys/swap.h>

#include "virtgpu_stress.h"

#define NR_PROCESSES	4
#define NR_THREADS	4	/* of each, that register through one file */
#define BUF_PAGES	256
#define MAX_PAGES	32	/* of one registration */
#define NR_KEPT		4	/* registrations that a thread has at a time */

/* Half of what they want, so that it is an obstacle now and then. */
#define LIMIT_PAGES	(NR_PROCESSES * NR_THREADS * NR_KEPT * MAX_PAGES / 4)

/* One thread's work; @error is the first result that nothing explains. */
struct work {
	const struct virtgpu *dev;
	int fd;
	char *buf;
	__u64 random;
	unsigned int rounds;
	unsigned int registered;
	int error;
};

/* A random part of the buffer. */
static void *random_range(struct work *work, size_t *size)
{
	size_t pages = 1 + random_below(&work->random, MAX_PAGES);
	size_t first = random_below(&work->random, BUF_PAGES - pages + 1);

	*size = pages * PAGE_SIZE;
	return work->buf + first * PAGE_SIZE;
}

static const struct virtgpu_way *random_way(struct work *work)
{
	const struct virtgpu_way *way;

	do {
		way = &virtgpu_ways[random_below(&work->random,
						 ARRAY_SIZE(virtgpu_ways))];
	} while (!virtgpu_offers(work->dev, way));
	return way;
}

static int register_random_range(struct work *work, __u32 *handle)
{
	size_t size;
	void *addr = random_range(work, &size);
	int ret = virtgpu_userptr(work->fd, random_way(work), addr, size,
				  handle);

	if (!ret)
		work->registered++;
	/* Unmapped or protected; the user's limit. */
	return ret == -EFAULT || ret == -ENOMEM ? 0 : ret;
}

static void *register_and_release(void *arg)
{
	struct work *work = arg;
	__u32 handles[NR_KEPT] = {};
	unsigned int i;

	for (i = 0; i < work->rounds && !work->error; i++) {
		__u32 *handle = &handles[random_below(&work->random, NR_KEPT)];

		if (*handle)
			work->error = virtgpu_gem_close(work->fd, *handle);
		if (!work->error)
			work->error = register_random_range(work, handle);
	}
	/* The rest is released with the file. */
	return NULL;
}

/* A child registers memory that it shares with its parent, and leaves. */
static int register_in_child(struct work *work)
{
	__u32 handle;
	int status;
	pid_t pid;

	pid = fork_bound();
	if (pid < 0)
		return -errno;
	if (!pid) {
		int ret = register_random_range(work, &handle);

		if (!ret && handle)
			ret = virtgpu_gem_close(work->fd, handle);
		_exit(-ret);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* Pulls the memory from under those who register it. */
static void *disturb(void *arg)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD, MADV_HUGEPAGE,
	};
	struct work *work = arg;
	unsigned int i;

	for (i = 0; i < work->rounds && !work->error; i++) {
		size_t size;
		void *addr = random_range(work, &size);

		switch (random_below(&work->random, 10)) {
		case 0:
			munmap(addr, size);
			break;
		case 1:
			mprotect(addr, size, PROT_READ);
			break;
		case 2:
			mprotect(addr, size, PROT_READ | PROT_WRITE);
			break;
		case 3:
			if (!i % 4)
				work->error = register_in_child(work);
			break;
		case 4:
			madvise(addr, size, advice[i % ARRAY_SIZE(advice)]);
			break;
		default:
			if (mmap(addr, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				 -1, 0) != addr)
				work->error = -errno;
		}
	}
	return NULL;
}

/*
 * Several threads register through one file, one more disturbs them. It comes
 * last: a stack must not be mapped into a hole that it has made.
 */
static int stress_file(const struct virtgpu *dev, int fd, char *buf,
		       __u64 seed, unsigned int rounds)
{
	struct work work[NR_THREADS + 1] = {};
	pthread_t threads[NR_THREADS + 1];
	unsigned int i, registered = 0;
	int error = 0;

	for (i = 0; i < ARRAY_SIZE(work); i++) {
		work[i].dev = dev;
		work[i].fd = fd;
		work[i].buf = buf;
		work[i].random = seed + i;
		work[i].rounds = rounds;
		if (pthread_create(&threads[i], NULL,
				   i < NR_THREADS ? register_and_release :
						    disturb, &work[i]))
			return -EAGAIN;
	}
	for (i = 0; i < ARRAY_SIZE(work); i++) {
		pthread_join(threads[i], NULL);
		error = error ?: work[i].error;
		registered += work[i].registered;
	}
	return error ?: registered ? 0 : -ENODATA;
}

/* Migrates what can be migrated, until it is killed. */
static pid_t start_compacting(void)
{
	pid_t pid = fork_bound();

	if (!pid) {
		while (!write_file("/proc/sys/vm/compact_memory", "1"))
			sleep_ms(20);
		_exit(1);
	}
	return pid;
}

FIXTURE(stress)
{
	struct virtgpu dev;
	__u64 random;
	size_t size;
	char *buf;
};

FIXTURE_SETUP(stress)
{
	virtgpu_setup(_metadata, &self->dev);
	check_all_released(_metadata, &self->dev);
	self->random = number_from_env(_metadata, "VIRTGPU_STRESS_SEED",
				       fresh_seed());
	self->size = BUF_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(stress)
{
	check_all_released(_metadata, &self->dev);
}

/* The life of a process with a file of its own. */
static void stress_process(struct __test_metadata *_metadata,
			   const struct virtgpu *dev, char *buf, __u64 seed,
			   unsigned int rounds)
{
	int fd = virtgpu_open_context(dev->capset);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, become_user(LIMIT_PAGES));
	EXPECT_EQ(0, stress_file(dev, fd, buf, seed, rounds));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(0, vmpin_settle_kb(getpid(), 0));
}

static pid_t start_process(struct __test_metadata *_metadata,
			   const struct virtgpu *dev, char *buf, __u64 seed,
			   unsigned int rounds)
{
	pid_t pid = fork_bound();

	ASSERT_LE(0, pid);
	if (!pid) {
		stress_process(_metadata, dev, buf, seed, rounds);
		_exit(0);
	}
	return pid;
}

TEST_F_TIMEOUT(stress, threads_of_processes, 900)
{
	pid_t compacting = start_compacting(), pids[NR_PROCESSES];
	int status, i;

	ASSERT_LE(0, compacting);
	for (i = 0; i < NR_PROCESSES; i++)
		pids[i] = start_process(_metadata, &self->dev, self->buf,
					random_next(&self->random),
					rounds_of(100));
	for (i = 0; i < NR_PROCESSES; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_TRUE(dies_when_killed(compacting));
}

TEST_F_TIMEOUT(stress, processes_killed_at_any_moment, 900)
{
	pid_t compacting = start_compacting(), pids[NR_PROCESSES] = {};
	int i;

	ASSERT_LE(0, compacting);
	for (i = 0; i < rounds_of(80); i++) {
		pid_t *pid = &pids[random_below(&self->random, NR_PROCESSES)];

		if (*pid)
			EXPECT_TRUE(dies_when_killed(*pid));
		*pid = start_process(_metadata, &self->dev, self->buf,
				     random_next(&self->random), UINT_MAX);
		usleep(random_below(&self->random, 50000));
	}
	for (i = 0; i < NR_PROCESSES; i++)
		if (pids[i])
			EXPECT_TRUE(dies_when_killed(pids[i]));
	EXPECT_TRUE(dies_when_killed(compacting));
}

/* What two threads close together. */
struct closing {
	int fd;
	__u32 handle;
	unsigned int rounds;
	pthread_barrier_t barrier;
	int ret;	/* of the other thread */
};

static void *close_as_well(void *arg)
{
	struct closing *closing = arg;
	unsigned int i;

	for (i = 0; i < closing->rounds; i++) {
		pthread_barrier_wait(&closing->barrier);
		closing->ret = virtgpu_gem_close(closing->fd, closing->handle);
		pthread_barrier_wait(&closing->barrier);
	}
	return NULL;
}

/* One handle goes once. */
TEST_F_TIMEOUT(stress, handle_closed_by_two_threads, 900)
{
	struct closing closing = { .fd = self->dev.fd, .rounds = rounds_of(200) };
	struct work work = {
		.dev = &self->dev,
		.fd = self->dev.fd,
		.buf = self->buf,
		.random = self->random,
	};
	pthread_t thread;
	unsigned int i;
	int ret;

	ASSERT_EQ(0, pthread_barrier_init(&closing.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, close_as_well, &closing));
	for (i = 0; i < closing.rounds; i++) {
		ASSERT_EQ(0, register_random_range(&work, &closing.handle));
		pthread_barrier_wait(&closing.barrier);
		ret = virtgpu_gem_close(closing.fd, closing.handle);
		pthread_barrier_wait(&closing.barrier);
		ASSERT_EQ(-EINVAL, ret + closing.ret);
		ASSERT_EQ(0, ret * closing.ret);
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_EQ(0, vmpin_settle_kb(getpid(), 0));
}

TEST_F_TIMEOUT(stress, file_closed_while_registering, 900)
{
	pthread_t thread;
	int i;

	for (i = 0; i < rounds_of(40); i++) {
		struct work work = {
			.dev = &self->dev,
			.fd = virtgpu_open_context(self->dev.capset),
			.buf = self->buf,
			.random = random_next(&self->random),
			.rounds = UINT_MAX,
		};

		ASSERT_LE(0, work.fd);
		ASSERT_EQ(0, pthread_create(&thread, NULL, register_and_release,
					    &work));
		usleep(random_below(&self->random, 10000));
		ASSERT_EQ(0, close(work.fd));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(-EBADF, work.error);
	}
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_EQ(0, vmpin_settle_kb(getpid(), 0));
}

#define CGROUPS		"/sys/fs/cgroup"
#define GROUP		CGROUPS "/virtgpu-userptr-stress"
#define GROUP_LIMIT	"8M"
#define GROUP_SIZE	(8UL << 20)

#define ZRAM		"/sys/block/zram0"
#define ZRAM_DEVICE	"/dev/zram0"
#define ZRAM_SIZE	"64M"
#define ZRAM_PAGES	((64UL << 20) / PAGE_SIZE)

/* A group of processes that has little memory. */
FIXTURE(cgroup)
{
	struct virtgpu dev;
	__u64 random;
	size_t size;
	char *buf;
	bool enabled;	/* the controller, by us */
	bool swapping;
	long loglevel;
};

static long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

static int write_number(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return write_file(path, text);
}

/* Wherever they are mounted, we see them there and nobody else does. */
static bool see_cgroups(void)
{
	return !unshare(CLONE_NEWNS) &&
	       !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       (!mount("cgroup2", CGROUPS, "cgroup2", 0, NULL) ||
		errno == EBUSY);
}

FIXTURE_SETUP(cgroup)
{
	virtgpu_setup(_metadata, &self->dev);
	check_all_released(_metadata, &self->dev);
	self->random = number_from_env(_metadata, "VIRTGPU_STRESS_SEED",
				       fresh_seed());
	self->size = BUF_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);

	if (!see_cgroups())
		SKIP(return, "no cgroup2");
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	if (access(GROUP "/memory.max", F_OK))
		self->enabled = !write_file(CGROUPS "/cgroup.subtree_control",
					    "+memory");
	if (write_file(GROUP "/memory.max", GROUP_LIMIT)) {
		rmdir(GROUP);
		SKIP(return, "no memory controller");
	}
}

FIXTURE_TEARDOWN_PARENT(cgroup)
{
	check_all_released(_metadata, &self->dev);

	if (self->loglevel)
		write_number("/proc/sys/kernel/printk", self->loglevel);
	if (self->swapping) {
		EXPECT_EQ(0, swapoff(ZRAM_DEVICE));
		EXPECT_EQ(0, write_file(ZRAM "/reset", "1"));
	}
	ASSERT_TRUE(see_cgroups());
	EXPECT_EQ(0, rmdir(GROUP));
	if (self->enabled)
		EXPECT_EQ(0, write_file(CGROUPS "/cgroup.subtree_control",
					"-memory"));
}

/* What mkswap and swapon do, to a compressed disk in memory. */
static int start_swapping(void)
{
	char *page;
	__u32 *info;
	int fd, ret;

	ret = write_file(ZRAM "/disksize", ZRAM_SIZE);
	if (ret)
		return ret;
	page = calloc(1, PAGE_SIZE);
	fd = open(ZRAM_DEVICE, O_WRONLY | O_CLOEXEC);
	if (!page || fd < 0)
		return -errno;
	info = (__u32 *)(page + 1024);
	info[0] = 1;			/* version */
	info[1] = ZRAM_PAGES - 1;	/* last page */
	memcpy(page + PAGE_SIZE - 10, "SWAPSPACE2", 10);
	ret = write(fd, page, PAGE_SIZE) == PAGE_SIZE ? 0 : -errno;
	close(fd);
	free(page);
	if (!ret && swapon(ZRAM_DEVICE, 0))
		ret = -errno;
	return ret;
}

/* Everything but what is pinned goes to the disk and comes back. */
TEST_F_TIMEOUT(cgroup, pages_stay_in_place_under_pressure, 900)
{
	struct work work = {
		.dev = &self->dev,
		.fd = self->dev.fd,
		.buf = self->buf,
		.random = self->random,
	};
	__u64 before[BUF_PAGES], after[BUF_PAGES];
	size_t size = 3 * GROUP_SIZE / 2;
	char *other = map_anon(size);
	long swapped = read_value("/proc/vmstat", "pswpout");
	__u32 handle;
	int status, i;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, other);
	if (start_swapping())
		SKIP(return, "no unused " ZRAM_DEVICE " to swap to");
	self->swapping = true;
	ASSERT_EQ(0, write_file(GROUP "/cgroup.procs", "0"));
	fill(self->buf, self->size);
	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, random_way(&work), self->buf,
				     self->size, &handle));
	ASSERT_TRUE(read_pfns(self->buf, BUF_PAGES, before));

	pid = start_process(_metadata, &self->dev, other, self->random,
			    rounds_of(40));
	for (i = 0; i < rounds_of(4); i++) {
		fill(other, size);
		EXPECT_TRUE(is_filled(other, size));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	EXPECT_LT(swapped, read_value("/proc/vmstat", "pswpout"));
	ASSERT_TRUE(read_pfns(self->buf, BUF_PAGES, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	EXPECT_TRUE(is_filled(self->buf, self->size));
	EXPECT_EQ(self->dev.pins + BUF_PAGES, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(0, vmpin_settle_kb(getpid(), 0));
}

/*
 * Pinning brings in more than the group may have: the kernel may say so, or
 * kill, while a part is pinned.
 */
TEST_F_TIMEOUT(cgroup, over_the_limit, 900)
{
	struct work work = {
		.dev = &self->dev,
		.fd = self->dev.fd,
		.random = self->random,
	};
	long tainted = read_number("/proc/sys/kernel/tainted");
	size_t size = 2 * GROUP_SIZE;
	char *buf = map_anon(size);
	__u32 handle;
	int status, i;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, buf);

	/* The report of a kill is one of a bug to those who read the log. */
	self->loglevel = read_number("/proc/sys/kernel/printk");
	ASSERT_EQ(0, write_number("/proc/sys/kernel/printk", 4));

	for (i = 0; i < rounds_of(8); i++) {
		pid = fork_bound();
		ASSERT_LE(0, pid);
		if (!pid) {
			ASSERT_EQ(0, write_file(GROUP "/cgroup.procs", "0"));
			ASSERT_EQ(0, become_user(2 * size / PAGE_SIZE));
			ASSERT_EQ(-ENOMEM,
				  virtgpu_userptr(self->dev.fd,
						  random_way(&work), buf, size,
						  &handle));
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (status)
			EXPECT_TRUE(WIFSIGNALED(status) &&
				    WTERMSIG(status) == SIGKILL);
		EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	}
	EXPECT_EQ(tainted, read_number("/proc/sys/kernel/tainted"));
}

TEST_HARNESS_MAIN
