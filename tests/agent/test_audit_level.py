"""The agent as a program at the audit level, and its way down when a level does not work."""

import os
import subprocess

import pytest

from agent.sensors.audit_netlink import TASK_NEVER, AuditSocket
from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver
from tests.agent.running import an_agent, changed, run, statuses, told
from tests.agent.sensing import sensing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the audit level needs root"),
]


async def test_at_the_audit_level_programs_and_their_files_are_joined(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await agent.start(level="audit")
            await receiver.until(lambda: any(s.self_test_passed for s in statuses(receiver)), 60)
            if statuses(receiver)[-1].level != events.LEVEL_AUDIT:
                pytest.skip(f"no audit level here: {statuses(receiver)[-1].not_seen}")
            # Who executes within a tick of a look is told as inferred, so one of several is exact.
            for attempt in range(8):
                file = agent.watched / f"file-{attempt}"
                pid = await run("/bin/sh", "-c", f"sleep 0.3; echo x > {file}", "audited")
                await receiver.until(lambda file=file: changed(receiver, file))
                (image, event) = changed(receiver, file)[0]
                assert image.pid == pid
                assert image.arguments[-1] == b"audited"
                if event.attribution == events.ATTRIBUTION_EXACT:
                    break
                assert event.attribution == events.ATTRIBUTION_INFERRED
    assert event.attribution == events.ATTRIBUTION_EXACT
    assert any("Forks are not seen" in sentence for sentence in statuses(receiver)[-1].not_seen)


def test_every_change_of_a_short_lived_writer_is_its_own(tmp_path):
    watched = tmp_path / "watched"
    watched.mkdir()
    files, loops = 60, 2
    script = (
        f"i=0; while [ $i -lt {files} ]; do /bin/sh -c 'exec /usr/bin/touch {watched}/'$0-$i;"
        " i=$((i+1)); done"
    )
    with sensing(tmp_path, f"{watched}/**", level="audit") as host:
        if host.sensors.level != "audit":
            pytest.skip(f"no audit level here: {host.sensors.not_seen}")
        writers = [subprocess.Popen(["/bin/sh", "-c", script, str(n)]) for n in range(loops)]
        seen = host.until(lambda: _written(host, files * loops))
        for writer in writers:
            assert writer.wait() == 0
    for image, event in seen:
        assert event.attribution != events.ATTRIBUTION_UNKNOWN
        if event.attribution == events.ATTRIBUTION_EXACT:
            assert image.executable == b"/usr/bin/touch"


def _written(host, count):
    told = host.told("file_change")
    paths = {change.path for _, event in told for change in event.file_change.changes}
    return told if len(paths) >= count else None


async def test_rules_that_blind_it_later_make_it_poll_and_say_so(tmp_path, tls, free_port):
    receiver = Receiver()
    control = AuditSocket()
    added = False
    try:
        async with an_agent(tmp_path, tls, free_port) as agent:
            await agent.enrol()
            async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
                await agent.start(level="audit")
                await receiver.until(
                    lambda: any(s.self_test_passed for s in statuses(receiver)), 60
                )
                if statuses(receiver)[-1].level != events.LEVEL_AUDIT:
                    pytest.skip(f"no audit level here: {statuses(receiver)[-1].not_seen}")
                added = control.add_rule(TASK_NEVER)
                await receiver.until(lambda: statuses(receiver)[-1].level == events.LEVEL_POLL, 60)
    finally:
        if added:
            control.delete_rule(TASK_NEVER)
        control.close()
    said = " ".join(sentence for status in statuses(receiver) for sentence in status.not_seen)
    assert "task,never" in said
    blind = [e.gap for _, e in told(receiver) if e.gap.cause == events.Gap.CAUSE_SENSOR_BLIND]
    assert blind[0].source == "audit"
