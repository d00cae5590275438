/* Linear equations: triangular factors with rows exchanged only where that is needed, as solvers/integrate/linear.py. */

// Replace a matrix by its triangular factors, pivots inverted; swap gets the exchanges, the same in every thread.
DEVICE void factorise(double *matrix, int *swap) {
    ROLL
    for (int c = 0; c < N; ++c) {
        TOGETHER;
        int best = c;
        for (int r = c + 1; r < N; ++r)
            if (fabs(matrix[r * N + c]) > fabs(matrix[best * N + c])) best = r;
        if (!(fabs(matrix[best * N + c]) > SMALL_PIVOT * fabs(matrix[c * N + c]))) best = c;
        TOGETHER;
        if (LANE == 0) swap[c] = best;
        if (best != c) {
            EACH(q, N) {
                const double other = matrix[best * N + q];
                matrix[best * N + q] = matrix[c * N + q];
                matrix[c * N + q] = other;
            }
        }
        TOGETHER;
        const double inverse = 1.0 / matrix[c * N + c];
        TOGETHER;
        if (LANE == 0) matrix[c * N + c] = inverse;
        EACH(i, N - 1 - c) {
            const int r = c + 1 + i;
            const double multiple = matrix[r * N + c] * inverse;
            matrix[r * N + c] = multiple;
            for (int q = c + 1; q < N; ++q) matrix[r * N + q] -= multiple * matrix[c * N + q];
        }
    }
    TOGETHER;
}

// Replace x by the solution for it as right-hand side, with what `factorise` left.
DEVICE void solve(const double *factors, const int *swap, double *x) {
    TOGETHER;
    if (LANE == 0) {
        for (int c = 0; c < N; ++c) {
            const int r = swap[c];
            const double other = x[r];
            x[r] = x[c];
            x[c] = other;
        }
    }
    ROLL
    for (int c = 0; c < N; ++c) {
        TOGETHER;
        EACH(i, N - 1 - c) x[c + 1 + i] -= factors[(c + 1 + i) * N + c] * x[c];
    }
    ROLL
    for (int c = N - 1; c >= 0; --c) {
        TOGETHER;
        if (LANE == 0) x[c] *= factors[c * N + c];
        TOGETHER;
        EACH(r, c) x[r] -= factors[r * N + c] * x[c];
    }
    TOGETHER;
}
