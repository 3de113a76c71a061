/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c: bench-copy, the least that a sink on librdkafka and libcurl can cost: records are taken
 * in batches, copied into a body, and posted by one handle, one request at a time. Nothing is
 * parsed, checked, retried or committed. Ends when COUNT records are posted.
 *     bench-copy TOPIC COUNT URL BODY_BYTES GZIP_LEVEL [name=value ...]
 * GZIP_LEVEL 0 is none; zlib does it. One line of JSON on standard output. */
#include <curl/curl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "bench/agent/client.h"

#define RECORDS_AT_ONCE 1000
#define BEFORE "{\"create\":{\"_id\":\""
#define BETWEEN "\"}}\n"

static size_t
on_answer(char *bytes, size_t one, size_t size, void *context)
{
    (void)bytes;
    *(size_t *)context += size;
    return one * size;
}

static void
put(char **out, const void *bytes, size_t size)
{
    memcpy(*out, bytes, size);
    *out += size;
}

static void
post(CURL *easy, const char *body, size_t size)
{
    long status = 0;
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200)
        fail("post", curl_easy_strerror(code));
}

static rd_kafka_queue_t *
open_topic(rd_kafka_t *client, const char *topic)
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(1);
    const struct rd_kafka_metadata *about;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    if (rd_kafka_metadata(client, 0, handle, &about, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail(topic, "no metadata");
    for (int i = 0; i < about->topics[0].partition_cnt; i++)
        rd_kafka_topic_partition_list_add(all, topic, about->topics[0].partitions[i].id)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(client, all);
    rd_kafka_metadata_destroy(about);
    rd_kafka_topic_destroy(handle);
    rd_kafka_topic_partition_list_destroy(all);
    return rd_kafka_queue_get_consumer(client);
}

static CURL *
open_index(const char *url, bool zipped, size_t *answered)
{
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
    headers = curl_slist_append(headers, "Expect:");
    if (zipped)
        headers = curl_slist_append(headers, "Content-Encoding: gzip");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answered);
    return easy;
}

int
main(int argc, char **argv)
{
    if (argc < 6)
        fail("bench-copy", "TOPIC COUNT URL BODY_BYTES GZIP_LEVEL [name=value ...]");
    uint64_t count = number(argv[2]);
    size_t body_bytes = number(argv[4]);
    int level = (int)number(argv[5]);
    rd_kafka_conf_t *conf = client_conf(argv + 6);
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, conf);
    rd_kafka_queue_t *queue = open_topic(client, argv[1]);

    size_t answered = 0;
    CURL *easy = open_index(argv[3], level > 0, &answered);
    z_stream deflate_stream = {0};
    if (level > 0 &&
        deflateInit2(&deflate_stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        fail("deflate", "cannot start");
    char *body = malloc(body_bytes + (4U << 20));
    size_t packed_max = deflateBound(&deflate_stream, body_bytes + (4U << 20));
    char *packed = malloc(packed_max);
    if (body == NULL || packed == NULL)
        fail("body", "out of memory");

    static rd_kafka_message_t *messages[RECORDS_AT_ONCE];
    char *out = body;
    uint64_t taken = 0;
    uint64_t started_ns = wall_ns();
    uint64_t started_cpu_ns = cpu_ns();
    while (taken < count) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 1000, messages, RECORDS_AT_ONCE);
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                put(&out, BEFORE, sizeof(BEFORE) - 1);
                put(&out, messages[i]->key, messages[i]->key_len);
                put(&out, BETWEEN, sizeof(BETWEEN) - 1);
                put(&out, messages[i]->payload, messages[i]->len);
                put(&out, "\n", 1);
                taken++;
            }
            rd_kafka_message_destroy(messages[i]);
        }
        if ((size_t)(out - body) < body_bytes && taken < count)
            continue;
        size_t size = (size_t)(out - body);
        if (level > 0) {
            deflateReset(&deflate_stream);
            deflate_stream.next_in = (unsigned char *)body;
            deflate_stream.avail_in = (unsigned)size;
            deflate_stream.next_out = (unsigned char *)packed;
            deflate_stream.avail_out = (unsigned)packed_max;
            if (deflate(&deflate_stream, Z_FINISH) != Z_STREAM_END)
                fail("deflate", "did not end");
            post(easy, packed, packed_max - deflate_stream.avail_out);
        } else {
            post(easy, body, size);
        }
        out = body;
    }
    printf("{\"records\":%" PRIu64 ",\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"answers\":%zu}\n",
           taken, (double)(wall_ns() - started_ns) / 1e9, (double)(cpu_ns() - started_cpu_ns) / 1e9,
           answered);
    free(packed);
    free(body);
    return 0;
}
