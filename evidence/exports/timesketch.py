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
_DESCRIPTIONS = {
    "exec": "Process Started",
    "exit": "Process Ended",
    "file_change": "File Changed",
    "connect": "Connection Opened",
    "listen": "Port Opened",
    "session_start": "Session Started",
    "session_end": "Session Ended",
    "auth_failure": "Logon Failed",
    "gap": "Gap Started",
}
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
            "timestamp_desc": _DESCRIPTIONS.get(row["kind"], "Event Logged"),
            "data_type": f"nightherd:event:{row['kind'] or 'unknown'}",
        }
        for name, value in (row | {"id": fact.fact_id}).items():
            shown = _RENAMED.get(name, name)
            if shown and name not in ("changedPaths", "operations", "details"):
                document[shown] = "; ".join(value) if isinstance(value, list) else value
        if fact.change is not None:
            change = readable(fact.change)
            document["path"] = change.pop("path", "")
            document["operation"] = change.pop("operation", "")
            details = change
        else:
            details = row.get("details", {})
        if details:
            # As text: names within would become columns, of which there may be a thousand.
            document["details"] = orjson.dumps(details).decode()
        return {name: _bounded(value) for name, value in document.items()}


def _bounded(value: object) -> object:
    if not isinstance(value, str) or len(value) * 4 <= MOST_WORD_BYTES:
        return value
    encoded = value.encode()
    if len(encoded) <= MOST_WORD_BYTES:
        return value
    return encoded[: MOST_WORD_BYTES - len(_CUT)].decode(errors="ignore") + _CUT
