/* SPDX-License-Identifier: Apache-2.0 */
/* flush.h: makes sure that what a 409 found is on disk. "409, the id is there" does not say that
 * the write that brought it was synced: that write's answer may have got lost with its node, or
 * never have come. One `_flush` of the index, begun after the 409 and answered by every shard
 * copy, says so; unless the node died and came back between the two, which is why the document is
 * then sent once more: found again, it is what the flush synced. One flush is under way at a time
 * and serves all bulks that waited for it. One thread, the data loop's. */
#ifndef SINKS_ELASTICSEARCH_FLUSH_H
#define SINKS_ELASTICSEARCH_FLUSH_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/err.h"

struct server;

enum flush_verdict {
    FLUSH_SYNCED,    /* every copy has it on disk */
    FLUSH_UNCERTAIN, /* no answer, or some copy failed: send the documents again */
    FLUSH_DENIED,    /* the user may not flush: 409s are believed as they are */
    FLUSH_VERDICTS,
};

struct flush {
    struct server *server; /* borrowed, as is the multi handle */
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    struct buffer names; /* indices, with commas between */
    struct buffer url;
    struct buffer answer;
    size_t node;
    uint64_t asked_ms;
    bool flying;
    bool denied; /* the last one was */
    char detail[CURL_ERROR_SIZE];
};

bool flush_init(struct flush *flush, struct server *server, CURLM *multi,
                struct err *err) MUST_CHECK;
void flush_done(struct flush *flush);

/* Notes an index for the next flush; not while one is flying. Once more is fine. False when there
 * are too many for one request, never for the first. */
bool flush_add(struct flush *flush, const char *index) MUST_CHECK;
/* Starts the flush of what was noted. False: it could not be started. */
bool flush_start(struct flush *flush, struct err *err) MUST_CHECK;
/* The request of `easy` came back. Names are forgotten. When it is not SYNCED, err says why. */
enum flush_verdict flush_finish(struct flush *flush, CURLcode code, struct err *err);

/* Gives up what is flying, for its node is down. */
void flush_give_up(struct flush *flush);

#endif
