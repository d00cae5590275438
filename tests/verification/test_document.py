"""docs/verification.md: its tables are those of the stored numbers, and these are those of a healthy comparison."""

import json

import pytest
from scipy.stats import binom, fisher_exact

from tests.verification import tables
from tests.verification.__main__ import PARTS, RESULTS
from tests.verification.mutations import MUTATIONS
from tests.verification.refinement import SETTINGS


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


def test_the_stored_numbers_say_that_refinement_helps():
    rows = stored("refinement")["rows"]
    assert {row["setting"] for row in rows} == set(SETTINGS)
    for grown_theory, grown, fixed_theory, fixed in (rows[i : i + 4] for i in range(0, len(rows), 4)):
        for theory, simulation in ((grown_theory, grown), (fixed_theory, fixed)):
            table = [[row["recovered"], row["starts"] - row["recovered"]] for row in (theory, simulation)]
            assert fisher_exact(table).pvalue > 1e-6
        if "given" in grown["setting"] or "wasserstein, R = 5" in grown["setting"]:
            assert grown_theory["interval"][0] > fixed_theory["interval"][1]
            assert grown["interval"][0] > fixed["interval"][1]
