"""The reduced chain of diffusion samplers as data: drifts and straight-line programs, with an identity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sympy import Expr

from theory import canonical
from theory.derivation import Step
from theory.drifts import ENDS
from theory.programs import Program

__all__ = ["ChainPrograms"]


@dataclass(frozen=True)
class ChainPrograms:
    """The chain of (x_∥, ϱ), its log-weight and its adjoint, as straight-line programs in index notation.

    coefficients: of x and of every score in the forward and the backward drift of each method, reference and control.
    programs: start, law (the density of a start), noise (a mixture under OU noise), score, step, weight, fixed
    (derivatives of both kernels at a path that stays where it is), across (one direction orthogonal to the span),
    moment (what a step makes of E W^m of that). steps: how they were derived, each checked by numbers.
    """

    coefficients: dict[tuple[str, str, str], dict[Expr, tuple[Expr, Expr]]]
    programs: tuple[Program, ...]
    steps: tuple[Step, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of drifts, ends and programs, line by line; their adjoints follow from them."""
        found: dict[str, str] = {}
        for key, rows in self.coefficients.items():
            for vector, pair in rows.items():
                found[f"{' '.join(key)} {vector}"] = " ".join(map(canonical.expression, pair))
        for mixture, end in ENDS.items():
            found[f"end {mixture}"] = " ".join(map(str, end))
        for program in self.programs:
            for number, line in enumerate(program.body):
                texts = canonical.expression(line.variable), canonical.expression(line.value)
                found[f"{program.name} {number:03d}"] = " ".join(texts)
        return canonical.digest("reduced-chain/3", found)
