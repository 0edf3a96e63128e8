/* commands.c: the table of commands. The verbs of reports are rows of formats.c. */
#include "cli.h"

static const struct command commands[] = {
    {.name = "run",
     .synopsis = "[OPTION...] [--] PROGRAM [ARGUMENT...]",
     .help = "run a program unchanged and profile its CPU time, its heap, or its runtime",
     .details =
         "The program keeps its terminal, input, signals and exit status. When it ends,\n"
         "its profile is in cpu.pprof (or cpu.2.pprof, ... when that is taken), and the\n"
         "functions that used most CPU are printed on standard error. Each process that\n"
         "it starts gets a file of its own (cpu.pprof.PID; in a directory "
         "cpu.PID.pprof),\n"
         "or with --merge all are one.\n"
         "What was recorded survives _exit, exec, a crash and kill -9.\n\n"
         "With --mem it is the heap that is recorded, into mem.pprof: by a sample every\n"
         "RATE bytes, which costs little and gives estimates, or with --mem=exact by\n"
         "every block, which also finds what was leaked and what was only temporary.\n"
         "With --mem and --cpu it is both.\n"
         "Profiles that the program writes of its own accord (sonde_profile_new, and on\n"
         "SONDE=mem_signal=USR2) keep their names, and lie beside the others.\n\n"
         "Or its runtime is watched, as Go's knobs do: the scheduler (--schedtrace), "
         "the\n"
         "collector or allocator (--gctrace, --scavenge), each allocation\n"
         "(--allocfreetrace), and its mistakes (--efence, --invalidptr, --gcdead). "
         "Their\n"
         "lines go to standard error as they come, or to --trace=FILE; 'sonde trace' "
         "sums\n"
         "them up and draws them. No profile then, unless --cpu or --mem asks for it.\n",
     .examples = "sonde run ./program --its-option\n"
                 "sonde run --cpu=1000 -o xz.pprof xz -9 < big > /dev/null\n"
                 "sonde run --merge -o build.pprof make -j2\n"
                 "sonde run --mem ./server\n"
                 "sonde run --mem=exact ./program && sonde top --leaked mem.pprof\n"
                 "sonde run --cpu --mem -o profiles/ ./program\n"
                 "sonde run --schedtrace=100 --scheddetail --trace=sched.txt ./program\n"
                 "sonde run --gctrace guile script.scm\n"
                 "sonde run --efence ./program\n",
     .run = run_main,
     .flags = run_flags},
    {.name = "heap",
     .synopsis = "[OPTION...] PID",
     .help = "the heap of a running program: who holds its memory now",
     .details =
         "The program must record its heap: start it with 'sonde run --mem', with "
         "SONDE=mem\n"
         "in its environment, or with mem_profile in its configuration. It goes on as it "
         "was\n"
         "and notices nothing, nor need it be awake. Its profile so far is written to\n"
         "mem.PID.pprof (mem.PID.2.pprof, ... when that is taken), and the top printed;\n"
         "--sample_index=peak_space, alloc_space, ... look at it in other ways.\n",
     .examples = "sonde heap 4711\n"
                 "sonde heap --mark 4711                 the peak begins anew after it\n"
                 "sonde heap --seconds=30 4711           what changes in half a minute\n"
                 "sonde heap --focus='^cache_' -o now.pprof 4711\n"
                 "sonde heap --sample_index=alloc_space -n 20 $(pgrep server)\n",
     .run = heap_main,
     .flags = heap_flags,
     .shapes = true},
    {.name = "heapdump",
     .synopsis = "[OPTION...] [PROGRAM] PID|DUMP",
     .help = "every block of a program's heap, and what keeps it alive",
     .details =
         "Of a process that records its heap exactly (sonde run --mem=exact, or "
         "SONDE=mem=exact)\n"
         "the dump is written to heap.PID.dump, or where -o says; with a report, or an "
         "option\n"
         "of one, that is made of it at once, and the dump is not kept.\n\n"
         "A heap dump has every block, and which refers to which. A block retains what\n"
         "would be freed with it: itself, and all that only it leads to. A site, which "
         "is\n"
         "where blocks were allocated, retains what all its blocks do together. What no\n"
         "root (global data, stacks, registers) leads to is leaked, and stands apart.\n",
     .examples = "sonde heapdump 4711                    its heap, into heap.4711.dump\n"
                 "sonde heapdump --top 4711              what it holds now\n"
                 "sonde heapdump heap.4711.dump\n"
                 "sonde heapdump --top=30 --sort=flat --frames=1 heap.dump\n"
                 "sonde heapdump --why='^cache_insert' heap.dump\n"
                 "sonde heapdump --why=0x55d0c8a012a0 heap.dump\n"
                 "sonde heapdump --svg -o heap.svg ./program heap.dump\n"
                 "sonde heapdump --proto -o heap.pprof heap.dump\n"
                 "sonde tree --sample_index=retained_space heap.pprof\n",
     .run = heapdump_main,
     .flags = heapdump_flags},
    {.name = "trace",
     .synopsis = "[OPTION...] FILE|-",
     .help = "what a runtime says of itself: collections, heap, scheduler, allocations",
     .details =
         "Reads the lines that Go's runtime prints (GODEBUG=gctrace=1, schedtrace=1000,\n"
         "scheddetail=1, scavtrace=1, allocfreetrace=1; Go 1.1 to 1.26) and those of\n"
         "libsonde. Prints a summary, draws charts, or writes JSON for Perfetto. From a\n"
         "pipe ('-') what else the program prints goes on to standard error, and Ctrl-C\n"
         "ends with what has come so far.\n\n"
         "Of the file that SONDE=allocfreetrace=1 leaves, alloc.trace, it prints each\n"
         "event, in order, with its stack; or those that are asked for, counts by site,\n"
         "or a profile.\n",
     .examples =
         "GODEBUG=gctrace=1,schedtrace=100,scheddetail=1 ./program 2> trace.txt\n"
         "sonde trace trace.txt\n"
         "sonde trace --svg -o trace.svg trace.txt\n"
         "sonde trace --json -o trace.json trace.txt     open it at ui.perfetto.dev\n"
         "GODEBUG=gctrace=1 ./program 2>&1 | sonde trace -\n"
         "sonde trace alloc.trace | less\n"
         "sonde trace --count --top=20 alloc.trace\n"
         "sonde trace --address=0x55d0c8a012a0 alloc.trace\n"
         "sonde trace --leaked --site='^parse_' alloc.trace\n"
         "sonde trace --size=4096- --from=1s --to=1.5s alloc.trace\n"
         "sonde trace --proto -o alloc.pprof alloc.trace\n",
     .run = trace_main,
     .flags = trace_flags},
    {.name = "sched",
     .synopsis = "[--interval=MS] [--detail] [--count=N] PID",
     .help = "what the scheduler does with the threads of a running program",
     .details =
         "A line every second, as Go's schedtrace: CPUs that the program may use and "
         "how\n"
         "many of them run none of its threads, its threads and how many of them wait,\n"
         "threads that could run and do not, and how many of these are in each CPU's "
         "queue.\n"
         "With --detail also a line a CPU and a line a thread: what it does or waits for "
         "(a\n"
         "lock by its variable, a file, a pipe), nanoseconds on a CPU and waiting for "
         "one,\n"
         "switches, migrations. Nothing about the program needs to be prepared, and it\n"
         "goes on as it was. The first line names the source: tracepoints (root), "
         "switch\n"
         "(one's own processes, where perf_event is allowed), or else proc.\n"
         "Threads of a program that is to be started: sonde run --schedtrace.\n",
     .examples =
         "sonde sched 4711\n"
         "sonde sched --detail --count=1 4711             what waits for what, now\n"
         "sonde sched --interval=100 --count=50 $(pgrep -o server)\n",
     .run = sched_main,
     .flags = sched_flags},
    {.name = "shell",
     .synopsis = "[OPTION...] [BINARY] PROFILE...",
     .help = "many reports of one profile: commands from the terminal, or a script",
     .details =
         "The profile is read, and its names found, once. Each report is a command "
         "(top,\n"
         "list, svg, ...), each option a setting (focus=parse, nodecount=20), and "
         "'help'\n"
         "lists them. Tab completes commands, settings, their values and the names of\n"
         "functions; lines are kept from one session to the next. Ctrl-C ends what a\n"
         "command does, Ctrl-D the shell. Where standard input is no terminal, its "
         "lines\n"
         "are run without a word more than the reports.\n",
     .examples = "sonde shell cpu.pprof\n"
                 "sonde shell --focus=parse ./program cpu.pprof\n"
                 "echo 'peek ^read | head -20' | sonde shell cpu.pprof\n",
     .run = shell_main},
    {.name = "pprof",
     .synopsis = "[-REPORT] [OPTION...] [BINARY] PROFILE...",
     .help = "the command line of 'go tool pprof'",
     .details =
         "Takes what pprof takes, with one dash or two. The word 'pprof' can be left\n"
         "out: sonde -top cpu.pprof. Without a report it is pprof's shell.\n",
     .examples = "sonde pprof -top -cum ./program cpu.pprof\n"
                 "sonde --pdf ./program cpu.pprof > callgraph.pdf\n"
                 "sonde -peek='^read' -nodecount=20 cpu.pprof\n",
     .run = pprof_main},
    {.name = "help",
     .synopsis = "[COMMAND]",
     .help = "help for a command",
     .run = help_main},
    {.name = "version", .synopsis = "", .help = "the version", .run = version_main},
    {.name = "__complete", .run = complete_main},
};

const struct command *command_at(size_t i)
{
    return i < SN_COUNT(commands) ? &commands[i] : NULL;
}

static const char *const report_details =
    "Several profiles are merged. The first of several words may be the program. A\n"
    "profile may be pprof's (gzipped or not), or the spool of a program that was "
    "killed.\n"
    "'-' is standard input.\n";

const struct command *command_find(const char *name, struct command *room)
{
    for (size_t i = 0; i < SN_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    const struct sn_report_format *f = format_find(name);
    if (f == NULL)
        return NULL;
    *room = (struct command){.name = name,
                             .synopsis = f->takes_regexp
                                             ? "[OPTION...] REGEXP [BINARY] PROFILE..."
                                             : "[OPTION...] [BINARY] PROFILE...",
                             .help = f->help,
                             .details = report_details,
                             .run = report_main};
    return room;
}
