/* SPDX-License-Identifier: GPL-2.0-only */
/* Rights given to files: setuid and setgid bits, execution, capabilities. */
#ifndef NIGHTHERD_FILES_H
#define NIGHTHERD_FILES_H

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IXUGO 00111
#define CAPABILITY_NAME "security.capability"

/* Which argument is the first after the mapping of user ids, that functions have since 5.12. */
static __always_inline int has_mapping(void)
{
	return bpf_core_field_exists(((struct vfsmount___v512 *)0)->mnt_userns) ||
	       bpf_core_field_exists(((struct vfsmount___v62 *)0)->mnt_idmap);
}

static __always_inline void describe_inode(struct record *record, struct inode *inode)
{
	record->values[1] = BPF_CORE_READ(inode, i_mode);
	record->values[2] = BPF_CORE_READ(inode, i_uid.val) |
			    (__u64)BPF_CORE_READ(inode, i_gid.val) << 32;
}

/* On the way out, so that what was refused is not told; the mode that was asked for is still there. */
SEC("fexit/chmod_common")
int BPF_PROG(on_chmod, const struct path *path, __u32 mode, int result)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	struct record *record;
	__u32 end;

	mode &= 07777;
	if (result || !(mode & (S_ISUID | S_ISGID | S_IXUGO)) ||
	    (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	record = begin(SLOT_FILE, RECORD_MODE);
	if (!record)
		return 0;
	record->values[0] = mode;
	describe_inode(record, inode);
	end = spell_path(SLOT_FILE, 0, (__u64)dentry, (__u64)BPF_CORE_READ(path, mnt));
	submit_text(record, append(record, 0, 0, end));
	return 0;
}

static __always_inline int is_capability(const char *name)
{
	char text[sizeof(CAPABILITY_NAME)] = {};

	if (bpf_probe_read_kernel_str(text, sizeof(text), name) != sizeof(text))
		return 0;
#pragma unroll
	for (int i = 0; i < (int)sizeof(text); i++)
		if (text[i] != CAPABILITY_NAME[i])
			return 0;
	return 1;
}

static __always_inline void tell_capability(__u32 slot, struct dentry *dentry, int removed)
{
	struct super_block *super = BPF_CORE_READ(dentry, d_sb);
	struct super_block___v617 *newer = (void *)super;
	struct record *record = begin(slot, RECORD_CAPABILITY);
	__u64 mount;
	__u32 end;

	if (!record)
		return;
	record->values[0] = removed;
	describe_inode(record, BPF_CORE_READ(dentry, d_inode));
	/* The checkpoint is not told of a mount: the file system's first one shows it. */
	if (bpf_core_field_exists(((struct mount___v616 *)0)->mnt_instance))
		mount = (__u64)BPF_CORE_READ(super, s_mounts.next) -
			bpf_core_field_offset(struct mount___v616, mnt_instance);
	else
		mount = (__u64)BPF_CORE_READ(newer, s_mounts);
	end = spell_path(slot, 0, address_of(dentry), mount + bpf_core_field_offset(struct mount, mnt));
	submit_text(record, append(record, 0, 0, end));
}

SEC("fentry/security_inode_post_setxattr")
int BPF_PROG(on_setxattr, struct dentry *dentry, const char *name)
{
	if (is_capability(name))
		tell_capability(SLOT_ATTRIBUTE, dentry, 0);
	return 0;
}

SEC("fexit/vfs_removexattr")
int on_removexattr(__u64 *ctx)
{
	__u64 dentry = ctx[0], name = ctx[1], result = ctx[2];

	if (has_mapping()) {
		dentry = ctx[1];
		name = ctx[2];
		result = ctx[3];
	}
	if (!(int)result && is_capability((void *)name))
		tell_capability(SLOT_REMOVED, (void *)dentry, 1);
	return 0;
}

#endif
