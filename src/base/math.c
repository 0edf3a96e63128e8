/* math.c: the little of libm that libsonde needs, which links libc alone. Signal-safe. */
#include "base.h"

double sn_ln(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(1023) << 52;
    double m; /* in [1, 2); then in [0.75, 1.5) */
    memcpy(&m, &bits, sizeof m);
    if (m >= 1.5) {
        m /= 2;
        exponent++;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 0;
    for (int n = 19; n >= 1; n -= 2) /* 2 artanh(s) */
        sum = sum * square + 1.0 / n;
    return 2 * s * sum + exponent * 0.69314718055994530942;
}

double sn_one_minus_exp(double x)
{
    int halvings = 0;
    if (x > 40)
        return 1;
    for (; x > 0.0625; halvings++)
        x /= 2;
    double e = 1; /* e^-x - 1 = -x (1 - x/2 (1 - x/3 (...))) */
    for (int n = 8; n >= 2; n--)
        e = 1 - x / n * e;
    e *= -x;
    while (halvings-- > 0)
        e *= e + 2;
    return -e;
}
