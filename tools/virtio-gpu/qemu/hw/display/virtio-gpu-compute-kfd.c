/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu compute: workers that AMD's kernel driver has not done with
 *
 * The GPU may go on for a while with what a process has given to it when that
 * has died. KFD takes the process down from a work queue, where it waits for a
 * GPU that is being reset, and removes its directory from sysfs when no queue
 * of it runs any more (kfd_process_wq_release() in Linux). Until then the guest
 * must not reuse memory that the worker had.
 *
 * Nothing tells when that happens: neither poll() nor inotify see what the
 * kernel does to a directory in sysfs. So it is looked at again and again.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "virtio-gpu-compute-int.h"
#include "trace.h"

#include <sys/stat.h>

/* It takes milliseconds, or as long as the reset of a GPU does. */
#define COMPUTE_KFD_MIN_WAIT_MS 1
#define COMPUTE_KFD_MAX_WAIT_MS 100
/* After that somebody should know what the guest waits for. */
#define COMPUTE_KFD_WARN_MS     3000

bool compute_kfd_open(VirtIOGPUCompute *s, Error **errp)
{
    const char *dir = s->conf->kfd_proc_dir ?: VIRTIO_GPU_COMPUTE_KFD_PROC_DIR;
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        if (errno == ENOENT) {
            return true;
        }
        error_setg_errno(errp, errno, "cannot open '%s', where AMD's driver "
                         "lists its processes", dir);
        return false;
    }
    if (s->kfd_proc >= 0) {
        close(s->kfd_proc);
    }
    s->kfd_proc = fd;
    return true;
}

bool compute_kfd_init(ComputeContext *ctx, int pidfd)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    const char *line;

    if (ctx->s->kfd_proc < 0) {
        return true;
    }
    path = g_strdup_printf("/proc/self/fdinfo/%d", pidfd);
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    line = strstr(text, "\nPid:");
    /* -1 if it has died and been reaped: nobody has given it any memory yet */
    return line && sscanf(line, "\nPid: %d", &ctx->kfd_pid) == 1 &&
           ctx->kfd_pid;
}

/*
 * A process that is there later and has got the PID of the worker has another
 * inode.
 */
bool compute_kfd_busy(ComputeContext *ctx)
{
    char name[16];
    struct stat st;

    if (ctx->s->kfd_proc < 0 || ctx->kfd_pid < 0) {
        return false;
    }
    snprintf(name, sizeof(name), "%d", ctx->kfd_pid);
    if (fstatat(ctx->s->kfd_proc, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno != ENOENT;
    }
    if (!ctx->kfd_inode) {
        ctx->kfd_inode = st.st_ino;
    }
    return st.st_ino == ctx->kfd_inode;
}

bool compute_kfd_wait(ComputeContext *ctx, int64_t deadline)
{
    int64_t ms = COMPUTE_KFD_MIN_WAIT_MS;
    int64_t left;

    while (compute_kfd_busy(ctx)) {
        left = deadline - qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
        if (left <= 0) {
            return false;
        }
        g_usleep(MIN(ms, left) * 1000);
        ms = MIN(2 * ms, COMPUTE_KFD_MAX_WAIT_MS);
    }
    return true;
}

static void compute_kfd_check(void *opaque)
{
    ComputeContext *ctx = opaque;

    if (!compute_kfd_busy(ctx)) {
        trace_virtio_gpu_compute_kfd_done(ctx->id, ctx->kfd_waited_ms);
        compute_ctx_gone(ctx);
        return;
    }
    if (ctx->kfd_waited_ms < COMPUTE_KFD_WARN_MS &&
        ctx->kfd_waited_ms + ctx->kfd_wait_ms >= COMPUTE_KFD_WARN_MS) {
        warn_report("virtio-gpu-compute: AMD's driver still has process %d, "
                    "which is dead: the guest waits for its memory",
                    ctx->kfd_pid);
    }
    ctx->kfd_waited_ms += ctx->kfd_wait_ms;
    timer_mod(ctx->kfd_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ctx->kfd_wait_ms);
    ctx->kfd_wait_ms = MIN(2 * ctx->kfd_wait_ms, COMPUTE_KFD_MAX_WAIT_MS);
}

void compute_kfd_watch(ComputeContext *ctx)
{
    ctx->kfd_timer = timer_new_ms(QEMU_CLOCK_REALTIME, compute_kfd_check, ctx);
    ctx->kfd_wait_ms = COMPUTE_KFD_MIN_WAIT_MS;
    compute_kfd_check(ctx);
}
