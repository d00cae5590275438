"""Mixtures whose components have different variances, fixed or learned: velocities, and their closure.

The logits then contain |x|², which no difference of logits removes. The rules of theory.rules.radial bring expectations
of x r_j and of |x|² r_j to tables over a few Gaussian directions and one radius; what remains are combinations of mean
vectors, and the overlaps close as before.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Mul, Symbol, expand, factor_terms

from theory import rules
from theory.closure import GRAM, assembled, energies, gram, refuse_other_fields
from theory.derivation import Derivation
from theory.expectations import Expectation, Gradient
from theory.flows import slope_of_weights
from theory.mixtures import Responsibility
from theory.objectives import Objective
from theory.parameters import descend
from theory.radial import Raised, Slope, SquaredDistance
from theory.rules import bottom_up
from theory.system import ClosedSystem, Table
from theory.vectors import Dot

__all__ = ["WidthVelocities", "close_variances", "variance_flow"]

#: From ∂D to expectations of r_j, x r_j and |x|² r_j, and from these to tables.
DIFFERENTIATION = (
    rules.REPARAMETRISE_WIDTHS,
    rules.LOG_SUM_EXP,
    rules.LINEARITY,
    rules.BAYES,
    rules.PARTITION,
    rules.STEIN,
)
TO_TABLES = (
    rules.SUMS_OUTSIDE,
    rules.ABOUT_THE_MEAN,
    rules.LINEARITY,
    rules.EXCESS_WIDTH,
    rules.RAISED_STEIN,
    rules.LINEARITY,
    rules.COLLECT,
)

#: Tables of responsibilities, of their slopes, and weighted by the squared distance, by the mixtures of k and of r.
NAMES = {("q", "q"): ("A", "H", "Y"), ("q", "p"): ("B", "J", "Z"), ("p", "q"): ("P", "M", "W")}


@dataclass(frozen=True)
class WidthVelocities:
    """dμ_k/dt (a vector expression), dθ_k/dt, d log v_k/dt, and the steps that led there; powers as in Velocities."""

    objective: Objective
    mean: Expr
    theta: Expr
    log_v: Expr
    powers: dict[str, int]
    derivation: Derivation


def variance_flow(objective: Objective, *, check: bool = False) -> WidthVelocities:
    """Gradient flow in the means, the weights and the log-variances, in any diagonal metric.

    The coordinate of a variance is log v, so that v stays positive. check: verify every step by numbers as it is
    taken.
    Raises ValueError for mixtures with one variance (use gradient_flow).
    """
    q, value = objective.q, objective.value()
    if not (q.own_variances and objective.p.own_variances):
        raise ValueError("mixtures with one variance: use gradient_flow, or mixture(own_variances=True) for both")
    derivation = Derivation(check=check)
    (k,), run = q.indices(1), derivation.run
    v, w = q.variance(k), q.weight(k)
    rules_ = (*DIFFERENTIATION, *TO_TABLES)
    # With φ = log v: ∂D/∂φ = v ∂D/∂v.
    slopes = {
        "means": run(r"\partial D/\partial\mu_k", Gradient(value, q.mean(k)), rules_),
        "variances": v * run(r"\partial D/\partial v_k", Gradient(value, v), rules_),
        "weights": slope_of_weights(q, value, derivation, DIFFERENTIATION),
    }
    found = {group: descend(slope, group, k, w) for group, slope in slopes.items()}
    mean, log_v, theta = (found[group][0] for group in slopes)
    return WidthVelocities(objective, mean, theta, log_v, {group: p for group, (_, p) in found.items()}, derivation)


def close_variances(velocities: WidthVelocities) -> ClosedSystem:
    """The closed system of a flow with a variance for each component.

    States: overlaps s, m, log-weights θ, and log v. Tables, by the mixtures that are averaged over and that
    responsibilities are of, qq, qp, pq: A, B, P mean responsibilities; H, J, M their mean slopes, E⁺; Y, Z, W
    responsibilities weighted by |x − μ_k|² − d v_k; F, G the log-densities of the objective under q and p.

    Raises NotClosed, naming the missing statistics, if anything else is left: nothing is truncated.
    """
    q, p, run = velocities.objective.q, velocities.objective.p, velocities.derivation.run
    i, (l,) = q.indices(3)[2], p.indices(1)
    value, mode_mass = velocities.objective.value(), velocities.objective.mode_mass()
    used = [rules.linearity(e) for e in (velocities.mean, velocities.theta, velocities.log_v, value, mode_mass)]
    refuse_other_fields(used)
    tables = _tables(velocities, used)
    equations = {"gamma": run(r"\dot\mu_k\cdot\mu_i", Dot(velocities.mean, q.mean(i)), (GRAM, rules.COLLECT))}
    equations["m"] = run(r"\dot m_{kl}", Dot(velocities.mean, p.mean(l)), (GRAM, rules.COLLECT))
    equations["theta"] = run(r"\dot\theta_k", velocities.theta, (GRAM,))
    equations["log_v"] = run(r"\dot{\log v_k}", velocities.log_v, (GRAM, rules.COLLECT))
    observables = {
        "objective": run("D", value, (rules.LINEARITY, rules.STEIN, GRAM)),
        "mode_mass": run(r"\hat\pi_l", mode_mass, (rules.LINEARITY,)),
    }
    named = {name: use_tables(expr, tables) for name, expr in (equations | observables).items()}
    for name in ("theta", *observables):  # F_k + β E_k[log p] − β E_k[log p]: what cancels has to meet
        named[name] = expand(rules.linearity(named[name]))
    mean = factor_terms(use_tables(gram(velocities.mean), tables))
    return assembled(velocities.objective, velocities.powers, velocities.derivation, tables, mean, named)


def _tables(velocities: WidthVelocities, used: list[Expr]) -> list[Table]:
    q, p, derivation = velocities.objective.q, velocities.objective.p, velocities.derivation
    kinds = {_kind(node) for expr in used for node in expr.atoms(Expectation, Raised)}
    sources: dict[tuple[str, tuple[Symbol, ...]], Expr] = {}
    for (under, of), (mean, slope, square) in NAMES.items():
        averaged, mixture = (q if name == "q" else p for name in (under, of))
        (k,) = averaged.indices(1)
        j, i = (n for n in mixture.indices(3) if n != k) if under == of else mixture.indices(2)
        r, distance = Responsibility(mixture, j), SquaredDistance(averaged.mean(k), averaged.variance(k))
        found = {
            (mean, (k, j)): Expectation(averaged, k, r),
            (slope, (k, j, i)): Raised(averaged, k, Slope(mixture, j, i)),
            (square, (k, j)): Expectation(averaged, k, r * distance),
        }
        sources |= {name: source for name, source in found.items() if _kind(source) in kinds}
    for (mixture, name), energy in energies(velocities.objective).items():
        (k,) = mixture.indices(1)
        sources[name, (k,)] = Expectation(mixture, k, energy)
    tables = []
    for (name, indices), source in sources.items():
        label = f"{name}_{{{''.join(map(str, indices))}}}"
        value = derivation.run(label, source, (rules.LINEARITY, rules.RADIAL_LAW, GRAM))
        tables.append(Table(name, indices, source, value))
    return tables


def use_tables(expr: Expr, tables: list[Table]) -> Expr:
    """Name every expectation by its table; E_k[log q] = F_k + β E_k[log p], the last of which cancels."""
    known = {_kind(t.source): t for t in tables}

    def rewrite(node: Expectation | Raised) -> Expr:
        kind = _kind(node)
        if kind in known:
            return known[kind].symbol[(node.component, *_parts(node)[0].args[1:])]
        for table in tables:
            energy = expand(table.source.integrand)
            if table.source.mixture == node.mixture and energy.coeff(node.integrand) == 1:
                other = Expectation(node.mixture, node.component, energy - node.integrand)
                return table.symbol[node.component] - rules.linearity(other)
        return node

    return bottom_up(expr, rewrite, (Expectation, Raised))


def _parts(node: Expectation | Raised) -> tuple[Expr, bool]:
    """The responsibility, slope or log-density of an integrand, and whether |x − μ_k|² − d v_k multiplies it."""
    k, mixture = node.component, node.mixture
    distance = SquaredDistance(mixture.mean(k), mixture.variance(k))
    squared = distance in Mul.make_args(node.integrand)
    return (node.integrand / distance if squared else node.integrand), squared


def _kind(node: Expectation | Raised) -> tuple[object, ...]:
    field, squared = _parts(node)
    side = field.args[0] if isinstance(field, Responsibility | Slope) else field
    return type(node), node.mixture, type(field), side, squared
