/* tracers.c: the table of tracers, and their life beside the recording. */
#include "trace/trace_priv.h"

static const struct sn_tracer *const tracers[] = {
    /* The last does not hear what the others allocate to begin. */
    &sn_efence,  &sn_gcdead,   &sn_schedtrace,     &sn_invalidptr,
    &sn_gctrace, &sn_scavenge, &sn_allocfreetrace,
};

static bool running[SN_COUNT(tracers)];
static bool is_open; /* where the lines go */

#define EACH(i) for (size_t i = 0; i < SN_COUNT(tracers); i++)

bool sn_trace_wanted(const struct sn_settings *s)
{
    EACH(i)
    if (tracers[i]->wanted(s))
        return true;
    return false;
}

bool sn_trace_needs_directory(const struct sn_settings *s)
{
    EACH(i)
    if (tracers[i]->needs_directory && tracers[i]->wanted(s))
        return true;
    return false;
}

bool sn_trace_start(const struct sn_settings *s, struct sn_error *e)
{
    if (!sn_trace_wanted(s))
        return true;
    if (!sn_trace_out_open(s, e))
        return false;
    is_open = true;
    EACH(i)
    {
        if (!tracers[i]->wanted(s))
            continue;
        running[i] = tracers[i]->start(s, e);
        if (running[i])
            continue;
        sn_trace_stop(false);
        return false;
    }
    return true;
}

void sn_trace_stop(bool dying)
{
    EACH(i)
    if (running[i] && tracers[i]->stop != NULL)
        tracers[i]->stop(dying);
    if (dying || !is_open)
        return; /* a thread may yet have something to say */
    memset(running, 0, sizeof running);
    sn_trace_out_close();
    is_open = false;
}

void sn_trace_before_fork(void)
{
    EACH(i)
    if (tracers[i]->before_fork != NULL)
        tracers[i]->before_fork();
}

void sn_trace_after_fork(bool child)
{
    if (child)
        sn_monitor_after_fork();
    EACH(i)
    if (tracers[i]->after_fork != NULL)
        tracers[i]->after_fork(child);
    if (child)
        memset(running, 0, sizeof running);
}

int sn_trace_fd(unsigned first, unsigned last)
{
    int lowest = sn_trace_out_fd(first, last);
    EACH(i)
    {
        int fd = tracers[i]->fd != NULL ? tracers[i]->fd(first, last) : -1;
        if (fd >= 0 && (lowest < 0 || fd < lowest))
            lowest = fd;
    }
    return lowest;
}

void sn_trace_pages(void (*visit)(void *pages, size_t bytes, void *argument),
                    void *argument)
{
    sn_stacks_pages(visit, argument);
    EACH(i)
    if (tracers[i]->pages != NULL)
        tracers[i]->pages(visit, argument);
}
