"""Standard streams that are closed, sizes of samplers that do not fit, and steps that are named as they were given."""

import subprocess
import sys
from pathlib import Path

import pytest

from solvers.problem import Problem, ProblemError, demands
from tests.limits import HANG

SAMPLER = """
dimension = 4
[target]
separation = 3.0
[family]
components = 2
learn = ["means"]
[init]
scale = 0.1
samples = {samples}
[time]
end = 2.0
save = {save}
[sampler]
method = "dis"
control = "exact"
steps = 8
horizon = 1.0
paths = 16
refine = {{rule = "interval", every = 1.0, candidates = {candidates}, until = 4}}
"""


def sampler(samples=3, save=3, candidates=16):
    return Problem.parse(SAMPLER.format(samples=samples, save=save, candidates=candidates), "p.toml")


@pytest.mark.parametrize(
    ("key", "large"),
    [
        ("init.samples", {"samples": 10**9}),
        ("time.save", {"save": 10**7, "samples": 1000}),
        ("sampler.refine.candidates", {"candidates": 10**9}),
    ],
)
def test_a_sampler_that_does_not_fit_is_refused_by_key(monkeypatch, key, large):
    monkeypatch.setattr(demands, "available_memory", lambda: 16 * 2**30)
    demands.check_sampler(sampler(), 3)  # control
    problem = sampler(**large)
    with pytest.raises(ProblemError, match=rf"p.toml: {key}: is 10+; must be at most \d+: .*GiB"):
        demands.check_sampler(problem, problem.init.samples)


def test_a_step_is_named_as_it_was_given():
    flow = Problem.parse(SAMPLER.partition("[sampler]")[0].format(samples=1, save=3), "p.toml")
    with pytest.raises(ProblemError, match=r"^step: is 4.94e-324; must be at least"):
        demands.check_simulation(flow, particles=8, replicas=4, step=5e-324)


def test_a_scale_beyond_float64_is_refused_without_a_warning():
    with pytest.raises(ProblemError, match=r"init.scale: is 1.79\d+e\+308; its overlaps exceed"):
        Problem.parse(
            SAMPLER.partition("[sampler]")[0].format(samples=1, save=3).replace("0.1", "1.7976931348623157e308")
        )


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_do_not_stop_a_command(tmp_path: Path, closed: str) -> None:
    problem = tmp_path / "p.toml"
    problem.write_text(SAMPLER.partition("[sampler]")[0].format(samples=1, save=2).replace("end = 2.0", "end = 0.1"))
    command = f'"$0" -m solvers solve "$1" --backend numpy --out "$2" {closed}'
    for expected, name in ((0, problem), (2, tmp_path / "missing.toml")):
        arguments = ["/bin/sh", "-c", command, sys.executable, str(name), str(tmp_path / "run.nc")]
        assert subprocess.run(arguments, timeout=HANG, cwd=Path(__file__).parents[3]).returncode == expected
    assert (tmp_path / "run.nc").stat().st_size > 0
