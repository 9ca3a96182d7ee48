"""Certificates: a small local authority, identities in files, and who is at the other end.

Every program proves a role with the SPIFFE id in its certificate:
`spiffe://nightherd/host/<id>` (its herd is the certificate's OU), `/store`, `/detector`,
`/modeler`, `/gateway`, `/importer`. Source: SPIFFE X509-SVID.
"""

import datetime as dt
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis.errors import UnauthenticatedError
from chassis.files import replace

TRUST_DOMAIN = "spiffe://nightherd/"
ROLES = ("host", "store", "detector", "modeler", "gateway", "importer", "enrolment")
LIFETIME = dt.timedelta(hours=24)
# Clocks of a fleet differ; a certificate is good a little before it was made.
BACKDATED = dt.timedelta(minutes=5)
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


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as it lies in files: PKCS 8 in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Authority:
    """A certificate authority in a folder (0700). Guard it: who has it can be any host."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Use an authority that exists; `open` makes one where there is none."""
        self._key, self.certificate = key, certificate

    @classmethod
    def open(cls, folder: Path) -> "Authority":
        """Load the authority in `folder`, or make it there.

        Raises:
            ValueError: the files there are not a key and a certificate.
        """
        key_file, ca_file = folder / "ca-key.pem", folder / CA_FILE
        if key_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} holds no EC key")
            return cls(key, x509.load_pem_x509_certificate(ca_file.read_bytes()))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nightherd local authority")])
        public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - BACKDATED)
            .not_valid_after(_now() + dt.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(public, critical=False)
            .sign(key, hashes.SHA256())
        )
        # The certificate first: a folder with a key is complete.
        replace(ca_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        replace(key_file, key_pem(key))
        return cls(key, certificate)

    def issue(
        self,
        folder: Path,
        role: str,
        *,
        host_id: str = "",
        herd: str = "",
        signing_key: bytes | None = None,
        names: Sequence[str] = (),
        lifetime: dt.timedelta = LIFETIME,
        now: dt.datetime | None = None,
    ) -> None:
        """Write a new identity (ca.pem, cert.pem, key.pem) into `folder`, replacing the old one.

        Args:
            folder: made (0700) when absent.
            role: one of ROLES.
            host_id: needed for role "host".
            herd: the herd it is bound to (role "host" and "importer").
            signing_key: 32 raw bytes of the host's public Ed25519 key.
            names: further DNS names or addresses a server is reached by.
            lifetime: how long it is good.
            now: when it begins to be good; for tests of expiry.

        Raises:
            ValueError: an unknown role, or a host without id.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.certify(
            key.public_key(),
            role,
            host_id=host_id,
            herd=herd,
            signing_key=signing_key,
            names=names,
            lifetime=lifetime,
            now=now,
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = serialization.Encoding.PEM
        replace(folder / CA_FILE, self.certificate.public_bytes(pem), 0o644)
        # Key and certificate change together for a reader that checks they match.
        replace(folder / KEY_FILE, key_pem(key))
        replace(folder / CERT_FILE, certificate.public_bytes(pem), 0o644)

    def certify(
        self,
        key: ec.EllipticCurvePublicKey,
        role: str,
        *,
        host_id: str = "",
        herd: str = "",
        signing_key: bytes | None = None,
        names: Sequence[str] = (),
        lifetime: dt.timedelta = LIFETIME,
        now: dt.datetime | None = None,
    ) -> x509.Certificate:
        """Return a certificate for a key that its owner keeps; arguments as for `issue`.

        Raises:
            ValueError: an unknown role, or a host without id.
        """
        if role not in ROLES or (role == "host") != bool(host_id):
            raise ValueError(f"no identity for role {role!r} with host id {host_id!r}")
        begin = now or _now()
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, host_id or role)]
        if herd:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, herd))
        uri = TRUST_DOMAIN + (f"host/{host_id}" if host_id else role)
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        if not host_id:
            # Servers are checked by role: a client asks for the name "store.nightherd".
            alternatives += [x509.DNSName(f"{role}.nightherd"), *map(_general_name, names)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - BACKDATED)
            .not_valid_after(begin + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if signing_key is not None:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(SIGNING_KEY_OID, signing_key), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this authority signed `certificate`; says nothing about its dates."""
        return issued_by(certificate, self.certificate)


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `certificate`; says nothing about its dates."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def local_names() -> list[str]:
    """Names and addresses under which this machine is reached from itself."""
    names = ["localhost", "127.0.0.1", "::1"]
    hostname = socket.gethostname()
    if hostname.isascii() and hostname not in names:
        names.append(hostname)
    return names


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
