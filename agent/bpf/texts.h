/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Texts of a record: paths, cgroups, names.
 *
 * Global functions with scalar arguments are verified once by themselves: inlined, the verifier ran
 * past its million instructions. Each returns the offset after what it wrote.
 */
#ifndef NIGHTHERD_TEXTS_H
#define NIGHTHERD_TEXTS_H

#define PATH_DEPTH 64 /* path components and mount crossings followed */
#define CGROUP_DEPTH 12
#define CGROUP_NAME_MAX 128

/* A pointer that the kernel handed us as a number: the functions below take only numbers. */
static __always_inline __u64 address_of(const void *pointer)
{
	const void *spilled = pointer;
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &spilled);
	return address;
}

static __always_inline struct mount *mount_of(__u64 vfsmount_address)
{
	return (void *)(vfsmount_address - bpf_core_field_offset(struct mount, mnt));
}

/*
 * Append the components of a path, leaf first; mounts are crossed. CUT is set when the path has more
 * components than we follow. (bpf_d_path() is not allowed in tracepoints.)
 */
__noinline int spell_path(__u32 slot, __u32 offset, __u64 dentry_address, __u64 vfsmount_address)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);
	struct dentry *dentry = (void *)dentry_address;
	struct mount *mount = mount_of(vfsmount_address);

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
	return offset | CUT;
}

__noinline int spell_cgroup(__u32 slot, __u32 offset, __u64 node_address)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);
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

/* Append a string of the kernel's, at most 255 bytes of it, with its NUL. */
__noinline int spell_name(__u32 slot, __u32 offset, __u64 address)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);
	long size;

	offset &= TEXT_MAX - 1;
	if (!record || !address || offset >= TEXT_MAX - NAME_MAX_NUL)
		return offset;
	size = bpf_probe_read_kernel_str(record->text + offset, NAME_MAX_NUL, (void *)address);
	return size > 0 && size <= NAME_MAX_NUL ? offset + size : offset;
}

/* Append one text after another: `end` is what one of the above returned. */
static __always_inline __u32 append(struct record *record, __u32 which, __u32 offset, __u32 end)
{
	if (end & CUT)
		record->header.flags |= 1 << which;
	end &= TEXT_MAX - 1;
	record->header.sizes[which] = end - offset;
	return end;
}

#endif
