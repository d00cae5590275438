// The estimator of estimate.py for CUDA: one launch draws, evaluates and adds for all particles of a step.
//
// A block of threads serves one source (component of q, or mode of p) of one replica, and `per_block` of its particles,
// BATCH of them at a time; its threads share out the pairs of coordinates. First pass: normals in registers
// (streams.py), x, inner products with all means. The sums over threads give log-densities and responsibilities of the
// particle. Second pass: coefficients times x, added for every coordinate by the thread that owns it; x was held in
// registers, or is drawn again if d is too large for that (HELD = 0): counters cost no memory. Nothing of size
// particles x d ever exists, and sums are made in a fixed order.
//
// device.py puts this text behind normals.h. Compile with COMPONENTS, MODES, FORWARD (0 or 1), THREADS, WARP, BATCH, and
// HELD: pairs that a thread holds.

enum {
    TERMS = COMPONENTS + MODES,
    VALUES = TERMS + 1,  // inner products with the means, and |x|^2
    COEFFICIENTS = FORWARD ? COMPONENTS : 1,
    SCALARS = 1 + COEFFICIENTS,
    WARPS = THREADS / WARP,
    OWN = HELD > 0 ? HELD : 1
};

// log of the sum of exp(term); the terms become exp(term - that).
__device__ double normalise(double* term, int count)
{
    double top = term[0], total = 0.0;
    for (int a = 1; a < count; ++a) top = term[a] > top ? term[a] : top;
    for (int a = 0; a < count; ++a) total += term[a] = exp(term[a] - top);
    for (int a = 0; a < count; ++a) term[a] /= total;
    return top + log(total);
}

// From the inner products of one particle of source s to what it adds: responsibilities, scalars, coefficients of x.
__device__ void evaluate(
    const double* dot, int origin, const double* variance, const double* constant, const double* gram, double beta,
    double* term, double* scalar, double* weight)
{
    const double square = dot[TERMS];
    for (int a = 0; a < TERMS; ++a) term[a] = (dot[a] - 0.5 * square) / variance[a] + constant[a];
    const double log_q = normalise(term, COMPONENTS);
    scalar[0] = log_q - beta * normalise(term + COMPONENTS, MODES);
    if (FORWARD) {
        for (int k = 0; k < COEFFICIENTS; ++k) {
            weight[k] = term[k];
            scalar[1 + k] = term[k] * (square - 2.0 * dot[k] + gram[k * TERMS + k]);
        }
    } else {
        double slope = 0.0, along = 0.0;
        for (int a = 0; a < TERMS; ++a) {
            const double pull = (a < COMPONENTS ? 1.0 : -beta) / variance[a] * term[a];
            slope -= pull;
            along += pull * (dot[a] - gram[origin * TERMS + a]);
        }
        weight[0] = slope;
        scalar[1] = slope * (square - dot[origin]) + along;
    }
}

// Two coordinates of a particle; 0 where the pair reaches beyond R^d.
__device__ void place(
    wide pair, word particle, word step, int source, const wide* key, const double* mean, double scale, wide d,
    double* x)
{
    const wide j = 16 * (pair / 8) + pair % 8;
    double a, b;
    normal_pair((word)pair, particle, step, (word)source, (word)key[0], (word)key[1], &a, &b);
    x[0] = j < d ? mean[j] + scale * a : 0.0;
    x[1] = j + 8 < d ? mean[j + 8] + scale * b : 0.0;
}

extern "C" __global__ void particle_sums(
    const double* __restrict__ means,      // (replica, TERMS, d)
    const double* __restrict__ variances,  // (replica, TERMS)
    const double* __restrict__ constants,  // (replica, TERMS)
    const double* __restrict__ grams,      // (replica, TERMS, TERMS)
    const wide* __restrict__ keys,         // (replica, 2)
    double beta, word step, word common, double sign, wide particles, wide per_block, wide d,
    double* __restrict__ moments,          // (piece, replica, source, COEFFICIENTS, d), zeros before
    double* __restrict__ tables,           // (piece, replica, source, TERMS)
    double* __restrict__ scalars)          // (piece, replica, source, SCALARS)
{
    __shared__ double partial[WARPS][BATCH * VALUES];
    __shared__ double term[BATCH][TERMS], scalar[BATCH][SCALARS], weight[BATCH][COEFFICIENTS];
    __shared__ double total[TERMS + SCALARS];
    const int me = threadIdx.x, origin = (FORWARD ? COMPONENTS : 0) + blockIdx.y;
    const wide g = blockIdx.z, place_out = ((wide)blockIdx.x * gridDim.z + g) * gridDim.y + blockIdx.y;
    const double *mean = means + g * TERMS * d, *variance = variances + g * TERMS;
    const double *constant = constants + g * TERMS, *gram = grams + g * TERMS * TERMS;
    const wide* key = keys + 2 * g;
    const double *centre = mean + origin * d, scale = sign * sqrt(variance[origin]);
    const int source = common ? 0 : origin;
    const wide pairs = 8 * ((d + 15) / 16);
    const wide begin = blockIdx.x * per_block;
    const wide end = begin + per_block < particles ? begin + per_block : particles;
    double* moment = moments + place_out * COEFFICIENTS * d;
    double held[OWN][BATCH][2], sum[OWN][COEFFICIENTS][2];
    for (int t = 0; t < OWN; ++t)
        for (int c = 0; c < COEFFICIENTS; ++c) sum[t][c][0] = sum[t][c][1] = 0.0;
    for (int i = me; i < TERMS + SCALARS; i += THREADS) total[i] = 0.0;

    for (wide first = begin; first < end; first += BATCH) {
        double dot[BATCH * VALUES];
        for (int i = 0; i < BATCH * VALUES; ++i) dot[i] = 0.0;
#pragma unroll
        for (int t = 0; HELD == 0 || t < HELD; ++t) {
            const wide pair = me + (wide)t * THREADS, j = 16 * (pair / 8) + pair % 8;
            if (pair >= pairs) {
                if (HELD == 0) break;
                continue;
            }
            double (*x)[2] = held[HELD > 0 ? t : 0];
#pragma unroll
            for (int n = 0; n < BATCH; ++n) {
                place(pair, (word)(first + n), step, source, key, centre, scale, d, x[n]);
                dot[n * VALUES + TERMS] += x[n][0] * x[n][0] + x[n][1] * x[n][1];
            }
            for (int a = 0; a < TERMS; ++a) {
                const double m0 = j < d ? mean[a * d + j] : 0.0, m1 = j + 8 < d ? mean[a * d + j + 8] : 0.0;
#pragma unroll
                for (int n = 0; n < BATCH; ++n) dot[n * VALUES + a] += x[n][0] * m0 + x[n][1] * m1;
            }
        }
        for (int i = 0; i < BATCH * VALUES; ++i) {
            double value = dot[i];
            for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
            if (me % WARP == 0) partial[me / WARP][i] = value;
        }
        __syncthreads();
        if (me < BATCH) {
            for (int i = 0; i < VALUES; ++i) {
                double value = 0.0;
                for (int warp = 0; warp < WARPS; ++warp) value += partial[warp][me * VALUES + i];
                dot[i] = value;
            }
            evaluate(dot, origin, variance, constant, gram, beta, term[me], scalar[me], weight[me]);
            if (first + me >= end)
                for (int c = 0; c < COEFFICIENTS; ++c) weight[me][c] = 0.0;
        }
        __syncthreads();
        const int count = end - first < BATCH ? (int)(end - first) : BATCH;
        for (int i = me; i < TERMS + SCALARS; i += THREADS)
            for (int n = 0; n < count; ++n) total[i] += i < TERMS ? term[n][i] : scalar[n][i - TERMS];
#pragma unroll
        for (int t = 0; HELD == 0 || t < HELD; ++t) {
            const wide pair = me + (wide)t * THREADS, j = 16 * (pair / 8) + pair % 8;
            if (pair >= pairs) {
                if (HELD == 0) break;
                continue;
            }
            double (*own)[2] = sum[HELD > 0 ? t : 0];
#pragma unroll
            for (int n = 0; n < BATCH; ++n) {
                double* x = held[HELD > 0 ? t : 0][n];
                if (HELD == 0) place(pair, (word)(first + n), step, source, key, centre, scale, d, x);
#pragma unroll
                for (int c = 0; c < COEFFICIENTS; ++c) {
                    own[c][0] += weight[n][c] * x[0];
                    own[c][1] += weight[n][c] * x[1];
                }
            }
            if (HELD == 0)
                for (int c = 0; c < COEFFICIENTS; ++c) {
                    if (j < d) moment[c * d + j] += own[c][0];
                    if (j + 8 < d) moment[c * d + j + 8] += own[c][1];
                    own[c][0] = own[c][1] = 0.0;
                }
        }
        __syncthreads();  // before term, scalar and weight are written again
    }
    for (int t = 0; t < HELD; ++t) {
        const wide pair = me + (wide)t * THREADS, j = 16 * (pair / 8) + pair % 8;
        for (int c = 0; c < COEFFICIENTS; ++c) {
            if (j < d) moment[c * d + j] = sum[t][c][0];
            if (j + 8 < d) moment[c * d + j + 8] = sum[t][c][1];
        }
    }
    for (int i = me; i < TERMS; i += THREADS) tables[place_out * TERMS + i] = total[i];
    for (int i = me; i < SCALARS; i += THREADS) scalars[place_out * SCALARS + i] = total[TERMS + i];
}
