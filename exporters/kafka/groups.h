/* SPDX-License-Identifier: Apache-2.0 */
/* groups.h: the stages of a round that ask for consumer groups. librdkafka 2.0.2's older call lists
 * and describes all groups with two requests a broker; its newer one takes two for each group. */
#ifndef EXPORTERS_KAFKA_GROUPS_H
#define EXPORTERS_KAFKA_GROUPS_H

#include "exporters/kafka/round.h"

/* State, coordinator, members and what they were given. */
bool groups_list(struct kafka_round *round, struct err *err) MUST_CHECK;

/* What each of them has committed, many requests under way at once. Offsets that were asked for
 * before the ends of the logs cannot be beyond them. */
bool groups_read_committed(struct kafka_round *round, struct err *err) MUST_CHECK;

#endif
