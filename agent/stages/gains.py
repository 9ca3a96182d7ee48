"""Who became root, or another user, without a program that is there for it.

Three ways: a setuid program; a call of the setuid family that only a capability allows; and
neither: the ids of a process at its next fork, execution or end are others than it had. The
programs that are there for it are data: gains.yaml.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import yaml

from agent.processes import Process
from agent.sensors.records import UNSET_ID, ProcessRecord
from nightherd.event.v1 import event_pb2 as events

FILE: Final = Path(__file__).with_name("gains.yaml")
_Gain = events.PrivilegeGain
_SET_USER_ID: Final = 1 << events.TRAIT_SET_USER_ID


class Gains:
    """Follows the user ids of processes."""

    def __init__(self, file: Path = FILE) -> None:
        """Know the programs that are there for it."""
        self._exact: set[bytes] = set()
        self._patterns: list[str] = []
        for folder, names in yaml.safe_load(file.read_text(encoding="utf-8"))["programs"].items():
            for name in names.split():
                path = f"{folder}/{name}"
                if "*" in folder:
                    self._patterns.append(path)
                else:
                    self._exact.add(path.encode())
        self.calls_seen = False
        """Whether calls of the setuid family are told: what none explains is unexplained."""

    def is_there_for_it(self, program: bytes) -> bool:
        """Whether a program is there to give other rights."""
        if program in self._exact:
            return True
        text = program.decode("utf-8", "surrogateescape")
        return any(fnmatchcase(text, each) for each in self._patterns)

    def seen(self, process: Process, record: ProcessRecord) -> _Gain | None:
        """Look at a process that forked or ended: nothing since should have given it rights.

        A child has the ids that its parent had at that moment.
        """
        before, now = process.users, _users(record)
        process.users = now
        if before == now or not before or now[1] or 0 in before:
            return None
        return self._unexplained(process.executable, before[1], now[1])

    def executed(self, process: Process, record: ProcessRecord, program: bytes) -> _Gain | None:
        """Look at a process that executed a program; it ran `program` until then."""
        before, now = process.users, _users(record)
        process.users = now
        # A setuid program changes the effective user and leaves the real one.
        if record.traits & _SET_USER_ID if record.inode else now[0] != now[1]:
            known = before is not None and before[0] == now[0]
            had = before[1] if before is not None and known else now[0]
            if had in (0, now[1]):
                return None
            return self._gain(record.executable, had, now[1], _Gain.WAY_SET_USER_ID_PROGRAM)
        if not before or now[1] or 0 in before:
            return None
        return self._unexplained(program, before[1], now[1])

    def called(self, process: Process, before: int, now: int) -> _Gain | None:
        """Look at a process that called one of the setuid family."""
        process.users = (now, now, now)
        return self._gain(process.executable, before, now, _Gain.WAY_SYSTEM_CALL)

    def _unexplained(self, program: bytes, before: int, now: int) -> _Gain | None:
        way = _Gain.WAY_UNEXPLAINED if self.calls_seen else _Gain.WAY_UNSPECIFIED
        return self._gain(program, before, now, way)

    def _gain(
        self, program: bytes, before: int, now: int, way: "_Gain.Way.ValueType"
    ) -> _Gain | None:
        if self.is_there_for_it(program):
            return None
        return _Gain(previous_effective_user_id=before, effective_user_id=now, way=way)


def _users(record: ProcessRecord) -> tuple[int, int, int]:
    """Real, effective and saved user; what is not known counts as the effective one."""
    saved = record.saved_user_id
    effective = record.effective_user_id
    return record.user_id, effective, effective if saved == UNSET_ID else saved
