/* demangle.c: names as their authors wrote them, by libiberty: C++, Rust, D. As pprof, by
 * default without parameters and template arguments. */
#include "symbolize/symbolize.h"

#include <ctype.h>
#include <libiberty/demangle.h>

/* Past "operator" and what it is called, so that <, <<, -> and () are no brackets. */
static size_t operator_length(const char *s)
{
    static const char word[] = "operator";
    size_t n = sizeof word - 1;
    if (*s != *word || strncmp(s, word, n) != 0)
        return 0;
    if (strncmp(s + n, "()", 2) == 0)
        return n + 2;
    while (s[n] != '\0' && strchr("<>=!+-*/%&|^~,[]", s[n]) != NULL && n < 11)
        n++;
    return n;
}

/* Cut the outermost <...> in place; what is not balanced stays as it is. */
static void cut_templates(char *name)
{
    size_t to = 0, depth = 0, n;
    for (size_t i = 0; name[i] != '\0'; i++) {
        bool word =
            depth == 0 && name[i] == 'o' &&
            (i == 0 || !(isalnum((unsigned char)name[i - 1]) || name[i - 1] == '_'));
        if (word && (n = operator_length(name + i)) > 0) {
            memmove(name + to, name + i, n);
            to += n;
            i += n - 1;
        } else if (name[i] == '<') {
            depth++;
        } else if (name[i] == '>' && depth > 0) {
            depth--;
        } else if (depth == 0) {
            name[to++] = name[i];
        }
    }
    if (depth == 0)
        name[to] = '\0';
}

static bool is_balanced(const char *name)
{
    long depth = 0;
    for (; *name != '\0' && depth >= 0; name++) {
        size_t n = *name == 'o' ? operator_length(name) : 0;
        if (n > 0)
            name += n - 1;
        else
            depth += (*name == '<') - (*name == '>');
    }
    return depth == 0;
}

const char *sn_demangle(const char *name, enum sn_demangle mode, struct sn_arena *a)
{
    int options = DMGL_ANSI;
    if (mode == SN_DEMANGLE_NONE ||
        (strncmp(name, "_", 1) != 0 && strncmp(name, "?", 1) != 0))
        return name;
    if (mode == SN_DEMANGLE_FULL)
        options |= DMGL_PARAMS;
    /* Rust's own names end in a hash, "17h" and 16 digits, or begin with _R. */
    bool may_be_rust = name[1] == 'R' || strstr(name, "17h") != NULL;
    char *plain = may_be_rust ? rust_demangle(name, options) : NULL;
    bool rust = plain != NULL;
    if (plain == NULL && strncmp(name, "_Z", 2) == 0)
        plain = cplus_demangle_v3(name, options);
    if (plain == NULL)
        plain = cplus_demangle(name, options | DMGL_AUTO);
    if (plain == NULL)
        return name;
    if (!rust && mode == SN_DEMANGLE_DEFAULT && is_balanced(plain))
        cut_templates(plain);
    const char *kept = sn_arena_strdup(a, plain);
    free(plain);
    return kept != NULL ? kept : name;
}
