"""What a sampler must keep to for its numbers to mean something: the length of its steps, and what float64 can hold.

A step x' = x + η (a(x) x + …) + … overshoots where 1 + η a < −1: what the drift pulls in comes out larger on the other
side, and a Euler chain of that drift has no stationary law. By the derived score a = c_x − Σ_j c_j Σ_k r_k/v_k, so
whatever x is, −a is at most Σ_j c_j/(least v of score j) − c_x, with the largest v where c_j < 0. Both kernels of the
chain are such steps, the backward one that of paths from the target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from solvers.problem import Problem, ProblemError
from solvers.results.outcomes import LOST, TOO_LONG
from solvers.sampler.model import Mixture, Sampler, Scores
from solvers.sampler.paths import Paths

__all__ = [
    "NEGLIGIBLE",
    "check",
    "finest",
    "overshoot",
    "pull",
    "rounding",
    "sampler_of_variances",
    "status_of",
    "unlikely",
]

Array = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
NEGLIGIBLE = 1e-6  # nats: less than any digit that is shown, where log-weights have no spread to compare with
#: By Markov's inequality at most e^{−50} of correct runs have one log-weight of n beyond log n + 50.
UNLIKELY = 50.0
#: The gradient is a mean over some thousand paths: tolerances of a step beyond these would be lost in its noise.
FINEST_RTOL, FINEST_ATOL = 1e-4, 1e-5


def finest(rtol: float, atol: float) -> tuple[float, float]:
    """The tolerances that learning has, of those asked for."""
    return max(rtol, FINEST_RTOL), max(atol, FINEST_ATOL)


def sampler_of_variances(
    method: str, reference: str, control: str, steps: int, horizon: float, dimension: int, prior: Array, target: Array,
    shares: Array | None = None, annealing: Array | None = None,
) -> Sampler:  # fmt: skip
    """A sampler with these variances (K,), (L,) and all means at the origin; a mixture control begins as the prior."""
    mixtures = {
        name: Mixture.of(np.zeros((len(v), 1)), v, np.full(len(v), 1 / len(v)))
        for name, v in {"prior": prior, "target": target}.items()
    }
    sampler = Sampler(method, reference, control, steps, horizon, dimension, mixtures)
    return replace(sampler, shares=shares, annealing=annealing).begun()


def pull(sampler: Sampler) -> tuple[Array, Array]:
    """Largest −a(x) over all x, of the forward drift at steps 0..N−1 and of the backward drift at 1..N: (N,) each, both
    of a step of length η_0..η_{N−1}."""
    scores = Scores(sampler)
    total = -scores.c_x
    for j, (_, log_var) in enumerate(scores.laws):
        c, precision = scores.c[:, j], np.exp(-log_var)
        most = np.where(c > 0, precision.max(1, keepdims=True), precision.min(1, keepdims=True))
        total += np.multiply(c, most, out=np.zeros_like(c), where=c != 0)
    return total[:-1, 0], total[1:, 1]


def overshoot(sampler: Sampler) -> float:
    """Largest η (−a(x)) over both kernels, all steps and all x: the chain is stable below 2."""
    if sampler.steps == 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return float(max((sampler.eta * side).max() for side in pull(sampler)))


def rounding(sampler: Sampler, paths: Paths | None = None) -> float:
    """What rounding may take from a log-weight, in nats: half an ulp of its largest summands.

    Summands of order d come with a coefficient: η times one of order a + a', at each of N steps, and the difference
    between the variances of prior and target; ϱ is at most some d times the largest variance. paths: those evaluated,
    for what they add up to.
    """
    base = float(np.exp(-sampler.log_base))
    log_vars = np.concatenate([sampler.mixtures[name].log_var for name in ("prior", "target")])
    widest = float(np.exp(log_vars.max()))
    count = sampler.dimension - sampler.directions
    step = 0.0
    if sampler.steps:
        a, b = (float(np.max(np.abs(side))) for side in pull(sampler))
        step = sampler.horizon * ((a + b) ** 2 * widest / 4 + (a + b + 1 / widest) * (1 + base * widest) / 2)
    ends = float(np.max(np.abs(log_vars - sampler.log_base)) + widest * np.max(np.abs(np.exp(-log_vars) - base))) / 2
    total = count * (step + ends)
    if paths is not None and len(paths.log_weight):
        total += float(np.max(np.abs(paths.log_weight)))
    return EPSILON / 2 * total


def check(problem: Problem) -> None:
    """Refuse steps by which a drift overshoots, and a dimension whose log-weights float64 does not hold.

    A problem without a sampler passes. Raises  ProblemError that names the key, and the values that would do.
    """
    options = problem.sampler
    if options is None:
        return
    prior = problem.family.entries
    if options.refine is not None and options.refine.variance is not None:
        prior = np.append(prior, options.refine.variance)
    sampler = sampler_of_variances(
        options.method, options.reference, options.control, options.steps, options.horizon, problem.dimension, prior,
        problem.target.variances, options.shares, options.annealing,
    )  # fmt: skip
    if not overshoot(sampler) < 2:
        sides = np.array(pull(sampler))
        side, n = np.unravel_index(np.argmax(sampler.eta * sides), sides.shape)
        which, most = ("forward", "backward")[int(side)], float(sides[side, n])
        even = f"sampler.steps: is {options.steps}; the step horizon / steps"
        step = even if options.shares is None else f"sampler.schedule: step {n + 1} of {options.steps}"
        raise ProblemError(
            f"{problem.name}: {step} is {sampler.eta[n]:.4g}, must be < {2 / most:.4g}: the {which} drift pulls in at "
            f"up to {most:.4g} and overshoots from twice its inverse on"
        )
    if (lost := rounding(sampler)) > 1:
        raise ProblemError(
            f"{problem.name}: dimension: is {problem.dimension}; log-weights lose up to {lost:.2g} nats to rounding, "
            f"must be at most about {problem.dimension / lost:.2g} for this sampler"
        )


def unlikely(ahead: Array, behind: Array) -> bool:
    """Whether log-weights are larger than E W = 1 of paths from the prior allows, or smaller than E 1/W = 1 of those
    from the target (both normalised): e^{−UNLIKELY} of correct ones are."""
    limit = np.log(len(ahead)) + UNLIKELY
    return bool(np.max(ahead) > limit or np.min(behind) < -limit)


def status_of(sampler: Sampler, ahead: Array, behind: Array, lost: float, error: float) -> int:
    """The status of an evaluation by log-weights of paths either way, of which rounding takes `lost` nats, and whose
    mean has the standard error `error`: 0, or a key of results.STATUS."""
    if not overshoot(sampler) < 2:
        return TOO_LONG
    if not (np.all(np.isfinite(ahead)) and np.all(np.isfinite(behind))):
        return 2
    return LOST if unlikely(ahead, behind) or not lost <= max(error, NEGLIGIBLE) else 0
