/* SPDX-License-Identifier: Apache-2.0 */
/* read.c: bench-read, who knows what arrived: reads a topic, finds the number of each line in
 * whatever form a program gave it, and tells how many are lost and doubled, and how long after
 * its write each was here. Reads until it has LINES different lines, and then what is left; or
 * until nothing came for PATIENCE seconds. With DUMP also writes keys and values for bench-send.
 * One line of JSON on standard output. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/agent/client.h"

#define DRAIN_MS 1500 /* after the last line: do more come, doubled ones? */
#define BUCKET_NS 100000ULL
#define BUCKETS 600000 /* a minute */
#define ASK_TIMEOUT_MS 30000

struct tally {
    unsigned char *seen;
    uint64_t lines;
    uint64_t found, doubled, foreign, records;
    uint64_t value_bytes;
    uint32_t *latencies; /* records per BUCKET_NS */
    FILE *dump;
};

/* The digits behind the mark, wherever it stands; false: the record has none. */
static bool
digits_after(const rd_kafka_message_t *message, const char *mark, size_t digits, uint64_t *out)
{
    const char *bytes = message->payload;
    const char *at = bytes == NULL ? NULL : memmem(bytes, message->len, mark, strlen(mark));
    if (at == NULL || (size_t)(bytes + message->len - at) < strlen(mark) + digits)
        return false;
    at += strlen(mark);
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(at[i] - '0');
    }
    return true;
}

static void
dump_record(FILE *dump, const rd_kafka_message_t *message)
{
    uint32_t sizes[2] = {(uint32_t)message->key_len, (uint32_t)message->len};
    if (fwrite(sizes, sizeof(sizes), 1, dump) != 1 ||
        fwrite(message->key, 1, message->key_len, dump) != message->key_len ||
        fwrite(message->payload, 1, message->len, dump) != message->len)
        fail("cannot write", "the dump");
}

static void
take(rd_kafka_message_t *message, void *context)
{
    struct tally *tally = context;
    uint64_t line;
    uint64_t sent;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail("cannot read", rd_kafka_message_errstr(message));
    tally->records++;
    tally->value_bytes += message->len;
    if (!digits_after(message, LINE_MARK, LINE_DIGITS, &line) ||
        !digits_after(message, SENT_MARK, SENT_DIGITS, &sent) || line >= tally->lines) {
        tally->foreign++;
        return;
    }
    unsigned char bit = (unsigned char)(1U << (line & 7));
    if ((tally->seen[line >> 3] & bit) != 0) {
        tally->doubled++;
        return;
    }
    tally->seen[line >> 3] |= bit;
    tally->found++;
    uint64_t now = wall_ns();
    uint64_t bucket = now > sent ? (now - sent) / BUCKET_NS : 0;
    tally->latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (tally->dump != NULL)
        dump_record(tally->dump, message);
}

/* By callback: rd_kafka_consume_batch_queue would wait until it has as many as it was asked for,
 * and that wait would count as latency. */
static void
read_topic(struct tally *tally, rd_kafka_queue_t *queue, uint64_t patience_ms)
{
    uint64_t last_ns = wall_ns();
    for (;;) {
        uint64_t before = tally->records;
        (void)rd_kafka_consume_callback_queue(queue, 200, take, tally);
        uint64_t now_ns = wall_ns();
        if (tally->records > before)
            last_ns = now_ns;
        uint64_t wait_ms = tally->found == tally->lines ? DRAIN_MS : patience_ms;
        if ((now_ns - last_ns) / 1000000 > wait_ms)
            return;
    }
}

static double
latency_ms(const struct tally *tally, double share)
{
    uint64_t wanted = (uint64_t)((double)tally->found * share);
    uint64_t count = 0;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        count += tally->latencies[i];
        if (count > wanted)
            return (double)(i + 1) * (double)BUCKET_NS / 1e6;
    }
    return 0;
}

/* The old consumer API: no group, every partition from its beginning. */
static int
start_all(rd_kafka_t *client, rd_kafka_topic_t *topic, rd_kafka_queue_t *queue)
{
    const struct rd_kafka_metadata *found = NULL;
    if (rd_kafka_metadata(client, 0, topic, &found, ASK_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        found->topic_cnt != 1 || found->topics[0].partition_cnt == 0)
        fail(rd_kafka_topic_name(topic), "the broker does not answer, or there is no such topic");
    int count = found->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(found);
    for (int i = 0; i < count; i++)
        if (rd_kafka_consume_start_queue(topic, i, RD_KAFKA_OFFSET_BEGINNING, queue) != 0)
            fail("cannot read", rd_kafka_err2str(rd_kafka_last_error()));
    return count;
}

int
main(int argc, char **argv)
{
    if (argc < 5)
        fail("usage", "bench-read TOPIC LINES PATIENCE_SECONDS DUMP|- [property=value]...");
    struct tally tally = {.lines = number(argv[2])};
    tally.seen = calloc(tally.lines / 8 + 1, 1);
    tally.latencies = calloc(BUCKETS, sizeof(tally.latencies[0]));
    if (tally.seen == NULL || tally.latencies == NULL)
        fail("bench-read", "out of memory");
    if (strcmp(argv[4], "-") != 0 && (tally.dump = fopen(argv[4], "wb")) == NULL)
        fail(argv[4], "cannot be written");
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, client_conf(argv + 5));
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, argv[1], NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    int partitions = start_all(client, topic, queue);
    read_topic(&tally, queue, number(argv[3]) * 1000);
    for (int i = 0; i < partitions; i++)
        (void)rd_kafka_consume_stop(topic, i);
    (void)printf("{\"records\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"doubled\": %" PRIu64
                 ", \"foreign\": %" PRIu64 ", \"value_bytes\": %" PRIu64
                 ", \"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f}\n",
                 tally.records, tally.lines - tally.found, tally.doubled, tally.foreign,
                 tally.value_bytes, latency_ms(&tally, 0.5), latency_ms(&tally, 0.99),
                 latency_ms(&tally, 1.0 - 1e-9));
    if (tally.dump != NULL && fclose(tally.dump) != 0)
        fail("cannot write", "the dump");
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    free(tally.seen);
    free(tally.latencies);
    return 0;
}
