"""`kill -9` of everything, again and again, while recorded events stream: as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agent import segments
from tests.system.database import connected
from tests.system.recording import record
from tests.system.running import ROOT, Running, environment, wait
from tests.system.verifier import verify

HOST = "import-drill"
SERVICES = ("store", "modeler", "detector")


def replay(running: Running, recorded: Path, rate: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "cli", "replay", "--host-id", HOST, "--rate", str(rate)]
    log = (running.home.parent / f"{running.home.name}.replay.log").open("ab")
    with log:
        return subprocess.Popen(
            [*command, str(recorded)],
            env=environment(NIGHTHERD_HOME=str(running.home)),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )


def replaying(process: subprocess.Popen) -> int:
    """The pid of the agent that a replay started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(wait(lambda: children.read_text().split())[0])


def sealed(running: Running) -> int:
    """Last number in the replay's spool."""
    newest = sorted((running.home / "imports" / HOST / "spool").glob("*.seg"))[-1:]
    return max((r.header.batch_number for path in newest for r in segments.read(path)), default=0)


def settled(running: Running) -> int:
    """What the slowest of the three has, by their own databases."""
    with connected(running) as client:
        found = []
        for name in SERVICES:
            row = client[f"nightherd_{name}"]["chains"].find_one({"_id": {"$regex": HOST}})
            found.append((row or {}).get("settled", 0))
        return min(found)


def result(running: Running) -> dict:
    """Everything that must be the same whatever happened on the way."""
    with connected(running) as client:
        chains = [c for c in verify(client["nightherd_store"], {}) if c.host_id == HOST]
        assert [fault for chain in chains for fault in chain.faults] == []
        assert len(chains) == 1
        behaviours = sorted(
            (d["_id"] if isinstance(d["_id"], str) else str(d["_id"]))
            for d in client["nightherd_modeler"]["behaviours"].find({}, {"_id": True})
        )
    with running.open("nightherd/batches", host=HOST) as answer:
        bodies = [json.loads(line) for line in answer]
    kinds = Counter(
        next(k for k in ("exec", "fileChange") if k in event)
        for body in bodies
        for event in body["events"]
    )
    return {
        "batches": [body["batch"] for body in bodies],
        "events": kinds,
        "activities": sorted(
            (a["type"], a["command"], a["user"], tuple(a["modifiedFiles"]))
            for a in running.every("forensic/activities")
        ),
        "alerts": sorted(
            (a["attackType"], a["user"], a["count"]) for a in running.every("audits/runtime/host")
        ),
        "behaviours": behaviours,
    }


def finish(process: subprocess.Popen, running: Running, timeout_s: float) -> None:
    status = process.wait(timeout=timeout_s)
    assert status == 0, (running.home.parent / f"{running.home.name}.replay.log").read_text()[
        -2000:
    ]


def kill_all(running: Running, process: subprocess.Popen, recorded: Path, rate: float, rounds: int):
    """Kill each once a round, with batches unacknowledged; return the replay that runs at the end.

    That one goes as fast as it can: the rate is there to leave time for killing.
    """
    until_more_is_sealed(running, 0, process)  # it seals when it has reached all
    for left in reversed(range(rounds)):
        for name in ("store", "detector", "modeler", "mongod", "gateway", "agent"):
            held = running.child("store" if name in ("agent", "gateway") else name)
            victim = replaying(process) if name == "agent" else running.child(name)
            assert held
            assert victim
            # Held still for a moment: what is sealed meanwhile is not acknowledged by it.
            os.kill(held, signal.SIGSTOP)
            before = sealed(running)
            under_way = until_more_is_sealed(running, before, process)
            assert under_way > before, "no batch was under way"
            os.kill(victim, signal.SIGKILL)
            if held != victim:
                os.kill(held, signal.SIGCONT)
            if name == "agent":
                process.wait(timeout=60)
                before = sealed(running)
                process = replay(running, recorded, rate if left else 0)
                if left:
                    until_more_is_sealed(running, before, process)
            else:
                until_another_runs(running, name, victim)
    return process


def until_more_is_sealed(running: Running, before: int, process: subprocess.Popen) -> int:
    wait(lambda: sealed(running) > before or process.poll() is not None)
    assert process.poll() is None, "the stream was over before everything was killed"
    return sealed(running)


def until_another_runs(running: Running, name: str, victim: int) -> None:
    wait(lambda: running.child(name) not in (0, victim), 60)


@pytest.mark.parametrize(
    ("batches", "rate", "rounds"),
    [
        pytest.param(60, 500, 1, id="once each"),
        pytest.param(
            300,
            2500,
            3,
            marks=[pytest.mark.drill, pytest.mark.timeout(900)],
            id="three times each, 120,000 events",
        ),
    ],
)
@pytest.mark.system
@pytest.mark.timeout(400)
def test_killed_or_not_the_result_is_the_same(tmp_path, batches, rate, rounds):
    recorded = tmp_path / "recorded.seg"
    total = record(recorded, batches, 400)
    results = []
    for kills in (0, rounds):
        running = Running(tmp_path / f"home{kills}", "--no-agent").until_up()
        try:
            process = replay(running, recorded, 0 if not kills else rate)
            began = time.monotonic()
            if kills:
                process = kill_all(running, process, recorded, rate, kills)
            finish(process, running, 300)
            print(f"\n{total} events, {kills} rounds of kills: {time.monotonic() - began:.1f} s")
            wait(lambda running=running: settled(running) == batches, 120)
            results.append(result(running))
        finally:
            running.close()
    assert results[0]["batches"] == list(range(1, batches + 1))
    assert sum(results[0]["events"].values()) == total
    assert len(results[0]["activities"]) >= batches // 5
    assert results[0]["alerts"]
    assert results[0]["behaviours"]
    assert results[1] == results[0]
