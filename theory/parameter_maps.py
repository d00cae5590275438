"""A closed flow read at other parameters, as data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sympy import Expr

from theory import canonical
from theory.derivation import Step
from theory.equations import Equations

__all__ = ["ParameterMap"]


@dataclass(frozen=True)
class ParameterMap:
    """A sampler learns as `flow` (section 3) does at the parameters `mapping`, in terms of the sampler's own.

    mapping: every state and parameter of the flow, by name, in terms of those of the sampler and decay = e^{−T}.
    """

    flow: Equations
    mapping: dict[str, Expr]
    steps: tuple[Step, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the flow and of the mapping."""
        mapping = {f"at {name}": canonical.expression(value) for name, value in self.mapping.items()}
        return canonical.digest("correspondence/2", {"flow": self.flow.hash, **mapping})
