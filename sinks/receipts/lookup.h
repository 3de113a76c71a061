/* SPDX-License-Identifier: Apache-2.0 */
/* lookup.h: asks a store which ids it has. One thread, for people who wait. */
#ifndef SINKS_RECEIPTS_LOOKUP_H
#define SINKS_RECEIPTS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

#include "core/bounds.h"
#include "core/err.h"
#include "sinks/options.h"

/* Ids of one question: an answer of some 100 bytes for each. */
#define LOOKUP_IDS_MAX 1000

struct lookup_item {
    char id[EVENT_ID_SIZE + 1]; /* terminated */
    unsigned found;             /* how often it is there */
    void *data;                 /* the asker's */
};

struct lookup;

struct lookup_class {
    bool (*open)(struct lookup **out, const struct sink_options *options, struct err *err);
    void (*close)(struct lookup *lookup); /* NULL is fine */
    /* What was indexed before the call can be found after it. */
    bool (*refresh)(struct lookup *lookup, const char *index, struct err *err);
    /* Fills in `found`; the ids are in order. */
    bool (*find)(struct lookup *lookup, const char *index, struct lookup_item *items, size_t count,
                 struct err *err);
};

extern const struct lookup_class lookup_elasticsearch;
extern const struct lookup_class lookup_sqlite;

#endif
