"""`nightherd verify` and `nightherd status`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chassis.text import show
from cli.environment import environment
from cli.homes import Home
from cli.leftovers import noted
from cli.rest import Gateway, RestError

NOTHING_THERE = 2
SUFFIXES = (".csv", ".gz", ".json", ".jsonl", ".ndjson", ".part", ".seg", ".txt")
"""Names of hosts have dots, too, but end otherwise."""


def verify_spool(folder: Path) -> int:
    """Check a spool folder offline; 0 intact, 1 broken, 2 no spool."""
    command = [sys.executable, "-m", "agent", "verify-spool", str(folder)]
    return subprocess.run(command, env=environment(), check=False).returncode


def verify_named(home: Home, what: Sequence[str], proof: Path | None, keys: Sequence[str]) -> int:
    """Check exported files, and the chains of whatever is no file; the worst result of all."""
    files = [name for name in what if Path(name).is_file()]
    hosts = [name for name in what if name not in files]
    if missing := [name for name in hosts if _is_path(name)]:
        print(f"nightherd: no such file: {', '.join(map(show, missing))}", file=sys.stderr)
        return NOTHING_THERE
    results = [0]
    if files:
        from cli.verify_export import verify_export

        results += [verify_export(Path(file), proof, keys) for file in files]
    if hosts:
        results.append(verify_hosts(home, hosts))
    return max(results)


def _is_path(name: str) -> bool:
    """Whether a name that is no file is meant as one."""
    return os.sep in name or Path(name).suffix in SUFFIXES or Path(name).exists()


def verify_hosts(home: Home, hosts: Sequence[str]) -> int:
    """Ask the gateway about each host's chains; 0 intact, 1 broken, 2 no such, 4 no answer."""
    broken = False
    try:
        gateway = Gateway(home)
        names = list(hosts) or _all_hosts(gateway)
        for name in names:
            try:
                report, _ = gateway.get(f"nightherd/custody/{quote(name, safe='')}")
            except RestError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                print(
                    f"nightherd: {show(name)} is neither a known host nor a file", file=sys.stderr
                )
                return NOTHING_THERE
            broken = broken or not report["intact"]
            print(f"{name}: {'intact' if report['intact'] else 'BROKEN'}")
            for chain in report["chains"]:
                print(
                    f"  chain {chain['chainID']}: batches {chain['first']}-{chain['last']}, "
                    f"{chain['events']} events, {chain['signed']} signed, head {chain['headHash']}"
                )
                if chain["headersOnly"]:
                    print(
                        f"    {chain['headersOnly']} bodies were removed by retention or authority"
                    )
                if chain["droppedThrough"]:
                    print(
                        f"    up to batch {chain['droppedThrough']} retention dropped headers, "
                        "whole days of them: what is missing there is no fault"
                    )
                for hole in chain["givenUp"]:
                    print(f"    {_given_up(hole)}")
                for fault in chain["faults"]:
                    print(f"    batch {fault['batch']}: {fault['kind']}: {fault['detail']}")
    except RestError as error:
        print(f"nightherd: {error}", file=sys.stderr)
        return 4
    return 1 if broken else 0


_WHY = {
    "spoolEviction": "its spool was full",
    "spoolDamage": "its spool was damaged",
    "givenUp": "they went nowhere",
}


def _given_up(hole: dict[str, Any]) -> str:
    """Return what a host's agent said of batches that are not there."""
    said = "as a signed batch says" if hole["signed"] else "as it said over its connection"
    count = f", {hole['events']} events" if hole["events"] else ""
    why = _WHY.get(hole["cause"], hole["cause"])
    return (
        f"batches {hole['first']}-{hole['last']}{count}: given up by the agent ({why}), {said}: "
        "no fault"
    )


def _all_hosts(gateway: Gateway) -> list[str]:
    names: list[str] = []
    while True:
        page, total = gateway.get("nightherd/hosts", limit=50, offset=len(names))
        names += [host["hostID"] for host in page]
        if not page or len(names) >= total:
            return names


def print_status(home: Home) -> int:
    """Print what runs; 0 when something does, 3 when nothing does."""
    pids = noted(home)
    if not pids:
        print(f"nothing runs from {home.path}")
        return 3
    for name, pid in pids.items():
        alive = Path(f"/proc/{pid}").exists() if pid else False
        print(f"{name:10} {'running' if alive else 'not running'}  pid {pid}")
    print(f"home {home.path}, user {os.geteuid()}")
    return 0
