"""Where imports into one spool go on, also when several took turns."""

from agent.replay import already_sealed


def test_runs_that_take_turns_each_go_on_where_they_were(tmp_path):
    journal = tmp_path / "runs"
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("a")
    second.write_text("b")
    # (which, batches in the spool when it begins, batches of it that are there)
    story = [(first, 0, 0), (second, 50, 0), (first, 80, 50), (second, 130, 30), (second, 170, 70)]
    story += [(first, 200, 100), (second, 200, 100), (first, 200, 100)]
    for which, there, sealed in story:
        assert already_sealed(journal, [which], there) == sealed


def test_a_journal_that_cannot_be_read_is_begun_anew(tmp_path):
    journal, file = tmp_path / "runs", tmp_path / "a"
    file.write_text("a")
    for content in ("", "{", '{"a": 1}', "[1]"):
        journal.write_text(content)
        assert already_sealed(journal, [file], 7) == 0
