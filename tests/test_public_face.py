"""modecollapse.py: one module from which users import, cheap until something is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import modecollapse as mc
from tests.limits import HANG

PROBLEM = """
dimension = 4
target = {separation = 2.0}
family = {components = 1, learn = ["means"]}
init = {means = [[0.4, 0.2]]}
time = {end = 0.5, save = 2}
"""


def test_every_name_is_there_and_typed() -> None:
    """What loads at run time, what type checkers see and what is promised are the same names."""
    tree = ast.parse(Path(str(mc.__file__)).read_text(encoding="utf-8"))
    seen = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed | {"__version__"} == set(mc.__all__)
    for name in mc.__all__:
        assert getattr(mc, name) is getattr(mc, name)
    assert set(mc.__all__) <= set(dir(mc))
    with pytest.raises(AttributeError, match="no attribute 'slove'"):
        _ = mc.slove


def test_the_numbers_load_no_symbols_and_the_face_loads_nothing() -> None:
    code = (
        "import sys, modecollapse as mc\n"
        "heavy = ('numpy', 'scipy', 'sympy', 'xarray', 'pydantic', 'matplotlib', 'numba')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "mc.Problem, mc.solve, mc.simulate, mc.sweep\n"
        "print('sympy' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["[]", "False"]


@pytest.mark.slow
def test_flows_and_samplers_by_the_same_words() -> None:
    flow = mc.Problem.parse(PROBLEM)
    sampler = mc.Problem.parse(
        PROBLEM.replace('learn = ["means"]', "learn = []") + "sampler = {paths = 64, steps = 4}\n"
    )
    run = mc.solve(flow, backend="numpy")
    assert "elbo" not in run
    assert "elbo" in mc.solve(sampler, backend="numpy")
    simulation = mc.simulate(flow, particles=32, replicas=4, backend="numpy")
    assert "m_se" in simulation
    assert "elbo" not in simulation
    assert "elbo" in mc.simulate(sampler, particles=32, replicas=4, backend="numpy")
    assert [found.stability for found in mc.equilibria(flow, follow=30.0)] == [1]


@pytest.mark.parametrize("option", [{"stop_at_equilibrium": True}, {"system": object()}])
def test_what_is_of_flows_is_refused_for_samplers(option: dict[str, object]) -> None:
    sampler = mc.Problem.parse(PROBLEM + "sampler = {paths = 64, steps = 4}\n")
    with pytest.raises(RuntimeError, match="for flows"):
        mc.solve(sampler, **option)


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import modecollapse; modecollapse.main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=HANG)


@pytest.mark.slow
def test_one_script_has_the_commands_of_all_doors(tmp_path: Path) -> None:
    listed = script().stdout
    for name in ("derive", "show", "solve", "simulate", "compare", "sweep", "figures"):
        assert f"  {name} " in listed
    assert script("--help").stdout == listed
    assert script("--version").stdout == f"modecollapse {mc.__version__}\n"
    (tmp_path / "problem.toml").write_text(PROBLEM, encoding="utf-8")
    out = str(tmp_path / "run.nc")
    done = script("solve", str(tmp_path / "problem.toml"), "--out", out, "--backend", "numpy", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert mc.open(out).sizes["time"] == 2
    wrong = script("slove")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("slove: no such command; allowed: derive, show, solve")
    assert script("figures", "--list").stdout.startswith("agreement_scaling ")
    assert script("solve", "missing.toml", "--out", out).returncode == 2


def test_functions_of_flows_do_not_take_a_sampler_for_one() -> None:
    from solvers.closed import flow
    from solvers.particles import flow as particles
    from solvers.verdict import flow as compare

    sampler = mc.Problem.parse(PROBLEM + "sampler = {paths = 64, steps = 4}\n")
    for call in (flow.solve, compare.compare, lambda p: particles.simulate(p, particles=4, replicas=2, step=0.1)):
        with pytest.raises(ValueError, match=r"has a \[sampler\], and this function is for flows"):
            call(sampler)
