"""A closed system as loops over its indices: the common ground of compiled CPU lanes and CUDA.

The states are coordinates x_k ∈ R^R of the mean vectors in their span with those of the target, and θ: the same flow as
that of the overlaps s = x xᵀ, m = x νᵀ, which rounding then cannot make overlaps of no vectors at all. β is a
parameter or, as T = 1/β, one state more: a constant of the compiler, DRIVEN, counts them. A metric is a parameter too:
the power of the weights in each rate. Finite batches move overlaps in a way in which no vectors move, and variances of
their own have logits with |x|²: these systems have no such program.

Every array is a run of rows of one scratch array, every equation a nest of loops over free indices with inner loops for
sums; languages differ only in how they print a nest. Nothing is unrolled here: K, L, R and DRIVEN are constants of the
compiler.
"""

from __future__ import annotations

from functools import cached_property

from sympy import Add, Expr, Indexed, Integer, Mul, Symbol, expand

from theory.divergence import WidthDivergence, quotient
from theory.emit.nests import nest
from theory.emit.statements import Assign, Expect, Loop, Rate, State, Statement, array
from theory.equations import Equations
from theory.expectations import LogitExpectation, PairExpectation
from theory.linearise import TANGENT, tangent
from theory.objectives import warming
from theory.parameters import RATES, TEMPERATURE
from theory.rules import bottom_up, linearity
from theory.rules.derivatives import softmax_jacobian
from theory.sums import Sigma, index
from theory.vectors import Mean

__all__ = ["Program"]

#: How many states are driven, 0 or 1, and the index that numbers them.
DRIVEN, DRIVE = Symbol("DRIVEN", integer=True, positive=True), index("z")


class Program:
    """The statements of a closed system, in order, and the shapes of the arrays they use."""

    def __init__(self, system: Equations) -> None:
        self.system = system
        self.k, self.j, self.i = system.q.indices(3)
        self.l, self.n = system.p.indices(2)
        K, L = system.q.size, system.p.size
        self.laws = {t.name: t.value for t in system.tables if isinstance(t.value, LogitExpectation)}
        pairs = {t.name: t.value for t in system.tables if isinstance(t.value, PairExpectation)}
        assert all(pair.same for pair in pairs.values()), "products of two softmax of different logits have no loops"
        #: Of the name of a law, the table of the second moments of its softmax.
        self.second = {self.table_of(pair.first): name for name, pair in pairs.items()}
        #: The letter of the component under which a table is taken, and how many there are.
        self.under = {t.name: (t.indices[0], t.source.mixture.size) for t in system.tables}
        self.b, self.R = index("b"), Symbol("R", integer=True, positive=True)
        driven = [State("temperature", str(DRIVEN), "") for _ in system.driven]
        self.states = (State("x", "K * R", "P_LEARN_MEANS"), State("theta", "K", "P_LEARN_WEIGHTS"), *driven)
        shapes: dict[str, tuple[Expr, ...]] = {
            "x": (K, self.R), "theta": (K,), "s": (K, K), "m": (K, L), "log_w": (K,), "w": (K,),
        }  # fmt: skip
        shapes |= {t.name: (self.under[t.name][1],) for t in system.tables if len(t.indices) == 1}
        shapes |= {"v_x": (K, self.R), "v_theta": (K,)}
        shapes |= {str(RATES[group]): (K,) for group in system.powers}
        one = Integer(1)
        for name in system.driven:
            shapes |= {name: (one,), "temperature": (DRIVEN,), "v_temperature": (DRIVEN,)}
        ratios = (Integer(max(1, len(system.observables["objective"].atoms(WidthDivergence)))),)
        self.shapes = shapes | {
            "D": (one,), "above": ratios, "below": ratios, "mode_mass": (L,),
            "nu": (L, self.R), "c": (L, L), "log_pi": (L,), "pi": (L,),
        }  # fmt: skip
        for name, node in self.laws.items():
            size, count = node.size, self.under[name][1]
            self.shapes |= {
                f"mean_{name}": (count, size),
                f"cov_{name}": (size, size),
                name: (count, size),
                f"lse_{name}": (count,),
            }
        for law, name in self.second.items():
            self.shapes[name] = (self.under[name][1], self.laws[law].size, self.laws[law].size)
        made = [f"{x}{n}" for x in ("", "mean_", "cov_", "lse_") for n in self.laws if n in self.needed]
        made += [name for law, name in self.second.items() if law in self.needed]
        unused = {table.name for table in system.tables} - self.needed
        self.moving = frozenset([*(name for name in shapes if name not in unused), *made])
        self.shapes |= {TANGENT + name: self.shapes[name] for name in sorted(self.moving)}
        self.shapes |= {TANGENT + name: (DRIVEN,) for name in system.driven}

    # --- equations, with expectations named -------------------------------------------------------------------------

    def _named(self, expr: Expr) -> Expr:
        """LogitExpectation nodes as entries of the tables and of lse_*; driven parameters as entries of arrays."""

        def rewrite(node: LogitExpectation) -> Expr:
            name = self.table_of(node)
            component = self.under[name][0]
            return array(f"lse_{name}")[component] if node.kind == "logsumexp" else array(name)[component, node.entry]

        driven = {s: array(s.name)[1] for s in expr.atoms(Symbol) if s.name in self.system.driven}
        return bottom_up(expr.xreplace(driven), rewrite, LogitExpectation)

    def table_of(self, node: LogitExpectation) -> str:
        """The table whose logits have the same law."""
        return next(n for n, known in self.laws.items() if known.law == node.law)

    @cached_property
    def law_equations(self) -> list[tuple[Indexed, Expr]]:
        """mean_X[k, j] and cov_X[i, j] of the logits behind every table X of a softmax.

        Products of two entries of one softmax have no law of their own: they are its second moments.
        """
        out = []
        for name, node in self.laws.items():
            (j,), (i, j2) = node.mean.variables, node.cov.variables
            out.append((array(f"mean_{name}")[self.under[name][0], j], node.mean.expr))
            out.append((array(f"cov_{name}")[i, j2], node.cov.expr))
        return out

    @cached_property
    def expectations(self) -> dict[str, tuple[Symbol, str]]:
        """Of each table of softmax: under how many components it is taken, and of how many logits, as code."""
        return {name: (self.under[name][1], str(node.size)) for name, node in self.laws.items()}

    @cached_property
    def needed(self) -> set[str]:
        """Tables that velocities need, those inside of such tables included. Others are for observables."""
        inside = {str(target.base): expr for target, expr in self.scalar_tables}
        inside |= {name: array(law)[1] for law, name in self.second.items()}
        found: set[str] = set()
        new = [expr for _, expr in self.velocity_equations]
        while new:
            names = {str(entry.base).removeprefix("lse_") for entry in new.pop().atoms(Indexed)}
            names &= self.under.keys() - found
            found |= names
            new += [inside[name] for name in names if name in inside]
        return found

    def _moves(self, expr: Expr) -> bool:
        return any(str(entry.base) in self.moving for entry in expr.atoms(Indexed))

    @cached_property
    def constant_laws(self) -> list[str]:
        """Names of the laws that hold parameters only: their tables are constants."""
        return [n for n, law in self.laws.items() if not (self._moves(law.mean.expr) or self._moves(law.cov.expr))]

    @cached_property
    def fixed_laws(self) -> list[str]:
        """Names of the others whose covariance holds parameters only."""
        laws = ((name, law) for name, law in self.laws.items() if name not in self.constant_laws)
        return [name for name, law in laws if not self._moves(law.cov.expr)]

    @cached_property
    def scalar_tables(self) -> list[tuple[Indexed, Expr]]:
        """F[k], in terms of lse_A, lse_B and the states."""
        tables = [t for t in self.system.tables if not isinstance(t.value, LogitExpectation | PairExpectation)]
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
        """v_x[k, b], coordinate b of the velocity of mean k, v_theta[k], and what is driven."""
        system = self.system

        def coordinate(mean: Mean) -> Expr:
            return array("x" if mean.name == system.q.mean_name else "nu")[mean.index, self.b]

        state = array("temperature")[DRIVE]
        rows = [
            (array("v_x")[self.k, self.b], bottom_up(system.velocity, coordinate, Mean)),
            (array("v_theta")[self.k], system.equations["theta"]),
            *((array("v_temperature")[DRIVE], warming(rhs).subs(TEMPERATURE, state)) for rhs in system.driven.values()),
        ]
        return [(target, self._named(rhs)) for target, rhs in rows]

    @cached_property
    def observable_equations(self) -> list[tuple[Indexed, Expr]]:
        """The objective and the mode masses; first the widths in h(above/below)."""
        observables = self.system.observables
        objective = observables["objective"]
        nodes = sorted(objective.atoms(WidthDivergence), key=str)
        above, below = array("above"), array("below")
        rows = [
            row
            for n, widths in enumerate(map(quotient, nodes), 1)
            for row in zip((above[n], below[n]), widths, strict=True)
        ]
        objective = objective.xreplace({node: WidthDivergence(above[n] / below[n]) for n, node in enumerate(nodes, 1)})
        named = [*rows, (array("D")[1], objective), (array("mode_mass")[self.l], observables["mode_mass"])]
        return [(target, self._named(expr)) for target, expr in named]

    # --- statements -------------------------------------------------------------------------------------------------

    def fixed(self) -> list[Statement]:
        """What depends on parameters only: covariances of the fixed laws, tables of the constant ones."""
        out = self._nests([row for row in self.law_equations if self._is_fixed(row[0])])
        return out + [self._expect(name, slopes=False) for name in self.constant_laws]

    def driven(self) -> list[Statement]:
        """β = 1/T where T is a state."""
        t = array("temperature")[DRIVE]
        return [Loop(DRIVE, DRIVEN, (Assign(array(name)[1], "=", 1 / t),)) for name in self.system.driven]

    def tables(self) -> list[Statement]:
        """Overlaps, and of what velocities need laws, expectations, scalar tables."""
        return self._nests(self.overlap_equations) + self._tables(needed=True)

    def _tables(self, *, needed: bool) -> list[Statement]:
        """Tables that velocities need, or those for observables alone."""
        names = [n for n in self.laws if (n in self.needed) == needed and n not in self.constant_laws]
        made = {f"{part}_{name}" for name in names for part in ("mean", "cov")}
        laws = [row for row in self.law_equations if str(row[0].base) in made and not self._is_fixed(row[0])]
        scalars = [row for row in self.scalar_tables if (str(row[0].base) in self.needed) == needed]
        return [*self._nests(laws), *(self._expect(name, slopes=needed) for name in names), *self._nests(scalars)]

    def _expect(self, name: str, *, slopes: bool) -> Expect:
        number = self.fixed_laws.index(name) if name in self.fixed_laws else None
        return Expect(name, *self.expectations[name], number, self.second.get(name, ""), slopes)

    def _is_fixed(self, target: Indexed) -> bool:
        constant = {f"{part}_{name}" for name in self.constant_laws for part in ("mean", "cov")}
        return str(target.base) in {f"cov_{name}" for name in self.fixed_laws} | constant

    def velocity(self) -> list[Statement]:
        """Velocities from states and tables, at the rates of the metric."""
        return [*(Rate(group) for group in self.system.powers), *self._nests(self.velocity_equations)]

    def observables(self) -> list[Statement]:
        """Objective and mode masses from tables, after those that velocities do not need."""
        return self._tables(needed=False) + self._nests(self.observable_equations)

    def tangent_before_expectations(self) -> list[Statement]:
        """Tangents of w, log w, the overlaps and the laws, from those of the states."""
        t = array("temperature")[DRIVE]
        driven = [(array(TANGENT + name)[DRIVE], tangent(1 / t, self.moving)) for name in self.system.driven]
        laws = [row for row in self.law_equations if str(row[0].base) in self.moving]
        rest = self._tangents([*self.overlap_equations, *laws])
        return [*self._log_weight_tangent(), *self._nests(driven), *rest]

    def tangent_after_expectations(self) -> list[Statement]:
        """Tangents of F, of the rates and of the velocities."""
        k = self.k
        out = self._tangents([row for row in self.scalar_tables if str(row[0].base) in self.needed])
        for group in self.system.powers:  # d w^a = a w^a d log w, at a = 0 also where w = 0
            power, row = Symbol(f"power_{group}", real=True), RATES[group][k]
            out += self._nests([(array(f"d_{row.base}")[k], power * row * array("d_log_w")[k])])
        return out + self._tangents(self.velocity_equations)

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
                (
                    array(TANGENT + str(target.base))[target.indices],
                    self._driven(expand(tangent(expr, self.moving)), inside=DRIVE in target.indices),
                )
                for target, expr in equations
            ]
        )

    def _driven(self, slope: Expr, *, inside: bool) -> Expr:
        """β moves with the state T, if there is one: a sum over none or one, inside a loop or not."""
        for name in self.system.driven:
            whole, state = array(TANGENT + name)[1], array(TANGENT + name)[DRIVE]
            terms = [t for t in Add.make_args(slope) if whole in Mul.make_args(t)]
            rest, moved = slope - Add(*terms), [term / whole * state for term in terms]
            assert not rest.has(whole), f"{name} inside a sum: {rest}"
            slope = rest + Add(*(term if inside else Sigma(term, (DRIVE, 1, DRIVEN)) for term in moved))
        return slope

    def _nests(self, equations: list[tuple[Indexed, Expr]]) -> list[Statement]:
        return [statement for target, expr in equations for statement in self.nest(target, expr)]

    def nest(self, target: Indexed, expr: Expr) -> list[Statement]:
        """The loops that evaluate one equation."""
        return nest(target, expr, self.shapes[str(target.base)])
