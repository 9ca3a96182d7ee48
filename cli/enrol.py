"""Certificates of everything on this machine, issued by the local authority at the start.

The services' are renewed here, too; an agent renews its own.
"""

import datetime as dt
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chassis.authority import LIFETIME, Authority, local_names
from chassis.tls import Identity
from cli.environment import environment
from cli.homes import Home
from cli.ports import known_address, known_ports

SERVICES = ("store", "modeler", "detector", "gateway")
RENEW_BEFORE = LIFETIME / 3
START_S = 300.0
"""What a program may take to start on the slowest of hosts."""
SIGNING_KEY = "signing-key.pem"
"""In the agent's folder."""


class EnrolError(Exception):
    """A certificate cannot be made; says why."""


def signing_key(home: Home, environment: Mapping[str, str]) -> bytes:
    """Return the public signing key of the agent, which makes its key itself.

    Raises:
        EnrolError: the agent cannot.
    """
    if known := _known_key(home):
        return known
    run = subprocess.run(
        [sys.executable, "-m", "agent", "--print-signing-key"],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    try:
        key = bytes.fromhex(run.stdout.strip())
    except ValueError:
        key = b""
    if run.returncode or len(key) != 32:  # noqa: PLR2004  (an Ed25519 key)
        raise EnrolError(f"the agent made no signing key: {run.stderr.strip()[-500:]}")
    return key


def _known_key(home: Home) -> bytes:
    """Return the public half of the key that is there; empty: the agent is to be called.

    Starting a program takes a second or more, and nobody watches meanwhile.
    """
    try:
        pem = (home.agent / SIGNING_KEY).read_bytes()
        key = serialization.load_pem_private_key(pem, None).public_key()
    except (OSError, ValueError):
        return b""
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def host_id(home: Home) -> str:
    """Return the random id of this host, made at the first enrolment."""
    path = home.agent / "host_id"
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    home.agent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = secrets.token_hex(16)
    path.write_text(f"{fresh}\n", encoding="ascii")
    return fresh


def _good(folder: Path, authority: Authority) -> bool:
    """Whether the certificate in `folder` is ours and has more than a third of its life left."""
    try:
        certificate = Identity(folder).certificate()
        ca = (folder / "ca.pem").read_bytes()
    except (OSError, ValueError):
        return False
    if ca != authority.certificate.public_bytes(serialization.Encoding.PEM):
        return False
    return certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) > RENEW_BEFORE


def renew_services(home: Home, owner: tuple[int, int] | None, *, always: bool = False) -> None:
    """Issue the services' certificates where they are missing, foreign, or two thirds over."""
    authority = Authority.open(home.ca)
    for role in SERVICES:
        folder = home.tls(role)
        if always or not _good(folder, authority):
            names = local_names() if role == "gateway" else ()
            authority.issue(folder, role, names=names)
        # The folder stays ours: who serves may read its key, but lay nothing in a way of root's.
        folder.chmod(0o711)
        for path in folder.iterdir():
            _give(path, owner)


def renew_host(home: Home, herd: str, key: bytes, *, always: bool = False) -> None:
    """Issue this host's certificate where it is missing, foreign, of another herd, or due."""
    authority = Authority.open(home.ca)
    folder = home.agent / "tls"
    if not always and _good(folder, authority):
        peer = Identity(folder).peer()
        if (peer.herd, peer.signing_key) == (herd, key):
            return
    authority.issue(folder, "host", host_id=host_id(home), herd=herd, signing_key=key)


def print_token(home: Home, herd: str, hours: float) -> int:
    """Let the enrolment program make a token that enrols one host; return its exit status."""
    if not (home.ca / "ca-key.pem").is_file():
        print(
            f"nightherd: there is no authority in {home.ca}: start `nightherd up` once, or name "
            "the home with --home",
            file=sys.stderr,
        )
        return 2
    command = [sys.executable, "-m", "enrolment", "token", "--herd", herd, "--hours", str(hours)]
    settings = {"dir": str(home.ca)}
    if port := known_ports(home).get("enrolment"):
        settings["listen"] = f"{known_address(home)}:{port}"
    own = environment("enrolment", **settings)
    return subprocess.run(command, env=own, check=False).returncode


def own(folder: Path, owner: tuple[int, int] | None) -> None:
    """Give a folder and all in it to a user."""
    for path in (folder, *folder.rglob("*")):
        _give(path, owner)


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is None:
        return
    status = path.lstat()
    if (status.st_uid, status.st_gid) != owner:
        os.chown(path, *owner, follow_symlinks=False)
