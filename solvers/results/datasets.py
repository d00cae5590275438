"""Results as labelled arrays, in the form of RUN.nc from the theory and of SIM.nc from particles."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.problem import Problem
from solvers.results.checks import failed_are_nan, judged
from solvers.results.mechanisms import LABELS, UNDECIDED, collapse, flags, qualified
from solvers.results.outcomes import OUTCOMES, STATUS, UNKNOWN
from solvers.results.versions import versions

__all__ = [
    "REQUIRED",
    "SAMPLER_QUANTITIES",
    "attributes",
    "labels",
    "objective_of",
    "run_dataset",
    "sampler_variables",
    "schedule_variables",
    "simulation_dataset",
]

Array = NDArray[np.float64]

_TIMED = ("sample", "time")
# name: (dimensions, units, meaning). Overlaps are in units of squared length, where the modes have variance u.
_VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "m": ((*_TIMED, "component", "mode"), "length²", "overlap μ_k·ν_l of component k and mode l"),
    "s": ((*_TIMED, "component", "component_other"), "length²", "overlap μ_k·μ_j of components k and j"),
    "w": ((*_TIMED, "component"), "1", "weight of component k"),
    "v": ((*_TIMED, "component"), "length²", "variance of component k"),
    "objective": (_TIMED, "nat", "objective"),
    "mode_mass": ((*_TIMED, "mode"), "1", "mass of q on mode l"),
}
# And where covariances are diagonal; v are their means then.
_DIAGONAL = ((*_TIMED, "component", "coordinate"), "length²", "variance of a coordinate in component k")
LIMIT = "min(1 - 1/log10(paths_together), 0.7)"  # solvers.results.weights
# What a sampler adds: name -> (units, meaning), with dimensions sample and time.
SAMPLER_QUANTITIES = {
    "elbo": ("nat", "E log W under the sampler, a lower bound of log Z"),
    "eubo": ("nat", "E log W over paths noised from the target, an upper bound of log Z"),
    "log_z": ("nat", f"log of the mean weight; nan where pareto_k is above {LIMIT}"),
    "ess": (
        "1",
        "reverse effective sample size of infinitely many paths from the prior, (E W)² / E W², a fraction; nan where "
        f"pareto_k_ess is above {LIMIT}",
    ),
    "ess_forward": (
        "1",
        "the same from paths from the target, 1 / (E W E 1/W), a fraction; nan where pareto_k_forward is above "
        f"{LIMIT}, unless it is below 1 / (20 paths_together)",
    ),
    "ess_sample": ("1", "effective sample size of the n paths from the prior as drawn, (Σ W)² / (n Σ W²), a fraction"),
    "pareto_k": (
        "1",
        "index of the tail of W, of paths from the prior: moments below its inverse exist; inf where it is not known",
    ),
    "pareto_k_ess": ("1", "the same of W²: twice that of W, inf where no mean of it is to be seen"),
    "pareto_k_forward": ("1", "the larger index of W and of 1/W, of paths from the target; inf likewise"),
    "log_weight_variance": ("nat²", "variance of log W under the sampler"),
    "coverage": ("nat", "KL of the sampled mode masses to those of the target"),
    "emc": ("1", "entropy of the sampled mode masses / log L; 1 means equal masses, not the right ones"),
}
# And what a sampler adds that learns by trajectory balance.
BALANCED = {"log_z_learned": ("nat", "c of the objective ½ E (log W − c)², an estimate of log Z that is learned")}
_YES_OR_NO = {UNKNOWN: "unknown", 0: "no", 1: "yes"}
_CODES = {name: flags(outcome.meaning, _YES_OR_NO) for name, outcome in OUTCOMES.items()} | {
    "status": flags("how the sample ended", {code: text.replace(" ", "_") for code, text in STATUS.items()})
}
RECOVERED = (
    "first save time from which on no mode is lost: 0 if none ever was at a save time, nan if one is at the last time"
)
#: Variables of every RUN.nc and SIM.nc.
REQUIRED = ("m", "s", "w", "v", "objective", "mode_mass", *OUTCOMES, "status")


def run_dataset(
    problem: Problem,
    *,
    m: Array,
    s: Array,
    w: Array,
    objective: Array,
    mode_mass: Array,
    B: Array,
    status: NDArray[Any],
    quadrature_error: Array,
    system: str,
    backend: str,
    rtol: float,
    atol: float,
    v: Array | None = None,
    nonnegative: bool = False,
    command: str = "python -m solvers solve",
) -> xr.Dataset:
    """The result of solving the closed equations, in the form of RUN.nc.

    Takes, for n samples at the T times of problem.time, on the host
        m (n, T, K, L), s (n, T, K, K), w (n, T, K), objective (n, T), mode_mass (n, T, L), quadrature_error (n, T).
        B (n, K, L): E_k[ρ_l] at the last time. status (n,): a key of STATUS. v (n, T, K), default those at the start.
        nonnegative: whether the objective is known to be that. system: hash of the closed system. rtol, atol: the
        integrator's tolerances.
    Returns
        A Dataset with the variables and attributes of RUN.nc; rows of a sample whose status is not 0 are all nan.
    Raises
        ValueError if an array does not have its shape.
    """
    fields = _fields(problem, m, s, w, v, objective, mode_mass)
    fields["quadrature_error"] = (
        _TIMED,
        quadrature_error,
        "1",
        "estimated error of the expectations, / max(1, |value|)",
    )
    attrs = attributes(problem, backend, command) | {"system": system, "rtol": rtol, "atol": atol}
    return _dataset(problem, fields, B, status, nonnegative, attrs)


def simulation_dataset(
    problem: Problem,
    *,
    m: Array,
    s: Array,
    w: Array,
    objective: Array,
    mode_mass: Array,
    m_se: Array,
    s_se: Array,
    w_se: Array,
    objective_se: Array,
    mode_mass_se: Array,
    B: Array,
    status: NDArray[Any],
    backend: str,
    particles: int,
    replicas: int,
    step: float,
    v: Array | None = None,
    v_se: Array | None = None,
    command: str = "python -m solvers simulate",
) -> xr.Dataset:
    """The result of a particle simulation, in the form of SIM.nc: means over replicas, and their standard errors.

    Takes
        what run_dataset takes, each the mean over replicas, and with the suffix _se its standard error; v_se is zero
        by default, for variances that are not learned. Outcomes are those of the means over replicas.
    Returns
        A Dataset with the variables and attributes of SIM.nc. No closed system stands behind it: its attribute system
        is "none", and rtol, atol are nan.
    Raises
        ValueError if an array does not have its shape.
    """
    fields = _fields(problem, m, s, w, v, objective, mode_mass)
    errors = _fields(
        problem, m_se, s_se, w_se, np.zeros_like(w_se) if v_se is None else v_se, objective_se, mode_mass_se
    )
    for name, (dimensions, values, units, meaning) in errors.items():
        fields[f"{name}_se"] = (dimensions, values, units, f"standard error over replicas: {meaning}")
    attrs = attributes(problem, backend, command) | {"system": "none", "rtol": np.nan, "atol": np.nan}
    return _dataset(
        problem, fields, B, status, False, attrs | {"particles": particles, "replicas": replicas, "step": step}
    )


def objective_of(problem: Problem) -> str:
    """The objective that a problem descends, as a formula."""
    if problem.sampler is not None:
        wider = problem.sampler.explore != 1
        law = f"paths from starts {problem.sampler.explore:g} times as far out" if wider else "the sampler's paths"
        return {
            "reverse-kl": "KL of the sampler's paths from the target's, −elbo",
            "log-variance": f"½ Var log W of {law}",
            "trajectory-balance": f"½ E (log W − log_z_learned)² of {law}",
        }[problem.sampler.objective]
    tempered = problem.flow.temperature != 1
    reverse = "E_q[log q − log p / T], T the temperature at the time" if tempered else "KL(q‖p)"
    # reverse-kl(β) has an inverse temperature of its own.
    formula = re.sub(r"reverse-kl\(([^()]*)\)", r"E_q[log q − \1 log p]", problem.flow.objective)
    return formula.replace("reverse-kl", reverse).replace("forward-kl", "KL(p‖q)")


def sampler_variables(values: dict[str, Array]) -> dict[str, xr.Variable]:
    """Variables (sample, time) of SAMPLER_QUANTITIES and BALANCED, v_diag (sample, time, component, coordinate), and
    `_se`, standard errors, of these."""
    found = {}
    for name, array in values.items():
        known = name.removesuffix("_se")
        timed = (SAMPLER_QUANTITIES | BALANCED).get(known)
        dimensions, units, meaning = (_TIMED, *timed) if timed else _DIAGONAL
        meaning = f"standard error: {meaning}" if name.endswith("_se") else meaning
        found[name] = xr.Variable(dimensions, array, {"units": units, "long_name": meaning})
    return found


#: What is learned of a schedule: its last dimension, and meaning.
_SCHEDULE = {
    "eta": ("step", "length η_n of the step from n to n + 1"),
    "beta": ("knot", "inverse temperature β_n of the annealed reference at step n"),
}


def schedule_variables(values: dict[str, Array]) -> dict[str, xr.Variable]:
    """Variables eta (sample, time, step) and beta (sample, time, knot), and their standard errors, `_se`."""
    found = {}
    for name, array in values.items():
        dimension, meaning = _SCHEDULE[name.removesuffix("_se")]
        meaning = f"standard error: {meaning}" if name.endswith("_se") else meaning
        found[name] = xr.Variable((*_TIMED, dimension), array, {"units": "1", "long_name": meaning})
    return found


_Field = tuple[tuple[str, ...], Array, str, str]


def _fields(
    problem: Problem, m: Array, s: Array, w: Array, v: Array | None, objective: Array, mode_mass: Array
) -> dict[str, _Field]:
    v = np.broadcast_to(problem.family.variances, w.shape) if v is None else v
    values = {"m": m, "s": s, "w": w, "v": v, "objective": objective, "mode_mass": mode_mass}
    squared = problem.sampler is not None and problem.sampler.objective != "reverse-kl"
    told = _VARIABLES | {"objective": (_TIMED, "nat²" if squared else "nat", f"objective, {objective_of(problem)}")}
    if problem.family.diagonal is not None:
        told["v"] = (*_VARIABLES["v"][:2], "variance of component k, mean over coordinates")
    return {name: (dims, values[name], units, meaning) for name, (dims, units, meaning) in told.items()}


def _dataset(
    problem: Problem,
    fields: dict[str, _Field],
    B: Array,
    status: NDArray[Any],
    nonnegative: bool,
    attributes: dict[str, Any],
) -> xr.Dataset:
    sizes = {
        "sample": len(status),
        "time": len(problem.time.times),
        "component": problem.family.components,
        "component_other": problem.family.components,
        "mode": len(problem.target.weights),
    }
    variables: dict[str, xr.Variable] = {}
    for name, (dimensions, given, units, meaning) in fields.items():
        values = np.require(given, np.float64, ["C", "W"])
        shape = tuple(sizes[dimension] for dimension in dimensions)
        if values.shape != shape:
            raise ValueError(f"{name} has shape {values.shape}, must have {shape}")
        variables[name] = xr.Variable(dimensions, values, {"units": units, "long_name": meaning})
    if B.shape != (sizes["sample"], sizes["component"], sizes["mode"]):
        raise ValueError(f"B has shape {B.shape}, must have one (K, L) table for each of {sizes['sample']} samples")
    found = judged(problem, {name: variable.values for name, variable in variables.items()}, B, status, nonnegative)
    status = found["status"]
    for variable in variables.values():
        variable.values = failed_are_nan(variable.values, status)
    for name, about in _CODES.items():
        variables[name] = xr.Variable(("sample",), found[name], about)
    about = {"units": "1", "long_name": RECOVERED}
    variables["recovered_at"] = xr.Variable(("sample",), found["recovered_at"], about)
    at_rest = np.where(status == 0, UNDECIDED, UNKNOWN).astype(np.int8)
    variables |= labels(found["mechanism"], at_rest)
    time = xr.Variable(("time",), problem.time.times, {"units": "1", "long_name": "time of the flow"})
    return xr.Dataset(variables, coords={"time": time}, attrs=attributes)


def labels(mechanism: NDArray[np.int8], at_rest: NDArray[np.int8]) -> dict[str, xr.Variable]:
    """The variables of LABELS from mechanisms (sample, mode) and on what the runs rest (sample)."""
    values = {"mechanism": qualified(mechanism, at_rest), "collapse": collapse(mechanism), "at_rest": at_rest}
    values["collapse"] = qualified(values["collapse"], at_rest)
    return {
        name: xr.Variable(("sample", "mode") if name == "mechanism" else ("sample",), values[name], table.attributes())
        for name, table in LABELS.items()
    }


def attributes(problem: Problem, backend: str, command: str) -> dict[str, Any]:
    """What every result says of its origin: problem, seed, backend, command, versions."""
    return {
        "problem": problem.text,
        "seed": problem.init.seed,
        "backend": backend,
        "command": command,
        "versions": versions("modecollapse", "numpy", "scipy", "xarray"),
    }
