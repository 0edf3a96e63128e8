/* strtab.c: interned strings with dense ids; equal hashes are chained through `next`. */
#include "base/base.h"

struct string {
    const char *text;
    size_t len;
    uint32_t next; /* another string of the same hash, or SN_NONE */
};

struct sn_strtab {
    struct sn_arena *arena;
    struct sn_map *by_hash; /* hash to the newest string of that hash */
    struct string *v;
    uint32_t n, cap;
};

struct sn_strtab *sn_strtab_new(struct sn_arena *a)
{
    struct sn_strtab *t = sn_arena_alloc(a, sizeof *t);
    if (t == NULL)
        return NULL;
    t->arena = a;
    t->by_hash = sn_map_new(a);
    if (t->by_hash == NULL)
        return NULL;
    sn_strtab_addn(t, "", 0);
    return t->n == 1 ? t : NULL;
}

static uint32_t find(const struct sn_strtab *t, uint32_t i, const char *s, size_t n)
{
    while (i != SN_NONE && (t->v[i].len != n || memcmp(t->v[i].text, s, n) != 0))
        i = t->v[i].next;
    return i;
}

uint32_t sn_strtab_addn(struct sn_strtab *t, const char *s, size_t n)
{
    uint32_t *head = sn_map_put(t->by_hash, sn_hash_bytes(s, n));
    if (head == NULL)
        return 0;
    uint32_t i = find(t, *head, s, n);
    if (i != SN_NONE)
        return i;
    char *text = sn_arena_strndup(t->arena, s, n);
    struct string *added = text != NULL ? SN_PUSH(t->arena, t->v, t->n, t->cap) : NULL;
    if (added == NULL)
        return 0;
    *added = (struct string){text, n, *head};
    *head = t->n - 1;
    return *head;
}

uint32_t sn_strtab_add(struct sn_strtab *t, const char *s)
{
    return sn_strtab_addn(t, s, strlen(s));
}

uint32_t sn_strtab_findn(const struct sn_strtab *t, const char *s, size_t n)
{
    return find(t, sn_map_get(t->by_hash, sn_hash_bytes(s, n)), s, n);
}

uint32_t sn_strtab_find(const struct sn_strtab *t, const char *s)
{
    return sn_strtab_findn(t, s, strlen(s));
}

const char *sn_strtab_get(const struct sn_strtab *t, uint32_t id)
{
    return id < t->n ? t->v[id].text : "";
}

size_t sn_strtab_len(const struct sn_strtab *t, uint32_t id)
{
    return id < t->n ? t->v[id].len : 0;
}

uint32_t sn_strtab_count(const struct sn_strtab *t)
{
    return t->n;
}
