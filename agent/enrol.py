"""`python -m agent enrol`: makes this machine a host with a one-time token."""

import hashlib
import hmac
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.authority import RefusedError, ask, fields, verified
from agent.identity import signing_key
from agent.renewal import signing_request, write
from chassis.errors import UnauthenticatedError
from chassis.files import replace
from chassis.tls import CA_FILE, CERT_FILE, Peer, issued_by, peer_of

if TYPE_CHECKING:
    from agent.settings import Settings


def enrol(settings: "Settings", url: str, token: str, ca_sha256: str) -> int:
    """Get this host's first certificate and write it; return the exit status.

    A token of "-" is read from standard input, where no other user of the machine sees it.
    """
    if (settings.tls_dir / CERT_FILE).exists():
        return _fail(f"{settings.tls_dir} holds a certificate: remove the folder to enrol anew")
    if token == "-":  # noqa: S105  (no token)
        token = sys.stdin.readline().strip()
    try:
        host = _enrol(settings.dir, settings.tls_dir, url, token, ca_sha256)
    except ConnectionRefusedError:
        return _fail(
            f"connection refused: nothing listens at {url}; is the authority served there?"
        )
    except (RefusedError, UnauthenticatedError, OSError, ValueError) as error:
        return _fail(str(error))
    print(f"enrolled as host {host.host_id} of herd {host.herd}")  # noqa: T201
    print(_next_steps(settings, url), file=sys.stderr)  # noqa: T201
    return 0


def _next_steps(settings: "Settings", url: str) -> str:
    """Return what is left to do before evidence comes."""
    wanted = {"STORE": "store.example:8401", "DETECTOR": "detector.example:8403"}
    wanted |= {"MODELER": "modeler.example:8402", "ENROLMENT": url}
    missing = [
        f"  NIGHTHERD_AGENT_{name}={example}"
        for name, example in wanted.items()
        if not getattr(settings, name.lower())
    ]
    start = "start the agent: systemctl enable --now nightherd-agent, or python -m agent"
    if not missing:
        return f"Next, {start}."
    lines = ["Next, say where the services are (/etc/nightherd/agent.env, or the environment):"]
    return "\n".join([*lines, *missing, f"then {start}."])


def _enrol(folder: Path, tls: Path, url: str, token: str, ca_sha256: str) -> Peer:
    pem = _authority(url, ca_sha256)
    authority = x509.load_pem_x509_certificate(pem.encode())
    signing = signing_key(folder).public_key().public_bytes_raw()
    key = ec.generate_private_key(ec.SECP256R1())
    asked = {
        "token": token,
        "csr": signing_request(key).public_bytes(Encoding.PEM).decode(),
        "signing_key": signing.hex(),
        "hostname": socket.gethostname(),
    }
    (certificate,) = fields(ask(url, "/v1/enrol", verified(pem), asked), "certificate")
    fresh, peer = (
        x509.load_pem_x509_certificate(certificate.encode()),
        peer_of(certificate.encode()),
    )
    if (
        not issued_by(fresh, authority)
        or fresh.public_key() != key.public_key()
        or (peer.role, peer.signing_key) != ("host", signing)
    ):
        raise ValueError("the certificate that came is not the one that was asked for")
    tls.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(tls / CA_FILE, pem.encode(), 0o644)
    write(tls, key, certificate.encode())
    return peer


def _authority(url: str, ca_sha256: str) -> str:
    """Return the authority's certificate: whoever sends it, its fingerprint says that it is ours.

    Raises:
        ValueError: it is another one.
        OSError: nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pem = ask(url, "/v1/authority", context).decode("ascii")
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    wanted = ca_sha256.replace(":", "").lower()
    if not hmac.compare_digest(hashlib.sha256(der).hexdigest().encode(), wanted.encode()):
        raise ValueError("another authority answers there than --ca-sha256 says; no token was sent")
    # As we read it: what follows it in the answer is not covered by the fingerprint.
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.PEM).decode("ascii")


def _fail(why: str) -> int:
    print(f"agent: not enrolled: {why}", file=sys.stderr)  # noqa: T201
    return 1
