/* What emitted systems ask for besides arithmetic: softmax weights, and expectations of softmax of Gaussian logits.

   Arguments are positions in `work`, as the emitted text says. Up to two logits: the special function; for more,
   expect_many and change_many of quadrature.h. */

// log w and w = softmax θ.
DEVICE void weights(Rows work) {
    double largest = work[R_THETA], total = 0.0;
    UNROLL
    for (int k = 1; k < K; ++k) largest = larger(largest, work[R_THETA + k]);
    UNROLL
    for (int k = 0; k < K; ++k) {
        work[R_W + k] = exp(work[R_THETA + k] - largest);
        total += work[R_W + k];
    }
    const double shift = log(total), scale = 1.0 / total;
    UNROLL
    for (int k = 0; k < K; ++k) {
        work[R_W + k] *= scale;
        work[R_LOG_W + k] = work[R_THETA + k] - largest - shift;
    }
}

// E softmax and E logsumexp of n logits, the last one zero; slopes: also what expect_tangent needs.
DEVICE void expect(
    Rows work, int rows, int n, int mean, int cov, int softmax, int lse, int slope, bool slopes
) {
#if !SMALL
    if (n > 2) {
        expect_many(work, rows, n, mean, cov, softmax, lse, slope, slopes);
        return;
    }
#endif
    UNROLL
    for (int k = 0; k < rows; ++k) {
        if (n == 1) {
            work[softmax + k] = 1.0;
            work[lse + k] = 0.0;
            continue;
        }
        const ln_jet jet = logistic_normal(work[mean + 2 * k], work[cov], many.table);
        work[lse + k] = jet.j0;
        work[softmax + 2 * k] = jet.j1;
        work[softmax + 2 * k + 1] = 1.0 - jet.j1;
        if (slopes) {
            work[slope + 2 * k] = jet.j2;
            work[slope + 2 * k + 1] = jet.j3;
        }
    }
}

// Change of both with those of means and covariance; E softplus solves the heat equation.
DEVICE void expect_tangent(
    Rows shared, int rows, int n, int slope, int softmax, int d_mean, int d_cov, int d_softmax, int d_lse
) {
    double *const work = shared;
    TOGETHER;
    UNROLL
    EACH(k, rows) {
#if !SMALL
        if (n > 2) {
            const int kept = slope + k * SLOPES(n), first = k * n;
            change_many(work, n, kept, softmax + first, d_mean + first, d_cov, d_softmax + first, d_lse + k);
            continue;
        }
#endif
        if (n == 1) {
            work[d_softmax + k] = 0.0;
            work[d_lse + k] = 0.0;
        } else {
            const double change = work[d_mean + 2 * k], spread = 0.5 * work[d_cov], first = work[softmax + 2 * k];
            const double second = work[slope + 2 * k], third = work[slope + 2 * k + 1];
            work[d_lse + k] = first * change + second * spread;
            work[d_softmax + 2 * k] = second * change + third * spread;
            work[d_softmax + 2 * k + 1] = -work[d_softmax + 2 * k];
        }
    }
    TOGETHER;
}
