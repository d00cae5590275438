/* E softmax, E logsumexp and their derivatives for three and more logits, by the rules of rules.h. Threads of a trajectory
   share the nodes; what is small each has for itself. */

// Range of logits up to which exponentials are shared: their sum then stays above e^−150.
constexpr double MODERATE = 150.0;

// Sums of this thread over its nodes, for several distributions whose logits are offset + field + log rates_k:
// share / norm e_j and share log norm for each, (n + 1) of them; share; share max. moments: see SLOPES, for one alone.
DEVICE void sweep(
    const Rule &rule, int n, const double *offset, int rows, const double *rates, double *sums, double *moments
) {
    const int size = n - 1, nodes = nodes_of(rule), columns = rule.rank > 3 ? size : rule.rank;
    double z[MOST], e[MOST];
    for (int i = 0; i < rows * (n + 1) + 2; ++i) sums[i] = 0.0;
    if (moments)
        for (int i = 0; i < SLOPES(n); ++i) moments[i] = 0.0;
    ROLL
    EACH(i, nodes) {
        const double share = node(rule, n, i, z);
        if (share == 0.0) continue;
        double top = 0.0;
        for (int j = 0; j < size; ++j) {
            e[j] = offset[j];
            for (int a = 0; a < columns; ++a) e[j] += rule.factor[j * size + a] * z[a];
            top = fmax(top, e[j]);
        }
        for (int j = 0; j < size; ++j) e[j] = exp(e[j] - top);
        e[size] = exp(-top);
        sums[rows * (n + 1)] += share;
        sums[rows * (n + 1) + 1] += share * top;
        for (int k = 0; k < rows; ++k) {
            double norm = 0.0;
            for (int j = 0; j < n; ++j) norm += rates[k * n + j] * e[j];
            const double each = share / norm;
            for (int j = 0; j < n; ++j) sums[k * (n + 1) + j] += each * e[j];
            sums[k * (n + 1) + n] += share * log(norm);
            if (moments) {
                int pair = 0, triple = size * (size + 1) / 2;
                for (int a = 0; a < size; ++a) {
                    for (int b = a; b < size; ++b) {
                        const double product = each * e[a] * (e[b] / norm);
                        moments[pair++] += product;
                        for (int c = b; c < size; ++c) moments[triple++] += product * (e[c] / norm);
                    }
                }
            }
        }
    }
}

// Results of one distribution of a sweep to work, its probabilities made to sum to one; `top` what rates leave out.
DEVICE void finish(
    Rows work, int n, int row, int rows, const double *rates, double top, double *sums, int softmax, int lse
) {
    const double share = over_threads(sums[rows * (n + 1)]), above = over_threads(sums[rows * (n + 1) + 1]);
    double total = 0.0;
    ROLL
    for (int j = 0; j < n; ++j) {
        sums[row * (n + 1) + j] = rates[j] * over_threads(sums[row * (n + 1) + j]);
        total += sums[row * (n + 1) + j];
    }
    ROLL
    for (int j = 0; j < n; ++j) work[softmax + j] = sums[row * (n + 1) + j] / total;
    work[lse] = top + (over_threads(sums[row * (n + 1) + n]) + above) / share;
}

// `expect` for n > 2. Where means or fields are moderate, exponentials of the fields serve all distributions.
DEVICE void expect_many(
    Rows work, int rows, int n, int mean, int cov, int softmax, int lse, int slope, bool slopes
) {
    Rule rule;
    double offset[MOST], rates[K * MOST], tops[K], sums[K * (MOST + 1) + 2], moments[SLOPES(MOST)];
    const bool finite = choose(work, n, cov, rule);
    double spread = 0.0, range = 0.0;
    ROLL
    for (int i = 0; i < n && finite; ++i) {
        ROLL
        for (int j = 0; j < i; ++j) {
            double square = 0.0;
            ROLL
            for (int a = 0; a < n - 1; ++a) {
                const double from = i < n - 1 ? rule.factor[i * (n - 1) + a] : 0.0;
                const double difference = from - rule.factor[j * (n - 1) + a];
                square += difference * difference;
            }
            spread = fmax(spread, sqrt(square) * REACH);
        }
    }
    ROLL
    for (int k = 0; k < rows; ++k) {
        double high = 0.0, low = 0.0;
        ROLL
        for (int j = 0; j < n - 1; ++j) {
            high = larger(high, work[mean + k * n + j]);
            low = fmin(low, work[mean + k * n + j]);
        }
        tops[k] = high;
        range = fmax(range, high - low);
        ROLL
        for (int j = 0; j < n; ++j) rates[k * n + j] = exp((j < n - 1 ? (double)work[mean + k * n + j] : 0.0) - high);
    }
    if (!finite) {
        ROLL
        for (int i = 0; i < rows * n; ++i) work[softmax + i] = not_a_number();
        ROLL
        for (int k = 0; k < rows; ++k) work[lse + k] = not_a_number();
    } else if (!slopes && fmin(range, spread) <= MODERATE) {
        ROLL
        for (int j = 0; j < n - 1; ++j) offset[j] = 0.0;
        sweep(rule, n, offset, rows, rates, sums, nullptr);
        ROLL
        for (int k = 0; k < rows; ++k)
            finish(work, n, k, rows, rates + k * n, tops[k], sums, softmax + k * n, lse + k);
    } else {
        ROLL
        for (int j = 0; j < n; ++j) rates[j] = 1.0;
        ROLL
        for (int k = 0; k < rows; ++k) {
            ROLL
            for (int j = 0; j < n - 1; ++j) offset[j] = work[mean + k * n + j];
            sweep(rule, n, offset, 1, rates, sums, slopes ? moments : nullptr);
            const double share = over_threads(sums[n + 1]);
            ROLL
            for (int i = 0; slopes && i < SLOPES(n); ++i)
                work[slope + k * SLOPES(n) + i] = over_threads(moments[i]) / share;
            finish(work, n, 0, 1, rates, 0.0, sums, softmax + k * n, lse + k);
        }
    }
}

// `expect_tangent` of one component for n > 2, by one thread. With p the probabilities and δ the changes:
//     dE lse = Σ_j E p_j δm_j + ½ Σ_ab E(δ_ab p_a − p_a p_b) δC_ab
//     dE p_i = Σ_j E(δ_ij p_i − p_i p_j) δm_j
//              + ½ Σ_ab E(δ_iab p_i − δ_ia p_i p_b − δ_ib p_i p_a − δ_ab p_i p_a + 2 p_i p_a p_b) δC_ab
DEVICE void change_many(
    double *work, int n, int moments, int softmax, int d_mean, int d_cov, int d_softmax, int d_lse
) {
    const int size = n - 1;
    double total = 0.0, last = 0.0;
    ROLL
    for (int i = 0; i < size; ++i) {
        const double change = work[d_mean + i] + 0.5 * work[d_cov + i * n + i];
        work[d_softmax + i] = work[softmax + i] * change;
        total += work[softmax + i] * change;
    }
    int pair = moments, triple = moments + size * (size + 1) / 2;
    ROLL
    for (int i = 0; i < size; ++i) {
        ROLL
        for (int j = i; j < size; ++j) {
            const double second = work[pair++], across = work[d_cov + i * n + j];
            total -= (i == j ? 0.5 : 1.0) * second * across;
            work[d_softmax + i] -= second * (work[d_mean + j] + across + 0.5 * work[d_cov + j * n + j]);
            if (i != j) work[d_softmax + j] -= second * (work[d_mean + i] + across + 0.5 * work[d_cov + i * n + i]);
            ROLL
            for (int k = j; k < size; ++k) { // Σ_ab p_i p_a p_b δC_ab: both orders of a ≠ b
                const double third = work[triple++];
                work[d_softmax + i] += (j == k ? 1.0 : 2.0) * third * work[d_cov + j * n + k];
                if (i != j) work[d_softmax + j] += 2.0 * third * work[d_cov + i * n + k];
                if (j != k) work[d_softmax + k] += (i == j ? 1.0 : 2.0) * third * across;
            }
        }
    }
    ROLL
    for (int i = 0; i < size; ++i) last -= work[d_softmax + i];
    work[d_softmax + size] = last;
    work[d_lse] = total;
}
