/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VIRTGPU_MOCK_H
#define VIRTGPU_MOCK_H

#include <linux/virtio.h>
#include <linux/virtio_gpu.h>

struct kunit;
struct virtio_gpu_device;

/**
 * struct virtgpu_mock - a device whose part a test plays
 * @vdev: what the driver is bound to
 * @vgdev: what the driver made of it
 * @config: its configuration space
 * @features: what it offers
 * @queue_size: of each queue
 * @status: written by the driver
 * @ctrlq: where commands come from
 * @seen: number of commands taken from there
 * @head: where the last of them starts
 * @resp: where its answer goes
 * @answer: of each command, at once; if 0 the test takes and answers them
 * @create: the last RESOURCE_CREATE_BLOB that was answered so
 * @notified: called when the driver has queued commands, if set
 * @resetting: called when the driver resets the device, if set
 */
struct virtgpu_mock {
	struct virtio_device vdev;
	struct virtio_gpu_device *vgdev;
	struct virtio_gpu_config config;
	u64 features;
	unsigned int queue_size;
	u8 status;
	struct virtqueue *ctrlq;
	u16 seen;
	u16 head;
	struct virtio_gpu_ctrl_hdr *resp;
	enum virtio_gpu_ctrl_type answer;
	struct virtio_gpu_resource_create_blob create;
	void (*notified)(struct virtgpu_mock *mock);
	void (*resetting)(struct virtgpu_mock *mock);
};

struct virtgpu_mock *virtgpu_mock_plug(struct kunit *test, u64 features,
				       unsigned int queue_size);
void virtgpu_mock_unplug(struct kunit *test, struct virtgpu_mock *mock);
void *virtgpu_mock_take(struct virtgpu_mock *mock);
void virtgpu_mock_answer(struct virtgpu_mock *mock,
			 enum virtio_gpu_ctrl_type type);

#endif
