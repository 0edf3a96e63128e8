/* exports.c: what a program brings with it for all that is loaded into it. libelf
 * allocates meanwhile, and checks what it reads. */
#include "object_priv.h"

static bool is_defined(const GElf_Sym *s)
{
    unsigned type = GELF_ST_TYPE(s->st_info);
    return s->st_shndx != SHN_UNDEF && GELF_ST_BIND(s->st_info) != STB_LOCAL &&
           (type == STT_FUNC || type == STT_GNU_IFUNC);
}

static bool section_defines(Elf *elf, Elf_Scn *section, const char *name)
{
    GElf_Shdr h;
    GElf_Sym s;
    Elf_Data *data = NULL;
    if (gelf_getshdr(section, &h) != NULL && h.sh_type == SHT_DYNSYM)
        data = elf_getdata(section, NULL);
    for (int i = 0; data != NULL && gelf_getsym(data, i, &s) != NULL; i++) {
        const char *its = is_defined(&s) ? elf_strptr(elf, h.sh_link, s.st_name) : NULL;
        if (its != NULL && strcmp(its, name) == 0)
            return true;
    }
    return false;
}

bool object_exports(int fd, const char *function)
{
    bool found = false;
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    Elf_Scn *s = NULL;
    while (!found && elf != NULL && (s = elf_nextscn(elf, s)) != NULL)
        found = section_defines(elf, s, function);
    elf_end(elf);
    return found;
}
