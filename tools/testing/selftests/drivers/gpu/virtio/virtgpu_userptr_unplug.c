// SPDX-License-Identifier: GPL-2.0
/*
 * The device goes for good while its objects are in use: out of a slot that is
 * powered off with notice, or without. Each test takes the device from all that
 * follow, so name one: -t with_notice, -t by_surprise.
 */
#include <linux/pci_regs.h>

#include "virtgpu_compute.h"

#define NR_PAGES	16
#define SLOTS		"/sys/bus/pci/slots"

FIXTURE(unplug)
{
	struct virtgpu dev;
	struct compute compute;
	char port[PATH_MAX];		/* the PCIe port above, in sysfs */
	char power[PATH_MAX];		/* of its slot */
	size_t size;
	char *buf;
	__u32 handle;
};

/* Finds the slot that the device of @fd is in. */
static bool find_slot(int fd, char *port, char *power)
{
	char path[PATH_MAX], address[32];
	struct dirent *entry;
	char *function;
	DIR *dir;

	power[0] = 0;
	if (!virtgpu_sysfs_dir(fd, port))
		return false;
	function = strrchr(port, '/');
	*function++ = 0;

	dir = opendir(SLOTS);
	if (!dir)
		return false;
	while (!power[0] && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), SLOTS "/%s/address", entry->d_name);
		/* such as 0000:01:00, without the function's number */
		if (read_line(path, address, sizeof(address)) &&
		    !strncmp(address, function, strcspn(function, ".")))
			snprintf(power, PATH_MAX, SLOTS "/%s/power",
				 entry->d_name);
	}
	closedir(dir);
	return power[0];
}

FIXTURE_SETUP(unplug)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;

	virtgpu_setup(_metadata, &self->dev);
	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	if (!find_slot(self->dev.fd, self->port, self->power))
		SKIP(return, "the device is not in a slot for hot-plugging");
	self->size = NR_PAGES * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
	ASSERT_EQ(0, virtgpu_userptr(self->dev.fd, &way, self->buf, self->size,
				     &self->handle));
	ASSERT_EQ(0, compute_open(&self->compute));
}

FIXTURE_TEARDOWN_PARENT(unplug)
{
	virtgpu_teardown(_metadata, &self->dev);
}

/*
 * Switches the power of the slot off and on again behind the back of its
 * driver: when it hears of it, the device that had been there is not.
 */
static int cut_power(struct __test_metadata *_metadata, const char *port)
{
	unsigned char config[256];
	char path[PATH_MAX + 8];
	__u16 on, off;
	__u8 pos;
	int fd;

	snprintf(path, sizeof(path), "%s/config", port);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(config), pread(fd, config, sizeof(config), 0));
	for (pos = config[PCI_CAPABILITY_LIST]; pos;
	     pos = config[pos + PCI_CAP_LIST_NEXT])
		if (config[pos] == PCI_CAP_ID_EXP)
			break;
	ASSERT_NE(0, pos);
	pos += PCI_EXP_SLTCTL;

	memcpy(&on, config + pos, sizeof(on));
	off = on | PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF;
	off &= ~PCI_EXP_SLTCTL_HPIE;
	ASSERT_EQ(sizeof(off), pwrite(fd, &off, sizeof(off), pos));
	ASSERT_EQ(sizeof(on), pwrite(fd, &on, sizeof(on), pos));
	return close(fd);
}

/*
 * One waits for the device's answer, another context computes. Both learn that
 * there is no device, the pages are theirs again, and nothing else is different.
 */
static void test_unplug(struct __test_metadata *_metadata,
			FIXTURE_DATA(unplug) *self, bool notice)
{
	const struct virtgpu_way way = WAY_HOST3D_GUEST;
	__u32 handle;
	int status;
	pid_t pid;

	ASSERT_EQ(0, compute_start_spinning(&self->compute));
	pid = start_waiting(_metadata, &self->compute, &way, self->buf,
			    self->size, 0);
	EXPECT_EQ(self->dev.pins + 2 * NR_PAGES + 1, pins_held());

	ASSERT_EQ(0, notice ? write_file(self->power, "0") :
			      cut_power(_metadata, self->port));

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EIO, WEXITSTATUS(status));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
	EXPECT_TRUE(is_filled(self->buf, self->size));
	EXPECT_EQ(-ENODEV, virtgpu_userptr(self->dev.fd, &way, self->buf,
					   self->size, &handle));
	EXPECT_EQ(-ENODEV, virtgpu_gem_close(self->dev.fd, self->handle));
	EXPECT_EQ(0, compute_close(&self->compute));
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(-ENODEV, virtgpu_open());
}

TEST_F(unplug, with_notice)
{
	test_unplug(_metadata, self, true);
}

TEST_F(unplug, by_surprise)
{
	test_unplug(_metadata, self, false);
}

TEST_HARNESS_MAIN
