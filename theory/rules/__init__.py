"""The rules of the engine. Each is one identity, applied wherever it matches; `Derivation` records what it changed.

Adding a rule means adding a function Expr -> Expr and one `Rule`; every step that uses it is checked by numbers.
"""

from theory.rules.collecting import COLLECT
from theory.rules.derivatives import LOG_SUM_EXP, REPARAMETRISE, SOFTMAX_CHAIN
from theory.rules.linear import LINEARITY, ORDER_OF_SUMS, SUMS_OUTSIDE, linearity
from theory.rules.logits import COMMON_SHIFT, DIFFERENCE, GAUSSIAN_LAW
from theory.rules.radial import ABOUT_THE_MEAN, EXCESS_WIDTH, RADIAL_LAW, RAISED_STEIN, REPARAMETRISE_WIDTHS
from theory.rules.responsibilities import BAYES, NORMALISATION, PARTITION
from theory.rules.rule import Rule, bottom_up
from theory.rules.stein import STEIN, STEIN_FIELDS, projection
from theory.rules.widths import WIDTHS

__all__ = [
    "ABOUT_THE_MEAN",
    "BAYES",
    "COLLECT",
    "COMMON_SHIFT",
    "DIFFERENCE",
    "EXCESS_WIDTH",
    "GAUSSIAN_LAW",
    "LINEARITY",
    "LOG_SUM_EXP",
    "NORMALISATION",
    "ORDER_OF_SUMS",
    "PARTITION",
    "RADIAL_LAW",
    "RAISED_STEIN",
    "REPARAMETRISE",
    "REPARAMETRISE_WIDTHS",
    "SOFTMAX_CHAIN",
    "STEIN",
    "STEIN_FIELDS",
    "SUMS_OUTSIDE",
    "WIDTHS",
    "Rule",
    "bottom_up",
    "linearity",
    "projection",
]
