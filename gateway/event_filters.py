"""Questions about events: the names of a query string, and the filter they become."""

import re

from evidence.naming import TRAITS as TRAIT_WORDS
from gateway.problems import ProblemError
from gateway.queries import Question
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

EVENT_FILTER = (
    *("host", "hostname", "herd", "from", "to", "kind", "user", "effectiveUser", "service"),
    *("sessionID", "path", "pathPrefix", "processPath", "execID", "search"),
    *("sha256", "trait", "remoteAddress", "bornFromUser"),
)
KINDS = {field.name: field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields}

TRAITS = {word: number for number, word in TRAIT_WORDS.items() if number}


def events_filter(question: Question) -> pb.EventFilter:
    """Return the filter for events.

    Raises:
        ProblemError: 400 for an unknown kind or trait, a time, session or hash that is none.
    """
    return pb.EventFilter(
        hosts=[*question.all("host"), *question.all("hostname")],
        herds=question.all("herd"),
        from_time=question.time("from"),
        to_time=question.time("to"),
        kinds=question.words("kind", KINDS),
        users=question.all("user"),
        effective_users=question.all("effectiveUser"),
        services=question.all("service"),
        session_ids=[_session(text) for text in question.all("sessionID")],
        paths=question.all("path"),
        path_prefixes=question.all("pathPrefix"),
        executables=question.all("processPath"),
        exec_ids=question.all("execID"),
        search=question.last("search"),
        sha256s=[_sha256(text) for text in question.all("sha256")],
        traits=question.words("trait", TRAITS),
        remote_addresses=question.all("remoteAddress"),
        born_from_users=question.all("bornFromUser"),
    )


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise ProblemError(400, "sha256: 64 hexadecimal digits")
    return text.lower()


def _session(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):  # noqa: PLR2004  (64 bits)
        raise ProblemError(400, "sessionID: a whole number from 0")
    return int(text)
