/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c: see probe.h. */
#include "sinks/elasticsearch/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/elasticsearch/server.h"

#define ANSWER_SIZE_MAX (64 * 1024)

static size_t
on_probe_bytes(char *bytes, size_t one, size_t size, void *context)
{
    struct buffer *answer = context;
    buffer_append(answer, bytes, size);
    return answer->failed ? 0 : one * size;
}

static bool
probe_open(const struct server *server, struct probe *probe)
{
    buffer_init(&probe->answer, ANSWER_SIZE_MAX);
    probe->easy = curl_easy_init();
    if (probe->easy == NULL || !server_set_up(server, probe->easy))
        return false;
    curl_easy_setopt(probe->easy, CURLOPT_HTTPHEADER, server->headers);
    curl_easy_setopt(probe->easy, CURLOPT_TIMEOUT_MS, PROBE_TIMEOUT_MS);
    curl_easy_setopt(probe->easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(probe->easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(probe->easy, CURLOPT_WRITEFUNCTION, on_probe_bytes);
    curl_easy_setopt(probe->easy, CURLOPT_WRITEDATA, &probe->answer);
    curl_easy_setopt(probe->easy, CURLOPT_ERRORBUFFER, probe->detail);
    return true;
}

bool
probes_init(struct probes *probes, struct server *server, CURLM *multi, struct err *err)
{
    *probes = (struct probes){.server = server, .multi = multi};
    probes->items = calloc(server->nodes.count, sizeof(*probes->items));
    for (size_t i = 0; i < server->nodes.count; i++)
        if (probes->items == NULL || !probe_open(server, &probes->items[i]))
            return err_set(err, ERR_STOP, ENOMEM, "cannot open the output: out of memory");
    return true;
}

void
probes_done(struct probes *probes)
{
    for (size_t i = 0; probes->items != NULL && i < probes->server->nodes.count; i++) {
        struct probe *probe = &probes->items[i];
        if (probe->flying)
            curl_multi_remove_handle(probes->multi, probe->easy);
        curl_easy_cleanup(probe->easy);
        buffer_done(&probe->answer);
    }
    free(probes->items);
    *probes = (struct probes){0};
}

static bool
is_due(const struct probes *probes, size_t i, uint64_t waiting_since_ms, uint64_t now_ms)
{
    const struct node *node = &probes->server->nodes.items[i];
    const struct probe *probe = &probes->items[i];
    if (probe->flying)
        return false;
    if (probe->asked_ms == 0)
        return true; /* what product is it? */
    if (node->state == NODE_DOWN)
        return now_ms >= node->down_until_ms;
    return probes->server->nodes.count > 1 && waiting_since_ms > 0 &&
           now_ms >= waiting_since_ms + PROBE_SILENCE_MS &&
           now_ms >= probe->asked_ms + PROBE_SILENCE_MS;
}

static void
start(struct probes *probes, size_t i, uint64_t now_ms)
{
    struct probe *probe = &probes->items[i];
    probe->asked_ms = now_ms;
    probe->detail[0] = '\0';
    buffer_clear(&probe->answer);
    char *url;
    if (asprintf(&url, "%s/", probes->server->nodes.items[i].url) < 0)
        return;
    CURLcode code = curl_easy_setopt(probe->easy, CURLOPT_URL, url);
    free(url);
    probe->flying =
        code == CURLE_OK && curl_multi_add_handle(probes->multi, probe->easy) == CURLM_OK;
}

void
probes_start(struct probes *probes, const uint64_t *waiting_since_ms, uint64_t now_ms)
{
    for (size_t i = 0; i < probes->server->nodes.count; i++)
        if (is_due(probes, i, waiting_since_ms[i], now_ms))
            start(probes, i, now_ms);
}

/* Nodes of one cluster mostly are of one version: told once. */
static bool
is_new_product(const struct nodes *nodes, const char *product)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (strcmp(nodes->items[i].product, product) == 0)
            return false;
    return true;
}

bool
probes_finish(struct probes *probes, CURL *easy, CURLcode code, size_t *gone)
{
    struct nodes *nodes = &probes->server->nodes;
    *gone = nodes->count;
    size_t i = 0;
    while (i < nodes->count && probes->items[i].easy != easy)
        i++;
    if (i == nodes->count)
        return false;
    struct probe *probe = &probes->items[i];
    ASSERT(probe->flying);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(probes->multi, easy);
    probe->flying = false;
    /* A page that is too long for us is an answer as well. */
    if ((code == CURLE_OK || probe->answer.failed) && !server_is_away(status)) {
        char product[NODE_PRODUCT_SIZE];
        probe_read_product(&probe->answer, status, product);
        nodes->items[i].product_news |= is_new_product(nodes, product);
        memcpy(nodes->items[i].product, product, sizeof(product));
        nodes_probed(nodes, i);
        return true;
    }
    /* The first question alone blames nobody: bulks may pass where `/` does not. */
    if (nodes->items[i].state == NODE_UP && nodes->items[i].flying == 0)
        return true;
    struct err err;
    server_failed(probes->server, i, code, status, probe->detail, probe->asked_ms, &err);
    *gone = i;
    return true;
}

/* {"version":{"number":"2.19.1","distribution":"opensearch"}}. The number alone is not enough:
 * OpenSearch can be told to say 7.10.2. */
void
probe_read_product(struct buffer *answer, long status, char out[NODE_PRODUCT_SIZE])
{
    static const char *number_path[] = {"version", "number", NULL};
    static const char *distribution_path[] = {"version", "distribution", NULL};
    static const char *tagline_path[] = {"tagline", NULL};
    yajl_val root = answer->failed ? NULL : yajl_tree_parse(buffer_string(answer), NULL, 0);
    const char *number = YAJL_GET_STRING(yajl_tree_get(root, number_path, yajl_t_string));
    const char *made_by = YAJL_GET_STRING(yajl_tree_get(root, distribution_path, yajl_t_string));
    const char *tagline = YAJL_GET_STRING(yajl_tree_get(root, tagline_path, yajl_t_string));
    int size;
    if (number == NULL)
        size = snprintf(out, NODE_PRODUCT_SIZE, "unknown (HTTP %ld)", status);
    else if (made_by != NULL && strcmp(made_by, "opensearch") == 0)
        size = snprintf(out, NODE_PRODUCT_SIZE, "OpenSearch %.32s", number);
    else if (tagline != NULL && strcmp(tagline, "You Know, for Search") == 0)
        size = snprintf(out, NODE_PRODUCT_SIZE, "Elasticsearch %.32s", number);
    else
        size = snprintf(out, NODE_PRODUCT_SIZE, "%.24s %.32s", made_by == NULL ? "?" : made_by,
                        number);
    ASSERT(size > 0);
    yajl_tree_free(root);
}
