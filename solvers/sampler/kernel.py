"""The reduced chain, W paths at once, in compiled code: what chain.py does, in the same order.

What is derived is emitted: start, noise, score, step, weight and the adjoint of each. What is typed is how they follow
each other, and the way back: here, in chain.py and in chain.cu once each on purpose, since arrays, lanes of a processor
and threads of a GPU walk differently; tests compare all three path by path.

solvers.sampler.compiled puts this text behind the emitted functions of one step, whose numbers that depend on the path
are vectors of solvers.machine.simd, or numbers: then W = 1. Room is float64 (..., W), a path a lane. Everything that does not depend on the
path comes in tables, see solvers.sampler.tables: means (N+1, J, K R), log_vars and log_ws (N+1, J, K), c (N+1, J, 2),
c_x (N+1, 2), ends and used (N+1, J), eta (N,). Noise as in Noise. Derivatives are added to what is there.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
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
    score,
    score_adjoint,
    score_slope,
    start,
    start_adjoint,
    step,
    step_adjoint,
    step_slope,
    weight,
    weight_adjoint,
    weight_slope,
)

Array = Any
PRIOR, TARGET = 0, -1


@njit(**FLAGS)
def drifts(
    n: int, x: Array, rho: float, d: float, base: float, tables: Array, shrink: Array, pull: Array, log_weight: Array,
    resp: Array,
) -> None:  # fmt: skip
    """shrink (2,), pull (2, R) of both drifts at step n. Adds to log_weight (1,) the log-densities that enter there.
    resp (K,): at the last step the responsibilities of the target, whose score is the last."""
    means, log_vars, log_ws, c, c_x, ends, used, _ = tables
    # Sums on the stack, which no other array can be: in rows of the room they took a sixth longer.
    a_f, a_b, b_f, b_b = np.empty(1), np.empty(1), np.empty(R), np.empty(R)
    a_f[0], a_b[0] = c_x[n, 0], c_x[n, 1]
    for i in range(R):
        b_f[i] = b_b[i] = 0.0
    for j in range(used.shape[1]):
        if used[n, j]:
            score(
                x, rho, means[n, j], log_vars[n, j], log_ws[n, j], d, base, ends[n, j], c[n, j, 0], c[n, j, 1],
                log_weight, a_f, b_f, a_b, b_b, resp,
            )  # fmt: skip
    shrink[0], shrink[1] = a_f[0], a_b[0]
    for i in range(R):
        pull[0, i], pull[1, i] = b_f[i], b_b[i]


@njit(**FLAGS)
def ahead(
    i: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array, log_weight: Array,
    resp: Array,
) -> None:  # fmt: skip
    """The paths from i on from the prior: their points and drifts in `room`, log_weight (1,) = log W."""
    xs, rhos, shrinks, pulls, drawn, _ = looked_at(room)
    etas = tables[-1]
    gained = np.empty(1)
    log_weight[0] = 0.0
    begin(i, stop, 0, PRIOR, chosen, tables, noise, room)
    drifts(0, xs[0], rhos[0, 0], d, base, tables, shrinks[0], pulls[0], log_weight, resp)
    for n in range(len(xs) - 1):
        draw(i, stop, n + 1, noise, room)
        xi, xi1, chi2 = drawn[:R], drawn[R], drawn[R + 1]
        step(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], xi, xi1, chi2, etas[n], xs[n + 1], rhos[n + 1])
        drifts(n + 1, xs[n + 1], rhos[n + 1, 0], d, base, tables, shrinks[n + 1], pulls[n + 1], log_weight, resp)
        weight(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], shrinks[n + 1, 1], pulls[n + 1, 1],
               xi, xi1, chi2, etas[n], base, gained)  # fmt: skip
        log_weight[0] += gained[0]


@njit(**FLAGS)
def draw(i: int, stop: int, n: int, noise: Array, room: Array) -> None:
    """Noise of step n for the paths from i on; lanes behind the last path have its noise."""
    xi, xi1, chi2 = noise
    drawn = room[4]
    for z in range(W):
        path = min(i + z, stop - 1)
        for b in range(R):
            drawn[b, z] = xi[n, path, b]
        drawn[R, z], drawn[R + 1, z] = xi1[n, path], chi2[n, path]


@njit(**FLAGS)
def lawful(i: int, stop: int, n: int, j: int, chosen: Array, tables: Array, room: Array) -> Any:
    """Mean (R) and log_var of the chosen components of the mixture of score j at step n, for the paths from i on."""
    mean, log_var, law = tables[0][n, j], tables[1][n, j], room[5]
    for z in range(W):
        k = chosen[min(i + z, stop - 1)]
        for b in range(R):
            law[b, z] = mean[k * R + b]
        law[R, z] = log_var[k]
    return rows(law)


@njit(**FLAGS)
def begin(i: int, stop: int, n: int, j: int, chosen: Array, tables: Array, noise: Array, room: Array) -> None:
    """The points of step n of the paths from i on, from the chosen components of the mixture of score j."""
    laws = lawful(i, stop, n, j, chosen, tables, room)
    draw(i, stop, 0, noise, room)
    xs, rhos, _, _, drawn, _ = looked_at(room)
    start(laws[:R], laws[R], drawn[:R], drawn[R], drawn[R + 1], xs[n], rhos[n])


@njit(**FLAGS)
def without_owner(tables: Array, noise: Array) -> Array:
    means, log_vars, log_ws, c, c_x, ends, used, etas = tables
    xi, xi1, chi2 = noise
    return (
        (bare(means), bare(log_vars), bare(log_ws), bare(c), bare(c_x), bare(ends), bare(used), bare(etas)),
        (bare(xi), bare(xi1), bare(chi2)),
    )


@njit(**FLAGS)
def unowned(room: Array) -> Array:
    xs, rhos, shrinks, pulls, drawn, law = room
    return bare(xs), bare(rhos), bare(shrinks), bare(pulls), bare(drawn), bare(law)


@njit(**FLAGS)
def looked_at(room: Array) -> Array:
    """The room with W lanes as one number."""
    xs, rhos, shrinks, pulls, drawn, law = room
    return rows(xs), rows(rhos), rows(shrinks), rows(pulls), rows(drawn), rows(law)


@entry(**FLAGS)
def forward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the prior."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, total, resp = unowned(room), np.empty(1), np.empty(K)
    for i in range(first, stop, W):
        ahead(i, stop, chosen, d, base, tables, noise, room, total, resp)
        finish(i, stop, len(tables[-1]), room, total, resp, out)


@njit(**FLAGS)
def finish(i: int, stop: int, last: int, room: Array, total: Array, resp: Array, out: Array) -> None:
    """What is left of the paths from i on."""
    log_weight, end, rho, modes = out
    xs, rhos = room[0], room[1]
    lanes = room[4]  # noise is not needed any more
    for z in range(min(W, stop - i)):
        rho[i + z] = rhos[last, 0, z]
        for b in range(end.shape[1]):
            end[i + z, b] = xs[last, b, z]
    one = rows(lanes)
    one[0] = total[0]
    for z in range(min(W, stop - i)):
        log_weight[i + z] = lanes[0, z]
    for k in range(modes.shape[1]):
        one[0] = resp[k]
        for z in range(min(W, stop - i)):
            modes[i + z, k] = lanes[0, z]


@entry(**FLAGS)
def backward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the target, by the backward kernels; log W of the same path."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, total, gained, resp, unused = unowned(room), np.empty(1), np.empty(1), np.empty(K), np.empty(K)
    xs, rhos, shrinks, pulls, drawn, _ = looked_at(room)
    etas, last = tables[-1], len(xs) - 1
    for i in range(first, stop, W):
        total[0] = 0.0
        begin(i, stop, last, TARGET, chosen, tables, noise, room)
        drifts(last, xs[last], rhos[last, 0], d, base, tables, shrinks[last], pulls[last], total, resp)
        for n in range(last - 1, -1, -1):
            draw(i, stop, n + 1, noise, room)
            xi, xi1, chi2 = drawn[:R], drawn[R], drawn[R + 1]
            step(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], xi, xi1, chi2, etas[n], xs[n], rhos[n])
            drifts(n, xs[n], rhos[n, 0], d, base, tables, shrinks[n], pulls[n], total, unused)
            # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
            weight(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], shrinks[n, 0], pulls[n, 0],
                   xi, xi1, chi2, etas[n], base, gained)  # fmt: skip
            total[0] -= gained[0]
        finish(i, stop, last, room, total, resp, out)


@njit(**FLAGS)
def weighed(i: int, stop: int, weights: Array, room: Array) -> Any:
    """Weights of the paths from i on; lanes behind the last path have none."""
    law = room[5]
    for z in range(W):
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
    xs, rhos, shrinks, pulls, drawn, _ = looked_at(room)
    x_bar, rho_bar, shrink_bar, pull_bar, _, law_bar = looked_at(bars)
    of, of_step, of_both = np.empty(K * R + 2 * K), np.empty(1), np.empty(2)
    for i in range(first, stop, W):
        ahead(i, stop, chosen, d, base, tables, noise, room, total, resp)
        finish(i, stop, len(etas), room, total, resp, out)
        by = -weighed(i, stop, weights, room)
        cleared(bars)
        for n in range(len(xs) - 1, -1, -1):
            draw(i, stop, n, noise, room)
            xi, xi1, chi2 = drawn[:R], drawn[R], drawn[R + 1]
            if n > 0:
                weight_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                    xi, xi1, chi2, etas[n - 1], base, by,
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                    shrink_bar[n, 1:], pull_bar[n, 1],
                )  # fmt: skip
                if STEERED:
                    nothing(of_step)
                    weight_slope(
                        xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                        xi, xi1, chi2, etas[n - 1], base, by, of_step,
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
                        xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi, xi1, chi2,
                        etas[n - 1], x_bar[n], rho_bar[n, 0], of_step,
                    )  # fmt: skip
                    gather(of_step, of_eta[n - 1 : n])
                step_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi, xi1, chi2,
                    etas[n - 1], x_bar[n], rho_bar[n, 0],
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                )  # fmt: skip
        laws = lawful(i, stop, 0, PRIOR, chosen, tables, room)
        start_adjoint(
            laws[:R], laws[R], drawn[:R], drawn[R], drawn[R + 1], x_bar[0], rho_bar[0, 0], law_bar[:R], law_bar[R:]
        )
        for z in range(min(W, stop - i)):
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
