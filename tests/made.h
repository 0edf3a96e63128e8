/*
 * made.h: profiles written by hand, for the tests. A line a sample, root first:
 *
 *     "main;parse;read 30 thread=worker bytes:1024\n"
 *
 * gives a stack, its value (of both types, samples/count and cpu/nanoseconds, the latter
 * a million times as large), and labels, text and numeric. "a|b" is b inlined into a.
 */
#ifndef MADE_H
#define MADE_H

#include "profile/profile.h"

#include <stdio.h>

static uint32_t made_function(struct sn_profile *p, const char *name)
{
    uint32_t id = sn_strtab_add(p->strings, name);
    for (uint32_t i = 0; i < p->n_functions; i++)
        if (p->functions[i].name == id)
            return i;
    struct sn_function *f =
        SN_PUSH(p->arena, p->functions, p->n_functions, p->cap_functions);
    f->name = f->system_name = id;
    f->file = sn_strtab_add(p->strings, "src/made.c");
    return p->n_functions - 1;
}

/* One location a frame; equal frames share it. */
static uint32_t made_location(struct sn_profile *p, char *frame)
{
    uint32_t functions[8], n = 0;
    for (char *part; n < 8 && (part = strsep(&frame, "|")) != NULL;)
        functions[n++] = made_function(p, part);
    for (uint32_t i = 0; i < p->n_locations; i++) {
        const struct sn_location *l = &p->locations[i];
        uint32_t k = 0;
        while (k < n && l->n_lines == n &&
               p->lines[l->line0 + k].function == functions[n - 1 - k])
            k++;
        if (k == n)
            return i;
    }
    struct sn_location *l =
        SN_PUSH(p->arena, p->locations, p->n_locations, p->cap_locations);
    *l = (struct sn_location){.mapping = 0,
                              .address = 0x1000 + p->n_locations * 16u,
                              .line0 = p->n_lines,
                              .n_lines = n};
    while (n-- > 0) {
        struct sn_line *line = SN_PUSH(p->arena, p->lines, p->n_lines, p->cap_lines);
        *line = (struct sn_line){.function = functions[n], .line = functions[n] + 10};
    }
    return p->n_locations - 1;
}

static void made_stack(struct sn_profile *p, struct sn_sample *s, char *stack)
{
    char *frames[64];
    uint32_t n = 0;
    while (n < 64 && (frames[n] = strsep(&stack, ";")) != NULL)
        n++;
    s->loc0 = p->n_sample_locs;
    s->n_locs = n;
    while (n-- > 0) {
        uint32_t location = made_location(p, frames[n]);
        uint32_t *l =
            SN_PUSH(p->arena, p->sample_locs, p->n_sample_locs, p->cap_sample_locs);
        *l = location;
    }
}

static void made_label(struct sn_profile *p, struct sn_sample *s, char *word)
{
    char *value = word + strcspn(word, "=:");
    bool number = *value == ':';
    *value++ = '\0';
    struct sn_label *l = SN_PUSH(p->arena, p->labels, p->n_labels, p->cap_labels);
    l->key = sn_strtab_add(p->strings, word);
    if (number)
        l->num = atoll(value);
    else
        l->str = sn_strtab_add(p->strings, value);
    s->n_labels++;
}

static void made_sample(struct sn_profile *p, char *line)
{
    char *stack = strsep(&line, " "), *count = strsep(&line, " "), *word;
    struct sn_sample s = {0};
    made_stack(p, &s, stack);
    s.label0 = p->n_labels;
    while ((word = strsep(&line, " ")) != NULL)
        made_label(p, &s, word);
    *SN_PUSH(p->arena, p->samples, p->n_samples, p->cap_samples) = s;
    int64_t value = atoll(count);
    *SN_PUSH(p->arena, p->values, p->n_values, p->cap_values) = value;
    *SN_PUSH(p->arena, p->values, p->n_values, p->cap_values) = value * 1000000;
}

static struct sn_profile *made(const char *text)
{
    struct sn_profile *p = sn_profile_new();
    struct sn_strtab *t = p->strings;
    uint32_t ns = sn_strtab_add(t, "nanoseconds");
    *SN_PUSH(p->arena, p->types, p->n_types, p->cap_types) =
        (struct sn_value_type){sn_strtab_add(t, "samples"), sn_strtab_add(t, "count")};
    *SN_PUSH(p->arena, p->types, p->n_types, p->cap_types) =
        (struct sn_value_type){sn_strtab_add(t, "cpu"), ns};
    p->period_type = p->types[1];
    p->period = 1000000;
    *SN_PUSH(p->arena, p->mappings, p->n_mappings, p->cap_mappings) =
        (struct sn_mapping){.start = 0x1000,
                            .limit = 0x100000,
                            .file = sn_strtab_add(t, "/bin/made"),
                            .build_id = sn_strtab_add(t, "abcd")};
    char *copy = sn_arena_strdup(p->arena, text), *line;
    while ((line = strsep(&copy, "\n")) != NULL)
        if (*line != '\0')
            made_sample(p, line);
    return p;
}

#endif
