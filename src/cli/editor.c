/*
 * editor.c: lines from a terminal, by libedit: editing, history and completion. The
 * history is a file of lines, $XDG_STATE_HOME/sonde/history (~/.local/state/...), for its
 * user's eyes only; each line is added at once, so that several shells share it.
 *
 * Ctrl-C gives up the line. Its handler only notes it: characters are read by read_char,
 * which looks at the note.
 */
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define HISTORY_BYTES (1 << 20) /* of the file; the older half goes when it is more */
#define LISTED        200       /* candidates shown at once */

struct editor {
    struct shell *shell;
    EditLine *el;
    History *history;
    const char *prompt;
    char *line; /* the one handed out */
    int file;   /* of the history; -1: none */
    mbstate_t decoding;
    struct sigaction before;
};

static volatile sig_atomic_t interrupted; /* the process has one terminal */

static void note_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* ---- history --------------------------------------------------------------------------
 */

/* Its path, in folders that are made; "" where there is no home. */
static void history_path(char *path, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (state != NULL && *state == '/')
        n = snprintf(path, size, "%s/sonde", state);
    else if (home != NULL && *home != '\0')
        n = snprintf(path, size, "%s/.local/state/sonde", home);
    if (n <= 0 || (size_t)n + sizeof "/history" > size || !sn_mkdirs(path, NULL))
        path[0] = '\0';
    else
        strcat(path, "/history");
}

/* What is too much is cut from its front, at a line's end. */
static void shorten(const char *path, const struct sn_file *f)
{
    size_t from = f->len / 2;
    while (from < f->len && f->data[from - 1] != '\n')
        from++;
    mode_t mask = umask(077);
    sn_file_write(path, f->data + from, f->len - from, NULL);
    umask(mask);
}

static void remember(struct editor *ed, const char *line)
{
    HistEvent event;
    history(ed->history, &event, H_ENTER, line);
}

static void load_history(struct editor *ed)
{
    char path[PATH_MAX], *line = NULL;
    size_t size = 0;
    struct sn_file f;
    history_path(path, sizeof path);
    if (path[0] == '\0')
        return;
    if (sn_file_open(path, 0, &f, NULL)) {
        if (f.len > HISTORY_BYTES)
            shorten(path, &f);
        sn_file_close(&f);
    }
    ed->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    FILE *from = fopen(path, "re");
    for (ssize_t n; from != NULL && (n = getline(&line, &size, from)) > 0;) {
        line[n - (line[n - 1] == '\n')] = '\0';
        if (*line != '\0')
            remember(ed, line);
    }
    free(line);
    if (from != NULL)
        fclose(from);
}

/* One write, so that lines of several shells do not mix. */
static void save_line(struct editor *ed, const char *line)
{
    char *whole = NULL;
    int n = asprintf(&whole, "%s\n", line);
    if (n > 0 && ed->file >= 0)
        (void)!write(ed->file, whole, (size_t)n);
    if (n > 0)
        free(whole);
}

/* ---- completion -----------------------------------------------------------------------
 */

struct candidates {
    struct sn_arena *arena;
    const char **v;
    uint32_t n, cap;
};

static void gather(void *to, const char *candidate)
{
    struct candidates *c = to;
    char *copy = sn_arena_strdup(c->arena, candidate);
    const char **at = copy != NULL ? SN_PUSH(c->arena, c->v, c->n, c->cap) : NULL;
    if (at != NULL)
        *at = copy;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_out(struct candidates *c)
{
    uint32_t kept = 0;
    if (c->n > 0)
        qsort(c->v, c->n, sizeof *c->v, by_text);
    for (uint32_t i = 0; i < c->n; i++)
        if (kept == 0 || strcmp(c->v[kept - 1], c->v[i]) != 0)
            c->v[kept++] = c->v[i];
    c->n = kept;
}

/* How long they are alike. */
static size_t common(const struct candidates *c)
{
    size_t n = c->n > 0 ? strlen(c->v[0]) : 0;
    for (uint32_t i = 1; i < c->n; i++)
        for (size_t k = 0; k < n; k++)
            if (c->v[i][k] != c->v[0][k])
                n = k;
    return n;
}

/* In columns, below the line. */
static void list(const struct candidates *c)
{
    struct winsize w = {.ws_col = 80};
    size_t widest = 0, shown = c->n < LISTED ? c->n : LISTED;
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    for (uint32_t i = 0; i < shown; i++)
        widest = strlen(c->v[i]) > widest ? strlen(c->v[i]) : widest;
    size_t columns = w.ws_col / (widest + 2), rows;
    columns = columns > 0 ? columns : 1;
    rows = (shown + columns - 1) / columns;
    putchar('\n');
    for (size_t y = 0; y < rows; y++) {
        for (size_t i = y; i < shown; i += rows)
            printf("%-*s", i + rows < shown ? (int)widest + 2 : 0, c->v[i]);
        putchar('\n');
    }
    if (shown < c->n)
        printf("... and %zu more\n", c->n - shown);
    fflush(stdout);
}

/* The word before the cursor becomes what all candidates begin with. */
static bool replace(struct editor *ed, const char *word, const struct candidates *c)
{
    size_t n = common(c), len = strlen(word);
    char *text = sn_arena_strndup(c->arena, c->v[0], n);
    bool longer =
        text != NULL && (c->n == 1 || (n > len && strncmp(text, word, len) == 0));
    if (!longer)
        return false;
    size_t wide = mbstowcs(NULL, word, 0);
    el_deletestr(ed->el, (int)(wide != (size_t)-1 ? wide : len));
    el_insertstr(ed->el, text);
    if (c->n == 1 && n > 0 && text[n - 1] != '=')
        el_insertstr(ed->el, " ");
    return true;
}

static unsigned char complete(EditLine *el, int key)
{
    struct editor *ed;
    const LineInfo *line = el_line(el);
    struct candidates c = {.arena = sn_arena_new()};
    (void)key;
    el_get(el, EL_CLIENTDATA, &ed);
    size_t end = (size_t)(line->cursor - line->buffer), start = end;
    char *before = c.arena != NULL ? sn_arena_strndup(c.arena, line->buffer, end) : NULL;
    if (before == NULL) {
        sn_arena_free(c.arena);
        return CC_ERROR;
    }
    while (start > 0 && strchr(" \t=", before[start - 1]) == NULL)
        start--;
    start += before[start] == '-' && start > 0; /* "-regexp" */
    const char *word = sn_arena_strdup(c.arena, before + start);
    before[start] = '\0';
    shell_complete(ed->shell, before + strspn(before, " \t"), word != NULL ? word : "",
                   gather, &c);
    sort_out(&c);
    unsigned char result = CC_ERROR; /* a beep */
    if (c.n > 0 && word != NULL)
        result = replace(ed, word, &c) ? CC_REFRESH : CC_REDISPLAY;
    if (result == CC_REDISPLAY)
        list(&c);
    sn_arena_free(c.arena);
    return result;
}

/* ---- reading --------------------------------------------------------------------------
 */

/* One character, in the locale's encoding; -1 once interrupted. */
static int read_char(EditLine *el, wchar_t *to)
{
    struct editor *ed;
    unsigned char byte;
    el_get(el, EL_CLIENTDATA, &ed);
    for (;;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = interrupted ? -1 : poll(&p, 1, 200); /* a signal just before: 0.2 s */
        if (interrupted)
            return -1;
        if (ready <= 0)
            continue;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        size_t used = mbrtowc(to, (char *)&byte, 1, &ed->decoding);
        if (used == (size_t)-2)
            continue;
        if (used == (size_t)-1) {
            memset(&ed->decoding, 0, sizeof ed->decoding);
            *to = byte;
        }
        return 1;
    }
}

/* What a Ctrl-D has become that was typed while a command ran, when the terminal still
 * had lines (an end of file is kept as a NUL). */
static unsigned char nul(EditLine *el, int key)
{
    const LineInfo *line = el_line(el);
    (void)key;
    return line->lastchar == line->buffer ? CC_EOF : CC_NORM;
}

static char *show_prompt(EditLine *el)
{
    struct editor *ed;
    el_get(el, EL_CLIENTDATA, &ed);
    return (char *)(uintptr_t)ed->prompt;
}

static void set_up(struct editor *ed)
{
    HistEvent event;
    history(ed->history, &event, H_SETSIZE, HISTORY_LINES);
    history(ed->history, &event, H_SETUNIQUE, 1);
    el_set(ed->el, EL_CLIENTDATA, ed);
    el_set(ed->el, EL_PROMPT, show_prompt);
    el_set(ed->el, EL_EDITOR, "emacs");
    el_set(ed->el, EL_HIST, history, ed->history);
    el_set(ed->el, EL_ADDFN, "sonde-complete", "complete a word", complete);
    el_set(ed->el, EL_ADDFN, "sonde-nul", "an end of file typed ahead", nul);
    el_set(ed->el, EL_BIND, "^I", "sonde-complete", NULL);
    el_set(ed->el, EL_BIND, "^@", "sonde-nul", NULL);
    el_set(ed->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(ed->el, NULL); /* ~/.editrc */
    el_set(ed->el, EL_GETCFN, read_char);
}

struct editor *editor_open(struct shell *s, const char *prompt)
{
    const struct sigaction note = {.sa_handler = note_interrupt};
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || term == NULL ||
        strcmp(term, "dumb") == 0)
        return NULL;
    struct editor *ed = calloc(1, sizeof *ed);
    if (ed == NULL)
        return NULL;
    setlocale(LC_CTYPE, "");
    *ed = (struct editor){.shell = s, .prompt = prompt, .file = -1};
    ed->el = el_init("sonde", stdin, stdout, stderr);
    ed->history = history_init();
    if (ed->el == NULL || ed->history == NULL) {
        editor_close(ed);
        return NULL;
    }
    set_up(ed);
    load_history(ed);
    sigaction(SIGINT, &note, &ed->before);
    return ed;
}

void editor_close(struct editor *ed)
{
    if (ed == NULL)
        return;
    sigaction(SIGINT, &ed->before, NULL);
    if (ed->el != NULL)
        el_end(ed->el);
    if (ed->history != NULL)
        history_end(ed->history);
    if (ed->file >= 0)
        close(ed->file);
    free(ed->line);
    free(ed);
}

const char *editor_line(struct editor *ed)
{
    for (;;) {
        int n = 0;
        interrupted = 0;
        el_set(ed->el, EL_PREP_TERM, 1); /* before the prompt is seen, not after */
        const char *text = el_gets(ed->el, &n);
        if (text == NULL && interrupted) {
            fputs("^C\n", stdout);
            el_reset(ed->el);
            continue;
        }
        if (text == NULL || n <= 0) {
            putchar('\n');
            return NULL;
        }
        free(ed->line);
        ed->line = strndup(text, strcspn(text, "\n"));
        if (ed->line == NULL)
            return NULL;
        if (ed->line[strspn(ed->line, " \t")] != '\0') {
            remember(ed, ed->line);
            save_line(ed, ed->line);
        }
        return ed->line;
    }
}
