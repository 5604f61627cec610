// SPDX-License-Identifier: GPL-2.0
/*
 * The interface itself: which arguments are refused and how, which sizes the
 * struct may have, and that a registered object can be reached in no other way
 * than by the commands of its own context.
 */
#include <assert.h>
#include <glob.h>

#include "virtgpu_compute.h"

/* Larger than every struct that a program may pass. */
#define MAX_IOCTL_SIZE	128

#define CANARY		0x5a

/*
 * The layout that clients have been built with. Each 64-bit field is at a
 * multiple of 8, so it is a 32-bit program's as well.
 */
#define test_layout(field, offset)					\
	static_assert(offsetof(struct drm_virtgpu_resource_create_blob,	\
			       field) == (offset), #field)

test_layout(blob_mem, 0);
test_layout(blob_flags, 4);
test_layout(bo_handle, 8);
test_layout(res_handle, 12);
test_layout(size, 16);
test_layout(pad, 24);
test_layout(cmd_size, 28);
test_layout(cmd, 32);
test_layout(blob_id, 40);
test_layout(blob_hints, 48);
test_layout(userptr, 48);
static_assert(sizeof(struct drm_virtgpu_resource_create_blob) == 56, "size");

/* And the numbers. */
static_assert(VIRTGPU_PARAM_RESOURCE_USERPTR == 11, "parameter");
static_assert(VIRTGPU_RESOURCE_USERPTR_GUEST == 1, "value");
static_assert(VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST == 2, "value");
static_assert(VIRTGPU_RESOURCE_USERPTR_RDONLY == 4, "value");
static_assert(VIRTGPU_BLOB_FLAG_USE_USERPTR == 0x8, "flag");
static_assert(VIRTGPU_BLOB_FLAG_USERPTR_RDONLY == 0x10, "flag");

/*
 * An older driver is told from one that refuses by the parameter, and it does
 * not take the flag for something else.
 */
TEST(parameter_and_flag_come_together)
{
	const struct virtgpu_way way = WAY_GUEST;
	int fd = virtgpu_open(), offers = 0, blobs = 0, ret;
	void *buf = map_anon(PAGE_SIZE);
	__u32 handle;

	if (fd < 0)
		SKIP(return, "no virtio-gpu device");
	ASSERT_NE(MAP_FAILED, buf);
	ret = virtgpu_getparam(fd, VIRTGPU_PARAM_RESOURCE_USERPTR, &offers);
	if (ret) {
		EXPECT_EQ(-EINVAL, ret);
		EXPECT_EQ(-EINVAL,
			  virtgpu_userptr(fd, &way, buf, PAGE_SIZE, &handle));
		return;
	}
	EXPECT_EQ(0, offers & ~(VIRTGPU_RESOURCE_USERPTR_GUEST |
				VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST |
				VIRTGPU_RESOURCE_USERPTR_RDONLY));

	/* Any device with blobs has plain guest ones, one without has none. */
	EXPECT_EQ(0, virtgpu_getparam(fd, VIRTGPU_PARAM_RESOURCE_BLOB, &blobs));
	if (blobs) {
		EXPECT_TRUE(offers & VIRTGPU_RESOURCE_USERPTR_GUEST);
	} else {
		EXPECT_EQ(0, offers);
		EXPECT_EQ(-EINVAL,
			  virtgpu_userptr(fd, &way, buf, PAGE_SIZE, &handle));
	}
}

/* Bits of the features that were negotiated, as <linux/virtio_gpu.h> has them. */
#define F_RESOURCE_BLOB		3
#define F_RESOURCE_USERPTR	8

/* '0' or '1', or 0 if that cannot be found out. */
static char negotiated(int fd, unsigned int bit)
{
	char pattern[64], features[65] = "";
	struct stat st;
	glob_t found;
	FILE *f;

	if (fstat(fd, &st))
		return 0;
	/* That of a DRM device is the bus's, e.g. PCI's. */
	snprintf(pattern, sizeof(pattern),
		 "/sys/dev/char/%u:%u/device/virtio*/features",
		 major(st.st_rdev), minor(st.st_rdev));
	if (glob(pattern, 0, NULL, &found))
		return 0;
	f = fopen(found.gl_pathv[0], "re");
	globfree(&found);
	if (!f)
		return 0;
	if (!fgets(features, sizeof(features), f))
		features[0] = '\0';
	fclose(f);
	return strlen(features) > bit ? features[bit] : 0;
}

/* The driver promises nothing that the device has not. */
TEST(more_than_guest_blobs_only_as_negotiated)
{
	const int more = VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST |
			 VIRTGPU_RESOURCE_USERPTR_RDONLY;
	const struct virtgpu_way rdonly = WAY_GUEST_RDONLY;
	int fd = virtgpu_open(), offers = 0;
	void *buf = map_anon(PAGE_SIZE);
	__u32 handle;

	if (fd < 0)
		SKIP(return, "no virtio-gpu device");
	ASSERT_NE(MAP_FAILED, buf);
	if (virtgpu_getparam(fd, VIRTGPU_PARAM_RESOURCE_USERPTR, &offers))
		SKIP(return, "a driver without user memory");
	ASSERT_NE(0, negotiated(fd, F_RESOURCE_USERPTR));
	if (negotiated(fd, F_RESOURCE_USERPTR) == '1') {
		EXPECT_EQ('1', negotiated(fd, F_RESOURCE_BLOB));
		EXPECT_NE(0, offers & more);
	} else {
		EXPECT_EQ(0, offers & more);
		EXPECT_NE(0, virtgpu_userptr(fd, &rdonly, buf, PAGE_SIZE,
					     &handle));
	}
}

FIXTURE(uapi)
{
	struct virtgpu dev;
	size_t size;
	void *buf;
	struct drm_virtgpu_resource_create_blob blob;
};

FIXTURE_VARIANT(uapi)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(uapi);

/* self->blob is a valid request; each test spoils one field of it. */
FIXTURE_SETUP(uapi)
{
	virtgpu_setup(_metadata, &self->dev);
	self->size = 4 * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
	self->blob = (struct drm_virtgpu_resource_create_blob) {
		.blob_mem = variant->way.blob_mem,
		.blob_flags = variant->way.blob_flags,
		.size = self->size,
		.userptr = (uintptr_t)self->buf,
	};
}

FIXTURE_TEARDOWN_PARENT(uapi)
{
	virtgpu_teardown(_metadata, &self->dev);
}

/* Wrong on every device, whether or not it offers the way. */
#define test_err_create(err)						\
	do {								\
		EXPECT_EQ(err, virtgpu_create_blob(self->dev.fd,	\
						   &self->blob));	\
		EXPECT_EQ(0, self->blob.bo_handle);			\
		EXPECT_EQ(0, self->blob.res_handle);			\
		EXPECT_EQ(self->dev.pins, pins_held());			\
	} while (0)

TEST_F(uapi, offered_as_the_parameter_says)
{
	ASSERT_EQ(virtgpu_expected(&self->dev, &variant->way, 0),
		  virtgpu_create_blob(self->dev.fd, &self->blob));
	if (virtgpu_offers(&self->dev, &variant->way)) {
		EXPECT_NE(0, self->blob.bo_handle);
		EXPECT_NE(0, self->blob.res_handle);
	} else {
		EXPECT_EQ(0, self->blob.bo_handle);
		EXPECT_EQ(0, self->blob.res_handle);
	}
}

TEST_F(uapi, unaligned_address)
{
	size_t off;

	for (off = 1; off < PAGE_SIZE; off <<= 1) {
		self->blob.userptr = (uintptr_t)self->buf + off;
		self->blob.size = self->size - PAGE_SIZE;
		test_err_create(-EINVAL);
	}
}

TEST_F(uapi, unaligned_size)
{
	size_t off;

	for (off = 1; off < PAGE_SIZE; off <<= 1) {
		self->blob.size = off;
		test_err_create(-EINVAL);
		self->blob.size = self->size - off;
		test_err_create(-EINVAL);
	}
}

TEST_F(uapi, size_zero)
{
	self->blob.size = 0;
	test_err_create(-EINVAL);
}

TEST_F(uapi, end_wraps_around)
{
	self->blob.size = -(__u64)PAGE_SIZE;
	test_err_create(-EINVAL);
	self->blob.size = -self->blob.userptr;
	test_err_create(-EINVAL);
	self->blob.size = -self->blob.userptr + PAGE_SIZE;
	test_err_create(-EINVAL);
	self->blob.userptr = -(__u64)PAGE_SIZE;
	self->blob.size = 2 * PAGE_SIZE;
	test_err_create(-EINVAL);
}

TEST_F(uapi, flags_beside)
{
	static const __u32 flags[] = {
		VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		VIRTGPU_BLOB_FLAG_USE_SHAREABLE,
		VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		self->blob.blob_flags = variant->way.blob_flags | flags[i];
		test_err_create(-EINVAL);
	}
}

TEST_F(uapi, unknown_flags)
{
	unsigned int bit;

	/* 0x20 is what one client passes for memory shared by address. */
	for (bit = 5; bit < 32; bit++) {
		self->blob.blob_flags = variant->way.blob_flags | 1U << bit;
		test_err_create(-EINVAL);
	}
}

TEST_F(uapi, rdonly_without_userptr)
{
	self->blob.blob_flags = VIRTGPU_BLOB_FLAG_USERPTR_RDONLY;
	test_err_create(-EINVAL);
	self->blob.blob_flags |= VIRTGPU_BLOB_FLAG_USE_MAPPABLE;
	test_err_create(-EINVAL);
}

TEST_F(uapi, blob_mem_of_another_kind)
{
	static const __u32 kinds[] = { 0, VIRTGPU_BLOB_MEM_HOST3D, 4, ~0U };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		self->blob.blob_mem = kinds[i];
		test_err_create(-EINVAL);
	}
}

TEST_F(uapi, blob_id)
{
	self->blob.blob_id = 0x1234567890ULL;
	if (variant->way.blob_mem == VIRTGPU_BLOB_MEM_GUEST)
		test_err_create(virtgpu_expected(&self->dev, &variant->way,
						 -EINVAL));
	else
		EXPECT_EQ(virtgpu_expected(&self->dev, &variant->way, 0),
			  virtgpu_create_blob(self->dev.fd, &self->blob));
}

TEST_F(uapi, pad_is_reserved)
{
	self->blob.pad = 1;
	test_err_create(-EINVAL);
}

/* A command may come with a blob of a context, in whole words. */
TEST_F(uapi, command_beside)
{
	__u32 commands[2] = {};

	self->blob.cmd = (uintptr_t)commands;
	self->blob.cmd_size = sizeof(commands);
	if (variant->way.blob_mem != VIRTGPU_BLOB_MEM_GUEST)
		self->blob.cmd_size--;
	test_err_create(virtgpu_expected(&self->dev, &variant->way, -EINVAL));
}

/* A pointer without the flag is what blob_hints and pad2 always were. */
TEST_F(uapi, without_the_flag_the_pointer_is_nothing)
{
	self->blob.blob_mem = virtgpu_plain_blob_mem(&self->dev);
	self->blob.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE;
	self->blob.blob_hints = ~0U;
	self->blob.pad2 = ~0U;
	EXPECT_EQ(0, virtgpu_create_blob(self->dev.fd, &self->blob));
	EXPECT_EQ(self->dev.pins, pins_held());
}

/* The handle is made but cannot be told: it goes with the file. */
TEST_F(uapi, answer_that_cannot_be_stored)
{
	struct drm_virtgpu_resource_create_blob *blob = map_anon(PAGE_SIZE);

	ASSERT_NE(MAP_FAILED, blob);
	*blob = self->blob;
	ASSERT_EQ(0, mprotect(blob, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EFAULT, virtgpu_create_blob(self->dev.fd, blob));
	EXPECT_EQ(0, close(self->dev.fd));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

#ifdef __x86_64__
/* The system call of a 32-bit program; its pointers have to be such as well. */
static int ioctl_of_32_bit(int fd, unsigned long request, void *arg)
{
	int ret = 54; /* ioctl */

	asm volatile("int $0x80"
		     : "+a" (ret)
		     : "b" (fd), "c" (request), "d" (arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static bool has_32_bit_programs(void)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(ioctl_of_32_bit(-1, 0, NULL) != -EBADF);
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

TEST_F(uapi, called_by_a_32_bit_program)
{
	const size_t pages = self->size / PAGE_SIZE;
	struct drm_virtgpu_resource_create_blob *blob;
	struct drm_virtgpu_getparam *param;
	struct drm_gem_close *gem_close;
	char *low;
	int want;

	if (!has_32_bit_programs())
		SKIP(return, "no CONFIG_IA32_EMULATION");

	low = mmap(NULL, PAGE_SIZE + self->size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, low);

	param = (void *)low;
	param->param = VIRTGPU_PARAM_RESOURCE_USERPTR;
	param->value = (uintptr_t)(param + 1);
	ASSERT_EQ(0, ioctl_of_32_bit(self->dev.fd, DRM_IOCTL_VIRTGPU_GETPARAM,
				     param));
	EXPECT_EQ(self->dev.offers, *(int *)(param + 1));

	want = virtgpu_expected(&self->dev, &variant->way, 0);
	blob = (void *)low;
	*blob = self->blob;
	blob->userptr = (uintptr_t)low + PAGE_SIZE;
	ASSERT_EQ(want, ioctl_of_32_bit(self->dev.fd,
					DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB,
					blob));
	if (want) {
		EXPECT_EQ(0, blob->bo_handle);
		EXPECT_EQ(self->dev.pins, pins_held());
		return;
	}
	EXPECT_NE(0, blob->res_handle);
	EXPECT_EQ(self->dev.pins + pages, pins_held());

	gem_close = (void *)low;
	*gem_close = (struct drm_gem_close) { .handle = blob->bo_handle };
	EXPECT_EQ(0, ioctl_of_32_bit(self->dev.fd, DRM_IOCTL_GEM_CLOSE,
				     gem_close));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}
#endif

/*
 * Every other way to the object. The device may be told to write a read-only
 * pin by some of them, and all of them take the object for one with pages of
 * its own.
 */
FIXTURE(registered)
{
	struct virtgpu dev;
	struct drm_virtgpu_resource_create_blob blob;
	size_t size;
	int primary;
};

FIXTURE_VARIANT(registered)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD_WAYS(registered);

/* By the primary node, where everything can be tried. */
FIXTURE_SETUP(registered)
{
	void *buf;
	int fd;

	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	fd = virtgpu_open_primary(self->dev.fd);
	ASSERT_LE(0, fd);
	close(self->dev.fd);
	self->dev.fd = fd;
	if (self->dev.capset)
		ASSERT_EQ(0, virtgpu_context_init(fd, self->dev.capset));

	self->size = 4 * PAGE_SIZE;
	buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, buf);
	fill(buf, self->size);
	self->blob = (struct drm_virtgpu_resource_create_blob) {
		.blob_mem = variant->way.blob_mem,
		.blob_flags = variant->way.blob_flags,
		.size = self->size,
		.userptr = (uintptr_t)buf,
	};
	ASSERT_EQ(0, virtgpu_create_blob(fd, &self->blob));
}

FIXTURE_TEARDOWN_PARENT(registered)
{
	virtgpu_teardown(_metadata, &self->dev);
}

TEST_F(registered, info)
{
	struct drm_virtgpu_resource_info info = {
		.bo_handle = self->blob.bo_handle,
	};

	EXPECT_EQ(0, virtgpu_resource_info(self->dev.fd, &info));
	EXPECT_EQ(self->blob.res_handle, info.res_handle);
	EXPECT_EQ(self->blob.size, info.size);
	EXPECT_EQ(variant->way.blob_mem, info.blob_mem);
}

TEST_F(registered, wait)
{
	EXPECT_EQ(0, virtgpu_wait(self->dev.fd, self->blob.bo_handle, 0));
	EXPECT_EQ(0, virtgpu_wait(self->dev.fd, self->blob.bo_handle,
				  VIRTGPU_WAIT_NOWAIT));
}

TEST_F(registered, no_mmap)
{
	__u64 offset;

	/* DRM gives offsets to all objects; what counts is the mmap(). */
	if (virtgpu_map(self->dev.fd, self->blob.bo_handle, &offset))
		return;
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->size, PROT_READ, MAP_SHARED,
				   self->dev.fd, offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, self->dev.fd, offset));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(registered, no_mmap_as_dumb_buffer)
{
	struct drm_mode_map_dumb cmd = { .handle = self->blob.bo_handle };

	if (virtgpu_ioctl(self->dev.fd, DRM_IOCTL_MODE_MAP_DUMB, &cmd))
		return;
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->size, PROT_READ, MAP_SHARED,
				   self->dev.fd, cmd.offset));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(registered, no_prime_export)
{
	int dmabuf;

	EXPECT_EQ(-EPERM, virtgpu_prime_export(self->dev.fd,
					       self->blob.bo_handle, &dmabuf));
}

TEST_F(registered, no_open_by_name)
{
	__u32 name, handle;
	int other;

	/* DRM gives names to all objects; what counts is who can open them. */
	if (virtgpu_flink(self->dev.fd, self->blob.bo_handle, &name))
		return;
	other = virtgpu_open_primary(self->dev.fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, virtgpu_authenticate(self->dev.fd, other));
	if (self->dev.capset)
		ASSERT_EQ(0, virtgpu_context_init(other, self->dev.capset));
	EXPECT_EQ(-EACCES, virtgpu_gem_open(other, name, &handle));
	EXPECT_EQ(0, handle);
	EXPECT_EQ(-EACCES, virtgpu_gem_open(self->dev.fd, name, &handle));
	EXPECT_EQ(0, handle);

	/* The failed open must not have taken the object from its owner. */
	EXPECT_EQ(self->dev.pins + (long)(self->size / PAGE_SIZE),
		  pins_held());
}

TEST_F(registered, no_transfer_to_host)
{
	EXPECT_EQ(-EINVAL, virtgpu_transfer_to_host(self->dev.fd,
						    self->blob.bo_handle));
}

TEST_F(registered, no_transfer_from_host)
{
	int has_3d = 0;

	ASSERT_EQ(0, virtgpu_getparam(self->dev.fd, VIRTGPU_PARAM_3D_FEATURES,
				      &has_3d));
	EXPECT_EQ(has_3d ? -EINVAL : -ENOSYS,
		  virtgpu_transfer_from_host(self->dev.fd,
					     self->blob.bo_handle));
}

TEST_F(registered, no_framebuffer)
{
	struct drm_mode_card_res res = {};
	__u32 fb = 0;
	bool kms;

	kms = !virtgpu_ioctl(self->dev.fd, DRM_IOCTL_MODE_GETRESOURCES, &res);
	EXPECT_EQ(kms ? -EINVAL : -EOPNOTSUPP,
		  virtgpu_addfb2(self->dev.fd, self->blob.bo_handle, &fb));
	EXPECT_EQ(0, fb);
}

/*
 * Programs are built with structs of other sizes: what lies behind the one of
 * the driver comes back as it was, and what is missing is zero.
 */
FIXTURE(struct_size)
{
	struct virtgpu dev;
	size_t size;
	void *buf;
};

FIXTURE_VARIANT(struct_size)
{
	unsigned int size;
};

/* Before blob_hints, so without a pointer. */
FIXTURE_VARIANT_ADD(struct_size, 48)
{
	.size = 48,
};

FIXTURE_VARIANT_ADD(struct_size, 56)
{
	.size = 56,
};

/* 0xC040644A and 0xC048644A: the released clients. */
FIXTURE_VARIANT_ADD(struct_size, 64)
{
	.size = 64,
};

FIXTURE_VARIANT_ADD(struct_size, 72)
{
	.size = 72,
};

FIXTURE_VARIANT_ADD(struct_size, 128)
{
	.size = MAX_IOCTL_SIZE,
};

FIXTURE_SETUP(struct_size)
{
	virtgpu_setup(_metadata, &self->dev);
	self->size = 2 * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(struct_size)
{
	virtgpu_teardown(_metadata, &self->dev);
}

/* Calls with a struct of @size and checks that nothing behind it changed. */
static int create_blob_sized(struct __test_metadata *_metadata, int fd,
			     unsigned int size,
			     struct drm_virtgpu_resource_create_blob *blob)
{
	unsigned int i, used = size < sizeof(*blob) ? size : sizeof(*blob);
	unsigned char arg[MAX_IOCTL_SIZE + 16];
	int ret;

	memset(arg, CANARY, sizeof(arg));
	memcpy(arg, blob, used);
	ret = virtgpu_ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE,
				     DRM_COMMAND_BASE +
				     DRM_VIRTGPU_RESOURCE_CREATE_BLOB, size),
			    arg);
	memcpy(blob, arg, used);
	for (i = used; i < sizeof(arg); i++)
		EXPECT_EQ(CANARY, arg[i]) {
			TH_LOG("byte %u was changed", i);
		}
	return ret;
}

TEST_F(struct_size, registers)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(virtgpu_ways); i++) {
		const struct virtgpu_way *way = &virtgpu_ways[i];
		struct drm_virtgpu_resource_create_blob blob = {
			.blob_mem = way->blob_mem,
			.blob_flags = way->blob_flags,
			.size = self->size,
			.userptr = (uintptr_t)self->buf,
		};
		/* Without a pointer in it the struct asks for address 0. */
		int want = variant->size < sizeof(blob) ? -EFAULT : 0;

		EXPECT_EQ(virtgpu_expected(&self->dev, way, want),
			  create_blob_sized(_metadata, self->dev.fd,
					    variant->size, &blob));
		if (want || !virtgpu_offers(&self->dev, way)) {
			EXPECT_EQ(0, blob.bo_handle);
			continue;
		}
		EXPECT_NE(0, blob.bo_handle);
		EXPECT_NE(0, blob.res_handle);
		EXPECT_EQ((uintptr_t)self->buf, blob.userptr);
		EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, blob.bo_handle));
	}
}

TEST_F(struct_size, plain_blob_as_ever)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = virtgpu_plain_blob_mem(&self->dev),
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = self->size,
	};

	EXPECT_EQ(0, create_blob_sized(_metadata, self->dev.fd, variant->size,
				       &blob));
	EXPECT_NE(0, blob.bo_handle);
}

/* What the device refuses is an error of the call, not a dead handle. */
FIXTURE(refused)
{
	struct virtgpu dev;
	size_t size;
	void *buf;
};

FIXTURE_VARIANT(refused)
{
	struct virtgpu_way way;
};

FIXTURE_VARIANT_ADD(refused, host3d_guest)
{
	.way = WAY_HOST3D_GUEST,
};

FIXTURE_VARIANT_ADD(refused, host3d_guest_rdonly)
{
	.way = WAY_HOST3D_GUEST_RDONLY,
};

FIXTURE_SETUP(refused)
{
	virtgpu_setup(_metadata, &self->dev);
	if (!virtgpu_offers(&self->dev, &variant->way))
		SKIP(return, "the device does not offer this");
	self->size = 4 * PAGE_SIZE;
	self->buf = map_anon(self->size);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill(self->buf, self->size);
}

FIXTURE_TEARDOWN_PARENT(refused)
{
	virtgpu_teardown(_metadata, &self->dev);
}

/* The device has no context of capset 0, which is what no CONTEXT_INIT is. */
TEST_F(refused, context_of_no_kind)
{
	int fd = virtgpu_open();
	__u32 handle;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EIO, virtgpu_userptr(fd, &variant->way, self->buf,
					self->size, &handle));
	EXPECT_EQ(0, handle);
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_F_TIMEOUT(refused, context_whose_worker_died, 300)
{
	__u32 handle, before;
	struct compute c;

	if (self->dev.capset != VIRTIO_GPU_CAPSET_COMPUTE)
		SKIP(return, "the device does not compute");
	ASSERT_EQ(0, compute_open(&c));
	ASSERT_EQ(0, virtgpu_userptr(c.fd, &variant->way, self->buf,
				     self->size, &before));
	ASSERT_EQ(0, compute_crash(&c));

	/* Behind the crash, so it is answered when the worker is dead. */
	EXPECT_EQ(-EIO, virtgpu_userptr(c.fd, &variant->way, self->buf,
					self->size, &handle));
	EXPECT_EQ(0, handle);

	/* The device and every other context live. */
	EXPECT_EQ(0, virtgpu_userptr(self->dev.fd, &variant->way, self->buf,
				     self->size, &handle));

	/* What was registered before can still be released. */
	EXPECT_EQ(0, virtgpu_gem_close(c.fd, before));
	EXPECT_EQ(0, compute_close(&c));
	EXPECT_EQ(0, virtgpu_gem_close(self->dev.fd, handle));
	EXPECT_EQ(self->dev.pins, pins_settle(self->dev.pins));
}

TEST_HARNESS_MAIN
