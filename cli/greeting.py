"""What `nightherd up` says once everything works."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cli.homes import Home
from cli.password import admin_password


def greeting(
    home: Home, port: int, herd: str, host: Mapping[str, Any] | None, notes: Sequence[str]
) -> str:
    """Return where things are, what is not seen, and what to try first.

    Args:
        home: the installation.
        port: the gateway's.
        herd: this host's.
        host: what the agent said of itself; None: there is no agent.
        notes: what else should be known.
    """
    lines = [
        "",
        f"Nightherd is up: https://localhost:{port}/api/v1",
        f"  user admin, password {admin_password(home)}   (also in {home.password_file})",
        f"  CA certificate {home.ca / 'ca.pem'}",
        f"  logs {home.logs}",
    ]
    if host is None:
        lines.append("  no agent: this host is not watched")
    else:
        lines.append(f"  agent: level {host.get('level', 'unknown')}, herd {herd}")
        lines += [f"    not seen: {sentence}" for sentence in host.get("notSeen", [])]
        if os.geteuid() != 0:
            lines.append("    start as root to see everything")
    lines += [f"  note: {sentence}" for sentence in notes]
    lines.append(
        f"try: curl --cacert {home.ca / 'ca.pem'} -u admin "
        f"https://localhost:{port}/api/v1/nightherd/hosts"
    )
    lines.append("Ctrl-C stops everything in order.")
    return "\n".join(lines)
