/*
 * plt.c: names for the stubs through which calls to other libraries go. A stub jumps
 * through a slot of the global offset table; the relocation of that slot has the name.
 * That holds for every layout linkers make (.plt, .plt.sec, .plt.got, -z now or lazy).
 */
#include "object_priv.h"

#define STUB 16

struct slot {
    uint64_t at;
    const char *name;
};

struct slots {
    struct slot *v;
    uint32_t n, cap;
};

static void read_relocations(struct sn_object *o, Elf_Scn *section, const GElf_Shdr *h,
                             struct slots *slots)
{
    Elf *elf = o->main.elf;
    GElf_Shdr symbols_header;
    Elf_Scn *symbols_section = elf_getscn(elf, h->sh_link);
    if (symbols_section == NULL ||
        gelf_getshdr(symbols_section, &symbols_header) == NULL ||
        symbols_header.sh_type != SHT_DYNSYM)
        return;
    Elf_Data *relocations = elf_getdata(section, NULL);
    Elf_Data *symbols = elf_getdata(symbols_section, NULL);
    size_t entry = gelf_fsize(elf, ELF_T_RELA, 1, EV_CURRENT);
    size_t n = relocations != NULL && symbols != NULL && entry > 0
                   ? relocations->d_size / entry
                   : 0;
    for (size_t i = 0; i < n && i < INT32_MAX; i++) {
        GElf_Rela r;
        GElf_Sym s;
        const char *name;
        if (gelf_getrela(relocations, (int)i, &r) == NULL ||
            (GELF_R_TYPE(r.r_info) != R_X86_64_JUMP_SLOT &&
             GELF_R_TYPE(r.r_info) != R_X86_64_GLOB_DAT) ||
            gelf_getsym(symbols, (int)GELF_R_SYM(r.r_info), &s) == NULL ||
            (name = elf_strptr(elf, symbols_header.sh_link, s.st_name)) == NULL ||
            name[0] == '\0')
            continue;
        struct slot *new = SN_PUSH(o->arena, slots->v, slots->n, slots->cap);
        if (new != NULL)
            *new = (struct slot){r.r_offset, name};
    }
}

static int by_slot(const void *left, const void *right)
{
    const struct slot *a = left, *b = right;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* The slot a stub jumps through: [endbr64] [bnd] jmp *disp32(%rip). */
static bool stub_slot(const unsigned char *code, size_t len, uint64_t vaddr,
                      uint64_t *slot)
{
    static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    size_t at = len >= 4 && memcmp(code, endbr64, 4) == 0 ? 4 : 0;
    int32_t disp;
    if (at < len && code[at] == 0xf2)
        at++;
    if (len < at + 6 || code[at] != 0xff || code[at + 1] != 0x25)
        return false;
    memcpy(&disp, code + at + 2, sizeof disp);
    *slot = vaddr + at + 6 + (uint64_t)(int64_t)disp;
    return true;
}

static void name_stubs(struct sn_object *o, const Elf_Data *code, const GElf_Shdr *h,
                       const struct slots *slots)
{
    size_t stub = h->sh_entsize == 8 ? 8 : STUB;
    for (size_t at = 0; at + stub <= code->d_size; at += stub) {
        struct slot key, *found;
        if (!stub_slot((const unsigned char *)code->d_buf + at, stub, h->sh_addr + at,
                       &key.at) ||
            (found = bsearch(&key, slots->v, slots->n, sizeof key, by_slot)) == NULL)
            continue;
        symbol_add(o, h->sh_addr + at, stub,
                   sn_arena_printf(o->arena, "%s@plt", found->name), 0);
    }
}

void plt_symbols(struct sn_object *o)
{
    static const char *const sections[] = {".plt", ".plt.sec", ".plt.got"};
    struct slots slots = {0};
    GElf_Ehdr elf;
    GElf_Shdr h;
    if (gelf_getehdr(o->main.elf, &elf) == NULL || elf.e_machine != EM_X86_64)
        return;
    for (Elf_Scn *s = NULL; (s = elf_nextscn(o->main.elf, s)) != NULL;)
        if (gelf_getshdr(s, &h) != NULL && h.sh_type == SHT_RELA)
            read_relocations(o, s, &h, &slots);
    if (slots.n == 0)
        return;
    qsort(slots.v, slots.n, sizeof *slots.v, by_slot);
    for (size_t i = 0; i < SN_COUNT(sections); i++) {
        Elf_Data *code = elf_section(o->main.elf, sections[i], &h);
        if (code != NULL && code->d_buf != NULL)
            name_stubs(o, code, &h, &slots);
    }
}
