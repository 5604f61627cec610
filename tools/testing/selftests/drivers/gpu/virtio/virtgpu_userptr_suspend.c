// SPDX-License-Identifier: GPL-2.0
/*
 * The machine is suspended while objects are registered. That resets the
 * device, which then knows neither contexts nor objects: all pages have been
 * given back, what they hold is untouched, and an old handle is good for
 * nothing but to be closed. While the device owes an answer it is not reset,
 * and there is no suspend.
 *
 * The kernel's own test modes stop short of the firmware, so nobody has to wake
 * the machine up. Where somebody does, e.g. QEMU's monitor with system_wakeup,
 * VIRTGPU_WAKEUP=1 in the environment makes it sleep for real.
 */
#include <sys/reboot.h>

#include "virtgpu_compute.h"

#define NR_PAGES	16

#define POWER_STATE	"/sys/power/state"
#define POWER_TEST	"/sys/power/pm_test"
#define SUSPEND_WAIT	"/sys/module/suspend/parameters/pm_test_delay"
#define HIBERNATE_WAIT	"/sys/module/hibernate/parameters/pm_test_delay"

/* Goes down to @level of the test modes, and comes back. */
static int enter(const char *state, const char *level)
{
	int ret;

	ret = write_file(POWER_TEST, level);
	if (ret)
		return ret;
	ret = write_file(POWER_STATE, state);
	return write_file(POWER_TEST, "none") ?: ret;
}

static int suspend_to(const char *level)
{
	return enter("mem", getenv("VIRTGPU_WAKEUP") ? "none" : level);
}

/*
 * Contexts that were opened or closed just now can take the device longer to
 * make, or to end, than the driver waits for it.
 */
static int suspend_once_idle(const char *level)
{
	int ret, tries = 6;

	do {
		ret = suspend_to(level);
	} while (ret == -ETIMEDOUT && --tries);
	return ret;
}

static void power_setup(struct __test_metadata *_metadata,
			struct virtgpu *dev, const struct virtgpu_way *way)
{
	virtgpu_setup(_metadata, dev);
	if (!virtgpu_offers(dev, way))
		SKIP(return, "the device does not offer this");
	if (access(POWER_STATE, W_OK) || access(POWER_TEST, W_OK))
		SKIP(return, "no " POWER_TEST ": needs CONFIG_PM_DEBUG");
	ASSERT_EQ(0, write_file(SUSPEND_WAIT, "0"));
	ASSERT_EQ(0, write_file(HIBERNATE_WAIT, "0"));
}

static void power_teardown(struct __test_metadata *_metadata,
			   struct virtgpu *dev)
{
	virtgpu_teardown(_metadata, dev);
	EXPECT_EQ(0, write_file(SUSPEND_WAIT, "5"));
	EXPECT_EQ(0, write_file(HIBERNATE_WAIT, "5"));
}

FIXTURE(suspend)
{
	struct virtgpu dev;
	size_t size;
	long held;		/* pins while one registration lives */
	char *buf;
};

FIXTURE_VARIANT(suspend)
{
	struct virtgpu_way way;
	const char *level;
};

FIXTURE_VARIANT_ADD(suspend, guest)
{
	.way = WAY_GUEST,
	.level = "devices",
};

FIXTURE_VARIANT_ADD(suspend, guest_rdonly)
{
	.way = WAY_GUEST_RDONLY,
	.level = "devices",
};

FIXTURE_VARIANT_ADD(suspend, host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
	.level = "devices",
};

FIXTURE_VARIANT_ADD(suspend, host3d_guest_rdonly)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
	.level = "devices",
};

FIXTURE_VARIANT_ADD(suspend, guest_core)
{
	.way = WAY_GUEST,
	.level = "core",
};

FIXTURE_VARIANT_ADD(suspend, host3d_guest_core)
{
	.way = WAY_HOST3D_GUEST,
	.level = "core",
};

FIXTURE_SETUP(suspend)
{
	power_setup(_metadata, &self->dev, &variant->way);
	self->size = NR_PAGES * PAGE_SIZE;
	self->held = self->dev.pins + NR_PAGES;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(suspend)
{
	power_teardown(_metadata, &self->dev);
}

#define test_register(fd, handle)					\
	ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,	\
				     self->size, handle))

/* Who comes now finds a device as good as new. */
#define test_works_again()						\
	do {								\
		__u32 _handle;						\
		int _fd = virtgpu_open_context(self->dev.capset);	\
									\
		ASSERT_LE(0, _fd);					\
		test_register(_fd, &_handle);				\
		EXPECT_EQ(self->held, pins_held());			\
		EXPECT_EQ(0, virtgpu_gem_close(_fd, _handle));		\
		EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));	\
		ASSERT_EQ(0, close(_fd));				\
		EXPECT_TRUE(is_filled(self->buf, self->size));		\
	} while (0)

TEST_F(suspend, with_an_object)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, suspend_once_idle(variant->level));
	EXPECT_EQ(self->dev.pins, pins_held());
	EXPECT_TRUE(is_filled(self->buf, self->size));
	EXPECT_EQ(0, virtgpu_wait(self->dev.fd, handle, 0));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	test_works_again();
}

/* Closed with their file, and only after others have come. */
TEST_F(suspend, with_many_objects)
{
	__u32 handle;
	int i;

	for (i = 0; i < 100; i++)
		test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, suspend_once_idle(variant->level));
	EXPECT_EQ(self->dev.pins, pins_held());
	test_works_again();
	EXPECT_EQ(0, close(self->dev.fd));
	test_works_again();
}

TEST_F(suspend, twice)
{
	__u32 first, second;
	int fd;

	test_register(self->dev.fd, &first);
	ASSERT_EQ(0, suspend_once_idle(variant->level));
	fd = virtgpu_open_context(self->dev.capset);
	ASSERT_LE(0, fd);
	test_register(fd, &second);
	ASSERT_EQ(0, suspend_once_idle(variant->level));
	EXPECT_EQ(self->dev.pins, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(fd, second));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, first));
	test_works_again();
}

/* The release of some is under way then. */
TEST_F(suspend, right_after_release)
{
	__u32 handle;
	int i;

	for (i = 0; i < 100; i++) {
		test_register(self->dev.fd, &handle);
		ASSERT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	}
	ASSERT_EQ(0, suspend_once_idle(variant->level));
	EXPECT_EQ(self->dev.pins, pins_held());
	test_works_again();
}

/* Contexts would be gone from the image, so where there are any, there is none. */
TEST_F(suspend, hibernation)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	if (self->dev.capset) {
		EXPECT_EQ(-EPERM, enter("disk", variant->level));
		EXPECT_EQ(self->held, pins_held());
	} else {
		EXPECT_EQ(0, enter("disk", variant->level));
		EXPECT_EQ(self->dev.pins, pins_held());
	}
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

FIXTURE(context)
{
	struct virtgpu dev;
	struct compute compute;
	size_t size;
	char *buf;
};

static const struct virtgpu_way context_way = WAY_HOST3D_GUEST;

FIXTURE_SETUP(context)
{
	power_setup(_metadata, &self->dev, &context_way);
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
	ASSERT_EQ(0, compute_open(&self->compute));
}

FIXTURE_TEARDOWN_PARENT(context)
{
	power_teardown(_metadata, &self->dev);
}

static int fill_flag(struct compute *compute)
{
	return compute_fill(compute, compute->flag_res, 0, PAGE_SIZE);
}

/* An old context is lost, and its program told so; there can be new ones. */
TEST_F(context, is_lost)
{
	__u32 handle;

	ASSERT_EQ(0, fill_flag(&self->compute));
	ASSERT_EQ(0, suspend_once_idle("core"));
	EXPECT_EQ(self->dev.pins, pins_held());
	EXPECT_TRUE(is_filled((void *)self->compute.flag, PAGE_SIZE));

	EXPECT_EQ(-EIO, fill_flag(&self->compute));
	self->compute.list_flag = true;
	EXPECT_EQ(-EIO, fill_flag(&self->compute));
	EXPECT_EQ(-EIO, virtgpu_userptr(self->compute.fd, &context_way,
					self->buf, self->size, &handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_EQ(0, compute_close(&self->compute));

	ASSERT_EQ(0, compute_open(&self->compute));
	EXPECT_EQ(0, fill_flag(&self->compute));
}

/*
 * A command that is queued, but of which the device was not notified: what
 * comes before a blob that fails.
 */
TEST_F(context, command_queued)
{
	__u32 command[16] = {};
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = context_way.blob_mem,
		.blob_flags = context_way.blob_flags,
		.size = self->size,
		.userptr = (uintptr_t)self->buf,
		.cmd = (uintptr_t)command,
		.cmd_size = sizeof(command),
	};
	__u32 handle;

	/* From here on the device owes nothing, of either context. */
	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &context_way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, munmap(self->buf, self->size));
	ASSERT_EQ(-EFAULT, virtgpu_create_blob(self->compute.fd, &blob));
	EXPECT_EQ(0, suspend_to("core"));
	EXPECT_EQ(self->dev.pins, pins_held());
}

TEST_F(context, registering)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	pid = start_waiting(_metadata, &self->compute, &context_way, self->buf,
			    self->size, 0);
	EXPECT_EQ(-ETIMEDOUT, suspend_to("core"));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
	compute_stop_spinning(&self->compute);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	/* Nothing is lost, and nothing is in the way any more. */
	EXPECT_EQ(0, fill_flag(&self->compute));
	EXPECT_EQ(0, suspend_once_idle("core"));
	EXPECT_EQ(self->dev.pins, pins_held());
}

TEST_F(context, releasing)
{
	__u32 handle;

	ASSERT_EQ(0, virtgpu_userptr(self->compute.fd, &context_way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	EXPECT_EQ(0, virtgpu_gem_close(self->compute.fd, handle));
	EXPECT_EQ(-ETIMEDOUT, suspend_to("core"));
	EXPECT_EQ(self->dev.pins + NR_PAGES + 1, pins_held());
	compute_stop_spinning(&self->compute);
	EXPECT_EQ(self->dev.pins + 1, pins_settle(self->dev.pins + 1));
	EXPECT_EQ(0, fill_flag(&self->compute));
}

/*
 * Ends the machine. It is for who looks at the device from outside to tell
 * whether it was reset: a next kernel would not know that it still writes.
 */
TEST_F(context, shutdown)
{
	__u32 handle;

	if (!getenv("VIRTGPU_SHUTDOWN"))
		SKIP(return, "ends the machine: no VIRTGPU_SHUTDOWN");
	ASSERT_EQ(0, virtgpu_userptr(self->compute.fd, &context_way, self->buf,
				     self->size, &handle));
	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	ASSERT_EQ(0, reboot(RB_POWER_OFF));
}

TEST_HARNESS_MAIN
