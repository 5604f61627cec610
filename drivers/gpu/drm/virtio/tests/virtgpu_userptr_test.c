// SPDX-License-Identifier: GPL-2.0
/*
 * Unit tests of blobs of user memory, a part of virtgpu_userptr.c.
 *
 * The first suite tests functions. The second plays the device, to see when
 * the pages are given back.
 */

#include <linux/mman.h>
#include <linux/sizes.h>

#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>

#include "virtgpu_mock.h"

#define USERPTR_GUEST	VIRTGPU_RESOURCE_USERPTR_GUEST
#define USERPTR_ALL	(VIRTGPU_RESOURCE_USERPTR_GUEST | \
			 VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST | \
			 VIRTGPU_RESOURCE_USERPTR_RDONLY)

#define USERPTR_PAGES	4

/**
 * struct userptr_test - what the tests use
 * @vgdev: no device's
 * @up: not in use by any
 * @users: who is charged
 * @addr: memory of the test's thread
 * @pages: its pages, each of which the test has pinned once
 */
struct userptr_test {
	struct virtio_gpu_device vgdev;
	struct virtio_gpu_object_userptr up[3];
	struct user_struct users[2];
	unsigned long addr;
	struct page *pages[USERPTR_PAGES];
};

static int userptr_test_init(struct kunit *test)
{
	struct userptr_test *t;

	t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t);
	xa_init(&t->vgdev.userptrs);
	INIT_LIST_HEAD(&t->vgdev.userptr_closing);
	test->priv = t;
	return 0;
}

struct verify_case {
	const char *name;
	int caps;
	u32 mem;
	u32 flags;
	u32 pad;
	u64 addr;
	u64 size;
	int ret;
};

#define VERIFY(_name, _caps, _mem, _flags, _ret) {			\
	.name = _name, .caps = _caps, .mem = VIRTGPU_BLOB_MEM_##_mem,	\
	.flags = _flags, .addr = PAGE_SIZE, .size = PAGE_SIZE, .ret = _ret }

#define VERIFY_RANGE(_name, _addr, _size, _ret) {			\
	.name = _name, .caps = USERPTR_ALL, .mem = VIRTGPU_BLOB_MEM_GUEST, \
	.addr = _addr, .size = _size, .ret = _ret }

#define RET_64BIT	(BITS_PER_LONG == 64 ? 0 : -EINVAL)

static const struct verify_case verify_cases[] = {
	VERIFY("guest", USERPTR_GUEST, GUEST, 0, 0),
	VERIFY("guest unsupported", 0, GUEST, 0, -EOPNOTSUPP),
	VERIFY("host3d_guest", USERPTR_ALL, HOST3D_GUEST, 0, 0),
	VERIFY("host3d_guest unsupported", USERPTR_GUEST, HOST3D_GUEST, 0,
	       -EOPNOTSUPP),
	VERIFY("host3d", USERPTR_ALL, HOST3D, 0, -EINVAL),
	VERIFY("read-only", USERPTR_ALL, GUEST,
	       VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, 0),
	VERIFY("read-only unsupported", USERPTR_GUEST, GUEST,
	       VIRTGPU_BLOB_FLAG_USERPTR_RDONLY, -EOPNOTSUPP),
	VERIFY("mappable", USERPTR_ALL, GUEST,
	       VIRTGPU_BLOB_FLAG_USE_MAPPABLE, -EINVAL),
	VERIFY("shareable", USERPTR_ALL, GUEST,
	       VIRTGPU_BLOB_FLAG_USE_SHAREABLE, -EINVAL),
	VERIFY("cross-device", USERPTR_ALL, GUEST,
	       VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE, -EINVAL),
	VERIFY("unknown flag", USERPTR_ALL, GUEST, BIT(31), -EINVAL),
	VERIFY("senseless and unsupported", 0, GUEST, BIT(31), -EINVAL),
	{ .name = "no blob_mem", .caps = USERPTR_ALL, .size = PAGE_SIZE,
	  .ret = -EINVAL },
	{ .name = "pad", .caps = USERPTR_ALL, .mem = VIRTGPU_BLOB_MEM_GUEST,
	  .size = PAGE_SIZE, .pad = 1, .ret = -EINVAL },
	VERIFY_RANGE("empty", PAGE_SIZE, 0, -EINVAL),
	VERIFY_RANGE("unaligned address", PAGE_SIZE + 1, PAGE_SIZE, -EINVAL),
	VERIFY_RANGE("unaligned size", PAGE_SIZE, PAGE_SIZE - 1, -EINVAL),
	VERIFY_RANGE("below 4 GiB", SZ_2G, SZ_2G - PAGE_SIZE, 0),
	VERIFY_RANGE("up to 4 GiB", SZ_2G, SZ_2G, RET_64BIT),
	VERIFY_RANGE("16 TiB", PAGE_SIZE, SZ_16T, RET_64BIT),
	VERIFY_RANGE("last page but one", -2 * (u64)PAGE_SIZE, PAGE_SIZE,
		     RET_64BIT),
	VERIFY_RANGE("last page", -(u64)PAGE_SIZE, PAGE_SIZE, -EINVAL),
	VERIFY_RANGE("wraps around", SZ_2G, -(u64)PAGE_SIZE, -EINVAL),
};

KUNIT_ARRAY_PARAM_DESC(verify, verify_cases, name);

static void userptr_verify(struct kunit *test)
{
	const struct verify_case *c = test->param_value;
	struct drm_virtgpu_resource_create_blob req = {
		.blob_mem = c->mem,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR | c->flags,
		.pad = c->pad,
		.userptr = c->addr,
		.size = c->size,
	};
	struct userptr_test *t = test->priv;

	t->vgdev.userptr_caps = c->caps;
	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_verify(&t->vgdev, &req), c->ret);
}

/*
 * Runs of pages that need not exist: nobody looks into their struct page,
 * except where that says what the page frame number is.
 */
static struct page *made_up_page(struct kunit *test, unsigned long nr)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM) && !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		kunit_skip(test, "needs CONFIG_SPARSEMEM_VMEMMAP");

	return pfn_to_page(0x1000 + nr);
}

struct run_case {
	const char *name;
	/* two batches of pages, and what they make, until a 0 */
	u8 pages[2][5];
	struct {
		u8 page;
		u8 nr;
	} runs[4];
};

static const struct run_case run_cases[] = {
	{ "contiguous", { { 1, 2, 3 } }, { { 1, 3 } } },
	{ "across batches", { { 1, 2 }, { 3, 4 } }, { { 1, 4 } } },
	{ "scattered", { { 1, 3 }, { 5 } }, { { 1, 1 }, { 3, 1 }, { 5, 1 } } },
	{ "descending", { { 3, 2, 1 } }, { { 3, 1 }, { 2, 1 }, { 1, 1 } } },
	{ "neighbour before", { { 2, 3 }, { 1 } }, { { 2, 2 }, { 1, 1 } } },
	{ "same page", { { 1, 1 }, { 1 } }, { { 1, 1 }, { 1, 1 }, { 1, 1 } } },
	{ "neighbour of an earlier run", { { 1, 2, 8, 9 }, { 3, 4 } },
	  { { 1, 2 }, { 8, 2 }, { 3, 2 } } },
};

KUNIT_ARRAY_PARAM_DESC(run, run_cases, name);

static void userptr_add(struct kunit *test)
{
	const struct run_case *c = test->param_value;
	struct page *pages[ARRAY_SIZE(c->pages[0])];
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(c->pages); i++) {
		for (n = 0; c->pages[i][n]; n++)
			pages[n] = made_up_page(test, c->pages[i][n]);
		KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add(up, pages, n, 8), 0);
	}

	for (i = 0; i < up->nr_runs; i++) {
		KUNIT_EXPECT_PTR_EQ(test, up->runs[i].page,
				    made_up_page(test, c->runs[i].page));
		KUNIT_EXPECT_EQ(test, up->runs[i].nr_pages, c->runs[i].nr);
	}
	KUNIT_EXPECT_EQ(test, c->runs[i].nr, 0);
	kvfree(up->runs);
}

/* An entry is shorter than 4 GiB. */
static void userptr_add_huge(struct kunit *test)
{
	const unsigned long nr = VIRTIO_GPU_USERPTR_MAX_RUN - 1;
	struct page *base = made_up_page(test, 0);
	struct page *pages[] = { base + nr, base + nr + 1 };
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];

	KUNIT_ASSERT_EQ(test, virtio_gpu_userptr_add_run(up, base, nr, 8), 0);

	/* Two more are too many ... */
	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add(up, pages, 2, 8), 0);
	KUNIT_EXPECT_EQ(test, up->nr_runs, 2);
	KUNIT_EXPECT_EQ(test, up->runs[0].nr_pages, nr);
	KUNIT_EXPECT_EQ(test, up->runs[1].nr_pages, 2);

	/* ... one is not, but another one is. */
	up->nr_runs = 1;
	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add(up, &pages[0], 1, 8), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add(up, &pages[1], 1, 8), 0);
	KUNIT_EXPECT_EQ(test, up->nr_runs, 2);
	KUNIT_EXPECT_EQ(test, up->runs[0].nr_pages, nr + 1);
	KUNIT_EXPECT_EQ(test, up->runs[1].nr_pages, 1);
	kvfree(up->runs);
}

static void userptr_add_run_grow(struct kunit *test)
{
	const unsigned int limit = 1000;
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];
	unsigned int i;

	for (i = 0; i < limit; i++)
		KUNIT_ASSERT_EQ(test,
				virtio_gpu_userptr_add_run(up, NULL, i, limit), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add_run(up, NULL, i, limit),
			-E2BIG);

	KUNIT_EXPECT_EQ(test, up->nr_runs, limit);
	KUNIT_EXPECT_EQ(test, up->max_runs, limit);
	for (i = 0; i < limit; i++)
		KUNIT_EXPECT_EQ(test, up->runs[i].nr_pages, i);
	kvfree(up->runs);
}

static void expect_entry(struct kunit *test,
			 const struct virtio_gpu_mem_entry *ent,
			 u64 addr, u32 length)
{
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ent->addr), addr);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(ent->length), length);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(ent->padding), 0);
}

static void userptr_entries_phys(struct kunit *test)
{
	struct page *page = ZERO_PAGE(0);
	struct virtio_gpu_userptr_run runs[] = {
		{ .page = page, .nr_pages = 1 },
		{ .page = page, .nr_pages = VIRTIO_GPU_USERPTR_MAX_RUN },
	};
	struct virtio_gpu_mem_entry *ents;
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];

	up->runs = runs;
	up->nr_runs = ARRAY_SIZE(runs);
	ents = virtio_gpu_userptr_entries(&t->vgdev, up, 1);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(ents), -E2BIG);

	ents = virtio_gpu_userptr_entries(&t->vgdev, up, 2);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ents);
	KUNIT_EXPECT_EQ(test, up->nr_entries, 2);
	expect_entry(test, &ents[0], page_to_phys(page), PAGE_SIZE);
	expect_entry(test, &ents[1], page_to_phys(page), U32_MAX & PAGE_MASK);
	kvfree(ents);
}

struct align_case {
	const char *name;
	u32 align;
	u64 addr;
	u32 length;
	int ret;
};

static const struct align_case align_cases[] = {
	{ "none", 0, SZ_4K, SZ_4K, 0 },
	{ "aligned", SZ_64K, SZ_1G + SZ_64K, SZ_128K, 0 },
	{ "address", SZ_64K, SZ_1G + SZ_32K, SZ_128K, -EINVAL },
	{ "length", SZ_64K, SZ_1G + SZ_64K, SZ_128K + SZ_4K, -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(align, align_cases, name);

/* The DMA API made two segments of three runs, the second as in the case. */
static void userptr_entries_dma(struct kunit *test)
{
	const struct align_case *c = test->param_value;
	struct virtio_gpu_mem_entry *ents;
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];
	struct scatterlist *sg;

	t->vgdev.has_blob_alignment = c->align;
	t->vgdev.blob_alignment = c->align;

	KUNIT_ASSERT_EQ(test, sg_alloc_table(&up->sgt, 3, GFP_KERNEL), 0);
	sg = up->sgt.sgl;
	sg_dma_address(sg) = SZ_2G;
	sg_dma_len(sg) = SZ_1M;
	sg = sg_next(sg);
	sg_dma_address(sg) = c->addr;
	sg_dma_len(sg) = c->length;
	up->sgt.nents = 2;
	up->nr_runs = 3;

	ents = virtio_gpu_userptr_entries(&t->vgdev, up, 1);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(ents), -E2BIG);

	ents = virtio_gpu_userptr_entries(&t->vgdev, up, 2);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(ents), c->ret);
	KUNIT_EXPECT_EQ(test, up->nr_entries, 2);
	if (!IS_ERR(ents)) {
		expect_entry(test, &ents[0], SZ_2G, SZ_1M);
		expect_entry(test, &ents[1], c->addr, c->length);
		kvfree(ents);
	}
	sg_free_table(&up->sgt);
}

/* The limits are those of the thread that was made for this test. */
static void set_memlock(unsigned long nr_pages)
{
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = nr_pages << PAGE_SHIFT;
}

static void userptr_try_charge(struct kunit *test)
{
	struct userptr_test *t = test->priv;
	struct user_struct *user = &t->users[0];

	set_memlock(4);
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_try_charge(user, 5));
	KUNIT_EXPECT_TRUE(test, virtio_gpu_userptr_try_charge(user, 3));
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_try_charge(user, 2));
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_try_charge(user, ULONG_MAX));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&user->locked_vm), 3);
	KUNIT_EXPECT_TRUE(test, virtio_gpu_userptr_try_charge(user, 1));

	set_memlock(2);
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_try_charge(user, 1));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&user->locked_vm), 4);
}

static void userptr_releasing(struct kunit *test)
{
	struct userptr_test *t = test->priv;
	struct virtio_gpu_device *vgdev = &t->vgdev;
	struct virtio_gpu_object_userptr *up = t->up;
	struct user_struct *a = &t->users[0], *b = &t->users[1];

	up[0].user = a;
	up[1].user = b;
	up[2].user = a;
	xa_lock(&vgdev->userptrs);
	virtio_gpu_userptr_set_closed(vgdev, &up[0]);
	virtio_gpu_userptr_set_closed(vgdev, &up[1]);
	virtio_gpu_userptr_set_closed(vgdev, &up[2]);
	virtio_gpu_userptr_set_closed(vgdev, &up[0]);
	xa_unlock(&vgdev->userptrs);

	/* The first time counts. */
	KUNIT_EXPECT_EQ(test, up[0].closed, 1);
	KUNIT_EXPECT_EQ(test, vgdev->userptr_last_closed, 3);

	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_releasing(vgdev, a, 0));
	KUNIT_EXPECT_TRUE(test, virtio_gpu_userptr_releasing(vgdev, a, 1));
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_releasing(vgdev, b, 1));
	KUNIT_EXPECT_TRUE(test, virtio_gpu_userptr_releasing(vgdev, b, 2));

	/* as virtio_gpu_userptr_uncharge() does */
	up[0].user = NULL;
	KUNIT_EXPECT_FALSE(test, virtio_gpu_userptr_releasing(vgdev, a, 2));
	KUNIT_EXPECT_TRUE(test, virtio_gpu_userptr_releasing(vgdev, a, 3));
}

static struct kunit_case userptr_cases[] = {
	KUNIT_CASE_PARAM(userptr_verify, verify_gen_params),
	KUNIT_CASE_PARAM(userptr_add, run_gen_params),
	KUNIT_CASE(userptr_add_huge),
	KUNIT_CASE(userptr_add_run_grow),
	KUNIT_CASE(userptr_entries_phys),
	KUNIT_CASE_PARAM(userptr_entries_dma, align_gen_params),
	KUNIT_CASE(userptr_try_charge),
	KUNIT_CASE(userptr_releasing),
	{}
};

static struct kunit_suite userptr_suite = {
	.name = "virtgpu_userptr",
	.init = userptr_test_init,
	.test_cases = userptr_cases,
};

static void userptr_test_unpin(void *data)
{
	struct userptr_test *t = data;

	unpin_user_pages(t->pages, USERPTR_PAGES);
}

static int userptr_device_init(struct kunit *test)
{
	struct userptr_test *t;
	unsigned int i;
	int ret;

	userptr_test_init(test);
	t = test->priv;

	t->addr = kunit_vm_mmap(test, NULL, 0, USERPTR_PAGES * PAGE_SIZE,
				PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, t->addr, 0);
	KUNIT_ASSERT_LT(test, t->addr, TASK_SIZE);

	ret = pin_user_pages_fast(t->addr, USERPTR_PAGES,
				  FOLL_WRITE | FOLL_LONGTERM, t->pages);
	KUNIT_ASSERT_EQ(test, ret, USERPTR_PAGES);
	ret = kunit_add_action_or_reset(test, userptr_test_unpin, t);
	KUNIT_ASSERT_EQ(test, ret, 0);

	/* Those are counted differently. */
	for (i = 0; i < USERPTR_PAGES; i++)
		if (folio_test_large(page_folio(t->pages[i])))
			kunit_skip(test, "needs pages that are not of a large folio");
	return 0;
}

/* How often a page is pinned, not counting the test's own pin. */
static int page_pins(struct page *page)
{
	return (int)(folio_ref_count(page_folio(page)) / GUP_PIN_COUNTING_BIAS) - 1;
}

static void expect_pins(struct kunit *test, int pins)
{
	struct userptr_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < USERPTR_PAGES; i++)
		KUNIT_EXPECT_EQ(test, page_pins(t->pages[i]), pins);
}

static int pin_pages(struct kunit *test, struct virtio_gpu_object_userptr *up,
		     unsigned int limit)
{
	struct userptr_test *t = test->priv;

	up->nr_pages = USERPTR_PAGES;
	up->write = true;
	return virtio_gpu_userptr_pin(up, t->addr, limit);
}

static void userptr_pin(struct kunit *test)
{
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = t->up;

	KUNIT_EXPECT_EQ(test, pin_pages(test, &up[0], 0), -E2BIG);
	expect_pins(test, 0);

	KUNIT_EXPECT_EQ(test, pin_pages(test, &up[1], USERPTR_PAGES), 0);
	expect_pins(test, 1);
	virtio_gpu_userptr_unpin_runs(&up[1], true);
	expect_pins(test, 0);

	/* Some pages are there, but not all. */
	vm_munmap(t->addr + 2 * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pin_pages(test, &up[2], USERPTR_PAGES), -EFAULT);
	expect_pins(test, 0);
}

/* What does not fit is unpinned, what was added is not. */
static void userptr_add_too_many(struct kunit *test)
{
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_userptr *up = &t->up[0];
	struct page *pages[2];
	int ret;

	ret = pin_user_pages_fast(t->addr, 2, FOLL_WRITE | FOLL_LONGTERM, pages);
	KUNIT_ASSERT_EQ(test, ret, 2);
	/* This way they don't make one run. */
	if (pages[0] < pages[1])
		swap(pages[0], pages[1]);

	KUNIT_EXPECT_EQ(test, virtio_gpu_userptr_add(up, pages, 2, 1), -E2BIG);
	KUNIT_EXPECT_EQ(test, page_pins(pages[0]), 1);
	KUNIT_EXPECT_EQ(test, page_pins(pages[1]), 0);
	virtio_gpu_userptr_unpin_runs(up, false);
	expect_pins(test, 0);
}

#define F_BLOB		BIT_ULL(VIRTIO_GPU_F_RESOURCE_BLOB)
#define F_USERPTR	BIT_ULL(VIRTIO_GPU_F_RESOURCE_USERPTR)
#define F_VIRGL		BIT_ULL(VIRTIO_GPU_F_VIRGL)

struct device_case {
	const char *name;
	u64 features;
	int caps;
	unsigned int queue_size;
	unsigned int max_entries;
};

static const struct device_case device_cases[] = {
	{ "none", 0, 0, 1024, 16384 },
	{ "userptr without blob", F_USERPTR, 0, 1024, 16384 },
	{ "blob", F_BLOB, USERPTR_GUEST, 1024, 16384 },
	{ "blob, virgl", F_BLOB | F_VIRGL, USERPTR_GUEST, 1024, 16384 },
	{ "blob, userptr", F_BLOB | F_USERPTR,
	  USERPTR_GUEST | VIRTGPU_RESOURCE_USERPTR_RDONLY, 1024, 16384 },
#ifdef __LITTLE_ENDIAN
	{ "all", F_BLOB | F_USERPTR | F_VIRGL, USERPTR_ALL, 1024, 16384 },
#endif
	/* two pages of entries, with the command and its answer */
	{ "small queue", F_BLOB, USERPTR_GUEST, 4, 2 * PAGE_SIZE / 16 },
};

KUNIT_ARRAY_PARAM_DESC(device, device_cases, name);

static void userptr_device(struct kunit *test)
{
	const struct device_case *c = test->param_value;
	struct virtgpu_mock *mock = virtgpu_mock_plug(test, c->features,
						      c->queue_size);

	KUNIT_EXPECT_EQ(test, mock->vgdev->userptr_caps, c->caps);
	KUNIT_EXPECT_EQ(test, mock->vgdev->userptr_max_entries, c->max_entries);
}

static bool encrypted(void)
{
	return true;
}

/* Of an encrypted guest the device sees nothing, whatever it offers. */
static void userptr_encrypted(struct kunit *test)
{
	struct virtgpu_mock *mock;

	kunit_activate_static_stub(test, virtio_gpu_memory_is_encrypted,
				   encrypted);
	mock = virtgpu_mock_plug(test, F_BLOB | F_USERPTR | F_VIRGL, 1024);
	KUNIT_EXPECT_EQ(test, mock->vgdev->userptr_caps, 0);
}

static struct virtgpu_mock *plug(struct kunit *test, u64 features)
{
	return virtgpu_mock_plug(test, features | F_BLOB, 64);
}

static int userptr_create(struct kunit *test, struct virtio_gpu_device *vgdev,
			  u32 flags, struct virtio_gpu_object **bo)
{
	struct userptr_test *t = test->priv;
	struct virtio_gpu_object_params params = {
		.size = USERPTR_PAGES * PAGE_SIZE,
		.blob = true,
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR | flags,
	};

	return virtio_gpu_userptr_create(vgdev, &params, t->addr, bo);
}

/* Let the driver process the answers. */
static void flush_answers(struct virtio_gpu_device *vgdev)
{
	flush_work(&vgdev->ctrlq.dequeue_work);
	flush_work(&vgdev->obj_free_work);
	flush_work(&vgdev->userptr_release_work);
}

/* An object that the device knows. From now on the test gives the answers. */
static struct virtio_gpu_object *userptr_live(struct kunit *test,
					      struct virtgpu_mock *mock)
{
	struct virtio_gpu_device *vgdev = mock->vgdev;
	struct virtio_gpu_object *bo;

	KUNIT_ASSERT_EQ(test, userptr_create(test, vgdev, 0, &bo), 0);
	flush_answers(vgdev);
	mock->answer = 0;
	expect_pins(test, 1);
	KUNIT_EXPECT_EQ(test, atomic64_read(&current->mm->pinned_vm),
			USERPTR_PAGES);
	return bo;
}

static void userptr_put(struct virtio_gpu_object *bo)
{
	drm_gem_object_put(&bo->base.base);
}

static void expect_released(struct kunit *test, struct virtio_gpu_device *vgdev)
{
	expect_pins(test, 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&current->mm->pinned_vm), 0);
	KUNIT_EXPECT_TRUE(test, xa_empty(&vgdev->userptrs));
	KUNIT_EXPECT_TRUE(test, list_empty(&vgdev->userptr_closing));
}

struct create_case {
	const char *name;
	u64 features;
	u32 flags;
	u32 wire_flags;
};

static const struct create_case create_cases[] = {
	{ "without the feature", 0, 0, 0 },
	{ "with the feature", F_USERPTR, 0, VIRTIO_GPU_BLOB_FLAG_USE_USERPTR },
	{ "read-only", F_USERPTR, VIRTGPU_BLOB_FLAG_USERPTR_RDONLY,
	  VIRTIO_GPU_BLOB_FLAG_USE_USERPTR | VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY },
};

KUNIT_ARRAY_PARAM_DESC(create, create_cases, name);

static void userptr_create_command(struct kunit *test)
{
	const struct create_case *c = test->param_value;
	struct virtgpu_mock *mock = plug(test, c->features);
	struct virtio_gpu_resource_create_blob *cmd = &mock->create;
	struct virtio_gpu_object *bo;

	KUNIT_ASSERT_EQ(test, userptr_create(test, mock->vgdev, c->flags, &bo),
			0);

	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->resource_id), bo->hw_res_handle);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->blob_mem),
			VIRTIO_GPU_BLOB_MEM_GUEST);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->blob_flags), c->wire_flags);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(cmd->size), USERPTR_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->nr_entries),
			to_virtio_gpu_userptr(bo)->nr_runs);
	userptr_put(bo);
}

/* What the device refused it does not know. */
static void userptr_refused(struct kunit *test)
{
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_device *vgdev = mock->vgdev;
	struct virtio_gpu_object *bo;

	mock->answer = VIRTIO_GPU_RESP_ERR_UNSPEC;
	KUNIT_EXPECT_EQ(test, userptr_create(test, vgdev, 0, &bo), -EIO);
	expect_pins(test, 0);

	mock->answer = 0;
	flush_answers(vgdev);
	flush_delayed_work(&vgdev->userptr_unref_work);
	KUNIT_EXPECT_NULL(test, virtgpu_mock_take(mock));
	expect_released(test, vgdev);
}

struct unref_case {
	const char *name;
	enum virtio_gpu_ctrl_type answer;
};

static const struct unref_case unref_cases[] = {
	{ "ok", VIRTIO_GPU_RESP_OK_NODATA },
	{ "unknown resource", VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID },
	{ "other error", VIRTIO_GPU_RESP_ERR_UNSPEC },
};

KUNIT_ARRAY_PARAM_DESC(unref, unref_cases, name);

/* The pages are given back when the device has answered, and not before. */
static void userptr_unref(struct kunit *test)
{
	const struct unref_case *c = test->param_value;
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_object *bo = userptr_live(test, mock);
	struct virtio_gpu_device *vgdev = mock->vgdev;
	struct virtio_gpu_resource_unref *cmd;
	u32 id = bo->hw_res_handle;

	userptr_put(bo);
	expect_pins(test, 1);

	flush_delayed_work(&vgdev->userptr_unref_work);
	cmd = virtgpu_mock_take(mock);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->hdr.type),
			VIRTIO_GPU_CMD_RESOURCE_UNREF);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(cmd->resource_id), id);
	flush_work(&vgdev->userptr_release_work);
	expect_pins(test, 1);

	virtgpu_mock_answer(mock, c->answer);
	flush_answers(vgdev);
	KUNIT_EXPECT_NULL(test, virtgpu_mock_take(mock));
	expect_released(test, vgdev);
}

/* Up to then the device may write to the pages. */
static void expect_pinned_before_reset(struct virtgpu_mock *mock)
{
	expect_pins(kunit_get_current_test(), 1);
	mock->resetting = NULL;
}

struct reset_case {
	const char *name;
	enum reset_stage {
		LIVE,
		CLOSED,
		UNREF_SENT,
		UNREF_ANSWERED,
	} stage;
};

static const struct reset_case reset_cases[] = {
	{ "live", LIVE },
	{ "closed", CLOSED },
	{ "unref sent", UNREF_SENT },
	{ "unref answered", UNREF_ANSWERED },
};

KUNIT_ARRAY_PARAM_DESC(reset, reset_cases, name);

/* A reset gives the pages back at any time, and nothing does once more. */
static void userptr_reset(struct kunit *test)
{
	const struct reset_case *c = test->param_value;
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_object *bo = userptr_live(test, mock);
	struct virtio_gpu_device *vgdev = mock->vgdev;

	/* No further than the case says. */
	disable_delayed_work_sync(&vgdev->userptr_unref_work);
	disable_work_sync(&vgdev->userptr_release_work);

	if (c->stage >= CLOSED)
		userptr_put(bo);
	if (c->stage >= UNREF_SENT) {
		virtio_gpu_userptr_unref_work(&vgdev->userptr_unref_work.work);
		KUNIT_EXPECT_NOT_NULL(test, virtgpu_mock_take(mock));
	}
	if (c->stage >= UNREF_ANSWERED) {
		virtgpu_mock_answer(mock, VIRTIO_GPU_RESP_OK_NODATA);
		flush_answers(vgdev);
	}
	expect_pins(test, 1);

	mock->resetting = expect_pinned_before_reset;
	virtio_gpu_reset(vgdev);
	KUNIT_EXPECT_NULL(test, mock->resetting);
	expect_pins(test, 0);

	if (c->stage == LIVE)
		userptr_put(bo);
	virtio_gpu_userptr_unref_work(&vgdev->userptr_unref_work.work);
	virtio_gpu_userptr_release_work(&vgdev->userptr_release_work);
	KUNIT_EXPECT_NULL(test, virtgpu_mock_take(mock));
	expect_released(test, vgdev);

	virtgpu_mock_unplug(test, mock);
	expect_released(test, vgdev);
}

static void reset_device(struct virtgpu_mock *mock)
{
	virtio_gpu_reset(mock->vgdev);
}

/* A reset while the program waits for the answer to RESOURCE_CREATE_BLOB. */
static void userptr_reset_creating(struct kunit *test)
{
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_device *vgdev = mock->vgdev;
	struct virtio_gpu_object *bo;

	mock->answer = 0;
	mock->notified = reset_device;
	KUNIT_EXPECT_EQ(test, userptr_create(test, vgdev, 0, &bo), -EIO);
	expect_pins(test, 0);

	virtgpu_mock_unplug(test, mock);
	expect_released(test, vgdev);
}

static void fail_device(struct virtgpu_mock *mock)
{
	mock->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_config_changed(&mock->vdev);
}

/* A device that needs a reset may have what it did not answer. */
static void userptr_device_failed(struct kunit *test)
{
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_device *vgdev = mock->vgdev;
	struct virtio_gpu_object *bo;

	mock->answer = 0;
	mock->notified = fail_device;
	KUNIT_EXPECT_EQ(test, userptr_create(test, vgdev, 0, &bo), -EIO);
	expect_pins(test, 1);
	KUNIT_EXPECT_NOT_NULL(test, virtgpu_mock_take(mock));

	KUNIT_EXPECT_EQ(test, userptr_create(test, vgdev, 0, &bo), -EIO);
	expect_pins(test, 1);
	KUNIT_EXPECT_NULL(test, virtgpu_mock_take(mock));

	/* It did, and answers after all. */
	virtgpu_mock_answer(mock, VIRTIO_GPU_RESP_OK_NODATA);
	flush_answers(vgdev);
	expect_pins(test, 1);

	flush_delayed_work(&vgdev->userptr_unref_work);
	KUNIT_ASSERT_NOT_NULL(test, virtgpu_mock_take(mock));
	expect_pins(test, 1);

	virtgpu_mock_answer(mock, VIRTIO_GPU_RESP_OK_NODATA);
	flush_answers(vgdev);
	expect_released(test, vgdev);
}

static void userptr_unplug(struct kunit *test)
{
	struct virtgpu_mock *mock = plug(test, F_USERPTR);
	struct virtio_gpu_object *bo = userptr_live(test, mock);
	struct virtio_gpu_device *vgdev = mock->vgdev;

	mock->resetting = expect_pinned_before_reset;
	virtgpu_mock_unplug(test, mock);
	expect_pins(test, 0);

	userptr_put(bo);
	KUNIT_EXPECT_EQ(test, userptr_create(test, vgdev, 0, &bo), -EIO);
	expect_released(test, vgdev);
}

static struct kunit_case userptr_device_cases[] = {
	KUNIT_CASE(userptr_pin),
	KUNIT_CASE(userptr_add_too_many),
	KUNIT_CASE_PARAM(userptr_device, device_gen_params),
	KUNIT_CASE(userptr_encrypted),
	KUNIT_CASE_PARAM(userptr_create_command, create_gen_params),
	KUNIT_CASE(userptr_refused),
	KUNIT_CASE_PARAM(userptr_unref, unref_gen_params),
	KUNIT_CASE_PARAM(userptr_reset, reset_gen_params),
	KUNIT_CASE(userptr_reset_creating),
	KUNIT_CASE(userptr_device_failed),
	KUNIT_CASE(userptr_unplug),
	{}
};

static struct kunit_suite userptr_device_suite = {
	.name = "virtgpu_userptr_device",
	.init = userptr_device_init,
	.test_cases = userptr_device_cases,
};

kunit_test_suites(&userptr_suite, &userptr_device_suite);
