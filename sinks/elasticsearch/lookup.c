/* SPDX-License-Identifier: Apache-2.0 */
/* lookup.c: which ids Elasticsearch or OpenSearch has, see sinks/receipts/lookup.h. The ids are
 * asked for as they are: no mapping, and no field of an event, has to be what it is thought to be,
 * and it works through aliases and data streams, where a `_mget` does not. A search sees what was
 * refreshed; for a user who may not refresh, time does it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yajl/yajl_tree.h>

#include "core/buffer.h"
#include "sinks/elasticsearch/server.h"
#include "sinks/receipts/lookup.h"

/* Each id may be there in several indices of one alias; the server gives 10,000 hits at most. */
#define HITS_MAX 10000
#define BODY_MAX ((size_t)LOOKUP_IDS_MAX * (EVENT_ID_SIZE + 4) + 1024)
#define ANSWER_MAX ((size_t)8 * 1024 * 1024)
#define TRIES 12 /* a busy server may need more than the 5 s of one question */
#define TRY_PAUSE_SECONDS 1
#define PATH_MAX_SIZE 640 /* an index name has at most 255 bytes */

struct lookup {
    struct server server;
    struct buffer body, answer;
};

static void
lookup_close(struct lookup *lookup)
{
    if (lookup == NULL)
        return;
    server_done(&lookup->server);
    buffer_done(&lookup->body);
    buffer_done(&lookup->answer);
    free(lookup);
}

static bool
lookup_open(struct lookup **out, const struct sink_options *options, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot ask the index: out of memory");
    buffer_init(&lookup->body, BODY_MAX);
    buffer_init(&lookup->answer, ANSWER_MAX);
    if (!server_init(&lookup->server, &options->elasticsearch, err)) {
        lookup_close(lookup);
        return false;
    }
    *out = lookup;
    return true;
}

static bool
post(struct lookup *lookup, const char *index, const char *what, const char *body, int *status,
     struct err *err)
{
    char path[PATH_MAX_SIZE];
    int size = snprintf(path, sizeof(path), "/%s/%s", index, what);
    if (size < 0 || (size_t)size >= sizeof(path))
        return err_set(err, ERR_CONFIG, 0, "the index name '%.100s…' is too long", index);
    for (int tries = 1;; tries++) {
        buffer_clear(&lookup->answer);
        if (server_request(&lookup->server, "POST", path, body, &lookup->answer, status, err))
            return true;
        if (tries == TRIES)
            return false;
        struct timespec pause = {.tv_sec = TRY_PAUSE_SECONDS};
        (void)nanosleep(&pause, NULL);
    }
}

static bool
lookup_refresh(struct lookup *lookup, const char *index, struct err *err)
{
    int status = 0;
    return post(lookup, index, "_refresh?ignore_unavailable=true", NULL, &status, err);
}

static struct lookup_item *
find_item(struct lookup_item *items, size_t count, const char *id)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(items[middle].id, id);
        if (order == 0)
            return &items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* An answer that is not whole says nothing about what is missing in it. */
static bool
is_whole(yajl_val tree)
{
    static const char *timed_out_path[] = {"timed_out", NULL};
    static const char *failed_path[] = {"_shards", "failed", NULL};
    yajl_val timed_out = yajl_tree_get(tree, timed_out_path, yajl_t_any);
    yajl_val failed = yajl_tree_get(tree, failed_path, yajl_t_number);
    return YAJL_IS_FALSE(timed_out) && failed != NULL && YAJL_GET_INTEGER(failed) == 0;
}

static bool
take_hits(struct lookup *lookup, const char *index, struct lookup_item *items, size_t count,
          int status, struct err *err)
{
    static const char *hits_path[] = {"hits", "hits", NULL};
    static const char *id_path[] = {"_id", NULL};
    yajl_val tree = status == 200 ? yajl_tree_parse(buffer_string(&lookup->answer), NULL, 0) : NULL;
    yajl_val hits = yajl_tree_get(tree, hits_path, yajl_t_array);
    bool whole = tree != NULL && is_whole(tree);
    for (size_t i = 0; whole && hits != NULL && i < hits->u.array.len; i++) {
        const char *id =
            YAJL_GET_STRING(yajl_tree_get(hits->u.array.values[i], id_path, yajl_t_string));
        struct lookup_item *item = id == NULL ? NULL : find_item(items, count, id);
        if (item != NULL)
            item->found++;
    }
    yajl_tree_free(tree);
    return whole || err_set(err, ERR_RETRY, status,
                            "cannot ask '%s' for ids: HTTP %d, or not all of its shards answered: "
                            "%.200s",
                            index, status, buffer_string(&lookup->answer));
}

static bool
lookup_find(struct lookup *lookup, const char *index, struct lookup_item *items, size_t count,
            struct err *err)
{
    struct buffer *body = &lookup->body;
    buffer_clear(body);
    buffer_format(body, "{\"size\":%d,\"_source\":false,\"query\":{\"ids\":{\"values\":[",
                  HITS_MAX);
    for (size_t i = 0; i < count; i++) {
        items[i].found = 0;
        buffer_format(body, "%s\"%s\"", i == 0 ? "" : ",", items[i].id);
    }
    buffer_text(body, "]}}}");
    if (body->failed)
        return err_set(err, ERR_STOP, ENOMEM, "cannot ask the index: out of memory");
    int status = 0;
    return post(lookup, index,
                "_search?ignore_unavailable=true&allow_no_indices=true&"
                "allow_partial_search_results=false&"
                "filter_path=timed_out,_shards.failed,hits.hits._id,error",
                buffer_string(body), &status, err) &&
           take_hits(lookup, index, items, count, status, err);
}

const struct lookup_class lookup_elasticsearch = {
    .open = lookup_open,
    .close = lookup_close,
    .refresh = lookup_refresh,
    .find = lookup_find,
};
