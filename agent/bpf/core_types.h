/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel structures we read, with only the fields we read.
 *
 * CO-RE: libbpf matches structures and fields by name against the running kernel's BTF when it
 * loads the object, so neither order nor size matters here, and no 2.8 MB vmlinux.h is needed.
 * A suffix after three underscores names another shape of the same structure.
 */
#ifndef NIGHTHERD_CORE_TYPES_H
#define NIGHTHERD_CORE_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#define CORE __attribute__((preserve_access_index))

/* bpf_helpers.h needs these; their values are the kernel's ABI. */
enum { BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_RB_NO_WAKEUP = 1 };

typedef struct {
	__u32 val;
} kuid_t;

/* Files, folders and mounts: to spell a path. */
struct qstr {
	const unsigned char *name;
} CORE;
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
} CORE;
struct vfsmount {
	struct dentry *mnt_root;
} CORE;
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
} CORE;
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CORE;
struct file {
	struct path f_path;
} CORE;
struct fs_struct {
	struct path pwd;
} CORE;

/* Who a process is. */
struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
} CORE;
struct cred {
	kuid_t uid, euid;
} CORE;
struct upid {
	int nr;
} CORE;
struct pid {
	struct upid numbers[1];
} CORE;
struct tty_struct {
	char name[64];
} CORE;
typedef struct {
	int counter;
} atomic_t;
struct signal_struct {
	atomic_t live;
	int group_exit_code;
	struct tty_struct *tty;
	struct pid *pids[4];
} CORE;
struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
} CORE;
struct kernfs_node___v615 { /* `parent` was renamed in Linux 6.15 */
	struct kernfs_node *__parent;
} CORE;
struct cgroup {
	struct kernfs_node *kn;
} CORE;
struct css_set {
	struct cgroup *dfl_cgrp;
} CORE;
struct task_struct {
	int pid, tgid, exit_code;
	struct task_struct *real_parent, *group_leader;
	struct mm_struct *mm;
	const struct cred *cred;
	struct signal_struct *signal;
	kuid_t loginuid;
	unsigned int sessionid;
	__u64 start_boottime;
	struct css_set *cgroups;
	struct fs_struct *fs;
} CORE;
struct task_struct___old { /* `start_boottime` before Linux 5.5 */
	__u64 real_start_time;
} CORE;
struct linux_binprm {
	const char *filename;
	int argc;
} CORE;

/* Sockets. */
struct in6_addr {
	__u8 bytes[16];
};
struct sock_common {
	__u16 skc_family;
	__u16 skc_num;
	__be16 skc_dport;
	__be32 skc_rcv_saddr, skc_daddr;
	struct in6_addr skc_v6_rcv_saddr, skc_v6_daddr;
} CORE;
struct sock {
	struct sock_common __sk_common;
} CORE;

#endif
