"""Rules of the audit system that tell executions, and what keeps them from doing so.

References: audit_rule_data of include/uapi/linux/audit.h, auditctl(8)
"""

import platform
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from agent.sensors.audit_netlink import TASK_NEVER, Status

LOCKED: Final = 2
"""audit_status.enabled: no rule can be changed until the next boot."""
KEY: Final = b"nightherd"

_HEAD = Struct("=3I64I64I64I64II")
_EXIT, _EXCLUDE, _ALWAYS = 4, 5, 2
_ARCHITECTURE, _MESSAGE_TYPE, _SUCCESS, _KEY_FIELD = 11, 12, 104, 210
_EQUAL: Final = 0x40000000
_WORD_BITS: Final = 32
_CALLS: Final = {
    # (audit's number of the architecture, execve, execveat), the native one first
    "x86_64": ((0xC000003E, 59, 322), (0x40000003, 11, 358)),
    "aarch64": ((0xC00000B7, 221, 281), (0x40000028, 11, 387)),
}
_PROCTITLE, _BPRM_FCAPS = 1327, 1321


def _rule(filter_list: int, calls: Iterable[int], fields: Sequence[tuple[int, int]]) -> bytes:
    mask = [0] * 64
    for call in calls:
        mask[call // _WORD_BITS] |= 1 << call % _WORD_BITS
    text = KEY if filter_list == _EXIT else b""
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
    return tuple(
        _rule(_EXIT, calls, ((_ARCHITECTURE, architecture), (_SUCCESS, 1)))
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


def hindrance(status: Status, rules: Sequence[bytes]) -> str:
    """Return why executions cannot be told here, as a sentence without a full stop; "" if they can.

    Args:
        status: of the audit system, as somebody else keeps it.
        rules: all there are.
    """
    if any(rule[: _HEAD.size - 4] == TASK_NEVER[: _HEAD.size - 4] for rule in rules):
        return "a rule of this host (task,never) keeps every process from being audited"
    if status.enabled == LOCKED and not any(map(tells_execs, rules)):
        return (
            "the audit rules are locked until the next boot (auditctl -e 2), and none of them "
            "tells executions"
        )
    if not status.enabled:
        return "audit is switched off by the audit daemon that runs here"
    return ""
