/* SPDX-License-Identifier: Apache-2.0 */
/* ends.h: the stage of a round that asks where the logs begin and end, and what is younger than the
 * objective: one request carries hundreds of partitions of one leader, several are under way. */
#ifndef EXPORTERS_KAFKA_ENDS_H
#define EXPORTERS_KAFKA_ENDS_H

#include "exporters/kafka/round.h"

bool ends_read(struct kafka_round *round, struct err *err) MUST_CHECK;

#endif
