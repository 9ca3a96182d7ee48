"""What the agent itself costs, and what waits in it: for its status, and for /metrics.

Memory and CPU since start stand in /metrics as `process_resident_memory_bytes` and
`process_cpu_seconds_total`, as for every program.
"""

import resource
from collections.abc import Sequence
from functools import partial

import psutil

from agent.pipeline import Pipeline
from agent.ship import Shipper
from agent.spool import Spool
from chassis.counters import Gauge
from nightherd.event.v1 import event_pb2 as events

peak_gauge = Gauge("nightherd_agent_peak_rss_bytes", "Highest resident memory since start")
collected_gauge = Gauge("nightherd_agent_collected_events", "Events not sealed yet")
unwritten_gauge = Gauge(
    "nightherd_agent_unwritten_batches", "Batches sealed that the disk has not taken yet"
)
behind_gauge = Gauge(
    "nightherd_agent_batches_behind", "Batches that a receiver has not settled", ["receiver"]
)
connected_gauge = Gauge(
    "nightherd_agent_connected", "1 while a receiver's stream is open", ["receiver"]
)


class Cost:
    """Reads what one agent uses."""

    def __init__(self, pipeline: Pipeline, spool: Spool, shippers: Sequence[Shipper]) -> None:
        """Read it of this pipeline, this spool, these shippers."""
        self._pipeline, self._spool, self._shippers = pipeline, spool, shippers
        self._own = psutil.Process()

    def serve(self) -> None:
        """Let /metrics show it, as it is when it is asked for."""
        peak_gauge.set_function(_peak_rss_bytes)
        collected_gauge.set_function(lambda: self._pipeline.collected)
        unwritten_gauge.set_function(lambda: self._pipeline.unwritten)
        for shipper in self._shippers:
            name = shipper.name
            behind_gauge.labels(name).set_function(partial(self._behind, name))
            connected_gauge.labels(name).set_function(partial(_connected, shipper))

    def fill(self, status: events.AgentStatus) -> None:
        """Put it into a status."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        hashing_cpu_ms, hashing_rss_bytes = self._hashing()
        status.rss_bytes = self._own.memory_info().rss + hashing_rss_bytes
        status.peak_rss_bytes = max(_peak_rss_bytes(), status.rss_bytes)
        status.cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1000) + hashing_cpu_ms
        status.events = self._pipeline.event_count
        status.lost = self._pipeline.lost_count
        status.spool_bytes = self._spool.size_bytes
        status.collected = self._pipeline.collected
        status.unwritten_batches = self._pipeline.unwritten
        status.processes = len(self._pipeline.identifier.processes)
        for shipper in self._shippers:
            status.receivers.add(
                name=shipper.name, behind=self._behind(shipper.name), connected=shipper.connected
            )

    def _hashing(self) -> tuple[int, int]:
        """Return CPU time in ms and memory in bytes of the process that hashes; 0: none does."""
        hashing = self._pipeline.hashing
        if hashing is None or not (pid := hashing.pid):
            return 0, 0
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            return int((times.user + times.system) * 1000), process.memory_info().rss
        except psutil.Error:
            return 0, 0

    def _behind(self, receiver: str) -> int:
        return self._spool.link.number - self._spool.cursors[receiver]


def _connected(shipper: Shipper) -> float:
    return float(shipper.connected)


def _peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
