/* lines.c: a text, line by line, and a line, piece by piece. Allocates nothing. */
#include "readers_priv.h"

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void sn_lines_open(struct sn_lines *l, const unsigned char *data, size_t len)
{
    *l = (struct sn_lines){.data = (const char *)data, .len = len, .line = ""};
}

bool sn_lines_next(struct sn_lines *l)
{
    l->n = 0;
    l->at = l->next;
    if (l->next >= l->len)
        return false;
    const char *s = l->data + l->next, *end = memchr(s, '\n', l->len - l->next);
    size_t n = end != NULL ? (size_t)(end - s) : l->len - l->next;
    l->next += n + (end != NULL);
    while (n > 0 && blank(s[n - 1]))
        n--;
    for (; n > 0 && blank(*s); n--)
        s++;
    l->line = s;
    l->n = n;
    l->at = (size_t)(s - l->data);
    return true;
}

bool sn_begins(const char *s, size_t n, const char *text)
{
    size_t k = strlen(text);
    return n >= k && memcmp(s, text, k) == 0;
}

bool sn_lines_blank(const struct sn_lines *l)
{
    return l->n == 0 || *l->line == '#';
}

bool sn_lines_begin(const struct sn_lines *l, const char *text)
{
    return sn_begins(l->line, l->n, text);
}

bool sn_lines_have(const struct sn_lines *l, const char *text)
{
    return l->n > 0 && memmem(l->line, l->n, text, strlen(text)) != NULL;
}

void sn_piece_blanks(struct sn_piece *p)
{
    for (; p->n > 0 && blank(*p->s); p->n--)
        p->s++;
}

bool sn_piece_eat(struct sn_piece *p, const char *text)
{
    if (!sn_begins(p->s, p->n, text))
        return false;
    p->s += strlen(text);
    p->n -= strlen(text);
    return true;
}

bool sn_piece_number(struct sn_piece *p, int64_t *value, bool sign)
{
    bool minus = sign && sn_piece_eat(p, "-"), any = false;
    int64_t v = 0;
    for (; p->n > 0 && *p->s >= '0' && *p->s <= '9'; p->s++, p->n--, any = true)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *p->s - '0', &v))
            return false;
    *value = minus ? -v : v;
    return any;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool sn_piece_hex(struct sn_piece *p, uint64_t *value)
{
    uint64_t v = 0;
    bool any = false, fits = true;
    for (int d; p->n > 0 && (d = hex_digit(*p->s)) >= 0; p->s++, p->n--, any = true) {
        fits &= v >> 60 == 0;
        v = v << 4 | (uint64_t)d;
    }
    *value = v;
    return any && fits;
}

struct sn_piece sn_piece_word(struct sn_piece *p)
{
    sn_piece_blanks(p);
    struct sn_piece w = {p->s, 0};
    for (; p->n > 0 && !blank(*p->s); p->n--, w.n++)
        p->s++;
    return w;
}

bool sn_piece_is(struct sn_piece p, const char *text)
{
    return p.n == strlen(text) && memcmp(p.s, text, p.n) == 0;
}
