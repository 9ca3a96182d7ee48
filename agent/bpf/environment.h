/* SPDX-License-Identifier: GPL-2.0-only */
/* Which variables that change how programs run are in an environment. Values stay where they are. */
#ifndef NIGHTHERD_ENVIRONMENT_H
#define NIGHTHERD_ENVIRONMENT_H

enum trait {
	TRAIT_MEMORY_FILE = 1,
	TRAIT_DELETED_FILE = 2,
	TRAIT_LD_PRELOAD = 5,
	TRAIT_LD_AUDIT = 6,
	TRAIT_LD_LIBRARY_PATH = 7,
	TRAIT_GLIBC_TUNABLES = 8,
	TRAIT_PROXY = 9,
	TRAIT_SET_USER_ID = 12,
};

#define VARIABLES_MAX 256
#define VARIABLE_MAX 4096 /* of a longer one the rest counts as further ones */

/* Eight characters as one number: little-endian, as all machines are that we run on. */
#define WORD(a, b, c, d, e, f, g, h)                                                               \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define LOWER 0x2020202020202020ULL
#define FIRST(count) (~0ULL >> (64 - 8 * (count)))

static __always_inline __u16 trait_of(__u64 first, __u64 second)
{
	if (first == WORD('L', 'D', '_', 'P', 'R', 'E', 'L', 'O'))
		return (second & FIRST(3)) == WORD('A', 'D', '=', 0, 0, 0, 0, 0) ?
			       1 << TRAIT_LD_PRELOAD : 0;
	if (first == WORD('L', 'D', '_', 'A', 'U', 'D', 'I', 'T'))
		return (second & FIRST(1)) == '=' ? 1 << TRAIT_LD_AUDIT : 0;
	if (first == WORD('L', 'D', '_', 'L', 'I', 'B', 'R', 'A'))
		return second == WORD('R', 'Y', '_', 'P', 'A', 'T', 'H', '=') ?
			       1 << TRAIT_LD_LIBRARY_PATH : 0;
	if (first == WORD('G', 'L', 'I', 'B', 'C', '_', 'T', 'U'))
		return (second & FIRST(7)) == WORD('N', 'A', 'B', 'L', 'E', 'S', '=', 0) ?
			       1 << TRAIT_GLIBC_TUNABLES : 0;
	/* '_' and '=' have the bit that makes letters lower case, or get another meaning: no letter. */
	first |= LOWER;
	second |= LOWER;
	if (first == (WORD('h', 't', 't', 'p', '_', 'p', 'r', 'o') | LOWER))
		return (second & FIRST(3)) == WORD('x', 'y', '=', 0, 0, 0, 0, 0) ? 1 << TRAIT_PROXY : 0;
	if (first == (WORD('h', 't', 't', 'p', 's', '_', 'p', 'r') | LOWER))
		return (second & FIRST(4)) == WORD('o', 'x', 'y', '=', 0, 0, 0, 0) ?
			       1 << TRAIT_PROXY : 0;
	if (first == (WORD('a', 'l', 'l', '_', 'p', 'r', 'o', 'x') | LOWER))
		return (second & FIRST(2)) == WORD('y', '=', 0, 0, 0, 0, 0, 0) ? 1 << TRAIT_PROXY : 0;
	return 0;
}

/* Look at each variable of a record's program; the record's text is used as room. */
__noinline int scan_environment(__u32 slot, __u64 at, __u64 end)
{
	struct record *record = bpf_map_lookup_elem(&scratch, &slot);
	int fresh = 1;

	if (!record)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < VARIABLES_MAX; i++) {
		__u64 *words = (void *)record->text;
		long size;

		if (at >= end)
			break;
		size = bpf_probe_read_user_str(record->text, VARIABLE_MAX, (void *)at);
		if (size <= 0)
			break;
		if (fresh)
			record->header.traits |= trait_of(words[0], words[1]);
		/* Cut: what follows is the rest of the same variable. */
		fresh = size < VARIABLE_MAX;
		at += fresh ? size : size - 1;
	}
	return 0;
}

#endif
