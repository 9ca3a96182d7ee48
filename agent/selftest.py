"""The self-test: a canary program changes a canary file; whoever sees neither is blind."""

import asyncio
import secrets
import time
from pathlib import Path

from agent.stages.fold import Made


class Canary:
    """One run of the test: a program with a unique argument creates and removes a file."""

    def __init__(self, folder: Path, *, whole: bool) -> None:
        """Prepare; `folder` must be watched. `whole`: processes and actors are tested too."""
        self._token = secrets.token_hex(8)
        self._file = folder / f"canary-{self._token}"
        self._path = bytes(self._file)
        self._argument = self._token.encode()
        self._whole = whole
        self._exec_id = ""
        self._program = asyncio.Event()
        self._change = asyncio.Event()
        self._by_whom = ""

    def saw(self, made: Made) -> None:
        """Look at one event that passes by."""
        event = made.event
        if event.HasField("exec") and made.image is not None:
            if any(self._argument in argument for argument in made.image.arguments):
                self._exec_id = made.image.exec_id
                self._program.set()
        elif event.HasField("file_change") and any(
            change.path == self._path for change in event.file_change.changes
        ):
            self._by_whom = made.image.exec_id if made.image is not None else ""
            self._change.set()

    async def run(self, patience_s: float) -> list[str]:
        """Run it; return what was not seen in time, in sentences; empty when all is well."""
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            ': > "$1"; rm -f "$1"',
            "nightherd-self-test",
            str(self._file),
            stdin=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
        deadline = time.monotonic() + patience_s
        missing: list[str] = []
        waits = [(self._change, "A file change was not seen by the self-test.")]
        if self._whole:
            waits.append((self._program, "A program's start was not seen by the self-test."))
        for event, sentence in waits:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.01)):
                    await event.wait()
            except TimeoutError:
                missing.append(sentence)
        # rm is another image; the shell's own write names the shell, and either counts as a child.
        if self._whole and not missing and not self._by_whom:
            missing.append("Who changed a file was not seen by the self-test.")
        return missing
