"""The real gateway over HTTPS, before the real store and modeler, over a real mongod."""

import asyncio
import contextlib
import os
import secrets
import ssl
import sys

import httpx2
import pytest

from chassis import mongo
from chassis.channel import Channel, open_channel
from gateway import __main__ as gateway
from gateway.passwords import Passwords
from gateway.repository import Repository, User
from gateway.settings import Settings
from nightherd.modeler.v1 import modeler_service_pb2 as modeler_pb
from nightherd.modeler.v1.modeler_service_pb2_grpc import ModelerServiceStub
from nightherd.store.v1 import store_service_pb2 as store_pb
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceStub
from services.modeler import __main__ as modeler
from services.modeler.settings import Settings as ModelerSettings
from services.store import __main__ as store
from services.store.settings import Settings as StoreSettings
from tests.conftest import ROOT
from tests.ports import free_port
from tests.services_client import MODELER, STORE, deliver, until_serving

PASSWORD = "correct horse battery staple"
ADMIN = ("admin", PASSWORD)


@contextlib.asynccontextmanager
async def running(coroutine):
    """A program in a task of its own."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def client_of(ca, port, **options):
    context = ssl.create_default_context(cafile=str(ca))
    return httpx2.AsyncClient(
        base_url=f"https://localhost:{port}/api/v1", verify=context, timeout=30, **options
    )


class Gateway:
    """A running gateway: `get` asks as admin, `client` as nobody."""

    def __init__(self, port, database, ca) -> None:
        self.port, self.database, self._ca = port, database, ca
        self.client = client_of(ca, port)

    async def get(self, path, auth=ADMIN, headers=None, **query):
        return await self.client.get(path, params=query, auth=auth, headers=headers)

    async def rows(self, path, **query):
        answer = await self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path, body, auth=ADMIN):
        return await self.client.post(path, json=body, auth=auth)

    async def token(self, name="admin", password=PASSWORD):
        answer = await self.post("/authenticate", {"username": name, "password": password}, None)
        assert answer.status_code == 200, answer.text
        return answer.json()["token"]

    async def add_user(self, role, name=None, password=PASSWORD):
        """Add a user; return (name, password)."""
        name = name or f"{role}-{secrets.token_hex(3)}"
        hashed = await _PASSWORDS.hash(password)
        await Repository(self.database).put_user(User(name, role, hashed))
        return name, password


_PASSWORDS = Passwords()


@pytest.fixture(scope="session")
async def names():
    """Databases of this session's programs."""
    mark = secrets.token_hex(4)
    return {name: f"{name}_{mark}" for name in ("store", "modeler", "gateway")}


@pytest.fixture(scope="session")
async def certificates(authority, tmp_path_factory):
    """Folders of identities by role."""
    from chassis.authority import local_names

    folder = tmp_path_factory.mktemp("identities")
    for role in ("store", "modeler", "detector", "gateway"):
        authority.issue(folder / role, role, names=local_names() if role == "gateway" else ())
    return folder


class Backend:
    """A real store and modeler, fed as detectors and agents feed them."""

    def __init__(self, certificates, authority, ports) -> None:
        from chassis.tls import Identity

        self._authority, self._folder = authority, certificates
        self.address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        credentials = Identity(certificates / "detector").channel_credentials()
        self._as_detector = open_channel(self.address["store"], credentials, "store")
        self._watching = open_channel(self.address["modeler"], credentials, "modeler")
        self.store = StoreServiceStub(self._as_detector)
        self.watcher = ModelerServiceStub(self._watching)

    async def record(self, *findings):
        for start in range(0, len(findings), 500):
            some = findings[start : start + 500]
            await self.store.RecordFindings(store_pb.RecordFindingsRequest(findings=some))

    async def deliver(self, batches, host_id, herd="default", to=(STORE, MODELER)):
        from chassis.tls import Identity

        folder = self._folder / f"host-{host_id}-{herd}"
        self._authority.issue(folder, "host", host_id=host_id, herd=herd)
        for role in to:
            await deliver(self.address[role], Identity(folder), batches, host_id, role)

    @contextlib.asynccontextmanager
    async def detector(self, name):
        """A detector that watches models and applies them when told."""
        call = self.watcher.WatchModels()

        async def apply(revision):
            await call.write(
                modeler_pb.WatchModelsRequest(detector_id=name, applied_revision=revision)
            )

        await apply(0)
        async with asyncio.timeout(60):
            while not (await call.read()).complete:
                pass
        try:
            yield apply
        finally:
            call.cancel()

    async def close(self):
        await self._as_detector.close()
        await self._watching.close()


@pytest.fixture(scope="session")
async def backend(mongo_url, certificates, authority, names):
    from chassis.tls import Identity

    ports = {"store": free_port(), "modeler": free_port()}
    programs = {"store": (store, StoreSettings), "modeler": (modeler, ModelerSettings)}
    async with contextlib.AsyncExitStack() as stack:
        for name, (module, settings) in programs.items():
            options = settings(
                listen=f"127.0.0.1:{ports[name]}",
                tls_dir=certificates / name,
                NIGHTHERD_MONGO_URL=mongo_url,
                database=names[name],
                drain_seconds=0.2,
            )
            await stack.enter_async_context(running(module.serve(options)))
            channel = Channel(f"127.0.0.1:{ports[name]}", Identity(certificates / "gateway"), name)
            await until_serving(channel.get())
            await channel.close()
        found = Backend(certificates, authority, ports)
        yield found
        await found.close()


@contextlib.asynccontextmanager
async def a_gateway(mongo_url, certificates, database, authority_file, **options):
    """Run a gateway; wait until it answers."""
    port = free_port()
    values = {
        "listen": f"127.0.0.1:{port}",
        "tls_dir": certificates / "gateway",
        "NIGHTHERD_MONGO_URL": mongo_url,
        "NIGHTHERD_ADMIN_PASSWORD": PASSWORD,
        "database": database,
        "drain_seconds": 1,
        "store": "127.0.0.1:1",
        "modeler": "127.0.0.1:1",
        "detector": "127.0.0.1:1",
    }
    client = mongo.connect(mongo_url)
    found = Gateway(port, client[database], authority_file)
    async with running(gateway.serve(Settings(**values | options))):
        try:
            async with asyncio.timeout(60):
                while not await answers(found):
                    await asyncio.sleep(0.05)
            yield found
        finally:
            await found.client.aclose()
            client.close()


async def answers(found):
    try:
        return (await found.client.get("/_ping")).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="session")
async def start(mongo_url, certificates, names):
    """Start a gateway with settings of its own: `async with start(store=…) as gateway`."""
    ca = certificates / "gateway" / "ca.pem"

    def begin(database="", **options):
        name = database or f"{names['gateway']}_{secrets.token_hex(3)}"
        return a_gateway(mongo_url, certificates, name, ca, **options)

    return begin


@pytest.fixture(scope="session")
async def api(start, backend, names):
    """The gateway before store and modeler; tests share it and bring data of their own."""
    addresses = {"store": backend.address["store"], "modeler": backend.address["modeler"]}
    async with start(names["gateway"], **addresses) as found:
        yield found


@pytest.fixture
def ask(api, certificates, tmp_path):
    """Type a command to `nightherd`, with the gateway's address and password; return what it says (else its complaint).

    `status` is how it must end, `stdin` what it reads.
    """
    from cli.homes import Home

    env = os.environ | {
        "NIGHTHERD_ADMIN_PASSWORD": PASSWORD,
        "NIGHTHERD_CA": str(certificates / "gateway" / "ca.pem"),
        "PYTHONPATH": f"{ROOT}:{ROOT}/gen",
    }
    state = Home(tmp_path).state
    state.mkdir(exist_ok=True, parents=True)
    (state / "port").write_text(str(api.port))

    async def run(command, *arguments, status=0, stdin=asyncio.subprocess.DEVNULL):
        words = [sys.executable, "-m", "cli", command, "--home", str(tmp_path), *arguments]
        # A process of its own: the services of this one write to its output.
        process = await asyncio.create_subprocess_exec(
            *words, env=env, stdin=stdin, stdout=-1, stderr=-1, cwd=ROOT
        )
        said, error = await process.communicate()
        assert process.returncode == status, error
        return said.decode() or error.decode()

    return run
