"""Which accounts a command line or a change of the account files names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chassis.text import show
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.programs import names_of, positional

ADDED, REMOVED, CHANGED = "added", "removed", "changed"

# Only what looks like an account name is taken for one: better none than a wrong one.
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?")

_TOOLS: dict[bytes, tuple[str, bool]] = {
    # tool -> (what it does, whether to a group)
    b"useradd": (ADDED, False),
    b"adduser": (ADDED, False),
    b"luseradd": (ADDED, False),
    b"userdel": (REMOVED, False),
    b"deluser": (REMOVED, False),
    b"luserdel": (REMOVED, False),
    b"usermod": (CHANGED, False),
    b"lusermod": (CHANGED, False),
    b"passwd": (CHANGED, False),
    b"chage": (CHANGED, False),
    b"chsh": (CHANGED, False),
    b"chfn": (CHANGED, False),
    b"groupadd": (ADDED, True),
    b"addgroup": (ADDED, True),
    b"groupdel": (REMOVED, True),
    b"delgroup": (REMOVED, True),
    b"groupmod": (CHANGED, True),
    b"gpasswd": (CHANGED, True),
}
# Options of these tools that take the next argument. An option of the same letter without a value
# in another of the tools would hide a name there; such a letter is left out, and then two
# positional arguments remain and the last one, the account by these tools' synopsis, is taken.
_VALUES = frozenset(
    b"-b -c -d -e -f -g -G -k -K -R -s -u -p -P -Z -x -m -n -i -w -W -E -I -o -h"
    b" --base-dir --comment --home-dir --home --expiredate --inactive --gid --groups --skel --key"
    b" --password --root --prefix --shell --uid --selinux-user --selinux-range --ingroup --gecos"
    b" --firstuid --lastuid --firstgid --lastgid --conf --backup-to --new-name --login --mindays"
    b" --maxdays --warndays --lastday --add-subuids --del-subuids --add-subgids --del-subgids"
    b" --full-name --room --work-phone --home-phone --other --members --administrators"
    b" --add --delete --users".split()
)
_FLAGS: dict[bytes, frozenset[bytes]] = {
    # Letters that take no value with this tool though they do with another.
    b"useradd": frozenset([b"-m", b"-o", b"-h"]),
    b"usermod": frozenset([b"-m", b"-o", b"-h"]),
    b"userdel": frozenset([b"-f", b"-h"]),
    b"passwd": frozenset([b"-d", b"-e", b"-u", b"-k", b"-h", b"-s"]),
    b"groupadd": frozenset([b"-f", b"-o", b"-h"]),
    b"groupmod": frozenset([b"-o", b"-h"]),
    b"groupdel": frozenset([b"-f", b"-h"]),
    b"chage": frozenset([b"-h", b"-i"]),
}
_OTHER_NAME: dict[bytes, frozenset[bytes]] = {
    b"gpasswd": frozenset([b"-a", b"--add", b"-d", b"--delete", b"-M", b"--members"]),
}
# These take `name group`, all others end in the name.
_NAME_FIRST = frozenset([b"adduser", b"deluser"])


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """One account or group, and what was done to it."""

    name: str
    done: str
    group: bool

    def __str__(self) -> str:
        """Word it: "added bob", "removed group wheel"."""
        return f"{self.done} {'group ' if self.group else ''}{self.name}"


def of_command(
    executable: bytes, script: bytes, arguments: tuple[bytes, ...]
) -> tuple[Account, ...]:
    """Return the account that a command line names; none where it is not plain."""
    tool = next((name for name in names_of(executable, script) if name in _TOOLS), None)
    if tool is None:
        return ()
    done, group = _TOOLS[tool]
    rest = _after(tool, arguments)
    if tool in (b"adduser", b"deluser") and b"--group" in rest and b"--system" not in rest:
        group = True
    words = positional(rest, _VALUES - _FLAGS.get(tool, frozenset()))
    if tool in _OTHER_NAME:
        words = positional(rest, _OTHER_NAME[tool])
    if not words:
        return ()
    name = words[0] if tool in _NAME_FIRST else words[-1]
    if tool == b"adduser" and len(words) > 1:
        done = CHANGED  # `adduser user group`
    if tool == b"deluser" and len(words) > 1:
        done = CHANGED
    return (Account(show(name), done, group),) if _NAME.fullmatch(name) else ()


def _after(tool: bytes, arguments: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return what follows the tool's name: argv[0], or the script behind its interpreter."""
    for place, argument in enumerate(arguments):
        if argument.rpartition(b"/")[2] == tool:
            return arguments[place + 1 :]
    return arguments[1:]


_DONE = {
    events.AccountChange.ACTION_ADDED: ADDED,
    events.AccountChange.ACTION_REMOVED: REMOVED,
    events.AccountChange.ACTION_CHANGED: CHANGED,
}


def of_change(change: events.AccountChange) -> tuple[Account, ...]:
    """Return the account that a change of the account files is about."""
    group = change.subject == events.AccountChange.SUBJECT_GROUP
    name = change.name
    return (Account(show(name), _DONE.get(change.action, CHANGED), group),) if name else ()


def told(accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Sort out what is worth telling: a group of the name of a user goes without saying."""
    found = set(accounts)
    users = {account.name for account in found if not account.group}
    kept = {a for a in found if not (a.group and a.name in users)}
    # `useradd` adds and then changes the same account: the addition says it.
    settled = {a.name for a in kept if a.done != CHANGED}
    kept = {a for a in kept if not (a.done == CHANGED and a.name in settled)}
    return tuple(sorted(kept, key=lambda a: (a.group, a.name, a.done)))
