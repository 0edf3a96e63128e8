/*
 * sonde.h: profile a program from within. Link with -lsonde, or preload libsonde.so and
 * set SONDE=cpu=997,path=out,quiet in the environment.
 *
 *     struct sonde *p = sonde_start(&(struct sonde_config){.cpu_profile = true});
 *     ...
 *     sonde_stop(p);
 *
 * All functions may be called from any thread, none from a signal handler.
 */
#ifndef SONDE_H
#define SONDE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero means the default for every field. A kind that this library cannot record is
 * refused (ENOTSUP), never ignored. */
struct sonde_config {
    size_t size;           /* 0, or sizeof(struct sonde_config) */
    bool cpu_profile;      /* cpu.pprof */
    bool mem_profile;      /* not built yet: refused */
    bool block_profile;    /* not built yet: refused */
    bool no_shutdown_hook; /* leave SIGINT alone */
    bool quiet;            /* print nothing */
    const char
        *profile_path; /* directory, made if missing; NULL: a fresh temporary one */
    unsigned cpu_hz;   /* samples a CPU second of each thread; 0: 100; at most 10000 */
};

struct sonde;

/* Start recording. NULL on failure: errno is set (EBUSY: already recording; ENOTSUP;
 * EINVAL; or why the directory cannot be written), sonde_error() says it in words, and
 * nothing has been hooked. */
struct sonde *sonde_start(const struct sonde_config *config);
/* Stop, and write the profile. NULL and a second stop are allowed. Returns 0, or -1 with
 * errno and sonde_error() set. */
int sonde_stop(struct sonde *p);
/* Why the last sonde_start or sonde_stop failed; "" if it did not. Static storage. */
const char *sonde_error(void);

#ifdef __cplusplus
}
#endif

#endif
