"""What a sensor missed becomes a gap."""

from agent.output import Output
from agent.sensors.records import LossRecord
from nightherd.event.v1 import event_pb2 as events

_Gap = events.Gap


def told_loss(record: LossRecord, output: Output) -> None:
    """Tell that a sensor missed something, and count it."""
    counted = record.lost is not None
    cause = _Gap.CAUSE_KERNEL_DROP if counted else _Gap.CAUSE_OVERFLOW
    if record.blind:
        cause = _Gap.CAUSE_SENSOR_BLIND
    output.lost(record.lost or 0, record.source)
    output.tell(
        output.gap(
            _Gap.CAUSE_FOLDER_BOUND if record.bound else cause,
            record.since_ns,
            record.boot_ns,
            source=record.source,
            lost=record.lost,
            detail=record.detail,
        )
    )
