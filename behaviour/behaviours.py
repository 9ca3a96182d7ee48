"""From an event to behaviours: what a service did, in general form.

Modeler and detector use the same function, so what is learned is exactly what is judged.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from behaviour.capabilities import CACHED_PATHS, of_file, of_program, of_socket
from behaviour.generalise import generalise
from behaviour.text import as_text
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as pb

Facet: TypeAlias = "pb.Facet.ValueType"

LEARNED = frozenset({events.PROVENANCE_SERVICE, events.PROVENANCE_SCHEDULED})
"""Provenances that have a model: the machine's own work. What a person does is never learned."""

_PROTOCOLS: dict[int, str] = {events.PROTOCOL_TCP: "tcp", events.PROTOCOL_UDP: "udp"}
_INSTALLER = "INSTALLER"


class Behaviour(NamedTuple):
    """One thing a service did: a facet and a subject, as in the message of the same name."""

    facet: Facet
    subject: str


def has_model(image: events.Image) -> bool:
    """Whether what `image` does is learned, and judged against its service's model."""
    return image.provenance in LEARNED and bool(image.service)


def behaviours_of(event: events.Event, images: Sequence[events.Image]) -> Iterator[Behaviour]:
    """Yield the behaviours that `event` shows of its actor's service; duplicates are possible.

    It does not ask who stands behind the actor: see `has_model`.

    Args:
        event: any event; kinds that say nothing about a service yield nothing.
        images: the batch's images.
    """
    kind = event.WhichOneof("kind")
    if kind not in KINDS or not event.HasField("actor"):
        return
    actor = event.actor
    if not 0 <= actor < len(images):  # a batch may say anything
        return
    image = images[actor]
    if kind == "exec":
        yield from _exec(image)
    elif image.maintenance:
        # What a package manager's run changes is recorded as maintenance, not as the service's
        # behaviour; that the service started a package manager is (see _exec).
        return
    elif kind == "file_change":
        yield from _files(event.file_change)
    elif kind == "listen":
        listen = event.listen
        yield Behaviour(pb.FACET_LISTENS, _port(listen.protocol, listen.local_port))
    else:
        connect = event.connect
        if connect.protocol == events.PROTOCOL_UNIX:
            # A watched socket is a service's door: what counts is what it opens.
            for name in of_socket(as_text(connect.path)):
                yield Behaviour(pb.FACET_OBTAINS, name)
            return
        port = _port(connect.protocol, connect.remote_port)
        yield Behaviour(pb.FACET_CONNECTS, f"{port} {reach(connect.remote_address)}")


KINDS = frozenset({"exec", "file_change", "listen", "connect"})
"""Kinds of events that show a behaviour."""
WITHOUT = frozenset(
    (
        *("exit", "fork", "exec_failure"),  # nothing that the start of a program does not show
        *("session_start", "session_end", "auth_failure", "privilege_use"),  # people's
        *("account_change", "firewall_change", "package_change", "service_change"),  # its programs
        *("kernel_change", "time_change", "login_user_change", "privilege_gain"),  # rare, judged
        *("process_access", "namespace_change", "mount_change", "raw_socket"),  # without a model
        *("file_read", "file_hash"),  # a fact about files; reads have no facet yet
        *("host_facts", "agent_status", "gap"),  # no service's
    )
)
"""Kinds that show none, with the reason. A test names the kind that is in neither."""


def programs_of(image: events.Image) -> tuple[str, ...]:
    """Return the paths of what `image` runs: executable, script, and the applet of a busybox."""
    executable = as_text(image.executable)
    found = [executable] if executable else []
    script = image.script
    if script:
        found.append(as_text(script))
    if executable.endswith("/busybox"):
        found += _applet(executable, [as_text(a) for a in image.arguments[:2]])
    return tuple(found)


def _applet(executable: str, arguments: list[str]) -> list[str]:
    names = [argument.rpartition("/")[2] for argument in arguments]
    if names and names[0] == "busybox":
        names = names[1:]
    # As if the applet were a program beside busybox.
    return [f"{executable.rpartition('/')[0]}/{names[0]}"] if names and names[0] else []


def _exec(image: events.Image) -> Iterator[Behaviour]:
    programs = programs_of(image)
    obtained = {name: None for path in programs for name in of_program(path)}
    if image.maintenance:
        if _INSTALLER not in obtained:
            return
        obtained = {_INSTALLER: None}
    for path in programs:
        yield Behaviour(pb.FACET_RUNS, path)
    for name in obtained:
        yield Behaviour(pb.FACET_OBTAINS, name)


def _files(change: events.FileChange) -> Iterator[Behaviour]:
    for item in change.changes:
        yield from _file(item.path)
        previous = item.previous_path
        if previous:  # the file that stood there is gone
            yield from _file(previous)


@lru_cache(CACHED_PATHS)
def _file(path: bytes) -> tuple[Behaviour, ...]:
    text = as_text(path)
    return (
        Behaviour(pb.FACET_WRITES, generalise(text)),
        *(Behaviour(pb.FACET_OBTAINS, name) for name in of_file(text)),
    )


def _port(protocol: int, port: int) -> str:
    name = _PROTOCOLS.get(protocol)  # an audit log mostly does not say it
    return f"{name}/{port}" if name is not None else f"port {port}"


@lru_cache(CACHED_PATHS)
def reach(address: str) -> str:
    """Return how far `address` is: "loopback", "private" or "public" (also when unreadable)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "public"
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        parsed = mapped
    if parsed.is_loopback or parsed.is_unspecified:  # connecting to 0.0.0.0 reaches ourselves
        return "loopback"
    return "private" if parsed.is_private or parsed.is_link_local else "public"
