/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c: see filter.h. */
#include "exporters/host/filter.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SLOTS 256      /* names remembered; another one of the same slot takes it over */
#define NAME_SIZE 4096 /* PATH_MAX */

struct filter {
    bool any;
    regex_t regex;
    struct {
        uint64_t hash;
        bool known, matches;
    } slots[SLOTS];
};

bool
filter_new(struct filter **out, const char *option, const char *expression, struct err *err)
{
    struct filter *filter = calloc(1, sizeof(*filter));
    if (filter == NULL)
        return err_set(err, ERR_STOP, 0, "cannot make a filter: out of memory");
    filter->any = expression[0] != '\0';
    int failed = filter->any ? regcomp(&filter->regex, expression, REG_EXTENDED | REG_NOSUB) : 0;
    if (failed != 0) {
        char text[128];
        (void)regerror(failed, &filter->regex, text, sizeof(text));
        free(filter);
        return err_set(err, ERR_CONFIG, 0, "%s is no regular expression: %s", option, text);
    }
    *out = filter;
    return true;
}

void
filter_free(struct filter *filter)
{
    if (filter == NULL)
        return;
    if (filter->any)
        regfree(&filter->regex);
    free(filter);
}

bool
filter_matches(struct filter *filter, struct scan name)
{
    if (!filter->any)
        return false;
    uint64_t hash = XXH3_64bits(name.at, name.size);
    size_t slot = hash % SLOTS;
    if (filter->slots[slot].known && filter->slots[slot].hash == hash)
        return filter->slots[slot].matches;
    char text[NAME_SIZE];
    bool matches = regexec(&filter->regex, scan_copy(name, text, sizeof(text)), 0, NULL, 0) == 0;
    filter->slots[slot].hash = hash;
    filter->slots[slot].known = true;
    filter->slots[slot].matches = matches;
    return matches;
}
