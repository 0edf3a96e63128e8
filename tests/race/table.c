/* race_table.c: threads, and signals on top of them, count into one spool: nothing is
 * lost, nothing counted twice. Made for the thread sanitizer. */
#include "../tap.h"
#include "runtime/runtime.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  20000
#define STACKS  500

static uint32_t slots[THREADS];

static void count(uint32_t thread, unsigned which)
{
    uintptr_t pcs[64];
    size_t n = 1 + which % SN_COUNT(pcs);
    for (size_t i = 0; i < n; i++)
        pcs[i] = 0x1000 + which * 64 + i;
    sn_table_count(thread, which % 10 == 0 ? SN_END_DEPTH : SN_END_OUTERMOST, pcs, n, 2);
}

static void on_signal(int number)
{
    (void)number;
    count(0, 7);
}

static void *run(void *argument)
{
    uint32_t *slot = argument;
    *slot = sn_table_thread(&sn_cpu_table, (uint32_t)(1000 + (slot - slots)));
    for (unsigned i = 0; i < ROUNDS; i++) {
        count(*slot, i % STACKS);
        if (i % 100 == 0)
            pthread_kill(pthread_self(), SIGUSR1);
    }
    return NULL;
}

static void sums(const struct sn_profile *p)
{
    int64_t samples = THREADS * (ROUNDS + ROUNDS / 100), ticks = 0, cpu_ns = 0;
    for (uint32_t i = 0; i < p->n_samples; i++) {
        ticks += p->values[(size_t)i * p->n_types];
        cpu_ns += p->values[(size_t)i * p->n_types + 1];
    }
    is_int((int64_t)sn_cpu_table.header->samples, samples,
           "every sample is counted once");
    is_int(ticks, samples * 2, "with its weight");
    is_int(cpu_ns, ticks * 1000000, "in time too");
}

int main(void)
{
    char directory[] = "/tmp/sonde-race.XXXXXX", path[64];
    struct sn_error e = {.offset = -1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_t threads[THREADS];
    if (mkdtemp(directory) == NULL)
        return skip_all("no directory to write in");
    snprintf(path, sizeof path, "%s/spool", directory);
    struct sn_table_plan plan = {.path = path,
                                 .output = "out",
                                 .kind = SN_SPOOL_CPU,
                                 .n_values = SN_CPU_VALUES,
                                 .scale = 1,
                                 .period = 1000000,
                                 .bytes = (size_t)64 << 20};
    ok(sn_table_open(&sn_cpu_table, &plan, &e), "opens a spool %s", e.what);
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, run, &slots[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct sn_profile *p =
        sn_spool_read(sn_cpu_table.header, sn_cpu_table.bytes, path, &e);
    if (ok(p != NULL, "reads it back %s", e.what))
        sums(p);
    sn_profile_free(p);
    sn_table_close(&sn_cpu_table);
    unlink(path);
    rmdir(directory);
    return done();
}
