"""A component of small weight beside others at rest: its equations alone, and their limits.

Where one logit of a softmax is far above the others, softmax is one entry and log-sum-exp that logit. Under a component
of q the logits say whose the samples are: those of a dying component are all the others' where w → 0 at fixed means,
and its own where it is far from the others, |μ − μ_j|²/2 ≫ −log w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sympy import Expr, Integer, Symbol, exp, expand, simplify

from theory.concrete import LogitMean
from theory.tanh import with_tanh

__all__ = ["alone", "dominated", "owner"]


def dominated(expr: Expr, which: Callable[[LogitMean], int | None]) -> Expr:
    """An expression with softmax and log-sum-exp of some laws where one logit dominates.

    which: the place of that logit in a law, None for laws that stay as they are.
    """
    replaced = {}
    for node in expr.atoms(LogitMean):
        place = which(node)
        if place is None:
            continue
        powers, mean, _ = node.args
        if not powers:
            replaced[node] = mean[place]
        else:
            replaced[node] = Integer(all(n == 0 for i, n in enumerate(powers) if i != place))
    return expr.xreplace(replaced)


def owner(node: LogitMean) -> int | None:
    """Of two components: under which of them, 0 or 1, a softmax of q is taken; None for a softmax of p.

    Far from each other, at equal weights, samples are those of the component itself.
    """
    mean = node.args[1][0]
    if not any(symbol.name.startswith("theta") for symbol in mean.free_symbols):
        return None
    far = {
        symbol: Integer(100 if symbol.name == "x11" else 0) for symbol in mean.free_symbols if symbol.name[0] in "xt"
    }
    return 0 if mean.subs(far).subs(dict.fromkeys(mean.subs(far).free_symbols, Integer(1))) > 0 else 1


def alone(
    equations: Mapping[Symbol, Expr], point: Mapping[Symbol, Expr], which: Callable[[LogitMean], int | None]
) -> tuple[Expr, Expr, Expr]:
    """The second of two components, from `theory.stability.in_coordinates` with one coordinate along and one across.

    Takes
        equations: with softmax weights. point: values of parameters and of the first component's coordinates. which: of
        `dominated`.
    Returns
        velocities of its coordinates along and across in units of w, and Δ/(1 − w) = (F₂ − D)/(1 − w).
    """
    first, second = (exp(Symbol(f"theta{k}", real=True)) for k in (1, 2))
    share, rest = second / (first + second), first / (first + second)
    units = {"x12": share, "x22": share, "theta2": -share * rest}
    found = []
    for name, unit in units.items():
        rate = dominated(equations[Symbol(name, real=True)], which).xreplace(dict(point))
        found.append(expand(simplify(with_tanh(rate) / unit)))
    return found[0], found[1], found[2]
