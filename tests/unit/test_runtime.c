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
    ok(parse("cpu,,clock=timer", &s, &e) && s.clock == SN_CLOCK_TIMER, "a forced clock");
}

static void refuses(void)
{
    static const struct {
        const char *text, *names;
    } rows[] = {
        {"cpu=0", "'cpu'"},     {"cpu=10001", "'cpu'"},       {"cpu=12x", "'cpu'"},
        {"cpu= 5", "'cpu'"},    {"cpu=+5", "'cpu'"},          {"path=", "'path'"},
        {"quiet=1", "'quiet'"}, {"clock=sundial", "'clock'"}, {"cpus=100", "'cpus'"},
        {"=3", "''"},           {"cpu,mem=-1", "'mem'"},
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
    refuses();
    return done();
}
