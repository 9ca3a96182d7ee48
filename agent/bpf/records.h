/* SPDX-License-Identifier: GPL-2.0-only */
/* The records that leave the kernel, the maps they pass through, and who a process is. */
#ifndef NIGHTHERD_RECORDS_H
#define NIGHTHERD_RECORDS_H

enum record_type {
	RECORD_EXEC = 1,
	RECORD_FORK,
	RECORD_EXIT,
	RECORD_TCP,
	RECORD_MODE,
	RECORD_CAPABILITY,
	RECORD_USER,
	RECORD_ACCESS,
	RECORD_SIGNAL,
	RECORD_NAMESPACE,
	RECORD_MOUNT,
	RECORD_UNMOUNT,
	RECORD_UNMOUNTED,
	RECORD_MOVED,
	RECORD_MODULE,
	RECORD_PROGRAM,
	RECORD_DATAGRAM,
	RECORD_BOUND,
	RECORD_RAW_SOCKET,
	RECORD_UNIX,
};
enum pid_type { PIDTYPE_SID = 3 };

#define UNSET_ID ((__u32)-1)
#define NAME_MAX_NUL 256 /* one path component with its NUL */
#define TEXT_MAX 16384	 /* a power of two: the verifier follows the mask below */
#define PF_KTHREAD 0x00200000
#define CUT 0x80000000 /* of a length: there was more than we follow */

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
	__u32 flags; /* bit n: text n has more components than we follow */
	__u32 saved_user_id;
	__u32 thread;
	/*
	 * Lengths of the texts that follow. Of an exec: the path that was asked for, arguments,
	 * executable (components leaf first, NUL after each), working directory and cgroup (likewise).
	 */
	__u16 sizes[5];
	__u16 traits; /* bits 1 << Trait of the event's contract */
	char terminal[12];
};

/* All but forks, exits and TCP: what the numbers mean depends on the type. */
struct record {
	struct header header;
	__u64 values[4];
	char text[TEXT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

/*
 * Too big for the 512-byte stack. A program never runs twice at a time on one CPU, but another one
 * may interrupt it: each has its own.
 */
enum slot {
	SLOT_EXEC,
	SLOT_FILE,
	SLOT_ATTRIBUTE,
	SLOT_REMOVED,
	SLOT_MOUNT,
	SLOT_UNMOUNT,
	SLOT_MOVED,
	SLOT_DATAGRAM,
	SLOT_DATAGRAM6,
	SLOT_UNIX,
	SLOTS,
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct record);
} scratch SEC(".maps");

/* Records that found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* Process id of the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} own_pid SEC(".maps");

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

static __always_inline void submit_text(struct record *record, __u32 size)
{
	submit(record, sizeof(*record) - TEXT_MAX + bounded(size, TEXT_MAX - 1));
}

/*
 * Who a process is. `read` follows pointers: by helpers, or directly where the verifier knows what a
 * pointer points to (arguments of a tracepoint), which costs a tenth.
 */
#define DEFINE_IDENTIFY(function, read)                                                             \
	static __always_inline void function(struct header *header, struct task_struct *task,      \
					 __u32 type)                                               \
	{                                                                                          \
		const struct cred *cred = read(task, cred);                                        \
		struct tty_struct *terminal;                                                       \
                                                                                                   \
		__builtin_memset(header, 0, sizeof(*header));                                      \
		header->boot_ns = bpf_ktime_get_boot_ns();                                         \
		header->start_ns = read(task, group_leader, start_boottime);                       \
		header->type = type;                                                               \
		header->pid = read(task, tgid);                                                    \
		header->thread = read(task, pid);                                                  \
		header->ppid = read(task, real_parent, tgid);                                      \
		header->session_leader =                                                           \
			BPF_CORE_READ(task, signal, pids[PIDTYPE_SID], numbers[0].nr);             \
		header->user_id = read(cred, uid.val);                                             \
		header->effective_user_id = read(cred, euid.val);                                  \
		header->saved_user_id = read(cred, suid.val);                                      \
		header->login_user_id = UNSET_ID;                                                  \
		header->session_id = UNSET_ID;                                                     \
		/* not there without CONFIG_AUDIT */                                               \
		if (bpf_core_field_exists(task->loginuid)) {                                       \
			header->login_user_id = read(task, loginuid.val);                          \
			header->session_id = read(task, sessionid);                                \
		}                                                                                  \
		terminal = read(task, signal, tty);                                                \
		if (terminal)                                                                      \
			bpf_core_read_str(header->terminal, sizeof(header->terminal),              \
					  &terminal->name);                                        \
	}
DEFINE_IDENTIFY(identify, BPF_CORE_READ)
DEFINE_IDENTIFY(identify_known, ___arrow)

static __always_inline void identify_current(struct header *header, __u32 type)
{
	/* since Linux 5.11 */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		identify_known(header, bpf_get_current_task_btf(), type);
	else
		identify(header, (void *)bpf_get_current_task(), type);
}

/* A record of what the current process did, in this program's own room. */
static __always_inline struct record *begin(__u32 slot, __u32 type)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);

	if (record) {
		identify_current(&record->header, type);
		__builtin_memset(record->values, 0, sizeof(record->values));
	}
	return record;
}

/* A record without text: small enough for the stack. */
struct note {
	struct header header;
	__u64 values[4];
};

static __always_inline void note(struct note *note, __u32 type)
{
	identify_current(&note->header, type);
	__builtin_memset(note->values, 0, sizeof(note->values));
}

static __always_inline int is_agent(__u32 pid)
{
	__u32 zero = 0;
	__u32 *own = bpf_map_lookup_elem(&own_pid, &zero);

	return own && *own == pid;
}

#endif
