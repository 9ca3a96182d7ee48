/* SPDX-License-Identifier: GPL-2.0-only */
/* Who becomes whom, and who reaches into another process. */
#ifndef NIGHTHERD_RIGHTS_H
#define NIGHTHERD_RIGHTS_H

#define LSM_SETID_FS 8
#define FMODE_WRITE 2
#define SEND_SIG_PRIV 1 /* a signal that the kernel makes */
enum signals { SIGHUP = 1, SIGINT = 2, SIGKILL = 9, SIGTERM = 15, SIGSTOP = 19 };
/* QUIT, ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV, TERM, SYS */
#define FATAL (1U << 3 | 1U << 4 | 1U << 5 | 1U << 6 | 1U << 7 | 1U << 8 | 1U << 9 | 1U << 11 | \
	       1U << 15 | 1U << 31)
enum access { ACCESS_ATTACHED = 1, ACCESS_MEMORY_WRITTEN = 2 };

/* A call of the setuid family that gives what none of the three ids of the process gave already. */
SEC("fexit/security_task_fix_setuid")
int BPF_PROG(on_setuid, const struct cred *new, const struct cred *old, int flags, int result)
{
	__u32 user = BPF_CORE_READ(new, euid.val);
	__u32 before = BPF_CORE_READ(old, euid.val);
	struct note record;

	if (result || flags == LSM_SETID_FS || user == before || !before ||
	    user == BPF_CORE_READ(old, uid.val) || user == BPF_CORE_READ(old, suid.val))
		return 0;
	if (user && BPF_CORE_READ(new, user_ns, level)) /* as others inside a namespace of its own */
		return 0;
	note(&record, RECORD_USER);
	record.values[0] = before;
	record.values[1] = user;
	submit(&record, sizeof(record));
	return 0;
}

static __always_inline void tell_access(struct task_struct *target, enum access access, __u32 way)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct note record;

	if (BPF_CORE_READ(target, tgid) == BPF_CORE_READ(task, tgid))
		return;
	note(&record, RECORD_ACCESS);
	record.values[0] = access;
	record.values[1] = BPF_CORE_READ(target, tgid);
	record.values[2] = BPF_CORE_READ(target, cred, euid.val);
	record.values[3] = way;
	submit(&record, sizeof(record));
}

SEC("fexit/ptrace_attach")
int BPF_PROG(on_attach, struct task_struct *target, long request, unsigned long address,
	     unsigned long flags, int result)
{
	if (!result)
		tell_access(target, ACCESS_ATTACHED, 0);
	return 0;
}

static __always_inline void tell_written(__u32 target)
{
	struct note record;

	note(&record, RECORD_ACCESS);
	if (!target || target == record.header.pid)
		return;
	record.values[0] = ACCESS_MEMORY_WRITTEN;
	record.values[1] = target;
	record.values[2] = UNSET_ID;
	submit(&record, sizeof(record));
}

SEC("fexit/mem_open")
int BPF_PROG(on_memory, struct inode *inode, struct file *file, int result)
{
	struct proc_inode *proc = (void *)((__u64)inode -
					   bpf_core_field_offset(struct proc_inode, vfs_inode));

	if (!result && BPF_CORE_READ(file, f_mode) & FMODE_WRITE)
		tell_written(BPF_CORE_READ(proc, pid, numbers[0].nr));
	return 0;
}

/* The pid is one of the caller's namespace: of another than the first we do not know whose. */
SEC("fentry/process_vm_rw")
int BPF_PROG(on_process_vm, int pid, void *local, unsigned long local_count, void *remote,
	     unsigned long remote_count, unsigned long flags, int write)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (write && !BPF_CORE_READ(task, thread_pid, level))
		tell_written(pid);
	return 0;
}

/* Whether a signal ends the process, or stops the agent. */
static __always_inline int is_fatal(int signal, struct task_struct *target, int agent)
{
	if (signal == SIGHUP || signal == SIGINT) {
		struct sighand_struct *hand = BPF_CORE_READ(target, sighand);

		return signal == SIGHUP ? !BPF_CORE_READ(hand, action[0].sa.sa_handler) :
					  !BPF_CORE_READ(hand, action[1].sa.sa_handler);
	}
	return (signal > 0 && signal < 32 && FATAL & 1U << signal) || (agent && signal == SIGSTOP);
}

SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int signal, struct kernel_siginfo *info, struct task_struct *target,
	     int group, int result)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 pid, own;
	int agent;
	struct note record;

	if (result || signal >= 32)
		return 0;
	own = BPF_CORE_READ(task, tgid);
	pid = BPF_CORE_READ(target, tgid);
	if (pid == own)
		return 0;
	if ((__u64)info == SEND_SIG_PRIV) {
		/* PTRACE_ATTACH stops its target so, after it became its parent. */
		if (signal == SIGSTOP && BPF_CORE_READ(target, ptrace) &&
		    BPF_CORE_READ(target, parent, tgid) == own)
			tell_access(target, ACCESS_ATTACHED, 1);
		return 0;
	}
	agent = is_agent(pid);
	if (!is_fatal(signal, target, agent) || own <= 1) /* systemd stops services, and says so */
		return 0;
	if (info && BPF_CORE_READ(info, si_code) > 0) /* the kernel's: a fault, a timer, a pipe */
		return 0;
	if (!agent && BPF_CORE_READ(task, cred, euid.val) == BPF_CORE_READ(target, cred, uid.val))
		return 0;
	note(&record, RECORD_SIGNAL);
	record.values[0] = signal;
	record.values[1] = pid;
	record.values[2] = BPF_CORE_READ(target, cred, euid.val);
	submit(&record, sizeof(record));
	return 0;
}

#endif
