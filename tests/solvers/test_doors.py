"""python -m solvers: what the commands accept, refuse, write and print. Stand-ins do the work behind them."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import solvers.closed
import solvers.particles
import solvers.verdict
from solvers import reopen, results
from solvers.__main__ import app
from solvers.closed import systems
from solvers.console import counting_bar, progress_bar
from solvers.particles.plan import SimulationError
from solvers.problem import ProblemError
from tests.limits import HANG

ROOT = Path(__file__).parents[2]

PROBLEM = """
dimension = 64
[target]
separation = 3.0
[family]
components = 2
[init]
scale = 0.125
samples = 4
[time]
end = 10.0
save = 3
"""


def answer(problem, status):
    n, T = len(status), len(problem.time.times)
    mode_mass = np.full((n, T, 2), 0.5)
    mode_mass[0] = [0.99, 0.01]
    return results.run_dataset(
        problem,
        m=np.zeros((n, T, 2, 2)),
        s=np.zeros((n, T, 2, 2)),
        w=np.full((n, T, 2), 0.5),
        objective=np.zeros((n, T)),
        mode_mass=mode_mass,
        B=np.full((n, 2, 2), 0.5),
        status=np.array(status),
        quadrature_error=np.full((n, T), 3e-13),
        system=systems.for_problem(problem).SYSTEM,
        backend="numpy",
        rtol=1e-8,
        atol=1e-10,
    )


class Report:
    def __init__(self, agrees):
        self.agrees = agrees

    def to_json(self):
        return json.dumps({"agrees": self.agrees})

    def table(self):
        return "all entries within their errors"


@pytest.fixture
def work(monkeypatch):
    """Stand-ins for solve, simulate and compare; .calls holds what they were called with, .does what happens inside.
    .plan is that of a solution, .planned what was asked about it."""
    state = types.SimpleNamespace(calls=[], does=lambda: None, status=(0, 0, 0, 0), agrees=True, plan=None, planned=[])
    monkeypatch.setattr("solvers.ask.plan", lambda problem, **asked: state.planned.append(asked) or state.plan)

    def stand_in(make):
        def call(problem, **options):
            progress = options.pop("progress")
            options.pop("settle", None)  # a function of a room below
            state.calls.append((problem.dimension, options, progress is not None))
            state.does()
            return make(problem)

        return call

    flow = types.ModuleType("solvers.closed.flow")
    vars(flow)["solve"] = stand_in(lambda problem: answer(problem, state.status))
    particles = types.ModuleType("solvers.particles.flow")
    vars(particles)["simulate"] = stand_in(lambda problem: answer(problem, state.status))
    compare = types.ModuleType("solvers.verdict.flow")
    vars(compare)["compare"] = stand_in(lambda problem: Report(state.agrees))
    for module, package in [(flow, solvers.closed), (particles, solvers.particles), (compare, solvers.verdict)]:
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(package, module.__name__.rpartition(".")[2], module, raising=False)
    return state


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two_modes.toml").write_text(PROBLEM)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_solve(work, folder):
    done = call("solve", "two_modes.toml", "--out", "run.nc")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "run.nc: 4 samples, 3 times from 0 to 10",
        "collapsed 1 of 4 (25.0%) at t = 10, fixed weights: 1 straddling",
        "at rest   undecided: docs/outcomes.md says of what it is",
        "objective median 0 nat, of the collapsed 0",
        "lifetimes 1 not over at t = 10",
        "largest estimated error of an expectation: 3.0e-13",
        "next: python -m solvers simulate two_modes.toml --out sim.nc",
    ]
    asked = {"rtol": 1e-8, "atol": 1e-10, "backend": None, "stop_at_equilibrium": False}
    assert work.calls == [(64, asked | dict.fromkeys(("drop", "system", "samples", "threads")), False)]
    assert reopen.problem_of(reopen.open("run.nc")).text == PROBLEM


def test_a_long_solution_says_its_plan_before_it_begins(work, folder):
    work.plan = "4 starts: a day\nexpectations: none"
    work.does = lambda: print("begun", file=sys.stderr)
    done = call("solve", "two_modes.toml", "--out", "run.nc")
    assert done.stderr.splitlines() == ["4 starts: a day", "expectations: none", "begun"]
    assert work.planned[0]["long"] == 10.0
    assert call("solve", "two_modes.toml", "--out", "quiet.nc", "--quiet").stderr == "begun\n"
    assert len(work.planned) == 1


def test_a_dry_run_says_its_plan_and_writes_nothing(work, folder):
    work.plan = "4 starts: a day"
    done = call("solve", "two_modes.toml", "--dry-run", "--rtol", "1e-6")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "4 starts: a day\n", "")
    assert work.planned == [{"rtol": 1e-6, "atol": 1e-10, "backend": None, "stop_at_equilibrium": False}]
    assert work.calls == []
    assert left_in(folder) == ["two_modes.toml"]
    missing = call("solve", "two_modes.toml")
    assert missing.exit_code == 2
    assert missing.stderr == "--out: is missing; must name the result, unless with --dry-run\n"


def test_solve_counts_failed_samples_even_when_quiet(work, folder):
    work.status = (0, 1, 2, 2)
    done = call("solve", "two_modes.toml", "--out", "run.nc")
    assert "collapsed 1 of 1 (100.0%)" in done.stdout
    assert done.stderr == "run.nc: failed samples, which hold nan: 1 step limit, 2 not finite\n"
    quiet = call("solve", "two_modes.toml", "--out", "run.nc", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", done.stderr)


def test_simulate(work, folder):
    options = ["--particles", 100, "--replicas", 8, "--step", 0.01]
    done = call("simulate", "two_modes.toml", "--out", "sim.nc", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("sim.nc: 4 samples")
    assert work.calls == [(64, {"particles": 100, "replicas": 8, "step": 0.01, "backend": "numba"}, False)]
    call("simulate", "two_modes.toml", "--out", "sim.nc", "--quiet")
    assert work.calls[1][1] == {"particles": 256, "replicas": 32, "step": 0.05, "backend": "numba"}


def test_simulate_takes_a_batch_from_the_problem(work, folder):
    (folder / "batch.toml").write_text(PROBLEM.replace("[init]", "[flow]\nbatch = {size = 20, step = 0.1}\n[init]"))
    assert call("simulate", "batch.toml", "--out", "sim.nc", "--quiet").exit_code == 0
    assert work.calls[0][1] == {"particles": 20, "replicas": 32, "step": 0.1, "backend": "numba"}
    for option, value in (("--particles", 20), ("--step", 0.2)):
        done = call("simulate", "batch.toml", "--out", "sim.nc", option, value)
        assert done.exit_code == 2
        assert done.stderr == f"{option}: is {value}; must be left out, since the problem has flow.batch\n"
    assert len(work.calls) == 1


@pytest.mark.parametrize(("agrees", "status"), [(True, 0), (False, 1)])
def test_compare(work, folder, agrees, status):
    work.agrees = agrees
    done = call("compare", "two_modes.toml", "--out", "report.json", "--drop", "repulsion")
    assert (done.exit_code, done.stderr) == (status, "")
    assert done.stdout == "all entries within their errors\n"
    assert json.loads((folder / "report.json").read_text()) == {"agrees": agrees}
    options = {"particles": 256, "replicas": 32, "step": 0.05, "rtol": 1e-8, "atol": 1e-10, "resolve": None}
    assert work.calls == [(64, options | {"backend": "numba", "drop": "repulsion", "system": None}, False)]
    quiet = call("compare", "two_modes.toml", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (status, "", "")


COMMANDS = [("solve", "--out", "out.nc"), ("simulate", "--out", "out.nc"), ("compare", "--out", "out.nc")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_bad_input_is_one_message_before_any_work(work, folder, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # not installed
    (folder / "bad.toml").write_text(PROBLEM.replace("components = 2", "components = 2\nweights = [0.7, 0.5]"))
    name, *out = command
    refused = {
        (name, "none.toml", *out): "none.toml: cannot be read (No such file or directory)",
        (name, "bad.toml", *out): "bad.toml: family.weights: sums to 1.2, must sum to 1\n",
        (name, "two_modes.toml", "--out", "none/out.nc"): "none/out.nc: folder none does not exist",
        (name, "two_modes.toml", "--out", "two_modes.toml"): "--out: two_modes.toml is the problem file itself",
        (name, "two_modes.toml", *out, "--backend", "cupy"): "--backend: cupy: not installed",
        (
            name,
            "two_modes.toml",
            *out,
            "--backend",
            "tpu",
        ): "--backend: tpu: unknown backend; allowed: numpy, cupy, numba",
    }
    if name != "simulate":
        refused[name, "two_modes.toml", *out, "--rtol", "0"] = "--rtol: is 0; must be a number >= 1e-14 and < 0.01\n"
        refused[name, "two_modes.toml", *out, "--atol", "nan"] = "--atol: is nan; must be a number > 0 and < 1\n"
    for arguments, message in refused.items():
        done = call(*arguments)
        assert (done.exit_code, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
    assert work.calls == []
    assert left_in(folder) == ["bad.toml", "two_modes.toml"]
    assert (folder / "two_modes.toml").read_text() == PROBLEM


@pytest.mark.parametrize("command", ["solve", "compare", "sweep"])
def test_tolerances_that_cannot_be_kept_are_refused(work, folder, command):
    refused = {
        "--rtol": ["0", "-1", "1e-15", "9.99999999e-15", "0.01", "1", "inf", "nan"],
        "--atol": ["0", "-1", "-1e-10", "1", "inf", "nan"],
    }
    allowed = {"--rtol": ">= 1e-14 and < 0.01", "--atol": "> 0 and < 1"}
    for option, value in ((option, value) for option, values in refused.items() for value in values):
        done = call(command, "two_modes.toml", "--out", "out", option, value)
        message = f"{option}: is {value}; must be a number {allowed[option]}\n"
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", message)
    assert work.calls == []
    assert left_in(folder) == ["two_modes.toml"]


def test_starts_that_are_no_numbers_and_too_many_components_are_refused(folder):
    """By the solver itself, not by a stand-in."""
    weights = "weights = [" + ", ".join(["0.0", *["0.015625"] * 64]) + "]"
    many = PROBLEM.replace("components = 2", "components = 65")
    start = PROBLEM.replace("samples = 4\n", "")
    (folder / "nan.toml").write_text(start.replace("scale = 0.125", "means = [[0.1, nan], [0.3]]"))
    (folder / "zero.toml").write_text(many.replace("[init]", f"{weights}\n[init]"))
    (folder / "many.toml").write_text(many)
    (folder / "sweep.toml").write_text('base = "many.toml"\n[grid]\n"target.separation" = [2.0, 3.0]\n')
    before = left_in(folder)
    numba = "--backend: numba: 65 components and 2 modes; allowed: at most 64 of each, or numpy\n"
    refused = {
        ("solve", "nan.toml"): "nan.toml: init.means: row 1 holds nan; every entry must be a finite number\n",
        ("solve", "zero.toml"): "zero.toml: family.weights: entry 1 is 0; every weight must be a number > 0\n",
        ("solve", "many.toml", "--backend", "numba"): numba,
        ("sweep", "sweep.toml", "--backend", "numba"): numba,
    }
    for arguments, message in refused.items():
        done = call(*arguments, "--out", "out.nc")
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", message), arguments
    assert left_in(folder) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SimulationError("step: is 3; must be at most 1"), 2, "--step: is 3; must be at most 1\n"),
        (ProblemError("--drop: gravity: no such term"), 2, "--drop: gravity: no such term\n"),
        (MemoryError("Unable to allocate 8 EiB"), 2, "not enough memory: Unable to allocate 8 EiB\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=["step", "term", "memory", "interrupt"],
)
def test_what_goes_wrong_inside_leaves_nothing(work, folder, command, error, status, message):
    def fail():
        raise error

    work.does = fail
    done = call(command[0], "two_modes.toml", *command[1:])
    assert (done.exit_code, done.stdout, done.stderr) == (status, "", message)
    assert left_in(folder) == ["two_modes.toml"]


def test_a_mistake_of_ours_is_not_called_bad_input(work, folder):
    def fail():
        raise ValueError("shapes do not match")

    work.does = fail
    with pytest.raises(ValueError, match="shapes do not match"):
        call("solve", "two_modes.toml", "--out", "run.nc")
    assert left_in(folder) == ["two_modes.toml"]


def test_every_command_has_an_example():
    examples = dict.fromkeys(("solve", "simulate", "compare"), "problems/two_modes") | {"sweep": "sweeps/phase_diagram"}
    for command, example in examples.items():
        done = call(command, "--help")
        assert done.exit_code == 0
        assert f"Example: python -m solvers {command} figures/{example}.toml" in " ".join(done.stdout.split())


class Terminal:
    """A text stream that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    with progress_bar("solving", quiet=False) as progress:
        assert progress is None
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_bar("solving", quiet=True) as progress:
        assert progress is None
    assert terminal.text == ""
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("solving", quiet=False) as progress:
        assert progress is not None
        progress(0.42)
        progress(1.0)
    assert "solving" in terminal.text
    assert "100%" in terminal.text
    assert capsys.readouterr() == ("", "")


def test_a_sweep_shows_rate_and_time_left_on_a_terminal_only(monkeypatch, capsys):
    with counting_bar("sweeping", "starts", quiet=False) as progress:
        assert progress is None
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with counting_bar("sweeping", "starts", quiet=False) as progress:
        assert progress is not None
        for done in (0, 500, 2000, 4000):
            progress(done, 4000)
    assert "sweeping" in terminal.text
    assert "4000/4000" in terminal.text
    assert "starts/s" in terminal.text
    assert capsys.readouterr() == ("", "")


def test_options_of_a_sweep_that_exclude_each_other(folder):
    done = call("sweep", "two_modes.toml", "--out", "out.zarr", "--workers", 2, "--scheduler", "tcp://here:1")
    assert (done.exit_code, done.stderr) == (2, "--scheduler: given with --workers; must be one of them\n")
    done = call("sweep", "two_modes.toml", "--out", "out.zarr", "--workers", 0)
    assert (done.exit_code, done.stderr) == (2, "--workers: is 0; must be a number >= 1\n")
    done = call("sweep", "two_modes.toml", "--out", "out.zarr", "--backend", "tpu")
    assert (done.exit_code, done.stderr) == (2, "--backend: tpu: unknown backend; allowed: numpy, cupy, auto, numba\n")
    done = call("sweep", "two_modes.toml", "--out", "out.zarr")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("two_modes.toml: dimension: unknown key")
    assert left_in(folder) == ["two_modes.toml"]


def process(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, **options)


@pytest.mark.slow
def test_as_a_process_bad_input_exits_2_without_a_traceback(folder):
    (folder / "typo.toml").write_text(PROBLEM.replace("separation", "seperation"))
    done = process("-m", "solvers", "solve", folder / "typo.toml", "--out", folder / "run.nc")
    expected = f'{folder}/typo.toml: target.seperation: unknown key; did you mean "separation"?\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    done = process("-m", "solvers", "solve", folder / "two_modes.toml")
    assert done.returncode == 2
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(folder) == ["two_modes.toml", "typo.toml"]


def test_help_does_not_wait_for_the_numbers():
    script = "import sys, solvers.__main__; print(sorted({'xarray', 'scipy', 'pydantic'} & set(sys.modules)))"
    assert process("-c", script, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_solver_is_imported_without_what_a_run_may_not_need():
    """Each of these takes a good part of a second; compiled runs of two components and modes need numba only."""
    slow = {"numba", "llvmlite", "scipy.stats", "scipy.integrate", "scipy.optimize", "matplotlib", "dask", "zarr"}
    for module in ("expectations", "closed.compiled", "closed.flow"):
        script = f"import sys, solvers.{module}; print(sorted({slow} & set(sys.modules)))"
        assert process("-c", script, check=True).stdout == "[]\n", module
    # Control: the comparison with simulations needs Student's t.
    script = f"import sys, solvers.verdict.flow; print(sorted({slow} & set(sys.modules)))"
    assert "scipy.stats" in process("-c", script, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_in_a_process_exits_130_and_leaves_nothing(folder):
    script = f"""
import signal, sys, types
import solvers.__main__, solvers.closed
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have been started deaf to Ctrl-C
flow = types.ModuleType("solvers.closed.flow")
def solve(*_, **__):
    print("working", flush=True)
    signal.pause()
flow.solve = solve
sys.modules["solvers.closed.flow"] = solvers.closed.flow = flow
solvers.__main__.app(["solve", {str(folder / "two_modes.toml")!r}, "--out", {str(folder / "run.nc")!r}])
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        assert running.stdout.readline() == "working\n"
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=HANG)
    assert (running.returncode, output, errors) == (130, "", "interrupted\n")
    assert left_in(folder) == ["two_modes.toml"]
