"""Recorded batches with things to find in them, for replays."""

from pathlib import Path

from agent import segments
from nightherd.event.v1 import event_pb2 as events
from tests.builders import a_body, a_person, an_event, an_image, changes, sealed_batch

PASSWD = ("/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-")
MOVED = events.FileChange.OPERATION_RENAMED


def record(path: Path, batches: int, events_each: int) -> int:
    """Write a file of batches; return how many events are in it.

    Every tenth batch has a person who adds an account, every tenth a service that does.
    """
    total, previous = 0, None
    with path.open("wb") as file:
        for number in range(1, batches + 1):
            items = [
                (
                    an_image(
                        f"/usr/bin/tool{n % 40}",
                        pid=number * 1000 + n,
                        service=f"service{n % 7}.service",
                    ),
                    an_event(),
                )
                for n in range(events_each - 2)
            ]
            user = a_person(
                arguments=["useradd", f"user{number}"],
                pid=number * 1000 + 900,
                session_id=number // 30,
            )
            daemon = an_image(
                "/usr/sbin/useradd",
                ["useradd", f"daemon{number}"],
                pid=number * 1000 + 901,
                service="accounts.service",
            )
            who = {3: user, 7: daemon}.get(number % 10, items[0][0])
            items.append((who, an_event()))
            what = (
                changes(*PASSWD, operation=MOVED)
                if number % 10 in (3, 7)
                else changes("/var/lib/x")
            )
            items.append((who, an_event(file_change=what)))
            batch = sealed_batch(a_body(*items), number, previous)
            file.write(segments.frame(batch))
            previous, total = batch, total + len(items)
    return total
