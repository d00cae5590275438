"""The canonical form of what is derived: what a hash is taken of, so that no change of display changes an identity.

A tree in prefix notation, one line a quantity, quantities in the order of their names. Sums and products are expanded
and their arguments sorted; a bound index is named by how deep it is bound, so that its letter does not matter. A format
that changes gets another number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sympy import Add, Basic, Expr, Indexed, Lambda, Mul, Rational, Symbol, expand
from sympy.core.symbol import Str

from theory.mixtures import Mixture
from theory.sums import Sigma

if TYPE_CHECKING:
    from theory.correspondence import Correspondence
    from theory.samplers import ReducedChain
    from theory.system import ClosedSystem

__all__ = ["chain", "correspondence", "expression", "system"]


def expression(expr: Basic) -> str:
    """One expression; equal texts are equal expressions."""
    return _tree(expand(expr) if isinstance(expr, Expr) else expr, {})


def _tree(node: Basic, bound: Mapping[Symbol, str]) -> str:
    if isinstance(node, Symbol | Str):
        return bound[node] if node in bound else str(node)
    if isinstance(node, Rational):
        return f"{node.p}/{node.q}" if node.q != 1 else str(node.p)
    if isinstance(node, Indexed):
        return _call(str(node.base), [_tree(index, bound) for index in node.indices])
    if isinstance(node, Mixture):
        return _call("Mixture", map(str, node.args))
    if isinstance(node, Sigma):
        inner = {**bound, node.index: f"#{len(bound)}"}
        return _call("Sum", [_tree(node.size, bound), _tree(node.function, inner)])
    if isinstance(node, Lambda):
        inner = dict(bound)
        for variable in node.variables:
            inner[variable] = f"#{len(inner)}"
        return _call(f"Lambda{len(node.variables)}", [_tree(node.expr, inner)])
    arguments = [_tree(argument, bound) for argument in node.args]
    name = type(node).__name__
    return _call(name, sorted(arguments) if isinstance(node, Add | Mul) else arguments) if arguments else name


def _call(name: str, arguments: Iterable[str]) -> str:
    return f"{name}({','.join(arguments)})"


def _lines(version: str, quantities: Mapping[str, str]) -> str:
    return "\n".join([version, *(f"{name} = {value}" for name, value in sorted(quantities.items())), ""])


def system(closed: ClosedSystem) -> str:
    """A closed system: its mixtures, rates, tables, equations and observables."""
    found = {"q": expression(closed.q), "p": expression(closed.p)}
    found |= {f"power {group}": str(power) for group, power in closed.powers.items()}
    found |= {f"table {t.name}": _tree(Lambda(t.indices, t.value), {}) for t in closed.tables}
    groups = {
        "mean": {"velocity": closed.velocity, "gamma": closed.gamma},
        "equation": closed.equations,
        "noise": closed.noise,
        "driven": closed.driven,
        "observable": closed.observables,
    }
    for kind, group in groups.items():
        found |= {f"{kind} {name}": expression(expr) for name, expr in group.items()}
    return _lines("closed-system/2", found)


def chain(reduced: ReducedChain) -> str:
    """A reduced chain: its drifts, and its programs line by line; their adjoints follow from them."""
    found: dict[str, str] = {}
    for key, drifts in reduced.coefficients.items():
        for side, drift in zip(("forward", "backward"), drifts, strict=True):
            found |= {f"{side} {' '.join(key)} {name}": expression(value) for name, value in drift.items()}
    for program in reduced.programs:
        for number, line in enumerate(program.body):
            found[f"{program.name} {number:03d}"] = f"{expression(line.variable)} {expression(line.value)}"
    return _lines("reduced-chain/2", found)


def correspondence(found: Correspondence) -> str:
    """A correspondence: its flow, and at which parameters."""
    mapping = {f"at {name}": expression(value) for name, value in found.mapping.items()}
    return _lines("correspondence/2", {"flow": found.flow.hash, **mapping})
