/* buf.c: bytes that grow in an arena. A failure is sticky: what follows is dropped. */
#include "base/base.h"

#include <stdio.h>

static bool reserve(struct sn_buf *b, size_t more)
{
    if (b->failed || b->cap - b->len > more)
        return !b->failed;
    size_t cap = b->cap < 128 ? 256 : b->cap * 2;
    if (cap < b->len + more + 1)
        cap = b->len + more + 1;
    char *p = sn_arena_grow(b->arena, b->data, b->cap, cap);
    if (p == NULL) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

char *sn_buf_room(struct sn_buf *b, size_t more)
{
    return reserve(b, more) ? b->data + b->len : NULL;
}

#define DRAINED ((size_t)1 << 18)

static void drain(struct sn_buf *b, const char *data, size_t len)
{
    b->failed |= !b->failed && !b->drain->write(b->drain, data, len);
}

void sn_buf_add(struct sn_buf *b, const void *data, size_t len)
{
    if (b->drain != NULL && b->len + len > DRAINED) {
        drain(b, b->data, b->len);
        b->len = 0;
        if (len > DRAINED) {
            drain(b, data, len);
            return;
        }
    }
    if (!reserve(b, len))
        return;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void sn_buf_puts(struct sn_buf *b, const char *s)
{
    sn_buf_add(b, s, strlen(s));
}

void sn_buf_add_xml(struct sn_buf *b, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '&':
            sn_buf_puts(b, "&amp;");
            break;
        case '<':
            sn_buf_puts(b, "&lt;");
            break;
        case '>':
            sn_buf_puts(b, "&gt;");
            break;
        case '"':
            sn_buf_puts(b, "&quot;");
            break;
        default:
            if ((unsigned char)text[i] >= ' ' || text[i] == '\t' || text[i] == '\n')
                sn_buf_putc(b, text[i]);
        }
    }
}

void sn_buf_putc(struct sn_buf *b, char c)
{
    sn_buf_add(b, &c, 1);
}

/* Written at once where there is room; else measured by it, and written again. */
void sn_buf_vprintf(struct sn_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    size_t room = b->failed || b->data == NULL ? 0 : b->cap - b->len;
    int n = vsnprintf(room > 0 ? b->data + b->len : NULL, room, fmt, ap);
    if (n >= 0 && (size_t)n >= room && reserve(b, (size_t)n))
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    if (n >= 0 && !b->failed)
        b->len += (size_t)n;
    else if (room > 0)
        b->data[b->len] = '\0';
    va_end(again);
}

void sn_buf_printf(struct sn_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sn_buf_vprintf(b, fmt, ap);
    va_end(ap);
}
