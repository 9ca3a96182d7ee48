"""What the store itself finds: a forked chain."""

import hashlib

from delivery.checks import Checked
from nightherd.detector.v1 import finding_pb2 as pb


def fork(checked: Checked) -> pb.Finding:
    """Return the finding for a second version of a batch: a cloned or rolled-back host."""
    header = checked.header
    chain = header.chain_id.hex()
    alert_key = _id("chainFork", header.host_id, chain)
    return pb.Finding(
        occurrence_id=_id(alert_key, str(header.batch_number), checked.hash.hex()),
        host_id=header.host_id,
        herd=header.herd,
        chain_id=header.chain_id,
        batch_number=header.batch_number,
        event_time=header.sealed_time,
        alert=pb.Alert(
            alert_key=alert_key,
            type="filesystem",
            attack_type="chainFork",
            severity=pb.SEVERITY_HIGH,
            effect="alert",
            rule_name="custody",
            message=(
                f"Two versions of batch {header.batch_number} of chain {chain[:8]} came from host "
                f"{header.host_id}: its spool was copied or rolled back"
            ),
            attack_techniques=["T1070"],
        ),
    )


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
