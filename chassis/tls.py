"""Certificates: identities in files, and who is at the other end; authority.py makes them.

Every program proves a role with the SPIFFE id in its certificate:
`spiffe://nightherd/host/<id>` (its herd is the certificate's OU), `/store`, `/detector`,
`/modeler`, `/gateway`, `/importer`. Source: SPIFFE X509-SVID.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chassis.errors import UnauthenticatedError

TRUST_DOMAIN = "spiffe://nightherd/"
ROLES = ("host", "store", "detector", "modeler", "gateway", "importer", "enrolment")
# The host's Ed25519 key that signs batches travels in its certificate: TLS stacks do not agree on
# Ed25519 certificates, so TLS has a P-256 key of its own.
SIGNING_KEY_OID = x509.ObjectIdentifier("1.3.6.1.4.1.58080.1.1")

CA_FILE, CERT_FILE, KEY_FILE = "ca.pem", "cert.pem", "key.pem"
# The key of the certificate that comes next: there only while a host renews its own.
NEXT_KEY_FILE = "next-key.pem"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of an RPC.

    Attributes:
        role: one of ROLES.
        host_id: the host, for role "host"; else "".
        herd: the herd the certificate is bound to; "" when it is not.
        signing_key: 32 bytes of the host's public Ed25519 key; None when the certificate has none.
    """

    role: str
    host_id: str = ""
    herd: str = ""
    signing_key: bytes | None = None


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as it lies in files: PKCS 8 in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `certificate`; says nothing about its dates."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


class Identity:
    """A program's own certificate, read from a folder; follows renewals of the files."""

    def __init__(self, folder: Path) -> None:
        """Use the identity in `folder` (ca.pem, cert.pem, key.pem).

        Raises:
            FileNotFoundError: there is none.
        """
        self.folder = folder
        for name in (CA_FILE, CERT_FILE, KEY_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"no certificate: {folder / name} is missing")

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the certificate was replaced."""
        status = (self.folder / CERT_FILE).stat()
        return status.st_mtime_ns, status.st_ino

    def files(self) -> tuple[bytes, bytes, bytes]:
        """Return (authority, key, certificate) in PEM.

        Raises:
            ValueError: key and certificate do not belong together (a renewal is under way, or the
                folder was filled by hand).
        """
        # A renewal replaces two files one after the other; read until both are of one make.
        for _ in range(20):
            certificate = (self.folder / CERT_FILE).read_bytes()
            key = self._key_of(x509.load_pem_x509_certificate(certificate))
            if key is not None:
                return (self.folder / CA_FILE).read_bytes(), key, certificate
        raise ValueError(f"key and certificate in {self.folder} do not belong together")

    def _key_of(self, certificate: x509.Certificate) -> bytes | None:
        # A host that renews itself replaces the certificate first; its key waits beside it.
        for name in (KEY_FILE, NEXT_KEY_FILE):
            with suppress(FileNotFoundError):
                key = (self.folder / name).read_bytes()
                loaded = serialization.load_pem_private_key(key, None)
                if loaded.public_key() == certificate.public_key():
                    return key
        return None

    def certificate(self) -> x509.Certificate:
        """Return the certificate in force."""
        return x509.load_pem_x509_certificate((self.folder / CERT_FILE).read_bytes())

    def peer(self) -> Peer:
        """Who this identity says it is.

        Raises:
            UnauthenticatedError: the certificate is not one of Nightherd's.
        """
        return peer_of((self.folder / CERT_FILE).read_bytes())

    def server_credentials(self) -> Any:
        """Return gRPC server credentials (client certificates required) that follow renewals."""
        seen = self.stamp()

        def configuration() -> Any:
            authority, key, certificate = self.files()
            return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

        def renewed() -> Any:
            nonlocal seen
            try:
                now = self.stamp()
                if now == seen:
                    return None
                fresh = configuration()
            except (OSError, ValueError):  # half-way through a renewal: keep what works
                return None
            seen = now
            return fresh

        return grpc.dynamic_ssl_server_credentials(
            configuration(), renewed, require_client_authentication=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return gRPC client credentials with the certificate in force now."""
        authority, key, certificate = self.files()
        return grpc.ssl_channel_credentials(authority, key, certificate)


def peer_of(pem: bytes) -> Peer:
    """Read who a certificate speaks for.

    Raises:
        UnauthenticatedError: it carries no SPIFFE id of Nightherd.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise UnauthenticatedError("the certificate names nobody (no SPIFFE id)") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(TRUST_DOMAIN):
        raise UnauthenticatedError("the certificate carries no SPIFFE id of Nightherd")
    role, _, host_id = uris[0].removeprefix(TRUST_DOMAIN).partition("/")
    if role not in ROLES or (role == "host") != bool(host_id):
        raise UnauthenticatedError("the certificate's SPIFFE id names no role")
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    herd = str(units[0].value) if units else ""
    signing_key: bytes | None = None
    for extension in certificate.extensions:
        if extension.oid == SIGNING_KEY_OID and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            signing_key = extension.value.value
    return Peer(role, host_id, herd, signing_key)


def peer(context: Any) -> Peer:
    """Who calls, from a servicer's context.

    Raises:
        UnauthenticatedError: no certificate, or not one of Nightherd's.
    """
    certificates = context.auth_context().get("x509_pem_cert", ())
    if not certificates:
        raise UnauthenticatedError("a client certificate is needed")
    return peer_of(bytes(certificates[0]))
