"""What is shown on a terminal cannot do anything to it."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.output import rows
from tests.system.running import environment

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "a\x1b]0;owned\x07\r\nb\u202e"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_control_characters_never_reach_the_terminal(capsys, form):
    rows([{"msg": HOSTILE, "files": [HOSTILE]}], ["msg", "files"], form)
    shown = capsys.readouterr().out
    assert not [c for c in shown if ord(c) < 32 and c not in "\n\r"]
    assert "\u202e" not in shown
    assert "\\x1b" in shown or "\\u001b" in shown


def test_a_cell_is_no_formula(capsys):
    rows([{"command": "=HYPERLINK(1)"}], ["command"], "csv")
    found = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert found[1][0] != "=HYPERLINK(1)"


def test_json_is_one_document_a_line(capsys):
    rows([{"a": 1, "b": [True]}, {"a": None}], ["a"], "json")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"a": 1, "b": [True]},
        {"a": None},
    ]


def test_a_table_says_when_there_is_more(capsys):
    rows([{"a": "x"}], ["a"], "table", total=7)
    assert "1 of 7" in capsys.readouterr().err


def on_a_terminal(**options):
    """What a terminal shows of a row with a long text and a long id."""
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, encoding="utf-8") as shown,
        os.fdopen(theirs, "w", encoding="utf-8") as terminal,
        contextlib.redirect_stdout(terminal),
    ):
        rows([{"text": "t" * 100, "execID": "e" * 100}], ["text", "execID"], "table", **options)
        terminal.flush()
        return shown.readline() + shown.readline()


def test_a_terminal_gets_short_texts_and_whole_ids():
    shown = on_a_terminal()
    assert "t" * 59 + "…" in shown
    assert "t" * 60 not in shown
    assert "e" * 100 in shown
    assert "t" * 100 in on_a_terminal(wide=True)


def test_what_goes_elsewhere_is_cut_nowhere(capsys):
    rows([{"text": "t" * 100}], ["text"], "table")
    assert "t" * 100 in capsys.readouterr().out


def test_nothing_is_said_to_be_nothing(capsys):
    rows([], ["a"], "table")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "nothing found\n")


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=environment(**extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_commands_and_imports_nothing_heavy():
    script = "import sys; from cli.__main__ import main; print([m for m in ('grpc', 'motor', 'cryptography', 'urllib.request') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    for command in ("up", "doctor", "replay", "verify", "status", "hosts", "activities", "alerts"):
        assert command in run("--help").stdout


def test_wrong_use_ends_with_status_2():
    assert run("up", "--port", "none").returncode == 2
    assert run("nonsense").returncode == 2
    assert run("replay", "/no/such/file").returncode == 2


def test_nothing_that_runs_is_said(tmp_path):
    done = run("status", NIGHTHERD_HOME=str(tmp_path / "none"))
    assert done.returncode == 3
    assert "nothing runs" in done.stdout
    asked = run("hosts", NIGHTHERD_HOME=str(tmp_path / "none"))
    assert asked.returncode == 4
    assert "no password" in asked.stderr
    assert run("verify", "--spool", str(tmp_path)).returncode == 2


def test_no_room_for_the_output_is_told_in_a_line():
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "cli", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"nightherd: output: No space left on device\n"
