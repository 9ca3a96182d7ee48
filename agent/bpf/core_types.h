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
typedef unsigned long size_t;

#define CORE __attribute__((preserve_access_index))

/* bpf_helpers.h needs these; their values are the kernel's ABI. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_RB_NO_WAKEUP = 1 };
enum { BPF_ANY = 0 };
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158 };

typedef struct {
	__u32 val;
} kuid_t;
typedef struct {
	__u32 val;
} kgid_t;

/* Files, folders and mounts: to spell a path, and to say which file it is. */
struct qstr {
	const unsigned char *name;
} CORE;
struct hlist_bl_node {
	struct hlist_bl_node **pprev;
} CORE;
struct list_head {
	struct list_head *next;
} CORE;
struct file_system_type {
	const char *name;
} CORE;
struct super_block {
	__u32 s_dev;
	unsigned long s_flags;
	struct file_system_type *s_type;
	struct list_head s_mounts;
} CORE;
struct super_block___v617 { /* a list without a head since Linux 6.17 */
	struct mount *s_mounts;
} CORE;
struct inode {
	__u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
} CORE;
struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
} CORE;
struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
} CORE;
struct vfsmount___v512 { /* mounts got a mapping of user ids in Linux 5.12, and functions their argument */
	struct user_namespace *mnt_userns;
} CORE;
struct vfsmount___v62 { /* which got another name in Linux 6.2 */
	struct mnt_idmap *mnt_idmap;
} CORE;
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	const char *mnt_devname;
} CORE;
struct mount___v616 { /* until Linux 6.16 */
	struct list_head mnt_instance;
} CORE;
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CORE;
struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode;
} CORE;
struct fs_struct {
	struct path pwd;
} CORE;
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
} CORE;

/* Who a process is. */
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
} CORE;
struct user_namespace {
	int level;
} CORE;
struct cred {
	kuid_t uid, suid, euid;
	kgid_t gid, egid;
	struct user_namespace *user_ns;
} CORE;
struct upid {
	int nr;
} CORE;
struct pid {
	unsigned int level;
	struct upid numbers[1];
} CORE;
struct tty_struct {
	char name[64];
} CORE;
typedef struct {
	int counter;
} atomic_t;
typedef struct {
	__s64 counter;
} atomic64_t;
struct signal_struct {
	atomic_t live;
	int group_exit_code;
	struct tty_struct *tty;
	struct pid *pids[4];
} CORE;
struct sigaction {
	void *sa_handler;
} CORE;
struct k_sigaction {
	struct sigaction sa;
} CORE;
struct sighand_struct {
	struct k_sigaction action[64];
} CORE;
struct kernel_siginfo {
	int si_code;
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
struct ns_common {
	unsigned int inum;
} CORE;
struct mnt_namespace {
	struct ns_common ns;
} CORE;
struct nsproxy {
	void *uts_ns, *ipc_ns, *pid_ns_for_children, *net_ns, *time_ns_for_children, *cgroup_ns;
	struct mnt_namespace *mnt_ns;
} CORE;
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} CORE;
struct files_struct {
	struct fdtable *fdt;
} CORE;
struct task_struct {
	int pid, tgid, exit_code;
	unsigned int flags, ptrace;
	struct task_struct *real_parent, *parent, *group_leader;
	struct mm_struct *mm;
	const struct cred *cred;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	struct pid *thread_pid;
	kuid_t loginuid;
	unsigned int sessionid;
	__u64 start_boottime, self_exec_id;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
} CORE;
struct linux_binprm {
	const char *filename;
	int argc;
} CORE;

/* The kernel's own code. */
struct module {
	char name[56];
} CORE;
struct bpf_prog_aux {
	atomic64_t refcnt;
	__u32 id;
} CORE;
struct bpf_prog {
	struct bpf_prog_aux *aux;
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
	__u16 sk_protocol, sk_type;
	struct socket *sk_socket;
} CORE;
struct socket {
	struct sock *sk;
	struct file *file;
} CORE;
struct unix_sock {
	struct path path;
} CORE;
struct sockaddr_in {
	__u16 sin_family;
	__be16 sin_port;
	__be32 sin_addr;
};
struct sockaddr_in6 {
	__u16 sin6_family;
	__be16 sin6_port;
	__be32 sin6_flowinfo;
	struct in6_addr sin6_addr;
};
struct iovec {
	void *iov_base;
	size_t iov_len;
} CORE;
enum iter_type { ITER_IOVEC, ITER_UBUF };
struct iov_iter {
	__u8 iter_type;
	size_t iov_offset, count;
	const struct iovec *iov;
} CORE;
struct iov_iter___v510 { /* until Linux 5.13 */
	unsigned int type;
} CORE;
struct iov_iter___v60 { /* since Linux 6.0 */
	void *ubuf;
} CORE;
struct iov_iter___v64 { /* `iov` was renamed in Linux 6.4 */
	const struct iovec *__iov;
} CORE;
struct msghdr {
	void *msg_name;
	int msg_namelen;
	struct iov_iter msg_iter;
} CORE;
struct sk_buff {
	struct sock *sk;
	unsigned int len, data_len;
	__u16 transport_header, network_header;
	unsigned char *head;
} CORE;

#endif
