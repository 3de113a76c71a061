/* SPDX-License-Identifier: Apache-2.0 */
/* source.c: see source.h. */
#include "exporters/host/source.h"

#include <stdlib.h>

#include "exporters/host/kept.h"

struct source {
    struct kept kept;
    source_parse *parse;
};

bool
source_open(void **out, const char *root, const char *name, source_parse *parse, struct err *err)
{
    struct source *source = calloc(1, sizeof(*source));
    if (source == NULL)
        return err_set(err, ERR_STOP, 0, "cannot remember '%s': out of memory", name);
    source->parse = parse;
    if (!kept_init(&source->kept, root, name, err)) {
        free(source);
        return false;
    }
    *out = source;
    return true;
}

bool
source_collect(void *self, struct page *page, struct err *err)
{
    struct source *source = self;
    struct scan text;
    return kept_read(&source->kept, &text, err) && source->parse(text, page, err);
}

void
source_close(void *self)
{
    struct source *source = self;
    if (source == NULL)
        return;
    kept_done(&source->kept);
    free(source);
}
