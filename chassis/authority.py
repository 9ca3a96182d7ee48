"""A small certificate authority of our own: it makes the identities that tls.py reads."""

import datetime as dt
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis.files import replace
from chassis.tls import (
    CA_FILE,
    CERT_FILE,
    KEY_FILE,
    ROLES,
    SIGNING_KEY_OID,
    TRUST_DOMAIN,
    issued_by,
    key_pem,
)

LIFETIME = dt.timedelta(hours=24)
# Clocks of a fleet differ; a certificate is good a little before it was made.
BACKDATED = dt.timedelta(minutes=5)


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


def local_names() -> list[str]:
    """Names and addresses under which this machine is reached from itself."""
    names = ["localhost", "127.0.0.1", "::1"]
    hostname = socket.gethostname()
    if hostname.isascii() and hostname not in names:
        names.append(hostname)
    return names


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


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
