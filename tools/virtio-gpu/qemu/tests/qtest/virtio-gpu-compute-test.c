/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-gpu-compute-pci
 *
 * Neither a guest kernel nor vgpu-compute-server is needed: the test forges the
 * commands of the one and the answers of the other. Its workers are processes
 * that only wait to be killed, the test speaks for them.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio.h"
#include "libqos/virtio-pci.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/pci/pci_regs.h"
#include "hw/virtio/virtio-gpu-compute-proto.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_gpu.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE            4096
#define RAM_SIZE        (256 * 1024 * 1024ull)
/* Guest memory for resources; the allocator of libqos stays far below. */
#define DATA            (64 * 1024 * 1024ull)
#define HOSTMEM         (16 * 1024 * 1024ull)
#define TIMEOUT_MS      20000
#define PCI_SLOT_GPU    4

/* of the chipset, for 0xc0000 to 0xc7fff: RAM for reads, for writes */
#define MCH_PAM1        0x91

#define RAM_ARGS        "-m 256M -machine q35,memory-backend=mem " \
                        "-object memory-backend-memfd,id=mem,size=256M,share=on "

/* A slot that the device can be unplugged from, by the slot's own registers */
#define PCI_SLOT_PORT   3
#define PCI_BUS_SLOT    1
#define SLOT_ARGS       "-global " \
                        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off " \
                        "-device pcie-root-port,id=root,addr=3.0 "

/* The server */

typedef struct Server {
    char *dir;
    char *path;
    char *bios;
    char *kfd;                  /* directory of KFD's processes */
    int listener;
    int control;
    GHashTable *killed;         /* serials of contexts */
    GThread *thread;
    /* what it says */
    uint32_t version;
    uint32_t nr_capsets;
    bool close_early;
    bool garbage;
} Server;

typedef struct Worker {
    Server *server;             /* for those that need it */
    int sock;
    pid_t pid;
    uint64_t serial;
    uint32_t ctx_id;
    uint32_t capset_id;
    char name[64];
} Worker;

static const uint8_t capset_data[] = { 1, 2, 3, 5, 7, 11, 13, 17 };

static void wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    g_assert_cmpint(poll(&pfd, 1, TIMEOUT_MS), ==, 1);
}

static bool is_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, 0) == 1;
}

static void kfd_add(Server *s, pid_t pid)
{
    g_autofree char *path = g_strdup_printf("%s/%d", s->kfd, pid);

    g_assert_cmpint(mkdir(path, 0700), ==, 0);
}

static void kfd_remove(Server *s, pid_t pid)
{
    g_autofree char *path = g_strdup_printf("%s/%d", s->kfd, pid);

    g_assert_cmpint(rmdir(path), ==, 0);
}

static gpointer server_thread(gpointer opaque)
{
    Server *s = opaque;
    struct vgpu_msg_hello hello;
    struct vgpu_msg_capset capset = {
        .max_version = 1,
        .size = sizeof(capset_data),
    };
    uint32_t i;
    int fd;

    fd = accept(s->listener, NULL, NULL);
    if (fd < 0) {
        return NULL;
    }
    if (recv(fd, &hello, sizeof(hello), MSG_WAITALL) != sizeof(hello) ||
        s->close_early) {
        close(fd);
        return NULL;
    }
    g_assert_cmpint(hello.hdr.type, ==, VGPU_MSG_HELLO);
    g_assert_cmpint(hello.hdr.size, ==, sizeof(hello));
    g_assert_cmpint(hello.version, ==, VGPU_PROTO_VERSION);
    g_assert_cmphex(hello.hdr.flags, ==, VGPU_MSG_F_DOORBELLS);

    hello.hdr.flags = 0;
    hello.version = s->version;
    hello.nr_capsets = s->nr_capsets;
    hello.hdr.size += s->nr_capsets * sizeof(capset);
    if (s->garbage) {
        memset(&hello, 0x5a, sizeof(hello));
    }
    strcpy(hello.backend, "qtest");
    g_assert_cmpint(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), ==,
                    sizeof(hello));
    memcpy(capset.data, capset_data, sizeof(capset_data));
    for (i = 0; i < s->nr_capsets; i++) {
        capset.id = VIRTIO_GPU_CAPSET_COMPUTE + i;
        if (send(fd, &capset, sizeof(capset), MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    s->control = fd;
    return NULL;
}

static void server_listen(Server *s)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(s->listener, >=, 0);
    g_strlcpy(addr.sun_path, s->path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    g_assert_cmpint(listen(s->listener, 1), ==, 0);
}

static Server *server_new(void)
{
    static const char bios[64 * 1024];
    Server *s = g_new0(Server, 1);

    s->dir = g_dir_make_tmp("qtest-vgpu-XXXXXX", NULL);
    g_assert_nonnull(s->dir);
    s->path = g_strdup_printf("%s/sock", s->dir);
    /* PCs have a BIOS, and no test runs it */
    s->bios = g_strdup_printf("%s/bios", s->dir);
    g_assert_true(g_file_set_contents(s->bios, bios, sizeof(bios), NULL));
    s->kfd = g_strdup_printf("%s/kfd", s->dir);
    s->control = -1;
    s->killed = g_hash_table_new(NULL, NULL);
    s->version = VGPU_PROTO_VERSION;
    s->nr_capsets = 2;
    server_listen(s);
    return s;
}

static void server_start(Server *s)
{
    s->thread = g_thread_new("server", server_thread, s);
}

/* To be called when QEMU has said hello, or will not any more */
static void server_join(Server *s)
{
    if (s->thread) {
        shutdown(s->listener, SHUT_RDWR);
        g_thread_join(s->thread);
        s->thread = NULL;
    }
}

/* The server ends, and another one is there; QEMU comes back by itself */
static void server_restart(Server *s)
{
    close(s->control);
    s->control = -1;
    close(s->listener);
    unlink(s->path);
    server_listen(s);
    server_start(s);
    g_thread_join(s->thread);
    s->thread = NULL;
}

static void server_free(Server *s)
{
    server_join(s);
    close(s->listener);
    if (s->control >= 0) {
        close(s->control);
    }
    unlink(s->path);
    unlink(s->bios);
    rmdir(s->kfd);
    g_assert_cmpint(rmdir(s->dir), ==, 0);
    g_hash_table_unref(s->killed);
    g_free(s->kfd);
    g_free(s->bios);
    g_free(s->path);
    g_free(s->dir);
    g_free(s);
}

/* Returns: bytes received, fds in @fds and their number in *@nr_fds */
static ssize_t recv_fds(int sock, void *buf, size_t len, int *fds,
                        unsigned *nr_fds)
{
    char control[CMSG_SPACE(sizeof(int) * 16)];
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg;
    ssize_t ret;

    wait_readable(sock);
    ret = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    g_assert_cmpint(ret, >=, 0);
    g_assert_cmpint(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC), ==, 0);
    *nr_fds = 0;
    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        *nr_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        g_assert_cmpint(*nr_fds, <=, VGPU_PROTO_MAX_FDS);
        memcpy(fds, CMSG_DATA(cmsg), *nr_fds * sizeof(int));
    }
    return ret;
}

/* Returns: whether there was one */
static bool server_recv_one_kill(Server *s)
{
    struct vgpu_msg_hdr msg;

    wait_readable(s->control);
    g_assert_cmpint(recv(s->control, &msg, sizeof(msg), MSG_PEEK), ==,
                    sizeof(msg));
    if (msg.type != VGPU_MSG_CTX_KILL) {
        return false;
    }
    g_assert_cmpint(msg.size, ==, sizeof(msg));
    g_assert_cmpint(recv(s->control, &msg, sizeof(msg), 0), ==, sizeof(msg));
    g_hash_table_add(s->killed, GUINT_TO_POINTER(msg.serial));
    return true;
}

static Worker *server_recv_create(Server *s)
{
    struct vgpu_msg_ctx_create msg;
    Worker *w = g_new0(Worker, 1);
    unsigned nr_fds;

    while (server_recv_one_kill(s)) {
        /* of a context that the test has no more interest in */
    }
    g_assert_cmpint(recv_fds(s->control, &msg, sizeof(msg), &w->sock, &nr_fds),
                    ==, sizeof(msg));
    g_assert_cmpint(msg.hdr.type, ==, VGPU_MSG_CTX_CREATE);
    g_assert_cmpint(msg.hdr.size, ==, sizeof(msg));
    g_assert_cmpint(nr_fds, ==, 1);
    w->serial = msg.hdr.serial;
    w->ctx_id = msg.ctx_id;
    w->capset_id = msg.capset_id;
    memcpy(w->name, msg.name, sizeof(w->name));
    return w;
}

static void server_recv_kill(Server *s, Worker *w)
{
    while (!g_hash_table_remove(s->killed, GUINT_TO_POINTER(w->serial))) {
        g_assert_true(server_recv_one_kill(s));
    }
}

static void worker_send_full(Worker *w, uint32_t type, uint64_t serial,
                             uint32_t status, uint32_t flags, int fd)
{
    struct vgpu_msg_done done = {
        .hdr.type = type,
        .hdr.size = sizeof(done),
        .hdr.serial = serial,
        .status = status,
        .flags = flags,
    };
    char control[CMSG_SPACE(sizeof(int))] = {};
    struct iovec iov = { .iov_base = &done, .iov_len = sizeof(done) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        struct cmsghdr *cmsg = (struct cmsghdr *)control;

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
    }
    g_assert_cmpint(sendmsg(w->sock, &msg, MSG_NOSIGNAL), ==, sizeof(done));
}

static void worker_send(Worker *w, uint32_t type, uint64_t serial,
                        uint32_t status, int fd)
{
    worker_send_full(w, type, serial, status, 0, fd);
}

static void worker_done(Worker *w, uint64_t serial, uint32_t status)
{
    worker_send(w, VGPU_MSG_DONE, serial, status, -1);
}

static void worker_ready_full(Worker *w, uint32_t flags)
{
    pid_t parent = getpid();
    int pidfd;

    w->pid = fork();
    g_assert_cmpint(w->pid, >=, 0);
    if (!w->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        syscall(__NR_close_range, 0, ~0u, 0);
        while (getppid() == parent) {
            pause();
        }
        _exit(0);
    }
    pidfd = syscall(__NR_pidfd_open, w->pid, 0);
    g_assert_cmpint(pidfd, >=, 0);
    worker_send_full(w, VGPU_MSG_CTX_READY, w->serial, 0, flags, pidfd);
    close(pidfd);
}

static void worker_ready(Worker *w)
{
    worker_ready_full(w, 0);
}

/* With a pidfd that nothing can be learned from any more */
static void worker_ready_dead(Worker *w)
{
    pid_t pid = fork();
    int pidfd;

    g_assert_cmpint(pid, >=, 0);
    if (!pid) {
        _exit(0);
    }
    pidfd = syscall(__NR_pidfd_open, pid, 0);
    g_assert_cmpint(pidfd, >=, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    worker_send(w, VGPU_MSG_CTX_READY, w->serial, 0, pidfd);
    close(pidfd);
}

/* Wait for its end, by the hand of QEMU or of the test */
static void worker_reap(Worker *w)
{
    int pidfd = syscall(__NR_pidfd_open, w->pid, 0);
    int status;

    g_assert_cmpint(pidfd, >=, 0);
    wait_readable(pidfd);
    close(pidfd);
    g_assert_cmpint(waitpid(w->pid, &status, 0), ==, w->pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    w->pid = 0;
}

static bool worker_alive(Worker *w)
{
    siginfo_t info = {};

    waitid(P_PID, w->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return !info.si_pid;
}

static void worker_free(Worker *w)
{
    if (w->pid) {
        kill(w->pid, SIGKILL);
        worker_reap(w);
    }
    close(w->sock);
    g_free(w);
}

typedef union Message {
    struct vgpu_msg_hdr hdr;
    struct vgpu_msg_res_map map;
    struct vgpu_msg_res_unmap unmap;
    struct vgpu_msg_submit submit;
    struct vgpu_msg_doorbell doorbell;
    uint8_t bytes[VGPU_PROTO_MAX_MSG + 1];
} Message;

static Message *worker_recv(Worker *w, uint32_t type, int *fds,
                            unsigned *nr_fds)
{
    Message *msg = g_new(Message, 1);
    ssize_t len = recv_fds(w->sock, msg, sizeof(*msg), fds, nr_fds);

    g_assert_cmpint(len, <=, VGPU_PROTO_MAX_MSG);
    g_assert_cmpint(len, ==, msg->hdr.size);
    g_assert_cmpint(msg->hdr.type, ==, type);
    g_assert_cmpint(msg->hdr.reserved, ==, 0);
    return msg;
}

/* Messages without descriptors; returns the serial */
static uint64_t worker_recv_plain(Worker *w, uint32_t type)
{
    g_autofree Message *msg = NULL;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds;

    msg = worker_recv(w, type, fds, &nr_fds);
    g_assert_cmpint(nr_fds, ==, 0);
    return msg->hdr.serial;
}

/* A mapping of a single run; returns its descriptor */
static int worker_recv_map(Worker *w, uint32_t res_id, uint64_t *serial,
                           struct vgpu_run *run, uint32_t *flags)
{
    g_autofree Message *msg = NULL;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds;

    msg = worker_recv(w, VGPU_MSG_RES_MAP, fds, &nr_fds);
    g_assert_cmpint(nr_fds, ==, 1);
    g_assert_cmpint(msg->map.res_id, ==, res_id);
    g_assert_cmpint(msg->map.nr_runs, ==, 1);
    g_assert_cmpint(msg->map.size, ==, msg->map.runs[0].length);
    g_assert_cmpint(msg->hdr.flags, ==, 0);
    *serial = msg->hdr.serial;
    *run = msg->map.runs[0];
    *flags = msg->map.flags;
    return fds[0];
}

/* The guest */

typedef struct Guest {
    Server *server;
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QPCIDevice *slot;           /* NULL if it is not in one */
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;
    QVirtQueue *vq;
    uint64_t features;
    unsigned pending;
    GHashTable *used;           /* descriptor index + 1 -> order of answer */
    unsigned nr_used;
} Guest;

typedef struct Command {
    Guest *g;
    uint64_t resp;
    uint32_t resp_len;
    uint32_t id;
} Command;

static void guest_start_device(Guest *g, uint64_t without)
{
    qvirtio_start_device(g->vdev);
    g->features = qvirtio_get_features(g->vdev) &
                  ~(BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
                    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
                    QVIRTIO_F_BAD_FEATURE | without);
    qvirtio_set_features(g->vdev, g->features);
    if (g->vq) {
        qvirtqueue_cleanup(g->vdev->bus, g->vq, &g->alloc);
    }
    g->vq = qvirtqueue_setup(g->vdev, &g->alloc, 0);
    qvirtio_set_driver_ok(g->vdev);
    g->pending = 0;
    g_hash_table_remove_all(g->used);
}

/* more options of the chardev */
static const char *chardev_args = "";
static bool in_slot;
/* the property that names the directory of KFD's processes; NULL: not named */
static const char *kfd_property;
static bool kfd_loaded;

/* The root port, ready for what is plugged into it */
static QPCIDevice *guest_open_slot(Guest *g)
{
    QPCIDevice *port = qpci_device_find(g->bus, QPCI_DEVFN(PCI_SLOT_PORT, 0));

    g_assert_nonnull(port);
    qpci_config_writeb(port, PCI_SECONDARY_BUS, PCI_BUS_SLOT);
    qpci_config_writeb(port, PCI_SUBORDINATE_BUS, PCI_BUS_SLOT);
    /* where libqos puts BARs: e0000000 to fe9fffff */
    qpci_config_writew(port, PCI_MEMORY_BASE, 0xe000);
    qpci_config_writew(port, PCI_MEMORY_LIMIT, 0xfe90);
    qpci_device_enable(port);
    return port;
}

/* The guest takes the power away from it; the device is gone after that */
static void guest_unplug(Guest *g)
{
    uint8_t cap = qpci_find_capability(g->slot, PCI_CAP_ID_EXP, 0);

    g_assert_cmpint(cap, !=, 0);
    qpci_config_writew(g->slot, cap + PCI_EXP_SLTCTL,
                       PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
}

static Guest *guest_new_device(const char *device, const char *args,
                               uint64_t without)
{
    QPCIAddress addr = {
        .devfn = in_slot ? PCI_BUS_SLOT << 8 : QPCI_DEVFN(PCI_SLOT_GPU, 0),
    };
    Guest *g = g_new0(Guest, 1);
    g_autofree char *kfd = NULL;

    g->server = server_new();
    if (kfd_property) {
        kfd = g_strdup_printf(",%s=%s", kfd_property, g->server->kfd);
    }
    if (kfd_loaded) {
        g_assert_cmpint(mkdir(g->server->kfd, 0700), ==, 0);
    }
    server_start(g->server);
    g->qts = qtest_initf(RAM_ARGS "-nodefaults -bios %s %s %s"
                         "-chardev socket,id=vgpu,path=%s%s "
                         "-device %s,hostmem=16M,%s%s",
                         g->server->bios, args, in_slot ? SLOT_ARGS : " ",
                         g->server->path, chardev_args, device,
                         in_slot ? "bus=root,id=gpu" : "addr=4.0", kfd ?: "");
    server_join(g->server);
    g_assert_cmpint(g->server->control, >=, 0);
    pc_alloc_init(&g->alloc, g->qts, 0);
    g->bus = qpci_new_pc(g->qts, &g->alloc);
    g->slot = in_slot ? guest_open_slot(g) : NULL;
    g->pci = virtio_pci_new(g->bus, &addr);
    g_assert_nonnull(g->pci);
    g->vdev = &g->pci->vdev;
    g->used = g_hash_table_new(NULL, NULL);
    qvirtio_pci_device_enable(g->pci);
    guest_start_device(g, without);
    return g;
}

static Guest *guest_new_full(const char *device, const char *args,
                             uint64_t without)
{
    g_autofree char *full = g_strdup_printf("virtio-gpu-compute-pci,"
                                            "chardev=vgpu,max_outputs=0%s",
                                            device);

    return guest_new_device(full, args, without);
}

static Guest *guest_new(void)
{
    return guest_new_full("", "", 0);
}

static void guest_quit(Guest *g)
{
    qvirtqueue_cleanup(g->vdev->bus, g->vq, &g->alloc);
    if (!g->slot) {
        qvirtio_pci_device_disable(g->pci);
    }
    g_free(g->slot);
    g_free(g->pci->pdev);
    g_free(g->pci);
    qpci_free_pc(g->bus);
    alloc_destroy(&g->alloc);
    qtest_quit(g->qts);
    g_hash_table_unref(g->used);
    server_free(g->server);
    g_free(g);
}

static void guest_poll_used(Guest *g)
{
    uint32_t id;

    while (qvirtqueue_get_buf(g->qts, g->vq, &id, NULL)) {
        g_hash_table_insert(g->used, GUINT_TO_POINTER(id + 1),
                            GUINT_TO_POINTER(++g->nr_used));
        g->pending--;
    }
}

static Command *guest_send_full(Guest *g, const void *req, size_t len,
                                size_t resp_len)
{
    Command *c = g_new0(Command, 1);
    uint64_t addr = guest_alloc(&g->alloc, len + resp_len);
    g_autofree uint8_t *zero = g_malloc0(resp_len);

    guest_poll_used(g);
    if (g->vq->num_free < 2) {
        g_assert_cmpint(g->pending, ==, 0);
        qvirtqueue_reset_pool(g->vq);
        g_hash_table_remove_all(g->used);
    }
    c->g = g;
    c->resp = addr + len;
    c->resp_len = resp_len;
    qtest_memwrite(g->qts, addr, req, len);
    qtest_memwrite(g->qts, c->resp, zero, resp_len);
    c->id = qvirtqueue_add(g->qts, g->vq, addr, len, false, true);
    qvirtqueue_add(g->qts, g->vq, c->resp, resp_len, true, false);
    g->pending++;
    qvirtqueue_kick(g->qts, g->vdev, g->vq, c->id);
    return c;
}

static Command *guest_send(Guest *g, const void *req, size_t len)
{
    return guest_send_full(g, req, len, sizeof(struct virtio_gpu_ctrl_hdr));
}

static bool cmd_answered(Command *c)
{
    guest_poll_used(c->g);
    return g_hash_table_contains(c->g->used, GUINT_TO_POINTER(c->id + 1));
}

/* Which answer of all this one was */
static unsigned cmd_order(Command *c)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(c->g->used,
                                                GUINT_TO_POINTER(c->id + 1)));
}

/* Wait for the answer; a response longer than the header goes to @resp */
static struct virtio_gpu_ctrl_hdr cmd_wait_full(Command *c, void *resp)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_MS * 1000;
    struct virtio_gpu_ctrl_hdr hdr;

    while (!cmd_answered(c)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qtest_memread(c->g->qts, c->resp, &hdr, sizeof(hdr));
    if (resp) {
        qtest_memread(c->g->qts, c->resp, resp, c->resp_len);
    }
    g_free(c);
    return hdr;
}

static uint32_t cmd_wait(Command *c)
{
    return cmd_wait_full(c, NULL).type;
}

#define assert_ok(c) \
    g_assert_cmphex(cmd_wait(c), ==, VIRTIO_GPU_RESP_OK_NODATA)
#define assert_err(c, err) \
    g_assert_cmphex(cmd_wait(c), ==, VIRTIO_GPU_RESP_ERR_##err)

/* Commands are processed in their order: those before are under way then. */
static void guest_sync(Guest *g)
{
    struct virtio_gpu_get_capset_info req = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO,
    };
    struct virtio_gpu_resp_capset_info resp;

    g_assert_cmphex(cmd_wait_full(guest_send_full(g, &req, sizeof(req),
                                                  sizeof(resp)), &resp).type,
                    ==, VIRTIO_GPU_RESP_OK_CAPSET_INFO);
}

static void assert_pending(Command *c)
{
    guest_sync(c->g);
    g_assert_false(cmd_answered(c));
}

static Command *send_ctx_create(Guest *g, uint32_t ctx, uint32_t capset)
{
    struct virtio_gpu_ctx_create req = {
        .hdr.type = VIRTIO_GPU_CMD_CTX_CREATE,
        .hdr.ctx_id = ctx,
        .nlen = 5,
        .context_init = capset,
        .debug_name = "qtest and what nlen does not cover",
    };

    return guest_send(g, &req, sizeof(req));
}

static Command *send_ctx(Guest *g, uint32_t type, uint32_t ctx)
{
    struct virtio_gpu_ctrl_hdr req = { .type = type, .ctx_id = ctx };

    return guest_send(g, &req, sizeof(req));
}

static Command *send_ctx_destroy(Guest *g, uint32_t ctx)
{
    return send_ctx(g, VIRTIO_GPU_CMD_CTX_DESTROY, ctx);
}

static Command *send_res(Guest *g, uint32_t type, uint32_t ctx, uint32_t res)
{
    struct virtio_gpu_ctx_resource req = {
        .hdr.type = type, .hdr.ctx_id = ctx, .resource_id = res,
    };

    return guest_send(g, &req, sizeof(req));
}

#define send_attach(g, ctx, res) \
    send_res(g, VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, ctx, res)
#define send_detach(g, ctx, res) \
    send_res(g, VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE, ctx, res)
#define send_unref(g, res) \
    send_res(g, VIRTIO_GPU_CMD_RESOURCE_UNREF, 0, res)
#define send_unmap(g, res) \
    send_res(g, VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, 0, res)

static Command *send_map(Guest *g, uint32_t res, uint64_t offset)
{
    struct virtio_gpu_resource_map_blob req = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB,
        .resource_id = res, .offset = offset,
    };

    return guest_send_full(g, &req, sizeof(req),
                           sizeof(struct virtio_gpu_resp_map_info));
}

typedef struct Blob {
    uint32_t ctx, res, mem, flags;
    uint64_t size, id;
    uint32_t nr_entries;        /* as claimed */
    uint32_t nr_carried;        /* as carried; 0: as claimed */
    const struct virtio_gpu_mem_entry *entries;
} Blob;

static Command *send_blob(Guest *g, const Blob *b)
{
    struct virtio_gpu_resource_create_blob req = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
        .hdr.ctx_id = b->ctx,
        .resource_id = b->res,
        .blob_mem = b->mem,
        .blob_flags = b->flags,
        .nr_entries = b->nr_entries,
        .blob_id = b->id,
        .size = b->size,
    };
    size_t len = (b->nr_carried ?: b->nr_entries) * sizeof(*b->entries);
    g_autofree uint8_t *buf = g_malloc(sizeof(req) + len);

    memcpy(buf, &req, sizeof(req));
    if (len) {
        memcpy(buf + sizeof(req), b->entries, len);
    }
    return guest_send(g, buf, sizeof(req) + len);
}

/* One read-write page-aligned piece at @addr, as a program registers it */
static Command *send_userptr(Guest *g, uint32_t ctx, uint32_t res,
                             uint64_t addr, uint32_t len)
{
    struct virtio_gpu_mem_entry entry = { .addr = addr, .length = len };

    return send_blob(g, &(Blob) {
        .ctx = ctx, .res = res, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = len,
        .nr_entries = 1, .entries = &entry,
    });
}

static Command *send_hostblob(Guest *g, uint32_t ctx, uint32_t res,
                              uint64_t size)
{
    return send_blob(g, &(Blob) {
        .ctx = ctx, .res = res, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE, .size = size,
    });
}

/* @flags: VIRTIO_GPU_FLAG_*, or'd with the ring in bits 8 and up */
static Command *send_submit(Guest *g, uint32_t ctx, uint32_t flags,
                            uint64_t fence, const void *payload, uint32_t len)
{
    struct virtio_gpu_cmd_submit req = {
        .hdr.type = VIRTIO_GPU_CMD_SUBMIT_3D,
        .hdr.ctx_id = ctx,
        .hdr.flags = flags & 0xff,
        .hdr.ring_idx = flags >> 8,
        .hdr.fence_id = fence,
        .size = len,
    };
    g_autofree uint8_t *buf = g_malloc(sizeof(req) + len);

    memcpy(buf, &req, sizeof(req));
    memcpy(buf + sizeof(req), payload, len);
    return guest_send(g, buf, sizeof(req) + len);
}

#define RING(n) (VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX | \
                 (n) << 8)

static Worker *guest_ctx(Guest *g, uint32_t ctx)
{
    Command *c = send_ctx_create(g, ctx, VIRTIO_GPU_CAPSET_COMPUTE);
    Worker *w = server_recv_create(g->server);

    g_assert_cmpint(w->ctx_id, ==, ctx);
    worker_ready(w);
    assert_ok(c);
    return w;
}

/* Register a page-sized userptr and have the worker accept it */
static void guest_userptr(Guest *g, Worker *w, uint32_t res, uint64_t addr)
{
    Command *c = send_userptr(g, w->ctx_id, res, addr, PAGE);
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;

    close(worker_recv_map(w, res, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(c);
}

static unsigned count_fds(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtest_pid(qts));
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

static bool migration_blocked(QTestState *qts)
{
    QDict *ret = qtest_qmp_assert_success_ref(qts,
                                              "{'execute': 'query-migrate'}");
    bool blocked = qdict_haskey(ret, "blocked-reasons");

    qobject_unref(ret);
    return blocked;
}

/* Tests: what the device offers */

static void test_features(void)
{
    Guest *g = guest_new();
    struct virtio_gpu_get_capset_info info = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO, .capset_index = 1,
    };
    struct virtio_gpu_resp_capset_info info_resp;
    struct virtio_gpu_get_capset get = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET,
        .capset_id = VIRTIO_GPU_CAPSET_COMPUTE, .capset_version = 1,
    };
    uint8_t resp[sizeof(struct virtio_gpu_ctrl_hdr) + sizeof(capset_data)];

    g_assert_true(g->features & BIT_ULL(VIRTIO_GPU_F_VIRGL));
    g_assert_true(g->features & BIT_ULL(VIRTIO_GPU_F_RESOURCE_BLOB));
    g_assert_true(g->features & BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT));
    g_assert_true(g->features & BIT_ULL(VIRTIO_GPU_F_RESOURCE_USERPTR));
    g_assert_cmpint(qvirtio_config_readl(g->vdev, 8), ==, 0); /* scanouts */
    g_assert_cmpint(qvirtio_config_readl(g->vdev, 12), ==, 2); /* capsets */

    cmd_wait_full(guest_send_full(g, &info, sizeof(info), sizeof(info_resp)),
                  &info_resp);
    g_assert_cmphex(info_resp.hdr.type, ==, VIRTIO_GPU_RESP_OK_CAPSET_INFO);
    g_assert_cmpint(info_resp.capset_id, ==, VIRTIO_GPU_CAPSET_COMPUTE + 1);
    g_assert_cmpint(info_resp.capset_max_size, ==, sizeof(capset_data));
    info.capset_index = 2;
    assert_err(guest_send(g, &info, sizeof(info)), INVALID_PARAMETER);

    g_assert_cmphex(cmd_wait_full(guest_send_full(g, &get, sizeof(get),
                                                  sizeof(resp)), resp).type,
                    ==, VIRTIO_GPU_RESP_OK_CAPSET);
    g_assert_cmpint(memcmp(resp + sizeof(struct virtio_gpu_ctrl_hdr),
                           capset_data, sizeof(capset_data)), ==, 0);
    get.capset_version = 2;
    assert_err(guest_send(g, &get, sizeof(get)), INVALID_PARAMETER);
    get.capset_version = 1;
    get.capset_id = VIRTIO_GPU_CAPSET_VIRGL;
    assert_err(guest_send(g, &get, sizeof(get)), INVALID_PARAMETER);
    guest_quit(g);
}

static void test_bad_commands(void)
{
    static const uint32_t types[] = {
        VIRTIO_GPU_UNDEFINED, VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID,
        VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, VIRTIO_GPU_CMD_RESOURCE_CREATE_3D,
        VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D,
        VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D, 0xffffffff,
    };
    static const uint32_t shorts[] = {
        VIRTIO_GPU_CMD_GET_CAPSET, VIRTIO_GPU_CMD_GET_CAPSET_INFO,
        VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, VIRTIO_GPU_CMD_RESOURCE_UNREF,
        VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB,
        VIRTIO_GPU_CMD_CTX_CREATE, VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE,
        VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE, VIRTIO_GPU_CMD_SUBMIT_3D,
        VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, VIRTIO_GPU_CMD_SET_SCANOUT,
    };
    Guest *g = guest_new();
    uint8_t req[64] = {};
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(types); i++) {
        memcpy(req, &types[i], sizeof(types[i]));
        assert_err(guest_send(g, req, sizeof(req)), UNSPEC);
    }
    for (i = 0; i < ARRAY_SIZE(shorts); i++) {
        assert_err(send_ctx(g, shorts[i], 1), INVALID_PARAMETER);
    }
    assert_err(guest_send(g, req, 23), INVALID_PARAMETER);
    assert_err(guest_send(g, req, 1), INVALID_PARAMETER);
    guest_sync(g);
    guest_quit(g);
}

/* Tests: contexts */

static void test_ctx(void)
{
    Guest *g = guest_new();
    Command *c;
    Worker *w;

    assert_err(send_ctx_create(g, 0, VIRTIO_GPU_CAPSET_COMPUTE),
               INVALID_CONTEXT_ID);
    assert_err(send_ctx_create(g, 1, 0), INVALID_PARAMETER);
    assert_err(send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_VIRGL),
               INVALID_PARAMETER);
    assert_err(send_ctx_destroy(g, 1), INVALID_CONTEXT_ID);
    assert_err(send_submit(g, 1, 0, 0, "", 0), INVALID_CONTEXT_ID);
    assert_err(send_userptr(g, 1, 1, DATA, PAGE), INVALID_CONTEXT_ID);
    g_assert_false(is_readable(g->server->control));
    g_assert_false(migration_blocked(g->qts));

    c = send_ctx_create(g, 7, VIRTIO_GPU_CAPSET_COMPUTE + 1);
    w = server_recv_create(g->server);
    g_assert_cmpint(w->ctx_id, ==, 7);
    g_assert_cmpint(w->capset_id, ==, VIRTIO_GPU_CAPSET_COMPUTE + 1);
    g_assert_cmpstr(w->name, ==, "qtest");
    assert_pending(c);
    assert_err(send_ctx_create(g, 7, VIRTIO_GPU_CAPSET_COMPUTE),
               INVALID_CONTEXT_ID);
    worker_ready(w);
    assert_ok(c);
    g_assert_true(migration_blocked(g->qts));

    c = send_ctx_destroy(g, 7);
    worker_reap(w);
    assert_ok(c);
    server_recv_kill(g->server, w);
    g_assert_false(migration_blocked(g->qts));
    worker_free(w);

    /* the id can be used again */
    w = guest_ctx(g, 7);
    worker_free(w);
    guest_quit(g);
}

/* Commands of a context that is starting wait, nothing is sent */
static void test_ctx_starting(void)
{
    Guest *g = guest_new();
    Command *create, *map, *submit;
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    Worker *w;

    create = send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_COMPUTE);
    map = send_userptr(g, 1, 1, DATA, PAGE);
    submit = send_submit(g, 1, RING(0), 1, "abc", 3);
    w = server_recv_create(g->server);
    assert_pending(create);
    assert_pending(map);
    assert_pending(submit);
    g_assert_false(is_readable(w->sock));

    worker_ready(w);
    assert_ok(create);
    close(worker_recv_map(w, 1, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(map);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
    assert_ok(submit);
    worker_free(w);

    /* destroyed, or not to be had, before it was ready */
    create = send_ctx_create(g, 2, VIRTIO_GPU_CAPSET_COMPUTE);
    submit = send_submit(g, 2, RING(0), 1, "abc", 3);
    w = server_recv_create(g->server);
    assert_ok(send_ctx_destroy(g, 2));
    assert_err(create, UNSPEC);
    assert_err(submit, UNSPEC);
    server_recv_kill(g->server, w);
    worker_free(w);

    create = send_ctx_create(g, 2, VIRTIO_GPU_CAPSET_COMPUTE);
    w = server_recv_create(g->server);
    worker_send(w, VGPU_MSG_CTX_READY, w->serial, EAGAIN, -1);
    assert_err(create, UNSPEC);
    assert_err(send_submit(g, 2, 0, 0, "", 0), UNSPEC);
    assert_ok(send_ctx_destroy(g, 2));
    server_recv_kill(g->server, w);
    worker_free(w);
    guest_quit(g);
}

/* What is not a CTX_READY with a pidfd loses the context, nothing else */
static void test_ctx_bad_ready(void)
{
    Guest *g = guest_new();
    Command *create;
    unsigned i;
    Worker *w;

    for (i = 1; i <= 6; i++) {
        create = send_ctx_create(g, i, VIRTIO_GPU_CAPSET_COMPUTE);
        w = server_recv_create(g->server);
        switch (i) {
        case 1: /* no descriptor */
            worker_send(w, VGPU_MSG_CTX_READY, w->serial, 0, -1);
            break;
        case 2: /* one of another kind */
            worker_send(w, VGPU_MSG_CTX_READY, w->serial, 0, w->sock);
            break;
        case 3:
            worker_send(w, VGPU_MSG_CTX_READY, w->serial + 1, 0, -1);
            break;
        case 4:
            worker_send(w, VGPU_MSG_DONE, w->serial, 0, -1);
            break;
        case 5:
            close(w->sock);
            w->sock = -1;
            break;
        case 6: /* what a DONE may say, if at all */
            worker_ready_full(w, VGPU_DONE_DOORBELLS);
            break;
        }
        assert_err(create, UNSPEC);
        server_recv_kill(g->server, w);
        worker_free(w);
    }
    w = guest_ctx(g, 7);
    worker_free(w);
    guest_quit(g);
}

static void test_ctx_limit(void)
{
    Guest *g = guest_new_full(",max-contexts=2", "", 0);
    Worker *a = guest_ctx(g, 1), *b = guest_ctx(g, 2);
    Command *c;

    assert_err(send_ctx_create(g, 3, VIRTIO_GPU_CAPSET_COMPUTE),
               OUT_OF_MEMORY);
    c = send_ctx_destroy(g, 1);
    assert_ok(c);
    server_recv_kill(g->server, a);
    worker_free(a);
    a = guest_ctx(g, 3);
    worker_free(a);
    worker_free(b);
    guest_quit(g);
}

/* Contexts cannot migrate */
static void test_ctx_only_migratable(void)
{
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    Guest *g = guest_new_full("", "-only-migratable", 0);

    assert_err(send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_COMPUTE), UNSPEC);
    assert_err(send_blob(g, &(Blob) {
        .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_GUEST, .size = PAGE,
        .nr_entries = 1, .entries = &entry,
    }), UNSPEC);
    assert_err(send_unref(g, 1), INVALID_RESOURCE_ID);
    g_assert_false(is_readable(g->server->control));
    guest_quit(g);
}

static void test_server_gone(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);

    close(g->server->control);
    g->server->control = -1;
    assert_err(send_ctx_create(g, 2, VIRTIO_GPU_CAPSET_COMPUTE), UNSPEC);
    /* workers die with it, but that one is still there */
    guest_userptr(g, w, 1, DATA);
    kill(w->pid, SIGKILL);
    assert_ok(send_unref(g, 1));
    worker_free(w);
    guest_quit(g);
}

static uint64_t device_property(Guest *g, const char *name)
{
    QDict *ret;
    uint64_t n;

    ret = qtest_qmp(g->qts, "{'execute': 'qom-get', 'arguments': {"
                    "'path': '/machine/peripheral-anon/device[0]/"
                    "virtio-backend', 'property': %s}}", name);
    g_assert_true(qdict_haskey(ret, "return"));
    n = qdict_get_int(ret, "return");
    qobject_unref(ret);
    return n;
}

static void assert_state(Guest *g, unsigned contexts, unsigned resources,
                         uint64_t bytes)
{
    g_assert_cmpint(device_property(g, "contexts"), ==, contexts);
    g_assert_cmpint(device_property(g, "resources"), ==, resources);
    g_assert_cmpint(device_property(g, "registered-bytes"), ==, bytes);
}

/* What QMP tells of the guest's use of the device */
static void test_properties(void)
{
    Guest *g = guest_new();
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    Command *c;
    Worker *w;

    assert_state(g, 0, 0, 0);
    w = guest_ctx(g, 1);
    assert_state(g, 1, 0, 0);
    guest_userptr(g, w, 1, DATA);
    guest_userptr(g, w, 2, DATA);
    assert_state(g, 1, 2, 2 * PAGE);
    /* memory of the host is not the guest's */
    c = send_hostblob(g, 1, 3, PAGE);
    close(worker_recv_map(w, 3, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(c);
    assert_state(g, 1, 3, 2 * PAGE);
    /* in use until the worker has let go of it */
    c = send_unref(g, 1);
    serial = worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
    assert_pending(c);
    assert_state(g, 1, 3, 2 * PAGE);
    worker_done(w, serial, 0);
    assert_ok(c);
    assert_state(g, 1, 2, PAGE);
    guest_start_device(g, 0);
    assert_state(g, 0, 0, 0);
    worker_free(w);
    guest_quit(g);
}

/* Returns: whether contexts can be made again, before the time is up */
static bool server_comes_back(Guest *g)
{
    Command *c;
    Worker *w;
    char byte;
    int i;

    for (i = 0; i < 100; i++) {
        c = send_ctx_create(g, 2, VIRTIO_GPU_CAPSET_COMPUTE);
        while (!cmd_answered(c)) {
            if (recv(g->server->control, &byte, 1,
                     MSG_PEEK | MSG_DONTWAIT) == 1) {
                w = server_recv_create(g->server);
                worker_ready(w);
                assert_ok(c);
                worker_free(w);
                return true;
            }
        }
        assert_err(c, UNSPEC);
        g_usleep(10 * 1000);
    }
    return false;
}

/* With reconnect-ms=, for new contexts, and only if it offers what it did */
static void test_server_back(void)
{
    Worker *w;
    Guest *g;

    chardev_args = ",reconnect-ms=50";
    g = guest_new();
    chardev_args = "";
    w = guest_ctx(g, 1);

    g->server->nr_capsets = 1;
    server_restart(g->server);
    g_assert_false(server_comes_back(g));
    g->server->nr_capsets = 2;
    g->server->version++;
    server_restart(g->server);
    g_assert_false(server_comes_back(g));
    g->server->version--;
    g->server->garbage = true;
    server_restart(g->server);
    g_assert_false(server_comes_back(g));
    g->server->garbage = false;
    server_restart(g->server);
    g_assert_true(server_comes_back(g));

    /* a context that was there before is as it was */
    guest_userptr(g, w, 1, DATA);
    worker_free(w);
    guest_quit(g);
}

/* Tests: guest memory */

static void test_userptr(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    struct virtio_gpu_mem_entry entries[] = {
        { .addr = DATA + 4 * PAGE, .length = 2 * PAGE },
        { .addr = DATA + 6 * PAGE, .length = PAGE },    /* neighbour */
        { .addr = DATA, .length = PAGE },
        { .addr = DATA, .length = PAGE },               /* the same again */
    };
    Blob blob = {
        .ctx = 1, .res = 5, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = 5 * PAGE,
        .id = 0x123456789, .nr_entries = 4, .entries = entries,
    };
    static const uint64_t expect[][2] = {
        { DATA + 4 * PAGE, 3 * PAGE }, { DATA, PAGE }, { DATA, PAGE },
    };
    g_autofree Message *msg = NULL;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds, i;
    uint64_t serial;
    Command *c;
    char *p;

    qtest_memset(g->qts, DATA + 6 * PAGE, 0x77, PAGE);
    c = send_blob(g, &blob);
    msg = worker_recv(w, VGPU_MSG_RES_MAP, fds, &nr_fds);
    assert_pending(c);
    g_assert_cmpint(nr_fds, ==, 1);
    g_assert_cmpint(msg->map.res_id, ==, 5);
    g_assert_cmpint(msg->map.flags, ==, 0);
    g_assert_cmpint(msg->map.blob_id, ==, 0x123456789);
    g_assert_cmpint(msg->map.size, ==, 5 * PAGE);
    g_assert_cmpint(msg->map.nr_runs, ==, ARRAY_SIZE(expect));
    for (i = 0; i < ARRAY_SIZE(expect); i++) {
        g_assert_cmpint(msg->map.runs[i].fd, ==, 0);
        /* the only RAM block begins at guest address 0 and offset 0 */
        g_assert_cmphex(msg->map.runs[i].offset, ==, expect[i][0]);
        g_assert_cmpint(msg->map.runs[i].length, ==, expect[i][1]);
    }

    /* it is that memory, both ways */
    p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
             msg->map.runs[0].offset);
    g_assert_true(p != MAP_FAILED);
    g_assert_cmphex(p[2 * PAGE], ==, 0x77);
    p[2 * PAGE] = 0x55;
    g_assert_cmphex(qtest_readb(g->qts, DATA + 6 * PAGE), ==, 0x55);
    munmap(p, 3 * PAGE);
    /* which nobody can take away */
    g_assert_cmpint(ftruncate(fds[0], PAGE), ==, -1);
    close(fds[0]);

    worker_done(w, msg->hdr.serial, 0);
    assert_ok(c);

    /* unref is answered when the worker has unmapped it */
    c = send_unref(g, 5);
    serial = worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
    assert_pending(c);
    assert_err(send_unref(g, 5), INVALID_RESOURCE_ID);
    assert_err(send_attach(g, 1, 5), INVALID_RESOURCE_ID);
    worker_done(w, serial, 0);
    assert_ok(c);
    g_assert_true(worker_alive(w));

    /* what the worker refuses is not there */
    c = send_userptr(g, 1, 6, DATA, PAGE);
    close(worker_recv_map(w, 6, &serial, &msg->map.runs[0], &i));
    worker_done(w, serial, ENOMEM);
    assert_err(c, OUT_OF_MEMORY);
    assert_err(send_unref(g, 6), INVALID_RESOURCE_ID);
    guest_userptr(g, w, 6, DATA);

    worker_free(w);
    guest_quit(g);
}

static void test_userptr_rdonly(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    struct vgpu_run run;
    struct stat st;
    uint64_t serial;
    uint32_t flags;
    Command *c;
    int fd;

    c = send_blob(g, &(Blob) {
        .ctx = 1, .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR |
                 VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY,
        .size = PAGE, .nr_entries = 1, .entries = &entry,
    });
    fd = worker_recv_map(w, 1, &serial, &run, &flags);
    g_assert_cmpint(flags, ==, VGPU_RES_RDONLY);
    g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDONLY);
    g_assert_true(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       run.offset) == MAP_FAILED);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 0777, ==, 0400);
    close(fd);
    worker_done(w, serial, 0);
    assert_ok(c);
    worker_free(w);
    guest_quit(g);
}

static void test_userptr_entries(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    uint64_t hostmem;
    QPCIBar bar = qpci_iomap(g->pci->pdev, 4, &hostmem);
    QPCIDevice *mch;
    const struct {
        struct virtio_gpu_mem_entry entries[2];
        uint64_t size;
    } bad[] = {
        /* not whole pages */
        { { { DATA + 1, PAGE } }, PAGE },
        { { { DATA + 512, PAGE } }, PAGE },
        { { { DATA, PAGE - 1 }, { DATA + PAGE, 1 } }, PAGE },
        { { { DATA, 512 } }, PAGE },
        { { { DATA, 0 } }, PAGE },
        { { { DATA, PAGE }, { DATA, 0 } }, PAGE },
        /* the size is another one */
        { { { DATA, PAGE } }, 2 * PAGE },
        { { { DATA, 2 * PAGE } }, PAGE },
        { { { DATA, PAGE }, { DATA, PAGE } }, PAGE },
        { { { DATA, PAGE } }, 0 },
        { { { DATA, PAGE } }, PAGE + 1 },
        { { { DATA, PAGE } }, 0x100000000ull + PAGE },
        { { { DATA, PAGE } }, UINT64_MAX - PAGE + 1 },
        /* not RAM */
        { { { 0xfee00000, PAGE } }, PAGE },             /* APIC */
        { { { 0xfec00000, PAGE } }, PAGE },             /* I/O APIC */
        { { { 0xfffff000, PAGE } }, PAGE },             /* BIOS */
        { { { 0xf0000, PAGE } }, PAGE },                /* its shadow */
        { { { RAM_SIZE, PAGE } }, PAGE },               /* nothing */
        { { { RAM_SIZE - PAGE, 2 * PAGE } }, 2 * PAGE },
        { { { 0xbf000, 2 * PAGE } }, 2 * PAGE },        /* into ROM */
        { { { DATA, PAGE }, { 1ull << 40, PAGE } }, 2 * PAGE },
        { { { UINT64_MAX - PAGE + 1, PAGE } }, PAGE },
        { { { UINT64_MAX - PAGE + 1, 2 * PAGE } }, 2 * PAGE },
        /* RAM, but not the guest's */
        { { { bar.addr, PAGE } }, PAGE },
    };
    Command *c, *map;
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    unsigned i, k;

    g_assert_cmpint(hostmem, ==, HOSTMEM);
    c = send_hostblob(g, 1, 1, PAGE);
    close(worker_recv_map(w, 1, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(c);
    map = send_map(g, 1, 0);
    g_assert_cmphex(cmd_wait(map), ==, VIRTIO_GPU_RESP_OK_MAP_INFO);

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        for (k = 0; k < 3; k++) {
            Blob blob = {
                .ctx = 1, .res = 2,
                .mem = k == 1 ? VIRTIO_GPU_BLOB_MEM_GUEST
                              : VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
                .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR |
                    (k == 2 ? VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY : 0),
                .size = bad[i].size,
                .nr_entries = 1 + !!bad[i].entries[1].addr,
                .entries = bad[i].entries,
            };

            assert_err(send_blob(g, &blob), INVALID_PARAMETER);
        }
    }

    /* the first and the last page of RAM are RAM */
    guest_userptr(g, w, 2, 0);
    guest_userptr(g, w, 3, RAM_SIZE - PAGE);

    /* so are those that nobody may write, once somebody may */
    mch = qpci_device_find(g->bus, 0);
    qpci_config_writeb(mch, MCH_PAM1, 0x11);
    assert_err(send_userptr(g, 1, 4, 0xc0000, PAGE), INVALID_PARAMETER);
    qpci_config_writeb(mch, MCH_PAM1, 0x33);
    guest_userptr(g, w, 4, 0xc0000);
    g_free(mch);
    g_assert_true(worker_alive(w));
    worker_free(w);
    guest_quit(g);
}

static void test_userptr_counts(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    struct virtio_gpu_mem_entry entries[] = {
        { .addr = DATA, .length = PAGE },
    };
    g_autofree struct virtio_gpu_mem_entry *many = NULL;
    unsigned i;
    Blob blob = {
        .ctx = 1, .res = 2, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = PAGE,
        .nr_carried = 1, .entries = entries,
    };

    /* no more than the command carries, no more than there may be */
    blob.nr_entries = 2;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    blob.nr_entries = 16384;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    blob.nr_entries = 16385;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    many = g_new(struct virtio_gpu_mem_entry, 16385);
    for (i = 0; i < 16385; i++) {
        many[i] = entries[0];
    }
    assert_err(send_blob(g, &(Blob) {
        .ctx = 1, .res = 2, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = 16385 * PAGE,
        .nr_entries = 16385, .entries = many,
    }), INVALID_PARAMETER);
    blob.nr_entries = UINT32_MAX;
    assert_err(send_blob(g, &blob), OUT_OF_MEMORY);
    blob.nr_entries = 0x10000001;
    assert_err(send_blob(g, &blob), OUT_OF_MEMORY);
    blob.nr_entries = 0;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    g_assert_false(is_readable(w->sock));

    /* ids */
    guest_userptr(g, w, 2, DATA);
    blob.nr_entries = 1;
    assert_err(send_blob(g, &blob), INVALID_RESOURCE_ID);
    blob.res = 0;
    assert_err(send_blob(g, &blob), INVALID_RESOURCE_ID);
    assert_err(send_unref(g, 0), INVALID_RESOURCE_ID);
    assert_err(send_unref(g, 99), INVALID_RESOURCE_ID);
    assert_err(send_attach(g, 1, 99), INVALID_RESOURCE_ID);
    assert_err(send_attach(g, 9, 2), INVALID_CONTEXT_ID);
    assert_err(send_detach(g, 9, 2), INVALID_CONTEXT_ID);
    assert_err(send_unmap(g, 2), INVALID_RESOURCE_ID);
    assert_err(send_map(g, 2, 0), INVALID_RESOURCE_ID);
    assert_err(send_map(g, 99, 0), INVALID_RESOURCE_ID);
    /* it has its memory */
    assert_err(send_res(g, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, 0, 2),
               INVALID_RESOURCE_ID);
    assert_err(send_res(g, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 0, 2),
               INVALID_RESOURCE_ID);
    worker_free(w);
    guest_quit(g);
}

static void test_userptr_flags(void)
{
    enum {
        G = VIRTIO_GPU_BLOB_MEM_GUEST,
        H = VIRTIO_GPU_BLOB_MEM_HOST3D,
        HG = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        U = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR,
        R = VIRTIO_GPU_BLOB_FLAG_USERPTR_RDONLY,
        M = VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE,
        S = VIRTIO_GPU_BLOB_FLAG_USE_SHAREABLE,
        X = VIRTIO_GPU_BLOB_FLAG_USE_CROSS_DEVICE,
    };
    static const struct {
        uint32_t mem, flags, id;
    } bad[] = {
        { H, U }, { H, U | M }, { HG, U | M }, { HG, U | S }, { HG, U | X },
        { G, U | M }, { G, U | S }, { G, U | X }, { HG, R }, { G, R },
        { HG, R | M }, { HG, 0x8 }, { HG, U | 0x8 }, { HG, U | 0x40 },
        { G, U | 0x80000000 }, { 0, U }, { 4, U }, { 0, 0 }, { G, U, 1 },
        { H, M }, { H, 0 }, { G, X },
    };
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    Blob blob = {
        .ctx = 1, .res = 2, .size = PAGE, .nr_entries = 1, .entries = &entry,
    };
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        blob.mem = bad[i].mem;
        blob.flags = bad[i].flags;
        blob.id = bad[i].id;
        assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    }
    g_assert_false(is_readable(w->sock));
    worker_free(w);
    guest_quit(g);

    /* not without the feature */
    g = guest_new_full("", "", BIT_ULL(VIRTIO_GPU_F_RESOURCE_USERPTR));
    w = guest_ctx(g, 1);
    blob.mem = HG;
    blob.id = 0;
    blob.flags = U;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    blob.flags = U | R;
    assert_err(send_blob(g, &blob), INVALID_PARAMETER);
    blob.mem = G;
    blob.flags = 0;
    assert_ok(send_blob(g, &blob));
    worker_free(w);
    guest_quit(g);
}

/* As many entries as a command may have, none next to another */
static void test_userptr_fragments(void)
{
    const unsigned n = 16384;
    g_autofree struct virtio_gpu_mem_entry *entries =
        g_new0(struct virtio_gpu_mem_entry, n);
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    uint64_t serial = 0;
    unsigned i, k, nr_fds, messages = 0;
    int fds[VGPU_PROTO_MAX_FDS];
    Command *c;
    bool more = true;

    for (i = 0; i < n; i++) {
        entries[i].addr = DATA + 2 * PAGE * (uint64_t)((i * 7919) % n);
        entries[i].length = PAGE;
    }
    c = send_blob(g, &(Blob) {
        .ctx = 1, .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = n * PAGE,
        .nr_entries = n, .entries = entries,
    });
    for (i = 0; more; ) {
        g_autofree Message *msg = worker_recv(w, VGPU_MSG_RES_MAP, fds,
                                              &nr_fds);

        g_assert_cmpint(nr_fds, ==, 1);
        close(fds[0]);
        g_assert_true(!serial || serial == msg->hdr.serial);
        serial = msg->hdr.serial;
        g_assert_cmpint(msg->map.size, ==, n * PAGE);
        for (k = 0; k < msg->map.nr_runs; k++, i++) {
            g_assert_cmpint(i, <, n);
            g_assert_cmpint(msg->map.runs[k].fd, ==, 0);
            g_assert_cmphex(msg->map.runs[k].offset, ==, entries[i].addr);
            g_assert_cmpint(msg->map.runs[k].length, ==, PAGE);
        }
        more = msg->hdr.flags & VGPU_MSG_F_MORE;
        messages++;
    }
    g_assert_cmpint(i, ==, n);
    g_assert_cmpint(messages, >, 1);
    assert_pending(c);
    worker_done(w, serial, 0);
    assert_ok(c);
    worker_free(w);
    guest_quit(g);
}

/* An entry over two RAM blocks becomes two runs of two files */
static void test_userptr_ram_blocks(void)
{
    const uint64_t edge = 128 * 1024 * 1024;
    struct virtio_gpu_mem_entry entry = {
        .addr = edge - PAGE, .length = 3 * PAGE,
    };
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT_GPU, 0) };
    Guest *g = g_new0(Guest, 1);
    g_autofree Message *msg = NULL;
    int fds[VGPU_PROTO_MAX_FDS];
    struct stat st[2];
    unsigned nr_fds;
    Command *c;
    Worker *w;

    g->server = server_new();
    server_start(g->server);
    g->qts = qtest_initf("-m 256M -machine q35 -nodefaults -smp 2 -bios %s "
        "-object memory-backend-memfd,id=m0,size=128M,share=on "
        "-object memory-backend-memfd,id=m1,size=128M,share=on "
        "-numa node,nodeid=0,memdev=m0 -numa node,nodeid=1,memdev=m1 "
        "-chardev socket,id=vgpu,path=%s "
        "-device virtio-gpu-compute-pci,chardev=vgpu,"
        "max_outputs=0,hostmem=16M,addr=%d.0",
        g->server->bios, g->server->path, PCI_SLOT_GPU);
    server_join(g->server);
    pc_alloc_init(&g->alloc, g->qts, 0);
    g->bus = qpci_new_pc(g->qts, &g->alloc);
    g->pci = virtio_pci_new(g->bus, &addr);
    g->vdev = &g->pci->vdev;
    g->used = g_hash_table_new(NULL, NULL);
    qvirtio_pci_device_enable(g->pci);
    guest_start_device(g, 0);

    w = guest_ctx(g, 1);
    c = send_blob(g, &(Blob) {
        .ctx = 1, .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = 3 * PAGE,
        .nr_entries = 1, .entries = &entry,
    });
    msg = worker_recv(w, VGPU_MSG_RES_MAP, fds, &nr_fds);
    g_assert_cmpint(nr_fds, ==, 2);
    g_assert_cmpint(msg->map.nr_runs, ==, 2);
    g_assert_cmpint(msg->map.runs[0].fd, ==, 0);
    g_assert_cmphex(msg->map.runs[0].offset, ==, edge - PAGE);
    g_assert_cmpint(msg->map.runs[0].length, ==, PAGE);
    g_assert_cmpint(msg->map.runs[1].fd, ==, 1);
    g_assert_cmphex(msg->map.runs[1].offset, ==, 0);
    g_assert_cmpint(msg->map.runs[1].length, ==, 2 * PAGE);
    fstat(fds[0], &st[0]);
    fstat(fds[1], &st[1]);
    g_assert_cmpint(st[0].st_ino, !=, st[1].st_ino);
    close(fds[0]);
    close(fds[1]);
    worker_done(w, msg->hdr.serial, 0);
    assert_ok(c);
    worker_free(w);
    guest_quit(g);
}

/* Tests: attaching */

static void test_attach(void)
{
    Guest *g = guest_new();
    Worker *a = guest_ctx(g, 1), *b = guest_ctx(g, 2);
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    Blob blob = {
        .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_GUEST,
        .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = PAGE,
        .nr_entries = 1, .entries = &entry,
    };
    struct vgpu_run run;
    uint64_t sa, sb;
    uint32_t flags;
    Command *c;

    /* nobody has it before it is attached */
    assert_ok(send_blob(g, &blob));
    g_assert_false(is_readable(a->sock));

    c = send_attach(g, 1, 1);
    close(worker_recv_map(a, 1, &sa, &run, &flags));
    assert_pending(c);
    worker_done(a, sa, 0);
    assert_ok(c);
    assert_ok(send_attach(g, 1, 1));

    c = send_attach(g, 2, 1);
    close(worker_recv_map(b, 1, &sb, &run, &flags));
    worker_done(b, sb, 0);
    assert_ok(c);

    /* detached from one and attached again, in order */
    c = send_detach(g, 1, 1);
    assert_pending(c);
    worker_done(a, worker_recv_plain(a, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(c);
    assert_ok(send_detach(g, 1, 1));
    c = send_attach(g, 1, 1);
    close(worker_recv_map(a, 1, &sa, &run, &flags));
    worker_done(a, sa, 0);
    assert_ok(c);

    /* gone when all have unmapped it */
    c = send_unref(g, 1);
    sa = worker_recv_plain(a, VGPU_MSG_RES_UNMAP);
    sb = worker_recv_plain(b, VGPU_MSG_RES_UNMAP);
    worker_done(b, sb, 0);
    assert_pending(c);
    worker_done(a, sa, 0);
    assert_ok(c);

    /* the guest does not look at the answer: without it the context is lost */
    assert_ok(send_blob(g, &blob));
    c = send_attach(g, 1, 1);
    close(worker_recv_map(a, 1, &sa, &run, &flags));
    worker_done(a, sa, EINVAL);
    assert_err(c, INVALID_PARAMETER);
    worker_reap(a);
    assert_err(send_attach(g, 1, 1), UNSPEC);
    assert_ok(send_unref(g, 1));

    /* what belongs to one context is not for another */
    guest_userptr(g, b, 3, DATA);
    assert_ok(send_attach(g, 2, 3));
    server_recv_kill(g->server, a);
    worker_free(a);
    a = guest_ctx(g, 4);
    assert_err(send_attach(g, 4, 3), INVALID_PARAMETER);
    assert_ok(send_detach(g, 4, 3));
    g_assert_true(worker_alive(b));
    worker_free(a);
    worker_free(b);
    guest_quit(g);
}

/* Linux attaches its framebuffers to whatever context there is */
static void test_2d(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    struct virtio_gpu_resource_create_2d create = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
        .resource_id = 1, .format = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM,
        .width = 64, .height = 64,
    };

    assert_ok(guest_send(g, &create, sizeof(create)));
    assert_ok(send_attach(g, 1, 1));
    assert_err(send_userptr(g, 1, 1, DATA, PAGE), INVALID_RESOURCE_ID);
    assert_ok(send_detach(g, 1, 1));
    assert_ok(send_unref(g, 1));
    g_assert_false(is_readable(w->sock));
    guest_userptr(g, w, 1, DATA);
    assert_err(guest_send(g, &create, sizeof(create)), INVALID_RESOURCE_ID);
    worker_free(w);
    guest_quit(g);
}

/* Tests: submissions and fences */

static void test_submit(void)
{
    const uint32_t size = VGPU_PROTO_MAX_SUBMIT;
    g_autofree uint8_t *payload = g_malloc(size + 1);
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    struct virtio_gpu_cmd_submit lie = {
        .hdr.type = VIRTIO_GPU_CMD_SUBMIT_3D, .hdr.ctx_id = 1,
    };
    struct virtio_gpu_ctrl_hdr hdr;
    uint64_t serial = 0;
    uint32_t i, got = 0;
    bool more = true;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds;
    Command *c;

    for (i = 0; i <= size; i++) {
        payload[i] = i ^ (i >> 8) ^ (i >> 16);
    }
    c = send_submit(g, 1, RING(3), 0x123456789abc, payload, size);
    while (more) {
        g_autofree Message *msg = worker_recv(w, VGPU_MSG_SUBMIT, fds, &nr_fds);
        uint32_t len = msg->hdr.size - sizeof(msg->submit);

        g_assert_cmpint(nr_fds, ==, 0);
        g_assert_cmpint(msg->submit.ring_idx, ==, 3);
        g_assert_cmpint(msg->submit.total, ==, size);
        g_assert_cmpint(got + len, <=, size);
        g_assert_cmpint(memcmp(msg->submit.payload, payload + got, len), ==, 0);
        g_assert_true(!serial || serial == msg->hdr.serial);
        serial = msg->hdr.serial;
        got += len;
        more = msg->hdr.flags & VGPU_MSG_F_MORE;
    }
    g_assert_cmpint(got, ==, size);
    assert_pending(c);
    worker_done(w, serial, 0);
    hdr = cmd_wait_full(c, NULL);
    g_assert_cmphex(hdr.type, ==, VIRTIO_GPU_RESP_OK_NODATA);
    g_assert_cmphex(hdr.flags & VIRTIO_GPU_FLAG_FENCE, !=, 0);
    g_assert_cmphex(hdr.fence_id, ==, 0x123456789abc);
    g_assert_cmpint(hdr.ctx_id, ==, 1);

    /* an error signals the fence, too; without a fence there is an answer */
    c = send_submit(g, 1, RING(0), 2, "x", 1);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), EIO);
    hdr = cmd_wait_full(c, NULL);
    g_assert_cmphex(hdr.type, ==, VIRTIO_GPU_RESP_ERR_UNSPEC);
    g_assert_cmphex(hdr.flags & VIRTIO_GPU_FLAG_FENCE, !=, 0);
    c = send_submit(g, 1, 0, 0, "", 0);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
    assert_ok(c);

    assert_err(send_submit(g, 1, 0, 0, payload, size + 1), INVALID_PARAMETER);
    lie.size = 1;
    assert_err(guest_send(g, &lie, sizeof(lie)), INVALID_PARAMETER);
    lie.size = UINT32_MAX;
    assert_err(guest_send(g, &lie, sizeof(lie)), INVALID_PARAMETER);
    g_assert_false(is_readable(w->sock));
    worker_free(w);
    guest_quit(g);
}

/* A worker that does not read holds up nobody but itself */
static void test_submit_blocked(void)
{
    const uint32_t size = 60000, n = 40;
    g_autofree uint8_t *payload = g_malloc0(size);
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1), *other = guest_ctx(g, 2);
    Command *c[40], *quick;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds, i;

    for (i = 0; i < n; i++) {
        memcpy(payload, &i, sizeof(i));
        c[i] = send_submit(g, 1, RING(0), i + 1, payload, size);
    }
    guest_sync(g);
    quick = send_submit(g, 2, RING(0), 100, "x", 1);
    worker_done(other, worker_recv_plain(other, VGPU_MSG_SUBMIT), 0);
    assert_ok(quick);

    for (i = 0; i < n; i++) {
        g_autofree Message *msg = worker_recv(w, VGPU_MSG_SUBMIT, fds, &nr_fds);

        g_assert_cmpint(memcmp(msg->submit.payload, &i, sizeof(i)), ==, 0);
        worker_done(w, msg->hdr.serial, 0);
    }
    for (i = 0; i < n; i++) {
        assert_ok(c[i]);
    }
    worker_free(w);
    worker_free(other);
    guest_quit(g);
}

static void test_fences(void)
{
    Guest *g = guest_new();
    Worker *a = guest_ctx(g, 1), *b = guest_ctx(g, 2);
    struct virtio_gpu_get_capset_info info = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO,
        .hdr.flags = VIRTIO_GPU_FLAG_FENCE, .hdr.fence_id = 4,
    };
    Command *ga, *gb, *rb, *gi, *gx;
    unsigned oa, ob, oi, ox;
    uint64_t sa;

    /* the global timeline: in order, whoever is ready first */
    ga = send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 1, "a", 1);
    gb = send_submit(g, 2, VIRTIO_GPU_FLAG_FENCE, 2, "b", 1);
    rb = send_submit(g, 2, RING(1), 3, "r", 1);
    gi = guest_send_full(g, &info, sizeof(info),
                         sizeof(struct virtio_gpu_resp_capset_info));
    gx = send_submit(g, 9, VIRTIO_GPU_FLAG_FENCE, 5, "x", 1); /* no context */
    worker_done(b, worker_recv_plain(b, VGPU_MSG_SUBMIT), 0);
    worker_done(b, worker_recv_plain(b, VGPU_MSG_SUBMIT), 0);
    assert_ok(rb);      /* rings are timelines of their own */
    assert_pending(ga);
    assert_pending(gb);
    assert_pending(gi);
    assert_pending(gx);
    sa = worker_recv_plain(a, VGPU_MSG_SUBMIT);
    worker_done(a, sa, 0);
    while (!cmd_answered(gx)) {
        /* all others are before */
    }
    oa = cmd_order(ga);
    ob = cmd_order(gb);
    oi = cmd_order(gi);
    ox = cmd_order(gx);
    g_assert_true(oa && oa < ob && ob < oi && oi < ox);
    assert_ok(ga);
    assert_ok(gb);
    g_assert_cmphex(cmd_wait(gi), ==, VIRTIO_GPU_RESP_OK_CAPSET_INFO);
    assert_err(gx, INVALID_CONTEXT_ID);

    /* a lost context does not hold them up */
    ga = send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 6, "a", 1);
    gb = send_submit(g, 2, VIRTIO_GPU_FLAG_FENCE, 7, "b", 1);
    worker_done(b, worker_recv_plain(b, VGPU_MSG_SUBMIT), 0);
    assert_pending(gb);
    kill(a->pid, SIGKILL);
    assert_err(ga, UNSPEC);
    assert_ok(gb);
    worker_free(a);
    worker_free(b);
    guest_quit(g);
}

/* Tests: blobs that the guest maps */

static void test_blob(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    QPCIBar bar = qpci_iomap(g->pci->pdev, 4, NULL);
    struct virtio_gpu_resp_map_info info;
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    Command *c, *m, *u;
    uint8_t *p;
    int fd;

    c = send_hostblob(g, 1, 1, 4 * PAGE);
    m = send_map(g, 1, PAGE);
    fd = worker_recv_map(w, 1, &serial, &run, &flags);
    g_assert_cmpint(flags, ==, VGPU_RES_BLOB);
    g_assert_cmpint(run.offset, ==, 0);
    g_assert_cmpint(run.length, ==, 4 * PAGE);
    assert_pending(c);
    assert_pending(m);  /* a map waits for the worker's word */
    worker_done(w, serial, 0);
    assert_ok(c);
    g_assert_cmphex(cmd_wait_full(m, &info).type, ==,
                    VIRTIO_GPU_RESP_OK_MAP_INFO);
    g_assert_cmpint(info.map_info, ==, VIRTIO_GPU_MAP_CACHE_CACHED);

    /* the same memory, which nobody can take away */
    p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(p != MAP_FAILED);
    p[3 * PAGE] = 0x42;
    g_assert_cmphex(qpci_io_readb(g->pci->pdev, bar, PAGE + 3 * PAGE), ==,
                    0x42);
    qpci_io_writeb(g->pci->pdev, bar, PAGE, 0x24);
    g_assert_cmphex(p[0], ==, 0x24);
    g_assert_cmpint(ftruncate(fd, 0), ==, -1);
    g_assert_cmpint(ftruncate(fd, 8 * PAGE), ==, -1);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), ==, -1);
    munmap(p, 4 * PAGE);
    close(fd);

    /* where it can be mapped */
    assert_err(send_map(g, 1, 8 * PAGE), INVALID_PARAMETER); /* is mapped */
    c = send_hostblob(g, 1, 2, 4 * PAGE);
    close(worker_recv_map(w, 2, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(c);
    assert_err(send_map(g, 2, 0), INVALID_PARAMETER);
    assert_err(send_map(g, 2, 4 * PAGE), INVALID_PARAMETER);
    assert_err(send_map(g, 2, 8 * PAGE + 1), INVALID_PARAMETER);
    assert_err(send_map(g, 2, HOSTMEM), INVALID_PARAMETER);
    assert_err(send_map(g, 2, HOSTMEM - 3 * PAGE), INVALID_PARAMETER);
    assert_err(send_map(g, 2, UINT64_MAX - PAGE + 1), INVALID_PARAMETER);
    g_assert_cmphex(cmd_wait(send_map(g, 2, HOSTMEM - 4 * PAGE)), ==,
                    VIRTIO_GPU_RESP_OK_MAP_INFO);

    /* unmap, unref, and map again, back to back */
    u = send_unmap(g, 1);
    m = send_map(g, 1, 0);
    assert_ok(u);
    g_assert_cmphex(cmd_wait(m), ==, VIRTIO_GPU_RESP_OK_MAP_INFO);
    u = send_unmap(g, 1);
    c = send_unref(g, 1);
    assert_ok(u);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(c);
    assert_err(send_unmap(g, 1), INVALID_RESOURCE_ID);
    g_assert_cmphex(qpci_io_readb(g->pci->pdev, bar, 0), !=, 0x24);
    /* still mapped */
    c = send_unref(g, 2);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(c);

    /* what the worker refuses cannot be mapped; more than there may be */
    c = send_hostblob(g, 1, 3, PAGE);
    m = send_map(g, 3, 0);
    close(worker_recv_map(w, 3, &serial, &run, &flags));
    worker_done(w, serial, EINVAL);
    assert_err(c, INVALID_PARAMETER);
    assert_err(m, INVALID_RESOURCE_ID);
    assert_err(send_hostblob(g, 1, 3, 512 * 1024 * 1024), OUT_OF_MEMORY);
    assert_err(send_hostblob(g, 1, 3, 1ull << 62), OUT_OF_MEMORY);
    assert_err(send_hostblob(g, 1, 3, PAGE / 2), INVALID_PARAMETER);
    assert_err(send_hostblob(g, 1, 3, 0), INVALID_PARAMETER);
    worker_free(w);
    guest_quit(g);
}

/* Memory of a context that the guest does not want to see */
static void test_blob_unmappable(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    Blob blob = {
        .ctx = 1, .res = 1, .mem = VIRTIO_GPU_BLOB_MEM_HOST3D, .size = PAGE,
    };
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    unsigned i;
    Command *c;

    for (i = 0; i < 2; i++) {
        blob.flags = i ? VIRTIO_GPU_BLOB_FLAG_USE_SHAREABLE : 0;
        c = send_blob(g, &blob);
        close(worker_recv_map(w, 1, &serial, &run, &flags));
        g_assert_cmpint(flags, ==, VGPU_RES_BLOB);
        g_assert_cmpint(run.length, ==, PAGE);
        worker_done(w, serial, 0);
        assert_ok(c);
        assert_err(send_map(g, 1, 0), INVALID_PARAMETER);
        assert_err(send_unmap(g, 1), INVALID_PARAMETER);
        c = send_unref(g, 1);
        worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
        assert_ok(c);
    }
    worker_free(w);
    guest_quit(g);
}

/* Tests: doorbells */

static uint32_t map_blob(Guest *g, uint32_t res, uint64_t offset)
{
    struct virtio_gpu_resp_map_info info;

    g_assert_cmphex(cmd_wait_full(send_map(g, res, offset), &info).type, ==,
                    VIRTIO_GPU_RESP_OK_MAP_INFO);
    return info.map_info;
}

/* Make a blob of which the worker says that it is doorbells */
static void guest_doorbells(Guest *g, Worker *w, uint32_t res, uint64_t size)
{
    Command *c = send_hostblob(g, w->ctx_id, res, size);
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;

    close(worker_recv_map(w, res, &serial, &run, &flags));
    worker_send_full(w, VGPU_MSG_DONE, serial, 0, VGPU_DONE_DOORBELLS, -1);
    assert_ok(c);
}

static struct vgpu_msg_doorbell worker_recv_doorbell(Worker *w)
{
    g_autofree Message *msg = NULL;
    int fds[VGPU_PROTO_MAX_FDS];
    unsigned nr_fds;

    msg = worker_recv(w, VGPU_MSG_DOORBELL, fds, &nr_fds);
    g_assert_cmpint(nr_fds, ==, 0);
    g_assert_cmpint(msg->hdr.size, ==, sizeof(msg->doorbell));
    g_assert_cmphex(msg->hdr.flags, ==, 0);
    g_assert_cmpint(msg->doorbell.reserved, ==, 0);
    return msg->doorbell;
}

static void assert_doorbell(Worker *w, uint32_t res, uint32_t offset,
                            uint32_t size, uint64_t value)
{
    struct vgpu_msg_doorbell bell = worker_recv_doorbell(w);

    g_assert_cmpint(bell.res_id, ==, res);
    g_assert_cmphex(bell.offset, ==, offset);
    g_assert_cmpint(bell.size, ==, size);
    g_assert_cmphex(bell.value, ==, value);
}

static void test_doorbells(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1), *other = guest_ctx(g, 2);
    QPCIDevice *pdev = g->pci->pdev;
    QPCIBar bar = qpci_iomap(pdev, 4, NULL);
    Command *c, *m;
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;

    /* a MAP_BLOB that has waited for the worker's word */
    c = send_hostblob(g, 1, 1, 2 * PAGE);
    m = send_map(g, 1, PAGE);
    assert_pending(m);
    close(worker_recv_map(w, 1, &serial, &run, &flags));
    worker_send_full(w, VGPU_MSG_DONE, serial, 0, VGPU_DONE_DOORBELLS, -1);
    assert_ok(c);
    g_assert_cmphex(cmd_wait(m), ==, VIRTIO_GPU_RESP_OK_MAP_INFO);

    qpci_io_writeq(pdev, bar, PAGE + 8, 0x123456789abcdef0);
    assert_doorbell(w, 1, 8, 8, 0x123456789abcdef0);
    qpci_io_writel(pdev, bar, PAGE + 12, 0x87654321);
    assert_doorbell(w, 1, 12, 4, 0x87654321);
    qpci_io_writeq(pdev, bar, 3 * PAGE - 8, UINT64_MAX);
    assert_doorbell(w, 1, 2 * PAGE - 8, 8, UINT64_MAX);
    /* not memory */
    g_assert_cmphex(qpci_io_readq(pdev, bar, PAGE + 8), ==, 0);
    g_assert_cmphex(qpci_io_readl(pdev, bar, PAGE + 12), ==, 0);
    g_assert_cmphex(qpci_io_readb(pdev, bar, PAGE + 12), ==, 0);
    /* of no size that a doorbell has */
    qpci_io_writeb(pdev, bar, PAGE + 8, 1);
    qpci_io_writew(pdev, bar, PAGE + 8, 1);
    qpci_io_writel(pdev, bar, PAGE + 10, 1);
    /* beside them hostmem is as it was */
    qpci_io_writeq(pdev, bar, PAGE - 8, 1);
    g_assert_cmphex(qpci_io_readq(pdev, bar, PAGE - 8), ==, 1);
    qpci_io_writeq(pdev, bar, 3 * PAGE, 1);
    g_assert_cmphex(qpci_io_readq(pdev, bar, 3 * PAGE), ==, 1);
    guest_sync(g);
    g_assert_false(is_readable(w->sock));

    /* where it can be mapped is as with others */
    assert_err(send_map(g, 1, 8 * PAGE), INVALID_PARAMETER);
    guest_doorbells(g, other, 2, PAGE);
    assert_err(send_map(g, 2, 2 * PAGE), INVALID_PARAMETER);
    g_assert_cmpint(map_blob(g, 2, 0), ==, VIRTIO_GPU_MAP_CACHE_UNCACHED);
    guest_doorbells(g, w, 3, PAGE);
    map_blob(g, 3, HOSTMEM - PAGE);

    /* each to its own */
    qpci_io_writel(pdev, bar, 0, 1);
    qpci_io_writel(pdev, bar, PAGE, 2);
    qpci_io_writel(pdev, bar, HOSTMEM - 4, 3);
    assert_doorbell(other, 2, 0, 4, 1);
    assert_doorbell(w, 1, 0, 4, 2);
    assert_doorbell(w, 3, PAGE - 4, 4, 3);

    /* they are requests like others, in their order, and not answered */
    c = send_submit(g, 1, RING(0), 1, "x", 1);
    guest_sync(g);
    qpci_io_writel(pdev, bar, PAGE, 4);
    serial = worker_recv_plain(w, VGPU_MSG_SUBMIT);
    assert_doorbell(w, 1, 0, 4, 4);
    worker_done(w, serial, 0);
    assert_ok(c);

    worker_free(w);
    worker_free(other);
    guest_quit(g);
}

/* Who does not hear them any more, and what is there instead */
static void test_doorbells_gone(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    QPCIDevice *pdev = g->pci->pdev;
    QPCIBar bar = qpci_iomap(pdev, 4, NULL);
    unsigned i, fds = 0;
    uint64_t serial;
    Command *c;

    for (i = 0; i < 6; i++) {
        bool is_mapped = true;

        guest_doorbells(g, w, 1, PAGE);
        map_blob(g, 1, i * PAGE);
        qpci_io_writel(pdev, bar, i * PAGE, i);
        assert_doorbell(w, 1, 0, 4, i);

        switch (i) {
        case 0: /* unmapped */
            assert_ok(send_unmap(g, 1));
            is_mapped = false;
            break;
        case 1: /* unref'd, while mapped; the worker has not answered */
            c = send_unref(g, 1);
            serial = worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
            qpci_io_writel(pdev, bar, i * PAGE, i);
            assert_pending(c);
            worker_done(w, serial, 0);
            assert_ok(c);
            is_mapped = false;
            break;
        case 2: /* not the context's any more */
            c = send_detach(g, 1, 1);
            serial = worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
            qpci_io_writel(pdev, bar, i * PAGE, i);
            assert_pending(c);
            worker_done(w, serial, 0);
            assert_ok(c);
            break;
        case 3: /* dead */
            kill(w->pid, SIGKILL);
            assert_err(send_submit(g, 1, 0, 0, "x", 1), UNSPEC);
            break;
        case 4: /* destroyed */
            assert_ok(send_ctx_destroy(g, 1));
            break;
        case 5:
            qvirtio_reset(g->vdev);
            qvirtio_pci_device_enable(g->pci);
            is_mapped = false;
            break;
        }

        /* nothing, or hostmem without a blob */
        qpci_io_writel(pdev, bar, i * PAGE, 7);
        g_assert_cmphex(qpci_io_readl(pdev, bar, i * PAGE), ==,
                        is_mapped ? 0 : 7);
        if (i == 5) {
            guest_start_device(g, 0);
        }
        guest_sync(g);
        if (i < 3) {
            g_assert_false(is_readable(w->sock));
        }
        if (i != 1 && i != 5) {
            c = send_unref(g, 1);
            if (!i) {
                worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
            }
            assert_ok(c);
            qpci_io_writel(pdev, bar, i * PAGE, 8);
            g_assert_cmphex(qpci_io_readl(pdev, bar, i * PAGE), ==, 8);
        }
        if (i >= 3) {
            if (i == 3) {
                assert_ok(send_ctx_destroy(g, 1));
            }
            worker_free(w);
            w = guest_ctx(g, 1);
        }
        if (!i) {
            fds = count_fds(g->qts);
        }
    }
    g_assert_cmpint(count_fds(g->qts), ==, fds);
    worker_free(w);
    guest_quit(g);
}

/* What is no doorbell cannot be made one */
static void test_doorbells_lies(void)
{
    Guest *g = guest_new();
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    unsigned i;

    for (i = 0; i < 4; i++) {
        Worker *w = guest_ctx(g, 1);
        Command *c, *m = NULL;

        if (i) {
            c = send_hostblob(g, 1, 1, PAGE);
            m = send_map(g, 1, 0);
        } else {
            c = send_userptr(g, 1, 1, DATA, PAGE);
        }
        close(worker_recv_map(w, 1, &serial, &run, &flags));
        switch (i) {
        case 0: /* memory of the guest */
            worker_send_full(w, VGPU_MSG_DONE, serial, 0, VGPU_DONE_DOORBELLS,
                             -1);
            break;
        case 1: /* and what it is not, either */
            worker_send_full(w, VGPU_MSG_DONE, serial, ENOMEM,
                             VGPU_DONE_DOORBELLS, -1);
            break;
        case 2:
            worker_send_full(w, VGPU_MSG_DONE, serial, 0,
                             VGPU_DONE_DOORBELLS << 1, -1);
            break;
        case 3: /* when it goes */
            worker_done(w, serial, 0);
            assert_ok(c);
            g_assert_cmphex(cmd_wait(m), ==, VIRTIO_GPU_RESP_OK_MAP_INFO);
            m = NULL;
            c = send_unref(g, 1);
            worker_send_full(w, VGPU_MSG_DONE,
                             worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0,
                             VGPU_DONE_DOORBELLS, -1);
            break;
        }
        worker_reap(w);
        if (i < 3) {
            assert_err(c, UNSPEC);
        } else {
            assert_ok(c);
        }
        if (m) {
            assert_err(m, INVALID_RESOURCE_ID);
        }
        assert_ok(send_ctx_destroy(g, 1));
        worker_free(w);
    }
    guest_quit(g);
}

/* Submissions that do not fit into the socket of a worker that does not read */
static void guest_block_worker(Guest *g, Worker *w, Command **c, unsigned n)
{
    const uint32_t size = 60000;
    g_autofree uint8_t *payload = g_malloc0(size);
    unsigned i;

    for (i = 0; i < n; i++) {
        c[i] = send_submit(g, w->ctx_id, RING(0), i + 1, payload, size);
    }
    guest_sync(g);
}

static void worker_unblock(Worker *w, Command **c, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
    }
    for (i = 0; i < n; i++) {
        assert_ok(c[i]);
    }
}

/* The last value counts, as long as nothing else has been asked since */
static void test_doorbells_queued(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1);
    QPCIDevice *pdev = g->pci->pdev;
    QPCIBar bar = qpci_iomap(pdev, 4, NULL);
    Command *c[40], *between, *unref;
    unsigned i, n = 0, last_a = 0, last_b = 0;
    uint64_t serial;

    guest_doorbells(g, w, 1, 2 * PAGE);
    map_blob(g, 1, 0);
    guest_block_worker(g, w, c, 40);
    for (i = 1; i <= 3; i++) {
        qpci_io_writeq(pdev, bar, 0, i);
    }
    qpci_io_writeq(pdev, bar, 8, 4);
    qpci_io_writeq(pdev, bar, 0, 5);
    qpci_io_writel(pdev, bar, 0, 6);    /* of another size */
    qpci_io_writel(pdev, bar, 0, 7);
    between = send_submit(g, 1, 0, 0, "x", 1);
    guest_sync(g);
    qpci_io_writel(pdev, bar, 0, 8);
    worker_unblock(w, c, 40);
    assert_doorbell(w, 1, 0, 8, 3);
    assert_doorbell(w, 1, 8, 8, 4);
    assert_doorbell(w, 1, 0, 8, 5);
    assert_doorbell(w, 1, 0, 4, 7);
    serial = worker_recv_plain(w, VGPU_MSG_SUBMIT);
    assert_doorbell(w, 1, 0, 4, 8);
    worker_done(w, serial, 0);
    assert_ok(between);

    /* with many of them also if there is something in between */
    guest_block_worker(g, w, c, 40);
    for (i = 1; i <= 2000; i++) {
        qpci_io_writeq(pdev, bar, 0, i);
        qpci_io_writeq(pdev, bar, 8, i);
    }
    unref = send_unref(g, 1);
    guest_sync(g);
    worker_unblock(w, c, 40);
    do {
        struct vgpu_msg_doorbell bell = worker_recv_doorbell(w);
        unsigned *last = bell.offset ? &last_b : &last_a;

        g_assert_cmpint(bell.value, >, *last);
        *last = bell.value;
        n++;
    } while (last_a < 2000 || last_b < 2000);
    g_assert_cmpint(n, <=, 1024);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(unref);

    /* up to so many different ones */
    guest_doorbells(g, w, 1, 2 * PAGE);
    map_blob(g, 1, 0);
    guest_block_worker(g, w, c, 40);
    for (i = 0; i < 1024; i++) {
        qpci_io_writel(pdev, bar, 4 * i, i);
    }
    qpci_io_writel(pdev, bar, 0, 1024);
    guest_sync(g);
    worker_unblock(w, c, 40);
    for (i = 1; i <= 1024; i++) {
        assert_doorbell(w, 1, 4 * (i % 1024), 4, i);
    }
    guest_block_worker(g, w, c, 40);
    for (i = 0; i < 1025; i++) {
        g_assert_true(worker_alive(w));
        qpci_io_writel(pdev, bar, 4 * i, i);
    }
    worker_reap(w);
    for (i = 0; i < 40; i++) {
        assert_err(c[i], UNSPEC);
    }
    worker_free(w);
    guest_quit(g);
}

/* A worker that takes no doorbells hangs, one that takes them does not */
static void test_doorbells_watched(void)
{
    Guest *g = guest_new_full(",job-timeout-ms=1000", "", 0);
    Worker *w = guest_ctx(g, 1);
    QPCIDevice *pdev = g->pci->pdev;
    QPCIBar bar = qpci_iomap(pdev, 4, NULL);
    unsigned i;

    guest_doorbells(g, w, 1, 2 * PAGE);
    map_blob(g, 1, 0);
    qpci_io_writel(pdev, bar, 0, 1);
    assert_doorbell(w, 1, 0, 4, 1);
    g_usleep(1500 * 1000);
    g_assert_true(worker_alive(w));
    qpci_io_writel(pdev, bar, 0, 2);
    assert_doorbell(w, 1, 0, 4, 2);

    /* many more than fit */
    for (i = 0; i < 2000; i++) {
        qpci_io_writel(pdev, bar, 4 * (i % 1024), i);
    }
    worker_reap(w);
    assert_err(send_submit(g, 1, 0, 0, "x", 1), UNSPEC);
    worker_free(w);
    guest_quit(g);
}

/* The device goes while doorbells are mapped */
static void test_doorbells_unplug(void)
{
    Guest *g;
    Worker *w;

    in_slot = true;
    g = guest_new();
    in_slot = false;
    w = guest_ctx(g, 1);
    guest_doorbells(g, w, 1, PAGE);
    map_blob(g, 1, 0);
    qpci_io_writel(g->pci->pdev, qpci_iomap(g->pci->pdev, 4, NULL), 0, 1);
    assert_doorbell(w, 1, 0, 4, 1);
    guest_unplug(g);
    g_assert_false(worker_alive(w));
    worker_free(w);
    guest_quit(g);
}

/* Tests: the end of workers */

static void test_worker_killed(void)
{
    Guest *g = guest_new();
    Worker *w = guest_ctx(g, 1), *other = guest_ctx(g, 2);
    struct virtio_gpu_ctrl_hdr hdr;
    Command *submit, *map, *waiting, *unref, *detach, *late;
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;

    guest_userptr(g, w, 1, DATA);
    guest_userptr(g, w, 2, DATA);
    submit = send_submit(g, 1, RING(0), 77, "x", 1);
    map = send_hostblob(g, 1, 3, PAGE);
    waiting = send_map(g, 3, 0);
    unref = send_unref(g, 1);
    detach = send_detach(g, 1, 2);
    assert_pending(submit);
    kill(w->pid, SIGKILL);
    hdr = cmd_wait_full(submit, NULL);
    g_assert_cmphex(hdr.type, ==, VIRTIO_GPU_RESP_ERR_UNSPEC);
    g_assert_cmphex(hdr.flags & VIRTIO_GPU_FLAG_FENCE, !=, 0);
    g_assert_cmpint(hdr.fence_id, ==, 77);
    assert_err(map, UNSPEC);
    assert_err(waiting, INVALID_RESOURCE_ID);
    assert_ok(unref);
    assert_ok(detach);

    /* the id is in use until it is destroyed, the resources until unref'd */
    assert_err(send_submit(g, 1, 0, 0, "x", 1), UNSPEC);
    assert_err(send_userptr(g, 1, 4, DATA, PAGE), UNSPEC);
    assert_err(send_attach(g, 1, 2), UNSPEC);
    assert_err(send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_COMPUTE),
               INVALID_CONTEXT_ID);
    assert_ok(send_detach(g, 1, 2));
    assert_ok(send_unref(g, 2));
    assert_ok(send_ctx_destroy(g, 1));
    worker_free(w);

    /* others live, and new ones are made */
    guest_userptr(g, other, 5, DATA);
    w = guest_ctx(g, 1);
    guest_userptr(g, w, 6, DATA);
    /* destroyed with work under way */
    late = send_submit(g, 1, RING(0), 78, "x", 1);
    map = send_userptr(g, 1, 7, DATA, PAGE);
    worker_recv_plain(w, VGPU_MSG_SUBMIT);
    close(worker_recv_map(w, 7, &serial, &run, &flags));
    assert_ok(send_ctx_destroy(g, 1));
    assert_err(late, UNSPEC);
    assert_err(map, UNSPEC);
    assert_ok(send_unref(g, 6));
    worker_free(w);

    /* what it had finished before it died is finished */
    late = send_submit(g, 2, RING(0), 79, "x", 1);
    worker_done(other, worker_recv_plain(other, VGPU_MSG_SUBMIT), 0);
    kill(other->pid, SIGKILL);
    assert_ok(late);
    worker_free(other);
    guest_quit(g);
}

/* Whoever breaks the protocol is killed */
static void test_worker_misbehaves(void)
{
    Guest *g = guest_new();
    unsigned i;

    for (i = 0; i < 11; i++) {
        struct vgpu_msg_done msg = {
            .hdr.type = VGPU_MSG_DONE, .hdr.size = sizeof(msg),
        };
        Worker *w = guest_ctx(g, 1);
        Command *c, *u = NULL;
        uint64_t serial;

        guest_userptr(g, w, 1, DATA);
        c = send_submit(g, 1, RING(0), 1, "x", 1);
        serial = worker_recv_plain(w, VGPU_MSG_SUBMIT);
        msg.hdr.serial = serial;
        switch (i) {
        case 0: /* not what was asked */
            worker_done(w, serial + 1, 0);
            break;
        case 1:
            worker_done(w, 0, 0);
            break;
        case 2: /* not a DONE */
            worker_send(w, VGPU_MSG_CTX_READY, w->serial, 0, -1);
            break;
        case 3: /* a descriptor */
            worker_send(w, VGPU_MSG_DONE, serial, 0, w->sock);
            break;
        case 4: /* too short, too long */
            send(w->sock, &msg, sizeof(msg) - 1, 0);
            break;
        case 5:
            msg.hdr.size = sizeof(msg) + 1;
            send(w->sock, &msg, sizeof(msg), 0);
            break;
        case 6:
            msg.hdr.flags = VGPU_MSG_F_MORE;
            send(w->sock, &msg, sizeof(msg), 0);
            break;
        case 7: /* twice */
            worker_done(w, serial, 0);
            worker_done(w, serial, 0);
            assert_ok(c);
            c = NULL;
            break;
        case 8: /* memory that it does not want to give back */
            worker_done(w, serial, 0);
            assert_ok(c);
            c = NULL;
            u = send_unref(g, 1);
            worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), EBUSY);
            break;
        case 9: /* hangs up and lives on */
            close(w->sock);
            w->sock = -1;
            break;
        case 10: /* that the guest's work is a doorbell */
            worker_send_full(w, VGPU_MSG_DONE, serial, 0, VGPU_DONE_DOORBELLS,
                             -1);
            break;
        }
        worker_reap(w);
        if (c) {
            assert_err(c, UNSPEC);
        }
        assert_ok(u ?: send_unref(g, 1));
        assert_ok(send_ctx_destroy(g, 1));
        server_recv_kill(g->server, w);
        worker_free(w);
    }
    guest_quit(g);
}

/* Who does not answer in time is killed, who is idle or slow is not */
static void test_worker_hangs(void)
{
    Guest *g = guest_new_full(",job-timeout-ms=2000", "", 0);
    Worker *w = guest_ctx(g, 1), *idle = guest_ctx(g, 2);
    Command *c[3], *create, *unref;
    unsigned i;

    guest_userptr(g, w, 1, DATA);
    for (i = 0; i < 3; i++) {
        c[i] = send_submit(g, 1, RING(0), i + 1, "x", 1);
    }
    for (i = 0; i < 3; i++) {
        g_usleep(1000 * 1000);
        worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
        assert_ok(c[i]);
    }

    c[0] = send_submit(g, 1, RING(0), 4, "x", 1);
    c[1] = send_submit(g, 1, RING(0), 5, "x", 1);
    unref = send_unref(g, 1);
    assert_pending(c[0]);
    assert_pending(unref);
    worker_reap(w);
    assert_err(c[0], UNSPEC);
    assert_err(c[1], UNSPEC);
    assert_ok(unref);
    assert_ok(send_ctx_destroy(g, 1));
    server_recv_kill(g->server, w);
    worker_free(w);

    /* one that does not come to life */
    create = send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_COMPUTE);
    w = server_recv_create(g->server);
    assert_err(create, UNSPEC);
    server_recv_kill(g->server, w);
    assert_ok(send_ctx_destroy(g, 1));
    worker_free(w);

    guest_userptr(g, idle, 2, DATA);
    worker_free(idle);
    guest_quit(g);
}

/* Tests: reset */

static void test_reset(void)
{
    Guest *g = guest_new();
    unsigned fds, i;

    for (i = 0; i < 3; i++) {
        struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
        Worker *a, *b, *c;
        struct vgpu_run run;
        uint64_t serial;
        uint32_t flags;
        Command *cmd;

        fds = count_fds(g->qts);
        g_assert_false(migration_blocked(g->qts));
        a = guest_ctx(g, 1);
        b = guest_ctx(g, 2);
        guest_userptr(g, a, 1, DATA);
        cmd = send_hostblob(g, 1, 2, PAGE);
        close(worker_recv_map(a, 2, &serial, &run, &flags));
        worker_done(a, serial, 0);
        assert_ok(cmd);
        g_assert_cmphex(cmd_wait(send_map(g, 2, 0)), ==,
                        VIRTIO_GPU_RESP_OK_MAP_INFO);

        /* of each kind one under way */
        g_free(send_submit(g, 1, RING(0), 1, "x", 1));
        g_free(send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 2, "x", 1));
        g_free(send_submit(g, 2, VIRTIO_GPU_FLAG_FENCE, 3, "x", 1));
        g_free(send_userptr(g, 2, 3, DATA, PAGE));
        g_free(send_detach(g, 2, 3));
        g_free(send_unref(g, 1));
        g_free(send_unmap(g, 2));
        g_free(send_ctx_create(g, 3, VIRTIO_GPU_CAPSET_COMPUTE));
        g_free(send_blob(g, &(Blob) {
            .res = 4, .mem = VIRTIO_GPU_BLOB_MEM_GUEST,
            .flags = VIRTIO_GPU_BLOB_FLAG_USE_USERPTR, .size = PAGE,
            .nr_entries = 1, .entries = &entry,
        }));
        g_free(send_attach(g, 1, 4));
        guest_sync(g);
        c = server_recv_create(g->server);

        if (i == 2) {
            qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
            qtest_qmp_eventwait(g->qts, "RESET");
        } else {
            qvirtio_reset(g->vdev);
        }
        /* dead when the reset is over */
        g_assert_false(worker_alive(a));
        g_assert_false(worker_alive(b));
        server_recv_kill(g->server, a);
        server_recv_kill(g->server, b);
        server_recv_kill(g->server, c);
        worker_free(a);
        worker_free(b);
        worker_free(c);
        if (i == 2) {
            break;
        }

        guest_start_device(g, 0);
        guest_sync(g);
        while (migration_blocked(g->qts) || count_fds(g->qts) != fds) {
            /* until the regions are gone, or the test's time is up */
        }
    }
    guest_quit(g);
}

static void wait_status(QTestState *qts, const char *status)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_MS * 1000;
    bool reached;
    QDict *ret;

    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        ret = qtest_qmp_assert_success_ref(qts, "{'execute': 'query-status'}");
        reached = !strcmp(qdict_get_str(ret, "status"), status);
        qobject_unref(ret);
    } while (!reached);
}

/*
 * A worker that QEMU cannot kill: it belongs to somebody else, and the server
 * does not help. Nothing may run then.
 */
static void test_reset_undead(void)
{
    Guest *g;
    Worker *w;

    if (getuid()) {
        g_test_skip("needs root, to run QEMU as another user");
        return;
    }
    g = guest_new_full(",x-kill-timeout-ms=100", "-run-with user=nobody", 0);
    w = guest_ctx(g, 1);
    guest_userptr(g, w, 1, DATA);

    qpci_io_writeb(g->pci->pdev, g->pci->bar, g->pci->common_cfg_offset +
                   offsetof(struct virtio_pci_common_cfg, device_status), 0);
    qtest_qmp_eventwait(g->qts, "STOP");
    wait_status(g->qts, "internal-error");
    g_assert_true(worker_alive(w));
    g_assert_true(migration_blocked(g->qts));

    /* a system reset does not help as long as it lives */
    qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
    wait_status(g->qts, "prelaunch");
    qtest_qmp_assert_success(g->qts, "{'execute': 'cont'}");
    wait_status(g->qts, "internal-error");

    kill(w->pid, SIGKILL);
    worker_reap(w);
    while (migration_blocked(g->qts)) {
        /* until QEMU has seen it */
    }
    qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
    wait_status(g->qts, "prelaunch");
    qtest_qmp_assert_success(g->qts, "{'execute': 'cont'}");
    wait_status(g->qts, "running");
    worker_free(w);
    guest_quit(g);
}

/* Nothing is left behind in QEMU by any number of contexts and resources */
static void test_leaks(void)
{
    Guest *g = guest_new();
    unsigned i, fds = 0;

    for (i = 0; i < 20; i++) {
        Worker *w = guest_ctx(g, 1);
        struct vgpu_run run;
        uint64_t serial;
        uint32_t flags;
        Command *c;

        guest_userptr(g, w, 1, DATA);
        c = send_hostblob(g, 1, 2, PAGE);
        close(worker_recv_map(w, 2, &serial, &run, &flags));
        worker_done(w, serial, 0);
        assert_ok(c);
        cmd_wait(send_map(g, 2, 0));
        c = send_ctx_destroy(g, 1);
        assert_ok(c);
        assert_ok(send_unref(g, 2));
        assert_ok(send_unref(g, 1));
        server_recv_kill(g->server, w);
        worker_free(w);
        if (!i) {
            fds = count_fds(g->qts);
        }
    }
    g_assert_cmpint(count_fds(g->qts), ==, fds);
    g_assert_false(migration_blocked(g->qts));
    guest_quit(g);
}

/* Tests: a worker that AMD's driver has not done with */

static Guest *guest_new_kfd(const char *device, const char *args)
{
    Guest *g;

    kfd_property = "x-kfd-proc-dir";
    kfd_loaded = true;
    g = guest_new_full(device, args, 0);
    kfd_property = NULL;
    kfd_loaded = false;
    return g;
}

static void assert_still_pending(Command *c)
{
    int i;

    for (i = 0; i < 30; i++) {
        assert_pending(c);
        g_usleep(10 * 1000);
    }
}

static void test_kfd(void)
{
    Guest *g = guest_new_kfd("", "");
    Worker *w = guest_ctx(g, 1), *other = guest_ctx(g, 2);
    Command *destroy, *unref, *submit;
    pid_t pid = w->pid;

    guest_userptr(g, w, 1, DATA);
    guest_userptr(g, w, 2, DATA);
    kfd_add(g->server, pid);

    /* killed: nothing is answered that frees memory */
    destroy = send_ctx_destroy(g, 1);
    unref = send_unref(g, 1);
    worker_reap(w);
    server_recv_kill(g->server, w);
    assert_still_pending(destroy);
    assert_pending(unref);
    assert_state(g, 2, 2, 2 * PAGE);
    /* others do not wait */
    guest_userptr(g, other, 3, DATA);
    kfd_remove(g->server, pid);
    assert_ok(destroy);
    assert_ok(unref);
    assert_ok(send_unref(g, 2));
    worker_free(w);

    /* dead by itself: the server is told to clean up, too */
    w = guest_ctx(g, 1);
    pid = w->pid;
    guest_userptr(g, w, 1, DATA);
    submit = send_submit(g, 1, RING(0), 1, "x", 1);
    worker_recv_plain(w, VGPU_MSG_SUBMIT);
    kfd_add(g->server, pid);
    kill(pid, SIGKILL);
    server_recv_kill(g->server, w);
    unref = send_unref(g, 1);
    assert_still_pending(unref);
    assert_err(send_submit(g, 1, 0, 0, "x", 1), UNSPEC);
    assert_err(send_userptr(g, 1, 4, DATA, PAGE), UNSPEC);
    kfd_remove(g->server, pid);
    assert_err(submit, UNSPEC);
    assert_ok(unref);
    assert_ok(send_ctx_destroy(g, 1));
    worker_free(w);

    /* not in KFD */
    assert_ok(send_ctx_destroy(g, 2));
    assert_ok(send_unref(g, 3));
    worker_free(other);
    guest_quit(g);
}

/* A process that comes later is not the one that is waited for */
static void test_kfd_pid_reuse(void)
{
    Guest *g = guest_new_kfd("", "");
    Worker *w = guest_ctx(g, 1);
    g_autofree char *name = g_strdup_printf("%s/%d", g->server->kfd, w->pid);
    g_autofree char *gone = g_strdup_printf("%s/gone", g->server->dir);
    pid_t pid = w->pid;
    Command *c;

    kfd_add(g->server, pid);
    c = send_ctx_destroy(g, 1);
    assert_still_pending(c);
    g_assert_cmpint(rename(name, gone), ==, 0);
    kfd_add(g->server, pid);
    assert_ok(c);
    kfd_remove(g->server, pid);
    rmdir(gone);
    worker_free(w);

    /* and one that is dead and reaped before QEMU looks has no PID */
    c = send_ctx_create(g, 1, VIRTIO_GPU_CAPSET_COMPUTE);
    w = server_recv_create(g->server);
    kfd_add(g->server, -1);
    worker_ready_dead(w);
    assert_ok(c);
    assert_err(send_submit(g, 1, 0, 0, "x", 1), UNSPEC);
    assert_ok(send_ctx_destroy(g, 1));
    kfd_remove(g->server, -1);
    worker_free(w);
    guest_quit(g);
}

/* A driver that is loaded later is seen when there is another server */
static void test_kfd_loaded_later(void)
{
    Command *c;
    Worker *w;
    Guest *g;

    kfd_property = "x-kfd-proc-dir";
    chardev_args = ",reconnect-ms=50";
    g = guest_new();
    kfd_property = NULL;
    chardev_args = "";
    w = guest_ctx(g, 1);
    g_assert_cmpint(mkdir(g->server->kfd, 0700), ==, 0);
    kfd_add(g->server, w->pid);
    assert_ok(send_ctx_destroy(g, 1));
    kfd_remove(g->server, w->pid);
    worker_free(w);

    server_restart(g->server);
    g_assert_true(server_comes_back(g));
    assert_ok(send_ctx_destroy(g, 2));
    w = guest_ctx(g, 3);
    kfd_add(g->server, w->pid);
    c = send_ctx_destroy(g, 3);
    assert_still_pending(c);
    kfd_remove(g->server, w->pid);
    assert_ok(c);
    worker_free(w);

    /* one that cannot be watched is not used */
    g_assert_cmpint(rmdir(g->server->kfd), ==, 0);
    g_assert_cmpint(symlink("kfd", g->server->kfd), ==, 0);
    server_restart(g->server);
    g_assert_false(server_comes_back(g));
    unlink(g->server->kfd);
    guest_quit(g);
}

static gpointer kfd_remove_later(gpointer opaque)
{
    Worker *w = opaque;

    g_usleep(300 * 1000);
    kfd_remove(w->server, w->pid);
    return NULL;
}

/* A reset waits, and does not end well if that takes too long */
static void test_kfd_reset(void)
{
    Guest *g = guest_new_kfd(",x-kill-timeout-ms=2000", "");
    Worker *w = guest_ctx(g, 1);
    int64_t start = g_get_monotonic_time();
    pid_t pid = w->pid;
    GThread *thread;

    guest_userptr(g, w, 1, DATA);
    kfd_add(g->server, pid);
    w->server = g->server;
    thread = g_thread_new("kfd", kfd_remove_later, w);
    qvirtio_reset(g->vdev);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 300 * 1000);
    g_assert_false(migration_blocked(g->qts));
    g_thread_join(thread);
    worker_free(w);

    guest_start_device(g, 0);
    w = guest_ctx(g, 1);
    pid = w->pid;
    guest_userptr(g, w, 1, DATA);
    kfd_add(g->server, pid);
    qpci_io_writeb(g->pci->pdev, g->pci->bar, g->pci->common_cfg_offset +
                   offsetof(struct virtio_pci_common_cfg, device_status), 0);
    qtest_qmp_eventwait(g->qts, "STOP");
    wait_status(g->qts, "internal-error");
    worker_reap(w);
    g_assert_true(migration_blocked(g->qts));
    kfd_remove(g->server, pid);
    while (migration_blocked(g->qts)) {
        /* until QEMU has seen it */
    }
    qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
    wait_status(g->qts, "prelaunch");
    qtest_qmp_assert_success(g->qts, "{'execute': 'cont'}");
    wait_status(g->qts, "running");
    worker_free(w);
    guest_quit(g);
}

/* The device is gone, and what its workers had is not */
static void test_kfd_unplug(void)
{
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    pid_t pid;
    Guest *g;
    Worker *w;
    Command *c;

    in_slot = true;
    g = guest_new_kfd(",x-kill-timeout-ms=100", "");
    in_slot = false;
    w = guest_ctx(g, 1);
    pid = w->pid;
    guest_userptr(g, w, 1, DATA);
    guest_doorbells(g, w, 2, PAGE);
    map_blob(g, 2, 0);
    /* of each kind one under way */
    g_free(send_unref(g, 1));
    g_free(send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 1, "x", 1));
    g_free(send_hostblob(g, 1, 3, PAGE));
    g_free(send_map(g, 3, PAGE));
    c = send_userptr(g, 1, 4, DATA, PAGE);
    assert_pending(c);
    g_free(c);
    worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
    worker_recv_plain(w, VGPU_MSG_SUBMIT);
    close(worker_recv_map(w, 3, &serial, &run, &flags));
    kfd_add(g->server, pid);

    guest_unplug(g);
    wait_status(g->qts, "internal-error");
    g_assert_true(migration_blocked(g->qts));
    qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
    wait_status(g->qts, "prelaunch");
    qtest_qmp_assert_success(g->qts, "{'execute': 'cont'}");
    wait_status(g->qts, "internal-error");

    kfd_remove(g->server, pid);
    while (migration_blocked(g->qts)) {
        /* until QEMU has seen it */
    }
    qtest_qmp_assert_success(g->qts, "{'execute': 'system_reset'}");
    wait_status(g->qts, "prelaunch");
    qtest_qmp_assert_success(g->qts, "{'execute': 'cont'}");
    wait_status(g->qts, "running");
    worker_reap(w);
    worker_free(w);
    guest_quit(g);
}

/* It is not given up, but said */
static void test_kfd_stuck(void)
{
    g_autofree char *dir = g_dir_make_tmp("qtest-vgpu-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/stderr", dir);
    g_autofree char *args = g_strdup_printf("2>%s", path);
    g_autofree char *expect = NULL;
    g_autofree char *said = NULL;
    Command *c;
    Worker *w;
    pid_t pid;
    Guest *g;

    g = guest_new_kfd("", args);
    w = guest_ctx(g, 1);
    pid = w->pid;
    expect = g_strdup_printf("process %d, which is dead", pid);
    kfd_add(g->server, pid);
    c = send_ctx_destroy(g, 1);
    g_usleep(4 * G_USEC_PER_SEC);
    assert_pending(c);
    g_assert_true(g_file_get_contents(path, &said, NULL, NULL));
    g_assert_nonnull(strstr(said, expect));
    g_assert_null(strstr(strstr(said, expect) + 1, expect));
    kfd_remove(g->server, pid);
    assert_ok(c);
    worker_free(w);
    guest_quit(g);
    unlink(path);
    rmdir(dir);
}

/* Tests: beside virglrenderer */

static Guest *guest_new_gl(void)
{
    return guest_new_device("virtio-gpu-gl-pci,compute=vgpu",
                            "-display sdl,gl=on", 0);
}

static void assert_capset(Guest *g, uint32_t index, uint32_t id)
{
    struct virtio_gpu_get_capset_info info = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET_INFO, .capset_index = index,
    };
    struct virtio_gpu_resp_capset_info resp;

    g_assert_cmphex(cmd_wait_full(guest_send_full(g, &info, sizeof(info),
                                                  sizeof(resp)), &resp).type,
                    ==, VIRTIO_GPU_RESP_OK_CAPSET_INFO);
    g_assert_cmpint(resp.capset_id, ==, id);
    g_assert_true(id ? resp.capset_max_size >= sizeof(capset_data)
                     : !resp.capset_max_size);
}

static uint32_t get_capset(Guest *g, uint32_t id, uint8_t *first)
{
    struct virtio_gpu_get_capset get = {
        .hdr.type = VIRTIO_GPU_CMD_GET_CAPSET,
        .capset_id = id, .capset_version = 1,
    };
    struct {
        struct virtio_gpu_ctrl_hdr hdr;
        uint8_t data[4096];
    } resp;
    uint32_t type;

    type = cmd_wait_full(guest_send_full(g, &get, sizeof(get), sizeof(resp)),
                         &resp).type;
    memcpy(first, resp.data, sizeof(capset_data));
    return type;
}

static void test_gl_capsets(void)
{
    Guest *g = guest_new_gl();
    uint8_t first[sizeof(capset_data)];
    uint32_t n, others;

    n = qvirtio_config_readl(g->vdev, offsetof(struct virtio_gpu_config,
                                               num_capsets));
    g_assert_cmpint(n, >, g->server->nr_capsets);
    others = n - g->server->nr_capsets;
    assert_capset(g, 0, VIRTIO_GPU_CAPSET_VIRGL);
    assert_capset(g, others, VIRTIO_GPU_CAPSET_COMPUTE);
    assert_capset(g, others + 1, VIRTIO_GPU_CAPSET_COMPUTE + 1);
    assert_capset(g, n, 0);     /* virglrenderer's answer */

    g_assert_cmphex(get_capset(g, VIRTIO_GPU_CAPSET_COMPUTE, first), ==,
                    VIRTIO_GPU_RESP_OK_CAPSET);
    g_assert_cmpmem(first, sizeof(first), capset_data, sizeof(capset_data));
    g_assert_cmphex(get_capset(g, VIRTIO_GPU_CAPSET_VIRGL, first), ==,
                    VIRTIO_GPU_RESP_OK_CAPSET);
    g_assert_cmpint(first[0], ==, 1);
    guest_quit(g);
}

/* What virglrenderer takes for a command: one that does nothing. */
static const uint32_t virgl_nop;

static void test_gl_contexts(void)
{
    Guest *g = guest_new_gl();
    struct virtio_gpu_transfer_host_3d transfer = {
        .hdr.type = VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D, .hdr.ctx_id = 2,
    };
    Command *c;
    Worker *w;

    assert_ok(send_ctx_create(g, 1, 0));
    g_assert_false(is_readable(g->server->control));
    w = guest_ctx(g, 2);
    assert_ok(send_submit(g, 1, 0, 0, &virgl_nop, sizeof(virgl_nop)));
    g_assert_false(is_readable(w->sock));
    c = send_submit(g, 2, 0, 0, &virgl_nop, sizeof(virgl_nop));
    worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
    assert_ok(c);

    /* an id that is in use, things that only contexts of the other kind do */
    assert_err(send_ctx_create(g, 2, 0), INVALID_CONTEXT_ID);
    assert_err(send_ctx_create(g, 2, VIRTIO_GPU_CAPSET_COMPUTE),
               INVALID_CONTEXT_ID);
    assert_err(guest_send(g, &transfer, sizeof(transfer)), UNSPEC);
    assert_err(send_hostblob(g, 1, 5, PAGE), UNSPEC);
    assert_err(send_userptr(g, 1, 5, DATA, PAGE), INVALID_CONTEXT_ID);

    assert_ok(send_ctx_destroy(g, 1));
    g_assert_true(worker_alive(w));
    c = send_ctx_destroy(g, 2);
    worker_reap(w);
    assert_ok(c);
    /* now it is free */
    assert_ok(send_ctx_create(g, 2, 0));
    worker_free(w);
    guest_quit(g);
}

static Command *send_create_2d(Guest *g, uint32_t res, uint64_t fence)
{
    struct virtio_gpu_resource_create_2d create = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
        .hdr.flags = fence ? VIRTIO_GPU_FLAG_FENCE : 0,
        .hdr.fence_id = fence,
        .resource_id = res,
        .format = VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM,
        .width = 16, .height = 16,
    };

    return guest_send(g, &create, sizeof(create));
}

static void test_gl_resources(void)
{
    Guest *g = guest_new_gl();
    struct virtio_gpu_resource_create_3d create_3d = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_3D,
        .resource_id = 2, .target = 2, .format = 1, .bind = 2,
        .width = 16, .height = 16, .depth = 1, .array_size = 1,
    };
    Command *c;
    Worker *w;

    assert_ok(send_ctx_create(g, 1, 0));
    w = guest_ctx(g, 2);
    assert_ok(send_create_2d(g, 1, 0));
    guest_userptr(g, w, 2, DATA);

    /* one space of ids */
    assert_err(send_userptr(g, 2, 1, DATA, PAGE), INVALID_RESOURCE_ID);
    assert_err(send_create_2d(g, 2, 0), INVALID_RESOURCE_ID);
    assert_err(guest_send(g, &create_3d, sizeof(create_3d)),
               INVALID_RESOURCE_ID);

    /* attaching does no harm, and has no effect in the other kind */
    assert_ok(send_attach(g, 2, 1));
    assert_ok(send_attach(g, 1, 2));
    assert_ok(send_detach(g, 1, 2));
    assert_ok(send_detach(g, 2, 1));
    g_assert_false(is_readable(w->sock));

    assert_ok(send_unref(g, 1));
    c = send_unref(g, 2);
    assert_pending(c);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(c);
    assert_ok(send_create_2d(g, 2, 0));
    worker_free(w);
    guest_quit(g);
}

/* Memory of the guest is for contexts of both kinds */
static void test_gl_guest_blob(void)
{
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    Blob blob = {
        .res = 3, .mem = VIRTIO_GPU_BLOB_MEM_GUEST, .size = PAGE,
        .nr_entries = 1, .entries = &entry,
    };
    Guest *g = guest_new_gl();
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    Command *c;
    Worker *w;
    int i;

    assert_ok(send_ctx_create(g, 1, 0));
    w = guest_ctx(g, 2);
    for (i = 0; i < 3; i++) {
        assert_ok(send_blob(g, &blob));
        assert_err(send_blob(g, &blob), INVALID_RESOURCE_ID);
        assert_err(send_create_2d(g, 3, 0), INVALID_RESOURCE_ID);
        assert_ok(send_attach(g, 1, 3));
        if (i) {
            c = send_attach(g, 2, 3);
            close(worker_recv_map(w, 3, &serial, &run, &flags));
            g_assert_cmpint(run.offset, ==, DATA);
            worker_done(w, serial, 0);
            assert_ok(c);
            if (i == 1) {
                /* whoever drops it first */
                c = send_detach(g, 2, 3);
                worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
                assert_ok(c);
            }
        }
        c = send_unref(g, 3);
        if (i == 2) {
            serial = worker_recv_plain(w, VGPU_MSG_RES_UNMAP);
            assert_pending(c);
            assert_ok(send_submit(g, 1, 0, 0, &virgl_nop, sizeof(virgl_nop)));
            assert_pending(c);
            worker_done(w, serial, 0);
        }
        assert_ok(c);
    }
    assert_err(send_attach(g, 2, 3), INVALID_RESOURCE_ID);
    worker_free(w);
    guest_quit(g);
}

/* In hostmem, where virglrenderer has its blobs, too */
static void test_gl_doorbells(void)
{
    Guest *g = guest_new_gl();
    QPCIBar bar = qpci_iomap(g->pci->pdev, 4, NULL);
    Command *c;
    Worker *w;

    assert_ok(send_ctx_create(g, 1, 0));
    w = guest_ctx(g, 2);
    guest_doorbells(g, w, 3, PAGE);
    g_assert_cmpint(map_blob(g, 3, PAGE), ==, VIRTIO_GPU_MAP_CACHE_UNCACHED);
    qpci_io_writeq(g->pci->pdev, bar, PAGE + 16, 5);
    assert_doorbell(w, 3, 16, 8, 5);
    g_assert_cmpint(qpci_io_readq(g->pci->pdev, bar, PAGE + 16), ==, 0);
    assert_ok(send_unmap(g, 3));
    qpci_io_writeq(g->pci->pdev, bar, PAGE + 16, 6);
    g_assert_cmpint(qpci_io_readq(g->pci->pdev, bar, PAGE + 16), ==, 6);
    map_blob(g, 3, 2 * PAGE);
    c = send_unref(g, 3);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_RES_UNMAP), 0);
    assert_ok(c);
    worker_free(w);
    guest_quit(g);
}

static void test_gl_kfd(void)
{
    Command *c;
    Worker *w;
    Guest *g;

    kfd_property = "x-compute-kfd-proc-dir";
    kfd_loaded = true;
    g = guest_new_gl();
    kfd_property = NULL;
    kfd_loaded = false;
    w = guest_ctx(g, 2);
    guest_userptr(g, w, 1, DATA);
    kfd_add(g->server, w->pid);
    assert_ok(send_ctx_create(g, 1, 0));
    c = send_ctx_destroy(g, 2);
    assert_still_pending(c);
    kfd_remove(g->server, w->pid);
    assert_ok(c);
    assert_ok(send_unref(g, 1));
    worker_free(w);
    guest_quit(g);
}

static void test_gl_fences(void)
{
    Guest *g = guest_new_gl();
    Command *a, *b, *e, *r;
    unsigned oa, ob, oe;
    uint64_t serial;
    Worker *w;
    int i;

    assert_ok(send_ctx_create(g, 1, 0));
    w = guest_ctx(g, 2);
    a = send_submit(g, 2, VIRTIO_GPU_FLAG_FENCE, 1, "a", 1);
    b = send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 2, &virgl_nop,
                    sizeof(virgl_nop));
    e = send_create_2d(g, 0, 3);        /* an error is an answer, too */
    r = send_submit(g, 2, RING(0), 4, "r", 1);
    serial = worker_recv_plain(w, VGPU_MSG_SUBMIT);
    for (i = 0; i < 50; i++) {
        /* virglrenderer is asked for its fences with every command */
        assert_pending(b);
        g_usleep(1000);
    }
    assert_pending(a);
    assert_pending(e);
    worker_done(w, serial, 0);
    while (!cmd_answered(e)) {
        guest_sync(g);
    }
    oa = cmd_order(a);
    ob = cmd_order(b);
    oe = cmd_order(e);
    g_assert_true(oa && oa < ob && ob < oe);
    assert_ok(a);
    assert_ok(b);
    assert_err(e, INVALID_RESOURCE_ID);
    assert_pending(r);
    worker_done(w, worker_recv_plain(w, VGPU_MSG_SUBMIT), 0);
    assert_ok(r);
    worker_free(w);
    guest_quit(g);
}

static void test_gl_reset(void)
{
    struct virtio_gpu_mem_entry entry = { .addr = DATA, .length = PAGE };
    Guest *g = guest_new_gl();
    struct vgpu_run run;
    uint64_t serial;
    uint32_t flags;
    Command *c;
    Worker *w;

    assert_ok(send_ctx_create(g, 1, 0));
    assert_ok(send_create_2d(g, 1, 0));
    w = guest_ctx(g, 2);
    guest_userptr(g, w, 2, DATA);
    assert_ok(send_blob(g, &(Blob) {
        .res = 3, .mem = VIRTIO_GPU_BLOB_MEM_GUEST, .size = PAGE,
        .nr_entries = 1, .entries = &entry,
    }));
    c = send_attach(g, 2, 3);
    close(worker_recv_map(w, 3, &serial, &run, &flags));
    worker_done(w, serial, 0);
    assert_ok(c);
    /* commands of both, the later ones with answers that are kept back */
    g_free(send_submit(g, 2, VIRTIO_GPU_FLAG_FENCE, 1, "a", 1));
    g_free(send_submit(g, 1, VIRTIO_GPU_FLAG_FENCE, 2, &virgl_nop,
                       sizeof(virgl_nop)));
    g_free(send_create_2d(g, 0, 3));
    g_free(send_unref(g, 3));
    guest_sync(g);

    guest_start_device(g, 0);
    worker_reap(w);
    worker_free(w);
    assert_ok(send_ctx_create(g, 2, 0));
    assert_ok(send_create_2d(g, 2, 0));
    w = guest_ctx(g, 1);
    guest_userptr(g, w, 1, DATA);
    worker_free(w);
    guest_quit(g);
}

/* Tests: what is refused at start */

typedef struct StartError {
    const char *ram;
    const char *device;         /* with ,chardev= if there is none in it */
    const char *expect;
    uint32_t version;
    uint32_t nr_capsets;
    bool close_early;
    bool garbage;
    bool no_chardev;
} StartError;

static void start_child_setup(gpointer opaque)
{
    alarm(TIMEOUT_MS / 1000);
}

static void test_start_error(gconstpointer opaque)
{
    const StartError *e = opaque;
    Server *s = server_new();
    g_autofree char *cmdline = NULL;
    g_auto(GStrv) argv = NULL;
    g_autofree char *err = NULL;
    int status;

    s->version = e->version ?: VGPU_PROTO_VERSION;
    s->nr_capsets = e->nr_capsets == UINT32_MAX ? 0 : e->nr_capsets ?: 1;
    s->close_early = e->close_early;
    s->garbage = e->garbage;
    server_start(s);
    cmdline = g_strdup_printf("%s -accel qtest -display none -nodefaults "
                              "-bios %s %s "
                              "-chardev socket,id=vgpu,path=%s "
                              "-device virtio-gpu-compute-pci%s%s",
                              g_getenv("QTEST_QEMU_BINARY"), s->bios,
                              e->ram ?: RAM_ARGS, s->path,
                              e->no_chardev ? "" : ",chardev=vgpu",
                              e->device ?: ",hostmem=16M");
    argv = g_strsplit_set(cmdline, " ", -1);
    {
        /* empty words of the macros above are no arguments */
        char **from = argv, **to = argv;

        for (; *from; from++) {
            if (**from) {
                *to++ = *from;
            } else {
                g_free(*from);
            }
        }
        *to = NULL;
    }
    g_assert_true(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH,
                               start_child_setup, NULL, NULL, &err, &status,
                               NULL));
    g_test_message("%s", err);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_assert_nonnull(strstr(err, e->expect));
    server_free(s);
}

static const struct {
    const char *name;
    StartError e;
} start_errors[] = {
    { "no-chardev", { .no_chardev = true, .expect = "chardev= is missing" } },
    { "no-hostmem", {
        .device = ",hostmem=0", .expect = "hostmem= is missing" } },
    { "odd-hostmem", {
        .device = ",hostmem=100M", .expect = "must be a power of two" } },
    { "kfd", {
        .device = ",hostmem=16M,x-kfd-proc-dir=/dev/null",
        .expect = "cannot open '/dev/null', where AMD's driver lists" } },
    { "max-outputs", {
        .device = ",hostmem=16M,max_outputs=17", .expect = "max_outputs" } },
    { "ram/anonymous", {
        .ram = "-m 256M -machine q35", .expect = "memory-backend-memfd" } },
    { "ram/private", {
        .ram = "-m 256M -machine q35,memory-backend=mem -object "
               "memory-backend-memfd,id=mem,size=256M,share=off",
        .expect = "is not a shared memfd: use -object memory-backend-memfd" } },
    { "ram/unsealed", {
        .ram = "-m 256M -machine q35,memory-backend=mem -object "
               "memory-backend-memfd,id=mem,size=256M,seal=off",
        .expect = "is not a shared memfd" } },
    { "ram/one-of-two", {
        .ram = "-m 256M -machine q35 "
               "-object memory-backend-memfd,id=m0,size=128M "
               "-object memory-backend-ram,id=m1,size=128M "
               "-numa node,nodeid=0,memdev=m0 -numa node,nodeid=1,memdev=m1",
        .expect = "guest RAM 'm1' is not a shared memfd" } },
    { "ram/shm-file", {
        .ram = "-m 256M -machine q35,memory-backend=mem -object "
               "memory-backend-file,id=mem,size=256M,share=on,"
               "mem-path=/dev/shm",
        .expect = "is not a shared memfd" } },
    { "ram/hugetlb", {
        .ram = "-m 256M -machine q35,memory-backend=mem -object "
               "memory-backend-memfd,id=mem,size=256M,hugetlb=on,reserve=off",
        .expect = "hugetlb=off" } },
    { "server/closes", {
        .close_early = true, .expect = "vgpu-compute-server closed chardev" } },
    { "server/garbage", {
        .garbage = true, .expect = "is not vgpu-compute-server" } },
    { "server/version", {
        .version = VGPU_PROTO_VERSION - 1, .expect = "update the older one" } },
    { "server/no-capset", {
        .nr_capsets = UINT32_MAX, .expect = "change its --backend" } },
    { "server/many-capsets", {
        .nr_capsets = 5, .expect = "is not vgpu-compute-server" } },
};

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);

    for (i = 0; i < ARRAY_SIZE(start_errors); i++) {
        g_autofree char *path = g_strdup_printf("virtio-gpu-compute/start/%s",
                                                start_errors[i].name);

        qtest_add_data_func(path, &start_errors[i].e, test_start_error);
    }
    qtest_add_func("virtio-gpu-compute/features", test_features);
    qtest_add_func("virtio-gpu-compute/bad-commands", test_bad_commands);
    qtest_add_func("virtio-gpu-compute/ctx/life", test_ctx);
    qtest_add_func("virtio-gpu-compute/ctx/starting", test_ctx_starting);
    qtest_add_func("virtio-gpu-compute/ctx/bad-ready", test_ctx_bad_ready);
    qtest_add_func("virtio-gpu-compute/ctx/limit", test_ctx_limit);
    qtest_add_func("virtio-gpu-compute/ctx/only-migratable",
                   test_ctx_only_migratable);
    qtest_add_func("virtio-gpu-compute/ctx/server-gone", test_server_gone);
    qtest_add_func("virtio-gpu-compute/ctx/server-back", test_server_back);
    qtest_add_func("virtio-gpu-compute/properties", test_properties);
    qtest_add_func("virtio-gpu-compute/userptr/life", test_userptr);
    qtest_add_func("virtio-gpu-compute/userptr/rdonly", test_userptr_rdonly);
    qtest_add_func("virtio-gpu-compute/userptr/entries", test_userptr_entries);
    qtest_add_func("virtio-gpu-compute/userptr/counts", test_userptr_counts);
    qtest_add_func("virtio-gpu-compute/userptr/flags", test_userptr_flags);
    qtest_add_func("virtio-gpu-compute/userptr/fragments",
                   test_userptr_fragments);
    qtest_add_func("virtio-gpu-compute/userptr/ram-blocks",
                   test_userptr_ram_blocks);
    qtest_add_func("virtio-gpu-compute/attach", test_attach);
    qtest_add_func("virtio-gpu-compute/2d", test_2d);
    qtest_add_func("virtio-gpu-compute/submit/life", test_submit);
    qtest_add_func("virtio-gpu-compute/submit/blocked", test_submit_blocked);
    qtest_add_func("virtio-gpu-compute/fences", test_fences);
    qtest_add_func("virtio-gpu-compute/blob/life", test_blob);
    qtest_add_func("virtio-gpu-compute/blob/unmappable", test_blob_unmappable);
    qtest_add_func("virtio-gpu-compute/doorbells/life", test_doorbells);
    qtest_add_func("virtio-gpu-compute/doorbells/gone", test_doorbells_gone);
    qtest_add_func("virtio-gpu-compute/doorbells/lies", test_doorbells_lies);
    qtest_add_func("virtio-gpu-compute/doorbells/queued",
                   test_doorbells_queued);
    qtest_add_func("virtio-gpu-compute/doorbells/watched",
                   test_doorbells_watched);
    qtest_add_func("virtio-gpu-compute/doorbells/unplug",
                   test_doorbells_unplug);
    qtest_add_func("virtio-gpu-compute/worker/killed", test_worker_killed);
    qtest_add_func("virtio-gpu-compute/worker/hangs", test_worker_hangs);
    qtest_add_func("virtio-gpu-compute/worker/misbehaves",
                   test_worker_misbehaves);
    qtest_add_func("virtio-gpu-compute/reset/life", test_reset);
    qtest_add_func("virtio-gpu-compute/reset/undead", test_reset_undead);
    qtest_add_func("virtio-gpu-compute/kfd/life", test_kfd);
    qtest_add_func("virtio-gpu-compute/kfd/pid-reuse", test_kfd_pid_reuse);
    qtest_add_func("virtio-gpu-compute/kfd/loaded-later",
                   test_kfd_loaded_later);
    qtest_add_func("virtio-gpu-compute/kfd/reset", test_kfd_reset);
    qtest_add_func("virtio-gpu-compute/kfd/unplug", test_kfd_unplug);
    qtest_add_func("virtio-gpu-compute/kfd/stuck", test_kfd_stuck);
    qtest_add_func("virtio-gpu-compute/leaks", test_leaks);

    /* GL needs a display: "sdl,gl=on", under Xvfb for example */
    if (getenv("DISPLAY") && qtest_has_device("virtio-gpu-gl-pci")) {
        qtest_add_func("virtio-gpu-compute/gl/capsets", test_gl_capsets);
        qtest_add_func("virtio-gpu-compute/gl/contexts", test_gl_contexts);
        qtest_add_func("virtio-gpu-compute/gl/resources", test_gl_resources);
        qtest_add_func("virtio-gpu-compute/gl/guest-blob", test_gl_guest_blob);
        qtest_add_func("virtio-gpu-compute/gl/doorbells", test_gl_doorbells);
        qtest_add_func("virtio-gpu-compute/gl/kfd", test_gl_kfd);
        qtest_add_func("virtio-gpu-compute/gl/fences", test_gl_fences);
        qtest_add_func("virtio-gpu-compute/gl/reset", test_gl_reset);
    }
    return g_test_run();
}
