"""Diffusion samplers: drifts in a(x)·x + span of the means, their reduced chain, its log-weight and its adjoint.

    x' = x + η h(n, x) + √(2η) ξ          log W gains log B(x|x') − log F(x'|x)
    F(x'|x) = N(x'; x + η h(n, x), 2η I)   B(x|x') = N(x; x' + η g(n+1, x'), 2η I)

Source: Blessing, Jia, Neumann, arXiv 2503.00524 (2025); the reduction is derived here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from sympy import Expr, S

from theory.chains import ChainPrograms
from theory.closure import NotClosed
from theory.derivation import Step
from theory.drifts import CONTROLS, ETA, METHODS, REFERENCES, allowed, drifts
from theory.emit.chain import VIEWS
from theory.frames import decompose
from theory.likelihood_ratio import likelihood_ratio
from theory.mixtures import Mixture
from theory.reduction import programs, score_in_span
from theory.vectors import vector_terms
from theory.viewed import Viewed

__all__ = ["ReducedChain", "reduce_chain"]


class ReducedChain(ChainPrograms, Viewed):
    """The chain of (x_∥, ϱ), its log-weight and its adjoint, see ChainPrograms, with their views."""

    @property
    def _views(self) -> Mapping[str, Callable[..., str]]:
        return VIEWS


def reduce_chain(mixture: Mixture | None = None, extra: Expr = S.Zero) -> ReducedChain:
    """Derive the reduced chain of all methods.

    mixture: what all scores are scores of, by default an isotropic mixture with a variance for every component.
    extra: a vector added to every forward drift.
    Raises NotClosed, naming the vectors and fields that are missing, if a drift leaves a(x)·x + span of the means.
    """
    steps: list[Step] = []
    score, logit, found = score_in_span(mixture, steps)
    _, _, missing = decompose(extra)
    if found or missing:
        raise NotClosed(
            sorted({*found, *missing}),
            "A drift must be a multiple of x plus a combination of the mean vectors; give the mixtures scalar "
            "variances to close the chain.",
        )
    table = {key: _rows(*drifts(*key)) for key in product(METHODS, REFERENCES, CONTROLS) if allowed(*key)}
    reduced = programs(score, logit, ETA, steps)
    return ReducedChain(table, reduced, (*steps, *likelihood_ratio()))


def _rows(forward: Expr, backward: Expr) -> dict[Expr, tuple[Expr, Expr]]:
    """Coefficients of x and of every score in both drifts."""
    rows: dict[Expr, tuple[Expr, Expr]] = {}
    for side, drift in enumerate((forward, backward)):
        for coefficient, vector in vector_terms(drift):
            f, b = rows.get(vector, (S.Zero, S.Zero))
            rows[vector] = (f + coefficient, b) if side == 0 else (f, b + coefficient)
    return rows
