"""Timesketch JSON lines: message, datetime and timestamp_desc, then the row's fields.

What is searched as one word there may have 32,766 bytes: longer texts are cut, and say so.
Reference: https://timesketch.org/guides/user/import-from-json-csv/
"""

import orjson

from chassis import clock
from evidence.exports.documents import Documents
from evidence.exports.facts import Fact
from evidence.exports.sentence import sentence
from evidence.kinds import Row, readable

MOST_WORD_BYTES = 32_766
_CUT = " [cut]"
DESCRIPTIONS = {
    "exec": "Process Started",
    "exit": "Process Ended",
    "file_change": "File Changed",
    "connect": "Connection Opened",
    "listen": "Port Opened",
    "session_start": "Session Started",
    "session_end": "Session Ended",
    "auth_failure": "Logon Failed",
    "privilege_use": "Privileges Used",
    "account_change": "Account Changed",
    "firewall_change": "Firewall Changed",
    "host_facts": "Host Described",
    "agent_status": "Agent Status Reported",
    "gap": "Gap Started",
    "package_change": "Package Changed",
    "service_change": "Service Changed",
    "kernel_change": "Kernel Changed",
    "time_change": "Clock Set",
    "login_user_change": "Login User Changed",
    "privilege_gain": "Privileges Gained",
    "process_access": "Process Accessed",
    "namespace_change": "Namespace Changed",
    "mount_change": "Mount Changed",
    "raw_socket": "Raw Socket Opened",
    "file_read": "File Read",
    "file_hash": "File Hashed",
    "exec_failure": "Process Start Failed",
    "fork": "Process Forked",
}
"""Kind -> timestamp_desc. Every kind has one: a test names what was forgotten."""
_RENAMED = {"id": "event_identifier", "time": "", "user": "username"}
"""Names of fields as others use them there; "": said in another way."""


class Timesketch(Documents):
    """Renders facts for Timesketch."""

    name, suffix, id_at = "timesketch", "jsonl", ("event_identifier",)

    @staticmethod
    def document(fact: Fact) -> Row:
        """Return what is said of a fact."""
        row = fact.row
        document: Row = {
            "message": sentence(fact),
            # The form with an offset: it is what its importer parses at every version.
            "datetime": row["time"].removesuffix("Z") + "000+00:00",
            "timestamp": clock.from_timestamp(fact.event.event_time) // 1000,
            "timestamp_desc": DESCRIPTIONS.get(row["kind"], "Event Logged"),
            "data_type": f"nightherd:event:{row['kind'] or 'unknown'}",
        }
        for name, value in (row | {"id": fact.fact_id}).items():
            shown = _RENAMED.get(name, name)
            if shown and name not in ("changedPaths", "paths", "operations", "details"):
                document[shown] = _flat(value)
        if fact.change is not None:
            change = readable(fact.change)
            document["path"] = change.pop("path", "")
            document["operation"] = change.pop("operation", "")
            details = change
        elif fact.read is not None:
            details = readable(fact.read)
            document["path"] = details.pop("path", "")
        else:
            details = row.get("details", {})
            if "paths" in row:
                document["path"] = _flat(row["paths"])
        if details:
            # As text: names within would become columns, of which there may be a thousand.
            document["details"] = orjson.dumps(details).decode()
        return {name: _bounded(value) for name, value in document.items()}


def _flat(value: object) -> object:
    """Return what one column can hold."""
    if isinstance(value, list):
        return "; ".join(value)
    return orjson.dumps(value).decode() if isinstance(value, dict) else value


def _bounded(value: object) -> object:
    if not isinstance(value, str) or len(value) * 4 <= MOST_WORD_BYTES:
        return value
    encoded = value.encode()
    if len(encoded) <= MOST_WORD_BYTES:
        return value
    return encoded[: MOST_WORD_BYTES - len(_CUT)].decode(errors="ignore") + _CUT
