"""A derivation: a chain of recorded steps (rule, before, after), each checked by numbers in d dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from sympy import Expr

from theory.configuration import Configuration
from theory.quadrature import residual
from theory.rules import Rule
from theory.sums import separate

__all__ = ["Derivation", "Step", "WrongRule"]


class WrongRule(AssertionError):
    """A rule changed the value of an expression: as numbers, before ≠ after."""


@dataclass(frozen=True)
class Step:
    """One application of one rule to the quantity `of` (LaTeX)."""

    of: str
    rule: Rule
    before: Expr
    after: Expr

    @cached_property
    def residual(self) -> float:
        """|before − after| / max(1, |before|) at a random point; both sides by quadrature in R^d."""
        return residual(self.before, self.after)


@dataclass
class Derivation:
    """Applies rules in order and records every one that changed something.

    With `check=True` each step is verified by its residual as it is taken.
    Raises WrongRule if a step changes the value by more than `Configuration.TOLERANCE`.
    """

    check: bool = False
    steps: list[Step] = field(default_factory=list)

    def run(self, of: str, expr: Expr, rules: Iterable[Rule]) -> Expr:
        """Apply the rules one after the other to `expr`, the current form of the quantity `of`."""
        expr = separate(expr)
        for rule in rules:
            after = separate(rule.apply(expr))
            if after != expr:
                self.record(Step(of, rule, expr, after))
                expr = after
        return expr

    def record(self, step: Step) -> None:
        """Append a step, verified if asked."""
        if self.check and step.residual > Configuration.TOLERANCE:
            raise WrongRule(
                f"{step.rule.name} changed the value by {step.residual:.2g}:\n  {step.before}\n  {step.after}"
            )
        self.steps.append(step)
