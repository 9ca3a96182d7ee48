"""Incidents over HTTPS and at the prompt, of real alerts in the real store."""

import csv
import io
import json
import secrets

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.builders import T0, a_chain
from tests.gateway.findings import an_alert
from tests.services_client import STORE


@pytest.fixture
async def host(backend):
    """A host with an incident of alice's session and one of a service."""
    host_id = secrets.token_hex(16)
    await backend.deliver(a_chain([None], host_id=host_id), host_id, to=(STORE,))
    mine = {"host_id": host_id, "hostname": "", "time_ns": T0}
    await backend.record(
        an_alert(**mine, user="=alice\x1b"),
        an_alert(**mine, user="=alice\x1b"),
        an_alert(**mine, provenance=events.PROVENANCE_SERVICE, service="cron.service", user="root"),
    )
    return host_id


async def test_incidents_are_listed_filtered_and_found_by_id(api, host):
    rows = await api.rows("/nightherd/incidents", host=host)
    (person,) = [row for row in rows if row.get("sessionID") == 7]
    assert (person["alerts"], person["high"], person["state"]) == (2, 2, "quiet")
    assert person["users"] == ["=alice\\x1b"]
    assert "acknowledged" not in person
    one = await api.rows("/nightherd/incidents", host=host, service="cron.service", fields="alerts")
    assert one == [{"alerts": 1}]
    answer = await api.get("/nightherd/incidents", host=host, state="quiet", limit=1)
    assert answer.headers["Total-Count"] == "2"
    assert await api.rows("/nightherd/incidents", host=host, state="open") == []
    assert await api.rows(f"/nightherd/incidents/{person['id']}") == person


async def test_a_file_has_all_of_them_safe_for_spreadsheets(api, host):
    answer = await api.get("/nightherd/incidents/download", host=host, user="=alice\x1b")
    assert answer.headers["Content-Type"] == "text/csv"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["hostID"], row["alerts"], row["users"]) == (host, "2", "'=alice\\x1b")


async def test_who_may_write_acknowledges_and_it_is_written_down(api, host):
    (mine,) = await api.rows("/nightherd/incidents", host=host, user="=alice\x1b")
    path = f"/nightherd/incidents/{mine['id']}/acknowledge"
    reader = await api.add_user("auditor")
    assert (await api.post(path, {}, reader)).status_code == 403
    operator = await api.add_user("operator")
    answer = await api.post(path, {"note": "a drill"}, operator)
    assert answer.status_code == 200, answer.text
    again = (await api.post(path, {"note": "mine"})).json()
    for row in (answer.json(), again):
        assert (row["state"], row["acknowledgedBy"]) == ("acknowledged", operator[0])
        assert row["note"] == "a drill"
    deeds = await api.rows("/audits/mgmt", username=operator[0])
    assert deeds[0]["diff"] == f"acknowledged incident {mine['id']}: a drill"
    told = await api.rows("/nightherd/timeline", host=host, entry="incident")
    assert {row["item"]["moment"] for row in told} >= {"began", "acknowledged"}
    (last,) = [row for row in told if row["item"]["moment"] == "acknowledged"]
    assert last["sentence"] == (
        f"{operator[0]} acknowledged an incident of =alice\\x1b in session 7: "
        "2 alerts, 2 of them high (a drill)"
    )


async def test_the_commands_list_and_acknowledge(ask, host):
    said = await ask("incidents", "--host", host, "--user", "=alice\x1b", "-o", "json")
    (row,) = map(json.loads, said.splitlines())
    table = await ask("incidents", "--host", host)
    assert row["id"] in table
    assert "\x1b" not in table
    assert "acknowledged by admin" in await ask("acknowledge", row["id"], "--note", "seen")
    assert "404" in await ask("acknowledge", "../../nothing", status=4)
    assert "ended" in await ask("timeline", "--host", host, "--entry", "incident")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("", {"state": "nonsense"}, 400),
        ("", {"nonsense": "1"}, 400),
        ("", {"fields": "nonsense"}, 400),
        ("", {"host": "nobody"}, 404),
        ("/download", {"limit": "1"}, 400),
        ("/$ne", {}, 404),
        ("/%00", {}, 404),
    ],
)
async def test_what_cannot_be_is_refused(api, path, query, status):
    answer = await api.get(f"/nightherd/incidents{path}", **query)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("body", [{"note": "x" * 1001}, {"by": "me"}, [], {"note": 1}])
async def test_words_that_cannot_be_are_refused(api, body):
    assert (await api.post("/nightherd/incidents/x/acknowledge", body)).status_code == 400
