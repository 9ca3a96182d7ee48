"""Only the agent has a root's power, where the others can do without."""

import os
import stat
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up"),
]
OTHERS = ("mongod", "store", "modeler", "detector", "gateway")


def uid_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])


def test_everything_but_the_agent_gives_up_root_or_says_why_not(nightherd):
    assert uid_of(nightherd.child("agent")) == 0
    uids = {uid_of(nightherd.child(name)) for name in OTHERS}
    if "Everything runs as root" in nightherd.said():
        assert uids == {0}
    else:
        assert len(uids) == 1
        assert uids != {0}


def test_keys_are_for_those_who_use_them(nightherd):
    home = nightherd.home
    for path in (home / "ca", home / "agent", home / "logs", home / "run", home / "mongo"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (home / "ca", home / "agent", *(home / "tls").iterdir()):
        assert path.stat().st_uid == 0, path
    keys = [*home.glob("tls/*/key.pem"), home / "agent" / "tls" / "key.pem"]
    assert len(keys) == 5
    for path in (*keys, home / "ca" / "ca-key.pem", home / "admin-password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
