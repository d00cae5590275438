"""Steps of a derivation along a path in R^d, checked by numbers at a random point of R^5 and a random step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from sympy import Expr, Indexed, Symbol

from theory.configuration import Configuration, position
from theory.derivation import Step
from theory.mixtures import Mixture
from theory.quadrature import residual
from theory.rules import Rule

__all__ = ["COLLECT", "FIXED", "KERNELS", "SPLIT", "PathConfiguration", "PathStep", "path_configuration"]


#: The vector whose coordinates in the span an array has.
VECTORS = {"x_new": "new", "xi": "xi", "pull_f": "pull", "pull_b": "back"}


@dataclass(frozen=True)
class PathConfiguration(Configuration):
    """A random point of R^5 with means in a plane: x, ξ, a step from x to x', and all of their coordinates."""

    frame: Any = None

    def logits(self, mixture: Mixture) -> Any:
        assert self.x is not None
        v, d = self.table("v"), self.x.shape[1]
        square = np.sum((self.x[:, None, :] - self.means["mu"]) ** 2, axis=-1)
        return np.log(self.weights["w"]) - 0.5 * d * np.log(2 * np.pi * v) - 0.5 * square / v

    def table(self, name: str) -> Any:
        assert self.x is not None
        tables = {"x": self.x[0] @ self.frame, "v": np.array([0.6, 1.1, 1.9]), "mean": self.means["mu"] @ self.frame}
        if name in tables:
            return tables[name]
        return (self.means[VECTORS[name]] @ self.frame)[0]

    def _shifted(self, y: Expr, coordinate: int, h: float) -> Configuration:
        """A coefficient of a drift alone, or a coordinate of its part in the span: x' stays where it is."""
        if isinstance(y, Symbol):
            return replace(self, symbols={**self.symbols, str(y): self.symbols[str(y)] + h})
        if isinstance(y, Indexed) and str(y.base) in VECTORS:
            name = VECTORS[str(y.base)]
            moved = self.means[name] + h * self.frame[:, position(y.indices[0], self)]
            return replace(self, means={**self.means, name: moved})
        return super()._shifted(y, coordinate, h)


@cache
def path_configuration(d: int = 5) -> PathConfiguration:
    """The point at which the steps are checked; the numbers themselves mean nothing."""
    rng = np.random.default_rng(20250300 + d)
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    x, xi = rng.standard_normal((2, d))
    pull, back = frame @ rng.standard_normal(2), frame @ rng.standard_normal(2)
    eta, shrink, shrink_b = 0.17, -0.7, 0.4
    new = x + eta * (shrink * x + pull) + np.sqrt(2 * eta) * xi
    x_, xi_, new_ = (y - frame @ (frame.T @ y) for y in (x, xi, new))
    rho = x_ @ x_
    xi1 = x_ @ xi_ / np.sqrt(rho)
    symbols = {
        "d": d, "K": 3, "R": 2, "eta": eta, "shrink_f": shrink, "shrink_b": shrink_b, "rho": rho, "root": np.sqrt(rho),
        "xi1": xi1, "chi2": xi_ @ xi_ - xi1**2, "rho_new": new_ @ new_, "meet": x_ @ new_,
    }  # fmt: skip
    vectors = {"new": new[None], "xi": xi[None], "pull": pull[None], "back": back[None]}
    # Free indices that do not number components run over the rows of nu: here the two coordinates in the span.
    means = {"mu": rng.standard_normal((3, 2)) @ frame.T, "nu": np.zeros((2, d)), **vectors}
    return PathConfiguration(means, {"w": np.array([0.2, 0.5, 0.3])}, symbols, x=x[None], frame=frame)


@dataclass(frozen=True)
class PathStep(Step):
    """A step that is checked at a random point of R^5 and a random step from it."""

    @cached_property
    def residual(self) -> float:
        return residual(self.before, self.after, path_configuration())


def _same(expr: Expr) -> Expr:
    return expr


#: Steps taken by the functions below; a rule that is no rewriting of a tree carries its statement only.
SPLIT = Rule(
    "Orthogonal split",
    r"u\cdot v=\textstyle\sum_b u_bv_b+u_\perp\cdot v_\perp,\ |x_\perp|^2=\varrho,\ \mu_{k\perp}=0,\ "
    r"\xi_\perp=\xi_1x_\perp/\sqrt\varrho+\zeta,\ x_\perp\cdot\zeta=0,\ |\zeta|^2\sim\chi^2_{d-r-1}",
    _same,
)
FIXED = Rule("Fixed path", r"\partial\log F,\ \partial\log B\ \text{at points }x,\,x'\text{ that do not move}", _same)
KERNELS = Rule("Forward kernel", r"x'-x-\eta h=\sqrt{2\eta}\,\xi", _same)
COLLECT = Rule("Span", r"\text{every term is a multiple of }x\text{ or of a mean}", _same)
