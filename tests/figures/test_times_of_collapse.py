"""What is said of collapse is said of a time: docs, problem files and captions, as far as reading can tell.

With learned weights a lost mode may come back. A sentence about collapse in general has no time, so only what stands
beside a picture or describes a file is read.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from figures import annealing, collapse_probability, overlap_trajectories, phase_diagram, sampler_phase
from solvers.problem import Problem
from tests.figures.figure_cases import results_of
from tests.figures.figure_results import TINY, made_up

ROOT = Path(__file__).parents[2]
FATE = re.compile(
    r"\bcollaps(e|es|ed)\b|\b(lost|loses?|recover(s|ed)?|misses) (a|one|some|both|all|the)\b", re.IGNORECASE
)
TIME = re.compile(r"\bt\$? ?[=≈] ?\$?\d|\btime \d")
RULE = re.compile(r"fixed weights?|weights? (are )?(fixed|learned)|softmax|Fisher–Rao", re.IGNORECASE)


def without_time(texts: dict[str, str]) -> list[str]:
    """Names of texts that say what becomes of starts and not when, or not under which rule of the weights."""
    return [name for name, text in texts.items() if FATE.search(text) and not (TIME.search(text) and RULE.search(text))]


def pictures() -> dict[str, str]:
    """What stands beside the pictures of README and gallery."""
    gallery = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8").split("\n## ")[1:]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    beside = re.findall(r"!\[[^\]]*\]\(([^)]*)\)\n\n\*(.*?)\*\n\n", readme, re.DOTALL)
    found = {f"README, {name}": text for name, text in beside}
    assert len(found) == readme.count("![") >= 2
    # The names of figures and of files are no statements.
    return found | {part.split("\n")[0]: re.sub(r"\]\([^)]*\)|^.*|    python.*", "", part, count=0) for part in gallery}


def comments() -> dict[str, str]:
    """The comment at the head of every problem and sweep file, and all others of it together."""
    files = [*(ROOT / "figures" / "problems").glob("*.toml"), *(ROOT / "figures" / "sweeps").glob("*.toml")]
    return {path.name: " ".join(re.findall(r"#(.*)", path.read_text(encoding="utf-8"))) for path in files}


def test_pictures_say_when() -> None:
    assert without_time(pictures()) == []


def test_problem_files_say_when() -> None:
    texts = comments()
    assert len(texts) > 20
    # The rule of the weights is in the file itself.
    assert without_time({name: f"{text} softmax" for name, text in texts.items()}) == []


@pytest.mark.parametrize(
    "text",
    [
        "Two modes, softmax weights: one start collapses, one recovers both modes.",
        "How often two components lose a mode, weights fixed.",
        "The second start collapses onto one mode at t = 15.",
    ],
)
def test_a_statement_without_its_time_or_its_rule_is_seen(text: str) -> None:
    assert without_time({"it": text}) == ["it"]


def test_a_statement_with_both_passes() -> None:
    assert without_time({"it": "With softmax weights the first start has lost a mode at t = 15."}) == []


@pytest.mark.slow
def test_captions_and_axes_of_probabilities_say_when() -> None:
    swept = (annealing, collapse_probability, phase_diagram, sampler_phase)
    cases = {module: results_of(module) for module in swept}
    cases[overlap_trajectories] = made_up(Problem.parse(TINY))
    for module, results in cases.items():
        caption = module.caption(results)
        assert TIME.search(caption), module.__name__
        assert RULE.search(caption), module.__name__
    for module in swept:
        axes = module.main(cases[module]).axes
        told = "t=1000" if module is annealing else "t=40"  # of the lines
        assert any(told in ax.get_ylabel() for ax in axes), module.__name__
