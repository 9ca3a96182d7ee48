"""The detector among its peers: what is judged is recorded, whatever is down meanwhile."""

import asyncio
import os
import sys

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2
from nightherd.modeler.v1 import modeler_service_pb2 as modeler_api
from nightherd.store.v1 import store_service_pb2 as api
from tests.builders import (
    CHAIN,
    HOST,
    a_body,
    a_chain,
    a_person,
    an_event,
    an_image,
    changes,
)
from tests.services_client import DETECTOR, MODELER, Deliverer, deliver, until_serving

FILES = an_event(file_change=changes("/etc/passwd", "/etc/passwd-"))


def useradd(pid, account="bob", **fields):
    return an_image("/usr/sbin/useradd", ["useradd", account], pid=pid, **fields)


def a_person_adds(count, first=0):
    """One batch each: a person of a session of their own adds an account."""
    return [
        a_body((a_person(arguments=["useradd", f"u{n}"], pid=1000 + n, session_id=n), FILES))
        for n in range(first, first + count)
    ]


async def alerts(backend):
    return list(
        (await backend.stub.ListAlerts(api.ListAlertsRequest(paging=api.Paging(limit=1000)))).alerts
    )


async def activities(backend):
    request = api.ListActivitiesRequest(paging=api.Paging(limit=1000))
    return list((await backend.stub.ListActivities(request)).activities)


async def inspect(backend, batches, host_id=HOST):
    return await deliver(
        backend.address["detector"], backend.tls.host(host_id), batches, host_id, DETECTOR
    )


async def activate(backend, service="nginx.service"):
    """Freeze what was learned; return when the detector has it."""
    answer = await backend.models.SetModelState(
        modeler_api.SetModelStateRequest(
            herd="default",
            service=service,
            state=model_pb2.MODEL_STATE_MANUAL_ACTIVE,
            changed_by="olga",
        ),
        timeout=60,
    )
    async with asyncio.timeout(60):
        while True:
            known = await backend.models.ListDetectors(
                modeler_api.ListDetectorsRequest(), timeout=60
            )
            if any(d.applied_revision >= answer.model.revision for d in known.detectors):
                return
            await asyncio.sleep(0.05)


async def test_a_learned_daemon_is_silent_and_one_that_never_did_it_is_counted(backend):
    await backend.start("store", "modeler", "detector")
    for service, image in (
        ("accounts.service", useradd(500, service="accounts.service")),
        ("nginx.service", an_image("/usr/sbin/nginx", pid=600)),
    ):
        chain = a_chain(
            [a_body((image, an_event()), (image, FILES if service[0] == "a" else an_event()))],
            chain_id=service[0].encode() * 16,
        )
        await deliver(backend.address["modeler"], backend.tls.host(), chain, HOST, MODELER)
        await activate(backend, service)
    good = useradd(700, "carol", service="accounts.service")
    facts = an_event(host_facts=events.HostFacts(hostname="web-1"))
    bodies = [
        a_body((good, facts), (good, an_event()), (good, FILES)),
        a_body((useradd(801), an_event())),
        a_body((useradd(801), FILES)),
        a_body((useradd(802), an_event()), (useradd(802), FILES)),
    ]
    await inspect(backend, a_chain(bodies))
    (alert,) = await alerts(backend)
    assert alert.finding.alert.message == (
        "Service nginx.service attempted to obtain capability USERS_ADMIN by executing /usr/sbin/useradd"
    )
    assert (alert.count, alert.finding.hostname) == (2, "web-1")
    assert alert.finding.model_revision > 0
    assert sorted(a.finding.actor.service for a in await activities(backend)) == [
        "accounts.service",
        "nginx.service",
        "nginx.service",
    ]


async def test_sending_again_changes_nothing(backend):
    await backend.start("store", "modeler", "detector")
    chain = a_chain(a_person_adds(5))
    await inspect(backend, chain)
    before = [(a.finding.alert.alert_key, a.count) for a in await alerts(backend)]
    stream = await inspect(backend, chain)
    assert len(before) == 5
    assert [(a.finding.alert.alert_key, a.count) for a in await alerts(backend)] == before
    assert stream.rejections == []


async def test_without_models_nothing_is_judged_and_health_says_so(backend):
    await backend.start("store")
    await backend.start("detector", serving=False)
    health = health_pb2_grpc.HealthStub(backend.channel("detector"))
    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    sending = asyncio.create_task(inspect(backend, a_chain(a_person_adds(3))))
    done, _ = await asyncio.wait({sending}, timeout=0.5)
    assert not done
    await backend.start("modeler")
    await sending
    assert len(await alerts(backend)) == 3
    # The last models stay in force while the modeler is away.
    await backend.stop("modeler")
    await inspect(backend, a_chain(a_person_adds(4))[3:])
    assert len(await alerts(backend)) == 4


async def test_while_the_store_is_down_nothing_is_settled_and_then_nothing_is_lost(backend):
    await backend.start("modeler", "detector")
    chain = a_chain(a_person_adds(20))
    sending = asyncio.create_task(inspect(backend, chain))
    done, _ = await asyncio.wait({sending}, timeout=1)
    assert not done
    async with Deliverer(backend.address["detector"], backend.tls.host(), HOST, DETECTOR) as other:
        assert (await other.hello([CHAIN])).wanted[0].next == 1
    await backend.start("store")
    await sending
    assert len(await alerts(backend)) == 20
    async with asyncio.timeout(60):
        while True:  # written down now and then
            async with Deliverer(
                backend.address["detector"], backend.tls.host(), HOST, DETECTOR
            ) as stream:
                if (await stream.hello([CHAIN])).wanted[0].next == 21:
                    return
            await asyncio.sleep(0.05)


async def test_garbage_is_rejected_and_the_stream_goes_on(backend):
    await backend.start("store", "modeler", "detector")
    one, two, three = a_chain(a_person_adds(3))
    two.body = b"garbage"
    stream = await inspect(backend, [one, two, three])
    assert [r.batch_number for r in stream.rejections] == [2]
    assert len(await alerts(backend)) == 2


async def begin(backend):
    """Start the detector as a program of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": "gen:.",
        "NIGHTHERD_MONGO_URL": backend.mongo_url,
        "NIGHTHERD_LOG_LEVEL": "warning",
        "NIGHTHERD_DETECTOR_LISTEN": backend.address["detector"],
        "NIGHTHERD_DETECTOR_TLS_DIR": str(backend.folders["detector"]),
        "NIGHTHERD_DETECTOR_STORE": backend.address["store"],
        "NIGHTHERD_DETECTOR_MODELER": backend.address["modeler"],
        "NIGHTHERD_DETECTOR_DATABASE": backend.database("detector"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.detector",
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await until_serving(backend.channel("detector"))
    return process


@pytest.mark.parametrize("kills", [3])
async def test_killed_at_any_time_it_loses_and_doubles_nothing(backend, kills):
    await backend.start("store", "modeler")
    chain = a_chain(a_person_adds(120))
    process = await begin(backend)
    unacknowledged = 0
    for kill in range(kills + 1):
        async with Deliverer(
            backend.address["detector"], backend.tls.host(), HOST, DETECTOR
        ) as stream:
            following = (await stream.hello([CHAIN])).wanted[0].next
            sending = asyncio.create_task(stream.send(chain[following - 1 :]))
            if kill < kills:
                async with asyncio.timeout(60):
                    while len(await alerts(backend)) < 25 * (kill + 1):
                        await asyncio.sleep(0.01)
                unacknowledged += not sending.done()
                process.kill()
                await process.wait()
            (answer,) = await asyncio.gather(sending, return_exceptions=True)
        if kill < kills:
            process = await begin(backend)
        else:
            assert isinstance(answer, list)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert unacknowledged > 0
    found = await alerts(backend)
    assert len(found) == 120
    assert {a.count for a in found} == {1}
    assert len(await activities(backend)) == 120
