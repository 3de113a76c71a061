/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h: the stage of a round that asks for settings of topics, now and then: those that say
 * whether acknowledged records can be lost, and when they are deleted. */
#ifndef EXPORTERS_KAFKA_SETTINGS_H
#define EXPORTERS_KAFKA_SETTINGS_H

#include "exporters/kafka/round.h"

/* Those of topics of which nothing is known, or `all`. */
bool settings_read(struct kafka_round *round, bool all, struct err *err) MUST_CHECK;

#endif
