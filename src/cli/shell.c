/*
 * shell.c: `sonde shell`, and `sonde pprof` where no report is named: lines are read and
 * run until there are no more. From a terminal they come through the editor (editor.c),
 * else straight from standard input.
 */
#include "shell.h"

#include <unistd.h>

/* The prompt is also what pprof prints into a pipe; ours is for people. */
static const char *prompt_of(const struct shell *s)
{
    return s->pprof ? "(pprof) " : "(sonde) ";
}

static const char *next_line(struct shell *s, char **line, size_t *size)
{
    if (s->editor != NULL)
        return editor_line(s->editor);
    if (s->pprof || (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
        fputs(prompt_of(s), stdout);
    fflush(stdout);
    return getline(line, size, stdin) >= 0 ? *line : NULL;
}

/* False: that was the last. */
static bool obey(struct shell *s, const char *line)
{
    struct sn_error e = {.offset = -1};
    struct shell_command c;
    bool good = shell_read(s, line, &c, &e);
    if (good && c.what == SHELL_REPORT)
        shell_run(s, &c);
    else if (good && c.what == SHELL_OPTIONS)
        setting_print_all(s, s->pprof ? stderr : stdout);
    else if (good && c.what == SHELL_HELP)
        good = shell_help(c.name, s->pprof ? stderr : stdout, &e);
    if (!good)
        say_error(&e);
    s->failed |= !good;
    return !good || c.what != SHELL_QUIT;
}

int shell_start(const struct request *r, struct sn_profile *p, bool pprof)
{
    struct shell s = {.settings = *r, .p = p, .pprof = pprof, .arena = sn_arena_new()};
    struct sn_error e = {.offset = -1};
    const char *line;
    char *room = NULL;
    size_t size = 0;
    if (s.arena == NULL || !setting_set(&s, "compact_labels", "true", &e)) {
        sn_fail(&e, NULL, -1, "out of memory");
        sn_profile_free(p);
        return say_error(&e);
    }
    s.editor = editor_open(&s, prompt_of(&s));
    if (pprof || s.editor != NULL)
        shell_greet(&s);
    while ((line = next_line(&s, &room, &size)) != NULL && obey(&s, line))
        continue;
    bool script = s.editor == NULL && !pprof;
    free(room);
    editor_close(s.editor);
    if (s.kept != NULL)
        sleep(1); /* a viewer started just now is to read its file yet */
    kept_remove(s.kept);
    sn_arena_free(s.arena);
    sn_profile_free(p);
    return script && s.failed ? EXIT_FAILED : EXIT_GOOD;
}
