"""What the identifier holds must not grow with what has run."""

import gc

from agent.processes import KEPT_NS, Process
from tests.agent.stages.host import Host


def held() -> int:
    return sum(type(each) is Process for each in gc.get_objects())


def test_a_forgotten_process_goes_at_once_without_a_search_for_cycles(tmp_path):
    host = Host(tmp_path / "passwd")
    shell = host.daemon("/bin/sh")
    gc.collect()
    gc.disable()
    try:
        before = held()
        for number in range(50):
            pid, _ = host.run(shell, "/bin/true", str(number))
            host.exit(pid)
            host.exit(host.fork(shell))
        assert held() == before + 100  # ended ones can be named for a while
        host.identifier.forget(host.now + KEPT_NS)
        assert held() == before
    finally:
        gc.enable()
