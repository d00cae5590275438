"""Clones of paths of the reduced chain, and when the sampler of a problem decides between modes.

Two copies of a path that part after n steps, and from there draw noise of their own, end in the same mode with
probability E Σ_l ρ_l(x_N) ρ_l(x'_N). With the exact control and many steps this is an expectation under the target
noised for the time that is left, which the closed equations know, and so do the slopes of score and drift there.
Source: derivations/documents/speciation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from solvers.closed import systems
from solvers.expectations import gaussian_softmax
from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import Noise, component
from solvers.sampler.model import Sampler

__all__ = ["closed_form", "same_mode", "slopes", "times"]

Array = NDArray[np.float64]


def same_mode(
    sampler: Sampler,
    splits: Sequence[int],
    paths: int,
    rng: np.random.Generator,
    report: Callable[[], None] = lambda: None,
    walker: Walker = PLAIN,
) -> tuple[Array, Array]:
    """Probability that clones that part after n steps end in the same mode, and its standard error, for n in `splits`.

    paths: pairs behind each of them. The noise is the same for all of them, so that they make a smooth curve.
    report: called after each. walker: who runs them.
    """
    one, other = (Noise.draw(sampler, paths, rng) for _ in range(2))
    chosen = component(sampler.mixtures["prior"], one.uniform)
    ends = walker.forward(sampler, one, chosen).modes
    together = []
    for n in splits:
        together.append((ends * walker.forward(sampler, one.then(other, n), chosen).modes).sum(-1))
        report()
    found = np.array(together)
    return found.mean(-1), found.std(-1, ddof=1) / np.sqrt(paths)


def closed_form(sampler: Sampler, tau: float) -> float:
    """The same for infinitely many steps with the exact control, parted at noise time τ: Σ_l π_l E_l[Σ_k ρ_k²].

    Raises ValueError if the modes have different variances.
    """
    target = sampler.mixtures["target"]
    if not target.one_variance:
        raise ValueError("target.variances: must be equal for the closed form")
    c = target.mean @ target.mean.T
    variance = float(np.exp(target.log_var[0]))
    at = systems.load(systems.read("sampler_ideal_control")).at
    noised = at(s=c, m=c, c=c, v=variance, u=variance, decay=float(np.exp(-tau)))
    c, u, log_pi = noised["c"], noised["u"], target.log_w
    # The table of second moments in the forward KL, for q = p.
    flow = systems.load(systems.read("forward_kl"))
    tables = flow.tables(c, c, log_pi, c, log_pi, u, u, sampler.dimension, gaussian_softmax)
    squares = dict(zip(flow.TABLES, tables, strict=True))["PP"]
    return float(np.exp(log_pi) @ np.einsum("lkk->l", squares))


def slopes(sampler: Sampler, tau: float) -> tuple[float, float]:
    """Largest eigenvalues of ∇∇log p_τ and of the slope of the forward drift, at the mean of the target noised for τ.

    Directions across the span are stable and left out.
    """
    module, target = sampler.module, sampler.mixtures["target"]
    saved = module.noise(target.mean, target.log_var, np.float64(tau))
    mixture = saved["mean_t"], saved["log_var_t"], target.log_w
    R = sampler.directions
    x, rho = np.tile(target.weights @ saved["mean_t"], (R, 1)), np.zeros(R)
    given = (x, rho, *mixture, sampler.dimension, sampler.log_base, 0.0, 1.0, 0.0)  # the forward drift is the score
    score = module.score(*given)
    # Row b: the derivative of coordinate b of a(x) x + pull, by the adjoint, and of the x beside a(x).
    each = np.eye(R)
    bars = module.score_adjoint(*given, score, np.zeros(R), x[0], each, np.zeros(R), 0 * each)
    largest = float(np.linalg.eigvalsh(bars["x"] + score["shrink"][:, None] * each)[-1])
    (by_x, _), (by_score, _) = (sampler.drifts[name][0] for name in (("x", False), ("target", True)))
    return largest, by_x + by_score * largest


def times(sampler: Sampler) -> dict[str, float]:
    """Noise times at which a sampler with the exact control decides, by three definitions; nan for one that never is.

    double_well: −log p_τ ceases to be convex at the mean. unstable: the drift has its first unstable direction there.
    covariance: ½ log Λ, Λ the largest eigenvalue of the target's covariance.
    """
    target = sampler.mixtures["target"]
    pi, centred = target.weights, target.mean - target.weights @ target.mean
    largest = np.linalg.eigvalsh(centred.T @ (pi[:, None] * centred))[-1] + pi @ np.exp(target.log_var)
    found = {"covariance": 0.5 * float(np.log(largest))}
    for which, name in enumerate(("double_well", "unstable")):

        def slope(tau: float, which: int = which) -> float:
            return slopes(sampler, tau)[which]

        late = 1.0
        while slope(late) > 0:
            late *= 2
        found[name] = float(brentq(slope, 0.0, late, xtol=1e-12)) if slope(0.0) > 0 else float("nan")
    return found
