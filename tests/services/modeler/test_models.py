"""What a daemon does is learned, frozen, and told to detectors; what people do is not."""

import asyncio

import grpc
import pytest

from behaviour.behaviours import Behaviour, behaviours_of
from behaviour.matcher import deviation
from behaviour.model import from_message
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from tests.builders import a_body, a_chain, a_person, an_event, an_image, changes

RUNS, OBTAINS = model_pb2.FACET_RUNS, model_pb2.FACET_OBTAINS


def useradd(service="nginx.service", **fields):
    image = an_image("/usr/sbin/useradd", ["useradd", "-m", "bob"], service=service, **fields)
    files = changes("/etc/passwd.4711", "/etc/passwd+", "/etc/passwd", "/etc/shadow")
    return [(image, an_event()), (image, an_event(file_change=files))]


def quiet(service="nginx.service", executable="/usr/sbin/nginx", **fields):
    return [(an_image(executable, service=service, pid=600, **fields), an_event())]


def pairs(behaviours):
    return {(b.facet, b.subject) for b in behaviours}


def broken_by(model, items):
    body = a_body(*items)
    found = [b for e in body.events for b in behaviours_of(e, body.images)]
    return {b for b in found if deviation(model, b)}


async def test_a_daemon_that_learned_to_add_accounts_may_do_it_again(modeler):
    await modeler.learn(a_chain([a_body(*quiet(), *useradd())]))
    await modeler.set_state("MANUAL_LEARNING")
    active = await modeler.set_state("MANUAL_ACTIVE")
    assert active.state == model_pb2.MODEL_STATE_MANUAL_ACTIVE
    assert active.changed_by == "olga"
    assert (OBTAINS, "USERS_ADMIN") in pairs(active.behaviours)
    async with modeler.watch() as detector:
        await detector.until(lambda d: d.revision >= active.revision)
        model = from_message(detector.models["default", "nginx.service"])
    assert model.active
    assert not broken_by(model, useradd())
    other_tool = an_image("/usr/sbin/usermod", pid=9)
    assert not broken_by(model, [(other_tool, an_event())])


async def test_what_an_active_model_does_not_know_becomes_a_candidate_only(modeler):
    first, second, third = a_chain([a_body(*quiet()), a_body(*useradd()), a_body(*useradd())])
    await modeler.learn([first])
    active = await modeler.set_state("MANUAL_ACTIVE")
    await modeler.learn([second, third])
    now = await modeler.model()
    assert now.revision == active.revision
    assert pairs(now.behaviours) == pairs(active.behaviours) == {(RUNS, "/usr/sbin/nginx")}
    assert (OBTAINS, "USERS_ADMIN") in pairs(now.candidates)
    async with modeler.watch() as detector:
        await detector.until(lambda d: True)
        model = from_message(detector.models["default", "nginx.service"])
    assert Behaviour(OBTAINS, "USERS_ADMIN") in broken_by(model, useradd())


async def test_relearning_takes_candidates_in_when_it_ends(modeler):
    first, second = a_chain([a_body(*quiet()), a_body(*useradd())])
    await modeler.learn([first])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await modeler.set_state("MANUAL_RELEARNING")
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    old = await modeler.set_state("MANUAL_ACTIVE")
    await modeler.learn([second])
    relearning = await modeler.set_state("MANUAL_RELEARNING")
    assert pairs(relearning.behaviours) == pairs(old.behaviours)
    new = await modeler.set_state("MANUAL_ACTIVE")
    assert new.revision > relearning.revision > old.revision
    assert (OBTAINS, "USERS_ADMIN") in pairs(new.behaviours)
    assert not new.candidates


async def test_states_only_a_rule_sets_and_unknown_models_are_refused(modeler):
    await modeler.learn(a_chain([a_body(*quiet())]))
    for state in ("ACTIVE", "DRY_RUN", "LEARNING_EXTENDED", "UNSPECIFIED"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await modeler.set_state(state)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await modeler.set_state("MANUAL_ACTIVE", service="nobody.service")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


async def test_setting_the_same_state_again_changes_nothing(modeler):
    await modeler.learn(a_chain([a_body(*quiet())]))
    once = await modeler.set_state("MANUAL_ACTIVE")
    assert await modeler.set_state("MANUAL_ACTIVE") == once


async def test_people_are_never_learned(modeler):
    person = a_person(service="nginx.service")
    scripted = a_person(service="nginx.service", terminal="", pid=7, exec_id="b:7:1:1")
    others = [
        an_image(pid=n, exec_id=f"b:{n}:1:1", provenance=provenance)
        for n, provenance in enumerate(
            (events.PROVENANCE_DETACHED, events.PROVENANCE_USER_SERVICE, 0), start=50
        )
    ]
    await modeler.learn(
        a_chain([a_body(*((image, an_event()) for image in (person, scripted, *others)))])
    )
    assert await modeler.model() is None
    job = an_image("/usr/bin/job", service="cron.service", provenance=events.PROVENANCE_SCHEDULED)
    await modeler.learn(a_chain([a_body((job, an_event()))], chain_id=b"c" * 16))
    assert pairs((await modeler.model("cron.service")).behaviours) == {(RUNS, "/usr/bin/job")}


async def test_an_impostor_and_another_herd_do_not_inherit_a_model(modeler):
    daemon, impostor = "/opt/app/daemon.sh", "/tmp/x/daemon.sh"
    await modeler.learn(a_chain([a_body(*useradd(daemon))]))
    await modeler.learn(a_chain([a_body(*quiet(impostor))], host_id="1" * 32), host_id="1" * 32)
    await modeler.learn(
        a_chain([a_body(*quiet(daemon))], host_id="2" * 32, herd="blue"), "2" * 32, "blue"
    )
    await modeler.set_state("MANUAL_ACTIVE", daemon)
    for service, herd in ((impostor, "default"), (daemon, "blue")):
        other = await modeler.model(service, herd)
        assert other.state == model_pb2.MODEL_STATE_LEARNING
        assert (OBTAINS, "USERS_ADMIN") not in pairs(other.behaviours)


async def test_a_detector_hears_of_a_change_at_once_and_is_listed_with_its_revision(modeler):
    await modeler.learn(a_chain([a_body(*quiet())]))
    async with modeler.watch("det-1") as detector:
        await detector.until(lambda d: ("default", "nginx.service") in d.models)
        active = await modeler.set_state("MANUAL_ACTIVE")
        began = asyncio.get_running_loop().time()
        await detector.until(lambda d: d.revision >= active.revision)
        assert detector.models["default", "nginx.service"].state == active.state
        print("seconds to the detector:", asyncio.get_running_loop().time() - began)
        await detector.say(active.revision)
        listed = await until(
            modeler,
            lambda answer: [d.applied_revision for d in answer.detectors] == [active.revision],
        )
        assert listed.detectors[0].detector_id == "det-1"
        assert listed.revision == active.revision
    await until(modeler, lambda answer: not answer.detectors)


async def until(modeler, holds):
    async with asyncio.timeout(60):
        while True:
            answer = await modeler.stub.ListDetectors(pb.ListDetectorsRequest(), timeout=60)
            if holds(answer):
                return answer
            await asyncio.sleep(0.05)


async def test_a_snapshot_of_nothing_is_complete_too(modeler):
    async with modeler.watch() as detector:
        response = await asyncio.wait_for(detector.call.read(), 60)
        assert response.complete
        assert not response.models


async def test_an_unnamed_detector_is_refused(modeler):
    async with modeler.watch("") as detector:
        answer = await detector.call.code()
    assert answer == grpc.StatusCode.INVALID_ARGUMENT


async def test_services_are_listed_per_host_and_models_by_filter(modeler):
    cron = [(an_image("/usr/sbin/cron", service="cron.service", pid=601), an_event())]
    await modeler.learn(a_chain([a_body(*quiet(), *cron)]))
    hosts = await modeler.stub.ListHostServices(pb.ListHostServicesRequest(), timeout=60)
    assert hosts.total_count == 1
    assert hosts.hosts[0].herd == "default"
    assert list(hosts.hosts[0].services) == ["cron.service", "nginx.service"]
    found = await modeler.stub.ListModels(
        pb.ListModelsRequest(search="NGIN", brief=True), timeout=60
    )
    assert found.total_count == 1
    assert not found.models[0].behaviours
    seen = found.models[0]
    assert clock.from_timestamp(seen.first_seen_time) <= clock.from_timestamp(seen.last_seen_time)
    with pytest.raises(grpc.aio.AioRpcError):
        await modeler.stub.ListModels(pb.ListModelsRequest(limit=1001), timeout=60)


async def test_capabilities_are_the_fifteen_of_the_contract(modeler):
    answer = await modeler.stub.ListCapabilities(pb.ListCapabilitiesRequest(), timeout=60)
    names = [c.name for c in answer.capabilities]
    assert len(names) == 15
    assert names == sorted(names)


async def test_revisions_only_rise_and_many_models_come_in_parts(modeler):
    long = ["/opt/" + "x" * 3000 + f"/{n}" for n in range(60)]
    bodies = [
        a_body(*((an_image(p, service=f"s{k}", pid=n + 1), an_event()) for n, p in enumerate(long)))
        for k in range(10)
    ]
    await modeler.learn(a_chain(bodies))
    async with modeler.watch() as detector:
        seen = []
        while not seen or not seen[-1].complete:
            seen.append(await asyncio.wait_for(detector.call.read(), 60))
        assert len(seen) > 1
        assert {m.service for part in seen for m in part.models} == {f"s{k}" for k in range(10)}
        active = await modeler.set_state("MANUAL_ACTIVE", "s3")
        while seen[-1].revision < active.revision:
            seen.append(await asyncio.wait_for(detector.call.read(), 60))
        assert [p.revision for p in seen] == sorted(p.revision for p in seen)
