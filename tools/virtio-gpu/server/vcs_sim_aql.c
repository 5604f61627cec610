// SPDX-License-Identifier: MIT
/*
 * Packets of a queue, as a simulated GPU takes them
 *
 * Everything here is in memory that the guest may write at any time: it is read
 * once, and every address is looked up when it is used.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vcs_log.h"
#include "vcs_sim_aql.h"

#define PACKET_SIZE	64

/* Lowest byte of a packet's header: its type. */
enum {
	PACKET_VENDOR = 0,
	PACKET_INVALID = 1,
	PACKET_DISPATCH = 2,
	PACKET_BARRIER_AND = 3,
	PACKET_AGENT = 4,
	PACKET_BARRIER_OR = 5,
};

#define NR_DEPS		5

/**
 * struct packet - what packets have in common, and barriers beside
 * @header: type, and what matters where caches are; little endian, as all
 * @reserved: 0
 * @deps: barriers: addresses of signals, or 0
 * @reserved2: 0
 * @completion: address of a signal, or 0
 */
struct packet {
	uint16_t header;
	uint16_t reserved[3];
	uint64_t deps[NR_DEPS];
	uint64_t reserved2;
	uint64_t completion;
};

/**
 * struct signal - AMD's signal
 * @kind: of a value, or of a doorbell
 * @value: what is waited for, signed
 * @mailbox: where to store @event_id when @value has changed, or 0
 * @event_id: for it
 * @reserved: 0
 * @start: when the packet began, by the GPU's counter
 * @end: when it was complete
 * @queue: of no use here
 * @reserved2: 0
 */
struct signal {
	int64_t kind;
	uint64_t value;
	uint64_t mailbox;
	uint32_t event_id;
	uint32_t reserved;
	uint64_t start;
	uint64_t end;
	uint64_t queue;
	uint64_t reserved2;
};

_Static_assert(sizeof(struct packet) == PACKET_SIZE &&
	       offsetof(struct packet, deps) == 8 &&
	       offsetof(struct packet, completion) == 56, "HSA's packets");
_Static_assert(sizeof(struct signal) == 64 &&
	       offsetof(struct signal, value) == 8 &&
	       offsetof(struct signal, event_id) == 24 &&
	       offsetof(struct signal, start) == 32, "AMD's signal");

/*
 * Where the index of the next packet to be read is part of AMD's description of
 * a queue, this is behind it, and says where in that it is. There, ROCr looks
 * for the reason why a queue has stopped in a signal.
 */
#define READ_PTR_OFFSET		8	/* u32, from the index on */
#define INACTIVE_SIGNAL		192	/* u64, from the description on */
#define DESCRIPTION_SIZE	256
#define DESCRIPTION_READ_PTR	128

/* Why it has stopped, as ROCr takes it. */
#define REASON_PACKET		(1U << 5)
#define REASON_VENDOR_PACKET	(1U << 8)
#define REASON_MEMORY		(1U << 29)
#define REASON_EXCEPTION	(1U << 31)

static void *access(const struct vcs_aql_queue *q,
		    const struct vcs_aql_memory *mem, uint64_t addr,
		    uint64_t size, bool write)
{
	/* All that is looked at has such an alignment. */
	if (addr % 8)
		return NULL;
	return mem->access(mem->arg, q->params.node, addr, size, write);
}

static uint64_t load(const uint64_t *p)
{
	return le64toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, htole64(value), __ATOMIC_RELEASE);
}

/*
 * Add or, if @set, store. What others add at the same time counts as well, so this
 * is one access, which takes a little-endian host to add right.
 */
static int change(const struct vcs_aql_queue *q,
		  const struct vcs_aql_memory *mem, uint64_t addr,
		  int64_t value, bool set, uint64_t now)
{
	struct signal *s = access(q, mem, addr, sizeof(*s), true);
	uint64_t mailbox, *box = NULL;

	if (!s)
		return -EFAULT;
	mailbox = load(&s->mailbox);
	if (mailbox) {
		box = access(q, mem, mailbox, sizeof(*box), true);
		if (!box)
			return -EFAULT;
	}
	store(&s->start, now);
	store(&s->end, now);
	if (set)
		store(&s->value, (uint64_t)value);
	else
		__atomic_add_fetch(&s->value, (uint64_t)value,
				   __ATOMIC_ACQ_REL);
	if (box)
		store(box, le32toh(__atomic_load_n(&s->event_id,
						   __ATOMIC_RELAXED)));
	return 0;
}

/* Tell ROCr. Whoever has made the queue in another way looks at its log. */
static void tell(const struct vcs_aql_queue *q,
		 const struct vcs_aql_memory *mem, uint32_t reason,
		 uint64_t now)
{
	uint64_t addr = q->params.read_ptr - DESCRIPTION_READ_PTR, signal;
	const uint8_t *desc = access(q, mem, addr, DESCRIPTION_SIZE, false);
	uint32_t offset;

	if (!desc)
		return;
	memcpy(&offset, desc + DESCRIPTION_READ_PTR + READ_PTR_OFFSET,
	       sizeof(offset));
	if (le32toh(offset) != DESCRIPTION_READ_PTR)
		return;
	signal = load((const void *)(desc + INACTIVE_SIGNAL));
	if (signal)
		change(q, mem, signal, reason, true, now);
}

/*
 * 1: all, or with BARRIER_OR one, of what the packet waits for has been 0 at one
 * time; 0: not yet; or -EFAULT. 0 in the place of a signal is nothing to wait
 * for, and nothing that ends the wait for others.
 */
static int check_deps(struct vcs_aql_queue *q, const struct vcs_aql_memory *mem,
		      const struct packet *p, bool any)
{
	const struct signal *s;
	unsigned int i, nr = 0, zero = 0;

	for (i = 0; i < NR_DEPS; i++) {
		uint64_t addr = le64toh(p->deps[i]);

		if (!addr)
			continue;
		nr++;
		if (!(q->seen & (1U << i))) {
			s = access(q, mem, addr, sizeof(*s), false);
			if (!s)
				return -EFAULT;
			if (__atomic_load_n(&s->value, __ATOMIC_ACQUIRE))
				continue;
			q->seen |= (uint8_t)(1U << i);
		}
		zero++;
	}
	return any ? !nr || zero : zero == nr;
}

/* 1: done, 0: it waits, or an error, for which there may be a better @reason. */
static int execute(struct vcs_aql_queue *q, const struct vcs_aql_memory *mem,
		   const struct packet *p, uint32_t *reason)
{
	uint8_t type = (uint8_t)le16toh(p->header);

	switch (type) {
	case PACKET_BARRIER_AND:
	case PACKET_BARRIER_OR:
		break;
	case PACKET_DISPATCH:
		*reason = REASON_EXCEPTION;
		return -EOPNOTSUPP;
	case PACKET_VENDOR:
		*reason = REASON_VENDOR_PACKET;
		return -EOPNOTSUPP;
	default:
		*reason = REASON_PACKET;
		return -EINVAL;
	}
	return check_deps(q, mem, p, type == PACKET_BARRIER_OR);
}

/* 1: one was taken, 0: it waits, -EAGAIN: there is none, or another error. */
static int step(struct vcs_aql_queue *q, const struct vcs_aql_memory *mem,
		uint64_t now, uint32_t *reason)
{
	const struct vcs_thunk_queue *p = &q->params;
	uint64_t *write_ptr, *read_ptr, *slot, i;
	union {
		struct packet p;
		uint64_t words[PACKET_SIZE / 8];
	} copy;
	int ret;

	*reason = REASON_MEMORY;
	write_ptr = access(q, mem, p->write_ptr, 8, false);
	read_ptr = access(q, mem, p->read_ptr, 8, true);
	slot = access(q, mem, p->ring + q->read % (p->ring_size / PACKET_SIZE) *
		      PACKET_SIZE, PACKET_SIZE, true);
	if (!write_ptr || !read_ptr || !slot)
		return -EFAULT;
	if ((int64_t)(load(write_ptr) - q->read) <= 0)
		return -EAGAIN;

	/* The header is written last, and then the doorbell rings. */
	copy.words[0] = __atomic_load_n(&slot[0], __ATOMIC_ACQUIRE);
	if ((uint8_t)le16toh(copy.p.header) == PACKET_INVALID)
		return -EAGAIN;
	for (i = 1; i < PACKET_SIZE / 8; i++)
		copy.words[i] = __atomic_load_n(&slot[i], __ATOMIC_RELAXED);
	ret = execute(q, mem, &copy.p, reason);
	if (ret <= 0)
		return ret;
	/* Who sees that it is complete sees that it was taken. */
	store(slot, (le64toh(copy.words[0]) & ~0xffffULL) | PACKET_INVALID);
	q->seen = 0;
	q->read++;
	store(read_ptr, q->read);
	if (copy.p.completion)
		ret = change(q, mem, le64toh(copy.p.completion), -1, false,
			     now);
	return ret < 0 ? ret : 1;
}

enum vcs_aql_state vcs_aql_run(struct vcs_aql_queue *q,
			       const struct vcs_aql_memory *mem, uint64_t now,
			       unsigned int max)
{
	uint64_t packet;
	uint32_t reason;
	int ret;

	if (q->stopped || !q->params.percentage)
		return VCS_AQL_IDLE;
	while (max--) {
		packet = q->read;
		ret = step(q, mem, now, &reason);
		if (!ret)
			return VCS_AQL_WAITING;
		if (ret == -EAGAIN)
			return VCS_AQL_IDLE;
		if (ret < 0) {
			vcs_log_guest("queue %llu stops at packet %llu: %s",
				      (unsigned long long)q->id,
				      (unsigned long long)packet,
				      reason == REASON_EXCEPTION ?
				      "there is no GPU to execute a kernel" :
				      strerror(-ret));
			q->stopped = true;
			tell(q, mem, reason, now);
			return VCS_AQL_STOPPED;
		}
	}
	return VCS_AQL_BUSY;
}
