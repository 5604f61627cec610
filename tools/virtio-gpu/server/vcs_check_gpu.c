// SPDX-License-Identifier: MIT
/*
 * For the checks: windows, queues, and what is seen of the GPU's accesses
 *
 * Packets, signals and the indices of a queue are as the HSA Platform System
 * Architecture Specification 1.2 (2.9) and ROCr's public headers have them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vcs_check_gpu.h"

#define PAGE		4096UL

/* For huge pages, where there are some. */
#define ALIGN		(2UL << 20)

/* In the memory of a queue. */
#define INDICES		PAGE		/* behind VCS_CHECK_PACKETS of 64 bytes */
#define SIGNALS		(2 * PAGE)
#define QUEUE_SIZE	(3 * PAGE)

/*
 * Of INDICES: where amd_queue_t has write_dispatch_id, read_dispatch_id and the
 * offset of the latter, by which firmware finds amd_queue_t.
 */
#define WRITE_INDEX	(INDICES + 56)
#define READ_INDEX	(INDICES + 128)
#define READ_OFFSET	(INDICES + 136)

/* Header of a packet: type, barrier bit, acquire and release by the system. */
#define INVALID		1
#define BARRIER_AND	3
#define HEADER		(BARRIER_AND | 1 << 8 | 2 << 9 | 2 << 11)

/* hsa_barrier_and_packet_t */
struct packet {
	uint16_t header;
	uint16_t reserved0;
	uint32_t reserved1;
	uint64_t dep_signal[5];
	uint64_t reserved2;
	uint64_t completion_signal;
};

/* amd_signal_t */
struct amd_signal {
	int64_t kind;
	int64_t value;
	uint64_t reserved[6];
};

_Static_assert(sizeof(struct packet) == 64 &&
	       sizeof(struct packet) * VCS_CHECK_PACKETS == PAGE &&
	       sizeof(struct amd_signal) == VCS_CHECK_SIGNAL_SIZE, "by the specification");

#define SIGNAL_KIND_USER	1

/* Before the GPU counts it down. */
#define BEFORE		0x1122334455667788

static bool failed(const char *what, int ret)
{
	printf("%s: %s\n", what, vcs_check_errno(ret));
	return false;
}

/* --- the thunk ------------------------------------------------------------- */

bool vcs_check_open(const struct vcs_check_env *env, struct vcs_check_gpu *g)
{
	struct vcs_thunk_system sys = { 0 };
	char why[256] = "";
	uint32_t i;
	int ret;

	memset(g, 0, sizeof(*g));
	g->env = env;
	g->method = VCS_CHECK_NONE;
	ret = env->open(&g->thunk, why, sizeof(why));
	if (ret) {
		printf("the thunk cannot be opened: %s (%s)\n", why,
		       vcs_check_errno(ret));
		return false;
	}
	ret = vcs_map_budget_init(&g->budget);
	if (ret)
		return failed("mappings of this process", ret);
	ret = vcs_arena_init(&g->arena);
	if (ret)
		return failed("the thunk has taken the GPU's addresses", ret);
	ret = g->thunk->ops->system(g->thunk, &sys);
	if (ret)
		return failed("system()", ret);
	if (sys.num_nodes > VCS_THUNK_MAX_NODES) {
		printf("%u nodes\n", sys.num_nodes);
		return false;
	}
	g->num_nodes = sys.num_nodes;
	for (i = 0; i < sys.num_nodes; i++) {
		struct vcs_thunk_node node = { 0 };

		ret = g->thunk->ops->node(g->thunk, i, &node);
		if (ret) {
			printf("node %u: %s\n", i, vcs_check_errno(ret));
			return false;
		}
		if (node.num_fcompute_cores)
			g->gpus[g->nr_gpus++] = i;
	}
	if (!g->nr_gpus) {
		printf("none of %u nodes is a GPU\n", sys.num_nodes);
		return false;
	}
	g->node = g->gpus[0];
	return true;
}

void vcs_check_close(struct vcs_check_gpu *g)
{
	vcs_arena_destroy(&g->arena);
	g->thunk->ops->close(g->thunk);
}

/* --- memory ---------------------------------------------------------------- */

bool vcs_check_file(struct vcs_check_mem *mem, uint64_t size)
{
	memset(mem, 0, sizeof(*mem));
	mem->file_size = size;
	mem->fd = memfd_create("vgpu-rocm-check", MFD_CLOEXEC);
	if (mem->fd < 0 || ftruncate(mem->fd, (off_t)size))
		return failed("memfd", errno);
	mem->view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 mem->fd, 0);
	if (mem->view == MAP_FAILED)
		return failed("mmap of a memfd", errno);
	return true;
}

/*
 * Page @i of a window of @nr pages, by an odd factor: pages next to each other
 * are far apart in the file.
 */
static uint64_t shuffled(uint64_t i, uint64_t nr)
{
	return (i * (nr / 2 + 1)) % nr;
}

static uint64_t file_offset(const struct vcs_check_mem *mem, uint64_t offset)
{
	switch (mem->layout) {
	case VCS_CHECK_PLAIN:
		break;
	case VCS_CHECK_SHUFFLED:
		return shuffled(offset / PAGE, mem->file_size / PAGE) * PAGE +
		       offset % PAGE;
	case VCS_CHECK_REPEATED:
		return offset % mem->file_size;
	}
	return offset;
}

uint8_t *vcs_check_view(const struct vcs_check_mem *mem, uint64_t offset)
{
	return mem->view + file_offset(mem, offset);
}

/* As the worker does with what QEMU has sent. */
static int fill(struct vcs_check_gpu *g, struct vcs_check_mem *mem, int fd)
{
	uint64_t piece = mem->layout == VCS_CHECK_SHUFFLED ? PAGE :
							     mem->file_size;
	uint64_t left = mem->win.size;
	int ret = 0;

	while (left && !ret) {
		struct vgpu_run run = {
			.offset = file_offset(mem, mem->win.size - left),
			.length = left < piece ? left : piece,
		};

		ret = vcs_window_append(&mem->win, &run, 1, &fd, 1, &g->budget);
		left -= run.length;
	}
	return ret ? ret : vcs_window_finish(&mem->win);
}

bool vcs_check_window(struct vcs_check_gpu *g, struct vcs_check_mem *mem,
		      uint64_t size, enum vcs_check_layout layout, bool rdonly)
{
	int fd = mem->fd, ret;
	char path[64];

	mem->layout = layout;
	/* At the same address again, if it had one. */
	if (!mem->block)
		mem->block = vcs_arena_alloc(&g->arena, size, ALIGN);
	if (!mem->block) {
		printf("no room in the arena for %llu bytes\n",
		       (unsigned long long)size);
		return false;
	}
	ret = vcs_window_init_at(&mem->win, (void *)(uintptr_t)mem->block->at.addr,
				 size, rdonly);
	if (!ret && rdonly) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", mem->fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			ret = -errno;
	}
	if (!ret)
		ret = fill(g, mem, fd);
	if (fd >= 0 && fd != mem->fd)
		close(fd);
	if (ret)
		return failed("making a window", ret);
	return true;
}

bool vcs_check_register(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	int ret = g->thunk->ops->register_memory(g->thunk, mem->win.addr,
						 mem->win.size,
						 mem->win.rdonly);

	return ret ? failed("registering memory", ret) : true;
}

bool vcs_check_map(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	int ret = g->thunk->ops->map_to_nodes(g->thunk, mem->win.addr, &g->node,
					      1, &mem->gpu);

	if (ret)
		return failed("mapping memory to the GPU", ret);
	if (!mem->gpu) {
		printf("memory is mapped to the GPU at address 0\n");
		return false;
	}
	return true;
}

bool vcs_check_mem(struct vcs_check_gpu *g, struct vcs_check_mem *mem,
		   uint64_t size, enum vcs_check_layout layout)
{
	return vcs_check_file(mem, size) &&
	       vcs_check_window(g, mem, size, layout, false) &&
	       vcs_check_register(g, mem) && vcs_check_map(g, mem);
}

bool vcs_check_unmap(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	int ret = g->thunk->ops->unmap(g->thunk, mem->win.addr);

	g->thunk->ops->deregister(g->thunk, mem->win.addr);
	vcs_window_unmap(&mem->win, &g->budget);
	return ret ? failed("unmapping memory from the GPU", ret) : true;
}

void vcs_check_mem_free(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	vcs_window_unmap(&mem->win, &g->budget);
	if (mem->block)
		vcs_arena_free(&g->arena, mem->block);
	munmap(mem->view, mem->file_size);
	close(mem->fd);
	memset(mem, 0, sizeof(*mem));
}

bool vcs_check_release(struct vcs_check_gpu *g, struct vcs_check_mem *mem)
{
	bool ok = vcs_check_unmap(g, mem);

	vcs_check_mem_free(g, mem);
	return ok;
}

/* --- queues ---------------------------------------------------------------- */

static uint64_t load64(const uint8_t *p)
{
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}

int vcs_check_queue_init(struct vcs_check_gpu *g, struct vcs_check_queue *q)
{
	struct vcs_thunk_queue queue = {
		.node = g->node,
		.percentage = 100,
		.ring_size = VCS_CHECK_PACKETS * sizeof(struct packet),
	};
	unsigned int i;
	int ret;

	memset(q, 0, sizeof(*q));
	if (!g->thunk->ops->create_queue)
		return -ENOSYS;
	if (!vcs_check_mem(g, &q->mem, QUEUE_SIZE, VCS_CHECK_PLAIN))
		return -EIO;
	for (i = 0; i < VCS_CHECK_PACKETS; i++)
		((struct packet *)q->mem.view)[i].header = INVALID;
	for (i = 0; i < PAGE / VCS_CHECK_SIGNAL_SIZE; i++)
		((struct amd_signal *)(q->mem.view + SIGNALS))[i].kind =
			SIGNAL_KIND_USER;
	*(uint32_t *)(q->mem.view + READ_OFFSET) = READ_INDEX - INDICES;
	queue.ring = q->mem.gpu;
	queue.write_ptr = q->mem.gpu + WRITE_INDEX;
	queue.read_ptr = q->mem.gpu + READ_INDEX;
	ret = g->thunk->ops->create_queue(g->thunk, &queue, &q->id);
	if (ret && !vcs_check_release(g, &q->mem))
		return -EIO;
	return ret;
}

bool vcs_check_queue_end(struct vcs_check_gpu *g, struct vcs_check_queue *q)
{
	int ret = g->thunk->ops->destroy_queue(g->thunk, q->id);

	if (ret)
		return failed("destroying a queue", ret);
	return vcs_check_release(g, &q->mem);
}

uint64_t vcs_check_read_index(const struct vcs_check_queue *q)
{
	return load64(q->mem.view + READ_INDEX);
}

const int64_t *vcs_check_read_ptr(const struct vcs_check_queue *q)
{
	return (const int64_t *)(q->mem.view + READ_INDEX);
}

uint64_t vcs_check_signal(const struct vcs_check_queue *q, unsigned int nr)
{
	return q->mem.gpu + SIGNALS + nr * VCS_CHECK_SIGNAL_SIZE;
}

int64_t *vcs_check_value(const struct vcs_check_queue *q, unsigned int nr)
{
	return &((struct amd_signal *)(q->mem.view + SIGNALS))[nr].value;
}

/* A simulated GPU goes on when it is told to. */
static void nap(struct vcs_check_gpu *g)
{
	int error = 0;

	if (g->thunk->ops->run)
		g->thunk->ops->run(g->thunk, &error);
	usleep(200);
}

bool vcs_check_wait(struct vcs_check_gpu *g, const int64_t *value, int64_t want,
		    unsigned int ms)
{
	uint64_t end = vcs_check_now() + ms;

	while (__atomic_load_n(value, __ATOMIC_ACQUIRE) != want) {
		if (vcs_check_now() > end)
			return false;
		nap(g);
	}
	return true;
}

static bool wait_for_room(struct vcs_check_gpu *g,
			  const struct vcs_check_queue *q)
{
	uint64_t end = vcs_check_now() + g->env->answer_ms;

	while (q->next - vcs_check_read_index(q) >= VCS_CHECK_PACKETS) {
		if (vcs_check_now() > end) {
			printf("the queue has read %llu packets of %llu and goes on no more\n",
			       (unsigned long long)vcs_check_read_index(q),
			       (unsigned long long)q->next);
			return false;
		}
		nap(g);
	}
	return true;
}

bool vcs_check_barrier(struct vcs_check_gpu *g, struct vcs_check_queue *q,
		       uint64_t dep, uint64_t completion, bool ring)
{
	struct packet *p;

	if (!wait_for_room(g, q))
		return false;
	p = (struct packet *)q->mem.view + q->next % VCS_CHECK_PACKETS;
	memset((uint8_t *)p + sizeof(p->header), 0,
	       sizeof(*p) - sizeof(p->header));
	p->dep_signal[0] = dep;
	p->completion_signal = completion;
	/* The packet is the queue's from here on. */
	__atomic_store_n(&p->header, HEADER, __ATOMIC_RELEASE);
	__atomic_store_n((uint64_t *)(q->mem.view + WRITE_INDEX), q->next + 1,
			 __ATOMIC_RELEASE);
	/* The doorbell is told the index of the last packet. */
	if (ring)
		g->thunk->ops->ring_doorbell(g->thunk, q->id, q->next);
	q->next++;
	return true;
}

/* --- accesses -------------------------------------------------------------- */

bool vcs_check_access_init(struct vcs_check_gpu *g, uint32_t node)
{
	int ret;

	g->node = node;
	g->method = VCS_CHECK_NONE;
	ret = vcs_check_queue_init(g, &g->queue);
	if (ret == -EOPNOTSUPP || ret == -ENOSYS) {
		if (g->thunk->ops->access)
			g->method = VCS_CHECK_SIMULATION;
		return true;
	}
	if (ret)
		return failed("creating a queue", ret);
	g->method = VCS_CHECK_QUEUE;
	/* It works at all. */
	*vcs_check_value(&g->queue, 0) = 1;
	if (!vcs_check_barrier(g, &g->queue, 0, vcs_check_signal(&g->queue, 0),
			       true))
		return false;
	if (!vcs_check_wait(g, vcs_check_value(&g->queue, 0), 0,
			    g->env->answer_ms)) {
		printf("a packet is not completed, its signal stays %lld\n",
		       (long long)*vcs_check_value(&g->queue, 0));
		return false;
	}
	return true;
}

bool vcs_check_access_end(struct vcs_check_gpu *g)
{
	enum vcs_check_method method = g->method;

	g->method = VCS_CHECK_NONE;
	return method != VCS_CHECK_QUEUE || vcs_check_queue_end(g, &g->queue);
}

static struct amd_signal *signal_at(const struct vcs_check_mem *mem,
				    uint64_t offset)
{
	return (struct amd_signal *)vcs_check_view(mem, offset);
}

void vcs_check_prepare(struct vcs_check_mem *mem, uint64_t offset)
{
	*signal_at(mem, offset) = (struct amd_signal) {
		.kind = SIGNAL_KIND_USER,
		.value = BEFORE,
	};
}

bool vcs_check_untouched(const struct vcs_check_mem *mem, uint64_t offset)
{
	int64_t value = __atomic_load_n(&signal_at(mem, offset)->value,
					__ATOMIC_ACQUIRE);

	return value == BEFORE;
}

/* Store to the signal's value; that is what the queue does, too. */
static int simulate(struct vcs_check_gpu *g, struct vcs_thunk_access *access)
{
	access->node = g->node;
	return g->thunk->ops->access(g->thunk, access);
}

/* Of all bytes. */
#define FILL	0x5a
#define FILLED	0x5a5a5a5a5a5a5a5a

bool vcs_check_write(struct vcs_check_gpu *g, const struct vcs_check_mem *mem,
		     uint64_t offset)
{
	struct vcs_thunk_access access = {
		.fill = true,
		.value = FILL,
		.addr = mem->gpu + offset + offsetof(struct amd_signal, value),
		.size = sizeof(int64_t),
	};
	struct amd_signal *s = signal_at(mem, offset);
	int ret;

	*s = (struct amd_signal) { .kind = SIGNAL_KIND_USER, .value = BEFORE };
	switch (g->method) {
	case VCS_CHECK_NONE:
		return true;
	case VCS_CHECK_SIMULATION:
		ret = simulate(g, &access);
		if (!ret && s->value == FILLED)
			return true;
		printf("writing at offset 0x%llx of a window: %s, and 0x%llx is seen\n",
		       (unsigned long long)offset, vcs_check_errno(ret),
		       (unsigned long long)s->value);
		return false;
	case VCS_CHECK_QUEUE:
		break;
	}
	if (!vcs_check_barrier(g, &g->queue, 0, mem->gpu + offset, true))
		return false;
	if (vcs_check_wait(g, &s->value, BEFORE - 1, g->env->answer_ms))
		return true;
	printf("the GPU was to count down at offset 0x%llx of a window; 0x%llx has become 0x%llx\n",
	       (unsigned long long)offset, (unsigned long long)BEFORE,
	       (unsigned long long)s->value);
	return false;
}

/* By the queue: it waits until it reads 0, and goes on when it does. */
bool vcs_check_read(struct vcs_check_gpu *g, const struct vcs_check_mem *mem,
		    uint64_t offset)
{
	struct vcs_thunk_access access = {
		.addr = mem->gpu + offset + offsetof(struct amd_signal, value),
		.size = 1,
	};
	struct amd_signal *s = signal_at(mem, offset);
	int64_t *done;
	int ret;

	*s = (struct amd_signal) { .kind = SIGNAL_KIND_USER, .value = 1 };
	switch (g->method) {
	case VCS_CHECK_NONE:
		return true;
	case VCS_CHECK_SIMULATION:
		/* The sum of one byte is that byte. */
		ret = simulate(g, &access);
		if (!ret && access.checksum == 1)
			return true;
		printf("reading at offset 0x%llx of a window: %s, and %llu instead of 1\n",
		       (unsigned long long)offset, vcs_check_errno(ret),
		       (unsigned long long)access.checksum);
		return false;
	case VCS_CHECK_QUEUE:
		break;
	}
	done = vcs_check_value(&g->queue, 0);
	__atomic_store_n(done, 1, __ATOMIC_RELEASE);
	if (!vcs_check_barrier(g, &g->queue, mem->gpu + offset,
			       vcs_check_signal(&g->queue, 0), true))
		return false;
	if (vcs_check_wait(g, done, 0, 20)) {
		printf("the GPU was to wait for 1 at offset 0x%llx of a window and has not\n",
		       (unsigned long long)offset);
		return false;
	}
	__atomic_store_n(&s->value, 0, __ATOMIC_RELEASE);
	if (vcs_check_wait(g, done, 0, g->env->answer_ms))
		return true;
	printf("the GPU does not see the 0 at offset 0x%llx of a window that it waits for\n",
	       (unsigned long long)offset);
	return false;
}

void vcs_check_try_write(struct vcs_check_gpu *g, uint64_t gpu_addr)
{
	struct vcs_thunk_access access = {
		.fill = true,
		.value = FILL,
		.addr = gpu_addr + offsetof(struct amd_signal, value),
		.size = sizeof(int64_t),
	};

	if (g->method == VCS_CHECK_QUEUE) {
		uint64_t end = vcs_check_now() + g->env->settle_ms;

		if (!vcs_check_barrier(g, &g->queue, 0, gpu_addr, true))
			return;
		do
			nap(g);
		while (vcs_check_now() < end);
	} else if (g->method == VCS_CHECK_SIMULATION) {
		printf("the simulated GPU's write: %s\n",
		       vcs_check_errno(simulate(g, &access)));
	}
}
