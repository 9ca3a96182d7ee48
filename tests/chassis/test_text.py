"""Hostile text is harmless at every edge."""

import csv
import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from chassis.text import csv_cell, show


@given(st.binary())
def test_any_bytes_become_text_that_utf8_and_terminals_can_carry(raw):
    text = show(raw)
    text.encode("utf-8")
    assert not {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs"}


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_readable_text_stays_as_it_is(text):
    assert show(text) == text


def test_what_cannot_be_read_is_named():
    assert show(b"/tmp/\xff\x1b[31m") == "/tmp/\\xff\\x1b[31m"
    assert show("a\u202eb") == "a\\u{202e}b"


@given(st.text(max_size=40))
def test_no_cell_is_a_formula_and_csv_gives_it_back(text):
    cell = csv_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in (text, f"'{text}")
    out = io.StringIO()
    csv.writer(out).writerow([cell, "x"])
    if "\r" not in text and "\0" not in text:
        assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [cell, "x"]
