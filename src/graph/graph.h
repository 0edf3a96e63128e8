/*
 * graph: what every report shows: options, filters, and the aggregation of a profile into
 * nodes and edges with flat and cumulative values. Semantics are google/pprof's, to the
 * byte.
 */
#ifndef SN_GRAPH_H
#define SN_GRAPH_H

#include "profile/profile.h"

enum sn_granularity {
    SN_BY_FUNCTIONS,
    SN_BY_FILEFUNCTIONS,
    SN_BY_FILES,
    SN_BY_LINES,
    SN_BY_ADDRESSES
};

/* pprof's options by their names. Strings are borrowed; NULL is "not given". Obtain
 * defaults with sn_options_default(); set by name with sn_options_set (the one option
 * table). */
struct sn_options {
    enum sn_granularity granularity;
    bool no_inlines, show_columns, call_tree, cum, trim, drop_negative,
        relative_percentages, compact_labels, all_frames, mean, intel_syntax, normalize;
    int node_count;       /* -1: the report's own default */
    double node_fraction; /* of the total; below it nodes are dropped */
    double edge_fraction;
    double divide_by;
    const char *unit, *sample_index;
    const char *focus, *ignore, *hide, *show, *show_from, *prune_from;
    const char *tag_focus, *tag_ignore, *tag_show, *tag_hide, *tag_root, *tag_leaf;
    const char *source_path, *trim_path, *title;
    const char *add_comment;
};

#endif
