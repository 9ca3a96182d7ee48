"""Learning over real batches: replay, crashes, the automatic rule, several replicas."""

import asyncio
import os
import signal
import sys
import time

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis import clock
from nightherd.modeler.v1 import model_pb2
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.learning import lesson
from services.modeler.repository.chains import Chains
from services.modeler.repository.lessons import Lessons
from services.modeler.repository.models import Models
from tests.builders import CHAIN, HOST, T0, a_body, a_chain, an_event, an_image, changes
from tests.ports import free_port
from tests.services.modeler.conftest import Modeler

CALENDAR = Calendar(3600, 86_400)


def a_busy_chain(batches=60, programs=40):
    return a_chain(
        a_body(
            *(
                (
                    an_image(f"/usr/bin/p{(n * 7 + k) % programs}", service=f"s{k % 3}", pid=k + 1),
                    an_event(time_ns=T0 + n * 1800 * clock.NS, **kind),
                )
                for k in range(4)
                for kind in ({}, {"file_change": changes(f"/var/lib/x/{n}.db", f"/var/d{k}/$x")})
            )
        )
        for n in range(batches)
    )


async def everything(database):
    """All that was learned, but not who is how far."""
    return {
        name: sorted([row async for row in database[name].find()], key=lambda row: row["_id"])
        for name in ("behaviours", "sights", "spans")
    }


async def test_learning_twice_and_from_the_start_again_changes_nothing(modeler, database):
    chain = a_busy_chain(20)
    await modeler.learn(chain)
    once = await everything(database)
    assert once["behaviours"]
    assert all(len(row["u"]) <= 3 for row in once["behaviours"])
    await modeler.learn(chain)
    assert await everything(database) == once


async def test_a_modeler_with_an_empty_memory_learns_the_same(start, database, modeler):
    chain = a_busy_chain(12)
    await modeler.learn(chain)
    once = await everything(database)
    lessons = Lessons(database)
    import zstandard

    from nightherd.event.v1.delivery_pb2 import BatchHeader
    from nightherd.event.v1.event_pb2 import EventBatch

    for batch in reversed(chain):
        body = EventBatch.FromString(zstandard.ZstdDecompressor().decompress(batch.body))
        header = BatchHeader.FromString(batch.header)
        await lessons.learn(lesson(body, header.herd, header.host_id, CALENDAR))
    assert await everything(database) == once


@settings(max_examples=15)
@given(data=st.data())
def test_any_order_and_repetition_give_the_same_documents(data, mongo_url):
    from chassis import mongo

    bodies = [
        a_body(
            (
                an_image(f"/usr/bin/p{data.draw(st.integers(0, 2))}"),
                an_event(time_ns=T0 + data.draw(st.integers(0, 40)) * 3600 * clock.NS),
            )
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    found = [lesson(body, "default", f"h{n % 4}", CALENDAR) for n, body in enumerate(bodies)]
    order = data.draw(st.permutations(range(len(found))))
    again = data.draw(st.lists(st.sampled_from(range(len(found))), max_size=3))

    async def learned(places, name):
        client = mongo.connect(mongo_url)
        for place in places:
            await Lessons(client[name]).learn(found[place])
        documents = await everything(client[name])
        await client.drop_database(name)
        client.close()
        return documents

    async def both():
        one = await learned(range(len(found)), "modeler_law_1")
        return one, await learned([*order, *again], "modeler_law_2")

    one, other = asyncio.run(both())
    assert one == other


async def test_a_new_stream_goes_on_where_learning_was_settled(modeler, database):
    stream = await modeler.learn(a_busy_chain(5))
    assert stream.welcome.wanted[0].next == 1
    assert (await Chains(database).settled(HOST, [CHAIN, b"new"])) == {CHAIN: 5, b"new": 0}
    stream = await modeler.learn(a_busy_chain(6)[5:])
    assert stream.welcome.wanted[0].next == 6


async def test_a_rejected_batch_is_settled_and_teaches_nothing(modeler, database):
    good, bad, last = a_busy_chain(3)
    bad.body = b"garbage"
    stream = await modeler.learn([good, bad, last])
    assert [r.batch_number for r in stream.rejections] == [2]
    assert (await Chains(database).settled(HOST, [CHAIN])) == {CHAIN: 3}


async def test_killed_at_any_moment_and_sent_again_it_learns_the_same(
    mongo_url, tls, database, modeler
):
    chain = a_busy_chain(300)
    await modeler.learn(chain)
    expected = await everything(database)
    crashing, port = database.client[f"{database.name}_crash"], free_port()
    process = await program(mongo_url, tls, crashing.name, port)
    other = Modeler(f"127.0.0.1:{port}", tls)
    try:
        for _ in range(2):
            await other.ready()
            sending = asyncio.create_task(again_and_again(other, chain))
            async with asyncio.timeout(60):
                while await crashing["behaviours"].count_documents({}) < 1:
                    await asyncio.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await sending
            process = await program(mongo_url, tls, crashing.name, port)
        await other.ready()
        await other.learn(chain)
        assert await everything(crashing) == expected
        os.kill(process.pid, signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await other.close()
        await database.client.drop_database(crashing.name)


async def again_and_again(modeler, chain):
    while True:
        await modeler.learn(chain)


async def program(mongo_url, tls, name, port):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ".:gen",
        "NIGHTHERD_MONGO_URL": mongo_url,
        "NIGHTHERD_MODELER_LISTEN": f"127.0.0.1:{port}",
        "NIGHTHERD_MODELER_TLS_DIR": str(tls.folder("modeler")),
        "NIGHTHERD_MODELER_DATABASE": name,
        "NIGHTHERD_MODELER_DRAIN_SECONDS": "0.2",
        "NIGHTHERD_LOG_LEVEL": "error",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.modeler", env=environment
    )


async def test_a_steady_service_activates_by_itself_and_a_restless_one_does_not(start):
    modeler = await start(unit_seconds=1, span_seconds=1)
    number, states = 0, []
    async with modeler.watch() as detector, asyncio.timeout(60):
        while not states or states[-1] != "ACTIVE":
            number += 1
            steady = an_image("/usr/sbin/nginx", pid=1)
            restless = an_image(f"/opt/job-{'abcdefghijklmnopqrstuvwxyz'[number % 26]}{'x' * number}",
                                service="restless.service", pid=2)  # fmt: skip
            now = an_event(time_ns=time.time_ns())
            body = a_body((steady, now), (restless, now))
            await modeler.learn(a_chain([body], chain_id=number.to_bytes(16)))
            state = (await modeler.model()).state
            name = model_pb2.ModelState.Name(state).removeprefix("MODEL_STATE_")
            if not states or states[-1] != name:
                states.append(name)
            await asyncio.sleep(0.25)
        active = await modeler.model()
        await detector.until(lambda d: d.revision >= active.revision)
    assert states[0] == "LEARNING"
    assert "DRY_RUN" in states
    assert detector.models["default", "nginx.service"].state == active.state
    assert active.units_observed >= 4
    assert active.predicted_alerts <= 0.5 <= active.predicted_alerts_bound + 0.5
    other = await modeler.model("restless.service")
    assert other.state != active.state
    assert other.waiting_for


async def test_two_replicas_share_one_life_and_one_list_of_detectors(
    start, mongo_url, tls, database, modeler
):
    port = free_port()
    process = await program(mongo_url, tls, database.name, port)
    second = Modeler(f"127.0.0.1:{port}", tls)
    try:
        await second.ready()
        chain = a_busy_chain(6)
        await modeler.learn(chain[:3])
        await second.learn(chain[3:])
        async with second.watch("far") as detector:
            active = await modeler.set_state("MANUAL_ACTIVE", "s1")
            await detector.until(lambda d: d.revision >= active.revision)
            assert detector.models["default", "s1"].state == active.state
            changes_made = await asyncio.gather(
                *(m.set_state("MANUAL_ACTIVE", f"s{n}") for n, m in ((0, modeler), (2, second)))
            )
            assert len({change.revision for change in changes_made}) == 2
            await detector.until(
                lambda d: all(d.models["default", f"s{n}"].state == active.state for n in range(3))
            )
            from nightherd.modeler.v1 import modeler_service_pb2 as pb

            async with asyncio.timeout(60):
                while True:
                    listed = await modeler.stub.ListDetectors(pb.ListDetectorsRequest(), timeout=60)
                    if [d.detector_id for d in listed.detectors] == ["far"]:
                        break
                    await asyncio.sleep(0.05)
    finally:
        process.kill()
        await process.wait()
        await second.close()


async def test_a_change_whose_maker_died_is_seen_with_the_next(database):
    models = Models(database)
    await models.meet([("default", "a"), ("default", "b")], 1)
    dying = models.changing()
    change = await dying.__aenter__()
    await change.put(await change.get("default", "a"))
    assert await models.revision() == 0
    await database["locks"].update_one({"_id": "revision"}, {"$set": {"until": clock_past()}})
    async with models.changing() as next_change:
        await next_change.put(await next_change.get("default", "b"))
    assert await models.revision() == 1
    assert {s.service for s in await models.changed_since(0)} == {"a", "b"}
    # The first one was only asleep: what it changed is told once more.
    await dying.__aexit__(None, None, None)
    assert {s.service for s in await models.changed_since(1)} == {"a"}


def clock_past():
    import datetime as dt

    return dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
