"""Four ways in which an account comes to be on a host, and who is said to have done it."""

import secrets
from dataclasses import dataclass

from agent.stages.sessions import LEFT_BEHIND_NS
from nightherd.event.v1 import event_pb2 as events
from tests.lab.host import Host
from tests.lab.watching import Told, Watched

ADDRESS = "10.0.2.2"
"""Where this machine's connections come from, as a guest sees it."""
DAEMON = "/usr/local/sbin/lab-accounts"
UNIT = "lab-accounts.service"

# Reads names from a pipe and adds an account for each, without a word to anybody.
PROGRAM = """#!/bin/sh
[ -p "$1" ] || mkfifo -m 600 "$1"
while :; do
  while read -r name; do
    useradd -M "$name" < /dev/null
  done < "$1"
done
"""
SERVICE = f"""[Service]
ExecStart={DAEMON} /run/lab-by-unit
[Install]
WantedBy=multi-user.target
"""


def prepare(host: Host) -> None:
    """Install the daemon and start it as a unit."""
    host.put(DAEMON, PROGRAM, mode="0755")
    host.put(f"/etc/systemd/system/{UNIT}", SERVICE)
    host.run(f"systemctl daemon-reload && systemctl start {UNIT}")


def a_name() -> str:
    """Return a name that nobody has."""
    return f"nh{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Leg:
    """One account that was added, and everything the agent told about it."""

    account: str
    added: Told
    """The change of the account, and who did it."""
    command: Told | None
    """A program that ran with the account's name among its arguments, the latest; none: not seen."""
    told: list[Told]

    @property
    def sessions(self) -> dict[int, events.SessionStart]:
        """What is known of each session, by its number."""
        known: dict[int, events.SessionStart] = {}
        for _, event in self.told:
            if event.HasField("session_start"):
                start = event.session_start
                known.setdefault(start.session_id, events.SessionStart()).MergeFrom(start)
        return known


def by_person(watched: Watched, *, terminal: bool, unhurried: bool = False) -> Leg:
    """Let alice log in by ssh and add an account by sudo; unhurried, in a root shell of 3 s."""
    account = a_name()
    command = f"useradd -M {account}"
    if unhurried:
        command = f"sh -c '{command}; sleep 3'"
    done = watched.host.login("alice", f"sudo {command}", terminal=terminal)
    assert done.returncode == 0, done
    return _leg(watched, account, or_command=unhurried)


def by_unit(watched: Watched) -> Leg:
    """Let a daemon of the system add an account."""
    return _by_daemon(watched, "/run/lab-by-unit")


def by_hand(watched: Watched) -> Leg:
    """Let a daemon add an account that alice started in a session which is over."""
    pipe = f"/run/{a_name()}"
    # Like an init script: it leaves the terminal, and lives on after the session.
    done = watched.host.login(
        "alice", f"sudo setsid -f {DAEMON} {pipe} < /dev/null > /dev/null 2>&1", terminal=True
    )
    assert done.returncode == 0, done
    watched.host.run(
        f"until [ -p {pipe} ]; do sleep 0.2; done\n"
        # What still ends within moments of the session is the session's own.
        "while pgrep -f '^sshd: alice' > /dev/null; do sleep 0.5; done\n"
        f"sleep {LEFT_BEHIND_NS / 1e9 + 1}"
    )
    try:
        return _by_daemon(watched, pipe)
    finally:
        watched.host.run(f"pkill -f 'lab-account[s] {pipe}' || :; rm -f {pipe}")


def _by_daemon(watched: Watched, pipe: str) -> Leg:
    account = a_name()
    watched.host.run(
        f"echo {account} > {pipe}; until id -u {account} > /dev/null 2>&1; do sleep 0.2; done"
    )
    return _leg(watched, account)


def _leg(watched: Watched, account: str, *, or_command: bool = False) -> Leg:
    """Wait until the account's change is told; or_command: and who did it, or a command that may."""
    name = account.encode()

    def found() -> Leg | None:
        added = command = None
        told = watched.told()
        for image, event in told:
            change = event.account_change
            if (change.name, change.subject) == (name, change.SUBJECT_USER):
                added = image, event
            elif event.HasField("exec") and any(name in each for each in image.arguments):
                command = image, event
        unknown = added and added[1].attribution == events.ATTRIBUTION_UNKNOWN
        if added is None or (or_command and unknown and command is None):
            return None
        return Leg(account, added, command, told)

    return watched.until(found)
