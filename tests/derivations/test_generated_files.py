"""Generated files are what the derivations generate, and an edit of one character is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from derivations import files
from derivations.__main__ import show_app
from derivations.catalogue import Entry, catalogue, documents
from solvers.closed import systems
from tests.rated import rated
from theory import ReverseKL, close, gradient_flow, mixture, target
from theory.configuration import Configuration
from theory.expectations import Expectation
from theory.mixtures import LogDensity, Responsibility
from theory.parameters import rate
from theory.quadrature import evaluate
from theory.sums import substitute

ROOT = Path(__file__).resolve().parents[2]


def door(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "derivations", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the check reads, in which files may be edited."""
    for package in ("theory", "derivations", "solvers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    """The catalogue, each system of which is derived once."""
    return catalogue()


@pytest.mark.slow
def test_committed_files_are_current(entries: dict[str, Entry]) -> None:
    """What --check says of this checkout; the command itself is run on all derivations by the test of the demo."""
    written = documents()
    assert [*files.differences(files.expected(entries, written))] == []
    assert files.stray(entries, written) == []


@pytest.mark.slow
def test_one_character_is_enough_and_missing_and_stray_files_are_differences(checkout: Path) -> None:
    edits = {
        "derivations/documents/reverse_kl.md": ("{}& ", "{}&  "),
        "solvers/generated/reverse_kl.py": ("+ B @ m.mT * beta / u", "- B @ m.mT * beta / u"),
        "solvers/generated/forward_kl.py": ("SYSTEM = ", "SYSTEM  = "),
        "README.md": ("| meaning |", "| Meaning |"),
    }
    for path, (old, new) in edits.items():
        text = (checkout / path).read_text()
        assert old in text
        (checkout / path).write_text(text.replace(old, new, 1))
    (checkout / "solvers/generated/forward_kl.numba").unlink()
    (checkout / "solvers/generated/by_hand.py").write_text("x = 1\n")
    done = door("--check", "reverse_kl", "forward_kl", cwd=checkout)
    assert done.returncode == 1
    assert "forward_kl.numba: missing" in done.stderr
    assert "by_hand.py: no derivation generates this file" in done.stderr
    found = [line.split(": line ")[0] for line in done.stderr.splitlines() if ": line " in line]
    assert sorted(found) == sorted(edits)  # each of them, and no other


@pytest.mark.slow
def test_regenerating_repairs(checkout: Path) -> None:
    (checkout / "solvers/generated/reverse_kl.py").write_text("broken\n")
    assert door("--quiet", "reverse_kl", cwd=checkout).returncode == 0
    assert (checkout / "solvers/generated/reverse_kl.py").read_text() == systems.read("reverse_kl")


@pytest.mark.slow
def test_show_prints_each_view_and_refuses_others() -> None:
    latex, text, other = (
        CliRunner().invoke(show_app, ["reverse_kl", "--as", view]) for view in ("latex", "text", "fortran")
    )
    assert r"\dot s_{ki}" in latex.stdout
    assert "ds[k,i]/dt" in text.stdout
    assert other.exit_code == 2
    # and as processes
    assert door("show", "reverse_kl", "--as", "numpy").stdout == systems.read("reverse_kl")
    unknown = door("show", "forward_flow")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "reverse_kl" in unknown.stderr
    assert door("forward_flow").returncode == 2


def test_emitted_code_equals_the_expectations_it_came_from() -> None:
    """Tables and velocities of the emitted source against quadrature in R^d of E_k[r_j], E_k[ρ_l], log q − log p."""
    at = Configuration.random(K=3, L=2)
    gram, q, p = at.gram(), mixture(), target()
    s, m, c = gram[:3, :3], gram[:3, 3:], gram[3:, 3:]
    theta = np.log(at.weights["w"])
    v, u, d = at.symbols["v"], at.symbols["u"], at.symbols["d"]
    module = systems.load(systems.read("reverse_kl"))
    values = {"s": s, "m": m, "theta": theta, "c": c, "log_pi": np.log(at.weights["pi"]), "v": v, "u": u, "d": d}
    known = rated(module, values)
    A, B, F = (known[name] for name in "ABF")
    shared = d * (v / u - 1 - np.log(v / u)) / 2  # of all components, which the table leaves out
    for k in range(3):
        expected = [evaluate(Expectation(q, k + 1, Responsibility(q, j + 1)), at).item() for j in range(3)]
        np.testing.assert_allclose(A[k], expected, atol=1e-9)
        expected = [evaluate(Expectation(q, k + 1, Responsibility(p, l + 1)), at).item() for l in range(2)]
        np.testing.assert_allclose(B[k], expected, atol=1e-9)
        free_energy = evaluate(Expectation(q, k + 1, LogDensity(q) - LogDensity(p)), at).item()
        assert F[k] + shared == pytest.approx(free_energy, abs=1e-9)
    _, dm, dtheta = systems.call(module.velocity, known)
    flow = gradient_flow(ReverseKL(q, p))
    rates = {rate(group, flow.component): q.weight(flow.component) for group in flow.powers}
    mean, slope = flow.mean.xreplace(rates), flow.theta.xreplace(rates)
    from sympy import Integer

    from theory.vectors import Dot

    for k in range(3):
        for l in range(2):
            vector = substitute(mean, flow.component, Integer(k + 1))
            assert dm[k, l] == pytest.approx(evaluate(Dot(vector, p.mean(l + 1)), at).item(), abs=1e-9)
        scalar = substitute(slope, flow.component, Integer(k + 1))
        assert dtheta[k] == pytest.approx(evaluate(scalar, at).item(), abs=1e-9)


def test_emitted_code_is_stable_at_large_logits_and_batches() -> None:
    module = systems.load(systems.read("reverse_kl"))
    big = 100.0  # mean vectors of norm 100: logits of ±10⁴
    s = np.array([[1.0, -1.0], [-1.0, 1.0]]) * big**2
    theta = np.array([0.0, -1e4])
    values: dict[str, Any] = {
        "s": s,
        "m": s,
        "theta": theta,
        "c": s,
        "log_pi": np.log([0.5, 0.5]),
        "v": 1.0,
        "u": 1.0,
        "d": 64,
    }
    # The weight of the second component is zero in double precision: no metric divides by it here.
    for metric, weights in (("euclidean", "softmax"), ("wasserstein", "fisher-rao")):
        known = rated(module, values, metric, weights)
        tables = [known[name] for name in "ABF"]
        for array in (*tables, *systems.call(module.velocity, known)):
            assert np.all(np.isfinite(array))
    np.testing.assert_allclose(known["B"], np.eye(2), atol=1e-12)
    batch = values | {
        name: np.broadcast_to(values[name], (4, 3, *np.shape(values[name]))) for name in ("s", "m", "theta")
    }
    batched = rated(module, batch)
    for one, many in zip(tables, [batched[name] for name in "ABF"], strict=True):
        np.testing.assert_array_equal(many, np.broadcast_to(one, many.shape))


def test_a_users_own_system_is_emitted_and_loaded_alike() -> None:
    system = close(gradient_flow(ReverseKL(mixture(), target())))
    module = systems.load(system.emit("numpy"))
    assert system.hash == module.SYSTEM
    assert module.POWERS == {"means": 1, "weights": 1}
    assert "dtheta" not in system.held("theta").emit("numpy")


@pytest.mark.slow
def test_the_catalogue_finds_files_by_itself(entries: dict[str, Entry]) -> None:
    assert {"reverse_kl", "forward_kl"} <= set(entries)
    for name, entry in entries.items():
        if "numpy" in entry.sources:
            assert entry.system.hash == systems.load(systems.read(name)).SYSTEM
        assert entry.system.hash in (files.DOCUMENTS / f"{name}.md").read_text()


def test_dropping_a_term_removes_that_line_and_nothing_else() -> None:
    source = systems.read("reverse_kl")
    names = systems.terms(source)
    assert len(names) == len(set(names)) >= 8
    whole = systems.load(source)
    values = {"s": np.eye(2), "m": np.full((2, 2), 0.5), "theta": np.zeros(2), "c": np.eye(2), "v": 0.8, "u": 1.3}
    known = rated(whole, values | {"log_pi": np.log([0.5, 0.5]), "d": 5})
    full = systems.call(whole.velocity, known)
    for name in names:
        wrong = systems.load(source, drop=name)
        assert f"{whole.SYSTEM} without {name}" == wrong.SYSTEM
        parts = systems.call(wrong.velocity, known)
        changed = [not np.allclose(a, b, atol=1e-12) for a, b in zip(full, parts, strict=True)]
        state = name.split(".")[0]
        assert changed == [state == "ds", state == "dm", state == "dtheta"], name
    with pytest.raises(systems.TermError, match="allowed are"):
        systems.load(source, drop="ds.everything")
