"""`nightherd verify FILE` as it is typed."""

import json

from click.testing import CliRunner

from cli.__main__ import main


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
