"""How noisy estimates of the gradient of a sampler's loss are, and how long they take: those in use, and others.

Noise: √(paths × variance) of ∂D/∂mean, the root of its sum over entries, over independent estimates from EACH paths of
every component. Estimates of what enters by the start: *along paths* by the adjoint, with starts at random or at Sobol
points, and *starts*, the likelihood ratio of their law (solvers.sampler.gradients). Of what a control changes on the
way: *along paths*; *landing*, the adjoint less the score of the forward kernels, whose mean is 0 and whose noise is the
same where log W is constant; and *ratio*, that score times −log W less its mean, with the slope of the backward
kernels. The last two are in array code, here only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from tests.benchmarks.samplers import _jax_gradient
from tests.benchmarks.turns import Row

__all__ = ["measure"]

D, STEPS, HORIZON, EACH = 6, 16, 1.0, 128
PRIOR = ([[0.9, 0.3], [-0.7, -0.2]], [1.2, 1.2], [0.45, 0.55])
TARGET = ([[2.5, 0.0], [-2.5, 0.0]], [1.0, 1.0], [0.35, 0.65])
CONTROL = ([[2.2, 0.2], [-2.0, 0.1]], [1.0, 1.0], [0.5, 0.5])


def measure(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """noise: rows {method, reference, control, of, estimate, noise}; seconds: rows {estimate, code, microseconds} a
    path, of processor time, of the sampler that the benchmark of samplers has in jax too."""
    repeats = 8 if quick else 100
    noise: list[Row] = []
    for key in [("dis", "ou", "exact")] if quick else _keys():
        for row in _noise(_sampler(*key), repeats):
            noise.append(dict(zip(("method", "reference", "control"), key, strict=True)) | row)
            say(f"{' '.join(key)}: ∂D/∂mean of the {row['of']}, {row['estimate']}: {row['noise']:.3f}")
    return {"noise": noise, "seconds": _seconds(3 if quick else 20, say)}


def _keys() -> list[tuple[str, str, str]]:
    """Every sampler in which something can be learned by another estimate than the adjoint's."""
    from solvers.sampler.model import chain_module

    return sorted(key for key in chain_module().DRIFTS if key[1] == "ou" or key[2] == "mixture" or key[0] == "dis")


def _sampler(method: str, reference: str, control: str) -> Any:
    from solvers.sampler.model import Mixture, Sampler

    mixtures = {"prior": Mixture.of(*PRIOR), "target": Mixture.of(*TARGET)}
    found = Sampler(method, reference, control, STEPS, HORIZON, D, mixtures)
    return replace(found, mixtures=mixtures | dict.fromkeys(found.controls, Mixture.of(*CONTROL)))


def _noise(sampler: Any, repeats: int) -> list[Row]:
    from solvers.sampler.backends import WALKERS
    from solvers.sampler.gradients import path_gradient, start_gradient
    from solvers.sampler.paths import Noise

    walker, K = WALKERS["numba"].within(1), len(PRIOR[2])
    in_drifts = any(name == "prior" for name, _ in sampler.drifts)
    draws = {
        "at random": lambda rng: Noise.draw(sampler, K * EACH, rng),
        "Sobol": lambda rng: Noise.spread(sampler, EACH, rng),
    }
    rows = []
    for starts, draw in draws.items():
        rng, found = np.random.default_rng(1), []
        for _ in range(repeats):
            noise = draw(rng)
            one = {f"along paths, {starts}": path_gradient(sampler, noise, walker)[1]}
            if not in_drifts and starts == "Sobol":
                one["starts"] = start_gradient(sampler, noise, walker)[1]
            if sampler.controls and starts == "Sobol":
                one |= {"landing": _on_the_way(sampler, noise, landing=True)}
                one |= {"ratio": _on_the_way(sampler, noise, landing=False)}
            found.append(one)
        for estimate in found[0]:
            for mixture in found[0][estimate]:
                if mixture == "target" or (mixture == "prior" and estimate in ("landing", "ratio")):
                    continue
                means = np.array([one[estimate][mixture].mean for one in found])
                noise_of = float(np.sqrt(EACH * means.var(0, ddof=1).sum()))
                rows.append({"of": mixture, "estimate": estimate, "noise": noise_of})
    return rows


def _on_the_way(sampler: Any, noise: Any, *, landing: bool) -> dict[str, Any]:
    """Slopes in the means of controls, of starts as they are: `landing` or `ratio`, in array code."""
    from solvers.sampler.chain import _forward
    from solvers.sampler.model import scores_of

    module, eta, base, scores = sampler.module, float(sampler.eta[0]), sampler.log_base, scores_of(sampler)
    K, R = len(PRIOR[2]), sampler.directions
    chosen = np.arange(K * EACH) % K
    points, log_weight, moves, increments = _forward(sampler, noise, chosen, keep=True)
    weights = (sampler.mixtures["prior"].weights / EACH)[chosen]
    loss = -log_weight
    mean = np.bincount(chosen, weights=loss) / EACH
    factor = -np.ones(K * EACH) if landing else EACH / (EACH - 1) * (loss - mean[chosen])
    of_mean, of_rest = np.zeros((*scores.used.shape, K, R)), np.zeros((*scores.used.shape, K))
    nothing = (np.zeros_like(weights), np.zeros_like(points[0].x))
    x_bar, rho_bar, of_forward = nothing[1], nothing[0], nothing
    for n in reversed(range(sampler.steps + 1)):
        point, of_backward, explicit = points[n], nothing, nothing
        if n > 0:
            before, xi, moved = points[n - 1], noise.at(n), moves[n - 1]
            given = (before.x, before.rho, *before.drifts[0], *point.drifts[1], *xi, eta, base)
            of_weight = module.weight_adjoint(*given, increments[n - 1], -weights)
            of_backward = (of_weight["shrink_b"], of_weight["pull_b"])
        if n < sampler.steps:
            # ∂ log F(x'|x) at fixed points: √(η/2) ξ·∂h, with h = a x + pull
            ahead, along, _ = noise.at(n + 1)
            by = np.sqrt(eta / 2) * weights * factor
            explicit = (by * ((point.x * ahead).sum(1) + np.sqrt(point.rho) * along), by[:, None] * ahead)
        asked = tuple(a + b for a, b in zip(of_forward, explicit, strict=True)) if landing else explicit
        for j, saved in point.scores.items():
            at = (point.x, point.rho, *scores.at(n, j), saved)
            bars = module.score_adjoint(*at, 0 * weights, *asked, *of_backward)
            of_mean[n, j] = bars["mean"].sum(0)
            if landing:
                whole = module.score_adjoint(*at, -weights, *of_forward, *of_backward)
                x_bar, rho_bar = x_bar + whole["x"], rho_bar + whole["rho"]
        if n > 0 and landing:
            of_step = module.step_adjoint(before.x, before.rho, *before.drifts[0], *xi, eta, moved, x_bar, rho_bar)
            of_forward = tuple(of_step[name] + of_weight[name] for name in ("shrink_f", "pull_f"))
            x_bar, rho_bar = of_step["x"] + of_weight["x"], of_step["rho"] + of_weight["rho"]
    found: dict[str, Any] = scores.pulled_back(of_mean, of_rest, of_rest, np.zeros((K, R + 1)))
    return found


def _seconds(calls: int, say: Callable[[str], None]) -> list[Row]:
    """Of one gradient of 4096 paths of annealed Langevin (CMCD) in ten dimensions."""
    from solvers.sampler.backends import WALKERS
    from solvers.sampler.gradients import path_gradient
    from solvers.sampler.paths import Noise
    from tests.benchmarks.samplers import _sampler as annealed

    paths, sampler = 4096, annealed(10)
    rng = np.random.default_rng(0)
    walkers = {name: WALKERS[name].within(1) for name in ("numba", "numpy")}
    tasks: dict[tuple[str, str], Callable[[int], Any]] = {
        ("log W alone, as starts take it", "numba"):
            lambda n: walkers["numba"].forward(sampler, Noise.spread(sampler, paths // 2, rng)),
        ("along paths", "numba"):
            lambda n: path_gradient(sampler, Noise.spread(sampler, paths // 2, rng), walkers["numba"]),
        ("along paths", "numpy"):
            lambda n: path_gradient(sampler, Noise.spread(sampler, paths // 2, rng), walkers["numpy"]),
    }  # fmt: skip
    if find_spec("jax"):
        tasks["along paths, in R^d", "jax"] = _jax_gradient(10, paths, "cpu")
    else:
        say("jax comes with the extra [bench]: left out")
    rows = []
    for (estimate, code), task in tasks.items():
        task(0)
        best = np.inf
        for n in range(calls):
            begin = time.process_time()
            task(n)
            best = min(best, time.process_time() - begin)
        rows.append({"estimate": estimate, "code": code, "microseconds": 1e6 * best / paths})
        say(f"{estimate}, {code}: {rows[-1]['microseconds']:.1f} µs of processor time a path")
    return rows
