"""ELBO of samplers by their schedule: constant, cosine, learned, and constant with the horizon that was learned.

python -m tests.benchmarks.schedules            the table of docs/samplers.md, lines of it as they are found
"""

from __future__ import annotations

from typing import Any

from solvers.ask import solve
from solvers.problem import Problem

PROBLEM = """
dimension = 10
[target]
separation = 2.0
weights = [0.35, 0.65]
[family]
components = 1
variances = {v}
learn = []
[init]
means = [[0.0]]
[time]
end = {end}
save = [{end}]
[sampler]
paths = {paths}
{sampler}
"""
#: The sampler of each case, the variance of its prior N(0, v I), which stays, and the horizon of the given schedules.
CASES: dict[str, dict[str, Any]] = {
    "DIS, exact control": {"sampler": 'control = "exact"', "v": 1.0, "T": 1.5},
    "MCD, annealed, no control": {"sampler": 'method = "mcd"', "v": 3.0, "T": 1.0},
}
NUMBERS, END, LEARNING, EVALUATED = (8, 16, 32), 100.0, 4096, 200_000


def row(name: str, N: int) -> str:
    """A line of the table."""
    case = CASES[name]
    annealed, T = "annealed" in name, case["T"]

    def found(more: str, end: float = 0.0, paths: int = EVALUATED, steps: str = f"steps = {N}\nhorizon = {T}") -> Any:
        text = PROBLEM.format(end=end, paths=paths, v=case["v"], sampler=f"{case['sampler']}\n{steps}\n{more}")
        return solve(Problem.parse(text)).isel(time=-1).squeeze()

    constant, cosine = (found(f'schedule = "{schedule}"') for schedule in ("constant", "cosine"))
    learned = found('learn = ["steps", "annealing"]' if annealed else 'learn = ["steps"]', END, LEARNING)
    horizon = float(learned.eta.sum())
    same = found("", steps=f"steps = {N}\nhorizon = {horizon}")
    given = f"schedule = {learned.eta.values.tolist()}\n"
    given += f"annealing = {learned.beta.values.tolist()}\n" if annealed else ""
    runs = (constant, cosine, same, found(given, steps=""))
    cells = [f"{float(run.elbo):.4f}({10_000 * float(run.elbo_se):.0f})" for run in runs]
    eta = learned.eta.values / horizon * N
    steps = f"{horizon:.2f}; {eta[0]:.2f}, {eta[N // 2]:.2f}, {eta[-1]:.2f}"
    beta = f"; β at half {float(learned.beta[N // 2]):.2f}" if annealed else ""
    return f"| {name} | {N} | {' | '.join(cells)} | {steps}{beta} |"


def main() -> None:
    for name in CASES:
        for N in NUMBERS:
            print(row(name, N), flush=True)


if __name__ == "__main__":
    main()
