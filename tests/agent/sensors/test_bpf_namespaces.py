"""Namespaces, mounts and the kernel's own code, as its checkpoints see them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nightherd.event.v1 import event_pb2 as events

pytestmark = pytest.mark.kernel
Namespace, Mount, Kernel = events.NamespaceChange, events.MountChange, events.KernelChange
PRIVATE = """
assert libc.unshare(0x20000) == 0
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
place = os.fsencode(sys.argv[1])
"""
"""A mount table of its own, so that nothing stays."""


def mounts(host, pid):
    return [event.mount_change for _, event in host.all("mount_change", pid)]


def test_namespaces_that_a_process_makes_are_told_by_kind(host):
    host.needs("on_unshare")
    told = host.all("namespace_change", host.do("assert libc.unshare(0x20000 | 0x4000000) == 0"))
    ((_, event),) = told
    assert event.namespace_change.operation == Namespace.OPERATION_UNSHARED
    assert list(event.namespace_change.kinds) == [Namespace.KIND_MOUNT, Namespace.KIND_UTS]


def test_a_user_namespace_of_its_own_is_told_and_gives_no_rights(host):
    host.needs("on_unshare")
    code = "os.setresuid(65534, 65534, 65534); assert libc.unshare(0x10000000) == 0"
    pid = host.do(code)
    ((_, event),) = host.all("namespace_change", pid)
    assert list(event.namespace_change.kinds) == [Namespace.KIND_USER]
    assert host.of("privilege_gain", pid) == []


def test_namespaces_that_are_entered_are_told_by_kind(host):
    host.needs("on_setns")
    holder = subprocess.Popen(["unshare", "-m", "-u", "/bin/sleep", "600"])
    try:
        host.until(lambda: len(host.of("exec", holder.pid)) == 2)
        code = """
for kind in ("mnt", "uts"):
    fd = os.open(f"/proc/{sys.argv[1]}/ns/{kind}", os.O_RDONLY)
    assert libc.setns(fd, 0) == 0
"""
        told = host.all("namespace_change", host.do(code, holder.pid))
    finally:
        holder.kill()
        holder.wait()
    changes = [event.namespace_change for _, event in told]
    assert {each.operation for each in changes} == {Namespace.OPERATION_ENTERED}
    kinds = [kind for each in changes for kind in each.kinds]
    assert sorted(kinds) == [Namespace.KIND_MOUNT, Namespace.KIND_UTS]


def test_a_user_namespace_that_is_entered_is_told(host):
    host.needs("on_setns_user")
    holder = subprocess.Popen(["unshare", "-U", "/bin/sleep", "600"])
    try:
        host.until(lambda: len(host.of("exec", holder.pid)) == 2)
        code = """
fd = os.open(f"/proc/{sys.argv[1]}/ns/user", os.O_RDONLY)
assert libc.setns(fd, 0x10000000) == 0
"""
        ((_, event),) = host.all("namespace_change", host.do(code, holder.pid))
    finally:
        holder.kill()
        holder.wait()
    assert list(event.namespace_change.kinds) == [Namespace.KIND_USER]


def test_mounts_binds_remounts_and_unmounts_are_told_and_what_fails_is_not(host, folder):
    host.needs("on_mount", "on_unmount", "on_unmounted")
    code = (
        PRIVATE
        + """
assert libc.mount(b"nhs", place, b"tmpfs", 0, None) == 0
assert libc.mount(b"nhs", place, None, 0x1021, None) == 0
busy = os.open(place, os.O_RDONLY)
assert libc.umount2(place, 0) != 0
os.close(busy)
assert libc.mount(b"/etc", place, None, 0x1000, None) == 0
assert libc.umount2(place, 2) == 0
assert libc.umount2(place, 0) == 0
assert libc.mount(b"x", b"/nowhere", b"tmpfs", 0, None) != 0
"""
    )
    told = mounts(host, host.do(code, folder))
    assert [each.operation for each in told] == [
        Mount.OPERATION_MOUNTED,
        Mount.OPERATION_REMOUNTED,
        Mount.OPERATION_BOUND,
        Mount.OPERATION_UNMOUNTED,
        Mount.OPERATION_UNMOUNTED,
    ]
    assert {each.target for each in told} == {os.fsencode(folder)}
    assert (told[0].source, told[0].file_system) == (b"nhs", "tmpfs")
    assert (told[2].source, told[2].mount_flags) == (b"/etc", 0x1000)
    assert told[4].file_system == "tmpfs"


def test_a_mount_that_is_moved_or_attached_is_told(host, folder):
    host.needs("on_move_mount")
    code = (
        PRIVATE
        + """
open_tree, move_mount = 428, 429
fd = libc.syscall(open_tree, -100, b"/etc", 1)
assert fd >= 0
assert libc.syscall(move_mount, fd, b"", -100, place, 4) == 0
"""
    )
    (change,) = mounts(host, host.do(code, folder))
    assert change.operation == Mount.OPERATION_MOVED
    assert change.target == os.fsencode(folder)


def test_a_bpf_program_is_told_with_who_loaded_it_once(host):
    host.needs("on_program")
    code = "from agent.sensors.bpf import BpfSensor; BpfSensor().close()"
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ})
    assert child.wait(120) == 0
    told = [event.kernel_change for _, event in host.all("kernel_change", child.pid)]
    assert {each.action for each in told} == {Kernel.ACTION_BPF_LOADED}
    ids = [each.program_id for each in told]
    assert len(ids) >= 5
    assert len(set(ids)) == len(ids)


def test_kernel_modules_are_told_with_who_loads_and_unloads_them(host):
    host.needs("on_module_load", "on_module_free")
    name = "dummy"
    if subprocess.run(["modprobe", "-n", name], check=False, capture_output=True).returncode:
        pytest.skip(f"there is no module {name}")
    subprocess.run(["modprobe", "-r", name], check=False, capture_output=True)
    loads, unloads = host.run("modprobe", name), host.run("modprobe", "-r", name)
    for pid, action in (
        (loads, Kernel.ACTION_MODULE_LOADED),
        (unloads, Kernel.ACTION_MODULE_UNLOADED),
    ):
        image, event = host.first("kernel_change", pid)
        assert (event.kernel_change.action, event.kernel_change.name) == (action, name)
        assert image.executable.endswith(b"/kmod")
    assert not Path(f"/sys/module/{name}").exists()
