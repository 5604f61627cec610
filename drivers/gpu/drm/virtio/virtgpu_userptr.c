// SPDX-License-Identifier: GPL-2.0
/*
 * Blob resources that consist of a program's own memory.
 *
 * The pages are pinned for as long as the device may access them, which is
 * longer than the GEM object lives: until the device has answered
 * RESOURCE_UNREF, or was reset. Nothing else holds them, there is no notifier.
 *
 *	pin -> CREATE_BLOB -> its answer -> ... -> free -> UNREF -> its answer
 *	 `-- the device refused: unpin at once                  `-- unpin
 *
 * Documentation/gpu/virtio-gpu-userptr.rst describes the interface.
 *
 * Locks, outermost first: userptr_unpin_sem, then the lock of the xarray
 * userptrs, which is never held over anything that sleeps. None is held while
 * pages are pinned or the device's answer is waited for.
 */

#include <linux/cc_platform.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/swiotlb.h>

#include <kunit/static_stub.h>

#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "virtgpu_drv.h"
#include "virtgpu_trace.h"

/*
 * Most entries of one command: what QEMU accepts (its
 * virtio_gpu_create_mapping_iov()). 64 MiB if no two pages are contiguous.
 */
#define VIRTIO_GPU_USERPTR_MAX_ENTRIES 16384

/* Pages pinned at a time: as many pointers as one page holds. */
#define VIRTIO_GPU_USERPTR_BATCH (PAGE_SIZE / sizeof(struct page *))

/* The length of an entry is 32 bits wide. */
#define VIRTIO_GPU_USERPTR_MAX_RUN (U32_MAX >> PAGE_SHIFT)

/* Contiguous pages: one entry where the device uses guest-physical addresses. */
struct virtio_gpu_userptr_run {
	struct page *page;
	unsigned long nr_pages;
};

/**
 * enum virtio_gpu_userptr_state - what the device knows of the object
 * @USERPTR_UNKNOWN: nothing: not told yet, or it refused
 * @USERPTR_CREATING: RESOURCE_CREATE_BLOB is on its way or being answered
 * @USERPTR_LIVE: the device may access the pages
 * @USERPTR_UNREF: the GEM object is gone, RESOURCE_UNREF is to be sent or
 *	answered; the device may still access the pages
 * @USERPTR_LOST: the device was reset
 */
enum virtio_gpu_userptr_state {
	USERPTR_UNKNOWN,
	USERPTR_CREATING,
	USERPTR_LIVE,
	USERPTR_UNREF,
	USERPTR_LOST,
};

/* In state USERPTR_UNREF: RESOURCE_UNREF is to be sent; was answered. */
#define USERPTR_MARK_UNREF	XA_MARK_0
#define USERPTR_MARK_RELEASE	XA_MARK_1

/**
 * struct virtio_gpu_object_userptr - a blob of user memory
 * @base: the common object; neither shmem nor vram
 * @state: written under the lock of &virtio_gpu_device.userptrs, as are the
 *	next four
 * @pinned: the pages are pinned and charged; whoever clears it gives them back
 * @opened: the one handle was created
 * @closed: 0, or the number of the event that the handle was closed, or that
 *	there will be none: the pages are on their way back
 * @closing: in &virtio_gpu_device.userptr_closing if @closed
 * @write: pinned for writing
 * @nr_pages: number of pages pinned and charged
 * @nr_entries: number of entries that the device was given
 * @nr_runs: number of elements of @runs in use
 * @max_runs: number of elements of @runs allocated
 * @runs: the pages, in order
 * @sgt: their DMA mapping, where the DMA API is in use
 * @user: who is charged, NULL if nobody is (CAP_IPC_LOCK)
 * @mm: whose pinned_vm counts the pages
 */
struct virtio_gpu_object_userptr {
	struct virtio_gpu_object base;
	enum virtio_gpu_userptr_state state;
	bool pinned;
	bool opened;
	u64 closed;
	struct list_head closing;
	bool write;
	unsigned long nr_pages;
	unsigned int nr_entries;
	unsigned int nr_runs;
	unsigned int max_runs;
	struct virtio_gpu_userptr_run *runs;
	struct sg_table sgt;
	struct user_struct *user;
	struct mm_struct *mm;
};

#define to_virtio_gpu_userptr(obj) \
	container_of((obj), struct virtio_gpu_object_userptr, base)

static struct virtio_gpu_object_userptr *
gem_to_virtio_gpu_userptr(struct drm_gem_object *obj)
{
	return to_virtio_gpu_userptr(gem_to_virtio_gpu_obj(obj));
}

static enum dma_data_direction
virtio_gpu_userptr_dma_dir(struct virtio_gpu_object_userptr *up)
{
	return up->write ? DMA_BIDIRECTIONAL : DMA_TO_DEVICE;
}

/*
 * Accounting. Like io_uring and iommufd, against the user rather than the mm:
 * an mm is left behind by exec, and a file can be passed on.
 */

/* The pages are on their way back. */
static void virtio_gpu_userptr_set_closed(struct virtio_gpu_device *vgdev,
					  struct virtio_gpu_object_userptr *up)
{
	lockdep_assert_held(&vgdev->userptrs.xa_lock);

	if (up->closed)
		return;

	up->closed = ++vgdev->userptr_last_closed;
	list_add_tail(&up->closing, &vgdev->userptr_closing);
}

/* Has this user pages on their way back that were closed up to @closed? */
static bool virtio_gpu_userptr_releasing(struct virtio_gpu_device *vgdev,
					 struct user_struct *user, u64 closed)
{
	struct virtio_gpu_object_userptr *up;
	bool found = false;

	xa_lock(&vgdev->userptrs);
	list_for_each_entry(up, &vgdev->userptr_closing, closing) {
		found = up->user == user && up->closed <= closed;
		if (found || up->closed > closed)
			break;
	}
	xa_unlock(&vgdev->userptrs);
	return found;
}

static bool virtio_gpu_userptr_try_charge(struct user_struct *user,
					  unsigned long nr_pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long locked = atomic_long_read(&user->locked_vm);

	do {
		if (nr_pages > limit || locked > limit - nr_pages)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &locked,
					  locked + nr_pages));
	return true;
}

static bool virtio_gpu_userptr_charge_settled(struct virtio_gpu_device *vgdev,
					      struct user_struct *user,
					      unsigned long nr_pages,
					      u64 closed, bool *ok)
{
	/* In this order: what is released in between is seen by the charge. */
	bool releasing = virtio_gpu_userptr_releasing(vgdev, user, closed) &&
			 !READ_ONCE(vgdev->userptr_device_failed);

	*ok = virtio_gpu_userptr_try_charge(user, nr_pages);
	return *ok || !releasing;
}

/*
 * What the program has closed is given back only when the device has answered.
 * Don't let it see that: at the limit, wait for what was closed before.
 */
static int virtio_gpu_userptr_charge_user(struct virtio_gpu_device *vgdev,
					  struct user_struct *user,
					  unsigned long nr_pages)
{
	u64 closed;
	bool ok;
	int ret;

	if (nr_pages > rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT)
		return -ENOMEM;
	if (virtio_gpu_userptr_try_charge(user, nr_pages))
		return 0;

	xa_lock(&vgdev->userptrs);
	closed = vgdev->userptr_last_closed;
	xa_unlock(&vgdev->userptrs);

	ret = wait_event_state(vgdev->userptr_wq,
			       virtio_gpu_userptr_charge_settled(vgdev, user,
								 nr_pages,
								 closed, &ok),
			       (TASK_KILLABLE | TASK_FREEZABLE));
	if (ret)
		return -EINTR;
	return ok ? 0 : -ENOMEM;
}

static int virtio_gpu_userptr_charge(struct virtio_gpu_device *vgdev,
				     struct virtio_gpu_object_userptr *up)
{
	int ret;

	if (!can_do_mlock())
		return -EPERM;

	if (!capable(CAP_IPC_LOCK)) {
		struct user_struct *user = get_uid(current_user());

		ret = virtio_gpu_userptr_charge_user(vgdev, user, up->nr_pages);
		if (ret) {
			free_uid(user);
			return ret;
		}
		up->user = user;
	}

	mmgrab(current->mm);
	up->mm = current->mm;
	atomic64_add(up->nr_pages, &up->mm->pinned_vm);
	return 0;
}

static void virtio_gpu_userptr_uncharge(struct virtio_gpu_device *vgdev,
					struct virtio_gpu_object_userptr *up)
{
	struct user_struct *user = up->user;

	atomic64_sub(up->nr_pages, &up->mm->pinned_vm);
	mmdrop(up->mm);

	if (user) {
		atomic_long_sub(up->nr_pages, &user->locked_vm);
		/* after the sub, see virtio_gpu_userptr_charge_settled() */
		xa_lock(&vgdev->userptrs);
		up->user = NULL;
		xa_unlock(&vgdev->userptrs);
		free_uid(user);
	}
}

/*
 * Pinning.
 */

static void virtio_gpu_userptr_unpin_runs(struct virtio_gpu_object_userptr *up,
					  bool dirty)
{
	unsigned int i;

	for (i = 0; i < up->nr_runs; i++) {
		unpin_user_page_range_dirty_lock(up->runs[i].page,
						 up->runs[i].nr_pages, dirty);
		cond_resched();
	}

	kvfree(up->runs);
	up->runs = NULL;
	up->nr_runs = 0;
	up->max_runs = 0;
}

static int virtio_gpu_userptr_add_run(struct virtio_gpu_object_userptr *up,
				      struct page *page, unsigned long nr_pages,
				      unsigned int limit)
{
	struct virtio_gpu_userptr_run *runs;
	unsigned int max;

	if (up->nr_runs == limit)
		return -E2BIG;

	if (up->nr_runs == up->max_runs) {
		max = min(limit, max(2 * up->max_runs, 16));
		runs = kvrealloc(up->runs, array_size(max, sizeof(*runs)),
				 GFP_KERNEL_ACCOUNT);
		if (!runs)
			return -ENOMEM;
		up->runs = runs;
		up->max_runs = max;
	}

	up->runs[up->nr_runs++] = (struct virtio_gpu_userptr_run){
		.page = page,
		.nr_pages = nr_pages,
	};
	return 0;
}

/* On failure, the pages that were not added are unpinned. */
static int virtio_gpu_userptr_add(struct virtio_gpu_object_userptr *up,
				  struct page **pages, unsigned int nr,
				  unsigned int limit)
{
	unsigned int i, n;
	int ret;

	for (i = 0; i < nr; i += n) {
		struct virtio_gpu_userptr_run *run;

		n = num_pages_contiguous(&pages[i], nr - i);

		run = up->nr_runs ? &up->runs[up->nr_runs - 1] : NULL;
		if (run && run->page + run->nr_pages == pages[i] &&
		    page_to_pfn(run->page) + run->nr_pages == page_to_pfn(pages[i]) &&
		    run->nr_pages + n <= VIRTIO_GPU_USERPTR_MAX_RUN) {
			run->nr_pages += n;
			continue;
		}

		ret = virtio_gpu_userptr_add_run(up, pages[i], n, limit);
		if (ret) {
			unpin_user_pages(&pages[i], nr - i);
			return ret;
		}
	}

	return 0;
}

/**
 * virtio_gpu_userptr_pin - pin the caller's memory
 * @up: object with @nr_pages and @write set
 * @addr: where the memory starts, a multiple of the page size
 * @limit: most runs that it may consist of
 *
 * Can block for as long as a page fault of the caller can, so it must not be
 * called in a drm_dev_enter() section.
 *
 * Return: 0, -E2BIG when there are more than @limit runs, -EINTR when killed,
 * or what pin_user_pages_fast() says; on failure nothing stays pinned.
 */
static int virtio_gpu_userptr_pin(struct virtio_gpu_object_userptr *up,
				  unsigned long addr, unsigned int limit)
{
	unsigned int gup_flags = FOLL_LONGTERM;
	unsigned long left = up->nr_pages;
	struct page **pages;
	int nr, ret = 0;

	lockdep_assert_none_held_once();

	if (up->write)
		gup_flags |= FOLL_WRITE;

	pages = (struct page **)__get_free_page(GFP_KERNEL);
	if (!pages)
		return -ENOMEM;

	while (left) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		cond_resched();

		nr = pin_user_pages_fast(addr,
					 min(left, VIRTIO_GPU_USERPTR_BATCH),
					 gup_flags, pages);
		if (nr <= 0) {
			/* The mm's word for an interrupted lock is EAGAIN. */
			ret = nr == -EAGAIN ? -EINTR : nr ?: -EFAULT;
			break;
		}

		ret = virtio_gpu_userptr_add(up, pages, nr, limit);
		if (ret)
			break;

		addr += (unsigned long)nr << PAGE_SHIFT;
		left -= nr;
	}

	free_page((unsigned long)pages);
	if (ret)
		virtio_gpu_userptr_unpin_runs(up, false);
	return ret;
}

/*
 * Addresses for the device.
 */

static int virtio_gpu_userptr_dma_map(struct virtio_gpu_device *vgdev,
				      struct virtio_gpu_object_userptr *up)
{
	struct scatterlist *sg;
	unsigned int i;
	int ret;

	ret = sg_alloc_table(&up->sgt, up->nr_runs, GFP_KERNEL);
	if (ret)
		return ret;

	for_each_sgtable_sg(&up->sgt, sg, i)
		sg_set_page(sg, up->runs[i].page,
			    up->runs[i].nr_pages << PAGE_SHIFT, 0);

	/* The device keeps the addresses: nobody would sync a bounce buffer. */
	ret = dma_map_sgtable(vgdev->vdev->dev.parent, &up->sgt,
			      virtio_gpu_userptr_dma_dir(up),
			      DMA_ATTR_REQUIRE_COHERENT);
	if (ret) {
		sg_free_table(&up->sgt);
		memset(&up->sgt, 0, sizeof(up->sgt));
	}
	return ret;
}

static void virtio_gpu_userptr_dma_unmap(struct virtio_gpu_device *vgdev,
					 struct virtio_gpu_object_userptr *up)
{
	if (!up->sgt.sgl)
		return;

	dma_unmap_sgtable(vgdev->vdev->dev.parent, &up->sgt,
			  virtio_gpu_userptr_dma_dir(up),
			  DMA_ATTR_REQUIRE_COHERENT);
	sg_free_table(&up->sgt);
	memset(&up->sgt, 0, sizeof(up->sgt));
}

static void virtio_gpu_userptr_set_entry(struct virtio_gpu_mem_entry *ent,
					 u64 addr, u32 length)
{
	ent->addr = cpu_to_le64(addr);
	ent->length = cpu_to_le32(length);
	ent->padding = 0;
}

static struct virtio_gpu_mem_entry *
virtio_gpu_userptr_entries(struct virtio_gpu_device *vgdev,
			   struct virtio_gpu_object_userptr *up,
			   unsigned int limit)
{
	struct virtio_gpu_mem_entry *ents;
	struct scatterlist *sg;
	unsigned int i;

	up->nr_entries = up->sgt.sgl ? up->sgt.nents : up->nr_runs;
	if (up->nr_entries > limit)
		return ERR_PTR(-E2BIG);

	ents = kvmalloc_objs(*ents, up->nr_entries);
	if (!ents)
		return ERR_PTR(-ENOMEM);

	if (up->sgt.sgl) {
		for_each_sgtable_dma_sg(&up->sgt, sg, i)
			virtio_gpu_userptr_set_entry(&ents[i], sg_dma_address(sg),
						     sg_dma_len(sg));
	} else {
		for (i = 0; i < up->nr_runs; i++)
			virtio_gpu_userptr_set_entry(&ents[i],
						     page_to_phys(up->runs[i].page),
						     up->runs[i].nr_pages << PAGE_SHIFT);
	}

	if (vgdev->has_blob_alignment) {
		for (i = 0; i < up->nr_entries; i++) {
			if (!IS_ALIGNED(le64_to_cpu(ents[i].addr) |
					le32_to_cpu(ents[i].length),
					vgdev->blob_alignment)) {
				kvfree(ents);
				return ERR_PTR(-EINVAL);
			}
		}
	}

	return ents;
}

/*
 * Giving pages and objects back. Pages are given back, and objects destroyed,
 * with userptr_unpin_sem held: for reading, or by virtio_gpu_userptr_reset(),
 * whose walk over all objects nobody disturbs that way.
 */

/* Give the pages back, if that has not happened. */
static void __virtio_gpu_userptr_unpin(struct virtio_gpu_device *vgdev,
				       struct virtio_gpu_object_userptr *up)
{
	bool pinned;

	lockdep_assert_held(&vgdev->userptr_unpin_sem);

	xa_lock(&vgdev->userptrs);
	pinned = up->pinned;
	WRITE_ONCE(up->pinned, false);
	xa_unlock(&vgdev->userptrs);
	if (!pinned)
		return;

	trace_virtio_gpu_userptr_release(vgdev->ddev, up->base.hw_res_handle,
					 up->nr_pages, up->write);
	virtio_gpu_userptr_dma_unmap(vgdev, up);
	virtio_gpu_userptr_unpin_runs(up, up->write);
	virtio_gpu_userptr_uncharge(vgdev, up);
}

static void virtio_gpu_userptr_unpin(struct virtio_gpu_device *vgdev,
				     struct virtio_gpu_object_userptr *up)
{
	down_read(&vgdev->userptr_unpin_sem);
	__virtio_gpu_userptr_unpin(vgdev, up);
	up_read(&vgdev->userptr_unpin_sem);
}

/* Nobody uses the object any more, and the device does not know it. */
static void __virtio_gpu_userptr_destroy(struct virtio_gpu_device *vgdev,
					 struct virtio_gpu_object_userptr *up)
{
	u32 id = up->base.hw_res_handle;

	lockdep_assert_held(&vgdev->userptr_unpin_sem);
	__virtio_gpu_userptr_unpin(vgdev, up);

	xa_lock(&vgdev->userptrs);
	if (id)
		__xa_erase(&vgdev->userptrs, id);
	if (up->closed)
		list_del(&up->closing);
	xa_unlock(&vgdev->userptrs);

	if (id)
		virtio_gpu_resource_id_put(vgdev, id);
	drm_gem_object_release(&up->base.base.base);
	kfree(up);

	/* for virtio_gpu_userptr_charge_user() */
	wake_up_all(&vgdev->userptr_wq);
}

/* Take the next object with this mark, by its id. */
static struct virtio_gpu_object_userptr *
virtio_gpu_userptr_next(struct virtio_gpu_device *vgdev, xa_mark_t mark,
			unsigned long *id)
{
	struct virtio_gpu_object_userptr *up;

	*id = 0;
	xa_lock(&vgdev->userptrs);
	up = xa_find(&vgdev->userptrs, id, ULONG_MAX, mark);
	if (up)
		__xa_clear_mark(&vgdev->userptrs, *id, mark);
	xa_unlock(&vgdev->userptrs);
	return up;
}

static void virtio_gpu_userptr_release_work(struct work_struct *work)
{
	struct virtio_gpu_device *vgdev =
		container_of(work, struct virtio_gpu_device,
			     userptr_release_work);
	struct virtio_gpu_object_userptr *up;
	unsigned long id;

	down_read(&vgdev->userptr_unpin_sem);
	while ((up = virtio_gpu_userptr_next(vgdev, USERPTR_MARK_RELEASE, &id)))
		__virtio_gpu_userptr_destroy(vgdev, up);
	up_read(&vgdev->userptr_unpin_sem);
}

/* Runs in the response queue's work, which must not wait for an unpin. */
static void virtio_gpu_userptr_unref_cb(struct virtio_gpu_device *vgdev,
					struct virtio_gpu_vbuffer *vbuf)
{
	struct virtio_gpu_resource_unref *cmd =
		(struct virtio_gpu_resource_unref *)vbuf->buf;
	struct virtio_gpu_ctrl_hdr *resp =
		(struct virtio_gpu_ctrl_hdr *)vbuf->resp_buf;
	u32 id = le32_to_cpu(cmd->resource_id);
	struct virtio_gpu_object_userptr *up;

	trace_virtio_gpu_userptr_answer(vgdev->ddev, id,
					VIRTIO_GPU_CMD_RESOURCE_UNREF,
					le32_to_cpu(resp->type));

	/* An error means that the device does not know it: as good. */
	xa_lock(&vgdev->userptrs);
	up = xa_load(&vgdev->userptrs, id);
	if (up && up->state == USERPTR_UNREF)
		__xa_set_mark(&vgdev->userptrs, id, USERPTR_MARK_RELEASE);
	xa_unlock(&vgdev->userptrs);

	queue_work(system_dfl_wq, &vgdev->userptr_release_work);
}

/*
 * Frozen over suspend, so that nothing is sent then; it is the reset that
 * releases what is left.
 */
static void virtio_gpu_userptr_unref_work(struct work_struct *work)
{
	struct virtio_gpu_device *vgdev =
		container_of(to_delayed_work(work), struct virtio_gpu_device,
			     userptr_unref_work);
	struct virtio_gpu_object_userptr *up;
	unsigned long id;
	int ret;

	while (virtio_gpu_userptr_next(vgdev, USERPTR_MARK_UNREF, &id)) {
		ret = virtio_gpu_cmd_unref_userptr(vgdev, id,
						   virtio_gpu_userptr_unref_cb);
		if (ret != -ENOMEM)
			continue;

		xa_lock(&vgdev->userptrs);
		up = xa_load(&vgdev->userptrs, id);
		if (up && up->state == USERPTR_UNREF)
			__xa_set_mark(&vgdev->userptrs, id, USERPTR_MARK_UNREF);
		xa_unlock(&vgdev->userptrs);
		queue_delayed_work(system_freezable_wq,
				   &vgdev->userptr_unref_work, HZ);
		break;
	}
	virtio_gpu_notify(vgdev);
}

/**
 * virtio_gpu_userptr_reset - release what the device had
 * @vgdev: virtio-gpu device, after virtio_reset_device(), when no answer is
 *	being processed and nothing new can be sent
 *
 * On return no page of a program is pinned or mapped for this device. Programs
 * that wait for an answer are woken up and get -EIO; objects that still exist
 * are dead.
 */
void virtio_gpu_userptr_reset(struct virtio_gpu_device *vgdev)
{
	enum virtio_gpu_userptr_state state;
	struct virtio_gpu_object_userptr *up;
	unsigned long id;

	down_write(&vgdev->userptr_unpin_sem);
	xa_for_each(&vgdev->userptrs, id, up) {
		xa_lock(&vgdev->userptrs);
		state = up->state;
		WRITE_ONCE(up->state, USERPTR_LOST);
		xa_unlock(&vgdev->userptrs);

		/* One that was freed has nobody else; one that was not, has. */
		if (state == USERPTR_UNREF)
			__virtio_gpu_userptr_destroy(vgdev, up);
		else
			__virtio_gpu_userptr_unpin(vgdev, up);
	}
	up_write(&vgdev->userptr_unpin_sem);

	wake_up_all(&vgdev->resp_wq);
	wake_up_all(&vgdev->userptr_wq);
	WRITE_ONCE(vgdev->userptr_device_failed, false);
}

/**
 * virtio_gpu_userptr_device_failed - there will be no answers until a reset
 * @vgdev: virtio-gpu device that says VIRTIO_CONFIG_S_NEEDS_RESET
 *
 * Programs that wait for an answer get -EIO, as does who asks from now on. The
 * device may still access what it was given: no page is released.
 */
void virtio_gpu_userptr_device_failed(struct virtio_gpu_device *vgdev)
{
	WRITE_ONCE(vgdev->userptr_device_failed, true);
	wake_up_all(&vgdev->resp_wq);
	wake_up_all(&vgdev->userptr_wq);
}

/*
 * The GEM object.
 */

static void virtio_gpu_userptr_free(struct drm_gem_object *obj)
{
	struct virtio_gpu_object_userptr *up = gem_to_virtio_gpu_userptr(obj);
	struct virtio_gpu_device *vgdev = obj->dev->dev_private;
	bool unref;

	xa_lock(&vgdev->userptrs);
	virtio_gpu_userptr_set_closed(vgdev, up);
	unref = up->state == USERPTR_LIVE;
	if (unref) {
		WRITE_ONCE(up->state, USERPTR_UNREF);
		__xa_set_mark(&vgdev->userptrs, up->base.hw_res_handle,
			      USERPTR_MARK_UNREF);
	}
	xa_unlock(&vgdev->userptrs);

	if (unref) {
		/* It is not ours any more. */
		queue_delayed_work(system_freezable_wq,
				   &vgdev->userptr_unref_work, 0);
		return;
	}

	down_read(&vgdev->userptr_unpin_sem);
	__virtio_gpu_userptr_destroy(vgdev, up);
	up_read(&vgdev->userptr_unpin_sem);
}

static int virtio_gpu_userptr_open(struct drm_gem_object *obj,
				   struct drm_file *file)
{
	struct virtio_gpu_object_userptr *up = gem_to_virtio_gpu_userptr(obj);
	struct virtio_gpu_device *vgdev = obj->dev->dev_private;
	bool opened;

	/* One handle ever: a name must not hand the pages to somebody else. */
	xa_lock(&vgdev->userptrs);
	opened = up->opened;
	up->opened = true;
	xa_unlock(&vgdev->userptrs);
	if (opened)
		return -EACCES;

	return virtio_gpu_gem_object_open(obj, file);
}

static void virtio_gpu_userptr_close(struct drm_gem_object *obj,
				     struct drm_file *file)
{
	struct virtio_gpu_object_userptr *up = gem_to_virtio_gpu_userptr(obj);
	struct virtio_gpu_device *vgdev = obj->dev->dev_private;

	xa_lock(&vgdev->userptrs);
	virtio_gpu_userptr_set_closed(vgdev, up);
	xa_unlock(&vgdev->userptrs);

	virtio_gpu_gem_object_close(obj, file);
}

static struct dma_buf *virtio_gpu_userptr_export(struct drm_gem_object *obj,
						 int flags)
{
	return ERR_PTR(-EPERM);
}

/* No mmap and no vm_ops: mmap() of such an object is refused. */
static const struct drm_gem_object_funcs virtio_gpu_userptr_funcs = {
	.free = virtio_gpu_userptr_free,
	.open = virtio_gpu_userptr_open,
	.close = virtio_gpu_userptr_close,
	.export = virtio_gpu_userptr_export,
};

/**
 * virtio_gpu_is_userptr - is this a blob of user memory?
 * @bo: any object of this driver
 */
bool virtio_gpu_is_userptr(struct virtio_gpu_object *bo)
{
	return bo->base.base.funcs == &virtio_gpu_userptr_funcs;
}

/**
 * virtio_gpu_userptr_is_lost - is this a blob of user memory that a reset took?
 * @bo: any object of this driver
 */
bool virtio_gpu_userptr_is_lost(struct virtio_gpu_object *bo)
{
	return virtio_gpu_is_userptr(bo) &&
	       READ_ONCE(to_virtio_gpu_userptr(bo)->state) == USERPTR_LOST;
}

static bool virtio_gpu_memory_is_encrypted(void)
{
	KUNIT_STATIC_STUB_REDIRECT(virtio_gpu_memory_is_encrypted);
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

/* The value of VIRTGPU_PARAM_RESOURCE_USERPTR. */
static int virtio_gpu_userptr_find_caps(struct virtio_gpu_device *vgdev)
{
	int caps;

	if (!vgdev->has_resource_blob)
		return 0;

	/*
	 * The device cannot read encrypted memory, and a bounce buffer would
	 * be a copy that nobody keeps up to date.
	 */
	if (virtio_gpu_memory_is_encrypted())
		return 0;
	if (virtio_gpu_use_dma_api(vgdev->vdev) &&
	    is_swiotlb_force_bounce(vgdev->vdev->dev.parent))
		return 0;

	/* Needs nothing of the device: to it, it is a blob like others. */
	caps = VIRTGPU_RESOURCE_USERPTR_GUEST;

	if (vgdev->has_resource_userptr) {
		if (vgdev->has_virgl_3d)
			caps |= VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST;
		caps |= VIRTGPU_RESOURCE_USERPTR_RDONLY;
	}

	return caps;
}

/**
 * virtio_gpu_userptr_verify - check a request for a blob of user memory
 * @vgdev: virtio-gpu device
 * @rc_blob: the request, with VIRTGPU_BLOB_FLAG_USE_USERPTR set
 *
 * Checks what is particular to user memory; verify_blob() checks the rest.
 *
 * Return: 0, -EINVAL, or -EOPNOTSUPP if it makes sense, but not here.
 */
int virtio_gpu_userptr_verify(struct virtio_gpu_device *vgdev,
			      const struct drm_virtgpu_resource_create_blob *rc_blob)
{
	int need;
	u64 end;

	if (rc_blob->blob_flags & ~(VIRTGPU_BLOB_FLAG_USE_USERPTR |
				    VIRTGPU_BLOB_FLAG_USERPTR_RDONLY))
		return -EINVAL;

	if (rc_blob->pad)
		return -EINVAL;

	if (!rc_blob->size ||
	    check_add_overflow(rc_blob->userptr, rc_blob->size, &end) ||
	    end > ULONG_MAX ||
	    !PAGE_ALIGNED(rc_blob->userptr | rc_blob->size))
		return -EINVAL;

	switch (rc_blob->blob_mem) {
	case VIRTGPU_BLOB_MEM_GUEST:
		need = VIRTGPU_RESOURCE_USERPTR_GUEST;
		break;
	case VIRTGPU_BLOB_MEM_HOST3D_GUEST:
		need = VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST;
		break;
	default:
		return -EINVAL;
	}

	/*
	 * If the device did not know that it must not write, the program could
	 * have it write to a file that it may only read.
	 */
	if (rc_blob->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY)
		need |= VIRTGPU_RESOURCE_USERPTR_RDONLY;

	return need & ~vgdev->userptr_caps ? -EOPNOTSUPP : 0;
}

static void virtio_gpu_userptr_create_cb(struct virtio_gpu_device *vgdev,
					 struct virtio_gpu_vbuffer *vbuf)
{
	struct virtio_gpu_resource_create_blob *cmd =
		(struct virtio_gpu_resource_create_blob *)vbuf->buf;
	struct virtio_gpu_ctrl_hdr *resp =
		(struct virtio_gpu_ctrl_hdr *)vbuf->resp_buf;
	u32 id = le32_to_cpu(cmd->resource_id);
	struct virtio_gpu_object_userptr *up;

	trace_virtio_gpu_userptr_answer(vgdev->ddev, id,
					VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
					le32_to_cpu(resp->type));

	xa_lock(&vgdev->userptrs);
	up = xa_load(&vgdev->userptrs, id);
	if (up && up->state == USERPTR_CREATING)
		WRITE_ONCE(up->state,
			   resp->type == cpu_to_le32(VIRTIO_GPU_RESP_OK_NODATA) ?
			   USERPTR_LIVE : USERPTR_UNKNOWN);
	xa_unlock(&vgdev->userptrs);

	wake_up_all(&vgdev->resp_wq);
}

/*
 * Name the object. From here on virtio_gpu_userptr_reset() knows it: on success
 * the command must be queued.
 */
static int virtio_gpu_userptr_insert(struct virtio_gpu_device *vgdev,
				     struct virtio_gpu_object_userptr *up)
{
	u32 id;
	int ret;

	up->state = USERPTR_CREATING;
	do {
		ret = virtio_gpu_resource_id_get(vgdev, &id);
		if (ret)
			return ret;

		/* The counter comes round: 0 is none, others may be in use. */
		ret = id ? xa_insert(&vgdev->userptrs, id, up, GFP_KERNEL) :
			   -EBUSY;
		if (ret)
			virtio_gpu_resource_id_put(vgdev, id);
	} while (ret == -EBUSY);

	if (ret)
		up->state = USERPTR_UNKNOWN;
	else
		up->base.hw_res_handle = id;
	return ret;
}

/* Map the pages for the device. */
static struct virtio_gpu_mem_entry *
virtio_gpu_userptr_map(struct virtio_gpu_device *vgdev,
		       struct virtio_gpu_object_userptr *up)
{
	struct virtio_gpu_mem_entry *ents;
	int ret, idx;

	/* The DMA API must not be used once the device is unbound. */
	if (!drm_dev_enter(vgdev->ddev, &idx))
		return ERR_PTR(-EIO);

	if (virtio_gpu_use_dma_api(vgdev->vdev)) {
		ret = virtio_gpu_userptr_dma_map(vgdev, up);
		if (ret)
			goto err_exit;
	}

	ents = virtio_gpu_userptr_entries(vgdev, up,
					  vgdev->userptr_max_entries);
	if (IS_ERR(ents)) {
		ret = PTR_ERR(ents);
		goto err_unmap;
	}

	ret = virtio_gpu_userptr_insert(vgdev, up);
	if (ret)
		goto err_free;

	drm_dev_exit(idx);
	return ents;

err_free:
	kvfree(ents);
err_unmap:
	virtio_gpu_userptr_dma_unmap(vgdev, up);
err_exit:
	drm_dev_exit(idx);
	return ERR_PTR(ret);
}

/*
 * Tell the device, and wait for what it says. @objs is the command's own
 * reference: UNREF cannot overtake it, and there is an object for the answer
 * when this task was killed. Consumes @objs.
 */
static int virtio_gpu_userptr_register(struct virtio_gpu_device *vgdev,
				       struct virtio_gpu_object_userptr *up,
				       struct virtio_gpu_object_params *params,
				       struct virtio_gpu_object_array *objs)
{
	struct virtio_gpu_mem_entry *ents;
	int ret;

	ents = virtio_gpu_userptr_map(vgdev, up);
	if (IS_ERR(ents)) {
		virtio_gpu_array_put_free(objs);
		return PTR_ERR(ents);
	}

	trace_virtio_gpu_userptr_create(vgdev->ddev, up->base.hw_res_handle,
					up->nr_pages, up->nr_entries, up->write);
	ret = virtio_gpu_cmd_resource_create_userptr(vgdev, &up->base, params,
						     ents, up->nr_entries, objs,
						     virtio_gpu_userptr_create_cb);
	if (ret) {
		xa_lock(&vgdev->userptrs);
		if (up->state == USERPTR_CREATING)
			WRITE_ONCE(up->state, USERPTR_UNKNOWN);
		xa_unlock(&vgdev->userptrs);
		return ret == -ENODEV ? -EIO : ret;
	}
	virtio_gpu_notify(vgdev);

	ret = wait_event_state(vgdev->resp_wq,
			       READ_ONCE(up->state) != USERPTR_CREATING ||
			       READ_ONCE(vgdev->userptr_device_failed),
			       (TASK_KILLABLE | TASK_FREEZABLE));
	if (ret)
		return -EINTR;
	return READ_ONCE(up->state) == USERPTR_LIVE ? 0 : -EIO;
}

/*
 * The pages go back now, not when the command's reference is dropped, unless
 * the device may have them: then its answer to come, or its reset, decides.
 */
static void virtio_gpu_userptr_abandon(struct virtio_gpu_device *vgdev,
				       struct virtio_gpu_object_userptr *up)
{
	bool unknown;

	xa_lock(&vgdev->userptrs);
	virtio_gpu_userptr_set_closed(vgdev, up);
	unknown = up->state == USERPTR_UNKNOWN || up->state == USERPTR_LOST;
	xa_unlock(&vgdev->userptrs);

	if (unknown)
		virtio_gpu_userptr_unpin(vgdev, up);
}

/**
 * virtio_gpu_userptr_create - make a blob of the caller's memory
 * @vgdev: virtio-gpu device
 * @params: of the blob; @blob_flags are the ioctl's on entry
 * @addr: where the memory starts, a multiple of the page size; its size is
 *	@params->size
 * @bo_ptr: the object is returned here
 *
 * Waits for the device: when this returns 0 the device has accepted the pages,
 * when it fails it has none of them, except if the caller was killed or the
 * device needs a reset: then they stay pinned until it has answered or was reset.
 *
 * Return: 0, or
 * * -E2BIG: the memory is too scattered for one command
 * * -EFAULT: not all of it is mapped, or not for writing, or of a kind that
 *   cannot be pinned long-term
 * * -EINTR: the caller was killed
 * * -EINVAL: an entry would violate the device's blob_alignment
 * * -EIO: the device refused, or is gone
 * * -ENOMEM: over RLIMIT_MEMLOCK, or out of memory
 * * -EOPNOTSUPP: fsdax memory
 * * -EPERM: the caller may not lock memory at all
 */
int virtio_gpu_userptr_create(struct virtio_gpu_device *vgdev,
			      struct virtio_gpu_object_params *params,
			      unsigned long addr,
			      struct virtio_gpu_object **bo_ptr)
{
	struct virtio_gpu_object_array *objs;
	struct virtio_gpu_object_userptr *up;
	int ret;

	if (READ_ONCE(vgdev->userptr_device_failed))
		return -EIO;

	up = kzalloc_obj(*up);
	if (!up)
		return -ENOMEM;

	up->base.base.base.funcs = &virtio_gpu_userptr_funcs;
	INIT_LIST_HEAD(&up->base.restore_node);
	drm_gem_private_object_init(vgdev->ddev, &up->base.base.base,
				    params->size);

	up->write = !(params->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY);
	up->nr_pages = params->size >> PAGE_SHIFT;

	/* A device without the feature gets a blob like others. */
	params->blob_flags = 0;
	if (vgdev->has_resource_userptr) {
		params->blob_flags |= VIRTIO_GPU_BLOB_FLAG_USE_USERPTR;
		if (!up->write)
			params->blob_flags |= VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY;
	}

	ret = virtio_gpu_userptr_charge(vgdev, up);
	if (ret)
		goto err_put;

	ret = virtio_gpu_userptr_pin(up, addr, vgdev->userptr_max_entries);
	if (ret) {
		virtio_gpu_userptr_uncharge(vgdev, up);
		goto err_put;
	}
	up->pinned = true;

	objs = virtio_gpu_array_alloc(1);
	if (!objs) {
		ret = -ENOMEM;
		goto err_put;
	}
	virtio_gpu_array_add_obj(objs, &up->base.base.base);

	ret = virtio_gpu_userptr_register(vgdev, up, params, objs);
	if (ret)
		goto err_abandon;

	*bo_ptr = &up->base;
	return 0;

err_abandon:
	virtio_gpu_userptr_abandon(vgdev, up);
err_put:
	drm_gem_object_put(&up->base.base.base);
	return ret;
}

/**
 * virtio_gpu_userptr_show - print what is pinned
 * @vgdev: virtio-gpu device
 * @m: debugfs file
 */
void virtio_gpu_userptr_show(struct virtio_gpu_device *vgdev,
			     struct seq_file *m)
{
	unsigned long objects = 0, pages = 0, entries = 0;
	struct virtio_gpu_object_userptr *up;
	unsigned long id;

	xa_lock(&vgdev->userptrs);
	xa_for_each(&vgdev->userptrs, id, up) {
		if (!up->pinned)
			continue;
		objects++;
		pages += up->nr_pages;
		entries += up->nr_entries;
	}
	xa_unlock(&vgdev->userptrs);

	seq_printf(m, "userptrs: %lu\n", objects);
	seq_printf(m, "pages: %lu\n", pages);
	seq_printf(m, "entries: %lu\n", entries);
}

/**
 * virtio_gpu_userptr_show_fdinfo - print a file's user memory for fdinfo
 * @p: where to
 * @file: whose handles are looked at
 *
 * As the memory region "userptr" of Documentation/gpu/drm-usage-stats.rst.
 */
void virtio_gpu_userptr_show_fdinfo(struct drm_printer *p,
				    struct drm_file *file)
{
	struct drm_memory_stats stats = {};
	struct drm_gem_object *obj;
	int id;

	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, obj, id) {
		if (!virtio_gpu_is_userptr(gem_to_virtio_gpu_obj(obj)))
			continue;
		/* The one handle that there is, so it is shared with nobody. */
		stats.private += obj->size;
		if (READ_ONCE(gem_to_virtio_gpu_userptr(obj)->pinned))
			stats.resident += obj->size;
	}
	spin_unlock(&file->table_lock);

	drm_print_memory_stats(p, &stats, DRM_GEM_OBJECT_RESIDENT, "userptr");
}

/**
 * virtio_gpu_userptr_init - prepare a device for user memory
 * @vgdev: virtio-gpu device whose features and queues are known
 */
void virtio_gpu_userptr_init(struct virtio_gpu_device *vgdev)
{
	unsigned int descs = virtqueue_get_vring_size(vgdev->ctrlq.vq);

	xa_init(&vgdev->userptrs);
	init_rwsem(&vgdev->userptr_unpin_sem);
	init_waitqueue_head(&vgdev->userptr_wq);
	INIT_LIST_HEAD(&vgdev->userptr_closing);
	INIT_DELAYED_WORK(&vgdev->userptr_unref_work,
			  virtio_gpu_userptr_unref_work);
	INIT_WORK(&vgdev->userptr_release_work,
		  virtio_gpu_userptr_release_work);

	vgdev->userptr_caps = virtio_gpu_userptr_find_caps(vgdev);

	/*
	 * A page of entries takes a descriptor, command and response take one
	 * each.
	 */
	vgdev->userptr_max_entries =
		min((descs - 2) * (PAGE_SIZE / sizeof(struct virtio_gpu_mem_entry)),
		    VIRTIO_GPU_USERPTR_MAX_ENTRIES);
}

/**
 * virtio_gpu_userptr_fini - the opposite of virtio_gpu_userptr_init()
 * @vgdev: virtio-gpu device, after virtio_gpu_userptr_reset(), without files
 */
void virtio_gpu_userptr_fini(struct virtio_gpu_device *vgdev)
{
	cancel_delayed_work_sync(&vgdev->userptr_unref_work);
	cancel_work_sync(&vgdev->userptr_release_work);
}

#if IS_ENABLED(CONFIG_DRM_VIRTIO_GPU_KUNIT_TEST)
#include "tests/virtgpu_userptr_test.c"
#endif
