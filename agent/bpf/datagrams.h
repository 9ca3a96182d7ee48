/* SPDX-License-Identifier: GPL-2.0-only */
/* UDP: the first datagram of an image to a destination; each other question to a name server. */
#ifndef NIGHTHERD_DATAGRAMS_H
#define NIGHTHERD_DATAGRAMS_H

/* What was told already: image, destination and, for name servers, the beginning of the question. */
struct destination {
	__u64 start_ns;
	__u64 question;
	__u32 pid;
	__u32 exec;
	__u16 family;
	__be16 port;
	__u32 padding;
	__u8 address[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct destination);
	__type(value, __u8);
} destinations SEC(".maps");

static __always_inline int is_mapped(const __u8 *address)
{
	const __u32 *words = (void *)address;

	return !words[0] && !words[1] && words[2] == 0xffff0000;
}

/*
 * Whether it was told, or is nothing to tell. A packet that somebody else's time sends is nobody's,
 * and told once.
 */
static __always_inline int is_known(struct destination *destination, struct task_struct *task,
				    int holds)
{
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD && holds)
		return 1;
	if (holds) {
		destination->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
		destination->pid = BPF_CORE_READ(task, tgid);
		destination->exec = BPF_CORE_READ(task, self_exec_id);
	}
	return bpf_map_lookup_elem(&destinations, destination) || is_agent(destination->pid);
}

/* `payload` are `size` bytes of the kernel's or of the process's. */
static __always_inline int tell_datagram(__u32 slot, struct sock *sock,
					 struct destination *destination, const void *payload,
					 __u64 size, int users, int holds)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct record *record;
	struct addresses *addresses;
	char *copy;
	__u8 yes = 1;
	long refused;

	if (destination->port != __builtin_bswap16(DNS_PORT))
		size = 0;
	if (!size && is_known(destination, task, holds))
		return 0;
	record = bpf_map_lookup_elem(&scratch, &slot);
	if (!record)
		return 0;
	copy = record->text + sizeof(struct addresses);
	if (size > PAYLOAD_MAX)
		size = PAYLOAD_MAX;
	size = bounded(size, 2 * PAYLOAD_MAX - 1);
	if (size) {
		__u64 *words = (void *)copy;

		__builtin_memset(copy, 0, 80);
		if (users)
			refused = bpf_probe_read_user(copy, size, payload);
		else
			refused = bpf_probe_read_kernel(copy, size, payload);
		if (refused)
			size = 0;
		/* The first word has the question's number, which differs each time; then counts. */
#pragma unroll
		for (int i = 1; i < 10; i++)
			destination->question = (destination->question ^ words[i]) *
						0x9e3779b97f4a7c15ULL;
		destination->question ^= destination->question >> 29;
		if (is_known(destination, task, holds))
			return 0;
	}
	bpf_map_update_elem(&destinations, destination, &yes, BPF_ANY);
	identify_current(&record->header, RECORD_DATAGRAM);
	addresses = (void *)record->text;
	__builtin_memset(record->values, 0, sizeof(record->values));
	__builtin_memset(addresses, 0, sizeof(*addresses));
	read_local(addresses, sock);
	addresses->family = destination->family;
	addresses->remote_port = destination->port;
	addresses->state = holds;
	__builtin_memcpy(addresses->remote_address, destination->address, 16);
	record->header.sizes[0] = sizeof(*addresses);
	record->header.sizes[1] = size;
	submit_text(record, sizeof(*addresses) + size);
	return 0;
}

/* Where the first piece of what is sent lies in the process's memory. */
static __always_inline const void *payload_of(struct msghdr *message, __u64 *size)
{
	struct iov_iter *iterator = &message->msg_iter;
	struct iov_iter___v510 *oldest = (void *)iterator;
	struct iov_iter___v60 *flat = (void *)iterator;
	struct iov_iter___v64 *newer = (void *)iterator;
	const struct iovec *vector;
	__u64 offset = BPF_CORE_READ(iterator, iov_offset);
	__u32 type;

	if (bpf_core_field_exists(oldest->type))
		type = BPF_CORE_READ(oldest, type) & ~1U;
	else
		type = BPF_CORE_READ(iterator, iter_type);
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    bpf_core_field_exists(flat->ubuf) && type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		*size = BPF_CORE_READ(iterator, count);
		return BPF_CORE_READ(flat, ubuf) + offset;
	}
	*size = 0;
	if (type != bpf_core_enum_value(enum iter_type, ITER_IOVEC))
		return 0;
	if (bpf_core_field_exists(newer->__iov))
		vector = BPF_CORE_READ(newer, __iov);
	else
		vector = BPF_CORE_READ(iterator, iov);
	*size = BPF_CORE_READ(vector, iov_len) - offset;
	return BPF_CORE_READ(vector, iov_base) + offset;
}

SEC("fentry/udp_sendmsg")
int BPF_PROG(on_udp, struct sock *sock, struct msghdr *message)
{
	struct destination destination = { .family = AF_INET };
	struct sockaddr_in *name = BPF_CORE_READ(message, msg_name);
	__u64 size = 0;
	const void *payload;

	if (name) {
		bpf_probe_read_kernel(&destination.port, 2, &name->sin_port);
		bpf_probe_read_kernel(destination.address, 4, &name->sin_addr);
	} else {
		destination.port = BPF_CORE_READ(sock, __sk_common.skc_dport);
		bpf_core_read(destination.address, 4, &sock->__sk_common.skc_daddr);
	}
	payload = payload_of(message, &size);
	return tell_datagram(SLOT_DATAGRAM, sock, &destination, payload, size, 1, 1);
}

SEC("fentry/udpv6_sendmsg")
int BPF_PROG(on_udp6, struct sock *sock, struct msghdr *message)
{
	struct destination destination = { .family = AF_INET6 };
	struct sockaddr_in6 *name = BPF_CORE_READ(message, msg_name);
	__u64 size = 0;
	const void *payload;

	if (name) {
		bpf_probe_read_kernel(&destination.family, 2, &name->sin6_family);
		bpf_probe_read_kernel(&destination.port, 2, &name->sin6_port);
		bpf_probe_read_kernel(destination.address, 16, &name->sin6_addr);
	} else {
		destination.port = BPF_CORE_READ(sock, __sk_common.skc_dport);
		bpf_core_read(destination.address, 16, &sock->__sk_common.skc_v6_daddr);
	}
	if (destination.family != AF_INET6 || is_mapped(destination.address))
		return 0; /* goes on to udp_sendmsg() */
	payload = payload_of(message, &size);
	return tell_datagram(SLOT_DATAGRAM6, sock, &destination, payload, size, 1, 1);
}

/*
 * Where functions cannot be watched: every packet on its way to a device. It may wait for its
 * neighbour's address and leave on another process's time: the sender must hold the socket.
 */
static __always_inline int holds(struct task_struct *task, struct sock *sock)
{
	struct file *file = BPF_CORE_READ(sock, sk_socket, file);
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	__u32 count = BPF_CORE_READ(table, max_fds);

	if (!file)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FDS_MAX; i++) {
		struct file *each = 0;

		if (i >= count)
			break;
		bpf_probe_read_kernel(&each, sizeof(each), files + i);
		if (each == file)
			return 1;
	}
	return 0;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_packet, struct sk_buff *packet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sock *sock = packet->sk; /* not by a helper: this runs for each packet of TCP, too */
	struct destination destination = {};
	unsigned char *head, *ip, *udp;
	__u64 size;
	__be16 ports[2];

	if (!sock || sock->sk_protocol != IPPROTO_UDP)
		return 0;
	head = BPF_CORE_READ(packet, head);
	ip = head + BPF_CORE_READ(packet, network_header);
	udp = head + BPF_CORE_READ(packet, transport_header);
	bpf_probe_read_kernel(ports, sizeof(ports), udp);
	destination.port = ports[1];
	destination.family = BPF_CORE_READ(sock, __sk_common.skc_family);
	if (destination.family == AF_INET6) {
		__u8 version = 0;

		bpf_probe_read_kernel(&version, 1, ip);
		if (version >> 4 == 4)
			destination.family = AF_INET;
		else
			bpf_probe_read_kernel(destination.address, 16, ip + 24);
	}
	if (destination.family == AF_INET)
		bpf_probe_read_kernel(destination.address, 4, ip + 16);
	/* Mostly it is the sender's, and told: who holds the socket is a walk. */
	if (ports[1] != __builtin_bswap16(DNS_PORT) && is_known(&destination, task, 1))
		return 0;
	destination.start_ns = destination.pid = destination.exec = 0;
	size = BPF_CORE_READ(packet, len) - BPF_CORE_READ(packet, data_len) - (udp - ip) - 8;
	if (size > 65535)
		size = 0;
	return tell_datagram(SLOT_DATAGRAM, sock, &destination, udp + 8, size, 0,
			     holds(task, sock));
}

#endif
