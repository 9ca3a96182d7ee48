"""`nightherd verify` and `nightherd status`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from cli.environment import environment
from cli.homes import Home
from cli.leftovers import noted
from cli.rest import Gateway, RestError


def verify_spool(folder: Path) -> int:
    """Check a spool folder offline; 0 intact, 1 broken, 2 no spool."""
    command = [sys.executable, "-m", "agent", "verify-spool", str(folder)]
    return subprocess.run(command, env=environment(), check=False).returncode


def verify_hosts(home: Home, hosts: Sequence[str]) -> int:
    """Ask the gateway about each host's chains; 0 intact, 1 broken, 4 nobody answers."""
    broken = False
    try:
        gateway = Gateway(home)
        names = list(hosts) or _all_hosts(gateway)
        for name in names:
            report, _ = gateway.get(f"nightherd/custody/{quote(name, safe='')}")
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
                for fault in chain["faults"]:
                    print(f"    batch {fault['batch']}: {fault['kind']}: {fault['detail']}")
    except RestError as error:
        print(f"nightherd: {error}", file=sys.stderr)
        return 4
    return 1 if broken else 0


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
