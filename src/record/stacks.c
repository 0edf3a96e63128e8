/*
 * stacks.c: where the threads of another process stand, for `sonde sched --stacks`.
 *
 *     /proc/TID/syscall ─┬─ sleeps: its pc and stack pointer ──────────────┐
 *                        └─ runs: stopped by ptrace, all its registers ────┴─> libdwfl
 *
 * Who sleeps is left asleep: to stop it would end some waits with EINTR (epoll_wait's,
 * say; signal(7)). Then rbp is not known; where a frame takes it, it is looked for as in
 * the program itself (unwind/unwind.h) and the walk is made again.
 *
 * Memory is read as it is meanwhile: a stack that changes is read wrong, not written.
 * Files are those that the process sees. malloc; one thread.
 */
#include "record/record.h"
#include "unwind/unwind.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGISTERS 16 /* by DWARF's numbers (x86-64 psABI, figure 3.36) */
#define RBP       6
#define RSP       7

struct sn_record_stacks {
    struct sn_sched_stacks hooks;
    pid_t pid;
    Dwfl *dwfl;
    bool attached;
    /* ---- of the thread that is walked */
    uint64_t registers[REGISTERS], pc;
    uint32_t known; /* a bit for each */
    uint64_t *pcs;
    size_t n;
    uint64_t sp; /* of the last frame; 0: not known */
    /* ---- memory that was read last */
    uint64_t page;
    uint64_t words[4096 / 8];
};

/* ---- memory ---------------------------------------------------------------------------
 */

static bool read_memory(pid_t pid, uint64_t addr, void *to, size_t n)
{
    struct iovec here = {to, n}, there = {(void *)(uintptr_t)addr, n};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)n;
}

static bool load(void *arg, uint64_t addr, uint64_t *value)
{
    struct sn_record_stacks *s = arg;
    uint64_t page = addr & ~UINT64_C(4095);
    if (addr - page > 4096 - sizeof *value)
        return read_memory(s->pid, addr, value, sizeof *value);
    if (page != s->page) {
        s->page = 0;
        if (page == 0 || !read_memory(s->pid, page, s->words, sizeof s->words))
            return false;
        s->page = page;
    }
    memcpy(value, (const char *)s->words + (addr - page), sizeof *value);
    return true;
}

static bool is_code(void *arg, uint64_t addr)
{
    struct sn_record_stacks *s = arg;
    return dwfl_addrmodule(s->dwfl, addr) != NULL;
}

/* ---- registers ------------------------------------------------------------------------
 */

/* True: it sleeps, and pc and stack pointer are known. */
static bool read_sleeping(struct sn_record_stacks *s, pid_t tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", (int)s->pid, (int)tid);
    s->known = 1u << RSP;
    return sn_file_asleep(path, &s->registers[RSP], &s->pc) && s->pc != 0;
}

/* It runs: it is stopped until it is let go. */
static bool hold(pid_t tid)
{
    int status;
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0)
        return false;
    if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 &&
        waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status))
        return true;
    ptrace(PTRACE_DETACH, tid, NULL, NULL);
    return false;
}

static bool read_held(struct sn_record_stacks *s, pid_t tid)
{
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &r) != 0)
        return false;
    const uint64_t all[REGISTERS] = {r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi,
                                     r.rbp, r.rsp, r.r8,  r.r9,  r.r10, r.r11,
                                     r.r12, r.r13, r.r14, r.r15};
    memcpy(s->registers, all, sizeof all);
    s->pc = r.rip;
    s->known = (1u << REGISTERS) - 1;
    return true;
}

/* ---- the walk -------------------------------------------------------------------------
 */

static bool read_word(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *to, void *arg)
{
    (void)dwfl;
    return load(arg, addr, to);
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
    struct sn_record_stacks *s = arg;
    for (int i = 0; i < REGISTERS; i++)
        if (s->known >> i & 1 &&
            !dwfl_thread_state_registers(thread, i, 1, &s->registers[i]))
            return false;
    dwfl_thread_state_register_pc(thread, s->pc);
    return true;
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
    (void)dwfl;
    (void)arg;
    (void)thread_arg;
    return 0;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
    (void)dwfl;
    (void)tid;
    *thread_arg = arg;
    return true;
}

static const Dwfl_Thread_Callbacks thread_calls = {.next_thread = next_thread,
                                                   .get_thread = get_thread,
                                                   .memory_read = read_word,
                                                   .set_initial_registers =
                                                       set_registers};

static int add_frame(Dwfl_Frame *frame, void *arg)
{
    struct sn_record_stacks *s = arg;
    Dwarf_Addr pc;
    bool interrupted;
    if (!dwfl_frame_pc(frame, &pc, &interrupted) || pc == 0)
        return DWARF_CB_ABORT;
    if (s->n == SN_SCHED_DEPTH)
        return DWARF_CB_ABORT;
    s->pcs[s->n++] = pc - !interrupted;
    if (dwfl_frame_reg(frame, RSP, &s->sp) != 0)
        s->sp = 0;
    return DWARF_CB_OK;
}

static int walk(struct sn_record_stacks *s, pid_t tid)
{
    s->n = 0;
    s->page = 0;
    return dwfl_getthread_frames(s->dwfl, tid, add_frame, s);
}

/* Does the frame of the function there begin where rbp says? */
static bool takes_frame_pointer(Dwfl_Module *m, uint64_t pc)
{
    Dwarf_Addr bias;
    Dwarf_Op *ops;
    Dwarf_Frame *frame = NULL;
    size_t n = 0;
    Dwarf_CFI *cfi = m != NULL ? dwfl_module_eh_cfi(m, &bias) : NULL;
    bool takes = cfi != NULL && dwarf_cfi_addrframe(cfi, pc - bias, &frame) == 0 &&
                 dwarf_frame_cfa(frame, &ops, &n) == 0 && n > 0 &&
                 (ops[0].atom == DW_OP_breg0 + RBP ||
                  (ops[0].atom == DW_OP_bregx && ops[0].number == RBP));
    free(frame);
    return takes;
}

/* What the last frame's function has in rbp, if it is not known. */
static bool find_frame_pointer(struct sn_record_stacks *s)
{
    const struct sn_unwind_env env = {load, is_code, s};
    GElf_Off inside = 0;
    GElf_Sym symbol;
    if (s->known >> RBP & 1 || s->n == 0 || s->n == SN_SCHED_DEPTH || s->sp == 0)
        return false;
    uint64_t pc = s->pcs[s->n - 1];
    Dwfl_Module *m = dwfl_addrmodule(s->dwfl, pc);
    if (!takes_frame_pointer(m, pc))
        return false;
    bool named = dwfl_module_addrinfo(m, pc, &inside, &symbol, NULL, NULL, NULL) != NULL;
    s->known |= 1u << RBP;
    return sn_unwind_frame_pointer(&env, s->sp, named ? pc - inside : 0,
                                   &s->registers[RBP]);
}

/* ---- what the room of the scheduler asks for ------------------------------------------
 */

static int no_debug_file(Dwfl_Module *module, void **user, const char *name,
                         Dwarf_Addr base, const char *file, const char *link,
                         GElf_Word crc, char **found)
{
    (void)module, (void)user, (void)name, (void)base;
    (void)file, (void)link, (void)crc, (void)found;
    return -1;
}

/* As the process sees it, which may be in a container; what is no file, from memory. */
static int find_file(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base,
                     char **file, Elf **elf)
{
    void **pid_at;
    char path[PATH_MAX + 32];
    dwfl_module_info(module, &pid_at, NULL, NULL, NULL, NULL, NULL, NULL);
    snprintf(path, sizeof path, "/proc/%d/root%s", (int)(intptr_t)*pid_at, name);
    int fd = name[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return dwfl_linux_proc_find_elf(module, user, name, base, file, elf);
    *file = strdup(path);
    return fd;
}

static const Dwfl_Callbacks file_calls = {.find_elf = find_file,
                                          .find_debuginfo = no_debug_file};

static int set_pid(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base,
                   void *arg)
{
    (void)module, (void)name, (void)base;
    *user = (void *)(intptr_t)((const struct sn_record_stacks *)arg)->pid;
    return DWARF_CB_OK;
}

static void take(void *self)
{
    struct sn_record_stacks *s = self;
    dwfl_report_begin(s->dwfl); /* what is still mapped is kept */
    dwfl_linux_proc_report(s->dwfl, s->pid);
    dwfl_report_end(s->dwfl, NULL, NULL);
    dwfl_getmodules(s->dwfl, set_pid, s, 0);
    if (!s->attached)
        s->attached = dwfl_attach_state(s->dwfl, NULL, s->pid, &thread_calls, s);
}

static size_t of(void *self, pid_t tid, uint64_t pcs[SN_SCHED_DEPTH], const char **why)
{
    struct sn_record_stacks *s = self;
    *s = (struct sn_record_stacks){s->hooks, s->pid, s->dwfl, s->attached, .pcs = pcs};
    bool held = false, known = read_sleeping(s, tid);
    if (!known && (held = hold(tid)))
        known = read_held(s, tid);
    *why = "it could not be stopped";
    if (s->attached && known) {
        int result = walk(s, tid);
        if (find_frame_pointer(s))
            result = walk(s, tid);
        *why = result == 0                ? NULL
               : s->n == SN_SCHED_DEPTH   ? sn_unwind_end_name(SN_END_DEPTH)
               : result == DWARF_CB_ABORT ? NULL
                                          : dwfl_errmsg(-1);
    }
    if (held)
        ptrace(PTRACE_DETACH, tid, NULL, NULL);
    return s->n;
}

struct sn_record_stacks *sn_record_stacks_open(pid_t pid, struct sn_error *e)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    sn_file_line(path, text, sizeof text);
    if (text[0] == '\0') {
        sn_fail(e, path, -1,
                "cannot be read, nor its stacks: not even its owner may trace it "
                "(kernel.yama.ptrace_scope); ask as root");
        return NULL;
    }
    struct sn_record_stacks *s = calloc(1, sizeof *s);
    Dwfl *dwfl = s != NULL ? dwfl_begin(&file_calls) : NULL;
    if (dwfl == NULL) {
        sn_fail(e, NULL, -1, "out of memory");
        free(s);
        return NULL;
    }
    *s = (struct sn_record_stacks){{take, of, s}, pid, dwfl, .n = 0};
    return s;
}

const struct sn_sched_stacks *sn_record_stacks_hooks(const struct sn_record_stacks *s)
{
    return &s->hooks;
}

void sn_record_stacks_close(struct sn_record_stacks *s)
{
    if (s == NULL)
        return;
    dwfl_end(s->dwfl);
    free(s);
}
