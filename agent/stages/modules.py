"""Which kernel modules a command that succeeded put into the kernel, or took out.

Without system call auditing the kernel tells of no module. So this is a conclusion: modprobe also
succeeds for a module that was there already.
"""

from collections.abc import Iterator, Sequence

from nightherd.event.v1 import event_pb2 as events

_Change = events.KernelChange
_LOADED, _UNLOADED = _Change.ACTION_MODULE_LOADED, _Change.ACTION_MODULE_UNLOADED
_MULTI_CALL = frozenset((b"kmod", b"busybox"))
PROGRAMS = frozenset((b"insmod", b"modprobe", b"rmmod")) | _MULTI_CALL
_ONLY_SHOWS = frozenset(
    b"-n --dry-run --show -c --showconfig -D --show-depends --show-config -R --resolve-alias "
    b"--dump-modversions --show-modversions --show-exports -V --version -h --help -l --list".split()
)
_VALUED = frozenset(b"-C --config -d --dirname -S --set-version -w --wait".split())
_REMOVES = frozenset((b"-r", b"--remove", b"--remove-holders"))
_ALL = frozenset((b"-a", b"--all"))
MOST_MODULES = 32


def changes_of(executable: bytes, arguments: Sequence[bytes]) -> Iterator[_Change]:
    """Yield what a command line of insmod, modprobe or rmmod changes when it succeeds."""
    name, rest = _called(executable, list(arguments))
    options, words = _split(rest)
    if name not in PROGRAMS or not words or options & _ONLY_SHOWS:
        return
    removes = name == b"rmmod" or bool(options & _REMOVES)
    if name == b"insmod" or not (removes or options & _ALL):
        words = words[:1]  # what follows are the module's own parameters
    for word in words[:MOST_MODULES]:
        yield _Change(action=_UNLOADED if removes else _LOADED, name=_module(word))


def _called(executable: bytes, arguments: list[bytes]) -> tuple[bytes, list[bytes]]:
    name = executable.rpartition(b"/")[2]
    if name in _MULTI_CALL and arguments:
        name, arguments = arguments[0].rpartition(b"/")[2], arguments[1:]
        if name in _MULTI_CALL and arguments:
            name, arguments = arguments[0], arguments[1:]
        return name, arguments
    return name, arguments[1:]


def _split(arguments: Sequence[bytes]) -> tuple[set[bytes], list[bytes]]:
    """Return the options that are set, and the other words."""
    options: set[bytes] = set()
    words: list[bytes] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument.startswith(b"--"):
            options.add(argument.partition(b"=")[0])
            skip = argument in _VALUED
        elif argument.startswith(b"-") and len(argument) > 1:
            options.update(b"-" + bytes([letter]) for letter in argument[1:])
            skip = argument in _VALUED
        else:
            words.append(argument)
    return options, words


def _module(word: bytes) -> str:
    """Return the module's name, as the kernel spells it, for a file or a name."""
    name = word.rpartition(b"/")[2].partition(b".ko")[0].replace(b"-", b"_")
    return name.decode("utf-8", "backslashreplace")
