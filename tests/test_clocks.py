"""No test asks a clock: waiting ends by what happens, and limits on time are there against hanging alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.limits import HANG

TESTS = Path(__file__).parent
#: Benchmarks measure time; so does a table of the special functions.
MEASURES = {"benchmarks", "special_functions_document.py", "portable.py", "__main__.py", "test_clocks.py"}
CLOCKS = re.compile(
    r"""timeout\s*=\s*(?!HANG\b|None\b)\S+      # a limit of its own
    |   \.wait\(\s*[^)\s\[] | \.join\(\s*\d     # waiting for so many seconds
    |   \bsleep\(                               # and for nothing at all
    |   deadline\s*=\s*(?!None\b)\S+            # of hypothesis
    |   \b(?:perf_counter|monotonic)\(          # speed
    """,
    re.VERBOSE,
)


def test_no_test_asks_a_clock() -> None:
    """Scripts that tests run in other processes stand in their text, and are read with it."""
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        if MEASURES.isdisjoint(path.relative_to(TESTS).parts):
            clocks = CLOCKS.findall(path.read_text(encoding="utf-8"))
            found |= {path.relative_to(TESTS).as_posix(): clocks} if clocks else {}
    assert not found, f"wait for what happens, with timeout=HANG ({HANG:g} s, tests/limits.py) where it may hang"


@pytest.mark.parametrize(
    "text",
    [
        "process.communicate(timeout=100)",
        "running.wait(rng.uniform(1.0, 3.0))",
        "thread.join(5)",
        "time.sleep(0.1)",
        "settings(deadline=200)",
        "begin = time.perf_counter()",
    ],
)
def test_clocks_are_seen(text: str) -> None:
    assert CLOCKS.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "process.communicate(timeout=HANG)",
        "Event().wait()",
        "cluster.wait([future])",
        '", ".join(names)',
        "settings(deadline=None)",
    ],
)
def test_what_waits_for_what_happens_is_not(text: str) -> None:
    assert not CLOCKS.search(text)
