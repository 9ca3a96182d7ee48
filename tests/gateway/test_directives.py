"""What is asked of agents, over REST and from the terminal."""

import secrets

import pytest

from tests.builders import a_chain

PATH = "/nightherd/directives"


@pytest.fixture
async def host_id(backend):
    name = secrets.token_hex(16)
    await backend.deliver(a_chain([None], host_id=name), name)
    return name


async def of(api, host_id):
    return [row for row in await api.rows(PATH) if row["host"] == host_id]


async def test_an_admin_asks_a_host_and_it_is_written_down(api, host_id):
    wanted = {"host": host_id, "watchPaths": ["/srv/é"], "level": "poll"}
    answer = await api.post(PATH, wanted)
    assert answer.status_code == 200, answer.text
    (row,) = await of(api, host_id)
    assert (row["watchPaths"], row["level"], row["by"]) == (["/srv/é"], "poll", "admin")
    assert row["at"]
    (deed,) = await api.rows("/audits/mgmt", search=host_id)
    assert "level poll, paths /srv/é" in deed["diff"]
    assert (await api.post(PATH, {"host": host_id})).status_code == 200
    assert await of(api, host_id) == []


async def test_nobody_else_may(api, host_id):
    for role in ("operator", "auditor", "devSecOps"):
        answer = await api.post(PATH, {"host": host_id, "level": "poll"}, await api.add_user(role))
        assert answer.status_code == 403
    assert await of(api, host_id) == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "either a host or a herd"),
        ({"host": "a", "herd": "b"}, "either a host or a herd"),
        ({"herd": "a\0"}, "NUL"),
        ({"herd": "a", "watchPaths": ["etc"]}, "no absolute path"),
        ({"herd": "a", "watchPaths": [""]}, "no absolute path"),
        ({"herd": "a", "watchPaths": ["/a/../b"]}, "no absolute path"),
        ({"herd": "a", "watchPaths": ["/" + "x" * 4096]}, "at most 4096 bytes"),
        ({"herd": "a", "watchPaths": ["/x"] * 201}, "watchPaths"),
        ({"herd": "a", "level": "loud"}, "level"),
        ({"herd": "a", "further": 1}, "further"),
    ],
)
async def test_what_makes_no_sense_is_refused(api, fields, why):
    answer = await api.post(PATH, fields)
    assert answer.status_code == 400
    assert why in answer.text


async def test_a_host_that_is_not_there_is_said(api):
    answer = await api.post(PATH, {"host": "nobody", "level": "poll"})
    assert answer.status_code == 404


async def test_it_is_asked_and_shown_from_the_terminal(ask, api, host_id):
    said = await ask("direct", "--host", host_id, "--watch", "/srv/a", "--level", "audit")
    assert "/srv/a, level audit" in said
    shown = await ask("direct")
    assert host_id in shown
    assert "/srv/a" in shown
    assert "name a host (--host) or a herd (--herd)" in await ask(
        "direct", "--level", "poll", status=2
    )
    assert "not both" in await ask("direct", "--host", "a", "--herd", "b", status=2)
    await ask("direct", "--host", host_id)
    assert await of(api, host_id) == []
