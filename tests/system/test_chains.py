"""Evidence of the real agent: whole, signed, and told apart when a spool is copied or deleted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.system.database import verified_chains
from tests.system.running import ROOT, environment, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]
MINUTE_NS = 60 * 1_000_000_000


def own_chains(nightherd):
    return [c for c in verified_chains(nightherd) if c.host_id == nightherd.host_id()]


def test_every_chain_verifies_by_a_reader_that_knows_only_the_contract(nightherd):
    nightherd.soon(lambda: own_chains(nightherd))
    for chain in own_chains(nightherd):
        assert chain.faults == []
        assert (chain.first, chain.last) == (1, chain.batches)
        assert chain.signed >= 1
        assert chain.longest_unsigned_ns <= 1.5 * MINUTE_NS
    custody = nightherd.get(f"nightherd/custody/{nightherd.host_id()}")
    assert custody["intact"] is True


def test_the_command_line_verifies_store_and_spool(nightherd):
    own = environment(NIGHTHERD_HOME=str(nightherd.home))
    verify = [sys.executable, "-m", "cli", "verify"]
    online = subprocess.run(
        [*verify, nightherd.host_id()],
        env=own,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (online.returncode, online.stderr) == (0, ""), online
    assert f"{nightherd.host_id()}: intact" in online.stdout
    spool = nightherd.home / "agent" / "spool"
    copy = nightherd.home.parent / "spool-copy"
    with nightherd.paused("agent"):
        shutil.copytree(spool, copy)
    offline = [*verify, "--spool", str(copy)]
    assert (
        subprocess.run(offline, env=own, cwd=ROOT, capture_output=True, check=False).returncode == 0
    )
    segment = min(copy.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    assert (
        subprocess.run(offline, env=own, cwd=ROOT, capture_output=True, check=False).returncode == 1
    )
    shutil.rmtree(copy)


def test_a_deleted_spool_begins_a_second_chain_and_loses_nothing(nightherd):
    settled(nightherd)
    before = own_chains(nightherd)
    nightherd.signal("agent", signal.SIGSTOP)
    shutil.rmtree(nightherd.home / "agent" / "spool")
    nightherd.signal("agent", signal.SIGKILL)
    wait(lambda: len(own_chains(nightherd)) == len(before) + 1, 60)
    after = own_chains(nightherd)
    assert {c.chain_id for c in before} < {c.chain_id for c in after}
    assert [fault for chain in after for fault in chain.faults] == []
    kept = {c.chain_id: c.batches for c in after}
    assert all(kept[c.chain_id] >= c.batches for c in before)


def settled(nightherd) -> None:
    """Wait until the store has what the agent sealed so far."""
    last = [0]

    def quiet() -> bool:
        chains = own_chains(nightherd)
        now = sum(c.batches for c in chains)
        steady, last[0] = now == last[0] and now > 0, now
        time.sleep(0.5)
        return steady

    wait(quiet, 60)


def test_a_spool_on_a_second_agent_is_a_fork_kept_and_flagged(nightherd, place):
    settled(nightherd)
    twin = place / "twin"
    with nightherd.paused("agent"):
        shutil.copytree(nightherd.home / "agent", twin)
    ports = nightherd.ports()
    own = environment(
        NIGHTHERD_AGENT_DIR=str(twin),
        NIGHTHERD_AGENT_TLS_DIR=str(twin / "tls"),
        NIGHTHERD_AGENT_LEVEL="poll",
        NIGHTHERD_AGENT_WATCH_PATHS=json.dumps([str(nightherd.hurry)]),
        NIGHTHERD_AGENT_STORE=f"127.0.0.1:{ports['store']}",
    )
    log = (place / "twin.log").open("wb")
    second = subprocess.Popen(
        [sys.executable, "-m", "agent"], env=own, cwd=ROOT, stdout=log, stderr=log
    )
    try:
        wait(lambda: "watching" in (place / "twin.log").read_text(), 60)
        nightherd.soon(lambda: sum(c.forks for c in own_chains(nightherd)) > 0)
    finally:
        second.terminate()
        second.wait(timeout=60)
        log.close()
    custody = nightherd.get(f"nightherd/custody/{nightherd.host_id()}")
    kinds = {fault["kind"] for chain in custody["chains"] for fault in chain["faults"]}
    assert custody["intact"] is False
    assert "fork" in " ".join(kinds).lower(), kinds
    host = nightherd.get("nightherd/hosts", hostname=nightherd.host_id())[0]
    assert any("fork" in chain["flags"] for chain in host["chains"])
    assert nightherd.get("audits/runtime/host", search="fork")
