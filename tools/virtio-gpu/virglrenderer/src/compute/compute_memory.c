/* SPDX-License-Identifier: MIT */

#include "compute_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/macros.h"
#include "util/os_file.h"
#include "virgl_util.h"

/* The files that have a descriptor in a compute_memory, as the VMM calls them. */
struct compute_files {
   int *vmm_fds;
   uint32_t max;
};

static int
compute_memory_add_fd(struct compute_memory *mem,
                      struct compute_files *files,
                      int vmm_fd,
                      uint32_t *index)
{
   /* The last one is the most likely.  There are only a few. */
   for (uint32_t i = mem->nr_fds; i-- > 0;) {
      if (files->vmm_fds[i] == vmm_fd) {
         *index = i;
         return 0;
      }
   }

   /* A descriptor that could write makes a read-only mapping none: mprotect() widens it. */
   const int flags = fcntl(vmm_fd, F_GETFL);
   if (flags < 0)
      return -errno;
   if ((flags & O_ACCMODE) != (mem->rdonly ? O_RDONLY : O_RDWR))
      return -EINVAL;

   if (mem->nr_fds == files->max) {
      const uint32_t max = files->max ? files->max * 2 : 4;

      int *fds = realloc(mem->fds, max * sizeof(*fds));
      if (!fds)
         return -ENOMEM;
      mem->fds = fds;

      int *vmm_fds = realloc(files->vmm_fds, max * sizeof(*vmm_fds));
      if (!vmm_fds)
         return -ENOMEM;
      files->vmm_fds = vmm_fds;

      files->max = max;
   }

   const int fd = os_dupfd_cloexec(vmm_fd);
   if (fd < 0)
      return -errno;

   files->vmm_fds[mem->nr_fds] = vmm_fd;
   mem->fds[mem->nr_fds] = fd;
   *index = mem->nr_fds++;
   return 0;
}

static int
compute_memory_add_run(struct compute_memory *mem,
                       uint32_t fd,
                       uint64_t offset,
                       uint64_t length)
{
   struct compute_run *last = mem->nr_runs ? &mem->runs[mem->nr_runs - 1] : NULL;

   if (last && last->fd == fd && last->offset + last->length == offset) {
      last->length += length;
      return 0;
   }

   if (mem->nr_runs == mem->max_runs) {
      const uint32_t max = mem->max_runs ? mem->max_runs * 2 : 16;

      struct compute_run *runs = realloc(mem->runs, max * sizeof(*runs));
      if (!runs)
         return -ENOMEM;
      mem->runs = runs;
      mem->max_runs = max;
   }

   mem->runs[mem->nr_runs++] = (struct compute_run){
      .fd = fd,
      .offset = offset,
      .length = length,
   };
   return 0;
}

static int
compute_memory_add_iov(struct compute_memory *mem,
                       struct compute_files *files,
                       uint32_t res_id,
                       uint32_t blob_flags,
                       struct iovec iov,
                       compute_resolve_func resolve)
{
   const uint64_t page_mask = sysconf(_SC_PAGESIZE) - 1;

   while (iov.iov_len) {
      struct virgl_renderer_compute_mem piece = {
         .fd = -1,
      };
      uint32_t fd;
      int ret;

      ret = resolve(res_id, blob_flags, &iov, &piece);
      if (ret)
         return ret < 0 ? ret : -EINVAL;

      if (piece.fd < 0 || !piece.length || piece.length > iov.iov_len ||
          ((piece.offset | piece.length) & page_mask) ||
          piece.offset > INT64_MAX - piece.length ||
          piece.flags)
         return -EINVAL;

      ret = compute_memory_add_fd(mem, files, piece.fd, &fd);
      if (!ret)
         ret = compute_memory_add_run(mem, fd, piece.offset, piece.length);
      if (ret)
         return ret;

      iov.iov_base = (uint8_t *)iov.iov_base + piece.length;
      iov.iov_len -= piece.length;
   }

   return 0;
}

int
compute_memory_from_iov(struct compute_memory **out_mem,
                        uint32_t res_id,
                        uint32_t blob_flags,
                        const struct iovec *iov,
                        int iov_count,
                        uint64_t size,
                        compute_resolve_func resolve)
{
   struct compute_files files = { 0 };
   struct compute_memory *mem;
   uint64_t left = size;
   int ret = 0;

   mem = calloc(1, sizeof(*mem));
   if (!mem)
      return -ENOMEM;
   mem->size = size;
   mem->rdonly = blob_flags & VIRGL_RENDERER_BLOB_FLAG_USERPTR_RDONLY;

   for (int i = 0; i < iov_count && !ret; i++) {
      if (!iov[i].iov_len || iov[i].iov_len > left)
         ret = -EINVAL;
      else
         ret = compute_memory_add_iov(mem, &files, res_id, blob_flags, iov[i], resolve);
      left -= iov[i].iov_len;
   }
   if (!ret && (left || !mem->nr_runs))
      ret = -EINVAL;

   free(files.vmm_fds);
   if (ret) {
      compute_memory_destroy(mem);
      return ret;
   }

   *out_mem = mem;
   return 0;
}

int
compute_memory_from_fd(struct compute_memory **out_mem, int fd, uint64_t size)
{
   struct compute_files files = { 0 };
   struct compute_memory *mem;
   uint32_t index;
   int ret;

   mem = calloc(1, sizeof(*mem));
   if (!mem)
      return -ENOMEM;
   mem->size = size;

   ret = compute_memory_add_fd(mem, &files, fd, &index);
   if (!ret)
      ret = compute_memory_add_run(mem, index, 0, size);

   free(files.vmm_fds);
   if (ret) {
      compute_memory_destroy(mem);
      return ret;
   }

   *out_mem = mem;
   return 0;
}

void
compute_memory_destroy(struct compute_memory *mem)
{
   if (!mem)
      return;

   for (uint32_t i = 0; i < mem->nr_fds; i++)
      close(mem->fds[i]);
   free(mem->fds);
   free(mem->runs);
   free(mem);
}
