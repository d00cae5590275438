"""What docs/ quotes of the program's messages is what the program says, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import theory
from solvers.ask import compare, solve
from solvers.problem import Problem
from theory.objectives import AlphaDivergence
from theory.samplers import reduce_chain

ROOT = Path(__file__).resolve().parents[1]
NAMES = vars(theory) | {"AlphaDivergence": AlphaDivergence, "reduce_chain": reduce_chain}

PROBLEM = """
dimension = 4
[target]
separation = 2.0
[family]
components = 2
[init]
scale = 0.5
[time]
end = 1.0
"""


def quotes(document: str) -> list[tuple[str, str, str]]:
    """(language, source, message) of every fenced block that a block of text follows, whatever stands between."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [
        (language, source, " ".join(message.split()))
        for (language, source), (after, message) in zip([("", ""), *blocks], blocks, strict=False)
        if after == "text"
    ]


def run(language: str, source: str) -> None:
    if language == "python":
        exec(compile(source, "docs", "exec"), dict(NAMES))
    elif language == "toml":
        solve(Problem.parse(PROBLEM + source, "two_modes.toml"), backend=backend_of(source))
    else:
        batch = PROBLEM + "[flow]\nbatch = {size = 4, step = 0.1}\n"
        compare(Problem.parse(batch, "two_modes.toml"), particles=4, replicas=32, step=0.1)


def said(language: str, source: str) -> str:
    """What running a block says when it is refused."""
    try:
        run(language, source)
    except Exception as refusal:
        return " ".join(f"{type(refusal).__name__}: {refusal}".split())
    raise AssertionError(f"not refused: {source}")


def backend_of(source: str) -> str | None:
    """Explicitly numba where the [flow] is one that NumPy solves."""
    return None if "temperature" in source else "numba"


@pytest.mark.parametrize("document", ["theory.md", "limits.md"])
def test_messages_are_real(document: str) -> None:
    found = quotes(document)
    assert len(found) >= 2
    for language, source, message in found:
        assert said(language, source) == message, source


def test_a_changed_word_is_noticed() -> None:
    language, source, message = quotes("theory.md")[1]
    assert said(language, source) != message.replace("scalar", "single")
