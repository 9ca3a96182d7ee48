"""Who may call what: read from the protos, enforced for every RPC."""

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import ServiceDescriptor

from chassis.errors import PermissionDeniedError
from chassis.tls import Peer
from nightherd.access.v1 import access_pb2


def callers(services: Iterable[ServiceDescriptor]) -> Mapping[str, frozenset[str]]:
    """Return full method path -> roles that may call it, from the option `callers`."""
    return {
        f"/{service.full_name}/{method.name}": frozenset(
            access_pb2.Role.Name(role).removeprefix("ROLE_").lower()
            for role in method.GetOptions().Extensions[access_pb2.callers]
        )
        for service in services
        for method in service.methods
    }


def check(allowed: Mapping[str, frozenset[str]], method: str, peer: Peer) -> None:
    """Refuse `peer` unless its role is among those of `method`.

    Raises:
        PermissionDeniedError: it is not, or the method names nobody.
    """
    if peer.role not in allowed.get(method, frozenset()):
        raise PermissionDeniedError(
            f"role {peer.role} may not call {method.rpartition('/')[2]}", role=peer.role
        )
