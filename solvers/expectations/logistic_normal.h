/* J(a, v) = E softplus(a + sqrt(v) z), z ~ N(0, 1), and its first three a-derivatives; C99, C++ and CUDA.

   Method, error and layout of the table: logistic_normal.py; the table is coefficients.npy without its header.
   IEEE arithmetic is assumed: no fast-math. Members of the result that are not used cost nothing once inlined.
   Heat equation: dJ/dv = j2/2 and d(j1)/dv = j3/2, so the four serve a right-hand side and its Jacobian.
   A negative variance counts as zero; nan in either argument is nan in every member. */
#ifndef LOGISTIC_NORMAL_H
#define LOGISTIC_NORMAL_H

#ifdef __CUDACC__
#define LN_FUNCTION static __device__ __forceinline__
#define LN_UNROLL _Pragma("unroll 24")
#define LN_BITS(x) __double_as_longlong(x)
#define LN_DOUBLE(i) __longlong_as_double(i)
#define LN_LOAD(pointer) __ldg(pointer) /* the table is never written */
#else
#include <math.h>
#include <string.h>
#define LN_FUNCTION static inline
#ifdef __GNUC__
#define LN_UNROLL _Pragma("GCC unroll 24")
#else
#define LN_UNROLL
#endif
LN_FUNCTION long long LN_BITS(double x) { long long i; memcpy(&i, &x, sizeof i); return i; }
#define LN_LOAD(pointer) (*(pointer))
LN_FUNCTION double LN_DOUBLE(long long i) { double x; memcpy(&x, &i, sizeof x); return x; }
#endif

#define LN_TERMS 24
#define LN_LEVELS 208
#define LN_FIRST_LEVEL 8168 /* biased exponent and three bits of the mantissa of 1/4 */
#define LN_SHIFT 0.25
#define LN_HIGHEST 16777215.0 /* 2^24 - 1 */
#define LN_LOGISTIC_VARIANCE 3.28986813369645287294 /* pi^2/3 */

typedef struct {
    double j0; /* J = E softplus */
    double j1; /* J' = E sigma */
    double j2; /* J'' */
    double j3; /* J''' */
} ln_jet;

LN_FUNCTION ln_jet logistic_normal(double a, double variance, const double *table)
{
    /* Comparisons are written so that nan passes into delta and tau but never into an index. */
    variance = variance < 0 ? 0 : variance;
    long long exponent = ((LN_BITS(variance) >> 52) - (1023 + 22)) >> 1;
    exponent = exponent < 0 ? 0 : exponent;
    const double grown = LN_DOUBLE((1023 + exponent) << 52), shrunk = LN_DOUBLE((1023 - exponent) << 52);
    const double alpha = fabs(a) * shrunk;
    const double v = variance * (shrunk * shrunk) - LN_LOGISTIC_VARIANCE * (1 - shrunk * shrunk);

    const double shifted = v + LN_SHIFT;
    const long long leading = LN_BITS(shifted < LN_HIGHEST ? shifted : LN_HIGHEST) >> 49;
    const double middle = LN_DOUBLE(leading << 49 | 1LL << 48);
    const double *level = table + 2 * (int)(leading - LN_FIRST_LEVEL);
    const double scale = LN_LOAD(level);
    const int code = (int)LN_LOAD(level + 1), patches = code & 63;
    double position = alpha * scale;
    const int beyond = position >= 2 * patches - 1;
    position = beyond ? 2 * patches - 1 : position;
    const double nearest = (position + 1) * 0.5;
    const int index = (int)(nearest < patches - 1 ? nearest : patches - 1);
    const double delta = 2 * index - position, tau2 = (shifted - middle) * (scale * scale);

    const double *row = table + 2 * LN_LEVELS + ((code >> 6) + index) * LN_TERMS;
#ifdef __CUDACC__
    double c[LN_TERMS]; /* rows begin at multiples of 64 bytes: loaded 16 at a time */
    LN_UNROLL
    for (int n = 0; n < LN_TERMS; n += 2) {
        const double2 pair = __ldg((const double2 *)(row + n));
        c[n] = pair.x;
        c[n + 1] = pair.y;
    }
#else
    const double *c = row;
#endif
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0; /* S_m[n] and S_m[n + 1] */
    LN_UNROLL
    for (int n = LN_TERMS - 1; n >= 0; n--) {
        const double step = (n + 1) * tau2;
        const double next3 = s2 + step * t3 + delta * s3, next2 = s1 + step * t2 + delta * s2;
        const double next1 = s0 + step * t1 + delta * s1, next0 = c[n] + step * t0 + delta * s0;
        t0 = s0; t1 = s1; t2 = s2; t3 = s3;
        s0 = next0; s1 = next1; s2 = next2; s3 = next3;
    }

    double tail = 0;
    if (beyond && !(alpha < v)) tail = exp(0.5 * v - alpha);
    s0 = beyond ? tail : s0 * grown;
    s1 = beyond ? tail : s1 * scale;
    s2 = beyond ? tail : s2 * (2 * scale * scale * shrunk);
    s3 = beyond ? tail : s3 * (6 * scale * scale * scale * (shrunk * shrunk));
    s0 = s0 < 0 ? 0 : s0;
    s1 = s1 < 0 ? 0 : s1;

    ln_jet jet;
    jet.j0 = a > 0 ? a + s0 : s0;
    jet.j1 = a > 0 ? 1 - s1 : s1;
    jet.j2 = s2;
    jet.j3 = a > 0 ? -s3 : s3;
    return jet;
}

#endif
