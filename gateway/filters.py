"""Questions about findings: what the store filters, and the little that it does not."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chassis import clock
from gateway import words
from gateway.problems import ProblemError
from gateway.queries import PAGING, Question
from nightherd.store.v1 import store_service_pb2 as pb

ACTIVITY_QUERY = (
    *PAGING,
    *("from", "to", "type", "user", "hostname", "service", "cluster"),
    *("herd", "interactive", "id"),  # ours
)
ALERT_QUERY = (
    *PAGING,
    *("profileID", "from", "to", "time", "imageName", "container", "containerID", "ruleName"),
    *("type", "effect", "user", "os", "namespace", "cluster", "attackType", "hostname", "msg"),
    *("interactive", "function", "region", "runtime", "attackTechniques", "app", "processPath"),
    *("requestID", "functionID", "aggregate", "provider", "resourceIDs", "appID"),
    *("herd", "service", "id"),  # ours
)
_SORTS = {
    "": "",
    **{name: name for name in ("time", "hostname", "user", "type", "service", "count", "severity")},
    "app": "service",
}
_ALERT_TYPES = {name: name for name in ("processes", "network", "filesystem", "kubernetes")}
_EFFECTS = {name: name for name in ("alert", "disable", "prevent", "block")}

Row = Mapping[str, Any]


def order(question: Question) -> pb.Paging:
    """Return the order: newest first unless a sort key says otherwise; no offset, no limit.

    Raises:
        ProblemError: 400 for an unknown sort key.
    """
    sort = _SORTS.get(question.last("sort"))
    if sort is None:
        raise ProblemError(400, f"sort: one of {', '.join(filter(None, _SORTS))}")
    reverse = question.flag("reverse") or False
    return pb.Paging(sort=sort, reverse=reverse, ascending=sort == "time" and not reverse)


def page(question: Question) -> pb.Paging:
    """Return order, offset and limit of a page."""
    paging = order(question)
    paging.offset, paging.limit = question.number("offset", 0), question.limit()
    return paging


def whole(question: Question) -> pb.Paging:
    """Return order, offset and limit of a download: all, unless a limit is given."""
    paging = order(question)
    paging.offset, paging.limit = question.number("offset", 0), question.number("limit", 0)
    return paging


def activities(question: Question) -> pb.FindingFilter:
    """Return the filter for activities."""
    asked = _common(question)
    # The first release of the contract's server wrote them with hyphens.
    hyphenated = {word.replace(" ", "-"): value for word, value in words.ACTIVITY_TYPES.items()}
    unknown = [value for value in question.all("type") if value not in hyphenated]
    Question({"type": unknown}).words("type", words.ACTIVITY_TYPES)
    asked.activity_types.extend(question.words("type", {**words.ACTIVITY_TYPES, **hyphenated}))
    asked.services.extend(question.all("service"))
    return asked


def alerts(question: Question) -> pb.FindingFilter:
    """Return the filter for alerts, as far as the store has one (see `sieve`)."""
    asked = _common(question)
    asked.alert_types.extend(question.words("type", _ALERT_TYPES))
    asked.effects.extend(question.words("effect", _EFFECTS))
    asked.attack_types.extend(question.all("attackType"))
    asked.rule_names.extend(question.all("ruleName"))
    asked.attack_techniques.extend(question.all("attackTechniques"))
    asked.process_paths.extend(question.all("processPath"))
    asked.messages.extend(question.all("msg"))
    asked.services.extend(question.all("app") or question.all("service"))
    if not asked.hosts:
        asked.hosts.extend(question.all("profileID"))
    return asked


def _common(question: Question) -> pb.FindingFilter:
    return pb.FindingFilter(
        hosts=question.all("hostname"),
        herds=question.all("herd"),
        users=question.all("user"),
        clusters=question.all("cluster"),
        accounts=question.all("accountIDs"),
        from_time=question.time("from"),
        to_time=question.time("to"),
        search=question.last("search"),
        interactive=question.flag("interactive"),
        ids=question.all("id"),
    )


def sieve(question: Question) -> Callable[[Row], bool] | None:
    """Return what is left to check on each alert after the store's filter; None: nothing.

    Alerts of hosts have no image, namespace or function: who asks for one gets none.
    """
    keys = {"os": "os", "region": "region", "containerID": "containerId"}
    keys |= {
        name: name
        for name in (
            *("imageName", "namespace", "function", "functionID", "runtime", "requestID"),
            *("provider", "resourceIDs", "appID"),
        )
    }
    if question.all("hostname"):
        keys["profileID"] = "profileId"
    if question.all("app"):
        keys["service"] = "app"
    wanted: dict[str, frozenset[Any]] = {
        key: frozenset(question.all(name)) for name, key in keys.items() if question.all(name)
    }
    if (moment := question.time("time")) is not None:
        wanted["time"] = frozenset({clock.rfc3339(clock.from_timestamp(moment))})
    container = question.flag("container")
    if container is not None:
        wanted["container"] = frozenset({container})
    return (lambda row: _passes(row, wanted)) if wanted else None


def _passes(row: Row, wanted: Mapping[str, Iterable[Any]]) -> bool:
    return all(row.get(key, False) in values for key, values in wanted.items())
