/* SPDX-License-Identifier: Apache-2.0 */
/* kafka.h: the collector of one Kafka cluster: topics, consumer groups, lag. One client, without a
 * subscription and without a group of its own; it writes nothing. It needs Describe on the cluster,
 * the topics and the groups, and DescribeConfigs on the topics. */
#ifndef EXPORTERS_KAFKA_KAFKA_H
#define EXPORTERS_KAFKA_KAFKA_H

#include "core/err.h"
#include "exporters/remote.h"

extern const struct remote_class kafka_remote;

/* What the table of options cannot say. The texts of the first begin with an option's name, those
 * of the second with the place of the property. */
bool kafka_check(const struct exporter_options *options, struct err *err) MUST_CHECK;
bool kafka_check_properties(const struct exporter_options *options, struct err *err) MUST_CHECK;

#endif
