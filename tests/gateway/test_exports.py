"""Exports of real batches in the real store: whole, exact, resumable, in every format."""

import csv
import io
import json
import secrets

import pytest

from chassis import clock
from evidence.rows import EVENT
from tests.builders import T0, a_chain
from tests.gateway.exporting import NAMES, ask, bodies
from tests.services_client import STORE


@pytest.fixture(scope="module")
async def host(backend):
    host_id = secrets.token_hex(16)
    chain = a_chain(bodies(), host_id=host_id)
    await backend.deliver(chain, host_id, to=(STORE,))
    return host_id


async def download(api, form, **query):
    answer = await ask(api, form, query)
    assert answer.status_code == 200, answer.text
    return answer


async def test_csv_has_a_line_for_each_event_and_says_so_exactly(api, host):
    answer = await download(api, "csv", host=host)
    assert answer.headers["Content-Type"] == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(rows[0]) == [name for name, _, _ in EVENT]
    assert len(rows) == 20
    assert [row["kind"] for row in rows[:4]] == ["exec", "file_change", "connect", "gap"]
    assert rows[0]["effectiveUser"] == "'-zo"
    assert rows[1]["changedPaths"].startswith("/etc/passwd; =cmd")
    assert rows[2]["remotePort"] == "443"
    assert rows[3]["processPath"] == ""
    raw = await download(api, "csv", host=host, raw=True)
    assert next(csv.DictReader(io.StringIO(raw.text, newline="")))["effectiveUser"] == "-zo"


async def test_ndjson_says_the_same_as_the_events_that_were_sent(api, host):
    answer = await download(api, "ndjson", host=host)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    sent = [event for body in bodies() for event in body.events]
    assert len(rows) == len(sent)
    assert [row["time"] for row in rows] == [
        clock.rfc3339(clock.from_timestamp(event.event_time)) for event in sent
    ]
    assert [row["kind"] for row in rows] == [event.WhichOneof("kind") for event in sent]
    assert rows[0]["user"] == "alice"
    assert rows[0]["command"] == 'x =cmd|"\\xff\\x0a\\x1b[31m,\\u{202e}'
    assert rows[3]["details"] == {"lost": 3}
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("form", NAMES)
async def test_a_cut_answer_goes_on_behind_any_row(api, host, form):
    whole = (await download(api, form, host=host)).content
    lines = whole.splitlines(keepends=True)
    from evidence.exports.formats import BY_NAME

    heads = 1 if BY_NAME[form].head else 0
    for place in (heads, heads + 3, heads + 7, len(lines) - 2, len(lines) - 1):
        after = BY_NAME[form].row_id(lines[place])
        rest = (await download(api, form, host=host, after=after)).content
        assert b"".join(lines[: place + 1]) + rest == whole


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "file_change"},
        {"path": "/etc/passwd"},
        {"pathPrefix": "/etc/"},
        {"user": "alice", "kind": "exec"},
        {"search": "CMD|"},
        {"from": clock.rfc3339(T0 + 2 * clock.NS), "to": clock.rfc3339(T0 + 3 * clock.NS)},
        {"sessionID": "7"},
    ],
    ids="+".join,
)
async def test_only_events_that_match_are_exported(api, host, query):
    from evidence.matching import Matcher
    from gateway.event_filters import events_filter
    from gateway.queries import Question

    asked = events_filter(Question({name: [value] for name, value in query.items()}))
    expected = [
        (number, place)
        for number, body in enumerate(bodies(), start=1)
        for place in Matcher(asked).places(body)
    ]
    answer = await download(api, "ndjson", host=host, **query)
    found = [json.loads(line)["id"].split("/")[2:] for line in answer.text.splitlines()]
    assert [(int(number), int(place)) for number, place in found] == expected


@pytest.mark.parametrize(
    ("form", "query", "status"),
    [
        ("xml", {}, 404),
        ("csv", {"kind": "nonsense"}, 400),
        ("csv", {"sessionID": "-1"}, 400),
        ("csv", {"after": "nonsense"}, 400),
        ("csv", {"after": "a/b/1/2"}, 400),
        ("csv", {"position": "x"}, 400),
        ("csv", {"proof": "all"}, 400),
        ("csv", {"nonsense": "1"}, 400),
        ("csv", {"path": "x" * 5000}, 400),
        ("csv", {"from": "2026-02-01", "to": "2026-01-01"}, 400),
        ("csv", {"hostname": "nobody"}, 404),
    ],
)
async def test_questions_that_cannot_be_answered_are_refused_before_anything_is_sent(
    api, form, query, status
):
    answer = await ask(api, form, query)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_nobody_exports_without_credentials(api):
    assert (await ask(api, "csv", {}, auth=None)).status_code == 401
