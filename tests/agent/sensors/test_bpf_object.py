import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.sensors import bpf_programs
from agent.sensors.bpf import OBJECT_FILE
from agent.sensors.libbpf import BpfObject
from agent.sensors.unavailable import SensorUnavailable

COMPILES = (
    all(map(shutil.which, ("clang-14", "llvm-strip-14")))
    and Path("/usr/include/bpf/bpf_helpers.h").exists()
)
NEEDS = "needs clang-14, llvm-14 and libbpf-dev"


@pytest.mark.skipif(not COMPILES, reason=NEEDS)
def test_the_committed_object_is_what_the_source_compiles_to(tmp_path):
    elsewhere = tmp_path / "another folder"
    shutil.copytree(OBJECT_FILE.parent, elsewhere, ignore=shutil.ignore_patterns("*.o"))
    subprocess.run(["sh", "build.sh"], check=True, cwd=elsewhere)
    assert (elsewhere / OBJECT_FILE.name).read_bytes() == OBJECT_FILE.read_bytes()


BAD = """
#include "core_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
SEC("tp_btf/sched_process_fork")
int BPF_PROG(good, struct task_struct *parent, struct task_struct *child) { return 0; }
SEC("tp_btf/sched_process_fork")
int BPF_PROG(bad, struct task_struct *parent, struct task_struct *child)
{
	char text[8];
	volatile __u64 at = bpf_get_current_pid_tgid();

	text[at] = 1;
	return text[0];
}
SEC("fentry/no_such_function_anywhere")
int BPF_PROG(missing, struct task_struct *task) { return 0; }
"""


@pytest.fixture
def object_with_bad_programs(tmp_path):
    source = tmp_path / "bad.bpf.c"
    source.write_text(BAD)
    image = tmp_path / "bad.bpf.o"
    subprocess.run(
        [
            "clang-14",
            "-O2",
            "-g",
            "-target",
            "bpf",
            f"-I{OBJECT_FILE.parent}",
            "-c",
            str(source),
            "-o",
            str(image),
        ],
        check=True,
    )
    return image.read_bytes()


@pytest.mark.kernel
@pytest.mark.skipif(not COMPILES, reason=NEEDS)
def test_a_program_that_the_kernel_refuses_is_left_out_and_the_others_work(
    object_with_bad_programs,
):
    loaded = BpfObject(object_with_bad_programs, optional={"bad", "missing"})
    loaded.close()
    assert set(loaded.refused) == {"bad", "missing"}
    assert loaded.refused["missing"] == "this kernel has no no_such_function_anywhere"
    assert "unbounded" in loaded.refused["bad"]  # the verifier's own word


@pytest.mark.kernel
@pytest.mark.skipif(not COMPILES, reason=NEEDS)
def test_a_refusal_says_what_the_verifier_said(object_with_bad_programs):
    with pytest.raises(SensorUnavailable, match=r"its verifier says: .*unbounded") as refused:
        BpfObject(object_with_bad_programs, optional={"missing"})
    assert any("bad" in line for line in refused.value.said)


@pytest.mark.kernel
def test_an_object_that_is_none_is_refused_with_a_reason():
    with pytest.raises(SensorUnavailable, match="does not know the format"):
        BpfObject(b"no ELF")


@pytest.mark.kernel
@pytest.mark.skipif(not COMPILES, reason=NEEDS)
def test_a_program_stands_in_where_another_is_refused(object_with_bad_programs):
    optional, stand_ins = {"bad", "missing", "good"}, {"good": "missing"}
    with_it = BpfObject(object_with_bad_programs, optional=optional, stand_ins=stand_ins)
    with_it.close()
    without = BpfObject(object_with_bad_programs, optional=optional, stand_ins={"good": "on_exec"})
    without.close()
    assert (with_it.loaded, without.loaded) == ({"good"}, set())


def test_every_program_that_may_be_missing_is_in_the_object_and_has_its_sentence():
    sources = "".join(path.read_text() for path in OBJECT_FILE.parent.glob("*.h"))
    programs = set(re.findall(r"^int (?:BPF_PROG\()?(on_\w+)", sources, re.MULTILINE))
    needed = {"on_exec", "on_fork", "on_exit", "on_tcp_state"}
    assert programs - needed == set(bpf_programs.NOT_SEEN)
    assert programs >= set(bpf_programs.STAND_INS) | set(bpf_programs.STAND_INS.values())


def test_what_is_not_seen_is_said_once_and_only_where_nothing_stands_in():
    refused = {"on_setxattr": "no", "on_removexattr": "no", "on_udp": "no", "on_udp6": "no"}
    (sentence,) = bpf_programs.sentences(refused)
    assert sentence == (
        "Not seen here: who gives capabilities to files outside the watched folders (no)."
    )
    assert "Not seen here: outgoing UDP (no)." in bpf_programs.sentences(
        {**refused, "on_packet": "no"}
    )
