"""Every refusal of a renewal has a reason of its own, and is one line of the log."""

import base64
import datetime as dt
import hashlib
import http.client
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agent.authority import SERVER_NAME, RefusedError, ask, fields
from agent.renewal import CONTEXT, signing_request
from chassis.authority import Authority
from chassis.tls import Identity

DAY = dt.timedelta(days=1)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def a_nonce(program):
    return fields(ask(program.url, "/v1/nonce", program.context()), "nonce")[0]


def asked(program, identity, csr=None, by=None, **more):
    """A renewal as the agent asks for it, with what the test changes."""
    _, key, certificate = identity.files()
    csr = csr or signing_request(ec.generate_private_key(ec.SECP256R1()))
    der = csr.public_bytes(DER)
    nonce = more.get("nonce") or a_nonce(program)
    message = CONTEXT + hashlib.sha256(der).digest() + nonce.encode()
    by = by or serialization.load_pem_private_key(key, None)
    return {
        "certificate": certificate.decode(),
        "csr": csr.public_bytes(PEM).decode(),
        "nonce": nonce,
        "proof": base64.b64encode(by.sign(message, ec.ECDSA(hashes.SHA256()))).decode(),
    } | more


def refusal(program, document, path="/v1/renew"):
    with pytest.raises(RefusedError) as refused:
        ask(program.url, path, program.context(), document)
    return refused.value.reason


def raw(program, method, path, body=b"", headers=()):
    """Send what no client would; return the status and the problem."""
    import socket

    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    with (
        socket.create_connection(("127.0.0.1", program.port), 20) as plain,
        program.context().wrap_socket(plain, server_hostname=SERVER_NAME) as secure,
    ):
        connection.sock = secure
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, json.loads(content)


@pytest.fixture
def host(enrolment, tmp_path):
    return enrolment.host(tmp_path / "host", ended=DAY)


def test_a_nonce_is_good_once(enrolment, host):
    document = asked(enrolment, host)
    answer = ask(enrolment.url, "/v1/renew", enrolment.context(), document)
    assert json.loads(answer)["authority"] == (enrolment.folder / "ca.pem").read_text()
    assert refusal(enrolment, document) == "NONCE_NOT_IN_FORCE"
    assert refusal(enrolment, asked(enrolment, host, nonce="0" * 32)) == "NONCE_NOT_IN_FORCE"


def test_a_nonce_of_a_refused_request_is_used_too(enrolment, host):
    document = asked(enrolment, host)
    assert refusal(enrolment, document | {"csr": "no"}) == "BAD_SIGNING_REQUEST"
    assert refusal(enrolment, document) == "NONCE_NOT_IN_FORCE"


def test_a_foreign_authoritys_certificate_is_refused(enrolment, tmp_path):
    foreign = Authority.open(tmp_path / "foreign")
    foreign.issue(tmp_path / "thief", "host", host_id="f" * 32)
    assert refusal(enrolment, asked(enrolment, Identity(tmp_path / "thief"))) == (
        "FOREIGN_CERTIFICATE"
    )


def test_the_authoritys_own_certificate_is_nobodys(enrolment, host):
    ca = (enrolment.folder / "ca.pem").read_text()
    assert refusal(enrolment, asked(enrolment, host, certificate=ca)) == "FOREIGN_CERTIFICATE"


@pytest.mark.parametrize("role", ["store", "gateway", "importer", "enrolment"])
def test_only_hosts_are_renewed(enrolment, tmp_path, role):
    enrolment.authority.issue(tmp_path / role, role)
    assert refusal(enrolment, asked(enrolment, Identity(tmp_path / role))) == "NOT_A_HOST"


def test_a_certificate_that_ended_too_long_ago_is_refused(enrolment, tmp_path):
    old = enrolment.host(tmp_path / "old", ended=31 * DAY)
    assert refusal(enrolment, asked(enrolment, old)) == "EXPIRED_TOO_LONG_AGO"
    assert f'"host": "{old.peer().host_id}"' in enrolment.said()


def test_a_proof_by_another_key_or_over_something_else_is_refused(enrolment, host):
    other = ec.generate_private_key(ec.SECP256R1())
    assert refusal(enrolment, asked(enrolment, host, by=other)) == "BAD_PROOF"
    csr = signing_request(other).public_bytes(PEM).decode()
    assert refusal(enrolment, asked(enrolment, host) | {"csr": csr}) == "BAD_PROOF"
    proof = asked(enrolment, host)["proof"]
    assert refusal(enrolment, asked(enrolment, host) | {"proof": proof}) == "BAD_PROOF"
    assert refusal(enrolment, asked(enrolment, host, proof="")) == "BAD_PROOF"
    assert refusal(enrolment, asked(enrolment, host, proof="~")) == "NOT_JSON"


def test_who_lacks_the_key_does_not_learn_that_a_host_was_revoked(an_enrolment, tmp_path):
    program = an_enrolment()
    host = program.host(tmp_path / "host")
    (program.folder / "revoked").write_text(host.peer().host_id)
    other = ec.generate_private_key(ec.SECP256R1())
    assert refusal(program, asked(program, host, by=other)) == "BAD_PROOF"
    assert refusal(program, asked(program, host)) == "HOST_REVOKED"


def test_a_signing_request_needs_a_new_p_256_key_and_its_signature(enrolment, host):
    old = serialization.load_pem_private_key(host.files()[1], None)
    empty = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (
        old,
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ):
        csr = empty.sign(key, hashes.SHA256())
        assert refusal(enrolment, asked(enrolment, host, csr=csr)) == "BAD_SIGNING_REQUEST"
    good = bytearray(signing_request(ec.generate_private_key(ec.SECP256R1())).public_bytes(DER))
    good[-1] ^= 1
    body = base64.encodebytes(bytes(good)).decode()
    text = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
    for broken in (text, "", "no", body):
        assert refusal(enrolment, asked(enrolment, host) | {"csr": broken}) == (
            "BAD_SIGNING_REQUEST"
        )


def test_what_a_signing_request_says_of_its_subject_does_not_count(enrolment, host):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://nightherd/store")]
            ),
            critical=False,
        )
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    answer = ask(enrolment.url, "/v1/renew", enrolment.context(), asked(enrolment, host, csr=csr))
    fresh = x509.load_pem_x509_certificate(json.loads(answer)["certificate"].encode())
    before = host.certificate()
    assert fresh.subject == before.subject
    for kind in (x509.BasicConstraints, x509.SubjectAlternativeName):
        assert (
            fresh.extensions.get_extension_for_class(kind).value
            == before.extensions.get_extension_for_class(kind).value
        )


@pytest.mark.parametrize("certificate", ["", "no", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_refused(enrolment, host, certificate):
    assert refusal(enrolment, asked(enrolment, host, certificate=certificate)) == "BAD_CERTIFICATE"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"[]",
        b"{}",
        b"null",
        b'{"certificate": 1, "csr": "", "nonce": "", "proof": ""}',
        b'{"certificate": "\\ud800", "csr": "", "nonce": "", "proof": ""}',
        b"[" * 16000,
        b"\xff\xfe",
    ],
)
@pytest.mark.parametrize("path", ["/v1/renew", "/v1/enrol"])
def test_what_is_no_json_of_that_shape_is_refused(enrolment, path, body):
    status, problem = raw(enrolment, "POST", path, body)
    assert (status, problem["reason"]) == (400, "NOT_JSON")


def test_a_body_above_16_kib_is_refused(enrolment):
    body = json.dumps({"certificate": "x" * (16 << 10)}).encode()
    status, problem = raw(enrolment, "POST", "/v1/renew", body)
    assert (status, problem["reason"]) == (413, "BODY_OVERSIZE")


def test_other_paths_and_methods_are_problems_too(enrolment):
    assert raw(enrolment, "GET", "/v1/nothing")[0] == 404
    assert raw(enrolment, "GET", "/v1/renew")[0] == 405


def test_one_address_may_ask_so_often_and_is_told_how_long_to_wait(an_enrolment):
    program = an_enrolment(requests_per_minute=3)
    for _ in range(3):
        a_nonce(program)
    with pytest.raises(RefusedError, match="429 TOO_OFTEN") as refused:
        a_nonce(program)
    assert 0 < refused.value.retry_s <= 20


def test_a_list_of_revoked_hosts_that_cannot_be_read_stops_renewals(an_enrolment, tmp_path):
    program = an_enrolment()
    host = program.host(tmp_path / "host")
    (program.folder / "revoked").mkdir()
    with pytest.raises(RefusedError, match="503"):
        ask(program.url, "/v1/renew", program.context(), asked(program, host))


def test_a_refusal_is_one_line_with_the_host(an_enrolment, tmp_path):
    program = an_enrolment()
    old = program.host(tmp_path / "old", ended=31 * DAY)
    assert refusal(program, asked(program, old)) == "EXPIRED_TOO_LONG_AGO"
    lines = [json.loads(line) for line in program.said().splitlines()]
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert (line["host"], line["reason"]) == (old.peer().host_id, "EXPIRED_TOO_LONG_AGO")
