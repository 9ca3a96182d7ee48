"""The agent as a program, on this kernel, against a receiver over mTLS."""

import asyncio
import os
import signal
import socket
import sys
import urllib.request
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zstandard
from prometheus_client.parser import text_string_to_metric_families

from chassis import clock
from evidence.lineage import Lineage
from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.agent.receiver import Receiver, assert_gapless

ROOT = Path(__file__).resolve().parents[2]
HOST_ID = uuid.uuid4().hex

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="the agent's full level needs root"),
]


class Agent:
    def __init__(self, folder: Path, tls, port: int) -> None:
        self._folder, self._tls, self._port = folder, tls, port
        self._more: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.begin: list[str] = []
        """What the command begins with: who runs the agent as somebody else."""
        self.watched = folder / "watched"
        self.watched.mkdir()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "NIGHTHERD_AGENT_DIR": str(self._folder / "agent"),
            "NIGHTHERD_AGENT_TLS_DIR": str(self._folder / "tls"),
            "NIGHTHERD_AGENT_STORE": f"127.0.0.1:{self._port}",
            "NIGHTHERD_AGENT_WATCH_PATHS": f'["{self.watched}"]',
        } | self._more

    async def enrol(self) -> bytes:
        process = await self._run("--print-signing-key", stdout=asyncio.subprocess.PIPE)
        key = bytes.fromhex((await process.communicate())[0].decode())
        self._tls.authority.issue(
            self._folder / "tls", "host", host_id=HOST_ID, herd="default", signing_key=key
        )
        return key

    async def _run(self, *arguments, **options):
        return await asyncio.create_subprocess_exec(
            *self.begin,
            sys.executable,
            "-m",
            "agent",
            *arguments,
            env=self._environment(),
            cwd=ROOT,
            **options,
        )

    async def start(self, **settings) -> None:
        self._more = {f"NIGHTHERD_AGENT_{name.upper()}": value for name, value in settings.items()}
        self.process = await self._run()

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def an_agent(folder, tls, port):
    agent = Agent(folder, tls, port)
    try:
        yield agent
    finally:
        if agent.process is not None and agent.process.returncode is None:
            agent.process.kill()
            await agent.process.wait()


def bodies(receiver: Receiver):
    for number in sorted(receiver.batches):
        raw = zstandard.ZstdDecompressor().decompress(receiver.batches[number].body)
        yield events.EventBatch.FromString(raw)


def pids_above(receiver: Receiver, image: events.Image) -> list[int]:
    """What stands above an image, nearest first."""
    body = next(body for body in bodies(receiver) if image in body.images)
    return [ancestor.pid for ancestor in Lineage(body).above(image)]


def told(receiver: Receiver):
    """Every (image or None, event) the receiver has, in order."""
    for body in bodies(receiver):
        for event in body.events:
            yield (body.images[event.actor] if event.HasField("actor") else None), event


def changed(receiver: Receiver, path: Path):
    return [
        (image, event)
        for image, event in told(receiver)
        if any(change.path == bytes(path) for change in event.file_change.changes)
    ]


def gaps(receiver: Receiver, cause) -> list[events.Gap]:
    return [event.gap for _, event in told(receiver) if event.gap.cause == cause]


def statuses(receiver: Receiver) -> list[events.AgentStatus]:
    return [event.agent_status for _, event in told(receiver) if event.HasField("agent_status")]


async def run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()
    return process.pid


async def test_what_happens_arrives_and_nothing_is_lost_by_kill_and_restart(
    tmp_path, tls, free_port
):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    receiver = Receiver()
    identity = tls.identity("store")
    address = f"127.0.0.1:{free_port}"
    async with an_agent(tmp_path, tls, free_port) as agent:
        key = await agent.enrol()
        await agent.start()
        async with receiver.serve(identity, address):
            await receiver.until(
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver)), 40
            )
            file = agent.watched / "one"
            began = clock.wall_ns()
            pid = await run("/bin/sh", "-c", f"echo x > {file}", "--password=hunter2")
            await receiver.until(lambda: changed(receiver, file))
            print(f"from the change to the receiver: {(clock.wall_ns() - began) // 1_000_000} ms")
            image, event = changed(receiver, file)[0]
            assert image.pid == pid
            assert pids_above(receiver, image)[:2] == [os.getpid(), os.getppid()]
            assert event.attribution == events.ATTRIBUTION_EXACT
            assert image.arguments[1:] == [
                b"-c",
                f"echo x > {file}".encode(),
                b"--password=[redacted]",
            ]
        # The receiver is down: what happens now waits in the spool, through a kill.
        waiting = agent.watched / "two"
        await run("/bin/sh", "-c", f"echo x > {waiting}")
        spool = tmp_path / "agent" / "spool"
        await receiver.until(lambda: bytes(waiting) in _bodies(spool))
        before = receiver.next
        await agent.end(signal.SIGKILL)
        await agent.start()
        async with receiver.serve(identity, address):
            await receiver.until(lambda: changed(receiver, waiting), 40)
            await receiver.until(lambda: gaps(receiver, events.Gap.CAUSE_AGENT_DOWN))
            assert await agent.end(signal.SIGTERM) == 0
        assert receiver.next > before
        assert_gapless(receiver.batches)
        for batch in receiver.batches.values():
            import hashlib

            Ed25519PublicKey.from_public_bytes(key).verify(
                batch.signature, hashlib.sha256(batch.header).digest()
            )
        states = [event.agent_status.state for _, event in told(receiver)]
        assert events.AgentStatus.STATE_STOPPING in states
        assert any(event.host_facts.kernel == os.uname().release for _, event in told(receiver))
        everything = b"".join(path.read_bytes() for path in spool.glob("*.seg")) + _bodies(spool)
        assert b"hunter2" not in everything


def _bodies(spool: Path) -> bytes:
    from agent import segments

    return b"".join(
        zstandard.ZstdDecompressor().decompress(record.batch.body)
        for path in sorted(spool.glob("*.seg"))
        for record in segments.read(path)
    )


async def test_a_stopped_agent_says_so_afterwards(tmp_path, tls, free_port):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches, 40)
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
                lambda: any(event.agent_status.self_test_passed for _, event in told(receiver)), 40
            )
            file = agent.watched / "guessed"
            pid = await run("/bin/sh", "-c", f"echo x > {file}; sleep 2.5")
            await receiver.until(lambda: changed(receiver, file))
            image, event = changed(receiver, file)[0]
            assert event.attribution == events.ATTRIBUTION_INFERRED
            assert image.pid == pid
            assert image.exec_id in event.file_change.candidate_exec_ids
            status = next(e.agent_status for _, e in told(receiver) if e.HasField("agent_status"))
            assert status.level == events.LEVEL_POLL
            assert any("guessed" in sentence for sentence in status.not_seen)


def _login(session_user: int, terminal: bool, command: list[str]) -> None:
    """Become a session of `session_user` as pam_loginuid makes one, and run `command` in it."""
    import pty

    Path("/proc/self/loginuid").write_text(str(session_user))
    pid = pty.fork()[0] if terminal else os.fork()
    if pid == 0:
        os.execv(command[0], command)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


@pytest.mark.parametrize("terminal", [True, False])
async def test_who_logged_in_is_known_through_setsid_and_shells(tmp_path, tls, free_port, terminal):
    receiver = Receiver()
    async with an_agent(tmp_path, tls, free_port) as agent:
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches, 40)
            file = agent.watched / "by-a-person"
            code = (
                "import sys; sys.path[:0] = [{!r}, {!r}]\n"
                "from tests.agent.test_agent import _login\n"
                "_login(4242, {!r}, ['/bin/sh', '-c', 'setsid /bin/sh -c \"echo x > {}\"'])"
            ).format(str(ROOT), str(ROOT / "gen"), terminal, file)
            await run(sys.executable, "-c", code)
            await receiver.until(lambda: changed(receiver, file))
            image, _ = changed(receiver, file)[0]
            assert image.login_user_id == 4242
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
            await receiver.until(lambda: receiver.batches, 40)
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
                40,
            )
            await run("/bin/sh", "-c", f"echo x > {asked}/three; sleep 2")
            await receiver.until(lambda: changed(receiver, asked / "three"))
            _, event = changed(receiver, asked / "three")[0]
            assert event.attribution == events.ATTRIBUTION_INFERRED
        receiver.directive = pb.Directive()
        async with receiver.serve(identity, address):
            await receiver.until(
                lambda: next(
                    event.agent_status.level != events.LEVEL_POLL
                    for _, event in reversed([*told(receiver)])
                    if event.HasField("agent_status")
                ),
                40,
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
            await receiver.until(lambda: receiver.batches, 40)
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
        await agent.enrol()
        await agent.start()
        async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
            await receiver.until(lambda: receiver.batches, 40)
            (agent.watched / "config").write_text("x")
            await run("mount", "-t", "tmpfs", "none", str(agent.watched))
            try:
                file = agent.watched / "on-the-new-one"

                async def told_of_it() -> bool:
                    await run("/bin/sh", "-c", f"echo x > {file}")
                    await asyncio.sleep(0.3)
                    return bool(changed(receiver, file))

                async with asyncio.timeout(20):
                    while not await told_of_it():
                        pass
                image, event = changed(receiver, file)[0]
                assert event.attribution == events.ATTRIBUTION_EXACT
                assert image.arguments[0] == b"/bin/sh"
            finally:
                await run("umount", str(agent.watched))
            other = tmp_path / "other"
            other.write_text("y")
            await run("mount", "--bind", str(other), str(agent.watched / "config"))
            try:
                await receiver.until(
                    lambda: any("mounted over it" in s for s in statuses(receiver)[-1].not_seen)
                )
            finally:
                await run("umount", str(agent.watched / "config"))
            await receiver.until(lambda: not statuses(receiver)[-1].not_seen)


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_the_agent_says_what_it_costs_and_who_is_behind(tmp_path, tls, free_port):
    receiver = Receiver()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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


async def test_a_recording_replayed_becomes_a_chain_of_its_own(tmp_path, tls, free_port):
    from agent.spool import Spool
    from tests.agent.sealing import append

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
        process = await agent._run("replay", str(segment), "--host-id", HOST_ID)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert_gapless(receiver.batches)
    headers = [pb.BatchHeader.FromString(batch.header) for batch in receiver.batches.values()]
    assert {header.host_id for header in headers} == {HOST_ID}
    assert {header.origin for header in headers} == {pb.ORIGIN_IMPORTED}
    assert sum(header.event_count for header in headers) == 5
