"""`nightherd export`: a file of events, and beside it the proof it can be checked by."""

import errno
import http.client
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.homes import Home
from cli.parts import BrokenPartError, Parts
from cli.rest import Gateway, RestError

READ_BYTES = 1 << 20
MOST_TRIES = 6
"""Tries in a row of which none brings a batch."""
LONGEST_PAUSE_S = 16.0
WRITE_FAILED, UNREACHABLE = 1, 4


def run_export(
    home: Home, form: str, out: Path, query: Mapping[str, Any], *, force: bool = False
) -> int:
    """Write `out` and its proof; 0 done, 1 it cannot be written, 4 the gateway does not answer."""
    try:
        with (parts := Parts(out, form, query, force=force)):
            gateway = Gateway(home)
            _fetch(gateway, form, parts, dict(query))
            parts.finish()
    except RestError as error:
        print(f"nightherd: {error}", file=sys.stderr)
        return UNREACHABLE
    except BrokenPartError as error:
        print(f"nightherd: {error}", file=sys.stderr)
        return WRITE_FAILED
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        print(
            f"nightherd: {error.filename or out}: {what}"
            + ("; what is there is kept, the same command goes on" if parts.position else ""),
            file=sys.stderr,
        )
        return WRITE_FAILED
    told = Progress.line(parts.events, parts.size, 0)
    if not parts.events:
        told = "nothing matched: no rows"
    print(f"{out}: {told}; proof: {parts.proof_file}", file=sys.stderr)
    return 0


def _fetch(gateway: Gateway, form: str, parts: Parts, query: dict[str, Any]) -> None:
    """Fetch until the end came; what breaks off is taken up behind the last whole batch.

    Raises:
        RestError: it is refused, or nobody answers for long.
        OSError: the file cannot be written.
    """
    progress, failures = Progress(), 0
    while not parts.complete:
        before = parts.position
        try:
            with gateway.open(
                f"nightherd/export/{form}", **query, position=parts.position
            ) as answer:
                while not parts.complete and (some := _read(answer)):
                    parts.take(some)
                    progress.tell(parts.events, parts.size)
            why = "the answer broke off"
        except RestError as error:
            # A refusal stays one; who was reached before may be back soon.
            if error.status and error.status != http.client.SERVICE_UNAVAILABLE:
                raise
            if not parts.position and not failures:
                raise
            why = str(error)
        if parts.complete:
            return
        parts.rewind()
        failures = 0 if parts.position != before else failures + 1
        if failures == MOST_TRIES:
            raise RestError(f"{why}; gave up after {MOST_TRIES} tries")
        pause_s = min(2.0**failures / 2, LONGEST_PAUSE_S)
        print(f"nightherd: {why}; going on in {pause_s:.1f} s", file=sys.stderr)
        time.sleep(pause_s)


def _read(answer: Any) -> bytes:
    """Return more of the answer; b"" at its end, however it ended."""
    try:
        some: bytes = answer.read1(READ_BYTES)
    except (http.client.HTTPException, OSError):
        return b""
    return some


class Progress:
    """Says how far it is, once a second, on a terminal."""

    def __init__(self) -> None:
        """Begin the clock."""
        self._began = self._told = time.monotonic()
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._first: int | None = None

    def tell(self, events: int, size: int) -> None:
        """Print a line over the last one, when it is time."""
        now = time.monotonic()
        if self._first is None:
            self._first = events
        if not self._shown or now - self._told < 1:
            return
        self._told = now
        rate = (events - self._first) / (now - self._began)
        print(f"\r{self.line(events, size, rate)}  ", end="", file=sys.stderr, flush=True)

    @staticmethod
    def line(events: int, size: int, rate: float) -> str:
        """Return how far it is in words; `rate` 0: not said."""
        told = f"{events:,} events, {size / 1e6:,.1f} MB"
        return f"{told}, {rate:,.0f} events/s" if rate else told
