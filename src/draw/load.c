/*
 * load.c: the draw room as the command has it: a module, sonde-draw.so, that is loaded
 * with the first picture. Linked, its forty libraries took every start of the command
 * more than half of its time, and most verbs draw nothing.
 *
 * What is loaded stays. To load it again is to count it once more, so nothing is kept
 * here.
 */
#include "draw_priv.h"

#include <dlfcn.h>

#define NAME   "sonde-draw.so"
#define NEEDED "pictures need it, text reports do not; "

/* Why dlopen or dlsym failed, which begin with the path that is told already. */
static const char *reason(const char *path)
{
    const char *why = dlerror();
    size_t n = strlen(path);
    return strncmp(why, path, n) == 0 && why[n] == ':' ? why + n + 2 : why;
}

static const struct sn_draw_module *load(struct sn_error *e)
{
    char path[PATH_MAX];
    struct sn_error why = {.offset = -1};
    const struct sn_draw_module *m = NULL;
    if (!sn_installed(NAME, "sonde/" NAME, path, &why)) {
        sn_fail(e, NAME, -1, NEEDED "it is %s", why.what);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL)
        m = dlsym(library, "sn_draw_module");
    if (m == NULL)
        sn_fail(e, path, -1, NEEDED "cannot load it: %s", reason(path));
    else if (strcmp(m->version, SN_DRAW_VERSION) == 0)
        return m;
    else
        sn_fail(e, path, -1, NEEDED "it is of %s, and this is %s", m->version,
                SN_DRAW_VERSION);
    return NULL;
}

bool sn_draw_ready(struct sn_error *e)
{
    return load(e) != NULL;
}

bool sn_draw_scene(const struct sn_scene *s, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    const struct sn_draw_module *m = load(e);
    return m != NULL && m->scene(s, kind, out, e);
}

bool sn_draw_chart(const struct sn_chart *c, enum sn_picture kind, struct sn_buf *out,
                   struct sn_error *e)
{
    const struct sn_draw_module *m = load(e);
    return m != NULL && m->chart(c, kind, out, e);
}
