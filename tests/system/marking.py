"""Programs that are started all the time, each with a number, so that a hole in what is told shows."""

import datetime as dt
import secrets
import subprocess
import threading
import time
from collections import Counter
from typing import Self

from tests.system.running import Running, wait

PAUSE_S = 0.03
STOPPING_S, OPENING_S = 0.1, 1.0
"""How much earlier than the time without an agent its gap may begin, and how much later end: it is
over once the last of the sources is open, on a busy machine well after the first."""


def at(text: str) -> float:
    """A moment of the API in seconds."""
    return dt.datetime.fromisoformat(text).timestamp()


class Marks:
    """Starts `/bin/true NAME-NUMBER` again and again, and notes when; use it with `with`."""

    def __init__(self) -> None:
        self.name = f"mark{secrets.token_hex(4)}"
        self.spans: list[tuple[float, float]] = []
        """When the program of each number was started, and when it was over."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            before = time.time()
            subprocess.run(["/bin/true", f"{self.name}-{len(self.spans)}"], check=True)
            self.spans.append((before, time.time()))
            self._ended.wait(PAUSE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def more(self, count: int = 20) -> None:
        """Wait until so many further ones ran."""
        goal = len(self.spans) + count
        wait(lambda: len(self.spans) >= goal)

    def told(self, running: Running) -> Counter[int]:
        """How often the execution of each number is stored; waits for the last one."""

        def counted() -> Counter[int]:
            found: Counter[int] = Counter()
            for event, image in running.events():
                words = (image or {}).get("arguments", [])
                if "exec" in event and words[1:] and words[1].startswith(f"{self.name}-"):
                    found[int(words[1].rpartition("-")[2])] += event.get("count", 1)
            return found

        last = len(self.spans) - 1
        return running.soon(lambda: (found := counted())[last] and found)

    def unaccounted(self, told: Counter[int], gaps: list[dict]) -> list[int]:
        """Numbers that are not told and did not run, even in part, within a gap."""
        return [
            number
            for number, (began, over) in enumerate(self.spans)
            if not told[number]
            and not any(at(g["from"]) <= over and began <= at(g["to"]) + 0.001 for g in gaps)
        ]

    def told_within(self, told: Counter[int], gap: dict) -> list[int]:
        """Numbers that are told although they ran within a gap, away from its ends."""
        start, end = at(gap["from"]) + STOPPING_S, at(gap["to"]) - OPENING_S
        return [n for n in told if start < self.spans[n][0] and self.spans[n][1] < end]


def gaps(running: Running, *causes: str) -> list[dict]:
    """Gaps of this host, of the causes that are named or of any."""
    found = running.every("nightherd/gaps", hostname=running.host_id())
    return [gap for gap in found if not causes or gap["cause"] in causes]
