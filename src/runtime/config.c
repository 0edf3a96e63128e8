/* config.c: the SONDE environment variable, a table of keys. No allocation. */
#include "runtime/runtime.h"

#include <ctype.h>
#include <stdio.h>

static bool set_cpu(struct sn_settings *s, const char *value)
{
    char *end;
    s->cpu = true;
    if (*value == '\0')
        return true;
    unsigned long hz = strtoul(value, &end, 10);
    s->cpu_hz = (unsigned)hz;
    return isdigit((unsigned char)*value) && *end == '\0' && hz >= 1 && hz <= SN_HZ_MAX;
}

static bool set_mem(struct sn_settings *s, const char *value)
{
    char *end;
    s->mem = true;
    s->mem_exact = strcmp(value, "exact") == 0;
    s->mem_rate = 0;
    if (*value == '\0' || s->mem_exact)
        return true;
    unsigned long rate = strtoul(value, &end, 10);
    s->mem_rate = (unsigned)rate;
    return *value >= '0' && *value <= '9' && *end == '\0' && rate >= 1 &&
           rate <= UINT32_MAX;
}

static const int refused_signals[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                      SIGILL,  SIGFPE,  SIGTRAP};

bool sn_settings_signal_good(int signal)
{
    for (size_t i = 0; i < SN_COUNT(refused_signals); i++)
        if (signal == refused_signals[i])
            return false;
    return signal >= 1 && signal <= SIGRTMAX && signal != SN_CLOCK_SIGNAL &&
           signal != SN_CONTROL_SIGNAL && (signal < 32 || signal >= SIGRTMIN);
}

/* USR2, SIGUSR2 or 12. */
static bool set_mem_signal(struct sn_settings *s, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    const char *word = strncasecmp(value, "SIG", 3) == 0 ? value + 3 : value;
    if (!isdigit((unsigned char)*value) || *end != '\0' || n > INT_MAX)
        for (n = SIGRTMIN - 1; n > 0; n--) {
            const char *name = sigabbrev_np((int)n);
            if (name != NULL && strcasecmp(name, word) == 0)
                break;
        }
    s->mem_signal = (int)n;
    return sn_settings_signal_good((int)n);
}

static bool set_path(struct sn_settings *s, const char *value)
{
    int n = snprintf(s->path, sizeof s->path, "%s", value);
    return *value != '\0' && n < (int)sizeof s->path;
}

static bool set_flag(bool *flag, const char *value)
{
    *flag = true;
    return *value == '\0';
}

static bool set_mem_mmap(struct sn_settings *s, const char *value)
{
    return set_flag(&s->mem_mmap, value);
}

static bool set_quiet(struct sn_settings *s, const char *value)
{
    return set_flag(&s->quiet, value);
}

static bool set_no_hook(struct sn_settings *s, const char *value)
{
    return set_flag(&s->no_shutdown_hook, value);
}

static bool set_sigterm(struct sn_settings *s, const char *value)
{
    return set_flag(&s->sigterm_hook, value);
}

static bool set_spool(struct sn_settings *s, const char *value)
{
    return set_flag(&s->spool, value);
}

/* ---- Go's knobs: NAME, or NAME=N as in GODEBUG ----------------------------------------
 */

/* The number, `bare` where there is none; false: it is more than `most`, or no number. */
static bool read_level(const char *value, unsigned bare, unsigned most, unsigned *level)
{
    char *end;
    *level = bare;
    if (*value == '\0')
        return true;
    unsigned long n = strtoul(value, &end, 10);
    *level = (unsigned)n;
    return isdigit((unsigned char)*value) && *end == '\0' && n <= most;
}

static bool set_switch(bool *on, const char *value)
{
    unsigned level;
    bool good = read_level(value, 1, 1, &level);
    *on = level == 1;
    return good;
}

static bool set_schedtrace(struct sn_settings *s, const char *value)
{
    return read_level(value, 1000, SN_SCHEDTRACE_MS_MAX, &s->trace.schedtrace_ms);
}

static bool set_scheddetail(struct sn_settings *s, const char *value)
{
    return read_level(value, 1, 2, &s->trace.scheddetail);
}

static bool set_schedsource(struct sn_settings *s, const char *value)
{
    static const char *const sources[] = {"tracepoints", "switch", "proc"};
    for (size_t i = 0; i < SN_COUNT(sources); i++)
        if (strcmp(value, sources[i]) == 0) {
            strcpy(s->trace.schedsource, sources[i]);
            return true;
        }
    return false;
}

static bool set_allocfreetrace(struct sn_settings *s, const char *value)
{
    return set_switch(&s->trace.allocfreetrace, value);
}

static bool set_efence(struct sn_settings *s, const char *value)
{
    static const char *const sides[] = {"0", "right", "left"};
    bool on = *value == '\0' || strcmp(value, "1") == 0;
    s->trace.efence = SN_EFENCE_RIGHT;
    for (size_t i = 0; !on && i < SN_COUNT(sides); i++)
        if (strcmp(value, sides[i]) == 0) {
            s->trace.efence = i;
            on = true;
        }
    return on;
}

static bool set_gctrace(struct sn_settings *s, const char *value)
{
    return read_level(value, 1, 2, &s->trace.gctrace);
}

static bool set_gcdead(struct sn_settings *s, const char *value)
{
    return set_switch(&s->trace.gcdead, value);
}

static bool set_invalidptr(struct sn_settings *s, const char *value)
{
    unsigned level;
    bool good = read_level(value, 1, 2, &level);
    s->trace.invalidptr = SN_INVALIDPTR_OFF + level;
    return good;
}

static bool set_scavenge(struct sn_settings *s, const char *value)
{
    return set_switch(&s->trace.scavenge, value);
}

static bool set_trace_first(struct sn_settings *s, const char *value)
{
    return read_level(value, 0, INT_MAX, &s->trace.first);
}

static bool set_trace_path(struct sn_settings *s, const char *value)
{
    int n = snprintf(s->trace.path, sizeof s->trace.path, "%s", value);
    return *value != '\0' && n < (int)sizeof s->trace.path;
}

const char *const sn_clock_names[] = {"perf", "perf-user", "timer"};

static bool set_clock(struct sn_settings *s, const char *value)
{
    s->clock_forced = true;
    for (s->clock = SN_CLOCK_PERF; s->clock < SN_CLOCK_NONE; s->clock++)
        if (strcmp(value, sn_clock_names[s->clock]) == 0)
            return true;
    return false;
}

static const struct {
    const char *key, *wants;
    bool (*set)(struct sn_settings *s, const char *value);
} keys[] = {
    {"cpu", "a rate from 1 to 10000, or nothing", set_cpu},
    {"mem", "a number of bytes, 'exact', or nothing", set_mem},
    {"mem_signal", "the name of a signal, as USR2", set_mem_signal},
    {"mem_mmap", "no value", set_mem_mmap},
    {"path", "a directory", set_path},
    {"quiet", "no value", set_quiet},
    {"no_shutdown_hook", "no value", set_no_hook},
    {"sigterm_hook", "no value", set_sigterm},
    {"spool", "no value", set_spool},
    {"clock", "perf, perf-user or timer", set_clock},
    {"schedtrace", "milliseconds between two lines", set_schedtrace},
    {"scheddetail", "0, 1 or 2", set_scheddetail},
    {"schedsource", "tracepoints, switch or proc", set_schedsource},
    {"allocfreetrace", "0 or 1", set_allocfreetrace},
    {"efence", "0, 1, right or left", set_efence},
    {"gctrace", "0, 1 or 2", set_gctrace},
    {"gcdead", "0 or 1", set_gcdead},
    {"invalidptr", "0, 1 or 2", set_invalidptr},
    {"scavenge", "0 or 1", set_scavenge},
    {"trace_path", "a file's name", set_trace_path},
    {"trace_first", "a process's number", set_trace_first},
};

static bool set_key(struct sn_settings *s, const char *key, const char *value,
                    struct sn_error *e)
{
    for (size_t i = 0; i < SN_COUNT(keys); i++) {
        if (strcmp(key, keys[i].key) != 0)
            continue;
        return keys[i].set(s, value) ||
               sn_fail(e, "SONDE", -1, "key '%s' wants %s, not '%s'", key, keys[i].wants,
                       value);
    }
    return sn_fail(e, "SONDE", -1, "key '%s' is not known", key);
}

bool sn_settings_parse(struct sn_settings *s, const char *text, struct sn_error *e)
{
    char copy[2 * PATH_MAX], *rest = copy, *word;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return sn_fail(e, "SONDE", -1, "value too long");
    while ((word = strsep(&rest, ",")) != NULL) {
        char *value = strchr(word, '=');
        if (*word == '\0')
            continue;
        if (value != NULL)
            *value++ = '\0';
        if (!set_key(s, word, value != NULL ? value : "", e))
            return false;
    }
    return true;
}
