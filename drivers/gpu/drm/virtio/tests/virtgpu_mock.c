// SPDX-License-Identifier: GPL-2.0
/*
 * A virtio-gpu device for unit tests, without outputs. The driver binds to it
 * as to any other. It answers each command with success, or what the test says.
 */

#include <linux/platform_device.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include <kunit/platform_device.h>
#include <kunit/test.h>

#include "../virtgpu_drv.h"
#include "virtgpu_mock.h"

#define to_virtgpu_mock(_vdev)	container_of(_vdev, struct virtgpu_mock, vdev)

/**
 * virtgpu_mock_take - take a command from the control queue
 * @mock: device
 *
 * Return: the command, NULL if there is none.
 */
void *virtgpu_mock_take(struct virtgpu_mock *mock)
{
	const struct vring *vr = virtqueue_get_vring(mock->ctrlq);
	struct virtio_device *vdev = &mock->vdev;
	struct vring_desc *desc;
	void *cmd;

	if (virtio16_to_cpu(vdev, READ_ONCE(vr->avail->idx)) == mock->seen)
		return NULL;
	virtio_rmb(true);

	mock->head = virtio16_to_cpu(vdev, vr->avail->ring[mock->seen % vr->num]);
	mock->seen++;
	desc = &vr->desc[mock->head];
	cmd = phys_to_virt(virtio64_to_cpu(vdev, desc->addr));

	while (desc->flags & cpu_to_virtio16(vdev, VRING_DESC_F_NEXT))
		desc = &vr->desc[virtio16_to_cpu(vdev, desc->next)];
	mock->resp = phys_to_virt(virtio64_to_cpu(vdev, desc->addr));
	return cmd;
}

/**
 * virtgpu_mock_answer - answer the command that was taken last
 * @mock: device
 * @type: the answer
 */
void virtgpu_mock_answer(struct virtgpu_mock *mock,
			 enum virtio_gpu_ctrl_type type)
{
	const struct vring *vr = virtqueue_get_vring(mock->ctrlq);
	struct virtio_device *vdev = &mock->vdev;
	u16 idx = virtio16_to_cpu(vdev, vr->used->idx);

	mock->resp->type = cpu_to_le32(type);
	vr->used->ring[idx % vr->num] = (struct vring_used_elem){
		.id = cpu_to_virtio32(vdev, mock->head),
		.len = cpu_to_virtio32(vdev, sizeof(*mock->resp)),
	};
	virtio_wmb(true);
	vr->used->idx = cpu_to_virtio16(vdev, idx + 1);
	vring_interrupt(0, mock->ctrlq);
}

static bool virtgpu_mock_notify(struct virtqueue *vq)
{
	struct virtgpu_mock *mock = to_virtgpu_mock(vq->vdev);
	struct virtio_gpu_ctrl_hdr *cmd;

	if (mock->notified)
		mock->notified(mock);

	while (mock->answer && (cmd = virtgpu_mock_take(mock))) {
		if (le32_to_cpu(cmd->type) == VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB)
			memcpy(&mock->create, cmd, sizeof(mock->create));
		virtgpu_mock_answer(mock, mock->answer);
	}
	return true;
}

static void virtgpu_mock_get(struct virtio_device *vdev, unsigned int offset,
			     void *buf, unsigned int len)
{
	memcpy(buf, (void *)&to_virtgpu_mock(vdev)->config + offset, len);
}

static u8 virtgpu_mock_get_status(struct virtio_device *vdev)
{
	return to_virtgpu_mock(vdev)->status;
}

static void virtgpu_mock_set_status(struct virtio_device *vdev, u8 status)
{
	to_virtgpu_mock(vdev)->status = status;
}

static void virtgpu_mock_reset(struct virtio_device *vdev)
{
	struct virtgpu_mock *mock = to_virtgpu_mock(vdev);

	if (mock->resetting)
		mock->resetting(mock);
	virtgpu_mock_set_status(vdev, 0);
}

static u64 virtgpu_mock_get_features(struct virtio_device *vdev)
{
	return to_virtgpu_mock(vdev)->features;
}

static int virtgpu_mock_finalize_features(struct virtio_device *vdev)
{
	return 0;
}

static void virtgpu_mock_del_vqs(struct virtio_device *vdev)
{
	struct virtqueue *vq, *n;

	list_for_each_entry_safe(vq, n, &vdev->vqs, list)
		vring_del_virtqueue(vq);
}

static int virtgpu_mock_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				 struct virtqueue *vqs[],
				 struct virtqueue_info vqs_info[],
				 struct irq_affinity *desc)
{
	struct virtgpu_mock *mock = to_virtgpu_mock(vdev);
	unsigned int i;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = vring_create_virtqueue(i, mock->queue_size,
						SMP_CACHE_BYTES, vdev, true,
						false, false,
						virtgpu_mock_notify,
						vqs_info[i].callback,
						vqs_info[i].name);
		if (!vqs[i]) {
			virtgpu_mock_del_vqs(vdev);
			return -ENOMEM;
		}
	}
	mock->ctrlq = vqs[0];
	return 0;
}

static const struct virtio_config_ops virtgpu_mock_ops = {
	.get = virtgpu_mock_get,
	.get_status = virtgpu_mock_get_status,
	.set_status = virtgpu_mock_set_status,
	.reset = virtgpu_mock_reset,
	.get_features = virtgpu_mock_get_features,
	.finalize_features = virtgpu_mock_finalize_features,
	.find_vqs = virtgpu_mock_find_vqs,
	.del_vqs = virtgpu_mock_del_vqs,
};

static void virtgpu_mock_release(struct device *dev)
{
	kfree(to_virtgpu_mock(dev_to_virtio(dev)));
}

KUNIT_DEFINE_ACTION_WRAPPER(virtgpu_mock_unregister, unregister_virtio_device,
			    struct virtio_device *);

KUNIT_DEFINE_ACTION_WRAPPER(virtgpu_mock_put_drm, drm_dev_put,
			    struct drm_device *);

/**
 * virtgpu_mock_plug - plug a device in
 * @test: until the end of which it and the driver's DRM device last
 * @features: what it offers; the driver takes all it knows
 * @queue_size: of each queue, a power of two
 *
 * Return: the device, never NULL.
 */
struct virtgpu_mock *virtgpu_mock_plug(struct kunit *test, u64 features,
				       unsigned int queue_size)
{
	struct platform_device *parent;
	struct virtgpu_mock *mock;
	struct drm_device *drm;
	int ret;

	parent = kunit_platform_device_alloc(test, "virtgpu-mock",
					     PLATFORM_DEVID_AUTO);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);
	KUNIT_ASSERT_EQ(test, kunit_platform_device_add(test, parent), 0);

	mock = kzalloc_obj(*mock);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	mock->features = features | BIT_ULL(VIRTIO_F_VERSION_1);
	mock->queue_size = queue_size;
	mock->answer = VIRTIO_GPU_RESP_OK_NODATA;
	mock->vdev.id.device = VIRTIO_ID_GPU;
	mock->vdev.config = &virtgpu_mock_ops;
	mock->vdev.dev.parent = &parent->dev;
	mock->vdev.dev.release = virtgpu_mock_release;

	ret = register_virtio_device(&mock->vdev);
	if (ret)
		put_device(&mock->vdev.dev);
	KUNIT_ASSERT_EQ(test, ret, 0);
	ret = kunit_add_action_or_reset(test, virtgpu_mock_unregister,
					&mock->vdev);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_TRUE_MSG(test, mock->status & VIRTIO_CONFIG_S_DRIVER_OK,
			      "the driver does not bind");

	/* Objects may be freed after the device was unplugged. */
	drm = mock->vdev.priv;
	drm_dev_get(drm);
	ret = kunit_add_action_or_reset(test, virtgpu_mock_put_drm, drm);
	KUNIT_ASSERT_EQ(test, ret, 0);

	mock->vgdev = drm->dev_private;
	return mock;
}

/**
 * virtgpu_mock_unplug - unplug a device before the end of the test
 * @test: the test
 * @mock: device, not to be used after this
 */
void virtgpu_mock_unplug(struct kunit *test, struct virtgpu_mock *mock)
{
	kunit_release_action(test, virtgpu_mock_unregister, &mock->vdev);
}
