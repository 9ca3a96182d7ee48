"""`agent replay --format auditd` as a program, against a receiver over mTLS."""

import asyncio
import os
import sys
from pathlib import Path

import zstandard

from nightherd.event.v1 import delivery_pb2 as pb
from nightherd.event.v1 import event_pb2 as events
from tests.agent.logs import executed, import_files
from tests.agent.receiver import Receiver, assert_gapless

ROOT = Path(__file__).resolve().parents[2]


class Replays:
    def __init__(self, folder, tls, port):
        tls.authority.issue(folder / "tls", "importer")
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "NIGHTHERD_AGENT_DIR": str(folder / "agent"),
            "NIGHTHERD_AGENT_TLS_DIR": str(folder / "tls"),
            "NIGHTHERD_AGENT_STORE": f"127.0.0.1:{port}",
        }

    async def start(self, *arguments):
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "replay", "--format", "auditd"),
            *("--host-id", "import-1", *arguments),
            env=self._environment,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments):
        process = await self.start(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode(), err.decode()


def received(receiver):
    raw = [
        zstandard.ZstdDecompressor().decompress(receiver.batches[number].body)
        for number in sorted(receiver.batches)
    ]
    return [events.EventBatch.FromString(each) for each in raw]


async def test_a_killed_import_goes_on_and_a_finished_one_does_nothing(tmp_path, tls, free_port):
    log = tmp_path / "audit.log"
    lines = [each for n in range(3000) for each in executed(n, "id", str(n), pid=100 + n)]
    log.write_text("\n".join(lines))
    expected = import_files(log)
    receiver = Receiver()
    replays = Replays(tmp_path, tls, free_port)
    async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
        # It may not go on before the second is acknowledged, so there is time to kill it.
        receiver.limits, receiver.acknowledge = pb.Limits(window=2), False
        first = await replays.start("--events-per-second", "100000", str(log))
        async with asyncio.timeout(60):
            while len(receiver.batches) < 2:
                await asyncio.sleep(0.01)
        first.kill()
        await first.communicate()
        receiver.acknowledge = True
        assert len(receiver.batches) < len(expected.batches)
        status, out, err = await replays.run(str(log))
        assert status == 0, err
        assert "were sealed by an earlier run" in out
        assert f"{len(lines)} records read: {len(lines)} in events, 0 without" in out
        whole = len(receiver.batches)
        again, said, _ = await replays.run(str(log))
        assert again == 0
        assert "replayed 0 events in 0 batches" in said
    assert_gapless(receiver.batches)
    assert len(receiver.batches) == whole == len(expected.batches)
    headers = [pb.BatchHeader.FromString(batch.header) for batch in receiver.batches.values()]
    assert {header.origin for header in headers} == {pb.ORIGIN_IMPORTED}
    assert {header.wall_minus_boot_ns for header in headers} == {0}
    own = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert own not in {header.boot_id for header in headers}
    assert [
        (batch.images[event.actor].arguments[1], event.event_time)
        for batch in received(receiver)
        for event in batch.events
    ] == [
        (batch.images[event.actor].arguments[1], event.event_time)
        for batch in expected.batches
        for event in batch.events
    ]


async def test_what_is_rejected_is_shown_counted_and_the_status(tmp_path, tls, free_port):
    log = tmp_path / "audit.log"
    broken = [f"rubbish {number}" for number in range(100)]
    log.write_text("\n".join([*broken, *executed(7, "id", pid=9)]))
    receiver = Receiver()
    replays = Replays(tmp_path, tls, free_port)
    async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
        status, out, err = await replays.run(str(log))
    assert status == 1
    assert "105 records read: 5 in events, 0 without an event of ours, 100 rejected" in out
    assert "audit.log:1: it names no type: rubbish 0" in err
    assert err.count("not taken") == 20
    ((event,),) = [batch.events for batch in received(receiver)]
    assert event.WhichOneof("kind") == "exec"


async def test_the_host_is_called_what_its_records_call_it(tmp_path, tls, free_port):
    log = tmp_path / "audit.log"
    log.write_text("\n".join(f"node=web-1.example {line}" for line in executed(7, "id", pid=9)))
    receiver = Receiver()
    replays = Replays(tmp_path, tls, free_port)
    async with receiver.serve(tls.identity("store"), f"127.0.0.1:{free_port}"):
        status, _, err = await replays.run(str(log))
        assert status == 0, err
    ((facts, started),) = [batch.events for batch in received(receiver)]
    assert facts.host_facts.hostname == "web-1.example"
    assert (facts.event_time, started.WhichOneof("kind")) == (started.event_time, "exec")


async def test_a_receiver_that_refuses_is_named_with_its_reason(tmp_path, tls, free_port):
    log = tmp_path / "audit.log"
    log.write_text("\n".join(executed(7, "id", pid=9)))
    replays = Replays(tmp_path, tls, free_port)
    # A store would have another role: who answers is not who is meant.
    async with Receiver().serve(tls.identity("modeler"), f"127.0.0.1:{free_port}"):
        status, _, err = await replays.run("--wait", "1", str(log))
    assert status == 4
    assert f"the store at 127.0.0.1:{free_port} does not take it: " in err
