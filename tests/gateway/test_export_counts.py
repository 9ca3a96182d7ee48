"""No row is dropped silently: who hands a part on counts it, who takes it counts too."""

import asyncio
import contextlib
import json
import secrets
import sys
from asyncio.subprocess import PIPE

import httpx2
import pytest

from cli.export import run_export
from cli.parts import BrokenPartError, Parts, proof_of
from cli.verify_export import verify_export
from evidence.exports import proof
from evidence.exports.formats import BY_NAME
from gateway.exports import whole
from gateway.problems import BrokenOffError
from gateway.renderers import Lent
from gateway.rendering import IncompleteError, Setup, Writer
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from nightherd.store.v1.store_service_pb2_grpc import StoreServiceServicer
from tests.builders import T0, a_body, a_chain, a_person, an_event, an_image, changes, sealed_batch
from tests.gateway.conftest import ADMIN
from tests.gateway.exporting import NAMES, SIGNER, a_home, exported
from tests.gateway.test_csv import serving
from tests.services_client import STORE

LARGE = 24


@pytest.fixture
def home(tmp_path, monkeypatch, certificates):
    return a_home(tmp_path / "home", monkeypatch, certificates)


@pytest.fixture(scope="module")
async def flooded(backend):
    """A host with rows that fill a piece each, as deep folders make them."""
    host_id = secrets.token_hex(16)
    deep = [b"/home/alice/.ssh" + b"/d" * 500 + b"%d" % number for number in range(1000)]
    image = an_image()
    made = [
        a_body((image, an_event(time_ns=T0 + number, file_change=changes(*deep))))
        for number in range(LARGE)
    ]
    await backend.deliver(a_chain(made, host_id=host_id), host_id, to=(STORE,))
    return host_id


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_rows_as_large_as_a_piece_are_all_there(start, backend, flooded, form, processes):
    async with start(store=backend.address["store"], export_processes=processes) as gateway:
        lines = 0
        async with gateway.client.stream(
            "GET", f"/nightherd/export/{form}", params={"host": flooded}, auth=ADMIN
        ) as answer:
            async for some in answer.aiter_raw(1 << 20):
                lines += some.count(b"\n")
    assert lines == LARGE + (form == "csv")


def stored(number, count=3):
    part = pb.StreamBatchesResponse()
    for place in range(count):
        person = a_person(arguments=[b"x" * 500], pid=number)
        sealed = sealed_batch(a_body((person, an_event())), number=number * count + place + 1)
        batch_id = f"{'0' * 32}/{'01' * 16}/{number * count + place + 1:015d}"
        part.batches.add(
            batch_id=batch_id,
            header=sealed.header,
            body=sealed.body,
            position=f"batches_20260101/{batch_id}",
        )
    return part


class Losing(StoreServiceServicer):
    """A store that sends ten parts, one of them not, or not the end."""

    def __init__(self, left_out=None, *, ends=True) -> None:
        self._left_out, self._ends = left_out, ends

    async def StreamBatches(self, request, context):
        del request, context
        count = 0
        for number in range(10):
            part = stored(number)
            part.batches_before = count
            count += len(part.batches)
            if number != self._left_out:
                yield part
        if self._ends:
            yield pb.StreamBatchesResponse(batches_before=count, end=True)


@pytest.mark.parametrize(
    "servicer", [Losing(4), Losing(9), Losing(ends=False)], ids=["within", "last", "end"]
)
async def test_an_export_of_which_a_part_is_lost_does_not_look_whole(
    start, certificates, home, tmp_path, servicer, capsys
):
    async with (
        serving(servicer, certificates) as store,
        start(store=f"127.0.0.1:{store.port}") as api,
    ):
        for form in NAMES:
            with contextlib.suppress(httpx2.TransportError):
                answer = await api.client.get(f"/nightherd/export/{form}", auth=ADMIN)
                assert answer.status_code == 500  # nothing of it had been sent
        (home.state / "port").write_text(str(api.port))
        out = tmp_path / "events"
        running = asyncio.create_task(
            asyncio.to_thread(run_export, home, "csv", out, {"proof": "headers"})
        )
        assert await asyncio.wait_for(running, 120) != 0
    assert not out.exists()
    assert "nightherd: " in capsys.readouterr().err


async def test_an_export_of_all_parts_ends(start, certificates):
    async with (
        serving(Losing(), certificates) as store,
        start(store=f"127.0.0.1:{store.port}") as api,
    ):
        answer = await api.client.get("/nightherd/export/ndjson", auth=ADMIN)
        assert len(answer.text.splitlines()) == 30


async def of(*parts):
    for part in parts:
        yield part


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [stored(0)],
        [stored(0), pb.StreamBatchesResponse(batches_before=2, end=True)],
        [pb.StreamBatchesResponse(end=True), stored(0)],
        [stored(0), stored(1), pb.StreamBatchesResponse(batches_before=6, end=True)],
    ],
)
async def test_a_stream_that_counts_otherwise_or_has_no_end_is_not_whole(parts):
    with pytest.raises(BrokenOffError):
        [part async for part in whole(of(*parts))]


class Forgetful:
    """A format that loses its last line."""

    def __init__(self, form) -> None:
        self._form = form
        self.head, self.count = form.head, form.count

    def lines(self, batch, places):
        content = b"".join(self._form.lines(batch, places)).splitlines(keepends=True)
        yield b"".join(content[:-1])


@pytest.mark.parametrize("form", NAMES)
def test_a_batch_of_which_a_row_is_missing_is_not_handed_on_as_whole(form):
    writer = Writer(Setup.of(pb.EventFilter(), form))
    assert len(list(writer.parts(stored(0)))) == 1
    writer._format = Forgetful(BY_NAME[form]())
    with pytest.raises(IncompleteError):
        list(writer.parts(stored(0)))


LYING = """
import struct, sys
length = struct.Struct("<I")
read = sys.stdin.buffer.read
read(length.unpack(read(4))[0])
for piece in (b"one\\n", b"two\\n"):
    sys.stdout.buffer.write(length.pack(len(piece)) + piece)
sys.stdout.buffer.write(length.pack(0) + struct.pack("<5Q", *map(int, sys.argv[1:])))
"""


@pytest.mark.parametrize(
    ("tally", "holds"),
    [
        ((2, 8, 3, 0, 0), True),
        ((3, 8, 3, 0, 0), False),
        ((2, 9, 3, 0, 0), False),
        ((2, 8, 2, 0, 0), False),
    ],
)
async def test_a_renderer_that_hands_on_other_than_it_says_breaks_the_export_off(tally, holds):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LYING, *map(str, tally)), stdin=PIPE, stdout=PIPE
    )
    pieces = []
    try:
        async for piece in Lent([process]).render(of((b"part", 3))):
            pieces.append(piece)
    except BrokenOffError:
        assert not holds
    else:
        assert holds
    assert pieces == [b"one\n", b"two\n"]
    await process.communicate()


def test_a_download_whose_rows_are_not_what_their_proof_line_says_is_refused(tmp_path):
    setup = Setup.of(pb.EventFilter(), "csv", proof="headers")
    writer = Writer(setup)
    answer = [writer.begin(resumed=False), *writer.parts(stored(0)), writer.end()]
    content = b"".join(answer)
    rows = [line for line in content.splitlines(keepends=True) if b",exec," in line]
    assert len(rows) == 3
    for name, bad, why in (
        ("row", content.replace(rows[1], b""), "rows are missing"),
        ("batch", without_a_batch(content, rows[1]), "nothing of this export can be relied on"),
    ):
        with pytest.raises(BrokenPartError, match=why), Parts(tmp_path / name, "csv", {}) as parts:
            parts.take(bad)


def without_a_batch(content, row):
    """Leave out a row and its proof line, as if the answer had never had the batch."""
    lines = content.splitlines(keepends=True)
    place = lines.index(row)
    assert lines[place + 1].startswith(proof.MARK)
    return b"".join(lines[:place] + lines[place + 2 :])


def told(first, last):
    gap = events.Gap(lost=7, first_batch=first, last_batch=last)
    body = a_body()
    body.events.append(an_event(None, gap=gap))
    return body


@pytest.mark.parametrize("form", ["headers", "full"])
@pytest.mark.parametrize("said", [True, False])
async def test_a_hole_in_a_whole_export_is_stated_when_a_batch_speaks_of_it_else_it_is_missing(
    api, backend, home, tmp_path, form, said, capsys
):
    host_id = secrets.token_hex(16)
    chain = a_chain([None] * 6 + [told(3, 5) if said else None], host_id=host_id, signer=SIGNER)
    for batch in chain:
        batch.signature = b""  # the test's host has no key of its own
    await backend.deliver([*chain[:2], *chain[5:]], host_id, to=(STORE,))
    out = tmp_path / "events"
    assert await exported(home, api.port, "ndjson", out, host=[host_id], proof=form) == 0
    assert verify_export(out, None, ()) == (0 if said else 1)
    printed = capsys.readouterr().out
    assert ("batches 3 to 5" in printed) != said
    sealed = "of 3 batches that are not here their agents said, in sealed batches" in printed
    assert sealed == (said and form == "full")
    lines = [json.loads(line) for line in proof_of(out).read_text().splitlines()]
    assert ([3, 5] in [one for line in lines for one in line.get("givenUp", ())]) == said
