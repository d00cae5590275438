"""Learning flows of three objectives of a sampler from the same starts: where they end.

Two modes, two components in the plane, a mixture control that is learned with the prior; the reverse KL twice, with
other paths the second time, since near a separatrix chance decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import binomtest

from solvers import ask
from solvers.problem import Problem

TEXT = """
dimension = 2
[target]
separation = 3.0
[family]
components = 2
learn = ["means"]
[init]
scale = 0.5
samples = {starts}
seed = 1
[time]
end = {end}
save = 2
[sampler]
method = "{method}"
control = "mixture"
steps = 8
horizon = 1.0
paths = {paths}
{objective}
"""
METHODS = ("dis", "cmcd")
TOLERANCES = {"rtol": 1e-2, "atol": 1e-3}  # of a step; its paths are drawn anew in any case
#: name -> (lines of [sampler], paths behind a gradient).
OBJECTIVES = {
    "reverse KL": ("", 512),
    "reverse KL, other paths": ("", 520),
    "log-variance": ('objective = "log-variance"', 512),
    "trajectory balance": ('objective = "trajectory-balance"', 512),
    "log-variance, explore = 2": ('objective = "log-variance"\nexplore = 2.0', 512),
    "trajectory balance, explore = 2": ('objective = "trajectory-balance"\nexplore = 2.0', 512),
}


def ended(method: str, objective: str, starts: int, end: float) -> Any:
    """The run of one learning each."""
    lines, paths = OBJECTIVES[objective]
    text = TEXT.format(starts=starts, end=end, method=method, objective=lines, paths=paths)
    return ask.solve(Problem.parse(text), runs=1, **TOLERANCES)


def measure(
    say: Callable[[str], None], *, starts: int = 64, end: float = 20.0, methods: tuple[str, ...] = METHODS
) -> dict[str, Any]:
    rows = []
    for method in methods:
        reference: Any = None
        for objective in OBJECTIVES:
            say(f"objectives: {method}, {objective}, {starts} starts")
            run = ended(method, objective, starts, end)
            lost = run.collapsed.values == 1
            reference = lost if reference is None else reference
            found = binomtest(int(lost.sum()), starts).proportion_ci(0.95, method="wilson")
            row = {"method": method, "objective": objective, "collapsed": int(lost.sum())}
            row |= {"interval": [float(found.low), float(found.high)]}
            row |= {"only_here": int((lost & ~reference).sum()), "only_there": int((reference & ~lost).sum())}
            for name in ("coverage", "elbo", "eubo", "log_z_learned"):
                if name in run:
                    last = run[name].values[:, -1]
                    row[name] = [float(np.mean(last)), float(np.std(last, ddof=1) / np.sqrt(starts))]
            rows.append(row)
    return {"starts": starts, "end": end, "rows": rows}
