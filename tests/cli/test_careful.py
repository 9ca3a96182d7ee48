"""What the command line must not do with what it is given."""

import json
import os
import subprocess
import sys
import time

import pytest

from chassis.authority import Authority
from chassis.tls import Identity
from cli.enrol import print_token
from cli.homes import Home
from cli.replay import Replay, run_replay
from tests.conftest import ROOT


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.mark.parametrize(
    "host_id", ["../agent", "..", ".", "/etc/nhx", "a/b", "a b", "a\n", "é", "x" * 129]
)
def test_an_imported_hosts_id_leads_nowhere_else(home, tmp_path, capsys, host_id):
    log = tmp_path / "audit.log"
    log.write_text("type=USER msg=audit(1.000:1): x\n")
    assert run_replay(home, [log], Replay(host_id=host_id, format_="auditd")) == 2
    assert "can be no host's id" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_no_token_is_made_where_no_authority_is(home, tmp_path, capsys):
    assert print_token(home, "default", 1) == 2
    assert "no authority" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("arguments", [["backup", "verify", "nowhere"], ["verify", "README.md"]])
def test_commands_work_without_a_path_for_generated_code(arguments):
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "Traceback" not in done.stderr


def typed(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["./nothing", "events.ndjson", "/tmp", "a/b.csv"])
def test_a_file_that_is_not_there_is_no_host(name):
    done = typed("verify", name)
    assert done.returncode == 2
    assert f"no such file: {name}" in done.stderr


@pytest.mark.parametrize("key", ["zz", "00", "g" * 64])
def test_what_is_no_key_is_told_with_what_one_looks_like(key):
    done = typed("verify", "README.md", "--key", key)
    assert done.returncode == 2
    assert "64 hex digits" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_without_a_file_is_refused():
    assert typed("verify", "--key", "0" * 64).returncode == 2


@pytest.fixture
def log(tmp_path):
    log = tmp_path / "audit.log"
    log.write_text("type=USER_CMD msg=audit(1.000:1): x\n")
    return log


def test_a_replay_where_nothing_listens_says_so_and_ends(home, log, free_port, capfd):
    home.state.mkdir(parents=True)
    (home.state / "ports.json").write_text(json.dumps({"store": free_port}))
    began = time.monotonic()
    assert run_replay(home, [log], Replay(format_="auditd", wait=3)) == 4
    assert time.monotonic() - began < 30
    told = capfd.readouterr().err
    why = f"nothing listens at 127.0.0.1:{free_port} (the store): is Nightherd up? `make run`"
    assert f"replay: {why}; waiting up to 3 s (--wait)" in told
    assert f"replay: {why}\n" in told
    (folder,) = (home.path / "imports").iterdir()
    assert not (folder / "imports.json").exists(), "nothing was begun"


def test_a_replay_from_a_home_where_nothing_ran_says_what_to_do(home, log, capsys):
    assert run_replay(home, [log], Replay()) == 4
    assert "`make run`" in capsys.readouterr().err


def test_what_was_imported_into_a_herd_stays_there(home, log, free_port, capsys):
    home.state.mkdir(parents=True)
    (home.state / "ports.json").write_text(json.dumps({"store": free_port}))
    folder = home.path / "imports" / "old"
    Authority.open(home.ca).issue(folder / "tls", "importer", herd="web")
    (folder / "imports.json").write_text("{}")
    assert run_replay(home, [log], Replay(host_id="old", herd="db")) == 2
    told = capsys.readouterr().err
    assert "host old was imported into herd web, and stays there" in told
    assert "--herd web" in told
    assert "--host-id NAME" in told
    assert Identity(folder / "tls").peer().herd == "web"


@pytest.mark.parametrize("command", ["events", "timeline", "activities", "alerts", "gaps"])
def test_a_time_that_is_none_is_told_by_the_name_of_its_option(command):
    done = typed(command, "--since", "yesterday")
    assert done.returncode == 2
    assert (
        "'--since': 'yesterday' is not a valid time; write it as 2026-11-24T15:04:05Z"
        in done.stderr
    )
