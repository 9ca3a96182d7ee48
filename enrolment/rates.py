"""How often one address may ask: a bucket of tokens each, bounded in number."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_ADDRESSES = 10_000


class Rates:
    """Buckets by address; the one that asked longest ago is forgotten first."""

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        most_addresses: int = MOST_ADDRESSES,
    ) -> None:
        """Allow `per_minute` at once, and then as many a minute, to each of `most_addresses`."""
        self._most, self._clock, self._most_addresses = float(per_minute), clock, most_addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Count one request; return 0, or how many seconds `address` must wait for the next."""
        key, now = _network(address), self._clock()
        left, seen = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - seen) * self._most / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[key] = (left if wait else left - 1, now)
        while len(self._buckets) > self._most_addresses:
            self._buckets.popitem(last=False)
        return wait


def _network(address: str) -> str:
    """One customer of a provider has a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
