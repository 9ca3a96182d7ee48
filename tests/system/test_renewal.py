"""Under `nightherd up` the agent renews its own certificate, also one that is over."""

import datetime as dt
import os
import signal

import pytest

from chassis.authority import Authority
from chassis.tls import Identity
from tests.system.running import Running, wait

pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's event sources"),
]


def test_an_agent_whose_certificate_is_over_comes_back_by_itself(nightherd: Running):
    identity = Identity(nightherd.home / "agent" / "tls")
    peer, began = identity.peer(), dt.datetime.now(dt.UTC)
    Authority.open(nightherd.home / "ca").issue(
        identity.folder,
        "host",
        host_id=peer.host_id,
        herd=peer.herd,
        signing_key=peer.signing_key,
        now=began - dt.timedelta(days=3),
    )
    assert identity.certificate().not_valid_after_utc < began
    nightherd.signal("agent", signal.SIGKILL)
    wait(lambda: identity.certificate().not_valid_after_utc > began, 60)
    assert identity.peer() == peer

    def heard() -> bool:
        (host,) = nightherd.get("nightherd/hosts", hostname=peer.host_id)
        return host["agentState"] in ("started", "running") and (
            dt.datetime.fromisoformat(host["lastSeen"]) > began
        )

    wait(heard, 60)
    log = (nightherd.home / "logs" / "enrolment.log").read_text()
    assert f'"host": "{peer.host_id}"' in log
