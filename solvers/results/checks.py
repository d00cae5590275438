"""What is checked of a result before anybody reads it, and what is read off it: digits, status, outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.short import reduced
from solvers.problem import Problem
from solvers.results.lifetimes import lost_modes, recovered_at
from solvers.results.mechanisms import NONE, distances, mechanisms
from solvers.results.outcomes import NOT_FINITE, End, lost, outcomes

__all__ = ["UNUSABLE", "failed_are_nan", "judged", "rounding"]

Array = NDArray[np.float64]

# More of an objective than this lost to the rounding of its own terms, or of expectations uncertain: no result.
UNUSABLE, UNCERTAIN = 1e-3, 0.1
#: By how many of its estimates an error of expectations may exceed them.
ALLOWANCE = 10.0
#: Samples that are checked at a time: their numbers stay in the cache.
TOGETHER = 1024


def rounding(problem: Problem, m: Array, s: Array, v: Array) -> Array:
    """What rounding may change an objective by, in nats: half a unit in the last place of each overlap in its logits.

    Takes  m (..., K, L), s (..., K, K), v (..., K).
    Returns  (...): it bounds the error of the logits too, whose largest terms are s/v and m/u, s/u, c/u.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        own, across = (reduced(np.maximum, np.abs(a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1]))) for a in (s, m))
        other = np.maximum(np.maximum(across, np.abs(problem.target.c).max()), own)
        terms = own / reduced(np.minimum, v) + other / problem.target.variances.min()
        return np.asarray(2 * np.finfo(np.float64).eps * terms)


def judged(
    problem: Problem, fields: dict[str, Array], B: Array, status: NDArray[np.int8], nonnegative: bool
) -> dict[str, NDArray[Any]]:
    """What is said of n samples, block by block in threads: status, OUTCOMES, recovered_at (n,), mechanism (n, L).

    Takes  m, s, w, v, objective, mode_mass and what there is beside them, (n, T, ...); B (n, K, L) at the last time;
    status (n,) so far; nonnegative: whether the objective is known to be that. The one place where results are checked:
    nothing that is no number, or has no digit left, goes with status 0.
    """

    def block(n: int) -> dict[str, NDArray[Any]]:
        rows = slice(n * TOGETHER, (n + 1) * TOGETHER)
        return _block(
            problem, {name: array[rows] for name, array in fields.items()}, B[rows], status[rows], nonnegative
        )

    parts = list(in_order(block, max(1, -(-len(status) // TOGETHER)), cores()))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of this thread
def _block(
    problem: Problem, fields: dict[str, Array], B: Array, status: NDArray[np.int8], nonnegative: bool
) -> dict[str, NDArray[Any]]:
    # Components that have not been added yet have weight 0 and no overlaps or variance, in standard errors either.
    grows = problem.sampler is not None and problem.sampler.refine is not None
    away, checked = (fields["w"] == 0) & np.isnan(fields["v"]) & grows, dict(fields)
    for name, stand_in in {"m": 0.0, "s": 0.0, "v": 1.0}.items() if grows else ():
        gone = {"m": away[..., None], "s": away[..., None] | away[..., None, :], "v": away}[name]
        for array in filter(checked.__contains__, (name, f"{name}_se")):
            checked[array] = np.where(gone & np.isnan(checked[array]), stand_in, checked[array])
    finite = [_all(np.isfinite(array)) for array in (*checked.values(), B)]
    gone = rounding(problem, *(checked[name] for name in "msv"))
    digits = gone <= UNUSABLE * np.maximum(1.0, np.abs(fields["objective"]))
    if "quadrature_error" in fields:
        uncertain = fields["quadrature_error"]
        digits &= uncertain <= UNCERTAIN
        # What is negative beyond the errors of its parts has come of overlaps that are none.
        terms = gone / (2 * np.finfo(np.float64).eps)
        digits &= (fields["objective"] >= -ALLOWANCE * uncertain * (1 + terms)) | (not nonnegative)
    status = np.where((status == 0) & ~(np.all(finite, axis=0) & _all(digits)), NOT_FINITE, status).astype(np.int8)
    m, s, w, mode_mass = (failed_are_nan(fields[name], status) for name in ("m", "s", "w", "mode_mass"))
    end = End(w[:, -1], mode_mass[:, -1], B, problem.target.weights, ~away[:, -1])
    # Where no mode is lost, no mechanism has to be found.
    asked = np.flatnonzero(reduced(np.logical_or, lost(end.mode_mass, end.pi)) | (status != 0))
    mechanism = np.full(end.mode_mass.shape, NONE, dtype=np.int8)
    apart = distances(s[asked, -1], m[asked, -1], problem.target.c)
    mechanism[asked] = mechanisms(
        End(end.w[asked], end.mode_mass[asked], end.B[asked], end.pi, end.there[asked]), apart
    )
    count = lost_modes(mode_mass, problem.target.weights)
    found: dict[str, NDArray[Any]] = {"status": status, "mechanism": mechanism}
    return found | outcomes(*end) | {"recovered_at": recovered_at(count, problem.time.times)}


def _all(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of which samples all flags (n, ...) are set, (n,); row by row only where some are not."""
    if flags.all():
        return np.ones(len(flags), dtype=bool)
    return np.asarray(flags.reshape(len(flags), -1).all(axis=1))


def failed_are_nan(a: Array, status: NDArray[np.int8]) -> Array:
    """a (n, ...), with nan where the status (n,) is not 0, in an array of its own; itself where there is none."""
    return np.where((status != 0).reshape(-1, *[1] * (a.ndim - 1)), np.nan, a) if status.any() else a
