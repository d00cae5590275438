"""The closed system as LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sympy import Add, Expr
from sympy.printing.latex import LatexPrinter

if TYPE_CHECKING:
    from theory.system import ClosedSystem

__all__ = ["latex", "render"]

GREEK = {"pi", "mu", "nu", "theta", "rho", "Gamma"}


class _Printer(LatexPrinter):  # type: ignore[misc]
    def _print_Indexed(self, expr: Any) -> str:
        name = str(expr.base)
        subscript = "".join(self._print(i) for i in expr.indices)
        return f"{chr(92) + name if name in GREEK else name}_{{{subscript}}}"

    def _print_Mul(self, expr: Any) -> str:
        """Plain factors first, then the bracket: w_k (…), as one writes it."""
        sums = [a for a in expr.args if isinstance(a, Add)]
        if len(sums) != 1 or expr.could_extract_minus_sign() or any(a.is_Pow or a.is_Rational for a in expr.args):
            return str(super()._print_Mul(expr))
        return rf"{self._print(expr / sums[0])}\left({self._print(sums[0])}\right)"


def latex(expr: Expr) -> str:
    """LaTeX of any expression of the engine."""
    return str(_Printer({"fold_short_frac": False, "mul_symbol": None, "ln_notation": False}).doprint(expr))


def render(system: ClosedSystem) -> str:
    """The tables, equations and observables as one aligned block."""
    k, i = system.q.indices(3)[0], system.q.indices(3)[2]
    (l,) = system.p.indices(1)
    rows = []
    for table in system.tables:
        rows.append(rf"{table.name}_{{{''.join(map(str, table.indices))}}} &= {latex(table.source)}")
    rows.append(rf"\Gamma_{{{k}{i}}} &= {latex(system.gamma)}")
    rows.append(rf"\dot s_{{{k}{i}}} &= \Gamma_{{{k}{i}}} + \Gamma_{{{i}{k}}}")
    left = {"m": rf"\dot m_{{{k}{l}}}", "theta": rf"\dot\theta_{{{k}}}"}
    rows += [f"{left[name]} &= {latex(rhs)}" for name, rhs in system.equations.items()]
    rows.append(rf"D &= {latex(system.observables['objective'])}")
    rows.append(rf"\hat\pi_{{{l}}} &= {latex(system.observables['mode_mass'])}")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}\n"
