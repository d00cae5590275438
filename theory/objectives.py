"""Objectives as data: averages of log-densities under the family or the target, and functions of their parameters.

An objective is a list of terms (coefficient, mixture, integrand), each Σ_a weight_a E_a[integrand] over the components
of that mixture, and a scalar beside them. Flows, tables and emitted code follow from these alone, so a new objective is
a new list. Numbers are exact: 0.3 is 3/10, a float is the decimal number that it prints as.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sympy import Expr, S, Symbol, cancel, diff, exp, expand, simplify, solve

from solvers.objective.grammar import ObjectiveError, normal
from theory.coefficients import coefficient, power_of_target
from theory.expectations import Expectation, depends_on_x
from theory.kinds import is_vector
from theory.mixtures import LogDensity, Mixture, Responsibility
from theory.parameters import BETA, RATE, TEMPERATURE

__all__ = ["AlphaDivergence", "ForwardKL", "Objective", "Regulariser", "ReverseKL", "WeightedSum"]
__all__ += ["annealing", "average", "warming"]

Term = tuple[Expr, Mixture, Expr]


@dataclass(frozen=True)
class Objective:
    """What a flow descends, in nats, as a functional of q and p.

    Sums, differences and multiples of objectives are objectives: `0.3 * ForwardKL(q, p) + ReverseKL(q, p)`. A symbol as
    a factor is a parameter of the equations.
    Raises ValueError unless q is a family, `mixture()`, and p a target, `target()`.
    """

    q: Mixture
    p: Mixture

    def __post_init__(self) -> None:
        kind, must = type(self).__name__, "must be the family mixture() and then the target target()"
        found = [m.name if isinstance(m, Mixture) else type(m).__name__ for m in (self.q, self.p)]
        if found == ["p", "q"]:
            raise ValueError(f"{kind}: q and p are swapped; {must}")
        if found in (["q", "q"], ["p", "p"]):
            raise ValueError(f"{kind}: q and p are both {found[0]}; {must}")
        if found != ["q", "p"]:
            raise ValueError(f"{kind}: q, p are {', '.join(found)}; {must}")

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def terms(self) -> tuple[Term, ...]:
        raise NotImplementedError

    @property
    def beside(self) -> Expr:
        """What is added to the averages: a function of overlaps, weights and variances."""
        return S.Zero

    def value(self) -> Expr:
        """The objective as an expression of the engine."""
        return sum((c * average(mixture, f) for c, mixture, f in self.terms), S.Zero) + self.beside

    def integrand(self, mixture: Mixture) -> Expr:
        """What is averaged over the components of one mixture, all terms together; 0 if nothing is."""
        return expand(sum((c * f for c, under, f in self.terms if under == mixture), S.Zero))

    def mode_mass(self) -> Expr:
        """π̂_l, the mass that q gives to mode l: the expectation under q of the target's responsibility."""
        (l,) = self.p.indices(1)
        return average(self.q, Responsibility(self.p, l))

    def __mul__(self, factor: Any) -> WeightedSum:
        if isinstance(factor, Objective):
            raise TypeError(f"{self.name} times {factor.name}: must be an objective times a number or a parameter")
        return WeightedSum(self.q, self.p, ((coefficient(factor), self),))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> WeightedSum:
        if isinstance(divisor, Objective):
            raise TypeError(f"{self.name} over {divisor.name}: must be an objective over a number or a parameter")
        if coefficient(divisor) == 0:
            raise ZeroDivisionError(f"{self.name} divided by 0")
        return WeightedSum(self.q, self.p, ((1 / coefficient(divisor), self),))

    def __neg__(self) -> WeightedSum:
        return -1 * self

    def __pos__(self) -> Objective:
        return self

    def __add__(self, other: Any) -> WeightedSum:
        if not isinstance(other, Objective):
            return NotImplemented
        return WeightedSum(self.q, self.p, ((S.One, self), (S.One, other)))

    def __radd__(self, other: Any) -> Objective:
        """The start of Python's sum()."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Any) -> WeightedSum:
        return self + -other if isinstance(other, Objective) else NotImplemented


def average(mixture: Mixture, f: Expr) -> Expr:
    """Σ_k w_k E_k[f], over the components of a mixture."""
    (k,) = mixture.indices(1)
    return mixture.sum(mixture.weight(k) * Expectation(mixture, k, f), k)


@dataclass(frozen=True)
class ReverseKL(Objective):
    """Σ_k w_k E_k[log q − β log p]: KL(q‖p) at β = 1; else KL(q‖p^β/Z_β) − log Z_β, Z_β = ∫p^β independent of q.

    beta: a number above 0; BETA, for a target tempered by a parameter of the equations, constant or following a
    schedule; or another symbol, a constant parameter.
    """

    beta: Expr = S.One

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", power_of_target(self.beta))

    @property
    def name(self) -> str:
        return "reverse-kl" if self.beta in (1, BETA) else f"reverse-kl({self.beta})"

    @property
    def terms(self) -> tuple[Term, ...]:
        return ((S.One, self.q, LogDensity(self.q) - self.beta * LogDensity(self.p)),)


@dataclass(frozen=True)
class ForwardKL(Objective):
    """KL(p‖q) = Σ_l π_l E_l[log p − log q], expectations under the modes of the target."""

    @property
    def name(self) -> str:
        return "forward-kl"

    @property
    def terms(self) -> tuple[Term, ...]:
        return ((S.One, self.p, LogDensity(self.p) - LogDensity(self.q)),)


@dataclass(frozen=True)
class AlphaDivergence(Objective):
    """(∫ q^α p^{1−α} − 1)/(α(α − 1)) = (Σ_k w_k E_k[(q/p)^{α−1}] − 1)/(α(α − 1)), α ≠ 0, 1; without its constant.

    Rényi's divergence of that order, log ∫ q^α p^{1−α}/(α − 1), is an increasing function of it: the same flow lines.
    Raises ValueError for α = 0 and α = 1, where it is the forward and the reverse KL.
    """

    alpha: Expr = S.Half

    def __post_init__(self) -> None:
        super().__post_init__()
        alpha = coefficient(self.alpha)
        if alpha in (0, 1):
            limit = "ReverseKL(q, p)" if alpha == 1 else "ForwardKL(q, p)"
            raise ValueError(f"alpha-divergence: alpha is {alpha}; must be neither 0 nor 1: there it is {limit}")
        object.__setattr__(self, "alpha", alpha)

    @property
    def name(self) -> str:
        return f"alpha-divergence {self.alpha}"

    @property
    def terms(self) -> tuple[Term, ...]:
        ratio = LogDensity(self.q) - LogDensity(self.p)
        return ((1 / (self.alpha * (self.alpha - 1)), self.q, exp((self.alpha - 1) * ratio)),)


@dataclass(frozen=True)
class Regulariser(Objective):
    """A scalar function of overlaps, weights and variances, to be added to an objective.

    function: an expression of the engine in inner products of mean vectors, weights, variances, d and averages of
    polynomials in x, for example `q.sum(q.weight(k) * Dot(q.mean(k), q.mean(k)), k)`, `average(q, Dot(POINT, POINT))`.
    Symbols in it are parameters. called: how it is written in names and headings; default its text.
    Raises ValueError for a vector, for a field of x outside of averages, and for log-densities.
    """

    function: Expr = S.Zero
    called: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if is_vector(self.function) or depends_on_x(self.function):
            what = "a vector" if is_vector(self.function) else "a function of x"
            raise ValueError(f"Regulariser: {self.function} is {what}; must be a scalar free of x, such as an average")
        if self.function.atoms(LogDensity, Responsibility):
            raise ValueError(
                f"Regulariser: {self.function} has log-densities or responsibilities; must be a function of overlaps, "
                "weights, variances and averages of polynomials"
            )
        object.__setattr__(self, "function", coefficient(self.function, of=(self.q, self.p)))
        if not self.called.isprintable() or set(self.called) & set('"\\'):
            raise ValueError(
                f"Regulariser: called is {self.called!r}; must be printable, without quotation marks and \\"
            )

    @property
    def name(self) -> str:
        return self.called or " ".join(str(self.function).split())

    @property
    def terms(self) -> tuple[Term, ...]:
        return ()

    @property
    def beside(self) -> Expr:
        return self.function


@dataclass(frozen=True)
class WeightedSum(Objective):
    """Σ_i c_i D_i, written `c * D_1 + D_2`: equal parts once, none whose factors cancel.

    Raises ValueError if nothing is left, and for parts with other mixtures.
    """

    parts: tuple[tuple[Expr, Objective], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        found: dict[Objective, Expr] = {}
        for c, part in self.parts:
            if (part.q, part.p) != (self.q, self.p):
                raise ValueError(
                    f"{part.name}: its mixtures are others than those it is added to; must be the same q and p"
                )
            for b, one in part.parts if isinstance(part, WeightedSum) else ((S.One, part),):
                found[one] = found.get(one, S.Zero) + c * b
        kept = {part: cancel(c) for part, c in found.items()}
        parts = sorted(((c, part) for part, c in kept.items() if c != 0), key=_order)
        if not parts:
            raise ValueError("an objective of which nothing is left; must be something to descend")
        object.__setattr__(self, "parts", tuple(parts))

    @cached_property
    def name(self) -> str:
        """As the text of an objective, in the normal form of solvers.objective.grammar where it has one."""
        tempered = any(isinstance(part, ReverseKL) and part.beta == BETA for _, part in self.parts)
        out = ""
        for c, part in self.parts:
            negative = c.could_extract_minus_sign()
            size, name = -c if negative else c, part.name
            if tempered and isinstance(part, ReverseKL) and part.beta == 1:
                name += "(1)"
            factor = "" if size == 1 else f"({size}) " if size.is_Add else f"{_factors(size)} "
            sign = ("-" if negative else "") if not out else (" - " if negative else " + ")
            out += f"{sign}{factor}{name}"
        try:
            return normal(out)
        except ObjectiveError:
            return out

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple((c * b, mixture, f) for c, o in self.parts for b, mixture, f in o.terms)

    @property
    def beside(self) -> Expr:
        return sum((c * o.beside for c, o in self.parts), S.Zero)


def _order(item: tuple[Expr, Objective]) -> tuple[int, str]:
    """Divergences first, whatever the order in which somebody wrote the sum."""
    kinds = (ReverseKL, ForwardKL, AlphaDivergence, Regulariser)
    part = item[1]
    return next((n for n, kind in enumerate(kinds) if isinstance(part, kind)), len(kinds)), part.name


def _factors(size: Expr) -> str:
    """A factor as the text of an objective has it."""
    return str(size).replace("**", "^").replace("*", " ")


def warming(cooling: Expr) -> Expr:
    """dT/dt in T alone, from dβ/dt in β alone: the same schedule for T = 1/β."""
    return expand(-(TEMPERATURE**2) * cooling.subs(BETA, 1 / TEMPERATURE))


def annealing() -> Expr:
    """dβ/dt in β alone, for T(t) = 1 + (T(0) − 1) e^{−rate t} and β = 1/T: the schedule as one more closed equation."""
    t, start = Symbol("t", real=True), Symbol("T0", positive=True)
    beta = 1 / (1 + (start - 1) * exp(-RATE * t))
    (solution,) = solve(beta - BETA, start)
    return expand(simplify(diff(beta, t).subs(start, solution)))
