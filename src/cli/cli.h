/*
 * cli: the command. One table of commands (commands.c), one of report formats
 * (formats.c), one of options (flags.c, over graph's option table), and a file a command.
 * This is the only room that prints and exits.
 *
 * Exit status: 0, 1 (failed) or 2 (usage); `sonde run` passes the program's own through.
 */
#ifndef SN_CLI_H
#define SN_CLI_H

#include "base/base.h"
#include "fetch/fetch.h"
#include "report/report.h"
#include "symbolize/symbolize.h"

#include <stdio.h>

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* ---- say.c: what the user is told, on stderr ------------------------------------------
 */

/* May colours go to this stream? (a terminal, NO_COLOR not set, TERM not dumb) */
bool colour_wanted(FILE *to);
void say(const char *fmt, ...) SN_PRINTF(1, 2); /* "sonde: ...\n" */
int say_error(const struct sn_error *e);        /* returns EXIT_FAILED */
/* "sonde: what; see 'sonde help COMMAND'"; returns EXIT_USAGE. */
int say_usage(const char *command, const struct sn_error *e);
/* One line that is drawn over; on a terminal only, and only for what takes a while. */
struct progress {
    bool drawn;
    uint64_t began_ns, drawn_ns;
};
void progress_show(struct progress *p, const char *fmt, ...) SN_PRINTF(2, 3);
void progress_clear(struct progress *p);
/* The same for what cannot say how far it is: a thread shows the seconds that it takes.
 * NULL where there is no terminal. Meanwhile nothing else is to be printed there. */
struct busy *busy_begin(const char *what);
void busy_end(struct busy *b);

/* The candidate nearest to a misspelt word. */
struct guess {
    const char *word;
    const char *best; /* NULL: none is near */
    unsigned distance;
};
void guess_offer(struct guess *g, const char *candidate);

/* ---- args.c: the command line ---------------------------------------------------------
 */

enum flag_kind {
    FLAG_SWITCH, /* --x, --x=false */
    FLAG_VALUE,  /* --x=V, --x V */
    FLAG_MAYBE   /* --x, --x=V */
};

struct flag {
    const char *name;
    enum flag_kind kind;
    const char *value; /* its name in the help; NULL for a switch */
    const char *help;  /* one line; NULL: a second spelling, not listed */
    /* `name` is the row's; `value` is "true" or "false" for a switch, "" for a MAYBE
     * without one, else argv's: both may be kept. */
    bool (*set)(void *to, const char *name, const char *value, struct sn_error *e);
};

struct flag_table {
    const char *title; /* above its rows in the help */
    const struct flag *v;
    size_t n;
};

/*
 * Parse argv[0..argc) as Go's flag package does (one or two dashes, "--" ends the
 * flags), and also flags behind other words unless `in_order`. What is no flag is moved
 * to the front of argv; *rest says how many. `tables` ends with one whose v is NULL.
 */
bool args_parse(const struct flag_table *tables, void *to, bool in_order, char **argv,
                int argc, int *rest, struct sn_error *e);
const struct flag *args_find(const struct flag_table *tables, const char *name);
void args_help(const struct flag_table *tables, FILE *to);
bool args_bool(const char *name, const char *value, bool *to, struct sn_error *e);

/* ---- formats.c: what a profile can be turned into -------------------------------------
 */

/* Reports and pictures in one sequence; NULL past the end. */
const struct sn_report_format *format_at(size_t i);
const struct sn_report_format *format_find(const char *name); /* or its alias */

/* ---- flags.c: the options of every report --------------------------------------------
 */

#define MAX_BASES 64
#define MAX_SIZE  ((size_t)8 << 30) /* of a profile, inflated */

/* What a command line asks for. Strings are borrowed from argv. */
struct request {
    struct sn_options options;
    const struct sn_report_format *format;
    const char *format_flag; /* that asked for it; NULL: none did */
    const char *argument;    /* of a format that takes a regexp */
    const char *output;      /* NULL: standard output */
    const char *symbolize;
    const char *heap_type; /* "peak": --peak; NULL: none */
    bool heap_objects;     /* --objects */
    unsigned old_types;    /* bits: rows of flags.c */
    unsigned choices;      /* the same */
    const char *bases[MAX_BASES];
    unsigned n_bases;
    bool diff_base;                /* percentages against the base, not only subtracted */
    struct sn_fetch_options fetch; /* of those that are URLs */
    size_t max_size;               /* of one profile, inflated */
    const char *build_id;          /* of the first mapping, if it has none */
    bool verbose;                  /* what was tried for symbols */
    bool help;
};

#define MAX_FORMAT_FLAGS 64

/* The tables for args_parse, in the caller's room. */
struct flags {
    struct flag formats[MAX_FORMAT_FLAGS];
    struct flag_table tables[8];
};

/* For the verbs; with `pprof` also the formats and old spellings. */
void flags_fill(struct flags *f, bool pprof);
/* Only what shapes and filters a report, for a command that makes one (whose `to` begins
 * with a request): three tables and the end, which is returned. */
struct flag_table *flags_fill_shaping(struct flag_table *t);
void request_init(struct request *r);
/* After the flags: refuse those that exclude each other, and find which value of the
 * samples they ask for. */
bool request_finish(struct request *r, struct sn_error *e);

/* ---- load.c, output.c -----------------------------------------------------------------
 */

/* One file; NULL on error. */
struct sn_profile *load_file(const char *path, struct sn_error *e);
/* What was read or fetched, of any format that is known; `limit` bytes inflated. */
struct sn_profile *load_bytes(const struct sn_file *f, const char *name, size_t limit,
                              struct sn_error *e);
struct sn_profile *load_path(const char *path, size_t limit, struct sn_error *e);
/* load_large.c. NULL: it is no such file as can be read so, or something is wrong. */
struct sn_profile *load_large(const char *path, size_t limit);
/* fetch.c: profiles by file or URL, merged. As pprof: those that fail are told, and left
 * out unless all do. `binary` (may be NULL) is the program of each. *remote: one came
 * from a server. */
struct sn_profile *load_sources(const struct request *r, const char *binary,
                                const char *const *words, size_t n, const char *what,
                                bool *remote, struct sn_error *e);
/* As pprof, which takes the first mapping for the program: its file, and its build id
 * where it has none. Either may be NULL. */
void load_program(struct sn_profile *p, const char *binary, const char *build_id);
/* All of them as one; consumes them. */
struct sn_profile *load_merge(struct sn_profile **v, size_t n, struct sn_error *e);
/* A copy of what came from servers, in $PPROF_TMPDIR or $HOME/pprof; told. */
void keep_copy(struct sn_profile *p);
/* Read, merge and symbolise; the first of several may be the binary. NULL on error. */
struct sn_profile *load_profiles(const struct request *r, char *const *paths, int n,
                                 struct sn_error *e);
/* p less `base`, as r's options say; both are consumed. NULL on error. */
struct sn_profile *load_difference(const struct request *r, struct sn_profile *p,
                                   struct sn_profile *base, struct sn_error *e);
/* Are those pprof's words for --symbolize? */
bool load_mode_good(const char *mode, struct sn_error *e);
/* What is said of modules whose names were not found. */
enum telling { TELL_NOTHING, TELL_MODULES, TELL_ATTEMPTS };
/* Functions and lines, from the binaries; with progress. `binary` may be NULL. Else
 * names, from the servers that the profile came from; `servers` NULL: none is asked. */
bool load_symbols(struct sn_profile *p, const char *binary, const char *mode,
                  const struct sn_fetch_options *servers, enum telling telling,
                  struct sn_error *e);
/* Is that an ELF file, and so no profile? */
bool load_is_binary(const char *path);
/* The first of STEM.pprof, STEM.2.pprof, ... that is free; made, so that two who do this
 * at once do not choose the same. */
bool output_hold(const char *stem, char *path, size_t size, struct sn_error *e);
/* Before the work: a terminal gets nothing binary. */
bool output_check(const char *path, bool binary, struct sn_error *e);
/* Whole into `path`, or to standard output if that is NULL or "-". */
bool output_write(const char *path, const struct sn_buf *b, struct sn_error *e);
/* The same of a buffer that is written as it grows: it is under way while the report is
 * made. Of a file, nothing is left unless all went well; standard output has what came
 * before. */
struct output_stream {
    struct sn_drain drain;
    const char *path;
    struct sn_output file;
    bool open, good;
    struct sn_error error;
};
void output_stream(struct output_stream *s, const char *path, struct sn_buf *b);
/* The rest. Not good: nothing. */
bool output_stream_end(struct output_stream *s, const struct sn_buf *b, bool good,
                       struct sn_error *e);
/* paint.c: a copy of top's table with colours. */
void paint_table(const struct sn_buf *plain, struct sn_buf *out);
/* A gzipped profile. */
bool output_profile(const struct sn_profile *p, struct sn_buf *out, struct sn_error *e);
/* report.c: the report of r's format, whole, to r's output or where it is shown. p is
 * changed. */
bool report_write(const struct request *r, struct sn_profile *p, struct sn_error *e);
/* shell.c: commands from standard input until its end; takes p. */
int shell_start(const struct request *r, struct sn_profile *p, bool pprof);
/* Give names to its addresses, and write it. */
bool output_named(struct sn_profile *p, const char *path, struct sn_error *e);

/* ---- commands -------------------------------------------------------------------------
 */

struct command {
    const char *name;
    const char *synopsis; /* what follows its name; NULL: hidden */
    const char *help;     /* one line */
    const char *details;  /* paragraphs for its own help; may be NULL */
    const char *examples; /* lines; may be NULL */
    int (*run)(const struct command *self, int argc, char **argv); /* after its name */
    const struct flag_table *flags; /* its own; NULL: those of the reports, or none */
    bool shapes;                    /* takes also what shapes and filters a report */
};

/* A verb of its own or a format's; *room is filled for the latter. NULL: unknown. */
const struct command *command_find(const char *name, struct command *room);
const struct command *command_at(size_t i); /* NULL past the end; formats not included */

void help_command(const struct command *c, FILE *to);
void help_all(FILE *to);

/* take_dump.c: write the heap of a running program to `path` (profile/heapdump.h); "-" is
 * standard output. */
bool heap_take_dump(unsigned pid, const char *path, bool told, struct sn_error *e);

int run_main(const struct command *self, int argc, char **argv);
int heap_main(const struct command *self, int argc, char **argv);
int heapdump_main(const struct command *self, int argc, char **argv);
int trace_main(const struct command *self, int argc, char **argv);
int alloctrace_main(const struct command *self, int argc, char **argv);
int sched_main(const struct command *self, int argc, char **argv);
int report_main(const struct command *self, int argc, char **argv);
int shell_main(const struct command *self, int argc, char **argv);
int pprof_main(const struct command *self, int argc, char **argv);
int help_main(const struct command *self, int argc, char **argv);
int version_main(const struct command *self, int argc, char **argv);
int complete_main(const struct command *self, int argc, char **argv);

extern const struct flag_table run_flags[], heapdump_flags[], heap_flags[], trace_flags[],
    alloctrace_flags[], sched_flags[];

#endif
