/* SPDX-License-Identifier: Apache-2.0 */
/* remote.h: what a remote collector is. One folder per collector; the table of them is in
 * classes.c. Each target has a thread of its own, which calls collect() at the target's interval;
 * scrapes are served from the page of the last round, with its age. Nothing here logs. */
#ifndef EXPORTERS_REMOTE_H
#define EXPORTERS_REMOTE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct exporter_options;
struct page;

/* A round under way. */
struct remote_call {
    const atomic_bool *stop; /* the program ends: return soon */
    uint64_t deadline_ms;    /* of the monotonic clock: the round should have ended by then */
};

/* What a target is, filled by open(). */
struct remote_about {
    char target[128]; /* label `target`: "localhost:9092" */
    uint64_t interval_ms;
    uint64_t timeout_ms; /* of a round; collect() keeps to it by itself */
};

struct remote_class {
    const char *name; /* "kafka": in collect[] and as label `collector` */
    /* Targets that the configuration names; 0: none, and nothing runs. */
    size_t (*count)(const struct exporter_options *options);
    /* Opens target `index`; connects to nothing. */
    bool (*open)(void **out, const struct exporter_options *options, size_t index,
                 struct remote_about *about, struct err *err) MUST_CHECK;
    /* One round. False: the target cannot be read, `err` says why in a person's words; what was
     * written before (its `_up 0`) is served all the same. */
    bool (*collect)(void *self, const struct remote_call *call, struct page *page,
                    struct err *err) MUST_CHECK;
    void (*close)(void *self); /* NULL is fine */
    bool readiness;            /* while a target cannot be read, /readyz says so */
    /* NULL, or collect() is run in a process of its own (process.h), and this says about an end of
     * that process by SIGABRT or SIGSEGV why it may be: "a known fault of …". */
    const char *process;
};

extern const struct remote_class *const remote_classes[];
extern const size_t remote_class_count;

#endif
