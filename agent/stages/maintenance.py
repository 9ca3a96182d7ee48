"""Package managers: what they run is maintenance, and nobody else is taken for one."""

from functools import lru_cache
from typing import Final

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


@lru_cache(maxsize=4096)
def has_name(program: bytes) -> bool:
    """Whether a program lies and is called like a package manager."""
    return program.startswith(_SYSTEM_PROGRAMS) and program.rpartition(b"/")[2] in _NAMES


def is_genuine(program: bytes, owners: Owners) -> bool:
    """Whether a program of such a name is what it says.

    Where the host has a package database, the file must come from a package manager's package: a
    program that somebody put there under the name has no owner. Without one the name must do.
    """
    return not owners.known or owners.owner(program) in _PACKAGES
