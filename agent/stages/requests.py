"""Who had a manager start what runs: at, cron, systemd, D-Bus, container runtimes.

The kernel sees PID 1, cron or a runtime start a program, and not for whom. Who asked is concluded
from the programs that ran before it and from who wrote what runs now; both by the kernel's time.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.stages import bus_names, origins
from agent.stages.requested_units import Requested, requested
from nightherd.event.v1 import event_pb2 as events

_Born = events.BornFrom
MOST_REQUESTS: Final = 256
MOST_FILES: Final = 512
MOST_READ: Final = 64
"""Files that are looked into for a line of a crontab."""
MOST_FILE_BYTES: Final = 64 << 10
SOON_NS: Final = 120_000_000_000
"""How long after a request what it asked for may start: units wait for others."""
_AT: Final = (b"/var/spool/cron/atjobs/", b"/var/spool/at/", b"/var/spool/atjobs/")
_CRON: Final = (b"/var/spool/cron/", b"/etc/cron", b"/etc/anacrontab")
_UNITS: Final = (
    b"/etc/systemd/",
    b"/run/systemd/system/",
    b"/lib/systemd/",
    b"/usr/lib/systemd/",
    b"/usr/local/lib/systemd/",
)
_USER_UNITS: Final = (b"/.config/systemd/user/", b"/.local/share/systemd/user/")


class Origin(NamedTuple):
    """Who had something started."""

    born: events.BornFrom
    put_there: bool
    """Whether a person's session put there what runs: it is that person's work."""


@dataclass(slots=True)
class _Request:
    asked: Requested
    image: events.Image
    boot_ns: int
    used: bool = False

    def origin(self) -> Origin:
        born = origins.of_image(self.image, self.asked.way)
        return Origin(born, self.asked.written and born.provenance in origins.PEOPLE)


class Requests:
    """What was requested of managers lately, and who wrote the files that they act by."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self._requests: OrderedDict[int, _Request] = OrderedDict()
        self._number = 0
        self.cron_folders = _CRON
        self._files: OrderedDict[bytes, events.Image] = OrderedDict()
        self._jobs: dict[int, events.Image] = {}
        """Pid of an at daemon's child -> who wrote the job that it runs."""

    @property
    def size(self) -> int:
        """How much is remembered."""
        return len(self._requests) + len(self._files) + len(self._jobs)

    # -- what is heard ---------------------------------------------------------------------------

    def heard(self, image: events.Image, boot_ns: int) -> None:
        """Note what a program that was executed asks for."""
        for asked in requested(image.executable, image.arguments):
            self._number += 1
            self._requests[self._number] = _Request(asked, image, boot_ns)
            if len(self._requests) > MOST_REQUESTS:
                self._requests.popitem(last=False)

    def wrote(self, path: bytes, image: events.Image) -> None:
        """Note who changed a file that a manager acts by."""
        acted_by = _is_acted_by(path) or path.startswith(self.cron_folders)
        if not acted_by or image.maintenance:
            return
        if path.startswith(_AT) and _is_daemon(image):
            return
        self._files[path] = image
        self._files.move_to_end(path)
        if len(self._files) > MOST_FILES:
            self._files.popitem(last=False)

    def claims(self, pid: int, path: bytes) -> None:
        """Note that a process of the at daemon took a job: it renames what it runs to =NAME."""
        if not path.startswith(_AT):
            return
        folder, slash, name = path.rpartition(b"/")
        writer = self._files.get(folder + slash + b"a" + name[1:]) if name[:1] == b"=" else None
        if writer is not None:
            if len(self._jobs) >= MOST_REQUESTS:
                self._jobs.clear()
            self._jobs[pid] = writer

    # -- what is concluded -----------------------------------------------------------------------

    def of_unit(
        self, unit: str, arguments: tuple[bytes, ...], boot_ns: int, *, user: bool
    ) -> Origin | None:
        """Return who had a unit started whose first program has `arguments`."""
        found: _Request | None = None
        for each in reversed(self._requests.values()):
            asked = each.asked
            if asked.user != user or not _in_time(each, boot_ns):
                continue
            if asked.name:
                if asked.name != unit:
                    continue
            elif not (_is_made_up(unit) and _runs(asked.command, arguments)):
                continue
            found = each
            break
        if found is not None:
            found.used = not found.asked.lasting
            born, put_there = found.origin()
            if born.way == _Born.WAY_TIMER and not put_there:
                written = self._of_unit_file(unit, user=user)
                put_there = written is not None and written.born.provenance in origins.PEOPLE
            return Origin(born, put_there)
        return self._of_unit_file(unit, user=user) or self._of_bus(unit, arguments, boot_ns)

    def _of_unit_file(self, unit: str, *, user: bool) -> Origin | None:
        name = os.fsencode(unit)
        timer = name.removesuffix(b".service") + b".timer"
        for path, image in reversed(self._files.items()):
            base = path.rpartition(b"/")[2]
            if base not in (name, timer) or _is_users(path) != user:
                continue
            way = _Born.WAY_TIMER if base == timer else _Born.WAY_UNIT
            if user and base != timer:
                way = _Born.WAY_USER_UNIT
            born = origins.of_image(image, way)
            return Origin(born, way == _Born.WAY_TIMER and born.provenance in origins.PEOPLE)
        return None

    def _of_bus(self, unit: str, arguments: tuple[bytes, ...], boot_ns: int) -> Origin | None:
        for each in reversed(self._requests.values()):
            if (
                each.asked.way == _Born.WAY_D_BUS
                and _in_time(each, boot_ns)
                and bus_names.starts(each.asked.name, unit, arguments[0] if arguments else b"")
            ):
                return each.origin()
        return None

    def of_bus(self, arguments: tuple[bytes, ...], boot_ns: int) -> Origin | None:
        """Return who had the bus start a program."""
        return self._of_bus("", arguments, boot_ns)

    def of_container(self, boot_ns: int) -> Origin | None:
        """Return who had a runtime start a program in a container."""
        for each in reversed(self._requests.values()):
            if each.asked.way == _Born.WAY_CONTAINER and _in_time(each, boot_ns):
                return each.origin()
        return None

    def of_job(self, pids: tuple[int, ...], user_id: int) -> Origin | None:
        """Return who left a job to the at daemon.

        Args:
            pids: the daemon's child that took the job, as far as it is known.
            user_id: whose job it is: where the job is not known, that person's latest.
        """
        image = next((self._jobs[pid] for pid in pids if pid in self._jobs), None)
        if image is None:
            for path, writer in reversed(self._files.items()):
                if path.startswith(_AT) and user_id in (writer.user_id, writer.effective_user_id):
                    image = writer
                    break
        return _put_there(image, _Born.WAY_AT)

    def of_line(self, command: bytes) -> Origin | None:
        """Return who wrote the crontab that has a command."""
        left = MOST_READ
        for path, image in reversed(self._files.items()):
            if not path.startswith(self.cron_folders) or path.startswith(_AT) or not command:
                continue
            if command in _content(path):
                return _put_there(image, _Born.WAY_CRON)
            left -= 1
            if not left:
                break
        return None

    def of_scheduled_file(self, path: bytes) -> Origin | None:
        """Return who wrote a script that cron runs (run-parts)."""
        if not path.startswith(self.cron_folders):
            return None
        return _put_there(self._files.get(path), _Born.WAY_CRON)


def _put_there(image: events.Image | None, way: "_Born.Way.ValueType") -> Origin | None:
    if image is None:
        return None
    born = origins.of_image(image, way)
    return Origin(born, born.provenance in origins.PEOPLE)


def _in_time(request: _Request, boot_ns: int) -> bool:
    if request.boot_ns > boot_ns or request.used:
        return False
    return request.asked.lasting or boot_ns - request.boot_ns <= SOON_NS


def _is_made_up(unit: str) -> bool:
    return unit.startswith("run-")


def _runs(command: tuple[bytes, ...], arguments: tuple[bytes, ...]) -> bool:
    """Whether what runs is what was asked for: systemd looks up where the program lies."""
    if not command:
        return True  # a shell
    return command[1:] == arguments[1:] and command[0].rpartition(b"/")[2] == (
        arguments[0].rpartition(b"/")[2] if arguments else b""
    )


def _is_acted_by(path: bytes) -> bool:
    return path.startswith((*_AT, *_UNITS)) or _is_users(path)


def _is_users(path: bytes) -> bool:
    return any(part in path for part in _USER_UNITS) or path.startswith(b"/etc/systemd/user/")


def _is_daemon(image: events.Image) -> bool:
    return image.executable.rpartition(b"/")[2] == b"atd"


def _content(path: bytes) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.read(fd, MOST_FILE_BYTES)
    except OSError:
        return b""
    finally:
        os.close(fd)
