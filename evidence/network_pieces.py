"""Pieces of sentences about the network."""

from collections.abc import Callable
from typing import Any

from chassis.text import show
from nightherd.event.v1 import event_pb2 as events

Pieces = dict[str, str]
_PROTOCOLS: dict[int, str] = {events.PROTOCOL_TCP: "tcp ", events.PROTOCOL_UDP: "udp "}


def endpoint(protocol: int, address: str, port: int) -> str:
    """Return "tcp 192.0.2.1:443"; "192.0.2.1:443" where the protocol is not known."""
    name = _PROTOCOLS.get(protocol, "")
    host = f"[{show(address)}]" if ":" in address else show(address)
    return f"{name}{host}:{port}"


def remote(said: events.Connect) -> str:
    """Return with what a connect connected."""
    if said.protocol == events.PROTOCOL_UNIX:
        return f"unix {show(said.path)}"
    return endpoint(said.protocol, said.remote_address, said.remote_port)


def _connect(said: events.Connect) -> Pieces:
    verb = "sent packets to" if said.protocol == events.PROTOCOL_UDP else "connected to"
    names = ""
    if said.dns_names:
        more = len(said.dns_names) - 1
        names = f" and requested the address of {show(said.dns_names[0])}"
        names += f" and {more} more name{'s' if more > 1 else ''}" if more else ""
    return {"contact": f"{verb} {remote(said)}{names}"}


def _listen(said: events.Listen) -> Pieces:
    return {"local": endpoint(said.protocol, said.local_address, said.local_port)}


def _raw_socket(said: events.RawSocket) -> Pieces:
    family = events.RawSocket
    return {
        "socket": {
            family.FAMILY_INET: "a raw IPv4 socket",
            family.FAMILY_INET6: "a raw IPv6 socket",
            family.FAMILY_PACKET: "a packet socket, which sees whole frames",
        }.get(said.family, "a raw socket")
    }


OF_KIND: dict[str, Callable[[Any], Pieces]] = {
    "connect": _connect,
    "listen": _listen,
    "raw_socket": _raw_socket,
}
