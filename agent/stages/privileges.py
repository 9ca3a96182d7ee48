"""What sudo, su and their like were asked for: whose rights, and for which command."""

from collections.abc import Sequence
from typing import NamedTuple

_SYSTEM_FOLDERS = (b"/usr/", b"/bin/", b"/sbin/")
_HELPERS = frozenset(b"unix_chkpwd unix_update sendmail exim4 postdrop sesh".split())
"""What they start for their own ends: to check a password, to mail about a refusal."""


class Request(NamedTuple):
    """What was asked for."""

    target_user: bytes
    """As it was typed; b"" when nothing was: then a default counts, mostly root."""
    command: bytes
    """Arguments joined by spaces; b"" for a shell."""


class _Syntax(NamedTuple):
    """How a program reads its command line."""

    valued: frozenset[bytes]
    """Options that take a value."""
    user: frozenset[bytes]
    command: frozenset[bytes]
    user_first: bool
    """Whether the first positional argument names the user (unless an option does)."""
    stops: bool
    """Whether options end at the first positional argument."""


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_SU = _Syntax(
    _words(
        "-c --command -C --session-command -g --group -G --supp-group -s --shell -u --user "
        "-w --whitelist-environment"
    ),
    _words("-u --user"),
    _words("-c --command -C --session-command"),
    user_first=True,
    stops=False,
)
_SYNTAX = {
    b"sudo": _Syntax(
        _words(
            "-a --auth-type -C --close-from -c --login-class -D --chdir -g --group -h --host "
            "-p --prompt -R --chroot -r --role -T --command-timeout -t --type -U --other-user "
            "-u --user"
        ),
        _words("-u --user"),
        frozenset(),
        user_first=False,
        stops=True,
    ),
    b"doas": _Syntax(_words("-a -C -u"), _words("-u"), frozenset(), user_first=False, stops=True),
    b"pkexec": _Syntax(
        _words("-u --user --process"),
        _words("-u --user"),
        frozenset(),
        user_first=False,
        stops=True,
    ),
    b"su": _SU,
    b"runuser": _SU,
}


def gives_rights(executable: bytes) -> bool:
    """Whether a program of the system is one that gives others' rights."""
    return executable.rpartition(b"/")[2] in _SYNTAX and executable.startswith(_SYSTEM_FOLDERS)


def is_helper(executable: bytes) -> bool:
    """Whether such a program starts this for its own ends, not for whoever asked."""
    return executable.rpartition(b"/")[2] in _HELPERS


def request_of(executable: bytes, arguments: Sequence[bytes]) -> Request:
    """Return what a command line asks for; nothing known when it is none of these programs."""
    syntax = _SYNTAX.get(executable.rpartition(b"/")[2])
    if syntax is None:
        return Request(b"", b"")
    user, command, rest = b"", b"", list[bytes]()
    waiting = list(reversed(arguments[1:]))
    while waiting:
        argument = waiting.pop()
        if argument == b"--":
            rest += reversed(waiting)
            break
        if argument.startswith(b"-") and len(argument) > 1:
            option, value = _option(argument, syntax, waiting)
            user = value if option in syntax.user else user
            command = value if option in syntax.command else command
        elif argument != b"-":
            rest.append(argument)
            if syntax.stops:
                rest += reversed(waiting)
                break
    if syntax.user_first and not user:
        return Request(rest[0] if rest else b"", command)
    while rest and not command and _assigns(rest[0]):
        del rest[0]
    return Request(user, command or b" ".join(rest))


def _option(argument: bytes, syntax: _Syntax, waiting: list[bytes]) -> tuple[bytes, bytes]:
    """Return the option of `argument` that takes a value, and the value; (b"", b"") for none."""
    if argument.startswith(b"--"):
        name, sign, value = argument.partition(b"=")
        if name not in syntax.valued:
            return b"", b""
        return name, value if sign else (waiting.pop() if waiting else b"")
    for place in range(1, len(argument)):
        name = b"-" + argument[place : place + 1]
        if name in syntax.valued:
            return name, argument[place + 1 :] or (waiting.pop() if waiting else b"")
    return b"", b""


def _assigns(word: bytes) -> bool:
    name, sign, _ = word.partition(b"=")
    return bool(sign) and name.replace(b"_", b"a").isalnum()
