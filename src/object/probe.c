/*
 * probe.c: what a program is, from its first pages: read with plain pread and believed in
 * nothing. No allocation, but for what exports.c reads.
 */
#include "object_priv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_SEGMENTS 128
#define MAX_DYNAMIC  1024
#define MAX_NOTES    4096 /* bytes of a note segment looked at */

#if defined __x86_64__
#define OUR_MACHINE EM_X86_64
#elif defined __aarch64__
#define OUR_MACHINE EM_AARCH64
#else
#error "no machine number for this architecture"
#endif

static const struct {
    uint16_t machine;
    const char *name;
} machines[] = {
    {EM_386, "x86"},           {EM_X86_64, "x86-64"}, {EM_ARM, "ARM"},
    {EM_AARCH64, "AArch64"},   {EM_RISCV, "RISC-V"},  {EM_PPC, "PowerPC"},
    {EM_PPC64, "PowerPC64"},   {EM_S390, "S/390"},    {EM_MIPS, "MIPS"},
    {EM_SPARCV9, "SPARC V9"},  {EM_SPARC, "SPARC"},   {EM_LOONGARCH, "LoongArch"},
    {EM_68K, "Motorola 68000"}};

static size_t read_at(int fd, uint64_t offset, void *buf, size_t size)
{
    ssize_t n = offset <= INT64_MAX ? pread(fd, buf, size, (off_t)offset) : -1;
    return n > 0 ? (size_t)n : 0;
}

static void name_machine(const unsigned char *head, struct sn_object_probe *out)
{
    bool big = head[EI_DATA] == ELFDATA2MSB;
    unsigned machine = (unsigned)head[18 + big] | (unsigned)head[19 - big] << 8;
    const char *bits = head[EI_CLASS] == ELFCLASS32 ? "32-bit" : "64-bit";
    const char *order = big ? ", big-endian" : "";
    size_t i = 0;
    while (i < SN_COUNT(machines) && machines[i].machine != machine)
        i++;
    if (i < SN_COUNT(machines))
        snprintf(out->machine, sizeof out->machine, "%s, %s%s", machines[i].name, bits,
                 order);
    else
        snprintf(out->machine, sizeof out->machine, "machine %u, %s%s", machine, bits,
                 order);
    out->foreign = head[EI_CLASS] != ELFCLASS64 || head[EI_DATA] != ELFDATA2LSB ||
                   machine != OUR_MACHINE;
}

/* Is the dynamic segment that of a program (DF_1_PIE), not of a library? */
static bool is_pie(int fd, const Elf64_Phdr *dynamic)
{
    Elf64_Dyn d;
    for (uint64_t at = 0; at < dynamic->p_filesz && at < MAX_DYNAMIC * sizeof d;
         at += sizeof d) {
        if (read_at(fd, dynamic->p_offset + at, &d, sizeof d) < sizeof d ||
            d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_FLAGS_1)
            return (d.d_un.d_val & DF_1_PIE) != 0;
    }
    return false;
}

/* Go's linker leaves its build id in a note named "Go". */
static bool has_go_note(int fd, const Elf64_Phdr *note)
{
    char bytes[MAX_NOTES];
    uint64_t want = note->p_filesz < sizeof bytes ? note->p_filesz : sizeof bytes;
    size_t n = read_at(fd, note->p_offset, bytes, want);
    for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= n;) {
        Elf64_Nhdr h;
        memcpy(&h, bytes + at, sizeof h);
        const char *name = bytes + at + sizeof h;
        if (h.n_namesz > n || h.n_descsz > n)
            break;
        if (h.n_namesz == 4 && at + sizeof h + 4 <= n && memcmp(name, "Go\0", 4) == 0)
            return true;
        at += sizeof h + ((h.n_namesz + 3U) & ~3U) + ((h.n_descsz + 3U) & ~3U);
    }
    return false;
}

static bool probe_elf(int fd, const char *path, const Elf64_Ehdr *h,
                      struct sn_object_probe *out, struct sn_error *e)
{
    const Elf64_Phdr *dynamic = NULL;
    bool interp = false;
    Elf64_Phdr v[MAX_SEGMENTS];
    size_t n = h->e_phnum < MAX_SEGMENTS ? h->e_phnum : MAX_SEGMENTS;
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return sn_fail(e, path, -1,
                       "is an ELF file, but neither a program nor a library");
    if (h->e_phentsize != sizeof *v || n == 0 ||
        read_at(fd, h->e_phoff, v, n * sizeof *v) < n * sizeof *v)
        return sn_fail(e, path, h->e_phoff <= INT64_MAX ? (int64_t)h->e_phoff : -1,
                       "broken ELF file: no program headers");
    for (size_t i = 0; i < n; i++) {
        if (v[i].p_type == PT_INTERP) {
            size_t size = v[i].p_filesz < sizeof out->interp - 1 ? v[i].p_filesz
                                                                 : sizeof out->interp - 1;
            out->interp[read_at(fd, v[i].p_offset, out->interp, size)] = '\0';
            interp = true;
        } else if (v[i].p_type == PT_DYNAMIC)
            dynamic = &v[i];
        else if (v[i].p_type == PT_NOTE)
            out->go |= has_go_note(fd, &v[i]);
    }
    out->musl = strstr(out->interp, "ld-musl") != NULL;
    if (interp) {
        out->link = SN_LINK_DYNAMIC;
        out->allocator = object_exports(fd, "malloc");
    } else if (h->e_type == ET_EXEC)
        out->link = SN_LINK_STATIC;
    else
        out->link =
            dynamic != NULL && is_pie(fd, dynamic) ? SN_LINK_STATIC_PIE : SN_LINK_SHARED;
    return true;
}

/* "#! /bin/sh -e": the first word. */
static void read_script(const char *head, size_t len, struct sn_object_probe *out)
{
    size_t at = 2, end;
    while (at < len && (head[at] == ' ' || head[at] == '\t'))
        at++;
    for (end = at; end < len && strchr(" \t\r\n", head[end]) == NULL; end++)
        ;
    snprintf(out->interp, sizeof out->interp, "%.*s", (int)(end - at), head + at);
}

static bool probe_fd(int fd, const char *path, struct sn_object_probe *out,
                     struct sn_error *e)
{
    struct stat st;
    union {
        Elf64_Ehdr elf;
        unsigned char bytes[256];
        char text[256];
    } head = {0};
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return sn_fail(e, path, -1, "is not a regular file");
    out->setuid = (st.st_mode & S_ISUID) != 0 ||
                  (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
                  fgetxattr(fd, "security.capability", NULL, 0) > 0;
    size_t n = read_at(fd, 0, &head, sizeof head);
    out->elf = n >= 20 && memcmp(head.bytes, ELFMAG, SELFMAG) == 0;
    if (n >= 2 && memcmp(head.text, "#!", 2) == 0)
        read_script(head.text, n, out);
    if (!out->elf)
        return true;
    name_machine(head.bytes, out);
    if (out->foreign)
        return true;
    if (n < sizeof head.elf)
        return sn_fail(e, path, (int64_t)n, "broken ELF file: cut short");
    return probe_elf(fd, path, &head.elf, out, e);
}

bool sn_object_probe(const char *path, struct sn_object_probe *out, struct sn_error *e)
{
    *out = (struct sn_object_probe){0};
    /* Not to wait for the other end of a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sn_fail(e, path, -1, "cannot open: %s", strerror(errno));
    bool good = probe_fd(fd, path, out, e);
    close(fd);
    return good;
}
