/* regex.c: regular expressions by PCRE2, with its just-in-time compiler. Go's dialect in
 * what differs: $ is the very end, and a byte that is not UTF-8 is a character, U+FFFD. A
 * match that takes too long counts as none. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "graph_priv.h"

#include <pcre2.h>

#define MATCH_LIMIT 1000000

struct sn_regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

struct sn_regex *sn_regex_new(const char *pattern, const char *what, struct sn_error *e)
{
    int error;
    PCRE2_SIZE at;
    struct sn_regex *rx = calloc(1, sizeof *rx);
    if (rx == NULL)
        goto no_memory;
    rx->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY,
                             &error, &at, NULL);
    if (rx->code == NULL) {
        char why[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        sn_fail(e, NULL, -1, "%s: '%s' is no regular expression: %s at character %zu",
                what, pattern, why, (size_t)at);
        sn_regex_free(rx);
        return NULL;
    }
    pcre2_jit_compile(rx->code, PCRE2_JIT_COMPLETE); /* without it, it is slower */
    rx->data = pcre2_match_data_create_from_pattern(rx->code, NULL);
    rx->context = pcre2_match_context_create(NULL);
    if (rx->data != NULL && rx->context != NULL) {
        pcre2_set_match_limit(rx->context, MATCH_LIMIT);
        return rx;
    }
no_memory:
    sn_fail(e, NULL, -1, "out of memory");
    sn_regex_free(rx);
    return NULL;
}

void sn_regex_free(struct sn_regex *rx)
{
    if (rx == NULL)
        return;
    pcre2_match_context_free(rx->context);
    pcre2_match_data_free(rx->data);
    pcre2_code_free(rx->code);
    free(rx);
}

/* How many bytes the character at s has; 0: it is no UTF-8. */
static size_t character(const unsigned char *s)
{
    size_t n = *s < 0x80   ? 1
               : *s < 0xc2 ? 0
               : *s < 0xe0 ? 2
               : *s < 0xf0 ? 3
               : *s < 0xf5 ? 4
                           : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool bad = n > 2 && ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
                         (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f));
    return bad ? 0 : n;
}

static bool is_ascii(const char *text, size_t len)
{
    uint64_t all = 0, word;
    for (; len >= sizeof word; text += sizeof word, len -= sizeof word) {
        memcpy(&word, text, sizeof word);
        all |= word;
    }
    while (len > 0)
        all |= (unsigned char)text[--len];
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

/* The text with U+FFFD for each byte that is not UTF-8, to be freed; NULL: it has none,
 * or there is no memory. */
static char *as_utf8(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    if (is_ascii(text, len))
        return NULL;
    for (size_t n; *s != '\0' && (n = character(s)) > 0;)
        s += n;
    char *whole = *s != '\0' ? malloc(len * 3 + 1) : NULL, *to = whole;
    for (s = (const unsigned char *)text; whole != NULL && *s != '\0';) {
        size_t n = character(s);
        memcpy(to, n > 0 ? (const char *)s : "\xef\xbf\xbd", n > 0 ? n : 3);
        to += n > 0 ? n : 3;
        s += n > 0 ? n : 1;
    }
    if (whole != NULL)
        *to = '\0';
    return whole;
}

static bool matches(struct sn_regex *rx, const char *text, size_t len)
{
    return pcre2_match(rx->code, (PCRE2_SPTR)text, len, 0, 0, rx->data, rx->context) >= 0;
}

bool sn_regex_match(struct sn_regex *rx, const char *text)
{
    size_t len = strlen(text);
    if (matches(rx, text, len))
        return true;
    char *whole = as_utf8(text, len);
    bool yes = whole != NULL && matches(rx, whole, strlen(whole));
    free(whole);
    return yes;
}

size_t sn_regex_find(struct sn_regex *rx, const char *text, size_t len, size_t *spans,
                     size_t max)
{
    int n = pcre2_match(rx->code, (PCRE2_SPTR)text, len, 0, 0, rx->data, rx->context);
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(rx->data);
    size_t groups = n > 0 ? (size_t)n : 0;
    if (groups > max)
        groups = max;
    for (size_t i = 0; i < 2 * groups; i++)
        spans[i] = found[i] == PCRE2_UNSET ? SIZE_MAX : found[i];
    return groups;
}
