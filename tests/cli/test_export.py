"""`nightherd verify FILE` as it is typed, and where an export may be written."""

import json
import os

import pytest
from click.testing import CliRunner

from cli.__main__ import main
from cli.parts import BrokenPartError, Parts


def test_a_file_that_is_named_is_checked_without_a_gateway(tmp_path):
    file = tmp_path / "events"
    file.write_bytes(b"")
    begin = {"nightherdExport": 1, "rows": 1, "format": "ndjson", "raw": False, "filter": {}}
    empty = {"end": True, "bytes": 0, "batches": 0, "events": 0}
    empty["sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    proof = tmp_path / "events.proof.jsonl"
    proof.write_text(json.dumps(begin) + "\n" + json.dumps(empty) + "\n")
    result = CliRunner().invoke(main, ["verify", str(file)])
    assert result.exit_code == 0, result.output
    assert "intact: 0 events of 0 batches" in result.output
    elsewhere = proof.rename(tmp_path / "elsewhere")
    assert CliRunner().invoke(main, ["verify", str(file)]).exit_code == 2
    named = CliRunner().invoke(main, ["verify", str(file), "--proof", str(elsewhere)])
    assert named.exit_code == 0
    file.write_bytes(b"{}\n")
    assert CliRunner().invoke(main, ["verify", str(file), "--proof", str(elsewhere)]).exit_code == 1


def test_only_a_regular_file_is_written_over(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    os.mkfifo(pipe)
    for out in (link, pipe):
        parts = Parts(out, "csv", {}, force=True)
        with pytest.raises(BrokenPartError, match="no regular file"), parts:
            pass
    assert (target.read_text(), link.is_symlink(), pipe.is_fifo()) == ("kept", True, True)
