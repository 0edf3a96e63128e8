/* formats.c: the table of reports, and what all of them begin and end with. */
#include "report_priv.h"

const struct sn_report_format sn_report_formats[] = {
    {"top", "text", false, false, "the functions that cost most, a line each", 0,
     sn_report_top},
    {"tree", NULL, false, false, "each function between its callers and its callees", 80,
     sn_report_tree},
    {"peek", NULL, true, false, "callers and callees of the functions that match", 0,
     sn_report_peek},
    {"list", NULL, true, false, "the source of functions that match, with its costs", 0,
     sn_report_list},
    {"disasm", NULL, true, false, "the instructions of functions that match", 0,
     sn_report_disasm},
    {"weblist", NULL, true, false, "source and instructions as a page for a browser", 0,
     sn_report_weblist},
    {"traces", NULL, false, false, "every sample with its stack", 80, sn_report_traces},
    {"tags", NULL, false, false, "the labels of the samples, and what they weigh", 80,
     sn_report_tags},
    {"comments", NULL, false, false, "the comments in the profile", 80,
     sn_report_comments},
    {"dot", NULL, false, false, "the call graph in Graphviz's language", 80,
     sn_report_dot},
    {"callgrind", NULL, false, false, "for KCachegrind and callgrind_annotate", 0,
     sn_report_callgrind},
    {"raw", NULL, false, false, "the whole profile as text, by its numbers", 0,
     sn_report_raw},
    {"collapsed", NULL, false, false, "a line a stack, for flamegraph.pl and others", 0,
     sn_report_collapsed},
    {"speedscope", NULL, false, false, "JSON for speedscope.app", 0,
     sn_report_speedscope},
    {"firefox", NULL, false, false, "JSON for profiler.firefox.com", 0,
     sn_report_firefox},
};

const size_t sn_report_formats_count = SN_COUNT(sn_report_formats);

const struct sn_report_format *sn_report_format_find(const char *name)
{
    for (size_t i = 0; i < sn_report_formats_count; i++) {
        const struct sn_report_format *f = &sn_report_formats[i];
        if (strcmp(f->name, name) == 0 || (f->alias && strcmp(f->alias, name) == 0))
            return f;
    }
    return NULL;
}

bool sn_report_open(struct sn_report *r, struct sn_profile *p, const struct sn_options *o,
                    struct sn_view_kind kind, bool graph, struct sn_error *e)
{
    r->g = NULL;
    if (!sn_view_open(&r->v, p, o, kind, e))
        return false;
    r->g = graph ? sn_graph_new(&r->v, e) : NULL;
    return !graph || r->g != NULL;
}

void sn_report_close(struct sn_report *r)
{
    sn_graph_free(r->g);
    r->g = NULL;
}

bool sn_report_done(const struct sn_buf *out, struct sn_error *e)
{
    return !out->failed || sn_fail(e, NULL, -1, "out of memory");
}
