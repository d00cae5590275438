"""Names that parameters of emitted equations may have."""

from __future__ import annotations

import keyword
import re

__all__ = ["check_parameter"]

#: What emitted code calls other things, and words of C++.
_TAKEN = """
above abs all any array array_module atan auto axis below beta bool both bottom break case catch char class const
constexpr continue cos cov cross default delete divergence dm do double drive driven_or_given ds dtheta dy else enum
exp expect expect_fixed expect_pairs expect_pairs_tangent expect_tangent extern false fixed float fmax fmin for
friend gamma goto inline int inv jac jacobian layout load log logarithm logit long lse max mean min mobility
mode_mass mu namespace new njit nu objective observables operator other_cov other_mean out pair parameters pi pow
power private protected public radius range rate register return rho rhs s_diag shifted short signed sin size sizeof
slopes softmax spread sqrt static step store struct sum switch systems tables tan tanh temperature template theta
this throw true try typedef typename union unsigned using velocity virtual void volatile weights while work xi xp
"""
TAKEN = frozenset(_TAKEN.split())
PREFIXES = (
    "d_", "inv_", "log_", "rate_", "power_", "learn_", "mean_", "cov_", "lse_", "cross_", "slope_", "v_", "p_", "r_",
)  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Longer names say less.
LONGEST = 30


def check_parameter(name: str) -> None:
    """Raises ValueError for a name that no parameter of emitted equations can have; one letter is an index or field."""
    if not _NAME.fullmatch(name) or not 2 <= len(name) <= LONGEST:
        raise ValueError(f"parameter {name!r}: must be 2 to {LONGEST} small letters, digits and _, the first a letter")
    if name in TAKEN or keyword.iskeyword(name) or name.startswith(PREFIXES) or name.endswith("_diag"):
        raise ValueError(f"parameter {name!r}: means something else in the equations or in their code; take another")
