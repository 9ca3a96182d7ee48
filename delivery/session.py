"""How a stream begins: who speaks, for which host, and what a service does with it."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from chassis import clock
from chassis.errors import InvalidArgumentError, PermissionDeniedError, UnavailableError
from chassis.tls import Peer
from delivery.checks import CHAIN_ID_BYTES, Checked, Limits, RejectedError, is_host_id
from nightherd.event.v1 import delivery_pb2 as pb

PROTOCOL_VERSION = 1
MAX_CHAINS = 64
ALIVE_S = 30.0
NOT_A_MESSAGE = "what came is no message of the batch protocol"


class ProtocolError(InvalidArgumentError):
    """The stream does not follow the batch protocol."""

    reason = "PROTOCOL_VIOLATION"


class ForeignHelloError(PermissionDeniedError):
    """The Hello names another host than the certificate."""

    reason = "FOREIGN_HELLO"


class StoppingError(UnavailableError):
    """The server stops; nothing of the stream is lost."""

    reason = "STOPPING"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Session:
    """One open stream: who speaks, and for which host. Equal to no other."""

    peer: Peer
    host_id: str
    hello: pb.Hello


class Handler(Protocol):
    """What a service does with a stream.

    May raise NightherdError: the stream ends with it, nothing is acknowledged, and the agent
    sends again.
    """

    async def welcome(self, session: Session) -> Mapping[bytes, int]:
        """Return the next wanted number for each chain of the Hello."""

    def take(self, session: Session, checked: Checked) -> Awaitable[None]:
        """Settle one batch: done when it is durable. Called for several at once, in order."""

    async def reject(self, session: Session, batch: pb.SealedBatch, why: RejectedError) -> None:
        """Set a batch aside. Returns when that is durable.

        Called when all before it are settled; `why.header` says where it belongs.
        """

    async def drop(self, session: Session, dropped: pb.Dropped) -> None:
        """Note batches that will never come. Called when all before them are settled."""

    async def alive(self, session: Session) -> pb.Directive | None:
        """Called before the Welcome and then every so often while the stream is open.

        Returns the whole of what the host is asked to do; None: nothing is asked here.
        """


async def hello(incoming: AsyncIterator[pb.AgentMessage], peer: Peer) -> Session:
    """Read the first message of a stream.

    Raises:
        ProtocolError: it is no Hello, or of a version that is not spoken here.
        ForeignHelloError: it speaks for another host.
    """
    try:
        first = await anext(incoming)
    except StopAsyncIteration:
        raise ProtocolError("the stream ended before a Hello") from None
    except DecodeError:
        raise ProtocolError(NOT_A_MESSAGE) from None
    if first.WhichOneof("item") != "hello":
        raise ProtocolError("the first message must be a Hello")
    said = first.hello
    if said.protocol_version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"protocol version {said.protocol_version} is not spoken here, "
            f"only {PROTOCOL_VERSION}: update the older side"
        )
    if len(said.chains) > MAX_CHAINS:
        raise ProtocolError(f"a Hello names at most {MAX_CHAINS} chains")
    if any(len(chain.chain_id) != CHAIN_ID_BYTES for chain in said.chains):
        raise ProtocolError(f"a chain's id has {CHAIN_ID_BYTES} bytes")
    if not is_host_id(said.host_id):
        raise ProtocolError("the Hello names no host")
    if peer.role != "importer" and said.host_id != peer.host_id:
        raise ForeignHelloError("the Hello names another host than the certificate")
    return Session(peer, said.host_id, said)


def welcome(
    wanted: Mapping[bytes, int], limits: Limits, directive: pb.Directive | None
) -> pb.ReceiverMessage:
    """Return the answer to a Hello: where each chain goes on, what is taken, what is asked."""
    return pb.ReceiverMessage(
        welcome=pb.Welcome(
            wanted=[pb.Welcome.Wanted(chain_id=c, next=n) for c, n in wanted.items()],
            limits=pb.Limits(
                body_size_bytes=limits.body_size_bytes,
                arguments_size_bytes=limits.arguments_size_bytes,
                batches_per_second=limits.batches_per_second,
                window=limits.window,
            ),
            server_time=clock.to_timestamp(clock.wall_ns()),
            directive=directive,
        )
    )
