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

/* Whatever its case, and with or without a plural s. */
static const struct unit *find(const struct family *f, const char *name)
{
    char plain[24];
    size_t n = strlen(name);
    if (n >= sizeof plain)
        return NULL;
    for (size_t i = 0; i <= n; i++)
        plain[i] = (char)tolower((unsigned char)name[i]);
    if (n > 2 && plain[n - 1] == 's')
        plain[n - 1] = '\0';
    for (const struct unit *u = f->units; u < f->units + MAX_UNITS && u->name; u++)
        for (size_t i = 0; i < SN_COUNT(u->aliases) && u->aliases[i] != NULL; i++)
            if (strcmp(u->aliases[i], plain) == 0)
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

char *sn_unit_label(int64_t value, const char *from_unit, const char *to_unit, char *buf,
                    size_t size)
{
    char number[340]; /* %.2f of any double */
    const char *unit;
    double scaled = sn_unit_scale(value, from_unit, to_unit, &unit);
    int n = snprintf(number, sizeof number, "%.2f", scaled);
    if (n > 3 && strcmp(number + n - 3, ".00") == 0)
        number[n - 3] = '\0';
    bool zero = strcmp(number, "0") == 0 || strcmp(number, "-0") == 0;
    snprintf(buf, size, "%s%s", zero ? "0" : number, zero ? "" : unit);
    return buf;
}

char *sn_unit_percent(int64_t value, int64_t total, char *buf, size_t size)
{
    double ratio = total != 0 ? fabs((double)value / (double)total) * 100 : 0;
    if (ratio >= 99.95 && ratio <= 100.05)
        snprintf(buf, size, "  100%%");
    else
        snprintf(buf, size, ratio >= 1 ? "%5.2f%%" : "%5.2g%%", ratio);
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
