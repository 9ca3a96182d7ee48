"""Spools looked into, copied as a kill leaves them, and on small disks, for tests."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.spool import Spool
from nightherd.event.v1 import delivery_pb2 as pb

SMALL = 4096
"""Bytes of segments of which a few batches fill several."""


def batches_of(spool: Spool) -> dict[int, pb.SealedBatch]:
    """Number -> batch, of those that can be read."""
    return {
        number: batch
        for number in range(1, spool.link.number + 1)
        if (batch := spool.read(number)) is not None
    }


def copy_of(folder: Path, place: Path) -> Path:
    """Copy a folder as it is now to `place`, instead of what is there."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


@contextmanager
def a_disk(folder: Path, options: str):
    """Give a folder on a disk of its own, mounted at `folder` with tmpfs's options."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder / "spool"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
