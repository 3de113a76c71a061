/* SPDX-License-Identifier: Apache-2.0 */
/* reckon.h: lags, sums, rates and verdicts, from what the stages of a round found. A sum over what
 * is known in part is not known. */
#ifndef EXPORTERS_KAFKA_RECKON_H
#define EXPORTERS_KAFKA_RECKON_H

#include "exporters/kafka/round.h"

void reckon_all(struct kafka_round *round);

#endif
