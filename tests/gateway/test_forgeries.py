"""Whatever is changed in an export or its proof is found, and said of the batches it touches."""

import base64
import json

import pytest

from cli.parts import proof_of
from cli.verify_export import verify_export
from evidence.exports.formats import BY_NAME
from tests.gateway.exporting import NAMES, a_home, a_signed_host, exported, said


@pytest.fixture(scope="module")
async def host(backend, authority, tmp_path_factory):
    return await a_signed_host(backend, authority, tmp_path_factory.mktemp("signed"))


@pytest.fixture
def home(tmp_path, monkeypatch, certificates):
    return a_home(tmp_path / "home", monkeypatch, certificates)


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
        "events": sum(line.get("events", 0) for line in batches),
    }
    proof_of(whole).write_text("".join(json.dumps(line) + "\n" for line in lines))


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


def emptied(whole, **said_instead):
    """Take the rows of the second batch away, with what its proof line says of them."""
    lines = said(whole)
    batch = lines[2]["batch"].encode()
    rows = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(row for row in rows if batch not in row))
    lines[2] = {k: v for k, v in lines[2].items() if k not in ("events", "body")}
    lines[2] |= {"bytes": 0, **said_instead}
    resealed(whole, lines)


@pytest.mark.parametrize("proof", ["headers", "full"])
@pytest.mark.parametrize("query", [{}, {"kind": ["file_change", "exec"]}])
async def test_a_batch_without_rows_is_found_or_said_to_have_no_body(
    api, host, home, tmp_path, capsys, proof, query
):
    complete = ("every event of each batch has a row", "every event that matches has a row")
    out = tmp_path / "emptied"
    for instead, status in (({}, 1), ({"events": 0}, 1), ({"bodyRemoved": True}, 0)):
        if query and "events" in instead:
            continue  # of a filtered export without the body, this may be true
        out.unlink(missing_ok=True)
        proof_of(out).unlink(missing_ok=True)
        asked = {"host": [host], "proof": proof, **query}
        assert await exported(home, api.port, "ndjson", out, **asked) == 0
        emptied(out, **instead)
        capsys.readouterr()
        assert verify_export(out, None, ()) == status
        told = capsys.readouterr().out
        assert not any(sentence in told for sentence in complete)
        if status:
            assert blamed(told) == [2]
        else:
            assert "1 batches of which the store has no body any more" in told


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
