"""`nightherd doctor`: whether this machine has what Nightherd needs, and what to do where not."""

import asyncio
import ctypes.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from cli import mongod
from cli.errors import UpError
from cli.homes import Home
from cli.ports import known_port, port_is_free
from cli.readiness import gateway_answers, until_mongo_answers

LEAST_FREE_BYTES = 2 << 30


def checks(home: Home, port: int | None) -> Iterator[tuple[str, bool, str]]:
    """Yield (what, good, detail); without `port` that of the last start counts."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield "Python 3.11 or newer", sys.version_info >= (3, 11), version
    yield "MongoDB", *_mongo()
    root = os.geteuid() == 0
    yield "root (else the agent polls)", root, "" if root else "start with sudo to see everything"
    btf = Path("/sys/kernel/btf/vmlinux").exists()
    yield "kernel type information (BTF)", btf, "" if btf else "the agent falls back to polling"
    libbpf = bool(ctypes.util.find_library("bpf"))
    yield "libbpf", libbpf, "" if libbpf else "apt-get install libbpf1"
    if root and btf and libbpf:
        yield "eBPF programs load", *_programs()
    port = port or known_port(home)
    yield f"port {port} of the API", *_port(home, port)
    at = home.path if home.path.exists() else Path(home.path.anchor)
    space = shutil.disk_usage(at).free
    yield "2 GiB of free disk", space >= LEAST_FREE_BYTES, f"{space >> 20} MiB at {at}"


def _mongo() -> tuple[bool, str]:
    """Whether there is a MongoDB, one that answers where a URL names it."""
    found = mongod.find()
    if found.binary:
        return True, found.binary
    if not found.url:
        return False, "; ".join(found.said) or mongod.WAYS_OUT
    try:
        asyncio.run(until_mongo_answers(found.url))
    except UpError as error:
        return False, str(error)
    return True, "the one of NIGHTHERD_MONGO_URL answers"


def _programs() -> tuple[bool, str]:
    """Whether this kernel takes the eBPF programs; its own words where it does not."""
    from agent.sensors.bpf import BpfSensor
    from agent.sensors.unavailable import SensorUnavailable

    try:
        BpfSensor().close()
    except SensorUnavailable as refused:
        return False, "\n           ".join((str(refused), *refused.said))
    return True, ""


def _port(home: Home, port: int) -> tuple[bool, str]:
    """Whether the port is ours to listen on, or Nightherd's already."""
    if port_is_free(port):
        return True, "free"
    if gateway_answers(home, port):
        return True, "Nightherd itself listens there: it runs"
    return False, f"taken by something that is not Nightherd of {home.path}: choose with --port"


def report(home: Home, port: int | None) -> int:
    """Print the checks; return 0 when nothing that is needed is missing."""
    needed_missing = False
    for what, good, detail in checks(home, port):
        print(f"{'ok     ' if good else 'MISSING'}  {what}" + (f": {detail}" if detail else ""))
        if not good and (what.startswith(("Python", "MongoDB"))):
            needed_missing = True
    return 1 if needed_missing else 0
