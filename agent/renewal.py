"""The agent renews its certificate itself: in time, and also after it expired offline."""

import base64
import contextvars
import datetime as dt
import hashlib
import random
import threading
from contextlib import suppress
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.authority import RefusedError, ask, fields, verified
from chassis.counters import Counter
from chassis.files import replace, settle
from chassis.tls import (
    CERT_FILE,
    KEY_FILE,
    NEXT_KEY_FILE,
    Identity,
    issued_by,
    key_pem,
    peer_of,
)

log = structlog.get_logger()
renewals = Counter("nightherd_agent_renewals", "Tries to renew the certificate", ["outcome"])

CONTEXT = b"nightherd renewal v1\0"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
JITTER = 0.05
"""Of a certificate's life; hosts that were started together do not ask together."""
START_JITTER_S = 2.0
LOOK_S = 60.0
"""How often the clock and the files are looked at: both may change under us."""


def signing_request(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """Return a signing request for `key`; it names nobody, the authority decides who we are."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256())


def _public(key_file: Path) -> object:
    return serialization.load_pem_private_key(key_file.read_bytes(), None).public_key()


def complete(folder: Path) -> None:
    """Complete a replacement that a crash cut in two: the certificate is there, its key is not.

    Raises:
        OSError: the folder cannot be written.
    """
    next_key = folder / NEXT_KEY_FILE
    for unfinished in folder.glob(".*.pem.*"):  # of `replace`
        unfinished.unlink(missing_ok=True)
    if not next_key.exists():
        return
    with suppress(FileNotFoundError, ValueError):
        certificate = x509.load_pem_x509_certificate((folder / CERT_FILE).read_bytes())
        if _public(next_key) == certificate.public_key():
            next_key.replace(folder / KEY_FILE)
    next_key.unlink(missing_ok=True)


def renew(identity: Identity, url: str) -> x509.Certificate:
    """Get a certificate for a new key, replace the files, and return it.

    A crash at any moment leaves a pair that is in force, or that `complete` makes one.

    Raises:
        RefusedError: the enrolment program says no.
        OSError: it is not reached or not the right one, or the files cannot be written.
        ValueError: the answer is not what was asked for, or the files do not fit one another.
    """
    authority, old_pem, certificate = identity.files()
    old = serialization.load_pem_private_key(old_pem, None)
    if not isinstance(old, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{KEY_FILE} holds no EC key")  # noqa: TRY004  (a file, not an argument)
    context = verified(authority.decode())
    (nonce,) = fields(ask(url, "/v1/nonce", context), "nonce")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = signing_request(key)
    digest = hashlib.sha256(csr.public_bytes(serialization.Encoding.DER)).digest()
    proof = old.sign(CONTEXT + digest + nonce.encode(), ec.ECDSA(hashes.SHA256()))
    asked = {
        "certificate": certificate.decode(),
        "csr": csr.public_bytes(serialization.Encoding.PEM).decode(),
        "nonce": nonce,
        "proof": base64.b64encode(proof).decode(),
    }
    (pem,) = fields(ask(url, "/v1/renew", context, asked), "certificate")
    fresh = x509.load_pem_x509_certificate(pem.encode())
    if (
        fresh.public_key() != key.public_key()
        or peer_of(pem.encode()) != peer_of(certificate)
        or not issued_by(fresh, x509.load_pem_x509_certificate(authority))
    ):
        raise ValueError("the certificate that came is not the one that was asked for")
    write(identity.folder, key, pem.encode())
    return fresh


def write(folder: Path, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
    """Replace certificate and key so that a crash in between can be completed."""
    replace(folder / NEXT_KEY_FILE, key_pem(key))
    settle(folder)
    replace(folder / CERT_FILE, certificate, 0o644)
    (folder / NEXT_KEY_FILE).replace(folder / KEY_FILE)
    settle(folder)


class Renewing:
    """A thread that keeps the certificate in force; it never holds up the agent's loop."""

    def __init__(self, identity: Identity, url: str) -> None:
        """Begin at once."""
        self._identity, self._url = identity, url
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,  # what is bound to log lines
            args=(self._run,),
            name="renewal",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way is cut by the end of the process."""
        self._stop.set()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        self._stop.wait(random.uniform(0, START_JITTER_S))  # noqa: S311  (jitter)
        early = random.uniform(0, JITTER)  # noqa: S311
        while not self._stop.is_set():
            least_s = 0.0
            try:
                wait_s = due_s(self._identity.certificate(), dt.datetime.now(dt.UTC), early)
                if wait_s > 0:
                    pause_s = FIRST_PAUSE_S
                    self._stop.wait(min(wait_s, LOOK_S))
                    continue
                fresh = renew(self._identity, self._url)
            except RefusedError as error:
                least_s = LONGEST_PAUSE_S if error.final else min(error.retry_s, LONGEST_PAUSE_S)
                _failed(error)
            except Exception as error:  # noqa: BLE001  (whatever it is, the agent goes on)
                _failed(error)
            else:
                renewals.labels("renewed").inc()
                log.info("certificate renewed", until=fresh.not_valid_after_utc.isoformat())
                if due_s(fresh, dt.datetime.now(dt.UTC), early) > 0:
                    continue
                log.warning("our clock, or the authority's, is wrong: the new one is over too")
            self._stop.wait(max(pause_s, least_s) * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _failed(error: Exception) -> None:
    renewals.labels("failed").inc()
    log.warning("certificate not renewed", why=(str(error) or repr(error))[:300])


def due_s(certificate: x509.Certificate, now: dt.datetime, early: float) -> float:
    """Return the seconds until `certificate` should be renewed; not positive: now.

    Args:
        certificate: the one in force, perhaps over.
        now: the time.
        early: which share of its life before two thirds are over.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (begin + (end - begin) * (2 / 3 - early) - now).total_seconds()
