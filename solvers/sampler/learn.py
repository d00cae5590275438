"""Learning the prior, and a mixture control with it: the gradient flow of an objective on paths, from fresh paths.

A stochastic approximation: paths are drawn anew at every step of the integrator and are the same within it, so its
error estimate sees how smooth the flow is and not how noisy, and errors of the gradient average out along the way
instead of bending it. What they leave is told by independent runs, see solvers.sampler.solve.
Source: Robbins, Monro, Ann. Math. Stat. 22, 400 (1951).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import RK23
from scipy.special import log_softmax

from solvers.closed import mobility
from solvers.results.outcomes import TOO_LONG
from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import Noise
from solvers.sampler.gradients import Slope
from solvers.sampler.limits import overshoot
from solvers.sampler.model import Bars, Mixture, Sampler
from solvers.sampler.objectives import LEVEL, REVERSE_KL, Objective
from solvers.sampler.orthogonal import depends_on_step_only
from solvers.sampler.steering import Schedule

__all__ = ["Learning"]

Array = NDArray[np.float64]
MAX_STEPS = 20_000


@dataclass(frozen=True)
class Learning:
    """Which parameters of which mixture move, by which metric, and what their gradients are drawn from.

    paths: behind every gradient, shared out over the components of the prior, at least two for each. rng: what draws
    them. learn: names of mixtures, with any of means, weights, variances. weights, metric: those of
    solvers.closed.mobility. walker: who runs the paths. objective: what is descended. steered: what moves of the
    schedule.
    """

    sampler: Sampler
    paths: int
    rng: np.random.Generator
    learn: dict[str, tuple[str, ...]]
    weights: str = "softmax"
    metric: str = "euclidean"
    walker: Walker = PLAIN
    objective: Objective = REVERSE_KL
    steered: tuple[str, ...] = ()

    def within(self, sampler: Sampler) -> Sampler:
        """The chain that the gradient needs: in the span alone, where the rest of log W has one law whatever moves, and
        its mean is not asked for."""
        moves = self.narrows or self.objective.balances or not depends_on_step_only(sampler)
        return sampler if moves else replace(sampler, dimension=sampler.directions)

    @property
    def narrows(self) -> bool:
        """Whether steps may become too long for the variances, or the other way round."""
        return bool(self.steered) or any("variances" in learned for learned in self.learn.values())

    def draw(self) -> Noise:
        """Fresh paths for one gradient, or one step."""
        chain = self.within(self.sampler)
        each = -(-self.paths // len(chain.mixtures["prior"].log_w))
        return self.objective.draw(chain, each, self.rng)

    def slopes(self, sampler: Sampler, noise: Noise) -> tuple[dict[str, Slope], Schedule]:
        """The gradient of every mixture that moves, of LEVEL, and of the schedule, from these paths."""
        chain = self.within(sampler)
        bars = Bars.zeros(chain)
        _, slopes = self.objective.gradient(chain, noise, self.walker, bars if self.steered else None)
        return slopes, Schedule.slope(sampler, bars)

    def velocity(self, sampler: Sampler, noise: Noise) -> tuple[dict[str, Slope], Schedule]:
        """dμ/dt, d log v/dt and dθ/dt of every learned mixture, dc/dt of LEVEL, and the same of the schedule; zero for
        what does not move."""
        out = {}
        slopes, schedule = self.slopes(sampler, noise)
        for name, learned in self.learn.items():
            slope, w = slopes[name], sampler.mixtures[name].weights
            # The estimate gives whole slopes: nothing is known of a w_k in them.
            whole = dict.fromkeys(("means", "variances", "weights"), 0)
            rates = mobility.rates(self, whole, w, np.exp(sampler.mixtures[name].log_var), sampler.dimension)
            means, variances, weights = (rates[f"rate_{group}"] * (group in learned) for group in whole)
            out[name] = Slope(-means[:, None] * slope.mean, -variances * slope.log_var, -weights * slope.theta)
        if self.objective.balances:
            out[LEVEL] = Slope(np.empty(0), np.empty(0), -slopes[LEVEL].theta)
        return out, schedule.moved(self.steered)

    def decrease(self) -> float:
        """−dD/dt along the flow, in nats per unit of time, without bias: slopes and velocities are from paths of their
        own, since a gradient times itself has the noise of both. So an estimate of 0 may be negative."""
        slopes, along = self.slopes(self.sampler, self.draw())
        velocity, schedule = self.velocity(self.sampler, self.draw())
        total = -float(along.log_eta @ schedule.log_eta + along.logits @ schedule.logits)
        for name, v in velocity.items():
            slope = slopes[name]
            total -= float(np.sum(slope.mean * v.mean) + slope.log_var @ v.log_var + slope.theta @ v.theta)
        return total

    def pack(self, sampler: Sampler) -> Array:
        """All parameters of the learned mixtures as one vector, θ is log w at the start; c, if it is learned; and what
        moves of the schedule."""
        parts = [(m.mean.ravel(), m.log_var, m.log_w) for m in (sampler.mixtures[name] for name in self.learn)]
        level = [np.array([sampler.level])] if self.objective.balances else []
        steered = [Schedule.of(sampler).packed(self.steered)]
        return np.concatenate([a for part in parts for a in part] + level + steered)

    def unpack(self, y: Array) -> Sampler:
        """The sampler with these parameters."""
        mixtures, first = dict(self.sampler.mixtures), 0
        for name in self.learn:
            old = mixtures[name]
            K, size = len(old.log_w), old.mean.size
            mean, log_var, theta = np.split(y[first : first + size + 2 * K], [size, size + K])
            mixtures[name] = Mixture(mean.reshape(old.mean.shape), log_var, log_softmax(theta))
            first += size + 2 * K
        level = float(y[first]) if self.objective.balances else self.sampler.level
        schedule = Schedule.of(self.sampler).unpacked(y[first + self.objective.balances :], self.steered)
        return schedule.put(replace(self.sampler, mixtures=mixtures, level=level), self.steered)

    def run(self, times: Array, rtol: float, atol: float) -> tuple[list[Sampler], int]:
        """The samplers at the given increasing times, and the status, a key of results.STATUS. While variances are
        learned the step of the chain may become too long for them."""
        y = self.pack(self.sampler)
        found = [self.unpack(y) for t in times if t <= 0]
        if len(found) == len(times) or not (any(self.learn.values()) or self.steered):
            return found + [self.sampler] * (len(times) - len(found)), 0

        noise = self.draw()

        def rhs(_: float, y: Array) -> Array:
            velocity, schedule = self.velocity(self.unpack(y), noise)
            parts = [(v.mean.ravel(), v.log_var, v.theta) for v in velocity.values()]
            return np.concatenate([a for part in parts for a in part] + [schedule.packed(self.steered)])

        with np.errstate(over="ignore", invalid="ignore"):
            solver = RK23(rhs, 0.0, y, float(times[-1]), rtol=rtol, atol=atol)
            for _ in range(MAX_STEPS):
                if not np.all(np.isfinite(solver.f)):  # a step would be nan, and be tried for ever
                    return found, 2
                solver.step()
                if solver.status == "failed" or not np.all(np.isfinite(solver.y)):
                    return found, 2
                if self.narrows and not overshoot(self.unpack(solver.y)) < 2:
                    return found, TOO_LONG
                dense = solver.dense_output()
                found += [self.unpack(dense(t)) for t in times[len(found) :] if t <= solver.t]
                if solver.status == "finished":
                    return found, 0
                noise = self.draw()
                solver.f = rhs(solver.t, solver.y)
        return found, 1
