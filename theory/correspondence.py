"""Samplers whose learning is the gradient flow of section 3 at other parameters: ideal control, tied control, no steps.

With F the exact reversal of the noising kernel B, log W telescopes, and KL(Q‖P) is a KL divergence between mixtures: a
flow that is closed already. What is left to derive is at which parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sympy import Expr, Function, Indexed, Sum, Symbol, expand

from theory.closure import close
from theory.derivation import Step
from theory.emit.mapping import VIEWS
from theory.flows import gradient_flow
from theory.mixtures import Mixture, mixture, target
from theory.objectives import ReverseKL
from theory.parameter_maps import ParameterMap
from theory.parameters import BETA
from theory.reduction import noise_law
from theory.rules import Rule, linearity
from theory.system import ClosedSystem
from theory.vectors import Mean
from theory.viewed import Viewed

__all__ = ["Correspondence", "NotTheSameFlow", "PathIdentity", "ideal_control", "no_steps", "tied_control"]

#: States and parameters of the flow that a correspondence maps.
NAMES = ("s", "m", "c", "v", "u")

DECAY = Symbol("decay", positive=True)
n, N = Symbol("n", integer=True, nonnegative=True), Symbol("N", integer=True, nonnegative=True)

#: Log-densities along one path x_0, …, x_N: of the prior at x_0, of the noised target and of the control's noised
#: mixture at x_n, of the two kernels between x_n and x_{n+1}. noised(N) and model(N) are at the data end.
PRIOR, NOISED, MODEL, FORWARD, BACKWARD = (Function(name) for name in ("log_prior", "log_p", "log_q", "log_F", "log_B"))


def _same(expr: Expr) -> Expr:
    return expr


REVERSAL = Rule(
    "Bayes", r"F(x'|x)\,q_\tau(x)=B(x|x')\,q_{\tau'}(x')\ \text{for the exact reversal of }B\text{ with data }q", _same
)
TELESCOPE = Rule("Telescoping sum", r"\textstyle\sum_{n<N}(g_n-g_{n+1})=g_0-g_N", _same)
EMPTY = Rule("No steps", r"N=0", _same)
TIED = Rule("Tied prior", r"\varphi=q_{\vartheta,T}", _same)


class NotTheSameFlow(ValueError):
    """The closed system is not that of section 3 at the parameters claimed."""


@dataclass(frozen=True)
class PathIdentity(Step):
    """An identity between log-densities along a path.

    kernel: log F at n if F is an exact reversal. prior: log φ(x_0) if it is tied. count: steps in the numerical check.
    """

    kernel: Expr | None = None
    prior: Expr | None = None
    count: int = 4

    @cached_property
    def residual(self) -> float:
        """Both sides for N = count with random numbers for the log-densities, tied as the kernel and the prior say."""
        rng = np.random.default_rng(11)
        values = {(f, i): rng.standard_normal() for f in (PRIOR, NOISED, MODEL, FORWARD, BACKWARD) for i in range(5)}

        def number(expr: Expr) -> float:
            expr = expr.subs(N, self.count).doit()
            if self.kernel is not None:
                expr = expr.replace(FORWARD, lambda i: self.kernel.subs(n, i))
            if self.prior is not None:
                expr = expr.replace(PRIOR, lambda i: self.prior)
            for (f, i), value in values.items():
                expr = expr.subs(f(i), value)
            return float(expr)

        return abs(number(self.before) - number(self.after))


class Correspondence(ParameterMap, Viewed):
    """A sampler learns as the flow of section 3 does at other parameters, see ParameterMap, with its views."""

    @property
    def _views(self) -> Mapping[str, Callable[..., str]]:
        """No code where nothing is mapped: there is nothing to run."""
        moved = any(value != Symbol(name, real=True) for name, value in self.mapping.items())
        return {name: view for name, view in VIEWS.items() if moved or name != "numpy"}


class Shrunk(Mixture):
    """The target with its means times decay: what OU noise makes of it, with the variance to match."""

    def mean(self, k: Any) -> Any:
        return DECAY * Mean(self.mean_name, k)


def _flow(p: Mixture) -> ClosedSystem:
    return close(gradient_flow(ReverseKL(mixture(), p, BETA)))


def _noised_overlaps() -> dict[str, Expr]:
    """The parameters at which the plain flow is that on the noised target: both are derived and compared.

    Raises NotTheSameFlow if any equation or expectation differs.
    """
    m, v = Symbol("m", real=True), Symbol("v", positive=True)
    mean, variance = noise_law()
    scale = mean.coeff(m)
    powers = {"m": scale, "c": scale**2}
    on_noised, plain = _flow(Shrunk("p", "L", "pi", "nu", "u", "rho")), _flow(target())

    def mapped(expr: Expr) -> Expr:
        return expr.replace(
            lambda e: isinstance(e, Indexed) and str(e.base) in powers, lambda e: powers[str(e.base)] * e
        )

    pairs = [(on_noised.gamma, plain.gamma)]
    pairs += [(on_noised.equations[name], plain.equations[name]) for name in plain.equations]
    pairs += [(one.value, other.value) for one, other in zip(on_noised.tables, plain.tables, strict=True)]
    for left, right in pairs:
        if linearity(left - mapped(right)) != 0:
            raise NotTheSameFlow(f"{left} is not {mapped(right)}")
    names = {name: Symbol(name, real=True) for name in NAMES}
    return (
        names
        | {name: power * names[name] for name, power in powers.items()}
        | {"u": variance.xreplace({v: names["u"]})}
    )


def _weight(kernel: Expr, prior: Expr | None) -> tuple[list[PathIdentity], Expr]:
    """Steps from log W to what the reversal of the noise leaves of it; kernel and prior as in PathIdentity."""
    found: list[PathIdentity] = []
    ends = NOISED(N) - PRIOR(0)
    left = Sum(expand(BACKWARD(n) - kernel), (n, 0, N - 1))
    forms = [
        (None, ends + Sum(BACKWARD(n) - FORWARD(n), (n, 0, N - 1))),
        (REVERSAL, ends + left),
        (TELESCOPE, ends + left.doit()),
    ]
    if prior is not None:
        forms.append((TIED, forms[-1][1].subs(PRIOR(0), prior)))
    for (_, before), (rule, after) in itertools.pairwise(forms):
        assert rule is not None
        found.append(PathIdentity(r"\log W", rule, before, after, kernel, prior))
    return found, forms[-1][1]


def _expect(expr: Expr, expected: Expr) -> None:
    if expand(expr - expected) != 0:
        raise NotTheSameFlow(f"log W is {expr}, not {expected}")


def _reversal(data: Any) -> Expr:
    """log F(x_{n+1}|x_n) of the exact reversal of B for data whose noised log-densities are `data`."""
    return BACKWARD(n) + data(n + 1) - data(n)


def ideal_control() -> Correspondence:
    """Control = score of the noised target, continuous time: KL(Q‖P) = KL(φ‖p_T), the flow on the noised target."""
    found, left = _weight(_reversal(NOISED), None)
    _expect(left, NOISED(0) - PRIOR(0))
    flow = _flow(target())
    return Correspondence(flow, _noised_overlaps(), tuple(found))


def tied_control() -> Correspondence:
    """Control = score of q_ϑ noised, prior φ = q_{ϑ,T}, continuous time: KL(Q‖P) = KL(q_ϑ‖p), the flow of ϑ on p."""
    found, left = _weight(_reversal(MODEL), MODEL(0))
    _expect(left, NOISED(N) - MODEL(N))
    flow = _flow(target())
    return Correspondence(flow, {name: Symbol(name, real=True) for name in NAMES}, tuple(found))


def no_steps() -> Correspondence:
    """N = 0: KL(Q‖P) = KL(φ‖p), the flow of φ on p."""
    chain = NOISED(N) - PRIOR(0) + Sum(BACKWARD(n) - FORWARD(n), (n, 0, N - 1))
    left = chain.subs(N, 0).doit()
    _expect(left, NOISED(0) - PRIOR(0))
    step = PathIdentity(r"\log W", EMPTY, chain, left, count=0)
    return Correspondence(_flow(target()), {name: Symbol(name, real=True) for name in NAMES}, (step,))
