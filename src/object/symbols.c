/*
 * symbols.c: function symbols by address, for code without DWARF: .symtab and .dynsym of
 * the file and of its debug file, the compressed .symtab in .gnu_debugdata, the PLT.
 * Read once, when first asked for.
 */
#include "object_priv.h"

#include <lzma.h>
#include <stdio.h>

#define MAX_BACK    16                /* symbols looked at that begin before an address */
#define MAX_MINI    ((size_t)1 << 30) /* .gnu_debugdata, decompressed */
#define MAX_LZMA    (UINT64_C(1) << 28)
#define RANK_GUESS  2 /* ifunc: its address is that of the function that chooses */
#define RANK_LOCAL  3
#define RANK_WEAK   4
#define RANK_GLOBAL 5

void symbol_add(struct sn_object *o, uint64_t lo, uint64_t size, const char *name,
                uint8_t rank)
{
    struct symbol *s = NULL;
    if (name != NULL)
        s = SN_PUSH(o->arena, o->symbols, o->n_symbols, o->cap_symbols);
    if (s != NULL)
        *s = (struct symbol){lo, size, name, rank};
}

/* 0: not a function that can be in a stack. */
static uint8_t rank_of(const GElf_Sym *s)
{
    switch (GELF_ST_TYPE(s->st_info)) {
    case STT_NOTYPE:
        return RANK_LABEL;
    case STT_GNU_IFUNC:
        return RANK_GUESS;
    case STT_FUNC:
        switch (GELF_ST_BIND(s->st_info)) {
        case STB_LOCAL:
            return RANK_LOCAL;
        case STB_WEAK:
            return RANK_WEAK;
        default:
            return RANK_GLOBAL;
        }
    default:
        return 0;
    }
}

static void read_table(struct sn_object *o, Elf *elf, Elf_Scn *section,
                       const GElf_Shdr *h)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t entry = gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
    size_t n = data != NULL && entry > 0 ? data->d_size / entry : 0;
    for (size_t i = 1; i < n && i < INT32_MAX; i++) {
        GElf_Sym s;
        const char *name;
        uint8_t rank;
        if (gelf_getsym(data, (int)i, &s) == NULL || s.st_shndx == SHN_UNDEF ||
            (rank = rank_of(&s)) == 0 || !object_is_code(o, s.st_value) ||
            (name = elf_strptr(elf, h->sh_link, s.st_name)) == NULL || name[0] == '\0')
            continue;
        symbol_add(o, s.st_value, s.st_size, name, rank);
    }
}

static void read_tables(struct sn_object *o, Elf *elf)
{
    for (Elf_Scn *s = NULL; elf != NULL && (s = elf_nextscn(elf, s)) != NULL;) {
        GElf_Shdr h;
        if (gelf_getshdr(s, &h) != NULL &&
            (h.sh_type == SHT_SYMTAB || h.sh_type == SHT_DYNSYM))
            read_table(o, elf, s, &h);
    }
}

void mini_open(struct sn_object *o)
{
    GElf_Shdr h;
    Elf_Data *packed = elf_section(o->main.elf, ".gnu_debugdata", &h);
    if (packed == NULL || packed->d_size == 0)
        return;
    size_t size = packed->d_size * 16, in, out;
    for (lzma_ret r = LZMA_BUF_ERROR; r == LZMA_BUF_ERROR && size <= MAX_MINI;
         size *= 2) {
        uint64_t memory = MAX_LZMA;
        void *image = sn_pages_map(size);
        if (image == NULL)
            return;
        in = out = 0;
        r = lzma_stream_buffer_decode(&memory, 0, NULL, packed->d_buf, &in,
                                      packed->d_size, image, &out, size);
        if (r == LZMA_OK) {
            o->mini_image = image;
            o->mini_size = size;
            o->mini.elf = elf_memory(image, out);
            return;
        }
        sn_pages_unmap(image, size);
    }
}

static int by_address(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return -strcmp(a->name, b->name); /* of equals the first in order of names is last */
}

static void read_symbols(struct sn_object *o)
{
    o->symbols_read = true;
    mini_open(o);
    read_tables(o, o->debug.elf);
    read_tables(o, o->mini.elf);
    read_tables(o, o->main.elf);
    plt_symbols(o);
    if (o->n_symbols > 0)
        qsort(o->symbols, o->n_symbols, sizeof *o->symbols, by_address);
}

const struct symbol *symbol_table(struct sn_object *o, uint32_t *n)
{
    if (!o->symbols_read)
        read_symbols(o);
    *n = o->n_symbols;
    return o->symbols;
}

/* A symbol without a size reaches to the next one. */
static bool covers(const struct sn_object *o, uint32_t i, uint64_t vaddr)
{
    const struct symbol *s = &o->symbols[i];
    if (s->size > 0)
        return vaddr - s->lo < s->size;
    while (++i < o->n_symbols && o->symbols[i].lo == s->lo)
        ;
    return i == o->n_symbols || vaddr < o->symbols[i].lo;
}

const char *symbol_name(struct sn_object *o, uint64_t vaddr)
{
    if (!o->symbols_read)
        read_symbols(o);
    uint32_t lo = 0, hi = o->n_symbols; /* the first that begins after vaddr */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (o->symbols[mid].lo <= vaddr)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (uint32_t i = lo; i > 0 && lo - i < MAX_BACK; i--)
        if (covers(o, i - 1, vaddr))
            return object_is_code(o, vaddr) ? o->symbols[i - 1].name : NULL;
    return NULL;
}
