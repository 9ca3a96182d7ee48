"""What this host is: name, system, kernel, addresses, time zone, and what settings say of it."""

import platform
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

from agent.cloud import Cloud
from nightherd.event.v1 import event_pb2 as events

MOST_ADDRESSES = 64
ETC = Path("/etc")
_NO_CLOUD = Cloud()


def read_facts(cluster: str, labels: Sequence[str], cloud: Cloud = _NO_CLOUD) -> events.HostFacts:
    """Return what this host is now. May wait for name resolution: call it in a thread."""
    system = _os_release()
    return events.HostFacts(
        hostname=socket.gethostname().partition(".")[0],
        fqdn=_fqdn(),
        os_id=system.get("ID", ""),
        os_version=system.get("VERSION_ID", ""),
        os_name=system.get("PRETTY_NAME", ""),
        kernel=platform.release(),
        architecture=platform.machine(),
        machine_id=_text(ETC / "machine-id"),
        cloud_provider=cloud.provider,
        cloud_account=cloud.account,
        cloud_region=cloud.region,
        cloud_instance=cloud.instance,
        cluster=cluster,
        labels=sorted(labels),
        time_zone=_time_zone(),
        addresses=_addresses(),
    )


def _fqdn() -> str:
    name = socket.getfqdn()
    return name if "." in name and not name.startswith("localhost") else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _time_zone() -> str:
    named = _text(ETC / "timezone")
    if named:
        return named
    try:
        target = str((ETC / "localtime").readlink())
    except OSError:
        return "UTC"
    return target.partition("zoneinfo/")[2] or "UTC"


def _addresses() -> list[str]:
    found = {
        address.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    return sorted(a for a in found if not a.startswith("127.") and a != "::1")[:MOST_ADDRESSES]
