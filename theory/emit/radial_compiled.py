"""Systems with a variance for each component as loops, for numba and CUDA: right-hand side and observables.

The states are coordinates x_k of the mean vectors in their span with the modes, θ and log v. Expectations are calls of
`expect_quadratic`, one component and one side at a time; a Jacobian is not emitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sympy import Expr, Indexed, IndexedBase, Integer, Pow, Symbol

from theory.emit.compiled import DY, OUT, WORK, P, Writer, Y
from theory.emit.languages import Language
from theory.emit.loops import Program
from theory.emit.statements import Loop, Statement
from theory.emit.text import text
from theory.radial import RadialExpectation, radial_nodes
from theory.rules import bottom_up
from theory.sums import index
from theory.vectors import Mean

if TYPE_CHECKING:
    from theory.system import ClosedSystem

__all__ = ["render"]

#: Parameters shared by all trajectories, in the order of the parameter array, with their shapes.
PARAMETERS = {
    "nu": "L * R", "c": "L * L", "log_pi": "L", "u": "L", "d": "1",
    "learn_means": "1", "learn_weights": "1", "learn_variances": "1",
}  # fmt: skip
#: Name of a state, how many numbers it has, and the parameter that says whether it is learned.
STATES = (("x", "K * R", "MEANS"), ("theta", "K", "WEIGHTS"), ("log_v", "K", "VARIANCES"))


def array(name: str) -> IndexedBase:
    return IndexedBase(name, real=True)


@dataclass(frozen=True)
class ExpectQuadratic:
    """Expectations of one side (K or L) under one component: softmax, (|z|² − d) softmax, E⁺ slope, log-sum-exp."""

    side: str
    k: Symbol


class RadialProgram(Program):
    """The statements, in order, and the shapes of the arrays they use."""

    def __init__(self, system: ClosedSystem) -> None:
        self.system = system
        self.k, self.j, self.i = system.q.indices(3)
        self.l, self.n = system.p.indices(2)
        K, L = system.q.size, system.p.size
        self.b, self.R = index("b"), Symbol("R", integer=True, positive=True)
        self.sides: dict[str, RadialExpectation] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.shapes: dict[str, tuple[Expr, ...]] = {
            "x": (K, self.R), "theta": (K,), "log_v": (K,), "s": (K, K), "m": (K, L), "log_w": (K,), "w": (K,),
            "v": (K,), "v_x": (K, self.R), "v_theta": (K,), "v_log_v": (K,), "D": (Integer(1),), "mode_mass": (L,),
            "nu": (L, self.R), "c": (L, L), "log_pi": (L,), "u": (L,),
        }  # fmt: skip
        sizes = {index_: size for side, size in ((system.q, K), (system.p, L)) for index_ in side.indices(4)}
        for table in system.tables:
            self.shapes[table.name] = tuple(sizes[i] for i in table.indices)
            for node in radial_nodes(table.value):
                side = str(node.size)
                self.sides.setdefault(side, node)
                if node == table.value:
                    self.names[side, node.kind] = table.name
                elif node.kind in ("radius", "logsumexp"):
                    name = f"{'lse' if node.kind == 'logsumexp' else 'radius'}_{side}"
                    self.names[side, node.kind] = name
                    self.shapes[name] = (K,) if node.kind == "logsumexp" else (K, node.size)
        for side, node in self.sides.items():
            size = node.size
            self.shapes |= {f"mean_{side}": (K, size), f"cov_{side}": (K, size, size), f"curvature_{side}": (K, size)}

    def _named(self, expr: Expr) -> Expr:
        def rewrite(node: RadialExpectation) -> Expr:
            return array(self.names[str(node.size), node.kind])[(self.k, *node.entries)]

        return bottom_up(expr, rewrite, RadialExpectation)

    def tables(self) -> list[Statement]:
        """Overlaps, laws, expectations, and the tables made of them."""
        out = self._nests(self.overlap_equations)
        for side, node in self.sides.items():
            (j,), (i, j2), (j3,) = node.mean.variables, node.cov.variables, node.curvature.variables
            out += self._nests([
                (array(f"mean_{side}")[self.k, j], node.mean.expr),
                (array(f"cov_{side}")[self.k, i, j2], node.cov.expr),
                (array(f"curvature_{side}")[self.k, j3], node.curvature.expr),
            ])  # fmt: skip
            out.append(Loop(self.k, self.system.q.size, (ExpectQuadratic(side, self.k),)))  # type: ignore[arg-type]
        made = set(self.names.values())
        rest = [t for t in self.system.tables if t.name not in made]
        return out + self._nests([(t.symbol[t.indices], self._named(t.value)) for t in rest])

    def velocity(self) -> list[Statement]:
        """v_x[k, b], coordinate b of the velocity of mean k, v_theta[k] and v_log_v[k]."""

        def coordinate(mean: Mean) -> Expr:
            return array("x" if mean.name == self.system.q.mean_name else "nu")[mean.index, self.b]

        rows = [(array("v_x")[self.k, self.b], bottom_up(self.system.velocity, coordinate, Mean))]
        rows += [
            (array(f"v_{name}")[self.k], self.system.equations[name])
            for name in ("theta", "log_v")
            if name in self.system.equations
        ]
        return self._nests(rows)

    def observables(self) -> list[Statement]:
        """Objective and mode masses from tables."""
        observables = self.system.observables
        return self._nests(
            [(array("D")[1], observables["objective"]), (array("mode_mass")[self.l], observables["mode_mass"])]
        )


class RadialWriter(Writer):
    """Their text in one language."""

    def __init__(self, system: ClosedSystem, language: Language) -> None:
        self.system, self.language = system, language
        self.radial = self.program = RadialProgram(system)
        self.parameters = PARAMETERS

    def value(self, node: Indexed) -> str:
        base, offset = str(node.base), self.offset(node)
        if base in PARAMETERS:
            return f"p[P_{base.upper()} + {offset}]"
        return self.language.read("work", self.language.row(base, offset))

    def factor(self, expr: Expr) -> str:
        if isinstance(expr, Pow) and isinstance(expr.base, Indexed) and expr.exp == -1:
            return f"(1.0 / {self.value(expr.base)})"
        return super().factor(expr)

    def lines(self, statements: list[Statement]) -> list[str]:
        if len(statements) == 1 and isinstance(statements[0], ExpectQuadratic):
            return [self.expect_quadratic(statements[0])]
        return super().lines(statements)

    def expect_quadratic(self, node: ExpectQuadratic) -> str:
        k, n = node.k, node.side
        laws = f"R_MEAN_{n} + {k} * {n}, R_COV_{n} + {k} * {n} * {n}, R_CURVATURE_{n} + {k} * {n}, d"
        out = {
            kind: f"R_{self.radial.names[n, kind].upper()} + {k} * {size}"
            for kind, size in (("softmax", n), ("radius", n), ("slope", f"{n} * {n}"))
        }
        lse = f"R_{self.radial.names[n, 'logsumexp'].upper()} + {k}"
        return self.language.call("expect_quadratic", f"work, {n}, {laws}, {', '.join(out.values())}, {lse}")

    def constants(self) -> str:
        constant = self.language.constant
        lines, previous = [], "0"
        for name, shape in PARAMETERS.items():
            lines.append(constant(f"P_{name.upper()}", previous))
            previous = f"P_{name.upper()} + {shape}"
        lines.append(constant("PARAMETERS", previous))
        previous = "0"
        for name, sizes in self.radial.shapes.items():
            if name in PARAMETERS:
                continue
            lines.append(constant(f"R_{name.upper()}", previous))
            previous = f"R_{name.upper()} + {' * '.join(map(str, sizes))}"
        lines += [constant("WORK", previous), constant("N", " + ".join(size for _, size, _ in STATES))]
        return "\n".join([*lines, constant("OUT", "1 + L + K * L")])

    def states(self, body: str) -> list[str]:
        """Copies between the packed states and their rows: "in" from y, "out" of the velocities to dy."""
        language, out, start = self.language, [], ""
        for name, size, learned in STATES:
            position = f"{start} + k" if start else "k"
            if body == "in":
                copy = language.write("work", language.row(name, "k"), language.read("y", position))
            else:
                velocity = language.read("work", language.row(f"v_{name}", "k"))
                copy = language.write("dy", position, f"p[P_LEARN_{learned}] * {velocity}")
            out += language.loop("k", size, copy)
            start = f"{start} + {size}" if start else size
        return out

    def functions(self) -> list[str]:
        language, program = self.language, self.radial
        dimension = language.local("d", "p[P_D]")
        tables = language.function(
            "tables",
            [Y, P, WORK],
            [
                *self.states("in"),
                language.call("weights", "work"),
                language.call("variances", "work"),
                dimension,
                *self.lines(program.tables()),
            ],
            "Weights, variances and expectation tables at y.",
        )
        velocity = self.lines(program.velocity())
        inverse = [language.local("inv_d", "1.0 / d")] if any("inv_d" in line for line in velocity) else []
        rhs = language.function(
            "rhs",
            [Y, P, DY, WORK],
            [language.call("tables", "y, p, work"), dimension, *inverse, *velocity, *self.states("out")],
            "dy = right-hand side at y.",
        )

        def copy(name: str, position: str) -> list[str]:
            return language.write(
                "out", position, language.read("work", language.row(name, "0" if name == "D" else "k"))
            )

        observables = language.function(
            "observables",
            [Y, P, OUT, WORK],
            [
                language.call("tables", "y, p, work"),
                *self.lines(program.observables()),
                *copy("D", "0"),
                *language.loop("k", "L", copy("mode_mass", "1 + k")),
                *language.loop("k", "K * L", copy("B", "1 + L + k")),
            ],
            "out = objective, mode masses, table B at y.",
        )
        return [tables, rhs, observables]


HEADER = """Closed equations of the {title}: compiled {what}.

Generated by `python -m derivations`; do not edit. The derivation is derivations/documents/{name}.md.
system: {hash}

States y, N of them: x (K, R), coordinates of the mean vectors in a span of R directions, theta (K), log_v (K).
Parameters p: {parameters}; nu (L, R) in the same coordinates.
`work` holds WORK rows. Needed in scope: {needs}; weights(work) and variances(work) fill w, log_w and v from theta and
log_v; expect_quadratic(work, n, mean, cov, curvature, d, softmax, radius, slope, lse) is for n logits of one component,
see centred_softmax in solvers/expectations/quadratic.py, rows being given by their first; divergence(a, b) is h(a/b),
h(x) = (x - 1 - log x)/2. These functions are not part of this version: the solver uses the NumPy view."""


def render(system: ClosedSystem, name: str, title: str, language: Language) -> str:
    """Source text in one language."""
    writer = RadialWriter(system, language)
    what = "lanes for numba" if language.python else "device functions for CUDA C++"
    needs = (
        "njit, FLAGS, load, store" if language.python else "DEVICE, UNROLL, ROLL, Rows"
    ) + ", divergence, K, L, R, weights, variances, expect_quadratic"
    header = HEADER.format(
        title=title, what=what, name=name, hash=system.hash, parameters=", ".join(PARAMETERS), needs=needs
    )
    equations = [f"  dmu_k/dt = {text(system.velocity)}"]
    equations += [f"  d{name}_k/dt = {text(rhs)}" for name, rhs in system.equations.items() if name != "m"]
    head = [f"{language.comment} {line}".rstrip() for line in [*header.splitlines(), "", *equations]]
    return "\n\n\n".join(["\n".join(head), writer.constants(), *writer.functions()]) + "\n"
