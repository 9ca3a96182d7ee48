"""A new host enrols with a one-time token; the token works once, in time, and for nobody else."""

import datetime as dt
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.authority import RefusedError, ask
from agent.renewal import renew, signing_request
from chassis.authority import Authority
from chassis.tls import Identity
from enrolment.errors import TokenExpiredError, TokenUnknownError, TokenUsedError
from enrolment.tokens import Tokens
from tests.enrolment.conftest import SIGNING
from tests.system.running import ROOT, environment

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def a_request(token):
    csr = signing_request(ec.generate_private_key(ec.SECP256R1()))
    return {
        "token": token,
        "csr": csr.public_bytes(Encoding.PEM).decode(),
        "signing_key": SIGNING.hex(),
        "hostname": "a\nhost",
    }


def enrol(program, document):
    return json.loads(ask(program.url, "/v1/enrol", program.context(), document))


def agent(folder, *arguments, stdin=""):
    return subprocess.run(
        [sys.executable, "-m", "agent", "enrol", *arguments],
        env=environment(
            NIGHTHERD_AGENT_DIR=str(folder / "agent"), NIGHTHERD_AGENT_TLS_DIR=str(folder / "tls")
        ),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_becomes_a_host_and_can_renew(enrolment, tmp_path):
    made = enrolment.token("--herd", "db")
    pinned = ("--ca-sha256", made["ca-sha256"])
    done = agent(tmp_path, enrolment.url, "--token", "-", *pinned, stdin=made["token"] + "\n")
    assert done.returncode == 0, done.stderr
    identity = Identity(tmp_path / "tls")
    peer = identity.peer()
    assert (peer.role, peer.herd) == ("host", "db")
    assert peer.host_id in done.stdout
    assert f"NIGHTHERD_AGENT_ENROLMENT={enrolment.url}\nthen start the agent" in done.stderr
    from agent.identity import signing_key

    own = signing_key(tmp_path / "agent").public_key().public_bytes_raw()
    assert peer.signing_key == own
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    renew(identity, enrolment.url)
    assert identity.peer() == peer
    # Twice is refused here, before a token is spent.
    again = agent(tmp_path, enrolment.url, "--token", made["token"], *pinned)
    assert again.returncode == 1
    assert "holds a certificate" in again.stderr
    # The same token does not enrol another machine.
    other = agent(tmp_path / "other", enrolment.url, "--token", made["token"], *pinned)
    assert other.returncode == 1
    assert "TOKEN_USED" in other.stderr
    assert not (tmp_path / "other" / "tls").exists()
    assert made["token"] not in enrolment.said()


def test_no_token_is_sent_to_another_authority(enrolment, tmp_path):
    made = enrolment.token()
    done = agent(tmp_path, enrolment.url, "--token", made["token"], "--ca-sha256", "00" * 32)
    assert done.returncode == 1
    assert "another authority answers" in done.stderr
    assert not (tmp_path / "tls").exists()
    enrol(enrolment, a_request(made["token"]))  # it is still good


def test_nobody_there_is_said_in_one_line(tmp_path, free_port):
    url = f"https://127.0.0.1:{free_port}"
    done = agent(tmp_path, url, "--token", "t", "--ca-sha256", "00" * 32)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing listens at {url}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://localhost:1", "localhost:1", "https://", "https://h:x"])
def test_an_address_that_is_none_is_said(tmp_path, url):
    done = agent(tmp_path, url, "--token", "t", "--ca-sha256", "00" * 32)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "not enrolled: " in done.stderr


def test_a_wrong_token_and_an_expired_one_are_refused(enrolment):
    for token in ("", "wrong", "../../ca-key", "x" * 9000):
        with pytest.raises(RefusedError, match="TOKEN_UNKNOWN"):
            enrol(enrolment, a_request(token))
    past = dt.datetime.now(dt.UTC) - 2 * HOUR
    token = Tokens(enrolment.folder).make("web", HOUR, past)
    with pytest.raises(RefusedError, match="TOKEN_EXPIRED"):
        enrol(enrolment, a_request(token))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("csr", "no", "BAD_SIGNING_REQUEST"),
        ("signing_key", "no", "BAD_SIGNING_KEY"),
        ("signing_key", "00", "BAD_SIGNING_KEY"),
    ],
)
def test_what_is_wrong_otherwise_does_not_use_the_token_up(enrolment, field, value, reason):
    document = a_request(enrolment.token()["token"])
    with pytest.raises(RefusedError, match=reason):
        enrol(enrolment, document | {field: value})
    answer = enrol(enrolment, document)
    assert len(answer["host_id"]) == 32
    assert answer["authority"] == (enrolment.folder / "ca.pem").read_text()


def test_of_many_who_use_a_token_at_once_one_becomes_a_host(enrolment):
    token, outcomes = enrolment.token()["token"], []

    def use():
        try:
            outcomes.append(enrol(enrolment, a_request(token))["host_id"])
        except RefusedError as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("TOKEN_USED") == 7


def test_tokens_lie_there_as_hashes_for_their_owner_only(tmp_path):
    Authority.open(tmp_path)
    tokens = Tokens(tmp_path)
    token = tokens.make("web", HOUR, NOW)
    (file,) = (tmp_path / "tokens").iterdir()
    assert file.name == hashlib.sha256(token.encode()).hexdigest() + ".json"
    assert token not in file.read_text()
    assert (len(bytes.fromhex(token)), token.isalnum()) == (32, True)  # no option by its looks
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o700
    assert tokens.use(token, NOW + HOUR) == "web"
    with pytest.raises(TokenUsedError):
        tokens.use(token, NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make one for somebody else")
def test_a_token_that_root_makes_is_for_the_owner_of_the_folder(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    Tokens(tmp_path).make("web", HOUR, NOW)
    folder = tmp_path / "tokens"
    assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {65534}


def test_an_expired_token_is_refused_and_forgotten_a_week_later(tmp_path):
    tokens = Tokens(tmp_path)
    late, forgotten = tokens.make("web", HOUR, NOW), tokens.make("web", HOUR, NOW)
    with pytest.raises(TokenExpiredError, match="2030-01-01 01:00"):
        tokens.use(late, NOW + 2 * HOUR)
    tokens.make("web", HOUR, NOW + dt.timedelta(days=9))
    with pytest.raises(TokenUnknownError):
        tokens.use(forgotten, NOW)
    assert len(list((tmp_path / "tokens").iterdir())) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"herd": "web", "expires": "never"}'])
def test_a_damaged_token_is_no_token(tmp_path, content):
    tokens = Tokens(tmp_path)
    token = tokens.make("web", HOUR, NOW)
    next((tmp_path / "tokens").iterdir()).write_text(content)
    tokens.make("web", HOUR, NOW)
    with pytest.raises(TokenUnknownError):
        tokens.use(token, NOW)


@pytest.mark.parametrize("arguments", [("--herd", "a/b"), ("--herd", ""), ("--hours", "0")])
def test_a_token_for_no_herd_or_no_time_is_not_made(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "enrolment", "token", *arguments],
        env=environment(NIGHTHERD_ENROLMENT_DIR=str(tmp_path / "ca")),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / "ca").exists()


def test_the_command_line_prints_a_token(enrolment, tmp_path):
    """`nightherd enrol-token` of a home whose authority is this one."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "ca").symlink_to(enrolment.folder)
    done = subprocess.run(
        [sys.executable, "-m", "cli", "enrol-token", "--herd", "web", "--home", str(home)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said = dict(line.split() for line in done.stdout.splitlines())
    assert enrol(enrolment, a_request(said["token"]))["host_id"]
    assert "herd web" in done.stderr
    assert f"--token - --ca-sha256 {said['ca-sha256']}\n" in done.stderr
    assert "no other machine reaches it" in done.stderr


@pytest.mark.parametrize("listen", ["0.0.0.0:9404", "[::]:9404", "authority.example:9404"])
def test_a_token_comes_with_the_command_to_type_elsewhere(enrolment, listen):
    done = subprocess.run(
        [sys.executable, "-m", "enrolment", "token"],
        env=environment(
            NIGHTHERD_ENROLMENT_DIR=str(enrolment.folder), NIGHTHERD_ENROLMENT_LISTEN=listen
        ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    name = "authority.example" if "example" in listen else socket.gethostname()
    assert (
        f"  /opt/nightherd/bin/python -m agent enrol https://{name}:9404 --token - " in done.stderr
    )
    assert "no other machine" not in done.stderr
