/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes and TCP state changes, as one stream of records in a ring buffer.
 *
 * Four programs on tracepoints with BTF: a program was executed, a process was forked, a process
 * ended, a TCP socket began to connect or to listen. Each record begins with `struct header`;
 * agent/sensors/bpf.py decodes it and must be changed with it.
 *
 * Waking the reader costs more than the data (7.4 % of a core against 0.8 % at 3000 exec/s), so
 * nobody is woken: the agent looks every 50 ms. What does not fit is counted, per CPU.
 */
#include "core_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

enum record_type { RECORD_EXEC = 1, RECORD_FORK = 2, RECORD_EXIT = 3, RECORD_TCP = 4 };
enum tcp_state { TCP_SYN_SENT = 2, TCP_LISTEN = 10 };
enum pid_type { PIDTYPE_SID = 3 };
enum flags { EXECUTABLE_CUT = 1, DIRECTORY_CUT = 2 };

#define ADDRESS_FAMILY_INET 2
#define UNSET_ID ((__u32)-1)

#define REQUESTED_MAX 512  /* bytes of the path given to execve */
#define ARGUMENTS_MAX 4096 /* bytes of arguments, NULs included */
#define NAME_MAX_NUL 256   /* one path component with its NUL */
#define PATH_DEPTH 64      /* path components and mount crossings followed */
#define CGROUP_DEPTH 12
#define CGROUP_NAME_MAX 128
#define TEXT_MAX 16384 /* a power of two: the verifier follows the mask below */

struct header {
	__u64 boot_ns;
	__u64 start_ns; /* fork time of the process: its identity together with the pid */
	__u32 type;
	__u32 pid; /* thread group id in the initial namespace, as all ids here */
	__u32 ppid;
	__u32 session_leader;
	__u32 user_id;
	__u32 effective_user_id;
	__u32 login_user_id;
	__u32 session_id;
	__s32 exit_code;
	__u32 arguments_total; /* bytes the arguments really have */
	__u32 argument_count;
	__u32 flags;
	/* Lengths of the texts that follow an exec, in this order. */
	__u16 requested_size;
	__u16 arguments_size;
	__u16 executable_size; /* components leaf first, NUL after each */
	__u16 directory_size;  /* likewise */
	__u16 cgroup_size;     /* likewise */
	__u16 reserved;
	char terminal[12];
};

struct exec_record {
	struct header header;
	char text[TEXT_MAX];
};

struct tcp_record {
	struct header header;
	__u16 family;
	__u16 local_port;
	__be16 remote_port;
	__u16 state;
	__u8 local_address[16];
	__u8 remote_address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

/* Too big for the 512-byte stack. One program at a time runs on a CPU with it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_record);
} scratch SEC(".maps");

/* Records that found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* A value that the verifier of every kernel knows to be at most `mask`: the compiler would drop it. */
#define bounded(value, mask)                                                                       \
	({                                                                                         \
		__u64 bounded_value = (value);                                                     \
		asm volatile("%0 &= %1" : "+r"(bounded_value) : "i"(mask));                         \
		bounded_value;                                                                     \
	})

static __always_inline void submit(void *record, __u64 size)
{
	if (bpf_ringbuf_output(&records, record, size, BPF_RB_NO_WAKEUP)) {
		__u32 zero = 0;
		__u64 *count = bpf_map_lookup_elem(&lost, &zero);

		if (count)
			*count += 1;
	}
}

static __always_inline void identify(struct header *header, struct task_struct *task, __u32 type)
{
	struct tty_struct *terminal;

	__builtin_memset(header, 0, sizeof(*header));
	header->boot_ns = bpf_ktime_get_boot_ns();
	header->type = type;
	header->pid = BPF_CORE_READ(task, tgid);
	header->ppid = BPF_CORE_READ(task, real_parent, tgid);
	header->session_leader = BPF_CORE_READ(task, signal, pids[PIDTYPE_SID], numbers[0].nr);
	header->user_id = BPF_CORE_READ(task, cred, uid.val);
	header->effective_user_id = BPF_CORE_READ(task, cred, euid.val);
	header->login_user_id = UNSET_ID;
	header->session_id = UNSET_ID;
	if (bpf_core_field_exists(task->loginuid)) { /* not there without CONFIG_AUDIT */
		header->login_user_id = BPF_CORE_READ(task, loginuid.val);
		header->session_id = BPF_CORE_READ(task, sessionid);
	}
	if (bpf_core_field_exists(task->start_boottime))
		header->start_ns = BPF_CORE_READ(task, start_boottime);
	else
		header->start_ns = BPF_CORE_READ((struct task_struct___old *)task, real_start_time);
	terminal = BPF_CORE_READ(task, signal, tty);
	if (terminal)
		bpf_core_read_str(header->terminal, sizeof(header->terminal), &terminal->name);
}

/*
 * Append the components of a path, leaf first, from `offset` on; mounts are crossed. Returns the
 * offset after the last one, with bit 31 set when the path has more components than we follow.
 *
 * bpf_d_path() is not allowed in tracepoints. A global function with scalar arguments is verified
 * once by itself: inlined, the verifier ran past its million instructions.
 */
__noinline int spell_path(__u32 offset, __u64 dentry_address, __u64 vfsmount_address)
{
	__u32 zero = 0;
	struct exec_record *record = bpf_map_lookup_elem(&scratch, &zero);
	struct dentry *dentry = (void *)dentry_address;
	struct mount *mount =
		(void *)(vfsmount_address - bpf_core_field_offset(struct mount, mnt));

	if (!record)
		return offset;
#pragma clang loop unroll(disable)
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *root = BPF_CORE_READ(mount, mnt.mnt_root);
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		long size;

		if (dentry == root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount || !above)
				return offset;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		offset &= TEXT_MAX - 1;
		if (offset >= TEXT_MAX - NAME_MAX_NUL)
			break;
		size = bpf_probe_read_kernel_str(record->text + offset, NAME_MAX_NUL,
						 BPF_CORE_READ(dentry, d_name.name));
		if (size <= 0 || size > NAME_MAX_NUL)
			break;
		offset += size;
		/* A memfd, or a file no folder knows: its own parent, and not its mount's root. */
		if (dentry == parent)
			return offset;
		dentry = parent;
	}
	return offset | 0x80000000;
}

__noinline int spell_cgroup(__u32 offset, __u64 node_address)
{
	__u32 zero = 0;
	struct exec_record *record = bpf_map_lookup_elem(&scratch, &zero);
	struct kernfs_node *node = (void *)node_address;

	if (!record)
		return offset;
#pragma clang loop unroll(disable)
	for (int i = 0; i < CGROUP_DEPTH; i++) {
		struct kernfs_node___v615 *newer = (void *)node;
		struct kernfs_node *parent;
		long size;

		if (!node)
			break;
		if (bpf_core_field_exists(newer->__parent))
			parent = BPF_CORE_READ(newer, __parent);
		else
			parent = BPF_CORE_READ(node, parent);
		offset &= TEXT_MAX - 1;
		if (!parent || offset >= TEXT_MAX - CGROUP_NAME_MAX) /* the root has no name */
			break;
		size = bpf_probe_read_kernel_str(record->text + offset, CGROUP_NAME_MAX,
						 BPF_CORE_READ(node, name));
		if (size <= 0 || size > CGROUP_NAME_MAX)
			break;
		offset += size;
		node = parent;
	}
	return offset;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	__u32 zero = 0;
	struct exec_record *record = bpf_map_lookup_elem(&scratch, &zero);
	struct mm_struct *memory = BPF_CORE_READ(task, mm);
	struct file *file = BPF_CORE_READ(memory, exe_file);
	unsigned long arguments = BPF_CORE_READ(memory, arg_start);
	__u64 size = BPF_CORE_READ(memory, arg_end) - arguments;
	__u64 offset = 0;
	__u32 end;
	long copied;

	if (!record)
		return 0;
	identify(&record->header, task, RECORD_EXEC);
	record->header.arguments_total = size;
	record->header.argument_count = BPF_CORE_READ(program, argc);

	copied = bpf_probe_read_kernel_str(record->text, REQUESTED_MAX,
					   BPF_CORE_READ(program, filename));
	if (copied > 0 && copied <= REQUESTED_MAX) {
		record->header.requested_size = copied;
		offset = copied;
	}
	if (size > ARGUMENTS_MAX)
		size = ARGUMENTS_MAX;
	/*
	 * The verifiers of 5.10, 6.1 and 6.12 do not see that a bound of the 32-bit copy holds for the 64-bit
	 * register that the pointer is made from: the masks bound the very registers that are used.
	 */
	offset = bounded(offset, 2 * REQUESTED_MAX - 1);
	size = bounded(size, 2 * ARGUMENTS_MAX - 1);
	if (size > 0 && !bpf_probe_read_user(record->text + offset, size, (void *)arguments)) {
		record->header.arguments_size = size;
		offset += size;
	}

	end = spell_path(offset, (__u64)BPF_CORE_READ(file, f_path.dentry),
			 (__u64)BPF_CORE_READ(file, f_path.mnt));
	if (end & 0x80000000)
		record->header.flags |= EXECUTABLE_CUT;
	end &= TEXT_MAX - 1;
	record->header.executable_size = end - offset;
	offset = end;

	end = spell_path(offset, (__u64)BPF_CORE_READ(task, fs, pwd.dentry),
			 (__u64)BPF_CORE_READ(task, fs, pwd.mnt));
	if (end & 0x80000000)
		record->header.flags |= DIRECTORY_CUT;
	end &= TEXT_MAX - 1;
	record->header.directory_size = end - offset;
	offset = end;

	end = spell_cgroup(offset, (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn));
	end &= TEXT_MAX - 1;
	record->header.cgroup_size = end - offset;
	offset = end & (TEXT_MAX - 1);

	submit(record, sizeof(struct header) + offset);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct header header;

	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; /* a thread */
	identify(&header, child, RECORD_FORK);
	header.ppid = BPF_CORE_READ(parent, tgid);
	submit(&header, sizeof(header));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct header header;

	/* The process ends with its last thread, which need not be the first one. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	identify(&header, leader, RECORD_EXIT);
	header.exit_code = BPF_CORE_READ(task, signal, group_exit_code);
	if (!header.exit_code)
		header.exit_code = BPF_CORE_READ(leader, exit_code);
	submit(&header, sizeof(header));
	return 0;
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
	identify(&record.header, (void *)bpf_get_current_task(), RECORD_TCP);
	record.state = new_state;
	record.family = BPF_CORE_READ(sock, __sk_common.skc_family);
	record.local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	record.remote_port = BPF_CORE_READ(sock, __sk_common.skc_dport);
	if (record.family == ADDRESS_FAMILY_INET) {
		bpf_core_read(record.local_address, 4, &sock->__sk_common.skc_rcv_saddr);
		bpf_core_read(record.remote_address, 4, &sock->__sk_common.skc_daddr);
	} else {
		bpf_core_read(record.local_address, 16, &sock->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(record.remote_address, 16, &sock->__sk_common.skc_v6_daddr);
	}
	submit(&record, sizeof(record));
	return 0;
}
