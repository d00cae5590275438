"""Isotropic Gaussian mixtures: log-density, responsibilities, logits, as functions of the point x."""

from __future__ import annotations

from typing import Any

from sympy import Basic, Expr, Indexed, IndexedBase, Rational, Symbol, log, pi, sympify
from sympy.core.symbol import Str

from theory.sums import LETTERS, Sigma, index
from theory.vectors import POINT, Dot, Image, Mean

__all__ = ["DIMENSION", "LogDensity", "Mixture", "Responsibility", "mixture", "target"]

DIMENSION = Symbol("d", integer=True, positive=True)


class Mixture(Basic):  # type: ignore[misc]
    """Σ_k w_k N(mean_k, variance·I), or N(mean_k, S⁻¹) if `precision` names a symmetric operator S of R^d.

    One variance for all components, or one for each (`own_variances`); arbitrary weights; `size` components.
    """

    def __new__(
        cls,
        name: str,
        size: str,
        weight: str,
        mean: str,
        variance: str,
        responsibility: str,
        precision: str = "",
        own_variances: Any = "",
    ) -> Any:
        args = [Str(str(a)) for a in (name, size, weight, mean, variance, responsibility, precision)]
        return Basic.__new__(cls, *args, *([Str("own")] if str(own_variances) in ("True", "own") else []))

    name = property(lambda self: str(self.args[0]))
    size = property(lambda self: Symbol(str(self.args[1]), integer=True, positive=True))
    weights = property(lambda self: IndexedBase(str(self.args[2]), real=True, positive=True))
    mean_name = property(lambda self: str(self.args[3]))
    own_variances = property(lambda self: len(self.args) > 7)
    responsibility_name = property(lambda self: str(self.args[5]))
    precision = property(lambda self: str(self.args[6]))

    def weight(self, k: Any) -> Indexed:
        """w_k."""
        return self.weights[k]

    def variance(self, k: Any) -> Expr:
        """The variance of component k: v, or v_k."""
        name = str(self.args[4])
        return IndexedBase(name, real=True, positive=True)[k] if self.own_variances else Symbol(name, positive=True)

    def mean(self, k: Any) -> Any:
        """The mean vector of component k."""
        return Mean(self.mean_name, k)

    def indices(self, n: int) -> tuple[Symbol, ...]:
        """The first n index letters of this mixture's side."""
        return tuple(index(letter) for letter in LETTERS[self.name][:n])

    def sum(self, body: Expr, k: Symbol) -> Expr:
        """Σ_k body over the components."""
        return Sigma(body, (k, 1, self.size))

    def logit(self, k: Any) -> Expr:
        """ℓ_k(x) = log w_k + log N(x; mean_k, ·): the log-density is their log-sum-exp."""
        r = POINT - self.mean(k)
        if self.precision:
            log_det = Symbol(f"logdet_{self.precision}", real=True)
            quadratic, normaliser = Dot(r, Image(self.precision, r)), DIMENSION * log(2 * pi) - log_det
        else:
            quadratic, normaliser = Dot(r, r) / self.variance(k), DIMENSION * log(2 * pi * self.variance(k))
        return log(self.weight(k)) - Rational(1, 2) * normaliser - Rational(1, 2) * quadratic


class LogDensity(Expr):  # type: ignore[misc]
    """log of the mixture's density at x: the log-sum-exp of its logits."""

    is_commutative = True
    is_real = True
    is_field = True

    def __new__(cls, mixture: Mixture) -> Any:
        return Expr.__new__(cls, mixture)

    def _sympystr(self, printer: Any) -> str:
        return f"log {self.args[0].name}"

    def _latex(self, printer: Any) -> str:
        return rf"\log {self.args[0].name}"


class Responsibility(Expr):  # type: ignore[misc]
    """r_k(x) = softmax of the logits at k: the posterior probability of component k given x."""

    is_commutative = True
    is_real = True
    is_field = True

    def __new__(cls, mixture: Mixture, k: Any) -> Any:
        return Expr.__new__(cls, mixture, sympify(k))

    def _sympystr(self, printer: Any) -> str:
        return f"{self.args[0].responsibility_name}_{self.args[1]}"

    def _latex(self, printer: Any) -> str:
        name = self.args[0].responsibility_name
        return rf"{name if len(name) == 1 else chr(92) + name}_{{{printer._print(self.args[1])}}}"


def mixture(*, own_variances: bool = False) -> Any:
    """q = Σ_k w_k N(μ_k, v I), k = 1..K: the variational family. `own_variances`: v_k instead of v."""
    return Mixture("q", "K", "w", "mu", "v", "r", own_variances=own_variances)


def target(precision: str = "", *, own_variances: bool = False) -> Any:
    """p = Σ_l π_l N(ν_l, u I), l = 1..L: the target. `own_variances`: u_l instead of u.

    With `precision="S"`: N(ν_l, S⁻¹), the same for every mode.
    """
    return Mixture("p", "L", "pi", "nu", "u", "rho", precision, own_variances)
