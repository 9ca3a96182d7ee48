"""`nightherd up`: everything on one machine, each its own process, under one supervisor."""

import asyncio
import signal
import sys
from dataclasses import dataclass

import structlog

from cli import enrol, mongod
from cli.children import Program
from cli.environment import environment
from cli.errors import UpError
from cli.family import Family
from cli.first_look import FirstLook
from cli.greeting import greeting
from cli.homes import Home
from cli.notices import Notices
from cli.password import admin_password
from cli.preparing import Prepared, clear, prepare, prepare_services
from cli.readiness import (
    enrolment_answers,
    gateway_answers,
    mongo_answers,
    serving,
    until_mongo_answers,
)

log = structlog.get_logger()
RENEW_CHECK_S = 600.0
RECEIVERS = ("store", "detector", "modeler")
RETRY_S = "1"
"""How often our agent tries to reach services that are starting: they are on this machine."""
DRAIN_S = "1"
"""How long the agent's streams may go on when a service stops: it does not end them, as it stops
last, and sends again what was not acknowledged."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` was asked for."""

    home: Home
    port: int
    herd: str
    agent: bool
    all_addresses: bool = False
    """Whether agents of other machines may come."""

    @property
    def listen(self) -> str:
        """The address on which agents are received."""
        return "0.0.0.0" if self.all_addresses else "127.0.0.1"  # noqa: S104  (by request)


class Up:
    """One running installation."""

    def __init__(self, options: Options) -> None:
        """Nothing is started yet."""
        self.options, self.home = options, options.home
        self._family = Family(self.home)
        self._prepared = Prepared(None)
        self._look: FirstLook | None = None

    async def run(self) -> None:
        """Start everything, say so, keep it running until SIGTERM or Ctrl-C, stop it in order.

        Raises:
            UpError: it cannot start.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._hear, stop)
        self._prepared = prepare(self.home, self.options.port)
        starting = asyncio.create_task(self._start_all())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._greet()
                renewing = asyncio.create_task(self._renew())
                await stopping
                renewing.cancel()
            else:
                starting.cancel()
        finally:
            print("stopping", flush=True)
            await asyncio.gather(starting, return_exceptions=True)
            await self._family.stop()
            clear(self.home)

    def _hear(self, stop: asyncio.Event) -> None:
        """Stop in order; whoever is impatient is told what is waited for, and changes nothing."""
        if stop.is_set() and self._family.stopping:
            print(f"still stopping: waiting for {self._family.stopping}", flush=True)
        stop.set()

    async def _start_all(self) -> None:
        at = {name: f"127.0.0.1:{port}" for name, port in self._prepared.ports.items()}
        enrolment = at.pop("enrolment")
        open_at = {
            name: f"{self.options.listen}:{port}" for name, port in self._prepared.ports.items()
        }
        if self.options.agent:
            # First, and so the last to stop: it keeps what it sees until the services answer.
            await self._start_agent({**at, "enrolment": f"https://{enrolment}"})
        await asyncio.to_thread(prepare_services, self.home, self._prepared)
        url = await self._start_mongo()
        database = {"NIGHTHERD_MONGO_URL": url}
        own = {**database, "heads_file": str(self.home.heads)}
        # Two at a time: each is busy with loading itself.
        await asyncio.gather(
            self._start_service("store", open_at, own),
            self._start_service("modeler", open_at, database),
        )
        peers = {name: at[name] for name in ("store", "modeler")}
        await asyncio.gather(
            self._start_service("detector", open_at, {**peers, **database}),
            self._start_gateway(at, database),
        )
        await self._start_enrolment(open_at["enrolment"])
        if self._look is not None:
            print("waiting for what the agent kept meanwhile", flush=True)
            await self._family.until(
                "agent", self._look.succeeds, "was not heard of through the gateway"
            )

    async def _start_mongo(self) -> str:
        found = await asyncio.to_thread(mongod.find)
        self._prepared.said += found.said
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
            self._prepared.user,
            stop_s=60,
        )
        url = mongod.url_of(self.home)
        await self._family.start(program, lambda: mongo_answers(url))
        return url

    async def _start_service(
        self, name: str, open_at: dict[str, str], settings: dict[str, str]
    ) -> None:
        settings = {"listen": open_at[name], "tls_dir": str(self.home.tls(name)), **settings}
        own = environment(name, **settings)
        own.setdefault(f"NIGHTHERD_{name.upper()}_DRAIN_SECONDS", DRAIN_S)
        program = Program(
            name, [sys.executable, "-m", f"services.{name}"], own, self._prepared.user
        )
        address, tls = f"127.0.0.1:{self._prepared.ports[name]}", self.home.tls("gateway")
        await self._family.start(program, lambda: serving(tls, address, name))

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
            self._prepared.user,
        )
        await self._family.start(program, self._gateway_answers)

    async def _start_enrolment(self, listen: str) -> None:
        program = Program(
            "enrolment",
            [sys.executable, "-m", "enrolment"],
            environment("enrolment", listen=listen, dir=str(self.home.ca)),
            # As we are: the others, who share a user, must not read the authority's key.
        )
        port = self._prepared.ports["enrolment"]
        await self._family.start(
            program, lambda: asyncio.to_thread(enrolment_answers, self.home, port)
        )

    async def _start_agent(self, at: dict[str, str]) -> None:
        notices = Notices()
        try:
            settings = {
                "dir": str(self.home.agent),
                "tls_dir": str(self.home.agent / "tls"),
                "NOTIFY_SOCKET": notices.address,
                **at,
            }
            own = environment("agent", **settings)
            own.setdefault("NIGHTHERD_AGENT_RETRY_SECONDS", RETRY_S)
            key = await asyncio.to_thread(enrol.signing_key, self.home, own)
            enrol.renew_host(self.home, self.options.herd, key)
            program = Program("agent", [sys.executable, "-m", "agent"], own)
            self._look = FirstLook(self.home, self.options.port)
            await self._family.start(program, notices.is_ready)
            self._look.level = notices.level
        finally:
            notices.close()
        print(f"agent: {notices.status}", flush=True)

    async def _gateway_answers(self) -> bool:
        return await asyncio.to_thread(gateway_answers, self.home, self.options.port)

    async def _renew(self) -> None:
        """Renew the services' certificates at two thirds of their life; the agent renews its own.

        Programs follow the files.
        """
        while True:
            await asyncio.sleep(RENEW_CHECK_S)
            try:
                enrol.renew_services(self.home, self._prepared.user)
            except (OSError, ValueError) as error:
                log.error("certificates not renewed", error=str(error))  # noqa: TRY400

    def _greet(self) -> None:
        port, herd = self.options.port, self.options.herd
        host = self._look.host if self._look else None
        notes = [*self._prepared.said, *self._where_agents_come()]
        print(greeting(self.home, port, herd, host, notes), flush=True)

    def _where_agents_come(self) -> list[str]:
        if not self.options.all_addresses:
            return []
        ports = self._prepared.ports
        at = ", ".join(f"{name} {ports[name]}" for name in ("enrolment", *RECEIVERS))
        return [f"agents of other machines are received on every address: ports {at}"]
