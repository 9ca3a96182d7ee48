"""Package managers: what they run is maintenance, and nobody else is taken for one."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from agent.genuine import Genuine, Running
from agent.owners import Owners

_NAMES: Final = frozenset(
    b"dpkg apt apt-get aptitude unattended-upgrade unattended-upgrades rpm dnf dnf-3 dnf5 "
    b"dnf-automatic microdnf yum zypper apk pacman packagekitd snapd".split()
)
_PACKAGES: Final = frozenset(
    each.decode()
    for each in (
        b"dpkg apt aptitude unattended-upgrades rpm dnf dnf5 dnf-data python3-dnf dnf-automatic "
        b"microdnf yum zypper packagekit PackageKit snapd apk-tools pacman"
    ).split()
)
"""Packages the programs of these names come from."""
_SYSTEM_PROGRAMS: Final = (
    b"/usr/bin/",
    b"/usr/sbin/",
    b"/bin/",
    b"/sbin/",
    b"/usr/lib/",
    b"/usr/libexec/",
)


_HOOKS: Final = tuple(
    b"invoke pre-install-pkgs dpkg::path dpkg::tools dpkg::chroot-directory dir::bin rootdir "
    b"pluginpath proxy-auto-detect --eval --define --macros --rcfile --load= --pipe "
    b"--admindir --instdir --root".split()
)
"""Parts of options by which a caller has something of its own run, or other files used."""
_FILES: Final = (b"--config-file", b"--config=", b"--configfile")
_SHELLS: Final = frozenset(b"sh bash dash ash ksh mksh zsh fish".split())
_PAGERS: Final = frozenset(
    b"less more most pager sensible-pager sensible-editor editor vi vim vim.basic vim.tiny nano "
    b"man w3m lynx".split()
)


@lru_cache(maxsize=4096)
def has_name(program: bytes) -> bool:
    """Whether a program lies and is called like a package manager."""
    return program.startswith(_SYSTEM_PROGRAMS) and program.rpartition(b"/")[2] in _NAMES


def is_genuine(program: bytes, running: Running, owners: Owners, genuine: Genuine) -> bool:
    """Whether a program of such a name is what it says.

    Where the host has a package database, the file must come from a package manager's package and
    hold what that says: neither a program that somebody put there under the name, nor one that is
    mounted over it, is one. Without a database the name must do.
    """
    return not owners.known or (owners.owner(program) in _PACKAGES and genuine(program, running))


def has_hooks(arguments: Sequence[bytes]) -> bool:
    """Whether a package manager was told to run, or to read, something of the caller's."""
    taken = False
    for argument in arguments[1:]:
        option = argument.lower()
        if taken or option.startswith((b"-o", b"--option", b"--setopt", b"--")):
            if any(word in option for word in _HOOKS):
                return True
            if option.startswith(_FILES):
                return True
        elif option == b"-c" or option.startswith(b"-c="):
            return True
        taken = option in (b"-o", b"--option", b"--setopt")
    return False


def is_personal(program: bytes, arguments: Sequence[bytes], script: bytes) -> bool:
    """Whether a program is for somebody who sits before it: a shell to type into, a pager.

    Package managers start those, too; what is done in them is no package's work.
    """
    name = program.rpartition(b"/")[2]
    if name in _PAGERS:
        return True
    if name not in _SHELLS or script:
        return False
    return all(each.startswith(b"-") and b"c" not in each for each in arguments[1:])


def is_elsewhere(pid: int, mount_namespace: int = 0) -> bool:
    """Whether a process sees other files than PID 1: its mount namespace, or its root, is another.

    Where PID 1 may not be looked at, what this program sees counts in its place.

    Args:
        pid: of the process; one that is gone says nothing.
        mount_namespace: as the kernel told it; 0: not told.
    """
    own = mount_namespace or _mount_namespace(pid)
    first = _mount_namespace(1) or _mount_namespace(os.getpid())
    if own and first and own != first:
        return True
    try:
        return os.readlink(f"/proc/{pid}/root") != "/"  # noqa: PTH115  (a name, not a path)
    except OSError:
        return False


def _mount_namespace(pid: int) -> int:
    """Return its number; 0 when it may not be looked at."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino  # noqa: PTH116
    except OSError:
        return 0
