"""The agent in a guest, as a systemd unit, and what it seals there."""

import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import zstandard

from agent import segments
from agent.identity import signing_key
from chassis.authority import Authority
from nightherd.event.v1 import event_pb2 as events
from tests.lab.host import Host
from tests.lab.payload import GUEST

UNITS = f"{GUEST}/checkout/deploy/systemd"
FOLDER = "/var/lib/nightherd/agent"
PATIENCE_S = 240
"""What a guest may need to tell something: ten seconds here can be two minutes there."""

# As docs/how-to/install-the-agent.md has it, but for the packages: they lie on the payload, since
# installing them takes a guest minutes. tests/lab/test_herd.py does it by the page, to the letter.
INSTALL = f"""
set -eu
python3 -m venv --without-pip /opt/nightherd
printf '%s\\n' {GUEST}/site {GUEST}/checkout {GUEST}/checkout/gen \\
  > /opt/nightherd/lib/python3.11/site-packages/lab.pth
install -m 0644 {UNITS}/nightherd-agent.service /etc/systemd/system/
install -m 0644 {UNITS}/sysusers.conf /usr/lib/sysusers.d/nightherd-agent.conf
install -m 0644 {UNITS}/tmpfiles.conf /usr/lib/tmpfiles.d/nightherd-agent.conf
systemd-sysusers && systemd-tmpfiles --create nightherd-agent.conf
install -d -o nightherd-agent -g nightherd-agent -m 0700 {FOLDER}
tar -C {FOLDER} -xf - && chown -R nightherd-agent: {FOLDER}
systemctl daemon-reload
"""

Told = tuple[events.Image, events.Event]
"""What happened, and the image that did it (an empty one where nobody is named)."""


class Watched:
    """A guest on which the agent is installed and enrolled, without services: it only spools."""

    def __init__(self, host: Host, authority: Authority) -> None:
        """Install it."""
        self.host = host
        with tempfile.TemporaryDirectory() as name:
            folder, packed = Path(name), BytesIO()
            key = signing_key(folder).public_key().public_bytes_raw()
            host_id = uuid.uuid4().hex
            authority.issue(
                folder / "tls", "host", host_id=host_id, herd="default", signing_key=key
            )
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.add(folder, arcname=".")
        host.run(INSTALL, data=packed.getvalue())

    def watch(self, level: str) -> events.AgentStatus:
        """Start it anew at a level, with an empty spool; return what it says after its self-test."""
        self.stop()
        self.host.run(f"rm -rf {FOLDER}/spool")
        self.host.put("/etc/nightherd/agent.env", f"NIGHTHERD_AGENT_LEVEL={level}\n")
        self.host.run("systemctl start nightherd-agent")

        def tested() -> events.AgentStatus | None:
            found = [
                event.agent_status for _, event in self.told() if event.HasField("agent_status")
            ]
            running = [each for each in found if each.state == events.AgentStatus.STATE_RUNNING]
            return running[-1] if running else None

        return self.until(tested)

    @property
    def restarts(self) -> int:
        """How often systemd had to start it again since `watch`."""
        return int(self.host.run("systemctl show -P NRestarts nightherd-agent"))

    def stop(self) -> None:
        """End it."""
        self.host.run("systemctl stop nightherd-agent; systemctl reset-failed nightherd-agent || :")

    def said(self) -> str:
        """Return its log."""
        return self.host.run("journalctl -u nightherd-agent --no-pager -n 80 -o cat")

    def told(self) -> list[Told]:
        """Return every event in its spool, in order."""
        raw = self.host.read(f"cat {FOLDER}/spool/*.seg 2>/dev/null || :")
        return list(_told(raw))

    def until(self, condition: Callable[[], object], limit_s: float = PATIENCE_S):
        """Wait for a condition and return its value."""
        deadline = time.monotonic() + limit_s
        while not (value := condition()):
            assert self.restarts == 0, self.said()
            assert time.monotonic() < deadline, f"it did not come true; the agent: {self.said()}"
            time.sleep(1)
        return value


def _told(raw: bytes) -> Iterator[Told]:
    nobody = events.Image()
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        for record in segments.read(Path(file.name)):
            body = events.EventBatch.FromString(
                zstandard.ZstdDecompressor().decompress(record.batch.body)
            )
            for event in body.events:
                yield (body.images[event.actor] if event.HasField("actor") else nobody), event
