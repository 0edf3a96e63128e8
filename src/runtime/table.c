/*
 * table.c: counts stacks in the spool (see profile.h for its layout).
 *
 * Invariants: an entry is immutable once published, but for its counts; nothing is ever
 * freed; `used` only grows, and never past `allocated`. Lock-free and signal-safe but for
 * open and close; allocates nothing but pages of the file.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define FIXED_BYTES ((SN_SPOOL_AT_ENTRIES + 4095) & ~(uint64_t)4095)
/* As much again as there is, in these bounds: a sampled heap has a hundred stacks or so,
 * and a page that is never used costs as much as one that is. */
#define GROW_LEAST  ((uint64_t)32 << 10)
#define GROW_MOST   ((uint64_t)256 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct sn_table sn_cpu_table, sn_heap_table;
static _Atomic(struct sn_table *) tables; /* all that ever were open */
static atomic_uint generation;            /* dlclose calls so far */

static void fill_header(const struct sn_table *t, const struct sn_table_plan *plan)
{
    struct sn_spool_header *h = t->header;
    h->version = 1;
    h->pid = (uint32_t)getpid();
    h->kind = plan->kind;
    h->n_values = plan->n_values;
    h->scale = plan->scale;
    h->period = plan->period;
    h->start_real_ns = sn_clock_ns(CLOCK_REALTIME);
    h->start_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    h->n_threads = 1; /* slot 0 is "not known" */
    h->size = t->bytes;
    h->n_buckets = plan->few ? SN_SPOOL_BUCKETS / 8 : SN_SPOOL_BUCKETS;
    prctl(PR_GET_NAME, h->comm);
    ssize_t n = readlink("/proc/self/exe", h->exe, sizeof h->exe - 1);
    h->exe[n > 0 ? n : 0] = '\0';
    snprintf(h->output, sizeof h->output, "%s", plan->output);
    h->state = 1;
    h->magic = SN_SPOOL_MAGIC;
}

static uint64_t growth(const struct sn_table *t, uint64_t have)
{
    uint64_t more = have - FIXED_BYTES;
    more = more < GROW_LEAST ? GROW_LEAST : more > GROW_MOST ? GROW_MOST : more;
    return t->bytes - have < more ? t->bytes - have : more;
}

/* Give the file blocks up to `end` before they are written: a full disk must be a lost
 * sample, not a SIGBUS. Signal-safe. */
static bool reserve(const struct sn_table *t, uint64_t end)
{
    uint64_t *allocated = &t->header->allocated;
    uint64_t have = __atomic_load_n(allocated, __ATOMIC_ACQUIRE);
    while (end > have) {
        uint64_t more = growth(t, have);
        if (madvise((char *)t->header + have, more, MADV_POPULATE_WRITE) != 0)
            return false;
        __atomic_compare_exchange_n(allocated, &have, have + more, false,
                                    __ATOMIC_RELEASE, __ATOMIC_ACQUIRE);
        have = __atomic_load_n(allocated, __ATOMIC_ACQUIRE);
    }
    return true;
}

/* The file's size, the blocks of what is fixed, and (where the kernel cannot add blocks
 * to a mapping, before Linux 5.14) of all. */
static int lay_out(struct sn_table *t, int fd)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < t->bytes)
        return EFBIG; /* the kernel would say so by SIGXFSZ */
    int error = ftruncate(fd, (off_t)t->bytes) != 0 ? errno : 0;
    if (error == 0)
        error = posix_fallocate(fd, 0, (off_t)FIXED_BYTES);
    if (error != 0)
        return error;
    void *p = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return errno;
    t->header = p;
    /* Else the first touch reads megabytes of nothing ahead: 1.7 ms on ext4. */
    madvise(p, t->bytes, MADV_RANDOM);
    t->header->allocated = FIXED_BYTES;
    if (reserve(t, FIXED_BYTES + 1))
        return 0;
    error = errno == EINVAL ? posix_fallocate(fd, 0, (off_t)t->bytes) : ENOSPC;
    t->header->allocated = t->bytes;
    return error;
}

/* Modules are told to all of them. */
static void list(struct sn_table *t)
{
    if (t->listed)
        return;
    t->listed = true;
    t->next = atomic_load(&tables);
    while (!atomic_compare_exchange_weak(&tables, &t->next, t))
        continue;
}

static bool open_without_file(struct sn_table *t, const struct sn_table_plan *plan,
                              struct sn_error *e)
{
    void *p = sn_pages_map(plan->bytes);
    if (p == NULL)
        return sn_fail(e, plan->output, -1, "out of memory");
    t->header = p;
    t->bytes = plan->bytes;
    fill_header(t, plan);
    t->header->allocated = t->bytes;
    list(t);
    return true;
}

bool sn_table_open(struct sn_table *t, const struct sn_table_plan *plan,
                   struct sn_error *e)
{
    if (plan->path == NULL)
        return open_without_file(t, plan, e);
    int fd = open(plan->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        int error = errno; /* the caller asks for it */
        sn_fail(e, plan->path, -1, "cannot create: %s", strerror(error));
        errno = error;
        return false;
    }
    t->bytes = plan->bytes;
    int error = lay_out(t, fd);
    close(fd);
    if (error != 0) {
        sn_table_close(t);
        unlink(plan->path);
        sn_fail(e, plan->path, -1, "cannot reserve room: %s", strerror(error));
        errno = error;
        return false;
    }
    fill_header(t, plan);
    list(t);
    return true;
}

void sn_table_close(struct sn_table *t)
{
    if (t->header != NULL)
        munmap(t->header, t->bytes);
    t->header = NULL;
}

void sn_table_drop(struct sn_table *t, enum sn_spool_drop why, uint64_t n)
{
    if (t->header != NULL)
        __atomic_fetch_add(&t->header->dropped[why], n, __ATOMIC_RELAXED);
}

static void *at(const struct sn_table *t, uint64_t offset)
{
    return (char *)t->header + offset;
}

/* Claim slot `*n` of at most `max`; max when there is none left. */
static uint32_t claim(uint32_t *n, uint32_t max)
{
    uint32_t i = __atomic_load_n(n, __ATOMIC_RELAXED);
    while (i < max && !__atomic_compare_exchange_n(n, &i, i + 1, true, __ATOMIC_ACQ_REL,
                                                   __ATOMIC_RELAXED))
        continue;
    return i;
}

static void copy_text(char *to, const char *from, size_t size)
{
    size_t i = 0;
    for (; i + 1 < size && from[i] != '\0'; i++)
        to[i] = from[i];
    to[i] = '\0';
}

static struct sn_spool_thread *thread_at(const struct sn_table *t, uint32_t slot)
{
    return (struct sn_spool_thread *)at(t, SN_SPOOL_AT_THREADS) + slot;
}

uint32_t sn_table_thread(struct sn_table *t, uint32_t tid)
{
    uint32_t i = claim(&t->header->n_threads, SN_SPOOL_THREADS);
    if (i == SN_SPOOL_THREADS)
        return 0;
    thread_at(t, i)->tid = tid;
    __atomic_store_n(&thread_at(t, i)->ready, 1, __ATOMIC_RELEASE);
    return i;
}

uint32_t sn_table_find_thread(struct sn_table *t, uint32_t tid)
{
    for (uint32_t i = __atomic_load_n(&t->header->n_threads, __ATOMIC_ACQUIRE); i-- > 1;)
        if (thread_at(t, i)->tid == tid)
            return i;
    return sn_table_thread(t, tid);
}

void sn_table_thread_name(struct sn_table *t, uint32_t slot, const char *name)
{
    if (slot != 0)
        copy_text(thread_at(t, slot)->name, name, sizeof thread_at(t, slot)->name);
}

static struct sn_spool_module *module_at(const struct sn_table *t, uint32_t slot)
{
    return (struct sn_spool_module *)at(t, SN_SPOOL_AT_MODULES) + slot;
}

/* Is what was last met at its addresses this very file? */
static bool is_known(const struct sn_table *t, const struct sn_module *m)
{
    const char *path = m->path[0] != '\0' ? m->path : t->header->exe;
    for (uint32_t i = __atomic_load_n(&t->header->n_modules, __ATOMIC_ACQUIRE);
         i-- > 0;) {
        const struct sn_spool_module *s = module_at(t, i);
        if (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) != 0 && s->start < m->text_end &&
            m->text_start < s->limit)
            return s->start == m->text_start && s->limit == m->text_end &&
                   strncmp(s->path, path, sizeof s->path - 1) == 0;
    }
    return false;
}

void sn_table_closed_module(void)
{
    atomic_fetch_add(&generation, 1);
}

static void add_module(const struct sn_table *t, const struct sn_module *m)
{
    if (t->header == NULL || is_known(t, m))
        return;
    uint32_t i = claim(&t->header->n_modules, SN_SPOOL_MODULES);
    if (i == SN_SPOOL_MODULES)
        return;
    struct sn_spool_module *s = module_at(t, i);
    s->start = m->text_start;
    s->limit = m->text_end;
    s->offset = m->text_offset;
    copy_text(s->path, m->path[0] != '\0' ? m->path : t->header->exe, sizeof s->path);
    if (m->build_id != NULL && m->build_id_len <= sizeof s->build_id) {
        for (size_t k = 0; k < m->build_id_len; k++)
            s->build_id[k] = m->build_id[k];
        s->build_id_len = (uint32_t)m->build_id_len;
    }
    __atomic_store_n(&s->ready, 1 + atomic_load(&generation), __ATOMIC_RELEASE);
}

void sn_table_module(const struct sn_module *m)
{
    for (const struct sn_table *t = atomic_load(&tables); t != NULL; t = t->next)
        add_module(t, m);
}

/* ---- stacks
 * -------------------------------------------------------------------------------- */

static uint32_t hash_of(const struct sn_table_key *key, uint32_t now)
{
    uint64_t hash = ((uint64_t)now << 32 | key->thread) * 31u + key->end;
    hash = hash * 31u + key->size_class;
    for (size_t i = 0; i < key->n; i++) { /* a chain of multiplications: one a frame */
        hash = (hash ^ key->pcs[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return (uint32_t)hash;
}

static bool same_stack(const struct sn_table *t, const struct sn_spool_entry *x,
                       const struct sn_spool_entry *head, const uintptr_t *pcs)
{
    if (x->hash != head->hash || x->n_pcs != head->n_pcs || x->thread != head->thread ||
        x->end != head->end || x->generation != head->generation ||
        x->size_class != head->size_class)
        return false;
    const uint64_t *known = sn_spool_pcs(t->header, x);
    for (size_t i = 0; i < head->n_pcs; i++)
        if (known[i] != pcs[i])
            return false;
    return true;
}

/* An entry not yet published, or NULL when the spool is full. */
static struct sn_spool_entry *new_entry(const struct sn_table *t,
                                        const struct sn_spool_entry *head,
                                        const uintptr_t *pcs)
{
    struct sn_spool_header *h = t->header;
    uint64_t bytes = sizeof *head + (h->n_values + head->n_pcs) * sizeof(uint64_t);
    uint64_t used = __atomic_load_n(&h->used, __ATOMIC_RELAXED);
    do {
        if (SN_SPOOL_AT_ENTRIES + used + bytes > t->bytes ||
            !reserve(t, SN_SPOOL_AT_ENTRIES + used + bytes))
            return NULL;
    } while (!__atomic_compare_exchange_n(&h->used, &used, used + bytes, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    struct sn_spool_entry *x = at(t, SN_SPOOL_AT_ENTRIES + used);
    *x = *head; /* the values are 0, as all of a new file */
    uint64_t *to = sn_spool_pcs(h, x);
    for (size_t i = 0; i < head->n_pcs; i++)
        to[i] = pcs[i];
    return x;
}

/* Find the stack in its bucket, or append it to the chain's end. */
struct sn_spool_entry *sn_table_entry(struct sn_table *t, const struct sn_table_key *key)
{
    uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);
    struct sn_spool_entry head = {.hash = hash_of(key, now),
                                  .thread = key->thread,
                                  .generation = now,
                                  .n_pcs = (uint16_t)key->n,
                                  .end = key->end,
                                  .size_class = key->size_class};
    uint32_t *link =
        (uint32_t *)at(t, SN_SPOOL_AT_BUCKETS) + (head.hash & (t->header->n_buckets - 1));
    struct sn_spool_entry *fresh = NULL;
    for (;;) {
        uint32_t next = __atomic_load_n(link, __ATOMIC_ACQUIRE);
        if (next == 0) {
            if (fresh == NULL && (fresh = new_entry(t, &head, key->pcs)) == NULL)
                return NULL;
            uint32_t mine = (uint32_t)(((uintptr_t)fresh - (uintptr_t)t->header) / 8);
            if (__atomic_compare_exchange_n(link, &next, mine, false, __ATOMIC_RELEASE,
                                            __ATOMIC_ACQUIRE))
                return fresh;
        }
        struct sn_spool_entry *x = at(t, (uint64_t)next * 8);
        if (same_stack(t, x, &head, key->pcs))
            return x;
        link = &x->next;
    }
}

void sn_table_each(const struct sn_table *t,
                   void (*visit)(const struct sn_spool_entry *x, void *argument),
                   void *argument)
{
    const uint32_t *buckets = at(t, SN_SPOOL_AT_BUCKETS);
    for (uint32_t i = 0; i < t->header->n_buckets; i++)
        for (uint32_t link = __atomic_load_n(&buckets[i], __ATOMIC_ACQUIRE); link != 0;) {
            const struct sn_spool_entry *x = at(t, (uint64_t)link * 8);
            visit(x, argument);
            link = __atomic_load_n(&x->next, __ATOMIC_ACQUIRE);
        }
}

void sn_table_count(uint32_t thread, enum sn_unwind_end end, const uintptr_t *pcs,
                    size_t n, uint64_t ticks)
{
    struct sn_table_key key = {
        .thread = thread, .end = (uint16_t)end, .pcs = pcs, .n = n};
    struct sn_spool_header *h = sn_cpu_table.header;
    struct sn_spool_entry *x = sn_table_entry(&sn_cpu_table, &key);
    __atomic_fetch_add(&h->ticks, ticks, __ATOMIC_RELAXED);
    if (x == NULL) {
        sn_table_drop(&sn_cpu_table, SN_DROP_FULL, ticks);
        return;
    }
    __atomic_fetch_add(&x->values[SN_CPU_SAMPLES], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&x->values[SN_CPU_TICKS], ticks, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->samples, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&h->truncated[end], 1, __ATOMIC_RELAXED);
}
