/* SPDX-License-Identifier: Apache-2.0 */
/* nodes.h: which node of the cluster gets the next request, and what is known of each.
 *
 *     UP ──── failed ────► DOWN ── its wait is over and a probe is answered ──► PROVING
 *      ▲                    ▲ └── a probe fails: the wait doubles ──┘              │  │
 *      └──── answered ──────┼──────────────────────────────────────────────────────┘  │
 *                           └──────────────────────────────── failed ─────────────────┘
 *
 * Requests go to the node that has the fewest under way, in turns where it is the same. One that
 * proves itself, or answers much slower than the best, gets one at a time: so it is known when it
 * is well again, and never holds all that is under way. Only bookkeeping: no clock, no socket. */
#ifndef SINKS_ELASTICSEARCH_NODES_H
#define SINKS_ELASTICSEARCH_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* A node that failed is left alone for this long, doubling with each failure. */
#define NODE_DOWN_MIN_MS 1000
#define NODE_DOWN_MAX_MS 30000
/* Slow: this many times the time that the best one takes, and not only by some milliseconds. */
#define NODE_SLOW_FACTOR 4
#define NODE_SLOW_MIN_MS 100

#define NODE_REASON_SIZE 256
#define NODE_PRODUCT_SIZE 64

enum node_state {
    NODE_UP,
    NODE_PROVING, /* was down, its probe was answered */
    NODE_DOWN,
};

struct node {
    char *url; /* owned; without a '/' at the end */
    enum node_state state;
    unsigned failures; /* since it last did what it was asked */
    uint64_t down_since_ms;
    uint64_t down_until_ms;
    size_t flying;    /* bulks under way */
    uint64_t answers; /* to bulks, in this life of the process */
    uint64_t faults;
    double answer_ms;                /* smoothed time of a bulk's answer, 0 before the first */
    char reason[NODE_REASON_SIZE];   /* why it is down, "" when it is not */
    char product[NODE_PRODUCT_SIZE]; /* "OpenSearch 2.19.1", "" before it is known */
    bool news;                       /* the state changed and nobody was told yet */
    bool product_news;               /* the same of a product that no node had before */
};

struct nodes {
    struct node *items;
    size_t count;
    size_t next; /* whose turn it is */
};

bool nodes_init(struct nodes *nodes, const char *const *urls, size_t count,
                struct err *err) MUST_CHECK;
void nodes_done(struct nodes *nodes);

/* The node to ask now; when all are down, the one that comes back first. */
size_t nodes_pick(struct nodes *nodes);

/* A node did what it was asked. `took_ms` is how long a bulk took, negative for anything else. */
void nodes_answered(struct nodes *nodes, size_t node, double took_ms);
/* A node did not answer, or said that it cannot. What was asked before it went down and fails after
 * that tells nothing new. */
void nodes_failed(struct nodes *nodes, size_t node, const char *reason, uint64_t asked_ms,
                  uint64_t now_ms);
/* A node that is down answered a probe. */
void nodes_probed(struct nodes *nodes, size_t node);

size_t nodes_usable(const struct nodes *nodes);
bool nodes_is_slow(const struct nodes *nodes, size_t node);

#endif
