"""What a child says of itself on the way to being ready."""

import asyncio
import socket

from chassis.notify import notify
from cli.notices import Notices


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_program_that_says_it_is_ready_is(monkeypatch):
    notices = Notices()
    try:
        assert not await notices.is_ready()
        monkeypatch.setenv("NOTIFY_SOCKET", notices.address)
        notify("READY=1", "STATUS=It works.", "X_NIGHTHERD_LEVEL=full")
        await until(lambda: notices.status)
        assert await notices.is_ready()
        assert (notices.status, notices.level) == ("It works.", "full")
    finally:
        notices.close()


async def test_what_is_no_notice_is_left_out_and_a_long_one_is_cut(monkeypatch):
    notices = Notices()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            for content in (
                b"READY=yes\nREADY",
                b"\xff\xfe",
                b"OTHER=1",
                b"STATUS=\x1b[2J" + b"x" * 3000,
            ):
                sock.sendto(content, "\0" + notices.address[1:])
        await until(lambda: notices.status)
        assert not await notices.is_ready()
        assert notices.status.startswith("?[2Jxx")
        assert len(notices.status) == 200
    finally:
        notices.close()


def test_without_a_supervisor_or_with_a_dead_one_nothing_happens(monkeypatch, tmp_path):
    for address in ("", "nonsense", "@nightherd-nobody", str(tmp_path / "nobody")):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


def test_a_supervisor_that_does_not_read_holds_nobody_up(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "s"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
        for _ in range(5000):
            notify("STATUS=again")
