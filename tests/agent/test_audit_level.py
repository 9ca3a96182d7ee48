"""The agent as a program at the audit level, and its way down when a level does not work."""

import os

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver
from tests.agent.test_agent import an_agent, changed, run, told

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the audit level needs root"),
]


def statuses(receiver):
    return [event.agent_status for _, event in told(receiver) if event.HasField("agent_status")]


async def test_at_the_audit_level_programs_and_their_files_are_joined(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await agent.start(level="audit")
            await receiver.until(lambda: any(s.self_test_passed for s in statuses(receiver)), 60)
            if statuses(receiver)[-1].level != events.LEVEL_AUDIT:
                pytest.skip(f"no audit level here: {statuses(receiver)[-1].not_seen}")
            file = agent.watched / "one"
            pid = await run("/bin/sh", "-c", f"echo x > {file}", "audited")
            await receiver.until(lambda: changed(receiver, file))
    (image, event) = changed(receiver, file)[0]
    assert image.pid == pid
    assert event.attribution == events.ATTRIBUTION_EXACT
    assert image.arguments[-1] == b"audited"
    assert any("Forks are not seen" in sentence for sentence in statuses(receiver)[-1].not_seen)
