/*
 * units.c: units of measurement, as google/pprof (internal/measurement) treats them:
 * three families in one table, aliases, scaling to the best unit, labels. Allocates
 * nothing.
 */
#include "base/base.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

struct unit {
    const char *name;
    const char *aliases[4];
    double factor; /* of it in the family's base unit */
};

#define MAX_UNITS 9

static const struct family {
    const char *default_name; /* where nothing fits better */
    double default_factor;
    struct unit units[MAX_UNITS];
} families[] = {
    {"B",
     1,
     {{"B", {"b", "byte"}, 1},
      {"kB", {"kb", "kbyte", "kilobyte"}, 0x1p10},
      {"MB", {"mb", "mbyte", "megabyte"}, 0x1p20},
      {"GB", {"gb", "gbyte", "gigabyte"}, 0x1p30},
      {"TB", {"tb", "tbyte", "terabyte"}, 0x1p40},
      {"PB", {"pb", "pbyte", "petabyte"}, 0x1p50}}},
    {"s",
     1e9,
     {{"ns", {"ns", "nanosecond"}, 1},
      {"us", {"\u03bcs", "us", "microsecond"}, 1e3},
      {"ms", {"ms", "millisecond"}, 1e6},
      {"s", {"s", "sec", "second"}, 1e9},
      {"hrs", {"hour", "hr"}, 3600e9}}},
    {"GCU",
     1,
     {{"n*GCU", {"nanogcu"}, 1e-9},
      {"u*GCU", {"microgcu"}, 1e-6},
      {"m*GCU", {"milligcu"}, 1e-3},
      {"GCU", {"gcu"}, 1},
      {"k*GCU", {"kilogcu"}, 1e3},
      {"M*GCU", {"megagcu"}, 1e6},
      {"G*GCU", {"gigagcu"}, 1e9},
      {"T*GCU", {"teragcu"}, 1e12},
      {"P*GCU", {"petagcu"}, 1e15}}},
};

static bool is_alias(const char *alias, const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)name[i]) != (unsigned char)alias[i])
            return false;
    return alias[n] == '\0';
}

/* Whatever its case, and with or without a plural s. */
static const struct unit *find(const struct family *f, const char *name)
{
    size_t n = strlen(name);
    char first = (char)tolower((unsigned char)*name);
    if (n > 2 && tolower((unsigned char)name[n - 1]) == 's')
        n--;
    for (const struct unit *u = f->units; u < f->units + MAX_UNITS && u->name; u++)
        for (size_t i = 0; i < SN_COUNT(u->aliases) && u->aliases[i] != NULL; i++)
            if (u->aliases[i][0] == first && is_alias(u->aliases[i], name, n))
                return u;
    return NULL;
}

/* The largest unit of which the value holds at least one. */
static const struct unit *best(const struct family *f, double base)
{
    const struct unit *found = NULL;
    for (const struct unit *u = f->units; u < f->units + MAX_UNITS && u->name; u++)
        if (base / u->factor >= 1 && (found == NULL || u->factor >= found->factor))
            found = u;
    return found;
}

static bool is_choice(const char *unit)
{
    return strcmp(unit, "auto") == 0 || strcmp(unit, "minimum") == 0;
}

static double scale_in(const struct family *f, double base, const char *to,
                       const char **unit_out)
{
    const struct unit *u = is_choice(to) ? best(f, base) : find(f, to);
    *unit_out = u != NULL ? u->name : f->default_name;
    return base / (u != NULL ? u->factor : f->default_factor);
}

double sn_unit_scale(int64_t value, const char *from_unit, const char *to_unit,
                     const char **unit_out)
{
    static const char *const dull[] = {"count", "sample", "unit", "minimum", "auto"};
    const char *ignored;
    if (unit_out == NULL)
        unit_out = &ignored;
    if (value < 0 && value != INT64_MIN)
        return -sn_unit_scale(-value, from_unit, to_unit, unit_out);
    for (size_t i = 0; i < SN_COUNT(families); i++) {
        const struct unit *from = find(&families[i], from_unit);
        if (from != NULL)
            return scale_in(&families[i], (double)value * from->factor, to_unit,
                            unit_out);
    }
    *unit_out = to_unit;
    for (size_t i = 0; i < SN_COUNT(dull); i++)
        if (strcmp(to_unit, dull[i]) == 0)
            *unit_out = "";
    return (double)value;
}

/* |x| * 100, x finite and below 2^53, as printf rounds "%.2f": the nearest, of two that
 * are as near the even one. */
static uint64_t hundredths(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    unsigned exponent = bits >> 52 & 0x7ff; /* 1075: of a mantissa in ones */
    uint64_t m = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    unsigned shift = 1075 - exponent;
    if (shift >= 64) /* m * 100 is below 2^60 */
        return 0;
    uint64_t whole = m * 100 >> shift, rest = m * 100 - (whole << shift);
    uint64_t half = shift > 0 ? UINT64_C(1) << (shift - 1) : 1;
    return whole + (rest > half || (rest == half && (whole & 1)));
}

/* "%.2f". Its length. */
static size_t put_fixed(char *buf, size_t size, double x)
{
    if (!(fabs(x) < 0x1p53))
        return (size_t)snprintf(buf, size, "%.2f", x);
    char digits[24];
    uint64_t rest = hundredths(x);
    size_t n = 0, len = 0;
    for (; rest > 0 || n < 4; rest /= 10) {
        digits[n++] = (char)('0' + rest % 10);
        if (n == 2)
            digits[n++] = '.';
    }
    if (signbit(x))
        buf[len++] = '-';
    while (n > 0)
        buf[len++] = digits[--n];
    buf[len] = '\0';
    return len;
}

/* Both, cut to `size`. */
static void join(char *buf, size_t size, const char *a, const char *b)
{
    size_t n = strnlen(a, size - 1), m = strnlen(b, size - 1 - n);
    memcpy(buf, a, n);
    memcpy(buf + n, b, m);
    buf[n + m] = '\0';
}

char *sn_unit_label(int64_t value, const char *from_unit, const char *to_unit, char *buf,
                    size_t size)
{
    char number[340]; /* %.2f of any double */
    const char *unit;
    double scaled = sn_unit_scale(value, from_unit, to_unit, &unit);
    size_t n = put_fixed(number, sizeof number, scaled);
    if (n > 3 && strcmp(number + n - 3, ".00") == 0)
        number[n - 3] = '\0';
    bool zero = strcmp(number, "0") == 0 || strcmp(number, "-0") == 0;
    join(buf, size, zero ? "0" : number, zero ? "" : unit);
    return buf;
}

char *sn_unit_percent(int64_t value, int64_t total, char *buf, size_t size)
{
    double ratio = total != 0 ? fabs((double)value / (double)total) * 100 : 0;
    char padded[344] = "    ", *number = padded + 4; /* as wide as five at least */
    if (ratio >= 99.95 && ratio <= 100.05) {
        join(buf, size, "  100", "%");
    } else if (ratio >= 0.1) { /* "%5.2f%%"; below 1 "%5.2g%%", which has no zeros */
        size_t n = put_fixed(number, sizeof padded - 4, ratio);
        while (ratio < 1 && (number[n - 1] == '0' || number[n - 1] == '.'))
            number[--n] = '\0';
        join(buf, size, n < 5 ? number - (5 - n) : number, "%");
    } else {
        snprintf(buf, size, "%5.2g%%", ratio);
    }
    return buf;
}

bool sn_unit_compatible(const char *a, const char *b, double *ratio)
{
    for (size_t i = 0; i < SN_COUNT(families); i++) {
        const struct unit *x = find(&families[i], a), *y = find(&families[i], b);
        if (x == NULL || y == NULL)
            continue;
        *ratio = x->factor / y->factor;
        return true;
    }
    return false;
}
