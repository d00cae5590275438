"""How the prior of a sampler, and a control with it, begin to move: gradients in R^d at a start, replica by replica.

They are those of learning, see solvers.particles.sampler.engine and, of other objectives than the reverse KL, fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.machine.chance import Purpose
from solvers.particles.estimate import Report
from solvers.particles.replicas import over_groups
from solvers.particles.sampler.begin import model_of, placed
from solvers.particles.sampler.engine import gradients
from solvers.particles.sampler.fixed import at_fixed_paths
from solvers.particles.sampler.learn import LEVEL, Learner, path_gradient, velocity
from solvers.particles.sampler.optimisers import Euler
from solvers.particles.sampler.simulation import plan
from solvers.particles.streams import stream_keys
from solvers.problem import Problem
from solvers.problem.starts import Starts

__all__ = ["replica_velocities"]

Array = NDArray[np.float64]

AT_START = 0  # in the place of the cuts of a step, of which there is at least one


def replica_velocities(
    problem: Problem, begin: Starts, i: int, *, particles: int, replicas: int, backend: str, look: int = 0
) -> dict[str, dict[str, Array]]:
    """Of every mixture that learns: dm/dt (replica, K, L), ds/dt (replica, K, K), dtheta/dt and dlog v/dt (replica, K);
    of LEVEL, if there is one, dlog_z_learned/dt (replica, 1); and of a schedule that learns, dlog eta/dt (replica, N)
    and dbeta/dt (replica, N - 1) between the ends.

    Takes
        begin, i: the starts, and which; particles: paths behind the gradient of each replica; look: names its random
        numbers. m are overlaps of means with the modes, s with each other, theta with weights = softmax theta.
    Raises
        SimulationError for numbers that do not do, or arrays that do not fit in memory; BackendError.
    """
    options = problem.sampler
    assert options is not None
    cut = plan(problem, particles=particles, replicas=replicas, step=1e-3, backend=backend)
    start = model_of(problem, *placed(problem, begin, i), begin.theta[i])
    moves = {"prior": problem.family.learn} | dict.fromkeys(start.controls, options.learn)
    nu = start.mixtures["target"].means

    def run(group: range, report: Report) -> list[dict[str, dict[str, Array]]]:
        return [one(replica, report) for replica in group]

    def one(replica: int, report: Report) -> dict[str, dict[str, Array]]:
        words = (Purpose.GRADIENT, AT_START, i, look)
        key = np.asarray(stream_keys(problem.init.seed, words, range(replica, replica + 1))[0])
        learner = Learner(
            moves, problem.flow.weights, problem.flow.metric, particles, lambda: Euler(1.0, 1), lambda: report(0),
            options.objective, options.explore, options.steered,
        )  # fmt: skip
        differentiate = (at_fixed_paths if learner.detached else gradients)(key, learner, cut.within, cut.engine)(0)
        slopes = path_gradient(start, particles, differentiate, options.steered, detached=learner.detached)[1]
        moved = velocity(start, learner, slopes)
        report(1)
        found = {}
        if options.steered:
            speed, parts = moved.pop("schedule"), np.diff(start.beta)
            beta = np.cumsum(parts * (speed.annealing - parts @ speed.annealing))[:-1]
            rates = {"steps": ("dlog eta/dt", speed.steps), "annealing": ("dbeta/dt", beta)}
            found["schedule"] = dict(rates[name] for name in options.steered)
        for name, speed in moved.items():
            if name == LEVEL:
                found[name] = {"dlog_z_learned/dt": speed.log_weights}
                continue
            turned = speed.means @ start.mixtures[name].means.T
            found[name] = {
                "dm/dt": speed.means @ nu.T, "ds/dt": turned + turned.T, "dtheta/dt": speed.log_weights,
                "dlog v/dt": speed.log_variances,
            }  # fmt: skip
        return found

    rows = [row for group in over_groups(run, cut, 1, None) for row in group]
    return {name: {what: np.stack([row[name][what] for row in rows]) for what in rows[0][name]} for name in rows[0]}
