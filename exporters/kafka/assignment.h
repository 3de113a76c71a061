/* SPDX-License-Identifier: Apache-2.0 */
/* assignment.h: what a member of a consumer group was given, in the form of Kafka's
 * ConsumerProtocolAssignment (clients/src/main/resources/common/message): int16 version, then an
 * array of (topic as int16 size and bytes, array of int32 partitions). Pure. */
#ifndef EXPORTERS_KAFKA_ASSIGNMENT_H
#define EXPORTERS_KAFKA_ASSIGNMENT_H

#include <stdbool.h>
#include <stddef.h>

#define ASSIGNMENT_TOPIC_MAX 249 /* Kafka's longest topic name */

/* Calls `each` for every topic. False when the bytes are not of this form; what came before the
 * damage was told. `topic` is terminated and lives for the call. */
bool assignment_read(const void *bytes, size_t size,
                     void (*each)(void *context, const char *topic, size_t partitions),
                     void *context);

#endif
