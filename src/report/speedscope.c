/*
 * speedscope.c: for speedscope.app: one profile a sample type, all of the same frames.
 *
 * Format: https://www.speedscope.app/file-format-schema.json
 */
#include "formats/json.h"
#include "report_priv.h"

#include <inttypes.h>

static const char *unit_of(const char *unit)
{
    static const char *const known[] = {"nanoseconds", "microseconds", "milliseconds",
                                        "seconds", "bytes"};
    for (size_t i = 0; i < SN_COUNT(known); i++)
        if (strcmp(unit, known[i]) == 0)
            return known[i];
    return "none";
}

static int64_t value_of(const struct sn_profile *p, uint32_t sample, uint32_t type)
{
    return p->values[(size_t)sample * p->n_types + type];
}

/* It draws no negative weights: those of a difference are left out. */
static bool shown(const struct sn_profile *p, uint32_t sample, uint32_t type)
{
    return value_of(p, sample, type) > 0 && p->samples[sample].n_locs > 0;
}

static bool put_profile(struct sn_stacks *s, uint32_t type, struct sn_buf *out)
{
    const struct sn_profile *p = s->v.p;
    const char *between = "";
    double total = 0;
    sn_buf_puts(out, "{\"type\":\"sampled\",\"name\":");
    sn_json_string(out, sn_profile_str(p, p->types[type].type));
    sn_buf_printf(out, ",\"unit\":\"%s\",\"startValue\":0,\"samples\":[",
                  unit_of(sn_profile_str(p, p->types[type].unit)));
    for (uint32_t i = 0; i < p->n_samples; i++) {
        if (!shown(p, i, type))
            continue;
        if (!sn_stacks_of(s, i))
            return false;
        sn_buf_printf(out, "%s[", between);
        for (uint32_t k = 0; k < s->n; k++)
            sn_buf_printf(out, "%s%" PRIu32, k > 0 ? "," : "", s->stack[k]);
        sn_buf_putc(out, ']');
        between = ",";
    }
    sn_buf_puts(out, "],\"weights\":[");
    between = "";
    for (uint32_t i = 0; i < p->n_samples; i++)
        if (shown(p, i, type)) {
            sn_buf_printf(out, "%s%" PRId64, between, value_of(p, i, type));
            total += (double)value_of(p, i, type);
            between = ",";
        }
    sn_buf_printf(out, "],\"endValue\":%.0f}", total);
    return true;
}

bool sn_report_speedscope(struct sn_profile *p, const struct sn_options *o,
                          const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct sn_stacks s;
    (void)argument;
    if (!sn_stacks_open(&s, p, o, e))
        return false;
    sn_buf_puts(out, "{\"$schema\":"
                     "\"https://www.speedscope.app/file-format-schema.json\","
                     "\"exporter\":\"sonde\",\"name\":");
    sn_json_string(out, s.v.title);
    sn_buf_printf(out, ",\"activeProfileIndex\":%" PRIu32 ",\"profiles\":[", s.v.value);
    for (uint32_t t = 0; t < p->n_types; t++) {
        sn_buf_puts(out, t > 0 ? ",\n" : "");
        if (!put_profile(&s, t, out))
            return sn_fail(e, NULL, -1, "out of memory");
    }
    sn_buf_puts(out, "],\n\"shared\":{\"frames\":[");
    for (uint32_t i = 0; i < s.n_frames; i++) {
        sn_buf_puts(out, i > 0 ? ",\n{\"name\":" : "{\"name\":");
        sn_json_string(out, sn_profile_str(p, s.frames[i].name));
        if (s.frames[i].file != 0) {
            sn_buf_puts(out, ",\"file\":");
            sn_json_string(out, sn_profile_str(p, s.frames[i].file));
        }
        sn_buf_putc(out, '}');
    }
    sn_buf_puts(out, "]}}\n");
    return sn_report_done(out, e);
}
