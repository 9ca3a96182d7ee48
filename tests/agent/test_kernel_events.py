"""Every kind of record of a checkpoint becomes an event, also where this kernel makes none."""

import pytest

from agent import kernel_events
from agent.file_facts import mount_change
from agent.sensors.bpf_facts import KINDS
from agent.sensors.records import KernelRecord
from nightherd.event.v1 import event_pb2 as events

ELSEWHERE = kernel_events.FILE_KINDS | kernel_events.MOUNT_KINDS | {"user"}
"""Kinds that are changes of files, mounts, and gains of rights."""


def a_record(kind):
    return KernelRecord(kind, 1, 1, 7, (1, 2, 3, 4), (b"source", b"tmpfs", b"/target", b"/"))


def test_no_kind_is_forgotten():
    assert set(KINDS.values()) == set(kernel_events.TELL) | ELSEWHERE


@pytest.mark.parametrize("kind", sorted(set(KINDS.values()) - ELSEWHERE))
def test_every_kind_becomes_an_event(kind):
    event = events.Event()
    kernel_events.tell(event, a_record(kind))
    assert event.WhichOneof("kind")


@pytest.mark.parametrize("kind", sorted(kernel_events.MOUNT_KINDS))
def test_every_kind_of_mount_becomes_a_change_of_the_mount_table(kind):
    change = mount_change(kernel_events.mount_of(a_record(kind)))
    assert change.operation
    assert (change.source, change.target) == (b"source", b"/target")
