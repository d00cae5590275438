"""The problem on which the comparison is tested: without any symmetry, so that every term of the equations matters."""

from __future__ import annotations

from dataclasses import replace

from solvers.problem import Problem

TEXT = """
dimension = {d}
[target]
means = [[1.8], [-1.5, 1.0]]
weights = [0.6, 0.4]
variances = 1.3
[family]
components = 2
weights = [0.7, 0.3]
variances = 0.8
learn = ["means", "weights"]
[init]
means = [[1.0, 0.8], [-0.2, 1.5]]
[time]
end = {end}
save = {save}
"""


def case(d: int, *, end: float = 2.0, save: int = 5) -> Problem:
    """v ≠ u, unequal weights, means off the line of the modes, in d ≥ 2 dimensions."""
    return Problem.parse(TEXT.format(d=d, end=end, save=save if end else [0.0]))


def seeded(problem: Problem, seed: int) -> Problem:
    """The same problem with other random numbers."""
    return replace(problem, init=replace(problem.init, seed=seed))
