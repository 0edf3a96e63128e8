/*
 * shell.h: the parts of the shell (`sonde shell`, `sonde pprof` without a report).
 *
 *     line --words (shell_words.c)--> a setting, which lasts --> request
 *                                     or a command: a copy of the request, for it alone
 *     command --run (shell_run.c)--> a child of its own makes the report
 *
 * A report changes its profile, takes memory, and may take long: so each is made by a
 * child, which has the loaded profile as it was and can be stopped without the shell.
 */
#ifndef SN_SHELL_H
#define SN_SHELL_H

#include "cli.h"

struct shell {
    struct sn_arena *arena;   /* owned: settings, names */
    struct request settings;  /* its strings are in the arena, or argv's */
    struct sn_profile *p;     /* owned; never changed */
    const char *const *names; /* functions, sorted; NULL: not asked for yet */
    uint32_t n_names;
    struct kept_file *kept; /* pictures that viewers show; removed at the end */
    struct editor *editor;  /* NULL: lines come from no terminal */
    bool granularity;       /* somebody set it */
    bool failed;            /* a command did */
    bool pprof;             /* by pprof's grammar: its prompt, its options */
};

/* One line of input, in words. */
struct shell_command {
    enum {
        SHELL_NOTHING,
        SHELL_SET,
        SHELL_REPORT,
        SHELL_OPTIONS,
        SHELL_HELP,
        SHELL_QUIT
    } what;
    const char *name; /* of the command; SHELL_HELP: of what is asked for, "" */
    struct request r; /* of SHELL_REPORT */
    const char *pipe; /* a command for sh, which reads the report; NULL: none */
    bool append;      /* ">>": to the end of r.output */
};

/* Sets what the line sets, and says what else it asks for. Strings are in the arena. */
bool shell_read(struct shell *s, const char *line, struct shell_command *c,
                struct sn_error *e);
/* Make the report; errors are told. */
void shell_run(struct shell *s, const struct shell_command *c);
/* What was profiled, above the first prompt. */
void shell_greet(struct shell *s);

/* ---- shell_settings.c -----------------------------------------------------------------
 */

enum setting_kind { SETTING_TEXT, SETTING_NUMBER, SETTING_SWITCH, SETTING_CHOICE };

struct setting {
    const char *name;
    enum setting_kind kind;
    const char
        *choices[6]; /* of SETTING_CHOICE; each is a setting by its own name, too */
    bool ours;       /* pprof has none such */
};

const struct setting *setting_at(size_t i); /* sorted by name; NULL past the end */
/* By its name, or that of one of its choices; *choice is the latter, or NULL. */
const struct setting *setting_find(const char *name, const char **choice);
/* `value` may be NULL for a switch or a choice: it is set. Copied. */
bool setting_set(struct shell *s, const char *name, const char *value,
                 struct sn_error *e);
void setting_print_all(const struct shell *s, FILE *to);

/* ---- shell_help.c ---------------------------------------------------------------------
 */

/* About all of it, or about the command or the setting of that name. */
bool shell_help(const char *name, FILE *to, struct sn_error *e);
/* What a word may become: offered one by one. `words` are those before it. */
void shell_complete(struct shell *s, const char *before, const char *word,
                    void (*offer)(void *to, const char *candidate), void *to);

/* ---- editor.c -------------------------------------------------------------------------
 */

/* NULL where standard input and output are no terminal, or there is no memory. */
struct editor *editor_open(struct shell *s, const char *prompt);
void editor_close(struct editor *ed); /* NULL-safe */
/* The next line, without its end; NULL at the end of the input. */
const char *editor_line(struct editor *ed);

/* ---- viewers.c ------------------------------------------------------------------------
 */

void kept_remove(struct kept_file *list); /* frees the list, too */

#endif
