"""The bridge: generated files are what the derivations generate, and an edit of one character is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from derivations import files
from derivations.catalogue import catalogue
from solvers import systems
from solvers.expectations import gaussian_softmax
from theory import ReverseKL, close, gradient_flow, mixture, target
from theory.expectations import Expectation
from theory.mixtures import LogDensity, Responsibility
from theory.sums import substitute
from theory.witness import Witness, evaluate

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


def test_committed_files_are_current() -> None:
    done = door("--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("derivations/documents/reverse_kl_flow.md", "{}& ", "{}&  "),
        ("solvers/generated/reverse_kl_flow.py", "+ B @ m.mT / u", "- B @ m.mT / u"),
        ("solvers/generated/reverse_kl_fisher_rao.py", "SYSTEM = ", "SYSTEM  = "),
        ("README.md", "| meaning |", "| Meaning |"),
    ],
)
def test_one_character_is_enough(checkout: Path, path: str, old: str, new: str) -> None:
    edited = checkout / path
    text = edited.read_text()
    assert old in text
    edited.write_text(text.replace(old, new, 1))
    done = door("--check", "reverse_kl_flow", "reverse_kl_fisher_rao", cwd=checkout)
    assert done.returncode == 1
    assert path in done.stderr
    assert "line" in done.stderr


def test_missing_and_stray_files_are_differences(checkout: Path) -> None:
    (checkout / "solvers/generated/reverse_kl_flow.py").unlink()
    (checkout / "solvers/generated/by_hand.py").write_text("x = 1\n")
    done = door("--check", "reverse_kl_flow", cwd=checkout)
    assert done.returncode == 1
    assert "reverse_kl_flow.py: missing" in done.stderr
    assert "by_hand.py: no derivation generates this file" in done.stderr


def test_regenerating_repairs(checkout: Path) -> None:
    (checkout / "solvers/generated/reverse_kl_flow.py").write_text("broken\n")
    assert door("--quiet", "reverse_kl_flow", cwd=checkout).returncode == 0
    assert door("--check", "reverse_kl_flow", cwd=checkout).returncode == 0
    assert "broken" not in (checkout / "solvers/generated/reverse_kl_flow.py").read_text()


def test_show_prints_each_view_and_refuses_others() -> None:
    assert r"\dot s_{ki}" in door("show", "reverse_kl_flow", "--as", "latex").stdout
    assert "ds[k,i]/dt" in door("show", "reverse_kl_flow", "--as", "text").stdout
    assert door("show", "reverse_kl_flow", "--as", "numpy").stdout == systems.read("reverse_kl_flow")
    unknown = door("show", "forward_flow")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "reverse_kl_flow" in unknown.stderr
    assert door("forward_flow").returncode == 2
    assert door("show", "reverse_kl_flow", "--as", "fortran").returncode == 2


def test_emitted_code_equals_the_expectations_it_came_from() -> None:
    """Tables and velocities of the emitted source against quadrature in R^d of E_k[r_j], E_k[ρ_l], log q − log p."""
    at = Witness.random(K=3, L=2)
    gram, q, p = at.gram(), mixture(), target()
    s, m, c = gram[:3, :3], gram[:3, 3:], gram[3:, 3:]
    theta = np.log(at.weights["w"])
    v, u, d = at.symbols["v"], at.symbols["u"], at.symbols["d"]
    module = systems.load(systems.read("reverse_kl_flow"))
    A, B, F = module.tables(s, m, theta, c, np.log(at.weights["pi"]), v, u, d, gaussian_softmax)
    for k in range(3):
        expected = [evaluate(Expectation(q, k + 1, Responsibility(q, j + 1)), at).item() for j in range(3)]
        np.testing.assert_allclose(A[k], expected, atol=1e-9)
        expected = [evaluate(Expectation(q, k + 1, Responsibility(p, l + 1)), at).item() for l in range(2)]
        np.testing.assert_allclose(B[k], expected, atol=1e-9)
        free_energy = evaluate(Expectation(q, k + 1, LogDensity(q) - LogDensity(p)), at).item()
        assert F[k] == pytest.approx(free_energy, abs=1e-9)
    _, dm, dtheta = module.velocity(A, B, F, s, m, theta, c, v, u)
    flow = gradient_flow(ReverseKL(q, p), weights="softmax")
    assert flow.theta is not None
    from sympy import Integer

    from theory.vectors import Dot

    for k in range(3):
        for l in range(2):
            vector = substitute(flow.mean, flow.component, Integer(k + 1))
            assert dm[k, l] == pytest.approx(evaluate(Dot(vector, p.mean(l + 1)), at).item(), abs=1e-9)
        scalar = substitute(flow.theta, flow.component, Integer(k + 1))
        assert dtheta[k] == pytest.approx(evaluate(scalar, at).item(), abs=1e-9)


def test_emitted_code_is_stable_at_large_logits_and_batches() -> None:
    module = systems.load(systems.read("reverse_kl_flow"))
    big = 100.0  # mean vectors of norm 100: logits of ±10⁴
    s = np.array([[1.0, -1.0], [-1.0, 1.0]]) * big**2
    theta = np.array([0.0, -1e4])
    arguments = (s, s, theta, s, np.log([0.5, 0.5]), 1.0, 1.0, 64)
    A, B, F = module.tables(*arguments, gaussian_softmax)
    velocity = module.velocity(A, B, F, s, s, theta, s, 1.0, 1.0)
    for array in (A, B, F, *velocity):
        assert np.all(np.isfinite(array))
    np.testing.assert_allclose(B, np.eye(2), atol=1e-12)
    batch = [np.broadcast_to(a, (4, 3, *np.shape(a))) for a in arguments[:3]]
    for one, many in zip((A, B, F), module.tables(*batch, *arguments[3:], gaussian_softmax), strict=True):
        np.testing.assert_array_equal(many, np.broadcast_to(one, many.shape))


def test_a_users_own_system_crosses_the_same_bridge() -> None:
    system = close(gradient_flow(ReverseKL(mixture(), target())))
    module = systems.load(system.emit("numpy"))
    assert system.hash == module.SYSTEM
    assert "dtheta" not in system.emit("numpy")


def test_the_catalogue_finds_files_by_itself() -> None:
    entries = catalogue()
    assert {"reverse_kl_flow", "reverse_kl_fisher_rao"} <= set(entries)
    for name, entry in entries.items():
        assert entry.system.hash == systems.load(systems.read(name)).SYSTEM
        assert entry.system.hash in (files.DOCUMENTS / f"{name}.md").read_text()


def test_dropping_a_term_removes_that_line_and_nothing_else() -> None:
    source = systems.read("reverse_kl_flow")
    names = systems.terms(source)
    assert len(names) == len(set(names)) >= 8
    whole = systems.load(source)
    arguments = (np.eye(2), np.full((2, 2), 0.5), np.zeros(2))
    tables = whole.tables(*arguments, np.eye(2), np.log([0.5, 0.5]), 0.8, 1.3, 5, gaussian_softmax)
    full = whole.velocity(*tables, *arguments, np.eye(2), 0.8, 1.3)
    for name in names:
        wrong = systems.load(source, drop=name)
        assert f"{whole.SYSTEM} without {name}" == wrong.SYSTEM
        parts = wrong.velocity(*tables, *arguments, np.eye(2), 0.8, 1.3)
        changed = [not np.allclose(a, b, atol=1e-12) for a, b in zip(full, parts, strict=True)]
        state = name.split(".")[0]
        assert changed == [state == "ds", state == "dm", state == "dtheta"], name
    with pytest.raises(systems.TermError, match="allowed are"):
        systems.load(source, drop="ds.everything")
