"""Where a host runs: a server here behaves like each cloud's metadata service, or badly."""

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent import cloud
from agent.cloud import Cloud, CloudFacts, Metadata, MetadataError
from chassis import clock

EC2 = {
    "accountId": "123456789012",
    "region": "eu-central-2",
    "instanceId": "i-0abc",
    "version": "x",
}
AZURE = {
    "subscriptionId": "5f0b-11",
    "location": "switzerlandnorth",
    "vmId": "02aab8a4",
    "name": "v",
}
GCP = {
    "project/project-id": "acme-prod",
    "instance/zone": "projects/8437/zones/europe-west6-a",
    "instance/id": "4961299",
}
EXPECTED = {
    "aws": Cloud("aws", "123456789012", "eu-central-2", "i-0abc"),
    "gcp": Cloud("gcp", "acme-prod", "europe-west6", "4961299"),
    "azure": Cloud("azure", "5f0b-11", "switzerlandnorth", "02aab8a4"),
}


class Clouds(BaseHTTPRequestHandler):
    """All three, as strict as they are about headers."""

    def do_PUT(self):
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        good = self.path == "/latest/api/token" and lifetime.isdigit()
        self._answer(*((200, "TOKEN==") if good else (400, "bad request")))

    def do_GET(self):
        google = self.path.removeprefix("/computeMetadata/v1/")
        if self.path == "/latest/dynamic/instance-identity/document":
            good = self.headers.get("X-aws-ec2-metadata-token") == "TOKEN=="
            self._answer(*((200, json.dumps(EC2)) if good else (401, "")))
        elif google in GCP:
            good = self.headers.get("Metadata-Flavor") == "Google"
            self._answer(
                *((200, GCP[google]) if good else (403, "")), {"Metadata-Flavor": "Google"}
            )
        elif self.path.startswith("/metadata/instance/compute?api-version="):
            good = self.headers.get("Metadata") == "true"
            self._answer(*((200, json.dumps(AZURE)) if good else (400, "")))
        else:
            self._answer(404, "")

    def _answer(self, status, text, headers=None):
        self.server.asked.append(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clouds)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def firmware(root, **lines):
    folder = root / "sys/class/dmi/id"
    folder.mkdir(parents=True)
    for name, text in lines.items():
        (folder / name).write_text(f"{text}\n")
    return root


MAKERS = [
    ({"sys_vendor": "Amazon EC2", "product_name": "m5.large"}, "aws"),
    ({"sys_vendor": "Xen", "board_asset_tag": "i-0abc"}, "aws"),
    ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, "gcp"),
    ({"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": cloud.AZURE_TAG}, "azure"),
]


@pytest.mark.parametrize(("lines", "provider"), MAKERS)
def test_the_firmware_says_whom_to_ask(tmp_path, service, lines, provider):
    facts = CloudFacts("auto", url(service), firmware(tmp_path, **lines))
    assert facts.read(0) == EXPECTED[provider]


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"sys_vendor": "Dell Inc.", "product_name": "PowerEdge R640"},
        {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},  # Hyper-V
        {"sys_vendor": "QEMU", "chassis_asset_tag": ""},
    ],
)
def test_a_machine_of_no_cloud_asks_nobody_unless_told_to(tmp_path, service, lines):
    root = firmware(tmp_path, **lines)
    assert CloudFacts("auto", url(service), root).read(0) == Cloud()
    assert service.asked == []
    assert CloudFacts("gcp", url(service), root).read(0) == EXPECTED["gcp"]


def test_switched_off_it_asks_nobody(tmp_path, service):
    root = firmware(tmp_path, sys_vendor="Amazon EC2")
    assert CloudFacts("none", url(service), root).read(0) == Cloud()
    assert service.asked == []


def test_an_answer_is_remembered_for_a_day(tmp_path, service):
    facts = CloudFacts("aws", url(service), tmp_path)
    for seconds in (0, 300, 86_399):
        assert facts.read(seconds * clock.NS) == EXPECTED["aws"]
    assert len(service.asked) == 2
    facts.read(86_401 * clock.NS)
    assert len(service.asked) == 4


def test_no_answer_is_tried_again_soon_and_the_firmwares_word_stands(tmp_path, free_port):
    facts = CloudFacts("azure", f"http://127.0.0.1:{free_port}", tmp_path)
    assert facts.read(0) == Cloud("azure")
    server = ThreadingHTTPServer(("127.0.0.1", free_port), Clouds)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        assert facts.read(clock.NS) == Cloud("azure")
        assert server.asked == []
        assert facts.read(301 * clock.NS) == EXPECTED["azure"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert facts.read(90_000 * clock.NS) == EXPECTED["azure"]


@contextlib.contextmanager
def raw(*pieces: bytes, pause_s: float = 0.0):
    """A server that says just this, to whoever asks whatever."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer():
        while not over.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.recv(65536)
                for piece in pieces:
                    peer.sendall(piece)
                    if over.wait(pause_s):
                        return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\n"
LYING = {
    "redirect": [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "nothing": [b""],
    "huge": [OK + b"\r\n", *[b"x" * 65536] * 32],
    "huge by its word": [OK + b"Content-Length: 99999999999999\r\n\r\n", b"x" * 300_000],
    "no end of headers": [OK, *[b"X-A: " + b"b" * 900 + b"\r\n"] * 500],
    "chunks without size": [OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx"],
}
RUBBISH = {
    "no JSON": b"<html>",
    "no object": b"[1, 2]",
    "deep": b"[" * 60_000,
    "no text": b'{"accountId": 1, "subscriptionId": {}}',
    "bytes": b"\xff\xfe\x00",
    "empty": b"",
}


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
@pytest.mark.parametrize("kind", LYING)
def test_what_is_no_answer_tells_nothing(tmp_path, provider, kind):
    with raw(*LYING[kind]) as address:
        assert CloudFacts(provider, address, tmp_path).read(0) == Cloud(provider)


@pytest.mark.parametrize("provider", ["aws", "azure"])
@pytest.mark.parametrize("kind", RUBBISH)
def test_an_answer_of_rubbish_tells_nothing(tmp_path, provider, kind):
    content = RUBBISH[kind]
    with raw(OK + b"Content-Length: %d\r\n\r\n" % len(content) + content) as address:
        assert CloudFacts(provider, address, tmp_path).read(0) == Cloud(provider)


def test_an_answer_that_is_not_googles_is_not_believed(tmp_path):
    with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nacme") as address:
        assert CloudFacts("gcp", address, tmp_path).read(0) == Cloud("gcp")


def test_what_text_an_answer_has_can_be_told(tmp_path):
    content = json.dumps({"subscriptionId": "\ud800" + "x" * 9999}).encode()
    with raw(OK + b"Content-Length: %d\r\n\r\n" % len(content) + content) as address:
        found = CloudFacts("azure", address, tmp_path).read(0)
    assert found.account.encode().startswith(b"\\ud800x")
    assert len(found.account) < 300


@pytest.mark.parametrize(
    "pieces",
    [
        [b""] * 400,
        [OK[n : n + 1] for n in range(10)] + [b"X"] * 400,
        [OK + b"\r\n"] + [b"x"] * 400,
        [OK + b"Content-Length: 400\r\n\r\n"] + [b"x"] * 400,
    ],
    ids=["silent", "slow headers", "slow body", "slow body of known size"],
)
def test_a_slow_answer_is_given_up(pieces):
    with raw(*pieces, pause_s=0.05) as address:
        began = time.monotonic()
        with pytest.raises(MetadataError):
            Metadata(address, timeout_s=0.3).ask("GET", "/", {})
        assert time.monotonic() - began < 5  # all of it would take 20 s


def test_proxies_of_the_environment_are_not_asked(tmp_path, service, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert CloudFacts("aws", url(service), tmp_path).read(0) == EXPECTED["aws"]
