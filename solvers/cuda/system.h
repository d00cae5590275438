/* What an emitted system asks for besides arithmetic, declared; expectations.h defines it. */

// Numbers in which `expect` keeps what `expect_tangent` needs, for n logits and one component: the second and third
// derivative of E softplus; for more than two, E p_i p_j and E p_i p_j p_k of all probabilities but the last.
DEVICE constexpr int SLOPES(int n) {
    return n < 3 ? 2 * (n - 1) : (n - 1) * n / 2 + (n - 1) * n * (n + 1) / 6;
}

DEVICE void weights(Rows work);
// w^power, the rate of a component in a metric, for whole powers: an exponential here would cost a hundred registers.
DEVICE double mobility(double w, double, double power) {
    double rate = 1.0;
    ROLL
    for (int n = 0; n < fabs(power); ++n) rate *= w;
    return power < 0.0 ? 1.0 / rate : rate;
}
DEVICE double logarithm(double x) { return log(x); }
// h(above/below), as solvers/expectations/divergence.py has it.
DEVICE double divergence(double above, double below) {
    const double e = (above - below) / below, r = (above - below) / (above + below), square = r * r;
    if (!(fabs(r) < DIVERGENCE_SERIES)) return 0.5 * (e - log(above / below));
    double series = square / (2 * DIVERGENCE_TERMS + 3);
    ROLL
    for (int n = DIVERGENCE_TERMS; n > 0; --n) series = (series + 1.0 / (2 * n + 1)) * square;
    return 0.5 * r * (e - 2.0 * series);
}
// For `rows` components, with means, results and slopes one after another and one covariance. `expect_fixed`: of a law
// whose covariance does not move, number `law` of those; the CPU has a table for each, here the general one serves all.
DEVICE void expect(
    Rows work, int rows, int n, int mean, int cov, int softmax, int lse, int slope, bool slopes
);
DEVICE void expect_fixed(
    Rows work, const double *, int, int rows, int n, int mean, int cov, int softmax, int lse, int slope, bool slopes
) {
    expect(work, rows, n, mean, cov, softmax, lse, slope, slopes);
}
DEVICE void expect_tangent(
    Rows work, int rows, int n, int slope, int softmax, int d_mean, int d_cov, int d_softmax, int d_lse
);
