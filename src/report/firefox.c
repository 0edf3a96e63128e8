/*
 * firefox.c: for profiler.firefox.com: its processed format, of one thread that has all
 * samples, one after the other, a millisecond each, with their values as weights.
 *
 * Format: github.com/firefox-devtools/profiler, src/types/profile.js, version 46.
 */
#include "formats/json.h"
#include "report_priv.h"

#include <inttypes.h>

struct writer {
    struct sn_stacks s;
    struct sn_map *stacks;       /* prefix and frame to index */
    struct sn_value_type *nodes; /* type: prefix + 1, unit: frame */
    uint32_t n, cap;
    uint32_t *leaves; /* of each sample: its stack, or SN_NONE */
};

static bool add_stacks(struct writer *w)
{
    struct sn_profile *p = w->s.v.p;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        uint32_t at = SN_NONE;
        if (!sn_stacks_of(&w->s, i))
            return false;
        for (uint32_t k = 0; k < w->s.n; k++) {
            uint32_t frame = w->s.stack[k], prefix = at + 1; /* 0: the root */
            uint32_t *index = sn_map_put(w->stacks, (uint64_t)prefix << 32 | frame);
            if (index == NULL)
                return false;
            if (*index == SN_NONE) {
                struct sn_value_type *n = SN_PUSH(p->arena, w->nodes, w->n, w->cap);
                if (n == NULL)
                    return false;
                *n = (struct sn_value_type){prefix, frame};
                *index = w->n - 1;
            }
            at = *index;
        }
        w->leaves[i] = at;
    }
    return true;
}

/* "name":[x,x,x] of n times the same. */
static void put_same(struct sn_buf *out, const char *name, const char *value, uint32_t n)
{
    sn_buf_printf(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(out, "%s%s", i > 0 ? "," : "", value);
    sn_buf_putc(out, ']');
}

static void put_count(struct sn_buf *out, const char *name, uint32_t n, uint32_t factor,
                      uint32_t from)
{
    sn_buf_printf(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++)
        sn_buf_printf(out, "%s%" PRIu32, i > 0 ? "," : "", i * factor + from);
    sn_buf_putc(out, ']');
}

static void put_index(struct sn_buf *out, uint32_t i, bool more, bool none)
{
    sn_buf_puts(out, more ? "," : "");
    if (none)
        sn_buf_puts(out, "null");
    else
        sn_buf_printf(out, "%" PRIu32, i);
}

/* Strings 2i and 2i + 1 are the name and the file of frame i. */
static void put_frames(const struct writer *w, struct sn_buf *out)
{
    uint32_t n = w->s.n_frames;
    sn_buf_printf(out, "\"frameTable\":{\"length\":%" PRIu32, n);
    put_same(out, "address", "-1", n);
    put_same(out, "inlineDepth", "0", n);
    put_same(out, "category", "0", n);
    put_same(out, "subcategory", "0", n);
    put_count(out, "func", n, 1, 0);
    static const char *const absent[] = {"nativeSymbol", "innerWindowID",
                                         "implementation", "line", "column"};
    for (size_t i = 0; i < SN_COUNT(absent); i++)
        put_same(out, absent[i], "null", n);
    sn_buf_printf(out, "},\n\"funcTable\":{\"length\":%" PRIu32, n);
    put_count(out, "name", n, 2, 0);
    put_same(out, "isJS", "false", n);
    put_same(out, "relevantForJS", "false", n);
    put_same(out, "resource", "-1", n);
    put_count(out, "fileName", n, 2, 1);
    put_same(out, "lineNumber", "null", n);
    put_same(out, "columnNumber", "null", n);
    sn_buf_puts(out, "},\n\"stringArray\":[");
    for (uint32_t i = 0; i < n; i++) {
        sn_buf_puts(out, i > 0 ? "," : "");
        sn_json_string(out, sn_profile_str(w->s.v.p, w->s.frames[i].name));
        sn_buf_putc(out, ',');
        sn_json_string(out, sn_profile_str(w->s.v.p, w->s.frames[i].file));
    }
    sn_buf_puts(out, "],\n");
}

static void put_stacks(const struct writer *w, struct sn_buf *out)
{
    sn_buf_printf(out, "\"stackTable\":{\"length\":%" PRIu32 ",\"prefix\":[", w->n);
    for (uint32_t i = 0; i < w->n; i++)
        put_index(out, w->nodes[i].type - 1, i > 0, w->nodes[i].type == 0);
    sn_buf_puts(out, "],\"frame\":[");
    for (uint32_t i = 0; i < w->n; i++)
        put_index(out, w->nodes[i].unit, i > 0, false);
    sn_buf_putc(out, ']');
    put_same(out, "category", "0", w->n);
    put_same(out, "subcategory", "0", w->n);
    sn_buf_puts(out, "},\n");
}

/* Times become milliseconds, as "tracing-ms" has them. */
static void put_samples(const struct writer *w, struct sn_buf *out)
{
    const struct sn_profile *p = w->s.v.p;
    double to_ms = 1;
    bool time = sn_unit_compatible(w->s.v.unit, "ms", &to_ms);
    bool bytes = !time && strcmp(w->s.v.unit, "bytes") == 0;
    sn_buf_printf(out, "\"samples\":{\"length\":%" PRIu32 ",\"weightType\":\"%s\"",
                  p->n_samples,
                  time    ? "tracing-ms"
                  : bytes ? "bytes"
                          : "samples");
    put_count(out, "time", p->n_samples, 1, 0);
    sn_buf_puts(out, ",\"stack\":[");
    for (uint32_t i = 0; i < p->n_samples; i++)
        put_index(out, w->leaves[i], i > 0, w->leaves[i] == SN_NONE);
    sn_buf_puts(out, "],\"weight\":[");
    for (uint32_t i = 0; i < p->n_samples; i++) {
        int64_t divisor, weight = sn_mean(sn_view_weight(&w->s.v, i, &divisor), 0);
        sn_buf_puts(out, i > 0 ? "," : "");
        if (time)
            sn_buf_printf(out, "%.6f", (double)weight * to_ms);
        else
            sn_buf_printf(out, "%" PRId64, weight);
    }
    sn_buf_puts(out, "]},\n");
}

static void put_head(const struct writer *w, struct sn_buf *out)
{
    sn_buf_puts(out, "{\"meta\":{\"preprocessedProfileVersion\":46,\"version\":24,"
                     "\"interval\":1,\"startTime\":");
    sn_buf_printf(out, "%.3f", (double)w->s.v.p->time_ns / 1e6);
    sn_buf_puts(
        out, ",\"processType\":0,\"stackwalk\":1,\"debug\":false,\"symbolicated\":true,"
             "\"categories\":[{\"name\":\"Other\",\"color\":\"grey\","
             "\"subcategories\":[\"Other\"]}],\"markerSchema\":[],"
             "\"extensions\":{\"length\":0,\"baseURL\":[],\"id\":[],\"name\":[]},"
             "\"usesOnlyOneStackType\":true,\"doesNotUseFrameImplementation\":true,"
             "\"sourceCodeIsNotOnSearchfox\":true,\"product\":");
    sn_json_string(out, *w->s.v.title != '\0' ? w->s.v.title : "sonde");
    sn_buf_puts(out, "},\"libs\":[],\"pages\":[],\"threads\":[{\"name\":");
    sn_json_string(out, w->s.v.type);
    sn_buf_puts(out, ",\"isMainThread\":true,\"processType\":\"default\","
                     "\"processStartupTime\":0,\"processShutdownTime\":null,"
                     "\"registerTime\":0,\"unregisterTime\":null,\"pausedRanges\":[],"
                     "\"pid\":\"1\",\"tid\":1,\n");
}

bool sn_report_firefox(struct sn_profile *p, const struct sn_options *o,
                       const char *argument, struct sn_buf *out, struct sn_error *e)
{
    struct writer w = {0};
    (void)argument;
    if (!sn_stacks_open(&w.s, p, o, e))
        return false;
    w.stacks = sn_map_new(p->arena);
    w.leaves = sn_arena_alloc(p->arena, ((size_t)p->n_samples + 1) * sizeof *w.leaves);
    if (w.stacks == NULL || w.leaves == NULL || !add_stacks(&w))
        return sn_fail(e, NULL, -1, "out of memory");
    put_head(&w, out);
    put_samples(&w, out);
    put_stacks(&w, out);
    put_frames(&w, out);
    sn_buf_puts(out,
                "\"markers\":{\"length\":0,\"category\":[],\"data\":[],\"endTime\":[],"
                "\"name\":[],\"phase\":[],\"startTime\":[]},"
                "\"nativeSymbols\":{\"length\":0,\"address\":[],\"functionSize\":[],"
                "\"libIndex\":[],\"name\":[]},"
                "\"resourceTable\":{\"length\":0,\"lib\":[],\"name\":[],\"host\":[],"
                "\"type\":[]}}]}\n");
    return sn_report_done(out, e);
}
