"""Erasure by authority over REST: who may, what stays, what is recorded."""

import secrets

import pytest

from chassis import clock
from tests.builders import T0, a_chain


def wanted(host_id, **fields):
    values = {
        "host": host_id,
        "from": clock.rfc3339(T0 - clock.NS),
        "to": "",
        "authority": "A. Judge",
        "reason": "order 12/26",
    }
    return {**values, **fields}


@pytest.fixture
async def host_id(backend):
    name = secrets.token_hex(16)
    await backend.deliver(a_chain([None] * 3, host_id=name), name)
    return name


async def test_an_admin_erases_and_it_is_written_down(api, host_id):
    for _ in range(2):
        answer = await api.post("/nightherd/erasures", wanted(host_id))
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert (said["hostID"], said["batches"], said["events"]) == (host_id, 3, 3)
        assert said["dryRun"] is False
    custody = await api.rows(f"/nightherd/custody/{host_id}")
    assert custody["intact"]
    assert [chain["headersOnly"] for chain in custody["chains"]] == [3]
    (gap,) = await api.rows("/nightherd/gaps", host=host_id)
    assert (gap["cause"], gap["lost"], gap["source"]) == ("retention", 3, "authority")
    deeds = await api.rows("/audits/mgmt", search=host_id)
    assert "by authority of A. Judge: order 12/26" in deeds[0]["diff"]


async def test_a_dry_run_is_recorded_as_one_and_changes_nothing(api, host_id):
    asked = {"host": host_id, "dryRun": True}
    answer = await api.post("/nightherd/erasures", asked)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["batches"], said["events"], said["setAside"]) == (3, 3, 0)
    assert said["bytes"] > 0
    assert await api.rows("/nightherd/gaps", host=host_id) == []
    deeds = await api.rows("/audits/mgmt", search=host_id)
    assert deeds[0]["diff"].startswith("dry run of an erasure")


async def test_nobody_else_may(api, host_id):
    for role in ("operator", "auditor", "devSecOps"):
        answer = await api.post("/nightherd/erasures", wanted(host_id), await api.add_user(role))
        assert answer.status_code == 403
    assert (await api.post("/nightherd/erasures", wanted(host_id), None)).status_code == 401
    custody = await api.rows(f"/nightherd/custody/{host_id}")
    assert [chain["headersOnly"] for chain in custody["chains"]] == [0]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"host": "nobody"}, 404),
        ({"authority": ""}, 400),
        ({"reason": "x" * 1001}, 400),
        ({"reason": "a\0b"}, 400),
        ({"from": "yesterday"}, 400),
        ({"to": "2020-01-01"}, 400),
        ({"dryRun": "yes"}, 400),
        ({"authority": "", "dryRun": False}, 400),
        ({"everything": True}, 400),
    ],
)
async def test_what_cannot_be_erased_is_refused(api, host_id, fields, status):
    answer = await api.post("/nightherd/erasures", wanted(host_id, **fields))
    assert answer.status_code == status, answer.text
