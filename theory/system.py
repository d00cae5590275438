"""ClosedSystem: the equations with their views, LaTeX, text, source, and written out for given K and L."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sympy import Matrix

from theory.concrete import ConcreteSystem
from theory.emit import VIEWS
from theory.emit.nests import compilable
from theory.equations import Equations, Table
from theory.expectations import PairExpectation
from theory.viewed import Viewed

__all__ = ["ClosedSystem", "Table"]


class ClosedSystem(Equations, Viewed):
    """Closed equations of a gradient flow, see Equations, and all that can be made of them."""

    @property
    def _views(self) -> Mapping[str, Callable[..., str]]:
        """Text for a compiler only where a backend takes it: no steps, one variance, no averages of products of
        different softmax, none of products at all on a GPU, and of what the objective brings with it only what loops
        can evaluate."""
        without: set[str] = set()
        expressions = [self.velocity, *self.equations.values(), *self.observables.values()]
        pairs = [table.value for table in self.tables if isinstance(table.value, PairExpectation)]
        loops = all(compilable(expr) for expr in expressions) and all(pair.same for pair in pairs)
        if self.noise or self.own_variances or "theta" not in self.equations or not loops:
            without = {"numba", "cuda"}
        elif pairs:
            without = {"cuda"}
        return {name: view for name, view in VIEWS.items() if name not in without}

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
