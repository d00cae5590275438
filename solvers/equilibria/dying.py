"""How long a dying weight keeps a mode lost, from one early state: the equations of its component alone.

While a weight w is small its component moves at a speed of order w, and the others rest. So what is left to follow is
the mean of that component and the log-odds of its weight, λ = θ_k − θ_j with θ̇_j common to all others, λ̇ = θ̇_k − θ̇_j;
the others are where their velocities vanish, given these (to first order in the distance from it, by the Jacobian).
The derivation, and what follows where w → 0, is derivations/documents/lifetimes.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from solvers.equilibria.field import Field, NoEquilibrium
from solvers.machine.ranks import DERIVATIVES
from solvers.problem import Problem, ProblemError
from solvers.problem.values import show
from solvers.results.errors import ResultError
from solvers.results.lifetimes import lost_modes

__all__ = ["DYING", "Dying", "dying_weight", "predicted_lifetimes"]

Array = NDArray[np.float64]

#: Why there is a prediction, or none.
DYING = {
    0: "predicted: one component dies and the others rest",
    1: "no mode was lost at that time",
    2: "the others do not rest, or no longer do at some time: no prediction",
}
#: Farther than this from their rest, in widths and in log-weights, the others are somewhere else.
AWAY = 1.0
CLOSE, ITERATIONS = 1e-5, 30  # the first order in what is left is taken into account, so its square is lost
RTOL, ATOL = 1e-6, 1e-8


@dataclass(frozen=True)
class Dying:
    """component: k, whose weight dies, from 0. turned_at: when w_k is smallest; the time asked about where it grows
    already. recovered_at: when no mode is lost any more. inf where that is later than asked."""

    component: int
    turned_at: float
    recovered_at: float


class _Alone:
    """The field of one component, the others at rest, near the last state asked for."""

    def __init__(self, field: Field, z: Array, component: int, follow: bool) -> None:
        K, width = field.K, field.space.directions
        places = np.arange(K * width).reshape(K, width)
        others = np.delete(np.arange(K), component)
        self.field, self.follow = field, follow
        self.mean, self.weight = places[component], K * width + component
        self.weights = K * width + others
        # One constant in θ is free, and λ says how the others stand to the dying one.
        self.ratios = self.weights[1:]
        self.free = np.concatenate([places[others].ravel(), self.ratios])
        self.z = z.copy()
        self.z[K * width :] -= np.logaddexp.reduce(z[self.weights])

    @property
    def start(self) -> Array:
        return np.append(self.z[self.mean], self.z[self.weight])

    def velocity(self, y: Array) -> Array:
        """ẏ of y = (mean, λ). Raises NoEquilibrium where the others do not rest nearby."""
        z, begun = self.z.copy(), self.z
        z[self.mean], z[self.weight] = y[:-1], y[-1]
        for _ in range(ITERATIONS):
            f, slope = self.field.derivatives(z)
            f = f.copy()
            common = f[self.weights].mean()
            slope = slope[:, self.free]
            shared = slope[self.weights].mean(0)
            f[self.weights] -= common
            f[self.weight] -= common
            slope = slope.copy()
            slope[self.weights] -= shared
            slope[self.weight] -= shared
            if not self.follow:
                return np.append(f[self.mean], f[self.weight])
            if not np.isfinite(slope).all():
                break
            step = -np.linalg.lstsq(slope[self.free], f[self.free], rcond=DERIVATIVES)[0]
            if np.abs(step).max(initial=0.0) < CLOSE:
                f = f + slope @ step
                z[self.free] += step
                z[self.weights] -= np.logaddexp.reduce(z[self.weights])
                self.z = z
                return np.append(f[self.mean], f[self.weight])
            z[self.free] += step
            if np.abs(z - begun)[self.free].max() > AWAY:
                break
        raise NoEquilibrium(f"{self.field.problem.name}: the other components do not rest nearby")

    def shares(self, y: Array, pi: Array) -> float:
        """The smallest mass of a mode in units of half of its own, less one."""
        self.velocity(y)
        z = self.z.copy()
        z[self.mean], z[self.weight] = y[:-1], y[-1]
        return float((self.field.observables(z)[1 : 1 + len(pi)] / pi).min() - 0.5)


def dying_weight(
    problem: Problem,
    s: Array,
    m: Array,
    w: Array,
    *,
    time: float,
    until: float,
    component: int | None = None,
    follow: bool = True,
    field: Field | None = None,
) -> Dying:
    """When the weight of a dying component turns round, and when its mode is recovered, from one state.

    What is integrated are the equations of that component, its mean and the log-odds of its weight, in log t; the
    others rest where these let them.

    Takes
        s (K, K), m (K, L), w (K,): overlaps and weights at `time` > 0, after the others have come to rest (at rates of
        order 1). until: how far to look. component: from 0, by default that of least weight. follow: False holds the
        others where they are instead. field: of the problem, where the caller has it.
    Raises
        NoEquilibrium where the others are, or come, farther than AWAY from a rest that Newton's method finds;
        ProblemError if not both means and weights are learned, or K is 1; what Field.of raises.
    """
    if set(problem.family.learn) != {"means", "weights"} or problem.family.components < 2:
        learn = list(problem.family.learn)
        raise ProblemError(
            f"{problem.name}: family.learn: is {show(learn)} of {problem.family.components} components; must be means "
            "and weights of at least 2, for one of them to die"
        )
    if not 0 < time < until:
        raise ValueError(f"time: is {time:g}; must be > 0 and < until = {until:g}")
    field = field or Field.of(problem)
    dying = int(np.argmin(w)) if component is None else component
    alone, pi = _Alone(field, field.state(s, m, np.log(w)), dying, follow), problem.target.weights

    def turns(log_t: float, y: Array) -> float:
        return float(alone.velocity(y)[-1])

    def recovers(log_t: float, y: Array) -> float:
        return alone.shares(y, pi)

    turns.direction = recovers.direction = 1  # type: ignore[attr-defined]
    recovers.terminal = True  # type: ignore[attr-defined]
    start = alone.start
    grows = alone.velocity(start)[-1] >= 0
    found = solve_ivp(
        lambda log_t, y: np.exp(log_t) * alone.velocity(y),
        (np.log(time), np.log(until)),
        start,
        method="LSODA",
        rtol=RTOL,
        atol=ATOL,
        events=(turns, recovers),
    )
    assert found.t_events is not None
    turned, recovered = (np.exp(times[0]) if len(times) else np.inf for times in found.t_events)
    return Dying(dying, time if grows else float(turned), float(recovered))


def predicted_lifetimes(
    run: xr.Dataset, *, time: float, until: float | None = None, samples: range | None = None, follow: bool = True
) -> xr.Dataset:
    """`dying_weight` for every start of a result that has a mode lost at a time, from its state at that save time.

    Takes
        run: RUN.nc of learned means and weights. time: a save time. until: default the last. samples: which starts.
    Returns
        Dataset along sample: dying (int8), why there is a prediction or none, a key of DYING; component, turned_at,
        recovered_at as in Dying, and nan (-1) where there is none. Beside them what the run itself did,
        measured_turned_at and measured_recovered_at, between its save times by interpolation in log t; inf where that
        is later than its end.
    Raises  ResultError if the result has no such save time; what dying_weight raises of its problem.
    """
    problem = Problem.parse(str(run.attrs["problem"]), "problem of the result")
    times = run["time"].values
    place = int(np.argmin(np.abs(times - time)))
    if not np.isclose(times[place], time):
        raise ResultError(f"time: is {time:g}; must be a save time, and the nearest is {times[place]:g}")
    chosen = range(run.sizes["sample"]) if samples is None else samples
    until = float(times[-1]) if until is None else until
    codes = np.full(len(chosen), 1, dtype=np.int8)
    components, found = np.full(len(chosen), -1, dtype=np.int64), np.full((4, len(chosen)), np.nan)
    lost = lost_modes(run["mode_mass"].values[:, place], problem.target.weights)
    field = Field.of(problem)
    for i, sample in enumerate(chosen):
        if lost[sample] < 1:
            continue
        path = run.isel(sample=sample)
        state = (path[name].values[place] for name in ("s", "m", "w"))
        try:
            one = dying_weight(problem, *state, time=time, until=until, follow=follow, field=field)
        except NoEquilibrium:
            codes[i] = 2
            continue
        codes[i], components[i] = 0, one.component
        after = times[place:], path["w"].values[place:, one.component], path["mode_mass"].values[place:]
        found[:, i] = one.turned_at, one.recovered_at, *_measured(*after, problem.target.weights)
    meanings = {"flag_values": np.array(list(DYING), dtype=np.int8), "flag_meanings": "predicted none_lost not_at_rest"}
    variables = {
        "dying": ("sample", codes, {"long_name": "whether a lifetime is predicted", **meanings}),
        "component": ("sample", components, {"long_name": "component whose weight dies, from 0; -1: no prediction"}),
    }
    events = {"turned_at": "its weight is smallest", "recovered_at": "no mode is lost any more"}
    for row, (name, what) in zip(
        found, [*events.items(), *((f"measured_{k}", v) for k, v in events.items())], strict=True
    ):
        how = "time in the run" if name.startswith("measured") else "predicted time"
        variables[name] = ("sample", row, {"units": "1", "long_name": f"{how} at which {what}"})
    about = {"time": time, "until": until, "follow": int(follow), "problem": problem.text}
    return xr.Dataset(variables, {"sample": list(chosen)}, about)


def _measured(times: Array, w: Array, mode_mass: Array, pi: Array) -> tuple[float, float]:
    """When w (T,) is smallest, and from when on no mode of mode_mass (T, L) is lost."""
    x, low = np.log(times), int(np.argmin(w))
    turned = float(times[low]) if low < len(w) - 1 else np.inf
    if 0 < low < len(w) - 1:  # the vertex of a parabola
        a, b, _ = np.polyfit(x[low - 1 : low + 2] - x[low], np.log(w[low - 1 : low + 2]), 2)
        turned = float(np.exp(x[low] - b / (2 * a))) if a > 0 else turned
    share = (mode_mass / pi).min(-1) - 0.5
    last = int(np.flatnonzero(share < 0)[-1])
    if last == len(share) - 1:
        return turned, np.inf
    part = share[last] / (share[last] - share[last + 1])
    return turned, float(np.exp(x[last] + part * (x[last + 1] - x[last])))
