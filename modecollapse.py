"""modecollapse: closed equations of mode collapse, derived, solved, and checked against particles.

    import modecollapse as mc

    problem = mc.Problem.load("figures/problems/two_modes.toml")
    run = mc.solve(problem)  # an xarray dataset: m, s, w, objective, mode_mass, collapsed, ...
    system = mc.close(mc.gradient_flow(mc.ReverseKL(mc.mixture(), mc.target()), weights="softmax"))

Names are loaded when they are first used: the numbers without SymPy, the symbols without SciPy.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from solvers.ask import compare, equilibria, simulate, solve
    from solvers.equilibria import basin_boundary, continuation, dying_weight, equilibrium, predicted_lifetimes
    from solvers.problem import Problem, ProblemError
    from solvers.reopen import open, problem_of
    from solvers.results.lifetimes import lifetimes, survival
    from solvers.sweeps.plan import Sweep
    from solvers.sweeps.run import run as sweep
    from solvers.verdict.speciation import speciation
    from solvers.verdict.transport import transport
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
    "solvers.equilibria": "basin_boundary continuation dying_weight equilibrium predicted_lifetimes",
    "solvers.problem": "Problem ProblemError",
    "solvers.reopen": "open problem_of",
    "solvers.results.lifetimes": "lifetimes survival",
    "solvers.verdict.speciation": "speciation",
    "solvers.verdict.transport": "transport",
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
    "dying_weight",
    "equilibria",
    "equilibrium",
    "gradient_flow",
    "lifetimes",
    "mixture",
    "open",
    "predicted_lifetimes",
    "problem_of",
    "simulate",
    "solve",
    "speciation",
    "survival",
    "sweep",
    "target",
    "transport",
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


#: Commands of the script `modecollapse`, in the order of its help: where the application is, and what it does.
_COMMANDS = {
    "derive": ("derivations.__main__", "generate_app", "regenerate the derivations, or verify them with --check"),
    "show": ("derivations.__main__", "show_app", "print one closed system"),
    "solve": ("solvers.__main__", "app", "integrate the closed equations of a problem"),
    "simulate": ("solvers.__main__", "app", "simulate it in all its dimensions"),
    "compare": ("solvers.__main__", "app", "compare the two: exit 0 they agree, 1 they do not"),
    "sweep": ("solvers.__main__", "app", "solve a problem at every point of a grid"),
    "figures": ("figures.__main__", "app", "draw figures"),
}


def main() -> NoReturn:
    """The commands of `python -m derivations`, `python -m solvers` and `python -m figures` under one name."""
    import typer

    from solvers.door import enter, say

    word, *rest = sys.argv[1:] or ["--help"]
    if word in ("--version", "-v", "--help", "-h"):
        said = typer.Typer(add_completion=False)
        said.command()(_version if word in ("--version", "-v") else _help)
        enter(said, [])
    if word not in _COMMANDS:
        say(f"{word}: no such command; allowed: {', '.join(_COMMANDS)}")
        sys.exit(2)
    home, application, _ = _COMMANDS[word]
    app = getattr(importlib.import_module(home), application)
    if home == "solvers.__main__":  # one application with commands
        enter(app, [word, *rest], name="modecollapse")
    enter(app, rest, name=f"modecollapse {word}")


def _version() -> None:
    print(f"modecollapse {__getattr__('__version__')}")


def _help() -> None:
    print("Usage: modecollapse COMMAND ...    modecollapse COMMAND --help says more\n")
    print(*(f"  {name:9} {about}" for name, (_, _, about) in _COMMANDS.items()), sep="\n")
    print("  --version\n\nExample: modecollapse solve figures/problems/two_modes.toml --out run.nc")
