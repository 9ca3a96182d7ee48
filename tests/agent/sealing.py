"""Batches sealed by the agent's own sealer, for tests of what comes after it."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.spool import Evicted, Spool
from agent.stages.seal import Body, Host, Sealer
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb
from tests.builders import BOOT, HOST, a_body, an_event, an_image

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def append(spool: Spool, count: int = 1, size: int = 10) -> list[pb.SealedBatch]:
    """Seal and append `count` batches; `size` bytes of arguments that do not compress."""
    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    batches = []
    for _ in range(count):
        noise = KEY.sign(bytes([len(batches) % 256]) * 3)[:size].hex()
        many = [noise.encode()] * max(size // 64, 1)
        image = an_image("/usr/bin/true", many, pid=500 + spool.link.number % 100)
        body = a_body((image, an_event(time_ns=clock.wall_ns())))
        batches.append(sealer.seal(Body.of(body), 0))
        spool.append([batches[-1]], [sealer.link])
    return batches


def append_one(spool: Spool) -> list[Evicted]:
    """Seal and append one small batch; return what went for it."""
    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    batch = sealer.seal(Body.of(a_body()), 0)
    return spool.append([batch], [sealer.link])
