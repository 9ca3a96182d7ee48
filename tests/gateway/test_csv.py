"""Downloads: exactly text/csv, whole, safe to open."""

import asyncio
import csv
import io
import resource
import secrets

import grpc
import pytest

from chassis.server import Server
from gateway import fields
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import (
    StoreServiceServicer,
    add_StoreServiceServicer_to_server,
)
from tests.builders import T0
from tests.gateway.conftest import ADMIN
from tests.gateway.findings import an_activity, an_alert

DOWNLOAD = "/forensic/activities/download"
DOWNLOADS = {
    DOWNLOAD: ("host_activities.csv", fields.ACTIVITY),
    "/audits/runtime/host/download": ("host_audits.csv", fields.ALERT),
    "/profiles/service/download": ("service_profiles.csv", fields.PROFILE),
    "/profiles/host/download": ("host_profiles.csv", fields.HOST_SERVICE),
    "/audits/mgmt/download": ("mgmt_audits.csv", fields.DEED),
}


def parsed(answer):
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize("path", DOWNLOADS)
async def test_a_download_is_exactly_text_csv_with_a_name_and_a_header_row(api, path):
    answer = await api.get(path)
    name, columns = DOWNLOADS[path]
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.text.split("\r\n")[0] == ",".join(fields.columns(columns))


async def test_rows_say_what_the_json_says_and_have_no_cap(api, backend):
    user = f"u{secrets.token_hex(5)}"
    await backend.record(*(an_activity(user=user, time_ns=T0 + n) for n in range(300)))
    rows = parsed(await api.get(DOWNLOAD, user=user))
    assert len(rows) == 300
    assert len(parsed(await api.get(DOWNLOAD, user=user, limit=7, offset=3))) == 7
    (shown,) = await api.rows("/forensic/activities", user=user, limit=1)
    first = rows[0]
    assert first["modifiedFiles"] == "/etc/passwd; /etc/shadow"
    assert first["interactive"] == "true"
    assert first["service"] == ""
    for name in ("time", "hostname", "user", "command", "id", "type"):
        assert first[name] == shown[name]
    two = await api.get(DOWNLOAD, user=user, fields="user,time", limit=1)
    assert two.text.split("\r\n")[0] == "time,user"


async def test_no_spreadsheet_takes_a_cell_for_a_formula_unless_raw_is_asked_for(api, backend):
    user = f"=u{secrets.token_hex(5)}"
    command = b'=cmd|" /C calc"!A0,\r\n+1'
    await backend.record(an_activity(user=user, command=command, files=[b"-a;b", b"@x"]))
    (row,) = parsed(await api.get(DOWNLOAD, user=user))
    assert row["user"] == "'" + user
    assert row["command"] == "'" + '=cmd|" /C calc"!A0,\\x0d\\x0a+1'
    assert row["modifiedFiles"] == "'-a\\x3bb; @x"
    (raw,) = parsed(await api.get(DOWNLOAD, user=user, raw=1))
    assert (raw["user"], raw["modifiedFiles"]) == (user, "-a\\x3bb; @x")


async def test_bytes_that_are_no_text_are_escaped_and_objects_are_json(api, backend):
    user = f"u{secrets.token_hex(5)}"
    await backend.record(an_alert(user=user, executable=b"/tmp/\xff\x1b"))
    (row,) = parsed(await api.get("/audits/runtime/host/download", user=user))
    assert row["processPath"] == "/tmp/\\xff\\x1b"
    assert row["deviation"] == '{"facet":"obtains","subject":"USERS_ADMIN"}'


async def test_a_refusal_of_a_download_is_a_status_not_a_broken_file(api):
    assert (await api.get(DOWNLOAD, type="foo")).status_code == 400
    assert (await api.get(DOWNLOAD, search="x" * 300)).status_code == 400


class Endless(StoreServiceServicer):
    """A small store that has 500 activities a part and may break off in the middle."""

    def __init__(self, parts, breaks_after=None) -> None:
        self.parts, self.breaks_after = parts, breaks_after
        self.sent, self.left = 0, asyncio.Event()

    async def StreamActivities(self, request, context):
        found = an_activity(command=b"x" * 200)
        record = pb.ActivityRecord(finding=found, count=1)
        part = pb.StreamActivitiesResponse(activities=[record] * 500)
        if request.paging.limit == 1:
            yield pb.StreamActivitiesResponse(activities=[record])
            return
        try:
            for number in range(self.parts):
                if number == self.breaks_after:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
                yield part
                self.sent += 1
        finally:
            self.left.set()


def serving(servicer, certificates):
    from chassis.tls import Identity

    return Server(
        "127.0.0.1:0",
        Identity(certificates / "store"),
        [pb.DESCRIPTOR.services_by_name["StoreService"]],
        lambda server: add_StoreServiceServicer_to_server(servicer, server),
        drain_s=0,
    )


async def test_a_hundred_thousand_rows_stream_in_bounded_memory(start, certificates):
    servicer = Endless(200)
    async with (
        serving(servicer, certificates) as store,
        start(store=f"127.0.0.1:{store.port}") as api,
    ):
        await api.get(DOWNLOAD, limit=1)
        before, lines, size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0
        async with api.client.stream("GET", DOWNLOAD, auth=ADMIN) as answer:
            async for chunk in answer.aiter_bytes():
                lines, size = lines + chunk.count(b"\n"), size + len(chunk)
        assert lines == 100_001
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        # Client, gateway and store are this one process; the file alone is larger.
        assert grown_kib * 1024 < size / 2, (grown_kib, size)


async def test_a_reader_that_goes_away_ends_the_stream_at_the_store(start, certificates):
    servicer = Endless(100_000)
    async with (
        serving(servicer, certificates) as store,
        start(store=f"127.0.0.1:{store.port}") as api,
    ):
        async with api.client.stream("GET", DOWNLOAD, auth=ADMIN) as answer:
            await anext(answer.aiter_bytes())
        async with asyncio.timeout(60):
            await servicer.left.wait()
        assert servicer.sent < 2000, "the store goes at the reader's pace"


async def test_a_file_that_breaks_off_does_not_look_whole(start, certificates):
    import httpx2

    servicer = Endless(10, breaks_after=3)
    async with (
        serving(servicer, certificates) as store,
        start(store=f"127.0.0.1:{store.port}") as api,
    ):
        with pytest.raises(httpx2.TransportError):
            await api.get(DOWNLOAD)
