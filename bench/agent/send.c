/* SPDX-License-Identifier: Apache-2.0 */
/* send.c: bench-send, the least that a program on librdkafka can cost: records that were made
 * beforehand go to one partition with rd_kafka_produce_batch, without a copy. What is measured
 * begins with the first record and ends with the last delivery report; reading the file is not
 * in it. One line of JSON on standard output. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/agent/client.h"

#define RECORDS_AT_ONCE 512 /* as many as the agent hands over with one call */
#define PREPARE_TIMEOUT_MS 30000

/* The file: for each record two 32-bit sizes, then the key's bytes, then the value's. */
struct records {
    const char *at, *end;
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

static struct records
records_map(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0)
        fail(path, strerror(errno));
    /* The library only reads the bytes, whatever the type of `payload` says. */
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED)
        fail(path, strerror(errno));
    (void)close(fd);
    return (struct records){bytes, (const char *)bytes + about.st_size};
}

static bool
record_next(struct records *records, rd_kafka_message_t *message)
{
    uint32_t sizes[2];
    if ((size_t)(records->end - records->at) < sizeof(sizes))
        return false;
    memcpy(sizes, records->at, sizeof(sizes));
    char *key = (char *)(uintptr_t)(records->at + sizeof(sizes));
    *message = (rd_kafka_message_t){
        .key = key, .key_len = sizes[0], .payload = key + sizes[0], .len = sizes[1]};
    records->at += sizeof(sizes) + sizes[0] + sizes[1];
    return true;
}

/* Sends all; never more than `window` records under way, 0: as many as there are. */
static uint64_t
send_all(rd_kafka_t *client, rd_kafka_topic_t *topic, struct records *records, uint64_t window)
{
    static rd_kafka_message_t messages[RECORDS_AT_ONCE];
    uint64_t sent = 0;
    int count = 0;
    do {
        count = 0;
        while (count < RECORDS_AT_ONCE && record_next(records, &messages[count]))
            count++;
        while (window > 0 && sent + (uint64_t)count > reported + window)
            (void)rd_kafka_poll(client, 1000);
        if (rd_kafka_produce_batch(topic, 0, 0, messages, count) != count)
            fail("cannot send", rd_kafka_err2str(rd_kafka_last_error()));
        sent += (uint64_t)count;
        (void)rd_kafka_poll(client, 0);
    } while (count == RECORDS_AT_ONCE);
    while (reported < sent)
        (void)rd_kafka_poll(client, 1000);
    return sent;
}

int
main(int argc, char **argv)
{
    if (argc < 4)
        fail("usage", "bench-send FILE TOPIC WINDOW [property=value]...");
    struct records records = records_map(argv[1]);
    rd_kafka_conf_t *conf = client_conf(argv + 4);
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
    uint64_t sent = send_all(client, topic, &records, number(argv[3]));
    uint64_t wall = wall_ns() - start;
    cpu = cpu_ns() - cpu;
    (void)printf("{\"records\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"cpu_ns\": %" PRIu64
                 ", \"wall_ns\": %" PRIu64 "}\n",
                 sent, refused, cpu, wall);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    return refused == 0 ? 0 : 1;
}
