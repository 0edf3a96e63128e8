/*
 * module.c: whose code is it? The loader's lock-free index says which file an address
 * belongs to; the file's headers, in memory, say the rest.
 *
 * Signal-safe but for sn_code_bind; allocates nothing. Headers are not believed: segments
 * must lie in the mapping, and what is read must be readable.
 */
#include "unwind/unwind_priv.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#define NOTES_MAX 4096 /* bytes of notes looked through for the build id */

/* Bound before the first handler runs: a lazy binding there could deadlock. */
static int (*find_object)(void *, struct dl_find_object *);

/* The program's own headers, as the kernel tells: a linker need not have mapped them at
 * the mapping's start. */
static struct {
    const struct link_map *map;
    const ElfW(Phdr) * headers;
    size_t count;
    uintptr_t start, end;
} program;

/* What of the program is loaded, from its headers. */
static void bound_program(void)
{
    program.start = UINTPTR_MAX;
    program.end = 0;
    for (size_t i = 0; i < program.count; i++) {
        const ElfW(Phdr) *p = &program.headers[i];
        uintptr_t start = program.map->l_addr + p->p_vaddr;
        if (p->p_type != PT_LOAD)
            continue;
        if (start < program.start)
            program.start = start;
        if (start + p->p_memsz > program.end)
            program.end = start + p->p_memsz;
    }
}

void sn_code_bind(void)
{
    struct dl_find_object found;
    find_object = _dl_find_object;
    if (find_object((void *)getauxval(AT_ENTRY), &found) != 0)
        return;
    program.map = found.dlfo_link_map;
    program.headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    program.count = program.headers != NULL ? getauxval(AT_PHNUM) : 0;
    bound_program();
}

/* [start, end) of a segment in memory; false if it is not inside the mapping. */
static bool segment_range(const struct sn_code *c, const ElfW(Phdr) * p, uintptr_t *start,
                          uintptr_t *end)
{
    *start = c->bias + p->p_vaddr;
    return !__builtin_add_overflow(*start, p->p_memsz, end) &&
           *start >= c->module.map_start && *end <= c->module.map_end;
}

/* A note segment that is inside a loaded one, and readable. */
static void read_build_id(struct sn_memory *m, struct sn_code *c, const ElfW(Phdr) * p)
{
    uintptr_t at, end;
    if (!segment_range(c, p, &at, &end) || end - at > NOTES_MAX || at == end ||
        !sn_memory_readable(m, at, end - at))
        return;
    while (end - at >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
        size_t align = p->p_align == 8 ? 8 : 4;
        size_t name = sizeof *note, desc = name + ((note->n_namesz + align - 1) & -align);
        size_t size = desc + (((size_t)note->n_descsz + align - 1) & -align);
        if (desc < name || size > end - at)
            return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            memcmp((const char *)at + name, "GNU", 4) == 0) {
            c->module.build_id = (const unsigned char *)at + desc;
            c->module.build_id_len = note->n_descsz;
            return;
        }
        at += size;
    }
}

static const ElfW(Phdr) *
    program_headers(struct sn_memory *m, uintptr_t map_start, size_t *count)
{
    const ElfW(Ehdr) *e = (const ElfW(Ehdr) *)map_start;
    if (!sn_memory_readable(m, map_start, sizeof *e) ||
        memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 ||
        e->e_phentsize != sizeof(ElfW(Phdr)) || e->e_phnum == 0 || e->e_phoff % 8 != 0 ||
        e->e_phoff > 1 << 20 || e->e_phnum > 256 ||
        !sn_memory_readable(m, map_start + e->e_phoff, e->e_phnum * sizeof(ElfW(Phdr))))
        return NULL;
    *count = e->e_phnum;
    return (const ElfW(Phdr) *)(map_start + e->e_phoff);
}

/* The segments that hold pc and .eh_frame_hdr. */
static void read_segments(struct sn_memory *m, uintptr_t pc, struct sn_code *c)
{
    bool own = c->module.map_start == program.start;
    size_t count = program.count;
    const ElfW(Phdr) *p =
        own ? program.headers : program_headers(m, c->module.map_start, &count);
    for (; p != NULL && count > 0; p++, count--) {
        uintptr_t start, end;
        if (p->p_type == PT_NOTE && c->module.build_id == NULL)
            read_build_id(m, c, p);
        if (p->p_type != PT_LOAD || !segment_range(c, p, &start, &end))
            continue;
        if (pc >= start && pc < end && p->p_flags & PF_X) {
            c->module.text_start = start & -SN_PAGE;
            c->module.text_end = (end + SN_PAGE - 1) & -SN_PAGE;
            c->module.text_offset = p->p_offset & -SN_PAGE;
        }
        if (c->eh_hdr >= start && c->eh_hdr < end && p->p_flags & PF_R)
            c->eh_segment =
                (struct sn_cfi_bytes){(const uint8_t *)start, end - start, start};
    }
}

bool sn_code_find(struct sn_memory *m, uintptr_t pc, struct sn_code *c)
{
    struct dl_find_object found;
    if (find_object == NULL || find_object((void *)pc, &found) != 0)
        return false;
    *c = (struct sn_code){.module = {.map_start = (uintptr_t)found.dlfo_map_start,
                                     .map_end = (uintptr_t)found.dlfo_map_end,
                                     .path = found.dlfo_link_map->l_name},
                          .bias = found.dlfo_link_map->l_addr,
                          .eh_hdr = (uintptr_t)found.dlfo_eh_frame};
    if (c->module.path == NULL)
        c->module.path = "";
    if (found.dlfo_link_map == program.map && program.count > 0) {
        c->module.map_start = program.start;
        c->module.map_end = program.end;
    }
    read_segments(m, pc, c);
    if (c->module.text_end == 0) { /* no headers in memory: the mapping is all we know */
        c->module.text_start = c->module.map_start;
        c->module.text_end = c->module.map_end;
    }
    return true;
}

static enum sn_cfi_status find_fde(const struct sn_code *c, uintptr_t pc,
                                   struct sn_cfi_fde *fde)
{
    enum sn_cfi_status status = SN_CFI_NONE;
    if (c->eh_segment.len > 0)
        status = sn_cfi_find(&c->eh_segment, c->eh_hdr, pc, fde);
    return status == SN_CFI_OK                            ? status
           : sn_debug_frame_find(c, pc, fde) == SN_CFI_OK ? SN_CFI_OK
                                                          : status;
}

enum sn_cfi_status sn_code_fde(const struct sn_code *c, uintptr_t pc,
                               struct sn_cfi_fde *fde)
{
    enum sn_cfi_status status = find_fde(c, pc, fde);
    /* No call precedes the first byte of a function; where it is a return address all
     * the same, somebody put it there: a fibre's start, say. */
    if (status == SN_CFI_NONE && find_fde(c, pc + 1, fde) == SN_CFI_OK &&
        fde->start == pc + 1)
        return SN_CFI_OK;
    return status;
}
