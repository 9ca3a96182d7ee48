"""Large exports are rendered in processes beside the gateway, and nobody can tell by the file."""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path

import pytest

from gateway.problems import BrokenOffError
from gateway.renderers import Renderers
from gateway.rendering import Setup, Writer
from nightherd.store.v1 import store_service_pb2 as pb
from tests.builders import T0, a_body, a_chain, a_person, an_event, sealed_batch
from tests.gateway.conftest import ADMIN
from tests.services_client import STORE

ASKED = pb.EventFilter()


def part(number, count=3):
    stored = pb.StreamBatchesResponse()
    for place in range(count):
        person = a_person(arguments=[secrets.token_bytes(20)], pid=number)
        sealed = sealed_batch(a_body((person, an_event())), number=number * count + place + 1)
        stored.batches.add(
            batch_id=f"h/c/{number * count + place}", header=sealed.header, body=sealed.body
        )
    return stored


async def served(parts):
    for one in parts:
        yield one.SerializeToString(), len(one.batches)


@pytest.mark.parametrize("form", ["csv", "ndjson", "ocsf"])
async def test_parts_come_in_order_whoever_renders_them(form):
    parts = [part(number) for number in range(25)]
    setup = Setup.of(ASKED, form, proof="full")
    writer = Writer(setup)
    expected = b"".join(piece for one in parts for piece in writer.parts(one))
    renderers = Renderers(3)
    async with renderers.lent(setup) as lent:
        found = [piece async for piece in lent.render(served(parts))]
    await renderers.close()
    assert b"".join(found) == expected


async def test_processes_are_lent_once_and_end_with_the_export():
    renderers = Renderers(2)
    setup = Setup.of(ASKED, "csv")
    async with renderers.lent(setup) as lent:
        pids = [process.pid for process in lent._processes]
        async with renderers.lent(setup) as other:
            assert other is None
    await renderers.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    async with renderers.lent(setup) as again:
        assert len(again._processes) == 2
    await renderers.close()


async def test_a_process_that_dies_breaks_the_export_off():
    setup = Setup.of(ASKED, "csv")
    renderers = Renderers(1)
    async with renderers.lent(setup) as lent:
        os.kill(lent._processes[0].pid, 9)
        pieces = lent.render(served([part(number) for number in range(5)]))
        with pytest.raises(BrokenOffError):
            await anext(pieces)
    await renderers.close()


@pytest.fixture(scope="module")
async def host(backend):
    """A host with 200,000 events."""
    host_id = secrets.token_hex(16)
    made = []
    for number in range(400):
        people = [
            a_person(arguments=[b"x" * 30, b"%d" % (number * 50 + place)], pid=1000 + place)
            for place in range(50)
        ]
        body = a_body(*[(people[place % 50], an_event(time_ns=T0 + place)) for place in range(500)])
        made.append(body)
    await backend.deliver(a_chain(made, host_id=host_id), host_id, to=(STORE,))
    return host_id


def memory_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize("processes", [0, 2])
async def test_memory_stays_as_it_is_over_a_long_export(start, backend, host, processes):
    # Store, gateway and client are one process here: what grows in any of them shows.
    async with start(store=backend.address["store"], export_processes=processes) as gateway:
        lines, grown, before = 0, 0.0, 0.0
        query = {"host": host}
        async with gateway.client.stream(
            "GET", "/nightherd/export/ndjson", params=query, auth=ADMIN
        ) as answer:
            async for some in answer.aiter_raw(1 << 20):
                lines += some.count(b"\n")
                if lines > 40_000:
                    before = before or memory_mb()
                    grown = max(grown, memory_mb() - before)
        assert lines == 200_000
        assert grown < 40


async def test_a_client_that_leaves_takes_the_processes_with_it(start, backend, host):
    async with start(store=backend.address["store"], export_processes=2) as gateway:
        async with gateway.client.stream(
            "GET", "/nightherd/export/csv", params={"host": host}, auth=ADMIN
        ) as answer:
            lines = 0
            async for some in answer.aiter_raw(1 << 16):
                lines += some.count(b"\n")
                if lines > 120_000:
                    break
            assert renderers_of_this_process()
        async with asyncio.timeout(60):
            while renderers_of_this_process():
                await asyncio.sleep(0.05)


def renderers_of_this_process():
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError):  # it ends at this moment
            if b"gateway.rendering" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
