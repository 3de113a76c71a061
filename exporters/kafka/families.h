/* SPDX-License-Identifier: Apache-2.0 */
/* families.h: the page of a round: every name of kafka_exporter with its labels, and what it has
 * not. What a round could not learn has no series in it. */
#ifndef EXPORTERS_KAFKA_FAMILIES_H
#define EXPORTERS_KAFKA_FAMILIES_H

#include "exporters/kafka/round.h"

struct page;

void families_put(const struct kafka_round *round, struct page *page);

#endif
