/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes: executed, forked, ended. */
#ifndef NIGHTHERD_PROCESSES_H
#define NIGHTHERD_PROCESSES_H

#define REQUESTED_MAX 512  /* bytes of the path given to execve */
#define ARGUMENTS_MAX 4096 /* bytes of arguments, NULs included */
#define SB_NOUSER (1UL << 31)
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 00010

static __always_inline __u32 mount_namespace_of(struct task_struct *task)
{
	return task->nsproxy->mnt_ns->ns.inum;
}

/* Which file it is, and what is noteworthy about it. */
static __always_inline void describe_file(struct record *record, struct task_struct *task,
					  struct file *file)
{
	struct inode *inode = file->f_inode;
	struct super_block *super = inode->i_sb;
	const struct cred *cred = task->cred;
	__u32 mode = inode->i_mode;
	__u32 traits = 0;

	record->values[0] = inode->i_ino;
	record->values[1] = super->s_dev;
	record->values[2] = mount_namespace_of(task);
	record->values[3] = mode | (__u64)inode->i_uid.val << 32;
	if (super->s_flags & SB_NOUSER)
		traits |= 1 << TRAIT_MEMORY_FILE;
	else if (!inode->i_nlink || !file->f_path.dentry->d_hash.pprev)
		traits |= 1 << TRAIT_DELETED_FILE;
	if ((mode & S_ISUID && record->header.effective_user_id != record->header.user_id) ||
	    ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	     cred->egid.val != cred->gid.val))
		traits |= 1 << TRAIT_SET_USER_ID;
	record->header.traits = traits;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	__u32 slot = SLOT_EXEC;
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);
	struct mm_struct *memory = task->mm;
	struct file *file = memory->exe_file;
	unsigned long arguments = memory->arg_start;
	__u64 size = memory->arg_end - arguments;
	__u64 offset = 0;
	__u32 end;
	long copied;

	if (!record)
		return 0;
	identify_known(&record->header, task, RECORD_EXEC);
	record->header.arguments_total = size;
	record->header.argument_count = program->argc;
	describe_file(record, task, file);
	scan_environment(slot, memory->env_start, memory->env_end);

	copied = bpf_probe_read_kernel_str(record->text, REQUESTED_MAX,
					   program->filename);
	if (copied > 0 && copied <= REQUESTED_MAX) {
		record->header.sizes[0] = copied;
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
		record->header.sizes[1] = size;
		offset += size;
	}

	end = spell_path(slot, offset, (__u64)BPF_CORE_READ(file, f_path.dentry),
			 (__u64)BPF_CORE_READ(file, f_path.mnt));
	offset = append(record, 2, offset, end);
	end = spell_path(slot, offset, (__u64)BPF_CORE_READ(task, fs, pwd.dentry),
			 (__u64)BPF_CORE_READ(task, fs, pwd.mnt));
	offset = append(record, 3, offset, end);
	end = spell_cgroup(slot, offset, (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn));
	offset = append(record, 4, offset, end);
	submit_text(record, offset);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct header header;

	if (child->pid != child->tgid)
		return 0; /* a thread */
	identify_known(&header, child, RECORD_FORK);
	header.ppid = parent->tgid;
	submit(&header, sizeof(header));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct header header;

	/* The process ends with its last thread, which need not be the first one. */
	if (task->signal->live.counter != 0)
		return 0;
	identify_known(&header, leader, RECORD_EXIT);
	header.exit_code = task->signal->group_exit_code;
	if (!header.exit_code)
		header.exit_code = leader->exit_code;
	submit(&header, sizeof(header));
	return 0;
}

#endif
