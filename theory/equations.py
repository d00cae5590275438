"""Closed equations as data, in index notation for any K and L: frozen, with an identity; emitted texts are views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Symbol, sympify

from theory import canonical
from theory.coefficients import coefficient_names
from theory.derivation import Step
from theory.expectations import Expectation
from theory.mixtures import Mixture
from theory.parameters import RATES, SIZE, STEP
from theory.sums import substitute

__all__ = ["Equations", "Table"]


@dataclass(frozen=True)
class Table:
    """One expectation for every value of its indices: A_kj, B_kl, F_k, …; the first index is the component.

    source: the expectation over R^d it stands for. value: the same over Gaussian logits, in overlaps and weights.
    """

    name: str
    indices: tuple[Symbol, ...]
    source: Expectation
    value: Expr

    @property
    def symbol(self) -> IndexedBase:
        return IndexedBase(self.name, real=True)


@dataclass(frozen=True)
class Equations:
    """Closed equations of a gradient flow, in index notation for any K and L.

    velocity: μ̇_k, a combination of mean vectors. gamma: Γ_ki = μ̇_k·μ_i, so that ds/dt = Γ + Γᵀ.
    equations: right-hand sides of m_kl, θ_k and, with variances of their own, log v_k. powers: for each group of states
    whose rate_k is still to be given, the p of its slope w_k^p g_k; rate_k = w_k^(p − a) in a metric that divides
    slopes by w_k^a. observables: objective (nats) and mode_mass (π̂_l). steps: how all of it was derived. driven:
    parameters that may follow a schedule, and their dX/dt.
    noise: empty, or V_ki = μ̇_k·μ̇_i (in terms of Γ and ṁ, here called gamma and dm), Q_k = E_k|g|² and, with these,
    Ξ_k ("Xi"), the variance of μ̇_k by one sample: stochastic gradient descent adds step·(V + diag(Ξ)/size) to ds/dt.
    """

    q: Mixture
    p: Mixture
    objective: str
    powers: dict[str, int]
    tables: tuple[Table, ...]
    velocity: Expr
    gamma: Expr
    equations: dict[str, Expr]
    noise: dict[str, Expr]
    driven: dict[str, Expr]
    observables: dict[str, Expr]
    steps: tuple[Step, ...]

    @property
    def own_variances(self) -> bool:
        """Whether every component has a variance of its own, a state."""
        return bool(self.q.own_variances)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states: s_kj, m_kl, θ_k (log-weights up to a constant), and log v_k."""
        return ("s", *self.equations)

    @property
    def right_hand_sides(self) -> dict[str, Expr]:
        """d/dt of every state in index notation: s_ki, m_kl, θ_k."""
        k, i = self.q.indices(3)[0], self.q.indices(3)[2]
        dummy = Symbol("_", integer=True, positive=True)
        transposed = substitute(substitute(substitute(self.gamma, k, dummy), i, k), dummy, i)
        second = self.noise["V"] + KroneckerDelta(k, i) * self.noise["Xi"] / SIZE if self.noise else 0
        return {"s": self.gamma + transposed + STEP * second, **self.equations}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters beyond those of q and p, where the equations have them: beta, step, size, factors."""
        return (*self.driven, *(("step", "size") if self.noise else ()), *self.factors)

    @cached_property
    def factors(self) -> tuple[str, ...]:
        """Names of the parameters that the objective brings with it, in the order of the alphabet."""
        groups = (self.equations, self.noise, self.observables)
        values = [expr for group in groups for expr in group.values()]
        return coefficient_names(*values, self.gamma, *(table.value for table in self.tables))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical form: two systems with the same hash have the same dynamics in every metric."""
        found = {"q": canonical.expression(self.q), "p": canonical.expression(self.p)}
        found |= {f"power {group}": str(power) for group, power in self.powers.items()}
        found |= {f"table {t.name}": canonical.function(t.indices, t.value) for t in self.tables}
        groups = {
            "mean": {"velocity": self.velocity, "gamma": self.gamma},
            "equation": self.equations,
            "noise": self.noise,
            "driven": self.driven,
            "observable": self.observables,
        }
        for kind, group in groups.items():
            found |= {f"{kind} {name}": canonical.expression(expr) for name, expr in group.items()}
        return canonical.digest("closed-system/2", found)

    def held(self, *states: str) -> Self:
        """The equations without those of some states, which stay where they are: "theta" for fixed weights."""
        return replace(self, equations={name: rhs for name, rhs in self.equations.items() if name not in states})

    def under(self, **exponents: float) -> Self:
        """The same equations with rates written out: rate_k = w_k^(p − a), a by group of states, 0 where not given.

        `under()` is the Euclidean flow with softmax weights, `under(means=1, weights=1)` Wasserstein–Fisher–Rao.
        Raises KeyError for a group that does not move.
        """
        power = dict(self.powers)
        for group, exponent in exponents.items():
            power[group] = self.powers[group] - sympify(exponent)
        names = {str(RATES[group]): n for group, n in power.items()}

        def out(expr: Expr) -> Expr:
            nodes = {node: str(node.base) for node in expr.atoms(Indexed)}
            weight = self.q.weight
            return expr.xreplace({x: weight(x.indices[0]) ** names[name] for x, name in nodes.items() if name in names})

        return replace(
            self,
            powers={},
            velocity=out(self.velocity),
            gamma=out(self.gamma),
            equations={name: out(rhs) for name, rhs in self.equations.items()},
            noise={name: out(rhs) for name, rhs in self.noise.items()},
        )
