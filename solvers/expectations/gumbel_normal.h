/* H(y, delta) = E exp(-exp(-(y - sqrt(delta) z))), z ~ N(0, 1), its first three y-derivatives, and polynomials of H around
   the points of a grid; C99, C++ and CUDA. Comes after logistic_normal.h, whose macros it uses.

   Method, error and layout of the table: gumbel_normal.py and lanes/gumbel.py; the table is gumbel_table().
   Heat equation: dH/d(delta) = h2/2. A negative delta counts as zero; nan in either argument, and a delta beyond
   GN_HIGHEST, is nan in every member. */
#ifndef GUMBEL_NORMAL_H
#define GUMBEL_NORMAL_H

#define GN_LEVELS 112
#define GN_HEADER 8
#define GN_FIRST_LEVEL 8152 /* biased exponent and three bits of the mantissa of 1/16 */
#define GN_SHIFT 0.0625
#define GN_HIGHEST 1023.0
#define GN_SPACING 0.6
#define GN_FIRST_DEGREE 4
#define GN_LAST_DEGREE 16
#define GN_PAIRS 8
#define GN_NAN LN_DOUBLE(0x7ff8LL << 48)

typedef struct {
    double h0; /* H */
    double h1; /* H' */
    double h2; /* H'' */
    double h3; /* H''' */
} gn_jet;

typedef struct {
    double delta, first, scale, tau; /* delta, or nan; first centre, 1/R, (delta - middle)/(2 R^2) */
    const double *rows;
    int patches, terms;
} gn_level;

typedef struct {
    double x; /* position in the patch, in R */
    const double *row;
    int beyond; /* -1 left of the patches, 1 right of them, else 0 */
} gn_place;

/* What depends on delta only. */
LN_FUNCTION gn_level gn_find(double delta, const double *table)
{
    gn_level level;
    delta = delta < 0 ? 0 : delta;
    level.delta = delta <= GN_HIGHEST ? delta : GN_NAN;
    const double shifted = (delta < GN_HIGHEST ? delta : GN_HIGHEST) + GN_SHIFT;
    const long long leading = LN_BITS(shifted) >> 49;
    const double *head = table + GN_HEADER * (int)(leading - GN_FIRST_LEVEL);
    level.first = LN_LOAD(head);
    level.scale = LN_LOAD(head + 1);
    level.patches = (int)LN_LOAD(head + 2);
    level.terms = (int)LN_LOAD(head + 3);
    level.rows = table + (int)LN_LOAD(head + 4);
    level.tau = 0.5 * (shifted - LN_DOUBLE(leading << 49 | 1LL << 48)) * (level.scale * level.scale);
    return level;
}

LN_FUNCTION gn_place gn_locate(double y, gn_level level)
{
    gn_place place;
    const double position = (y - level.first) * level.scale, nearest = position * (1 / GN_SPACING) + 0.5;
    place.beyond = nearest < 0 ? -1 : nearest >= level.patches;
    const int index = place.beyond || nearest != nearest ? 0 : (int)nearest;
    place.x = place.beyond ? 0 : position - GN_SPACING * index;
    place.row = level.rows + LN_TERMS * index;
    return place;
}

LN_FUNCTION gn_jet gumbel_normal(double y, double delta, const double *table)
{
    const gn_level level = gn_find(delta, table);
    const gn_place place = gn_locate(y, level);
    gn_jet jet;
    if (place.beyond) {
        jet.h0 = place.beyond > 0;
        jet.h1 = jet.h2 = jet.h3 = 0;
        double weight = 1;
        for (int k = 1; place.beyond > 0 && k <= level.terms; k++) {
            weight *= -1.0 / k;
            const double part = weight * exp(0.5 * k * k * level.delta - k * y);
            jet.h0 += part;
            jet.h1 -= k * part;
            jet.h2 += k * k * part;
            jet.h3 -= k * k * k * part;
        }
    } else {
        double s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0; /* S_m[n] and S_m[n + 1] */
        LN_UNROLL
        for (int n = LN_TERMS - 1; n >= 0; n--) {
            const double step = 2 * (n + 1) * level.tau, c = LN_LOAD(place.row + n);
            const double next3 = s2 + step * t3 + place.x * s3, next2 = s1 + step * t2 + place.x * s2;
            const double next1 = s0 + step * t1 + place.x * s1, next0 = c + step * t0 + place.x * s0;
            t0 = s0; t1 = s1; t2 = s2; t3 = s3;
            s0 = next0; s1 = next1; s2 = next2; s3 = next3;
        }
        jet.h0 = s0 < 0 ? 0 : s0 > 1 ? 1 : s0;
        jet.h1 = s1 < 0 ? 0 : s1 * level.scale;
        jet.h2 = s2 * (2 * level.scale * level.scale);
        jet.h3 = s3 * (6 * level.scale * level.scale * level.scale);
    }
    const double nothing = 0 * level.delta; /* nan also beyond the patches */
    jet.h0 += nothing; jet.h1 += nothing; jet.h2 += nothing; jet.h3 += nothing;
    return jet;
}

/* out[n * stride], n <= degree: coefficients of powers of (point - y)/step, good within step/2 of y; GN_FIRST_DEGREE <=
   degree <= GN_LAST_DEGREE; step at most largest_step(delta) of lanes/gumbel.py. */
LN_FUNCTION void gumbel_cell(double y, double step, int degree, gn_level level, const double *table, double *out, int stride)
{
    const gn_place place = gn_locate(y, level);
    const double nothing = 0 * level.delta;
    if (place.beyond) {
        for (int n = 0; n <= degree; n++) out[n * stride] = (n == 0 && place.beyond > 0) + nothing;
        double weight = 1;
        for (int k = 1; place.beyond > 0 && k <= level.terms; k++) {
            weight *= -1.0 / k;
            double part = weight * exp(0.5 * k * k * level.delta - k * y);
            for (int n = 0; n <= degree; n++) {
                out[n * stride] += part;
                part *= -k * step / (n + 1);
            }
        }
        return;
    }
    /* One polynomial in x at this delta: c_k = sum_j (k + 2j)!/(k! j!) tau^j C_{k+2j}. */
    double c[LN_TERMS];
    LN_UNROLL
    for (int k = 0; k < LN_TERMS; k++) c[k] = LN_LOAD(place.row + k);
    LN_UNROLL
    for (int k = 0; k < LN_TERMS; k++) {
        double factor = 1;
        for (int j = 1; k + 2 * j < LN_TERMS; j++) {
            factor *= level.tau * ((k + 2 * j) * (k + 2 * j - 1)) / j;
            c[k] += factor * c[k + 2 * j];
        }
    }
    const double reach = step * level.scale;
    double value = c[LN_TERMS - 1], slope = 0;
    LN_UNROLL
    for (int k = LN_TERMS - 2; k >= 0; k--) {
        slope = slope * place.x + value;
        value = value * place.x + c[k];
    }
    out[0] = value + nothing;
    out[stride] = reach * slope + nothing;
    LN_UNROLL
    for (int k = 2; k < LN_TERMS; k++) c[k] *= reach * reach * (k * (k - 1));

    /* Rules follow the rows of the last level. */
    const double *last = table + GN_HEADER * (GN_LEVELS - 1);
    const double *rule = table + (int)LN_LOAD(last + 4) + LN_TERMS * (int)LN_LOAD(last + 2);
    rule += (degree - GN_FIRST_DEGREE) * ((1 + 2 * GN_PAIRS) * GN_PAIRS);
    double sums[GN_PAIRS], differences[GN_PAIRS];
    const int pairs = degree / 2; /* degree - 1 points, the one at the centre a pair too */
    for (int i = 0; i < pairs; i++) {
        const double move = reach * LN_LOAD(rule + i), above = place.x + move, below = place.x - move;
        double f = c[LN_TERMS - 1], g = f;
        LN_UNROLL
        for (int k = LN_TERMS - 2; k >= 2; k--) {
            f = f * above + c[k];
            g = g * below + c[k];
        }
        sums[i] = f + g;
        differences[i] = f - g;
    }
    for (int n = 0; n < degree - 1; n++) {
        double total = nothing;
        const double *values = n % 2 ? differences : sums;
        for (int i = 0; i < pairs; i++) total += LN_LOAD(rule + (n + 1) * GN_PAIRS + i) * values[i];
        out[(n + 2) * stride] = total;
    }
}

#endif
