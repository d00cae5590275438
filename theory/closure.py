"""close(velocities): equations for overlaps and log-weights, or an error that says why there are none."""

from __future__ import annotations

import re

from sympy import (
    Expr,
    IndexedBase,
    Integer,
    Mul,
    Pow,
    S,
    Symbol,
    cancel,
    exp,
    expand,
    factor_terms,
    fraction,
    powsimp,
    together,
)

from theory import rules
from theory.derivation import Derivation
from theory.divergence import gathered, per_direction
from theory.expectations import Expectation, has_other_functions
from theory.flows import Velocities
from theory.mixtures import DIMENSION, LogDensity, Mixture, Responsibility
from theory.objectives import Objective, annealing
from theory.parameters import BETA
from theory.radial import Raised
from theory.rules import Rule, bottom_up
from theory.sums import substitute
from theory.system import ClosedSystem, Table
from theory.vectors import Dot, Image, Mean

__all__ = ["GRAM", "NotClosed", "assembled", "close", "energies", "gram", "refuse_other_fields"]

#: The statistics of the theory: overlaps of the means of q and of p, c of which does not move; and inner products of
#: the velocities of means with them.
OVERLAPS = {("mu", "mu"): "s", ("mu", "nu"): "m", ("nu", "nu"): "c", ("dmu", "mu"): "gamma", ("dmu", "nu"): "dm"}

#: Tables of E_a[r], by the mixtures of a and r. That of a product of two responsibilities has both letters.
LETTERS = {("q", "q"): "A", ("q", "p"): "B", ("p", "q"): "P", ("p", "p"): "O"}

#: From an expectation over R^d to one over its fewest Gaussian directions.
REDUCTION = (
    rules.COMMON_SHIFT,
    rules.DIFFERENCE,
    rules.LINEARITY,
    rules.STEIN,
    rules.GAUSSIAN_LAW,
)

Pattern = tuple[Mixture, tuple[Mixture, ...]]


class NotClosed(ValueError):
    """The right-hand side needs what is neither state nor table. `missing` names it, for example ν·S²ν."""

    def __init__(self, missing: list[str], advice: str) -> None:
        self.missing = missing
        super().__init__(f"the equations do not close on the overlaps: they also need {', '.join(missing)}. {advice}")


def gram(expr: Expr) -> Expr:
    """Inner products of mean vectors are the overlaps s, m (states) and c (parameter)."""

    def rewrite(node: Dot) -> Expr:
        for a, b in (node.args, node.args[::-1]):
            if isinstance(a, Mean) and isinstance(b, Mean) and (a.name, b.name) in OVERLAPS:
                return IndexedBase(OVERLAPS[a.name, b.name], real=True)[a.index, b.index]
        return node

    return expand(bottom_up(expr, rewrite, Dot))


GRAM = Rule("Gram closure", r"s_{kj}=\mu_k\cdot\mu_j,\quad m_{kl}=\mu_k\cdot\nu_l,\quad c_{il}=\nu_i\cdot\nu_l", gram)
PRODUCTS = Rule(
    "Inner products of velocities", r"\dot\mu_k\cdot\mu_j=\Gamma_{kj},\quad\dot\mu_k\cdot\nu_l=\dot m_{kl}", gram
)


def close(velocities: Velocities) -> ClosedSystem:
    """The closed system of a gradient flow.

    Every expectation becomes a table over Gaussian logits whose law is given by the states; every inner product becomes
    an overlap. What remains must be states, parameters and tables.

    Raises NotClosed, naming what is missing, if anything else is left: nothing is truncated.
    """
    objective, derivation = velocities.objective, velocities.derivation
    q, p = objective.q, objective.p
    i, (l,) = q.indices(3)[2], p.indices(1)

    run = derivation.run
    value, mode_mass = (rules.linearity(e) for e in (objective.value(), objective.mode_mass()))
    used = [velocities.mean, velocities.theta, velocities.square, value, mode_mass]
    used = [rules.linearity(e) for e in used if e is not None]
    refuse_other_fields(used)
    tables = _tables(objective, used, derivation)
    gamma = run(r"\dot\mu_k\cdot\mu_i", Dot(velocities.mean, q.mean(i)), (GRAM,))
    dm = run(r"\dot m_{kl}", Dot(velocities.mean, p.mean(l)), (GRAM,))
    equations = {"gamma": gamma, "m": dm, "theta": run(r"\dot\theta_k", velocities.theta, (GRAM,))}
    noise = {} if velocities.square is None else _noise(velocities, derivation)
    observables = {
        "objective": run("D", objective.value(), (rules.LINEARITY, rules.STEIN, GRAM)),
        "mode_mass": run(r"\hat\pi_l", objective.mode_mass(), (rules.LINEARITY,)),
    }
    named: dict[str, Expr] = {}
    for group in (equations, noise, observables):
        named.update({name: _use_tables(expr, tables) for name, expr in group.items()})
    mean = factor_terms(_use_tables(gram(velocities.mean), tables))
    return assembled(objective, velocities.powers, derivation, tables, mean, named)


def assembled(
    objective: Objective,
    powers: dict[str, int],
    derivation: Derivation,
    tables: list[Table],
    mean: Expr,
    named: dict[str, Expr],
) -> ClosedSystem:
    """The closed system of right-hand sides in terms of tables. Raises NotClosed if anything else is left in them."""
    refuse_open([*named.values(), *(t.value for t in tables)])
    return ClosedSystem(
        q=objective.q,
        p=objective.p,
        objective=objective.name,
        powers=powers,
        tables=tuple(tables),
        velocity=mean,
        gamma=factor_terms(named["gamma"]),
        equations={name: factor_terms(named[name]) for name in ("m", "theta", "log_v") if name in named},
        noise={name: factor_terms(e) if name == "V" else e for name, e in named.items() if name in ("V", "Q", "Xi")},
        driven={"beta": annealing()} if any(e.has(BETA) for e in named.values()) else {},
        observables={name: named[name] for name in ("objective", "mode_mass")},
        steps=tuple(derivation.steps),
    )


def _noise(velocities: Velocities, derivation: Derivation) -> dict[str, Expr]:
    """The second moment of one step of stochastic gradient descent, E[ĝ_k·ĝ_i], ĝ_k an estimate of μ̇_k.

    ĝ_k is a mean over `size` fresh samples of component k: E[ĝ_k·ĝ_i] = μ̇_k·μ̇_i + δ_ki Ξ_k/size.
    """
    q = velocities.objective.q
    k, i = q.indices(3)[0], q.indices(3)[2]
    other = substitute(velocities.mean, k, i)
    product = derivation.run(r"\dot\mu_k\cdot\dot\mu_i", Dot(Mean("dmu", k), other), (PRODUCTS,))
    square = derivation.run("E_k|g|^2", velocities.square, (GRAM, rules.ORDER_OF_SUMS, rules.WIDTHS))
    Q, V = (IndexedBase(name, real=True) for name in "QV")
    return {"V": product, "Q": square, "Xi": velocities.step**2 * Q[k] - V[k, k]}


def _pattern(node: Expectation) -> tuple[Pattern, tuple[Expr, ...]] | None:
    """Which table an expectation belongs to, and its indices there; None if it is not of responsibilities alone."""
    fields: list[Responsibility] = []
    for factor in Mul.make_args(node.integrand):
        power = factor.exp if isinstance(factor, Pow) and isinstance(factor.exp, Integer) else Integer(1)
        base = factor.base if power != 1 else factor
        if not isinstance(base, Responsibility) or power < 1:
            return None
        fields += [base] * int(power)
    fields.sort(key=lambda r: r.args[0].name != "q")
    return (node.mixture, tuple(r.args[0] for r in fields)), (node.component, *(r.args[1] for r in fields))


def _name(pattern: Pattern) -> str:
    under, fields = pattern
    return "".join(LETTERS[under.name, of.name] for of in fields)


def _tables(objective: Objective, used: list[Expr], derivation: Derivation) -> list[Table]:
    """A_kj = E_k[r_j], B_kl = E_k[ρ_l], …, F_k = E_k[integrand]: all that is used, reduced to Gaussian logits."""
    nodes = {node for expr in used for node in expr.atoms(Expectation)}
    found = {known[0] for node in nodes if (known := _pattern(node)) and len(known[0][1]) <= 2}
    averaged = energies(objective)
    # The log-sum-exp has the logits of a softmax, whose table lends it a name.
    found |= {(m, (f.args[0],)) for (m, _), e in averaged.items() for f in e.atoms(LogDensity)}
    sources: dict[tuple[str, tuple[Symbol, ...]], Expectation] = {}
    for under, fields in sorted(
        found, key=lambda known: (len(known[1]), list(LETTERS.values()).index(_name(known)[0]), _name(known))
    ):
        (component,) = under.indices(1)
        indices: list[Symbol] = []
        for of in fields:
            letters = [i for i in of.indices(len(fields) + 1) if i not in (component, *indices)]
            indices.append(letters[0])
        field = Mul(*(Responsibility(of, index) for of, index in zip(fields, indices, strict=True)))
        sources[_name((under, fields)), (component, *indices)] = Expectation(under, component, field)
    for (mixture, name), energy in averaged.items():
        (component,) = mixture.indices(1)
        common = _common(Expectation(mixture, component, energy))
        sources[name, (component,)] = Expectation(mixture, component, energy - common)
    tables = []
    for (name, indices_), source in sources.items():
        symbol = name if len(name) == 1 else rf"\mathit{{{name}}}"
        label = f"{symbol}_{{{''.join(map(str, indices_))}}}"
        tables.append(Table(name, indices_, source, derivation.run(label, source, (*REDUCTION, GRAM, rules.WIDTHS))))
    return tables


def energies(objective: Objective) -> dict[tuple[Mixture, str], Expr]:
    """The log-densities averaged under each mixture, as one table: log q − β log p, whatever they are multiplied by.

    Where no polynomial of parameters says how much of one goes with the other, a table for each.
    """
    out: dict[tuple[Mixture, str], Expr] = {}
    for mixture, letter in ((objective.q, "F"), (objective.p, "G")):
        integrand = objective.integrand(mixture)
        densities = sorted(integrand.atoms(LogDensity), key=lambda f: (f.args[0] != mixture, str(f)))
        shares = [integrand.coeff(f) for f in densities]
        energy = sum((cancel(c / shares[0]) * f for c, f in zip(shares, densities, strict=True)), S.Zero)
        if integrand.atoms(exp) or not densities:
            continue  # close() names what is missing
        if fraction(together(energy))[1].free_symbols:
            out |= {(mixture, f"{letter}{f.args[0].name}"): f for f in densities}
        else:
            out[mixture, letter] = energy
    return out


def _common(energy: Expectation) -> Expr:
    """The terms of order d of an energy, the same for all components.

    Tables leave them out: as numbers they would take the digits of the differences, which alone move weights.
    """
    c, _ = per_direction(Derivation().run("", energy, (*REDUCTION, GRAM, rules.WIDTHS)))
    return DIMENSION * gathered(c)


def _use_tables(expr: Expr, tables: list[Table]) -> Expr:
    """Name every expectation: E_k[r_j] = A_kj and so on; E_k[log q] = F_k + β E_k[log p] + the terms of order d.

    The last two cancel, but for the objective itself.
    """
    by_name = {table.name: table for table in tables}

    def rewrite(node: Expectation) -> Expr:
        known = _pattern(node)
        if known and all((known[0][0].name, of.name) in LETTERS for of in known[0][1]):
            table = by_name.get(_name(known[0]))
            return node if table is None else table.symbol[known[1]]
        for table in tables:
            energy = expand(table.source.integrand)
            if table.source.mixture == node.mixture and energy.coeff(node.integrand) == 1:
                others = energy - node.integrand
                return table.symbol[node.component] - rules.linearity(Expectation(node.mixture, node.component, others))
        return node

    named = rules.linearity(bottom_up(rules.linearity(expr), rewrite, Expectation))
    return rules.WIDTHS.apply(rules.NORMALISATION.apply(named))


def refuse_other_fields(expressions: list[Expr]) -> None:
    """Raise NotClosed for expectations of fields that no table is for, whatever their law."""
    nodes = {node for expr in expressions for node in expr.atoms(Expectation)}
    other = {node for node in nodes if has_other_functions(node.integrand)}
    if other:
        # Indices apart, each once: E[r·…] stands for E_k[r_j·…] of all k and j.
        names = {re.sub(r"_[a-z]\b", "", str(node.func(*node.args[:2], powsimp(node.integrand)))) for node in other}
        raise NotClosed(
            sorted(names, key=lambda name: (len(name), name)),
            "By rotation invariance these are functions of the states, but expectations of other functions of the "
            "logits than log-sum-exp and products of two softmax, in all directions of q and p together: no table is "
            "for them.",
        )


def refuse_open(expressions: list[Expr]) -> None:
    """Raise NotClosed if anything but states, parameters and tables is left."""
    dots = {_statistic(node) for expr in expressions for node in expr.atoms(Dot)}
    open_ = {str(node) for expr in expressions for node in expr.atoms(Expectation, Raised)}
    advice = (
        "The time derivatives of these bring in higher powers of the operator; give p a scalar variance to close the "
        "system."
    )
    if dots or open_:
        raise NotClosed(sorted(dots | open_), advice)


def _statistic(node: Dot) -> str:
    """The inner product without its indices, for example ν·S²ν."""

    def name(vector: Expr) -> str:
        return {"mu": "μ", "nu": "ν"}.get(getattr(vector, "name", ""), "x")

    power = ""
    a, b = node.args
    if isinstance(b, Image):
        power, b = f"{b.args[0]}{'²³⁴'[int(b.args[2]) - 2] if b.args[2] > 1 else ''}", b.args[1]
    return f"{name(a)}·{power}{name(b)}"
