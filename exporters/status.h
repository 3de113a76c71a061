/* SPDX-License-Identifier: Apache-2.0 */
/* status.h: `/` for people and `/status` for programs: each collector and target, its state, age
 * and last error. On the endpoint's thread. */
#ifndef EXPORTERS_STATUS_H
#define EXPORTERS_STATUS_H

#include <stdint.h>

#include "core/http.h"

struct host_lane;
struct remote_lane;

struct status {
    struct host_lane *host; /* NULL: off */
    struct remote_lane *remotes;
    uint64_t started_ms;
};

/* Both are http_handlers with a struct status as context. */
void status_page(void *context, const struct http_request *request, struct http_response *response);
void status_json(void *context, const struct http_request *request, struct http_response *response);

#endif
