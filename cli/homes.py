"""Where things lie below $NIGHTHERD_HOME, and short folders for sockets."""

import fcntl
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UpError

ROOT_HOME = Path("/var/lib/nightherd")
ADMIN_PASSWORD = "admin-password"  # noqa: S105  (a file's name)


def default_home() -> Path:
    """$NIGHTHERD_HOME, else /var/lib/nightherd for root and ~/.nightherd for everybody else."""
    named = os.environ.get("NIGHTHERD_HOME")
    if named:
        return Path(named).absolute()
    return ROOT_HOME if os.geteuid() == 0 else Path.home() / ".nightherd"


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one installation on this machine."""

    path: Path

    @property
    def ca(self) -> Path:
        """The local authority."""
        return self.path / "ca"

    @property
    def logs(self) -> Path:
        """One file a program."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """MongoDB's files."""
        return self.path / "mongo"

    @property
    def heads(self) -> Path:
        """The store's signed list of chain heads, in its own folder."""
        return self.path / "custody" / "heads.jsonl"

    @property
    def agent(self) -> Path:
        """The agent's own folder: spool and signing key."""
        return self.path / "agent"

    @property
    def state(self) -> Path:
        """What is running: ports, pids, the lock."""
        return self.path / "run"

    @property
    def password_file(self) -> Path:
        """The first password, 0600."""
        return self.path / ADMIN_PASSWORD

    def tls(self, role: str) -> Path:
        """The certificate of a program."""
        return self.path / "tls" / role

    @property
    def sockets(self) -> Path:
        """A short folder for unix sockets: a socket's path may have 107 bytes at most."""
        name = hashlib.sha256(bytes(self.path)).hexdigest()[:12]
        base = Path("/run") if os.geteuid() == 0 and Path("/run").is_dir() else None
        return (base or Path(tempfile.gettempdir())) / f"nightherd-{os.geteuid()}-{name}"


def lock(home: Home) -> int:
    """Let one `up` at a time use a home.

    Raises:
        UpError: another one does, or the home cannot be written.
    """
    try:
        home.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        home.state.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(home.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UpError(
            f"{home.path} cannot be used: {error.strerror} (choose another: --home, NIGHTHERD_HOME)"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UpError(
            f"another `nightherd up` uses {home.path} (choose another: --home, NIGHTHERD_HOME)"
        ) from None
    return fd
