/* SPDX-License-Identifier: Apache-2.0 */
/* send.c: bench-send, the least that a program on librdkafka can cost: records that were made
 * beforehand go to one partition with rd_kafka_produce_batch, without a copy. What is measured
 * begins with the first record and ends with the last delivery report; reading the file is not
 * in it. WINDOW bounds the records under way (0: nothing does). With MEMORY only so many bytes of
 * the file are held and sent again and again: what stays in the processor's caches costs less.
 * One line of JSON on standard output. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/agent/client.h"

#define RECORDS_AT_ONCE 512 /* as many as the agent hands over with one call */
#define PREPARE_TIMEOUT_MS 30000

/* The file: for each record two 32-bit sizes, then the key's bytes, then the value's. All that can
 * be prepared is: not even the sizes are looked at while it counts. */
struct records {
    rd_kafka_message_t *messages;
    size_t count;
};

static uint64_t reported;
static uint64_t refused;

static void
on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *context)
{
    (void)client;
    (void)context;
    reported++;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        refused++;
}

/* The first `memory` bytes of the file, 0: all of it. */
static char *
load(const char *path, size_t memory, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0)
        fail(path, strerror(errno));
    *size = (size_t)about.st_size;
    if (memory > 0 && memory < *size)
        *size = memory;
    char *bytes = malloc(*size);
    if (bytes == NULL)
        fail(path, strerror(errno));
    for (size_t at = 0; at < *size;) {
        ssize_t got = read(fd, bytes + at, *size - at);
        if (got <= 0)
            fail(path, strerror(errno));
        at += (size_t)got;
    }
    (void)close(fd);
    return bytes;
}

static struct records
prepare(char *bytes, size_t size, size_t count_max)
{
    struct records records = {calloc(count_max, sizeof(rd_kafka_message_t)), 0};
    if (records.messages == NULL)
        fail("bench-send", "out of memory");
    for (size_t at = 0; records.count < count_max; records.count++) {
        uint32_t sizes[2];
        if (size - at < sizeof(sizes))
            break;
        memcpy(sizes, bytes + at, sizeof(sizes));
        at += sizeof(sizes);
        if (size - at < sizes[0] + (size_t)sizes[1])
            break;
        records.messages[records.count] = (rd_kafka_message_t){.key = bytes + at,
                                                               .key_len = sizes[0],
                                                               .payload = bytes + at + sizes[0],
                                                               .len = sizes[1]};
        at += sizes[0] + (size_t)sizes[1];
    }
    if (records.count == 0)
        fail("bench-send", "no record");
    return records;
}

/* Never more than `window` records under way, 0: as many as there are. */
static void
send_all(rd_kafka_t *client, rd_kafka_topic_t *topic, const struct records *records, uint64_t total,
         uint64_t window)
{
    size_t at = 0;
    for (uint64_t sent = 0; sent < total;) {
        size_t count = RECORDS_AT_ONCE;
        if (count > records->count - at)
            count = records->count - at;
        if (count > total - sent)
            count = total - sent;
        while (window > 0 && sent + count > reported + window)
            (void)rd_kafka_poll(client, 1000);
        if (rd_kafka_produce_batch(topic, 0, 0, records->messages + at, (int)count) != (int)count)
            fail("cannot send", rd_kafka_err2str(rd_kafka_last_error()));
        sent += count;
        at = at + count == records->count ? 0 : at + count;
        (void)rd_kafka_poll(client, 0);
    }
    while (reported < total)
        (void)rd_kafka_poll(client, 1000);
}

int
main(int argc, char **argv)
{
    if (argc < 6)
        fail("usage", "bench-send FILE TOPIC RECORDS WINDOW MEMORY [property=value]...");
    uint64_t total = number(argv[3]);
    size_t size = 0;
    char *bytes = load(argv[1], number(argv[5]), &size);
    struct records records = prepare(bytes, size, total);
    rd_kafka_conf_t *conf = client_conf(argv + 6);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_t *client = client_new(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, argv[2], NULL);
    const struct rd_kafka_metadata *found = NULL;
    if (topic == NULL || rd_kafka_metadata(client, 0, topic, &found, PREPARE_TIMEOUT_MS) !=
                             RD_KAFKA_RESP_ERR_NO_ERROR)
        fail(argv[2], "the broker does not answer");
    rd_kafka_metadata_destroy(found);

    uint64_t cpu = cpu_ns();
    uint64_t start = wall_ns();
    send_all(client, topic, &records, total, number(argv[4]));
    uint64_t wall = wall_ns() - start;
    cpu = cpu_ns() - cpu;
    (void)printf("{\"records\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"cpu_ns\": %" PRIu64
                 ", \"wall_ns\": %" PRIu64 "}\n",
                 total, refused, cpu, wall);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    free(records.messages);
    free(bytes);
    return refused == 0 ? 0 : 1;
}
