/*
 * The unwinder against a truth of its own: a program is single-stepped, calls and returns
 * keep a shadow stack, and at every instruction the walk must find exactly that.
 */
#include "unwind/unwind.h"

#include "../tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <wchar.h>

#define DEPTH_MAX 600
#define NOINLINE  __attribute__((noinline, noclone))

static struct sn_stack_range no_range;

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

#define STEP_ON()                                                                        \
    __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, "   \
                     "%%rsp" ::                                                          \
                         : "memory", "cc")
#define STEP_OFF()                                                                       \
    __asm__ volatile("sub $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; add $128, " \
                     "%%rsp" ::                                                          \
                         : "memory", "cc")

/* The inline assembly moves rsp: only a frame pointer keeps this function's CFA right. */
NOINLINE __attribute__((optimize("no-omit-frame-pointer"))) static void
stepped(void (*f)(void))
{
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

static volatile int sink;
static volatile size_t some = 37;

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

static void on_usr1(int sig)
{
    sink = sig;
    STEP_ON();
    sorting();
    STEP_OFF();
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
} stepped_through[] = {{"lazy binding", binding},
                       {"qsort", sorting},
                       {"snprintf", printing},
                       {"strtod", parsing},
                       {"string functions", copying},
                       {"malloc", allocating},
                       {"clock_gettime", asking_time},
                       {"alloca", alloca_frames},
                       {"realigned stacks", realigned_frames},
                       {"recursion", recursion},
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

static void test_stepping(void)
{
    use_alternate_stack();
    handle(SIGTRAP, on_trap, SA_ONSTACK);
    signal(SIGUSR2, on_usr2);
    for (size_t i = 0; i < SN_COUNT(stepped_through); i++) {
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

/* The position of the frame of function f; -1: none. Functions here are short. */
static int frame_of(void *f)
{
    for (size_t i = 0; i < walk.n; i++)
        if (inside(walk.pcs[i], f, 200))
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
    check_stepped("a fibre", (void (*)(void))test_fibre == NULL ? NULL : sorting, false);
}

NOINLINE static void in_handler(int sig)
{
    (void)sig;
    walk_here();
    sink++;
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
    sigaction(SIGUSR2, &(struct sigaction){.sa_handler = on_usr1, .sa_flags = flags},
              NULL);
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
    n_modules = 0;
    sn_unwind_forget();
    walk_here();
    const struct sn_module *libc = module_of((uintptr_t)dlsym(RTLD_DEFAULT, "raise"));
    const struct sn_module *own = module_of((uintptr_t)walk_here);
    ok(libc != NULL && strstr(libc->path, "libc") != NULL && libc->build_id_len > 0,
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
        size_t n =
            sn_unwind(&uc, round % 2 ? range : no_range, pcs, 1 + rnd() % DEPTH_MAX, &end);
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

static void test_made_code(void)
{
    /* push %rbp; mov %rsp, %rbp; sub $16, %rsp; call *%rdi; leave; ret */
    static const uint8_t code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10,
                                   0xff, 0xd7, 0xc9, 0xc3};
    uint8_t *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(map, code, sizeof code);
    void (*made)(void (*)(void));
    memcpy(&made, &map, sizeof made);
    walk_reset();
    made(walk_here);
    int at = frame_of(map);
    ok(at > 0 && walk.end == SN_END_OUTERMOST,
       "code made at run time: through its frame pointer");
    memset(&shadow, 0, sizeof shadow);
    STEP_ON();
    made(on_made);
    STEP_OFF();
    munmap(map, 4096);
}

/* ---- call frame information by hand -------------------------------------------------
 */

int main(void)
{
    struct sn_error e = {.offset = -1};
    ok(sn_unwind_prepare(&(struct sn_unwind_hooks){.on_module = on_module}, &e),
       "prepare");
    handle(SIGUSR1, on_walk, 0);
    test_stepping();
    test_thread();
    test_fibre();
    test_signal_frames(0, "a handler on the same stack");
    test_signal_frames(SA_ONSTACK, "a handler on its own stack");
    test_depth();
    test_modules();
    test_nonsense();
    test_made_code();
    return done();
}
