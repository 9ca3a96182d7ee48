"""A day of a fleet, stored as the store stores it: full batches of busy hosts, small ones of quiet.

Bodies repeat themselves as real hosts do: a few hundred kinds of batches, at changing times.
"""

import asyncio
import hashlib
import random
from collections.abc import Iterator

import zstandard

from chassis import clock
from delivery.checks import Checked
from evidence.terms import index_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from services.store.domain.chain import Place
from services.store.repository.hosts import Hosts
from services.store.repository.inserts import Inserts

DAY_S = 86_400
START_S = 1_795_046_400
"""Midnight of a day in November 2026."""
BUSY, QUIET = 200, 12
FULL, SMALL = 500, 5
SPAN_S = 10
TEMPLATES = 150
GROUP = 64
USERS = ["root"] * 30 + ["www-data"] * 8 + ["postgres"] * 4 + [f"user{n:02}" for n in range(20)]
SERVICES = [
    f"{name}.service" for name in ["nginx", "cron", "postgresql", "ssh", "php-fpm", "redis"]
]
PROGRAMS = [
    f"/usr/bin/{name}"
    for name in ["bash", "sh", "sed", "awk", "grep", "cat", "ls", "id", "date", "curl"]
]
PATHS = [f"/var/log/{n}.log" for n in range(40)] + [f"/srv/www/cache/{n:04}" for n in range(400)]
ANCESTORS = [
    events.Ancestor(exec_id=f"b00t:1:1:{n}", pid=n, executable=b"/usr/sbin/init", above=n)
    for n in range(3)
]
RARE = {"user": "mallory", "path": "/etc/passwd", "program": "/usr/sbin/useradd"}
RARE_SESSION = 4242
RARE_SHA256 = bytes(range(32))


def host_id(number: int) -> str:
    return f"{number:032x}"


def host_of(number: int) -> str:
    """Herd of a host."""
    return "database" if number % 10 == 0 else "web"


async def introduce(hosts: Hosts) -> None:
    """Let the store know all hosts: a question about one it never heard of is refused."""
    for number in range(BUSY + QUIET):
        await hosts.alive(host_id(number), host_of(number))


def _image(rng: random.Random) -> events.Image:
    program = rng.choice(PROGRAMS)
    image = events.Image(
        exec_id=f"b00t:{rng.randrange(1 << 22)}:{rng.randrange(1 << 30)}:{rng.randrange(1 << 44)}",
        pid=rng.randrange(1 << 22),
        executable=program.encode(),
        arguments=[
            program.encode(),
            b"--file",
            rng.choice(PATHS).encode(),
            b"%x" % rng.getrandbits(32),
        ],
        working_directory=b"/srv/www",
        user=rng.choice(USERS),
        service=rng.choice(SERVICES),
        provenance=events.PROVENANCE_SERVICE,
        ancestor=len(ANCESTORS),
    )
    if rng.random() < 0.05:
        image.login_user = rng.choice(USERS[-20:])
        image.session_id = rng.randrange(1, 3000)
        image.terminal = "pts/0"
    return image


def template(rng: random.Random, size: int, *, rare: bool = False) -> events.EventBatch:
    """A batch of `size` events within SPAN_S seconds from 0."""
    images = [_image(rng) for _ in range(max(size // 3, 2))]
    body = events.EventBatch(images=images, ancestors=ANCESTORS)
    for number in range(size):
        event = body.events.add(actor=rng.randrange(len(body.images)), attribution=1)
        event.event_time.nanos = 0
        event.event_time.seconds = number * SPAN_S // size
        draw = rng.random()
        if draw < 0.45:
            event.exec.requested_path = b"sh"
        elif draw < 0.85:
            event.exit.code = 0
            event.exit.lifetime_ms = rng.randrange(5000)
        elif draw < 0.97:
            event.file_change.changes.add(path=rng.choice(PATHS).encode(), operation=2)
        else:
            event.connect.remote_address = f"10.0.0.{rng.randrange(250)}"
            event.connect.remote_port = 443
    if rare:
        body.images.add(
            exec_id="b00t:77:77:77",
            executable=RARE["program"].encode(),
            user="root",
            login_user=RARE["user"],
            session_id=RARE_SESSION,
            service="rescue.service",
            arguments=[RARE["program"].encode(), b"--system", b"Wolf-in-clothing"],
        )
        event = body.events[-1]
        event.actor = len(body.images) - 1
        event.file_change.changes.add(path=RARE["path"].encode(), operation=2)
        event = body.events[-2]
        event.actor = len(body.images) - 1
        event.account_change.name = b"wolf"
        event = body.events[-3]
        event.actor = len(body.images) - 1
        event.file_hash.path = RARE["program"].encode()
        event.file_hash.sha256 = RARE_SHA256
        body.images[-1].traits.append(events.TRAIT_MEMORY_FILE)
    return body


class History:
    """Makes the batches of a day, and puts them where the store looks."""

    def __init__(self, event_count: int, seed: int = 1) -> None:
        self.small = event_count // 20 // SMALL
        self.full = (event_count - self.small * SMALL) // FULL
        self._rng = random.Random(seed)
        kinds = [(template(self._rng, FULL), False) for _ in range(TEMPLATES)]
        rare = [(template(self._rng, FULL, rare=True), True) for _ in range(2)]
        self._full, self._rare = kinds, rare
        self._small = [(template(self._rng, SMALL), False) for _ in range(TEMPLATES)]
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._numbers: dict[int, int] = {}

    def batches(self) -> Iterator[Checked]:
        """Yield all batches, in order of time."""
        for number in range(self.full):
            second = START_S + number * (DAY_S - 60) // self.full
            some = self._rare if number % (self.full // 20 or 1) == 7 else self._full
            yield self._sealed(self._rng.choice(some)[0], number * 7919 % BUSY, second)
            for one in range(self.small // self.full + (number < self.small % self.full)):
                quiet = BUSY + (number + one) % QUIET
                yield self._sealed(self._rng.choice(self._small)[0], quiet, second + one % SPAN_S)

    def _sealed(self, body: events.EventBatch, host: int, second: int) -> Checked:
        first = body.events[0].event_time.seconds
        for event in body.events:
            event.event_time.seconds += second - first
        raw = body.SerializeToString()
        number = self._numbers[host] = self._numbers.get(host, 0) + 1
        header = delivery.BatchHeader(
            host_id=host_id(host),
            chain_id=bytes(16),
            batch_number=number,
            body_hash=hashlib.sha256(raw).digest(),
            previous_hash=bytes(32),
            body_size_bytes=len(raw),
            event_count=len(body.events),
            sealed_time=clock.to_timestamp((second + SPAN_S) * clock.NS),
            first_event_time=body.events[0].event_time,
            last_event_time=body.events[-1].event_time,
            boot_id="b00t",
            herd=host_of(host),
            origin=delivery.ORIGIN_LIVE,
            body_format=1,
        )
        batch = delivery.SealedBatch(
            header=header.SerializeToString(),
            body=self._compressor.compress(raw),
            index=index_of(body),
        )
        return Checked(batch, header, hashlib.sha256(batch.header).digest(), b"", ())

    async def store(self, inserts: Inserts) -> None:
        """Append everything, in groups, two at a time."""
        waiting: set[asyncio.Task[list[str]]] = set()
        group: list[Place] = []
        for checked in self.batches():
            group.append(Place(checked, None, may_be_there=False))
            if len(group) == GROUP:
                waiting.add(asyncio.create_task(inserts.append(group)))
                group = []
                if len(waiting) >= 3:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                else:
                    await asyncio.sleep(0)
        await inserts.append(group)
        for task in waiting:
            await task
