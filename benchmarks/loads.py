"""Load generators: C programs, compiled where they run, that count exactly what they did."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import CannotRun

SOURCES = Path(__file__).resolve().parent / "load"
TRUE = "/bin/true"
"""What most programs cost to start: a dynamic one that does nothing."""
_FLAGS = {"tiny": ("-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector")}
_STATIC = ("-static",)
"""A writer shall write, not load libraries."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a load did."""

    count: int
    seconds: float
    least_ns: float
    """Least time of one operation; 0 when it was not measured."""

    def nominal_s(self, rate: float) -> float:
        """How long it would have taken at `rate` a second, on a machine that keeps it.

        A busy machine gives less: CPU per operation is what can be compared. Without a rate (0):
        how long it took.
        """
        return self.count / rate if rate else self.seconds


class Loads:
    """The compiled generators.

    Raises:
        CannotRun: There is no C compiler, or it does not compile them.
    """

    def __init__(self, folder: Path, *, built: bool = False) -> None:
        """Compile them into `folder`; not when they are `built` there already."""
        self._folder, self._unwatched = folder, folder / "unwatched"
        self._unwatched.write_text("x")
        if built:
            return
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise CannotRun("load generators are C: no cc and no gcc here (apt-get install gcc)")
        for source in SOURCES.glob("*.c"):
            flags = _FLAGS.get(source.stem, _STATIC)
            compiled = subprocess.run(
                [compiler, "-O2", "-Wall", *flags, "-o", folder / source.stem, source],
                capture_output=True,
                text=True,
                check=False,
            )
            if compiled.returncode:
                raise CannotRun(f"{source.name} does not compile:\n{compiled.stderr}")

    @property
    def tiny(self) -> str:
        """Path of the cheapest program."""
        return str(self._folder / "tiny")

    def spawn(
        self,
        rate: float,
        seconds: float,
        *command: str,
        spawners: int = 1,
        block: int = 20,
    ) -> Ran:
        """Run `command` with a number as last argument; `spawners` share the rate (0: no limit)."""
        return self._run(
            ["spawner", str(rate / spawners), str(seconds), str(block), *command], spawners
        )

    def write(self, rate: float, seconds: float, folder: Path, files: int) -> Ran:
        """Run short-lived writers, each of which makes, writes and removes `files` files."""
        writer = str(self._folder / "writer")
        return self.spawn(rate, seconds, writer, str(folder), str(files), spawners=2)

    def make(self, folder: Path, count: int) -> Ran:
        """Make the files 0 to count-1."""
        return self._run(["remover", "make", str(folder), str(count)])

    def remove(self, folder: Path, count: int) -> Ran:
        """Remove the files 0 to count-1 as fast as it goes."""
        return self._run(["remover", "remove", str(folder), str(count)])

    def calls(self, kind: str, seconds: float, block: int = 200) -> Ran:
        """Repeat a call: "getpid", "open" of an unwatched file, "connect" or "datagram"."""
        return self._run(["calls", kind, str(seconds), str(block), str(self._unwatched)])

    def _run(self, command: list[str], copies: int = 1) -> Ran:
        processes = [
            subprocess.Popen(
                [self._folder / command[0], *command[1:]], stdout=subprocess.PIPE, text=True
            )
            for _ in range(copies)
        ]
        told = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise CannotRun(f"the load {command[0]} failed")
        rows = [json.loads(text) for text in told]
        return Ran(
            sum(row["count"] for row in rows),
            max(row["seconds"] for row in rows),
            min(row["least_ns"] for row in rows),
        )
