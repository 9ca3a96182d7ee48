"""Sealed batches of hosts that never were, alike enough to real ones: what the backend is fed.

Calibrated against a real agent under a mixed workload (git, find, dpkg, shell loops, short Python
programs; November 2026): its full batches have 286 B an event raw, 40 to 55 B compressed, and some
150 ancestors each. These have 285 B raw, 62 B compressed and 150 ancestors: rather too various than
too alike, as what repeats itself flatters the disk.
"""

import random
import secrets
from collections.abc import Iterator, Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.stages.seal import Body, Host, Link, Sealer
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

_BOOT = "6c1f3a52-0d1e-4b5f-9a3c-5a8f5b1c2d3e"
_SERVICES = (
    ("nginx.service", b"/usr/sbin/nginx", (b"nginx", b"-g", b"daemon on; master_process on;")),
    ("postgresql@.service", b"/usr/lib/postgresql/15/bin/postgres", (b"postgres:", b"autovacuum")),
    ("cron.service", b"/usr/bin/dash", (b"/bin/sh", b"-c", b"/usr/lib/sysstat/sa1 1 1")),
    ("node-exporter.service", b"/usr/bin/node_exporter", (b"node_exporter", b"--web.listen=:9100")),
    ("app-worker@.service", b"/usr/bin/python3.11", (b"python3", b"-m", b"worker", b"--queue")),
    ("sshd.service", b"/usr/sbin/sshd", (b"sshd:", b"[accepted]")),
)
_PROGRAMS = tuple(
    f"/usr/bin/{name}".encode()
    for name in ("grep", "sed", "awk", "cat", "date", "stat", "find", "sort", "cut", "tr", "id")
)
_FOLDERS = (b"/etc/nginx/conf.d", b"/var/spool/cron/crontabs", b"/etc/systemd/system", b"/etc/app")
_WORDS = tuple(b"cache data queue report session upload index thumbs mail invoice tmp lock".split())
_USERS = ((0, "root"), (33, "www-data"), (106, "postgres"), (1000, "alice"), (1001, "bob"))
_NEW_IMAGES, _NEW_PARENTS, _USUAL = 0.6, 0.5, 0.7
"""Shares: of events with a new image, of those with a new parent, of images in the usual folder."""
_LIVING = 12
"""How many of the latest parents still start programs."""
_CONNECT, _CHANGE, _EXEC = 0.08, 0.14, 0.57
"""Shares of kinds, added up: connects, file changes, executions, and the rest ends."""


def a_body(seed: int, count: int, first_ns: int, span_ns: int) -> events.EventBatch:
    """Return `count` events spread over a span of time; the same seed gives the same."""
    draw = random.Random(seed)
    body = events.EventBatch()
    for place in range(count):
        now_ns = first_ns + span_ns * place // count + draw.randrange(span_ns // count)
        if not body.images or draw.random() < _NEW_IMAGES:
            _image(body, draw, now_ns)
        event = body.events.add()
        event.event_time.CopyFrom(clock.to_timestamp(now_ns))
        event.attribution = events.ATTRIBUTION_EXACT
        event.actor = len(body.images) - 1
        chance = draw.random()
        if chance < _CONNECT:
            event.connect.protocol = events.PROTOCOL_TCP
            event.connect.remote_address = f"10.0.{draw.randrange(4)}.{draw.randrange(250)}"
            event.connect.remote_port = draw.choice((443, 5432, 6379, 53))
        elif chance < _CHANGE:
            change = event.file_change.changes.add()
            change.path = draw.choice(_FOLDERS) + b"/%s.conf" % _name(draw)
            change.operation = events.FileChange.OPERATION_MODIFIED
        elif chance < _EXEC:
            event.exec.requested_path = body.images[-1].executable
        else:
            event.exit.code = 0
            event.exit.lifetime_ms = draw.randrange(400)
    return body


def _image(body: events.EventBatch, draw: random.Random, now_ns: int) -> None:
    service, executable, arguments = draw.choice(_SERVICES)
    user_id, user = draw.choice(_USERS)
    program = draw.choice((executable, *_PROGRAMS[:3], draw.choice(_PROGRAMS)))
    exec_id, pid = _exec_id(draw)
    above = _above(body, draw, executable, arguments)
    image = body.images.add(
        exec_id=exec_id,
        parent_exec_id=body.ancestors[above - 1].exec_id,
        pid=pid,
        ppid=body.ancestors[above - 1].pid,
        executable=program,
        arguments=[*arguments, b"%d" % draw.randrange(10**6), _path(draw)],
        working_directory=b"/var/lib/app" if draw.random() < _USUAL else _path(draw),
        user_id=user_id,
        effective_user_id=user_id,
        user=user,
        provenance=events.PROVENANCE_SERVICE,
        service=service,
        cgroup=f"/system.slice/{service}",
        ancestor=above,
    )
    image.start_time.CopyFrom(clock.to_timestamp(now_ns))


def _above(
    body: events.EventBatch, draw: random.Random, executable: bytes, arguments: Sequence[bytes]
) -> int:
    """Return the place of what starts an image: mostly one that started others."""
    table = body.ancestors
    if table and draw.random() > _NEW_PARENTS:
        return draw.randint(max(1, len(table) - _LIVING), len(table))
    exec_id, pid = _exec_id(draw)
    table.add(
        exec_id=exec_id,
        pid=pid,
        executable=executable,
        command=b" ".join([*arguments, _path(draw)]),
        above=draw.randint(max(1, len(table) - _LIVING), len(table)) if table else 0,
    )
    return len(table)


def _exec_id(draw: random.Random) -> tuple[str, int]:
    pid = draw.randrange(300, 1 << 16)
    boot_ns = draw.randrange(1 << 43)
    return f"{_BOOT}:{pid}:{boot_ns // 10_000_000}:{boot_ns}", pid


def _name(draw: random.Random) -> bytes:
    return b"%s-%d" % (draw.choice(_WORDS), draw.randrange(10**4))


def _path(draw: random.Random) -> bytes:
    return b"%s/%s/%s" % (draw.choice(_FOLDERS), draw.choice(_WORDS), _name(draw))


class Chain:
    """A host's chain: seals what it is given, as an agent does."""

    def __init__(self, host_id: str, herd: str = "default", key: bytes = b"") -> None:
        """Begin a chain for a host; without `key` (32 private bytes) it gets a new one."""
        self.host_id = host_id
        self.key = (
            Ed25519PrivateKey.from_private_bytes(key) if key else Ed25519PrivateKey.generate()
        )
        self.chain_id = secrets.token_bytes(16)
        host = Host(host_id, herd, _BOOT, "benchmark")
        self._sealer = Sealer(host, self.key, Link(self.chain_id, 0, b""))

    @property
    def public_key(self) -> bytes:
        """What signs it."""
        return self.key.public_key().public_bytes_raw()

    def seal(self, body: Body) -> delivery.SealedBatch:
        """Return the next batch."""
        return self._sealer.seal(body, 0)


@cache
def bodies(count: int, events_each: int) -> tuple[Body, ...]:
    """Return so many different bodies, as they are sealed."""
    now = clock.wall_ns()
    second = 1_000_000_000
    return tuple(
        Body.of(a_body(seed, events_each, now - (count - seed) * second, second))
        for seed in range(count)
    )


def batches(chain: Chain, some: tuple[Body, ...], count: int) -> Iterator[delivery.SealedBatch]:
    """Seal `count` batches, going round through the bodies."""
    for number in range(count):
        yield chain.seal(some[number % len(some)])
