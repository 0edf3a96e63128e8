/* axis.c: scales: ticks at round numbers of a unit that suits the range. Times are
 * round in seconds, minutes and hours, memory in powers of two. Allocates nothing. */
#include "draw_priv.h"

#include <math.h>
#include <stdio.h>

struct scale {
    double size; /* in the axis's unit */
    const char *name;
};

static const struct scale times[] = {{1, "ns"},  {1e3, "\u00b5s"}, {1e6, "ms"},
                                     {1e9, "s"}, {60e9, "min"},    {3600e9, "h"}};
static const struct scale sizes[] = {{1, "B"},       {0x1p10, "kB"}, {0x1p20, "MB"},
                                     {0x1p30, "GB"}, {0x1p40, "TB"}, {0x1p50, "PB"}};
static const struct scale counts[] = {{1, ""}};

/* The largest of which there are two, and of which a step has not too many digits; of
 * minutes and hours only whole ones. */
static struct scale scale_of(double most, double step, const char *unit)
{
    const struct scale *v = counts;
    size_t n = SN_COUNT(counts), i;
    if (strcmp(unit, "ns") == 0) {
        v = times;
        n = SN_COUNT(times);
    } else if (strcmp(unit, "bytes") == 0) {
        v = sizes;
        n = SN_COUNT(sizes);
    }
    for (i = n - 1; i > 0; i--) {
        bool whole = v == times && v[i].size >= 60e9;
        if (most >= 2 * v[i].size && step >= v[i].size * (whole ? 1 : 0.001))
            break;
    }
    return v[i];
}

/* The smallest round step that needs at most `most` ticks. */
static double step_of(double range, unsigned most, const char *unit, double scale)
{
    static const double decimal[] = {1, 2, 5, 10};
    static const double sixties[] = {1, 2, 5, 10, 15, 20, 30, 60};
    static const double binary[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    double step = range / scale / most; /* in the labels' unit */
    bool minutes = strcmp(unit, "ns") == 0 && scale >= 60e9;
    if (strcmp(unit, "bytes") == 0 && step > 1) {
        for (size_t i = 0; i < SN_COUNT(binary); i++)
            if (binary[i] >= step)
                return binary[i] * scale;
        return exp2(ceil(log2(step))) * scale;
    }
    if (minutes && step > 1)
        for (size_t i = 0; i < SN_COUNT(sixties); i++)
            if (sixties[i] >= step)
                return sixties[i] * scale;
    double power = pow(10, floor(log10(step)));
    for (size_t i = 0; i < SN_COUNT(decimal); i++)
        if (decimal[i] * power >= step * 0.999999)
            return decimal[i] * power * scale;
    return 10 * power * scale;
}

struct sn_axis sn_axis_fit(double from, double to, const char *unit, unsigned most,
                           bool round)
{
    struct sn_axis a = {.from = from, .to = to > from ? to : from + 1, .unit = unit};
    struct scale s = scale_of(a.to, (a.to - from) / most, unit);
    bool whole = strcmp(unit, "count") == 0;
    a.scale = s.size;
    a.label_unit = s.name;
    a.step = step_of(a.to - from, most, unit, s.size);
    if (whole && a.step < 1)
        a.step = 1;
    if (strcmp(unit, "events") == 0)
        a.scale = 1e9;
    if (round) {
        a.from = floor(from / a.step + 1e-9) * a.step;
        a.to = ceil(a.to / a.step - 1e-9) * a.step;
    }
    a.first = ceil(a.from / a.step - 1e-9) * a.step;
    double in_labels = a.step / a.scale;
    a.decimals = in_labels < 0.9999 ? (int)ceil(-log10(in_labels) - 1e-9) : 0;
    return a;
}

unsigned sn_axis_ticks(const struct sn_axis *a)
{
    double n = floor((a->to - a->first) / a->step + 1e-6) + 1;
    return n > 0 && n < 1000 ? (unsigned)n : 0;
}

double sn_axis_tick(const struct sn_axis *a, unsigned i)
{
    return a->first + i * a->step;
}

char *sn_axis_label(const struct sn_axis *a, double value, char *buf, size_t size)
{
    double shown = value / a->scale;
    if (fabs(shown) < 1e-9)
        snprintf(buf, size, "0");
    else
        snprintf(buf, size, "%.*f%s%s", a->decimals, shown,
                 *a->label_unit != '\0' ? "\u202f" : "", a->label_unit);
    return buf;
}
