/*
 * stacks.c: stacks by number, each kept once (in a table without a file,
 * runtime/table.c), and their frames as text.
 *
 * A frame is printed as the sanitizers do, "#0 0xADDRESS in NAME (FILE+0xOFFSET)", which
 * tools that give names to such lines know. The name is the file's own dynamic symbol, if
 * that is near; the offset is ELF's (the address less the load bias). Signal-safe, but
 * for the opening.
 */
#include "trace/trace.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

#define TABLE_BYTES ((size_t)256 << 20) /* of addresses; pages come with use */

static struct sn_table table;
static char program[PATH_MAX];

bool sn_stacks_open(struct sn_error *e)
{
    const struct sn_table_plan plan = {.output = "stacks",
                                       .kind = SN_SPOOL_CUSTOM,
                                       .n_values = 0,
                                       .scale = 1,
                                       .period = 1,
                                       .bytes = TABLE_BYTES};
    if (table.header != NULL)
        return true;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    return sn_table_open(&table, &plan, e);
}

uint32_t sn_stacks_here(void)
{
    uintptr_t pcs[SN_TRACE_DEPTH];
    enum sn_unwind_end end;
    struct sn_table_key key = {.pcs = pcs};
    if (table.header == NULL)
        return 0;
    key.n = sn_trace_stack(pcs, SN_COUNT(pcs), &end);
    key.end = (uint16_t)end;
    const struct sn_spool_entry *x = sn_table_entry(&table, &key);
    return x != NULL ? (uint32_t)(((uintptr_t)x - (uintptr_t)table.header) / 8) : 0;
}

void sn_stacks_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument)
{
    if (table.header != NULL)
        visit(table.header, table.bytes, argument);
}

size_t sn_stacks_get(uint32_t id, uintptr_t *pcs, size_t max)
{
    if (id == 0 || table.header == NULL)
        return 0;
    const struct sn_spool_entry *x = (void *)((char *)table.header + (uint64_t)id * 8);
    const uint64_t *all = sn_spool_pcs(table.header, x);
    size_t n = x->n_pcs < max ? x->n_pcs : max;
    for (size_t i = 0; i < n; i++)
        pcs[i] = all[i];
    return n;
}

/* ---- frames as text -------------------------------------------------------------------
 */

void sn_text_add(struct sn_text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->v + t->n, sizeof t->v - t->n, fmt, ap);
    va_end(ap);
    size_t room = sizeof t->v - t->n - 1;
    t->n += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room;
}

/* What the dynamic section of a loaded file says of its symbols. */
struct symbols {
    const ElfW(Sym) * v;
    const char *names;
    size_t n, names_bytes;
};

/* The dynamic entries are relocated by the loader where that writes them, else not. */
static uintptr_t loaded(const struct link_map *map, uintptr_t value)
{
    return value < map->l_addr ? value + map->l_addr : value;
}

/* How many there are, from the GNU hash table: the last of the last chain. */
static size_t count_symbols(const uint32_t *hash)
{
    uint32_t n_buckets = hash[0], first = hash[1], bloom = hash[2], last = 0;
    const uint32_t *buckets = hash + 4 + bloom * (sizeof(uintptr_t) / sizeof *hash);
    const uint32_t *chains = buckets + n_buckets;
    for (uint32_t i = 0; i < n_buckets; i++)
        last = buckets[i] > last ? buckets[i] : last;
    if (last < first)
        return first;
    while (!(chains[last - first] & 1))
        last++;
    return last + 1;
}

static struct symbols find_symbols(const struct link_map *map)
{
    struct symbols s = {0};
    for (const ElfW(Dyn) *d = map->l_ld; d != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_SYMTAB)
            s.v = (const ElfW(Sym) *)loaded(map, d->d_un.d_ptr);
        else if (d->d_tag == DT_STRTAB)
            s.names = (const char *)loaded(map, d->d_un.d_ptr);
        else if (d->d_tag == DT_STRSZ)
            s.names_bytes = d->d_un.d_val;
        else if (d->d_tag == DT_GNU_HASH)
            s.n = count_symbols((const uint32_t *)loaded(map, d->d_un.d_ptr));
    }
    return s;
}

/* The function that holds the offset; NULL: none that is exported. */
static const char *name_at(const struct link_map *map, uintptr_t offset)
{
    struct symbols s = find_symbols(map);
    for (size_t i = 0; s.v != NULL && s.names != NULL && i < s.n; i++)
        if (ELF64_ST_TYPE(s.v[i].st_info) == STT_FUNC && s.v[i].st_shndx != SHN_UNDEF &&
            offset - s.v[i].st_value < s.v[i].st_size && s.v[i].st_name < s.names_bytes)
            return s.names + s.v[i].st_name;
    return NULL;
}

static void add_frame(struct sn_text *t, size_t i, uintptr_t pc)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)pc, &found) != 0) {
        sn_text_add(t, SN_FRAME_LINE_BARE, i, (unsigned long long)pc);
        return;
    }
    const struct link_map *map = found.dlfo_link_map;
    uintptr_t offset = pc - map->l_addr;
    const char *name = name_at(map, offset);
    const char *file = map->l_name[0] != '\0' ? map->l_name : program;
    sn_text_add(t, SN_FRAME_LINE, i, (unsigned long long)pc, name != NULL ? " in " : "",
                name != NULL ? name : "", file, (unsigned long long)offset);
}

void sn_text_add_frames(struct sn_text *t, const uintptr_t *pcs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_frame(t, i, pcs[i]);
    if (n == 0)
        sn_text_add(t, "    (not known)\n");
}

void sn_text_add_stack(struct sn_text *t, uint32_t id)
{
    uintptr_t pcs[SN_TRACE_DEPTH];
    sn_text_add_frames(t, pcs, sn_stacks_get(id, pcs, SN_COUNT(pcs)));
}

void sn_text_send(struct sn_text *t)
{
    sn_trace_write(t->v, t->n);
    t->n = 0;
}
