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

#define SPOOL_BYTES ((size_t)64 << 20)
#define GROW_BYTES  ((uint64_t)256 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static struct sn_spool_header *spool;
static atomic_uint generation; /* dlclose calls so far */

static void fill_header(struct sn_spool_header *h, const char *output, uint64_t period_ns)
{
    h->version = 1;
    h->pid = (uint32_t)getpid();
    h->period_ns = period_ns;
    h->period_known = 1;
    h->start_real_ns = sn_clock_ns(CLOCK_REALTIME);
    h->start_mono_ns = sn_clock_ns(CLOCK_MONOTONIC);
    h->n_threads = 1; /* slot 0 is "not known" */
    h->size = SPOOL_BYTES;
    prctl(PR_GET_NAME, h->comm);
    ssize_t n = readlink("/proc/self/exe", h->exe, sizeof h->exe - 1);
    h->exe[n > 0 ? n : 0] = '\0';
    snprintf(h->output, sizeof h->output, "%s", output);
    h->state = 1;
    h->magic = SN_SPOOL_MAGIC;
}

/* Give the file blocks up to `end` before they are written: a full disk must be a lost
 * sample, not a SIGBUS. Signal-safe. */
static bool reserve(uint64_t end)
{
    uint64_t have = __atomic_load_n(&spool->allocated, __ATOMIC_ACQUIRE);
    while (end > have) {
        uint64_t more = SPOOL_BYTES - have < GROW_BYTES ? SPOOL_BYTES - have : GROW_BYTES;
        if (madvise((char *)spool + have, more, MADV_POPULATE_WRITE) != 0)
            return false;
        __atomic_compare_exchange_n(&spool->allocated, &have, have + more, false,
                                    __ATOMIC_RELEASE, __ATOMIC_ACQUIRE);
        have = __atomic_load_n(&spool->allocated, __ATOMIC_ACQUIRE);
    }
    return true;
}

/* The file's size, the blocks of what is fixed, and (where the kernel cannot add blocks
 * to a mapping, before Linux 5.14) of all. */
static int lay_out(int fd)
{
    uint64_t fixed = (SN_SPOOL_AT_ENTRIES + 4095) & ~(uint64_t)4095;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < SPOOL_BYTES)
        return EFBIG; /* the kernel would say so by SIGXFSZ */
    int error = ftruncate(fd, (off_t)SPOOL_BYTES) != 0 ? errno : 0;
    if (error == 0)
        error = posix_fallocate(fd, 0, (off_t)fixed);
    if (error != 0)
        return error;
    spool = mmap(NULL, SPOOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (spool == MAP_FAILED) {
        spool = NULL;
        return errno;
    }
    /* Else the first touch reads megabytes of nothing ahead: 1.7 ms on ext4. */
    madvise(spool, SPOOL_BYTES, MADV_RANDOM);
    spool->allocated = fixed;
    if (reserve(fixed + GROW_BYTES))
        return 0;
    error = errno == EINVAL ? posix_fallocate(fd, 0, (off_t)SPOOL_BYTES) : ENOSPC;
    spool->allocated = SPOOL_BYTES;
    return error;
}

bool sn_table_open(const char *path, const char *output, uint64_t period_ns,
                   struct sn_error *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        int error = errno; /* the caller asks for it */
        sn_fail(e, path, -1, "cannot create: %s", strerror(error));
        errno = error;
        return false;
    }
    int error = lay_out(fd);
    close(fd);
    if (error != 0) {
        sn_table_close();
        unlink(path);
        sn_fail(e, path, -1, "cannot reserve room: %s", strerror(error));
        errno = error;
        return false;
    }
    fill_header(spool, output, period_ns);
    return true;
}

struct sn_spool_header *sn_table_header(void)
{
    return spool;
}

size_t sn_table_bytes(void)
{
    return SPOOL_BYTES;
}

void sn_table_close(void)
{
    if (spool != NULL)
        munmap(spool, SPOOL_BYTES);
    spool = NULL;
}

void sn_table_drop(enum sn_spool_drop why, uint64_t ticks)
{
    if (spool != NULL)
        __atomic_fetch_add(&spool->dropped[why], ticks, __ATOMIC_RELAXED);
}

static void *at(uint64_t offset)
{
    return (char *)spool + offset;
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

static struct sn_spool_thread *thread_at(uint32_t slot)
{
    return (struct sn_spool_thread *)at(SN_SPOOL_AT_THREADS) + slot;
}

uint32_t sn_table_thread(uint32_t tid)
{
    uint32_t i = claim(&spool->n_threads, SN_SPOOL_THREADS);
    if (i == SN_SPOOL_THREADS)
        return 0;
    thread_at(i)->tid = tid;
    __atomic_store_n(&thread_at(i)->ready, 1, __ATOMIC_RELEASE);
    return i;
}

void sn_table_thread_name(uint32_t slot, const char *name)
{
    if (slot != 0)
        copy_text(thread_at(slot)->name, name, sizeof thread_at(slot)->name);
}

static struct sn_spool_module *module_at(uint32_t slot)
{
    return (struct sn_spool_module *)at(SN_SPOOL_AT_MODULES) + slot;
}

/* Is what was last met at its addresses this very file? */
static bool is_known(const struct sn_module *m)
{
    const char *path = m->path[0] != '\0' ? m->path : spool->exe;
    for (uint32_t i = __atomic_load_n(&spool->n_modules, __ATOMIC_ACQUIRE); i-- > 0;) {
        const struct sn_spool_module *s = module_at(i);
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

void sn_table_module(const struct sn_module *m)
{
    if (spool == NULL || is_known(m))
        return;
    uint32_t i = claim(&spool->n_modules, SN_SPOOL_MODULES);
    if (i == SN_SPOOL_MODULES)
        return;
    struct sn_spool_module *s = module_at(i);
    s->start = m->text_start;
    s->limit = m->text_end;
    s->offset = m->text_offset;
    copy_text(s->path, m->path[0] != '\0' ? m->path : spool->exe, sizeof s->path);
    if (m->build_id != NULL && m->build_id_len <= sizeof s->build_id) {
        for (size_t k = 0; k < m->build_id_len; k++)
            s->build_id[k] = m->build_id[k];
        s->build_id_len = (uint32_t)m->build_id_len;
    }
    __atomic_store_n(&s->ready, 1 + atomic_load(&generation), __ATOMIC_RELEASE);
}

static bool same_stack(const struct sn_spool_entry *x, const struct sn_spool_entry *key,
                       const uintptr_t *pcs)
{
    if (x->hash != key->hash || x->n_pcs != key->n_pcs || x->thread != key->thread ||
        x->end != key->end || x->generation != key->generation)
        return false;
    for (size_t i = 0; i < key->n_pcs; i++)
        if (x->pcs[i] != pcs[i])
            return false;
    return true;
}

/* An entry not yet published, or NULL when the spool is full. */
static struct sn_spool_entry *new_entry(const struct sn_spool_entry *key,
                                        const uintptr_t *pcs)
{
    uint64_t bytes = sizeof *key + key->n_pcs * sizeof key->pcs[0];
    uint64_t used = __atomic_load_n(&spool->used, __ATOMIC_RELAXED);
    do {
        if (SN_SPOOL_AT_ENTRIES + used + bytes > SPOOL_BYTES ||
            !reserve(SN_SPOOL_AT_ENTRIES + used + bytes))
            return NULL;
    } while (!__atomic_compare_exchange_n(&spool->used, &used, used + bytes, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    struct sn_spool_entry *x = at(SN_SPOOL_AT_ENTRIES + used);
    *x = *key;
    for (size_t i = 0; i < key->n_pcs; i++)
        x->pcs[i] = pcs[i];
    return x;
}

/* Find the stack in its bucket, or append it to the chain's end. */
static struct sn_spool_entry *find_or_add(const struct sn_spool_entry *key,
                                          const uintptr_t *pcs)
{
    uint32_t *link =
        (uint32_t *)at(SN_SPOOL_AT_BUCKETS) + (key->hash & (SN_SPOOL_BUCKETS - 1));
    struct sn_spool_entry *fresh = NULL;
    for (;;) {
        uint32_t next = __atomic_load_n(link, __ATOMIC_ACQUIRE);
        if (next == 0) {
            if (fresh == NULL && (fresh = new_entry(key, pcs)) == NULL)
                return NULL;
            uint32_t mine = (uint32_t)(((uintptr_t)fresh - (uintptr_t)spool) / 8);
            if (__atomic_compare_exchange_n(link, &next, mine, false, __ATOMIC_RELEASE,
                                            __ATOMIC_ACQUIRE))
                return fresh;
        }
        struct sn_spool_entry *x = at((uint64_t)next * 8);
        if (same_stack(x, key, pcs))
            return x;
        link = &x->next;
    }
}

void sn_table_count(uint32_t thread, enum sn_unwind_end end, const uintptr_t *pcs,
                    size_t n, uint64_t weight)
{
    uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);
    uint64_t hash = ((uint64_t)now << 32 | thread) * 31u + (unsigned)end;
    for (size_t i = 0; i < n; i++) { /* a chain of multiplications: one a frame */
        hash = (hash ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    struct sn_spool_entry key = {.hash = (uint32_t)hash,
                                 .thread = thread,
                                 .n_pcs = (uint16_t)n,
                                 .end = (uint16_t)end,
                                 .generation = now};
    struct sn_spool_entry *x = find_or_add(&key, pcs);
    __atomic_fetch_add(&spool->ticks, weight, __ATOMIC_RELAXED);
    if (x == NULL) {
        sn_table_drop(SN_DROP_FULL, weight);
        return;
    }
    __atomic_fetch_add(&x->count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&x->weight, weight, __ATOMIC_RELAXED);
    __atomic_fetch_add(&spool->samples, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&spool->truncated[end], 1, __ATOMIC_RELAXED);
}
