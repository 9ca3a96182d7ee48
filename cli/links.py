"""What the headers of an export prove together: links, signatures, and what is not there."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nightherd.event.v1 import delivery_pb2 as delivery

MOST_NOTES = 20
MOST_LATE = 100_000
"""Numbers and holes that are remembered of one chain."""


@dataclass(slots=True)
class Chain:
    """One chain, as far as it was walked."""

    key: bytes = b""
    number: int = 0
    hash: bytes = b""
    unsigned: int = 0
    """Batches linked up to the last one that no signature vouches for yet."""
    first: int = 0
    batch_id: str = ""
    """The last one."""
    doubtful: bool = False
    """Something is wrong with the last one, so that a link to it says nothing new."""
    holes: list[tuple[int, int]] = field(default_factory=list)
    """Numbers (first, last) that were passed over; some may come later, by another clock."""
    late: set[int] = field(default_factory=set)
    """Numbers that came behind a higher one."""
    given_up: set[tuple[int, int]] = field(default_factory=set)
    """What its batches say was given up, as the proof tells."""
    sealed: set[tuple[int, int]] = field(default_factory=set)
    """The same, where the sealed body of a batch that is vouched for says so."""

    def unexplained(self) -> list[tuple[int, int]]:
        """Return the holes that no batch of the chain speaks of."""
        left: list[tuple[int, int]] = []
        claims = sorted(self.given_up | self.sealed)
        for first, last in self.holes:
            at = first
            for begin, end in claims:
                if begin > last:
                    break
                if end >= at:
                    left += [(at, begin - 1)] if begin > at else []
                    at = max(at, end + 1)
            left += [(at, last)] if at <= last else []
        return [hole for hole in left if not self._came(hole)]

    def _came(self, hole: tuple[int, int]) -> bool:
        first, last = hole
        if last - first >= len(self.late):
            return False
        return all(number in self.late for number in range(first, last + 1))


@dataclass(slots=True)
class Links:
    """Walks the headers in the order of the export; then says what holds."""

    trusted: frozenset[bytes] = frozenset()
    """Keys that may sign; empty: those that the proof itself names."""
    chains: dict[tuple[str, str], Chain] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0
    batches: int = 0
    signed: int = 0
    """Batches that a good signature vouches for, its own or that of one linked behind it."""
    links: int = 0
    absent: int = 0
    """Batches between others that are not in the export."""
    forks: int = 0
    _blamed: str = ""

    def fault(self, batch_id: str, what: str) -> None:
        """Note that something is wrong with a batch ("": with the whole); counted once a batch."""
        if batch_id and batch_id == self._blamed:
            if len(self.faults) == self.fault_count:
                self.faults[-1] += f"; {what}"
            return
        self._blamed = batch_id
        self.fault_count += 1
        if len(self.faults) < MOST_NOTES:
            self.faults.append(f"batch {batch_id}: {what}" if batch_id else what)

    def see(
        self, batch_id: str, header_bytes: bytes, signature: bytes, key: bytes
    ) -> delivery.BatchHeader:
        """Check the next header against those before it.

        Raises:
            DecodeError: it cannot be read.
        """
        header = delivery.BatchHeader.FromString(header_bytes)
        header_hash = hashlib.sha256(header_bytes).digest()
        self.batches += 1
        before = self.fault_count
        where = f"{header.host_id}/{header.chain_id.hex()}/{header.batch_number:015d}"
        if batch_id not in (where, f"{where}/{header_hash.hex()}"):
            self.fault(batch_id, f"the header is that of {where}")
        chain = self.chains.setdefault((header.host_id, header.chain_id.hex()), Chain())
        self._key(batch_id, chain, key)
        signed = _is_signed(chain.key, signature, header_hash)
        if not self._follows(batch_id, chain, header, header_hash, signed=signed):
            return header
        chain.number, chain.hash, chain.batch_id = header.batch_number, header_hash, batch_id
        chain.unsigned += 1
        chain.first = chain.first or header.batch_number
        if signed:
            self.signed += chain.unsigned
            chain.unsigned = 0
        elif signed is False:
            self.fault(batch_id, "the signature is not the host's")
        chain.doubtful = self._blamed == batch_id and self.fault_count > before
        return header

    def says(
        self, header: delivery.BatchHeader, given_up: Iterable[tuple[int, int]], *, sealed: bool
    ) -> None:
        """Note which batches (first, last) a batch says were given up; `sealed`: its body does."""
        chain = self.chains.get((header.host_id, header.chain_id.hex()))
        if chain is not None and len(chain.given_up) < MOST_LATE:
            (chain.sealed if sealed else chain.given_up).update(given_up)

    def end(self) -> None:
        """Blame what is missing though everything was asked for, and of which no batch speaks."""
        for (host_id, chain_id), chain in self.chains.items():
            for first, last in chain.unexplained():
                self.fault(
                    "",
                    f"batches {first} to {last} of {host_id}/{chain_id} are missing, and no batch "
                    "here says that they were given up",
                )

    @property
    def given_up(self) -> int:
        """Batches between others that are not here, as batches that are here say."""
        return self._explained(lambda chain: chain.given_up | chain.sealed)

    @property
    def given_up_sealed(self) -> int:
        """Those of them of which a sealed body says it."""
        return self._explained(lambda chain: chain.sealed)

    def _explained(self, said: Callable[[Chain], set[tuple[int, int]]]) -> int:
        count = 0
        for chain in self.chains.values():
            at = 0
            for begin, end in sorted(said(chain)):
                for first, last in chain.holes:
                    count += max(min(end, last) - max(begin, first, at + 1) + 1, 0)
                at = max(at, end)
        return count

    def _key(self, batch_id: str, chain: Chain, key: bytes) -> None:
        if key and chain.key and key != chain.key:
            self.fault(batch_id, "another key than before is said to sign its chain")
        if key and self.trusted and key not in self.trusted:
            self.fault(batch_id, "the key that is said to sign its chain is not a trusted one")
        chain.key = chain.key or key

    def _follows(
        self,
        batch_id: str,
        chain: Chain,
        header: delivery.BatchHeader,
        header_hash: bytes,
        *,
        signed: bool | None,
    ) -> bool:
        """Whether it is the next version of the chain's story, and not a fork or one again."""
        number = header.batch_number
        if chain.number == number:
            self.forks += 1
            if chain.hash == header_hash:
                self.fault(batch_id, "it is there twice")
            return False
        if chain.number > number:
            if len(chain.late) < MOST_LATE:
                chain.late.add(number)
        elif chain.number and number > chain.number + 1 and len(chain.holes) < MOST_LATE:
            chain.holes.append((chain.number + 1, number - 1))
        if chain.number and number == chain.number + 1:
            self.links += 1
            if header.previous_hash != chain.hash:
                self._unlinked(batch_id, chain, signed=signed)
                chain.unsigned = 0
        elif chain.number:
            # Nothing links over a hole: what lies before it has no later signature.
            self.absent += max(number - chain.number - 1, 0)
            chain.unsigned = 0
        return True

    def _unlinked(self, batch_id: str, chain: Chain, *, signed: bool | None) -> None:
        """Blame who is to blame: a header that the host signed names the right one."""
        self.links -= 1
        if signed:
            if not chain.doubtful:
                what = f"its header is not the one that batch {batch_id} names, which is signed"
                self.fault(chain.batch_id, what)
        elif not chain.doubtful:
            what = "it does not name the hash of the batch before it: one of the two was changed"
            self.fault(batch_id, what)


def _is_signed(key: bytes, signature: bytes, header_hash: bytes) -> bool | None:
    """Whether a good signature vouches for a header; None: nobody says so."""
    if not (key and signature):
        return None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, header_hash)
    except (InvalidSignature, ValueError):
        return False
    return True
