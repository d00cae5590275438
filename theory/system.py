"""ClosedSystem: the frozen centre. LaTeX, text, NumPy source, concrete equations and Jacobian are views of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Matrix, Symbol, sympify

from theory import canonical
from theory.concrete import ConcreteSystem
from theory.derivation import Step
from theory.expectations import Expectation, PairExpectation
from theory.mixtures import Mixture
from theory.parameters import RATES, SIZE, STEP
from theory.sums import substitute
from theory.viewed import Viewed

__all__ = ["ClosedSystem", "Table"]


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
class ClosedSystem(Viewed):
    """Closed equations of a gradient flow, in index notation for any K and L.

    velocity: μ̇_k, a combination of mean vectors. gamma: Γ_ki = μ̇_k·μ_i, so that ds/dt = Γ + Γᵀ.
    equations: right-hand sides of m_kl, θ_k and, with variances of their own, log v_k. powers: for each group of states
    whose rate_k is still to be given, the p of its slope w_k^p g_k; rate_k = w_k^(p − a) in a metric that divides
    slopes by w_k^a. observables: objective (nats) and mode_mass (π̂_l). steps: how all of it was derived. driven:
    parameters that may follow a schedule, and their dX/dt.
    noise: empty, or V_ki = μ̇_k·μ̇_i (in terms of Γ and ṁ, here called gamma and dm), Q_k = E_k|g|² and, with these,
    Ξ_k ("Xi"), the variance of μ̇_k by one sample: stochastic gradient descent adds step·(V + diag(Ξ)/size) to ds/dt.
    """

    emitter = "theory.emit"

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
        """Names of the parameters beyond those of q and p: beta, step, size, where the equations have them."""
        return (*self.driven, *(("step", "size") if self.noise else ()))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical form: two systems with the same hash have the same dynamics in every metric."""
        return hashlib.sha256(canonical.system(self).encode()).hexdigest()

    @property
    def _views(self) -> Mapping[str, Callable[..., str]]:
        """Text for a compiler only where a backend takes it: no steps, one variance, no products on a GPU."""
        without = set()
        if self.noise or self.own_variances or "theta" not in self.equations:
            without = {"numba", "cuda"}
        elif any(isinstance(table.value, PairExpectation) for table in self.tables):
            without = {"cuda"}
        return {name: view for name, view in super()._views.items() if name not in without}

    def held(self, *states: str) -> ClosedSystem:
        """The equations without those of some states, which stay where they are: "theta" for fixed weights."""
        return replace(self, equations={name: rhs for name, rhs in self.equations.items() if name not in states})

    def under(self, **exponents: float) -> ClosedSystem:
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

    def at(self, K: int, L: int) -> ConcreteSystem:
        """The equations written out for K components and L modes, in SymPy symbols, ready to differentiate.

        In the metric of `under()`, unless the rates are written out already.

        Raises NotImplementedError for a system with a variance for each component.
        """
        if self.own_variances:
            raise NotImplementedError(
                "a variance for each component: expectations with |x|² are not written out for given K and L; "
                "use emit, whose numpy source has them"
            )
        return ConcreteSystem(self, K, L)

    def jacobian(self, K: int = 2, L: int = 2) -> Matrix:
        """∂(right-hand side)/∂(states) at K, L; expectations are differentiated by Price's theorem. Raises as `at`."""
        return self.at(K, L).jacobian
