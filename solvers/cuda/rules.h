/* Rules of quadrature for three and more logits, and their nodes: those of solvers/expectations/quadrature.py. */

constexpr int MOST = K > L ? K : L; // logits
constexpr double PI = 3.14159265358979323846;

// The rule for one covariance: nodes in `rank` directions, each a field Σ_a factor_ja z_a of logit j.
struct Rule {
    int rank;
    double first, second; // steps along the longest axes, ranks 1 and 2; first: of the lattice, rank 3
    double radius;        // up to rank 3
    int halvings;         // of the number of Sobol points
    double factor[(MOST - 1) * (MOST - 1)];
};

// Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix, which is destroyed: Jacobi rotations.
DEVICE void principal_axes(double *matrix, int size, double *variances, double *axes) {
    double whole = 0.0;
    ROLL
    for (int i = 0; i < size * size; ++i) {
        axes[i] = i % (size + 1) == 0 ? 1.0 : 0.0;
        whole += matrix[i] * matrix[i];
    }
    ROLL
    for (int turn = 0; turn < 40; ++turn) {
        double off = 0.0;
        ROLL
        for (int i = 0; i < size; ++i)
            ROLL
            for (int j = 0; j < i; ++j) off += matrix[i * size + j] * matrix[i * size + j];
        if (off <= 1e-36 * whole) break;
        ROLL
        for (int i = 0; i < size; ++i) {
            ROLL
            for (int j = i + 1; j < size; ++j) {
                if (matrix[i * size + j] == 0.0) continue;
                const double slope = (matrix[j * size + j] - matrix[i * size + i]) / (2.0 * matrix[i * size + j]);
                const double size_of = 1.0 / (fabs(slope) + sqrt(slope * slope + 1.0));
                const double tangent = slope < 0.0 ? -size_of : size_of;
                const double cosine = 1.0 / sqrt(tangent * tangent + 1.0), sine = tangent * cosine;
                ROLL
                for (int part = 0; part < 3; ++part) {
                    double *at = part == 2 ? axes : matrix;
                    const int step = part == 1 ? 1 : size, a = part == 1 ? i * size : i, b = part == 1 ? j * size : j;
                    ROLL
                    for (int l = 0; l < size; ++l) {
                        const double x = at[a + l * step], y = at[b + l * step];
                        at[a + l * step] = cosine * x - sine * y;
                        at[b + l * step] = sine * x + cosine * y;
                    }
                }
            }
        }
    }
    ROLL
    for (int i = 0; i < size; ++i) variances[i] = matrix[i * size + i];
    ROLL
    for (int i = 0; i < size; ++i) {
        int least = i;
        ROLL
        for (int j = i + 1; j < size; ++j)
            if (variances[j] < variances[least]) least = j;
        if (least == i) continue;
        const double variance = variances[i];
        variances[i] = variances[least];
        variances[least] = variance;
        ROLL
        for (int l = 0; l < size; ++l) {
            const double x = axes[l * size + i];
            axes[l * size + i] = axes[l * size + least];
            axes[l * size + least] = x;
        }
    }
}

// Step of the trapezoidal rule for a column of that width.
DEVICE double spacing(double width) {
    const double level = ceil(log(fmax(width / NARROW, 1.0)) / log(LEVEL));
    const double c = fmin(PI / (NARROW * pow(LEVEL, level)), sqrt(2.0 * many.digits));
    return 2.0 * PI * c / (many.digits + c * c / 2.0);
}

// Largest difference between two entries of a column of the factor, a further zero among them.
DEVICE double extent(const double *factor, int size, int column) {
    double high = 0.0, low = 0.0;
    ROLL
    for (int j = 0; j < size; ++j) {
        high = fmax(high, factor[j * size + column]);
        low = fmin(low, factor[j * size + column]);
    }
    return high - low;
}

// Largest distance between two rows of the factor, a further row of zeros among them.
DEVICE double diameter(const double *factor, int size) {
    double largest = 0.0;
    ROLL
    for (int i = 0; i < size; ++i) {
        ROLL
        for (int j = 0; j <= i; ++j) {
            double square = 0.0;
            ROLL
            for (int a = 0; a < size; ++a) {
                const double difference = factor[i * size + a] - (j < i ? factor[j * size + a] : 0.0);
                square += difference * difference;
            }
            largest = fmax(largest, square);
        }
    }
    return sqrt(largest);
}

// How often the number of Sobol points is halved for that largest distance.
DEVICE int halvings(double width) {
    const double enough = 0.3 * (width * width) * (width * width) / (1.0 + width * width) / (5.0 * exp(-many.digits));
    int count = 0, points = POINTS / 2;
    ROLL
    while (count < HALVINGS && points >= enough) {
        ++count;
        points /= 2;
    }
    return count;
}

// The rule for the covariance at work[cov] of n logits; false if that is not finite.
DEVICE bool choose(const double *work, int n, int cov, Rule &rule) {
    const int size = n - 1;
    double matrix[(MOST - 1) * (MOST - 1)], axes[(MOST - 1) * (MOST - 1)], variances[MOST - 1];
    ROLL
    for (int i = 0; i < size; ++i) {
        ROLL
        for (int j = 0; j < size; ++j) {
            matrix[i * size + j] = work[cov + i * n + j];
            if (!isfinite(matrix[i * size + j])) return false;
        }
    }
    principal_axes(matrix, size, variances, axes);
    int rank = 0;
    ROLL
    for (int a = 0; a < size; ++a) rank += variances[a] > RANK_CUT * fmax(1.0, variances[size - 1]);
    rule.rank = rank;
    rule.first = rule.second = 1.0;
    rule.radius = sqrt(2.0 * many.digits + (rank < 3 ? 4.0 : 5.0));
    ROLL
    for (int i = 0; i < size * size; ++i) rule.factor[i] = 0.0;
    if (rank > 3 || (rank == 3 && size == 3)) { // the symmetric root
        ROLL
        for (int a = 0; a < size; ++a) {
            const double root = sqrt(fmax(variances[a], 0.0));
            ROLL
            for (int i = 0; i < size; ++i)
                ROLL
                for (int j = 0; j < size; ++j)
                    rule.factor[i * size + j] += root * axes[i * size + a] * axes[j * size + a];
        }
    }
    ROLL
    for (int a = 0; a < rank && (rank < 3 || (rank == 3 && size > 3)); ++a) { // the longest axis first in the plane; in space as in NumPy
        const int column = rank < 3 ? rank - 1 - a : a;
        const double root = sqrt(fmax(variances[size - rank + a], 0.0));
        ROLL
        for (int i = 0; i < size; ++i) rule.factor[i * size + column] = root * axes[i * size + size - rank + a];
    }
    if (rank == 1) rule.first = fmax(spacing(extent(rule.factor, size, 0)), 2.0 * rule.radius / MAX_NODES);
    if (rank == 2) {
        rule.first = spacing(extent(rule.factor, size, 0));
        rule.second = spacing(extent(rule.factor, size, 1));
        const double nodes = PI * rule.radius * rule.radius / (rule.first * rule.second);
        const double coarser = fmax(1.0, sqrt(nodes / MAX_NODES));
        rule.first *= coarser;
        rule.second *= coarser;
    }
    rule.halvings = rank > 3 ? halvings(diameter(rule.factor, size)) : 0;
    if (rank == 3) {
        rule.first = sqrt(2.0) * spacing(diameter(rule.factor, size));
        if (rule.radius > LATTICE * rule.first) {
            rule.radius = fmin(rule.radius, LATTICE_RADIUS);
            rule.first = rule.radius / LATTICE;
        }
    }
    return true;
}

// Squared distance of node i of the lattice, in steps, from the centre: they come nearest first.
DEVICE double distance(int i) {
    double square = 0.0;
    ROLL
    for (int a = 0; a < 3; ++a) {
        const double z = many.lattice[a * many.lattice_nodes + i];
        square += z * z;
    }
    return square;
}

// Number of nodes to try for n logits, some of a plane's being beyond its radius.
DEVICE int nodes_of(const Rule &rule) {
    const int columns = 2 * (int)ceil(rule.radius / rule.first) + 1, rows = 2 * (int)ceil(rule.radius / rule.second) + 1;
    if (rule.rank < 3) return rule.rank == 0 ? 1 : rule.rank == 1 ? columns : columns * rows;
    if (rule.rank > 3) return SOBOL_NODES >> rule.halvings;
    int low = 0, high = (int)many.lattice_nodes;
    ROLL
    while (low < high) {
        const int middle = (low + high) / 2;
        if (distance(middle) * rule.first * rule.first < rule.radius * rule.radius) low = middle + 1;
        else high = middle;
    }
    return low;
}

// Node i: z, and its weight; zero beyond the radius.
DEVICE double node(const Rule &rule, int n, int i, double *z) {
    if (rule.rank == 0) return 1.0;
    if (rule.rank < 3) {
        const int reach = (int)ceil(rule.radius / rule.first), columns = 2 * reach + 1;
        double square = 0.0;
        z[0] = (i % columns - reach) * rule.first;
        square += z[0] * z[0];
        if (rule.rank == 2) {
            z[1] = (i / columns - (int)ceil(rule.radius / rule.second)) * rule.second;
            square += z[1] * z[1];
        }
        return square < rule.radius * rule.radius ? exp(-0.5 * square) : 0.0;
    }
    if (rule.rank == 3) {
        ROLL
        for (int a = 0; a < 3; ++a) z[a] = rule.first * many.lattice[a * many.lattice_nodes + i];
        return exp(-0.5 * rule.first * rule.first * distance(i));
    }
    // All points of all replicates, then half of them, and so on, the antipodes left out.
    const int half = SOBOL_NODES / 2 >> rule.halvings, place = SOBOL_NODES - 2 * half + i % half;
    const double *points = n == K ? many.sobol_q : many.sobol_p, sign = i < half ? 1.0 : -1.0;
    ROLL
    for (int a = 0; a < n - 1; ++a) z[a] = sign * points[a * SOBOL_STRIDE + place];
    return 1.0;
}
