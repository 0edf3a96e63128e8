/* report_priv.h: what the reports share. */
#ifndef SN_REPORT_PRIV_H
#define SN_REPORT_PRIV_H

#include "object/object.h"
#include "report/report.h"

/* A view and, where the report needs one, its graph. */
struct sn_report {
    struct sn_view v;
    struct sn_graph *g; /* owned; NULL: none */
};

bool sn_report_open(struct sn_report *r, struct sn_profile *p, const struct sn_options *o,
                    struct sn_view_kind kind, bool graph, struct sn_error *e);
void sn_report_close(struct sn_report *r);
/* True, or an error if `out` could not grow. */
bool sn_report_done(const struct sn_buf *out, struct sn_error *e);

/* labels.c: the head of a report, lines parted by '\n', each ended by it. `full` is that
 * of a picture. */
void sn_report_head(const struct sn_report *r, bool full, struct sn_buf *out);
void sn_report_profile_head(const struct sn_view *v, struct sn_buf *out);

/* scene.c: a share's colour: grey at 0, to red at 1, to green at -1. */
uint32_t sn_score_color(double score, bool background);
/* 8 to 24 points, by the root, so that small ones differ too. */
double sn_score_font(int64_t value, int64_t max);
struct sn_scene *sn_scene_empty(void); /* NULL: out of memory */

/* ---- stacks.c: samples as stacks of names ---------------------------------------------
 */

struct sn_stack_frame {
    uint32_t name, file; /* string ids */
};

struct sn_stacks {
    struct sn_view v;
    struct sn_stack_frame *frames; /* each once, in the order in which they are met */
    uint32_t n_frames, cap_frames;
    struct sn_map *known;
    uint32_t *stack, n; /* of sn_stacks_of: indices of frames, root first */
};

/* Filters p in place. */
bool sn_stacks_open(struct sn_stacks *s, struct sn_profile *p, const struct sn_options *o,
                    struct sn_error *e);
bool sn_stacks_of(struct sn_stacks *s, uint32_t sample); /* false: out of memory */

/* ---- source.c: source files, each read once --------------------------------------- */

struct sn_sources; /* in an arena; borrows the options */
struct sn_sources *sn_sources_new(const struct sn_options *o, struct sn_arena *a);
/* A line, from 1 on, and its length; not ended by a NUL. NULL: there is none. */
const char *sn_source_line(struct sn_sources *s, const char *file, int64_t line,
                           size_t *length);
/* Why there are none, as pprof says it; NULL: there are. */
const char *sn_source_error(struct sn_sources *s, const char *file);
/* The paths that were tried for it, if several, a line each. */
void sn_source_tried(struct sn_sources *s, const char *file, struct sn_buf *out);

/* ---- code.c: the files of code that a profile's mappings name --------------------- */

struct sn_code;                                    /* in the profile's arena */
struct sn_code *sn_code_new(struct sn_profile *p); /* NULL: no memory */
void sn_code_close(struct sn_code *c);             /* NULL-safe */
/* The file of a mapping; NULL, and then *why (may be NULL), if it cannot be used. */
struct sn_object *sn_code_object(struct sn_code *c, uint32_t mapping, const char **why);
bool sn_code_vaddr(struct sn_code *c, uint32_t mapping, uint64_t address,
                   uint64_t *vaddr);
/* Find where in the sources the instructions are, ahead: until the next call. False: no
 * memory. */
bool sn_code_resolve(struct sn_object *o, const struct sn_object_inst *v, size_t n,
                     struct sn_arena *a);
/* disasm.c: "0x401000" or "4198400"; 0: it is no number. */
uint64_t sn_address_of(const char *argument);

/* list.c: "." for nothing. Returns buf, or ".". */
const char *sn_value_or_dot(const struct sn_view *v, int64_t value, char *buf,
                            size_t size);

typedef bool sn_report_fn(struct sn_profile *p, const struct sn_options *o,
                          const char *argument, struct sn_buf *out, struct sn_error *e);
sn_report_fn sn_report_top, sn_report_tree, sn_report_peek, sn_report_dot,
    sn_report_traces, sn_report_tags, sn_report_comments, sn_report_callgrind,
    sn_report_list, sn_report_disasm, sn_report_weblist, sn_report_raw,
    sn_report_collapsed, sn_report_speedscope, sn_report_firefox;

#endif
