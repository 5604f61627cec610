// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls of every ioctl that an object can get to, by several threads of
 * two processes through the same files, while the memory below is mapped and
 * unmapped. Three things are checked: what must not succeed does not, no call
 * says what its documentation does not, and nothing is left pinned.
 *
 * VIRTGPU_FUZZ_SEED brings back the decisions of a run, though not the
 * scheduler's; VIRTGPU_FUZZ_CALLS is how many there are.
 */
#include <pthread.h>
#include <stddef.h>

#include <linux/virtio_gpu_compute.h>

#include "virtgpu_stress.h"

#define DEFAULT_CALLS	1000000

#define NR_PROCESSES	2
#define NR_THREADS	3	/* of each */
#define NR_SLOTS	16	/* objects of a file that we know */
#define USER_LIMIT	96	/* pages, of the process that is not root */
#define MAX_ERRNO	134
#define MAX_PLAIN_SIZE	(16 * PAGE_SIZE)
#define MAX_ARG_SIZE	256
#define CANARY		0x5a

/* A context that refuses this often in a row is taken for lost. */
#define MAX_REFUSED	8

/* The files that the threads of a process share. */
enum {
	/* No other objects than user memory, so some calls always fail. */
	FILE_USERPTR,
	/* The same, but its context is of whatever kind we came upon. */
	FILE_ANY_CONTEXT,
	/* Blobs of all kinds, and of the commands a part that is well-formed. */
	FILE_ALL,
	NR_FILES,
};

/* The memory that requests are about, in this order, SPAN_PAGES each. */
enum {
	SPAN_GOOD,	/* always there */
	SPAN_CHANGING,	/* now and then */
	SPAN_RDONLY,
	SPAN_NONE,	/* PROT_NONE */
	NR_SPANS,
};

#define SPAN_PAGES	32
#define SPAN_SIZE	(SPAN_PAGES * PAGE_SIZE)

enum {
	OP_CREATE_BLOB,
	OP_GETPARAM,
	OP_GEM_CLOSE,
	OP_RESOURCE_INFO,
	OP_MAP,
	OP_WAIT,
	OP_TRANSFER_TO_HOST,
	OP_TRANSFER_FROM_HOST,
	OP_PRIME_EXPORT,
	OP_PRIME_IMPORT,
	OP_FLINK,
	OP_GEM_OPEN,
	OP_EXECBUFFER,
	OP_CONTEXT_INIT,
	OP_GET_CAPS,
	OP_ADDFB2,
	OP_MEMORY,
	OP_LIMIT,
	OP_FORK,
	OP_OPEN,
	NR_OPS,
};

/* Where in the page of a call's argument other things are. */
#define ARG_COMMAND	1024
#define ARG_HANDLES	3072
#define ARG_MORE	3584

/* Shared by all processes. */
struct results {
	unsigned long counts[NR_OPS][MAX_ERRNO + 1];
	unsigned int wrong;
	char first_wrong[1024];
};

struct process {
	const struct virtgpu *dev;
	struct results *results;
	bool primary;		/* node, and root; else a limited user */
	int node;		/* a file of it */
	int files[NR_FILES];
	unsigned int refused[NR_FILES];
	__u32 handles[NR_FILES][NR_SLOTS];
	__u32 names[NR_SLOTS];
	int dmabufs[NR_SLOTS];
	char *memory;
	pthread_barrier_t start;
};

struct thread {
	struct process *process;
	pthread_t thread;
	__u64 random;
	unsigned long calls;
	char *arg;	/* a page for what a call is given */
};

static __u64 random_u64(struct thread *t)
{
	return random_next(&t->random);
}

static __u64 below(struct thread *t, __u64 limit)
{
	return random_below(&t->random, limit);
}

static bool one_in(struct thread *t, __u64 limit)
{
	return random_one_in(&t->random, limit);
}

#define pick(t, array)							\
	({								\
		typeof(array) *__array = &(array);			\
									\
		(*__array)[below(t, ARRAY_SIZE(*__array))];		\
	})

static int random_file(struct thread *t)
{
	static const int files[] = {
		FILE_USERPTR, FILE_USERPTR, FILE_ANY_CONTEXT, FILE_ALL,
	};

	return pick(t, files);
}

static bool has_userptrs_only(int file)
{
	return file != FILE_ALL;
}

/* A handle that is likely to exist, or any. */
static __u32 random_handle(struct thread *t, int file)
{
	__u32 handle = t->process->handles[file][below(t, NR_SLOTS)];

	return one_in(t, 16) ? random_u64(t) >> below(t, 64) : handle;
}

static void count(struct thread *t, int op, int ret)
{
	struct results *results = t->process->results;
	int err = ret <= 0 && ret > -MAX_ERRNO ? -ret : MAX_ERRNO;

	__atomic_add_fetch(&results->counts[op][err], 1, __ATOMIC_RELAXED);
}

#define report_wrong(t, fmt, ...)					\
	do {								\
		struct results *__r = (t)->process->results;		\
									\
		if (!__atomic_fetch_add(&__r->wrong, 1,			\
					__ATOMIC_RELAXED))		\
			snprintf(__r->first_wrong,			\
				 sizeof(__r->first_wrong), fmt,		\
				 ##__VA_ARGS__);			\
	} while (0)

/* An ioctl of which nothing is expected but that it says 0 or an errno. */
static int call(struct thread *t, int op, int fd, unsigned long request,
		void *arg)
{
	int ret = virtgpu_ioctl(fd, request, arg);

	count(t, op, ret);
	if (ret > 0)
		report_wrong(t, "ioctl %#lx returned %d", request, ret);
	return ret;
}

/* One that no object of user memory lets succeed. */
static int call_refused(struct thread *t, int op, int file,
			unsigned long request, void *arg)
{
	int ret = call(t, op, t->process->files[file], request, arg);

	if (!ret && has_userptrs_only(file))
		report_wrong(t, "ioctl %#lx took user memory", request);
	return ret;
}

static void close_handle(struct thread *t, int file, __u32 handle)
{
	struct drm_gem_close cmd = { .handle = handle };

	call(t, OP_GEM_CLOSE, t->process->files[file], DRM_IOCTL_GEM_CLOSE,
	     &cmd);
}

/* Remembers a handle in the place of another one, which is closed. */
static void keep_handle(struct thread *t, int file, __u32 handle)
{
	__u32 *slot = &t->process->handles[file][below(t, NR_SLOTS)];
	__u32 old = __atomic_exchange_n(slot, handle, __ATOMIC_RELAXED);

	if (old)
		close_handle(t, file, old);
}

/* Adversarial numbers for any field. */
static __u64 random_number(struct thread *t)
{
	static const __u64 numbers[] = {
		0, 1, 2, 3, 4, 7, 8, 0xffff, 0x10000, INT_MAX, 0x80000000,
		UINT_MAX, 0x100000000, LLONG_MAX, 1ULL << 63, ULLONG_MAX,
	};

	switch (below(t, 4)) {
	case 0:
		return random_u64(t);
	case 1:
		return random_u64(t) >> below(t, 64);
	case 2:
		return PAGE_SIZE * below(t, 8) + below(t, 3) - 1;
	default:
		return pick(t, numbers);
	}
}

/* Memory that may be written to, or none at all. */
static __u64 random_target(struct thread *t)
{
	static const __u64 addresses[] = {
		0, 0x7fffffffe000, 0x7ffffffff000, 0x800000000000,
		0xffff800000000000, 0xffff888000000000, 0xffffffff81000000,
		0xffffffffff600000, 0xfffffffffffff000, 1ULL << 56,
	};

	if (one_in(t, 8))
		return pick(t, addresses);
	return (uintptr_t)t->process->memory +
	       below(t, NR_SPANS * SPAN_PAGES) * PAGE_SIZE;
}

static __u64 random_address(struct thread *t)
{
	switch (below(t, 16)) {
	case 0:
		return (uintptr_t)t->arg;
	case 1:
		return (uintptr_t)&t & -PAGE_SIZE;
	case 2:
		return (uintptr_t)random_address & -PAGE_SIZE;
	case 3:
		return random_u64(t);
	default:
		return random_target(t);
	}
}

/*
 * What the memory of a request is, as far as this is the same however the
 * threads are scheduled.
 */
enum memory {
	MEMORY_GOOD,
	MEMORY_BAD,
	MEMORY_EITHER,
};

static enum memory judge_memory(struct process *p, __u64 addr, __u64 size,
				bool write)
{
	__u64 start = (uintptr_t)p->memory, end = start + NR_SPANS * SPAN_SIZE;
	__u64 rdonly = start + SPAN_RDONLY * SPAN_SIZE;
	__u64 none = start + SPAN_NONE * SPAN_SIZE;
	__u64 bad = write ? rdonly : none;

	/* No program has anything at 0 or in the kernel's half. */
	if (!addr || addr + size > 1ULL << 56)
		return MEMORY_BAD;
	if (addr < end && addr + size > bad)
		return MEMORY_BAD;
	if (addr >= start && addr + size <= start + SPAN_SIZE)
		return MEMORY_GOOD;
	return MEMORY_EITHER;
}

/* A request that is wrong on every device. */
static bool is_invalid(const struct drm_virtgpu_resource_create_blob *blob)
{
	const __u32 flags = VIRTGPU_BLOB_FLAG_USE_USERPTR |
			    VIRTGPU_BLOB_FLAG_USERPTR_RDONLY;

	if (blob->blob_flags & ~flags || blob->pad)
		return true;
	if (!blob->size || (blob->size | blob->userptr) & (PAGE_SIZE - 1) ||
	    blob->userptr + blob->size < blob->size)
		return true;
	switch (blob->blob_mem) {
	case VIRTGPU_BLOB_MEM_GUEST:
		return blob->blob_id || blob->cmd_size;
	case VIRTGPU_BLOB_MEM_HOST3D_GUEST:
		return blob->cmd_size % 4;
	default:
		return true;
	}
}

static bool is_offered(const struct virtgpu *dev,
		       const struct drm_virtgpu_resource_create_blob *blob)
{
	__u32 need = blob->blob_mem == VIRTGPU_BLOB_MEM_GUEST ?
		     VIRTGPU_RESOURCE_USERPTR_GUEST :
		     VIRTGPU_RESOURCE_USERPTR_HOST3D_GUEST;

	if (blob->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY)
		need |= VIRTGPU_RESOURCE_USERPTR_RDONLY;
	return !(need & ~dev->offers);
}

/* May a request for user memory, as the kernel got it, have this result? */
static bool is_right(struct process *p,
		     const struct drm_virtgpu_resource_create_blob *blob,
		     int ret)
{
	bool write = !(blob->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY);
	bool invalid = is_invalid(blob), offered = is_offered(p->dev, blob);
	enum memory memory;

	if (invalid || !offered)
		return (ret == -EINVAL && invalid) ||
		       (ret == -EOPNOTSUPP && !offered);

	memory = judge_memory(p, blob->userptr, blob->size, write);
	switch (ret) {
	case 0:
		return memory != MEMORY_BAD;
	case -EFAULT:
		return memory != MEMORY_GOOD || blob->cmd_size;
	case -EPERM:
		return !p->primary;
	case -EIO:
		return blob->blob_mem == VIRTGPU_BLOB_MEM_HOST3D_GUEST;
	case -E2BIG:
	case -ENOMEM:
		return true;
	default:
		return false;
	}
}

/* One field becomes another one, or some bytes, or all of it. */
static void spoil(struct thread *t,
		  struct drm_virtgpu_resource_create_blob *blob)
{
	unsigned char *bytes = (unsigned char *)blob;
	__u64 *words = (__u64 *)blob;
	size_t i;

	switch (below(t, 12)) {
	case 0:
		blob->blob_mem = below(t, 5);
		break;
	case 1:
		blob->blob_flags = below(t, 1 << 7);
		break;
	case 2:
		blob->blob_flags ^= 1U << below(t, 32);
		break;
	case 3:
		blob->pad = random_number(t);
		break;
	case 4:
		blob->cmd_size = random_number(t);
		blob->cmd = random_address(t);
		break;
	case 5:
		blob->blob_id = random_number(t);
		break;
	case 6:
		blob->size = random_number(t);
		break;
	case 7:
		blob->size += below(t, PAGE_SIZE);
		break;
	case 8:
		blob->userptr = random_address(t);
		break;
	case 9:
		blob->userptr += random_number(t);
		break;
	case 10:
		for (i = 0; i <= below(t, 8); i++)
			bytes[below(t, sizeof(*blob))] = random_u64(t);
		break;
	default:
		for (i = 0; i < sizeof(*blob) / sizeof(*words); i++)
			words[i] = random_number(t);
	}
}

static void random_blob(struct thread *t, int file,
			struct drm_virtgpu_resource_create_blob *blob)
{
	const struct virtgpu_way way = pick(t, virtgpu_ways);
	int spoils;

	memset(blob, 0, sizeof(*blob));
	blob->blob_mem = way.blob_mem;
	blob->blob_flags = way.blob_flags;
	blob->size = (1 + below(t, 8)) * PAGE_SIZE;
	blob->userptr = (uintptr_t)t->process->memory +
			below(t, NR_SPANS * SPAN_PAGES) * PAGE_SIZE;

	/* What succeeds takes long, so there are fewer of that. */
	for (spoils = one_in(t, 256) ? 0 : 1 + below(t, 10); spoils; spoils--)
		spoil(t, blob);

	if (has_userptrs_only(file))
		blob->blob_flags |= VIRTGPU_BLOB_FLAG_USE_USERPTR;
	else if (one_in(t, 8))
		blob->blob_flags &= ~VIRTGPU_BLOB_FLAG_USE_USERPTR;
	if (!(blob->blob_flags & VIRTGPU_BLOB_FLAG_USE_USERPTR))
		blob->size %= MAX_PLAIN_SIZE;
}

/* Opens the node once more, with a context for all but one. */
static int open_file(struct process *p, int file)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_id = VIRTIO_GPU_COMPUTE_SHMEM_BLOB_ID,
		.size = VIRTIO_GPU_COMPUTE_SHMEM_MIN_SIZE,
	};
	char path[32];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->node);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!p->dev->capset || file == FILE_ANY_CONTEXT)
		return fd;
	ret = virtgpu_context_init(fd, p->dev->capset);
	/* What commands are answered in. */
	if (!ret && file == FILE_ALL)
		ret = virtgpu_create_blob(fd, &blob);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

/* A new file in the place of an old one, under the same number. */
static void fuzz_reopen(struct thread *t, int file)
{
	struct process *p = t->process;
	int fd = open_file(p, file);

	count(t, OP_OPEN, fd < 0 ? fd : 0);
	if (fd < 0)
		return;
	if (dup3(fd, p->files[file], O_CLOEXEC) < 0)
		report_wrong(t, "dup3() failed");
	close(fd);
}

/* A lost context is of no more use. */
static void note_refused(struct thread *t, int file, int ret)
{
	unsigned int *refused = &t->process->refused[file];

	if (!ret) {
		__atomic_store_n(refused, 0, __ATOMIC_RELAXED);
	} else if (ret == -EIO && file != FILE_ANY_CONTEXT &&
		   __atomic_add_fetch(refused, 1, __ATOMIC_RELAXED) ==
		   MAX_REFUSED) {
		fuzz_reopen(t, file);
		__atomic_store_n(refused, 0, __ATOMIC_RELAXED);
	}
}

static void judge_blob(struct thread *t, int file,
		       const struct drm_virtgpu_resource_create_blob *blob,
		       int ret)
{
	bool right = true;

	if (blob->blob_flags & VIRTGPU_BLOB_FLAG_USE_USERPTR)
		right = is_right(t->process, blob, ret);
	else if (blob->blob_flags & VIRTGPU_BLOB_FLAG_USERPTR_RDONLY ||
		 has_userptrs_only(file))
		right = ret == -EINVAL;
	if (right)
		return;
	report_wrong(t,
		     "CREATE_BLOB %d: mem %#x flags %#x size %#llx pad %#x cmd %#x@%#llx id %#llx at %#llx, memory at %p",
		     ret, blob->blob_mem, blob->blob_flags, blob->size,
		     blob->pad, blob->cmd_size, blob->cmd, blob->blob_id,
		     blob->userptr, t->process->memory);
}

static void fuzz_create_blob(struct thread *t, int file)
{
	unsigned int size, used;
	struct drm_virtgpu_resource_create_blob blob, *arg = (void *)t->arg;
	unsigned char want[MAX_ARG_SIZE + 1];
	int ret;

	random_blob(t, file, &blob);
	size = one_in(t, 8) ? below(t, MAX_ARG_SIZE + 1) : sizeof(blob);
	used = size < sizeof(blob) ? size : sizeof(blob);
	if (used < offsetof(typeof(blob), bo_handle) &&
	    has_userptrs_only(file))
		blob.blob_mem = 0;

	memset(want, CANARY, sizeof(want));
	memcpy(want, &blob, used);
	memcpy(arg, want, sizeof(want));
	ret = call(t, OP_CREATE_BLOB, t->process->files[file],
		   _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE,
			DRM_COMMAND_BASE + DRM_VIRTGPU_RESOURCE_CREATE_BLOB,
			size), arg);

	/* This is what the kernel saw. */
	memset((char *)&blob + used, 0, sizeof(blob) - used);
	judge_blob(t, file, &blob, ret);

	note_refused(t, file, ret);

	if (!ret) {
		if (used < offsetof(typeof(blob), size))
			return;
		keep_handle(t, file, arg->bo_handle);
		memcpy(want + offsetof(typeof(blob), bo_handle),
		       &arg->bo_handle, 2 * sizeof(__u32));
	}
	if (memcmp(arg, want, sizeof(want)))
		report_wrong(t, "CREATE_BLOB %d: changed a struct of %u bytes",
			     ret, size);
}

/* The struct cannot be read, or the answer cannot be stored. */
static void fuzz_create_blob_elsewhere(struct thread *t, int file)
{
	struct process *p = t->process;
	void *args[] = {
		NULL,
		(void *)-PAGE_SIZE,
		p->memory + SPAN_RDONLY * SPAN_SIZE,
		p->memory + SPAN_NONE * SPAN_SIZE,
	};
	int ret = call(t, OP_CREATE_BLOB, p->files[file],
		       DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, pick(t, args));

	if (ret != -EFAULT)
		report_wrong(t, "CREATE_BLOB %d without a struct", ret);
}

static void fuzz_getparam(struct thread *t, int file)
{
	struct drm_virtgpu_getparam cmd = {
		.param = one_in(t, 4) ? random_number(t) : below(t, 13),
		.value = random_target(t),
	};

	call(t, OP_GETPARAM, t->process->files[file],
	     DRM_IOCTL_VIRTGPU_GETPARAM, &cmd);
}

static void fuzz_gem_close(struct thread *t, int file)
{
	__u32 *slot = &t->process->handles[file][below(t, NR_SLOTS)];
	__u32 handle = __atomic_exchange_n(slot, 0, __ATOMIC_RELAXED);

	close_handle(t, file, one_in(t, 16) ? random_u64(t) : handle);
}

static void fuzz_resource_info(struct thread *t, int file)
{
	struct drm_virtgpu_resource_info cmd = {
		.bo_handle = random_handle(t, file),
	};
	int ret = call(t, OP_RESOURCE_INFO, t->process->files[file],
		       DRM_IOCTL_VIRTGPU_RESOURCE_INFO, &cmd);

	if (!ret && has_userptrs_only(file) &&
	    cmd.blob_mem != VIRTGPU_BLOB_MEM_GUEST &&
	    cmd.blob_mem != VIRTGPU_BLOB_MEM_HOST3D_GUEST)
		report_wrong(t, "RESOURCE_INFO says mem %#x", cmd.blob_mem);
}

static void fuzz_map(struct thread *t, int file)
{
	struct drm_virtgpu_map cmd = { .handle = random_handle(t, file) };
	int fd = t->process->files[file];
	void *map;

	/* DRM gives offsets to all objects; what counts is the mmap(). */
	if (call(t, OP_MAP, fd, DRM_IOCTL_VIRTGPU_MAP, &cmd))
		return;
	map = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, cmd.offset);
	if (map == MAP_FAILED)
		return;
	if (has_userptrs_only(file))
		report_wrong(t, "mmap() of user memory");
	munmap(map, PAGE_SIZE);
}

static void fuzz_wait(struct thread *t, int file)
{
	struct drm_virtgpu_3d_wait cmd = {
		.handle = random_handle(t, file),
		.flags = one_in(t, 4) ? random_number(t) : VIRTGPU_WAIT_NOWAIT,
	};

	call(t, OP_WAIT, t->process->files[file], DRM_IOCTL_VIRTGPU_WAIT,
	     &cmd);
}

static void random_transfer(struct thread *t, int file,
			    struct drm_virtgpu_3d_transfer_to_host *cmd)
{
	__u32 *words = (__u32 *)cmd;
	size_t i;

	for (i = 0; i < sizeof(*cmd) / sizeof(*words); i++)
		words[i] = one_in(t, 2) ? 0 : random_number(t);
	cmd->bo_handle = random_handle(t, file);
}

static void fuzz_transfer_to_host(struct thread *t, int file)
{
	struct drm_virtgpu_3d_transfer_to_host cmd;

	random_transfer(t, file, &cmd);
	call_refused(t, OP_TRANSFER_TO_HOST, file,
		     DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &cmd);
}

static void fuzz_transfer_from_host(struct thread *t, int file)
{
	/* The two structs are the same. */
	struct drm_virtgpu_3d_transfer_to_host cmd;

	random_transfer(t, file, &cmd);
	call_refused(t, OP_TRANSFER_FROM_HOST, file,
		     DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST, &cmd);
}

static void fuzz_prime_export(struct thread *t, int file)
{
	struct drm_prime_handle cmd = {
		.handle = random_handle(t, file),
		.flags = one_in(t, 4) ? random_number(t) :
					DRM_CLOEXEC | DRM_RDWR,
	};
	int *slot = &t->process->dmabufs[below(t, NR_SLOTS)];
	int old;

	if (call_refused(t, OP_PRIME_EXPORT, file, DRM_IOCTL_PRIME_HANDLE_TO_FD,
			 &cmd))
		return;
	old = __atomic_exchange_n(slot, cmd.fd, __ATOMIC_RELAXED);
	if (old)
		close(old);
}

static void fuzz_prime_import(struct thread *t, int file)
{
	struct drm_prime_handle cmd = {
		.fd = one_in(t, 8) ? below(t, 64) :
		      t->process->dmabufs[below(t, NR_SLOTS)],
	};

	if (has_userptrs_only(file))
		return;
	if (!call(t, OP_PRIME_IMPORT, t->process->files[file],
		  DRM_IOCTL_PRIME_FD_TO_HANDLE, &cmd))
		keep_handle(t, file, cmd.handle);
}

static void fuzz_flink(struct thread *t, int file)
{
	struct drm_gem_flink cmd = { .handle = random_handle(t, file) };

	/* So that every name is one of user memory. */
	if (!has_userptrs_only(file))
		return;
	if (!call(t, OP_FLINK, t->process->files[file], DRM_IOCTL_GEM_FLINK,
		  &cmd))
		t->process->names[below(t, NR_SLOTS)] = cmd.name;
}

static void fuzz_gem_open(struct thread *t, int file)
{
	struct drm_gem_open cmd = {
		.name = one_in(t, 4) ? below(t, 256) :
			t->process->names[below(t, NR_SLOTS)],
	};

	if (!call(t, OP_GEM_OPEN, t->process->files[file], DRM_IOCTL_GEM_OPEN,
		  &cmd))
		report_wrong(t, "GEM_OPEN of user memory");
}

/* Commands of a COMPUTE context, or what looks a little like it. */
static void random_commands(struct thread *t, unsigned char *bytes,
			    unsigned int size)
{
	struct virtio_gpu_compute_req req = {
		.cmd = below(t, 7),
		.len = one_in(t, 4) ? random_number(t) : size & ~7,
		.seqno = random_u64(t),
		.rsp_off = one_in(t, 4) ? random_number(t) :
					  below(t, 4096) & ~7,
	};
	unsigned int i;

	for (i = 0; i < size; i++)
		bytes[i] = random_u64(t);
	if (size >= sizeof(req) && !one_in(t, 4))
		memcpy(bytes, &req, sizeof(req));
}

static void fuzz_execbuffer(struct thread *t, int file)
{
	struct drm_virtgpu_execbuffer cmd = {
		.flags = one_in(t, 2) ? VIRTGPU_EXECBUF_RING_IDX :
					below(t, 10),
		.size = below(t, 128),
		.command = one_in(t, 16) ? random_target(t) :
			   (uintptr_t)t->arg + ARG_COMMAND,
		.bo_handles = one_in(t, 16) ? random_target(t) :
			      (uintptr_t)t->arg + ARG_HANDLES,
		.num_bo_handles = below(t, 4),
		.fence_fd = below(t, 64),
		.ring_idx = one_in(t, 8) ? random_number(t) : 0,
		.syncobj_stride = below(t, 32),
		.num_in_syncobjs = one_in(t, 16),
		.num_out_syncobjs = one_in(t, 16),
		.in_syncobjs = random_target(t),
		.out_syncobjs = random_target(t),
	};
	__u32 *handles = (void *)(t->arg + ARG_HANDLES);
	unsigned int i;
	int ret;

	random_commands(t, (void *)(t->arg + ARG_COMMAND), cmd.size);
	for (i = 0; i < cmd.num_bo_handles; i++)
		handles[i] = random_handle(t, file);
	ret = call(t, OP_EXECBUFFER, t->process->files[file],
		   DRM_IOCTL_VIRTGPU_EXECBUFFER, &cmd);
	if (!ret && cmd.flags & VIRTGPU_EXECBUF_FENCE_FD_OUT)
		close(cmd.fence_fd);
}

static void fuzz_context_init(struct thread *t, int file)
{
	struct drm_virtgpu_context_set_param *params =
		(void *)(t->arg + ARG_MORE);
	struct drm_virtgpu_context_init cmd = {
		.num_params = below(t, 6),
		.pad = one_in(t, 8),
		.ctx_set_params = one_in(t, 8) ? random_target(t) :
				  (uintptr_t)params,
	};
	unsigned int i;

	for (i = 0; i < cmd.num_params; i++) {
		params[i].param = below(t, 6);
		params[i].value = one_in(t, 8) ? random_target(t) :
						 below(t, 70);
	}
	call(t, OP_CONTEXT_INIT, t->process->files[file],
	     DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &cmd);
}

static void fuzz_get_caps(struct thread *t, int file)
{
	struct drm_virtgpu_get_caps cmd = {
		.cap_set_id = one_in(t, 2) ? t->process->dev->capset :
					     random_number(t),
		.cap_set_ver = below(t, 3),
		.addr = random_target(t),
		.size = random_number(t),
	};

	call(t, OP_GET_CAPS, t->process->files[file],
	     DRM_IOCTL_VIRTGPU_GET_CAPS, &cmd);
}

static void fuzz_addfb2(struct thread *t, int file)
{
	struct drm_mode_fb_cmd2 cmd = {
		.width = one_in(t, 4) ? random_number(t) : 32,
		.height = one_in(t, 4) ? random_number(t) : 32,
		.pixel_format = DRM_FORMAT_XRGB8888,
		.handles = { random_handle(t, file) },
		.pitches = { one_in(t, 4) ? random_number(t) : 128 },
	};

	call_refused(t, OP_ADDFB2, file, DRM_IOCTL_MODE_ADDFB2, &cmd);
}

static void fuzz_memory(struct thread *t, int file)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD, MADV_DONTFORK,
		MADV_DOFORK,
	};
	static const int prots[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
	};
	size_t size = (1 + below(t, 8)) * PAGE_SIZE;
	char *addr = t->process->memory + SPAN_CHANGING * SPAN_SIZE +
		     below(t, SPAN_PAGES - 7) * PAGE_SIZE;
	int ret = 0;

	switch (below(t, 4)) {
	case 0:
		ret = munmap(addr, size);
		break;
	case 1:
		ret = mprotect(addr, size, pick(t, prots));
		break;
	case 2:
		ret = madvise(addr, size, pick(t, advice));
		break;
	default:
		if (mmap(addr, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    addr)
			ret = -1;
	}
	count(t, OP_MEMORY, ret ? -errno : 0);
}

/* Root does not mind. */
static void fuzz_limit(struct thread *t, int file)
{
	struct rlimit limit = {
		.rlim_cur = below(t, 4) * USER_LIMIT / 3 * PAGE_SIZE,
		.rlim_max = USER_LIMIT * PAGE_SIZE,
	};

	count(t, OP_LIMIT, setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0);
}

static void fuzz_fork(struct thread *t, int file)
{
	pid_t pid = fork_bound();
	int status, i;

	count(t, OP_FORK, pid < 0 ? -errno : 0);
	if (!pid) {
		for (i = 0; i < 8; i++)
			fuzz_create_blob(t, file);
		_exit(0);
	}
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status))
		report_wrong(t, "a child ended with %#x", status);
}

/* Of 1000 calls. What takes long, or asks the device, is rare. */
static const struct {
	void (*fuzz)(struct thread *t, int file);
	unsigned int weight;
} mix[] = {
	{ fuzz_create_blob, 550 },
	{ fuzz_create_blob_elsewhere, 10 },
	{ fuzz_getparam, 40 },
	{ fuzz_gem_close, 40 },
	{ fuzz_resource_info, 40 },
	{ fuzz_map, 40 },
	{ fuzz_wait, 40 },
	{ fuzz_transfer_to_host, 40 },
	{ fuzz_transfer_from_host, 40 },
	{ fuzz_prime_export, 40 },
	{ fuzz_prime_import, 20 },
	{ fuzz_flink, 20 },
	{ fuzz_gem_open, 20 },
	{ fuzz_execbuffer, 10 },
	{ fuzz_context_init, 10 },
	{ fuzz_get_caps, 10 },
	{ fuzz_addfb2, 20 },
	{ fuzz_memory, 7 },
	{ fuzz_limit, 3 },
};

static const char * const op_names[NR_OPS] = {
	[OP_CREATE_BLOB] = "CREATE_BLOB",
	[OP_GETPARAM] = "GETPARAM",
	[OP_GEM_CLOSE] = "GEM_CLOSE",
	[OP_RESOURCE_INFO] = "RESOURCE_INFO",
	[OP_MAP] = "MAP",
	[OP_WAIT] = "WAIT",
	[OP_TRANSFER_TO_HOST] = "TRANSFER_TO_HOST",
	[OP_TRANSFER_FROM_HOST] = "TRANSFER_FROM_HOST",
	[OP_PRIME_EXPORT] = "PRIME_HANDLE_TO_FD",
	[OP_PRIME_IMPORT] = "PRIME_FD_TO_HANDLE",
	[OP_FLINK] = "GEM_FLINK",
	[OP_GEM_OPEN] = "GEM_OPEN",
	[OP_EXECBUFFER] = "EXECBUFFER",
	[OP_CONTEXT_INIT] = "CONTEXT_INIT",
	[OP_GET_CAPS] = "GET_CAPS",
	[OP_ADDFB2] = "ADDFB2",
	[OP_MEMORY] = "(memory)",
	[OP_LIMIT] = "(limit)",
	[OP_FORK] = "(fork)",
	[OP_OPEN] = "(open)",
};

static void *fuzz(void *arg)
{
	struct thread *t = arg;
	unsigned long i;

	/* No stack must be mapped into a hole that another thread makes. */
	pthread_barrier_wait(&t->process->start);
	for (i = 1; i <= t->calls; i++) {
		unsigned int chance = below(t, 1000), op = 0;

		while (chance >= mix[op].weight)
			chance -= mix[op++].weight;
		mix[op].fuzz(t, random_file(t));

		if (!(i % 4096))
			fuzz_fork(t, random_file(t));
		if (!(i % 16384))
			fuzz_reopen(t, random_file(t));
	}
	return NULL;
}

static void *map_shared(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

FIXTURE(fuzz)
{
	struct virtgpu dev;
	struct results *results;
	struct process *processes;
};

FIXTURE_SETUP(fuzz)
{
	virtgpu_setup(_metadata, &self->dev);
	check_all_released(_metadata, &self->dev);
	self->results = map_shared(sizeof(*self->results));
	ASSERT_NE(MAP_FAILED, self->results);
	self->processes = map_shared(NR_PROCESSES * sizeof(*self->processes));
	ASSERT_NE(MAP_FAILED, self->processes);
}

FIXTURE_TEARDOWN_PARENT(fuzz)
{
	check_all_released(_metadata, &self->dev);
}

static void map_spans(struct __test_metadata *_metadata, struct process *p)
{
	struct drm_virtgpu_resource_create_blob blob = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_USERPTR,
		.size = PAGE_SIZE,
	};

	p->memory = map_anon(NR_SPANS * SPAN_SIZE);
	ASSERT_NE(MAP_FAILED, p->memory);
	fill(p->memory, NR_SPANS * SPAN_SIZE);

	/* One that is fine but for where it stands. */
	blob.userptr = (uintptr_t)p->memory;
	memcpy(p->memory + SPAN_RDONLY * SPAN_SIZE, &blob, sizeof(blob));
	ASSERT_EQ(0, mprotect(p->memory + SPAN_RDONLY * SPAN_SIZE, SPAN_SIZE,
			      PROT_READ));
	ASSERT_EQ(0, mprotect(p->memory + SPAN_NONE * SPAN_SIZE, SPAN_SIZE,
			      PROT_NONE));
}

static void run_process(struct __test_metadata *_metadata, struct process *p,
			__u64 seed, unsigned long calls)
{
	struct thread threads[NR_THREADS] = {};
	int i;

	p->node = p->primary ? virtgpu_open_primary(p->dev->fd) : p->dev->fd;
	ASSERT_LE(0, p->node);
	for (i = 0; i < NR_FILES; i++) {
		p->files[i] = open_file(p, i);
		ASSERT_LE(0, p->files[i]);
	}
	map_spans(_metadata, p);
	if (!p->primary)
		ASSERT_EQ(0, become_user(USER_LIMIT));

	ASSERT_EQ(0, pthread_barrier_init(&p->start, NULL, NR_THREADS));
	for (i = 0; i < NR_THREADS; i++) {
		struct thread *t = &threads[i];

		t->process = p;
		t->random = seed + i;
		t->calls = calls / NR_THREADS;
		t->arg = map_anon(PAGE_SIZE);
		ASSERT_NE(MAP_FAILED, t->arg);
		ASSERT_EQ(0, pthread_create(&t->thread, NULL, fuzz, t));
	}
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_join(threads[i].thread, NULL));
}

static void print_counts(struct __test_metadata *_metadata,
			 const struct results *results)
{
	char line[1024];
	size_t len;
	int op, err;

	for (op = 0; op < NR_OPS; op++) {
		unsigned long sum = 0;

		line[0] = 0;
		for (err = 0; err <= MAX_ERRNO; err++) {
			if (!results->counts[op][err])
				continue;
			sum += results->counts[op][err];
			len = strlen(line);
			snprintf(line + len, sizeof(line) - len, ", %d: %lu",
				 -err, results->counts[op][err]);
		}
		TH_LOG("%-18s %7lu%s", op_names[op], sum, line);
	}
}

TEST_F_TIMEOUT(fuzz, random_calls, 3600)
{
	unsigned long calls = number_from_env(_metadata, "VIRTGPU_FUZZ_CALLS",
					      rounds_of(DEFAULT_CALLS));
	__u64 seed = number_from_env(_metadata, "VIRTGPU_FUZZ_SEED",
				     fresh_seed());
	pid_t pids[NR_PROCESSES];
	int status, i;

	for (i = 0; i < NR_PROCESSES; i++) {
		struct process *p = &self->processes[i];

		p->dev = &self->dev;
		p->results = self->results;
		p->primary = !i;
		pids[i] = fork_bound();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			run_process(_metadata, p, seed + i * NR_THREADS,
				    calls / NR_PROCESSES);
			_exit(0);
		}
	}
	for (i = 0; i < NR_PROCESSES; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}

	print_counts(_metadata, self->results);
	EXPECT_EQ(0, self->results->wrong) {
		TH_LOG("%s", self->results->first_wrong);
	}
}

TEST_HARNESS_MAIN
