/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h: what an answer of Elasticsearch or OpenSearch means for a document. The one table
 * of it. */
#ifndef SINKS_ELASTICSEARCH_OUTCOME_H
#define SINKS_ELASTICSEARCH_OUTCOME_H

#include "sinks/output.h"

/* Of one item of a bulk's answer. `type` and `reason` are error.type and error.reason, "" for
 * none. */
enum output_outcome outcome_of_item(int status, const char *type, const char *reason);

/* Of a request that was refused as a whole (HTTP status other than 200). */
enum output_outcome outcome_of_request(int status, const char *type, const char *reason);

#endif
