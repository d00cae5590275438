"""The rules of the engine. Each is one identity, applied wherever it matches; `Derivation` records what it changed.

Adding a rule means adding a function Expr -> Expr and one `Rule`; the numeric witness checks it where it is used.
"""

from theory.rules.derivatives import LOG_SUM_EXP, REPARAMETRISE, SOFTMAX_CHAIN
from theory.rules.linear import LINEARITY, ORDER_OF_SUMS, linearity
from theory.rules.logits import COMMON_SHIFT, DIFFERENCE, GAUSSIAN_LAW
from theory.rules.responsibilities import BAYES, NORMALISATION, PARTITION
from theory.rules.rule import Rule, bottom_up
from theory.rules.stein import STEIN, STEIN_FIELDS, projection

__all__ = [
    "BAYES",
    "COMMON_SHIFT",
    "DIFFERENCE",
    "GAUSSIAN_LAW",
    "LINEARITY",
    "LOG_SUM_EXP",
    "NORMALISATION",
    "ORDER_OF_SUMS",
    "PARTITION",
    "REPARAMETRISE",
    "SOFTMAX_CHAIN",
    "STEIN",
    "STEIN_FIELDS",
    "Rule",
    "bottom_up",
    "linearity",
    "projection",
]
