/*
 * raw.c: the profile as text, all of it: samples, locations and mappings by their
 * numbers, as google/pprof prints it. Allocates in the profile's arena.
 */
#include "report_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define INDENT "                " /* of a sample's labels */

/* ---- times, in Go's words ------------------------------------------------------------
 */

/* "2006-01-02 15:04:05.25 +0100 CET": no zeros at the end of the fraction. */
static void put_time(int64_t ns, struct sn_buf *out)
{
    int64_t rest = ns % 1000000000;
    time_t t = (time_t)(ns / 1000000000);
    if (rest < 0)
        rest += 1000000000, t--;
    struct tm tm;
    char text[64], fraction[16];
    if (localtime_r(&t, &tm) == NULL)
        return;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    int n = snprintf(fraction, sizeof fraction, ".%09d", (int)rest);
    while (n > 0 && (fraction[n - 1] == '0' || fraction[n - 1] == '.'))
        n--;
    sn_buf_printf(out, "Time: %s%.*s", text, rest == 0 ? 0 : n, fraction);
    strftime(text, sizeof text, " %z %Z\n", &tm);
    sn_buf_puts(out, text);
}

/* "1h2m3.5s", "1.5ms": the whole of it. */
static void duration_text(int64_t ns, char *text, size_t size)
{
    static const struct {
        uint64_t from, unit;
        const char *name;
        int digits;
    } small[] = {{1000000, 1000000, "ms", 6}, {1000, 1000, "µs", 3}, {0, 1, "ns", 0}};
    const char *sign = ns < 0 ? "-" : "";
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns, unit = 1000000000;
    const char *name = "s";
    char head[48] = "", fraction[16] = "";
    int digits = 9, n = 0;
    for (size_t i = 0; u < 1000000000 && i < SN_COUNT(small); i++)
        if (u >= small[i].from) {
            unit = small[i].unit, name = small[i].name, digits = small[i].digits;
            break;
        }
    if (u >= UINT64_C(3600000000000))
        snprintf(head, sizeof head, "%" PRIu64 "h%" PRIu64 "m",
                 u / UINT64_C(3600000000000), u / UINT64_C(60000000000) % 60);
    else if (u >= UINT64_C(60000000000))
        snprintf(head, sizeof head, "%" PRIu64 "m", u / UINT64_C(60000000000));
    if (digits > 0)
        n = snprintf(fraction, sizeof fraction, ".%0*" PRIu64, digits, u % unit);
    while (n > 0 && (fraction[n - 1] == '0' || fraction[n - 1] == '.'))
        n--;
    if (u % unit == 0)
        n = 0;
    snprintf(text, size, "%s%s%" PRIu64 "%.*s%s", sign, head,
             unit == 1000000000 ? u / unit % 60 : u / unit, n, fraction, name);
}

/* Its first four characters, as pprof has it. */
static void put_duration(int64_t ns, struct sn_buf *out)
{
    char text[96];
    size_t n = 0;
    duration_text(ns, text, sizeof text);
    for (int left = 4; text[n] != '\0' && left > 0; left--)
        for (n++; ((unsigned char)text[n] & 0xc0) == 0x80;)
            n++;
    sn_buf_printf(out, "Duration: %.*s\n", (int)n, text);
}

/* ---- samples
 * ---------------------------------------------------------------------------
 */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_number(const struct sn_label *l)
{
    return l->str == 0;
}

/* "key:[value value]" of the labels of one key and kind, the i-th of which is the first.
 * If any number has a unit, each shows its own. */
static const char *label_text(struct sn_profile *p, const struct sn_label *v, uint32_t i,
                              uint32_t n)
{
    struct sn_buf b = {.arena = p->arena};
    bool units = false;
    const char *between = "";
    for (uint32_t k = i; k < n; k++)
        units |= v[k].key == v[i].key && is_number(&v[k]) && v[k].num_unit != 0;
    sn_buf_printf(&b, "%s:[", sn_profile_str(p, v[i].key));
    for (uint32_t k = i; k < n; k++) {
        if (v[k].key != v[i].key || is_number(&v[k]) != is_number(&v[i]))
            continue;
        sn_buf_puts(&b, between);
        between = " ";
        if (!is_number(&v[k]))
            sn_buf_puts(&b, sn_profile_str(p, v[k].str));
        else if (units)
            sn_buf_printf(&b, "%" PRId64 " %s", v[k].num,
                          sn_profile_str(p, v[k].num_unit));
        else
            sn_buf_printf(&b, "%" PRId64, v[k].num);
    }
    sn_buf_putc(&b, ']');
    return b.data;
}

static bool first_of_key(const struct sn_label *v, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (v[k].key == v[i].key && is_number(&v[k]) == is_number(&v[i]))
            return false;
    return true;
}

/* A line for the words, one for the numbers, each sorted. */
static void put_labels(struct sn_profile *p, const struct sn_sample *s, bool numbers,
                       struct sn_buf *out)
{
    const struct sn_label *v = p->labels + s->label0;
    const char **texts = sn_arena_alloc(p->arena, (s->n_labels + 1) * sizeof *texts);
    uint32_t n = 0;
    for (uint32_t i = 0; texts != NULL && i < s->n_labels; i++)
        if (is_number(&v[i]) == numbers && first_of_key(v, i) &&
            (texts[n] = label_text(p, v, i, s->n_labels)) != NULL)
            n++;
    if (n == 0)
        return;
    qsort(texts, n, sizeof *texts, by_text);
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(out, "%s%s", i == 0 ? INDENT : " ", texts[i]);
    sn_buf_putc(out, '\n');
}

static void put_samples(struct sn_profile *p, struct sn_buf *out)
{
    sn_buf_puts(out, "Samples:\n");
    for (uint32_t t = 0; t < p->n_types; t++)
        sn_buf_printf(out, "%s%s/%s%s", t > 0 ? " " : "",
                      sn_profile_str(p, p->types[t].type),
                      sn_profile_str(p, p->types[t].unit),
                      p->types[t].type == p->default_sample_type ? "[dflt]" : "");
    sn_buf_putc(out, '\n');
    for (uint32_t i = 0; i < p->n_samples && !out->failed; i++) {
        const struct sn_sample *s = &p->samples[i];
        for (uint32_t t = 0; t < p->n_types; t++)
            sn_buf_printf(out, " %10" PRId64, p->values[(size_t)i * p->n_types + t]);
        sn_buf_puts(out, ": ");
        for (uint32_t k = 0; k < s->n_locs; k++)
            sn_buf_printf(out, "%" PRIu64 " ",
                          sn_number(&p->location_numbers, p->sample_locs[s->loc0 + k]));
        sn_buf_putc(out, '\n');
        put_labels(p, s, false, out);
        put_labels(p, s, true, out);
    }
}

/* ---- locations and mappings
 * ---------------------------------------------------------------- */

/* Go's %#x, which has "0x0" where C has "0". */
#define HEX "0x%" PRIx64

static void put_line(const struct sn_profile *p, const struct sn_line *x,
                     struct sn_buf *out)
{
    if (x->function == SN_NONE) {
        sn_buf_puts(out, "??\n");
        return;
    }
    const struct sn_function *f = &p->functions[x->function];
    sn_buf_printf(out, "%s %s:%" PRId64 ":%" PRId64 " s=%" PRId64,
                  sn_profile_str(p, f->name), sn_profile_str(p, f->file), x->line,
                  x->column, f->start_line);
    if (f->name != f->system_name)
        sn_buf_printf(out, "(%s)", sn_profile_str(p, f->system_name));
    sn_buf_putc(out, '\n');
}

static void put_location(const struct sn_profile *p, uint32_t i, struct sn_buf *out)
{
    const struct sn_location *l = &p->locations[i];
    sn_buf_printf(out, "%6" PRIu64 ": " HEX " ", sn_number(&p->location_numbers, i),
                  l->address);
    if (p->n_mappings == 0) /* pprof then makes one up */
        sn_buf_puts(out, "M=1 ");
    else if (l->mapping != SN_NONE)
        sn_buf_printf(out, "M=%" PRIu64 " ", sn_number(&p->mapping_numbers, l->mapping));
    if (l->folded)
        sn_buf_puts(out, "[F] ");
    if (l->n_lines == 0)
        sn_buf_putc(out, '\n');
    for (uint32_t k = 0; k < l->n_lines; k++) {
        sn_buf_puts(out, k > 0 ? "             " : "");
        put_line(p, &p->lines[l->line0 + k], out);
    }
}

static void put_mapping(const struct sn_profile *p, uint32_t i, struct sn_buf *out)
{
    const struct sn_mapping *m = &p->mappings[i];
    sn_buf_printf(out, "%" PRIu64 ": " HEX "/" HEX "/" HEX " %s %s %s%s%s%s\n",
                  sn_number(&p->mapping_numbers, i), m->start, m->limit, m->offset,
                  sn_profile_str(p, m->file), sn_profile_str(p, m->build_id),
                  m->has_functions ? "[FN]" : "", m->has_filenames ? "[FL]" : "",
                  m->has_lines ? "[LN]" : "", m->has_inlines ? "[IN]" : "");
}

static void put_head(const struct sn_profile *p, struct sn_buf *out)
{
    for (uint32_t i = 0; i < p->n_comments; i++)
        sn_buf_printf(out, "Comment: %s\n", sn_profile_str(p, p->comments[i]));
    if (p->doc_url != 0)
        sn_buf_printf(out, "Doc: %s\n", sn_profile_str(p, p->doc_url));
    sn_buf_printf(out, "PeriodType: %s %s\nPeriod: %" PRId64 "\n",
                  sn_profile_str(p, p->period_type.type),
                  sn_profile_str(p, p->period_type.unit), p->period);
    if (p->time_ns != 0)
        put_time(p->time_ns, out);
    if (p->duration_ns != 0)
        put_duration(p->duration_ns, out);
}

bool sn_report_raw(struct sn_profile *p, const struct sn_options *o, const char *argument,
                   struct sn_buf *out, struct sn_error *e)
{
    const struct sn_view_kind whole = {.no_trim = true, .addresses = true, .raw = true};
    struct sn_view v;
    (void)argument;
    if (!sn_view_open(&v, p, o, whole, e))
        return false;
    put_head(p, out);
    put_samples(p, out);
    sn_buf_puts(out, "Locations\n");
    for (uint32_t i = 0; i < p->n_locations && !out->failed; i++)
        put_location(p, i, out);
    sn_buf_puts(out, "Mappings\n");
    for (uint32_t i = 0; i < p->n_mappings; i++)
        put_mapping(p, i, out);
    if (p->n_mappings == 0)
        sn_buf_puts(out, "1: 0x0/0x0/0x0   \n");
    return sn_report_done(out, e);
}
