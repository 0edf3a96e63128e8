/* chart.c: an empty chart, and what is added to it. */
#include "report/chart.h"

struct sn_chart *sn_chart_new(void)
{
    struct sn_arena *a = sn_arena_new();
    struct sn_chart *c = a != NULL ? sn_arena_alloc(a, sizeof *c) : NULL;
    if (c != NULL)
        *c = (struct sn_chart){.arena = a, .title = "", .subtitle = "", .unit = "ns"};
    return c;
}

void sn_chart_free(struct sn_chart *c)
{
    if (c != NULL)
        sn_arena_free(c->arena);
}

struct sn_chart_panel *sn_chart_panel_add(struct sn_chart *c,
                                          enum sn_chart_panel_kind kind,
                                          const char *title, const char *unit)
{
    struct sn_chart_panel *p = SN_PUSH(c->arena, c->panels, c->n_panels, c->cap_panels);
    if (p != NULL)
        *p = (struct sn_chart_panel){.kind = kind, .title = title, .unit = unit};
    return p;
}

struct sn_chart_series *sn_chart_series_add(struct sn_chart *c, struct sn_chart_panel *p,
                                            const char *name, uint32_t color,
                                            enum sn_chart_style style, uint32_t cap)
{
    size_t size = ((size_t)cap + 1) * sizeof(double);
    double *x = sn_arena_alloc(c->arena, size), *y = sn_arena_alloc(c->arena, size);
    struct sn_chart_series *s =
        x != NULL && y != NULL ? SN_PUSH(c->arena, p->series, p->n_series, p->cap_series)
                               : NULL;
    if (s != NULL)
        *s = (struct sn_chart_series){name, color, style, x, y, 0};
    return s;
}
