"""Builds the disk and the kernels that guests start from, once a machine, in a cache of its own."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import recipe

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "ssh-keygen": "openssh-client",
}
"""What building and starting needs, by the Debian package that has it."""


class Unavailable(Exception):  # noqa: N818  (a reason to skip, not a fault)
    """QEMU or what else it takes cannot be installed on this machine; the text says why."""


def cache() -> Path:
    """Return where the lab lies: $NIGHTHERD_LAB, else a folder named by the recipe."""
    return Path(
        os.environ.get("NIGHTHERD_LAB")
        or Path.home() / ".cache" / f"nightherd-lab-{recipe.digest()}"
    )


def mirror() -> str:
    """Return the Debian mirror that this machine's own apt uses.

    Raises:
        LookupError: apt names none.
    """
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for source in sources:
        if source.is_file() and source.suffix in {".list", ".sources"}:
            text = re.sub(r"(?m)^\s*#.*$", "", source.read_text(errors="replace"))
            if found := re.search(r"https?://\S+/debian/?(?=\s|$)", text):
                return found[0]
    raise LookupError("apt's sources name no Debian mirror")


def install_programs() -> None:
    """Install what is missing here, as root on a Debian.

    Raises:
        Unavailable: something is missing and cannot be installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)]
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise Unavailable(f"not installed: {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing]
    for command in (["apt-get", "-qq", "update"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(missing)} cannot be installed: {done.stderr[-400:]}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock: whoever comes second waits for what the first one builds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built() -> Path:
    """Return the folder with base.img, key, vmlinuz-K and initrd-K; build it where it is absent.

    Raises:
        Unavailable: what it takes is not installed and cannot be.
    """
    install_programs()
    folder = cache()
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "base.img").exists():
            if os.geteuid():
                raise Unavailable("building a root file system needs root")
            fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                _build(fresh)
                shutil.rmtree(folder, ignore_errors=True)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _build(folder: Path) -> None:
    """Build into `folder`, which only counts when all of it is there."""
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")])
    root, source = folder / "root", mirror()
    known = {
        "LAB_MIRROR": source,
        "LAB_RELEASE": recipe.RELEASE,
        "LAB_SUITES": " ".join(recipe.KERNELS.values()),
        "LAB_USERS": " ".join(recipe.USERS),
        "LAB_KEY": str(folder / "key.pub"),
    }
    _run(
        [
            *("mmdebstrap", "--quiet", "--variant=important"),
            f"--include={','.join(recipe.PACKAGES)}",
            *("--dpkgopt=force-unsafe-io", "--aptopt=Acquire::Languages none"),
            *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("man", "doc", "locale")),
            f"--essential-hook={recipe.BEFORE_PACKAGES}",
            f"--customize-hook={recipe.INSTALL_KERNELS}",
            f"--customize-hook={recipe.SET_UP}",
            *(recipe.RELEASE, str(root), source),
        ],
        **known,
    )
    for image in (root / "boot").glob("vmlinuz-*"):
        release = image.name.removeprefix("vmlinuz-")
        short = ".".join(release.split(".")[:2])
        shutil.copy(image, folder / f"vmlinuz-{short}")
        shutil.copy(root / "boot" / f"initrd.img-{release}", folder / f"initrd-{short}")
    missing = [each for each in recipe.KERNELS if not (folder / f"vmlinuz-{each}").exists()]
    if missing:
        raise LookupError(f"the mirror has no kernel {' '.join(missing)}")
    _run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(folder / "base.img"), recipe.DISK])
    shutil.rmtree(root)


def _run(command: list[str], **more: str) -> None:
    sbin = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        command, env={**os.environ, **sbin, **more}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
