"""Keeping programs running, with small real ones."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from cli.children import Child, FalseStartError, Program


def program(script: str, **options) -> Program:
    return Program("small", [sys.executable, "-u", "-c", script], dict(os.environ), **options)


async def always() -> bool:
    return True


async def never() -> bool:
    return False


@pytest.fixture
async def child(tmp_path):
    made: list[Child] = []

    def make(script: str, ready=always, **options) -> Child:
        made.append(Child(program(script, **options), tmp_path / "small.log", ready))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def until(condition, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def said(log: Path) -> str:
    """What a log holds; it may not be there yet, or be rotated at this moment."""
    with contextlib.suppress(FileNotFoundError):
        return log.read_text()
    return ""


SLEEP = "import time; print('here', flush=True); time.sleep(60)"


async def test_what_is_killed_comes_back_under_another_pid(child):
    kept = child(SLEEP)
    await kept.start()
    first = kept.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: kept.pid not in (0, first))
    assert kept.restarts == 1


async def test_pauses_grow_while_it_ends_at_once(child):
    kept = child("raise SystemExit(3)", first_pause_s=0.05)
    began = time.monotonic()
    await kept.start()
    await until(lambda: kept.restarts == 4)
    # 0.05 + 0.1 + 0.2 s lie between four ends.
    assert time.monotonic() - began > 0.35


async def test_one_that_ends_before_it_is_ready_is_a_false_start(child):
    kept = child("raise SystemExit(1)", never, first_pause_s=0.01)
    await kept.start()
    with pytest.raises(FalseStartError):
        await kept.until_ready(20)


async def test_wrong_settings_are_a_false_start_at_once(child):
    kept = child("raise SystemExit(2)", never)
    await kept.start()
    with pytest.raises(FalseStartError):
        await kept.until_ready(20)
    assert kept.restarts == 1


async def test_one_that_is_never_ready_times_out(child):
    kept = child(SLEEP, never)
    await kept.start()
    with pytest.raises(TimeoutError):
        await kept.until_ready(0.3)


async def test_a_pause_does_not_hold_up_the_end(child):
    kept = child("pass", first_pause_s=30.0)
    await kept.start()
    await until(lambda: kept.restarts == 1)
    async with asyncio.timeout(20):
        await kept.stop()
    assert kept.pid == 0


async def test_one_that_does_not_listen_is_killed(child):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    kept = child(deaf, stop_s=0.3)
    await kept.start()
    await until(lambda: "on" in said(Path(kept._log.baseFilename)))
    async with asyncio.timeout(40):
        await kept.stop()
    assert kept.pid == 0


async def test_output_goes_to_a_log_that_is_cut_by_size(child, tmp_path):
    # More than four times what is read at once, however late it is read.
    kept = child(
        "for n in range(20_000): print(f'line {n} \\x1b[0m')\n"
        "import time\n"
        "while True: print('the end'); time.sleep(0.05)",
        log_bytes=10_000,
    )
    await kept.start()
    log = tmp_path / "small.log"
    await until(lambda: "the end" in said(log))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["small.log", "small.log.1", "small.log.2", "small.log.3"]
    assert all(path.stat().st_size < 100_000 for path in tmp_path.iterdir())


async def test_bytes_that_are_no_text_do_not_hurt(child, tmp_path):
    kept = child("import os, time; os.write(1, b'\\xff\\xfe end\\n'); time.sleep(60)")
    await kept.start()
    log = tmp_path / "small.log"
    await until(lambda: "end" in said(log))
    assert "\\xff\\xfe end" in log.read_text()


async def test_who_cannot_be_started_is_tried_again(tmp_path):
    script = tmp_path / "program"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    small = Program("small", [str(script)], dict(os.environ), first_pause_s=0.05)
    kept = Child(small, tmp_path / "log", always)
    await kept.start()
    script.unlink()
    await until(lambda: kept.restarts > 1)
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    await until(lambda: kept.pid > 0)
    await kept.stop()


def test_children_end_with_a_killed_supervisor(tmp_path):
    supervisor = f"""
import asyncio, os, sys
from pathlib import Path
from cli.children import Child, Program
async def always(): return True
async def main():
    command = [sys.executable, '-c', 'import time; time.sleep(60)']
    child = Child(Program('small', command, dict(os.environ)), Path({str(tmp_path / "log")!r}), always)
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    own = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'gen'}"}
    with subprocess.Popen(
        [sys.executable, "-c", supervisor], env=own, stdout=subprocess.PIPE
    ) as running:
        pid = int(running.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        running.kill()
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
