/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h: asks nodes a small question beside the bulks, each on a connection of its own: whether
 * one that was left alone is back, whether one that keeps a bulk waiting is alive at all, and what
 * product and version it is. Whatever it answers but "away" will do: a proxy may hide `/`, and no
 * product is refused. One thread, the data loop's. */
#ifndef SINKS_ELASTICSEARCH_PROBE_H
#define SINKS_ELASTICSEARCH_PROBE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/err.h"
#include "sinks/elasticsearch/nodes.h"

/* A node that keeps a bulk waiting for this long is probed, while there is another one. */
#define PROBE_SILENCE_MS 10000
#define PROBE_TIMEOUT_MS 5000L

struct server;

struct probe {
    CURL *easy;
    struct buffer answer;
    bool flying;
    uint64_t asked_ms;
    char detail[CURL_ERROR_SIZE];
};

struct probes {
    struct server *server; /* borrowed, as is the multi handle */
    CURLM *multi;
    struct probe *items; /* one for each node */
};

bool probes_init(struct probes *probes, struct server *server, CURLM *multi,
                 struct err *err) MUST_CHECK;
void probes_done(struct probes *probes);

/* Starts what is due. `waiting_since_ms` has for each node when its oldest bulk was sent, 0 for
 * none. */
void probes_start(struct probes *probes, const uint64_t *waiting_since_ms, uint64_t now_ms);
/* False when the request is none of these. Else it is noted; `*gone` is a node that is down since
 * then, and whose bulks need not be waited for, or the number of nodes. */
bool probes_finish(struct probes *probes, CURL *easy, CURLcode code, size_t *gone) MUST_CHECK;

/* "OpenSearch 2.19.1" of what `/` answered. */
void probe_read_product(struct buffer *answer, long status, char out[NODE_PRODUCT_SIZE]);

#endif
