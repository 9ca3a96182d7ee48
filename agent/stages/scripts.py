"""Which script an interpreter runs: what a person would call the program."""

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache

# Base names, versions cut off: python3.11 is python.
_INTERPRETERS = frozenset(
    b"python perl ruby node nodejs php lua tclsh sh bash dash ash ksh mksh zsh fish busybox".split()
)
_SHELLS = frozenset(b"sh bash dash ash ksh mksh zsh fish busybox".split())
# Options after which no script follows: the program text is an argument or a module.
_TEXT = {
    b"python": (b"-c", b"-m"),
    b"perl": (b"-e", b"-E"),
    b"ruby": (b"-e",),
    b"node": (b"-e", b"--eval", b"-p"),
    b"nodejs": (b"-e", b"--eval", b"-p"),
    b"php": (b"-r",),
    b"lua": (b"-e",),
}
# Options that take the next argument.
_VALUED = {
    b"python": (b"-W", b"-X", b"--check-hash-based-pycs"),
    b"perl": (b"-I",),
    b"ruby": (b"-I", b"-r"),
    b"node": (b"-r", b"--require", b"--import"),
    b"bash": (b"--rcfile", b"--init-file", b"-O", b"-o"),
}
_VERSION = re.compile(rb"[-\d.]+$")


@lru_cache(maxsize=4096)
def interpreter_of(executable: bytes) -> bytes:
    """Return the interpreter's name without version, or b"" when it is none."""
    name = _VERSION.sub(b"", executable.rpartition(b"/")[2])
    return name if name in _INTERPRETERS else b""


def script_of(
    executable: bytes,
    arguments: Sequence[bytes],
    requested_path: bytes,
    working_directory: bytes,
) -> bytes:
    """Return the absolute path of the script that is run, or b"" when none is.

    Args:
        executable: the file that was executed, links resolved.
        arguments: argv.
        requested_path: what was asked for; for `#!` scripts that is the script itself.
        working_directory: for relative paths; b"" when not known.
    """
    interpreter = interpreter_of(executable)
    if not interpreter:
        return b""
    rest = list(arguments[1:])
    if requested_path and requested_path in rest[:3]:
        # Started by its `#!` line: the kernel puts the script behind the interpreter's arguments.
        return _absolute(requested_path, working_directory)
    return _absolute(_first_script(interpreter, rest), working_directory)


def _first_script(interpreter: bytes, arguments: list[bytes]) -> bytes:
    text, valued = _TEXT.get(interpreter, ()), _VALUED.get(interpreter, ())
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in valued:
            skip = True
        elif (argument.startswith(text) if text else False) or argument == b"-":
            return b""
        elif argument.startswith((b"-", b"+")) and len(argument) > 1:
            if interpreter in _SHELLS and not argument.startswith(b"--") and b"c" in argument:
                return b""
        else:
            return argument
    return b""


def _absolute(path: bytes, working_directory: bytes) -> bytes:
    if not path:
        return b""
    if not path.startswith(b"/"):
        if not working_directory:
            return b""
        path = working_directory.rstrip(b"/") + b"/" + path
    return posixpath.normpath(path)
