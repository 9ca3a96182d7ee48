import shutil
import subprocess
from pathlib import Path

import pytest

from agent.sensors.bpf import OBJECT_FILE
from agent.sensors.libbpf import BpfObject
from agent.sensors.unavailable import SensorUnavailable

NEEDED = ("clang-14", "llvm-strip-14")


@pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)) or not Path("/usr/include/bpf/bpf_helpers.h").exists(),
    reason="needs clang-14, llvm-14 and libbpf-dev",
)
def test_the_committed_object_is_what_the_source_compiles_to(tmp_path):
    elsewhere = tmp_path / "another folder"
    shutil.copytree(OBJECT_FILE.parent, elsewhere, ignore=shutil.ignore_patterns("*.o"))
    subprocess.run(["sh", "build.sh"], check=True, cwd=elsewhere)
    assert (elsewhere / OBJECT_FILE.name).read_bytes() == OBJECT_FILE.read_bytes()


@pytest.mark.kernel
def test_an_object_that_is_none_is_refused_with_a_reason():
    with pytest.raises(SensorUnavailable, match="does not know the format"):
        BpfObject(b"no ELF")
