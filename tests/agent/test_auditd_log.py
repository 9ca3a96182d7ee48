"""Reading files of auditd, in blocks."""

import itertools
import random

from agent.auditd_log import MOST_LINE_BYTES, AuditdLog

HEAD = b"type=PATH msg=audit(%d.%03d:%d): "


def lines():
    """Lines of all lengths, so that blocks end anywhere in them."""
    chance = random.Random(7)
    for number in itertools.count(1):
        head = HEAD % (1_700_000_000 + number // 9, number // 3 % 1000, number // 3)
        length = chance.choice((0, 1, 30, 200, 900, 4000))
        if number % 97 == 0:
            length = chance.choice((1, 2, 9)) * MOST_LINE_BYTES
        elif number % 101 == 0:
            length = MOST_LINE_BYTES - len(head) + chance.choice((-3, -1, 0, 1))
        yield head, chance.choice((b"x", b"\r", b"y")) * length + b"z" * (length > 0)


def test_blocks_end_anywhere_and_no_line_is_lost_or_cut(tmp_path):
    path = tmp_path / "audit.log"
    given = list(itertools.islice(lines(), 2000))
    ends = itertools.cycle((b"\n", b"\r\n", b"\n\n"))
    path.write_bytes(
        b"".join(b"".join((*line, end)) for line, end in zip(given, ends, strict=False))
    )
    rejects = []
    log = AuditdLog([path], rejects.append)
    read = [
        (wall_ns // 1_000_000, serial, text) for wall_ns, serial, _, texts in log for text in texts
    ]
    expected = [
        ((1_700_000_000 + n // 9) * 1000 + n // 3 % 1000, n // 3, text)
        for n, (head, text) in enumerate(given, 1)
        if len(head) + len(text) <= MOST_LINE_BYTES
    ]
    assert read == expected
    assert len(rejects) == len(given) - len(expected) > 20
    assert all(f"it is longer than {MOST_LINE_BYTES} bytes" in why for why in rejects)
    assert (log.lines, log.rejected) == (len(given), len(rejects))


def test_records_that_follow_one_another_with_one_stamp_come_together(tmp_path):
    path = tmp_path / "audit.log"
    path.write_text(
        "node=a type=SYSCALL msg=audit(5.001:7): x=1\n"
        "node=a type=PATH msg=audit(5.001:7): y=2\n"
        "node=a type=EOE msg=audit(5.001:8):\n"
    )
    assert list(AuditdLog([path], print)) == [
        (5_001_000_000, 7, ["SYSCALL", "PATH"], [b"x=1", b"y=2"]),
        (5_001_000_000, 8, ["EOE"], [b""]),
    ]
