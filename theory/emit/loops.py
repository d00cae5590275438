"""A closed system as loops over its indices: the common ground of compiled CPU lanes and CUDA.

The states are coordinates x_k ∈ R^R of the mean vectors in their span with those of the target, and θ: the same flow as
that of the overlaps s = x xᵀ, m = x νᵀ, which rounding then cannot make overlaps of no vectors at all.

Every array is a run of rows of one scratch array, every equation a nest of loops over free indices with inner loops for
sums; languages differ only in how they print a nest. Nothing is unrolled here: K and L are constants of the compiler.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sympy import Add, Expr, Indexed, IndexedBase, Integer, Mul, Symbol, expand, log

from theory.expectations import LogitExpectation
from theory.linearise import TANGENT, tangent
from theory.rules import bottom_up, linearity
from theory.rules.derivatives import softmax_jacobian
from theory.sums import Sigma, index, separate
from theory.vectors import Mean

if TYPE_CHECKING:
    from theory.system import ClosedSystem

__all__ = ["Assign", "Expect", "Loop", "Program"]


@dataclass(frozen=True)
class Assign:
    """target op expr for one value of the loop indices; op is "=", "+=" or "*="; expr has no sums."""

    target: Indexed
    op: str
    expr: Expr


@dataclass(frozen=True)
class Expect:
    """Expectations under all components k at once: softmax → `table`[k, :], logsumexp → `lse`[k], of logits with means
    mean[k, :] and the common covariance cov.

    fixed: the number of this law among those with a covariance that no state moves; None for the others.
    """

    table: str
    size: Symbol
    fixed: int | None


@dataclass(frozen=True)
class Loop:
    """for index in 1..size: body."""

    index: Symbol
    size: Expr
    body: tuple[Assign | Expect | Loop, ...]


Statement = Assign | Expect | Loop


def array(name: str) -> IndexedBase:
    """An array of rows."""
    return IndexedBase(name, real=True)


class Program:
    """The statements of a closed system, in order, and the shapes of the arrays they use."""

    def __init__(self, system: ClosedSystem) -> None:
        self.system = system
        self.k, self.j, self.i = system.q.indices(3)
        self.l, self.n = system.p.indices(2)
        K, L = system.q.size, system.p.size
        self.laws = {t.name: t.value for t in system.tables if isinstance(t.value, LogitExpectation)}
        self.b, self.R = index("b"), Symbol("R", integer=True, positive=True)
        self.shapes: dict[str, tuple[Expr, ...]] = {
            "x": (K, self.R), "theta": (K,), "s": (K, K), "m": (K, L), "log_w": (K,), "w": (K,), "F": (K,),
            "v_x": (K, self.R), "v_theta": (K,), "D": (Integer(1),), "mode_mass": (L,),
            "nu": (L, self.R), "c": (L, L), "log_pi": (L,),
        }  # fmt: skip
        for name, node in self.laws.items():
            size = node.size
            self.shapes |= {
                f"mean_{name}": (K, size),
                f"cov_{name}": (size, size),
                name: (K, size),
                f"lse_{name}": (K,),
            }
        moving = ("x", "theta", "s", "m", "log_w", "w", "F", "v_x", "v_theta")
        self.moving = frozenset([*moving, *self.laws, *(f"{x}_{n}" for x in ("mean", "cov", "lse") for n in self.laws)])
        self.shapes |= {TANGENT + name: self.shapes[name] for name in sorted(self.moving)}

    # --- equations, with expectations named -------------------------------------------------------------------------

    def _named(self, expr: Expr) -> Expr:
        """LogitExpectation nodes as entries of the tables and of lse_*."""

        def rewrite(node: LogitExpectation) -> Expr:
            name = next(n for n, known in self.laws.items() if known.law == node.law)
            return array(f"lse_{name}")[self.k] if node.kind == "logsumexp" else array(name)[self.k, node.entry]

        return bottom_up(expr, rewrite, LogitExpectation)

    @cached_property
    def law_equations(self) -> list[tuple[Indexed, Expr]]:
        """mean_X[k, j] and cov_X[i, j] of the logits behind every table X."""
        out = []
        for name, node in self.laws.items():
            (j,), (i, j2) = node.mean.variables, node.cov.variables
            out.append((array(f"mean_{name}")[self.k, j], node.mean.expr))
            out.append((array(f"cov_{name}")[i, j2], node.cov.expr))
        return out

    @cached_property
    def fixed_laws(self) -> list[str]:
        """Names of the laws whose covariance holds parameters only."""

        def moves(expr: Expr) -> bool:
            return any(str(array.base) in self.moving for array in expr.atoms(Indexed))

        return [name for name, node in self.laws.items() if not moves(node.cov.expr)]

    @cached_property
    def scalar_tables(self) -> list[tuple[Indexed, Expr]]:
        """F[k], in terms of lse_A, lse_B and the states."""
        tables = [t for t in self.system.tables if t.name not in self.laws]
        return [(t.symbol[t.indices], self._named(t.value)) for t in tables]

    @cached_property
    def overlap_equations(self) -> list[tuple[Indexed, Expr]]:
        """s = x xᵀ and m = x νᵀ: overlaps of vectors, whatever rounding does to the vectors."""
        k, i, l, b = self.k, self.i, self.l, self.b
        x, nu = array("x"), array("nu")
        return [
            (array("s")[k, i], Sigma(x[k, b] * x[i, b], (b, 1, self.R))),
            (array("m")[k, l], Sigma(x[k, b] * nu[l, b], (b, 1, self.R))),
        ]

    @cached_property
    def velocity_equations(self) -> list[tuple[Indexed, Expr]]:
        """v_x[k, b], coordinate b of the velocity of mean k, and v_theta[k]."""

        def coordinate(mean: Mean) -> Expr:
            return array("x" if mean.name == self.system.q.mean_name else "nu")[mean.index, self.b]

        velocity = bottom_up(self.system.velocity, coordinate, Mean)
        rows = [(array("v_x")[self.k, self.b], velocity)]
        if "theta" in self.system.equations:
            rows.append((array("v_theta")[self.k], self.system.equations["theta"]))
        return rows

    @cached_property
    def observable_equations(self) -> list[tuple[Indexed, Expr]]:
        """The objective and the mode masses."""
        observables = self.system.observables
        return [(array("D")[1], observables["objective"]), (array("mode_mass")[self.l], observables["mode_mass"])]

    # --- statements -------------------------------------------------------------------------------------------------

    def fixed(self) -> list[Statement]:
        """What depends on parameters only: covariances of the fixed laws."""
        return self._nests([row for row in self.law_equations if self._is_fixed(row[0])])

    def tables(self) -> list[Statement]:
        """Overlaps, laws, expectations, scalar tables."""
        laws = [row for row in self.law_equations if not self._is_fixed(row[0])]
        numbers = {name: number for number, name in enumerate(self.fixed_laws)}
        out = self._nests([*self.overlap_equations, *laws])
        out += [Expect(name, node.size, numbers.get(name)) for name, node in self.laws.items()]
        return out + self._nests(self.scalar_tables)

    def _is_fixed(self, target: Indexed) -> bool:
        return str(target.base) in {f"cov_{name}" for name in self.fixed_laws}

    def velocity(self) -> list[Statement]:
        """Velocities from states and tables."""
        return self._nests(self.velocity_equations)

    def observables(self) -> list[Statement]:
        """Objective and mode masses from tables."""
        return self._nests(self.observable_equations)

    def tangent_before_expectations(self) -> list[Statement]:
        """Tangents of w, log w, the overlaps and the laws, from those of the states."""
        return [*self._log_weight_tangent(), *self._tangents([*self.overlap_equations, *self.law_equations])]

    def tangent_after_expectations(self) -> list[Statement]:
        """Tangents of F and of the velocities."""
        return self._tangents([*self.scalar_tables, *self.velocity_equations])

    def _log_weight_tangent(self) -> list[Statement]:
        """d log w_k and d w_k from ∂w_k/∂θ_j, which the softmax rule derives."""
        k, j, q = self.k, self.j, self.system.q
        jacobian = softmax_jacobian(q, k, j)
        d_w = linearity(q.sum(jacobian * array("d_theta")[j], j))
        d_log_w = linearity(expand(d_w / q.weight(k)))
        return self._nests([(array("d_w")[k], d_w), (array("d_log_w")[k], d_log_w)])

    def _tangents(self, equations: list[tuple[Indexed, Expr]]) -> list[Statement]:
        return self._nests(
            [
                (array(TANGENT + str(target.base))[target.indices], expand(tangent(expr, self.moving)))
                for target, expr in equations
            ]
        )

    def _nests(self, equations: list[tuple[Indexed, Expr]]) -> list[Statement]:
        return [statement for target, expr in equations for statement in self.nest(target, expr)]

    def nest(self, target: Indexed, expr: Expr) -> list[Statement]:
        """The loops that evaluate one equation."""
        statements: list[Statement] = self._lower(target, separate(expr, frozenset(target.free_symbols)))
        for free, size in reversed(list(zip(target.indices, self.shapes[str(target.base)], strict=True))):
            if isinstance(free, Symbol):
                statements = [Loop(free, size, tuple(statements))]
        return statements

    def _lower(self, target: Indexed, expr: Expr) -> list[Statement]:
        factors = Mul.make_args(expr)
        sums = [f for f in factors if isinstance(f, Add) and f.atoms(Sigma)]
        if len(sums) == 1 and len(factors) > 1:  # w_k (…): evaluate the bracket, then multiply
            rest = expr / sums[0]
            return [*self._lower(target, sums[0]), Assign(target, "*=", rest)]
        plain = Add(*(t for t in Add.make_args(expr) if not t.atoms(Sigma)))
        out: list[Statement] = [Assign(target, "=", plain)]
        for term in Add.make_args(expr):
            if not term.atoms(Sigma):
                continue
            sigma = next(f for f in Mul.make_args(term) if isinstance(f, Sigma))
            body = (term / sigma) * sigma.function
            if body.atoms(Sigma):
                inner = next(f for f in Mul.make_args(body) if isinstance(f, Sigma))
                innermost = Loop(inner.index, inner.size, (Assign(target, "+=", (body / inner) * inner.function),))
                out.append(Loop(sigma.index, sigma.size, (innermost,)))
            else:
                out.append(Loop(sigma.index, sigma.size, (Assign(target, "+=", body),)))
        return out


def logarithms(expr: Expr) -> Expr:
    """log w[k] → log_w[k], log v → log_v: logarithms are data, not function calls in the inner loop."""

    def rewrite(node: Expr) -> Expr:
        argument = node.args[0]
        if isinstance(argument, Indexed):
            return array(f"log_{argument.base}")[argument.indices]
        return Symbol(f"log_{argument}", real=True)

    return bottom_up(expr, rewrite, log)
