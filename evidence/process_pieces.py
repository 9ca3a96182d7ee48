"""Pieces of sentences about processes: other rights, other processes, namespaces, failures."""

from collections.abc import Callable, Iterable
from typing import Any

from chassis.text import show
from evidence import phrases
from nightherd.event.v1 import event_pb2 as events

Pieces = dict[str, str]
_KINDS = {
    events.NamespaceChange.KIND_CGROUP: "control group",
    events.NamespaceChange.KIND_IPC: "IPC",
    events.NamespaceChange.KIND_MOUNT: "mount",
    events.NamespaceChange.KIND_NETWORK: "network",
    events.NamespaceChange.KIND_PID: "process id",
    events.NamespaceChange.KIND_TIME: "clock",
    events.NamespaceChange.KIND_USER: "user",
    events.NamespaceChange.KIND_UTS: "host name",
}


def _privilege_gain(said: events.PrivilegeGain) -> Pieces:
    gain = events.PrivilegeGain
    before = phrases.account(said.previous_effective_user_id)
    return {
        "gain": f"became {phrases.account(said.effective_user_id)} from {before}"
        + {
            gain.WAY_SET_USER_ID_PROGRAM: " through a setuid program",
            gain.WAY_SYSTEM_CALL: " by a system call",
            gain.WAY_UNEXPLAINED: " without a program or a call that explains it",
        }.get(said.way, "")
    }


def _process_access(said: events.ProcessAccess) -> Pieces:
    access = events.ProcessAccess
    name = show(said.target_executable.rpartition(b"/")[2])
    target = f"process {said.target_pid}" + (f" ({name})" if name else "")
    if said.HasField("target_user_id"):
        target += f" of {phrases.account(said.target_user_id)}"
    return {
        "access": {
            access.OPERATION_ATTACHED: f"attached to {target}",
            access.OPERATION_MEMORY_WRITTEN: f"wrote into the memory of {target}",
            access.OPERATION_SIGNALLED: f"sent signal {said.signal} to {target}",
        }.get(said.operation, f"reached into {target}")
    }


def _namespace_change(said: events.NamespaceChange) -> Pieces:
    change = events.NamespaceChange
    verb = {
        change.OPERATION_UNSHARED: "went into new namespaces",
        change.OPERATION_ENTERED: "entered existing namespaces",
    }.get(said.operation, "changed its namespaces")
    return {"namespaces": verb + _listed(_KINDS.get(kind, "other") for kind in said.kinds)}


def _listed(names: Iterable[str]) -> str:
    found = ", ".join(dict.fromkeys(names))
    return f" ({found})" if found else ""


def _exec_failure(said: events.ExecFailure) -> Pieces:
    line = phrases.command(b" ".join(said.arguments) or said.requested_path)
    return {"failed": line, "error": show(said.error) or "unknown error"}


OF_KIND: dict[str, Callable[[Any], Pieces]] = {
    "privilege_gain": _privilege_gain,
    "process_access": _process_access,
    "namespace_change": _namespace_change,
    "exec_failure": _exec_failure,
}
