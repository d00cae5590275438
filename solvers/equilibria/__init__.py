"""Equilibria of the closed equations: by Newton with the exact Jacobian, along a parameter, and between two basins."""

from solvers.equilibria.boundary import basin_boundary
from solvers.equilibria.branches import COMMAND, KINDS, STABILITY, continuation
from solvers.equilibria.dying import DYING, Dying, dying_weight, predicted_lifetimes
from solvers.equilibria.field import Field, NoEquilibrium
from solvers.equilibria.point import Equilibrium, equilibrium

__all__ = [
    "COMMAND",
    "DYING",
    "KINDS",
    "STABILITY",
    "Dying",
    "Equilibrium",
    "Field",
    "NoEquilibrium",
    "basin_boundary",
    "continuation",
    "dying_weight",
    "equilibrium",
    "predicted_lifetimes",
]
