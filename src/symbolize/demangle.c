/* demangle.c: names as their authors wrote them, by libiberty: C++, Rust, D. As pprof, by
 * default without parameters and template arguments. */
#include "symbolize/symbolize.h"

#include <ctype.h>
#include <libiberty/demangle.h>

/* Past "operator" and what it is called, so that <, <<, -> and () are no brackets; what
 * comes after it may be one: "operator==<int>". */
static size_t operator_length(const char *s)
{
    static const char word[] = "operator";
    static const char *const with_brackets[] = {"<=>", "<<=", ">>=", "->*", "->", "<<",
                                                ">>",  "<=",  ">=",  "()",  "<",  ">"};
    size_t n = sizeof word - 1;
    if (*s != *word || strncmp(s, word, n) != 0)
        return 0;
    for (size_t i = 0; i < SN_COUNT(with_brackets); i++)
        if (strncmp(s + n, with_brackets[i], strlen(with_brackets[i])) == 0)
            return n + strlen(with_brackets[i]);
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
            to -= depth++ == 0 && to > 0 && name[to - 1] == ' '; /* "operator<< <int>" */
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
    char *clone = strstr(plain, " [clone ");
    if (clone != NULL)
        *clone = '\0';
    if (!rust && mode == SN_DEMANGLE_DEFAULT && is_balanced(plain))
        cut_templates(plain);
    const char *kept = sn_arena_strdup(a, plain);
    free(plain);
    return kept != NULL ? kept : name;
}

/* ---- the functions of a profile ------------------------------------------------------
 */

/* Names of Java and Go are none. */
static bool looks_like_cxx(const char *name)
{
    return strstr(name, ".<") == NULL && strstr(name, "]).") == NULL &&
           (strpbrk(name, "<>[]") != NULL || strstr(name, "::") != NULL);
}

/* Cut, in place, each outermost begin...end; stop where they do not match. */
static void cut_between(char *name, char begin, char end)
{
    const char both[] = {begin, end, '\0'};
    char *first = name;
    long depth = 0;
    for (char *s = strpbrk(name, both); s != NULL; s = strpbrk(s, both)) {
        if (*s++ == begin) {
            if (depth++ == 0)
                first = s - 1;
        } else if (--depth < 0) {
            return;
        } else if (depth == 0) {
            memmove(first, s, strlen(s) + 1);
            s = first;
        }
    }
}

/* As it is where it is no mangled name. */
static const char *plain_name(const char *name, enum sn_demangle mode, struct sn_arena *a)
{
    const char *plain = sn_demangle(name, mode, a);
    if (plain == name && *name == '_') { /* one more '_' is before it, on some systems */
        plain = sn_demangle(name + 1, mode, a);
        plain = plain == name + 1 ? name : plain;
    }
    char *cut = plain == name && mode != SN_DEMANGLE_FULL && looks_like_cxx(name)
                    ? sn_arena_strdup(a, name)
                    : NULL;
    if (cut == NULL)
        return plain;
    cut_between(cut, '(', ')');
    if (mode == SN_DEMANGLE_DEFAULT)
        cut_between(cut, '<', '>');
    return cut;
}

void sn_demangle_functions(struct sn_profile *p, bool force, enum sn_demangle mode)
{
    for (uint32_t i = 0; i < p->n_functions; i++) {
        struct sn_function *f = &p->functions[i];
        if (f->system_name == 0 || (f->name != 0 && f->name != f->system_name && !force))
            continue;
        const char *name = sn_profile_str(p, f->system_name);
        const char *plain =
            mode == SN_DEMANGLE_NONE ? name : plain_name(name, mode, p->arena);
        f->name = plain == name ? f->system_name : sn_strtab_add(p->strings, plain);
    }
}
