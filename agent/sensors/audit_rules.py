"""Rules of the audit system that tell executions, and what keeps them from doing so.

References: audit_rule_data of include/uapi/linux/audit.h, auditctl(8)
"""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from agent.sensors import proc_files
from agent.sensors.audit_netlink import Status

LOCKED: Final = 2
"""audit_status.enabled: no rule can be changed until the next boot."""
KEY: Final = b"nightherd"
"""Begins the key of a rule of ours; pid and start time of the agent follow, so that one which was
killed is known. `ausearch -k nightherd` finds it all the same."""
_KEYED: Final = re.compile(KEY + rb":(\d{1,10}):(\d{1,20})\0*$")

_HEAD = Struct("=3I64I64I64I64II")
_TASK, _EXIT, _EXCLUDE = 1, 4, 5
_NEVER, _ALWAYS = 0, 2
_MASK_WORDS: Final = 64
_ARCHITECTURE, _MESSAGE_TYPE, _SUCCESS, _KEY_FIELD = 11, 12, 104, 210
_EQUAL: Final = 0x40000000
_WORD_BITS: Final = 32
_CALLS: Final = {
    # (audit's number of the architecture, execve, execveat), the native one first
    "x86_64": ((0xC000003E, 59, 322), (0x40000003, 11, 358)),
    "aarch64": ((0xC00000B7, 221, 281), (0x40000028, 11, 387)),
}
_PROCTITLE, _BPRM_FCAPS = 1327, 1321


def _rule(
    filter_list: int, calls: Iterable[int], fields: Sequence[tuple[int, int]], text: bytes = b""
) -> bytes:
    mask = [0] * 64
    for call in calls:
        mask[call // _WORD_BITS] |= 1 << call % _WORD_BITS
    if text:
        fields = (*fields, (_KEY_FIELD, len(text)))
    padding = (0,) * (64 - len(fields))
    numbers, values = zip(*fields, strict=True)
    comparisons = (_EQUAL,) * len(fields)
    return (
        _HEAD.pack(
            *(filter_list, _ALWAYS, len(fields), *mask),
            *(*numbers, *padding, *values, *padding, *comparisons, *padding),
            len(text),
        )
        + text
    )


def exec_rules(machine: str = "") -> tuple[bytes, ...]:
    """Return the rules that tell every execution, with our key; none on an unknown machine."""
    pid, stat = os.getpid(), proc_files.stat(os.getpid())
    key = b"%s:%d:%d" % (KEY, pid, stat.start_ns if stat is not None else 0)
    return tuple(
        _rule(_EXIT, calls, ((_ARCHITECTURE, architecture), (_SUCCESS, 1)), key)
        for architecture, *calls in _CALLS.get(machine or platform.machine(), ())
    )


EXCLUSIONS: Final = tuple(
    _rule(_EXCLUDE, (), ((_MESSAGE_TYPE, kind),)) for kind in (_PROCTITLE, _BPRM_FCAPS)
)
"""Two records of each execution say nothing that the others do not: a quarter of the cost."""


def tells_execs(rule: bytes, machine: str = "") -> bool:
    """Whether a rule of anybody's tells executions of the native architecture."""
    if len(rule) < _HEAD.size:
        return False
    filter_list, action, _, *mask = Struct("=3I64I").unpack_from(rule)
    execve = _CALLS.get(machine or platform.machine(), ((0, 0, 0),))[0][1]
    asked = mask[execve // _WORD_BITS] >> execve % _WORD_BITS & 1
    return filter_list == _EXIT and action == _ALWAYS and bool(asked)


def stale(rules: Iterable[bytes]) -> list[bytes]:
    """Return rules of agents that do not live any more."""
    return [rule for rule in rules if (found := _KEYED.search(rule)) and not _lives(found)]


def _lives(owner: "re.Match[bytes]") -> bool:
    stat = proc_files.stat(int(owner[1]))
    return stat is not None and stat.start_ns == int(owner[2])


def _keeps_from_auditing(rule: bytes) -> bool:
    """Whether a rule is task,never without a condition. The kernel changes its mask of calls."""
    if len(rule) < _HEAD.size:
        return False
    filter_list, action, count, *words = _HEAD.unpack_from(rule)
    conditions = set(words[_MASK_WORDS : _MASK_WORDS + min(count, _MASK_WORDS)]) - {_KEY_FIELD}
    return (filter_list, action) == (_TASK, _NEVER) and not conditions


def hindrance(status: Status, rules: Sequence[bytes]) -> str:
    """Return why executions cannot be told here, as a sentence without a full stop; "" if they can.

    Args:
        status: of the audit system, as somebody else keeps it.
        rules: all there are.
    """
    if any(map(_keeps_from_auditing, rules)):
        return "a rule of this host (task,never) keeps every process from being audited"
    if status.enabled == LOCKED and not any(map(tells_execs, rules)):
        return (
            "the audit rules are locked until the next boot (auditctl -e 2), and none of them "
            "tells executions"
        )
    if not status.enabled:
        return "audit is switched off by the audit daemon that runs here"
    return ""
