"""The closed system as plain text: what is hashed, and what `show --as text` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from theory.system import ClosedSystem

__all__ = ["describe"]


def describe(system: ClosedSystem) -> str:
    """Every equation on a line of its own, in index notation."""
    k, i = system.q.indices(3)[0], system.q.indices(3)[2]
    (l,) = system.p.indices(1)
    lines = [f"objective {system.objective}, weights {system.weights}", "", "tables"]
    for table in system.tables:
        indices = ",".join(map(str, table.indices))
        lines += [f"  {table.name}[{indices}] = {table.source}", f"    = {table.value}"]
    lines += ["", "equations", f"  Γ[{k},{i}] = {system.gamma}", f"  ds[{k},{i}]/dt = Γ[{k},{i}] + Γ[{i},{k}]"]
    subscripts = {"m": f"[{k},{l}]", "theta": f"[{k}]"}
    lines += [f"  d{name}{subscripts[name]}/dt = {rhs}" for name, rhs in system.equations.items()]
    lines += ["", "observables", f"  D = {system.observables['objective']}"]
    lines += [f"  π̂[{l}] = {system.observables['mode_mass']}", ""]
    return "\n".join(lines)
