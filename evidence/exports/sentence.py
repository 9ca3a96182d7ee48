"""An event in one sentence, for formats that want one."""

from chassis.text import show
from evidence.exports.facts import Fact
from evidence.rows import Row

_DEEDS = {
    "exec": "ran {command}",
    "exit": "{processPath} ended",
    "connect": "connected to {remoteAddress} port {remotePort}",
    "listen": "opened port {localPort} on {localAddress}",
    "session_start": "a session of {account} began",
    "session_end": "a session ended",
    "auth_failure": "{account} was refused",
    "privilege_use": "took the rights of {account}",
    "account_change": "account {account} was changed",
    "gap": "events are missing",
    "": "something that this version does not know",
}


class _Known(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return "?"


def sentence(fact: Fact) -> str:
    """Return who did what, e.g. "alice: /usr/sbin/useradd changed /etc/passwd (modified)"."""
    row = fact.row
    if fact.change is not None:
        deed = f"changed {show(fact.change.path)}"
    else:
        form = _DEEDS.get(row["kind"], row["kind"].replace("_", " "))
        deed = form.format_map(_Known(row))
    return f"{_who(row)}{deed}"


def _who(row: Row) -> str:
    user, program = row.get("user"), row.get("processPath")
    if program is None:
        return ""
    return f"{user}: {program} " if user else f"{program} "
