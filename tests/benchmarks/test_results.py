"""The file and the table of benchmark results."""

import json

import pytest

from benchmarks import results
from benchmarks.results import Result


def test_a_run_of_one_part_keeps_the_numbers_of_the_others(tmp_path):
    file = tmp_path / "results.json"
    results.merge([Result("b.cost", 12, "%", 10, 21), Result("a.lost", 0, "events", 0)], file)
    results.merge([Result("b.cost", 8.0, "%", 10, 16)], file)
    assert json.loads(file.read_text()) == [
        {
            "name": "a.lost",
            "value": 0,
            "unit": "events",
            "target": 0,
            "baseline": None,
            "ratio": None,
        },
        {
            "name": "b.cost",
            "value": 8.0,
            "unit": "%",
            "target": 10,
            "baseline": 16,
            "ratio": 0.5,
        },
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("result", "met"),
    [
        (Result("cost", 10, "%", 10), True),
        (Result("cost", 10.1, "%", 10), False),
        (Result("rate", 10.1, "records/s", 10), True),
        (Result("rate", 9.9, "records/s", 10), False),
        (Result("faster", 0.9, "x", 1), False),
        (Result("size", 90, "MB"), None),
    ],
)
def test_costs_stay_below_their_target_and_rates_reach_it(result, met):
    assert result.met is met


def test_the_table_shows_target_baseline_and_what_is_missed():
    text = results.table([Result("cost", 12.34, "%", 10, 20), Result("size", 61, "MB", 80)])
    rows = [line.split() for line in text.splitlines()]
    assert rows[1] == ["cost", "12.3", "%", "10", "20", "0.617", "MISSED"]
    assert rows[2] == ["size", "61", "MB", "80", "-", "-", "met"]


def test_what_is_no_measurement_is_no_result():
    with pytest.raises(ValueError, match="no measurement"):
        Result("cost", float("nan"), "%")
    assert Result("cost", 5, "%", baseline=0).ratio is None


@pytest.mark.parametrize("text", ["", '{"name": 1}', '[{"name": "x"}]', "[1]", "3"])
def test_a_file_that_holds_something_else_is_named(tmp_path, text):
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"results\.json is not a list of results"):
        results.load(file)
