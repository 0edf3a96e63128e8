/*
 * debug_frame.c: unwind information that can only be found in the file: .debug_frame, of
 * code compiled without .eh_frame, and the .eh_frame of a program linked without
 * .eh_frame_hdr (static ones).
 *
 * Prepare copies the section into pages that stay for the process's life, beside a sorted
 * index. A table is immutable once it is in the list, so finding is signal-safe and takes
 * no lock. A file that has neither leaves an empty table: it is not looked at again.
 */
#include "unwind/unwind_priv.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILD_ID_MAX 64

struct row {
    uint64_t start;  /* as linked */
    uint64_t offset; /* of the entry in the section */
};

struct table {
    struct table *next;
    uintptr_t map_start, map_end, bias;
    unsigned char build_id[BUILD_ID_MAX];
    size_t build_id_len;
    bool eh; /* the section is .eh_frame */
    struct sn_cfi_bytes section;
    struct row *rows;
    size_t n_rows;
};

static struct table *_Atomic tables;
static pthread_mutex_t preparing = PTHREAD_MUTEX_INITIALIZER;
static struct sn_arena *arena; /* of the tables; under `preparing` */

/* ---- finding ------------------------------------------------------------------------
 */

/* The same file at the same place? Another may have been loaded where one was. */
static bool is_of(const struct table *t, const struct sn_code *c)
{
    const struct sn_module *m = &c->module;
    size_t len = m->build_id_len < BUILD_ID_MAX ? m->build_id_len : BUILD_ID_MAX;
    return t->map_start == m->map_start && t->map_end == m->map_end &&
           t->bias == c->bias && t->build_id_len == len &&
           (len == 0 || memcmp(t->build_id, m->build_id, len) == 0);
}

/* How many rows begin at or below `address`. */
static size_t rows_below(const struct table *t, uint64_t address)
{
    size_t lo = 0, hi = t->n_rows;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (t->rows[middle].start <= address)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

static enum sn_cfi_status find_in(const struct table *t, uint64_t address,
                                  struct sn_cfi_fde *fde)
{
    size_t i = rows_below(t, address);
    if (i == 0)
        return SN_CFI_NONE;
    size_t offset = (size_t)t->rows[i - 1].offset;
    if (sn_cfi_next(&t->section, t->eh, &offset, fde) != SN_CFI_FDE)
        return SN_CFI_BAD;
    fde->bias = t->bias;
    fde->start += t->bias;
    fde->end += t->bias;
    return address + t->bias < fde->end ? SN_CFI_OK : SN_CFI_NONE;
}

enum sn_cfi_status sn_debug_frame_find(const struct sn_code *code, uintptr_t pc,
                                       struct sn_cfi_fde *fde)
{
    const struct table *t = atomic_load_explicit(&tables, memory_order_acquire);
    enum sn_cfi_status status = SN_CFI_NONE;
    for (; t != NULL && status == SN_CFI_NONE; t = t->next)
        if (is_of(t, code))
            status = find_in(t, pc - code->bias, fde);
    return status;
}

/* ---- preparing ----------------------------------------------------------------------
 */

struct view { /* a file mapped: only what is looked at is read */
    const uint8_t *data;
    size_t len;
};

static bool view_open(const char *path, struct view *v)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    void *p = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    *v = (struct view){p, (size_t)st.st_size};
    return p != MAP_FAILED;
}

static bool range_in(const struct view *f, uint64_t offset, uint64_t size)
{
    return offset <= f->len && size <= f->len - offset;
}

/* A section that is in the file as it is: neither empty nor compressed. */
static bool find_section(const struct view *f, const char *name, struct sn_cfi_bytes *out)
{
    const Elf64_Ehdr *e = (const Elf64_Ehdr *)f->data;
    if (!range_in(f, e->e_shoff, (uint64_t)e->e_shnum * sizeof(Elf64_Shdr)) ||
        e->e_shentsize != sizeof(Elf64_Shdr) || e->e_shstrndx >= e->e_shnum ||
        e->e_shoff % 8 != 0)
        return false;
    const Elf64_Shdr *s = (const Elf64_Shdr *)(f->data + e->e_shoff);
    const Elf64_Shdr *names = &s[e->e_shstrndx];
    size_t length = strlen(name) + 1;
    for (unsigned i = 0; i < e->e_shnum; i++)
        if (s[i].sh_type == SHT_PROGBITS && s[i].sh_size > 0 &&
            !(s[i].sh_flags & SHF_COMPRESSED) &&
            range_in(f, s[i].sh_offset, s[i].sh_size) &&
            range_in(f, names->sh_offset, (uint64_t)s[i].sh_name + length) &&
            memcmp(f->data + names->sh_offset + s[i].sh_name, name, length) == 0) {
            *out = (struct sn_cfi_bytes){f->data + s[i].sh_offset, s[i].sh_size,
                                         s[i].sh_addr};
            return true;
        }
    return false;
}

/* Is it the file that was loaded? Its program headers and notes must be what is in memory
 * (another may have been installed since). */
static bool is_loaded_file(const struct view *f, const struct dl_phdr_info *info)
{
    const Elf64_Ehdr *e = (const Elf64_Ehdr *)f->data;
    size_t bytes = info->dlpi_phnum * sizeof(Elf64_Phdr);
    if (f->len < sizeof *e || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 ||
        e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_phnum != info->dlpi_phnum ||
        !range_in(f, e->e_phoff, bytes) ||
        memcmp(f->data + e->e_phoff, info->dlpi_phdr, bytes) != 0)
        return false;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_NOTE &&
            (!range_in(f, p->p_offset, p->p_filesz) ||
             memcmp(f->data + p->p_offset, (const void *)(info->dlpi_addr + p->p_vaddr),
                    p->p_filesz) != 0))
            return false;
    }
    return true;
}

/* Move row i down the heap of the first n. */
static void sift(struct row *rows, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && rows[child + 1].start > rows[child].start)
            child++;
        if (rows[i].start >= rows[child].start)
            return;
        struct row larger = rows[child];
        rows[child] = rows[i];
        rows[i] = larger;
    }
}

/* Heapsort: the C library's qsort may call malloc. Linkers mostly leave them in order. */
static void sort_rows(struct row *rows, size_t n)
{
    size_t ordered = 1;
    while (ordered < n && rows[ordered - 1].start <= rows[ordered].start)
        ordered++;
    if (ordered >= n)
        return;
    for (size_t i = n / 2; i-- > 0;)
        sift(rows, i, n);
    for (size_t i = n; i-- > 1;) {
        struct row first = rows[0];
        rows[0] = rows[i];
        rows[i] = first;
        sift(rows, 0, i);
    }
}

/* One pass to count, one to fill. What follows a malformed entry is left out. */
static size_t list_rows(const struct table *t, struct row *rows)
{
    struct sn_cfi_fde fde;
    size_t n = 0, offset = 0;
    for (;;) {
        size_t at = offset;
        enum sn_cfi_entry kind = sn_cfi_next(&t->section, t->eh, &offset, &fde);
        if (kind == SN_CFI_END || kind == SN_CFI_MALFORMED)
            return n;
        if (kind != SN_CFI_FDE || fde.end == fde.start)
            continue;
        if (rows != NULL)
            rows[n] = (struct row){fde.start, at};
        n++;
    }
}

/* Copied: a file that is cut while we have it mapped would raise SIGBUS. */
static void index_section(struct table *t, const struct sn_cfi_bytes *section)
{
    uint8_t *copy = sn_pages_map(section->len);
    if (copy == NULL)
        return;
    memcpy(copy, section->data, section->len);
    t->section = (struct sn_cfi_bytes){copy, section->len, section->addr};
    size_t n = list_rows(t, NULL);
    t->rows = n > 0 ? sn_pages_map(n * sizeof *t->rows) : NULL;
    if (t->rows == NULL)
        return;
    t->n_rows = list_rows(t, t->rows);
    sort_rows(t->rows, t->n_rows);
}

/* `section` NULL: an empty table. */
static void add_table(const struct sn_code *c, const struct sn_cfi_bytes *section,
                      bool eh)
{
    const struct sn_module *m = &c->module;
    struct table *t = sn_arena_alloc(arena, sizeof *t);
    if (t == NULL)
        return;
    t->map_start = m->map_start;
    t->map_end = m->map_end;
    t->bias = c->bias;
    t->build_id_len = m->build_id_len < BUILD_ID_MAX ? m->build_id_len : BUILD_ID_MAX;
    if (t->build_id_len > 0)
        memcpy(t->build_id, m->build_id, t->build_id_len);
    t->eh = eh;
    if (section != NULL)
        index_section(t, section);
    t->next = atomic_load_explicit(&tables, memory_order_relaxed);
    atomic_store_explicit(&tables, t, memory_order_release);
}

static void add_tables(const struct sn_code *c, const struct dl_phdr_info *info)
{
    const char *path = info->dlpi_name[0] != '\0' ? info->dlpi_name : "/proc/self/exe";
    struct sn_cfi_bytes section;
    struct view file;
    add_table(c, NULL, false);
    if (!view_open(path, &file))
        return;
    if (is_loaded_file(&file, info)) {
        if (find_section(&file, ".debug_frame", &section))
            add_table(c, &section, false);
        if (c->eh_hdr == 0 && find_section(&file, ".eh_frame", &section))
            add_table(c, &section, true);
    }
    munmap((void *)(uintptr_t)file.data, file.len);
}

static bool is_known(const struct sn_code *c)
{
    const struct table *t = atomic_load_explicit(&tables, memory_order_relaxed);
    while (t != NULL && !is_of(t, c))
        t = t->next;
    return t != NULL;
}

static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct sn_memory *memory = arg;
    struct sn_code code;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
            continue;
        if (sn_code_find(memory, info->dlpi_addr + p->p_vaddr, &code) && !is_known(&code))
            add_tables(&code, info);
        break;
    }
    return 0;
}

void sn_debug_frame_prepare(void)
{
    struct sn_memory memory;
    sn_memory_init(&memory, (struct sn_stack_range){0}, 0);
    pthread_mutex_lock(&preparing);
    if (arena == NULL)
        arena = sn_arena_new();
    if (arena != NULL)
        dl_iterate_phdr(visit, &memory);
    pthread_mutex_unlock(&preparing);
}
