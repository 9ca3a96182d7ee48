"""What of a home folder a backup may have: the authority, the password, the key of signed heads."""

import hashlib
import os
from pathlib import Path

from cli.backup.folder import KEYS, BackupError, Key
from cli.homes import Home


def _paths(home: Home) -> list[Path]:
    folders = [path for folder in (home.ca, home.heads.parent) for path in folder.rglob("*")]
    return [path for path in (*folders, home.password_file) if path.is_file()]


def save(home: Home, folder: Path) -> list[Key]:
    """Copy keys into a backup, for its owner only.

    Raises:
        BackupError: there are none.
        OSError: one cannot be read or written.
    """
    paths = _paths(home)
    if not paths:
        raise BackupError(f"{home.path} has no keys: is that the home folder? (--home)")
    saved = []
    for path in paths:
        relative = path.relative_to(home.path)
        content = path.read_bytes()
        _write(folder / KEYS / relative, content)
        saved.append(Key(str(relative), hashlib.sha256(content).hexdigest()))
    return saved


def check(folder: Path, keys: list[Key]) -> None:
    """See that the keys of a backup are whole.

    Raises:
        BackupError: one is not what the manifest says.
    """
    for key in keys:
        path = folder / KEYS / key.path
        try:
            same = hashlib.sha256(path.read_bytes()).hexdigest() == key.sha256
        except OSError as error:
            raise BackupError(f"{path}: {error.strerror}") from None
        if not same:
            raise BackupError(f"{path} is not what the manifest says")


def restore(home: Home, folder: Path, keys: list[Key]) -> None:
    """Put keys back.

    Raises:
        BackupError: the backup has none, or the home has others.
    """
    if not keys:
        raise BackupError("the backup was made without keys")
    home.path.mkdir(mode=0o711, parents=True, exist_ok=True)
    for key in keys:
        target, content = home.path / key.path, (folder / KEYS / key.path).read_bytes()
        if target.exists():
            if target.read_bytes() != content:
                raise BackupError(f"{target} is there already, and another: nothing was replaced")
            continue
        _write(target, content)


def _write(path: Path, content: bytes) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as opened:
        opened.write(content)
