"""The reduced chain path by path, in compiled code: what chain.py does, in the same order.

What is derived is emitted: start, noise, score, step, weight and the adjoint of each. What is typed is how they follow
each other, and the way back: here, in chain.py and in chain.cu once each on purpose, since arrays, lanes of a processor
and threads of a GPU walk differently; tests compare all three path by path.

solvers.sampler.compiled puts this text behind the emitted functions of one step. Everything that does not depend on the
path comes in tables: for step n and score j the mixture means (N+1, J, K R), log_vars and log_ws (N+1, J, K), and what
the score adds to the forward and to the backward drift, c (N+1, J, 2); c_x (N+1, 2) the same for x itself. used
(N+1, J): whether the score is needed there. Scores 0 and 1 are those of the prior and of the target. Noise as in Noise.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.sampler.protocol import (
    K,
    R,
    bare,
    np,
    score,
    score_adjoint,
    start,
    start_adjoint,
    step,
    step_adjoint,
    weight,
    weight_adjoint,
)

Array = Any
PRIOR, TARGET = 0, 1


@njit(**FLAGS)
def drifts(
    n: int, x: Array, rho: float, d: float, base: float, tables: Array, shrink: Array, pull: Array, resp: Array
) -> Any:
    """shrink (2,), pull (2, R) of both drifts at step n. Returns the log-density of the prior at step 0, of the target
    at the last step; resp (K,): the responsibilities of the same mixture."""
    means, log_vars, log_ws, c, c_x, used = tables
    lse, a, of = np.empty(1), np.empty(1), np.empty(K)
    b = np.empty(R)
    end = PRIOR if n == 0 else TARGET
    wanted = 0.0
    for side in range(2):
        shrink[side] = c_x[n, side]
        for i in range(R):
            pull[side, i] = 0.0
    for j in range(used.shape[1]):
        if used[n, j]:
            score(x, rho, means[n, j], log_vars[n, j], log_ws[n, j], d, base, lse, a, b, of)
            for side in range(2):
                shrink[side] += c[n, j, side] * a[0]
                for i in range(R):
                    pull[side, i] += c[n, j, side] * b[i]
            if j == end:
                wanted = lse[0]
                for k in range(K):
                    resp[k] = of[k]
    return wanted


@njit(**FLAGS)
def drifts_adjoint(
    n: int, x: Array, rho: float, d: float, base: float, tables: Array, d_shrink: Array, d_pull: Array, d_ends: Array,
    weight_i: float, x_bar: Array, rho_bar: Array, totals: Array,
) -> None:  # fmt: skip
    """Adds ∂L/∂x, ∂L/∂ϱ and, to totals, ∂L/∂(means, log_vars, log_ws) of step n."""
    means, log_vars, log_ws, c, _, used = tables
    of_x, of_rho, d_b = np.empty(R), np.empty(1), np.empty(R)
    of_mean, of_var, of_w = np.empty(K * R), np.empty(K), np.empty(K)
    for j in range(used.shape[1]):
        if used[n, j]:
            d_a = c[n, j, 0] * d_shrink[0] + c[n, j, 1] * d_shrink[1]
            for i in range(R):
                d_b[i] = c[n, j, 0] * d_pull[0, i] + c[n, j, 1] * d_pull[1, i]
            d_lse = d_ends[n, j] * weight_i
            score_adjoint(
                x, rho, means[n, j], log_vars[n, j], log_ws[n, j], d, base, d_lse, d_a, d_b,
                of_x, of_rho, of_mean, of_var, of_w,
            )  # fmt: skip
            rho_bar[0] += of_rho[0]
            for i in range(R):
                x_bar[i] += of_x[i]
            for i in range(K * R):
                totals[n, j, i] += of_mean[i]
            for k in range(K):
                totals[n, j, K * R + k] += of_var[k]
                totals[n, j, K * R + K + k] += of_w[k]


@njit(**FLAGS)
def ahead(
    i: int, component: int, d: float, base: float, eta: float, tables: Array, noise: Array, room: Array, resp: Array
) -> Any:
    """Path i from the prior: its points and drifts in `room`. Returns log W."""
    xi, xi1, chi2 = noise
    xs, rhos, shrinks, pulls = room
    gained = np.empty(1)
    mean, log_var = tables[0][0, PRIOR], tables[1][0, PRIOR]
    first = component * R
    start(mean[first : first + R], log_var[component], xi[0, i], xi1[0, i], chi2[0, i], xs[0], rhos[0])
    log_weight = -drifts(0, xs[0], rhos[0, 0], d, base, tables, shrinks[0], pulls[0], resp)
    last = len(xs) - 1
    for n in range(last):
        step(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], eta,
             xs[n + 1], rhos[n + 1])  # fmt: skip
        lse = drifts(n + 1, xs[n + 1], rhos[n + 1, 0], d, base, tables, shrinks[n + 1], pulls[n + 1], resp)
        weight(xs[n], rhos[n, 0], shrinks[n, 0], pulls[n, 0], shrinks[n + 1, 1], pulls[n + 1, 1],
               xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], eta, base, gained)  # fmt: skip
        log_weight += gained[0]
        if n + 1 == last:
            log_weight += lse
    return log_weight


@njit(**FLAGS)
def without_owner(tables: Array, noise: Array, room: Array) -> Array:
    means, log_vars, log_ws, c, c_x, used = tables
    xi, xi1, chi2 = noise
    xs, rhos, shrinks, pulls = room
    return (
        (bare(means), bare(log_vars), bare(log_ws), bare(c), bare(c_x), bare(used)),
        (bare(xi), bare(xi1), bare(chi2)),
        (bare(xs), bare(rhos), bare(shrinks), bare(pulls)),
    )


@njit(**FLAGS)
def density(x: Array, rho: float, d: float, base: float, tables: Array, n: int, j: int, resp: Array) -> Any:
    """log-density of the mixture of score j."""
    lse, a, b = np.empty(1), np.empty(1), np.empty(R)
    score(x, rho, tables[0][n, j], tables[1][n, j], tables[2][n, j], d, base, lse, a, b, resp)
    return lse[0]


@entry(**FLAGS)
def forward(
    first: int, stop: int, chosen: Array, d: float, base: float, eta: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the prior."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    xs, rhos = room[0], room[1]
    last = len(xs) - 1
    for i in range(first, stop):
        log_weight[i] = ahead(i, chosen[i], d, base, eta, tables, noise, room, resp)
        if last == 0:
            log_weight[i] += density(xs[0], rhos[0, 0], d, base, tables, 0, TARGET, resp)
        finish(i, xs[last], rhos[last, 0], resp, end, rho, modes)


@njit(**FLAGS)
def finish(i: int, x: Array, square: float, resp: Array, end: Array, rho: Array, modes: Array) -> None:
    rho[i] = square
    for b in range(end.shape[1]):
        end[i, b] = x[b]
    for k in range(modes.shape[1]):
        modes[i, k] = resp[k]


@entry(**FLAGS)
def backward(
    first: int, stop: int, chosen: Array, d: float, base: float, eta: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the target, by the backward kernels; log W of the same path."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    xs, rhos, shrinks, pulls = room
    xi, xi1, chi2 = noise
    last = len(xs) - 1
    mean, log_var = tables[0][last, TARGET], tables[1][last, TARGET]
    gained = np.empty(1)
    for i in range(first, stop):
        k = chosen[i]
        start(mean[k * R : k * R + R], log_var[k], xi[0, i], xi1[0, i], chi2[0, i], xs[last], rhos[last])
        drifts(last, xs[last], rhos[last, 0], d, base, tables, shrinks[last], pulls[last], resp)
        total = density(xs[last], rhos[last, 0], d, base, tables, last, TARGET, resp)
        finish(i, xs[last], rhos[last, 0], resp, end, rho, modes)
        for n in range(last - 1, -1, -1):
            step(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], xi[n + 1, i], xi1[n + 1, i],
                 chi2[n + 1, i], eta, xs[n], rhos[n])  # fmt: skip
            drifts(n, xs[n], rhos[n, 0], d, base, tables, shrinks[n], pulls[n], resp)
            # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
            weight(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], shrinks[n, 0], pulls[n, 0],
                   xi[n + 1, i], xi1[n + 1, i], chi2[n + 1, i], eta, base, gained)  # fmt: skip
            total -= gained[0]
        log_weight[i] = total - density(xs[0], rhos[0, 0], d, base, tables, 0, PRIOR, resp)


@entry(**FLAGS)
def gradient(
    first: int, stop: int, chosen: Array, d: float, base: float, eta: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array, weights: Array, d_ends: Array,
    totals: Array, of_start: Array,
) -> None:  # fmt: skip
    """`forward`, and the derivatives of Σ_i weights_i (−log W_i): added to totals (N+1, J, K R + 2 K), rows of means,
    log_vars and log_ws, and of_start (K, R + 1), those of the mean and log_var a path started with."""
    tables, noise, room = without_owner(tables, noise, room)
    end, rho, modes, resp = bare(end), bare(rho), bare(modes), np.empty(K)
    d_ends, totals, of_start = bare(d_ends), bare(totals), bare(of_start)
    xs, rhos, shrinks, pulls = room
    xi, xi1, chi2 = noise
    last = len(xs) - 1
    mean, log_var = tables[0][0, PRIOR], tables[1][0, PRIOR]
    x_bar, rho_bar, more_x, more_rho = np.empty(R), np.empty(1), np.empty(R), np.empty(1)
    of_x, of_rho, d_shrink = np.empty(R), np.empty(1), np.empty(2)
    of_pull, of_a, more_pull, more_a = np.empty(R), np.empty(1), np.empty(R), np.empty(1)
    d_pull = bare(np.empty(2 * R).reshape((2, R)))
    for i in range(first, stop):
        log_weight[i] = ahead(i, chosen[i], d, base, eta, tables, noise, room, resp)
        if last == 0:
            log_weight[i] += density(xs[0], rhos[0, 0], d, base, tables, 0, TARGET, resp)
        finish(i, xs[last], rhos[last, 0], resp, end, rho, modes)
        rho_bar[0] = d_shrink[0] = 0.0
        for b in range(R):
            x_bar[b] = d_pull[0, b] = 0.0
        for n in range(last, -1, -1):
            d_shrink[1] = 0.0
            for b in range(R):
                d_pull[1, b] = 0.0
            if n > 0:
                weight_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                    xi[n, i], xi1[n, i], chi2[n, i], eta, base, -weights[i],
                    of_x, of_rho, more_a, more_pull, of_a, of_pull,
                )  # fmt: skip
                d_shrink[1] = of_a[0]
                for b in range(R):
                    d_pull[1, b] = of_pull[b]
            drifts_adjoint(
                n, xs[n], rhos[n, 0], d, base, tables, d_shrink, d_pull, d_ends, weights[i], x_bar, rho_bar, totals
            )
            if n > 0:
                step_adjoint(
                    xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi[n, i], xi1[n, i], chi2[n, i], eta,
                    x_bar, rho_bar[0], more_x, more_rho, of_a, of_pull,
                )  # fmt: skip
                rho_bar[0] = more_rho[0] + of_rho[0]
                d_shrink[0] = of_a[0] + more_a[0]
                for b in range(R):
                    x_bar[b] = more_x[b] + of_x[b]
                    d_pull[0, b] = of_pull[b] + more_pull[b]
        k = chosen[i]
        start_adjoint(
            mean[k * R : k * R + R], log_var[k], xi[0, i], xi1[0, i], chi2[0, i], x_bar, rho_bar[0], of_pull, of_a
        )
        of_start[k, R] += of_a[0]
        for b in range(R):
            of_start[k, b] += of_pull[b]
