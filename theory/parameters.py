"""Parameters of the equations beyond those of q and p."""

from __future__ import annotations

from sympy import Symbol

__all__ = ["BETA", "RATE", "SIZE", "STEP", "TEMPERATURE"]

#: Inverse temperature, and the rate at which a schedule brings it to 1.
#: As a state, code has T = 1/β: its error is relative where it is large, and near T = 0 it grows linearly all the same.
TEMPERATURE = Symbol("temperature", positive=True)
BETA, RATE = Symbol("beta", positive=True), Symbol("rate", real=True)
#: Learning rate of stochastic gradient descent, and fresh samples of each component at each of its steps.
STEP, SIZE = Symbol("step", positive=True), Symbol("size", positive=True)
