"""What a command line has a manager start: systemd-run, systemctl, at, D-Bus and container tools.

References: systemd-run(1), systemctl(1), busctl(1), dbus-send(1), gdbus(1), at(1)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from nightherd.event.v1 import event_pb2 as events

_Born = events.BornFrom
MOST_UNITS: Final = 16
_FOLDERS: Final = (b"/usr/bin/", b"/bin/", b"/usr/sbin/", b"/sbin/")
_SUFFIXES: Final = (b".service", b".timer", b".socket", b".path", b".target", b".scope")
_STARTS: Final = frozenset(
    b"start restart try-restart reload-or-restart try-reload-or-restart condrestart force-reload "
    b"enable reenable isolate".split()
)
_ENABLES: Final = frozenset((b"enable", b"reenable"))


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_RUN_VALUED: Final = _words(
    "-H --host -M --machine -u --unit -p --property --description --slice --service-type --uid "
    "--gid --nice -E --setenv --working-directory --on-active --on-boot --on-startup "
    "--on-unit-active --on-unit-inactive --on-calendar --timer-property --path-property "
    "--socket-property --background --job-mode"
)
_CTL_VALUED: Final = _words(
    "-H --host -M --machine -t --type --state -p --property --job-mode -s --signal --what "
    "--kill-whom --kill-who -n --lines -o --output --root --image --preset-mode --message "
    "--check-inhibitors --timestamp --when"
)
_BUS_NAMES: Final = {
    b"hostnamectl": "org.freedesktop.hostname1",
    b"timedatectl": "org.freedesktop.timedate1",
    b"localectl": "org.freedesktop.locale1",
    b"networkctl": "org.freedesktop.network1",
    b"resolvectl": "org.freedesktop.resolve1",
    b"machinectl": "org.freedesktop.machine1",
    b"pkcon": "org.freedesktop.PackageKit",
}
"""Tools of one service each, which D-Bus starts when it is needed."""
_CONTAINERS: Final = _words("docker podman nerdctl ctr crictl buildah lxc lxc-start lxc-attach")
_CONTAINER_VERBS: Final = _words("run start exec create restart unpause up task kube play compose")


class Requested(NamedTuple):
    """Something that a command had started."""

    way: "_Born.Way.ValueType"
    name: str = ""
    """Of the unit, or on the bus; "": the manager makes one up, or there is none."""
    user: bool = False
    """Whether it went to the person's own manager."""
    command: tuple[bytes, ...] = ()
    """For transient units: what is run."""
    lasting: bool = False
    """Whether it starts things again and again, as a timer does."""
    written: bool = False
    """Whether who asked also wrote what runs."""


def requested(executable: bytes, arguments: Sequence[bytes]) -> list[Requested]:
    """Return what a command line has started; nothing for most programs."""
    folder, slash, name = executable.rpartition(b"/")
    if folder + slash not in _FOLDERS:
        return []
    if read := _READERS.get(name):
        return read(arguments)
    if name in _BUS_NAMES:
        return [Requested(_Born.WAY_D_BUS, _BUS_NAMES[name])]
    if name in _CONTAINERS and not _CONTAINER_VERBS.isdisjoint(arguments[1:8]):
        return [Requested(_Born.WAY_CONTAINER)]
    return []


def _options(
    arguments: Sequence[bytes], valued: frozenset[bytes], *, stops: bool
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return options with their values, and the rest; `stops`: options end at the first of it."""
    options: dict[bytes, bytes] = {}
    rest: list[bytes] = []
    waiting = list(reversed(arguments[1:]))
    while waiting:
        argument = waiting.pop()
        if argument == b"--":
            rest += reversed(waiting)
            break
        if argument.startswith(b"--"):
            name, sign, value = argument.partition(b"=")
            if name in valued and not sign and waiting:
                value = waiting.pop()
            options[name] = value
        elif argument.startswith(b"-") and len(argument) > 1:
            for place in range(1, len(argument)):
                name = b"-" + argument[place : place + 1]
                options[name] = b""
                if name in valued:
                    options[name] = argument[place + 1 :] or (waiting.pop() if waiting else b"")
                    break
        else:
            rest.append(argument)
            if stops:
                rest += reversed(waiting)
                break
    return options, rest


def _run(arguments: Sequence[bytes]) -> list[Requested]:
    options, command = _options(arguments, _RUN_VALUED, stops=True)
    if b"--scope" in options:
        return []  # it becomes what it runs: the kernel tells who that is
    name = _shown(options.get(b"--unit", b"") or options.get(b"-u", b""))
    if name and not name.endswith((".service", ".timer")):
        name += ".service"
    timer = any(each.startswith(b"--on-") for each in options)
    return [
        Requested(
            _Born.WAY_TIMER if timer else _Born.WAY_TRANSIENT_UNIT,
            name.replace(".timer", ".service"),
            b"--user" in options,
            tuple(command),
            lasting=timer,
            written=True,
        )
    ]


def _control(arguments: Sequence[bytes]) -> list[Requested]:
    options, rest = _options(arguments, _CTL_VALUED, stops=False)
    if not rest or rest[0] not in _STARTS or (rest[0] in _ENABLES and b"--now" not in options):
        return []
    user = b"--user" in options
    return [_unit(unit, user=user) for unit in rest[1 : 1 + MOST_UNITS]]


def _unit(unit: bytes, *, user: bool) -> Requested:
    unit = unit.rpartition(b"/")[2]
    if not unit.endswith(_SUFFIXES):
        unit += b".service"
    way = _Born.WAY_USER_UNIT if user else _Born.WAY_UNIT
    if unit.endswith(b".timer"):
        name = unit.removesuffix(b".timer") + b".service"
        return Requested(_Born.WAY_TIMER, _shown(name), user, lasting=True)
    return Requested(way, _shown(unit), user)


def _bus(arguments: Sequence[bytes]) -> list[Requested]:
    user = b"--user" in arguments or b"--session" in arguments
    found: list[Requested] = []
    for place, argument in enumerate(arguments[1:]):
        if argument.endswith((b".service", b".timer")) and b"/" not in argument:
            if b"StartTransientUnit" in b" ".join(arguments[:12]):
                way = _Born.WAY_TRANSIENT_UNIT
                found.append(Requested(way, _shown(argument), user, written=True))
            else:
                found.append(_unit(argument, user=user))
        name = argument.partition(b"=")[2] if argument.startswith(b"--dest=") else argument
        # busctl call NAME …, gdbus call --dest NAME, and StartServiceByName su NAME 0.
        if place < 12 and name.count(b".") >= 2 and b"/" not in name:  # noqa: PLR2004
            found.append(Requested(_Born.WAY_D_BUS, _shown(name), user))
    return found[:MOST_UNITS]


_READERS: Final[Mapping[bytes, Callable[[Sequence[bytes]], list[Requested]]]] = {
    b"systemd-run": _run,
    b"systemctl": _control,
    b"busctl": _bus,
    b"dbus-send": _bus,
    b"gdbus": _bus,
}


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
