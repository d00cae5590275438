"""The closed system as compiled code: numba lanes and CUDA C++ from one program of loops.

Both keep every array in rows of one scratch array `work`; a lane is a trajectory. In numba a row is a
vector of W lanes (load, store and the operators between are vector instructions); in C++ a row is one number and the
lane is a thread. K, L, R and DRIVEN are constants of the compiler.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sympy import Indexed

from theory.emit.entries import Expressions
from theory.emit.heading import HEADER, MEANING, SECOND_MOMENTS, equations
from theory.emit.languages import CUDA, NUMBA, PARAMETERS, Language
from theory.emit.loops import Program
from theory.emit.statements import Assign, Expect, Loop, Rate, State, Statement, logarithms
from theory.equations import Equations

__all__ = ["PARAMETERS", "Writer", "cuda", "numba"]


#: (work, row, p, place): the row where a parameter is a state, else the number, which multiplies once for all lanes.
DRIVEN_OR_GIVEN = "driven_or_given"
NEEDS = "K, L, R, SLOPES, weights, mobility, expect, expect_fixed, expect_tangent"
#: And where there are averages of products.
PAIRS = ", PAIR_SLOPES, expect_pairs, expect_pairs_tangent"
Y, DY, P, WORK, JAC, OUT = (
    ("y", "const double* "), ("dy", "Rows "), ("p", "const double* "),
    ("work", "Rows "), ("jac", "Rows "), ("out", "Rows "),
)  # fmt: skip


class Writer(Expressions):
    """The text of a program in one language."""

    def __init__(self, system: Equations, language: Language) -> None:
        program = Program(system)
        self.system, self.program = system, program
        equations = [*program.velocity_equations, *program.observable_equations, *program.scalar_tables]
        weighted = any(str(x.base) == "pi" for _, e in equations for x in logarithms(e).atoms(Indexed))
        parameters = PARAMETERS | ({"pi": "L"} if weighted else {}) | ({"rate": "1"} if system.driven else {})
        parameters |= dict.fromkeys((*system.driven, *system.factors), "1")
        super().__init__(language, program.shapes, parameters, system.driven)

    # --- statements -------------------------------------------------------------------------------------------------

    def lines(self, statements: list[Statement]) -> list[str]:
        out: list[str] = []
        for statement in statements:
            if isinstance(statement, Loop):
                body = self.lines(list(statement.body))
                out += self.language.loop(str(statement.index), str(statement.size), body)
            elif isinstance(statement, Expect):
                out.append(self.expect(statement))
            elif isinstance(statement, Rate):
                out += self.rate(statement.group)
            else:
                out += self.assign(statement)
        return out

    def rate(self, group: str) -> list[str]:
        """The rates of one group of states, a component a row."""
        language = self.language
        w, log_w = (language.read("work", language.row(name, "k")) for name in ("w", "log_w"))
        row = language.row(f"rate_{group}", "k")
        return language.loop("k", "K", language.write("work", row, f"mobility({w}, {log_w}, power_{group})"))

    def assign(self, statement: Assign) -> list[str]:
        op, expr = statement.op, logarithms(statement.expr)
        if op == "+=" and expr.could_extract_minus_sign():
            op, expr = "-=", -expr
        row = self.language.row(str(statement.target.base), self.offset(statement.target))
        return self.language.write("work", row, self.code(expr), op)

    def expect(self, node: Expect) -> str:
        t, n = node.table.upper(), node.size
        rows = f"R_MEAN_{t}, R_COV_{t}, R_{t}, R_LSE_{t}"
        asked = f"R_SLOPE_{t}, slopes" if node.slopes else f"0, {self.language.truth(False)}"
        if node.second:
            return self.language.call(
                "expect_pairs", f"work, {node.count}, {n}, {rows}, R_{node.second.upper()}, {asked}"
            )
        arguments = f"{node.count}, {n}, {rows}, {asked}"
        if node.fixed is None:
            return self.language.call("expect", f"work, {arguments}")
        return self.language.call("expect_fixed", f"work, p, {node.fixed}, {arguments}")

    def expect_tangents(self) -> list[str]:
        out = []
        for name, (count, n) in self.program.expectations.items():
            if name not in self.program.needed:
                continue
            t, second = name.upper(), self.program.second.get(name, "").upper()
            rows = f"R_SLOPE_{t}, R_{t}, R_D_MEAN_{t}, R_D_COV_{t}, R_D_{t}, R_D_LSE_{t}"
            if second:
                call = "expect_pairs_tangent", f"work, {count}, {n}, {rows}, R_{second}, R_D_{second}"
            else:
                call = "expect_tangent", f"work, {count}, {n}, {rows}"
            out.append(self.language.call(*call))
        return out

    # --- parts ------------------------------------------------------------------------------------------------------

    def constants(self) -> str:
        lines, previous = [], "0"
        for name, shape in self.parameters.items():
            lines.append(self.language.constant(f"P_{name.upper()}", previous))
            previous = f"P_{name.upper()} + {shape}"
        lines.append(self.language.constant("PARAMETERS", previous))
        previous = "0"
        shapes = {name: " * ".join(map(str, shape)) for name, shape in self.program.shapes.items()}
        for table, (count, size) in self.program.expectations.items():
            if table in self.program.needed:
                slopes = "PAIR_SLOPES" if table in self.program.second else "SLOPES"
                shapes[f"slope_{table}"] = f"{count} * {slopes}({size})"
        for name, size in shapes.items():
            if (name in self.parameters and name not in self.system.driven) or name == "pi":
                continue
            lines.append(self.language.constant(f"R_{name.upper()}", previous))
            previous = f"R_{name.upper()} + {size}"
        lines.append(self.language.constant("WORK", previous))
        lines.append(self.language.constant("N", " + ".join(state.size for state in self.program.states)))
        lines.append(self.language.constant("OUT", "1 + L + K * L"))
        if self.language.python:
            sizes = dict.fromkeys(size for _, size in self.program.expectations.values())
            lines.append(f"LOGITS = ({''.join(f'{size}, ' for size in sizes).rstrip()})  # how many there are in a law")
        return "\n".join(lines)

    def with_scalars(self, body: list[str], *, rows: bool = False) -> list[str]:
        """Statements, after the definitions of the scalar parameters that they use; rows: driven ones as rows."""
        factors = self.system.factors
        scalars = ("v", "u", "d", "log_v", "log_u", "rate", "power_means", "power_weights", *factors)
        values = {name: f"p[P_{name.upper()}]" for name in scalars if name in self.parameters}
        values |= {f"inv_{name}": f"1.0 / {name}" for name in ("v", "u", *factors) if name in values}
        values |= {name: self._driven(name, rows) for name in self.system.driven}
        lines = list(body)
        for name, value in reversed(values.items()):
            if any(re.search(rf"\b{name}\b", line) for line in lines):
                lines.insert(0, self.language.local(name, value))
        return lines

    def _driven(self, name: str, rows: bool) -> str:
        """A parameter that may be a state: its row, or in lanes, where it is no state, a number."""
        row = self.language.row(name, "0")
        if rows or not self.language.python:
            return self.language.read("work", row)
        return f"{DRIVEN_OR_GIVEN}(work, {row}, p, P_{name.upper()})"

    def copies(self, body: Callable[[State, str], list[str]]) -> list[str]:
        """body(state, position in the packed vector) for each number k of each state."""
        out, start = [], ""
        for state in self.program.states:
            position = f"{start} + k" if start else "k"
            out += self.language.loop("k", state.size, body(state, position))
            start = f"{start} + {state.size}" if start else state.size
        return out

    def unpack(self, prefix: str, source: str, start: str = "") -> list[str]:
        """Copy the packed states into rows."""
        language = self.language

        def copy(state: State, position: str) -> list[str]:
            row = language.row(f"{prefix}{state.name}", "k")
            return language.write("work", row, language.read(source, start + position))

        return self.copies(copy)

    def pack(self, prefix: str, target: str, column: str = "") -> list[str]:
        """Velocities from rows to packed states; what is not learned does not move."""
        language = self.language

        def copy(state: State, position: str) -> list[str]:
            row = f"({position}) * N + {column}" if column else position
            velocity = language.read("work", language.row(f"{prefix}v_{state.name}", "k"))
            return language.write(target, row, f"p[{state.learn}] * {velocity}" if state.learn else velocity)

        return self.copies(copy)

    def functions(self) -> list[str]:
        language, program = self.language, self.program
        fixed = language.function(
            "fixed",
            [P, WORK],
            self.with_scalars(self.lines(program.fixed())),
            "What depends on parameters only, into `work`: to be called before any other function uses it.",
        )
        # A parameter that is driven is overwritten by its state.
        prepare = [
            line
            for name in self.system.driven
            for line in language.write("work", language.row(name, "0"), f"p[P_{name.upper()}]")
        ]
        prepare += [*self.unpack("", "y"), *self.lines(program.driven()), language.call("weights", "work")]
        tables = language.function(
            "tables",
            [Y, P, WORK, ("slopes", "bool ")],
            [*prepare, *self.with_scalars(self.lines(program.tables()))],
            "Weights and expectation tables at y; with slopes, also what the Jacobian needs of them.",
        )
        rhs = language.function(
            "rhs",
            [Y, P, DY, WORK],
            [
                language.call("tables", f"y, p, work, {language.truth(False)}"),
                *self.with_scalars(self.lines(program.velocity())),
                *self.pack("", "dy"),
            ],
            "dy = right-hand side at y.",
        )
        seed = language.write("work", "WORK + h", language.choice("h == g", "1.0", "0.0"))
        column = [
            *language.loop("h", "N", seed),
            *self.unpack("d_", "work", "WORK + "),
            *self.lines(program.tangent_before_expectations()),
            *self.expect_tangents(),
            *self.lines(program.tangent_after_expectations()),
            *self.pack("d_", "jac", "g"),
        ]
        jacobian = language.function(
            "jacobian",
            [Y, P, JAC, WORK],
            [
                language.call("tables", f"y, p, work, {language.truth(True)}"),
                *self.with_scalars(language.loop("g", "N", column, unroll=False)),
            ],
            "jac = ∂(right-hand side)/∂y at y, one tangent a column.",
        )
        observables = self.observables()
        return [fixed, tables, rhs, jacobian, observables]

    def observables(self) -> str:
        language = self.language

        def copy(name: str, offset: str, position: str) -> list[str]:
            return language.write("out", position, language.read("work", language.row(name, offset)))

        body = [
            language.call("tables", f"y, p, work, {language.truth(False)}"),
            *self.with_scalars(self.lines(self.program.observables()), rows=True),
            *copy("D", "0", "0"),
            *language.loop("l", "L", copy("mode_mass", "l", "1 + l")),
            *language.loop("k", "K * L", copy("B", "k", "1 + L + k")),
        ]
        return language.function("observables", [Y, P, OUT, WORK], body, "out = objective, mode masses, table B at y.")


def _render(system: Equations, name: str, title: str, language: Language, what: str, needs: str) -> str:
    writer = Writer(system, language)
    second = bool(writer.program.second)
    header = (HEADER + SECOND_MOMENTS * second).format(
        title=title,
        what=what,
        name=name,
        hash=system.hash,
        states=" then ".join(MEANING[state.name] for state in writer.program.states),
        parameters=", ".join(writer.parameters),
        needs=needs + PAIRS * second,
    )
    head = [f"{language.comment} {line}".rstrip() for line in header.splitlines()]
    lines = [f"{language.comment}   {line}".rstrip() for line in equations(system)]
    parts = ["\n".join([*head, language.comment, *lines]), writer.constants(), *writer.functions()]
    return "\n\n\n".join(parts) + "\n"


def driven(system: Equations, language: Language) -> str:
    """What a text needs besides, where a parameter may be a state: how many are, and for lanes what tells them."""
    if not system.driven:
        return ""
    return f"DRIVEN, {DRIVEN_OR_GIVEN}, " if language.python else "DRIVEN, "


def numba(system: Equations, name: str = "system", title: str = "gradient flow") -> str:
    """Text for numba: assembled with constants, special functions and integrator by solvers.closed.compiled."""
    needs = "njit, FLAGS, load, store, logarithm, divergence, "
    return _render(system, name, title, NUMBA, "lanes for numba", needs + driven(system, NUMBA) + NEEDS)


def cuda(system: Equations, name: str = "system", title: str = "gradient flow") -> str:
    """Text for CUDA C++ (and, with DEVICE empty, for a host compiler)."""
    # Rows: double*, or what is indexed alike.
    needs = "DEVICE, UNROLL, ROLL, Rows, logarithm, divergence, "
    return _render(system, name, title, CUDA, "device functions for CUDA C++", needs + driven(system, CUDA) + NEEDS)
