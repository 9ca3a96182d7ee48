"""The gateway as a program: starts, says what prevents it, drains, follows renewals."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chassis.authority import local_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(certificates, mongo_url, names, free_port):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NIGHTHERD_")}
    return {
        **kept,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        "NIGHTHERD_MONGO_URL": mongo_url,
        "NIGHTHERD_ADMIN_PASSWORD": "a password of the test",
        "NIGHTHERD_GATEWAY_DATABASE": f"{names['gateway']}_program",
        "NIGHTHERD_GATEWAY_LISTEN": f"127.0.0.1:{free_port}",
        "NIGHTHERD_GATEWAY_TLS_DIR": str(certificates / "gateway"),
    }


def launch(environment):
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def handshake(port, ca):
    """Return the certificate that the gateway shows; None when nobody answers."""
    context = ssl.create_default_context(cafile=str(ca))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 2) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert()["serialNumber"]
    except OSError:
        return None


def until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return value


def test_sigterm_ends_it_in_order_with_status_0(environment, certificates, free_port):
    process = launch(environment)
    try:
        until(lambda: handshake(free_port, certificates / "gateway" / "ca.pem"))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert '"draining"' in log
    assert "a password of the test" not in log


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NIGHTHERD_GATEWAY_LISTEN", "127.0.0.1:{taken}", "cannot listen"),
        ("NIGHTHERD_GATEWAY_TLS_DIR", "/nonexistent", "no certificate"),
        ("NIGHTHERD_MONGO_URL", "http://x", "URI"),
        ("NIGHTHERD_GATEWAY_LISTN", "x", "not a setting"),
        ("NIGHTHERD_GATEWAY_TOKEN_MINUTES", "0", "TOKEN_MINUTES"),
    ],
)
def test_what_prevents_the_start_is_said_in_one_line(environment, variable, value, said):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment[variable] = value.format(taken=taken.getsockname()[1])
        process = launch(environment)
        _, log = process.communicate(timeout=60)
    assert process.returncode in (1, 2)
    assert said in log
    assert "Traceback" not in log


async def test_new_connections_get_a_renewed_certificate(start, authority, tmp_path):
    folder = tmp_path / "people"
    authority.issue(folder, "gateway", names=local_names())
    options = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    async with start(renewal_check_seconds=0.05, **options) as api:
        before = await asyncio.to_thread(handshake, api.port, folder / "ca.pem")
        assert before
        authority.issue(folder, "gateway", names=local_names())
        async with asyncio.timeout(60):
            while await asyncio.to_thread(handshake, api.port, folder / "ca.pem") in (None, before):
                await asyncio.sleep(0.05)


async def test_plaintext_is_refused(api):
    with socket.create_connection(("127.0.0.1", api.port), 5) as plain:
        plain.sendall(b"GET /api/v1/_ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.settimeout(5)
        received = await asyncio.to_thread(plain.recv, 100)
        assert b"200" not in received
