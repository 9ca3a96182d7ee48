"""What the agent is asked by its backend and its host while it runs, and what it says of itself."""

import asyncio
import os
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests import ports
from tests.agent.receiver import Receiver
from tests.agent.running import an_agent, changed, run, statuses, told

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]


async def test_what_the_backend_directs_is_done(tmp_path, tls, free_port):
    receiver = Receiver()
    asked = tmp_path / "asked"
    asked.mkdir()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        identity, address = tls.identity("store"), f"127.0.0.1:{free_port}"
        receiver.directive = pb.Directive(watch_paths=[b"not absolute", bytes(asked)])
        async with receiver.serve(identity, address):
            await receiver.until(lambda: receiver.batches)
            await run("/bin/sh", "-c", f"echo x > {asked}/one; echo x > {agent.watched}/two")
            await receiver.until(lambda: changed(receiver, asked / "one"))
            await receiver.until(lambda: changed(receiver, agent.watched / "two"))
        receiver.directive = pb.Directive(watch_paths=[bytes(asked)], level=events.LEVEL_POLL)
        async with receiver.serve(identity, address):
            await receiver.until(
                lambda: any(
                    event.agent_status.state == events.AgentStatus.STATE_LEVEL_CHANGED
                    and event.agent_status.level == events.LEVEL_POLL
                    for _, event in told(receiver)
                ),
            )
            # Who lived for two seconds is seen, but for a very busy host.
            for number in range(5):
                file = asked / f"three-{number}"
                await run("/bin/sh", "-c", f"echo x > {file}; sleep 2")
                await receiver.until(lambda file=file: changed(receiver, file))
                _, event = changed(receiver, file)[0]
                if event.attribution != events.ATTRIBUTION_UNKNOWN:
                    break
            assert event.attribution == events.ATTRIBUTION_INFERRED
        receiver.directive = pb.Directive()
        async with receiver.serve(identity, address):
            await receiver.until(
                lambda: next(
                    event.agent_status.level != events.LEVEL_POLL
                    for _, event in reversed([*told(receiver)])
                    if event.HasField("agent_status")
                ),
            )
            await run("/bin/sh", "-c", f"echo x > {asked}/four; echo x > {agent.watched}/five")
            await receiver.until(lambda: changed(receiver, agent.watched / "five"))
    assert not changed(receiver, asked / "four")


async def test_the_sizes_that_a_receiver_takes_are_kept(tmp_path, tls, free_port):
    receiver = Receiver()
    receiver.limits = pb.Limits(arguments_size_bytes=600, body_size_bytes=16 << 10)
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches)
            before = receiver.next
            names = " ".join(f"{agent.watched}/{number}" for number in range(40))
            code = f"for name in {names}; do /bin/sh -c 'echo x > $1' sh $name {'y' * 900}; done"
            await run("/bin/sh", "-c", code)
            await receiver.until(lambda: changed(receiver, agent.watched / "39"))
            image, _ = changed(receiver, agent.watched / "39")[0]
        assert image.arguments_cut
        assert 500 < sum(len(each) + 1 for each in image.arguments) <= 600
        later = [batch for number, batch in receiver.batches.items() if number > before]
        sizes = [pb.BatchHeader.FromString(batch.header).body_size_bytes for batch in later]
        assert len(sizes) > 1
        assert max(sizes) <= 16 << 10
        # Before it knew, it may have sealed a larger one.
        assert all(drop.last <= before for drop in receiver.dropped)


async def test_what_is_mounted_later_is_watched_too(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:

        async def told_soon(true) -> None:
            async with asyncio.timeout(60):
                while not true():
                    # Urgent, so that what is collected is sealed: the status of each second too.
                    (agent.watched / "now").write_text("x")
                    await asyncio.sleep(0.3)

        await agent.enrol()
        await agent.start(status_seconds="1")
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches)
            (agent.watched / "config").write_text("x")
            await run("mount", "-t", "tmpfs", "none", str(agent.watched))
            try:
                file = agent.watched / "on-the-new-one"

                async def told_of_it() -> bool:
                    await run("/bin/sh", "-c", f"echo x > {file}")
                    await asyncio.sleep(0.3)
                    return bool(changed(receiver, file))

                async with asyncio.timeout(60):
                    while not await told_of_it():
                        pass
                image, event = changed(receiver, file)[0]
                assert event.attribution in (
                    events.ATTRIBUTION_EXACT,
                    events.ATTRIBUTION_INFERRED,  # within a tick of its fork
                )
                assert image.arguments[0] == b"/bin/sh"
            finally:
                await run("umount", str(agent.watched))
            other = tmp_path / "other"
            other.write_text("y")
            await run("mount", "--bind", str(other), str(agent.watched / "config"))
            try:
                # It is the watched file now, by whatever name it is changed.
                await told_soon(lambda: mounts_on(receiver, agent.watched / "config"))
                await run("/bin/sh", "-c", f"echo z > {other}")
                await told_soon(
                    lambda: any(
                        change.used_path == bytes(other)
                        for _, event in told(receiver)
                        for change in event.file_change.changes
                        if change.path == bytes(agent.watched / "config")
                    )
                )
            finally:
                await run("umount", str(agent.watched / "config"))
            assert not any(str(agent.watched) in s for s in statuses(receiver)[-1].not_seen)


def mounts_on(receiver, path):
    return [
        event
        for _, event in told(receiver)
        if event.HasField("mount_change") and event.mount_change.target == bytes(path)
    ]


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_the_agent_says_what_it_costs_and_who_is_behind(tmp_path, tls, free_port):
    receiver = Receiver()
    port = ports.free_port()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start(
            metrics_listen=f"127.0.0.1:{port}", status_seconds="1", detector="127.0.0.1:1"
        )
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(
                lambda: any(
                    r.name == "store" and r.connected and r.behind == 0
                    for _, event in told(receiver)
                    for r in event.agent_status.receivers
                ),
                60,
            )
            seen = await asyncio.to_thread(_metrics, port)
        status = statuses(receiver)[-1]
    assert status.peak_rss_bytes >= status.rss_bytes > 20 << 20
    assert status.processes > 10
    assert status.collected >= 0
    assert seen["nightherd_agent_connectedstore"] == 1
    assert seen["nightherd_agent_connecteddetector"] == 0
    assert seen["nightherd_agent_batches_behinddetector"] > 0
    assert seen["nightherd_agent_spool_bytes"] > 0
    assert seen["nightherd_agent_peak_rss_bytes"] >= seen["process_resident_memory_bytes"] * 0.5
    assert seen["process_cpu_seconds_total"] > 0
    assert seen["nightherd_agent_unwritten_batches"] == 0
    assert seen["nightherd_agent_collected_events"] >= 0
    assert seen["nightherd_agent_processes"] > 10
    assert seen["nightherd_agent_events_total"] > 0
