/* text.c: how wide words are, so that boxes fit them. Pango chooses the same fonts here
 * and where cairo draws; a browser may have others, and svg.c tells it the width. */
#include "draw_priv.h"

#include <pango/pangocairo.h>

struct sn_text {
    PangoContext *context;
    PangoLayout *layout;
    PangoFontDescription *font;
    double size;
};

struct sn_text *sn_text_new(void)
{
    struct sn_text *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    PangoFontMap *map = pango_cairo_font_map_get_default();
    t->context = pango_font_map_create_context(map);
    pango_cairo_context_set_resolution(t->context, 72);
    t->layout = pango_layout_new(t->context);
    t->font = pango_font_description_from_string(SN_FONTS);
    return t;
}

void sn_text_free(struct sn_text *t)
{
    if (t == NULL)
        return;
    pango_font_description_free(t->font);
    g_object_unref(t->layout);
    g_object_unref(t->context);
    free(t);
}

double sn_text_width(struct sn_text *t, const char *line, double size)
{
    PangoRectangle ink, logical;
    if (size != t->size) {
        pango_font_description_set_absolute_size(t->font, size * PANGO_SCALE);
        pango_layout_set_font_description(t->layout, t->font);
        t->size = size;
    }
    pango_layout_set_text(t->layout, line, -1);
    pango_layout_get_extents(t->layout, &ink, &logical);
    return (double)logical.width / PANGO_SCALE;
}

/* Valid UTF-8, and yet neither XML nor cairo takes it. */
static bool is_noncharacter(gunichar c)
{
    return (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef);
}

const char *sn_text_clean(struct sn_arena *a, const char *s)
{
    char *valid = g_utf8_make_valid(s, -1);
    char *copy = sn_arena_strdup(a, valid), *next;
    g_free(valid);
    for (char *c = copy; c != NULL && *c != '\0'; c = next) {
        next = g_utf8_next_char(c);
        if ((unsigned char)*c < 0x20 && *c != '\n')
            *c = ' ';
        else if (is_noncharacter(g_utf8_get_char(c)))
            memset(c, '?', (size_t)(next - c));
    }
    return copy != NULL ? copy : "";
}
