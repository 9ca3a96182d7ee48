"""`nightherd up`: everything on one machine, each its own process, under one supervisor."""

import asyncio
import contextlib
import datetime as dt
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from chassis.channel import open_channel
from chassis.tls import Identity
from cli import enrol, mongod
from cli.children import Child, FalseStartError, Program
from cli.homes import Home
from cli.rest import Gateway, RestError

log = structlog.get_logger()
ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
MONGO_S = 10.0
SELF_TEST_S = 10.0
RENEW_CHECK_S = 600.0
SERVICES = ("store", "modeler", "detector")


class UpError(Exception):
    """It cannot start; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` was asked for."""

    home: Home
    port: int
    herd: str
    agent: bool


def lock(home: Home) -> int:
    """Let one `up` at a time use a home.

    Raises:
        UpError: another one does, or the home cannot be written.
    """
    try:
        home.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        home.state.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(home.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UpError(
            f"{home.path} cannot be used: {error.strerror} (choose another: --home, NIGHTHERD_HOME)"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UpError(
            f"another `nightherd up` uses {home.path} (choose another: --home, NIGHTHERD_HOME)"
        ) from None
    return fd


def unprivileged_user() -> tuple[int, int] | None:
    """Return who everything but the agent runs as; None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("nightherd", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return None


def can_run_as(user: tuple[int, int], probe: Path) -> bool:
    """Whether `user` can read the programs, this Python and `probe`."""
    script = "import sys, grpc, motor, services.store.settings; open(sys.argv[1]).read()"
    try:
        run = subprocess.run(
            [sys.executable, "-c", script, str(probe)],
            user=user[0],
            group=user[1],
            extra_groups=[],
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return run.returncode == 0


def environment(program: str = "", **settings: str) -> dict[str, str]:
    """Return a child's environment: ours, without settings of other programs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NIGHTHERD_")
        or name in ("NIGHTHERD_LOG_LEVEL", "NIGHTHERD_LOG_FORMAT", "NIGHTHERD_CONFIG")
        or (program and name.startswith(f"NIGHTHERD_{program.upper()}_"))
    }
    kept["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), str(ROOT / "gen"), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    prefix = f"NIGHTHERD_{program.upper()}_"
    for name, value in settings.items():
        key = name if name.startswith("NIGHTHERD_") else prefix + name.upper()
        kept[key] = value
    return kept


def port_is_free(port: int) -> bool:
    """Whether a TCP port of 127.0.0.1 can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_ports(home: Home) -> dict[str, int]:
    """Return a port for each service: those of last time where they are free."""
    path = home.state / "ports.json"
    try:
        known = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        known = {}
    ports: dict[str, int] = {}
    for name in SERVICES:
        port = known.get(name)
        if not (isinstance(port, int) and 0 < port < 65536 and port_is_free(port)):  # noqa: PLR2004
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        ports[name] = port
    path.write_text(json.dumps(ports), encoding="ascii")
    return ports


def admin_password(home: Home) -> str:
    """Return the first password: NIGHTHERD_ADMIN_PASSWORD, else the one made at the first start."""
    given = os.environ.get("NIGHTHERD_ADMIN_PASSWORD", "")
    path = home.password_file
    if not given and path.exists():
        return path.read_text(encoding="utf-8").strip()
    password = given or secrets.token_urlsafe(15)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(f"{password}\n")
    return password


class Up:
    """One running installation."""

    def __init__(self, options: Options) -> None:
        """Nothing is started yet."""
        self.options, self.home = options, options.home
        self.children: list[Child] = []
        self.user = unprivileged_user()
        self.ports: dict[str, int] = {}
        self._key = b""
        self._said: list[str] = []
        self._agent: dict[str, Any] = {}
        self._agent_began = dt.datetime.now(dt.UTC)

    async def run(self) -> None:
        """Start everything, say so, keep it running until SIGTERM or Ctrl-C, stop it in order.

        Raises:
            UpError: it cannot start.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        self._prepare()
        starting = asyncio.create_task(self._start_all())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._say_hello()
                renewing = asyncio.create_task(self._renew())
                await stopping
                renewing.cancel()
            else:
                starting.cancel()
        finally:
            print("stopping", flush=True)
            await asyncio.gather(starting, return_exceptions=True)
            for child in reversed(self.children):
                await child.stop()
            (self.home.state / "pids.json").unlink(missing_ok=True)
            shutil.rmtree(self.home.sockets, ignore_errors=True)

    def _prepare(self) -> None:
        if not port_is_free(self.options.port):
            raise UpError(
                f"port {self.options.port} of 127.0.0.1 is in use: choose another with --port"
            )
        home = self.home
        for folder in (home.logs, home.data, home.sockets, home.path / "tls"):
            folder.mkdir(mode=0o711 if folder.name == "tls" else 0o700, parents=True, exist_ok=True)
        enrol.renew_services(home, self.user)
        if self.user and not can_run_as(self.user, home.tls("store") / "cert.pem"):
            self._said.append(
                "Everything runs as root: the unprivileged user cannot read this checkout, its "
                "Python, or the home folder (put them where others may read, e.g. below /opt)."
            )
            self.user = None
            enrol.renew_services(home, (0, 0))
        for folder in (home.data, home.sockets):
            enrol.own(folder, self.user or ((0, 0) if os.geteuid() == 0 else None))
        self.ports = choose_ports(home)

    async def _start_all(self) -> None:
        url = await self._start_mongo()
        database = {"NIGHTHERD_MONGO_URL": url}
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        for name, peers in (
            ("store", {}),
            ("modeler", {}),
            ("detector", {"store": at["store"], "modeler": at["modeler"]}),
        ):
            settings = {"listen": at[name], "tls_dir": str(self.home.tls(name)), **peers}
            await self._start_service(name, {**settings, **database})
        await self._start_gateway(at, database)
        if self.options.agent:
            await self._start_agent(at)

    async def _start_mongo(self) -> str:
        found = mongod.find()
        self._said += found.said
        if found.url:
            await _until_mongo_answers(found.url)
            return found.url
        if not found.binary:
            raise UpError("\n".join([*found.said, mongod.WAYS_OUT]))
        mongod.clear_sockets(self.home)
        program = Program(
            "mongod",
            mongod.arguments(found.binary, self.home),
            environment(),
            self.user,
            stop_s=30,
        )
        url = mongod.url_of(self.home)
        await self._start(program, lambda: _mongo_answers(url))
        return url

    async def _start_service(self, name: str, settings: dict[str, str]) -> None:
        program = Program(
            name,
            [sys.executable, "-m", f"services.{name}"],
            environment(name, **settings),
            self.user,
        )
        await self._start(program, lambda: self._serving(name))

    async def _start_gateway(self, at: dict[str, str], database: dict[str, str]) -> None:
        settings = {
            "listen": f"127.0.0.1:{self.options.port}",
            "tls_dir": str(self.home.tls("gateway")),
            "NIGHTHERD_ADMIN_PASSWORD": admin_password(self.home),
            **at,
            **database,
        }
        program = Program(
            "gateway",
            [sys.executable, "-m", "gateway"],
            environment("gateway", **settings),
            self.user,
        )
        await self._start(program, self._gateway_answers)

    async def _start_agent(self, at: dict[str, str]) -> None:
        settings = {"dir": str(self.home.agent), "tls_dir": str(self.home.agent / "tls"), **at}
        own = environment("agent", **settings)
        self._key = await asyncio.to_thread(enrol.signing_key, own)
        enrol.renew_host(self.home, self.options.herd, self._key)
        program = Program("agent", [sys.executable, "-m", "agent"], own)

        self._agent_began = dt.datetime.now(dt.UTC)
        await self._start(program, self._agent_watches)

    async def _agent_watches(self) -> bool:
        """Whether the agent sees: its status came through the store after it was started."""
        try:
            host = await asyncio.to_thread(self._ask_for_host)
        except (RestError, OSError):
            return False
        if host is None:
            return False
        self._agent = host
        age_s = (dt.datetime.now(dt.UTC) - self._agent_began).total_seconds()
        heard = dt.datetime.fromisoformat(host["lastSeen"]) >= self._agent_began
        known = heard and host["agentState"] in ("started", "running")
        # Without a passed self-test it goes on too: what is not seen is said below.
        return known and (host["selfTestPassed"] or age_s > SELF_TEST_S)

    def _ask_for_host(self) -> dict[str, Any] | None:
        gateway = Gateway(self.home, f"https://localhost:{self.options.port}")
        found, _ = gateway.get("nightherd/hosts", hostname=enrol.host_id(self.home))
        return found[0] if found else None

    async def _start(self, program: Program, ready: Callable[[], Awaitable[bool]]) -> None:
        print(f"starting {program.name}", flush=True)
        child = Child(program, self.home.logs / f"{program.name}.log", ready)
        self.children.append(child)
        await child.start()
        try:
            await child.until_ready(START_S)
        except (TimeoutError, FalseStartError) as error:
            what = (
                "ends at once"
                if isinstance(error, FalseStartError)
                else (f"did not begin to work within {START_S:.0f} s")
            )
            raise UpError(
                f"{program.name} {what}; the end of "
                f"{self.home.logs / (program.name + '.log')}:\n{self._tail(program.name)}"
            ) from None
        pids = {each.program.name: each.pid for each in self.children}
        (self.home.state / "pids.json").write_text(json.dumps(pids), encoding="ascii")

    def _tail(self, name: str) -> str:
        try:
            text = (self.home.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-10:])

    async def _serving(self, name: str) -> bool:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        credentials = Identity(self.home.tls("gateway")).channel_credentials()
        channel = open_channel(f"127.0.0.1:{self.ports[name]}", credentials, name)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=2
            )
        except grpc.aio.AioRpcError:
            return False
        finally:
            await channel.close()
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _gateway_answers(self) -> bool:
        return await asyncio.to_thread(gateway_answers, self.home, self.options.port)

    async def _renew(self) -> None:
        """Renew certificates at two thirds of their life; programs follow the files."""
        while True:
            await asyncio.sleep(RENEW_CHECK_S)
            try:
                enrol.renew_services(self.home, self.user)
                if self.options.agent:
                    enrol.renew_host(self.home, self.options.herd, self._key)
            except (OSError, ValueError) as error:
                log.error("certificates not renewed", error=str(error))  # noqa: TRY400

    def _say_hello(self) -> None:
        port, home = self.options.port, self.home
        lines = [
            "",
            f"Nightherd is up: https://localhost:{port}/api/v1",
            f"  user admin, password {admin_password(home)}   (also in {home.password_file})",
            f"  CA certificate {home.ca / 'ca.pem'}",
            f"  logs {home.logs}",
        ]
        if not self.options.agent:
            lines.append("  no agent: this host is not watched")
        else:
            lines.append(
                f"  agent: level {self._agent.get('level', 'unknown')}, herd {self.options.herd}"
            )
            lines += [f"    not seen: {sentence}" for sentence in self._agent.get("notSeen", [])]
            if os.geteuid() != 0:
                lines.append("    start as root to see everything")
        lines += [f"  note: {sentence}" for sentence in self._said]
        lines.append(
            f"try: curl --cacert {home.ca / 'ca.pem'} -u admin "
            f"https://localhost:{port}/api/v1/nightherd/hosts"
        )
        lines.append("Ctrl-C stops everything in order.")
        print("\n".join(lines), flush=True)


async def _until_mongo_answers(url: str) -> None:
    """Wait for a MongoDB of somebody else's.

    Raises:
        UpError: it does not answer. The URL is not printed: it may hold a password.
    """
    from chassis import mongo

    try:
        async with asyncio.timeout(MONGO_S):
            while not await _mongo_answers(url):  # noqa: ASYNC110  (only asking tells)
                await asyncio.sleep(0.2)
    except (mongo.PyMongoError, ValueError) as error:
        raise UpError(f"NIGHTHERD_MONGO_URL cannot be used: {error}") from None
    except TimeoutError:
        raise UpError(
            f"the MongoDB of NIGHTHERD_MONGO_URL does not answer within {MONGO_S:.0f} s"
        ) from None


async def _mongo_answers(url: str) -> bool:
    from chassis import mongo

    client = mongo.connect(url)
    try:
        return await mongo.reachable(client)
    finally:
        client.close()


def gateway_answers(home: Home, port: int) -> bool:
    """Whether the gateway answers on `port`."""
    context = ssl.create_default_context(cafile=str(home.ca / "ca.pem"))
    try:
        with urllib.request.urlopen(
            f"https://localhost:{port}/api/v1/_ping", timeout=3, context=context
        ) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False
