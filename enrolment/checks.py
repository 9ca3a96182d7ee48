"""What must hold before a certificate is given. Pure: time and files come in as arguments."""

import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from chassis.errors import UnauthenticatedError
from chassis.text import show
from chassis.tls import Peer, issued_by, peer_of
from enrolment.errors import (
    BadCertificateError,
    BadProofError,
    BadRequestError,
    BadSigningKeyError,
    ForeignCertificateError,
    RevokedError,
    TooOldError,
    WrongRoleError,
)

CONTEXT = b"nightherd renewal v1\0"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is asked for.

    Attributes:
        certificate: the one to renew, PEM.
        csr: the new key, as a signing request in PEM; nothing else of it counts.
        nonce: given out a moment ago.
        proof: signature (DER) of the old TLS key over CONTEXT + sha256(csr DER) + nonce.
    """

    certificate: bytes
    csr: bytes
    nonce: str
    proof: bytes


def new_key(csr: bytes) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """Return the key of a signing request, and the request in DER.

    Raises:
        BadRequestError: it is none, not signed by its key, or the key is not of P-256.
    """
    try:
        request = x509.load_pem_x509_csr(csr)
        key, signed = request.public_key(), request.is_signature_valid
    except Exception as error:  # noqa: BLE001  (whatever a parser raises at what was sent)
        raise BadRequestError(f"csr: not a signing request in PEM ({show(str(error))})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequestError("csr: the key must be of the curve P-256")
    if not signed:
        raise BadRequestError("csr: not signed by its own key")
    return key, request.public_bytes(Encoding.DER)


def signing_key(text: str) -> bytes:
    """Return a host's public Ed25519 key from hex.

    Raises:
        BadSigningKeyError: it is none.
    """
    try:
        raw = bytes.fromhex(text)
        Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise BadSigningKeyError("signing_key: not 32 bytes of an Ed25519 key in hex") from None
    return raw


def renewable(
    asked: Renewal,
    authority: x509.Certificate,
    revoked: frozenset[str],
    now: dt.datetime,
    grace: dt.timedelta,
) -> tuple[Peer, ec.EllipticCurvePublicKey]:
    """Return whose certificate it is and the new key.

    Raises:
        NightherdError: why not. Who does not prove the key learns nothing about the host.
    """
    try:
        certificate = x509.load_pem_x509_certificate(asked.certificate)
        old = certificate.public_key()
        peer = peer_of(asked.certificate)
    except UnauthenticatedError as error:
        raise ForeignCertificateError(f"certificate: {error}") from None
    except Exception as error:  # noqa: BLE001  (whatever a parser raises at what was sent)
        raise BadCertificateError(f"certificate: not one in PEM ({show(str(error))})") from None
    # What it says before its signature was checked is what somebody claims.
    if not issued_by(certificate, authority):
        raise ForeignCertificateError("certificate: not issued by this authority")
    key, der = new_key(asked.csr)
    if not isinstance(old, ec.EllipticCurvePublicKey) or key == old:
        raise BadRequestError("csr: the key must be a new one", host=peer.host_id)
    message = CONTEXT + hashlib.sha256(der).digest() + asked.nonce.encode()
    try:
        old.verify(asked.proof, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise BadProofError(
            "proof: not by the key of the certificate, or not over this request",
            host=peer.host_id,
        ) from None
    if peer.role != "host":
        raise WrongRoleError(f"certificate: of role {peer.role}, not of a host")
    if peer.host_id in revoked:
        raise RevokedError("This host was revoked", host=peer.host_id)
    if now - certificate.not_valid_after_utc > grace:
        raise TooOldError(
            f"The certificate ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, "
            f"more than {grace.total_seconds() / 86400:g} days ago: enrol this host anew",
            host=peer.host_id,
        )
    return peer, key
