"""What must be there before the first program starts: folders, certificates, ports."""

import os
import shutil
import stat
from dataclasses import dataclass, field

from cli import enrol, leftovers
from cli.errors import UpError
from cli.homes import Home
from cli.ports import choose_ports, port_is_free
from cli.users import can_run_as, unprivileged_user

ALL_AS_ROOT = (
    "Everything runs as root: the unprivileged user cannot read this checkout, its "
    "Python, or the home folder (put them where others may read, e.g. below /opt)."
)


@dataclass(slots=True)
class Prepared:
    """What programs are started with."""

    user: tuple[int, int] | None
    """(uid, gid) of programs that need no rights; None: as we are."""
    ports: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """What whoever started it should know."""


def prepare(home: Home, port: int) -> Prepared:
    """Make ready what the agent needs, and end what another run left behind.

    The host is blind meanwhile: what only the services need is for `prepare_services`.

    Raises:
        UpError: the port is in use, or the sockets' folder is not ours.
        OSError: the home cannot be written.
    """
    leftovers.end(home)
    if not port_is_free(port):
        raise UpError(f"port {port} of 127.0.0.1 is in use: choose another with --port")
    prepared = Prepared(unprivileged_user())
    folders = (home.logs, home.data, home.sockets, home.heads.parent, home.path / "tls")
    for folder in folders:
        folder.mkdir(mode=0o711 if folder.name == "tls" else 0o700, parents=True, exist_ok=True)
    _check_sockets(home, prepared.user)
    try:
        prepared.ports = choose_ports(home, port)
    except BaseException:  # Ctrl-C too leaves nothing
        clear(home)
        raise
    return prepared


def prepare_services(home: Home, prepared: Prepared) -> None:
    """Make ready what the services need: certificates, and who they run as.

    Raises:
        OSError: the home cannot be written.
    """
    enrol.renew_services(home, prepared.user)
    if prepared.user and not can_run_as(prepared.user, home.tls("store") / "key.pem"):
        prepared.said.append(ALL_AS_ROOT)
        prepared.user = None
        enrol.renew_services(home, (0, 0))
    for folder in (home.data, home.sockets, home.heads.parent):
        enrol.own(folder, prepared.user or ((0, 0) if os.geteuid() == 0 else None))


def clear(home: Home) -> None:
    """Remove what is needed only while programs run."""
    leftovers.forget(home)
    shutil.rmtree(home.sockets, ignore_errors=True)


def _check_sockets(home: Home, user: tuple[int, int] | None) -> None:
    """Below /tmp anybody could have made the folder first, and would be our database.

    Raises:
        UpError: somebody did.
    """
    status = home.sockets.lstat()
    ours = {os.geteuid(), user[0] if user else os.geteuid()}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
        raise UpError(f"{home.sockets} is not ours: remove it, or choose another --home")
