"""Events, counts, the timeline and the tree over HTTPS, of real batches in the real store."""

import secrets

import pytest

from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.builders import (
    T0,
    a_body,
    a_chain,
    a_person,
    an_ancestor,
    an_event,
    an_image,
    below,
    changes,
    exec_id,
)
from tests.gateway.conftest import ADMIN
from tests.services_client import STORE

SECOND = clock.NS
SUDO, SHELL = an_ancestor("/usr/bin/sudo", 590), an_ancestor(b"/bin/b\xff", 580)
ABOVE = ["/usr/bin/sudo", "/bin/b\\xff"]


@pytest.fixture(scope="module")
async def host(backend):
    host_id = secrets.token_hex(16)
    person = a_person(
        "/usr/sbin/adduser",
        ["adduser", b"zo\xff"],
        login_user="alice",
        pid=600,
        exec_id=exec_id(600),
    )
    bodies = [
        a_body(
            (an_image(), an_event(time_ns=T0)),
            (below(person, SUDO, SHELL), an_event(time_ns=T0 + SECOND)),
            (
                person,
                an_event(
                    time_ns=T0 + 2 * SECOND, file_change=changes("/etc/passwd", "/etc/shadow")
                ),
            ),
        ),
        a_body((an_image(pid=7), an_event(time_ns=T0 + 100 * SECOND))),
    ]
    await backend.deliver(a_chain(bodies, host_id=host_id), host_id, to=(STORE,))
    return host_id, person


async def pages(api, endpoint, /, **query):
    rows, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = await api.client.get(endpoint, params=query | more, auth=ADMIN)
        assert answer.status_code == 200, answer.text
        rows += answer.json()
        cursor = answer.headers.get("Next-Cursor")
        if not cursor:
            return rows


async def test_events_come_as_flat_rows_a_page_at_a_time(api, host):
    host_id, _ = host
    rows = await pages(api, "/nightherd/events", host=host_id, limit=1)
    assert [row["time"] for row in rows] == [clock.rfc3339(T0 + n * SECOND) for n in (100, 2, 1, 0)]
    assert len({row["id"] for row in rows}) == 4
    assert rows[1]["changedPaths"] == ["/etc/passwd", "/etc/shadow"]
    assert (rows[2]["user"], rows[2]["command"]) == ("alice", "adduser zo\\xff")
    assert [row.get("ancestors") for row in rows] == [None, ABOVE, ABOVE, None]
    oldest = await pages(api, "/nightherd/events", host=host_id, limit=3, order="oldest")
    assert oldest == rows[::-1]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"user": "alice"}, 2),
        ({"user": "alice", "kind": "exec"}, 1),
        ({"effectiveUser": "root"}, 4),
        ({"pathPrefix": "/etc/"}, 1),
        ({"path": "/etc/passw"}, 0),
        ({"search": "ADDUSER ZO"}, 2),
        ({"sessionID": "7"}, 2),
        ({"processPath": "/usr/sbin/adduser"}, 2),
        ({"around": clock.rfc3339(T0 + 101 * SECOND), "seconds": "5"}, 1),
        ({"service": "nginx.service", "to": clock.rfc3339(T0)}, 1),
    ],
)
async def test_filters_choose(api, host, query, count):
    rows = await pages(api, "/nightherd/events", host=host[0], **query)
    assert len(rows) == count


async def test_counts_by_value_and_time(api, host):
    found = await api.rows(
        "/nightherd/events/summary", host=host[0], facet=["kind", "user"], slice="60"
    )
    assert (found["total"], found["complete"]) == (4, True)
    kinds = {each["value"]: each["count"] for each in found["facets"]["kind"]["values"]}
    assert kinds == {"exec": 3, "file_change": 1}
    assert found["facets"]["user"]["values"][0] == {"value": "alice", "count": 2}
    assert sum(each["count"] for each in found["slices"]) == 4


async def test_the_timeline_speaks_in_sentences(api, host):
    rows = await pages(api, "/nightherd/timeline", host=host[0], limit=2)
    said = [row["sentence"] for row in rows]
    assert "alice (as root) ran adduser, which changed /etc/passwd and 1 more file" in said
    assert {row["entry"] for row in rows} == {"event"}
    assert rows[0]["item"]["kind"] == "exec"


async def test_the_tree_of_a_process(api, host):
    host_id, person = host
    found = await api.rows("/nightherd/tree", host=host_id, execID=person.exec_id)
    (me,) = [node for node in found["processes"] if node["relation"] == "self"]
    assert me["changedPaths"] == ["/etc/passwd", "/etc/shadow"]
    assert me["events"] == {"exec": 1, "file_change": 1}
    assert me["ancestors"] == ABOVE
    assert (await api.get("/nightherd/tree", host=host_id, execID="x")).status_code == 404
    assert (await api.get("/nightherd/tree", host=host_id)).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "nonsense"},
        {"cursor": "nonsense"},
        {"order": "sideways"},
        {"around": "yesterday"},
        {"around": clock.rfc3339(T0), "seconds": "999999"},
        {"sessionID": "x"},
        {"nonsense": "1"},
        {"seconds": "5"},
        {"around": clock.rfc3339(T0), "from": clock.rfc3339(T0)},
    ],
)
async def test_questions_that_cannot_be_asked_are_refused(api, query):
    assert (await api.get("/nightherd/events", **query)).status_code == 400


HOSTED = [
    *((name, {}) for name in ("events", "events/summary", "timeline", "gaps", "batches")),
    *(("export/csv", {}), ("export/ocsf", {"proof": "full"}), ("tree", {"execID": "x"})),
]


@pytest.mark.parametrize(("endpoint", "query"), HOSTED)
async def test_a_host_that_nobody_knows_is_not_one_without_events(api, host, endpoint, query):
    answer = await api.get(f"/nightherd/{endpoint}", host=[host[0], "nobody"], **query)
    assert answer.status_code == 404, answer.text
    said = answer.json()
    assert (said["reason"], said["detail"]) == ("HOST_UNKNOWN", "There is no host nobody")


DIGEST = secrets.token_bytes(32)


@pytest.fixture(scope="module")
async def hashed(backend):
    """Two hosts with the same program, one of them run for somebody, from memory."""
    hosts = [secrets.token_hex(16) for _ in range(2)]
    for number, host_id in enumerate(hosts):
        image = an_image("/tmp/evil", pid=90)
        image.traits.extend([events.TRAIT_MEMORY_FILE] if number else [])
        image.born_from.login_user = "eve" if number else ""
        told = events.FileHash(path=b"/tmp/evil", sha256=DIGEST, size_bytes=5, inode=2**63)
        reached = events.Connect(protocol=1, remote_address="192.0.2.77", remote_port=443)
        body = a_body(
            (image, an_event(time_ns=T0)),
            (image, an_event(time_ns=T0 + 1, file_hash=told)),
            (image, an_event(time_ns=T0 + 2, connect=reached)),
        )
        await backend.deliver(a_chain([body], host_id=host_id), host_id, to=(STORE,))
    return hosts


@pytest.mark.parametrize(
    ("query", "counts"),
    [
        ({"sha256": DIGEST.hex()}, (1, 1)),
        ({"sha256": DIGEST.hex().upper()}, (1, 1)),
        ({"sha256": "0" * 64}, (0, 0)),
        ({"pathPrefix": "/tmp/ev"}, (1, 1)),
        ({"pathPrefix": "/tmp/", "kind": "exec"}, (0, 0)),
        ({"trait": "memoryFile"}, (0, 3)),
        ({"bornFromUser": "eve"}, (0, 3)),
        ({"remoteAddress": "192.0.2.77"}, (1, 1)),
        ({"remoteAddress": "192.0.2.7"}, (0, 0)),
    ],
)
async def test_hashes_traits_origins_and_addresses_find_the_hosts(api, hashed, query, counts):
    found = [len(await pages(api, "/nightherd/events", host=each, **query)) for each in hashed]
    assert tuple(found) == counts
    summary = await api.rows("/nightherd/events/summary", host=hashed, facet=["host"], **query)
    seen = {each["value"]: each["count"] for each in summary["facets"]["host"]["values"]}
    assert [seen.get(each, 0) for each in hashed] == found


async def test_a_row_tells_the_hash_as_text_and_numbers_as_they_are(api, hashed):
    (row,) = await pages(api, "/nightherd/events", host=hashed[1], sha256=DIGEST.hex())
    assert (row["sha256"], row["paths"], row["kind"]) == (DIGEST.hex(), ["/tmp/evil"], "file_hash")
    assert row["details"]["inode"] == 2**63
    assert (row["traits"], row["bornFrom"]) == (["memoryFile"], {"loginUser": "eve"})


@pytest.mark.parametrize("query", [{"sha256": "abc"}, {"sha256": "g" * 64}, {"trait": "evil"}])
async def test_a_hash_or_trait_that_is_none_is_refused(api, query):
    answer = await api.client.get("/nightherd/events", params=query, auth=ADMIN)
    assert answer.status_code == 400
    assert "known are" in answer.text or "64 hexadecimal digits" in answer.text
