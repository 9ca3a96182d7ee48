"""What a sensor missed becomes a gap with its true cause."""

import pytest

from agent.losses import told_loss
from agent.sensors.records import LossRecord
from nightherd.event.v1 import event_pb2 as events

GAP = events.Gap


class Heard:
    """Keeps the causes of gaps."""

    def __init__(self):
        self.causes = []

    def lost(self, count, source):
        pass

    def gap(self, cause, since_ns, until_ns, **more):
        return cause

    def tell(self, cause):
        self.causes.append(cause)


@pytest.mark.parametrize(
    ("loss", "cause"),
    [
        (LossRecord("audit", 2, 1, 7, "the backlog was full"), GAP.CAUSE_KERNEL_DROP),
        (LossRecord("audit", 2, 1, None, "copies found no room"), GAP.CAUSE_OVERFLOW),
        (LossRecord("audit", 2, 1, None, "no daemon ran", blind=True), GAP.CAUSE_SENSOR_BLIND),
        (LossRecord("fanotify", 2, 1, 3, "too deep", bound=True), GAP.CAUSE_FOLDER_BOUND),
    ],
)
def test_a_loss_is_a_gap_with_its_cause(loss, cause):
    heard = Heard()
    told_loss(loss, heard)
    assert heard.causes == [cause]
