/* SPDX-License-Identifier: Apache-2.0 */
/* options_loaded.h: what options_load() makes, for the files that look into it. */
#ifndef CORE_OPTIONS_LOADED_H
#define CORE_OPTIONS_LOADED_H

#include "core/arena.h"
#include "core/options.h"

/* Where the options of a section were set, in the order of its table; line 0: nowhere. Those of a
 * list are of the element that is being read. */
struct option_settings {
    struct option_place *places;
};

/* One per loaded configuration; everything it points to is in its arena. */
struct options {
    const struct options_schema *schema;
    struct arena arena;
    const char *name;                 /* of the first file */
    char *root;                       /* the program's struct */
    struct option_place *sections;    /* one per section: where it was named first */
    struct option_settings *settings; /* one per section */
};

/* The member of an option in its struct, be it the root's part or an element. */
static inline void *
option_member(const struct option *option, char *base)
{
    return base + option->offset;
}
static inline const void *
option_member_of(const struct option *option, const char *base)
{
    return base + option->offset;
}

#endif
