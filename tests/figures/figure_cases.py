"""Results of the quick tier of a figure, made up where they are dear."""

import numpy as np
import xarray as xr

from figures import refinement
from figures.stored import Along, Run
from figures.stores import BENCHMARKS, Benchmark, Clones, Swept
from tests.figures.figure_results import stand_in


def results_of(module) -> dict[str, xr.Dataset]:
    """Results of the quick tier of a figure; cheap ones are real."""
    found = {}
    for role, kind in module.RESULTS.items():
        if isinstance(kind, Swept | Along):
            found[role] = stand_in(kind)
        elif isinstance(kind, Benchmark):
            found[role] = kind.read(BENCHMARKS / kind.file)
        elif role in ("rates", "critical"):
            rising = np.linspace(1.0, 5.0, 9)
            rates = np.stack([rising, rising - 0.5, rising * 0], 1)
            kinds = np.where(np.arange(9) == 1, 2, 0)
            found[role] = xr.Dataset(
                {
                    "parameter": (("branch", "point"), rising[None]),
                    "eigenvalue": (("branch", "point", "direction"), rates[None]),
                    "kind": (("branch", "point"), kinds[None]),
                    "points": ("branch", [9]),
                }
            )
        elif module is refinement:
            problem = kind.load_problem()
            samples, modes = problem.init.samples, len(problem.target.weights)
            times = problem.time.times
            masses = np.random.default_rng(1).dirichlet(np.ones(modes), (samples, len(times)))
            variables = {
                "mode_mass": (("sample", "time", "mode"), masses),
                "coverage": (("sample", "time"), masses[..., 0]),
                "coverage_se": (("sample", "time"), 0.1 * masses[..., 0]),
                "collapsed": ("sample", np.arange(samples) % 2),
            }
            found[role] = xr.Dataset(variables, {"time": times}, {"problem": problem.text, **kind.chosen(True)})
        else:
            assert isinstance(kind, Run)
            few = {"paths": 400} if isinstance(kind, Clones) else {}
            found[role] = type(kind).compute(kind.load_problem(), **{**kind.chosen(True), **few})
    return found
