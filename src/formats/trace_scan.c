/* trace_scan.c: reading a line of a runtime trace piece by piece. A line is bytes with a
 * length: NULs are bytes like others. Allocates nothing. */
#include "trace_priv.h"

#include <stdio.h>

#define NUMBER_MAX 1e15
#define GROUP_MAX  1024 /* a line of brackets takes no quadratic time */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool sn_scan_literal(struct sn_scan *s, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n) != 0)
        return false;
    s->p += n;
    return true;
}

void sn_scan_spaces(struct sn_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
}

bool sn_scan_is(struct sn_scan s, const char *text)
{
    return sn_scan_literal(&s, text) && s.p == s.end;
}

bool sn_scan_number(struct sn_scan *s, double *to)
{
    struct sn_scan at = *s;
    double x = 0, place = 1;
    bool minus = sn_scan_literal(&at, "-");
    if (at.p == at.end || !is_digit(*at.p))
        return false;
    for (; at.p < at.end && is_digit(*at.p); at.p++)
        x = x < NUMBER_MAX ? x * 10 + (*at.p - '0') : NUMBER_MAX;
    if (at.end - at.p > 1 && *at.p == '.' && is_digit(at.p[1]))
        for (at.p++; at.p < at.end && is_digit(*at.p); at.p++)
            x += (place /= 10) * (*at.p - '0');
    if (x > NUMBER_MAX)
        x = NUMBER_MAX;
    *to = minus ? -x : x;
    *s = at;
    return true;
}

bool sn_scan_integer(struct sn_scan *s, int64_t *to)
{
    double x;
    if (!sn_scan_number(s, &x))
        return false;
    *to = (int64_t)x;
    return true;
}

bool sn_scan_hex(struct sn_scan *s, uint64_t *to)
{
    struct sn_scan at = *s;
    uint64_t x = 0;
    unsigned digits = 0;
    if (!sn_scan_literal(&at, "0x"))
        return false;
    for (; at.p < at.end; at.p++, digits++) {
        char c = *at.p;
        if (!is_digit(c) && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F'))
            break;
        x = x << 4 | (uint64_t)(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    *to = x;
    *s = at;
    return digits > 0 && digits <= 16;
}

struct sn_scan sn_scan_word(struct sn_scan *s)
{
    struct sn_scan word = *s;
    while (s->p < s->end && (is_word(*s->p) || *s->p == '%' || (*s->p & 0x80) != 0))
        s->p++;
    word.end = s->p;
    return word;
}

bool sn_scan_group(struct sn_scan *s, struct sn_scan *to)
{
    unsigned depth = 0;
    const char *limit = s->end - s->p > GROUP_MAX ? s->p + GROUP_MAX : s->end;
    if (s->p == s->end || *s->p != '(')
        return false;
    for (const char *p = s->p; p < limit; p++) {
        depth += *p == '(';
        depth -= *p == ')';
        if (depth > 0)
            continue;
        *to = (struct sn_scan){s->p + 1, p};
        s->p = p + 1;
        return true;
    }
    return false;
}

bool sn_scan_at_pair(struct sn_scan s)
{
    if (s.p == s.end || !is_word(*s.p) || is_digit(*s.p))
        return false;
    while (s.p < s.end && is_word(*s.p))
        s.p++;
    return s.p < s.end && *s.p == '=';
}

/* Past the closing quote, or to the end. */
static const char *past_quote(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\' && end - p > 1;
    return p < end ? p + 1 : end;
}

bool sn_scan_pair(struct sn_scan *s, struct sn_pair *to)
{
    int depth = 0;
    const char *p;
    sn_scan_spaces(s);
    if (!sn_scan_at_pair(*s))
        return false;
    to->key.p = s->p;
    p = memchr(s->p, '=', (size_t)(s->end - s->p));
    to->key.end = p++;
    to->value.p = p;
    if (p < s->end && *p == '"') {
        s->p = past_quote(p, s->end);
        to->value = (struct sn_scan){p + 1, s->p - (s->p > p + 1 && s->p[-1] == '"')};
        return true;
    }
    for (; p < s->end; p++) {
        depth += *p == '(';
        depth -= *p == ')' && depth > 0;
        if (*p == ' ' && depth == 0 && sn_scan_at_pair((struct sn_scan){p + 1, s->end}))
            break;
    }
    to->value.end = s->p = p;
    return true;
}

/* ---- units ----------------------------------------------------------------------------
 */

struct unit {
    const char *name;
    double factor;
};

static double find(const struct unit *units, size_t n, struct sn_scan word)
{
    for (size_t i = 0; i < n; i++)
        if (sn_scan_is(word, units[i].name))
            return units[i].factor;
    return 0;
}

double sn_scan_time_unit(struct sn_scan word)
{
    static const struct unit units[] = {{"ns", 1},        {"us", 1e3}, {"\u00b5s", 1e3},
                                        {"\u03bcs", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    return find(units, SN_COUNT(units), word);
}

double sn_scan_memory_unit(struct sn_scan word)
{
    static const struct unit units[] = {
        {"B", 1},       {"bytes", 1},    {"KB", 0x1p10}, {"kB", 0x1p10}, {"KiB", 0x1p10},
        {"MB", 0x1p20}, {"MiB", 0x1p20}, {"GB", 0x1p30}, {"GiB", 0x1p30}};
    return find(units, SN_COUNT(units), word);
}

int64_t sn_clamp(double x, double max)
{
    return x >= 0 ? (int64_t)(x < max ? x : max) : SN_TRACE_ABSENT;
}

int64_t sn_scan_bytes(struct sn_scan value)
{
    double x, unit;
    if (!sn_scan_number(&value, &x))
        return SN_TRACE_ABSENT;
    sn_scan_spaces(&value);
    unit = sn_scan_memory_unit(sn_scan_word(&value));
    return sn_clamp(x * (unit > 0 ? unit : 1), 1e18);
}

void sn_scan_copy(struct sn_scan s, char *to, size_t size)
{
    size_t n = (size_t)(s.end - s.p);
    if (n >= size)
        for (n = size - 1; n > 0 && (s.p[n] & 0xc0) == 0x80;)
            n--;
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
    to[n] = '\0';
}

void sn_scan_keep(char *text, size_t size, const struct sn_pair *pair)
{
    size_t used = strlen(text), key = (size_t)(pair->key.end - pair->key.p),
           value = (size_t)(pair->value.end - pair->value.p);
    if (used + key + value + 3 > size)
        return;
    if (used > 0)
        text[used++] = ' ';
    sn_scan_copy(pair->key, text + used, size - used);
    text[used += key] = '=';
    sn_scan_copy(pair->value, text + used + 1, size - used - 1);
}
