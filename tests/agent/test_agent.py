"""The agent as a program, on this kernel, against a receiver over mTLS."""

import asyncio
import hashlib
import os
import signal

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.spool import Spool
from chassis import clock
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.agent.logins import UID, session
from tests.agent.receiver import Receiver, assert_gapless
from tests.agent.running import HOST_ID, an_agent, changed, gaps, pids_above, run, spooled, told
from tests.agent.sealing import append

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]


async def test_what_happens_arrives_and_nothing_is_lost_by_kill_and_restart(
    tmp_path, tls, free_port
):
    receiver = Receiver()
    identity = tls.identity("store")
    address = f"127.0.0.1:{free_port}"
    async with an_agent(tmp_path, tls, free_port) as agent:
        key = await agent.enrol()
        await agent.start()
        async with receiver.serve(identity, address):
            await receiver.until(
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver))
            )
            file = agent.watched / "one"
            began = clock.wall_ns()
            pid = await run("/bin/sh", "-c", f"echo x > {file}", "--password=hunter2")
            await receiver.until(lambda: changed(receiver, file))
            print(f"from the change to the receiver: {(clock.wall_ns() - began) // 1_000_000} ms")
            image, event = changed(receiver, file)[0]
            assert image.pid == pid
            assert pids_above(receiver, image)[:2] == [os.getpid(), os.getppid()]
            if event.attribution != events.ATTRIBUTION_EXACT:
                # It was forked, executed and wrote within a tick: its fork may have written.
                assert event.attribution == events.ATTRIBUTION_INFERRED
                assert len(event.file_change.candidate_exec_ids) == 2
                assert image.exec_id in event.file_change.candidate_exec_ids
            assert image.arguments[1:] == [
                b"-c",
                f"echo x > {file}".encode(),
                b"--password=[redacted]",
            ]
        # The receiver is down: what happens now waits in the spool, through a kill.
        waiting = agent.watched / "two"
        await run("/bin/sh", "-c", f"echo x > {waiting}")
        spool = tmp_path / "agent" / "spool"
        await receiver.until(lambda: bytes(waiting) in spooled(spool))
        before = receiver.next
        await agent.end(signal.SIGKILL)
        await agent.start()
        async with receiver.serve(identity, address):
            await receiver.until(lambda: changed(receiver, waiting))
            await receiver.until(lambda: gaps(receiver, events.Gap.CAUSE_AGENT_DOWN))
            assert await agent.end(signal.SIGTERM) == 0
        assert receiver.next > before
        assert_gapless(receiver.batches)
        for batch in receiver.batches.values():
            Ed25519PublicKey.from_public_bytes(key).verify(
                batch.signature, hashlib.sha256(batch.header).digest()
            )
        states = [event.agent_status.state for _, event in told(receiver)]
        assert events.AgentStatus.STATE_STOPPING in states
        assert any(event.host_facts.kernel == os.uname().release for _, event in told(receiver))
        everything = b"".join(path.read_bytes() for path in spool.glob("*.seg")) + spooled(spool)
        assert b"hunter2" not in everything


async def test_a_stopped_agent_says_so_afterwards(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches)
            agent.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2.6)
            agent.process.send_signal(signal.SIGCONT)
            await receiver.until(lambda: gaps(receiver, events.Gap.CAUSE_AGENT_STALLED))
            gap = gaps(receiver, events.Gap.CAUSE_AGENT_STALLED)[0]
            length = clock.from_timestamp(gap.end_time) - clock.from_timestamp(gap.start_time)
            assert length > 2_000_000_000


async def test_at_the_poll_level_actors_are_guessed_and_it_says_so(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start(level="poll")
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver))
            )
            # A guess takes the likeliest of those that were seen: on a busy host not always the right.
            for number in range(5):
                file = agent.watched / f"guessed-{number}"
                pid = await run("/bin/sh", "-c", f"echo x > {file}; sleep 2")
                await receiver.until(lambda file=file: changed(receiver, file))
                image, event = changed(receiver, file)[0]
                if image is not None and image.pid == pid:
                    break
            assert event.attribution == events.ATTRIBUTION_INFERRED
            assert image.pid == pid
            assert image.exec_id in event.file_change.candidate_exec_ids
            status = next(e.agent_status for _, e in told(receiver) if e.HasField("agent_status"))
            assert status.level == events.LEVEL_POLL
            assert any("guessed" in sentence for sentence in status.not_seen)


@pytest.mark.parametrize("terminal", [True, False])
async def test_who_logged_in_is_known_through_setsid_and_shells(tmp_path, tls, free_port, terminal):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches)
            file = agent.watched / "by-a-person"
            script = f"setsid /bin/sh -c 'echo x > {file}'"
            await asyncio.to_thread(session(script, terminal=terminal).wait)
            await receiver.until(lambda: changed(receiver, file))
            image, _ = changed(receiver, file)[0]
            assert image.login_user_id == UID
            assert image.service == ""
            assert image.provenance == (
                events.PROVENANCE_INTERACTIVE if terminal else events.PROVENANCE_SCRIPTED
            )
            starts = [e.session_start for _, e in told(receiver) if e.HasField("session_start")]
            assert image.session_id in {start.session_id for start in starts}
            await receiver.until(
                lambda: (
                    image.session_id
                    in {
                        e.session_end.session_id
                        for _, e in told(receiver)
                        if e.HasField("session_end")
                    }
                )
            )


async def test_a_recording_replayed_becomes_a_chain_of_its_own(tmp_path, tls, free_port):
    recorded = Spool(tmp_path / "recorded")
    append(recorded, 5)
    recorded.close()
    receiver = Receiver()
    async with (
        receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"),
        an_agent(tmp_path, tls, free_port) as agent,
    ):
        tls.authority.issue(tmp_path / "tls", "importer")
        segment = next((tmp_path / "recorded").glob("*.seg"))
        process = await agent.call("replay", str(segment), "--host-id", HOST_ID)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert_gapless(receiver.batches)
    headers = [pb.BatchHeader.FromString(batch.header) for batch in receiver.batches.values()]
    assert {header.host_id for header in headers} == {HOST_ID}
    assert {header.origin for header in headers} == {pb.ORIGIN_IMPORTED}
    assert sum(header.event_count for header in headers) == 5
