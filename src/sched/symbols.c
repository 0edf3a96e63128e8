/*
 * symbols.c: the name of the variable at an address, for the locks that threads wait on,
 * or of the function, for their stacks.
 * A file's own symbol table is read, by which also names are found that a program does
 * not export; the loader is not asked, so no lock is taken. The file is read piece by
 * piece, never mapped: one that is cut short meanwhile does no harm. Nothing in it is
 * believed. ELF: elf(5).
 *
 * What was found is kept, as is what was not. The list of mapped files is read again for
 * an address that is in none, at most once a second.
 */
#include "sched_priv.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

#define AGAIN_NS    UINT64_C(1000000000)
#define MAX_PARTS   64
#define MAX_SYMBOLS (UINT64_C(4) << 20)
#define WHOLE_BYTES 48 /* a pthread_cond_t: an offset in such a one tells nothing */

static bool read_at(int fd, void *to, size_t n, uint64_t at)
{
    return at < INT64_MAX && pread(fd, to, n, (off_t)at) == (ssize_t)n;
}

/* ---- mapped files ---------------------------------------------------------------------
 */

/* As the process sees it, which may be in a container. */
static int open_module(const struct sn_sched *s, const struct sn_module *m)
{
    char path[sizeof m->path + 32];
    if (s->plan.pid == getpid())
        return open(m->path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/root%s", (int)s->plan.pid, m->path);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool is_elf(const ElfW(Ehdr) * h)
{
    return memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 &&
           h->e_ident[EI_CLASS] == ELFCLASS64 && h->e_phentsize == sizeof(ElfW(Phdr)) &&
           h->e_phnum <= MAX_PARTS;
}

/* Where the file lies in memory, by its own word: what is zero at first, behind it, has
 * no mapping of its name. `lo` is where its beginning is mapped. */
static void measure(const struct sn_sched *s, struct sn_module *m)
{
    ElfW(Ehdr) head;
    ElfW(Phdr) parts[MAX_PARTS];
    int fd = open_module(s, m);
    bool good = fd >= 0 && read_at(fd, &head, sizeof head, 0) && is_elf(&head) &&
                read_at(fd, parts, head.e_phnum * sizeof parts[0], head.e_phoff);
    bool first = true;
    m->hi = m->lo;
    for (unsigned i = 0; good && i < head.e_phnum; i++) {
        if (parts[i].p_type != PT_LOAD)
            continue;
        if (first)
            m->bias = m->lo - (parts[i].p_vaddr & ~(uint64_t)4095);
        first = false;
        uint64_t end = m->bias + parts[i].p_vaddr + parts[i].p_memsz;
        m->hi = end > m->hi ? end : m->hi;
    }
    sn_fd_close(fd);
}

/* "lo-hi perms offset device inode      path": of the beginning of each file. */
static void add_module(struct sn_sched *s, const char *line)
{
    struct sn_symbols *y = &s->symbols;
    const char *path = strchr(line, '/');
    char *at;
    uint64_t lo = strtoull(line, &at, 16);
    if (path == NULL || y->n_modules == SN_MODULES ||
        strlen(path) >= sizeof y->modules[0].path)
        return;
    const char *offset = strchr(line, ' ');
    offset = offset != NULL ? strchr(offset + 1, ' ') : NULL;
    if (offset == NULL || strtoull(offset, NULL, 16) != 0)
        return;
    struct sn_module *m = &y->modules[y->n_modules++];
    *m = (struct sn_module){.lo = lo};
    memcpy(m->path, path, strlen(path));
    measure(s, m);
}

static void read_modules(struct sn_sched *s)
{
    char path[64], text[4096];
    size_t used = 0;
    ssize_t n;
    s->symbols.n_modules = 0;
    s->symbols.read_ns = sn_now_ns();
    snprintf(path, sizeof path, "/proc/%d/maps", (int)s->plan.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0) {
        char *line = text, *end;
        used += (size_t)n;
        text[used] = '\0';
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            add_module(s, line);
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
        if (used == sizeof text - 1)
            break; /* longer than any line there is */
    }
    sn_fd_close(fd);
}

static const struct sn_module *module_at(const struct sn_sched *s, uint64_t address)
{
    for (unsigned i = 0; i < s->symbols.n_modules; i++) {
        const struct sn_module *m = &s->symbols.modules[i];
        if (address >= m->lo && address < m->hi)
            return m;
    }
    return NULL;
}

/* ---- symbols --------------------------------------------------------------------------
 */

struct search {
    int fd;
    uint64_t value;   /* what is looked for */
    unsigned type;    /* STT_OBJECT or STT_FUNC */
    uint64_t strings; /* offset of the table's names */
    ElfW(Sym) found;
    bool good;
};

static void search_table(struct search *x, const ElfW(Shdr) * table)
{
    ElfW(Sym) some[128];
    uint64_t n = table->sh_size / sizeof some[0];
    if (table->sh_entsize != sizeof some[0] || n > MAX_SYMBOLS)
        return;
    for (uint64_t i = 0; i < n && !x->good; i += SN_COUNT(some)) {
        size_t k = n - i < SN_COUNT(some) ? (size_t)(n - i) : SN_COUNT(some);
        if (!read_at(x->fd, some, k * sizeof some[0],
                     table->sh_offset + i * sizeof some[0]))
            return;
        for (size_t j = 0; j < k && !x->good; j++) {
            const ElfW(Sym) *sym = &some[j];
            x->good = ELF64_ST_TYPE(sym->st_info) == x->type &&
                      sym->st_shndx != SHN_UNDEF && x->value >= sym->st_value &&
                      x->value - sym->st_value < sym->st_size;
            x->found = *sym;
        }
    }
}

/* Of a file's tables .symtab before .dynsym, which is a part of it. */
static void search_file(struct search *x)
{
    static const unsigned kinds[] = {SHT_SYMTAB, SHT_DYNSYM};
    ElfW(Ehdr) head;
    if (!read_at(x->fd, &head, sizeof head, 0) || !is_elf(&head) ||
        head.e_shentsize != sizeof(ElfW(Shdr)))
        return;
    for (size_t k = 0; k < SN_COUNT(kinds) && !x->good; k++)
        for (unsigned i = 0; i < head.e_shnum && !x->good; i++) {
            ElfW(Shdr) table, names;
            if (!read_at(x->fd, &table, sizeof table, head.e_shoff + i * sizeof table))
                return;
            if (table.sh_type != kinds[k] || table.sh_link >= head.e_shnum ||
                !read_at(x->fd, &names, sizeof names,
                         head.e_shoff + table.sh_link * sizeof names))
                continue;
            x->strings = names.sh_offset;
            search_table(x, &table);
        }
}

/* Its name in text, the symbol in *x. False: there is none. */
static bool find_symbol(const struct sn_sched *s, const struct sn_module *m,
                        struct search *x, char *text, size_t size)
{
    ssize_t n = -1;
    x->fd = open_module(s, m);
    if (x->fd >= 0)
        search_file(x);
    if (x->good && x->strings < INT64_MAX - UINT32_MAX)
        n = pread(x->fd, text, size - 1, (off_t)(x->strings + x->found.st_name));
    sn_fd_close(x->fd);
    text[n > 0 ? n : 0] = '\0';
    return text[0] != '\0';
}

static bool name_in(const struct sn_sched *s, const struct sn_module *m, uint64_t address,
                    char *name, size_t size)
{
    struct search x = {.value = address - m->bias, .type = STT_OBJECT};
    char text[80];
    if (!find_symbol(s, m, &x, text, sizeof text))
        return false;
    uint64_t inside = x.value - x.found.st_value;
    if (x.found.st_size <= WHOLE_BYTES || inside == 0)
        snprintf(name, size, "%s", text);
    else
        snprintf(name, size, "%.72s+%#llx", text, (unsigned long long)inside);
    return true;
}

static const struct sn_module *find_module(struct sn_sched *s, uint64_t address)
{
    const struct sn_module *m = module_at(s, address);
    if (m == NULL && s->symbols.read_ns + AGAIN_NS < sn_now_ns()) {
        read_modules(s);
        m = module_at(s, address);
    }
    return m;
}

static void find_name(struct sn_sched *s, uint64_t address, char *name, size_t size)
{
    const struct sn_module *m = find_module(s, address);
    if (m == NULL) {
        snprintf(name, size, "%#llx", (unsigned long long)address);
        return;
    }
    if (name_in(s, m, address, name, size))
        return;
    snprintf(name, size, "%.64s+%#llx", strrchr(m->path, '/') + 1,
             (unsigned long long)(address - m->bias));
}

static struct sn_named *place_of(struct sn_sched *s, uint64_t address)
{
    return &s->symbols.named[sn_hash_mix(address) & (SN_NAMED - 1)];
}

void sn_symbols_name(struct sn_sched *s, uint64_t address, char *name, size_t size)
{
    struct sn_named *kept = place_of(s, address);
    if (kept->address != address || kept->name[0] == '\0') {
        kept->address = address;
        find_name(s, address, kept->name, sizeof kept->name);
    }
    snprintf(name, size, "%s", kept->name);
}

const char *sn_symbols_function(struct sn_sched *s, uint64_t address, char *name,
                                size_t size, uint64_t *offset)
{
    struct sn_named *kept = place_of(s, address);
    const struct sn_module *m = find_module(s, address);
    name[0] = '\0';
    if (m == NULL)
        return NULL;
    *offset = address - m->bias;
    if (kept->address != address) { /* also that it has no name is kept */
        struct search x = {.value = *offset, .type = STT_FUNC};
        kept->address = address;
        find_symbol(s, m, &x, kept->name, sizeof kept->name);
    }
    snprintf(name, size, "%s", kept->name);
    return m->path;
}
