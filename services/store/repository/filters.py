"""Questions about findings in MongoDB's words. User text is never a pattern of the database."""

import re
from typing import Any

from chassis import clock
from chassis.errors import InvalidArgumentError
from chassis.text import show
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from services.store.repository.hosts import Hosts

MAX_VALUES = 500
MAX_SEARCH = 256
MAX_LIMIT = 1000
MAX_EVENT_VALUES = 100
MAX_VALUE = 4096
KINDS = frozenset(field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields)
DEFAULT_LIMIT = 50
_SHA256 = re.compile("[0-9a-f]{64}")
SORTS = {
    "": "t",
    "time": "t",
    "hostname": "hostname",
    "user": "user",
    "type": "type",
    "service": "service",
    "count": "count",
    "severity": "severity",
}


class QueryError(InvalidArgumentError):
    """A question that cannot be asked."""

    reason = "QUERY_INVALID"


async def findings_query(asked: pb.FindingFilter, hosts: Hosts) -> dict[str, Any]:
    """Return the filter for a view of findings.

    Raises:
        QueryError: too many values, or a search text that is too long.
    """
    _bounded(asked)
    terms: list[dict[str, Any]] = []
    for field, values in (
        ("herd", asked.herds),
        ("user", asked.users),
        ("service", asked.services),
        ("type", [*asked.activity_types, *asked.alert_types]),
        ("attack", asked.attack_types),
        ("rule", asked.rule_names),
        ("effect", asked.effects),
        ("techniques", asked.attack_techniques),
        ("path", asked.process_paths),
        ("msg", asked.messages),
        ("_id", asked.ids),
    ):
        if values:
            terms.append({field: {"$in": list(values)}})
    if asked.hosts:
        ids = await hosts.ids_of(asked.hosts)
        terms.append({"$or": [{"hosts": {"$in": ids}}, {"hostname": {"$in": list(asked.hosts)}}]})
    for field, values in (("cluster", asked.clusters), ("account", asked.accounts)):
        if values:
            terms.append({"hosts": {"$in": await hosts.ids_in(field, list(values))}})
    if asked.HasField("interactive"):
        terms.append({"interactive": asked.interactive})
    span = time_span(asked)
    if span:
        terms.append({"t": span})
    if asked.search:
        pattern = substring(asked.search)
        # An alert's text is that of its latest occurrence; accounts are those of all.
        by_account = {"accounts": {"$regex": pattern, "$options": "i"}}
        terms.append({"$or": [{"text": {"$regex": pattern}}, by_account]})
    return {"$and": terms} if terms else {}


def substring(search: str) -> str:
    """Return the pattern that finds `search` as it is, in text that was made by `show`, lower case.

    Raises:
        QueryError: it is too long.
    """
    if len(search) > MAX_SEARCH:
        raise QueryError(f"search: at most {MAX_SEARCH} characters")
    return re.escape(show(search).lower())


def _bounded(asked: pb.FindingFilter) -> None:
    for field, value in asked.ListFields():
        if field.is_repeated and len(value) > MAX_VALUES:
            raise QueryError(f"{field.name}: at most {MAX_VALUES} values")


def check_events(asked: pb.EventFilter) -> None:
    """Check that a filter for events can be asked for.

    Raises:
        QueryError: too many values, empty or long ones, an unknown kind, a negative session.
    """
    for field, values in asked.ListFields():
        if not field.is_repeated:
            continue
        if len(values) > MAX_EVENT_VALUES:
            raise QueryError(f"{field.name}: at most {MAX_EVENT_VALUES} values")
        if field.type == field.TYPE_STRING and not all(
            0 < len(value) <= MAX_VALUE for value in values
        ):
            raise QueryError(f"{field.name}: values have 1 to {MAX_VALUE} characters")
    if len(asked.search) > MAX_SEARCH:
        raise QueryError(f"search: at most {MAX_SEARCH} characters")
    if not all(_SHA256.fullmatch(value) for value in asked.sha256s):
        raise QueryError("sha256s: 64 hexadecimal digits, in lower case")
    if any(number < 0 for number in asked.session_ids):
        raise QueryError("session_ids: not negative")
    if unknown := set(asked.kinds) - KINDS:
        listed = ", ".join(sorted(KINDS))
        raise QueryError(f"kinds: {min(unknown)[:60]!r} is unknown; known are {listed}")


def time_span(asked: Any) -> dict[str, int]:
    """Return the bounds of `from_time` and `to_time` in wall ns, as far as they are set."""
    span: dict[str, int] = {}
    if asked.HasField("from_time"):
        span["$gte"] = clock.from_timestamp(asked.from_time)
    if asked.HasField("to_time"):
        span["$lte"] = clock.from_timestamp(asked.to_time)
    return span


def sort_order(paging: pb.Paging) -> list[tuple[str, int]]:
    """Return the order, made total by the id, so that pages neither skip nor repeat.

    Raises:
        QueryError: an unknown key.
    """
    if paging.sort not in SORTS:
        raise QueryError(f"sort: one of {', '.join(sorted(filter(None, SORTS)))}")
    field = SORTS[paging.sort]
    descending = not paging.ascending if field == "t" else paging.reverse
    return [(field, -1 if descending else 1), ("_id", 1)]


def bounds(offset: int, limit: int) -> tuple[int, int]:
    """Return offset and limit of a page.

    Raises:
        QueryError: negative, or more than a page may have.
    """
    if offset < 0 or not 0 <= limit <= MAX_LIMIT:
        raise QueryError(f"offset must not be negative, limit at most {MAX_LIMIT}")
    return offset, limit or DEFAULT_LIMIT
