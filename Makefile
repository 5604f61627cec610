# SPDX-License-Identifier: GPL-2.0
#
# The front door; `make help` tells what there is. Everything built lands in
# BUILD. Each step finds out by itself whether there is something to do.

BUILD ?= build
# user's own source trees instead of Debian's packages
LINUX ?=
QEMU ?=
# of release 1.3.0; what is not named is not touched
VIRGLRENDERER ?=

override BUILD := $(abspath $(BUILD))
export BUILD LINUX QEMU

VM := tools/virtio-gpu/vm
SERIES := tools/virtio-gpu/series/series

# Every step uses all processors by itself; their order is below.
.NOTPARALLEL:
.DEFAULT_GOAL := help

## Build

# all that the VM needs
build: kernel headers qemu server guest selftests

packages:
	@$(VM)/packages

linux-tree: packages
	@$(VM)/tree linux

qemu-tree: packages
	@$(VM)/tree qemu

meson: packages
	@$(VM)/tree meson

kernel: linux-tree
	@$(VM)/build kernel

debug-kernel: linux-tree
	@$(VM)/build debug-kernel

headers: linux-tree
	@$(VM)/build headers

qemu: qemu-tree meson
	@$(VM)/build qemu

server: packages
	@$(VM)/build server

guest selftests: headers
	@$(VM)/build $@

module: linux-tree
	@$(VM)/module "$(KDIR)"

## Run

demo: kernel headers qemu server guest
	@$(VM)/demo

shell: build
	@mkdir -p $(BUILD)/share
	@$(VM)/run --share $(BUILD)/share -i

## Test

# $(call check,TESTS,NEEDED): tests that cannot be built have failed
check = @$(MAKE) --no-print-directory $2 || \
	{ echo "0 passed, 1 failed, 0 skipped"; exit 1; }; $(VM)/check $1

check:
	$(call check,all,build debug-kernel)

check-host:
	$(call check,host,server guest)

check-guest:
	$(call check,guest,build)

check-debug:
	$(call check,debug,build debug-kernel)

check-series:
	$(call check,series,linux-tree qemu-tree meson)

SECONDS ?= 60

fuzz:
	@$(VM)/packages libclang-rt-19-dev
	@$(MAKE) -C tools/virtio-gpu/server O=$(BUILD)/server SECONDS=$(SECONDS) fuzz

## Patches

series: linux-tree qemu-tree
	@$(SERIES) export linux $$(cat $(BUILD)/linux.tree) $(BUILD)/series/linux
	@$(SERIES) export qemu $$(cat $(BUILD)/qemu.tree) $(BUILD)/series/qemu
ifneq ($(VIRGLRENDERER),)
	@$(SERIES) export virglrenderer "$(VIRGLRENDERER)" $(BUILD)/series/virglrenderer
endif

refresh:
	@$(SERIES) refresh linux $$(cat $(BUILD)/linux.tree)
	@$(SERIES) refresh qemu $$(cat $(BUILD)/qemu.tree)

##

clean:
	rm -rf $(BUILD)/linux-build $(BUILD)/linux-debug $(BUILD)/linux-headers \
		$(BUILD)/qemu-build $(BUILD)/server $(BUILD)/guest $(BUILD)/selftests \
		$(BUILD)/initramfs.cpio $(BUILD)/initramfs.list $(BUILD)/demo \
		$(BUILD)/module $(BUILD)/series $(BUILD)/series-check $(BUILD)/check \
		$(BUILD)/log

help:
	@cat $(VM)/help.txt

.PHONY: build packages linux-tree qemu-tree meson kernel debug-kernel headers \
	qemu server guest selftests module demo shell check check-host check-guest \
	check-debug check-series fuzz series refresh clean help
