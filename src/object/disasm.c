/*
 * disasm.c: bytes of a file to instructions, through capstone.
 *
 * The text is laid out as objdump does it: the mnemonic in six columns, no space behind
 * commas, a jump's target and an address relative to the program counter told with the
 * symbol there. Nothing outside of the file's segments of code is read, and an answer is
 * never longer than SN_OBJECT_CODE bytes of it.
 *
 * capstone is loaded when there is something to disassemble: its tables are full of
 * addresses, which would cost each start of the command a millisecond.
 */
#include "object_priv.h"

#include <capstone/capstone.h>
#include <dlfcn.h>
#include <elf.h>
#include <inttypes.h>
#include <stdio.h>

static const struct machine {
    uint16_t elf; /* e_machine */
    uint8_t class;
    cs_arch arch;
    unsigned mode;
} machines[] = {
    {EM_X86_64, ELFCLASS64, CS_ARCH_X86, CS_MODE_64},
    {EM_X86_64, ELFCLASS32, CS_ARCH_X86, CS_MODE_64}, /* x32 */
    {EM_386, ELFCLASS32, CS_ARCH_X86, CS_MODE_32},
    {EM_AARCH64, ELFCLASS64, CS_ARCH_ARM64, CS_MODE_ARM},
    {EM_ARM, ELFCLASS32, CS_ARCH_ARM, CS_MODE_ARM},
    {EM_PPC64, ELFCLASS64, CS_ARCH_PPC, CS_MODE_64},
    {EM_S390, ELFCLASS64, CS_ARCH_SYSZ, 0},
    {EM_MIPS, ELFCLASS64, CS_ARCH_MIPS, CS_MODE_MIPS64},
    {EM_MIPS, ELFCLASS32, CS_ARCH_MIPS, CS_MODE_MIPS32},
};

/* ---- capstone -------------------------------------------------------------------------
 */

#define TEXT_OF(number) #number
#define SONAME(number)  "libcapstone.so." TEXT_OF(number)
#define FUNCTIONS(X)                                                                     \
    X(open)                                                                              \
    X(close)                                                                             \
    X(option)                                                                            \
    X(malloc)                                                                            \
    X(free)                                                                              \
    X(disasm_iter)                                                                       \
    X(insn_group)

#define DECLARE(name) __typeof__(cs_##name) *name;
struct capstone { /* of one machine */
    FUNCTIONS(DECLARE)
    csh handle;
    bool x86;
};

/* What is loaded stays; to load it again is to count it once more. */
static bool load(struct capstone *c, struct sn_error *e)
{
    void *library = dlopen(SONAME(CS_API_MAJOR), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return sn_fail(e, NULL, -1, "to disassemble needs capstone: %s", dlerror());
#define FIND(name)                                                                       \
    if ((*(void **)&c->name = dlsym(library, "cs_" #name)) == NULL)                      \
        return sn_fail(e, NULL, -1, "to disassemble needs another capstone: %s",         \
                       dlerror());
    FUNCTIONS(FIND)
    return true;
}

static bool open_capstone(const struct sn_object *o, bool intel, struct capstone *c,
                          struct sn_error *e)
{
    GElf_Ehdr h;
    if (!load(c, e))
        return false;
    if (gelf_getehdr(o->main.elf, &h) == NULL)
        return sn_fail(e, o->path, 0, "broken ELF file: %s", elf_errmsg(-1));
    for (size_t i = 0; i < SN_COUNT(machines); i++) {
        const struct machine *m = &machines[i];
        bool big = h.e_ident[EI_DATA] == ELFDATA2MSB && m->arch != CS_ARCH_SYSZ;
        unsigned mode = m->mode | (big ? (unsigned)CS_MODE_BIG_ENDIAN : 0);
        if (m->elf != h.e_machine || m->class != h.e_ident[EI_CLASS])
            continue;
        if (c->open(m->arch, (cs_mode)mode, &c->handle) != CS_ERR_OK)
            break;
        c->option(c->handle, CS_OPT_SKIPDATA, CS_OPT_ON);
        c->option(c->handle, CS_OPT_DETAIL, CS_OPT_ON);
        c->x86 = m->arch == CS_ARCH_X86;
        if (c->x86)
            c->option(c->handle, CS_OPT_SYNTAX,
                      intel ? CS_OPT_SYNTAX_INTEL : CS_OPT_SYNTAX_ATT);
        return true;
    }
    return sn_fail(e, o->path, -1, "cannot disassemble code for machine %u", h.e_machine);
}

/* ---- text -----------------------------------------------------------------------------
 */

/* "<name+0x12>" of what is at the address, if that is known. */
static void put_symbol(struct sn_object *o, uint64_t at, struct sn_buf *b)
{
    const struct sn_object_function *f = sn_object_function_at(o, at);
    if (f == NULL)
        return;
    const char *name = symbol_name(o, f->lo); /* of several, that which is shown */
    sn_buf_printf(b, " <%s", name != NULL ? name : f->names[0]);
    if (at != f->lo)
        sn_buf_printf(b, "+0x%" PRIx64, at - f->lo);
    sn_buf_putc(b, '>');
}

/* Where a jump or call with nothing but a number goes to. */
static bool direct_target(const struct capstone *c, const cs_insn *i, uint64_t *at)
{
    char *end;
    const char *digits = i->op_str + (*i->op_str == '#');
    if (i->id == 0 || strncmp(digits, "0x", 2) != 0 ||
        (!c->insn_group(c->handle, i, CS_GRP_JUMP) &&
         !c->insn_group(c->handle, i, CS_GRP_CALL)))
        return false;
    *at = strtoull(digits, &end, 16);
    return *end == '\0';
}

/* The address that an operand names relative to the program counter. */
static bool relative_address(const cs_insn *i, uint64_t *at)
{
    if (i->id == 0 || i->detail == NULL)
        return false;
    for (uint8_t k = 0; k < i->detail->x86.op_count; k++) {
        const cs_x86_op *op = &i->detail->x86.operands[k];
        if (op->type == X86_OP_MEM && op->mem.base == X86_REG_RIP) {
            *at = i->address + i->size + (uint64_t)op->mem.disp;
            return true;
        }
    }
    return false;
}

static const char *text_of(struct sn_object *o, const struct capstone *c,
                           const cs_insn *i, struct sn_arena *a)
{
    struct sn_buf b = {.arena = a};
    uint64_t at;
    sn_buf_puts(&b, i->mnemonic);
    if (*i->op_str != '\0')
        sn_buf_printf(&b, "%*s", b.len < 6 ? 7 - (int)b.len : 1, "");
    if (direct_target(c, i, &at)) {
        sn_buf_printf(&b, "%" PRIx64, at);
        put_symbol(o, at, &b);
        return b.data;
    }
    for (const char *s = i->op_str; *s != '\0'; s++) {
        sn_buf_putc(&b, *s);
        s += s[0] == ',' && s[1] == ' ';
    }
    if (c->x86 && relative_address(i, &at)) {
        sn_buf_printf(&b, "        # %" PRIx64, at);
        put_symbol(o, at, &b);
    }
    return b.data;
}

/* ---- bytes ----------------------------------------------------------------------------
 */

/* [lo, *hi) in the file, cut to its segment; NULL if nothing is there. */
static const uint8_t *bytes_at(struct sn_object *o, uint64_t lo, uint64_t *hi)
{
    const struct segment *s = object_code(o, lo);
    if (s == NULL || lo - s->vaddr >= s->filesz)
        return NULL;
    uint64_t at = lo - s->vaddr, room = s->filesz - at, size = *hi - lo;
    size = size < room ? size : room;
    size = size < SN_OBJECT_CODE ? size : SN_OBJECT_CODE;
    if (s->offset > (uint64_t)INT64_MAX - at)
        return NULL;
    Elf_Data *data =
        elf_getdata_rawchunk(o->main.elf, (int64_t)(s->offset + at), size, ELF_T_BYTE);
    *hi = lo + size;
    return data != NULL && data->d_size == size ? data->d_buf : NULL;
}

bool sn_object_disasm(struct sn_object *o, uint64_t lo, uint64_t hi, bool intel,
                      struct sn_arena *a, struct sn_object_inst **v, size_t *n,
                      struct sn_error *e)
{
    struct capstone c;
    uint32_t count = 0, cap = 0;
    const uint8_t *code = lo < hi ? bytes_at(o, lo, &hi) : NULL;
    size_t left = code != NULL ? hi - lo : 0;
    *v = NULL;
    *n = 0;
    if (code == NULL)
        return sn_fail(e, o->path, -1, "no code at address 0x%" PRIx64, lo);
    if (!open_capstone(o, intel, &c, e))
        return false;
    cs_insn *i = c.malloc(c.handle);
    while (i != NULL && c.disasm_iter(c.handle, &code, &left, &lo, i)) {
        struct sn_object_inst *x = SN_PUSH(a, *v, count, cap);
        if (x == NULL)
            break;
        *x = (struct sn_object_inst){i->address, i->size, text_of(o, &c, i, a)};
    }
    if (i != NULL)
        c.free(i, 1);
    c.close(&c.handle);
    *n = count;
    return (i != NULL && !sn_arena_failed(a)) || sn_fail(e, NULL, -1, "out of memory");
}
