/* module.c: what the command sees of the module that draws. Beside this one name the
 * module shows none, and it has base for itself: of what crosses the border (scenes,
 * charts, buffers and their arenas) nothing lives in a static. */
#include "draw_priv.h"

extern const struct sn_draw_module sn_draw_module;
__attribute__((visibility("default"))) const struct sn_draw_module sn_draw_module = {
    SN_DRAW_VERSION, sn_draw_scene, sn_draw_chart};
