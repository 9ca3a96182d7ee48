"""Hosts that exist on paper only: batches made by hand, sent over the real ports."""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.authority import Authority
from chassis.tls import Identity
from nightherd.event.v1 import delivery_pb2 as pb
from tests.services_client import DETECTOR, MODELER, STORE, Deliverer, deliver
from tests.system.running import Running


class PaperHost:
    """A host with a certificate of the running authority, and a chain of its own."""

    def __init__(self, running: Running, folder: Path, herd: str = "default") -> None:
        self.host_id, self.chain_id = secrets.token_hex(16), secrets.token_bytes(16)
        self.herd, self.running = herd, running
        self.signer = Ed25519PrivateKey.generate()
        self._folder = folder / f"paper-{self.host_id}"
        public = self.signer.public_key().public_bytes_raw()
        Authority.open(running.home / "ca").issue(
            self._folder, "host", host_id=self.host_id, herd=herd, signing_key=public
        )
        self.identity = Identity(self._folder)

    @property
    def header(self) -> dict:
        """What `sealed_batch` and `a_chain` need to make batches of this host."""
        return {
            "host_id": self.host_id,
            "herd": self.herd,
            "chain_id": self.chain_id,
            "signer": self.signer,
        }

    def send(self, batches: Sequence[pb.SealedBatch], role: str = STORE) -> Deliverer:
        """Deliver to one receiver on a stream of its own."""
        address = f"127.0.0.1:{self.running.ports()[role]}"
        return asyncio.run(deliver(address, self.identity, batches, self.host_id, role))

    def send_to_all(self, batches: Sequence[pb.SealedBatch]) -> None:
        """Deliver to store, modeler and detector; nothing may be refused."""
        for role in (STORE, MODELER, DETECTOR):
            assert self.send(batches, role).rejections == []
