/* SPDX-License-Identifier: Apache-2.0 */
/* output.c: bulks to Elasticsearch or OpenSearch, several at once through one curl multi handle.
 * How many at once adapts: a little more with each clean answer, half as many when a queue is
 * full. A bulk that a node does not answer goes to the next node at once; only when all failed
 * is it a fault. A node that is silent for long is probed, and when it is dead its bulks are taken
 * to another one (probe.h); what it still does with them does not matter, their ids are the same.
 * A bulk that met a 409 is held until a flush is answered (flush.h). */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "core/encode.h"
#include "sinks/elasticsearch/answer.h"
#include "sinks/elasticsearch/body.h"
#include "sinks/elasticsearch/check.h"
#include "sinks/elasticsearch/flush.h"
#include "sinks/elasticsearch/probe.h"
#include "sinks/elasticsearch/retention.h"
#include "sinks/elasticsearch/server.h"
#include "sinks/elasticsearch/template.h"
#include "sinks/metrics.h"
#include "sinks/options.h"
#include "sinks/output.h"

#define REQUEST_MAGIC 0x7265717565737431ULL
#define REQUESTS_MAX 32    /* the largest bulk.in_flight */
#define WAIT_FDS_MAX 16    /* the loop has signals, Kafka and questions to wait for */
#define FULL_QUEUE_SHARE 4 /* one of so many items refused: the queue counts as full */
#define BULK_PATH                                                                                  \
    "/_bulk?filter_path=took,errors,error,status,items.*.status,items.*.failure_store,"            \
    "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"

enum request_state {
    REQUEST_FREE,
    REQUEST_FLYING,
    REQUEST_HELD,    /* answered, with some 409: waits for a flush to begin */
    REQUEST_SYNCING, /* waits for the flush that is under way */
    REQUEST_BACK,
};

/* One bulk from send to release; the parts are kept for the next one. */
struct request {
    uint64_t magic;
    struct output *output;
    enum request_state state;
    CURL *easy;
    struct answer *answer;
    struct body_cursor plain; /* where the body is read from, */
    struct buffer packed;     /* or the whole of it, with gzip */
    struct buffer url;
    struct output_bulk *bulk;
    output_bulk_done *done;
    void *context;
    size_t node;
    size_t tries;
    uint64_t started_ms;
    uint64_t asked_ms; /* this node */
    bool fresh;        /* on a new connection */
    bool endless;      /* the answer was longer than any can be */
    bool gzip;
    bool unsendable; /* no body could be built: goes back at the next wait */
    char detail[CURL_ERROR_SIZE];
};

struct node_series {
    metric up, flying, answers, faults;
};

struct output {
    const struct sink_options *options; /* those of the start: addresses and routes */
    struct metrics *metrics;
    metric flushes[FLUSH_VERDICTS];
    metric limit_series;
    struct node_series *node_series; /* one for each node */
    uint64_t *waiting_since_ms;      /* for probes_start() */
    struct server server;
    struct probes probes;
    char *custom; /* owned: a person's template; NULL: the built-in one */
    CURLM *multi;
    struct flush flush;
    struct body_zipper zipper;
    struct curl_slist *headers_plain;
    struct curl_slist *headers_gzip;
    struct request requests[REQUESTS_MAX];
    size_t flying; /* not back: also those that wait for a flush */
    double limit;  /* bulks that may fly now, 1 to limit_max */
    double limit_max;
    uint64_t cut_ms; /* when the limit was last halved */
    bool gzip;
    long timeout_ms;
    char note[512];
};

static void
elasticsearch_close(struct output *output)
{
    if (output == NULL)
        return;
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &output->requests[i];
        if (request->easy != NULL && output->multi != NULL && request->state == REQUEST_FLYING)
            curl_multi_remove_handle(output->multi, request->easy);
        curl_easy_cleanup(request->easy);
        answer_free(request->answer);
        buffer_done(&request->packed);
        buffer_done(&request->url);
    }
    flush_done(&output->flush);
    probes_done(&output->probes);
    curl_multi_cleanup(output->multi);
    curl_slist_free_all(output->headers_plain);
    curl_slist_free_all(output->headers_gzip);
    body_zipper_done(&output->zipper);
    server_done(&output->server);
    free(output->node_series);
    free(output->waiting_since_ms);
    free(output->custom);
    free(output);
}

static void
elasticsearch_reload(struct output *output, const struct sink_options *options)
{
    output->gzip = options->elasticsearch.gzip;
    output->timeout_ms = (long)options->elasticsearch.timeout;
    output->limit_max = (double)options->bulk.in_flight;
    if (output->limit > output->limit_max)
        output->limit = output->limit_max;
}

static bool
open_node_series(struct output *output, struct err *err)
{
    const struct nodes *nodes = &output->server.nodes;
    output->waiting_since_ms = calloc(nodes->count, sizeof(*output->waiting_since_ms));
    output->node_series = calloc(nodes->count, sizeof(*output->node_series));
    if (output->waiting_since_ms == NULL || output->node_series == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot open the output: out of memory");
    for (size_t i = 0; i < nodes->count; i++) {
        const char *url = nodes->items[i].url;
        output->node_series[i] = (struct node_series){
            .up = metrics_series(output->metrics, SINK_NODE_UP, url, NULL),
            .flying = metrics_series(output->metrics, SINK_NODE_FLYING, url, NULL),
            .answers = metrics_series(output->metrics, SINK_NODE_BULKS, url, "answered", NULL),
            .faults = metrics_series(output->metrics, SINK_NODE_BULKS, url, "failed", NULL),
        };
        metrics_set(output->metrics, output->node_series[i].up, 1);
    }
    output->limit_series = metrics_series(output->metrics, SINK_BULKS_ALLOWED, NULL);
    return true;
}

static bool
open_parts(struct output *output, struct err *err)
{
    if (!server_init(&output->server, &output->options->elasticsearch, err))
        return false;
    if (!body_zipper_init(&output->zipper, err))
        return false;
    if (!template_load(&output->custom, output->options->elasticsearch.template_file, err))
        return false;
    output->multi = curl_multi_init();
    output->headers_plain = server_headers(&output->server, "application/x-ndjson", false);
    output->headers_gzip = server_headers(&output->server, "application/x-ndjson", true);
    if (output->multi == NULL || output->headers_plain == NULL || output->headers_gzip == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot open the output: out of memory");
    return flush_init(&output->flush, &output->server, output->multi, err) &&
           probes_init(&output->probes, &output->server, output->multi, err) &&
           open_node_series(output, err);
}

static bool
elasticsearch_open(struct output **out, const struct sink_options *options, struct metrics *metrics,
                   struct err *err)
{
    struct output *output = calloc(1, sizeof(*output));
    if (output == NULL)
        return err_set(err, ERR_STOP, ENOMEM, "cannot open the output: out of memory");
    output->options = options;
    output->metrics = metrics;
    static const char *const verdicts[] = {"synced", "uncertain", "denied"};
    for (size_t i = 0; i < FLUSH_VERDICTS; i++)
        output->flushes[i] = metrics_series(metrics, SINK_FLUSHES, verdicts[i], NULL);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        output->requests[i].magic = REQUEST_MAGIC;
        output->requests[i].output = output;
        buffer_init(&output->requests[i].packed, BODY_SIZE_MAX);
        buffer_init(&output->requests[i].url, 8192);
    }
    output->limit = 2;
    elasticsearch_reload(output, options);
    if (!open_parts(output, err)) {
        elasticsearch_close(output);
        return false;
    }
    *out = output;
    return true;
}

static bool
elasticsearch_prepare(struct output *output, const struct sink_route_options *route,
                      struct err *err)
{
    return !output->options->elasticsearch.template ||
           template_put(&output->server, route, output->custom, err);
}

static bool
elasticsearch_retain(struct output *output, const struct sink_route_options *route, int64_t wall_ms,
                     struct output_retention *step, struct err *err)
{
    return retention_delete_index(&output->server, route, wall_ms, step, err);
}

static bool
elasticsearch_ready(const struct output *output)
{
    return output->flying < (size_t)output->limit && output->flying < REQUESTS_MAX;
}

static size_t
on_answer_bytes(char *bytes, size_t one, size_t size, void *context)
{
    struct request *request = context;
    ASSERT(request->magic == REQUEST_MAGIC);
    request->endless = !answer_feed(request->answer, bytes, size);
    return request->endless ? 0 : one * size;
}

static size_t
on_body_wanted(char *out, size_t one, size_t room, void *context)
{
    struct request *request = context;
    ASSERT(request->magic == REQUEST_MAGIC);
    return body_read(&request->plain, out, one * room);
}

/* A kept connection that was closed meanwhile makes curl begin anew. */
static int
on_body_rewind(void *context, curl_off_t offset, int origin)
{
    struct request *request = context;
    ASSERT(request->magic == REQUEST_MAGIC);
    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_FAIL;
    body_rewind(&request->plain, request->bulk);
    return CURL_SEEKFUNC_OK;
}

/* Makes the handle ready once; curl keeps connections alive in the multi handle. */
static bool
request_open(struct request *request, struct err *err)
{
    if (request->easy != NULL)
        return true;
    if (request->answer == NULL && !answer_new(&request->answer, err))
        return false;
    CURL *easy = curl_easy_init();
    if (easy == NULL || !server_set_up(&request->output->server, easy)) {
        curl_easy_cleanup(easy);
        return err_set(err, ERR_RETRY, ENOMEM, "cannot prepare a request: out of memory");
    }
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_body_wanted);
    curl_easy_setopt(easy, CURLOPT_READDATA, request);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_body_rewind);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->detail);
    request->easy = easy;
    return true;
}

/* Asks request->node. */
static bool
request_start(struct request *request, struct err *err)
{
    struct output *output = request->output;
    struct node *node = &output->server.nodes.items[request->node];
    request->detail[0] = '\0';
    request->endless = false;
    request->asked_ms = clock_monotonic_ms();
    buffer_clear(&request->url);
    buffer_format(&request->url, "%s/%s" BULK_PATH, node->url, request->bulk->items[0].index);
    const char *url = buffer_string(&request->url);
    /* An address that is refused would leave that of the last bulk, of another index perhaps. */
    if (request->url.failed || curl_easy_setopt(request->easy, CURLOPT_URL, url) != CURLE_OK ||
        !answer_begin(request->answer, request->bulk->items, request->bulk->item_count))
        return err_set(err, ERR_RETRY, ENOMEM, "cannot prepare a request: out of memory");

    curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, output->timeout_ms);
    curl_easy_setopt(request->easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
    curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER,
                     request->gzip ? output->headers_gzip : output->headers_plain);
    body_rewind(&request->plain, request->bulk);
    size_t size = request->gzip ? request->packed.size : body_size(request->bulk);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    /* NULL: it is asked for, piece by piece. */
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS,
                     request->gzip ? request->packed.bytes : NULL);
    CURLMcode code = curl_multi_add_handle(output->multi, request->easy);
    if (code != CURLM_OK)
        return err_set(err, ERR_RETRY, 0, "cannot start a request: %s", curl_multi_strerror(code));
    node->flying++;
    return true;
}

/* The next node, on any connection. */
static bool
request_start_next(struct request *request, struct err *err)
{
    request->node = nodes_pick(&request->output->server.nodes);
    request->tries++;
    request->fresh = false;
    return request_start(request, err);
}

/* It came back, or is given up: nothing of it is under way any more. */
static void
request_end(struct request *request)
{
    struct node *node = &request->output->server.nodes.items[request->node];
    ASSERT(node->flying > 0);
    node->flying--;
    curl_multi_remove_handle(request->output->multi, request->easy);
}

/* Every item gets the same fault, without an answer. */
static void
fail_items(struct request *request, enum output_outcome outcome, const struct err *err)
{
    if (request->answer != NULL &&
        answer_begin(request->answer, request->bulk->items, request->bulk->item_count)) {
        answer_fail(request->answer, outcome, err);
        return;
    }
    for (size_t i = 0; i < request->bulk->item_count; i++) {
        request->bulk->items[i].outcome = outcome;
        request->bulk->items[i].reason = "out of memory";
    }
}

static void
hand_back(struct request *request, const struct err *err)
{
    request->state = REQUEST_BACK;
    request->output->flying--;
    request->done(request->context, request->bulk, err);
}

static void
elasticsearch_send(struct output *output, struct output_bulk *bulk, output_bulk_done *done,
                   void *context)
{
    ASSERT(elasticsearch_ready(output));
    ASSERT(bulk->item_count > 0);

    struct request *request = output->requests;
    while (request->state != REQUEST_FREE) {
        request++;
        ASSERT(request < output->requests + REQUESTS_MAX);
    }
    request->state = REQUEST_FLYING;
    request->bulk = bulk;
    request->done = done;
    request->context = context;
    request->tries = 0;
    request->started_ms = clock_monotonic_ms();
    request->gzip = output->gzip;
    request->unsendable = false;
    bulk->private_data = request;
    output->flying++;

    struct err err;
    if (!request_open(request, &err)) {
        request->unsendable = true;
        fail_items(request, OUTPUT_SERVER_FAULT, &err);
    } else if (request->gzip && !body_zip(&output->zipper, bulk, &request->packed, &err)) {
        /* Halved like one that is too large; a single document is not condemned for our memory. */
        request->unsendable = true;
        fail_items(request, bulk->item_count > 1 ? OUTPUT_TOO_LARGE : OUTPUT_SERVER_FAULT, &err);
    } else if (!request_start_next(request, &err)) {
        request->unsendable = true;
        fail_items(request, OUTPUT_SERVER_FAULT, &err);
    }
}

static void
elasticsearch_release(struct output *output, struct output_bulk *bulk)
{
    struct request *request = bulk->private_data;
    ASSERT(request != NULL);
    ASSERT(request->magic == REQUEST_MAGIC);
    ASSERT(request->state == REQUEST_BACK);
    (void)output;
    request->state = REQUEST_FREE;
    request->bulk = NULL;
    bulk->private_data = NULL;
}

/* Additive increase, multiplicative decrease, both by the share of refused items: a server refuses
 * those of one shard's queue, and a few of thousands are no reason to send half as much, while a
 * quarter of them is. What met one full queue is one cut, however many bulks it were. */
static void
adapt(struct output *output, const struct request *request, bool fine)
{
    size_t count = request->bulk->item_count;
    size_t refused = 0;
    for (size_t i = 0; i < count; i++)
        refused += request->bulk->items[i].outcome == OUTPUT_RETRY ||
                   request->bulk->items[i].outcome == OUTPUT_RETRY_SMALLER;
    double pressure = FULL_QUEUE_SHARE * (double)refused / (double)count;
    if (pressure > 1)
        pressure = 1;
    if (fine)
        output->limit += (1 - pressure) / output->limit;
    if (refused > 0 && request->started_ms >= output->cut_ms) {
        output->limit *= 1 - pressure / 2;
        output->cut_ms = clock_monotonic_ms();
    }
    if (output->limit > output->limit_max)
        output->limit = output->limit_max;
    if (output->limit < 1)
        output->limit = 1;
}

/* A duplicate of which nobody knows whether it is on disk. */
static bool
is_unsynced(const struct output_item *item)
{
    return item->outcome == OUTPUT_DUPLICATE && !item->found;
}

static bool
has_unsynced(const struct output_bulk *bulk)
{
    for (size_t i = 0; i < bulk->item_count; i++)
        if (is_unsynced(&bulk->items[i]))
            return true;
    return false;
}

/* A server or balancer closed the connection just when it was used again: no fault of the node. A
 * create that arrived nevertheless is found by the next one. */
static bool
was_stale(const struct request *request, CURLcode code)
{
    long connects = 1;
    curl_off_t received = 0;
    curl_easy_getinfo(request->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(request->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
    return !request->fresh && connects == 0 && received == 0 &&
           (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING);
}

/* The bulk has its answers, or none of all nodes had one. `fine`: it was believed. */
static void
settle_request(struct request *request, bool fine, const struct err *err)
{
    adapt(request->output, request, fine);
    if (fine && has_unsynced(request->bulk))
        request->state = REQUEST_HELD;
    else
        hand_back(request, fine ? NULL : err);
}

/* The node did not answer or cannot: another one, or the end of it. */
static void
try_elsewhere(struct output *output, struct request *request, const struct err *fault)
{
    struct err err = *fault;
    if (request->tries < output->server.nodes.count && request_start_next(request, &err))
        return;
    fail_items(request, OUTPUT_SERVER_FAULT, &err);
    settle_request(request, false, &err);
}

static void
finish_request(struct output *output, struct request *request, CURLcode code)
{
    struct err err;
    long status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    bool stale = was_stale(request, code);
    request_end(request);
    if (stale) {
        request->fresh = true;
        if (request_start(request, &err))
            return;
    }
    if (request->endless)
        (void)snprintf(request->detail, sizeof(request->detail),
                       "its answer to a bulk does not end");
    if (code != CURLE_OK || server_is_away(status)) {
        server_failed(&output->server, request->node, code, status, request->detail,
                      request->asked_ms, &err);
        if (code != CURLE_OK || request->tries < output->server.nodes.count) {
            try_elsewhere(output, request, &err);
            return;
        }
    } else {
        nodes_answered(&output->server.nodes, request->node,
                       (double)(clock_monotonic_ms() - request->asked_ms));
    }
    bool fine = answer_end(request->answer, (int)status, &err);
    settle_request(request, fine, &err);
}

/* Those that waited for the flush. */
static void
hand_back_synced(struct output *output, enum flush_verdict verdict)
{
    static const enum output_outcome outcomes[FLUSH_VERDICTS] = {
        [FLUSH_SYNCED] = OUTPUT_FOUND,
        [FLUSH_UNCERTAIN] = OUTPUT_RETRY,
        [FLUSH_DENIED] = OUTPUT_DUPLICATE,
    };
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &output->requests[i];
        if (request->state != REQUEST_SYNCING)
            continue;
        for (size_t j = 0; j < request->bulk->item_count; j++)
            if (is_unsynced(&request->bulk->items[j]))
                request->bulk->items[j].outcome = outcomes[verdict];
        hand_back(request, NULL);
    }
}

static void
start_flush(struct output *output)
{
    bool wanted = false;
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &output->requests[i];
        if (request->state != REQUEST_HELD)
            continue;
        wanted = true;
        request->state = REQUEST_SYNCING;
        for (size_t j = 0; j < request->bulk->item_count; j++) {
            struct output_item *item = &request->bulk->items[j];
            if (is_unsynced(item) && !flush_add(&output->flush, item->index))
                item->outcome = OUTPUT_RETRY; /* with fewer beside it */
        }
    }
    struct err err;
    if (wanted && !flush_start(&output->flush, &err))
        hand_back_synced(output, FLUSH_UNCERTAIN);
}

static void
note_flush(struct output *output, enum flush_verdict verdict)
{
    metrics_add(output->metrics, output->flushes[verdict], 1);
    hand_back_synced(output, verdict);
}

/* A probe told that a node is dead: what it was asked is asked elsewhere. */
static void
leave_node(struct output *output, size_t node)
{
    struct err err;
    err_put_set(&err, ERR_RETRY, 0, "%s", output->server.nodes.items[node].reason);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &output->requests[i];
        if (request->state != REQUEST_FLYING || request->unsendable || request->node != node)
            continue;
        request_end(request);
        try_elsewhere(output, request, &err);
    }
    if (output->flush.flying && output->flush.node == node) {
        flush_give_up(&output->flush);
        note_flush(output, FLUSH_UNCERTAIN);
    }
}

static void
hand_back_unsendable(struct output *output)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &output->requests[i];
        if (request->state != REQUEST_FLYING || !request->unsendable)
            continue;
        struct err err;
        const char *reason = request->bulk->items[0].reason;
        err_put_set(&err, ERR_RETRY, 0, "%s", reason == NULL ? "cannot send" : reason);
        hand_back(request, &err);
    }
}

static bool
any_unsendable(const struct output *output)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (output->requests[i].state == REQUEST_FLYING && output->requests[i].unsendable)
            return true;
    return false;
}

static void
start_probes(struct output *output)
{
    uint64_t *since_ms = output->waiting_since_ms;
    memset(since_ms, 0, output->server.nodes.count * sizeof(*since_ms));
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        const struct request *request = &output->requests[i];
        if (request->state == REQUEST_FLYING && !request->unsendable &&
            (since_ms[request->node] == 0 || request->asked_ms < since_ms[request->node]))
            since_ms[request->node] = request->asked_ms;
    }
    probes_start(&output->probes, since_ms, clock_monotonic_ms());
}

static void
take_message(struct output *output, CURL *easy, CURLcode code)
{
    size_t gone;
    if (easy == output->flush.easy) {
        struct err err;
        note_flush(output, flush_finish(&output->flush, code, &err));
        return;
    }
    if (probes_finish(&output->probes, easy, code, &gone)) {
        if (gone < output->server.nodes.count)
            leave_node(output, gone);
        return;
    }
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct request *request = (struct request *)(void *)private;
    ASSERT(request != NULL);
    ASSERT(request->magic == REQUEST_MAGIC);
    finish_request(output, request, code);
}

static void
count_nodes(struct output *output)
{
    struct metrics *metrics = output->metrics;
    for (size_t i = 0; i < output->server.nodes.count; i++) {
        const struct node *node = &output->server.nodes.items[i];
        const struct node_series *series = &output->node_series[i];
        metrics_set(metrics, series->up, node->state != NODE_DOWN);
        metrics_set(metrics, series->flying, (double)node->flying);
        metrics_add(metrics, series->answers,
                    node->answers - (uint64_t)metrics_value(metrics, series->answers));
        metrics_add(metrics, series->faults,
                    node->faults - (uint64_t)metrics_value(metrics, series->faults));
    }
    metrics_set(metrics, output->limit_series, (double)(size_t)output->limit);
}

static void
elasticsearch_wait(struct output *output, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    ASSERT(count <= WAIT_FDS_MAX);

    struct curl_waitfd waits[WAIT_FDS_MAX];
    for (nfds_t i = 0; i < count; i++)
        waits[i] = (struct curl_waitfd){.fd = fds[i].fd, .events = CURL_WAIT_POLLIN};
    int running = 0;
    start_probes(output);
    curl_multi_perform(output->multi, &running);
    if (any_unsendable(output))
        timeout_ms = 0;
    curl_multi_poll(output->multi, waits, (unsigned)count, timeout_ms, NULL);
    for (nfds_t i = 0; i < count; i++)
        fds[i].revents = (waits[i].revents & CURL_WAIT_POLLIN) != 0 ? POLLIN : 0;
    curl_multi_perform(output->multi, &running);

    hand_back_unsendable(output);
    struct CURLMsg *message;
    int left = 0;
    while ((message = curl_multi_info_read(output->multi, &left)) != NULL)
        if (message->msg == CURLMSG_DONE)
            take_message(output, message->easy_handle, message->data.result);
    if (!output->flush.flying)
        start_flush(output);
    count_nodes(output);
}

static void
elasticsearch_describe(const struct output *output, struct buffer *out)
{
    const struct nodes *nodes = &output->server.nodes;
    buffer_format(out, "search server at %s", nodes->items[0].url);
    if (nodes->count > 1)
        buffer_format(out, " and %zu more, %zu of %zu usable", nodes->count - 1,
                      nodes_usable(nodes), nodes->count);
    if (nodes->items[0].product[0] != '\0')
        buffer_format(out, "; %s", nodes->items[0].product);
    buffer_format(out, "; %zu bulks under way, %d allowed now", output->flying, (int)output->limit);
    if (output->flush.denied)
        buffer_text(out, "; this user may not flush: whether duplicates are on disk is not known");
}

static void
elasticsearch_list(const struct output *output, struct buffer *out)
{
    static const char *const states[] = {"up", "proving", "down"};
    const struct nodes *nodes = &output->server.nodes;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->items[i];
        buffer_format(out, "%s{\"url\":", i == 0 ? "" : ",");
        encode_json_string(out, node->url, strlen(node->url));
        buffer_text(out, ",\"product\":");
        encode_json_string(out, node->product, strlen(node->product));
        buffer_format(out,
                      ",\"state\":\"%s\",\"slow\":%s,\"bulks_under_way\":%zu,\"answered\":%" PRIu64
                      ",\"failed\":%" PRIu64 ",\"answer_ms\":%.1f,\"reason\":",
                      states[node->state], nodes_is_slow(nodes, i) ? "true" : "false", node->flying,
                      node->answers, node->faults, node->answer_ms);
        encode_json_string(out, node->reason, strlen(node->reason));
        buffer_text(out, "}");
    }
}

/* Of the fault of a single node the pipeline tells. */
static const char *
elasticsearch_note(struct output *output, bool *warn)
{
    struct nodes *nodes = &output->server.nodes;
    for (size_t i = 0; i < nodes->count; i++) {
        struct node *node = &nodes->items[i];
        bool changed = node->news && nodes->count > 1;
        int size = 0;
        *warn = changed && node->state == NODE_DOWN;
        node->news = false;
        if (changed) {
            size = snprintf(output->note, sizeof(output->note),
                            "index node %.128s %s%s; %zu of %zu take the bulks", node->url,
                            *warn ? "is left alone for a while: " : "answers again", node->reason,
                            nodes_usable(nodes), nodes->count);
        } else if (node->product_news) {
            node->product_news = false;
            size = snprintf(output->note, sizeof(output->note), "index node %.128s: %s", node->url,
                            node->product);
        }
        if (size > 0)
            return output->note;
    }
    return NULL;
}

static size_t
elasticsearch_check(struct output *output, struct buffer *report)
{
    return check_index(&output->server, output->options, output->custom, report);
}

const struct output_class output_elasticsearch = {
    .name = "elasticsearch",
    .open = elasticsearch_open,
    .close = elasticsearch_close,
    .reload = elasticsearch_reload,
    .prepare = elasticsearch_prepare,
    .retain = elasticsearch_retain,
    .ready = elasticsearch_ready,
    .send = elasticsearch_send,
    .release = elasticsearch_release,
    .wait = elasticsearch_wait,
    .describe = elasticsearch_describe,
    .list = elasticsearch_list,
    .note = elasticsearch_note,
    .check = elasticsearch_check,
};
