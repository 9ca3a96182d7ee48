"""Whatever is sent as certificate, request or proof: a refusal with a reason, nothing else."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.renewal import signing_request
from chassis.authority import Authority
from chassis.errors import NightherdError
from enrolment.checks import Renewal, renewable, signing_key
from enrolment.errors import BadSigningKeyError

DAY = dt.timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = signing_request(KEY).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    authority = Authority.open(folder / "ca")
    certificate = authority.certify(KEY.public_key(), "host", host_id="a" * 32)
    return authority.certificate, certificate.public_bytes(Encoding.PEM)


def refused(authority, certificate, csr, proof, nonce="n"):
    with pytest.raises(NightherdError) as error:
        renewable(
            Renewal(certificate, csr, nonce, proof),
            authority,
            frozenset(),
            dt.datetime.now(dt.UTC),
            DAY,
        )
    assert error.value.reason != NightherdError.reason
    return error.value.reason


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_refused(files, certificate, csr, proof):
    assert refused(files[0], certificate, csr, proof) == "BAD_CERTIFICATE"
    assert refused(files[0], files[1], csr, proof) == "BAD_SIGNING_REQUEST"


@settings(max_examples=300)
@given(st.data())
def test_any_change_of_a_good_certificate_or_request_is_refused(files, data):
    """Decoded, one byte changed, and encoded again: the parsers see nearly good input."""
    import base64

    authority, good = files
    for which, pem in (("certificate", good), ("csr", CSR)):
        lines = pem.decode().split("\n")
        der = bytearray(base64.b64decode("".join(lines[1:-2])))
        place = data.draw(st.integers(0, len(der) - 1))
        der[place] ^= data.draw(st.integers(1, 255))
        changed = "\n".join([lines[0], base64.encodebytes(bytes(der)).decode(), lines[-2], ""])
        sent = {"certificate": good, "csr": CSR, which: changed.encode()}
        refused(authority, sent["certificate"], sent["csr"], b"")


def test_certificates_that_name_nobody_or_cannot_be_read_are_refused(files, tmp_path):
    authority = files[0]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a" * 32)])
    now = dt.datetime.now(dt.UTC)
    plain = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + DAY)
    )
    for uri in ("spiffe://other/host/a", "spiffe://nightherd/host/", "spiffe://nightherd/root"):
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        certificate = plain.add_extension(names, critical=False).sign(KEY, hashes.SHA256())
        pem = certificate.public_bytes(Encoding.PEM)
        assert refused(authority, pem, CSR, b"") == "FOREIGN_CERTIFICATE"
    # Named as ours by its issuer, and signed by a key of its own.
    host = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(f"spiffe://nightherd/host/{'a' * 32}")]
    )
    forged = plain.add_extension(host, critical=False).sign(KEY, hashes.SHA256())
    pem = forged.public_bytes(Encoding.PEM)
    assert refused(authority, pem, CSR, b"") == "FOREIGN_CERTIFICATE"


@given(st.text(max_size=60))
def test_text_is_no_signing_key(text):
    with pytest.raises(BadSigningKeyError):
        signing_key(text)


def test_a_key_in_hex_is_one():
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert signing_key(raw.hex()) == raw
    for wrong in (raw.hex()[2:], raw.hex() + "00", raw.hex()[:-1] + "g"):
        with pytest.raises(BadSigningKeyError):
            signing_key(wrong)
