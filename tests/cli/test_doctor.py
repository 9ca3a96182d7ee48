"""Whether `doctor` looks at what is used, not at what is usual."""

import socket

import pytest

from cli import doctor
from cli.homes import Home


@pytest.fixture
def home(tmp_path):
    place = Home(tmp_path / "home")
    place.state.mkdir(parents=True)
    return place


def found(home: Home, what: str, port: int | None = None) -> tuple[bool, str]:
    """Return what `doctor` says about the check that begins with `what`."""
    return next(
        (good, detail) for name, good, detail in doctor.checks(home, port) if name.startswith(what)
    )


def test_the_port_of_the_last_start_is_looked_at(home, free_port):
    (home.state / "port").write_text(str(free_port))
    assert found(home, f"port {free_port} of the API") == (True, "free")
    with socket.create_server(("127.0.0.1", free_port)):
        good, detail = found(home, f"port {free_port} of the API")
    assert not good
    assert "not Nightherd" in detail


def test_a_port_that_is_named_wins(home, free_port):
    (home.state / "port").write_text("9")
    assert found(home, f"port {free_port} of the API", free_port) == (True, "free")


@pytest.mark.parametrize("said", ["", "none", "0", "70000", "-1"])
def test_without_a_start_it_is_the_usual_one(home, said):
    (home.state / "port").write_text(said)
    assert found(home, "port 8083 of the API")


def test_a_mongodb_that_does_not_answer_is_not_there(home, free_port, monkeypatch):
    url = f"mongodb://me:secret@127.0.0.1:{free_port}/?serverSelectionTimeoutMS=100"
    monkeypatch.setenv("NIGHTHERD_MONGO_URL", url)
    good, detail = found(home, "MongoDB")
    assert not good
    assert "does not answer" in detail
    assert "secret" not in detail


def test_a_url_that_is_none_is_said(home, monkeypatch, capsys):
    monkeypatch.setenv("NIGHTHERD_MONGO_URL", "http://somewhere")
    assert not found(home, "MongoDB")[0]
    assert doctor.report(home, None) == 1
    assert "MISSING  MongoDB" in capsys.readouterr().out
