"""What a problem may ask of simulations alone."""

from __future__ import annotations

from solvers.problem.family import only_isotropic
from solvers.problem.learning_section import only_flow_learns
from solvers.problem.problem import Problem

__all__ = ["within_theory"]


def within_theory(problem: Problem, name: str | None = None) -> None:
    """Raise ProblemError, with this name or the problem's, for what the theory does not have."""
    name = name or problem.name
    only_flow_learns(name, problem.learning)
    only_isotropic(name, problem.family)
