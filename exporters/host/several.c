/* SPDX-License-Identifier: Apache-2.0 */
/* several.c: see several.h. */
#include "exporters/host/several.h"

#include <stdlib.h>

#include "exporters/host/kept.h"
#include "exporters/page.h"

struct several {
    const struct several_file *files;
    size_t count;
    struct kept kept[];
};

bool
several_open(void **out, const char *root, const struct several_file *files, size_t count,
             struct err *err)
{
    struct several *several = calloc(1, sizeof(*several) + count * sizeof(struct kept));
    if (several == NULL)
        return err_set(err, ERR_STOP, 0, "cannot remember '%s': out of memory", files[0].name);
    several->files = files;
    several->count = count;
    for (size_t i = 0; i < count; i++)
        if (!kept_init(&several->kept[i], root, files[i].name, err)) {
            several_close(several);
            return false;
        }
    *out = several;
    return true;
}

bool
several_collect(void *self, struct page *page, struct err *err)
{
    struct several *several = self;
    struct err first = {.action = ERR_NONE};
    bool any = false;
    for (size_t i = 0; i < several->count; i++) {
        const struct several_file *file = &several->files[i];
        struct scan text;
        struct err here;
        bool read = kept_read(&several->kept[i], &text, &here);
        if (read && file->parse(text, page, &here)) {
            any = true;
            continue;
        }
        page_absent(page, file->family, "%s: %s", file->absent, here.text);
        /* A file that is there and cannot be read is worse than one that is not. */
        if (first.action == ERR_NONE || (first.action == ERR_REJECT && here.action != ERR_REJECT))
            first = here;
    }
    if (first.action == ERR_NONE || (any && first.action == ERR_REJECT))
        return true;
    *err = first;
    return false;
}

void
several_close(void *self)
{
    struct several *several = self;
    if (several == NULL)
        return;
    for (size_t i = 0; i < several->count; i++)
        kept_done(&several->kept[i]);
    free(several);
}
