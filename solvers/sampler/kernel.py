"""The reduced chain path by path, in compiled code: what chain.py does, in the same order.

What is derived is emitted: start, noise, score, step, weight and the adjoint of each. What is typed is how they follow
each other, and the way back: here, in chain.py and in chain.cu once each on purpose, since arrays, lanes of a processor
and threads of a GPU walk differently; tests compare all three path by path.

solvers.sampler.compiled puts this text behind the emitted functions of one step. Everything that does not depend on the
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
    bare,
    fixed,
    np,
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
def ahead(i: int, component: int, d: float, base: float, tables: Array, noise: Array, room: Array, resp: Array) -> Any:
    """Path i from the prior: its points and drifts in `room`. Returns log W."""
    xi, xi1, chi2 = noise
    xs, rhos, shrinks, pulls = room
    etas = tables[-1]
    gained, log_weight = np.empty(1), np.empty(1)
    log_weight[0] = 0.0
    begin(i, 0, PRIOR, component, tables, noise, room)
    drifts(0, xs[0], rhos[0, 0], d, base, tables, shrinks[0], pulls[0], log_weight, resp)
    for n in range(len(xs) - 1):
        step(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], etas[n],
             xs[n + 1], rhos[n + 1])  # fmt: skip
        drifts(n + 1, xs[n + 1], rhos[n + 1, 0], d, base, tables, shrinks[n + 1], pulls[n + 1], log_weight, resp)
        weight(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], shrinks[n + 1, 1], pulls[n + 1, 1],
               xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], etas[n], base, gained)  # fmt: skip
        log_weight[0] += gained[0]
    return log_weight[0]


@njit(**FLAGS)
def begin(i: int, n: int, j: int, k: int, tables: Array, noise: Array, room: Array) -> None:
    """The point of step n from component k of the mixture of score j."""
    mean, log_var, xi, xi1, chi2 = tables[0][n, j], tables[1][n, j], noise[0], noise[1], noise[2]
    start(mean[k * R : k * R + R], log_var[k], xi[0, i], xi1[0, i], chi2[0, i], room[0][n], room[1][n])


@njit(**FLAGS)
def without_owner(tables: Array, noise: Array, room: Array) -> Array:
    means, log_vars, log_ws, c, c_x, ends, used, etas = tables
    xi, xi1, chi2 = noise
    return (
        (bare(means), bare(log_vars), bare(log_ws), bare(c), bare(c_x), bare(ends), bare(used), bare(etas)),
        (bare(xi), bare(xi1), bare(chi2)),
        unowned(room),
    )


@njit(**FLAGS)
def unowned(room: Array) -> Array:
    xs, rhos, shrinks, pulls = room
    return bare(xs), bare(rhos), bare(shrinks), bare(pulls)


@entry(**FLAGS)
def forward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the prior."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    for i in range(first, stop):
        log_weight[i] = ahead(i, chosen[i], d, base, tables, noise, room, resp)
        finish(i, room, resp, end, rho, modes)


@njit(**FLAGS)
def finish(i: int, room: Array, resp: Array, end: Array, rho: Array, modes: Array) -> None:
    """The last point of path i."""
    xs, rhos = room[0], room[1]
    last = len(xs) - 1
    rho[i] = rhos[last, 0]
    for b in range(end.shape[1]):
        end[i, b] = xs[last, b]
    for k in range(modes.shape[1]):
        modes[i, k] = resp[k]


@entry(**FLAGS)
def backward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the target, by the backward kernels; log W of the same path."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    xs, rhos, shrinks, pulls = room
    xi, xi1, chi2 = noise
    etas, last = tables[-1], len(xs) - 1
    gained, total = np.empty(1), np.empty(1)
    for i in range(first, stop):
        total[0] = 0.0
        begin(i, last, TARGET, chosen[i], tables, noise, room)
        drifts(last, xs[last], rhos[last, 0], d, base, tables, shrinks[last], pulls[last], total, resp)
        finish(i, room, resp, end, rho, modes)
        for n in range(last - 1, -1, -1):
            step(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], xi[n + 1, i], xi1[n + 1, i],
                 chi2[n + 1, i], etas[n], xs[n], rhos[n])  # fmt: skip
            drifts(n, xs[n], rhos[n, 0], d, base, tables, shrinks[n], pulls[n], total, resp)
            # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
            weight(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], shrinks[n, 0], pulls[n, 0],
                   xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], etas[n], base, gained)  # fmt: skip
            total[0] -= gained[0]
        log_weight[i] = total[0]


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
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    totals, of_start, of_eta, of_c = bare(totals), bare(of_start), bare(of_eta), bare(of_c)
    means, log_vars, log_ws, c, _, ends, used, etas = tables
    xi, xi1, chi2 = noise
    xs, rhos, shrinks, pulls = room
    x_bar, rho_bar, shrink_bar, pull_bar = unowned(bars)
    for i in range(first, stop):
        log_weight[i] = ahead(i, chosen[i], d, base, tables, noise, room, resp)
        finish(i, room, resp, end, rho, modes)
        x_bar[:], rho_bar[:], shrink_bar[:], pull_bar[:] = 0.0, 0.0, 0.0, 0.0
        for n in range(len(xs) - 1, -1, -1):
            if n > 0:
                weight_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                    xi[n, i], xi1[n, i], chi2[n, i], etas[n - 1], base, -weights[i],
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                    shrink_bar[n, 1:], pull_bar[n, 1],
                )  # fmt: skip
                if STEERED:
                    weight_slope(
                        xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                        xi[n, i], xi1[n, i], chi2[n, i], etas[n - 1], base, -weights[i], of_eta[n - 1 : n],
                    )  # fmt: skip
            for j in range(used.shape[1]):
                if used[n, j]:
                    of = totals[n, j]
                    score_adjoint(
                        xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                        ends[n, j], c[n, j, 0], c[n, j, 1], -weights[i],
                        shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                        x_bar[n], rho_bar[n], of[: K * R], of[K * R : K * R + K], of[K * R + K :],
                    )  # fmt: skip
                    if STEERED and len(of_c) > 0:
                        score_slope(
                            xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                            ends[n, j], c[n, j, 0], c[n, j, 1], -weights[i],
                            shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                            of_c[n, j, :1], of_c[n, j, 1:],
                        )  # fmt: skip
            if STEERED and n > 0:
                step_slope(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi[n, i], xi1[n, i], chi2[n, i],
                    etas[n - 1], x_bar[n], rho_bar[n, 0], of_eta[n - 1 : n],
                )  # fmt: skip
            if n > 0:
                step_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi[n, i], xi1[n, i], chi2[n, i],
                    etas[n - 1], x_bar[n], rho_bar[n, 0],
                    x_bar[n - 1], rho_bar[n - 1], shrink_bar[n - 1, :1], pull_bar[n - 1, 0],
                )  # fmt: skip
        k = chosen[i]
        mean, log_var, of = means[0, PRIOR], log_vars[0, PRIOR], of_start[k]
        start_adjoint(
            mean[k * R : k * R + R],
            log_var[k],
            xi[0, i],
            xi1[0, i],
            chi2[0, i],
            x_bar[0],
            rho_bar[0, 0],
            of[:R],
            of[R:],
        )


@entry(**FLAGS)
def ratio(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array, by_forward: Array, by_backward: Array, bars: Array,
    totals: Array,
) -> None:  # fmt: skip
    """`forward`, and the derivatives of Σ_i (by_forward_i log Q_i + by_backward_i log P̃_i) at paths that stay where
    they are, added to totals. bars, totals: as in `gradient`."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    totals = bare(totals)
    means, log_vars, log_ws, c, _, ends, used, etas = tables
    xi, xi1, chi2 = noise
    xs, rhos, shrinks, pulls = room
    x_bar, rho_bar, shrink_bar, pull_bar = unowned(bars)
    last = used.shape[1] - 1
    for i in range(first, stop):
        log_weight[i] = ahead(i, chosen[i], d, base, tables, noise, room, resp)
        finish(i, room, resp, end, rho, modes)
        shrink_bar[:], pull_bar[:] = 0.0, 0.0
        for n in range(len(xs)):
            if n < len(xs) - 1:
                fixed(
                    xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], shrinks[n + 1, 1], pulls[n + 1, 1],
                    xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], etas[n], by_forward[i], by_backward[i],
                    shrink_bar[n, :1], pull_bar[n, 0], shrink_bar[n + 1, 1:], pull_bar[n + 1, 1],
                )  # fmt: skip
            for j in range(used.shape[1]):
                if used[n, j]:
                    of = totals[n, j]
                    # log W = log P̃ − log Q: its ends are −log φ, of Q, and log p.
                    score_adjoint(
                        xs[n], rhos[n, 0], means[n, j], log_vars[n, j], log_ws[n, j], d, base,
                        ends[n, j], c[n, j, 0], c[n, j, 1], by_backward[i] if j == last else -by_forward[i],
                        shrink_bar[n, 0], pull_bar[n, 0], shrink_bar[n, 1], pull_bar[n, 1],
                        x_bar[n], rho_bar[n], of[: K * R], of[K * R : K * R + K], of[K * R + K :],
                    )  # fmt: skip
