/* SPDX-License-Identifier: Apache-2.0 */
/* flush.c: see flush.h. */
#include "sinks/elasticsearch/flush.h"

#include <string.h>
#include <yajl/yajl_tree.h>

#include "core/assert.h"
#include "core/clock.h"
#include "sinks/elasticsearch/server.h"

#define NAMES_SIZE_MAX 3500 /* an address line of 4096 bytes is what servers take by default */
#define ANSWER_SIZE_MAX (64 * 1024)
/* A flush of a busy index takes seconds; the bulks behind it wait as for any answer. */
#define FLUSH_TIMEOUT_MS 60000L
#define FLUSH_PATH "/_flush?wait_if_ongoing=true&filter_path=_shards,error"

static size_t
on_flush_bytes(char *bytes, size_t one, size_t size, void *context)
{
    struct buffer *answer = context;
    buffer_append(answer, bytes, size);
    return one * size; /* a longer answer is cut, and then not believed */
}

bool
flush_init(struct flush *flush, struct server *server, CURLM *multi, struct err *err)
{
    *flush = (struct flush){.server = server, .multi = multi};
    buffer_init(&flush->names, NAMES_SIZE_MAX);
    buffer_init(&flush->url, 2 * NAMES_SIZE_MAX);
    buffer_init(&flush->answer, ANSWER_SIZE_MAX);
    flush->headers = server_headers(server, "application/json", false);
    flush->easy = curl_easy_init();
    if (flush->headers == NULL || flush->easy == NULL || !server_set_up(server, flush->easy))
        return err_set(err, ERR_STOP, 0, "cannot open the output: out of memory");
    curl_easy_setopt(flush->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(flush->easy, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(flush->easy, CURLOPT_HTTPHEADER, flush->headers);
    curl_easy_setopt(flush->easy, CURLOPT_TIMEOUT_MS, FLUSH_TIMEOUT_MS);
    curl_easy_setopt(flush->easy, CURLOPT_WRITEFUNCTION, on_flush_bytes);
    curl_easy_setopt(flush->easy, CURLOPT_WRITEDATA, &flush->answer);
    curl_easy_setopt(flush->easy, CURLOPT_ERRORBUFFER, flush->detail);
    return true;
}

void
flush_done(struct flush *flush)
{
    if (flush->flying)
        curl_multi_remove_handle(flush->multi, flush->easy);
    curl_easy_cleanup(flush->easy);
    curl_slist_free_all(flush->headers);
    buffer_done(&flush->names);
    buffer_done(&flush->url);
    buffer_done(&flush->answer);
}

bool
flush_add(struct flush *flush, const char *index)
{
    ASSERT(!flush->flying);

    size_t size = strlen(index);
    const char *names = buffer_string(&flush->names);
    for (const char *at = strstr(names, index); at != NULL; at = strstr(at + 1, index))
        if ((at == names || at[-1] == ',') && (at[size] == ',' || at[size] == '\0'))
            return true;
    if (flush->names.size + 1 + size >= NAMES_SIZE_MAX)
        return false;
    if (flush->names.size > 0)
        buffer_text(&flush->names, ",");
    buffer_text(&flush->names, index);
    return !flush->names.failed;
}

bool
flush_start(struct flush *flush, struct err *err)
{
    ASSERT(!flush->flying);

    flush->node = nodes_pick(&flush->server->nodes);
    flush->asked_ms = clock_monotonic_ms();
    flush->detail[0] = '\0';
    buffer_clear(&flush->answer);
    buffer_clear(&flush->url);
    buffer_format(&flush->url, "%s/%s" FLUSH_PATH, flush->server->nodes.items[flush->node].url,
                  buffer_string(&flush->names));
    buffer_clear(&flush->names);
    /* Refused, it would leave the address of the last flush. */
    if (flush->url.failed ||
        curl_easy_setopt(flush->easy, CURLOPT_URL, buffer_string(&flush->url)) != CURLE_OK)
        return err_set(err, ERR_RETRY, 0, "cannot flush: out of memory");
    CURLMcode code = curl_multi_add_handle(flush->multi, flush->easy);
    if (code != CURLM_OK)
        return err_set(err, ERR_RETRY, 0, "cannot flush: %s", curl_multi_strerror(code));
    flush->flying = true;
    return true;
}

/* "_shards": {"total": 2, "successful": 1, "failed": 0}: replicas that are nowhere are not
 * failed. */
static bool
all_shards_flushed(struct buffer *answer)
{
    static const char *failed_path[] = {"_shards", "failed", NULL};
    static const char *successful_path[] = {"_shards", "successful", NULL};
    yajl_val root = answer->failed ? NULL : yajl_tree_parse(buffer_string(answer), NULL, 0);
    yajl_val failed = yajl_tree_get(root, failed_path, yajl_t_number);
    yajl_val successful = yajl_tree_get(root, successful_path, yajl_t_number);
    bool fine = YAJL_IS_INTEGER(failed) && YAJL_GET_INTEGER(failed) == 0 &&
                YAJL_IS_INTEGER(successful) && YAJL_GET_INTEGER(successful) > 0;
    yajl_tree_free(root);
    return fine;
}

enum flush_verdict
flush_finish(struct flush *flush, CURLcode code, struct err *err)
{
    ASSERT(flush->flying);

    long status = 0;
    curl_easy_getinfo(flush->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(flush->multi, flush->easy);
    flush->flying = false;
    if (code != CURLE_OK || server_is_away(status)) {
        server_failed(flush->server, flush->node, code, status, flush->detail, flush->asked_ms,
                      err);
        return FLUSH_UNCERTAIN;
    }
    nodes_answered(&flush->server->nodes, flush->node, -1);
    if (status == 200 && all_shards_flushed(&flush->answer)) {
        flush->denied = false;
        return FLUSH_SYNCED;
    }
    err_put_set(err, ERR_RETRY, (int)status, "%s does not flush: HTTP %ld: %.200s",
                flush->server->nodes.items[flush->node].url, status, buffer_string(&flush->answer));
    flush->denied = status == 401 || status == 403 || status == 405;
    return flush->denied ? FLUSH_DENIED : FLUSH_UNCERTAIN;
}

void
flush_give_up(struct flush *flush)
{
    ASSERT(flush->flying);
    curl_multi_remove_handle(flush->multi, flush->easy);
    flush->flying = false;
}
