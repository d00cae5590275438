"""The symbolic half: from an objective and a family to a closed, low-dimensional system, by recorded rules.

from theory import ReverseKL, close, gradient_flow, mixture, target
system = close(gradient_flow(ReverseKL(mixture(), target())))
"""

from theory.closure import NotClosed, close
from theory.flows import gradient_flow
from theory.mixtures import Mixture, mixture, target
from theory.objective_text import objective
from theory.objectives import AlphaDivergence, ForwardKL, Objective, Regulariser, ReverseKL
from theory.parameters import BETA
from theory.system import ClosedSystem
from theory.variances import close_variances, variance_flow

__all__ = [
    "BETA",
    "AlphaDivergence",
    "ClosedSystem",
    "ForwardKL",
    "Mixture",
    "NotClosed",
    "Objective",
    "Regulariser",
    "ReverseKL",
    "close",
    "close_variances",
    "gradient_flow",
    "mixture",
    "objective",
    "target",
    "variance_flow",
]
