/*
 * frames.c: the old formats do not say which frames are the profiler's own or the
 * allocator's; these names are the ones that google/pprof drops for them.
 */
#include "readers_priv.h"

static const char *const allocator[] = {
    "(__libc_|tc_|malloc_zone_)?(malloc|calloc|realloc|memalign|valloc)",
    "(tc_)?(cfree|pvalloc)",
    "(tc_|malloc_zone_)?free",
    "do_memalign",
    "(__|tc_)?posix_memalign",
    "tcmalloc::.*",
    "tc_(new|delete)(array)?",
    "tc_new(array)?_nothrow",
    "runtime\\..*",
    "BaseArena::.*",
    "(::)?do_malloc(_no_errno|_pages)?",
    "DoSampledAllocation",
    "MallocedMemBlock::MallocedMemBlock",
    "_M_allocate",
    "__builtin_(vec_)?(delete|new)",
    "(__gnu_cxx::new_allocator|__malloc_alloc_template|simple_alloc)::allocate",
    "allocate",
    "cpp_alloc",
    "operator new(\\[\\])?",
    NULL};

static const char *const kept[] = {"runtime\\.(panic|reflectcall|call[0-9]*)", NULL};

static const char *const locks[] = {
    "RecordLockProfileData",
    "(base::)?RecordLockProfileData.*",
    "(base::)?Submit(Mutex|SpinLock)ProfileData.*",
    "((base::)?Mutex::)?(AwaitCommon|Unlock|UnlockSlow|ReaderUnlock).*",
    "((base::)?MutexLock::)?~MutexLock.*",
    "(SpinLock::)?(Unlock|SlowUnlock).*",
    "(SpinLockHolder::)?~SpinLockHolder.*",
    NULL};

static const char *const profiler[] = {"ProfileData::(Add|prof_handler)",
                                       "CpuProfiler::prof_handler",
                                       "__pthread_sighandler", "__restore", NULL};

static uint32_t joined(struct sn_build *b, const char *const *names)
{
    struct sn_buf all = {.arena = b->p->arena};
    for (; *names != NULL; names++) {
        sn_buf_puts(&all, all.len > 0 ? "|" : "");
        sn_buf_puts(&all, *names);
    }
    return all.failed ? 0 : sn_strtab_addn(b->p->strings, all.data, all.len);
}

void sn_build_drop_frames(struct sn_build *b)
{
    struct sn_profile *p = b->p;
    if (p == NULL || p->n_types == 0)
        return;
    const char *last = sn_profile_str(p, p->types[p->n_types - 1].type);
    if (strcmp(last, "space") == 0 || strcmp(last, "inuse_space") == 0) {
        p->drop_frames = joined(b, allocator);
        p->keep_frames = joined(b, kept);
    } else {
        p->drop_frames = joined(b, strcmp(last, "delay") == 0 ? locks : profiler);
    }
}
