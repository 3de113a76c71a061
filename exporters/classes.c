/* SPDX-License-Identifier: Apache-2.0 */
/* classes.c: the table of remote collectors, in the order of the page. */
#include "exporters/kafka/kafka.h"
#include "exporters/probe/probe.h"
#include "exporters/remote.h"

const struct remote_class *const remote_classes[] = {
    &kafka_remote,
    &probe_remote,
};
const size_t remote_class_count = sizeof(remote_classes) / sizeof(remote_classes[0]);
