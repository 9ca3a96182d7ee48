"""What a process works for, as far as its cgroup and its place among processes tell."""

import re
from functools import lru_cache
from typing import NamedTuple

TRANSIENT = "transient"
"""Service of units that systemd-run made for one occasion."""

_TRANSIENT = re.compile(r"run-[ru]?[0-9a-f-]+\.(?:service|scope)$")
_CONTAINER = re.compile(
    r"(?:^|[/:-])(?:docker|cri-containerd|crio|libpod|containerd)?[-/]?([0-9a-f]{64})(?:\.scope)?(?:/|$)"
)
_USER_MANAGER = re.compile(r"/user@\d+\.service/")
_SESSION = re.compile(r"session-[^/]+\.scope$")


_RUNTIMES = frozenset(
    b"containerd-shim containerd-shim-runc-v1 containerd-shim-runc-v2 docker-containerd-shim runc "
    b"docker-runc crun youki conmon conmonrs lxc-start lxc-attach systemd-nspawn".split()
)
"""What starts the first program of a container, or another one in it."""


_MANAGERS = frozenset(
    folder + name
    for folder in (b"/usr/lib/systemd/", b"/lib/systemd/")
    for name in (b"systemd", b"systemd-executor")
)


class Place(NamedTuple):
    """What a cgroup path says."""

    unit: str | None
    """See unit_of."""
    container_id: str
    user_unit: bool
    """See is_user_unit."""
    scope: bool
    """Whether it is a scope's: its processes were started by another than the manager."""
    user_scope: bool
    """It is, and a scope: what runs there was started by another than the manager (the pane of a
    tmux, a window's shell), and is whose that one is."""


@lru_cache(maxsize=4096)
def place_of(cgroup: str) -> Place:
    """Return all that a cgroup path says; there are few paths and many processes in each."""
    unit, user_unit = unit_of(cgroup), is_user_unit(cgroup)
    scope = cgroup.endswith(".scope") and not container_of(cgroup)
    return Place(unit, container_of(cgroup), user_unit, scope, user_unit and not unit)


def runs_as_user_unit(cgroup: str, *, in_session: bool) -> bool:
    """Whether a process is a unit of a person's manager, and no program of a person's session."""
    place = place_of(cgroup)
    return place.user_unit and not (place.user_scope and in_session)


def is_manager(executable: bytes) -> bool:
    """Whether a program is systemd, or the helper by which it starts others."""
    return executable in _MANAGERS


def is_runtime(executable: bytes) -> bool:
    """Whether a program starts those of containers, by its name in a system's folder."""
    return executable.rpartition(b"/")[2] in _RUNTIMES and executable.startswith(b"/usr/")


def unit_of(cgroup: str) -> str | None:
    """Return the service that a cgroup path names.

    "" for a person's session scope, or one that a person's programs made; None when the path says
    nothing. Templates lose their instance (`getty@tty1.service` is `getty@.service`).
    """
    for part in reversed(cgroup.split("/")):
        if part.endswith(".service"):
            if _TRANSIENT.match(part):
                return TRANSIENT
            name, at, _ = part.removesuffix(".service").partition("@")
            # user@1000.service is a person's manager, not a service of the machine.
            return "" if name == "user" and at else f"{name}{at}.service"
        if part.endswith(".scope") and part != "init.scope":
            return "" if _SESSION.match(part) or _USER_MANAGER.search(cgroup) else TRANSIENT
    return None


def container_of(cgroup: str) -> str:
    """Return the container's id (64 hex digits), or "" outside containers."""
    found = _CONTAINER.search(cgroup)
    return found.group(1) if found else ""


def is_user_unit(cgroup: str) -> bool:
    """Whether the cgroup lies below a person's systemd manager, but is not the manager itself."""
    return _USER_MANAGER.search(cgroup) is not None and not cgroup.endswith("/init.scope")


def is_user_session(cgroup: str) -> bool:
    """Whether the cgroup is a login session's scope."""
    return _SESSION.search(cgroup) is not None
