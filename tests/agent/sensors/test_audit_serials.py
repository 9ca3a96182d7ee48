"""Where a host was started again, by serials and times; and what is missing within a boot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.audit_serials import BOOT_NS, LATE, LATE_NS, MOST_MISSING, Serials

S = 1_000_000_000
BEGIN = 1_783_414_661 * S
START = b"op=start ver=3.0.9 format=raw kernel=%s auid=4294967295 pid=251 res=success"


def boots(*records):
    """The boot that each of (serial, seconds) is taken for."""
    serials, taken = Serials(), []
    for serial, seconds in records:
        serials.follow(serial, int(BEGIN + seconds * S))
        taken.append(serials.restarts)
    return taken


@pytest.mark.parametrize(
    ("records", "taken"),
    [
        # A reboot after 3,000 serials, a minute later: less than 4,096 behind.
        (((3000, 0), (3001, 1), (2, 60), (3, 60)), [0, 0, 1, 1]),
        # As fast as a host can be started.
        (((40, 0), (41, 1), (2, 4)), [0, 0, 1]),
        # Three boots of the same length.
        (((1, 0), (2, 1), (3, 2), (1, 50), (2, 51), (3, 52), (1, 99)), [0, 0, 0, 1, 1, 1, 2]),
        # Late by some serials, at the same time or before.
        (((7, 0), (9, 0.1), (8, 0), (10, 0.2)), [0, 0, 0, 0]),
        (((7, 0), (900, 40), (500, 20), (901, 41)), [0, 0, 0, 0]),
        # The end of a call that waited for an hour: its serial is 90,000 behind, so is its time.
        (((5, 0), (90_000, 3600), (6, 1), (90_001, 3600)), [0, 0, 0, 0]),
        # Late by less than a clock's grain, before the first that the log has.
        (((60, 1), (58, 0.9), (59, 1.1)), [0, 0, 0]),
        (((90_000, 0), (1, 0), (2, 0)), [0, 1, 1]),
        # Over the wrap of serials.
        ((((1 << 32) - 1, 0), (0, 1), ((1 << 32) - 2, 0)), [0, 0, 0]),
        # The clock was set back by a day, or on: serials go on.
        (((50, 0), (51, -86_400), (52, -86_399)), [0, 0, 0]),
        (((50, 0), (51, 86_400), (52, 86_401)), [0, 0, 0]),
        # A host whose clock begins in 1970, as it has no battery.
        (((3000, 0), (2, -1_783_414_600), (3, -1_783_414_599)), [0, 1, 1]),
    ],
)
def test_a_boot_is_told_from_a_late_record_by_serial_and_time(records, taken):
    assert boots(*records) == taken


def test_systemd_says_that_the_host_was_started_when_serials_do_not():
    serials = Serials()
    serials.follow(2, BEGIN)
    serials.announced("SYSTEM_BOOT", 3, BEGIN + 5 * S, b"")  # of the boot that just began
    serials.follow(3, BEGIN + 5 * S)
    assert serials.restarts == 0
    serials.announced("SYSTEM_BOOT", 7, BEGIN + 60 * S, b"")
    serials.follow(7, BEGIN + 60 * S)
    assert serials.restarts == 1
    assert serials.take_holes(1 << 63) == []
    serials.follow(2, BEGIN + 90 * S)
    serials.announced("SYSTEM_BOOT", 7, BEGIN + 95 * S, b"")  # after the serials said it
    serials.follow(7, BEGIN + 95 * S)
    assert serials.restarts == 2


def test_a_boot_in_the_middle_of_a_log_is_another_one():
    serials = Serials()
    serials.follow(2, BEGIN)
    serials.announced("SYSTEM_BOOT", 3, BEGIN + BOOT_NS + 1, b"")
    assert serials.restarts == 1


def test_an_auditd_on_another_kernel_is_another_boot_and_one_on_the_same_is_not():
    serials = Serials()
    serials.announced("DAEMON_START", 7798, BEGIN, START % b"5.10.0-30-amd64")
    serials.follow(2, BEGIN)
    serials.announced("DAEMON_START", 1234, BEGIN + 50 * S, START % b"5.10.0-30-amd64")
    serials.follow(5, BEGIN + 50 * S)
    assert serials.restarts == 0
    serials.announced("DAEMON_START", 99, BEGIN + 90 * S, START % b"6.1.0-18-amd64")
    serials.follow(6, BEGIN + 90 * S)
    assert serials.restarts == 1
    # The serials said it before the daemon did.
    serials.follow(1, BEGIN + 200 * S)
    serials.announced("DAEMON_START", 5, BEGIN + 201 * S, START % b"6.12.0-1-amd64")
    assert serials.restarts == 2


@given(st.lists(st.integers(10, 99), min_size=2, max_size=4), st.integers(2, 60), st.randoms())
def test_boots_of_any_length_stay_apart_whatever_comes_late_in_each(lengths, pause_s, random):
    serials, now = Serials(), BEGIN
    for boot, length in enumerate(lengths):
        waiting = []
        for serial in range(1, length + 1):
            now += 10_000_000
            waiting.append((serial, now))
            if len(waiting) > 5:
                serials.follow(*waiting.pop(random.randrange(3)))
                assert serials.restarts == boot
        for each in waiting:
            serials.follow(*each)
            assert serials.restarts == boot
        assert serials.take_holes(1 << 63) == []
        now += pause_s * S


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(-(1 << 62), 1 << 62))))
def test_any_serials_and_times_are_survived(records):
    serials = Serials()
    for serial, wall_ns in records:
        serials.announced(
            "SYSTEM_BOOT" if serial % 7 == 0 else "DAEMON_START", serial, wall_ns, b""
        )
        serials.follow(serial, wall_ns)
    assert serials.restarts <= 2 * len(records)


def test_the_bounds_are_what_a_host_can_do():
    assert LATE < MOST_MISSING
    assert LATE_NS <= 2 * S
