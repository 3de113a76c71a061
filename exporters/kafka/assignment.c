/* SPDX-License-Identifier: Apache-2.0 */
/* assignment.c: see assignment.h. */
#include "exporters/kafka/assignment.h"

#include <stdint.h>
#include <string.h>

struct bytes {
    const unsigned char *at;
    size_t left;
};

/* A big-endian number of 2 or 4 bytes. */
static bool
read_number(struct bytes *bytes, size_t size, uint32_t *out)
{
    if (bytes->left < size)
        return false;
    *out = 0;
    for (size_t i = 0; i < size; i++)
        *out = *out << 8 | bytes->at[i];
    bytes->at += size;
    bytes->left -= size;
    return true;
}

bool
assignment_read(const void *raw, size_t size,
                void (*each)(void *context, const char *topic, size_t partitions), void *context)
{
    struct bytes bytes = {raw, size};
    uint32_t version;
    uint32_t topics;
    if (!read_number(&bytes, 2, &version) || !read_number(&bytes, 4, &topics))
        return false;
    for (uint32_t i = 0; i < topics; i++) {
        char topic[ASSIGNMENT_TOPIC_MAX + 1];
        uint32_t name_size;
        uint32_t partitions;
        if (!read_number(&bytes, 2, &name_size) || name_size > ASSIGNMENT_TOPIC_MAX ||
            bytes.left < name_size)
            return false;
        memcpy(topic, bytes.at, name_size);
        topic[name_size] = '\0';
        bytes.at += name_size;
        bytes.left -= name_size;
        if (!read_number(&bytes, 4, &partitions) || partitions > bytes.left / 4)
            return false;
        bytes.at += (size_t)partitions * 4;
        bytes.left -= (size_t)partitions * 4;
        each(context, topic, partitions);
    }
    return true;
}
