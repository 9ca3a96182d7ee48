/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets: TCP connects and listens, UDP sends and binds, raw and packet sockets, unix sockets. */
#ifndef NIGHTHERD_SOCKETS_H
#define NIGHTHERD_SOCKETS_H

enum tcp_state { TCP_SYN_SENT = 2, TCP_LISTEN = 10 };
enum families { AF_INET = 2, AF_INET6 = 10, AF_PACKET = 17 };
#define SOCK_RAW 3
#define IPPROTO_UDP 17
#define DNS_PORT 53
#define PAYLOAD_MAX 512
#define UNIX_NAME_MAX 32
#define FDS_MAX 64

struct addresses {
	__u16 family;
	__u16 local_port;
	__be16 remote_port;
	__u16 state; /* of TCP; of a datagram: 1 when the sender holds the socket */
	__u8 local_address[16];
	__u8 remote_address[16];
};

struct tcp_record {
	struct header header;
	struct addresses addresses;
};

static __always_inline void read_local(struct addresses *addresses, struct sock *sock)
{
	addresses->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	addresses->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	if (addresses->family == AF_INET)
		bpf_core_read(addresses->local_address, 4, &sock->__sk_common.skc_rcv_saddr);
	else
		bpf_core_read(addresses->local_address, 16, &sock->__sk_common.skc_v6_rcv_saddr);
}

static __always_inline void read_remote(struct addresses *addresses, struct sock *sock)
{
	addresses->remote_port = BPF_CORE_READ(sock, __sk_common.skc_dport);
	if (addresses->family == AF_INET)
		bpf_core_read(addresses->remote_address, 4, &sock->__sk_common.skc_daddr);
	else
		bpf_core_read(addresses->remote_address, 16, &sock->__sk_common.skc_v6_daddr);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_tcp_state, struct sock *sock, int old_state, int new_state)
{
	struct tcp_record record;

	/*
	 * Only connect() and listen() run as the process that asked. Accepts and closes come with
	 * packets, on whatever process is on the CPU: never attribute those.
	 */
	if (new_state != TCP_SYN_SENT && new_state != TCP_LISTEN)
		return 0;
	__builtin_memset(&record, 0, sizeof(record));
	identify_current(&record.header, RECORD_TCP);
	record.addresses.state = new_state;
	read_local(&record.addresses, sock);
	read_remote(&record.addresses, sock);
	submit(&record, sizeof(record));
	return 0;
}

static __always_inline void tell_bound(struct socket *socket)
{
	struct sock *sock = BPF_CORE_READ(socket, sk);
	struct tcp_record record;

	if (BPF_CORE_READ(sock, sk_protocol) != IPPROTO_UDP)
		return;
	__builtin_memset(&record, 0, sizeof(record));
	identify_current(&record.header, RECORD_BOUND);
	read_local(&record.addresses, sock);
	submit(&record, sizeof(record));
}

/* A port that the kernel chose (0 was asked for) waits for answers, not for anybody. */
SEC("fexit/inet_bind")
int BPF_PROG(on_bind, struct socket *socket, struct sockaddr_in *address, int size, int result)
{
	__be16 port = 0;

	bpf_probe_read_kernel(&port, sizeof(port), &address->sin_port);
	if (!result && port)
		tell_bound(socket);
	return 0;
}

SEC("fexit/inet6_bind")
int BPF_PROG(on_bind6, struct socket *socket, struct sockaddr_in6 *address, int size, int result)
{
	__be16 port = 0;

	bpf_probe_read_kernel(&port, sizeof(port), &address->sin6_port);
	if (!result && port)
		tell_bound(socket);
	return 0;
}

/* Called only for sockets that came to be. */
SEC("fentry/security_socket_post_create")
int BPF_PROG(on_raw_socket, struct socket *socket, int family, int type, int protocol, int kernel)
{
	struct note record;

	if (kernel ||
	    !(family == AF_PACKET || (type == SOCK_RAW && (family == AF_INET || family == AF_INET6))))
		return 0;
	note(&record, RECORD_RAW_SOCKET);
	record.values[0] = family;
	record.values[1] = protocol;
	submit(&record, sizeof(record));
	return 0;
}

/* Names of the watched unix sockets, without their folders. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, char[UNIX_NAME_MAX]);
	__type(value, __u8);
} unix_names SEC(".maps");

SEC("fentry/security_unix_stream_connect")
int BPF_PROG(on_unix_connect, struct sock *sock, struct unix_sock *other)
{
	struct dentry *dentry = BPF_CORE_READ(other, path.dentry);
	char name[UNIX_NAME_MAX] = {};
	struct record *record;
	__u32 end;

	if (!dentry ||
	    bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name)) <= 0 ||
	    !bpf_map_lookup_elem(&unix_names, name))
		return 0;
	record = begin(SLOT_UNIX, RECORD_UNIX);
	if (!record)
		return 0;
	end = spell_path(SLOT_UNIX, 0, (__u64)dentry, (__u64)BPF_CORE_READ(other, path.mnt));
	submit_text(record, append(record, 0, 0, end));
	return 0;
}

#endif
