"""What a sentence says of an image beside its name: how it ran, and what it was born from."""

from chassis.text import show
from evidence.users import born_of
from nightherd.event.v1 import event_pb2 as events

_HOW = {
    events.TRAIT_MEMORY_FILE: "from memory",
    events.TRAIT_DELETED_FILE: "from a deleted file",
    events.TRAIT_SHARED_MEMORY_FILE: "from shared memory",
    events.TRAIT_LD_PRELOAD: "with LD_PRELOAD",
    events.TRAIT_LD_AUDIT: "with LD_AUDIT",
    events.TRAIT_GLIBC_TUNABLES: "with GLIBC_TUNABLES",
    events.TRAIT_OTHER_MOUNT_NAMESPACE: "in another mount namespace",
}
"""Traits that a sentence names; the others are ordinary on many hosts, and stand in the row."""
_BORN = events.BornFrom
_WAYS = {
    _BORN.WAY_DAEMONISED: "as a daemon",
    _BORN.WAY_AT: "by at",
    _BORN.WAY_CRON: "by cron",
    _BORN.WAY_TIMER: "by a timer",
    _BORN.WAY_TRANSIENT_UNIT: "by systemd-run",
    _BORN.WAY_USER_UNIT: "as a user unit",
    _BORN.WAY_UNIT: "as a unit",
    _BORN.WAY_D_BUS: "by D-Bus",
    _BORN.WAY_CONTAINER: "in a container",
}


def how(image: events.Image) -> str:
    """Return ", from memory, with LD_PRELOAD", or nothing."""
    return "".join(f", {_HOW[trait]}" for trait in dict.fromkeys(image.traits) if trait in _HOW)


def behind(born: events.BornFrom) -> str:
    """Return " (for alice, by cron)": on whose behalf it runs, and how it came from there."""
    person = show(born_of(born))
    if person and not born.login_user:
        person = f"user {person}"
    whose = person or (f"service {show(born.service)}" if born.service else "somebody")
    way = _WAYS.get(born.way)
    return f" (for {whose}, {way})" if way else f" (for {whose})"
