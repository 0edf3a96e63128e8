/*
 * custom.c: profiles of the program's own, as Go's pprof.NewProfile: what is added and
 * not yet removed, by the stack that added it.
 *
 * Each is a table without a file (table.c) and a map of its keys (live.c), under one spin
 * lock. They are there whether anything is recorded or not, and are never freed.
 */
#include "runtime/runtime.h"
#include "sonde.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>

#define NAME_BYTES  64
#define TABLE_BYTES ((size_t)64 << 20) /* of addresses; pages come with use */

struct sonde_profile {
    struct sonde_profile *next; /* of all; immutable */
    char name[NAME_BYTES];
    struct sn_table table;
    _Atomic(uintptr_t) lock; /* of the thread that holds it, its pointer; 0: nobody */
    bool forking;            /* ... for as long as fork takes */
    struct sn_live keys;
    atomic_size_t count;
    uintptr_t pcs[SN_MAX_DEPTH + SN_OWN_FRAMES];
};

static _Atomic(struct sonde_profile *) profiles;
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint forkers; /* threads that are about to fork: they go first */

static uintptr_t me(void)
{
    return (uintptr_t)__builtin_thread_pointer();
}

static void take(struct sonde_profile *p)
{
    for (uintptr_t nobody = 0; !atomic_compare_exchange_weak(&p->lock, &nobody, me());
         nobody = 0)
        sched_yield();
}

/* Threads that come all the time would let one that forks wait for ever. */
static void lock(struct sonde_profile *p)
{
    while (atomic_load_explicit(&forkers, memory_order_relaxed) > 0)
        sched_yield();
    take(p);
}

static void unlock(struct sonde_profile *p)
{
    atomic_store_explicit(&p->lock, 0, memory_order_release);
}

/* A name is a file's, too, and not that of a recording's. */
static bool is_name(const char *name)
{
    static const char *const taken[] = {"cpu", "mem", "block"};
    size_t n = name != NULL ? strnlen(name, NAME_BYTES) : 0;
    for (size_t i = 0; i < SN_COUNT(taken) && n > 0; i++)
        if (strcmp(name, taken[i]) == 0)
            return false;
    return n > 0 && n < NAME_BYTES && name[0] != '.' && strchr(name, '/') == NULL;
}

static struct sonde_profile *find(const char *name)
{
    struct sonde_profile *p = atomic_load(&profiles);
    while (p != NULL && strcmp(p->name, name) != 0)
        p = p->next;
    return p;
}

static struct sonde_profile *make(const char *name)
{
    const struct sn_unwind_hooks hooks = {.on_module = sn_table_module};
    const struct sn_table_plan plan = {.output = name,
                                       .kind = SN_SPOOL_CUSTOM,
                                       .n_values = SN_CUSTOM_VALUES,
                                       .scale = 1,
                                       .period = 1,
                                       .bytes = TABLE_BYTES};
    struct sonde_profile *p = sn_pages_map(sizeof *p);
    if (p == NULL)
        return NULL;
    strcpy(p->name, name);
    if (!sn_live_open(&p->keys, 1) || !sn_table_open(&p->table, &plan, NULL)) {
        sn_live_close(&p->keys);
        sn_pages_unmap(p, sizeof *p);
        return NULL;
    }
    sn_unwind_prepare(&hooks, NULL); /* modules are met again, for this table too */
    p->next = atomic_load(&profiles);
    atomic_store(&profiles, p);
    return p;
}

SN_PUBLIC struct sonde_profile *sonde_profile_new(const char *name)
{
    if (!is_name(name)) {
        errno = EINVAL;
        return NULL;
    }
    pthread_mutex_lock(&making);
    struct sonde_profile *p = find(name);
    if (p == NULL)
        p = make(name);
    pthread_mutex_unlock(&making);
    if (p == NULL)
        errno = ENOMEM;
    return p;
}

/* With the lock: the entry of the stack above `caller`. NULL: the table is full. */
static struct sn_spool_entry *entry_here(struct sonde_profile *p, const void *caller)
{
    enum sn_unwind_end end;
    char name[17] = "";
    size_t n = sn_unwind_here(sn_thread_stack(), p->pcs, SN_COUNT(p->pcs), &end);
    size_t own = sn_thread_frame_of(p->pcs, n, caller);
    if (own == n)
        own = 0;
    n = n - own < SN_MAX_DEPTH ? n - own : SN_MAX_DEPTH;
    struct sn_table_key key = {
        .thread = sn_table_find_thread(&p->table, (uint32_t)sn_thread_id()),
        .end = (uint16_t)end,
        .pcs = p->pcs + own,
        .n = n};
    prctl(PR_GET_NAME, name);
    sn_table_thread_name(&p->table, key.thread, name);
    return sn_table_entry(&p->table, &key);
}

static uintptr_t address_of(const void *key) /* 0 is no key to live.c */
{
    return (uintptr_t)key + 1;
}

static int add(struct sonde_profile *p, const void *key, const void *caller)
{
    struct sn_block known, block = {.address = address_of(key), .size = 1};
    if (sn_live_take(&p->keys, block.address, &known)) {
        sn_live_put(&p->keys, &known, &block);
        return EEXIST;
    }
    struct sn_spool_entry *x = entry_here(p, caller);
    if (x == NULL) {
        sn_table_drop(&p->table, SN_DROP_FULL, 1);
        return ENOSPC;
    }
    block.entry = (uint32_t)(((uintptr_t)x - (uintptr_t)p->table.header) / 8);
    if (!sn_live_put(&p->keys, &block, &known))
        return ENOMEM;
    x->values[SN_CUSTOM_ADDED]++;
    atomic_fetch_add(&p->count, 1);
    return 0;
}

static int remove_key(struct sonde_profile *p, const void *key)
{
    struct sn_block block;
    if (!sn_live_take(&p->keys, address_of(key), &block))
        return ENOENT;
    struct sn_spool_entry *x =
        (void *)((char *)p->table.header + (uint64_t)block.entry * 8);
    x->values[SN_CUSTOM_REMOVED]++;
    atomic_fetch_sub(&p->count, 1);
    return 0;
}

static int result_of(int error)
{
    if (error != 0)
        errno = error;
    return error != 0 ? -1 : 0;
}

SN_PUBLIC __attribute__((noinline)) int sonde_profile_add(struct sonde_profile *p,
                                                          const void *key)
{
    if (p == NULL || address_of(key) == 0)
        return result_of(EINVAL);
    lock(p);
    int error = add(p, key, __builtin_return_address(0));
    unlock(p);
    return result_of(error);
}

SN_PUBLIC int sonde_profile_remove(struct sonde_profile *p, const void *key)
{
    if (p == NULL)
        return result_of(EINVAL);
    lock(p);
    int error = remove_key(p, key);
    unlock(p);
    return result_of(error);
}

SN_PUBLIC size_t sonde_profile_count(const struct sonde_profile *p)
{
    return p != NULL ? atomic_load(&p->count) : 0;
}

const struct sn_table *sn_custom_table(const struct sonde_profile *p)
{
    return &p->table;
}

void sn_custom_write_all(const char *directory, const char *suffix, bool quiet)
{
    char path[PATH_MAX + NAME_BYTES + 64], text[640];
    for (struct sonde_profile *p = atomic_load(&profiles); p != NULL; p = p->next) {
        struct sn_error e = {.offset = -1};
        if (atomic_load(&p->count) == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s%s.pprof", directory, p->name, suffix);
        bool good = sn_table_write(&p->table, path, &e);
        if (!quiet && good)
            sn_say("%s profile written, %s", p->name, path);
        else if (!quiet)
            sn_say("%s", sn_error_text(&e, text, sizeof text));
    }
}

void sn_custom_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                     void *argument)
{
    for (struct sonde_profile *p = atomic_load(&profiles); p != NULL; p = p->next)
        sn_live_pages(&p->keys, visit, argument);
}

/* Nobody is halfway in one, so that the child's copy is whole. Unless it is the calling
 * thread, that forks in a handler: it goes on in the child, too. */
void sn_custom_before_fork(void)
{
    atomic_fetch_add(&forkers, 1);
    for (struct sonde_profile *p = atomic_load(&profiles); p != NULL; p = p->next)
        if (atomic_load(&p->lock) != me()) {
            take(p);
            p->forking = true;
        }
}

void sn_custom_after_fork(bool child)
{
    if (child) {
        pthread_mutex_init(&making, NULL);
        atomic_store(&forkers, 0);
    } else {
        atomic_fetch_sub(&forkers, 1);
    }
    for (struct sonde_profile *p = atomic_load(&profiles); p != NULL; p = p->next)
        if (p->forking || (child && atomic_load(&p->lock) != me())) {
            p->forking = false;
            unlock(p); /* one made meanwhile may be held by who is not here */
        }
}
