/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute device: guest memory, from the entries of a command to
 * runs of a memfd
 */
#ifndef HW_DISPLAY_VIRTIO_GPU_COMPUTE_MEM_H
#define HW_DISPLAY_VIRTIO_GPU_COMPUTE_MEM_H

#include "exec/memory.h"
#include "standard-headers/linux/virtio_gpu.h"

/*
 * As many entries as any QEMU virtio-gpu takes in one command. A command's
 * descriptors can carry more, see VIRTQUEUE_MAX_SIZE.
 */
#define COMPUTE_MAX_ENTRIES     16384

/* A piece of memory that a file descriptor and an offset name. */
typedef struct ComputeRun {
    MemoryRegion *mr;           /* holds a reference; NULL if not guest RAM */
    int fd;                     /* to be passed on, borrowed */
    uint64_t offset;
    uint64_t length;
} ComputeRun;

/*
 * A memfd of guest RAM that was found fit to be shared with workers. Kept until
 * the device is gone, so st_ino cannot be used for another file.
 */
typedef struct ComputeRamFile {
    dev_t st_dev;
    ino_t st_ino;
    int rdonly_fd;              /* the same file, opened O_RDONLY */
} ComputeRamFile;

/**
 * compute_ram_check() - check that workers can share the guest's RAM
 * @files: array of ComputeRamFile to add what is found to
 * @errp: set if a piece of guest RAM is not a sealed, shared, small-page memfd
 *
 * Takes away the permission to reopen the RAM files for writing.
 *
 * Returns: false on error
 */
bool compute_ram_check(GArray *files, Error **errp);

/**
 * compute_ram_files_free() - close and free what compute_ram_check() found
 * @files: the array
 */
void compute_ram_files_free(GArray *files);

/**
 * compute_map_entries() - find the memory that a resource's entries name
 * @as: the device's DMA address space
 * @files: the RAM files in use; RAM plugged since is added
 * @entries: as the guest wrote them
 * @nr_entries: number of @entries
 * @size: of the resource, what all lengths have to add up to
 * @readonly: whether to return read-only descriptors
 * @why: set to the reason if NULL is returned
 *
 * Accepts guest RAM only, whole pages only. Entries that cross the end of a RAM
 * block are split, neighbours are merged.
 *
 * Returns: an array of ComputeRun, to be freed by compute_runs_free(), or NULL
 */
GArray *compute_map_entries(AddressSpace *as, GArray *files,
                            const struct virtio_gpu_mem_entry *entries,
                            uint32_t nr_entries, uint64_t size, bool readonly,
                            const char **why);

/**
 * compute_runs_free() - drop the references of runs and free them
 * @runs: array of ComputeRun, may be NULL
 */
void compute_runs_free(GArray *runs);

#endif
