"""What the store itself finds: forked and broken chains, headers that lie."""

import hashlib
from dataclasses import dataclass

from chassis import clock
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


@dataclass(frozen=True, slots=True)
class Place:
    """A batch that something is wrong with."""

    host_id: str
    herd: str
    chain: str
    """Hex."""
    number: int


def broken(place: Place, time_ns: int, detail: str) -> pb.Finding:
    """Return the finding for stored evidence that is not what was sealed, or not there."""
    message = (
        f"Batch {place.number} of chain {place.chain[:8]} of host {place.host_id} is not as it was "
        f"stored: {detail}"
    )
    return _found(place, time_ns, "custodyBroken", pb.SEVERITY_HIGH, message)


def lying(place: Place, time_ns: int, detail: str) -> pb.Finding:
    """Return the finding for a batch whose header or index says what its body does not."""
    message = (
        f"Batch {place.number} of chain {place.chain[:8]} of host {place.host_id} was sealed with "
        f"a header or index that lies: {detail}"
    )
    return _found(place, time_ns, "lyingHeader", pb.SEVERITY_HIGH, message)


def _found(
    place: Place, time_ns: int, kind: str, severity: "pb.Severity.ValueType", message: str
) -> pb.Finding:
    alert_key = _id(kind, place.host_id, place.chain)
    return pb.Finding(
        occurrence_id=_id(alert_key, str(place.number), message),
        host_id=place.host_id,
        herd=place.herd,
        chain_id=bytes.fromhex(place.chain),
        batch_number=place.number,
        event_time=clock.to_timestamp(time_ns),
        alert=pb.Alert(
            alert_key=alert_key,
            type="filesystem",
            attack_type=kind,
            severity=severity,
            effect="alert",
            rule_name="custody",
            message=message,
            attack_techniques=["T1070"],
        ),
    )


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
