"""Exports through the command line: taken up where they broke off, and checked offline."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import subprocess

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.tls import Identity
from cli.__main__ import main
from cli.export import run_export
from cli.homes import Home
from cli.parts import proof_of
from cli.verify_export import verify_export
from evidence.exports import claims
from evidence.exports.formats import BY_NAME, FORMATS
from tests.builders import T0, a_body, a_chain, a_person, an_event
from tests.gateway.conftest import PASSWORD
from tests.gateway.test_exports import ask, bodies
from tests.services_client import STORE, deliver

NAMES = [each.name for each in FORMATS]
SIGNER = Ed25519PrivateKey.generate()
KEY = SIGNER.public_key().public_bytes_raw().hex()


@pytest.fixture(scope="module")
async def host(backend, authority, tmp_path_factory):
    """A host whose chain is signed at its second and fourth of five batches."""
    host_id = secrets.token_hex(16)
    folder = tmp_path_factory.mktemp("signed")
    key = SIGNER.public_key().public_bytes_raw()
    authority.issue(folder, "host", host_id=host_id, herd="default", signing_key=key)
    chain = a_chain(bodies(), host_id=host_id, signer=SIGNER)
    for number in (0, 2, 4):
        chain[number].signature = b""
    await deliver(backend.address[STORE], Identity(folder), chain, host_id, STORE)
    return host_id


@pytest.fixture
def home(tmp_path, monkeypatch, certificates):
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("NIGHTHERD_CA", str(certificates / "gateway" / "ca.pem"))
    home = Home(tmp_path / "home")
    home.state.mkdir(parents=True)
    return home


async def exported(home, port, form, out, **query):
    (home.state / "port").write_text(str(port))
    return await asyncio.to_thread(run_export, home, form, out, query)


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


@pytest.fixture
async def whole(api, host, home, tmp_path):
    out = tmp_path / "whole.ndjson"
    assert await exported(home, api.port, "ndjson", out, host=[host], proof="full") == 0
    return out


def test_any_change_of_the_file_is_found(whole, capsys):
    content = whole.read_bytes()
    lines = content.splitlines(keepends=True)
    for changed in (
        content.replace(b"alice", b"alicf", 1),
        content[:-1],
        content + lines[-1],
        b"".join(lines[1:]),
        b"".join(lines[::-1]),
        b"".join([*lines[:3], lines[2], *lines[3:]]),
        b"",
    ):
        whole.write_bytes(changed)
        assert verify_export(whole, None, ()) == 1
        assert "BROKEN" in capsys.readouterr().out


def blamed(told):
    """Numbers of the batches that are said to be wrong."""
    told = told[told.index(": BROKEN: ") : told.index("\nAsked for: ")]  # logs come before it
    faults = [line.strip() for line in told.splitlines()[1:]]
    assert all(line.startswith("batch ") for line in faults), faults
    return [int(line.split("/")[2].split(":")[0]) for line in faults]


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("proof", ["headers", "full"])
async def test_one_line_that_is_changed_makes_one_batch_wrong_and_says_which_lines(
    api, host, home, tmp_path, capsys, form, proof
):
    out = tmp_path / "changed"
    assert await exported(home, api.port, form, out, host=[host], proof=proof) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    batch = said(out)[2]["batch"]
    heads = 1 if BY_NAME[form].head else 0
    own = [
        number
        for number, line in enumerate(lines[heads:], start=heads)
        if BY_NAME[form].row_id(line).startswith(f"{batch}/")
    ]
    place, line = own[1], lines[own[1]]
    changes = {
        "longer": line.replace(b"passwd", b"passwd-and-more"),
        "shorter": line.replace(b"passwd", b"p"),
        "same": line.replace(b"passwd", b"passwe"),
        "gone": b"",
        "twice": line + line,
        "renamed": line.replace(batch.encode(), b"x" * len(batch)),
        "cut": line[: len(line) // 2] + b"\n",
    }
    for name, changed in changes.items():
        assert changed != line, name
        out.write_bytes(b"".join([*lines[:place], changed, *lines[place + 1 :]]))
        assert verify_export(out, None, ()) == 1, name
        told = capsys.readouterr().out
        assert blamed(told) == [2], name
        assert f"(lines {own[0] + 1} to " in told
        assert "the rows of 4 batches are those that were written" in told
        if proof == "full" and name in ("longer", "shorter", "same"):
            assert f"from line {place + 1} of the file on, its rows are not what the" in told


async def test_batches_whose_rows_are_gone_are_named_and_no_others(whole, capsys):
    batches = [line["batch"].encode() for line in said(whole)[2:4]]
    lines = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(x for x in lines if not any(b in x for b in batches)))
    assert verify_export(whole, None, ()) == 1
    told = capsys.readouterr().out
    assert blamed(told) == [2, 3]
    assert told.count("its rows are not in the file") == 2


def resealed(whole, lines):
    """Write a proof as somebody would who can compute hashes, but has no host's key."""
    import hashlib

    content = whole.read_bytes()
    batches = lines[1:-1]
    place = 0
    for line in batches:
        line["sha256"] = hashlib.sha256(content[place : place + line["bytes"]]).hexdigest()
        place += line["bytes"]
    lines[-1] |= {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "batches": len(batches),
        "events": sum(line["events"] for line in batches),
    }
    proof_of(whole).write_text("".join(json.dumps(line) + "\n" for line in lines))


def said(whole):
    return [json.loads(line) for line in proof_of(whole).read_text().splitlines()]


def test_a_forger_who_writes_the_proof_anew_is_found_by_the_seals(whole, capsys):
    original = whole.read_bytes()
    forged = original.replace(b'"user":"alice"', b'"user":"mally"', 1)
    whole.write_bytes(forged)
    resealed(whole, said(whole))
    assert verify_export(whole, None, ()) == 1
    assert "not what the sealed events say" in capsys.readouterr().out
    whole.write_bytes(original)
    resealed(whole, said(whole))
    assert verify_export(whole, None, ()) == 0


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("header", lambda v: base64.b64encode(base64.b64decode(v)[:-1] + b"!").decode()),
        ("signature", lambda v: base64.b64encode(bytes(64)).decode()),
        ("signingKey", lambda v: base64.b64encode(bytes(32)).decode()),
        ("body", lambda v: base64.b64encode(base64.b64decode(v)[:-9] + bytes(9)).decode()),
        ("sha256", lambda v: "0" * 64),
        ("bytes", lambda v: v + 1),
        ("bytes", lambda v: -1),
        ("events", lambda v: v - 1),
        ("batch", lambda v: v[:-1] + "9"),
        ("hostname", lambda v: "other"),
        ("header", lambda v: "$"),
        ("bytes", lambda v: None),
    ],
)
def test_any_change_of_a_proof_line_is_found(whole, capsys, field, change):
    lines = said(whole)
    # The second batch is signed; the key is with the first.
    line = lines[1] if field == "signingKey" else lines[2]
    line[field] = change(line[field])
    proof_of(whole).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verify_export(whole, None, ()) == 1
    told = capsys.readouterr().out
    if field in ("header", "signature", "body", "sha256", "bytes") and change(line[field]) != "$":
        assert blamed(told) == [2]


@pytest.mark.parametrize(
    "cut", [slice(0, -1), slice(0, 3), [0, 1, 3, 4, 5, 6], [0, 2, 1, 3, 4, 5, 6]]
)
def test_lines_of_the_proof_that_are_gone_or_moved_are_found(whole, cut):
    lines = proof_of(whole).read_text().splitlines(keepends=True)
    kept = lines[cut] if isinstance(cut, slice) else [lines[number] for number in cut]
    proof_of(whole).write_text("".join(kept))
    assert verify_export(whole, None, ()) == 1


@pytest.mark.parametrize("content", ["", "x\n", "[]\n", "{}\n", '{"nightherdExport": 2}\n'])
def test_what_is_no_proof_is_told_as_such(whole, content, capsys):
    proof_of(whole).write_text(content)
    assert verify_export(whole, None, ()) == 2
    assert "proof" in capsys.readouterr().err


def test_begin_lines_that_are_damaged_are_told(whole):
    lines = said(whole)
    for field, value in (("format", "xml"), ("filter", {"nonsense": 1}), ("rows", "x")):
        proof_of(whole).write_text(json.dumps(lines[0] | {field: value}) + "\n")
        assert verify_export(whole, None, ()) == 2
    assert verify_export(whole.with_name("nobody"), None, ()) == 2
