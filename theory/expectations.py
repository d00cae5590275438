"""E_k[·] as a node, the derivative node, and expectations over the law of Gaussian logits."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Function, Indexed, Lambda, Pow, Symbol, sympify
from sympy.core.symbol import Str

from theory.kinds import is_vector
from theory.mixtures import Mixture
from theory.sums import Sigma
from theory.vectors import Dot, Mean, Point

__all__ = [
    "Expectation",
    "Gradient",
    "LogSumExp",
    "LogitExpectation",
    "PairExpectation",
    "Softmax",
    "depends_on_x",
    "has_other_functions",
]


class Expectation(Expr):  # type: ignore[misc]
    """E_k[f(x)], x ~ N(mean_k, variance·I) under component k of a mixture; f scalar or vector. Binds x."""

    is_commutative = True

    def __new__(cls, mixture: Mixture, k: Any, f: Any) -> Any:
        return Expr.__new__(cls, mixture, sympify(k), sympify(f))

    mixture = property(lambda self: self.args[0])
    component = property(lambda self: self.args[1])
    integrand = property(lambda self: self.args[2])

    @property
    def is_vector(self) -> bool:
        return is_vector(self.integrand)

    @property
    def is_real(self) -> bool | None:
        return None if self.is_vector else True

    def _sympystr(self, printer: Any) -> str:
        return f"E_{self.component}[{printer._print(self.integrand)}]"

    def _latex(self, printer: Any) -> str:
        return rf"E_{{{printer._print(self.component)}}}\!\left[{printer._print(self.integrand)}\right]"

    def dot_inside(self, b: Expr) -> Expr:
        """E_k[f]·b = E_k[f·b], for b that does not depend on x."""
        return Expectation(self.mixture, self.component, Dot(self.integrand, b))


class Gradient(Expr):  # type: ignore[misc]
    """∂f/∂y, unevaluated: a vector if y is a vector (the point x or a mean), else a scalar."""

    is_commutative = True

    def __new__(cls, f: Expr, y: Expr) -> Any:
        return Expr.__new__(cls, f, y)

    f = property(lambda self: self.args[0])
    y = property(lambda self: self.args[1])

    @property
    def is_vector(self) -> bool:
        return isinstance(self.y, Mean | Point)

    def _sympystr(self, printer: Any) -> str:
        operator = "∇" if isinstance(self.y, Point) else f"∂_{self.y}"
        return f"{operator}({printer._print(self.f)})"

    def _latex(self, printer: Any) -> str:
        operator = r"\nabla" if isinstance(self.y, Point) else rf"\partial_{{{printer._print(self.y)}}}"
        return rf"{operator}\left({printer._print(self.f)}\right)"


class LogSumExp(Expr):  # type: ignore[misc]
    """log Σ_j exp(logits(j)), j = 1..size; the logits are fields of x."""

    is_commutative = True
    is_real = True
    is_field = True

    def __new__(cls, logits: Lambda, size: Expr) -> Any:
        return Expr.__new__(cls, logits, size)

    def _sympystr(self, printer: Any) -> str:
        (j,) = self.args[0].variables
        return f"LSE_{j}[{printer._print(self.args[0].expr)}]"

    def _latex(self, printer: Any) -> str:
        (j,) = self.args[0].variables
        return rf"\operatorname{{LSE}}_{{{j}}}\!\left[{printer._print(self.args[0].expr)}\right]"


class Softmax(Expr):  # type: ignore[misc]
    """softmax of logits(1..size), entry j; the logits are fields of x."""

    is_commutative = True
    is_real = True
    is_field = True

    def __new__(cls, logits: Lambda, size: Expr, j: Any) -> Any:
        return Expr.__new__(cls, logits, size, sympify(j))

    def _sympystr(self, printer: Any) -> str:
        (j,) = self.args[0].variables
        return f"softmax_{j}[{printer._print(self.args[0].expr)}]_{self.args[2]}"

    def _latex(self, printer: Any) -> str:
        (j,) = self.args[0].variables
        body = printer._print(self.args[0].expr)
        return rf"\operatorname{{softmax}}_{{{j}}}\!\left[{body}\right]_{{{printer._print(self.args[2])}}}"


_ONE, _TWO = (Symbol(f"_{n}", integer=True, positive=True) for n in (1, 2))


def _ordered(expr: Expr) -> Expr:
    """The same with the two indices of symmetric overlaps s and c in one order."""
    overlaps = [x for x in expr.atoms(Indexed) if str(x.base) in ("s", "c")]
    return expr.xreplace({x: x.base[tuple(sorted(x.indices, key=str))] for x in overlaps})


class LogitExpectation(Expr):  # type: ignore[misc]
    """E[softmax_j(U)] or E[logsumexp(U)], U ~ N(mean, cov) of `size` logits, the last identically zero.

    The end of every derivation: size − 1 Gaussian directions, whatever d. `entry` is j, or 0 for the log-sum-exp.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, kind: str | Str, mean: Lambda, cov: Lambda, size: Expr, entry: Any = 0) -> Any:
        return Expr.__new__(cls, Str(str(kind)), mean, cov, size, sympify(entry))

    kind = property(lambda self: str(self.args[0]))
    mean = property(lambda self: self.args[1])
    cov = property(lambda self: self.args[2])
    size = property(lambda self: self.args[3])
    entry = property(lambda self: self.args[4])

    @property
    def law(self) -> tuple[Expr, Expr, Expr]:
        """Mean, covariance and size, the same for nodes that differ in the names of bound indices only."""
        return _ordered(self.mean(_ONE)), _ordered(self.cov(_ONE, _TWO)), self.size

    def _sympystr(self, printer: Any) -> str:
        mean, cov = printer._print(self.mean.expr), printer._print(self.cov.expr)
        return f"E {self.kind}{'_' + str(self.entry) if self.entry != 0 else ''}(N({mean}; {cov}))"

    def _latex(self, printer: Any) -> str:
        name = rf"\operatorname{{{'LSE' if self.kind == 'logsumexp' else 'softmax'}}}"
        entry = "" if self.entry == 0 else f"_{{{printer._print(self.entry)}}}"
        return rf"E\,{name}{entry}(U^{{({self.size})}})"


class PairExpectation(Expr):  # type: ignore[misc]
    """E[softmax_j(U) softmax_i(V)] for jointly Gaussian logits U and V, the same or others.

    first, second: the LogitExpectation of each softmax alone, which hold the laws and the entries j and i.
    cross: Lambda (n, h) -> Cov(U_n, V_h).
    """

    is_commutative = True
    is_real = True

    def __new__(cls, first: LogitExpectation, second: LogitExpectation, cross: Lambda) -> Any:
        return Expr.__new__(cls, first, second, cross)

    first = property(lambda self: self.args[0])
    second = property(lambda self: self.args[1])
    cross = property(lambda self: self.args[2])

    @property
    def same(self) -> bool:
        """True if U = V: second moments of one softmax."""
        first, second = self.first.law, self.second.law
        return bool(first == second and _ordered(self.cross(_ONE, _TWO)) == first[1])

    def _sympystr(self, printer: Any) -> str:
        first, second, cross = (printer._print(a) for a in (self.first, self.second, self.cross.expr))
        return f"E pair({first}, {second}; {cross})"

    def _latex(self, printer: Any) -> str:
        def one(node: LogitExpectation, name: str) -> str:
            return rf"\operatorname{{softmax}}_{{{printer._print(node.entry)}}}({name}^{{({node.size})}})"

        return rf"E\,{one(self.first, 'U')}\,{one(self.second, 'U')}"


def depends_on_x(expr: Expr) -> bool:
    """True if the expression is a field: x occurs in it outside of expectations, which bind x."""
    closed = isinstance(expr, Expectation | LogitExpectation | PairExpectation | Indexed)
    if closed or getattr(expr, "binds_x", False):
        return False
    if isinstance(expr, Point) or getattr(expr, "is_field", False):
        return True
    if isinstance(expr, Sigma):
        return depends_on_x(expr.function)
    return any(depends_on_x(a) for a in expr.args)


def has_other_functions(integrand: Expr) -> bool:
    """Whether a field is more than a polynomial in x, log-densities and responsibilities."""
    powers = (p for p in integrand.atoms(Pow) if depends_on_x(p))
    functions = (f for f in integrand.atoms(Function) if depends_on_x(f))
    return any(True for _ in functions) or any(not p.exp.is_Integer or p.exp < 0 for p in powers)
