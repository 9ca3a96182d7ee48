"""Event sources of a host, and the choice among them.

A level is found by trying: a source that opens and loads works; asking a kernel what it can do
gives wrong answers. What cannot be seen is said in sentences.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from agent.sensors import bpf_programs
from agent.sensors.audit import AuditSensor
from agent.sensors.audit_order import HeldFiles, Order, OrderedAudit
from agent.sensors.bpf import BpfSensor
from agent.sensors.fanotify import FanotifySensor
from agent.sensors.inotify import InotifySensor
from agent.sensors.psutil_poll import ListenSensor, PollSensor, SnapshotSensor
from agent.sensors.records import Sensor
from agent.sensors.udp import UdpSensor
from agent.sensors.unavailable import SensorUnavailable
from agent.sensors.watchlist import WatchList

__all__ = ["OpenSensors", "SensorUnavailable", "open_sensors"]

_UNWATCHED_TOLD: Final = 5


@dataclass(slots=True)
class OpenSensors:
    """Sensors that work here, in the order in which to drain them.

    Files before processes: so whoever changed a file is known when a tick's records are joined.
    """

    level: Literal["full", "audit", "poll"]
    sensors: list[Sensor]
    not_seen: list[str] = field(default_factory=list)
    """What this host does not show and why, in sentences for people; see `sentences`."""
    said: list[str] = field(default_factory=list)
    """Lines in which the kernel explained why it refused a level, for the log."""

    def sentences(self) -> list[str]:
        """Return what is not seen as things stand: mounts come and go."""
        unwatched = [
            f"{os.fsdecode(path)}: {why}"
            for sensor in self.sensors
            if isinstance(sensor, FanotifySensor | InotifySensor)
            for path, why in sorted(sensor.unwatched.items())
        ]
        told = [f"Not watched: {each}." for each in unwatched[:_UNWATCHED_TOLD]]
        if len(unwatched) > _UNWATCHED_TOLD:
            told.append(
                f"{len(unwatched) - _UNWATCHED_TOLD} more folders or files are not watched."
            )
        return [*self.not_seen, *told]

    def tells(self) -> frozenset[str]:
        """Return what the kernel's checkpoints tell, so that other sources need not."""
        return frozenset(
            what
            for sensor in self.sensors
            if isinstance(sensor, BpfSensor)
            for what in sensor.tells
        )

    def watch(self, watch_list: WatchList) -> None:
        """Watch other names from now on."""
        for sensor in self.sensors:
            if isinstance(sensor, FanotifySensor | InotifySensor):
                sensor.watch(watch_list)

    def close(self) -> None:
        """Close every sensor, the last opened first. Safe to call twice."""
        for sensor in reversed(self.sensors):
            sensor.close()


def open_sensors(
    level: Literal["auto", "full", "audit", "poll"],
    watch_list: WatchList,
    *,
    own_pid: int | None = None,
) -> OpenSensors:
    """Open the best sensors this host and this user offer.

    Args:
        level: The best to try; what does not work falls back by one: "full" (as "auto"), "audit",
            "poll".
        watch_list: Names to watch (see folders.of_this_host).
        own_pid: Process whose own file changes are not reported; None: this one.

    Raises:
        SensorUnavailable: Not even the poll level works.
    """
    opened = OpenSensors("full", [])
    try:
        if level in ("auto", "full"):
            _full(opened, watch_list, own_pid)
        if not opened.sensors and level != "poll":
            _audit(opened, watch_list, own_pid)
        if not opened.sensors:
            _poll(opened, watch_list)
        if opened.level != "audit":
            _try(opened, AuditSensor, "logins, sudo, account tools and firewall changes")
    except BaseException:  # whatever it was: no sensor stays open
        opened.close()
        raise
    return opened


def _full(opened: OpenSensors, watch_list: WatchList, own_pid: int | None) -> None:
    try:
        opened.sensors.append(FanotifySensor(watch_list, own_pid=own_pid))
        programs = BpfSensor()
        opened.sensors.append(programs)
    except SensorUnavailable as reason:
        opened.close()
        opened.sensors.clear()
        opened.not_seen.append(f"The full level does not work here: {reason}.")
        opened.said += reason.said
        return
    opened.not_seen += programs.not_seen
    opened.sensors += [SnapshotSensor(), UdpSensor(told=lambda: programs.bound)]


def _audit(opened: OpenSensors, watch_list: WatchList, own_pid: int | None) -> None:
    opened.level = "audit"
    try:
        order = Order()
        opened.sensors.append(HeldFiles(watch_list, order, own_pid=own_pid))
        opened.sensors.append(OrderedAudit(AuditSensor(processes=True), order))
    except SensorUnavailable as reason:
        opened.close()
        opened.sensors.clear()
        opened.not_seen.append(f"The audit level does not work here: {reason}.")
        return
    opened.not_seen += [
        "Forks are not seen, nor how a process ended; when it ended, within a second.",
        "Who only forked and was gone at once is not known, as a parent or for what it changed.",
        "What processes execute that ran before audit was first switched on is not seen.",
        "Outgoing connections are not seen, and listening ports late: they are polled.",
        *(f"{what} is not seen at the audit level." for what in bpf_programs.ONLY_FULL),
    ]
    opened.sensors += [SnapshotSensor(), ListenSensor()]


def _poll(opened: OpenSensors, watch_list: WatchList) -> None:
    opened.level = "poll"
    opened.sensors += [InotifySensor(watch_list), PollSensor()]
    opened.not_seen += [
        "Processes that live shorter than a second are mostly not seen: they are polled.",
        "Who changed a file is not seen, only guessed: inotify does not tell.",
        "Who reads secrets is not seen, nor changes of watched files under other names.",
        "Outgoing connections are not seen, and listening ports late: they are polled.",
    ]


def _try(opened: OpenSensors, sensor: Callable[[], Sensor], shows: str) -> None:
    try:
        opened.sensors.append(sensor())
    except SensorUnavailable as reason:
        opened.not_seen.append(f"Records of {shows} are not seen: {reason}.")
