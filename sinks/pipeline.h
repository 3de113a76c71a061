/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.h: the sink's data loop: take records, make bulks, sort outcomes, retry or park,
 * commit. */
#ifndef SINKS_PIPELINE_H
#define SINKS_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/log.h"
#include "sinks/consumer.h"
#include "sinks/dead_letter.h"
#include "sinks/metrics.h"
#include "sinks/options.h"
#include "sinks/output.h"
#include "sinks/rotate.h"
#include "sinks/route.h"

struct ask;
struct health;
struct ticks;

/* Shares of a stop, which is over within 15 s: up to 4 s that the loop is held when the signal
 * comes, what is under way, its commit, leaving the group, 2 s for the libraries. */
#define STOP_DRAIN_MS 4000
#define STOP_COMMIT_MS 2000
#define STOP_LEAVE_MS 2500

/* One request's documents, from filling to its answer; kept and reused. */
struct bulk {
    struct output_bulk out;
    struct document **documents;
    size_t capacity;
    int32_t days[ROUTE_DAYS_MAX]; /* of a route that rotates, with the names of their indices */
    char day_names[ROUTE_DAYS_MAX][ROTATE_NAME_SIZE];
    size_t day_count;
    struct route *route;
    uint64_t sent_ms;
    bool flying;
    struct pipeline *pipeline;
    struct bulk *next; /* of all bulks */
};

struct route_series {
    metric consumed, in_flight, lag, lag_seconds, lost, gaps, rewinds, retried, retired, event_age;
    metric finished[ROUTE_OUTCOME_COUNT];
    metric paused_index, paused_server, paused_letters;
};

struct pipeline_settings {
    const struct sink_options *options; /* for life */
    struct metrics *metrics;
    struct health *health;
    struct ask *ask;
    bool once;
    int signal_fd; /* SIGTERM, SIGINT, SIGHUP */
    void (*reload)(void *context);
    void *reload_context;
};

struct pipeline {
    struct pipeline_settings settings;
    struct sink_bulk_options bulk_options; /* the reloadable ones in force */
    const struct output_class *class;
    struct output *output;
    struct consumer *consumer;
    struct dead_letters *letters;
    struct ticks *ticks; /* NULL: no receipts are read */
    struct document_pool pool;
    struct route *routes;
    struct route_series *series;
    size_t route_count;
    size_t next_route; /* round robin */
    struct bulk *bulks;
    size_t bulks_flying;
    size_t flying_bytes;
    size_t working_size; /* bulk bytes that a 413 taught, 0 for none */
    size_t proven_size;  /* the same before it last grew */
    uint64_t working_ms; /* when it last changed */
    struct fault server_fault;
    bool server_doubted; /* it failed since its last answer, or never gave one */
    uint64_t heard_ms;   /* when the store last answered */
    bool maybe_more;     /* the consumer's queue was not empty when last seen */
    bool was_full;       /* since the queue was last found empty */
    bool all_paused;
    uint64_t polled_ms; /* when the consumer was last polled */
    uint64_t stored_ms;
    uint64_t housekept_ms;
    uint64_t started_ms;
    bool stopping;
    metric bulk_seconds, bulk_bytes, held_bytes, rebalances;
    metric bulks_ok, bulks_partial, bulks_failed;
};

bool pipeline_new(struct pipeline **out, const struct pipeline_settings *settings,
                  struct err *err) MUST_CHECK;
void pipeline_free(struct pipeline *pipeline); /* NULL is fine */

/* Runs until a signal, or with `once` to the end. False with ERR_STOP when it cannot go on. */
bool pipeline_run(struct pipeline *pipeline, struct err *err) MUST_CHECK;
/* Takes over what can be reloaded. */
void pipeline_reload(struct pipeline *pipeline, const struct sink_options *options);
/* check --connect: writes nothing. The number of problems. */
size_t pipeline_check(struct pipeline *pipeline, struct buffer *report) MUST_CHECK;

size_t pipeline_held_bytes(const struct pipeline *pipeline);

/* For the parts: flow.c, bulks.c, sorting.c, letters.c. */
void pipeline_say(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The end of a document: counted, its offset finished, its memory free. */
void pipeline_finish(struct pipeline *pipeline, struct route *route, struct document *document,
                     enum route_outcome outcome, uint64_t now_ms);
/* Without counting: it is late, or the program ends. */
void pipeline_forget(struct pipeline *pipeline, struct route *route, struct document *document);

#endif
