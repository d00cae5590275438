"""The way back through the reduced chain in compiled code, W paths at once: behind kernel.py, see there.

Derivatives with respect to what is the same for all paths are sums over lanes, made in one order at any number of them.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.sampler.kernel import PRIOR, ahead, begin, draw, finish, looked_at, unowned, without_owner
from solvers.sampler.protocol import (
    STEERED,
    K,
    R,
    W,
    across,
    bare,
    fixed,
    np,
    rows,
    score_adjoint,
    score_slope,
    start_adjoint,
    step_adjoint,
    step_slope,
    weight_adjoint,
    weight_slope,
)

Array = Any


@njit(**FLAGS)
def weighed(i: int, stop: int, weights: Array, room: Array) -> Any:
    """Weights of the paths from i on; lanes behind the last path have none."""
    law = room[5]
    for z in range(law.shape[1]):
        law[0, z] = weights[i + z] if i + z < stop else 0.0
    return rows(law)[0]


@njit(**FLAGS)
def cleared(bars: Array) -> None:
    xs, rhos, shrinks, pulls, drawn, law = bars
    xs[:], rhos[:], shrinks[:], pulls[:], drawn[:], law[:] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0


@njit(**FLAGS)
def nothing(sums: Array) -> None:
    for m in range(len(sums)):
        sums[m] = 0.0


@njit(**FLAGS)
def gather(sums: Array, into: Array) -> None:
    """Add sums over lanes."""
    for m in range(len(sums)):
        into[m] += across(sums[m])


@entry(**FLAGS)
def gradient(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array, weights: Array, bars: Array, totals: Array,
    of_start: Array, of_eta: Array, of_c: Array,
) -> None:  # fmt: skip
    """`forward`, and the derivatives of Σ_i weights_i (−log W_i): added to totals (N+1, J, K R + 2 K), rows of means,
    log_vars and log_ws, and of_start (K, R + 1), those of the mean and log_var a path started with. bars: room for
    those of the points and drifts of a path. Where the schedule is learned also, to of_eta (N,) and of_c (N+1, J, 2),
    those in the steps and, if that is not empty, in c: machine code for it is made where it is asked for."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, bars, total, resp = unowned(room), unowned(bars), np.empty(1), np.empty(K)
    totals, of_start, of_eta, of_c = bare(totals), bare(of_start), bare(of_eta), bare(of_c)
    means, log_vars, log_ws, c, _, ends, used, etas = tables
    xs, rhos, shrinks, pulls, drawn, law = looked_at(room)
    x_bar, rho_bar, shrink_bar, pull_bar, _, law_bar = looked_at(bars)
    xi, xi1 = drawn[:R], drawn[R:]
    of, of_step, of_both = np.empty(K * R + 2 * K), np.empty(1), np.empty(2)
    for i in range(first, stop, W):
        ahead(i, stop, chosen, d, base, tables, noise, room, total, resp)
        finish(i, stop, len(etas), room, total, resp, out)
        by = -weighed(i, stop, weights, room)
        cleared(bars)
        for n in range(len(xs) - 1, -1, -1):
            draw(i, stop, n, noise, room)
            if n > 0:
                weight_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                    xi, xi1[0], xi1[1], etas[n - 1], base, by,
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                    shrink_bar[n, 1:], pull_bar[n, 1],
                )  # fmt: skip
                if STEERED:
                    nothing(of_step)
                    weight_slope(
                        xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                        xi, xi1[0], xi1[1], etas[n - 1], base, by, of_step,
                    )  # fmt: skip
            for j in range(used.shape[1]):
                if used[n, j]:
                    nothing(of)
                    score_adjoint(
                        xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                        ends[n, j], c[n, j, 0], c[n, j, 1], by,
                        shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                        x_bar[n], rho_bar[n], of[: K * R], of[K * R : K * R + K], of[K * R + K :],
                    )  # fmt: skip
                    gather(of, totals[n, j])
                    if STEERED and len(of_c) > 0:
                        nothing(of_both)
                        score_slope(
                            xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                            ends[n, j], c[n, j, 0], c[n, j, 1], by,
                            shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                            of_both[:1], of_both[1:],
                        )  # fmt: skip
                        gather(of_both, of_c[n, j])
            if n > 0:
                if STEERED:
                    step_slope(
                        xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi, xi1[0], xi1[1],
                        etas[n - 1], x_bar[n], rho_bar[n, 0], of_step,
                    )  # fmt: skip
                    gather(of_step, of_eta[n - 1 : n])
                step_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi, xi1[0], xi1[1],
                    etas[n - 1], x_bar[n], rho_bar[n, 0],
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                )  # fmt: skip
        begin(i, stop, 0, PRIOR, chosen, tables, room)
        start_adjoint(law[:R], law[R], xi, xi1[0], xi1[1], x_bar[0], rho_bar[0, 0], law_bar[:R], law_bar[R:])
        for z in range(min(room[5].shape[1], stop - i)):
            for b in range(R + 1):
                of_start[chosen[i + z], b] += bars[5][b, z]


@entry(**FLAGS)
def ratio(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array, by_forward: Array, by_backward: Array, bars: Array,
    totals: Array,
) -> None:  # fmt: skip
    """`forward`, and the derivatives of Σ_i (by_forward_i log Q_i + by_backward_i log P̃_i) at paths that stay where
    they are, added to totals. bars, totals: as in `gradient`."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, bars, total, resp = unowned(room), unowned(bars), np.empty(1), np.empty(K)
    totals = bare(totals)
    means, log_vars, log_ws, c, _, ends, used, etas = tables
    xs, rhos, shrinks, pulls, drawn, _ = looked_at(room)
    x_bar, rho_bar, shrink_bar, pull_bar, _, _ = looked_at(bars)
    of, last = np.empty(K * R + 2 * K), used.shape[1] - 1
    for i in range(first, stop, W):
        ahead(i, stop, chosen, d, base, tables, noise, room, total, resp)
        finish(i, stop, len(etas), room, total, resp, out)
        by_f, by_b = weighed(i, stop, by_forward, room), weighed(i, stop, by_backward, room)
        cleared(bars)
        for n in range(len(xs)):
            if n < len(xs) - 1:
                draw(i, stop, n + 1, noise, room)
                fixed(
                    xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], shrinks[n + 1, 1], pulls[n + 1, 1],
                    drawn[:R], drawn[R], drawn[R + 1], etas[n], by_f, by_b,
                    shrink_bar[n, :1], pull_bar[n, 0], shrink_bar[n + 1, 1:], pull_bar[n + 1, 1],
                )  # fmt: skip
            for j in range(used.shape[1]):
                if used[n, j]:
                    nothing(of)
                    # log W = log P̃ − log Q: its ends are −log φ, of Q, and log p.
                    score_adjoint(
                        xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                        ends[n, j], c[n, j, 0], c[n, j, 1], by_b if j == last else -by_f,
                        shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                        x_bar[n], rho_bar[n], of[: K * R], of[K * R : K * R + K], of[K * R + K :],
                    )  # fmt: skip
                    gather(of, totals[n, j])
