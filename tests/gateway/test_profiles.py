"""Models over REST: what they say, how a person steers them, and which detectors have it."""

import secrets

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.builders import a_body, a_chain, an_event, an_image


@pytest.fixture
async def service(backend):
    """A service with slashes in its name, learned in herd `default`, and the host it ran on."""
    name, host_id = f"/opt/{secrets.token_hex(4)}~x/daemon", secrets.token_hex(16)
    await learn(backend, name, host_id)
    return name, host_id


async def learn(backend, name, host_id, herd="default"):
    facts = events.HostFacts(hostname=f"h-{host_id[:6]}", os_id="debian", os_version="12")
    body = a_body((an_image("/usr/sbin/useradd", service=name), an_event()))
    body.events.append(an_event(None, host_facts=facts))
    await backend.deliver(a_chain([body], host_id=host_id, herd=herd), host_id, herd)


def identifier(name):
    return name.replace("~", "~0").replace("/", "~1")


async def test_a_model_says_its_state_what_is_normal_and_what_it_waits_for(api, service):
    name, host_id = service
    for query in ({"service": name}, {"id": identifier(name)}, {"search": name[5:].upper()}):
        (row,) = await api.rows("/profiles/service", **query)
        assert row["service"] == name
    assert row["_id"] == identifier(name)
    assert (row["herd"], row["state"], row["hosts"]) == ("default", "learning", [host_id])
    assert row["behaviours"]["runs"] == ["/usr/sbin/useradd"]
    assert "USERS_ADMIN" in row["capabilities"]
    assert row["waitingFor"]
    assert name in await api.rows("/profiles/service/names")
    assert await api.rows("/profiles/service", service=name, state="active") == []
    assert (await api.get("/profiles/service", state="sleeping")).status_code == 400
    assert (await api.get("/profiles/service", sort="state")).status_code == 400


async def test_a_person_sets_states_and_sees_when_every_detector_has_them(api, backend, service):
    name, _ = service
    path = f"/profiles/service/{identifier(name)}/learn"

    async def applied():
        (row,) = await api.rows("/profiles/service", service=name)
        assert all(set(d) == {"id", "revision"} for d in row["detectors"])
        return row["appliedEverywhere"]

    async with backend.detector(f"d-{secrets.token_hex(3)}") as apply:
        answer = await api.post(path, {"state": "active"})
        assert answer.status_code == 200, answer.text
        row = answer.json()
        assert (row["state"], row["changedBy"]) == ("manualActive", "admin")
        assert row["revision"] > 0
        assert not await applied()
        await apply(row["revision"])
        for _ in range(200):
            if await applied():
                break
        else:
            pytest.fail("the detector's revision is not shown")
        again = (await api.post(path, {"state": "manualActive"})).json()
        assert again["revision"] == row["revision"], "the same again changes nothing"
        relearn = (await api.post(path, {"state": "manualRelearning"})).json()
        assert relearn["revision"] > row["revision"]
        assert not await applied()
    for state in ("manualLearning", "learning"):
        assert (await api.post(path, {"state": state})).json()["state"] == state


async def test_a_service_of_several_herds_needs_the_herd_to_be_named(api, backend, service):
    name, _ = service
    herd = f"herd-{secrets.token_hex(3)}"
    await learn(backend, name, secrets.token_hex(16), herd)
    path = f"/profiles/service/{identifier(name)}/learn"
    answer = await api.post(path, {"state": "manualLearning"})
    assert answer.status_code == 409
    assert herd in answer.json()["detail"]
    in_body = await api.post(path, {"state": "manualLearning", "herd": herd})
    assert (in_body.json()["herd"], in_body.json()["state"]) == (herd, "manualLearning")
    in_query = await api.post(f"{path}?herd=default", {"state": "manualActive"})
    assert in_query.json()["herd"] == "default"
    other = (await api.rows("/profiles/service", service=name, herd=herd))[0]
    assert other["state"] == "manualLearning"


async def test_slashes_may_also_be_sent_as_percent_2f(api, service):
    name, _ = service
    path = f"/profiles/service/{identifier(name).replace('~1', '%2F')}/learn"
    answer = await api.post(path, {"state": "manualLearning"})
    assert answer.json()["service"] == name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"state": "dreaming"}, 400),
        ({"state": "dryRun"}, 400),
        ({"state": "manualRelearning"}, 409),
        ({}, 400),
        ({"state": 5}, 400),
        ({"state": "active", "herd": ["default"]}, 400),
        ({"state": "active", "herd": "nowhere"}, 404),
    ],
)
async def test_states_that_cannot_be_set_are_refused_clearly(api, service, body, status):
    name, _ = service
    answer = await api.post(f"/profiles/service/{identifier(name)}/learn", body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    if status == 404:
        assert answer.json()["reason"] == "MODEL_UNKNOWN"


async def test_a_host_profile_has_its_services_with_states_and_the_two_labels(api, service):
    name, host_id = service
    (row,) = await api.rows("/profiles/host", id=host_id)
    assert row["_id"] == f"h-{host_id[:6]}"
    assert row["labels"] == ["osDistro:debian", "osVersion:12"]
    assert row["apps"] == [
        {"name": name, "profileID": identifier(name), "state": "learning", "revision": 0}
    ]
    assert len(await api.rows("/profiles/host", hostName=row["_id"], os="debian")) == 1
    for nothing in ({"os": "plan9"}, {"image": "nginx"}, {"state": "active"}):
        answer = await api.get("/profiles/host", id=host_id, **nothing)
        assert (answer.json(), answer.headers["Total-Count"]) == ([], "0")
    text = (await api.get("/profiles/host/download", id=host_id)).text
    assert text.splitlines()[1].startswith(f"{row['_id']},{host_id},default,{name},")


async def test_the_download_of_models_has_them_all(api, backend):
    mark = secrets.token_hex(4)
    pairs = [(an_image(pid=n + 1, service=f"s{n}-{mark}"), an_event()) for n in range(60)]
    host_id = secrets.token_hex(16)
    await backend.deliver(a_chain([a_body(*pairs)], host_id=host_id), host_id)
    answer = await api.get("/profiles/service/download", search=mark)
    assert len(answer.text.splitlines()) == 61
    page = await api.get("/profiles/service", search=mark)
    assert (len(page.json()), page.headers["Total-Count"]) == (50, "60")
    assert (
        len((await api.get("/profiles/service/download", search=mark, limit=7)).text.splitlines())
        == 8
    )


async def test_capabilities_are_listed_with_what_obtains_them(api):
    rows = await api.rows("/static/capabilities")
    users = next(row for row in rows if row["name"] == "USERS_ADMIN")
    assert any("useradd" in program for program in users["programs"])
    assert "/etc/passwd" in users["files"]
    assert users["sensed"] is True
    assert len(rows) >= 15
