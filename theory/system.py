"""ClosedSystem: the frozen centre. LaTeX, text, NumPy source, concrete equations and Jacobian are views of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, IndexedBase, KroneckerDelta, Matrix, Symbol

from theory.concrete import ConcreteSystem
from theory.derivation import Step
from theory.expectations import Expectation
from theory.mixtures import Mixture
from theory.parameters import SIZE, STEP
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
    equations: right-hand sides of m_kl and, if weights are learned, θ_k. observables: objective (nats) and mode_mass
    (π̂_l). steps: how all of it was derived. driven: parameters that may follow a schedule, and their dX/dt.
    noise: empty, or V_ki = μ̇_k·μ̇_i (in terms of Γ and ṁ, here called gamma and dm), Q_k = E_k|g|² and, with these,
    Ξ_k ("Xi"), the variance of μ̇_k by one sample: stochastic gradient descent adds step·(V + diag(Ξ)/size) to ds/dt.
    """

    emitter = "theory.emit"

    q: Mixture
    p: Mixture
    weights: str
    metric: str
    objective: str
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
        """Names of the states: s_kj, m_kl and, if weights are learned, θ_k (log-weights up to a constant)."""
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
        """SHA-256 of the equations and tables: two systems with the same hash have the same dynamics."""
        from theory.emit.text import describe

        return hashlib.sha256(describe(self).encode()).hexdigest()

    def at(self, K: int, L: int) -> ConcreteSystem:
        """The equations written out for K components and L modes, in SymPy symbols, ready to differentiate.

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
