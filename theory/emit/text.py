"""The closed system as plain text, what `show --as text` prints."""

from __future__ import annotations

from typing import Any

from sympy import Expr
from sympy.printing.str import StrPrinter

from theory.equations import Equations

__all__ = ["describe", "text"]


class _Printer(StrPrinter):  # type: ignore[misc]
    def _print_Add(self, expr: Any, order: Any = None) -> str:
        """Positive terms first: log q - log p."""
        terms = sorted(self._as_ordered_terms(expr, order=order), key=lambda t: t.could_extract_minus_sign())
        codes = [self._print(t) for t in terms]
        return str(codes[0]) + "".join(f" - {c[1:]}" if c.startswith("-") else f" + {c}" for c in codes[1:])


def text(expr: Expr) -> str:
    """Any expression of the engine on one line."""
    return str(_Printer().doprint(expr))


def describe(system: Equations) -> str:
    """Every equation on a line of its own, in index notation."""
    k, i = system.q.indices(3)[0], system.q.indices(3)[2]
    (l,) = system.p.indices(1)
    slopes = ", ".join(f"rate_{group}[{k}] = w[{k}]^({p} - a)" for group, p in system.powers.items())
    lines = [f"objective {system.objective}", *([f"metric {slopes}"] if slopes else []), "", "tables"]
    for table in system.tables:
        indices = ",".join(map(str, table.indices))
        lines += [f"  {table.name}[{indices}] = {text(table.source)}", f"    = {text(table.value)}"]
    lines += ["", "equations", f"  Γ[{k},{i}] = {text(system.gamma)}"]
    ds = f"  ds[{k},{i}]/dt = Γ[{k},{i}] + Γ[{i},{k}]"
    if system.noise:
        ds += f" + step*(V[{k},{i}] + δ[{k},{i}]*Ξ[{k}]/size)"
        lines.append(f"  V[{k},{i}] = {text(system.noise['V'])}")
        lines += [f"  {name}[{k}] = {text(system.noise[key])}" for key, name in (("Q", "Q"), ("Xi", "Ξ"))]
    lines.append(ds)
    subscripts = {"m": f"[{k},{l}]", "theta": f"[{k}]", "log_v": f"[{k}]"}
    lines += [f"  d{name}{subscripts[name]}/dt = {text(rhs)}" for name, rhs in system.equations.items()]
    lines += [f"  d{name}/dt = {text(rhs)}" for name, rhs in system.driven.items()]
    lines += ["", "observables", f"  D = {text(system.observables['objective'])}"]
    lines += [f"  π̂[{l}] = {text(system.observables['mode_mass'])}", ""]
    return "\n".join(lines)
