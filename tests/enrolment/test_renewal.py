"""Hosts renew over real TLS: in time, late, and after a crash at any moment of it."""

import datetime as dt
import shutil
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent import renewal
from agent.authority import RefusedError
from agent.renewal import Renewing, complete, due_s, renew, write
from chassis.tls import CA_FILE, CERT_FILE, KEY_FILE, NEXT_KEY_FILE, Identity

HOUR = dt.timedelta(hours=1)


def until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value


@pytest.mark.parametrize("ended", [None, HOUR, dt.timedelta(days=29)])
def test_a_certificate_in_force_or_not_long_over_is_renewed_as_the_same_host(
    enrolment, tmp_path, ended
):
    identity = enrolment.host(tmp_path / "tls", ended=ended)
    before, peer = identity.certificate(), identity.peer()
    renew(identity, enrolment.url)
    after = identity.certificate()
    assert identity.peer() == peer
    assert after.serial_number != before.serial_number
    assert after.public_key() != before.public_key()
    left = after.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=23) < left <= dt.timedelta(hours=24)
    identity.files()  # key and certificate belong together
    assert (tmp_path / "tls" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "tls" / NEXT_KEY_FILE).exists()
    assert f'"host": "{peer.host_id}"' in enrolment.said()
    renew(identity, enrolment.url)  # and the new one in turn


def test_the_thread_renews_what_is_over_and_leaves_alone_what_is_fresh(enrolment, tmp_path):
    over = enrolment.host(tmp_path / "over", ended=HOUR)
    fresh = enrolment.host(tmp_path / "fresh")
    serial = fresh.certificate().serial_number
    threads = [Renewing(identity, enrolment.url) for identity in (over, fresh)]
    try:
        until(lambda: over.certificate().not_valid_after_utc > dt.datetime.now(dt.UTC))
        first = over.certificate().serial_number
        assert fresh.certificate().serial_number == serial
    finally:
        for thread in threads:
            thread.stop()
    assert over.certificate().serial_number == first


def test_the_thread_goes_on_until_the_program_is_there(an_enrolment, tmp_path, monkeypatch):
    monkeypatch.setattr(renewal, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(renewal, "START_JITTER_S", 0.0)
    program = an_enrolment()
    program.stop()
    identity = program.host(tmp_path / "tls", ended=HOUR)
    before = renewal.renewals.labels("failed")._value.get()
    thread = Renewing(identity, program.url)
    try:
        until(lambda: renewal.renewals.labels("failed")._value.get() >= before + 2)
        program.start()
        until(lambda: identity.certificate().not_valid_after_utc > dt.datetime.now(dt.UTC))
    finally:
        thread.stop()


def test_it_is_due_at_two_thirds_and_always_when_over(enrolment, tmp_path):
    certificate = enrolment.host(tmp_path / "tls").certificate()
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    at = begin + (end - begin) * 2 / 3
    assert due_s(certificate, at - HOUR, 0) == pytest.approx(3600)
    assert due_s(certificate, at, 0) == pytest.approx(0, abs=0.001)
    assert due_s(certificate, at - HOUR, 0.05) < 0
    assert due_s(certificate, end + HOUR, 0) < 0


def test_another_authoritys_program_is_not_believed(enrolment, an_enrolment, tmp_path):
    other = an_enrolment()
    identity = enrolment.host(tmp_path / "tls", ended=HOUR)
    before = identity.certificate()
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        renew(identity, other.url)
    assert identity.certificate() == before


@pytest.mark.parametrize("role", ["host", "gateway"])
def test_nobody_else_can_pose_as_the_enrolment_program(enrolment, tmp_path, role):
    """A certificate of our authority, even with the right address in it, is not enough."""
    import socket
    import ssl
    import threading

    host_id = "f" * 32 if role == "host" else ""
    names = ["127.0.0.1", "localhost"]
    enrolment.authority.issue(tmp_path / "thief", role, host_id=host_id, names=names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "thief" / CERT_FILE, tmp_path / "thief" / KEY_FILE)
    heard = []

    def serve(listener):
        connection, _ = listener.accept()
        try:
            heard.append(context.wrap_socket(connection, server_side=True).recv(1))
        except OSError:
            heard.append(b"")
        finally:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        identity = enrolment.host(tmp_path / "tls", ended=HOUR)
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            renew(identity, f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(10)
    assert heard == [b""]


def test_a_crash_at_any_moment_leaves_a_pair_or_what_completes_it(enrolment, tmp_path):
    """Every state the folder passes through while it is replaced, as a crash would leave it."""
    identity = enrolment.host(tmp_path / "tls", ended=HOUR)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = enrolment.authority.certify(key.public_key(), "host", host_id="a" * 32)
    pem = certificate.public_bytes(Encoding.PEM)
    old_cert = identity.certificate()
    shutil.copytree(tmp_path / "tls", tmp_path / "done")
    write(tmp_path / "done", key, pem)
    done = {name: (tmp_path / "done" / name).read_bytes() for name in (CERT_FILE, KEY_FILE)}
    steps = [
        {NEXT_KEY_FILE: done[KEY_FILE]},
        {NEXT_KEY_FILE: done[KEY_FILE], CERT_FILE: done[CERT_FILE]},
        {KEY_FILE: done[KEY_FILE], CERT_FILE: done[CERT_FILE]},
    ]
    for number, step in enumerate(steps):
        folder = tmp_path / f"crashed-{number}"
        shutil.copytree(tmp_path / "tls", folder)
        for name, content in step.items():
            (folder / name).write_bytes(content)
        crashed = Identity(folder)
        crashed.files()  # a reader that comes before it is completed
        (folder / f".{KEY_FILE}.0123456789abcdef").write_bytes(done[KEY_FILE][:9])
        complete(folder)
        assert {path.name for path in folder.iterdir()} == {CA_FILE, CERT_FILE, KEY_FILE}
        crashed.files()
        assert crashed.certificate() == (old_cert if number == 0 else certificate)


def test_a_first_enrolment_that_crashed_is_completed(enrolment, tmp_path):
    enrolment.host(tmp_path / "tls")
    (tmp_path / "tls" / KEY_FILE).rename(tmp_path / "tls" / NEXT_KEY_FILE)
    complete(tmp_path / "tls")
    Identity(tmp_path / "tls").files()
    complete(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_answers_that_are_not_what_was_asked_for_change_nothing(enrolment, tmp_path, monkeypatch):
    """An authority's program that errs: another host's certificate, no certificate, no JSON."""
    identity = enrolment.host(tmp_path / "tls", ended=HOUR)
    other = enrolment.host(tmp_path / "other")
    before = identity.files()
    import json

    real = renewal.ask
    for answer in (
        json.dumps({"certificate": (tmp_path / "other" / CERT_FILE).read_text()}).encode(),
        b'{"certificate": "no"}',
        b'{"certificate": 1}',
        b"[]",
        b"\xff",
    ):
        monkeypatch.setattr(
            renewal,
            "ask",
            lambda url, path, *more, answer=answer: (
                real(url, path, *more) if path == "/v1/nonce" else answer
            ),
        )
        with pytest.raises(ValueError):
            renew(identity, enrolment.url)
        assert identity.files() == before
    assert isinstance(other.certificate(), x509.Certificate)


def test_a_revoked_host_is_told_so(an_enrolment, tmp_path):
    program = an_enrolment()
    identity = program.host(tmp_path / "tls", ended=HOUR)
    host_id = identity.peer().host_id
    (program.folder / "revoked").write_text(f"# stolen laptops\n{host_id}  # by hand\n")
    with pytest.raises(RefusedError, match="HOST_REVOKED") as refused:
        renew(identity, program.url)
    assert refused.value.final
    assert f'"host": "{host_id}"' in program.said()
    (program.folder / "revoked").write_text("")
    renew(identity, program.url)


def test_readers_find_a_pair_at_any_moment_of_a_renewal(enrolment, tmp_path):
    import threading

    identity = enrolment.host(tmp_path / "tls")
    host_id, done, read = identity.peer().host_id, threading.Event(), []

    def reading():
        while not done.is_set():
            read.append(identity.files()[2])

    thread = threading.Thread(target=reading)
    thread.start()
    try:
        for _ in range(100):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = enrolment.authority.certify(key.public_key(), "host", host_id=host_id)
            write(tmp_path / "tls", key, certificate.public_bytes(Encoding.PEM))
            assert thread.is_alive()
    finally:
        done.set()
        thread.join()
    assert len(set(read)) > 10
