"""How often the errors of log Z and of effective sample sizes cover the truth, and how often no number is given.

The sampler without steps that has one Gaussian N(m e₁, v I) for a prior and one, N(0, I), for a target: its weights are
drawn as they are, and E W = 1 and E W² are in closed form. The tail of W has index 1 − v where v < 1: E W² exists
above v = ½. What is asked: is the truth within 1.96 standard errors of an estimate that was given?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.particles.sampler.estimates import pooled
from solvers.sampler.evaluate import Weights, _ess, _ess_forward, _log_z, quotients

Array = NDArray[np.float64]
Say = Callable[[str], None]
Estimates = dict[str, tuple[Any, Any]]

NORMAL = 1.959963984540054  # of a 95 % interval
QUANTITIES = ("log_z", "ess", "ess_forward")
REPLICAS = 32


class Case(NamedTuple):
    """Dimension d, distance m of the means, variance v of the prior; that of the target is 1."""

    d: int
    m: float
    v: float

    def log_weights(self, rng: np.random.Generator, paths: int, *, target: bool = False) -> Array:
        """(path,), of paths from the prior or from the target: log N(x; 0, I) − log N(x; m e₁, v I)."""
        x = rng.standard_normal((paths, self.d))
        if not target:
            x *= np.sqrt(self.v)
            x[:, 0] += self.m
        square = np.sum(x**2, axis=1)
        shifted = square - 2 * self.m * x[:, 0] + self.m**2
        return np.asarray(self.d / 2 * np.log(self.v) - square / 2 + shifted / (2 * self.v))

    @property
    def ess(self) -> float:
        """1 / E W²; 0 where that does not exist."""
        left = 2 - 1 / self.v  # curvature of p²/q
        if left <= 0:
            return 0.0
        return float((self.v / left) ** (-self.d / 2) * np.exp(-(self.m**2) / (2 * self.v) * (1 + 1 / (left * self.v))))


CASES = (
    Case(1, 0.3, 1.0), Case(2, 0.6, 1.0), Case(20, 1.0, 1.0), Case(2, 1.5, 1.0), Case(2, 2.5, 1.0),
    Case(1, 0.0, 2.0), Case(20, 0.0, 1.4),
    Case(1, 0.0, 0.87), Case(1, 0.0, 0.77), Case(2, 0.0, 0.77), Case(20, 0.0, 0.91), Case(20, 0.0, 0.83),
    Case(1, 0.0, 0.625), Case(20, 0.0, 0.77), Case(1, 0.0, 0.53), Case(1, 0.0, 0.4), Case(20, 0.0, 0.5),
)  # fmt: skip


def theory(ahead: Array, behind: Array) -> Estimates:
    """What `solve` says of weights (path,)."""
    return quotients([Weights(ahead, behind, 0.0)])


def simulation(ahead: Array, behind: Array) -> Estimates:
    """What `simulate` says of them, dealt out to REPLICAS."""
    dealt = np.stack([ahead.reshape(REPLICAS, -1), behind.reshape(REPLICAS, -1)], axis=1)
    return {name: (value[0], error[0]) for name, (value, error) in pooled(dealt[:, None]).items()}


def plain(ahead: Array, behind: Array) -> Estimates:
    """The control: every estimate is given, with the error of the influence function (delta method)."""
    return {"log_z": _log_z(ahead), "ess": _ess(ahead), "ess_forward": _ess_forward(behind)}


def counted(
    case: Case, paths: int, said: Callable[[Array, Array], Estimates], seeds: range
) -> dict[str, tuple[int, int]]:
    """Of so many repetitions, for each of QUANTITIES, how often it was given and how often that covers the truth."""
    truth = {"log_z": 0.0, "ess": case.ess, "ess_forward": case.ess}
    given = dict.fromkeys(QUANTITIES, 0)
    covers = dict.fromkeys(QUANTITIES, 0)
    for seed in seeds:
        rng = np.random.default_rng((seed, paths))
        found = said(case.log_weights(rng, paths), case.log_weights(rng, paths, target=True))
        for name in QUANTITIES:
            value, error = found[name]
            given[name] += not np.isnan(value)
            covers[name] += bool(abs(value - truth[name]) <= NORMAL * error)
    return {name: (given[name], covers[name]) for name in QUANTITIES}


def measure(say: Say, *, repetitions: int = 1000, paths: tuple[int, ...] = (1024, 4096)) -> dict[str, Any]:
    rows = []
    for case in CASES:
        for count in paths:
            say(f"coverage: {case}, {count} paths")
            sides = {"theory": theory, "simulation": simulation, "plain": plain}
            row = {side: counted(case, count, said, range(repetitions)) for side, said in sides.items()}
            rows.append({**case._asdict(), "ess": case.ess, "paths": count, **row})
    return {"repetitions": repetitions, "rows": rows}
