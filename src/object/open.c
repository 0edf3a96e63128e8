/*
 * open.c: an ELF file opened: its build id, where its segments are, from addresses in
 * memory to its own, and the frames of one.
 */
#include "object_priv.h"

#include <elf.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one ELF file
 * ----------------------------------------------------------------------
 */

static bool is_elf_object(struct elf_file *f, const char *path, struct sn_error *e)
{
    GElf_Ehdr h;
    if (f->elf == NULL || elf_kind(f->elf) != ELF_K_ELF)
        return sn_fail(e, path, -1, "is not an ELF file");
    if (gelf_getehdr(f->elf, &h) == NULL)
        return sn_fail(e, path, 0, "broken ELF file: %s", elf_errmsg(-1));
    return true;
}

bool elf_file_open(struct elf_file *f, const char *path, struct sn_error *e)
{
    struct stat st;
    *f = (struct elf_file){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (f->fd < 0)
        return sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    bool good = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode);
    if (!good)
        sn_fail(e, path, -1, "is not a regular file");
    elf_version(EV_CURRENT);
    if (good) {
        f->elf = elf_begin(f->fd, ELF_C_READ_MMAP, NULL);
        good = is_elf_object(f, path, e);
    }
    if (!good)
        elf_file_close(f);
    return good;
}

void elf_file_close(struct elf_file *f)
{
    elf_end(f->elf);
    if (f->fd >= 0)
        close(f->fd);
    *f = (struct elf_file){.fd = -1};
}

bool elf_build_id(Elf *elf, char *out, size_t size)
{
    const void *bytes;
    ssize_t n = dwelf_elf_gnu_build_id(elf, &bytes);
    out[0] = '\0';
    for (ssize_t i = 0; i < n && (size_t)i * 2 + 3 <= size; i++)
        snprintf(out + i * 2, 3, "%02x", ((const unsigned char *)bytes)[i]);
    return out[0] != '\0';
}

Elf_Data *elf_section(Elf *elf, const char *name, GElf_Shdr *header)
{
    size_t names;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return NULL;
    for (Elf_Scn *s = NULL; (s = elf_nextscn(elf, s)) != NULL;) {
        const char *found;
        if (gelf_getshdr(s, header) == NULL || header->sh_type == SHT_NOBITS ||
            (found = elf_strptr(elf, names, header->sh_name)) == NULL ||
            strcmp(found, name) != 0)
            continue;
        return elf_getdata(s, NULL);
    }
    return NULL;
}

bool elf_has_dwarf(Elf *elf)
{
    GElf_Shdr unused;
    return elf_section(elf, ".debug_info", &unused) != NULL ||
           elf_section(elf, ".zdebug_info", &unused) != NULL;
}

/* ---- the object
 * ------------------------------------------------------------------------
 */

static bool read_segments(struct sn_object *o, struct sn_error *e)
{
    GElf_Ehdr h;
    size_t n;
    if (gelf_getehdr(o->main.elf, &h) == NULL || elf_getphdrnum(o->main.elf, &n) != 0)
        return sn_fail(e, o->path, 0, "broken ELF file: %s", elf_errmsg(-1));
    o->exec = h.e_type == ET_EXEC;
    for (size_t i = 0; i < n && i < UINT16_MAX; i++) {
        GElf_Phdr p;
        if (gelf_getphdr(o->main.elf, (int)i, &p) == NULL || p.p_type != PT_LOAD)
            continue;
        struct segment *s =
            SN_PUSH(o->arena, o->segments, o->n_segments, o->cap_segments);
        if (s != NULL)
            *s = (struct segment){p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz,
                                  (p.p_flags & PF_X) != 0};
    }
    return true;
}

/* The kernel's own library, which is in no file: the one in this process, if it is the
 * same. */
static bool open_vdso(struct sn_object *o, const char *build_id, struct sn_error *e)
{
    GElf_Ehdr h;
    char *image = (char *)getauxval(AT_SYSINFO_EHDR);
    o->main.fd = -1;
    if (image == NULL || build_id == NULL || build_id[0] == '\0')
        return sn_fail(e, o->path, -1, "is in no file, and its build id is not known");
    memcpy(&h, image, sizeof h);
    elf_version(EV_CURRENT);
    o->main.elf =
        elf_memory(image, h.e_shoff + (size_t)h.e_shentsize * (size_t)h.e_shnum);
    return is_elf_object(&o->main, o->path, e);
}

static bool check_build_id(struct sn_object *o, const char *wanted, struct sn_error *e)
{
    elf_build_id(o->main.elf, o->build_id, sizeof o->build_id);
    if (wanted == NULL || wanted[0] == '\0' || o->build_id[0] == '\0' ||
        strcmp(wanted, o->build_id) == 0)
        return true;
    return sn_fail(e, o->path, -1,
                   "is another file than the profiled one: build id %s, not %s",
                   o->build_id, wanted);
}

static bool is_vdso(const char *path)
{
    return strcmp(path, "[vdso]") == 0 || strncmp(path, "linux-vdso.so", 13) == 0;
}

/* Walking DWARF costs about its size a few times over; more is a file made to hang us. */
static void find_dwarf(struct sn_object *o)
{
    GElf_Shdr h;
    struct elf_file *f = o->debug.elf != NULL ? &o->debug : &o->main;
    o->has_dwarf = elf_has_dwarf(f->elf);
    Elf_Data *info = o->has_dwarf ? elf_section(f->elf, ".debug_info", &h) : NULL;
    o->fuel = (UINT64_C(1) << 24) + (info != NULL ? info->d_size * UINT64_C(64) : 0);
}

Dwarf *dwarf_of(struct sn_object *o)
{
    struct elf_file *f = o->debug.elf != NULL ? &o->debug : &o->main;
    if (o->dwarf == NULL && o->has_dwarf) {
        o->dwarf = dwarf_begin_elf(f->elf, DWARF_C_READ, NULL);
        o->has_dwarf = o->dwarf != NULL;
    }
    return o->dwarf;
}

static bool open_object(struct sn_object *o, const char *build_id,
                        const struct sn_object_search *search, struct sn_buf *tried,
                        struct sn_error *e)
{
    bool vdso = is_vdso(o->path);
    bool opened = vdso ? open_vdso(o, build_id, e) : elf_file_open(&o->main, o->path, e);
    if (!opened || !check_build_id(o, build_id, e) || !read_segments(o, e))
        return false;
    if (!vdso && !elf_has_dwarf(o->main.elf) && !debug_file_find(o, search, tried) &&
        tried != NULL)
        sn_buf_printf(tried, "%s: no debug information\n", o->path);
    if (!vdso)
        find_dwarf(o);
    return true;
}

struct sn_object *sn_object_open(const char *path, const char *build_id,
                                 const struct sn_object_search *search,
                                 struct sn_buf *tried, struct sn_error *e)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_object *o = a != NULL ? sn_arena_alloc(a, sizeof *o) : NULL;
    struct sn_error why = {.offset = -1};
    if (o == NULL) {
        sn_arena_free(a);
        sn_fail(e, path, -1, "out of memory");
        return NULL;
    }
    *o = (struct sn_object){.arena = a, .path = sn_arena_strdup(a, path)};
    o->main.fd = o->debug.fd = o->mini.fd = -1;
    if (o->path != NULL && open_object(o, build_id, search, tried, &why))
        return o;
    if (tried != NULL)
        sn_buf_printf(tried, "%s: %s\n", path, why.what);
    sn_fail(e, path, why.offset, "%s", why.what[0] != '\0' ? why.what : "out of memory");
    sn_object_close(o);
    return NULL;
}

void sn_object_close(struct sn_object *o)
{
    if (o == NULL)
        return;
    resolved_free(o->resolved);
    dwarf_end(o->dwarf);
    elf_file_close(&o->mini);
    elf_file_close(&o->debug);
    elf_file_close(&o->main);
    sn_pages_unmap(o->mini_image, o->mini_size);
    sn_arena_free(o->arena);
}

const char *sn_object_build_id(const struct sn_object *o)
{
    return o->build_id;
}

bool sn_object_has_lines(const struct sn_object *o)
{
    return o->has_dwarf;
}

/* ---- addresses
 * -------------------------------------------------------------------------
 */

const struct segment *object_code(const struct sn_object *o, uint64_t vaddr)
{
    for (uint32_t i = 0; i < o->n_segments; i++)
        if (o->segments[i].exec && vaddr - o->segments[i].vaddr < o->segments[i].memsz)
            return &o->segments[i];
    return NULL;
}

bool object_is_code(const struct sn_object *o, uint64_t vaddr)
{
    return object_code(o, vaddr) != NULL;
}

bool sn_object_vaddr(const struct sn_object *o, uint64_t address, uint64_t map_start,
                     uint64_t map_limit, uint64_t map_offset, uint64_t *vaddr)
{
    uint64_t offset = address - map_start + map_offset;
    *vaddr = address;
    if ((o->exec || (map_start | map_offset) == 0) && object_is_code(o, address))
        return true;
    if (address < map_start || (map_limit != 0 && address >= map_limit))
        return false;
    for (int exec = 1; exec >= 0; exec--) /* two segments may share a page of the file */
        for (uint32_t i = 0; i < o->n_segments; i++) {
            const struct segment *s = &o->segments[i];
            if (s->exec == (exec != 0) && offset - s->offset < s->filesz) {
                *vaddr = offset - s->offset + s->vaddr;
                return true;
            }
        }
    return false;
}

size_t sn_object_frames(struct sn_object *o, uint64_t vaddr, bool inlines,
                        struct sn_object_frame *out, size_t max)
{
    long ahead = max > 0 ? resolved_frames(o, vaddr, inlines, out, max) : 0;
    if (ahead >= 0)
        return (size_t)ahead;
    struct unit *u = dwarf_unit(o, vaddr);
    struct function *f = u != NULL ? dwarf_function(o, u, vaddr) : NULL;
    size_t n = f != NULL ? inline_frames(o, u, f, vaddr, inlines, out, max) : 0;
    if (n > 0)
        return n;
    const char *name = symbol_name(o, vaddr);
    *out = (struct sn_object_frame){.name = name != NULL ? name : "", .file = ""};
    if (u != NULL)
        dwarf_line(o, u, vaddr, out);
    return name != NULL || out->file[0] != '\0';
}
