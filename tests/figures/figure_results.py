"""Results made up for the tests of figures: the shapes and attributes of solved ones, at no cost."""

import numpy as np

from solvers import results
from solvers.problem import Problem

TINY = """
dimension = 3
[target]
separation = 2.0
[family]
components = 2
learn = ["means", "weights"]
[init]
scale = 0.5
samples = 2
seed = 3
[time]
end = 1.0
save = 5
"""


def made_up(problem: Problem, *, collapsed=(0, 1, 0), status=None, replicas=32, particles=64):
    """theory and simulation of a problem with curves of no meaning; the simulation is off the theory by 1/100.

    collapsed: of each sample, repeated as needed. status: of the theory's samples, default all 0.
    """
    n, times = problem.init.samples, problem.time.times
    K, L, T = problem.family.components, len(problem.target.c), len(times)
    pi, along = problem.target.weights, np.linspace(0, 1, T)
    collapsed = np.resize(collapsed, n).astype(bool)
    end = np.where(collapsed[:, None], np.eye(L)[0] * 0.98 + 0.02 / L, pi)
    masses = pi + along[None, :, None] * (end - pi)[:, None, :]
    length = problem.target.c.diagonal().max()
    m = length * np.linspace(-1, 1, n * K * L).reshape(n, 1, K, L) * along[None, :, None, None]
    w = np.broadcast_to(problem.family.weights, (n, T, K))
    s = np.broadcast_to(length * np.eye(K), (n, T, K, K))
    objective = np.where(collapsed, 0.7, 0.0)[:, None] + 3 * (1 - along)
    B = np.broadcast_to(end[:, None, :], (n, K, L))
    curves = {"m": m, "s": s, "w": w, "objective": objective, "mode_mass": masses}
    theory = results.run_dataset(
        problem,
        **curves,
        B=B,
        status=np.zeros(n, int) if status is None else np.array(status),
        quadrature_error=np.zeros((n, T)),
        system="a1b2",
        backend="numpy",
        rtol=1e-8,
        atol=1e-10,
    )
    simulation = results.simulation_dataset(
        problem,
        **{name: values + 0.01 for name, values in curves.items()},
        **{f"{name}_se": np.full(values.shape, 0.005) for name, values in curves.items()},
        B=B,
        status=np.zeros(n, int),
        backend="numpy",
        particles=particles,
        replicas=replicas,
        step=0.05,
    )
    return {"theory": theory, "simulation": simulation}
