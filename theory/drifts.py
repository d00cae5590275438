"""Drifts of diffusion samplers, by method, reference and control, as vectors in x and scores."""

from __future__ import annotations

from typing import Any

from sympy import Expr, S, Symbol, sympify
from sympy.core.symbol import Str

from theory.vectors import POINT, Vector

__all__ = ["BETA", "CONTROLS", "ENDS", "ETA", "METHODS", "REFERENCES", "Score", "allowed", "drifts"]

METHODS = ("dis", "mcd", "cmcd", "dbs")
REFERENCES = ("ou", "prior", "annealed")
CONTROLS = ("none", "exact", "mixture")
#: The mixtures a drift may refer to: letter and subscript.
MIXTURES = {
    "prior": (r"\varphi", ""),
    "target": ("p", ""),
    "control": ("q", r"\vartheta"),
    "control_back": ("q", r"\vartheta'"),
}
#: log W = log p(x_N) − log φ(x_0) + Σ increments: by mixture the step at which its log-density enters, as a fraction of
#: all steps, and its coefficient.
ENDS = {"prior": (0, -1), "target": (1, 1)}
BETA, ETA = Symbol("beta", real=True), Symbol("eta", positive=True)


class Score(Vector):
    """∇log of one of the mixtures at x; noised: as OU noise for the time τ that is left makes it."""

    def __new__(cls, mixture: str | Str, noised: Any = False) -> Any:
        if str(mixture) not in MIXTURES:
            raise ValueError(f"mixture {mixture!s}: allowed are {', '.join(MIXTURES)}")
        return Expr.__new__(cls, Str(str(mixture)), sympify(noised))

    @property
    def mixture(self) -> str:
        return str(self.args[0])

    @property
    def noised(self) -> bool:
        return bool(self.args[1])

    def _sympystr(self, printer: Any) -> str:
        return f"∇log {self.mixture}{' noised' if self.noised else ''}"

    def _latex(self, printer: Any) -> str:
        letter, subscript = MIXTURES[self.mixture]
        below = ",".join(part for part in (subscript, r"\tau" if self.noised else "") if part)
        return rf"\nabla\log {letter}_{{{below}}}" if below else rf"\nabla\log {letter}"


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
        return 2 * (Score(mixture, True) + POINT) if reference == "ou" else Score(mixture)

    free = {"none": S.Zero, "exact": controlled("target"), "mixture": controlled("control")}[control]
    back = controlled("control_back") if control == "mixture" else S.Zero
    u = S.Zero if method == "mcd" else free
    b = {"dis": S.Zero, "mcd": free, "cmcd": -free, "dbs": back}[method]
    return (f + u).expand(), (f + b).expand()
