"""What can be replayed: recorded batches, and logs that become events."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import zstandard

from agent import segments
from agent.audit_import import AuditImport
from agent.auditd_log import AuditdLog
from agent.spool import Spool
from agent.stages.seal import Body, Part, Sealer
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

MOST_BODY_BYTES: Final = 4 << 20


class Source(Protocol):
    """Something that was recorded. The same files give the same parts."""

    def parts(self) -> Iterator[Part]:
        """Yield batches to be sealed."""

    def summary(self) -> str:
        """Return what became of what was read, a line or more; "" when there is no more to say."""


class Recording:
    """Segments of a spool."""

    def __init__(self, files: list[Path], reject: Callable[[str], None]) -> None:
        """Read `files`."""
        self._files, self._reject = files, reject

    def parts(self) -> Iterator[Part]:
        """See Source."""
        for path in self._files:
            end = 0
            for record in segments.read(path):
                if record.offset > end:
                    self._reject(f"{path.name}: {record.offset - end} bytes at {end} are no batch")
                end = record.end
                batch = record.batch
                header = pb.BatchHeader.FromString(batch.header)
                try:
                    size = zstandard.frame_content_size(batch.body)
                    if not 0 <= size <= MOST_BODY_BYTES:
                        raise ValueError("its body is too large")  # noqa: TRY301
                    raw = zstandard.ZstdDecompressor().decompress(batch.body)
                    if hashlib.sha256(raw).digest() != header.body_hash:
                        raise ValueError("its body is not the one that was sealed")  # noqa: TRY301
                    body = events.EventBatch.FromString(raw)
                except (ValueError, zstandard.ZstdError) as error:
                    self._reject(f"{path.name}: batch {header.batch_number}: {error}")
                    continue
                if body.events:
                    yield Part(Body.of(body), "", clock.wall_minus_boot_ns())
            if path.stat().st_size > end:
                left = path.stat().st_size - end
                self._reject(f"{path.name}: {left} bytes at the end are no batch")

    def summary(self) -> str:
        """See Source."""
        return ""


class Logs:
    """Logs of auditd."""

    def __init__(self, files: list[Path], reject: Callable[[str], None]) -> None:
        """Read `files`."""
        self._log = AuditdLog(files, reject)
        self._import = AuditImport(uuid.UUID(bytes=digest_of(files)[:16]))

    def parts(self) -> Iterator[Part]:
        """See Source."""
        return self._import.parts(self._log, lambda: self._log.node)

    def summary(self) -> str:
        """See Source."""
        return self._import.summary(self._log.lines, self._log.rejected)


FORMATS: Final[dict[str, Callable[[list[Path], Callable[[str], None]], Source]]] = {
    "batches": Recording,
    "auditd": Logs,
}


def digest_of(files: list[Path]) -> bytes:
    """Return what tells these files from others."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def seal(part: Part, sealer: Sealer, spool: Spool) -> None:
    """Seal a part as the next batch of the chain, into the spool."""
    batch = sealer.seal(part.body, part.wall_minus_boot_ns, part.boot_id)
    spool.append([batch], [sealer.link])
