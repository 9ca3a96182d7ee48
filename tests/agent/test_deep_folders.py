"""Folders without end made by an ordinary user push nothing out: on this kernel, with the agent."""

import asyncio
import os
import pwd
import secrets
import sys
from pathlib import Path

import pytest

from agent.stages.bounds import MOST_TEXT_BYTES
from chassis.tls import Peer
from delivery.checks import Limits, check
from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver, assert_gapless
from tests.agent.running import HOST_ID, an_agent, changed, gaps, statuses, told

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]
DEPTH = 2600
CRON = Path("/etc/cron.d")
FLOOD = """
import os, sys
at, drop, depth, user = map(int, sys.argv[1:])
os.setgroups([]); os.setgid(user); os.setuid(user)
for number in range(depth):
    os.mkdir("d", dir_fd=at)
    at, above = os.open("d", os.O_RDONLY, dir_fd=at), at
    os.close(above)
    if number == depth // 2:
        os.write(drop, b"# nothing to run\\n")
        os.close(drop)
"""
REMOVE = """
import os, sys
# Paths of it are longer than a path may be: the folders are taken out one by one, from above.
os.chdir(sys.argv[1])
while os.path.isdir("d/d"):
    os.rename("d/d", "e")
    os.rmdir("d")
    os.rename("e", "d")
"""


@pytest.fixture
def cron_file():
    """A crontab that runs nothing, of the list's own entry for them."""
    if not CRON.is_dir():
        pytest.skip(f"this host has no {CRON}")
    file = CRON / f"nightherd-test-{secrets.token_hex(4)}"
    file.write_text("")
    yield file
    file.unlink()


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * 4096 / 1e6


async def python(*arguments: str, **options) -> None:
    """Run Python code to its end, in a process of its own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", *arguments, **options)
    assert await process.wait() == 0


async def flooded(folder: Path, file: Path) -> None:
    """Let an ordinary user make folder in folder, and write to a file that it was handed."""
    user = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, user, user)
    at, drop = os.open(folder, os.O_RDONLY), os.open(file, os.O_WRONLY)
    try:
        await python(FLOOD, str(at), str(drop), str(DEPTH), str(user), pass_fds=(at, drop))
    finally:
        os.close(at)
        os.close(drop)


async def test_a_deep_tree_of_a_user_hides_nothing_and_memory_comes_back(
    tmp_path, tls, free_port, cron_file
):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        key = await agent.enrol()
        deep, end = agent.watched / "deep", agent.watched / "end"
        deep.mkdir()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await agent.start()
            await receiver.until(
                lambda: any(status.self_test_passed for status in statuses(receiver)), 120
            )
            before = rss_mb(agent.process.pid)
            await flooded(deep, cron_file)
            await receiver.until(lambda: changed(receiver, cron_file), 120)
            end.write_text("")
            await receiver.until(lambda: changed(receiver, end), 120)
            # A condition with a generous limit: what was taken is given back every few seconds.
            async with asyncio.timeout(120):
                while rss_mb(agent.process.pid) > before + 16:
                    await asyncio.sleep(0.5)
    await python(REMOVE, str(deep))
    (_, event) = changed(receiver, cron_file)[0]
    assert {change.path for change in event.file_change.changes} == {bytes(cron_file)}
    for batch in receiver.batches.values():
        check(batch, Peer("host", HOST_ID, "default", key), Limits(), decode=True)
    assert receiver.dropped == []
    assert_gapless(receiver.batches)
    assert not gaps(receiver, events.Gap.CAUSE_SPOOL_EVICTION)
    assert not gaps(receiver, events.Gap.CAUSE_GIVEN_UP)
    folders = {
        change.path
        for _, one in told(receiver)
        for change in one.file_change.changes
        if change.path.startswith(bytes(deep) + b"/")
    }
    assert folders
    assert all(len(path) <= MOST_TEXT_BYTES for path in folders)
    # What lies deeper than is watched is said to.
    assert len(folders) >= DEPTH or gaps(receiver, events.Gap.CAUSE_FOLDER_BOUND)
