"""Gives certificates; holds the authority's folder."""

import datetime as dt
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from chassis.authority import Authority, local_names
from enrolment.checks import Renewal, new_key, renewable, signing_key
from enrolment.errors import NonceError
from enrolment.nonces import Nonces
from enrolment.settings import Settings
from enrolment.tokens import Tokens

SERVER_LIFETIME = dt.timedelta(hours=24)


class Issuer:
    """One authority at work."""

    def __init__(self, settings: Settings) -> None:
        """Open the authority, or make one where there is none.

        Raises:
            ValueError: what lies in the folder is no authority.
            OSError: the folder cannot be read or made.
        """
        self._folder = settings.dir
        self._authority = Authority.open(settings.dir)
        self._tokens = Tokens(settings.dir)
        self._lifetime = dt.timedelta(hours=settings.certificate_hours)
        self._grace = dt.timedelta(days=settings.grace_days)
        self.nonces = Nonces()
        self.authority_pem = self._authority.certificate.public_bytes(Encoding.PEM).decode()

    def server_files(self) -> tuple[Path, Path]:
        """Issue a server's certificate to ourselves; return the files of it and its key."""
        folder = self._folder / "server"
        self._authority.issue(folder, "enrolment", names=local_names(), lifetime=SERVER_LIFETIME)
        return folder / "cert.pem", folder / "key.pem"

    def renew(self, asked: Renewal) -> tuple[str, dict[str, str]]:
        """Return the host id and the answer with a new certificate for it.

        Raises:
            NightherdError: why not.
            OSError: the list of revoked hosts cannot be read; nobody is renewed then.
        """
        if not self.nonces.take(asked.nonce):
            raise NonceError("nonce: not given by us, used, or too old: ask for another")
        now = dt.datetime.now(dt.UTC)
        authority = self._authority.certificate
        peer, key = renewable(asked, authority, self._revoked(), now, self._grace)
        return peer.host_id, self._answer(key, peer.host_id, peer.herd, peer.signing_key)

    def enrol(self, token: str, csr: bytes, signing_hex: str) -> tuple[str, dict[str, str]]:
        """Return the id of a new host and the answer with its first certificate.

        Raises:
            NightherdError: why not. The token is used up only when nothing else is wrong.
        """
        key, _ = new_key(csr)
        raw = signing_key(signing_hex)
        herd = self._tokens.use(token, dt.datetime.now(dt.UTC))
        host_id = secrets.token_hex(16)
        return host_id, {**self._answer(key, host_id, herd, raw), "host_id": host_id}

    def _answer(
        self, key: ec.EllipticCurvePublicKey, host_id: str, herd: str, raw: bytes | None
    ) -> dict[str, str]:
        certificate = self._authority.certify(
            key,
            "host",
            host_id=host_id,
            herd=herd,
            signing_key=raw,
            lifetime=self._lifetime,
        )
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return {"certificate": pem, "authority": self.authority_pem}

    def _revoked(self) -> frozenset[str]:
        """Read the list anew each time: revoking works at once."""
        try:
            lines = (self._folder / "revoked").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return frozenset()
        return frozenset(line.split("#")[0].strip() for line in lines) - {""}
