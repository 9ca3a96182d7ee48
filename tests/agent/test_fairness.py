"""One service that says too much is cut short, on this kernel; the others are heard."""

import os

import pytest

from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver
from tests.agent.running import an_agent, changed, gaps, run, told

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]
RUNS = 600


async def test_a_noisy_service_is_cut_short_and_named_and_others_are_heard(
    tmp_path, tls, free_port
):
    receiver = Receiver()
    noisy, quiet = tmp_path / "noisy", tmp_path / "quiet"
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        end = agent.watched / "end"
        noisy.write_text(
            f"#!/bin/sh\ni=0\nwhile [ $i -lt {RUNS} ]; do /bin/true $i; i=$((i+1)); done\n: > {end}\n"
        )
        quiet.write_text("#!/bin/sh\n/bin/uname -a > /dev/null\n")
        for script in (noisy, quiet):
            script.chmod(0o755)
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await agent.start(service_events_per_second="10")
            await receiver.until(
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver)), 60
            )
            await run("/usr/bin/setsid", "-f", str(noisy))
            await receiver.until(lambda: changed(receiver, end), 60)
            await run("/usr/bin/setsid", "-f", str(quiet))
            await receiver.until(
                lambda: any(
                    image is not None
                    and image.executable.endswith(b"/uname")
                    and event.HasField("exec")
                    for image, event in told(receiver)
                ),
                60,
            )
            # Each run is an exec and an exit; the script itself starts, changes a file and ends.
            await receiver.until(lambda: sum(told_and_lost(receiver, noisy)) >= 2 * RUNS)
    seen, lost = told_and_lost(receiver, noisy)
    assert seen + lost <= 2 * RUNS + 8
    assert lost > RUNS
    # Others on this machine may say too much as well.
    assert str(quiet) not in {gap.service for gap in gaps(receiver, events.Gap.CAUSE_THROTTLED)}


def told_and_lost(receiver, script):
    service = str(script)
    seen = sum(
        max(event.count, 1)
        for image, event in told(receiver)
        if image is not None and image.service == service
    )
    throttled = gaps(receiver, events.Gap.CAUSE_THROTTLED)
    return seen, sum(gap.lost for gap in throttled if gap.service == service)
