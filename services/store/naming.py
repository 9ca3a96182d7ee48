"""Hosts as people name them, by id or name: unknown ones are refused."""

from collections.abc import Sequence

from chassis.errors import NotFoundError
from services.store.repository.hosts import Hosts


class HostUnknownError(NotFoundError):
    """No such host."""

    reason = "HOST_UNKNOWN"


async def ids_of(names: Sequence[str], hosts: Hosts) -> list[str]:
    """Return the ids of the hosts meant by `names`, which are names or ids.

    Raises:
        HostUnknownError: one of them is neither; an empty answer would say that it did nothing.
    """
    known = await hosts.known(await hosts.ids_of(names))
    called = {row.get("name") for row in known.values()}
    for name in names:
        if name not in known and name not in called:
            raise unknown(name)
    return list(known)


def unknown(host: str) -> HostUnknownError:
    """Return the refusal for a host that nobody knows."""
    return HostUnknownError(f"There is no host {host}", host=host)
