/*
 * tap.h: a test program in the Test Anything Protocol (https://testanything.org), for
 * `meson test`. One #include a program:
 *
 *     #include "tap.h"
 *     int main(void) { ok(1 + 1 == 2, "sums"); is_str(name, "x", "name"); return done();
 * }
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures;

__attribute__((format(printf, 4, 5), unused)) static bool
tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("%sok %d - ", good ? "" : "not ", ++tap_count);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
    if (!good) {
        tap_failures++;
        printf("# failed at %s:%d\n", file, line);
    }
    fflush(stdout);
    return good;
}

__attribute__((unused)) static bool tap_is_str(const char *got, const char *want,
                                               const char *file, int line,
                                               const char *name)
{
    bool same = got && want ? strcmp(got, want) == 0 : got == want;
    tap_ok(same, file, line, "%s", name);
    if (!same)
        printf("#  got: %s\n# want: %s\n", got ? got : "(null)", want ? want : "(null)");
    return same;
}

__attribute__((unused)) static bool
tap_is_int(int64_t got, int64_t want, const char *file, int line, const char *name)
{
    tap_ok(got == want, file, line, "%s", name);
    if (got != want)
        printf("#  got: %lld\n# want: %lld\n", (long long)got, (long long)want);
    return got == want;
}

#define ok(cond, ...)           tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, name) tap_is_str((got), (want), __FILE__, __LINE__, (name))
#define is_int(got, want, name)                                                          \
    tap_is_int((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, (name))

/* Print the plan; the exit status of main. */
__attribute__((unused)) static int done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures != 0;
}

/* The whole program is not applicable here: say why and leave. */
__attribute__((unused)) static int skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    return 0;
}

#endif
