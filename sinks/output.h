/* SPDX-License-Identifier: Apache-2.0 */
/* output.h: the seam between the sink's pipeline and a store. Two stand behind it:
 * elasticsearch/ (which is OpenSearch too) and sqlite/. The pipeline owns records, routes,
 * retries, offsets and dead letters; an output owns its connections and turns a bulk into one
 * outcome per item. One thread: every call and callback is on the data loop. An output never
 * logs. */
#ifndef SINKS_OUTPUT_H
#define SINKS_OUTPUT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct buffer;
struct metrics;
struct sink_options;
struct sink_route_options;

enum output_outcome {
    OUTPUT_PENDING = 0,
    OUTPUT_INDEXED,       /* written now */
    OUTPUT_DUPLICATE,     /* its id was there already: equal id means equal bytes */
    OUTPUT_FAILURE_STORE, /* refused, and kept by the server in the data stream's failure store */
    OUTPUT_FOUND,         /* its id is there, and all that was there was synced since: send it once
                             more with `found`, for a crash in between may have lost it */
    OUTPUT_DOCUMENT,      /* this document will never be accepted: dead letter */
    OUTPUT_RETRY,         /* this item again, after a back-off (queue full) */
    OUTPUT_RETRY_SMALLER, /* the same of a whole bulk that the store has no memory for now */
    OUTPUT_INDEX_FAULT,   /* the index refuses (block, missing, permission): its route waits */
    OUTPUT_SERVER_FAULT,  /* the store is away or refuses everything: all routes wait */
    OUTPUT_TOO_LARGE,     /* the whole bulk was too big: halve it; alone in its bulk: dead letter */
    OUTPUT_UNKNOWN,       /* a refusal the table does not know: bisect, never believe it at once */
};

/* One document to be created under its id. All pointers are borrowed until the bulk is back. */
struct output_item {
    const char *index; /* '\0'-terminated name of index or table */
    const char *id;    /* at most 512 bytes, needs no JSON escape */
    const char *value; /* one JSON object, no newline byte in it */
    size_t id_size;
    size_t value_size;

    bool found; /* it came back as OUTPUT_FOUND before */

    enum output_outcome outcome; /* written by the output, for each item, before the bulk is back */
    int status;                  /* HTTP status, SQLite code, 0 for none */
    const char *reason;          /* "mapper_parsing_exception: failed to parse …"; NULL when fine;
                                    borrowed from the output until output_bulk_release() */
};

/* Several items in one request. The pipeline allocates it; between send and back it belongs to the
 * output. `data` is the pipeline's. */
struct output_bulk {
    struct output_item *items;
    size_t item_count;
    size_t value_bytes; /* sum of id_size and value_size */
    void *data;
    void *private_data; /* the output's, for reasons and such; NULL to begin with */
};

/* One step of retention. */
struct output_retention {
    int64_t cursor; /* the output's, from step to step; 0 to begin with */
    uint64_t deleted;
    bool more;      /* another step has something to look at */
    char text[320]; /* what was deleted: "index logs-2026.11.21" */
};

struct output;

/* Called by output_wait() for each bulk that came back, all its outcomes written. `err` is NULL
 * or says why a whole request failed (then every item has the same fault). The handler ends by
 * releasing the bulk. */
typedef void output_bulk_done(void *context, struct output_bulk *bulk, const struct err *err);

struct output_class {
    const char *name;

    /* Allocates; touches no network. ERR_CONFIG for options that cannot work. */
    bool (*open)(struct output **out, const struct sink_options *options, struct metrics *metrics,
                 struct err *err);
    void (*close)(struct output *output); /* gives up what is in flight; NULL is fine */

    /* Takes over reloadable options; `options` is valid during the call only. NULL: it has none. */
    void (*reload)(struct output *output, const struct sink_options *options);

    /* Puts what the store needs before the first document of a route: index template, schema.
     * Blocks for at most some seconds. ERR_RETRY: not reachable or refused for now; ERR_REJECT:
     * this route alone cannot be served. Idempotent. */
    bool (*prepare)(struct output *output, const struct sink_route_options *route, struct err *err);

    /* True while one more bulk may be sent now. */
    bool (*ready)(const struct output *output);

    /* Takes the bulk; it comes back through `done`, only ever inside wait(). */
    void (*send)(struct output *output, struct output_bulk *bulk, output_bulk_done *done,
                 void *context);

    /* Frees the reasons of a bulk that is back. */
    void (*release)(struct output *output, struct output_bulk *bulk);

    /* The loop's one wait: sleeps until a socket of the output, one of `fds` (revents are set)
     * or the timeout, and hands back finished bulks. */
    void (*wait)(struct output *output, struct pollfd *fds, nfds_t count, int timeout_ms);

    /* Deletes some of what is older than the route's retention. Blocks for some 100 ms, at worst
     * some seconds. False: nothing is deleted now, err says why. */
    bool (*retain)(struct output *output, const struct sink_route_options *route, int64_t wall_ms,
                   struct output_retention *step, struct err *err);

    /* Appends a sentence on where documents go and in which state that is, for pages and check. */
    void (*describe)(const struct output *output, struct buffer *out);

    /* What happened that a person should read in the log, NULL for nothing; true in `*warn` when it
     * is of consequence. Asked about once a second; each is given once. NULL: it has none. */
    const char *(*note)(struct output *output, bool *warn);

    /* Appends a JSON object for each node of the store, with commas between. NULL: it has none. */
    void (*list)(const struct output *output, struct buffer *out);

    /* check --connect: reaches the store, writes nothing, appends what would not work. The number
     * of problems. */
    size_t (*check)(struct output *output, struct buffer *report);
};

extern const struct output_class output_elasticsearch;
extern const struct output_class output_sqlite;

#endif
