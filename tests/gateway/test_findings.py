"""Activities and alerts over REST: the contract's fields, filters, paging; what clients send."""

import json
import re
import secrets

import pytest

from chassis import clock
from gateway import fields
from nightherd.detector.v1 import finding_pb2 as finding
from tests.builders import T0
from tests.gateway.findings import an_activity, an_alert

SECOND = 1_000_000_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ACTIVITIES, ALERTS = "/forensic/activities", "/audits/runtime/host"


@pytest.fixture(scope="module")
def contract(shared_data):
    path = shared_data / "console-contract" / "legacy-21.04-host-endpoints-and-models.json"
    return json.loads(path.read_text())


@pytest.fixture
def mark():
    """A user name of one test, to tell its findings from others'."""
    return f"u{secrets.token_hex(5)}"


async def test_an_activity_is_told_in_the_words_of_the_contract_and_more(api, backend, mark):
    await backend.record(an_activity(user=mark))
    (row,) = await api.rows(ACTIVITIES, user=mark)
    expected = {
        "time": clock.rfc3339(T0),
        "hostname": "web-1",
        "user": mark,
        "type": "accounts modified",
        "command": "useradd mallory",
        "interactive": True,
        "modifiedFiles": ["/etc/passwd", "/etc/shadow"],
        "ruleName": "default",
        "collections": ["All"],
        "herd": "default",
        "hostID": "1" * 32,
        "pid": 500,
        "ppid": 400,
        "sessionID": 7,
        "terminal": "pts/1",
        "sourceAddress": "192.0.2.7",
        "provenance": "interactive",
        "ancestors": ["/usr/bin/bash", "/usr/sbin/sshd"],
        "attribution": "exact",
        "modelRevision": 3,
        "count": 1,
    }
    assert expected.items() <= row.items()
    assert TIME.fullmatch(row["time"])
    assert "service" not in row, "empty fields are left out"
    assert set(row) <= set(fields.columns(fields.ACTIVITY))


async def test_an_alert_is_told_in_the_words_of_the_contract_and_more(api, backend, mark):
    key = secrets.token_hex(32)
    first = an_alert(key, user=mark, service="nginx.service", interactive=False)
    last = an_alert(key, T0 + SECOND, "web-2", "2" * 32, user=mark, service="nginx.service")
    await backend.record(first, last)
    (row,) = await api.rows(ALERTS, user=mark)
    expected = {
        "_id": key,
        "time": clock.rfc3339(T0 + SECOND),
        "firstTime": clock.rfc3339(T0),
        "hostname": "web-2",
        "profileId": "web-2",
        "count": 2,
        "hostIDs": ["1" * 32, "2" * 32],
        "type": "processes",
        "attackType": "capabilityViolation",
        "severity": "high",
        "effect": "alert",
        "app": "nginx.service",
        "container": False,
        "attackTechniques": ["T1136.001"],
        "accounts": ["mallory"],
        "deviation": {"facet": "obtains", "subject": "USERS_ADMIN"},
    }
    assert expected.items() <= row.items()
    assert set(row) <= set(fields.columns(fields.ALERT))


def test_every_field_of_the_contract_that_a_host_can_have_has_a_column(contract):
    activity = set(contract["models"]["SharedHostActivity"])
    assert activity <= set(fields.columns(fields.ACTIVITY))
    others = set(fields.columns(fields.ALERT_ELSEWHERE))
    assert not others & set(fields.columns(fields.ALERT))
    assert set(contract["models"]["SharedRuntimeAudit"]) - others <= set(
        fields.columns(fields.ALERT)
    )
    profile = {*fields.HOST_PROFILE, *fields.HOST_PROFILE_ELSEWHERE}
    assert set(contract["models"]["RuntimeHostProfile"]) <= set(fields.columns(profile))
    assert set(contract["models"]["SharedMgmtAudit"]) == set(fields.columns(fields.DEED))


async def test_every_query_name_of_the_contract_is_accepted(api, contract):
    paths = [path for path in contract["endpoints"] if path.startswith("GET ")]
    ours = (await api.get("/openapi.json")).json()["paths"]
    served = [p.removeprefix("GET ") for p in paths if p.removeprefix("GET ") in ours]
    assert len(served) >= 7
    samples = {
        "offset": "0",
        "limit": "5",
        "sort": "",
        "reverse": "False",
        "from": "",
        "to": "",
        "interactive": "true",
        "container": "false",
        "time": "2026-01-01T00:00:00Z",
        "type": "",
        "effect": "alert",
        "state": "active",
        "fields": "",
    }
    for path in served:
        names = contract["endpoints"][f"GET {path}"]["query"]
        query = {name: samples.get(name, "x") for name in names}
        answer = await api.get(path.removeprefix("/api/v1"), **query)
        assert answer.status_code == 200, (path, answer.text)


async def test_all_types_of_the_contract_can_be_asked_for_with_spaces_and_hyphens(
    api, backend, mark, contract
):
    types = contract["enums"]["SharedActivityType"]
    assert len(types) == 15
    values = [v for v in finding.ActivityType.values() if v]
    await backend.record(*(an_activity(value, user=mark) for value in values))
    for name in types:
        for form in (name, name.replace(" ", "-")):
            (row,) = await api.rows(ACTIVITIES, user=mark, type=form)
            assert row["type"] == name
    two = await api.rows(ACTIVITIES, user=mark, type=["login", "sudo"])
    assert {row["type"] for row in two} == {"login", "sudo"}


async def test_pages_fit_together_and_total_count_says_how_many(api, backend, mark):
    await backend.record(*(an_activity(user=mark, time_ns=T0 + n * SECOND) for n in range(60)))
    answer = await api.get(ACTIVITIES, user=mark)
    assert answer.headers["Total-Count"] == "60"
    assert len(answer.json()) == 50
    times = [row["time"] for row in answer.json()]
    assert times == sorted(times, reverse=True), "newest first"
    rest = await api.rows(ACTIVITIES, user=mark, offset=50, limit=50)
    assert len({row["id"] for row in [*answer.json(), *rest]}) == 60
    past = await api.get(ACTIVITIES, user=mark, offset=60)
    assert (past.json(), past.headers["Total-Count"]) == ([], "60")
    assert len(await api.rows(ACTIVITIES, user=mark, limit=500)) == 60
    oldest = await api.rows(ACTIVITIES, user=mark, sort="time", reverse="false", limit=1)
    assert oldest[0]["time"] == clock.rfc3339(T0)


async def test_a_limit_above_250_gives_250(api, backend, mark):
    await backend.record(*(an_activity(user=mark) for _ in range(251)))
    answer = await api.get(ACTIVITIES, user=mark, limit=500)
    assert (len(answer.json()), answer.headers["Total-Count"]) == (250, "251")


async def test_what_odd_clients_send_is_answered(api, backend, mark):
    await backend.record(an_activity(user=mark))
    for odd in (
        "limit=5&limit=50",
        "reverse=False",
        "from=&to=&type=&search=",
        "project=Central+Console",
        "from=2020-01-01T00:00:00.123456789Z&to=2030-01-01",
        "from=2020-01-01T00:00:00+02:00",
        "from=2020-01-01T00%3A00%3A00%2B02%3A00",
        "collections=All",
        "limit=0",
        "fields=",
        "interactive=true&interactive=false",
    ):
        answer = await api.client.get(
            f"{ACTIVITIES}?user={mark}&{odd}", auth=("admin", _password())
        )
        assert answer.status_code == 200, (odd, answer.text)
        assert len(answer.json()) == 1, odd


def _password():
    from tests.gateway.conftest import PASSWORD

    return PASSWORD


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"type": "foo"}, ["foo", "accounts modified"]),
        ({"type": "Accounts Modified"}, ["login"]),
        ({"tpye": "login"}, ["tpye", "hostname"]),
        ({"limit": "ten"}, ["limit"]),
        ({"limit": "-1"}, ["limit"]),
        ({"offset": "9" * 30}, ["offset"]),
        ({"limit": "\u0661"}, ["limit"]),
        ({"interactive": "maybe"}, ["interactive"]),
        ({"from": "yesterday"}, ["from", "yesterday", "2026-11-24T15:04:05Z"]),
        ({"from": "2026-02-01", "to": "2026-01-01"}, ["from (2026-02-01)", "after to"]),
        ({"to": "0001-01-01T00:00:00+14:00"}, ["to"]),
        ({"sort": "password"}, ["sort", "hostname"]),
        ({"user": "a\0b"}, ["user"]),
        ({"search": "x" * 300}, ["search"]),
        ({"user": "x" * 17_000}, ["longer"]),
        ({"user": ["x"] * 501}, ["values"]),
    ],
)
async def test_a_question_that_cannot_be_meant_is_refused_by_name(api, query, said):
    answer = await api.get(ACTIVITIES, **query)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert all(name in answer.json()["detail"] for name in said), answer.json()


async def test_fields_and_filters_are_obeyed(api, backend, mark):
    await backend.record(
        an_activity(user=mark, service="one.service", interactive=False, hostname="db-1"),
        an_activity(user=mark, time_ns=T0 + SECOND, command=b"adduser Zo\xff"),
    )
    assert await api.rows(ACTIVITIES, user=mark, fields=["hostname,user", "type"], limit=1) == [
        {"hostname": "web-1", "user": mark, "type": "accounts modified"}
    ]
    for query, hostname in (
        ({"service": "one.service"}, "db-1"),
        ({"interactive": "false"}, "db-1"),
        ({"hostname": "db-1"}, "db-1"),
        ({"to": clock.rfc3339(T0)}, "db-1"),
        ({"from": clock.rfc3339(T0 + SECOND)}, "web-1"),
        ({"search": "ADDUSER zo\\xff"}, "web-1"),
    ):
        assert [r["hostname"] for r in await api.rows(ACTIVITIES, user=mark, **query)] == [
            hostname
        ], query


async def test_alerts_are_filtered_also_by_what_the_store_does_not_know(api, backend, mark):
    await backend.record(
        an_alert(user=mark, service="a.service", hostname="web-1"),
        an_alert(user=mark, time_ns=T0 + SECOND, container_id="c" * 64, hostname="web-2"),
    )

    async def hosts(**query):
        answer = await api.get(ALERTS, user=mark, **query)
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["Total-Count"]) >= len(answer.json())
        download = await api.get(f"{ALERTS}/download", user=mark, fields="hostname", **query)
        rows = [row["hostname"] for row in answer.json()]
        assert download.text.split()[1:] == rows
        return rows

    assert await hosts() == ["web-2", "web-1"]
    assert await hosts(app="a.service") == ["web-1"]
    assert await hosts(app="a.service", service="b.service") == []
    assert await hosts(container="true") == ["web-2"]
    assert await hosts(container="false") == ["web-1"]
    assert await hosts(containerID="c" * 64) == ["web-2"]
    assert await hosts(time=clock.rfc3339(T0)) == ["web-1"]
    assert await hosts(imageName="nginx") == []
    assert await hosts(profileID="web-2") == ["web-2"]
    assert await hosts(profileID="web-2", hostname="web-1") == []
    assert await hosts(container=["true", "false"]) == ["web-2", "web-1"]
    assert await hosts(container="true", offset=1) == []
    assert await hosts(aggregate="true", region="") == ["web-2", "web-1"]
    (_, one) = await api.rows(ALERTS, user=mark)
    assert [r["_id"] for r in await api.rows(ALERTS, id=one["_id"])] == [one["_id"]]


async def test_fields_that_only_containers_have_may_be_asked_for(api, backend, mark):
    await backend.record(an_alert(user=mark))
    assert await api.rows(ALERTS, user=mark, fields="user,imageName") == [{"user": mark}]
    assert (await api.get(f"{ALERTS}/download", user=mark, fields="imageName")).status_code == 200


async def test_an_unknown_effect_or_alert_type_is_refused(api):
    for query in ({"effect": "explode"}, {"type": "accounts modified"}):
        assert (await api.get(ALERTS, **query)).status_code == 400


async def test_hostile_bytes_arrive_as_readable_text(api, backend, mark):
    await backend.record(
        an_activity(
            user=mark,
            command="x \u202etxt\x1b[31m".encode() + b"\xff\0",
            files=[b"/etc/\xff\n<script>"],
        )
    )
    (row,) = await api.rows(ACTIVITIES, user=mark)
    assert row["command"] == "x \\u{202e}txt\\x1b[31m\\xff\\x00"
    assert row["modifiedFiles"] == ["/etc/\\xff\\x0a<script>"]
