"""Diffusion samplers: drifts in a(x)·x + span of the means, their reduced chain, its log-weight and its adjoint.

    x' = x + η h(n, x) + √(2η) ξ          log W gains log B(x|x') − log F(x'|x)
    F(x'|x) = N(x'; x + η h(n, x), 2η I)   B(x|x') = N(x; x' + η g(n+1, x'), 2η I)

Source: Blessing, Jia, Neumann, arXiv 2503.00524 (2025); the reduction is derived here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sympy import Expr, S, Symbol
from sympy.core.symbol import Str

from theory import canonical
from theory.closure import NotClosed
from theory.derivation import Step
from theory.frames import decompose
from theory.mixtures import Mixture
from theory.programs import Program
from theory.reduction import programs, score_in_span
from theory.vectors import POINT, Vector
from theory.viewed import Viewed

__all__ = [
    "BETA",
    "CONTROLS",
    "ETA",
    "METHODS",
    "REFERENCES",
    "ReducedChain",
    "Score",
    "allowed",
    "drifts",
    "reduce_chain",
]

METHODS = ("dis", "mcd", "cmcd", "dbs")
REFERENCES = ("ou", "prior", "annealed")
CONTROLS = ("none", "exact", "mixture")
#: The mixtures a drift may refer to; `noised` is the target at noise time τ.
SCORES = {
    "prior": r"\varphi",
    "target": "p",
    "noised": r"p_\tau",
    "control": r"q_\vartheta",
    "control_back": r"q_{\vartheta'}",
}
BETA, ETA = Symbol("beta", real=True), Symbol("eta", positive=True)


class Score(Vector):
    """∇log of one of the mixtures of SCORES, at x."""

    def __new__(cls, mixture: str | Str) -> Any:
        if str(mixture) not in SCORES:
            raise ValueError(f"mixture {mixture!s}: allowed are {', '.join(SCORES)}")
        return Expr.__new__(cls, Str(str(mixture)))

    def _sympystr(self, printer: Any) -> str:
        return f"∇log {self.args[0]}"

    def _latex(self, printer: Any) -> str:
        return rf"\nabla\log {SCORES[str(self.args[0])]}"


def allowed(method: str, reference: str, control: str) -> bool:
    """Whether the combination is one of the theory: the exact control is known for DIS with the OU reference only, and
    an annealed reference needs a backward control or none (MCD, CMCD, DBS)."""
    if method == "dis" and reference == "annealed":
        return False
    return control != "exact" or (method, reference) == ("dis", "ou")


def drifts(method: str, reference: str, control: str) -> tuple[Expr, Expr]:
    """Forward drift h = f + u and backward drift g = f + b, as vectors in x and scores.

    Raises ValueError for a combination that is not `allowed`.
    """
    if method not in METHODS or reference not in REFERENCES or control not in CONTROLS:
        raise ValueError(f"{method}, {reference}, {control}: not a sampler of this theory")
    if not allowed(method, reference, control):
        raise ValueError(f"method {method} with reference {reference} has no control {control}")
    f = {
        "ou": -POINT,
        "prior": Score("prior"),
        "annealed": BETA * Score("target") + (1 - BETA) * Score("prior"),
    }[reference]

    def controlled(mixture: str) -> Expr:
        # Under OU noise the reverse of x → noise has drift f + u with u = 2(∇log + x) of the noised law.
        return 2 * (Score(mixture) + POINT) if reference == "ou" else Score(mixture)

    free = {"none": S.Zero, "exact": controlled("noised"), "mixture": controlled("control")}[control]
    back = controlled("control_back") if control == "mixture" else S.Zero
    u = S.Zero if method == "mcd" else free
    b = {"dis": S.Zero, "mcd": free, "cmcd": -free, "dbs": back}[method]
    return (f + u).expand(), (f + b).expand()


@dataclass(frozen=True)
class ReducedChain(Viewed):
    """The chain of (x_∥, ϱ), its log-weight and its adjoint, as straight-line programs in index notation.

    coefficients: of x and of every score in the two drifts of each method, reference and control. programs: start,
    noise (a mixture under OU noise), score, step, weight. steps: how they were derived, each with a witness in R^5.
    """

    emitter = "theory.emit.chain"

    coefficients: dict[tuple[str, str, str], tuple[dict[str, Expr], dict[str, Expr]]]
    programs: tuple[Program, ...]
    steps: tuple[Step, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of drifts and programs."""
        return hashlib.sha256(canonical.chain(self).encode()).hexdigest()


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
    table = {}
    for method in METHODS:
        for reference in REFERENCES:
            for control in CONTROLS:
                if allowed(method, reference, control):
                    forward, backward = drifts(method, reference, control)
                    table[method, reference, control] = _linear(forward), _linear(backward)
    return ReducedChain(table, programs(score, logit, ETA, steps), tuple(steps))


def _linear(drift: Expr) -> dict[str, Expr]:
    """Coefficients of x and of the scores in a drift."""
    from theory.vectors import vector_terms

    out: dict[str, Expr] = {}
    for coefficient, atom in vector_terms(drift) if drift != 0 else []:
        name = "x" if atom == POINT else str(atom.args[0])
        out[name] = out.get(name, S.Zero) + coefficient
    return out
