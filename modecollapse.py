"""modecollapse: closed equations of mode collapse, derived, solved, and checked against particles.

    import modecollapse as mc

    problem = mc.Problem.load("figures/problems/two_modes.toml")
    run = mc.solve(problem)  # an xarray dataset: m, s, w, objective, mode_mass, collapsed, ...
    system = mc.close(mc.gradient_flow(mc.ReverseKL(mc.mixture(), mc.target()), weights="softmax"))

Names are loaded when they are first used: the numbers without SymPy, the symbols without SciPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.ask import compare, equilibria, simulate, solve
    from solvers.equilibria import basin_boundary, continuation, equilibrium
    from solvers.problem import Problem, ProblemError
    from solvers.results import open, problem_of
    from solvers.speciation import speciation
    from solvers.sweeps.plan import Sweep
    from solvers.sweeps.run import run as sweep
    from theory import (
        BETA,
        ClosedSystem,
        ForwardKL,
        NotClosed,
        ReverseKL,
        close,
        close_variances,
        gradient_flow,
        mixture,
        target,
        variance_flow,
    )

    __version__: str

#: Where each name comes from, and what it is called there if otherwise.
_HOMES = {
    "solvers.ask": "compare equilibria simulate solve",
    "solvers.equilibria": "basin_boundary continuation equilibrium",
    "solvers.problem": "Problem ProblemError",
    "solvers.results": "open problem_of",
    "solvers.speciation": "speciation",
    "solvers.sweeps.plan": "Sweep",
    "solvers.sweeps.run": "sweep",
    "theory": "BETA ClosedSystem ForwardKL NotClosed ReverseKL close close_variances gradient_flow mixture target "
    "variance_flow",
}
_CALLED = {"sweep": "run"}

__all__ = [
    "BETA",
    "ClosedSystem",
    "ForwardKL",
    "NotClosed",
    "Problem",
    "ProblemError",
    "ReverseKL",
    "Sweep",
    "__version__",
    "basin_boundary",
    "close",
    "close_variances",
    "compare",
    "continuation",
    "equilibria",
    "equilibrium",
    "gradient_flow",
    "mixture",
    "open",
    "problem_of",
    "simulate",
    "solve",
    "speciation",
    "sweep",
    "target",
    "variance_flow",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("modecollapse")
    else:
        home = next((home for home, names in _HOMES.items() if name in names.split()), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(home), _CALLED.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
