"""What a package manager's run excuses: changes to its packages' files, and declared work.

Whatever else somebody does below a package manager is that person's doing: an account, a key, a
line of sudoers, a unit or a setuid program that no package brought.
"""

from collections.abc import Iterable
from typing import Final

from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain.activity_table import Type
from services.detector.domain.programs import names_of

_BY_PACKAGES: Final = frozenset(
    {
        pb.ACTIVITY_TYPE_SECRET_MODIFIED,
        pb.ACTIVITY_TYPE_APP_INSTALL,
        pb.ACTIVITY_TYPE_APP_MODIFIED,
    }
)
"""Excused when the package manager itself unpacks it, or a package declares it."""
_GUARDED: Final = (b"/etc/sudoers", b"/etc/sudo.conf", b"/etc/doas", b"/etc/polkit-1/")
_KEYS: Final = b"/authorized_keys"
_MANAGERS: Final = frozenset(
    b"dpkg rpm dnf dnf-3 dnf5 microdnf yum zypper apk pacman packagekitd snapd".split()
)
_DECLARING: Final = frozenset(
    b"deb-systemd-helper deb-systemd-invoke systemctl update-rc.d invoke-rc.d "
    b"systemd-sysusers systemd-tmpfiles update-alternatives dpkg-divert dpkg-maintscript-helper "
    b"dpkg-statoverride ucf update-ca-certificates update-ca-trust make-ssl-cert pam-auth-update "
    b"ssh-keygen".split()
)
"""Programs by which the scripts of packages say what they bring."""
_SYSTEM: Final = frozenset((b"--system", b"-r", b"--sysuser"))
_SYSTEM_IDS: Final = range(1, 1000)


def excuses_account(event: events.Event, image: events.Image, commands: Iterable[bytes]) -> bool:
    """Whether a package's run excuses a change of accounts: those of services are declared work.

    Args:
        event: what was seen.
        image: who did it.
        commands: command lines of what is above it in the same action.
    """
    if not image.maintenance:
        return False
    change = event.account_change if event.HasField("account_change") else None
    if change is not None and change.action == events.AccountChange.ACTION_ADDED:
        return change.HasField("number") and change.number in _SYSTEM_IDS
    if b"systemd-sysusers" in names_of(image.executable, image.script):
        return True
    if not _SYSTEM.isdisjoint(image.arguments):
        return True
    return any(not _SYSTEM.isdisjoint(command.split(b" ")) for command in commands)


def excuses_file(
    type_: Type, path: bytes, image: events.Image | None, *, rights: bool = False
) -> bool:
    """Whether a package's run excuses the change of a file that makes an activity of `type_`.

    Args:
        type_: of the activity.
        path: of the file.
        image: who changed it; None when nobody is known.
        rights: whether it was made to run with its owner's or group's rights.
    """
    if image is None or not image.maintenance:
        return False
    guarded = rights or type_ in _BY_PACKAGES
    if not guarded and not path.startswith(_GUARDED) and _KEYS not in path:
        return True
    names = names_of(image.executable, image.script)
    return not (_MANAGERS.isdisjoint(names) and _DECLARING.isdisjoint(names))


def excuses(image: events.Image | None) -> bool:
    """Whether a package's run may excuse an activity; its files are to be looked at as well."""
    return image is not None and image.maintenance
