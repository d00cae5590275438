"""A result of two starts, filled with random numbers: for tests of files, which ask what is kept."""

import numpy as np

from solvers import results
from solvers.closed import systems
from solvers.problem import Problem

K, L, TIMES = 3, 2, 4

PROBLEM = Problem.parse(f"""
dimension = 5
[target]
separation = 3.0
[family]
components = {K}
variances = 1.5
[init]
scale = 0.1 # μ
samples = 2
seed = {2**63 - 1}
[time]
end = 3.0
save = {TIMES}
""")


def fields(seed=0, n=2):
    rng = np.random.default_rng(seed)
    return {
        "m": rng.standard_normal((n, TIMES, K, L)),
        "s": rng.standard_normal((n, TIMES, K, K)),
        "w": rng.dirichlet(np.ones(K), size=(n, TIMES)),
        "objective": rng.standard_normal((n, TIMES)),
        "mode_mass": rng.dirichlet(np.ones(L), size=(n, TIMES)),
    }


def run(status=(0, 0), **changes):
    n = len(status)
    given = fields(n=n) | {
        "B": np.tile([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], (n, 1, 1)),
        "status": np.array(status),
        "quadrature_error": np.full((n, TIMES), 1e-13),
        "system": systems.for_problem(PROBLEM).SYSTEM,
        "backend": "numpy",
        "rtol": 1e-8,
        "atol": 1e-10,
    }
    return results.run_dataset(PROBLEM, **(given | changes))


def simulation():
    errors = {f"{name}_se": np.abs(values) for name, values in fields(seed=1).items()}
    return results.simulation_dataset(
        PROBLEM,
        **fields(),
        **errors,
        B=np.tile([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], (2, 1, 1)),
        status=np.zeros(2),
        backend="numpy",
        particles=256,
        replicas=32,
        step=0.05,
    )
