"""Mutated input ends in a result or in one line. `python -m tests.fuzz` has more of it; FUZZ_COUNT too."""

from __future__ import annotations

import os
import threading

import pytest

from solvers import ask
from solvers.problem import Problem
from tests.fuzz.cases import _told, outcome, run

COUNT = int(os.environ.get("FUZZ_COUNT", "500"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="hangs are ended by a POSIX signal")
def test_mutations_of_the_examples(tmp_path, capsys) -> None:
    assert threading.current_thread() is threading.main_thread()
    counts, _ = run(range(COUNT), tmp_path)
    with capsys.disabled():
        print(f"\n{counts.total()} mutations:", ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    assert counts.total() == COUNT
    # Mutations that all were refused, or none of them, would show nothing.
    assert counts["refused"] > COUNT / 4
    assert counts["solved"] > COUNT / 8


def test_faults_are_found(tmp_path, monkeypatch) -> None:
    """Controls: a traceback, a message of two lines, a long one, and a nan at status 0 are faults."""
    example = "figures/problems/two_modes.toml"
    for name in ("problems", "sweeps"):
        (tmp_path / name).mkdir()
    from tests.fuzz.mutations import examples

    text = examples()[example].encode()
    assert outcome(example, text, tmp_path) == "solved"
    for message in ("two\nlines", "x" * 301, "\x1b[31m", ""):
        with pytest.raises(AssertionError):
            _told(ValueError(message), "refused")

    whole = ask.solve

    def spoilt(problem, **options):
        ds = whole(problem, **options)
        ds["objective"][0, -1] = float("nan")
        return ds

    monkeypatch.setattr(ask, "solve", spoilt)
    with pytest.raises(AssertionError, match=r"not finite at status 0: \['objective'\]"):
        outcome(example, text, tmp_path)
    monkeypatch.setattr(Problem, "load", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outcome(example, text, tmp_path)
