"""The closed system as LaTeX."""

from __future__ import annotations

from typing import Any

from sympy import Add, Expr, Indexed, KroneckerDelta, Mul, Number, Symbol, fraction
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from theory.equations import Equations
from theory.expectations import Expectation
from theory.mixtures import Responsibility
from theory.parameters import RATE, SIZE, STEP
from theory.sums import Sigma
from theory.vectors import Dot, Vector

__all__ = ["MOBILITIES", "latex", "render", "symbol"]

GREEK = {"pi", "mu", "nu", "theta", "rho", "Gamma"}
#: Parameters that code spells out.
NAMES = {RATE: r"\lambda", STEP: r"\eta", SIZE: "N"}
#: Overlaps of velocities are printed as such.
VELOCITIES = {"gamma": "Gamma", "dm": r"\dot m"}
#: Rates, by the group of states that they move.
MOBILITIES = {"rate_means": r"\mathsf{M}", "rate_weights": r"\mathsf{W}", "rate_variances": r"\mathsf{V}"}


def symbol(name: str) -> str:
    """An array's name in LaTeX: Greek letters, and tables of two letters as one symbol."""
    return f"\\{name}" if name in GREEK else rf"\mathit{{{name}}}" if name.isalpha() and len(name) > 1 else name


class _Printer(LatexPrinter):  # type: ignore[misc]
    def _print_Indexed(self, expr: Any) -> str:
        name = VELOCITIES.get(str(expr.base), str(expr.base))
        return f"{MOBILITIES.get(name) or symbol(name)}_{{{''.join(self._print(i) for i in expr.indices)}}}"

    def _print_Mul(self, expr: Any) -> str:
        """Numbers, weights, expectations, vectors, brackets, sums: the order one writes them in."""
        if expr.could_extract_minus_sign():
            return f"- {self._print(-expr)}"
        above, below = fraction(expr, exact=True)
        if below != 1:
            return rf"\frac{{{self._print(above)}}}{{{self._print(below)}}}"
        factors = sorted(Mul.make_args(expr), key=lambda f: (_rank(f), f.sort_key()))
        *first, last = [self.parenthesize(f, PRECEDENCE["Mul"], strict=True) for f in factors]
        first = [
            rf"\left({code}\right)" if isinstance(f, Sigma) else code for f, code in zip(factors, first, strict=False)
        ]
        return " ".join([*first, last])

    def _print_Add(self, expr: Any, order: Any = None) -> str:
        """Positive terms first: log q − log p."""
        terms = sorted(self._as_ordered_terms(expr, order=order), key=lambda t: t.could_extract_minus_sign())
        codes = [self._print(t) for t in terms]
        return str(codes[0]) + "".join(f" {code}" if code.startswith("-") else f" + {code}" for code in codes[1:])

    def _print_log(self, expr: Any, exp: Any = None) -> str:
        argument = expr.args[0]
        if exp is None and isinstance(argument, Symbol | Indexed):
            return rf"\log {self._print(argument)}"
        return str(super()._print_log(expr, exp))


def _rank(factor: Expr) -> int:
    order: list[type | tuple[type, ...]] = [
        Number,
        (Symbol, Indexed),
        KroneckerDelta,
        (Expectation, Responsibility),
        Dot,
        Vector,
        Add,
        Sigma,
    ]
    return next((n for n, kind in enumerate(order) if isinstance(factor, kind)), 3)


def latex(expr: Expr) -> str:
    """LaTeX of any expression of the engine."""
    settings = {"fold_short_frac": False, "mul_symbol": None, "ln_notation": False, "symbol_names": NAMES}
    return str(_Printer(settings).doprint(expr))


def _broken(expr: Expr, terms: int = 5) -> str:
    """A long sum over several lines of an aligned block."""
    parts = sorted(Add.make_args(expr), key=lambda t: (t.could_extract_minus_sign(), str(t)))
    codes = [latex(t) for t in parts]
    signed = [codes[0], *(c if c.startswith("-") else f"+ {c}" for c in codes[1:])]
    lines = [" ".join(signed[n : n + terms]) for n in range(0, len(signed), terms)]
    return " \\\\\n&\\quad ".join(lines)


def render(system: Equations) -> str:
    """The tables, equations and observables as one aligned block."""
    k, i = system.q.indices(3)[0], system.q.indices(3)[2]
    (l,) = system.p.indices(1)
    rows = []
    for table in system.tables:
        rows.append(rf"{symbol(table.name)}_{{{''.join(map(str, table.indices))}}} &= {latex(table.source)}")
    rows.append(rf"\Gamma_{{{k}{i}}} &= {latex(system.gamma)}")
    ds = rf"\dot s_{{{k}{i}}} &= \Gamma_{{{k}{i}}} + \Gamma_{{{i}{k}}}"
    if system.noise:
        ds += rf" + \eta\left(V_{{{k}{i}}} + \delta_{{{k}{i}}} \frac{{\Xi_{{{k}}}}}{{N}}\right)"
        rows.append(rf"V_{{{k}{i}}} &= {latex(system.noise['V'])}")
        rows += [rf"{tex}_{{{k}}} &= {_broken(system.noise[name])}" for name, tex in (("Q", "Q"), ("Xi", r"\Xi"))]
    rows.append(ds)
    left = {"m": rf"\dot m_{{{k}{l}}}", "theta": rf"\dot\theta_{{{k}}}", "log_v": rf"\frac{{d}}{{dt}}\log v_{{{k}}}"}
    rows += [f"{left[name]} &= {latex(rhs)}" for name, rhs in system.equations.items()]
    rows += [rf"\dot\{name} &= {latex(rhs)}" for name, rhs in system.driven.items()]
    rows.append(rf"D &= {latex(system.observables['objective'])}")
    rows.append(rf"\hat\pi_{{{l}}} &= {latex(system.observables['mode_mass'])}")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}\n"
