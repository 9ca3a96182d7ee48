"""Finding a MongoDB, with small scripts that fail as real ones do."""

import pytest

from cli import mongod
from cli.homes import Home


def a_binary(folder, script: str) -> str:
    path = folder / "mongod"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'libcurl.so.4: cannot open shared object file: No such file' >&2; exit 127",
            "apt-get install libcurl4",
        ),
        ("echo \"/lib/libc.so.6: version 'GLIBC_2.34' not found\" >&2; exit 1", "C library"),
        ("kill -ILL $$", "AVX"),
        ("echo 'db version v5.0.9'", "version 5; 6 or newer"),
        ("echo nonsense; exit 3", "nonsense"),
        ("exit 3", "status 3"),
    ],
    ids=["no libcurl", "old libc", "no AVX", "old", "nonsense", "silent"],
)
def test_each_cause_is_said_in_words(tmp_path, script, said):
    assert said in mongod.probe(a_binary(tmp_path, script))


def test_a_good_one_has_no_problem(tmp_path):
    assert mongod.probe(a_binary(tmp_path, "echo 'db version v7.0.2'")) == ""


def test_one_that_hangs_is_said(tmp_path):
    assert "did not answer within 0.2 s" in mongod.probe(a_binary(tmp_path, "exec sleep 5"), 0.2)


def test_one_that_is_not_there_is_said(tmp_path):
    assert mongod.probe(str(tmp_path / "nothing"))


def test_a_url_comes_first(monkeypatch):
    monkeypatch.setenv("NIGHTHERD_MONGO_URL", "mongodb://somewhere")
    assert mongod.find() == mongod.Found(url="mongodb://somewhere")


def test_the_one_on_the_path_comes_before_the_wheels(tmp_path, monkeypatch):
    monkeypatch.delenv("NIGHTHERD_MONGO_URL", raising=False)
    binary = a_binary(tmp_path, "echo 'db version v8.0.1'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert mongod.find().binary == binary


def test_an_old_one_on_the_path_is_told_and_passed_over(tmp_path, monkeypatch):
    monkeypatch.delenv("NIGHTHERD_MONGO_URL", raising=False)
    binary = a_binary(tmp_path, "echo 'db version v4.4.1'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = mongod.find()
    assert found.said == (f"{binary}: is version 4; 6 or newer is needed",)
    assert found.binary != binary


@pytest.mark.parametrize("length", [10, 120, 200])
def test_a_sockets_path_is_short_whatever_the_home(tmp_path, length):
    home = Home(tmp_path / ("x" * length))
    # The longest a socket's path may be is 107 bytes.
    assert len(bytes(home.sockets / "mongodb-27017.sock")) <= 107


def test_homes_do_not_share_a_socket(tmp_path):
    assert Home(tmp_path / "one").sockets != Home(tmp_path / "two").sockets
