"""The house: who imports whom, where packages come from, and what the README promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("theory", "derivations", "solvers", "figures")

#: What each package may import of the others. derivations → theory, figures → solvers; nothing else.
ALLOWED = {"theory": set(), "derivations": {"theory"}, "solvers": set(), "figures": {"solvers"}}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this project"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


#: Of nobody: the doors of all packages say things in the same words, and an objective is read as text by problem files
#: and by the engine alike. They know neither numbers nor symbols.
SHARED = ("solvers.door", "solvers.objective")


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in modules(package):
        names = {name for name in imported(path) if not (name + ".").startswith(tuple(f"{n}." for n in SHARED))}
        roots = {name.split(".")[0] for name in names}
        assert roots & set(PACKAGES) <= ALLOWED[package] | {package}, path


def test_numbers_know_no_symbols() -> None:
    for path in [*modules("solvers"), *modules("figures")]:
        assert "sympy" not in {name.split(".")[0] for name in imported(path)}, path


def test_cupy_is_imported_in_one_place() -> None:
    text = {path: path.read_text() for package in PACKAGES for path in modules(package)}
    importing = {p for p in text if "cupy" in {name.split(".")[0] for name in imported(p)}}
    importing |= {p for p, t in text.items() if re.search(r"import_module\([^)]*cupy", t)}
    assert {p.relative_to(ROOT).as_posix() for p in importing} <= {"solvers/machine/arrays.py"}


#: Rooms of solvers/, each above those that it may import: the table of docs/architecture.md.
ROOMS = (
    "door", "objective", "machine", "problem", "results", "integrate", "expectations", "generated", "cuda", "closed",
    "equilibria", "sampler", "particles", "verdict", "ask", "sweeps", "reopen", "console", "__main__",
)  # fmt: skip


def graph(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Modules of a package and which of them each imports, wherever in the file, TYPE_CHECKING included."""
    files = {}
    for path in sorted((root / package).rglob("*.py")):
        files[".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")] = path
    return {name: _edges(path, set(files)) - {name} for name, path in files.items()}


def _edges(path: Path, known: set[str]) -> set[str]:
    """Of the known modules those that a file imports, or from which it imports a name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name if name in known else name.rpartition(".")[0] for name in full}
    return found & known


def reached(edges: dict[str, set[str]], start: set[str]) -> set[str]:
    """All modules that these import, directly or through others."""
    found: set[str] = set()
    left = list(start)
    while left:
        for name in edges[left.pop()] - found:
            found.add(name)
            left.append(name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_in_circles(package: str) -> None:
    edges = graph(package)
    assert sum(map(len, edges.values())) > 3, "edges are found"
    assert not [name for name in edges if name in reached(edges, {name})]


def test_circles_and_closures_would_be_seen(tmp_path: Path) -> None:
    texts = {
        "a": "from house.b import x",
        "b": "def f():\n    from house import c",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.a",
        "d": "from house.c import y",
    }
    (tmp_path / "house").mkdir()
    for name, text in texts.items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    edges = graph("house", tmp_path)
    assert {name for name in edges if name in reached(edges, {name})} == {"house.a", "house.b", "house.c"}
    assert reached(edges, {"house.d"}) == {"house.a", "house.b", "house.c"}


def test_rooms_lie_one_above_the_other() -> None:
    edges = graph("solvers")
    room = {name: ROOMS.index(name.split(".")[1]) for name in edges if "." in name}
    climbs = [(name, other) for name in room for other in edges[name] if other in room and room[other] > room[name]]
    assert not climbs
    assert set(room.values()) == set(range(len(ROOMS)))


def test_particles_take_nothing_from_the_theory() -> None:
    """Independent verification, through any chain of imports: machine, problem and results, and no more."""
    edges = graph("solvers")
    particles = {name for name in edges if name.startswith("solvers.particles")}
    rooms = {name.split(".")[1] for name in reached(edges, particles) if "." in name}
    assert rooms == {"particles", "machine", "problem", "results", "door", "objective"}


def test_the_public_module_is_above_all() -> None:
    for path in [path for package in PACKAGES for path in modules(package)]:
        assert "modecollapse" not in {name.split(".")[0] for name in imported(path)}, path


@pytest.mark.parametrize("package", [*PACKAGES, "modecollapse"])
def test_packages_come_from_this_checkout(package: str) -> None:
    """The top-level names are generic: another package of the same name must not be picked up."""
    module = __import__(package)
    assert Path(str(module.__file__)).resolve().is_relative_to(ROOT)


def test_files_stay_small() -> None:
    long = {}
    for package in PACKAGES:
        for path in modules(package):
            if "generated" in path.parts:  # one text for one system, which nobody edits
                continue
            lines = len(path.read_text().splitlines())
            if lines > 320:
                long[path.relative_to(ROOT).as_posix()] = lines
    assert not long


def test_readme_example_runs() -> None:
    """The ten-line Python example of the README, executed as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    namespace: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), namespace)
    collapsed, objective = namespace["run"].collapsed, namespace["run"].objective[:, -1]  # type: ignore[attr-defined]
    assert sorted(collapsed.values) == [0, 1]
    # one of two equal modes missed costs log 2; both found, nothing
    assert float(objective[collapsed == 1][0]) == pytest.approx(0.693, abs=0.02)
    assert float(objective[collapsed == 0][0]) < 0.02


def test_readme_names_real_files_and_commands() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "architecture.md").read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        candidates = (ROOT / link, ROOT / "docs" / link)
        assert any(c.exists() for c in candidates), link
