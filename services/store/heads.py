"""The hourly signed list of chain heads: kept elsewhere, it shows a store that was rolled back."""

import asyncio
import os
from pathlib import Path

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import clock
from chassis.mongo import PyMongoError
from evidence.heads import Head, digest, line
from services.store.repository.chains import Chains

log = structlog.get_logger()
TAIL_BYTES = 64 << 20
"""A line is never longer: heads of a few hundred thousand chains."""


class Heads:
    """Appends a line now and then; each store has a file and a key of its own."""

    def __init__(self, chains: Chains, file: Path) -> None:
        """Write to `file`; the key lies beside it.

        Raises:
            OSError: the folder cannot be used.
            ValueError: the key's file holds no Ed25519 key.
        """
        self._chains, self._file = chains, file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = _key(file.with_name(file.name + ".key"), file.with_name(file.name + ".pub"))
        self._listed: dict[tuple[str, str], Head] = {}
        self._previous = _last_line(file)

    async def run(self, pause_s: float) -> None:
        """Append a line, wait, again, until cancelled."""
        while True:
            try:
                await self.append()
            except (PyMongoError, OSError) as error:
                log.error("heads not written", error=str(error)[:200])  # noqa: TRY400
            await asyncio.sleep(pause_s)

    async def append(self) -> None:
        """Append a line with all heads that changed since the last; none changed: still a line."""
        # After a start every head is listed again.
        changed = [
            head
            async for head in self._chains.heads()
            if self._listed.get((head.host, head.chain)) != head
        ]
        content = line(clock.rfc3339(clock.wall_ns()), changed, self._previous, self._key)
        await asyncio.to_thread(self._write, content)
        self._previous = content
        self._listed |= {(head.host, head.chain): head for head in changed}
        log.info("heads signed", heads=len(changed), line_hash=digest(content))

    def _write(self, content: bytes) -> None:
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            try:
                written = 0
                while written < len(content):
                    written += os.write(fd, content[written:])
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, size)  # half a line would end the list
                raise
        finally:
            os.close(fd)


def _last_line(file: Path) -> bytes:
    """Return the last line; a torn one, which a crash left behind, is cut off."""
    try:
        with file.open("r+b") as opened:
            size = opened.seek(0, os.SEEK_END)
            start = opened.seek(max(size - TAIL_BYTES, 0))
            tail = opened.read()
            whole = tail.rfind(b"\n") + 1
            if whole < len(tail):
                opened.truncate(start + whole)
            return tail[tail.rfind(b"\n", 0, max(whole - 1, 0)) + 1 : whole]
    except FileNotFoundError:
        return b""


def _key(file: Path, public: Path) -> Ed25519PrivateKey:
    try:
        key = Ed25519PrivateKey.from_private_bytes(file.read_bytes())
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        raw = key.private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as opened:
            opened.write(raw)
            opened.flush()
            os.fsync(fd)
    public.write_text(key.public_key().public_bytes_raw().hex() + "\n", encoding="ascii")
    return key
