/* trace_priv.h: what the parsers of runtime trace lines share: a scanner over one line,
 * and the reader's state between lines. */
#ifndef SN_FORMATS_TRACE_PRIV_H
#define SN_FORMATS_TRACE_PRIV_H

#include "formats/trace.h"

#define SN_TRACE_LINE_MAX ((size_t)64 << 10)
#define SN_TRACE_NAME_MAX ((size_t)120)

/* ---- trace_scan.c: a line that is being read ------------------------------------------
 */

struct sn_scan {
    const char *p, *end;
};

struct sn_pair { /* key=value */
    struct sn_scan key, value;
};

bool sn_scan_literal(struct sn_scan *s, const char *text); /* moves past it */
void sn_scan_spaces(struct sn_scan *s);
bool sn_scan_is(struct sn_scan s, const char *text); /* whole */
/* Decimal, with a fraction and a sign, clamped to +-1e15. */
bool sn_scan_number(struct sn_scan *s, double *to);
bool sn_scan_integer(struct sn_scan *s, int64_t *to); /* clamped likewise */
bool sn_scan_hex(struct sn_scan *s, uint64_t *to);    /* 0x... */
/* Letters, digits, '_', '%', and µ. Empty: none. */
struct sn_scan sn_scan_word(struct sn_scan *s);
/* "(...)", nested, within 1024 bytes; without its brackets. */
bool sn_scan_group(struct sn_scan *s, struct sn_scan *to);
/* A value ends before the next " key=", or at its quote; brackets hold spaces. */
bool sn_scan_pair(struct sn_scan *s, struct sn_pair *to);
bool sn_scan_at_pair(struct sn_scan s); /* does a key= stand here? */
/* What a unit of time is in ns, of memory in bytes; 0: it is none. */
double sn_scan_time_unit(struct sn_scan word);
double sn_scan_memory_unit(struct sn_scan word);
/* A number, and after it a unit of memory or none: bytes. ABSENT if it is none. */
int64_t sn_scan_bytes(struct sn_scan value);
int64_t sn_clamp(double x, double max); /* 0..max; ABSENT below 0 or not a number */
/* Cut to what fits in `size` with its NUL, but not within a character; what a terminal
 * would obey becomes '?'. */
void sn_scan_copy(struct sn_scan s, char *to, size_t size);
/* Add "key=value" behind what is there, parted by a space, if it fits. */
void sn_scan_keep(char *text, size_t size, const struct sn_pair *pair);

/* ---- trace.c: the reader --------------------------------------------------------------
 */

struct sn_trace_reader {
    char *line; /* SN_TRACE_LINE_MAX: the line so far */
    size_t n_line;
    bool skipping;   /* past the end of a line that was too long */
    bool long_other; /* ... and handed back as it comes */
    char *held;      /* a line that another one was printed into */
    size_t n_held;

    int64_t now_ns;  /* arrival; ABSENT: not live */
    int64_t said_ns; /* the last time that a line said; ABSENT: none yet */
    int64_t sched_ns, gc_ns, alloc_ns; /* likewise of these kinds */
    int64_t sweep_ns;                  /* of the last SCHED line */
    int64_t ordinal;
    struct sn_map *lanes;  /* kind and id -> lane */
    struct sn_map *sites;  /* hash of its name -> site */
    struct sn_map *blocks; /* address -> index in `live` */
    struct sn_live *live;  /* blocks that tracealloc told of */
    uint32_t n_live, cap_live;
    uint64_t n_sweeps, n_gcs, n_scavs; /* all of them */
    bool sweep_kept;                   /* the last one */

    struct sn_trace *others; /* where lines of other processes are read; NULL: none yet */
    bool of_others;          /* the lines that follow a head are */
    struct sn_trace_sums sums_before; /* the last collection */

    bool in_stacks; /* those of all goroutines, between tracegc() and "end tracegc" */
    bool in_stack;  /* lines of a stack may follow */
    bool of_thread; /* likewise, of the M line before, as "    #0 ..." */
    bool pending;   /* an allocation whose site is not known yet */
    bool frame;     /* the line before was a function of its stack */
    uint64_t address, size;
    char outer[SN_TRACE_NAME_MAX]; /* the runtime's own function that allocates */
    char type[SN_TRACE_NAME_MAX], function[SN_TRACE_NAME_MAX], where[SN_TRACE_NAME_MAX];
};

struct sn_live {
    uint64_t size;
    uint32_t site; /* SN_NONE: freed */
};

uint32_t sn_trace_name(struct sn_trace *t, struct sn_scan s); /* string; bounded */
/* The time of a line that says none. */
int64_t sn_trace_when(struct sn_trace *t);
/* A line said its time; *before is that of the line of its kind before it. */
void sn_trace_said(struct sn_trace *t, int64_t time_ns, int64_t *before);
void sn_trace_event(struct sn_trace *t, int64_t time_ns); /* an event has this time */

/* Each reads a line, or says that it is another. */
typedef bool sn_trace_parse_fn(struct sn_trace *t, struct sn_scan s);
sn_trace_parse_fn sn_trace_parse_sched, sn_trace_parse_p, sn_trace_parse_m,
    sn_trace_parse_g, sn_trace_parse_gc, sn_trace_parse_old_gc, sn_trace_parse_scvg,
    sn_trace_parse_scav, sn_trace_parse_alloc, sn_trace_parse_free, sn_trace_parse_stack,
    sn_trace_parse_pointer, sn_trace_parse_note, sn_trace_parse_phases;
/* No more lines of a stack: what it belongs to is counted. */
void sn_trace_end_stack(struct sn_trace *t);

#endif
