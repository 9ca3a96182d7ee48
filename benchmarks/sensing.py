"""Sensing alone: `python -m benchmarks.sensing` opens the sensors and drains them, till SIGTERM.

What it costs less than the agent is the rest of the agent: who, fold, redact, seal, spool, ship.
"""

import gc
import signal
import sys
import time

from agent.pipeline import TICK_S
from agent.sensors import folders, open_sensors, watchlist
from agent.sensors.records import LossRecord, ProcessRecord


def main() -> None:
    """Drain as often as the agent does; print the level, and at the end what was seen and lost."""
    sensors = open_sensors("full", folders.of_this_host(watchlist.load()))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the agent does
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    print(sensors.level, flush=True)
    executions = lost = 0
    try:
        ending = False
        while not ending:
            ending = bool(ended)  # and then once more: what came until then
            for sensor in sensors.sensors:
                for record in sensor.drain():
                    if isinstance(record, ProcessRecord):
                        executions += record.kind == "exec"
                    elif isinstance(record, LossRecord):
                        lost += record.lost or 1
            time.sleep(TICK_S)
    finally:
        sensors.close()
    print(executions, lost, flush=True)


if __name__ == "__main__":
    sys.exit(main())
