/* SPDX-License-Identifier: Apache-2.0 */
/* link.h: the loop's link to Kafka: its client (producer.h), what that has to say, and a new one
 * after a fatal error. That one is purged, drained of all answers, freed in the background and only
 * then replaced; at once when it had delivered something, else after a while, longer each time.
 * One thread: the loop's. */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include <systemd/sd-event.h>

#include "agent/agent.h"

struct health;
struct link;

/* With its metrics; the client comes with link_open(), when slabs and topics are there. */
bool link_new(struct link **out, struct agent *agent, sd_event *event, struct health *health,
              struct err *err) MUST_CHECK;
bool link_open(struct link *link, struct err *err) MUST_CHECK;
void link_free(struct link *link); /* NULL is fine; gives up what is under way */

void link_tick(struct link *link); /* topics: pauses that end, reasons; about once a second */
const char *link_reason(const struct link *link); /* why there is no Kafka; "" when there is */
bool link_is_drained(const struct link *link);    /* nothing is under way any more */
void link_stop(struct link *link);                /* no new client from now on */

#endif
