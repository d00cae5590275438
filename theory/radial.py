"""Fields and expectations that see |x|²: what different variances within a mixture add to the language of the engine.

The logits of such a mixture are ℓ_j(x) = ℓ_j(μ_k) + ∇ℓ_j(μ_k)·(x−μ_k) − |x−μ_k|²/2v_j, exactly. Under component k, with
x = μ_k + √v_k z, they are jointly those of a few Gaussian directions and of |z|², whatever d.
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, Lambda, Symbol, sympify
from sympy.core.symbol import Str

from theory.mixtures import Mixture, Responsibility
from theory.vectors import Mean

__all__ = ["RadialExpectation", "Raised", "Slope", "SquaredDistance", "radial_nodes"]


class _Scalar(Expr):  # type: ignore[misc]
    is_commutative = True
    is_real = True


class SquaredDistance(_Scalar):
    """|x − mean|² − d v: how much farther x is from the mean of a component of variance v than on average."""

    is_field = True

    def __new__(cls, mean: Mean, v: Any) -> Any:
        return Expr.__new__(cls, mean, sympify(v))

    def _sympystr(self, printer: Any) -> str:
        return f"(|x - {self.args[0]}|² - d*{printer._print(self.args[1])})"

    def _latex(self, printer: Any) -> str:
        return rf"\left(|x-{printer._print(self.args[0])}|^2-d\,{printer._print(self.args[1])}\right)"


class Slope(_Scalar):
    """∂r_i/∂ℓ_j = r_i (δ_ij − r_j), the second derivative of the log-sum-exp of the logits; a field of x."""

    is_field = True

    def __new__(cls, mixture: Mixture, i: Any, j: Any) -> Any:
        return Expr.__new__(cls, mixture, sympify(i), sympify(j))

    def _sympystr(self, printer: Any) -> str:
        mixture, i, j = self.args
        return f"{Responsibility(mixture, i)} (δ_{i}{j} - {Responsibility(mixture, j)})"

    def _latex(self, printer: Any) -> str:
        mixture, i, j = self.args
        one, other = (printer._print(Responsibility(mixture, n)) for n in (i, j))
        return rf"{one}(\delta_{{{i}{j}}}-{other})"


class Raised(_Scalar):
    """E_k^+[f]: E_k with x continued by two more coordinates, in which all means are zero; logits as in R^d.

    Only |x|² notices: under component k it is larger by v_k χ²_2.
    """

    binds_x = True

    def __new__(cls, mixture: Mixture, k: Any, f: Any) -> Any:
        return Expr.__new__(cls, mixture, sympify(k), sympify(f))

    mixture = property(lambda self: self.args[0])
    component = property(lambda self: self.args[1])
    integrand = property(lambda self: self.args[2])

    def _sympystr(self, printer: Any) -> str:
        return f"E⁺_{self.component}[{printer._print(self.integrand)}]"

    def _latex(self, printer: Any) -> str:
        return rf"E^+_{{{printer._print(self.component)}}}\!\left[{printer._print(self.integrand)}\right]"


def radial_nodes(expr: Expr) -> list[RadialExpectation]:
    """The expectations over logits in an expression, in an order that does not change from run to run."""
    return sorted(expr.atoms(RadialExpectation), key=lambda node: (str(node.size), node.kind))


class RadialExpectation(_Scalar):
    """Expectations over logits U_j = mean_j + a_j·z + curvature_j (|z|² − d), z ~ N(0, I_d), a_i·a_j = cov_ij.

    kind: "logsumexp": E LSE(U) · "softmax": E softmax_i(U) · "radius": E[(|z|² − d) softmax_i(U)] ·
    "slope": E⁺[softmax_i (δ_ij − softmax_j)], z in d + 2 dimensions, U as it stands. `entries` are i and j.
    """

    binds_x = True

    def __new__(
        cls, kind: str | Str, mean: Lambda, cov: Lambda, curvature: Lambda, size: Expr, d: Expr, *entries: Any
    ) -> Any:
        return Expr.__new__(cls, Str(str(kind)), mean, cov, curvature, size, d, *map(sympify, entries))

    kind = property(lambda self: str(self.args[0]))
    mean = property(lambda self: self.args[1])
    cov = property(lambda self: self.args[2])
    curvature = property(lambda self: self.args[3])
    size = property(lambda self: self.args[4])
    entries = property(lambda self: self.args[6:])

    @property
    def law(self) -> tuple[Expr, ...]:
        """Mean, covariance, curvature and size, the same for nodes that differ in the names of bound indices only."""
        one, two = Symbol("_1", integer=True, positive=True), Symbol("_2", integer=True, positive=True)
        return self.mean(one), self.cov(one, two), self.curvature(one), self.size

    def _sympystr(self, printer: Any) -> str:
        law = "; ".join(printer._print(part.expr) for part in self.args[1:4])
        entries = "_" + "".join(map(str, self.entries)) if self.entries else ""
        return f"E {self.kind}{entries}({law})"

    def _latex(self, printer: Any) -> str:
        u = f"U^{{({self.size})}}"
        if self.kind == "logsumexp":
            return rf"E\,\operatorname{{LSE}}({u})"
        i, j = (printer._print(n) for n in (self.entries[0], self.entries[-1]))
        if self.kind == "slope":
            return (
                rf"E^+\!\left[\operatorname{{softmax}}_{{{i}}}({u})"
                rf"(\delta_{{{i}{j}}}-\operatorname{{softmax}}_{{{j}}}({u}))\right]"
            )
        factor = "(|z|^2-d)" if self.kind == "radius" else ""
        return rf"E\!\left[{factor}\operatorname{{softmax}}_{{{i}}}({u})\right]"
