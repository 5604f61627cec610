/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the stress test and the fuzzer share: random numbers that a seed brings
 * back, and the proof that nobody is charged for anything in the end.
 */
#ifndef __SELFTEST_VIRTGPU_STRESS_H
#define __SELFTEST_VIRTGPU_STRESS_H

#include "virtgpu_utils.h"

/* Of the one who looks at what is left, so less than what is tested with. */
#define ACCOUNT_PAGES	8

/* splitmix64: streams of neighbouring seeds have nothing in common. */
static inline __u64 random_next(__u64 *state)
{
	__u64 x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static inline __u64 random_below(__u64 *state, __u64 limit)
{
	return random_next(state) % limit;
}

static inline bool random_one_in(__u64 *state, __u64 limit)
{
	return !random_below(state, limit);
}

/* The number in the environment, else @otherwise; printed, so to be repeated. */
static inline __u64 number_from_env(struct __test_metadata *_metadata,
				    const char *name, __u64 otherwise)
{
	const char *text = getenv(name);
	__u64 number = text ? strtoull(text, NULL, 0) : otherwise;

	TH_LOG("%s=%llu", name, number);
	return number;
}

/* Another one each time. */
static inline __u64 fresh_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* A child that does not outlive its parent. */
static inline pid_t fork_bound(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

/*
 * Can the user register all that the limit allows, to the page? Not if a charge
 * of something that is gone is left, or was given back twice. And no page is
 * pinned any more.
 */
static inline void check_all_released(struct __test_metadata *_metadata,
				      struct virtgpu *dev)
{
	const struct virtgpu_way way = WAY_GUEST;
	__u32 handle;
	int status;
	pid_t pid;

	pid = fork_bound();
	ASSERT_LE(0, pid);
	if (!pid) {
		size_t size = ACCOUNT_PAGES * PAGE_SIZE;
		char *buf = map_anon(size);
		int fd = virtgpu_open();

		ASSERT_LE(0, fd);
		ASSERT_NE(MAP_FAILED, buf);
		ASSERT_EQ(0, become_user(ACCOUNT_PAGES));
		EXPECT_EQ(0, virtgpu_userptr(fd, &way, buf, size, &handle));
		EXPECT_EQ(-ENOMEM, virtgpu_userptr(fd, &way, buf, PAGE_SIZE,
						   &handle));
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	virtgpu_teardown(_metadata, dev);
}

#endif /* __SELFTEST_VIRTGPU_STRESS_H */
