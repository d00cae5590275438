"""Equations that a user gives beside a problem: they must be that problem's."""

from __future__ import annotations

from types import ModuleType

from solvers.closed import systems
from solvers.problem import Problem, ProblemError
from solvers.problem.values import show

__all__ = ["check"]

STEPS = {True: "steps of finite batches", False: "continuous time"}


def check(problem: Problem, module: ModuleType) -> None:
    """Refuse equations, of `load`, that are not those of a problem: provenance and simulations go by the problem.

    Raises  ProblemError that says what differs: objective, temperature, parameters, batch, variances.
    """
    flow, has = problem.flow, frozenset(module.PARAMETERS) - frozenset(systems.PLAIN)
    found = systems.Kind(module.OBJECTIVE, has, getattr(module, "VARIANCES", ""))
    where, wants = f"{problem.name}: flow: ", f"the system given is {module.NAME}, of {show(module.OBJECTIVE)}"
    if found.objective != flow.objective:
        raise ProblemError(f"{where}objective is {show(flow.objective)}; {wants}")
    if flow.temperature != 1 and "beta" not in has:
        raise ProblemError(f"{where}temperature is not 1; {wants}, which has no beta")
    needed = has - {"beta", "step", "size"}
    if needed != frozenset(flow.parameters):
        raise ProblemError(
            f"{where}parameters are {show(sorted(flow.parameters))}; {wants} with {show(sorted(needed))}"
        )
    if found.batch != bool(flow.batch):
        raise ProblemError(
            f"{where}batch is {'given' if flow.batch else 'not given'}; {wants} for {STEPS[found.batch]}"
        )
    if problem.own_variances != bool(found.variances):
        asked, given = (
            ("differ or are learned", "one of q and one of p")
            if not found.variances
            else ("are one of q and one of p", "one of each component")
        )
        raise ProblemError(f"{where}variances {asked}; {wants} with {given}")
