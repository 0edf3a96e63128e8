/*
 * The unwinder against a truth of its own: a program is single-stepped, calls and returns
 * keep a shadow stack, and at every instruction the walk must find exactly that.
 */
#include "unwind/unwind_priv.h"

#include "../tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <wchar.h>

#define DEPTH_MAX 600
#define SHORT     900 /* bytes of a function here, sanitized and all */
#define NOINLINE  __attribute__((noinline))

static struct sn_stack_range no_range;
static volatile int sink;
static volatile size_t some = 37;

/* ---- the shadow stack ---------------------------------------------------------------
 */

struct call {
    uintptr_t slot, ra; /* where the return address is, and what it was */
};

static struct {
    bool started, forget;
    uintptr_t ip, sp;
    struct call calls[DEPTH_MAX];
    size_t n_calls;
    uintptr_t base[DEPTH_MAX]; /* from where the stepping began */
    size_t n_base;
    size_t steps, wrong, incomplete;
    char first_wrong[400];
} shadow;

static bool is_call(const uint8_t *p)
{
    while (*p == 0x3e || *p == 0xf2 || (*p & 0xf0) == 0x40) /* notrack, bnd, REX */
        p++;
    return *p == 0xe8 || (*p == 0xff && (p[1] >> 3 & 7) == 2);
}

static void follow(uintptr_t ip, uintptr_t sp)
{
    while (shadow.n_calls > 0 && shadow.calls[shadow.n_calls - 1].slot < sp)
        shadow.n_calls--;
    if (sp == shadow.sp - 8 && is_call((const uint8_t *)shadow.ip))
        shadow.calls[shadow.n_calls++] = (struct call){sp, *(uintptr_t *)sp};
    shadow.ip = ip;
    shadow.sp = sp;
}

static void note_wrong(const uintptr_t *pcs, size_t n, size_t at, const char *end)
{
    Dl_info info = {0};
    if (shadow.wrong++ != 0)
        return;
    dladdr((void *)pcs[0], &info);
    snprintf(shadow.first_wrong, sizeof shadow.first_wrong,
             "at %s (%s + %#zx): frame %zu of %zu is %#zx, %s; %zu calls deep",
             info.dli_sname ? info.dli_sname : "?", info.dli_fname ? info.dli_fname : "?",
             (size_t)(pcs[0] - (uintptr_t)info.dli_fbase), at, n, at < n ? pcs[at] : 0,
             end, shadow.n_calls);
}

static void compare(const uintptr_t *pcs, size_t n, enum sn_unwind_end end)
{
    size_t want = 1 + shadow.n_calls + shadow.n_base;
    for (size_t i = 1; i < want; i++) {
        uintptr_t pc = i <= shadow.n_calls ? shadow.calls[shadow.n_calls - i].ra - 1
                                           : shadow.base[i - 1 - shadow.n_calls];
        if (i >= n || pcs[i] != pc) {
            note_wrong(pcs, n, i, sn_unwind_end_name(end));
            return;
        }
    }
    if (n != want)
        note_wrong(pcs, n, want, sn_unwind_end_name(end));
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    static uintptr_t pcs[DEPTH_MAX];
    const ucontext_t *uc = context;
    enum sn_unwind_end end;
    (void)sig;
    (void)info;
    errno = 77;
    if (shadow.forget)
        sn_unwind_forget();
    size_t n = sn_unwind(uc, no_range, pcs, DEPTH_MAX, &end);
    shadow.incomplete += end != SN_END_OUTERMOST;
    uintptr_t ip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
    uintptr_t sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
    if (!shadow.started) {
        shadow.started = true;
        shadow.ip = ip;
        shadow.sp = sp;
        shadow.n_base = n - 1;
        memcpy(shadow.base, pcs + 1, (n - 1) * sizeof *pcs);
        return;
    }
    follow(ip, sp);
    shadow.steps++;
    compare(pcs, n, end);
    if (errno != 77)
        note_wrong(pcs, n, 0, "errno changed");
}

/* Before anything below the stack pointer is written: a red zone may be in use. */
#define STEP_ON()                                                                        \
    __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, "   \
                     "%%rsp" ::                                                          \
                         : "memory", "cc")
#define STEP_OFF()                                                                       \
    __asm__ volatile("sub $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; add $128, " \
                     "%%rsp" ::                                                          \
                         : "memory", "cc")

/* The inline assembly moves rsp: only a frame pointer keeps this function's CFA right,
 * and alloca makes sure of one. */
NOINLINE static void stepped(void (*f)(void))
{
    volatile char *room = __builtin_alloca(some);
    room[0] = 0;
    STEP_ON();
    f();
    STEP_OFF();
}

static void check_stepped(const char *name, void (*f)(void), bool forget)
{
    memset(&shadow, 0, sizeof shadow);
    shadow.forget = forget;
    stepped(f);
    if (!ok(shadow.wrong == 0 && shadow.incomplete == 0 && shadow.steps > 20,
            "every instruction of %s%s: %zu steps", name, forget ? ", no cache" : "",
            shadow.steps))
        printf("# wrong %zu, incomplete %zu; first %s\n", shadow.wrong, shadow.incomplete,
               shadow.first_wrong);
}

/* ---- what is stepped through --------------------------------------------------------
 */

static int by_length(const void *a, const void *b)
{
    return (int)strlen(*(char *const *)a) - (int)strlen(*(char *const *)b);
}

static void sorting(void)
{
    const char *words[] = {"one", "three", "", "seventeen", "a", "forty-two", "nil"};
    qsort(words, SN_COUNT(words), sizeof words[0], by_length);
}

static void printing(void)
{
    char text[200];
    sink = snprintf(text, sizeof text, "%d %s %.17g %lc %*x", 12345, "text", 0.1 + some,
                    L'x', 12, 77);
}

static void parsing(void)
{
    sink = (int)strtod("12.5e3", NULL) + (int)strtol("-0x77", NULL, 0);
}

static void copying(void)
{
    static char from[9000], to[9000];
    static const size_t sizes[] = {1, 7, 15, 31, 33, 64, 100, 129, 300, 1000, 5000};
    for (size_t i = 0; i < SN_COUNT(sizes); i++) {
        size_t n = sizes[i] + (some - 37);
        memcpy(to, from, n);
        memmove(to + 3, to, n);
        memset(to, 'x', n);
        sink += memcmp(to, from, n) + (int)strnlen(to, n);
        sink += memchr(to, 'y', n) != NULL;
    }
}

static void allocating(void)
{
    void *volatile p[20];
    for (size_t i = 0; i < SN_COUNT(p); i++)
        p[i] = malloc(i * 100 + 1);
    for (size_t i = 0; i < SN_COUNT(p); i++)
        free(p[i]);
    p[0] = malloc(1 << 20);
    free(realloc(p[0], 3 << 20));
}

static void asking_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    sink = (int)time(NULL);
}

/* The first call through the PLT: the dynamic linker's resolver. */
static void binding(void)
{
    wchar_t w[4];
    sink = (int)wcslen(wmemset(w, 0, 4)) + (int)strcspn("abc", "c");
}

NOINLINE static int with_alloca(size_t n)
{
    volatile char *p = __builtin_alloca(n);
    p[0] = (char)n;
    sink += p[0];
    return n > 200 ? 1 + with_alloca(n - 100) : 0;
}

static void alloca_frames(void)
{
    sink = with_alloca(1000 + some);
}

NOINLINE static int realigned(int a, int b, int c, int d, int e, int f, int g, int h)
{
    volatile __attribute__((aligned(64))) int v[16] = {a, b, c, d, e, f, g, h};
    volatile char *p = __builtin_alloca((size_t)h);
    p[0] = 1;
    sink += by_length(&(char *){"a"}, &(char *){"bb"});
    return ((uintptr_t)v & 63) == 0 ? v[3] + p[0] : -1;
}

static void realigned_frames(void)
{
    sink = realigned(1, 2, 3, 4, 5, 6, 7, 80);
}

NOINLINE static int deep(int n)
{
    if (n == 0)
        return 1;
    return deep(n - 1) + (sink = n);
}

static void recursion(void)
{
    sink = deep(400);
}

static void entering_kernel(void)
{
    sink = (int)getppid();
    usleep(1);
}

static void on_usr2(int sig)
{
    sink = sig;
}

/* Returning from a handler: its frames are gone at sigreturn, all at once. */
static void signalled(void)
{
    raise(SIGUSR2);
}

static const struct {
    const char *name;
    void (*f)(void);
    bool own; /* none of the library's code, which sanitizers make endless */
} stepped_through[] = {{"lazy binding", binding},
                       {"qsort", sorting},
                       {"snprintf", printing},
                       {"strtod", parsing},
                       {"string functions", copying},
                       {"malloc", allocating},
                       {"clock_gettime", asking_time},
                       {"alloca", alloca_frames, true},
                       {"realigned stacks", realigned_frames, true},
                       {"recursion", recursion, true},
                       {"system calls", entering_kernel},
                       {"raise", signalled}};

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigaction(sig, &a, NULL);
}

static void use_alternate_stack(void)
{
    static char stack[1 << 16];
    stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&s, NULL);
}

#if defined(__SANITIZE_THREAD__)
enum { SANITIZED = true, DEFERRED = true }; /* signals come when others are done */
#elif defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = true, DEFERRED = false };
#else
enum { SANITIZED = false, DEFERRED = false };
#endif

static void test_stepping(void)
{
    signal(SIGUSR2, on_usr2);
    for (size_t i = 0; i < SN_COUNT(stepped_through); i++) {
        if (SANITIZED && !stepped_through[i].own)
            continue;
        check_stepped(stepped_through[i].name, stepped_through[i].f, false);
        check_stepped(stepped_through[i].name, stepped_through[i].f, true);
    }
}

/* ---- one walk at a known place ------------------------------------------------------
 */

static struct {
    uintptr_t pcs[DEPTH_MAX];
    size_t n;
    enum sn_unwind_end end;
    struct sn_stack_range range;
    size_t max;
} walk;

static void on_walk(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    walk.n = sn_unwind(context, walk.range, walk.pcs, walk.max, &walk.end);
}

static bool inside(uintptr_t pc, void *f, size_t size)
{
    return pc - (uintptr_t)f < size;
}

/* The position of the frame of function f; -1: none. */
static int frame_of(void *f)
{
    for (size_t i = 0; i < walk.n; i++)
        if (inside(walk.pcs[i], f, SHORT))
            return (int)i;
    return -1;
}

NOINLINE static void walk_here(void)
{
    raise(SIGUSR1);
    sink++;
}

static void walk_reset(void)
{
    memset(&walk, 0, sizeof walk);
    walk.max = DEPTH_MAX;
}

NOINLINE static void *thread_body(void *arg)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    walk.range = (struct sn_stack_range){(uintptr_t)low, (uintptr_t)low + size};
    walk_here();
    sink++;
    return arg;
}

static void test_thread(void)
{
    pthread_t t;
    walk_reset();
    pthread_create(&t, NULL, thread_body, NULL);
    pthread_join(t, NULL);
    is_str(sn_unwind_end_name(walk.end), "complete", "a thread's stack is complete");
    ok(frame_of(thread_body) > 0, "... and shows what it ran");
}

static ucontext_t fibre, back;

NOINLINE static void fibre_body(void)
{
    walk_here();
    sink++;
}

static void test_fibre(void)
{
    static char stack[1 << 16];
    walk_reset();
    getcontext(&fibre);
    fibre.uc_stack.ss_sp = stack;
    fibre.uc_stack.ss_size = sizeof stack;
    fibre.uc_link = &back;
    makecontext(&fibre, fibre_body, 0);
    swapcontext(&back, &fibre);
    is_str(sn_unwind_end_name(walk.end), "complete", "a fibre's stack is complete");
    ok(frame_of(fibre_body) > 0, "... and shows what it ran");
}

NOINLINE static void in_handler(int sig)
{
    (void)sig;
    walk_here();
    sink++;
}

static void stepping_handler(int sig)
{
    sink = sig;
    stepped(sorting);
}

NOINLINE static void interrupted(void)
{
    raise(SIGUSR2);
    sink++;
}

static void test_signal_frames(int flags, const char *name)
{
    struct sigaction a = {.sa_handler = in_handler, .sa_flags = flags};
    sigaction(SIGUSR2, &a, NULL);
    walk_reset();
    interrupted();
    int handler = frame_of(in_handler), below = frame_of(interrupted);
    is_str(sn_unwind_end_name(walk.end), "complete", name);
    ok(handler > 0 && below > handler, "... with both sides of the signal");
    walk_reset();
    a.sa_handler = stepping_handler;
    sigaction(SIGUSR2, &a, NULL);
    memset(&shadow, 0, sizeof shadow);
    interrupted();
    if (!ok(shadow.steps > 20 && shadow.wrong == 0 && shadow.incomplete == 0,
            "... at each of %zu instructions in the handler", shadow.steps))
        printf("# %s\n", shadow.first_wrong);
}

static void test_depth(void)
{
    walk_reset();
    walk.max = 3;
    walk_here();
    is_int((int64_t)walk.n, 3, "no more frames than asked for");
    is_int(walk.end, SN_END_DEPTH, "... and it is told");
    walk_reset();
    walk_here();
    walk.max = walk.n;
    walk_here();
    is_int(walk.end, SN_END_OUTERMOST, "a stack that just fits is complete");
    walk.max = 0;
    walk_here();
    is_int((int64_t)walk.n, 0, "no room, no frame");
}

/* ---- threads ------------------------------------------------------------------------
 */

static size_t threads_wrong;

/* Walks from a signal of its own, and each must be what the first was. */
static __thread uintptr_t thread_pcs[64];
static __thread size_t thread_n;

static void on_thread_walk(int sig, siginfo_t *info, void *context)
{
    uintptr_t pcs[64];
    enum sn_unwind_end end;
    (void)sig;
    (void)info;
    size_t n = sn_unwind(context, no_range, pcs, SN_COUNT(pcs), &end);
    if (thread_n == 0) {
        thread_n = n;
        memcpy(thread_pcs, pcs, sizeof pcs);
    }
    if (end != SN_END_OUTERMOST || n != thread_n ||
        memcmp(pcs, thread_pcs, n * sizeof *pcs) != 0)
        __atomic_fetch_add(&threads_wrong, 1, __ATOMIC_RELAXED);
}

NOINLINE static void signal_itself(int depth)
{
    if (depth > 0)
        signal_itself(depth - 1);
    else
        syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2);
    __asm__ volatile(""); /* no tail call */
}

static void *signalling_thread(void *arg)
{
    for (int i = 0; i < 3000; i++)
        signal_itself(20);
    return arg;
}

static void test_threads(void)
{
    pthread_t t[4];
    handle(SIGUSR2, on_thread_walk, 0);
    for (size_t i = 0; i < SN_COUNT(t); i++)
        pthread_create(&t[i], NULL, signalling_thread, NULL);
    for (int i = 0; i < 2000; i++)
        sn_unwind_forget();
    for (size_t i = 0; i < SN_COUNT(t); i++)
        pthread_join(t[i], NULL);
    is_int((int64_t)threads_wrong, 0, "threads share the cache while it is forgotten");
}

/* ---- modules ------------------------------------------------------------------------
 */

static struct sn_module modules[64];
static size_t n_modules;

static void on_module(const struct sn_module *m)
{
    if (n_modules < SN_COUNT(modules))
        modules[n_modules++] = *m;
}

static const struct sn_module *module_of(uintptr_t pc)
{
    for (size_t i = 0; i < n_modules; i++)
        if (pc >= modules[i].text_start && pc < modules[i].text_end)
            return &modules[i];
    return NULL;
}

static void test_modules(void)
{
    walk_reset();
    n_modules = 0;
    sn_unwind_forget();
    walk_here();
    const struct sn_module *libc = module_of((uintptr_t)dlsym(RTLD_DEFAULT, "raise"));
    const struct sn_module *own = module_of((uintptr_t)walk_here);
    ok(DEFERRED ||
           (libc != NULL && strstr(libc->path, "libc") != NULL && libc->build_id_len > 0),
       "the C library is met, with its build id");
    ok(own != NULL && own->path[0] == '\0' && own->text_offset % 4096 == 0,
       "the program is met");
    size_t met = n_modules;
    walk_here();
    is_int((int64_t)n_modules, (int64_t)met, "a module is met once");
    sn_unwind_forget();
    walk_here();
    is_int((int64_t)n_modules, (int64_t)(2 * met), "... and again when all is forgotten");
}

/* ---- nonsense -----------------------------------------------------------------------
 */

static uint64_t seed = 1;

static uint64_t rnd(void)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    return sn_hash_mix(seed);
}

/* A word as a broken stack may hold it. */
static uint64_t some_word(uintptr_t stack, size_t size)
{
    static void *const code[] = {qsort, snprintf, memcpy, walk_here, interrupted};
    switch (rnd() % 6) {
    case 0:
        return rnd();
    case 1:
        return rnd() % 5;
    case 2:
        return stack + rnd() % size;
    case 3:
        return (stack + rnd() % size) & ~UINT64_C(7);
    default:
        return (uintptr_t)code[rnd() % SN_COUNT(code)] + rnd() % 400;
    }
}

static void test_nonsense(void)
{
    enum { WORDS = 1024, ROUNDS = 20000 };
    uintptr_t pcs[DEPTH_MAX];
    size_t ends[SN_END_COUNT] = {0};
    size_t size = WORDS * 8;
    /* Memory that ends where nothing is. */
    char *map = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(map + size, 4096);
    uint64_t *stack = (uint64_t *)map;
    bool good = true;
    for (int round = 0; round < ROUNDS; round++) {
        ucontext_t uc = {0};
        enum sn_unwind_end end;
        if (round % 16 == 0)
            for (size_t i = 0; i < WORDS; i++)
                stack[i] = some_word((uintptr_t)stack, size);
        for (int i = 0; i < 23; i++)
            uc.uc_mcontext.gregs[i] = (greg_t)some_word((uintptr_t)stack, size);
        uc.uc_mcontext.gregs[REG_RSP] = (greg_t)((uintptr_t)stack + rnd() % size);
        struct sn_stack_range range = {(uintptr_t)stack, (uintptr_t)stack + size};
        size_t n = sn_unwind(&uc, round % 2 ? range : no_range, pcs,
                             1 + rnd() % DEPTH_MAX, &end);
        good = good && n >= 1 && n <= DEPTH_MAX && end < SN_END_COUNT;
        ends[end]++;
    }
    ok(good, "%d walks over nonsense end", ROUNDS);
    for (int i = 0; i < SN_END_COUNT; i++)
        printf("# %s: %zu\n", sn_unwind_end_name((enum sn_unwind_end)i), ends[i]);
    munmap(map, size);
}

/* ---- code without tables ------------------------------------------------------------
 */

/* push %rbp; mov %rsp, %rbp; sub $16, %rsp; call *%rdi; leave; ret */
static const uint8_t made_bytes[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83,
                                     0xec, 0x10, 0xff, 0xd7, 0xc9, 0xc3};
static void (*made)(void (*)(void));

static void calling_made(void)
{
    made(sorting);
}

static void test_made_code(void)
{
    uint8_t *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(map, made_bytes, sizeof made_bytes);
    memcpy(&made, &map, sizeof made);
    walk_reset();
    made(walk_here);
    ok(frame_of(map) > 0 && walk.end == SN_END_OUTERMOST,
       "code made at run time: through its frame pointer");
    check_stepped("code made at run time", calling_made, false);
    munmap(map, 4096);
}

/* ---- call frame information by hand -------------------------------------------------
 */

enum { CFI_ADDR = 0x10000, CODE = 0x20000, CODE_SIZE = 0x100 };

struct section {
    uint8_t bytes[512];
    size_t len;
};

static void put(struct section *s, const void *bytes, size_t n)
{
    memcpy(s->bytes + s->len, bytes, n);
    s->len += n;
}

static void put_word(struct section *s, uint64_t v, size_t n)
{
    put(s, &v, n);
}

/* A CIE (code alignment 1, data alignment -8; CFA = rsp + 8, ra at CFA - 8), an FDE with
 * the program given, and the end. */
static void build(struct section *s, const uint8_t *program, size_t n)
{
    static const uint8_t cie[] = {1, 'z', 'R', 0, 1, 0x78, 16, 1, 0, 0x0c, 7, 8, 0x90, 1};
    s->len = 0;
    put_word(s, 4 + sizeof cie, 4);
    put_word(s, 0, 4);
    put(s, cie, sizeof cie);
    size_t fde = s->len;
    put_word(s, 4 + 16 + 1 + n, 4);
    put_word(s, fde + 4, 4);
    put_word(s, CODE, 8);
    put_word(s, CODE_SIZE, 8);
    put_word(s, 0, 1);
    put(s, program, n);
    put_word(s, 0, 4);
}

static bool row_of(const struct section *s, size_t len, uint64_t pc,
                   struct sn_cfi_fde *fde, struct sn_cfi_row *row)
{
    struct sn_cfi_bytes bytes = {s->bytes, len, CFI_ADDR};
    size_t offset = 0;
    for (;;) {
        enum sn_cfi_entry kind = sn_cfi_next(&bytes, true, &offset, fde);
        if (kind == SN_CFI_FDE)
            return sn_cfi_row_at(fde, pc, row);
        if (kind != SN_CFI_CIE)
            return false;
    }
}

struct row_case {
    const char *name, *program;
    size_t n;
    unsigned pc;
    bool good;
    struct sn_cfi_rule cfa;
    unsigned reg;
    struct sn_cfi_rule rule;
};

#define BYTES(s) s, sizeof s - 1
#define CFA(r, v)                                                                        \
    {                                                                                    \
        SN_CFI_VAL_OFFSET, r, v                                                          \
    }
#define RULE(k, v)                                                                       \
    {                                                                                    \
        SN_CFI_##k, 0, v                                                                 \
    }

static const struct row_case row_cases[] = {
    {"the CIE's row", BYTES(""), 0, true, CFA(7, 8), 16, RULE(OFFSET, -8)},
    {"advance, not there yet", BYTES("\x41\x0e\x10"), 0, true, CFA(7, 8), 6,
     RULE(SAME, 0)},
    {"advance", BYTES("\x41\x0e\x10\x86\x02"), 1, true, CFA(7, 16), 6, RULE(OFFSET, -16)},
    {"advance by 1, 2, 4 bytes",
     BYTES("\x02\x05\x03\x05\x00\x04\x05\x00\x00\x00\x0e\x20"), 15, true, CFA(7, 32), 6,
     RULE(SAME, 0)},
    {"advance by 4 bytes: one short", BYTES("\x04\x05\x00\x00\x00\x0e\x20"), 4, true,
     CFA(7, 8), 6, RULE(SAME, 0)},
    {"set location", BYTES("\x01\x08\x00\x02\x00\x00\x00\x00\x00\x0e\x20"), 8, true,
     CFA(7, 32), 6, RULE(SAME, 0)},
    {"define CFA", BYTES("\x0c\x06\x18"), 0, true, CFA(6, 24), 6, RULE(SAME, 0)},
    {"define CFA, factored", BYTES("\x12\x06\x7d"), 0, true, CFA(6, 24), 6,
     RULE(SAME, 0)},
    {"CFA's register", BYTES("\x0d\x06"), 0, true, CFA(6, 8), 6, RULE(SAME, 0)},
    {"CFA's offset, factored", BYTES("\x13\x7e"), 0, true, CFA(7, 16), 6, RULE(SAME, 0)},
    {"remember, restore", BYTES("\x0a\x0e\x40\x83\x03\x41\x0b"), 1, true, CFA(7, 8), 3,
     RULE(SAME, 0)},
    {"restore one", BYTES("\x90\x05\xd0"), 0, true, CFA(7, 8), 16, RULE(OFFSET, -8)},
    {"restore one, extended", BYTES("\x90\x05\x06\x10"), 0, true, CFA(7, 8), 16,
     RULE(OFFSET, -8)},
    {"undefined", BYTES("\x07\x10"), 0, true, CFA(7, 8), 16, RULE(UNDEFINED, 0)},
    {"same value", BYTES("\x08\x10"), 0, true, CFA(7, 8), 16, RULE(SAME, 0)},
    {"in a register", BYTES("\x09\x10\x03"), 0, true, CFA(7, 8), 16, RULE(REGISTER, 3)},
    {"offset, extended", BYTES("\x05\x03\x04"), 0, true, CFA(7, 8), 3, RULE(OFFSET, -32)},
    {"offset, signed", BYTES("\x11\x03\x7c"), 0, true, CFA(7, 8), 3, RULE(OFFSET, 32)},
    {"offset, negative", BYTES("\x2f\x03\x04"), 0, true, CFA(7, 8), 3, RULE(OFFSET, 32)},
    {"value", BYTES("\x14\x03\x01"), 0, true, CFA(7, 8), 3, RULE(VAL_OFFSET, -8)},
    {"value, signed", BYTES("\x15\x03\x7f"), 0, true, CFA(7, 8), 3, RULE(VAL_OFFSET, 8)},
    {"size of arguments", BYTES("\x2e\x20\x0e\x10"), 0, true, CFA(7, 16), 6,
     RULE(SAME, 0)},
    {"a vector register", BYTES("\x05\x20\x04\x0e\x10"), 0, true, CFA(7, 16), 6,
     RULE(SAME, 0)},
    {"nothing remembered", BYTES("\x0b"), 0, false, CFA(7, 8), 6, RULE(SAME, 0)},
    {"remembered too often", BYTES("\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x0a"), 0, false,
     CFA(7, 8), 6, RULE(SAME, 0)},
    {"unknown operation", BYTES("\x3f\x01"), 0, false, CFA(7, 8), 6, RULE(SAME, 0)},
    {"cut operand", BYTES("\x0e"), 0, false, CFA(7, 8), 6, RULE(SAME, 0)},
    {"CFA in a vector register", BYTES("\x0c\x20\x08"), 0, false, CFA(7, 8), 6,
     RULE(SAME, 0)},
    {"offset beyond 32 bits", BYTES("\x05\x03\xff\xff\xff\xff\x7f"), 0, false, CFA(7, 8),
     3, RULE(SAME, 0)},
    {"block beyond the end", BYTES("\x10\x03\x05\x70"), 0, false, CFA(7, 8), 3,
     RULE(SAME, 0)},
};

static bool same_rule(struct sn_cfi_rule a, struct sn_cfi_rule b)
{
    return a.kind == b.kind && a.reg == b.reg && a.value == b.value;
}

static void test_rows(void)
{
    for (size_t i = 0; i < SN_COUNT(row_cases); i++) {
        const struct row_case *c = &row_cases[i];
        struct section s;
        struct sn_cfi_fde fde;
        struct sn_cfi_row row;
        build(&s, (const uint8_t *)c->program, c->n);
        bool good = row_of(&s, s.len, CODE + c->pc, &fde, &row);
        ok(good == c->good && (!good || (same_rule(row.cfa, c->cfa) &&
                                         same_rule(row.reg[c->reg], c->rule))),
           "row: %s", c->name);
        bool cut = true;
        for (size_t len = 0; len < s.len - 4; len++)
            cut = cut && !row_of(&s, len, CODE + c->pc, &fde, &row);
        ok(cut, "... refused when cut short anywhere");
    }
}

static bool load_squared(void *arg, uint64_t addr, size_t size, uint64_t *value)
{
    (void)arg;
    *value = addr * addr & (size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1);
    return addr != 13;
}

static const struct {
    const char *name, *block;
    size_t n;
    enum sn_cfi_eval result;
    uint64_t value;
} eval_cases[] = {
    {"literal", BYTES("\x3f"), SN_EVAL_OK, 15},
    {"the CFA is on the stack", BYTES(""), SN_EVAL_OK, 1000},
    {"register and offset", BYTES("\x77\x08"), SN_EVAL_OK, 708},
    {"register by number", BYTES("\x92\x07\x78"), SN_EVAL_OK, 692},
    {"constants", BYTES("\x09\xff\x0a\x01\x01\x22"), SN_EVAL_OK, 256},
    {"negative division", BYTES("\x11\x79\x32\x1b"), SN_EVAL_OK, (uint64_t)-3},
    {"division by zero", BYTES("\x31\x30\x1b"), SN_EVAL_BAD, 0},
    {"modulo by zero", BYTES("\x31\x30\x1d"), SN_EVAL_BAD, 0},
    {"the PLT's", BYTES("\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"), SN_EVAL_OK, 708},
    {"dereference", BYTES("\x3c\x06"), SN_EVAL_OK, 144},
    {"dereference of two bytes", BYTES("\x0a\x01\x01\x94\x02"), SN_EVAL_OK, 513},
    {"dereference that faults", BYTES("\x3d\x06"), SN_EVAL_FAULT, 0},
    {"swap", BYTES("\x35\x32\x16\x1c"), SN_EVAL_OK, (uint64_t)-3},
    {"rotate", BYTES("\x31\x32\x33\x17\x1c\x1c"), SN_EVAL_OK, 4},
    {"pick, over, drop", BYTES("\x34\x35\x36\x15\x02\x14\x13\x22"), SN_EVAL_OK, 10},
    {"skip", BYTES("\x31\x2f\x01\x00\x39"), SN_EVAL_OK, 1},
    {"skip outside", BYTES("\x31\x2f\x02\x00\x39"), SN_EVAL_BAD, 0},
    {"branch back, counted", BYTES("\x3a\x31\x1c\x12\x28\xfa\xff"), SN_EVAL_OK, 0},
    {"branch back for ever", BYTES("\x2f\xfd\xff"), SN_EVAL_BAD, 0},
    {"shifts", BYTES("\x09\x80\x08\x40\x26\x12\x08\x3c\x25\x22"), SN_EVAL_OK, 14},
    {"comparison is signed", BYTES("\x09\xff\x31\x2d"), SN_EVAL_OK, 1},
    {"empty stack", BYTES("\x13\x13"), SN_EVAL_BAD, 0},
    {"unknown operation", BYTES("\xe0"), SN_EVAL_BAD, 0},
    {"no such register", BYTES("\x92\x40\x00"), SN_EVAL_BAD, 0},
    {"stack overflow", BYTES("\x31\x2f\xfc\xff"), SN_EVAL_BAD, 0},
};

static void test_expressions(void)
{
    uint64_t regs[SN_ARCH_REGS], cfa = 1000;
    for (unsigned i = 0; i < SN_ARCH_REGS; i++)
        regs[i] = 100 * i;
    const struct sn_cfi_env env = {regs, load_squared, NULL};
    for (size_t i = 0; i < SN_COUNT(eval_cases); i++) {
        uint8_t bytes[64] = {(uint8_t)eval_cases[i].n};
        uint64_t value = 0;
        memcpy(bytes + 1, eval_cases[i].block, eval_cases[i].n);
        struct sn_cfi_fde fde = {.section = {bytes, 1 + eval_cases[i].n, 0}};
        enum sn_cfi_eval result = sn_cfi_eval(&fde, 0, &cfa, &env, &value);
        if (!ok(result == eval_cases[i].result &&
                    (result != SN_EVAL_OK || value == eval_cases[i].value),
                "expression: %s", eval_cases[i].name))
            printf("# %d, %#zx\n", result, (size_t)value);
    }
}

int main(void)
{
    struct sn_error e = {.offset = -1};
    ok(sn_unwind_prepare(&(struct sn_unwind_hooks){.on_module = on_module}, &e),
       "prepare");
    use_alternate_stack();
    handle(SIGTRAP, on_trap, SA_ONSTACK);
    handle(SIGUSR1, on_walk, 0);
    test_stepping();
    test_thread();
    test_fibre();
    if (!DEFERRED) {
        test_signal_frames(0, "a handler on the same stack");
        test_signal_frames(SA_ONSTACK, "a handler on its own stack");
    }
    test_depth();
    test_threads();
    test_modules();
    test_nonsense();
    test_made_code();
    test_rows();
    test_expressions();
    return done();
}
