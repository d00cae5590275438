// The random numbers of streams.py, for CUDA.

typedef unsigned int word;
typedef unsigned long long wide;

// Philox4x32-10 and Box-Muller: two standard normal numbers.
__device__ void normal_pair(word pair, word particle, word step, word source, word k0, word k1, double* a, double* b)
{
    word c0 = pair, c1 = particle, c2 = step, c3 = source;
    for (int i = 0; i < 10; ++i) {
        const wide first = (wide)0xD2511F53u * c0, second = (wide)0xCD9E8D57u * c2;
        c0 = (word)(second >> 32) ^ c1 ^ k0;
        c2 = (word)(first >> 32) ^ c3 ^ k1;
        c1 = (word)second;
        c3 = (word)first;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const double unit = 1.0 / 4503599627370496.0;  // 2^-52
    const double r = sqrt(-2.0 * log(1.0 - (double)(((wide)c0 << 32 | c1) >> 12) * unit));
    double along, across;
    sincospi(0.5 * ((double)(((wide)c2 << 32 | c3) >> 12) * unit - 0.5), &across, &along);
    along = c3 & 2u ? -along : along;
    *a = r * (c3 & 1u ? across : along);
    *b = r * (c3 & 1u ? along : across);
}
