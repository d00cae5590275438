"""docs/verification.md: its tables are those of the stored numbers, and these are those of a healthy comparison."""

import json

import pytest
from scipy.stats import binom

from tests.verification import tables
from tests.verification.__main__ import PARTS, RESULTS
from tests.verification.mutations import MUTATIONS


def stored(part):
    return json.loads((RESULTS / f"{part}.json").read_text(encoding="utf-8"))


def test_every_part_has_its_numbers_and_its_table():
    assert {path.stem for path in RESULTS.glob("*.json")} == set(PARTS)
    text = tables.DOCUMENT.read_text(encoding="utf-8")
    assert tables.written(text, RESULTS) == text
    # A changed digit would be seen.
    assert tables.written(text.replace("| 5 % |", "| 6 % |", 1), RESULTS) == text


def test_a_document_without_a_table_is_refused():
    with pytest.raises(ValueError, match=r"docs/verification.md lacks <!-- calibration -->"):
        tables.written("", RESULTS)


def test_the_stored_numbers_are_those_of_a_healthy_comparison():
    calibration = stored("calibration")
    for part in calibration["parts"].values():
        for level, count in part["verdict"].items():
            assert binom.sf(count - 1, part["repetitions"], float(level)) > 1e-6
    rows = stored("mutations")["rows"]
    assert [row["kind"] for row in rows] == ["none", *(mutation.kind for mutation in MUTATIONS)]
    assert [row["verdicts"][d]["agrees"] for row in rows for d in row["verdicts"]] == [
        row["kind"] == "none" for row in rows for _ in row["verdicts"]
    ]
    assert all(row["mcnemar"] > 1e-6 for row in stored("outcomes")["rows"])
    assert {row["d"] for row in stored("outcomes")["rows"]} == {10, 100, 1000}
