/*
 * cfi.c: the entries of .eh_frame, .eh_frame_hdr and .debug_frame: encoded numbers, CIEs,
 * FDEs, and the search for the one that covers an address.
 *
 * Pure, allocates nothing, signal-safe. Never reads outside of the bytes given. Sources:
 * DWARF 5, section 6.4.1; LSB Core 5.0, sections 10.5 and 10.6.
 */
#include "unwind/unwind_priv.h"

/* DW_EH_PE_*: the low four bits say how a pointer is written, the next three what it is
 * relative to. */
enum {
    PE_ABSPTR = 0x00,
    PE_ULEB128 = 0x01,
    PE_UDATA2 = 0x02,
    PE_UDATA4 = 0x03,
    PE_UDATA8 = 0x04,
    PE_SLEB128 = 0x09,
    PE_SDATA2 = 0x0a,
    PE_SDATA4 = 0x0b,
    PE_SDATA8 = 0x0c,
    PE_PCREL = 0x10,
    PE_DATAREL = 0x30,
    PE_ALIGNED = 0x50,
    PE_INDIRECT = 0x80,
    PE_OMIT = 0xff
};

/* A section without a search table is read entry by entry; this bounds the time. */
#define SCAN_MAX 200000

/* ---- numbers ------------------------------------------------------------------------
 */

static const uint8_t *take(struct sn_cfi_reader *r, size_t n)
{
    if (r->bad || (size_t)(r->end - r->p) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

uint64_t sn_cfi_uint(struct sn_cfi_reader *r, size_t size)
{
    const uint8_t *p = take(r, size);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < size; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

int64_t sn_cfi_sint(struct sn_cfi_reader *r, size_t size)
{
    unsigned unused = 64 - 8 * (unsigned)size;
    return (int64_t)(sn_cfi_uint(r, size) << unused) >> unused;
}

/* Either kind of LEB128: bits, and how many were given. Excess bits are dropped. */
static uint64_t leb(struct sn_cfi_reader *r, unsigned *bits, bool *negative)
{
    uint64_t v = 0;
    unsigned shift = 0;
    const uint8_t *p;
    do {
        p = take(r, 1);
        if (p == NULL)
            return 0;
        if (shift < 64)
            v |= (uint64_t)(*p & 0x7f) << shift;
        shift += 7;
        if (shift > 140)
            r->bad = true;
    } while (*p & 0x80);
    *bits = shift;
    *negative = *p & 0x40;
    return v;
}

uint64_t sn_cfi_uleb(struct sn_cfi_reader *r)
{
    unsigned bits;
    bool negative;
    return leb(r, &bits, &negative);
}

int64_t sn_cfi_sleb(struct sn_cfi_reader *r)
{
    unsigned bits = 0;
    bool negative = false;
    uint64_t v = leb(r, &bits, &negative);
    if (negative && bits < 64)
        v |= ~UINT64_C(0) << bits;
    return (int64_t)v;
}

static uint64_t encoded(struct sn_cfi_reader *r, unsigned format)
{
    switch (format) {
    case PE_ABSPTR:
    case PE_UDATA8:
    case PE_SDATA8:
        return sn_cfi_uint(r, 8);
    case PE_ULEB128:
        return sn_cfi_uleb(r);
    case PE_UDATA2:
        return sn_cfi_uint(r, 2);
    case PE_UDATA4:
        return sn_cfi_uint(r, 4);
    case PE_SLEB128:
        return (uint64_t)sn_cfi_sleb(r);
    case PE_SDATA2:
        return (uint64_t)sn_cfi_sint(r, 2);
    case PE_SDATA4:
        return (uint64_t)sn_cfi_sint(r, 4);
    default:
        r->bad = true;
        return 0;
    }
}

uint64_t sn_cfi_pointer(struct sn_cfi_reader *r, const struct sn_cfi_bytes *s,
                        uint8_t encoding, uint64_t base)
{
    uint64_t here = s->addr + (uint64_t)(r->p - s->data);
    if (encoding == PE_ALIGNED) {
        take(r, (size_t)(-here & 7));
        return sn_cfi_uint(r, 8);
    }
    uint64_t v = encoded(r, encoding & 0x0f);
    switch (encoding & 0x70) {
    case 0:
        return v;
    case PE_PCREL:
        return v + here;
    case PE_DATAREL:
        return v + base;
    default: /* textrel and funcrel: no such code exists for the machines we know */
        r->bad = true;
        return 0;
    }
}

/* ---- entries ------------------------------------------------------------------------
 */

struct entry {
    struct sn_cfi_reader body; /* behind the id field */
    const uint8_t *id_at;
    uint64_t id;
    const uint8_t *next;
    bool is64;
};

static bool read_entry(const struct sn_cfi_bytes *s, bool eh, size_t offset,
                       struct entry *e)
{
    if (offset > s->len)
        return false;
    struct sn_cfi_reader r = {s->data + offset, s->data + s->len, false};
    uint64_t length = sn_cfi_uint(&r, 4);
    e->is64 = length == UINT32_MAX;
    if (e->is64)
        length = sn_cfi_uint(&r, 8);
    if (r.bad || length > (size_t)(r.end - r.p))
        return false;
    r.end = e->next = r.p + length;
    e->id_at = r.p;
    e->id = length > 0 ? sn_cfi_uint(&r, e->is64 && !eh ? 8 : 4) : 0;
    e->body = r;
    return !r.bad;
}

static bool is_cie(const struct entry *e, bool eh)
{
    return eh ? e->id == 0 : e->id == (e->is64 ? UINT64_MAX : UINT32_MAX);
}

/* The letters of an augmentation string behind its 'z'. Unknown ones end the reading: the
 * length given before them says where the program begins. */
static void read_augmentation(struct sn_cfi_reader *r, const char *letters,
                              const struct sn_cfi_bytes *s, struct sn_cfi_fde *fde)
{
    for (; *letters != '\0'; letters++) {
        uint8_t encoding;
        switch (*letters) {
        case 'R':
            fde->encoding = (uint8_t)sn_cfi_uint(r, 1);
            break;
        case 'L':
            take(r, 1);
            break;
        case 'P':
            encoding = (uint8_t)sn_cfi_uint(r, 1);
            if (encoding != PE_OMIT)
                sn_cfi_pointer(r, s, encoding & (uint8_t)~PE_INDIRECT, 0);
            break;
        case 'S':
            fde->signal = true;
            break;
        case 'B': /* aarch64: return addresses are signed with the B key */
        case 'G': /* aarch64: tagged stack */
            break;
        default:
            return;
        }
    }
}

/* *augmented: each FDE has augmentation data to be skipped. */
static bool read_cie(const struct sn_cfi_bytes *s, bool eh, size_t offset,
                     struct sn_cfi_fde *fde, bool *augmented)
{
    struct entry e;
    if (!read_entry(s, eh, offset, &e) || e.next == e.id_at || !is_cie(&e, eh))
        return false;
    struct sn_cfi_reader *r = &e.body;
    uint64_t version = sn_cfi_uint(r, 1);
    const char *letters = (const char *)r->p;
    while (sn_cfi_uint(r, 1) != 0)
        continue;
    if (r->bad || (version != 1 && version != 3 && version != 4))
        return false;
    if (letters[0] == 'e' && letters[1] == 'h') { /* of GCC 2: a pointer follows */
        take(r, 8);
        letters += 2;
    }
    if (version == 4 && (sn_cfi_uint(r, 1) != 8 || sn_cfi_uint(r, 1) != 0))
        return false; /* the size of an address, of a segment selector */
    fde->code_align = sn_cfi_uleb(r);
    fde->data_align = sn_cfi_sleb(r);
    uint64_t ra = version == 1 ? sn_cfi_uint(r, 1) : sn_cfi_uleb(r);
    *augmented = letters[0] == 'z';
    if (*augmented) {
        uint64_t length = sn_cfi_uleb(r);
        if (r->bad || length > (size_t)(r->end - r->p))
            return false;
        struct sn_cfi_reader data = {r->p, r->p + length, false};
        read_augmentation(&data, letters + 1, s, fde);
        if (data.bad)
            return false;
        r->p += length;
    } else if (letters[0] != '\0') {
        return false;
    }
    fde->ra = (unsigned)ra;
    fde->cie_program = r->p;
    fde->cie_program_end = r->end;
    return !r->bad && ra < SN_ARCH_REGS;
}

static bool read_fde(const struct sn_cfi_bytes *s, bool eh, const struct entry *e,
                     struct sn_cfi_fde *fde)
{
    uint64_t id_at = (uint64_t)(e->id_at - s->data);
    if (eh && e->id > id_at)
        return false;
    uint64_t cie = eh ? id_at - e->id : e->id;
    bool augmented;
    *fde = (struct sn_cfi_fde){.section = *s};
    if (cie > s->len || !read_cie(s, eh, (size_t)cie, fde, &augmented))
        return false;
    struct sn_cfi_reader r = e->body;
    fde->start = sn_cfi_pointer(&r, s, fde->encoding, 0);
    uint64_t size = encoded(&r, fde->encoding & 0x0f);
    fde->end = fde->start + size;
    if (augmented) {
        uint64_t length = sn_cfi_uleb(&r);
        if (length > (size_t)(r.end - r.p))
            return false;
        r.p += length;
    }
    fde->program = r.p;
    fde->program_end = r.end;
    return !r.bad && fde->end >= fde->start;
}

enum sn_cfi_entry sn_cfi_next(const struct sn_cfi_bytes *s, bool eh, size_t *offset,
                              struct sn_cfi_fde *fde)
{
    struct entry e;
    if (*offset == s->len)
        return SN_CFI_END;
    if (!read_entry(s, eh, *offset, &e))
        return SN_CFI_MALFORMED;
    *offset = (size_t)(e.next - s->data);
    if (e.next == e.id_at)
        return eh ? SN_CFI_END : SN_CFI_CIE; /* .eh_frame ends with an empty entry */
    if (is_cie(&e, eh))
        return SN_CFI_CIE;
    return read_fde(s, eh, &e, fde) ? SN_CFI_FDE : SN_CFI_MALFORMED;
}

/* ---- the search ---------------------------------------------------------------------
 */

static enum sn_cfi_status covers(enum sn_cfi_entry kind, const struct sn_cfi_fde *fde,
                                 uint64_t pc)
{
    if (kind != SN_CFI_FDE)
        return SN_CFI_BAD;
    return pc >= fde->start && pc < fde->end ? SN_CFI_OK : SN_CFI_NONE;
}

static enum sn_cfi_status scan(const struct sn_cfi_bytes *s, size_t offset, uint64_t pc,
                               struct sn_cfi_fde *fde)
{
    for (unsigned i = 0; i < SCAN_MAX; i++) {
        enum sn_cfi_entry kind = sn_cfi_next(s, true, &offset, fde);
        if (kind == SN_CFI_END)
            return SN_CFI_NONE;
        if (kind == SN_CFI_MALFORMED)
            return SN_CFI_BAD;
        if (kind == SN_CFI_FDE && covers(kind, fde, pc) == SN_CFI_OK)
            return SN_CFI_OK;
    }
    return SN_CFI_BAD;
}

static int32_t table_word(const uint8_t *table, size_t i)
{
    int32_t v;
    memcpy(&v, table + 4 * i, sizeof v);
    return v;
}

/* The offset in the section of the last entry that begins at or below pc. The table is
 * sorted pairs (function, entry), both relative to .eh_frame_hdr. */
static bool search_table(const struct sn_cfi_bytes *s, uint64_t hdr, const uint8_t *table,
                         size_t count, uint64_t pc, size_t *offset)
{
    int64_t wanted = (int64_t)(pc - hdr);
    size_t lo = 0, hi = count; /* entries below lo begin at or below pc */
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (table_word(table, 2 * middle) <= wanted)
            lo = middle + 1;
        else
            hi = middle;
    }
    if (lo == 0)
        return false;
    *offset = (size_t)(hdr + (uint64_t)(int64_t)table_word(table, 2 * lo - 1) - s->addr);
    return true;
}

enum sn_cfi_status sn_cfi_find(const struct sn_cfi_bytes *s, uint64_t hdr, uint64_t pc,
                               struct sn_cfi_fde *fde)
{
    if (hdr - s->addr > s->len)
        return SN_CFI_BAD;
    struct sn_cfi_reader r = {s->data + (hdr - s->addr), s->data + s->len, false};
    uint64_t version = sn_cfi_uint(&r, 1);
    uint8_t frame_enc = (uint8_t)sn_cfi_uint(&r, 1);
    uint8_t count_enc = (uint8_t)sn_cfi_uint(&r, 1);
    uint8_t table_enc = (uint8_t)sn_cfi_uint(&r, 1);
    uint64_t frame = sn_cfi_pointer(&r, s, frame_enc, hdr);
    if (r.bad || version != 1)
        return SN_CFI_BAD;
    size_t offset = (size_t)(frame - s->addr);
    if (count_enc == PE_OMIT || table_enc != (PE_DATAREL | PE_SDATA4))
        return scan(s, offset, pc, fde);
    uint64_t count = sn_cfi_pointer(&r, s, count_enc, hdr);
    if (r.bad || count > (size_t)(r.end - r.p) / 8)
        return SN_CFI_BAD;
    if (!search_table(s, hdr, r.p, (size_t)count, pc, &offset))
        return SN_CFI_NONE;
    return covers(sn_cfi_next(s, true, &offset, fde), fde, pc);
}
