/* SPDX-License-Identifier: Apache-2.0 */
/* What the Kafka collector reads that others wrote; the first byte says which.
 *
 * 'a': a member's assignment, which is whatever its group's leader wrote. What is told of it was in
 * the bytes: the topics that were told are those of the bytes, one behind the other.
 * Others: librdkafka's statistics. What is kept of them are figures that make sense, and the page
 * is whole lines; what is no document leaves the last one as it was. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "core/buffer.h"
#include "exporters/kafka/assignment.h"
#include "exporters/kafka/brokers.h"
#include "exporters/page.h"

#define HEAD_SIZE (2 + 4) /* of an assignment: version, count of topics */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    const uint8_t *data;
    size_t size;
    size_t at; /* the end of what was told */
    uint32_t topics;
};

static uint32_t
number_at(const uint8_t *data, size_t size)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | data[i];
    return number;
}

static void
check_topic(void *context, const char *topic, size_t partitions)
{
    struct reading *reading = context;
    const uint8_t *from = reading->data + reading->at;
    ASSERT(reading->at + 2 + 4 <= reading->size);
    size_t name_size = number_at(from, 2);
    ASSERT(name_size <= ASSIGNMENT_TOPIC_MAX);
    ASSERT(reading->at + 2 + name_size + 4 <= reading->size);
    ASSERT(memcmp(from + 2, topic, name_size) == 0 && topic[name_size] == '\0');
    ASSERT(number_at(from + 2 + name_size, 4) == partitions);
    reading->at += 2 + name_size + 4 + partitions * 4;
    ASSERT(reading->at <= reading->size);
    reading->topics++;
}

static void
read_assignment(const uint8_t *data, size_t size)
{
    struct reading reading = {.data = data, .size = size, .at = HEAD_SIZE};
    bool whole = assignment_read(data, size, check_topic, &reading);
    ASSERT(!whole || size >= HEAD_SIZE);
    ASSERT(!whole || reading.topics == number_at(data + 2, 4));
}

static bool
is_figure(double value)
{
    return value == -1 || (value >= 0 && isfinite(value));
}

static void
check_brokers(const struct brokers *brokers)
{
    for (size_t i = 0; i < brokers->count; i++) {
        const struct broker_stats *broker = &brokers->items[i];
        ASSERT(broker->id >= 0);
        ASSERT(is_figure(broker->rtt_p50_s));
        ASSERT(is_figure(broker->rtt_p99_s));
        ASSERT(is_figure(broker->throttle_s));
        ASSERT(broker->errors <= INT64_MAX && broker->timeouts <= INT64_MAX);
        ASSERT(strlen(broker->state) < sizeof(broker->state));
    }
}

static void
check_page(const struct brokers *brokers)
{
    struct page page;
    page_init(&page, 1000);
    brokers_put(brokers, &page);
    page_end(&page);
    const struct page *pages[] = {&page};
    struct buffer out;
    buffer_init(&out, 1U << 24);
    page_render(pages, 1, METRIC_PAGE_TEXT, NULL, &out);
    ASSERT(out.size == 0 || out.bytes[out.size - 1] == '\n');
    buffer_done(&out);
    page_done(&page);
}

static void
read_statistics(const uint8_t *data, size_t size)
{
    static const char first[] = "{\"brokers\":{\"x\":{\"nodeid\":7}}}";
    struct brokers brokers = {0};
    ASSERT(brokers_read(&brokers, first, sizeof(first) - 1));
    ASSERT(brokers.count == 1 && brokers.items[0].id == 7);
    if (!brokers_read(&brokers, (const char *)data, size))
        ASSERT(brokers.count == 1 && brokers.items[0].id == 7);
    check_brokers(&brokers);
    check_page(&brokers);
    brokers_done(&brokers);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] == 'a')
        read_assignment(data + 1, size - 1);
    else
        read_statistics(data + 1, size - 1);
    return 0;
}
