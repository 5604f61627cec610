// SPDX-License-Identifier: MIT
/*
 * The simulated thunk with one fault
 *
 * All calls go to the simulation, but that of the fault. What a real library can
 * do wrong and a simulation cannot, such as an access by page tables of its own,
 * is done by other mappings of the same memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/virtio_gpu_rocm.h>

#include "faulty_thunk.h"
#include "vcs_thunk_sim.h"

#define GPU		1
#define PAGE		4096UL
#define GIB		(1UL << 30)

/* NO_SVM: how far away the GPU has it. */
#define ELSEWHERE	(1ULL << 45)

/* Rings, of FAULT_DEAF_LATER and FAULT_STALLS. */
#define HEARD		2
#define STALLS		100

/* Of packets. */
#define PACKET_SIZE	64
#define DEP_SIGNAL	8
#define COMPLETION	56

enum fault faulty_thunk_fault;
const char *faulty_thunk_kfd_proc;

/**
 * struct faulty - the thunk
 * @base: what is called
 * @ops: of @base
 * @sim: what does it
 * @kept: another mapping of what was registered last
 * @kept_of: where that was
 * @kept_size: bytes
 * @rdonly: the last registration was
 * @maps: where something was registered, and how often that was mapped
 * @params: of the queue that was created last
 * @queues: the first ones
 * @nr_queues: how many
 * @rung: doorbells
 */
struct faulty {
	struct vcs_thunk base;
	struct vcs_thunk_ops ops;
	struct vcs_thunk *sim;
	uint8_t *kept;
	uint64_t kept_of;
	uint64_t kept_size;
	bool rdonly;
	struct {
		const void *addr;
		unsigned int nr;
	} maps[8];
	struct vcs_thunk_queue params;
	uint64_t queues[2];
	unsigned int nr_queues;
	unsigned int rung;
};

static struct faulty *to_faulty(struct vcs_thunk *t)
{
	return (struct faulty *)t;
}

#define SIM(t)		(to_faulty(t)->sim)
#define CALL(t, op, ...) (SIM(t)->ops->op(SIM(t), ##__VA_ARGS__))

static bool is(enum fault fault)
{
	return faulty_thunk_fault == fault;
}

static void faulty_close(struct vcs_thunk *t)
{
	struct faulty *f = to_faulty(t);

	if (f->kept)
		munmap(f->kept, f->kept_size);
	f->sim->ops->close(f->sim);
	free(f);
}

static int faulty_version(struct vcs_thunk *t, uint32_t *major, uint32_t *minor)
{
	int ret = CALL(t, version, major, minor);

	if (is(FAULT_VERSION))
		return -EIO;
	if (is(FAULT_OTHER_VERSION))
		*major = 2;
	return ret;
}

static int faulty_system(struct vcs_thunk *t, struct vcs_thunk_system *sys)
{
	int ret = CALL(t, system, sys);

	if (is(FAULT_NO_SYSTEM))
		return -EIO;
	if (is(FAULT_NO_GPU))
		sys->num_nodes = 1;
	if (is(FAULT_MANY_NODES))
		sys->num_nodes = UINT_MAX;
	return ret;
}

static int faulty_node(struct vcs_thunk *t, uint32_t node,
		       struct vcs_thunk_node *n)
{
	int ret;

	if (is(FAULT_ONE_NODE_MORE))
		node %= 2;
	ret = CALL(t, node, node, n);
	if (is(FAULT_NO_GFX_ID))
		n->engine_id = 0;
	if (is(FAULT_OLD_DOORBELLS))
		n->capability = 0;
	return ret;
}

static int faulty_bank(struct vcs_thunk *t, uint32_t node, uint32_t index,
		       struct vcs_thunk_bank *bank)
{
	if (is(FAULT_NO_BANK) && node == GPU && index == 1)
		return -EIO;
	return CALL(t, bank, node, is(FAULT_ONE_BANK_MORE) ? 0 : index, bank);
}

static int faulty_cache(struct vcs_thunk *t, uint32_t node, uint32_t index,
			struct vcs_thunk_cache *cache)
{
	int ret = CALL(t, cache, node, index, cache);

	if (is(FAULT_CACHE_LEVEL))
		cache->level = 0;
	return ret;
}

static int faulty_io_link(struct vcs_thunk *t, uint32_t node, uint32_t index,
			  struct vcs_thunk_io_link *link)
{
	int ret = CALL(t, io_link, node, index, link);

	if (is(FAULT_LINK_TO_NOWHERE))
		link->node_to = 2;
	return ret;
}

static int faulty_gpu_info(struct vcs_thunk *t, uint32_t node,
			   struct vcs_thunk_gpu_info *info)
{
	int ret = CALL(t, gpu_info, node, info);

	if (is(FAULT_OTHER_DEVICE))
		info->asic_id++;
	return is(FAULT_NO_INFO) ? -EACCES : ret;
}

static int faulty_clocks(struct vcs_thunk *t, uint32_t node,
			 struct vcs_thunk_clocks *clocks)
{
	int ret = CALL(t, clocks, is(FAULT_CLOCK_OF_NOBODY) ? GPU : node,
		       clocks);

	if (is(FAULT_CLOCK_STANDS))
		clocks->gpu = 1;
	return is(FAULT_CLOCKS) ? -EIO : ret;
}

/* --- memory ---------------------------------------------------------------- */

/* The file of the mapping at @addr once more, writable: among our descriptors. */
static uint8_t *map_writable(void *addr, uint64_t size)
{
	unsigned long inode = 0;
	char line[512], path[64];
	uint8_t *map = NULL;
	int fd, again;
	FILE *maps;

	maps = fopen("/proc/self/maps", "re");
	while (maps && fgets(line, sizeof(line), maps))
		if (strtoul(line, NULL, 16) == (uintptr_t)addr)
			sscanf(line, "%*s %*s %*s %*s %lu", &inode);
	if (maps)
		fclose(maps);
	for (fd = 0; fd < 64 && !map; fd++) {
		struct stat st;

		if (fstat(fd, &st) || st.st_ino != inode)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		again = open(path, O_RDWR | O_CLOEXEC);
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   again, 0);
		close(again);
		if (map == MAP_FAILED)
			map = NULL;
	}
	if (!map)
		abort();
	return map;
}

static void keep(struct faulty *f, void *addr, uint64_t size, bool rdonly)
{
	if (f->kept)
		munmap(f->kept, f->kept_size);
	if (rdonly)
		f->kept = map_writable(addr, size);
	else
		f->kept = mremap(addr, 0, size, MREMAP_MAYMOVE);
	if (f->kept == MAP_FAILED)
		abort();
	f->kept_of = (uintptr_t)addr;
	f->kept_size = size;
}

static void misbehave(void)
{
	if (is(FAULT_CRASH)) {
		/* Not to the test's framework. */
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	}
	if (is(FAULT_EXIT))
		_exit(0);
	while (is(FAULT_HANG))
		pause();
	while (is(FAULT_NOISE))
		printf("noise\n");
}

/* How often what is registered there was mapped. */
static unsigned int *maps_of(struct faulty *f, const void *addr)
{
	unsigned int i = 0;

	while (f->maps[i].addr && f->maps[i].addr != addr)
		if (++i == sizeof(f->maps) / sizeof(f->maps[0]))
			abort();
	f->maps[i].addr = addr;
	return &f->maps[i].nr;
}

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int faulty_register(struct vcs_thunk *t, void *addr, uint64_t size,
			   bool rdonly)
{
	int ret;

	misbehave();
	if (is(FAULT_REGISTER) || (is(FAULT_REGISTER_LARGE) && size >= GIB))
		return -ENOMEM;
	if (is(FAULT_REGISTER_BY_SOCKET)) {
		ret = open_socket();
		if (ret)
			return ret;
	}
	if (rdonly && is(NO_READ_ONLY))
		return -EOPNOTSUPP;
	if (rdonly && is(FAULT_READ_ONLY_EPERM))
		return -EPERM;
	if (is(FAULT_KEPT) || (is(FAULT_READ_ONLY_WRITTEN) && rdonly))
		keep(to_faulty(t), addr, size, rdonly);
	if (is(FAULT_FIRST_PAGE))
		size = PAGE;
	if (is(FAULT_32_BITS))
		size = (uint32_t)size;
	if (is(FAULT_ROUNDED_UP))
		size += PAGE;
	to_faulty(t)->rdonly = rdonly;
	*maps_of(to_faulty(t), addr) = 0;
	ret = CALL(t, register_memory, addr, size, rdonly);
	return ret == -EEXIST && is(FAULT_OVERLAP) ? 0 : ret;
}

static void faulty_deregister(struct vcs_thunk *t, void *addr)
{
	if (!is(FAULT_NOT_DEREGISTERED) &&
	    !(is(FAULT_MAPS_COUNTED) && *maps_of(to_faulty(t), addr)))
		CALL(t, deregister, addr);
}

static int faulty_map(struct vcs_thunk *t, void *addr, const uint32_t *nodes,
		      uint32_t nr_nodes, uint64_t *gpu_addr)
{
	uint32_t gpus = 0;
	int ret;

	if (is(FAULT_MAP) ||
	    (is(FAULT_READ_ONLY_UNMAPPED) && to_faulty(t)->rdonly))
		return -EIO;
	if ((*maps_of(to_faulty(t), addr))++ && is(FAULT_MAP_AGAIN))
		return -EIO;
	if (is(FAULT_MAP_NOTHING)) {
		*gpu_addr = (uintptr_t)addr;
		return 0;
	}
	while (gpus < nr_nodes && nodes[gpus] == GPU)
		gpus++;
	if (is(FAULT_BAD_NODE))
		nr_nodes = gpus;
	if (is(FAULT_PARTLY_MAPPED) && gpus < nr_nodes)
		CALL(t, map_to_nodes, addr, nodes, gpus, gpu_addr);
	ret = CALL(t, map_to_nodes, addr, nodes, nr_nodes, gpu_addr);
	if (!ret && is(NO_SVM))
		*gpu_addr += ELSEWHERE;
	return ret;
}

static int faulty_unmap(struct vcs_thunk *t, void *addr)
{
	unsigned int *maps = maps_of(to_faulty(t), addr);
	int ret;

	/* What is mapped cannot be deregistered, either. */
	if (is(FAULT_MAPS_COUNTED) && *maps > 1)
		return 0;
	ret = CALL(t, unmap, addr);
	*maps = 0;
	return is(FAULT_UNMAP) ? -EIO : ret;
}

static int faulty_available(struct vcs_thunk *t, uint32_t node, uint64_t *bytes)
{
	return CALL(t, available, node, bytes);
}

static int faulty_access(struct vcs_thunk *t, struct vcs_thunk_access *a)
{
	struct faulty *f = to_faulty(t);

	if (is(NO_SVM))
		a->addr -= ELSEWHERE;
	if (is(FAULT_READ_ONLY_UNREADABLE) && !a->fill)
		return -EFAULT;
	if (f->kept && a->fill && a->addr >= f->kept_of &&
	    a->addr + a->size <= f->kept_of + f->kept_size) {
		memset(f->kept + (a->addr - f->kept_of), a->value, a->size);
		return 0;
	}
	return CALL(t, access, a);
}

/* --- queues ---------------------------------------------------------------- */

static int faulty_create_queue(struct vcs_thunk *t,
			       const struct vcs_thunk_queue *queue,
			       uint64_t *id)
{
	struct faulty *f = to_faulty(t);
	struct vcs_thunk_queue q = *queue;
	int ret;

	if (is(FAULT_CREATE_QUEUE))
		return -ENOSPC;
	if (is(FAULT_QUEUE_ON_CPU))
		q.node = GPU;
	if (is(FAULT_NO_READ_INDEX))
		q.read_ptr += 8;
	f->params = q;
	ret = CALL(t, create_queue, &q, id);
	if (!ret && f->nr_queues < 2)
		f->queues[f->nr_queues++] = *id;
	return ret;
}

static int faulty_destroy_queue(struct vcs_thunk *t, uint64_t id)
{
	int ret = CALL(t, destroy_queue, id);

	if (is(FAULT_DESTROY_QUEUE))
		return -EIO;
	return is(FAULT_DESTROYED_TWICE) ? 0 : ret;
}

/* What a packet waits for becomes nothing, or that it is completed. */
static void change_dep(const struct vcs_thunk_queue *q, uint64_t index)
{
	uint8_t *packet = (uint8_t *)(uintptr_t)q->ring +
			  index % (q->ring_size / PACKET_SIZE) * PACKET_SIZE;
	uint64_t *dep = (uint64_t *)(packet + DEP_SIGNAL);

	if (is(FAULT_WAITS_FOR_NOTHING))
		*dep = 0;
	else if (is(FAULT_WAITS_FOR_EVER) && *dep)
		*dep = *(uint64_t *)(packet + COMPLETION);
}

static void faulty_ring_doorbell(struct vcs_thunk *t, uint64_t id,
				 uint64_t value)
{
	struct faulty *f = to_faulty(t);

	f->rung++;
	if (is(FAULT_DEAF) || (is(FAULT_DEAF_LATER) && f->rung > HEARD))
		return;
	change_dep(&f->params, value);
	if (is(FAULT_CROSSED_DOORBELLS))
		id = f->queues[0];
	CALL(t, ring_doorbell, id, value);
}

static int faulty_run(struct vcs_thunk *t, int *error)
{
	if (is(FAULT_STALLS) && to_faulty(t)->rung > STALLS)
		return -1;
	return CALL(t, run, error);
}

/* --- open ------------------------------------------------------------------ */

/* The kernel's part: an entry of this process, until some time after it. */
static int enter_kfd(void)
{
	struct pollfd p = { .events = POLLIN };
	pid_t pid = getpid();
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%d", faulty_thunk_kfd_proc, pid);
	if (is(FAULT_NO_PROCESS))
		return 0;
	if (mkdir(path, 0700))
		return -errno;
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return -errno;
	if (fork()) {
		close(p.fd);
		return 0;
	}
	poll(&p, 1, -1);
	usleep(50000);
	if (!is(FAULT_PROCESS_STAYS))
		rmdir(path);
	_exit(0);
}

int faulty_thunk_open(struct vcs_thunk **thunk, char *why, size_t size)
{
	static unsigned int opened;
	struct faulty *f;

	if (is(FAULT_OPEN) || (is(FAULT_OPEN_AGAIN) && opened++)) {
		snprintf(why, size, "a library that does not open");
		return -ENODEV;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->sim = vcs_thunk_sim_open();
	if (!f->sim) {
		free(f);
		return -ENOMEM;
	}
	/* What is not here is not called. */
	f->base.ops = &f->ops;
	f->ops = (struct vcs_thunk_ops) {
		.name = "faulty",
		.close = faulty_close,
		.version = faulty_version,
		.system = faulty_system,
		.node = faulty_node,
		.bank = faulty_bank,
		.cache = faulty_cache,
		.io_link = faulty_io_link,
		.gpu_info = faulty_gpu_info,
		.clocks = faulty_clocks,
		.available = faulty_available,
		.register_memory = faulty_register,
		.deregister = faulty_deregister,
		.map_to_nodes = faulty_map,
		.unmap = faulty_unmap,
		.create_queue = faulty_create_queue,
		.destroy_queue = faulty_destroy_queue,
		.ring_doorbell = faulty_ring_doorbell,
		.run = faulty_run,
		.access = is(NO_ACCESS) ? NULL : faulty_access,
	};
	/* What these do is done by asking for accesses. */
	if (is(NO_ACCESS) || is(NO_QUEUES) || is(NO_SVM) || is(FAULT_KEPT) ||
	    is(FAULT_READ_ONLY_WRITTEN) || is(FAULT_READ_ONLY_UNREADABLE))
		f->ops.create_queue = NULL;
	*thunk = &f->base;
	return faulty_thunk_kfd_proc ? enter_kfd() : 0;
}
