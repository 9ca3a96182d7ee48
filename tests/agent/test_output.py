"""What is lost between sealing and shipping is told, with its count and where it was lost."""

import secrets
from contextlib import suppress

import zstandard
from prometheus_client import REGISTRY

from agent.output import Output
from agent.spool import Spool
from agent.stages.budget import Budgets
from agent.stages.seal import Host, Sealer
from chassis import clock
from nightherd.event.v1 import event_pb2 as events
from tests.agent.sealing import KEY
from tests.agent.spools import SMALL, a_disk, needs_root
from tests.builders import BOOT, HOST


def output_into(spool: Spool) -> Output:
    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    return Output(spool, sealer, lambda: None, Budgets(0))


def lost_by_spool() -> float:
    return REGISTRY.get_sample_value("nightherd_agent_lost_total", {"source": "spool"}) or 0


def seal_one(output: Output, name: str, labels=()) -> None:
    output.tell(events.Event(host_facts=events.HostFacts(hostname=name, labels=labels)))
    output.finish()


def gaps_in(spool: Spool) -> list[events.Gap]:
    found = []
    for number in range(spool.first, spool.link.number + 1):
        raw = zstandard.ZstdDecompressor().decompress(spool.read(number).body)
        found += [e.gap for e in events.EventBatch.FromString(raw).events if e.HasField("gap")]
    return found


def test_what_the_quota_took_is_told_and_counted_by_source(tmp_path):
    spool = Spool(tmp_path, quota_bytes=16_000, segment_bytes=SMALL)
    output, before, sealed = output_into(spool), lost_by_spool(), 0
    while not output.lost_count:
        seal_one(output, f"host{sealed}")
        sealed += 1
    output.finish()
    gap = gaps_in(spool)[0]
    assert gap.cause == events.Gap.CAUSE_SPOOL_EVICTION
    assert gap.precision == events.Gap.PRECISION_EXACT
    assert gap.lost == output.lost_count == spool.missing("store", 1).event_count
    assert 0 < clock.from_timestamp(gap.start_time) <= clock.from_timestamp(gap.end_time)
    assert lost_by_spool() - before == output.lost_count
    spool.close()


@needs_root
def test_what_the_disk_does_not_take_waits_and_goes_to_disk_later(tmp_path):
    with a_disk(tmp_path / "disk", "size=64k") as folder:
        spool = Spool(folder)
        output = output_into(spool)
        seal_one(output, "first")
        filler = tmp_path / "disk" / "filler"
        with suppress(OSError):
            filler.write_bytes(bytes(64 << 10))
        noise = [secrets.token_hex(32) for _ in range(100)]
        for number in range(3):
            seal_one(output, f"waits{number}", noise)
        assert (output.unwritten, spool.link.number) == (3, 1)
        filler.unlink()
        output.advance(clock.boot_ns())
        assert (output.unwritten, spool.link.number) == (0, 4)
        assert output.lost_count == 0
        spool.close()
