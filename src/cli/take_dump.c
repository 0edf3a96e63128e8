/*
 * take_dump.c: the heap of a running program, as a file. The program writes it, beside
 * its spool, where it surely can; it is then moved to where it was wanted.
 */
#include "cli.h"
#include "record/record.h"

#include <unistd.h>

#define PATIENCE_MS 10000 /* until the program has begun */
#define STEP_MS     200
#define LATER_MS    3000 /* until a program that uses libgc has allocated */

/* The letter in /proc/PID/stat. */
static char state_of(const struct sn_attached *a)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)a->pid);
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    const char *behind = strrchr(text, ')');
    return behind != NULL && strlen(behind) > 2 ? behind[2] : '?';
}

static bool is_stopped(const struct sn_attached *a)
{
    char state = state_of(a);
    return state == 'T' || state == 't';
}

static bool refuse_silent(const struct sn_attached *a, struct sn_error *e)
{
    char where[64];
    snprintf(where, sizeof where, "process %d", (int)a->pid);
    const char *why = "its main thread blocks the signal by which it is asked, or "
                      "handles that itself";
    if (is_stopped(a))
        why = "it is stopped; continue it (kill -CONT) and try again";
    else if (state_of(a) == 'D')
        why = "it is in the kernel and cannot be disturbed";
    return sn_fail(e, where, -1, "(%s) does not answer: %s", a->name, why);
}

/* Until it is written. *idle: it is not, since the program does not allocate from its
 * collector. */
static bool wait_for(const struct sn_attached *a, int answers, bool *idle,
                     struct sn_error *e)
{
    struct progress progress = {0};
    char line[PATH_MAX + 700], where[64];
    enum sn_answer answer = SN_ANSWER_NONE;
    bool begun = false, later = false;
    for (unsigned ms = 0; begun || (ms < PATIENCE_MS && (ms < 1000 || !is_stopped(a)));
         ms += STEP_MS) {
        answer = sn_attached_answer(answers, STEP_MS, line, sizeof line);
        begun |= answer == SN_ANSWER_BEGUN;
        later |= answer == SN_ANSWER_LATER;
        *idle = later && !begun && ms >= LATER_MS;
        if (answer > SN_ANSWER_BEGUN || *idle)
            break;
        progress_show(&progress,
                      begun ? "%s (%d) writes its heap: %u s" : "asking %s (%d): %u s",
                      a->name, (int)a->pid, ms / 1000);
    }
    progress_clear(&progress);
    snprintf(where, sizeof where, "process %d", (int)a->pid);
    if (answer == SN_ANSWER_GOOD || *idle)
        return true;
    if (answer == SN_ANSWER_BAD)
        return sn_fail(e, where, -1, "%.250s", line + strlen("error "));
    if (answer == SN_ANSWER_GONE)
        return sn_fail(e, where, -1, "(%s) ended meanwhile, or stopped its recording",
                       a->name);
    return refuse_silent(a, e);
}

static bool ask_and_wait(struct sn_attached *a, const char *request, bool *idle,
                         struct sn_error *e)
{
    int answers;
    if (!sn_attached_ask(a, request, &answers, e))
        return false;
    bool good = wait_for(a, answers, idle, e);
    close(answers);
    return good;
}

static bool take(struct sn_attached *a, const char *path, struct sn_error *e)
{
    char dump[sizeof a->path + 32], request[sizeof dump + 32], where[64];
    snprintf(where, sizeof where, "process %d", (int)a->pid);
    if (!sn_attached_is_exact(a))
        return sn_fail(
            e, where, -1,
            "(%s) records a sample of its heap; to dump it, every block must be "
            "known: start it with 'sonde run --mem=exact' or SONDE=mem=exact",
            a->name);
    /* Beside the spool; of our own, since others may ask at the same time. */
    snprintf(dump, sizeof dump, "%.*s%d.dump", (int)(strlen(a->path) - strlen("spool")),
             a->path, (int)getpid());
    snprintf(request, sizeof request, "heapdump %s", dump);
    bool idle = false, good = ask_and_wait(a, request, &idle, e);
    if (good && idle) {
        snprintf(request, sizeof request, "heapdump-now %s", dump);
        say("%s (%d) has not allocated from its collector for %d s: the dump is without "
            "the collector's blocks",
            a->name, (int)a->pid, LATER_MS / 1000);
        good = ask_and_wait(a, request, &idle, e);
    }
    return good && sn_attached_fetch(a, dump, path, e);
}

bool heap_take_dump(unsigned pid, const char *path, bool told, struct sn_error *e)
{
    struct sn_attached a;
    if (!sn_attach((pid_t)pid, &a, e))
        return false;
    bool good = take(&a, path, e);
    if (good && told)
        say("%s: the heap of %s (%u); see 'sonde heapdump %s'", path, a.name, pid, path);
    sn_detach(&a);
    return good;
}
