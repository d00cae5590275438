"""The tests themselves: what they share, and what the quick ones (`make quick`) still see."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent

#: Folders with tests of their own. What is generated is tested where it is made and where it is loaded.
ROOMS = [
    *("theory", "derivations", "figures"),
    *(
        f"solvers/{path.name}"
        for path in sorted((ROOT / "solvers").iterdir())
        if path.is_dir() and any(path.glob("*.py"))
    ),
]
ROOMS.remove("solvers/generated")


def slow(node: ast.AST) -> bool:
    """Whether a decorator, or what `pytestmark` is set to, says slow."""
    return any(isinstance(part, ast.Attribute) and part.attr == "slow" for part in ast.walk(node))


def quick(text: str) -> list[str]:
    """Names of the tests of a file that are not marked slow, as a whole or one by one; a class counts as one."""
    body = ast.parse(text).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and slow(node.value):
            return []
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [node.name for node in functions if not any(map(slow, node.decorator_list))]


@pytest.mark.parametrize("room", ROOMS)
def test_quick_tests_see_every_room(room: str) -> None:
    files = sorted((TESTS / room).glob("**/test_*.py"))
    assert any(quick(path.read_text(encoding="utf-8")) for path in files)


def test_marks_are_read() -> None:
    text = "{}\n@pytest.mark.slow\ndef test_a(): ...\n@pytest.mark.parametrize('x', [1])\ndef test_b(x): ..."
    assert quick(text.format("")) == ["test_b"]
    assert quick(text.format("pytestmark = pytest.mark.slow")) == []
    assert quick(text.format("pytestmark = [pytest.mark.gpu, pytest.mark.slow]")) == []


def test_no_test_is_imported_from_another() -> None:
    """It would be collected twice, or bring what the other needs: what is shared is in a module that tests nothing."""
    for path in sorted(TESTS.rglob("*.py")):
        assert not re.findall(r"from tests\.[\w.]*\btest_\w+ import", path.read_text(encoding="utf-8")), path
