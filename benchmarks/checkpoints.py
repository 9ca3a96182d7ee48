"""What the checkpoints cost the host: `python -m benchmarks.checkpoints [ROUNDS] [SECONDS]`.

The eBPF programs alone, attached and not, in turns; the least time of many. Needs root and a C
compiler, or the folder of loads compiled elsewhere in LOADS.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from agent.sensors.bpf import BpfSensor
from benchmarks import slowdown
from benchmarks.loads import Loads


def main() -> None:
    """Measure, and print nanoseconds with and without, and the difference in percent."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1
    least = slowdown.Least()
    with tempfile.TemporaryDirectory() as folder:
        loads = Loads(Path(os.environ.get("LOADS", folder)), built="LOADS" in os.environ)
        for _ in range(rounds):
            slowdown.measure(loads, seconds, least.without)
            began = time.monotonic()
            sensor = BpfSensor()
            loaded = time.monotonic() - began
            slowdown.measure(loads, seconds, least.with_agent)
            sensor.close()
    print(f"loading takes {loaded:.2f} s; refused: {', '.join(sensor.refused) or 'none'}")
    for kind in slowdown.TARGETS:
        with_, without = least.with_agent[kind], least.without[kind]
        print(f"{kind:9} {without:9.0f} -> {with_:9.0f} ns  {least.percent(kind):+.1f} %")


if __name__ == "__main__":
    main()
