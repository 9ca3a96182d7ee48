"""The tests of the agent that need a kernel, run inside a guest: each stock kernel is another one."""

import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from tests.lab.payload import GUEST

SHORT = ("sensors/test_bpf.py", "sensors/test_fanotify.py")
LIMIT_S = 3000
FEWEST = 100
"""Fewer of them cannot have been all."""


@pytest.fixture
def quiet(host):
    """No agent and no audit daemon beside them: one at a time can have audit's place."""
    host.run(
        "systemctl stop nightherd-agent 2> /dev/null\n"
        "systemctl kill auditd; while pidof -q auditd; do sleep 0.5; done"
    )
    yield
    host.run("systemctl start auditd")


@pytest.mark.timeout(LIMIT_S + 600)
def test_the_kernel_tests_of_the_agent_pass_inside(host, quiet, request):
    short = request.config.getoption("--short")
    where = " ".join(f"tests/agent/{each}" for each in SHORT) if short else "tests/agent"
    # A time-out for each test that fits a guest; what they leave in /tmp is their own.
    status, said = host.tried(
        f"cd {GUEST}/checkout && TEST_PATIENCE=6 PYTHONPATH=.:gen:{GUEST}/site python3 -m pytest -m kernel {where} "
        "-v -p no:cacheprovider -o timeout=900 --junitxml=/root/sensors.xml > /root/sensors.log 2>&1",
        limit_s=LIMIT_S,
    )
    said = host.run("tail -c 30000 /root/sensors.log") + said
    cases = ET.fromstring(host.run("cat /root/sensors.xml")).findall(".//testcase")
    outcomes = Counter(_outcome(case) for case in cases)
    skips = Counter(each.get("message") for case in cases for each in case.findall("skipped"))
    print(f"\n{host.name}: {dict(outcomes)}")
    for case in cases:
        for fault in (*case.findall("failure"), *case.findall("error")):
            name = f"{case.get('classname')}::{case.get('name')}"
            print(f"  FAILED {name}: {' '.join(fault.get('message', '').split())[:300]}")
    for reason, count in skips.most_common():
        print(f"  skipped {count}: {reason}")
    assert status == 0, said
    assert outcomes["passed"] >= (10 if short else FEWEST)


def _outcome(case: ET.Element) -> str:
    for kind in ("failure", "error", "skipped"):
        if case.find(kind) is not None:
            return kind
    return "passed"
