# SPDX-License-Identifier: GPL-2.0-or-later
#
# What our VM is made of; QEMU's configure takes it as the device file of
# x86_64-softmmu (--with-devices-x86_64=). The GPU device comes with VIRTIO_GPU.
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_GPU=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_IOMMU=y
