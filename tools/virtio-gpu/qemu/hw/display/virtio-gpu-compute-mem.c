/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute device: guest memory
 *
 * Workers map guest memory by themselves, from the memfds that it is made of.
 * So there is no host address here, and address_space_map() is never used: it
 * would hand out a bounce buffer for what is not RAM.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/memfd.h"
#include "qemu/rcu.h"
#include "exec/address-spaces.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "system/hostmem.h"
#include "virtio-gpu-compute-mem.h"

/* Only a memory backend is guest RAM; other devices have RAM of their own. */
static bool compute_mr_is_guest_ram(MemoryRegion *mr)
{
    return memory_region_is_ram(mr) && !memory_region_is_rom(mr) &&
           !memory_region_is_ram_device(mr) &&
           !memory_region_is_protected(mr) &&
           object_dynamic_cast(memory_region_owner(mr), TYPE_MEMORY_BACKEND);
}

/* Returns: the file behind @mr; valid until @files changes */
static ComputeRamFile *compute_ram_file(MemoryRegion *mr, GArray *files,
                                        Error **errp)
{
    ERRP_GUARD();
    const char *name = memory_region_name(mr);
    RAMBlock *rb = mr->ram_block;
    g_autofree char *path = NULL;
    ComputeRamFile file;
    struct stat st;
    int fd = qemu_ram_get_fd(rb);
    int seals;
    guint i;

    /* hugetlbfs has seals, too; a mapping of one page would be a huge one */
    if (qemu_ram_pagesize(rb) != qemu_real_host_page_size()) {
        error_setg(errp, "guest RAM '%s' is made of huge pages, of which a "
                   "part cannot be shared: use hugetlb=off (transparent huge "
                   "pages are fine)", name);
        return NULL;
    }

    /* without the seal a worker could shrink it: SIGBUS for everybody */
    seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || !qemu_ram_is_shared(rb)) {
        error_setg(errp, "guest RAM '%s' is not a shared memfd: use "
                   "-object memory-backend-memfd,id=mem,size=<size of RAM>,"
                   "share=on -machine memory-backend=mem", name);
        return NULL;
    }

    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot stat guest RAM '%s'", name);
        return NULL;
    }

    for (i = 0; i < files->len; i++) {
        ComputeRamFile *f = &g_array_index(files, ComputeRamFile, i);

        if (f->st_dev == st.st_dev && f->st_ino == st.st_ino) {
            return f;
        }
    }

    /*
     * A worker that is given this file read-only must not be able to open it
     * for writing through its /proc/self/fd.
     */
    if (fchmod(fd, S_IRUSR) < 0) {
        error_setg_errno(errp, errno, "cannot make guest RAM '%s' mode 0400",
                         name);
        return NULL;
    }

    /* Now, as QEMU may give up its privileges and its /proc later. */
    path = g_strdup_printf("/proc/self/fd/%d", fd);
    file.rdonly_fd = qemu_open(path, O_RDONLY, errp);
    if (file.rdonly_fd < 0) {
        error_prepend(errp, "cannot open guest RAM '%s' read-only: ", name);
        return NULL;
    }
    file.st_dev = st.st_dev;
    file.st_ino = st.st_ino;
    g_array_append_val(files, file);
    return &g_array_index(files, ComputeRamFile, files->len - 1);
}

struct compute_ram_check {
    GArray *files;
    Error **errp;
    bool failed;
};

static bool compute_ram_check_range(Int128 start, Int128 len,
                                    const MemoryRegion *const_mr,
                                    hwaddr offset, void *opaque)
{
    MemoryRegion *mr = (MemoryRegion *)const_mr;
    struct compute_ram_check *check = opaque;

    if (compute_mr_is_guest_ram(mr) &&
        !compute_ram_file(mr, check->files, check->errp)) {
        check->failed = true;
    }
    return check->failed;
}

bool compute_ram_check(GArray *files, Error **errp)
{
    struct compute_ram_check check = { .files = files, .errp = errp };
    FlatView *view;

    WITH_RCU_READ_LOCK_GUARD() {
        view = address_space_to_flatview(&address_space_memory);
        flatview_for_each_range(view, compute_ram_check_range, &check);
    }
    if (!check.failed && !files->len) {
        error_setg(errp, "found no guest RAM that can be shared: use "
                   "-object memory-backend-memfd,id=mem,size=<size of RAM>,"
                   "share=on -machine memory-backend=mem");
        return false;
    }
    return !check.failed;
}

void compute_ram_files_free(GArray *files)
{
    guint i;

    for (i = 0; i < files->len; i++) {
        close(g_array_index(files, ComputeRamFile, i).rdonly_fd);
    }
    g_array_unref(files);
}

/*
 * Like address_space_translate(), which does not tell whether a section is
 * read-only. Returns: how much of @len from @addr on is in *@section, which
 * holds a reference of its region; 0 if nothing is at @addr.
 */
static hwaddr compute_find_section(AddressSpace *as, hwaddr addr, hwaddr len,
                                   bool is_write, MemoryRegionSection *section)
{
    IOMMUTLBEntry iotlb;
    hwaddr left;

    *section = memory_region_find(as->root, addr, len);
    if (section->mr && memory_region_is_iommu(section->mr)) {
        memory_region_unref(section->mr);
        section->mr = NULL;
        WITH_RCU_READ_LOCK_GUARD() {
            iotlb = address_space_get_iotlb_entry(as, addr, is_write,
                                                  MEMTXATTRS_UNSPECIFIED);
        }
        if (iotlb.perm == IOMMU_NONE) {
            return 0;
        }
        left = iotlb.addr_mask - (addr & iotlb.addr_mask);
        len = MIN(len - 1, left) + 1;
        addr = iotlb.translated_addr | (addr & iotlb.addr_mask);
        *section = memory_region_find(iotlb.target_as->root, addr, len);
    }

    /* the first section in the range may begin behind a hole */
    if (!section->mr || section->offset_within_address_space != addr) {
        memory_region_unref(section->mr);
        section->mr = NULL;
        return 0;
    }
    return int128_get64(section->size);
}

typedef struct ComputeMapper {
    AddressSpace *as;
    GArray *files;
    GArray *runs;
    bool readonly;
    MemoryRegion *mr;           /* of the last run, nearly always the same */
    int fd;                     /* of mr */
} ComputeMapper;

/*
 * Find the memory at @addr, at most @len of it, in *@run.
 * Returns: NULL, or the reason why not
 */
static const char *compute_find_run(ComputeMapper *m, hwaddr addr, hwaddr len,
                                    ComputeRun *run)
{
    MemoryRegionSection section;
    ComputeRamFile *file;
    Error *err = NULL;
    const char *why;

    len = compute_find_section(m->as, addr, len, !m->readonly, &section);
    if (!len) {
        return "entry names no memory";
    }

    if (section.mr != m->mr) {
        file = NULL;
        if (compute_mr_is_guest_ram(section.mr)) {
            file = compute_ram_file(section.mr, m->files, &err);
        }
        if (err) {
            /* plugged since compute_ram_check() */
            warn_report_once("%s", error_get_pretty(err));
            error_free(err);
        }
        if (!file) {
            why = "entry is not in shared guest RAM";
            goto fail;
        }
        m->fd = m->readonly ? file->rdonly_fd
                            : qemu_ram_get_fd(section.mr->ram_block);
        m->mr = section.mr;
    }

    /* a read-only view of RAM, as below 1 MiB on PCs */
    if (section.readonly) {
        why = "entry is in read-only memory";
        goto fail;
    }

    run->mr = section.mr;
    run->fd = m->fd;
    run->offset = section.mr->ram_block->fd_offset +
                  section.offset_within_region;
    run->length = len;
    if ((run->offset | run->length) & (qemu_real_host_page_size() - 1)) {
        why = "entry is not made of whole pages of its file";
        goto fail;
    }
    return NULL;

fail:
    memory_region_unref(section.mr);
    return why;
}

static void compute_runs_append(GArray *runs, ComputeRun *run)
{
    ComputeRun *last;

    if (runs->len) {
        last = &g_array_index(runs, ComputeRun, runs->len - 1);
        if (last->fd == run->fd && last->mr == run->mr &&
            last->offset + last->length == run->offset) {
            last->length += run->length;
            memory_region_unref(run->mr);
            return;
        }
    }
    g_array_append_val(runs, *run);
}

static const char *compute_map_entry(ComputeMapper *m, hwaddr addr, hwaddr len)
{
    const char *why;
    ComputeRun run;

    if (!len || (addr | len) & (qemu_real_host_page_size() - 1)) {
        return "entry is not made of whole pages";
    }
    if (addr + (len - 1) < addr) {
        return "entry wraps around";
    }

    while (len) {
        why = compute_find_run(m, addr, len, &run);
        if (why) {
            return why;
        }
        addr += run.length;
        len -= run.length;
        compute_runs_append(m->runs, &run);
    }
    return NULL;
}

GArray *compute_map_entries(AddressSpace *as, GArray *files,
                            const struct virtio_gpu_mem_entry *entries,
                            uint32_t nr_entries, uint64_t size, bool readonly,
                            const char **why)
{
    ComputeMapper m = {
        .as = as,
        .files = files,
        .runs = g_array_new(false, false, sizeof(ComputeRun)),
        .readonly = readonly,
    };
    uint64_t left = size;
    uint32_t i;

    for (i = 0; i < nr_entries; i++) {
        uint32_t len = le32_to_cpu(entries[i].length);

        if (len > left) {
            *why = "entries add up to more than the size";
            goto fail;
        }
        left -= len;
        *why = compute_map_entry(&m, le64_to_cpu(entries[i].addr), len);
        if (*why) {
            goto fail;
        }
    }
    if (left) {
        *why = "entries add up to less than the size";
        goto fail;
    }
    return m.runs;

fail:
    compute_runs_free(m.runs);
    return NULL;
}

void compute_runs_free(GArray *runs)
{
    guint i;

    if (!runs) {
        return;
    }
    for (i = 0; i < runs->len; i++) {
        memory_region_unref(g_array_index(runs, ComputeRun, i).mr);
    }
    g_array_unref(runs);
}
