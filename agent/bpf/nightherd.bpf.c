/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What processes do, as one stream of records in a ring buffer.
 *
 * Programs on tracepoints with BTF, and on the way into and out of functions of the kernel that have
 * kept their arguments from Linux 5.10 on, mostly its security checkpoints. All but the programs on
 * tracepoints of processes and TCP may be missing: a kernel that has no such point, or takes no such
 * program, loads the others. None is on the entry of system calls, none on the opening of files.
 *
 * Each record begins with `struct header`; agent/sensors/bpf.py and bpf_facts.py decode them and must
 * be changed with it. Waking the reader costs more than the data (7.4 % of a core against 0.8 % at
 * 3000 exec/s), so nobody is woken: the agent looks every 50 ms. What does not fit is counted, per
 * CPU.
 */
#include "core_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "records.h"

#include "texts.h"

#include "environment.h"

#include "processes.h"

#include "files.h"

#include "rights.h"

#include "namespaces.h"

#include "sockets.h"

#include "datagrams.h"

char LICENSE[] SEC("license") = "GPL";
