"""`nightherd up`: everything on one machine, each its own process, under one supervisor."""

import asyncio
import datetime as dt
import os
import shutil
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from cli import enrol, leftovers, mongod
from cli.children import Child, FalseStartError, Program
from cli.environment import environment
from cli.errors import UpError
from cli.homes import Home
from cli.password import admin_password
from cli.ports import choose_ports, port_is_free
from cli.readiness import (
    enrolment_answers,
    gateway_answers,
    mongo_answers,
    serving,
    until_mongo_answers,
)
from cli.rest import Gateway, RestError
from cli.users import can_run_as, unprivileged_user

log = structlog.get_logger()
START_S = 60.0
TOO_MANY = 429
SELF_TEST_S = 10.0
RENEW_CHECK_S = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` was asked for."""

    home: Home
    port: int
    herd: str
    agent: bool


class Up:
    """One running installation."""

    def __init__(self, options: Options) -> None:
        """Nothing is started yet."""
        self.options, self.home = options, options.home
        self.children: list[Child] = []
        self.user = unprivileged_user()
        self.ports: dict[str, int] = {}
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
        try:
            self._prepare()
        except BaseException:
            shutil.rmtree(self.home.sockets, ignore_errors=True)
            raise
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
            leftovers.forget(self.home)
            shutil.rmtree(self.home.sockets, ignore_errors=True)

    def _prepare(self) -> None:
        leftovers.end(self.home)
        if not port_is_free(self.options.port):
            raise UpError(
                f"port {self.options.port} of 127.0.0.1 is in use: choose another with --port"
            )
        home = self.home
        for folder in (
            home.logs,
            home.data,
            home.sockets,
            home.heads.parent,
            home.path / "tls",
        ):
            folder.mkdir(mode=0o711 if folder.name == "tls" else 0o700, parents=True, exist_ok=True)
        self._check_sockets()
        enrol.renew_services(home, self.user)
        if self.user and not can_run_as(self.user, home.tls("store") / "key.pem"):
            self._said.append(
                "Everything runs as root: the unprivileged user cannot read this checkout, its "
                "Python, or the home folder (put them where others may read, e.g. below /opt)."
            )
            self.user = None
            enrol.renew_services(home, (0, 0))
        for folder in (home.data, home.sockets, home.heads.parent):
            enrol.own(folder, self.user or ((0, 0) if os.geteuid() == 0 else None))
        self.ports = choose_ports(home)

    def _check_sockets(self) -> None:
        """Below /tmp anybody could have made the folder first, and would be our database.

        Raises:
            UpError: somebody did.
        """
        status = self.home.sockets.lstat()
        ours = {os.geteuid(), self.user[0] if self.user else os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
            raise UpError(f"{self.home.sockets} is not ours: remove it, or choose another --home")

    async def _start_all(self) -> None:
        url = await self._start_mongo()
        database = {"NIGHTHERD_MONGO_URL": url}
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        enrolment = at.pop("enrolment")
        for name, peers in (
            ("store", {}),
            ("modeler", {}),
            ("detector", {"store": at["store"], "modeler": at["modeler"]}),
        ):
            settings = {"listen": at[name], "tls_dir": str(self.home.tls(name)), **peers}
            if name == "store":
                settings["heads_file"] = str(self.home.heads)
            await self._start_service(name, {**settings, **database})
        await self._start_gateway(at, database)
        await self._start_enrolment(enrolment)
        if self.options.agent:
            await self._start_agent({**at, "enrolment": f"https://{enrolment}"})

    async def _start_mongo(self) -> str:
        found = mongod.find()
        self._said += found.said
        if found.url:
            await until_mongo_answers(found.url)
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
        await self._start(program, lambda: mongo_answers(url))
        return url

    async def _start_service(self, name: str, settings: dict[str, str]) -> None:
        program = Program(
            name,
            [sys.executable, "-m", f"services.{name}"],
            environment(name, **settings),
            self.user,
        )
        address, tls = f"127.0.0.1:{self.ports[name]}", self.home.tls("gateway")
        await self._start(program, lambda: serving(tls, address, name))

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

    async def _start_enrolment(self, listen: str) -> None:
        program = Program(
            "enrolment",
            [sys.executable, "-m", "enrolment"],
            environment("enrolment", listen=listen, dir=str(self.home.ca)),
            # As we are: the others, who share a user, must not read the authority's key.
        )
        port = self.ports["enrolment"]
        await self._start(program, lambda: asyncio.to_thread(enrolment_answers, self.home, port))

    async def _start_agent(self, at: dict[str, str]) -> None:
        settings = {"dir": str(self.home.agent), "tls_dir": str(self.home.agent / "tls"), **at}
        own = environment("agent", **settings)
        key = await asyncio.to_thread(enrol.signing_key, own)
        enrol.renew_host(self.home, self.options.herd, key)
        program = Program("agent", [sys.executable, "-m", "agent"], own)

        self._agent_began = dt.datetime.now(dt.UTC)
        await self._start(program, self._agent_watches)

    async def _agent_watches(self) -> bool:
        """Whether the agent sees: its status came through the store after it was started."""
        try:
            host = await asyncio.to_thread(self._ask_for_host)
        except RestError as error:
            # Somebody guessed at the password until it was locked: no reason not to watch.
            return error.status == TOO_MANY and self._agent_age_s() > SELF_TEST_S
        except OSError:
            return False
        if host is None:
            return False
        self._agent = host
        heard = dt.datetime.fromisoformat(host["lastSeen"]) >= self._agent_began
        known = heard and host["agentState"] in ("started", "running")
        # Without a passed self-test it goes on too: what is not seen is said below.
        return known and (host["selfTestPassed"] or self._agent_age_s() > SELF_TEST_S)

    def _agent_age_s(self) -> float:
        return (dt.datetime.now(dt.UTC) - self._agent_began).total_seconds()

    def _ask_for_host(self) -> dict[str, Any] | None:
        gateway = Gateway(self.home, f"https://localhost:{self.options.port}")
        found, _ = gateway.get("nightherd/hosts", hostname=enrol.host_id(self.home))
        return found[0] if found else None

    async def _start(self, program: Program, ready: Callable[[], Awaitable[bool]]) -> None:
        print(f"starting {program.name}", flush=True)
        child = Child(program, self.home.logs / f"{program.name}.log", ready, self._note)
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

    def _note(self) -> None:
        leftovers.note(self.home, {each.program.name: each.pid for each in self.children})

    def _tail(self, name: str) -> str:
        try:
            text = (self.home.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-10:])

    async def _gateway_answers(self) -> bool:
        return await asyncio.to_thread(gateway_answers, self.home, self.options.port)

    async def _renew(self) -> None:
        """Renew the services' certificates at two thirds of their life; the agent renews its own.

        Programs follow the files.
        """
        while True:
            await asyncio.sleep(RENEW_CHECK_S)
            try:
                enrol.renew_services(self.home, self.user)
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
