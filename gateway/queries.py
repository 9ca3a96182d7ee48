"""Query strings: the names of the console's contract, as questions to the store.

Lenient where real clients are odd (a name given twice, empty values, limits above the most), strict
where silence would mislead (unknown names, unknown values of an enumeration).
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.problems import ProblemError
from gateway.words import ACTIVITY_TYPES, ALERT_TYPES
from nightherd.store.v1 import store_service_pb2 as pb

DEFAULT_LIMIT, MOST_LIMIT = 50, 250
MOST_QUERY_BYTES = 16_384
MOST_OFFSET = 10_000_000

PAGING = ("offset", "limit", "search", "sort", "reverse", "collections", "accountIDs", "fields")
# Tolerated on every call: other clients add it, and it means nothing here.
EVERYWHERE = ("project",)


@dataclass(frozen=True, slots=True)
class Question:
    """A query string, read."""

    values: Mapping[str, list[str]]
    """Per name the non-empty values, comma lists split where the contract's clients send such."""
    names: tuple[str, ...] = field(default=())

    def all(self, name: str) -> list[str]:
        """Every value of `name`."""
        return list(self.values.get(name, ()))

    def last(self, name: str) -> str:
        """The last value of `name`, or ""."""
        values = self.values.get(name, ())
        return values[-1] if values else ""

    def number(self, name: str, default: int, most: int) -> int:
        """The last value of `name` as a number between 0 and `most`."""
        text = self.last(name)
        if not text:
            return default
        try:
            number = int(text)
        except ValueError:
            raise ProblemError(400, f"{name}: {text!r} is no number") from None
        if number < 0:
            raise ProblemError(400, f"{name}: must not be negative")
        return min(number, most)

    def flag(self, name: str) -> bool | None:
        """The last value of `name` as true or false; None when it is not given."""
        text = self.last(name).lower()
        if not text:
            return None
        if text in ("true", "1", "yes"):
            return True
        if text in ("false", "0", "no"):
            return False
        raise ProblemError(400, f"{name}: true or false, not {text!r}")

    def time(self, name: str) -> Timestamp | None:
        """The last value of `name` as a moment (RFC 3339); None when it is not given."""
        text = self.last(name)
        if not text:
            return None
        try:
            moment = dt.datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            raise ProblemError(400, f"{name}: {text!r} is no RFC 3339 time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        timestamp = Timestamp()
        timestamp.FromDatetime(moment)
        return timestamp


def read(request: Request, allowed: Iterable[str]) -> Question:
    """Read a query string that may have the names `allowed`.

    Raises:
        ProblemError: 400 for an unknown name, or one that is too long.
    """
    if len(request.scope.get("query_string", b"")) > MOST_QUERY_BYTES:
        raise ProblemError(400, f"The query is longer than {MOST_QUERY_BYTES} bytes")
    known = frozenset((*allowed, *EVERYWHERE))
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise ProblemError(400, f"{name}: unknown; known are {', '.join(sorted(known))}")
        if "\0" in value:
            raise ProblemError(400, f"{name}: must not contain NUL")
        if value:
            values.setdefault(name, []).append(value)
    return Question(values, tuple(known))


def paging(
    question: Question, *, most: int = MOST_LIMIT, default: int = DEFAULT_LIMIT
) -> pb.Paging:
    """Return offset, limit and order.

    Raises:
        ProblemError: 400 for an order that does not exist.
    """
    sort = {"msg": "type", "attackType": "type", "app": "service"}.get(
        question.last("sort"), question.last("sort")
    )
    if sort not in ("", "time", "hostname", "user", "type", "service", "count", "severity"):
        raise ProblemError(400, "sort: one of time, hostname, user, type, service, count, severity")
    reverse = question.flag("reverse") or False
    return pb.Paging(
        offset=question.number("offset", 0, MOST_OFFSET),
        limit=question.number("limit", default, most) or default,
        sort=sort,
        reverse=reverse,
        # Newest first unless asked otherwise: `sort=time&reverse=false` is oldest first.
        ascending=sort == "time" and not reverse,
    )


def _one_of(name: str, values: Iterable[str], words: Mapping[str, Any]) -> list[Any]:
    found = []
    for value in values:
        if value not in words:
            raise ProblemError(400, f"{name}: {value!r} is unknown; known are {', '.join(words)}")
        found.append(words[value])
    return found


def activities(question: Question) -> pb.FindingFilter:
    """Return the filter for activities."""
    asked = _common(question)
    # An early release of the contract's server wrote them with hyphens.
    given = [value.replace("-", " ") for value in question.all("type")]
    asked.activity_types.extend(_one_of("type", given, ACTIVITY_TYPES))
    return asked


def alerts(question: Question) -> pb.FindingFilter:
    """Return the filter for alerts."""
    asked = _common(question)
    asked.alert_types.extend(_one_of("type", question.all("type"), ALERT_TYPES))
    asked.attack_types.extend(question.all("attackType"))
    asked.rule_names.extend(question.all("ruleName"))
    asked.effects.extend(
        _one_of(
            "effect",
            question.all("effect"),
            {"alert": "alert", "disable": "disable", "prevent": "prevent", "block": "block"},
        )
    )
    asked.attack_techniques.extend(question.all("attackTechniques"))
    asked.process_paths.extend(question.all("processPath"))
    asked.messages.extend(question.all("msg"))
    asked.services.extend(question.all("app"))
    asked.ids.extend(question.all("id"))
    # A profile is a host or a service of one.
    asked.hosts.extend(question.all("profileID"))
    return asked


def _common(question: Question) -> pb.FindingFilter:
    interactive = question.flag("interactive")
    return pb.FindingFilter(
        hosts=question.all("hostname"),
        herds=question.all("herd"),
        users=question.all("user"),
        services=question.all("service"),
        clusters=question.all("cluster"),
        accounts=question.all("accountIDs"),
        from_time=question.time("from"),
        to_time=question.time("to"),
        search=question.last("search"),
        interactive=interactive,
    )


def project(row: dict[str, Any], question: Question) -> dict[str, Any]:
    """Return only the `fields` that were asked for; all when none was."""
    wanted = {part for value in question.all("fields") for part in value.split(",") if part}
    return {name: value for name, value in row.items() if name in wanted} if wanted else row


def parameters(names: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI description of query names."""
    described = []
    for name in names:
        kind: dict[str, Any] = {"type": "string"}
        if name in ("offset", "limit"):
            kind = {"type": "integer", "minimum": 0}
        elif name in ("reverse", "interactive", "raw"):
            kind = {"type": "boolean"}
        elif name in ("from", "to"):
            kind = {"type": "string", "format": "date-time"}
        elif name not in ("search", "sort"):
            kind = {"type": "array", "items": {"type": "string"}}
        described.append({"name": name, "in": "query", "required": False, "schema": kind})
    return {"parameters": described}
