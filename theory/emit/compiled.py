"""The closed system as compiled code: numba lanes and CUDA C++ from one program of loops.

Both keep every array in rows of one scratch array `work`; a lane is a trajectory. In numba a row holds W of them and
every innermost loop runs over the lanes, so that it becomes one vector instruction; in C++ a row is one number and the
lane is a thread. K and L are constants of the compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Add, Expr, Indexed, Integer, Mul, Pow, Rational, Symbol

from theory.emit.languages import CUDA, NUMBA, PARAMETERS, Language, indented
from theory.emit.loops import Assign, Expect, Loop, Program, Statement, logarithms
from theory.emit.text import text

if TYPE_CHECKING:
    from theory.system import ClosedSystem

__all__ = ["PARAMETERS", "cuda", "numba"]


Y, DY, P, WORK, JAC, OUT = (
    ("y", "const double* "), ("dy", "double* "), ("p", "const double* "),
    ("work", "double* "), ("jac", "double* "), ("out", "double* "),
)  # fmt: skip


class _Writer:
    def __init__(self, system: ClosedSystem, language: Language) -> None:
        self.system, self.language, self.program = system, language, Program(system)

    # --- expressions ------------------------------------------------------------------------------------------------

    def row(self, node: Indexed) -> str:
        base, shape = (
            str(node.base),
            self.program.shapes.get(str(node.base)) or (self.system.p.size,) * len(node.indices),
        )
        offset = ""
        for index, size in zip(node.indices, shape, strict=True):
            at = f"{index} - 1" if index == size else ("0" if index == Integer(1) else str(index))
            start = f"({offset})" if " " in offset else offset
            offset = f"{start} * {size} + {at}" if start else at
        return self.language.access(base, offset)

    def code(self, expr: Expr) -> str:
        if isinstance(expr, Add):
            terms = sorted(expr.args, key=lambda t: (t.could_extract_minus_sign(), str(t)))
            codes = [self.code(t) for t in terms]
            return codes[0] + "".join(f" - {c[1:]}" if c.startswith("-") else f" + {c}" for c in codes[1:])
        if expr.could_extract_minus_sign() and not expr.is_Number:
            return f"-{self.code(-expr)}"
        if isinstance(expr, Mul):
            return " * ".join(self.factor(f) for f in sorted(expr.args, key=lambda f: (not f.is_Number, str(f))))
        return self.factor(expr)

    def factor(self, expr: Expr) -> str:
        if isinstance(expr, Add):
            return f"({self.code(expr)})"
        if isinstance(expr, Indexed):
            return self.row(expr)
        if isinstance(expr, Rational):
            return repr(float(expr))
        if isinstance(expr, Symbol):
            return str(expr)
        if isinstance(expr, Pow) and isinstance(expr.base, Symbol) and isinstance(expr.exp, Integer):
            name = f"inv_{expr.base}" if expr.exp < 0 else str(expr.base)
            return " * ".join([name] * abs(int(expr.exp)))
        raise TypeError(f"no compiled code for {type(expr).__name__}: {expr}")

    # --- statements -------------------------------------------------------------------------------------------------

    def lines(self, statements: list[Statement]) -> list[str]:
        out: list[str] = []
        for statement in statements:
            if isinstance(statement, Loop):
                body = self.lines(list(statement.body))
                out += self.language.loop(str(statement.index), str(statement.size), body)
            elif isinstance(statement, Expect):
                out.append(self.expect(statement))
            else:
                out += self.assign(statement)
        return out

    def assign(self, statement: Assign) -> list[str]:
        op, expr = statement.op, logarithms(statement.expr)
        if op == "+=" and expr.could_extract_minus_sign():
            op, expr = "-=", -expr
        return self.language.assign(self.row(statement.target), op, self.code(expr))

    def expect(self, node: Expect) -> str:
        t, k, n = node.table.upper(), node.k, node.size
        rows = f"R_MEAN_{t} + {k} * {n}, R_COV_{t}, R_{t} + {k} * {n}, R_LSE_{t} + {k}"
        return self.language.call("expect", f"work, {n}, {rows}, R_SLOPE_{t} + {k} * SLOPES({n}), slopes")

    def expect_tangents(self) -> list[str]:
        out = []
        for name, node in self.program.laws.items():
            t, n, k = name.upper(), node.size, self.program.k
            rows = f"R_SLOPE_{t} + {k} * SLOPES({n}), R_{t} + {k} * {n}"
            tangents = f"R_D_MEAN_{t} + {k} * {n}, R_D_COV_{t}, R_D_{t} + {k} * {n}, R_D_LSE_{t} + {k}"
            call = self.language.call("expect_tangent", f"work, {n}, {rows}, {tangents}")
            out += self.language.loop(str(k), str(self.system.q.size), [call])
        return out

    # --- parts ------------------------------------------------------------------------------------------------------

    def constants(self) -> str:
        lines, previous = [], "0"
        for name, shape in PARAMETERS.items():
            lines.append(self.language.constant(f"P_{name.upper()}", previous))
            previous = f"P_{name.upper()} + {shape}"
        lines.append(self.language.constant("PARAMETERS", previous))
        previous = "0"
        shapes = {name: " * ".join(map(str, shape)) for name, shape in self.program.shapes.items()}
        shapes |= {f"slope_{t}": f"{self.system.q.size} * SLOPES({node.size})" for t, node in self.program.laws.items()}
        for name, size in shapes.items():
            lines.append(self.language.constant(f"R_{name.upper()}", previous))
            previous = f"R_{name.upper()} + {size}"
        lines.append(self.language.constant("WORK", previous))
        lines.append(self.language.constant("N", f"K * (K + 1) {'//' if self.language.python else '/'} 2 + K * L + K"))
        return "\n".join(lines)

    def scalars(self) -> list[str]:
        language = self.language
        out = [language.local(name, f"p[P_{name.upper()}]") for name in ("v", "u", "d", "log_v", "log_u")]
        return out + [language.local(f"inv_{name}", f"1.0 / {name}") for name in ("v", "u")]

    def states(self, prefix: str, source: str, zero: bool = False) -> list[str]:
        """Copy packed states (upper triangle of s, m, theta) into rows."""
        language = self.language

        def get(offset: str) -> str:
            return f"{source}[{offset}, z]" if language.python else f"{source}[{offset}]"

        def row(name: str, offset: str) -> str:
            return language.access(f"{prefix}{name}", offset)

        upper = "k * K - k * (k - 1) // 2 + i - k" if language.python else "k * K - k * (k - 1) / 2 + i - k"
        inner = language.assign(row("s", "k * K + i"), "=", get(upper)) + language.assign(
            row("s", "i * K + k"), "=", get(upper)
        )
        if language.python:
            triangle = ["for k in range(K):", "    for i in range(k, K):", *indented(indented(inner))]
        else:
            start = ["for (int k = 0; k < K; ++k) {", "    for (int i = k; i < K; ++i) {"]
            triangle = [*start, *indented(indented(inner)), "    }", "}"]
        half = "//" if language.python else "/"
        m = language.loop("k", "K * L", language.assign(row("m", "k"), "=", get(f"K * (K + 1) {half} 2 + k")))
        theta = language.assign(row("theta", "k"), "=", get(f"K * (K + 1) {half} 2 + K * L + k"))
        return [*triangle, *m, *language.loop("k", "K", theta)]

    def pack(self, prefix: str, target: str, column: str = "") -> list[str]:
        """Velocities from rows to packed states; what is not learned does not move."""
        language = self.language

        def put(offset: str) -> str:
            if column:
                return f"{target}[{offset}, {column}, z]" if language.python else f"{target}[({offset}) * N + {column}]"
            return f"{target}[{offset}, z]" if language.python else f"{target}[{offset}]"

        def row(name: str, offset: str) -> str:
            return language.access(f"{prefix}v_{name}", offset)

        half = "//" if language.python else "/"
        upper = f"k * K - k * (k - 1) {half} 2 + i - k"
        inner = language.assign(put(upper), "=", f"p[P_LEARN_MEANS] * {row('s', 'k * K + i')}")
        if language.python:
            triangle = ["for k in range(K):", "    for i in range(k, K):", *indented(indented(inner))]
        else:
            start = ["for (int k = 0; k < K; ++k) {", "    for (int i = k; i < K; ++i) {"]
            triangle = [*start, *indented(indented(inner)), "    }", "}"]
        m = language.assign(put(f"K * (K + 1) {half} 2 + k"), "=", f"p[P_LEARN_MEANS] * {row('m', 'k')}")
        theta = language.assign(
            put(f"K * (K + 1) {half} 2 + K * L + k"), "=", f"p[P_LEARN_WEIGHTS] * {row('theta', 'k')}"
        )
        return [*triangle, *language.loop("k", "K * L", m), *language.loop("k", "K", theta)]

    def functions(self) -> list[str]:
        language, program = self.language, self.program
        prepare = [*self.states("", "y"), language.call("weights", "work"), *self.scalars()]
        tables = language.function(
            "tables",
            [Y, P, WORK, ("slopes", "bool ")],
            [*prepare, *self.lines(program.tables())],
            "Weights and expectation tables at y; with slopes, also what the Jacobian needs of them.",
        )
        rhs = language.function(
            "rhs",
            [Y, P, DY, WORK],
            [
                language.call("tables", f"y, p, work, {language.false}"),
                *self.scalars(),
                *self.lines(program.velocity()),
                *self.pack("", "dy"),
            ],
            "dy = right-hand side at y.",
        )
        seed = language.assign("seed[h, z]" if language.python else "seed[h]", "=", "1.0 if h == g else 0.0")
        if not language.python:
            seed = ["seed[h] = h == g ? 1.0 : 0.0;"]
        column = [
            *language.loop("h", "N", seed),
            *self.states("d_", "seed"),
            *self.lines(program.tangent_before_expectations()),
            *self.expect_tangents(),
            *self.lines(program.tangent_after_expectations()),
            *self.pack("d_", "jac", "g"),
        ]
        allocate = "seed = work[WORK : WORK + N]" if language.python else "double* seed = work + WORK;"
        jacobian = language.function(
            "jacobian",
            [Y, P, JAC, WORK],
            [
                language.call("tables", f"y, p, work, {language.true}"),
                *self.scalars(),
                allocate,
                *language.loop("g", "N", column),
            ],
            "jac = ∂(right-hand side)/∂y at y, one tangent a column.",
        )
        observables = self.observables()
        return [tables, rhs, jacobian, observables]

    def observables(self) -> str:
        language = self.language

        def out(offset: str) -> str:
            return f"out[{offset}, z]" if language.python else f"out[{offset}]"

        body = [
            language.call("tables", f"y, p, work, {language.false}"),
            *self.lines(self.program.observables()),
            *language.assign(out("0"), "=", language.access("D", "0")),
            *language.loop("l", "L", language.assign(out("1 + l"), "=", language.access("mode_mass", "l"))),
            *language.loop("k", "K * L", language.assign(out("1 + L + k"), "=", language.access("B", "k"))),
        ]
        return language.function("observables", [Y, P, OUT, WORK], body, "out = objective, mode masses, table B at y.")


HEADER = """Closed equations of the {title}: compiled {what}.

Generated by `python -m derivations`; do not edit. The derivation is derivations/documents/{name}.md.
system: {hash}

States y, N of them: upper triangle of s row by row, m (K, L), theta (K). Parameters p: {parameters}.
`work` holds WORK + N rows. Needed in scope: {needs}."""


def _render(system: ClosedSystem, name: str, title: str, language: Language, what: str, needs: str) -> str:
    writer = _Writer(system, language)
    header = HEADER.format(
        title=title, what=what, name=name, hash=system.hash, parameters=", ".join(PARAMETERS), needs=needs
    )
    head = [f"{language.comment} {line}".rstrip() for line in header.splitlines()]
    equations = [f"{language.comment}   {line}".rstrip() for line in text_of(system)]
    parts = ["\n".join([*head, language.comment, *equations]), writer.constants(), *writer.functions()]
    return "\n\n\n".join(parts) + "\n"


def text_of(system: ClosedSystem) -> list[str]:
    """The equations as comment lines."""
    lines = [f"Γ[k,i] = {text(system.gamma)}", "ds[k,i]/dt = Γ[k,i] + Γ[i,k]"]
    return lines + [f"d{name}/dt = {text(rhs)}" for name, rhs in system.equations.items()]


def numba(system: ClosedSystem, name: str = "system", title: str = "gradient flow") -> str:
    """Text for numba: assembled with constants, special functions and integrator by solvers.compiled."""
    needs = "njit, FLAGS, K, L, W, SLOPES, weights, expect, expect_tangent"
    return _render(system, name, title, NUMBA, "lanes for numba", needs)


def cuda(system: ClosedSystem, name: str = "system", title: str = "gradient flow") -> str:
    """Text for CUDA C++ (and, with DEVICE empty, for a host compiler)."""
    needs = "DEVICE, K, L, SLOPES, weights, expect, expect_tangent"
    return _render(system, name, title, CUDA, "device functions for CUDA C++", needs)
