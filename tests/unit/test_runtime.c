/* test_runtime.c: what SONDE may say, and what is refused by name. */
#include "../tap.h"
#include "runtime/runtime.h"

static bool parse(const char *text, struct sn_settings *s, struct sn_error *e)
{
    *s = (struct sn_settings){0};
    *e = (struct sn_error){.offset = -1};
    return sn_settings_parse(s, text, e);
}

static void accepts(void)
{
    struct sn_settings s;
    struct sn_error e;
    ok(parse("cpu=997,path=out,quiet", &s, &e), "a rate, a path and a flag");
    ok(s.cpu && s.quiet && !s.no_shutdown_hook, "flags");
    is_int(s.cpu_hz, 997, "rate");
    is_str(s.path, "out", "path");
    ok(parse("cpu", &s, &e) && s.cpu && s.cpu_hz == 0, "no rate: the default");
    ok(parse("", &s, &e) && !s.cpu, "empty: nothing asked");
    ok(parse("mem,mem_signal=USR2", &s, &e) && s.mem_signal == SIGUSR2, "a signal");
    ok(parse("mem_signal=sigusr1", &s, &e) && s.mem_signal == SIGUSR1,
       "by its long name");
    ok(parse("mem_signal=10", &s, &e) && s.mem_signal == 10, "by its number");
    ok(parse("cpu,,clock=timer", &s, &e) && s.clock == SN_CLOCK_TIMER, "a forced clock");
}

static void accepts_tracers(void)
{
    struct sn_settings s;
    struct sn_error e;
    ok(parse("schedtrace=1000,scheddetail=1", &s, &e), "Go's words");
    is_int(s.trace.schedtrace_ms, 1000, "the period");
    ok(s.trace.scheddetail, "and the detail");
    ok(parse("schedtrace,gctrace=2", &s, &e) && s.trace.schedtrace_ms == 1000 &&
           s.trace.gctrace == 2,
       "a bare word, and a level");
    ok(parse("efence", &s, &e) && s.trace.efence == SN_EFENCE_RIGHT, "a fence behind");
    ok(parse("efence=left", &s, &e) && s.trace.efence == SN_EFENCE_LEFT, "or before");
    ok(parse("efence=1,efence=0", &s, &e) && s.trace.efence == SN_EFENCE_OFF,
       "the last word counts");
    ok(parse("cpu", &s, &e) && s.trace.invalidptr == SN_INVALIDPTR_DEFAULT, "not said");
    ok(parse("invalidptr=0", &s, &e) && s.trace.invalidptr == SN_INVALIDPTR_OFF, "off");
    ok(parse("invalidptr", &s, &e) && s.trace.invalidptr == SN_INVALIDPTR_ON, "on");
    ok(parse("gcdead=1,scavenge,allocfreetrace,trace_path=a.%p", &s, &e) &&
           s.trace.gcdead && s.trace.scavenge && s.trace.allocfreetrace,
       "switches");
    is_str(s.trace.path, "a.%p", "their file");
}

static void refuses(void)
{
    static const struct {
        const char *text, *names;
    } rows[] = {
        {"cpu=0", "'cpu'"},
        {"cpu=10001", "'cpu'"},
        {"cpu=12x", "'cpu'"},
        {"cpu= 5", "'cpu'"},
        {"cpu=+5", "'cpu'"},
        {"path=", "'path'"},
        {"quiet=1", "'quiet'"},
        {"clock=sundial", "'clock'"},
        {"cpus=100", "'cpus'"},
        {"mem_signal=", "'mem_signal'"},
        {"mem_signal=KILL", "'mem_signal'"},
        {"mem_signal=0", "'mem_signal'"},
        {"mem_signal=12x", "'mem_signal'"},
        {"=3", "''"},
        {"schedtrace=1s", "'schedtrace'"},
        {"efence=up", "'efence'"},
        {"gctrace=3", "'gctrace'"},
        {"gcdead=2", "'gcdead'"},
        {"trace_path=", "'trace_path'"},
        {"cpu,mem=-1", "'mem'"},
    };
    for (size_t i = 0; i < SN_COUNT(rows); i++) {
        struct sn_settings s;
        struct sn_error e;
        ok(!parse(rows[i].text, &s, &e), "%s is refused", rows[i].text);
        ok(strstr(e.what, rows[i].names) != NULL, "... by the key's name: %s", e.what);
    }
}

int main(void)
{
    accepts();
    accepts_tracers();
    refuses();
    return done();
}
