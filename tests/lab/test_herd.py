"""Three hosts with three kernels, enrolled by the how-to, and a backend here: nothing is lost."""

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import legs, pages, recipe
from tests.lab.host import Host
from tests.lab.payload import GUEST
from tests.system.running import ROOT, Running, environment, wait

HERE = "10.0.2.2"
"""127.0.0.1 of this machine, as a guest reaches it."""
HERD = "web"
MARKS = 25
INSTALL_S = 1200

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what `nightherd up` drops"),
]


class Backend:
    """Services, gateway and authority on this machine, without an agent of its own."""

    def __init__(self, folder: Path) -> None:
        self.up = Running(folder / "home", "--no-agent", "--all-addresses").until_up()
        self.at = {name: f"{HERE}:{port}" for name, port in self.up.ports().items()}

    def token(self) -> tuple[str, str]:
        """Make one as the page says; return it and the authority's fingerprint."""
        command = pages.commands("enrol-a-host.md", "Enrol").splitlines()[0].split()
        assert command == ["nightherd", "enrol-token", "--herd", HERD, "--hours", "24"]
        done = subprocess.run(
            [sys.executable, "-m", "cli", *command[1:]],
            env=environment(NIGHTHERD_HOME=str(self.up.home)),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        said = dict(line.split() for line in done.stdout.splitlines())
        return said["token"], said["ca-sha256"]

    def marks(self, host_id: str) -> Counter[str]:
        """How often each marked program is in the store."""
        found: Counter[str] = Counter()
        for event, image in self.up.events_of(host_id):
            for argument in (image or {}).get("arguments", []) if "exec" in event else []:
                if argument.startswith("lab-mark-"):
                    found[argument] += event.get("count", 1)
        return found

    def accounts(self, host_id: str) -> Counter[str]:
        """How often each account was added, as the store has it."""
        return Counter(
            change["name"]
            for event, _ in self.up.events_of(host_id)
            if (change := event.get("accountChange", {})).get("action") == "ACTION_ADDED"
            and change.get("subject") == "SUBJECT_USER"
            and change["name"].startswith("nh")
        )


class Member:
    """One host of the herd, and all that was done on it."""

    def __init__(self, host: Host) -> None:
        self.host, self.host_id = host, ""
        self.marks: list[str] = []
        self.accounts: list[str] = []

    def join(self, backend: Backend) -> None:
        """Do what docs/how-to/install-the-agent.md says."""
        page, begun = "install-the-agent.md", time.monotonic()
        offline = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={GUEST}/wheels; cd {GUEST}/wheels\n"
        self._type(offline + pages.commands(page, "Files"))
        token, fingerprint = backend.token()
        enrol = pages.with_examples_replaced(
            pages.commands(page, "Enrol"),
            authority=backend.at["enrolment"],
            fingerprint=fingerprint,
        )
        said = self._type(f"printf '%s\\n' {token} | {{\n{enrol}\n}}")
        enrolled = re.search(r"^enrolled as host ([0-9a-f]{32}) of herd (\S+)$", said, re.MULTILINE)
        assert enrolled, said
        assert enrolled[2] == HERD
        self.host_id = enrolled[1]
        settings = pages.with_examples_replaced(
            pages.commands(page, "Settings"),
            store=backend.at["store"],
            detector=backend.at["detector"],
            modeler=backend.at["modeler"],
            authority=backend.at["enrolment"],
        )
        self.host.put("/etc/nightherd/agent.env", settings)
        self._type(pages.commands(page, "Start"))
        print(f"{self.host.name}: installed and enrolled in {time.monotonic() - begun:.0f} s")

    def _type(self, text: str) -> str:
        return self.host.run(f"bash -eu << 'TYPED'\n{text}\nTYPED", limit_s=INSTALL_S)

    def work(self) -> None:
        """Run programs and add accounts."""
        marks = [f"lab-mark-{secrets.token_hex(6)}" for _ in range(MARKS)]
        accounts = [legs.a_name() for _ in range(2)]
        self.host.run("\n".join([f"/bin/true {mark}" for mark in marks]))
        self.host.run("\n".join([f"useradd -M {account}" for account in accounts]))
        self.marks += marks
        self.accounts += accounts

    def cut_off(self, backend: Backend) -> None:
        """Let nothing through to the services: no refusal, silence."""
        ports = ", ".join(address.rpartition(":")[2] for address in backend.at.values())
        self.host.run(
            "nft -f - << 'RULES'\ntable inet lab {\n chain out {\n"
            "  type filter hook output priority 0;\n"
            f"  ip daddr {HERE} tcp dport {{ {ports} }} drop\n }}\n}}\nRULES"
        )

    def reconnect(self) -> None:
        self.host.run("nft delete table inet lab")


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    # A short path: sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="nhl-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = Backend(folder)
        yield running
        assert running.up.close() == 0, running.up.said()[-2000:]


@pytest.fixture(scope="module")
def herd(start, backend, request) -> list[Member]:
    """Three hosts, one with each kernel, that joined by the page."""
    chosen = request.config.getoption("--kernel")
    kernels = [chosen] * 3 if chosen else list(recipe.KERNELS)
    hosts = [start(kernel, f"herd{number}") for number, kernel in enumerate(kernels)]
    members = [Member(host.until_up()) for host in hosts]
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(lambda member: member.join(backend), members))
    return members


def test_each_host_is_there_at_the_full_level(herd, backend):
    for member in herd:
        listed = wait(
            lambda member=member: [
                row
                for row in backend.up.get("nightherd/hosts", host=member.host_id)
                if row["level"] != "unknown"
            ],
            300,
            1,
        )
        assert (listed[0]["level"], listed[0]["herd"]) == ("full", HERD), listed
        assert listed[0]["hostname"] == member.host.name


def test_a_person_on_each_host_is_an_alert_within_moments(herd, backend):
    for member in herd:
        account = legs.a_name()
        done = member.host.login("alice", f"sudo useradd -M {account}", terminal=True)
        assert done.returncode == 0, done
        member.accounts.append(account)
        begun = time.monotonic()
        alert = wait(
            lambda account=account: backend.up.get("audits/runtime/host", search=account), 120, 0.1
        )[0]
        seconds = time.monotonic() - begun
        assert (alert["user"], alert["interactive"], alert["hostname"]) == (
            "alice", True, member.host.name,
        )  # fmt: skip
        runs = 200
        own_s = float(
            member.host.run(
                f"t=$(date +%s%N); for i in $(seq {runs}); do /bin/true; done; "
                f"echo $(( ($(date +%s%N) - t) / {runs} ))"
            )
        ) / 1e9  # fmt: skip
        print(
            f"\n{member.host.name} ({member.host.kernel}): from the end of the session to the alert "
            f"over REST {seconds:.2f} s, {seconds / own_s:.0f} times a fork and exec of true there"
        )


def test_a_host_that_is_cut_off_and_comes_back_loses_nothing(herd, backend):
    cut, *others = herd
    for member in herd:
        member.work()
    cut.cut_off(backend)
    for member in herd:
        member.work()
    for member in others:
        wait(lambda member=member: set(member.marks) <= set(backend.marks(member.host_id)), 300, 2)
    assert not set(cut.marks[MARKS:]) & set(backend.marks(cut.host_id))
    # Long enough that the connection is given up and tried anew.
    time.sleep(60)
    cut.reconnect()
    cut.work()
    for member in herd:
        wait(lambda member=member: set(member.marks) <= set(backend.marks(member.host_id)), 400, 2)
        wait(
            lambda member=member: set(member.accounts) <= set(backend.accounts(member.host_id)),
            400,
            2,
        )
        assert backend.marks(member.host_id) == Counter(member.marks)
        assert backend.accounts(member.host_id) == Counter(member.accounts)
        custody = wait(
            lambda member=member: (
                (found := backend.up.get(f"nightherd/custody/{member.host_id}"))["intact"] and found
            ),
            120,
            2,
        )
        assert len(custody["chains"]) == 1, custody
        gaps = Counter(
            gap["cause"] for gap in backend.up.get("nightherd/gaps", host=member.host_id, limit=250)
        )
        # A host that is this slow does not let its agent run for seconds; that loses nothing.
        assert set(gaps) <= {"agentStalled"}, gaps
        print(
            f"\n{member.host.name} ({member.host.kernel}): {len(member.marks)} programs and "
            f"{len(member.accounts)} accounts, each once; chain intact; gaps: {dict(gaps)}"
        )
