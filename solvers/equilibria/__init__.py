"""Equilibria of the closed equations: by Newton with the exact Jacobian, along a parameter, and between two basins."""

from solvers.equilibria.boundary import basin_boundary
from solvers.equilibria.branches import COMMAND, KINDS, STABILITY, continuation
from solvers.equilibria.field import Field, NoEquilibrium
from solvers.equilibria.point import Equilibrium, equilibrium

__all__ = [
    "COMMAND",
    "KINDS",
    "STABILITY",
    "Equilibrium",
    "Field",
    "NoEquilibrium",
    "basin_boundary",
    "continuation",
    "equilibrium",
]
