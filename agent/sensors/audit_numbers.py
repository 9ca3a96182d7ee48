"""Numbers of the system calls that matter, by architecture as audit numbers those."""

from typing import Final

_X86_64, _I386, _AARCH64 = b"c000003e", b"40000003", b"c00000b7"
EXECS: Final = frozenset(
    (
        *((_X86_64, b"59"), (_X86_64, b"322"), (_I386, b"11"), (_I386, b"358")),
        *((_AARCH64, b"221"), (_AARCH64, b"281")),
    )
)
"""(architecture, number) of execve and execveat."""
CLONES: Final = frozenset(((_X86_64, b"56"), (_I386, b"120"), (_AARCH64, b"220")))
"""(architecture, number) of clone."""
FORKS: Final = CLONES | frozenset(
    (
        *((_X86_64, b"57"), (_X86_64, b"58"), (_X86_64, b"435"), (_I386, b"2")),
        *((_I386, b"190"), (_I386, b"435"), (_AARCH64, b"435")),
    )
)
"""(architecture, number) of clone, clone3, fork and vfork."""
SOCKETS: Final = frozenset(((_X86_64, b"41"), (_I386, b"359"), (_AARCH64, b"198")))
"""(architecture, number) of socket."""
CONNECTS: Final = frozenset(((_X86_64, b"42"), (_I386, b"362"), (_AARCH64, b"203")))
"""(architecture, number) of connect."""
