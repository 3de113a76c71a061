/* SPDX-License-Identifier: Apache-2.0 */
/* A member's assignment is whatever its group's leader wrote. What is told of it was in the bytes:
 * written down again, the topics are those that were read, one behind the other. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/assert.h"
#include "exporters/kafka/assignment.h"

#define HEAD_SIZE (2 + 4) /* version, count of topics */

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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reading reading = {.data = data, .size = size, .at = HEAD_SIZE};
    bool whole = assignment_read(data, size, check_topic, &reading);
    ASSERT(!whole || size >= HEAD_SIZE);
    ASSERT(!whole || reading.topics == number_at(data + 2, 4));
    return 0;
}
