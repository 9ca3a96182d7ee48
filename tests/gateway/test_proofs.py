"""Exports through the command line: taken up where they broke off, and checked offline."""

import asyncio
import contextlib
import os
import secrets
import subprocess

import pytest
from click.testing import CliRunner

from cli.__main__ import main
from cli.export import run_export
from cli.parts import proof_of
from cli.verify_export import verify_export
from evidence.exports import claims
from tests.builders import T0, a_body, a_chain, a_person, an_event
from tests.gateway.exporting import KEY, NAMES, a_home, a_signed_host, ask, exported, said
from tests.services_client import STORE


@pytest.fixture(scope="module")
async def host(backend, authority, tmp_path_factory):
    return await a_signed_host(backend, authority, tmp_path_factory.mktemp("signed"))


@pytest.fixture
def home(tmp_path, monkeypatch, certificates):
    return a_home(tmp_path / "home", monkeypatch, certificates)


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("proof", ["headers", "full"])
async def test_an_export_verifies_offline_in_every_format(
    api, host, home, tmp_path, form, proof, capsys
):
    out = tmp_path / f"events.{form}"
    assert await exported(home, api.port, form, out, host=[host], proof=proof) == 0
    assert out.read_bytes() == (await ask(api, form, {"host": host})).content
    assert verify_export(out, None, ()) == 0
    told = capsys.readouterr().out
    assert "intact: 20 events of 5 batches" in told
    assert "4 links" in told
    assert "4 of 5 batches are vouched for" in told
    assert KEY in told
    assert ("20 events were made again" in told) == (proof == "full")
    assert verify_export(out, None, [KEY]) == 0
    assert verify_export(out, None, ["00" * 32]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {out.name, proof_of(out).name, "home"}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({"kind": ["exec"]}, "kinds exec"),
        ({"user": ["alice"]}, "users alice"),
        ({"to": "2020-01-01"}, "to time 2020-01-01T00:00:00Z"),
    ],
)
@pytest.mark.parametrize("proof", ["headers", "full"])
async def test_a_part_of_the_events_verifies_too_and_says_that_it_is_one(
    api, host, home, tmp_path, capsys, query, asked, proof
):
    out = tmp_path / "part"
    assert await exported(home, api.port, "csv", out, host=[host], proof=proof, **query) == 0
    assert ("nothing matched" in capsys.readouterr().err) == ("to" in query)
    end = said(out)[-1]
    assert verify_export(out, None, ()) == 0
    told = capsys.readouterr().out
    assert f"Asked for: hosts {host}; " in told
    assert asked in told
    assert claims.FILTERED in told
    assert claims.FILTERED in end["doesNotShow"]
    assert "every event of each batch has a row" not in (told + str(end["shows"]))
    assert (claims.UNSEALED in end["doesNotShow"]) == (proof == "headers")
    complete = "of each batch that is here, every event that matches has a row"
    assert (complete in end["shows"]) == (proof == "full")
    assert (complete in told) == (proof == "full" and "to" not in query)


async def test_an_export_of_everything_says_that_it_is_whole(api, host, home, tmp_path, capsys):
    out = tmp_path / "whole"
    assert await exported(home, api.port, "csv", out, host=[host], proof="headers") == 0
    assert "every event of each batch has a row" in said(out)[-1]["shows"]
    assert verify_export(out, None, ()) == 0
    told = capsys.readouterr().out
    assert "every event of each batch has a row" in told
    assert claims.FILTERED not in told


@pytest.fixture(scope="module")
async def large(backend):
    """A host whose rows fill many parts of an answer."""
    host_id = secrets.token_hex(16)
    made = []
    for number in range(30):
        person = a_person(arguments=[b"useradd", b"x" * 200], pid=2000 + number)
        made.append(a_body(*[(person, an_event(time_ns=T0 + place)) for place in range(150)]))
    await backend.deliver(a_chain(made, host_id=host_id), host_id, to=(STORE,))
    return host_id


@contextlib.asynccontextmanager
async def cutting(port, cuts):
    """A proxy that ends connections after so many bytes of their answers, one after the other."""
    waiting, tasks = list(cuts), set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", port)
        left = waiting.pop(0) if waiting else None

        async def up():
            while some := await reader.read(65536):
                onward.write(some)
                await onward.drain()
            onward.transport.abort()  # else its TLS waits for a goodbye

        sending = asyncio.create_task(up())
        try:
            while some := await onward_reader.read(2000):
                if left is not None and (left := left - len(some)) < 0:
                    break
                writer.write(some)
                await writer.drain()
        finally:
            sending.cancel()
            for each in (writer, onward):
                each.transport.abort()
            await asyncio.gather(sending, return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], waiting
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("form", NAMES)
async def test_a_connection_that_breaks_gives_the_same_file(api, large, home, tmp_path, form):
    out = tmp_path / "cut"
    async with cutting(api.port, [600_000, 900_000, 700_000]) as (port, waiting):
        status = await exported(home, port, form, out, host=[large], proof="full")
    assert status == 0
    assert waiting == []
    assert out.read_bytes() == (await ask(api, form, {"host": large})).content
    assert verify_export(out, None, ()) == 0


async def test_a_later_run_goes_on_with_what_an_earlier_one_left(
    api, large, home, tmp_path, monkeypatch
):
    out, part = tmp_path / "later", tmp_path / "later.part"
    monkeypatch.setattr("cli.export.MOST_TRIES", 1)
    async with cutting(api.port, [900_000, 0]) as (port, _):
        assert await exported(home, port, "ndjson", out, host=[large], proof="headers") == 4
    assert part.stat().st_size > 100_000
    assert await exported(home, api.port, "ndjson", out, host=["else"], proof="headers") == 1
    with part.open("ab") as more:
        more.write(b"half a row")
    assert await exported(home, api.port, "ndjson", out, host=[large], proof="headers") == 0
    assert out.read_bytes() == (await ask(api, "ndjson", {"host": large})).content
    assert verify_export(out, None, ()) == 0


async def test_every_filter_can_be_typed(api, host, home, tmp_path):
    (home.state / "port").write_text(str(api.port))
    out = tmp_path / "typed"
    typed = ["export", "--home", str(home.path), "--format", "csv", "--out", str(out)]
    typed += ["--host", host, "--host", host, "--session", "7", "--path-prefix", "/etc/"]
    typed += ["--since", "2026-01-01", "--until", "2027-01-01", "--kind", "file_change", "--raw"]
    typed += ["--user", "alice", "--path", "/etc/passwd", "--search", "CMD", "--proof", "full"]
    result = await asyncio.to_thread(CliRunner().invoke, main, typed)
    assert result.exit_code == 0, result.output
    assert out.read_bytes().count(b"\n") == 1 + 5
    assert said(out)[0]["filter"]["session_ids"] == ["7"]
    assert CliRunner().invoke(main, ["verify", str(out)]).exit_code == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that holds 256 KiB; yields its folder and how to make it larger."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system of its own")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield (
            folder,
            lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True),
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_disk_that_is_full_is_told_and_gone_on_with(api, large, home, small_disk, capsys):
    folder, enlarge = small_disk
    out = folder / "events"
    assert await exported(home, api.port, "csv", out, host=[large], proof="headers") == 1
    assert "the disk is full" in capsys.readouterr().err
    enlarge()
    assert await exported(home, api.port, "csv", out, host=[large], proof="headers") == 0
    assert verify_export(out, None, ()) == 0
    assert out.read_bytes() == (await ask(api, "csv", {"host": large})).content


async def test_a_folder_that_is_not_there_is_told(api, host, home, tmp_path, capsys):
    assert await exported(home, api.port, "csv", tmp_path / "no" / "file", host=[host]) == 1
    assert f"there is no folder {tmp_path / 'no'}: make it" in capsys.readouterr().err


async def test_refusals_and_nobody_there_are_told(api, home, tmp_path, capsys, free_port):
    assert await exported(home, api.port, "csv", tmp_path / "a", kind=["nonsense"]) == 4
    assert "known are" in capsys.readouterr().err
    assert await exported(home, api.port, "csv", tmp_path / "a", host=["nobody"]) == 4
    assert "There is no host nobody" in capsys.readouterr().err
    assert await exported(home, free_port, "csv", tmp_path / "b") == 4
    assert "does not answer" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["home"], "nothing is left of a refusal"


async def test_nothing_is_written_over_unless_that_is_asked_for(api, host, home, tmp_path, capsys):
    out = tmp_path / "events.csv"
    out.write_text("precious")
    assert await exported(home, api.port, "csv", out, host=[host]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "precious"
    (home.state / "port").write_text(str(api.port))
    typed = ["export", "--home", str(home.path), "--format", "csv", "--out", str(out), "--force"]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*typed, "--host", host])
    assert result.exit_code == 0, result.output
    assert verify_export(out, None, ()) == 0


async def test_force_forgets_what_is_left_of_another_question(api, large, host, home, tmp_path):
    out = tmp_path / "events"
    for name in ("asked.part", "part", "proof.part"):
        out.with_name(f"{out.name}.{name}").write_bytes(b"of another question")
    assert await exported(home, api.port, "ndjson", out, host=[host]) == 1
    (home.state / "port").write_text(str(api.port))
    query = {"host": [host], "proof": "full"}
    assert await asyncio.to_thread(run_export, home, "ndjson", out, query, force=True) == 0
    assert verify_export(out, None, ()) == 0
    assert {path.name for path in tmp_path.iterdir()} == {out.name, proof_of(out).name, "home"}
