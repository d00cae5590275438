"""close(velocities): equations for overlaps and log-weights, or an error that says why there are none."""

from __future__ import annotations

from sympy import Expr, IndexedBase, expand, factor_terms

from theory import rules
from theory.expectations import Expectation
from theory.flows import Velocities
from theory.mixtures import LogDensity, Responsibility
from theory.rules import Rule, bottom_up
from theory.system import ClosedSystem, Table
from theory.vectors import Dot, Image, Mean

__all__ = ["GRAM", "NotClosed", "close"]

#: The statistics of the theory: overlaps of the means of q and of p. c does not move.
OVERLAPS = {("mu", "mu"): "s", ("mu", "nu"): "m", ("nu", "nu"): "c"}

#: From an expectation over R^d to one over its fewest Gaussian directions.
REDUCTION = (
    rules.COMMON_SHIFT,
    rules.DIFFERENCE,
    rules.LINEARITY,
    rules.STEIN,
    rules.GAUSSIAN_LAW,
)


class NotClosed(ValueError):
    """The right-hand side needs statistics that are not states. `missing` names them, for example ν·S²ν."""

    def __init__(self, missing: list[str]) -> None:
        self.missing = missing
        super().__init__(
            f"the equations do not close on the overlaps: they also need {', '.join(missing)}. The time derivatives of "
            "these bring in higher powers of the operator; give p a scalar variance to close the system."
        )


def gram(expr: Expr) -> Expr:
    """Inner products of mean vectors are the overlaps s, m (states) and c (parameter)."""

    def rewrite(node: Dot) -> Expr:
        a, b = node.args
        if isinstance(a, Mean) and isinstance(b, Mean) and (a.name, b.name) in OVERLAPS:
            return IndexedBase(OVERLAPS[a.name, b.name], real=True)[a.index, b.index]
        return node

    return expand(bottom_up(expr, rewrite, Dot))


GRAM = Rule("Gram closure", r"s_{kj}=\mu_k\cdot\mu_j,\quad m_{kl}=\mu_k\cdot\nu_l,\quad c_{il}=\nu_i\cdot\nu_l", gram)


def close(velocities: Velocities) -> ClosedSystem:
    """The closed system of a gradient flow.

    Every expectation becomes a table over Gaussian logits whose law is given by the states; every inner product becomes
    an overlap. What remains must be states, parameters and tables.

    Raises NotClosed, naming the missing statistics, if anything else is left: nothing is truncated.
    """
    objective, derivation = velocities.objective, velocities.derivation
    q, p = objective.q, objective.p
    i, (l,) = q.indices(3)[2], p.indices(1)

    run = derivation.run
    tables = _tables(velocities)
    gamma = run(r"\dot\mu_k\cdot\mu_i", Dot(velocities.mean, q.mean(i)), (GRAM,))
    dm = run(r"\dot m_{kl}", Dot(velocities.mean, p.mean(l)), (GRAM,))
    equations = {"gamma": gamma, "m": dm}
    if velocities.theta is not None:
        equations["theta"] = velocities.theta
    observables = {
        "objective": run("D", objective.value(), (rules.LINEARITY,)),
        "mode_mass": run(r"\hat\pi_l", objective.mode_mass(), (rules.LINEARITY,)),
    }
    named = {}
    for group in (equations, observables):
        named.update({name: _use_tables(expr, tables) for name, expr in group.items()})
    _refuse_open([*named.values(), *(t.value for t in tables)])
    return ClosedSystem(
        q=q,
        p=p,
        weights=velocities.weights,
        objective=objective.name,
        tables=tuple(tables),
        velocity=factor_terms(_use_tables(velocities.mean, tables)),
        gamma=factor_terms(named["gamma"]),
        equations={name: factor_terms(named[name]) for name in equations if name != "gamma"},
        observables={name: named[name] for name in observables},
        steps=tuple(derivation.steps),
    )


def _tables(velocities: Velocities) -> list[Table]:
    """A_kj = E_k[r_j], B_kl = E_k[ρ_l], F_k = E_k[log q − log p]: reduced to Gaussian logits."""
    q, p, derivation = velocities.objective.q, velocities.objective.p, velocities.derivation
    (k, j), (l,) = q.indices(2), p.indices(1)
    sources = {
        ("A", (k, j)): Responsibility(q, j),
        ("B", (k, l)): Responsibility(p, l),
        ("F", (k,)): LogDensity(q) - LogDensity(p),
    }
    tables = []
    for (name, indices), field in sources.items():
        source = Expectation(q, k, field)
        label = f"{name}_{{{''.join(map(str, indices))}}}"
        value = derivation.run(label, source, (*REDUCTION, GRAM))
        tables.append(Table(name, indices, source, value))
    return tables


def _use_tables(expr: Expr, tables: list[Table]) -> Expr:
    """Name every expectation: E_k[r_j] = A_kj and so on; E_k[log q] = F_k + E_k[log p], the last of which cancels."""

    def rewrite(node: Expectation) -> Expr:
        for table in tables:
            field, per_mode = table.source.integrand, len(table.indices) == 2
            if per_mode and isinstance(node.integrand, Responsibility) and node.integrand.args[0] == field.args[0]:
                return table.symbol[node.component, node.integrand.args[1]]
            if not per_mode and node.integrand == LogDensity(node.mixture):
                other = expand(field - node.integrand)
                return table.symbol[node.component] - rules.linearity(Expectation(node.mixture, node.component, other))
        return node

    return expand(rules.linearity(bottom_up(rules.linearity(expr), rewrite, Expectation)))


def _refuse_open(expressions: list[Expr]) -> None:
    """Raise NotClosed if anything but states, parameters and tables is left."""
    missing = {_statistic(node) for expr in expressions for node in expr.atoms(Dot)}
    missing |= {str(node) for expr in expressions for node in expr.atoms(Expectation)}
    if missing:
        raise NotClosed(sorted(missing))


def _statistic(node: Dot) -> str:
    """The inner product without its indices, for example ν·S²ν."""
    greek = {"mu": "μ", "nu": "ν"}
    power = ""
    a, b = node.args
    if isinstance(b, Image):
        power, b = f"{b.args[0]}{'²³⁴'[int(b.args[2]) - 2] if b.args[2] > 1 else ''}", b.args[1]
    return f"{greek.get(a.name, 'x')}·{power}{greek.get(b.name, 'x')}"
