/* SPDX-License-Identifier: GPL-2.0-only */
/* Namespaces and mounts, modules and BPF programs. */
#ifndef NIGHTHERD_NAMESPACES_H
#define NIGHTHERD_NAMESPACES_H

#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_NEW                                                                                  \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |             \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define MS_REMOUNT 32
#define MS_PROPAGATION (1UL << 17 | 1UL << 18 | 1UL << 19 | 1UL << 20)
enum namespace_operation { UNSHARED = 1, ENTERED = 2 };

/* Threads that are inside unshare(): it switches namespaces as setns() does. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} unsharing SEC(".maps");

static __always_inline void tell_namespaces(enum namespace_operation operation, __u64 kinds)
{
	struct note record;

	note(&record, RECORD_NAMESPACE);
	record.values[0] = operation;
	record.values[1] = kinds;
	submit(&record, sizeof(record));
}

SEC("fentry/ksys_unshare")
int BPF_PROG(on_unshare_begins, unsigned long flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u8 yes = 1;

	if (flags & CLONE_NEW)
		bpf_map_update_elem(&unsharing, &thread, &yes, BPF_ANY);
	return 0;
}

SEC("fexit/ksys_unshare")
int BPF_PROG(on_unshare, unsigned long flags, int result)
{
	__u64 thread = bpf_get_current_pid_tgid();

	if (!(flags & CLONE_NEW))
		return 0;
	bpf_map_delete_elem(&unsharing, &thread);
	if (!result)
		tell_namespaces(UNSHARED, flags & CLONE_NEW);
	return 0;
}

#define DIFFERS(field, kind)                                                                       \
	(BPF_CORE_READ(old, field) != BPF_CORE_READ(new, field) ? (kind) : 0)

SEC("fentry/switch_task_namespaces")
int BPF_PROG(on_setns, struct task_struct *task, struct nsproxy *new)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct nsproxy *old = BPF_CORE_READ(task, nsproxy);
	__u64 kinds;

	if (!new || !old || bpf_map_lookup_elem(&unsharing, &thread))
		return 0;
	kinds = DIFFERS(mnt_ns, CLONE_NEWNS) | DIFFERS(uts_ns, CLONE_NEWUTS) |
		DIFFERS(ipc_ns, CLONE_NEWIPC) | DIFFERS(net_ns, CLONE_NEWNET) |
		DIFFERS(pid_ns_for_children, CLONE_NEWPID) | DIFFERS(cgroup_ns, CLONE_NEWCGROUP);
	if (bpf_core_field_exists(old->time_ns_for_children))
		kinds |= DIFFERS(time_ns_for_children, CLONE_NEWTIME);
	if (kinds)
		tell_namespaces(ENTERED, kinds);
	return 0;
}

SEC("fexit/userns_install")
int BPF_PROG(on_setns_user, void *set, void *namespace, int result)
{
	if (!result)
		tell_namespaces(ENTERED, CLONE_NEWUSER);
	return 0;
}

SEC("fexit/path_mount")
int BPF_PROG(on_mount, const char *source, const struct path *path, const char *type,
	     unsigned long flags, void *data, int result)
{
	struct record *record;
	__u32 offset, end;

	if (result || (flags & MS_PROPAGATION && !(flags & MS_REMOUNT)))
		return 0;
	record = begin(SLOT_MOUNT, RECORD_MOUNT);
	if (!record)
		return 0;
	record->values[0] = flags;
	offset = append(record, 0, 0, spell_name(SLOT_MOUNT, 0, (__u64)source));
	offset = append(record, 1, offset, spell_name(SLOT_MOUNT, offset, (__u64)type));
	end = spell_path(SLOT_MOUNT, offset, (__u64)BPF_CORE_READ(path, dentry),
			 (__u64)BPF_CORE_READ(path, mnt));
	submit_text(record, append(record, 2, offset, end));
	return 0;
}

/* Where it is mounted is known before, whether it was unmounted after: user space joins the two. */
SEC("fentry/security_sb_umount")
int BPF_PROG(on_unmount, struct vfsmount *vfsmount, int flags)
{
	__u64 address = address_of(vfsmount);
	struct record *record = begin(SLOT_UNMOUNT, RECORD_UNMOUNT);
	__u32 offset, end;

	if (!record)
		return 0;
	record->values[0] = flags;
	offset = append(record, 0, 0, spell_name(SLOT_UNMOUNT, 0,
		(__u64)BPF_CORE_READ(mount_of(address), mnt_devname)));
	offset = append(record, 1, offset, spell_name(SLOT_UNMOUNT, offset,
		(__u64)BPF_CORE_READ(vfsmount, mnt_sb, s_type, name)));
	end = spell_path(SLOT_UNMOUNT, offset, (__u64)BPF_CORE_READ(vfsmount, mnt_root),
			 address);
	submit_text(record, append(record, 2, offset, end));
	return 0;
}

SEC("fexit/path_umount")
int BPF_PROG(on_unmounted, const struct path *path, int flags, int result)
{
	struct note record;

	note(&record, RECORD_UNMOUNTED);
	record.values[0] = (__s64)result;
	submit(&record, sizeof(record));
	return 0;
}

SEC("fentry/security_move_mount")
int BPF_PROG(on_move_mount, const struct path *from, const struct path *to)
{
	struct record *record = begin(SLOT_MOVED, RECORD_MOVED);
	struct vfsmount *vfsmount = BPF_CORE_READ(from, mnt);
	__u32 offset, end;

	if (!record)
		return 0;
	offset = append(record, 0, 0, spell_name(SLOT_MOVED, 0,
		(__u64)BPF_CORE_READ(mount_of((__u64)vfsmount), mnt_devname)));
	offset = append(record, 1, offset, spell_name(SLOT_MOVED, offset,
		(__u64)BPF_CORE_READ(vfsmount, mnt_sb, s_type, name)));
	end = spell_path(SLOT_MOVED, offset, (__u64)BPF_CORE_READ(to, dentry),
			 (__u64)BPF_CORE_READ(to, mnt));
	offset = append(record, 2, offset, end);
	end = spell_path(SLOT_MOVED, offset, (__u64)BPF_CORE_READ(from, dentry), (__u64)vfsmount);
	submit_text(record, append(record, 3, offset, end));
	return 0;
}

static __always_inline void tell_module(struct module *module, int unloaded)
{
	struct {
		struct note note;
		char name[56];
	} record;

	note(&record.note, RECORD_MODULE);
	record.note.values[0] = unloaded;
	__builtin_memset(record.name, 0, sizeof(record.name));
	bpf_core_read_str(record.name, sizeof(record.name), &module->name);
	record.note.header.sizes[0] = sizeof(record.name);
	submit(&record, sizeof(record));
}

SEC("tp_btf/module_load")
int BPF_PROG(on_module_load, struct module *module)
{
	tell_module(module, 0);
	return 0;
}

SEC("tp_btf/module_free")
int BPF_PROG(on_module_free, struct module *module)
{
	tell_module(module, 1);
	return 0;
}

/* Called for each descriptor of a program: only the first belongs to its load. */
SEC("fentry/security_bpf_prog")
int BPF_PROG(on_program, struct bpf_prog *program)
{
	struct bpf_prog_aux *aux = BPF_CORE_READ(program, aux);
	struct note record;

	if (BPF_CORE_READ(aux, refcnt.counter) != 1 || is_agent(bpf_get_current_pid_tgid() >> 32))
		return 0;
	note(&record, RECORD_PROGRAM);
	record.values[0] = BPF_CORE_READ(aux, id);
	submit(&record, sizeof(record));
	return 0;
}

#endif
