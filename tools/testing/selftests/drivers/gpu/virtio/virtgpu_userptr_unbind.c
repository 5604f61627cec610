// SPDX-License-Identifier: GPL-2.0
/*
 * The driver goes while objects are registered: when it is unbound, or its PCI
 * device removed, it has reset the device and let every page go, and whoever
 * waited is told. Run last, since it takes the device from everybody.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "virtgpu_compute.h"

#define NR_PAGES	16
#define DRIVER		"/sys/bus/virtio/drivers/virtio_gpu/"

FIXTURE(unbind)
{
	struct virtgpu dev;
	char pci[NAME_MAX + 1];		/* name of the PCI function */
	char virtio[NAME_MAX + 1];	/* name of the virtio device */
	bool gone;
	size_t size;
	char *buf;
};

FIXTURE_VARIANT(unbind)
{
	struct virtgpu_way way;
	bool remove;		/* the PCI function instead of the driver */
};

FIXTURE_VARIANT_ADD(unbind, driver_guest)
{
	.way = WAY_GUEST,
};

FIXTURE_VARIANT_ADD(unbind, driver_host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(unbind, driver_host3d_guest_rdonly)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
};

FIXTURE_VARIANT_ADD(unbind, pci_guest)
{
	.way = WAY_GUEST,
	.remove = true,
};

FIXTURE_VARIANT_ADD(unbind, pci_host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
	.remove = true,
};

/* The names of the device of @fd: /sys/devices/.../<pci>/<virtio>. */
static bool find_device(int fd, char *pci, char *virtio, size_t len)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	virtio[0] = 0;
	if (!virtgpu_sysfs_dir(fd, path))
		return false;
	snprintf(pci, len, "%s", strrchr(path, '/') + 1);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "virtio", 6))
			snprintf(virtio, len, "%s", entry->d_name);
	closedir(dir);
	return virtio[0];
}

FIXTURE_SETUP(unbind)
{
	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	ASSERT_TRUE(find_device(self->dev.fd, self->pci, self->virtio,
				sizeof(self->pci)));
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

static void take_away(struct __test_metadata *_metadata,
		      FIXTURE_DATA(unbind) *self, bool remove)
{
	char path[PATH_MAX];

	self->gone = true;
	if (remove) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove",
			 self->pci);
		ASSERT_EQ(0, write_file(path, "1"));
	} else {
		ASSERT_EQ(0, write_file(DRIVER "unbind", self->virtio));
	}
}

/* Waits until a render node of the device can be opened again. */
static int wait_for_device(void)
{
	unsigned int ms;
	int fd = -ENODEV;

	for (ms = 0; ms < SETTLE_MS; ms += 10) {
		fd = virtgpu_open();
		if (fd >= 0)
			break;
		sleep_ms(10);
	}
	return fd;
}

static void bring_back(struct __test_metadata *_metadata,
		       FIXTURE_DATA(unbind) *self, bool removed)
{
	int fd, ret;

	ret = removed ? write_file("/sys/bus/pci/rescan", "1") :
			write_file(DRIVER "bind", self->virtio);
	ASSERT_EQ(0, ret);
	self->gone = false;
	fd = wait_for_device();
	ASSERT_LE(0, fd);
	close(fd);
}

FIXTURE_TEARDOWN_PARENT(unbind)
{
	virtgpu_teardown(_metadata, &self->dev);
	if (self->gone)
		bring_back(_metadata, self, variant->remove);
}

#define test_register(fd, handle)					\
	ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way, self->buf,	\
				     self->size, handle))

/* Back again, the device works as before. */
#define test_works_again()						\
	do {								\
		__u32 _handle;					\
		int _fd;						\
									\
		bring_back(_metadata, self, variant->remove);		\
		_fd = virtgpu_open_context(self->dev.capset);		\
		ASSERT_LE(0, _fd);					\
		test_register(_fd, &_handle);				\
		ASSERT_EQ(0, close(_fd));				\
	} while (0)

/* The device was reset, so the pages are free though the handle is not. */
TEST_F_TIMEOUT(unbind, with_an_object, 300)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));

	EXPECT_EQ(-ENODEV, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(-ENODEV, virtgpu_userptr(self->dev.fd, &variant->way,
					   self->buf, self->size, &handle));
	EXPECT_EQ(0, close(self->dev.fd));
	test_works_again();
}

TEST_F_TIMEOUT(unbind, with_many_objects, 300)
{
	__u32 handle;
	int i;

	for (i = 0; i < 500; i++)
		test_register(self->dev.fd, &handle);
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

/* The old file may outlive the next binding of the driver. */
TEST_F_TIMEOUT(unbind, file_closed_after_rebind, 300)
{
	__u32 handle;

	test_register(self->dev.fd, &handle);
	take_away(_metadata, self, variant->remove);
	test_works_again();
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

/* Other objects outlive the binding as well. */
TEST_F_TIMEOUT(unbind, with_a_plain_blob, 300)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = virtgpu_plain_blob_mem(&self->dev),
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = self->size,
	};

	ASSERT_EQ(0, virtgpu_create_blob(self->dev.fd, &blob));
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(0, close(self->dev.fd));
	test_works_again();
}

/*
 * A command that is queued, but of which the device was not notified: what
 * comes before a blob that fails. The file's close must not notify it either.
 */
TEST_F_TIMEOUT(unbind, with_a_command_queued, 300)
{
	__u32 command[16] = {};
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = variant->way.blob_mem,
		.blob_flags = variant->way.blob_flags,
		.size = self->size,
		.userptr = (uintptr_t)self->buf,
		.cmd = (uintptr_t)command,
		.cmd_size = sizeof(command),
	};
	__u32 handle;

	if (variant->way.blob_mem != VIRTGPU_BLOB_MEM_HOST3D_GUEST)
		SKIP(return, "only blobs of a context come with a command");
	test_register(self->dev.fd, &handle);
	ASSERT_EQ(0, munmap(self->buf, self->size));
	ASSERT_EQ(-EFAULT, virtgpu_create_blob(self->dev.fd, &blob));
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(0, close(self->dev.fd));
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	test_works_again();
}

TEST_F_TIMEOUT(unbind, right_after_release, 300)
{
	__u32 handle;
	int i;

	for (i = 0; i < 100; i++) {
		test_register(self->dev.fd, &handle);
		ASSERT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	}
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

/* Nor is it held up by programs that register and release all the time. */
TEST_F_TIMEOUT(unbind, while_others_register, 300)
{
	int status, begun[2];
	pid_t pids[4];
	char byte;
	size_t i;

	ASSERT_EQ(0, pipe(begun));
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			__u32 handle;
			int ret, fd;

			fd = virtgpu_open_context(self->dev.capset);
			ASSERT_LE(0, fd);
			ASSERT_EQ(0, virtgpu_userptr(fd, &variant->way,
						     self->buf, self->size,
						     &handle));
			ASSERT_EQ(1, write(begun[1], "", 1));
			do {
				ret = virtgpu_userptr(fd, &variant->way,
						      self->buf, self->size,
						      &handle) ?:
				      virtgpu_gem_close(fd, handle);
			} while (!ret);
			_exit(-ret);
		}
	}
	close(begun[1]);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		ASSERT_EQ(1, read(begun[0], &byte, 1));
	sleep_ms(300);
	take_away(_metadata, self, variant->remove);
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		EXPECT_TRUE(WEXITSTATUS(status) == ENODEV ||
			    WEXITSTATUS(status) == EIO) {
			TH_LOG("failed with %d", WEXITSTATUS(status));
		}
	}
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

/*
 * A pin that never ends does not hold up the driver, and when it ends after
 * all, there is no device to hand it to.
 */
TEST_F_TIMEOUT(unbind, while_pinning, 300)
{
	int uffd, status;
	pid_t pid;

	pid = start_blocked_in_pin(_metadata, &self->dev, &variant->way,
				   self->buf, self->size, &uffd);
	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	ASSERT_EQ(0, answer_faults(uffd, self->buf, self->size));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EIO, WEXITSTATUS(status));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

/* Who waits for the device's answer is told that there will be none. */
TEST_F_TIMEOUT(unbind, while_waiting, 300)
{
	struct compute compute;
	int status;
	pid_t pid;

	if (variant->way.blob_mem != VIRTGPU_BLOB_MEM_HOST3D_GUEST)
		SKIP(return, "only blobs of a context wait for its worker");
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	ASSERT_EQ(0, compute_open(&compute));
	ASSERT_EQ(0, compute_start_spinning(&compute));
	pid = start_waiting(_metadata, &compute, &variant->way, self->buf,
			    self->size, 0);
	take_away(_metadata, self, variant->remove);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EIO, WEXITSTATUS(status));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

/* Maps the registers of the PCI function @pci that are of this kind. */
static void *map_registers(struct __test_metadata *_metadata, const char *pci,
			   __u8 cfg_type, __u32 *notify_multiplier)
{
	struct virtio_pci_notify_cap cap;
	unsigned char config[256];
	char path[PATH_MAX];
	void *map;
	__u8 pos;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", pci);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(config), read(fd, config, sizeof(config)));
	close(fd);

	for (pos = config[PCI_CAPABILITY_LIST]; pos;
	     pos = config[pos + PCI_CAP_LIST_NEXT]) {
		memcpy(&cap, config + pos, sizeof(cap));
		if (cap.cap.cap_vndr == PCI_CAP_ID_VNDR &&
		    cap.cap.cfg_type == cfg_type)
			break;
	}
	ASSERT_NE(0, pos);

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%u", pci,
		 cap.cap.bar);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = mmap(NULL, cap.cap.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   cap.cap.offset);
	ASSERT_NE(MAP_FAILED, map);
	close(fd);
	*notify_multiplier = cap.notify_off_multiplier;
	return map;
}

/*
 * Makes the device see nonsense in its control queue, behind the driver's back:
 * a ring where more requests wait than it has places for. That is an error that
 * a device does not recover from.
 */
static void break_device(struct __test_metadata *_metadata, const char *pci)
{
	volatile struct virtio_pci_common_cfg *common;
	volatile __u16 *notify;
	__u32 multiplier;
	__u16 *avail;
	__u64 addr;

	avail = map_anon(PAGE_SIZE);
	ASSERT_NE(MAP_FAILED, avail);
	avail[1] = 0x8000;	/* idx */
	ASSERT_EQ(0, mlock(avail, PAGE_SIZE));
	addr = pfn_of(avail) * PAGE_SIZE;
	ASSERT_NE(0, addr);

	common = map_registers(_metadata, pci, VIRTIO_PCI_CAP_COMMON_CFG,
			       &multiplier);
	common->queue_select = 0;
	common->queue_avail_lo = addr;
	common->queue_avail_hi = addr >> 32;
	common->queue_enable = 1;
	notify = map_registers(_metadata, pci, VIRTIO_PCI_CAP_NOTIFY_CFG,
			       &multiplier);
	notify[common->queue_notify_off * multiplier / sizeof(*notify)] = 0;
}

/*
 * A device that needs a reset answers nothing any more, and who asks is told
 * so. It is not known what it does with the pages: they stay until it is reset.
 */
TEST_F_TIMEOUT(unbind, device_that_needs_a_reset, 300)
{
	__u32 handle, other;
	long held;

	test_register(self->dev.fd, &handle);
	break_device(_metadata, self->pci);

	/* Whether it waits already or asks only now. */
	EXPECT_EQ(-EIO, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
					self->size, &other));
	held = pins_held();
	EXPECT_EQ(-EIO, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
					self->size, &other));
	EXPECT_EQ(held, pins_held());
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	sleep_ms(200);
	EXPECT_EQ(held, pins_held());
	EXPECT_LE(self->dev.pins + NR_PAGES, held);

	take_away(_metadata, self, variant->remove);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	test_works_again();
}

TEST_HARNESS_MAIN
