"""Which cloud a host runs in, as the machine's maker and the clouds' metadata services tell.

aws    PUT /latest/api/token, then GET /latest/dynamic/instance-identity/document with the token
gcp    GET /computeMetadata/v1/… with Metadata-Flavor: Google, which the answer must bear too
azure  GET /metadata/instance/compute with Metadata: true

A machine whose maker is none of the three asks nobody, unless a setting names the cloud.

References: "Use IMDSv2" (AWS), "VM metadata" (Google Cloud), "Instance Metadata Service" (Azure)
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import structlog

from chassis import clock

log = structlog.get_logger()
ADDRESS: Final = "http://169.254.169.254"
TIMEOUT_S: Final = 1.0
MOST_BYTES: Final = 64 << 10
MOST_TEXT: Final = 256
REMEMBERED_NS: Final = 86_400 * clock.NS
RETRY_NS: Final = 300 * clock.NS
AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
"""Chassis asset tag of every virtual machine of Azure."""
_DMI: Final = "sys/class/dmi/id"


class Cloud(NamedTuple):
    """Where a host runs; all empty outside the clouds that are known."""

    provider: str = ""
    account: str = ""
    region: str = ""
    instance: str = ""


class MetadataError(Exception):
    """No usable answer of a metadata service."""


class Metadata:
    """A metadata service, asked within bounds: no redirect, no proxy, little time, few bytes."""

    def __init__(self, url: str = ADDRESS, timeout_s: float = TIMEOUT_S) -> None:
        """Ask at `url`."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return (text, headers in lower case) of an answer 200.

        Raises:
            MetadataError: there is none, in time and size.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        # The time-out of a socket counts anew for every byte that trickles in: this one does not.
        over = threading.Event()
        try:
            connection.connect()
            timer = threading.Timer(self._timeout_s, _hang_up, (connection.sock, over))
            timer.daemon = True
            timer.start()
        except OSError as error:
            raise MetadataError(str(error)) from error
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise MetadataError(f"answer {response.status}")
            content = response.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise MetadataError(f"more than {MOST_BYTES} bytes")
            if over.is_set():
                raise MetadataError("too slow")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MetadataError(str(error) or type(error).__name__) from error
        finally:
            timer.cancel()
            connection.close()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return content.decode("utf-8", "replace"), answered


def _hang_up(connection: socket.socket, over: threading.Event) -> None:
    over.set()
    with suppress(OSError):  # it ended a moment ago
        connection.shutdown(socket.SHUT_RDWR)


def aws(service: Metadata) -> Cloud:
    """Ask the service of AWS."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token, _ = service.ask("PUT", "/latest/api/token", lifetime)
    header = {"X-aws-ec2-metadata-token": token.strip()}
    document = _json(service.ask("GET", "/latest/dynamic/instance-identity/document", header)[0])
    return Cloud(
        "aws",
        _text(document, "accountId"),
        _text(document, "region"),
        _text(document, "instanceId"),
    )


def gcp(service: Metadata) -> Cloud:
    """Ask the service of Google Cloud."""
    project, zone, instance = (
        _flavoured(service, path) for path in ("project/project-id", "instance/zone", "instance/id")
    )
    # projects/123456/zones/europe-west6-a
    region = zone.rpartition("/")[2].rpartition("-")[0]
    return Cloud("gcp", project, region, instance)


def _flavoured(service: Metadata, path: str) -> str:
    flavour = {"Metadata-Flavor": "Google"}
    text, headers = service.ask("GET", f"/computeMetadata/v1/{path}", flavour)
    if headers.get("metadata-flavor") != "Google":
        raise MetadataError("the answer is not Google's")
    return text.strip()[:MOST_TEXT]


def azure(service: Metadata) -> Cloud:
    """Ask the service of Azure."""
    path = "/metadata/instance/compute?api-version=2021-02-01&format=json"
    document = _json(service.ask("GET", path, {"Metadata": "true"})[0])
    return Cloud(
        "azure",
        _text(document, "subscriptionId"),
        _text(document, "location"),
        _text(document, "vmId"),
    )


_ASK: Mapping[str, Callable[[Metadata], Cloud]] = {"aws": aws, "gcp": gcp, "azure": azure}


def _json(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError("no JSON") from error
    if not isinstance(document, dict):
        raise MetadataError("no JSON object")
    return document


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise MetadataError(f"{key} is no text")
    # JSON can spell halves of characters, which no protobuf string takes.
    return value[:MOST_TEXT].encode("utf-8", "backslashreplace").decode()


def maker(root: Path = Path("/")) -> str:
    """Return the cloud that made this machine, as its firmware says, or ""."""
    vendor, product, board, chassis = (
        _line(root / _DMI / name)
        for name in ("sys_vendor", "product_name", "board_asset_tag", "chassis_asset_tag")
    )
    if vendor == "Amazon EC2" or board.startswith("i-"):
        return "aws"
    if vendor == "Google" or product == "Google Compute Engine":
        return "gcp"
    if chassis == AZURE_TAG:
        return "azure"
    return ""


def _line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_TEXT).decode("utf-8", "replace").strip()
    except OSError:
        return ""


class CloudFacts:
    """Asks once a day, and again after five minutes when it failed."""

    def __init__(self, cloud: str = "auto", url: str = ADDRESS, root: Path = Path("/")) -> None:
        """Ask `cloud` (aws, gcp, azure), whoever made the machine (auto), or nobody (none)."""
        self._cloud, self._url, self._root = cloud, url, root
        self._known = Cloud()
        self._next_ns = 0

    def read(self, boot_ns: int) -> Cloud:
        """Return where the host runs. May wait for some seconds: call it in a thread."""
        if self._cloud == "none" or boot_ns < self._next_ns:
            return self._known
        provider = maker(self._root) if self._cloud == "auto" else self._cloud
        if not provider:
            self._next_ns = boot_ns + REMEMBERED_NS
            return self._known
        try:
            self._known = _ASK[provider](Metadata(self._url))
        except MetadataError as error:
            log.warning("no answer of the cloud's metadata service", cloud=provider, why=str(error))
            self._next_ns = boot_ns + RETRY_NS
            # The firmware's word, and what was known before.
            self._known = self._known if self._known.provider == provider else Cloud(provider)
        else:
            self._next_ns = boot_ns + REMEMBERED_NS
        return self._known
