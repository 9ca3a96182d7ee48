"""The agent run as a program against a receiver, and what the receiver was told."""

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import zstandard

from agent import segments
from evidence.lineage import Lineage
from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver
from tests.conftest import ROOT
from tests.patience import patient

HOST_ID = uuid.uuid4().hex


class Agent:
    """The agent as a program, in a folder of its own."""

    def __init__(self, folder: Path, tls, port: int) -> None:
        self._folder, self._tls, self._port = folder, tls, port
        self._more: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.begin: list[str] = []
        """What the command begins with: who runs the agent as somebody else."""
        self.watched = folder / "watched"
        self.watched.mkdir()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "NIGHTHERD_AGENT_DIR": str(self._folder / "agent"),
            "NIGHTHERD_AGENT_TLS_DIR": str(self._folder / "tls"),
            "NIGHTHERD_AGENT_STORE": f"127.0.0.1:{self._port}",
            "NIGHTHERD_AGENT_WATCH_PATHS": f'["{self.watched}"]',
        } | self._more

    async def enrol(self) -> bytes:
        """Give it a certificate; return its signing key."""
        process = await self.call("--print-signing-key", stdout=asyncio.subprocess.PIPE)
        key = bytes.fromhex((await process.communicate())[0].decode())
        self._tls.authority.issue(
            self._folder / "tls", "host", host_id=HOST_ID, herd="default", signing_key=key
        )
        return key

    async def call(self, *arguments, **options) -> asyncio.subprocess.Process:
        """Run one of its commands."""
        return await asyncio.create_subprocess_exec(
            *self.begin,
            sys.executable,
            "-m",
            "agent",
            *arguments,
            env=self._environment(),
            cwd=ROOT,
            **options,
        )

    async def start(self, **settings) -> None:
        """Start it, with settings by name."""
        self._more = {f"NIGHTHERD_AGENT_{name.upper()}": value for name, value in settings.items()}
        self.process = await self.call()

    async def end(self, number: int) -> int:
        """End it by a signal; return its status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), patient(60))


@asynccontextmanager
async def an_agent(folder, tls, port):
    """Give an agent that ships to `port`; it is ended with the block."""
    agent = Agent(folder, tls, port)
    try:
        yield agent
    finally:
        if agent.process is not None and agent.process.returncode is None:
            agent.process.kill()
            await agent.process.wait()


def bodies(receiver: Receiver) -> Iterator[events.EventBatch]:
    """Bodies of the batches it has, in order."""
    for number in sorted(receiver.batches):
        raw = zstandard.ZstdDecompressor().decompress(receiver.batches[number].body)
        yield events.EventBatch.FromString(raw)


def pids_above(receiver: Receiver, image: events.Image) -> list[int]:
    """What stands above an image, nearest first."""
    body = next(body for body in bodies(receiver) if image in body.images)
    return [ancestor.pid for ancestor in Lineage(body).above(image)]


def told(receiver: Receiver):
    """Every (image or None, event) the receiver has, in order."""
    for body in bodies(receiver):
        for event in body.events:
            yield (body.images[event.actor] if event.HasField("actor") else None), event


def changed(receiver: Receiver, path: Path):
    """Every (image or None, event) in which a file changed."""
    return [
        (image, event)
        for image, event in told(receiver)
        if any(change.path == bytes(path) for change in event.file_change.changes)
    ]


def gaps(receiver: Receiver, cause) -> list[events.Gap]:
    return [event.gap for _, event in told(receiver) if event.gap.cause == cause]


def statuses(receiver: Receiver) -> list[events.AgentStatus]:
    return [event.agent_status for _, event in told(receiver) if event.HasField("agent_status")]


async def run(*command: str) -> int:
    """Run a command to its end; return the process id that it had."""
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()
    return process.pid


def spooled(spool: Path) -> bytes:
    """What lies in a spool, decompressed."""
    return b"".join(
        zstandard.ZstdDecompressor().decompress(record.batch.body)
        for path in sorted(spool.glob("*.seg"))
        for record in segments.read(path)
    )
