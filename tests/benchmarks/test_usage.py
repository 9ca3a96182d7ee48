"""What is read of a process, against what this one surely did."""

import os
import time

from benchmarks import usage


def test_cpu_that_was_spent_is_seen_and_waiting_is_not():
    meter = usage.Meter(os.getpid())
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    spent = meter.percent(1.0)
    assert 25 <= spent <= 60
    time.sleep(0.1)
    assert meter.percent(1.0) - spent <= 5


def test_memory_is_told_in_megabytes():
    memory = usage.memory_mb(os.getpid())
    assert set(memory) == {"VmRSS", "VmHWM", "Pss"}
    assert 5 < memory["VmRSS"] <= memory["VmHWM"]
    assert memory["Pss"] <= memory["VmRSS"] + 1
